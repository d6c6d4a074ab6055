//! A cluster run: fragments that a cluster executes come first, a job each; the rows that this machine needs of them lie in
//! parts then, and the rest runs as ever.

use std::collections::HashMap;

use super::driver::{Driver, Terminal};
use super::wiring::Wiring;
use crate::cluster::ClusterConfig;
use crate::cluster::engine::{Engine, Job, SharedFolder};
use crate::cluster::order::{DivideOrder, Order, RunOrder, TaskFiles, TaskInput, TaskReport};
use crate::cluster::parts::{self, Parts};
use crate::error::{Error, Result};
use crate::fragment::StageMetrics;
use crate::place::quote;
use crate::plan::Fragment;
use crate::report::bytes;
use crate::stage::{InputFile, Partitioning, add_counts};

/// About so many bytes of frames make a bucket: a task holds one.
const BUCKET_BYTES: u64 = 128 << 20;
/// Small files are read by one task until they have so many bytes: a task costs about 50 ms.
const TASK_FILES_BYTES: u64 = 64 << 20;
/// So many tasks a core let the faster ones do more.
const TASKS_A_CORE: u64 = 4;

/// What a job gave.
struct JobOutput {
    id: String,
    /// Where its rows lie, if some stage reads all of them, or this machine does.
    parts: Option<Parts>,
    bytes: u64,
    /// For each key by which its rows will be divided, its columns and a sample of its keys.
    samples: Vec<(Vec<usize>, Vec<Option<Vec<u8>>>)>,
    /// How many jobs have yet to read its frames.
    readers: usize,
}

impl Driver<'_> {
    /// Runs every stage.
    pub(super) fn run_clustered(
        &self,
        config: &ClusterConfig,
        wiring: &mut Wiring,
        terminals: &mut Vec<Terminal>,
    ) -> Result<()> {
        // It goes when the last row was read.
        let folder = SharedFolder::create(config, &self.run.id)?;
        let engine = Engine::start(
            config,
            &self.run.pipeline,
            &self.run.state,
            &self.options.stop,
        )?;
        let mut cluster = Cluster {
            driver: self,
            config,
            folder: &folder,
            engine,
            outputs: HashMap::new(),
        };
        for fragment in self
            .plan
            .fragments
            .iter()
            .filter(|fragment| fragment.on_cluster)
        {
            cluster.run(fragment, wiring)?;
        }
        for (at, output) in std::mem::take(&mut cluster.outputs) {
            if let Some(parts) = output.parts {
                wiring.parts.insert(at, parts);
            }
        }
        drop(cluster);
        self.run_streamed(wiring, terminals)
    }
}

/// A cluster at work for one run.
struct Cluster<'a, 'd> {
    driver: &'a Driver<'d>,
    config: &'a ClusterConfig,
    folder: &'a SharedFolder,
    engine: Engine,
    /// By the number of the stage that gave the rows.
    outputs: HashMap<usize, JobOutput>,
}

impl Cluster<'_, '_> {
    /// Executes a fragment, and enters what became of its rows.
    fn run(&mut self, fragment: &Fragment, wiring: &mut Wiring) -> Result<()> {
        let (job, keys) = self.job(fragment, wiring)?;
        let live: Vec<_> = fragment
            .stages
            .iter()
            .map(|stage| self.driver.records[stage.at].live.clone())
            .collect();
        for live in &live {
            live.begun.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        let show = |words: &str| {
            live.iter()
                .for_each(|live| live.wait_reason.set(words.to_owned()))
        };
        show("goes to the cluster");
        let reports = self
            .engine
            .run(&job, |progress| show(&progress.to_string()));
        live.iter().for_each(|live| live.wait_reason.clear());
        let reports = reports?;
        self.enter(fragment, &reports)?;
        let order = match &job.order {
            Order::Run(order) => order,
            Order::Divide(_) => unreachable!("a fragment is run"),
        };
        let samples = keys.into_iter().enumerate().map(|(at, columns)| {
            let keys = reports.iter().filter_map(|report| report.samples.get(at));
            (columns, keys.flatten().cloned().collect())
        });
        let output = JobOutput {
            id: job.id.clone(),
            parts: order
                .writes_parts
                .then(|| Parts::new(order.folder.clone(), reports.len())),
            bytes: reports.iter().map(|report| report.bytes).sum(),
            samples: samples.collect(),
            readers: self.frame_readers(fragment),
        };
        self.outputs.insert(fragment.last(), output);
        self.release(job.from.as_deref())
    }

    /// The job that executes a fragment, and the keys by which its rows will be divided.
    fn job(&mut self, fragment: &Fragment, wiring: &mut Wiring) -> Result<(Job, Vec<Vec<usize>>)> {
        let driver = self.driver;
        let at = fragment.last();
        let id = format!("f{at}");
        let mut bound = wiring.bound(fragment);
        let mut job = Job {
            id: id.clone(),
            from: None,
            tasks: 1,
            buckets: None,
            divide: None,
            order: Order::Divide(DivideOrder::default()),
            keep: self.frame_readers(fragment) > 0,
        };
        let input = match fragment.input() {
            None => {
                let files = self.files(fragment, &mut bound[0].spec.options)?;
                job.tasks = files.of_task.len();
                TaskInput::Files(files)
            }
            Some(edge) => {
                let above = &self.outputs[&edge.from];
                job.from = Some(above.id.clone());
                match &edge.partitioning {
                    Partitioning::ByKey(columns) => {
                        let schema = driver.schemas[edge.from].clone();
                        let columns = schema.indices(columns)?;
                        let borders = self.borders(above, &columns);
                        job.buckets = Some(borders.len() + 1);
                        job.divide = Some(Order::Divide(DivideOrder {
                            columns: columns.clone(),
                            borders,
                        }));
                        TaskInput::ByKey { columns, schema }
                    }
                    _ => TaskInput::Frames,
                }
            }
        };
        let keys = self.keys(fragment)?;
        job.order = Order::Run(Box::new(RunOrder {
            digest: driver.options.digest,
            tasks: job.buckets.unwrap_or(job.tasks),
            batch_rows: fragment.batch_rows,
            input,
            broadcast: self.broadcast(fragment)?,
            gives_frames: job.keep,
            writes_parts: self.writes_parts(fragment),
            samples: keys.clone(),
            folder: self.folder.folder(&id)?,
            bound,
        }));
        Ok((job, keys))
    }

    /// The files of a fragment's own source, dealt to tasks; its options then name each file.
    fn files(&self, fragment: &Fragment, options: &mut serde_json::Value) -> Result<TaskFiles> {
        let driver = self.driver;
        let at = fragment.first();
        let kind = driver.pipeline.steps[at].kind;
        let begun = &driver.files_of[&at];
        if let Some(option) = kind.patterns_option {
            options[option] = begun.all.iter().map(|file| quote(file)).collect();
        }
        let position = |file: &InputFile| begun.all.iter().position(|name| *name == file.file);
        let read: Vec<(usize, InputFile)> = begun
            .read
            .iter()
            .filter_map(|file| Some((position(file)?, file.clone())))
            .collect();
        let sizes: Vec<u64> = read.iter().map(|(_, file)| file.bytes).collect();
        Ok(TaskFiles {
            working_folder: std::env::current_dir().unwrap_or_default(),
            before: begun.before,
            of_task: together(&sizes, self.engine.parallelism as u64),
            read,
        })
    }

    /// Where the rows lie that are broadcast to a fragment.
    fn broadcast(&self, fragment: &Fragment) -> Result<Vec<Vec<Option<Parts>>>> {
        let of_stage = |stage: &crate::plan::Stage| {
            let step = &self.driver.pipeline.steps[stage.at];
            let mut inputs: Vec<Option<Parts>> = step.inputs.iter().map(|_| None).collect();
            for edge in fragment.edges.iter().filter(|edge| edge.to == stage.at) {
                if edge.partitioning != Partitioning::Broadcast {
                    continue;
                }
                let output = &self.outputs[&edge.from];
                if output.bytes > self.config.broadcast_max {
                    let from = &self.driver.pipeline.steps[edge.from].name;
                    return Err(Error::failed(format!(
                        "every task needs all rows of `{from}`, which take {}; `broadcast_max` of `[cluster]` is {}",
                        bytes(output.bytes),
                        bytes(self.config.broadcast_max)
                    ))
                    .stage(&step.name)
                    .hint("raise `broadcast_max` if each machine has memory for that many bytes a core, or make the larger side the first input"));
                }
                inputs[edge.input].clone_from(&output.parts);
            }
            Ok(inputs)
        };
        fragment.stages.iter().map(of_stage).collect()
    }

    /// Borders between buckets of about one size, from a sample of the keys.
    fn borders(&self, above: &JobOutput, columns: &[usize]) -> Vec<Option<Vec<u8>>> {
        let sample = above.samples.iter().find(|(of, _)| of == columns);
        let mut keys = sample.map(|(_, keys)| keys.clone()).unwrap_or_default();
        keys.sort_unstable();
        let buckets = above
            .bytes
            .div_ceil(BUCKET_BYTES)
            .max(self.engine.parallelism as u64);
        let buckets = usize::try_from(buckets)
            .unwrap_or(usize::MAX)
            .min(keys.len().max(1));
        let mut borders: Vec<_> = (1..buckets)
            .map(|bucket| keys[bucket * keys.len() / buckets].clone())
            .collect();
        borders.dedup();
        borders
    }

    /// How many jobs read the frames of a fragment.
    fn frame_readers(&self, fragment: &Fragment) -> usize {
        self.driver
            .plan
            .edges_from(fragment.last())
            .filter(|edge| {
                self.is_on_cluster(edge.to) && edge.partitioning != Partitioning::Broadcast
            })
            .count()
    }

    /// Whether the rows of a fragment are needed as a whole: by every task of a job, or by this machine.
    fn writes_parts(&self, fragment: &Fragment) -> bool {
        let mut edges = self.driver.plan.edges_from(fragment.last()).peekable();
        edges.peek().is_none()
            || edges.any(|edge| {
                !self.is_on_cluster(edge.to) || edge.partitioning == Partitioning::Broadcast
            })
    }

    fn is_on_cluster(&self, at: usize) -> bool {
        self.driver.plan.fragment_of(at).on_cluster
    }

    /// The keys by which the rows of a fragment will be divided, each once.
    fn keys(&self, fragment: &Fragment) -> Result<Vec<Vec<usize>>> {
        let schema = &self.driver.schemas[fragment.last()];
        let mut keys = Vec::new();
        for edge in self.driver.plan.edges_from(fragment.last()) {
            if let (Partitioning::ByKey(columns), true) =
                (&edge.partitioning, self.is_on_cluster(edge.to))
            {
                let columns = schema.indices(columns)?;
                if !keys.contains(&columns) {
                    keys.push(columns);
                }
            }
        }
        Ok(keys)
    }

    /// Enters what became of a fragment's rows, task by task in their order. The first fault ends the run; what came
    /// before it is counted.
    fn enter(&self, fragment: &Fragment, reports: &[TaskReport]) -> Result<()> {
        for report in reports {
            let mut rejects = vec![Vec::new(); fragment.stages.len()];
            if report.rejected.iter().any(|&rejected| rejected > 0) {
                let folder = self.folder.folder(&format!("f{}", fragment.last()))?;
                for (position, reject) in parts::rejects(&folder, report.task)? {
                    rejects[position].push(reject);
                }
            }
            let stages = fragment.stages.iter().zip(&report.metrics).zip(rejects);
            for (position, ((stage, metrics), rejects)) in stages.enumerate() {
                let record = &self.driver.records[stage.at];
                let mut metrics = StageMetrics {
                    rejects,
                    ..metrics.clone()
                };
                if stage.spec.combined {
                    // The rows that go on are counted when they have been combined.
                    let gone = metrics.dropped + metrics.rejects.len() as u64;
                    metrics.rows_in = gone.saturating_sub(metrics.added);
                    metrics.rows_out = 0;
                }
                record.add(metrics, &self.driver.run)?;
                let mut totals = record.totals();
                totals.ledger.batches += report.batches.saturating_sub(1);
                if let Some(closed) = report.closed.get(position) {
                    add_counts(&mut totals.ledger.counts, closed.clone());
                }
                if position == 0 {
                    totals.warnings.extend(report.warnings.iter().cloned());
                }
            }
            if let Some(fault) = &report.fault {
                return Err(fault.clone());
            }
        }
        for stage in &fragment.stages {
            let live = &self.driver.records[stage.at].live;
            live.ended.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    }

    /// A job has read the frames of another one.
    fn release(&mut self, id: Option<&str>) -> Result<()> {
        let read = self
            .outputs
            .values_mut()
            .find(|output| Some(output.id.as_str()) == id);
        let Some(output) = read else { return Ok(()) };
        output.readers -= 1;
        if output.readers == 0 {
            let id = output.id.clone();
            self.engine.release(&id)?;
        }
        Ok(())
    }
}

/// Which files that follow each other a task reads, by their sizes: for each task the first one, and how many.
fn together(sizes: &[u64], cores: u64) -> Vec<(usize, usize)> {
    let all: u64 = sizes.iter().sum();
    let enough = (all / (cores * TASKS_A_CORE).max(1)).min(TASK_FILES_BYTES);
    let mut tasks: Vec<(usize, usize)> = Vec::new();
    let mut taken = u64::MAX;
    for (at, size) in sizes.iter().enumerate() {
        match tasks.last_mut() {
            Some((_, count)) if taken.saturating_add(*size) <= enough => {
                *count += 1;
                taken += size;
            }
            _ => {
                tasks.push((at, 1));
                taken = *size;
            }
        }
    }
    if tasks.is_empty() {
        // One task says that there is nothing.
        tasks.push((0, 0));
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_read_together_and_large_ones_alone() {
        assert_eq!(together(&[], 2), [(0, 0)]);
        assert_eq!(together(&[5], 2), [(0, 1)]);
        assert_eq!(together(&[10; 4], 1), [(0, 1), (1, 1), (2, 1), (3, 1)]);
        assert_eq!(
            together(&[1, 1, 1, 1, 100, 1, 1], 1),
            [(0, 4), (4, 1), (5, 2)]
        );
        let large = TASK_FILES_BYTES;
        assert_eq!(
            together(&[large, 1, large, large], 1),
            [(0, 1), (1, 1), (2, 1), (3, 1)]
        );
    }
}
