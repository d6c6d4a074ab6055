//! The bytes of a file or an object in any order, for formats that have their index at the end.

use std::io::{Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex};

use super::object::Object;
use super::text::codec_of;
use super::watch::Watch;
use super::{Grown, Place, Seen, open, read_error};
use crate::error::{Error, Result};
use crate::stop::Stop;

/// So many bytes tell whether it is compressed.
const TELLS: usize = 6;

/// How much a [`RangeReader`] reads at once from a file: few system calls, and still in the cache.
const AHEAD_OF_FILE: usize = 256 << 10;
/// How much from an object: each answer takes a while to come.
const AHEAD_OF_OBJECT: usize = 4 << 20;

/// The bytes of what was seen, in any order; shared by the threads that read it.
pub(crate) struct Ranges {
    place: Place,
    source: Source,
    /// The first error of reading, for those who lose it on its way through a library.
    failed: Mutex<Option<Error>>,
}

enum Source {
    File(Watch),
    Object {
        object: Arc<Object>,
        length: u64,
        stop: Stop,
    },
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

    pub(super) fn of_object(seen: &Seen, object: Arc<Object>, stop: &Stop) -> Result<Ranges> {
        let length = object.length_of_ranges()?;
        let tells = usize::try_from(length).map_or(TELLS, |length| length.min(TELLS));
        let first = object.read_at(0, tells, stop)?;
        let source = if codec_of(&first, &seen.place).is_some() {
            Source::Inflated(inflated(seen, stop)?)
        } else {
            let stop = stop.clone();
            Source::Object {
                object,
                length,
                stop,
            }
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
            Source::Object { length, .. } => *length,
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
            Source::Object { object, stop, .. } => {
                object.read_at(offset, length, stop).map(Vec::from)
            }
            Source::Inflated(all) => {
                let from = usize::try_from(offset).map_or(all.len(), |from| from.min(all.len()));
                Ok(all[from..from + length].to_vec())
            }
        };
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
            Source::Object { .. } | Source::Inflated(_) => Ok(()),
        }
    }

    /// How much is worth reading at once.
    fn ahead(&self) -> usize {
        match &self.source {
            Source::File(_) | Source::Inflated(_) => AHEAD_OF_FILE,
            Source::Object { .. } => AHEAD_OF_OBJECT,
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
    buffer: Vec<u8>,
    from: u64,
}

impl RangeReader {
    /// A reader at the beginning.
    pub(crate) fn new(ranges: Arc<Ranges>) -> Self {
        RangeReader {
            ranges,
            at: 0,
            buffer: Vec::new(),
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
            let most = self.ranges.ahead().max(buffer.len());
            let read = self.ranges.read_at(self.at, most);
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
        let ranges = Arc::new(seen.ranges(&Stop::default()).expect("it can be read"));
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
