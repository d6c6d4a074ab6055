//! Reads record batches, of files and of streams. What a message says of itself is checked before the library sees it;
//! what the library panics at all the same is an error of the file.

use std::io::{Read, Seek};

use polars_arrow::compute::concatenate::concatenate;
use polars_arrow::datatypes::ArrowDataType;
use polars_arrow::io::ipc::IpcField;
use polars_arrow::io::ipc::format::ipc::planus::ReadAsRoot;
use polars_arrow::io::ipc::format::ipc::{DictionaryBatchRef, MessageHeaderRef, MessageRef};
use polars_arrow::io::ipc::read::{Dictionaries, deserialize_schema};

use super::buffers::{Chunk, Columns, decode};
use super::messages::{CONTINUATION, Fault, FileMessages, MAGIC, Message, StreamMessages, damaged};
use super::schema::{self, SchemaFault, field_of};
use super::types;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::format::guard::guarded;
use crate::schema::Schema;

/// So many bytes tell how Arrow is laid out.
pub const TELLS: usize = 8;
/// What describes the columns of a stream from before 2019, which begins with how long that is, is shorter.
const OLD_HEAD_MAX: u32 = 1 << 24;

/// How Arrow is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Messages, and an index of them at the end.
    File,
    /// Messages alone.
    Stream,
}

impl Layout {
    /// That of what begins with these bytes, [`TELLS`] of them if there are so many.
    pub fn of(first: &[u8]) -> Result<Layout> {
        let word = |at: usize| {
            let word = first.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(word))
        };
        if first.starts_with(MAGIC) {
            return Ok(Layout::File);
        }
        if first.starts_with(&CONTINUATION) {
            return Ok(Layout::Stream);
        }
        if let (Some(length), Some(root)) = (word(0), word(4))
            && root < length
            && length < OLD_HEAD_MAX
        {
            return Ok(Layout::Stream);
        }
        let error = Error::failed("not an Arrow IPC file or stream");
        Err(error.hint(match first {
            [b'P', b'A', b'R', b'1', ..] => "it is a Parquet file: kind `load_parquet` reads it",
            [b'F', b'E', b'A', b'1', ..] => "it is Feather version 1: write it as version 2",
            [] => "it is empty",
            _ => "Arrow IPC files, also known as Feather version 2, and streams can be read",
        }))
    }
}

/// Reads the record batches of one file or stream.
pub struct Reader<R> {
    messages: Messages<R>,
    /// The columns.
    pub schema: Schema,
    columns: Columns,
    dictionaries: Dictionaries,
    /// Record batches so far.
    batches: u64,
    /// Records so far.
    records: u64,
}

enum Messages<R> {
    File(FileMessages<R>),
    Stream(StreamMessages),
}

impl<R: Read + Seek> Reader<R> {
    /// Opens a file of so many bytes.
    pub fn of_file(file: R, length: u64) -> Result<Self> {
        let (messages, metadata) = FileMessages::open(file, length)?;
        let columns = Columns {
            arrow: metadata.schema.as_ref().clone(),
            ipc: metadata.ipc_schema,
        };
        Reader::new(Messages::File(messages), columns)
    }

    /// Opens a stream, or a file that is read as one: from its beginning to its end.
    pub fn of_stream(stream: Box<dyn Read + Send>, layout: Layout) -> Result<Self> {
        let what = "the Arrow schema";
        let damaged = |fault: &dyn std::fmt::Display| match layout {
            Layout::Stream => damaged(what, fault),
            // polars writes such files.
            Layout::File => {
                Error::failed("an Arrow file whose columns are described at its end only")
                    .cause(fault)
                    .hint("write it to a file first, or write the stream format")
            }
        };
        let open = || {
            let mut messages = StreamMessages::open(stream, layout == Layout::File)?;
            let first = messages.next()?;
            Ok((messages, first.ok_or(Fault::Cut)?))
        };
        let (messages, first) = open().map_err(|fault| match fault {
            Fault::Damaged(fault) => damaged(&fault),
            other => other.error(what),
        })?;
        let header = MessageRef::read_as_root(&first.head).and_then(|message| message.header());
        let header = header.map_err(|error| damaged(&error))?;
        let Some(MessageHeaderRef::Schema(schema)) = header else {
            return Err(damaged(&"another message stands in its place"));
        };
        schema::check(schema).map_err(|fault| match fault {
            SchemaFault::Damaged(fault) => damaged(&fault),
            SchemaFault::Refused(error) => error,
        })?;
        let read = guarded(|| deserialize_schema(&first.head));
        let (arrow, ipc, _) = read.map_err(|fault| damaged(&fault))?;
        Reader::new(Messages::Stream(messages), Columns { arrow, ipc })
    }

    fn new(messages: Messages<R>, columns: Columns) -> Result<Self> {
        let fields = columns.arrow.iter_values().map(field_of);
        let schema = Schema::new(fields.collect::<Result<_>>()?)?;
        Ok(Reader {
            messages,
            schema,
            columns,
            dictionaries: Dictionaries::default(),
            batches: 0,
            records: 0,
        })
    }

    /// The next record batch, if there is one.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        let what = format!("record batch {}", self.batches + 1);
        let next = self.next_chunk().map_err(|fault| fault.error(&what));
        let Some(chunk) = next? else {
            return Ok(None);
        };
        let rows = chunk.len();
        let before = self.records;
        self.batches += 1;
        self.records += rows as u64;
        let names = self.schema.names();
        let columns = chunk.arrays().iter().zip(names).map(|(array, name)| {
            let column = guarded(|| Ok::<_, String>(types::column_of(array.as_ref())));
            let column = column.map_err(|fault| damaged(&what, fault))?;
            column.map_err(|bad| {
                let (reason, record) = (bad.reason, before + bad.row as u64 + 1);
                Error::failed(format!("record {record}, column `{name}` has {reason}"))
                    .hint("leave the column out where the file is written, or write values that can be read")
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(Some(Batch::new(columns, rows)))
    }

    /// The columns of the next record batch, with the dictionaries that stand before it.
    fn next_chunk(&mut self) -> Result<Option<Chunk>, Fault> {
        loop {
            let message = match &mut self.messages {
                Messages::File(messages) => messages.next()?,
                Messages::Stream(messages) => messages.next()?,
            };
            let Some(Message { head, body }) = message else {
                return Ok(None);
            };
            let header = MessageRef::read_as_root(&head).and_then(|message| message.header());
            match header.map_err(|error| error.to_string())? {
                Some(MessageHeaderRef::RecordBatch(batch)) => {
                    let chunk = decode(batch, &body, &self.columns, &self.dictionaries)?;
                    return Ok(Some(chunk));
                }
                Some(MessageHeaderRef::DictionaryBatch(batch)) => {
                    self.add_dictionary(batch, &body)?;
                }
                _ => return Err("another message stands in its place".to_owned().into()),
            }
        }
    }

    /// Takes a dictionary, or more words of one.
    fn add_dictionary(&mut self, batch: DictionaryBatchRef, body: &[u8]) -> Result<(), String> {
        let read = || Ok((batch.id()?, batch.is_delta()?, batch.data()?));
        let (id, is_delta, data) =
            read().map_err(|error: polars_arrow::io::ipc::format::ipc::planus::Error| {
                error.to_string()
            })?;
        let data = data.ok_or("a dictionary has no words")?;
        let fields = self.columns.ipc.fields.iter();
        let mut fields = self.columns.arrow.iter_values().zip(fields);
        let found = fields.find_map(|(field, ipc)| dictionary_of(id, &field.dtype, ipc));
        let (of, ipc) = found.ok_or_else(|| format!("no column has the dictionary {id}"))?;
        let columns = Columns::one(of.clone(), ipc.clone());
        let chunk = decode(data, body, &columns, &self.dictionaries)?;
        let mut words = chunk.into_arrays().swap_remove(0);
        if is_delta {
            let before = self.dictionaries.get(&id);
            let before =
                before.ok_or_else(|| format!("more of dictionary {id}, which is not there"))?;
            words = guarded(|| concatenate(&[before.as_ref(), words.as_ref()]))?;
        }
        self.dictionaries.insert(id, words);
        Ok(())
    }
}

/// The type of the words of a dictionary, if a field has it.
fn dictionary_of<'a>(
    id: i64,
    dtype: &'a ArrowDataType,
    ipc: &'a IpcField,
) -> Option<(&'a ArrowDataType, &'a IpcField)> {
    match dtype {
        ArrowDataType::Dictionary(_, of, _) if ipc.dictionary_id == Some(id) => Some((of, ipc)),
        ArrowDataType::List(of)
        | ArrowDataType::LargeList(of)
        | ArrowDataType::FixedSizeList(of, _) => dictionary_of(id, &of.dtype, ipc.fields.first()?),
        _ => None,
    }
}
