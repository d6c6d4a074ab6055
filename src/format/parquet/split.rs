//! A large row group as several blocks: its pages are read as they are needed, and each block has those of its rows.
//! Columns do not end their pages at the same rows, so that a page may be in two blocks.

use std::collections::VecDeque;
use std::ops::Range;

use super::footer::{ChunkPlace, DAMAGED, PickedColumn, in_column, to_usize};
use super::pages::{FoundPage, first_page, rows_of};
use super::thrift::PageKind;
use super::{ReadAt, blocks::BLOCK_BYTES};
use crate::error::{Error, Result};

/// So much is read at once of each column, if there are a few.
const READ_BYTES_MAX: usize = 1 << 20;
const READ_BYTES_MIN: usize = 64 << 10;

/// A row group of which some rows were given.
pub(super) struct Split {
    group: usize,
    rows: usize,
    /// The first row that was not given.
    next: usize,
    /// How many rows a block should have.
    rows_wanted: usize,
    /// The column with the most bytes: blocks end where its pages do.
    lead: usize,
    chunks: Vec<Chunk>,
}

/// Pages of one column that have the rows of a block.
pub(super) struct Part {
    pub(super) bytes: Vec<u8>,
    pub(super) values: usize,
    /// Rows of the pages that come before the block's.
    pub(super) skip: usize,
}

/// A column, and how far it was read.
struct Chunk {
    column: PickedColumn,
    place: ChunkPlace,
    group: usize,
    read_bytes: usize,
    /// Bytes that were read and not looked at.
    buffer: Vec<u8>,
    dictionary: Vec<u8>,
    /// Pages with rows that were not given.
    pages: VecDeque<KeptPage>,
    /// How many rows begin in all pages so far.
    rows: usize,
    /// Values of pages that were not looked at.
    values: usize,
}

struct KeptPage {
    bytes: Vec<u8>,
    values: usize,
    /// The row that begins first in it, and how many do.
    first: usize,
    rows: usize,
    /// Whether it begins with more of the row before.
    continues: bool,
}

/// How much is read at once of each of so many columns.
fn read_bytes(columns: usize) -> usize {
    (2 * BLOCK_BYTES / columns).clamp(READ_BYTES_MIN, READ_BYTES_MAX)
}

/// What will be read at once, about in the order of reading: the columns come to the middle of their rows, or to any
/// other part of them, at about the same time.
pub(super) fn reads(places: &[ChunkPlace]) -> Vec<Range<u64>> {
    let step = read_bytes(places.len());
    let mut reads: Vec<(u128, Range<u64>)> = Vec::new();
    for place in places {
        for start in place.range.clone().step_by(step) {
            let end = place.range.end.min(start + step as u64);
            let before = u128::from(start - place.range.start) << 64;
            reads.push((before / u128::from(place.bytes()), start..end));
        }
    }
    reads.sort_by_key(|(part, range)| (*part, range.start));
    reads.into_iter().map(|(_, range)| range).collect()
}

impl Split {
    pub(super) fn new(group: usize, rows: usize, columns: Vec<(PickedColumn, ChunkPlace)>) -> Self {
        let total: u64 = columns.iter().map(|(_, place)| place.bytes()).sum();
        let wanted = rows as u128 * BLOCK_BYTES as u128 / u128::from(total.max(1));
        let lead = (0..columns.len()).max_by_key(|&at| columns[at].1.bytes());
        let read_bytes = read_bytes(columns.len());
        let chunks = columns.into_iter().map(|(column, place)| Chunk {
            values: to_usize(place.values),
            column,
            place,
            group,
            read_bytes,
            buffer: Vec::new(),
            dictionary: Vec::new(),
            pages: VecDeque::new(),
            rows: 0,
        });
        Split {
            group,
            rows,
            next: 0,
            rows_wanted: usize::try_from(wanted).unwrap_or(rows).max(1),
            lead: lead.expect("a file has columns"),
            chunks: chunks.collect(),
        }
    }

    /// Which row group it is.
    pub(super) fn group(&self) -> usize {
        self.group
    }

    /// Whether all its rows were given.
    pub(super) fn is_done(&self) -> bool {
        self.next == self.rows
    }

    /// The next rows: how many, and the pages of each column.
    pub(super) fn next(&mut self, file: &dyn ReadAt) -> Result<(usize, Vec<Part>)> {
        let begin = self.next;
        let lead = &mut self.chunks[self.lead];
        while lead.rows < begin + self.rows_wanted && lead.read_page(file)? {}
        let end = if lead.values == 0 {
            self.rows
        } else {
            lead.rows.min(self.rows)
        };
        let end = end.max(begin + 1);
        let parts = self
            .chunks
            .iter_mut()
            .map(|chunk| chunk.part(begin, end, file));
        let parts = parts.collect::<Result<Vec<Part>>>()?;
        self.next = end;
        Ok((end - begin, parts))
    }
}

impl Chunk {
    fn damaged(&self, what: impl std::fmt::Display) -> Error {
        let error = Error::failed("is damaged").cause(what).hint(DAMAGED);
        in_column(self.group, &self.column.name, error)
    }

    /// Reads one more data page, if there is one.
    fn read_page(&mut self, file: &dyn ReadAt) -> Result<bool> {
        while self.values > 0 {
            let (shape, codec) = (&self.column.shape, self.place.codec);
            let found = first_page(&self.buffer, shape, codec);
            let Some(FoundPage { header, length }) = found.map_err(|what| self.damaged(what))?
            else {
                self.read_more(file)?;
                continue;
            };
            let rest = self.buffer.split_off(length);
            let bytes = std::mem::replace(&mut self.buffer, rest);
            if header.kind == PageKind::Dictionary {
                self.dictionary = bytes;
                continue;
            }
            let rows = rows_of(&bytes, &header, shape, codec);
            let (rows, continues) = rows.map_err(|what| self.damaged(what))?;
            let Some(left) = self.values.checked_sub(header.values) else {
                return Err(self.damaged("its pages have more values than it is to have"));
            };
            self.values = left;
            self.pages.push_back(KeptPage {
                bytes,
                values: header.values,
                first: self.rows,
                rows,
                continues,
            });
            self.rows += rows;
            return Ok(true);
        }
        Ok(false)
    }

    fn read_more(&mut self, file: &dyn ReadAt) -> Result<()> {
        let left = self.place.range.end - self.place.range.start;
        if left == 0 {
            let values = self.values;
            return Err(self.damaged(format!("it ends, and {values} values are missing")));
        }
        // A page longer than that is read in steps that double, so that it is copied a few times at most.
        let wanted = self.read_bytes.max(self.buffer.len());
        let read = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
        self.buffer
            .append(&mut file.read_at(self.place.range.start, read)?);
        self.place.range.start += read as u64;
        Ok(())
    }

    /// The pages with rows `begin..end`; those that have later rows too are kept.
    fn part(&mut self, begin: usize, end: usize, file: &dyn ReadAt) -> Result<Part> {
        // A page of lists may go on with the last row of the one before.
        let is_short =
            |chunk: &Self| chunk.rows < end || chunk.column.shape.is_nested() && chunk.rows == end;
        while is_short(self) && self.read_page(file)? {}
        let first = self.pages.front().map(|page| page.first);
        let Some(skip) = first
            .filter(|_| self.rows >= end)
            .and_then(|first| begin.checked_sub(first))
        else {
            let rows = self.rows;
            return Err(self.damaged(format!("its pages end after {rows} rows")));
        };
        let mut part = Part {
            bytes: self.dictionary.clone(),
            values: 0,
            skip,
        };
        for page in &self.pages {
            if page.first < end || page.first == end && page.continues {
                part.bytes.extend_from_slice(&page.bytes);
                part.values += page.values;
            }
        }
        self.pages
            .retain(|page| page.first + page.rows > end || page.first > end);
        Ok(part)
    }
}
