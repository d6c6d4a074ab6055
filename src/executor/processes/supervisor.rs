//! Supervises a child: starts it, sends it what to open and then batches, reads its replies, and replaces it if
//! it dies.

use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ChildStdout;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Opening;
use super::children::{exit_description, stderr_tail};
use super::dispatch::{DispatchTable, Next, RESENDS_MAX};
use super::frames::{Reply, read_frame};
use super::in_child::InChild;
use crate::batch::Batch;
use crate::clock::monotonic;
use crate::error::{Error, Result};
use crate::fragment::{BatchOutcome, add_closed};
use crate::threads;

/// Why a child is no more.
enum Died {
    /// It, or the system, said what is wrong: another would say the same.
    Refused(Error),
    /// It was killed or broke down; the words say how.
    Lost(String),
    /// The run has ended without it: another stage failed, whose readers have yet to notice.
    WithTheRun,
}

/// The error that ends the run if a supervising thread panics: the batches of its child are lost.
fn panicked() -> Error {
    Error::failed("a thread that talks to a worker process panicked").hint("this is a bug in etl")
}

impl DispatchTable {
    /// Keeps one child at work until the stream has ended; replaces it if it dies.
    pub(super) fn supervise_child(self: &Arc<Self>, opening: &Opening) {
        let mut failed_starts = 0;
        loop {
            let in_child = Arc::new(InChild::default());
            let ran = catch_unwind(AssertUnwindSafe(|| self.run_child(opening, &in_child)));
            match ran.unwrap_or_else(|_| Err(Died::Refused(panicked()))) {
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
                    let born = in_child.has_opened();
                    failed_starts = if born { 0 } else { failed_starts + 1 };
                    if failed_starts > RESENDS_MAX {
                        let error = Error::failed(format!(
                            "a worker process {words}, before it could begin"
                        ));
                        return self.give_up(&in_child, &error.stage(&self.name));
                    }
                    self.lost_child(&in_child, Some(words));
                }
            }
            let state = self.lock();
            if let Some(error) = state.fatal.clone() {
                // No other child processes the batches of this one.
                drop(state);
                return self.fail(&error);
            }
            if state.ended || self.window.is_closed() {
                return;
            }
        }
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
            .map(|stderr| threads::start("etl-words", move || stderr_tail(stderr)))
            .transpose();
        let writer = {
            let (table, opening, in_child) = (self.clone(), opening.clone(), in_child.clone());
            threads::start("etl-write", move || table.write_jobs(&opening, &in_child))
        };
        let heard = match (&words, &writer, stdout) {
            (Err(error), ..) | (_, Err(error), _) => Err(error.clone()),
            (.., Some(stdout)) => self.read_replies(stdout, in_child, from),
            (.., None) => Ok(false),
        };
        // A child that went silent without a last frame is dead or must be: only then is it killed.
        if !matches!(heard, Ok(true)) {
            let _ = child.kill();
        }
        *in_child.lock_stdin() = None;
        in_child.gone.store(true, Ordering::SeqCst);
        if in_child.has_opened() {
            self.window.loses(self.threads);
        }
        let mut state = self.lock();
        self.wake_all(&state);
        state.children.retain(|child| !Arc::ptr_eq(child, in_child));
        drop(state);
        let id = child.id();
        let (status, with_the_run) = self.workers.reap(child, self.ending);
        let words = words.ok().flatten();
        let said = words
            .and_then(|words| words.join().ok())
            .unwrap_or_default();
        if let Ok(writer) = writer {
            let _ = writer.join();
        }
        match heard {
            Ok(true) => Ok(!self.lock().ended && !self.window.is_closed()),
            Ok(false) if self.window.is_closed() => Ok(false),
            Ok(false) if with_the_run => Err(Died::WithTheRun),
            Ok(false) => Err(Died::Lost(exit_description(id, status.ok(), &said))),
            Err(error) => Err(Died::Refused(error)),
        }
    }

    /// Feeds the child, and tells it to close after the last batch.
    fn write_jobs(&self, opening: &Opening, in_child: &InChild) {
        // An error in writing means that the child is gone: the reader notices.
        let mut written = opening.iter().all(|frame| in_child.write(frame));
        while written {
            written = match self.next(in_child) {
                Next::Batch(waiting) => self.give(waiting, in_child),
                Next::Part(number) => in_child.make_part(number),
                // Standard input stays open until the child has closed: if its parent dies meanwhile, it is to
                // hear of that.
                Next::Close if in_child.close() => return,
                Next::Close | Next::Nothing => false,
            };
        }
        *in_child.lock_stdin() = None;
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
                    self.window.gains(self.threads);
                    self.lock().ready = true;
                    self.opened.notify_all();
                    in_child.more.notify_one();
                }
                Reply::Refused { error } => return Err(error),
                Reply::Backpressure { row } => self.window.on_backpressure(row),
                Reply::Outcome {
                    number,
                    part,
                    more,
                    first,
                    metrics,
                    fault,
                    copy,
                } => {
                    let rows = (!payload.is_empty())
                        .then(|| self.timed_copy(|| Batch::decode(&payload)))
                        .transpose();
                    let outcome = match rows {
                        Ok(batch) => BatchOutcome {
                            metrics,
                            batch,
                            fault,
                            first,
                            rest: None,
                        },
                        Err(error) => BatchOutcome::failed(error),
                    };
                    self.costs
                        .lock()
                        .expect("no one panics holding this lock")
                        .copy += copy;
                    if more && outcome.fault.is_none() {
                        if Self::take_part(number, part, in_child) {
                            self.window.fill_part(number, outcome);
                        }
                        self.go_on(number, in_child);
                        continue;
                    }
                    // First: after a fault the child gets nothing more.
                    self.window.fill_from(number, outcome, Some(&payload));
                    self.take_back(number, in_child);
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
