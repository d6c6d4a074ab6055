//! What outlives a run, in its folder under the state folder: checkpoints, response journals, the report, and the
//! rules for resuming from them.

pub(crate) mod checkpoint;
pub mod history;
pub(crate) mod journal;
pub mod loaded;
pub(crate) mod resume;
