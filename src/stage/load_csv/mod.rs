//! `load_csv`: reads CSV files, plain or compressed. The source inflates and cuts whole records into
//! blocks, one thread's work; parsing a block is the parallel part.

mod checks;
mod layout;
mod line_ends;
mod lint;
mod opening;
mod options;
mod parsing;
mod probe;
mod source;

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};

use encoding_rs::{Encoding, UTF_8};

use super::{
    Begun, Folder, Partitioning, Probe, Properties, Run, Session, Setup, Stage, StageKind, Totals,
};
use crate::error::{Class, Error, OfValue, Result, every};
use crate::format::csv::Dialect;
use crate::format::csv::numbers::Notation;
use crate::format::csv::parse::{Parser, Target};
use crate::format::csv::split::{Limits, SplitError, Splitter};
use crate::format::text_encoding;
use crate::place::{Grown, Place, Seen};
use crate::schema::{Field, Schema, Type};
use crate::stage::OnError;
use crate::stage::files::Files;
use crate::stop::Stop;
use layout::Layout;
use opening::Opened;
use options::{HeaderDiffers, ShortRecords};
use parsing::Parsing;
use source::Blocks;

/// What helps where zero bytes stand in a header.
const ZERO_BYTES: &str =
    "UTF-16 without a byte order mark has them: write `encoding = \"utf-16le\"`, or `\"utf-16be\"`";

/// What to do where a header cannot be used.
const OWN_NAMES: &str = "name the columns with `columns`, and skip the header with `skip_rows = 1`";

/// The kind.
pub static KIND: StageKind = StageKind {
    name: "load_csv",
    summary: "reads CSV files, plain or compressed, with quotes, escapes, typed columns, in any encoding",
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
    files: Files,
    columns: Option<Vec<String>>,
    types: Vec<(String, Target)>,
    dialect: Dialect,
    /// Whether a file may name its delimiter.
    takes_separator: bool,
    null_values: Vec<String>,
    header_differs: HeaderDiffers,
    short_records: ShortRecords,
    notation: Notation,
    /// `None`: UTF-8, or what a byte order mark names.
    encoding: Option<&'static Encoding>,
    /// Whether that is UTF-16 in the order of bytes that a file's mark says, and only without one in that of `encoding`.
    either_byte_order: bool,
    skip_rows: usize,
    clean_names: bool,
    record_bytes: usize,
    on_error: OnError,
    /// The first file once its header was read, if it can be opened only once.
    begun: Mutex<Option<(Place, Opened)>>,
    /// Files that have grown while they were read.
    grown: Grown,
    /// What the user should know of single files.
    warnings: Arc<Mutex<BTreeSet<String>>>,
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

    /// A parser of blocks of a file in `encoding`.
    fn parser(&self, targets: Vec<Target>, encoding: &'static Encoding) -> Parser {
        Parser {
            dialect: self.dialect,
            targets,
            null_values: self.null_values.clone(),
            encoding: if text_encoding::must_decode(encoding) {
                UTF_8
            } else {
                encoding
            },
            file_encoding: encoding,
            notation: self.notation,
            fill_short: self.short_records == ShortRecords::Null,
        }
    }

    /// How a file lies that has nothing of its own.
    fn layout(&self) -> Layout {
        Layout::new(self.dialect.delimiter, self.encoding.unwrap_or(UTF_8), None)
    }

    fn warn(&self, warning: String) {
        let mut warnings = self
            .warnings
            .lock()
            .expect("no one panics holding this lock");
        warnings.insert(warning);
    }

    fn parsing(&self, schema: Schema) -> Parsing {
        let targets = schema.fields.iter().map(Target::of).collect();
        let layout = self.layout();
        Parsing {
            parser: self.parser(targets, layout.encoding()),
            layout: layout.to_text(),
            schema,
            asks_for_encoding: self.encoding.is_none(),
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
        let first = &self.files.first(folder, &stop)?;
        let open = || {
            let seen = Seen::of(first);
            let opened = seen.and_then(|(seen, _)| self.open_file(&seen, Arc::default(), &stop));
            opened.map_err(|error| self.files.about(folder, first, error))
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
                let error = self.files.about(
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
        every(typed).under("types").map_err(|error| {
            error.each(&|error: Error| {
                let error = in_header(error.about("types"));
                // No name of a text that is read as it was written has such a character.
                match &file {
                    Some(file) if names.iter().any(|name| name.contains('\0')) => error
                        .cause(format!("the header of `{file}` has zero bytes"))
                        .hint(ZERO_BYTES),
                    _ => error,
                }
            })
        })?;
        let target = |name: &String| {
            self.types
                .iter()
                .find(|(column, _)| column == name)
                .map(|(_, target)| *target)
        };
        Schema::new(
            names
                .iter()
                .map(|name| target(name).unwrap_or(Target::String).field(name))
                .collect(),
        )
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
        let header = match self.columns {
            Some(_) => None,
            None => Some(Arc::from(self.column_names(&run.folder)?.0)),
        };
        let loader = Arc::new(LoadCsv {
            files: Files::default(),
            columns: self.columns.clone(),
            types: Vec::new(),
            null_values: Vec::new(),
            begun: Mutex::new(self.lock_begun().take()),
            grown: self.grown.clone(),
            warnings: self.warnings.clone(),
            ..*self
        });
        self.files.begin(run, |file| {
            let mut blocks = Blocks {
                loader: loader.clone(),
                file,
                header: header.clone(),
                batch_rows,
                open: None,
                given: false,
            };
            move || blocks.next_batch()
        })
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(self.parsing(setup.output)))
    }

    fn finish(&self, totals: &mut Totals) -> Result<()> {
        totals.warnings.append(&mut self.grown.take());
        let mut warnings = self
            .warnings
            .lock()
            .expect("no one panics holding this lock");
        totals.warnings.extend(std::mem::take(&mut *warnings));
        Ok(())
    }
}
