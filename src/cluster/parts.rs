//! Parts: what the tasks of a job leave in the folder that all machines see, one file a task.
//!
//! What a task writes has its name when all is written: two attempts at a task leave one part, and both would be the same.

use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
use std::io::{BufReader, Write};

use serde::{Deserialize, Serialize};

use super::order::TaskNumber;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::executor::Batches;
use crate::executor::processes::frames::{Frame, read_frame};
use crate::place::{ReadSeek, Shared, SharedWriter};

/// The parts of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parts {
    folder: Shared,
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
    pub(crate) fn new(folder: Shared, tasks: usize) -> Self {
        Parts { folder, tasks }
    }

    /// The batches of all parts, in the order of the tasks; a part is opened when the ones before it were read.
    pub(crate) fn batches(&self) -> Batches {
        let Parts { folder, tasks } = self.clone();
        Box::new((0..tasks).flat_map(move |task| {
            let (batches, error) = match PartReader::open(place(&folder, PART, task)) {
                Ok(part) => (Some(part), None),
                Err(error) => (None, Some(error)),
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
pub(crate) fn begun_before(folder: &Shared, task: usize) -> Result<bool> {
    Ok(!place(folder, BEGUN, task).mark()?)
}

/// Leaves for all tasks of the job that begin from now on a fault that ends the run, whatever they do.
pub(crate) fn stop_others(folder: &Shared, number: &TaskNumber, fault: &Error) -> Result<()> {
    let mut file = AttemptFile::create(folder.join(STOPPED), &number.attempt)?;
    file.line(&serde_json::to_string(fault).expect("it is plain data"))?;
    file.finish()
}

/// The fault that a task of the job left for the others, if one did.
pub(crate) fn stopped_by(folder: &Shared) -> Result<Option<Error>> {
    let place = folder.join(STOPPED);
    let Some(mut part) = place.open_if_there()? else {
        return Ok(None);
    };
    let fault = serde_json::from_reader(&mut part)
        .map_err(|error| Error::failed(format!("cannot read `{place}`")).cause(error));
    fault.map(Some)
}

pub(super) fn place(folder: &Shared, what: &str, task: usize) -> Shared {
    folder.join(&format!("{what}-{task:06}"))
}

/// The batches of one part.
struct PartReader {
    file: BufReader<Box<dyn ReadSeek>>,
    place: Shared,
    payload: Vec<u8>,
    ended: bool,
}

impl PartReader {
    fn open(place: Shared) -> Result<Self> {
        Ok(PartReader {
            file: BufReader::with_capacity(1 << 20, place.open()?),
            place,
            payload: Vec::new(),
            ended: false,
        })
    }

    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let cut = || {
            Error::failed(format!("the part `{}` is cut short", self.place))
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
    writer: SharedWriter,
    place: Shared,
}

impl AttemptFile {
    /// For the rows of a task.
    pub(crate) fn part(folder: &Shared, number: &TaskNumber) -> Result<Self> {
        Self::create(place(folder, PART, number.task), &number.attempt)
    }

    /// For its rejects.
    pub(crate) fn rejects(folder: &Shared, number: &TaskNumber) -> Result<Self> {
        Self::create(place(folder, REJECTS, number.task), &number.attempt)
    }

    fn create(place: Shared, attempt: &str) -> Result<Self> {
        let writer = place.create(attempt).map_err(|error| {
            error.hint(
                "the `folder` of `[cluster]` must be one path on all machines, and take files",
            )
        })?;
        Ok(AttemptFile { writer, place })
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
    pub(crate) fn finish(self) -> Result<()> {
        let written = self.writer.finish();
        unwritten(&self.place, written)
    }

    fn io<T>(&self, result: std::io::Result<T>) -> Result<T> {
        unwritten(&self.place, result)
    }
}

/// What failed when `place` was written; an error of our own as it is.
fn unwritten<T>(place: &Shared, result: std::io::Result<T>) -> Result<T> {
    result.map_err(|error| match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) => {
            let failed = Error::io("write", place, &error);
            match error.kind() {
                StorageFull | QuotaExceeded | FileTooLarge => failed.hint(FULL),
                _ => failed,
            }
        }
    })
}
