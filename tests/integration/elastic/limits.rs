//! Requests that are too much for the server: they are halved down to the document that is.

use std::sync::{Arc, Mutex};

use std::time::Duration;

use serde_json::Value;

use super::{
    INDEX, Job, assert_ended, assert_failed, assert_sent_as_needed, count, counts, documents,
    rejects, rows, run_id, without,
};
use crate::harness::Variant;
use crate::scripted::{Bulk, ItemFault, Reply, Scripted};

/// Few tries, for what is never taken.
const HASTY: (&str, &str) = ("retries", "6");

fn too_large() -> Reply {
    Reply::Status(413, Vec::new(), String::new())
}

fn holds(bulk: &Bulk, id: &str) -> bool {
    bulk.items.iter().any(|item| item.id == id)
}

#[test]
fn what_is_too_large_is_halved_and_stays_below_from_then_on() {
    let rows = rows(2000);
    for variant in Variant::EACH {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = Scripted::start({
            let seen = Arc::clone(&seen);
            move |bulk: &Bulk| {
                seen.lock().expect("no one panics").push(bulk.bytes);
                if bulk.bytes > 4000 {
                    too_large()
                } else {
                    Reply::Normal
                }
            }
        });
        let options = [("batch_docs", "250")];
        let outcome = Job::new(&[&server.url], &rows, &options).run(variant);
        assert_ended(&outcome, 0, rows.len(), variant);
        assert!(server.documents(INDEX) == documents(&rows), "{variant}");
        assert_sent_as_needed(&server.record(), &outcome, &[413], variant);
        assert!(count(&outcome, "splits") > 0, "{variant}");
        let seen = seen.lock().expect("no one panics");
        let refused: Vec<_> = seen.iter().filter(|bytes| **bytes > 4000).collect();
        if variant.executor == "sequential" {
            // The size that failed is the ceiling: each further one was smaller.
            assert!(refused.is_sorted_by(|a, b| a > b), "{refused:?}");
        }
        assert!(refused.len() * 3 < seen.len(), "{variant}: {refused:?}");
    }
}

#[test]
fn a_document_over_the_limit_is_a_reject() {
    let mut rows = rows(100);
    rows[57].text = "x".repeat(9000);
    for variant in Variant::EACH {
        let server = Scripted::start(|bulk| match bulk.bytes {
            8000.. => too_large(),
            _ => Reply::Normal,
        });
        let outcome = Job::new(&[&server.url], &rows, &[]).run(variant);
        assert_ended(&outcome, 3, rows.len(), variant);
        assert!(
            server.documents(INDEX) == without(&rows, "d57"),
            "{variant}"
        );
        assert_sent_as_needed(&server.record(), &outcome, &[413], variant);
        let [reject] = &rejects(&outcome)[..] else {
            panic!("{variant}: {}", outcome.rejects);
        };
        assert_eq!(reject["status"], 413, "{variant}");
        assert_eq!(reject["id"], "d57", "{variant}");
        assert_eq!(reject["row"], rows[57].document(), "{variant}");
    }
}

/// What a server may do for ever to a request that holds one certain document.
fn spoilt() -> [(&'static str, Reply, u16); 5] {
    [
        (
            "429",
            Reply::status(429, "rejected_execution_exception"),
            429,
        ),
        ("closed before", Reply::CloseBefore, 0),
        ("400", Reply::status(400, "parse_exception"), 400),
        (
            "not valid",
            Reply::status(400, "action_request_validation_exception"),
            400,
        ),
        ("500 bytes", too_large(), 413),
    ]
}

#[test]
fn a_document_that_spoils_each_request_is_found_and_rejected() {
    let rows = rows(103);
    for variant in Variant::EACH {
        for (name, reply, status) in spoilt() {
            let about = format!("{variant}, {name}");
            let server = Scripted::start(move |bulk| {
                if holds(bulk, "d33") {
                    reply.clone()
                } else {
                    Reply::Normal
                }
            });
            let outcome = Job::new(&[&server.url], &rows, &[HASTY]).run(variant);
            assert_ended(&outcome, 3, rows.len(), &about);
            assert!(server.documents(INDEX) == without(&rows, "d33"), "{about}");
            let [reject] = &rejects(&outcome)[..] else {
                panic!("{about}: {}", outcome.rejects);
            };
            assert_eq!(reject["status"], status, "{about}: {reject}");
            assert_eq!(reject["row"], rows[33].document(), "{about}");
            assert!(count(&outcome, "splits") > 0, "{about}");
        }
    }
}

#[test]
fn items_that_spoil_the_others_are_found_too() {
    let rows = rows(40);
    let server = Scripted::start(|bulk: &Bulk| {
        let kind = "action_request_validation_exception";
        let all = 0..bulk.items.len();
        if holds(bulk, "d12") {
            Reply::Items(all.map(|i| ItemFault::new(i, 400, kind)).collect())
        } else {
            Reply::Normal
        }
    });
    let outcome = Job::new(&[&server.url], &rows, &[]).run(Variant::SEQUENTIAL);
    assert_ended(&outcome, 3, rows.len(), "not valid");
    assert!(server.documents(INDEX) == without(&rows, "d12"));
    assert_sent_as_needed(&server.record(), &outcome, &[400], "not valid");
    let ids: Vec<Value> = rejects(&outcome)
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    assert_eq!(ids, ["d12"]);
}

#[test]
fn a_document_alone_in_its_request_is_put_off_while_others_are_sent() {
    // With requests of one document the others are those in flight with it, once there are several.
    let rows = rows(60);
    for variant in [Variant::new("threads", 1, 4), Variant::new("hybrid", 1, 4)] {
        let server = Scripted::start(|bulk| {
            if holds(bulk, "d40") {
                return Reply::status(429, "rejected_execution_exception");
            }
            Reply::Normal.after(Duration::from_millis(20))
        });
        let options = [HASTY, ("batch_docs", "1")];
        let outcome = Job::new(&[&server.url], &rows, &options).run(variant);
        assert_ended(&outcome, 3, rows.len(), variant);
        assert!(
            server.documents(INDEX) == without(&rows, "d40"),
            "{variant}"
        );
    }
}

#[test]
fn a_server_that_takes_nothing_loses_nothing() {
    let rows = rows(200);
    let all = |bulk: &Bulk, status, kind: &str| {
        let all = 0..bulk.items.len();
        Reply::Items(all.map(|i| ItemFault::new(i, status, kind)).collect())
    };
    for variant in Variant::EACH {
        for name in ["429", "503", "items 429", "items 503", "closed", "garbage"] {
            let about = format!("{variant}, {name}");
            let ill = Arc::new(Mutex::new(true));
            let server = Scripted::start({
                let ill = Arc::clone(&ill);
                move |bulk: &Bulk| {
                    // Some are taken before.
                    if bulk.number < 4 || !*ill.lock().expect("no one panics") {
                        return Reply::Normal;
                    }
                    match name {
                        "429" => Reply::status(429, "rejected_execution_exception"),
                        "503" => Reply::status(503, "away"),
                        "items 429" => all(bulk, 429, "rejected_execution_exception"),
                        "items 503" => all(bulk, 503, "unavailable_shards_exception"),
                        "closed" => Reply::CloseBefore,
                        _ => Reply::Garbage("<html>".into()),
                    }
                }
            });
            let job = Job::new(&[&server.url], &rows, &[HASTY]);
            let failed = job.run(variant);
            assert_failed(&failed, &["gave up after 6 tries", "--resume"], &about);
            assert_eq!(rejects(&failed).len(), 0, "{about}");
            *ill.lock().expect("no one panics") = false;
            let outcome = job.resume(variant);
            assert_ended(&outcome, 0, rows.len(), &about);
            assert_eq!(run_id(&outcome), run_id(&failed), "{about}");
            assert!(server.documents(INDEX) == documents(&rows), "{about}");
        }
    }
}

#[test]
fn an_index_that_is_read_only_is_waited_for() {
    let rows = rows(200);
    let kind = "cluster_block_exception";
    for variant in Variant::EACH {
        for whole in [None, Some(403), Some(429)] {
            let about = format!("{variant}, {whole:?}");
            let server = Scripted::start(move |bulk: &Bulk| match (bulk.number, whole) {
                (3..7, Some(status)) => Reply::status(status, kind),
                (3..7, None) => {
                    let all = 0..bulk.items.len();
                    Reply::Items(all.map(|i| ItemFault::new(i, 429, kind)).collect())
                }
                _ => Reply::Normal,
            });
            let outcome = Job::new(&[&server.url], &rows, &[]).run(variant);
            assert_ended(&outcome, 0, rows.len(), &about);
            assert!(server.documents(INDEX) == documents(&rows), "{about}");
            let halved: &[u16] = &[403];
            assert_sent_as_needed(&server.record(), &outcome, halved, &about);
            let said = &outcome.stderr;
            assert!(said.contains("read-only"), "{about}: {said}");
            assert_eq!(count(&outcome, "splits"), 0, "{about}");
        }
    }
}

#[test]
fn an_index_that_stays_read_only_fails_the_run_which_can_go_on() {
    let rows = rows(100);
    let ill = Arc::new(Mutex::new(true));
    let server = Scripted::start({
        let ill = Arc::clone(&ill);
        move |bulk: &Bulk| {
            if bulk.number > 1 && *ill.lock().expect("no one panics") {
                Reply::status(403, "cluster_block_exception")
            } else {
                Reply::Normal
            }
        }
    });
    let job = Job::new(&[&server.url], &rows, &[HASTY]);
    let failed = job.run(Variant::SEQUENTIAL);
    assert_failed(
        &failed,
        &["read-only", "`things`", "flood stage"],
        "blocked",
    );
    assert_eq!(rejects(&failed).len(), 0);
    assert!(server.record().bulks < 20, "it waits between its tries");
    *ill.lock().expect("no one panics") = false;
    let outcome = job.resume(Variant::SEQUENTIAL);
    assert_ended(&outcome, 0, rows.len(), "resumed");
    assert!(server.documents(INDEX) == documents(&rows));
    assert_eq!(counts(&outcome, ["created", "confirmed"]), [100, 0]);
}
