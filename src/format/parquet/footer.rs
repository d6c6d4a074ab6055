//! A file's footer: its columns, and where their bytes lie.

use std::collections::HashSet;
use std::ops::Range;

use polars_buffer::Buffer;
use polars_parquet::parquet::compression::Compression;
use polars_parquet::parquet::metadata::{ColumnChunkMetadata, FileMetadata, RowGroupMetadata};
use polars_parquet::parquet::read::deserialize_metadata;
use polars_parquet::parquet::schema::types::ParquetType;

use super::shape::Shape;
use super::thrift::{Fault, check_footer};
use super::{FIELDS_KEY, ReadAt};
use crate::batch::origin::RECORD_BITS;
use crate::error::{Error, Result, every};
use crate::format::guard::guarded;
use crate::schema::{Field, Schema, Type};

/// What a file begins and ends with.
pub const MAGIC: &[u8; 4] = b"PAR1";
const ENCRYPTED: &[u8; 4] = b"PARE";
/// The length of the footer and the magic number after it.
const TAIL: u64 = 8;
/// So much of the end is read at once: most footers are smaller.
const FOOTER_READ: u64 = 64 << 10;

/// More names than this are not to be pasted.
const NAMES_MAX: usize = 40;

/// What to do with a damaged file.
pub(super) const DAMAGED: &str = "copy or write the file again";

/// What a file's end says of it.
pub struct Footer {
    metadata: FileMetadata,
    /// All columns, in order.
    columns: Vec<Column>,
    /// Names that several of them have.
    doubled: HashSet<String>,
    /// Our own fields, if we wrote it.
    fields: Vec<Field>,
    /// Where the footer begins: all else lies in front of it.
    data_end: u64,
}

struct Column {
    name: String,
    shape: std::result::Result<Shape, String>,
    /// Which of a row group's column chunks it is.
    chunk: usize,
}

/// The columns that are read.
#[derive(Clone)]
pub struct Picked {
    /// As stages see them.
    pub schema: Schema,
    pub(super) columns: Vec<PickedColumn>,
}

#[derive(Clone)]
pub(super) struct PickedColumn {
    pub(super) name: String,
    pub(super) shape: Shape,
    chunk: usize,
}

/// Where one column of a row group lies.
pub(super) struct ChunkPlace {
    pub(super) range: Range<u64>,
    pub(super) values: u64,
    pub(super) codec: Compression,
}

impl ChunkPlace {
    /// How many bytes it has.
    pub(super) fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl Column {
    /// It, if stages work with its type.
    fn picked(&self) -> Result<PickedColumn> {
        let name = self.name.clone();
        match &self.shape {
            Ok(shape) => Ok(PickedColumn {
                name,
                shape: shape.clone(),
                chunk: self.chunk,
            }),
            Err(what) => Err(Error::failed(format!(
                "column `{name}` is of type {what}, which no stage works with"
            ))
            .cause(
                "known are integers, floats, booleans, text, dates, time stamps and lists of these",
            )),
        }
    }
}

impl Footer {
    /// Reads it.
    pub fn read(file: &dyn ReadAt) -> Result<Self> {
        let length = file.length();
        if length < TAIL + 4 {
            return Err(not_parquet(file, length)?);
        }
        let tail = file.read_at(
            length - length.min(FOOTER_READ),
            to_usize(length.min(FOOTER_READ)),
        )?;
        let (rest, magic) = tail.split_at(tail.len() - 4);
        if magic == ENCRYPTED {
            return Err(
                Error::failed("an encrypted Parquet file, which is not read")
                    .hint("write it without encryption"),
            );
        }
        if magic != MAGIC {
            return Err(not_parquet(file, length)?);
        }
        let (rest, size) = rest.split_at(rest.len() - 4);
        let size = u32::from_le_bytes(size.try_into().expect("four bytes"));
        let Some(data_end) = (length - TAIL)
            .checked_sub(u64::from(size))
            .filter(|&end| end >= 4)
        else {
            return Err(damaged_footer(format!(
                "it is to be {size} bytes long, and the file has {length}"
            )));
        };
        let footer = match rest.len().checked_sub(size as usize) {
            Some(from) => rest[from..].to_vec(),
            None => file.read_at(data_end, size as usize)?,
        };
        Self::decode(footer, data_end)
    }

    fn decode(footer: Vec<u8>, data_end: u64) -> Result<Self> {
        check_footer(&footer).map_err(|fault| {
            damaged_footer(match fault {
                Fault::Ended => "it ends within a value",
                Fault::Damaged(what) => what,
            })
        })?;
        let metadata = guarded(|| deserialize_metadata(Buffer::from(footer)));
        let metadata = metadata.map_err(damaged_footer)?;
        let rows: u128 = metadata
            .row_groups
            .iter()
            .map(|group| group.num_rows() as u128)
            .sum();
        if rows != metadata.num_rows as u128 || rows >> RECORD_BITS != 0 {
            return Err(damaged_footer(format!(
                "its row groups have {rows} rows, the file is to have {}",
                metadata.num_rows
            )));
        }
        let mut chunk = 0;
        let columns = metadata.schema().fields().iter().map(|column| {
            let leaves = count_leaves(column);
            let first = chunk;
            chunk += leaves;
            let shape = Shape::of(column).and_then(|shape| {
                let found = metadata.schema().columns().get(first);
                let levels = found.map(|found| &found.descriptor);
                let levels = levels.map(|levels| (levels.max_def_level, levels.max_rep_level));
                if levels == Some(shape.levels()) {
                    Ok(shape)
                } else {
                    Err("structure".into())
                }
            });
            Column {
                name: column.name().to_owned(),
                shape,
                chunk: first,
            }
        });
        let columns: Vec<Column> = columns.collect();
        let mut names = HashSet::new();
        let again = columns.iter().filter(|column| !names.insert(&column.name));
        let doubled = again.map(|column| column.name.clone()).collect();
        let pairs = metadata.key_value_metadata().iter().flatten();
        let ours = pairs
            .filter(|pair| pair.key == FIELDS_KEY)
            .find_map(|pair| pair.value.as_ref());
        let fields = ours.and_then(|json| serde_json::from_str(json).ok());
        Ok(Footer {
            fields: fields.unwrap_or_default(),
            metadata,
            columns,
            doubled,
            data_end,
        })
    }

    /// The columns named, in that order, or all of them.
    pub fn pick(&self, names: Option<&[String]>) -> Result<Picked> {
        let picked: Vec<&Column> = match names {
            Some(names) => every(names.iter().map(|name| self.named(name)))?,
            None => self.columns.iter().collect(),
        };
        let is_read = |column: &&&Column| column.shape.is_ok() && self.has_own_name(column);
        let others = picked.iter().filter(is_read);
        let others = || leave_out(others.clone().map(|column| column.name.as_str()));
        if let Some(double) = picked.iter().find(|column| !self.has_own_name(column)) {
            let error = Error::failed(format!("two columns are named `{}`", double.name));
            return Err(error.hint(others()));
        }
        let columns = picked.iter().map(|column| column.picked());
        let columns = columns.collect::<Result<Vec<PickedColumn>>>();
        let columns = columns.map_err(|error| error.hint(others()))?;
        if columns.is_empty() {
            return Err(Error::failed("the file has no columns").hint(DAMAGED));
        }
        let fields = columns.iter().map(|column| self.field(column)).collect();
        let schema = Schema::new(fields)?;
        Ok(Picked { schema, columns })
    }

    /// The column that is asked for by its name.
    fn named(&self, name: &str) -> Result<&Column> {
        if let Some(found) = self.columns.iter().find(|column| column.name == name) {
            return Ok(found);
        }
        let own = self.columns.iter().filter(|of| self.has_own_name(of));
        let own = own.map(|column| Field::new(&column.name, Type::String));
        let own = Schema::new(own.collect())?;
        own.index(name).map(|at| &self.columns[at])
    }

    fn has_own_name(&self, column: &Column) -> bool {
        !self.doubled.contains(&column.name)
    }

    /// What we wrote that the column is, if that is its type.
    fn field(&self, column: &PickedColumn) -> Field {
        let ty = column.shape.column_type();
        let mut ours = self.fields.iter();
        let ours = ours.find(|field| field.name == column.name && field.ty == ty);
        ours.cloned()
            .unwrap_or_else(|| Field::new(&column.name, ty))
    }

    /// How many row groups there are.
    pub fn groups(&self) -> usize {
        self.metadata.row_groups.len()
    }

    /// How many bytes of a file so long are in no column of a row group that has rows.
    pub(super) fn bytes_beside(&self, length: u64) -> u64 {
        let groups = self.metadata.row_groups.iter();
        let chunks = groups
            .filter(|group| group.num_rows() > 0)
            .flat_map(RowGroupMetadata::parquet_columns);
        let bytes = chunks.map(|chunk| u64::try_from(chunk.compressed_size()).unwrap_or(0));
        // What a damaged footer says may be more than there is.
        length.saturating_sub(bytes.fold(0, u64::saturating_add))
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.metadata.num_rows
    }

    pub(super) fn group_rows(&self, group: usize) -> usize {
        self.metadata.row_groups[group].num_rows()
    }

    /// About how many bytes so many rows of a row group take once they are decompressed.
    pub(super) fn decoded_bytes(
        &self,
        group: usize,
        columns: &[PickedColumn],
        rows: usize,
    ) -> usize {
        let chunks = self.metadata.row_groups[group].parquet_columns();
        let bytes = columns
            .iter()
            .map(|column| chunks[column.chunk].uncompressed_size());
        let bytes: u64 = bytes
            .map(|bytes| u64::try_from(bytes).unwrap_or(0))
            .fold(0, u64::saturating_add);
        let share = u128::from(bytes) * rows as u128 / self.group_rows(group).max(1) as u128;
        // What a damaged footer says must not add up to more than there is.
        usize::try_from(share)
            .unwrap_or(usize::MAX)
            .min(isize::MAX.unsigned_abs() / 2)
    }

    /// Where a column of a row group lies, if that is in the file.
    pub(super) fn chunk(&self, group: usize, column: &PickedColumn) -> Result<ChunkPlace> {
        let rows = self.group_rows(group);
        let fail = |what: String| in_column(group, &column.name, Error::failed(what).hint(DAMAGED));
        let chunk = &self.metadata.row_groups[group].parquet_columns()[column.chunk];
        let codec = chunk.compression();
        if let Some(name) = unread(codec) {
            let error = Error::failed(format!("is compressed with {name}, which is not read"));
            let error = error.hint("write it with zstd, snappy, gzip, lz4 or no compression");
            return Err(in_column(group, &column.name, error));
        }
        let range = range_of(chunk).filter(|range| range.start >= 4 && range.end <= self.data_end);
        let Some(range) = range else {
            return Err(fail(format!(
                "is to lie at byte {}, {} bytes long; the file's data ends at byte {}",
                chunk.data_page_offset(),
                chunk.compressed_size(),
                self.data_end
            )));
        };
        let values = u64::try_from(chunk.num_values()).unwrap_or(0);
        let is_right = if column.shape.is_nested() {
            values >= rows as u64
        } else {
            values == rows as u64
        };
        if !is_right {
            return Err(fail(format!(
                "has {} values, and the row group {rows} rows",
                chunk.num_values()
            )));
        }
        Ok(ChunkPlace {
            range,
            values,
            codec,
        })
    }
}

/// What to do where it is a column that cannot be read, and not the file: read the others.
pub(super) fn leave_out<'a>(others: impl Iterator<Item = &'a str>) -> String {
    let others: Vec<String> = others
        .map(|name| toml::Value::from(name).to_string())
        .collect();
    let read = match others.len() {
        0 => "",
        1..=NAMES_MAX => &format!("leave it out with `columns = [{}]`, or ", others.join(", ")),
        _ => "name the other columns in `columns`, or ",
    };
    format!("{read}write the file with values that can be read")
}

/// An error of one column of a row group; both count from 1.
pub(super) fn in_column(group: usize, column: &str, error: Error) -> Error {
    let message = format!(
        "row group {}, column `{column}`: {}",
        group + 1,
        error.message
    );
    Error { message, ..error }
}

fn count_leaves(column: &ParquetType) -> usize {
    match column {
        ParquetType::PrimitiveType(_) => 1,
        ParquetType::GroupType { fields, .. } => fields.iter().map(count_leaves).sum(),
    }
}

/// Some writers say that the dictionary lies at byte 0 where the chunk has no dictionary.
fn range_of(chunk: &ColumnChunkMetadata) -> Option<Range<u64>> {
    let data = chunk.data_page_offset();
    let dictionary = chunk.dictionary_page_offset();
    let start = dictionary.filter(|&start| start > 0 && start < data);
    let start = u64::try_from(start.unwrap_or(data)).ok()?;
    let length = u64::try_from(chunk.compressed_size()).ok()?;
    Some(start..start.checked_add(length)?)
}

/// The name of a codec that is not read.
fn unread(codec: Compression) -> Option<&'static str> {
    match codec {
        Compression::Brotli => Some("brotli"),
        Compression::Lzo => Some("LZO"),
        Compression::Uncompressed
        | Compression::Snappy
        | Compression::Gzip
        | Compression::Zstd
        | Compression::Lz4
        | Compression::Lz4Raw => None,
    }
}

fn damaged_footer(what: impl std::fmt::Display) -> Error {
    Error::failed("the Parquet footer is damaged")
        .cause(what)
        .hint(DAMAGED)
}

/// The error of a file that does not end as one of Parquet does.
fn not_parquet(file: &dyn ReadAt, length: u64) -> Result<Error> {
    let first = file.read_at(0, to_usize(length.min(4)))?;
    if first == MAGIC {
        return Ok(Error::failed(
            "a Parquet file that is cut off: it begins with `PAR1` and does not end with it",
        )
        .hint("is it still being written or copied? run again once it is complete"));
    }
    let error = Error::failed("not a Parquet file: it does not end with `PAR1`");
    if first == *b"ARRO" {
        return Ok(error.hint("it is an Arrow file: kind `load_arrow` reads it"));
    }
    if length == 0 {
        return Ok(error.hint("it is empty"));
    }
    Ok(error)
}

pub(super) fn to_usize(length: u64) -> usize {
    usize::try_from(length).expect("a length that fits the memory")
}
