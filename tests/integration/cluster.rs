//! A real Spark cluster, one master and two workers on this machine: the same bytes as without it, whatever is killed.
//! That every data case and every generated pipeline gives the same on a cluster, a stand-in for Spark shows
//! (`tests/cluster/pyspark`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cluster_files::with_large_file;
use crate::harness::{Etl, Folder, Outcome, Running, Variant, files, project, wait_until};

/// A cluster that runs until it is dropped.
struct Cluster {
    master: String,
    python: String,
    /// Closing its input ends it.
    _process: Child,
}

impl Cluster {
    /// `None`: it cannot be started here.
    fn start() -> Option<Cluster> {
        // Cargo's own folder for what tests make: it outlives them, so pyspark is installed once.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("spark");
        let started = Command::new("python3")
            .arg(project().join("tests/cluster/start"))
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut process) = started else {
            return skipped("there is no python3");
        };
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        let _ = BufReader::new(stdout).read_line(&mut line);
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["READY", master, python] = words[..] else {
            let mut said = String::new();
            let mut stderr = process.stderr.take().expect("it is piped");
            let _ = stderr.read_to_string(&mut said);
            return skipped(said.lines().last().unwrap_or_default());
        };
        Some(Cluster {
            master: master.to_owned(),
            python: python.to_owned(),
            _process: process,
        })
    }

    fn run(&self, folder: &Folder) -> Etl {
        let conf = r#"cluster.conf={"spark.driver.host"="127.0.0.1","spark.driver.bindAddress"="127.0.0.1","spark.driver.memory"="512m","spark.executor.memory"="512m","spark.ui.enabled"="false"}"#;
        Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL)
            .args([
                "--digest",
                "--cluster",
                &self.master,
                "--set",
                "cluster.folder=shared",
            ])
            .args([
                "--set",
                &format!("cluster.python={}", self.python),
                "--set",
                conf,
            ])
    }
}

fn skipped<T>(why: &str) -> Option<T> {
    let line = format!("skipped: the cluster's tests: {why}");
    assert!(
        std::env::var_os("ETL_REQUIRE_SERVERS").is_none(),
        "{line}, and ETL_REQUIRE_SERVERS is set"
    );
    // Not `eprintln!`, which is shown for failed tests only.
    let _ = writeln!(std::io::stderr(), "{line}");
    None
}

/// Many files, one of them large and gzipped, with bad rows; a join, groups, an aggregate, an order, several inputs as one,
/// four kinds of file.
const PIPELINE: &str = r#"
max_rejects = -1
[[stage]]
name = "orders"
kind = "load_csv"
files = ["in/orders_*"]
types = { n = "int" }
[[stage]]
name = "names"
kind = "load_csv"
files = ["in/names.csv"]
[[stage]]
name = "joined"
kind = "join"
inputs = ["orders", "names"]
on = ["k"]
[[stage]]
name = "lists"
kind = "group_concat"
inputs = ["joined"]
by = ["k"]
[[stage]]
name = "sums"
kind = "aggregate"
inputs = ["joined"]
by = ["name"]
columns = { rows = "count(*)", n = "sum(n)", d = "avg(n)" }
[[stage]]
name = "sorted"
kind = "sort"
inputs = ["orders"]
by = ["-k", "n"]
[[stage]]
name = "both"
kind = "concat"
inputs = ["sorted", "names", "orders"]
missing = "null"
[[stage]]
name = "write_both"
kind = "write_files"
inputs = ["both"]
path = "out/both.parquet"
[[stage]]
name = "write_all"
kind = "write_files"
inputs = ["joined"]
path = "out/all.ndjson.gz"
[[stage]]
name = "write_lists"
kind = "write_files"
inputs = ["lists"]
path = "out/lists.arrow"
[[stage]]
name = "write_sums"
kind = "write_files"
inputs = ["sums"]
path = "out/sums.csv"
"#;

fn prepared() -> Folder {
    let folder = Folder::new("cluster");
    folder.write("pipeline.toml", PIPELINE);
    fs::create_dir(folder.join("shared")).expect("the folder takes another");
    let names = (0..40).fold("k,name\n".to_owned(), |mut text, k| {
        let _ = writeln!(text, "k{k},name {}", k % 7);
        text
    });
    folder.write("in/names.csv", names);
    for file in 0..5 {
        let rows = if file == 3 { 60_000 } else { 500 };
        let text = (0..rows).fold("k,n\n".to_owned(), |mut text, row| {
            // Some are no numbers, and some have no name.
            let n = if row % 97 == 0 {
                "none".into()
            } else {
                (row * 7).to_string()
            };
            let _ = writeln!(text, "k{},{n}", (row * 31 + file) % 47);
            text
        });
        folder.write(&format!("in/orders_{file}.csv"), text);
    }
    let gzipped = Command::new("gzip")
        .arg(folder.join("in/orders_3.csv"))
        .status();
    assert!(gzipped.is_ok_and(|status| status.success()));
    folder
}

/// The files that were published, each as its length and the hash of its bytes. What a killed run had begun is none.
fn out(folder: &Folder) -> BTreeMap<String, (usize, u64)> {
    let mut files = files(&folder.join("out"));
    files.retain(|name, _| Path::new(name).extension().is_none_or(|end| end != "part"));
    let files = files.into_iter();
    let hashed = files.map(|(name, bytes)| {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        (name, (bytes.len(), hasher.finish()))
    });
    hashed.collect()
}

/// Everything of a run that must not depend on where it ran.
fn seen(outcome: &Outcome) -> (Option<i32>, Value, u64) {
    let stages = outcome.stages().iter().map(|stage| {
        let keys = [
            "name", "rows_in", "added", "rows_out", "rejected", "dropped", "digest", "counts",
        ];
        keys.map(|key| stage[key].clone())
    });
    let stages = stages.collect::<Vec<_>>().concat().into();
    let mut hasher = DefaultHasher::new();
    outcome.rejects.hash(&mut hasher);
    (outcome.code, stages, hasher.finish())
}

/// The processes of the cluster whose command line holds all of these words.
fn processes(words: &[&str]) -> Vec<Pid> {
    let own = env!("CARGO_TARGET_TMPDIR");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| {
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let is_one = command.contains(own) && words.iter().all(|word| command.contains(word));
        let pid = entry.file_name().to_str()?.parse().ok()?;
        is_one.then(|| Pid::from_raw(pid))
    };
    entries.filter_map(of).collect()
}

/// Kills one of these processes as soon as there is one; whether there was one before the run ended.
fn kill_one(words: &[&str], running: &mut Running) -> bool {
    let mut killed = false;
    wait_until("a process to kill", || {
        killed = processes(words)
            .first()
            .is_some_and(|pid| kill(*pid, Signal::SIGKILL).is_ok());
        killed
            || running
                .child
                .try_wait()
                .is_ok_and(|status| status.is_some())
    });
    killed
}

/// No task, driver or folder of a run is left.
fn nothing_is_left(folder: &Folder) {
    wait_until("the end of all tasks", || {
        processes(&["/etl", "task"]).is_empty() && processes(&["cluster.py"]).is_empty()
    });
    let shared = fs::read_dir(folder.join("shared")).into_iter().flatten();
    assert_eq!(shared.count(), 0, "the run's folder is left");
}

#[test]
fn a_cluster_gives_the_same_bytes_whatever_is_killed() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let folder = prepared();
    let alone = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL)
        .args(["--digest"])
        .outcome();
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    let (expected, published) = (seen(&alone), out(&folder));
    assert!(alone.rejects.lines().count() > 600);

    let outcome = cluster.run(&folder).outcome();
    assert_eq!(seen(&outcome), expected, "{}", outcome.stderr);
    assert_eq!(out(&folder), published);
    for name in ["orders", "sorted", "both", "write_both"] {
        assert_eq!(outcome.stage(name)["executor"], "cluster", "{name}");
    }
    nothing_is_left(&folder);

    // Tasks ask for the rows that they join.
    let asking = ["--set", "cluster.broadcast_max=0"];
    let outcome = cluster.run(&folder).args(asking).outcome();
    assert_eq!(seen(&outcome), expected, "{}", outcome.stderr);
    assert_eq!(out(&folder), published);
    nothing_is_left(&folder);

    // What one task reads of a large file others work on.
    let large = with_large_file(&[10, 3_600]);
    let alone = Etl::run(large.path(), "pipeline.toml", Variant::SEQUENTIAL)
        .args(["--digest"])
        .outcome();
    let written = out(&large);
    let outcome = cluster.run(&large).outcome();
    assert_eq!(seen(&outcome), seen(&alone), "{}", outcome.stderr);
    assert_eq!(out(&large), written);
    assert_eq!(outcome.stage("load")["processes"], 4);
    nothing_is_left(&large);

    // What dies below Spark, Spark does again.
    for victim in [
        &["/etl", "task"][..],
        &["pyspark.daemon"],
        &["CoarseGrainedExecutorBackend"],
    ] {
        let mut running = cluster.run(&folder).start();
        let killed = kill_one(victim, &mut running);
        let outcome = running.outcome();
        assert!(killed, "no {victim:?}: {}", outcome.stderr);
        assert_eq!(seen(&outcome), expected, "{victim:?}: {}", outcome.stderr);
        assert_eq!(out(&folder), published, "{victim:?}");
        nothing_is_left(&folder);
    }

    // Without its driver a run fails, and leaves everything as it was.
    let mut running = cluster.run(&folder).start();
    assert!(kill_one(&["/etl", "task"], &mut running));
    for pid in children(running.child.id()) {
        // One that has ended is gone.
        let _ = kill(pid, Signal::SIGKILL);
    }
    let outcome = running.outcome();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("the cluster's driver"),
        "{}",
        outcome.stderr
    );
    assert_eq!(out(&folder), published);
    nothing_is_left(&folder);

    // A run that is killed leaves its folder, and the next run removes it.
    let mut running = cluster.run(&folder).start();
    assert!(kill_one(&["/etl", "task"], &mut running));
    running.child.kill().expect("it runs");
    drop(running.outcome());
    wait_until("the end of all tasks", || {
        processes(&["/etl", "task"]).is_empty()
    });
    assert_eq!(out(&folder), published);

    // A row that ends the run is the same row.
    let failing = ["--set", "orders.on_error=fail"];
    let alone = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL)
        .args(failing)
        .outcome();
    let outcome = cluster.run(&folder).args(failing).outcome();
    assert_eq!((outcome.code, &outcome.stderr), (Some(1), &alone.stderr));
    nothing_is_left(&folder);
}

/// The processes that a process has started.
fn children(of: u32) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let child = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The state and the parent stand after the name, which is in parentheses.
        let (_, rest) = stat.rsplit_once(')')?;
        let parent: u32 = rest.split_whitespace().nth(1)?.parse().ok()?;
        (parent == of).then(|| Pid::from_raw(pid))
    };
    entries.filter_map(child).collect()
}
