//! What is never printed: the values of secret options, and the user part of a URL.

use serde_json::Value as Json;
use toml::{Table, Value};

use crate::error::Error;

/// What stands where a secret stood.
const MASK: &str = "***";

/// An option is secret if its name holds one of these, `-` read as `_`.
const SECRET: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "authorization",
];

/// A shorter secret is not looked for in messages: it would be found everywhere, and it is none.
const SECRET_BYTES_MIN: usize = 3;

/// A kind's options for the report, without their secrets.
pub fn masked(options: &Table) -> Json {
    let members = options.iter().map(|(key, value)| {
        let value = if is_secret(key) {
            Json::from(MASK)
        } else {
            masked_value(value)
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

fn masked_value(value: &Value) -> Json {
    match value {
        Value::String(text) => mask_urls(text).into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(truth) => (*truth).into(),
        Value::Datetime(date) => date.to_string().into(),
        Value::Array(values) => values.iter().map(masked_value).collect(),
        Value::Table(table) => masked(table),
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    SECRET.iter().any(|word| key.contains(word))
}

/// Text with the user part of every URL in it masked.
pub(super) fn mask_urls(text: &str) -> String {
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
pub(super) fn scrub(mut error: Error, options: &Table) -> Error {
    let mut secrets = Vec::new();
    gather(options, false, &mut secrets);
    let clean = |text: &mut String| {
        for secret in &secrets {
            *text = text.replace(secret.as_str(), MASK);
        }
        *text = mask_urls(text);
    };
    clean(&mut error.message);
    error.causes.iter_mut().for_each(clean);
    error.hint.as_mut().map(clean);
    error
}

/// The secret values in a table, as they would stand in a message.
fn gather(table: &Table, all: bool, secrets: &mut Vec<String>) {
    for (key, value) in table {
        gather_value(value, all || is_secret(key), secrets);
    }
}

fn gather_value(value: &Value, secret: bool, secrets: &mut Vec<String>) {
    match value {
        Value::Table(table) => gather(table, secret, secrets),
        Value::Array(values) => {
            for value in values {
                gather_value(value, secret, secrets);
            }
        }
        value if secret => {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            if text.len() >= SECRET_BYTES_MIN {
                secrets.push(text);
            }
        }
        _ => {}
    }
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
    }
}
