//! `write_files`: rows into one file, published by a rename when the whole run has ended well.
//! Sessions render in parallel; the sink writes what they rendered in order.

mod emptied;
mod object;
mod parquet;
mod target;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Deserialize;

use self::emptied::Emptied;
use self::parquet::ParquetSink;
use self::target::{Target, is_directory, is_stdout};
use super::files::named_endpoint;
use super::{
    Begun, Counts, Destination, Earlier, Folder, Output, Partitioning, Probe, Properties, Run,
    Session, Setup, Sink, Stage, StageKind, Storage, TaskContext, options, partial_file,
};
use crate::batch::Batch;
use crate::columns::Column;
use crate::disk;
use crate::error::{Error, Result};
use crate::format::compression::Codec;
use crate::format::json::Nulls;
use crate::format::parquet::Compression as PageCompression;
use crate::format::{arrow, csv, json};
use crate::place::{Endpoint, ObjectUrl};
use crate::schema::Schema;

/// The kind.
pub static KIND: StageKind = StageKind {
    name: "write_files",
    summary: "writes rows to a file as NDJSON, CSV, Arrow or Parquet",
    inputs: &[1],
    sink: true,
    takes_batch_rows: true,
    options: crate::stage::stage_options!(Options),
    example: r#"[[stage]]
name = "write"
kind = "write_files"
inputs = ["documents"]
path = "documents.ndjson.gz"
"#,
    decode: |table| Ok(Box::new(WriteFiles::decode(table)?)),
    ..StageKind::BASE
};

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// what to write; `-` is standard output; `s3://`, `gs://` and `az://` name objects; replaced only when the run has ended well
    #[schemars(extend("x-type" = "path"))]
    path: String,
    /// the server of what `s3://`, `gs://` or `az://` names here, such as `http://minio:9000`
    #[schemars(extend("x-type" = "URL", "x-default" = "the environment's"))]
    #[serde(default)]
    endpoint: String,
    /// `.gz` after the extension adds gzip, `.zst` zstd
    #[schemars(extend("x-default" = "by extension"))]
    format: Option<Format>,
    /// null members of NDJSON documents
    #[serde(default)]
    nulls: Nulls,
    /// how Parquet is compressed, page by page
    #[schemars(extend("x-default" = "`zstd`"))]
    compression: Option<Compression>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    Ndjson,
    Csv,
    Arrow,
    Parquet,
}

/// How Parquet is compressed.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Compression {
    Zstd,
    Snappy,
    None,
}

struct WriteFiles {
    path: String,
    /// The object that `path` names, if it names one.
    object: Option<ObjectUrl>,
    /// The server that has it, if the stage names one.
    endpoint: Option<Endpoint>,
    format: Format,
    codec: Option<Codec>,
    nulls: Nulls,
    compression: Compression,
}

impl WriteFiles {
    fn decode(table: toml::Table) -> Result<Self> {
        let given: Options = options(table)?;
        if given.path.is_empty() || given.path.ends_with(['/', '.']) {
            let error = Error::usage(format!("`path` = `{}` names no file", given.path));
            let folder = given.path.trim_end_matches(['/', '.']);
            let hint = format!("write the file's name too, as in `{folder}/rows.ndjson`");
            return Err(error.hint(hint).of(["path"]));
        }
        let endpoint = named_endpoint(&given.endpoint, std::slice::from_ref(&given.path))?;
        let object = object::named(&given.path, endpoint.as_ref())?;
        let codec = Codec::named(extension(&given.path));
        let stem = match extension(&given.path) {
            Some(end) if codec.is_some() => &given.path[..given.path.len() - 1 - end.len()],
            _ => given.path.as_str(),
        };
        let by_extension = match extension(stem) {
            Some("ndjson" | "jsonl" | "json") => Some(Format::Ndjson),
            Some("csv") => Some(Format::Csv),
            Some("arrow" | "ipc" | "feather") => Some(Format::Arrow),
            Some("parquet") => Some(Format::Parquet),
            _ => None,
        };
        let format = given.format.or(by_extension).ok_or_else(|| {
            Error::usage(format!(
                "`path` = `{}` does not say which `format` to write",
                given.path
            ))
            .hint("end it in `.ndjson`, `.csv`, `.arrow` or `.parquet`, or give `format`")
            .of(["path"])
            .of(["format"])
        })?;
        if format == Format::Parquet && codec.is_some() {
            return Err(Error::usage(format!(
                "`path` = `{}`: a Parquet file is compressed within, and is not compressed again",
                given.path
            ))
            .hint("leave out `.gz` or `.zst`; `compression` says how its pages are compressed")
            .of(["path"]));
        }
        if format != Format::Parquet && given.compression.is_some() {
            return Err(Error::usage("`compression` is for Parquet files")
                .hint("`.gz` after the extension adds gzip, `.zst` zstd")
                .of(["compression"]));
        }
        Ok(WriteFiles {
            path: given.path,
            object,
            endpoint,
            format,
            codec,
            nulls: given.nulls,
            compression: given.compression.unwrap_or(Compression::Zstd),
        })
    }
}

fn extension(path: &str) -> Option<&str> {
    Path::new(path).extension()?.to_str()
}

impl Stage for WriteFiles {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        Ok(inputs[0].clone())
    }

    fn properties(&self) -> Properties {
        let (storage, earlier) = if is_stdout(&self.path) {
            (Storage::Stdout, Earlier::Kept)
        } else {
            let path = self.path.clone();
            (Storage::Disk { path, prefix: "" }, Earlier::Replaced)
        };
        Properties {
            writes: Some(Destination {
                option: "path",
                named: vec![self.path.clone()],
                storage,
                endpoint: self.endpoint.clone(),
                in_place: false,
                earlier,
            }),
            ..Properties::default()
        }
    }

    fn probe(&self, folder: &Folder) -> Vec<Probe> {
        if is_stdout(&self.path) {
            return Vec::new();
        }
        if let Some(url) = &self.object {
            return vec![object::probe(url)];
        }
        let path = disk::follow(folder.resolve(&self.path));
        let found = match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => Err(is_directory(&path)),
            Ok(found) if !found.is_file() => Ok("is written directly".into()),
            Ok(_) => partial_file::place(&path).map(|()| "is there, and will be replaced".into()),
            Err(_) => {
                partial_file::place(&path).map(|()| "is not there yet, and can be made".into())
            }
        };
        vec![Probe::new(path.display(), found)]
    }

    fn begin(&self, run: &Run, inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let target = Target::open(&self.path, self.object.as_ref(), run)?;
        let output = match self.codec {
            Some(codec) => Out::Compressed(Members::new(codec, target)),
            None => Out::Plain(target),
        };
        let file: Box<dyn Sink> = match self.format {
            Format::Ndjson => Box::new(TextSink(output)),
            Format::Csv => {
                let mut sink = TextSink(output);
                sink.0.write(&csv::write::header(&inputs[0]))?;
                Box::new(sink)
            }
            Format::Arrow => Box::new(ArrowSink::new(output, &inputs[0])?),
            Format::Parquet => {
                let compression = match self.compression {
                    Compression::Zstd => PageCompression::Zstd,
                    Compression::Snappy => PageCompression::Snappy,
                    Compression::None => PageCompression::None,
                };
                Box::new(ParquetSink::new(output, &inputs[0], compression)?)
            }
        };
        let sink = if is_stdout(&self.path) {
            file
        } else {
            let object = self.object.as_ref();
            Box::new(Emptied::new(file, &self.path, object, run)?)
        };
        Ok(Begun {
            sink: Some(sink),
            ..Begun::default()
        })
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        let schema = setup.inputs.into_iter().next().unwrap_or_default();
        Ok(match self.format {
            Format::Ndjson => Box::new(Documents(json::Writer::new(&schema, self.nulls))),
            Format::Csv => Box::new(Lines(schema)),
            Format::Arrow => Box::new(AsItIs),
            Format::Parquet => Box::new(Compacted),
        })
    }
}

struct Documents(json::Writer);
struct Lines(Schema);
struct AsItIs;
struct Compacted;

impl Session for Documents {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let text = self.0.lines(&batch);
        Ok(rendered(&batch, text))
    }
}

impl Session for Lines {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let text = csv::write::lines(&self.0, &batch);
        Ok(rendered(&batch, text))
    }
}

impl Session for AsItIs {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        Ok(Output::new(batch.resolve()))
    }
}

impl Session for Compacted {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        // A row group waits until it is whole: it is not to hold the text that its rows were cut from.
        Ok(Output::new(batch.compacted()))
    }
}

/// What the sink gets: the text of all rows in one cell.
fn rendered(batch: &Batch, text: Vec<u8>) -> Output {
    let mut output = Output::new(Batch::new(vec![Column::from_cells(vec![text.into()])], 1));
    output.rows_out = Some(batch.rows() as u64);
    output
}

/// Members, or frames, of exactly this much text each, so that a file does not depend on how the text came.
const MEMBER_BYTES: usize = 1 << 20;

/// Text on its way into the members of a compressed file.
struct Members {
    codec: Codec,
    target: Target,
    text: Vec<u8>,
    count: u64,
}

impl Members {
    fn new(codec: Codec, target: Target) -> Self {
        Members {
            codec,
            target,
            text: Vec::with_capacity(MEMBER_BYTES),
            count: 0,
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while self.text.len() + bytes.len() >= MEMBER_BYTES {
            let (now, later) = bytes.split_at(MEMBER_BYTES - self.text.len());
            self.text.extend_from_slice(now);
            self.member()?;
            bytes = later;
        }
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    fn member(&mut self) -> Result<()> {
        let written = self.codec.member(&self.text);
        self.text.clear();
        self.count += 1;
        let member = written.map_err(|error| self.target.error(&error))?;
        self.target.write(&member)
    }
}

/// Where rendered text goes.
enum Out {
    Plain(Target),
    Compressed(Members),
}

impl Out {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Out::Plain(target) => target.write(bytes),
            Out::Compressed(members) => members.write(bytes),
        }
    }

    /// All written; a compressed file has at least one member, even an empty one.
    fn finish(&mut self) -> Result<()> {
        match self {
            Out::Plain(target) => target.finish(),
            Out::Compressed(members) => {
                if !members.text.is_empty() || members.count == 0 {
                    members.member()?;
                }
                members.target.finish()
            }
        }
    }

    fn publish(self, warnings: &mut Vec<String>) -> Result<()> {
        match self {
            Out::Plain(target) => target.publish(warnings),
            Out::Compressed(members) => members.target.publish(warnings),
        }
    }
}

struct TextSink(Out);

impl Sink for TextSink {
    fn push(&mut self, batch: Batch) -> Result<()> {
        self.0.write(&batch.column(0).cell(0))
    }

    fn finish(&mut self) -> Result<Counts> {
        self.0.finish()?;
        Ok(Counts::default())
    }

    fn publish(self: Box<Self>, warnings: &mut Vec<String>) -> Result<Counts> {
        self.0.publish(warnings)?;
        Ok(Counts::default())
    }
}

/// Rows of a record batch, so that a file does not depend on how the rows came.
const RECORD_BATCH_ROWS: usize = 65_536;

/// Gathers rows into record batches of one size.
struct ArrowSink {
    writer: Option<arrow::Writer<LibraryOut>>,
    failed: Failed,
    ended: Option<LibraryOut>,
    waiting: Vec<Batch>,
    waiting_rows: usize,
}

/// An output as a writer, for the libraries of Arrow and Parquet.
struct LibraryOut {
    out: Out,
    failed: Failed,
}

/// Why an output failed: the libraries say less of it.
#[derive(Clone, Default)]
struct Failed(Arc<Mutex<Option<Error>>>);

impl LibraryOut {
    fn new(out: Out) -> (LibraryOut, Failed) {
        let failed = Failed::default();
        let output = LibraryOut {
            out,
            failed: failed.clone(),
        };
        (output, failed)
    }
}

impl Failed {
    /// What a library has written, or why it could not.
    fn or<T>(&self, written: Result<T>) -> Result<T> {
        written.map_err(|error| self.lock().take().unwrap_or(error))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Error>> {
        self.0.lock().expect("no one panics holding this lock")
    }
}

impl Write for LibraryOut {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write(bytes).map_err(|error| {
            let shown = std::io::Error::other(error.message.clone());
            *self.failed.lock() = Some(error);
            shown
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl ArrowSink {
    fn new(out: Out, schema: &Schema) -> Result<Self> {
        let (out, failed) = LibraryOut::new(out);
        let writer = failed.or(arrow::Writer::new(out, schema))?;
        Ok(ArrowSink {
            writer: Some(writer),
            failed,
            ended: None,
            waiting: Vec::new(),
            waiting_rows: 0,
        })
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        let writer = self.writer.as_mut();
        let written = writer.map_or(Ok(()), |writer| writer.write(batch));
        self.failed.or(written)
    }

    fn gather(&mut self) -> Option<Batch> {
        let waiting = std::mem::take(&mut self.waiting);
        (!waiting.is_empty())
            .then(|| Batch::concat(waiting, || unreachable!("there is at least one")))
    }
}

impl Sink for ArrowSink {
    fn push(&mut self, batch: Batch) -> Result<()> {
        self.waiting_rows += batch.rows();
        self.waiting.push(batch);
        if self.waiting_rows < RECORD_BATCH_ROWS {
            return Ok(());
        }
        let Some(all) = self.gather() else {
            return Ok(());
        };
        let whole = all.rows() / RECORD_BATCH_ROWS * RECORD_BATCH_ROWS;
        for from in (0..whole).step_by(RECORD_BATCH_ROWS) {
            self.write(&all.slice(from, RECORD_BATCH_ROWS))?;
        }
        self.waiting_rows = all.rows() - whole;
        if self.waiting_rows > 0 {
            self.waiting.push(all.slice(whole, self.waiting_rows));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Counts> {
        if let Some(rest) = self.gather().filter(|rest| rest.rows() > 0) {
            self.write(&rest)?;
        }
        if let Some(writer) = self.writer.take() {
            let mut ended = self.failed.or(writer.finish())?;
            ended.out.finish()?;
            self.ended = Some(ended);
        }
        Ok(Counts::default())
    }

    fn publish(mut self: Box<Self>, warnings: &mut Vec<String>) -> Result<Counts> {
        if let Some(ended) = self.ended.take() {
            ended.out.publish(warnings)?;
        }
        Ok(Counts::default())
    }
}
