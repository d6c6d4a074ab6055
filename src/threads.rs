//! Starting threads. Where the system refuses another thread or process, that is an error that ends the run
//! in order: it says what could not be started, how many there were, and which limit to look at.

use std::fmt::Display;
use std::thread::{Builder, JoinHandle};

use crate::error::Error;

/// Starts a thread; debuggers show its name.
pub(crate) fn start<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    let started = Builder::new().name(name.into()).spawn(work);
    started.map_err(|error| refused("a thread", error))
}

/// The system refuses to start `what`.
pub(crate) fn refused(what: impl Display, error: impl Display) -> Error {
    let failed = Error::failed(format!("cannot start {what}")).cause(error);
    let failed = match running() {
        Some(threads) => failed.cause(format!("this process has {threads} threads now")),
        None => failed,
    };
    failed.hint(
        "raise the limit of processes (`ulimit -u`, a container's `pids.max`) or of memory \
         (`ulimit -v`), or lower `workers`",
    )
}

/// How many threads this process has.
fn running() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))?;
    line.trim().parse().ok()
}
