//! A look at the files before a run: whether each is there, has the columns of the first one, and begins
//! with a record that fits them.

use std::sync::Arc;

use super::layout::{Layout, order_of};
use super::source::to_batch;
use super::{LoadCsv, Opened, hinted};
use crate::error::{Error, Result};
use crate::place::{Place, Seen};
use crate::schema::{Schema, count};
use crate::stage::files::UNCOMPARED;
use crate::stage::{Folder, Probe, Session, Stage, TaskContext};
use crate::stop::Stop;

impl LoadCsv {
    pub(super) fn probe_files(&self, folder: &Folder) -> Vec<Probe> {
        let schema = self.schema(&[], folder);
        self.files.probe(folder, &schema, |place, columns| {
            let found = self.look_at(place, columns);
            found.map_err(|error| self.files.about(folder, place, error))
        })
    }

    /// Whether a file is there, with the columns of the first one, and a first record that fits them.
    fn look_at(&self, path: &Place, schema: Result<Option<&Schema>>) -> Result<String> {
        // What a pipe gives is gone then.
        if path.is_once() {
            return Ok("is read when the run begins".into());
        }
        let Opened {
            header,
            mut splitter,
            encoding,
        } = self.open_file(&Seen::of(path)?.0, Arc::default(), &Stop::default())?;
        let Some(schema) = schema? else {
            return Ok(UNCOMPARED.into());
        };
        let wanted: Vec<String> = schema.names().map(str::to_owned).collect();
        let order = match header {
            Some(header) => order_of(path, &header, &wanted, self.header_differs)?,
            None => None,
        };
        let lacking = order.as_ref().map_or(0, |order| wanted.len() - order.len());
        let mut columns = count(wanted.len(), "column");
        if lacking > 0 {
            columns += &format!(", {lacking} of which it lacks");
        }
        let layout = Layout::new(splitter.dialect().delimiter, encoding, order).to_text();
        splitter.set_limits(self.limits(1));
        let block = loop {
            match splitter.next_block().map_err(hinted)? {
                Some(block) if block.records == 0 => {}
                block => break block,
            }
        };
        let Some(block) = block else {
            return Ok(format!("{columns}, no records"));
        };
        let first = self
            .parsing(schema.clone())
            .run(to_batch(0, block, &layout), TaskContext::default())?;
        let rejected = first.rejects.into_iter().next().map(|reject| reject.reason);
        match rejected.or(first.fault.map(|fault| fault.message)) {
            None => Ok(format!("{columns}, the first record fits")),
            Some(reason) => Err(Error::failed(format!(
                "the first record of `{path}` does not fit: {reason}"
            ))
            .hint("see `columns`, `types`, `delimiter`, `quote` and `escape`")),
        }
    }
}
