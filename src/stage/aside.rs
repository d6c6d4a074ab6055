//! Work that may take long and cannot be broken off, as a write to a pipe that nobody reads, or a commit of an
//! index: a thread of its own does it, and the run waits for it no longer than until it is to stop.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, after, never, select, unbounded};

use crate::clock;
use crate::error::{Error, Result};
use crate::stop::Stop;
use crate::threads;

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
        let (jobs, to_do) = unbounded::<Job<T>>();
        let (end, ended) = unbounded();
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
        self.run_soon(Duration::ZERO, job)
    }

    /// Does `job` there, and waits for it whatever happens.
    pub(super) fn run_to_end<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R> {
        self.begin(job)?.recv().map_err(|_| has_ended())
    }

    /// Does `job` there. If the run is to stop, it is waited for no longer than `most`.
    pub(super) fn run_soon<R: Send + 'static>(
        &self,
        most: Duration,
        job: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R> {
        let done = self.begin(job)?;
        match self.receive(&done, most) {
            Ok(done) => Ok(done),
            Err(RecvTimeoutError::Disconnected) => Err(has_ended()),
            Err(RecvTimeoutError::Timeout) => {
                self.stop.check()?;
                Err(has_ended())
            }
        }
    }

    /// Ends the thread. If the run is to stop, it is waited for no longer than `most`.
    pub(super) fn end(mut self, most: Duration) {
        // Without a sender the thread ends.
        self.jobs = unbounded().0;
        let _ = self.receive(&self.ended, most);
    }

    fn begin<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<Receiver<R>> {
        let (answer, done) = unbounded();
        // Whoever gave up waiting takes no answer.
        let job = Box::new(move |value: &mut T| drop(answer.send(job(value))));
        self.jobs.send(job).map_err(|_| has_ended())?;
        Ok(done)
    }

    /// What comes. If the run is to stop, it is waited for no longer than `most` altogether.
    fn receive<R>(&self, from: &Receiver<R>, most: Duration) -> Result<R, RecvTimeoutError> {
        let until = clock::monotonic() + most;
        let late = self.stop.left().map_or_else(never, after);
        select! {
            recv(from) -> came => return came.map_err(|_| RecvTimeoutError::Disconnected),
            recv(self.stop.channel()) -> _ => {}
            recv(late) -> _ => {}
        }
        from.recv_timeout(until.saturating_sub(clock::monotonic()))
    }
}

fn has_ended() -> Error {
    Error::failed("a thread of the program has ended before its work was done")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_to_stop_waits_no_longer() {
        let stop = Stop::default();
        let aside = Aside::start("test", stop.clone(), 1).unwrap();
        assert_eq!(aside.run(|value| *value + 1).unwrap(), 2);
        let (release, held) = unbounded::<()>();
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
