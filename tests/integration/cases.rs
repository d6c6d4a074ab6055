//! Cases that are data: every folder under `tests/cases` is one.
//!
//! - `pipeline.toml` reads from `in/` and writes to `out/`;
//! - `expected/` holds what must then lie in `out/`, byte by byte. What only a program can read (`.gz`, `.zst`,
//!   `.arrow`, `.parquet`) need not be there and is compared between the executors;
//! - `exit`: the exit code, if not 0; `expected_stderr`: parts of the message, one a line, without which
//!   nothing may be on stderr at all; `expected_stdout`: all of it, otherwise none;
//! - `rejects.ndjson`: for each reject, in order, members it must have; of `reason` a part;
//! - `report.json`: stage name -> members that the report must have;
//! - `args`, `env` (`NAME=VALUE`), one a line, and `stdin`.
//!
//! Each runs under every executor at several widths and batch sizes, streamed and staged, and everything
//! that can be seen must be the same. Expected files are worked out from the reference, not by the program.
//! `ETL_CASE=part-of-a-name` runs only some.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Etl, Folder, Outcome, Variant, difference, files, for_each, project};

const VARIANTS: [Variant; 18] = [
    Variant::SEQUENTIAL.batch_rows(1),
    Variant::SEQUENTIAL.batch_rows(2).staged(),
    Variant::SEQUENTIAL.staged(),
    Variant::new("threads", 1, 1).batch_rows(3),
    Variant::new("threads", 1, 2),
    Variant::new("threads", 1, 3).batch_rows(2).staged(),
    Variant::new("threads", 1, 8).batch_rows(1),
    Variant::new("processes", 1, 1).batch_rows(2),
    Variant::new("processes", 2, 1),
    Variant::new("processes", 3, 1).batch_rows(1),
    Variant::new("processes", 2, 1).batch_rows(3).staged(),
    Variant::new("hybrid", 1, 2).batch_rows(2),
    Variant::new("hybrid", 2, 1).batch_rows(1).staged(),
    Variant::new("hybrid", 2, 2),
    Variant::new("hybrid", 3, 3).batch_rows(1),
    Variant::CLUSTER,
    Variant::CLUSTER.batch_rows(2),
    Variant::CLUSTER_ASKING.batch_rows(3),
];

#[test]
fn every_case_gives_what_is_expected_under_every_executor() {
    let only = std::env::var("ETL_CASE").unwrap_or_default();
    let mut cases: Vec<PathBuf> = fs::read_dir(project().join("tests/cases"))
        .expect("there are cases")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|case| case.display().to_string().contains(&only))
        .collect();
    cases.sort();
    for_each(&cases, |case| check(case));
}

/// What is visible of a run, to be compared with another.
#[derive(Debug, PartialEq)]
struct Seen {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    rejects: String,
    files: BTreeMap<String, Vec<u8>>,
    /// Of each stage its name, its digest and how many values it made null.
    digests: Vec<[Value; 3]>,
}

fn check(case: &Path) -> Vec<String> {
    let name = case.file_name().expect("a folder has a name");
    let folder = Folder::new(&name.to_string_lossy());
    for (path, bytes) in files(case) {
        folder.write(&path, bytes);
    }
    let mut faults = Vec::new();
    let mut fault = |variant: Variant, text: String| {
        faults.push(format!("{} ({variant}): {text}", name.display()));
    };

    let (plain, outcome) = run(&folder, Variant::SEQUENTIAL);
    for text in compare_with_expected(case, &plain, &outcome) {
        fault(Variant::SEQUENTIAL, text);
    }
    for variant in VARIANTS {
        let (seen, outcome) = run(&folder, variant);
        for text in outcome.faults() {
            fault(variant, text);
        }
        if let Some(text) = differs(&plain, &seen) {
            fault(variant, format!("not as sequentially: {text}"));
        }
    }
    faults
}

fn run(folder: &Folder, variant: Variant) -> (Seen, Outcome) {
    let _ = fs::remove_dir_all(folder.join("out"));
    let lines = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let mut etl = Etl::run(folder.path(), "pipeline.toml", variant)
        .args(["--digest"])
        .args(lines("args"));
    for line in lines("env") {
        let (key, value) = line.split_once('=').expect("NAME=VALUE");
        etl = etl.env(key, value);
    }
    if let Ok(bytes) = fs::read(folder.join("stdin")) {
        etl = etl.stdin(bytes);
    }
    let outcome = etl.outcome();
    let digests = outcome
        .stages()
        .iter()
        .map(|stage| {
            [
                stage["name"].clone(),
                stage["digest"].clone(),
                stage["counts"]["nulled"].clone(),
            ]
        })
        .collect();
    let seen = Seen {
        code: outcome.code,
        stdout: outcome.stdout.clone(),
        stderr: outcome.stderr.clone(),
        rejects: match outcome.code {
            Some(0 | 3) => outcome.rejects.clone(),
            // How far a failed run had come is a matter of luck.
            _ => String::new(),
        },
        files: files(&folder.join("out")),
        digests: match outcome.code {
            Some(0 | 3) => digests,
            _ => Vec::new(),
        },
    };
    (seen, outcome)
}

fn differs(want: &Seen, got: &Seen) -> Option<String> {
    if want.code != got.code {
        let stderr = &got.stderr;
        return Some(format!("exit {:?}, {:?}\n{stderr}", want.code, got.code));
    }
    let texts = [
        ("stdout", &want.stdout, &got.stdout),
        ("stderr", &want.stderr, &got.stderr),
        ("rejects", &want.rejects, &got.rejects),
    ];
    for (what, want, got) in texts {
        if want != got {
            let difference = difference(want.as_bytes(), got.as_bytes());
            return Some(format!("{what}: {difference}"));
        }
    }
    if let Some(text) = files_differ(&want.files, &got.files) {
        return Some(text);
    }
    (want.digests != got.digests).then(|| {
        let pairs = want.digests.iter().zip(&got.digests);
        let stage = pairs.into_iter().find(|(want, got)| want != got);
        format!("the digests, first of {stage:?}")
    })
}

fn files_differ(
    want: &BTreeMap<String, Vec<u8>>,
    got: &BTreeMap<String, Vec<u8>>,
) -> Option<String> {
    if !want.keys().eq(got.keys()) {
        let (want, got): (Vec<_>, Vec<_>) = (want.keys().collect(), got.keys().collect());
        return Some(format!("files: want {want:?}, got {got:?}"));
    }
    want.iter()
        .zip(got.values())
        .find(|((_, want), got)| want != got)
        .map(|((name, want), got)| format!("{name}: {}", difference(want, got)))
}

fn compare_with_expected(case: &Path, seen: &Seen, outcome: &Outcome) -> Vec<String> {
    let text = |name: &str| fs::read_to_string(case.join(name)).ok();
    let mut faults = outcome.faults();
    let exit = text("exit").map_or(0, |text| text.trim().parse().expect("an exit code"));
    if seen.code != Some(exit) {
        faults.push(format!(
            "want exit {exit}, got {:?}\n{}",
            seen.code, seen.stderr
        ));
        return faults;
    }
    match text("expected_stderr") {
        Some(parts) => faults.extend(
            parts
                .lines()
                .filter(|part| !seen.stderr.contains(part))
                .map(|part| format!("stderr lacks `{part}`:\n{}", seen.stderr)),
        ),
        None if exit == 0 && !seen.stderr.is_empty() => {
            faults.push(format!("unexpected on stderr:\n{}", seen.stderr));
        }
        None => {}
    }
    let stdout = text("expected_stdout").unwrap_or_default();
    if seen.stdout != stdout {
        let difference = difference(stdout.as_bytes(), seen.stdout.as_bytes());
        faults.push(format!("stdout: {difference}"));
    }
    let expected = files(&case.join("expected"));
    let mut written = seen.files.clone();
    written.retain(|name, _| {
        let extension = Path::new(name).extension();
        expected.contains_key(name)
            || !extension.is_some_and(|it| {
                ["gz", "zst", "arrow", "parquet"]
                    .iter()
                    .any(|only| it == *only)
            })
    });
    faults.extend(files_differ(&expected, &written));
    if let Some(text) = text("rejects.ndjson") {
        faults.extend(compare_rejects(&text, &seen.rejects));
    } else if !seen.rejects.is_empty() {
        faults.push(format!("unexpected rejects:\n{}", seen.rejects));
    }
    if let Some(text) = text("report.json") {
        let want: BTreeMap<String, Value> = serde_json::from_str(&text).expect("JSON");
        for (stage, want) in want {
            faults.extend(lacks(
                &want,
                outcome.stage(&stage),
                &format!("report: {stage}"),
            ));
        }
    }
    faults
}

fn compare_rejects(want: &str, got: &str) -> Vec<String> {
    let (want, got): (Vec<&str>, Vec<&str>) = (want.lines().collect(), got.lines().collect());
    if want.len() != got.len() {
        return vec![format!(
            "want {} rejects, got\n{}",
            want.len(),
            got.join("\n")
        )];
    }
    let mut faults = Vec::new();
    for (number, (want, got)) in want.into_iter().zip(got).enumerate() {
        let mut want: Value = serde_json::from_str(want).expect("JSON");
        let got: Value = serde_json::from_str(got).expect("rejects are JSON");
        if let Some(Value::String(part)) = want.as_object_mut().and_then(|o| o.remove("reason")) {
            let reason = got["reason"].as_str().unwrap_or_default();
            if !reason.contains(&part) {
                faults.push(format!("reject {number}: reason `{reason}` lacks `{part}`"));
            }
        }
        faults.extend(lacks(&want, &got, &format!("reject {number}")));
    }
    faults
}

/// What `want` has and `got` has not; members that only `got` has are its own affair.
fn lacks(want: &Value, got: &Value, place: &str) -> Vec<String> {
    match want {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, want)| lacks(want, &got[name], &format!("{place}.{name}")))
            .collect(),
        _ if want == got => Vec::new(),
        _ => vec![format!("{place}: want {want}, got {got}")],
    }
}
