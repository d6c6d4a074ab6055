//! Both ends of a window: the thread that feeds it, and the results that are read from it.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::window::Window;
use crate::error::{Error, Result};
use crate::fragment::BatchOutcome;
use crate::threads;

/// Ends the window when it goes.
struct Ending(Arc<Window>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The thread that feeds a window, if it could be started.
pub(super) type Feeder<T> = Result<JoinHandle<Result<T>>>;

/// Starts the feeder of a window: for a task of this name, with so many stages above it. The window ends with it, also if it panics or cannot be started: nobody
/// waits for it for ever.
pub(super) fn start<T: Send + 'static>(
    window: &Arc<Window>,
    task: (&str, usize),
    feed: impl FnOnce() -> Result<T> + Send + 'static,
) -> Feeder<T> {
    let ending = Ending(window.clone());
    let (name, stages) = task;
    threads::start_pulling(format!("etl-feed-{name}"), stages, move || {
        let _ending = ending;
        feed()
    })
}

/// What the feeder of a window gave back.
pub(super) fn joined<T>(feeder: Feeder<T>) -> Result<T> {
    feeder?
        .join()
        .map_err(|_| Error::failed("a source panicked").hint("this is a bug in etl"))?
}

/// The results of a window, in order; it is closed when they go.
pub(super) struct Ordered<E> {
    window: Arc<Window>,
    /// What is to be done after the last result.
    end: Option<E>,
}

impl<E: FnOnce() -> Result<()>> Ordered<E> {
    pub(super) fn new(window: Arc<Window>, end: E) -> Self {
        Ordered {
            window,
            end: Some(end),
        }
    }
}

impl<E: FnOnce() -> Result<()>> Iterator for Ordered<E> {
    type Item = BatchOutcome;

    fn next(&mut self) -> Option<BatchOutcome> {
        self.end.as_ref()?;
        let outcome = match self.window.next() {
            Ok(Some(outcome)) => Some(outcome),
            Ok(None) => self
                .end
                .take()
                .and_then(|end| end().err())
                .map(BatchOutcome::failed),
            Err(error) => Some(BatchOutcome::failed(error)),
        };
        if outcome
            .as_ref()
            .is_none_or(|outcome| outcome.fault.is_some())
        {
            // What follows a fault is of no use.
            self.window.close();
            self.end = None;
        }
        outcome
    }
}

impl<E> Drop for Ordered<E> {
    fn drop(&mut self) {
        self.window.close();
    }
}
