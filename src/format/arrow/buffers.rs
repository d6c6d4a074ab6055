//! The buffers of a record batch: checked against the bytes that are there, inflated if they are compressed, then decoded
//! by the library.

use std::io::{Cursor, Read};

use polars_arrow::array::{Array, PrimitiveArray};
use polars_arrow::datatypes::{ArrowDataType, ArrowSchema, Field as ArrowField};
use polars_arrow::io::ipc::format::ipc::planus::{Builder, ReadAsRoot};
use polars_arrow::io::ipc::format::ipc::{
    Buffer, CompressionType, FieldNode, MetadataVersion, RecordBatch, RecordBatchRef,
};
use polars_arrow::io::ipc::read::Dictionaries;
use polars_arrow::io::ipc::read::common::read_record_batch;
use polars_arrow::io::ipc::{IpcField, IpcSchema};
use polars_arrow::record_batch::RecordBatchT;
use polars_utils::bool::UnsafeBool;

use crate::format::compression::Codec;
use crate::format::guard::guarded;

/// The columns of a record batch.
pub(super) type Chunk = RecordBatchT<Box<dyn Array>>;

/// What each compressed buffer begins with: how long it is inflated, or this if it is not compressed.
const PREFIX: usize = 8;
const AS_IT_IS: i64 = -1;
/// No byte of LZ4 stands for more bytes than this.
const LZ4_RATIO_MAX: u64 = 255;

/// What columns there are, as the library knows them.
pub(super) struct Columns {
    pub(super) arrow: ArrowSchema,
    pub(super) ipc: IpcSchema,
}

impl Columns {
    /// One column.
    pub(super) fn one(of: ArrowDataType, ipc: IpcField) -> Self {
        let field = ArrowField::new("".into(), of, true);
        Columns {
            arrow: [("".into(), field)].into_iter().collect(),
            ipc: IpcSchema {
                fields: vec![ipc],
                is_little_endian: true,
            },
        }
    }
}

/// The columns of a record batch, or what is wrong with it.
pub(super) fn decode(
    batch: RecordBatchRef,
    body: &[u8],
    columns: &Columns,
    dictionaries: &Dictionaries,
) -> Result<Chunk, String> {
    let mut batch = RecordBatch::try_from(batch).map_err(|error| error.to_string())?;
    let buffers = check(&batch, body)?;
    let Some(compression) = batch.compression.take() else {
        return read(&batch, body, columns, dictionaries);
    };
    let mut inflated = Vec::new();
    for (buffer, bytes) in batch.buffers.iter_mut().flatten().zip(buffers) {
        let from = inflated.len();
        inflate(compression.codec, bytes, &mut inflated)?;
        *buffer = Buffer {
            offset: length(from),
            length: length(inflated.len() - from),
        };
    }
    read(&batch, &inflated, columns, dictionaries)
}

/// The bytes of each buffer, none of which may share any with another.
fn check<'a>(batch: &RecordBatch, body: &'a [u8]) -> Result<Vec<&'a [u8]>, String> {
    let slices = batch.buffers.iter().flatten().map(|buffer| {
        let (from, length) = (buffer.offset, buffer.length);
        if length == 0 {
            return Ok(&[][..]);
        }
        let from = usize::try_from(from).ok();
        let to = usize::try_from(length)
            .ok()
            .and_then(|length| from?.checked_add(length));
        let slice = from.zip(to).and_then(|(from, to)| body.get(from..to));
        slice.ok_or_else(|| {
            let (from, all) = (buffer.offset, body.len());
            format!("a buffer is to have {length} bytes from {from}, and all have {all}")
        })
    });
    let slices = slices.collect::<Result<Vec<&[u8]>, String>>()?;
    let all: usize = slices.iter().map(|slice| slice.len()).sum();
    if all > body.len() {
        return Err("its buffers overlap".into());
    }
    Ok(slices)
}

/// Appends what a compressed buffer holds.
fn inflate(codec: CompressionType, buffer: &[u8], into: &mut Vec<u8>) -> Result<(), String> {
    if buffer.is_empty() {
        return Ok(());
    }
    let Some((prefix, packed)) = buffer.split_first_chunk::<PREFIX>() else {
        return Err(format!("a compressed buffer has {} bytes", buffer.len()));
    };
    let declared = i64::from_le_bytes(*prefix);
    if declared == AS_IT_IS {
        into.extend_from_slice(packed);
        return Ok(());
    }
    let bytes = u64::try_from(declared)
        .map_err(|_| format!("a buffer is to have {declared} bytes inflated"))?;
    match codec {
        CompressionType::Zstd => {
            let from = into.len();
            let inflated = Codec::Zstd.reader(packed).take(bytes).read_to_end(into);
            inflated.map_err(|error| error.to_string())?;
            let found = (into.len() - from) as u64;
            if found < bytes {
                return Err(format!(
                    "a buffer has {found} bytes inflated, and is to have {bytes}"
                ));
            }
        }
        CompressionType::Lz4Frame => {
            if bytes > LZ4_RATIO_MAX * packed.len() as u64 {
                let packed = packed.len();
                return Err(format!(
                    "a buffer of {packed} bytes is to have {bytes} inflated"
                ));
            }
            into.extend_from_slice(&lz4(buffer, declared)?);
        }
    }
    Ok(())
}

/// What a buffer holds. The library inflates columns only: it is one of bytes.
fn lz4(buffer: &[u8], bytes: i64) -> Result<Vec<u8>, String> {
    let packed = RecordBatch {
        length: bytes,
        nodes: Some(vec![FieldNode {
            length: bytes,
            null_count: 0,
        }]),
        buffers: Some(vec![
            Buffer::default(),
            Buffer {
                offset: 0,
                length: length(buffer.len()),
            },
        ]),
        compression: Some(Box::default()),
        variadic_buffer_counts: None,
    };
    let columns = Columns::one(ArrowDataType::UInt8, IpcField::default());
    let chunk = read(&packed, buffer, &columns, &Dictionaries::default())?;
    let column = chunk.into_arrays().swap_remove(0);
    let column = column.as_any().downcast_ref::<PrimitiveArray<u8>>();
    Ok(column
        .expect("it was to be bytes")
        .values()
        .as_slice()
        .to_vec())
}

/// Has the library decode what was checked.
fn read(
    batch: &RecordBatch,
    body: &[u8],
    columns: &Columns,
    dictionaries: &Dictionaries,
) -> Result<Chunk, String> {
    let mut builder = Builder::new();
    let batch = builder.finish(batch, None);
    let batch = RecordBatchRef::read_as_root(batch).map_err(|error| error.to_string())?;
    guarded(|| {
        read_record_batch(
            batch,
            &columns.arrow,
            &columns.ipc,
            None,
            None,
            dictionaries,
            MetadataVersion::V5,
            &mut Cursor::new(body),
            0,
            &mut Vec::new(),
            UnsafeBool::default(),
        )
    })
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("memory ends before 2^63")
}
