//! A queue of batches between threads: bounded in bytes, ended by who fills it, closed by who reads it, and left
//! by both when the run is to stop.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::batch::Batch;
use crate::error::Result;
use crate::stop::{Stop, Wake};

/// Batches that wait for one reader, and their bytes.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    batches: VecDeque<Result<Batch>>,
    bytes: usize,
    /// The reader has gone.
    closed: bool,
}

impl Waiting {
    /// Puts a batch after the others; it is dropped where the reader has gone.
    pub(super) fn push(&mut self, batch: Result<Batch>) {
        if !self.closed {
            self.bytes += size(&batch);
            self.batches.push_back(batch);
        }
    }

    /// The first batch.
    pub(super) fn pop(&mut self) -> Option<Result<Batch>> {
        let batch = self.batches.pop_front()?;
        self.bytes -= size(&batch);
        Some(batch)
    }

    /// Whether another batch has to wait for room. A reader that has gone holds nobody up.
    pub(super) fn is_full(&self, bytes_max: usize) -> bool {
        self.bytes >= bytes_max
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    /// The reader goes.
    pub(super) fn close(&mut self) {
        *self = Waiting {
            closed: true,
            ..Waiting::default()
        };
    }
}

fn size(batch: &Result<Batch>) -> usize {
    batch.as_ref().map_or(0, Batch::size)
}

/// Shared by the one who fills it and the one who reads it. Each waits for the other only: who fills it for room,
/// which [`Queue::take`] and [`Queue::close`] make, and who reads it for a batch or the end, which [`Queue::put`] and
/// [`Queue::end`] bring. All of these notify `changed` after they changed the state under its lock.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    bytes_max: usize,
    stop: Stop,
}

#[derive(Debug, Default)]
struct State {
    waiting: Waiting,
    /// No more batches will come.
    ended: bool,
}

impl Wake for Queue {
    fn wake(&self) {
        self.change(|_| ());
    }
}

impl Queue {
    /// A queue that has room as long as fewer than `bytes_max` wait.
    pub(super) fn new(bytes_max: usize, stop: &Stop) -> Arc<Self> {
        let queue = Arc::new(Queue {
            state: Mutex::default(),
            changed: Condvar::new(),
            bytes_max,
            stop: stop.clone(),
        });
        stop.wakes(&queue);
        queue
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    /// Waits until there is room; `false`: the reader has gone, or the run is to stop.
    pub(super) fn has_room(&self) -> bool {
        let mut state = self.state.lock();
        while !state.waiting.closed && !self.stop.is_set() {
            if !state.waiting.is_full(self.bytes_max) {
                return true;
            }
            self.stop.wait(&self.changed, &mut state);
        }
        false
    }

    /// Puts a batch after the others, whether there is room or not; it is dropped where the reader has gone.
    pub(super) fn put(&self, batch: Result<Batch>) {
        self.change(|state| state.waiting.push(batch));
    }

    /// The first batch, once there is one; `None` after the last one, and where the run is to stop.
    pub(super) fn take(&self) -> Option<Result<Batch>> {
        let mut state = self.state.lock();
        loop {
            let was_full = state.waiting.is_full(self.bytes_max);
            let batch = state.waiting.pop();
            if was_full {
                self.changed.notify_all();
            }
            if batch.is_some() || state.ended || self.stop.is_set() {
                return batch;
            }
            self.stop.wait(&self.changed, &mut state);
        }
    }

    /// No more batches will come.
    pub(super) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    /// The reader goes: nobody waits for room any more.
    pub(super) fn close(&self) {
        self.change(|state| state.waiting.close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn batch() -> Batch {
        let text = "x".repeat(1000);
        let column = crate::columns::Column::from_strings([Some(text.as_str())]);
        Batch::new(vec![column], 1)
    }

    /// What `wait` gives on another thread, once `wake` was called here.
    fn woken<T: Send>(wait: impl FnOnce() -> T + Send, wake: impl FnOnce()) -> T {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(wait);
            wake();
            waiting.join().expect("it does not panic")
        })
    }

    #[test]
    fn who_waits_is_woken_by_room_by_a_batch_and_by_the_end() {
        let queue = Queue::new(1000, &Stop::default());
        assert!(queue.has_room());
        queue.put(Ok(batch()));
        assert!(woken(|| queue.has_room(), || drop(queue.take())));
        assert!(woken(|| queue.take(), || queue.put(Ok(batch()))).is_some());
        assert!(woken(|| queue.take(), || queue.end()).is_none());
    }

    #[test]
    fn who_waits_is_woken_by_a_reader_that_goes() {
        let queue = Queue::new(1000, &Stop::default());
        queue.put(Ok(batch()));
        assert!(!woken(|| queue.has_room(), || queue.close()));
        queue.put(Ok(batch()));
        assert_eq!(queue.state.lock().waiting.len(), 0);
    }

    #[test]
    fn who_waits_is_woken_by_a_stop_and_by_its_deadline() {
        let stop = Stop::default();
        let (empty, full) = (Queue::new(1000, &stop), Queue::new(1000, &stop));
        full.put(Ok(batch()));
        let wait = || (empty.take().is_none(), full.has_room());
        assert_eq!(woken(wait, || stop.set()), (true, false));

        let stop = Stop::default().until(crate::clock::monotonic() + Duration::from_millis(1));
        assert!(Queue::new(1000, &stop).take().is_none());
    }
}
