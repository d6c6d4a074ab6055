//! What a stage has outside: the files and other sources that it reads, and what a look at them finds.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};

use super::properties::ENDPOINT;
use crate::batch::Batch;
use crate::error::{Class, Error, OfValue, Result};
use crate::place::{Endpoint, InputFile, NamedFiles, STDIN};
use crate::schema::Schema;

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

/// What a look says of a file that opens, where no columns are known that it could be compared with.
pub(super) const UNCOMPARED: &str = "opens; its columns are not compared";

/// The columns that a look compares a file with. If the first file has none, that is the error of the first file only.
/// What the pipeline file says wrong of them is no file's fault: `check` reports it with its line.
pub(super) fn columns_for(is_first: bool, columns: &Result<Schema>) -> Result<Option<&Schema>> {
    match columns {
        Ok(columns) => Ok(Some(columns)),
        Err(error) if is_first && error.class != Class::Usage => Err(Error::clone(error)),
        Err(_) => Ok(None),
    }
}

/// What the options `files` and `endpoint` name; `only_new` stands beside them, and `index_at_end` names a format that is
/// not read as a stream.
pub(super) fn named(
    files: &[String],
    endpoint: &str,
    only_new: bool,
    index_at_end: Option<&str>,
) -> Result<NamedFiles> {
    let stdin = files.iter().filter(|file| *file == STDIN).count();
    if files.is_empty() {
        return Err(Error::usage("`files` is empty")
            .hint("name at least one file or glob")
            .of(["files"]));
    }
    if let (Some(format), 1..) = (index_at_end, stdin) {
        let message =
            format!("{format} file cannot be read from standard input: its index is at its end");
        return Err(Error::usage(message).of(["files", STDIN]));
    }
    if only_new && stdin > 0 {
        return Err(Error::usage(
            "`only_new` leaves out files by their names, and standard input (`-`) has none",
        )
        .of(["files", STDIN])
        .of(["only_new"]));
    }
    if stdin > 1 {
        return Err(
            Error::usage("`files`: standard input (`-`) can be read only once")
                .of(["files", STDIN]),
        );
    }
    Ok(NamedFiles {
        names: files.to_vec(),
        endpoint: named_endpoint(endpoint, files)?,
    })
}

/// What the option `endpoint` of a stage says that names these; `None`: nothing.
pub(super) fn named_endpoint(given: &str, names: &[String]) -> Result<Option<Endpoint>> {
    if given.is_empty() {
        return Ok(None);
    }
    let endpoint = Endpoint::parse(given, names).map_err(|error| error.about(ENDPOINT));
    endpoint.map(Some).of([ENDPOINT])
}

/// What helps where the files of one stage differ.
pub(super) const OTHER_COLUMNS: &str = "one stage reads files of the same columns in the same order: narrow `files` to those that are alike, or read this one in a pipeline of its own, with `select` (`keep`, `rename`) to bring its columns into line";
