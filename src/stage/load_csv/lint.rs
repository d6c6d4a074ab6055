//! Options that read a file and hardly mean it: `columns` over a file that has a header line, a delimiter
//! that splits nothing, an encoding over UTF-8 or none over UTF-16, and a notation of numbers where no
//! column is one. Only the beginning of the first file is read for that.

use std::sync::Arc;

use encoding_rs::{Encoding, UTF_8};

use super::{LoadCsv, Opened};
use crate::format::csv::parse::{Parser, Target};
use crate::format::text_encoding;
use crate::place::{Place, Seen};
use crate::shown;
use crate::stage::Folder;
use crate::stop::Stop;

/// What stands between fields in most files.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// So much of a word is shown that is read as another encoding.
const WORD_CHARS_MAX: usize = 20;

impl LoadCsv {
    /// What is doubtful; nothing about files that cannot be read, since the run reports those.
    pub(super) fn lint_files(&self, folder: &Folder) -> Vec<String> {
        let warnings = self.find_warnings(folder).unwrap_or_default();
        let notation = self.lint_notation();
        warnings.into_iter().flatten().chain(notation).collect()
    }

    /// Whether it is said how numbers are written, and no column is one.
    fn lint_notation(&self) -> Option<String> {
        let is_number = |target: &Target| matches!(target, Target::Int | Target::Float);
        let has_numbers = self.types.iter().any(|(_, target)| is_number(target));
        (!self.notation.is_plain() && !has_numbers).then(|| {
            "`decimal` and `thousands` tell how columns of type `int` and `float` are written, and `types` has none"
                .to_owned()
        })
    }

    fn find_warnings(&self, folder: &Folder) -> Option<[Option<String>; 2]> {
        let stop = Stop::of_signals();
        let path = &self.files.first(folder, &stop).ok()?;
        if path.is_once() {
            let begun = self.lock_begun();
            let (_, opened) = begun.as_ref()?;
            return Some(lint_opened(path, opened));
        }
        let seen = Seen::of(path).ok()?.0;
        let opened = self.open_file(&seen, Arc::default(), &stop);
        let opened = opened.ok()?;
        let Some(columns) = &self.columns else {
            return Some(lint_opened(path, &opened));
        };
        let (mut splitter, encoding) = (opened.splitter, opened.encoding);
        let first = splitter.header().ok()??;
        let parser = Parser {
            dialect: splitter.dialect(),
            ..self.parser(Vec::new(), encoding)
        };
        let first_fields = parser.header(&first).ok();
        Some([
            first_fields.and_then(|first| self.lint_columns(path, columns, &first)),
            lint_encoding(path, &[&first, splitter.rest()].concat(), encoding),
        ])
    }

    /// Whether the first record repeats the names in `columns`.
    fn lint_columns(&self, path: &Place, columns: &[String], first: &[String]) -> Option<String> {
        let alike = |(field, column): (&String, &String)| {
            let letters = letters(field);
            !letters.is_empty() && letters == self::letters(column)
        };
        let repeats = first.len() == columns.len() && first.iter().zip(columns).all(alike);
        repeats.then(|| {
            format!(
                "the first record of `{path}` repeats the names in `columns` and is loaded as data; if it is the header \
                 line, leave out `columns` or write `skip_rows = {}`",
                self.skip_rows + 1
            )
        })
    }
}

/// What is doubtful about a file with a header.
fn lint_opened(path: &Place, opened: &Opened) -> [Option<String>; 2] {
    let names = opened.header.as_deref().unwrap_or_default().join("\n") + "\n";
    let mut bytes = opened.encoding.encode(&names).0.into_owned();
    bytes.extend_from_slice(opened.splitter.rest());
    let encoding = lint_encoding(path, &bytes, opened.encoding);
    // What is read wrongly has no delimiters either.
    let otherwise = || lint_records(path, &names).or_else(|| lint_delimiter(path, opened));
    let header = if encoding.is_some() {
        None
    } else {
        otherwise()
    };
    [header, encoding]
}

/// Whether the header is a JSON object.
fn lint_records(path: &Place, header: &str) -> Option<String> {
    let is_object = header.starts_with("{\"") || header.starts_with("{ \"");
    is_object.then(|| {
        format!(
            "`{path}` looks like JSON records, one a line: if it is, kind `load_ndjson` reads it"
        )
    })
}

/// Whether a text that is read as another encoding is UTF-8: what lies beyond ASCII in any other one is not.
fn lint_encoding(path: &Place, text: &[u8], encoding: &'static Encoding) -> Option<String> {
    if encoding == UTF_8 {
        let looks = text_encoding::looks_like_utf16(text)?;
        return Some(format!(
            "`{path}` looks like {} without a byte order mark: every other byte is zero; if it is, write `encoding = \"{}\"`",
            looks.name(),
            looks.name().to_lowercase()
        ));
    }
    if text_encoding::must_decode(encoding) || text.is_ascii() {
        return None;
    }
    let text = match str::from_utf8(text) {
        Ok(text) => text,
        // Where the beginning ends, in the midst of a character.
        Err(error) if error.error_len().is_none() => {
            str::from_utf8(&text[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let mut words =
        text.split(|character: char| character.is_ascii() && !character.is_alphanumeric());
    let word = words.find(|word| !word.is_ascii())?;
    let word: String = word.chars().take(WORD_CHARS_MAX).collect();
    let read = encoding.decode_without_bom_handling(word.as_bytes()).0;
    Some(format!(
        "`{path}` begins as UTF-8 does, and is read as `{}`: `{word}` becomes `{read}`; if it is UTF-8, leave out \
         `encoding`",
        encoding.name()
    ))
}

/// Whether the header is one column because another delimiter stands in it, and in the first record.
fn lint_delimiter(path: &Place, opened: &Opened) -> Option<String> {
    let Some([name]) = opened.header.as_deref() else {
        return None;
    };
    let rest = opened.splitter.rest();
    let first = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_in = |text: &[u8], delimiter| memchr::memchr(delimiter, text).is_some();
    let delimiter = DELIMITERS
        .into_iter()
        .filter(|&it| it != opened.splitter.dialect().delimiter && is_in(name.as_bytes(), it))
        .find(|&it| first.is_empty() || is_in(first, it))?;
    let name = shown::json(name);
    let delimiter = char::from(delimiter).escape_default();
    Some(format!(
        "the header line of `{path}` is one column, `{name}`; if `{delimiter}` stands between its fields, write \
         `delimiter = \"{delimiter}\"`"
    ))
}

/// What is left of a name if case, blanks and punctuation count for nothing.
fn letters(name: &str) -> String {
    let letters = name.chars().filter(|letter| letter.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}
