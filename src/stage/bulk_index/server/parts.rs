//! What is sent together, and what became of it.

use std::time::Duration;

use bytes::Bytes;

/// Documents as they are sent: item `i` ends at `ends[i]`.
pub(super) struct Bulk {
    pub(super) body: Bytes,
    pub(super) ends: Vec<usize>,
    /// Which row of the whole input the batch begins with that they are of.
    pub(super) first_row: u64,
    /// They may have been sent before.
    pub(super) again: bool,
    /// Nothing else was in flight when they were dispatched.
    pub(super) alone: bool,
}

impl Bulk {
    pub(super) fn item(&self, i: u32) -> &[u8] {
        let i = i as usize;
        let from = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.body[from..self.ends[i]]
    }

    pub(super) fn bytes(&self, items: &[u32]) -> usize {
        items.iter().map(|&i| self.item(i).len()).sum()
    }

    /// The body of some items; of all of them it is the one that is there.
    pub(super) fn body(&self, items: &[u32]) -> Bytes {
        if items.len() == self.ends.len() {
            return self.body.clone();
        }
        let mut body = Vec::with_capacity(self.bytes(items));
        for &i in items {
            body.extend_from_slice(self.item(i));
        }
        body.into()
    }
}

/// How a document ended.
#[derive(Debug, Clone)]
pub(super) enum DocumentOutcome {
    Created,
    Updated,
    Unchanged,
    Deleted,
    NotFound,
    Dropped,
    Conflict,
    /// A pipeline of the server sent it to another index.
    Elsewhere,
    /// It was taken in an earlier sending, of which no answer came.
    Confirmed,
    Rejected(Refusal),
}

/// Why the server takes a document never.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) kind: String,
    pub(super) reason: String,
    pub(super) caused_by: Option<String>,
}

/// What sending took.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) sent: u64,
    /// Answers with a 429, for the request or for some of its items.
    pub(super) refused_429: u64,
    pub(super) splits: u64,
    pub(super) bytes: u64,
    pub(super) server_ms: u64,
    pub(super) wire: Duration,
    pub(super) maybe_doubled: u64,
    pub(super) read_only_waits: u64,
}

/// Items that are sent together.
#[derive(Clone, Default)]
pub(super) struct Part {
    pub(super) items: Vec<u32>,
    /// Tries since the server last took anything.
    pub(super) tries: u32,
    /// Answers of 500.
    pub(super) failures: u32,
    /// Connections that broke.
    pub(super) breaks: u32,
    /// How much the server had taken at the first refusal, and at the last.
    pub(super) taken: Option<(u64, u64)>,
    pub(super) not_before: Duration,
}

impl Part {
    /// Two parts whose tries begin anew.
    pub(super) fn halves(mut self) -> [Part; 2] {
        let second = self.items.split_off(self.items.len() / 2);
        [self.items, second].map(|items| Part {
            items,
            failures: self.failures,
            taken: self.taken,
            ..Part::default()
        })
    }

    pub(super) fn is_single(&self) -> bool {
        self.items.len() == 1
    }
}

/// How one sending of a part ended.
pub(super) enum Sent {
    /// Every item has its outcome.
    Done,
    /// It is too large, or one of its items spoils the others.
    Halve(Part),
    /// Its one item is never taken.
    Reject(Part, Refusal),
    /// These are to be sent again.
    Again(Part, Why, Option<Duration>),
}

/// Why something is to be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// The server has too much to do (429).
    Busy,
    /// It failed (500).
    Failed(String),
    /// It is not itself for now (502, 503, 504, 408, or nobody listens).
    Away(String),
    /// The connection broke, or the answer is not whole.
    Broken(String),
    /// No answer in time.
    Late(String),
    /// The index takes no writes.
    Blocked(String),
}

impl Why {
    pub(super) fn words(&self) -> String {
        match self {
            Why::Busy => "the server is too busy (429)".into(),
            Why::Failed(words) => format!("the server fails (500): {words}"),
            Why::Away(words) => format!("the server cannot be used: {words}"),
            Why::Broken(words) => format!("the server breaks connections off: {words}"),
            Why::Late(words) | Why::Blocked(words) => words.clone(),
        }
    }
}

/// The ends of a bulk's items as far as they are known, and which items may have been taken already.
pub(super) struct Outcomes<'a> {
    pub(super) bulk: &'a Bulk,
    pub(super) known: Vec<Option<DocumentOutcome>>,
    pub(super) lost: Vec<bool>,
    pub(super) tally: &'a mut Tally,
}

impl Outcomes<'_> {
    pub(super) fn set(&mut self, i: u32, outcome: DocumentOutcome) {
        self.known[i as usize] = Some(outcome);
    }

    /// No answer came for these: they may have been taken.
    pub(super) fn lose(&mut self, items: &[u32]) {
        for &i in items {
            self.lost[i as usize] = true;
        }
    }
}
