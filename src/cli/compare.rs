//! `etl compare`: was it worth it? A pipeline before and after, timed in turn, with proof that both give the
//! same.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Color, SetArgs, TellArgs, output};
use crate::bench::compare::{self, Before, Plan};
use crate::error::{Error, Result};
use crate::executor::Grid;
use crate::pipeline::{self, Overrides, Pipeline, masked_set};
use crate::report::{Comparison, Status};
use crate::state::history::{Entry, History};
use crate::stop::Stop;

/// Text is kept within this.
const WIDTH: usize = 80;

/// Of longer names the verdicts begin where they end.
const NAME_CHARS: usize = 20;

/// What makes the side before sequential, whatever `--set` says of executors.
const SEQUENTIAL: &str = "*.parallel=false";

/// Time a pipeline sequentially and as the file says; results go to a scratch place
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  etl compare donors.toml
  etl compare donors.toml --parallel --runs 5
  etl compare donors.toml --after '*.executor=processes' --after '*.workers=4'
  etl compare donors.toml --before dates.parallel=true --report worth.json")]
pub struct CompareArgs {
    /// The pipeline file (TOML)
    #[arg(value_name = "PIPELINE")]
    pub file: PathBuf,
    /// What is changed in the pipeline.
    #[command(flatten)]
    pub set: SetArgs,
    /// As `parallel = true` in every stage, on the side after
    #[arg(long)]
    pub parallel: bool,
    /// As `--set`, on the side before only
    #[arg(long, value_name = "STAGE.KEY=VALUE", conflicts_with = "before_run")]
    pub before: Vec<String>,
    /// As `--set`, on the side after only
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    pub after: Vec<String>,
    /// The side before is this run of the history
    #[arg(long, value_name = "RUN")]
    pub before_run: Option<String>,
    /// Timed runs of each side, after a warm-up
    #[arg(long, value_name = "N", default_value_t = 3, allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub runs: u16,
    /// Time loads into servers too: into fresh indices, deleted afterwards
    #[arg(long)]
    pub with_sinks: bool,
    /// Where its results are printed.
    #[command(flatten)]
    pub tell: TellArgs,
}

/// Runs both sides in turn, and says what came of it.
pub fn run(args: &CompareArgs, color: Color) -> Result<ExitCode> {
    if let Some(path) = &args.tell.report {
        super::run::check_report(path)?;
    }
    // Mistakes of the file and of `--set` come before those of a side.
    side(args, "--set", &[])?;
    let after = side(args, "--after", &args.after)?;
    let shows = !args.tell.quiet && output::stderr_is_terminal();
    let report_line = |line: &str| {
        if shows {
            output::print_lines(line, color);
        }
    };
    let (before, words) = before(args, &after)?;
    let comparison = compare::compare(&Plan {
        before,
        after: &after,
        sides: [words, in_words("as the file says", &args.after)],
        runs: usize::from(args.runs),
        with_sinks: args.with_sinks,
        state: &args.tell.state,
        stop: Stop::on_signals()?,
        report_line: &report_line,
    })?;
    if let Some(path) = &args.tell.report {
        super::run::write_report(&comparison, path)?;
    }
    warn(args, &after, &comparison, color);
    let printed = if args.tell.json {
        let json = serde_json::to_value(&comparison).expect("a comparison is plain data");
        output::print_json(&json)
    } else if !args.tell.quiet {
        output::print_report(&as_text(&comparison))
    } else {
        Ok(())
    };
    // A reader that has gone hides no difference.
    let code = differing(&comparison)?;
    printed?;
    Ok(code)
}

/// A difference is what a comparison must never pass over.
fn differing(comparison: &Comparison) -> Result<ExitCode> {
    let names = comparison.differing();
    let Some(first) = names.first() else {
        return Ok(ExitCode::SUCCESS);
    };
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    Err(Error::failed(format!(
        "before and after do not give the same: {}",
        names.join(", ")
    ))
    .hint(format!(
        "`{first}` is the first of them in the file: look there"
    )))
}

/// The pipeline with what both sides and one side change.
fn side(args: &CompareArgs, option: &str, sets: &[String]) -> Result<Pipeline> {
    let overrides = Overrides {
        sets: [args.set.sets.as_slice(), sets].concat(),
        sequential: false,
        parallel: args.parallel,
    };
    pipeline::load(&args.file, &overrides).map_err(|error| Error {
        // Without this side's changes it loads: the error is of one of them.
        message: error.message.replace("`--set", &format!("`{option}")),
        ..error
    })
}

/// The side before, and what it is in words.
fn before(args: &CompareArgs, after: &Pipeline) -> Result<(Before, String)> {
    let Some(word) = &args.before_run else {
        let mut sets = vec![SEQUENTIAL.to_owned()];
        sets.extend(args.before.iter().cloned());
        let pipeline = side(args, "--before", &sets)?;
        let words = in_words("every stage sequential", &args.before);
        return Ok((Before::Pipeline(Box::new(pipeline)), words));
    };
    let history = History::of(&args.tell.state);
    let id = history.find(word)?;
    match history.read(&id)? {
        Some(Entry::Run(report)) if report.pipeline != after.name => Err(Error::usage(format!(
            "run `{id}` is of another pipeline, `{}`",
            report.pipeline
        ))
        .hint("`etl report` lists the runs")),
        Some(Entry::Run(report)) if report.status == Status::Done => {
            Ok((Before::Run(report), format!("run {id}")))
        }
        Some(Entry::Comparison(_)) => Err(Error::failed(format!("`{id}` is a comparison"))
            .hint("name a run; `etl report` lists them")),
        _ => Err(Error::failed(format!("run `{id}` did not end well"))
            .hint("name one that did; `etl report` lists them")),
    }
}

fn in_words(side: &str, sets: &[String]) -> String {
    let mut words = side.to_owned();
    for set in sets {
        words.push_str(&format!(", {}", masked_set(set)));
    }
    words
}

fn warn(args: &CompareArgs, after: &Pipeline, comparison: &Comparison, color: Color) {
    for warning in &comparison.warnings {
        output::print_warning(warning, color);
    }
    if after.steps.iter().all(|step| step.grid == Grid::SEQUENTIAL) {
        output::print_warning(
            "no stage is parallel on the side after either; `--parallel` makes all of them so",
            color,
        );
    }
    for step in after.steps.iter().filter(|step| step.policy().is_some()) {
        output::print_warning(
            &format!("stage `{}` asked the outside anew in every run", step.name),
            color,
        );
    }
    if args.runs == 1 {
        output::print_warning(
            "one run of each side shows nothing of how much they differ by chance",
            color,
        );
    }
    let busy = comparison.queued_before();
    if comparison.is_busy() {
        output::print_warning(
            &format!(
                "the machine has other work: one thread alone queued {:.0} % of its time for a core",
                busy * 100.0
            ),
            color,
        );
    }
    let doubtful = comparison.doubtful();
    if !doubtful.is_empty() && !comparison.is_busy() {
        output::print_warning(
            &format!(
                "the runs differ too much to be sure of {}; `--runs N` says more with more of them",
                doubtful.join(", ")
            ),
            color,
        );
    }
}

/// The table and what follows from it, within a screen's width.
pub(super) fn as_text(comparison: &Comparison) -> String {
    let table = comparison.render();
    let lines = table.lines().map(|line| output::wrap(line, WIDTH, "  "));
    let mut text = lines.collect::<Vec<_>>().join("\n") + "\n\n";
    let verdicts = comparison.verdicts();
    let longest = verdicts.iter().map(|(name, _)| name.chars().count()).max();
    let width = longest.unwrap_or_default().min(NAME_CHARS);
    for (name, verdict) in verdicts {
        let indent = " ".repeat(width + 1);
        let line = format!("{name:width$} {verdict}");
        text.push_str(&output::wrap(&line, WIDTH, &indent));
        text.push('\n');
    }
    if let Some(closing) = comparison.closing() {
        text.push_str(&format!("\n{}\n", output::wrap(&closing, WIDTH, "")));
    }
    text
}
