//! The asynchronous runtime behind a lane.

use std::sync::Arc;

use tokio::sync::Notify;

use super::TransportError;
use crate::error::{Error, Result};
use crate::stop::{Stop, Wake};

/// A runtime of one thread, which breaks off when the run is to stop.
pub(super) struct Runtime {
    inner: Option<tokio::runtime::Runtime>,
    stopped: Arc<Stopped>,
    stop: Stop,
}

/// Notified when the run is to stop. There is no lock to take: a notification that comes before somebody waits is kept
/// for them.
#[derive(Debug, Default)]
struct Stopped(Notify);

impl Wake for Stopped {
    fn wake(&self) {
        // Who comes to wait later finds it.
        self.0.notify_one();
    }
}

impl Runtime {
    pub(super) fn new(stop: &Stop) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::failed("cannot start the network runtime").cause(error))?;
        let stopped = Arc::default();
        stop.wakes(&stopped);
        Ok(Runtime {
            inner: Some(runtime),
            stopped,
            stop: stop.clone(),
        })
    }

    pub(super) fn block_on<T>(
        &self,
        work: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        self.stop.check().map_err(TransportError::Final)?;
        let late = async {
            match self.stop.left() {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        let runtime = self.inner.as_ref();
        let done = runtime
            .expect("it is there until it is dropped")
            .block_on(async {
                tokio::select! {
                    done = work => Some(done),
                    () = self.stopped.0.notified() => None,
                    () = late => None,
                }
            });
        done.unwrap_or_else(|| Err(TransportError::Final(self.stop.error())))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // A host's name may still be looked up, on a thread that nothing stops: it is not waited for.
        if let Some(runtime) = self.inner.take() {
            runtime.shutdown_background();
        }
    }
}
