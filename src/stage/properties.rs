//! What a stage says of itself as data, for those who plan, watch, measure or repeat its work. So nobody outside
//! a kind's own file needs its name or its options.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Counts;
use crate::error::{Error, Result};
use crate::place::{Endpoint, NamedFiles, STDIN, is_in_store};
use crate::shown::thousands;

/// The option that names the server of objects.
pub(super) const ENDPOINT: &str = "endpoint";

/// What a stage's options come to. The default is that of a kind that neither reads nor writes anything outside.
#[derive(Debug, Clone, Default)]
pub struct Properties {
    /// Rows a batch, where the kind has an option of its own for that ([`StageKind::batch_option`]).
    ///
    /// [`StageKind::batch_option`]: super::StageKind::batch_option
    pub batch_rows: Option<usize>,
    /// The files that it reads.
    pub reads: NamedFiles,
    /// Whether it leaves out files that a run of the pipeline has published already.
    pub only_new: bool,
    /// Where an input is broadcast: the columns of the first input and of that one in which a row must equal the rows that
    /// it needs of it; a null equals none.
    pub needs_equal: Option<(Vec<String>, Vec<String>)>,
    /// Where its rows leave the pipeline.
    pub writes: Option<Destination>,
    /// What holds for its requests, where each batch is one ([`Partitioning::Requests`]).
    ///
    /// [`Partitioning::Requests`]: super::Partitioning::Requests
    pub policy: Option<Policy>,
    /// Whether a row that is worked on twice has another effect outside, or ends otherwise, than one that is worked on
    /// once: nobody may try again who does not know how far somebody else came.
    pub once: bool,
    /// Whether a [`Combiner`](super::Combiner) makes its rows of what its sessions give.
    pub combined: bool,
    /// The columns for which it holds all values until the input has ended.
    pub holding: Vec<String>,
}

/// What holds for requests to the outside: their pace, their repetition, their limits, and where they are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The minimum time between two of them as they are dispatched; zero: no limit.
    pub every: Duration,
    /// Whether the request of a worker that died is sent again; otherwise its rows are rejects.
    pub again: bool,
    /// More rejected rows than this end the run.
    pub rejects_max: Option<u64>,
    /// More processes than this may not have a session at once.
    pub sessions_max: Option<usize>,
    /// How long sessions take to end what they have begun outside: workers are given that time when the
    /// run ends early.
    pub ending: Option<Duration>,
    /// Sessions start processes. They are then opened in worker processes under every executor, so that
    /// these end them however the run ends.
    pub starts_processes: bool,
}

impl Properties {
    /// Paths and patterns of the files that it reads, standard input left out.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let paths = self.reads.names.iter().map(String::as_str);
        paths.filter(|path| *path != STDIN)
    }

    /// Whether it reads standard input, which can be read once only.
    pub fn reads_stdin(&self) -> bool {
        self.reads.names.iter().any(|path| path == STDIN)
    }

    /// An error if a server of objects is named, and no object.
    pub(crate) fn refuse_idle_endpoint(&self) -> Result<()> {
        let (endpoint, named) = match &self.writes {
            Some(destination) => (&destination.endpoint, &destination.named),
            None => (&self.reads.endpoint, &self.reads.names),
        };
        if endpoint.is_none() || named.iter().any(|name| is_in_store(name)) {
            return Ok(());
        }
        Err(
            Error::usage("`endpoint` is for objects, and the stage names none")
                .hint("name one by `s3://`, `gs://` or `az://`, or leave `endpoint` out")
                .of([ENDPOINT]),
        )
    }
}

/// Where the rows of a sink leave the pipeline.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The option that names the place.
    pub option: &'static str,
    /// What that option says: one place, or the servers of one cluster.
    pub named: Vec<String>,
    /// What that is.
    pub storage: Storage,
    /// The server that has the place, if it is an object and its stage names one.
    pub endpoint: Option<Endpoint>,
    /// Whether rows are visible there as soon as they are written, before the run has ended well.
    pub in_place: bool,
    /// What becomes of the rows that earlier runs have left there.
    pub earlier: Earlier,
}

/// What becomes of the rows that earlier runs have left at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// The new rows replace them.
    Replaced,
    /// They stay beside the new rows, or are updated by those of the same id.
    Kept,
    /// They stay, and the same row is there once more: it has no id.
    Doubled,
}

impl Earlier {
    /// In an index.
    pub(super) fn of_index(is_replaced: bool, id: &[String]) -> Earlier {
        match (is_replaced, id) {
            (true, _) => Earlier::Replaced,
            (false, []) => Earlier::Doubled,
            (false, _) => Earlier::Kept,
        }
    }
}

/// What kind of place rows are written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// Standard output.
    Stdout,
    /// A file, or a folder that is one result.
    Disk {
        /// Its path, as the pipeline file has it.
        path: String,
        /// What stands before a path in the option.
        prefix: &'static str,
    },
    /// An index on servers.
    Index {
        /// The option that names it.
        option: &'static str,
        /// Its name.
        name: String,
        /// Why a load into a fresh index would not do the same work.
        bound: Option<&'static str>,
        /// The setting that loads an index on this machine instead.
        local: &'static str,
    },
}

impl Storage {
    /// Its path, if it is on this machine's disk.
    pub fn path(&self) -> Option<&str> {
        match self {
            Storage::Disk { path, .. } => Some(path),
            Storage::Stdout | Storage::Index { .. } => None,
        }
    }
}

/// What a run has measured of a stage, from which its kind makes lines of the report's text.
#[derive(Debug, Clone, Copy)]
pub struct Figures<'a> {
    /// Numbers of the kind.
    pub counts: &'a Counts,
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows given beyond one each.
    pub added: u64,
    /// From the first work to the last.
    pub wall_s: f64,
    /// Processor time.
    pub cpu_s: f64,
    /// Time that opening sessions took.
    pub open_s: f64,
    /// How many sessions were opened.
    pub sessions: u64,
}

impl<'a> Figures<'a> {
    /// Counts alone; the other figures are 0.
    pub fn of(counts: &'a Counts) -> Self {
        Figures {
            counts,
            rows_in: 0,
            added: 0,
            wall_s: 0.0,
            cpu_s: 0.0,
            open_s: 0.0,
            sessions: 0,
        }
    }

    /// The count of this name; 0 if nothing was counted.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    /// Each of these counts that is not 0, with its words.
    pub fn parts(&self, words: &[(&str, &str)]) -> Vec<String> {
        let there = words.iter().filter(|(name, _)| self.count(name) > 0);
        let parts = there.map(|(name, words)| format!("{} {words}", thousands(self.count(name))));
        parts.collect()
    }
}
