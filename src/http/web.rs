//! Requests to whatever server a URL names, for kinds that ask many of them or any: a client per lane,
//! redirects left to the caller, answers inflated here and never longer than is allowed.

use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION,
    RETRY_AFTER, USER_AGENT,
};
use tokio::runtime::Runtime;

use super::connect::{Connect, Url, is_loopback, proxy_is_set};
use super::{Trouble, new_runtime, pause, stopped};
use crate::clock::monotonic;
use crate::error::{Error, Result};
use crate::stop::Stop;

/// Sends requests to any server; shared by the threads of a process.
pub struct Web {
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
pub struct Ask<'a> {
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
pub struct Told {
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

impl Web {
    /// A client; connects to nothing yet. The URLs of `connect` mean nothing to it.
    pub fn new(connect: Connect, limits: Limits, stop: Stop) -> Result<Self> {
        let web = Web {
            connect,
            limits,
            lanes: Mutex::default(),
            stop,
        };
        // A certificate that cannot be read is told now, not with the first request.
        if web.connect.ca_certificate.is_some() || web.connect.identity.is_some() {
            web.client(Way::Secure)?;
        }
        Ok(web)
    }

    /// The same for a last word: a stopped run holds it up no more, and it takes no longer than `time`.
    pub fn for_last_words(&self, time: Duration) -> Result<Self> {
        let connect = Connect {
            request_timeout: time,
            connect_timeout: time,
            ..self.connect.clone()
        };
        Web::new(connect, self.limits, Stop::default())
    }

    /// One try of one request.
    pub fn send(&self, ask: &Ask) -> Result<Told, Trouble> {
        let lane = self.lock_lanes().pop();
        let mut lane = match lane {
            Some(lane) => lane,
            None => Lane {
                runtime: new_runtime().map_err(Trouble::Final)?,
                clients: [None, None, None],
            },
        };
        let way = Way::to(ask.url);
        let client = &mut lane.clients[way as usize];
        if client.is_none() {
            *client = Some(self.client(way).map_err(Trouble::Final)?);
        }
        let client = client.as_ref().expect("it was made above");
        let sent = lane.runtime.block_on(async {
            tokio::select! {
                sent = self.try_once(client, ask) => sent,
                error = stopped(&self.stop) => Err(Trouble::Final(error)),
            }
        });
        self.lock_lanes().push(lane);
        sent
    }

    /// Waits, unless the run is to stop.
    pub fn wait(&self, time: Duration) -> Result<()> {
        pause(time, &self.stop)
    }

    fn lock_lanes(&self) -> std::sync::MutexGuard<'_, Vec<Lane>> {
        self.lanes.lock().expect("no one panics holding this lock")
    }

    fn client(&self, way: Way) -> Result<reqwest::Client> {
        let connect = &self.connect;
        let bad = |what: &str, error: &dyn std::fmt::Display| {
            Error::failed(format!("cannot use `{what}`"))
                .cause(error)
                .hint("it is to be a PEM file")
        };
        let mut builder = reqwest::Client::builder()
            .use_rustls_tls()
            .http1_only()
            .no_gzip()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .connect_timeout(connect.connect_timeout)
            .read_timeout(self.limits.read_timeout)
            .timeout(connect.request_timeout)
            .tls_built_in_root_certs(way != Way::Plain)
            .danger_accept_invalid_certs(!connect.verify);
        if way != Way::Proxied {
            builder = builder.no_proxy();
        }
        if let Some(pem) = &connect.ca_certificate {
            let chain = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
                .map_err(|error| bad("ca_certificate", &error))?;
            if chain.is_empty() {
                return Err(bad("ca_certificate", &"it holds no certificate"));
            }
            for certificate in chain {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if let Some(pem) = &connect.identity {
            let identity = reqwest::Identity::from_pem(pem.as_bytes())
                .map_err(|error| bad("client_certificate", &error))?;
            builder = builder.identity(identity);
        }
        builder
            .build()
            .map_err(|error| Error::failed("cannot make a client").cause(error.without_url()))
    }

    async fn try_once(&self, client: &reqwest::Client, ask: &Ask<'_>) -> Result<Told, Trouble> {
        let from = monotonic();
        let trouble = |error: reqwest::Error| self.trouble(&error, ask.url, from);
        let method = reqwest::Method::from_bytes(ask.method.as_bytes())
            .map_err(|error| Trouble::Final(Error::usage("no such method").cause(error)))?;
        let mut request = client
            .request(method, ask.url.clone())
            .headers(headers(ask.headers).map_err(Trouble::Final)?);
        if let Some(body) = &ask.body {
            request = request.body(body.clone());
        }
        if let Some(time) = ask.time {
            request = request.timeout(time);
        }
        let mut answer = request.send().await.map_err(trouble)?;
        let text = |name: HeaderName| {
            let value = answer.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let mut told = Told {
            status: answer.status().as_u16(),
            body: Bytes::new(),
            retry_after: text(RETRY_AFTER).and_then(|text| after(text.trim())),
            location: text(LOCATION),
            content_type: text(CONTENT_TYPE),
        };
        let mut body = Body::new(
            text(CONTENT_ENCODING).as_deref(),
            self.limits.body_bytes_max,
        )?;
        while let Some(chunk) = answer.chunk().await.map_err(trouble)? {
            body.add(&chunk)?;
        }
        told.body = body.finish()?;
        Ok(told)
    }

    /// What a failed try means.
    fn trouble(&self, error: &reqwest::Error, url: &Url, from: Duration) -> Trouble {
        let words = super::words(error);
        let server = url.origin().ascii_serialization();
        let last = words.last().cloned().unwrap_or_default();
        if words.iter().any(|words| words.contains("certificate")) {
            return Trouble::Final(
                Error::failed(format!("the certificate of `{server}` is not trusted"))
                    .cause(last)
                    .hint("`ca_certificate` names the PEM file of the authority that signed it"),
            );
        }
        if error.is_timeout() && error.is_connect() {
            let limit = self.connect.connect_timeout.as_millis();
            return Trouble::Unreached(format!("no connection to `{server}` within {limit} ms"));
        }
        if error.is_timeout() {
            let whole = self.connect.request_timeout;
            return Trouble::TimedOut(if monotonic().saturating_sub(from) >= whole {
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
            Trouble::Unreached(format!("cannot reach `{server}`: {why}"))
        } else if error.is_builder() {
            Trouble::Final(Error::failed("cannot send a request").cause(last))
        } else {
            Trouble::Lost {
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

/// Seconds, or a date.
fn after(text: &str) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than can be counted is for ever.
        let seconds: u32 = text.parse().unwrap_or(u32::MAX);
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    let left = date.signed_duration_since(chrono::Utc::now());
    Some(left.to_std().unwrap_or_default())
}

/// A body that grows up to its limit, inflated.
enum Body {
    Plain(Limited),
    /// And whether anything came: an answer without a body may say that it is packed.
    Gzip(Box<MultiGzDecoder<Limited>>, bool),
}

/// Bytes that refuse to be too many.
struct Limited {
    bytes: Vec<u8>,
    max: usize,
}

impl Write for Limited {
    fn write(&mut self, more: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + more.len() > self.max {
            return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Body {
    fn new(encoding: Option<&str>, max: usize) -> Result<Self, Trouble> {
        let limited = Limited {
            bytes: Vec::new(),
            max,
        };
        match encoding.map(str::trim) {
            None | Some("" | "identity") => Ok(Body::Plain(limited)),
            Some("gzip" | "x-gzip") => {
                Ok(Body::Gzip(Box::new(MultiGzDecoder::new(limited)), false))
            }
            Some(other) => Err(Trouble::Final(Error::failed(format!(
                "the answer's encoding is `{other}`, which was not asked for"
            )))),
        }
    }

    fn add(&mut self, chunk: &[u8]) -> Result<(), Trouble> {
        match self {
            Body::Plain(limited) => limited.write_all(chunk),
            Body::Gzip(inflating, began) => {
                *began |= !chunk.is_empty();
                inflating.write_all(chunk)
            }
        }
        .map_err(|error| self.trouble(&error))
    }

    fn finish(self) -> Result<Bytes, Trouble> {
        match self {
            Body::Plain(limited) => Ok(limited.bytes.into()),
            Body::Gzip(_, false) => Ok(Bytes::new()),
            Body::Gzip(mut inflating, began) => match inflating.try_finish() {
                Ok(()) => Ok(std::mem::take(&mut inflating.get_mut().bytes).into()),
                Err(error) => Err(Body::Gzip(inflating, began).trouble(&error)),
            },
        }
    }

    fn trouble(&self, error: &std::io::Error) -> Trouble {
        let max = match self {
            Body::Plain(limited) => limited.max,
            Body::Gzip(inflating, _) => inflating.get_ref().max,
        };
        Trouble::Final(if error.kind() == std::io::ErrorKind::FileTooLarge {
            Error::failed(format!(
                "the answer is longer than `max_response_bytes` ({max})"
            ))
        } else {
            Error::failed(format!("the answer is not the gzip it says it is: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(encoding: Option<&str>, max: usize, chunks: &[&[u8]]) -> Result<Bytes, String> {
        let words = |trouble| match trouble {
            Trouble::Final(error) => error.message,
            other => format!("{other:?}"),
        };
        let mut body = Body::new(encoding, max).map_err(words)?;
        for chunk in chunks {
            body.add(chunk).map_err(words)?;
        }
        body.finish().map_err(words)
    }

    #[test]
    fn a_body_is_inflated_and_never_longer_than_allowed() {
        let packed = crate::format::gzip::member(&[b'x'; 5000], 6).expect("memory can be written");
        assert_eq!(
            whole(Some("gzip"), 5000, &[&packed[..9], &packed[9..]])
                .expect("it fits")
                .len(),
            5000
        );
        let twice = packed.repeat(2);
        assert_eq!(
            whole(Some("gzip"), 10_000, &[&twice])
                .expect("two members")
                .len(),
            10_000
        );
        let long = "the answer is longer than `max_response_bytes` (4999)";
        assert_eq!(
            whole(Some("gzip"), 4999, &[&packed]).expect_err("a bomb"),
            long
        );
        assert_eq!(
            whole(None, 4999, &[&[b'x'; 3000], &[b'x'; 2000]]).expect_err("endless"),
            long
        );
        let cut = whole(Some("gzip"), 5000, &[&packed[..packed.len() - 9]]).expect_err("it is cut");
        assert!(
            cut.starts_with("the answer is not the gzip it says it is"),
            "{cut}"
        );
        assert!(whole(Some("gzip"), 9, &[]).expect("as of HEAD").is_empty());
        assert!(whole(Some("br"), 9, &[]).is_err());
    }

    #[test]
    fn a_server_says_how_long_in_seconds_or_by_a_date() {
        assert_eq!(after("90"), Some(Duration::from_secs(90)));
        let for_ever = Duration::from_secs(u32::MAX.into());
        assert_eq!(after("99999999999999999999"), Some(for_ever));
        assert_eq!(after("-5"), None);
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(100);
        let wait = after(&soon.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
        let seconds = wait.expect("it is a date").as_secs();
        assert!((98..=100).contains(&seconds), "{seconds}");
        assert_eq!(after("soon"), None);
    }
}
