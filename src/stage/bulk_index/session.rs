//! The parallel part of a load into the embedded index: ids, document texts, and values of the types
//! that the mapping says. Rows of which one value does not fit become rejects.

use polars_buffer::Buffer;

use super::coerce::{coerce, shown};
use super::mapping::{Kind, Mapping};
use crate::batch::Batch;
use crate::columns::{Column, SliceBuilder, TextBuilder, row_number};
use crate::error::{Error, Result};
use crate::format::json::{Nulls, Rows, Writer};
use crate::schema::{Schema, Type};
use crate::stage::{Output, Reject, Session, Setup};

/// Elasticsearch refuses longer ids, and an index here should load there.
const ID_BYTES_MAX: usize = 512;
/// Between the parts of an id of several columns.
const ID_SEPARATOR: &str = "-";

/// Rows on their way into the embedded index.
pub(super) struct LocalSession {
    input: Schema,
    /// The columns whose values make the id; none: the sink numbers the rows.
    id: Vec<usize>,
    /// The columns that are mapped.
    mapped: Vec<(usize, Kind)>,
    writer: Writer,
}

impl LocalSession {
    /// A session for the mapping that was told.
    pub(super) fn open(setup: Setup, id: &[String]) -> Result<Self> {
        let mut inputs = setup.inputs.into_iter();
        let input = inputs
            .next()
            .ok_or_else(|| Error::failed("`bulk_index` has one input"))?;
        let mapping = Mapping::from_json(&setup.told, "told")?;
        let columns = input.names().enumerate();
        let mapped = columns.filter_map(|(i, name)| Some((i, mapping.kind(name)?)));
        Ok(LocalSession {
            id: input.indices(id)?,
            mapped: mapped.collect(),
            writer: Writer::new(&input, Nulls::Omit),
            input,
        })
    }

    /// The ids of all rows; rows without a good one are rejected.
    fn ids(&self, batch: &Batch, rejects: &mut Rejects) -> Column {
        let parts: Vec<(Column, usize)> = self
            .id
            .iter()
            .map(|&i| {
                let as_text = coerce(&batch.column(i), &self.input.fields[i].ty, Kind::Text).0;
                (as_text, i)
            })
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
                    let name = &self.input.fields[*column].name;
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
}

impl Session for LocalSession {
    fn run(&self, batch: Batch) -> Result<Output> {
        let mut rejects = Rejects::default();
        let mut columns = Vec::with_capacity(self.input.fields.len() + 2);
        if !self.id.is_empty() {
            columns.push(self.ids(&batch, &mut rejects));
        }
        let first = columns.len();
        columns.extend(batch.plain());
        for &(i, kind) in &self.mapped {
            let (column, faults) = coerce(&columns[first + i], &self.input.fields[i].ty, kind);
            columns[first + i] = column;
            for fault in faults {
                rejects.add(fault.row, i, Some(&fault.value), || fault.reason);
            }
        }
        let rejects = rejects.finish(&batch, &self.input);
        let gone: Vec<u32> = rejects.iter().map(|reject| reject.row).collect();
        let batch = batch.without(&gone);
        if !gone.is_empty() {
            let all = columns.first().map_or(0, Column::len);
            columns = Batch::new(columns, all).without(&gone).plain();
        }
        columns.insert(first, texts(self.writer.rows(&batch))?);
        let rows = Batch::new(columns, batch.rows()).with_origins(batch.origins().cloned());
        Ok(Output {
            rejects,
            ..Output::new(rows)
        })
    }
}

/// The documents as a column, in the memory they were written to.
fn texts(rows: Rows) -> Result<Column> {
    let bytes: Buffer<u8> = rows.bytes.into();
    let text = simdutf8::basic::from_utf8(&bytes)
        .map_err(|error| Error::failed("a document is not UTF-8").cause(error))?;
    let starts = std::iter::once(0).chain(rows.ends.iter().copied());
    let ranges = starts.zip(rows.ends.iter().copied());
    if u32::try_from(text.len()).is_err() {
        // Too long for the offsets of one text.
        return Ok(Column::from_strings(
            ranges.map(|(from, to)| Some(&text[from..to])),
        ));
    }
    let mut builder = SliceBuilder::new(text, rows.ends.len());
    for (from, to) in ranges {
        builder.push_slice(from, to);
    }
    Ok(builder.finish(&bytes))
}

/// The first fault of each row: the id's, then the leftmost column's.
#[derive(Default)]
struct Rejects(std::collections::BTreeMap<usize, (usize, Option<String>, String)>);

impl Rejects {
    fn add(
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

    fn finish(self, batch: &Batch, schema: &Schema) -> Vec<Reject> {
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

/// Whether a column of this type can be part of an id.
pub(super) fn makes_ids(ty: &Type) -> bool {
    !matches!(ty, Type::List(_) | Type::Binary)
}
