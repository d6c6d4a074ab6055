//! `etl rollback`: back to the index that served before the last load.

use std::process::ExitCode;

use super::{RollbackArgs, output};
use crate::error::{Error, Result};
use crate::pipeline::{self, Overrides};
use crate::stage::bulk_index;

/// Does it for every stage that replaces a server's index.
pub fn run(args: &RollbackArgs) -> Result<ExitCode> {
    let overrides = Overrides {
        sets: args.set.clone(),
        ..Overrides::default()
    };
    let pipeline = pipeline::load(&args.pipeline, &overrides)?;
    let loads = pipeline.steps.iter().filter(|step| {
        let load = step.options.get("load").and_then(toml::Value::as_str);
        step.kind.name == bulk_index::KIND.name && load == Some("replace")
    });
    let mut none = true;
    for step in loads {
        none = false;
        let runs = args.state.join("runs");
        let done = bulk_index::rollback(&step.options, &pipeline.folder, &runs, args.clean)
            .map_err(|error| step.scrub(error.stage(&step.name)))?;
        for line in done {
            output::print(&(line + "\n"))?;
        }
    }
    if none {
        return Err(Error::usage(format!(
            "no stage of `{}` replaces an index",
            args.pipeline.display()
        )));
    }
    Ok(ExitCode::SUCCESS)
}
