//! `load_arrow`: reads Arrow files, types included; of what `write_files` wrote the marks too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use super::source::{OTHER_COLUMNS, UNCOMPARED, columns_for, named};
use super::{
    Begun, Folder, Partitioning, Passing, Probe, Properties, Run, Session, Setup, Source,
    SourcePart, Stage, StageKind, options,
};
use crate::batch::{Batch, origin};
use crate::error::{Error, Result};
use crate::format::arrow::Reader;
use crate::place::{NamedFiles, Place, RangeReader, Ranges, Seen, expand, in_file, of_file};
use crate::schema::{Schema, count};
use crate::stop::Stop;

/// The kind.
pub static KIND: StageKind = StageKind {
    name: "load_arrow",
    summary: "reads Arrow files, types and all",
    inputs: &[0],
    sink: false,
    takes_batch_rows: true,
    patterns_option: Some("files"),
    options: super::stage_options!(Options),
    example: r#"[[stage]]
name = "documents"
kind = "load_arrow"
files = ["documents.arrow"]
"#,
    decode: |table| {
        let given: Options = options(table)?;
        let only_new = given.only_new;
        let files = named(&given.files, &given.endpoint, only_new, Some("an Arrow"))?;
        Ok(Box::new(LoadArrow { files, only_new }))
    },
    ..StageKind::BASE
};

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// what to read, in this order, each once; globs and addresses as in `load_csv`; all of the same columns
    #[schemars(extend("x-type" = "list of paths or globs"))]
    files: Vec<String>,
    /// the server of what `s3://`, `gs://` or `az://` names here, such as `http://minio:9000`
    #[schemars(extend("x-type" = "URL", "x-default" = "the environment's"))]
    #[serde(default)]
    endpoint: String,
    /// leave out files that a run of this pipeline has published already, by name, size and time or, of an object, its version
    #[serde(default)]
    only_new: bool,
}

struct LoadArrow {
    files: NamedFiles,
    only_new: bool,
}

impl Stage for LoadArrow {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, _inputs: &[Schema], folder: &Folder) -> Result<Schema> {
        let stop = Stop::of_signals();
        let paths = expand(&self.files, folder, &stop)?;
        let seen = Seen::of(&paths[0]).and_then(|(seen, _)| open_reader(&seen, &stop));
        let seen = seen.map_err(|error| of_file(&self.files, folder, &paths[0], error));
        Ok(seen?.0.schema)
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
            let found = open_reader(&Seen::of(path)?.0, &Stop::default())?.0.schema;
            match columns_for(at == 0, &schema)? {
                Some(columns) if found != *columns => Err(other_columns(path)),
                Some(_) => Ok(count(found.fields.len(), "column")),
                None => Ok(UNCOMPARED.into()),
            }
        };
        let probes = paths.iter().enumerate();
        let probes = probes.map(|(at, path)| {
            let found = probe(at, path);
            let found = found.map_err(|error| of_file(&self.files, folder, path, error));
            Probe::new(path, found)
        });
        probes.collect()
    }

    fn begin(&self, run: &Run, _inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let schema = self.schema(&[], &run.folder)?;
        let bytes_done = Arc::new(AtomicU64::new(0));
        let mut files = Vec::new();
        let mut parts: Vec<SourcePart> = Vec::new();
        for path in expand(&self.files, &run.folder, &run.stop)? {
            let (seen, file) =
                Seen::of(&path).map_err(|error| of_file(&self.files, &run.folder, &path, error))?;
            files.push(file);
            parts.push(Box::new(Batches {
                number: run.add_file(&path)?,
                seen,
                records: 0,
                open: None,
                schema: schema.clone(),
                bytes_done: bytes_done.clone(),
                stop: run.stop.clone(),
                failed: false,
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
        Ok(Box::new(Passing))
    }
}

/// A reader of a file, and the bytes that it reads.
fn open_reader(seen: &Seen, stop: &Stop) -> Result<(Reader<RangeReader>, Arc<Ranges>)> {
    let ranges = Arc::new(seen.ranges(stop)?);
    match Reader::new(RangeReader::new(ranges.clone())) {
        Ok(reader) => Ok((reader, ranges)),
        Err(error) => Err(fault(&seen.place, &ranges, error)),
    }
}

/// An error of a file: that it was changed, if it was, is why all else went wrong.
fn fault(path: &Place, ranges: &Ranges, error: Error) -> Error {
    match ranges.unchanged() {
        Err(changed) => changed,
        Ok(()) => in_file(path, error),
    }
}

/// A part of the source: record batch after record batch of one file.
struct Batches {
    number: u32,
    seen: Seen,
    /// Records so far.
    records: u64,
    open: Option<(Reader<RangeReader>, Arc<Ranges>)>,
    schema: Schema,
    bytes_done: Arc<AtomicU64>,
    stop: Stop,
    failed: bool,
}

impl Batches {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let path = &self.seen.place;
        if self.open.is_none() {
            let opened = open_reader(&self.seen, &self.stop)?;
            if opened.0.schema != self.schema {
                return Err(other_columns(path));
            }
            self.open = Some(opened);
        }
        let (reader, ranges) = self.open.as_mut().expect("it was just opened");
        let next = reader.next().transpose();
        let Some(batch) = next.map_err(|error| fault(path, ranges, error))? else {
            ranges.unchanged()?;
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

fn other_columns(path: &Place) -> Error {
    Error::failed(format!("`{path}` has other columns than the first file")).hint(OTHER_COLUMNS)
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_batch().transpose();
        self.failed = !matches!(next, Some(Ok(_)));
        next
    }
}
