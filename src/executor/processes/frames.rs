//! What parent and child say to each other: a JSON header and, where there are rows, an Arrow IPC stream.

use std::io::Read;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::hand::{Link, Mark};
use crate::stage::Counts;

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
    /// A batch was played; its rows follow unless there is an error.
    Played {
        number: u64,
        marks: Vec<Mark>,
        error: Option<Error>,
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

/// A frame: length of the header, length of the rows, header, rows.
pub(super) fn frame(header: &impl Serialize, batch: Option<&Batch>) -> Result<Vec<u8>> {
    let header = serde_json::to_vec(header)
        .map_err(|error| Error::failed("cannot encode a frame").cause(error))?;
    let mut frame =
        Vec::with_capacity(16 + header.len() + batch.map_or(0, |batch| batch.size() + 4096));
    frame.extend_from_slice(&(header.len() as u64).to_le_bytes());
    frame.extend_from_slice(&[0; 8]);
    frame.extend_from_slice(&header);
    let rows_from = frame.len();
    if let Some(batch) = batch {
        batch.encode(&mut frame)?;
    }
    let rows = (frame.len() - rows_from) as u64;
    frame[8..16].copy_from_slice(&rows.to_le_bytes());
    Ok(frame)
}

/// A frame's header, its rows in `payload`; `None` at the end, or where the other side broke off.
pub(super) fn read_frame(from: &mut impl Read, payload: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut lengths = [0u8; 16];
    from.read_exact(&mut lengths).ok()?;
    let length = |at: usize| {
        let bytes: [u8; 8] = lengths[at..at + 8]
            .try_into()
            .expect("eight bytes are eight bytes");
        u64::from_le_bytes(bytes)
    };
    let mut header = Vec::new();
    from.take(length(0)).read_to_end(&mut header).ok()?;
    payload.clear();
    let rows = length(8);
    payload.reserve(usize::try_from(rows).ok()?);
    from.take(rows).read_to_end(payload).ok()?;
    (header.len() as u64 == length(0) && payload.len() as u64 == rows).then_some(header)
}
