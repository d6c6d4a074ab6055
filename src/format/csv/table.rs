//! The columns of a block under construction: its records split into fields, and these into values.

use std::borrow::Cow;

use polars_buffer::Buffer;

use super::Dialect;
use super::machine::{Machine, Meaning, State};
use super::masks::{Carry, WIDTH, masks};
use super::parse::{Block, Fault, Parsed, RecordText};
use super::values::Builder;
use crate::schema::count;

/// The masks met a quote that only the machine can tell.
pub(super) struct Odd;

/// One field as it lies in the text.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Holds an escape or a doubled quote, so that it must be decoded.
    special: bool,
}

/// What is wrong with the current record.
struct Found {
    column: Option<usize>,
    reason: String,
    value: Option<String>,
    /// Whether its fields can still be divided.
    split: bool,
    /// Whether it is the encoding.
    not_text: bool,
}

/// The columns under construction.
pub(super) struct Table<'a> {
    block: &'a Block<'a>,
    dialect: Dialect,
    text: &'a str,
    builders: Vec<Builder<'a>>,
    empty_is_null: bool,
    only_empty_is_null: bool,
    rows: usize,
    records: usize,
    /// Fields of the current record that are in the builders.
    fields: usize,
    fault: Option<Found>,
    faults: Vec<Fault>,
    record_from: usize,
}

impl<'a> Table<'a> {
    pub(super) fn new(block: &'a Block<'a>, text: &'a str) -> Self {
        let parser = block.parser;
        // A guess at the rows: too small costs one growth, too large costs memory.
        let rows = block.bytes.len() / (parser.targets.len() * 8).max(1) + 1;
        Table {
            block,
            dialect: parser.dialect,
            text,
            builders: parser
                .targets
                .iter()
                .map(|&target| Builder::new(target, parser.notation, text, rows))
                .collect(),
            empty_is_null: parser.is_null(""),
            only_empty_is_null: parser.null_values.iter().all(String::is_empty),
            rows: 0,
            records: 0,
            fields: 0,
            fault: None,
            faults: Vec::new(),
            record_from: 0,
        }
    }

    pub(super) fn read_fast<const SIMPLE: bool>(&mut self) -> Result<(), Odd> {
        let bytes: &[u8] = &self.block.bytes;
        let mut carry = Carry::START;
        let mut field = Span {
            from: 0,
            to: 0,
            special: false,
        };
        let mut base = 0;
        let mut last = [0u8; WIDTH];
        while base < bytes.len() {
            let chunk = bytes[base..].first_chunk::<WIDTH>().unwrap_or_else(|| {
                last[..bytes.len() - base].copy_from_slice(&bytes[base..]);
                &last
            });
            let (found, next) = masks::<SIMPLE>(chunk, self.dialect, carry);
            if found.odd {
                return Err(Odd);
            }
            carry = next;
            let mut structure = found.newlines | found.delimiters;
            let mut special = found.special;
            while structure != 0 {
                let bit = structure & structure.wrapping_neg();
                let at = base + structure.trailing_zeros() as usize;
                structure ^= bit;
                let before = bit - 1;
                field.special |= special & before != 0;
                special &= !before;
                field.to = at;
                if found.newlines & bit == 0 {
                    self.field::<SIMPLE>(field)?;
                } else {
                    self.newline::<SIMPLE>(field)?;
                }
                field = Span {
                    from: at + 1,
                    to: 0,
                    special: false,
                };
            }
            field.special |= special != 0;
            base += WIDTH;
        }
        field.to = bytes.len();
        if self.fields > 0 || !self.is_empty::<SIMPLE>(field) {
            // No newline: a CR here is a character.
            self.field::<SIMPLE>(field)?;
            self.end_record(bytes.len());
        }
        Ok(())
    }

    /// Whether a line of this one field is an empty line.
    #[inline]
    fn is_empty<const SIMPLE: bool>(&self, field: Span) -> bool {
        let bytes = &self.block.bytes[field.from..field.to];
        bytes.is_empty() || !SIMPLE && self.dialect.trimmed(bytes).is_empty()
    }

    /// The last field of a record.
    #[inline]
    fn newline<const SIMPLE: bool>(&mut self, mut field: Span) -> Result<(), Odd> {
        let bytes: &[u8] = &self.block.bytes;
        if field.to > field.from && bytes[field.to - 1] == b'\r' {
            if field.special && bytes[..field.to - 1].last().copied() == self.dialect.escape {
                // Perhaps the CR is escaped, and so part of the value.
                return Err(Odd);
            }
            field.to -= 1;
        }
        let end = field.to;
        if self.fields > 0 || !self.is_empty::<SIMPLE>(field) {
            self.field::<SIMPLE>(field)?;
            self.end_record(end);
        }
        let rest = &bytes[end..];
        self.record_from = end + if rest.starts_with(b"\r\n") { 2 } else { 1 };
        Ok(())
    }

    #[inline]
    fn field<const SIMPLE: bool>(&mut self, mut span: Span) -> Result<(), Odd> {
        let bytes: &[u8] = &self.block.bytes;
        if span.special {
            self.decoded_field(span);
            return Ok(());
        }
        if !SIMPLE && self.dialect.trim {
            while span.from < span.to && self.dialect.is_blank(bytes[span.from]) {
                span.from += 1;
            }
            while span.from < span.to && self.dialect.is_blank(bytes[span.to - 1]) {
                span.to -= 1;
            }
        }
        let quote = self.dialect.quote;
        if span.from < span.to && Some(bytes[span.from]) == quote {
            if span.to - span.from < 2 || Some(bytes[span.to - 1]) != quote {
                return Err(Odd);
            }
            self.plain_value(span.from + 1, span.to - 1);
        } else {
            self.plain_value(span.from, span.to);
        }
        Ok(())
    }

    /// A value that is `text[from..to]`.
    #[inline]
    fn plain_value(&mut self, from: usize, to: usize) {
        let at = self.fields;
        self.fields += 1;
        if self.fault.is_some() {
            return;
        }
        let Some(builder) = self.builders.get_mut(at) else {
            return;
        };
        let null = if from == to {
            self.empty_is_null
        } else {
            !self.only_empty_is_null && self.block.parser.is_null(&self.text[from..to])
        };
        if null {
            builder.null();
        } else if let Builder::String(strings) = builder {
            strings.push_slice(from, to);
        } else if !builder.value(&self.text[from..to]) {
            self.misfit(at, &self.text[from..to]);
        }
    }

    /// A value of which the builders need a copy.
    fn owned_value(&mut self, value: &[u8]) {
        let at = self.fields;
        self.fields += 1;
        if self.fault.is_some() {
            return;
        }
        let valid = std::str::from_utf8(value).ok().filter(|value| {
            self.block.intact
                || !value.contains('\u{FFFD}')
                || self.block.parser.encoding == encoding_rs::UTF_8
        });
        let Some(value) = valid else {
            let encoding = self.block.parser.file_encoding.name();
            let reason = format!("bytes that are not {encoding}");
            let value = Some(crate::error::cut_value(&String::from_utf8_lossy(value)));
            self.fault = Some(Found {
                column: Some(at),
                reason,
                value,
                split: false,
                not_text: true,
            });
            return;
        };
        let Some(builder) = self.builders.get_mut(at) else {
            return;
        };
        if self.block.parser.is_null(value) {
            builder.null();
        } else if !builder.value(value) {
            self.misfit(at, value);
        }
    }

    #[cold]
    fn misfit(&mut self, at: usize, value: &str) {
        let word = self.block.parser.targets[at].expected(value);
        let shown = crate::error::cut_value(value);
        let reason = format!("expected {word}, found `{}`", crate::shown::line(&shown));
        self.fault = Some(Found {
            column: Some(at),
            reason,
            value: Some(shown),
            split: true,
            not_text: false,
        });
    }

    fn decoded_field(&mut self, span: Span) {
        let bytes: &[u8] = &self.block.bytes;
        let raw = &bytes[span.from..span.to];
        if !self.only_empty_is_null && self.block.parser.is_raw_null(raw) {
            let at = self.fields;
            self.fields += 1;
            if self.fault.is_none()
                && let Some(builder) = self.builders.get_mut(at)
            {
                builder.null();
            }
            return;
        }
        if let Ok(value) = decode(raw, self.dialect) {
            self.owned_value(&value);
        } else {
            let at = self.fields;
            self.fields += 1;
            if self.fault.is_none() {
                let value = String::from_utf8_lossy(&bytes[span.from..span.to]);
                let value = Some(crate::error::cut_value(&value));
                let reason = "text after a closing quote".into();
                self.fault = Some(Found {
                    column: Some(at),
                    reason,
                    value,
                    split: false,
                    not_text: false,
                });
            }
        }
    }

    fn end_record(&mut self, end: usize) {
        let wanted = self.builders.len();
        if self.fields < wanted && self.fault.is_none() && self.block.parser.fill_short {
            for builder in &mut self.builders[self.fields..] {
                builder.null();
            }
            self.fields = wanted;
        }
        if self.fault.is_none() && self.fields != wanted {
            let found = self.fields;
            let reason = format!("expected {}, found {found}", count(wanted, "field"));
            self.fault = Some(Found {
                column: None,
                reason,
                value: None,
                split: false,
                not_text: false,
            });
        }
        if self.fault.is_some() {
            self.reject(end);
        } else {
            self.rows += 1;
        }
        self.records += 1;
        self.fields = 0;
    }

    #[cold]
    fn reject(&mut self, end: usize) {
        let Some(Found {
            column,
            reason,
            value,
            split,
            not_text,
        }) = self.fault.take()
        else {
            return;
        };
        for builder in &mut self.builders {
            builder.truncate(self.rows);
        }
        let column = column.filter(|&column| column < self.builders.len());
        let raw = &self.block.bytes[self.record_from..end];
        let fields = self.block.parser.fields(raw);
        let is_whole = match self.builders.len() {
            columns if self.block.parser.fill_short => fields.len() <= columns,
            columns => fields.len() == columns,
        };
        let record_text = if split && is_whole {
            RecordText::Fields(fields)
        } else {
            RecordText::Raw(String::from_utf8_lossy(raw).into_owned())
        };
        let before = &self.block.bytes[..self.record_from];
        let byte = if self.block.parser.encoding == encoding_rs::UTF_8 {
            before.len()
        } else {
            // In a single-byte encoding each character was one byte.
            before.iter().filter(|&&byte| byte & 0xC0 != 0x80).count()
        };
        self.faults.push(Fault {
            record: self.records,
            byte,
            reason,
            column,
            value,
            not_text,
            record_text,
        });
    }

    pub(super) fn read_slow(&mut self) {
        let bytes: &[u8] = &self.block.bytes;
        let mut machine = Machine::default();
        let mut from = 0;
        let mut notation = false;
        let mut escaped_last = false;
        for (at, &byte) in bytes.iter().enumerate() {
            let Machine { state, escaped } = machine;
            match machine.step(byte, self.dialect) {
                Meaning::Delimiter => {
                    self.slow_field(from, at, notation);
                    (from, notation) = (at + 1, false);
                }
                Meaning::Newline => {
                    let end = if at > from && bytes[at - 1] == b'\r' && !escaped_last {
                        at - 1
                    } else {
                        at
                    };
                    let is_record = state != State::Comment
                        && (self.fields > 0 || !self.dialect.trimmed(&bytes[from..end]).is_empty());
                    if is_record {
                        self.slow_field(from, end, notation);
                        self.end_record(end);
                    }
                    self.record_from = at + 1;
                    (from, notation) = (at + 1, false);
                }
                Meaning::Notation | Meaning::Junk => notation = true,
                Meaning::Value => notation |= escaped,
            }
            escaped_last = escaped;
        }
        let end = bytes.len();
        let is_empty = self.dialect.trimmed(&bytes[from..end]).is_empty();
        if machine.state != State::Comment && (self.fields > 0 || !is_empty) {
            self.slow_field(from, end, notation);
            self.end_record(end);
        }
    }

    fn slow_field(&mut self, from: usize, to: usize, notation: bool) {
        if notation || !self.block.intact || self.dialect.trim {
            self.decoded_field(Span {
                from,
                to,
                special: true,
            });
        } else {
            self.plain_value(from, to);
        }
    }

    pub(super) fn finish(self) -> Parsed {
        let bytes = &self.block.bytes;
        let empty = Buffer::new();
        let buffer = if self.block.intact { bytes } else { &empty };
        Parsed {
            columns: self
                .builders
                .into_iter()
                .map(|builder| builder.finish(buffer))
                .collect(),
            rows: self.rows,
            faults: self.faults,
        }
    }
}

/// Text after a closing quote.
pub(super) struct Junk;

/// A field's value: the notation taken off.
pub(super) fn decode(field: &[u8], dialect: Dialect) -> Result<Cow<'_, [u8]>, Junk> {
    let mut machine = Machine::AT_FIELD;
    let mut value = Vec::with_capacity(field.len());
    // What lies beyond it is blanks, outside quotes and without an escape.
    let mut kept = 0;
    for &byte in field {
        let escaped = machine.escaped;
        match machine.step(byte, dialect) {
            Meaning::Notation => {}
            Meaning::Junk => return Err(Junk),
            // A field that was split rightly holds none outside quotes.
            Meaning::Value | Meaning::Delimiter | Meaning::Newline => {
                value.push(byte);
                if escaped || machine.state == State::Quoted || !dialect.is_blank(byte) {
                    kept = value.len();
                }
            }
        }
    }
    value.truncate(kept);
    Ok(Cow::Owned(value))
}

/// How many fields a text of one record holds.
pub(super) fn field_count(record: &[u8], dialect: Dialect) -> usize {
    let mut machine = Machine::default();
    let delimits = |byte: &&u8| machine.step(**byte, dialect) == Meaning::Delimiter;
    1 + record.iter().filter(delimits).count()
}

/// The fields of one record, by the machine.
pub(super) fn slow_spans(record: &[u8], dialect: Dialect) -> Vec<Span> {
    let mut machine = Machine::default();
    let mut spans = Vec::new();
    let mut from = 0;
    for (at, &byte) in record.iter().enumerate() {
        if machine.step(byte, dialect) == Meaning::Delimiter {
            spans.push(Span {
                from,
                to: at,
                special: true,
            });
            from = at + 1;
        }
    }
    spans.push(Span {
        from,
        to: record.len(),
        special: true,
    });
    spans
}
