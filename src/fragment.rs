//! A fragment: consecutive stages under one executor. A process opens them once, and each batch passes through
//! all of them in one go. Each stage is measured by itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::batch::Batch;
use crate::clock::{self, Span};
use crate::digest::Digest;
use crate::error::{Error, Result, panic_words};
use crate::schema::{Schema, count};
use crate::stage::{
    Backpressure, Counts, Job, Reject, Rest, Session, Setup, Stage, StageKind, TaskContext,
    WaitReason, add_counts,
};
use crate::stop::Stop;

/// One stage of a fragment as the pipeline file states it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// The stage's name.
    pub name: String,
    /// Its kind, by name.
    pub kind: String,
    /// The kind's options.
    pub options: Value,
    /// Whether its rows end in a sink, so that a digest is over what came in.
    pub sink: bool,
    /// Whether its rows are made of what its sessions give, so that only these are digested.
    #[serde(default)]
    pub combined: bool,
}

/// One stage of a fragment once its run has begun, as it is sent to a worker process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BoundStage {
    /// What was planned.
    pub spec: StageSpec,
    /// The inputs' columns.
    pub inputs: Vec<Schema>,
    /// The output's columns.
    pub output: Schema,
    /// What the stage's sessions need to open.
    pub session_config: Value,
    /// Where its sessions say what they wait for, in this process.
    #[serde(skip)]
    pub wait_reason: WaitReason,
}

/// A fragment of a plan once its run has begun: its stages, and the rows broadcast to them.
#[derive(Clone)]
pub struct BoundFragment {
    /// The stages in order, as plain data.
    pub bound: Vec<BoundStage>,
    /// The stages themselves, where this process has them already.
    pub stages: Vec<Arc<dyn Stage>>,
    /// For each link, for each of its inputs, all its rows if it is broadcast.
    pub broadcast: Vec<Vec<Option<Batch>>>,
    /// Whether digests are wanted.
    pub digest: bool,
    /// How many processes play it.
    pub processes: usize,
    /// Whether the run is to stop.
    pub stop: Stop,
    /// Who hears that the outside has enough.
    pub backpressure: Backpressure,
}

impl BoundFragment {
    /// The fragment that a worker process received, whose kinds are in the registry.
    pub fn of(
        registry: &[&'static StageKind],
        bound: Vec<BoundStage>,
        broadcast: Vec<Vec<Option<Batch>>>,
        digest: bool,
        processes: usize,
    ) -> Result<BoundFragment> {
        let stages = bound.iter().map(|BoundStage { spec, .. }| {
            let mut kinds = registry.iter().copied();
            let kind = kinds.find(|kind| kind.name == spec.kind).ok_or_else(|| {
                Error::failed(format!("this worker knows no kind `{}`", spec.kind))
            })?;
            let options: toml::Table = serde_json::from_value(spec.options.clone())
                .map_err(|error| Error::failed("cannot decode a stage's options").cause(error))?;
            (kind.decode)(options)
                .map(Arc::from)
                .map_err(|error| error.stage(&spec.name))
        });
        Ok(BoundFragment {
            stages: stages.collect::<Result<_>>()?,
            bound,
            broadcast,
            digest,
            processes,
            // Who started the worker ends it.
            stop: Stop::default(),
            backpressure: Backpressure::default(),
        })
    }

    /// How long its sessions take to end what they have begun outside, if they begin anything.
    pub fn ending(&self) -> Option<Duration> {
        let endings = self
            .stages
            .iter()
            .filter_map(|stage| stage.properties().policy?.ending);
        endings.max()
    }

    /// Its last `n` stages alone.
    #[must_use]
    pub fn last(mut self, n: usize) -> Self {
        let before = self.bound.len() - n;
        self.bound.drain(..before);
        self.stages.drain(..before);
        self.broadcast.drain(..self.broadcast.len() - n);
        self
    }

    /// Opens a session of every stage, the last one first: as if each stage were a fragment of its own and
    /// pulled from the stage above once it is ready.
    pub fn open(self) -> Result<OpenFragment> {
        let start = clock::monotonic();
        let mut opened = Vec::with_capacity(self.bound.len());
        let bound = self.bound.into_iter().zip(self.stages).zip(self.broadcast);
        for ((bound, stage), broadcast) in bound.rev() {
            let setup = Setup {
                inputs: bound.inputs.clone(),
                output: bound.output.clone(),
                session_config: bound.session_config.clone(),
                broadcast,
                sessions: self.processes,
                stop: self.stop.clone(),
                backpressure: self.backpressure.clone(),
                wait_reason: bound.wait_reason.clone(),
            };
            let opened_session = stage.open(setup);
            let session = opened_session.map_err(|error| error.stage(&bound.spec.name))?;
            opened.push(Opened { bound, session });
        }
        opened.reverse();
        Ok(OpenFragment {
            opened,
            digest: self.digest,
            open: clock::monotonic().saturating_sub(start),
            held: None,
        })
    }
}

/// What a stage gives, beside its mark.
struct StageOutput {
    batch: Batch,
    rest: Option<Rest>,
    fault: Option<Error>,
}

struct Opened {
    bound: BoundStage,
    session: Box<dyn Session>,
}

/// Open sessions of stages that follow each other.
pub struct OpenFragment {
    opened: Vec<Opened>,
    digest: bool,
    /// What opening them took.
    pub open: Duration,
    /// Dropped after the sessions: who waits for their end sees it.
    pub held: Option<crossbeam_channel::Sender<()>>,
}

/// What became of a batch.
#[derive(Debug)]
pub struct BatchOutcome {
    /// What each stage did, up to the one that failed.
    pub metrics: Vec<StageMetrics>,
    /// The rows after the last stage; without a stage to end them (an error before), none.
    pub batch: Option<Batch>,
    /// What ended the stream after them.
    pub fault: Option<Error>,
    /// Which stage the first mark is of.
    pub first: usize,
    /// What the batch gives after these rows.
    pub rest: Option<Unfinished>,
}

/// A batch of which some stages have given a part of their rows: with the positions of these stages, rising.
/// What a later one still gives comes before what an earlier one does.
#[derive(Debug, Default)]
pub struct Unfinished {
    rests: Vec<(usize, Rest)>,
    /// What ends the stream after all that.
    fault: Option<Error>,
}

/// What a stage works on.
enum Work {
    Batch(Batch, TaskContext),
    Rest(Rest),
}

impl BatchOutcome {
    /// Of no rows.
    pub fn empty() -> Self {
        BatchOutcome {
            metrics: Vec::new(),
            batch: None,
            fault: None,
            first: 0,
            rest: None,
        }
    }

    /// A batch that met an error before any stage saw it.
    pub fn failed(error: Error) -> Self {
        BatchOutcome {
            fault: Some(error),
            ..BatchOutcome::empty()
        }
    }

    /// How many requests the batch took beyond its own one.
    pub fn extra(&self) -> u64 {
        let jobs = self
            .metrics
            .iter()
            .filter_map(|stage_metrics| stage_metrics.job.as_ref());
        jobs.map(|job| job.extra).sum()
    }

    /// The outcome of a batch whose worker died and which may not be repeated (the fragment is one stage, `spec`): its
    /// rows are rejects.
    pub fn died(bound: &BoundStage, batch: &Batch, digest: bool) -> Self {
        let Some(input) = bound.inputs.first() else {
            return BatchOutcome::failed(Error::failed("its worker died").stage(&bound.spec.name));
        };
        let reject = |row| Reject::of(batch, input, row, None, None, "worker died".into());
        let rows = Batch::empty(&bound.output);
        let stage_metrics = StageMetrics {
            rows_in: batch.rows() as u64,
            rejects: (0..batch.rows()).map(reject).collect(),
            digest: digest.then(|| Digest::of(&bound.output, &rows)),
            ..StageMetrics::default()
        };
        BatchOutcome {
            metrics: vec![stage_metrics],
            batch: Some(rows),
            fault: None,
            first: 0,
            rest: None,
        }
    }
}

/// What one stage did with one batch. Most of it is nothing as a rule, and it goes through a pipe with each
/// batch: what is nothing is left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StageMetrics {
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that went on.
    pub rows_out: u64,
    /// Rows given beyond one each.
    #[serde(skip_serializing_if = "is_nothing")]
    pub added: u64,
    /// Rows left out on purpose.
    #[serde(skip_serializing_if = "is_nothing")]
    pub dropped: u64,
    /// Rows set aside, with reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejects: Vec<Reject>,
    /// Numbers of the kind.
    #[serde(skip_serializing_if = "is_nothing")]
    pub counts: Counts,
    /// What was asked of the outside, where a batch is one request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// Whether it, or an item of it, failed.
    #[serde(skip_serializing_if = "is_nothing")]
    pub failed: bool,
    /// Of the rows that went on, or into the sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// When, and how long.
    pub span: Span,
}

fn is_nothing<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl OpenFragment {
    /// Runs one batch through all stages. Rows before a faulty row pass through every stage: of several
    /// faults, the first row's is reported, wherever batches are cut. A panic becomes
    /// an error that names stage and rows.
    pub fn run(&self, batch: Batch, task: TaskContext) -> BatchOutcome {
        self.pass(0, Work::Batch(batch, task), Unfinished::default())
    }

    /// Runs the next part of an unfinished batch through the stages after the one that produces it.
    pub fn go_on(&self, mut unfinished: Unfinished) -> BatchOutcome {
        match unfinished.rests.pop() {
            Some((at, rest)) => self.pass(at, Work::Rest(rest), unfinished),
            None => unreachable!("what is finished has no rest"),
        }
    }

    fn pass(&self, first: usize, work: Work, mut unfinished: Unfinished) -> BatchOutcome {
        let mut metrics = Vec::with_capacity(self.opened.len() - first);
        let mut work = Some(work);
        for (at, opened) in self.opened.iter().enumerate().skip(first) {
            let Some(given) = work.take() else {
                break;
            };
            let fault = match self.step(opened, given) {
                Ok((stage_metrics, output)) => {
                    metrics.push(stage_metrics);
                    // The task is that of the batch which enters the first stage.
                    work = Some(Work::Batch(output.batch, TaskContext::default()));
                    unfinished.rests.extend(output.rest.map(|rest| (at, rest)));
                    output.fault
                }
                Err(error) => Some(error),
            };
            if let Some(fault) = fault {
                // Its row comes before what stages above have yet to give.
                unfinished.rests.retain(|&(above, _)| above >= at);
                unfinished.fault = Some(fault.stage(&opened.bound.spec.name));
            }
        }
        let batch = match work {
            Some(Work::Batch(batch, _)) => Some(batch),
            _ => None,
        };
        let is_last = unfinished.rests.is_empty();
        BatchOutcome {
            metrics,
            batch,
            fault: unfinished.fault.take_if(|_| is_last),
            first,
            rest: Some(unfinished).filter(|_| !is_last),
        }
    }

    fn step(&self, opened: &Opened, work: Work) -> Result<(StageMetrics, StageOutput)> {
        let batch = match &work {
            Work::Batch(batch, _) => Some(batch),
            Work::Rest(_) => None,
        };
        let rows_in = batch.map_or(0, Batch::rows) as u64;
        let first = batch
            .filter(|_| rows_in > 0)
            .and_then(|batch| batch.origin(0));
        let given = batch
            .filter(|_| self.digest && opened.bound.spec.sink)
            .cloned();
        let meter = clock::Meter::start();
        let ran = catch_unwind(AssertUnwindSafe(|| match work {
            Work::Batch(batch, task) => opened.session.run(batch, task),
            Work::Rest(rest) => rest.make(),
        }));
        let span = meter.stop();
        let output = ran.unwrap_or_else(|panic| {
            let words = panic_words(panic.as_ref());
            Err(Error::failed(format!(
                "panicked on a batch of {}: {words}",
                count(rows_in, "row")
            ))
            .origin(first)
            .hint("this is a bug in etl: please report it with these words"))
        })?;
        let digest = self.digest && !opened.bound.spec.combined;
        let digest = digest.then(|| match given {
            None => Digest::of(&opened.bound.output, &output.batch),
            Some(given) => {
                let gone: Vec<u32> = output.rejects.iter().map(|reject| reject.row).collect();
                Digest::of(&opened.bound.inputs[0], &given.without(&gone))
            }
        });
        let stage_metrics = StageMetrics {
            rows_in: output.rows_in.unwrap_or(rows_in),
            rows_out: output.rows_out.unwrap_or(output.batch.rows() as u64),
            added: output.added,
            dropped: output.dropped,
            rejects: output.rejects,
            counts: output.counts,
            job: output.job,
            failed: false,
            digest,
            span,
        };
        let stage_output = StageOutput {
            batch: output.batch,
            rest: output.rest,
            fault: output.fault,
        };
        Ok((stage_metrics, stage_output))
    }

    /// Ends all sessions; their last counts, one a stage.
    pub fn close(self) -> Result<Vec<Counts>> {
        let close = |opened: Opened| {
            opened
                .session
                .close()
                .map_err(|error| error.stage(&opened.bound.spec.name))
        };
        self.opened.into_iter().map(close).collect()
    }
}

/// Adds up what the sessions of several processes counted last.
pub fn add_closed(sum: &mut Vec<Counts>, more: Vec<Counts>) {
    sum.resize_with(sum.len().max(more.len()), Counts::default);
    for (sum, more) in sum.iter_mut().zip(more) {
        add_counts(sum, more);
    }
}
