//! The rows of a file as blocks: the bytes of the columns that are read, and what it takes to decode them anywhere.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use polars_buffer::Buffer;
use polars_parquet::parquet::compression::Compression;
use serde::{Deserialize, Serialize};

use super::ReadAt;
use super::footer::{ChunkPlace, Footer, Picked, PickedColumn, to_usize};
use super::shape::Shape;
use super::split::{self, Part, Split};
use crate::batch::Batch;
use crate::columns::Column;
use crate::error::Result;

/// A row group up to this size is one block. Larger ones become blocks of about this size: decoded each takes a few times
/// as much, and there have to be several for all workers to be busy. Smaller ones would need more pages twice.
pub(super) const BLOCK_BYTES: usize = 4 << 20;
/// Column chunks that lie so near to each other are read at once.
const GAP_BYTES_MAX: u64 = 64 << 10;
/// So many bytes are announced to the file before they are read: more than it asks for at a time.
const EXPECTED_BYTES: u64 = 32 << 20;

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
    /// How many bytes of the file were read for it: all of a row group's count for its first block, and what lies in no
    /// row group for the first of the file.
    pub(super) file_bytes: u64,
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
    /// How many row groups were announced to the file, and those of them that were not begun.
    announced: usize,
    coming: VecDeque<Group>,
    /// The first row of the next block, and what was read for it so far.
    first_record: u64,
    file_bytes: u64,
    open: Option<Split>,
}

/// A row group that has rows.
struct Group {
    number: usize,
    rows: usize,
    /// Where the columns lie, or why that cannot be.
    places: Result<Vec<ChunkPlace>>,
}

impl Group {
    fn bytes(&self) -> u64 {
        let places = self.places.as_deref().unwrap_or_default();
        places.iter().map(ChunkPlace::bytes).sum()
    }
}

impl<R: ReadAt> Blocks<R> {
    /// The blocks of a file whose footer was read.
    pub fn new(file: R, footer: Footer, picked: Picked, source: Source) -> Self {
        Blocks {
            file_bytes: footer.bytes_beside(file.length()),
            file,
            footer,
            picked,
            source,
            announced: 0,
            coming: VecDeque::new(),
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
        if let Some(split) = self.open.take_if(|split| !split.is_done()) {
            return self.part_of(split).map(Some);
        }
        self.tell();
        let Some(group) = self.coming.pop_front() else {
            return Ok(None);
        };
        let bytes = group.bytes();
        self.file_bytes += bytes;
        let places = group.places?;
        if bytes <= BLOCK_BYTES as u64 {
            return self.whole(group.number, group.rows, &places).map(Some);
        }
        let columns = self.picked.columns.iter().cloned().zip(places);
        let split = Split::new(group.number, group.rows, columns.collect());
        self.part_of(split).map(Some)
    }

    /// Tells the file which row groups will be read.
    fn tell(&mut self) {
        let mut bytes: u64 = self.coming.iter().map(Group::bytes).sum();
        while self.announced < self.footer.groups() && bytes < EXPECTED_BYTES {
            let number = self.announced;
            self.announced += 1;
            let rows = self.footer.group_rows(number);
            if rows == 0 {
                continue;
            }
            let places = self.picked.columns.iter();
            let places = places.map(|column| self.footer.chunk(number, column));
            let group = Group {
                number,
                rows,
                places: places.collect(),
            };
            bytes += group.bytes();
            self.file.expect(match &group.places {
                Err(_) => Vec::new(),
                Ok(places) if group.bytes() <= BLOCK_BYTES as u64 => {
                    near(places).map(|(range, _)| range).collect()
                }
                Ok(places) => split::reads(places),
            });
            self.coming.push_back(group);
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
            file_bytes: std::mem::take(&mut self.file_bytes),
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

/// The bytes of each chunk; those that lie near each other are read at once.
fn read_chunks(file: &dyn ReadAt, places: &[ChunkPlace]) -> Result<Vec<Buffer<u8>>> {
    let mut cells = BTreeMap::new();
    for (all, chunks) in near(places) {
        let bytes = Buffer::from(file.read_at(all.start, to_usize(all.end - all.start))?);
        for at in chunks {
            let range = &places[at].range;
            let range = to_usize(range.start - all.start)..to_usize(range.end - all.start);
            cells.insert(at, bytes.clone().sliced(range));
        }
    }
    Ok(cells.into_values().collect())
}

/// Ranges of chunks that lie near each other, and which these are, in the order of the file.
fn near(places: &[ChunkPlace]) -> impl Iterator<Item = (Range<u64>, Vec<usize>)> {
    let mut order: VecDeque<usize> = (0..places.len()).collect();
    order
        .make_contiguous()
        .sort_by_key(|&at| places[at].range.start);
    std::iter::from_fn(move || {
        let first = order.pop_front()?;
        let (mut all, mut chunks) = (places[first].range.clone(), vec![first]);
        while let Some(&next) = order.front()
            && places[next].range.start <= all.end + GAP_BYTES_MAX
        {
            all.end = all.end.max(places[next].range.end);
            chunks.extend(order.pop_front());
        }
        Some((all, chunks))
    })
}
