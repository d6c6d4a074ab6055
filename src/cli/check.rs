//! `etl check`: everything that can be known of a pipeline before a row moves.

use std::process::ExitCode;

use serde_json::json;

use super::{PipelineArgs, output};
use crate::error::Result;
use crate::pipeline::{Pipeline, count};
use crate::schema::{Field, Schema};

/// Check a pipeline as far as that needs no rows
#[derive(Debug, clap::Args)]
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
}

/// Prints `ok` and, if asked, what each stage gives.
pub fn run(args: &CheckArgs) -> Result<ExitCode> {
    let pipeline = args.pipeline.load()?;
    let schemas = pipeline.schemas()?;
    if args.json {
        output::print_json(&as_json(&pipeline, &schemas))?;
    } else if !args.quiet {
        let mut text = format!("ok: {}\n", count(pipeline.steps.len(), "stage"));
        if args.schema {
            text.push_str(&columns(&pipeline, &schemas));
        }
        output::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
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
        let names = schema.names().map(|name| name.chars().count());
        let width = names.max().unwrap_or(0);
        for field in &schema.fields {
            text.push_str(&format!("  {:width$}  {}\n", field.name, in_words(field)));
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
    format!("{}{unwrapped}", field.ty.word())
}

fn as_json(pipeline: &Pipeline, schemas: &[Schema]) -> serde_json::Value {
    let column = |field: &Field| json!({ "name": field.name, "type": field.ty.word(), "unwrap": field.unwrap });
    let stages = pipeline.steps.iter().zip(schemas).map(|(step, schema)| {
        let columns: Vec<_> = schema.fields.iter().map(column).collect();
        json!({ "name": step.name, "kind": step.kind.name, "columns": columns })
    });
    json!({ "pipeline": pipeline.name, "stages": stages.collect::<Vec<_>>() })
}
