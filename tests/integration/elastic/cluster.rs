//! Loads by tasks of a cluster, with a stand-in for its engine that runs every third task twice: what is in the index and
//! what is said of it is the same as on one machine.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    INDEX, Job, NONE, Row, STAGE, assert_ended, assert_failed, count, counts, documents, rows,
    warnings,
};
use crate::harness::{Outcome, Variant};
use crate::scripted::{Bulk, Item, ItemFault, Reply, Scripted};

/// How many files hold the rows: each is a task.
const FILES: usize = 7;

/// A job whose rows lie in several files, in their order.
fn of_files(server: &Scripted, rows: &[Row], options: &[(&str, &str)]) -> Job {
    let job = Job::new(&[&server.url], rows, options).allow_rejects();
    let text = std::fs::read_to_string(job.folder.join("pipeline.toml")).expect("it was written");
    let text = text.replace("rows.csv", "rows_*.csv");
    job.folder.write("pipeline.toml", text);
    for (file, rows) in rows.chunks(rows.len().div_ceil(FILES)).enumerate() {
        let text = rows.iter().fold("id,n,text\n".to_owned(), |mut text, row| {
            let _ = writeln!(text, "{},{},text {}", row.id, row.n, row.n);
            text
        });
        job.folder.write(&format!("rows_{file}.csv"), text);
    }
    job
}

/// Rows of which many have the id of others, in other files too, and some have none.
fn repeating(count: i64) -> Vec<Row> {
    let row = |row: Row| Row {
        id: match row.n % 41 {
            7 => String::new(),
            _ => format!("d{}", row.n * 17 % 97),
        },
        text: format!("text {}", row.n),
        ..row
    };
    rows(count).into_iter().map(row).collect()
}

/// A server that refuses some documents for good, and others for the moment.
fn picky() -> Scripted {
    Scripted::start(move |bulk: &Bulk| {
        let fault = |(at, item): (usize, &Item)| {
            let n = item.document["n"].as_i64().unwrap_or_default();
            (n % 29 == 3).then(|| ItemFault::new(at, 400, "mapper_parsing_exception"))
        };
        let mut faults: Vec<ItemFault> = bulk.items.iter().enumerate().filter_map(fault).collect();
        if bulk.number % 5 == 1 && faults.iter().all(|fault| fault.position != 0) {
            faults.push(ItemFault::new(0, 429, "busy"));
        }
        Reply::Items(faults)
    })
}

/// What of a load must not depend on where it ran.
fn seen(outcome: &Outcome) -> (Vec<Value>, String) {
    let keys = ["rows_in", "rows_out", "rejected", "dropped", "digest"];
    let of = |stage: &Value| keys.map(|key| stage[key].clone()).to_vec();
    let stages = outcome.stages().iter().flat_map(of).collect();
    (stages, outcome.rejects.clone())
}

#[test]
fn tasks_load_what_one_machine_loads() {
    let rows = repeating(900);
    let on_one = picky();
    let alone = of_files(&on_one, &rows, &[]).run_with(Variant::SEQUENTIAL, &["--digest"]);
    assert_ended(&alone, 0, rows.len(), "alone");
    assert!(alone.rejects.lines().count() > 40);
    for variant in [Variant::CLUSTER, Variant::CLUSTER.batch_rows(9)] {
        let server = picky();
        let outcome = of_files(&server, &rows, &[]).run_with(variant, &["--digest"]);
        assert_ended(&outcome, 0, rows.len(), variant);
        assert_eq!(outcome.stage(STAGE)["executor"], "cluster", "{variant}");
        assert_eq!(seen(&outcome), seen(&alone), "{variant}");
        assert!(
            server.documents(INDEX) == on_one.documents(INDEX),
            "{variant}"
        );
        let names = ["created", "updated", "confirmed"];
        let there = |outcome| counts(outcome, names).iter().sum::<u64>();
        assert_eq!(there(&outcome), there(&alone), "{variant}");
        assert!(
            count(&outcome, "confirmed") > 0,
            "{variant}: tasks are tried again"
        );
    }
}

#[test]
fn rows_without_ids_are_there_once_though_tasks_are_tried_again() {
    let server = Scripted::start(|_: &Bulk| Reply::Normal);
    let rows = rows(300);
    let outcome = of_files(&server, &rows, &[("id", NONE)]).run_with(Variant::CLUSTER, &[]);
    assert_ended(&outcome, 0, rows.len(), "no ids");
    let mut found: Vec<i64> = server
        .documents(INDEX)
        .values()
        .filter_map(|one| one["n"].as_i64())
        .collect();
    found.sort_unstable();
    assert_eq!(found, (0..300).collect::<Vec<_>>());
    assert!(count(&outcome, "confirmed") > 0);
    assert_eq!(warnings(&outcome), "");
    // Their numbers are those of one machine.
    let load = outcome.report["run"]
        .as_str()
        .expect("it has an id")
        .to_lowercase();
    for (id, document) in server.documents(INDEX) {
        assert_eq!(id, format!("{load}-{}", document["n"]));
    }
}

#[test]
fn what_would_be_doubled_or_counted_otherwise_is_sent_by_one_machine() {
    let rows = rows(60);
    for options in [
        &[("id", NONE), ("server_ids", "true")][..],
        &[("op", "\"create\"")],
        &[("version", "\"n\"")],
    ] {
        let server = Scripted::start(|_: &Bulk| Reply::Normal);
        let outcome = of_files(&server, &rows, options).run_with(Variant::CLUSTER, &[]);
        assert_ended(&outcome, 0, rows.len(), options[0].0);
        assert_eq!(outcome.stage(STAGE)["executor"], "sequential");
        assert_eq!(outcome.stage("load")["executor"], "cluster");
        assert_eq!(server.count(INDEX), 60);
        assert_eq!(count(&outcome, "confirmed"), 0);
    }
}

#[test]
fn a_document_that_ends_the_run_is_the_first_one() {
    let rows = repeating(500);
    let options = [("on_error", "\"fail\"")];
    let alone = of_files(&picky(), &rows, &options).run_with(Variant::SEQUENTIAL, &[]);
    let outcome = of_files(&picky(), &rows, &options).run_with(Variant::CLUSTER, &[]);
    assert_failed(&alone, &["rows_0.csv"], "alone");
    assert_failed(&outcome, &["rows_0.csv"], "tasks");
    let sorted = |variant| {
        let server = picky();
        let job = of_files(&server, &rows, &options);
        let file = job.folder.join("pipeline.toml");
        let text = std::fs::read_to_string(&file).expect("it was written");
        let sort =
            "name = \"sorted\"\nkind = \"sort\"\ninputs = [\"load\"]\nby = [\"-n\"]\n\n[[stage]]\n";
        let text = text.replace("inputs = [\"load\"]", "inputs = [\"sorted\"]");
        let text = text.replacen("name = \"index\"", &format!("{sort}name = \"index\""), 1);
        job.folder.write("pipeline.toml", text);
        job.run_with(variant, &[])
    };
    let first = |outcome: &Outcome| {
        outcome
            .stderr
            .lines()
            .find(|line| line.contains("error"))
            .map(str::to_owned)
    };
    assert_eq!(first(&outcome), first(&alone));
    // In the order of the rows, which is not that of the files here.
    let alone = sorted(Variant::SEQUENTIAL);
    assert_failed(&alone, &["rows_6.csv"], "alone, sorted");
    assert_eq!(first(&sorted(Variant::CLUSTER)), first(&alone));
}

#[test]
fn more_rejects_than_allowed_end_a_load_that_goes_on_elsewhere_too() {
    let rows = repeating(500);
    let options = [("max_rejects", "2")];
    let server = picky();
    let job = of_files(&server, &rows, &options);
    for outcome in [
        job.run_with(Variant::CLUSTER, &[]),
        job.resume(Variant::CLUSTER),
        job.resume(Variant::SEQUENTIAL),
    ] {
        assert_failed(&outcome, &["more than `max_rejects` allows"], "too many");
    }
}

#[test]
fn a_server_that_takes_nothing_ends_all_tasks_and_the_load_goes_on() {
    let server = Scripted::start(|bulk: &Bulk| Reply::status(503, "away").when(bulk.number < 40));
    let rows = repeating(400);
    let options = [("retries", "1"), ("batch_docs", "5")];
    let job = of_files(&server, &rows, &options);
    let failed = job.run_with(Variant::CLUSTER, &[]);
    assert_failed(&failed, &["away", "--resume"], "the server is away");
    // Tasks that begin later send nothing.
    let before = server.record().bulks;
    assert!(before < 40, "{before} requests");
    let outcome = loop {
        let outcome = job.resume(Variant::CLUSTER);
        if outcome.code == Some(0) {
            break outcome;
        }
        assert_failed(&outcome, &["away"], "still");
    };
    assert_ended(&outcome, 0, rows.len(), "resumed");
    let kept: Vec<Row> = rows.into_iter().filter(|row| !row.id.is_empty()).collect();
    let found = server.documents(INDEX);
    assert_eq!(found.len(), documents(&kept).len());
    assert!(found == documents(&kept), "resumed");
}

#[test]
fn a_load_goes_on_here_or_there_whichever_began_it() {
    let rows = repeating(400);
    let kept: Vec<Row> = rows
        .iter()
        .filter(|row| !row.id.is_empty())
        .cloned()
        .collect();
    for [first, second] in [
        [Variant::SEQUENTIAL, Variant::CLUSTER],
        [Variant::CLUSTER, Variant::SEQUENTIAL],
    ] {
        let about = format!("{first}, then {second}");
        let server =
            Scripted::start(|bulk: &Bulk| Reply::status(401, "who").when(bulk.number == 4));
        let job = of_files(&server, &rows, &[]);
        assert_failed(&job.run_with(first, &[]), &["--resume"], &about);
        let outcome = job.resume(second);
        assert_ended(&outcome, 0, rows.len(), &about);
        assert!(server.documents(INDEX) == documents(&kept), "{about}");
        assert!(count(&outcome, "confirmed") > 0, "{about}");
    }
}
