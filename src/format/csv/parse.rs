//! Parsing: a block of whole records into columns.

use std::borrow::Cow;

use encoding_rs::Encoding;
use polars_buffer::Buffer;
use serde::{Deserialize, Serialize};

use super::Dialect;
use super::numbers::Notation;
use super::table::{Odd, Span, Table, decode, field_count, slow_spans};
use crate::columns::Column;
use crate::format::json::raw;
use crate::schema::{Field, Type};

/// More columns than this are an error: each costs some 2 kB in every block that is parsed, and no file
/// that is meant so has that many.
pub const COLUMNS_MAX: usize = 1 << 16;

/// What a value is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// A JSON value, as it stands; JSON's `null` is null.
    Json,
}

impl Target {
    /// The word users see for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Target::String => "string",
            Target::Int => "int",
            Target::Float => "float",
            Target::Bool => "bool",
            Target::Json => "JSON",
        }
    }

    /// What `value` is not and should be, in words.
    pub fn expected(self, value: &str) -> Cow<'static, str> {
        if self == Target::Json && raw::check(value).is_ok() && raw::is_too_deep(value) {
            let levels = raw::VALUE_DEPTH_MAX;
            return format!("JSON of at most {levels} levels of lists and objects").into();
        }
        self.as_str().into()
    }

    /// The column that it gives.
    pub fn field(self, name: impl Into<String>) -> Field {
        let ty = match self {
            Target::String | Target::Json => Type::String,
            Target::Int => Type::Int,
            Target::Float => Type::Float,
            Target::Bool => Type::Bool,
        };
        Field {
            json: self == Target::Json,
            ..Field::new(name, ty)
        }
    }

    /// What gives this column.
    pub fn of(field: &Field) -> Target {
        match field.ty {
            Type::Int => Target::Int,
            Type::Float => Target::Float,
            Type::Bool => Target::Bool,
            _ if field.json => Target::Json,
            _ => Target::String,
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
    /// What blocks are in: a single-byte encoding, or UTF-8.
    pub encoding: &'static Encoding,
    /// What the file is in: the same, or what was decoded to UTF-8 before it was cut into blocks.
    pub file_encoding: &'static Encoding,
    /// How numbers are written.
    pub notation: Notation,
    /// Whether a record with too few fields is filled up with nulls.
    pub fill_short: bool,
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
    /// Whether the value is not text in the encoding.
    pub not_text: bool,
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

impl Parser {
    /// A parser of UTF-8 without options.
    pub fn new(dialect: Dialect, targets: Vec<Target>) -> Self {
        Parser {
            dialect,
            targets,
            null_values: vec![String::new()],
            encoding: encoding_rs::UTF_8,
            file_encoding: encoding_rs::UTF_8,
            notation: Notation::default(),
            fill_short: false,
        }
    }

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

    pub(super) fn is_null(&self, value: &str) -> bool {
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
            fill_short: false,
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
    pub(super) fn fields(&self, record: &[u8]) -> Vec<Option<String>> {
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
    pub(super) fn is_raw_null(&self, raw: &[u8]) -> bool {
        let raw = self.dialect.trimmed(raw);
        let quoted = raw
            .first()
            .is_some_and(|first| self.dialect.quote == Some(*first));
        !quoted && self.null_values.iter().any(|null| null.as_bytes() == raw)
    }
}

/// The text of a block and whether all of it is text.
pub(super) struct Block<'a> {
    pub(super) parser: &'a Parser,
    pub(super) bytes: Buffer<u8>,
    pub(super) intact: bool,
}

impl Block<'_> {
    /// A text that is not intact is sliced nowhere: its good values are copied.
    pub(super) fn text(&self) -> &str {
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
        if self.parser.dialect.is_simple() {
            table.read_fast::<true>()?;
        } else {
            table.read_fast::<false>()?;
        }
        Ok(table.finish())
    }

    fn parse_slow(&self) -> Parsed {
        let mut table = Table::new(self, self.text());
        table.read_slow();
        table.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::EscapeWhere;
    use super::super::values::{parse_float, parse_int};
    use super::*;

    fn parser(escape: bool, targets: &[Target]) -> Parser {
        let dialect = Dialect::new(b',', Some(b'"'), escape.then_some(b'\\'));
        Parser::new(dialect, targets.to_vec())
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
                    " ", " u", "v\t", " \"w\"", "\"x\" ", " \" y \"  ", "\\ ", "z\\ ", "#", "# \"a", "\"b\" c", "\"d\" \"e\"",
                ]),
                0..80,
            ),
            ends in proptest::collection::vec(proptest::sample::select(vec![",", ",", "\n", "\n", "\r\n", "\n\n"]), 80),
            [escape, quoted_only, comment, trim, fill_short]: [bool; 5],
        ) {
            let mut text = String::new();
            for (field, end) in fields.iter().zip(&ends) {
                text.push_str(field);
                text.push_str(end);
            }
            let mut parser = parser(escape, &[Target::String; 2]);
            parser.fill_short = fill_short;
            parser.dialect = Dialect {
                escape_where: if quoted_only { EscapeWhere::Quoted } else { EscapeWhere::Anywhere },
                comment: comment.then_some(b'#'),
                trim,
                ..parser.dialect
            };
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
                &[(0, Some(1), "bytes that are not UTF-8")],
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

    /// What is changed of the parser, a text, good rows and reasons of faults.
    type OtherCase = (
        fn(&mut Parser),
        &'static str,
        &'static [[Option<&'static str>; 2]],
        &'static [&'static str],
    );

    #[test]
    fn a_dialect_says_what_else_counts_for_nothing() {
        let cases: &[OtherCase] = &[
            (
                |parser| parser.dialect.trim = true,
                " a ,\t\" b \" \r\n \n  ,c\\ \n\"d\" e,\n",
                &[[Some("a"), Some(" b ")], [None, Some("c ")]],
                &["text after a closing quote"],
            ),
            (
                |parser| parser.dialect.comment = Some(b'#'),
                "# it's \"\n#,\na,#\n\"#\",\n",
                &[[Some("a"), Some("#")], [Some("#"), None]],
                &[],
            ),
            (
                |parser| parser.dialect.escape_where = EscapeWhere::Quoted,
                "C:\\a\\,\"\\\"\"\n",
                &[[Some("C:\\a\\"), Some("\"")]],
                &[],
            ),
            (
                |parser| parser.fill_short = true,
                "a\nb,c\nd,e,f\n",
                &[[Some("a"), None], [Some("b"), Some("c")]],
                &["expected 2 fields, found 3"],
            ),
            (
                |parser| parser.null_values = vec!["\\N".into()],
                "\\N,\"\\N\"\n,\n",
                &[[None, Some("N")], [Some(""), Some("")]],
                &[],
            ),
            (
                |parser| {
                    parser.null_values = vec!["\\N".into()];
                    parser.dialect.escape_where = EscapeWhere::Quoted;
                },
                "\\N,\"\\N\"\n",
                &[[None, Some("N")]],
                &[],
            ),
        ];
        for (change, text, good, reasons) in cases {
            let mut parser = parser(true, &[Target::String; 2]);
            change(&mut parser);
            for parsed in [
                parser.parse(text.as_bytes().to_vec().into()),
                parser.parse_slow(text.as_bytes().to_vec().into()),
            ] {
                let good: Vec<Vec<Option<String>>> = good
                    .iter()
                    .map(|row| row.iter().map(|value| value.map(str::to_owned)).collect())
                    .collect();
                assert_eq!(rows(&parsed), good, "{text:?}");
                let found: Vec<_> = parsed
                    .faults
                    .iter()
                    .map(|fault| fault.reason.as_str())
                    .collect();
                assert_eq!(found, *reasons, "{text:?}");
            }
        }
    }

    #[test]
    fn json_stands_as_it_is_and_must_be_json() {
        let parser = parser(false, &[Target::Json]);
        let text = "\" {\"\"a\"\": 1.10,\n \"\"b\"\": []}\"\n123456789012345678901234567890\nnull\n{\n\"\"\"\\ud800\"\"\"\n1 2\n";
        let parsed = parser.parse(text.as_bytes().to_vec().into());
        let column = parsed.columns[0].strings();
        let values: Vec<_> = (0..parsed.rows).map(|row| column.get(row)).collect();
        assert_eq!(
            values,
            [
                Some("{\"a\": 1.10,  \"b\": []}"),
                Some("123456789012345678901234567890"),
                None
            ]
        );
        let reasons: Vec<_> = parsed
            .faults
            .iter()
            .map(|fault| fault.reason.as_str())
            .collect();
        assert_eq!(
            reasons,
            [
                "expected JSON, found `{`",
                r#"expected JSON, found `"\ud800"`"#,
                "expected JSON, found `1 2`"
            ]
        );
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
                not_text: false,
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
            file_encoding: encoding_rs::WINDOWS_1252,
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
            file_encoding: encoding_rs::WINDOWS_1253,
            ..latin
        };
        let parsed = greek.parse(b"\xAA,1\n\xE1,2\n".to_vec().into());
        assert_eq!(parsed.faults[0].reason, "bytes that are not windows-1253");
        assert_eq!(parsed.columns[0].strings().value(0), "\u{3b1}");
    }
}
