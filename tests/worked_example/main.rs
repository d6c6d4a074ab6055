//! The worked example of CONTRIBUTING.md, run under every executor: `stage/require.rs` is the file of a new
//! kind, word for word as it would stand in `src/stage`, and [`kinds`] the registry with its line.
//!
//! Worker processes are the program that started them, so this program has a `main` of its own: as `worker` it
//! serves, otherwise it is the test.

pub use etl::{batch, columns, error, schema};

/// What `src/stage/mod.rs` is to the crate.
pub mod stage {
    pub use etl::stage::*;

    pub mod require;
}

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use etl::executor::processes::{self, Workers};
use etl::pipeline::{self, Overrides};
use etl::run::{self, Options};
use etl::stage::{STAGES, StageKind};
use etl::state::loaded::LoadedFiles;
use etl::stop::Stop;

const TEST: &str = "the_worked_example_runs_under_every_executor";

const PIPELINE: &str = r#"
max_rejects = -1

[[stage]]
name = "orders"
kind = "load_csv"
files = ["orders.csv"]

[[stage]]
name = "complete"
kind = "require"
inputs = ["orders"]
columns = ["customer", "amount"]

[[stage]]
name = "write"
kind = "write_files"
inputs = ["complete"]
path = "complete.csv"
"#;

/// Each order is complete but for every third, which lacks its amount, and every fifth, which lacks its customer.
const ORDERS: usize = 40;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["worker"] {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        let stdout = File::from(stdout.expect("standard output is a pipe"));
        processes::work(&kinds(), io::stdin().lock(), stdout).expect("the parent speaks to it");
        return;
    }
    let mut filters = arguments.iter().filter(|word| !word.starts_with('-'));
    let wanted = filters.clone().next().is_none() || filters.any(|word| TEST.contains(word));
    if wanted && !arguments.iter().any(|word| word == "--list") {
        the_worked_example_runs_under_every_executor();
        println!("test {TEST} ... ok");
    }
}

/// The registry, with one line more.
fn kinds() -> Vec<&'static StageKind> {
    [STAGES, &[&stage::require::KIND]].concat()
}

fn the_worked_example_runs_under_every_executor() {
    let folder = std::env::temp_dir().join(format!("etl-worked-example-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("the folder can be made");
    let (orders, complete) = orders();
    fs::write(folder.join("orders.csv"), orders).expect("the folder takes a file");
    let rejected = ORDERS + 1 - complete.lines().count();

    let mut first = None;
    for executor in ["sequential", "threads", "processes", "hybrid"] {
        for rows in [1, 3, 1000] {
            let (written, rejects) = run_under(&folder, executor, rows);
            assert_eq!(written, complete, "{executor}, {rows} rows a batch");
            assert_eq!(
                rejects.lines().count(),
                rejected,
                "{executor}, {rows} rows a batch"
            );
            assert!(
                rejects.contains("\"reason\":\"a value is required\""),
                "{rejects}"
            );
            let first = first.get_or_insert_with(|| rejects.clone());
            assert_eq!(first, &rejects, "{executor}, {rows} rows a batch");
        }
    }
    fs::remove_dir_all(&folder).expect("it was made");
}

/// The orders, and those of them that are complete.
fn orders() -> (String, String) {
    let header = "number,customer,amount\n";
    let (mut all, mut complete) = (header.to_owned(), header.to_owned());
    for number in 1..=ORDERS {
        let amount = if number % 3 == 0 { "" } else { "2.50" };
        let customer = if number % 5 == 0 { "" } else { "Ada" };
        let line = format!("{number},{customer},{amount}\n");
        all.push_str(&line);
        if !amount.is_empty() && !customer.is_empty() {
            complete.push_str(&line);
        }
    }
    (all, complete)
}

/// What a run writes, and what it rejects.
fn run_under(folder: &Path, executor: &str, rows: usize) -> (String, String) {
    let overrides = Overrides {
        sets: vec![
            format!("*.executor={executor}"),
            format!("*.batch_rows={rows}"),
        ],
        ..Overrides::default()
    };
    let file = folder.join("pipeline.toml");
    let environment = |_: &str| None;
    let pipeline = pipeline::decode(&kinds(), &file, PIPELINE, &overrides, &environment)
        .expect("the pipeline decodes");
    let options = Options {
        staged: false,
        digest: false,
        state: folder.join("state"),
        command: None,
        resume: None,
        loaded_files: LoadedFiles::Ignore,
        cluster: None,
        stop: Stop::default(),
        workers: Arc::new(Workers::this_program()),
    };
    let (report, error) = run::run(&pipeline, &options, &run::watch(&pipeline));
    assert!(
        error.is_none(),
        "{executor}: {}",
        error.expect("there is one").render()
    );
    let rejects: PathBuf = folder
        .join("state/runs")
        .join(&report.run)
        .join("rejects.ndjson");
    (
        fs::read_to_string(folder.join("complete.csv")).expect("it was published"),
        fs::read_to_string(rejects).expect("rows were rejected"),
    )
}
