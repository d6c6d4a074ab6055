//! The ordered window of an executor: results leave in the order their batches came, whatever
//! finishes first, and what is in flight is bounded in bytes and batches.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::hand::Played;
use crate::stop::Stop;

/// Bytes waiting or being worked on: enough to keep every worker busy, little enough that a dozen
/// stages fit a laptop.
const BYTES_MAX: usize = 64 << 20;
/// Batches a worker: one slow batch must not stall the others at once.
const BATCHES_PER_WORKER: usize = 16;
/// How often a waiting thread looks whether the run is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// What is in flight.
pub(super) struct Window {
    state: Mutex<State>,
    changed: Condvar,
    batches_max: usize,
    stop: Stop,
}

#[derive(Default)]
struct State {
    /// One a batch in flight, oldest first.
    slots: VecDeque<Slot>,
    /// The number of the oldest.
    first: u64,
    bytes: usize,
    /// No more batches will come.
    ended: bool,
    /// Nobody wants results any more.
    closed: bool,
}

struct Slot {
    bytes: usize,
    played: Option<Played>,
}

impl Window {
    /// A window for so many workers.
    pub(super) fn new(workers: usize, stop: Stop) -> Self {
        Window {
            state: Mutex::default(),
            changed: Condvar::new(),
            batches_max: workers * BATCHES_PER_WORKER,
            stop,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics holding this lock")
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait_timeout(state, LOOK)
            .expect("no one panics holding this lock")
            .0
    }

    /// Waits until there is room for another batch; `false`: nobody wants it.
    pub(super) fn room(&self) -> bool {
        let mut state = self.lock();
        loop {
            if state.closed || self.stop.is_set() {
                return false;
            }
            let full = state.bytes >= BYTES_MAX || state.slots.len() >= self.batches_max;
            if !full || state.slots.is_empty() {
                return true;
            }
            state = self.wait(state);
        }
    }

    /// Takes a place for a batch of about `bytes`; its number.
    pub(super) fn take_place(&self, bytes: usize) -> u64 {
        let mut state = self.lock();
        state.bytes += bytes;
        state.slots.push_back(Slot {
            bytes,
            played: None,
        });
        state.first + state.slots.len() as u64 - 1
    }

    /// Puts a result in its place.
    pub(super) fn fill(&self, number: u64, played: Played) {
        let bytes = played.batch.as_ref().map_or(0, Batch::size);
        let mut state = self.lock();
        let at = usize::try_from(number - state.first).expect("few batches are in flight");
        if let Some(slot) = state.slots.get_mut(at) {
            let before = slot.bytes;
            *slot = Slot {
                bytes,
                played: Some(played),
            };
            state.bytes = state.bytes - before + bytes;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// No more batches will come.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Nobody wants results any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Whether nobody wants results any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed || self.stop.is_set()
    }

    /// The oldest batch's result, once it is there; `None` behind the last one.
    pub(super) fn next(&self) -> Result<Option<Played>> {
        let mut state = self.lock();
        loop {
            self.stop.check()?;
            let ready = state
                .slots
                .front()
                .is_some_and(|slot| slot.played.is_some());
            if let Some(slot) = if ready { state.slots.pop_front() } else { None } {
                state.first += 1;
                state.bytes -= slot.bytes;
                drop(state);
                self.changed.notify_all();
                return Ok(slot.played);
            }
            if state.ended && state.slots.is_empty() {
                return Ok(None);
            }
            state = self.wait(state);
        }
    }
}

/// Ends the window when it goes: on a panic too, for nobody may wait for ever.
pub(super) struct Ending<'a>(pub(super) &'a Window);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What the feeder of a window gave back.
pub(super) fn joined<T>(feeder: std::io::Result<JoinHandle<Result<T>>>) -> Result<T> {
    feeder
        .map_err(|error| Error::failed("cannot start a thread").cause(error))?
        .join()
        .map_err(|_| Error::failed("a source panicked").hint("this is a bug in etl"))?
}

/// The results of a window, in order; it is closed when they go.
pub(super) struct Ordered<E> {
    window: Arc<Window>,
    /// What is to be done behind the last result.
    end: Option<E>,
}

impl<E: FnOnce() -> Result<()>> Ordered<E> {
    pub(super) fn new(window: Arc<Window>, end: E) -> Self {
        Ordered {
            window,
            end: Some(end),
        }
    }
}

impl<E: FnOnce() -> Result<()>> Iterator for Ordered<E> {
    type Item = Played;

    fn next(&mut self) -> Option<Played> {
        self.end.as_ref()?;
        let played = match self.window.next() {
            Ok(Some(played)) => Some(played),
            Ok(None) => self
                .end
                .take()
                .and_then(|end| end().err())
                .map(Played::failed),
            Err(error) => Some(Played::failed(error)),
        };
        if played.as_ref().is_none_or(|played| played.fault.is_some()) {
            self.end = None;
        }
        played
    }
}

impl<E> Drop for Ordered<E> {
    fn drop(&mut self) {
        self.window.close();
    }
}
