//! The parallel part of a load into the embedded index: ids, document texts, and values of the types
//! that the mapping says. Rows of which one value does not fit become rejects.

use polars_buffer::Buffer;

use super::super::ids::{Rejects, ids};
use super::coerce::coerce;
use super::json;
use super::mapping::{Kind, Mapping};
use crate::batch::Batch;
use crate::columns::{Column, SliceBuilder};
use crate::error::{Error, Result};
use crate::format::json::{Nulls, Rows, Writer};
use crate::schema::Schema;
use crate::stage::{Counts, Output, Session, Setup, TaskContext};

/// Rows on their way into the embedded index.
pub(super) struct LocalSession {
    input: Schema,
    /// The columns whose values make the id; none: the sink numbers the rows.
    id: Vec<usize>,
    /// The columns whose values are made to fit their fields.
    mapped: Vec<(usize, Kind)>,
    /// Columns of JSON values that are no fields.
    json: Vec<usize>,
    writer: Writer,
}

impl LocalSession {
    /// A session for the mapping of its configuration.
    pub(super) fn open(setup: Setup, id: &[String]) -> Result<Self> {
        let mut inputs = setup.inputs.into_iter();
        let input = inputs
            .next()
            .ok_or_else(|| Error::failed("`bulk_index` has one input"))?;
        let mapping = Mapping::from_json(&setup.session_config, "of the session")?;
        let columns = input.fields.iter().enumerate();
        let json = columns.clone();
        let json = json.filter(|(_, column)| column.json && mapping.kind(&column.name).is_none());
        let json = json.map(|(i, _)| i).collect();
        let mapped = columns
            .filter(|(_, column)| !mapping.is_made_for(&column.name, &column.ty))
            .filter_map(|(i, column)| Some((i, mapping.kind(&column.name)?)));
        Ok(LocalSession {
            id: input.indices(id)?,
            mapped: mapped.collect(),
            json,
            writer: Writer::new(&input, Nulls::Omit),
            input,
        })
    }
}

impl Session for LocalSession {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let mut rejects = Rejects::default();
        let mut counts = Counts::default();
        let mut columns = Vec::with_capacity(self.input.fields.len() + 2);
        if !self.id.is_empty() {
            columns.push(ids(
                &batch,
                &self.input,
                &self.id,
                &mut rejects,
                &mut counts,
            ));
        }
        let first = columns.len();
        columns.extend(batch.plain());
        for &(i, kind) in &self.mapped {
            let (column, field) = (&columns[first + i], &self.input.fields[i]);
            let (column, faults) = if field.json {
                json::coerce(column, field, kind)
            } else {
                coerce(column, &field.ty, kind)
            };
            columns[first + i] = column;
            for fault in faults {
                rejects.add(fault.row, i, Some(&fault.value), || fault.reason);
            }
        }
        for &i in &self.json {
            columns[first + i] = json::leaves(&columns[first + i], &self.input.fields[i]);
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
            counts,
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
