//! A file with rows that becomes one without any: the run may be right, but nobody is to find it out later.

use std::path::Path;

use crate::batch::Batch;
use crate::columns::Column;
use crate::error::Result;
use crate::stage::{Counts, Sink};

/// A sink that says so.
pub(super) struct Emptied {
    sink: Box<dyn Sink>,
    shown: String,
    /// How many bytes the file has that will be replaced; of what is no regular file, none.
    replaced: u64,
    has_rows: bool,
}

impl Emptied {
    /// Watches what comes to `sink`, which writes to `path`.
    pub(super) fn new(sink: Box<dyn Sink>, path: &Path) -> Self {
        let found = std::fs::metadata(path)
            .ok()
            .filter(std::fs::Metadata::is_file);
        Emptied {
            sink,
            shown: path.display().to_string(),
            replaced: found.map_or(0, |found| found.len()),
            has_rows: false,
        }
    }
}

impl Sink for Emptied {
    fn push(&mut self, batch: Batch) -> Result<()> {
        // Rendered rows come as one text.
        let no_text = |batch: &Batch| matches!(batch.column(0), Column::Bytes(text) if text.value(0).is_empty());
        self.has_rows = self.has_rows || batch.rows() > 1 || batch.rows() == 1 && !no_text(&batch);
        self.sink.push(batch)
    }

    fn finish(&mut self) -> Result<Counts> {
        self.sink.finish()
    }

    fn publish(self: Box<Self>, warnings: &mut Vec<String>) -> Result<Counts> {
        self.sink.publish(warnings)
    }

    fn notes(&mut self) -> Vec<String> {
        let mut notes = self.sink.notes();
        if !self.has_rows && self.replaced > 0 {
            notes.push(format!(
                "`{}` held {} bytes before and gets no row now",
                self.shown, self.replaced
            ));
        }
        notes
    }
}
