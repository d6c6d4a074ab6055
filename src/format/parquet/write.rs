//! Rows as a Parquet file. A row group is encoded column by column, by any thread, and written when all are.
//!
//! What is in the file depends on the rows alone: arrays come in their one canonical form, the library hashes with
//! fixed seeds, and neither a time nor a version but our own is written.

use std::io::Write;

use polars_arrow::datatypes::Field as ArrowField;
use polars_parquet::parquet::FallibleStreamingIterator;
use polars_parquet::parquet::compression::{CompressionOptions, ZstdLevel};
use polars_parquet::parquet::error::ParquetError;
use polars_parquet::parquet::metadata::{KeyValue, SchemaDescriptor};
use polars_parquet::parquet::page::CompressedPage;
use polars_parquet::parquet::schema::types::ParquetType;
use polars_parquet::parquet::write::{
    DynIter, DynStreamingIterator, FileWriter, Version, WriteOptions as FileOptions, compress,
};
use polars_parquet::write::{
    Encoding, StatisticsOptions, WriteOptions, array_to_columns, to_parquet_type,
};

use super::FIELDS_KEY;
use crate::batch::Batch;
use crate::columns::Column;
use crate::error::{Error, Result};
use crate::format::arrow::{dtype, typed};
use crate::schema::{Field, Schema, Type};

/// Who wrote it.
const CREATED_BY: &str = concat!("etl ", env!("CARGO_PKG_VERSION"));
/// Pages are decompressed at once by those who read them. A page of dictionary keys holds a row group of
/// [`ROW_GROUP_ROWS`] then: the library says of every such page what the nulls of all of them are.
const PAGE_BYTES: usize = 1 << 20;
/// Rows a row group, as `DuckDB` has them: readers work on row groups in parallel.
pub const ROW_GROUP_ROWS: usize = 122_880;
/// Least and greatest texts are written where all are as short: they stand in the footer.
const STATISTICS_BYTES_MAX: usize = 64;
/// The fastest level: the next two take half as long again, and leave a few per cent less.
const ZSTD_LEVEL: i32 = 1;

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// With zstd.
    #[default]
    Zstd,
    /// With snappy.
    Snappy,
    /// Not at all.
    None,
}

/// Encodes columns; many threads may share it.
pub struct Encoder {
    fields: Vec<Field>,
    types: Vec<ParquetType>,
    compression: CompressionOptions,
}

/// A column of a row group, ready to be written.
pub struct Encoded(Vec<CompressedPage>);

/// Writes one file.
pub struct Writer<W: Write> {
    file: FileWriter<W>,
    fields: Vec<Field>,
}

impl Encoder {
    /// An encoder of rows of `schema`.
    pub fn new(schema: &Schema, compression: Compression) -> Result<Self> {
        let types = schema.fields.iter().map(|field| {
            let arrow = ArrowField::new(field.name.as_str().into(), dtype(&field.ty), true);
            to_parquet_type(&arrow).map_err(write_error)
        });
        Ok(Encoder {
            fields: schema.fields.clone(),
            types: types.collect::<Result<_>>()?,
            compression: match compression {
                Compression::Zstd => CompressionOptions::Zstd(Some(
                    ZstdLevel::try_new(ZSTD_LEVEL).map_err(write_error)?,
                )),
                Compression::Snappy => CompressionOptions::Snappy,
                Compression::None => CompressionOptions::Uncompressed,
            },
        })
    }

    /// Encodes column `at` of a row group.
    pub fn encode(&self, at: usize, column: &Column) -> Result<Encoded> {
        let field = &self.fields[at];
        let column = column.canonical();
        let array = typed(column.to_arrow(), &field.ty);
        let options = WriteOptions {
            statistics: statistics(&field.ty, &column),
            version: Version::V1,
            compression: self.compression,
            data_page_size: Some(PAGE_BYTES),
        };
        // Where a dictionary takes more than it saves, the library writes the values as they are.
        let encoding = match field.ty {
            Type::String | Type::Int | Type::Date { .. } => Encoding::RleDictionary,
            _ => Encoding::Plain,
        };
        let columns = array_to_columns(array, self.types[at].clone(), options, &[encoding]);
        let pages = columns.map_err(write_error)?.into_iter().flatten();
        let pages = pages.map(|page| {
            let page = page.map_err(write_error)?;
            compress(page, Vec::new(), self.compression).map_err(write_error)
        });
        Ok(Encoded(pages.collect::<Result<_>>()?))
    }
}

impl<W: Write> Writer<W> {
    /// Begins a file of what `encoder` encodes.
    pub fn new(out: W, encoder: &Encoder) -> Self {
        let schema = SchemaDescriptor::new("root".into(), encoder.types.clone());
        let options = FileOptions {
            // Of each page in an index of their own, beside those of the row group: there are a few pages only.
            write_statistics: false,
            version: Version::V1,
        };
        Writer {
            file: FileWriter::new(out, schema, options, Some(CREATED_BY.into())),
            fields: encoder.fields.clone(),
        }
    }

    /// Writes a row group.
    pub fn write(&mut self, rows: usize, columns: Vec<Encoded>) -> Result<()> {
        let columns = columns.into_iter().map(|Encoded(pages)| {
            Ok::<_, ParquetError>(DynStreamingIterator::new(InTurn {
                pages: pages.into_iter(),
                current: None,
            }))
        });
        let written = self.file.write(rows as u64, DynIter::new(columns));
        written.map_err(write_error)
    }

    /// Ends the file and gives the output back.
    pub fn finish(mut self) -> Result<W> {
        let fields = serde_json::to_string(&self.fields).expect("fields are plain data");
        let fields = KeyValue::new(FIELDS_KEY.to_owned(), Some(fields));
        self.file.end(Some(vec![fields])).map_err(write_error)?;
        Ok(self.file.into_inner())
    }
}

/// Pages one after the other, in the form that the library takes.
struct InTurn {
    pages: std::vec::IntoIter<CompressedPage>,
    current: Option<CompressedPage>,
}

impl FallibleStreamingIterator for InTurn {
    type Item = CompressedPage;
    type Error = ParquetError;

    fn advance(&mut self) -> std::result::Result<(), ParquetError> {
        self.current = self.pages.next();
        Ok(())
    }

    fn get(&self) -> Option<&CompressedPage> {
        self.current.as_ref()
    }
}

fn write_error(error: impl std::fmt::Display) -> Error {
    Error::failed("cannot write Parquet").cause(error)
}

/// What readers may know of a column without reading it. Of lists the library counts other nulls than readers do.
fn statistics(ty: &Type, column: &Column) -> StatisticsOptions {
    let of = |bounds: bool, null_count: bool| StatisticsOptions {
        min_value: bounds,
        max_value: bounds,
        distinct_count: false,
        null_count,
        // Not cut: a reader takes them for values that are there.
        binary_statistics_truncate_length: Some(0),
    };
    match (ty, column) {
        (Type::List(_), _) => of(false, false),
        (_, Column::Strings(texts)) => {
            let longest = texts.views().iter().map(|view| view.length as usize).max();
            of(longest.unwrap_or(0) <= STATISTICS_BYTES_MAX, true)
        }
        _ => of(true, true),
    }
}

/// A number, or the place of a text.
const VALUE_BYTES: usize = 8;

/// What each row of a batch takes, as far as its values say so: however rows are cut into batches, it is the same.
pub fn weights(batch: &Batch) -> Vec<usize> {
    let mut weights = vec![batch.cells().len() * VALUE_BYTES; batch.rows()];
    for column in batch.plain() {
        add_weights(&column, &mut weights);
    }
    weights
}

/// Adds what the values take that are not of one size.
fn add_weights(column: &Column, weights: &mut [usize]) {
    let each = weights.iter_mut().enumerate();
    match column {
        Column::Strings(texts) => {
            let texts = texts.iter().map(|text| text.map_or(0, str::len));
            each.zip(texts)
                .for_each(|((_, weight), text)| *weight += text);
        }
        Column::Bytes(cells) => {
            let cells = cells.iter().map(|cell| cell.map_or(0, <[u8]>::len));
            each.zip(cells)
                .for_each(|((_, weight), cell)| *weight += cell);
        }
        Column::Lists(list) => {
            let mut of_values = vec![VALUE_BYTES; list.values.len()];
            add_weights(&list.values, &mut of_values);
            for (row, weight) in each {
                if list
                    .validity
                    .as_ref()
                    .is_none_or(|validity| validity.get_bit(row))
                {
                    *weight += of_values[list.range(row)].iter().sum::<usize>();
                }
            }
        }
        Column::Ints(_) | Column::Floats(_) | Column::Bools(_) => {}
    }
}
