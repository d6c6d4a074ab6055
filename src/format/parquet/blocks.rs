//! The rows of a file as blocks: the bytes of the columns that are read, and what it takes to decode them anywhere.

use std::collections::BTreeMap;

use polars_buffer::Buffer;
use polars_parquet::parquet::compression::Compression;
use serde::{Deserialize, Serialize};

use super::ReadAt;
use super::footer::{ChunkPlace, Footer, Picked, PickedColumn, to_usize};
use super::shape::Shape;
use super::split::{Part, Split};
use crate::batch::Batch;
use crate::columns::Column;
use crate::error::Result;

/// A row group up to this size is one block. Larger ones become blocks of about this size: decoded each takes a few times
/// as much, and there have to be several for all workers to be busy. Smaller ones would need more pages twice.
pub(super) const BLOCK_BYTES: usize = 4 << 20;
/// Column chunks that lie so near to each other are read at once.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// Whose rows they are, and how they are given on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file's number in the run.
    pub file: u32,
    /// How many rows a batch has at most.
    pub batch_rows: usize,
}

/// What stands in a block's first cell, as JSON; the bytes of each column follow.
#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) source: Source,
    /// The row group, from 0, and the first row's number in the file, from 1.
    pub(super) group: usize,
    pub(super) first_record: u64,
    pub(super) rows: usize,
    pub(super) columns: Vec<HeadColumn>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct HeadColumn {
    pub(super) name: String,
    pub(super) shape: Shape,
    /// Which rows of the pages come before the block's.
    pub(super) skip: usize,
    pub(super) values: usize,
    codec: Codec,
}

/// The codecs that are read.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Codec {
    None,
    Snappy,
    Gzip,
    Zstd,
    /// In Hadoop's frames.
    Lz4,
    Lz4Raw,
}

impl HeadColumn {
    fn new(column: &PickedColumn, codec: Compression, values: usize, skip: usize) -> Self {
        let codec = match codec {
            Compression::Snappy => Codec::Snappy,
            Compression::Gzip => Codec::Gzip,
            Compression::Zstd => Codec::Zstd,
            Compression::Lz4 => Codec::Lz4,
            Compression::Lz4Raw => Codec::Lz4Raw,
            Compression::Uncompressed => Codec::None,
            Compression::Brotli | Compression::Lzo => unreachable!("the footer refused it"),
        };
        HeadColumn {
            name: column.name.clone(),
            shape: column.shape.clone(),
            skip,
            values,
            codec,
        }
    }

    pub(super) fn codec(&self) -> Compression {
        match self.codec {
            Codec::None => Compression::Uncompressed,
            Codec::Snappy => Compression::Snappy,
            Codec::Gzip => Compression::Gzip,
            Codec::Zstd => Compression::Zstd,
            Codec::Lz4 => Compression::Lz4,
            Codec::Lz4Raw => Compression::Lz4Raw,
        }
    }
}

/// Block after block of one file, each a batch of one row.
pub struct Blocks<R> {
    file: R,
    footer: Footer,
    picked: Picked,
    source: Source,
    /// The row group that comes next, and the first row of the next block.
    group: usize,
    first_record: u64,
    open: Option<Split>,
}

impl<R: ReadAt> Blocks<R> {
    /// The blocks of a file whose footer was read.
    pub fn new(file: R, footer: Footer, picked: Picked, source: Source) -> Self {
        Blocks {
            file,
            footer,
            picked,
            source,
            group: 0,
            first_record: 1,
            open: None,
        }
    }

    /// The file.
    pub fn file(&self) -> &R {
        &self.file
    }

    /// The next block.
    pub fn next_block(&mut self) -> Result<Option<Batch>> {
        loop {
            if let Some(split) = self.open.take_if(|split| !split.is_done()) {
                return self.part_of(split).map(Some);
            }
            let group = self.group;
            if group == self.footer.groups() {
                return Ok(None);
            }
            self.group += 1;
            let rows = self.footer.group_rows(group);
            if rows == 0 {
                continue;
            }
            let places = self.picked.columns.iter();
            let places = places.map(|column| self.footer.chunk(group, column));
            let places = places.collect::<Result<Vec<ChunkPlace>>>()?;
            let bytes: u64 = places
                .iter()
                .map(|place| place.range.end - place.range.start)
                .sum();
            if bytes <= BLOCK_BYTES as u64 {
                return self.whole(group, rows, &places).map(Some);
            }
            let columns = self.picked.columns.iter().cloned().zip(places);
            self.open = Some(Split::new(group, rows, columns.collect()));
        }
    }

    /// A row group as one block.
    fn whole(&mut self, group: usize, rows: usize, places: &[ChunkPlace]) -> Result<Batch> {
        let cells = read_chunks(&self.file, places)?;
        let columns = self
            .picked
            .columns
            .iter()
            .zip(places)
            .map(|(column, place)| HeadColumn::new(column, place.codec, to_usize(place.values), 0));
        let columns = columns.collect();
        Ok(self.block(group, rows, columns, cells))
    }

    /// The next rows of a large row group.
    fn part_of(&mut self, mut split: Split) -> Result<Batch> {
        let group = split.group();
        let (rows, parts) = split.next(&self.file)?;
        self.open = Some(split);
        let mut columns = Vec::with_capacity(parts.len());
        let mut cells = Vec::with_capacity(parts.len());
        for (
            column,
            Part {
                bytes,
                values,
                skip,
            },
        ) in self.picked.columns.iter().zip(parts)
        {
            let codec = self.footer.chunk(group, column)?.codec;
            columns.push(HeadColumn::new(column, codec, values, skip));
            cells.push(bytes.into());
        }
        Ok(self.block(group, rows, columns, cells))
    }

    fn block(
        &mut self,
        group: usize,
        rows: usize,
        columns: Vec<HeadColumn>,
        cells: Vec<Buffer<u8>>,
    ) -> Batch {
        let head = Head {
            source: self.source,
            group,
            first_record: self.first_record,
            rows,
            columns,
        };
        self.first_record += rows as u64;
        let bytes: usize = cells.iter().map(Buffer::len).sum();
        let decoded = self.footer.decoded_bytes(group, &self.picked.columns, rows);
        let head = serde_json::to_vec(&head).expect("a head is plain data");
        let cells = std::iter::once(head.into()).chain(cells);
        let cells = cells.map(|cell| Column::from_cells(vec![cell]));
        // While it is in flight, the rows that come of it are too.
        Batch::new(cells.collect(), 1).counted_as(bytes + decoded)
    }
}

/// The bytes of each chunk; those that lie next to each other are read at once.
fn read_chunks(file: &dyn ReadAt, places: &[ChunkPlace]) -> Result<Vec<Buffer<u8>>> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|&at| places[at].range.start);
    let mut cells = BTreeMap::new();
    let mut rest = &order[..];
    while let Some(&first) = rest.first() {
        let start = places[first].range.start;
        let mut end = places[first].range.end;
        let near = rest.iter().take_while(|&&at| {
            let range = &places[at].range;
            let is_near = range.start <= end + GAP_BYTES_MAX;
            if is_near {
                end = end.max(range.end);
            }
            is_near
        });
        let near = near.count();
        let bytes = Buffer::from(file.read_at(start, to_usize(end - start))?);
        let (now, later) = rest.split_at(near);
        for &at in now {
            let range = &places[at].range;
            let range = to_usize(range.start - start)..to_usize(range.end - start);
            cells.insert(at, bytes.clone().sliced(range));
        }
        rest = later;
    }
    Ok(cells.into_values().collect())
}
