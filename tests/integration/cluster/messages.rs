//! What a run says when its cluster fails: where, what, and what to do, without a stack trace. A stand-in takes Spark's
//! part, and scripts that of the program that tasks run, or of Python.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{ETL, Etl, Folder, Variant};

const PIPELINE: &str = r#"
[[stage]]
name = "load"
kind = "load_csv"
files = ["in.csv"]
[[stage]]
name = "write"
kind = "write_files"
inputs = ["load"]
path = "out.csv"
"#;

fn prepared() -> Folder {
    let folder = Folder::new("cluster-messages");
    folder.write("pipeline.toml", PIPELINE);
    folder.write("in.csv", "a,b\n1,2\n");
    fs::create_dir(folder.join("tmp")).expect("the folder takes another");
    folder
}

fn script(folder: &Folder, name: &str, text: &str) -> String {
    folder.write(name, format!("#!/bin/sh\n{text}\n"));
    let path = folder.join(name);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path.display().to_string()
}

/// What a run says that fails, without what holds for this machine only. Nothing of it is left.
fn says(folder: &Folder, change: impl FnOnce(Etl) -> Etl) -> String {
    let etl = Etl::run(folder.path(), "pipeline.toml", Variant::CLUSTER);
    let outcome = change(etl.env("TMPDIR", folder.join("tmp"))).outcome();
    let stderr = &outcome.stderr;
    assert_eq!(outcome.code, Some(1), "{stderr}");
    for of_a_trace in ["Traceback", "File \"", "\tat "] {
        assert!(!stderr.contains(of_a_trace), "{stderr}");
    }
    assert!(!folder.join("out.csv").exists());
    for left in ["shared", "tmp"] {
        let left = fs::read_dir(folder.join(left)).expect("it is there");
        assert_eq!(left.count(), 0, "{stderr}");
    }
    stderr.clone()
}

#[test]
fn a_task_that_fails_again_and_again_says_which_where_and_why() {
    let folder = prepared();
    let etl = format!("exec {ETL} \"$@\"");
    for (text, words, hint) in [
        (
            "kill -9 $$".to_owned(),
            "it was killed by signal 9",
            "memory is short",
        ),
        (
            "exit 7".into(),
            "it ended with exit code 7 and no words",
            "the driver's log is",
        ),
        (
            "echo \"etl: /lib/libc.so.6: version \\`GLIBC_2.99' not found\" >&2; exit 1".into(),
            "version `GLIBC_2.99' not found",
            "build `etl` on the oldest machine",
        ),
        (
            "echo \"error: unrecognized subcommand 'task'\" >&2; exit 2".into(),
            "unrecognized subcommand 'task'",
            "the driver's log is",
        ),
        // That machine does not see what this one has put there.
        (
            format!("rm -rf shared/etl-*/f*; {etl}"),
            "No such file or directory",
            "the `folder` of `[cluster]` must be one path on all machines",
        ),
        (
            format!("trap '' XFSZ; ulimit -f 0; {etl}"),
            "cannot write `",
            "needs room in the `folder` of `[cluster]`",
        ),
    ] {
        let program = script(&folder, "program", &text);
        let said = says(&folder, |etl| etl.env("TASK_PROGRAM", &program));
        let begin = "error: task 0 of `load`, `write` failed 4 times, the last time on `";
        assert!(said.contains(begin), "{text}: {said}");
        assert!(
            said.contains(words) && said.contains(hint),
            "{text}: {said}"
        );
        assert!(said.contains("cluster.log`"), "{text}: {said}");
    }
    folder.write("program", "no program");
    fs::set_permissions(folder.join("program"), fs::Permissions::from_mode(0o644))
        .expect("it is ours");
    let said = says(&folder, |etl| {
        etl.env("TASK_PROGRAM", folder.join("program"))
    });
    assert!(
        said.contains("cannot be started: Permission denied"),
        "{said}"
    );
    assert!(said.contains("`noexec`"), "{said}");
}

#[test]
fn a_report_says_what_the_cluster_did() {
    let folder = prepared();
    let once = format!("mkdir tried 2>/dev/null && exit 7; exec {ETL} \"$@\"");
    let outcome = Etl::run(folder.path(), "pipeline.toml", Variant::CLUSTER)
        .env("TASK_PROGRAM", script(&folder, "program", &once))
        .outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let report = &outcome.report["cluster"];
    assert_eq!(report["tasks"], 1, "{report}");
    assert!(report["failed_tasks"].as_u64() >= Some(1), "{report}");
    assert_eq!(report["lost_executors"], 0, "{report}");
    let number = |key: &str| report[key].as_f64().expect("it is a number");
    assert!(number("start_s") > 0.0 && number("task_peak_rss_bytes") > 1e6);
    let cpu = outcome.report["cpu_s"].as_f64();
    assert!(number("cpu_s") > 0.0 && cpu >= report["cpu_s"].as_f64());
    let run = outcome.report["run"].as_str().expect("it has a number");
    let table = Etl::new(folder.path(), &["report", run, "--state", "state"]).outcome();
    for words in [
        "CPU in all",
        "Spark stand-in, Python 3",
        "1 task of at most",
        "tried again",
    ] {
        assert!(table.stdout.contains(words), "{}", table.stdout);
    }
}

#[test]
fn a_plan_says_in_how_many_tasks_a_fragment_runs() {
    let folder = prepared();
    let grouped = "[[stage]]\nname = \"grouped\"\nkind = \"group_concat\"\ninputs = [\"load\"]\nby = [\"a\"]\n";
    folder.write(
        "pipeline.toml",
        PIPELINE.replace("in.csv", "in*.csv") + grouped,
    );
    folder.write("in2.csv", "a,b\n3,4\n");
    let plan = |arguments: &[&str]| {
        let arguments = [&["plan", "pipeline.toml"], arguments].concat();
        let text = Etl::new(folder.path(), &arguments).outcome().stdout;
        // Lines are broken between words.
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let known = plan(&["--cluster", "local[4]"]);
    assert!(
        known.contains("fragment 1: 2 tasks of the cluster load"),
        "{known}"
    );
    assert!(known.contains("on 4 cores"), "{known}");
    let unknown = plan(&["--cluster", "spark://host:7077"]);
    for words in [
        "fragment 1: tasks of the cluster, one for each file, but small files together",
        "tasks of the cluster, as many as for load",
        "tasks of the cluster, one for about 128 MB of what it reads, at least one for",
        "A cluster takes some 20 s beside the work",
    ] {
        assert!(unknown.contains(words), "{words}: {unknown}");
    }
    let json = plan(&["--cluster", "local[4]", "--json"]);
    let json: Value = serde_json::from_str(&json).expect("it is JSON");
    let tasks = json["fragments"].as_array().expect("it is a list").iter();
    let tasks: Vec<&Value> = tasks.map(|fragment| &fragment["tasks"]).collect();
    assert_eq!(tasks, [&Value::from(2), &Value::from(2), &Value::Null]);
}

#[test]
fn a_plan_says_what_a_run_would_lack() {
    let folder = prepared();
    let notes = |arguments: &[&str]| {
        let arguments = [&["plan", "pipeline.toml"], arguments].concat();
        let outcome = Etl::new(folder.path(), &arguments).outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stderr.matches("note: a run needs more: ").count()
    };
    assert_eq!(notes(&["--cluster"]), 2);
    assert_eq!(notes(&["--cluster", "local[4]"]), 1);
    assert_eq!(
        notes(&["--cluster", "local[4]", "--set", "cluster.folder=/tmp"]),
        0
    );
    assert_eq!(notes(&[]), 0);
}

#[test]
fn a_driver_that_cannot_work_says_why() {
    let folder = prepared();
    let with = |python: &str| {
        let set = format!("cluster.python={python}");
        says(&folder, |etl| etl.args(["--set", &set]))
    };
    let said = with("/none/python");
    assert!(said.contains("cannot start `/none/python`"), "{said}");
    assert!(said.contains("`python` of `[cluster]` names one"), "{said}");

    // Without the packages of the site, nor the variable that names the stand-in.
    let said = with(&script(&folder, "python", "exec python3 -I -S \"$@\""));
    assert!(said.contains("No module named 'pyspark'"), "{said}");
    assert!(said.contains("`python` of `[cluster]` names one"), "{said}");

    let said = with(&script(
        &folder,
        "python",
        "echo 'no more memory' >&2; exit 3",
    ));
    assert!(
        said.contains("the cluster's driver for `local[3]` ended"),
        "{said}"
    );
    assert!(
        said.contains("no more memory") && said.contains("cluster.log`"),
        "{said}"
    );

    let said = says(&folder, |etl| etl.args(["--set", "cluster.folder=nowhere"]));
    assert!(said.contains("nowhere/etl-"), "{said}");
    assert!(said.contains("names a folder that is there"), "{said}");
}

#[test]
fn an_order_of_another_version_is_refused() {
    let mut task = Command::new(ETL)
        .arg("task")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let order = br#"{"do":"what a later version does"}"#;
    let mut frame = [0_u64, order.len() as u64].map(u64::to_le_bytes).concat();
    frame.extend(order);
    let mut stdin = task.stdin.take().expect("it is piped");
    stdin
        .write_all(&[frame.clone(), frame].concat())
        .expect("it reads its order");
    drop(stdin);
    let outcome = task.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.status.code(), Some(1), "{said}");
    assert!(said.contains("of another version"), "{said}");
}
