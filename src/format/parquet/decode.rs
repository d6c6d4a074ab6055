//! A block decoded: in pieces that fit into the memory, each given on in batches.

use std::collections::VecDeque;

use polars_buffer::Buffer;
use polars_parquet::parquet::compression::Compression;
use polars_parquet::parquet::read::BasicDecompressor;
use polars_parquet::read::{Filter, column_iter_to_arrays};

use super::blocks::{Head, HeadColumn};
use super::footer::{DAMAGED, in_column, leave_out};
use super::pages;
use crate::batch::{Batch, origin};
use crate::columns::Column;
use crate::error::{Error, Result};
use crate::format::arrow::types::{self, BadValue};
use crate::format::guard::guarded;

/// A piece takes about so much memory. Smaller ones would decompress pages, which several of them need, more often.
const PIECE_BYTES: usize = 32 << 20;
/// Rows a piece, where they take next to nothing.
const PIECE_ROWS: usize = 1 << 20;

/// The rows of a block that were not given yet.
pub struct Pieces {
    head: Head,
    cells: Vec<Buffer<u8>>,
    piece_rows: usize,
    /// Rows decoded so far.
    done: usize,
    /// Decoded batches.
    ready: VecDeque<Batch>,
}

impl Pieces {
    /// The rows of a block as [`Blocks`](super::Blocks) gives it, after a look at all its pages.
    pub fn new(block: &Batch) -> Result<Self> {
        let head = block.column(0).cell(0);
        let head: Head = serde_json::from_slice(&head).map_err(|error| {
            Error::failed("a block of a Parquet file came to a worker damaged").cause(error)
        })?;
        let cells = (1..=head.columns.len()).map(|at| block.column(at).cell(0));
        let cells: Vec<Buffer<u8>> = cells.collect();
        let mut row_bytes = 0;
        for (column, cell) in head.columns.iter().zip(&cells) {
            let totals = pages::check(cell, &column.shape, column.codec(), column.values);
            let totals = totals.map_err(|what| head.damaged(column, what))?;
            let rows = head.rows + column.skip;
            let decoded = totals.values * column.shape.value_bytes();
            row_bytes += totals.uncompressed.max(decoded) / rows.max(1) + 1;
        }
        let piece_rows = (PIECE_BYTES / row_bytes.max(1)).clamp(1, PIECE_ROWS);
        Ok(Pieces {
            head,
            cells,
            piece_rows,
            done: 0,
            ready: VecDeque::new(),
        })
    }

    /// How many bytes of the file were read for the block.
    pub fn file_bytes(&self) -> u64 {
        self.head.file_bytes
    }

    /// The next batch, and whether there are more.
    pub fn next_batch(&mut self) -> Result<(Batch, bool)> {
        if self.ready.is_empty() {
            let rows = self.piece_rows.min(self.head.rows - self.done);
            let piece = self.decode(self.done, rows)?;
            self.done += rows;
            self.ready = piece.cut(self.head.source.batch_rows).into();
        }
        let batch = self.ready.pop_front().expect("a piece has rows");
        let more = !self.ready.is_empty() || self.done < self.head.rows;
        Ok((batch, more))
    }

    fn decode(&self, from: usize, rows: usize) -> Result<Batch> {
        let columns = self.head.columns.iter().zip(&self.cells);
        let columns = columns.map(|(column, cell)| self.decode_column(column, cell, from, rows));
        let columns = columns.collect::<Result<Vec<Column>>>()?;
        let first = self.head.first_record + from as u64;
        let origins = (first..first + rows as u64).map(|record| self.head.origin(record));
        let origins: Vec<u64> = origins.collect();
        Ok(Batch::new(columns, rows).with_origins(Some(origins.into())))
    }

    fn decode_column(
        &self,
        column: &HeadColumn,
        cell: &Buffer<u8>,
        from: usize,
        rows: usize,
    ) -> Result<Column> {
        let shape = &column.shape;
        let pages = pages::reader(cell.clone(), shape, column.codec(), column.values);
        let pages = BasicDecompressor::new(pages, Vec::new());
        let begin = column.skip + from;
        let wanted = Some(Filter::Range(begin..begin + rows));
        let leaf = shape.descriptor().primitive_type;
        let arrays = guarded(|| {
            column_iter_to_arrays(vec![pages], vec![&leaf], shape.field(&column.name), wanted)
        });
        let (arrays, _) = arrays.map_err(|what| {
            let is_lz4 = column.codec() == Compression::Lz4;
            if is_lz4 && pages::is_in_frames(cell, shape) {
                self.head.in_frames(column)
            } else {
                self.head.damaged(column, what)
            }
        })?;
        let found: usize = arrays.iter().map(|array| array.len()).sum();
        if found != rows {
            let what = format!("{found} values where {rows} are to be");
            return Err(self.head.damaged(column, what));
        }
        let mut parts = Vec::with_capacity(arrays.len());
        let mut row = from;
        for array in &arrays {
            let part = types::column_of(array.as_ref());
            parts.push(part.map_err(|bad| self.head.bad_value(column, row, &bad))?);
            row += array.len();
        }
        let parts: Vec<&Column> = parts.iter().collect();
        Ok(Column::concat(&parts))
    }
}

impl Head {
    fn origin(&self, record: u64) -> u64 {
        origin::of(self.source.file, record)
    }

    fn damaged(&self, column: &HeadColumn, what: impl std::fmt::Display) -> Error {
        self.fault(
            column,
            Error::failed("is damaged").cause(what).hint(DAMAGED),
        )
    }

    fn in_frames(&self, column: &HeadColumn) -> Error {
        let error = Error::failed(
            "is compressed with lz4 in several of Hadoop's frames a page, which is not read",
        );
        self.fault(
            column,
            error.hint("write it with zstd, snappy, gzip or lz4_raw"),
        )
    }

    fn fault(&self, column: &HeadColumn, error: Error) -> Error {
        let error = in_column(self.group, &column.name, error);
        error.origin(Some(self.origin(self.first_record)))
    }

    /// A value that stages cannot work with, `row` rows after the block's first one.
    fn bad_value(&self, column: &HeadColumn, row: usize, bad: &BadValue) -> Error {
        let record = self.first_record + (row + bad.row) as u64;
        let others = self.columns.iter().map(|column| column.name.as_str());
        let others = others.filter(|&name| name != column.name);
        Error::failed(format!("column `{}` has {}", column.name, bad.reason))
            .hint(leave_out(others))
            .origin(Some(self.origin(record)))
    }
}
