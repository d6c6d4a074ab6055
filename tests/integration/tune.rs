//! `etl tune` from outside: what it measures is written and runs, what it must not touch stays as it was,
//! and what it cannot measure it says at once.

use std::fs;
use std::io::Write;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Etl, Folder, Outcome, children, files, is_alive, wait_until};

const PIPELINE: &str = r#"# Dates, tuned.
name = "dated"

[[stage]]
name = "load"
kind = "load_csv"
files = ["rows.csv"]   # one
types = { id = "int" }

# The slow one.
[[stage]]
name = "dates"
kind = "normalize_dates"
inputs = ["load"]
# threads were worth it once
parallel = true # or false
workers = 3
columns = ["at"]

[[stage]]
name = "write"
kind = "write_files"
inputs = ["dates"]
path = "out/rows.ndjson"
"#;

const OLD: &[u8] = b"{\"old\":true}\n";

fn folder(rows: u32) -> Folder {
    let folder = Folder::new("tune");
    folder.write("pipeline.toml", PIPELINE);
    folder.write("out/rows.ndjson", OLD);
    let mut text = b"id,at,text\n".to_vec();
    for i in 0..rows {
        writeln!(text, "{i},2020-1-{} 1:2:3,the text of row {i}", 1 + i % 28).expect("memory");
    }
    folder.write("rows.csv", text);
    folder
}

/// `etl tune pipeline.toml` with a short budget.
fn tune(folder: &Folder, arguments: &[&str]) -> Outcome {
    let words = [
        "tune",
        "pipeline.toml",
        "--state",
        "state",
        "--color",
        "never",
    ];
    Etl::new(folder.path(), &words).args(arguments).outcome()
}

fn json(outcome: &Outcome) -> Value {
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    serde_json::from_str(&outcome.stdout).expect("it prints JSON")
}

#[test]
fn the_knee_is_written_and_the_file_runs_so() {
    let folder = folder(6000);
    let cases: [&[&str]; 4] = [
        &["--executor", "threads", "--workers", "2,4"],
        &[
            "--executor",
            "hybrid",
            "--workers",
            "4",
            "--batch",
            "500,1000",
        ],
        &["--executor", "processes,threads"],
        &[],
    ];
    for case in cases {
        folder.write("pipeline.toml", PIPELINE);
        let budget = [
            "--stage", "dates", "--budget", "5", "--rows", "4000", "--json", "--write",
        ];
        let report = json(&tune(&folder, &[&budget, case].concat()));
        let curve = &report["curves"][0];
        assert_eq!(curve["rows"], 4000, "{case:?}");
        assert_eq!(curve["points"][0]["setting"]["executor"], "sequential");
        assert!(curve["spent_s"].is_number() && curve["budget_s"].is_number());

        let plan = Etl::new(folder.path(), &["plan", "pipeline.toml", "--json"]).outcome();
        let plan: Value = serde_json::from_str(&plan.stdout).expect("it prints JSON");
        let planned = plan["stages"].as_array().expect("stages").iter();
        let dates = planned
            .clone()
            .find(|stage| stage["name"] == "dates")
            .expect("it is there");
        for key in ["executor", "processes", "threads"] {
            assert_eq!(dates[key], curve["knee"][key], "{case:?}: {key} of {dates}");
        }
        let written = fs::read_to_string(folder.join("pipeline.toml")).expect("it is there");
        let changed = report["written"].as_array().expect("a list of lines");
        for line in PIPELINE.lines() {
            let gone = changed.iter().any(|change| {
                change
                    .as_str()
                    .is_some_and(|change| change.starts_with('-') && change.ends_with(line))
            });
            assert!(
                gone || written.contains(line),
                "{case:?}: {line} is lost:\n{written}"
            );
        }
        assert!(written.contains("# threads were worth it once") && written.contains("# or false"));
        assert_eq!(changed.is_empty(), written == PIPELINE);
    }
}

#[test]
fn what_is_outside_stays_as_it_was() {
    let folder = folder(3000);
    let before = files(folder.path());
    for (stage, rows) in [("write", "2000"), ("load", "3000")] {
        let words = [
            "--stage",
            stage,
            "--budget",
            "3",
            "--rows",
            rows,
            "--executor",
            "processes",
        ];
        let outcome = tune(&folder, &words);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let widest = outcome
            .stdout
            .lines()
            .map(|line| line.chars().count())
            .max();
        assert!(widest <= Some(80), "{}", outcome.stdout);
        assert!(outcome.stdout.contains("knee: "), "{}", outcome.stdout);
        // What one run took says nothing yet of how many times as fast a setting is.
        let progress = &outcome.stderr;
        assert!(
            progress.contains(" s in ") && !progress.contains("times"),
            "{progress}"
        );
        assert_eq!(
            files(folder.path()),
            before,
            "tuning {stage} left something behind"
        );
    }
}

#[test]
fn without_a_stage_it_is_the_one_that_takes_longest() {
    let folder = folder(3000);
    let outcome = tune(&folder, &["--budget", "3", "--json"]);
    let curve = &json(&outcome)["curves"][0];
    let named = format!(
        "stage `{}` took longest",
        curve["stage"].as_str().expect("a name")
    );
    assert!(outcome.stderr.contains(&named), "{}", outcome.stderr);
    assert_eq!(files(&folder.join("out"))["rows.ndjson"], OLD);
}

#[test]
fn what_cannot_be_measured_is_said_at_once() {
    let folder = folder(10);
    let server = "http://127.0.0.1:1";
    let index = format!(
        "\n[[stage]]\nname = \"index\"\nkind = \"bulk_index\"\ninputs = [\"dates\"]\nto = \"{server}\"\nindex = \"i\"\n"
    );
    folder.write("pipeline.toml", format!("{PIPELINE}{index}"));
    let cases: [(&[&str], i32, &str); 8] = [
        (&["--stage", "date"], 2, "did you mean `dates`?"),
        (&["--stage", "index"], 2, "--set index.to=local:DIR"),
        (
            &["--stage", "load", "--set", "load.files=[\"-\"]"],
            2,
            "standard input",
        ),
        (
            &["--stage", "dates", "--executor", "hybrid", "--workers", "3"],
            2,
            "cannot be halved",
        ),
        (&["--stage", "dates", "--workers", "0"], 2, "above 0"),
        (
            &[
                "--stage",
                "index",
                "--set",
                "index.to=local:x",
                "--batch",
                "5",
            ],
            2,
            "leave out `--batch`",
        ),
        (
            &["--stage", "dates", "--set", "load.files=[\"gone.csv\"]"],
            1,
            "gone.csv",
        ),
        (
            &[
                "--stage",
                "dates",
                "--set",
                "dates.formats=[\"%Y\"]",
                "--set",
                "dates.on_error=fail",
            ],
            1,
            "rows.csv: record 1",
        ),
    ];
    let before = files(folder.path());
    for (words, code, part) in cases {
        let outcome = tune(&folder, words);
        assert_eq!(outcome.code, Some(code), "{words:?}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(part),
            "{words:?}: {}",
            outcome.stderr
        );
        assert_eq!(
            files(folder.path()),
            before,
            "{words:?} left something behind"
        );
    }
}

/// Asks a command about rows: it knows the first of those that it is told of.
const ASKING: &str = r#"
max_rejects = -1
[[stage]]
name = "load"
kind = "load_csv"
files = ["rows.csv"]
[[stage]]
name = "ask"
kind = "exec"
inputs = ["load"]
command = ["sh", "-c", "COMMAND", "sh", "{id}"]
output = "lines"
columns = ["line"]
on_error = "reject"
[[stage]]
name = "write"
kind = "write_files"
inputs = ["ask"]
path = "out/rows.ndjson"
"#;

#[test]
fn a_batch_that_loses_rows_is_not_named() {
    let folder = folder(12);
    folder.write("pipeline.toml", ASKING.replace("COMMAND", "echo $$1"));
    for on_error in ["ask.on_error=reject", "ask.on_error=fail"] {
        let words = "--stage ask --batch 1,2,4 --executor threads --workers 1 --budget 20 --json --write --set";
        let words: Vec<&str> = words.split(' ').chain([on_error]).collect();
        let tuned = json(&tune(&folder, &words));
        let curve = &tuned["curves"][0];
        assert_eq!(curve["knee"]["batch"], 1, "{curve}");
        let points = curve["points"].as_array().expect("it is a list");
        for point in points {
            let lost = point["setting"]["batch"] != 1;
            assert_eq!(point["rejected"], if lost { 12 } else { 0 }, "{point}");
        }
        assert!(points.len() > 3, "{curve}");
        let outcome = Etl::new(folder.path(), &["run", "pipeline.toml"]).outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert_eq!(outcome.rejects, "");
    }
}

#[test]
fn a_stage_that_rejects_all_it_is_given_is_not_measured() {
    let folder = folder(12);
    folder.write("pipeline.toml", ASKING.replace("COMMAND", "exit 3"));
    let outcome = tune(&folder, &["--stage", "ask"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stdout);
    let told = "error: stage `ask`: all 12 rows are rejected: there is nothing to measure\nhint: `etl run` shows why\n";
    assert!(outcome.stderr.ends_with(told), "{}", outcome.stderr);
}

#[test]
fn interrupted_it_leaves_nothing_behind() {
    let folder = folder(10);
    let words = [
        "tune",
        "pipeline.toml",
        "--state",
        "state",
        "--stage",
        "dates",
    ];
    let mut running = Etl::new(folder.path(), &words)
        .args([
            "--set",
            "load.files=[\"-\"]",
            "--set",
            "load.executor=processes",
        ])
        .args(["--set", "load.columns=[\"id\",\"at\",\"text\"]"])
        .start_fed();
    let pipe = running.child.stdin.as_mut().expect("it is held open");
    // Several blocks of text: the workers have begun.
    let rows = b"1,2020-1-1,the text\n".repeat(150_000);
    pipe.write_all(&rows).expect("it reads on");
    let parent = running.child.id();
    wait_until("there are children", || !children(parent).is_empty());
    let workers = children(parent);
    let pid = Pid::from_raw(i32::try_from(parent).expect("pids are small"));
    kill(pid, Signal::SIGINT).expect("it runs");
    let outcome = running.outcome();
    assert_eq!(outcome.code, Some(130), "{}", outcome.stderr);
    assert!(!workers.iter().any(|&pid| is_alive(pid)), "orphans");
    assert!(
        files(&folder.join("state")).is_empty(),
        "it left its folder behind"
    );
}
