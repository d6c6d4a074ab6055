//! Several loads of one index at once: one of them wins, the others say so and have changed nothing. And what
//! the server keeps beside an index goes with it.

use serde_json::{Value, json};

use super::replace::{REPLACE, holder, indices, texts};
use super::{INDEX, Job, Row, assert_ended, assert_failed, documents, rows, run_id, warnings};
use crate::harness::{Etl, Running, Variant, wait_until};
use crate::scripted::{Gate, Reply, Scripted};

/// Starts a load and waits until it stands at a gate.
fn held(server: &Scripted, job: &Job, method: &str, path: &str) -> (Gate, Running) {
    let gate = server.gate(method, path);
    std::fs::create_dir_all(job.folder.join("state")).expect("it can be made");
    let running = job.run_again(Variant::SEQUENTIAL, &[]);
    wait_until("the load stands at the gate", || gate.is_met());
    (gate, running)
}

fn job(server: &Scripted, rows: &[Row], options: &[(&str, &str)]) -> Job {
    Job::new(&[&server.url], rows, options)
}

/// The alias as the server shows it.
fn alias(server: &Scripted) -> Value {
    let index = holder(server).expect("it is published");
    server.call("GET", "/_alias/things", "").1[index]["aliases"][INDEX].clone()
}

#[test]
fn of_two_replacements_at_once_one_is_published() {
    let (slow_rows, fast_rows) = (texts(&rows(60), "slow"), texts(&rows(50), "fast"));
    // What the alias was before: nothing, an index of its name, or the alias of one.
    for before in ["", "index", "alias"] {
        let server = Scripted::start(|_| Reply::Normal);
        match before {
            "index" => drop(server.call("PUT", "/things", "{}")),
            "alias" => drop(server.call("PUT", "/old", "{\"aliases\":{\"things\":{}}}")),
            _ => {}
        }
        let options = [REPLACE, ("replace_index", "true"), ("keep", "9")];
        let slow = job(&server, &slow_rows, &options);
        let fast = job(&server, &fast_rows, &options);
        let (gate, running) = held(&server, &slow, "POST", "/_aliases");
        let won = fast.run(Variant::SEQUENTIAL);
        assert_ended(&won, 0, 50, before);
        let winner = holder(&server).expect("it is published");
        gate.open();
        let lost = running.outcome();
        let run = run_id(&won);
        let words = ["was given to another index", &winner, run];
        assert_failed(&lost, &words, format!("before: `{before}`"));
        assert!(!lost.stderr.contains("nothing is lost"), "{}", lost.stderr);
        assert_eq!(holder(&server), Some(winner.clone()), "before: `{before}`");
        assert!(server.documents(INDEX) == documents(&fast_rows), "{before}");

        // No run goes on from there, and what is left can be deleted.
        assert_failed(
            &slow.resume(Variant::SEQUENTIAL),
            &["given to another"],
            before,
        );
        let cleaned = slow.rollback(&["--clean"]);
        assert!(cleaned.stdout.contains("is deleted"), "{}", cleaned.stdout);
        let mut left = vec![winner];
        left.extend((before == "alias").then(|| "old".to_owned()));
        left.sort();
        assert_eq!(indices(&server), left, "before: `{before}`");
    }
}

#[test]
fn an_alias_that_somebody_gives_away_meanwhile_is_given_back() {
    let server = Scripted::start(|_| Reply::Normal);
    let job = job(&server, &rows(30), &[REPLACE]);
    let (gate, running) = held(&server, &job, "POST", "/_aliases");
    server.call("PUT", "/others", "{\"aliases\":{\"things\":{}}}");
    gate.open();
    assert_failed(
        &running.outcome(),
        &["was given to another index", "`others`"],
        "others",
    );
    assert_eq!(holder(&server).as_deref(), Some("others"));
}

#[test]
fn two_first_loads_of_an_index_share_it_or_one_is_refused() {
    let (slow_rows, fast_rows) = (rows(60), texts(&rows(80)[60..], "fast"));
    for load in ["append", "create"] {
        let server = Scripted::start(|_| Reply::Normal);
        let mode = format!("\"{load}\"");
        let slow = job(&server, &slow_rows, &[("load", &mode)]);
        let fast = job(&server, &fast_rows, &[("load", &mode)]);
        let (gate, running) = held(&server, &slow, "PUT", "/things");
        let won = fast.run(Variant::SEQUENTIAL);
        assert_ended(&won, 0, 20, load);
        gate.open();
        let outcome = running.outcome();
        let mut want = documents(&fast_rows);
        if load == "append" {
            assert_ended(&outcome, 0, 60, load);
            want.extend(documents(&slow_rows));
        } else {
            assert_failed(&outcome, &["is there already", run_id(&won)], load);
        }
        assert!(server.documents(INDEX) == want, "{load}");
    }
}

#[test]
fn what_a_run_of_another_folder_is_loading_is_deleted_only_on_demand() {
    let server = Scripted::start(|_| Reply::Normal);
    let job = job(&server, &rows(60), &[REPLACE]);
    let (gate, running) = held(&server, &job, "POST", "/things-*/_refresh");
    let loading = indices(&server);
    let clean = |arguments: &[&str]| {
        let rollback = [
            "rollback",
            "pipeline.toml",
            "--clean",
            "--state",
            "elsewhere",
        ];
        let cleaned = Etl::new(job.folder.path(), &rollback)
            .args(arguments)
            .outcome();
        assert_eq!(cleaned.code, Some(0), "{}", cleaned.stderr);
        cleaned.stdout
    };
    let said = clean(&[]);
    assert!(
        said.contains("is kept") && said.contains("--force"),
        "{said}"
    );
    assert_eq!(indices(&server), loading);
    gate.open();
    assert_ended(&running.outcome(), 0, 60, "it went on");
    // One that serves is no half load, whatever its mark says.
    clean(&["--force"]);
    assert_eq!(indices(&server), loading);

    let (_gate, running) = held(&server, &job, "POST", "/things-*/_refresh");
    super::resume::kill(&running);
    assert_eq!(running.outcome().signal, Some(9));
    assert_eq!(indices(&server).len(), 2);
    let said = clean(&["--force"]);
    assert!(said.contains("is deleted"), "{said}");
    assert_eq!(indices(&server), loading);
}

#[test]
fn an_alias_keeps_all_it_has_when_it_moves_and_when_it_goes_back() {
    let kept = json!({
        "filter": { "term": { "tenant": "a" } },
        "index_routing": "1",
        "search_routing": "2",
        "is_write_index": true,
        "is_hidden": true,
    });
    let server = Scripted::start(|_| Reply::Normal);
    let aliases = json!({ "aliases": { "things": kept, "of-others": {} } });
    server.call("PUT", "/old", &aliases.to_string());
    let settings = json!({ "index.lifecycle.name": "hot" });
    server.call("PUT", "/old/_settings", &settings.to_string());
    let mut job = job(&server, &rows(30), &[REPLACE, ("min_share", "0")]);
    let outcome = job.run(Variant::SEQUENTIAL);
    assert_ended(&outcome, 0, 30, "it moves");
    let said = warnings(&outcome);
    assert!(said.contains("`index.lifecycle.name = hot`"), "{said}");
    assert_ne!(holder(&server).as_deref(), Some("old"));
    assert_eq!(alias(&server), kept);
    job.set(&[("settings", "{ lifecycle = { name = \"hot\" } }")]);
    assert_eq!(job.rollback(&[]).code, Some(0));
    assert_eq!(holder(&server).as_deref(), Some("old"));
    assert_eq!(alias(&server), kept);
    let (_, of_old) = server.call("GET", "/old/_alias/of-others", "");
    assert!(of_old["old"].is_object(), "{of_old}");
    let outcome = job.run_again(Variant::SEQUENTIAL, &[]).outcome();
    assert_eq!(warnings(&outcome), "", "it is given");
}

#[test]
fn an_alias_that_cannot_be_carried_over_stays_where_it_is() {
    let server = Scripted::start(|_| Reply::Normal);
    let aliases = json!({ "aliases": { "things": { "of_tomorrow": 1 } } });
    server.call("PUT", "/old", &aliases.to_string());
    let job = job(&server, &rows(30), &[REPLACE]);
    let outcome = job.run(Variant::SEQUENTIAL);
    assert_failed(
        &outcome,
        &["`of_tomorrow`", "nothing was sent"],
        "it is unknown",
    );
    assert_eq!(indices(&server), ["old"]);
}

#[test]
fn an_old_index_that_is_searched_under_another_name_is_kept() {
    let server = Scripted::start(|_| Reply::Normal);
    let job = job(&server, &rows(30), &[REPLACE, ("keep", "0")]);
    assert_ended(&job.run(Variant::SEQUENTIAL), 0, 30, "the first");
    let first = holder(&server).expect("it is published");
    let add = json!({ "actions": [{ "add": { "index": first, "alias": "archive" } }] });
    server.call("POST", "/_aliases", &add.to_string());
    let second = job.run_again(Variant::SEQUENTIAL, &[]).outcome();
    assert_ended(&second, 0, 30, "the second");
    let said = warnings(&second);
    assert!(
        said.contains(&first) && said.contains("`archive`"),
        "{said}"
    );
    assert!(indices(&server).contains(&first));
}
