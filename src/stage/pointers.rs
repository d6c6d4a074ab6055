//! Columns that are taken from JSON: where each stands, as a JSON pointer, and what its values become.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};
use crate::format::csv::parse::Target;
use crate::format::json::raw::Pointer;
use crate::schema::list;

/// Columns: a table says where each is; a list, that each is where its name says.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(untagged, expecting = "expected a table or a list of names")]
pub enum Columns {
    /// Name = pointer (of CSV, the header's name), in the file's order.
    Table(
        #[schemars(with = "BTreeMap<String, String>")]
        #[serde(deserialize_with = "texts_in_order")]
        Vec<(String, String)>,
    ),
    /// Names.
    List(Vec<String>),
}

impl Default for Columns {
    fn default() -> Self {
        Columns::List(Vec::new())
    }
}

/// The members of a table, all of them texts.
fn texts_in_order<'de, D: Deserializer<'de>>(table: D) -> Result<Vec<(String, String)>, D::Error> {
    let table = toml::Table::deserialize(table)?;
    let texts = table.into_iter().map(|(name, value)| match value {
        toml::Value::String(text) => Ok((name, text)),
        _ => Err(D::Error::custom("expected a table of texts")),
    });
    texts.collect()
}

/// The pointer that `text` is; `what` has it, in words.
pub(super) fn pointer(text: &str, what: &str) -> Result<Pointer> {
    Pointer::parse(text).ok_or_else(|| {
        Error::usage(format!("{what}: `{text}` is no JSON pointer")).hint(format!(
            "did you mean `/{}`?",
            text.trim_start_matches(['$', '.']).replace('.', "/")
        ))
    })
}

/// The pointer to the member of a name.
pub(super) fn pointer_to_member(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// An error if `types` names what is none of the columns.
pub(super) fn check_types(types: &BTreeMap<String, Target>, columns: &[&str]) -> Result<()> {
    let Some(unknown) = types.keys().find(|name| !columns.contains(&name.as_str())) else {
        return Ok(());
    };
    let error = Error::usage(format!(
        "`types` names `{unknown}`; `columns` has {}",
        list(columns)
    ));
    Err(error
        .of(["types", unknown])
        .suggest(unknown, columns.iter().copied()))
}
