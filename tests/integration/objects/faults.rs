//! A store that fails now and then, and objects that change under a run.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::LARGE;
use super::server::{Store, copying, csv, cut, run, with_store};
use crate::harness::{Etl, Variant, wait_until};
use crate::scripted::Say;

pub(super) const SLOW_DOWN: &str = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";

#[test]
fn a_read_goes_on_where_it_broke() {
    let Some(store) = Store::shared() else { return };
    store.bucket("broken");
    let text = csv(LARGE);
    store.put("broken/in.csv", &text);
    let proxy = store.behind(|asked| {
        let range = asked.headers.get("range").map(String::as_str);
        match (asked.method.as_str(), asked.before % 3, range) {
            // Every other request is refused, and of the rest of the large ones every other is cut.
            ("GET" | "HEAD", 0, _) => {
                Some(Say::status(503, SLOW_DOWN).with("content-type", "application/xml"))
            }
            ("GET", 1, Some(_)) => Some(cut(store_of().answer(asked))),
            _ => None,
        }
    });
    let folder = copying("\"s3://broken/in.csv\"", "out.csv");
    let outcome = run(&folder, &proxy.url, Variant::new("threads", 1, 2));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let written = std::fs::read_to_string(folder.join("out.csv")).expect("it was written");
    assert!(written == text);
}

fn store_of() -> &'static Store {
    Store::shared().expect("the test has it")
}

#[test]
fn a_store_that_never_lets_us_in_ends_the_run() {
    let Some(store) = Store::shared() else { return };
    let proxy = store.behind(|_| Some(Say::status(503, SLOW_DOWN)));
    let folder = copying("\"s3://any/in.csv\"", "out.csv");
    let outcome = run(&folder, &proxy.url, Variant::SEQUENTIAL);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    for says in [
        "cannot read `s3://any/in.csv`",
        "SlowDown",
        "every try failed",
    ] {
        assert!(outcome.stderr.contains(says), "{says}: {}", outcome.stderr);
    }
    assert!(proxy.asked().len() < 40, "tries are bounded");
}

#[test]
fn an_object_that_changes_during_the_run_is_an_error() {
    let Some(store) = Store::shared() else { return };
    store.bucket("changed");
    for (removed, says) in [
        (false, "was replaced by another object"),
        (true, "was removed"),
    ] {
        store.put("changed/in.csv", &csv(LARGE));
        let ranges = AtomicUsize::new(0);
        // The run has begun once it reads beyond the beginning.
        let proxy = store.behind(move |asked| {
            let is_beyond = asked
                .headers
                .get("range")
                .is_some_and(|range| !range.starts_with("bytes=0-"));
            if is_beyond && ranges.fetch_add(1, Ordering::SeqCst) == 0 {
                if removed {
                    store.delete("changed/in.csv");
                } else {
                    store.put("changed/in.csv", &csv(LARGE + 1000));
                }
            }
            None
        });
        let folder = copying("\"s3://changed/in.csv\"", "out.csv");
        let outcome = run(&folder, &proxy.url, Variant::SEQUENTIAL);
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(says), "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("after the run began"),
            "{}",
            outcome.stderr
        );
        assert!(!folder.join("out.csv").exists());
    }
}

#[test]
fn a_run_that_waits_for_an_answer_can_be_stopped() {
    let Some(store) = Store::shared() else { return };
    store.bucket("silent");
    store.put("silent/in.csv", &csv(LARGE));
    let proxy = store.behind(|asked| {
        let range = asked.headers.get("range");
        let is_beyond = range.is_some_and(|range| !range.starts_with("bytes=0-"));
        is_beyond.then_some(Say::Hold)
    });
    let folder = copying("\"s3://silent/in.csv\"", "out.csv");
    let etl = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
    let running = with_store(etl, &folder, &proxy.url).start();
    let is_held = || {
        let asked = proxy.asked();
        let mut ranges = asked.iter().filter_map(|asked| asked.headers.get("range"));
        ranges.any(|range| !range.starts_with("bytes=0-"))
    };
    wait_until("it waits for a range", is_held);
    let pid = running.child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    assert!(sent.is_ok_and(|status| status.success()));
    let outcome = running.outcome();
    assert_eq!(outcome.code, Some(143), "{}", outcome.stderr);
}
