//! The network: the one home of TLS, credentials, compression, timeouts, backoff, and of the
//! asynchronous runtime behind them. Nothing outside is asynchronous: [`Client::send`] is one try of one
//! request and blocks until it is settled; whether there is another try is for the caller to say, who
//! knows what may be repeated.
//!
//! A client is shared by the threads of a process. Each request takes a *lane*, a runtime of one thread
//! with connections of its own: so a request is written and its answer read on the thread that wants it,
//! and its processor time is that thread's.

mod backoff;
mod connect;
mod web;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use elasticsearch::auth::{ClientCertificate, Credentials};
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::headers::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue,
    RETRY_AFTER, USER_AGENT,
};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

pub use backoff::Backoff;
pub use connect::{Connect, Url, listens};
pub(crate) use connect::{parse_url, shown};
pub use elasticsearch::http::Method;
pub use web::{Ask, Limits, Told, Web, header_fits, status_words};

use crate::clock::monotonic;
use crate::error::{Error, Result};
use crate::stop::Stop;

/// How often a request in flight looks whether the run is to stop.
const LOOK: Duration = Duration::from_millis(100);
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

/// A runtime of one thread, and for each server connections that live on it.
struct Lane {
    runtime: Runtime,
    transports: Vec<Option<Transport>>,
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
pub enum Trouble {
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
        // A certificate that cannot be read is told now, not with the first request.
        client.transport(&client.nodes[0])?;
        Ok(client)
    }

    /// One try of one request, at the next server that is not set aside.
    pub fn send(&self, request: &Request) -> Result<Answer, Trouble> {
        let at = self.pick();
        let node = &self.nodes[at];
        let lane = self.lock_lanes().pop();
        let mut lane = match lane {
            Some(lane) => lane,
            None => self.new_lane().map_err(Trouble::Final)?,
        };
        if lane.transports[at].is_none() {
            lane.transports[at] = Some(self.transport(node).map_err(Trouble::Final)?);
        }
        let proven = node.lock().proven;
        let sent = lane.runtime.block_on(async {
            let transport = lane.transports[at].as_ref().expect("it was made above");
            tokio::select! {
                sent = self.try_once(transport, node, request, proven) => sent,
                error = stopped(&self.stop) => Err(Trouble::Final(error)),
            }
        });
        self.lock_lanes().push(lane);
        node.settle(!matches!(
            sent,
            Err(Trouble::Unreached(_) | Trouble::Lost { .. } | Trouble::TimedOut(_))
        ));
        sent
    }

    /// Waits, unless the run is to stop.
    pub fn wait(&self, time: Duration) -> Result<()> {
        pause(time, &self.stop)
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

    fn new_lane(&self) -> Result<Lane> {
        Ok(Lane {
            runtime: new_runtime()?,
            transports: self.nodes.iter().map(|_| None).collect(),
        })
    }

    fn transport(&self, node: &Node) -> Result<Transport> {
        let connect = &self.connect;
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(node.url.clone()))
            .enable_meta_header(false);
        if !node.is_proxied() {
            builder = builder.disable_proxy();
        }
        let bad = |what: &str, error: &dyn std::fmt::Display| {
            Error::failed(format!("cannot use `{what}`"))
                .cause(error)
                .hint("it is to be a PEM file")
        };
        if let Some(pem) = &connect.identity {
            builder = builder.auth(Credentials::Certificate(ClientCertificate::Pem(
                pem.clone().into_bytes(),
            )));
        }
        if !connect.verify {
            builder = builder.cert_validation(CertificateValidation::None);
        } else if let Some(pem) = &connect.ca_certificate {
            let chain = Certificate::from_pem(pem.as_bytes())
                .map_err(|error| bad("ca_certificate", &error))?;
            builder = builder.cert_validation(CertificateValidation::Full(chain));
        }
        builder
            .build()
            .map_err(|error| bad("client_certificate", &error))
    }

    async fn try_once(
        &self,
        transport: &Transport,
        node: &Node,
        request: &Request<'_>,
        proven: bool,
    ) -> Result<Answer, Trouble> {
        if !proven && !node.is_proxied() {
            self.reach(node).await?;
        }
        let (headers, body) = self.dress(request).map_err(Trouble::Final)?;
        let timeout = Some(request.timeout.unwrap_or(self.connect.request_timeout));
        let from = monotonic();
        let answer = transport
            .send(
                request.method,
                request.path,
                headers,
                None::<&()>,
                body,
                timeout,
            )
            .await
            .map_err(|error| trouble(&error, node, Some(proven)))?;
        if answer.url().origin() != node.url.origin() {
            let to = connect::shown(answer.url());
            return Err(Trouble::Final(
                Error::failed(format!(
                    "`{}` redirects to `{to}`",
                    connect::shown(&node.url)
                ))
                .hint("name the server itself: a load follows no redirects"),
            ));
        }
        let status = answer.status_code().as_u16();
        let retry_after = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let mut body = answer
            .bytes()
            .await
            .map_err(|error| trouble(&error, node, None))?;
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

    /// Whether somebody listens: the transport has no timeout of its own for that.
    async fn reach(&self, node: &Node) -> Result<(), Trouble> {
        let host = node.url.host_str().unwrap_or_default();
        let host = host.trim_matches(['[', ']']);
        let port = node.url.port_or_known_default().unwrap_or_default();
        let limit = self.connect.connect_timeout;
        match tokio::time::timeout(limit, TcpStream::connect((host, port))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Trouble::Unreached(error.to_string())),
            Err(_) => Err(Trouble::Unreached(format!(
                "no connection within {} ms",
                limit.as_millis()
            ))),
        }
    }

    fn dress(&self, request: &Request) -> Result<(HeaderMap, Option<Bytes>)> {
        let mut headers = HeaderMap::new();
        let value = |text: &'static str| HeaderValue::from_static(text);
        headers.insert(
            USER_AGENT,
            value(concat!("etl/", env!("CARGO_PKG_VERSION"))),
        );
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
    fn settle(&self, well: bool) {
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

fn new_runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::failed("cannot start the network runtime").cause(error))
}

/// Why the run is to stop, when it is.
async fn stopped(stop: &Stop) -> Error {
    loop {
        if let Err(error) = stop.check() {
            return error;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits, unless the run is to stop.
fn pause(time: Duration, stop: &Stop) -> Result<()> {
    let until = monotonic() + time;
    loop {
        stop.check()?;
        let left = until.saturating_sub(monotonic());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(LOOK));
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

/// What a failed try means. Where none of the answer has come: whether the server has ever answered.
fn trouble(error: &elasticsearch::Error, node: &Node, proven: Option<bool>) -> Trouble {
    let words = words(error);
    let http = chain(error).find_map(|error| error.downcast_ref::<reqwest::Error>());
    let mut text = words.last().cloned().unwrap_or_default();
    let Some(http) = http else {
        return Trouble::Final(Error::failed("cannot send a request").cause(text));
    };
    if words.iter().any(|words| words.contains("certificate")) {
        return Trouble::Final(
            Error::failed("the server's certificate is not trusted")
                .cause(text)
                .hint("`ca_certificate` names the PEM file of the authority that signed it"),
        );
    }
    if words.iter().any(|words| words.contains(NO_TLS)) {
        let shown = connect::shown(&node.url);
        return Trouble::Final(
            Error::failed(format!("`{shown}` does not speak TLS"))
                .cause(text)
                .hint("if it is to be asked without, its address begins with `http://`"),
        );
    }
    if http.is_timeout() {
        Trouble::TimedOut("no answer in time".into())
    } else if http.is_connect() {
        Trouble::Unreached(text)
    } else if http.is_builder() {
        Trouble::Final(Error::failed("cannot send a request").cause(text))
    } else {
        let unanswered = proven.is_some();
        if proven == Some(false) && node.url.scheme() == "http" {
            text.push_str(" (does it want `https://`?)");
        }
        Trouble::Lost {
            words: text,
            unanswered,
        }
    }
}
