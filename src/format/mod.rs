//! Formats: text to columns and columns to text. Nothing here knows of stages.

pub mod arrow;
pub mod csv;
pub mod dates;
pub mod gzip;
pub mod json;
pub mod parquet;
