//! `etl search`.

use std::process::ExitCode;

use super::SearchArgs;
use crate::error::{Error, Result};

/// Not written yet.
pub fn run(_args: &SearchArgs) -> Result<ExitCode> {
    Err(Error::failed("`etl search` is not written yet"))
}
