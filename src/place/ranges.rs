//! The bytes of a file or an object in any order, for formats that have their index at the end.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::ahead::Ahead;
use super::object::{Asking, Object};
use super::store::PendingBytes;
use super::text::codec_of;
use super::watch::Watch;
use super::{Grown, Place, Seen, open, read_error};
use crate::error::{Error, Result};
use crate::stop::Stop;

/// So many bytes tell whether it is compressed.
const TELLS: usize = 6;

/// How much a [`RangeReader`] reads at once from a file: few system calls, and still in the cache. Of an object it takes
/// what comes.
const AHEAD_OF_FILE: usize = 256 << 10;

/// The bytes of what was seen, in any order; shared by the threads that read it.
pub(crate) struct Ranges {
    place: Place,
    source: Source,
    /// The first error of reading, for those who lose it on its way through a library.
    failed: Mutex<Option<Error>>,
}

enum Source {
    File(Watch),
    Object(Parts),
    /// What was compressed.
    Inflated(Vec<u8>),
}

impl Ranges {
    pub(super) fn of_file(seen: &Seen, watch: Watch, stop: &Stop) -> Result<Ranges> {
        let mut first = [0; TELLS];
        let read = watch.read_at(0, &mut first);
        let read = read.map_err(|error| read_error(error, &seen.place))?;
        let source = if codec_of(&first[..read], &seen.place).is_some() {
            Source::Inflated(inflated(seen, stop)?)
        } else {
            Source::File(watch)
        };
        Ok(Ranges {
            place: seen.place.clone(),
            source,
            failed: Mutex::default(),
        })
    }

    /// Those of an object. One whose last bytes are `plain_end` is known not to be compressed.
    pub(super) fn of_object(
        seen: &Seen,
        object: Arc<Object>,
        plain_end: &[u8],
        stop: &Stop,
    ) -> Result<Ranges> {
        let parts = Parts::of(object, stop)?;
        let first = if parts.tail.ends_with(plain_end) {
            Vec::new()
        } else {
            parts.read_at(0, parts.length.min(TELLS as u64))?
        };
        let source = if codec_of(&first, &seen.place).is_some() {
            Source::Inflated(inflated(seen, stop)?)
        } else {
            Source::Object(parts)
        };
        Ok(Ranges {
            place: seen.place.clone(),
            source,
            failed: Mutex::default(),
        })
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> u64 {
        match &self.source {
            Source::File(watch) => watch.len(),
            Source::Object(parts) => parts.length,
            Source::Inflated(bytes) => bytes.len() as u64,
        }
    }

    /// The bytes from `offset` on; fewer than `length` only where there are no more.
    pub(crate) fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let left = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = length.min(left);
        let read = match &self.source {
            Source::File(watch) => {
                let mut bytes = vec![0; length];
                let read = watch.read_at(offset, &mut bytes);
                read.map_err(|error| read_error(error, &self.place))
                    .map(|read| {
                        bytes.truncate(read);
                        bytes
                    })
            }
            Source::Object(parts) => parts.read_at(offset, offset + length as u64),
            Source::Inflated(all) => {
                let from = usize::try_from(offset).map_or(all.len(), |from| from.min(all.len()));
                Ok(all[from..from + length].to_vec())
            }
        };
        self.noted(read)
    }

    /// Says which ranges will be read next, in this order, after those that were named before. Those of an object are
    /// asked for meanwhile.
    pub(crate) fn expect(&self, ranges: Vec<Range<u64>>) {
        if let Source::Object(parts) = &self.source {
            parts.expect(ranges);
        }
    }

    /// Some bytes from `offset` on, for one who reads on there; `most` at most of a file, none only at the end.
    fn read_on(&self, offset: u64, most: usize) -> Result<Bytes> {
        match &self.source {
            Source::Object(parts) => self.noted(parts.read_on(offset)),
            Source::File(_) | Source::Inflated(_) => self.read_at(offset, most).map(Bytes::from),
        }
    }

    /// What was read; an error is noted.
    fn noted<T>(&self, read: Result<T>) -> Result<T> {
        read.inspect_err(|error| {
            let mut failed = self.failed.lock().expect("no one panics holding this lock");
            failed.get_or_insert_with(|| error.clone());
        })
    }

    /// An error if it could not be read, or is not what it was: that is why all else went wrong.
    pub(crate) fn unchanged(&self) -> Result<()> {
        let failed = self.failed.lock().expect("no one panics holding this lock");
        if let Some(error) = &*failed {
            return Err(error.clone());
        }
        match &self.source {
            Source::File(watch) => watch.unchanged(),
            // Each range is of the object that was looked at.
            Source::Object(_) | Source::Inflated(_) => Ok(()),
        }
    }
}

/// The bytes of an object.
struct Parts {
    object: Arc<Object>,
    length: u64,
    /// Its last bytes.
    tail: Bytes,
    ahead: Mutex<Ahead<PendingBytes>>,
    stop: Stop,
}

impl Parts {
    fn of(object: Arc<Object>, stop: &Stop) -> Result<Parts> {
        Ok(Parts {
            length: object.length_of_ranges()?,
            tail: object.tail(stop)?,
            object,
            ahead: Mutex::default(),
            stop: stop.clone(),
        })
    }

    /// Where the last bytes begin that were read.
    fn tail_start(&self) -> u64 {
        self.length - self.tail.len() as u64
    }

    /// The last bytes from `offset` on; `offset` is not behind them.
    fn tail_from(&self, offset: u64) -> Bytes {
        let from = usize::try_from(offset - self.tail_start());
        self.tail.slice(from.expect("they are in memory")..)
    }

    /// Bytes `offset..end`, which are there.
    fn read_at(&self, offset: u64, end: u64) -> Result<Vec<u8>> {
        let middle = end.min(self.tail_start());
        let mut bytes = Vec::new();
        if offset < middle {
            let mut ahead = self.ahead();
            bytes = ahead.read(&self.asking(), offset, middle)?;
        }
        if end > middle {
            let mut tail = self.tail_from(offset.max(middle));
            tail.truncate(usize::try_from(end - offset.max(middle)).unwrap_or(usize::MAX));
            bytes.extend_from_slice(&tail);
        }
        Ok(bytes)
    }

    fn read_on(&self, offset: u64) -> Result<Bytes> {
        if offset >= self.tail_start() {
            return Ok(self.tail_from(offset.min(self.length)));
        }
        let mut ahead = self.ahead();
        ahead.read_on(&self.asking(), offset, self.tail_start())
    }

    fn expect(&self, ranges: Vec<Range<u64>>) {
        let end = self.tail_start();
        let ranges = ranges.into_iter();
        let mut ahead = self.ahead();
        ahead.expect(ranges.map(|range| range.start..range.end.min(end)));
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead<PendingBytes>> {
        self.ahead.lock().expect("no one panics holding this lock")
    }

    fn asking(&self) -> Asking<'_> {
        Asking {
            object: &self.object,
            stop: &self.stop,
        }
    }
}

/// All of what is compressed.
fn inflated(seen: &Seen, stop: &Stop) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut reader = open(seen, Arc::default(), stop, &Grown::default())?;
    let read = reader.read_to_end(&mut text);
    read.map_err(|error| read_error(error, &seen.place))?;
    Ok(text)
}

/// Ranges as a reader, for libraries that want one. It reads ahead.
pub(crate) struct RangeReader {
    ranges: Arc<Ranges>,
    at: u64,
    /// The bytes from `from` on.
    buffer: Bytes,
    from: u64,
}

impl RangeReader {
    /// A reader at the beginning.
    pub(crate) fn new(ranges: Arc<Ranges>) -> Self {
        RangeReader {
            ranges,
            at: 0,
            buffer: Bytes::new(),
            from: 0,
        }
    }

    /// What is in the buffer from here on.
    fn buffered(&self) -> &[u8] {
        let into = self.at.checked_sub(self.from);
        let into = into.and_then(|into| usize::try_from(into).ok());
        into.and_then(|into| self.buffer.get(into..))
            .unwrap_or_default()
    }
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.buffered().is_empty() {
            let read = self
                .ranges
                .read_on(self.at, AHEAD_OF_FILE.max(buffer.len()));
            self.buffer = read.map_err(std::io::Error::other)?;
            self.from = self.at;
        }
        let read = (&mut self.buffered()).read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for RangeReader {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let to = match to {
            SeekFrom::Start(to) => Some(to),
            SeekFrom::End(by) => self.ranges.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = to.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_of_ranges_reads_what_lies_there() {
        let bytes: Vec<u8> = (0..700_000_u32).map(|at| (at % 251) as u8).collect();
        let path = std::env::temp_dir().join(format!("etl-ranges-{}", std::process::id()));
        std::fs::write(&path, &bytes).expect("it can be written");
        let (seen, _) = Seen::of(&Place::File(path.clone())).expect("it is there");
        let ranges = Arc::new(seen.ranges(b"", &Stop::default()).expect("it can be read"));
        assert_eq!(ranges.len(), 700_000);
        assert_eq!(
            ranges.read_at(699_998, 10).expect("it is there"),
            &bytes[699_998..]
        );
        assert!(ranges.read_at(900_000, 1).expect("nothing").is_empty());
        let mut reader = RangeReader::new(ranges.clone());
        let mut all = Vec::new();
        reader.read_to_end(&mut all).expect("it is there");
        assert_eq!(all, bytes);
        for (to, at) in [
            (SeekFrom::End(-10), 699_990),
            (SeekFrom::Start(5), 5),
            (SeekFrom::Current(300_000), 300_006),
        ] {
            assert_eq!(reader.seek(to).expect("it is inside"), at);
            let mut one = [0];
            reader.read_exact(&mut one).expect("it is inside");
            assert_eq!(one[0], bytes[usize::try_from(at).expect("small")]);
        }
        assert!(reader.seek(SeekFrom::End(-700_001)).is_err());
        ranges.unchanged().expect("nobody changes it");
        std::fs::write(&path, "shorter").expect("it can be written");
        assert!(ranges.unchanged().is_err());
        std::fs::remove_file(&path).expect("it was written");
    }
}
