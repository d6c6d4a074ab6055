//! The options of `load_csv`, and what they may be.

use std::sync::{Arc, Mutex};

use serde::Deserialize;

use super::super::options;
use super::LoadCsv;
use super::checks::names_byte_order;
use crate::error::{Error, OfValue, Result};
use crate::format::csv::EscapeWhere;
use crate::format::csv::parse::{COLUMNS_MAX, Target};
use crate::format::csv::split::RECORD_BYTES_MAX;
use crate::format::text_encoding::is_utf16;
use crate::place::Grown;
use crate::schema::{Field, Schema, Type};
use crate::stage::files::Files;
use crate::stage::{INSTEAD_OF_TYPES, OnError};

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// what to read, in this order, each once; `*`, `?`, `[a-z]` and `**` (any folders) match names without a leading dot, sorted; `-` is standard input; `s3://`, `gs://`, `az://` and `https://` name objects (docs/places.md)
    #[schemars(extend("x-type" = "list of paths or globs"))]
    pub(super) files: Vec<String>,
    /// the server of what `s3://`, `gs://` or `az://` names here, such as `http://minio:9000`
    #[schemars(extend("x-type" = "URL", "x-default" = "the environment's"))]
    #[serde(default)]
    pub(super) endpoint: String,
    /// column names; then the files have no header line
    #[schemars(extend("x-type" = "list of names"), extend("x-default" = "the header line"))]
    pub(super) columns: Option<Vec<String>>,
    /// what a header that is not the first file's is; `by_name`: columns are found by name, one that a file lacks is null, one that the first file lacks is an error
    #[serde(default)]
    pub(super) header_differs: HeaderDiffers,
    /// `string`, `int`, `float`, `bool` or `json`; `json` is a JSON value as it stands, in documents too
    #[schemars(extend("x-type" = "table column = type", "x-default" = "all `string`", "x-instead" = INSTEAD_OF_TYPES))]
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, Target>")]
    pub(super) types: toml::Table,
    /// between fields; absent, a first line such as `sep=;` names it, which is skipped either way
    #[schemars(extend("x-type" = "one byte", "x-default" = ","))]
    pub(super) delimiter: Option<String>,
    /// around a field; `""` for none
    #[schemars(extend("x-type" = "one byte"))]
    #[serde(default = "double_quote")]
    pub(super) quote: String,
    /// takes the next character literally
    #[schemars(extend("x-type" = "one byte"))]
    pub(super) escape: Option<String>,
    /// where an escape is one: quoted or not, or inside quotes only
    #[serde(default)]
    pub(super) escape_where: EscapeWhere,
    /// a line that begins with it is skipped and counted, where a record would begin
    #[schemars(extend("x-type" = "one byte"))]
    pub(super) comment: Option<String>,
    /// leave out blanks around values that are not quoted, and around quotes
    #[serde(default)]
    pub(super) trim: bool,
    /// values that mean null: decoded, or as they stand where no quote is around (`\N`)
    #[serde(default = "empty_is_null")]
    pub(super) null_values: Vec<String>,
    /// what a record with too few fields is: a reject, or one whose last values are null
    #[serde(default)]
    pub(super) short_records: ShortRecords,
    /// before the fraction, in `int` and `float` columns
    #[schemars(extend("x-type" = "one character"))]
    #[serde(default = "point")]
    pub(super) decimal: String,
    /// between every three digits, in `int` and `float` columns
    #[schemars(extend("x-type" = "one character"))]
    pub(super) thousands: Option<String>,
    /// such as `utf-16`, `shift_jis` or `latin1`; absent, a byte order mark names it
    #[schemars(extend("x-type" = "WHATWG label", "x-default" = "utf-8"))]
    pub(super) encoding: Option<String>,
    /// physical lines before the header
    #[serde(default)]
    pub(super) skip_rows: usize,
    /// strip blanks around names, and a leading `_`
    #[serde(default)]
    pub(super) clean_names: bool,
    /// a longer record is an error
    #[serde(default = "record_bytes")]
    pub(super) record_bytes: usize,
    /// leave out files that a run of this pipeline has published already, by name, size and time or, of an object, its version
    #[serde(default)]
    pub(super) only_new: bool,
    /// what a record that does not fit is
    #[serde(default, deserialize_with = "OnError::reject_or_fail")]
    #[schemars(extend("enum" = OnError::REJECT_OR_FAIL))]
    pub(super) on_error: OnError,
}

/// What a header that differs from the first file's is.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(super) enum HeaderDiffers {
    #[default]
    Error,
    ByName,
}

/// What a record with too few fields is.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(super) enum ShortRecords {
    #[default]
    Reject,
    Null,
}

fn point() -> String {
    ".".into()
}
fn double_quote() -> String {
    "\"".into()
}
fn empty_is_null() -> Vec<String> {
    vec![String::new()]
}
fn record_bytes() -> usize {
    16 << 20
}

impl LoadCsv {
    pub(super) fn decode(table: toml::Table) -> Result<Self> {
        let given: Options = options(table)?;
        let files = Files::new(&given.files, &given.endpoint, given.only_new, None)?;
        let dialect = given.dialect()?;
        let notation = given.notation()?;
        let encoding = given.encoding()?;
        given.refuse_without_header()?;
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
        Ok(LoadCsv {
            files,
            columns: given.columns,
            types,
            dialect,
            takes_separator: given.delimiter.is_none(),
            null_values: given.null_values,
            header_differs: given.header_differs,
            short_records: given.short_records,
            notation,
            either_byte_order: encoding.is_some_and(is_utf16)
                && !given.encoding.as_deref().is_some_and(names_byte_order),
            encoding,
            skip_rows: given.skip_rows,
            clean_names: given.clean_names,
            record_bytes: given.record_bytes,
            on_error: given.on_error,
            begun: Mutex::default(),
            grown: Grown::default(),
            warnings: Arc::default(),
        })
    }
}
