//! The parts of the source: files, each cut into blocks of whole records.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::line_ends::refuse_cr;
use super::{LoadCsv, TextSplitter, hinted};
use crate::batch::Batch;
use crate::columns::Column;
use crate::error::{Error, Result};
use crate::format::csv::split::Block;
use crate::place::{Place, Seen, in_file};
use crate::stage::source::OTHER_COLUMNS;
use crate::stop::Stop;

/// A part of the source: block after block of one file.
pub(super) struct Blocks {
    pub(super) loader: Arc<LoadCsv>,
    pub(super) number: u16,
    pub(super) seen: Seen,
    pub(super) header: Option<Arc<[String]>>,
    pub(super) batch_rows: usize,
    pub(super) bytes_done: Arc<AtomicU64>,
    pub(super) stop: Stop,
    pub(super) open: Option<TextSplitter>,
    /// Whether a block was given.
    pub(super) given: bool,
    pub(super) ended: bool,
}

impl Blocks {
    fn next_block(&mut self) -> Result<Option<Block>> {
        if self.open.is_none() {
            self.open = Some(self.open()?);
        }
        let splitter = self.open.as_mut().expect("it was just opened");
        let (path, dialect) = (&self.seen.place, self.loader.dialect);
        match splitter.next_block() {
            Ok(Some(block)) => {
                self.given = true;
                if block.first_line == 1 {
                    refuse_cr(path, &block.bytes, block.offset, dialect)?;
                }
                Ok(Some(block))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                if self.header.is_none() && !self.given {
                    refuse_cr(path, splitter.rest(), splitter.offset(), dialect)?;
                }
                Err(in_file(path, hinted(error)))
            }
        }
    }

    /// The file after its header.
    fn open(&self) -> Result<TextSplitter> {
        let begun = self
            .loader
            .lock_begun()
            .take_if(|(path, _)| *path == self.seen.place);
        let mut opened = if let Some((_, opened)) = begun {
            opened
        } else {
            let done = self.bytes_done.clone();
            self.loader.open_file(&self.seen, done, &self.stop)?
        };
        if opened.header.as_deref() != self.header.as_deref() {
            return Err(other_header(
                &self.seen.place,
                opened.header.as_deref(),
                self.header.as_deref(),
            ));
        }
        opened
            .splitter
            .set_limits(self.loader.limits(self.batch_rows));
        Ok(opened.splitter)
    }
}

pub(super) fn other_header(
    path: &Place,
    found: Option<&[String]>,
    wanted: Option<&[String]>,
) -> Error {
    let (found, wanted) = (found.unwrap_or_default(), wanted.unwrap_or_default());
    let at = found.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    let show = |names: &[String]| {
        names
            .get(at)
            .map_or("nothing".into(), |name| format!("`{name}`"))
    };
    Error::failed(format!(
        "`{path}` has another header than the first file: column {} is {} instead of {}",
        at + 1,
        show(found),
        show(wanted)
    ))
    .hint(OTHER_COLUMNS)
}

impl Iterator for Blocks {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_block().transpose();
        if !matches!(next, Some(Ok(_))) {
            // A file that has ended is not kept open until all have.
            self.open = None;
            self.ended = true;
        }
        Some(next?.map(|block| to_batch(self.number, block)))
    }
}

/// A block as a batch of one row, so that executors ship nothing but batches.
pub(super) fn to_batch(file: u16, block: Block) -> Batch {
    let number = |value: u64| Column::from_ints(vec![value.cast_signed()], None);
    let columns = vec![
        Column::from_cells(vec![block.bytes.into()]),
        number(u64::from(file)),
        number(block.first_record),
        number(block.first_line),
        number(block.offset),
        number(block.records),
    ];
    Batch::new(columns, 1)
}
