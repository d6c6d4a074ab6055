//! A batch as one Arrow IPC stream: what goes through pipes, and what is kept of an answer.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use polars_arrow::array::{Array, PrimitiveArray};
use polars_arrow::datatypes::{ArrowDataType, ArrowSchema, Field as ArrowField};
use polars_arrow::io::ipc::read::{StreamReader, StreamState, read_stream_metadata};
use polars_arrow::io::ipc::write::common_sync::{push_continuation, push_message};
use polars_arrow::io::ipc::write::{
    EncodedData, EncodedDataBytes, WriteOptions, default_ipc_fields, encode_record_batch,
    schema_to_bytes,
};
use polars_arrow::record_batch::RecordBatchT;
use polars_utils::pl_str::PlSmallStr;

use super::Batch;
use crate::columns::Column;
use crate::error::{Error, Result};

impl Batch {
    /// The batch as one Arrow IPC stream, in pieces that follow each other: values are copied once, from
    /// their columns into the piece that is written. Origins travel as one more column.
    pub fn encode(&self) -> Result<Vec<Bytes>> {
        let mut arrays: Vec<Box<dyn Array>> = self.plain().iter().map(Column::to_arrow).collect();
        if let Some(origins) = &self.origins {
            let array =
                PrimitiveArray::<u64>::new(ArrowDataType::UInt64, origins.clone(), None).boxed();
            arrays.push(array);
        }
        let head = Head::of(&arrays, self.origins.is_some());
        let mut pieces = vec![head.bytes];
        let chunk = RecordBatchT::try_new(self.rows, head.schema, arrays)
            .map_err(|error| Error::failed("cannot encode a batch for its worker").cause(error))?;
        let mut encoded = EncodedData::default();
        encoded.arrow_data.reserve(self.size());
        encode_record_batch(&chunk, &WriteOptions { compression: None }, &mut encoded);
        let rows = EncodedDataBytes {
            ipc_message: encoded.ipc_message.into(),
            arrow_data: encoded.arrow_data.into(),
        };
        push_message(&mut pieces, rows);
        push_continuation(&mut pieces, 0);
        Ok(pieces)
    }

    /// The batch of one Arrow IPC stream.
    pub fn decode(bytes: &[u8]) -> Result<Batch> {
        let mut bytes = std::io::Cursor::new(bytes);
        let broken = |error: &dyn std::fmt::Display| {
            Error::failed("cannot decode a batch of a worker").cause(error)
        };
        let metadata = read_stream_metadata(&mut bytes).map_err(|error| broken(&error))?;
        let with_origins = metadata.schema.contains(ORIGINS);
        let mut reader = StreamReader::new(bytes, metadata, None);
        let Some(StreamState::Some(chunk)) =
            reader.next().transpose().map_err(|error| broken(&error))?
        else {
            return Err(broken(&"the stream ends before its rows"));
        };
        let rows = chunk.len();
        let mut arrays = chunk.into_arrays();
        let origins = if with_origins { arrays.pop() } else { None };
        let origins = origins.and_then(|array| {
            array
                .as_any()
                .downcast_ref::<PrimitiveArray<u64>>()
                .map(|array| array.values().clone())
        });
        let columns = arrays
            .iter()
            .map(|array| {
                Column::from_arrow(array.as_ref())
                    .ok_or_else(|| broken(&"a column of an unknown type"))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Batch::new(columns, rows).with_origins(origins))
    }
}

/// The reserved column of an encoded batch; others are named by their position.
const ORIGINS: &str = "origins";

/// What an encoded batch begins with: its columns.
#[derive(Clone)]
struct Head {
    schema: Arc<ArrowSchema>,
    bytes: Bytes,
}

impl Head {
    /// That of a batch of these arrays, the last of which may be origins.
    fn of(arrays: &[Box<dyn Array>], with_origins: bool) -> Head {
        thread_local! {
            /// A thread encodes batches of one stage as a rule, and small ones are little more than this.
            static LAST: RefCell<Option<Head>> = const { RefCell::new(None) };
        }
        let alike = |head: &Head| {
            let fields = head.schema.iter_values().map(|field| &field.dtype);
            fields.eq(arrays.iter().map(|array| array.dtype()))
                && head.schema.contains(ORIGINS) == with_origins
        };
        let last = LAST.with_borrow(|last| last.clone().filter(alike));
        last.unwrap_or_else(|| {
            let head = Head::new(arrays, with_origins);
            LAST.set(Some(head.clone()));
            head
        })
    }

    fn new(arrays: &[Box<dyn Array>], with_origins: bool) -> Head {
        let last = arrays.len() - usize::from(with_origins);
        let schema: ArrowSchema = arrays
            .iter()
            .enumerate()
            .map(|(i, array)| {
                let name = if i < last {
                    PlSmallStr::from_string(i.to_string())
                } else {
                    PlSmallStr::from_static(ORIGINS)
                };
                let field = ArrowField::new(name.clone(), array.dtype().clone(), i < last);
                (name, field)
            })
            .collect();
        let fields = default_ipc_fields(schema.iter_values());
        let message = EncodedDataBytes {
            ipc_message: schema_to_bytes(&schema, &fields, None).into(),
            arrow_data: Bytes::new(),
        };
        let mut pieces = Vec::new();
        push_message(&mut pieces, message);
        Head {
            schema: Arc::new(schema),
            bytes: pieces.concat().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use polars_buffer::Buffer;

    use super::*;
    use crate::digest::Digest;
    use crate::schema::{Field, Schema, Type};

    #[test]
    fn batches_of_other_columns_each_come_back_as_they_were() {
        let text = || (Type::String, Column::from_strings([Some("a"), None]));
        let number = || (Type::Int, Column::from_nullable_ints(&[None, Some(2)]));
        let columns = [
            vec![text()],
            vec![number(), text()],
            vec![text(), number()],
            vec![],
        ];
        for columns in columns.iter().chain(&columns) {
            let (types, columns): (Vec<_>, Vec<_>) = columns.iter().cloned().unzip();
            let fields = types.into_iter().enumerate();
            let fields = fields.map(|(i, ty)| Field::new(format!("c{i}"), ty));
            let schema = Schema::new(fields.collect()).expect("the names differ");
            for origins in [None, Some(Buffer::from(vec![7, 8]))] {
                let batch = Batch::new(columns.clone(), 2).with_origins(origins.clone());
                let bytes = batch.encode().expect("any batch can be sent").concat();
                let back = Batch::decode(&bytes).expect("it was just encoded");
                assert_eq!(Digest::of(&schema, &back), Digest::of(&schema, &batch));
                assert_eq!(back.origins, origins);
            }
        }
    }
}
