//! The report: what was measured, as JSON and as a table.

pub mod comparison;
pub(crate) mod reasons;
pub mod since;
mod table;
pub mod verdict;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Place};
use crate::stage::{Counts, FILE_BYTES, InputFile, TEXT_BYTES};

pub use crate::shown::{bytes, rows, seconds, things, thousands};
pub use comparison::Comparison;
pub use table::{Align, as_markdown, both_ends, markdown, plain, render, whole};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All stages ended, and what they wrote was published.
    Done,
    /// An error; nothing was published, unless the error came in publishing.
    Failed,
    /// A signal.
    Interrupted,
}

/// Everything that is known of a run. Times are in seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its file.
    pub pipeline_file: String,
    /// The run's id.
    pub run: String,
    /// How it ended.
    pub status: Status,
    /// Why it did not end well.
    pub error: Option<Failure>,
    /// `streamed` or `staged`.
    pub mode: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// From beginning to end.
    pub wall_s: f64,
    /// Processor time of the program and its children, and of the tasks of a cluster.
    pub cpu_s: f64,
    /// What a GB of input took: of text, where all that was loaded is text, else of what was read of the files as they
    /// lie there.
    #[serde(default)]
    pub s_per_gb: Option<f64>,
    /// About how many bytes of its files a run has worked on that did not end well.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub read_bytes: Option<u64>,
    /// Peak memory: this process's and its children's own.
    pub peak_rss_bytes: u64,
    /// Where it ran.
    pub machine: Machine,
    /// What it read.
    pub inputs: Vec<InputFile>,
    /// What each stage did, in the file's order.
    pub stages: Vec<StageReport>,
    /// The rows that were set aside.
    pub rejects: Rejects,
    /// What the cluster did, if there was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cluster: Option<ClusterReport>,
    /// What the user should know of the run as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
}

impl Report {
    /// Of a pipeline that could not even be begun.
    pub fn of_no_run(file: &Path, error: &Error) -> Report {
        Report {
            pipeline: file
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            pipeline_file: file.display().to_string(),
            run: String::new(),
            status: Status::Failed,
            error: Some(Failure::of(error)),
            mode: "streamed".into(),
            started_at: crate::clock::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            wall_s: 0.0,
            cpu_s: 0.0,
            s_per_gb: None,
            read_bytes: None,
            peak_rss_bytes: 0,
            machine: Machine::this(),
            inputs: Vec::new(),
            stages: Vec::new(),
            rejects: Rejects::default(),
            cluster: None,
            notes: Vec::new(),
        }
    }
}

impl Report {
    /// What it read.
    fn amount(&self) -> Amount {
        let all = self.inputs.iter().map(|file| file.bytes).sum();
        let count = |name| move |stage: &StageReport| stage.counts.get(name).copied();
        let text = |stage: &StageReport| count(TEXT_BYTES)(stage).unwrap_or_default();
        let files: Vec<(u64, u64)> = self
            .stages
            .iter()
            .filter_map(|stage| Some((count(FILE_BYTES)(stage)?, text(stage))))
            .collect();
        Amount {
            all,
            read: match files[..] {
                // A report of before they were counted.
                [] => all,
                _ => files.iter().map(|(bytes, _)| bytes).sum(),
            },
            text: self.stages.iter().map(text).sum(),
            is_text: files.iter().all(|(bytes, text)| *bytes == 0 || *text > 0),
        }
    }

    /// What a GB of input took; see [`Report::s_per_gb`].
    pub fn per_gb(&self) -> Option<f64> {
        let read = self.amount().rated();
        (read > 0).then(|| self.wall_s * 1e9 / read as f64)
    }
}

/// How much a run read.
struct Amount {
    /// Bytes of its input files as they lie there.
    all: u64,
    /// Those of them that were read: of some formats columns that are not asked for are not.
    read: u64,
    /// Text that was loaded, inflated if need be.
    text: u64,
    /// Whether all that was read is text.
    is_text: bool,
}

impl Amount {
    /// What its time is set against.
    fn rated(&self) -> u64 {
        match self.text {
            text @ 1.. if self.is_text => text,
            _ => self.read,
        }
    }
}

/// What a cluster did for a run. What its engine does not say is absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ClusterReport {
    /// Its engine and the engine's version, in words.
    pub engine: String,
    /// Until it took tasks.
    pub start_s: f64,
    /// Tasks whose work counts.
    pub tasks: u64,
    /// How often a task ended before its work was done, and was tried again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failed_tasks: Option<u64>,
    /// Processes of the engine that were lost.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lost_executors: Option<u64>,
    /// What tasks gave to other tasks through the engine.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exchanged_bytes: Option<u64>,
    /// Processor time of the tasks.
    pub cpu_s: f64,
    /// Peak memory of the largest task.
    pub task_peak_rss_bytes: u64,
}

impl Failure {
    /// What the report says of an error.
    pub fn of(error: &Error) -> Failure {
        Failure {
            stage: error.stage.clone(),
            message: error.message.clone(),
            source: error.place.clone(),
        }
    }
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// In which stage.
    pub stage: Option<String>,
    /// What.
    pub message: String,
    /// Where the row in question began.
    pub source: Option<Place>,
}

/// The machine and the program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// Processors this process may use.
    pub cores: usize,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// The operating system.
    pub os: String,
    /// The program and its version.
    pub version: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"));
        let kilobytes = total.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Machine {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: kilobytes.unwrap_or_default() * 1024,
            os: std::env::consts::OS.into(),
            version: concat!("etl ", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// What one stage did. `rows_in + added = rows_out + rejected + dropped`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageReport {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its options, secrets masked.
    pub options: Value,
    /// Its executor.
    pub executor: String,
    /// Child processes.
    pub processes: usize,
    /// Threads in each.
    pub threads: usize,
    /// Rows a batch, where the pipeline says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch_rows: Option<usize>,
    /// Batches worked on.
    pub batches: u64,
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows given beyond one each.
    pub added: u64,
    /// Rows that went on, or are now outside.
    pub rows_out: u64,
    /// Rows set aside.
    pub rejected: u64,
    /// Rows left out on purpose.
    pub dropped: u64,
    /// From the first work to the last; in a staged run all that it took, processes started and sessions
    /// opened.
    pub wall_s: f64,
    /// Time inside, of all workers.
    pub busy_s: f64,
    /// Processor time of that.
    pub cpu_s: f64,
    /// Time of that spent waiting for a processor.
    pub queued_s: f64,
    /// Time inside of what one thread does alone: reading its files, partitioning by key, feeding its sink.
    #[serde(default)]
    pub serial_s: f64,
    /// In a staged run the bytes in memory of its inputs and of what it gave.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub moved_bytes: Option<u64>,
    /// Starting child processes.
    pub start_s: f64,
    /// Opening sessions.
    pub open_s: f64,
    /// Encoding and decoding batches for child processes.
    pub copy_s: f64,
    /// How many sessions were opened.
    pub sessions: u64,
    /// Of what it gave, if that was wanted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
    /// Numbers of its kind.
    pub counts: Counts,
    /// Where its rows are now, of a sink whose run is done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub published: Option<Published>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl StageReport {
    /// A stage that has done nothing yet, sequential.
    pub fn named(name: &str) -> Self {
        StageReport {
            name: name.into(),
            kind: String::new(),
            options: Value::Null,
            executor: "sequential".into(),
            processes: 1,
            threads: 1,
            batch_rows: None,
            batches: 0,
            rows_in: 0,
            added: 0,
            rows_out: 0,
            rejected: 0,
            dropped: 0,
            wall_s: 0.0,
            busy_s: 0.0,
            cpu_s: 0.0,
            queued_s: 0.0,
            serial_s: 0.0,
            moved_bytes: None,
            start_s: 0.0,
            open_s: 0.0,
            copy_s: 0.0,
            sessions: 0,
            digest: None,
            counts: Counts::new(),
            published: None,
            warnings: Vec::new(),
        }
    }

    /// Time inside that was neither spent on a processor nor waiting for one.
    pub fn waited_s(&self) -> f64 {
        (self.busy_s - self.cpu_s - self.queued_s).max(0.0)
    }

    /// Whether every row is accounted for.
    pub fn balances(&self) -> bool {
        self.rows_in + self.added == self.rows_out + self.rejected + self.dropped
    }
}

/// Where results went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The file, folder or index, secrets masked.
    pub place: String,
    /// How large it is, where that can be known here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
}

/// The rows that were set aside.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Rejects {
    /// How many.
    pub rows: u64,
    /// Where they are, one JSON object a line.
    pub file: Option<String>,
    /// Why, for the table.
    #[serde(skip)]
    pub reasons: Vec<Reason>,
}

/// Why rows were set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// How many.
    pub rows: u64,
    /// The first of them in words.
    pub first: String,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = if self.rows > 1 { ", first" } else { "" };
        write!(f, "{}{first}: {}", rows(self.rows), self.first)
    }
}
