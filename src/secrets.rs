//! What is never printed: the values of secret options, and of environment variables with such a name
//! wherever they stand, and the user part of a URL.

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC};
use serde_json::Value as Json;
use toml::{Table, Value};

use crate::error::Error;

/// What stands where a secret stood.
const MASK: &str = "***";

/// An option is secret if its name holds one of these, `-` read as `_`.
const SECRET: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "authorization",
    "cookie",
];

/// A shorter secret is not looked for in messages: it would be found everywhere, and it is none.
const SECRET_BYTES_MIN: usize = 3;

/// A shorter environment variable is none either: a name like `TOKENIZER` may hold `false`.
const VARIABLE_BYTES_MIN: usize = 6;

/// What is escaped of a value that is put into a URL (RFC 3986, 2.3).
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What is escaped of a query that stands in a URL as it is (the WHATWG's query percent-encode set).
const IN_QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\'');

/// A kind's options for the report, without their secrets.
pub fn masked(options: &Table) -> Json {
    masked_table(options, &Secrets::of(options))
}

fn masked_table(options: &Table, secrets: &Secrets) -> Json {
    let members = options.iter().map(|(key, value)| {
        let value = if is_secret(key) {
            Json::from(MASK)
        } else {
            masked_value(value, secrets)
        };
        (key.clone(), value)
    });
    Json::Object(members.collect())
}

/// A `--set` as it may be printed.
pub fn masked_set(set: &str) -> String {
    match set.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{key}={MASK}"),
        _ => mask_urls(set),
    }
}

fn masked_value(value: &Value, secrets: &Secrets) -> Json {
    match value {
        Value::String(text) => secrets.clean(text).into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(truth) => (*truth).into(),
        Value::Datetime(date) => date.to_string().into(),
        Value::Array(values) => {
            let masked = values.iter().map(|value| masked_value(value, secrets));
            masked.collect()
        }
        Value::Table(table) => masked_table(table, secrets),
    }
}

/// Whether the value under such a name is never printed.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    SECRET.iter().any(|word| key.contains(word))
}

/// Text with the user part of every URL in it masked.
pub fn mask_urls(text: &str) -> String {
    mask_queries(&mask_users(text))
}

/// The parts of a query, `name=value`, whose names are those of secrets: where the values are.
fn query_secrets(text: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let starts = text.match_indices(['?', '&']).map(|(at, _)| at + 1);
    starts.filter_map(|from| {
        let part = &text[from..];
        let part = &part[..part
            .find(|c: char| "&# `\"'".contains(c))
            .unwrap_or(part.len())];
        let (name, value) = part.split_once('=')?;
        let value_from = from + name.len() + 1;
        (is_secret(name) && !value.is_empty()).then(|| value_from..value_from + value.len())
    })
}

fn mask_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for value in query_secrets(text) {
        out.push_str(&text[at..value.start]);
        out.push_str(MASK);
        at = value.end;
    }
    out.push_str(&text[at..]);
    out
}

fn mask_users(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let authority = after
            .find(|c: char| "/?#`\"'".contains(c))
            .unwrap_or(after.len());
        rest = after;
        if let Some(user) = after[..authority].rfind('@') {
            out.push_str(MASK);
            rest = &after[user..];
        }
    }
    out.push_str(rest);
    out
}

/// An error without the secrets among `options`, whoever wrote its text.
pub fn scrub(mut error: Error, options: &Table) -> Error {
    let secrets = Secrets::of(options);
    let clean = |text: &mut String| *text = secrets.clean(text);
    clean(&mut error.message);
    error.causes.iter_mut().for_each(clean);
    error.hint.as_mut().map(clean);
    error
}

/// The values that are never printed.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Those among a kind's options, and those of the environment: a kind may be told of them by `${NAME}`,
    /// or hand them on.
    pub fn of(options: &Table) -> Self {
        let mut secrets = Secrets::default();
        gather(options, false, &mut secrets);
        let named = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_secret));
        for value in named.filter_map(|(_, value)| value.into_string().ok()) {
            if value.len() >= VARIABLE_BYTES_MIN {
                secrets.add(&value);
            }
        }
        secrets
    }

    /// One more, in all the ways it may be written; of `Bearer x` also the `x` alone. A short one is none.
    pub fn add(&mut self, secret: &str) {
        let alone = secret.split_once(' ').map(|(_, alone)| alone);
        for secret in [Some(secret), alone].into_iter().flatten() {
            if secret.len() < SECRET_BYTES_MIN {
                continue;
            }
            for form in written(secret) {
                if !self.0.contains(&form) {
                    self.0.push(form);
                }
            }
        }
        // The longest first: what is left of one must not show where a part of it was masked.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// A text without them, whoever wrote it.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), MASK);
            }
        }
        mask_urls(&text)
    }
}

/// A secret as it may stand in a message: as it is, in JSON, in JSON within JSON, and in a URL (where more or
/// less of it is escaped).
fn written(secret: &str) -> [String; 5] {
    let json = |text: &str| {
        let quoted = Json::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let once = json(secret);
    let percent = |set| percent_encoding::utf8_percent_encode(secret, set).to_string();
    [
        json(&once),
        percent(IN_URL),
        percent(IN_QUERY),
        once,
        secret.to_owned(),
    ]
}

/// The secret values in a table, as they would stand in a message.
fn gather(table: &Table, all: bool, secrets: &mut Secrets) {
    for (key, value) in table {
        gather_value(value, all || is_secret(key), secrets);
    }
}

fn gather_value(value: &Value, secret: bool, secrets: &mut Secrets) {
    match value {
        Value::Table(table) => gather(table, secret, secrets),
        Value::Array(values) => {
            for value in values {
                gather_value(value, secret, secrets);
            }
        }
        value if secret => match value {
            Value::String(text) => secrets.add(text),
            other => secrets.add(&other.to_string()),
        },
        Value::String(text) => gather_urls(text, secrets),
        _ => {}
    }
}

/// What a URL holds of secrets: its password, and the values of a query that are named so.
fn gather_urls(text: &str, secrets: &mut Secrets) {
    for (at, _) in text.match_indices("://") {
        let after = &text[at + 3..];
        let authority = &after[..after.find(['/', '?', '#']).unwrap_or(after.len())];
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        if let Some((_, password)) = user.and_then(|user| user.split_once(':')) {
            secrets.add(password);
        }
    }
    query_secrets(text).for_each(|value| secrets.add(&text[value]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_the_command_line_are_not_printed() {
        let cases = [
            ("index.password=a=b", "index.password=***"),
            (
                "index.to=\"http://me:p w@h:9200\"",
                "index.to=\"http://***@h:9200\"",
            ),
            ("index.batch_docs=5", "index.batch_docs=5"),
            ("name", "name"),
        ];
        for (set, shown) in cases {
            assert_eq!(masked_set(set), shown);
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let options: Table = r#"
            to = ["https://me:pw@host:9200/x?y=a@b", "http://host/@"]
            password = "hunter2"
            api_key = ["one", "two"]
            headers = { X-Api-Key = "three", Accept = "json" }
            batch_docs = 5
        "#
        .parse()
        .unwrap();
        assert_eq!(
            masked(&options),
            serde_json::json!({
                "api_key": "***", "batch_docs": 5,
                "headers": { "Accept": "json", "X-Api-Key": "***" },
                "password": "***", "to": ["https://***@host:9200/x?y=a@b", "http://host/@"],
            })
        );
        let error =
            Error::failed("`hunter2` and `three` at `https://me:pw@host/`").cause("hunter2");
        let error = scrub(error, &options);
        assert_eq!(error.message, "`***` and `***` at `https://***@host/`");
        assert_eq!(error.causes, ["***"]);
        let options: Table = "url = 'http://u:pass@h/?a=1&api_key=k-7#x'\ncookie = 'Bearer tick'"
            .parse()
            .unwrap();
        let said = Secrets::of(&options).clean("k-7, tick, pass; http://h/?token=t&b=2");
        assert_eq!(said, "***, ***, ***; http://h/?token=***&b=2");
    }

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        let secret = "hunter2\"9 q\\|ä";
        let mut secrets = Secrets::default();
        secrets.add(secret);
        let once = Json::from(secret).to_string();
        let texts = [
            secret.to_owned(),
            Json::from(once.clone()).to_string(),
            once,
            "hunter2%229%20q%5C%7C%C3%A4".into(),
            "hunter2%229%20q\\|%C3%A4".into(),
        ];
        for text in texts {
            let cleaned = secrets.clean(&text);
            assert!(!cleaned.contains("hunter2"), "{text}: {cleaned}");
        }
    }
}
