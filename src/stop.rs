//! Whether the run is to stop: set by a signal or by a deadline. Threads that work check it between batches;
//! threads that wait are woken by it, whatever they wait on: a condition (`Stop::wakes`, `Stop::wait`), a
//! channel (`Stop::channel`), descriptors (`Stop::poll`) or time (`Stop::sleep`).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use nix::poll::PollFd;
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::{Condvar, Mutex, MutexGuard};
use signal_hook::iterator::Signals;

use crate::clock::monotonic;
use crate::error::{Error, Result};
use crate::{procs, threads};

/// What is printed after a run takes no longer, or its reader has stopped.
const PRINTING: Duration = Duration::from_millis(500);
/// A signal that comes this long after the first one insists. Sooner it may be the same: `timeout` sends
/// its own to the program, and then to its group.
const INSISTS: Duration = Duration::from_secs(1);
/// How often who waits for descriptors checks it where the system has none left that would say so.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Shared by all threads of a run.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    shared: Arc<Shared>,
    deadline: Option<Duration>,
}

#[derive(Debug)]
struct Shared {
    signal: Arc<AtomicUsize>,
    waiters: Mutex<Vec<Weak<dyn Wake>>>,
    /// Dropped when it is set, which disconnects the receiver.
    open: Mutex<Option<Sender<()>>>,
    channel: Receiver<()>,
    /// Made when somebody first polls it.
    descriptor: Mutex<Option<Arc<EventFd>>>,
}

/// Something that threads wait on, with [`Stop::wait`].
///
/// No wakeup is lost where these three hold: who waits checks under a lock what it waits for, the [`Stop`] too, and
/// waits on a condition that gives up the lock; who changes that does so under the same lock; and it notifies the
/// condition afterwards. A stop is set before `wake` takes the lock, so who checks later sees it, and who checked
/// before is waiting by then.
pub(crate) trait Wake: Send + Sync + std::fmt::Debug {
    /// Wakes all of them. It is called without any lock held, and must take the lock under which they check the
    /// [`Stop`] before they wait, so that none misses it.
    fn wake(&self);
}

impl Default for Shared {
    fn default() -> Self {
        let (open, channel) = bounded(0);
        Shared {
            signal: Arc::default(),
            waiters: Mutex::default(),
            open: Mutex::new(Some(open)),
            channel,
            descriptor: Mutex::default(),
        }
    }
}

impl Shared {
    /// Wakes all that wait.
    fn wake(&self) {
        self.open.lock().take();
        if let Some(descriptor) = &*self.descriptor.lock() {
            let _ = descriptor.write(1);
        }
        let waiters = self.waiters.lock().clone();
        for waiter in waiters.iter().filter_map(Weak::upgrade) {
            waiter.wake();
        }
    }
}

/// The signal that this process met.
static SIGNAL: LazyLock<Arc<Shared>> = LazyLock::new(Arc::default);

impl Stop {
    /// Is set by the signals that [`Stop::on_signals`] listens to, once it does.
    pub fn of_signals() -> Stop {
        Stop {
            shared: SIGNAL.clone(),
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
        let insisting = Arc::new(AtomicBool::new(false));
        for &signal in &signals {
            use signal_hook::flag::{register_conditional_shutdown, register_usize};
            let number = usize::try_from(signal).expect("signal numbers are small");
            register_conditional_shutdown(signal, 128 + signal, insisting.clone()).map_err(deaf)?;
            register_usize(signal, stop.shared.signal.clone(), number).map_err(deaf)?;
        }
        let signals = Signals::new(signals).map_err(deaf)?;
        let shared = stop.shared.clone();
        threads::start("etl-signals", move || {
            on_first_signal(signals, &shared, &insisting);
        })?;
        Ok(stop)
    }

    /// The same, set at `deadline` (by [`monotonic`]) at the latest.
    #[must_use]
    pub fn until(&self, deadline: Duration) -> Stop {
        Stop {
            shared: self.shared.clone(),
            deadline: Some(deadline),
        }
    }

    /// Whether its deadline has passed.
    pub fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| monotonic() >= deadline)
    }

    /// Sets it, as if by `SIGTERM`.
    pub fn set(&self) {
        let number =
            usize::try_from(signal_hook::consts::SIGTERM).expect("signal numbers are small");
        self.shared.signal.store(number, Ordering::SeqCst);
        self.shared.wake();
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.shared.signal.load(Ordering::Relaxed) != 0 || self.is_late()
    }

    /// The error of what was broken off because it is set.
    pub(crate) fn error(&self) -> Error {
        let error = self.check().err();
        error.unwrap_or_else(|| Error::failed("it was to have ended by now"))
    }

    /// An error if it is set.
    pub fn check(&self) -> Result<()> {
        match self.shared.signal.load(Ordering::Relaxed) {
            0 if self.is_late() => Err(Error::failed("it was to have ended by now")),
            0 => Ok(()),
            signal => Err(Error::interrupted(
                i32::try_from(signal).expect("signal numbers are small"),
            )),
        }
    }

    /// Has `waiter` woken once it is set, as long as it is there. Those that wait on it do so with [`Stop::wait`].
    pub(crate) fn wakes<W: Wake + 'static>(&self, waiter: &Arc<W>) {
        let mut waiters = self.shared.waiters.lock();
        waiters.retain(|waiter| waiter.strong_count() > 0);
        let waiter = Arc::downgrade(waiter);
        waiters.push(waiter);
    }

    /// Waits on the condition of something that it wakes, until it is notified or the deadline has come.
    pub(crate) fn wait<T>(&self, on: &Condvar, state: &mut MutexGuard<'_, T>) {
        match self.left() {
            None => on.wait(state),
            Some(left) => _ = on.wait_for(state, left),
        }
    }

    /// The same for so long at most.
    pub(crate) fn wait_for<T>(&self, on: &Condvar, state: &mut MutexGuard<'_, T>, time: Duration) {
        on.wait_for(state, self.left().map_or(time, |left| left.min(time)));
    }

    /// Waits for so long; an error as soon as it is set.
    pub(crate) fn sleep(&self, time: Duration) -> Result<()> {
        let time = self.left().map_or(time, |left| left.min(time));
        if !time.is_zero() {
            let _ = self.shared.channel.recv_timeout(time);
        }
        self.check()
    }

    /// Is disconnected once it is set by a signal; nothing comes from it. For the deadline see [`Stop::left`].
    pub(crate) fn channel(&self) -> &Receiver<()> {
        &self.shared.channel
    }

    /// Waits for one of the descriptors, no longer than `most` nor until it is set; how many may be ready.
    pub(crate) fn poll(&self, wanted: Vec<PollFd<'_>>, most: Option<Duration>) -> nix::Result<i32> {
        let descriptor = self.descriptor();
        let mut wanted: Vec<PollFd> = wanted;
        let look_again = descriptor.is_none().then_some(LOOK_AGAIN);
        wanted.extend(descriptor.as_deref().map(procs::readable));
        let most = [most, self.left(), look_again].into_iter().flatten().min();
        procs::poll(&mut wanted, most)
    }

    /// Can be read once it is set by a signal; `None`: the system has no descriptor left.
    fn descriptor(&self) -> Option<Arc<EventFd>> {
        // Who sets it writes under the same lock: to one that is there, or it finds none and is seen here.
        let mut descriptor = self.shared.descriptor.lock();
        if descriptor.is_none() {
            let new = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).ok()?;
            if self.shared.signal.load(Ordering::SeqCst) != 0 {
                let _ = new.write(1);
            }
            *descriptor = Some(Arc::new(new));
        }
        descriptor.clone()
    }

    /// The time until its deadline.
    pub(crate) fn left(&self) -> Option<Duration> {
        let deadline = self.deadline?;
        Some(deadline.saturating_sub(monotonic()))
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

/// How much there is that has to end in order: a signal then waits for that, however long it takes.
static IN_ORDER: Mutex<usize> = Mutex::new(0);
/// [`IN_ORDER`] has changed.
static CHANGED: Condvar = Condvar::new();

/// As long as it lives, the first signal leaves the end to the [`Stop`]. Otherwise there is nothing to put in
/// order any more: the program prints at most, and a signal ends it soon, even if its reader has stopped.
pub struct InOrder(());

impl InOrder {
    /// Begins.
    pub fn begin() -> InOrder {
        *IN_ORDER.lock() += 1;
        CHANGED.notify_all();
        InOrder(())
    }
}

impl Drop for InOrder {
    fn drop(&mut self) {
        *IN_ORDER.lock() -= 1;
        CHANGED.notify_all();
    }
}

/// The first signal wakes all that wait; a later one insists, and ends the program where it stands. So does the
/// first, after a while, where nothing has to end in order.
fn on_first_signal(mut signals: Signals, shared: &Shared, insisting: &AtomicBool) {
    // One that came before this listened has been noted already.
    let noted = i32::try_from(shared.signal.load(Ordering::SeqCst)).ok();
    let next = || signals.forever().next();
    let Some(signal) = noted.filter(|&signal| signal != 0).or_else(next) else {
        return;
    };
    shared.wake();
    let insists = monotonic() + INSISTS;
    let mut idle_since = None;
    let mut in_order = IN_ORDER.lock();
    loop {
        let now = monotonic();
        insisting.store(now >= insists, Ordering::SeqCst);
        if *in_order > 0 {
            idle_since = None;
        } else if now >= *idle_since.get_or_insert(now) + PRINTING {
            signal_hook::low_level::exit(128 + signal);
        }
        let ends = idle_since.map(|since| since + PRINTING);
        match [ends, (now < insists).then_some(insists)]
            .into_iter()
            .flatten()
            .min()
        {
            Some(next) => _ = CHANGED.wait_for(&mut in_order, next.saturating_sub(now)),
            None => CHANGED.wait(&mut in_order),
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
