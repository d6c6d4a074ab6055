//! `etl` runs data pipelines from a TOML file.

pub mod batch;
pub mod clock;
pub mod columns;
pub mod digest;
pub mod error;
pub mod executor;
pub mod format;
pub mod hand;
pub mod keys;
pub mod partition;
pub mod schema;
pub mod stage;
pub mod stop;
