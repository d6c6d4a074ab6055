//! Work that may take long and cannot be broken off, as a write to a pipe that nobody reads, or a commit of an
//! index: a thread of its own does it, and the run waits for it no longer than until it is to stop.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::clock;
use crate::error::{Error, Result};
use crate::stop::Stop;
use crate::threads;

/// How often it is checked whether the run is to stop.
const CHECK_EVERY: Duration = Duration::from_millis(50);

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// A value on a thread of its own. The thread ends, and drops the value, when it has done what it was given
/// and this is dropped; where it is in the middle of something, it ends with the program.
pub(super) struct Aside<T> {
    jobs: Sender<Job<T>>,
    /// Nothing comes from here: it is disconnected when the thread has ended.
    ended: Receiver<()>,
    stop: Stop,
}

impl<T: Send + 'static> Aside<T> {
    /// Starts the thread `name`.
    pub(super) fn start(name: &str, stop: Stop, mut value: T) -> Result<Self> {
        let (jobs, to_do) = channel::<Job<T>>();
        let (end, ended) = channel();
        threads::start(name, move || {
            for job in to_do {
                job(&mut value);
            }
            drop(value);
            drop(end);
        })?;
        Ok(Aside { jobs, ended, stop })
    }

    /// Does `job` there, and waits for it; an error if the run is to stop before it is done.
    pub(super) fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R> {
        self.wait(job, || self.stop.check())
    }

    /// Does `job` there, and waits for it whatever happens.
    pub(super) fn run_to_end<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R> {
        self.wait(job, || Ok(()))
    }

    /// Does `job` there. If the run is to stop, it is waited for no longer than `most`.
    pub(super) fn run_soon<R: Send + 'static>(
        &self,
        most: Duration,
        job: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R> {
        let until = clock::monotonic() + most;
        self.wait(job, || self.check_after(until))
    }

    /// Ends the thread. If the run is to stop, it is waited for no longer than `most`.
    pub(super) fn end(self, most: Duration) {
        let until = clock::monotonic() + most;
        drop(self.jobs);
        while let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(CHECK_EVERY)
            && (clock::monotonic() < until || !self.stop.is_set())
        {}
    }

    fn check_after(&self, until: Duration) -> Result<()> {
        if clock::monotonic() < until {
            return Ok(());
        }
        self.stop.check()
    }

    fn wait<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut T) -> R + Send + 'static,
        may_wait: impl Fn() -> Result<()>,
    ) -> Result<R> {
        let (answer, done) = channel();
        let ended = || Error::failed("a thread of the program has ended before its work was done");
        // Whoever gave up waiting takes no answer.
        let job = Box::new(move |value: &mut T| drop(answer.send(job(value))));
        self.jobs.send(job).map_err(|_| ended())?;
        loop {
            match done.recv_timeout(CHECK_EVERY) {
                Ok(done) => return Ok(done),
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
                Err(RecvTimeoutError::Timeout) => may_wait()?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_to_stop_waits_no_longer() {
        let stop = Stop::default();
        let aside = Aside::start("test", stop.clone(), 1).unwrap();
        assert_eq!(aside.run(|value| *value + 1).unwrap(), 2);
        let (release, held) = channel::<()>();
        stop.set();
        let job = move |value: &mut i32| {
            let _ = held.recv();
            *value = 5;
        };
        assert_eq!(aside.run(job).unwrap_err().message, "interrupted");
        let soon = aside.run_soon(Duration::ZERO, |value| *value);
        assert_eq!(soon.unwrap_err().message, "interrupted");
        drop(release);
        assert_eq!(aside.run_to_end(|value| *value).unwrap(), 5);
        aside.end(Duration::ZERO);
    }
}
