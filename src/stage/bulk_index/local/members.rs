//! What an index holds under the names that are no fields of it: the members of documents that neither
//! the mapping nor a column's type made a field.

use std::path::Path;

use tantivy::Searcher;
use tantivy::columnar::ColumnType;

use super::super::mixed::{Class, cuts, mixed};
use super::document::{DYNAMIC, ID, SOURCE, WORDS};
use super::mapping::{Kind, Mapping};
use super::opening::failed;
use crate::error::Result;
use crate::meant::nearest;
use crate::schema::{Field, Schema};

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
        let mut all = None;
        for held in self.held(name)? {
            let values = match held {
                ColumnType::I64 | ColumnType::U64 | ColumnType::F64 => Values::Numbers,
                ColumnType::DateTime => Values::Dates,
                _ => Values::Other,
            };
            let differs = all.is_some_and(|before| before != values);
            all = Some(if differs { Values::Other } else { values });
        }
        // A column may have been null in every row.
        let is_column = || self.mapping.columns.iter().any(|column| column == name);
        Ok(all.or_else(|| is_column().then_some(Values::Other)))
    }

    /// The types of the values that documents have as `name`, as they come.
    fn held(&self, name: &str) -> Result<Vec<ColumnType>> {
        let path = format!("{DYNAMIC}.{name}");
        let mut all = Vec::new();
        for segment in self.searcher.segment_readers() {
            let columns = segment.fast_fields().dynamic_column_handles(&path);
            let columns = columns.map_err(|error| failed("read", self.dir, &error))?;
            for column in columns {
                all.push(column.column_type());
            }
        }
        Ok(all)
    }

    /// A class of the values of `name` that is not `class`; `None` if all are of `class`.
    pub(super) fn other_class(&self, name: &str, class: Class) -> Result<Option<Class>> {
        let classes = self.held(name)?.into_iter().map(|held| match held {
            ColumnType::I64 | ColumnType::U64 | ColumnType::F64 => Class::Number,
            ColumnType::Bool => Class::Flag,
            // Of a column of texts, those that are written as dates are held so.
            ColumnType::DateTime if class == Class::Text => Class::Text,
            ColumnType::DateTime => Class::Date,
            _ => Class::Text,
        });
        let mut others = classes.filter(|held| *held != class);
        Ok(others.next())
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

/// Refuses columns of other types than what documents have in the same fields. What a mapping file names
/// takes the values that its type reads, and so is no concern here.
pub(super) fn refuse_mixed(
    dir: &Path,
    searcher: &Searcher,
    stored: &Mapping,
    given: Option<&Mapping>,
    input: &Schema,
) -> Result<()> {
    let members = Members::new(dir, searcher, stored);
    let place = format!("the index in `{}`", dir.display());
    // A JSON value may be of any type.
    let of_one_type = input.fields.iter().filter(|field| !field.json);
    for Field { name, ty, .. } in of_one_type {
        let is_given = given.is_some_and(|given| given.kind(name).is_some());
        let Some(class) = Class::of_column(ty).filter(|_| !is_given) else {
            continue;
        };
        let had = match stored.kind(name).map(Kind::as_str) {
            Some(word) if stored.columns.contains(name) => {
                let differs = Class::of_field(word)
                    // A date field reads dates from texts; rows of other texts are rejected.
                    .is_some_and(|held| held.in_json() != class.in_json());
                (differs || cuts(word, ty)).then_some(word)
            }
            Some(_) => None,
            None => members.other_class(name, class)?.map(Class::as_str),
        };
        if let Some(had) = had {
            let can_name = stored.kind(name).is_some();
            return Err(mixed(&place, name, ty, had, can_name));
        }
    }
    Ok(())
}
