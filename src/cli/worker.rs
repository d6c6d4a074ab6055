//! `etl worker`.

use std::process::ExitCode;

use super::WorkerArgs;
use crate::error::{Error, Result};

/// Not written yet.
pub fn run(_args: &WorkerArgs) -> Result<ExitCode> {
    Err(Error::failed("`etl worker` is not written yet"))
}
