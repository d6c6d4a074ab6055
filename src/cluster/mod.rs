//! A cluster: a further place where fragments are executed. An existing engine (Spark) runs the tasks, moves opaque
//! frames between them, keeps them on its disks and tries again what died; every row is computed by the same fragment
//! code as on one machine, in an `etl task` that the engine starts (`task`).
//!
//! This machine keeps the run: it begins the stages, decides on tasks and borders, keeps the ledger, feeds the sinks and
//! publishes. It speaks to the engine through a script (`engine`), and reads the rows that come back to it from a folder
//! that all machines see (`parts`).

pub mod config;
pub(crate) mod engine;
mod failure;
pub(crate) mod folder;
mod look;
mod master;
pub(crate) mod order;
pub(crate) mod parts;
pub(crate) mod rejects;
pub mod task;

pub use config::{ClusterConfig, ClusterTable, MASTERS, is_master};
pub use look::look;
