//! The parts of the source: files, each cut into blocks of whole records.

use std::sync::Arc;

use super::{LoadNdjson, TextSplitter, hinted};
use crate::batch::Batch;
use crate::columns::Column;
use crate::error::Result;
use crate::format::json::split::Block;
use crate::place::in_file;
use crate::stage::files::RunFile;

/// A part of the source: block after block of one file.
pub(super) struct Blocks {
    pub(super) loader: Arc<LoadNdjson>,
    pub(super) file: RunFile,
    pub(super) batch_rows: usize,
    pub(super) open: Option<TextSplitter>,
}

impl Blocks {
    pub(super) fn next_batch(&mut self) -> Result<Option<Batch>> {
        if self.open.is_none() {
            self.open = Some(self.open()?);
        }
        let splitter = self.open.as_mut().expect("it was just opened");
        let block = splitter.next_block();
        let block = block.map_err(|error| in_file(&self.file.seen.place, hinted(error)))?;
        Ok(block.map(|block| to_batch(self.file.number, block)))
    }

    fn open(&self) -> Result<TextSplitter> {
        let mut begun = self.loader.lock_begun();
        let begun = begun.take_if(|opened| opened.place == self.file.seen.place);
        let mut splitter = if let Some(opened) = begun {
            opened.splitter
        } else {
            let done = self.file.bytes_done.clone();
            self.loader
                .open_file(&self.file.seen, done, &self.file.stop)?
        };
        splitter.set_limits(self.loader.limits(self.batch_rows));
        Ok(splitter)
    }
}

/// Where a block stood, and where its records stand in it.
pub(super) struct BlockPlace {
    pub(super) file: u32,
    pub(super) first_record: u64,
    pub(super) first_line: u64,
    pub(super) offset: u64,
    pub(super) records: Vec<[u32; 2]>,
}

/// A block as a batch of one row, so that executors ship nothing but batches.
pub(super) fn to_batch(file: u32, block: Block) -> Batch {
    let number = |value: u64| Column::from_ints(vec![value.cast_signed()], None);
    let records = block.records.iter().flatten();
    let records: Vec<u8> = records.flat_map(|byte| byte.to_le_bytes()).collect();
    let columns = vec![
        Column::from_cells(vec![block.bytes.into()]),
        number(u64::from(file)),
        number(block.first_record),
        number(block.first_line),
        number(block.offset),
        Column::from_cells(vec![records.into()]),
    ];
    Batch::new(columns, 1)
}

/// What [`to_batch`] noted beside the text.
pub(super) fn place_of(batch: &Batch) -> BlockPlace {
    let number = |i: usize| batch.column(i).ints().value(0).cast_unsigned();
    let cell = batch.column(5).cell(0);
    let (pairs, _) = cell.as_chunks::<8>();
    let byte = |half: &[u8]| {
        half.iter()
            .rev()
            .fold(0, |byte, &part| byte << 8 | u32::from(part))
    };
    BlockPlace {
        file: u32::try_from(number(1)).expect("the source wrote a u16"),
        first_record: number(2),
        first_line: number(3),
        offset: number(4),
        records: pairs
            .iter()
            .map(|pair| [byte(&pair[..4]), byte(&pair[4..])])
            .collect(),
    }
}
