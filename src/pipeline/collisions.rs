//! Stages that would overwrite what others write or read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Step;
use crate::disk;
use crate::error::Error;
use crate::stage::{Destination, Folder, Storage, files};

/// Two stages that write one file would overwrite each other, and so would one that writes what another reads.
pub(super) fn collisions(folder: &Folder, steps: &[Option<Step>]) -> Vec<Error> {
    let steps = || steps.iter().flatten();
    let mut mistakes = Vec::new();
    let mut writers: HashMap<PathBuf, (&Step, Destination)> = HashMap::new();
    for step in steps() {
        let Some(destination) = step.destination() else {
            continue;
        };
        let [named] = &destination.named[..] else {
            continue;
        };
        // On a server it is the index that is written.
        let written = match &destination.storage {
            Storage::Index { name, .. } => PathBuf::from(format!("{named}#{name}")),
            Storage::Disk { path, .. } => written(folder, path),
            Storage::Stdout => PathBuf::from(named),
        };
        if let Some((other, _)) = writers.get(&written) {
            let error = Error::usage(format!("stage `{}` writes `{named}` already", other.name));
            let error = error.hint("give each a place of its own");
            mistakes.push(step.of_its_place(&destination, error));
        } else {
            writers.insert(written, (step, destination));
        }
    }
    for step in steps() {
        for file in step.stage.properties().files() {
            let read = written(folder, file);
            // What a pattern means depends on what is there.
            let is_read = |path: &Path| {
                path == read || files::stands_for(file, folder, path) && path.is_file()
            };
            let on_disk = |destination: &Destination| destination.storage != Storage::Stdout;
            for (path, (writer, destination)) in &writers {
                if !on_disk(destination) || !is_read(path) {
                    continue;
                }
                let message = format!(
                    "`{file}`, which stage `{}` reads, would be replaced",
                    step.name
                );
                let error = Error::usage(message).hint("write to another place");
                mistakes.push(writer.of_its_place(destination, error));
            }
        }
    }
    mistakes
}

/// The file that a path means, the same for all spellings of it.
fn written(folder: &Folder, path: &str) -> PathBuf {
    if path.contains("://") {
        return PathBuf::from(path);
    }
    let path = disk::follow(folder.resolve(path));
    let path = std::path::absolute(&path).unwrap_or(path);
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(folder)), Some(name)) => folder.join(name),
        _ => path,
    }
}
