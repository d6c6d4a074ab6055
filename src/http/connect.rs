//! Which servers, and how they are reached.

use std::time::Duration;

pub use elasticsearch::http::Url;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How to reach servers, files read. Worker processes receive it over standard input only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connect {
    /// Their addresses, without users.
    pub urls: Vec<String>,
    /// The header that says who we are.
    pub authorization: Option<String>,
    /// PEM of authorities that are trusted beside the system's.
    pub ca_certificate: Option<String>,
    /// PEM of our own certificate and its key.
    pub identity: Option<String>,
    /// Whether certificates are looked at.
    pub verify: bool,
    /// The gzip level of bodies; 0: none.
    pub compress: u32,
    /// The longest wait for an answer.
    pub request_timeout: Duration,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
}

/// A server's address; below its path all requests go.
pub(crate) fn parse_url(text: &str) -> Result<Url> {
    // Whatever is wrong with it, there may be a password in it, or a key in its query.
    let place = text.split(['?', '#']).next().unwrap_or_default();
    let shown = match text.rsplit_once('@') {
        Some((before, _)) if before.contains(['?', '#']) => "***".to_owned(),
        Some((_, host)) => format!("***@{}", host.split(['?', '#']).next().unwrap_or_default()),
        None => place.to_owned(),
    };
    let bad = |why: &dyn std::fmt::Display| {
        Error::usage(format!("`{shown}` is not a server's address: {why}"))
            .hint("write it like `https://host:9200`")
    };
    let mut url = Url::parse(text).map_err(|error| bad(&error))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(bad(&"it begins with neither `http://` nor `https://`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad(&"it has a query"));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// A server's address as it may be printed.
pub(crate) fn shown(url: &Url) -> String {
    let origin = url.origin().ascii_serialization();
    format!("{origin}{}", url.path().trim_end_matches('/'))
}

/// Whether a URL's host is this machine, for which there are no proxies.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") | None => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
    }
}

/// Whether the environment names a proxy.
pub(super) fn proxy_is_set() -> bool {
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
        .iter()
        .flat_map(|name| [(*name).to_owned(), name.to_lowercase()])
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Looks whether somebody listens where `url` points; nothing is asked there.
pub fn listens(url: &str, limit: Duration) -> Result<String> {
    let parsed = Url::parse(url)
        .map_err(|error| Error::usage(format!("`{url}` is not a server's address")).cause(error))?;
    if proxy_is_set() && !is_loopback(&parsed) {
        return Ok("behind the environment's proxy: not looked at".into());
    }
    let gone = |error: &dyn std::fmt::Display| {
        Error::failed(format!("cannot reach `{}`", shown(&parsed))).cause(error)
    };
    let addresses = parsed.socket_addrs(|| None).map_err(|error| gone(&error))?;
    let mut last = None;
    for address in addresses {
        match std::net::TcpStream::connect_timeout(&address, limit) {
            Ok(_) => return Ok("answers".into()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| gone(&"it has no address"), |error| gone(&error)))
}
