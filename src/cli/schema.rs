//! `etl schema`: what a pipeline file may say, for editors.

use std::process::ExitCode;

use clap::Args;

use super::output;
use crate::error::Result;
use crate::pipeline;
use crate::stage::STAGES;

/// Print the JSON Schema of a pipeline file, by which editors complete and check it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  etl schema > etl.schema.json
  then, as the first line of a pipeline file:
  #:schema ./etl.schema.json")]
pub struct SchemaArgs {}

/// Prints the schema.
pub fn run(_args: &SchemaArgs) -> Result<ExitCode> {
    output::print_json(&pipeline::json_schema(STAGES))?;
    Ok(ExitCode::SUCCESS)
}
