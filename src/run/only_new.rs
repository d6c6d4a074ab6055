//! Only new files: which parts of a source a run leaves out, when it has nothing to do, and what it notes when it
//! publishes.

use std::collections::BTreeMap;

use super::driver::Driver;
use crate::error::Result;
use crate::schema::count;
use crate::stage::{Begun, InputFile, Source};

/// The count of files that a run of the pipeline has published already.
const LEFT_OUT: &str = "files_left_out";

impl Driver<'_> {
    /// Leaves out of a source the files that earlier runs have published. A run that goes on where another one ended
    /// leaves out what that one did not read, too: the next run reads it.
    pub(super) fn leave_out(&mut self, at: usize, source: &mut Source) {
        let step = &self.pipeline.steps[at];
        let Some(log) = &self.loaded else { return };
        if !step.stage.properties().only_new {
            return;
        }
        let mut warnings: Vec<String> = log.doubts().collect();
        let read_before = self.folder.read_before();
        let mut later = 0;
        let mut is_read = |file: &InputFile| {
            let known = |before: &Vec<InputFile>| before.iter().any(|was| was.file == file.file);
            if read_before.as_ref().is_some_and(|before| !known(before)) {
                later += 1;
                return false;
            }
            !log.leaves_out(&step.name, file)
        };
        let all = source.files.len();
        let parts = std::mem::take(&mut source.parts);
        for (file, part) in std::mem::take(&mut source.files).into_iter().zip(parts) {
            if is_read(&file) {
                source.files.push(file);
                source.parts.push(part);
            }
        }
        if later > 0 {
            let files = count(later, "file");
            warnings.push(format!(
                "{files} that the run had not read when it was interrupted: the next run reads them"
            ));
        }
        let left_out = (all - source.files.len()) as u64;
        let read = source
            .files
            .iter()
            .map(|file| (step.name.clone(), file.clone()));
        self.new_files.extend(read);
        let mut totals = self.records[at].totals();
        totals.warnings.extend(warnings);
        if left_out > 0 {
            totals.ledger.counts.insert(LEFT_OUT.into(), left_out);
        }
    }

    /// Whether there are stages that read only new files, and none of them has any.
    pub(super) fn is_without_new(&self, begun: &BTreeMap<usize, Begun>) -> bool {
        let left = self.only_new().map(|at| begun[&at].source.as_ref());
        let left: Vec<bool> = left
            .map(|source| source.is_some_and(|source| source.parts.is_empty()))
            .collect();
        self.loaded.is_some() && !left.is_empty() && left.into_iter().all(|none| none)
    }

    /// Before anything is visible: these files are about to be published. Files whose rows go to a sink that this run
    /// leaves out, or to none, stay new.
    pub(super) fn note_publishing(&mut self) -> Result<()> {
        let Some(log) = &mut self.loaded else {
            return Ok(());
        };
        let pipeline = self.pipeline;
        if pipeline.sinks_cut_off || !pipeline.steps.iter().any(|step| step.kind.sink) {
            self.new_files.clear();
        }
        if self.new_files.is_empty() {
            return Ok(());
        }
        log.publishing(&self.folder.id, &self.new_files)
    }

    /// All is visible. What cannot be noted is read again by the next run.
    pub(super) fn note_published(&mut self) {
        let Some(log) = self.loaded.as_mut().filter(|_| !self.new_files.is_empty()) else {
            return;
        };
        let Err(error) = log.published(&self.folder.id) else {
            return;
        };
        let at = self.only_new().next();
        let mut totals = self.records[at.unwrap_or_default()].totals();
        totals.warnings.push(format!(
            "the run is published, but {}; the next run reads its files again",
            error.in_warning()
        ));
    }

    /// The stages that read only new files.
    fn only_new(&self) -> impl Iterator<Item = usize> {
        let steps = self.pipeline.steps.iter().enumerate();
        steps
            .filter(|(_, step)| step.stage.properties().only_new)
            .map(|(at, _)| at)
    }
}
