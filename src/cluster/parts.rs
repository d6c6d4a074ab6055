//! Parts: what the tasks of a job leave in the folder that all machines see, one file a task.
//!
//! A task writes under a name of its attempt, and renames when all is written: two attempts at a task leave one part,
//! and both would be the same.

use std::fs::File;
use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::order::TaskNumber;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::executor::Batches;
use crate::executor::processes::frames::{Frame, read_frame};

/// The parts of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parts {
    folder: PathBuf,
    tasks: usize,
}

/// Where a task leaves its rows.
const PART: &str = "part";
/// What to do where they find no room.
const FULL: &str = "what tasks leave to each other and to this run needs room in the `folder` of `[cluster]`: make some, or name another folder";
/// Where it leaves its rejects.
pub(super) const REJECTS: &str = "rejects";

impl Parts {
    /// The parts of `tasks` tasks in `folder`.
    pub(crate) fn new(folder: PathBuf, tasks: usize) -> Self {
        Parts { folder, tasks }
    }

    /// The batches of all parts, in the order of the tasks; a part is opened when the ones before it were read.
    pub(crate) fn batches(&self) -> Batches {
        let Parts { folder, tasks } = self.clone();
        Box::new((0..tasks).flat_map(move |task| {
            let path = path(&folder, PART, task);
            let (batches, error) = match File::open(&path) {
                Ok(file) => (Some(PartReader::new(file, path)), None),
                Err(error) => (
                    None,
                    Some(Error::io("open the part", path.display(), &error)),
                ),
            };
            error
                .into_iter()
                .map(Err)
                .chain(batches.into_iter().flatten())
        }))
    }
}

/// Where a task says that it has begun.
const BEGUN: &str = "begun";
/// Where a task says why no other one need begin.
const STOPPED: &str = "stopped";

/// Whether a task has begun before, in an attempt of which nothing is known; now it has.
pub(crate) fn begun_before(folder: &Path, task: usize) -> Result<bool> {
    let path = path(folder, BEGUN, task);
    match File::create_new(&path) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(true),
        Err(error) => Err(Error::io("create", path.display(), &error)),
    }
}

/// Leaves for all tasks of the job that begin from now on a fault that ends the run, whatever they do.
pub(crate) fn stop_others(folder: &Path, number: &TaskNumber, fault: &Error) -> Result<()> {
    let mut file = AttemptFile::create(folder, STOPPED, number.task, &number.attempt)?;
    file.target = folder.join(STOPPED);
    file.line(&serde_json::to_string(fault).expect("it is plain data"))?;
    file.finish()
}

/// The fault that a task of the job left for the others, if one did.
pub(crate) fn stopped_by(folder: &Path) -> Result<Option<Error>> {
    let path = folder.join(STOPPED);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path.display(), &error)),
    };
    let fault = serde_json::from_slice(&text)
        .map_err(|error| Error::failed(format!("cannot read `{}`", path.display())).cause(error));
    fault.map(Some)
}

pub(super) fn path(folder: &Path, what: &str, task: usize) -> PathBuf {
    folder.join(format!("{what}-{task:06}"))
}

/// The batches of one part.
struct PartReader {
    file: BufReader<File>,
    path: PathBuf,
    payload: Vec<u8>,
    ended: bool,
}

impl PartReader {
    fn new(file: File, path: PathBuf) -> Self {
        PartReader {
            file: BufReader::with_capacity(1 << 20, file),
            path,
            payload: Vec::new(),
            ended: false,
        }
    }

    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let cut = || {
            Error::failed(format!("the part `{}` is cut short", self.path.display()))
                .hint("was it changed while the run went on? run again")
        };
        let header = read_frame(&mut self.file, &mut self.payload).ok_or_else(cut)?;
        if header == END {
            return Ok(None);
        }
        Batch::decode(&self.payload).map(Some)
    }
}

impl Iterator for PartReader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_batch().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The header of the frame that ends a part.
const END: &[u8] = b"{\"end\":true}";

/// A file of one attempt at a task; dropped before it is finished, it is gone.
pub(crate) struct AttemptFile {
    writer: BufWriter<File>,
    path: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl AttemptFile {
    /// For the rows of a task.
    pub(crate) fn part(folder: &Path, task: usize, attempt: &str) -> Result<Self> {
        Self::create(folder, PART, task, attempt)
    }

    /// For its rejects.
    pub(crate) fn rejects(folder: &Path, task: usize, attempt: &str) -> Result<Self> {
        Self::create(folder, REJECTS, task, attempt)
    }

    fn create(folder: &Path, what: &str, task: usize, attempt: &str) -> Result<Self> {
        let target = path(folder, what, task);
        let path = folder.join(format!(".{what}-{task:06}.{attempt}"));
        let file = File::create(&path).map_err(|error| {
            Error::io("create", path.display(), &error).hint(
                "the `folder` of `[cluster]` must be one path on all machines, and take files",
            )
        })?;
        Ok(AttemptFile {
            writer: BufWriter::with_capacity(1 << 20, file),
            path,
            target,
            finished: false,
        })
    }

    /// Writes a batch that was encoded.
    pub(crate) fn frame(&mut self, frame: &Frame) -> Result<()> {
        let written = frame.write(&mut self.writer);
        self.io(written)
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: &str) -> Result<()> {
        let written = self
            .writer
            .write_all(line.as_bytes())
            .and_then(|()| self.writer.write_all(b"\n"));
        self.io(written)
    }

    /// All rows are written: gives the part its name.
    pub(crate) fn finish_part(mut self) -> Result<()> {
        let end: serde_json::Value = serde_json::from_slice(END).expect("it is JSON");
        self.frame(&Frame::of(Vec::new(), &end)?)?;
        self.finish()
    }

    /// All lines are written: gives the file its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        let written = self
            .writer
            .flush()
            .and_then(|()| std::fs::rename(&self.path, &self.target));
        self.io(written)?;
        self.finished = true;
        Ok(())
    }

    fn io<T>(&self, result: std::io::Result<T>) -> Result<T> {
        result.map_err(|error| {
            let failed = Error::io("write", self.path.display(), &error);
            match error.kind() {
                StorageFull | QuotaExceeded | FileTooLarge => failed.hint(FULL),
                _ => failed,
            }
        })
    }
}

impl Drop for AttemptFile {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed goes with the run's folder.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
