//! `etl tune`: how a stage is run best on this machine.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Color, SetArgs, TellArgs, output, positive};
use crate::bench::tune::write::Change;
use crate::bench::tune::{self, Outcome, Request, chart, write};
use crate::error::{Error, Result};
use crate::executor::Kind;
use crate::pipeline;
use crate::stop::Stop;

/// A stage is to be measured in less time than it takes to make coffee; more than this is a slip of the pen.
const BUDGET_S_MAX: u64 = 24 * 3600;

/// Find the executor, workers and batch with which a stage runs best on this machine
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  etl tune donors.toml                    the stage that takes longest
  etl tune donors.toml --stage documents --write
  etl tune donors.toml --stage write --executor threads,processes --workers 1,2,4 --rows 10000")]
pub struct TuneArgs {
    /// The pipeline file (TOML)
    #[arg(value_name = "PIPELINE")]
    pub file: PathBuf,
    /// The stage; if absent, the one that takes longest
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<String>,
    /// Try these only: threads, processes, hybrid
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        hide_possible_values = true
    )]
    pub executor: Vec<Executor>,
    /// Try all these numbers of workers; if absent, doubled while that gains
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = positive)]
    pub workers: Vec<usize>,
    /// Try all these batches; if absent, doubled or halved while that gains
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = positive)]
    pub batch: Vec<usize>,
    /// On the first N rows of its input (of several, a curve for each)
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = positive)]
    pub rows: Vec<usize>,
    /// End within so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=BUDGET_S_MAX))]
    pub budget: u64,
    /// Put the knee into the pipeline file
    #[arg(long)]
    pub write: bool,
    /// What is changed in the pipeline.
    #[command(flatten)]
    pub set: SetArgs,
    /// Where its results are printed.
    #[command(flatten)]
    pub tell: TellArgs,
}

/// An executor that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Executor {
    /// One worker.
    Sequential,
    /// Threads.
    Threads,
    /// Child processes.
    Processes,
    /// Two child processes of several threads each.
    Hybrid,
}

/// Tunes, shows, writes.
pub fn run(args: &TuneArgs, color: Color) -> Result<ExitCode> {
    let pipeline = pipeline::load(&args.file, &args.set.overrides())?;
    let mut say = |line: &str| {
        if !args.tell.quiet {
            output::print_lines(line, color);
        }
    };
    let stop = Stop::on_signals()?;
    let outcomes = tune::tune(
        &pipeline,
        &args.request(),
        &args.tell.state,
        &stop,
        &mut say,
    )?;
    // The one on most rows is nearest to a real run.
    let outcome = outcomes
        .iter()
        .max_by_key(|outcome| outcome.rows)
        .ok_or_else(|| Error::failed("nothing was measured"))?;
    let lines = if args.write && is_shown(outcome) {
        Some(write_knee(args, outcome)?)
    } else {
        None
    };
    if args.write && lines.is_none() {
        output::print_warning(
            "nothing was written: what the file says now was not measured, so that nothing shows that it is slower; a longer `--budget` may show it",
            color,
        );
    }
    let curves: Vec<_> = outcomes.iter().map(chart::as_json).collect();
    let report = json!({
        "pipeline": pipeline.name,
        "pipeline_file": pipeline.file.display().to_string(),
        "machine": crate::report::Machine::this(),
        "curves": curves,
        "written": lines,
    });
    if let Some(path) = &args.tell.report {
        std::fs::write(path, format!("{report:#}\n"))
            .map_err(|error| Error::io("write the report", path.display(), &error))?;
    }
    if args.tell.json {
        output::print_json(&report)?;
    } else if !args.tell.quiet {
        let mut text: Vec<String> = outcomes.iter().map(chart::render).collect();
        text.extend(lines.map(|lines| results(args, &lines)));
        output::print(&text.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl TuneArgs {
    fn request(&self) -> Request {
        let kind = |executor: &Executor| match executor {
            Executor::Sequential => Kind::Sequential,
            Executor::Threads => Kind::Threads,
            Executor::Processes => Kind::Processes,
            Executor::Hybrid => Kind::Hybrid,
        };
        Request {
            stage: self.stage.clone(),
            executors: self.executor.iter().map(kind).collect(),
            workers: self.workers.clone(),
            batches: self.batch.clone(),
            rows: self.rows.clone(),
            budget: Duration::from_secs(self.budget),
        }
    }
}

/// Whether the file's own setting is not given up for one worker unseen.
fn is_shown(outcome: &Outcome) -> bool {
    let points = &outcome.curve.points;
    let knee = points[outcome.curve.knee()].setting;
    knee != points[0].setting || points.iter().any(|point| point.setting == outcome.now)
}

fn write_knee(args: &TuneArgs, outcome: &Outcome) -> Result<Vec<String>> {
    let knee = outcome.curve.knee();
    write::write(
        &args.file,
        &Change {
            stage: &outcome.stage,
            setting: outcome.curve.points[knee].setting,
            unit: outcome.unit.as_ref(),
        },
    )
}

/// What became of the file.
fn results(args: &TuneArgs, lines: &[String]) -> String {
    let file = args.file.display();
    if lines.is_empty() {
        return format!("{file} says so already: nothing was written\n");
    }
    format!("written to {file}:\n{}\n", lines.join("\n"))
}
