//! What is written appears when the run is published, and nothing is left of what is not.

use super::LARGE;
use super::server::{Store, copying, csv, run, signal, with_store};
use crate::harness::{Etl, Folder, Running, Variant, wait_until};
use crate::scripted::{Asked, Say, Site};

pub(super) fn is_part(asked: &Asked) -> bool {
    asked.method == "PUT" && asked.target.contains("partNumber=")
}

/// A run that writes to a bucket, held when it sends its second part.
fn held(store: &'static Store, folder: &Folder) -> (Site, Running) {
    let proxy = store.behind(|asked| {
        let is_second = is_part(asked) && asked.target.contains("partNumber=2");
        is_second.then_some(Say::Hold)
    });
    let etl = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
    let running = with_store(etl, folder, &proxy.url).start();
    wait_until("it sends its second part", || {
        proxy.asked().iter().filter(|asked| is_part(asked)).count() >= 2
    });
    (proxy, running)
}

#[test]
fn an_object_appears_when_the_run_is_published() {
    let Some(store) = Store::shared() else { return };
    store.bucket("published");
    let folder = copying("\"in.csv\"", "s3://published/out.csv");
    // Small: one request. Large: parts.
    for (bytes, parts) in [(100, 0), (LARGE, 3)] {
        folder.write("in.csv", csv(bytes));
        let proxy = store.behind(|_| None);
        let outcome = run(&folder, &proxy.url, Variant::SEQUENTIAL);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert!(
            store
                .get("published/out.csv")
                .is_some_and(|text| text == csv(bytes))
        );
        let sent = proxy.asked().iter().filter(|asked| is_part(asked)).count();
        assert_eq!(sent, parts);
        assert!(!notes(&folder));
    }
    // A run that fails, after it has sent parts, leaves what was there.
    folder.write("in.csv", csv(LARGE) + "1,\"never closed\n");
    let outcome = run(&folder, &store.url, Variant::SEQUENTIAL);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        store
            .get("published/out.csv")
            .is_some_and(|text| text == csv(LARGE))
    );
    assert_eq!(store.uploads("published"), 0);
}

/// Whether a run has left a note of an upload.
pub(super) fn notes(folder: &Folder) -> bool {
    crate::harness::files(&folder.join("state"))
        .keys()
        .any(|name| name.contains("upload-"))
}

#[test]
fn a_part_that_is_refused_is_sent_again() {
    let Some(store) = Store::shared() else { return };
    store.bucket("again");
    let proxy = store.behind(|asked| {
        let fails = is_part(asked) && asked.before == 0;
        fails.then(|| Say::status(503, "<Error><Code>SlowDown</Code></Error>"))
    });
    let folder = copying("\"in.csv\"", "s3://again/out.csv");
    folder.write("in.csv", csv(LARGE));
    let outcome = run(&folder, &proxy.url, Variant::SEQUENTIAL);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(
        store
            .get("again/out.csv")
            .is_some_and(|text| text == csv(LARGE))
    );
}

#[test]
fn a_run_that_is_stopped_gives_its_upload_up() {
    let Some(store) = Store::shared() else { return };
    store.bucket("stopped");
    let folder = copying("\"in.csv\"", "s3://stopped/out.csv");
    folder.write("in.csv", csv(LARGE));
    let (_proxy, running) = held(store, &folder);
    assert_eq!(store.uploads("stopped"), 1);
    signal(&running, "-INT");
    let outcome = running.outcome();
    assert_eq!(outcome.code, Some(130), "{}", outcome.stderr);
    assert_eq!(
        (store.uploads("stopped"), store.get("stopped/out.csv")),
        (0, None)
    );
    assert!(!notes(&folder));
}

#[test]
fn the_next_run_gives_up_what_a_killed_one_has_left() {
    let Some(store) = Store::shared() else { return };
    store.bucket("killed");
    let folder = copying("\"in.csv\"", "s3://killed/out.csv");
    folder.write("in.csv", csv(LARGE));
    let (_proxy, running) = held(store, &folder);
    signal(&running, "-KILL");
    running.outcome();
    assert_eq!(store.uploads("killed"), 1);
    assert!(notes(&folder));
    let again = Etl::new(
        folder.path(),
        &["run", "pipeline.toml", "--quiet", "--state", "state"],
    );
    let outcome = with_store(again, &folder, &store.url).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(store.uploads("killed"), 0);
    assert!(!notes(&folder));
    assert!(
        store
            .get("killed/out.csv")
            .is_some_and(|text| text == csv(LARGE))
    );
}
