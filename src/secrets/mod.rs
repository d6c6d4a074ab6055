//! What is never printed: the values of secret options, and of environment variables with such a name
//! wherever they stand, the user part of a URL, and the query of a web address.

mod urls;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC};
use serde_json::Value as Json;
use toml::{Table, Value};

use self::urls::{gather_urls, has_query};
pub use self::urls::{mask_url, mask_urls};
use crate::error::Error;

/// What stands where a secret stood.
const MASK: &str = "***";

/// An option is secret if its name holds one of these, whatever stands between the letters.
const SECRET: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "privatekey",
    "authorization",
    "cookie",
];

/// A shorter secret is not looked for in messages: it would be found everywhere, and it is none.
const SECRET_BYTES_MIN: usize = 3;

/// A shorter environment variable is none either: a name like `TOKENIZER` may hold `false`.
const VARIABLE_BYTES_MIN: usize = 6;

/// Environment variables that hold a proxy's address, maybe with a password.
const PROXIES: [&str; 6] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
];

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

/// What is the same for two runs only if the queries of their web addresses are, though none is printed; those under
/// `except`, and what is secret by its name, may differ. `None`: there is none.
pub fn digest_of_queries(options: &Table, except: Option<&str>) -> Option<String> {
    fn gather(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) if has_query(text) => found.push(mask_urls(text)),
            Value::Array(values) => values.iter().for_each(|value| gather(value, found)),
            Value::Table(table) => table.values().for_each(|value| gather(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (key, value) in options {
        if Some(key.as_str()) != except && !is_secret(key) {
            gather(value, &mut found);
        }
    }
    let digest = || xxhash_rust::xxh3::xxh3_128(found.join("\n").as_bytes());
    (!found.is_empty()).then(|| format!("{:032x}", digest()))
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
    let Some((key, value)) = set.split_once('=') else {
        return mask_urls(set);
    };
    if is_secret(key) {
        return format!("{key}={MASK}");
    }
    let mut secrets = Secrets::default();
    let parsed = format!("v = {value}").parse::<Table>();
    match &parsed {
        Ok(table) => gather(table, false, &mut secrets),
        // Not TOML: the text itself is the value, and what was meant by it may hold names and values.
        Err(_) => gather_urls(value, &mut secrets),
    }
    let shown = secrets.clean(&mask_url(value));
    let shown = if parsed.is_ok() {
        shown
    } else {
        mask_behind_name(&shown)
    };
    format!("{key}={shown}")
}

/// Text in no language without what follows the first name of a secret, `NAME=` or `NAME:`: nothing tells
/// where the secret ends.
pub fn mask_behind_name(text: &str) -> String {
    match behind_name(text) {
        Some(from) => [&text[..from], MASK].concat(),
        None => text.to_owned(),
    }
}

/// Where the text begins that follows the first name of a secret and its `=` or `:`, if there is any.
fn behind_name(text: &str) -> Option<usize> {
    let mut name_from = 0;
    text.char_indices().find_map(|(at, char)| {
        if ",;&?{}[]()\n".contains(char) {
            name_from = at + 1;
        }
        let from = at + 1;
        let is_end = "=:".contains(char) && !text[from..].trim().is_empty();
        (is_end && is_secret(&decoded(&text[name_from..at]))).then_some(from)
    })
}

/// A text without the escapes of URLs, however often it was escaped.
fn decoded(text: &str) -> String {
    let read = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    if read == text {
        return read.into_owned();
    }
    decoded(&read)
}

fn masked_value(value: &Value, secrets: &Secrets) -> Json {
    match value {
        Value::String(text) => secrets.clean(&mask_url(text)).into(),
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
    let letters = key.chars().filter(char::is_ascii_alphanumeric);
    let key: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    SECRET.iter().any(|word| key.contains(word))
}

/// An error without the secrets among `options`, whoever wrote its text.
pub fn scrub(error: Error, options: &Table) -> Error {
    let secrets = Secrets::of(options);
    let clean = |text: &mut String| *text = secrets.clean(text);
    error.each(&|mut error: Error| {
        clean(&mut error.message);
        error.causes.iter_mut().for_each(clean);
        error.hint.as_mut().map(clean);
        error
    })
}

/// The values that are never printed.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Those among a kind's options, and those of the environment: `${NAME}` may give them to a kind,
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
        for proxy in PROXIES.iter().filter_map(|name| std::env::var(name).ok()) {
            gather_urls(&proxy, &mut secrets);
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
        Value::String(text) => {
            gather_urls(text, secrets);
            gather_json(text, secrets);
        }
        _ => {}
    }
}

/// What a text holds of secrets that is JSON, or a template of it: the members that are named so.
fn gather_json(text: &str, secrets: &mut Secrets) {
    if !text.trim_start().starts_with(['{', '[']) {
        return;
    }
    if let Ok(json) = serde_json::from_str(text) {
        return gather_member(&json, false, secrets);
    }
    // What stands for a value may be no JSON: names are looked for, and the text that each has.
    for (at, _) in text.match_indices(':') {
        let name = text[..at].trim_end().strip_suffix('"');
        let name = name.and_then(|name| name.rsplit('"').next());
        let value = text[at + 1..].trim_start().strip_prefix('"');
        if let (Some(name), Some(value)) = (name, value)
            && is_secret(name)
        {
            let ends = value.match_indices('"').map(|(end, _)| end);
            let mut ends = ends.filter(|&end| !value[..end].ends_with('\\'));
            secrets.add(&value[..ends.next().unwrap_or(value.len())]);
        }
    }
}

fn gather_member(json: &Json, secret: bool, secrets: &mut Secrets) {
    match json {
        Json::Object(members) => {
            for (name, value) in members {
                gather_member(value, secret || is_secret(name), secrets);
            }
        }
        Json::Array(values) => {
            for value in values {
                gather_member(value, secret, secrets);
            }
        }
        Json::String(text) if secret => secrets.add(text),
        Json::Number(number) if secret => secrets.add(&number.to_string()),
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
            ("e.env={PASSWORD=\"zzTop1\"", "e.env={PASSWORD=***"),
            ("e.env=PASSWORD=zzTop1", "e.env=PASSWORD=***"),
            (
                "e.env={ A = 1, \"my-password\" : zzTop1",
                "e.env={ A = 1, \"my-password\" :***",
            ),
            (
                "f.headers={Authorization=\"Bearer zzTop1\"",
                "f.headers={Authorization=***",
            ),
            (
                "f.headers=X-Api-Key: zzTop1, a: b",
                "f.headers=X-Api-Key:***",
            ),
            ("f.body={password=zzTop1", "f.body={password=***"),
            ("f.body={\"api key\":zzTop1", "f.body={\"api key\":***"),
            (
                "f.body={a={b={'TOKEN'='zzTop1'}}",
                "f.body={a={b={'TOKEN'=***",
            ),
            ("f.into=the: token", "f.into=the: token"),
        ];
        for (set, shown) in cases {
            assert_eq!(masked_set(set), shown);
        }
    }

    #[test]
    fn members_of_a_json_text_are_masked_by_their_names() {
        let bodies = [
            r#"{"user": "me", "password": "hunter2"}"#,
            r#"[{"auth": {"api_key": ["hunter2", 4711007]}}]"#,
            r#" {"id": {id}, "accessToken" : "hunter2", "rows": [{row}]}"#,
        ];
        for body in bodies {
            let body = Table::from_iter([("body".to_owned(), Value::from(body))]);
            let shown = masked(&body).to_string();
            assert!(
                shown.contains(MASK) && !shown.contains("hunter2"),
                "{shown}"
            );
            assert!(!shown.contains("4711007"), "{shown}");
        }
        let plain = Table::from_iter([("body".to_owned(), Value::from(r#"{"user": "me"}"#))]);
        assert!(!masked(&plain).to_string().contains(MASK));
    }

    #[test]
    fn a_password_is_masked_however_its_url_is_written() {
        let urls = [
            "http://me:hunter2@host:9200/x",
            "HTTPS://me:hunter2@host",
            "http:/me:hunter2@host",
            "http:me:hunter2@host",
            "http:///me:hunter2@host",
            "http:\\\\me:hunter2@host",
            "//me:hunter2@host",
            "\\\\me:hunter2@host",
            " http://me:hunter2@host",
            "http://me:a@hunter2@host",
            "http://me:hun\"ter2hunter2@host",
            "http://me:hunter2/x@host",
            "http://me:hunter2?x@host/y",
            "http://me:hunter2#x@host",
            "http://me:%68unter2hunter2@host",
            "http://me:hunter2@",
            "http://me:hunter2 x@host",
            "s3://key:hunter2/x@bucket",
            "local:http://me:hunter2@host",
            "http://h/?a=1;token=hunter2",
            "http://h/?to%6ben=hunter2&x=1",
            "http://h/?token=x%20hunter2",
            "http://h/?token=x hunter2",
            "http://h/?token=x;hunter2",
            "http://h/?token=\"x'hunter2`",
            "http://h/#access_token=hunter2",
            "http://h/?x=1#a&access_token=hunter2",
            "local:http:me:hunter2@h",
            "local:https:/me:hunter2@h",
            "local://me:hunter2@h",
            "local:/me:hunter2@h",
            "local:me:hunter2@h",
            "local:file://me:hunter2@h",
            "local:local:http:me:hunter2@h",
            "file:///me:hunter2@h/x",
            "me:hunter2@h",
            "me:hunter2@h:9200/x?y",
            "http://h/?api+key=hunter2",
            "http://h/?api%20key=hunter2",
            "http://h/?api key=hunter2",
            "http://h/?api%2Dkey=hunter2",
            "http://h/?private+key=hunter2&a=b",
            "http://h/?token%3Dhunter2",
            "http://h/?a=1&token%3Dhunter2",
            "http://h/?a=token%3Dhunter2",
            "http://h/?a=http%3A%2F%2Fme:hunter2@h/",
            "http://h/?a=http%3A%2F%2Fme%3Ahunter2%40h%2F",
            "http://h/?a=http%253A%252F%252Fme%253Ahunter2%2540h",
            "http://h/?a=%7B%22token%22%3A%22hunter2%22%7D",
            "http://h/?to\tken=hunter2",
            "http://h/?to\nken=hunter2",
            "http://h/?token=hun\tter2hunter2",
            "http:/\t/me:hunter2@h",
            "ht\ntp://me:hunter2@h",
        ];
        for url in urls {
            let mut options = Table::new();
            options.insert("to".into(), url.into());
            options.insert("list".into(), vec![url, "http://h"].into());
            let shown = masked(&options).to_string();
            assert!(!shown.contains("hunter2"), "{url}: {shown}");
            let said = Secrets::of(&options).clean(&format!("cannot reach {url} now"));
            assert!(!said.contains("hunter2"), "{url}: {said}");
            for set in [
                format!("index.to={url}"),
                format!("index.to={}", Value::from(url)),
                format!("index.to=[{}]", Value::from(url)),
            ] {
                let shown = masked_set(&set);
                assert!(!shown.contains("hunter2"), "{set}: {shown}");
            }
        }
        for kept in [
            "http://host:9200/a@b",
            "https://[::1]:9200/@",
            "http://host:{port}/@{x}",
            "local:/data/a@2024",
            "local:///data/a@2024",
            "file:///a@b.csv",
            "cannot read local:/data/x: see a@b",
            "local:out",
            "me@host",
            "a: b@c",
            "out//x@y",
            "%Y-%m-%d",
        ] {
            assert_eq!(mask_url(kept), kept);
            assert_eq!(mask_urls(kept), kept);
        }
    }

    #[test]
    fn the_query_of_a_web_address_is_masked_whole() {
        const QUERY: &str = "X-Amz-Signature=AAA&se=BBB&X-Amz-Credential=CCC&d=4*";
        let shown = |url: &str| {
            let options = Table::from_iter([("files".to_owned(), Value::from(vec![url]))]);
            let secrets = Secrets::of(&options);
            let said = secrets.clean(&format!("cannot read `{url}`: {QUERY}"));
            for set in [
                format!("load.files={url}"),
                format!("load.files=[\"{url}\"]"),
                format!("load.files=[\"{url}\""),
            ] {
                assert!(!masked_set(&set).contains("AAA"), "{}", masked_set(&set));
            }
            for secret in ["AAA", "BBB", "CCC"] {
                assert!(!said.contains(secret), "{said}");
            }
            masked(&options)["files"][0].as_str().map(str::to_owned)
        };
        for (url, wanted) in [
            (format!("https://h/r.csv?{QUERY}"), "https://h/r.csv?***"),
            (format!("HTTP://h:1/r.csv?{QUERY}"), "HTTP://h:1/r.csv?***"),
            // As a variable gives it to a pattern.
            (
                format!("https://h/r.csv[?]{}", QUERY.replace('*', "[*]")),
                "https://h/r.csv?***",
            ),
        ] {
            assert_eq!(shown(&url).as_deref(), Some(wanted));
        }
        assert_eq!(mask_url("https://h/r?a=1&x=[?]"), "https://h/r?***");
        // In a bucket's address a `?` is a pattern's.
        let mixed = "s3://b/00?.csv?X-Amz-Signature=AAA&x=1&sig=BBB&X-Amz-Credential=CCC";
        let masked_mixed = "s3://b/00?.csv?X-Amz-Signature=***&x=1&sig=***&X-Amz-Credential=***";
        let options = Table::from_iter([("file".to_owned(), Value::from(mixed))]);
        assert_eq!(masked(&options)["file"], masked_mixed);
        assert_eq!(Secrets::default().clean(mixed), masked_mixed);
        for kept in ["https://h/x?id={id}&lang=en", "a.csv?b=c", "https://h/x?"] {
            assert_eq!(mask_url(kept), kept);
        }
    }

    #[test]
    fn other_queries_have_another_digest_and_other_secrets_the_same() {
        let digest = |url: &str| {
            let options = Table::from_iter([("url".to_owned(), Value::from(url))]);
            digest_of_queries(&options, Some("files"))
        };
        let (one, other) = (digest("http://h/?a=1"), digest("http://h/?a=2"));
        assert!(one.is_some() && one != other);
        let signed = [digest("http://h/?sig=1&a=1"), digest("http://h/?sig=2&a=1")];
        assert_eq!(signed[0], signed[1]);
        assert_eq!(digest("http://h/a"), None);
        let files = Table::from_iter([("files".to_owned(), Value::from("http://h/?a=1"))]);
        assert_eq!(digest_of_queries(&files, Some("files")), None);
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
                "password": "***", "to": ["https://***@host:9200/x?***", "http://host/@"],
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
