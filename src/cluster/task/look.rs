//! What a task sees of the folder that all machines share, and of the files of this run.

use super::super::look::{MARKER, part_name};
use super::super::order::{LookOrder, TaskReport};
use crate::error::{Error, Result};
use crate::place::{Place, Seen, Shared};

/// Looks what this machine sees of the folder and the files, and says its name.
pub(super) fn look(order: &LookOrder, task: usize) -> TaskReport {
    TaskReport {
        task,
        fault: sees(order, task).err(),
        warnings: vec![host()],
        ..TaskReport::default()
    }
}

fn sees(order: &LookOrder, task: usize) -> Result<()> {
    // Where it is not there, no relative path is.
    let _ = std::env::set_current_dir(&order.working_folder);
    let at_folder = |error: Error| match order.folder {
        Shared::Path(_) => error
            .cause(format!("on {}", host()))
            .hint("`folder` of `[cluster]` names a folder that all machines share, at one path"),
        // What fails there names the machine itself.
        Shared::Object(_) => error,
    };
    let marker = order.folder.join(MARKER);
    let seen = marker
        .read()
        .and_then(|seen| seen.ok_or_else(|| Error::failed(format!("`{marker}` is not seen"))));
    seen.map_err(at_folder)?;
    let part = order.folder.join(&part_name(task));
    part.write(b"etl").map_err(at_folder)?;
    for file in &order.files {
        let bytes = std::fs::metadata(&file.file).map(|metadata| metadata.len());
        if !bytes.is_ok_and(|bytes| bytes == file.bytes) {
            return Err(other_file(&file.file));
        }
    }
    for (url, known) in &order.objects {
        let found = Seen::of(&Place::Object(url.clone()))?.1;
        if (&found.etag, found.bytes) != (&known.etag, known.bytes) {
            return Err(other_file(&known.file));
        }
    }
    Ok(())
}

/// A file that this machine sees differently, or not at all.
pub(super) fn other_file(file: &str) -> Error {
    Error::failed(format!(
        "`{file}` is not the same file on `{}` as where the run began",
        host()
    ))
    .hint("inputs must have one path on all machines, and stay as they are; or read them from an object store")
}

/// The name of this machine.
pub(super) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
