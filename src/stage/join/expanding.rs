//! A batch of which some rows match several right rows: it becomes as many rows as it takes, in parts.

use std::sync::Arc;

use super::{How, Right, count};
use crate::batch::Batch;
use crate::columns::{NONE, row_number};
use crate::stage::{Output, Rest, parts};

/// A batch whose rows match none, one or several right rows, and how far it was joined.
pub(super) struct Expanding {
    right: Arc<Right>,
    left: Batch,
    /// The first right row of each.
    first: Vec<u32>,
    /// The left row that comes next, and, where that has given some of its rows, the right row that does.
    row: usize,
    at: Option<u32>,
    rows_max: usize,
}

impl Expanding {
    pub(super) fn new(right: Arc<Right>, left: Batch, first: Vec<u32>) -> Self {
        let row_bytes = left.size() / first.len().max(1) + right.row_bytes;
        Expanding {
            right,
            left,
            first,
            row: 0,
            at: None,
            rows_max: parts::rows_max(row_bytes),
        }
    }

    /// The next rows. A left row is counted where its first right row is.
    pub(super) fn part(mut self) -> Output {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        let (mut matched, mut unmatched) = (0, 0);
        while self.row < self.first.len() && left.len() < self.rows_max {
            let row = row_number(self.row);
            let found = self.first[self.row];
            if found == NONE {
                unmatched += 1;
                if self.right.how == How::Left {
                    left.push(row);
                    right.push(NONE);
                }
            } else if self.at.is_none() {
                matched += 1;
            }
            let mut at = self.at.take().unwrap_or(found);
            while at != NONE && left.len() < self.rows_max {
                left.push(row);
                right.push(at);
                at = self.right.index.after(at);
            }
            if at == NONE {
                self.row += 1;
            } else {
                self.at = Some(at);
            }
        }
        let mut output = Output::new(self.right.beside(&self.left.take(&left), right));
        let dropped = if self.right.how == How::Inner {
            unmatched
        } else {
            0
        };
        output.rows_in = Some((matched + unmatched) as u64);
        output.dropped = dropped as u64;
        output.added = (left.len() + dropped - matched - unmatched) as u64;
        count(&mut output, matched, unmatched);
        if self.row < self.first.len() {
            output.rest = Some(Rest::new(move || Ok(self.part())));
        }
        output
    }
}
