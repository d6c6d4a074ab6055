//! A cluster run: fragments that a cluster executes come first, a job each; the rows that this machine needs of them lie in
//! parts then, and the rest runs as ever.
//!
//! A fragment is cut before a stage that needs rows of an input which are too many for every task to hold. The rows that
//! enter that stage stay where they are: each task asks for the rows that it needs by their keys, and those alone move.

mod account;
mod files;
mod input;
mod needs;
mod sent;

pub use files::file_tasks;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::account::show_rows;
use super::driver::{Driver, Terminal};
use super::record::Live;
use super::wiring::Wiring;
use crate::clock::monotonic;
use crate::cluster::ClusterConfig;
use crate::cluster::engine::{Engine, Job};
use crate::cluster::folder::SharedFolder;
use crate::cluster::order::{HashedKeys, KeySample, Order, RowKey, RunOrder, Sums, TaskReport};
use crate::cluster::parts::Parts;
use crate::cluster::rejects;
use crate::error::Result;
use crate::fragment::{BoundStage, StageMetrics};
use crate::plan::Fragment;
use crate::stage::{Partitioning, add_counts};

/// About so many bytes of frames make a bucket: a task holds one.
const BUCKET_BYTES: u64 = 128 << 20;

/// The frames that a job gave.
#[derive(Debug, Clone)]
struct Frames {
    /// The job.
    id: String,
    /// How many tasks gave them.
    tasks: usize,
}

/// What a fragment gave.
struct FragmentOutput {
    frames: Frames,
    /// Where its rows lie, if some stage reads all of them, or this machine does.
    parts: Option<Parts>,
    bytes: u64,
    /// How many rows each task gave.
    rows: Vec<u64>,
    /// The keys by which its rows will be divided, each with that of some rows.
    samples: Vec<(RowKey, Vec<Option<Vec<u8>>>)>,
    /// How often its frames will be read yet.
    readers: usize,
}

impl FragmentOutput {
    /// For each task, the number of its first row.
    fn firsts(&self) -> Vec<u64> {
        let add = |sum: &mut u64, rows: &u64| Some(std::mem::replace(sum, *sum + rows));
        self.rows.iter().scan(0, add).collect()
    }
}

impl Driver<'_> {
    /// Runs every stage.
    pub(super) fn run_clustered(
        &self,
        config: &ClusterConfig,
        wiring: &mut Wiring,
        terminals: &mut Vec<Terminal>,
    ) -> Result<()> {
        let folder = SharedFolder::create(config, &self.run.id, Some(&self.run.state))?;
        let folder = self.shared.get_or_init(|| folder);
        let began = monotonic();
        self.show_start();
        let engine = Engine::start(
            config,
            &self.run.pipeline,
            &self.run.id,
            &self.run.state,
            &self.options.stop,
        )?;
        self.begin_account(&engine.versions, monotonic().saturating_sub(began));
        let mut cluster = Cluster {
            driver: self,
            config,
            folder,
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
        let Cluster {
            mut engine,
            outputs,
            ..
        } = cluster;
        for (at, output) in outputs {
            if let Some(parts) = output.parts {
                wiring.parts.insert(at, parts);
            }
        }
        // It ends while this machine reads what tasks have left.
        engine.begin_end()?;
        self.run_streamed(wiring, terminals)?;
        self.account_of_cluster(&engine.ended());
        Ok(())
    }
}

/// A cluster at work for one run.
struct Cluster<'a, 'd> {
    driver: &'a Driver<'d>,
    config: &'a ClusterConfig,
    folder: &'a SharedFolder,
    engine: Engine,
    /// By the number of the stage that gave the rows.
    outputs: HashMap<usize, FragmentOutput>,
}

impl Cluster<'_, '_> {
    /// Executes a fragment, and enters what became of its rows.
    fn run(&mut self, fragment: &Fragment, wiring: &mut Wiring) -> Result<()> {
        let live: Vec<Arc<Live>> = fragment
            .stages
            .iter()
            .map(|stage| self.driver.records[stage.at].live.clone())
            .collect();
        for live in &live {
            live.begun.store(true, Ordering::Relaxed);
        }
        let ran = self.legs(fragment, &live, &wiring.bound(fragment));
        for live in &live {
            live.wait_reason.clear();
            live.ended.store(true, Ordering::Relaxed);
        }
        let output = ran?;
        self.outputs.insert(fragment.last(), output);
        for edge in &fragment.edges {
            self.has_read(edge.from)?;
        }
        Ok(())
    }

    /// Executes a fragment leg by leg: it is cut before each stage with an input that is too large to be broadcast.
    fn legs(
        &mut self,
        fragment: &Fragment,
        live: &[Arc<Live>],
        bound: &[BoundStage],
    ) -> Result<FragmentOutput> {
        let is_cut = |at: &usize| self.large(fragment, *at).is_some();
        let cuts: Vec<usize> = (0..bound.len()).filter(is_cut).collect();
        let ends = cuts.iter().copied().chain([bound.len()]);
        let mut frames: Option<Frames> = None;
        let mut from = 0;
        for to in ends {
            if to == 0 {
                continue;
            }
            let leg = from..to;
            let began = monotonic();
            let stages = bound[leg.clone()].to_vec();
            let job = self.leg(fragment, &leg, stages, frames.as_ref(), live)?;
            let reports = self.send(&job, &live[leg.clone()])?;
            if let Some(id) = &job.reads_alone {
                self.engine.release(id)?;
            }
            match fragment.partitioning() {
                Partitioning::UniqueInFlight(_) => {
                    self.enter_numbered(fragment, &job, &reports, began)?;
                }
                _ => self.enter(fragment, &leg, &job.id, &reports, began)?,
            }
            if let Some(read) = frames.replace(Frames {
                id: job.id.clone(),
                tasks: reports.len(),
            }) {
                self.engine.release(&read.id)?;
            }
            if to == bound.len() {
                return self.output(fragment, &job, &reports);
            }
            from = to;
        }
        unreachable!("the last leg ends with the fragment")
    }

    /// Has a job done for these stages; the reports of its tasks.
    fn send(&mut self, job: &Job, live: &[Arc<Live>]) -> Result<Vec<TaskReport>> {
        let show = |words: &str| {
            for live in live {
                live.wait_reason.set(words.to_owned());
            }
        };
        // Other jobs only move rows.
        let counted = match job.order {
            Order::Run(_) => live,
            _ => &[],
        };
        show("goes to the cluster");
        let done = self.engine.run(job, |progress| {
            // Spark goes from one part of a job to the next.
            if progress.tasks > 0 || progress.executors == 0 {
                show(&progress.to_string());
            }
            show_rows(counted, &progress.sums);
        })?;
        // What the reports say counts: a task that ran twice is counted once.
        let read_bytes = done.reports.iter().map(|report| report.read_bytes).sum();
        show_rows(counted, &Sums::new(Duration::ZERO, read_bytes, []));
        self.driver.account_of_job(&done);
        Ok(done.reports)
    }

    /// What a fragment gave whose last leg is `job`.
    fn output(
        &self,
        fragment: &Fragment,
        job: &Job,
        reports: &[TaskReport],
    ) -> Result<FragmentOutput> {
        let samples = self
            .keys(fragment)?
            .into_iter()
            .enumerate()
            .map(|(at, key)| {
                let samples = reports.iter().filter_map(|report| report.samples.get(at));
                (key, KeySample::together(samples.cloned().collect()))
            });
        let parts = self
            .writes_parts(fragment)
            .then(|| self.folder.folder(&job.id));
        Ok(FragmentOutput {
            frames: Frames {
                id: job.id.clone(),
                tasks: reports.len(),
            },
            parts: parts
                .transpose()?
                .map(|folder| Parts::new(folder, reports.len())),
            bytes: reports.iter().map(|report| report.bytes).sum(),
            rows: reports
                .iter()
                .map(|report| report.metrics.last().map_or(0, |last| last.rows_out))
                .collect(),
            samples: samples.collect(),
            readers: self.frame_readers(fragment),
        })
    }

    /// The job that executes some stages of a fragment, on the frames that the ones before gave, if these are not the
    /// first.
    fn leg(
        &mut self,
        fragment: &Fragment,
        leg: &Range<usize>,
        mut bound: Vec<BoundStage>,
        before: Option<&Frames>,
        live: &[Arc<Live>],
    ) -> Result<Job> {
        let is_last = leg.end == fragment.stages.len();
        let id = format!("f{}-{}", fragment.last(), leg.start);
        let mut job = Job {
            id: id.clone(),
            given: Vec::new(),
            reads_alone: None,
            stages: bound.iter().map(|stage| stage.spec.name.clone()).collect(),
            sides: Vec::new(),
            tasks: 1,
            buckets: None,
            order: Order::Ask(HashedKeys::default()),
            keep: !is_last || self.frame_readers(fragment) > 0,
        };
        let input = self.input(fragment, leg.start, &mut bound[0], before, live, &mut job)?;
        job.order = Order::Run(Box::new(RunOrder {
            digest: self.driver.options.digest,
            tasks: job.buckets.unwrap_or(job.tasks),
            batch_rows: fragment.batch_rows,
            input,
            broadcast: leg.clone().map(|at| self.broadcast(fragment, at)).collect(),
            gives_frames: job.keep,
            writes_parts: is_last && self.writes_parts(fragment),
            samples: if is_last {
                self.keys(fragment)?
            } else {
                Vec::new()
            },
            folder: self.folder.folder(&id)?,
            bound,
        }));
        Ok(job)
    }

    /// Enters what became of the rows of some stages, task by task in their order. The first fault ends the run; what came
    /// before it is counted.
    fn enter(
        &self,
        fragment: &Fragment,
        leg: &Range<usize>,
        job: &str,
        reports: &[TaskReport],
        from: Duration,
    ) -> Result<()> {
        let to = monotonic();
        for report in reports {
            let mut rejects = vec![Vec::new(); leg.len()];
            if report.rejected.iter().any(|&rejected| rejected > 0) {
                for (position, reject) in rejects::of_task(&self.folder.folder(job)?, report.task)?
                {
                    rejects[position].push(reject);
                }
            }
            let stages = fragment.stages[leg.clone()]
                .iter()
                .zip(&report.metrics)
                .zip(rejects);
            for (position, ((stage, metrics), rejects)) in stages.enumerate() {
                let record = &self.driver.records[stage.at];
                let mut metrics = StageMetrics {
                    rejects,
                    ..metrics.clone()
                };
                // Each machine has a clock of its own: what counts is when the job ran here.
                metrics.span.from = Some(from);
                metrics.span.to = to;
                if stage.spec.combined {
                    // The rows that go on are counted when they have been combined.
                    let gone = metrics.dropped + metrics.rejects.len() as u64;
                    metrics.rows_in = gone.saturating_sub(metrics.added);
                    metrics.rows_out = 0;
                }
                record.add(metrics, &self.driver.run)?;
                let mut totals = record.totals();
                totals.ledger.batches += report.batches.saturating_sub(1);
                totals.tasks = Some(reports.len());
                if let Some(closed) = report.closed.get(position) {
                    add_counts(&mut totals.ledger.counts, closed.clone());
                }
                if position == 0 {
                    totals.warn_once(report.warnings.iter().cloned());
                }
            }
            if let Some(fault) = &report.fault {
                return Err(fault.clone());
            }
        }
        Ok(())
    }

    /// A job has read the frames of the fragment that ends with stage `at`.
    fn has_read(&mut self, at: usize) -> Result<()> {
        let Some(output) = self.outputs.get_mut(&at) else {
            return Ok(());
        };
        output.readers = output.readers.saturating_sub(1);
        if output.readers == 0 {
            let id = output.frames.id.clone();
            self.engine.release(&id)?;
        }
        Ok(())
    }
}
