//! CSV with escapes: splitting text into whole records, and parsing blocks of records into columns.
//!
//! A field may be quoted or not; inside quotes `""` is a quote; the escape takes the next character
//! literally, quoted or not; a quote inside an unquoted field is a character; newlines inside quotes
//! belong to the value. CRLF or LF ends a record, a lone CR is a character, empty lines are skipped.
//! A [`Dialect`] may change this: comments, blanks that do not count, escapes inside quotes only.
//!
//! Both halves look at 64 bytes at a time ([`masks`]) and assume that a quote stands at the border
//! of a field or is doubled. Where that does not hold, [`machine`], one byte at a time, says what is
//! right; tests make both agree.

pub mod lanes;
pub mod machine;
pub mod masks;
pub mod numbers;
pub mod parse;
pub mod split;
mod table;
pub mod values;
pub mod write;

/// The bytes that structure the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Between fields.
    pub delimiter: u8,
    /// Around a field; `None`: fields are not quoted.
    pub quote: Option<u8>,
    /// Takes the next character literally.
    pub escape: Option<u8>,
    /// Where it does so.
    pub escape_where: EscapeWhere,
    /// A line that begins with it, where a record would begin, is skipped.
    pub comment: Option<u8>,
    /// Whether blanks around a value count for nothing, unless they are quoted.
    pub trim: bool,
}

/// Where an escape is one.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum EscapeWhere {
    /// Quoted or not.
    #[default]
    Anywhere,
    /// Inside quotes; elsewhere it is a character.
    Quoted,
}

impl Dialect {
    /// A dialect without comments, in which blanks count and an escape is one anywhere.
    pub const fn new(delimiter: u8, quote: Option<u8>, escape: Option<u8>) -> Self {
        Dialect {
            delimiter,
            quote,
            escape,
            escape_where: EscapeWhere::Anywhere,
            comment: None,
            trim: false,
        }
    }

    /// Whether it is one that [`Dialect::new`] makes: the hot loops leave the rest out then.
    pub fn is_simple(self) -> bool {
        self.escape_where == EscapeWhere::Anywhere && self.comment.is_none() && !self.trim
    }

    /// The escape, unless it is the quote: in `"a""b"` doubling is the rule that applies.
    fn own_escape(self) -> Option<u8> {
        self.escape.filter(|escape| self.quote != Some(*escape))
    }

    /// Whether a byte is a blank that counts for nothing around a value.
    pub fn is_blank(self, byte: u8) -> bool {
        self.trim && matches!(byte, b' ' | b'\t') && byte != self.delimiter
    }

    /// A field without the blanks around it that do not count.
    fn trimmed(self, mut field: &[u8]) -> &[u8] {
        while let [first, rest @ ..] = field
            && self.is_blank(*first)
        {
            field = rest;
        }
        while let [rest @ .., last] = field
            && self.is_blank(*last)
        {
            field = rest;
        }
        field
    }

    /// Whether a line holds nothing. Without a newline, a CR at its end is a character.
    pub(super) fn is_empty_line(self, line: &[u8]) -> bool {
        let line = match line.strip_suffix(b"\n") {
            Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
            None => line,
        };
        line.iter().all(|&byte| self.is_blank(byte))
    }
}
