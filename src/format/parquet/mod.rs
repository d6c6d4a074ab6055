//! Parquet files, by way of polars' library for them.
//!
//! Reading has two halves. [`Blocks`], in one thread, looks at the footer and reads the bytes of the columns that are
//! asked for, row group by row group; a row group that is large it divides where pages end. [`Pieces`], in many threads
//! and processes, decompresses and decodes one such block, in pieces that fit into the memory.
//!
//! Metadata and page headers are checked before the library sees them: lengths against the bytes that are there, pages
//! against their checksum, where the file has one. What the library panics at all the same is an error
//! of the file.

mod blocks;
mod decode;
mod footer;
mod pages;
mod shape;
mod split;
#[cfg(test)]
mod tests;
mod thrift;
mod write;

pub use blocks::{Blocks, Source};
pub use decode::Pieces;
pub use footer::{Footer, MAGIC, Picked};
pub use write::{Compression, Encoded, Encoder, ROW_GROUP_ROWS, Writer, weights};

use std::ops::Range;

use crate::error::Result;

/// A file that is read in any order.
pub trait ReadAt {
    /// How many bytes it has.
    fn length(&self) -> u64;
    /// So many bytes from `offset`; fewer are an error.
    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>>;
    /// These ranges will be read next, about in this order, after those that were named before: who is far away can ask
    /// for them meanwhile.
    fn expect(&self, ranges: Vec<Range<u64>>);
}

/// The key of a file's metadata that holds our fields as JSON: with the marks that Parquet does not know.
const FIELDS_KEY: &str = "etl";
