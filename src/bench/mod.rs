//! Measures: [`compare`] runs a pipeline in two ways, [`tune`] finds how a stage is run best. Both run pipelines
//! as a user does; the arithmetic is in [`crate::report::verdict`].

pub mod compare;
pub mod tune;
