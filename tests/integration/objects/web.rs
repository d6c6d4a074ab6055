//! Files of web servers.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::LARGE;
use super::server::{copying, csv};
use crate::harness::{Etl, Folder, Outcome, Variant};
use crate::scripted::{Asked, Say, Site};

fn run(folder: &Folder) -> Outcome {
    Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).outcome()
}

fn written(folder: &Folder) -> Option<String> {
    std::fs::read_to_string(folder.join("out.csv")).ok()
}

/// What a server answers that has `text` under this version, and gives parts of it.
fn part(asked: &Asked, text: &str, etag: &str) -> Say {
    let range = asked
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes="));
    let (from, to) = range
        .and_then(|range| range.split_once('-'))
        .expect("a range is asked for");
    let from: usize = from.parse().expect("a number");
    let to: usize = to.parse::<usize>().expect("a number").min(text.len() - 1);
    Say::status(206, &text.as_bytes()[from..=to])
        .with("content-range", format!("bytes {from}-{to}/{}", text.len()))
        .with("etag", etag)
}

/// An answer of so many bytes that breaks off after `sent` of them.
fn broken(text: &str, sent: usize, etag: &str) -> Say {
    let head = format!(
        "HTTP/1.1 200 .\r\ncontent-length: {}\r\n{etag}\r\n",
        text.len()
    );
    Say::Raw([head.as_bytes(), &text.as_bytes()[..sent]].concat())
}

#[test]
fn a_server_with_parts_is_read_in_parts_and_its_faults_are_outlived() {
    let text = csv(LARGE);
    let served = text.clone();
    let site = Site::start(move |asked| match asked.before {
        0 => Say::status(503, "").with("retry-after", "0"),
        // A weak version: a condition on it would be refused.
        _ => part(asked, &served, "W/\"1\""),
    });
    let folder = copying(
        &format!("\"{}/in.csv?sig=SECRET&x=*&se=SECRET\"", site.url),
        "out.csv",
    );
    let outcome = run(&folder);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(written(&folder) == Some(text.clone()));
    let input = &outcome.report["inputs"][0];
    assert_eq!(input["file"], format!("{}/in.csv?***", site.url));
    assert_eq!(
        (&input["bytes"], &input["etag"]),
        (&text.len().into(), &"W/\"1\"".into())
    );
    assert!(!outcome.stderr.contains("SECRET"));
    let report = outcome.report.to_string();
    assert!(!report.contains("SECRET"), "{report}");
    for command in [&["plan", "--json"][..], &["check"], &["check", "--connect"]] {
        let etl = Etl::new(folder.path(), &[command, &["pipeline.toml"]].concat());
        let said = etl.outcome();
        assert_eq!(said.code, Some(0), "{command:?}: {}", said.stderr);
        let said = said.stdout + &said.stderr;
        assert!(!said.contains("SECRET"), "{command:?}: {said}");
    }
    let largest = site
        .asked()
        .iter()
        .map(|asked| asked.headers["range"].clone())
        .max();
    assert!(largest.is_some(), "each request asks for a range");
}

#[test]
fn a_server_without_parts_is_read_as_one_stream() {
    let text = csv(3 << 20);
    let whole = move |etag: &'static str, breaks: bool| {
        let (text, times) = (csv(3 << 20), AtomicUsize::new(0));
        Site::start(move |_| {
            // The first looks at it: the answer is whole each time, and broken every other time.
            if breaks && times.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
                let etag = if etag.is_empty() {
                    String::new()
                } else {
                    format!("etag: {etag}\r\n")
                };
                return broken(&text, 2 << 20, &etag);
            }
            let say = Say::status(200, text.as_bytes());
            if etag.is_empty() {
                say
            } else {
                say.with("etag", etag)
            }
        })
    };
    for (etag, breaks, code) in [("", false, 0), ("\"1\"", true, 0), ("", true, 1)] {
        let site = whole(etag, breaks);
        let folder = copying(&format!("\"{}/in.csv\"", site.url), "out.csv");
        let outcome = run(&folder);
        assert_eq!(
            outcome.code,
            Some(code),
            "{etag} {breaks}: {}",
            outcome.stderr
        );
        assert_eq!(
            written(&folder) == Some(text.clone()),
            code == 0,
            "{etag} {breaks}"
        );
        if code == 1 {
            assert!(
                outcome.stderr.contains("download it first"),
                "{}",
                outcome.stderr
            );
        }
    }
}

/// Nothing would tell whether two parts are of the same file.
#[test]
fn a_server_that_names_no_version_is_read_as_one_stream() {
    let text = csv(LARGE);
    let served = text.clone();
    let site = Site::start(move |asked| match asked.headers.get("range") {
        Some(_) => match part(asked, &served, "") {
            Say::Answer(status, mut headers, body) => {
                headers.retain(|(name, _)| *name != "etag");
                Say::Answer(status, headers, body)
            }
            other => other,
        },
        None => Say::status(200, served.as_bytes()),
    });
    let folder = copying(&format!("\"{}/in.csv\"", site.url), "out.csv");
    let outcome = run(&folder);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(written(&folder) == Some(text));
    let asked = site.asked();
    let ranges = asked.iter().filter_map(|asked| asked.headers.get("range"));
    assert!(ranges.clone().all(|range| range == "bytes=0-0"));
    assert!(ranges.count() < asked.len(), "the file is asked for whole");
}

#[test]
fn a_file_of_a_server_that_changes_or_is_not_there_is_an_error() {
    let text = csv(LARGE);
    let site = Site::start(move |asked| match asked.target.as_str() {
        "/gone.csv" => Say::status(404, ""),
        "/closed.csv" => Say::status(403, ""),
        _ => {
            let is_first = asked
                .headers
                .get("range")
                .is_some_and(|range| range.starts_with("bytes=0-"));
            part(asked, &text, if is_first { "\"1\"" } else { "\"2\"" })
        }
    });
    for (name, says) in [
        ("gone.csv", "is not there"),
        ("closed.csv", "it is refused"),
        (
            "changed.csv",
            "was replaced by another file after the run began",
        ),
    ] {
        let folder = copying(&format!("\"{}/{name}\"", site.url), "out.csv");
        let outcome = run(&folder);
        assert_eq!(outcome.code, Some(1), "{name}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(says), "{name}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains("hint: "),
            "{name}: {}",
            outcome.stderr
        );
        assert_eq!(written(&folder), None);
    }
}

#[test]
fn an_address_in_a_variable_is_read_as_it_is() {
    let site = Site::start(|asked| match asked.target.as_str() {
        "/a.csv?x=[1]*" => part(asked, "n\n7\n", "\"1\""),
        _ => Say::status(404, ""),
    });
    let folder = copying("\"${WHERE}\"", "out.csv");
    let run = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
    let outcome = run
        .env("WHERE", format!("{}/a.csv?x=[1]*", site.url))
        .outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(written(&folder).as_deref(), Some("n\n7\n"));
}

#[test]
fn the_environment_names_an_authority_of_ones_own() {
    let folder = copying("\"https://ADDRESS/in.csv\"", "out.csv");
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no openssl that makes certificates");
        return;
    }
    folder.write("in.csv", "n\n7\n");
    let mut server = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-WWW"])
        .args(["-cert", "cert.pem", "-key", "key.pem"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is an openssl");
    let stdout = server.stdout.take().expect("it is piped");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
    let address = lines.find_map(|line| Some(line.ok()?.strip_prefix("ACCEPT ")?.to_owned()));
    let pipeline = std::fs::read_to_string(folder.join("pipeline.toml")).expect("it is there");
    let pipeline = pipeline.replace("ADDRESS", &address.expect("it says where it listens"));
    folder.write("pipeline.toml", pipeline);
    let untrusted = run(&folder);
    let trusted = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
    let trusted = trusted
        .env("SSL_CERT_FILE", folder.join("cert.pem"))
        .outcome();
    // It is ours, and serves for ever.
    let _ = server.kill();
    let _ = server.wait();
    assert_eq!(untrusted.code, Some(1), "{}", untrusted.stderr);
    for says in ["is not trusted", "`SSL_CERT_FILE=FILE`"] {
        assert!(untrusted.stderr.contains(says), "{}", untrusted.stderr);
    }
    assert_eq!(trusted.code, Some(0), "{}", trusted.stderr);
    assert_eq!(written(&folder).as_deref(), Some("n\n7\n"));
}
