//! `etl task`: one task of a cluster run. Not for users.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use crate::cluster::task;
use crate::error::{Error, Result};
use crate::stage::STAGES;

/// Do one task of a cluster run over standard input and output
#[derive(Debug, clap::Args)]
pub struct TaskArgs {}

/// Works until its report is written.
pub fn run(_args: &TaskArgs) -> Result<ExitCode> {
    let cannot = |error| Error::failed("cannot use standard input and output").cause(error);
    // The pipes themselves: what the library buffers no thread can share.
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    let stdout = std::io::stdout().as_fd().try_clone_to_owned();
    let (stdin, stdout): (OwnedFd, OwnedFd) = (stdin.map_err(cannot)?, stdout.map_err(cannot)?);
    task::run(STAGES, File::from(stdin), File::from(stdout))?;
    Ok(ExitCode::SUCCESS)
}
