//! `load_parquet`: reads Parquet files, of which only the columns that are asked for. The source reads the bytes of a
//! row group, one thread's work; decoding them is the parallel part.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use super::source::{OTHER_COLUMNS, UNCOMPARED, columns_for, named};
use super::{
    Begun, Folder, Output, Partitioning, Probe, Properties, Rest, Run, Session, Setup, Source,
    SourcePart, Stage, StageKind, TaskContext, options,
};
use crate::batch::Batch;
use crate::columns::Column;
use crate::error::{Class, Error, Result};
use crate::format::parquet::{self, Blocks, Footer, Picked, Pieces, ReadAt};
use crate::keys::check_names;
use crate::place::{NamedFiles, Place, Ranges, Seen, expand, in_file, of_file};
use crate::schema::{Schema, count};
use crate::stop::Stop;

/// The kind.
pub static KIND: StageKind = StageKind {
    name: "load_parquet",
    summary: "reads Parquet files, types and all, of which the columns asked for",
    inputs: &[0],
    sink: false,
    takes_batch_rows: true,
    patterns_option: Some("files"),
    options: super::stage_options!(Options),
    example: r#"[[stage]]
name = "people"
kind = "load_parquet"
files = ["people_*.parquet"]
columns = ["id", "name"]
"#,
    decode: |table| {
        let given: Options = options(table)?;
        let only_new = given.only_new;
        let files = named(&given.files, &given.endpoint, only_new, Some("a Parquet"))?;
        if given.columns.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::usage("`columns` is empty")
                .hint("name at least one column, or leave `columns` out to read all")
                .of(["columns"]));
        }
        if let Some(names) = &given.columns {
            check_names("columns", names)?;
        }
        Ok(Box::new(LoadParquet {
            files,
            columns: given.columns,
            only_new,
        }))
    },
    ..StageKind::BASE
};

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// what to read, in this order, each once; globs as in `load_csv`; all of the same columns
    #[schemars(extend("x-type" = "list of paths or globs"))]
    files: Vec<String>,
    /// the server of what `s3://`, `gs://` or `az://` names here, such as `http://minio:9000`
    #[schemars(extend("x-type" = "URL", "x-default" = "the environment's"))]
    #[serde(default)]
    endpoint: String,
    /// the columns to read, in this order; the bytes of others are not read
    #[schemars(extend("x-default" = "all, as they stand in the file"))]
    columns: Option<Vec<String>>,
    /// leave out files that a run of this pipeline has published already, by name, size and time or, of an object, its version
    #[serde(default)]
    only_new: bool,
}

struct LoadParquet {
    files: NamedFiles,
    columns: Option<Vec<String>>,
    only_new: bool,
}

impl LoadParquet {
    fn names(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    /// Opens a file and reads its footer.
    fn open_file(&self, seen: &Seen, stop: &Stop) -> Result<(Opened, Footer, Picked)> {
        let file = Opened {
            place: seen.place.clone(),
            ranges: seen.ranges(stop)?,
        };
        let read = || {
            let footer = Footer::read(&file)?;
            let picked = footer.pick(self.names())?;
            Ok((footer, picked))
        };
        match read() {
            Ok((footer, picked)) => Ok((file, footer, picked)),
            Err(error) => Err(file.fault(error)),
        }
    }

    /// An error about a file: about its columns where it names one of the pipeline's.
    fn about(&self, folder: &Folder, path: &Place, error: Error) -> Error {
        if error.class == Class::Usage {
            return error.each(&|error: Error| Error {
                class: Class::Failed,
                ..error.under("columns")
            });
        }
        of_file(&self.files, folder, path, error)
    }
}

impl Stage for LoadParquet {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, _inputs: &[Schema], folder: &Folder) -> Result<Schema> {
        let stop = Stop::of_signals();
        let paths = expand(&self.files, folder, &stop)?;
        let seen = Seen::of(&paths[0]).and_then(|(seen, _)| self.open_file(&seen, &stop));
        let (_, _, picked) = seen.map_err(|error| self.about(folder, &paths[0], error))?;
        Ok(picked.schema)
    }

    fn properties(&self) -> Properties {
        Properties {
            reads: self.files.clone(),
            only_new: self.only_new,
            ..Properties::default()
        }
    }

    fn probe(&self, folder: &Folder) -> Vec<Probe> {
        let paths = match expand(&self.files, folder, &Stop::default()) {
            Ok(paths) => paths,
            Err(error) => return vec![Probe::new(self.files.names.join(", "), Err(error))],
        };
        let schema = self.schema(&[], folder);
        let probe = |at: usize, path: &Place| -> Result<String> {
            let (_, footer, picked) = self.open_file(&Seen::of(path)?.0, &Stop::default())?;
            let rows = count(footer.rows() as u64, "row");
            match columns_for(at == 0, &schema)? {
                Some(columns) if picked.schema != *columns => Err(other_columns(path)),
                Some(columns) => Ok(format!("{}, {rows}", count(columns.fields.len(), "column"))),
                None => Ok(UNCOMPARED.into()),
            }
        };
        let probes = paths.iter().enumerate();
        let probes = probes.map(|(at, path)| {
            let found = probe(at, path).map_err(|error| self.about(folder, path, error));
            Probe::new(path, found)
        });
        probes.collect()
    }

    fn begin(&self, run: &Run, _inputs: &[Schema], batch_rows: usize) -> Result<Begun> {
        let schema = self.schema(&[], &run.folder)?;
        let bytes_done = Arc::new(AtomicU64::new(0));
        let loader = Arc::new(LoadParquet {
            files: NamedFiles::default(),
            columns: self.columns.clone(),
            only_new: self.only_new,
        });
        let mut files = Vec::new();
        let mut parts: Vec<SourcePart> = Vec::new();
        for path in expand(&self.files, &run.folder, &run.stop)? {
            let (seen, file) =
                Seen::of(&path).map_err(|error| of_file(&self.files, &run.folder, &path, error))?;
            let bytes = file.bytes;
            files.push(file);
            parts.push(Box::new(RowGroups {
                loader: loader.clone(),
                source: parquet::Source {
                    file: run.add_file(&path)?,
                    batch_rows,
                },
                seen,
                schema: schema.clone(),
                open: None,
                bytes_left: bytes,
                bytes_done: bytes_done.clone(),
                stop: run.stop.clone(),
                ended: false,
            }));
        }
        Ok(Begun {
            source: Some(Source {
                parts,
                bytes_done,
                files,
            }),
            ..Begun::default()
        })
    }

    fn open(&self, _setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(Decoding))
    }
}

/// What is read, and its bytes.
struct Opened {
    place: Place,
    ranges: Ranges,
}

impl Opened {
    /// An error of the file: that it was changed, if it was, is why all else went wrong.
    fn fault(&self, error: Error) -> Error {
        match self.ranges.unchanged() {
            Err(changed) => changed,
            // A column that it lacks is named by the pipeline.
            Ok(()) if error.class == Class::Usage => error,
            Ok(()) => in_file(&self.place, error),
        }
    }
}

impl ReadAt for Opened {
    fn length(&self) -> u64 {
        self.ranges.len()
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let bytes = self.ranges.read_at(offset, length)?;
        if bytes.len() == length {
            return Ok(bytes);
        }
        let end = offset + bytes.len() as u64;
        Err(Error::failed(format!(
            "it ended at byte {end} while it was read"
        )))
    }
}

/// A part of the source: the row groups of one file.
struct RowGroups {
    loader: Arc<LoadParquet>,
    source: parquet::Source,
    seen: Seen,
    schema: Schema,
    open: Option<Blocks<Opened>>,
    /// Bytes of the file that do not count as done yet.
    bytes_left: u64,
    bytes_done: Arc<AtomicU64>,
    stop: Stop,
    ended: bool,
}

impl RowGroups {
    fn next_block(&mut self) -> Result<Option<Batch>> {
        if self.open.is_none() {
            let (file, footer, picked) = self.loader.open_file(&self.seen, &self.stop)?;
            if picked.schema != self.schema {
                return Err(other_columns(&self.seen.place));
            }
            self.open = Some(Blocks::new(file, footer, picked, self.source));
        }
        let blocks = self.open.as_mut().expect("it was just opened");
        let next = blocks.next_block();
        let Some(block) = next.map_err(|error| blocks.file().fault(error))? else {
            blocks.file().ranges.unchanged()?;
            // The footer, and columns that were not asked for.
            self.done(self.bytes_left);
            return Ok(None);
        };
        let bytes: usize = block.plain().iter().map(Column::size).sum();
        self.done(bytes as u64);
        Ok(Some(block))
    }

    fn done(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes_left);
        self.bytes_left -= bytes;
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Iterator for RowGroups {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_block().transpose();
        if !matches!(next, Some(Ok(_))) {
            // A file that has ended is not kept open until all have.
            self.open = None;
            self.ended = true;
        }
        next
    }
}

fn other_columns(path: &Place) -> Error {
    Error::failed(format!("`{path}` has other columns than the first file")).hint(OTHER_COLUMNS)
}

/// Decodes the blocks that the source read.
struct Decoding;

impl Session for Decoding {
    fn run(&self, block: Batch, _task: TaskContext) -> Result<Output> {
        next_part(Pieces::new(&block)?)
    }
}

fn next_part(mut pieces: Pieces) -> Result<Output> {
    let (batch, more) = pieces.next_batch()?;
    Ok(Output {
        rows_in: Some(batch.rows() as u64),
        rest: more.then(|| Rest::new(move || next_part(pieces))),
        ..Output::new(batch)
    })
}
