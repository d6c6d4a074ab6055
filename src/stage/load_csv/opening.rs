//! Opening a file: its text as UTF-8 or in an encoding that has ASCII in its place, what comes before its
//! records (a byte order mark, skipped lines, a `sep=` line), its header.

use std::io::{Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use encoding_rs::{Encoding, UTF_8};

use super::line_ends::refuse_cr;
use super::{LoadCsv, TextSplitter, hinted};
use crate::error::{Error, Result};
use crate::format::csv::parse::Parser;
use crate::format::csv::split::Splitter;
use crate::format::text_encoding::{self, Transcoder};
use crate::place::{Place, Seen, in_file, open_encoded, read_error};
use crate::schema::count;
use crate::stop::Stop;

/// A file about to be split, its header read.
pub(super) struct Opened {
    pub(super) splitter: TextSplitter,
    pub(super) header: Option<Vec<String>>,
    /// What the file is in.
    pub(super) encoding: &'static Encoding,
}

/// The most bytes that a byte order mark has.
const MARK_BYTES: u64 = 3;

/// So many bytes show a `sep=` line: itself, and its end.
const SEPARATOR_LINE_BYTES: usize = b"sep=;\r\n".len();

impl LoadCsv {
    /// Opens one file and reads its header, if it has one.
    pub(super) fn open_file(
        &self,
        seen: &Seen,
        bytes_done: Arc<AtomicU64>,
        stop: &Stop,
    ) -> Result<Opened> {
        let path = &seen.place;
        let named = |error| in_file(path, error);
        let reader = open_encoded(seen, bytes_done, stop, &self.grown)?;
        let (reader, encoding) = self.decoded(path, reader)?;
        let mut splitter = Splitter::new(reader, self.dialect, self.limits(usize::MAX));
        if let Some(lines @ 1..) = splitter.skip(self.skip_rows).map_err(named)? {
            let all = self.skip_rows;
            let lines = count(lines, "line");
            let message = format!("`{path}` has only {lines}, `skip_rows` is {all}");
            return Err(Error::failed(message).hint("a line ends in LF or CRLF"));
        }
        if self.skip_rows == 0 {
            self.take_separator(path, &mut splitter)?;
        }
        let mut header = None;
        if self.columns.is_none() {
            header = Some(self.read_header(path, &mut splitter, encoding)?);
        }
        Ok(Opened {
            splitter,
            header,
            encoding,
        })
    }

    /// The text in an encoding that can be divided byte by byte, and what the file is in.
    fn decoded(
        &self,
        path: &Place,
        mut reader: Box<dyn Read + Send>,
    ) -> Result<(Box<dyn Read + Send>, &'static Encoding)> {
        let mut first = Vec::new();
        let read = (&mut reader).take(MARK_BYTES).read_to_end(&mut first);
        read.map_err(|error| in_file(path, read_error(error, path)))?;
        let encoding = self.encoding_of(path, &first)?;
        let whole = Cursor::new(first).chain(reader);
        if text_encoding::must_decode(encoding) {
            return Ok((Box::new(Transcoder::new(whole, encoding)), encoding));
        }
        Ok((Box::new(whole), encoding))
    }

    /// What a file is in that begins with these bytes.
    fn encoding_of(&self, path: &Place, first: &[u8]) -> Result<&'static Encoding> {
        let marked = text_encoding::marked(first);
        let (Some(given), Some(marked)) = (self.encoding, marked) else {
            return Ok(self.encoding.or(marked).unwrap_or(UTF_8));
        };
        let is_either_order = self.either_byte_order && text_encoding::is_utf16(marked);
        if given == marked || is_either_order {
            return Ok(marked);
        }
        Err(Error::failed(format!(
            "`{path}` begins with the byte order mark of {}, and `encoding` says {}",
            marked.name(),
            given.name()
        ))
        .hint("leave out `encoding`: a byte order mark names it"))
    }

    /// Skips a first line such as `sep=;`, which spreadsheets write and read; it names the delimiter unless
    /// the options do.
    fn take_separator(&self, path: &Place, splitter: &mut TextSplitter) -> Result<()> {
        let first = splitter.peek(SEPARATOR_LINE_BYTES);
        let Some(named) = separator(first.map_err(|error| in_file(path, error))?) else {
            return Ok(());
        };
        splitter.skip(1).map_err(|error| in_file(path, error))?;
        let dialect = self.dialect;
        if named == dialect.delimiter {
            return Ok(());
        }
        let shown = char::from(named).escape_default();
        if !self.takes_separator {
            let given = char::from(dialect.delimiter).escape_default();
            self.warn(format!(
                "`{path}` begins with `sep={shown}`, and is divided at `{given}`, as `delimiter` says"
            ));
            return Ok(());
        }
        if [dialect.quote, dialect.escape, dialect.comment].contains(&Some(named)) {
            return Err(Error::failed(format!(
                "`{path}` begins with `sep={shown}`, which is `quote`, `escape` or `comment` too"
            ))
            .hint("set these options to what the file uses, or give `delimiter`"));
        }
        splitter.set_delimiter(named);
        Ok(())
    }

    fn read_header(
        &self,
        path: &Place,
        splitter: &mut TextSplitter,
        encoding: &'static Encoding,
    ) -> Result<Vec<String>> {
        let (offset, dialect) = (splitter.offset(), splitter.dialect());
        let read = splitter.header().map_err(hinted);
        if let Err(error) = read {
            refuse_cr(path, splitter.rest(), offset, dialect)?;
            return Err(in_file(path, error));
        }
        let line = read?.ok_or_else(|| {
            Error::failed(format!("`{path}` is empty: it has no header line"))
                .hint("give `columns` if the file has no header")
        })?;
        refuse_cr(path, &line, offset, dialect)?;
        let parser = Parser {
            dialect,
            ..self.parser(Vec::new(), encoding)
        };
        let names = parser.header(&line).map_err(|reason| {
            Error::failed(format!("`{path}`: its header line has {reason}"))
                .hint("set `encoding`, `quote` and `escape` to what the file uses; is it CSV?")
        })?;
        Ok(self.names(names))
    }
}

/// The delimiter that a text's first line names, if that is all it does.
fn separator(first: &[u8]) -> Option<u8> {
    let [s, e, p, b'=', named, rest @ ..] = first else {
        return None;
    };
    let is_word = [*s, *e, *p].eq_ignore_ascii_case(b"sep");
    let is_line = rest.is_empty() || rest.starts_with(b"\n") || rest.starts_with(b"\r\n");
    // A letter or a digit is rather the beginning of a value.
    let divides = named.is_ascii_punctuation() || matches!(named, b'\t' | b' ');
    (is_word && is_line && divides).then_some(*named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_is_named_by_a_line_of_its_own() {
        for (text, named) in [
            ("sep=;\r\na;b", Some(b';')),
            ("SEP=,\na", Some(b',')),
            ("sep=\t\na", Some(b'\t')),
            ("sep=|", Some(b'|')),
            ("sep=;;\n", None),
            ("sep=a\n", None),
            ("sep=\n;", None),
            ("sep;x\n", None),
            ("", None),
        ] {
            assert_eq!(separator(text.as_bytes()), named, "{text:?}");
        }
    }
}
