//! Streams between stages: partitioning, collecting, several readers of one output.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Condvar, Mutex};

use super::queue::Waiting;
use super::record::Record;
use crate::batch::Batch;
use crate::clock::Meter;
use crate::error::{Error, Result};
pub(super) use crate::executor::streams::{collect, cut};
use crate::executor::{Batches, Input, Inputs, Results};
use crate::partition::{self, UniqueRun};
use crate::schema::Schema;
use crate::stage::{Run, TaskContext};
use crate::stop::{Stop, Wake};

/// Streams one after the other, cut like one; each task says of which stream it is.
pub(super) fn in_turn(streams: Vec<Batches>, rows_max: usize) -> Inputs {
    let numbered = streams.into_iter().enumerate();
    Box::new(numbered.flat_map(move |(number, stream)| {
        cut(stream, rows_max).map(move |input| {
            let mut input = input?;
            input.task.input = number;
            Ok(input)
        })
    }))
}

/// Numbers a stream's rows, leaves out the first `resumed_rows` ones, and cuts what is left into batches of
/// at most `rows_max` rows, none with two that are equal in `columns`.
pub(super) fn unique_in_flight(
    stream: Batches,
    columns: Vec<usize>,
    rows_max: usize,
    resumed_rows: u64,
) -> Inputs {
    let mut rows = 0;
    Box::new(stream.flat_map(move |batch| match batch {
        Ok(batch) => {
            let (first, len) = (rows, batch.rows() as u64);
            rows += len;
            let skipped = resumed_rows.saturating_sub(first).min(len);
            let (from, left) = (usize_of(skipped), usize_of(len - skipped));
            let runs = partition::unique_runs(&batch.slice(from, left), &columns, rows_max);
            let input = |run: UniqueRun| {
                Ok(Input {
                    task: numbered(first + skipped + run.from as u64),
                    batch: run.batch,
                    keys: run.keys,
                })
            };
            runs.into_iter().map(input).collect::<Vec<_>>()
        }
        Err(error) => vec![Err(error)],
    }))
}

/// Numbers a stream's rows and cuts them anew into batches of `rows` rows each, the last one but what is
/// left; the same batches whatever the rows came in.
pub(super) fn requests(mut stream: Batches, rows: usize) -> Inputs {
    let (mut waiting, mut count) = (VecDeque::<Batch>::new(), 0);
    let (mut first, mut end) = (0, None);
    Box::new(std::iter::from_fn(move || {
        while count < rows && end.is_none() {
            match stream.next() {
                Some(Ok(batch)) => {
                    count += batch.rows();
                    waiting.push_back(batch.weighed());
                }
                // What lies before an error is still worked on.
                Some(Err(error)) => end = Some(Some(error)),
                None => end = Some(None),
            }
        }
        if count == 0 {
            return end.as_mut().and_then(Option::take).map(Err);
        }
        let (mut parts, mut missing) = (Vec::new(), rows.min(count));
        while missing > 0 {
            let batch = waiting.pop_front()?;
            let taken = missing.min(batch.rows());
            if taken < batch.rows() {
                waiting.push_front(batch.slice(taken, batch.rows() - taken));
            }
            parts.push(batch.slice(0, taken));
            missing -= taken;
        }
        let whole = Batch::concat(parts, || unreachable!("there are rows"));
        count -= whole.rows();
        let task = numbered(first);
        first += whole.rows() as u64;
        Some(Ok(Input {
            task,
            ..whole.into()
        }))
    }))
}

/// The task of a batch whose first row is this one of the stage's whole input.
fn numbered(first: u64) -> TaskContext {
    TaskContext {
        first,
        alone: true,
        ..TaskContext::default()
    }
}

fn usize_of(rows: u64) -> usize {
    usize::try_from(rows).expect("a batch fits the memory")
}

/// Collects a stream when its first batch is pulled, and divides it into tasks.
pub(super) fn collected(
    stream: Batches,
    schema: Schema,
    divide: impl FnOnce(&Batch) -> Vec<Batch> + Send + 'static,
    record: Arc<Record>,
) -> Inputs {
    let mut first = Some((stream, divide));
    let mut tasks = VecDeque::new();
    Box::new(std::iter::from_fn(move || {
        if let Some((stream, divide)) = first.take() {
            match collect(stream, &schema) {
                Ok(all) => {
                    let meter = Meter::start();
                    tasks.extend(divide(&all));
                    record.totals().add_serial(&meter.stop());
                }
                Err(error) => return Some(Err(error)),
            }
        }
        tasks.pop_front().map(|batch| Ok(batch.into()))
    }))
}

/// Adds the time that a source takes to its stage's record, and its name to the source's errors.
pub(super) fn metered(
    mut source: Batches,
    record: Arc<Record>,
    name: &str,
    alone: bool,
) -> Batches {
    let name = name.to_owned();
    Box::new(std::iter::from_fn(move || {
        let live = &record.live;
        live.begun.store(true, Ordering::Relaxed);
        let meter = Meter::start();
        let next = source.next();
        let (mut totals, span) = (record.totals(), meter.stop());
        if alone {
            totals.add_serial(&span);
        } else {
            totals.span.add(&span);
        }
        drop(totals);
        live.batches_read
            .fetch_add(u64::from(next.is_some()), Ordering::Relaxed);
        next.map(|batch| batch.map_err(|error| error.stage(&name)))
    }))
}

/// Enters what became of each batch into the stages' records, and passes the batch on. More rejects of
/// the first stage than `rejects_max`, which the option named with it says, end the stream.
pub(super) fn recorded(
    mut results: Results,
    records: Vec<Arc<Record>>,
    run: Arc<Run>,
    rejects_max: Option<(u64, &'static str)>,
) -> Batches {
    let mut fault = None;
    Box::new(std::iter::from_fn(move || {
        if let Some(fault) = fault.take() {
            return Some(Err(fault));
        }
        let Some(outcome) = results.next() else {
            for record in &records {
                record.live.ended.store(true, Ordering::Relaxed);
            }
            return None;
        };
        for (record, stage_metrics) in records.iter().skip(outcome.first).zip(outcome.metrics) {
            if let Err(error) = record.add(stage_metrics, &run) {
                return Some(Err(error));
            }
        }
        fault = outcome
            .fault
            .or_else(|| too_many(&records[0], rejects_max?));
        match outcome.batch {
            Some(batch) => Some(Ok(batch)),
            None => fault.take().map(Err),
        }
    }))
}

/// What ends a stage of which more rows are rejected than `most`.
fn too_many(record: &Record, (most, option): (u64, &str)) -> Option<Error> {
    let rejected = record.totals().ledger.rejected;
    (rejected > most).then(|| {
        Error::failed(format!(
            "more rows failed ({rejected}) than `{option}` allows ({most})"
        ))
        .stage(record.name())
        .hint("the run's `rejects.ndjson` has each with its reason")
    })
}

/// A stream that was run to its end.
#[derive(Clone)]
pub(super) struct Held {
    batches: Arc<Vec<Batch>>,
    /// What it ended with.
    fault: Option<Error>,
}

impl Held {
    pub(super) fn of(stream: Batches) -> Self {
        let mut batches = Vec::new();
        let mut fault = None;
        for batch in stream {
            match batch {
                Ok(batch) => batches.push(batch),
                Err(error) => fault = Some(error),
            }
        }
        Held {
            batches: Arc::new(batches),
            fault,
        }
    }

    /// Weighs its batches, so that whoever cuts them need not; their bytes.
    pub(super) fn weigh(&mut self) -> u64 {
        let batches = Arc::get_mut(&mut self.batches).into_iter().flatten();
        let weigh = |batch: &mut Batch| {
            *batch = std::mem::replace(batch, Batch::new(Vec::new(), 0)).weighed();
            batch.size() as u64
        };
        batches.map(weigh).sum()
    }

    /// The stream again. Who holds it last lets go of each batch when it is taken.
    pub(super) fn stream(self) -> Batches {
        let fault = self.fault.map(Err).into_iter();
        match Arc::try_unwrap(self.batches) {
            Ok(batches) => Box::new(batches.into_iter().map(Ok).chain(fault)),
            Err(batches) => {
                let rows = move |i: usize| batches.get(i).cloned();
                Box::new((0..).map_while(rows).map(Ok).chain(fault))
            }
        }
    }
}

/// An output that is collected when the first of its readers wants it.
///
/// The lock is poisoned where collecting panics, and then its readers fail instead of reading nothing.
pub(super) struct Collected(std::sync::Mutex<Upstream>);

enum Upstream {
    Waiting(Batches),
    Done(Held),
}

impl Collected {
    pub(super) fn new(upstream: Batches) -> Self {
        Collected(std::sync::Mutex::new(Upstream::Waiting(upstream)))
    }

    fn held(&self) -> Result<Held> {
        let panicked = |_| Error::failed("a stage above panicked");
        let mut upstream = self.0.lock().map_err(panicked)?;
        if let Upstream::Waiting(stream) = &mut *upstream {
            let stream = std::mem::replace(stream, Box::new(std::iter::empty()));
            *upstream = Upstream::Done(Held::of(stream));
        }
        match &*upstream {
            Upstream::Done(held) => Ok(held.clone()),
            Upstream::Waiting(_) => unreachable!("it was just collected"),
        }
    }

    /// A stream of the batches.
    pub(super) fn reader(self: Arc<Self>) -> Batches {
        let collected = std::iter::once_with(move || self.held());
        Box::new(collected.flat_map(|held| match held {
            Ok(held) => held.stream(),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }))
    }
}

/// An output whose readers get every batch as it comes; the slowest sets the pace.
///
/// Whoever finds nothing waiting pulls for all, one at a time. A reader waits only while nothing waits for it, either
/// until another has pulled or until all others have room. Both change under one lock, and who changes them notifies
/// `changed`: so a reader for which something waits takes it, and makes the room that others wait for. Readers of a tee
/// lead to different ends through stages that give a batch for each batch.
#[derive(Debug)]
pub(super) struct Tee {
    state: Mutex<TeeState>,
    changed: Condvar,
    stop: Stop,
}

struct TeeState {
    /// The stream above; not here while somebody pulls, nor after its end.
    upstream: Option<Batches>,
    pulling: bool,
    /// One a reader.
    waiting: Vec<Waiting>,
}

/// Bytes that may wait for a slow reader.
const TEE_BYTES_MAX: usize = 64 << 20;

impl std::fmt::Debug for TeeState {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("TeeState")
    }
}

impl Wake for Tee {
    fn wake(&self) {
        self.change(|_| ());
    }
}

impl Tee {
    pub(super) fn new(upstream: Batches, readers: usize, stop: Stop) -> Arc<Self> {
        let state = TeeState {
            upstream: Some(upstream),
            pulling: false,
            waiting: (0..readers).map(|_| Waiting::default()).collect(),
        };
        let tee = Arc::new(Tee {
            state: Mutex::new(state),
            changed: Condvar::new(),
            stop,
        });
        tee.stop.wakes(&tee);
        tee
    }

    fn change(&self, change: impl FnOnce(&mut TeeState)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    /// How many batches wait for reader `i`.
    pub(super) fn waiting(&self, i: usize) -> usize {
        self.state.lock().waiting[i].len()
    }

    fn next(&self, i: usize) -> Option<Result<Batch>> {
        let is_full = |waiting: &Waiting| waiting.is_full(TEE_BYTES_MAX);
        let mut state = self.state.lock();
        loop {
            let was_full = is_full(&state.waiting[i]);
            if let Some(batch) = state.waiting[i].pop() {
                if was_full {
                    self.changed.notify_all();
                }
                return Some(batch);
            }
            if let Err(error) = self.stop.check() {
                return Some(Err(error));
            }
            if !state.pulling && !state.waiting.iter().any(is_full) {
                let upstream = state.upstream.take()?;
                state.pulling = true;
                drop(state);
                return self.pull(i, upstream);
            }
            self.stop.wait(&self.changed, &mut state);
        }
    }

    /// Pulls a batch for all; the caller's is given back.
    fn pull(&self, i: usize, mut upstream: Batches) -> Option<Result<Batch>> {
        // Whatever becomes of it, others may pull again.
        let pulling = Pulling(self);
        let next = upstream.next();
        if let Some(batch) = &next {
            let mut state = self.state.lock();
            state.upstream = batch.is_ok().then_some(upstream);
            let others = (0..)
                .zip(&mut state.waiting)
                .filter(|(other, _)| *other != i);
            others.for_each(|(_, waiting)| waiting.push(batch.clone()));
        }
        drop(pulling);
        next
    }

    /// The stream of reader `i`.
    pub(super) fn reader(self: Arc<Self>, i: usize) -> Batches {
        let reader = Reader { tee: self, i };
        Box::new(std::iter::from_fn(move || reader.tee.next(reader.i)))
    }
}

/// Somebody pulls as long as this is there.
struct Pulling<'a>(&'a Tee);

impl Drop for Pulling<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.pulling = false);
    }
}

struct Reader {
    tee: Arc<Tee>,
    i: usize,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.tee.change(|state| state.waiting[self.i].close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Column;

    #[test]
    fn readers_of_a_tee_each_get_every_batch_however_they_take_turns() {
        // Three times what may wait for a reader, so that each has to wait for the other.
        let megabyte = "x".repeat(1 << 20);
        let batch = Batch::new(vec![Column::from_strings([Some(megabyte.as_str())])], 1);
        let batches = 3 * (TEE_BYTES_MAX >> 20);
        for readers in [2, 3].repeat(10) {
            let upstream: Batches = Box::new(std::iter::repeat_n(batch.clone(), batches).map(Ok));
            let tee = Tee::new(upstream, readers, Stop::default());
            let read = |i: usize| {
                let reader = tee.clone().reader(i);
                std::thread::spawn(move || reader.flatten().count())
            };
            let threads: Vec<_> = (0..readers).map(read).collect();
            for thread in threads {
                assert_eq!(thread.join().expect("no reader panics"), batches);
            }
        }
    }

    #[test]
    fn a_reader_that_waits_for_another_is_woken_by_a_stop_and_by_its_going() {
        let megabyte = "x".repeat(1 << 20);
        let batch = Batch::new(vec![Column::from_strings([Some(megabyte.as_str())])], 1);
        let room = (TEE_BYTES_MAX >> 20) + 1;
        for stops in [true, false] {
            let (pulled, pulls) = std::sync::mpsc::channel();
            let source = std::iter::repeat_n(batch.clone(), 2 * room);
            let source = source.inspect(move |_| pulled.send(()).unwrap_or(()));
            let stop = Stop::default();
            let tee = Tee::new(Box::new(source.map(Ok)), 2, stop.clone());
            let (reader, other) = (tee.clone().reader(0), tee.clone().reader(1));
            let reading = std::thread::spawn(move || {
                let read = |batch: Result<Batch>| batch.map_err(|error| error.message);
                reader
                    .map(read)
                    .take_while(std::result::Result::is_ok)
                    .count()
            });
            // With the last of these the other's room is used up.
            let full = TEE_BYTES_MAX.div_ceil(batch.size());
            assert_eq!(pulls.iter().take(full).count(), full);
            if stops {
                stop.set();
            }
            drop(other);
            let read = reading.join().expect("no reader panics");
            assert!(stops || read == 2 * room, "{read}");
        }
    }

    #[test]
    fn a_request_has_the_same_rows_whatever_they_came_in() {
        let ints = |range: std::ops::Range<i64>| {
            let rows = range.clone().count();
            Batch::new(vec![Column::from_ints(range.collect(), None)], rows)
        };
        let broken = || Err(Error::failed("broken"));
        for cuts in [
            vec![0, 11],
            vec![0, 0, 1, 2, 9, 9, 11],
            vec![0, 3, 6, 9, 11],
        ] {
            let batches = cuts.windows(2).map(|cut| Ok(ints(cut[0]..cut[1])));
            let stream: Batches =
                Box::new(batches.chain([broken()]).collect::<Vec<_>>().into_iter());
            let mut given: Vec<Result<Input>> = requests(stream, 3).collect();
            let error = given.pop().expect("it ends with the error");
            assert_eq!(error.expect_err("the last").message, "broken");
            let given: Vec<(u64, Vec<i64>)> = given
                .into_iter()
                .map(|input| {
                    let Input { batch, task, .. } = input.expect("the error is after all rows");
                    (
                        task.first,
                        batch.column(0).ints().values().as_slice().to_vec(),
                    )
                })
                .collect();
            let expected = [(0, 0..3), (3, 3..6), (6, 6..9), (9, 9..11)];
            assert_eq!(
                given,
                expected.map(|(first, rows)| (first, rows.collect())),
                "{cuts:?}"
            );
        }
    }

    #[test]
    fn a_reader_that_is_gone_holds_nobody_up() {
        let megabyte = "x".repeat(1 << 20);
        let batch = Batch::new(vec![Column::from_strings([Some(megabyte.as_str())])], 1);
        let batches = 2 * (TEE_BYTES_MAX >> 20);
        let upstream: Batches = Box::new(std::iter::repeat_n(batch, batches).map(Ok));
        let tee = Tee::new(upstream, 2, Stop::default());
        drop(tee.clone().reader(1));
        assert_eq!(tee.reader(0).flatten().count(), batches);
    }
}
