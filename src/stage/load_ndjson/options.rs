//! The options of `load_ndjson`, and what they may be.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::Deserialize;

use super::super::options;
use super::super::pointers::{Columns, check_types, pointer, pointer_to_member};
use super::{Column, LoadNdjson};
use crate::error::{Error, OfValue, Result, every};
use crate::format::csv::parse::{COLUMNS_MAX, Target};
use crate::format::csv::split::RECORD_BYTES_MAX;
use crate::format::json::split::Shape;
use crate::place::Grown;
use crate::schema::{Field, Schema, Type};
use crate::stage::files::Files;
use crate::stage::{INSTEAD_OF_TYPES, OnError};

/// How records stand in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// A JSON value a line.
    #[default]
    Ndjson,
    /// One JSON value, with a list of records in it.
    Json,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// what to read, in this order, each once; globs as in `load_csv`; `-` is standard input
    #[schemars(extend("x-type" = "list of paths or globs"))]
    files: Vec<String>,
    /// the server of what `s3://`, `gs://` or `az://` names here, such as `http://minio:9000`
    #[schemars(extend("x-type" = "URL", "x-default" = "the environment's"))]
    #[serde(default)]
    endpoint: String,
    /// `ndjson`: a record a line, blank lines skipped; `json`: one value with a list of records, read as it streams
    #[serde(default)]
    format: Format,
    /// with `format = "json"`: a JSON pointer to the list of records, such as `/data/items`
    #[schemars(extend("x-type" = "JSON pointer", "x-default" = "the value itself"))]
    records: Option<String>,
    /// the members to take; or for each column a JSON pointer such as `/user/name` (`""` is the record itself)
    #[schemars(extend("x-type" = "list of names, or table column = JSON pointer", "x-default" = "the members of the first 1000 records of the first file, in order of appearance; members seen later are counted"))]
    columns: Option<Columns>,
    /// `string` (a text as it is, anything else as its JSON text, digits and all), `int`, `float`, `bool` or `json` (a JSON value as it stands, in documents too)
    #[schemars(extend("x-type" = "table column = type", "x-default" = "all `string`", "x-instead" = INSTEAD_OF_TYPES))]
    #[serde(default)]
    types: BTreeMap<String, Target>,
    /// a longer record is an error
    #[serde(default = "record_bytes")]
    record_bytes: usize,
    /// leave out files that a run of this pipeline has published already, by name, size and time or, of an object, its version
    #[serde(default)]
    only_new: bool,
    /// what a record that is no JSON, or does not fit, is
    #[serde(default, deserialize_with = "OnError::reject_or_fail")]
    #[schemars(extend("enum" = OnError::REJECT_OR_FAIL))]
    on_error: OnError,
}

fn record_bytes() -> usize {
    16 << 20
}

impl Options {
    fn shape(&self) -> Result<Shape> {
        match (self.format, &self.records) {
            (Format::Ndjson, None) => Ok(Shape::Lines),
            (Format::Ndjson, Some(_)) => Err(Error::usage(
                "`records` is for `format = \"json\"`: of `ndjson` each line is a record",
            )
            .of(["records"])),
            (Format::Json, records) => {
                let records = records.as_deref().unwrap_or_default();
                Ok(Shape::List(pointer(records, "`records`").of(["records"])?))
            }
        }
    }

    /// The columns, if they are named.
    fn columns(&self) -> Result<Option<Vec<Column>>> {
        let named = match &self.columns {
            None => return Ok(None),
            Some(Columns::List(names)) => {
                let places = names.iter().map(|name| pointer_to_member(name));
                names.iter().cloned().zip(places).collect()
            }
            Some(Columns::Table(places)) => places.clone(),
        };
        if named.is_empty() {
            return Err(Error::usage("`columns` is empty").of(["columns"]));
        }
        if named.len() > COLUMNS_MAX {
            let given = named.len();
            return Err(
                Error::usage(format!("`columns`: at most {COLUMNS_MAX}, found {given}"))
                    .of(["columns"]),
            );
        }
        let fields = named.iter().map(|(name, _)| Field::new(name, Type::String));
        Schema::new(fields.collect()).under("columns")?;
        let columns = named.into_iter().map(|(name, place)| {
            let place = pointer(&place, &format!("`columns.{name}`")).of(["columns", &name])?;
            Ok(Column { name, place })
        });
        every(columns).map(Some)
    }
}

impl LoadNdjson {
    pub(super) fn decode(table: toml::Table) -> Result<Self> {
        let given: Options = options(table)?;
        let files = Files::new(&given.files, &given.endpoint, given.only_new, None)?;
        if given.record_bytes == 0 || given.record_bytes > RECORD_BYTES_MAX {
            return Err(Error::usage(format!(
                "`record_bytes` must be between 1 and {RECORD_BYTES_MAX}, found {}",
                given.record_bytes
            ))
            .of(["record_bytes"]));
        }
        let shape = given.shape()?;
        let columns = given.columns()?;
        if let Some(columns) = &columns {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            check_types(&given.types, &names)?;
        }
        Ok(LoadNdjson {
            files,
            shape,
            columns,
            types: given.types,
            record_bytes: given.record_bytes,
            on_error: given.on_error,
            begun: Mutex::default(),
            grown: Grown::default(),
        })
    }
}
