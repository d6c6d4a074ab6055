//! A file that stays what it was: one that is cut, replaced or written over while it is read would give
//! other rows without a word. What a file was is noted when the run begins, and compared when it is
//! opened and when its end is reached.
//!
//! Compared are device, inode, length and the time of the last change, of the open file and of its path.
//! Not the time of the last change of its names and rights: a link that a backup makes is no other text.
//! On file systems with coarse times a change within the same second that keeps the length is not seen.
//!
//! A file may grow, as a log does. What was appended after the start is left out, with a warning. That
//! its beginning is still what it was is seen from its first bytes and from those that were its last.

use std::fs::{File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{STDIN, cannot_open};
use crate::error::{Error, Result};
use crate::schema::count;
use crate::stage::InputFile;
use crate::stop::Stop;

/// So many bytes at either end tell whether a file that has grown begins as it did.
const ENDS: u64 = 4096;

/// A file, and what it was when it was first looked at.
#[derive(Debug, Clone)]
pub(in crate::stage) struct Seen {
    /// Where it is.
    pub(in crate::stage) path: PathBuf,
    /// `None`: standard input, a pipe or a device, of which nothing is known beforehand.
    was: Option<Was>,
}

#[derive(Debug, Clone, Copy)]
struct Was {
    state: State,
    /// Of both ends; see [`ends`].
    ends: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        State {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// Files that have grown while they were read, in words.
#[derive(Debug, Clone, Default)]
pub(in crate::stage) struct Grown(Arc<Mutex<Vec<String>>>);

impl Grown {
    fn add(&self, words: String) {
        let mut all = self.0.lock().expect("no one panics holding this lock");
        all.push(words);
    }

    /// All of them, in order of their names.
    pub(in crate::stage) fn take(&self) -> Vec<String> {
        let mut all = self.0.lock().expect("no one panics holding this lock");
        all.sort();
        std::mem::take(&mut all)
    }
}

/// Whether what stands there can be opened only once: standard input, or a named pipe.
pub(in crate::stage) fn is_once(path: &Path) -> bool {
    let is_pipe = |path| std::fs::metadata(path).is_ok_and(|entry| entry.file_type().is_fifo());
    path == Path::new(STDIN) || is_pipe(path)
}

impl Seen {
    /// Looks at a file, and what the report says of it; it must be there.
    pub(in crate::stage) fn of(path: &Path) -> Result<(Self, InputFile)> {
        let path = path.to_owned();
        let file = path.display().to_string();
        if path == Path::new(STDIN) {
            let input = InputFile {
                file,
                bytes: 0,
                modified: None,
            };
            return Ok((Seen { path, was: None }, input));
        }
        let metadata = std::fs::metadata(&path).map_err(|error| cannot_open(&path, &error))?;
        let modified = metadata.modified().ok().map(|time| {
            crate::clock::date(time).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
        });
        let input = InputFile {
            file,
            bytes: metadata.len(),
            modified,
        };
        let mut was = None;
        if metadata.is_file() {
            let ends = File::open(&path).and_then(|file| ends(&file, metadata.len()));
            was = Some(Was {
                state: State::of(&metadata),
                ends: ends.map_err(|error| cannot_open(&path, &error))?,
            });
        }
        Ok((Seen { path, was }, input))
    }

    /// Whether it is a file that lies there, so that its end can be known.
    pub(in crate::stage) fn is_file(&self) -> bool {
        self.was.is_some()
    }

    /// Opens it, if it is still what it was. `Some` only for a file that lies there.
    pub(in crate::stage) fn watch(&self, stop: &Stop, grown: &Grown) -> Result<Option<Watch>> {
        let Some(was) = self.was else { return Ok(None) };
        let file = File::open(&self.path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => other(&self.path, "was removed after the run began"),
            _ => cannot_open(&self.path, &error),
        })?;
        let watch = Watch {
            path: self.path.clone(),
            file,
            was: was.state,
            ends: was.ends,
            read: 0,
            stop: stop.clone(),
            grown: grown.clone(),
        };
        watch.same_file()?;
        Ok(Some(watch))
    }
}

/// An open file. Its end is an error unless it is where it was when the run began.
pub(in crate::stage) struct Watch {
    path: PathBuf,
    /// The file.
    file: File,
    was: State,
    ends: u64,
    read: u64,
    stop: Stop,
    grown: Grown,
}

impl Watch {
    /// A second handle to the open file, for those who read it in any order; see [`Watch::unchanged`].
    pub(in crate::stage) fn file(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }

    /// An error if it is not what it was, byte by byte: for those who cannot do with its beginning.
    pub(in crate::stage) fn unchanged(&self) -> Result<()> {
        match self.now()? {
            now if now == self.was => self.same_file(),
            now => Err(self.changed(now)),
        }
    }

    fn now(&self) -> Result<State> {
        let metadata = self.file.metadata();
        let metadata = metadata.map_err(|error| Error::io("read", self.path.display(), &error))?;
        Ok(State::of(&metadata))
    }

    /// An error if another file lies there now.
    fn same_file(&self) -> Result<()> {
        let what = match std::fs::metadata(&self.path) {
            Ok(now) if (now.dev(), now.ino()) == (self.was.device, self.was.inode) => return Ok(()),
            Ok(_) => "was replaced by another file",
            Err(_) => "was removed",
        };
        Err(other(&self.path, &format!("{what} after the run began")))
    }

    fn changed(&self, now: State) -> Error {
        let had = self.was.length;
        if now.length < had {
            return other(
                &self.path,
                &format!(
                    "ended at byte {}, it had {had} when the run began",
                    now.length
                ),
            );
        }
        other(&self.path, "was changed after the run began")
    }

    /// Its end is reached: an error unless all that it had was read, and is what it was.
    fn end(&self) -> Result<()> {
        let now = self.now()?;
        if self.was.length == 0 {
            // What the system makes up stays without a length and has no time that means anything.
            return match now.length {
                0 => Ok(()),
                _ => Err(self.changed(now)),
            };
        }
        if self.read < self.was.length {
            let short = State {
                length: now.length.min(self.read),
                ..now
            };
            return Err(self.changed(short));
        }
        let io = |error: std::io::Error| Error::io("read", self.path.display(), &error);
        let had = self.was.length;
        if now.length > had && ends(&self.file, had).map_err(io)? == self.ends {
            if self.ended_within_a_line().map_err(io)? {
                return Err(other(
                    &self.path,
                    &format!(
                        "has grown while it was read, and ended within a line, at byte {}, when the run began",
                        self.was.length
                    ),
                ));
            }
            self.grown.add(format!(
                "`{}` has grown from {} to {} while it was read: what was appended is left out",
                self.path.display(),
                self.was.length,
                count(now.length, "byte")
            ));
        } else if now != self.was {
            return Err(self.changed(now));
        }
        self.same_file()
    }

    /// Whether what it had did not end where a line does; a gzip stream tells its end itself.
    fn ended_within_a_line(&self) -> std::io::Result<bool> {
        let (mut first, mut last) = ([0; 2], [0; 1]);
        self.file.read_exact_at(&mut first, 0)?;
        self.file.read_exact_at(&mut last, self.was.length - 1)?;
        Ok(first != crate::format::gzip::MAGIC && last != *b"\n")
    }
}

/// A file is not what it was.
fn other(path: &Path, what: &str) -> Error {
    Error::failed(format!("`{}` {what}", path.display()))
        .hint("another program writes it? run again once it is complete")
}

/// A digest of the first and the last bytes of a file of this length.
fn ends(file: &File, length: u64) -> std::io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    for from in [0, length.saturating_sub(ENDS)] {
        let mut bytes = Vec::new();
        let mut file = file;
        file.seek(SeekFrom::Start(from))?;
        file.take(ENDS.min(length - from)).read_to_end(&mut bytes)?;
        bytes.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

impl Read for Watch {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stop.check().map_err(std::io::Error::other)?;
        // Files that the system makes up have no length, and are read to their end.
        let left = match self.was.length {
            0 => u64::MAX,
            length => length - self.read,
        };
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = self.file.read(&mut buffer[..wanted])?;
        self.read += read as u64;
        if read == 0 && !buffer.is_empty() {
            self.end().map_err(std::io::Error::other)?;
        }
        Ok(read)
    }
}
