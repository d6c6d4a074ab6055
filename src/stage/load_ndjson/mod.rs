//! `load_ndjson`: reads JSON records, one a line or as a list in one value, plain or gzipped. The source
//! inflates and cuts whole records into blocks, one thread's work; parsing a block is the parallel part.

mod options;
mod parsing;
mod probe;
mod source;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::de::IgnoredAny;

use super::pointers::check_types;
use super::{
    Begun, Folder, Partitioning, Probe, Properties, Run, Session, Setup, Stage, StageKind, Totals,
};
use crate::error::{Class, Error, Result};
use crate::format::csv::parse::{COLUMNS_MAX, Target};
use crate::format::csv::split::Limits;
use crate::format::json::raw::Pointer;
use crate::format::json::records::{Names, Parser};
use crate::format::json::split::{Shape, SplitError, Splitter};
use crate::place::{Grown, Place, Seen, in_file, open};
use crate::schema::Schema;
use crate::stage::OnError;
use crate::stage::files::Files;
use crate::stop::Stop;
use parsing::{OTHER_MEMBERS, Parsing, warn_of_others};
use source::Blocks;

/// The kind.
pub static KIND: StageKind = StageKind {
    name: "load_ndjson",
    summary: "reads JSON records, one a line or as a list in one value, plain or gzipped",
    inputs: &[0],
    sink: false,
    takes_batch_rows: true,
    patterns_option: Some("files"),
    options: crate::stage::stage_options!(options::Options),
    example: r#"[[stage]]
name = "issues"
kind = "load_ndjson"
files = ["issues_*.ndjson.gz"]
columns = { number = "/number", author = "/user/login", label = "/labels/0/name" }
types = { number = "int" }
"#,
    decode: |table| Ok(Box::new(LoadNdjson::decode(table)?)),
    ..StageKind::BASE
};

/// A block is cut at this size; see [`Limits::block_bytes`].
const BLOCK_BYTES: usize = 1 << 20;

/// So many records of the first file say which columns there are, where the options do not,
const NAMES_RECORDS: usize = 1000;

/// unless they are longer than this: what is read of a pipe for that is kept.
const NAMES_BYTES: usize = 64 << 20;

struct LoadNdjson {
    files: Files,
    shape: Shape,
    columns: Option<Vec<Column>>,
    types: BTreeMap<String, Target>,
    record_bytes: usize,
    on_error: OnError,
    /// The first file, once its first records were read, if it can be opened only once.
    begun: Mutex<Option<Opened>>,
    /// Files that have grown while they were read.
    grown: Grown,
}

/// A column, and where a record has its value.
#[derive(Debug, Clone)]
struct Column {
    name: String,
    place: Pointer,
}

/// Splits the text of a file, inflated if need be.
type TextSplitter = Splitter<Box<dyn Read + Send>>;

/// A file about to be split, and the members of its first records.
struct Opened {
    place: Place,
    splitter: TextSplitter,
    names: Vec<String>,
    /// Whether its first line looks like the beginning of one value of several lines, or like a list.
    is_one_value: bool,
    /// Why its first record is no JSON, if it is none.
    fault: Option<String>,
}

/// Whether a line is no record but a list, or the beginning of a value that goes on.
fn begins_value(line: &[u8]) -> bool {
    line.starts_with(b"[") || line.starts_with(b"{") && !line.ends_with(b"}")
}

/// The error of a text that cannot be cut, with the options that may be meant.
fn hinted(error: SplitError) -> Error {
    match error {
        SplitError::Read(error) => error,
        SplitError::Cut(error) => {
            error.hint("the file was cut, or a quote or a bracket in it is never closed")
        }
        SplitError::Long(error) => error.hint(
            "a quote or a bracket that is never closed? otherwise raise `record_bytes`",
        ),
        SplitError::Around(error) => error.hint(
            "`format = \"json\"` reads one JSON value with a list of records in it, and `records` is the pointer \
             to that list; a value a line is `format = \"ndjson\"`",
        ),
    }
}

impl LoadNdjson {
    fn limits(&self, batch_rows: usize) -> Limits {
        Limits {
            block_bytes: BLOCK_BYTES,
            block_records: batch_rows as u64,
            record_bytes: self.record_bytes,
        }
    }

    fn split(&self, text: Box<dyn Read + Send>) -> TextSplitter {
        Splitter::new(text, self.shape.clone(), self.limits(usize::MAX))
    }

    fn open_file(&self, seen: &Seen, done: Arc<AtomicU64>, stop: &Stop) -> Result<TextSplitter> {
        Ok(self.split(open(seen, done, stop, &self.grown)?))
    }

    /// The members of the first records, and the text from its beginning on.
    fn begin_file(&self, seen: &Seen, stop: &Stop) -> Result<Opened> {
        let mut splitter = self.open_file(seen, Arc::default(), stop)?;
        let mut names = Names::default();
        let mut given = Vec::new();
        let (mut records, mut bytes) = (0, 0);
        while records < NAMES_RECORDS && bytes < NAMES_BYTES {
            splitter.set_limits(self.limits(NAMES_RECORDS - records));
            let block = splitter.next_block();
            let Some(block) = block.map_err(|error| in_file(&seen.place, hinted(error)))? else {
                break;
            };
            names.add(&block.bytes, &block.records);
            records += block.records.len();
            bytes += block.bytes.len();
            given.push(block);
        }
        let first = given.iter().find_map(|block| {
            let [from, to] = *block.records.first()?;
            Some(&block.bytes[from as usize..to as usize])
        });
        let is_one_value = matches!(self.shape, Shape::Lines) && first.is_some_and(begins_value);
        let fault = first.and_then(|record| serde_json::from_slice::<IgnoredAny>(record).err());
        Ok(Opened {
            fault: fault.map(|error| error.to_string()),
            is_one_value,
            place: seen.place.clone(),
            splitter: self.split(Box::new(splitter.restart(given))),
            names: names.list,
        })
    }

    fn lock_begun(&self) -> MutexGuard<'_, Option<Opened>> {
        self.begun.lock().expect("no one panics holding this lock")
    }

    /// The names of the columns, and the file whose records have them, where the options do not name them.
    fn column_names(&self, folder: &Folder) -> Result<(Vec<String>, Option<Place>)> {
        if let Some(columns) = &self.columns {
            let names = columns.iter().map(|column| column.name.clone());
            return Ok((names.collect(), None));
        }
        // No run has begun yet that could stop.
        let stop = Stop::of_signals();
        let first = &self.files.first(folder, &stop)?;
        let begin = || {
            let seen = Seen::of(first);
            let opened = seen.and_then(|(seen, _)| self.begin_file(&seen, &stop));
            opened.map_err(|error| self.files.about(folder, first, error))
        };
        let of = |opened: &Opened| {
            let (names, fault) = (opened.names.clone(), opened.fault.clone());
            (names, opened.is_one_value, fault)
        };
        let (names, is_one_value, not_json) = if first.is_once() {
            let mut opened = self.lock_begun();
            if opened.is_none() {
                *opened = Some(begin()?);
            }
            opened.as_ref().map(of).unwrap_or_default()
        } else {
            of(&begin()?)
        };
        let fault = match names.len() {
            0 => "has no member in its first records, so that there are no columns".to_owned(),
            found if found > COLUMNS_MAX => {
                format!("has {found} members in its first records, {COLUMNS_MAX} is the most")
            }
            _ => return Ok((names, Some(first.clone()))),
        };
        let mut error = Error::failed(format!("`{first}` {fault}"));
        let not_json = not_json.filter(|_| names.is_empty() && !is_one_value);
        if let Some(not_json) = &not_json {
            error = error.cause(format!("its first record is no JSON: {not_json}"));
        }
        let error = error.hint(if not_json.is_some() {
            "a record is one JSON value: a line that ends in LF or CR LF, or with `format = \"json\"` what stands up to the next comma"
        } else if is_one_value && names.is_empty() {
            "its first line is a list, or goes on in the next one: `format = \"json\"` reads one value, and `records` is \
             the pointer to the list of records in it, such as `/data/items`"
        } else {
            "name the columns with `columns`"
        });
        Err(self.files.about(folder, first, error))
    }

    /// The values of columns, from the records of a block.
    fn parsing(&self, schema: Schema) -> Parsing {
        let (pointers, targets): (Vec<Pointer>, Vec<Target>) = if let Some(columns) = &self.columns
        {
            let of = |column: &Column| (column.place.clone(), self.target(&column.name));
            columns.iter().map(of).unzip()
        } else {
            let of = |name: &str| (Pointer(vec![name.to_owned()]), self.target(name));
            schema.names().map(of).unzip()
        };
        Parsing {
            parser: Parser::new(&pointers, targets),
            schema,
            reports_others: self.columns.is_none(),
            is_lines: matches!(self.shape, Shape::Lines),
            on_error: self.on_error,
        }
    }

    fn target(&self, column: &str) -> Target {
        self.types.get(column).copied().unwrap_or(Target::String)
    }
}

impl Stage for LoadNdjson {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, _inputs: &[Schema], folder: &Folder) -> Result<Schema> {
        let (names, file) = self.column_names(folder)?;
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        check_types(&self.types, &known).map_err(|error| match &file {
            // What the pipeline file says may be right of another file.
            Some(file) => Error {
                class: Class::Failed,
                ..error.cause(format!("the columns are the members in `{file}`"))
            },
            None => error,
        })?;
        let field = |name: &String| self.target(name).field(name);
        Schema::new(names.iter().map(field).collect())
    }

    fn properties(&self) -> Properties {
        self.files.properties()
    }

    fn lint(&self, _inputs: &[Schema], folder: &Folder) -> Vec<String> {
        self.lint_files(folder)
    }

    fn probe(&self, folder: &Folder) -> Vec<Probe> {
        self.probe_files(folder)
    }

    fn begin(&self, run: &Run, _inputs: &[Schema], batch_rows: usize) -> Result<Begun> {
        let loader = Arc::new(LoadNdjson {
            files: Files::default(),
            shape: self.shape.clone(),
            columns: None,
            types: BTreeMap::new(),
            begun: Mutex::new(self.lock_begun().take()),
            grown: self.grown.clone(),
            ..*self
        });
        self.files.begin(run, |file| {
            let mut blocks = Blocks {
                loader: loader.clone(),
                file,
                batch_rows,
                open: None,
            };
            move || blocks.next_batch()
        })
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(self.parsing(setup.output)))
    }

    fn finish(&self, totals: &mut Totals) -> Result<()> {
        totals.warnings.append(&mut self.grown.take());
        if totals.counts.contains_key(OTHER_MEMBERS) {
            totals.warnings.push(warn_of_others(totals.counts));
        }
        Ok(())
    }
}
