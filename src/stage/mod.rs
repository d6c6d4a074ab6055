//! What a stage is, and the registry of kinds. A kind is one file (or folder) here and one line in
//! [`STAGES`]: name, options, docs, example, code and tests together.
//!
//! A stage declares how its rows may be partitioned ([`Partitioning`]); it never learns which executor runs it.

pub mod aggregate;
pub mod answers;
mod aside;
pub mod bulk_index;
pub mod concat;
pub mod connection;
pub mod dedupe;
pub mod derive;
mod direct;
pub mod exec;
pub mod explode;
pub mod fetch;
mod files;
pub mod filter;
pub mod geo_point;
pub mod group_concat;
pub mod index;
pub mod join;
mod kind;
pub mod load_arrow;
pub mod load_csv;
pub mod load_ndjson;
pub mod load_parquet;
pub mod normalize_dates;
mod option;
mod partial_file;
mod parts;
mod placeholders;
mod pointers;
mod properties;
mod run;
pub mod select;
pub mod sort;
mod source;
#[cfg(test)]
pub(crate) mod testing;
pub mod write_files;

pub use crate::place::{Folder, InputFile};
pub use crate::stage_options;
pub use kind::{
    FILE_BYTES, NULLED, OnError, REQUESTS, SENT_AGAIN, StageKind, TEXT_BYTES, UNCOMPUTED, options,
};
use option::INSTEAD_OF_TYPES;
pub use option::{StageOption, VARIABLE, options_of, schema_of};
pub use parts::Rest;
pub use properties::{Destination, Earlier, Figures, Policy, Properties, Storage};
pub use run::{REJECTS_FILE, RUN_FILE, Run, UPLOAD_PREFIX, has_ended, is_run_id};
pub use source::{Probe, Source, SourcePart, WaitReason};

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::batch::Batch;
use crate::error::{Error, Result, cut_value};
use crate::format::json::{Document, Nulls};
use crate::order::SortColumn;
use crate::schema::Schema;
use crate::stop::Stop;

/// Every kind there is, in the order of the reference.
pub static STAGES: &[&StageKind] = &[
    &load_csv::KIND,
    &load_ndjson::KIND,
    &load_parquet::KIND,
    &load_arrow::KIND,
    &select::KIND,
    &filter::KIND,
    &derive::KIND,
    &sort::KIND,
    &aggregate::KIND,
    &dedupe::KIND,
    &concat::KIND,
    &explode::KIND,
    &group_concat::KIND,
    &join::KIND,
    &normalize_dates::KIND,
    &geo_point::KIND,
    &fetch::KIND,
    &exec::KIND,
    &write_files::KIND,
    &bulk_index::KIND,
];

/// The kind named `name`.
pub fn kind(name: &str) -> Option<&'static StageKind> {
    STAGES.iter().copied().find(|kind| kind.name == name)
}

/// How the rows of one input may be partitioned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Partitioning {
    /// Contiguous runs; results in input order.
    Any,
    /// As `Any`, each batch numbered by its first row ([`TaskContext::first`]), and no two rows in flight are equal
    /// in these columns: a batch is cut before a row whose equal is in it, and waits for an equal row in flight.
    /// How many batches are in flight follows [`Backpressure`].
    UniqueInFlight(Vec<String>),
    /// Each batch is one request of the outside: `batch_rows` rows, whatever they came in, so that row `r`
    /// of the input belongs to request `r / batch_rows` under every executor; numbered by its first row.
    /// As many are in flight as there are workers; the stage never shares a fragment with another one, and
    /// states its [`Policy`].
    Requests,
    /// Collected; rows equal in these columns are in one batch, in input order; results in key order.
    ByKey(Vec<String>),
    /// Collected; each batch has the rows between two borders of their order by these columns, in input order; results
    /// in that order. Equal rows may be in several batches, the earlier ones in the earlier batch.
    ByRange(Vec<SortColumn>),
    /// Collected; every session gets all rows.
    Broadcast,
}

impl Partitioning {
    /// Whether all rows are held before one is worked on.
    pub fn is_collected(&self) -> bool {
        use Partitioning::{Broadcast, ByKey, ByRange};
        matches!(self, ByKey(_) | ByRange(_) | Broadcast)
    }
}

/// One step of a pipeline: what the TOML options decode to.
pub trait Stage: Send + Sync {
    /// How the rows of each input may be partitioned; the last one stands for all further inputs too. Inputs that
    /// are not `Broadcast` are streamed: several of them, which are `Any`, one after the other
    /// ([`TaskContext::input`]). A stage with a source of its own declares that source's partitioning here too.
    fn inputs(&self) -> Vec<Partitioning>;

    /// The output's columns from the inputs', before any row moves. A kind whose columns stand in a
    /// file looks there, through `folder`.
    fn schema(&self, inputs: &[Schema], folder: &Folder) -> Result<Schema>;

    /// What its options come to, for those who plan, watch, measure or repeat its work.
    fn properties(&self) -> Properties {
        Properties::default()
    }

    /// What its options, the inputs' columns and the beginnings of its files show that can be meant, but hardly
    /// is: `check`, `preview` and a run report it. A run asks before [`Stage::begin`].
    fn lint(&self, _inputs: &[Schema], _folder: &Folder) -> Vec<String> {
        Vec::new()
    }

    /// Looks whether what it needs outside is there, a look a thing, and changes nothing there.
    fn probe(&self, _folder: &Folder) -> Vec<Probe> {
        Vec::new()
    }

    /// Once per run, in the parent, before any session opens. A source of its own gives batches of at
    /// most `batch_rows` rows.
    fn begin(&self, _run: &Run, _inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        Ok(Begun::default())
    }

    /// Once per process, shared by its threads. Opens no file: the session config holds what a session needs from one.
    fn open(&self, setup: Setup) -> Result<Box<dyn Session>>;

    /// Once, in the parent, after the last row: adds counts and warnings, or fails the run.
    fn finish(&self, _totals: &mut Totals) -> Result<()> {
        Ok(())
    }
}

/// What a session must know of the task that a batch is. Where batches are not numbered by row it is the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskContext {
    /// Which row of its stage's whole input the first one is, from 0.
    pub first: u64,
    /// Whether the rows may have been worked on before: in a worker that died.
    pub again: bool,
    /// Whether no other batch of the stage is in flight while this one is.
    pub alone: bool,
    /// Which of the stage's inputs the rows are of, from 0.
    pub input: usize,
}

/// A stage at work in one process.
pub trait Session: Send + Sync {
    /// Works on one batch; called from many threads at once. A row that is to end the run ends the
    /// output ([`Output::fault`]); an error is about the batch as a whole.
    fn run(&self, batch: Batch, task: TaskContext) -> Result<Output>;

    /// Ends the session.
    fn close(self: Box<Self>) -> Result<Counts> {
        Ok(Counts::default())
    }
}

/// The session of a stage whose source has done all: rows go on as they are.
pub struct Passing;

impl Session for Passing {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        Ok(Output::new(batch))
    }
}

/// Where a stage's rows leave the pipeline; fed in input order, in the parent. Dropped without
/// [`Sink::publish`] it leaves everything outside as it was.
pub trait Sink: Send {
    /// Takes what the stage's sessions gave.
    fn push(&mut self, batch: Batch) -> Result<()>;
    /// All written, nothing visible yet.
    fn finish(&mut self) -> Result<Counts>;
    /// Makes it visible; only when every stage has ended without error. What fails once it is visible is a warning.
    fn publish(self: Box<Self>, warnings: &mut Vec<String>) -> Result<Counts>;
    /// In a resumed run, before the first batch: the outcome of the rows before the checkpoint.
    fn resume(&mut self, _rejected: u64, _counts: &Counts) {}
    /// What the user should know, after [`Sink::finish`].
    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }
    /// The run has failed: puts back what can be, and says what it leaves behind.
    fn abandon(self: Box<Self>) -> Vec<String> {
        Vec::new()
    }
}

/// Makes a stage's rows of what its sessions gave: the second of two steps, where the first can be done for each batch
/// by itself (a sorted batch, a partial sum). Fed in input order, in the parent; a stage that has one says so in
/// [`Properties::combined`]. What the sessions give, which crosses pipes as any batch does, need not have the stage's
/// columns.
///
/// It depends on the rows alone, never on how they were cut into batches. The ledger counts a row that it holds when it
/// is given or left out: what the sessions leave out counts as dropped, and so does what is left out here.
pub trait Combiner: Send {
    /// Takes what a session gave of one batch; what it gives at once, without rejects.
    fn push(&mut self, batch: Batch) -> Result<Option<Output>>;

    /// After the last batch: what it holds, in parts if that is much ([`Output::rest`]).
    fn finish(self: Box<Self>) -> Result<Option<Output>>;
}

/// Warns of what failed once a sink's results were visible: what was not done, and what that means (`next`).
pub(crate) fn warn_published(warnings: &mut Vec<String>, done: Result<()>, next: &str) {
    if let Err(error) = done {
        warnings.push(format!(
            "the load is published, but {}; {next}",
            error.in_warning()
        ));
    }
}

/// Numbers that a kind keeps beside the ledger, by name; of several sessions they are added up.
pub type Counts = BTreeMap<String, u64>;

/// Adds `more` to `counts`.
pub fn add_counts(counts: &mut Counts, more: Counts) {
    for (name, count) in more {
        *counts.entry(name).or_default() += count;
    }
}

/// What a session needs to open.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The inputs' columns.
    pub inputs: Vec<Schema>,
    /// What [`Stage::schema`] made of them.
    pub output: Schema,
    /// What [`Stage::begin`] made for every session.
    pub session_config: Value,
    /// For each `Broadcast` input all its rows, shared columns resolved.
    pub broadcast: Vec<Option<Batch>>,
    /// How many sessions the stage has at once, one a process.
    pub sessions: usize,
    /// Whether the run is to stop, for sessions that wait for something.
    pub stop: Stop,
    /// Where kinds that talk to a server signal that it is overloaded.
    pub backpressure: Backpressure,
    /// Where sessions say what they wait for.
    pub wait_reason: WaitReason,
}

/// Signals to the executor, at once and from any process, that the other side refused rows of a batch or was too
/// slow for them: the executor then keeps fewer batches in flight.
#[derive(Clone, Default)]
pub struct Backpressure(Option<Arc<Signal>>);

type Signal = dyn Fn(u64) + Send + Sync;

impl Backpressure {
    /// What hears it.
    pub fn new(signal: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Backpressure(Some(Arc::new(signal)))
    }

    /// It happened to the batch whose first row is `row` of the stage's whole input.
    pub fn signal(&self, row: u64) {
        if let Some(signal) = &self.0 {
            signal(row);
        }
    }
}

impl std::fmt::Debug for Backpressure {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Backpressure")
    }
}

/// What one batch became. `rows_in + added = batch.rows() + rejects + dropped` must hold.
#[derive(Debug)]
pub struct Output {
    /// The rows that go on.
    pub batch: Batch,
    /// The rows that do not, rising by row.
    pub rejects: Vec<Reject>,
    /// Rows of input, where a row of the batch stands for several (a block of records).
    pub rows_in: Option<u64>,
    /// Rows given, where a row of the output stands for several (rendered text).
    pub rows_out: Option<u64>,
    /// Rows given beyond one for each row of input.
    pub added: u64,
    /// Rows left out because that is what the stage is for.
    pub dropped: u64,
    /// Numbers of the kind.
    pub counts: Counts,
    /// What was asked of the outside, where a batch is one request: for the run's log.
    pub job: Option<Job>,
    /// What is wrong with the row after these: they go on, then the run fails with it.
    pub fault: Option<Error>,
    /// What makes the next part, where the batch becomes more rows than fit into one: the numbers above are
    /// of this part alone.
    pub rest: Option<Rest>,
}

/// A request or a command as it was made.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Job {
    /// Who was asked; `:` is this machine.
    pub host: String,
    /// When it began, in seconds since 1970.
    pub started_s: f64,
    /// How long it took.
    pub took_s: f64,
    /// Bytes that were sent to it.
    pub sent: u64,
    /// Bytes that it gave back.
    pub received: u64,
    /// Requests that it took beyond the first: tries, pages, halves.
    #[serde(default)]
    pub extra: u64,
    /// Its exit status; -1 if it was ended; of a request 1 if it failed.
    pub exit: i32,
    /// The signal that ended it, or 0.
    pub signal: i32,
    /// What it was, on one line, as one would type it.
    pub command: String,
    /// The end of what it said beside its answer.
    pub said: String,
}

impl Job {
    /// One that begins now.
    pub fn begin(host: impl Into<String>, command: String) -> Self {
        Job {
            host: host.into(),
            started_s: crate::clock::now().timestamp_micros() as f64 / 1e6,
            command,
            ..Job::default()
        }
    }

    /// Whether it ended well.
    pub fn succeeded(&self) -> bool {
        self.exit == 0 && self.signal == 0
    }
}

impl Output {
    /// What `session` makes of the rows in front of a faulty one, and its fault.
    pub fn before(session: &dyn Session, rows: Batch, fault: Error) -> Result<Self> {
        let rows_in = Some(rows.rows() as u64);
        Ok(Output {
            rows_in,
            fault: Some(fault),
            ..session.run(rows, TaskContext::default())?
        })
    }

    /// Every row of input goes on as one row.
    pub fn new(batch: Batch) -> Self {
        Output {
            job: None,
            fault: None,
            rest: None,
            batch,
            rejects: Vec::new(),
            rows_in: None,
            rows_out: None,
            added: 0,
            dropped: 0,
            counts: Counts::default(),
        }
    }
}

/// A row that could not be used, and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reject {
    /// Its number in the stage's input batch (for a block, in the order of the records).
    pub row: u32,
    /// Why.
    pub reason: String,
    /// The column at fault.
    pub column: Option<String>,
    /// The value at fault, cut at [`VALUE_BYTES_MAX`](crate::error::VALUE_BYTES_MAX).
    pub value: Option<String>,
    /// Where the row came from.
    pub origin: Option<u64>,
    /// The line it begins on, from a loader.
    pub line: Option<u64>,
    /// The byte it begins at, from a loader.
    pub byte: Option<u64>,
    /// The row as a document.
    pub document: Document,
    /// What the kind adds, beside the other members.
    #[serde(default)]
    pub more: Map<String, Value>,
    /// Where `document` is an item that was asked about: the record of the answer that is at fault.
    #[serde(default)]
    pub record: Option<Document>,
}

impl Reject {
    /// Rejects row `row` of `batch`.
    pub fn of(
        batch: &Batch,
        schema: &Schema,
        row: usize,
        column: Option<&str>,
        value: Option<&str>,
        reason: String,
    ) -> Self {
        let one = batch.slice(row, 1).resolve();
        Reject {
            row: crate::columns::row_number(row),
            reason,
            column: column.map(str::to_owned),
            value: value.map(cut_value),
            origin: batch.origin(row),
            line: None,
            byte: None,
            document: Document::of_row(schema, &one, Nulls::Omit),
            more: Map::new(),
            record: None,
        }
    }
}

/// What [`Stage::begin`] makes ready.
#[derive(Default)]
pub struct Begun {
    /// The batches of a stage without input.
    pub source: Option<Source>,
    /// Where the rows leave the pipeline.
    pub sink: Option<Box<dyn Sink>>,
    /// What makes the stage's rows of what its sessions gave.
    pub combiner: Option<Box<dyn Combiner>>,
    /// What every session needs to open, as plain data.
    pub session_config: Value,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Whether finished work stays done outside, so that a failed run can be resumed after it.
    pub resumable: bool,
}

/// What a stage did, when its last row is through.
pub struct Totals<'a> {
    /// Rows of each input; of a broadcast one, all of it once.
    pub rows_in: Vec<u64>,
    /// The counts of all sessions, to which more may be added.
    pub counts: &'a mut Counts,
    /// What the user should know.
    pub warnings: &'a mut Vec<String>,
}
