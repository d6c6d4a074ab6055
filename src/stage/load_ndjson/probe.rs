//! A look at the files before a run: whether each is there and begins with a record that fits the columns, and
//! whether it is a list of records that is about to be read line by line.

use std::sync::Arc;

use super::source::to_batch;
use super::{LoadNdjson, TextSplitter, hinted};
use crate::error::{Error, Result};
use crate::format::json::split::Shape;
use crate::place::{Place, Seen, in_file};
use crate::schema::{Schema, count};
use crate::stage::files::UNCOMPARED;
use crate::stage::{Folder, Probe, Session, Stage, TaskContext};
use crate::stop::Stop;

impl LoadNdjson {
    pub(super) fn probe_files(&self, folder: &Folder) -> Vec<Probe> {
        let schema = self.schema(&[], folder);
        self.files.probe(folder, &schema, |place, columns| {
            let found = self.look_at(place, columns);
            found.map_err(|error| self.files.about(folder, place, error))
        })
    }

    /// Whether a file is there, with a first record that fits the columns.
    fn look_at(&self, place: &Place, schema: Result<Option<&Schema>>) -> Result<String> {
        // What a pipe gives is gone then.
        if place.is_once() {
            return Ok("is read when the run begins".into());
        }
        let mut splitter = self.open_file(&Seen::of(place)?.0, Arc::default(), &Stop::default())?;
        let Some(schema) = schema? else {
            return Ok(UNCOMPARED.into());
        };
        let columns = count(schema.fields.len(), "column");
        splitter.set_limits(self.limits(1));
        let block = loop {
            let block = splitter.next_block();
            match block.map_err(|error| in_file(place, hinted(error)))? {
                // Blanks alone.
                Some(block) if block.records.is_empty() => {}
                block => break block,
            }
        };
        let Some(block) = block else {
            return Ok(format!("{columns}, no records"));
        };
        let first = self
            .parsing(schema.clone())
            .run(to_batch(0, block), TaskContext::default())?;
        let rejected = first.rejects.into_iter().next().map(|reject| reject.reason);
        match rejected.or(first.fault.map(|fault| fault.message)) {
            None => Ok(format!("{columns}, the first record fits")),
            Some(reason) => Err(Error::failed(format!(
                "the first record of `{place}` does not fit: {reason}"
            ))
            .hint("see `format`, `columns` and `types`")),
        }
    }

    /// What is doubtful; nothing about files that cannot be read, since the run reports those.
    pub(super) fn lint_files(&self, folder: &Folder) -> Vec<String> {
        self.find_warning(folder).into_iter().collect()
    }

    /// Whether the first file begins as a list does, where records are lines and are not meant to be lists.
    fn find_warning(&self, folder: &Folder) -> Option<String> {
        let columns = self.columns.iter().flatten();
        let mut segments = columns.map(|column| column.place.0.first());
        let are_lists = segments.any(|first| {
            first.is_none_or(|segment| segment.bytes().all(|byte| byte.is_ascii_digit()))
        });
        if are_lists || !matches!(self.shape, Shape::Lines) {
            return None;
        }
        let stop = Stop::of_signals();
        let place = &self.files.first(folder, &stop).ok()?;
        let begins_list = |splitter: &mut TextSplitter| {
            splitter
                .peek()
                .ok()?
                .trim_ascii_start()
                .starts_with(b"[")
                .then_some(())
        };
        if place.is_once() {
            begins_list(&mut self.lock_begun().as_mut()?.splitter)?;
        } else {
            let seen = Seen::of(place).ok()?.0;
            begins_list(&mut self.open_file(&seen, Arc::default(), &stop).ok()?)?;
        }
        Some(format!(
            "`{place}` begins with `[`, as a list of records does; if it is one, write `format = \"json\"`"
        ))
    }
}
