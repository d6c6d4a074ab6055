//! Arrow IPC files and streams. Our column types that Arrow does not know (the unwrap mark) travel in the fields'
//! metadata, so that a file read back gives the same documents.

mod buffers;
mod messages;
mod read;
mod schema;
#[cfg(test)]
mod tests;
pub(in crate::format) mod types;

use std::io::Write;
use std::sync::Arc;

use polars_arrow::array::{Array, ListArray, PrimitiveArray};
use polars_arrow::datatypes::{
    ArrowDataType, ArrowSchema, Field as ArrowField, Metadata, TimeUnit,
};
use polars_arrow::io::ipc::write::{FileWriter, WriteOptions};
use polars_arrow::record_batch::RecordBatchT;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::schema::{Schema, Type};

pub use messages::MAGIC;
pub use read::{Layout, Reader, TELLS};

/// The key of a field's metadata that holds our [`Field`] as JSON.
const FIELD_KEY: &str = "etl";

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
