//! `etl check`: everything that can be known of a pipeline before a row moves; with `--connect` also
//! whether what it needs outside is there.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Color, PipelineArgs, output};
use crate::cluster;
use crate::error::{Class, Error, Result};
use crate::pipeline::{Pipeline, Step};
use crate::schema::{Field, Schema, count, list};
use crate::shown;
use crate::stage::Probe;
use crate::stop::Stop;

/// Text is kept within this.
const WIDTH: usize = 80;

/// Of things that are alike so many are named: with more, the line is no longer read.
const NAMES_MAX: usize = 10;

/// Check a pipeline as far as that needs no rows
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  etl check donors.toml
  etl check donors.toml --schema          each stage's output columns
  etl check donors.toml --connect         are files, folders and servers there?
  etl check donors.toml --set dates.on_error=fail")]
pub struct CheckArgs {
    /// The pipeline and what is changed in it.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Print each stage's output columns
    #[arg(long)]
    pub schema: bool,
    /// Look whether files, folders and servers are there and let us in; nothing is changed
    #[arg(long)]
    pub connect: bool,
    /// With `--connect`: also a look from a cluster's tasks; without URL at `master` of the table `[cluster]`
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "", value_parser = super::master, requires = "connect")]
    pub cluster: Option<String>,
    /// Print nothing but errors
    #[arg(long, short, conflicts_with_all = ["json", "schema"])]
    pub quiet: bool,
    /// Print stages and columns as JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints `ok` and, if asked, what each stage gives.
pub fn run(args: &CheckArgs, color: Color) -> Result<ExitCode> {
    let (pipeline, schemas) = match args.pipeline.check() {
        Ok((pipeline, schemas)) => (pipeline, Ok(schemas)),
        // A missing file or server is reported before the columns that it would give.
        Err(error) if args.connect => match args.pipeline.load() {
            Ok(pipeline) => (pipeline, Err(error)),
            Err(_) => return Err(error),
        },
        Err(error) => return Err(error),
    };
    let mut probes = if args.connect {
        probes(&pipeline)
    } else {
        Vec::new()
    };
    if let (Some(master), None) = (&args.cluster, missing(&probes)) {
        let looked = look_at_cluster(&pipeline, master)?;
        probes.extend(looked.into_iter().map(|probe| (CLUSTER, probe)));
    }
    if let Some(missing) = missing(&probes) {
        let printed = if args.json {
            let probes = probes_as_json(&probes);
            output::print_json(&json!({ "pipeline": pipeline.name, "looks": probes }))
        } else if !args.quiet {
            output::print_prose(&probes_as_text(&probes))
        } else {
            Ok(())
        };
        // A reader that has gone hides no failure.
        drop(printed);
        return Err(missing);
    }
    let schemas = schemas?;
    let warnings = pipeline.lint(&schemas).into_iter();
    for warning in warnings.chain(pipeline.lint_of_new_files()) {
        output::print_warning(&warning, color);
    }
    if args.json {
        let mut json = as_json(&pipeline, &schemas);
        if args.connect {
            json["looks"] = probes_as_json(&probes);
        }
        output::print_json(&json)?;
    } else if !args.quiet {
        output::print_prose(&probes_as_text(&probes))?;
        let mut text = format!("ok: {}\n", count(pipeline.steps.len(), "stage"));
        if args.schema {
            text.push_str(&columns(&pipeline, &schemas));
        }
        output::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What every stage needs outside, looked at; each with its stage.
fn probes(pipeline: &Pipeline) -> Vec<(&str, Probe)> {
    let of_step = |step| {
        let Step { name, stage, .. }: &Step = step;
        let probes = stage.probe(&pipeline.folder).into_iter();
        let scrubbed = move |probe: Probe| Probe {
            at: step.secrets().clean(&probe.at),
            found: match probe.found {
                Ok(found) => Ok(step.secrets().clean(&found)),
                Err(error) => Err(step.placed(error)),
            },
        };
        probes.map(move |probe| (name.as_str(), scrubbed(probe)))
    };
    pipeline.steps.iter().flat_map(of_step).collect()
}

/// What stands in place of a stage's name before a look from a cluster.
const CLUSTER: &str = "cluster";

/// What the cluster's tasks see. Nothing is looked at where something is missing on this machine already.
fn look_at_cluster(pipeline: &Pipeline, master: &str) -> Result<Vec<Probe>> {
    let master = Some(master).filter(|master| !master.is_empty());
    let config = pipeline.cluster.at(master, &pipeline.folder)?;
    let mut files = Vec::new();
    for step in &pipeline.steps {
        files.extend(step.files(&pipeline.folder)?);
    }
    Ok(cluster::look(&config, &files, &Stop::on_signals()?))
}

/// The error if something is not as the pipeline needs it: the one there is, or all of them in one.
fn missing(probes: &[(&str, Probe)]) -> Option<Error> {
    let errors = probes
        .iter()
        .filter_map(|(_, probe)| probe.found.as_ref().err());
    let errors: Vec<&Error> = errors.collect();
    if let [one] = errors[..] {
        return Some(Error {
            class: Class::Failed,
            ..one.clone()
        });
    }
    let message = format!(
        "{} things that the pipeline needs are missing or not as it needs them",
        errors.len()
    );
    let all = Error::failed(message);
    let with = |all: Error, of: Alike| {
        let (Ok(found) | Err(found)) = &of.found;
        let all = all.cause(format!("stage `{}`: {found}{}", of.stage, of.more()));
        match of.hint {
            Some(hint) => all.cause(format!("hint: {hint}")),
            None => all,
        }
    };
    let alike = alike(probes).into_iter().filter(|of| of.found.is_err());
    (!errors.is_empty()).then(|| alike.fold(all, with))
}

/// Looks of one stage that found the same but for the name of what was looked at.
struct Alike<'a> {
    stage: &'a str,
    /// What the first of them looked at, and what it found or missed.
    at: &'a str,
    found: Result<String, String>,
    /// What to do about what they missed.
    hint: Option<&'a str>,
    /// What the others looked at.
    also: Vec<&'a str>,
    key: Result<String, String>,
}

impl Alike<'_> {
    fn more(&self) -> String {
        let shown = self.also.len().min(NAMES_MAX - 1);
        let names = list(&self.also[..shown]);
        match self.also.len() - shown {
            _ if shown == 0 => String::new(),
            0 => format!(" (also {names})"),
            more => format!(" (also {names} and {more} more: `--json` names all)"),
        }
    }
}

fn alike<'a>(probes: &'a [(&'a str, Probe)]) -> Vec<Alike<'a>> {
    let mut all: Vec<Alike> = Vec::new();
    for (stage, probe) in probes {
        let found = match &probe.found {
            Ok(found) => Ok(found.clone()),
            Err(error) => Err(in_a_line(error)),
        };
        let without = |text: &String| text.replace(&probe.at, "");
        let key = found.as_ref().map(without).map_err(without);
        let hint = probe
            .found
            .as_ref()
            .err()
            .and_then(|error| error.hint.as_deref());
        let known = |of: &&mut Alike| of.stage == *stage && of.key == key && of.hint == hint;
        if let Some(of) = all.iter_mut().find(known) {
            of.also.push(&probe.at);
            continue;
        }
        all.push(Alike {
            stage,
            at: &probe.at,
            found,
            hint,
            also: Vec::new(),
            key,
        });
    }
    all
}

/// What is wrong, and why.
fn in_a_line(error: &Error) -> String {
    let causes = error.causes.iter().map(String::as_str);
    let parts: Vec<&str> = std::iter::once(error.message.as_str())
        .chain(causes)
        .collect();
    parts.join(": ")
}

/// A line a look that found what it should; of those that found the same one line. The errors are reported by themselves.
fn probes_as_text(probes: &[(&str, Probe)]) -> String {
    let names = probes.iter().map(|(stage, _)| stage.chars().count());
    let width = names.max().unwrap_or(0);
    let mut text = String::new();
    for of in alike(probes) {
        let Ok(found) = &of.found else {
            continue;
        };
        let line = format!("{:width$}  {}: {found}{}", of.stage, of.at, of.more());
        let hanging = " ".repeat(width + 4);
        text.push_str(&output::wrap(&shown::line(&line), WIDTH, &hanging));
        text.push('\n');
    }
    text
}

fn probes_as_json(probes: &[(&str, Probe)]) -> Value {
    let probes = probes.iter().map(|(stage, probe)| {
        let (found, error) = match &probe.found {
            Ok(found) => (Some(found), None),
            Err(error) => (None, Some(&error.message)),
        };
        json!({ "stage": stage, "at": probe.at, "found": found, "error": error })
    });
    probes.collect()
}

/// Each stage's output columns, a line each.
fn columns(pipeline: &Pipeline, schemas: &[Schema]) -> String {
    let mut text = String::new();
    for (step, schema) in pipeline.steps.iter().zip(schemas) {
        let columns = count(schema.fields.len(), "column");
        text.push_str(&format!(
            "\n{} ({}): {columns}\n",
            step.name, step.kind.name
        ));
        let names = schema.names().map(|name| shown::line(name).chars().count());
        let width = names.max().unwrap_or(0);
        for field in &schema.fields {
            let name = shown::line(&field.name);
            text.push_str(&format!("  {name:width$}  {}\n", in_words(field)));
        }
    }
    text
}

fn in_words(field: &Field) -> String {
    let unwrapped = if field.unwrap {
        ", or its one value"
    } else {
        ""
    };
    let json = if field.json { " (JSON)" } else { "" };
    format!("{}{json}{unwrapped}", field.ty.name())
}

fn as_json(pipeline: &Pipeline, schemas: &[Schema]) -> serde_json::Value {
    let column = |field: &Field| json!({ "name": field.name, "type": field.ty.name(), "unwrap": field.unwrap });
    let stages = pipeline.steps.iter().zip(schemas).map(|(step, schema)| {
        let columns: Vec<_> = schema.fields.iter().map(column).collect();
        json!({ "name": step.name, "kind": step.kind.name, "columns": columns })
    });
    json!({ "pipeline": pipeline.name, "stages": stages.collect::<Vec<_>>() })
}
