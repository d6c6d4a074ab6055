//! Sends a request until it is answered or has failed: tries, waits, redirects. What may be repeated is tried again
//! as long as that may help, and no server is asked while it wants to be left alone.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, RwLock};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::monotonic;
use crate::error::{Class, Error, Result};
use crate::http::{
    HttpClient, HttpRequest, HttpResponse, RetryPolicy, TransportError, Tried, Url, header_map,
    retries_on, shown, status_words,
};
use crate::schema::count;
use crate::secrets::Secrets;
use crate::stage::{Job, WaitReason};

/// Redirects of one request: more are a loop, or as good as one.
const REDIRECTS_MAX: u32 = 5;
/// The error of a refused request quotes so many characters of the body.
const SAID_CHARS_MAX: usize = 200;

/// Sends the requests of one process.
pub(super) struct Sender {
    pub(super) http_client: HttpClient,
    /// The longest body of an answer, inflated.
    pub(super) body_bytes_max: usize,
    pub(super) retry: RetryPolicy,
    /// A server that wants to be left alone for longer is not waited for.
    pub(super) retry_after_max: Duration,
    /// The minimum time between two requests beyond one per batch.
    pub(super) every: Duration,
    pub(super) next: Mutex<Duration>,
    /// Until when a server wants to be left alone.
    pub(super) holds: Mutex<HashMap<String, Duration>>,
    /// What no message may hold.
    pub(super) secrets: RwLock<Secrets>,
    /// Why it waits, if it does.
    pub(super) wait_reason: WaitReason,
}

/// A request, all of it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) url: Url,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Bytes>,
    /// Whether it may be sent again when nobody knows what became of it.
    pub(super) repeatable: bool,
    /// Whether it comes on top of the one per batch.
    pub(super) extra: bool,
    /// A courtesy: what each of two tries may take.
    pub(super) time: Option<Duration>,
}

/// Tries of what is a courtesy.
const COURTESY_TRIES: u32 = 2;

/// What asking took.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) retries: u64,
    pub(super) redirects: u64,
    pub(super) pages: u64,
    pub(super) splits: u64,
    pub(super) renewals: u64,
    /// The first request, for the run's log: what follows is added to it.
    pub(super) job: Option<Job>,
}

/// Why there is no answer, for good.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) status: Option<u16>,
    /// Whether it may lie with one item of several.
    pub(super) splits: bool,
}

impl Failure {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Failure {
            reason: reason.into(),
            status: None,
            splits: false,
        }
    }
}

/// An answer, or why there is none.
type Sent = Result<HttpResponse, Failure>;

/// Where a request is on its way.
struct At {
    url: Url,
    hops: u32,
    /// Whether the next try comes on top of the one request per batch.
    extra: bool,
}

/// What one try came to.
enum Try {
    Answered(HttpResponse),
    Elsewhere(Url),
    Again(Failure, Option<Duration>),
    Failed(Failure),
}

impl Sender {
    /// The answer, or why there is none. An error ends the run.
    pub(super) fn send_until_done(
        &self,
        request: &Request,
        tally: &mut Tally,
    ) -> Result<Result<HttpResponse, Failure>> {
        // A courtesy is tried twice at most.
        let retry = match request.time {
            Some(_) => self.retry.at_most(COURTESY_TRIES - 1),
            None => self.retry,
        };
        let mut at = At {
            url: request.url.clone(),
            hops: 0,
            extra: request.extra,
        };
        let mut is_first = true;
        let sent = retry.run(
            || {
                tally.retries += u64::from(!std::mem::take(&mut is_first));
                self.follow(request, &mut at, tally)
            },
            |failure, tries, wait| {
                self.wait_reason.set(self.clean(&format!(
                    "{}; tried {}, again in {:.1} s",
                    failure.reason,
                    count(tries as usize, "time"),
                    wait.as_secs_f64()
                )));
                self.http_client.wait(wait)
            },
        )?;
        Ok(match sent {
            Ok(done) => done,
            Err((failure, 1)) => Err(failure),
            Err((failure, tries)) => {
                let reason = format!("{}, tried {tries} times", failure.reason);
                Err(Failure { reason, ..failure })
            }
        })
    }

    /// One try, and the redirects that it meets.
    fn follow(
        &self,
        request: &Request,
        at: &mut At,
        tally: &mut Tally,
    ) -> Result<Tried<Sent, Failure>> {
        loop {
            self.wait_until_wanted(&at.url)?;
            if std::mem::replace(&mut at.extra, true) {
                self.wait_for_turn()?;
            }
            tally.requests += 1;
            let (failure, retry_after) = match self.once(&at.url, request)? {
                Try::Answered(response) => {
                    self.wait_reason.clear();
                    return Ok(Tried::Done(Ok(response)));
                }
                Try::Elsewhere(to) => {
                    at.hops += 1;
                    tally.redirects += 1;
                    if at.hops > REDIRECTS_MAX {
                        return Ok(Tried::Done(Err(Failure::new(format!(
                            "more than {REDIRECTS_MAX} redirects, the last to `{}`",
                            shown(&to)
                        )))));
                    }
                    at.url = to;
                    continue;
                }
                Try::Failed(failure) => return Ok(Tried::Done(Err(failure))),
                Try::Again(failure, retry_after) => (failure, retry_after),
            };
            if let Some(asked) = retry_after {
                if asked > self.retry_after_max {
                    let reason = format!(
                        "{}; the server wants to be left alone for {} s, more than `retry_after_max_s`",
                        failure.reason,
                        asked.as_secs()
                    );
                    return Ok(Tried::Done(Err(Failure { reason, ..failure })));
                }
                // All requests to it wait, not this one alone.
                self.hold(&at.url, asked);
            }
            return Ok(Tried::Again(failure, None));
        }
    }

    fn once(&self, url: &Url, request: &Request) -> Result<Try> {
        let again = |words: String, surely_not_done: bool| {
            if surely_not_done || request.repeatable {
                // One item of several may be what breaks the server, but not what keeps it from being reached.
                let splits = !surely_not_done;
                let failure = Failure::new(words);
                Try::Again(Failure { splits, ..failure }, None)
            } else {
                Try::Failed(Failure::new(format!(
                    "{words}; it may have been carried out, and is not sent again"
                )))
            }
        };
        Ok(match self.try_once(&self.http_client, url, request) {
            Ok(response) => self.read(response, url, request),
            Err(TransportError::Unreached(words)) => again(words, true),
            Err(TransportError::Lost { words, .. } | TransportError::TimedOut(words)) => {
                again(words, false)
            }
            Err(TransportError::Final(error)) if matches!(error.class, Class::Interrupted(_)) => {
                return Err(error);
            }
            Err(TransportError::Final(error)) => {
                let words = std::iter::once(error.message).chain(error.causes);
                let hint = error.hint.map(|hint| format!(" ({hint})"));
                let words = words.collect::<Vec<_>>().join(": ");
                Try::Failed(Failure::new(words + &hint.unwrap_or_default()))
            }
        })
    }

    fn try_once(
        &self,
        http_client: &HttpClient,
        url: &Url,
        request: &Request,
    ) -> Result<HttpResponse, TransportError> {
        http_client.send(HttpRequest {
            method: request.method.parse().expect("it is one of HTTP's"),
            url,
            headers: header_map(&request.headers).map_err(TransportError::Final)?,
            body: request.body.clone(),
            timeout: request.time,
            body_bytes_max: self.body_bytes_max,
            too_long: &too_long,
        })
    }

    /// One try of a last request, which a stopped run does not hold up; it takes `time` at most.
    pub(super) fn goodbye(&self, request: &Request, time: Duration) {
        let request = Request {
            time: Some(time),
            ..request.clone()
        };
        if let Ok(http_client) = self.http_client.for_goodbye(time) {
            let _ = self.try_once(&http_client, &request.url, &request);
        }
    }

    /// What an answer's status says.
    fn read(&self, response: HttpResponse, url: &Url, request: &Request) -> Try {
        let status = response.status;
        if (200..300).contains(&status) {
            return Try::Answered(response);
        }
        if let (301 | 302 | 303 | 307 | 308, Some(location)) = (status, &response.location) {
            return redirect(url, request.method, status, location);
        }
        let failure = Failure {
            reason: self.clean(&refused(&response)),
            status: Some(status),
            splits: !(matches!(status, 401 | 403 | 407) || retries_on(status, true)),
        };
        if retries_on(status, request.repeatable) {
            Try::Again(failure, response.retry_after)
        } else {
            Try::Failed(failure)
        }
    }

    /// A text without secrets.
    pub(super) fn clean(&self, text: &str) -> String {
        let secrets = self
            .secrets
            .read()
            .expect("no one panics holding this lock");
        secrets.clean(text)
    }

    /// One more secret.
    pub(super) fn keep_secret(&self, secret: &str) {
        let secrets = self.secrets.write();
        secrets
            .expect("no one panics holding this lock")
            .add(secret);
    }

    fn holds(&self) -> MutexGuard<'_, HashMap<String, Duration>> {
        self.holds.lock().expect("no one panics holding this lock")
    }

    /// Leaves a server alone.
    fn hold(&self, url: &Url, time: Duration) {
        let until = monotonic() + time;
        let mut holds = self.holds();
        let held = holds.entry(url.authority().to_owned()).or_default();
        *held = until.max(*held);
    }

    /// Waits until the server may be asked.
    fn wait_until_wanted(&self, url: &Url) -> Result<()> {
        loop {
            let until = self
                .holds()
                .get(url.authority())
                .copied()
                .unwrap_or_default();
            let left = until.saturating_sub(monotonic());
            if left.is_zero() {
                return Ok(());
            }
            self.http_client.wait(left)?;
        }
    }

    /// Waits for the turn of a request beyond one per batch.
    fn wait_for_turn(&self) -> Result<()> {
        if self.every.is_zero() {
            return Ok(());
        }
        let now = monotonic();
        let mut next = self.next.lock().expect("no one panics holding this lock");
        let at = now.max(*next);
        *next = at + self.every;
        drop(next);
        self.http_client.wait(at.saturating_sub(now))
    }
}

/// A redirect is followed within the server that was asked, by requests that change nothing.
fn redirect(url: &Url, method: &str, status: u16, location: &str) -> Try {
    let to = match url.join(location) {
        Ok(to) => to,
        Err(error) => {
            return Try::Failed(Failure::new(format!(
                "{status} redirects to what is no URL: {error}"
            )));
        }
    };
    let to_shown = shown(&to);
    if to.origin() != url.origin() {
        return Try::Failed(Failure::new(format!(
            "{status} redirects to another server, `{to_shown}`"
        )));
    }
    if !matches!(method, "GET" | "HEAD") {
        return Try::Failed(Failure::new(format!(
            "{status} redirects a {method} to `{to_shown}`: only GET and HEAD follow"
        )));
    }
    Try::Elsewhere(to)
}

/// The error of an answer that is too long.
fn too_long(max: usize) -> Error {
    Error::failed(format!(
        "the answer is longer than `max_response_bytes` ({max})"
    ))
}

/// A refusal in words: the status, and how the server explains it.
fn refused(response: &HttpResponse) -> String {
    let said = String::from_utf8_lossy(&response.body);
    let said: Vec<&str> = said.split_whitespace().collect();
    let said: String = said.join(" ").chars().take(SAID_CHARS_MAX).collect();
    let words = format!("{} {}", response.status, status_words(response.status));
    match said.as_str() {
        "" => words.trim_end().to_owned(),
        said => format!("{}: {said}", words.trim_end()),
    }
}
