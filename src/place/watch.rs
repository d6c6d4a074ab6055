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
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Grown, cannot_open};
use crate::error::{Error, Result};
use crate::format::compression::Codec;
use crate::schema::count;
use crate::stop::Stop;

/// So many bytes at either end tell whether a file that has grown begins as it did.
const ENDS: u64 = 4096;

/// What a file was when it was first looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Was {
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

impl Was {
    /// Looks at a file; `None`: it is a pipe or a device, of which nothing is known beforehand.
    pub(super) fn of(path: &Path) -> Result<(Option<Was>, Metadata)> {
        let metadata = std::fs::metadata(path).map_err(|error| cannot_open(path, &error))?;
        if !metadata.is_file() {
            return Ok((None, metadata));
        }
        let ends = File::open(path).and_then(|file| ends(&file, metadata.len()));
        let was = Was {
            state: State::of(&metadata),
            ends: ends.map_err(|error| cannot_open(path, &error))?,
        };
        Ok((Some(was), metadata))
    }
}

/// An open file. Its end is an error unless it is where it was when the run began.
pub(super) struct Watch {
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
    /// Opens a file, if it is still what it was.
    pub(super) fn open(path: &Path, was: Was, stop: &Stop, grown: &Grown) -> Result<Watch> {
        let file = File::open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => other(path, "was removed after the run began"),
            _ => cannot_open(path, &error),
        })?;
        let watch = Watch {
            path: path.to_owned(),
            file,
            was: was.state,
            ends: was.ends,
            read: 0,
            stop: stop.clone(),
            grown: grown.clone(),
        };
        watch.same_file()?;
        Ok(watch)
    }

    /// How long the file was.
    pub(super) fn len(&self) -> u64 {
        self.was.length
    }

    /// Its bytes from `offset` on, wherever the reading is; see [`Watch::unchanged`]. Fewer only where it ends.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            self.stop.check().map_err(std::io::Error::other)?;
            let at = offset + read as u64;
            match self.file.read_at(&mut buffer[read..], at)? {
                0 => break,
                more => read += more,
            }
        }
        Ok(read)
    }

    /// An error if it is not what it was, byte by byte: for those who cannot do with its beginning.
    pub(super) fn unchanged(&self) -> Result<()> {
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

    /// Whether what it had did not end where a line does, of UTF-16 too; a compressed stream tells its end itself.
    fn ended_within_a_line(&self) -> std::io::Result<bool> {
        let mut first = [0; 4];
        let read = self.file.read_at(&mut first, 0)?;
        if Codec::of(&first[..read], None).is_some() {
            return Ok(false);
        }
        let mut last = [0; 2];
        let last = if self.was.length < 2 {
            &mut last[..1]
        } else {
            &mut last[..]
        };
        self.file
            .read_exact_at(last, self.was.length - last.len() as u64)?;
        Ok(!last.ends_with(b"\n") && last != b"\n\0")
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
