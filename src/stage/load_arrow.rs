//! `load_arrow`: reads what `write_files` wrote as `arrow`, types and marks included.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use super::load_csv::source::{expand, input_file, open};
use super::{
    Begun, Distribution, Folder, Look, OptionDoc, Part, Passing, Run, Session, Setup, Source,
    Stage, StageKind, options,
};
use crate::batch::{Batch, origin};
use crate::error::{Error, Result};
use crate::format::arrow::Reader;
use crate::format::gzip;
use crate::schema::Schema;
use crate::stop::Stop;

/// The kind.
pub static KIND: StageKind = StageKind {
    name: "load_arrow",
    summary: "reads Arrow files that `write_files` wrote, types and all",
    inputs: &[0],
    sink: false,
    takes_batch_rows: true,
    options: &[OptionDoc {
        name: "files",
        ty: "list of paths or globs",
        default: None,
        doc: "what to read, in this order; a glob's matches sorted; all of the same columns",
    }],
    shared_options: &[],
    example: r#"[[stage]]
name = "documents"
kind = "load_arrow"
files = ["documents.arrow"]
"#,
    decode: |table| {
        let given: Options = options(table)?;
        if given.files.is_empty() {
            return Err(Error::usage("`files` is empty").hint("name at least one file or glob"));
        }
        if given.files.iter().any(|file| file == "-") {
            return Err(Error::usage(
                "an Arrow file cannot be read from standard input: its index is at its end",
            ));
        }
        Ok(Box::new(LoadArrow(given)))
    },
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    files: Vec<String>,
}

struct LoadArrow(Options);

impl Stage for LoadArrow {
    fn inputs(&self) -> Vec<Distribution> {
        vec![Distribution::Any]
    }

    fn schema(&self, _inputs: &[Schema], folder: &Folder) -> Result<Schema> {
        let paths = expand(&self.0.files, folder)?;
        Ok(open_reader(&paths[0])?.schema)
    }

    fn files(&self, folder: &Folder) -> Result<Vec<PathBuf>> {
        expand(&self.0.files, folder)
    }

    fn look(&self, folder: &Folder) -> Vec<Look> {
        let paths = match expand(&self.0.files, folder) {
            Ok(paths) => paths,
            Err(error) => return vec![Look::new(self.0.files.join(", "), Err(error))],
        };
        let schema = self.schema(&[], folder);
        let look = |path: &PathBuf| -> Result<String> {
            let found = open_reader(path)?.schema;
            if found != *schema.as_ref().map_err(Clone::clone)? {
                return Err(other_columns(path));
            }
            Ok(format!("{} columns", found.fields.len()))
        };
        let looks = paths
            .iter()
            .map(|path| Look::new(path.display(), look(path)));
        looks.collect()
    }

    fn begin(&self, run: &Run, _inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let paths = expand(&self.0.files, &run.folder)?;
        let schema = self.schema(&[], &run.folder)?;
        let bytes_done = Arc::new(AtomicU64::new(0));
        let files = paths
            .iter()
            .map(|path| input_file(path))
            .collect::<Result<Vec<_>>>()?;
        let part = |path: &PathBuf| -> Result<Part> {
            Ok(Box::new(Batches {
                number: run.add_file(path)?,
                path: path.clone(),
                records: 0,
                reader: None,
                schema: schema.clone(),
                bytes_done: bytes_done.clone(),
                failed: false,
            }))
        };
        Ok(Begun {
            source: Some(Source {
                parts: paths.iter().map(part).collect::<Result<_>>()?,
                bytes_done,
                files,
            }),
            ..Begun::default()
        })
    }

    fn open(&self, _setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(Passing))
    }
}

/// A file, or what was inflated of one.
enum Bytes {
    File(BufReader<File>),
    Inflated(Cursor<Vec<u8>>),
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Bytes::File(file) => file.read(buffer),
            Bytes::Inflated(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for Bytes {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        match self {
            Bytes::File(file) => file.seek(to),
            Bytes::Inflated(bytes) => bytes.seek(to),
        }
    }
}

fn open_reader(path: &Path) -> Result<Reader<Bytes>> {
    let io = |error: &std::io::Error| Error::io("read", path.display(), error);
    let mut file = File::open(path).map_err(|error| io(&error))?;
    let mut magic = [0u8; 2];
    let read = file.read(&mut magic).map_err(|error| io(&error))?;
    file.rewind().map_err(|error| io(&error))?;
    let bytes = if magic[..read] == gzip::MAGIC {
        // Arrow files are read from their end: a gzipped one has to be inflated whole.
        let mut text = Vec::new();
        open(path, Arc::default(), &Stop::default())?
            .read_to_end(&mut text)
            .map_err(|error| io(&error))?;
        Bytes::Inflated(Cursor::new(text))
    } else {
        Bytes::File(BufReader::with_capacity(256 << 10, file))
    };
    Reader::new(bytes).map_err(|error| named(path, error))
}

/// A part of the source: record batch after record batch of one file.
struct Batches {
    number: u16,
    path: PathBuf,
    /// Records so far.
    records: u64,
    reader: Option<Reader<Bytes>>,
    schema: Schema,
    bytes_done: Arc<AtomicU64>,
    failed: bool,
}

impl Batches {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        if self.reader.is_none() {
            let reader = open_reader(&self.path)?;
            if reader.schema != self.schema {
                return Err(other_columns(&self.path));
            }
            self.reader = Some(reader);
        }
        let next = self.reader.as_mut().and_then(Iterator::next);
        let Some(batch) = next.transpose().map_err(|error| named(&self.path, error))? else {
            return Ok(None);
        };
        let first = self.records + 1;
        self.records += batch.rows() as u64;
        let origins: Vec<u64> = (first..=self.records)
            .map(|record| origin::of(self.number, record))
            .collect();
        self.bytes_done
            .fetch_add(batch.size() as u64, Ordering::Relaxed);
        Ok(Some(batch.with_origins(Some(origins.into()))))
    }
}

fn other_columns(path: &Path) -> Error {
    let path = path.display();
    Error::failed(format!(
        "`{path}` has other columns than the files before it"
    ))
    .hint("load files of different columns in stages of their own")
}

/// An error of a file.
fn named(path: &Path, error: Error) -> Error {
    Error {
        message: format!("{}: {}", path.display(), error.message),
        ..error
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_batch().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}
