//! The text of a file, of an object, of standard input, a pipe or a device: inflated if it is compressed, which shows
//! in its bytes, not its name.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::{Grown, Place, Seen, cannot_open};
use crate::error::{Error, Result};
use crate::format::compression::{self, Codec};
use crate::format::text_encoding;
use crate::procs::readable;
use crate::stop::Stop;

/// So many bytes tell what a file is.
const TELLS: usize = 6;

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

/// What may not come for a while, without being deaf to signals meanwhile.
struct Awaited<R> {
    reader: R,
    stop: Stop,
}

impl<R: Read + AsFd> Read for Awaited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            self.stop.check().map_err(std::io::Error::other)?;
            let ready = match self.stop.poll(vec![readable(&self.reader)], None) {
                Ok(ready) => ready > 0,
                Err(Errno::EINTR) => false,
                Err(error) => return Err(error.into()),
            };
            // It may be the stop that is ready.
            if ready && !self.stop.is_set() {
                return self.reader.read(buffer);
            }
        }
    }
}

/// The text of a file that must still be what was seen; its end is an error unless it is where it was.
pub(crate) fn open(
    seen: &Seen,
    done: Arc<AtomicU64>,
    stop: &Stop,
    grown: &Grown,
) -> Result<Box<dyn Read + Send>> {
    let (reader, first) = open_with_first(seen, done, stop, grown)?;
    match text_encoding::marked(&first) {
        Some(encoding) if text_encoding::is_utf16(encoding) => Err(Error::failed(format!(
            "`{}` is UTF-16 text, which is not read here",
            seen.place
        ))
        .hint("convert it first, with `iconv -f utf-16 -t utf-8`")),
        _ => Ok(reader),
    }
}

/// The same, of a text in any encoding: to decode it is up to the caller.
pub(crate) fn open_encoded(
    seen: &Seen,
    done: Arc<AtomicU64>,
    stop: &Stop,
    grown: &Grown,
) -> Result<Box<dyn Read + Send>> {
    Ok(open_with_first(seen, done, stop, grown)?.0)
}

/// The bytes of what is no text, inflated if it is compressed; else as [`open`].
pub(crate) fn open_bytes(
    seen: &Seen,
    done: Arc<AtomicU64>,
    stop: &Stop,
    grown: &Grown,
) -> Result<Box<dyn Read + Send>> {
    Ok(open_inflated(seen, done, stop, grown)?.0)
}

/// The text, and its first bytes.
fn open_with_first(
    seen: &Seen,
    done: Arc<AtomicU64>,
    stop: &Stop,
    grown: &Grown,
) -> Result<(Box<dyn Read + Send>, Vec<u8>)> {
    let (reader, first) = open_inflated(seen, done, stop, grown)?;
    refuse_parquet(&first, &seen.place)?;
    refuse_utf32(&first, &seen.place)?;
    Ok((reader, first))
}

/// The bytes, inflated if they are compressed, and the first of them.
fn open_inflated(
    seen: &Seen,
    done: Arc<AtomicU64>,
    stop: &Stop,
    grown: &Grown,
) -> Result<(Box<dyn Read + Send>, Vec<u8>)> {
    let place = &seen.place;
    let reader: Box<dyn Read + Send> = match seen.stream(stop, grown)? {
        Some(stream) => stream,
        None => awaited(place, stop)?,
    };
    let mut reader = Counted { reader, done };
    let first = first_bytes(&mut reader, place)?;
    refuse_packed(&first, place)?;
    let codec = codec_of(&first, place);
    // A pipe may well bring nothing; what lies there and has a name that says so was cut.
    if let (true, Some(named)) = (
        first.is_empty() && !place.is_once(),
        Codec::named(place.extension()),
    ) {
        return Err(read_error(named.empty(), place));
    }
    // 256 KiB: few system calls, and still in the cache when it is inflated.
    let whole = Cursor::new(first.clone()).chain(reader);
    let reader = BufReader::with_capacity(256 << 10, whole);
    let Some(codec) = codec else {
        return Ok((Box::new(reader), first));
    };
    let mut text = codec.reader(reader);
    let first = first_bytes(&mut text, place)?;
    Ok((Box::new(Cursor::new(first.clone()).chain(text)), first))
}

/// How it is compressed, by its first bytes.
pub(super) fn codec_of(first: &[u8], place: &Place) -> Option<Codec> {
    Codec::of(first, place.extension())
}

/// Standard input, a pipe or a device.
fn awaited(place: &Place, stop: &Stop) -> Result<Box<dyn Read + Send>> {
    let stop = stop.clone();
    let Place::File(path) = place else {
        // Not by way of the library's buffer: what lies there no poll can see.
        let stdin = std::io::stdin().as_fd().try_clone_to_owned();
        let reader = File::from(stdin.map_err(|error| Error::io("open", place, &error))?);
        return Ok(Box::new(Awaited { reader, stop }));
    };
    // To open a named pipe would wait for who writes, as to read it does.
    let flags = OFlag::O_NONBLOCK.bits();
    let file = File::options().read(true).custom_flags(flags).open(path);
    let reader = file.map_err(|error| cannot_open(path, &error))?;
    Ok(Box::new(Awaited { reader, stop }))
}

/// The first bytes; fewer only if there are no more.
fn first_bytes(reader: &mut impl Read, place: &Place) -> Result<Vec<u8>> {
    let mut first = Vec::new();
    let read = reader.take(TELLS as u64).read_to_end(&mut first);
    read.map_err(|error| read_error(error, place))?;
    Ok(first)
}

/// An error of reading: our own as it is.
pub(crate) fn read_error(error: std::io::Error, place: &Place) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) => {
            let failed = Error::io("read", place, &error);
            match compression::next_step(&error) {
                Some(next) => failed.hint(next),
                None => failed,
            }
        }
    }
}

/// A text that would be taken for UTF-16 with zeros in it.
fn refuse_utf32(first: &[u8], place: &Place) -> Result<()> {
    if !text_encoding::is_marked_utf32(first) {
        return Ok(());
    }
    Err(
        Error::failed(format!("`{place}` is UTF-32 text, which is not read"))
            .hint("convert it first, with `iconv -f utf-32 -t utf-8`"),
    )
}

fn refuse_parquet(first: &[u8], place: &Place) -> Result<()> {
    if !first.starts_with(b"PAR1") {
        return Ok(());
    }
    Err(
        Error::failed(format!("`{place}` is a Parquet file, not text"))
            .hint("kind `load_parquet` reads it"),
    )
}

/// What is packed in a way that is not read, and what to do.
fn refuse_packed(first: &[u8], place: &Place) -> Result<()> {
    let packed = |what: &str, command: &str| {
        (
            format!("is compressed with {what}, which is not read"),
            format!(
                "pipe it in: `{command} FILE | etl run ...` with `files = [\"-\"]`, or pack it with gzip or zstd"
            ),
        )
    };
    let (what, hint) = match first {
        [b'B', b'Z', b'h', b'1'..=b'9', b'1' | 0x17, ..] => packed("bzip2", "bzcat"),
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => packed("xz", "xzcat"),
        [0x1F, 0x9D, ..] => packed("compress", "zcat"),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => (
            "is a zip archive (or a spreadsheet, which is one)".into(),
            "unpack it first, with `unzip`; save a spreadsheet as CSV".into(),
        ),
        [b'7', b'z', 0xBC, 0xAF, ..] => ("is a 7z archive".into(), "unpack it first".into()),
        _ => return Ok(()),
    };
    Err(Error::failed(format!("`{place}` {what}")).hint(hint))
}
