//! `etl worker`: the child's side of the processes executor. Not for users.

use std::process::ExitCode;

use super::WorkerArgs;
use crate::error::Result;
use crate::executor::processes;

/// Works until standard input ends.
pub fn run(_args: &WorkerArgs) -> Result<ExitCode> {
    processes::work(std::io::stdin().lock(), std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}
