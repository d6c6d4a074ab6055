//! Files of web servers, read in parts; and the client with which object stores are read.
//!
//! A server's answer to a request for the first byte says all that is known of a file: HEAD is refused by many, and to
//! an address that is signed for GET. Whether it is still the same file is seen from each answer's version (`ETag`), time
//! of change and length; a condition would be refused where that version is a weak one.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue,
    LAST_MODIFIED, RANGE, USER_AGENT,
};
use reqwest::{Response, StatusCode};

use super::client::words;
use super::connect::{Connect, Url, is_loopback};
use super::retry::{RetryPolicy, retries_on};
use super::{dates, tls};
use crate::error::{Error, Result};

/// A connection that takes longer is tried again.
const CONNECTING_MAX: Duration = Duration::from_secs(10);
/// A machine of a cloud's answers its own at once.
const METADATA_CONNECTING_MAX: Duration = Duration::from_secs(1);
/// A server that sends nothing for so long is asked again.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// So long one request may take: 8 MiB at 14 kB a second.
const REQUEST_MAX: Duration = Duration::from_mins(10);

/// About half a minute of tries: a server that restarts is back by then.
const RETRIES: RetryPolicy = RetryPolicy {
    delay: Duration::from_millis(100),
    delay_max: Duration::from_secs(15),
    retries: 8,
};

/// So many redirects are followed.
const REDIRECTS_MAX: usize = 10;

/// So many bytes of a stream are gathered before they cross to another thread.
const GATHERED: usize = 256 << 10;

/// A client for a store of objects at `endpoint`; `None`: at its usual place. It trusts the authorities of the PEM text
/// `ca` too. Unless it `is_alone`, credentials are asked for elsewhere.
pub(crate) fn store_client(
    endpoint: Option<&str>,
    is_alone: bool,
    ca: Option<String>,
) -> Result<reqwest::Client> {
    let endpoint = endpoint.and_then(|endpoint| Url::parse(endpoint).ok());
    let is_near = endpoint.as_ref().is_some_and(is_loopback);
    // Credentials may come from elsewhere, by TLS, though the store itself is asked without.
    let is_plain = endpoint.is_some_and(|url| url.scheme() == "http");
    build(builder(is_near, !(is_plain && is_near && is_alone), ca)?)
}

/// A client for the services that tell a cloud's own machines who they are: without a proxy, and elsewhere there is nobody
/// to wait for.
pub(crate) fn metadata_client() -> Result<reqwest::Client> {
    build(builder(true, false, None)?.connect_timeout(METADATA_CONNECTING_MAX))
}

fn builder(
    is_near: bool,
    secure: bool,
    ca_certificate: Option<String>,
) -> Result<reqwest::ClientBuilder> {
    let connect = Connect {
        urls: Vec::new(),
        authorization: None,
        ca_certificate,
        identity: None,
        verify: true,
        compress: 0,
        request_timeout: REQUEST_MAX,
        connect_timeout: CONNECTING_MAX,
    };
    let agent = HeaderValue::from_static(concat!("etl/", env!("CARGO_PKG_VERSION")));
    let builder = tls::builder(&connect, secure)?
        .read_timeout(SILENCE_MAX)
        .timeout(REQUEST_MAX)
        .default_headers(HeaderMap::from_iter([(USER_AGENT, agent)]));
    Ok(if is_near { builder.no_proxy() } else { builder })
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    let built = builder.build();
    built.map_err(|error| Error::failed("cannot make a client").cause(error.without_url()))
}

/// What a server says of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FileHead {
    /// Its length, if it says so.
    pub(crate) bytes: Option<u64>,
    /// When it was last changed, in the server's words.
    pub(crate) modified: Option<String>,
    /// What this version is called.
    pub(crate) etag: Option<String>,
    /// Whether it gives parts.
    pub(crate) has_ranges: bool,
}

impl FileHead {
    /// When it was last changed, RFC 3339.
    pub(crate) fn changed_at(&self) -> Option<String> {
        let time = chrono::DateTime::parse_from_rfc2822(self.modified.as_ref()?).ok()?;
        let time = time.to_utc();
        Some(time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    }

    /// Whether two looks at it would show a change.
    pub(crate) fn has_version(&self) -> bool {
        self.etag.is_some() || self.modified.is_some()
    }

    fn of(headers: &HeaderMap) -> FileHead {
        FileHead {
            bytes: None,
            modified: text(headers, &LAST_MODIFIED),
            etag: text(headers, &ETAG),
            has_ranges: false,
        }
    }

    /// Whether a later answer is about the same file; what either does not say makes no difference.
    fn is_still(&self, now: &FileHead) -> bool {
        fn alike<T: PartialEq>(was: Option<&T>, now: Option<&T>) -> bool {
            was.is_none() || now.is_none() || was == now
        }
        alike(self.etag.as_ref(), now.etag.as_ref())
            && alike(self.modified.as_ref(), now.modified.as_ref())
            && alike(self.bytes.as_ref(), now.bytes.as_ref())
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// Where a part begins and how long the whole file is, from `bytes FROM-TO/ALL` or `bytes */ALL`.
fn part(headers: &HeaderMap) -> (Option<u64>, Option<u64>) {
    let range = text(headers, &CONTENT_RANGE).unwrap_or_default();
    let range = range.strip_prefix("bytes ").unwrap_or_default();
    let (part, all) = range.split_once('/').unwrap_or_default();
    let from = part.split_once('-').and_then(|(from, _)| from.parse().ok());
    (from, all.parse().ok())
}

/// What a try came to that has not done it.
enum Again {
    /// Another one may; a server may ask to be left alone for a time.
    Later(Error, Option<Duration>),
    Never(Error),
}

/// Reads files of one web server.
#[derive(Debug, Clone)]
pub(crate) struct WebFiles(reqwest::Client);

impl WebFiles {
    /// Reads those of the server that `url` names.
    pub(crate) fn new(url: &Url) -> Result<WebFiles> {
        // A secret in an address goes to no one who listens.
        let redirects = reqwest::redirect::Policy::custom(|attempt| {
            let was_secure = attempt.previous().iter().any(|url| url.scheme() == "https");
            if attempt.previous().len() > REDIRECTS_MAX {
                attempt.error(format!("more than {REDIRECTS_MAX} redirects"))
            } else if was_secure && attempt.url().scheme() != "https" {
                attempt.error("it is redirected from https to http")
            } else {
                attempt.follow()
            }
        });
        build(builder(is_loopback(url), true, None)?.redirect(redirects)).map(WebFiles)
    }

    /// What the server says of a file; `name` is how it is called.
    pub(crate) async fn look(&self, url: &Url, name: &str) -> Result<FileHead> {
        let mut tries = 0;
        loop {
            let looked = match self.get(url, name, Some((0, 1))).await {
                Ok(answer) => return Ok(head(&answer)),
                Err(again) => again,
            };
            pause(looked, &mut tries).await?;
        }
    }

    /// The bytes from `from` to `to` of a file that is still what it was.
    pub(crate) async fn range(
        &self,
        url: &Url,
        name: &str,
        was: &FileHead,
        from: u64,
        to: u64,
    ) -> Result<Bytes> {
        let mut read = Vec::with_capacity(usize::try_from(to - from).unwrap_or_default());
        let mut tries = 0;
        while (read.len() as u64) < to - from {
            let at = from + read.len() as u64;
            let before = read.len();
            if let Err(again) = self.part(url, name, was, (at, to), &mut read).await {
                // What brings it on is no failed try.
                tries = if read.len() > before { 0 } else { tries };
                pause(again, &mut tries).await?;
            }
        }
        Ok(read.into())
    }

    /// Reads on from `at` to `to`.
    async fn part(
        &self,
        url: &Url,
        name: &str,
        was: &FileHead,
        (at, to): (u64, u64),
        read: &mut Vec<u8>,
    ) -> Result<(), Again> {
        let mut answer = self.get(url, name, Some((at, to))).await?;
        let now = head(&answer);
        let (from, _) = part(answer.headers());
        if !was.is_still(&now) {
            return Err(Again::Never(replaced(name)));
        }
        if answer.status() != StatusCode::PARTIAL_CONTENT || from != Some(at) {
            let error = Error::failed(format!(
                "`{name}`: the server does not give the part that it is asked for"
            ));
            return Err(Again::Never(error));
        }
        let mut left = usize::try_from(to - at).unwrap_or(usize::MAX);
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| broken(url, name, &error))?
        {
            let taken = chunk.len().min(left);
            read.extend_from_slice(&chunk[..taken]);
            left -= taken;
            if left == 0 {
                return Ok(());
            }
        }
        let error = Error::failed(format!(
            "`{name}`: the server sent less than it was asked for"
        ));
        Err(Again::Later(error, None))
    }

    /// Begins to read a whole file that is still what it was.
    pub(crate) fn stream(&self, url: &Url, name: &str, was: FileHead) -> WebStream {
        WebStream {
            files: self.clone(),
            url: url.clone(),
            name: name.to_owned(),
            was,
            answer: None,
            read: 0,
        }
    }

    async fn get(
        &self,
        url: &Url,
        name: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Response, Again> {
        let mut request = self.0.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        if let Some((from, to)) = range {
            request = request.header(RANGE, format!("bytes={from}-{}", to - 1));
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| broken(url, name, &error))?;
        let status = answer.status();
        if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(answer);
        }
        let words = format!(
            "{} {}",
            status.as_u16(),
            super::status_words(status.as_u16())
        );
        let error = match status.as_u16() {
            404 | 410 => Error::failed(format!("`{name}` is not there")).hint("look at the address"),
            401 | 403 => Error::failed(format!("`{name}`: it is refused"))
                .hint("a signed address ends after a time; a loader sends no credentials of its own, kind `fetch` does"),
            _ => Error::failed(format!("cannot read `{name}`")),
        };
        let error = error.cause(format!("the server answers {}", words.trim_end()));
        let wait = dates::retry_after(answer.headers());
        Err(
            if retries_on(status.as_u16(), true) || status.is_server_error() {
                Again::Later(error, wait)
            } else {
                Again::Never(error)
            },
        )
    }
}

/// What an answer says of a file.
fn head(answer: &Response) -> FileHead {
    let headers = answer.headers();
    let length = text(headers, &CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let is_part = answer.status() != StatusCode::OK;
    let (_, all) = part(headers);
    FileHead {
        bytes: if is_part { all } else { length },
        has_ranges: is_part && all.is_some(),
        ..FileHead::of(headers)
    }
}

/// Waits before the next try, or ends with why the last one failed.
async fn pause(again: Again, tries: &mut u32) -> Result<()> {
    match again {
        Again::Never(error) => Err(error),
        Again::Later(error, retry_after) => {
            *tries += 1;
            let Some(wait) = RETRIES.wait(*tries, retry_after) else {
                return Err(error.hint("every try failed; look whether the server can be reached from here, and run again"));
            };
            tokio::time::sleep(wait).await;
            Ok(())
        }
    }
}

fn broken(url: &Url, name: &str, error: &reqwest::Error) -> Again {
    let words = words(error);
    let server = url.origin().ascii_serialization();
    if let Some(mut distrust) = tls::distrust(&format!("the certificate of `{server}`"), &words) {
        distrust.hint = Some(CA_HINT.into());
        return Again::Never(distrust);
    }
    // The words before the last one may have the whole address.
    let last = words.last().filter(|last| !last.contains("://"));
    let error_words = last
        .cloned()
        .unwrap_or_else(|| "the connection broke".into());
    let failed = Error::failed(format!("cannot read `{name}`")).cause(error_words);
    if error.is_builder() || error.is_redirect() {
        Again::Never(failed)
    } else {
        Again::Later(failed, None)
    }
}

/// What to do where a server's certificate is not trusted.
pub(crate) const CA_HINT: &str = "if it is your own authority's, name that one's PEM file in the environment: `SSL_CERT_FILE=FILE`";

fn replaced(name: &str) -> Error {
    Error::failed(format!(
        "`{name}` was replaced by another file after the run began"
    ))
    .hint("another program writes it? run again once it is complete")
}

/// A whole file on its way, from a server that gives no parts.
pub(crate) struct WebStream {
    files: WebFiles,
    url: Url,
    name: String,
    was: FileHead,
    answer: Option<Response>,
    read: u64,
}

impl WebStream {
    /// The next bytes; none: it has ended. After a break it begins anew and leaves out what was read, if the server says
    /// that the file is the same.
    pub(crate) async fn next(&mut self) -> Result<Bytes> {
        let mut tries = 0;
        loop {
            let again = match self.gather().await {
                Ok(bytes) => return Ok(bytes),
                Err(again) => again,
            };
            self.answer = None;
            let again = match again {
                Again::Later(error, _) if self.read > 0 && !self.was.has_version() => {
                    let hint = "the server gives no parts and does not say which version of the file it sends; download it first";
                    Again::Never(error.hint(hint))
                }
                again => again,
            };
            pause(again, &mut tries).await?;
        }
    }

    async fn gather(&mut self) -> Result<Bytes, Again> {
        let mut skip = 0;
        if self.answer.is_none() {
            let answer = self.files.get(&self.url, &self.name, None).await?;
            if !self.was.is_still(&head(&answer)) {
                return Err(Again::Never(replaced(&self.name)));
            }
            self.answer = Some(answer);
            skip = self.read;
        }
        let answer = self.answer.as_mut().expect("it was just made");
        let mut bytes = Vec::new();
        while bytes.len() < GATHERED {
            let chunk = answer.chunk().await;
            let chunk = chunk.map_err(|error| broken(&self.url, &self.name, &error))?;
            let Some(chunk) = chunk else { break };
            let left_out = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= left_out as u64;
            bytes.extend_from_slice(&chunk[left_out..]);
        }
        self.read += bytes.len() as u64;
        Ok(bytes.into())
    }
}
