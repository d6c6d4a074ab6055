//! `load_csv`: reads CSV files, plain or gzipped. The source inflates and cuts whole records into
//! blocks, one thread's work; parsing a block is what is dealt out.

mod look;
pub(super) mod source;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};

use encoding_rs::Encoding;
use polars_buffer::Buffer;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Begun, Counts, Distribution, Folder, Look, OptionDoc, Output, Part, Reject, Run, Session,
    Setup, Source, Stage, StageKind, options,
};
use crate::batch::{Batch, origin};
use crate::error::{Error, Result, nearest};
use crate::format::csv::Dialect;
use crate::format::csv::parse::{Fault, Parser, RecordText, Target};
use crate::format::csv::split::{Limits, Splitter};
use crate::schema::{Field, Schema, Type};
use crate::stop::Stop;
use source::{Blocks, expand, input_file, open};

/// The kind.
pub static KIND: StageKind = StageKind {
    name: "load_csv",
    summary: "reads CSV files, plain or gzipped, with quotes, escapes and typed columns",
    inputs: &[0],
    sink: false,
    takes_batch_rows: true,
    options: &[
        OptionDoc {
            name: "files",
            ty: "list of paths or globs",
            default: None,
            doc: "what to read, in this order; a glob's matches sorted; `-` is standard input",
        },
        OptionDoc {
            name: "columns",
            ty: "list of names",
            default: Some("the header line"),
            doc: "column names; then the files have no header line",
        },
        OptionDoc {
            name: "types",
            ty: "table column = type",
            default: Some("all `string`"),
            doc: "`string`, `int`, `float` or `bool`",
        },
        OptionDoc {
            name: "delimiter",
            ty: "one byte",
            default: Some(","),
            doc: "between fields",
        },
        OptionDoc {
            name: "quote",
            ty: "one byte",
            default: Some("\""),
            doc: "around a field",
        },
        OptionDoc {
            name: "escape",
            ty: "one byte",
            default: Some("none"),
            doc: "takes the next character literally, quoted or not",
        },
        OptionDoc {
            name: "null_values",
            ty: "list of strings",
            default: Some("[\"\"]"),
            doc: "decoded values that mean null",
        },
        OptionDoc {
            name: "encoding",
            ty: "WHATWG label",
            default: Some("utf-8"),
            doc: "UTF-8 or a single-byte encoding such as `latin1`",
        },
        OptionDoc {
            name: "skip_rows",
            ty: "integer",
            default: Some("0"),
            doc: "physical lines before the header",
        },
        OptionDoc {
            name: "clean_names",
            ty: "boolean",
            default: Some("false"),
            doc: "strip blanks around names, and a leading `_`",
        },
        OptionDoc {
            name: "record_bytes",
            ty: "integer",
            default: Some("16777216"),
            doc: "a longer record is an error",
        },
        OptionDoc {
            name: "on_error",
            ty: "`reject`, `fail`",
            default: Some("reject"),
            doc: "what a record that does not fit is",
        },
    ],
    shared_options: &[],
    example: r#"[[stage]]
name = "people"
kind = "load_csv"
files = ["people_*.csv.gz"]
types = { age = "int" }
escape = "\\"
"#,
    decode: |table| Ok(Box::new(LoadCsv::decode(table)?)),
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    files: Vec<String>,
    columns: Option<Vec<String>>,
    #[serde(default)]
    types: toml::Table,
    #[serde(default = "comma")]
    delimiter: String,
    #[serde(default = "double_quote")]
    quote: String,
    escape: Option<String>,
    #[serde(default = "empty_is_null")]
    null_values: Vec<String>,
    #[serde(default = "utf8")]
    encoding: String,
    #[serde(default)]
    skip_rows: usize,
    #[serde(default)]
    clean_names: bool,
    #[serde(default = "record_bytes")]
    record_bytes: usize,
    #[serde(default)]
    on_error: OnError,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum OnError {
    #[default]
    Reject,
    Fail,
}

fn comma() -> String {
    ",".into()
}
fn double_quote() -> String {
    "\"".into()
}
fn empty_is_null() -> Vec<String> {
    vec![String::new()]
}
fn utf8() -> String {
    "utf-8".into()
}
fn record_bytes() -> usize {
    16 << 20
}

/// A block is cut at this size; see [`Limits::block_bytes`].
const BLOCK_BYTES: usize = 1 << 20;
/// A record may be this long at most: offsets into a block have 32 bits, and a block ends with the
/// record that fills it.
const RECORD_BYTES_MAX: usize = 1 << 30;

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
    on_error: OnError,
    /// Standard input once its header was read: it can be opened only once.
    stdin: Mutex<Option<Opened>>,
}

/// Splits the text of a file, inflated if need be.
type TextSplitter = Splitter<Box<dyn Read + Send>>;

/// A file about to be split, its header read.
struct Opened {
    splitter: TextSplitter,
    header: Option<Vec<String>>,
}

impl LoadCsv {
    fn decode(table: toml::Table) -> Result<Self> {
        let given: Options = options(table)?;
        if given.files.is_empty() {
            return Err(Error::usage("`files` is empty").hint("name at least one file or glob"));
        }
        let byte = |key: &str, text: &str| match text.as_bytes() {
            [byte] if !matches!(byte, 0 | b'\n' | b'\r') => Ok(*byte),
            _ => Err(Error::usage(format!(
                "`{key}` must be one byte, found `{}`",
                text.escape_debug()
            ))),
        };
        let dialect = Dialect {
            delimiter: byte("delimiter", &given.delimiter)?,
            quote: byte("quote", &given.quote)?,
            escape: given
                .escape
                .as_deref()
                .map(|text| byte("escape", text))
                .transpose()?,
        };
        if dialect.delimiter == dialect.quote || dialect.escape == Some(dialect.delimiter) {
            return Err(Error::usage(
                "`delimiter`, `quote` and `escape` must differ",
            ));
        }
        let encoding = Encoding::for_label(given.encoding.as_bytes()).ok_or_else(|| {
            Error::usage(format!("no encoding is labelled `{}`", given.encoding))
                .hint("WHATWG labels: utf-8, latin1, windows-1250, iso-8859-2, ...")
        })?;
        if encoding != encoding_rs::UTF_8 && !encoding.is_single_byte() {
            return Err(Error::usage(format!(
                "encoding `{}` is neither UTF-8 nor single-byte",
                encoding.name()
            ))
            .hint("convert the file first, for example with `iconv -t utf-8`"));
        }
        if given.record_bytes == 0 || given.record_bytes > RECORD_BYTES_MAX {
            return Err(Error::usage(format!(
                "`record_bytes` must be between 1 and {RECORD_BYTES_MAX}, found {}",
                given.record_bytes
            )));
        }
        let mut types = Vec::new();
        for (column, value) in given.types {
            let target = match value.as_str() {
                Some("string") => Target::String,
                Some("int") => Target::Int,
                Some("float") => Target::Float,
                Some("bool") => Target::Bool,
                _ => {
                    let error = Error::usage(format!(
                        "type of column `{column}`: expected `string`, `int`, `float` or `bool`, found {value}"
                    ));
                    let near = value
                        .as_str()
                        .and_then(|word| nearest(word, ["string", "int", "float", "bool"]));
                    return Err(match near {
                        Some(near) => error.hint(format!("did you mean `{near}`?")),
                        None => error,
                    });
                }
            };
            types.push((column, target));
        }
        if let Some(columns) = &given.columns {
            if columns.is_empty() {
                return Err(Error::usage("`columns` is empty"));
            }
            Schema::new(
                columns
                    .iter()
                    .map(|name| Field::new(name, Type::String))
                    .collect(),
            )?;
        }
        if given.files.iter().filter(|file| *file == "-").count() > 1 {
            return Err(Error::usage("standard input (`-`) can be read only once"));
        }
        Ok(LoadCsv {
            files: given.files,
            columns: given.columns,
            types,
            dialect,
            null_values: given.null_values,
            encoding,
            skip_rows: given.skip_rows,
            clean_names: given.clean_names,
            record_bytes: given.record_bytes,
            on_error: given.on_error,
            stdin: Mutex::default(),
        })
    }

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
    fn open_file(&self, path: &Path, bytes_done: Arc<AtomicU64>, stop: &Stop) -> Result<Opened> {
        let named = |error: Error| Error {
            message: format!("{}: {}", path.display(), error.message),
            ..error
        };
        let reader = open(path, bytes_done, stop)?;
        let mut splitter = Splitter::new(reader, self.dialect, self.limits(usize::MAX));
        splitter.skip(self.skip_rows).map_err(named)?;
        let mut header = None;
        if self.columns.is_none() {
            let line = splitter.header().map_err(named)?.ok_or_else(|| {
                Error::failed(format!(
                    "`{}` is empty: it has no header line",
                    path.display()
                ))
                .hint("give `columns` if the file has no header")
            })?;
            let read = self.parser(Vec::new()).header(&line).map_err(|reason| {
                Error::failed(format!(
                    "`{}`: its header line has {reason}",
                    path.display()
                ))
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

    fn lock_stdin(&self) -> MutexGuard<'_, Option<Opened>> {
        self.stdin.lock().expect("no one panics holding this lock")
    }

    fn column_names(&self, folder: &Folder) -> Result<Vec<String>> {
        if let Some(columns) = &self.columns {
            return Ok(self.names(columns.clone()));
        }
        let paths = expand(&self.files, folder)?;
        let first = &paths[0];
        if first != Path::new("-") {
            return Ok(self
                .open_file(first, Arc::default(), &Stop::default())?
                .header
                .unwrap_or_default());
        }
        let mut stdin = self.lock_stdin();
        if stdin.is_none() {
            *stdin = Some(self.open_file(first, Arc::default(), &Stop::default())?);
        }
        Ok(stdin
            .as_ref()
            .and_then(|opened| opened.header.clone())
            .unwrap_or_default())
    }
}

impl Stage for LoadCsv {
    fn inputs(&self) -> Vec<Distribution> {
        vec![Distribution::Any]
    }

    fn schema(&self, _inputs: &[Schema], folder: &Folder) -> Result<Schema> {
        let names = self.column_names(folder)?;
        let in_file = |error: Error| {
            if self.columns.is_some() {
                error
            } else {
                Error {
                    class: crate::error::Class::Failed,
                    ..error
                }
            }
        };
        let all_strings = Schema::new(
            names
                .iter()
                .map(|name| Field::new(name, Type::String))
                .collect(),
        )
        .map_err(in_file)?;
        for (column, _) in &self.types {
            all_strings.index(column).map_err(|error| {
                in_file(Error {
                    message: format!("`types`: {}", error.message),
                    ..error
                })
            })?;
        }
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

    fn files(&self, folder: &Folder) -> Result<Vec<PathBuf>> {
        expand(&self.files, folder)
    }

    fn look(&self, folder: &Folder) -> Vec<Look> {
        self.look_at_files(folder)
    }

    fn begin(&self, run: &Run, _inputs: &[Schema], batch_rows: usize) -> Result<Begun> {
        let paths = expand(&self.files, &run.folder)?;
        let bytes_done = Arc::new(AtomicU64::new(0));
        let header = match self.columns {
            Some(_) => None,
            None => Some(Arc::from(self.column_names(&run.folder)?)),
        };
        let loader = Arc::new(LoadCsv {
            files: Vec::new(),
            columns: self.columns.clone(),
            types: Vec::new(),
            null_values: Vec::new(),
            stdin: Mutex::new(self.lock_stdin().take()),
            ..*self
        });
        let mut files = Vec::new();
        let mut warnings = Vec::new();
        let mut parts: Vec<Part> = Vec::new();
        for path in paths {
            let file = input_file(&path)?;
            if path != Path::new("-") && file.bytes == 0 {
                warnings.push(format!("`{}` is empty", path.display()));
            }
            files.push(file);
            parts.push(Box::new(Blocks {
                loader: loader.clone(),
                number: run.add_file(&path)?,
                path,
                header: header.clone(),
                batch_rows,
                bytes_done: bytes_done.clone(),
                stop: run.stop.clone(),
                open: None,
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

/// The count of bytes that were parsed, inflated if need be.
const TEXT_BYTES: &str = "text_bytes";

struct Parsing {
    parser: Parser,
    schema: Schema,
    on_error: OnError,
}

/// Where a block stood.
struct BlockPlace {
    file: u16,
    first_record: u64,
    first_line: u64,
    offset: u64,
}

impl Session for Parsing {
    fn run(&self, batch: Batch) -> Result<Output> {
        let number = |i: usize| batch.column(i).ints().value(0).cast_unsigned();
        let file = u16::try_from(number(1)).expect("the source wrote a u16");
        let place = BlockPlace {
            file,
            first_record: number(2),
            first_line: number(3),
            offset: number(4),
        };
        let cell = batch.column(0).cell(0);
        let parsed = self.parser.parse(cell.clone());
        let mut faulty = parsed
            .faults
            .iter()
            .map(|fault| fault.record as u64)
            .peekable();
        let records = parsed.rows + parsed.faults.len();
        let origins: Vec<u64> = (0..records as u64)
            .filter(|record| faulty.next_if_eq(record).is_none())
            .map(|record| origin::of(file, place.first_record + record))
            .collect();
        let rejects: Vec<Reject> = parsed
            .faults
            .into_iter()
            .map(|fault| self.reject(fault, &place, &cell))
            .collect();
        let rows = Batch::new(parsed.columns, parsed.rows).with_origins(Some(origins.into()));
        if let (OnError::Fail, Some(reject)) = (self.on_error, rejects.first()) {
            let column = reject
                .column
                .as_ref()
                .map(|column| format!("column `{column}`: "))
                .unwrap_or_default();
            let mut error =
                Error::failed(format!("{column}{}", reject.reason)).origin(reject.origin);
            error.line_byte = Some((reject.line.unwrap_or(0), reject.byte.unwrap_or(0)));
            error = error.hint("`on_error = \"reject\"` sets such records aside and goes on");
            return Ok(Output {
                rows_in: Some(u64::from(reject.row)),
                fault: Some(error),
                ..Output::new(rows.slice(0, reject.row as usize))
            });
        }
        // Blocks lie one behind the other: however they are cut, this adds up to the text.
        let text = (TEXT_BYTES.to_owned(), cell.len() as u64);
        Ok(Output {
            rows_in: Some(number(5)),
            rejects,
            counts: Counts::from([text]),
            ..Output::new(rows)
        })
    }
}

impl Parsing {
    fn reject(&self, fault: Fault, place: &BlockPlace, cell: &Buffer<u8>) -> Reject {
        let document = match fault.record_text {
            RecordText::Raw(text) => Map::from_iter([("_raw".to_owned(), Value::String(text))]),
            RecordText::Fields(fields) => self
                .schema
                .names()
                .zip(fields)
                .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?))))
                .collect(),
        };
        let lines = memchr::memchr_iter(b'\n', &cell[..fault.byte]).count() as u64;
        Reject {
            row: crate::columns::row_number(fault.record),
            reason: fault.reason,
            column: fault
                .column
                .map(|column| self.schema.fields[column].name.clone()),
            value: fault.value,
            origin: Some(origin::of(
                place.file,
                place.first_record + fault.record as u64,
            )),
            line: Some(place.first_line + lines),
            byte: Some(place.offset + fault.byte as u64),
            document,
            more: serde_json::Map::new(),
        }
    }
}
