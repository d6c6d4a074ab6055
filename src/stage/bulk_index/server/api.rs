//! Calls about an index, each tried again as long as that may help. Unlike documents these may be
//! repeated: they say what is to be, not what is to change.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::answer::{ItemAction, kind, refused, said};
use crate::error::{Error, Result};
use crate::http::{HttpResponse, Method, Nodes, Request, RetryPolicy, TransportError, Tried};

/// The longest answer beside those to bulk requests: ten thousand hits of 6 kB. As JSON in memory it takes
/// several times that.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What to do where an answer is longer than it may be.
pub(super) const ANSWER_TOO_LONG: &str = "ask for less at once: see `batch_docs`, or `--limit` of `etl search`; if so much is not to be expected, this is not the server that is meant";

/// The servers as a load talks to them beside sending documents.
pub(super) struct Api {
    pub(super) client: Nodes,
    pub(super) retry: RetryPolicy,
}

/// What was answered.
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) body: Value,
    /// Why the body is none that these servers give.
    unreadable: Option<String>,
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
    pub(super) fn well(self, doing: &str, client: &Nodes) -> Result<Value> {
        if self.is_well() {
            return match self.unreadable {
                None => Ok(self.body),
                Some(why) => Err(Error::failed(format!("cannot {doing}")).cause(why).hint(
                    format!(
                        "is `{}` a search server, and nothing between it and us answers for it?",
                        client.shown()
                    ),
                )),
            };
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
            answer_bytes_max: ANSWER_BYTES_MAX,
            too_long: ANSWER_TOO_LONG,
        };
        let mut repeated = false;
        let called = self.retry.run(
            || {
                let (words, may_be_done, retry_after) = match self.client.send(&request) {
                    Ok(answer) if is_transient(&answer) => {
                        let error = error_of(&answer.body);
                        let words = words(answer.status, error.as_ref());
                        (words, answer.status != 429, answer.retry_after)
                    }
                    Ok(answer) => return Ok(Tried::Done(answer)),
                    Err(TransportError::Final(error)) => return Err(error),
                    Err(TransportError::Unreached(words)) => (words, false, None),
                    Err(TransportError::Lost { words, .. } | TransportError::TimedOut(words)) => {
                        (words, true, None)
                    }
                };
                repeated |= may_be_done;
                Ok(Tried::Again(words, retry_after))
            },
            |_, _, wait| self.client.wait(wait),
        )?;
        let answer = called.map_err(|(words, tries)| {
            let tried = if tries == 1 {
                "once".to_owned()
            } else {
                format!("{tries} times")
            };
            Error::failed(format!(
                "`{}` cannot be used, tried {tried}",
                self.client.shown()
            ))
            .cause(words)
        })?;
        let (body, unreadable) = match serde_json::from_slice(&answer.body) {
            Ok(body) => (body, None),
            Err(_) if answer.body.is_empty() => {
                (Value::Null, Some("the answer is empty".to_owned()))
            }
            Err(error) => (
                Value::Null,
                Some(format!("the answer is not JSON: {error}")),
            ),
        };
        Ok(Said {
            status: answer.status,
            body,
            unreadable,
            repeated,
        })
    }
}

/// Whether another try may fare better.
fn is_transient(answer: &HttpResponse) -> bool {
    let error = error_of(&answer.body);
    let kind = error.as_ref().map(kind).unwrap_or_default();
    answer.status >= 400
        && matches!(
            refused(answer.status, &kind, error.as_ref()),
            ItemAction::Again | ItemAction::AgainTwice
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
pub(super) fn denied(status: u16, client: &Nodes, words: &str) -> Option<Error> {
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
                .hint(missing_right(words)),
        ),
        _ => None,
    }
}

/// What a refused user needs. Elasticsearch and `OpenSearch` name the action that was refused, in brackets;
/// Elasticsearch often its privileges too.
fn missing_right(words: &str) -> String {
    let Some(action) = refused_action(words) else {
        return "the user, or key, needs the right to".into();
    };
    let of_cluster = action.starts_with("cluster:");
    let privilege = match privilege(action) {
        Some(privilege) if of_cluster => format!("the cluster privilege `{privilege}`"),
        Some(privilege) => format!("the privilege `{privilege}` on the index"),
        None => "a privilege that holds it".to_owned(),
    };
    format!("the user, or key, needs {privilege} (the action is `{action}`)")
}

fn refused_action(words: &str) -> Option<&str> {
    let starts = ["[indices:", "[cluster:"];
    let at = starts.iter().find_map(|start| words.find(start))? + 1;
    let action = &words[at..];
    // A part of a request that is split up is called after it: `indices:data/write/bulk[s]`.
    Some(&action[..action.find([']', '['])?])
}

/// The least privilege of Elasticsearch, and action group of `OpenSearch`, that allows an action.
fn privilege(action: &str) -> Option<&'static str> {
    const PRIVILEGES: [(&str, &str); 14] = [
        ("indices:admin/create", "create_index"),
        ("indices:admin/auto_create", "create_index"),
        ("indices:admin/delete", "delete_index"),
        ("indices:admin/aliases/get", "view_index_metadata"),
        ("indices:admin/get", "view_index_metadata"),
        ("indices:admin/mappings/get", "view_index_metadata"),
        ("indices:admin/refresh", "maintenance"),
        ("indices:admin/", "manage"),
        ("indices:data/write/delete", "delete"),
        ("indices:data/write/", "write"),
        ("indices:data/read/", "read"),
        ("indices:monitor/", "monitor"),
        ("cluster:monitor/", "monitor"),
        ("cluster:admin/", "manage"),
    ];
    let known = PRIVILEGES
        .iter()
        .find(|(start, _)| action.starts_with(start));
    known.map(|(_, privilege)| *privilege)
}

/// A name as it stands in a path.
pub(super) fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_hears_which_right_is_missing() {
        let cases = [
            (
                "security_exception: action [indices:admin/create] is unauthorized for user [reader] with effective roles [reader] on indices [things], this action is granted by the index privileges [create_index,manage,all]",
                "the privilege `create_index` on the index (the action is `indices:admin/create`)",
            ),
            (
                "security_exception: action [indices:data/write/bulk[s]] is unauthorized for user [reader]",
                "the privilege `write` on the index (the action is `indices:data/write/bulk`)",
            ),
            (
                "security_exception: no permissions for [indices:admin/aliases] and User [name=reader]",
                "the privilege `manage` on the index",
            ),
            (
                "security_exception: action [cluster:monitor/nodes/info] is unauthorized",
                "the cluster privilege `monitor`",
            ),
            ("action [indices:strange] is", "a privilege that holds it"),
            ("forbidden", "the right to"),
        ];
        for (words, needed) in cases {
            let hint = missing_right(words);
            assert!(hint.contains(needed), "{words}: {hint}");
        }
    }
}
