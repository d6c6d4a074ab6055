//! Sends a request's documents until each has an outcome: only what was refused is sent again, what is too
//! large is halved, and nothing that the server has taken is sent twice.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::answer::{self, Answer, Item, ItemAction};
use super::api::{self, ANSWER_TOO_LONG};
use super::options::{OnConflict, Op};
use super::parts::{Bulk, DocumentOutcome, Outcomes, Part, Refusal, Sent, Tally, Why};
use crate::clock::monotonic;
use crate::error::{Error, Result};
use crate::http::{Method, Nodes, Request, RetryPolicy, TransportError};
use crate::schema::count;
use crate::stage::{Backpressure, WaitReason};

/// A server that failed (500) at something is asked again this often.
const FAILURES_MAX: u32 = 2;
/// A batch that is refused this often, though nothing else is in flight, is halved.
const ALONE_REFUSALS: u32 = 2;
/// One that was dispatched while others were in flight, in whatever process, is taken for alone only if it is
/// refused this often: others have been settled by then.
const LASTING_REFUSALS: u32 = 15;

/// Where requests go, and what is known of it by now: shared by the threads of a process.
pub(super) struct Wire {
    pub(super) client: Nodes,
    /// Who hears that the server has enough.
    pub(super) backpressure: Backpressure,
    pub(super) retry: RetryPolicy,
    /// Of the bulk API, with its query.
    pub(super) path: String,
    /// For messages.
    pub(super) target: String,
    /// The index behind it, where that is one.
    pub(super) index: Option<String>,
    pub(super) op: Op,
    pub(super) versioned: bool,
    pub(super) on_conflict: OnConflict,
    /// Sent again, a document would be another.
    pub(super) server_ids: bool,
    /// Larger bodies were too large.
    pub(super) bytes_max: AtomicUsize,
    pub(super) in_flight: AtomicUsize,
    /// Documents that the server has taken.
    pub(super) taken: AtomicU64,
    /// Until when nothing is sent.
    pub(super) paused_until: Mutex<Duration>,
    /// Where it is said what sending waits for.
    pub(super) wait_reason: WaitReason,
}

impl Wire {
    /// Sends all items until each has an outcome.
    pub(super) fn send_until_done(
        &self,
        bulk: &Bulk,
        tally: &mut Tally,
    ) -> Result<Vec<DocumentOutcome>> {
        let items = bulk.ends.len();
        let mut outcomes = Outcomes {
            bulk,
            known: vec![None; items],
            lost: vec![bulk.again; items],
            tally,
        };
        let all = (0..items).map(crate::columns::row_number).collect();
        let mut parts = VecDeque::from([Part {
            items: all,
            ..Part::default()
        }]);
        while let Some(part) = self.next(&mut parts)? {
            let fits = bulk.bytes(&part.items) <= self.bytes_max.load(Ordering::Relaxed);
            let sent = if fits || part.is_single() {
                self.send(part, &mut outcomes)?
            } else {
                Sent::Halve(part)
            };
            if !matches!(sent, Sent::Again(..)) {
                self.wait_reason.clear();
            }
            match sent {
                Sent::Done => {}
                Sent::Halve(part) => {
                    outcomes.tally.splits += 1;
                    parts.extend(part.halves());
                }
                Sent::Reject(part, refusal) => {
                    outcomes.set(part.items[0], DocumentOutcome::Rejected(refusal));
                }
                Sent::Again(part, why, retry_after) => {
                    self.again(part, &why, retry_after, &mut parts, &mut outcomes)?;
                }
            }
        }
        let all: Option<Vec<DocumentOutcome>> = outcomes.known.into_iter().collect();
        all.ok_or_else(|| Error::failed("a document was sent, and nothing became of it"))
    }

    /// The part whose time has come, or comes first.
    fn next(&self, parts: &mut VecDeque<Part>) -> Result<Option<Part>> {
        let times = parts
            .iter()
            .enumerate()
            .map(|(i, part)| (part.not_before, i));
        let now = monotonic();
        let ready = times.clone().find(|(time, _)| *time <= now);
        let Some((time, i)) = ready.or_else(|| times.min()) else {
            return Ok(None);
        };
        let paused = *self
            .paused_until
            .lock()
            .expect("no one panics holding this lock");
        let wait = time.max(paused).saturating_sub(now);
        self.client.wait(wait)?;
        Ok(parts.remove(i))
    }

    fn send(&self, part: Part, outcomes: &mut Outcomes) -> Result<Sent> {
        let body = outcomes.bulk.body(&part.items);
        let size = body.len();
        outcomes.tally.requests += 1;
        outcomes.tally.sent += part.items.len() as u64;
        outcomes.tally.bytes += size as u64;
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let sent = self.client.send(&Request {
            method: Method::Post,
            path: &self.path,
            body: Some(body),
            lines: true,
            timeout: None,
            answer_bytes_max: answer_bytes_max(size, part.items.len()),
            too_long: ANSWER_TOO_LONG,
        });
        let last = self.in_flight.fetch_sub(1, Ordering::SeqCst) == 1;
        let lasting = LASTING_REFUSALS.min(self.retry.retries / 2);
        let alone = last && (outcomes.bulk.alone || part.tries >= lasting);
        let answer = match sent {
            Ok(answer) => answer,
            Err(TransportError::Final(error)) => return Err(error),
            Err(TransportError::Unreached(words)) => {
                return Ok(Sent::Again(part, Why::Away(words), None));
            }
            Err(TransportError::TimedOut(words)) => {
                outcomes.lose(&part.items);
                return Ok(Sent::Again(part, Why::Late(words), None));
            }
            Err(TransportError::Lost { words, unanswered }) => {
                outcomes.lose(&part.items);
                return Ok(if unanswered {
                    self.broken(part, words, size)
                } else {
                    Sent::Again(part, Why::Broken(words), None)
                });
            }
        };
        outcomes.tally.wire += answer.wire;
        match answer.status {
            200..=299 => {
                if let Some(said) = Answer::parse(&answer.body, part.items.len()) {
                    return self.said(&part, said, outcomes, alone);
                }
                outcomes.lose(&part.items);
                let words = if answer.body.is_empty() {
                    "an empty answer"
                } else {
                    "an answer that is cut, or is none to a bulk request"
                };
                Ok(Sent::Again(
                    part,
                    Why::Broken(words.into()),
                    answer.retry_after,
                ))
            }
            413 if part.is_single() => Ok(Sent::Reject(part, too_large(size))),
            413 => {
                self.bytes_max.fetch_min(size - 1, Ordering::Relaxed);
                Ok(Sent::Halve(part))
            }
            status => self.refused(
                part,
                status,
                &answer.body,
                answer.retry_after,
                alone,
                outcomes,
            ),
        }
    }

    /// The connection broke without an answer. A body at which that happens twice may be why.
    fn broken(&self, mut part: Part, words: String, size: usize) -> Sent {
        part.breaks += 1;
        if part.breaks.is_multiple_of(2) && !part.is_single() {
            self.bytes_max.fetch_min(size - 1, Ordering::Relaxed);
            return Sent::Halve(part);
        }
        Sent::Again(part, Why::Broken(words), None)
    }

    /// The request was refused as a whole.
    fn refused(
        &self,
        part: Part,
        status: u16,
        body: &[u8],
        retry_after: Option<Duration>,
        alone: bool,
        outcomes: &mut Outcomes,
    ) -> Result<Sent> {
        let error = api::error_of(body);
        let kind = error.as_ref().map(answer::kind).unwrap_or_default();
        let words = api::words(status, error.as_ref());
        Ok(match answer::refused(status, &kind, error.as_ref()) {
            ItemAction::Again if status == 429 => {
                outcomes.tally.refused_429 += 1;
                Self::busy(part, retry_after, alone)
            }
            ItemAction::Again => {
                // A gateway may have passed it on.
                outcomes.lose(&part.items);
                Sent::Again(part, Why::Away(words), retry_after)
            }
            ItemAction::AgainTwice => {
                outcomes.lose(&part.items);
                self.failed(part, words)?
            }
            ItemAction::Blocked => Sent::Again(part, Why::Blocked(words), retry_after),
            ItemAction::Refused | ItemAction::Halve if part.is_single() => {
                let (kind, reason, caused_by) =
                    error.as_ref().map(answer::said).unwrap_or_default();
                let refusal = Refusal {
                    status,
                    kind,
                    reason,
                    caused_by,
                };
                Sent::Reject(part, refusal)
            }
            ItemAction::Refused | ItemAction::Halve => Sent::Halve(part),
            _ => return Err(self.stopped(status, &words)),
        })
    }

    /// No ceiling follows from it: a server that is busy now may take as much later.
    fn busy(part: Part, retry_after: Option<Duration>, alone: bool) -> Sent {
        if alone && part.tries >= ALONE_REFUSALS && !part.is_single() {
            return Sent::Halve(part);
        }
        Sent::Again(part, Why::Busy, retry_after)
    }

    fn failed(&self, mut part: Part, words: String) -> Result<Sent> {
        part.failures += 1;
        if part.failures > FAILURES_MAX {
            return Err(self.given_up(&Why::Failed(words)));
        }
        Ok(Sent::Again(part, Why::Failed(words), None))
    }

    /// What became of each item.
    fn said(
        &self,
        part: &Part,
        said: Answer,
        outcomes: &mut Outcomes,
        alone: bool,
    ) -> Result<Sent> {
        outcomes.tally.server_ms += said.took;
        let mut again = Part {
            items: Vec::new(),
            ..part.clone()
        };
        let mut why = None;
        let mut spoilt = Vec::new();
        let mut taken = 0;
        let mut busy = false;
        for (&i, item) in part.items.iter().zip(said.items()) {
            let action = item.action(self.op, self.versioned);
            match action {
                ItemAction::Again | ItemAction::AgainTwice | ItemAction::Blocked => {
                    busy |= item.status == 429 && action == ItemAction::Again;
                    if item.status >= 500 {
                        // It may have been written all the same.
                        outcomes.lose(&[i]);
                    }
                    let (kind, reason, _) = item.said();
                    let words = format!("{kind}: {reason}");
                    let reason = match action {
                        ItemAction::Blocked => Why::Blocked(words),
                        ItemAction::AgainTwice => Why::Failed(words),
                        _ if item.status == 429 => Why::Busy,
                        _ => Why::Away(words),
                    };
                    // The gravest decides how long to wait, and how often.
                    if why.is_none() || matches!(reason, Why::Failed(_) | Why::Blocked(_)) {
                        why = Some(reason);
                    }
                    again.items.push(i);
                }
                ItemAction::Halve => spoilt.push(i),
                ItemAction::Stop => {
                    let (kind, reason, _) = item.said();
                    return Err(self.stopped(item.status, &format!("{kind}: {reason}")));
                }
                action => {
                    taken += u64::from(action != ItemAction::Refused);
                    let outcome = self.outcome(action, &item, i, outcomes)?;
                    outcomes.set(i, outcome);
                }
            }
        }
        self.taken.fetch_add(taken, Ordering::Relaxed);
        outcomes.tally.refused_429 += u64::from(busy);
        if !spoilt.is_empty() {
            again.items.extend(spoilt);
            if again.is_single() {
                let refusal = Refusal {
                    status: 400,
                    kind: "action_request_validation_exception".into(),
                    reason: "the document's action is not valid".into(),
                    caused_by: None,
                };
                return Ok(Sent::Reject(again, refusal));
            }
            return Ok(Sent::Halve(again));
        }
        match why {
            None => Ok(Sent::Done),
            Some(Why::Busy) => Ok(Self::busy(again, None, alone && taken == 0)),
            Some(Why::Failed(words)) => self.failed(again, words),
            Some(why) => Ok(Sent::Again(again, why, None)),
        }
    }

    /// How an item ended of which the server has spoken its last word.
    fn outcome(
        &self,
        action: ItemAction,
        item: &Item,
        i: u32,
        outcomes: &mut Outcomes,
    ) -> Result<DocumentOutcome> {
        let lost = outcomes.lost[i as usize];
        let elsewhere = match (&item.index, &self.index) {
            (Some(said), Some(meant)) => said != meant,
            _ => false,
        };
        outcomes.tally.maybe_doubled +=
            u64::from(lost && self.server_ids && action == ItemAction::Created);
        let rejected = |ends_with: &str| {
            let (kind, reason, caused_by) = item.said();
            let reason = if reason.is_empty() {
                ends_with.to_owned()
            } else {
                reason
            };
            DocumentOutcome::Rejected(Refusal {
                status: item.status,
                kind,
                reason,
                caused_by,
            })
        };
        Ok(match action {
            ItemAction::Created | ItemAction::Updated if elsewhere => DocumentOutcome::Elsewhere,
            ItemAction::Created => DocumentOutcome::Created,
            ItemAction::Updated if lost && self.op != Op::Update => DocumentOutcome::Confirmed,
            ItemAction::Updated => DocumentOutcome::Updated,
            ItemAction::Unchanged => DocumentOutcome::Unchanged,
            ItemAction::Deleted => DocumentOutcome::Deleted,
            ItemAction::NotFound | ItemAction::Conflict if lost => DocumentOutcome::Confirmed,
            ItemAction::NotFound => DocumentOutcome::NotFound,
            ItemAction::Dropped => DocumentOutcome::Dropped,
            ItemAction::Conflict => match self.on_conflict {
                OnConflict::Count => DocumentOutcome::Conflict,
                OnConflict::Reject => rejected("the document is there"),
                OnConflict::Fail => {
                    let (_, reason, _) = item.said();
                    return Err(Error::failed("a document is in the index already")
                        .cause(reason)
                        .hint("`on_conflict = \"count\"` leaves it as it is, `\"reject\"` sets ours aside"));
                }
            },
            _ => rejected("the server refuses it"),
        })
    }

    /// Puts off what is to be sent again; what the server takes never, though it takes others, is
    /// rejected, and where it takes nothing the load ends here.
    fn again(
        &self,
        mut part: Part,
        why: &Why,
        retry_after: Option<Duration>,
        parts: &mut VecDeque<Part>,
        outcomes: &mut Outcomes,
    ) -> Result<()> {
        if matches!(why, Why::Busy | Why::Late(_)) {
            self.backpressure.signal(outcomes.bulk.first_row);
        }
        let taken = self.taken.load(Ordering::Relaxed);
        let (at_first, at_last) = part.taken.unwrap_or((taken, taken));
        part.taken = Some((at_first, taken));
        let of_itself = part.is_single() && matches!(why, Why::Busy | Why::Broken(_));
        if taken > at_last && !of_itself {
            part.tries = 0;
        }
        part.tries += 1;
        let Some(wait) = self.retry.wait(part.tries, retry_after) else {
            if of_itself && taken > at_first {
                let refusal = Refusal {
                    status: if *why == Why::Busy { 429 } else { 0 },
                    kind: "never_taken".into(),
                    reason: format!(
                        "{} at this document in {} tries, while it took others",
                        why.words(),
                        part.tries
                    ),
                    caused_by: None,
                };
                outcomes.set(part.items[0], DocumentOutcome::Rejected(refusal));
                return Ok(());
            }
            return Err(self.given_up(why));
        };
        let (words, tries) = (why.words(), part.tries);
        self.wait_reason.set(format!(
            "{words}; tried {}, again in {:.1} s",
            count(tries as usize, "time"),
            wait.as_secs_f64()
        ));
        part.not_before = monotonic() + wait;
        if let Why::Blocked(_) = why {
            outcomes.tally.read_only_waits += 1;
            *self
                .paused_until
                .lock()
                .expect("no one panics holding this lock") = part.not_before;
        }
        parts.push_back(part);
        Ok(())
    }

    fn given_up(&self, why: &Why) -> Error {
        let error = Error::failed(format!(
            "gave up after {} tries in a row without `{}` taking anything",
            self.retry.retries, self.target
        ))
        .cause(why.words());
        match why {
            Why::Blocked(_) => error.hint(format!(
                "`{}` is read-only: a disk is over the flood stage, or somebody set a block",
                self.target
            )),
            Why::Busy => error.hint("more `retries`, or fewer `workers`, give it more time"),
            _ => error.hint(format!("the server is `{}`", self.client.shown())),
        }
    }

    fn stopped(&self, status: u16, words: &str) -> Error {
        let error = api::denied(status, &self.client, words).unwrap_or_else(|| {
            Error::failed(format!("`{}` takes no documents ({status})", self.target)).cause(words)
        });
        if status == 404 {
            return error
                .hint("it was there when the load began: somebody deleted it, and the documents that it had taken are lost with it")
                .beyond_resume();
        }
        error
    }
}

/// The longest answer to a bulk request: some hundred bytes an item, and an error may repeat what was sent
/// (in JSON within JSON, which takes more).
fn answer_bytes_max(body: usize, items: usize) -> usize {
    (1 << 20) + 4 * body + 4096 * items
}

fn too_large(size: usize) -> Refusal {
    Refusal {
        status: 413,
        kind: "too_large".into(),
        reason: format!(
            "the document alone makes a request of {size} bytes, which is over the server's limit"
        ),
        caused_by: None,
    }
}
