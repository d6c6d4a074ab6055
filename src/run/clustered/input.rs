//! What the tasks of a job read: files, frames of other jobs as they are or in buckets, rows that they ask for.

use std::sync::Arc;

use serde_json::json;

use super::files::together;
use super::{Cluster, Frames};
use crate::cluster::engine::{Job, Side};
use crate::cluster::order::{
    AnswerOrder, DivideOrder, HashedKeys, Order, RowKey, SourceOrder, TaskInput,
};
use crate::error::{Error, Result};
use crate::fragment::BoundStage;
use crate::place::quote;
use crate::plan::{Edge, Fragment};
use crate::run::record::Live;
use crate::stage::Partitioning;

impl Cluster<'_, '_> {
    /// What the tasks of a leg read that begins with stage `at` of a fragment: what the leg before gave, if there is one,
    /// or else what the fragment reads.
    pub(super) fn input(
        &mut self,
        fragment: &Fragment,
        at: usize,
        stage: &mut BoundStage,
        before: Option<&Frames>,
        live: &[Arc<Live>],
        job: &mut Job,
    ) -> Result<TaskInput> {
        let above = |edge: &Edge| self.outputs[&edge.from].frames.clone();
        let entering: Vec<Frames> = match before {
            Some(frames) => vec![frames.clone()],
            None => fragment.inputs().map(above).collect(),
        };
        let Some(rows) = entering.first() else {
            return self.files(fragment, stage, job);
        };
        if let Some(edge) = self.large(fragment, at).cloned() {
            let answers = self.answers(fragment, &edge, stage, rows, live)?;
            job.reads_alone = Some(answers.id.clone());
            let stay = Side {
                by_task: true,
                ..side(rows, None)
            };
            job.buckets = Some(rows.tasks);
            job.sides = vec![side(&answers, None), stay];
            return Ok(TaskInput::Joined { input: edge.input });
        }
        if let (None, Some(edge)) = (before, fragment.input())
            && let Some(key) = self.key(edge)?
        {
            return Ok(self.ranges(edge, key, rows, job));
        }
        if let (Partitioning::UniqueInFlight(columns), Some(edge)) =
            (fragment.partitioning(), fragment.input())
        {
            return self.numbered(edge, columns, job);
        }
        job.sides = entering.iter().map(|rows| side(rows, None)).collect();
        let tasks: Vec<usize> = entering.iter().map(|rows| rows.tasks).collect();
        job.tasks = tasks.iter().sum();
        Ok(TaskInput::Frames { tasks })
    }

    /// The files of a fragment's own source, which of them each task is given. The options of its stage, which go to all
    /// tasks, name no more than the first one.
    fn files(
        &self,
        fragment: &Fragment,
        stage: &mut BoundStage,
        job: &mut Job,
    ) -> Result<TaskInput> {
        let at = fragment.first();
        let files = &self.driver.files_of[&at];
        let option = self.driver.pipeline.steps[at].kind.patterns_option;
        if let (Some(option), Some((_, first))) = (option, &files.first) {
            stage.spec.options[option] = json!([quote(&first.file)]);
        }
        files
            .read
            .iter()
            .try_for_each(|(_, file)| can_be_sent(&file.file))?;
        let sizes: Vec<u64> = files.read.iter().map(|(_, file)| file.bytes).collect();
        let tasks = together(&sizes, self.engine.parallelism as u64);
        job.tasks = tasks.len();
        let own = tasks.into_iter().map(|own| json!(files.read[own]));
        job.given = own.enumerate().collect();
        Ok(TaskInput::Files(SourceOrder {
            working_folder: std::env::current_dir().unwrap_or_default(),
            first: files.first.clone(),
        }))
    }

    /// Has a job read frames divided among buckets by ranges of a key.
    fn ranges(&self, edge: &Edge, key: RowKey, rows: &Frames, job: &mut Job) -> TaskInput {
        let borders = self.borders(&self.outputs[&edge.from], &key);
        job.buckets = Some(borders.len() + 1);
        let divide = DivideOrder::Ranges {
            key: key.clone(),
            borders,
        };
        job.sides = vec![side(rows, Some(Order::Divide(divide)))];
        let schema = self.driver.schemas[edge.from].clone();
        TaskInput::Range { key, schema }
    }

    /// For each task that gave `rows` the rows of a large input that it needs, as frames in its bucket.
    fn answers(
        &mut self,
        fragment: &Fragment,
        edge: &Edge,
        stage: &BoundStage,
        rows: &Frames,
        live: &[Arc<Live>],
    ) -> Result<Frames> {
        let step = &self.driver.pipeline.steps[edge.to];
        let needs = step.stage.properties().needs_equal;
        let (left, right) = needs.ok_or_else(|| {
            Error::failed("needs all rows of an input that is too large").stage(&step.name)
        })?;
        let large = &self.outputs[&edge.from];
        let buckets = self.buckets(large.bytes);
        let keys = |schema: &crate::schema::Schema, names: &[String]| -> Result<HashedKeys> {
            Ok(HashedKeys {
                columns: schema.indices(names)?,
                buckets,
            })
        };
        let wanted = keys(&stage.inputs[0], &left)?;
        let offered = keys(&stage.inputs[edge.input], &right)?;
        let columns = offered.columns.clone();
        let job = Job {
            id: format!("f{}-{}-rows", fragment.last(), edge.to),
            given: Vec::new(),
            reads_alone: None,
            stages: vec![step.name.clone()],
            sides: vec![
                side(
                    &large.frames,
                    Some(Order::Divide(DivideOrder::Hashes(offered))),
                ),
                side(rows, Some(Order::Ask(wanted))),
            ],
            tasks: buckets,
            buckets: Some(buckets),
            order: Order::Answer(Box::new(AnswerOrder {
                stage: stage.clone(),
                input: edge.input,
                columns,
            })),
            keep: true,
        };
        let reports = self.send(&job, live)?;
        let faults = reports.into_iter().filter_map(|report| report.fault);
        // Rows without a place come last: which of them is first is known in no bucket.
        if let Some(fault) = faults.min_by_key(|fault| fault.origin.unwrap_or(u64::MAX)) {
            return Err(fault);
        }
        Ok(Frames {
            id: job.id,
            tasks: buckets,
        })
    }
}

/// Whether a task can read this file, too: a pipe is read once, and names go to tasks as text.
fn can_be_sent(file: &str) -> Result<()> {
    if file.contains("://") {
        return Ok(());
    }
    let refused = |why: &str| {
        Err(Error::failed(format!(
            "`{file}` cannot be read by tasks of a cluster: {why}"
        ))
        .hint("run without `--cluster`, or write it to a file with another name"))
    };
    if file.contains(char::REPLACEMENT_CHARACTER) {
        return refused("its name is not UTF-8");
    }
    let is_file = std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file());
    let of_process = ["/dev/", "/proc/"]
        .iter()
        .any(|begin| file.starts_with(begin));
    if !is_file || of_process {
        return refused("it is no regular file");
    }
    Ok(())
}

/// Frames that a job reads: divided among its buckets, or each in its own.
pub(super) fn side(frames: &Frames, divide: Option<Order>) -> Side {
    Side {
        from: frames.id.clone(),
        divide,
        by_task: false,
    }
}
