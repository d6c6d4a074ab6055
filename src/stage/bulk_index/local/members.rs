//! What an index holds under the names that are no fields of it: the members of documents that neither
//! the mapping nor a column's type made a field.

use std::path::Path;

use tantivy::Searcher;
use tantivy::columnar::ColumnType;

use super::document::{DYNAMIC, ID, SOURCE, WORDS};
use super::mapping::Mapping;
use super::sink::failed;
use crate::error::{Result, nearest};

/// What the values of a member are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    Integers,
    Numbers,
    Dates,
    Flags,
    /// Texts, or of several kinds.
    Other,
}

/// The members of an index.
pub(super) struct Members<'a> {
    dir: &'a Path,
    searcher: &'a Searcher,
    mapping: &'a Mapping,
}

impl<'a> Members<'a> {
    pub(super) fn new(dir: &'a Path, searcher: &'a Searcher, mapping: &'a Mapping) -> Self {
        Members {
            dir,
            searcher,
            mapping,
        }
    }

    /// What the values of `name` are; `None`: there is no such member.
    pub(super) fn values(&self, name: &str) -> Result<Option<Values>> {
        let path = format!("{DYNAMIC}.{name}");
        let mut all = None;
        for segment in self.searcher.segment_readers() {
            let columns = segment.fast_fields().dynamic_column_handles(&path);
            for column in columns.map_err(|error| failed("search", self.dir, &error))? {
                let values = match column.column_type() {
                    ColumnType::I64 | ColumnType::U64 | ColumnType::F64 => Values::Numbers,
                    ColumnType::DateTime => Values::Dates,
                    _ => Values::Other,
                };
                let differs = all.is_some_and(|before| before != values);
                all = Some(if differs { Values::Other } else { values });
            }
        }
        // A column may have been null in every row.
        let is_column = || self.mapping.columns.iter().any(|column| column == name);
        Ok(all.or_else(|| is_column().then_some(Values::Other)))
    }

    /// The name of the field or member that is spelt most like `name`.
    pub(super) fn near(&self, name: &str) -> Option<&'a str> {
        let fields = self.searcher.schema().fields();
        let fields = fields
            .map(|(_, entry)| entry.name())
            .filter(|name| ![ID, SOURCE, DYNAMIC, WORDS].contains(name));
        let columns = self.mapping.columns.iter().map(String::as_str);
        nearest(name, fields.chain(columns))
    }
}
