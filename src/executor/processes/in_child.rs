//! One child as its parent sees it: the batches that it holds, and the pipe to it.

use std::collections::BTreeMap;
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::dispatch::Waiting;
use super::frames::{Frame, Order};

/// The batches that one child holds.
#[derive(Default)]
pub(super) struct InChild {
    /// As long as the child is heard, unless nothing is wanted of it any more: it ends with this.
    pub(super) stdin: Mutex<Option<ChildStdin>>,
    batches: Mutex<BTreeMap<u64, Waiting>>,
    /// Those that have given a part, and make the next one when they may.
    unfinished: Mutex<Vec<u64>>,
    /// How many that are, and those about to be; grows under the lock of [`State`].
    pub(super) held: AtomicUsize,
    /// Its writer, and nobody else, waits here for what comes next.
    pub(super) more: Condvar,
    pub(super) opened: AtomicBool,
    pub(super) gone: AtomicBool,
}

impl InChild {
    pub(super) fn lock_stdin(&self) -> MutexGuard<'_, Option<ChildStdin>> {
        self.stdin.lock()
    }

    pub(super) fn lock_batches(&self) -> MutexGuard<'_, BTreeMap<u64, Waiting>> {
        self.batches.lock()
    }

    pub(super) fn lock_unfinished(&self) -> MutexGuard<'_, Vec<u64>> {
        self.unfinished.lock()
    }

    /// Tells it to make the next part of a batch; `false`: it is gone.
    pub(super) fn make_part(&self, number: u64) -> bool {
        Frame::new(None, || Order::GoOn { number }).is_ok_and(|order| self.write(&order))
    }

    /// `false`: it is gone.
    pub(super) fn write(&self, frame: &Frame) -> bool {
        let mut stdin = self.lock_stdin();
        stdin
            .as_mut()
            .is_some_and(|stdin| frame.write(stdin).is_ok())
    }

    /// Tells it to close its sessions; `false`: it is gone.
    pub(super) fn close(&self) -> bool {
        Frame::new(None, || Order::Close).is_ok_and(|close| self.write(&close))
    }

    pub(super) fn has_opened(&self) -> bool {
        self.opened.load(Ordering::SeqCst)
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }
}
