//! Requests to whatever server a URL names: a client per lane, redirects left to the caller, answers inflated here
//! and never longer than is allowed; and what it means when there is none.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};

use super::body::{self, Bad};
use super::connect::{Connect, Url, is_loopback, proxy_is_set};
use super::runtime::Runtime;
use super::{TransportError, dates, tls};
use crate::clock::monotonic;
use crate::error::{Error, Result};
use crate::stop::Stop;

/// Sends requests to any server; shared by the threads of a process.
pub struct HttpClient {
    pub(super) connect: Connect,
    /// The longest wait for a byte of a body.
    read_timeout: Option<Duration>,
    lanes: Mutex<Vec<Lane>>,
    pub(super) stop: Stop,
}

/// A runtime of one thread, and the clients whose connections live on it.
struct Lane {
    runtime: Runtime,
    /// One a way.
    clients: [Option<reqwest::Client>; 3],
}

/// How a server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Without TLS: authorities need not be read, which takes longer than all the rest.
    Plain,
    Secure,
    /// Through the environment's proxies.
    Proxied,
}

impl Way {
    fn to(url: &Url) -> Self {
        if proxy_is_set() && !is_loopback(url) {
            Way::Proxied
        } else if url.scheme() == "https" {
            Way::Secure
        } else {
            Way::Plain
        }
    }
}

/// One request.
pub struct HttpRequest<'a> {
    /// `GET` and so on.
    pub method: reqwest::Method,
    /// Where.
    pub url: &'a Url,
    /// All but those of the connection, and the program's name, if there is none.
    pub headers: HeaderMap,
    /// As it is sent.
    pub body: Option<Bytes>,
    /// The longest wait for the whole answer; `None`: the client's.
    pub timeout: Option<Duration>,
    /// The longest body of an answer, inflated.
    pub body_bytes_max: usize,
    /// The error of a longer one.
    pub too_long: &'a dyn Fn(usize) -> Error,
}

/// What was answered, whatever the status.
#[derive(Debug)]
pub struct HttpResponse {
    /// The HTTP status.
    pub status: u16,
    /// All of the body, inflated.
    pub body: Bytes,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    /// Where it sends us.
    pub location: Option<String>,
    /// What it says the body is.
    pub content_type: Option<String>,
    /// From the first byte sent to the last one received.
    pub wire: Duration,
}

/// Whether a header may have this name and value.
pub fn header_fits(name: &str, value: &str) -> bool {
    name.parse::<HeaderName>().is_ok() && HeaderValue::from_str(value).is_ok()
}

/// The standard's words for a status.
pub fn status_words(status: u16) -> &'static str {
    reqwest::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default()
}

impl HttpClient {
    /// A client; connects to nothing yet. It may ask others than those of `connect`.
    pub fn new(connect: Connect, read_timeout: Option<Duration>, stop: Stop) -> Result<Self> {
        let client = HttpClient {
            connect,
            read_timeout,
            lanes: Mutex::default(),
            stop,
        };
        // Report an unreadable certificate now, not with the first request.
        if client.connect.ca_certificate.is_some() || client.connect.identity.is_some() {
            client.client(Way::Secure)?;
        }
        Ok(client)
    }

    /// The same for a last word: a stopped run holds it up no more, and it takes no longer than `time`.
    pub fn for_goodbye(&self, time: Duration) -> Result<Self> {
        let connect = Connect {
            request_timeout: time,
            connect_timeout: time,
            ..self.connect.clone()
        };
        HttpClient::new(connect, self.read_timeout, Stop::default())
    }

    /// One try of one request.
    pub fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let lane = self.lanes.lock().pop();
        let mut lane = match lane {
            Some(lane) => lane,
            None => Lane {
                runtime: Runtime::new(&self.stop).map_err(TransportError::Final)?,
                clients: [None, None, None],
            },
        };
        let way = Way::to(request.url);
        let client = &mut lane.clients[way as usize];
        if client.is_none() {
            *client = Some(self.client(way).map_err(TransportError::Final)?);
        }
        let client = client.as_ref().expect("it was made above");
        let sent = lane.runtime.block_on(self.try_once(client, request));
        self.lanes.lock().push(lane);
        sent
    }

    /// Waits, unless the run is to stop.
    pub fn wait(&self, time: Duration) -> Result<()> {
        self.stop.sleep(time)
    }

    fn client(&self, way: Way) -> Result<reqwest::Client> {
        let mut builder = tls::builder(&self.connect, way != Way::Plain)?
            .pool_max_idle_per_host(1)
            .timeout(self.connect.request_timeout);
        if let Some(limit) = self.read_timeout {
            builder = builder.read_timeout(limit);
        }
        if way != Way::Proxied {
            builder = builder.no_proxy();
        }
        builder
            .build()
            .map_err(|error| Error::failed("cannot make a client").cause(error.without_url()))
    }

    async fn try_once(
        &self,
        client: &reqwest::Client,
        request: HttpRequest<'_>,
    ) -> Result<HttpResponse, TransportError> {
        let from = monotonic();
        let whole = request.timeout.unwrap_or(self.connect.request_timeout);
        let url = request.url;
        let error = |error: &reqwest::Error, answered| {
            let late = monotonic().saturating_sub(from) >= whole;
            let limit = self.read_timeout.filter(|_| !late);
            let late = match limit {
                Some(limit) => format!("no byte within {} ms", limit.as_millis()),
                None => format!("no whole answer within {} ms", whole.as_millis()),
            };
            self.transport_error(error, url, late, answered)
        };
        let mut headers = request.headers;
        let agent = HeaderValue::from_static(concat!("etl/", env!("CARGO_PKG_VERSION")));
        headers.entry(USER_AGENT).or_insert(agent);
        let mut builder = client
            .request(request.method, url.clone())
            .headers(headers)
            .timeout(whole);
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        let mut answer = builder.send().await.map_err(|e| error(&e, false))?;
        let text = |name: HeaderName| {
            let value = answer.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let mut response = HttpResponse {
            status: answer.status().as_u16(),
            body: Bytes::new(),
            retry_after: dates::retry_after(answer.headers()),
            location: text(LOCATION),
            content_type: text(CONTENT_TYPE),
            wire: Duration::ZERO,
        };
        let read = body::read(&mut answer, request.body_bytes_max).await;
        response.body = read.map_err(|bad| match bad {
            Bad::TooLong(max) => TransportError::Final((request.too_long)(max)),
            Bad::Garbled(words) => {
                let server = url.origin().ascii_serialization();
                TransportError::Final(Error::failed(format!("`{server}`: {words}")))
            }
            Bad::Broken(broken) => error(&broken, true),
        })?;
        response.wire = monotonic().saturating_sub(from);
        Ok(response)
    }

    /// What a failed try means; `late`: what is said where it took too long.
    fn transport_error(
        &self,
        error: &reqwest::Error,
        url: &Url,
        late: String,
        answered: bool,
    ) -> TransportError {
        let words = words(error);
        let server = url.origin().ascii_serialization();
        let last = words.last().cloned().unwrap_or_default();
        let certificate = if self.connect.urls.is_empty() {
            &*format!("the certificate of `{server}`")
        } else {
            "the server's certificate"
        };
        if let Some(error) = tls::distrust(certificate, &words) {
            TransportError::Final(error)
        } else if words.iter().any(|words| words.contains(NO_TLS)) {
            TransportError::Final(
                Error::failed(format!("`{server}` does not speak TLS"))
                    .cause(last)
                    .hint("if it is to be asked without, its address begins with `http://`"),
            )
        } else if error.is_timeout() && error.is_connect() {
            let limit = self.connect.connect_timeout.as_millis();
            TransportError::Unreached(format!("no connection to `{server}` within {limit} ms"))
        } else if error.is_timeout() {
            TransportError::TimedOut(late)
        } else if error.is_connect() {
            TransportError::Unreached(format!("cannot reach `{server}`: {last}"))
        } else if error.is_builder() {
            TransportError::Final(Error::failed("cannot send a request").cause(last))
        } else {
            TransportError::Lost {
                words: format!("the connection broke: {last}"),
                unanswered: !answered,
            }
        }
    }
}

/// What is said of a server that answers a TLS handshake with something else.
const NO_TLS: &str = "InvalidContentType";

/// The words of an error and of what lies behind it, none twice in a row.
pub(crate) fn words(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let mut words: Vec<String> = chain.map(ToString::to_string).collect();
    words.dedup();
    words
}

/// The headers of a request whose answer may be gzipped.
pub fn header_map(given: &[(String, String)]) -> Result<HeaderMap> {
    let bad = |name: &str| {
        // The value may be a secret.
        Error::failed(format!(
            "header `{name}` has a name or value that no header may have"
        ))
    };
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    for (name, value) in given {
        let key: HeaderName = name.parse().map_err(|_| bad(name))?;
        headers.insert(key, HeaderValue::from_str(value).map_err(|_| bad(name))?);
    }
    Ok(headers)
}
