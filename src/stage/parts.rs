//! Results in parts: what a batch becomes where that is more than fits into one.

use super::Output;
use crate::batch::{BYTES_MAX, ROWS_MAX};
use crate::error::Result;

/// Makes the next part of what a batch becomes, when the part before it has been taken.
pub struct Rest(Box<dyn FnOnce() -> Result<Output> + Send>);

impl Rest {
    /// What makes it.
    pub fn new(make: impl FnOnce() -> Result<Output> + Send + 'static) -> Self {
        Rest(Box::new(make))
    }

    /// Makes it.
    pub fn make(self) -> Result<Output> {
        (self.0)()
    }
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Rest")
    }
}

/// A batch may become so many times the rows and bytes that a stage is given at most: where some of its rows become
/// two it stays in one piece, and where one row becomes a million no part of it fills the memory.
const GROWTH_MAX: usize = 4;

/// How many rows of about so many bytes a part has at most.
pub(super) fn rows_max(row_bytes: usize) -> usize {
    let by_bytes = GROWTH_MAX * BYTES_MAX / row_bytes.max(1);
    by_bytes.clamp(1, GROWTH_MAX * ROWS_MAX)
}
