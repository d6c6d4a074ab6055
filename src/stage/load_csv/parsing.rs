//! A session: parses the blocks that the source cut.

use std::borrow::Cow;

use polars_buffer::Buffer;

use super::super::{Output, Reject, Session, TEXT_BYTES, TaskContext};
use super::layout::Layout;
use crate::batch::{Batch, origin};
use crate::columns::Column;
use crate::error::{Error, Result};
use crate::format::csv::Dialect;
use crate::format::csv::numbers::Notation;
use crate::format::csv::parse::{Fault, Parsed, Parser, RecordText};
use crate::format::csv::values::parse_float;
use crate::format::json::Document;
use crate::schema::{Field, Schema, Type};
use crate::stage::OnError;

/// What the report calls comments.
const COMMENTS: &str = "comments";

pub(super) struct Parsing {
    /// Parses files that lie as `layout` says.
    pub(super) parser: Parser,
    pub(super) layout: String,
    pub(super) schema: Schema,
    /// Whether no encoding is given.
    pub(super) asks_for_encoding: bool,
    pub(super) on_error: OnError,
}

/// How blocks of one file are parsed.
struct OfFile<'a> {
    parser: Cow<'a, Parser>,
    /// See [`Layout::columns`].
    order: Option<Vec<usize>>,
}

impl OfFile<'_> {
    /// The file's columns, in its order.
    fn fields<'s>(&self, schema: &'s Schema) -> Vec<&'s Field> {
        match &self.order {
            None => schema.fields.iter().collect(),
            Some(order) => order.iter().map(|&at| &schema.fields[at]).collect(),
        }
    }

    /// The stage's columns; those that the file lacks are null.
    fn columns(&self, schema: &Schema, parsed: &mut Parsed) -> Vec<Column> {
        let found = std::mem::take(&mut parsed.columns);
        let Some(order) = &self.order else {
            return found;
        };
        let fields = schema.fields.iter();
        let mut columns: Vec<Column> = fields
            .map(|field| Column::nulls(&field.ty, parsed.rows))
            .collect();
        for (&at, column) in order.iter().zip(found) {
            columns[at] = column;
        }
        columns
    }
}

/// Where a block stood.
struct BlockPlace {
    file: u32,
    first_record: u64,
    first_line: u64,
    offset: u64,
}

impl Session for Parsing {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let number = |i: usize| batch.column(i).ints().value(0).cast_unsigned();
        let file = u32::try_from(number(1)).expect("the source wrote a u32");
        let place = BlockPlace {
            file,
            first_record: number(2),
            first_line: number(3),
            offset: number(4),
        };
        let cell = batch.column(0).cell(0);
        let of_file = self.of_file(batch.column(7).strings().value(0));
        let mut parsed = of_file.parser.parse(cell.clone());
        let columns = of_file.columns(&self.schema, &mut parsed);
        let mut faulty = parsed
            .faults
            .iter()
            .map(|fault| fault.record as u64)
            .peekable();
        let records = parsed.rows + parsed.faults.len();
        let origins: Vec<u64> = (0..records as u64)
            .filter(|record| faulty.next_if_eq(record).is_none())
            .map(|record| origin::of(file, place.first_record + record))
            .collect();
        let rejects: Vec<Reject> = parsed
            .faults
            .into_iter()
            .map(|fault| self.reject(fault, &of_file, &place, &cell))
            .collect();
        let rows = Batch::new(columns, parsed.rows).with_origins(Some(origins.into()));
        if let (OnError::Fail, Some(reject)) = (self.on_error, rejects.first()) {
            let column = reject
                .column
                .as_ref()
                .map(|column| format!("column `{column}`: "))
                .unwrap_or_default();
            let mut error =
                Error::failed(format!("{column}{}", reject.reason)).origin(reject.origin);
            error.line_byte = Some((reject.line.unwrap_or(0), reject.byte.unwrap_or(0)));
            error = error.hint("`on_error = \"reject\"` sets such records aside and goes on");
            return Ok(Output {
                rows_in: Some(u64::from(reject.row)),
                fault: Some(error),
                ..Output::new(rows.slice(0, reject.row as usize))
            });
        }
        // Blocks lie one after the other: however they are cut, this adds up to the text.
        let text = (TEXT_BYTES.to_owned(), cell.len() as u64);
        let comments = Some(number(6)).filter(|comments| *comments > 0);
        let comments = comments.map(|comments| (COMMENTS.to_owned(), comments));
        Ok(Output {
            rows_in: Some(number(5)),
            rejects,
            counts: std::iter::once(text).chain(comments).collect(),
            ..Output::new(rows)
        })
    }
}

impl Parsing {
    /// How a file is parsed that lies as `layout` says.
    fn of_file(&self, layout: &str) -> OfFile<'_> {
        if layout == self.layout {
            return OfFile {
                parser: Cow::Borrowed(&self.parser),
                order: None,
            };
        }
        let layout = Layout::of_text(layout);
        let encoding = layout.encoding();
        let targets = &self.parser.targets;
        let parser = Parser {
            dialect: Dialect {
                delimiter: layout.delimiter,
                ..self.parser.dialect
            },
            targets: match &layout.columns {
                None => targets.clone(),
                Some(order) => order.iter().map(|&at| targets[at]).collect(),
            },
            file_encoding: encoding,
            ..self.parser.clone()
        };
        OfFile {
            parser: Cow::Owned(parser),
            order: layout.columns,
        }
    }

    fn reject(
        &self,
        fault: Fault,
        of_file: &OfFile,
        place: &BlockPlace,
        cell: &Buffer<u8>,
    ) -> Reject {
        let columns = of_file.fields(&self.schema);
        let document =
            match fault.record_text {
                RecordText::Raw(text) => Document::raw(&text),
                RecordText::Fields(values) => {
                    let members = columns.iter().zip(&values);
                    Document::of_texts(members.filter_map(|(field, value)| {
                        Some((field.name.as_str(), value.as_deref()?))
                    }))
                }
            };
        let lines = memchr::memchr_iter(b'\n', &cell[..fault.byte]).count() as u64;
        let mut reason = fault.reason;
        let is_utf8 = of_file.parser.file_encoding == encoding_rs::UTF_8;
        if fault.not_text && self.asks_for_encoding && is_utf8 {
            reason.push_str("; is `encoding` windows-1252 (latin1), windows-1250 or the like?");
        }
        let is_float = |column: usize| columns[column].ty == Type::Float;
        let value = fault.value.as_deref().unwrap_or_default();
        if fault.column.is_some_and(is_float) && self.parser.notation.is_plain() && has_comma(value)
        {
            reason.push_str("; is `decimal` a comma?");
        }
        Reject {
            row: crate::columns::row_number(fault.record),
            reason,
            column: fault.column.map(|column| columns[column].name.clone()),
            value: fault.value,
            origin: Some(origin::of(
                place.file,
                place.first_record + fault.record as u64,
            )),
            line: Some(place.first_line + lines),
            byte: Some(place.offset + fault.byte as u64),
            document,
            more: serde_json::Map::new(),
            record: None,
        }
    }
}

/// Whether a value is a number with a decimal comma.
fn has_comma(value: &str) -> bool {
    let notation = Notation {
        decimal: ',',
        thousands: Some('.'),
    };
    let mut plain = String::new();
    value.contains(',') && notation.rewrite(value, &mut plain) && parse_float(&plain).is_some()
}
