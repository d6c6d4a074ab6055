//! CSV with escapes: splitting text into whole records, and parsing blocks of records into columns.
//!
//! A field may be quoted or not; inside quotes `""` is a quote; the escape takes the next character
//! literally, quoted or not; a quote inside an unquoted field is a character; newlines inside quotes
//! belong to the value. CRLF or LF ends a record, a lone CR is a character, empty lines are skipped.
//!
//! Both halves look at 64 bytes at a time ([`masks`]) and assume that a quote stands at the border
//! of a field or is doubled. Where that does not hold, [`machine`], one byte at a time, says what is
//! right; tests make both agree.

pub mod lanes;
pub mod machine;
pub mod masks;
pub mod parse;
pub mod split;
mod table;
pub mod values;
pub mod write;

/// The bytes that structure the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Dialect {
    /// Between fields.
    pub delimiter: u8,
    /// Around a field; `None`: fields are not quoted.
    pub quote: Option<u8>,
    /// Takes the next character literally.
    pub escape: Option<u8>,
}
