//! Executors: where the hands that a stage's rows are dealt into are played.

use serde::{Deserialize, Serialize};

/// The word of the pipeline file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// On the thread that wants the rows.
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
    pub fn word(self) -> &'static str {
        match self {
            Kind::Sequential => "sequential",
            Kind::Threads => "threads",
            Kind::Processes => "processes",
            Kind::Hybrid => "hybrid",
        }
    }
}

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
    /// One hand after the other, on the thread that wants the rows.
    pub const SEQUENTIAL: Grid = Grid {
        kind: Kind::Sequential,
        processes: 1,
        threads: 1,
    };

    /// How many hands may be played at once.
    pub fn workers(self) -> usize {
        self.processes * self.threads
    }
}
