//! How to reach servers: the options that every kind that talks to one takes.

use std::time::Duration;

use serde::Deserialize;

use super::Folder;
use crate::error::{Error, OfValue, Result};
use crate::http::{Connect, Url, parse_url};

/// The options as they stand in the pipeline file.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Options {
    /// with `password`: who we are
    username: Option<String>,
    /// goes with `username`
    password: Option<String>,
    /// an API key, as encoded by the server
    api_key: Option<String>,
    /// an access token
    bearer_token: Option<String>,
    /// PEM file of authorities that are trusted beside the system's
    #[schemars(extend("x-type" = "path"), extend("x-default" = "the system's"))]
    ca_certificate: Option<String>,
    /// PEM file of our own certificate, with `client_key`
    #[schemars(extend("x-type" = "path"))]
    client_certificate: Option<String>,
    /// PEM file of its private key
    #[schemars(extend("x-type" = "path"))]
    client_key: Option<String>,
    /// `false` trusts any certificate: for tests only
    verify: bool,
    /// gzip level of bodies; 0: none
    #[schemars(extend("x-execution" = true))]
    compress: u32,
    /// the longest wait for an answer
    #[schemars(extend("x-execution" = true))]
    request_timeout_ms: u64,
    /// the longest wait for a connection
    #[schemars(extend("x-execution" = true))]
    connect_timeout_ms: u64,
}

/// The longest wait for an answer, by default: longer than the servers take to give up themselves, so
/// that they are the ones who say so.
const REQUEST_TIMEOUT_MS: u64 = 120_000;
const CONNECT_TIMEOUT_MS: u64 = 10_000;

impl Default for Options {
    fn default() -> Self {
        Options {
            username: None,
            password: None,
            api_key: None,
            bearer_token: None,
            ca_certificate: None,
            client_certificate: None,
            client_key: None,
            verify: true,
            compress: 0,
            request_timeout_ms: REQUEST_TIMEOUT_MS,
            connect_timeout_ms: CONNECT_TIMEOUT_MS,
        }
    }
}

impl Options {
    /// The longest wait for a connection.
    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// Whether they hold what only the server may know.
    pub fn says_who_we_are(&self) -> bool {
        let secrets = [
            &self.password,
            &self.api_key,
            &self.bearer_token,
            &self.client_key,
        ];
        secrets.into_iter().any(Option::is_some)
    }

    /// What should not stay so.
    pub fn lint(&self) -> Option<String> {
        let trusts_all = !self.verify;
        trusts_all.then(|| {
            "`verify = false` trusts any certificate: whoever stands between reads and changes what is sent, passwords too (`ca_certificate` names one to trust)".to_owned()
        })
    }

    /// Checks what the file alone shows; `option` names the URLs.
    pub fn check(&self, option: &str, urls: &[String]) -> Result<()> {
        let given = [
            ("password", self.password.is_some()),
            ("api_key", self.api_key.is_some()),
            ("bearer_token", self.bearer_token.is_some()),
        ];
        let given: Vec<&str> = given
            .iter()
            .filter_map(|(name, given)| given.then_some(*name))
            .collect();
        if given.len() > 1 {
            return Err(Error::usage(format!(
                "`{}` and `{}` both say who we are",
                given[0], given[1]
            ))
            .hint("give one of them")
            .of([given[0]])
            .of([given[1]]));
        }
        let pairs = [
            (
                ("username", self.username.is_some()),
                ("password", self.password.is_some()),
            ),
            (
                ("client_certificate", self.client_certificate.is_some()),
                ("client_key", self.client_key.is_some()),
            ),
        ];
        for (one, other) in pairs {
            let (((there, true), (missing, false)) | ((missing, false), (there, true))) =
                (one, other)
            else {
                continue;
            };
            return Err(Error::usage(format!("`{there}` needs `{missing}`"))
                .of([there])
                .of([missing]));
        }
        if self.compress > 9 {
            return Err(Error::usage("`compress` is a gzip level, 0 to 9").of(["compress"]));
        }
        let timeouts = [
            ("request_timeout_ms", self.request_timeout_ms),
            ("connect_timeout_ms", self.connect_timeout_ms),
        ];
        if let Some((name, _)) = timeouts.iter().find(|(_, time)| *time == 0) {
            return Err(
                Error::usage(format!("`{name}` is 0: it leaves no time for an answer")).of([*name]),
            );
        }
        urls.iter()
            .try_for_each(|url| parse_url(url).map(drop).of([option, url]))
    }

    /// All that a client needs, files read: worker processes open none.
    pub fn connect(&self, urls: &[String], folder: &Folder) -> Result<Connect> {
        let read = |path: &Option<String>, what: &str| {
            let Some(path) = path else { return Ok(None) };
            let file = folder.resolve(path);
            std::fs::read_to_string(&file).map(Some).map_err(|error| {
                Error::io(&format!("read `{what}`"), file.display(), &error).of([what])
            })
        };
        let certificate = read(&self.client_certificate, "client_certificate")?;
        let key = read(&self.client_key, "client_key")?;
        let urls: Vec<Url> = urls
            .iter()
            .map(|url| parse_url(url))
            .collect::<Result<_>>()?;
        Ok(Connect {
            authorization: self.authorization(&urls),
            identity: certificate
                .zip(key)
                .map(|(certificate, key)| key + "\n" + &certificate),
            ca_certificate: read(&self.ca_certificate, "ca_certificate")?,
            verify: self.verify,
            compress: self.compress,
            request_timeout: Duration::from_millis(self.request_timeout_ms),
            connect_timeout: self.connect_timeout(),
            urls: urls.into_iter().map(without_user).collect(),
        })
    }

    /// The header that says who we are: from the options, else from the user part of a URL.
    fn authorization(&self, urls: &[Url]) -> Option<String> {
        let basic = |user: &str, password: &str| {
            use base64::Engine as _;
            let pair = format!("{user}:{password}");
            let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
            format!("Basic {encoded}")
        };
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Some(basic(user, password));
        }
        if let Some(key) = &self.api_key {
            return Some(format!("ApiKey {key}"));
        }
        if let Some(token) = &self.bearer_token {
            return Some(format!("Bearer {token}"));
        }
        let url = urls.iter().find(|url| !url.username().is_empty())?;
        let decode = |text: &str| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8_lossy()
                .into_owned()
        };
        Some(basic(
            &decode(url.username()),
            &decode(url.password().unwrap_or_default()),
        ))
    }
}

fn without_user(mut url: Url) -> String {
    // Both fail only where a URL can have no user at all.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Options {
        toml::from_str(text).expect("the test's own options")
    }

    #[test]
    fn who_we_are_is_said_once() {
        let urls = ["http://h:9200".to_owned()];
        let wrong = [
            ("username = \"a\"", "`username` needs `password`"),
            (
                "client_key = \"k\"",
                "`client_key` needs `client_certificate`",
            ),
            (
                "api_key = \"k\"\nbearer_token = \"t\"",
                "`api_key` and `bearer_token` both say who we are",
            ),
            ("compress = 10", "`compress` is a gzip level, 0 to 9"),
        ];
        for (text, message) in wrong {
            let error = options(text).check("to", &urls).expect_err(text);
            assert_eq!(error.message, message);
        }
        let error = options("")
            .check("to", &["h:9200".to_owned()])
            .expect_err("no scheme");
        assert!(error.message.contains("neither `http://`"), "{error}");
    }

    #[test]
    fn credentials_come_from_the_options_or_from_the_url() {
        let connect = |text: &str, url: &str| {
            let folder = Folder(std::path::PathBuf::new());
            options(text)
                .connect(&[url.to_owned()], &folder)
                .expect("it reads no file")
        };
        let connect_to = connect("", "https://me:p%40ss@host/below");
        assert_eq!(
            connect_to.authorization.as_deref(),
            Some("Basic bWU6cEBzcw==")
        );
        assert_eq!(connect_to.urls, ["https://host/below/"]);
        let connect_to = connect("api_key = \"k\"", "https://me:p@host");
        assert_eq!(connect_to.authorization.as_deref(), Some("ApiKey k"));
    }
}
