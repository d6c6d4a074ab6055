//! A file with rows that becomes one without any: the run may be right, but nobody is to find it out later.

use crate::batch::Batch;
use crate::columns::Column;
use crate::disk;
use crate::error::{OfValue, Result};
use crate::place::{self, ObjectUrl};
use crate::stage::{Counts, Run, Sink};

/// A sink that says so.
pub(super) struct Emptied {
    sink: Box<dyn Sink>,
    shown: String,
    /// How many bytes the file has that will be replaced; of what is no regular file, none.
    replaced: u64,
    has_rows: bool,
}

impl Emptied {
    /// Watches what comes to `sink`, which writes to `path`, or the object that it names, in this run.
    pub(super) fn new(
        sink: Box<dyn Sink>,
        path: &str,
        object: Option<&ObjectUrl>,
        run: &Run,
    ) -> Result<Self> {
        let (shown, replaced) = if let Some(url) = object {
            (
                url.to_string(),
                place::replaced(url, &run.stop).of(["path"])?,
            )
        } else {
            let path = disk::follow(run.folder.resolve(path));
            let found = std::fs::metadata(&path).ok();
            let found = found.filter(std::fs::Metadata::is_file);
            (path.display().to_string(), found.map(|found| found.len()))
        };
        let replaced = replaced.unwrap_or_default();
        Ok(Emptied {
            sink,
            shown,
            replaced,
            has_rows: false,
        })
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
