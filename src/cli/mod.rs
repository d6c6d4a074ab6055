//! The command line: what each command takes, and the one place where errors are printed. A command is a
//! file beside this one; only they write to standard output, through [`output`].

pub mod check;
pub mod compare;
pub mod completions;
pub mod output;
pub mod plan;
pub mod preview;
pub mod replay;
pub mod report;
pub mod rollback;
pub mod run;
pub mod schema;
pub mod search;
pub mod stages;
pub mod task;
pub mod tune;
pub mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cluster;
use crate::error::{Error, Result};
use crate::pipeline::{self, Overrides, Pipeline};
use crate::schema::Schema;

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
    /// Colour.
    #[command(flatten)]
    color: ColorArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Check(check::CheckArgs),
    Plan(plan::PlanArgs),
    Compare(compare::CompareArgs),
    Report(report::ReportArgs),
    Preview(preview::PreviewArgs),
    Tune(tune::TuneArgs),
    Stages(stages::StagesArgs),
    Schema(schema::SchemaArgs),
    Search(search::SearchArgs),
    Replay(replay::ReplayArgs),
    Rollback(rollback::RollbackArgs),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
    #[command(hide = true)]
    Task(task::TaskArgs),
}

/// Where runs are kept, unless `--state` says so.
const STATE: &str = ".etl";

/// A pipeline file, and what the command line changes in it.
#[derive(Debug, Args)]
pub struct PipelineArgs {
    /// The pipeline file (TOML)
    #[arg(value_name = "PIPELINE")]
    pub file: PathBuf,
    /// What else is changed in it.
    #[command(flatten)]
    pub set: SetArgs,
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
        pipeline::load(&self.file, &self.overrides())
    }

    /// The pipeline as changed, with each step's columns; or all that is wrong with them.
    pub fn check(&self) -> Result<(Pipeline, Vec<Schema>)> {
        pipeline::check(&self.file, &self.overrides())
    }

    fn overrides(&self) -> Overrides {
        Overrides {
            sequential: self.sequential,
            parallel: self.parallel,
            ..self.set.overrides()
        }
    }
}

/// What the command line changes in a pipeline file, but for where its stages are executed.
#[derive(Debug, Clone, Args)]
pub struct SetArgs {
    /// Change a value; `*`: every stage that takes KEY; no STAGE: top level
    #[arg(long = "set", value_name = "STAGE.KEY=VALUE")]
    pub sets: Vec<String>,
}

impl SetArgs {
    /// As the pipeline takes them.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            sets: self.sets.clone(),
            ..Overrides::default()
        }
    }
}

/// Where the results of stages that were run are printed.
#[derive(Debug, Clone, Args)]
pub struct TellArgs {
    /// Write the report (JSON) here, however it ends
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Where runs are kept
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
    /// No progress and no table; warnings and errors stay
    #[arg(long, short)]
    pub quiet: bool,
    /// The report on standard output in place of the table
    #[arg(long)]
    pub json: bool,
}

/// A number of things on the command line, none too.
fn whole(text: &str) -> std::result::Result<usize, String> {
    text.parse().map_err(|_| "expected a whole number".into())
}

/// A Spark master on the command line; nothing: the one in the pipeline file.
fn master(text: &str) -> std::result::Result<String, String> {
    if text.is_empty() || cluster::is_master(text) {
        return Ok(text.into());
    }
    Err(format!(
        "expected {}; alone it stands after the pipeline",
        cluster::MASTERS
    ))
}

/// A number of things on the command line, at least one.
fn positive(text: &str) -> std::result::Result<usize, String> {
    match whole(text) {
        Ok(0) | Err(_) => Err("expected a whole number above 0".into()),
        number => number,
    }
}

/// Colour, for every command.
#[derive(Debug, Clone, Copy, Args)]
pub struct ColorArgs {
    /// When to use it.
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        global = true,
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
    output::print_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            if error.use_stderr() {
                output::print_lines(&error.to_string(), Color::Auto);
            } else {
                // Help and version are our own words. Nobody is left to tell if they cannot be printed.
                let _ = error.print();
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let color = cli.color.color;
    let ran = crate::stop::outlive_file_size_limit().and_then(|()| cli.command.run(color));
    ran.unwrap_or_else(|error| {
        output::print_error(&error, color);
        ExitCode::from(error.exit_code())
    })
}

impl Command {
    fn run(&self, color: Color) -> Result<ExitCode, Error> {
        match self {
            Command::Run(args) => run::run(args, color),
            Command::Check(args) => check::run(args, color),
            Command::Plan(args) => plan::run(args, color),
            Command::Compare(args) => compare::run(args, color),
            Command::Report(args) => report::run(args, color),
            Command::Preview(args) => preview::run(args, color),
            Command::Tune(args) => tune::run(args, color),
            Command::Stages(args) => stages::run(args),
            Command::Schema(args) => schema::run(args),
            Command::Search(args) => search::run(args, color),
            Command::Replay(args) => replay::run(args, color),
            Command::Rollback(args) => rollback::run(args),
            Command::Completions(args) => completions::run(args),
            Command::Worker(args) => worker::run(args),
            Command::Task(args) => task::run(args),
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
