//! `etl rollback`: back to the index that served before the last load.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{STATE, SetArgs, output};
use crate::error::{Error, Result};
use crate::pipeline;
use crate::shown;

/// Go back to the index that served before the last load
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  etl rollback donors.toml
  etl rollback donors.toml --clean        delete what loads left half done
  etl rollback donors.toml --clean --force    also what runs of other state folders left")]
pub struct RollbackArgs {
    /// The pipeline file with the stage that replaces the index
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,
    /// Delete indices that loads left half done; change nothing else
    #[arg(long)]
    pub clean: bool,
    /// With `--clean`: also delete what a run of another state folder has begun, which may still go on
    #[arg(long, requires = "clean")]
    pub force: bool,
    /// What is changed in the pipeline.
    #[command(flatten)]
    pub set: SetArgs,
    /// Where runs keep their report and rejects
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

/// Does it for every stage that replaces an index.
pub fn run(args: &RollbackArgs) -> Result<ExitCode> {
    if args.pipeline.is_dir() {
        let error = format!(
            "`{}` is a folder, not a pipeline file",
            args.pipeline.display()
        );
        return Err(Error::usage(error).hint(
            "name the pipeline file whose stage replaces the index: `etl rollback PIPELINE`",
        ));
    }
    let pipeline = pipeline::load(&args.pipeline, &args.set.overrides())?;
    let steps = pipeline.steps.iter();
    let loads = steps.filter_map(|step| Some((step, step.kind.index?)));
    let mut none = true;
    for (step, index) in loads.clone() {
        let (option, replace) = index.replacing();
        let load = step.options.get(option).and_then(toml::Value::as_str);
        if load != Some(replace) {
            continue;
        }
        none = false;
        let runs = args.state.join("runs");
        let folder = &pipeline.folder;
        let done = index
            .rollback(&step.options, folder, &runs, args.clean, args.force)
            .map_err(|error| step.scrub(error.stage(&step.name)))?;
        for line in done {
            output::print_prose(&(line + "\n"))?;
        }
    }
    if none {
        let error = Error::usage(format!(
            "no stage of `{}` replaces an index",
            args.pipeline.display()
        ));
        return Err(match loads.map(|(step, index)| (step, index.replacing())).next() {
            Some((load, (option, replace))) => error.hint(format!(
                "if the run had it from `--set`, give it the same again: `etl rollback {} --set {}.{option}={replace}`",
                shown::word(&args.pipeline.to_string_lossy()),
                load.name
            )),
            None => error.hint("files that a run has replaced are not kept"),
        });
    }
    Ok(ExitCode::SUCCESS)
}
