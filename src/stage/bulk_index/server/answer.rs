//! What the answer to a bulk request says of each item, and what follows from it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::options::Op;
use crate::http::{clip, retries_on};

/// The members that are asked for: an answer with all of them is as long as the request.
pub(super) const FILTER: &str = "took,error,status,items.*.status,items.*.result,items.*._index,items.*.error,items.*.failure_store";

/// The answer to a request that was carried out.
#[derive(Debug, Deserialize)]
pub(super) struct Answer<'a> {
    /// What the server says it took, in milliseconds.
    #[serde(default)]
    pub(super) took: u64,
    /// One an item, in the order of the request.
    #[serde(borrow)]
    items: Vec<Action<'a>>,
}

/// An item is an object of one member, named after the action.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action<'a> {
    #[serde(borrow)]
    Index(Item<'a>),
    Create(Item<'a>),
    Update(Item<'a>),
    Delete(Item<'a>),
}

/// What is said of one item.
#[derive(Debug, Deserialize)]
pub(super) struct Item<'a> {
    pub(super) status: u16,
    #[serde(borrow, default)]
    result: Option<Cow<'a, str>>,
    #[serde(rename = "_index", borrow, default)]
    pub(super) index: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) error: Option<Value>,
    #[serde(borrow, default)]
    failure_store: Option<Cow<'a, str>>,
}

impl<'a> Answer<'a> {
    /// The answer to a request of `items` items; `None`: it is cut, or is something else.
    pub(super) fn parse(body: &'a [u8], items: usize) -> Option<Self> {
        let answer: Answer = serde_json::from_slice(body).ok()?;
        (answer.items.len() == items).then_some(answer)
    }

    /// One an item.
    pub(super) fn items(self) -> impl Iterator<Item = Item<'a>> {
        self.items.into_iter().map(|action| match action {
            Action::Index(item)
            | Action::Create(item)
            | Action::Update(item)
            | Action::Delete(item) => item,
        })
    }
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemAction {
    Created,
    Updated,
    /// It was there as it is.
    Unchanged,
    Deleted,
    /// There was none to delete.
    NotFound,
    /// A pipeline of the server let it fall.
    Dropped,
    /// Another document, or version, was there first.
    Conflict,
    /// It is to be sent again.
    Again,
    /// The same, but twice only: the server failed at it.
    AgainTwice,
    /// The index takes no writes for now.
    Blocked,
    /// It cannot be used.
    Refused,
    /// It failed what it was checked for before being looked at with others: the request is halved.
    Halve,
    /// No document would fare better.
    Stop,
}

impl Item<'_> {
    /// What became of it.
    pub(super) fn action(&self, op: Op, versioned: bool) -> ItemAction {
        let kind = self.error.as_ref().map(kind).unwrap_or_default();
        match self.status {
            _ if self.failure_store.as_deref() == Some("used") => ItemAction::Refused,
            200..=299 => match self.result.as_deref() {
                Some("created") => ItemAction::Created,
                Some("deleted") => ItemAction::Deleted,
                // What a pipeline drops is said to be a `noop` too.
                Some("noop") if matches!(op, Op::Update | Op::Upsert) => ItemAction::Unchanged,
                Some("noop") => ItemAction::Dropped,
                _ => ItemAction::Updated,
            },
            404 if op == Op::Delete && self.error.is_none() => ItemAction::NotFound,
            404 if kind == "document_missing_exception" => ItemAction::Refused,
            // Somebody else wrote the document between the server's reading and writing it.
            409 if matches!(op, Op::Update | Op::Upsert) && !versioned => ItemAction::Again,
            409 => ItemAction::Conflict,
            _ => refused(self.status, &kind, self.error.as_ref()),
        }
    }

    /// The error's type, reason, and what caused it.
    pub(super) fn said(&self) -> (String, String, Option<String>) {
        match &self.error {
            Some(error) => said(error),
            None if self.failure_store.is_some() => (
                "failure_store".into(),
                "the document was put into the failure store".into(),
                None,
            ),
            None => (String::new(), format!("status {}", self.status), None),
        }
    }
}

/// What follows from a status and the type of an error, of an item or a whole request.
pub(super) fn refused(status: u16, kind: &str, error: Option<&Value>) -> ItemAction {
    if kind == "cluster_block_exception" {
        return ItemAction::Blocked;
    }
    match status {
        _ if retries_on(status, true) => ItemAction::Again,
        500..=599 if is_taken_alias(error) => ItemAction::Stop,
        500..=599 => ItemAction::AgainTwice,
        400 if kind == "action_request_validation_exception" => ItemAction::Halve,
        400 if is_of_the_place(kind, error) => ItemAction::Stop,
        400 | 413 => ItemAction::Refused,
        _ => ItemAction::Stop,
    }
}

/// Whether an error of 400 is about index, alias or pipeline, and no document would fare better.
fn is_of_the_place(kind: &str, error: Option<&Value>) -> bool {
    if matches!(
        kind,
        "invalid_index_name_exception" | "index_closed_exception" | "invalid_alias_name_exception"
    ) {
        return true;
    }
    let reason = error.map(|error| said(error).1).unwrap_or_default();
    kind == "illegal_argument_exception"
        && [
            "pipeline with id",
            "no write index is defined",
            "is not a write index",
            "[require_alias]",
            "alias [",
            "Alias [",
        ]
        .iter()
        .any(|words| reason.contains(words))
}

/// Whether an alias belongs to another index: the servers answer 500 to that.
fn is_taken_alias(error: Option<&Value>) -> bool {
    error.is_some_and(|error| said(error).1.contains("more than one write index"))
}

/// The type of an error as the servers describe it.
pub(super) fn kind(error: &Value) -> String {
    clip(error["type"].as_str().unwrap_or_default()).into_owned()
}

/// An error's type, reason, and what caused it.
pub(super) fn said(error: &Value) -> (String, String, Option<String>) {
    let text = |value: &Value| value.as_str().map(|text| clip(text).into_owned());
    if let Some(text) = text(error) {
        return (String::new(), text, None);
    }
    let cause = &error["caused_by"];
    let caused_by = text(&cause["reason"]).map(|reason| match text(&cause["type"]) {
        Some(kind) => format!("{kind}: {reason}"),
        None => reason,
    });
    (
        kind(error),
        text(&error["reason"]).unwrap_or_else(|| clip(&error.to_string()).into_owned()),
        caused_by,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use Op::{Create, Delete, Index, Update};

    /// Action, status, result, and what became of the item.
    const CARRIED_OUT: &[(Op, u16, &str, ItemAction)] = &[
        (Index, 201, "created", ItemAction::Created),
        (Index, 200, "updated", ItemAction::Updated),
        (Index, 200, "noop", ItemAction::Dropped),
        (Update, 200, "noop", ItemAction::Unchanged),
        (Delete, 200, "deleted", ItemAction::Deleted),
        (Delete, 404, "not_found", ItemAction::NotFound),
    ];

    /// Action, status, type and reason of the error, and what became of the item.
    const REFUSED: &[(Op, u16, &str, &str, ItemAction)] = &[
        (
            Update,
            404,
            "document_missing_exception",
            "",
            ItemAction::Refused,
        ),
        (
            Index,
            404,
            "index_not_found_exception",
            "",
            ItemAction::Stop,
        ),
        (
            Create,
            409,
            "version_conflict_engine_exception",
            "",
            ItemAction::Conflict,
        ),
        (
            Update,
            409,
            "version_conflict_engine_exception",
            "",
            ItemAction::Again,
        ),
        (
            Index,
            429,
            "es_rejected_execution_exception",
            "",
            ItemAction::Again,
        ),
        (
            Index,
            429,
            "cluster_block_exception",
            "",
            ItemAction::Blocked,
        ),
        (
            Index,
            403,
            "cluster_block_exception",
            "",
            ItemAction::Blocked,
        ),
        (Index, 403, "security_exception", "", ItemAction::Stop),
        (
            Index,
            503,
            "unavailable_shards_exception",
            "",
            ItemAction::Again,
        ),
        (Index, 500, "io_exception", "", ItemAction::AgainTwice),
        (
            Index,
            400,
            "document_parsing_exception",
            "",
            ItemAction::Refused,
        ),
        (
            Index,
            400,
            "action_request_validation_exception",
            "",
            ItemAction::Halve,
        ),
        (
            Index,
            400,
            "illegal_argument_exception",
            "pipeline with id [x]",
            ItemAction::Stop,
        ),
        (
            Index,
            400,
            "illegal_argument_exception",
            "value too long",
            ItemAction::Refused,
        ),
    ];

    fn action(op: Op, status: u16, said: &str) -> ItemAction {
        let action = op.action();
        let text = format!("{{\"items\":[{{\"{action}\":{{\"status\":{status},{said}}}}}]}}");
        let answer = Answer::parse(text.as_bytes(), 1).expect(&text);
        let item = answer.items().next().expect("it has one");
        item.action(op, false)
    }

    #[test]
    fn what_an_item_says_decides_what_becomes_of_it() {
        for (op, status, result, expected) in CARRIED_OUT {
            let said = format!("\"result\":\"{result}\"");
            assert_eq!(action(*op, *status, &said), *expected, "{said}");
        }
        for (op, status, kind, reason, expected) in REFUSED {
            let said = format!("\"error\":{{\"type\":\"{kind}\",\"reason\":\"{reason}\"}}");
            assert_eq!(action(*op, *status, &said), *expected, "{said}");
        }
        let stored = "\"result\":\"created\",\"failure_store\":\"used\"";
        assert_eq!(action(Index, 201, stored), ItemAction::Refused);
    }

    #[test]
    fn an_answer_that_is_not_whole_is_none() {
        let whole = r#"{"took":3,"items":[{"index":{"status":201,"result":"created"}}]}"#;
        assert!(Answer::parse(whole.as_bytes(), 1).is_some());
        assert!(Answer::parse(whole.as_bytes(), 2).is_none());
        for end in 0..whole.len() {
            assert!(
                Answer::parse(&whole.as_bytes()[..end], 1).is_none(),
                "{end}"
            );
        }
        assert!(Answer::parse(b"<html>gateway</html>", 1).is_none());
    }
}
