//! The local disk: what is written there survives a power cut, and one process at a time holds it.
//!
//! A new name is on disk once the folder that has it is synced, and its content once the file is. Both are
//! needed, in this order: sync the file, rename it, sync the folder.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Result, Write};
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files of the state folder: rejects hold whole rows, which the input may keep from others.
const PRIVATE_FILE: u32 = 0o600;
/// Folders of the state folder.
pub(crate) const PRIVATE_FOLDER: u32 = 0o700;
/// Folders whose mode the umask decides.
pub(crate) const SHARED_FOLDER: u32 = 0o777;

/// How often a lock is tried again that somebody may only be looking at, and how long between: whoever looks
/// whether a run has ended holds its lock for less than a millisecond, and the system reports no end of that.
const TRIES: u32 = 500;
const TRY_EVERY: Duration = Duration::from_millis(2);

/// What to do where a disk is full.
pub(crate) const FULL: &str = "make room on that disk, or write elsewhere; nothing was replaced";

/// What a symbolic link stands for, there or not: the link stays, its target is replaced.
pub(crate) fn follow(path: PathBuf) -> PathBuf {
    let mut path = path;
    // A chain of links longer than this is a circle: opening it says so.
    for _ in 0..40 {
        let Ok(target) = std::fs::read_link(&path) else {
            break;
        };
        path = path
            .parent()
            .map_or_else(|| target.clone(), |folder| folder.join(&target));
    }
    path
}

/// The folder that has `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// How files of the state folder are opened to write.
pub(crate) fn private() -> OpenOptions {
    let mut options = File::options();
    options.write(true).mode(PRIVATE_FILE);
    options
}

/// Creates `folder` and the missing ones above it, each synced into the one that has it.
pub(crate) fn create_folders(folder: &Path, mode: u32) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = parent(folder);
    if above != folder {
        create_folders(above, mode)?;
    }
    match DirBuilder::new().mode(mode).create(folder) {
        // Another run made it at the same moment.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(above),
    }
}

/// How often a folder is removed until it is gone, and how long between. Whoever may still be about to write a file into it,
/// a thread or a process of another machine, reports its end to nobody here.
const REMOVALS_MAX: u32 = 100;
const REMOVE_EVERY: Duration = Duration::from_millis(5);

/// Removes a file, or a folder with all that is in it. What cannot be removed stays: the next run finds it.
pub(crate) fn remove(path: &Path) {
    if !path.is_dir() {
        let _ = std::fs::remove_file(path);
        return;
    }
    for _ in 0..REMOVALS_MAX {
        if std::fs::remove_dir_all(path).is_ok() || !path.exists() {
            return;
        }
        std::thread::sleep(REMOVE_EVERY);
    }
}

/// Brings the names in `folder` to disk. Some file systems cannot, and do so by themselves.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if cannot_sync(&error) => Ok(()),
        done => done,
    }
}

/// Brings a file's content to disk.
pub(crate) fn sync(file: &File) -> Result<()> {
    match file.sync_all() {
        Err(error) if cannot_sync(&error) => Ok(()),
        done => done,
    }
}

fn cannot_sync(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidInput | ErrorKind::Unsupported
    )
}

/// Makes `bytes` the content of a file of the state folder: after a kill or a power cut it is the old or the
/// new one, whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = path.with_extension("part");
    let written = (|| {
        let mut file = private().create(true).truncate(true).open(&part)?;
        file.write_all(bytes)?;
        sync(&file)?;
        std::fs::rename(&part, path)?;
        sync_folder(parent(path))
    })();
    if written.is_err() {
        // The error to report is the first one.
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// An open file that nobody else holds as long as this is there. To close it would not do: a program that another thread
/// is just starting has all open files until it begins, and would keep the lock for that time.
pub(crate) struct Held(File);

impl Held {
    /// Of a file that was just locked.
    pub(crate) fn locked(file: File) -> Held {
        Held(file)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A file system without locks gives none.
        let _ = self.0.unlock();
    }
}

impl Deref for Held {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

/// What came of trying to hold something.
pub(crate) enum Hold {
    /// Nobody else holds it.
    Held(Held),
    /// Somebody else does.
    Busy,
    /// It is not there, or something else has its name by now.
    Gone,
    /// The file system keeps no locks: nobody knows.
    NoLocks(Held),
}

/// Tries to hold the file or folder `path`.
pub(crate) fn hold(path: &Path) -> Hold {
    File::open(path).map_or(Hold::Gone, |file| hold_opened(file, path))
}

/// Holds what was just created as `path`. Somebody who looks at it meanwhile is waited for; what somebody
/// removed meanwhile is gone.
pub(crate) fn hold_created(file: File, path: &Path) -> Hold {
    let Ok(again) = file.try_clone() else {
        return Hold::NoLocks(Held(file));
    };
    for _ in 0..TRIES {
        match again.try_clone().map(|file| hold_opened(file, path)) {
            Ok(Hold::Busy) if is_at(&again, path) => std::thread::sleep(TRY_EVERY),
            Ok(Hold::Busy) => return Hold::Gone,
            Ok(hold) => return hold,
            Err(_) => return Hold::NoLocks(Held(file)),
        }
    }
    Hold::Busy
}

fn hold_opened(file: File, path: &Path) -> Hold {
    match file.try_lock() {
        Ok(()) => match Held(file) {
            held if is_at(&held, path) => Hold::Held(held),
            _ => Hold::Gone,
        },
        Err(TryLockError::WouldBlock) => Hold::Busy,
        Err(TryLockError::Error(_)) => Hold::NoLocks(Held(file)),
    }
}

/// Whether `path` is the name of this very file; a link to it is not.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), std::fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_held_is_what_has_the_name() {
        let folder = std::env::temp_dir().join(format!("etl-disk-{}", std::process::id()));
        create_folders(&folder.join("a/b"), PRIVATE_FOLDER).expect("folders can be made");
        let access = |path: &Path| std::fs::metadata(path).expect("it is there").mode() & 0o777;
        assert_eq!(access(&folder.join("a/b")), 0o700);
        let path = folder.join("file");
        let create = || {
            private()
                .create(true)
                .truncate(false)
                .open(&path)
                .expect("it can be made")
        };
        let first = create();
        assert_eq!(
            first.metadata().expect("it is open").permissions().mode() & 0o777,
            0o600
        );
        let Hold::Held(held) = hold(&path) else {
            panic!("nobody has it");
        };
        assert!(matches!(hold(&path), Hold::Busy));
        std::fs::remove_file(&path).expect("it is there");
        assert!(matches!(hold(&path), Hold::Gone));
        assert!(
            matches!(hold_created(first, &path), Hold::Gone),
            "removed, and still held"
        );
        drop(held);
        let old = create();
        std::fs::remove_file(&path).expect("it is there");
        let new = create();
        assert!(
            matches!(hold_created(old, &path), Hold::Gone),
            "another has its name"
        );
        assert!(matches!(hold_created(new, &path), Hold::Held(_)));
        std::fs::remove_dir_all(&folder).expect("it is there");
    }

    #[test]
    fn what_is_let_go_is_free_though_its_file_is_still_open_elsewhere() {
        let folder = std::env::temp_dir().join(format!("etl-let-go-{}", std::process::id()));
        create_folders(&folder, PRIVATE_FOLDER).expect("folders can be made");
        let Hold::Held(held) = hold(&folder) else {
            panic!("nobody has it");
        };
        // As a program has it that is just being started.
        let elsewhere = held.try_clone().expect("files can be opened");
        drop(held);
        assert!(matches!(hold(&folder), Hold::Held(_)));
        drop(elsewhere);
        std::fs::remove_dir_all(&folder).expect("it is there");
    }
}
