//! What the tasks of a job read: files, frames of other jobs as they are or in buckets, rows that they ask for.

use std::sync::Arc;

use serde_json::{Value, json};

use super::files::{FileTask, TASK_FILES_BYTES, together};
use super::{Cluster, Frames, ReadyJob};
use crate::cluster::engine::{Job, Side};
use crate::cluster::order::{
    AnswerOrder, DivideOrder, HashedKeys, Order, ReadOrder, RowKey, SourceOrder, TaskInput,
    TaskReport,
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
        ready: &mut ReadyJob,
    ) -> Result<TaskInput> {
        let above = |edge: &Edge| self.outputs[&edge.from].frames.clone();
        let entering: Vec<Frames> = match before {
            Some(frames) => vec![frames.clone()],
            None => fragment.inputs().map(above).collect(),
        };
        let Some(rows) = entering.first() else {
            return self.files(fragment, stage, live, ready);
        };
        let job = &mut ready.job;
        if let Some(edge) = self.large(fragment, at).cloned() {
            let answers = self.answers(fragment, &edge, stage, rows, live)?;
            ready.reads_alone.push(answers.id.clone());
            let stay = Side {
                first_buckets: (0..rows.tasks).collect(),
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

    /// The files of a fragment's own source. The options of its stage, which go to all tasks, name no more than the first
    /// one. Files that only one core could read in time are read first, for tasks of this job.
    fn files(
        &mut self,
        fragment: &Fragment,
        stage: &mut BoundStage,
        live: &[Arc<Live>],
        ready: &mut ReadyJob,
    ) -> Result<TaskInput> {
        let at = fragment.first();
        let driver = self.driver;
        let files = &driver.files_of[&at];
        let option = driver.pipeline.steps[at].kind.patterns_option;
        if let (Some(option), Some((_, first))) = (option, &files.first) {
            stage.spec.options[option] = json!([quote(&first.file)]);
        }
        let sizes: Vec<u64> = files.read.iter().map(|(_, file)| file.bytes).collect();
        let tasks = together(&sizes, self.engine.parallelism as u64);
        let source = SourceOrder {
            working_folder: std::env::current_dir().unwrap_or_default(),
            first: files.first.clone(),
        };
        let own = |task: &FileTask| json!(files.read[task.files.clone()]);
        let shared: Vec<Value> = tasks
            .iter()
            .filter(|task| task.is_shared)
            .map(own)
            .collect();
        let mut blocks = None;
        let mut reports = Vec::new();
        if !shared.is_empty() {
            let frames;
            (frames, reports) = self.read(fragment, stage, &source, shared, live)?;
            ready.reads_alone.push(frames.id.clone());
            blocks = Some(frames);
        }
        let mut reports = reports.into_iter();
        let mut first_buckets = Vec::new();
        let job = &mut ready.job;
        job.tasks = 0;
        for task in &tasks {
            let first = job.tasks;
            if task.is_shared {
                let report = reports.next().expect("each of these files was read");
                first_buckets.push(first);
                job.tasks += report.buckets;
                ready.read.push((first..job.tasks, report));
            } else {
                job.given.push((first, own(task)));
                job.tasks += 1;
            }
        }
        if let Some(blocks) = blocks {
            job.buckets = Some(job.tasks);
            job.sides = vec![Side {
                first_buckets,
                ..side(&blocks, None)
            }];
        }
        Ok(TaskInput::Files(source))
    }

    /// Has files read whose blocks further tasks work on; a task for each file.
    fn read(
        &mut self,
        fragment: &Fragment,
        stage: &BoundStage,
        source: &SourceOrder,
        files: Vec<Value>,
        live: &[Arc<Live>],
    ) -> Result<(Frames, Vec<TaskReport>)> {
        let job = Job {
            id: format!("f{}-read", fragment.last()),
            stages: vec![stage.spec.name.clone()],
            sides: Vec::new(),
            tasks: files.len(),
            given: files.into_iter().enumerate().collect(),
            buckets: None,
            order: Order::Read(Box::new(ReadOrder {
                stage: stage.clone(),
                source: source.clone(),
                batch_rows: fragment.batch_rows,
                bucket_bytes: TASK_FILES_BYTES,
            })),
            keep: true,
        };
        let reports = self.send(&job, live)?;
        let frames = Frames {
            tasks: job.tasks,
            id: job.id,
        };
        Ok((frames, reports))
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

/// Frames that a job reads: divided among its buckets, or each in its own.
pub(super) fn side(frames: &Frames, divide: Option<Order>) -> Side {
    Side {
        from: frames.id.clone(),
        divide,
        first_buckets: Vec::new(),
    }
}
