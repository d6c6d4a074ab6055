//! Whether the run was told to stop: set by a signal or by a deadline, looked at between batches.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use signal_hook::iterator::Signals;

use crate::clock;
use crate::error::{Error, Result};
use crate::threads;

/// What is printed after a run takes no longer, or its reader has stopped.
const PRINTING: Duration = Duration::from_millis(500);
/// How often is looked, after the first signal, what became of it.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A signal that comes this long after the first one insists. Sooner it may be the same: `timeout` sends
/// its own to the program, and then to its group.
const INSISTS: Duration = Duration::from_secs(1);

/// Shared by all threads of a run.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    signal: Arc<AtomicUsize>,
    deadline: Option<Duration>,
}

/// The signal that this process met.
static SIGNAL: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

impl Stop {
    /// Is set by the signals that [`Stop::on_signals`] listens to, once it does.
    pub fn of_signals() -> Stop {
        Stop {
            signal: SIGNAL.clone(),
            deadline: None,
        }
    }

    /// Is set by SIGINT, SIGTERM and SIGHUP from now on.
    pub fn on_signals() -> Result<Stop> {
        let stop = Stop::of_signals();
        let mut signals = vec![signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
        if !hangup_is_ignored() {
            signals.push(signal_hook::consts::SIGHUP);
        }
        let deaf = |error| Error::failed("cannot listen to signals").cause(error);
        for &signal in &signals {
            let number = usize::try_from(signal).expect("signal numbers are small");
            signal_hook::flag::register_usize(signal, stop.signal.clone(), number).map_err(deaf)?;
        }
        let signals = Signals::new(signals).map_err(deaf)?;
        threads::start("etl-signals", || end_if_deaf(signals))?;
        Ok(stop)
    }

    /// The same, set at `deadline` (by [`clock::monotonic`]) at the latest.
    #[must_use]
    pub fn until(&self, deadline: Duration) -> Stop {
        Stop {
            signal: self.signal.clone(),
            deadline: Some(deadline),
        }
    }

    /// Whether its deadline has passed.
    pub fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| clock::monotonic() >= deadline)
    }

    /// Sets it, as if by `SIGTERM`.
    pub fn set(&self) {
        let number =
            usize::try_from(signal_hook::consts::SIGTERM).expect("signal numbers are small");
        self.signal.store(number, Ordering::Relaxed);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0 || self.is_late()
    }

    /// An error if it is set.
    pub fn check(&self) -> Result<()> {
        match self.signal.load(Ordering::Relaxed) {
            0 if self.is_late() => Err(Error::failed("it was to have ended by now")),
            0 => Ok(()),
            signal => Err(Error::interrupted(
                i32::try_from(signal).expect("signal numbers are small"),
            )),
        }
    }
}

/// From now on a file that would grow beyond `ulimit -f` is an error of the write that tries, as a full disk is: by
/// default the signal ends the program, and what it was writing stays behind. A handler, unlike a signal that is
/// ignored, is not passed on to commands that the program runs.
pub fn outlive_file_size_limit() -> Result<()> {
    let signal = nix::sys::signal::Signal::SIGXFSZ as i32;
    signal_hook::flag::register(signal, Arc::default())
        .map(drop)
        .map_err(|error| Error::failed("cannot listen to signals").cause(error))
}

/// What has to end in order: a signal then waits for that, however long it takes.
static IN_ORDER: AtomicUsize = AtomicUsize::new(0);

/// As long as it lives, the first signal leaves the end to the [`Stop`]. Otherwise there is nothing to put in
/// order any more: the program prints at most, and a signal ends it soon, even if its reader has stopped.
pub struct InOrder(());

impl InOrder {
    /// Begins.
    pub fn begin() -> InOrder {
        IN_ORDER.fetch_add(1, Ordering::SeqCst);
        InOrder(())
    }
}

impl Drop for InOrder {
    fn drop(&mut self) {
        IN_ORDER.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The first signal asks, a later one insists: it ends the program where it stands. So does the first where
/// nothing has to end in order.
fn end_if_deaf(mut signals: Signals) {
    let mut first = None;
    let mut idle_since = None;
    loop {
        let new: Vec<i32> = if first.is_none() {
            signals.wait().collect()
        } else {
            std::thread::sleep(POLL_INTERVAL);
            signals.pending().collect()
        };
        let now = clock::monotonic();
        for signal in new {
            let (_, asked) = *first.get_or_insert((signal, now));
            if now.saturating_sub(asked) >= INSISTS {
                signal_hook::low_level::exit(128 + signal);
            }
        }
        let Some((signal, _)) = first else { continue };
        if IN_ORDER.load(Ordering::SeqCst) > 0 {
            idle_since = None;
        } else if now.saturating_sub(*idle_since.get_or_insert(now)) >= PRINTING {
            signal_hook::low_level::exit(128 + signal);
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
