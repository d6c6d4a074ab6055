//! The command line: what each command takes, and the one place where errors are printed. A command is a
//! file beside this one; only they write to standard output, through [`output`].

pub mod check;
pub mod output;
pub mod plan;
pub mod replay;
pub mod rollback;
pub mod run;
pub mod search;
pub mod stages;
pub mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::error::{Error, Result};
use crate::pipeline::{self, Overrides, Pipeline};

/// Runs data pipelines from a TOML file: sequentially, on threads, in processes or both, with one and
/// the same answer
#[derive(Debug, Parser)]
#[command(
    name = "etl",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  etl stages                              what a stage can be
  etl check pipelines/donors.toml         is the file right?
  etl run pipelines/donors.toml --parallel
  etl search pipelines/donors.toml 'resource_item_name:microscope'

Exit: 0 done, 1 failed, 2 wrong usage or pipeline file, 3 done with more rejects than `max_rejects`"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(RunArgs),
    Check(CheckArgs),
    Plan(PlanArgs),
    Stages(StagesArgs),
    Search(SearchArgs),
    Replay(ReplayArgs),
    Rollback(RollbackArgs),
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// Where runs are kept, unless `--state` says so.
const STATE: &str = ".etl";

/// Run a pipeline
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Args)]
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
    /// Write the report (JSON) here, however the run ends
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Compute a digest of every stage's output
    #[arg(long)]
    pub digest: bool,
    /// Go on where a load into a server was interrupted: the last one, or the one named
    #[arg(long, value_name = "RUN", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub resume: Option<String>,
    /// Where runs keep their report and rejects
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
    /// No progress and no table; warnings and errors stay
    #[arg(long, short)]
    pub quiet: bool,
    /// How progress is shown on standard error
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        default_value_t,
        hide_possible_values = true,
        help = "Progress: auto, plain or none"
    )]
    pub progress: Progress,
    /// The report on standard output in place of the table
    #[arg(long)]
    pub json: bool,
    /// Colour.
    #[command(flatten)]
    pub color: ColorArgs,
    /// Whether this is a replay, which cannot be gone on with.
    #[arg(skip)]
    pub of_replay: bool,
}

/// Check a pipeline as far as that needs no rows
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  etl check donors.toml
  etl check donors.toml --schema          each stage's output columns
  etl check donors.toml --set dates.on_error=fail")]
pub struct CheckArgs {
    /// The pipeline and what is changed in it.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Print each stage's output columns
    #[arg(long)]
    pub schema: bool,
    /// Print nothing but errors
    #[arg(long, short, conflicts_with_all = ["json", "schema"])]
    pub quiet: bool,
    /// Print stages and columns as JSON
    #[arg(long)]
    pub json: bool,
    /// Colour.
    #[command(flatten)]
    pub color: ColorArgs,
}

/// Show how a pipeline would be run: who reads whom, how rows are dealt, where, what is collected
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  etl plan donors.toml
  etl plan donors.toml --parallel --until documents
  etl plan donors.toml --set grouped.executor=hybrid --json")]
pub struct PlanArgs {
    /// The pipeline and what is changed in it.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Only this stage and what it reads
    #[arg(long, value_name = "STAGE")]
    pub until: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
    /// Colour.
    #[command(flatten)]
    pub color: ColorArgs,
}

/// List the kinds of stages, or all about one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  etl stages
  etl stages join                         its options and an example
  etl stages --json")]
pub struct StagesArgs {
    /// The kind to tell all about
    pub kind: Option<String>,
    /// Print it as JSON
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// Print it as a Markdown table
    #[arg(long)]
    pub markdown: bool,
    /// Colour.
    #[command(flatten)]
    pub color: ColorArgs,
}

/// Search what a pipeline has indexed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  etl search out/donors microscope
  etl search donors.toml 'project_school_state:CA AND microscope' --limit 3
  etl search donors.toml '*' --count")]
pub struct SearchArgs {
    /// A local index's folder, or the pipeline file that fills an index
    #[arg(value_name = "DIR|PIPELINE")]
    pub target: PathBuf,
    /// What to look for; bare words search all text and keyword fields
    #[arg(allow_hyphen_values = true)]
    pub query: String,
    /// At most so many hits, best first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub limit: usize,
    /// Print the number of all hits and nothing else
    #[arg(long)]
    pub count: bool,
    /// Change a value of the pipeline file (repeatable, later wins)
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    pub set: Vec<String>,
    /// Colour.
    #[command(flatten)]
    pub color: ColorArgs,
}

/// Send again what a run's load into a server rejected
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  etl replay 20261122T101500-3f2a
  etl replay 20261122T101500-3f2a --set index.pipeline=mended")]
pub struct ReplayArgs {
    /// The run, as the report names it
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Send them even if the index was made anew, or a later run wrote it
    #[arg(long)]
    pub force: bool,
    /// Change a value of the pipeline file (repeatable, later wins)
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    pub set: Vec<String>,
    /// Write the report (JSON) here, however the run ends
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Where runs keep their report and rejects
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
    /// No progress, no table; warnings and errors stay
    #[arg(long)]
    pub quiet: bool,
    /// The report on standard output in place of the table
    #[arg(long)]
    pub json: bool,
    /// Colour.
    #[command(flatten)]
    pub color: ColorArgs,
}

/// Give the alias back to the index that served before the last load
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  etl rollback donors.toml
  etl rollback donors.toml --clean        delete what loads left half done")]
pub struct RollbackArgs {
    /// The pipeline file with the stage that replaces the index
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,
    /// Delete indices that loads left half done, and change nothing else
    #[arg(long)]
    pub clean: bool,
    /// Change a value of the pipeline file (repeatable, later wins)
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    pub set: Vec<String>,
    /// Where runs keep their report and rejects
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
    /// Colour.
    #[command(flatten)]
    pub color: ColorArgs,
}

/// Serve a parent process over standard input and output
#[derive(Debug, Args)]
pub struct WorkerArgs {}

/// A pipeline file, and what the command line changes in it.
#[derive(Debug, Args)]
pub struct PipelineArgs {
    /// The pipeline file (TOML)
    #[arg(value_name = "PIPELINE")]
    pub file: PathBuf,
    /// Change a value; later wins; `*` for STAGE: all that take KEY; no STAGE: a top-level key
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    pub set: Vec<String>,
    /// As `parallel = false` in every stage
    #[arg(long, conflicts_with = "parallel")]
    pub sequential: bool,
    /// As `parallel = true` in every stage
    #[arg(long)]
    pub parallel: bool,
}

impl PipelineArgs {
    /// The pipeline as changed.
    pub fn load(&self) -> Result<Pipeline> {
        let overrides = Overrides {
            sets: self.set.clone(),
            sequential: self.sequential,
            parallel: self.parallel,
        };
        pipeline::load(&self.file, &overrides)
    }
}

/// Colour, for every command.
#[derive(Debug, Clone, Copy, Args)]
pub struct ColorArgs {
    /// When to use colour.
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        hide_possible_values = true,
        help = "Colour: auto, always or never"
    )]
    pub color: Color,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Wherever it goes.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to colour what goes to a `terminal`, or elsewhere.
    pub fn on(self, terminal: bool) -> bool {
        match self {
            Color::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                terminal && !refused
            }
            Color::Always => true,
            Color::Never => false,
        }
    }
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Progress {
    /// Bars on a terminal, else a line now and then.
    #[default]
    Auto,
    /// A line now and then.
    Plain,
    /// Not at all.
    None,
}

/// Parses the command line, does what it says, prints the error if there is one.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell if this cannot be printed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match cli.command.run() {
        Ok(code) => code,
        Err(error) => {
            output::print_error(&error, cli.command.color());
            ExitCode::from(error.exit_code())
        }
    }
}

impl Command {
    fn run(&self) -> Result<ExitCode, Error> {
        match self {
            Command::Run(args) => run::run(args),
            Command::Check(args) => check::run(args),
            Command::Plan(args) => plan::run(args),
            Command::Stages(args) => stages::run(args),
            Command::Search(args) => search::run(args),
            Command::Replay(args) => replay::run(args),
            Command::Rollback(args) => rollback::run(args),
            Command::Worker(args) => worker::run(args),
        }
    }

    fn color(&self) -> Color {
        match self {
            Command::Run(args) => args.color.color,
            Command::Check(args) => args.color.color,
            Command::Plan(args) => args.color.color,
            Command::Stages(args) => args.color.color,
            Command::Search(args) => args.color.color,
            Command::Replay(args) => args.color.color,
            Command::Rollback(args) => args.color.color,
            Command::Worker(_) => Color::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// What a terminal shows at once.
    const SCREEN: (usize, usize) = (80, 40);

    #[test]
    fn the_command_line_is_sound_and_its_help_fits_a_screen() {
        let mut cli = Cli::command();
        cli.clone().debug_assert();
        cli.build();
        for command in std::iter::once(&cli).chain(cli.get_subcommands()) {
            let help = command
                .clone()
                .term_width(SCREEN.0)
                .render_help()
                .to_string();
            let lines = help.lines().count();
            assert!(lines <= SCREEN.1, "{}: {lines} lines", command.get_name());
            assert!(
                help.contains("Examples:") || command.is_hide_set(),
                "{} shows no example",
                command.get_name()
            );
        }
    }

    #[test]
    fn resume_takes_a_run_only_with_its_equals_sign() {
        let resume = |words: &[&str]| {
            let words = ["etl", "run"].iter().chain(words);
            match Cli::try_parse_from(words).map(|cli| cli.command) {
                Ok(Command::Run(args)) => args.resume,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(resume(&["a.toml"]), None);
        assert_eq!(resume(&["--resume", "a.toml"]).as_deref(), Some(""));
        assert_eq!(resume(&["--resume=x", "a.toml"]).as_deref(), Some("x"));
    }

    #[test]
    fn a_query_may_begin_with_a_hyphen() {
        for words in [
            ["d", "-a", "--count"],
            ["--count", "d", "-a"],
            ["d", "--count", "-a"],
        ] {
            let words = ["etl", "search"].iter().chain(&words);
            match Cli::try_parse_from(words).map(|cli| cli.command) {
                Ok(Command::Search(args)) => {
                    assert!(args.count);
                    assert_eq!(args.query, "-a");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
