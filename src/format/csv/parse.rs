//! Parsing: a block of whole records into columns.

use std::borrow::Cow;

use encoding_rs::Encoding;
use polars_arrow::bitmap::MutableBitmap;
use polars_buffer::Buffer;
use serde::{Deserialize, Serialize};

use super::Dialect;
use super::machine::{Machine, Meaning};
use super::masks::{Carry, WIDTH, masks};
use crate::columns::{Column, SliceBuilder};

/// What a value is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Text, as it stands.
    String,
    /// `[+-]?[0-9]+` in 64 bits.
    Int,
    /// Decimal or exponent, never nan or inf.
    Float,
    /// true/false/t/f/1/0
    Bool,
}

impl Target {
    fn word(self) -> &'static str {
        match self {
            Target::String => "string",
            Target::Int => "int",
            Target::Float => "float",
            Target::Bool => "bool",
        }
    }
}

/// How to read a block.
#[derive(Debug, Clone)]
pub struct Parser {
    /// The bytes that structure the text.
    pub dialect: Dialect,
    /// One a column.
    pub targets: Vec<Target>,
    /// Decoded values that mean null.
    pub null_values: Vec<String>,
    /// A single-byte encoding, or UTF-8.
    pub encoding: &'static Encoding,
}

/// A record that could not be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// The record's number in the block, from 0.
    pub record: usize,
    /// Where it begins in the block, in bytes as they lay in the file.
    pub byte: usize,
    /// Why.
    pub reason: String,
    /// The leftmost column at fault, unless the record has too few or too many fields.
    pub column: Option<usize>,
    /// The value at fault.
    pub value: Option<String>,
    /// The record's values, if it could be split; otherwise its text.
    pub record_text: RecordText,
}

/// What a faulty record held.
#[derive(Debug, PartialEq, Eq)]
pub enum RecordText {
    /// One value a column; `None` is null.
    Fields(Vec<Option<String>>),
    /// The text as it stands, what is no text replaced.
    Raw(String),
}

/// What a block became.
#[derive(Debug)]
pub struct Parsed {
    /// The good records' values, one column a target.
    pub columns: Vec<Column>,
    /// How many good records there are.
    pub rows: usize,
    /// The others, in order.
    pub faults: Vec<Fault>,
}

/// The masks met a quote that only the machine can tell.
struct Odd;

/// One field as it lies in the text.
#[derive(Clone, Copy)]
struct Span {
    from: usize,
    to: usize,
    /// Holds an escape or a doubled quote, so that it must be decoded.
    special: bool,
}

impl Parser {
    /// Parses a block of whole records.
    pub fn parse(&self, bytes: Buffer<u8>) -> Parsed {
        let (text, intact) = if self.encoding == encoding_rs::UTF_8 {
            let intact = simdutf8::basic::from_utf8(&bytes).is_ok();
            (bytes, intact)
        } else if bytes.is_ascii() {
            (bytes, true)
        } else {
            let (text, faulty) = self.encoding.decode_without_bom_handling(&bytes);
            let block = Block {
                parser: self,
                bytes: text.into_owned().into_bytes().into(),
                intact: !faulty,
            };
            return block.parse();
        };
        Block {
            parser: self,
            bytes: text,
            intact,
        }
        .parse()
    }

    fn is_null(&self, value: &str) -> bool {
        self.null_values.iter().any(|null| null == value)
    }

    /// One field of a record, decoded, as a faulty record is shown.
    pub fn fields(&self, record: &[u8]) -> Vec<String> {
        slow_spans(record, self.dialect)
            .into_iter()
            .map(
                |span| match decode(&record[span.from..span.to], self.dialect) {
                    Ok(value) => String::from_utf8_lossy(&value).into_owned(),
                    Err(_) => String::from_utf8_lossy(&record[span.from..span.to]).into_owned(),
                },
            )
            .collect()
    }
}

/// The text of a block and whether all of it is text.
struct Block<'a> {
    parser: &'a Parser,
    bytes: Buffer<u8>,
    intact: bool,
}

impl Block<'_> {
    fn parse(&self) -> Parsed {
        // A text that is not intact is sliced nowhere: its good values are copied.
        let text = if self.intact {
            std::str::from_utf8(&self.bytes).unwrap_or_default()
        } else {
            ""
        };
        if self.intact {
            let mut table = Table::new(self, text);
            if table.read_fast().is_ok() {
                return table.finish();
            }
        }
        let mut table = Table::new(self, text);
        table.read_slow();
        table.finish()
    }
}

/// What is wrong with the record in hand.
struct Found {
    column: Option<usize>,
    reason: String,
    value: Option<String>,
    /// Whether its fields can be told apart all the same.
    split: bool,
}

/// The columns under construction.
struct Table<'a> {
    block: &'a Block<'a>,
    dialect: Dialect,
    text: &'a str,
    builders: Vec<Builder<'a>>,
    empty_is_null: bool,
    only_empty_is_null: bool,
    rows: usize,
    records: usize,
    /// Fields of the record in hand that are in the builders.
    fields: usize,
    fault: Option<Found>,
    faults: Vec<Fault>,
    record_from: usize,
}

impl<'a> Table<'a> {
    fn new(block: &'a Block<'a>, text: &'a str) -> Self {
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
                .map(|&target| Builder::new(target, text, rows))
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

    fn read_fast(&mut self) -> Result<(), Odd> {
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
            let (found, next) = masks(chunk, self.dialect, carry);
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
                    self.field(field)?;
                } else {
                    self.newline(field)?;
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
        if field.from < bytes.len() || self.fields > 0 {
            self.newline(Span {
                to: bytes.len(),
                ..field
            })?;
        }
        Ok(())
    }

    /// The last field of a record.
    #[inline]
    fn newline(&mut self, mut field: Span) -> Result<(), Odd> {
        let bytes: &[u8] = &self.block.bytes;
        if field.to > field.from && bytes[field.to - 1] == b'\r' {
            if field.special && bytes[..field.to - 1].last().copied() == self.dialect.escape {
                // Perhaps the CR is escaped, and so part of the value.
                return Err(Odd);
            }
            field.to -= 1;
        }
        let end = field.to;
        if self.fields > 0 || field.from < field.to {
            self.field(field)?;
            self.end_record(end);
        }
        let rest = &bytes[end..];
        self.record_from = end + if rest.starts_with(b"\r\n") { 2 } else { 1 };
        Ok(())
    }

    #[inline]
    fn field(&mut self, span: Span) -> Result<(), Odd> {
        let bytes: &[u8] = &self.block.bytes;
        if span.special {
            self.decoded_field(span);
            return Ok(());
        }
        let quote = self.dialect.quote;
        if span.from < span.to && bytes[span.from] == quote {
            if span.to - span.from < 2 || bytes[span.to - 1] != quote {
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
            let reason = format!("bytes that are not {}", self.block.parser.encoding.name());
            let value = Some(crate::error::cut_value(&String::from_utf8_lossy(value)));
            self.fault = Some(Found {
                column: Some(at),
                reason,
                value,
                split: false,
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

    fn misfit(&mut self, at: usize, value: &str) {
        let word = self.block.parser.targets[at].word();
        let shown = crate::error::cut_value(value);
        let reason = format!("expected {word}, found `{}`", shown.escape_debug());
        self.fault = Some(Found {
            column: Some(at),
            reason,
            value: Some(shown),
            split: true,
        });
    }

    fn decoded_field(&mut self, span: Span) {
        let bytes: &[u8] = &self.block.bytes;
        match decode(&bytes[span.from..span.to], self.dialect) {
            Ok(value) => self.owned_value(&value),
            Err(Junk) => {
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
                    });
                }
            }
        }
    }

    fn end_record(&mut self, end: usize) {
        let wanted = self.builders.len();
        if self.fault.is_none() && self.fields != wanted {
            let found = self.fields;
            let reason = format!("expected {wanted} fields, found {found}");
            self.fault = Some(Found {
                column: None,
                reason,
                value: None,
                split: false,
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
        let record_text = if split && fields.len() == self.builders.len() {
            RecordText::Fields(
                fields
                    .into_iter()
                    .map(|value| (!self.block.parser.is_null(&value)).then_some(value))
                    .collect(),
            )
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
            record_text,
        });
    }

    fn read_slow(&mut self) {
        let bytes: &[u8] = &self.block.bytes;
        let mut machine = Machine::default();
        let mut from = 0;
        let mut notation = false;
        let mut escaped_last = false;
        for (at, &byte) in bytes.iter().enumerate() {
            let literal = machine.escaped;
            let meaning = machine.step(byte, self.dialect);
            match meaning {
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
                    if self.fields > 0 || from < end {
                        self.slow_field(from, end, notation);
                        self.end_record(end);
                    }
                    self.record_from = at + 1;
                    (from, notation) = (at + 1, false);
                }
                Meaning::Notation | Meaning::Junk => notation = true,
                Meaning::Value => notation |= literal,
            }
            escaped_last = literal;
        }
        let end = if bytes.ends_with(b"\r") && !escaped_last {
            bytes.len() - 1
        } else {
            bytes.len()
        };
        if self.fields > 0 || from < end {
            self.slow_field(from, end.max(from), notation);
            self.end_record(end);
        }
    }

    fn slow_field(&mut self, from: usize, to: usize, notation: bool) {
        if notation || !self.block.intact {
            self.decoded_field(Span {
                from,
                to,
                special: true,
            });
        } else {
            self.plain_value(from, to);
        }
    }

    fn finish(self) -> Parsed {
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

/// Text behind a closing quote.
struct Junk;

/// A field's value: the notation taken off.
fn decode(field: &[u8], dialect: Dialect) -> Result<Cow<'_, [u8]>, Junk> {
    let mut machine = Machine::default();
    let mut value = Vec::with_capacity(field.len());
    for &byte in field {
        match machine.step(byte, dialect) {
            Meaning::Value => value.push(byte),
            Meaning::Notation => {}
            Meaning::Junk => return Err(Junk),
            // A field that was split rightly holds none outside quotes.
            Meaning::Delimiter | Meaning::Newline => value.push(byte),
        }
    }
    Ok(Cow::Owned(value))
}

/// The fields of one record, by the machine.
fn slow_spans(record: &[u8], dialect: Dialect) -> Vec<Span> {
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

enum Builder<'a> {
    String(SliceBuilder<'a>),
    Int(Numbers<i64>),
    Float(Numbers<f64>),
    Bool(Numbers<bool>),
}

struct Numbers<T> {
    values: Vec<T>,
    validity: MutableBitmap,
    nulls: bool,
}

impl<T: Default> Numbers<T> {
    fn new(rows: usize) -> Self {
        Numbers {
            values: Vec::with_capacity(rows),
            validity: MutableBitmap::with_capacity(rows),
            nulls: false,
        }
    }

    fn push(&mut self, value: Option<T>) {
        self.validity.push(value.is_some());
        self.nulls |= value.is_none();
        self.values.push(value.unwrap_or_default());
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        while self.validity.len() > rows {
            self.validity.pop();
        }
    }
}

impl<'a> Builder<'a> {
    fn new(target: Target, text: &'a str, rows: usize) -> Self {
        match target {
            Target::String => Builder::String(SliceBuilder::new(text, rows)),
            Target::Int => Builder::Int(Numbers::new(rows)),
            Target::Float => Builder::Float(Numbers::new(rows)),
            Target::Bool => Builder::Bool(Numbers::new(rows)),
        }
    }

    #[inline]
    fn null(&mut self) {
        match self {
            Builder::String(strings) => strings.push_null(),
            Builder::Int(numbers) => numbers.push(None),
            Builder::Float(numbers) => numbers.push(None),
            Builder::Bool(numbers) => numbers.push(None),
        }
    }

    /// Appends a value; `false` if it is none of this type.
    #[inline]
    fn value(&mut self, value: &str) -> bool {
        let fits = match self {
            Builder::String(strings) => {
                strings.push_owned(value);
                return true;
            }
            Builder::Int(numbers) => parse_int(value).map(|number| numbers.push(Some(number))),
            Builder::Float(numbers) => parse_float(value).map(|number| numbers.push(Some(number))),
            Builder::Bool(numbers) => parse_bool(value).map(|truth| numbers.push(Some(truth))),
        };
        fits.is_some()
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Builder::String(strings) => strings.truncate(rows),
            Builder::Int(numbers) => numbers.truncate(rows),
            Builder::Float(numbers) => numbers.truncate(rows),
            Builder::Bool(numbers) => numbers.truncate(rows),
        }
    }

    fn finish(self, text: &Buffer<u8>) -> Column {
        match self {
            Builder::String(strings) => strings.finish(text),
            Builder::Int(numbers) => Column::from_ints(
                numbers.values,
                numbers.nulls.then(|| numbers.validity.freeze()),
            ),
            Builder::Float(numbers) => Column::from_floats(
                numbers.values,
                numbers.nulls.then(|| numbers.validity.freeze()),
            ),
            Builder::Bool(numbers) => Column::from_bools(
                &numbers.values,
                numbers.nulls.then(|| numbers.validity.freeze()),
            ),
        }
    }
}

/// `[+-]?[0-9]+` in 64 bits.
pub fn parse_int(text: &str) -> Option<i64> {
    // Rust's parser takes just this notation.
    text.parse().ok()
}

/// Decimal or exponent, finite.
pub fn parse_float(text: &str) -> Option<f64> {
    // Rust's parser also takes words: `nan`, `inf`, `infinity`.
    let notation =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
    if !text.bytes().all(notation) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// true/false/t/f/1/0
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "t" | "1" => Some(true),
        "false" | "f" | "0" => Some(false),
        _ => None,
    }
}
