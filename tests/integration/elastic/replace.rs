//! A load that replaces an index is one transaction: until its last call the old index serves, whatever
//! fails; and what it changed for speed is put back.

use serde_json::{Value, json};

use super::{
    INDEX, Job, Row, assert_ended, assert_failed, counts, documents, rejects, rows, run_id,
    warnings,
};
use crate::harness::{Outcome, Variant};
use crate::scripted::{Bulk, ItemFault, Reply, Scripted};

pub(super) const REPLACE: (&str, &str) = ("load", "\"replace\"");

/// The index that has the alias.
pub(super) fn holder(server: &Scripted) -> Option<String> {
    let (_, said) = server.call("GET", "/_alias/things", "");
    let names = said
        .as_object()
        .filter(|said| !said.contains_key("error"))?;
    assert_eq!(names.len(), 1, "{said}");
    names.keys().next().cloned()
}

/// All indices, by name.
pub(super) fn indices(server: &Scripted) -> Vec<String> {
    let (_, said) = server.call("GET", "/*/_mapping", "");
    said.as_object()
        .expect("it lists them")
        .keys()
        .cloned()
        .collect()
}

/// Of an index, the settings that a load changes.
fn settings(server: &Scripted, index: &str) -> Value {
    let (_, said) = server.call("GET", &format!("/{index}/_settings"), "");
    let all = &said[index]["settings"]["index"];
    json!([
        all["refresh_interval"],
        all["number_of_replicas"],
        all["auto_expand_replicas"],
        all["translog"]["durability"],
    ])
}

pub(super) fn texts(rows: &[Row], text: &str) -> Vec<Row> {
    let row = |row: &Row| Row {
        text: format!("{text} {}", row.n),
        ..row.clone()
    };
    rows.iter().map(row).collect()
}

/// A server whose alias has been given to an index with these rows, by a job that is given too.
fn replaced(rows: &[Row], options: &[(&str, &str)]) -> (Scripted, Job, Outcome) {
    let server = Scripted::start(|_| Reply::Normal);
    let mut options = options.to_vec();
    options.push(REPLACE);
    let job = Job::new(&[&server.url], rows, &options);
    let outcome = job.run(Variant::SEQUENTIAL);
    assert_ended(&outcome, 0, rows.len(), "the first load");
    (server, job, outcome)
}

#[test]
fn the_alias_goes_from_index_to_index() {
    let rows = rows(100);
    for variant in Variant::EACH {
        let (server, job, first) = replaced(&rows, &[]);
        let old = holder(&server).expect("it is published");
        assert_eq!(old, format!("things-{}", run_id(&first).to_lowercase()));
        assert!(server.documents(INDEX) == documents(&rows));
        let new_rows = texts(&rows[..60], "new");
        job.put_rows(&new_rows);
        let second = job.run_again(variant, &[]).outcome();
        assert_ended(&second, 0, 60, variant);
        let new = holder(&server).expect("it is published");
        assert_eq!(new, format!("things-{}", run_id(&second).to_lowercase()));
        assert!(server.documents(INDEX) == documents(&new_rows), "{variant}");
        assert_eq!(
            indices(&server),
            [old, new.clone()],
            "{variant}: the old one is kept"
        );
        let aliases = server.call("GET", &format!("/{new}/_alias"), "").1;
        let aliases = aliases[&new]["aliases"]
            .as_object()
            .map(|all| all.keys().cloned().collect());
        assert_eq!(
            aliases,
            Some(vec![INDEX.to_owned()]),
            "{variant}: it is written through no more"
        );
    }
}

/// Answers 200 to the counting of documents.
fn counted(count: u64, successful: u64) -> Value {
    json!({ "count": count, "_shards": { "total": 2, "successful": successful, "failed": 0 } })
}

fn refusal(kind: &str) -> Value {
    json!({ "error": { "type": kind, "reason": "because" }, "status": 400 })
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "half of it is the table of what fails"
)]
fn whatever_fails_the_old_index_serves_and_the_run_can_go_on() {
    let old_rows = rows(50);
    let new_rows = texts(&rows(100), "new");
    let cases = [
        (
            "PUT",
            "/things-*",
            400,
            refusal("mapper_parsing_exception"),
            "make the index",
        ),
        (
            "PUT",
            "/things-*/_settings",
            400,
            refusal("illegal"),
            "change the settings",
        ),
        (
            "POST",
            "/things-*/_refresh",
            404,
            refusal("index_not_found"),
            "refresh",
        ),
        (
            "GET",
            "/things-*/_count",
            400,
            refusal("illegal"),
            "count the documents",
        ),
        (
            "GET",
            "/things-*/_count",
            200,
            counted(99, 2),
            "the index is short",
        ),
        (
            "GET",
            "/things-*/_count",
            200,
            counted(101, 2),
            "the ledger is short",
        ),
        (
            "GET",
            "/things-*/_count",
            200,
            counted(100, 1),
            "some shards",
        ),
        (
            "GET",
            "/things-*/_count",
            200,
            Value::Null,
            "the answer is empty",
        ),
        (
            "POST",
            "/_aliases",
            400,
            refusal("illegal"),
            "give the alias `things`",
        ),
        (
            "POST",
            "/_aliases",
            404,
            refusal("aliases_not_found_exception"),
            "give the alias",
        ),
        (
            "POST",
            "/_aliases",
            200,
            json!({ "acknowledged": true, "errors": true }),
            "give the alias",
        ),
    ];
    for (method, path, status, body, words) in cases {
        let about = format!("{method} {path} {status} {body}");
        let (server, job, _) = replaced(&old_rows, &[]);
        let old = holder(&server);
        job.put_rows(&new_rows);
        server.refuse(method, path, status, body);
        let failed = job.run_again(Variant::SEQUENTIAL, &[]).outcome();
        assert_failed(&failed, &[words], &about);
        assert_eq!(holder(&server), old, "{about}");
        assert!(server.documents(INDEX) == documents(&old_rows), "{about}");
        if let Some(half) = indices(&server).get(1) {
            let want = json!([null, "1", null, null]);
            assert_eq!(settings(&server, half), want, "{about}: they are put back");
            assert!(
                failed.stderr.contains(half.as_str()),
                "{about}: {}",
                failed.stderr
            );
        }
        let outcome = job.resume(Variant::SEQUENTIAL);
        assert_ended(&outcome, 0, 100, &about);
        assert_eq!(run_id(&outcome), run_id(&failed), "{about}");
        assert!(server.documents(INDEX) == documents(&new_rows), "{about}");
        assert_eq!(indices(&server).len(), 2, "{about}: the old and the new");
    }
}

#[test]
fn what_fails_once_the_alias_has_moved_is_a_warning() {
    let new_rows = texts(&rows(100), "new");
    let cases = [
        ("GET", "/things-*/_mapping", "--clean` takes `things-"),
        ("DELETE", "/things-*", "the next load deletes them"),
    ];
    for (method, path, words) in cases {
        let about = format!("{method} {path}");
        let (server, job, _) = replaced(&rows(50), &[("keep", "0")]);
        let old = holder(&server);
        job.put_rows(&new_rows);
        server.refuse(method, path, 400, refusal("illegal"));
        let outcome = job.run_again(Variant::SEQUENTIAL, &[]).outcome();
        assert_ended(&outcome, 0, 100, &about);
        let said = warnings(&outcome);
        assert!(
            said.contains("the load is published, but"),
            "{about}: {said}"
        );
        assert!(said.contains(words), "{about}: {said}");
        assert_ne!(holder(&server), old, "{about}");
        assert!(server.documents(INDEX) == documents(&new_rows), "{about}");
        let outcome = job.run_again(Variant::SEQUENTIAL, &[]).outcome();
        assert_ended(&outcome, 0, 100, &about);
        assert_eq!(indices(&server).len(), 1, "{about}: it has tidied up");
    }
}

#[test]
fn settings_are_changed_for_the_load_and_put_back() {
    let rows = rows(100);
    let own = json!(["7s", "2", "0-3", "async"]);
    let table = "{ refresh_interval = \"7s\", number_of_replicas = 2, auto_expand_replicas = \"0-3\", \
                 translog = { durability = \"async\" }, number_of_shards = 2 }";
    for (given, want) in [(None, json!([null, "1", null, null])), (Some(table), own)] {
        let options: Vec<_> = given.map(|table| ("settings", table)).into_iter().collect();
        let (server, job, _) = replaced(&rows, &options);
        let index = holder(&server).expect("it is published");
        assert_eq!(settings(&server, &index), want);

        // A load that is stopped in its midst.
        server.trouble(8, crate::scripted::Trouble::HoldBefore);
        let mut running = job.run_again(Variant::SEQUENTIAL, &[]);
        super::resume::met(&server, &mut running);
        let half = indices(&server).pop().expect("it is there");
        assert_ne!(half, index);
        let tuned = json!(["-1", "0", "false", "request"]);
        assert_eq!(settings(&server, &half), tuned);
        super::resume::interrupt(&running);
        let outcome = running.outcome();
        assert_ended(&outcome, 130, 0, "interrupted");
        assert_eq!(settings(&server, &half), want, "after an interruption");
        assert_eq!(holder(&server).as_ref(), Some(&index));
        let outcome = job.resume(Variant::SEQUENTIAL);
        assert_ended(&outcome, 0, 100, "resumed");
        assert_eq!(holder(&server).as_ref(), Some(&half));
        assert_eq!(settings(&server, &half), want, "after all");
    }
}

#[test]
fn an_index_is_replaced_by_an_alias_only_on_demand() {
    let rows = rows(40);
    let server = Scripted::start(|_| Reply::Normal);
    server.call("PUT", "/things", "{}");
    server.call("PUT", "/things-of-others", "{}");
    let mut job = Job::new(&[&server.url], &rows, &[REPLACE]);
    let outcome = job.run(Variant::SEQUENTIAL);
    assert_failed(
        &outcome,
        &["`things` is an index", "replace_index = true"],
        "an index",
    );
    assert_eq!(indices(&server), ["things", "things-of-others"]);
    job.set(&[("replace_index", "true")]);
    let outcome = job.run(Variant::SEQUENTIAL);
    assert_ended(&outcome, 0, 40, "on demand");
    let new = holder(&server).expect("it is an alias now");
    assert_eq!(indices(&server), [new, "things-of-others".to_owned()]);
    assert!(server.documents(INDEX) == documents(&rows));
}

#[test]
fn an_alias_of_several_indices_or_of_another_one_by_now_is_left_alone() {
    let rows = rows(40);
    let server = Scripted::start(|_| Reply::Normal);
    for index in ["a", "b"] {
        server.call("PUT", &format!("/{index}"), "{\"aliases\":{\"things\":{}}}");
    }
    let job = Job::new(&[&server.url], &rows, &[REPLACE]);
    let outcome = job.run(Variant::SEQUENTIAL);
    assert_failed(&outcome, &["several indices", "`a`", "`b`"], "two");
    assert_eq!(indices(&server), ["a", "b"]);

    server.call("DELETE", "/b", "");
    server.trouble(8, crate::scripted::Trouble::HoldBefore);
    let options = [REPLACE, ("request_timeout_ms", "1000")];
    let job = Job::new(&[&server.url], &rows, &options);
    let mut running = job.start(Variant::SEQUENTIAL);
    super::resume::met(&server, &mut running);
    let actions = json!({ "actions": [
        { "remove": { "index": "a", "alias": "things" } },
        { "add": { "index": "c", "alias": "things" } },
    ] });
    server.call("PUT", "/c", "{}");
    server.call("POST", "/_aliases", &actions.to_string());
    let outcome = running.outcome();
    assert_failed(&outcome, &["was given to another index"], "another");
    assert_eq!(holder(&server).as_deref(), Some("c"));
}

#[test]
fn ids_that_come_again_are_warned_of() {
    let mut all = rows(100);
    all[80].id = "d7".to_owned();
    all[81].id = "d8".to_owned();
    for variant in Variant::EACH {
        let server = Scripted::start(|bulk: &Bulk| match bulk.number % 2 {
            0 => Reply::Items(vec![ItemFault::new(0, 429, "busy")]),
            _ => Reply::Normal,
        });
        let job = Job::new(&[&server.url], &all, &[REPLACE]);
        let outcome = job.run(variant);
        assert_ended(&outcome, 0, 100, variant);
        assert_eq!(
            counts(&outcome, ["created", "updated"]),
            [98, 2],
            "{variant}"
        );
        assert!(server.documents(INDEX) == documents(&all), "{variant}");
        let said = warnings(&outcome);
        assert!(said.contains("2 documents have an id"), "{variant}: {said}");
        assert!(
            said.contains("d7") || said.contains("d8"),
            "{variant}: no example: {said}"
        );
    }
}

#[test]
fn an_index_that_is_nearly_empty_is_not_published() {
    let old_rows = rows(50);
    // Rows of the second load, what its run says, and what publishes it.
    let cases = [
        (
            0,
            "fewer than `min_documents` (1)",
            vec![("min_documents", "0"), ("min_share", "0")],
        ),
        (
            20,
            "less than `min_share` (0.5)",
            vec![("min_share", "0.4")],
        ),
    ];
    for (count, words, options) in cases {
        let (server, mut job, _) = replaced(&old_rows, &[]);
        let old = holder(&server);
        job.put_rows(&rows(count));
        let failed = job.run_again(Variant::SEQUENTIAL, &[]).outcome();
        assert_failed(
            &failed,
            &[words, options[0].0, "nothing was published"],
            count,
        );
        assert_eq!(holder(&server), old, "{count}");
        assert!(server.documents(INDEX) == documents(&old_rows), "{count}");
        // How few may be is no part of what is loaded: the same run publishes what it has loaded.
        job.set(&options);
        let resumed = job.resume(Variant::SEQUENTIAL);
        let rows = usize::try_from(count).expect("it is small");
        assert_ended(&resumed, 0, rows, count);
        assert_eq!(run_id(&resumed), run_id(&failed), "{count}");
        assert_eq!(server.count(INDEX), rows as u64, "{count}");
    }
    let server = Scripted::start(|_| Reply::Normal);
    let job = Job::new(&[&server.url], &[], &[REPLACE]);
    let first = job.run(Variant::SEQUENTIAL);
    assert_failed(&first, &["fewer than `min_documents` (1)"], "a first load");
    assert_eq!(holder(&server), None);
}

#[test]
fn the_index_before_can_be_gone_back_to() {
    let old_rows = rows(50);
    let new_rows = texts(&rows(30), "new");
    let (server, job, _) = replaced(&old_rows, &[]);
    let old = holder(&server).expect("it is published");
    let nothing = job.rollback(&[]);
    assert_eq!(nothing.code, Some(1), "{}", nothing.stderr);
    assert!(nothing.stderr.contains("is kept"), "{}", nothing.stderr);
    job.put_rows(&new_rows);
    assert_ended(
        &job.run_again(Variant::SEQUENTIAL, &[]).outcome(),
        0,
        30,
        "new",
    );
    let new = holder(&server).expect("it is published");
    let back = job.rollback(&[]);
    assert_eq!(back.code, Some(0), "{}", back.stderr);
    assert!(
        back.stdout.contains(&old) && back.stdout.contains(&new),
        "{}",
        back.stdout
    );
    assert!(server.documents(INDEX) == documents(&old_rows));

    // What serves is kept by the next load, not what was turned away from.
    let newest_rows = texts(&rows(40), "newest");
    job.put_rows(&newest_rows);
    assert_ended(
        &job.run_again(Variant::SEQUENTIAL, &[]).outcome(),
        0,
        40,
        "newest",
    );
    assert!(server.documents(INDEX) == documents(&newest_rows));
    let back = job.rollback(&[]);
    assert_eq!(back.code, Some(0), "{}", back.stderr);
    assert_eq!(holder(&server), Some(old));
    assert!(server.documents(INDEX) == documents(&old_rows));
}

#[test]
fn as_many_old_indices_are_kept_as_asked_for_and_only_ours_are_deleted() {
    let rows = rows(20);
    for (keep, kept) in [("0", 0), ("1", 1), ("2", 2)] {
        let (server, job, _) = replaced(&rows, &[("keep", keep)]);
        server.call("PUT", "/things-20200101t000000-0000", "{}");
        let marked = "{\"mappings\":{\"_meta\":{\"etl\":{\"pipeline\":\"p\",\"alias\":\"other\",\
                      \"run\":\"r\",\"state\":\"published\"}}}}";
        server.call("PUT", "/things-20200102t000000-0000", marked);
        for _ in 0..3 {
            let outcome = job.run_again(Variant::SEQUENTIAL, &[]).outcome();
            assert_ended(&outcome, 0, 20, keep);
        }
        let left = indices(&server);
        assert_eq!(left.len(), 2 + 1 + kept, "{left:?}");
        assert_eq!(
            left[..2],
            ["things-20200101t000000-0000", "things-20200102t000000-0000"]
        );
        assert_eq!(left.last(), holder(&server).as_ref());
    }
}

#[test]
fn what_is_left_half_loaded_can_be_deleted() {
    let rows = rows(60);
    let (server, job, _) = replaced(&rows, &[]);
    let old = holder(&server).expect("it is published");
    server.refuse(
        "POST",
        "/things-*/_refresh",
        404,
        refusal("index_not_found"),
    );
    let failed = job.run_again(Variant::SEQUENTIAL, &[]).outcome();
    assert_failed(&failed, &["left half loaded"], "half");
    assert_eq!(indices(&server).len(), 2);

    // A load that still goes on is let alone.
    server.trouble(8, crate::scripted::Trouble::HoldBefore);
    let mut running = job.run_again(Variant::SEQUENTIAL, &[]);
    super::resume::met(&server, &mut running);
    let loading = indices(&server).pop().expect("it is there");
    let cleaned = job.rollback(&["--clean"]);
    assert_eq!(cleaned.code, Some(0), "{}", cleaned.stderr);
    assert!(
        cleaned.stdout.contains("is being loaded"),
        "{}",
        cleaned.stdout
    );
    assert_eq!(indices(&server), [old.clone(), loading.clone()]);
    super::resume::kill(&running);
    assert_eq!(running.outcome().signal, Some(9));
    let cleaned = job.rollback(&["--clean"]);
    assert_eq!(cleaned.code, Some(0), "{}", cleaned.stderr);
    assert!(cleaned.stdout.contains(&loading), "{}", cleaned.stdout);
    assert_eq!(indices(&server), [old]);
    assert!(server.documents(INDEX) == documents(&rows));

    // And then there is nothing to go on with.
    let bulks = server.record().bulks;
    let gone = job.resume(Variant::SEQUENTIAL);
    assert_failed(&gone, &["is gone"], "cleaned");
    assert_eq!(server.record().bulks, bulks, "nothing was sent");
}

#[test]
fn rejects_are_set_aside_and_the_rest_is_published() {
    let rows = rows(100);
    for variant in Variant::EACH {
        let server = Scripted::start(|bulk: &Bulk| {
            let items = bulk.items.iter().enumerate();
            let bad = items.filter(|(_, item)| item.id.ends_with('3'));
            Reply::Items(bad.map(|(i, _)| ItemFault::new(i, 400, "bad")).collect())
        });
        let outcome = Job::new(&[&server.url], &rows, &[REPLACE]).run(variant);
        assert_ended(&outcome, 3, 100, variant);
        assert_eq!(rejects(&outcome).len(), 10, "{variant}");
        assert_eq!(server.count(INDEX), 90, "{variant}");
        let index = holder(&server).expect("it is published");
        assert_eq!(rejects(&outcome)[0]["index"], index, "{variant}");
    }
}
