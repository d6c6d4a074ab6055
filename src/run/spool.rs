//! The rejects of a run: a file a stage as long as it runs, joined into one at its end.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use xxhash_rust::xxh3::Xxh3Default;

use crate::disk;
use crate::error::{Error, Place, Result};
use crate::report::reasons::{Head, Reasons};
use crate::report::{Reason, Rejects};
use crate::stage::{Reject, Run};
use crate::state::checkpoint::sum_of;

/// The rejects of one stage, in input order, on their way to the run's file.
pub(super) struct Spool {
    stage: String,
    pub(super) path: PathBuf,
    file: Option<BufWriter<File>>,
    /// Of all that was written.
    pub(super) sum: Xxh3Default,
    rows: u64,
    reasons: Reasons,
    /// Whether a failed run leaves it where it is, to go on with.
    pub(super) kept: bool,
}

impl Spool {
    pub(super) fn new(stage: &str, path: PathBuf) -> Self {
        Spool {
            stage: stage.to_owned(),
            path,
            file: None,
            sum: Xxh3Default::new(),
            rows: 0,
            reasons: Reasons::default(),
            kept: false,
        }
    }

    /// How many rejects there are, and why.
    pub(super) fn into_parts(self) -> (u64, Vec<Reason>) {
        (self.rows, self.reasons.list())
    }

    /// Goes on after the first `bytes`, which hold `rows` rejects.
    pub(super) fn resume(&mut self, rows: u64, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let io = |error: std::io::Error| Error::io("write", self.path.display(), &error);
        let file = File::options().append(true).open(&self.path).map_err(io)?;
        file.set_len(bytes).map_err(io)?;
        self.sum = sum_of(&self.path, bytes).map_err(io)?;
        self.file = Some(BufWriter::new(file));
        self.rows = rows;
        // A run that fails before it has settled anything more may be gone on with once more.
        self.kept = true;
        Ok(())
    }

    /// Brings what is in the file to disk.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        let file = self.file.as_ref();
        file.map_or(Ok(()), |file| file.get_ref().sync_data())
    }

    /// All so far is in the file; its length.
    pub(super) fn flush(&mut self) -> Result<u64> {
        let io = |error: std::io::Error| Error::io("write", self.path.display(), &error);
        let Some(file) = &mut self.file else {
            return Ok(0);
        };
        file.flush().map_err(io)?;
        Ok(file.get_ref().metadata().map_err(io)?.len())
    }

    pub(super) fn write(&mut self, reject: &Reject, run: &Run) -> Result<()> {
        let place = reject
            .origin
            .map(|origin| run.place(origin, reject.line, reject.byte));
        self.reasons.add(&Head {
            stage: self.stage.clone(),
            reason: reject.reason.clone(),
            column: reject.column.clone(),
            value: json!(reject.value),
            source: place.clone(),
        });
        let line = line(&self.stage, reject, place.as_ref());
        self.rows += 1;
        let io = |error: std::io::Error| Error::io("write", self.path.display(), &error);
        if self.file.is_none() {
            let file = disk::private().create(true).truncate(true).open(&self.path);
            self.file = Some(BufWriter::new(file.map_err(io)?));
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        self.sum.update(line.as_bytes());
        file.write_all(line.as_bytes()).map_err(io)
    }
}

/// A reject as a line of the file: what are rows and records of the data stands as it is.
fn line(stage: &str, reject: &Reject, place: Option<&Place>) -> String {
    let members = json!({
        "stage": stage,
        "reason": reject.reason,
        "column": reject.column,
        "value": reject.value,
        "source": place,
    });
    let mut line = members.to_string();
    line.pop();
    line.push_str(",\"row\":");
    line.push_str(reject.document.as_str());
    for (name, value) in &reject.more {
        line.push_str(&format!(",{}:{value}", json!(name)));
    }
    if let Some(record) = &reject.record {
        line.push_str(",\"record\":");
        line.push_str(record.as_str());
    }
    line.push_str("}\n");
    line
}

/// Joins the stages' rejects into the run's file, in the order of the stages.
pub(super) fn join_rejects(spools: Vec<Spool>, path: &Path, done: bool) -> Result<Rejects> {
    let joined = join(spools, path, done);
    if joined.is_err() {
        // A part of them is not what a report may name.
        let _ = std::fs::remove_file(path);
    }
    joined
}

fn join(spools: Vec<Spool>, path: &Path, done: bool) -> Result<Rejects> {
    let mut rejects = Rejects::default();
    let io = |error: std::io::Error| Error::io("write", path.display(), &error);
    let mut joined: Option<File> = None;
    let mut joined_spools = Vec::new();
    for mut spool in spools {
        let Some(file) = spool.file.take() else {
            continue;
        };
        file.into_inner().map_err(|error| io(error.into_error()))?;
        if joined.is_none() {
            let file = disk::private().create(true).truncate(true).open(path);
            joined = Some(file.map_err(io)?);
        }
        if let Some(joined) = &mut joined {
            std::io::copy(&mut File::open(&spool.path).map_err(io)?, joined).map_err(io)?;
        }
        if done || !spool.kept {
            joined_spools.push(spool.path);
        }
        rejects.rows += spool.rows;
        rejects.reasons.extend(spool.reasons.list());
    }
    if let Some(joined) = &joined {
        disk::sync(joined).map_err(io)?;
    }
    for spool in joined_spools {
        std::fs::remove_file(spool).map_err(io)?;
    }
    rejects.file = joined.map(|_| path.display().to_string());
    Ok(rejects)
}
