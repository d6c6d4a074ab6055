//! A thread that carries out asynchronous work while those who asked for it do something else: reading ahead, and
//! sending while more is made.

use std::future::poll_fn;
use std::task::Poll;

use crossbeam_channel::{Receiver, bounded, never, select};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::error::{Error, Result, guarded};
use crate::stop::Stop;
use crate::threads;

/// The thread. It ends once this is dropped; what is under way is broken off then.
#[derive(Debug)]
pub(crate) struct Background {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

impl Background {
    /// Starts the thread.
    pub(crate) fn start(name: &str) -> Result<Background> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::failed("cannot start the network runtime").cause(error))?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        threads::start(name, move || {
            // It ends when the sender is dropped.
            let _ = runtime.block_on(ended);
            // A host's name may still be looked up, on a thread that nothing stops: it is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Background { handle, _end: end })
    }

    /// Begins work, which goes on until it is done or what this gives is dropped.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Pending<T> {
        let (give, take) = bounded(1);
        let mut work = Box::pin(work);
        let guarded = poll_fn(
            move |context| match guarded(|| work.as_mut().poll(context)) {
                Ok(polled) => polled.map(Ok),
                Err(panic) => Poll::Ready(Err(panic)),
            },
        );
        let task = self.handle.spawn(async move {
            // Nobody takes it where it was dropped meanwhile.
            let _ = give.send(guarded.await);
        });
        Pending {
            take,
            task: task.abort_handle(),
        }
    }
}

/// Work under way; dropped, it is broken off.
pub(crate) struct Pending<T> {
    /// What it gives, or what a panic within it says.
    take: Receiver<Result<T, String>>,
    task: AbortHandle,
}

impl<T> Pending<T> {
    /// Waits until it is done, or until the run is to stop.
    pub(crate) fn wait(self, stop: &Stop) -> Result<T> {
        stop.check()?;
        let late = stop.left().map_or_else(never, crossbeam_channel::after);
        let done = select! {
            recv(self.take) -> done => done.ok(),
            recv(stop.channel()) -> _ => None,
            recv(late) -> _ => None,
        };
        match done {
            Some(Ok(done)) => Ok(done),
            Some(Err(panic)) => Err(Error::failed("the network's library has failed")
                .cause(panic)
                .hint("this is a bug in etl")),
            None => Err(match stop.check() {
                Err(stopped) => stopped,
                Ok(()) => Error::failed("the network's thread has ended before its work was done"),
            }),
        }
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_goes_on_behind_and_a_stop_ends_the_wait() {
        let background = Background::start("etl-test").expect("it starts");
        let stop = Stop::default();
        let (first, second) = (background.begin(async { 1 }), background.begin(async { 2 }));
        assert_eq!(second.wait(&stop).expect("it is done"), 2);
        assert_eq!(first.wait(&stop).expect("it is done"), 1);
        let endless = background.begin(std::future::pending::<()>());
        let setter = stop.clone();
        let thread = std::thread::spawn(move || setter.set());
        assert!(endless.wait(&stop).is_err());
        thread.join().expect("no panic");
        let panicking = background.begin(async { assert!(std::env::args().count() == 0, "why") });
        let error = panicking.wait(&Stop::default()).expect_err("it panicked");
        assert_eq!(error.causes, ["why"]);
    }
}
