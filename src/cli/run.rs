//! `etl run`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::{Color, PipelineArgs, Progress as ProgressArg, STATE, TellArgs, output};
use crate::cluster::ClusterConfig;
use crate::error::{Class, Error, Result};
use crate::executor::processes::Workers;
use crate::pipeline::{Pipeline, masked_set};
use crate::plan;
use crate::progress::{Progress, Style};
use crate::report::{self, Report};
use crate::run::{self, Options};
use crate::schema::list;
use crate::shown;
use crate::stage::{self, REQUESTS, Storage};
use crate::state::history::History;
use crate::state::loaded::LoadedFiles;
use crate::stop::Stop;

/// Run a pipeline
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  etl run donors.toml
  etl run donors.toml --sequential --report before.json
  etl run donors.toml --set '*.executor=processes' --set '*.workers=4'
  etl run donors.toml --until documents --digest --json")]
pub struct RunArgs {
    /// The pipeline and what is changed in it.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// One stage after another, each output held: a stage's time is then its own
    #[arg(long)]
    pub staged: bool,
    /// Only this stage and what it reads; no other sink runs
    #[arg(long, value_name = "STAGE")]
    pub until: Option<String>,
    /// Execute on a Spark cluster what can be; without URL at `master` of the table `[cluster]`
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "", value_parser = super::master)]
    pub cluster: Option<String>,
    /// Compute a digest of every stage's output, for the report (`--report`, `--json`)
    #[arg(long)]
    pub digest: bool,
    /// Go on where a run was interrupted (server loads, fetch, exec): the last one, or RUN
    #[arg(long, value_name = "RUN", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub resume: Option<String>,
    /// Which files are read.
    #[command(flatten)]
    pub files: FilesArgs,
    /// How progress is shown on standard error
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        default_value_t,
        hide_possible_values = true,
        help = "Progress: auto, plain or none"
    )]
    pub progress: ProgressArg,
    /// Where its results are printed.
    #[command(flatten)]
    pub tell: TellArgs,
    /// Whether this is a replay, which cannot be gone on with.
    #[arg(skip)]
    pub of_replay: bool,
}

/// Which files a run reads of those that the pipeline names.
#[derive(Debug, Default, clap::Args)]
pub struct FilesArgs {
    /// Read files again that a stage with `only_new` has loaded already
    #[arg(long)]
    pub all_files: bool,
}

/// More rejects than the pipeline allows: done all the same.
const TOO_MANY_REJECTS: u8 = 3;

/// Runs the pipeline, reports, and says by the exit code how it went.
pub fn run(args: &RunArgs, color: Color) -> Result<ExitCode> {
    if args.resume.is_some() && args.digest {
        return Err(Error::usage(
            "`--digest` is over all rows, of which `--resume` works on the last ones only",
        ));
    }
    let load = || match &args.until {
        Some(stage) => args.pipeline.load()?.upto(stage),
        None => args.pipeline.load(),
    };
    execute(load, args, color)
}

/// Runs what `load` gives; of the arguments all but those that say what to load count.
pub(super) fn execute(
    load: impl FnOnce() -> Result<Pipeline>,
    args: &RunArgs,
    color: Color,
) -> Result<ExitCode> {
    if let Some(path) = &args.tell.report {
        check_report(path)?;
    }
    let pipeline = match (load(), &args.tell.report) {
        (Err(error), Some(path)) => {
            write_report(&Report::of_no_run(&args.pipeline.file, &error), path)?;
            return Err(error);
        }
        (loaded, _) => &loaded?,
    };
    let (pipeline, cluster) = &placed(pipeline, args)?;
    let options = Options {
        staged: args.staged,
        digest: args.digest,
        state: args.tell.state.clone(),
        command: args.command(),
        resume: args.resume.clone(),
        loaded_files: if args.files.all_files {
            LoadedFiles::ReadAgain
        } else {
            LoadedFiles::LeaveOut
        },
        cluster: cluster.clone(),
        stop: Stop::on_signals()?,
        workers: Arc::new(Workers::this_program()),
    };
    note_resumption(args, pipeline, color);
    let live = run::watch(pipeline);
    let progress = style(args).map(|style| {
        let names = pipeline
            .steps
            .iter()
            .map(|step| step.name.clone())
            .collect();
        Progress::start(style, names, live.clone())
    });
    let (report, error, kept) = run::run_and_keep(pipeline, &options, &live);
    drop(progress);
    let written = kept.and_then(|()| match &args.tell.report {
        Some(path) => write_report(&report, path),
        None => Ok(()),
    });
    for stage in &report.stages {
        for warning in &stage.warnings {
            output::print_warning(&format!("stage `{}`: {warning}", stage.name), color);
        }
    }
    let printed = print_report(args, pipeline, &report);
    for note in report.notes.iter().chain(&args.replay_note(&report)) {
        output::print_note(note, color);
    }
    // A reader of standard output that has gone hides no failure.
    match error {
        Some(error) => Err(unless_alone(error, pipeline)),
        None => written.map_err(|error| unreported(error, &report)),
    }?;
    let allowed = u64::try_from(pipeline.max_rejects).unwrap_or(u64::MAX);
    if report.rejects.rows > allowed {
        let shows_reasons = args.tell.quiet || args.tell.json;
        output::print_warning(&too_many(&report, allowed, shows_reasons), color);
        output::print_hint(&to_allow(pipeline, &report), color);
        return Ok(ExitCode::from(TOO_MANY_REJECTS));
    }
    printed?;
    Ok(ExitCode::SUCCESS)
}

/// The pipeline as it is run, and the cluster that executes some of its stages.
fn placed(pipeline: &Pipeline, args: &RunArgs) -> Result<(Pipeline, Option<ClusterConfig>)> {
    let Some(master) = &args.cluster else {
        return Ok((pipeline.clone(), None));
    };
    if args.staged {
        return Err(Error::usage(
            "`--staged` and `--cluster` exclude each other",
        ));
    }
    let master = Some(master.as_str()).filter(|master| !master.is_empty());
    let config = pipeline.cluster.at(master, &pipeline.folder)?;
    Ok((plan::on_cluster(pipeline).0, Some(config)))
}

/// Says which run `--resume` without a name goes on with.
fn note_resumption(args: &RunArgs, pipeline: &Pipeline, color: Color) {
    if args.resume.as_deref() != Some("") {
        return;
    }
    match run::unfinished(pipeline, &args.tell.state) {
        Some(id) if run::can_resume(&id, &args.tell.state) => {
            output::print_note(&format!("going on with run {id}"), color);
        }
        Some(id) => output::print_note(
            &format!("run {id} kept nothing to go on with: it starts again, with all rows"),
            color,
        ),
        None => {
            let mut note = format!(
                "no unfinished run of this pipeline in `{}` since the last that ended well: a new one was started, which reads all files",
                args.tell.state.display()
            );
            if let Some(way) = run::to_add_files(pipeline) {
                note.push_str(&format!("; {way}"));
            }
            output::print_note(&note, color);
        }
    }
}

/// The end of a run whose standard output nobody reads any more is quiet, unless other outputs were to be published:
/// then the run has failed.
fn unless_alone(error: Error, pipeline: &Pipeline) -> Error {
    let sinks = pipeline.steps.iter().filter(|step| step.kind.sink).count();
    if error.class != Class::ClosedStdout || sinks == 1 {
        return error;
    }
    Error {
        class: Class::Failed,
        ..error.hint("the other outputs are published only if all rows are read; write to a file instead of `-`")
    }
}

/// The error of a report that could not be written: what the run has published stays so.
fn unreported(error: Error, report: &Report) -> Error {
    let stages = report.stages.iter();
    let published = stages.filter(|stage| stage.published.is_some());
    let names: Vec<&str> = published.map(|stage| stage.name.as_str()).collect();
    if names.is_empty() {
        return error;
    }
    error.cause(format!(
        "the run has ended well, and published: {}",
        list(&names)
    ))
}

/// So many reasons stand in the message about too many rejects.
const REASONS: usize = 3;

/// More rows were rejected than are allowed: how many, where they are, and the reasons unless the table has them.
fn too_many(report: &Report, allowed: u64, shows_reasons: bool) -> String {
    let (rows, file) = (report::rows(report.rejects.rows), &report.rejects.file);
    let mut text = format!(
        "{rows} rejected, see {}; `max_rejects` is {allowed}",
        file.as_deref().unwrap_or("the report")
    );
    let reasons = report.rejects.reasons.iter().filter(|_| shows_reasons);
    for reason in reasons.take(REASONS) {
        text.push_str(&format!("\n{}", shown::line(&reason.to_string())));
    }
    text
}

/// What to do about too many rejects.
fn to_allow(pipeline: &Pipeline, report: &Report) -> String {
    let mut text = "`--set max_rejects=N` allows so many, -1 any number".to_owned();
    let rejected = report.stages.iter().filter(|stage| stage.rejected > 0);
    let names: Vec<&str> = rejected.map(|stage| stage.name.as_str()).collect();
    let mut steps = pipeline.steps.iter();
    let setting = steps.find_map(|step| {
        let setting = step.kind.null_setting()?;
        let is_named = names.contains(&step.name.as_str());
        is_named.then_some((&step.name, setting))
    });
    if let Some((name, setting)) = setting {
        text.push_str(&format!(
            "; `--set {name}.{setting}` keeps the rows of `{name}` with null in place of such a value"
        ));
    }
    text
}

impl RunArgs {
    /// What to type to go on with this run, but for which one it is.
    fn command(&self) -> Option<String> {
        if self.of_replay {
            return None;
        }
        let file = shown::word(&self.pipeline.file.to_string_lossy());
        let mut words = format!("etl run {file}{}", self.changed());
        for (given, word) in [
            (self.pipeline.sequential, " --sequential"),
            (self.pipeline.parallel, " --parallel"),
            (self.staged, " --staged"),
            (self.files.all_files, " --all-files"),
        ] {
            words.push_str(if given { word } else { "" });
        }
        match self.cluster.as_deref() {
            Some("") => words.push_str(" --cluster"),
            Some(master) => words.push_str(&format!(" --cluster {}", shown::word(master))),
            None => {}
        }
        if let Some(stage) = &self.until {
            words.push_str(&format!(" --until {}", shown::word(stage)));
        }
        Some(words)
    }

    /// What else was typed that matters to who goes on with it.
    fn changed(&self) -> String {
        let mut words = String::new();
        for set in &self.pipeline.set.sets {
            words.push_str(&format!(" --set {}", shown::word(&masked_set(set))));
        }
        if self.tell.state.as_os_str() != STATE {
            let state = self.tell.state.to_string_lossy();
            words.push_str(&format!(" --state {}", shown::word(&state)));
        }
        words
    }
}

impl RunArgs {
    /// What to type to send again what a server rejected.
    fn replay_note(&self, report: &Report) -> Option<String> {
        let refused = |stage: &report::StageReport| {
            stage::kind(&stage.kind).is_some_and(|kind| kind.index.is_some())
                && stage.rejected > 0
                && stage.counts.contains_key(REQUESTS)
        };
        report.stages.iter().find(|stage| refused(stage))?;
        let words = format!("etl replay {}{}", report.run, self.changed());
        Some(format!(
            "after you fix the mapping, or `row` in rejects.ndjson, `{words}` sends the rejected documents again"
        ))
    }
}

fn style(args: &RunArgs) -> Option<Style> {
    match args.progress {
        _ if args.tell.quiet => None,
        ProgressArg::None => None,
        ProgressArg::Auto if output::stderr_is_terminal() => Some(Style::Live),
        ProgressArg::Auto | ProgressArg::Plain => Some(Style::Plain),
    }
}

/// Whether a report can be written there: better to know now than after the run.
pub(super) fn check_report(path: &Path) -> Result<()> {
    let opened = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path);
    opened
        .map(drop)
        .map_err(|error| Error::io("write the report", path.display(), &error))
}

/// Writes what was measured, as JSON.
pub(super) fn write_report(report: &impl Serialize, path: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(report).expect("a report is plain data");
    std::fs::write(path, json + "\n")
        .map_err(|error| Error::io("write the report", path.display(), &error))
}

/// What each stage took when it last had other settings: what a toggled word was worth.
fn since(args: &RunArgs, pipeline: &Pipeline, report: &Report) -> String {
    if args.of_replay {
        return String::new();
    }
    let history = History::of(&args.tell.state);
    let earlier = history.before(&report.run, &pipeline.file);
    report::since::lines(&report::since::since(report, earlier), report)
}

/// The table, or the report as JSON. A run that writes rows to standard output keeps it for them.
fn print_report(args: &RunArgs, pipeline: &Pipeline, report: &Report) -> Result<()> {
    let stdout_taken = pipeline.steps.iter().any(|step| {
        let destination = step.destination();
        destination.is_some_and(|destination| destination.storage == Storage::Stdout)
    });
    let text = if args.tell.json {
        let json = serde_json::to_string_pretty(report).expect("a report is plain data") + "\n";
        if !stdout_taken {
            return output::print_json_text(&json);
        }
        shown::json(&json).into_owned()
    } else if args.tell.quiet || report.run.is_empty() {
        // Of one that did not begin there is nothing to show.
        return Ok(());
    } else {
        report::render(report) + &since(args, pipeline, report)
    };
    if stdout_taken {
        output::print_beside(&text);
        return Ok(());
    }
    output::print_report(&text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: RunArgs,
    }

    #[test]
    fn the_command_that_goes_on_repeats_what_the_run_was_given() {
        for words in [
            "etl run p.toml",
            "etl run p.toml --set a.b=1 --set c=2 --state s --parallel --staged --all-files --until a",
            "etl run p.toml --sequential --until b",
            "etl run p.toml --cluster spark://host:7077 --until b",
            "etl run p.toml --set a.b=1 --cluster",
            r"etl run 'my files/it'\''s.toml' --set 'a.files=[x y]' --state '$s'",
        ] {
            // What a shell makes of it.
            let parts = words.replace(r"'\''", "\0");
            let parts = parts.split('\'').enumerate();
            let typed: String = parts
                .map(|(at, part)| match at % 2 {
                    0 => part.replace(' ', "\n"),
                    _ => part.to_owned(),
                })
                .collect();
            let typed = typed.replace('\0', "'");
            let typed = typed.lines().skip(1);
            let cli = Cli::try_parse_from(typed).expect("it is a command");
            assert_eq!(cli.args.command().as_deref(), Some(words));
        }
    }
}
