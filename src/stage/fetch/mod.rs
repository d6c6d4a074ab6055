//! `fetch`: asks a server about rows, or for them. Its options here; what becomes of a batch is
//! `client`'s, of a request `sender`'s, of a login `session`'s, of placeholders in it `template`'s.

mod client;
mod options;
mod sender;
mod session;
mod template;

use std::iter;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use self::options::KIND;

use self::client::Client;
use self::options::Options;
use self::sender::Sender;
use self::session::Login;
use self::template::{Body, Template};
use super::answers::Answers;
use super::{
    Begun, Figures, Folder, Partitioning, Policy, Probe, Properties, REQUESTS, Run, Session, Setup,
    Source, Stage, Totals, connection,
};
use crate::batch::Batch;
use crate::columns::Column;
use crate::error::{Error, OfValue, Result, both, every};
use crate::http::{self, Connect, HttpClient, Url};
use crate::schema::Schema;
use crate::secrets::Secrets;
use crate::shown::{rows, seconds, things};

/// How a server is asked.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }

    /// Whether to do it twice is to do it once (RFC 9110, 9.2.2).
    fn is_idempotent(self) -> bool {
        !matches!(self, Method::Post | Method::Patch)
    }

    /// Whether it changes nothing at the server.
    fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Head)
    }
}

/// What is asked, with places for the items' values.
#[derive(Debug, Clone)]
struct Question {
    method: Method,
    url: Template,
    /// What all URLs begin with, if that is the same: scheme, host and port, as written and as understood.
    origin: Option<(String, Url)>,
    headers: Vec<(String, Template)>,
    body: Option<Body>,
}

impl Question {
    /// A URL of this text, or why it is none. To read the host is most of the work of reading a URL.
    fn parse_url(&self, text: &str) -> Result<Url, String> {
        let behind = self.origin.as_ref().and_then(|(origin, url)| {
            let rest = text.strip_prefix(origin.as_str())?;
            // Two slashes begin a host, and some characters between them are passed over.
            let is_path = rest.starts_with('/')
                && !rest[1..].starts_with(|c| c <= ' ' || c == '/' || c == '\\');
            is_path.then(|| url.join(rest).ok())?
        });
        behind.map_or_else(|| parse_url(text), Ok)
    }

    /// Whether anything in it is an item's.
    fn is_about_items(&self) -> bool {
        let mut headers = self.headers.iter();
        self.url.is_about_items()
            || headers.any(|(_, value)| value.is_about_items())
            || self.body.as_ref().is_some_and(Body::is_about_items)
    }

    /// Finds the columns in the input.
    fn bind(&mut self, input: Option<&Schema>, batch: usize) -> Result<()> {
        let url = self.url.bind("url", input, batch).of(["url"]);
        let headers = self.headers.iter_mut();
        let headers = headers.map(|(name, value)| {
            let bound = value.bind(&format!("headers.{name}"), input, batch);
            bound.of(["headers", name])
        });
        let body = self.body.iter_mut();
        let body = body.map(|body| body.bind("body", input, batch).under("body"));
        every(iter::once(url).chain(headers).chain(body)).map(drop)
    }
}

/// The stage.
#[derive(Debug)]
struct Fetch {
    question: Question,
    options: Options,
    answers: Answers,
    /// Items a request.
    batch: usize,
    rejects_max: Option<u64>,
    http: connection::Options,
    /// The server with our name and password in its URL, if they are there.
    user_url: Option<String>,
    session: Option<session::Plan>,
    secrets: Secrets,
}

/// What every session needs to open.
#[derive(Debug, Serialize, Deserialize)]
struct SessionConfig {
    connect: Connect,
    read_timeout: Duration,
}

impl Fetch {
    fn is_repeatable(&self) -> bool {
        self.options.idempotent || self.question.method.is_idempotent()
    }

    /// The least time between two requests of the stage.
    fn every(&self) -> Duration {
        match self.options.requests_per_second {
            Some(rate) => Duration::from_secs_f64(1.0 / rate),
            None => Duration::ZERO,
        }
    }
}

/// What asking took, and what came of it.
fn lines(figures: &Figures) -> Vec<String> {
    let requests = figures.count(REQUESTS);
    if requests == 0 || figures.wall_s == 0.0 {
        return Vec::new();
    }
    // Those that an earlier run made took no time of this one.
    let pace = match figures.count("resumed_rows") {
        0 => format!("{:.0} a second", requests as f64 / figures.wall_s),
        before => format!("those of an earlier run for {} among them", rows(before)),
    };
    let mut text = format!(
        "{}, {pace}, at most {} at once",
        things(requests, "request"),
        figures.count("concurrency").max(1),
    );
    for part in figures.parts(&[
        ("retries", "tried again"),
        ("redirects", "redirects"),
        ("pages", "further pages"),
        ("splits", "halved"),
        ("renewals", "logins renewed"),
    ]) {
        text.push_str(&format!(", {part}"));
    }
    let costs = format!(
        "{} s CPU; {} s to open {}",
        seconds(figures.cpu_s),
        seconds(figures.open_s),
        things(figures.sessions, "session")
    );
    vec![text, costs]
}

impl Stage for Fetch {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Requests]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        let input = inputs.first();
        let bound = self.question.clone().bind(input, self.batch);
        both(bound, self.answers.schema(input)).map(|((), schema)| schema)
    }

    fn properties(&self) -> Properties {
        Properties {
            batch_rows: Some(self.batch),
            policy: Some(Policy {
                every: self.every(),
                again: self.is_repeatable(),
                rejects_max: self.rejects_max,
                sessions_max: self.options.max_sessions,
                ending: self.session.as_ref().and_then(session::Plan::parting),
                ..Policy::default()
            }),
            ..Properties::default()
        }
    }

    fn lint(&self, inputs: &[Schema], _folder: &Folder) -> Vec<String> {
        let same = !inputs.is_empty() && !self.question.is_about_items();
        let words = "every request is the same: no `{column}` in `url`, `headers` or `body`";
        let same = same.then(|| words.to_owned());
        same.into_iter().chain(self.http.lint()).collect()
    }

    fn probe(&self, _folder: &Folder) -> Vec<Probe> {
        let url = self.question.url.literal();
        let host_end = url.find("://").map_or(0, |at| at + 3);
        let (scheme, rest) = url.split_at(host_end);
        let Some((host, _)) = rest.split_once(['/', '?']) else {
            // A part of the address may be an item's value.
            return Vec::new();
        };
        let server = format!("{scheme}{}", host.rsplit('@').next().unwrap_or(host));
        let found = http::listens(&server, self.http.connect_timeout());
        vec![Probe::new(server, found)]
    }

    fn begin(&self, run: &Run, inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let mut connect = self.http.connect(self.user_url.as_slice(), &run.folder)?;
        connect.request_timeout = Duration::from_millis(self.options.request_timeout_ms);
        connect.urls.clear();
        let config = SessionConfig {
            connect,
            read_timeout: Duration::from_millis(self.options.read_timeout_ms),
        };
        // Without items there is one request; what stands for it is a row that nobody sees.
        let source = inputs.is_empty().then(|| Source {
            parts: vec![Box::new(std::iter::once(Ok(Batch::new(
                vec![Column::from_ints(vec![0], None)],
                1,
            ))))],
            bytes_done: Arc::new(AtomicU64::new(0)),
            files: Vec::new(),
        });
        Ok(Begun {
            source,
            session_config: serde_json::to_value(config).expect("it is plain data"),
            ..Begun::default()
        })
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        let config: SessionConfig =
            serde_json::from_value(setup.session_config).map_err(|error| {
                Error::failed("cannot decode the configuration of a session").cause(error)
            })?;
        let input = setup.inputs.first();
        let mut question = self.question.clone();
        question.bind(input, self.batch)?;
        let mut secrets = self.secrets.clone();
        let authorization = config.connect.authorization.clone();
        if let Some(secret) = &authorization {
            secrets.add(secret);
        }
        let authorization = authorization.map(|value| ("Authorization".to_owned(), value));
        let sessions = u32::try_from(setup.sessions).expect("few processes");
        let sender = Sender {
            http_client: HttpClient::new(config.connect, Some(config.read_timeout), setup.stop)?,
            body_bytes_max: self.options.max_response_bytes,
            retry: self.options.retry(),
            retry_after_max: Duration::from_secs(self.options.retry_after_max_s),
            every: self.every() * sessions,
            next: Mutex::default(),
            holds: Mutex::default(),
            secrets: RwLock::new(secrets),
            wait_reason: setup.wait_reason,
        };
        let login = match &self.session {
            Some(plan) => Some(Login::open(plan.clone(), authorization.clone(), &sender)?),
            None => None,
        };
        // Who has a session is known by that where both would stand in one header.
        let shadowed =
            |plan: &session::Plan| plan.header_name().eq_ignore_ascii_case("authorization");
        let authorization = authorization.filter(|_| !self.session.as_ref().is_some_and(shadowed));
        Ok(Box::new(Client {
            reader: self.answers.reader(input)?,
            input: input.cloned(),
            repeatable: self.is_repeatable(),
            split_on_error: self.options.split_on_error,
            next: self.options.next_pointer()?,
            max_pages: self.options.max_pages,
            question,
            authorization,
            sender,
            login,
        }))
    }

    fn finish(&self, totals: &mut Totals) -> Result<()> {
        let open = "that could not be closed: left to the server";
        let open = ("sessions_left_open", "session", open);
        self.answers.warn(totals, &[open]);
        Ok(())
    }
}

/// Scheme, host and port of a URL that begins with `text`, as they stand there and as they are understood.
fn origin(text: &str) -> Option<(String, Url)> {
    let host = text.find("://")? + 3;
    let end = host + text[host..].find(['/', '\\', '?', '#'])?;
    let origin = &text[..end];
    if !text[end..].starts_with('/') {
        return None;
    }
    Some((origin.to_owned(), parse_url(origin).ok()?))
}

/// A URL that requests may go to, or why it is none.
fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("no URL: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("`{other}` is neither `http` nor `https`")),
    }
}

/// A body as it is sent, and the header that says what it is: a text is sent as it is, a table as a form
/// where the headers say so, anything else as JSON.
fn body_bytes(
    body: &Json,
    as_text: bool,
    headers: &mut Vec<(String, String)>,
    form: impl Fn(&Json) -> String,
) -> Bytes {
    const FORM: &str = "application/x-www-form-urlencoded";
    let given = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map(|(_, value)| value.to_ascii_lowercase());
    let (text, ty) = match (body, &given) {
        (Json::String(text), _) if as_text => (text.clone(), "text/plain; charset=utf-8"),
        (Json::Object(_), Some(given)) if given.starts_with(FORM) => (form(body), FORM),
        _ => (body.to_string(), "application/json"),
    };
    if given.is_none() {
        headers.push(("Content-Type".to_owned(), ty.to_owned()));
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_the_same_whether_its_host_is_read_again_or_not() {
        let begins = [
            "http://127.0.0.1:8123/items/",
            "https://user:word@EXAMPLE.org/",
            " http://[::1]/",
            "http://host/?a=",
            "http://host?a=/",
            "http://host\\a/",
            "http://host",
            "host/",
            "file:///",
        ];
        let ends = [
            "",
            "5",
            "a:b",
            "/other/5",
            "\\other/5",
            "\t/other/5",
            " /other",
            "?a=/#b",
            "../../c/./d",
            "%2F%2Fother",
            "\u{e9} ",
            "http://other/",
        ];
        for begin in begins {
            let question = Question {
                method: Method::Get,
                url: Template::parse("url", begin).expect("it has no places"),
                origin: origin(begin),
                headers: Vec::new(),
                body: None,
            };
            for end in ends {
                let text = format!("{begin}{end}");
                assert_eq!(question.parse_url(&text), parse_url(&text), "{text:?}");
            }
        }
        assert!(origin("http://host/a").is_some(), "most have one");
    }
}
