//! Loads into search servers: no document is lost, none is there twice, and what is said of them adds up.
//! What a real server cannot be made to do on demand is done by a scripted one, in this process.

mod answers;
mod cluster;
mod compare;
mod faults;
mod limits;
mod ops;
mod order;
mod races;
mod real;
mod real_faults;
mod rejects;
mod replace;
mod resume;
mod search;
mod stops;
mod types;
mod urls;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{ETL, Etl, Folder, Outcome, Running, Variant};
use crate::scripted::Record;

/// The index, or alias, that all these pipelines load.
const INDEX: &str = "things";

/// The stage that loads it.
const STAGE: &str = "index";

/// What every load here is told, unless a test says otherwise: small requests, and short waits.
const DEFAULTS: [(&str, &str); 7] = [
    ("index", "\"things\""),
    ("id", "\"id\""),
    ("batch_docs", "20"),
    ("retries", "30"),
    ("retry_delay_ms", "1"),
    ("retry_delay_ms_max", "20"),
    ("wait_for_replicas_s", "0"),
];

/// What `id` is set to where there is to be none.
const NONE: &str = "";

/// A row of the input, and a document of the index.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: String,
    n: i64,
    text: String,
}

impl Row {
    fn document(&self) -> Value {
        json!({ "id": self.id, "n": self.n, "text": self.text })
    }
}

/// Rows with ids of their own: `d0`, `d1`, ...
fn rows(count: i64) -> Vec<Row> {
    let row = |n| Row {
        id: format!("d{n}"),
        n,
        text: format!("the text of {n}, \"quoted\" é"),
    };
    (0..count).map(row).collect()
}

/// What an index holds that took these rows one after the other.
fn documents(rows: &[Row]) -> BTreeMap<String, Value> {
    rows.iter()
        .map(|row| (row.id.clone(), row.document()))
        .collect()
}

/// All but one document.
fn without(rows: &[Row], id: &str) -> BTreeMap<String, Value> {
    let mut documents = documents(rows);
    documents.remove(id);
    documents
}

/// A folder with rows, and a pipeline that loads them.
struct Job {
    folder: Folder,
    max_rejects: i64,
    options: BTreeMap<String, String>,
}

impl Job {
    /// Into the servers at `to`, with these options (as TOML) beside the defaults.
    fn new(to: &[&str], rows: &[Row], options: &[(&str, &str)]) -> Job {
        let mut job = Job {
            folder: Folder::new("elastic"),
            max_rejects: 0,
            options: DEFAULTS.map(own).into(),
        };
        let to = toml::Value::from(to.to_vec()).to_string();
        job.options.insert("to".into(), to);
        job.put_rows(rows);
        job.set(options);
        job
    }

    /// Changes options, and writes the pipeline.
    fn set(&mut self, options: &[(&str, &str)]) {
        self.options.extend(options.iter().copied().map(own));
        let mut text = format!(
            "max_rejects = {}\n\n\
             [[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [\"rows.csv\"]\n\
             types = {{ n = \"int\" }}\n\n\
             [[stage]]\nname = \"index\"\nkind = \"bulk_index\"\ninputs = [\"load\"]\n",
            self.max_rejects
        );
        let given = self.options.iter().filter(|(_, value)| *value != NONE);
        given.for_each(|(name, value)| {
            writeln!(text, "{name} = {value}").expect("memory takes all");
        });
        self.folder.write("pipeline.toml", text);
    }

    /// Any number of rejects is fine.
    fn allow_rejects(mut self) -> Job {
        self.max_rejects = -1;
        self.set(&[]);
        self
    }

    fn put_rows(&self, rows: &[Row]) {
        let mut text = "id,n,text\n".to_owned();
        for Row { id, n, text: words } in rows {
            let words = words.replace('"', "\"\"");
            writeln!(text, "{id},{n},\"{words}\"").expect("memory takes all");
        }
        self.folder.write("rows.csv", text);
    }

    fn start(&self, variant: Variant) -> Running {
        Etl::run(self.folder.path(), "pipeline.toml", variant).start()
    }

    fn run(&self, variant: Variant) -> Outcome {
        self.run_with(variant, &[])
    }

    fn run_with(&self, variant: Variant, arguments: &[&str]) -> Outcome {
        let run = Etl::run(self.folder.path(), "pipeline.toml", variant);
        run.args(arguments.iter().copied()).outcome()
    }

    /// Another run beside those that the folder has seen, with these arguments.
    fn run_again(&self, variant: Variant, arguments: &[&str]) -> Running {
        // What is found afterwards is to be of this run.
        let _ = fs::remove_file(self.folder.join("state/report.json"));
        self.command("run", "pipeline.toml")
            .args(["--report", "state/report.json"])
            .executed(variant)
            .args(arguments)
            .start()
    }

    fn resume(&self, variant: Variant) -> Outcome {
        self.run_again(variant, &["--resume"]).outcome()
    }

    fn rollback(&self, arguments: &[&str]) -> Outcome {
        let rollback = ["rollback", "pipeline.toml", "--state", "state"];
        Etl::new(self.folder.path(), &rollback)
            .args(arguments)
            .outcome()
    }

    /// Sends again what a run rejected.
    fn replay(&self, run: &str, arguments: &[&str]) -> Outcome {
        let _ = fs::remove_file(self.folder.join("state/report.json"));
        self.command("replay", run)
            .args(["--report", "state/report.json"])
            .args(arguments)
            .outcome()
    }

    fn command(&self, command: &str, about: &str) -> Etl {
        let arguments = [command, about, "--quiet", "--state", "state"];
        Etl::of(Command::new(ETL), self.folder.path(), &arguments).args(["--color", "never"])
    }

    /// The folders of the runs so far, oldest first.
    fn runs(&self) -> Vec<PathBuf> {
        let runs = fs::read_dir(self.folder.join("state/runs"));
        let mut runs: Vec<PathBuf> = runs
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("it can be read").path())
            .collect();
        runs.sort();
        runs
    }
}

fn own((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The run's id.
fn run_id(outcome: &Outcome) -> &str {
    outcome.report["run"].as_str().expect("there is a report")
}

/// A count of the load; what is not counted is 0.
fn count(outcome: &Outcome, name: &str) -> u64 {
    let counts = &outcome.stage(STAGE)["counts"];
    assert!(counts.is_object(), "there is a report: {}", outcome.stderr);
    counts[name].as_u64().unwrap_or_default()
}

fn counts<const N: usize>(outcome: &Outcome, names: [&str; N]) -> [u64; N] {
    names.map(|name| count(outcome, name))
}

/// The warnings of the load, a line each.
fn warnings(outcome: &Outcome) -> String {
    let warnings = outcome.stage(STAGE)["warnings"].as_array();
    let warnings = warnings.into_iter().flatten();
    let lines = warnings.map(|warning| warning.as_str().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The run ended so, and every row of `rows` is accounted for, by what became of it.
#[track_caller]
fn assert_ended(outcome: &Outcome, code: i32, rows: usize, about: impl std::fmt::Display) {
    assert_eq!(outcome.code, Some(code), "{about}: {}", outcome.stderr);
    assert_eq!(outcome.faults(), Vec::<String>::new(), "{about}");
    if !matches!(code, 0 | 3) {
        return;
    }
    let stage = outcome.stage(STAGE);
    let of = |name: &str| stage[name].as_u64().expect("the report says so");
    let sum = |names: &[&str]| names.iter().map(|name| count(outcome, name)).sum::<u64>();
    assert_eq!(of("rows_in"), rows as u64, "{about}: {stage}");
    let there = [
        "created",
        "updated",
        "unchanged",
        "deleted",
        "confirmed",
        "elsewhere",
    ];
    assert_eq!(sum(&there), of("rows_out"), "{about}: {stage}");
    let left = ["not_found", "dropped", "conflicts"];
    assert_eq!(sum(&left), of("dropped"), "{about}: {stage}");
}

/// The run failed, saying so.
#[track_caller]
fn assert_failed(outcome: &Outcome, words: &[&str], about: impl std::fmt::Display) {
    assert_ended(outcome, 1, 0, &about);
    for word in words {
        let said = &outcome.stderr;
        assert!(said.contains(word), "{about}: no `{word}` in: {said}");
    }
}

/// Of each id one sending was answered for good, the last one, and those before it were refused for the
/// moment, lost, or part of a request that was halved for one of `halved`. So what was sent is the items,
/// the refused, and those of requests that failed whole; and the report says how many that are.
#[track_caller]
fn assert_sent_as_needed(
    record: &Record,
    outcome: &Outcome,
    halved: &[u16],
    about: impl std::fmt::Display,
) {
    let mut sent = 0;
    for (id, answers) in &record.answers {
        sent += answers.len() as u64;
        let (last, before) = answers.split_last().expect("it was sent");
        let needed = |answer: &Option<u16>| match answer {
            None | Some(408 | 429 | 500 | 502 | 503 | 504) => true,
            Some(status) => halved.contains(status),
        };
        assert!(before.iter().all(needed), "{about}: `{id}`: {answers:?}");
        assert!(last.is_some(), "{about}: `{id}`: {answers:?}");
    }
    let again = sent - record.answers.len() as u64;
    assert_eq!(
        counts(outcome, ["sent", "sent_again"]),
        [sent, again],
        "{about}"
    );
}

/// The rejects, a line each.
fn rejects(outcome: &Outcome) -> Vec<Value> {
    let lines = outcome.rejects.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("rejects are JSON"))
        .collect()
}
