//! What parent and child say to each other: a JSON header and, where there are rows, an Arrow IPC stream
//! before it, so that the header can say what encoding them took.

use std::io::Read;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::hand::{Link, Mark};
use crate::stage::Counts;

/// Bytes of a frame's two lengths.
const LENGTHS: usize = 16;

/// Room made for rows before they are there: a length is only believed as far as it costs nothing.
const ROOM_MAX: usize = 64 << 20;

/// The first frame: what to open.
#[derive(Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) links: Vec<Link>,
    pub(super) threads: usize,
    pub(super) digest: bool,
    /// For each link, for each of its inputs, whether a frame with its rows follows.
    pub(super) broadcast: Vec<Vec<bool>>,
}

/// A frame from the child.
#[derive(Serialize, Deserialize)]
pub(super) enum Reply {
    /// The sessions are open.
    Ready { open: Duration },
    /// They could not be opened.
    Refused { error: Error },
    /// A batch was played; the rows, if any, are in the frame.
    Played {
        number: u64,
        marks: Vec<Mark>,
        fault: Option<Error>,
        copy: Duration,
    },
    /// The sessions are closed: the last frame.
    Closed {
        counts: Vec<Counts>,
        error: Option<Error>,
        peak_rss_bytes: u64,
    },
}

/// A frame to the child, behind the first ones.
#[derive(Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) number: u64,
}

/// A frame: lengths of rows and header, then both. The header is asked for when the rows are encoded.
pub(super) fn frame<H: Serialize>(
    batch: Option<&Batch>,
    header: impl FnOnce() -> H,
) -> Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(4096 + batch.map_or(0, Batch::size));
    frame.extend_from_slice(&[0; LENGTHS]);
    if let Some(batch) = batch {
        batch.encode(&mut frame)?;
    }
    let rows = frame.len() - LENGTHS;
    serde_json::to_writer(&mut frame, &header())
        .map_err(|error| Error::failed("cannot encode a frame").cause(error))?;
    let header = frame.len() - LENGTHS - rows;
    frame[..8].copy_from_slice(&(rows as u64).to_le_bytes());
    frame[8..LENGTHS].copy_from_slice(&(header as u64).to_le_bytes());
    Ok(frame)
}

/// A frame's header, its rows in `payload`; `None` at the end, or where the other side broke off.
pub fn read_frame(from: &mut impl Read, payload: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut lengths = [0u8; LENGTHS];
    from.read_exact(&mut lengths).ok()?;
    let length = |at: usize| {
        let bytes: [u8; 8] = lengths[at..at + 8]
            .try_into()
            .expect("eight bytes are eight bytes");
        u64::from_le_bytes(bytes)
    };
    payload.clear();
    let rows = length(0);
    payload.reserve(usize::try_from(rows).ok()?.min(ROOM_MAX));
    from.take(rows).read_to_end(payload).ok()?;
    let mut header = Vec::new();
    from.take(length(8)).read_to_end(&mut header).ok()?;
    (payload.len() as u64 == rows && header.len() as u64 == length(8)).then_some(header)
}
