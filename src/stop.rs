//! Whether the run was told to stop: set by a signal, looked at between batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// Shared by all threads of a run.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// Is set by SIGINT and SIGTERM from now on.
    pub fn on_signals() -> Result<Stop> {
        let stop = Stop::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let number = usize::try_from(signal).expect("signal numbers are small");
            signal_hook::flag::register_usize(signal, stop.0.clone(), number)
                .map_err(|error| Error::failed("cannot listen to signals").cause(error))?;
        }
        Ok(stop)
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// An error if it is set.
    pub fn check(&self) -> Result<()> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Error::interrupted(
                i32::try_from(signal).expect("signal numbers are small"),
            )),
        }
    }
}
