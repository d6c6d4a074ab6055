//! What can go wrong between two machines: for each what the user reads, what is rejected, and that
//! nothing else is lost.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Asking, reasons};
use crate::harness::{Variant, for_each};
use crate::scripted::{Asked, Say, Site};

const ITEMS: [&str; 4] = ["a", "b", "c", "d"];

/// One way to fail: options, what is said of `b`, and how the reject begins and ends.
struct Case {
    options: &'static str,
    say: fn(&Asked) -> Say,
    begins: &'static str,
    ends: &'static str,
    requests: usize,
}

fn packed(bytes: usize) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![b' '; bytes])
        .expect("memory can be written");
    gzip.finish().expect("memory can be written")
}

const RESET: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"v\":";
const CUT_CHUNK: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{\"v\"";

const CASES: [Case; 21] = [
    Case {
        options: "",
        say: |_| Say::Raw(RESET.to_vec()),
        begins: "the connection broke: ",
        ends: ", tried 3 times",
        requests: 3,
    },
    Case {
        options: "",
        say: |_| Say::Raw(CUT_CHUNK.to_vec()),
        begins: "the connection broke: ",
        ends: ", tried 3 times",
        requests: 3,
    },
    Case {
        options: "method = 'POST'\nbody = 'x'",
        say: |_| Say::Raw(RESET.to_vec()),
        begins: "the connection broke: ",
        ends: "; it may have been carried out, and is not sent again",
        requests: 1,
    },
    Case {
        options: "method = 'POST'\nbody = 'x'\nidempotent = true",
        say: |_| Say::Raw(RESET.to_vec()),
        begins: "the connection broke: ",
        ends: ", tried 3 times",
        requests: 3,
    },
    Case {
        options: "read_timeout_ms = 500\nretries = 1",
        say: |_| Say::Hold,
        begins: "no byte within 500 ms",
        ends: ", tried 2 times",
        requests: 2,
    },
    Case {
        options: "request_timeout_ms = 500\nretries = 0",
        say: |_| Say::Hold,
        begins: "no whole answer within 500 ms",
        ends: "ms",
        requests: 1,
    },
    Case {
        options: "max_response_bytes = 100000",
        say: |_| Say::Endless(b"HTTP/1.1 200 OK\r\n\r\n[ ".to_vec()),
        begins: "the answer is longer than `max_response_bytes` (100000)",
        ends: "",
        requests: 1,
    },
    Case {
        options: "max_response_bytes = 100000",
        say: |_| {
            Say::Answer(
                200,
                vec![("content-encoding", "gzip".into())],
                packed(10 << 20),
            )
        },
        begins: "the answer is longer than `max_response_bytes` (100000)",
        ends: "",
        requests: 1,
    },
    Case {
        options: "",
        say: |_| Say::json("{\"v\": 1, ").with("content-type", "application/json"),
        begins: "the answer is not JSON: EOF while parsing ",
        ends: "; it says that it is `application/json`",
        requests: 1,
    },
    Case {
        options: "",
        say: |_| Say::json("<html>Please log in</html>").with("content-type", "text/html"),
        begins: "the answer is not JSON: expected value",
        ends: "; it says that it is `text/html`",
        requests: 1,
    },
    Case {
        options: "",
        say: |asked| Say::status(302, "").with("location", &asked.target),
        begins: "more than 5 redirects, the last to `http://127.0.0.1:",
        ends: "/b`",
        requests: 6,
    },
    Case {
        options: "",
        say: |_| {
            Say::status(301, "").with("location", "https://user:pass@elsewhere.test/b?token=t")
        },
        begins: "301 redirects to another server, `https://elsewhere.test/b`",
        ends: "",
        requests: 1,
    },
    Case {
        options: "method = 'DELETE'",
        say: |_| Say::status(307, "").with("location", "/x"),
        begins: "307 redirects a DELETE to `http://127.0.0.1:",
        ends: "/x`: only GET and HEAD follow",
        requests: 1,
    },
    Case {
        options: "",
        say: |_| Say::status(401, "who\nare  you?"),
        begins: "401 Unauthorized: who are you?",
        ends: "",
        requests: 1,
    },
    Case {
        options: "",
        say: |_| Say::status(500, "{\"error\": \"b is broken\"}"),
        begins: "500 Internal Server Error: {\"error\": \"b is broken\"}",
        ends: "",
        requests: 1,
    },
    Case {
        options: "",
        say: |_| Say::status(429, "slowly").with("retry-after", "0"),
        begins: "429 Too Many Requests: slowly, tried 3 times",
        ends: "",
        requests: 3,
    },
    Case {
        options: "",
        say: |_| Say::status(429, "").with("retry-after", "3600"),
        begins: "429 Too Many Requests; the server wants to be left alone for 3600 s, more than `retry_after_max_s`",
        ends: "",
        requests: 1,
    },
    Case {
        options: "method = 'POST'\nbody = 'x'",
        say: |_| Say::status(503, ""),
        begins: "503 Service Unavailable, tried 3 times",
        ends: "",
        requests: 3,
    },
    Case {
        options: "method = 'POST'\nbody = 'x'",
        say: |_| Say::status(504, ""),
        begins: "504 Gateway Timeout",
        ends: "Timeout",
        requests: 1,
    },
    Case {
        options: "next = '/next'",
        say: |_| Say::json("{\"v\": 2, \"next\": \"//elsewhere.test/b?page=2\"}"),
        begins: "the next page is at another server, `http://elsewhere.test/b`",
        ends: "",
        requests: 1,
    },
    Case {
        options: "next = '/next'",
        say: |_| Say::json("{\"v\": 2, \"next\": \"/b\"}"),
        begins: "page `http://127.0.0.1:",
        ends: "/b` comes a second time",
        requests: 1,
    },
];

#[test]
fn an_item_that_fails_is_rejected_with_its_reason_and_the_others_go_on() {
    for_each(&CASES, |case| {
        let say = case.say;
        let site = Site::start(move |asked| {
            if asked.target == "/b" {
                say(asked)
            } else {
                Say::json("{\"v\": \"ok\", \"next\": null}")
            }
        });
        let options = format!("url = \"{}/{{id}}\"\n{}", site.url, case.options);
        let asking = Asking::about(&ITEMS, &options);
        let outcome = asking.run(Variant::new("threads", 1, 2));
        let reasons = reasons(&outcome);
        let mut faults = Vec::new();
        let reason = reasons.get("b").map(String::as_str).unwrap_or_default();
        if !reason.starts_with(case.begins) || !reason.ends_with(case.ends) || reasons.len() != 1 {
            faults.push(format!(
                "`{}`: {reasons:?}\n{}",
                case.begins, outcome.stderr
            ));
        }
        if asking.written() != "id,v\na,ok\nc,ok\nd,ok\n" {
            faults.push(format!("`{}`: wrote {}", case.begins, asking.written()));
        }
        let requests = site.targets().get("/b").copied().unwrap_or_default();
        if requests != case.requests {
            faults.push(format!("`{}`: {requests} requests", case.begins));
        }
        if outcome.code != Some(0) {
            faults.push(format!("`{}`: exit {:?}", case.begins, outcome.code));
        }
        faults
    });
}

#[test]
fn a_server_that_is_not_there_rejects_every_item() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        listener.local_addr().expect("it is bound")
    };
    let cases = [
        (format!("http://{closed}"), "Connection refused"),
        ("http://nothing.invalid".to_owned(), "lookup"),
    ];
    for (server, words) in cases {
        let asking = Asking::about(&ITEMS, &format!("url = \"{server}/{{id}}\""));
        let outcome = asking.run(Variant::new("threads", 1, 4));
        let reasons = reasons(&outcome);
        assert_eq!(reasons.len(), 4, "{}", outcome.stderr);
        for reason in reasons.values() {
            assert!(
                reason.starts_with(&format!("cannot reach `{server}`: ")),
                "{reason}"
            );
            assert!(reason.contains(words), "{reason}");
            assert!(reason.ends_with(", tried 3 times"), "{reason}");
        }
    }
}

#[test]
fn one_bad_item_of_a_batch_is_found_by_halving() {
    halve(|| Say::status(500, "b"), "500 Internal Server Error: b");
    halve(|| Say::Raw(Vec::new()), ", tried 3 times");
}

/// One item for which the server does what is `bad`.
fn halve(bad: fn() -> Say, words: &str) {
    let site = Site::start(move |asked| {
        let items: Vec<&str> = asked
            .target
            .trim_start_matches("/?ids=")
            .split(',')
            .collect();
        if items.contains(&"b") {
            return bad();
        }
        let record = |item: &&str| format!("{{\"k\": \"{item}\", \"v\": 1}}");
        let records: Vec<String> = items.iter().map(record).collect();
        Say::json(format!("[{}]", records.join(",")))
    });
    let options = |split: bool| {
        let url = &site.url;
        format!(
            "url = \"{url}/?ids={{id,}}\"\nbatch = 4\nkey = {{ id = \"/k\" }}\nsplit_on_error = {split}"
        )
    };
    let items = ["a", "b", "c", "d", "e", "f"];
    let asking = Asking::about(&items, &options(true));
    let outcome = asking.run(Variant::SEQUENTIAL);
    let told = reasons(&outcome);
    assert_eq!(told.keys().collect::<Vec<_>>(), ["b"], "{}", outcome.stderr);
    assert!(told["b"].ends_with(words), "{told:?}");
    assert_eq!(asking.written(), "id,v\na,1\nc,1\nd,1\ne,1\nf,1\n");
    assert_eq!(outcome.stage("ask")["counts"]["splits"], 2);
    let asking = Asking::about(&items, &options(false));
    let outcome = asking.run(Variant::SEQUENTIAL);
    assert_eq!(reasons(&outcome).len(), 4);
    assert_eq!(asking.written(), "id,v\ne,1\nf,1\n");
}

#[test]
fn a_server_that_wants_to_be_left_alone_is() {
    let site = Site::start(|asked| match (asked.target.as_str(), asked.before) {
        ("/a", 0) => Say::status(429, "").with("retry-after", "1"),
        _ => Say::json("{\"v\": 1}"),
    });
    let options = format!("url = \"{}/{{id}}\"", site.url);
    let outcome = Asking::about(&ITEMS, &options).run(Variant::SEQUENTIAL);
    assert_eq!(outcome.rejects, "");
    let asked = site.asked();
    let waited = asked[1].at.duration_since(asked[0].at);
    assert!(waited >= Duration::from_millis(900), "{waited:?}");
    assert_eq!(asked.len(), 5);
}

#[test]
fn too_many_failures_end_the_run_and_so_does_one_if_that_is_wanted() {
    let site = Site::start(|asked| {
        let fails = ["/b", "/d"].contains(&asked.target.as_str());
        Say::status(if fails { 404 } else { 200 }, "{\"v\": 1}")
    });
    let url = format!("url = \"{}/{{id}}\"", site.url);
    let cases = [
        ("max_failed = 2", Some(0), ""),
        (
            "max_failed = 1",
            Some(1),
            "more rows failed (2) than `max_failed` allows (1)",
        ),
        ("on_error = 'fail'", Some(1), "404 Not Found"),
    ];
    for (option, code, words) in cases {
        for variant in Variant::EACH {
            let asking = Asking::about(&ITEMS, &format!("{url}\n{option}"));
            let outcome = asking.command(variant).outcome();
            assert_eq!(
                outcome.code, code,
                "{option}, {variant}: {}",
                outcome.stderr
            );
            assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
            assert_eq!(asking.written().is_empty(), code != Some(0));
        }
    }
}

#[test]
fn behind_what_ends_a_run_nothing_is_begun() {
    let items: Vec<String> = (0..40).map(|n| format!("i{n}")).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    for variant in Variant::EACH {
        let at_once = (variant.processes * variant.threads) as usize;
        let asked = AtomicUsize::new(0);
        let site = Site::start(move |item| {
            asked.fetch_add(1, Ordering::SeqCst);
            // Until all that can be are on their way.
            while asked.load(Ordering::SeqCst) < at_once {
                std::thread::sleep(Duration::from_millis(1));
            }
            if item.target == "/i0" {
                return Say::status(404, "no such item");
            }
            // Time for that to be heard.
            std::thread::sleep(Duration::from_secs(1));
            Say::json("{\"v\": 1}")
        });
        let options = format!("url = \"{}/{{id}}\"\non_error = \"fail\"", site.url);
        let outcome = Asking::about(&items, &options).command(variant).outcome();
        assert_eq!(outcome.code, Some(1), "{variant}: {}", outcome.stderr);
        assert_eq!(site.asked().len(), at_once, "{variant}");
    }
}

#[test]
fn a_certificate_is_trusted_only_if_somebody_vouches_for_it() {
    let folder = crate::harness::Folder::new("certificate");
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
    for item in ITEMS {
        folder.write(item, "{\"v\": 1}");
    }
    let mut server = Command::new("openssl")
        .args([
            "s_server",
            "-accept",
            "127.0.0.1:0",
            "-cert",
            "cert.pem",
            "-key",
            "key.pem",
            "-WWW",
        ])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is an openssl");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
        server.stdout.take().expect("it is piped"),
    ));
    let address = lines.find_map(|line| Some(line.ok()?.strip_prefix("ACCEPT ")?.to_owned()));
    let address = address.expect("it says where it listens");
    let url = format!("url = \"https://{address}/{{id}}\"");
    let untrusted = Asking::about(&ITEMS, &url).run(Variant::SEQUENTIAL);
    let trusted = Asking::about(
        &ITEMS,
        &format!(
            "{url}\nca_certificate = \"{}\"",
            folder.join("cert.pem").display()
        ),
    );
    let outcome = trusted.run(Variant::new("processes", 2, 1));
    // It is ours, and serves for ever.
    let _ = server.kill();
    let _ = server.wait();
    let reasons = reasons(&untrusted);
    assert_eq!(reasons.len(), 4, "{}", untrusted.stderr);
    let reason = &reasons["a"];
    assert!(
        reason.starts_with(&format!(
            "the certificate of `https://{address}` is not trusted: "
        )),
        "{reason}"
    );
    assert!(reason.contains("`ca_certificate`"), "{reason}");
    assert_eq!(
        trusted.written(),
        "id,v\na,1\nb,1\nc,1\nd,1\n",
        "{}",
        outcome.stderr
    );
}
