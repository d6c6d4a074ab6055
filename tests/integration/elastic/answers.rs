//! Answers that no search server gives: too long, empty, never coming, from somebody else. Whatever command asks,
//! it ends soon, in little memory, and says why.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::replace::REPLACE;
use super::{Job, assert_ended, assert_failed, rows, warnings};
use crate::harness::{Etl, Folder, Running, Variant, wait_until};
use crate::scripted::{Reply, Say, Scripted, Site};

/// How soon a command ends that is told to, on a machine that does other things too.
const AT_ONCE: Duration = Duration::from_secs(5);

/// All that ask a server.
const COMMANDS: [&[&str]; 4] = [
    &["run", "pipeline.toml", "--quiet", "--state", "state"],
    &["check", "pipeline.toml", "--connect"],
    &["search", "pipeline.toml", "*"],
    &["rollback", "pipeline.toml", "--state", "state"],
];

fn job(url: &str) -> Job {
    Job::new(&[url], &rows(3), &[REPLACE, ("retries", "1")])
}

fn start(job: &Job, command: &[&str]) -> Running {
    Etl::new(job.folder.path(), command).start()
}

/// More than is read of any answer, and what it is packed.
fn bomb() -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let piece = vec![b' '; 1 << 20];
    for _ in 0..80 {
        packed.write_all(&piece).expect("memory takes all");
    }
    packed.finish().expect("memory takes all")
}

#[test]
fn an_answer_that_never_ends_is_not_read_to_its_end() {
    let packed = bomb();
    let long = format!("HTTP/1.1 200 .\r\nx: {}", "y".repeat(600_000));
    let answers: [(&str, Say); 3] = [
        (
            "is longer than",
            Say::json(packed).with("content-encoding", "gzip"),
        ),
        (
            "is longer than",
            Say::Endless(b"HTTP/1.1 200 .\r\n\r\n ".to_vec()),
        ),
        ("", Say::Raw(long.into_bytes())),
    ];
    for (words, say) in answers {
        let site = Site::start(move |_| say.clone());
        for command in COMMANDS {
            let outcome = start(&job(&site.url), command).outcome();
            let about = format!("{command:?}: {}", outcome.stderr);
            assert_eq!(outcome.code, Some(1), "{about}");
            assert!(outcome.stderr.contains(words), "{about}");
        }
    }
}

#[test]
fn an_answer_that_says_nothing_is_called_so() {
    let cases: [(&str, &str); 2] = [
        ("", "the answer is empty"),
        ("<html>Please log in</html>", "the answer is not JSON"),
    ];
    for (body, words) in cases {
        let site = Site::start(move |_| Say::json(body));
        for command in COMMANDS {
            let outcome = start(&job(&site.url), command).outcome();
            let about = format!("{command:?}: {}", outcome.stderr);
            assert_eq!(outcome.code, Some(1), "{about}");
            assert!(outcome.stderr.contains(words), "{about}");
        }
    }
}

#[test]
fn what_a_server_says_of_an_error_is_cut() {
    let said = format!(
        "{{\"error\":{{\"type\":\"x\",\"reason\":\"{}\"}}}}",
        "y".repeat(300_000)
    );
    let site = Site::start(move |_| Say::status(400, said.clone()));
    for command in COMMANDS {
        let outcome = start(&job(&site.url), command).outcome();
        assert_eq!(outcome.code, Some(1), "{command:?}");
        assert!(
            outcome.stderr.len() < 10_000,
            "{command:?}: {}",
            outcome.stderr.len()
        );
    }
}

#[test]
fn who_waits_for_an_answer_can_be_stopped() {
    for command in COMMANDS {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let site = Site::start(|_| Say::Hold);
            let job = job(&site.url);
            let running = start(&job, command);
            wait_until("it asks", || !site.asked().is_empty());
            let pid = Pid::from_raw(i32::try_from(running.child.id()).expect("pids are small"));
            kill(pid, signal).expect("it is there");
            let since = Instant::now();
            let outcome = running.outcome();
            let number = Some(signal as i32);
            let stopped = outcome.signal == number || outcome.code == number.map(|n| 128 + n);
            assert!(stopped, "{command:?}: {:?}", outcome.code);
            assert!(
                since.elapsed() < AT_ONCE,
                "{command:?}: {:?}",
                since.elapsed()
            );
        }
    }
}

#[test]
fn a_load_follows_no_redirect() {
    let site =
        Site::start(|_| Say::status(302, "").with("location", "http://u:hunter2@elsewhere.test/x"));
    let failed = job(&site.url).run(Variant::SEQUENTIAL);
    assert_failed(&failed, &["redirects to `http://elsewhere.test/x`"], "302");
    assert!(!failed.stderr.contains("hunter2"), "{}", failed.stderr);
}

#[test]
fn a_load_that_trusts_anybody_says_so() {
    let server = Scripted::start(|_| Reply::Normal);
    let job = Job::new(&[&server.url], &rows(3), &[("verify", "false")]);
    let outcome = job.run(Variant::SEQUENTIAL);
    assert_ended(&outcome, 0, 3, "verify");
    assert!(
        warnings(&outcome).contains("`verify = false`"),
        "{}",
        warnings(&outcome)
    );
}

/// `openssl req -x509` makes a certificate that says it is an authority's.
#[test]
fn a_certificate_that_is_named_is_trusted_though_it_is_an_authority_s() {
    let folder = Folder::new("authority");
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no openssl that makes certificates");
        return;
    }
    let mut server = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-www"])
        .args(["-cert", "cert.pem", "-key", "key.pem"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is an openssl");
    let lines = std::io::BufReader::new(server.stdout.take().expect("it is piped"));
    let mut lines = std::io::BufRead::lines(lines);
    let address = lines.find_map(|line| Some(line.ok()?.strip_prefix("ACCEPT ")?.to_owned()));
    let address = address.expect("it says where it listens");
    let named = format!("{:?}", folder.join("cert.pem"));
    let check = |host: &str, options: &[(&str, &str)]| {
        let url = format!("https://{host}");
        let job = Job::new(&[&url], &rows(3), options);
        start(&job, &["check", "pipeline.toml", "--connect"])
            .outcome()
            .stderr
    };
    let options = [("ca_certificate", named.as_str()), ("retries", "0")];
    let trusted = check(&address, &options);
    let other_name = check(&address.replace("127.0.0.1", "localhost"), &options);
    let unnamed = check(&address, &[("retries", "0")]);
    // It is ours, and serves for ever.
    let _ = server.kill();
    let _ = server.wait();
    // It speaks HTTP, but is no search server: so far we came.
    assert!(trusted.contains("the answer is not JSON"), "{trusted}");
    assert!(
        other_name.contains("names other hosts, or none"),
        "{other_name}"
    );
    assert!(unnamed.contains("is not trusted"), "{unnamed}");
}
