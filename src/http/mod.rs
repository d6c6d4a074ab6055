//! The network: the one home of TLS, credentials, compression, timeouts, backoff, and of the
//! asynchronous runtime behind them. Nothing outside is asynchronous: [`Client::send`] is one try of one
//! request and blocks until it is settled; whether there is another try is for the caller to say, who
//! knows what may be repeated.
//!
//! A client is shared by the threads of a process. Each request takes a *lane*, a runtime of one thread
//! with connections of its own: so a request is written and its answer read on the thread that wants it,
//! and its processor time is that thread's.
//!
//! The `elasticsearch` crate gives paths, methods and headers. Its `Transport` does not carry requests: it reads
//! an answer whole, however large it inflates, follows redirects, and takes no verifier of certificates. So
//! requests go through `reqwest`, on which it is built, with limits of our own.

mod backoff;
mod body;
mod client;
mod connect;
mod dates;
mod tls;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use elasticsearch::http::headers::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue,
    LOCATION, USER_AGENT,
};
use tokio::sync::Notify;

pub use backoff::Backoff;
pub use client::{HttpClient, HttpRequest, HttpResponse, Limits, header_fits, status_words};
pub use connect::{Connect, Url, listens};
pub(crate) use connect::{parse_url, shown};
pub use elasticsearch::BulkParts;
pub use elasticsearch::http::Method;

use self::body::Bad;
use crate::clock::monotonic;
use crate::error::{Error, Result};
use crate::schema::count;
use crate::stop::{Stop, Wake};

/// A server that cannot be reached is left alone for this long, then twice as long, up to the maximum.
const ASIDE: Duration = Duration::from_secs(1);
const ASIDE_MAX: Duration = Duration::from_secs(30);

/// Sends requests to one of several servers that are the same to the caller.
pub struct Client {
    connect: Connect,
    nodes: Vec<Node>,
    next: AtomicUsize,
    lanes: Mutex<Vec<Lane>>,
    stop: Stop,
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

/// A runtime of one thread, and for each server a client whose connections live on it.
struct Lane {
    runtime: Runtime,
    clients: Vec<Option<reqwest::Client>>,
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
}

/// What was answered, whatever the status.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// All of the body.
    pub body: Bytes,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    /// From the first byte sent to the last one received.
    pub wire: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum TransportError {
    /// No connection was made: nothing was carried out.
    Unreached(String),
    /// It may have been carried out: the connection broke, or the answer is not whole.
    Lost {
        /// How.
        words: String,
        /// It broke before any of the answer had come, maybe while the body was on its way.
        unanswered: bool,
    },
    /// It may have been carried out, or may still be: no answer in time.
    TimedOut(String),
    /// The same would happen again, or the run is to stop.
    Final(Error),
}

impl Client {
    /// A client; connects to nothing yet.
    pub fn new(connect: Connect, stop: Stop) -> Result<Self> {
        let nodes = connect.urls.iter().map(|url| {
            Ok(Node {
                url: connect::parse_url(url)?,
                state: Mutex::default(),
            })
        });
        let client = Client {
            nodes: nodes.collect::<Result<_>>()?,
            connect,
            next: AtomicUsize::new(0),
            lanes: Mutex::default(),
            stop,
        };
        // Report an unreadable certificate now, not with the first request.
        client.reach(&client.nodes[0])?;
        Ok(client)
    }

    /// One try of one request, at the next server that is not set aside.
    pub fn send(&self, request: &Request) -> Result<Answer, TransportError> {
        let at = self.pick();
        let node = &self.nodes[at];
        let lane = self.lock_lanes().pop();
        let mut lane = match lane {
            Some(lane) => lane,
            None => self.new_lane().map_err(TransportError::Final)?,
        };
        if lane.clients[at].is_none() {
            lane.clients[at] = Some(self.reach(node).map_err(TransportError::Final)?);
        }
        let proven = node.lock().proven;
        let client = lane.clients[at].as_ref().expect("it was made above");
        let sent = lane
            .runtime
            .block_on(self.try_once(client, node, request, proven));
        self.lock_lanes().push(lane);
        node.record(!matches!(
            sent,
            Err(TransportError::Unreached(_)
                | TransportError::Lost { .. }
                | TransportError::TimedOut(_))
        ));
        sent
    }

    /// Waits, unless the run is to stop.
    pub fn wait(&self, time: Duration) -> Result<()> {
        self.stop.sleep(time)
    }

    /// The servers' addresses, for messages: without users and passwords.
    pub fn shown(&self) -> String {
        let shown = self.nodes.iter().map(|node| connect::shown(&node.url));
        shown.collect::<Vec<_>>().join(", ")
    }

    fn lock_lanes(&self) -> std::sync::MutexGuard<'_, Vec<Lane>> {
        self.lanes.lock().expect("no one panics holding this lock")
    }

    /// The servers take turns; where all are set aside, the one whose time is up first.
    fn pick(&self) -> usize {
        let from = self.next.fetch_add(1, Ordering::Relaxed);
        let now = monotonic();
        let turns = (0..self.nodes.len()).map(|i| (from + i) % self.nodes.len());
        let until = |at: &usize| self.nodes[*at].lock().aside_until;
        turns
            .clone()
            .find(|at| until(at) <= now)
            .or_else(|| turns.min_by_key(until))
            .expect("there is at least one server")
    }

    /// Whether the run is to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }

    fn new_lane(&self) -> Result<Lane> {
        Ok(Lane {
            runtime: Runtime::new(&self.stop)?,
            clients: self.nodes.iter().map(|_| None).collect(),
        })
    }

    /// A client of one server; it connects to nothing yet.
    fn reach(&self, node: &Node) -> Result<reqwest::Client> {
        let mut builder = tls::builder(&self.connect, node.url.scheme() == "https")?;
        if !node.is_proxied() {
            builder = builder.no_proxy();
        }
        builder
            .build()
            .map_err(|error| Error::failed("cannot make a client").cause(error.without_url()))
    }

    async fn try_once(
        &self,
        client: &reqwest::Client,
        node: &Node,
        request: &Request<'_>,
        proven: bool,
    ) -> Result<Answer, TransportError> {
        let (headers, body) = self.dress(request).map_err(TransportError::Final)?;
        let url = node.url.join(request.path).map_err(|error| {
            TransportError::Final(Error::failed("cannot send a request").cause(error))
        })?;
        let mut asked = client
            .request(method(request.method), url)
            .headers(headers)
            .timeout(request.timeout.unwrap_or(self.connect.request_timeout));
        if let Some(body) = body {
            asked = asked.body(body);
        }
        let from = monotonic();
        let mut answer = asked
            .send()
            .await
            .map_err(|error| self.transport_error(&error, node, Some(proven)))?;
        let status = answer.status().as_u16();
        if answer.status().is_redirection() {
            return Err(TransportError::Final(redirected(node, &answer)));
        }
        let retry_after = dates::retry_after(answer.headers());
        let read = body::read(&mut answer, request.answer_bytes_max).await;
        let mut body = read.map_err(|bad| self.unreadable(bad, node))?;
        if status >= 400 {
            body = self.without_secret(body);
        }
        Ok(Answer {
            status,
            body,
            retry_after,
            wire: monotonic().saturating_sub(from),
        })
    }

    /// What an answer means whose body is of no use.
    fn unreadable(&self, bad: Bad, node: &Node) -> TransportError {
        let server = connect::shown(&node.url);
        match bad {
            Bad::TooLong(max) => TransportError::Final(
                Error::failed(format!(
                    "the answer of `{server}` is longer than {}",
                    count(max, "byte")
                ))
                .hint("ask for less at once: see `batch_docs`, or `--limit` of `etl search`; if so much is not to be expected, this is not the server that is meant"),
            ),
            Bad::Garbled(words) => {
                TransportError::Final(Error::failed(format!("`{server}`: {words}")))
            }
            Bad::Broken(error) => self.transport_error(&error, node, None),
        }
    }

    /// An error's text may repeat what was sent, and will be printed.
    fn without_secret(&self, body: Bytes) -> Bytes {
        let authorization = self.connect.authorization.as_deref().unwrap_or_default();
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
        headers.insert(
            USER_AGENT,
            value(concat!("etl/", env!("CARGO_PKG_VERSION"))),
        );
        headers.insert(ACCEPT, value("application/json"));
        // Answers are short: to unpack them costs more than to carry them.
        headers.insert(ACCEPT_ENCODING, value("identity"));
        let content = if request.lines {
            "application/x-ndjson"
        } else {
            "application/json"
        };
        headers.insert(CONTENT_TYPE, value(content));
        if let Some(authorization) = &self.connect.authorization {
            let mut secret = HeaderValue::from_str(authorization).map_err(|_| {
                Error::usage("the credentials hold a character that no header may have")
            })?;
            secret.set_sensitive(true);
            headers.insert(AUTHORIZATION, secret);
        }
        let Some(body) = &request.body else {
            return Ok((headers, None));
        };
        if self.connect.compress == 0 || !request.lines {
            return Ok((headers, Some(body.clone())));
        }
        headers.insert(CONTENT_ENCODING, value("gzip"));
        let packed = crate::format::gzip::member(body, self.connect.compress)
            .map_err(|error| Error::failed("cannot compress a body").cause(error))?;
        Ok((headers, Some(packed.into())))
    }
}

impl Node {
    fn lock(&self) -> std::sync::MutexGuard<'_, NodeState> {
        self.state.lock().expect("no one panics holding this lock")
    }

    /// Proxies are the environment's, and never for this machine.
    fn is_proxied(&self) -> bool {
        !connect::is_loopback(&self.url) && connect::proxy_is_set()
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

/// A runtime of one thread, which breaks off when the run is to stop.
struct Runtime {
    inner: Option<tokio::runtime::Runtime>,
    stopped: Arc<Stopped>,
    stop: Stop,
}

/// Notified when the run is to stop. There is no lock to take: a notification that comes before somebody waits is kept
/// for them.
#[derive(Debug, Default)]
struct Stopped(Notify);

impl Wake for Stopped {
    fn wake(&self) {
        // Who comes to wait later finds it.
        self.0.notify_one();
    }
}

impl Runtime {
    fn new(stop: &Stop) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::failed("cannot start the network runtime").cause(error))?;
        let stopped = Arc::default();
        stop.wakes(&stopped);
        Ok(Runtime {
            inner: Some(runtime),
            stopped,
            stop: stop.clone(),
        })
    }

    fn block_on<T>(
        &self,
        work: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        self.stop.check().map_err(TransportError::Final)?;
        let late = async {
            match self.stop.left() {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        let runtime = self.inner.as_ref();
        let done = runtime
            .expect("it is there until it is dropped")
            .block_on(async {
                tokio::select! {
                    done = work => Some(done),
                    () = self.stopped.0.notified() => None,
                    () = late => None,
                }
            });
        done.unwrap_or_else(|| Err(TransportError::Final(self.stop.error())))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // A host's name may still be looked up, on a thread that nothing stops: it is not waited for.
        if let Some(runtime) = self.inner.take() {
            runtime.shutdown_background();
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
fn redirected(node: &Node, answer: &reqwest::Response) -> Error {
    let to = answer.headers().get(LOCATION);
    let to = to.map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
    let to = to.and_then(|to| answer.url().join(&to).ok());
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

/// How much of what a server says is repeated in a message.
const WORDS_MAX: usize = 2000;

/// A server's words, cut where they are long.
pub(crate) fn clip(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()).into(),
        None => text.into(),
    }
}

/// An error and what lies behind it.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// The words of an error and of what lies behind it, none twice in a row.
fn words(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let mut words: Vec<String> = chain(error).map(ToString::to_string).collect();
    words.dedup();
    words
}

/// What is said of a server that answers a TLS handshake with something else.
const NO_TLS: &str = "InvalidContentType";

impl Client {
    /// What a failed try means. Where none of the answer has come: whether the server has ever answered.
    fn transport_error(
        &self,
        error: &reqwest::Error,
        node: &Node,
        proven: Option<bool>,
    ) -> TransportError {
        let words = words(error);
        let mut text = words.last().cloned().unwrap_or_default();
        if let Some(error) = tls::distrust("the server's certificate", &words) {
            return TransportError::Final(error);
        }
        if words.iter().any(|words| words.contains(NO_TLS)) {
            let shown = connect::shown(&node.url);
            return TransportError::Final(
                Error::failed(format!("`{shown}` does not speak TLS"))
                    .cause(text)
                    .hint("if it is to be asked without, its address begins with `http://`"),
            );
        }
        if error.is_timeout() && error.is_connect() {
            let limit = self.connect.connect_timeout.as_millis();
            TransportError::Unreached(format!("no connection within {limit} ms"))
        } else if error.is_timeout() {
            TransportError::TimedOut("no answer in time".into())
        } else if error.is_connect() {
            TransportError::Unreached(text)
        } else if error.is_builder() {
            TransportError::Final(Error::failed("cannot send a request").cause(text))
        } else {
            let unanswered = proven.is_some();
            if proven == Some(false) && node.url.scheme() == "http" {
                text.push_str(" (does it want `https://`?)");
            }
            TransportError::Lost {
                words: text,
                unanswered,
            }
        }
    }
}
