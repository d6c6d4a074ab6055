//! What is done with each document, and what that makes of rows: `create`, `update`, `upsert`, `delete`, ids
//! that are made, and answers in which the server has done something else.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{
    INDEX, Job, NONE, Row, assert_ended, assert_failed, counts, documents, rejects, rows, run_id,
};
use crate::harness::Variant;
use crate::scripted::{Bulk, ItemFault, Op, Random, Reply, Scripted};

/// A server whose index holds these documents.
fn holding(rows: &[Row], script: impl FnMut(&Bulk) -> Reply + Send + 'static) -> Scripted {
    let server = Scripted::start(script);
    let mut body = String::new();
    for row in rows {
        body += &format!(
            "{}\n{}\n",
            json!({ "index": { "_id": row.id } }),
            row.document()
        );
    }
    let (status, said) = server.call("POST", "/things/_bulk", &body);
    assert_eq!((status, &said["errors"]), (200, &json!(false)));
    server
}

fn normal(_: &Bulk) -> Reply {
    Reply::Normal
}

/// The same rows with other texts.
fn changed(rows: &[Row]) -> Vec<Row> {
    let change = |row: &Row| Row {
        text: format!("now {}", row.n),
        ..row.clone()
    };
    rows.iter().map(change).collect()
}

#[test]
fn a_document_that_is_there_is_a_conflict_to_create() {
    let all = rows(100);
    for variant in Variant::EACH {
        let run = |on_conflict: &str| {
            let server = holding(&all[..30], normal);
            let options = [("op", "\"create\""), ("on_conflict", on_conflict)];
            let job = Job::new(&[&server.url], &changed(&all), &options);
            (job.run(variant), server)
        };
        let mut want = documents(&changed(&all));
        want.extend(documents(&all[..30]));

        let (outcome, server) = run("\"count\"");
        assert_ended(&outcome, 0, 100, variant);
        assert_eq!(
            counts(&outcome, ["created", "conflicts"]),
            [70, 30],
            "{variant}"
        );
        assert!(server.documents(INDEX) == want, "{variant}");

        let (outcome, server) = run("\"reject\"");
        assert_ended(&outcome, 3, 100, variant);
        let rejects = rejects(&outcome);
        assert_eq!(rejects.len(), 30, "{variant}");
        assert_eq!(rejects[0]["status"], 409, "{variant}");
        assert_eq!(rejects[0]["op"], "create", "{variant}");
        assert!(server.documents(INDEX) == want, "{variant}");

        let (outcome, _) = run("\"fail\"");
        assert_failed(&outcome, &["in the index already", "on_conflict"], variant);
    }
}

#[test]
fn a_document_that_was_created_by_a_lost_answer_is_no_conflict() {
    let rows = rows(200);
    for variant in Variant::EACH {
        for on_conflict in ["\"count\"", "\"reject\"", "\"fail\""] {
            let mut random = Random::new(1);
            let server = Scripted::start(move |_| match random.next() % 3 {
                0 => Reply::CloseAfter,
                _ => Reply::Normal,
            });
            let options = [("op", "\"create\""), ("on_conflict", on_conflict)];
            let outcome = Job::new(&[&server.url], &rows, &options).run(variant);
            assert_ended(&outcome, 0, 200, variant);
            let [created, confirmed, conflicts] =
                counts(&outcome, ["created", "confirmed", "conflicts"]);
            assert!(confirmed > 0, "{variant}");
            assert_eq!([created + confirmed, conflicts], [200, 0], "{variant}");
            assert!(server.documents(INDEX) == documents(&rows), "{variant}");
        }
    }
}

#[test]
fn update_changes_what_is_there_and_rejects_the_rest() {
    let all = rows(100);
    for variant in Variant::EACH {
        let server = holding(&all[..60], normal);
        let mut new = changed(&all);
        // These change nothing.
        new[..10].clone_from_slice(&all[..10]);
        let job = Job::new(&[&server.url], &new, &[("op", "\"update\"")]);
        let outcome = job.run(variant);
        assert_ended(&outcome, 3, 100, variant);
        assert_eq!(
            counts(&outcome, ["updated", "unchanged"]),
            [50, 10],
            "{variant}"
        );
        assert!(
            server.documents(INDEX) == documents(&new[..60]),
            "{variant}"
        );
        let rejects = rejects(&outcome);
        assert_eq!(rejects.len(), 40, "{variant}");
        assert_eq!(rejects[0]["status"], 404);
        assert_eq!(rejects[0]["type"], "document_missing_exception");
        assert_eq!(rejects[0]["row"], new[60].document());
    }
}

#[test]
fn upsert_changes_what_is_there_and_adds_the_rest() {
    let all = rows(100);
    for variant in Variant::EACH {
        let mut conflict = true;
        let server = holding(&all[..60], move |bulk| {
            // Somebody else was there in the same moment, once.
            let conflicts = std::mem::take(&mut conflict) && bulk.items[0].op == Op::Update;
            conflict |= bulk.items[0].op != Op::Update;
            let fault = ItemFault::new(2, 409, "version_conflict_engine_exception");
            Reply::Items(conflicts.then_some(fault).into_iter().collect())
        });
        let new = changed(&all);
        let job = Job::new(&[&server.url], &new, &[("op", "\"upsert\"")]);
        let outcome = job.run(variant);
        assert_ended(&outcome, 0, 100, variant);
        let names = ["created", "updated", "sent_again"];
        assert_eq!(counts(&outcome, names), [40, 60, 1], "{variant}");
        assert!(server.documents(INDEX) == documents(&new), "{variant}");
    }
}

#[test]
fn delete_takes_away_what_is_there() {
    let all = rows(100);
    for variant in Variant::EACH {
        let server = holding(&all[40..], normal);
        let job = Job::new(&[&server.url], &all[..80], &[("op", "\"delete\"")]);
        let outcome = job.run(variant);
        assert_ended(&outcome, 0, 80, variant);
        assert_eq!(
            counts(&outcome, ["deleted", "not_found"]),
            [40, 40],
            "{variant}"
        );
        assert!(
            server.documents(INDEX) == documents(&all[80..]),
            "{variant}"
        );
    }
}

#[test]
fn routing_and_version_stand_in_each_action() {
    let rows = rows(40);
    for (op, named) in [("index", Op::Index), ("delete", Op::Delete)] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = Scripted::start({
            let seen = Arc::clone(&seen);
            move |bulk: &Bulk| {
                let items = bulk.items.iter().map(|item| (item.op, item.action.clone()));
                seen.lock().expect("no one panics").extend(items);
                let fault = ItemFault::new(3, 409, "version_conflict_engine_exception");
                Reply::Items(vec![fault])
            }
        });
        let op = format!("\"{op}\"");
        let options = [
            ("op", op.as_str()),
            ("routing", "\"text\""),
            ("version", "\"n\""),
            ("version_type", "\"external_gte\""),
        ];
        let outcome = Job::new(&[&server.url], &rows, &options).run(Variant::SEQUENTIAL);
        assert_ended(&outcome, 0, 40, &op);
        // A higher version was there: two batches, one item each.
        assert_eq!(
            counts(&outcome, ["conflicts", "sent_again"]),
            [2, 0],
            "{op}"
        );
        let seen = seen.lock().expect("no one panics");
        let want: Vec<(Op, Value)> = rows
            .iter()
            .map(|row| {
                let action = json!({
                    "_id": row.id,
                    "routing": row.text,
                    "version": row.n,
                    "version_type": "external_gte",
                });
                (named, action)
            })
            .collect();
        assert_eq!(*seen, want, "{op}");
    }
}

#[test]
fn ids_that_are_made_are_the_same_in_every_try() {
    let rows = rows(300);
    for variant in Variant::EACH {
        let mut random = Random::new(2);
        let server = Scripted::start(move |_| match random.next() % 12 {
            0 => Reply::CloseAfter,
            1 => Reply::CutAnswer(200),
            2..5 => Reply::Garbage(String::new()),
            5..8 => Reply::status(503, "away"),
            _ => Reply::Normal,
        });
        let job = Job::new(&[&server.url], &rows, &[("id", NONE)]);
        let outcome = job.run(variant);
        assert_ended(&outcome, 0, 300, variant);
        let load = run_id(&outcome).to_lowercase();
        let want = rows
            .iter()
            .map(|row| (format!("{load}-{}", row.n), row.document()));
        assert!(server.documents(INDEX) == want.collect(), "{variant}");
        // Another run adds its own.
        let again = job.run_again(variant, &[]).outcome();
        assert_ended(&again, 0, 300, variant);
        assert_eq!(server.count(INDEX), 600, "{variant}");
    }
}

#[test]
fn ids_of_the_servers_own_may_double_and_the_report_says_so() {
    let rows = rows(100);
    let server = Scripted::start(|bulk| match bulk.number {
        2 => Reply::CloseAfter,
        _ => Reply::Normal,
    });
    let options = [("id", NONE), ("server_ids", "true")];
    let outcome = Job::new(&[&server.url], &rows, &options).run(Variant::SEQUENTIAL);
    assert_ended(&outcome, 0, 100, "server_ids");
    assert_eq!(server.count(INDEX), 120);
    assert_eq!(counts(&outcome, ["created", "maybe_doubled"]), [100, 20]);
    assert!(
        outcome.stderr.contains("may be doubled"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn what_the_server_did_otherwise_is_counted_as_that() {
    let rows = rows(20);
    // It is all carried out, and said to be something else.
    let server = Scripted::start(|bulk: &Bulk| {
        let item = |i: usize| match i {
            3 => json!({ "status": 200, "result": "noop", "_index": INDEX }),
            5 => json!({ "status": 201, "result": "created", "_index": "elsewhere" }),
            9 => {
                json!({ "status": 201, "result": "created", "_index": ".fs-things", "failure_store": "used" })
            }
            11 => json!({ "status": 400, "_index": INDEX, "error": {
                "type": "document_parsing_exception",
                "reason": "failed to parse field [n]",
                "caused_by": { "type": "number_format_exception", "reason": "For input string" },
            } }),
            _ => json!({ "status": 201, "result": "created", "_index": INDEX }),
        };
        let items = (0..bulk.items.len()).map(|i| json!({ "index": item(i) }));
        let items: Vec<Value> = items.collect();
        Reply::Garbage(json!({ "took": 4, "errors": true, "items": items }).to_string())
    });
    let outcome = Job::new(&[&server.url], &rows, &[]).run(Variant::SEQUENTIAL);
    assert_ended(&outcome, 3, 20, "otherwise");
    let names = ["created", "dropped", "elsewhere", "server_ms"];
    assert_eq!(counts(&outcome, names), [16, 1, 1, 4]);
    assert!(
        outcome.stderr.contains("sent to another index"),
        "{}",
        outcome.stderr
    );
    let [used, refused] = &rejects(&outcome)[..] else {
        panic!("{}", outcome.rejects);
    };
    assert_eq!(used["id"], "d9");
    assert_eq!(used["type"], "failure_store");
    assert_eq!(refused["id"], "d11");
    let cause = refused["caused_by"].as_str().unwrap_or_default();
    assert_eq!(cause, "number_format_exception: For input string");
}
