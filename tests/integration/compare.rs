//! Before and after, side by side; and the history of runs and comparisons.

use std::fs;

use serde_json::{Value, json};

use crate::generate_donors::write_dumps;
use crate::harness::{Etl, Folder, Outcome, Variant, files, project};

/// Rows, grouped and written, each stage on threads.
const PIPELINE: &str = r#"
[[stage]]
name = "rows"
kind = "load_csv"
parallel = true
files = ["rows.csv"]
[[stage]]
name = "grouped"
kind = "group_concat"
parallel = true
inputs = ["rows"]
by = "k"
separator = ","
[[stage]]
name = "out"
kind = "write_files"
parallel = true
inputs = ["grouped"]
path = "out.ndjson"
"#;

/// A folder with a pipeline and its rows.
fn job(pipeline: &str) -> Folder {
    let folder = Folder::new("compare");
    folder.write("p.toml", pipeline);
    let rows = (0..2000).map(|i| format!("{},{i}", i % 300));
    folder.write(
        "rows.csv",
        format!("k,v\n{}\n", rows.collect::<Vec<_>>().join("\n")),
    );
    folder
}

fn etl(folder: &Folder, arguments: &[&str]) -> Outcome {
    let etl = Etl::new(folder.path(), arguments);
    etl.args(["--state", "state", "--color", "never"]).outcome()
}

/// A comparison of `p.toml` with one timed run a side; and what it reports.
fn compare(folder: &Folder, arguments: &[&str]) -> (Outcome, Value) {
    let fixed = ["compare", "p.toml", "--runs", "1", "--report", "c.json"];
    let outcome = etl(folder, &[&fixed, arguments].concat());
    let report = fs::read(folder.join("c.json")).unwrap_or_default();
    (outcome, serde_json::from_slice(&report).unwrap_or_default())
}

fn names(report: &Value) -> Vec<&str> {
    let stages = report["stages"].as_array().into_iter().flatten();
    stages.filter_map(|stage| stage["name"].as_str()).collect()
}

/// The ids of what is kept, oldest first.
fn kept(folder: &Folder) -> Vec<String> {
    let mut ids: Vec<String> = fs::read_dir(folder.join("state/runs"))
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("it can be read").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    ids.sort();
    ids
}

#[track_caller]
fn assert_fits(text: &str) {
    let wide = text.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None, "a line is wider than 80 columns:\n{text}");
}

#[test]
fn both_sides_of_the_donors_job_are_timed_and_proved_alike() {
    let folder = Folder::new("donors");
    let dumps = folder.join("dumps");
    write_dumps(&dumps, 300, 7).expect("the dumps can be written");
    folder.write("out.ndjson", "what was there");
    let pipeline = project().join("pipelines/donors_ndjson.toml");
    let pipeline = pipeline.display().to_string();
    let arguments = ["compare", &pipeline, "--runs", "2", "--report", "c.json"];
    let outcome = Etl::new(folder.path(), &arguments)
        .env("ETL_DATA", &dumps)
        .env("ETL_OUT", folder.join("out.ndjson"))
        .args(["--state", "state", "--set", "*.workers=2"])
        .args(["--after", "dates.executor=processes"])
        .outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_fits(&outcome.stdout);
    let report: Value = serde_json::from_slice(&fs::read(folder.join("c.json")).unwrap()).unwrap();
    assert_eq!(names(&report).len(), 11);
    let number = |value: &Value| value.as_f64().expect("it is a number");
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0);
    let (mut before_s, mut after_s) = (0.0, 0.0);
    let cores = number(&report["machine"]["cores"]);
    for stage in report["stages"].as_array().unwrap() {
        let name = &stage["name"];
        let [before, after] = ["before", "after"].map(|side| number(&stage[side]["wall_s"]));
        let (speedup, workers) = (number(&stage["speedup"]), number(&stage["workers"]));
        assert!(near(speedup, before / after), "{stage}");
        assert!(near(number(&stage["efficiency"]), speedup / workers));
        assert!(near(number(&stage["saved_s"]), before - after));
        assert_eq!(stage["before"]["executor"], "sequential");
        assert_eq!(stage["same_output"], true, "{name}");
        assert_eq!(stage["before"]["digest"], stage["after"]["digest"]);
        let alike = stage["after"]["executor"] == "sequential";
        if !alike {
            (before_s, after_s) = (before_s + before, after_s + after);
        }
        let expected = (!alike).then(|| speedup >= 0.75 * workers.min(cores));
        assert_eq!(stage["worth_it"], json!(expected), "{name}");
        if name == "dates" {
            assert_eq!(stage["after"]["executor"], "processes");
            assert!(number(&stage["after"]["start_s"]) > 0.0);
        }
        assert!(number(&stage["after"]["moved_bytes"]) > 0.0, "{name}");
    }
    let total = &report["total"];
    assert!(near(number(&total["before_s"]), before_s));
    assert!(near(number(&total["after_s"]), after_s));
    assert!(near(number(&total["saved_s"]), before_s - after_s));
    assert!(near(number(&total["speedup"]), before_s / after_s));
    assert_eq!(report["same_output"], true);
    // What the pipeline writes, and says that it writes, is where it was.
    assert_eq!(report["stages"][10]["after"]["options"]["format"], "ndjson");
    let options = &report["stages"][10]["after"]["options"]["path"];
    assert_eq!(options, folder.join("out.ndjson").to_str().unwrap());
    assert_eq!(files(folder.path())["out.ndjson"], b"what was there");
    let [id] = &kept(&folder)[..] else {
        panic!("{:?}", kept(&folder));
    };
    let kept: Vec<String> = files(&folder.join("state/runs")).into_keys().collect();
    let expected = ["report.json", "run.json"].map(|file| format!("{id}/{file}"));
    assert_eq!(kept, expected, "nothing else is left");
}

#[test]
fn another_answer_is_exit_1_and_named() {
    let folder = job(PIPELINE);
    let (outcome, report) = compare(&folder, &["--after", "grouped.separator=;"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let error = "error: before and after do not give the same: `grouped`, `out`\n";
    assert!(outcome.stderr.contains(error), "{}", outcome.stderr);
    assert!(
        outcome
            .stdout
            .contains("they did NOT give the same: grouped, out\n")
    );
    let same = report["stages"].as_array().unwrap().iter();
    let same: Vec<&Value> = same.map(|stage| &stage["same_output"]).collect();
    assert_eq!(same, [true, false, false]);
    assert_eq!(report["same_output"], false);
    // The same change on both sides is none.
    let (outcome, _) = compare(&folder, &["--set", "grouped.separator=;"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

#[test]
fn each_side_is_what_it_is_asked_to_be() {
    let folder = job(PIPELINE);
    let grids = |arguments: &[&str]| {
        let (outcome, report) = compare(&folder, arguments);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let grid = |side: &str| {
            let stage = &report["stages"][1][side];
            format!(
                "{} {}x{}",
                stage["executor"].as_str().unwrap(),
                stage["processes"],
                stage["threads"]
            )
        };
        (
            grid("before"),
            grid("after"),
            report["stages"][1]["worth_it"].clone(),
        )
    };
    let own = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    for (arguments, sides, alike) in [
        (
            &["--set", "*.executor=processes", "--set", "*.workers=3"][..],
            own("sequential 1x1", "processes 3x1"),
            false,
        ),
        (
            &[
                "--before",
                "grouped.executor=threads",
                "--before",
                "grouped.workers=3",
                "--after",
                "*.parallel=false",
            ],
            own("threads 1x3", "sequential 1x1"),
            false,
        ),
        (
            &["--before", "grouped.parallel=true"],
            {
                let cores = std::thread::available_parallelism().unwrap();
                let threads = format!("threads 1x{cores}");
                own(&threads, &threads)
            },
            true,
        ),
    ] {
        let (before, after, worth_it) = grids(arguments);
        assert_eq!((before, after), sides, "{arguments:?}");
        assert_eq!(worth_it.is_null(), alike, "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_compared_is_told_before_anything_runs() {
    let folder = job(PIPELINE);
    for (arguments, code, words) in [
        (
            &["--set", "rows.files=[\"-\"]"][..],
            2,
            "standard input can be read once",
        ),
        (
            &["--before", "none.x=1"],
            2,
            "`--before none.x`: no stage `none`",
        ),
        (
            &["--after", "rows.x=1"],
            2,
            "`--after rows.x`: unknown key `x`",
        ),
        (&["--set", "rows.x=1"], 2, "`--set rows.x`: unknown key `x`"),
        (&["--before-run", "none"], 1, "no run `none`"),
        (
            &["--before-run", "a", "--before", "rows.x=1"],
            2,
            "cannot be used with",
        ),
    ] {
        let (outcome, _) = compare(&folder, arguments);
        assert_eq!(
            outcome.code,
            Some(code),
            "{arguments:?}: {}",
            outcome.stderr
        );
        assert!(
            outcome.stderr.contains(words),
            "{arguments:?}: {}",
            outcome.stderr
        );
        assert_eq!(kept(&folder), Vec::<String>::new(), "{arguments:?}");
    }
    assert_eq!(
        etl(&folder, &["compare", "p.toml", "--runs", "0"]).code,
        Some(2)
    );
    // A run that fails leaves no comparison.
    folder.write("rows.csv", "k,v\n1,\"2\n");
    let (outcome, _) = compare(&folder, &[]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert_eq!(kept(&folder), Vec::<String>::new());
}

#[test]
fn a_run_that_was_kept_may_be_the_side_before() {
    let folder = job(PIPELINE);
    let run = [
        "run",
        "p.toml",
        "--sequential",
        "--staged",
        "--quiet",
        "--digest",
    ];
    assert_eq!(etl(&folder, &run).code, Some(0));
    let id = kept(&folder).remove(0);
    let end = id.rsplit('-').next().unwrap();
    let (outcome, report) = compare(&folder, &["--before-run", end]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(report["sides"][0], format!("run {id}"));
    assert_eq!(report["same_output"], true);
    let stored: Value = serde_json::from_slice(
        &fs::read(folder.join(format!("state/runs/{id}/report.json"))).unwrap(),
    )
    .unwrap();
    assert_eq!(
        report["stages"][0]["before"]["wall_s"],
        stored["stages"][0]["wall_s"]
    );

    // Without digests nothing is proved; streamed stages have no time of their own.
    let run = ["run", "p.toml", "--sequential", "--quiet"];
    assert_eq!(etl(&folder, &run).code, Some(0));
    let id = kept(&folder).pop().unwrap();
    let (outcome, report) = compare(&folder, &["--before-run", &id]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(report["same_output"], Value::Null);
    assert!(
        outcome.stderr.contains("was streamed"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_server_is_left_alone_unless_it_is_asked_for() {
    let load = "[[stage]]\nname = \"index\"\nkind = \"bulk_index\"\ninputs = [\"grouped\"]\n\
        to = \"http://server.invalid:9200\"\nindex = \"things\"\n";
    let folder = job(&format!("{PIPELINE}{load}"));
    let (outcome, report) = compare(&folder, &[]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(names(&report), ["rows", "grouped", "out"]);
    assert_eq!(report["not_timed"][0]["name"], "index");
    assert!(
        outcome
            .stdout
            .contains("\nindex was not timed: it loads a server")
    );
    assert_fits(&outcome.stdout);
}

#[test]
fn a_toggled_word_shows_its_worth() {
    let folder = job(PIPELINE);
    let run = |arguments: &[&str]| {
        let outcome = etl(&folder, &[&["run", "p.toml"], arguments].concat());
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stdout
    };
    assert!(!run(&["--sequential"]).contains("since"));
    // What it took is given, not measured.
    let file = folder.join(format!("state/runs/{}/report.json", kept(&folder)[0]));
    let mut report: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    report["stages"][1]["wall_s"] = json!(920.0);
    report["stages"][1]["busy_s"] = json!(920.0);
    fs::write(&file, report.to_string()).unwrap();
    let printed = run(&[
        "--set",
        "rows.parallel=false",
        "--set",
        "out.parallel=false",
    ]);
    let line = printed
        .lines()
        .find(|line| line.starts_with("grouped: 920 s -> "));
    assert!(
        line.is_some_and(|line| line.ends_with(" s since parallel = true")),
        "{printed}"
    );
    assert!(!printed.contains("rows: "), "{printed}");
    // Again: nothing has changed since the run before, which alone counts.
    assert!(!run(&["--set", "rows.parallel=false"]).contains("grouped: 920 s -> "));
    assert!(
        !run(&["--staged"]).contains("since"),
        "a staged run is another thing"
    );
}

#[test]
fn a_run_is_shown_again_as_it_was_with_its_first_rejects() {
    let folder = Folder::new("again");
    folder.write("in.csv", "n\n1\nx\ny\n2\nz\nw\n");
    folder.write(
        "p.toml",
        "max_rejects = -1\n[[stage]]\nname = 'load'\nkind = 'load_csv'\nfiles = ['in.csv']\n\
         types = { n = 'int' }\n[[stage]]\nname = 'out'\nkind = 'write_files'\ninputs = ['load']\n\
         path = 'out.csv'\n",
    );
    let ran = etl(&folder, &["run", "p.toml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let rejects = "4 rows rejected, all in state/runs/";
    assert!(ran.stdout.contains(rejects), "{}", ran.stdout);
    let reason = "  4 rows, first: load: column `n`: expected int, found `x` at in.csv: record 2";
    assert!(ran.stdout.contains(reason), "{}", ran.stdout);
    let written = "out: wrote out.csv, 6 bytes\n";
    assert!(ran.stdout.ends_with(written), "{}", ran.stdout);
    let run = &kept(&folder)[0];
    assert_eq!(etl(&folder, &["report", run]).stdout, ran.stdout);
    let markdown = etl(&folder, &["report", run, "--markdown"]).stdout;
    let (_, below) = ran.stdout.split_once("\n\n").expect("there is a table");
    assert!(markdown.contains(below), "{markdown}");
}

#[test]
fn runs_and_comparisons_are_listed_shown_set_side_by_side_and_deleted() {
    let folder = job(PIPELINE);
    assert_eq!(
        etl(&folder, &["report"]).stdout,
        "no runs are kept in state\n"
    );
    let variant = Variant::SEQUENTIAL.staged();
    let first = Etl::run(folder.path(), "p.toml", variant)
        .args(["--digest"])
        .outcome();
    let table = etl(&folder, &["run", "p.toml", "--staged", "--digest"]);
    let (compared, _) = compare(&folder, &[]);
    assert_eq!(
        (first.code, table.code, compared.code),
        (Some(0), Some(0), Some(0))
    );
    assert_eq!(
        etl(
            &folder,
            &[
                "run",
                "p.toml",
                "--set",
                "out.path=/dev/full",
                "--set",
                "out.format=csv"
            ]
        )
        .code,
        Some(1)
    );

    let list = etl(&folder, &["report"]).stdout;
    assert_fits(&list);
    let words = |line: &str| {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        words[..4].to_vec()
    };
    let ids = kept(&folder);
    let rows: Vec<Vec<String>> = list.lines().skip(1).map(words).collect();
    let row = |id: usize, mode: &str, status: &str| {
        [&ids[id], "p", mode, status].map(str::to_owned).to_vec()
    };
    let expected = [
        row(0, "staged", "done"),
        row(1, "staged", "done"),
        row(2, "compare", "done"),
        row(3, "streamed", "failed"),
    ];
    assert_eq!(rows, expected);
    let json: Value = serde_json::from_str(&etl(&folder, &["report", "--json"]).stdout).unwrap();
    assert_eq!(json[3]["status"], "failed");

    // As it was printed then.
    let again = etl(&folder, &["report", &ids[1]]).stdout;
    assert!(table.stdout.starts_with(&again), "{again}");
    assert_eq!(etl(&folder, &["report", &ids[2]]).stdout, compared.stdout);
    let json: Value =
        serde_json::from_str(&etl(&folder, &["report", &ids[0], "--json"]).stdout).unwrap();
    assert_eq!(json["run"], ids[0].as_str());
    let markdown = etl(&folder, &["report", &ids[2], "--markdown"]).stdout;
    assert!(
        markdown.starts_with("| stage | before -> after s |"),
        "{markdown}"
    );
    for form in [&[][..], &["--markdown"]] {
        let shown = etl(&folder, &[&["report", &ids[3]], form].concat()).stdout;
        assert!(shown.contains("it failed: stage `out`: "), "{shown}");
    }

    let diff = etl(&folder, &["report", "--diff", &ids[0], &ids[1]]);
    assert_eq!(diff.code, Some(0), "{}", diff.stderr);
    assert_fits(&diff.stdout);
    assert!(
        diff.stdout.contains("both gave the same"),
        "{}",
        diff.stdout
    );
    let refused = etl(&folder, &["report", "--diff", &ids[0], &ids[2]]);
    assert!(
        refused.stderr.contains("is a comparison"),
        "{}",
        refused.stderr
    );

    let deleted = etl(&folder, &["report", "--keep", "1"]).stdout;
    assert_eq!(deleted, "deleted 3 runs\n");
    assert_eq!(kept(&folder), ids[3..]);
}
