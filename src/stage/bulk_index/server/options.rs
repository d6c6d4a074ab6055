//! The options that only servers have.

use serde::Deserialize;

use super::super::{Least, Mode};
use crate::error::{Error, Result};
use crate::http::RetryPolicy;
use crate::stage::OnError;

/// Servers take names of 255 bytes, and the load's id is to be added to it.
const INDEX_BYTES_MAX: usize = 200;

/// As they stand in the pipeline file.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub(in super::super) struct Options {
    /// the index's name on a server, with `replace` an alias; the embedded index is its folder
    index: Option<String>,
    /// documents a request; without effect on the embedded index
    #[schemars(extend("x-execution" = true))]
    pub(super) batch_docs: usize,
    /// bytes of a request's body, before compression
    #[schemars(extend("x-execution" = true))]
    pub(super) batch_bytes: usize,
    /// what is done with each document; all but `index` are for servers
    pub(in super::super) op: Op,
    /// what decides the document's shard
    #[schemars(extend("x-type" = "column"))]
    pub(super) routing: Option<String>,
    /// the server's ingest pipeline
    #[schemars(extend("x-default" = "the index's"))]
    pub(super) pipeline: Option<String>,
    /// an integer; a document with a higher one stays as it is
    #[schemars(extend("x-type" = "column"))]
    pub(super) version: Option<String>,
    /// whether an equal `version` stays too
    pub(super) version_type: VersionType,
    /// without `id`: the server makes ids, so that what is sent again may be doubled
    pub(super) server_ids: bool,
    /// of an index that is made
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub(super) settings: Option<toml::Table>,
    /// a document that is there (`create`), or has a higher `version`
    pub(super) on_conflict: OnConflict,
    /// a document that the server refuses
    #[serde(deserialize_with = "OnError::reject_or_fail")]
    #[schemars(extend("enum" = OnError::REJECT_OR_FAIL))]
    pub(super) on_error: OnError,
    /// more rejects than this fail the stage, and nothing is published; -1: no limit
    #[schemars(extend("x-execution" = true))]
    pub(super) max_rejects: i64,
    /// tries again without the server taking anything, then the run fails and can be resumed
    #[schemars(extend("x-execution" = true))]
    retries: u32,
    /// wait before the first of them; each further one doubles it
    #[schemars(extend("x-execution" = true))]
    retry_delay_ms: u64,
    /// the longest wait
    #[schemars(extend("x-execution" = true))]
    retry_delay_ms_max: u64,
    /// with `replace`: an index named like the alias is deleted when the new one is published
    pub(super) replace_index: bool,
    /// with `replace`: how many replaced indices are kept for `etl rollback`
    pub(in super::super) keep: usize,
    /// with `replace`: the longest wait for replicas before the new index is published
    #[schemars(extend("x-execution" = true))]
    pub(super) wait_for_replicas_s: u64,
    /// Decoded by both kinds of index.
    #[serde(skip)]
    pub(in super::super) least: Least,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            index: None,
            batch_docs: 500,
            batch_bytes: 5 << 20,
            op: Op::default(),
            routing: None,
            pipeline: None,
            version: None,
            version_type: VersionType::default(),
            server_ids: false,
            settings: None,
            on_conflict: OnConflict::default(),
            on_error: OnError::default(),
            max_rejects: -1,
            retries: 30,
            retry_delay_ms: 100,
            retry_delay_ms_max: 30_000,
            replace_index: false,
            keep: 1,
            wait_for_replicas_s: 60,
            least: Least::default(),
        }
    }
}

/// What is done with each document.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum Op {
    #[default]
    Index,
    Create,
    Update,
    Upsert,
    Delete,
}

impl Op {
    /// The word of the pipeline file.
    pub(in super::super) fn as_str(self) -> &'static str {
        match self {
            Op::Index => "index",
            Op::Create => "create",
            Op::Update => "update",
            Op::Upsert => "upsert",
            Op::Delete => "delete",
        }
    }

    /// The word of the bulk API.
    pub(super) fn action(self) -> &'static str {
        match self {
            Op::Upsert => "update",
            op => op.as_str(),
        }
    }
}

/// Which version wins.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(super) enum VersionType {
    #[default]
    External,
    ExternalGte,
}

impl VersionType {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            VersionType::External => "external",
            VersionType::ExternalGte => "external_gte",
        }
    }
}

/// What a document is that is there already, or has a higher version.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnConflict {
    #[default]
    Count,
    Reject,
    Fail,
}

impl Options {
    /// Checks sizes, which are wrong wherever the index is.
    pub(in super::super) fn check_sizes(&self) -> Result<()> {
        let sizes = [
            ("batch_docs", self.batch_docs),
            ("batch_bytes", self.batch_bytes),
        ];
        match sizes.iter().find(|(_, size)| *size == 0) {
            Some((name, _)) => Err(Error::usage(format!(
                "`{name}` is 0; a request holds at least one document"
            ))
            .of([*name])),
            None => Ok(()),
        }
    }

    /// Checks what the file alone shows; the index's name.
    pub(super) fn check(&self, id: &[String], mode: Mode) -> Result<String> {
        self.check_sizes()?;
        let op = self.op;
        let word = op.as_str();
        let wrong = |message: String, keys: [&str; 2]| {
            Err(Error::usage(message).of([keys[0]]).of([keys[1]]))
        };
        let of_what_is_there = matches!(op, Op::Update | Op::Upsert | Op::Delete);
        if of_what_is_there && id.is_empty() {
            return wrong(format!("`op = \"{word}\"` needs `id`"), ["op", "id"]);
        }
        if of_what_is_there && mode == Mode::Replace {
            return wrong(
                format!(
                    "`op = \"{word}\"` is for documents that are there, and `load = \"replace\"` makes a new index"
                ),
                ["op", "load"],
            );
        }
        if self.version.is_some() && !matches!(op, Op::Index | Op::Delete) {
            return wrong(
                format!("`version` does not go with `op = \"{word}\"`"),
                ["version", "op"],
            );
        }
        if self.version.is_some() && id.is_empty() {
            return wrong("`version` needs `id`".into(), ["version", "id"]);
        }
        if self.server_ids && !id.is_empty() {
            return wrong(
                "`id` and `server_ids` exclude each other".into(),
                ["id", "server_ids"],
            );
        }
        if self.retry_delay_ms > self.retry_delay_ms_max {
            let message = "`retry_delay_ms` is more than `retry_delay_ms_max`";
            return wrong(message.into(), ["retry_delay_ms", "retry_delay_ms_max"]);
        }
        let Some(index) = &self.index else {
            return Err(Error::usage("missing key `index`")
                .hint("it is the index's name on the server")
                .of(["index"]));
        };
        check_name(index)?;
        Ok(index.clone())
    }

    /// The waits between tries.
    pub(super) fn retry(&self) -> RetryPolicy {
        RetryPolicy::of_ms(self.retries, self.retry_delay_ms, self.retry_delay_ms_max)
    }
}

/// What Elasticsearch says of names of indices.
fn check_name(index: &str) -> Result<()> {
    let taken = |c: &char| "\\/*?\"<>| ,#:".contains(*c) || c.is_control();
    let why = if index.is_empty() || index == "." || index == ".." {
        "it says nothing".to_owned()
    } else if index.len() > INDEX_BYTES_MAX {
        format!("it is longer than {INDEX_BYTES_MAX} bytes")
    } else if index.chars().any(char::is_uppercase) {
        "it has an upper-case letter".into()
    } else if index.starts_with(['-', '_', '+']) {
        "it begins with `-`, `_` or `+`".into()
    } else if let Some(c) = index.chars().find(taken) {
        format!("it has a `{}`", c.escape_default())
    } else {
        return Ok(());
    };
    Err(Error::usage(format!(
        "`index`: `{index}` cannot be an index's name: {why}"
    ))
    .of(["index"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_told_before_anything_is_sent() {
        let id = vec!["id".to_owned()];
        let cases: &[(&str, &[String], Mode, &str)] = &[
            ("", &[], Mode::Append, "missing key `index`"),
            ("index = 'A'", &[], Mode::Append, "upper-case"),
            ("index = '_a'", &[], Mode::Append, "begins with"),
            ("index = 'a b'", &[], Mode::Append, "it has a ` `"),
            ("index = '..'", &[], Mode::Append, "says nothing"),
            (
                "index = 'a'\nop = 'update'",
                &[],
                Mode::Append,
                "needs `id`",
            ),
            (
                "index = 'a'\nop = 'delete'",
                &id,
                Mode::Replace,
                "makes a new index",
            ),
            (
                "index = 'a'\nop = 'create'\nversion = 'v'",
                &id,
                Mode::Append,
                "does not go with",
            ),
            (
                "index = 'a'\nversion = 'v'",
                &[],
                Mode::Append,
                "`version` needs `id`",
            ),
            (
                "index = 'a'\nserver_ids = true",
                &id,
                Mode::Append,
                "exclude each other",
            ),
            (
                "index = 'a'\nbatch_docs = 0",
                &[],
                Mode::Append,
                "`batch_docs` is 0",
            ),
            (
                "index = 'a'\nbatch_bytes = 0",
                &[],
                Mode::Append,
                "`batch_bytes` is 0",
            ),
            (
                "index = 'a'\nretry_delay_ms = 9\nretry_delay_ms_max = 8",
                &[],
                Mode::Append,
                "is more than",
            ),
        ];
        for (text, id, mode, words) in cases {
            let options: Options = toml::from_str(text).expect("the test's own options");
            let error = options.check(id, *mode).expect_err(text);
            assert!(error.message.contains(words), "{text}: {error}");
            assert_eq!(error.exit_code(), 2, "{text}");
        }
        let good: Options = toml::from_str("index = 'a.b-1'\nop = 'upsert'").expect("as above");
        assert_eq!(good.check(&id, Mode::Append).expect("it is right"), "a.b-1");
    }
}
