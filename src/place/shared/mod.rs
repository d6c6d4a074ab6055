//! What several machines see: a path of a file system that all of them have, or a name in a bucket. What one of them
//! writes there the others see when it is whole.

mod pieces;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::pieces::{PieceReader, PieceWriter};
use super::store::Store;
use super::{Folder, ObjectUrl};
use crate::disk;
use crate::error::{Error, Result};
use crate::stop::Stop;

/// So often it is tried: the library sends no removal again.
const REMOVALS: usize = 4;
/// How many objects are removed at once.
const REMOVED_AT_ONCE: usize = 16;
/// What a file is written by.
const BUFFER_BYTES: usize = 1 << 20;

/// A folder, or something in it, that several machines see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shared {
    /// A path, the same on all machines.
    Path(PathBuf),
    /// A name in a bucket.
    Object(ObjectUrl),
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Shared::Path(path) => path.display().fmt(f),
            Shared::Object(url) => url.fmt(f),
        }
    }
}

impl Shared {
    /// The folder that a text names.
    pub fn named(text: &str, folder: &Folder) -> Result<Shared> {
        let name = match text.trim_end_matches('/') {
            // A scheme alone keeps its slashes.
            scheme if scheme.ends_with(':') => text,
            name => name,
        };
        let Some(url) = ObjectUrl::parse(name) else {
            let path = folder.resolve(text);
            return Ok(Shared::Path(std::path::absolute(&path).unwrap_or(path)));
        };
        let url = url.map_err(|error| match name.split_once("://") {
            Some((_, bucket)) if !bucket.is_empty() && !bucket.contains(['/', '@']) => {
                Error::usage(format!("`{name}` names a bucket, and no folder in it")).hint(format!(
                    "write `{name}/etl`, say: the folder need not be there"
                ))
            }
            _ => error,
        })?;
        let is_odd =
            |part: &str| matches!(part, "" | "." | "..") || part.contains(char::is_control);
        if url.key.split('/').any(is_odd) {
            return Err(Error::usage(format!(
                "`{url}`: a name with an empty part, `.`, `..` or a control character names no folder"
            ))
            .hint("a name has parts with one `/` between them"));
        }
        if url.scheme.is_web() {
            return Err(
                Error::usage(format!("`{url}`: a web server takes no files"))
                    .hint("name a folder of `s3://`, `gs://`, `az://`, or a path"),
            );
        }
        Ok(Shared::Object(url))
    }

    /// What has this name in it.
    #[must_use]
    pub(crate) fn join(&self, name: &str) -> Shared {
        match self {
            Shared::Path(path) => Shared::Path(path.join(name)),
            Shared::Object(url) => Shared::Object(url.with_key(&format!("{}/{name}", url.key))),
        }
    }

    /// Begins to write it. `attempt` is unlike that of anybody else who writes it; the last one to finish stays.
    pub(crate) fn create(&self, attempt: &str) -> Result<SharedWriter> {
        Ok(match self {
            Shared::Path(path) => SharedWriter::File(HiddenFile::create(path, attempt)?),
            Shared::Object(url) => SharedWriter::Pieces(PieceWriter::begin(url, attempt, &stop())?),
        })
    }

    /// Opens what was written.
    pub(crate) fn open(&self) -> Result<Box<dyn ReadSeek>> {
        match self {
            Shared::Path(path) => {
                let file = File::open(path).map_err(|e| Error::io("open", path.display(), &e))?;
                Ok(Box::new(file))
            }
            Shared::Object(url) => Ok(Box::new(PieceReader::open(url, &stop())?)),
        }
    }

    /// The same; `None`: it is not there.
    pub(crate) fn open_if_there(&self) -> Result<Option<Box<dyn ReadSeek>>> {
        let is_there = match self {
            Shared::Path(path) => path
                .try_exists()
                .map_err(|e| Error::io("look at", path.display(), &e))?,
            Shared::Object(url) => Store::of(url)?.find(url, &stop())?.is_some(),
        };
        is_there.then(|| self.open()).transpose()
    }

    /// Writes a few bytes at once.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Shared::Path(path) => {
                std::fs::write(path, bytes).map_err(|e| Error::io("write", path.display(), &e))
            }
            Shared::Object(url) => {
                let put = Store::of(url)?.put(url, Bytes::copy_from_slice(bytes))?;
                put.wait(&stop())?
            }
        }
    }

    /// Makes it, empty; whether it was not there. In a bucket it may be new to two who make it in the same moment.
    pub(crate) fn mark(&self) -> Result<bool> {
        match self {
            Shared::Path(path) => match File::create_new(path) {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(Error::io("create", path.display(), &error)),
            },
            Shared::Object(url) => {
                let is_new = Store::of(url)?.find(url, &stop())?.is_none();
                if is_new {
                    self.write(b"")?;
                }
                Ok(is_new)
            }
        }
    }

    /// What [`Shared::write`] wrote; `None`: it is not there.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>> {
        match self {
            Shared::Path(path) => match std::fs::read(path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Error::io("read", path.display(), &error)),
            },
            Shared::Object(url) => {
                let store = Store::of(url)?;
                match store.find(url, &stop())? {
                    Some(_) => Ok(Some(store.get(url)?.wait(&stop())??.into())),
                    None => Ok(None),
                }
            }
        }
    }

    /// The folders in it.
    pub(crate) fn folders(&self) -> Result<Vec<String>> {
        match self {
            Shared::Path(path) => {
                let entries = std::fs::read_dir(path);
                let entries = entries.map_err(|e| Error::io("list", path.display(), &e))?;
                let folders = entries.flatten().filter(|entry| entry.path().is_dir());
                let names = folders.map(|entry| entry.file_name());
                Ok(names.filter_map(|name| name.into_string().ok()).collect())
            }
            Shared::Object(url) => Store::of(url)?.folders(url, &format!("{}/", url.key), &stop()),
        }
    }

    /// Removes it, with all that is in it.
    pub(crate) fn remove(&self, stop: &Stop) -> Result<()> {
        match self {
            Shared::Path(path) => {
                disk::remove(path);
                Ok(())
            }
            Shared::Object(url) => {
                let mut removed = remove_objects(url, stop);
                for _ in 1..REMOVALS {
                    if removed.is_err() && stop.check().is_ok() {
                        removed = remove_objects(url, stop);
                    }
                }
                removed
            }
        }
    }
}

/// Removes the objects below a name.
fn remove_objects(url: &ObjectUrl, stop: &Stop) -> Result<()> {
    let store = Store::of(url)?;
    let mut under_way = VecDeque::new();
    store.list(url, &format!("{}/", url.key), true, stop, |key, _| {
        under_way.push_back(store.delete(&url.with_key(&key))?);
        if under_way.len() >= REMOVED_AT_ONCE
            && let Some(first) = under_way.pop_front()
        {
            first.wait(stop)??;
        }
        Ok(())
    })?;
    under_way.into_iter().try_for_each(|gone| gone.wait(stop)?)
}

/// No run's: tasks have none.
fn stop() -> Stop {
    Stop::of_signals()
}

/// What can be read in any order.
pub(crate) trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// What is being written; dropped before it is finished, nobody sees it.
pub(crate) enum SharedWriter {
    /// A file.
    File(HiddenFile),
    /// An object.
    Pieces(PieceWriter),
}

impl SharedWriter {
    /// All is written: gives it its name.
    pub(crate) fn finish(self) -> std::io::Result<()> {
        match self {
            SharedWriter::File(file) => file.finish(),
            SharedWriter::Pieces(pieces) => pieces.finish().map_err(std::io::Error::other),
        }
    }
}

impl Write for SharedWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            SharedWriter::File(file) => file.writer.write(bytes),
            SharedWriter::Pieces(pieces) => {
                pieces.write(bytes).map_err(std::io::Error::other)?;
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A file under another name until it is whole.
pub(crate) struct HiddenFile {
    writer: BufWriter<File>,
    hidden: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl HiddenFile {
    fn create(path: &Path, attempt: &str) -> Result<HiddenFile> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let hidden = path.with_file_name(format!(".{name}.{attempt}"));
        let file = File::create(&hidden).map_err(|e| Error::io("create", hidden.display(), &e))?;
        Ok(HiddenFile {
            writer: BufWriter::with_capacity(BUFFER_BYTES, file),
            hidden,
            path: path.to_owned(),
            finished: false,
        })
    }

    fn finish(mut self) -> std::io::Result<()> {
        self.writer.flush()?;
        std::fs::rename(&self.hidden, &self.path)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for HiddenFile {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed goes with the folder.
            let _ = std::fs::remove_file(&self.hidden);
        }
    }
}
