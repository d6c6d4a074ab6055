//! Where the text comes from: files and globs, standard input, gzip, and the blocks cut from them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{LoadCsv, TextSplitter};
use crate::batch::Batch;
use crate::columns::Column;
use crate::error::{Error, Result, nearest_file};
use crate::format::csv::split::Block;
use crate::format::gzip;
use crate::stage::{Folder, InputFile};
use crate::stop::Stop;

/// The files that paths and globs stand for; `-` stays `-`.
pub(in crate::stage) fn expand(patterns: &[String], folder: &Folder) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for pattern in patterns {
        if pattern == "-" {
            paths.push(PathBuf::from("-"));
            continue;
        }
        let path = folder.resolve(pattern);
        if path.exists() || !pattern.contains(['*', '?', '[']) {
            if path.is_dir() {
                return Err(
                    Error::failed(format!("`{}` is a directory", path.display())).hint(format!(
                        "`{}/*` names the files in it",
                        pattern.trim_end_matches('/')
                    )),
                );
            }
            paths.push(path);
            continue;
        }
        let matches = glob::glob(&path.to_string_lossy())
            .map_err(|error| Error::usage(format!("`{pattern}` is no glob: {error}")))?;
        let mut found = Vec::new();
        for entry in matches {
            let entry =
                entry.map_err(|error| Error::io("read", error.path().display(), error.error()))?;
            if entry.is_file() {
                found.push(entry);
            }
        }
        if found.is_empty() {
            return Err(Error::failed(format!(
                "`{}` matches no file",
                path.display()
            )));
        }
        found.sort();
        paths.extend(found);
    }
    Ok(paths)
}

/// What the report says of a file; it must be there.
pub(in crate::stage) fn input_file(path: &Path) -> Result<InputFile> {
    if path == Path::new("-") {
        return Ok(InputFile {
            file: "-".into(),
            bytes: 0,
            modified: None,
        });
    }
    let metadata =
        std::fs::metadata(path).map_err(|error| Error::io("read", path.display(), &error))?;
    let modified = metadata
        .modified()
        .ok()
        .map(|time| crate::clock::date(time).to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
    Ok(InputFile {
        file: path.display().to_string(),
        bytes: metadata.len(),
        modified,
    })
}

/// Counts what is read of a file as it lies there.
struct Counted<R> {
    reader: R,
    done: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.done.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Whether what stands there can be opened only once: standard input, or a named pipe.
pub(super) fn is_once(path: &Path) -> bool {
    let is_pipe = |path| std::fs::metadata(path).is_ok_and(|entry| entry.file_type().is_fifo());
    path == Path::new("-") || is_pipe(path)
}

/// What may not come for a while, without being deaf to signals meanwhile.
struct Awaited<R> {
    reader: R,
    stop: Stop,
}

impl<R: Read + AsFd> Read for Awaited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let mut wanted = [PollFd::new(self.reader.as_fd(), PollFlags::POLLIN)];
            match poll(&mut wanted, PollTimeout::from(100u8)) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return self.reader.read(buffer),
                Err(error) => return Err(error.into()),
            }
            if self.stop.is_set() {
                return Err(std::io::Error::other("interrupted"));
            }
        }
    }
}

/// The text of a file. gzip is told from the bytes, not the name.
pub(in crate::stage) fn open(
    path: &Path,
    done: Arc<AtomicU64>,
    stop: &Stop,
) -> Result<Box<dyn Read + Send>> {
    let stop = stop.clone();
    let reader: Box<dyn Read + Send> = if path == Path::new("-") {
        let reader = std::io::stdin();
        Box::new(Awaited { reader, stop })
    } else {
        let once = is_once(path);
        // To open a named pipe would wait for who writes, as to read it does.
        let flags = if once {
            OFlag::O_NONBLOCK
        } else {
            OFlag::empty()
        };
        let file = File::options()
            .read(true)
            .custom_flags(flags.bits())
            .open(path);
        let reader = file.map_err(|error| {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let hint = nearest_file(path).filter(|_| missing);
            let start = || "a relative path starts at the pipeline file's folder".to_owned();
            Error::io("open", path.display(), &error).hint(hint.unwrap_or_else(start))
        })?;
        if once {
            Box::new(Awaited { reader, stop })
        } else {
            Box::new(reader)
        }
    };
    // 256 KiB: few system calls, and still in the cache when it is inflated.
    let mut reader = BufReader::with_capacity(256 << 10, Counted { reader, done });
    let first = reader
        .fill_buf()
        .map_err(|error| Error::io("read", path.display(), &error))?;
    if first.starts_with(&gzip::MAGIC) {
        return Ok(Box::new(gzip::Reader::new(reader)));
    }
    Ok(Box::new(reader))
}

/// A part of the source: block after block of one file.
pub(super) struct Blocks {
    pub(super) loader: Arc<LoadCsv>,
    pub(super) number: u16,
    pub(super) path: PathBuf,
    pub(super) header: Option<Arc<[String]>>,
    pub(super) batch_rows: usize,
    pub(super) bytes_done: Arc<AtomicU64>,
    pub(super) stop: Stop,
    pub(super) open: Option<TextSplitter>,
    pub(super) ended: bool,
}

impl Blocks {
    fn next_block(&mut self) -> Result<Option<Block>> {
        if self.open.is_none() {
            self.open = Some(self.open()?);
        }
        let splitter = self.open.as_mut().expect("it was just opened");
        splitter.next_block().map_err(|error| Error {
            message: format!("{}: {}", self.path.display(), error.message),
            ..error
        })
    }

    /// The file behind its header.
    fn open(&self) -> Result<TextSplitter> {
        let begun = self
            .loader
            .lock_begun()
            .take_if(|(path, _)| *path == self.path);
        let mut opened = if let Some((_, opened)) = begun {
            opened
        } else {
            let done = self.bytes_done.clone();
            self.loader.open_file(&self.path, done, &self.stop)?
        };
        if opened.header.as_deref() != self.header.as_deref() {
            return Err(other_header(
                &self.path,
                opened.header.as_deref(),
                self.header.as_deref(),
            ));
        }
        opened
            .splitter
            .set_limits(self.loader.limits(self.batch_rows));
        Ok(opened.splitter)
    }
}

pub(super) fn other_header(
    path: &Path,
    found: Option<&[String]>,
    wanted: Option<&[String]>,
) -> Error {
    let (found, wanted) = (found.unwrap_or_default(), wanted.unwrap_or_default());
    let at = found.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    let show = |names: &[String]| {
        names
            .get(at)
            .map_or("nothing".into(), |name| format!("`{name}`"))
    };
    Error::failed(format!(
        "`{}` has another header than the files before it: column {} is {} instead of {}",
        path.display(),
        at + 1,
        show(found),
        show(wanted)
    ))
    .hint("load files of different columns in stages of their own")
}

impl Iterator for Blocks {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_block().transpose();
        if !matches!(next, Some(Ok(_))) {
            // A file that has ended is not kept open until all have.
            self.open = None;
            self.ended = true;
        }
        Some(next?.map(|block| to_batch(self.number, block)))
    }
}

/// A block as a batch of one row, so that executors ship nothing but batches.
pub(super) fn to_batch(file: u16, block: Block) -> Batch {
    let number = |value: u64| Column::from_ints(vec![value.cast_signed()], None);
    let columns = vec![
        Column::from_cells(vec![block.bytes.into()]),
        number(u64::from(file)),
        number(block.first_record),
        number(block.first_line),
        number(block.offset),
        number(block.records),
    ];
    Batch::new(columns, 1)
}
