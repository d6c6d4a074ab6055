//! Child processes: the program itself, started with the hidden subcommand `worker`.
//!
//! Parent and child talk in frames over the child's stdin and stdout: a JSON header and, where there
//! are rows, an Arrow IPC stream. The first frame says what to open; nothing is told by arguments or
//! environment, and the child opens no file of the parent's. At either end one thread reads and others
//! write, so that pipes never fill both ways. A child ends when its stdin does, in the middle of a
//! batch too: a killed parent leaves no orphan. What a child has begun outside, processes of its own or a
//! login, it ends first, and is given the time for that.

mod children;
pub mod frames;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::io::BufReader;
use std::process::{ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use super::window::{Ending, Ordered, Window, joined, wait};
use super::{Deal, Results, SharedCosts};
use crate::batch::{Batch, Dealt};
use crate::clock::monotonic;
use crate::error::{Error, Result};
use crate::hand::{Chain, Link, Played, add_closed};

pub use children::Workers;
pub use worker::work;

use children::{last_words, obituary};
use frames::{Frame, Hello, Job, Reply, read_frame};

/// A batch whose child died is sent again so often; then it is taken to be what kills children.
const RESENDS_MAX: u32 = 2;
/// How often it is looked whether a child has closed.
const CLOSING_LOOK: Duration = Duration::from_millis(1);
/// A batch of so many bytes fits into a pipe beside others.
const SMALL_BYTES: usize = 16 << 10;
/// Batches a child has beyond those its threads work on, so that it never waits for the pipe.
const AHEAD: usize = 1;

/// Works on a stream with `deal.grid.processes` children of `deal.grid.threads` threads each.
pub(super) fn map(deal: Deal) -> Results {
    let window = Arc::new(Window::new(&deal));
    let table = Arc::new(Table {
        name: deal.name.clone(),
        // Where the outside sets the pace, what is in flight is at work, not in a pipe behind another.
        in_child_max: if deal.exclusive.is_some() || deal.requests.is_some() {
            deal.grid.threads
        } else {
            deal.grid.threads + AHEAD
        },
        once: deal.requests.is_some_and(|requests| !requests.again),
        told: OnceLock::new(),
        ending: deal.requests.and_then(|requests| requests.ending),
        window: window.clone(),
        costs: deal.costs.clone(),
        workers: deal.workers.clone(),
        state: Mutex::default(),
        opened: Condvar::new(),
    });
    let fed = table.clone();
    let feeder = std::thread::Builder::new()
        .name(format!("etl-feed-{}", deal.name))
        .spawn(move || {
            let _ending = Ending(&fed.window);
            feed(deal, &fed)
        });
    Box::new(Ordered::new(table.window.clone(), move || {
        table.end(feeder)
    }))
}

/// The feeder's thread, which gives back those that keep the children.
type Feeder = std::io::Result<JoinHandle<Result<Vec<JoinHandle<()>>>>>;

/// What feeder, readers and writers share.
struct Table {
    name: String,
    in_child_max: usize,
    /// Whether a batch that died with its child may not be sent again.
    once: bool,
    /// The stage that children play, and whether digests are wanted, once that is known.
    told: OnceLock<(Link, bool)>,
    /// How long a child takes to end what it has begun outside.
    ending: Option<Duration>,
    window: Arc<Window>,
    costs: SharedCosts,
    workers: Arc<Workers>,
    state: Mutex<State>,
    /// Some child is ready, or none will be: the feeder waits for that.
    opened: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Those that take what waits.
    children: Vec<Arc<InChild>>,
    /// No more batches will come and all results are in.
    ended: bool,
    /// Some child has opened its sessions.
    ready: bool,
    /// No child can work: every batch gets this error.
    fatal: Option<Error>,
}

struct Waiting {
    number: u64,
    batch: Batch,
    sendings: u32,
}

/// What one child has in hand.
#[derive(Default)]
struct InChild {
    /// Until its writer ends.
    stdin: Mutex<Option<ChildStdin>>,
    batches: Mutex<BTreeMap<u64, Waiting>>,
    /// How many that are, and those about to be; changes under the lock of [`State`].
    held: AtomicUsize,
    /// There may be a batch for it: its writer waits for that.
    more: Condvar,
    opened: AtomicBool,
    gone: AtomicBool,
}

/// The frames that open a child's sessions.
type Opening = Arc<Vec<Frame>>;

fn feed(deal: Deal, table: &Arc<Table>) -> Result<Vec<JoinHandle<()>>> {
    let chain = (deal.prepare)()?;
    if let Some(link) = chain.links.last() {
        let _ = table.told.set((link.clone(), chain.digest));
    }
    let opening = Arc::new(table.timed_copy(|| opening(&chain, deal.grid.threads))?);
    drop(chain);
    let readers = (0..deal.grid.processes)
        .map(|i| {
            let (table, opening) = (table.clone(), opening.clone());
            std::thread::Builder::new()
                .name(format!("etl-child-{i}"))
                .spawn(move || table.keep_child(&opening))
                .map_err(|error| Error::failed("cannot start a thread").cause(error))
        })
        .collect::<Result<Vec<_>>>()?;
    // An error in opening comes before one in the input, as under every executor.
    table.wait_until_ready()?;
    table.window.feed(deal.input, |number, batch| {
        table.push(Waiting {
            number,
            batch,
            sendings: 0,
        });
    });
    Ok(readers)
}

fn opening(chain: &Chain, threads: usize) -> Result<Vec<Frame>> {
    let hello = Hello {
        links: chain.links.clone(),
        threads,
        digest: chain.digest,
        processes: chain.processes,
        broadcast: chain
            .broadcast
            .iter()
            .map(|inputs| inputs.iter().map(Option::is_some).collect())
            .collect(),
    };
    let mut frames = vec![Frame::new(None, || hello)?];
    for batch in chain.broadcast.iter().flatten().flatten() {
        frames.push(Frame::new(Some(batch), || ())?);
    }
    Ok(frames)
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics holding this lock")
    }

    fn timed_copy<T>(&self, work: impl FnOnce() -> T) -> T {
        let from = monotonic();
        let result = work();
        self.costs
            .lock()
            .expect("no one panics holding this lock")
            .copy += monotonic().saturating_sub(from);
        result
    }

    /// Behind the last result: the children close.
    fn end(&self, feeder: Feeder) -> Result<()> {
        let keepers = joined(feeder)?;
        let mut state = self.lock();
        state.ended = true;
        self.wake_all(&state);
        drop(state);
        for keeper in keepers {
            // Who is asked to close may wait for somebody outside: an interrupted run does not.
            while !keeper.is_finished() {
                self.window.check_stop()?;
                std::thread::sleep(CLOSING_LOOK);
            }
            let _ = keeper.join();
        }
        self.lock().fatal.take().map_or(Ok(()), Err)
    }

    /// Gives a batch to a child that has room, or has it wait for one. A small one is sent at once: to wake
    /// the child's writer would cost more.
    fn push(&self, waiting: Waiting) {
        let mut state = self.lock();
        if let Some(error) = &state.fatal {
            self.window
                .fill(waiting.number, Played::failed(error.clone()));
            return;
        }
        state.waiting.push_back(waiting);
        let free = state.children.iter().filter(|child| self.has_room(child));
        let Some(child) = free.min_by_key(|child| child.held()).cloned() else {
            return;
        };
        let is_open = child.opened.load(Ordering::SeqCst);
        let small = |waiting: &mut Waiting| is_open && waiting.batch.size() <= SMALL_BYTES;
        if let Some(waiting) = state.waiting.pop_front_if(small) {
            child.held.fetch_add(1, Ordering::SeqCst);
            drop(state);
            self.give(waiting, &child);
        } else {
            child.more.notify_one();
        }
    }

    /// Whether a child may be given another batch.
    fn has_room(&self, child: &InChild) -> bool {
        child.held() < self.in_child_max && !child.gone.load(Ordering::SeqCst)
    }

    /// Everybody looks again.
    fn wake_all(&self, state: &State) {
        self.opened.notify_all();
        for child in &state.children {
            child.more.notify_one();
        }
    }

    fn wait_until_ready(&self) -> Result<()> {
        let mut state = self.lock();
        loop {
            if let Some(error) = &state.fatal {
                return Err(error.clone());
            }
            if state.ready || self.window.is_closed() {
                return Ok(());
            }
            state = wait(&self.opened, state);
        }
    }

    /// No child can work: whatever waits, and whatever comes, gets this error.
    fn fail(&self, error: &Error) {
        let mut state = self.lock();
        for waiting in state.waiting.drain(..) {
            self.window
                .fill(waiting.number, Played::failed(error.clone()));
        }
        state.fatal.get_or_insert_with(|| error.clone());
        self.wake_all(&state);
    }

    /// The same, for what a child had in hand or in its pipe too.
    fn give_up(&self, in_child: &InChild, error: &Error) {
        for &number in in_child.lock_batches().keys() {
            self.window.fill(number, Played::failed(error.clone()));
        }
        self.fail(error);
    }

    /// Keeps one child at work until the stream has ended; replaces it if it dies.
    fn keep_child(self: &Arc<Self>, opening: &Opening) {
        let mut stillborn = 0;
        loop {
            let in_child = Arc::new(InChild::default());
            match self.run_child(opening, &in_child) {
                Ok(true) => {
                    if !self.lost_child(&in_child, None) {
                        return;
                    }
                }
                Ok(false) => return,
                Err(Died::Refused(error)) => return self.give_up(&in_child, &error),
                Err(Died::WithTheRun) => {
                    return self.give_up(&in_child, &Error::failed("the run has ended"));
                }
                Err(Died::Lost(words)) => {
                    let born = in_child.opened.load(Ordering::SeqCst);
                    stillborn = if born { 0 } else { stillborn + 1 };
                    if stillborn > RESENDS_MAX {
                        let error = Error::failed(format!(
                            "a worker process {words}, before it could begin"
                        ));
                        return self.fail(&error.stage(&self.name));
                    }
                    self.lost_child(&in_child, Some(words));
                }
            }
            let state = self.lock();
            if let Some(error) = state.fatal.clone() {
                // What this child had in hand is not worked on by another.
                drop(state);
                return self.fail(&error);
            }
            if state.ended || self.window.is_closed() {
                return;
            }
        }
    }

    /// Sends again what a dead child had in hand; whether it had anything.
    fn lost_child(&self, in_child: &InChild, words: Option<String>) -> bool {
        let batches = std::mem::take(&mut *in_child.lock_batches());
        let words = words.unwrap_or_else(|| "ended too early".into());
        let lost = !batches.is_empty();
        if !self.window.is_closed() && self.lock().fatal.is_none() {
            let again = match batches.len() {
                0 => String::new(),
                _ if self.once => "; what it had in hand is rejected".into(),
                1 => "; its batch was sent again".into(),
                n => format!("; its {n} batches were sent again"),
            };
            let mut costs = self.costs.lock().expect("no one panics holding this lock");
            costs
                .warnings
                .push(format!("a worker process {words} and was replaced{again}"));
        }
        let mut state = self.lock();
        for (_, waiting) in batches.into_iter().rev() {
            let told = self.told.get().filter(|_| self.once);
            if let Some((link, digest)) = told {
                let played = Played::died(link, &waiting.batch, *digest);
                self.window.fill(waiting.number, played);
            } else if waiting.sendings > RESENDS_MAX {
                let rows = waiting.batch.rows();
                let error = Error::failed(format!(
                    "a worker process {words}; so did {RESENDS_MAX} others before with the same batch of {rows} rows"
                ))
                .stage(&self.name)
                .origin((rows > 0).then(|| waiting.batch.origin(0)).flatten())
                .hint("run the stage with `--set STAGE.executor=sequential` to see what it does to these rows");
                self.window.fill(waiting.number, Played::failed(error));
            } else {
                state.waiting.push_front(waiting);
            }
        }
        self.wake_all(&state);
        lost
    }

    /// Starts a child and talks to it until it ends. `Ok(true)`: it closed although more may come.
    fn run_child(
        self: &Arc<Self>,
        opening: &Opening,
        in_child: &Arc<InChild>,
    ) -> Result<bool, Died> {
        let from = monotonic();
        let mut child = self.workers.spawn(self.ending).map_err(Died::Refused)?;
        self.lock().children.push(in_child.clone());
        let stdout = child.stdout.take();
        *in_child.lock_stdin() = child.stdin.take();
        let words = child
            .stderr
            .take()
            .map(|stderr| std::thread::spawn(move || last_words(stderr)));
        let writer = {
            let (table, opening, in_child) = (self.clone(), opening.clone(), in_child.clone());
            std::thread::spawn(move || table.write_jobs(&opening, &in_child))
        };
        let heard = stdout.map_or(Ok(false), |stdout| {
            self.read_replies(stdout, in_child, from)
        });
        // A child that went silent without a last frame is dead or must be: only then is it killed.
        if !matches!(heard, Ok(true)) {
            let _ = child.kill();
        }
        in_child.gone.store(true, Ordering::SeqCst);
        let mut state = self.lock();
        self.wake_all(&state);
        state.children.retain(|child| !Arc::ptr_eq(child, in_child));
        drop(state);
        let id = child.id();
        let (status, with_the_run) = self.workers.reap(child, self.ending);
        let said = words
            .and_then(|words| words.join().ok())
            .unwrap_or_default();
        let _ = writer.join();
        match heard {
            Ok(true) => Ok(!self.lock().ended && !self.window.is_closed()),
            Ok(false) if self.window.is_closed() => Ok(false),
            Ok(false) if with_the_run => Err(Died::WithTheRun),
            Ok(false) => Err(Died::Lost(obituary(id, status.ok(), &said))),
            Err(error) => Err(Died::Refused(error)),
        }
    }

    /// Feeds the child; its stdin closes behind that.
    fn write_jobs(&self, opening: &Opening, in_child: &InChild) {
        // An error in writing means that the child is gone: the reader notices.
        if opening.iter().all(|frame| in_child.write(frame)) {
            while let Some(waiting) = self.next_job(in_child) {
                if !self.give(waiting, in_child) {
                    break;
                }
            }
        }
        *in_child.lock_stdin() = None;
    }

    /// Sends a batch to a child that has room for it; `false`: the child is gone.
    fn give(&self, mut waiting: Waiting, in_child: &InChild) -> bool {
        let number = waiting.number;
        let again = waiting.sendings > 0;
        let dealt = waiting.batch.dealt().map(|dealt| Dealt { again, ..dealt });
        let encoded =
            self.timed_copy(|| Frame::new(Some(&waiting.batch), || Job { number, dealt }));
        let frame = match encoded {
            Ok(frame) => frame,
            Err(error) => {
                in_child.held.fetch_sub(1, Ordering::SeqCst);
                self.window.fill(number, Played::failed(error));
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

    /// The next batch for a child that has room; `None`: there will be none, or the child is gone.
    fn next_job(&self, in_child: &InChild) -> Option<Waiting> {
        let mut state = self.lock();
        loop {
            let over = state.ended || state.fatal.is_some() || self.is_over();
            if over || in_child.gone.load(Ordering::SeqCst) {
                return None;
            }
            let room = self.has_room(in_child);
            if let Some(waiting) = state.waiting.pop_front_if(|_| room) {
                in_child.held.fetch_add(1, Ordering::SeqCst);
                return Some(waiting);
            }
            state = wait(&in_child.more, state);
        }
    }

    /// A child has given a batch back: it may take another.
    fn take_back(&self, number: u64, in_child: &InChild) {
        in_child.lock_batches().remove(&number);
        let state = self.lock();
        in_child.held.fetch_sub(1, Ordering::SeqCst);
        if !state.waiting.is_empty() {
            in_child.more.notify_one();
        }
    }

    /// Whether nothing more is wanted of any child.
    fn is_over(&self) -> bool {
        self.window.is_closed() || self.workers.are_over()
    }

    /// Hears the child out; `true`: it said that it has closed.
    fn read_replies(
        &self,
        stdout: ChildStdout,
        in_child: &InChild,
        from: Duration,
    ) -> Result<bool> {
        // Small frames come in one read; what is large goes past the buffer.
        let mut stdout = BufReader::new(stdout);
        let mut payload = Vec::new();
        while let Some(header) = read_frame(&mut stdout, &mut payload) {
            let Ok(reply) = serde_json::from_slice(&header) else {
                return Ok(false);
            };
            match reply {
                Reply::Ready { open } => {
                    let mut costs = self.costs.lock().expect("no one panics holding this lock");
                    costs.start += monotonic().saturating_sub(from).saturating_sub(open);
                    costs.open += open;
                    costs.sessions += 1;
                    drop(costs);
                    in_child.opened.store(true, Ordering::SeqCst);
                    self.lock().ready = true;
                    self.opened.notify_all();
                }
                Reply::Refused { error } => return Err(error),
                Reply::Strained { row } => self.window.strained(row),
                Reply::Played {
                    number,
                    marks,
                    fault,
                    copy,
                } => {
                    let rows = (!payload.is_empty())
                        .then(|| self.timed_copy(|| Batch::decode(&payload)))
                        .transpose();
                    let played = match rows {
                        Ok(batch) => Played {
                            marks,
                            batch,
                            fault,
                        },
                        Err(error) => Played::failed(error),
                    };
                    self.costs
                        .lock()
                        .expect("no one panics holding this lock")
                        .copy += copy;
                    self.take_back(number, in_child);
                    self.window.fill_from(number, played, Some(&payload));
                }
                Reply::Closed {
                    counts,
                    error,
                    peak_rss_bytes,
                } => {
                    let mut costs = self.costs.lock().expect("no one panics holding this lock");
                    add_closed(&mut costs.closed, counts);
                    costs.peak_rss_bytes += peak_rss_bytes;
                    return error.map_or(Ok(true), Err);
                }
            }
        }
        Ok(false)
    }
}

impl InChild {
    fn lock_stdin(&self) -> MutexGuard<'_, Option<ChildStdin>> {
        self.stdin.lock().expect("no one panics holding this lock")
    }

    fn lock_batches(&self) -> MutexGuard<'_, BTreeMap<u64, Waiting>> {
        let batches = self.batches.lock();
        batches.expect("no one panics holding this lock")
    }

    /// `false`: it is gone.
    fn write(&self, frame: &Frame) -> bool {
        let mut stdin = self.lock_stdin();
        stdin
            .as_mut()
            .is_some_and(|stdin| frame.write(stdin).is_ok())
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }
}

/// Why a child is no more.
enum Died {
    /// It, or the system, said what is wrong: another would say the same.
    Refused(Error),
    /// It was killed or broke down; the words say how.
    Lost(String),
    /// The run has ended without it: another stage failed, whose readers have yet to notice.
    WithTheRun,
}
