//! Requests to whatever server a URL names, for kinds that ask many of them or any: a client per lane,
//! redirects left to the caller, answers inflated here and never longer than is allowed.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};

use super::body::{self, Bad};
use super::connect::{Connect, Url, is_loopback, proxy_is_set};
use super::{Runtime, TransportError, dates, tls};
use crate::clock::monotonic;
use crate::error::{Error, Result};
use crate::stop::Stop;

/// Sends requests to any server; shared by the threads of a process.
pub struct HttpClient {
    connect: Connect,
    limits: Limits,
    lanes: Mutex<Vec<Lane>>,
    stop: Stop,
}

/// What an answer may take.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// The longest wait for a byte.
    pub read_timeout: Duration,
    /// The longest body, inflated.
    pub body_bytes_max: usize,
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
#[derive(Debug, Clone)]
pub struct HttpRequest<'a> {
    /// `GET` and so on.
    pub method: &'a str,
    /// Where.
    pub url: &'a Url,
    /// Names and values.
    pub headers: &'a [(String, String)],
    /// As it is sent.
    pub body: Option<Bytes>,
    /// What the whole of it may take, where that is less than for others.
    pub time: Option<Duration>,
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
    /// A client; connects to nothing yet. The URLs of `connect` mean nothing to it.
    pub fn new(connect: Connect, limits: Limits, stop: Stop) -> Result<Self> {
        let client = HttpClient {
            connect,
            limits,
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
        HttpClient::new(connect, self.limits, Stop::default())
    }

    /// One try of one request.
    pub fn send(&self, request: &HttpRequest) -> Result<HttpResponse, TransportError> {
        let lane = self.lock_lanes().pop();
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
        self.lock_lanes().push(lane);
        sent
    }

    /// Waits, unless the run is to stop.
    pub fn wait(&self, time: Duration) -> Result<()> {
        self.stop.sleep(time)
    }

    fn lock_lanes(&self) -> std::sync::MutexGuard<'_, Vec<Lane>> {
        self.lanes.lock().expect("no one panics holding this lock")
    }

    fn client(&self, way: Way) -> Result<reqwest::Client> {
        let mut builder = tls::builder(&self.connect, way != Way::Plain)?
            .pool_max_idle_per_host(1)
            .read_timeout(self.limits.read_timeout)
            .timeout(self.connect.request_timeout);
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
        request: &HttpRequest<'_>,
    ) -> Result<HttpResponse, TransportError> {
        let from = monotonic();
        let transport_error =
            |error: reqwest::Error| self.transport_error(&error, request.url, from);
        let method = reqwest::Method::from_bytes(request.method.as_bytes())
            .map_err(|error| TransportError::Final(Error::usage("no such method").cause(error)))?;
        let mut builder = client
            .request(method, request.url.clone())
            .headers(headers(request.headers).map_err(TransportError::Final)?);
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        if let Some(time) = request.time {
            builder = builder.timeout(time);
        }
        let mut answer = builder.send().await.map_err(transport_error)?;
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
        };
        let read = body::read(&mut answer, self.limits.body_bytes_max).await;
        response.body = read.map_err(|bad| match bad {
            Bad::TooLong(max) => TransportError::Final(Error::failed(format!(
                "the answer is longer than `max_response_bytes` ({max})"
            ))),
            Bad::Garbled(words) => TransportError::Final(Error::failed(words)),
            Bad::Broken(error) => transport_error(error),
        })?;
        Ok(response)
    }

    /// What a failed try means.
    fn transport_error(&self, error: &reqwest::Error, url: &Url, from: Duration) -> TransportError {
        let words = super::words(error);
        let server = url.origin().ascii_serialization();
        let last = words.last().cloned().unwrap_or_default();
        if let Some(error) = tls::distrust(&format!("the certificate of `{server}`"), &words) {
            return TransportError::Final(error);
        }
        if error.is_timeout() && error.is_connect() {
            let limit = self.connect.connect_timeout.as_millis();
            return TransportError::Unreached(format!(
                "no connection to `{server}` within {limit} ms"
            ));
        }
        if error.is_timeout() {
            let whole = self.connect.request_timeout;
            return TransportError::TimedOut(if monotonic().saturating_sub(from) >= whole {
                format!("no whole answer within {} ms", whole.as_millis())
            } else {
                format!("no byte within {} ms", self.limits.read_timeout.as_millis())
            });
        }
        if error.is_connect() {
            let plain = words.iter().any(|words| words.contains(super::NO_TLS));
            let why = if plain {
                "it does not speak TLS (does its address begin with `http://`?)"
            } else {
                &*last
            };
            TransportError::Unreached(format!("cannot reach `{server}`: {why}"))
        } else if error.is_builder() {
            TransportError::Final(Error::failed("cannot send a request").cause(last))
        } else {
            TransportError::Lost {
                words: format!("the connection broke: {last}"),
                // Nobody asks: it is repeated, or not, whatever had come.
                unanswered: false,
            }
        }
    }
}

fn headers(given: &[(String, String)]) -> Result<HeaderMap> {
    let bad = |name: &str| {
        // The value may be a secret.
        Error::failed(format!(
            "header `{name}` has a name or value that no header may have"
        ))
    };
    let mut headers = HeaderMap::new();
    let agent = concat!("etl/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    for (name, value) in given {
        let key: HeaderName = name.parse().map_err(|_| bad(name))?;
        headers.insert(key, HeaderValue::from_str(value).map_err(|_| bad(name))?);
    }
    Ok(headers)
}
