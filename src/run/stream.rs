//! Streams between stages: dealing, collecting, several readers of one output.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::record::Record;
use crate::batch::Batch;
use crate::clock::Meter;
use crate::columns::Column;
use crate::error::{Error, Result};
use crate::executor::{Batches, Results};
use crate::partition;
use crate::schema::Schema;
use crate::stage::Run;
use crate::stop::Stop;

/// A batch without rows.
pub(super) fn empty(schema: &Schema) -> Batch {
    Batch::new(
        schema
            .fields
            .iter()
            .map(|field| Column::empty(&field.ty))
            .collect(),
        0,
    )
}

/// All rows of a stream as one batch.
pub(super) fn collect(stream: Batches, schema: &Schema) -> Result<Batch> {
    let batches = stream.collect::<Result<Vec<_>>>()?;
    Ok(Batch::concat(batches, || empty(schema)))
}

/// Cuts a stream's batches to the size that a stage asks for.
pub(super) fn cut(stream: Batches, rows_max: usize) -> Batches {
    Box::new(stream.flat_map(move |batch| match batch {
        Ok(batch) => batch.cut(rows_max).into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    }))
}

/// Collects a stream when its first batch is wanted, and deals it by key.
pub(super) fn by_key(
    stream: Batches,
    schema: Schema,
    columns: Vec<usize>,
    record: Arc<Record>,
) -> Batches {
    let mut stream = Some(stream);
    let mut hands = VecDeque::new();
    Box::new(std::iter::from_fn(move || {
        if let Some(stream) = stream.take() {
            match collect(stream, &schema) {
                Ok(all) => {
                    let meter = Meter::start();
                    hands.extend(partition::by_key(&all, &columns));
                    record.totals().span.add(&meter.stop());
                }
                Err(error) => return Some(Err(error)),
            }
        }
        hands.pop_front().map(Ok)
    }))
}

/// Adds the time that a source takes to its stage's record, and its name to the source's errors.
pub(super) fn metered(mut source: Batches, record: Arc<Record>, name: &str) -> Batches {
    let name = name.to_owned();
    Box::new(std::iter::from_fn(move || {
        record
            .live
            .begun
            .store(true, std::sync::atomic::Ordering::Relaxed);
        let meter = Meter::start();
        let next = source.next();
        record.totals().span.add(&meter.stop());
        next.map(|batch| batch.map_err(|error| error.stage(&name)))
    }))
}

/// Enters what became of each batch into the stages' records, and passes the batch on.
pub(super) fn recorded(mut results: Results, records: Vec<Arc<Record>>, run: Arc<Run>) -> Batches {
    Box::new(std::iter::from_fn(move || {
        let Some(played) = results.next() else {
            for record in &records {
                record
                    .live
                    .ended
                    .store(true, std::sync::atomic::Ordering::Relaxed);
            }
            return None;
        };
        for (record, mark) in records.iter().zip(played.marks) {
            if let Err(error) = record.mark(mark, &run) {
                return Some(Err(error));
            }
        }
        Some(played.batch)
    }))
}

/// An output that is collected once and read by several.
pub(super) struct Collected {
    upstream: Mutex<Upstream>,
}

enum Upstream {
    Waiting(Batches),
    Done(Result<Arc<Vec<Batch>>>),
}

impl Collected {
    pub(super) fn new(upstream: Batches) -> Self {
        Collected {
            upstream: Mutex::new(Upstream::Waiting(upstream)),
        }
    }

    fn batches(&self) -> Result<Arc<Vec<Batch>>> {
        let mut upstream = self
            .upstream
            .lock()
            .map_err(|_| Error::failed("a stage above panicked"))?;
        if let Upstream::Waiting(stream) = &mut *upstream {
            let batches = stream.collect::<Result<Vec<_>>>().map(Arc::new);
            *upstream = Upstream::Done(batches);
        }
        match &*upstream {
            Upstream::Done(batches) => batches.clone(),
            Upstream::Waiting(_) => unreachable!("it was just collected"),
        }
    }

    /// A stream of the batches; they are collected when the first one is wanted.
    pub(super) fn reader(self: Arc<Self>) -> Batches {
        let mut batches: Option<Result<std::vec::IntoIter<Batch>>> = None;
        let mut this = Some(self);
        Box::new(std::iter::from_fn(move || {
            if let Some(this) = this.take() {
                batches = Some(
                    this.batches()
                        .map(|batches| batches.as_ref().clone().into_iter()),
                );
            }
            match batches.as_mut()? {
                Ok(batches) => batches.next().map(Ok),
                Err(_) => batches.take().and_then(Result::err).map(Err),
            }
        }))
    }
}

/// An output whose readers get every batch as it comes; the slowest sets the pace.
///
/// Whoever finds its queue empty pulls for all. That cannot lock up: readers of a tee lead to
/// different ends through stages that give a batch for each batch, so whoever waits for room in
/// another's queue has fed its own reader before.
pub(super) struct Tee {
    upstream: Mutex<Option<Batches>>,
    queues: Mutex<Vec<Queue>>,
    changed: Condvar,
    stop: Stop,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Result<Batch>>,
    bytes: usize,
    gone: bool,
}

/// Bytes that may wait for a slow reader.
const WAITING_BYTES_MAX: usize = 64 << 20;

impl Tee {
    pub(super) fn new(upstream: Batches, readers: usize, stop: Stop) -> Self {
        let queues = (0..readers).map(|_| Queue::default()).collect();
        Tee {
            upstream: Mutex::new(Some(upstream)),
            queues: Mutex::new(queues),
            changed: Condvar::new(),
            stop,
        }
    }

    fn queues(&self) -> MutexGuard<'_, Vec<Queue>> {
        self.queues.lock().expect("no one panics holding this lock")
    }

    /// How many batches wait for reader `i`.
    pub(super) fn waiting(&self, i: usize) -> usize {
        self.queues()[i].batches.len()
    }

    fn pop(&self, i: usize) -> Option<Result<Batch>> {
        let mut queues = self.queues();
        let batch = queues[i].batches.pop_front()?;
        queues[i].bytes -= batch.as_ref().map_or(0, Batch::size);
        drop(queues);
        self.changed.notify_all();
        Some(batch)
    }

    fn next(&self, i: usize) -> Option<Result<Batch>> {
        if let Some(batch) = self.pop(i) {
            return Some(batch);
        }
        let Ok(mut upstream) = self.upstream.lock() else {
            return Some(Err(Error::failed("a stage above panicked")));
        };
        // Another reader may have pulled meanwhile.
        if let Some(batch) = self.pop(i) {
            return Some(batch);
        }
        let mut queues = self.queues();
        let full = |queues: &[Queue]| {
            queues
                .iter()
                .any(|queue| !queue.gone && queue.bytes >= WAITING_BYTES_MAX)
        };
        while full(&queues) {
            if let Err(error) = self.stop.check() {
                return Some(Err(error));
            }
            let wait = self.changed.wait_timeout(queues, Duration::from_millis(50));
            queues = wait.expect("no one panics holding this lock").0;
        }
        drop(queues);
        let next = upstream.as_mut().and_then(Iterator::next);
        if next.as_ref().is_none_or(Result::is_err) {
            *upstream = None;
        }
        let batch = next?;
        let bytes = batch.as_ref().map_or(0, Batch::size);
        for (other, queue) in self.queues().iter_mut().enumerate() {
            if other != i && !queue.gone {
                queue.batches.push_back(batch.clone());
                queue.bytes += bytes;
            }
        }
        Some(batch)
    }

    /// The stream of reader `i`.
    pub(super) fn reader(self: Arc<Self>, i: usize) -> Batches {
        let reader = Reader { tee: self, i };
        Box::new(std::iter::from_fn(move || reader.tee.next(reader.i)))
    }
}

struct Reader {
    tee: Arc<Tee>,
    i: usize,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut queues = self.tee.queues();
        queues[self.i].gone = true;
        queues[self.i].batches.clear();
        queues[self.i].bytes = 0;
        drop(queues);
        self.tee.changed.notify_all();
    }
}
