//! A cluster whose machines have no file system in common: what tasks leave to each other lies in a bucket.

use super::server::{Store, signal, with_store};
use crate::harness::{Etl, Folder, Outcome, Variant, files, wait_until};
use crate::scripted::{Bulk, Item, ItemFault, Reply, Say, Scripted};

/// A join with an input that is broadcast, groups, and rows that are rejected in two stages. What goes to the file takes
/// several pieces.
const JOB: &str = r#"
max_rejects = -1
[[stage]]
name = "rows"
kind = "load_csv"
files = ["rows/*.csv"]
types = { n = "int" }
[[stage]]
name = "names"
kind = "load_csv"
files = ["names.csv"]
[[stage]]
name = "join"
kind = "join"
inputs = ["rows", "names"]
on = ["k"]
[[stage]]
name = "dates"
kind = "normalize_dates"
inputs = ["join"]
columns = ["day"]
on_error = "reject"
[[stage]]
name = "write"
kind = "write_files"
inputs = ["dates"]
path = "out/rows.ndjson"
"#;

/// A task's rows take more than two pieces.
const WIDE: usize = 30_000;
const ROWS: usize = 700;

fn job() -> Folder {
    let folder = Folder::new("shared");
    folder.write("pipeline.toml", JOB);
    let wide = "w".repeat(WIDE);
    for file in 0..3 {
        let rows = (0..if file == 1 { ROWS } else { 5 }).map(|row| {
            let n = if row % 50 == 3 {
                "none".to_owned()
            } else {
                row.to_string()
            };
            let day = if row % 50 == 4 {
                "2026-02-30"
            } else {
                "2026-02-03"
            };
            format!("{n},{},{day},{wide}\n", row % 9)
        });
        let text: String = rows.collect();
        folder.write(&format!("rows/{file}.csv"), format!("n,k,day,wide\n{text}"));
    }
    let names = lines(9, |k| format!("{k},name {k}"));
    folder.write("names.csv", format!("k,name\n{names}"));
    folder
}

/// So many lines.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(|number| line(number) + "\n").collect()
}

/// A run whose tasks share a folder of this name.
fn on_cluster(folder: &Folder, endpoint: &str, shared: &str) -> Etl {
    let etl = Etl::run(folder.path(), "pipeline.toml", Variant::CLUSTER);
    let shared = format!("--set=cluster.folder={shared}");
    with_store(etl, folder, endpoint).args(["--digest", &shared])
}

fn seen(folder: &Folder, outcome: &Outcome) -> impl PartialEq + use<> {
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let digests: Vec<String> = outcome
        .stages()
        .iter()
        .map(|stage| stage["digest"].to_string())
        .collect();
    (digests, outcome.rejects.clone(), files(&folder.join("out")))
}

#[test]
fn what_tasks_leave_to_each_other_may_lie_in_a_bucket() {
    let Some(store) = Store::shared() else { return };
    store.bucket("between");
    let folder = job();
    let alone = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL)
        .args(["--digest"])
        .outcome();
    assert!(alone.rejects.lines().count() > 20);
    let expected = seen(&folder, &alone);
    for words in [&[][..], &["--set=cluster.broadcast_max=0"]] {
        let proxy = store.behind(|asked| {
            let fails = asked.target.contains("part-") && asked.before == 0;
            fails.then(|| Say::status(503, "<Error><Code>SlowDown</Code></Error>"))
        });
        let outcome = on_cluster(&folder, &proxy.url, "s3://between/tmp/etl/")
            .args(words)
            .outcome();
        assert!(seen(&folder, &outcome) == expected, "{words:?}");
        let pieces = proxy.asked();
        let pieces = pieces
            .iter()
            .filter(|asked| asked.method == "PUT" && asked.target.ends_with(".1"));
        assert!(pieces.count() > 0, "no part had a second piece");
        assert_eq!(store.keys("between"), [""; 0]);
    }
    assert_eq!(store.uploads("between"), 0);
}

#[test]
fn the_rejects_of_a_load_are_read_from_the_bucket_in_the_order_of_the_rows() {
    let Some(store) = Store::shared() else { return };
    store.bucket("rejects");
    let folder = Folder::new("shared-load");
    let runs = [Variant::SEQUENTIAL, Variant::CLUSTER].map(|variant| {
        let server = Scripted::start(|bulk: &Bulk| {
            let refused = |(at, item): (usize, &Item)| {
                let n = item.document["n"].as_i64().unwrap_or_default();
                (n % 5 == 3).then(|| ItemFault::new(at, 400, "mapper_parsing_exception"))
            };
            Reply::Items(bulk.items.iter().enumerate().filter_map(refused).collect())
        });
        let load = "[[stage]]\nname = \"rows\"\nkind = \"load_csv\"\nfiles = [\"rows/*.csv\"]\ntypes = { n = \"int\" }\n";
        let pipeline = format!(
            "max_rejects = -1\n{load}\
             [[stage]]\nname = \"load\"\nkind = \"bulk_index\"\ninputs = [\"rows\"]\nto = \"{}\"\nindex = \"rows\"\nid = \"id\"\n",
            server.url
        );
        folder.write("pipeline.toml", pipeline);
        for file in 0..4 {
            let rows = lines(50, |row| {
                format!("d{},{}", (file * 50 + row) % 170, row * 4 + file)
            });
            folder.write(&format!("rows/{file}.csv"), format!("id,n\n{rows}"));
        }
        let etl = if variant.is_cluster() {
            on_cluster(&folder, &store.url, "s3://rejects/etl")
        } else {
            Etl::run(folder.path(), "pipeline.toml", variant).args(["--digest"])
        };
        let outcome = etl.outcome();
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        let stage = outcome.stage("load");
        (outcome.rejects.clone(), ["rows_out", "rejected", "digest"].map(|key| stage[key].clone()))
    });
    assert!(runs[0].0.lines().count() > 20);
    assert_eq!(runs[0], runs[1]);
    assert_eq!(store.keys("rejects"), [""; 0]);
}

#[test]
fn what_a_killed_run_has_left_in_the_bucket_goes_with_the_next() {
    let Some(store) = Store::shared() else { return };
    store.bucket("left");
    let others = "left/tmp/etl/etl-20260101T000000-abcd-1/f0-0/part-000000";
    store.put(others, "of a run that began elsewhere");
    let folder = job();
    let is_last = |target: &str| target.ends_with("part-000001");
    let proxy = store.behind(move |asked| {
        (asked.method == "PUT" && is_last(&asked.target)).then_some(Say::Hold)
    });
    let running = on_cluster(&folder, &proxy.url, "s3://left/tmp/etl").start();
    wait_until("a task has sent its pieces", || {
        proxy.asked().iter().any(|asked| is_last(&asked.target))
    });
    signal(&running, "-KILL");
    running.outcome();
    assert!(store.keys("left").len() > 3, "{:?}", store.keys("left"));
    let outcome = after(&folder, |folder| {
        on_cluster(folder, &store.url, "s3://left/tmp/etl")
    });
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(
        store.keys("left"),
        [others.strip_prefix("left/").expect("it is in the bucket")]
    );
}

#[test]
fn what_cannot_be_removed_is_said_and_ends_no_run() {
    let Some(store) = Store::shared() else { return };
    store.bucket("kept");
    let folder = job();
    let proxy = store.behind(|asked| {
        let removes = asked.method == "POST" && asked.target.contains("delete");
        removes.then(|| Say::status(403, "<Error><Code>AccessDenied</Code></Error>"))
    });
    for _ in 0..2 {
        let outcome = on_cluster(&folder, &proxy.url, "s3://kept/etl").outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let notes = outcome.report["notes"].to_string();
        assert!(
            notes.contains("what tasks left to each other is still in `s3://kept/etl/etl-"),
            "{notes}"
        );
    }
    assert!(store.keys("kept").len() > 2);
    // A look has ended after a day, and this one has just begun.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("it is after 1970").as_secs();
    store.put("kept/etl/etl-look-1764480000-1/run", "");
    store.put(&format!("kept/etl/etl-look-{now}-1/run"), "");
    let outcome = after(&folder, |folder| {
        on_cluster(folder, &store.url, "s3://kept/etl")
    });
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let left = store.keys("kept");
    let of_others = left.iter().filter(|key| key.contains("etl-look-"));
    assert_eq!(of_others.count(), 1, "{left:?}");
}

/// A run that knows of the ones before it.
fn after(folder: &Folder, run: impl FnOnce(&Folder) -> Etl) -> Outcome {
    let (state, kept) = (folder.join("state"), folder.join("kept"));
    std::fs::rename(&state, &kept).expect("a run has made it");
    let again = run(folder);
    std::fs::remove_dir(&state).expect("it is new");
    std::fs::rename(&kept, &state).expect("it was kept");
    again.outcome()
}

#[test]
fn a_bucket_that_takes_nothing_ends_the_run_before_its_engine_starts() {
    let Some(store) = Store::shared() else { return };
    let folder = job();
    let outcome = on_cluster(&folder, &store.url, "s3://no-such-bucket/etl")
        .args(["--set=cluster.python=no-such-python"])
        .outcome();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("there is no bucket `s3://no-such-bucket`"),
        "{}",
        outcome.stderr
    );
    let outcome = on_cluster(&folder, &store.url, "https://host/folder").outcome();
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("a web server takes no files"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_machine_that_a_store_refuses_is_named() {
    let Some(store) = Store::shared() else { return };
    store.bucket("denied");
    store.put("denied/rows.csv", "n,k,day,wide\n1,1,2026-02-03,w\n");
    let folder = job();
    folder.write(
        "pipeline.toml",
        JOB.replace("rows/*.csv", "s3://denied/rows.csv"),
    );
    // Tasks are started by this Python, which has other variables than this machine.
    let python = folder.join("python");
    folder.write(
        "python",
        "#!/bin/sh\nAWS_SKIP_SIGNATURE=true exec python3 \"$@\"\n",
    );
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&python, all).expect("it is ours");
    std::fs::create_dir_all(folder.join("tasks")).expect("the folder takes another");
    let shared = folder.join("tasks").display().to_string();
    let python = format!("--set=cluster.python={}", python.display());
    let outcome = on_cluster(&folder, &store.url, &shared)
        .args([&python])
        .outcome();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    for words in [
        "cannot read `s3://denied/rows.csv`",
        "on ",
        "spark.executorEnv.AWS_ACCESS_KEY_ID",
    ] {
        assert!(
            outcome.stderr.contains(words),
            "{words}: {}",
            outcome.stderr
        );
    }
    let words = [
        "check",
        "pipeline.toml",
        "--connect",
        "--cluster=local[1]",
        &python,
    ];
    let folder_of = format!("--set=cluster.folder={shared}");
    let check = Etl::new(folder.path(), &[&words[..], &[&folder_of]].concat());
    let stand_in = crate::harness::project().join("tests/cluster");
    let check =
        with_store(check, &folder, &store.url).env("PYTHONPATH", stand_in.display().to_string());
    let outcome = check.outcome();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stdout);
    assert!(
        outcome.stderr.contains("spark.executorEnv"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_look_that_fails_leaves_nothing_in_the_bucket() {
    let Some(store) = Store::shared() else { return };
    store.bucket("looked-at");
    let folder = job();
    let words = [
        "check",
        "pipeline.toml",
        "--connect",
        "--cluster=local[1]",
        "--set=cluster.folder=s3://looked-at/etl",
        "--set=cluster.python=no-such-python",
    ];
    let check = Etl::new(folder.path(), &words);
    let outcome = with_store(check, &folder, &store.url).outcome();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stdout);
    assert!(
        outcome.stderr.contains("cannot start `no-such-python`"),
        "{}",
        outcome.stderr
    );
    assert_eq!(store.keys("looked-at"), [""; 0]);
}
