//! The parts of the source: files, each cut into blocks of whole records.

use std::sync::Arc;

use super::layout::{Layout, order_of};
use super::line_ends::refuse_cr;
use super::{LoadCsv, TextSplitter, hinted};
use crate::batch::Batch;
use crate::columns::Column;
use crate::error::Result;
use crate::format::csv::split::Block;
use crate::place::in_file;
use crate::stage::files::RunFile;

/// A part of the source: block after block of one file.
pub(super) struct Blocks {
    pub(super) loader: Arc<LoadCsv>,
    pub(super) file: RunFile,
    pub(super) header: Option<Arc<[String]>>,
    pub(super) batch_rows: usize,
    /// The file, and how it lies.
    pub(super) open: Option<(TextSplitter, String)>,
    /// Whether a block was given.
    pub(super) given: bool,
}

impl Blocks {
    pub(super) fn next_batch(&mut self) -> Result<Option<Batch>> {
        if self.open.is_none() {
            self.open = Some(self.open()?);
        }
        let (splitter, layout) = self.open.as_mut().expect("it was just opened");
        let (path, dialect) = (&self.file.seen.place, splitter.dialect());
        match splitter.next_block() {
            Ok(Some(block)) => {
                self.given = true;
                if block.first_line == 1 {
                    refuse_cr(path, &block.bytes, block.offset, dialect)?;
                }
                Ok(Some(to_batch(self.file.number, block, layout)))
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
    fn open(&self) -> Result<(TextSplitter, String)> {
        let begun = self
            .loader
            .lock_begun()
            .take_if(|(path, _)| *path == self.file.seen.place);
        let opened = if let Some((_, opened)) = begun {
            opened
        } else {
            let done = self.file.bytes_done.clone();
            self.loader
                .open_file(&self.file.seen, done, &self.file.stop)?
        };
        let found = opened.header.as_deref().unwrap_or_default();
        let wanted = self.header.as_deref().unwrap_or_default();
        let order = order_of(
            &self.file.seen.place,
            found,
            wanted,
            self.loader.header_differs,
        )?;
        let mut splitter = opened.splitter;
        splitter.set_limits(self.loader.limits(self.batch_rows));
        let layout = Layout::new(splitter.dialect().delimiter, opened.encoding, order);
        Ok((splitter, layout.to_text()))
    }
}

/// A block as a batch of one row, so that executors ship nothing but batches.
pub(super) fn to_batch(file: u32, block: Block, layout: &str) -> Batch {
    let number = |value: u64| Column::from_ints(vec![value.cast_signed()], None);
    let columns = vec![
        Column::from_cells(vec![block.bytes.into()]),
        number(u64::from(file)),
        number(block.first_record),
        number(block.first_line),
        number(block.offset),
        number(block.records),
        number(block.comments),
        Column::from_strings([Some(layout)]),
    ];
    Batch::new(columns, 1)
}
