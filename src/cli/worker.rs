//! `etl worker`: the child's side of the processes executor. Not for users.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::ExitCode;

use crate::error::{Error, Result};
use crate::executor::processes;
use crate::stage::STAGES;

/// Serve a parent process over standard input and output
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {}

/// Works until standard input ends.
pub fn run(_args: &WorkerArgs) -> Result<ExitCode> {
    // The pipe itself: standard output as the library has it looks for ends of lines.
    let stdout = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| Error::failed("cannot use standard output").cause(error))?;
    processes::work(STAGES, std::io::stdin().lock(), File::from(stdout))?;
    Ok(ExitCode::SUCCESS)
}
