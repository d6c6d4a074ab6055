//! `etl` runs data pipelines from a TOML file.

pub mod batch;
pub mod columns;
pub mod error;
pub mod executor;
pub mod format;
pub mod keys;
pub mod partition;
pub mod schema;
pub mod stage;
