//! A session: parses the blocks that the source cut.

use polars_buffer::Buffer;
use serde_json::Map;

use super::super::{Counts, Output, Reject, Session, TEXT_BYTES, TaskContext};
use super::source::{BlockPlace, place_of};
use crate::batch::{Batch, origin};
use crate::columns::row_number;
use crate::error::{Error, Result};
use crate::format::json::Document;
use crate::format::json::records::{Fault, Others, Parser};
use crate::schema::Schema;
use crate::stage::OnError;

/// The count of values whose members are no columns.
pub(super) const OTHER_MEMBERS: &str = "other_members";

/// Before the name of such a member, in a count of its own until the run ends.
const OTHER_MEMBER: &str = "other_member ";

pub(super) struct Parsing {
    pub(super) parser: Parser,
    pub(super) schema: Schema,
    /// Whether members that are no columns are counted.
    pub(super) reports_others: bool,
    /// Whether records are lines.
    pub(super) is_lines: bool,
    pub(super) on_error: OnError,
}

impl Session for Parsing {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let place = place_of(&batch);
        let cell = batch.column(0).cell(0);
        let parsed = self.parser.parse(&cell, &place.records);
        let mut faulty = parsed.faults.iter().map(|fault| fault.record).peekable();
        let origins: Vec<u64> = (0..place.records.len())
            .filter(|record| faulty.next_if_eq(record).is_none())
            .map(|record| place.origin(record))
            .collect();
        let rejects: Vec<Reject> = parsed
            .faults
            .into_iter()
            .map(|fault| self.reject(fault, &place, &cell))
            .collect();
        let rows = Batch::new(parsed.columns, parsed.rows).with_origins(Some(origins.into()));
        if let (OnError::Fail, Some(reject)) = (self.on_error, rejects.first()) {
            return Ok(Output {
                rows_in: Some(u64::from(reject.row)),
                fault: Some(failure(reject)),
                ..Output::new(rows.slice(0, reject.row as usize))
            });
        }
        // Blocks lie one after the other: however they are cut, this adds up to the text.
        let mut counts = Counts::from([(TEXT_BYTES.to_owned(), cell.len() as u64)]);
        if self.reports_others {
            count_others(parsed.others, &mut counts);
        }
        Ok(Output {
            rows_in: Some(place.records.len() as u64),
            rejects,
            counts,
            ..Output::new(rows)
        })
    }
}

impl BlockPlace {
    fn origin(&self, record: usize) -> u64 {
        origin::of(self.file, self.first_record + record as u64)
    }
}

impl Parsing {
    fn reject(&self, fault: Fault, place: &BlockPlace, cell: &Buffer<u8>) -> Reject {
        let document = match fault.values {
            None => Document::raw(&fault.text),
            Some(values) => {
                let members = self.schema.names().zip(&values);
                Document::of_texts(
                    members.filter_map(|(name, value)| Some((name, value.as_deref()?))),
                )
            }
        };
        let lines = memchr::memchr_iter(b'\n', &cell[..fault.byte]).count() as u64;
        let mut reason = fault.reason;
        if fault.is_list && self.is_lines {
            reason.push_str("; is `format` json?");
        }
        Reject {
            row: row_number(fault.record),
            reason,
            column: fault
                .column
                .map(|column| self.schema.fields[column].name.clone()),
            value: fault.value,
            origin: Some(place.origin(fault.record)),
            line: Some(place.first_line + lines),
            byte: Some(place.offset + fault.byte as u64),
            document,
            more: Map::new(),
            record: None,
        }
    }
}

/// The error that ends the run where a reject does.
fn failure(reject: &Reject) -> Error {
    let column = reject.column.as_ref();
    let column = column.map(|column| format!("column `{column}`: "));
    let column = column.unwrap_or_default();
    let mut error = Error::failed(format!("{column}{}", reject.reason)).origin(reject.origin);
    error.line_byte = Some((reject.line.unwrap_or(0), reject.byte.unwrap_or(0)));
    error.hint("`on_error = \"reject\"` sets such records aside and goes on")
}

fn count_others(others: Others, counts: &mut Counts) {
    if others.members == 0 {
        return;
    }
    counts.insert(OTHER_MEMBERS.to_owned(), others.members);
    for (name, count) in others.names {
        counts.insert(format!("{OTHER_MEMBER}{name}"), count);
    }
}

/// The warning about members that are no columns, whose names are taken out of the counts.
pub(super) fn warn_of_others(counts: &mut Counts) -> String {
    let members = counts.get(OTHER_MEMBERS).copied().unwrap_or_default();
    // Each block counts the first names in their order, so that of the first ones of all every count is whole.
    let names = counts.extract_if(.., |name, _| name.starts_with(OTHER_MEMBER));
    let names: Vec<(String, u64)> = names.collect();
    let shown = names.iter().take(Others::NAMES_MAX);
    let shown = shown.map(|(name, count)| format!("`{}` ({count})", &name[OTHER_MEMBER.len()..]));
    let mut shown = shown.collect::<Vec<String>>().join(", ");
    let in_words: u64 = names
        .iter()
        .take(Others::NAMES_MAX)
        .map(|(_, count)| count)
        .sum();
    if in_words < members {
        shown.push_str(" and more");
    }
    let left_out = match members {
        1 => "1 value was left out, since its member is no column".to_owned(),
        _ => format!("{members} values were left out, since their members are no columns"),
    };
    format!(
        "{left_out}: {shown}; the columns are the members of the first {} records of the first file; name those you \
         want in `columns`",
        super::NAMES_RECORDS,
    )
}
