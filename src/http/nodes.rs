//! Servers that are the same to the caller, asked in turns: which is asked next, and how requests to a search server
//! look.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use elasticsearch::http::headers::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue,
};
use parking_lot::Mutex;

use super::client::{HttpClient, HttpRequest, HttpResponse};
use super::{Connect, Method, TransportError, Url, clip, connect};
use crate::clock::monotonic;
use crate::error::{Error, Result};
use crate::schema::count;
use crate::stop::Stop;

/// A server that cannot be reached is left alone for this long, then twice as long, up to the maximum.
const ASIDE: Duration = Duration::from_secs(1);
const ASIDE_MAX: Duration = Duration::from_secs(30);

/// Sends requests to one of several servers that are the same to the caller.
pub struct Nodes {
    client: HttpClient,
    all: Vec<Node>,
    next: AtomicUsize,
}

/// One server.
struct Node {
    url: Url,
    state: Mutex<NodeState>,
}

#[derive(Default)]
struct NodeState {
    /// It has answered, and has not failed since.
    proven: bool,
    /// Failures in a row.
    failures: u32,
    /// Until when others are asked instead.
    aside_until: Duration,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// How.
    pub method: Method,
    /// Below the server's URL, percent-encoded, with its query.
    pub path: &'a str,
    /// JSON, or newline-delimited JSON.
    pub body: Option<Bytes>,
    /// Whether the body is newline-delimited.
    pub lines: bool,
    /// The longest wait for the whole answer; `None`: the client's.
    pub timeout: Option<Duration>,
    /// The longest body of an answer, inflated.
    pub answer_bytes_max: usize,
    /// What to do where it is longer.
    pub too_long: &'static str,
}

impl Nodes {
    /// The servers of `connect`; connects to none yet.
    pub fn new(connect: Connect, stop: Stop) -> Result<Self> {
        let nodes = connect.urls.iter().map(|url| {
            Ok(Node {
                url: connect::parse_url(url)?,
                state: Mutex::default(),
            })
        });
        Ok(Nodes {
            all: nodes.collect::<Result<_>>()?,
            client: HttpClient::new(connect, None, stop)?,
            next: AtomicUsize::new(0),
        })
    }

    /// One try of one request, at the next server that is not set aside.
    pub fn send(&self, request: &Request) -> Result<HttpResponse, TransportError> {
        let node = self.pick();
        let proven = node.lock().proven;
        let mut sent = self.try_once(node, request);
        if let Err(TransportError::Lost { words, unanswered }) = &mut sent
            && (*unanswered, proven, node.url.scheme()) == (true, false, "http")
        {
            words.push_str(" (does it want `https://`?)");
        }
        node.record(!matches!(
            sent,
            Err(TransportError::Unreached(_)
                | TransportError::Lost { .. }
                | TransportError::TimedOut(_))
        ));
        sent
    }

    fn try_once(&self, node: &Node, request: &Request) -> Result<HttpResponse, TransportError> {
        let (headers, body) = self.dress(request).map_err(TransportError::Final)?;
        let url = node.url.join(request.path).map_err(|error| {
            TransportError::Final(Error::failed("cannot send a request").cause(error))
        })?;
        let too_long = |max| {
            Error::failed(format!(
                "the answer of `{}` is longer than {}",
                connect::shown(&node.url),
                count(max, "byte")
            ))
            .hint(request.too_long)
        };
        let mut response = self.client.send(HttpRequest {
            method: method(request.method),
            url: &url,
            headers,
            body,
            timeout: request.timeout,
            body_bytes_max: request.answer_bytes_max,
            too_long: &too_long,
        })?;
        if (300..400).contains(&response.status) {
            return Err(TransportError::Final(redirected(node, &response)));
        }
        if response.status >= 400 {
            response.body = self.without_secret(response.body);
        }
        Ok(response)
    }

    /// Waits, unless the run is to stop.
    pub fn wait(&self, time: Duration) -> Result<()> {
        self.client.wait(time)
    }

    /// Whether the run is to stop.
    pub fn is_stopped(&self) -> bool {
        self.client.stop.is_set()
    }

    /// The servers' addresses, for messages: without users and passwords.
    pub fn shown(&self) -> String {
        let shown = self.all.iter().map(|node| connect::shown(&node.url));
        shown.collect::<Vec<_>>().join(", ")
    }

    /// The servers take turns; where all are set aside, the one whose time is up first.
    fn pick(&self) -> &Node {
        let from = self.next.fetch_add(1, Ordering::Relaxed);
        let now = monotonic();
        let turns = (0..self.all.len()).map(|i| &self.all[(from + i) % self.all.len()]);
        let until = |node: &&Node| node.lock().aside_until;
        turns
            .clone()
            .find(|node| until(node) <= now)
            .or_else(|| turns.min_by_key(until))
            .expect("there is at least one server")
    }

    /// An error's text may repeat what was sent, and will be printed.
    fn without_secret(&self, body: Bytes) -> Bytes {
        let authorization = self
            .client
            .connect
            .authorization
            .as_deref()
            .unwrap_or_default();
        let Some((_, secret)) = authorization.split_once(' ') else {
            return body;
        };
        let text = String::from_utf8_lossy(&body);
        if secret.is_empty() || !text.contains(secret) {
            return body;
        }
        text.replace(secret, "***").into()
    }

    fn dress(&self, request: &Request) -> Result<(HeaderMap, Option<Bytes>)> {
        let mut headers = HeaderMap::new();
        let value = |text: &'static str| HeaderValue::from_static(text);
        headers.insert(ACCEPT, value("application/json"));
        // Answers are short: to unpack them costs more than to carry them.
        headers.insert(ACCEPT_ENCODING, value("identity"));
        let content = if request.lines {
            "application/x-ndjson"
        } else {
            "application/json"
        };
        headers.insert(CONTENT_TYPE, value(content));
        if let Some(authorization) = &self.client.connect.authorization {
            let mut secret = HeaderValue::from_str(authorization).map_err(|_| {
                Error::usage("the credentials hold a character that no header may have")
            })?;
            secret.set_sensitive(true);
            headers.insert(AUTHORIZATION, secret);
        }
        let Some(body) = &request.body else {
            return Ok((headers, None));
        };
        if self.client.connect.compress == 0 || !request.lines {
            return Ok((headers, Some(body.clone())));
        }
        headers.insert(CONTENT_ENCODING, value("gzip"));
        let packed = crate::format::compression::gzip::member(body, self.client.connect.compress)
            .map_err(|error| Error::failed("cannot compress a body").cause(error))?;
        Ok((headers, Some(packed.into())))
    }
}

impl Node {
    fn lock(&self) -> parking_lot::MutexGuard<'_, NodeState> {
        self.state.lock()
    }

    /// Notes how a try ended.
    fn record(&self, well: bool) {
        let mut state = self.lock();
        state.proven = well;
        if well {
            state.failures = 0;
            state.aside_until = Duration::ZERO;
        } else {
            let time = ASIDE.saturating_mul(1 << state.failures.min(5));
            state.failures += 1;
            state.aside_until = monotonic() + time.min(ASIDE_MAX);
        }
    }
}

fn method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Put => reqwest::Method::PUT,
        Method::Post => reqwest::Method::POST,
        Method::Delete => reqwest::Method::DELETE,
        Method::Head => reqwest::Method::HEAD,
    }
}

/// The error of a server that sends us to another address.
fn redirected(node: &Node, response: &HttpResponse) -> Error {
    let to = response.location.as_ref();
    let to = to.and_then(|to| node.url.join(to).ok());
    let to = to.map_or_else(
        || "nowhere".into(),
        |to| clip(&connect::shown(&to)).into_owned(),
    );
    Error::failed(format!(
        "`{}` redirects to `{to}`",
        connect::shown(&node.url)
    ))
    .hint("name the server itself: a load follows no redirects")
}
