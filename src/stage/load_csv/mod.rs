//! `load_csv`: reads CSV files, plain or gzipped. The source inflates and cuts whole records into
//! blocks, one thread's work; parsing a block is the parallel part.

mod line_ends;
mod lint;
mod options;
mod parsing;
mod probe;
mod source;

use std::io::Read;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};

use encoding_rs::Encoding;

use super::{
    Begun, Folder, Partitioning, Probe, Properties, Run, Session, Setup, Source, SourcePart, Stage,
    StageKind, Totals,
};
use crate::error::{Class, Error, OfValue, Result, every};
use crate::format::csv::Dialect;
use crate::format::csv::parse::{Parser, Target};
use crate::format::csv::split::{Limits, SplitError, Splitter};
use crate::place::{Grown, Place, Seen, expand, in_file, of_file, open};
use crate::schema::{Field, Schema, Type, count};
use crate::stage::OnError;
use crate::stop::Stop;
use line_ends::refuse_cr;
use parsing::Parsing;
use source::Blocks;

/// What to do where a header cannot be used.
const OWN_NAMES: &str = "name the columns with `columns`, and skip the header with `skip_rows = 1`";

/// The kind.
pub static KIND: StageKind = StageKind {
    name: "load_csv",
    summary: "reads CSV files, plain or gzipped, with quotes, escapes, typed columns",
    inputs: &[0],
    sink: false,
    takes_batch_rows: true,
    patterns_option: Some("files"),
    options: crate::stage::stage_options!(options::Options),
    example: r#"[[stage]]
name = "people"
kind = "load_csv"
files = ["people_*.csv.gz"]
types = { age = "int" }
escape = "\\"
"#,
    decode: |table| Ok(Box::new(LoadCsv::decode(table)?)),
    ..StageKind::BASE
};

/// A block is cut at this size; see [`Limits::block_bytes`].
const BLOCK_BYTES: usize = 1 << 20;
struct LoadCsv {
    files: Vec<String>,
    columns: Option<Vec<String>>,
    types: Vec<(String, Target)>,
    dialect: Dialect,
    null_values: Vec<String>,
    encoding: &'static Encoding,
    skip_rows: usize,
    clean_names: bool,
    record_bytes: usize,
    only_new: bool,
    on_error: OnError,
    /// The first file once its header was read, if it can be opened only once.
    begun: Mutex<Option<(Place, Opened)>>,
    /// Files that have grown while they were read.
    grown: Grown,
}

/// Splits the text of a file, inflated if need be.
type TextSplitter = Splitter<Box<dyn Read + Send>>;

/// The error of a text that cannot be cut, with the options that may be meant.
fn hinted(error: SplitError) -> Error {
    match error {
        SplitError::Open(error) => error.hint("set `quote` and `escape` to what the file uses"),
        SplitError::Long(error) => {
            error.hint("a quote that is never closed? otherwise raise `record_bytes`")
        }
        SplitError::Read(error) => error,
    }
}

/// A file about to be split, its header read.
struct Opened {
    splitter: TextSplitter,
    header: Option<Vec<String>>,
}

impl LoadCsv {
    /// The column names, cleaned if that is asked for.
    fn names(&self, header: Vec<String>) -> Vec<String> {
        if !self.clean_names {
            return header;
        }
        header
            .into_iter()
            .map(|name| {
                name.trim()
                    .strip_prefix('_')
                    .unwrap_or(name.trim())
                    .trim()
                    .to_owned()
            })
            .collect()
    }

    fn limits(&self, batch_rows: usize) -> Limits {
        Limits {
            block_bytes: BLOCK_BYTES,
            block_records: batch_rows as u64,
            record_bytes: self.record_bytes,
        }
    }

    fn parser(&self, targets: Vec<Target>) -> Parser {
        Parser {
            dialect: self.dialect,
            targets,
            null_values: self.null_values.clone(),
            encoding: self.encoding,
        }
    }

    /// Opens one file and reads its header, if it has one.
    fn open_file(&self, seen: &Seen, bytes_done: Arc<AtomicU64>, stop: &Stop) -> Result<Opened> {
        let path = &seen.place;
        let named = |error| in_file(path, error);
        let reader = open(seen, bytes_done, stop, &self.grown)?;
        let mut splitter = Splitter::new(reader, self.dialect, self.limits(usize::MAX));
        if let Some(lines @ 1..) = splitter.skip(self.skip_rows).map_err(named)? {
            let all = self.skip_rows;
            let lines = count(lines, "line");
            let message = format!("`{path}` has only {lines}, `skip_rows` is {all}");
            return Err(Error::failed(message).hint("a line ends in LF or CRLF"));
        }
        let mut header = None;
        if self.columns.is_none() {
            let offset = splitter.offset();
            let read = splitter.header().map_err(hinted);
            if let Err(error) = read {
                refuse_cr(path, splitter.rest(), offset, self.dialect)?;
                return Err(named(error));
            }
            let line = read?.ok_or_else(|| {
                Error::failed(format!("`{path}` is empty: it has no header line"))
                    .hint("give `columns` if the file has no header")
            })?;
            refuse_cr(path, &line, offset, self.dialect)?;
            let read = self.parser(Vec::new()).header(&line).map_err(|reason| {
                Error::failed(format!("`{path}`: its header line has {reason}"))
                    .hint("set `encoding`, `quote` and `escape` to what the file uses; is it CSV?")
            })?;
            header = Some(self.names(read));
        }
        Ok(Opened { splitter, header })
    }

    fn parsing(&self, schema: Schema) -> Parsing {
        let targets = schema.fields.iter();
        let targets = targets.map(|field| target_of(&field.ty)).collect();
        Parsing {
            parser: self.parser(targets),
            schema,
            on_error: self.on_error,
        }
    }

    fn lock_begun(&self) -> MutexGuard<'_, Option<(Place, Opened)>> {
        self.begun.lock().expect("no one panics holding this lock")
    }

    /// The columns' names, and the file in whose header they stand.
    fn column_names(&self, folder: &Folder) -> Result<(Vec<String>, Option<Place>)> {
        if let Some(columns) = &self.columns {
            return Ok((self.names(columns.clone()), None));
        }
        // No run has begun yet that could stop.
        let stop = Stop::of_signals();
        let paths = expand(&self.files, folder, &stop)?;
        let first = &paths[0];
        let open = || {
            let seen = Seen::of(first);
            let opened = seen.and_then(|(seen, _)| self.open_file(&seen, Arc::default(), &stop));
            opened.map_err(|error| of_file(&self.files, folder, first, error))
        };
        if !first.is_once() {
            let header = open()?.header;
            return Ok((header.unwrap_or_default(), Some(first.clone())));
        }
        let mut begun = self.lock_begun();
        if begun.is_none() {
            *begun = Some((first.clone(), open()?));
        }
        let header = begun.as_ref().and_then(|(_, opened)| opened.header.clone());
        Ok((header.unwrap_or_default(), Some(first.clone())))
    }
}

impl Stage for LoadCsv {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, _inputs: &[Schema], folder: &Folder) -> Result<Schema> {
        let (names, file) = self.column_names(folder)?;
        let in_header = |error: Error| match &file {
            Some(_) => Error {
                class: Class::Failed,
                ..error
            },
            None => error,
        };
        let all_strings = Schema::new(
            names
                .iter()
                .map(|name| Field::new(name, Type::String))
                .collect(),
        )
        .map_err(|error| match &file {
            Some(file) => {
                let error = of_file(
                    &self.files,
                    folder,
                    file,
                    Error {
                        values: Vec::new(),
                        ..in_header(error)
                    },
                );
                error
                    .cause(format!("in the header of `{file}`"))
                    .hint(OWN_NAMES)
            }
            None => error,
        })?;
        let typed = self.types.iter();
        let typed = typed.map(|(column, _)| all_strings.index(column));
        every(typed)
            .under("types")
            .map_err(|error| error.each(&|error: Error| in_header(error.about("types"))))?;
        let target = |name: &String| {
            self.types
                .iter()
                .find(|(column, _)| column == name)
                .map(|(_, target)| *target)
        };
        Schema::new(
            names
                .iter()
                .map(|name| Field::new(name, type_of(target(name).unwrap_or(Target::String))))
                .collect(),
        )
    }

    fn properties(&self) -> Properties {
        Properties {
            reads: self.files.clone(),
            only_new: self.only_new,
            ..Properties::default()
        }
    }

    fn lint(&self, _inputs: &[Schema], folder: &Folder) -> Vec<String> {
        self.lint_files(folder)
    }

    fn probe(&self, folder: &Folder) -> Vec<Probe> {
        self.probe_files(folder)
    }

    fn begin(&self, run: &Run, _inputs: &[Schema], batch_rows: usize) -> Result<Begun> {
        let paths = expand(&self.files, &run.folder, &run.stop)?;
        let bytes_done = Arc::new(AtomicU64::new(0));
        let header = match self.columns {
            Some(_) => None,
            None => Some(Arc::from(self.column_names(&run.folder)?.0)),
        };
        let loader = Arc::new(LoadCsv {
            files: Vec::new(),
            columns: self.columns.clone(),
            types: Vec::new(),
            null_values: Vec::new(),
            begun: Mutex::new(self.lock_begun().take()),
            grown: self.grown.clone(),
            ..*self
        });
        let mut files = Vec::new();
        let mut warnings = Vec::new();
        let mut parts: Vec<SourcePart> = Vec::new();
        for path in paths {
            let (seen, file) =
                Seen::of(&path).map_err(|error| of_file(&self.files, &run.folder, &path, error))?;
            if file.bytes == 0 && seen.is_file() {
                warnings.push(format!("`{path}` is empty"));
            }
            files.push(file);
            parts.push(Box::new(Blocks {
                loader: loader.clone(),
                number: run.add_file(&path)?,
                seen,
                header: header.clone(),
                batch_rows,
                bytes_done: bytes_done.clone(),
                stop: run.stop.clone(),
                open: None,
                given: false,
                ended: false,
            }));
        }
        Ok(Begun {
            source: Some(Source {
                parts,
                bytes_done,
                files,
            }),
            warnings,
            ..Begun::default()
        })
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(self.parsing(setup.output)))
    }

    fn finish(&self, totals: &mut Totals) -> Result<()> {
        totals.warnings.append(&mut self.grown.take());
        Ok(())
    }
}

fn type_of(target: Target) -> Type {
    match target {
        Target::String => Type::String,
        Target::Int => Type::Int,
        Target::Float => Type::Float,
        Target::Bool => Type::Bool,
    }
}

fn target_of(ty: &Type) -> Target {
    match ty {
        Type::Int => Target::Int,
        Type::Float => Target::Float,
        Type::Bool => Target::Bool,
        _ => Target::String,
    }
}
