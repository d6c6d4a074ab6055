//! Files that tasks of a cluster read: each task its own, under the numbers and names that one machine gives them. The
//! stand-in for Spark shows it.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::harness::{Etl, Folder, Outcome, Variant, files};

/// Files with columns of their own order, bad rows among them, each read once.
const MANY_FILES: &str = r#"
max_rejects = -1
[[stage]]
name = "load"
kind = "load_csv"
files = ["in/*.csv", "more.csv"]
header_differs = "by_name"
types = { n = "int" }
only_new = true
[[stage]]
name = "write"
kind = "write_files"
inputs = ["load"]
path = "out/rows.ndjson"
"#;

#[test]
fn of_many_files_each_row_is_known_by_its_own() {
    let folders = [Variant::SEQUENTIAL, Variant::CLUSTER].map(|variant| {
        let folder = Folder::new("many-files");
        folder.write("pipeline.toml", MANY_FILES);
        (variant, folder)
    });
    let write = |path: &str, number: usize| {
        let text = match number % 3 {
            0 => format!("a,n\n{number},{number}\nx,none\n"),
            1 => format!("n,a\n{number},{number}\nnone {number},y\n"),
            _ => format!("n\n{number}\nnone\n"),
        };
        for (_, folder) in &folders {
            folder.write(path, &text);
        }
    };
    let runs = || {
        let runs = folders.iter().map(|(variant, folder)| {
            let (state, kept) = (folder.join("state"), folder.join("kept"));
            let etl = Etl::run(folder.path(), "pipeline.toml", *variant);
            if kept.exists() {
                // Which files an earlier run has published.
                fs::remove_dir(&state).expect("it is new");
                fs::rename(&kept, &state).expect("it was kept");
            }
            let outcome = etl.outcome();
            assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
            fs::rename(&state, &kept).expect("it is there");
            (outcome.rejects.clone(), files(&folder.join("out")), outcome)
        });
        runs.collect::<Vec<_>>()
    };
    write("more.csv", 300);
    for number in (0..300).filter(|number| number % 7 != 1) {
        write(&format!("in/{number:03}.csv"), number);
    }
    let first = runs();
    assert_eq!((&first[0].0, &first[0].1), (&first[1].0, &first[1].1));
    assert_eq!(first[0].0.lines().count(), 300 - 43 + 1);

    // Some come before the files that are known, some between them.
    for number in (0..300).filter(|number| number % 7 == 1) {
        write(&format!("in/{number:03}.csv"), number);
    }
    write("in/0.csv", 3);
    let second = runs();
    assert_eq!((&second[0].0, &second[0].1), (&second[1].0, &second[1].1));
    assert_eq!(second[0].0.lines().count(), 43 + 1);
    assert!(second[1].0.contains("in/001.csv"), "{}", second[1].0);
    let counts: Vec<Value> = second
        .iter()
        .map(|(_, _, outcome)| outcome.stage("load")["counts"].clone())
        .collect();
    assert_eq!(counts[0], counts[1]);
}

/// Small files around a large one, which begins with another header. The wide column is left out early.
const LARGE_FILE: &str = r#"
max_rejects = -1
[[stage]]
name = "load"
kind = "load_csv"
files = ["in/*"]
header_differs = "by_name"
types = { n = "int" }
[[stage]]
name = "narrow"
kind = "select"
inputs = ["load"]
drop = ["wide"]
[[stage]]
name = "write"
kind = "write_files"
inputs = ["narrow"]
path = "out/rows.ndjson"
"#;

/// More than a task has of files, so that two work on it.
const LARGE_BYTES: usize = 70 << 20;

/// A folder with the pipeline and its files; of the large one these rows are bad.
fn with_large_file(bad: &[usize]) -> Folder {
    let folder = Folder::new("large-file");
    folder.write("pipeline.toml", LARGE_FILE);
    fs::create_dir(folder.join("shared")).expect("the folder takes another");
    folder.write("in/a.csv", "n,wide,k\n1,w,a\n2,w,b\nnone,w,c\n");
    folder.write("in/c.csv", "n,wide,k\nnone,w,a\n3,w,b\n");
    folder.write("in/d.csv", "n,wide,k\n4,w,a\n");
    let wide = "w".repeat(20_000);
    let mut text = "k,n,wide\n".to_owned();
    for row in 0.. {
        let n = if bad.contains(&row) {
            "none".to_owned()
        } else {
            row.to_string()
        };
        text.push_str(&format!("key {row},{n},{wide}\n"));
        if text.len() > LARGE_BYTES {
            break;
        }
    }
    folder.write("in/b.csv", text);
    folder
}

fn gzipped(text: &[u8]) -> Vec<u8> {
    // It is as large as its text, without the time that deflating takes.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(text).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// What must be the same on one machine and on the cluster.
fn seen(folder: &Folder, variant: Variant, settings: &[&str]) -> (Value, Outcome) {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let outcome = Etl::run(folder.path(), "pipeline.toml", variant)
        .args(["--digest"])
        .args(settings)
        .outcome();
    let stages = outcome.stages().iter().map(|stage| {
        let keys = [
            "name", "batches", "rows_in", "rows_out", "rejected", "digest", "counts", "warnings",
        ];
        keys.map(|key| stage[key].clone())
    });
    let stages: Vec<[Value; 8]> = stages.collect();
    let written = files(&folder.join("out"));
    let written = written
        .into_values()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let seen = match outcome.code {
        Some(0) => json!([stages, outcome.rejects, written.collect::<Vec<_>>()]),
        // How far a failed run had come is a matter of luck.
        _ => json!([outcome.code, outcome.stderr]),
    };
    (seen, outcome)
}

/// What a run on the cluster shows, which must be what one machine shows.
fn same(folder: &Folder, settings: &[&str]) -> Outcome {
    let (expected, _) = seen(folder, Variant::SEQUENTIAL, settings);
    let (found, outcome) = seen(folder, Variant::CLUSTER, settings);
    assert!(found == expected, "{settings:?}: {}", outcome.stderr);
    outcome
}

#[test]
fn a_large_file_beside_small_ones_gives_what_it_gives_on_one_machine() {
    let folder = with_large_file(&[3_600]);
    let outcome = same(&folder, &[]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(outcome.rejects.lines().count(), 3);
    // The first bad row of all is far into the file.
    folder.write("in/a.csv", "n,wide,k\n1,w,a\n");
    let outcome = same(&folder, &["load.on_error=fail"]);
    assert!(outcome.stderr.contains("in/b.csv"), "{}", outcome.stderr);
}

#[test]
fn a_large_file_that_is_cut_short_ends_the_run_after_the_rows_before() {
    let folder = with_large_file(&[10, 1_000, 3_600]);
    let plain = folder.join("in/b.csv");
    let mut text = gzipped(&fs::read(&plain).expect("it was written"));
    fs::remove_file(&plain).expect("it is there");
    folder.write("in/b.csv.gz", &text);
    let outcome = same(&folder, &[]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);

    text.truncate(text.len() - 100);
    folder.write("in/b.csv.gz", &text);
    let outcome = same(&folder, &[]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    // A faulty row comes before the end.
    folder.write("in/a.csv", "n,wide,k\n1,w,a\n");
    let outcome = same(&folder, &["load.on_error=fail"]);
    assert!(outcome.stderr.contains("none"), "{}", outcome.stderr);
}
