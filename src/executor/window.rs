//! The ordered window of an executor: results leave in the order their batches came, whatever
//! finishes first, and what is in flight is bounded in bytes and batches.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::limits::{ConcurrencyLimit, DispatchAhead, RateLimiter};
use super::{Gauge, Input, Inputs, Journal, SharedCosts, Task, Waits};
use crate::batch::Batch;
use crate::clock::monotonic;
use crate::error::Result;
use crate::fragment::BatchOutcome;
use crate::stage::TaskContext;
use crate::stop::{Stop, Wake};

/// Bytes waiting or being worked on: enough to keep every worker busy, little enough that a dozen
/// stages fit a laptop.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// Batches a worker: one slow batch must not stall the others at once.
const BATCHES_PER_WORKER: usize = 16;

/// What is in flight. A stop and a reader that closes wake all who wait; what else wakes each of them stands at its
/// condition.
pub(super) struct Window {
    state: Mutex<State>,
    /// The feeder, and nobody else, waits here for room, for fewer batches or keys at work, and for its turn. Results
    /// that come ([`Window::put`]) or are taken from a full window ([`Window::next`]) and workers that open
    /// ([`Window::gains`]) wake it. A result does not while enough requests wait for workers: each of these is a
    /// result to come, and the last of them does.
    room: Condvar,
    /// The reader, and nobody else, waits here for the oldest batch's result or next part, which wake it when they are
    /// put in, or for the end of the window.
    oldest: Condvar,
    /// Who makes parts of results waits here until the next one may be made. Once there are parts, whatever is taken
    /// or put in wakes all of them. The maker of the part that the reader waits for never waits itself, so that the
    /// others depend on what is taken alone.
    part_taken: Condvar,
    /// The dispatch table of processes, which is woken as they are by what is taken. For what is put in it is not: who
    /// does that holds its lock or wakes the children itself.
    listener: OnceLock<Weak<dyn Wake>>,
    batches_max: usize,
    workers: usize,
    /// Where a batch is a request.
    requests: Option<DispatchAhead>,
    /// Their recorded outcomes.
    journal: Option<Arc<dyn Journal>>,
    costs: SharedCosts,
    gauge: Arc<Gauge>,
    pub(super) stop: Stop,
}

#[derive(Default)]
struct State {
    /// One a batch in flight, oldest first.
    slots: VecDeque<Slot>,
    /// The number of the oldest.
    first: u64,
    /// The row of the stage's whole input that the next batch begins with, where rows are numbered.
    next_row: u64,
    bytes: usize,
    /// How many are being worked on, or wait for a worker.
    working: usize,
    /// How many may be in flight, where the other side limits it.
    concurrency: Option<ConcurrencyLimit>,
    /// How many workers there are at the moment: those of a child come when it has opened, and go with it.
    workers_open: usize,
    /// Requests sent beyond one per batch, for which the rate limiter has made no room yet.
    extra: u64,
    /// The keys of the rows that are being worked on, hashed: where two are alike one waits in vain.
    keys: HashSet<u64>,
    /// The feeder waits for the next batch from above.
    fetching: bool,
    /// The first batch that has met a fault: after it nothing more is begun.
    faulted: Option<u64>,
    /// How many parts of results were put in: once there are some, who makes them waits for any change.
    parts: u64,
    /// No more batches will come.
    ended: bool,
    /// The consumer has closed the window.
    closed: bool,
}

struct Slot {
    bytes: usize,
    /// Its rows: the first one's number, and how many.
    rows: (u64, u64),
    keys: Vec<u64>,
    /// What it gave so far, where that is not all.
    parts: VecDeque<BatchOutcome>,
    outcome: Option<BatchOutcome>,
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Window")
    }
}

impl Wake for Window {
    fn wake(&self) {
        drop(self.lock());
        self.room.notify_all();
        self.oldest.notify_all();
        self.tell_makers();
    }
}

impl Window {
    /// A window for a task's workers, of whom so many are there already.
    pub(super) fn new(task: &Task, workers_open: usize) -> Arc<Self> {
        let workers = task.grid.workers();
        let state = State {
            concurrency: task.adapts.then(|| ConcurrencyLimit::new(workers)),
            workers_open,
            ..State::default()
        };
        let window = Arc::new(Window {
            state: Mutex::new(state),
            room: Condvar::new(),
            oldest: Condvar::new(),
            part_taken: Condvar::new(),
            listener: OnceLock::new(),
            batches_max: workers * BATCHES_PER_WORKER,
            workers,
            gauge: task.gauge.clone(),
            requests: task
                .policy
                .map(|policy| DispatchAhead::new(workers, policy.every)),
            journal: task.journal.clone(),
            costs: task.costs.clone(),
            stop: task.stop.clone(),
        });
        window.stop.wakes(&window);
        window
    }

    /// Has `listener` woken too: by a stop, when the window closes, and when the next part of a batch may be made.
    pub(super) fn wakes<W: Wake + 'static>(&self, listener: &Arc<W>) {
        let listener = Arc::downgrade(listener);
        let _ = self.listener.set(listener);
    }

    /// Wakes those who make parts.
    fn tell_makers(&self) {
        self.part_taken.notify_all();
        if let Some(listener) = self.listener.get().and_then(Weak::upgrade) {
            listener.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Gives batches to workers as there is room, until there are no more or nobody wants them.
    pub(super) fn feed(&self, mut input: Inputs, mut give: impl FnMut(u64, Batch, TaskContext)) {
        let every = self.requests.as_ref().map(|ahead| ahead.every);
        let mut limiter = RateLimiter::new(every.unwrap_or_default());
        while self.wait_until(|state| !self.is_full(state) || state.slots.is_empty()) {
            self.change(|state| state.fetching = true);
            let next = input.next();
            self.change(|state| state.fetching = false);
            match next {
                None => break,
                Some(Err(error)) => {
                    let (number, _) = self.take_place(0, (0, 0), Vec::new());
                    self.fill(number, BatchOutcome::failed(error));
                    break;
                }
                Some(Ok(Input { batch, task, keys })) => {
                    let next = self.lock().next();
                    let find = |journal: &Arc<dyn Journal>| journal.find(next, &batch);
                    if let Some(outcome) = self.journal.as_ref().and_then(find) {
                        let (number, _) = self.take_place(batch.size(), (0, 0), Vec::new());
                        self.put(number, outcome);
                        continue;
                    }
                    let free = |state: &State| {
                        let most = state.concurrency.as_ref().map(ConcurrencyLimit::limit);
                        let most = most.or(self
                            .requests
                            .as_ref()
                            .map(|ahead| ahead.at_once(state.workers_open)));
                        most.is_none_or(|most| state.working < most)
                            && !keys.iter().any(|key| state.keys.contains(key))
                    };
                    if !self.wait_until(free) {
                        break;
                    }
                    if every.is_some() {
                        limiter.skip(std::mem::take(&mut self.lock().extra));
                    }
                    if !self.wait_for_turn(&mut limiter) {
                        break;
                    }
                    let rows = (task.first, batch.rows() as u64);
                    let (number, alone) = self.take_place(batch.size(), rows, keys);
                    give(number, batch, TaskContext { alone, ..task });
                }
            }
        }
    }

    /// Whether nothing more may be given to workers before a result is taken.
    fn is_full(&self, state: &State) -> bool {
        state.bytes >= IN_FLIGHT_BYTES_MAX || state.slots.len() >= self.batches_max
    }

    /// Changes the state, and tells what the workers wait for then.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        self.gauge.set(self.waits(&state));
    }

    /// What the workers wait for. Where the outside sets the pace, it is nothing of ours.
    fn waits(&self, state: &State) -> Waits {
        if state.next() == 0 {
            Waits::ToBegin
        } else if state.working >= self.workers || (state.ended && state.working > 0) {
            Waits::No
        } else if state.fetching {
            Waits::ForInput
        } else if state.concurrency.is_some() || state.slots.is_empty() {
            Waits::No
        } else {
            Waits::ForReader
        }
    }

    /// Waits for a state; `false`: the consumer has closed the window.
    fn wait_until(&self, wanted: impl Fn(&State) -> bool) -> bool {
        let mut state = self.lock();
        loop {
            if state.closed || state.faulted.is_some() || self.stop.is_set() {
                return false;
            }
            if wanted(&state) {
                return true;
            }
            self.stop.wait(&self.room, &mut state);
        }
    }

    /// Waits for the next batch's turn; `false`: it is not wanted any more.
    fn wait_for_turn(&self, limiter: &mut RateLimiter) -> bool {
        let mut state = self.lock();
        while !state.closed && !self.stop.is_set() {
            let left = limiter.turn(monotonic());
            if left.is_zero() {
                return true;
            }
            self.stop.wait_for(&self.room, &mut state, left);
        }
        false
    }

    /// Takes a place for a batch of about `bytes`; its number, and whether it stays alone.
    fn take_place(&self, bytes: usize, rows: (u64, u64), keys: Vec<u64>) -> (u64, bool) {
        let mut state = self.lock();
        state.bytes += bytes;
        state.working += 1;
        state.next_row = rows.0 + rows.1;
        state.keys.extend(&keys);
        state.slots.push_back(Slot {
            bytes,
            rows,
            keys,
            parts: VecDeque::new(),
            outcome: None,
        });
        if state.concurrency.is_some() || self.requests.is_some() {
            let mut costs = self.costs.lock().expect("no one panics holding this lock");
            costs.concurrency = costs
                .concurrency
                .max(state.working.min(self.workers) as u64);
        }
        self.gauge.set(self.waits(&state));
        // With a higher limit others could come while it is in flight.
        let one_at_a_time = state
            .concurrency
            .as_ref()
            .is_some_and(|concurrency| concurrency.limit() == 1);
        (state.next() - 1, one_at_a_time && state.working == 1)
    }

    /// Takes note of a result, and puts it in its place.
    pub(super) fn fill(&self, number: u64, outcome: BatchOutcome) {
        self.fill_from(number, outcome, None);
    }

    /// The same; `rows` are the result's as they came through a pipe, if they did.
    pub(super) fn fill_from(&self, number: u64, mut outcome: BatchOutcome, rows: Option<&[u8]>) {
        let extra = outcome.extra();
        if extra > 0 {
            self.lock().extra += extra;
        }
        let recorded = self
            .journal
            .as_ref()
            .map(|journal| journal.record(number, &mut outcome, rows));
        match recorded {
            Some(Err(error)) => self.put(number, BatchOutcome::failed(error)),
            _ => self.put(number, outcome),
        }
    }

    fn put(&self, number: u64, outcome: BatchOutcome) {
        let bytes = size(&outcome);
        let mut guard = self.lock();
        let state = &mut *guard;
        let at = usize::try_from(number - state.first).expect("few batches are in flight");
        if let Some(slot) = state.slots.get_mut(at) {
            state.bytes = state.bytes - slot.bytes + bytes;
            state.working -= 1;
            for key in std::mem::take(&mut slot.keys) {
                state.keys.remove(&key);
            }
            slot.bytes = bytes;
            if outcome.fault.is_some() {
                state.faulted = Some(state.faulted.map_or(number, |first| first.min(number)));
            }
            slot.outcome = Some(outcome);
            if let Some(concurrency) = &mut state.concurrency {
                concurrency.completed(slot.rows.0, slot.rows.1, monotonic());
            }
        }
        self.gauge.set(self.waits(state));
        // A wake costs as much as many a batch: nobody is woken in vain.
        let few = |ahead: &DispatchAhead| state.working <= ahead.few;
        let faulted = state.faulted.is_some();
        let more = self.requests.as_ref().is_none_or(few) || faulted;
        let in_parts = state.parts > 0;
        drop(guard);
        if in_parts {
            self.part_taken.notify_all();
        }
        if more {
            self.room.notify_one();
        }
        if at == 0 {
            self.oldest.notify_one();
        }
    }

    /// Puts a part of a batch's result in its place; more of it comes.
    pub(super) fn fill_part(&self, number: u64, part: BatchOutcome) {
        let mut guard = self.lock();
        let state = &mut *guard;
        // A batch before it that met a fault may have been taken by a reader who wants no more.
        let at = number
            .checked_sub(state.first)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(slot) = at.and_then(|at| state.slots.get_mut(at)) {
            let bytes = size(&part);
            state.bytes += bytes;
            slot.parts.push_back(part);
            state.parts += 1;
        }
        drop(guard);
        self.oldest.notify_one();
    }

    /// Whether the next part of a batch may be made: as long as little waits, and always where the reader
    /// waits for it.
    pub(super) fn may_go_on(&self, number: u64) -> bool {
        Self::has_room_for_part(&self.lock(), number)
    }

    fn has_room_for_part(state: &State, number: u64) -> bool {
        let first = state.slots.front();
        let is_awaited = number == state.first && first.is_some_and(|slot| slot.parts.is_empty());
        is_awaited || state.bytes < IN_FLIGHT_BYTES_MAX
    }

    /// Waits until the next part of a batch may be made; `false`: nobody wants it any more.
    pub(super) fn wait_to_go_on(&self, number: u64) -> bool {
        let mut state = self.lock();
        loop {
            let is_behind_fault = state.faulted.is_some_and(|first| number > first);
            if state.closed || is_behind_fault || self.stop.is_set() {
                return false;
            }
            if Self::has_room_for_part(&state, number) {
                return true;
            }
            self.stop.wait(&self.part_taken, &mut state);
        }
    }

    /// The batch that begins with this row met backpressure.
    pub(super) fn on_backpressure(&self, row: u64) {
        let mut guard = self.lock();
        let next_row = guard.next_row;
        if let Some(concurrency) = &mut guard.concurrency {
            concurrency.refused_at(row, next_row);
        }
    }

    /// There are more workers.
    pub(super) fn gains(&self, workers: usize) {
        self.lock().workers_open += workers;
        self.room.notify_one();
    }

    /// There are fewer.
    pub(super) fn loses(&self, workers: usize) {
        self.lock().workers_open -= workers;
    }

    /// No more batches will come.
    pub(super) fn end(&self) {
        self.change(|state| state.ended = true);
        self.oldest.notify_one();
    }

    /// The consumer has closed the window.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake();
    }

    /// Whether the consumer has closed the window or the run stops.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed || self.stop.is_set()
    }

    /// Whether a batch is to be begun: somebody wants results, and none before it has met a fault.
    pub(super) fn wants(&self, number: u64) -> bool {
        let state = self.lock();
        !state.closed && !self.stop.is_set() && state.faulted.is_none_or(|first| number < first)
    }

    /// The oldest batch's result, once it is there; `None` after the last one.
    pub(super) fn next(&self) -> Result<Option<BatchOutcome>> {
        let mut state = self.lock();
        loop {
            self.stop.check()?;
            let was_full = self.is_full(&state);
            if let Some(taken) = state.take() {
                let in_parts = state.parts > 0;
                drop(state);
                if in_parts {
                    self.tell_makers();
                }
                if was_full {
                    self.room.notify_one();
                }
                return Ok(Some(taken));
            }
            if state.ended && state.slots.is_empty() {
                return Ok(None);
            }
            self.stop.wait(&self.oldest, &mut state);
        }
    }
}

impl State {
    /// The oldest batch's next part, or what it gave last, if that is there.
    fn take(&mut self) -> Option<BatchOutcome> {
        let slot = self.slots.front_mut()?;
        if let Some(part) = slot.parts.pop_front() {
            self.bytes -= size(&part);
            return Some(part);
        }
        let outcome = slot.outcome.take()?;
        self.bytes -= slot.bytes;
        self.first += 1;
        self.slots.pop_front();
        Some(outcome)
    }

    /// The number that the next batch gets.
    fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }
}

/// The bytes of a result.
fn size(outcome: &BatchOutcome) -> usize {
    outcome.batch.as_ref().map_or(0, Batch::size)
}

#[cfg(test)]
mod tests {
    use super::super::{Grid, Kind, processes::Workers};
    use super::*;

    #[test]
    fn results_that_nobody_takes_are_waited_for_behind_the_last_batch_too() {
        let gauge = Arc::new(Gauge::default());
        let batches = |count| -> Inputs {
            Box::new((0..count).map(|_| Ok(Batch::new(Vec::new(), 1).into())))
        };
        let task = Task {
            grid: Grid {
                kind: Kind::Threads,
                processes: 1,
                threads: 2,
            },
            input: batches(0),
            above: 0,
            adapts: false,
            policy: None,
            prepare: Box::new(|| unreachable!("nothing is executed")),
            costs: SharedCosts::default(),
            gauge: gauge.clone(),
            stop: Stop::default(),
            journal: None,
            workers: Arc::new(Workers::this_program()),
            name: "projects".into(),
        };
        let window = Window::new(&task, 2);
        assert_eq!(gauge.get(), Waits::ToBegin);
        let mut given = Vec::new();
        window.feed(batches(2), |number, batch, _| given.push((number, batch)));
        window.end();
        for (number, batch) in given {
            assert_eq!(gauge.get(), Waits::No, "batch {number} is worked on");
            window.fill(
                number,
                BatchOutcome {
                    metrics: Vec::new(),
                    batch: Some(batch),
                    fault: None,
                    first: 0,
                    rest: None,
                },
            );
        }
        assert_eq!(gauge.get(), Waits::ForReader);
    }
}
