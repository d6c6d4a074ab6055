//! What a task is asked to do, and what it reports: plain data, the same for every engine.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::parts::Parts;
use crate::error::Error;
use crate::fragment::{BoundStage, StageMetrics};
use crate::place::{ObjectUrl, Shared};
use crate::schema::Schema;
use crate::stage::{Counts, InputFile};

/// What each task of a job does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Its rows pass through a fragment.
    Run(Box<RunOrder>),
    /// Its rows are divided among buckets.
    Divide(DivideOrder),
    /// The keys of its rows are sent to the buckets that have rows of these keys.
    Ask(HashedKeys),
    /// It sends back the rows that were asked for.
    Answer(Box<AnswerOrder>),
    /// Its rows are digested.
    Digest(DigestOrder),
    /// It looks what it can see of a folder and of files.
    Look(LookOrder),
}

/// Rows through a fragment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RunOrder {
    pub(crate) bound: Vec<BoundStage>,
    pub(crate) digest: bool,
    /// How many tasks the job has, each with a session of its own.
    pub(crate) tasks: usize,
    pub(crate) batch_rows: usize,
    pub(crate) input: TaskInput,
    /// For each stage, for each of its inputs, where the rows lie that are broadcast.
    pub(crate) broadcast: Vec<Vec<Option<Parts>>>,
    /// Whether the rows go to further tasks.
    pub(crate) gives_frames: bool,
    /// Whether they are written into parts, for tasks that need all of them, or for this machine.
    pub(crate) writes_parts: bool,
    /// The keys by which further tasks will divide the rows.
    pub(crate) samples: Vec<RowKey>,
    /// Where parts and rejects are written.
    pub(crate) folder: Shared,
}

/// Where the rows of a task come from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TaskInput {
    /// Files that the first stage reads.
    Files(SourceOrder),
    /// Frames, one batch each, of the inputs that enter the first stage one after the other.
    Frames {
        /// For each input the number of tasks that have its rows.
        tasks: Vec<usize>,
    },
    /// Frames of two sides: the first ones are all that the first stage needs of this input, whose rows are too many to be
    /// broadcast; the others are the rows that enter it.
    Joined {
        /// Which of its inputs they are.
        input: usize,
    },
    /// Frames that are collected, of which each task has a range.
    Range {
        /// How they are divided into batches.
        key: RowKey,
        /// What an input without rows looks like.
        schema: Schema,
    },
    /// Frames, for a stage outside of which rows have an effect at once: each batch is numbered by its first row among
    /// all rows of the stage's input, and none has two rows that are equal in `columns`.
    Numbered {
        /// The positions of the columns.
        columns: Vec<usize>,
        /// For each task, the number of its first row. Empty: the last column has the numbers of the rows.
        firsts: Vec<u64>,
    },
}

/// What divides rows into ranges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RowKey {
    /// The values of the columns at these positions: rows with equal values are in one range.
    Equal(Vec<usize>),
    /// The order by the columns at these positions, the falling ones marked. Rows that are alike are ordered by where they
    /// stand, so that ranges are about as long as each other whatever the values.
    Order(Vec<(usize, bool)>),
}

/// A stage that reads files, of which each task begins the stage on its own ones alone: they are what it is given
/// ([`Job::given`](super::engine::Job)).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SourceOrder {
    /// Where relative paths start.
    pub(crate) working_folder: PathBuf,
    /// The stage's first file: each task begins with it, as the stage finds there what columns there are.
    pub(crate) first: Option<TaskFile>,
}

/// A file as the machine that runs the pipeline saw it when the run began, and its number in the run.
pub(crate) type TaskFile = (u32, InputFile);

/// The keys of some rows, evenly spread over all.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeySample {
    /// Of so many rows the key of one, the first; a power of two.
    pub(crate) every: usize,
    /// Cut short where they are long: a border need not be a key.
    pub(crate) keys: Vec<Option<Vec<u8>>>,
}

impl KeySample {
    /// Keeps one of so many keys.
    pub(crate) fn thin(&mut self, of: usize) {
        let keys = std::mem::take(&mut self.keys);
        self.keys = keys.into_iter().step_by(of).collect();
        self.every *= of;
    }

    /// The keys of several samples: as many of few rows as of many, in proportion.
    pub(crate) fn together(mut samples: Vec<KeySample>) -> Vec<Option<Vec<u8>>> {
        let every = samples.iter().map(|sample| sample.every).max();
        for sample in &mut samples {
            sample.thin(every.unwrap_or(1) / sample.every);
        }
        samples.into_iter().flat_map(|sample| sample.keys).collect()
    }
}

/// Rows among buckets.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DivideOrder {
    /// By ranges of their keys, so that the order of the buckets is that of the keys.
    Ranges {
        key: RowKey,
        /// Rising; a bucket begins with its border, the first one with the first key.
        borders: Vec<Option<Vec<u8>>>,
    },
    /// All rows of a key into one bucket, those with a null in it into none.
    Hashes(HashedKeys),
    /// All rows whose columns make one id into one bucket, each with its number as a last column.
    Numbered {
        /// Which columns, and how many buckets.
        ids: HashedKeys,
        /// For each task that gave the rows, the number of its first row.
        firsts: Vec<u64>,
    },
}

/// Keys among buckets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct HashedKeys {
    /// The positions of the columns that make the key.
    pub(crate) columns: Vec<usize>,
    pub(crate) buckets: usize,
}

/// Rows that are asked for by their keys. Frames of the first side are rows, those of the second one keys.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AnswerOrder {
    /// The stage that needs them. It is opened on the rows of each bucket: what is wrong with them shows here, where all rows
    /// of a key are.
    pub(crate) stage: BoundStage,
    /// Which of its inputs they are.
    pub(crate) input: usize,
    /// The positions of the columns that make the key.
    pub(crate) columns: Vec<usize>,
}

/// Rows that a sink took, in their order: its own tasks had them in another one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DigestOrder {
    pub(crate) schema: Schema,
    /// For each task, the number of its first row.
    pub(crate) firsts: Vec<u64>,
    /// The numbers of the rows that the sink rejected, rising.
    pub(crate) rejected: Vec<u64>,
}

/// What must be there for a task.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LookOrder {
    /// A folder with a file that the machine which runs the pipeline has written.
    pub(crate) folder: Shared,
    /// Where relative paths start.
    pub(crate) working_folder: PathBuf,
    /// Files as that machine sees them.
    pub(crate) files: Vec<InputFile>,
    /// Objects as it sees them, one of each bucket or web server.
    pub(crate) objects: Vec<(ObjectUrl, InputFile)>,
}

/// Which task of its job a task is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TaskNumber {
    pub(crate) task: usize,
    /// Unlike that of any other attempt at the task.
    pub(crate) attempt: String,
}

/// What a task has done. Its rejects, if there are any, are in a file beside its part.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct TaskReport {
    pub(crate) task: usize,
    /// What became of each stage's rows, but for the rejects.
    pub(crate) metrics: Vec<StageMetrics>,
    pub(crate) batches: u64,
    /// How many rows each stage rejected.
    pub(crate) rejected: Vec<u64>,
    /// What its sessions counted when they closed.
    pub(crate) closed: Vec<Counts>,
    /// What ended it, if a row or a file did: the same on every attempt.
    pub(crate) fault: Option<Error>,
    /// Where rows are numbered, the number of its row.
    pub(crate) fault_number: Option<u64>,
    /// Bytes of the files that it read.
    pub(crate) read_bytes: u64,
    /// Bytes of the frames that it gave.
    pub(crate) bytes: u64,
    /// For each key that was asked for, some of its rows' keys.
    pub(crate) samples: Vec<KeySample>,
    pub(crate) warnings: Vec<String>,
    pub(crate) open: Duration,
    pub(crate) peak_rss_bytes: u64,
    /// What is added up over all tasks while they run.
    pub(crate) sums: Sums,
}

/// Numbers that are added up over tasks, each with the one of its place, by an engine that does not know what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Sums(Vec<u64>);

impl Sums {
    /// Of one task: its processor time, the bytes of the files that it has read, and the rows that came into each stage.
    pub(crate) fn new(cpu: Duration, read_bytes: u64, rows: impl IntoIterator<Item = u64>) -> Self {
        let cpu_us = u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX);
        Sums([cpu_us, read_bytes].into_iter().chain(rows).collect())
    }

    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_micros(self.at(0))
    }

    pub(crate) fn read_bytes(&self) -> u64 {
        self.at(1)
    }

    /// The rows that came into the stage at this position of the fragment.
    pub(crate) fn rows(&self, position: usize) -> u64 {
        self.at(position + 2)
    }

    fn at(&self, place: usize) -> u64 {
        // No task may have ended yet.
        self.0.get(place).copied().unwrap_or_default()
    }
}

impl TaskReport {
    /// A task that does nothing: a fault of another one has ended what it was to go on with.
    pub(crate) fn of_fault(task: usize, stages: usize, fault: Error) -> Self {
        TaskReport {
            task,
            metrics: vec![StageMetrics::default(); stages],
            rejected: vec![0; stages],
            fault: Some(fault),
            ..TaskReport::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_put_together_in_proportion_to_the_rows_that_they_are_of() {
        let sample = |every: usize, keys: u8| KeySample {
            every,
            keys: (0..keys).map(|key| Some(vec![key])).collect(),
        };
        let keys =
            KeySample::together(vec![sample(1, 5), sample(4, 3), sample(2, 1), sample(1, 0)]);
        let expected = [0, 4, 0, 1, 2, 0].map(|key| Some(vec![key]));
        assert_eq!(keys, expected);
        assert!(KeySample::together(Vec::new()).is_empty());
    }
}
