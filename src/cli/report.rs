//! `etl report`: the runs and comparisons that are kept, and what came of each.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{Color, STATE, compare, output};
use crate::error::{Error, Result};
use crate::report::comparison::Side;
use crate::report::verdict::short;
use crate::report::{self, Align, Comparison, Report, Status};
use crate::schema::count;
use crate::shown;
use crate::state::history::{Entry, History};

/// Of a longer name the beginning is shown, so that a line fits a screen.
const NAME_CHARS: usize = 15;

/// List the runs that are kept, show one again, or set two side by side
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  etl report                              all of them, the newest last
  etl report 20261122T101500-3f2a
  etl report --diff 3f2a 77b1             what changed between two runs
  etl report 77b1 --markdown              for pasting into an issue
  etl report --keep 20")]
pub struct ReportArgs {
    /// The run or comparison to show again; its beginning or end is enough
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// Set two runs side by side
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "run")]
    pub diff: Vec<String>,
    /// As a Markdown table
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Delete all but the newest N, and but those to resume or to replay
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = super::whole, conflicts_with_all = ["run", "diff", "markdown", "json"])]
    pub keep: Option<usize>,
    /// Where runs are kept
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

/// Lists, shows, compares or deletes.
pub fn run(args: &ReportArgs, color: Color) -> Result<ExitCode> {
    let history = History::of(&args.state);
    let text = match (&args.run, &args.diff[..], args.keep) {
        (Some(word), _, _) => show(&history, word, args)?,
        (_, [a, b], _) => diff(&history, a, b, args, color)?,
        (_, _, Some(keep)) => prune(&history, keep)?,
        _ => list(&history, args)?,
    };
    if args.json || args.markdown {
        output::print(&text)?;
    } else {
        output::print_report(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One run or comparison, as it was printed at its end.
fn show(history: &History, word: &str, args: &ReportArgs) -> Result<String> {
    let id = history.find(word)?;
    let entry = history.read(&id)?.ok_or_else(|| no_report(history, &id))?;
    Ok(match entry {
        Entry::Comparison(comparison) => of_comparison(&comparison, args),
        Entry::Run(report) if args.json => as_json(&report),
        Entry::Run(report) if args.markdown => report::markdown(&report),
        Entry::Run(report) => report::whole(&report),
    })
}

fn no_report(history: &History, id: &str) -> Error {
    let why = if history.is_running(id) {
        "is still running"
    } else {
        "was killed: it has no report"
    };
    Error::failed(format!("run `{id}` {why}"))
}

fn of_comparison(comparison: &Comparison, args: &ReportArgs) -> String {
    if args.json {
        as_json(comparison)
    } else if args.markdown {
        let table = report::as_markdown(&Comparison::HEADS, &comparison.rows(), &Comparison::ALIGN);
        let lines: Vec<String> = comparison
            .conclusions()
            .iter()
            .chain(&comparison.closing())
            .map(|line| format!("* {line}\n"))
            .collect();
        format!("{table}\n{}", lines.concat())
    } else {
        compare::as_text(comparison)
    }
}

fn as_json(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_string_pretty(value).expect("a report is plain data") + "\n";
    shown::json(&json).into_owned()
}

/// Two runs, the first as the side before.
fn diff(history: &History, a: &str, b: &str, args: &ReportArgs, color: Color) -> Result<String> {
    let read = |word: &str| -> Result<Report> {
        let id = history.find(word)?;
        match history.read(&id)? {
            Some(Entry::Run(report)) => Ok(*report),
            Some(Entry::Comparison(_)) => Err(Error::failed(format!("`{id}` is a comparison"))
                .hint("name two runs; `etl report RUN` shows a comparison")),
            None => Err(no_report(history, &id)),
        }
    };
    let runs = [read(a)?, read(b)?];
    let [of_a, of_b] = runs.each_ref().map(|report| &report.pipeline);
    if of_a != of_b {
        output::print_warning(
            &format!(
                "the runs are of two pipelines, `{of_a}` and `{of_b}`: stages of one name may do different work"
            ),
            color,
        );
    }
    for report in &runs {
        if report.mode != "staged" {
            output::print_warning(
                &format!(
                    "run {} was {}: its stages overlapped, so that their times are not their own",
                    report.run, report.mode
                ),
                color,
            );
        }
    }
    let side = |report: &'_ Report| -> String { format!("run {}, {}", report.run, report.mode) };
    let sides = [side(&runs[0]), side(&runs[1])];
    let [before, after] = &runs;
    let of = |report| Side {
        digested: Some(report),
        timed: std::slice::from_ref(report),
    };
    let mut comparison = Comparison::of(of(before), of(after), &[], sides);
    if comparison.stages.is_empty() {
        return Err(Error::failed("the two runs have no stage of the same name"));
    }
    // It is kept nowhere.
    comparison.run.clear();
    Ok(of_comparison(&comparison, args))
}

/// Deletes old ones, and says which and which not.
fn prune(history: &History, keep: usize) -> Result<String> {
    let pruned = history.prune(keep)?;
    let mut text = format!("deleted {}\n", count(pruned.deleted.len(), "run"));
    for (id, why) in &pruned.kept {
        text.push_str(&format!("kept {id}: {why}\n"));
    }
    Ok(text)
}

const HEADS: [&str; 6] = ["run", "pipeline", "mode", "status", "wall s", "rejected"];

const ALIGN: [Align; 6] = [
    Align::Left,
    Align::Left,
    Align::Left,
    Align::Left,
    Align::Right,
    Align::Right,
];

/// All of them, the newest last.
fn list(history: &History, args: &ReportArgs) -> Result<String> {
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for id in history.ids()? {
        // One that cannot be read is listed all the same: it is there.
        let (row, value) = match history.entry(&id) {
            Ok(Some(entry)) => described(&id, &entry),
            Ok(None) if history.is_running(&id) => without_report(history, &id, "running"),
            Ok(None) => without_report(history, &id, "killed"),
            Err(_) => without_report(history, &id, "damaged"),
        };
        rows.push(row);
        values.push(value);
    }
    if args.json {
        return Ok(as_json(&values));
    }
    if rows.is_empty() {
        return Ok(format!("no runs are kept in {}\n", args.state.display()));
    }
    Ok(if args.markdown {
        report::as_markdown(&HEADS, &rows, &ALIGN)
    } else {
        report::plain(&HEADS, &rows, &ALIGN)
    })
}

fn described(id: &str, entry: &Entry) -> ([String; 6], Value) {
    match entry {
        Entry::Comparison(comparison) => {
            let total = &comparison.total;
            let status = match comparison.same_output {
                Some(false) => "differs",
                _ => "done",
            };
            (
                [
                    id.into(),
                    cut(&comparison.pipeline),
                    "compare".into(),
                    status.into(),
                    format!("{} -> {}", short(total.before_s), short(total.after_s)),
                    String::new(),
                ],
                json!({ "run": id, "pipeline": comparison.pipeline, "mode": "compare", "status": status, "before_s": total.before_s, "after_s": total.after_s }),
            )
        }
        Entry::Run(report) => {
            let status = match report.status {
                Status::Done => "done",
                Status::Failed => "failed",
                Status::Interrupted => "interrupted",
            };
            (
                [
                    id.into(),
                    cut(&report.pipeline),
                    report.mode.clone(),
                    status.into(),
                    short(report.wall_s),
                    report::thousands(report.rejects.rows),
                ],
                json!({ "run": id, "pipeline": report.pipeline, "mode": report.mode, "status": status, "wall_s": report.wall_s, "rejected": report.rejects.rows }),
            )
        }
    }
}

fn without_report(history: &History, id: &str, status: &str) -> ([String; 6], Value) {
    let pipeline = history.pipeline_of(id);
    let mut row = [const { String::new() }; 6];
    row[1] = pipeline.as_deref().map(cut).unwrap_or_default();
    (row[0], row[3]) = (id.into(), status.into());
    (
        row,
        json!({ "run": id, "pipeline": pipeline, "status": status }),
    )
}

fn cut(name: &str) -> String {
    if name.chars().count() <= NAME_CHARS {
        return name.to_owned();
    }
    name.chars().take(NAME_CHARS - 1).chain(['…']).collect()
}
