//! Formats: bytes to columns and columns to bytes. Nothing here knows of stages.

pub mod arrow;
pub mod compression;
pub mod csv;
pub mod dates;
mod guard;
pub mod json;
pub mod parquet;
pub mod text_encoding;
