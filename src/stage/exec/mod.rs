//! `exec`: a command run for each batch of items; what it prints becomes columns of theirs.
//!
//! A command is never run in the process that the user started: its worker ends what it has started when
//! its own standard input ends, so that a run that is killed leaves nothing behind (`Policy::starts_processes`).

mod run;
mod session;
mod shell;
mod template;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};

use self::run::Limits;
use self::session::Running;
use self::shell::Script;
use self::template::Template;
use super::answers::{self, Answers, Columns, Format};
use super::{
    Begun, Folder, Partitioning, Policy, Probe, Properties, Run, Session, Setup, Stage, StageKind,
    Totals,
};
use crate::error::{Error, OfValue, Result, both};
use crate::schema::{Schema, Type};

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "exec",
    summary: "runs a command for each batch of rows, and takes what it prints",
    inputs: &[1],
    sink: false,
    takes_batch_rows: false,
    batch_option: Some("batch"),
    rejects_option: Some("max_failed"),
    options: crate::stage::stage_options!(Options, answers::Options),
    example: r#"
[[stage]]
name = "uptime"
kind = "exec"
inputs = ["hosts"]
executor = "threads"
workers = 8
command = ["ssh", "-o", "BatchMode=yes", "{host}", "uptime"]
output = "lines"
timeout_ms = 30000
"#,
    decode,
    ..StageKind::BASE
};

/// Variables that every command is given, and those that begin like the last one.
const PASSED_ON: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];
const PASSED_ON_PREFIX: &str = "LC_";

/// The column of a line.
const LINE: &str = "line";

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Options {
    /// the program and its arguments; `{column}` is an item's value, `{column,}` those of a batch joined by `,`; `{column}` alone is repeated for each item; other braces stay as they are; run in the pipeline file's folder
    #[schemars(extend("x-type" = "string or list of strings"))]
    command: Command,
    /// `command` is one string for `sh -c`; `{column}` becomes `"$1"` and so on, never part of the text
    #[serde(default)]
    shell: bool,
    /// what the command finds on its standard input: nothing, one value a line, or the items as documents
    #[serde(default)]
    stdin: Stdin,
    /// the values of `stdin = "lines"`
    #[schemars(extend("x-type" = "column"))]
    stdin_column: Option<String>,
    /// what it prints: a record a line, CSV with a header, or a JSON value a line
    #[serde(default)]
    output: Output,
    /// the columns to take from each record: of csv a name in the header, of ndjson a JSON pointer such as `/a/b`
    #[schemars(extend("x-type" = "table column = place, or list of names", "x-default" = "`line`, where each line is a record"))]
    #[serde(default)]
    columns: Columns,
    /// variables that it is given beside PATH, HOME, LANG, LC_*, TZ and TMPDIR; names are of those that etl has
    #[schemars(extend("x-type" = "list of names, or table name = value"))]
    #[serde(default)]
    env: Env,
    /// a command that takes longer is ended, and its items are rejects; 0: no limit
    #[serde(default = "an_hour")]
    #[schemars(extend("x-execution" = true))]
    timeout_ms: u64,
    /// time between SIGTERM and SIGKILL for a command that is ended, and what it leaves running
    #[serde(default = "five_seconds")]
    #[schemars(extend("x-execution" = true))]
    grace_ms: u64,
    /// a command that prints more is ended, and its items are rejects
    #[serde(default = "sixty_four_mebibytes")]
    max_output_bytes: usize,
    /// it may be run again for the same items where a worker process died; otherwise they are rejects
    #[serde(default)]
    idempotent: bool,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a list of strings, or with `shell = true` a string"
)]
enum Command {
    Text(String),
    Words(Vec<String>),
}

/// What a command finds on its standard input.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum Stdin {
    #[default]
    None,
    Lines,
    Ndjson,
}

/// What a command prints.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum Output {
    #[default]
    Lines,
    Csv,
    Ndjson,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a list of names, or a table of names and values"
)]
enum Env {
    Names(Vec<String>),
    Values(BTreeMap<String, String>),
}

impl Default for Env {
    fn default() -> Self {
        Env::Names(Vec::new())
    }
}

const fn an_hour() -> u64 {
    3_600_000
}

const fn five_seconds() -> u64 {
    5_000
}

const fn sixty_four_mebibytes() -> usize {
    64 << 20
}

fn decode(table: toml::Table) -> Result<Box<dyn Stage>> {
    let mut shared: answers::Options = super::options(table.clone())?;
    let mut options: Options = super::options(table)?;
    match (&options.command, options.shell) {
        (Command::Text(_), false) => {
            return Err(
                Error::usage("`command` is one string, which only a shell takes apart")
                    .hint("write a list, `[\"program\", \"argument\"]`, or set `shell = true`")
                    .of(["command"])
                    .of(["shell"]),
            );
        }
        (Command::Words(_), true) => {
            return Err(
                Error::usage("`command` is a list, and a shell takes one string")
                    .hint("write one string, or leave `shell` out")
                    .of(["command"])
                    .of(["shell"]),
            );
        }
        (Command::Words(words), false) if words.first().is_none_or(String::is_empty) => {
            return Err(Error::usage("`command` names no program").of(["command"]));
        }
        _ => {}
    }
    match (options.stdin, &options.stdin_column) {
        (Stdin::Lines, None) => {
            return Err(Error::usage("`stdin = \"lines\"` needs `stdin_column`")
                .of(["stdin"])
                .of(["stdin_column"]));
        }
        (Stdin::None | Stdin::Ndjson, Some(_)) => {
            return Err(Error::usage("`stdin_column` goes with `stdin = \"lines\"`")
                .of(["stdin_column"])
                .of(["stdin"]));
        }
        _ => {}
    }
    shared.columns = std::mem::take(&mut options.columns);
    let nothing = matches!(&shared.columns, Columns::List(names) if names.is_empty());
    if nothing && options.output == Output::Lines {
        shared.columns = Columns::List(vec![LINE.into()]);
    }
    let format = match options.output {
        Output::Lines => Format::Lines,
        Output::Csv => Format::Csv,
        Output::Ndjson => Format::Ndjson,
    };
    let answers = Answers::new(&shared, format)?;
    Ok(Box::new(Exec {
        options,
        answers,
        batch: shared.batch,
        rejects_max: shared.rejects_max(),
    }))
}

struct Exec {
    options: Options,
    answers: Answers,
    batch: usize,
    rejects_max: Option<u64>,
}

/// What every session needs to open: a worker process cannot find it in its own environment.
#[derive(Debug, Serialize, Deserialize)]
struct SessionConfig {
    folder: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Exec {
    fn template(&self, input: &Schema) -> Result<Template> {
        let template = match &self.options.command {
            Command::Words(words) => Template::program(words, input),
            Command::Text(text) => Template::Shell(Script::new(text, input).of(["command"])?),
        };
        template
            .check_batch(self.batch, input)
            .of(["command"])
            .of(["batch"])?;
        Ok(template)
    }

    fn stdin_column(&self, input: &Schema) -> Result<Option<usize>> {
        let column = self.options.stdin_column.as_deref();
        let index = |name: &str| {
            let at = input.index(name).under("stdin_column");
            let at = at.map_err(|error| error.about("stdin_column"))?;
            match input.fields[at].ty {
                Type::Binary => Err(Error::usage(format!("`stdin_column`: `{name}` is no text"))
                    .of(["stdin_column"])),
                _ => Ok(at),
            }
        };
        column.map(index).transpose()
    }

    fn limits(&self) -> Limits {
        Limits {
            time: (self.options.timeout_ms > 0)
                .then(|| Duration::from_millis(self.options.timeout_ms)),
            grace: Duration::from_millis(self.options.grace_ms),
            output_bytes: self.options.max_output_bytes,
        }
    }

    /// The environment of a command, and what is listed but not there.
    fn environment(&self) -> (Vec<(OsString, OsString)>, Vec<String>) {
        let listed = match &self.options.env {
            Env::Names(names) => names.clone(),
            Env::Values(_) => Vec::new(),
        };
        let passed = |name: &str| {
            PASSED_ON.contains(&name)
                || name.starts_with(PASSED_ON_PREFIX)
                || listed.iter().any(|listed| listed == name)
        };
        let mut environment: Vec<(OsString, OsString)> = std::env::vars_os()
            .filter(|(name, _)| name.to_str().is_some_and(passed))
            .collect();
        if let Env::Values(values) = &self.options.env {
            environment.extend(
                values
                    .iter()
                    .map(|(name, value)| (name.into(), value.into())),
            );
        }
        let unset = listed
            .into_iter()
            .filter(|name| std::env::var_os(name).is_none());
        (environment, unset.collect())
    }
}

/// Where a program is: a path below the pipeline's folder, or a name looked for in PATH.
fn find(program: &str, folder: &Path) -> Result<String> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = if program.contains('/') {
        vec![folder.join(program)]
    } else {
        std::env::split_paths(&paths)
            .map(|path| path.join(program))
            .collect()
    };
    let runs = |place: &&PathBuf| place.is_file() && access(*place, AccessFlags::X_OK).is_ok();
    match places.iter().find(runs) {
        Some(place) => Ok(format!("is {}", place.display())),
        None => Err(Error::failed(format!("there is no program `{program}`"))
            .hint("a name is looked for in PATH, a path from the pipeline file's folder")),
    }
}

impl Stage for Exec {
    fn probe(&self, folder: &Folder) -> Vec<Probe> {
        let program = match &self.options.command {
            Command::Words(words) => words.first().map_or("", String::as_str),
            Command::Text(_) => "sh",
        };
        if program.contains('{') {
            return Vec::new();
        }
        vec![Probe::new(program, find(program, &folder.0))]
    }

    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Requests]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        let input = &inputs[0];
        let asked = both(self.template(input), self.stdin_column(input));
        both(asked, self.answers.schema(Some(input))).map(|(_, schema)| schema)
    }

    fn properties(&self) -> Properties {
        Properties {
            batch_rows: Some(self.batch),
            policy: Some(Policy {
                again: self.options.idempotent,
                rejects_max: self.rejects_max,
                ending: Some(Duration::from_millis(self.options.grace_ms)),
                starts_processes: true,
                ..Policy::default()
            }),
            ..Properties::default()
        }
    }

    fn lint(&self, inputs: &[Schema], _folder: &Folder) -> Vec<String> {
        let Ok(template) = self.template(&inputs[0]) else {
            return Vec::new();
        };
        let misses = template.near_misses(&inputs[0]);
        let warnings = misses.iter().map(|(word, column)| {
            format!("`command`: `{{{word}}}` names no input column and stays as it is; did you mean `{{{column}}}`?")
        });
        let mut warnings: Vec<String> = warnings.collect();
        if template.columns().is_empty() && self.options.stdin == Stdin::None {
            warnings.push("`command` takes nothing of its items: no column, no stdin".into());
        }
        warnings
    }

    fn begin(&self, run: &Run, _inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let folder = std::path::absolute(&run.folder.0)
            .or_else(|_| std::env::current_dir())
            .map_err(|error| Error::io("find the folder", run.folder.0.display(), &error))?;
        let (environment, unset) = self.environment();
        let config = SessionConfig {
            folder,
            environment,
        };
        let warnings = unset
            .iter()
            .map(|name| format!("`env` lists `{name}`, which is not set"));
        Ok(Begun {
            session_config: serde_json::to_value(config).expect("it is plain data"),
            warnings: warnings.collect(),
            ..Begun::default()
        })
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        let input = &setup.inputs[0];
        let config: SessionConfig =
            serde_json::from_value(setup.session_config).map_err(|error| {
                Error::failed("a worker process received no environment for its commands")
                    .cause(error)
            })?;
        Ok(Box::new(Running {
            template: self.template(input)?,
            stdin: self.options.stdin,
            stdin_column: self.stdin_column(input)?,
            limits: self.limits(),
            reader: self.answers.reader(Some(input))?,
            input: input.clone(),
            config,
            stop: setup.stop,
        }))
    }

    fn finish(&self, totals: &mut Totals) -> Result<()> {
        self.answers.warn(totals, &[]);
        Ok(())
    }
}
