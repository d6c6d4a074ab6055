//! A real S3 server, started by tests/object-store/start, and a server in front of it that a test lets fail.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::harness::{Etl, Folder, Outcome, Running, Variant, project};
use crate::scripted::{Asked, Say, Site};
use crate::server::http;

/// A server that runs until it is dropped.
pub(super) struct Store {
    pub(super) url: String,
    /// Closing its input ends it.
    _process: Child,
}

impl Store {
    /// The server that all tests share; each has a bucket of its own. `None`: it cannot be started here.
    pub(super) fn shared() -> Option<&'static Store> {
        static SHARED: OnceLock<Option<Store>> = OnceLock::new();
        SHARED.get_or_init(|| Store::start(&[])).as_ref()
    }

    /// Another one, shared too.
    pub(super) fn other() -> Option<&'static Store> {
        static OTHER: OnceLock<Option<Store>> = OnceLock::new();
        OTHER.get_or_init(|| Store::start(&[])).as_ref()
    }

    /// A server of the test's own.
    pub(super) fn start(options: &[&str]) -> Option<Store> {
        // Cargo's own folder for what tests make: it outlives them, so moto is installed once.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moto");
        let started = Command::new("python3")
            .arg(project().join("tests/object-store/start"))
            .arg(folder)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut process) = started else {
            return skipped("there is no python3");
        };
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        let _ = BufReader::new(stdout).read_line(&mut line);
        let Some(url) = line.strip_prefix("READY ") else {
            let mut words = String::new();
            let mut stderr = process.stderr.take().expect("it is piped");
            let _ = stderr.read_to_string(&mut words);
            return skipped(words.lines().last().unwrap_or_default());
        };
        Some(Store {
            url: url.trim().to_owned(),
            _process: process,
        })
    }

    /// A bucket of this name.
    pub(super) fn bucket(&self, name: &str) {
        self.call("PUT", &format!("/{name}"), b"");
    }

    pub(super) fn put(&self, path: &str, text: &str) {
        self.put_bytes(path, text.as_bytes());
    }

    pub(super) fn put_bytes(&self, path: &str, bytes: &[u8]) {
        self.call("PUT", &format!("/{path}"), bytes);
    }

    pub(super) fn delete(&self, path: &str) {
        self.call("DELETE", &format!("/{path}"), b"");
    }

    /// The text of an object; `None`: it is not there.
    pub(super) fn get(&self, path: &str) -> Option<String> {
        let (status, body) = self.send("GET", &format!("/{path}"), b"");
        (status == 200).then(|| String::from_utf8(body).expect("it is text"))
    }

    /// How many uploads have begun in a bucket, and neither ended nor been given up.
    pub(super) fn uploads(&self, bucket: &str) -> usize {
        let (status, body) = self.send("GET", &format!("/{bucket}?uploads"), b"");
        assert_eq!(status, 200);
        String::from_utf8_lossy(&body).matches("<UploadId>").count()
    }

    /// The names of the objects in a bucket.
    pub(super) fn keys(&self, bucket: &str) -> Vec<String> {
        let (status, body) = self.send("GET", &format!("/{bucket}?list-type=2"), b"");
        assert_eq!(status, 200);
        let text = String::from_utf8_lossy(&body).into_owned();
        let keys = text.split("<Key>").skip(1);
        let keys = keys.filter_map(|rest| rest.split_once("</Key>"));
        keys.map(|(key, _)| key.to_owned()).collect()
    }

    fn call(&self, method: &str, target: &str, body: &[u8]) {
        let (status, said) = self.send(method, target, body);
        let said = String::from_utf8_lossy(&said);
        assert!(status < 300, "{method} {target}: {status} {said}");
    }

    fn send(&self, method: &str, target: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let headers = [("authorization", SIGNED), ("host", self.address())];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (head, body) = self.pass_on(method, target, headers, body);
        (status(&head), body)
    }

    /// Sends a request as it is.
    fn pass_on(
        &self,
        method: &str,
        target: &str,
        headers: impl IntoIterator<Item = (String, String)>,
        body: &[u8],
    ) -> (http::Head, Vec<u8>) {
        let mut request = format!("{method} {target} HTTP/1.1\r\n");
        for (name, value) in headers {
            if !["connection", "content-length"].contains(&name.as_str()) {
                let _ = write!(request, "{name}: {value}\r\n");
            }
        }
        let length = body.len();
        let _ = write!(
            request,
            "connection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(self.address()).expect("it listens");
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        stream.write_all(&request).expect("it listens");
        let mut reader = BufReader::new(stream);
        let head = http::Head::read(&mut reader).expect("it answers");
        let head = head.expect("it answers");
        let body = if method == "HEAD" {
            // Of the same length, and not sent.
            let length = head.headers.get("content-length");
            vec![0; length.map_or(0, |length| length.parse().expect("a length"))]
        } else {
            head.read_body(&mut reader).expect("it answers whole")
        };
        (head, body)
    }

    fn address(&self) -> &str {
        self.url.strip_prefix("http://").expect("it has a scheme")
    }

    /// What this server answers to a request.
    pub(super) fn answer(&self, asked: &Asked) -> Say {
        const PASSED: [&str; 5] = [
            "etag",
            "content-range",
            "last-modified",
            "content-type",
            "accept-ranges",
        ];
        let headers = asked.headers.clone();
        let (head, body) = self.pass_on(&asked.method, &asked.target, headers, &asked.bytes);
        let headers = PASSED.into_iter().filter_map(|name| {
            let value = head.headers.get(name)?;
            Some((name, value.clone()))
        });
        Say::Answer(status(&head), headers.collect(), body)
    }

    /// A server in front of this one: a script says what it answers, or that it passes on.
    pub(super) fn behind(
        &'static self,
        script: impl Fn(&Asked) -> Option<Say> + Send + Sync + 'static,
    ) -> Site {
        Site::start(move |asked| script(asked).unwrap_or_else(|| self.answer(asked)))
    }
}

fn status(head: &http::Head) -> u16 {
    let word = head.first.split(' ').nth(1);
    word.and_then(|word| word.parse().ok()).expect("a status")
}

fn skipped<T>(why: &str) -> Option<T> {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test").to_owned();
    let line = format!("skipped: {test}: no S3 server can be started: {why}");
    assert!(
        std::env::var_os("ETL_REQUIRE_SERVERS").is_none(),
        "{line}, and ETL_REQUIRE_SERVERS is set"
    );
    // Not `eprintln!`, which is shown for failed tests only.
    let _ = writeln!(std::io::stderr(), "{line}");
    None
}

/// The server looks at no signature, but at whether there is one.
pub(super) const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/s3/aws4_request, \
                                 SignedHeaders=host, Signature=0";

/// The secret that no message may hold.
pub(super) const SECRET: &str = "wJalrXUtnFEMIxK7MDENG";

/// A command in `folder` that finds the store at `endpoint`.
pub(super) fn with_store(etl: Etl, folder: &Folder, endpoint: &str) -> Etl {
    etl.env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ACCESS_KEY_ID", "AKIATEST")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_REGION", "us-east-1")
        .env("HOME", folder.path())
}

/// Sends a signal to a run.
pub(super) fn signal(running: &Running, name: &str) {
    let pid = running.child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args([name, &pid])
        .status();
    assert!(sent.is_ok_and(|status| status.success()));
}

/// The range that a request asks for.
pub(super) fn range(asked: &Asked) -> Option<std::ops::Range<u64>> {
    let range = asked.headers.get("range")?.strip_prefix("bytes=")?;
    let (from, to) = range.split_once('-')?;
    Some(from.parse().ok()?..to.parse::<u64>().ok()? + 1)
}

/// The bytes of an answer that says it has all of `body`, and breaks off in its middle.
pub(super) fn cut(say: Say) -> Say {
    let Say::Answer(status, headers, body) = say else {
        return say;
    };
    let mut bytes = format!("HTTP/1.1 {status} .\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        bytes += &format!("{name}: {value}\r\n");
    }
    let mut bytes = (bytes + "\r\n").into_bytes();
    bytes.extend_from_slice(&body[..body.len() / 2]);
    Say::Raw(bytes)
}

/// A run of `pipeline.toml` in `folder` with the store at `endpoint`.
pub(super) fn run(folder: &Folder, endpoint: &str, variant: Variant) -> Outcome {
    let run = Etl::run(folder.path(), "pipeline.toml", variant);
    let outcome = with_store(run, folder, endpoint).outcome();
    assert!(!outcome.stderr.contains(SECRET), "{}", outcome.stderr);
    assert!(!outcome.report.to_string().contains(SECRET));
    outcome
}

/// A folder with a pipeline that reads `files` and writes `path`.
pub(super) fn copying(files: &str, path: &str) -> Folder {
    let folder = Folder::new("objects");
    folder.write(
        "pipeline.toml",
        format!(
            "[[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [{files}]\n\n\
             [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"load\"]\npath = \"{path}\"\n"
        ),
    );
    folder
}

/// CSV of at least so many bytes, each record another.
pub(super) fn csv(bytes: usize) -> String {
    let mut text = String::from("n,text\n");
    let mut number = 0;
    while text.len() < bytes {
        let _ = writeln!(text, "{number},row {number} {}", "x".repeat(number % 90));
        number += 1;
    }
    text
}
