//! What outlives a run, in its folder under the state folder: how far the work of a stage is settled, the answers
//! that it got, its report, and the rules by which another run goes on with all that.

pub(crate) mod checkpoint;
pub mod history;
pub(crate) mod journal;
pub(crate) mod resume;
