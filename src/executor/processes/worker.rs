//! The child's side: opens the fragment that it receives, processes the batches that follow, and ends with its
//! standard input, after it has ended what it started.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::WORKERS_MAX;
use super::super::pool::Pool;
use super::frames::{Frame, Hello, Order, Reply, read_frame};
use crate::batch::Batch;
use crate::clock::{monotonic, peak_rss_bytes};
use crate::error::{Error, Result};
use crate::fragment::{BatchOutcome, BoundFragment, OpenFragment, Unfinished};
use crate::procs::end_session;
use crate::stage::{Backpressure, StageKind};
use crate::stop::Stop;
use crate::threads;

/// More than sessions say that they take to end what they started: to notice, and to reap.
const LEAVE_SLACK: Duration = Duration::from_secs(1);

/// The child's side: opens what the first frame describes, processes the batches of the others, ends with stdin.
/// It knows the kinds of the registry.
pub fn work(
    registry: &[&'static StageKind],
    mut stdin: impl Read,
    stdout: impl Write + Send + 'static,
) -> Result<()> {
    // Ctrl-C goes to the foreground group: the parent decides what becomes of its children, and what they
    // start is known by their session.
    let _ = nix::unistd::setsid();
    let mut payload = Vec::new();
    let header = read_frame(&mut stdin, &mut payload).ok_or_else(broken)?;
    let hello: Hello = serde_json::from_slice(&header).map_err(|_| broken())?;
    if hello.threads > WORKERS_MAX {
        return Err(broken());
    }
    let (replies, frames) = Replies::new(stdout);
    let started = write_large(&replies, frames)
        .and_then(|writer| Ok((writer, Pool::new(hello.threads, "etl-worker".into())?)));
    let (writer, pool) = match started {
        Ok(started) => started,
        Err(error) => {
            refuse(&replies, error);
            return Ok(());
        }
    };
    let stop = Stop::default();
    let backpressure = backpressure(replies.clone());
    let received = received(registry, &mut stdin, &mut payload, &hello).map(|mut fragment| {
        fragment.backpressure = backpressure;
        fragment.stop = stop.clone();
        fragment
    });
    // What was broadcast may be large, and its text is not wanted again.
    payload = Vec::new();
    let ending = received.as_ref().ok().and_then(BoundFragment::ending);
    let jobs = Jobs {
        pool,
        replies,
        stop,
    };
    let (next, open_fragment) = jobs.open(received, &mut stdin, &mut payload);
    if let Some(open_fragment) = open_fragment {
        // Every job holds one end; the other is disconnected when all have ended.
        let (busy, idle) = mpsc::channel::<()>();
        let open_fragment = Arc::new(open_fragment);
        let close = jobs.process(&open_fragment, &busy, next, &mut stdin, &mut payload)?;
        let left = if close {
            jobs.close(open_fragment, busy);
            // The parent lets go of it when it has heard that.
            read_frame(&mut stdin, &mut payload);
            None
        } else {
            drop(busy);
            Some(open_fragment)
        };
        if left.is_some() || idle.try_recv() == Err(mpsc::TryRecvError::Empty) {
            // The parent is gone: nobody reads the results of the batches in flight.
            jobs.stop.set();
            let _ = idle.recv_timeout(ending.map_or(Duration::ZERO, |ending| ending + LEAVE_SLACK));
            // Sessions that nobody works in any more end as their kinds do when a run breaks off.
            drop(left);
            if ending.is_some() {
                end_session(nix::unistd::getpid());
            }
            std::process::exit(0);
        }
    }
    drop(jobs);
    let _ = writer.join();
    Ok(())
}

/// The threads of a worker, and what their jobs share.
struct Jobs {
    pool: Pool,
    replies: Replies,
    stop: Stop,
}

impl Jobs {
    /// The first order, and the fragment, opened while that was awaited; `None`: it could not be opened, or nobody
    /// waits for it any more.
    fn open(
        &self,
        received: Result<BoundFragment>,
        stdin: &mut impl Read,
        payload: &mut Vec<u8>,
    ) -> (Option<Vec<u8>>, Option<OpenFragment>) {
        let opened = Arc::new(AtomicBool::new(false));
        let (opening, open_fragment) = mpsc::channel();
        let (replies, done, stop) = (self.replies.clone(), opened.clone(), self.stop.clone());
        // A panic there ends the process, as one of a batch does.
        self.pool.spawn(move || {
            let _ = opening.send(open(received, &replies, &done, &stop));
        });
        // The first batch comes when the sessions are open; if standard input ends before, nobody waits for them.
        let next = read_frame(stdin, payload);
        if next.is_none() && !opened.load(Ordering::SeqCst) {
            self.stop.set();
        }
        (next, open_fragment.recv().ok().flatten())
    }

    /// Processes batches until there are no more; whether the parent asks for the end of the sessions then.
    fn process(
        &self,
        open_fragment: &Arc<OpenFragment>,
        busy: &mpsc::Sender<()>,
        mut next: Option<Vec<u8>>,
        stdin: &mut impl Read,
        payload: &mut Vec<u8>,
    ) -> Result<bool> {
        let unfinished = Arc::new(Mutex::new(HashMap::new()));
        while let Some(header) = next {
            let order = serde_json::from_slice(&header).map_err(|_| broken())?;
            if let Order::Close = order {
                return Ok(true);
            }
            let bytes = std::mem::take(payload);
            let (open_fragment, replies) = (open_fragment.clone(), self.replies.clone());
            let (busy, stop) = (busy.clone(), self.stop.clone());
            let unfinished = unfinished.clone();
            self.pool.spawn(move || {
                let reply = obey(&open_fragment, &order, &bytes, &unfinished);
                drop(open_fragment);
                drop(busy);
                // What was broken off is no result.
                if let (Some(reply), false) = (reply, stop.is_set()) {
                    replies.send(reply);
                }
            });
            next = read_frame(stdin, payload);
        }
        Ok(false)
    }

    /// Ends the sessions, and tells the parent what they counted.
    fn close(&self, open_fragment: Arc<OpenFragment>, busy: mpsc::Sender<()>) {
        let replies = self.replies.clone();
        self.pool.spawn(move || {
            let closed = closed(open_fragment);
            drop(busy);
            if let Ok(closed) = closed {
                replies.send(closed);
            }
        });
    }
}

/// Whoever speaks to this process is not the program that starts it.
fn broken() -> Error {
    Error::failed("`etl worker` is for etl's own use: it talks to the etl that started it")
}

/// Passes backpressure on to the parent.
fn backpressure(replies: Replies) -> Backpressure {
    Backpressure::new(move |row| {
        if let Ok(reply) = Frame::new(None, || Reply::Backpressure { row }) {
            replies.send(reply);
        }
    })
}

/// Says that this worker cannot begin. Another one would fail for the same reason.
fn refuse(replies: &Replies, error: Error) {
    if let Ok(reply) = Frame::new(None, || Reply::Refused { error }) {
        replies.send(reply);
    }
}

/// Ends the sessions, and says what they counted last.
fn closed(open_fragment: Arc<OpenFragment>) -> Result<Frame> {
    let (counts, error) = match Arc::try_unwrap(open_fragment).map(OpenFragment::close) {
        Ok(Ok(counts)) => (counts, None),
        Ok(Err(error)) => (Vec::new(), Some(error)),
        Err(_) => (Vec::new(), None),
    };
    Frame::new(None, || Reply::Closed {
        counts,
        error,
        peak_rss_bytes: peak_rss_bytes(),
    })
}

/// The way to the parent. A small frame is written by who has it, for to wake another would cost more; a
/// large one by a thread of its own, so that its worker goes on meanwhile.
#[derive(Clone)]
struct Replies {
    stdout: Arc<Mutex<dyn Write + Send>>,
    large: mpsc::Sender<Frame>,
}

impl Replies {
    /// Also what the thread takes that writes large ones, [`write_large`].
    fn new(stdout: impl Write + Send + 'static) -> (Self, mpsc::Receiver<Frame>) {
        let (large, frames) = mpsc::channel();
        let stdout = Arc::new(Mutex::new(stdout));
        (Replies { stdout, large }, frames)
    }

    fn send(&self, frame: Frame) {
        if frame.is_small() {
            write(&self.stdout, &frame);
        } else {
            let _ = self.large.send(frame);
        }
    }
}

/// Starts the thread that writes large frames; it ends when all that may send have gone.
fn write_large(replies: &Replies, frames: mpsc::Receiver<Frame>) -> Result<JoinHandle<()>> {
    let stdout = replies.stdout.clone();
    threads::start("etl-write", move || {
        for frame in frames {
            write(&stdout, &frame);
        }
    })
}

fn write(stdout: &Mutex<dyn Write + Send>, frame: &Frame) {
    let mut stdout = stdout.lock().expect("no one panics holding this lock");
    // Without a reader there is nobody to work for: the parent is gone, and standard input ends too.
    let _ = frame.write(&mut *stdout);
}

/// The fragment that the first frame and the broadcast frames after it describe.
fn received(
    registry: &[&'static StageKind],
    stdin: &mut impl Read,
    payload: &mut Vec<u8>,
    hello: &Hello,
) -> Result<BoundFragment> {
    let mut broadcast = Vec::new();
    for inputs in &hello.broadcast {
        let mut batches = Vec::new();
        for &sent in inputs {
            batches.push(if sent {
                read_frame(stdin, payload).ok_or_else(|| Error::failed("the parent broke off"))?;
                Some(Batch::decode(payload)?)
            } else {
                None
            });
        }
        broadcast.push(batches);
    }
    BoundFragment::of(
        registry,
        hello.bound.clone(),
        broadcast,
        hello.digest,
        hello.processes,
    )
}

/// Opens the sessions, and says so; `None`: they could not be opened.
fn open(
    received: Result<BoundFragment>,
    replies: &Replies,
    opened: &AtomicBool,
    stop: &Stop,
) -> Option<OpenFragment> {
    let (open_fragment, reply) = match received.and_then(BoundFragment::open) {
        Ok(open_fragment) => {
            let open = open_fragment.open;
            (
                Some(open_fragment),
                Frame::new(None, || Reply::Ready { open }),
            )
        }
        Err(error) => (None, Frame::new(None, || Reply::Refused { error })),
    };
    // Before the parent knows: if it has nothing to do, standard input ends at once.
    opened.store(true, Ordering::SeqCst);
    // What was broken off is no refusal.
    if !stop.is_set()
        && let Ok(reply) = reply
    {
        replies.send(reply);
    }
    open_fragment
}

/// Batches that have given a part of what they become, with the number of the next one.
type Parts = Mutex<HashMap<u64, (u64, Unfinished)>>;

/// Processes a batch, or the next part of one; `None`: there is no such batch.
fn obey(open_fragment: &OpenFragment, order: &Order, bytes: &[u8], parts: &Parts) -> Option<Frame> {
    let lock = || parts.lock().expect("no one panics holding this lock");
    let from = monotonic();
    let (number, part, copy, mut outcome) = match *order {
        Order::Run { number, task } => {
            let decoded = Batch::decode(bytes);
            let copy = monotonic().saturating_sub(from);
            let outcome = match decoded {
                Ok(batch) => open_fragment.run(batch, task),
                Err(error) => BatchOutcome::failed(error),
            };
            (number, 0, copy, outcome)
        }
        Order::GoOn { number } => {
            let (part, unfinished) = lock().remove(&number)?;
            (
                number,
                part,
                Duration::ZERO,
                open_fragment.go_on(unfinished),
            )
        }
        Order::Close => return None,
    };
    let rest = outcome.rest.take();
    let more = rest.is_some();
    if let Some(unfinished) = rest {
        lock().insert(number, (part + 1, unfinished));
    }
    Some(reply(number, (part, more), outcome, copy))
}

fn reply(number: u64, (part, more): (u64, bool), outcome: BatchOutcome, copied: Duration) -> Frame {
    let mut copy = copied;
    let BatchOutcome {
        metrics,
        batch,
        fault,
        first,
        ..
    } = outcome;
    let from = monotonic();
    let framed = Frame::new(batch.as_ref(), || {
        copy += monotonic().saturating_sub(from);
        Reply::Outcome {
            number,
            part,
            more,
            first,
            metrics,
            fault,
            copy,
        }
    });
    framed.unwrap_or_else(|error| {
        let reply = || Reply::Outcome {
            number,
            part,
            more: false,
            first,
            metrics: Vec::new(),
            fault: Some(error),
            copy: Duration::ZERO,
        };
        Frame::new(None, reply).expect("an error alone can be encoded")
    })
}
