//! What kinds share that ask somebody else about their rows: from the bytes of an answer to records
//! (`read`), from records to the items that were asked about, and the batch that goes on (`resolve`).
//! It knows nothing of how an answer came.
//!
//! A session does this with each batch:
//!
//! ```text
//! let mut resolution = reader.resolve(batch);
//! resolution.refuse(row, Refusal::new("..."));      // what cannot be asked about
//! let asked = resolution.open();                    // what is to be asked about, each key once
//! let mut records = reader.records();
//! reader.read(body, &mut records)?;                 // once a page; an error is words for a reject
//! resolution.answer(&asked, records)?;              // or refuse(..) each of them
//! resolution.finish()                               // the output: rows, rejects, counts
//! ```

mod read;
mod resolve;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use self::read::Records;
pub use self::resolve::{Refusal, Resolution};

pub use super::pointers::Columns;
use super::pointers::{check_types, pointer, pointer_to_member};
use super::{INSTEAD_OF_TYPES, OnError};
use crate::error::{Error, OfValue, Result, both, every};
use crate::format::csv::parse::Target;
use crate::format::json::raw::Pointer;
use crate::schema::{Schema, Type};

/// What the bytes of an answer are.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON value, in which the records are a list, or one object.
    #[default]
    Json,
    /// A JSON value a line.
    Ndjson,
    /// CSV with a header.
    Csv,
    /// Text: a record a line, which every column has whole.
    Lines,
}

/// The options that these kinds share.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
pub struct Options {
    /// the columns to take from each record: a JSON pointer such as `/a/b`, of CSV a name in the header
    #[schemars(extend("x-type" = "table column = place, or list of names", "x-required" = true))]
    #[serde(default)]
    pub columns: Columns,
    /// `string`, `int`, `float`, `bool` or `json`; as a string a text is as it is, anything else its JSON; `json` is a JSON value as it stands, in documents too
    #[schemars(extend("x-type" = "table column = type", "x-default" = "all `string`", "x-instead" = INSTEAD_OF_TYPES))]
    #[serde(default)]
    pub types: BTreeMap<String, Target>,
    /// which item a record answers: a column of the input that has the value at this place in the record
    #[schemars(extend("x-type" = "table input column = place"))]
    #[serde(default)]
    pub key: BTreeMap<String, String>,
    /// Where the records are: what a kind sets that has an option for it.
    #[serde(default)]
    #[schemars(skip)]
    pub records: String,
    /// items a request; without `key`, more than one need as many records as items
    #[serde(default = "one")]
    pub batch: usize,
    /// what an item is that could not be answered
    #[serde(default, deserialize_with = "OnError::reject_or_fail")]
    #[schemars(extend("enum" = OnError::REJECT_OR_FAIL))]
    pub on_error: OnError,
    /// more rejects than this end the run; -1: no limit
    #[serde(default = "no_limit")]
    #[schemars(extend("x-execution" = true))]
    pub max_failed: i64,
}

const fn one() -> usize {
    1
}

const fn no_limit() -> i64 {
    -1
}

/// More items a request than this are a slip of the pen.
const BATCH_MAX: usize = 1 << 20;

impl Options {
    /// `max_failed` as the dealer takes it.
    pub fn rejects_max(&self) -> Option<u64> {
        u64::try_from(self.max_failed).ok()
    }
}

/// How answers are read and matched: the options, checked.
#[derive(Debug, Clone)]
pub struct Answers {
    format: Format,
    records: Pointer,
    columns: Vec<Wanted>,
    /// Input column, and where a record has its value.
    key: Vec<(String, Place)>,
    batch: usize,
    on_error: OnError,
}

#[derive(Debug, Clone)]
struct Wanted {
    name: String,
    place: Place,
    target: Target,
}

/// Where a record has a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Pointer(Pointer),
    Header(String),
    Whole,
}

impl Place {
    fn of(format: Format, text: &str, what: &str) -> Result<Place> {
        match format {
            Format::Lines => Ok(Place::Whole),
            Format::Csv => Ok(Place::Header(text.to_owned())),
            Format::Json | Format::Ndjson => pointer(text, what).map(Place::Pointer),
        }
    }
}

impl Answers {
    /// Checks what the file alone shows.
    pub fn new(options: &Options, format: Format) -> Result<Answers> {
        let places: Vec<(String, String)> = match &options.columns {
            Columns::List(names) => names
                .iter()
                .map(|name| (name.clone(), place_of_name(format, name)))
                .collect(),
            Columns::Table(places) => places.clone(),
        };
        if places.is_empty() {
            let example = match format {
                Format::Json | Format::Ndjson => "{ price = \"/price\" }",
                Format::Csv => "[\"price\"]",
                Format::Lines => "[\"line\"]",
            };
            return Err(Error::usage("`columns` names no column")
                .hint(format!(
                    "write which values of a record are wanted: `columns = {example}`"
                ))
                .of(["columns"]));
        }
        let names: Vec<&str> = places.iter().map(|(name, _)| name.as_str()).collect();
        let columns = places
            .iter()
            .map(|(name, place)| {
                Ok(Wanted {
                    place: Place::of(format, place, &format!("`columns.{name}`"))
                        .of(["columns", name])?,
                    target: options.types.get(name).copied().unwrap_or(Target::String),
                    name: name.clone(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        check_types(&options.types, &names)?;
        if options.batch == 0 || options.batch > BATCH_MAX {
            return Err(Error::usage(format!(
                "`batch` must be between 1 and {BATCH_MAX}, found {}",
                options.batch
            ))
            .of(["batch"]));
        }
        if options.max_failed < -1 {
            return Err(
                Error::usage("`max_failed` is a number of rows, or -1 for no limit")
                    .of(["max_failed"]),
            );
        }
        let key = options.key.iter().map(|(column, place)| {
            let place = Place::of(format, place, &format!("`key.{column}`"));
            let place = place.of(["key", column])?;
            Ok((column.clone(), place))
        });
        Ok(Answers {
            format,
            records: pointer(&options.records, "`records`").of(["records"])?,
            columns,
            key: key.collect::<Result<_>>()?,
            batch: options.batch,
            on_error: options.on_error,
        })
    }

    /// The output: all columns of the item, if there are items, then the answer's.
    pub fn schema(&self, input: Option<&Schema>) -> Result<Schema> {
        let mut fields = input.map_or_else(Vec::new, |input| input.fields.clone());
        let columns = self.columns.iter().map(|column| {
            if fields.iter().any(|field| field.name == column.name) {
                return Err(Error::usage(format!(
                    "`columns.{0}`: the input has a column `{0}` already",
                    column.name
                ))
                .hint("give it another name here, or rename the input's with a `select` stage")
                .of(["columns", &column.name]));
            }
            Ok(column.target.field(&column.name))
        });
        let (columns, _) = both(every(columns), self.key_columns(input))?;
        fields.extend(columns);
        Schema::new(fields).under("columns")
    }

    /// The positions of the key's columns in the input.
    fn key_columns(&self, input: Option<&Schema>) -> Result<Vec<usize>> {
        let Some(input) = input else {
            return match self.key.first() {
                Some((column, _)) => Err(Error::usage(format!(
                    "`key.{column}`: without an input there are no items to match"
                ))
                .of(["key", column])),
                None => Ok(Vec::new()),
            };
        };
        let index = |(column, _): &(String, Place)| {
            let at = input.index(column).under("key");
            let at = at.map_err(|error| error.about(&format!("key.{column}")))?;
            match input.fields[at].ty {
                Type::List(_) | Type::Binary => Err(Error::usage(format!(
                    "`key.{column}`: a {} is no key",
                    input.fields[at].ty.name()
                ))
                .of(["key", column])),
                _ => Ok(at),
            }
        };
        every(self.key.iter().map(index))
    }

    /// Reads and matches for a stage with this input, or none.
    pub fn reader(&self, input: Option<&Schema>) -> Result<Reader> {
        Ok(Reader {
            key_columns: self.key_columns(input)?,
            input: input.cloned().unwrap_or_default(),
            slots: read::Slots::new(self),
            answers: self.clone(),
        })
    }
}

/// The answers of one stage at work.
#[derive(Debug)]
pub struct Reader {
    answers: Answers,
    input: Schema,
    key_columns: Vec<usize>,
    slots: read::Slots,
}

/// Where a column is that is not said to be anywhere.
fn place_of_name(format: Format, name: &str) -> String {
    match format {
        Format::Csv | Format::Lines => name.to_owned(),
        Format::Json | Format::Ndjson => pointer_to_member(name),
    }
}

#[cfg(test)]
mod tests;
