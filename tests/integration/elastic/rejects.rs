//! Documents that the server refuses: set aside with its reasons, counted, and sent again on demand.

use serde_json::{Value, json};

use super::{
    INDEX, Job, NONE, Row, assert_ended, assert_failed, count, counts, documents, rejects, rows,
    run_id, warnings,
};
use crate::harness::{Outcome, Variant};
use crate::scripted::{Bulk, ItemFault, Reply, Scripted};

const PARSING: &str = "document_parsing_exception";

/// Refuses each document whose `n` is so.
fn picky(refused: impl Fn(i64) -> bool + Send + 'static) -> Scripted {
    Scripted::start(move |bulk: &Bulk| {
        let items = bulk.items.iter().enumerate();
        let bad =
            items.filter(|(_, item)| refused(item.document["n"].as_i64().unwrap_or_default()));
        Reply::Items(bad.map(|(i, _)| ItemFault::new(i, 400, PARSING)).collect())
    })
}

fn each_hundredth(n: i64) -> bool {
    n % 100 == 7
}

/// What is left of these rows.
fn taken(rows: &[Row], refused: impl Fn(i64) -> bool) -> Vec<Row> {
    rows.iter().filter(|row| !refused(row.n)).cloned().collect()
}

#[test]
fn refused_documents_are_kept_with_the_servers_reasons() {
    let rows = rows(600);
    for variant in Variant::EACH {
        let server = picky(each_hundredth);
        let outcome = Job::new(&[&server.url], &rows, &[]).run(variant);
        assert_ended(&outcome, 3, rows.len(), variant);
        let want = documents(&taken(&rows, each_hundredth));
        assert!(server.documents(INDEX) == want, "{variant}");
        let rejects = rejects(&outcome);
        let numbers: Vec<i64> = rejects
            .iter()
            .filter_map(|one| one["row"]["n"].as_i64())
            .collect();
        assert_eq!(numbers, [7, 107, 207, 307, 407, 507], "{variant}: in order");
        for (reject, n) in rejects.iter().zip(numbers) {
            let id = format!("d{n}");
            let want = json!({
                "stage": "index",
                "reason": format!("{PARSING}: the script says so"),
                "column": null,
                "value": null,
                "status": 400,
                "type": PARSING,
                "caused_by": null,
                "op": "index",
                "index": INDEX,
                "id": id,
                "row": { "id": id, "n": n, "text": format!("the text of {n}, \"quoted\" é") },
            });
            let mut got = reject.clone();
            let source = got.as_object_mut().and_then(|got| got.remove("source"));
            assert_eq!(got, want, "{variant}");
            let file = source.as_ref().and_then(|source| source["file"].as_str());
            assert!(
                file.is_some_and(|file| file.ends_with("rows.csv")),
                "{source:?}"
            );
        }
        assert!(
            outcome.stderr.contains("`max_rejects` is 0"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn how_many_rejects_are_too_many_can_be_said() {
    let rows = rows(600);
    let server = picky(each_hundredth);
    let run =
        |options: &[(&str, &str)]| Job::new(&[&server.url], &rows, options).run(Variant::EACH[1]);
    // Of the stage: nothing is published.
    assert_failed(&run(&[("max_rejects", "5")]), &["`max_rejects`"], "5");
    assert_ended(&run(&[("max_rejects", "6")]), 3, rows.len(), "6");
    assert_failed(
        &run(&[("on_error", "\"fail\"")]),
        &[PARSING, "on_error", "rows.csv"],
        "fail",
    );
    // Of the pipeline: done, and said by the exit code.
    let job = Job::new(&[&server.url], &rows, &[]).allow_rejects();
    assert_ended(&job.run(Variant::EACH[1]), 0, rows.len(), "any");
}

#[test]
fn a_load_of_which_everything_is_rejected_stops() {
    for (count, load, stops_after) in [
        (30, "append", 2),
        (5000, "append", 50),
        (5000, "replace", 50),
    ] {
        for variant in [Variant::SEQUENTIAL, Variant::new("hybrid", 2, 2)] {
            let about = format!("{variant}, {count} rows, {load}");
            let server = picky(|_| true);
            let load = format!("\"{load}\"");
            let job = Job::new(&[&server.url], &rows(count), &[("load", &load)]);
            let outcome = job.run(variant);
            assert_failed(&outcome, &["was rejected", "rejects.ndjson"], &about);
            assert!(!outcome.rejects.is_empty(), "{about}: they say why");
            assert_eq!(server.count(INDEX), 0, "{about}");
            let sent = server.record().bulks;
            assert!(
                (stops_after..stops_after + 100).contains(&sent),
                "{about}: {sent} requests"
            );
        }
    }
    // One good one among the first is enough to go on.
    let server = picky(|n| n != 999);
    let outcome = Job::new(&[&server.url], &rows(1500), &[]).run(Variant::SEQUENTIAL);
    assert_ended(&outcome, 3, 1500, "one is good");
    assert_eq!(rejects(&outcome).len(), 1499);
}

#[test]
fn rows_without_a_good_id_are_never_sent() {
    let mut rows = rows(60);
    rows[11].id = String::new();
    rows[22].id = "ä".repeat(257);
    rows[33].id = "x".repeat(512);
    for variant in Variant::EACH {
        let server = Scripted::start(|_| Reply::Normal);
        let outcome = Job::new(&[&server.url], &rows, &[]).run(variant);
        assert_ended(&outcome, 3, rows.len(), variant);
        let good: Vec<Row> = rows
            .iter()
            .filter(|row| ![11, 22].contains(&row.n))
            .cloned()
            .collect();
        assert!(server.documents(INDEX) == documents(&good), "{variant}");
        let numbers: Vec<Value> = rejects(&outcome)
            .iter()
            .map(|one| one["row"]["n"].clone())
            .collect();
        assert_eq!(numbers, [11, 22], "{variant}");
    }
}

#[test]
fn what_was_rejected_can_be_sent_again() {
    let mut rows = rows(300);
    // A null is left out of a document, in the first sending and in the second.
    rows[107].text = String::new();
    for (op, id, made) in [
        ("index", "\"id\"", false),
        ("create", "\"id\"", false),
        ("upsert", "\"id\"", false),
        ("index", NONE, true),
    ] {
        let about = format!("{op}, id = {id}");
        let refusing = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let server = Scripted::start({
            let refusing = refusing.clone();
            move |bulk: &Bulk| {
                let items = bulk.items.iter().enumerate();
                let n = |document: &Value| {
                    let document = document.get("doc").unwrap_or(document);
                    document["n"].as_i64().unwrap_or_default()
                };
                let bad = items.filter(|(_, item)| each_hundredth(n(&item.document)));
                let on = refusing.load(std::sync::atomic::Ordering::SeqCst);
                let bad = bad.filter(|_| on);
                Reply::Items(bad.map(|(i, _)| ItemFault::new(i, 400, PARSING)).collect())
            }
        });
        let op = format!("\"{op}\"");
        let job = Job::new(&[&server.url], &rows, &[("id", id), ("op", &op)]);
        let first = job.run(Variant::new("threads", 1, 2));
        assert_ended(&first, 3, rows.len(), &about);
        assert_eq!(server.count(INDEX), 297, "{about}");
        let run = run_id(&first).to_owned();

        // Still refused: rejected once more, by a run of its own.
        let outcome = job.replay(&run, &[]);
        assert_failed(&outcome, &["was rejected"], &about);

        refusing.store(false, std::sync::atomic::Ordering::SeqCst);
        // That run was of the same documents, and stored none.
        let again = job.replay(&run, &[]);
        assert_ended(&again, 0, 3, &about);
        assert_eq!(counts(&again, ["created", "updated"]), [3, 0], "{about}");
        let got = server.documents(INDEX);
        assert_eq!(got.len(), 300, "{about}");
        let mut got: Vec<Value> = got.into_values().collect();
        got.sort_by_key(|document| document["n"].as_i64());
        let want: Vec<Value> = rows
            .iter()
            .map(|row| {
                let mut document = row.document();
                if row.text.is_empty() {
                    document.as_object_mut().expect("it is one").remove("text");
                }
                document
            })
            .collect();
        assert!(got == want, "{about}");
        assert_eq!(
            made,
            server
                .documents(INDEX)
                .contains_key(&format!("{}-7", run.to_lowercase())),
            "{about}"
        );
    }
}

/// No run was begun, and what to do is said.
#[track_caller]
fn assert_refused(outcome: &Outcome, words: &str) {
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    for word in [words, "`--force`"] {
        assert!(outcome.stderr.contains(word), "{}", outcome.stderr);
    }
}

#[test]
fn what_was_rejected_goes_into_the_index_that_refused_it_only() {
    let rows = rows(300);
    for load in ["\"append\"", "\"replace\""] {
        let server = picky(each_hundredth);
        let job = Job::new(&[&server.url], &rows, &[("load", load)]);
        let first = job.run(Variant::SEQUENTIAL);
        assert_ended(&first, 3, rows.len(), load);
        let run = run_id(&first).to_owned();
        let index = server.call("GET", "/things", "").1;
        let index = index
            .as_object()
            .and_then(|all| all.keys().next())
            .expect("it is there")
            .clone();
        server.call("DELETE", &format!("/{index}"), "");
        let bulks = server.record().bulks;
        assert_refused(&job.replay(&run, &[]), "is not the index");
        server.call("PUT", &format!("/{index}"), "{}");
        assert_refused(&job.replay(&run, &[]), "is not the index");
        assert_eq!(server.record().bulks, bulks, "{load}: nothing was sent");
    }
}

#[test]
fn a_later_run_is_not_overwritten_by_a_replay() {
    let rows = rows(300);
    let server = picky(each_hundredth);
    let job = Job::new(&[&server.url], &rows, &[]);
    let first = job.run(Variant::SEQUENTIAL);
    let run = run_id(&first).to_owned();
    let second = job.run_again(Variant::SEQUENTIAL, &[]).outcome();
    assert_ended(&second, 3, rows.len(), "again");
    assert_eq!(counts(&second, ["created", "updated"]), [0, 297]);
    assert_eq!(warnings(&second), "", "an append may update");
    let bulks = server.record().bulks;
    assert_refused(&job.replay(&run, &[]), "wrote `things` later");
    assert_eq!(server.record().bulks, bulks, "nothing was sent");
    assert_eq!(count(&second, "sent"), 300);
}
