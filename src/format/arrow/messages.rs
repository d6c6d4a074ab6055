//! Where messages lie: in a file, whose index at the end says where each is, or in a stream, one after the other. Nothing
//! is read that the file does not have, however long a damaged one says it is.

use std::io::{self, Read, Seek, SeekFrom};

use polars_arrow::io::ipc::format::ipc::planus::ReadAsRoot;
use polars_arrow::io::ipc::format::ipc::{Block, FooterRef, MessageRef};
use polars_arrow::io::ipc::read::{FileMetadata, deserialize_footer};

use super::schema::{self, SchemaFault};
use crate::error::{Error, Result};
use crate::format::compression;
use crate::format::guard::guarded;

/// What a file begins and ends with.
pub const MAGIC: &[u8; 6] = b"ARROW1";
/// The magic number at the beginning, and what aligns the first message.
pub(super) const FILE_HEAD: u64 = 8;
/// The length of the footer, and the magic number.
const FILE_TAIL: u64 = 10;
/// What each message begins with, but for those of streams from before 2019.
pub(super) const CONTINUATION: [u8; 4] = [0xFF; 4];

/// What to do with a damaged file.
pub(super) const DAMAGED: &str = "copy or write the file again";
/// What to do with one that is cut off.
const CUT: &str = "is it still being written or copied? run again once it is complete";

/// A message: what it says of itself, and the buffers that it describes.
pub(super) struct Message {
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// Why there is no message.
#[derive(Debug)]
pub(super) enum Fault {
    Read(io::Error),
    /// The bytes end within it.
    Cut,
    Damaged(String),
}

impl Fault {
    /// The error of what is called `what`.
    pub(super) fn error(self, what: &str) -> Error {
        match self {
            Fault::Read(error) => read_error(error),
            Fault::Cut => Error::failed(format!("is cut off within {what}")).hint(CUT),
            Fault::Damaged(fault) => damaged(what, fault),
        }
    }
}

impl From<String> for Fault {
    fn from(fault: String) -> Self {
        Fault::Damaged(fault)
    }
}

pub(super) fn damaged(what: &str, fault: impl std::fmt::Display) -> Error {
    let error = Error::failed(format!("{what} is damaged"));
    error.cause(fault).hint(DAMAGED)
}

/// An error of reading: our own as it is.
fn read_error(error: io::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(|error| {
        let failed = Error::failed("cannot be read").cause(&error);
        match compression::next_step(&error) {
            Some(next) => failed.hint(next),
            None => failed,
        }
    })
}

/// The messages of a file after its schema, dictionaries first.
pub(super) struct FileMessages<R> {
    file: R,
    length: u64,
    dictionaries: std::vec::IntoIter<Block>,
    batches: std::vec::IntoIter<Block>,
}

impl<R: Read + Seek> FileMessages<R> {
    /// Reads the index of a file of so many bytes, which begins as one does.
    pub(super) fn open(mut file: R, length: u64) -> Result<(Self, FileMetadata)> {
        let footer = read_footer(&mut file, length)?;
        let what = "the Arrow footer";
        let root = FooterRef::read_as_root(&footer).and_then(|footer| footer.schema());
        let root = root.map_err(|error| damaged(what, error))?;
        let root = root.ok_or_else(|| damaged(what, "it has no schema"))?;
        schema::check(root).map_err(|fault| match fault {
            SchemaFault::Damaged(fault) => damaged(what, fault),
            SchemaFault::Refused(error) => error,
        })?;
        let metadata = guarded(|| deserialize_footer(&footer, length));
        let mut metadata = metadata.map_err(|error| damaged(what, error))?;
        let dictionaries = metadata.dictionaries.take().unwrap_or_default();
        let batches = std::mem::take(&mut metadata.blocks);
        let messages = FileMessages {
            file,
            length,
            dictionaries: dictionaries.into_iter(),
            batches: batches.into_iter(),
        };
        Ok((messages, metadata))
    }

    pub(super) fn next(&mut self) -> Result<Option<Message>, Fault> {
        let next = self.dictionaries.next().or_else(|| self.batches.next());
        next.map(|block| self.read(&block)).transpose()
    }

    fn read(&mut self, block: &Block) -> Result<Message, Fault> {
        let outside = || {
            format!(
                "it is to stand at byte {}, and the file has {}",
                block.offset, self.length
            )
        };
        let offset = u64::try_from(block.offset).map_err(|_| outside())?;
        let head = u64::try_from(block.meta_data_length).map_err(|_| outside())?;
        let body = offset.checked_add(head).filter(|&at| at <= self.length);
        let body = body.ok_or_else(outside)?;
        self.seek(offset)?;
        let head = read_head(&mut self.file)?.ok_or_else(|| "it has no bytes".to_owned())?;
        self.seek(body)?;
        let length = body_length(&head)?;
        if length > self.length - body {
            let bytes = self.length - body;
            return Err(format!("it is to have {length} bytes, and {bytes} follow").into());
        }
        let body = read_exactly(&mut self.file, length)?;
        Ok(Message { head, body })
    }

    fn seek(&mut self, to: u64) -> Result<(), Fault> {
        let sought = self.file.seek(SeekFrom::Start(to));
        sought.map(drop).map_err(Fault::Read)
    }
}

fn read_footer<R: Read + Seek>(file: &mut R, length: u64) -> Result<Vec<u8>> {
    let mut read = |from: u64, bytes: u64| {
        let read = file.seek(SeekFrom::Start(from)).map_err(Fault::Read);
        let read = read.and_then(|_| read_exactly(file, bytes));
        read.map_err(|fault| fault.error("its footer"))
    };
    let cut = || {
        Error::failed(
            "an Arrow file that is cut off: it begins with `ARROW1` and does not end with it",
        )
        .hint(CUT)
    };
    let end = length.checked_sub(FILE_TAIL).ok_or_else(cut)?;
    let tail = read(end, FILE_TAIL)?;
    let (size, magic) = tail.split_at(4);
    if magic != MAGIC {
        return Err(cut());
    }
    let size = u32::from_le_bytes(size.try_into().expect("four bytes"));
    let from = end.checked_sub(size.into()).filter(|&at| at >= FILE_HEAD);
    let from = from.ok_or_else(|| {
        let fault = format!("it is to be {size} bytes long, and the file has {length}");
        damaged("the Arrow footer", fault)
    })?;
    read(from, size.into())
}

/// The messages of a stream.
pub(super) struct StreamMessages {
    stream: Box<dyn Read + Send>,
    /// It is a file that is read from its beginning to its end: what follows the messages is its index.
    is_file: bool,
    ended: bool,
}

impl StreamMessages {
    /// Those of a stream, or of a file that cannot be read in any order.
    pub(super) fn open(mut stream: Box<dyn Read + Send>, is_file: bool) -> Result<Self, Fault> {
        if is_file {
            read_exactly(&mut stream, FILE_HEAD)?;
        }
        Ok(StreamMessages {
            stream,
            is_file,
            ended: false,
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<Message>, Fault> {
        if self.ended {
            return Ok(None);
        }
        let head = match read_head(&mut self.stream)? {
            Some(head) if !head.is_empty() => head,
            // A stream may end without a mark, a file may not.
            None if self.is_file => return Err(Fault::Cut),
            found => {
                self.ended = true;
                self.end(found.is_some())?;
                return Ok(None);
            }
        };
        let length = body_length(&head)?;
        let body = read_exactly(&mut self.stream, length)?;
        Ok(Some(Message { head, body }))
    }

    /// Reads to the end, where what is compressed has its checksum.
    fn end(&mut self, is_marked: bool) -> Result<(), Fault> {
        if !is_marked {
            return Ok(());
        }
        let rest = io::copy(&mut self.stream, &mut io::sink()).map_err(Fault::Read)?;
        if rest > 0 && !self.is_file {
            return Err(
                format!("{rest} bytes follow its end: one stream a file can be read").into(),
            );
        }
        Ok(())
    }
}

/// What a message says of itself: nothing where the messages end with a mark, `None` where they end without.
fn read_head(from: &mut impl Read) -> Result<Option<Vec<u8>>, Fault> {
    let mut word = || {
        let word = read_up_to(from, 4)?;
        if word.is_empty() {
            return Ok(None);
        }
        let word = <[u8; 4]>::try_from(word);
        word.map(Some).map_err(|_| Fault::Cut)
    };
    let length = match word()? {
        None => return Ok(None),
        Some(CONTINUATION) => word()?.ok_or(Fault::Cut)?,
        Some(length) => length,
    };
    let length = i32::from_le_bytes(length);
    let length = u64::try_from(length)
        .map_err(|_| format!("what describes it is to be {length} bytes long"))?;
    read_exactly(from, length).map(Some)
}

/// How many bytes of buffers follow what a message says of itself.
fn body_length(head: &[u8]) -> Result<u64, String> {
    let message = MessageRef::read_as_root(head).and_then(|message| message.body_length());
    let length = message.map_err(|error| error.to_string())?;
    u64::try_from(length).map_err(|_| format!("its buffers are to take {length} bytes"))
}

fn read_exactly(from: &mut impl Read, length: u64) -> Result<Vec<u8>, Fault> {
    let bytes = read_up_to(from, length)?;
    if bytes.len() as u64 == length {
        Ok(bytes)
    } else {
        Err(Fault::Cut)
    }
}

/// So many bytes, or fewer where there are no more. It takes no memory for what is not there.
fn read_up_to(from: &mut impl Read, length: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let read = from.take(length).read_to_end(&mut bytes);
    read.map_err(Fault::Read)?;
    Ok(bytes)
}
