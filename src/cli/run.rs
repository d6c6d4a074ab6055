//! `etl run`.

use std::process::ExitCode;

use super::RunArgs;
use crate::error::{Error, Result};

/// Not written yet.
pub fn run(_args: &RunArgs) -> Result<ExitCode> {
    Err(Error::failed("`etl run` is not written yet"))
}
