//! `etl worker`: the child's side of the processes executor. Not for users.

use std::process::ExitCode;

use crate::error::Result;
use crate::executor::processes;

/// Serve a parent process over standard input and output
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {}

/// Works until standard input ends.
pub fn run(_args: &WorkerArgs) -> Result<ExitCode> {
    processes::work(std::io::stdin().lock(), std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}
