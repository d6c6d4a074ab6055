//! Options that together say how a text is read: the dialect, how numbers are written, the encoding. What
//! contradicts itself is refused here.

use encoding_rs::Encoding;

use super::options::{HeaderDiffers, Options};
use crate::error::{Error, Result};
use crate::format::csv::numbers::Notation;
use crate::format::csv::{Dialect, EscapeWhere};
use crate::meant::nearest;

/// Labels that may be meant by one that is unknown; there are some 200.
const LABELS: [&str; 37] = [
    "utf-8",
    "utf-16",
    "utf-16le",
    "utf-16be",
    "shift_jis",
    "euc-jp",
    "iso-2022-jp",
    "gbk",
    "gb18030",
    "big5",
    "euc-kr",
    "latin1",
    "latin2",
    "ascii",
    "iso-8859-1",
    "iso-8859-2",
    "iso-8859-3",
    "iso-8859-4",
    "iso-8859-5",
    "iso-8859-6",
    "iso-8859-7",
    "iso-8859-8",
    "iso-8859-9",
    "iso-8859-15",
    "iso-8859-16",
    "koi8-r",
    "koi8-u",
    "macintosh",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "windows-1253",
    "windows-1254",
    "windows-1255",
    "windows-1256",
    "windows-1257",
    "windows-1258",
];

/// Whether a label of UTF-16 says in which order the two bytes of a character stand: `utf-16` does not, although the
/// standard takes it for `utf-16le`.
pub(super) fn names_byte_order(label: &str) -> bool {
    let label = label.trim().to_ascii_lowercase();
    label.ends_with("le") || label.ends_with("be")
}

/// What one option holds that must be one byte of the text's structure.
fn byte(key: &str, text: &str) -> Result<u8> {
    match text.as_bytes() {
        [byte] if !matches!(byte, 0 | b'\n' | b'\r') => Ok(*byte),
        _ => Err(Error::usage(format!(
            "`{key}` must be one byte, found `{}`",
            text.escape_debug()
        ))
        .of([key])),
    }
}

impl Options {
    pub(super) fn dialect(&self) -> Result<Dialect> {
        let optional = |key: &str, text: &Option<String>| {
            text.as_deref().map(|text| byte(key, text)).transpose()
        };
        let dialect = Dialect {
            escape_where: self.escape_where,
            comment: optional("comment", &self.comment)?,
            trim: self.trim,
            ..Dialect::new(
                byte("delimiter", self.delimiter.as_deref().unwrap_or(","))?,
                match self.quote.as_str() {
                    "" => None,
                    quote => Some(byte("quote", quote)?),
                },
                optional("escape", &self.escape)?,
            )
        };
        if dialect.quote == Some(dialect.delimiter) || dialect.escape == Some(dialect.delimiter) {
            return Err(
                Error::usage("`delimiter`, `quote` and `escape` must differ")
                    .of(["delimiter"])
                    .of(["quote"])
                    .of(["escape"]),
            );
        }
        let others = [
            ("delimiter", Some(dialect.delimiter)),
            ("quote", dialect.quote),
            ("escape", dialect.escape),
        ];
        let same = |(_, other): &(&str, Option<u8>)| other.is_some() && *other == dialect.comment;
        if let Some((other, _)) = others.into_iter().find(same) {
            return Err(Error::usage(format!("`comment` and `{other}` must differ"))
                .of(["comment"])
                .of([other]));
        }
        let blank =
            |(_, byte): &(&str, Option<u8>)| byte.is_some_and(|byte| dialect.is_blank(byte));
        let all = others.into_iter().chain([("comment", dialect.comment)]);
        if let Some((key, _)) = all.into_iter().find(blank) {
            return Err(
                Error::usage(format!("`{key}` is a blank, and `trim` takes blanks away"))
                    .of([key])
                    .of(["trim"]),
            );
        }
        if dialect.escape_where == EscapeWhere::Quoted {
            if dialect.escape.is_some() && dialect.escape == dialect.quote {
                return Err(Error::usage(
                    "`escape_where` = `quoted` means nothing where `escape` is `quote`",
                )
                .hint("leave out both: two quotes inside quotes are one anyway")
                .of(["escape_where"])
                .of(["escape"]));
            }
            let lacks = match (dialect.escape, dialect.quote) {
                (None, _) => "escape",
                (_, None) => "quote",
                _ => return Ok(dialect),
            };
            return Err(Error::usage(format!(
                "`escape_where` = `quoted` means nothing without `{lacks}`"
            ))
            .of(["escape_where"])
            .of([lacks]));
        }
        Ok(dialect)
    }

    /// How numbers are written.
    pub(super) fn notation(&self) -> Result<Notation> {
        let character = |key: &str, text: &str| {
            let mut characters = text.chars();
            match (characters.next(), characters.next()) {
                (Some(one), None) if !one.is_alphanumeric() && !"+-\0\r\n".contains(one) => Ok(one),
                _ => Err(Error::usage(format!(
                    "`{key}` must be one character, and no letter, digit or sign, found `{}`",
                    text.escape_debug()
                ))
                .of([key])),
            }
        };
        let thousands = self.thousands.as_deref();
        let notation = Notation {
            decimal: character("decimal", &self.decimal)?,
            thousands: thousands
                .map(|text| character("thousands", text))
                .transpose()?,
        };
        if notation.thousands == Some(notation.decimal) {
            return Err(Error::usage("`decimal` and `thousands` must differ")
                .hint("for numbers such as `1.234,50`, write `decimal = \",\"` and `thousands = \".\"`")
                .of(["decimal"])
                .of(["thousands"]));
        }
        Ok(notation)
    }

    /// What the files are in, if it is said.
    pub(super) fn encoding(&self) -> Result<Option<&'static Encoding>> {
        let Some(label) = &self.encoding else {
            return Ok(None);
        };
        // Some labels stand for encodings that no program should read, as the standard has it.
        let encoding = Encoding::for_label_no_replacement(label.as_bytes()).ok_or_else(|| {
            let error = format!("`encoding`: no encoding is labelled `{label}`");
            let labels = "WHATWG labels: utf-8, utf-16, latin1, windows-1250, shift_jis, gbk, ...";
            let hint = match nearest(label, LABELS) {
                Some(near) => format!("did you mean `{near}`? {labels}"),
                None => labels.into(),
            };
            Error::usage(error).hint(hint).of(["encoding"])
        })?;
        Ok(Some(encoding))
    }

    /// Refuses to find columns by name in files without a header.
    pub(super) fn refuse_without_header(&self) -> Result<()> {
        if self.header_differs == HeaderDiffers::Error || self.columns.is_none() {
            return Ok(());
        }
        Err(Error::usage(
            "`header_differs` = `by_name` finds columns by the files' headers, and `columns` says that they have none",
        )
        .hint("leave out `columns`, or `header_differs`")
        .of(["columns"])
        .of(["header_differs"]))
    }
}
