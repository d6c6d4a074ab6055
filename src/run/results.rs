//! Where the results of a run are, and how large, once they are published; what a run that published nothing has
//! left as it was.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::monotonic;
use crate::pipeline::{Pipeline, Step};
use crate::place::{self, Place};
use crate::report::Published;
use crate::stage::{Folder, Storage};
use crate::stop::Stop;

/// Of so many sinks a failed run says how they are.
const SHOWN: usize = 3;
/// So long a store may take to say how large an object is.
const LOOKS_FOR: Duration = Duration::from_secs(5);

/// Where a sink has put its rows; `None`: it is no sink.
pub(super) fn published(step: &Step, folder: &Folder) -> Option<Published> {
    let destination = step.destination()?;
    let named = step.publishes_to()?;
    if let Some(path) = local(step, folder) {
        return Some(Published {
            place: step.secrets().clean(&path.display().to_string()),
            bytes: size(&path),
        });
    }
    let (place, bytes) = match &destination.storage {
        Storage::Index { name, .. } => (format!("{named}, index `{name}`"), None),
        Storage::Stdout => ("standard output".into(), None),
        Storage::Disk { path, .. } => {
            let found = place::canonical(path, folder, destination.endpoint.as_ref());
            (named, found.as_ref().and_then(object_size))
        }
    };
    Some(Published { place, bytes })
}

/// The bytes of an object; `None`: it is none, or its store does not say.
fn object_size(place: &Place) -> Option<u64> {
    let Place::Object(url) = place else {
        return None;
    };
    let stop = Stop::of_signals().until(monotonic() + LOOKS_FOR);
    place::replaced(url, &stop).ok().flatten()
}

/// Whether a sink writes an object.
fn is_object(step: &Step) -> bool {
    let storage = step.destination().map(|destination| destination.storage);
    matches!(storage, Some(Storage::Disk { path, .. }) if path.contains("://"))
}

/// Where a sink's rows are on this machine: a file, or a local index.
fn local(step: &Step, folder: &Folder) -> Option<PathBuf> {
    let destination = step.destination()?;
    let path = destination.storage.path()?;
    (!path.contains("://")).then(|| folder.resolve(path))
}

/// What a run that published nothing says of its files, objects and local indices; `None`: it has no such sink. What is
/// neither a file nor a folder, as a pipe, has taken what was written to it.
pub(super) fn untouched(pipeline: &Pipeline) -> Option<String> {
    let sinks = pipeline.steps.iter().filter(|step| step.kind.sink);
    let words = sinks.filter_map(|step| {
        if is_object(step) {
            return Some(format!("`{}` was not written", step.publishes_to()?));
        }
        let path = local(step, &pipeline.folder)?;
        let what = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() || metadata.is_dir() => "is as it was before",
            Err(error) if error.kind() == ErrorKind::NotFound => "was not written",
            _ => return None,
        };
        let place = step.secrets().clean(&path.display().to_string());
        Some(format!("`{place}` {what}"))
    });
    let words: Vec<String> = words.collect();
    let (shown, more) = words.split_at(words.len().min(SHOWN));
    let mut text = format!("nothing was published: {}", shown.join(", "));
    if !more.is_empty() {
        text.push_str(&format!(", and so with {} more", more.len()));
    }
    (!words.is_empty()).then_some(text)
}

/// The bytes of a file, or of a folder's files; `None`: it is neither, or it cannot be read.
fn size(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok()?;
    if metadata.is_file() {
        return Some(metadata.len());
    }
    let entries = metadata.is_dir().then(|| std::fs::read_dir(path))?.ok()?;
    let sizes = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_symlink() => 0,
        Ok(_) => size(&entry.path()).unwrap_or(0),
        Err(_) => 0,
    });
    Some(sizes.sum())
}
