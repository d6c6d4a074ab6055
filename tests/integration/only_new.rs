//! A folder to which files are added, loaded into one index: each file once, however runs end.

use std::fs;
use std::path::Path;

use crate::durable::shim;
use crate::harness::{Etl, Folder, Outcome};

const LOAD: &str = r#"
[[stage]]
name = "load"
kind = "load_csv"
files = ["days/*.csv"]
only_new = true
"#;

const INDEX: &str = r#"
[[stage]]
name = "index"
kind = "bulk_index"
inputs = ["load"]
to = "local:out/index"
id = "id"
"#;

const FILE: &str = r#"
[[stage]]
name = "write"
kind = "write_files"
inputs = ["load"]
path = "out/rows.csv"
"#;

fn etl(folder: &Folder, arguments: &[&str]) -> Etl {
    let words = [
        "run",
        "p.toml",
        "--quiet",
        "--sequential",
        "--state",
        "state",
    ];
    Etl::new(folder.path(), &words)
        .args(["--report", "state/report.json"])
        .args(arguments)
}

fn run(folder: &Folder, arguments: &[&str]) -> Outcome {
    let outcome = etl(folder, arguments).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome
}

fn prepared(pipeline: &str) -> Folder {
    let folder = Folder::new("only-new");
    folder.write("p.toml", pipeline);
    folder.write("state/none", "");
    folder.write("days/1.csv", "id,text\n1,a\n2,b\n");
    folder
}

/// The documents of the index, however they came.
fn documents(folder: &Path) -> usize {
    let outcome = Etl::new(folder, &["search", "out/index", "*", "--count"]).outcome();
    outcome.stdout.trim().parse().unwrap_or(0)
}

/// How many rows the run read, and how many files it left out.
fn read(outcome: &Outcome) -> (u64, u64) {
    let load = &outcome.report["stages"][0];
    let left_out = load["counts"]["files_left_out"].as_u64();
    (
        load["rows_in"].as_u64().expect("a number"),
        left_out.unwrap_or(0),
    )
}

#[test]
fn a_file_is_loaded_once_and_again_when_it_changes() {
    let folder = prepared(&format!("{LOAD}{INDEX}"));
    assert_eq!(read(&run(&folder, &[])), (2, 0));
    let before = crate::harness::files(&folder.join("out"));
    let none = run(&folder, &[]);
    assert!(none.stderr.contains("no file is new"), "{}", none.stderr);
    assert_eq!(read(&none), (0, 1));
    assert_eq!(none.report["status"], "done");
    assert_eq!(crate::harness::files(&folder.join("out")), before);
    folder.write("days/2.csv", "id,text\n3,c\n");
    assert_eq!(read(&run(&folder, &[])), (1, 1));
    assert_eq!(documents(folder.path()), 3);
    folder.write("days/1.csv", "id,text\n1,a\n2,b\n4,d\n");
    assert_eq!(
        read(&run(&folder, &[])),
        (3, 1),
        "a file that was changed is new"
    );
    assert_eq!(read(&run(&folder, &["--all-files"])), (4, 0));
    assert_eq!(read(&run(&folder, &[])), (0, 2));
    assert_eq!(documents(folder.path()), 4);
}

#[test]
fn a_run_that_leaves_an_output_out_leaves_its_files_new() {
    let folder = prepared(&format!("{LOAD}{INDEX}{FILE}"));
    assert_eq!(read(&run(&folder, &["--until", "write"])), (2, 0));
    assert_eq!(read(&run(&folder, &["--until", "load"])), (2, 0));
    assert_eq!(read(&run(&folder, &[])), (2, 0));
    assert_eq!(read(&run(&folder, &["--until", "write"])), (0, 1));
    let rows = fs::read_to_string(folder.join("out/rows.csv")).expect("it was written");
    assert_eq!(
        rows, "id,text\n1,a\n2,b\n",
        "a run without new files writes nothing"
    );
}

#[test]
fn a_failed_run_leaves_its_files_new() {
    let folder = prepared(&format!("{LOAD}{INDEX}{FILE}"));
    folder.write("days/2.csv", "id,text\n\"3,c\n");
    let failed = etl(&folder, &[]).outcome();
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    folder.write("days/2.csv", "id,text\n3,c\n");
    assert_eq!(read(&run(&folder, &[])), (3, 0));
}

#[test]
fn other_inputs_are_read_only_if_a_file_is_new() {
    let names = "[[stage]]\nname = \"names\"\nkind = \"load_csv\"\nfiles = [\"names.csv\"]\n\
        [[stage]]\nname = \"joined\"\nkind = \"join\"\ninputs = [\"load\", \"names\"]\non = [\"id\"]\n";
    let folder = prepared(&format!(
        "{}{names}{}",
        LOAD,
        FILE.replace("\"load\"", "\"joined\"")
    ));
    folder.write("names.csv", "id,name\n1,x\n2,y\n");
    run(&folder, &[]);
    let rows = || fs::read_to_string(folder.join("out/rows.csv")).expect("it was written");
    assert_eq!(rows(), "id,text,name\n1,a,x\n2,b,y\n");
    folder.write("names.csv", "id,name\n1,z\n2,z\n");
    run(&folder, &[]);
    assert_eq!(rows(), "id,text,name\n1,a,x\n2,b,y\n");
    folder.write("days/2.csv", "id,text\n1,c\n");
    run(&folder, &[]);
    assert_eq!(rows(), "id,text,name\n1,c,z\n");
}

#[test]
fn a_run_that_goes_on_leaves_files_that_came_meanwhile_to_the_next() {
    let ask = r#"
[[stage]]
name = "ask"
kind = "exec"
inputs = ["load"]
batch = 1
command = ["sh", "-c", "test $0 != 2 || test -e go && echo 1", "{id}"]
on_error = "fail"
"#;
    let folder = prepared(&format!(
        "{}{ask}{}",
        LOAD,
        FILE.replace("\"load\"", "\"ask\"")
    ));
    let failed = etl(&folder, &[]).outcome();
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("--resume="), "{}", failed.stderr);
    folder.write("go", "");
    folder.write("days/2.csv", "id,text\n3,c\n");
    let went_on = run(&folder, &["--resume"]);
    assert_eq!(read(&went_on), (2, 1), "{}", went_on.stderr);
    assert!(
        went_on.stderr.contains("the next run reads"),
        "{}",
        went_on.stderr
    );
    assert_eq!(read(&run(&folder, &[])), (1, 1));
}

#[test]
fn a_file_is_the_same_wherever_the_run_is_started() {
    let folder = prepared(&format!("{LOAD}{INDEX}"));
    assert_eq!(read(&run(&folder, &[])), (2, 0));
    let below = folder.join("days");
    let words = ["run", "../p.toml", "--quiet", "--state", "../state"];
    let outcome = Etl::new(&below, &words).outcome();
    assert!(
        outcome.stderr.contains("no file is new"),
        "{}",
        outcome.stderr
    );
}

/// Kills runs at each call about a folder, and runs again after each: every document is there, each once.
#[test]
fn a_run_that_is_killed_anywhere_loses_no_file() {
    let compiled = Folder::new("shim");
    let Some(shim) = shim(&compiled) else { return };
    let mut kills = 0;
    for under in ["state/loaded", "out"] {
        for when in ["before", "after"] {
            for number in 1.. {
                let at = format!("{when} call {number} about {under}");
                let folder = prepared(&format!("{LOAD}{INDEX}{FILE}"));
                run(&folder, &[]);
                folder.write("days/2.csv", "id,text\n3,c\n");
                let killed = etl(&folder, &[])
                    .env("LD_PRELOAD", &shim)
                    .env("SHIM_UNDER", folder.join(under))
                    .env("SHIM_KILL", number.to_string())
                    .env("SHIM_WHEN", when)
                    .outcome();
                folder.write("days/3.csv", "id,text\n4,d\n");
                let next = run(&folder, &[]);
                assert_eq!(documents(folder.path()), 4, "{at}: {}", next.stderr);
                let rows = fs::read_to_string(folder.join("out/rows.csv")).expect("it was written");
                assert!(
                    ["id,text\n3,c\n4,d\n", "id,text\n4,d\n"].contains(&rows.as_str()),
                    "{at}: {rows}"
                );
                assert_eq!(read(&run(&folder, &[])).0, 0, "{at}");
                if killed.signal.is_none() {
                    break;
                }
                kills += 1;
            }
        }
    }
    assert!(kills >= 12, "{kills} kills");
}

/// What holds the rows of new files only, or may hold them twice, is said before a run and after it.
#[test]
fn results_that_lose_or_double_the_rows_of_earlier_files_are_warned_of() {
    const ONLY: &str = "will hold only the rows of new files";
    const TWICE: &str = "are in `local:out/index` twice";
    let replaced = INDEX.replace("id = ", "load = \"replace\"\nid = ");
    let without_ids = INDEX.replace("id = \"id\"", "");
    let through = "[[stage]]\nname = \"some\"\nkind = \"filter\"\ninputs = [\"load\"]\nwhere = \"id <> ''\"\n";
    let far = [through, &FILE.replace("\"load\"", "\"some\"")].concat();
    let varied = FILE.replace("out/rows", "out/${DAY:-1}");
    let all = LOAD.replace("only_new = true", "");
    for (load, sink, warning) in [
        (LOAD, FILE, Some(ONLY)),
        (LOAD, &far, Some(ONLY)),
        (LOAD, &replaced, Some(ONLY)),
        (LOAD, &without_ids, Some(TWICE)),
        (LOAD, &varied, None),
        (LOAD, INDEX, None),
        (&all, FILE, None),
    ] {
        let folder = prepared(&format!("{load}{sink}"));
        let check = Etl::new(folder.path(), &["check", "p.toml"]).outcome();
        let first = run(&folder, &[]);
        for outcome in [&check, &first] {
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            for words in [ONLY, TWICE] {
                let is_said = outcome.stderr.contains(words);
                assert_eq!(
                    is_said,
                    warning == Some(words),
                    "{sink}: {}",
                    outcome.stderr
                );
            }
        }
        let none = run(&folder, &[]);
        assert!(!none.stderr.contains(ONLY), "{}", none.stderr);
    }
    let folder = prepared(&format!("{LOAD}{FILE}"));
    let set = ["check", "p.toml", "--set", "write.path=out/today.csv"];
    let check = Etl::new(folder.path(), &set).outcome();
    assert_eq!(check.stderr, "");
}

#[test]
fn a_log_that_cannot_be_written_names_the_way_to_another() {
    let folder = prepared(&format!("{LOAD}{INDEX}"));
    folder.write("state/loaded", "a file");
    let outcome = etl(&folder, &[]).outcome();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("`--state DIR`"),
        "{}",
        outcome.stderr
    );
}

/// Of what is read there no run knows whether it was read before.
#[test]
fn standard_input_cannot_be_left_out() {
    for kind in ["load_csv", "load_ndjson"] {
        let folder = prepared(&format!(
            "[[stage]]\nname = \"load\"\nkind = \"{kind}\"\nfiles = [\"-\"]\ncolumns = [\"id\"]\nonly_new = true\n{FILE}"
        ));
        let outcome = etl(&folder, &[]).outcome();
        assert_eq!(outcome.code, Some(2), "{kind}: {}", outcome.stderr);
        let says = "`only_new` leaves out files by their names, and standard input (`-`) has none";
        assert!(outcome.stderr.contains(says), "{}", outcome.stderr);
    }
}
