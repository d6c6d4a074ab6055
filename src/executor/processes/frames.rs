//! What parent and child say to each other: a JSON header and, where there are rows, an Arrow IPC stream
//! before it, so that the header can say what encoding them took.

use std::io::{BufWriter, Read, Write};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::fragment::{BoundStage, StageMetrics};
use crate::stage::{Counts, TaskContext};

/// Bytes of a frame's two lengths.
const LENGTHS: usize = 16;

/// Room made for rows before they are there: a length is only believed as far as it costs nothing.
const ROOM_MAX: usize = 64 << 20;

/// The first frame: what to open.
#[derive(Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) bound: Vec<BoundStage>,
    pub(super) threads: usize,
    pub(super) digest: bool,
    pub(super) processes: usize,
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
    /// The other side is overloaded: the row is the first one of the batch that noticed.
    Backpressure { row: u64 },
    /// The outcome of a batch; the rows, if any, are in the frame.
    Outcome {
        number: u64,
        /// Which part of what the batch becomes this is, from 0, and whether another follows when the
        /// parent asks for it.
        part: u64,
        more: bool,
        /// Which stage the first mark is of.
        first: usize,
        metrics: Vec<StageMetrics>,
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

/// A frame to the child, after the first ones.
#[derive(Serialize, Deserialize)]
pub(super) enum Order {
    /// Process the batch in this frame.
    Run { number: u64, task: TaskContext },
    /// Give the next part of what this batch becomes.
    GoOn { number: u64 },
    /// Nothing more comes: close the sessions. Where the frames end without this, the parent is gone or
    /// wants no more of it.
    Close,
}

/// A frame, in pieces that follow each other: lengths of rows and header, then both.
pub(crate) struct Frame(Vec<Bytes>);

/// Pieces below this are written together; a large one goes to the pipe from where it lies.
const TOGETHER_BYTES: usize = 64 << 10;

impl Frame {
    /// The header is asked for when the rows are encoded.
    pub(crate) fn new<H: Serialize>(
        batch: Option<&Batch>,
        header: impl FnOnce() -> H,
    ) -> Result<Self> {
        let rows = batch.map(Batch::encode).transpose()?;
        Self::of(rows.unwrap_or_default(), &header())
    }

    /// The same of rows that are encoded already.
    pub(crate) fn of(mut pieces: Vec<Bytes>, header: &impl Serialize) -> Result<Self> {
        let rows: usize = pieces.iter().map(Bytes::len).sum();
        let header = serde_json::to_vec(header)
            .map_err(|error| Error::failed("cannot encode a frame").cause(error))?;
        let lengths = [
            (rows as u64).to_le_bytes(),
            (header.len() as u64).to_le_bytes(),
        ];
        pieces.insert(0, Bytes::from(lengths.concat()));
        pieces.push(header.into());
        Ok(Frame(pieces))
    }

    /// The same with the checksum of all its bytes but the lengths, after them; [`checksum`] of what is read.
    pub(crate) fn sealed(mut self) -> Self {
        let mut hash = Xxh3::new();
        self.0[1..].iter().for_each(|piece| hash.update(piece));
        let sum = hash.digest().to_le_bytes();
        self.0.push(Bytes::copy_from_slice(&sum));
        self
    }

    /// Whether it is written in one go.
    pub(super) fn is_small(&self) -> bool {
        self.bytes() <= TOGETHER_BYTES
    }

    /// How long it is.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Writes it, to a pipe as a rule.
    pub(crate) fn write(&self, pipe: impl Write) -> std::io::Result<()> {
        let mut pipe = BufWriter::with_capacity(self.bytes().min(TOGETHER_BYTES), pipe);
        self.0.iter().try_for_each(|piece| pipe.write_all(piece))?;
        pipe.flush()
    }
}

/// The checksum of a frame that was read.
pub(crate) fn checksum(header: &[u8], payload: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(payload);
    hash.update(header);
    hash.digest()
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
