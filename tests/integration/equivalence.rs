//! The equivalence suite: the output is a function of the input alone. Generated pipelines over generated files are run
//! under every executor at several widths and batch sizes, streamed and staged, and whatever can be seen of
//! a run must be what a plain sequential one shows. Where a naive model is cheap, it is asked too.
//!
//! A run that fails must say the same too, where one stage is at fault: which of several is told of
//! depends on how far each had come.
//!
//! `ETL_SEED=N` runs with that seed in place of the usual ones; a fault says which it was.

mod data;
mod expressions;
mod jobs;
mod model;
mod ndjson;
mod style;

use std::collections::BTreeMap;
use std::fs;

use etl::stage::STAGES;
use serde_json::{Value, json};

use crate::harness::{Etl, Folder, Outcome, Variant, difference, files, for_each};
use data::Random;
use jobs::{CHAINS, FAILURES, Generator, Job, KINDS};

/// Three: each makes other pipelines, and the time goes with them.
const SEEDS: [u64; 3] = [1, 2, 3];

fn seeds() -> Vec<u64> {
    match std::env::var("ETL_SEED") {
        Ok(seed) => vec![seed.parse().expect("ETL_SEED is a number")],
        Err(_) => SEEDS.to_vec(),
    }
}

#[test]
fn every_kind_has_a_generator() {
    let names: Vec<&str> = STAGES.iter().map(|kind| kind.name).collect();
    let generated: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(names, generated);
    for (kind, generate) in KINDS {
        let mut job = Job::default();
        generate(&mut Random::new(1, kind), &mut job);
        assert!(
            job.stages.iter().any(|stage| stage.kind == *kind),
            "the generator of {kind} makes no such stage"
        );
    }
}

#[test]
fn every_kind_gives_the_same_however_it_is_run() {
    hold(KINDS, 2, &[0, 3]);
}

#[test]
fn long_pipelines_give_the_same_however_they_are_run() {
    hold(CHAINS, 2, &[0, 3]);
}

#[test]
fn failing_runs_say_the_same_however_they_are_run() {
    hold(FAILURES, 1, &[1]);
}

#[test]
fn children_of_other_stages_end_quietly_when_a_run_fails() {
    // The stage that fails is not the one whose children still have work: they were once replaced, with
    // a warning, while the run was ending.
    let folder = Folder::new("ending");
    let records = (1..2000).map(|record| if record == 12 { "90.5,0\n" } else { "1.5,0\n" });
    let text: String = ["x,y\n"].into_iter().chain(records).collect();
    folder.write("in.csv", text);
    let pipeline = r#"
        [[stage]]
        name = "load"
        kind = "load_csv"
        files = ["in.csv"]
        types = { x = "float", y = "float" }
        [[stage]]
        name = "point"
        kind = "geo_point"
        inputs = ["load"]
        latitude = "x"
        longitude = "y"
        into = "point"
        on_error = "fail"
        [[stage]]
        name = "write-points"
        kind = "write_files"
        inputs = ["point"]
        path = "points.ndjson"
        [[stage]]
        name = "write-all"
        kind = "write_files"
        inputs = ["load"]
        path = "all.ndjson"
    "#;
    folder.write("pipeline.toml", pipeline);
    for _ in 0..40 {
        let variant = processes(1).batch_rows(7);
        let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
        assert_eq!(outcome.code, Some(1));
        assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
    }
}

/// Checks so many pipelines of each generator and seed, which must end with one of these exit codes.
fn hold(generators: &[(&str, Generator)], each: u32, codes: &[i32]) {
    let mut all = Vec::new();
    for seed in seeds() {
        for (name, generate) in generators {
            for number in 0..each {
                all.push((seed, format!("{name} {number}"), generate));
            }
        }
    }
    for_each(&all, |(seed, name, generate)| {
        let mut random = Random::new(*seed, name);
        let mut job = Job::default();
        generate(&mut random, &mut job);
        let faults = check(&job, &mut random, codes);
        if faults.is_empty() {
            return faults;
        }
        let faults = faults.join("\n");
        vec![format!(
            "ETL_SEED={seed}, {name}:\n{faults}\n{}",
            job.toml()
        )]
    });
}

/// One way to run a pipeline.
struct Way {
    variant: Variant,
    /// More settings, where stages differ.
    more: Vec<String>,
}

impl Way {
    fn name(&self) -> String {
        format!("{} {}", self.variant, self.more.join(" "))
    }
}

/// Some of the many ways: every executor, and one way in which each stage has its own.
fn ways(random: &mut Random, job: &Job) -> Vec<Way> {
    let mut variants = vec![Variant::SEQUENTIAL];
    variants.extend(random.some(&[1, 2, 3, 8]).into_iter().take(2).map(threads));
    variants.push(processes(random.pick(&[1, 2])));
    variants.push(Variant::new("hybrid", 2, 2));
    variants.push(random.pick(&[Variant::CLUSTER, Variant::CLUSTER_ASKING]));
    let mut ways: Vec<Way> = variants
        .into_iter()
        .map(|variant| Way {
            variant: sized(random, variant),
            more: Vec::new(),
        })
        .collect();
    ways.push(Way {
        variant: sized(random, Variant::SEQUENTIAL),
        more: mixed(random, job),
    });
    ways
}

const fn threads(threads: u32) -> Variant {
    Variant::new("threads", 1, threads)
}

const fn processes(processes: u32) -> Variant {
    Variant::new("processes", processes, 1)
}

fn sized(random: &mut Random, variant: Variant) -> Variant {
    let variant = match random.pick(&[Some(1), Some(7), Some(1000), None]) {
        Some(rows) => variant.batch_rows(rows),
        None => variant,
    };
    if random.chance(30) && !variant.is_cluster() {
        variant.staged()
    } else {
        variant
    }
}

/// An executor and a batch size for each stage.
fn mixed(random: &mut Random, job: &Job) -> Vec<String> {
    let mut settings = Vec::new();
    for stage in &job.stages {
        let mut set = |key: &str, value: &str| {
            settings.push("--set".into());
            settings.push(format!("{}.{key}={value}", stage.name));
        };
        match random.below(4) {
            0 => {
                set("executor", "threads");
                set("workers", random.pick(&["1", "2", "3"]));
            }
            1 => {
                set("executor", "processes");
                set("workers", random.pick(&["1", "2"]));
            }
            _ => {}
        }
        let mut kinds = STAGES.iter().filter(|kind| kind.name == stage.kind);
        if kinds.any(|kind| kind.takes_batch_rows) {
            set("batch_rows", random.pick(&["1", "5", "64", "16384"]));
        }
    }
    settings
}

/// Runs a pipeline sequentially, then in other ways; what differs.
fn check(job: &Job, random: &mut Random, codes: &[i32]) -> Vec<String> {
    let folder = Folder::new("law");
    for (path, bytes) in &job.files {
        folder.write(path, bytes);
    }
    folder.write("pipeline.toml", job.toml());
    if let Some(before) = &job.before {
        folder.write("before.toml", before);
        let outcome = Etl::run(folder.path(), "before.toml", Variant::SEQUENTIAL).outcome();
        if outcome.code != Some(0) {
            return vec![format!("before it:\n{}\n{before}", outcome.stderr)];
        }
    }
    let plain = Way {
        variant: Variant::SEQUENTIAL,
        more: Vec::new(),
    };
    let want = run(&folder, job, &plain);
    let mut faults = faults(&want.outcome);
    if !codes.iter().any(|&code| want.outcome.code == Some(code)) {
        let Outcome { code, stderr, .. } = &want.outcome;
        faults.push(format!("exit {code:?} instead of {codes:?}\n{stderr}"));
        return faults;
    }
    for way in ways(random, job) {
        let got = run(&folder, job, &way);
        let found = self::faults(&got.outcome);
        let found = found.into_iter().chain(differs(job, &want, &got));
        faults.extend(found.map(|fault| format!("{}: {fault}", way.name())));
    }
    faults
}

/// A run and what lies outside after it.
struct Seen {
    outcome: Outcome,
    files: BTreeMap<String, Vec<u8>>,
    /// The documents of the index, in order.
    documents: Vec<String>,
}

fn run(folder: &Folder, job: &Job, way: &Way) -> Seen {
    for left in ["out", "index"] {
        let _ = fs::remove_dir_all(folder.join(left));
    }
    fs::create_dir_all(folder.join("out")).expect("the folder takes another");
    let outcome = Etl::run(folder.path(), "pipeline.toml", way.variant)
        .args(["--digest"])
        .args(&way.more)
        .outcome();
    let documents = match job.index {
        Some(ids) if matches!(outcome.code, Some(0 | 3)) => documents(folder, ids),
        _ => Vec::new(),
    };
    Seen {
        outcome,
        files: files(&folder.join("out")),
        documents,
    }
}

/// All documents of the index, sorted. Ids that the run made up are left out: they name the run.
fn documents(folder: &Folder, ids: bool) -> Vec<String> {
    let search = ["search", "index", "*", "--limit", "100000"];
    let found = Etl::new(folder.path(), &search).outcome();
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    let mut lines: Vec<String> = found
        .stdout
        .lines()
        .map(|line| {
            let hit: Value = serde_json::from_str(line).expect("hits are JSON");
            if ids { hit } else { hit["_source"].clone() }.to_string()
        })
        .collect();
    lines.sort();
    lines
}

/// What must hold of every run: the harness' faults, and that the ledger balances in a failed one too.
fn faults(outcome: &Outcome) -> Vec<String> {
    let mut faults = outcome.faults();
    for stage in outcome.stages() {
        let sum =
            |keys: &[&str]| -> Option<u64> { keys.iter().map(|key| stage[key].as_u64()).sum() };
        let (left, right) = (
            sum(&["rows_in", "added"]),
            sum(&["rows_out", "rejected", "dropped"]),
        );
        if left.is_none() || left != right {
            faults.push(format!("the ledger is off: {stage}"));
        }
        if stage["rejected"] != rejects(outcome, &stage["name"]).len() {
            faults.push(format!("other rejects than in the file: {stage}"));
        }
    }
    faults
}

/// The rejects of one stage.
fn rejects<'a>(outcome: &'a Outcome, stage: &Value) -> Vec<&'a str> {
    let start = format!("{{\"stage\":{stage},");
    let lines = outcome.rejects.lines();
    lines.filter(|line| line.starts_with(&start)).collect()
}

fn differs(job: &Job, want: &Seen, got: &Seen) -> Option<String> {
    let (before, after) = (&want.outcome, &got.outcome);
    if before.code != after.code {
        return Some(format!(
            "exit {:?} instead of {:?}\n{}",
            after.code, before.code, after.stderr
        ));
    }
    let texts = [
        ("stdout", before.stdout.clone(), after.stdout.clone()),
        ("stderr", before.stderr.clone(), after.stderr.clone()),
        (
            "error",
            before.report["error"].to_string(),
            after.report["error"].to_string(),
        ),
        (
            "documents",
            want.documents.join("\n"),
            got.documents.join("\n"),
        ),
    ];
    for (what, want, got) in texts {
        if want != got {
            return Some(format!(
                "{what}: {}",
                difference(want.as_bytes(), got.as_bytes())
            ));
        }
    }
    if !want.files.keys().eq(got.files.keys()) {
        let names = |seen: &Seen| seen.files.keys().cloned().collect::<Vec<_>>().join(", ");
        return Some(format!("files {} instead of {}", names(got), names(want)));
    }
    for ((name, want), got) in want.files.iter().zip(got.files.values()) {
        if want != got {
            return Some(format!("{name}: {}", difference(want, got)));
        }
    }
    if before.code == Some(1) {
        return failed_otherwise(job, before, after);
    }
    if before.rejects != after.rejects {
        let difference = difference(before.rejects.as_bytes(), after.rejects.as_bytes());
        return Some(format!("rejects: {difference}"));
    }
    let pairs = before.stages().iter().zip(after.stages());
    pairs
        .into_iter()
        .find_map(|(want, got)| stage_differs(want, got))
}

/// What a stage's part of the report must have alike.
fn stage_differs(want: &Value, got: &Value) -> Option<String> {
    const ALIKE: [&str; 9] = [
        "name", "rows_in", "added", "rows_out", "rejected", "dropped", "counts", "warnings",
        "digest",
    ];
    let part = |stage: &Value| -> Value {
        let mut stage = stage.clone();
        // How many requests were in flight is how it was run.
        if let Some(counts) = stage["counts"].as_object_mut() {
            counts.remove("concurrency");
        }
        ALIKE
            .map(|key| json!([key, stage[key]]))
            .into_iter()
            .collect()
    };
    let (want, got) = (part(want), part(got));
    (want != got).then(|| format!("report:\n  want {want}\n  got  {got}"))
}

/// How far the others of its stages had come when a run failed is a matter of luck. But what a stage
/// rejected by then is the beginning of what it would have rejected, and stages before the fault did all.
fn failed_otherwise(job: &Job, want: &Outcome, got: &Outcome) -> Option<String> {
    for (before, after) in want.stages().iter().zip(got.stages()) {
        let name = &before["name"];
        let (ours, theirs) = (rejects(want, name), rejects(got, name));
        let common = ours.len().min(theirs.len());
        if ours[..common] != theirs[..common] {
            return Some(format!("rejects of {name}:\n{ours:?}\n{theirs:?}"));
        }
        if job.whole.iter().any(|stage| name == stage) {
            if let Some(fault) = stage_differs(before, after) {
                return Some(fault);
            }
            if ours.len() != theirs.len() {
                return Some(format!(
                    "{} rejects of {name} instead of {}",
                    theirs.len(),
                    ours.len()
                ));
            }
        }
    }
    None
}
