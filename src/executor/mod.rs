//! Executors decide where batches are processed. An executor is an ordered map over a stream of batches: results
//! come in input order, whatever finishes first, and if several batches fail, it reports the first one's error.
//! It never looks inside a batch.
//!
//! Two mechanisms, composed: a pool of threads in one process, and child processes. Hybrid is child
//! processes that have pools.

mod limits;
mod ordered;
mod pool;
pub mod processes;
pub(crate) mod streams;
mod threads;
mod window;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::clock::monotonic;
use crate::error::Result;
use crate::fragment::{BatchOutcome, BoundFragment, OpenFragment, Unfinished, add_closed};
use crate::stage::{Counts, Policy, TaskContext};
use crate::stop::Stop;
use limits::RateLimiter;

/// The word of the pipeline file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// On the thread that pulls the rows.
    Sequential,
    /// On a pool of threads.
    Threads,
    /// In child processes of one thread each.
    Processes,
    /// In child processes of several threads each.
    Hybrid,
}

impl Kind {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Sequential => "sequential",
            Kind::Threads => "threads",
            Kind::Processes => "processes",
            Kind::Hybrid => "hybrid",
        }
    }
}

/// More workers than this are a slip of the pen: each has a stack, a queue and maybe a process.
pub const WORKERS_MAX: usize = 1024;

/// Processes times threads: every executor is a point on this grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// Which executor it is.
    pub kind: Kind,
    /// Child processes; 1 for sequential and threads, which have none.
    pub processes: usize,
    /// Threads in each process; 1 for sequential and processes.
    pub threads: usize,
}

impl Grid {
    /// One batch after another, on the thread that pulls the rows.
    pub const SEQUENTIAL: Grid = Grid {
        kind: Kind::Sequential,
        processes: 1,
        threads: 1,
    };

    /// How many batches may be processed at once.
    pub fn workers(self) -> usize {
        self.processes * self.threads
    }
}

/// A stream of batches, in order; after an error there are no more.
pub type Batches = Box<dyn Iterator<Item = Result<Batch>> + Send>;

/// A batch to process.
#[derive(Debug, Clone)]
pub struct Input {
    /// The rows.
    pub batch: Batch,
    /// What sessions must know of it. An executor that has several in flight says whether this one is alone.
    pub task: TaskContext,
    /// Two batches that share one of these are never in flight at once.
    pub keys: Vec<u64>,
}

impl From<Batch> for Input {
    fn from(batch: Batch) -> Self {
        Input {
            batch,
            task: TaskContext::default(),
            keys: Vec::new(),
        }
    }
}

/// A stream of batches to process, in order; after an error there are no more.
pub type Inputs = Box<dyn Iterator<Item = Result<Input>> + Send>;

/// A stream of what became of them, in the same order; after an error there are no more.
pub type Results = Box<dyn Iterator<Item = BatchOutcome> + Send>;
/// Prepares a fragment: collects the rows that are broadcast to it.
pub type Prepare = Box<dyn FnOnce() -> Result<BoundFragment> + Send>;

/// What executing cost beside the work itself.
#[derive(Debug, Clone, Default)]
pub struct Costs {
    /// Starting child processes.
    pub start: Duration,
    /// Opening sessions.
    pub open: Duration,
    /// Encoding and decoding batches.
    pub copy: Duration,
    /// How many sessions were opened.
    pub sessions: u64,
    /// What the sessions counted when they closed, one a stage.
    pub closed: Vec<Counts>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// The peaks of the child processes' memory, added up.
    pub peak_rss_bytes: u64,
    /// The most batches in flight at once, where that adapts to the outside.
    pub concurrency: u64,
    /// Where a batch is a request: each open fragment in this process holds it, so that the run can wait for all of
    /// them to close.
    pub held: Option<(Sender<()>, Receiver<()>)>,
}

/// What the workers of a stage wait for at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Waits {
    /// They have not been given anything yet.
    #[default]
    ToBegin,
    /// They work.
    No,
    /// Some have nothing to do: the input comes too slowly.
    ForInput,
    /// Some may not go on: what they gave is not taken.
    ForReader,
}

/// The same, as observers read it.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU8);

impl Gauge {
    /// The latest state.
    pub fn get(&self) -> Waits {
        match self.0.load(Ordering::Relaxed) {
            0 => Waits::ToBegin,
            1 => Waits::No,
            2 => Waits::ForInput,
            _ => Waits::ForReader,
        }
    }

    fn set(&self, waits: Waits) {
        self.0.store(waits as u8, Ordering::Relaxed);
    }
}

/// Costs as threads share them.
pub type SharedCosts = Arc<Mutex<Costs>>;

/// Outcomes of batches that are requests, by batch number.
pub trait Journal: Send + Sync {
    /// The earlier outcome of a batch, if it is not to be processed again; called in the order of the batches.
    fn find(&self, number: u64, batch: &Batch) -> Option<BatchOutcome>;

    /// Records the outcome of a batch as soon as it is known; `rows` are its encoded rows, if they came through
    /// a pipe.
    fn record(&self, number: u64, outcome: &mut BatchOutcome, rows: Option<&[u8]>) -> Result<()>;
}

/// A stream to process, and everything that takes.
pub struct Task {
    /// Where.
    pub grid: Grid,
    /// The batches.
    pub input: Inputs,
    /// Through how many stages they may come.
    pub above: usize,
    /// Whether the other side limits how many are in flight: then that adapts to it.
    pub adapts: bool,
    /// Where a batch is one request: what holds for it.
    pub policy: Option<Policy>,
    /// By what.
    pub prepare: Prepare,
    /// What it costs.
    pub costs: SharedCosts,
    /// Shows what the workers wait for.
    pub gauge: Arc<Gauge>,
    /// Whether to stop.
    pub stop: Stop,
    /// Where a batch is a request: what is remembered of them.
    pub journal: Option<Arc<dyn Journal>>,
    /// For child processes.
    pub workers: Arc<processes::Workers>,
    /// The stages' names, for threads and messages.
    pub name: String,
}

/// Works on a stream. A parallel stage begins at once, a sequential one when its first result is wanted.
pub fn map(task: Task) -> Results {
    let starts_processes = task.policy.is_some_and(|policy| policy.starts_processes);
    match task.grid.kind {
        _ if starts_processes => processes::map(task),
        Kind::Sequential => Box::new(Sequential {
            prepare: Some(task.prepare),
            open_fragment: None,
            unfinished: None,
            input: Some(task.input),
            limiter: task.policy.map(|policy| RateLimiter::new(policy.every)),
            journal: task.journal,
            number: 0,
            costs: task.costs,
            gauge: task.gauge,
            stop: task.stop,
        }),
        Kind::Threads => threads::map(task),
        Kind::Processes | Kind::Hybrid => processes::map(task),
    }
}

/// One batch after the other on the calling thread.
struct Sequential {
    prepare: Option<Prepare>,
    open_fragment: Option<OpenFragment>,
    /// What the last batch gives after what it gave.
    unfinished: Option<Unfinished>,
    input: Option<Inputs>,
    limiter: Option<RateLimiter>,
    journal: Option<Arc<dyn Journal>>,
    /// Of the next batch.
    number: u64,
    costs: SharedCosts,
    gauge: Arc<Gauge>,
    stop: Stop,
}

impl Sequential {
    fn step(&mut self) -> Result<Option<BatchOutcome>> {
        self.stop.check()?;
        if let Some(prepare) = self.prepare.take() {
            self.open_fragment = Some(open(prepare()?, &self.costs)?);
        }
        if let (Some(unfinished), Some(open_fragment)) =
            (self.unfinished.take(), &self.open_fragment)
        {
            self.gauge.set(Waits::No);
            let mut outcome = open_fragment.go_on(unfinished);
            self.unfinished = outcome.rest.take();
            self.gauge.set(Waits::ForReader);
            return Ok(Some(outcome));
        }
        if self.gauge.get() != Waits::ToBegin {
            self.gauge.set(Waits::ForInput);
        }
        let next = self.input.as_mut().and_then(Iterator::next).transpose()?;
        self.gauge.set(Waits::No);
        let (Some(Input { batch, task, .. }), Some(open_fragment)) = (next, &self.open_fragment)
        else {
            self.input = None;
            if let Some(open_fragment) = self.open_fragment.take() {
                close(open_fragment, &self.costs)?;
            }
            return Ok(None);
        };
        let number = self.number;
        self.number += 1;
        let found = self
            .journal
            .as_ref()
            .and_then(|journal| journal.find(number, &batch));
        if found.is_some() {
            return Ok(found);
        }
        if let Some(limiter) = &mut self.limiter {
            loop {
                let left = limiter.turn(monotonic());
                self.stop.sleep(left)?;
                if left.is_zero() {
                    break;
                }
            }
        }
        let mut outcome = open_fragment.run(batch, task);
        self.unfinished = outcome.rest.take();
        if let Some(limiter) = &mut self.limiter {
            limiter.skip(outcome.extra());
        }
        self.gauge.set(Waits::ForReader);
        if let Some(journal) = &self.journal {
            journal.record(number, &mut outcome, None)?;
        }
        Ok(Some(outcome))
    }
}

impl Iterator for Sequential {
    type Item = BatchOutcome;

    fn next(&mut self) -> Option<BatchOutcome> {
        self.input.as_ref()?;
        let outcome = self
            .step()
            .unwrap_or_else(|error| Some(BatchOutcome::failed(error)));
        if outcome
            .as_ref()
            .is_none_or(|outcome| outcome.fault.is_some())
        {
            self.input = None;
        }
        outcome
    }
}

fn open(fragment: BoundFragment, costs: &SharedCosts) -> Result<OpenFragment> {
    let mut open_fragment = fragment.open()?;
    let mut costs = costs.lock().expect("no one panics holding this lock");
    open_fragment.held = costs.held.as_ref().map(|(held, _)| held.clone());
    costs.sessions += 1;
    costs.open += open_fragment.open;
    Ok(open_fragment)
}

fn close(open_fragment: OpenFragment, costs: &SharedCosts) -> Result<()> {
    let counts = open_fragment.close()?;
    add_closed(
        &mut costs
            .lock()
            .expect("no one panics holding this lock")
            .closed,
        counts,
    );
    Ok(())
}
