//! `load_arrow`: reads Arrow files and streams, types included; of what `write_files` wrote the marks too. A file has its
//! index at its end and is read in any order; a stream, and what comes through a pipe, from its beginning to its end.

use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Deserialize;

use super::files::{Files, RunFile, UNCOMPARED, other_columns};
use super::{
    Begun, Folder, Partitioning, Passing, Probe, Properties, Run, Session, Setup, Stage, StageKind,
    Totals, options,
};
use crate::batch::{Batch, origin};
use crate::error::Result;
use crate::format::arrow::{Layout, MAGIC, Reader, TELLS};
use crate::place::{Grown, Place, RangeReader, Ranges, Seen, in_file, open_bytes, read_error};
use crate::schema::{Schema, count};
use crate::stop::Stop;

/// The kind.
pub static KIND: StageKind = StageKind {
    name: "load_arrow",
    summary: "reads Arrow files and streams, types and all",
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
        Ok(Box::new(LoadArrow {
            files: Files::new(&given.files, endpoint, only_new, None)?,
            begun: Arc::default(),
            grown: Grown::default(),
        }))
    },
    ..StageKind::BASE
};

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// what to read, in this order, each once; globs and addresses as in `load_csv`; `-` is standard input; all of the same columns
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
    files: Files,
    /// The first file, once its columns were read, if it can be opened only once.
    begun: Arc<Mutex<Option<Opened>>>,
    /// Streams that have grown while they were read.
    grown: Grown,
}

impl LoadArrow {
    fn lock_begun(&self) -> MutexGuard<'_, Option<Opened>> {
        lock(&self.begun)
    }
}

fn lock(begun: &Mutex<Option<Opened>>) -> MutexGuard<'_, Option<Opened>> {
    begun.lock().expect("no one panics holding this lock")
}

impl Stage for LoadArrow {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, _inputs: &[Schema], folder: &Folder) -> Result<Schema> {
        // No run has begun yet that could stop.
        let stop = Stop::of_signals();
        let first = self.files.first(folder, &stop)?;
        let open = || {
            let opened = self
                .files
                .look(&first)
                .and_then(|(seen, _)| Opened::new(&seen, &stop, &self.grown));
            opened.map_err(|error| self.files.about(folder, &first, error))
        };
        if !first.is_once() {
            return Ok(open()?.reader.schema);
        }
        let mut begun = self.lock_begun();
        if begun.is_none() {
            *begun = Some(open()?);
        }
        let schema = begun.as_ref().map(|opened| opened.reader.schema.clone());
        Ok(schema.unwrap_or_default())
    }

    fn properties(&self) -> Properties {
        self.files.properties()
    }

    fn probe(&self, folder: &Folder) -> Vec<Probe> {
        let look = |place: &Place, columns: Result<Option<&Schema>>| -> Result<String> {
            // What a pipe gives is gone then.
            if place.is_once() {
                return Ok("is read when the run begins".into());
            }
            let opened = Opened::new(&self.files.look(place)?.0, &Stop::default(), &self.grown)?;
            let found = opened.reader.schema;
            match columns? {
                Some(columns) if found != *columns => Err(other_columns(place, &found, columns)),
                Some(_) => Ok(count(found.fields.len(), "column")),
                None => Ok(UNCOMPARED.into()),
            }
        };
        self.files
            .probe(folder, &self.schema(&[], folder), |place, columns| {
                look(place, columns).map_err(|error| self.files.about(folder, place, error))
            })
    }

    fn begin(&self, run: &Run, _inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let schema = self.schema(&[], &run.folder)?;
        self.files.begin(run, |file| {
            let mut batches = Batches {
                bytes_left: file.bytes,
                file,
                records: 0,
                open: None,
                schema: schema.clone(),
                begun: self.begun.clone(),
                grown: self.grown.clone(),
            };
            move || batches.next_batch()
        })
    }

    fn open(&self, _setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(Passing))
    }

    fn finish(&self, totals: &mut Totals) -> Result<()> {
        totals.warnings.append(&mut self.grown.take());
        Ok(())
    }
}

/// What is read, and how far.
struct Opened {
    place: Place,
    reader: Reader<RangeReader>,
    bytes: Bytes,
}

enum Bytes {
    /// Of a file, in any order.
    Ranges(Arc<Ranges>),
    /// Of a stream: so many were read, and so many of them are counted.
    Stream { read: Arc<AtomicU64>, counted: u64 },
}

impl Opened {
    fn new(seen: &Seen, stop: &Stop, grown: &Grown) -> Result<Opened> {
        Self::read(seen, stop, grown).map_err(|error| in_file(&seen.place, error))
    }

    fn read(seen: &Seen, stop: &Stop, grown: &Grown) -> Result<Opened> {
        if seen.object_ends_with(MAGIC, stop)? {
            return Self::of_file(seen, stop);
        }
        let read = Arc::<AtomicU64>::default();
        let mut stream = open_bytes(seen, read.clone(), stop, grown)?;
        let mut first = Vec::new();
        let taken = stream.by_ref().take(TELLS as u64).read_to_end(&mut first);
        taken.map_err(|error| read_error(error, &seen.place))?;
        let layout = Layout::of(&first)?;
        if layout == Layout::File && seen.has_ranges() {
            return Self::of_file(seen, stop);
        }
        let stream = Box::new(Cursor::new(first).chain(stream));
        Ok(Opened {
            place: seen.place.clone(),
            reader: Reader::of_stream(stream, layout)?,
            bytes: Bytes::Stream { read, counted: 0 },
        })
    }

    fn of_file(seen: &Seen, stop: &Stop) -> Result<Opened> {
        let ranges = Arc::new(seen.ranges(MAGIC, stop)?);
        match Reader::of_file(RangeReader::new(ranges.clone()), ranges.len()) {
            Ok(reader) => Ok(Opened {
                place: seen.place.clone(),
                reader,
                bytes: Bytes::Ranges(ranges),
            }),
            Err(error) => Err(ranges.unchanged().err().unwrap_or(error)),
        }
    }

    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let next = self.reader.next_batch();
        // That it was changed, if it was, is why all else went wrong.
        if let (Err(_) | Ok(None), Bytes::Ranges(ranges)) = (&next, &self.bytes) {
            ranges.unchanged()?;
        }
        next.map_err(|error| in_file(&self.place, error))
    }

    /// How many bytes were read since it was last asked, of which `batch` has the last.
    fn done(&mut self, batch: &Batch) -> u64 {
        match &mut self.bytes {
            Bytes::Ranges(_) => batch.size() as u64,
            Bytes::Stream { read, counted } => {
                let before = std::mem::replace(counted, read.load(Ordering::Relaxed));
                *counted - before
            }
        }
    }
}

/// A part of the source: record batch after record batch of one file.
struct Batches {
    file: RunFile,
    /// Bytes of the file that do not count as done yet.
    bytes_left: u64,
    /// Records so far.
    records: u64,
    open: Option<Opened>,
    schema: Schema,
    /// The file that was opened for its columns.
    begun: Arc<Mutex<Option<Opened>>>,
    grown: Grown,
}

impl Batches {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        if self.open.is_none() {
            self.open = Some(self.open()?);
        }
        let opened = self.open.as_mut().expect("it was just opened");
        let Some(batch) = opened.next_batch()? else {
            self.done(self.bytes_left);
            return Ok(None);
        };
        let first = self.records + 1;
        self.records += batch.rows() as u64;
        let origins: Vec<u64> = (first..=self.records)
            .map(|record| origin::of(self.file.number, record))
            .collect();
        let bytes = opened.done(&batch);
        self.done(bytes);
        Ok(Some(batch.with_origins(Some(origins.into()))))
    }

    fn done(&mut self, bytes: u64) {
        // Of a pipe nobody knows how many there are.
        let bytes = if self.file.seen.is_file() {
            bytes.min(self.bytes_left)
        } else {
            bytes
        };
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.file.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    fn open(&self) -> Result<Opened> {
        let seen = &self.file.seen;
        let begun = lock(&self.begun).take_if(|opened| opened.place == seen.place);
        let opened = match begun {
            Some(opened) => opened,
            None => Opened::new(seen, &self.file.stop, &self.grown)?,
        };
        if opened.reader.schema != self.schema {
            let found = &opened.reader.schema;
            return Err(other_columns(&seen.place, found, &self.schema));
        }
        Ok(opened)
    }
}
