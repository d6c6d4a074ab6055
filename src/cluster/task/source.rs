//! The files that a task reads: its stage begins on them alone, however many files the stage has.

use std::path::PathBuf;

use super::super::order::{SourceOrder, TaskFile};
use super::look::other_file;
use crate::error::{Error, Result};
use crate::executor::Batches;
use crate::fragment::BoundStage;
use crate::place::quote;
use crate::stage::{Folder, Run, Stage, StageKind};
use crate::stop::Stop;

/// What a stage begins on in one task.
pub(super) struct OwnFiles {
    working_folder: PathBuf,
    files: Vec<TaskFile>,
    /// How many of these, the first ones, are not read: the stage only looks there for columns.
    looked_at: usize,
}

impl OwnFiles {
    pub(super) fn new(order: &SourceOrder, own: Vec<TaskFile>) -> Self {
        let other = order
            .first
            .clone()
            .filter(|first| own.first() != Some(first));
        OwnFiles {
            working_folder: order.working_folder.clone(),
            looked_at: usize::from(other.is_some()),
            files: other.into_iter().chain(own).collect(),
        }
    }

    /// Has the options of the stage name these files and no other.
    pub(super) fn narrow(&self, registry: &[&'static StageKind], stage: &mut BoundStage) {
        let kind = registry.iter().find(|kind| kind.name == stage.spec.kind);
        if let Some(option) = kind.and_then(|kind| kind.patterns_option) {
            let names = self.files.iter().map(|(_, file)| quote(&file.file));
            stage.spec.options[option] = names.collect();
        }
    }

    /// The bytes of the files that are read.
    pub(super) fn bytes(&self) -> u64 {
        let read = self.files.iter().skip(self.looked_at);
        read.map(|(_, file)| file.bytes).sum()
    }

    /// The batches of the files.
    pub(super) fn batches(
        self,
        stage: &dyn Stage,
        bound: &BoundStage,
        batch_rows: usize,
        stop: &Stop,
    ) -> Batches {
        let name = bound.spec.name.clone();
        let batches = self.begin(stage, bound, batch_rows, stop);
        let batches = batches.unwrap_or_else(|error| Box::new(std::iter::once(Err(error))));
        Box::new(batches.map(move |batch| batch.map_err(|error| error.stage(&name))))
    }

    /// Begins the stage on the files, which must be what the machine that runs the pipeline saw.
    fn begin(
        self,
        stage: &dyn Stage,
        bound: &BoundStage,
        batch_rows: usize,
        stop: &Stop,
    ) -> Result<Batches> {
        // Where it is not there, no relative path is.
        let _ = std::env::set_current_dir(&self.working_folder);
        let (numbers, files): (Vec<u32>, Vec<_>) = self.files.into_iter().unzip();
        let run = Run::new(
            String::new(),
            Folder(PathBuf::new()),
            PathBuf::new(),
            stop.clone(),
        )
        .numbered(numbers);
        let begun = stage.begin(&run, &bound.inputs, batch_rows)?;
        let source = begun
            .source
            .ok_or_else(|| Error::failed("reads no files"))?;
        for (at, file) in files.iter().enumerate() {
            if source.files.get(at) != Some(file) {
                return Err(other_file(&file.file));
            }
        }
        let parts = source.parts.into_iter().skip(self.looked_at);
        Ok(Box::new(parts.flatten()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::streams::collect;
    use crate::fragment::{BoundFragment, StageSpec};
    use crate::place::{Place, Seen};
    use crate::schema::Schema;
    use crate::stage::STAGES;

    #[test]
    fn a_task_sees_its_own_files_and_the_first_one_under_their_numbers() {
        let folder = std::env::temp_dir().join(format!("etl-own-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        let seen: Vec<TaskFile> = (0..5)
            .map(|number| {
                let path = folder.join(format!("{number}.csv"));
                std::fs::write(&path, format!("a\n{number}\n")).expect("it can be written");
                let (_, file) = Seen::of(&Place::File(path)).expect("it is there");
                (number, file)
            })
            .collect();
        // Whatever becomes of files of other tasks.
        for other in [1, 3] {
            std::fs::remove_file(&seen[other].1.file).expect("it can be removed");
        }
        let own = |own: &[TaskFile]| {
            let order = SourceOrder {
                working_folder: folder.clone(),
                first: seen.first().cloned(),
            };
            let files = OwnFiles::new(&order, own.to_vec());
            let mut stage = BoundStage {
                spec: StageSpec {
                    name: "load".into(),
                    kind: "load_csv".into(),
                    options: serde_json::json!({ "files": ["*.csv"], "columns": ["a"] }),
                    sink: false,
                    combined: false,
                },
                inputs: Vec::new(),
                output: Schema::default(),
                session_config: serde_json::Value::Null,
                wait_reason: crate::stage::WaitReason::default(),
            };
            files.narrow(STAGES, &mut stage);
            let fragment = BoundFragment::of(STAGES, vec![stage], vec![vec![]], false, 1);
            let fragment = fragment.expect("it decodes");
            let stage = &*fragment.stages[0];
            let batches = files.batches(stage, &fragment.bound[0], 10, &Stop::default());
            let blocks = collect(batches, &Schema::default())?;
            // The number of its file stands beside the text of a block.
            let number = |row| blocks.column(1).ints().value(row);
            Ok::<Vec<i64>, Error>((0..blocks.rows()).map(number).collect())
        };
        assert_eq!(own(&seen[2..3]).expect("it is read"), [2]);
        assert_eq!(own(&seen[..1]).expect("it is read"), [0]);
        let both = [seen[2].clone(), seen[4].clone()];
        assert_eq!(own(&both).expect("both are read"), [2, 4]);
        assert!(own(&[]).expect("nothing is read").is_empty());
        let gone = own(&seen[3..4]).expect_err("it is gone");
        assert!(gone.message.contains("3.csv"), "{gone}");
        let _ = std::fs::remove_dir_all(&folder);
    }
}
