//! What a `fetch` stage may say.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::template::{Body, Template};
use super::{Fetch, Method, Question, origin, parse_url, session};
use crate::error::{Error, OfValue, Result};
use crate::format::json::raw::Pointer;
use crate::http::{RetryPolicy, header_fits};
use crate::secrets::{Secrets, is_secret};
use crate::stage::answers::{self, Answers, Format};
use crate::stage::placeholders::Part;
use crate::stage::{self, StageKind, connection};

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "fetch",
    summary: "asks a server about each row or batch of rows, or for all rows, over HTTP",
    inputs: &[0, 1],
    sink: false,
    takes_batch_rows: false,
    batch_option: Some("batch"),
    sessions_option: Some("max_sessions"),
    rejects_option: Some("max_failed"),
    lines: super::lines,
    options: crate::stage::stage_options!(Options, answers::Options, connection::Options; without "compress"),
    example: r#"[[stage]]
name = "prices"
kind = "fetch"
inputs = ["instruments"]
url = "https://data.example.com/prices?rics={ric,}"
batch = 50
records = "/data"
key = { ric = "/instrument" }
columns = { bid = "/fields/BID", ask = "/fields/ASK" }
types = { bid = "float", ask = "float" }
executor = "threads"
workers = 16
"#,
    decode: |table| Ok(Box::new(decode(table)?)),
    ..StageKind::BASE
};

/// The options of `fetch` alone.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub(super) struct Options {
    /// where; `{column}` is an item's value, `{column,}` those of a batch joined by `,`
    #[schemars(extend("x-type" = "text with placeholders", "x-required" = true))]
    url: String,
    /// how
    method: Method,
    /// beside those of every request
    #[schemars(extend("x-type" = "table name = text with placeholders"))]
    headers: BTreeMap<String, String>,
    /// sent as JSON; a text that is one placeholder is the JSON value, or list of values; a text alone is sent as it is
    #[schemars(extend("x-type" = "any value with placeholders"))]
    #[schemars(with = "Option<serde_json::Value>")]
    body: Option<toml::Value>,
    /// what an answer is
    format: Answered,
    /// where a JSON answer has its records: a list, or one object
    #[schemars(extend("x-type" = "JSON pointer", "x-default" = "the whole answer"))]
    records: String,
    /// where a JSON answer has the URL of its next page, at the same server
    #[schemars(extend("x-type" = "JSON pointer"))]
    next: Option<String>,
    /// more pages than this are a reject
    pub(super) max_pages: usize,
    /// a login, one a process: `url`, `method` (POST), `headers`, `body`, `token` (`/access_token`), `header` (`Authorization: Bearer {token}`), `close_url`, `close_method` (POST)
    session: Option<session::Options>,
    /// more processes than this are refused, as each has a session
    #[schemars(extend("x-default" = "no limit"))]
    #[schemars(extend("x-execution" = true))]
    pub(super) max_sessions: Option<usize>,
    /// halves a batch that fails, to find the items it fails for
    pub(super) split_on_error: bool,
    /// a POST or PATCH may be sent again too when nobody knows what became of it
    pub(super) idempotent: bool,
    /// tries after the first
    #[schemars(extend("x-execution" = true))]
    retries: u32,
    /// wait before the first of them; each further one doubles it
    #[schemars(extend("x-execution" = true))]
    retry_delay_ms: u64,
    /// the longest wait
    #[schemars(extend("x-execution" = true))]
    retry_delay_ms_max: u64,
    /// a server that wants to be left alone for longer is not waited for
    #[schemars(extend("x-execution" = true))]
    pub(super) retry_after_max_s: u64,
    /// of the whole stage
    #[schemars(extend("x-default" = "no limit"))]
    #[schemars(extend("x-execution" = true))]
    pub(super) requests_per_second: Option<f64>,
    /// a longer answer, inflated, is a reject
    pub(super) max_response_bytes: usize,
    /// the longest wait for a byte
    #[schemars(extend("x-execution" = true))]
    pub(super) read_timeout_ms: u64,
    /// the longest wait for a whole answer
    #[schemars(extend("x-execution" = true))]
    pub(super) request_timeout_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            url: String::new(),
            method: Method::Get,
            headers: BTreeMap::new(),
            body: None,
            format: Answered::Json,
            records: String::new(),
            next: None,
            max_pages: 1000,
            session: None,
            max_sessions: None,
            split_on_error: false,
            idempotent: false,
            retries: 5,
            retry_delay_ms: 100,
            retry_delay_ms_max: 30_000,
            retry_after_max_s: 300,
            requests_per_second: None,
            max_response_bytes: 64 << 20,
            read_timeout_ms: 30_000,
            request_timeout_ms: 300_000,
        }
    }
}

/// What a server may answer with.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum Answered {
    #[default]
    Json,
    Ndjson,
    Csv,
}

impl From<Answered> for Format {
    fn from(format: Answered) -> Format {
        match format {
            Answered::Json => Format::Json,
            Answered::Ndjson => Format::Ndjson,
            Answered::Csv => Format::Csv,
        }
    }
}

/// A wait of more than a day is a slip of the pen, as is a rate below one request a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Options {
    pub(super) fn retry(&self) -> RetryPolicy {
        RetryPolicy::of_ms(self.retries, self.retry_delay_ms, self.retry_delay_ms_max)
    }

    pub(super) fn next_pointer(&self) -> Result<Option<Pointer>> {
        let parse = |text: &String| {
            Pointer::parse(text).ok_or_else(|| {
                Error::usage(format!("`next`: `{text}` is no JSON pointer"))
                    .hint(format!("did you mean `/{text}`?"))
                    .of(["next"])
            })
        };
        self.next.as_ref().map(parse).transpose()
    }

    /// What numbers and words alone show.
    fn check(&self) -> Result<()> {
        if self.next.is_some() && self.format != Answered::Json {
            return Err(
                Error::usage("`next` is found in answers of `format = \"json\"` only")
                    .of(["next"])
                    .of(["format"]),
            );
        }
        self.next_pointer()?;
        let waits = [
            ("read_timeout_ms", self.read_timeout_ms),
            ("request_timeout_ms", self.request_timeout_ms),
            ("max_pages", self.max_pages as u64),
            ("max_response_bytes", self.max_response_bytes as u64),
            ("max_sessions", self.max_sessions.unwrap_or(1) as u64),
        ];
        if let Some((name, _)) = waits.iter().find(|(_, value)| *value == 0) {
            return Err(
                Error::usage(format!("`{name}` is 0: nothing could be fetched")).of([*name]),
            );
        }
        let longest = [
            ("retry_delay_ms", self.retry_delay_ms),
            ("retry_delay_ms_max", self.retry_delay_ms_max),
            (
                "retry_after_max_s",
                self.retry_after_max_s.saturating_mul(1000),
            ),
        ];
        if let Some((name, _)) = longest.iter().find(|(_, value)| *value > DAY_MS) {
            return Err(Error::usage(format!("`{name}` is longer than a day")).of([*name]));
        }
        let slowest = 1000.0 / DAY_MS as f64;
        match self.requests_per_second {
            Some(rate) if !rate.is_finite() || rate < slowest => Err(Error::usage(format!(
                "`requests_per_second`: expected a number above 0, found {rate}"
            ))
            .of(["requests_per_second"])),
            _ => Ok(()),
        }
    }
}

/// The stage of a table of options.
fn decode(table: toml::Table) -> Result<Fetch> {
    let http: connection::Options = stage::options(table.clone())?;
    let mut shared: answers::Options = stage::options(table.clone())?;
    let secrets = Secrets::of(&table);
    let options: Options = stage::options(table)?;
    options.check()?;
    shared.records.clone_from(&options.records);
    let answers = Answers::new(&shared, options.format.into())?;
    let mut url = Template::parse("url", &options.url).of(["url"])?;
    let user_url = take_user(&mut url);
    http.check("url", user_url.as_slice())?;
    let session = options
        .session
        .as_ref()
        .map(session::Plan::new)
        .transpose()
        .under("session")?;
    let holds_secret = user_url.is_some()
        || session.is_some()
        || http.says_who_we_are()
        || options.headers.keys().any(|name| is_secret(name));
    check_url(&url, holds_secret).of(["url"])?;
    let mut headers = Vec::new();
    for (name, value) in &options.headers {
        if !header_fits(name, "") {
            return Err(
                Error::usage(format!("`headers`: `{name}` is no header's name"))
                    .of(["headers", name]),
            );
        }
        if value.chars().any(char::is_control) {
            return Err(Error::usage(format!(
                "`headers.{name}`: a control character has no place in a header"
            ))
            .of(["headers", name]));
        }
        headers.push((
            name.clone(),
            Template::parse(&format!("headers.{name}"), value).of(["headers", name])?,
        ));
    }
    let body = options
        .body
        .as_ref()
        .map(|body| Body::parse("body", body))
        .transpose()
        .of(["body"])?;
    if body.is_some() && options.method.is_safe() {
        return Err(Error::usage(format!(
            "`method = \"{}\"` sends no body",
            options.method.as_str()
        ))
        .hint("`method = \"POST\"` does")
        .of(["method"])
        .of(["body"]));
    }
    Ok(Fetch {
        question: Question {
            method: options.method,
            origin: origin(url.literal()),
            url,
            headers,
            body,
        },
        answers,
        batch: shared.batch,
        rejects_max: shared.rejects_max(),
        http,
        user_url,
        session,
        secrets,
        options,
    })
}

/// Takes name and password out of a URL; the server with both, if they were there.
fn take_user(url: &mut Template) -> Option<String> {
    let Some(Part::Text(text)) = url.0.first_mut() else {
        return None;
    };
    let from = text.find("://")? + 3;
    let to = text[from..]
        .find(['/', '?', '#'])
        .map_or(text.len(), |at| from + at);
    let user = from + text[from..to].rfind('@')?;
    let server = format!("{}/", &text[..to]);
    text.replace_range(from..=user, "");
    Some(server)
}

/// A URL is one whatever the values are, and these do not say who gets to know a secret.
fn check_url(url: &Template, holds_secret: bool) -> Result<()> {
    let example: String = url
        .0
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.as_str(),
            // A port is a number.
            Part::Value(_) => "1",
        })
        .collect();
    let first = match url.0.first() {
        Some(Part::Text(text)) => text.as_str(),
        _ => "",
    };
    let Some(authority) = first.find("://").map(|at| &first[at + 3..]) else {
        return Err(Error::usage(
            "`url` does not begin with `http://` or `https://`",
        ));
    };
    parse_url(&example).map_err(|why| Error::usage(format!("`url`: {why}")))?;
    let fixed = authority.contains(['/', '?', '#']) || url.0.len() == 1;
    if holds_secret && !fixed {
        return Err(Error::usage(
            "`url` has a placeholder in its host or port, and the stage holds a secret",
        )
        .hint("rows may not say who gets to know it: write the host out"));
    }
    Ok(())
}
