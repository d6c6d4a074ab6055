//! An object as pieces of a limited size, and last a list of them, which has its name. An upload in parts would need a note
//! by which the parts of a killed program are found; pieces are listed, and removed, like any object.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::place::ObjectUrl;
use crate::place::store::{PendingBytes, PendingPut, Store};
use crate::stop::Stop;

/// A piece of an object. A task holds one that it fills, and those that are under way.
const PIECE_BYTES: usize = 8 << 20;
/// How many pieces are under way at most, beside the one that is filled or read.
const UNDER_WAY_MAX: usize = 2;

/// What an object is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct PieceList {
    /// Whose pieces they are.
    attempt: String,
    /// How long each is.
    bytes: Vec<usize>,
}

impl PieceList {
    /// Where a piece lies.
    fn piece(&self, url: &ObjectUrl, number: usize) -> ObjectUrl {
        url.with_key(&format!("{}.{}.{number}", url.key, self.attempt))
    }
}

/// The pieces of an object that is written.
pub(crate) struct PieceWriter {
    url: ObjectUrl,
    store: Arc<Store>,
    list: PieceList,
    buffer: Vec<u8>,
    under_way: VecDeque<PendingPut>,
    stop: Stop,
}

impl PieceWriter {
    /// Begins to write an object. `attempt` is unlike that of anybody else who writes it.
    pub(super) fn begin(url: &ObjectUrl, attempt: &str, stop: &Stop) -> Result<PieceWriter> {
        Ok(PieceWriter {
            url: url.clone(),
            store: Store::of(url)?,
            list: PieceList {
                attempt: attempt.to_owned(),
                bytes: Vec::new(),
            },
            buffer: Vec::new(),
            under_way: VecDeque::new(),
            stop: stop.clone(),
        })
    }

    /// Takes more of it.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == PIECE_BYTES {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        if self.under_way.len() == UNDER_WAY_MAX
            && let Some(first) = self.under_way.pop_front()
        {
            first.wait(&self.stop)??;
        }
        let piece = self.list.piece(&self.url, self.list.bytes.len());
        self.list.bytes.push(self.buffer.len());
        let bytes = std::mem::take(&mut self.buffer).into();
        self.under_way.push_back(self.store.put(&piece, bytes)?);
        Ok(())
    }

    /// All is written: gives it its name.
    pub(super) fn finish(mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            self.send()?;
        }
        for piece in self.under_way.drain(..) {
            piece.wait(&self.stop)??;
        }
        let list = serde_json::to_vec(&self.list).expect("it is plain data");
        self.store.put(&self.url, list.into())?.wait(&self.stop)?
    }
}

/// The pieces of an object, one after the other; the next ones are under way.
pub(super) struct PieceReader {
    store: Arc<Store>,
    url: ObjectUrl,
    list: PieceList,
    at: u64,
    /// The piece that was read last, and where it begins.
    here: Bytes,
    from: u64,
    /// The next ones, each with its number.
    ahead: VecDeque<(usize, PendingBytes)>,
    stop: Stop,
}

impl PieceReader {
    /// Opens an object.
    pub(super) fn open(url: &ObjectUrl, stop: &Stop) -> Result<PieceReader> {
        let store = Store::of(url)?;
        let list = store.get(url)?.wait(stop)??;
        let list = serde_json::from_slice(&list)
            .map_err(|error| Error::failed(format!("cannot read `{url}`")).cause(error))?;
        Ok(PieceReader {
            store,
            url: url.clone(),
            list,
            at: 0,
            here: Bytes::new(),
            from: 0,
            ahead: VecDeque::new(),
            stop: stop.clone(),
        })
    }

    /// What is here from where it is read.
    fn rest(&self) -> &[u8] {
        let into = self.at.checked_sub(self.from);
        let into = into.and_then(|into| usize::try_from(into).ok());
        into.and_then(|into| self.here.get(into..))
            .unwrap_or_default()
    }

    fn load(&mut self) -> Result<()> {
        let mut from = 0;
        let Some(number) = self.list.bytes.iter().position(|&bytes| {
            from += bytes as u64;
            self.at < from
        }) else {
            return Ok(());
        };
        if self.ahead.front().is_none_or(|(next, _)| *next != number) {
            self.ahead.clear();
        }
        let first = number + self.ahead.len();
        for next in first..self.list.bytes.len().min(number + 1 + UNDER_WAY_MAX) {
            let piece = self.list.piece(&self.url, next);
            self.ahead.push_back((next, self.store.get(&piece)?));
        }
        if let Some((_, piece)) = self.ahead.pop_front() {
            let bytes = self.list.bytes[number];
            self.here = piece.wait(&self.stop)??;
            self.from = from - bytes as u64;
            if self.here.len() != bytes {
                return Err(Error::failed(format!(
                    "`{}` has {} bytes, and was written with {bytes}",
                    self.list.piece(&self.url, number),
                    self.here.len()
                )));
            }
        }
        Ok(())
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.rest().is_empty() {
            self.load().map_err(std::io::Error::other)?;
        }
        let read = (&mut self.rest()).read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for PieceReader {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let end = || self.list.bytes.iter().map(|&bytes| bytes as u64).sum();
        let to = match to {
            SeekFrom::Start(to) => Some(to),
            SeekFrom::End(by) => u64::checked_add_signed(end(), by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = to.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
