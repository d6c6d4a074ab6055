//! Read-ahead: reads the parts of a source in parallel, for example files that one core each inflates. The batches
//! come in the order of the parts, while threads read the parts after the first one ahead, up to a limit.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::queue::Queue;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::executor::Batches;
use crate::stop::Stop;
use crate::threads;

/// Bytes of a part that may wait: a file with less text is read to its end while the one before is worked
/// on, and a larger one is ahead by that much. Times the readers it is what memory this takes at most.
const PART_BYTES_MAX: usize = 64 << 20;

/// The batches of all parts, in order; after an error there are no more. At most `readers` parts are
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
    let mut name = Some(name.to_owned());
    let mut read_ahead = ReadAhead {
        unread: parts.into_iter(),
        reading: VecDeque::new(),
        jobs: None,
        stop,
    };
    Box::new(std::iter::from_fn(move || {
        if let Some(name) = name.take()
            && let Err(error) = read_ahead.start(readers, &name)
        {
            read_ahead.close();
            return Some(Err(error));
        }
        read_ahead.next()
    }))
}

/// A part to be read, and where its batches go.
type Job = (Batches, Ending);

/// Ends a part's queue when it goes: on a panic too, for nobody may wait for ever.
struct Ending(Arc<Queue>);

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = Error::failed("a source panicked").hint("this is a bug in etl");
            self.0.put(Err(error));
        }
        self.0.end();
    }
}

/// Reads part after part until there are no more.
fn read(jobs: &Receiver<Job>) {
    for (mut part, ending) in jobs {
        let queue = &ending.0;
        while queue.has_room()
            && let Some(batch) = part.next()
        {
            let failed = batch.is_err();
            queue.put(batch);
            if failed {
                break;
            }
        }
    }
}

/// What the consumer of the batches holds; the readers end when it goes.
struct ReadAhead {
    /// The parts that nobody reads yet.
    unread: std::vec::IntoIter<Batches>,
    /// The queues of those that are read or wait to be, oldest first; never more than readers.
    reading: VecDeque<Arc<Queue>>,
    jobs: Option<Sender<Job>>,
    stop: Stop,
}

impl ReadAhead {
    fn start(&mut self, readers: usize, name: &str) -> Result<()> {
        let (jobs, to_do) = unbounded();
        self.jobs = Some(jobs);
        for i in 0..readers {
            let to_do = to_do.clone();
            let started = threads::start(format!("etl-read-{name}-{i}"), move || read(&to_do));
            started.map_err(|error| error.stage(name))?;
            self.begin();
        }
        Ok(())
    }

    /// Has the next part read.
    fn begin(&mut self) {
        let Some(jobs) = &self.jobs else { return };
        if let Some(part) = self.unread.next() {
            let queue = Queue::new(PART_BYTES_MAX, &self.stop);
            self.reading.push_back(queue.clone());
            // The readers end after the channel.
            let _ = jobs.send((part, Ending(queue)));
        }
    }

    fn next(&mut self) -> Option<Result<Batch>> {
        while let Some(queue) = self.reading.front() {
            let next = queue.take();
            if let Err(error) = self.stop.check() {
                self.close();
                return Some(Err(error));
            }
            match next {
                Some(Ok(batch)) => return Some(Ok(batch)),
                Some(error) => {
                    self.close();
                    return Some(error);
                }
                None => {
                    self.reading.pop_front();
                    self.begin();
                }
            }
        }
        None
    }

    /// Ends the readers.
    fn close(&mut self) {
        self.jobs = None;
        self.reading.drain(..).for_each(|queue| queue.close());
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Column;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

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
