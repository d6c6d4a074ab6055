//! An object that is read: as a stream, from its beginning, or in any order.

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};

use super::ObjectUrl;
use super::ahead::Requests;
use super::store::{Meta, PendingBytes, Store};
use crate::error::{Error, Result};
use crate::http::{Pending, WebStream};
use crate::stop::Stop;

/// What is asked for at first: a header, or the few rows of a preview, take no more.
pub(super) const RANGE_MIN: u64 = 256 << 10;
/// The most that is asked for at once. Larger, and a few files that are read side by side take much memory; smaller, and
/// a store that is far away spends its time on beginnings.
pub(super) const RANGE_MAX: u64 = 8 << 20;
/// How many ranges are under way at most, beside the one that is read: 24 MiB for each file that is open.
const AHEAD_MAX: usize = 2;
/// How much of its end is read at once: the index of most files that have one there.
const TAIL: u64 = 64 << 10;

/// An object, and what it was when it was first looked at.
#[derive(Debug)]
pub(super) struct Object {
    store: Arc<Store>,
    url: ObjectUrl,
    pub(super) meta: Meta,
    /// Its last bytes, once they were read.
    tail: OnceLock<Bytes>,
}

impl Object {
    /// Looks at an object, which must be there.
    pub(super) fn of(url: &ObjectUrl, stop: &Stop) -> Result<Object> {
        let store = Store::of(url)?;
        let meta = store.look(url, stop)?;
        let url = url.clone();
        Ok(Object {
            store,
            url,
            meta,
            tail: OnceLock::new(),
        })
    }

    /// Whether another look has found the same version of the same object.
    pub(super) fn is_same(&self, other: &Object) -> bool {
        let is_told = self.meta.etag.is_some() || self.meta.modified.is_some();
        is_told && self.url == other.url && self.meta == other.meta
    }

    /// Its bytes from the beginning.
    pub(super) fn stream(self: &Arc<Self>, stop: &Stop) -> Result<Box<dyn Read + Send>> {
        let stop = stop.clone();
        if let (true, Some(length)) = (self.meta.has_ranges, self.meta.bytes) {
            return Ok(Box::new(Stream {
                object: self.clone(),
                length,
                asked: 0,
                under_way: VecDeque::new(),
                here: Bytes::new(),
                range: RANGE_MIN,
                ahead: 1,
                stop,
            }));
        }
        let stream = self.store.stream(&self.url, &self.meta)?;
        let whole = stream.map(|stream| Whole {
            object: self.clone(),
            next: Some(self.store.read_on(stream)),
            here: Bytes::new(),
            read: 0,
            stop,
        });
        match whole {
            Some(whole) => Ok(Box::new(whole)),
            None => Err(Error::failed(format!("`{}` has no length", self.url))),
        }
    }

    /// How long it is, if parts of it can be read.
    pub(super) fn length_of_ranges(&self) -> Result<u64> {
        match self.meta.bytes {
            Some(bytes) if self.meta.has_ranges => Ok(bytes),
            _ => Err(Error::failed(format!(
                "`{}`: its index is at its end and read first, and the server gives no parts of files, or does not say of which version they are",
                self.url
            ))
            .hint("download it first")),
        }
    }

    /// Its last bytes, as many as are read at once; they are read once.
    pub(super) fn tail(&self, stop: &Stop) -> Result<Bytes> {
        if let Some(tail) = self.tail.get() {
            return Ok(tail.clone());
        }
        let length = self.length_of_ranges()?;
        let range = length.saturating_sub(TAIL)..length;
        let asking = Asking { object: self, stop };
        let tail = if range.is_empty() {
            Bytes::new()
        } else {
            asking.wait(asking.begin(range))?
        };
        Ok(self.tail.get_or_init(|| tail).clone())
    }
}

/// Who asks for ranges of an object.
pub(super) struct Asking<'a> {
    pub(super) object: &'a Object,
    pub(super) stop: &'a Stop,
}

impl Requests for Asking<'_> {
    type Pending = PendingBytes;

    fn begin(&self, range: Range<u64>) -> PendingBytes {
        let Object {
            store, url, meta, ..
        } = self.object;
        store.range(url, meta, range.start, range.end)
    }

    fn wait(&self, pending: PendingBytes) -> Result<Bytes> {
        pending.wait(self.stop)?
    }
}

/// Bytes in ranges, some of which are under way while one is read.
struct Stream {
    object: Arc<Object>,
    length: u64,
    /// How far it was asked for.
    asked: u64,
    under_way: VecDeque<PendingBytes>,
    here: Bytes,
    /// The size of the next range; it grows as long as somebody reads on.
    range: u64,
    /// How many may be under way; it grows too.
    ahead: usize,
    stop: Stop,
}

impl Stream {
    fn next(&mut self) -> Result<()> {
        while self.under_way.len() < self.ahead && self.asked < self.length {
            let to = self.length.min(self.asked + self.range);
            let Object {
                store, url, meta, ..
            } = &*self.object;
            self.under_way
                .push_back(store.range(url, meta, self.asked, to));
            self.asked = to;
            self.range = RANGE_MAX.min(self.range * 4);
        }
        self.ahead = AHEAD_MAX.min(self.ahead + 1);
        if let Some(next) = self.under_way.pop_front() {
            self.here = next.wait(&self.stop)??;
        }
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.here.is_empty() {
            self.next().map_err(std::io::Error::other)?;
        }
        Ok(take(&mut self.here, buffer))
    }
}

/// A whole file of a server that gives no parts.
struct Whole {
    object: Arc<Object>,
    next: Option<Pending<(WebStream, Result<Bytes>)>>,
    here: Bytes,
    read: u64,
    stop: Stop,
}

impl Whole {
    fn next(&mut self) -> Result<()> {
        let Some(next) = self.next.take() else {
            return Ok(());
        };
        let (stream, bytes) = next.wait(&self.stop)?;
        self.here = bytes?;
        self.read += self.here.len() as u64;
        if !self.here.is_empty() {
            self.next = Some(self.object.store.read_on(stream));
            return Ok(());
        }
        match self.object.meta.bytes {
            Some(had) if had != self.read => Err(Error::failed(format!(
                "`{}` ended at byte {}, it had {had} when the run began",
                self.object.url, self.read
            ))),
            _ => Ok(()),
        }
    }
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.here.is_empty() {
            self.next().map_err(std::io::Error::other)?;
        }
        Ok(take(&mut self.here, buffer))
    }
}

fn take(here: &mut Bytes, buffer: &mut [u8]) -> usize {
    let taken = here.len().min(buffer.len());
    here.copy_to_slice(&mut buffer[..taken]);
    taken
}
