//! An object that is read: as a stream, from its beginning, or in any order.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::ObjectUrl;
use super::store::{Meta, PendingBytes, Store};
use crate::error::{Error, Result};
use crate::http::{Pending, WebStream};
use crate::stop::Stop;

/// What is asked for at first: a header, or the few rows of a preview, take no more.
const RANGE_MIN: u64 = 256 << 10;
/// The most that is asked for at once. Larger, and a few files that are read side by side take much memory; smaller, and
/// a store that is far away spends its time on beginnings.
const RANGE_MAX: u64 = 8 << 20;
/// How many ranges are under way at most, beside the one that is read: 24 MiB for each file that is open.
const AHEAD_MAX: usize = 2;

/// An object, and what it was when it was first looked at.
#[derive(Debug)]
pub(super) struct Object {
    store: Arc<Store>,
    url: ObjectUrl,
    pub(super) meta: Meta,
}

impl Object {
    /// Looks at an object, which must be there.
    pub(super) fn of(url: &ObjectUrl, stop: &Stop) -> Result<Object> {
        let store = Store::of(url)?;
        let meta = store.look(url, stop)?;
        let url = url.clone();
        Ok(Object { store, url, meta })
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

    /// Some of its bytes.
    pub(super) fn read_at(&self, from: u64, length: usize, stop: &Stop) -> Result<Bytes> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        let to = from + length as u64;
        self.store
            .range(&self.url, &self.meta, from, to)
            .wait(stop)?
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
            let Object { store, url, meta } = &*self.object;
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
