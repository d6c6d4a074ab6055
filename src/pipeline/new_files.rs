//! What becomes of the rows of earlier runs, where a stage reads only new files.

use super::{Pipeline, Step};
use crate::stage::{Earlier, Storage};

impl Pipeline {
    /// What hardly anybody means where only the rows of new files come to a destination, each with its stage.
    pub fn lint_of_new_files(&self) -> Vec<String> {
        let all = 0..self.steps.len();
        let found = all.filter_map(|at| Some((at, self.lint_of_new_files_at(at)?)));
        found
            .map(|(at, words)| format!("stage `{}`: {words}", self.steps[at].name))
            .collect()
    }

    /// The same of the step at this position.
    pub(crate) fn lint_of_new_files_at(&self, at: usize) -> Option<String> {
        let step = &self.steps[at];
        let destination = step.destination()?;
        let place = match &destination.storage {
            Storage::Index { name, .. } => format!("index `{name}`"),
            _ => format!("`{}`", step.publishes_to()?),
        };
        let words = match destination.earlier {
            Earlier::Kept => return None,
            Earlier::Replaced if step.may_write_elsewhere() => return None,
            Earlier::Replaced => format!(
                "{place} will hold only the rows of new files, as it replaces what earlier runs have written: give each run \
                 a place of its own, with a variable such as `${{DAY}}` in its name, or load into an index that is added to"
            ),
            Earlier::Doubled => format!(
                "rows of files that are read again are in {place} twice, after `--all-files` or a run that was killed while \
                 it published: give its documents ids"
            ),
        };
        self.reads_new_files(at).then_some(words)
    }

    /// Whether the rows of a step come of new files alone, at least by one way.
    fn reads_new_files(&self, at: usize) -> bool {
        let step = &self.steps[at];
        let mut inputs = step.inputs.iter();
        step.stage.properties().only_new || inputs.any(|&input| self.reads_new_files(input))
    }
}

impl Step {
    /// Whether the place it writes to may have another name in the next run.
    fn may_write_elsewhere(&self) -> bool {
        let Some(destination) = self.destination() else {
            return false;
        };
        let of_index = match destination.storage {
            Storage::Index { option, .. } => Some(option),
            Storage::Stdout | Storage::Disk { .. } => None,
        };
        let section = self.section.as_ref();
        let mut options = [Some(destination.option), of_index].into_iter().flatten();
        section.is_some_and(|section| options.any(|option| section.varies(option)))
    }
}
