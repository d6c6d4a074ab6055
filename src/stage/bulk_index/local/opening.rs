//! The embedded index in its folder: opened, locked, made, and looked at before a load.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tantivy::directory::error::{LockError, OpenDirectoryError, OpenReadError, OpenWriteError};
use tantivy::directory::{Directory, DirectoryLock, INDEX_WRITER_LOCK, MmapDirectory};
use tantivy::{Index, IndexReader, IndexSettings, ReloadPolicy, TantivyError};

use super::super::Mode;
use super::document::{index_schema, register_tokenizer};
use super::files::{MAPPING_FILE, META_FILE};
use super::mapping::Mapping;
use super::replaced;
use crate::disk;
use crate::error::{DESCRIPTORS, Error, Result, is_out_of_descriptors};
use crate::schema::list;
use crate::stage::partial_file;
use crate::threads;

/// The index in `dir`, opened.
pub(super) fn open(dir: &Path) -> Result<Index> {
    if let Err(error) = std::fs::metadata(dir.join(META_FILE))
        && error.kind() == ErrorKind::PermissionDenied
    {
        return Err(Error::io("open the index in", dir.display(), &error)
            .hint("who searches it needs read permission for its folder and files"));
    }
    if !is_index(dir) {
        let error = Error::failed(format!("no index in `{}`", dir.display()));
        return Err(
            error.hint("a pipeline makes one: `kind = \"bulk_index\"`, `to = \"local:DIR\"`")
        );
    }
    let index = Index::open_in_dir(dir).map_err(|error| failed("open", dir, &error))?;
    register_tokenizer(&index);
    Ok(index)
}

/// Whether `dir` holds an index that this program made.
pub(super) fn is_index(dir: &Path) -> bool {
    [MAPPING_FILE, META_FILE]
        .iter()
        .all(|file| dir.join(file).is_file())
}

/// Whether nothing would be lost if `dir` were replaced: it is not there, or empty.
pub(super) fn is_vacant(dir: &Path) -> Result<bool> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Error::io("read", dir.display(), &error)),
    }
}

/// The mapping that the index in `dir` was made with.
pub(super) fn stored_mapping(dir: &Path) -> Result<Mapping> {
    let file = dir.join(MAPPING_FILE);
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(&file).map_err(|error| Error::io("read", &shown, &error))?;
    let value = serde_json::from_str(&text)
        .map_err(|error| Error::failed(format!("`{shown}` is not JSON")).cause(error))?;
    Mapping::from_json(&value, &shown)
}

/// An error of the index in `dir`.
pub(super) fn failed(doing: &str, dir: &Path, error: &TantivyError) -> Error {
    if let TantivyError::LockFailure(LockError::LockBusy, _) = error {
        return partial_file::busy(dir);
    }
    let is_refused = match error {
        TantivyError::IoError(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        TantivyError::SystemError(words) => words.contains("spawn"),
        _ => false,
    };
    if is_refused {
        return threads::refused(
            format!("a thread to {doing} the index in `{}`", dir.display()),
            error,
        );
    }
    let failed = Error::failed(format!("cannot {doing} the index in `{}`", dir.display()));
    match system_error(error) {
        Some(system) if is_out_of_descriptors(system) => failed.cause(system).hint(DESCRIPTORS),
        Some(system) if system.kind() == ErrorKind::PermissionDenied => failed.cause(system).hint(
            "who searches it needs read permission for its folder and files, and write permission for its `.tantivy-meta.lock`",
        ),
        Some(system) if system.kind() == ErrorKind::StorageFull => {
            failed.cause(system).hint(disk::FULL)
        }
        _ => {
            let words = error.to_string();
            // What a thread of tantivy's failed of comes as text.
            let failed = failed.cause(&words);
            if words.contains("Too many open files") {
                return failed.hint(DESCRIPTORS);
            }
            if words.contains(&std::io::Error::from(nix::Error::ENOSPC).to_string()) {
                return failed.hint(disk::FULL);
            }
            failed
        }
    }
}

/// The error of the system in an error of tantivy.
fn system_error(error: &TantivyError) -> Option<&std::io::Error> {
    match error {
        TantivyError::IoError(error)
        | TantivyError::OpenWriteError(OpenWriteError::IoError {
            io_error: error, ..
        })
        | TantivyError::OpenReadError(OpenReadError::IoError {
            io_error: error, ..
        })
        | TantivyError::OpenDirectoryError(OpenDirectoryError::IoError {
            io_error: error, ..
        })
        | TantivyError::LockFailure(LockError::IoError(error), _) => Some(error),
        _ => None,
    }
}

/// The folder that `dir` names. A link to a folder stays a link: what it points to is what is replaced.
pub(super) fn real(dir: &Path) -> PathBuf {
    std::fs::canonicalize(dir).unwrap_or_else(|_| disk::follow(dir.to_owned()))
}

/// Whether a load may go into `dir`; the mapping of the index there, if it is added to.
pub(super) fn fits(dir: &Path, load: Mode, mapping: Option<&Mapping>) -> Result<Option<Mapping>> {
    let shown = dir.display();
    if is_vacant(dir)? {
        return Ok(None);
    }
    if !is_index(dir) {
        return Err(
            Error::failed(format!("`{shown}` is there and is not an index"))
                .hint("nothing was changed; name another folder"),
        );
    }
    match load {
        Mode::Create => Err(
            Error::failed(format!("the index in `{shown}` is there already"))
                .hint("`load = \"append\"` adds to it, `load = \"replace\"` makes it anew"),
        ),
        Mode::Replace => match replaced::foreign(dir) {
            None => Ok(None),
            Some(name) => Err(Error::failed(format!(
                "the index in `{shown}` holds `{name}`, which is not of the index"
            ))
            .hint("move it elsewhere: `load = \"replace\"` would take it away with the old index")),
        },
        Mode::Append => {
            let stored = stored_mapping(dir)?;
            let differing = mapping.map(|given| given.differing(&stored));
            let differing = differing.unwrap_or_default();
            if differing.is_empty() {
                return Ok(Some(stored));
            }
            Err(Error::failed(format!(
                "the mapping differs from that of the index in `{shown}` in {}",
                list(&differing)
            ))
            .hint("`load = \"replace\"` makes the index anew"))
        }
    }
}

/// How often a lock is tried that another has, and how long between: a program that is being started has the
/// files of the one that starts it, locks and all, for a moment; on a busy machine that may be a long one. The system
/// reports no end of that. A run that really writes there is found before, by its hold on the folder.
const LOCK_TRIES: u32 = 500;
const LOCK_EVERY: Duration = Duration::from_millis(2);

/// What tantivy gives once its lock is free.
pub(super) fn once_free<T>(attempt: impl Fn() -> tantivy::Result<T>) -> tantivy::Result<T> {
    for _ in 0..LOCK_TRIES {
        match attempt() {
            Err(TantivyError::LockFailure(LockError::LockBusy, _)) => {
                std::thread::sleep(LOCK_EVERY);
            }
            done => return done,
        }
    }
    attempt()
}

/// Keeps other runs from writing to the index in `dir`.
pub(super) fn lock(dir: &Path) -> Result<DirectoryLock> {
    let folder = MmapDirectory::open(dir).map_err(|error| failed("open", dir, &error.into()))?;
    let locked = once_free(|| {
        let locked = folder.acquire_lock(&INDEX_WRITER_LOCK);
        locked.map_err(|error| TantivyError::LockFailure(error, None))
    });
    locked.map_err(|error| failed("lock", dir, &error))
}

/// An empty index in the new folder `part`.
pub(super) fn create(part: &Path, mapping: &Mapping, run: &str) -> Result<Index> {
    let file = part.join(MAPPING_FILE);
    let mut json = mapping.to_json();
    json[replaced::RUN] = run.into();
    std::fs::write(&file, format!("{json:#}\n"))
        .map_err(|error| Error::io("write", file.display(), &error))?;
    let index = Index::builder()
        .schema(index_schema(mapping))
        .settings(IndexSettings::default())
        .create_in_dir(part)
        .map_err(|error| failed("create", part, &error))?;
    register_tokenizer(&index);
    Ok(index)
}

/// How many documents can be found.
pub(super) fn count_docs(index: &Index, dir: &Path) -> Result<u64> {
    Ok(reader(index, dir)?.searcher().num_docs())
}

/// What reads the index as it is now.
pub(super) fn reader(index: &Index, dir: &Path) -> Result<IndexReader> {
    let reader = index
        .reader_builder()
        .reload_policy(ReloadPolicy::Manual)
        .try_into();
    reader.map_err(|error| failed("read", dir, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_a_way_out_however_it_is_reported() {
        let full = || std::io::Error::from(nix::Error::ENOSPC);
        let in_thread = TantivyError::SystemError(format!("a thread failed: '{}'", full()));
        for error in [TantivyError::IoError(full().into()), in_thread] {
            let hint = failed("write to", Path::new("index"), &error).hint;
            assert_eq!(hint.as_deref(), Some(disk::FULL), "{error}");
        }
    }

    #[test]
    fn a_lock_that_a_program_being_started_has_is_waited_for() {
        let tries = std::cell::Cell::new(0);
        let locked = once_free(|| {
            tries.set(tries.get() + 1);
            match tries.get() {
                1..=30 => Err(TantivyError::LockFailure(LockError::LockBusy, None)),
                _ => Ok("free"),
            }
        });
        assert_eq!(locked.ok(), Some("free"));
        assert_eq!(tries.get(), 31);
    }
}
