//! `load_parquet`: reads Parquet files, of which only the columns that are asked for. The source reads the bytes of a
//! row group, one thread's work; decoding them is the parallel part.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Deserialize;

use super::files::{Files, RunFile, UNCOMPARED, other_columns};
use super::{
    Begun, Counts, FILE_BYTES, Folder, Output, Partitioning, Probe, Properties, Rest, Run, Session,
    Setup, Stage, StageKind, TaskContext, options,
};
use crate::batch::Batch;
use crate::columns::Column;
use crate::error::{Class, Error, Result};
use crate::format::parquet::{self, Blocks, Footer, Picked, Pieces, ReadAt};
use crate::keys::check_names;
use crate::place::{Place, Ranges, Seen, in_file};
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
        let (endpoint, only_new) = (&given.endpoint, given.only_new);
        let files = Files::new(&given.files, endpoint, only_new, Some("a Parquet"))?;
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
            columns: given.columns.map(Arc::from),
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
    files: Files,
    columns: Option<Arc<[String]>>,
}

/// Opens a file and reads its footer.
fn open_file(
    seen: &Seen,
    columns: Option<&[String]>,
    stop: &Stop,
) -> Result<(Opened, Footer, Picked)> {
    let file = Opened {
        place: seen.place.clone(),
        ranges: seen.ranges(parquet::MAGIC, stop)?,
    };
    let read = || {
        let footer = Footer::read(&file)?;
        let picked = footer.pick(columns)?;
        Ok((footer, picked))
    };
    match read() {
        Ok((footer, picked)) => Ok((file, footer, picked)),
        Err(error) => Err(file.fault(error)),
    }
}

impl LoadParquet {
    /// An error about a file: about its columns where it names one of the pipeline's.
    fn about(&self, folder: &Folder, path: &Place, error: Error) -> Error {
        if error.class == Class::Usage {
            return error.each(&|error: Error| Error {
                class: Class::Failed,
                ..error.under("columns")
            });
        }
        self.files.about(folder, path, error)
    }
}

impl Stage for LoadParquet {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, _inputs: &[Schema], folder: &Folder) -> Result<Schema> {
        let stop = Stop::of_signals();
        let first = self.files.first(folder, &stop)?;
        let opened = self
            .files
            .look(&first)
            .and_then(|(seen, _)| open_file(&seen, self.columns.as_deref(), &stop));
        let (_, _, picked) = opened.map_err(|error| self.about(folder, &first, error))?;
        Ok(picked.schema)
    }

    fn properties(&self) -> Properties {
        self.files.properties()
    }

    fn probe(&self, folder: &Folder) -> Vec<Probe> {
        let look = |place: &Place, columns: Result<Option<&Schema>>| -> Result<String> {
            let seen = self.files.look(place)?.0;
            let (_, footer, picked) = open_file(&seen, self.columns.as_deref(), &Stop::default())?;
            let rows = count(footer.rows() as u64, "row");
            match columns? {
                Some(columns) if picked.schema != *columns => {
                    Err(other_columns(place, &picked.schema, columns))
                }
                Some(columns) => Ok(format!("{}, {rows}", count(columns.fields.len(), "column"))),
                None => Ok(UNCOMPARED.into()),
            }
        };
        let schema = self.schema(&[], folder);
        self.files.probe(folder, &schema, |place, columns| {
            look(place, columns).map_err(|error| self.about(folder, place, error))
        })
    }

    fn begin(&self, run: &Run, _inputs: &[Schema], batch_rows: usize) -> Result<Begun> {
        let schema = self.schema(&[], &run.folder)?;
        self.files.begin(run, |file| {
            let mut row_groups = RowGroups {
                columns: self.columns.clone(),
                batch_rows,
                schema: schema.clone(),
                open: None,
                bytes_left: file.bytes,
                file,
            };
            move || row_groups.next_block()
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

    fn expect(&self, ranges: Vec<Range<u64>>) {
        self.ranges.expect(ranges);
    }
}

/// A part of the source: the row groups of one file.
struct RowGroups {
    file: RunFile,
    columns: Option<Arc<[String]>>,
    batch_rows: usize,
    schema: Schema,
    open: Option<Blocks<Opened>>,
    /// Bytes of the file that do not count as done yet.
    bytes_left: u64,
}

impl RowGroups {
    fn next_block(&mut self) -> Result<Option<Batch>> {
        if self.open.is_none() {
            let RunFile {
                seen, stop, number, ..
            } = &self.file;
            let (file, footer, picked) = open_file(seen, self.columns.as_deref(), stop)?;
            if picked.schema != self.schema {
                return Err(other_columns(&seen.place, &picked.schema, &self.schema));
            }
            let source = parquet::Source {
                file: *number,
                batch_rows: self.batch_rows,
            };
            self.open = Some(Blocks::new(file, footer, picked, source));
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
        self.file.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Decodes the blocks that the source read.
struct Decoding;

impl Session for Decoding {
    fn run(&self, block: Batch, _task: TaskContext) -> Result<Output> {
        let pieces = Pieces::new(&block)?;
        let file_bytes = (FILE_BYTES.to_owned(), pieces.file_bytes());
        Ok(Output {
            counts: Counts::from([file_bytes]),
            ..next_part(pieces)?
        })
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
