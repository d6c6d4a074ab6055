//! The object that `write_files` writes, and what killed runs have left of it.

use std::path::{Path, PathBuf};

use crate::error::{Error, OfValue, Result};
use crate::place::{self, Endpoint, ObjectUrl, Upload};
use crate::stage::{Probe, Run, UPLOAD_PREFIX, has_ended, is_run_id};
use crate::stop::Stop;

/// An object while it is written; dropped without being published, it is given up.
pub(super) struct ObjectTarget {
    pub(super) url: ObjectUrl,
    pub(super) upload: Upload,
}

impl ObjectTarget {
    pub(super) fn open(url: &ObjectUrl, run: &Run) -> Result<ObjectTarget> {
        let note = note(url);
        for folder in ended_runs(&run.state) {
            place::give_up(&folder.join(&note), url, &run.stop);
        }
        let upload = Upload::begin(url, run.state.join(note), &run.stop)?;
        let url = url.clone();
        Ok(ObjectTarget { url, upload })
    }
}

/// What a run calls its note of an upload.
fn note(url: &ObjectUrl) -> String {
    let hash = xxhash_rust::xxh3::xxh3_64(url.whole().as_bytes());
    format!("{UPLOAD_PREFIX}{hash:016x}.json")
}

/// The folders of runs beside this one that have ended.
fn ended_runs(own: &Path) -> Vec<PathBuf> {
    let Some(runs) = own.parent() else {
        return Vec::new();
    };
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let ended = names.filter(|name| is_run_id(name) && has_ended(runs, name));
    ended.map(|name| runs.join(name)).collect()
}

/// Looks whether an object can be written.
pub(super) fn probe(url: &ObjectUrl) -> Probe {
    let stop = Stop::default();
    let found = place::replaced(url, &stop).and_then(|replaced| {
        place::can_write(url, &stop)?;
        Ok(match replaced {
            Some(_) => "is there, and will be replaced".into(),
            None => "is not there yet, and can be made".into(),
        })
    });
    Probe::new(url, found.of(["path"]))
}

/// The object that a path names, on the server that the stage names; one that nothing is written to is an error.
pub(super) fn named(path: &str, endpoint: Option<&Endpoint>) -> Result<Option<ObjectUrl>> {
    let Some(url) = ObjectUrl::parse(path).transpose().of(["path"])? else {
        return Ok(None);
    };
    if url.scheme.is_web() {
        return Err(
            Error::usage(format!("`{url}`: files are not sent to a web server"))
                .hint("write to `s3://`, `gs://`, `az://` or a path")
                .of(["path"]),
        );
    }
    Ok(Some(url.at(endpoint)))
}
