//! A session: parses the blocks that the source cut.

use polars_buffer::Buffer;
use serde_json::{Map, Value};

use super::super::{Counts, Output, Reject, Session, TEXT_BYTES, TaskContext};
use crate::batch::{Batch, origin};
use crate::error::{Error, Result};
use crate::format::csv::parse::{Fault, Parser, RecordText};
use crate::schema::Schema;
use crate::stage::OnError;

pub(super) struct Parsing {
    pub(super) parser: Parser,
    pub(super) schema: Schema,
    pub(super) on_error: OnError,
}

/// Where a block stood.
struct BlockPlace {
    file: u16,
    first_record: u64,
    first_line: u64,
    offset: u64,
}

impl Session for Parsing {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let number = |i: usize| batch.column(i).ints().value(0).cast_unsigned();
        let file = u16::try_from(number(1)).expect("the source wrote a u16");
        let place = BlockPlace {
            file,
            first_record: number(2),
            first_line: number(3),
            offset: number(4),
        };
        let cell = batch.column(0).cell(0);
        let parsed = self.parser.parse(cell.clone());
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
            .map(|fault| self.reject(fault, &place, &cell))
            .collect();
        let rows = Batch::new(parsed.columns, parsed.rows).with_origins(Some(origins.into()));
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
        Ok(Output {
            rows_in: Some(number(5)),
            rejects,
            counts: Counts::from([text]),
            ..Output::new(rows)
        })
    }
}

impl Parsing {
    fn reject(&self, fault: Fault, place: &BlockPlace, cell: &Buffer<u8>) -> Reject {
        let document = match fault.record_text {
            RecordText::Raw(text) => Map::from_iter([("_raw".to_owned(), Value::String(text))]),
            RecordText::Fields(fields) => self
                .schema
                .names()
                .zip(fields)
                .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?))))
                .collect(),
        };
        let lines = memchr::memchr_iter(b'\n', &cell[..fault.byte]).count() as u64;
        let mut reason = fault.reason;
        if fault.not_text && self.parser.encoding == encoding_rs::UTF_8 {
            reason.push_str("; is `encoding` windows-1252 (latin1), windows-1250 or the like?");
        }
        Reject {
            row: crate::columns::row_number(fault.record),
            reason,
            column: fault
                .column
                .map(|column| self.schema.fields[column].name.clone()),
            value: fault.value,
            origin: Some(origin::of(
                place.file,
                place.first_record + fault.record as u64,
            )),
            line: Some(place.first_line + lines),
            byte: Some(place.offset + fault.byte as u64),
            document,
            more: serde_json::Map::new(),
        }
    }
}
