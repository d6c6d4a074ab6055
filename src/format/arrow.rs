//! Arrow IPC files. Our column types that Arrow does not know (the unwrap mark) travel in the fields'
//! metadata, so that a file read back gives the same documents.

pub(in crate::format) mod types;

use std::io::{Read, Seek, Write};
use std::sync::Arc;

use polars_arrow::array::{Array, ListArray, PrimitiveArray};
use polars_arrow::datatypes::{
    ArrowDataType, ArrowSchema, Field as ArrowField, Metadata, TimeUnit,
};
use polars_arrow::io::ipc::read::{FileReader, read_file_metadata};
use polars_arrow::io::ipc::write::{FileWriter, WriteOptions};
use polars_arrow::record_batch::RecordBatchT;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::schema::{Field, Schema, Type};

/// The key of a field's metadata that holds our [`Field`] as JSON.
const FIELD_KEY: &str = "etl";

/// What a file begins and ends with.
pub const MAGIC: &[u8] = b"ARROW1";

/// Writes batches as the record batches of one file.
pub struct Writer<W: Write> {
    file: FileWriter<W>,
    schema: Schema,
    arrow: Arc<ArrowSchema>,
}

impl<W: Write> Writer<W> {
    /// Begins a file of rows of `schema`.
    pub fn new(out: W, schema: &Schema) -> Result<Self> {
        let fields = schema.fields.iter().map(|field| {
            let mut arrow = ArrowField::new(field.name.as_str().into(), dtype(&field.ty), true);
            let json = serde_json::to_string(field).expect("a field is plain data");
            let metadata = Metadata::from_iter([(FIELD_KEY.into(), json.into())]);
            arrow.metadata = Some(Arc::new(metadata));
            (field.name.as_str().into(), arrow)
        });
        let arrow: Arc<ArrowSchema> = Arc::new(fields.collect());
        let file =
            FileWriter::try_new(out, arrow.clone(), None, WriteOptions { compression: None })
                .map_err(write_error)?;
        Ok(Writer {
            file,
            schema: schema.clone(),
            arrow,
        })
    }

    /// One record batch.
    pub fn write(&mut self, batch: &Batch) -> Result<()> {
        let columns = batch.plain();
        let arrays = columns
            .iter()
            .zip(&self.schema.fields)
            .map(|(column, field)| typed(column.canonical().to_arrow(), &field.ty));
        let chunk = RecordBatchT::new(batch.rows(), self.arrow.clone(), arrays.collect());
        self.file.write(&chunk, None).map_err(write_error)
    }

    /// Ends the file and gives the output back.
    pub fn finish(mut self) -> Result<W> {
        self.file.finish().map_err(write_error)?;
        Ok(self.file.into_inner())
    }
}

fn write_error(error: impl std::fmt::Display) -> Error {
    Error::failed("cannot write Arrow").cause(error)
}

/// The Arrow type of columns of a type of ours.
pub(in crate::format) fn dtype(ty: &Type) -> ArrowDataType {
    match ty {
        Type::String => ArrowDataType::LargeUtf8,
        Type::Int => ArrowDataType::Int64,
        Type::Float => ArrowDataType::Float64,
        Type::Bool => ArrowDataType::Boolean,
        Type::Date { utc } => {
            ArrowDataType::Timestamp(TimeUnit::Microsecond, utc.then(|| "UTC".into()))
        }
        Type::Binary => ArrowDataType::LargeBinary,
        Type::List(of) => ListArray::<i64>::default_datatype(dtype(of)),
    }
}

/// The array with dates said to be dates.
pub(in crate::format) fn typed(array: Box<dyn Array>, ty: &Type) -> Box<dyn Array> {
    let any = array.as_any();
    match ty {
        Type::Date { .. } => match any.downcast_ref::<PrimitiveArray<i64>>() {
            Some(micros) => micros.clone().to(dtype(ty)).boxed(),
            None => array,
        },
        Type::List(of) => match any.downcast_ref::<ListArray<i64>>() {
            Some(list) => {
                let values = typed(list.values().clone(), of);
                ListArray::<i64>::new(
                    dtype(ty),
                    list.offsets().clone(),
                    values,
                    list.validity().cloned(),
                )
                .boxed()
            }
            None => array,
        },
        _ => array,
    }
}

/// Reads the record batches of one file.
pub struct Reader<R: Read + Seek> {
    chunks: FileReader<R>,
    /// The columns.
    pub schema: Schema,
    /// Records read so far.
    records: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// Opens a file.
    pub fn new(mut file: R) -> Result<Self> {
        let metadata = match read_file_metadata(&mut file) {
            Ok(metadata) => metadata,
            Err(error) => {
                let mut first = [0; 4];
                let read = file.rewind().and_then(|()| file.read_exact(&mut first));
                let is_parquet = read.is_ok() && first == *b"PAR1";
                let error = Error::failed("not an Arrow IPC file").cause(error);
                return Err(error.hint(if is_parquet {
                    "it is a Parquet file: kind `load_parquet` reads it"
                } else {
                    "Arrow IPC files, also known as Feather version 2, can be read"
                }));
            }
        };
        let fields = metadata
            .schema
            .iter_values()
            .map(field_of)
            .collect::<Result<Vec<_>>>()?;
        let schema = Schema::new(fields)?;
        Ok(Reader {
            chunks: FileReader::new(file, metadata, None, None),
            schema,
            records: 0,
        })
    }
}

impl<R: Read + Seek> Iterator for Reader<R> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunk = match self.chunks.next()? {
            Ok(chunk) => chunk,
            Err(error) => {
                return Some(Err(damaged(&error.to_string())));
            }
        };
        let rows = chunk.len();
        let before = self.records;
        self.records += rows as u64;
        let names = self.schema.names();
        let columns = chunk.arrays().iter().zip(names).map(|(array, name)| {
            types::column_of(array.as_ref()).map_err(|bad| {
                let (reason, record) = (bad.reason, before + bad.row as u64 + 1);
                Error::failed(format!("record {record}, column `{name}` has {reason}"))
                    .hint("leave the column out where the file is written, or write values that can be read")
            })
        });
        Some(
            columns
                .collect::<Result<Vec<_>>>()
                .map(|columns| Batch::new(columns, rows)),
        )
    }
}

fn damaged(error: &str) -> Error {
    if error.contains("compress") {
        return Error::failed("an Arrow file of compressed columns, which are not read")
            .cause(error)
            .hint("write it without: `compression=\"uncompressed\"` in pyarrow and polars");
    }
    Error::failed("the Arrow file is damaged").cause(error)
}

/// What a field's metadata says it is, if its type is that, or else what its type says.
fn field_of(arrow: &ArrowField) -> Result<Field> {
    let ours = arrow
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.get(FIELD_KEY))
        .and_then(|json| serde_json::from_str::<Field>(json).ok());
    if let Some(field) =
        ours.filter(|field| field.name == arrow.name.as_str() && dtype(&field.ty) == arrow.dtype)
    {
        return Ok(field);
    }
    let name = arrow.name.as_str();
    Ok(Field::new(name, type_of(name, &arrow.dtype)?))
}

fn type_of(name: &str, dtype: &ArrowDataType) -> Result<Type> {
    types::type_of(dtype).ok_or_else(|| {
        Error::failed(format!(
            "column `{name}` is of Arrow type {dtype:?}, which no stage works with"
        ))
        .hint("known are integers, floats, booleans, text, dates, time stamps and lists of these: cast it, or leave the column out, where the file is written")
    })
}
