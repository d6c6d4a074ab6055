//! The ids of documents, and the rows that are rejected because they have no good one.

use super::local::coerce::{coerce, shown};
use super::local::mapping::Kind;
use crate::batch::Batch;
use crate::columns::{Column, TextBuilder, row_number};
use crate::error::{Error, Result};
use crate::schema::{Schema, Type};
use crate::stage::Reject;

/// Elasticsearch refuses longer ids, and an embedded index should load there.
const ID_BYTES_MAX: usize = 512;
/// Between the parts of an id of several columns.
const ID_SEPARATOR: &str = "-";

/// The columns that make ids, checked.
pub(super) fn check(input: &Schema, columns: &[String]) -> Result<()> {
    for i in input.indices(columns)? {
        let field = &input.fields[i];
        if matches!(field.ty, Type::List(_) | Type::Binary) {
            return Err(Error::usage(format!(
                "column `{}` is a {}, which cannot be an `id`",
                field.name,
                field.ty.word()
            )));
        }
    }
    Ok(())
}

/// The ids that `columns` make; rows without a good one are rejected.
pub(super) fn ids(
    batch: &Batch,
    input: &Schema,
    columns: &[usize],
    rejects: &mut Rejects,
) -> Column {
    let parts: Vec<(Column, usize)> = columns
        .iter()
        .map(|&i| (text(&batch.column(i), &input.fields[i].ty), i))
        .collect();
    let mut ids = TextBuilder::new();
    let mut id = String::new();
    for row in 0..batch.rows() {
        id.clear();
        for (k, (part, column)) in parts.iter().enumerate() {
            if k > 0 {
                id.push_str(ID_SEPARATOR);
            }
            if part.is_null(row) {
                let name = &input.fields[*column].name;
                rejects.add(row, *column, None, || format!("id column `{name}` is null"));
            } else {
                id.push_str(part.strings().value(row));
            }
        }
        let (_, column) = parts[0];
        if id.is_empty() {
            rejects.add(row, column, None, || "the id is empty".into());
        } else if id.len() > ID_BYTES_MAX {
            rejects.add(row, column, Some(&id), || {
                format!("id `{}` is longer than {ID_BYTES_MAX} bytes", shown(&id))
            });
        }
        ids.push(Some(&id));
    }
    ids.finish()
}

/// A column's values as they stand in documents, without quotes.
pub(super) fn text(column: &Column, ty: &Type) -> Column {
    coerce(column, ty, Kind::Text).0
}

/// The first fault of each row: the id's, then the leftmost column's.
#[derive(Default)]
pub(super) struct Rejects(std::collections::BTreeMap<usize, (usize, Option<String>, String)>);

impl Rejects {
    pub(super) fn add(
        &mut self,
        row: usize,
        column: usize,
        value: Option<&str>,
        reason: impl FnOnce() -> String,
    ) {
        self.0
            .entry(row)
            .or_insert_with(|| (column, value.map(str::to_owned), reason()));
    }

    pub(super) fn finish(self, batch: &Batch, schema: &Schema) -> Vec<Reject> {
        let faults = self.0.into_iter();
        faults
            .map(|(row, (column, value, reason))| {
                let name = &schema.fields[column].name;
                let reject = Reject::of(batch, schema, row, Some(name), value.as_deref(), reason);
                debug_assert_eq!(reject.row, row_number(row));
                reject
            })
            .collect()
    }
}
