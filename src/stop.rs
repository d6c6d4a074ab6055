//! Whether the run was told to stop: set by a signal, looked at between batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// Shared by all threads of a run.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// Is set by SIGINT, SIGTERM and SIGHUP from now on.
    pub fn on_signals() -> Result<Stop> {
        let stop = Stop::default();
        let mut signals = vec![signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
        if !hangup_is_ignored() {
            signals.push(signal_hook::consts::SIGHUP);
        }
        for signal in signals {
            // The first one asks, the second one insists: it ends the program where it stands.
            let asked = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, asked.clone())
                .and_then(|_| signal_hook::flag::register(signal, asked))
                .map_err(|error| Error::failed("cannot listen to signals").cause(error))?;
            let number = usize::try_from(signal).expect("signal numbers are small");
            signal_hook::flag::register_usize(signal, stop.0.clone(), number)
                .map_err(|error| Error::failed("cannot listen to signals").cause(error))?;
        }
        Ok(stop)
    }

    /// Sets it, as if by `SIGTERM`.
    pub fn set(&self) {
        let number =
            usize::try_from(signal_hook::consts::SIGTERM).expect("signal numbers are small");
        self.0.store(number, Ordering::Relaxed);
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

/// Whether the program was started by `nohup` or the like, and is to outlive its terminal.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or_default() >> (signal_hook::consts::SIGHUP - 1) & 1 == 1
}
