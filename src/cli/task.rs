//! `etl task`: one task of a cluster run. Not for users.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::ExitCode;

use crate::cluster::task;
use crate::error::{Error, Result};
use crate::stage::STAGES;

/// Do one task of a cluster run over standard input and output
#[derive(Debug, clap::Args)]
pub struct TaskArgs {}

/// Works until its report is written.
pub fn run(_args: &TaskArgs) -> Result<ExitCode> {
    let cannot = |what| {
        move |error: std::io::Error| {
            Error::failed(format!("cannot use standard {what}")).cause(error)
        }
    };
    // The pipes themselves: what the library buffers no thread can share.
    let stdin = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(cannot("input"))?;
    let stdout = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map_err(cannot("output"))?;
    task::run(STAGES, File::from(stdin), File::from(stdout))?;
    Ok(ExitCode::SUCCESS)
}
