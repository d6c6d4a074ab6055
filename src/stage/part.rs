//! What a sink writes beside its target until it is published: `TARGET.RUN.part`, locked while its run
//! lives. A run that was killed leaves its part behind; the next one with that target clears it away.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where run `run` writes what is to become `target`.
pub(super) fn path(target: &Path, run: &str) -> PathBuf {
    let mut part = target.to_path_buf().into_os_string();
    part.push(format!(".{run}.part"));
    PathBuf::from(part)
}

/// Whether `target` can be made, or replaced: its folder, or else the nearest one above it that is there,
/// takes files.
pub(super) fn place(target: &Path) -> Result<()> {
    use nix::unistd::{AccessFlags, access};
    let absolute = std::path::absolute(target).unwrap_or_else(|_| target.to_owned());
    let mut above = absolute.ancestors().skip(1);
    let folder = above
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("/"));
    let shown = folder.display();
    if !folder.is_dir() {
        return Err(Error::failed(format!("`{shown}` is not a folder")));
    }
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|error| Error::io("write into the folder", shown, &error.into()))
}

/// Removes parts of `target` whose run has ended: those whose lock is free; whether others are left, and
/// so another run writes `target` now. The lock of a folder is its file `lock`. What cannot be removed
/// stays: it is in nobody's way.
pub(super) fn clear_abandoned(target: &Path, lock: Option<&str>) -> bool {
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
        return false;
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    let mut written = false;
    let begins = format!("{}.", name.to_string_lossy());
    for entry in entries.flatten() {
        let found = entry.file_name();
        let found = found.to_string_lossy();
        if !found.starts_with(&begins) || !found.ends_with(".part") {
            continue;
        }
        let part = entry.path();
        let locked = lock.map_or_else(|| part.clone(), |lock| part.join(lock));
        let state = File::open(locked).map(|file| file.try_lock());
        let free = matches!(state, Ok(Ok(())));
        written |= matches!(state, Ok(Err(TryLockError::WouldBlock)));
        if free && lock.is_some() {
            let _ = std::fs::remove_dir_all(part);
        } else if free {
            let _ = std::fs::remove_file(part);
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_whose_run_has_ended_are_cleared_away() {
        let folder = std::env::temp_dir().join(format!("etl-part-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let target = folder.join("out.csv");
        let (dead, alive, other) = (
            path(&target, "1"),
            path(&target, "2"),
            folder.join("out.csv.bak"),
        );
        for file in [&dead, &other] {
            File::create(file).expect("creates");
        }
        let held = File::create(&alive).expect("creates");
        held.try_lock().expect("nobody else has it");
        assert!(clear_abandoned(&target, None), "one is being written");
        assert_eq!(
            [&dead, &alive, &other].map(|file| file.exists()),
            [false, true, true]
        );
        std::fs::remove_dir_all(&folder).expect("removes");
    }
}
