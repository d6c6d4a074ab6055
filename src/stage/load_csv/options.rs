//! The options of `load_csv`, and what they may be.

use std::sync::Mutex;

use encoding_rs::Encoding;
use serde::Deserialize;

use super::super::options;
use super::LoadCsv;
use crate::error::{Error, OfValue, Result};
use crate::format::csv::Dialect;
use crate::format::csv::parse::{COLUMNS_MAX, Target};
use crate::format::csv::split::RECORD_BYTES_MAX;
use crate::meant::nearest;
use crate::place::Grown;
use crate::schema::{Field, Schema, Type};
use crate::stage::{INSTEAD_OF_TYPES, OnError};

/// Labels that may be meant by one that is unknown; there are some 200.
const LABELS: [&str; 27] = [
    "utf-8",
    "latin1",
    "latin2",
    "ascii",
    "iso-8859-1",
    "iso-8859-2",
    "iso-8859-3",
    "iso-8859-4",
    "iso-8859-5",
    "iso-8859-6",
    "iso-8859-7",
    "iso-8859-8",
    "iso-8859-9",
    "iso-8859-15",
    "iso-8859-16",
    "koi8-r",
    "koi8-u",
    "macintosh",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "windows-1253",
    "windows-1254",
    "windows-1255",
    "windows-1256",
    "windows-1257",
    "windows-1258",
];

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// what to read, in this order, each once; `*`, `?`, `[a-z]` and `**` (any folders) match names without a leading dot, sorted; `-` is standard input; `s3://`, `gs://`, `az://` and `https://` name objects (docs/places.md)
    #[schemars(extend("x-type" = "list of paths or globs"))]
    files: Vec<String>,
    /// column names; then the files have no header line
    #[schemars(extend("x-type" = "list of names"), extend("x-default" = "the header line"))]
    columns: Option<Vec<String>>,
    /// `string`, `int`, `float` or `bool`
    #[schemars(extend("x-type" = "table column = type", "x-default" = "all `string`", "x-instead" = INSTEAD_OF_TYPES))]
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, Target>")]
    types: toml::Table,
    /// between fields
    #[schemars(extend("x-type" = "one byte"))]
    #[serde(default = "comma")]
    delimiter: String,
    /// around a field; `""` for none
    #[schemars(extend("x-type" = "one byte"))]
    #[serde(default = "double_quote")]
    quote: String,
    /// takes the next character literally, quoted or not
    #[schemars(extend("x-type" = "one byte"))]
    escape: Option<String>,
    /// values that mean null: decoded, or as they stand where no quote is around (`\N`)
    #[serde(default = "empty_is_null")]
    null_values: Vec<String>,
    /// UTF-8 or a single-byte encoding such as `latin1`
    #[schemars(extend("x-type" = "WHATWG label"))]
    #[serde(default = "utf8")]
    encoding: String,
    /// physical lines before the header
    #[serde(default)]
    skip_rows: usize,
    /// strip blanks around names, and a leading `_`
    #[serde(default)]
    clean_names: bool,
    /// a longer record is an error
    #[serde(default = "record_bytes")]
    record_bytes: usize,
    /// leave out files that a run of this pipeline has published already, by name, size and time
    #[serde(default)]
    only_new: bool,
    /// what a record that does not fit is
    #[serde(default, deserialize_with = "OnError::reject_or_fail")]
    #[schemars(extend("enum" = OnError::REJECT_OR_FAIL))]
    on_error: OnError,
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

impl Options {
    fn dialect(&self) -> Result<Dialect> {
        let byte = |key: &str, text: &str| match text.as_bytes() {
            [byte] if !matches!(byte, 0 | b'\n' | b'\r') => Ok(*byte),
            _ => Err(Error::usage(format!(
                "`{key}` must be one byte, found `{}`",
                text.escape_debug()
            ))
            .of([key])),
        };
        let dialect = Dialect {
            delimiter: byte("delimiter", &self.delimiter)?,
            quote: match self.quote.as_str() {
                "" => None,
                quote => Some(byte("quote", quote)?),
            },
            escape: self
                .escape
                .as_deref()
                .map(|text| byte("escape", text))
                .transpose()?,
        };
        if dialect.quote == Some(dialect.delimiter) || dialect.escape == Some(dialect.delimiter) {
            return Err(
                Error::usage("`delimiter`, `quote` and `escape` must differ")
                    .of(["delimiter"])
                    .of(["quote"])
                    .of(["escape"]),
            );
        }
        Ok(dialect)
    }

    fn encoding(&self) -> Result<&'static Encoding> {
        let encoding = Encoding::for_label(self.encoding.as_bytes()).ok_or_else(|| {
            let error = format!("`encoding`: no encoding is labelled `{}`", self.encoding);
            let labels = "WHATWG labels: utf-8, latin1, windows-1250, iso-8859-2, ...";
            let hint = match nearest(&self.encoding, LABELS) {
                Some(near) => format!("did you mean `{near}`? {labels}"),
                None => labels.into(),
            };
            Error::usage(error).hint(hint).of(["encoding"])
        })?;
        if encoding != encoding_rs::UTF_8 && !encoding.is_single_byte() {
            return Err(Error::usage(format!(
                "`encoding`: `{}` is neither UTF-8 nor single-byte",
                encoding.name()
            ))
            .hint("convert the file first, for example with `iconv -t utf-8`")
            .of(["encoding"]));
        }
        Ok(encoding)
    }
}

impl LoadCsv {
    pub(super) fn decode(table: toml::Table) -> Result<Self> {
        let given: Options = options(table)?;
        if given.files.is_empty() {
            return Err(Error::usage("`files` is empty")
                .hint("name at least one file or glob")
                .of(["files"]));
        }
        let dialect = given.dialect()?;
        let encoding = given.encoding()?;
        if given.record_bytes == 0 || given.record_bytes > RECORD_BYTES_MAX {
            return Err(Error::usage(format!(
                "`record_bytes` must be between 1 and {RECORD_BYTES_MAX}, found {}",
                given.record_bytes
            ))
            .of(["record_bytes"]));
        }
        let types = given.types.into_iter().map(|(column, value)| {
            let target = value.try_into().map_err(|error: toml::de::Error| {
                Error::usage(error.message()).of(["types", &column])
            })?;
            Ok((column, target))
        });
        let types = types.collect::<Result<Vec<(String, Target)>>>()?;
        if let Some(columns) = &given.columns {
            if columns.is_empty() {
                return Err(Error::usage("`columns` is empty").of(["columns"]));
            }
            if columns.len() > COLUMNS_MAX {
                let given = columns.len();
                return Err(Error::usage(format!(
                    "`columns`: at most {COLUMNS_MAX}, found {given}"
                ))
                .of(["columns"]));
            }
            Schema::new(
                columns
                    .iter()
                    .map(|name| Field::new(name, Type::String))
                    .collect(),
            )
            .under("columns")?;
        }
        if given.files.iter().filter(|file| *file == "-").count() > 1 {
            return Err(
                Error::usage("`files`: standard input (`-`) can be read only once")
                    .of(["files", "-"]),
            );
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
            only_new: given.only_new,
            on_error: given.on_error,
            begun: Mutex::default(),
            grown: Grown::default(),
        })
    }
}
