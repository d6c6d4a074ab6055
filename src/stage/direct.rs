//! Writing to what is no regular file: a pipe, a FIFO, a terminal, a device. Its reader may stop reading, and
//! a FIFO may have none yet; the system call then waits for as long as that lasts, and hears no signal. So a
//! thread of its own opens and writes, and the run waits for it no longer than until it is to stop.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::stop::Stop;
use crate::threads;

/// How often it is checked whether the run is to stop.
const CHECK_EVERY: Duration = Duration::from_millis(50);

/// A writer that a signal ends.
pub(super) struct Direct {
    /// Where its thread takes what is to be written, one piece at a time.
    pieces: SyncSender<Vec<u8>>,
    /// What became of the opening, then of each piece.
    done: Receiver<io::Result<()>>,
    stop: Stop,
}

impl Direct {
    /// Opens it, which for a FIFO takes until somebody reads it.
    pub(super) fn open<W: Write>(
        shown: &str,
        stop: Stop,
        open: impl FnOnce() -> io::Result<W> + Send + 'static,
    ) -> Result<Direct> {
        let (pieces, to_write) = sync_channel::<Vec<u8>>(1);
        let (answer, done) = sync_channel(1);
        // It ends when its writer goes; one that still waits for a reader ends with the program.
        threads::start("etl-output", move || {
            let mut to = match open() {
                Ok(to) => to,
                Err(error) => return drop(answer.send(Err(error))),
            };
            let mut last = Ok(());
            while answer.send(last).is_ok()
                && let Ok(piece) = to_write.recv()
            {
                last = to.write_all(&piece).and_then(|()| to.flush());
            }
        })?;
        let direct = Direct { pieces, done, stop };
        let opened = direct.wait();
        direct.stop.check()?;
        opened.map_err(|error| Error::io("write", shown, &error))?;
        Ok(direct)
    }

    /// Waits for the thread, unless the run is to stop.
    fn wait(&self) -> io::Result<()> {
        loop {
            match self.done.recv_timeout(CHECK_EVERY) {
                Ok(done) => return done,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("its thread has ended"));
                }
                Err(RecvTimeoutError::Timeout) if self.stop.is_set() => {
                    return Err(io::Error::other("the run was stopped"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl Write for Direct {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let ended = |_| io::Error::other("its thread has ended");
        self.pieces.send(bytes.to_vec()).map_err(ended)?;
        self.wait()?;
        Ok(bytes.len())
    }

    /// What was written is through already.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
