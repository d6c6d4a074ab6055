//! Sessions: a login that a server wants before it answers, one for each process, shared by its threads.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::Deserialize;

use super::sender::{Request, Sender, Tally};
use super::template::form;
use super::{Method, body_bytes};
use crate::error::{Error, Result};
use crate::format::json::raw::{self, Pointer};
use crate::http::{Url, header_fits, shown};

/// The option `session`.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    url: String,
    #[serde(default = "post")]
    method: Method,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[schemars(with = "Option<serde_json::Value>")]
    body: Option<toml::Value>,
    #[serde(default = "access_token")]
    token: String,
    #[serde(default = "bearer")]
    header: String,
    close_url: Option<String>,
    #[serde(default = "post")]
    close_method: Method,
}

fn post() -> Method {
    Method::Post
}
fn access_token() -> String {
    "/access_token".into()
}
fn bearer() -> String {
    "Authorization: Bearer {token}".into()
}

/// How long a run takes at the end to end its session, a try: what it found does not wait for that.
const CLOSING: Duration = Duration::from_secs(5);

/// How long a run that was interrupted still takes to end its session.
const PARTING: Duration = Duration::from_secs(2);

/// Where the token stands in what is sent with it.
const TOKEN: &str = "{token}";

/// The options, checked.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    open: Request,
    token: Pointer,
    /// Name, and value with [`TOKEN`] in it.
    header: (String, String),
    close: Option<(Method, String)>,
}

impl Plan {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let bad = |key: &str, why: &str| Error::usage(format!("`session.{key}`: {why}")).of([key]);
        let (name, value) = options
            .header
            .split_once(':')
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, value)| header_fits(name, value) && value.contains(TOKEN))
            .ok_or_else(|| {
                bad(
                    "header",
                    "expected `NAME: VALUE` with `{token}` in the value",
                )
            })?;
        let token = Pointer::parse(&options.token)
            .ok_or_else(|| bad("token", "expected a JSON pointer such as `/access_token`"))?;
        if let Some((name, _)) = options
            .headers
            .iter()
            .find(|(name, value)| !header_fits(name, value))
        {
            return Err(bad(
                "headers",
                &format!("`{name}` is no header, or its value is none"),
            ));
        }
        let close = options.close_url.as_ref().map(|url| {
            super::parse_url(&url.replace(TOKEN, "x")).map_err(|why| bad("close_url", &why))?;
            Ok((options.close_method, url.clone()))
        });
        let mut headers: Vec<(String, String)> = options.headers.clone().into_iter().collect();
        Ok(Plan {
            open: Request {
                method: options.method.as_str(),
                url: super::parse_url(&options.url).map_err(|why| bad("url", &why))?,
                body: options
                    .body
                    .as_ref()
                    .map(|body| serde_json::to_value(body).expect("TOML is plain data"))
                    .map(|body| body_bytes(&body, true, &mut headers, form)),
                headers,
                // A second session is no harm but for its place, which the server takes back.
                repeatable: true,
                extra: true,
                time: None,
            },
            token,
            header: (name.to_owned(), value.to_owned()),
            close: close.transpose()?,
        })
    }

    /// How long it takes at most to end a session of a run that was interrupted.
    pub(super) fn parting(&self) -> Option<Duration> {
        self.close.is_some().then_some(PARTING)
    }

    /// The header in which the token is sent.
    pub(super) fn header_name(&self) -> &str {
        &self.header.0
    }
}

/// A session as long as it lasts, and its successors.
pub(super) struct Login {
    plan: Plan,
    /// What says who we are to the server of the session.
    authorization: Option<(String, String)>,
    current: Mutex<Token>,
}

#[derive(Clone, Default)]
struct Token {
    text: String,
    /// Which one it is.
    number: u64,
}

impl Login {
    /// Opens a session.
    pub(super) fn open(
        plan: Plan,
        authorization: Option<(String, String)>,
        sender: &Sender,
    ) -> Result<Self> {
        let login = Login {
            plan,
            authorization,
            current: Mutex::default(),
        };
        let mut token = login.lock();
        token.text = login.log_in(sender, &mut Tally::default())?;
        drop(token);
        Ok(login)
    }

    fn lock(&self) -> MutexGuard<'_, Token> {
        self.current
            .lock()
            .expect("no one panics holding this lock")
    }

    /// The header of a request, and the number of the token in it. Waits while the session is renewed.
    pub(super) fn header(&self) -> ((String, String), u64) {
        let token = self.lock().clone();
        let (name, value) = &self.plan.header;
        (
            (name.clone(), value.replace(TOKEN, &token.text)),
            token.number,
        )
    }

    /// Another session in place of the one with token `number`; by the first that asks, the others wait.
    pub(super) fn renew(&self, number: u64, sender: &Sender, tally: &mut Tally) -> Result<()> {
        let mut token = self.lock();
        if token.number == number {
            tally.renewals += 1;
            token.text = self.log_in(sender, tally)?;
            token.number += 1;
        }
        Ok(())
    }

    fn log_in(&self, sender: &Sender, tally: &mut Tally) -> Result<String> {
        let mut open = self.plan.open.clone();
        open.headers.extend(self.authorization.clone());
        let failed = |why: &str| {
            let server = shown(&open.url);
            Error::failed(format!("cannot open a session at `{server}`"))
                .cause(sender.clean(why))
                .hint("see `session`")
        };
        let response = sender
            .send_until_done(&open, tally)?
            .map_err(|failure| failed(&failure.reason))?;
        let body = String::from_utf8_lossy(&response.body);
        raw::check(&body).map_err(|why| failed(&format!("the answer is not JSON: {why}")))?;
        let token = raw::find(&body, &self.plan.token.0)
            .and_then(raw::text)
            .filter(|token| !token.is_empty())
            .ok_or_else(|| failed("the answer has nothing where `session.token` points"))?;
        sender.keep_secret(&token);
        let (name, value) = &self.plan.header;
        if !header_fits(name, &value.replace(TOKEN, &token)) {
            return Err(failed(
                "the token holds a character that no header may have",
            ));
        }
        Ok(token.into_owned())
    }

    /// Ends the session, if the server wants to know; whether it did not hear of it.
    pub(super) fn close(&self, sender: &Sender) -> Result<bool> {
        let Some(close) = self.closing() else {
            return Ok(false);
        };
        let response = sender.send_until_done(&close, &mut Tally::default())?;
        Ok(response.is_err())
    }

    /// Ends the session by one quick try, whatever comes of it.
    pub(super) fn part(&self, sender: &Sender) {
        if let Some(close) = self.closing() {
            sender.goodbye(&close, PARTING);
        }
    }

    /// The request that ends the session, if the server wants to know.
    fn closing(&self) -> Option<Request> {
        let (method, url) = self.plan.close.as_ref()?;
        let (header, _) = self.header();
        let encoded = percent_encoding::utf8_percent_encode(
            &self.lock().text,
            percent_encoding::NON_ALPHANUMERIC,
        )
        .to_string();
        Some(Request {
            method: method.as_str(),
            // It was looked at with another token in it, and an encoded one changes nothing.
            url: Url::parse(&url.replace(TOKEN, &encoded)).ok()?,
            headers: vec![header],
            body: None,
            repeatable: true,
            extra: true,
            time: Some(CLOSING),
        })
    }
}
