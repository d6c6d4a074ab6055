//! Calls about an index, each tried again as long as that may help. Unlike documents these may be
//! repeated: they say what is to be, not what is to change.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::answer::{Fate, kind, refused, said};
use crate::error::{Error, Result};
use crate::http::{Answer, Backoff, Client, Method, Request, Trouble};

/// The servers as a load talks to them beside sending documents.
pub(super) struct Api {
    pub(super) client: Client,
    pub(super) backoff: Backoff,
}

/// What was answered.
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) body: Value,
    /// An earlier try of the same call may have been carried out.
    pub(super) repeated: bool,
}

impl Said {
    /// It went well.
    pub(super) fn is_well(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The error's type.
    pub(super) fn kind(&self) -> String {
        kind(&self.body["error"])
    }

    /// The answer's body, or an error about what was `doing`.
    pub(super) fn well(self, doing: &str, client: &Client) -> Result<Value> {
        if self.is_well() {
            return Ok(self.body);
        }
        let words = words(self.status, error_in(&self.body));
        Err(denied(self.status, client, &words)
            .unwrap_or_else(|| Error::failed(format!("cannot {doing}")).cause(words)))
    }
}

impl Api {
    /// One call, tried again while the server is busy, away, or says nothing.
    pub(super) fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Said> {
        self.call_within(method, path, body, None)
    }

    /// The same with a longest wait of its own for an answer.
    pub(super) fn call_within(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        timeout: Option<Duration>,
    ) -> Result<Said> {
        let request = Request {
            method,
            path,
            body: body.map(|body| Bytes::from(body.to_string())),
            lines: false,
            timeout,
        };
        let mut repeated = false;
        let mut tries = 0;
        loop {
            let (words, retry_after) = match self.client.send(&request) {
                Ok(answer) if is_transient(&answer) => {
                    repeated |= answer.status != 429;
                    let error = error_of(&answer.body);
                    (words(answer.status, error.as_ref()), answer.retry_after)
                }
                Ok(answer) => {
                    return Ok(Said {
                        status: answer.status,
                        body: serde_json::from_slice(&answer.body).unwrap_or_default(),
                        repeated,
                    });
                }
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Unreached(words)) => (words, None),
                Err(Trouble::Lost { words, .. } | Trouble::TimedOut(words)) => {
                    repeated = true;
                    (words, None)
                }
            };
            tries += 1;
            match self.backoff.wait(tries, retry_after) {
                Some(wait) => self.client.wait(wait)?,
                None => {
                    return Err(Error::failed(format!(
                        "`{}` cannot be used, tried {tries} times",
                        self.client.shown()
                    ))
                    .cause(words));
                }
            }
        }
    }
}

/// Whether another try may fare better.
fn is_transient(answer: &Answer) -> bool {
    let error = error_of(&answer.body);
    let kind = error.as_ref().map(kind).unwrap_or_default();
    answer.status >= 400
        && matches!(
            refused(answer.status, &kind, error.as_ref()),
            Fate::Again | Fate::AgainTwice
        )
}

/// The error in an answer's body.
pub(super) fn error_of(body: &[u8]) -> Option<Value> {
    let body: Value = serde_json::from_slice(body).ok()?;
    error_in(&body).cloned()
}

fn error_in(body: &Value) -> Option<&Value> {
    body.get("error").filter(|error| !error.is_null())
}

/// A refused request in words.
pub(super) fn words(status: u16, error: Option<&Value>) -> String {
    match error.map(said) {
        Some((kind, reason, caused_by)) => {
            let cause = caused_by
                .map(|cause| format!(" ({cause})"))
                .unwrap_or_default();
            match kind.as_str() {
                "" => format!("{status} {reason}{cause}"),
                kind => format!("{status} {kind}: {reason}{cause}"),
            }
        }
        None => format!("the server answers {status}"),
    }
}

/// The error of one whom the server does not let in, or does not let do this.
pub(super) fn denied(status: u16, client: &Client, words: &str) -> Option<Error> {
    let server = client.shown();
    match status {
        401 => Some(
            Error::failed(format!("`{server}` does not know us (401)"))
                .cause(words)
                .hint("see `username` and `password`, `api_key` or `bearer_token`"),
        ),
        403 => Some(
            Error::failed(format!("`{server}` does not let us do this (403)"))
                .cause(words)
                .hint("the user, or key, needs the right to"),
        ),
        _ => None,
    }
}

/// A name as it stands in a path.
pub(super) fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}
