//! `etl replay`: what a run rejected, sent again.

use std::process::ExitCode;

use serde_json::Value;

use super::run::{FilesArgs, RunArgs};
use super::{Color, PipelineArgs, Progress, SetArgs, TellArgs};
use crate::error::{Error, Result};
use crate::executor::Grid;
use crate::pipeline::{self, Pipeline, Step};
use crate::stage::RUN_FILE;
use crate::state::history::History;

/// Send again what a run's load into a server rejected
#[derive(Debug, clap::Args)]
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
    /// What is changed in the pipeline.
    #[command(flatten)]
    pub set: SetArgs,
    /// Where its results are printed.
    #[command(flatten)]
    pub tell: TellArgs,
}

/// Runs a pipeline of two stages: the rejected documents, and the load that takes them.
pub fn run(args: &ReplayArgs, color: Color) -> Result<ExitCode> {
    super::run::execute(|| load(args), &as_run(args), color)
}

fn load(args: &ReplayArgs) -> Result<Pipeline> {
    let run = &History::of(&args.tell.state).find(&args.run)?;
    let folder = args.tell.state.join("runs").join(run);
    let known = std::fs::read(folder.join(RUN_FILE))
        .map_err(|error| Error::io("read what is known of run", run, &error))?;
    let known: Value = serde_json::from_slice(&known)
        .map_err(|error| Error::failed("what is known of the run is damaged").cause(error))?;
    let Some(file) = known["pipeline_file"].as_str() else {
        let error = format!("`{run}` is a comparison, which is not replayed");
        return Err(Error::usage(error).hint("name a run of `etl run`"));
    };
    let pipeline = pipeline::load(file.as_ref(), &args.set.overrides())?;
    let loads = pipeline.steps.iter();
    let mut loads = loads.filter_map(|step| Some((step, step.kind.index?)));
    let (load, index) = match (loads.next(), loads.next()) {
        (Some(load), None) => load,
        (None, _) => {
            return Err(Error::usage(format!(
                "`{file}` loads no index: only what a server rejected can be sent again"
            ))
            .hint(format!(
                "`etl report {run}` says why rows were rejected; correct the input, and run the pipeline again"
            )));
        }
        _ => {
            return Err(Error::usage(format!(
                "`{file}` has more than one stage that loads an index: none of them can be sent again"
            ))
            .hint("correct the input, and run the pipeline again"));
        }
    };
    let replayed = index.replay(
        &load.options,
        &pipeline.folder,
        &folder,
        &load.name,
        args.force,
    );
    let stages = replayed.map_err(|error| load.scrub(error.stage(&load.name)))?;
    let [(rejects, gives), (kind, takes)] = stages;
    let step = |name: &str, kind, inputs, options, stage| Step {
        name: name.to_owned(),
        kind,
        inputs,
        grid: Grid::SEQUENTIAL,
        on_cluster: false,
        batch_rows: None,
        options,
        stage,
        section: None,
    };
    Ok(Pipeline {
        name: format!("{} (replay of {run})", pipeline.name),
        file: pipeline.file.clone(),
        folder: pipeline.folder.clone(),
        max_rejects: pipeline.max_rejects,
        steps: vec![
            step(rejects.name, rejects, Vec::new(), toml::Table::new(), gives),
            step(&load.name, kind, vec![0], load.options.clone(), takes),
        ],
        cluster: pipeline.cluster.clone(),
        sinks_cut_off: false,
    })
}

/// The arguments that mean the same here.
fn as_run(args: &ReplayArgs) -> RunArgs {
    RunArgs {
        files: FilesArgs::default(),
        cluster: None,
        pipeline: PipelineArgs {
            file: args.run.clone().into(),
            set: args.set.clone(),
            sequential: false,
            parallel: false,
        },
        staged: false,
        until: None,
        tell: args.tell.clone(),
        digest: false,
        resume: None,
        progress: Progress::default(),
        of_replay: true,
    }
}
