//! What a stage has outside: the files and other sources that it reads, and what a look at them finds.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::batch::Batch;
use crate::error::Result;
use crate::place::InputFile;

/// Batches, in order; after an error there are no more.
pub type SourcePart = Box<dyn Iterator<Item = Result<Batch>> + Send>;

/// Where a stage's batches come from outside.
pub struct Source {
    /// What it consists of, in order: files, for example. Each may be read while the ones before it are,
    /// by a thread of its own, and opens nothing before it is asked for its first batch.
    pub parts: Vec<SourcePart>,
    /// How far it has read, in bytes of the files as they lie there; grows while the batches are read.
    pub bytes_done: Arc<AtomicU64>,
    /// The files it reads; of a stage with [`Properties::only_new`](super::Properties::only_new) one a part.
    pub files: Vec<InputFile>,
}

/// What a session waits for outside, in words, for those who watch the run: a server that is away, say.
/// Sessions in child processes tell it to nobody.
#[derive(Debug, Clone, Default)]
pub struct WaitReason(Arc<Mutex<String>>);

impl WaitReason {
    /// It waits for this.
    pub fn set(&self, words: String) {
        *self.lock() = words;
    }

    /// It waits no longer.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// What it waits for; empty: nothing.
    pub fn get(&self) -> String {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.0.lock().expect("no one panics holding this lock")
    }
}

/// A thing outside that a stage needs, looked at before a run.
#[derive(Debug)]
pub struct Probe {
    /// What was looked at: a file, a folder, a server.
    pub at: String,
    /// How it is, in a few words.
    pub found: Result<String>,
}

impl Probe {
    /// What a look at something found.
    pub fn new(at: impl std::fmt::Display, found: Result<String>) -> Self {
        let at = at.to_string();
        Probe { at, found }
    }
}
