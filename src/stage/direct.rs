//! Writing to what is no regular file: a pipe, a FIFO, a terminal, a device. Its reader may stop reading, and
//! a FIFO may have none yet; the system call then waits for as long as that lasts, and hears no signal.

use std::io::{self, Write};

use super::aside::Aside;
use crate::error::{Error, Result};
use crate::stop::Stop;

/// A writer that a signal ends.
pub(super) struct Direct(Aside<Option<Box<dyn Write + Send>>>);

impl Direct {
    /// Opens it, which for a FIFO takes until somebody reads it.
    pub(super) fn open<W: Write + Send + 'static>(
        shown: &str,
        stop: Stop,
        open: impl FnOnce() -> io::Result<W> + Send + 'static,
    ) -> Result<Direct> {
        let direct = Direct(Aside::start("etl-output", stop, None)?);
        let opened = direct.0.run(|to| {
            *to = Some(Box::new(open()?));
            Ok(())
        })?;
        opened.map_err(|error: io::Error| Error::io("write", shown, &error))?;
        Ok(direct)
    }
}

impl Write for Direct {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.to_vec();
        let written = self.0.run(move |to| {
            let to = to.as_mut().expect("it was opened");
            to.write_all(&piece).and_then(|()| to.flush())
        });
        written.map_err(|error| io::Error::other(error.message))??;
        Ok(bytes.len())
    }

    /// What was written is through already.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
