//! Formats: text to columns and columns to text. Nothing here knows of stages.

pub mod dates;
pub mod json;
