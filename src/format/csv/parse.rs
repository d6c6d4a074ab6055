//! Parsing: a block of whole records into columns.

use std::borrow::Cow;

use encoding_rs::Encoding;
use polars_buffer::Buffer;
use serde::{Deserialize, Serialize};

use super::Dialect;
use super::machine::{Machine, Meaning};
use super::masks::{Carry, WIDTH, masks};
use super::values::Builder;
use crate::columns::Column;
use crate::schema::count;

/// More columns than this are an error: each costs some 2 kB in every block that is parsed, and no file
/// that is meant so has that many.
pub const COLUMNS_MAX: usize = 1 << 16;

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
    fn as_str(self) -> &'static str {
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
    /// Values that mean null, decoded, or as they stand in a field without quotes.
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
        let block = self.block(bytes);
        block.parse_fast().unwrap_or_else(|Odd| block.parse_slow())
    }

    /// The slow twin of [`Parser::parse`], one byte at a time: what it must agree with.
    pub fn parse_slow(&self, bytes: Buffer<u8>) -> Parsed {
        self.block(bytes).parse_slow()
    }

    fn block(&self, bytes: Buffer<u8>) -> Block<'_> {
        let (bytes, intact) = if self.encoding == encoding_rs::UTF_8 {
            let intact = simdutf8::basic::from_utf8(&bytes).is_ok();
            (bytes, intact)
        } else if bytes.is_ascii() {
            (bytes, true)
        } else {
            let (text, faulty) = self.encoding.decode_without_bom_handling(&bytes);
            (text.into_owned().into_bytes().into(), !faulty)
        };
        Block {
            parser: self,
            bytes,
            intact,
        }
    }

    fn is_null(&self, value: &str) -> bool {
        self.null_values.iter().any(|null| null == value)
    }

    /// The names of a header line, read as any record is, or why it is none.
    pub fn header(&self, line: &[u8]) -> Result<Vec<String>, String> {
        let columns = field_count(line, self.dialect);
        if columns > COLUMNS_MAX {
            return Err(format!(
                "{columns} columns, {COLUMNS_MAX} is the most that a file may have"
            ));
        }
        let parser = Parser {
            targets: vec![Target::String; columns],
            null_values: Vec::new(),
            ..self.clone()
        };
        let parsed = parser.parse_slow(line.to_vec().into());
        if let Some(fault) = parsed.faults.into_iter().next() {
            return Err(fault.reason);
        }
        let name = |column: &Column| column.strings().get(0).unwrap_or_default().to_owned();
        Ok(parsed.columns.iter().map(name).collect())
    }

    /// The fields of a record, decoded, as a faulty record is shown; `None` is null.
    fn fields(&self, record: &[u8]) -> Vec<Option<String>> {
        let shown = |span: Span| {
            let raw = &record[span.from..span.to];
            let value = decode(raw, self.dialect).unwrap_or(Cow::Borrowed(raw));
            let value = String::from_utf8_lossy(&value).into_owned();
            (!self.is_null(&value) && !self.is_raw_null(raw)).then_some(value)
        };
        let spans = slow_spans(record, self.dialect).into_iter();
        spans.map(shown).collect()
    }

    /// Whether a field that holds notation means null as its bytes stand: `\N` under an escape.
    fn is_raw_null(&self, raw: &[u8]) -> bool {
        let quoted = raw
            .first()
            .is_some_and(|first| self.dialect.quote == Some(*first));
        !quoted && self.null_values.iter().any(|null| null.as_bytes() == raw)
    }
}

/// The text of a block and whether all of it is text.
struct Block<'a> {
    parser: &'a Parser,
    bytes: Buffer<u8>,
    intact: bool,
}

impl Block<'_> {
    /// A text that is not intact is sliced nowhere: its good values are copied.
    fn text(&self) -> &str {
        if self.intact {
            std::str::from_utf8(&self.bytes).unwrap_or_default()
        } else {
            ""
        }
    }

    fn parse_fast(&self) -> Result<Parsed, Odd> {
        if !self.intact {
            return Err(Odd);
        }
        let mut table = Table::new(self, self.text());
        table.read_fast()?;
        Ok(table.finish())
    }

    fn parse_slow(&self) -> Parsed {
        let mut table = Table::new(self, self.text());
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
            // No newline: a CR here is a character.
            self.field(Span {
                to: bytes.len(),
                ..field
            })?;
            self.end_record(bytes.len());
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
            let reason = not_text(self.block.parser.encoding);
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
        let word = self.block.parser.targets[at].as_str();
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
                });
            }
        }
    }

    fn end_record(&mut self, end: usize) {
        let wanted = self.builders.len();
        if self.fault.is_none() && self.fields != wanted {
            let found = self.fields;
            let reason = format!("expected {}, found {found}", count(wanted, "field"));
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
        let end = bytes.len();
        if self.fields > 0 || from < end {
            self.slow_field(from, end, notation);
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
            Meaning::Notation => {}
            Meaning::Junk => return Err(Junk),
            // A field that was split rightly holds none outside quotes.
            Meaning::Value | Meaning::Delimiter | Meaning::Newline => value.push(byte),
        }
    }
    Ok(Cow::Owned(value))
}

/// What is wrong with bytes that are not text, and what they may be.
fn not_text(encoding: &'static Encoding) -> String {
    let reason = format!("bytes that are not {}", encoding.name());
    if encoding != encoding_rs::UTF_8 {
        return reason;
    }
    format!("{reason}; is `encoding` windows-1252 (latin1), windows-1250 or the like?")
}

/// How many fields a text of one record holds.
fn field_count(record: &[u8], dialect: Dialect) -> usize {
    let mut machine = Machine::default();
    let delimits = |byte: &&u8| machine.step(**byte, dialect) == Meaning::Delimiter;
    1 + record.iter().filter(delimits).count()
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

#[cfg(test)]
mod tests {
    use super::super::values::{parse_float, parse_int};
    use super::*;

    fn parser(escape: bool, targets: &[Target]) -> Parser {
        Parser {
            dialect: Dialect {
                delimiter: b',',
                quote: Some(b'"'),
                escape: escape.then_some(b'\\'),
            },
            targets: targets.to_vec(),
            null_values: vec![String::new()],
            encoding: encoding_rs::UTF_8,
        }
    }

    fn rows(parsed: &Parsed) -> Vec<Vec<Option<String>>> {
        let text = |column: &Column, row: usize| column.strings().get(row).map(str::to_owned);
        (0..parsed.rows)
            .map(|row| {
                parsed
                    .columns
                    .iter()
                    .map(|column| text(column, row))
                    .collect()
            })
            .collect()
    }

    proptest::proptest! {
        #[test]
        fn fast_and_slow_agree(
            // Mostly well-formed, so that the fast half is not given up at once.
            fields in proptest::collection::vec(
                proptest::sample::select(vec![
                    "", "a", "\"\"", "\"b\"", "\"c,d\"", "\"e\nf\"", "\"g\"\"h\"", "\"\"\"\"", "\"i\\\"j\"", "k\\,l", "é☃", "\"a longer value than fits a view\"",
                    "m\rn", "\\\\", "\"o\\\\\"", "p\"q", "\"r\"s", "\"t\"\\", "\\\r",
                ]),
                0..80,
            ),
            ends in proptest::collection::vec(proptest::sample::select(vec![",", ",", "\n", "\n", "\r\n", "\n\n"]), 80),
            escape in proptest::bool::ANY,
        ) {
            let mut text = String::new();
            for (field, end) in fields.iter().zip(&ends) {
                text.push_str(field);
                text.push_str(end);
            }
            let parser = parser(escape, &[Target::String; 2]);
            let fast = parser.parse(text.as_bytes().to_vec().into());
            let slow = parser.parse_slow(text.as_bytes().to_vec().into());
            proptest::prop_assert_eq!(rows(&fast), rows(&slow));
            proptest::prop_assert_eq!(fast.faults, slow.faults);
        }
    }

    /// Text, escape, good rows, and record, column and reason of each fault.
    type Case = (
        &'static [u8],
        bool,
        &'static [[Option<&'static str>; 2]],
        &'static [(usize, Option<usize>, &'static str)],
    );

    #[test]
    fn records_become_rows_or_faults() {
        let cases: &[Case] = &[
            (b"a,b\n", false, &[[Some("a"), Some("b")]], &[]),
            (b"a,b", false, &[[Some("a"), Some("b")]], &[]),
            (
                b"a,b\r\n\r\n\nc,\n",
                false,
                &[[Some("a"), Some("b")], [Some("c"), None]],
                &[],
            ),
            (
                b"\"a\"\"b\",\"x\ny\"\n",
                false,
                &[[Some("a\"b"), Some("x\ny")]],
                &[],
            ),
            (b"a\\,b,\\\"c\n", true, &[[Some("a,b"), Some("\"c")]], &[]),
            (b"a\\,b\n", false, &[[Some("a\\"), Some("b")]], &[]),
            (
                b"5\" pipe,\"6\"\n",
                false,
                &[[Some("5\" pipe"), Some("6")]],
                &[],
            ),
            (
                b"a\nb,c\nd,e,f\n",
                false,
                &[[Some("b"), Some("c")]],
                &[
                    (0, None, "expected 2 fields, found 1"),
                    (2, None, "expected 2 fields, found 3"),
                ],
            ),
            (
                b"\"a\"x,b\nc,d\n",
                false,
                &[[Some("c"), Some("d")]],
                &[(0, Some(0), "text after a closing quote")],
            ),
            (
                b"a,\xFF\nc,d\n",
                false,
                &[[Some("c"), Some("d")]],
                &[(
                    0,
                    Some(1),
                    "bytes that are not UTF-8; is `encoding` windows-1252 (latin1), windows-1250 or the like?",
                )],
            ),
        ];
        for (text, escape, good, faults) in cases {
            let parsed = parser(*escape, &[Target::String; 2]).parse(text.to_vec().into());
            let good: Vec<Vec<Option<String>>> = good
                .iter()
                .map(|row| row.iter().map(|value| value.map(str::to_owned)).collect())
                .collect();
            let shown = String::from_utf8_lossy(text);
            assert_eq!(rows(&parsed), good, "{shown:?}");
            let found: Vec<_> = parsed
                .faults
                .iter()
                .map(|fault| (fault.record, fault.column, fault.reason.as_str()))
                .collect();
            assert_eq!(found, *faults, "{shown:?}");
        }
    }

    #[test]
    fn a_fault_says_where_and_what() {
        let parsed = parser(false, &[Target::Int, Target::Float])
            .parse(b"1,2.5\nx,y\n-7,1e3\n".to_vec().into());
        assert_eq!(parsed.rows, 2);
        assert_eq!(
            parsed.faults,
            [Fault {
                record: 1,
                byte: 6,
                reason: "expected int, found `x`".into(),
                column: Some(0),
                value: Some("x".into()),
                record_text: RecordText::Fields(vec![Some("x".into()), Some("y".into())]),
            }]
        );
    }

    #[test]
    fn numbers_are_read_strictly() {
        for (text, int) in [
            ("0", Some(0)),
            ("+7", Some(7)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("1.0", None),
            (" 1", None),
            ("", None),
            ("+", None),
        ] {
            assert_eq!(parse_int(text), int, "{text:?}");
        }
        for (text, float) in [
            ("1", Some(1.0)),
            ("-.5", Some(-0.5)),
            ("2.5E-3", Some(0.0025)),
            ("nan", None),
            ("inf", None),
            ("1e999", None),
            ("0x1", None),
            ("1_0", None),
            ("", None),
        ] {
            assert_eq!(parse_float(text), float, "{text:?}");
        }
    }

    #[test]
    fn a_single_byte_encoding_is_decoded_and_offsets_are_those_of_the_file() {
        let latin = Parser {
            encoding: encoding_rs::WINDOWS_1252,
            ..parser(false, &[Target::String, Target::Int])
        };
        let parsed = latin.parse(b"caf\xE9,1\n\xFC,x\n".to_vec().into());
        assert_eq!(parsed.columns[0].strings().value(0), "caf\u{e9}");
        assert_eq!(
            (parsed.faults[0].byte, parsed.faults[0].value.as_deref()),
            (7, Some("x"))
        );
        let greek = Parser {
            encoding: encoding_rs::WINDOWS_1253,
            ..latin
        };
        let parsed = greek.parse(b"\xAA,1\n\xE1,2\n".to_vec().into());
        assert_eq!(parsed.faults[0].reason, "bytes that are not windows-1253");
        assert_eq!(parsed.columns[0].strings().value(0), "\u{3b1}");
    }
}
