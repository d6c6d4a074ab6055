//! Processes that others than we have started: whose group or session they are of, and how they are
//! ended. A zombie has ended.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpgid, getsid};

use crate::clock::monotonic;

/// How often a session is looked at until nobody is left in it: a killed process takes a moment. The system reports
/// the end of our own children only, and these are others'.
const POLLS_MAX: u32 = 200;
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Whether a child of ours has ended. It is not reaped.
pub(crate) fn has_ended(child: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    // Where nobody waits for it, it is no child of ours any more.
    !matches!(
        waitid(Id::Pid(child), flags),
        Ok(WaitStatus::StillAlive) | Err(Errno::EINTR)
    )
}

/// A descriptor that can be read once a child of ours has ended; `None`: the system has none.
pub(crate) fn descriptor(child: Pid) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(child.as_raw())?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// Waits for the end of a child of ours, until `until` at most.
pub(crate) fn wait_for_end(child: Pid, until: Duration) {
    let descriptor = descriptor(child);
    while !has_ended(child) && monotonic() < until {
        let left = until.saturating_sub(monotonic());
        let most = if descriptor.is_some() {
            left
        } else {
            left.min(POLL_INTERVAL)
        };
        let mut wanted: Vec<PollFd> = descriptor.as_ref().map(readable).into_iter().collect();
        let _ = poll(&mut wanted, Some(most));
    }
}

/// That it can be read is waited for.
pub(crate) fn readable(descriptor: &impl AsFd) -> PollFd<'_> {
    PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)
}

/// Waits for one of the descriptors, no longer than `most`; how many are ready.
pub(crate) fn poll(wanted: &mut [PollFd], most: Option<Duration>) -> nix::Result<i32> {
    // Rounded up: nobody looks again a moment too early, and again.
    let ms = |most: Duration| i32::try_from(most.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    let most = most.and_then(|most| PollTimeout::try_from(ms(most)).ok());
    nix::poll::poll(wanted, most.unwrap_or(PollTimeout::NONE))
}

/// Whether a child of ours and all others of the group that it leads have ended.
pub(crate) fn group_is_over(leader: Pid) -> bool {
    has_ended(leader)
        && !others().any(|pid| getpgid(Some(pid)) == Ok(leader) && is_left(pid, leader))
}

/// Kills all processes of a session but the one that leads it.
pub(crate) fn end_session(leader: Pid) {
    for _ in 0..POLLS_MAX {
        let left = others().filter(|&pid| getsid(Some(pid)) == Ok(leader) && is_left(pid, leader));
        let mut killed = false;
        for pid in left {
            let _ = kill(pid, Signal::SIGKILL);
            killed = true;
        }
        if !killed {
            return;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// All processes, by /proc; where there is none, nobody is seen.
fn others() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

fn is_left(pid: Pid, leader: Pid) -> bool {
    if pid == leader {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the program's name, which stands in parentheses and may hold anything.
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}
