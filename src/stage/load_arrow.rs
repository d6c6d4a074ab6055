//! `load_arrow`: reads Arrow files, types included; of what `write_files` wrote the marks too.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Deserialize;

use super::files::{Files, RunFile, UNCOMPARED, other_columns};
use super::{
    Begun, Folder, Partitioning, Passing, Probe, Properties, Run, Session, Setup, Stage, StageKind,
    options,
};
use crate::batch::{Batch, origin};
use crate::error::{Error, Result};
use crate::format::arrow::{MAGIC, Reader};
use crate::place::{Place, RangeReader, Ranges, Seen, in_file};
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
        let (endpoint, only_new) = (&given.endpoint, given.only_new);
        let files = Files::new(&given.files, endpoint, only_new, Some("an Arrow"))?;
        Ok(Box::new(LoadArrow(files)))
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

struct LoadArrow(Files);

impl Stage for LoadArrow {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, _inputs: &[Schema], folder: &Folder) -> Result<Schema> {
        let stop = Stop::of_signals();
        let first = self.0.first(folder, &stop)?;
        let opened = self.0.look(&first);
        let opened = opened.and_then(|(seen, _)| open_reader(&seen, &stop));
        let opened = opened.map_err(|error| self.0.about(folder, &first, error));
        Ok(opened?.0.schema)
    }

    fn properties(&self) -> Properties {
        self.0.properties()
    }

    fn probe(&self, folder: &Folder) -> Vec<Probe> {
        let look = |place: &Place, columns: Result<Option<&Schema>>| -> Result<String> {
            let found = open_reader(&self.0.look(place)?.0, &Stop::default())?
                .0
                .schema;
            match columns? {
                Some(columns) if found != *columns => Err(other_columns(place, &found, columns)),
                Some(_) => Ok(count(found.fields.len(), "column")),
                None => Ok(UNCOMPARED.into()),
            }
        };
        self.0
            .probe(folder, &self.schema(&[], folder), |place, columns| {
                look(place, columns).map_err(|error| self.0.about(folder, place, error))
            })
    }

    fn begin(&self, run: &Run, _inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let schema = self.schema(&[], &run.folder)?;
        self.0.begin(run, |file| {
            let mut batches = Batches {
                bytes_left: file.bytes,
                file,
                records: 0,
                open: None,
                schema: schema.clone(),
            };
            move || batches.next_batch()
        })
    }

    fn open(&self, _setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(Passing))
    }
}

/// A reader of a file, and the bytes that it reads.
fn open_reader(seen: &Seen, stop: &Stop) -> Result<(Reader<RangeReader>, Arc<Ranges>)> {
    let ranges = Arc::new(seen.ranges(MAGIC, stop)?);
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
    file: RunFile,
    /// Bytes of the file that do not count as done yet.
    bytes_left: u64,
    /// Records so far.
    records: u64,
    open: Option<(Reader<RangeReader>, Arc<Ranges>)>,
    schema: Schema,
}

impl Batches {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let path = &self.file.seen.place;
        if self.open.is_none() {
            let opened = open_reader(&self.file.seen, &self.file.stop)?;
            if opened.0.schema != self.schema {
                return Err(other_columns(path, &opened.0.schema, &self.schema));
            }
            self.open = Some(opened);
        }
        let (reader, ranges) = self.open.as_mut().expect("it was just opened");
        let next = reader.next().transpose();
        let Some(batch) = next.map_err(|error| fault(path, ranges, error))? else {
            ranges.unchanged()?;
            self.done(self.bytes_left);
            return Ok(None);
        };
        let first = self.records + 1;
        self.records += batch.rows() as u64;
        let origins: Vec<u64> = (first..=self.records)
            .map(|record| origin::of(self.file.number, record))
            .collect();
        self.done(batch.size() as u64);
        Ok(Some(batch.with_origins(Some(origins.into()))))
    }

    fn done(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes_left);
        self.bytes_left -= bytes;
        self.file.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }
}
