//! Read-ahead: reads the parts of a source in parallel, for example files that one core each inflates. The batches
//! come in the order of the parts, while threads read the parts after the first one ahead, up to a limit.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::executor::Batches;
use crate::stop::Stop;
use crate::threads;

/// Bytes of a part that may wait: a file with less text is read to its end while the one before is worked
/// on, and a larger one is ahead by that much. Times the readers it is what memory this takes at most.
const PART_BYTES_MAX: usize = 64 << 20;
/// How often a waiting thread looks whether the run is to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The batches of all parts, in order; behind an error there are no more. At most `readers` parts are
/// read at once, beginning with the first pull; with one reader the caller's thread reads.
pub(super) fn batches(parts: Vec<Batches>, readers: usize, name: &str, stop: Stop) -> Batches {
    let readers = readers.min(parts.len());
    if readers < 2 {
        let mut batches = parts.into_iter().flatten().fuse();
        let mut failed = false;
        return Box::new(std::iter::from_fn(move || {
            let next = batches.next().filter(|_| !failed);
            failed |= matches!(next, Some(Err(_)));
            next
        }));
    }
    let state = State {
        unread: parts.into_iter(),
        parts: VecDeque::new(),
        first: 0,
        closed: false,
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        changed: Condvar::new(),
        readers,
        stop,
    });
    let mut name = Some(name.to_owned());
    let read_ahead = ReadAhead(shared);
    Box::new(std::iter::from_fn(move || {
        if let Some(name) = name.take()
            && let Err(error) = read_ahead.start(&name)
        {
            read_ahead.0.close();
            return Some(Err(error));
        }
        read_ahead.next()
    }))
}

/// What the readers and who wants their batches share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    readers: usize,
    stop: Stop,
}

struct State {
    /// The parts that nobody reads yet.
    unread: std::vec::IntoIter<Batches>,
    /// Those that are read or wait to be given, oldest first; never more than readers.
    parts: VecDeque<Part>,
    /// The number of the oldest.
    first: usize,
    /// Nobody wants batches any more.
    closed: bool,
}

#[derive(Default)]
struct Part {
    waiting: VecDeque<Result<Batch>>,
    bytes: usize,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics holding this lock")
    }

    /// Waits for a state; `None`: nobody wants batches any more.
    fn when(&self, wanted: impl Fn(&State) -> bool) -> Option<MutexGuard<'_, State>> {
        let mut state = self.lock();
        loop {
            if state.closed || self.stop.is_set() {
                return None;
            }
            if wanted(&state) {
                return Some(state);
            }
            let wait = self.changed.wait_timeout(state, POLL_INTERVAL);
            state = wait.expect("no one panics holding this lock").0;
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Reads part after part until there are no more.
    fn read(&self) {
        while let Some((number, part)) = self.claim() {
            let _ending = Ending(self, number);
            for batch in part {
                let failed = batch.is_err();
                if self.put(number, batch).is_none() {
                    return;
                }
                if failed {
                    break;
                }
            }
        }
    }

    /// The next part, once it is near enough to the one that is wanted.
    fn claim(&self) -> Option<(usize, Batches)> {
        let mut state = self.when(|state| state.parts.len() < self.readers)?;
        let part = state.unread.next()?;
        state.parts.push_back(Part::default());
        Some((state.first + state.parts.len() - 1, part))
    }

    /// Puts a batch behind those of its part, once there is room.
    fn put(&self, number: usize, batch: Result<Batch>) -> Option<()> {
        // A part stays until it has ended, so its place is there.
        let mut state = self.when(|s| s.parts[number - s.first].bytes < PART_BYTES_MAX)?;
        let at = number - state.first;
        let part = &mut state.parts[at];
        part.bytes += batch.as_ref().map_or(0, Batch::size);
        part.waiting.push_back(batch);
        drop(state);
        self.changed.notify_all();
        Some(())
    }
}

/// Ends a part when it goes: on a panic too, for nobody may wait for ever.
struct Ending<'a>(&'a Shared, usize);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        let at = self.1 - state.first;
        let part = &mut state.parts[at];
        part.ended = true;
        if std::thread::panicking() {
            let error = Error::failed("a source panicked").hint("this is a bug in etl");
            part.waiting.push_back(Err(error));
        }
        drop(state);
        self.0.changed.notify_all();
    }
}

/// Who wants the batches; the readers end when it goes.
struct ReadAhead(Arc<Shared>);

impl ReadAhead {
    fn start(&self, name: &str) -> Result<()> {
        for i in 0..self.0.readers {
            let shared = self.0.clone();
            let started = threads::start(format!("etl-read-{name}-{i}"), move || shared.read());
            started.map_err(|error| error.stage(name))?;
        }
        Ok(())
    }

    fn next(&self) -> Option<Result<Batch>> {
        let ready = |state: &State| match state.parts.front() {
            Some(part) => part.ended || !part.waiting.is_empty(),
            None => state.unread.len() == 0,
        };
        loop {
            let Some(mut state) = self.0.when(ready) else {
                return self.0.stop.check().err().map(Err);
            };
            let part = state.parts.front_mut()?;
            let next = part.waiting.pop_front();
            match &next {
                Some(Ok(batch)) => part.bytes -= batch.size(),
                Some(Err(_)) => state.closed = true,
                None => {
                    state.parts.pop_front();
                    state.first += 1;
                }
            }
            drop(state);
            self.0.changed.notify_all();
            if next.is_some() {
                return next;
            }
        }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Column;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    fn batch(number: usize) -> Batch {
        let number = i64::try_from(number).expect("tests count little");
        Batch::new(vec![Column::from_ints(vec![number], None)], 1)
    }

    fn number(batch: Result<Batch>) -> Result<i64> {
        batch.map(|batch| batch.column(0).ints().value(0))
    }

    fn read(parts: Vec<Batches>, readers: usize) -> Vec<Result<i64>> {
        let batches = batches(parts, readers, "test", Stop::default());
        batches.map(number).collect()
    }

    #[test]
    fn batches_come_in_the_order_of_the_parts_whoever_reads_them() {
        for (parts, each, readers) in [
            (1, 3, 4),
            (7, 5, 1),
            (7, 5, 2),
            (7, 1, 3),
            (40, 0, 3),
            (3, 90, 8),
        ] {
            let part = |part: usize| -> Batches {
                Box::new((0..each).map(move |i| Ok(batch(part * each + i))))
            };
            let read: Result<Vec<i64>> = read((0..parts).map(part).collect(), readers)
                .into_iter()
                .collect();
            let wanted: Vec<i64> = (0..).take(parts * each).collect();
            assert_eq!(
                read.expect("no part fails"),
                wanted,
                "{parts} x {each}, {readers} readers"
            );
        }
    }

    #[test]
    fn as_many_parts_are_read_at_once_as_there_are_readers() {
        // Each part waits for all others: one reader fewer, and nobody would ever come through.
        let barrier = Arc::new(Barrier::new(3));
        let part = |_| -> Batches {
            let barrier = barrier.clone();
            Box::new(std::iter::once_with(move || {
                barrier.wait();
                Ok(batch(1))
            }))
        };
        assert_eq!(read((0..3).map(part).collect(), 3).len(), 3);
    }

    #[test]
    fn an_error_comes_in_its_place_and_is_the_last() {
        let fails = || -> Batches {
            let rows = [Ok(batch(2)), Err(Error::failed("cut short")), Ok(batch(3))];
            Box::new(rows.into_iter())
        };
        let whole = || -> Batches { Box::new([Ok(batch(0)), Ok(batch(1))].into_iter()) };
        let panics = || -> Batches { Box::new(std::iter::once_with(|| panic!("a source does"))) };
        let words = |read: Vec<Result<i64>>| -> Vec<String> {
            let word = |read: Result<i64>| read.map_or_else(|e| e.message, |n| n.to_string());
            read.into_iter().map(word).collect()
        };
        let read_both = |second: Batches| words(read(vec![whole(), second, whole()], 2));
        assert_eq!(read_both(fails()), ["0", "1", "2", "cut short"]);
        assert_eq!(read_both(panics()), ["0", "1", "a source panicked"]);
    }

    #[test]
    fn what_waits_is_bounded_and_readers_end_when_nobody_wants_more() {
        let megabyte = "x".repeat(1 << 20);
        let large = Batch::new(vec![Column::from_strings([Some(megabyte.as_str())])], 1);
        let most = PART_BYTES_MAX / large.size() + 2;
        let given = Arc::new(AtomicUsize::new(0));
        let (gone, ended) = mpsc::channel();
        // Endless parts: only a limit ends the reading of the second.
        let part = |_| -> Batches {
            let (given, gone, large) = (given.clone(), gone.clone(), large.clone());
            Box::new(std::iter::from_fn(move || {
                let _gone = &gone;
                given.fetch_add(1, Ordering::SeqCst);
                Some(Ok(large.clone()))
            }))
        };
        let mut batches = batches((0..2).map(part).collect(), 2, "test", Stop::default());
        drop(gone);
        for taken in 1..200 {
            assert!(batches.next().is_some());
            let waiting = given.load(Ordering::SeqCst) - taken;
            assert!(waiting <= 2 * most, "{waiting} batches wait");
        }
        drop(batches);
        // The readers hold the other end: they are gone once it is closed.
        let closed: std::result::Result<(), _> = ended.recv_timeout(Duration::from_mins(1));
        assert_eq!(closed, Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
