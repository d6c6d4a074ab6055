//! `etl` runs data pipelines from a TOML file.

pub mod batch;
pub mod cli;
pub mod columns;
pub mod error;
pub mod executor;
pub mod format;
pub mod pipeline;
pub mod schema;
pub mod stage;
