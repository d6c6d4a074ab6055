//! Which batches wait for a child, and which each child holds: a batch is in one of these places until its result
//! is in the window, whichever process dies.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::super::ordered::joined;
use super::super::window::Window;
use super::super::{SharedCosts, Task};
use super::Feeder;
use super::children::Workers;
use super::frames::{Frame, Order};
use super::in_child::InChild;
use crate::batch::Batch;
use crate::clock::monotonic;
use crate::error::{Error, Result};
use crate::fragment::{BatchOutcome, BoundStage};
use crate::schema::count;
use crate::stage::TaskContext;
use crate::stop::Wake;

/// A batch whose child died is sent again so often; then it is taken to be what kills children.
pub(super) const RESENDS_MAX: u32 = 2;
/// A batch of so many bytes fits into a pipe beside others.
const SMALL_BYTES: usize = 16 << 10;
/// Batches a child has beyond those its threads work on, so that it never waits for the pipe.
const DISPATCH_AHEAD: usize = 1;

/// What feeder, readers and writers share.
///
/// A child's writer waits in [`DispatchTable::next`] until there is a batch and room for it, a part that may be made, or
/// the end. It is woken by what comes ([`DispatchTable::push`], [`DispatchTable::go_on`]), by what its child gives back
/// ([`DispatchTable::take_back`]), by its opening and its end, and by whatever the window says ([`Window::wakes`]).
/// All of that changes under the lock of `state` but for the window itself, which takes this lock after the change.
/// The window's lock may be taken under this one, never the other way round.
pub(super) struct DispatchTable {
    pub(super) name: String,
    /// Of each child.
    pub(super) threads: usize,
    in_child_max: usize,
    /// Whether a batch that died with its child may not be sent again.
    once: bool,
    /// The last stage that children run, and whether it is digested, once that is known.
    pub(super) last_stage: OnceLock<(BoundStage, bool)>,
    /// How long a child takes to end what it has begun outside.
    pub(super) ending: Option<Duration>,
    pub(super) window: Arc<Window>,
    pub(super) costs: SharedCosts,
    pub(super) workers: Arc<Workers>,
    state: Mutex<State>,
    /// The feeder waits here until some child is ready or none will be, and the reader until all supervisors have ended.
    /// Both are woken by all of it.
    pub(super) opened: Condvar,
}

impl std::fmt::Debug for DispatchTable {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "DispatchTable of `{}`", self.name)
    }
}

impl Wake for DispatchTable {
    fn wake(&self) {
        self.wake_all(&self.lock());
    }
}

/// A supervisor is at work as long as this is there.
pub(super) struct Supervising(Arc<DispatchTable>);

impl Supervising {
    pub(super) fn table(&self) -> &Arc<DispatchTable> {
        &self.0
    }
}

impl Drop for Supervising {
    fn drop(&mut self) {
        self.0.lock().supervisors -= 1;
        self.0.opened.notify_all();
    }
}

#[derive(Default)]
pub(super) struct State {
    /// In the order of their numbers: the first is the one whose result the reader needs first.
    waiting: VecDeque<Waiting>,
    /// Those that take what waits.
    pub(super) children: Vec<Arc<InChild>>,
    /// No more batches will come and all results are in.
    pub(super) ended: bool,
    /// Some child has opened its sessions.
    pub(super) ready: bool,
    /// No child can work: every batch gets this error.
    pub(super) fatal: Option<Error>,
    /// Threads that each supervise a child.
    supervisors: usize,
}

pub(super) struct Waiting {
    number: u64,
    batch: Batch,
    task: TaskContext,
    sendings: u32,
    /// Parts of its result that are in the window: who works on it again gives them again.
    parts: u64,
}

/// What comes next for a child.
pub(super) enum Next {
    /// This, for which it has room.
    Batch(Waiting),
    /// This one's next part.
    Part(u64),
    /// All is done.
    Close,
    /// It is gone, or nothing is wanted of it any more.
    Nothing,
}

impl Waiting {
    /// A batch that no child has seen.
    pub(super) fn new(number: u64, batch: Batch, task: TaskContext) -> Self {
        Waiting {
            number,
            batch,
            task,
            sendings: 0,
            parts: 0,
        }
    }
}

impl State {
    /// Has a batch wait, after all that come before it.
    fn put_in_order(&mut self, waiting: Waiting) {
        let before = |other: &Waiting| other.number < waiting.number;
        let at = self.waiting.partition_point(before);
        self.waiting.insert(at, waiting);
    }

    /// What waits longest, for a child that has room for it, if it can be sent at once.
    fn next_small(&mut self, child: &InChild) -> Option<Waiting> {
        let small = |waiting: &mut Waiting| waiting.batch.size() <= SMALL_BYTES;
        let waiting = self.waiting.pop_front_if(small)?;
        child.held.fetch_add(1, Ordering::SeqCst);
        Some(waiting)
    }
}

impl DispatchTable {
    /// A table for a task whose results go through `window`.
    pub(super) fn new(task: &Task, window: Arc<Window>) -> Arc<Self> {
        let table = Arc::new(DispatchTable {
            name: task.name.clone(),
            threads: task.grid.threads,
            // Where the outside sets the pace, what is in flight is at work, not in a pipe after another.
            in_child_max: if task.adapts || task.policy.is_some() {
                task.grid.threads
            } else {
                task.grid.threads + DISPATCH_AHEAD
            },
            once: task.policy.is_some_and(|policy| !policy.again),
            last_stage: OnceLock::new(),
            ending: task.policy.and_then(|policy| policy.ending),
            window,
            costs: task.costs.clone(),
            workers: task.workers.clone(),
            state: Mutex::default(),
            opened: Condvar::new(),
        });
        table.window.wakes(&table);
        table.workers.over.wakes(&table);
        table
    }

    /// One more supervisor is at work.
    pub(super) fn supervising(self: &Arc<Self>) -> Supervising {
        self.lock().supervisors += 1;
        Supervising(self.clone())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn timed_copy<T>(&self, work: impl FnOnce() -> T) -> T {
        let from = monotonic();
        let result = work();
        self.costs
            .lock()
            .expect("no one panics holding this lock")
            .copy += monotonic().saturating_sub(from);
        result
    }

    /// Gives a batch to a child that has room, or has it wait for one. A small one is sent at once: to wake
    /// the child's writer would cost more.
    pub(super) fn push(&self, waiting: Waiting) {
        let mut state = self.lock();
        if let Some(error) = &state.fatal {
            self.window
                .fill(waiting.number, BatchOutcome::failed(error.clone()));
            return;
        }
        state.put_in_order(waiting);
        let free = state.children.iter().filter(|child| self.has_room(child));
        let Some(child) = free.min_by_key(|child| child.held()).cloned() else {
            return;
        };
        if let Some(waiting) = state.next_small(&child) {
            drop(state);
            self.give(waiting, &child);
        } else {
            child.more.notify_one();
        }
    }

    /// Sends a batch to a child that has room for it; `false`: the child is gone.
    pub(super) fn give(&self, mut waiting: Waiting, in_child: &InChild) -> bool {
        let number = waiting.number;
        if !self.window.wants(number) {
            // Nor does it want what follows.
            let _state = self.lock();
            in_child.held.fetch_sub(1, Ordering::SeqCst);
            in_child.more.notify_one();
            return true;
        }
        let again = waiting.sendings > 0;
        let task = TaskContext {
            again,
            ..waiting.task
        };
        let encoded =
            self.timed_copy(|| Frame::new(Some(&waiting.batch), || Order::Run { number, task }));
        let frame = match encoded {
            Ok(frame) => frame,
            Err(error) => {
                self.window.fill(number, BatchOutcome::failed(error));
                self.free_place(in_child);
                return true;
            }
        };
        let mut batches = in_child.lock_batches();
        // Who takes what is left of a child marks it first.
        if in_child.gone.load(Ordering::SeqCst) {
            drop(batches);
            self.push(waiting);
            return false;
        }
        waiting.sendings += 1;
        batches.insert(number, waiting);
        drop(batches);
        in_child.write(&frame)
    }

    /// Whether a child may be given another batch: not while it opens its sessions, for another could begin
    /// with it at once, and where requests have a pace they would all be made when it has opened.
    fn has_room(&self, child: &InChild) -> bool {
        let at_work = child.has_opened() && !child.gone.load(Ordering::SeqCst);
        at_work && child.held() < self.in_child_max
    }

    /// What comes next for a child, when there is something.
    pub(super) fn next(&self, in_child: &InChild) -> Next {
        let mut state = self.lock();
        loop {
            let over = state.fatal.is_some() || self.is_over();
            if over || in_child.gone.load(Ordering::SeqCst) {
                return Next::Nothing;
            }
            // A child that is still opening at the end closes in order after that.
            if state.ended && in_child.has_opened() {
                return Next::Close;
            }
            if let Some(number) = self.part_to_make(&state, in_child) {
                return Next::Part(number);
            }
            let room = self.has_room(in_child);
            if let Some(waiting) = state.waiting.pop_front_if(|_| room) {
                in_child.held.fetch_add(1, Ordering::SeqCst);
                return Next::Batch(waiting);
            }
            self.window.stop.wait(&in_child.more, &mut state);
        }
    }

    /// A batch in a child whose next part may be made.
    fn part_to_make(&self, state: &State, in_child: &InChild) -> Option<u64> {
        let mut unfinished = in_child.lock_unfinished();
        // Where the one that the reader waits for comes from a dead child, those it works on make room for it.
        let first_waits = || {
            let first = state.waiting.front();
            first.is_some_and(|waiting| self.window.may_go_on(waiting.number))
        };
        let may = |&number: &u64| self.window.may_go_on(number) || first_waits();
        let at = unfinished.iter().position(may)?;
        Some(unfinished.swap_remove(at))
    }

    /// A child has given part `part` of a batch, and keeps the rest; whether it is new.
    pub(super) fn take_part(number: u64, part: u64, in_child: &InChild) -> bool {
        let mut batches = in_child.lock_batches();
        let Some(waiting) = batches.get_mut(&number) else {
            return false;
        };
        let is_new = part >= waiting.parts;
        waiting.parts = waiting.parts.max(part + 1);
        is_new
    }

    /// Has a child make the next part of a batch when it may.
    pub(super) fn go_on(&self, number: u64, in_child: &InChild) {
        let _state = self.lock();
        in_child.lock_unfinished().push(number);
        in_child.more.notify_one();
    }

    /// A child has given a batch back: it takes another if one waits.
    pub(super) fn take_back(&self, number: u64, in_child: &InChild) {
        in_child.lock_batches().remove(&number);
        self.free_place(in_child);
    }

    fn free_place(&self, in_child: &InChild) {
        let mut state = self.lock();
        in_child.held.fetch_sub(1, Ordering::SeqCst);
        // What is in the window now may take less room than before: another part of a batch may be made.
        for child in &state.children {
            if !child.lock_unfinished().is_empty() {
                child.more.notify_one();
            }
        }
        if let Some(waiting) = state.next_small(in_child) {
            drop(state);
            self.give(waiting, in_child);
        } else if !state.waiting.is_empty() {
            in_child.more.notify_one();
        }
    }

    /// Sends the batches of a dead child again; whether it had any.
    pub(super) fn lost_child(&self, in_child: &InChild, words: Option<String>) -> bool {
        let fatal = self.lock().fatal.clone();
        if let Some(error) = fatal {
            // It was ended because of that.
            self.give_up(in_child, &error);
            return false;
        }
        let batches = std::mem::take(&mut *in_child.lock_batches());
        let words = words.unwrap_or_else(|| "ended too early".into());
        let lost = !batches.is_empty();
        let once = self.last_stage.get().filter(|_| self.once);
        if !self.window.is_closed() {
            let again = match batches.len() {
                0 => String::new(),
                _ if once.is_some() => "; what it was working on is rejected".into(),
                1 => "; its batch was sent again".into(),
                n => format!("; its {n} batches were sent again"),
            };
            let mut costs = self.costs.lock().expect("no one panics holding this lock");
            costs
                .warnings
                .push(format!("a worker process {words} and was replaced{again}"));
        }
        let mut state = self.lock();
        for waiting in batches.into_values() {
            if let Some((spec, digest)) = once {
                let outcome = BatchOutcome::died(spec, &waiting.batch, *digest);
                self.window.fill(waiting.number, outcome);
            } else if waiting.sendings > RESENDS_MAX {
                let rows = waiting.batch.rows();
                let batch = count(rows, "row");
                let error = Error::failed(format!(
                    "a worker process {words}; so did {RESENDS_MAX} others before with the same batch of {batch}"
                ))
                .stage(&self.name)
                .origin((rows > 0).then(|| waiting.batch.origin(0)).flatten())
                .hint("run the stage with `--set STAGE.executor=sequential` to see what it does to these rows");
                self.window
                    .fill(waiting.number, BatchOutcome::failed(error));
            } else {
                state.put_in_order(waiting);
            }
        }
        self.wake_all(&state);
        lost
    }

    /// No child can work: whatever waits, and whatever comes, gets this error.
    pub(super) fn fail(&self, error: &Error) {
        let mut state = self.lock();
        for waiting in state.waiting.drain(..) {
            self.window
                .fill(waiting.number, BatchOutcome::failed(error.clone()));
        }
        state.fatal.get_or_insert_with(|| error.clone());
        self.wake_all(&state);
    }

    /// The same, also for the batches that a child holds or that are in its pipe.
    pub(super) fn give_up(&self, in_child: &InChild, error: &Error) {
        for &number in in_child.lock_batches().keys() {
            self.window
                .fill(number, BatchOutcome::failed(error.clone()));
        }
        self.fail(error);
    }

    /// Everybody looks again.
    pub(super) fn wake_all(&self, state: &State) {
        self.opened.notify_all();
        for child in &state.children {
            child.more.notify_one();
        }
    }

    pub(super) fn wait_until_ready(&self) -> Result<()> {
        let mut state = self.lock();
        loop {
            if let Some(error) = &state.fatal {
                return Err(error.clone());
            }
            if state.ready || self.window.is_closed() {
                return Ok(());
            }
            self.window.stop.wait(&self.opened, &mut state);
        }
    }

    /// Whether nothing more is wanted of any child.
    fn is_over(&self) -> bool {
        self.window.is_closed() || self.workers.are_over()
    }

    /// Behind the last result: the children close.
    pub(super) fn end(&self, feeder: Feeder) -> Result<()> {
        let supervisors = joined(feeder)?;
        let mut state = self.lock();
        state.ended = true;
        self.wake_all(&state);
        // Who is asked to close may wait for somebody outside: an interrupted run does not.
        while state.supervisors > 0 {
            self.window.stop.check()?;
            self.window.stop.wait(&self.opened, &mut state);
        }
        drop(state);
        for supervisor in supervisors {
            let _ = supervisor.join();
        }
        self.lock().fatal.take().map_or(Ok(()), Err)
    }
}
