//! The ids of documents, and the rows that are rejected because they have no good one.
//!
//! An id of several columns is their values joined by `-`. It belongs to one tuple of values alone as long as
//! at most one column varies in how many `-` its values have: the others' can be counted off from both ends.
//! Where two columns vary, `a-b` and `c` have the id of `a` and `b-c`: sessions count how many `-` the parts
//! have, and the load says so at its end.

use super::local::coerce::{coerce, shown};
use super::local::mapping::Kind;
use crate::batch::Batch;
use crate::columns::{Column, TextBuilder, row_number};
use crate::error::{Error, OfValue, Result};
use crate::schema::{Schema, Type, list};
use crate::stage::{Counts, Reject, Totals};

/// Elasticsearch refuses longer ids, and an embedded index should load there.
const ID_BYTES_MAX: usize = 512;
/// Between the parts of an id of several columns.
const ID_SEPARATOR: char = '-';
/// As many separators in a part, or more, are taken for a number that varies.
const SEPARATORS_MAX: usize = 9;
/// Begins the names of the counts of parts by how many separators they have.
const COUNTED: &str = "separators ";

/// The columns that make ids, checked.
pub(super) fn check(input: &Schema, option: &str, columns: &[String]) -> Result<()> {
    for i in input.indices(columns).under(option)? {
        let field = &input.fields[i];
        if matches!(field.ty, Type::List(_) | Type::Binary) {
            return Err(Error::usage(format!(
                "column `{}` is a {}, which cannot be an `id`",
                field.name,
                field.ty.name()
            ))
            .of([option, &field.name]));
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
    counts: &mut Counts,
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
                id.push(ID_SEPARATOR);
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
    if columns.len() > 1 {
        for (part, column) in &parts {
            count_separators(part, &input.fields[*column].name, counts);
        }
    }
    ids.finish()
}

/// Counts the values of a part of the id by how many separators they have.
fn count_separators(part: &Column, name: &str, counts: &mut Counts) {
    let mut rows = [0u64; SEPARATORS_MAX + 1];
    for text in part.strings().iter().flatten() {
        let separators = text.bytes().filter(|&byte| byte == ID_SEPARATOR as u8);
        rows[separators.count().min(SEPARATORS_MAX)] += 1;
    }
    for (separators, &rows) in rows.iter().enumerate().filter(|(_, rows)| **rows > 0) {
        *counts
            .entry(format!("{COUNTED}{separators} {name}"))
            .or_default() += rows;
    }
}

/// Warns if ids of different values may be the same, and takes what was counted for that out of `counts`.
pub(super) fn warn(columns: &[String], totals: &mut Totals) {
    let counts = &mut *totals.counts;
    let rows = |name: &str, separators: usize| {
        let name = format!("{COUNTED}{separators} {name}");
        counts.get(&name).copied().unwrap_or_default()
    };
    let varies = |name: &&String| {
        let kinds = (0..=SEPARATORS_MAX).filter(|&separators| rows(name, separators) > 0);
        kinds.count() > 1 || rows(name, SEPARATORS_MAX) > 0
    };
    let varying: Vec<&str> = columns.iter().filter(varies).map(String::as_str).collect();
    if varying.len() > 1 {
        totals.warnings.push(format!(
            "rows of different values may have got one id, and the last of them may have overwritten the others: `id` joins \
             by `{ID_SEPARATOR}`, and values of {} have it now and then (`a-b` and `c` are joined as `a` and \
             `b-c`); name other columns as `id`, or one that holds them joined otherwise",
            list(&varying)
        ));
    }
    totals.counts.retain(|name, _| !name.starts_with(COUNTED));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Field;

    /// The ids of rows of two columns in two batches, and whether a warning comes of them.
    fn made(rows: &[(&str, &str)]) -> (Vec<String>, bool) {
        let names = ["a", "b"];
        let fields = names.map(|name| Field::new(name, Type::String));
        let schema = Schema::new(fields.to_vec()).expect("names differ");
        let (mut ids_of, mut counts, mut warnings) = (Vec::new(), Counts::new(), Vec::new());
        for rows in rows.chunks(2) {
            let columns = vec![
                Column::from_strings(rows.iter().map(|row| Some(row.0))),
                Column::from_strings(rows.iter().map(|row| Some(row.1))),
            ];
            let batch = Batch::new(columns, rows.len());
            let column = ids(
                &batch,
                &schema,
                &[0, 1],
                &mut Rejects::default(),
                &mut counts,
            );
            ids_of.extend(column.strings().values_iter().map(str::to_owned));
        }
        warn(
            &names.map(str::to_owned),
            &mut Totals {
                rows_in: Vec::new(),
                counts: &mut counts,
                warnings: &mut warnings,
            },
        );
        assert!(counts.is_empty(), "{counts:?}");
        (ids_of, !warnings.is_empty())
    }

    #[test]
    fn ids_that_two_tuples_may_have_are_warned_about() {
        let (same, warned) = made(&[("a-b", "c"), ("x", "y"), ("a", "b-c")]);
        assert_eq!(same, ["a-b-c", "x-y", "a-b-c"]);
        assert!(warned);
        let clear: [&[(&str, &str)]; 4] = [
            &[("a-b", "c"), ("a", "b"), ("", "c")],
            &[
                ("2013-05-06", "7"),
                ("2013-05-07", "-8"),
                ("2013-05-08", "9"),
            ],
            &[("x-y", "a-b-c"), ("z-y", "a-b-d")],
            &[],
        ];
        for rows in clear {
            let (ids, warned) = made(rows);
            assert!(!warned, "{rows:?}");
            let mut different = ids.clone();
            different.sort();
            different.dedup();
            assert_eq!(different.len(), rows.len(), "{ids:?}");
        }
    }
}
