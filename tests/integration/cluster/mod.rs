//! A real Spark cluster, one master and two workers on this machine: the same bytes as without it, whatever is killed.
//! That every data case and every generated pipeline gives the same on a cluster, a stand-in for Spark shows
//! (`tests/cluster/pyspark`).

mod messages;

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

use crate::harness::{Etl, Folder, Outcome, Running, Variant, files, project, wait_until};
use crate::server::{Product, Server};

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

    /// A run on it; `more` is more of what is handed to Spark.
    fn run(&self, folder: &Folder, more: &[(&str, &str)]) -> Etl {
        self.run_of("pipeline.toml", folder, more)
    }

    fn run_of(&self, pipeline: &str, folder: &Folder, more: &[(&str, &str)]) -> Etl {
        let conf = CONF.iter().chain(more);
        let conf: Vec<String> = conf
            .map(|(key, value)| format!("{key:?} = {value:?}"))
            .collect();
        let set = [
            "cluster.folder=shared".to_owned(),
            format!("cluster.python={}", self.python),
            format!("cluster.conf={{ {} }}", conf.join(", ")),
        ];
        Etl::run(folder.path(), pipeline, Variant::SEQUENTIAL)
            .args(["--digest", "--cluster", &self.master])
            .args(set.iter().flat_map(|value| ["--set", value]))
            .env("TMPDIR", folder.join("tmp"))
    }
}

/// Java that starts soon and takes little.
const JAVA: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC";
const CONF: [(&str, &str); 7] = [
    ("spark.driver.host", "127.0.0.1"),
    ("spark.driver.bindAddress", "127.0.0.1"),
    ("spark.driver.memory", "512m"),
    ("spark.executor.memory", "512m"),
    ("spark.ui.enabled", "false"),
    ("spark.driver.extraJavaOptions", JAVA),
    ("spark.executor.extraJavaOptions", JAVA),
];

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
    for name in ["shared", "tmp"] {
        fs::create_dir(folder.join(name)).expect("the folder takes another");
    }
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

/// What the command lines of tasks hold.
const TASK: &[&str] = &["/etl task"];

/// The processes of the cluster whose command line holds all of these words.
fn processes(words: &[&str]) -> Vec<Pid> {
    let own = env!("CARGO_TARGET_TMPDIR");
    let is_one = |pid: &Pid| {
        let command = command(*pid).unwrap_or_default();
        command.contains(own) && words.iter().all(|word| command.contains(word))
    };
    all_processes().filter(is_one).collect()
}

fn all_processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

fn command(pid: Pid) -> Option<String> {
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&command).replace('\0', " "))
}

/// Who has started a process.
fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The state and the parent stand after the name, which is in parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
    Some(Pid::from_raw(parent))
}

fn pid_of(running: &Running) -> Pid {
    Pid::from_raw(running.child.id().try_into().expect("it is a process's"))
}

fn has_ended(running: &mut Running) -> bool {
    let status = running.child.try_wait();
    status.is_ok_and(|status| status.is_some())
}

/// Kills the process with this word in its command line that a task runs below, or the task itself, as soon as there is
/// one; whether there was one before the run ended.
fn kill_at_work(word: &str, running: &mut Running) -> bool {
    let mut killed = false;
    wait_until("a process to kill", || {
        let below = |task: Pid| std::iter::successors(Some(task), |pid| parent(*pid));
        let mut chain = processes(TASK).into_iter().flat_map(below);
        let victim = chain.find(|pid| command(*pid).is_some_and(|line| line.contains(word)));
        killed = victim.is_some_and(|pid| kill(pid, Signal::SIGKILL).is_ok());
        killed || has_ended(running)
    });
    killed
}

/// No task, driver or file of a run is left, but for what was published.
fn nothing_is_left(folder: &Folder) {
    wait_until("the end of all tasks", || {
        processes(TASK).is_empty() && processes(&["cluster.py"]).is_empty()
    });
    for name in ["shared", "tmp"] {
        let left = fs::read_dir(folder.join(name)).into_iter().flatten();
        let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
        assert!(left.is_empty(), "{left:?} is left in `{name}`");
    }
}

/// The orders as documents.
const INTO_SERVER: &str = r#"
max_rejects = -1
[[stage]]
name = "orders"
kind = "load_csv"
files = ["in/orders_*"]
types = { n = "int" }
[[stage]]
name = "send"
kind = "bulk_index"
inputs = ["orders"]
to = "URL"
index = "INDEX"
load = "replace"
batch_docs = 100
"#;
/// The job that sends them.
const SENDING: &str = "f1-0";

/// The jobs that read the orders, that follow, and that make the lists.
const READING: &str = "f0-0";
const NEXT: &str = "f1-0";
const EXCHANGING: &str = "f9-0";

/// A cluster, a pipeline, and what it gives on this machine alone.
struct Trial {
    cluster: Cluster,
    folder: Folder,
    seen: (Option<i32>, Value, u64),
    published: BTreeMap<String, (usize, u64)>,
}

impl Trial {
    fn new(cluster: Cluster) -> Trial {
        let folder = prepared();
        let alone = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL)
            .args(["--digest"])
            .outcome();
        assert_eq!(alone.code, Some(0), "{}", alone.stderr);
        assert!(alone.rejects.lines().count() > 600);
        Trial {
            seen: seen(&alone),
            published: out(&folder),
            cluster,
            folder,
        }
    }

    fn run(&self) -> Etl {
        self.cluster.run(&self.folder, &[])
    }

    /// Whether a job has begun: it has a folder then.
    fn has_begun(&self, job: &str) -> bool {
        let runs = fs::read_dir(self.folder.join("shared"));
        let mut runs = runs.into_iter().flatten().flatten();
        runs.any(|run| run.path().join(job).exists())
    }

    /// The run has given what it gives on this machine.
    fn is_same(&self, outcome: &Outcome) {
        assert_eq!(seen(outcome), self.seen, "{}", outcome.stderr);
        assert_eq!(out(&self.folder), self.published);
        nothing_is_left(&self.folder);
    }

    /// The run has failed, says so, and has changed nothing.
    fn has_failed(&self, outcome: &Outcome, code: i32, words: &[&str]) {
        assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
        for words in words {
            assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
        }
        assert!(!outcome.stderr.contains("\tat "), "{}", outcome.stderr);
        assert_eq!(out(&self.folder), self.published);
        nothing_is_left(&self.folder);
    }
}

/// One cluster serves all: it takes longer to start than the runs take.
#[test]
fn a_cluster_gives_the_same_bytes_whatever_is_killed() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let trial = Trial::new(cluster);

    let outcome = trial.run().outcome();
    trial.is_same(&outcome);
    for name in ["orders", "sorted", "both", "write_both"] {
        assert_eq!(outcome.stage(name)["executor"], "cluster", "{name}");
    }

    // Tasks ask for the rows that they join.
    let asking = ["--set", "cluster.broadcast_max=0"];
    trial.is_same(&trial.run().args(asking).outcome());

    what_dies_below_spark_is_done_again(&trial);
    what_dies_while_it_sends_is_sent_again(&trial);
    a_task_that_always_dies_ends_the_run(&trial);
    a_signal_ends_everything(&trial);
    without_its_driver_a_run_fails(&trial);
    a_killed_run_is_cleared_by_the_next(&trial);
    lost_workers_are_done_without(&trial);
}

/// A task, the Python that started one, the executor that started that.
fn what_dies_below_spark_is_done_again(trial: &Trial) {
    let mut running = trial.run().start();
    for victim in ["task", "pyspark.daemon", "CoarseGrainedExecutorBackend"] {
        assert!(kill_at_work(victim, &mut running), "no {victim}");
    }
    let outcome = running.outcome();
    trial.is_same(&outcome);
    let lost = &outcome.report["cluster"]["lost_executors"];
    assert!(lost.as_u64() >= Some(1), "{lost}");
}

/// Documents without ids of their own, into a real server: there once each, though a task is killed that sends them.
fn what_dies_while_it_sends_is_sent_again(trial: &Trial) {
    let Some(server) = Server::shared(Product::OpenSearch) else {
        return;
    };
    let pipeline = |index: &str| {
        let text = INTO_SERVER
            .replace("URL", &server.url)
            .replace("INDEX", index);
        trial.folder.write("into_server.toml", text);
    };
    let documents = |index: &str| {
        let documents = server.documents(index).into_values();
        let mut documents: Vec<String> = documents.map(|document| document.to_string()).collect();
        documents.sort_unstable();
        documents
    };
    pipeline("alone");
    let alone = Etl::run(trial.folder.path(), "into_server.toml", Variant::SEQUENTIAL);
    assert_eq!(alone.outcome().code, Some(0));
    pipeline("clustered");
    let run = trial.cluster.run_of("into_server.toml", &trial.folder, &[]);
    let mut running = run.start();
    wait_until("documents in the new index", || {
        trial.has_begun(SENDING) && server.count("clustered-*") > 0 || has_ended(&mut running)
    });
    assert!(kill_at_work("/etl task", &mut running));
    let outcome = running.outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let counts = &outcome.stage("send")["counts"];
    assert!(counts["confirmed"].as_u64() > Some(0), "{counts}");
    assert_eq!(outcome.stage("send")["executor"], "cluster");
    assert!(documents("clustered") == documents("alone"));
    nothing_is_left(&trial.folder);
}

fn a_task_that_always_dies_ends_the_run(trial: &Trial) {
    let twice = [("spark.task.maxFailures", "2")];
    let mut running = trial.cluster.run(&trial.folder, &twice).start();
    wait_until("the end of the run", || {
        for pid in processes(TASK) {
            // One that has ended is gone.
            let _ = kill(pid, Signal::SIGKILL);
        }
        has_ended(&mut running)
    });
    let words = [
        "failed 2 times, the last time on",
        "killed by signal 9",
        "cluster.log`",
    ];
    trial.has_failed(&running.outcome(), 1, &words);
}

/// In the middle of reading, and as the last job begins, which exchanges its rows.
fn a_signal_ends_everything(trial: &Trial) {
    for (signal, code, job, next) in [
        (Signal::SIGINT, 130, READING, NEXT),
        (Signal::SIGTERM, 143, EXCHANGING, EXCHANGING),
    ] {
        let mut running = trial.run().start();
        wait_until("a task of the job", || {
            // It may have been too short to be seen.
            let is_seen = || !processes(TASK).is_empty() || trial.has_begun(next);
            trial.has_begun(job) && is_seen() || has_ended(&mut running)
        });
        kill(pid_of(&running), signal).expect("it runs");
        trial.has_failed(&running.outcome(), code, &[]);
    }
}

fn without_its_driver_a_run_fails(trial: &Trial) {
    let mut running = trial.run().start();
    wait_until("the job", || {
        trial.has_begun(READING) || has_ended(&mut running)
    });
    let etl = pid_of(&running);
    for pid in all_processes().filter(|pid| parent(*pid) == Some(etl)) {
        // One that has ended is gone.
        let _ = kill(pid, Signal::SIGKILL);
    }
    trial.has_failed(&running.outcome(), 1, &["the cluster's driver"]);
    // Spark's own Python says that there is no Java.
    let outcome = trial.run().env("JAVA_HOME", "/none").outcome();
    let words = ["/none/bin/java", "Spark 4 needs Java 17", "cluster.log`"];
    trial.has_failed(&outcome, 1, &words);
}

/// It leaves its folders, and the next run removes them. This one ends with a row, the same as on this machine.
fn a_killed_run_is_cleared_by_the_next(trial: &Trial) {
    let mut running = trial.run().start();
    wait_until("the job", || {
        trial.has_begun(READING) || has_ended(&mut running)
    });
    running.child.kill().expect("it runs");
    drop(running.outcome());
    for left in ["shared", "tmp"] {
        let left = fs::read_dir(trial.folder.join(left)).expect("it is there");
        assert_eq!(left.count(), 1);
    }
    wait_until("the end of all tasks", || processes(TASK).is_empty());
    assert_eq!(out(&trial.folder), trial.published);

    let failing = ["--set", "orders.on_error=fail"];
    let alone = Etl::run(trial.folder.path(), "pipeline.toml", Variant::SEQUENTIAL)
        .args(failing)
        .outcome();
    let outcome = trial.run().args(failing).outcome();
    trial.has_failed(&outcome, 1, &[]);
    assert_eq!(outcome.stderr, alone.stderr);
}

/// One worker does what two did. Without any a run ends: this trial is the last.
fn lost_workers_are_done_without(trial: &Trial) {
    let mut running = trial.run().start();
    assert!(kill_at_work("worker.Worker", &mut running));
    let outcome = running.outcome();
    trial.is_same(&outcome);
    let lost = &outcome.report["cluster"]["lost_executors"];
    assert!(lost.as_u64() >= Some(1), "{lost}");

    let waits = ["--set", "cluster.executors_wait_s=2"];
    for pid in processes(&["worker.Worker"]) {
        kill(pid, Signal::SIGKILL).expect("it runs");
    }
    let outcome = trial.run().args(waits).outcome();
    let words = [
        "had no executor for 2 seconds",
        "`executors_wait_s`",
        "cluster.log`",
    ];
    trial.has_failed(&outcome, 1, &words);
}
