//! Splitting: bytes in, blocks of whole records out, of a text with a record a line, or of one JSON value
//! with a list of records in it. One thread's work for a file, so it does no more than it must: it finds
//! where records begin and end. Whether they are JSON shows when they are parsed.
//!
//! It never holds more than a record and a block.

use std::io::{Cursor, Read};

use super::around::{Around, Step as Outside};
use super::element::{Element, is_blank};
use super::raw::Pointer;
use super::records::{SHOWN, shown};
use crate::error::{Error, Result};
use crate::format::csv::split::{Limits, read_more};
use crate::schema::count;

/// A byte order mark.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// Whole records, and where they stood.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// The text. Blocks lie one after the other.
    pub bytes: Vec<u8>,
    /// Where each record begins, and after which byte it ends.
    pub records: Vec<[u32; 2]>,
    /// The number of its first record, from 1.
    pub first_record: u64,
    /// The physical line it begins on, from 1.
    pub first_line: u64,
    /// Its offset in the decompressed text.
    pub offset: u64,
}

/// How records stand in a text.
#[derive(Debug, Clone)]
pub enum Shape {
    /// A record a line; blank lines are none.
    Lines,
    /// The elements of the list that the pointer leads to, in one JSON value.
    List(Pointer),
}

/// Why a text cannot be cut any further.
#[derive(Debug)]
pub enum SplitError {
    /// It ends in the midst of a value.
    Cut(Error),
    /// A record is longer than [`Limits::record_bytes`].
    Long(Error),
    /// What stands around the list of records is not JSON, or there is no such list.
    Around(Error),
    /// It cannot be read.
    Read(Error),
}

impl From<Error> for SplitError {
    fn from(error: Error) -> Self {
        SplitError::Read(error)
    }
}

/// Cuts a text into blocks.
pub struct Splitter<R> {
    reader: R,
    limits: Limits,
    finder: Finder,
    /// Bytes read and not yet given away; the next block begins at 0.
    buffer: Vec<u8>,
    /// Up to where `buffer` was scanned.
    scanned: usize,
    /// Where the record begins in which `scanned` lies, if there is one.
    open: Option<usize>,
    /// Up to where `buffer` can be given away.
    complete: usize,
    /// Whole records in `buffer[..complete]`.
    records: Vec<[u32; 2]>,
    next_record: u64,
    line: u64,
    /// Lines that end in `buffer[..complete]`, where records are lines.
    lines: u64,
    offset: u64,
    /// The reader is at its end.
    ended: bool,
    /// The last record is found.
    done: bool,
    begun: bool,
    /// What is to be said once all before it was given away.
    failed: Option<SplitError>,
}

/// Finds the next record.
enum Finder {
    Lines,
    /// What stands around the list, before and after it.
    Around(Box<Around>),
    /// In the list: what is open of an element, and whether one comes before it.
    Elements {
        element: Element,
        is_first: bool,
        around: Box<Around>,
    },
    /// After an element, at blanks that are not kept.
    Blanks(Box<Around>),
}

/// What a look at the buffered bytes found.
enum Found {
    /// A record.
    Record { from: usize, to: usize },
    /// None, but the block may be full.
    Blank,
    /// None in these bytes.
    Nothing,
}

impl<R: Read> Splitter<R> {
    /// A splitter that begins at the first byte of `reader`.
    pub fn new(reader: R, shape: Shape, limits: Limits) -> Self {
        Splitter {
            reader,
            limits,
            finder: match shape {
                Shape::Lines => Finder::Lines,
                Shape::List(Pointer(path)) => Finder::Around(Box::new(Around::new(path))),
            },
            buffer: Vec::new(),
            scanned: 0,
            open: None,
            complete: 0,
            records: Vec::new(),
            next_record: 1,
            line: 1,
            lines: 0,
            offset: 0,
            ended: false,
            done: false,
            begun: false,
            failed: None,
        }
    }

    /// Cuts by other limits from here on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The beginning of what was not yet given away, without a byte order mark.
    pub fn peek(&mut self) -> Result<&[u8]> {
        self.begin()?;
        if self.buffer.is_empty() && !self.ended {
            self.fill()?;
        }
        Ok(&self.buffer)
    }

    /// The text from its first byte on, of which `given`, all blocks so far, were given away.
    pub fn restart(self, given: Vec<Block>) -> impl Read + use<R> {
        let mut text = Vec::new();
        if given.first().map_or(self.offset, |block| block.offset) > 0 {
            text.extend_from_slice(MARK);
        }
        for block in given {
            text.extend_from_slice(&block.bytes);
        }
        text.extend_from_slice(&self.buffer);
        Cursor::new(text).chain(self.reader)
    }

    /// The next block; `None` at the end. What lies before a fault comes first, then the error.
    pub fn next_block(&mut self) -> Result<Option<Block>, SplitError> {
        loop {
            let full = self.complete >= self.limits.block_bytes
                || self.records.len() as u64 >= self.limits.block_records;
            let last = self.failed.is_some() || self.done;
            if self.complete > 0 && (full || last) {
                return Ok(Some(self.cut()));
            }
            if let Some(error) = self.failed.take() {
                self.done = true;
                return Err(error);
            }
            if self.done {
                return Ok(None);
            }
            if let Err(error) = self.advance() {
                self.failed = Some(error);
            }
        }
    }

    /// One record more, or more bytes to look at.
    fn advance(&mut self) -> Result<(), SplitError> {
        if !self.begun {
            return Ok(self.begin()?);
        }
        match self.find()? {
            Found::Record { from, to } => {
                if to - from > self.limits.record_bytes {
                    return Err(self.long(from));
                }
                let byte = |at: usize| u32::try_from(at).expect("a block and a record are shorter");
                self.records.push([byte(from), byte(to)]);
            }
            Found::Blank => {}
            Found::Nothing => {
                let blanks = match &self.finder {
                    Finder::Elements { element, .. } => element.blanks,
                    _ => 0,
                };
                let is_long =
                    |from: &usize| self.scanned - from - blanks > self.limits.record_bytes;
                if let Some(from) = self.open.filter(is_long) {
                    return Err(self.long(from));
                }
                if self.ended {
                    return self.end();
                }
                self.fill()?;
            }
        }
        Ok(())
    }

    /// Drops a byte order mark.
    fn begin(&mut self) -> Result<()> {
        if self.begun {
            return Ok(());
        }
        while self.buffer.len() < 3 && !self.ended {
            self.fill()?;
        }
        if self.buffer.starts_with(MARK) {
            self.buffer.drain(..MARK.len());
            self.offset += MARK.len() as u64;
        }
        self.begun = true;
        Ok(())
    }

    fn find(&mut self) -> Result<Found, SplitError> {
        match self.finder {
            Finder::Lines => Ok(self.find_line()),
            Finder::Around(_) => self.find_list(),
            Finder::Elements { .. } => self.find_element(),
            Finder::Blanks(_) => self.find_comma(),
        }
    }

    fn find_line(&mut self) -> Found {
        loop {
            let from = self.complete;
            let newline = memchr::memchr(b'\n', &self.buffer[self.scanned..]);
            let to = match newline {
                Some(at) => self.scanned + at,
                // A last line without newline counts.
                None if self.ended && from < self.buffer.len() => self.buffer.len(),
                None => {
                    self.scanned = self.buffer.len();
                    self.open = (from < self.scanned).then_some(from);
                    return Found::Nothing;
                }
            };
            self.scanned = (to + 1).min(self.buffer.len());
            self.complete = self.scanned;
            self.lines += 1;
            self.open = None;
            if let Some(record) = trimmed(&self.buffer, from, to) {
                return record;
            }
            if self.complete >= self.limits.block_bytes {
                return Found::Blank;
            }
        }
    }

    /// Reads on around the list, up to its beginning or to the end of the text.
    fn find_list(&mut self) -> Result<Found, SplitError> {
        let Finder::Around(around) = &mut self.finder else {
            return Ok(Found::Nothing);
        };
        while let Some(&byte) = self.buffer.get(self.scanned) {
            match around.step(byte) {
                Ok(Outside::On) => self.scanned += 1,
                Ok(Outside::List) => {
                    self.scanned += 1;
                    self.complete = self.scanned;
                    self.finder = Finder::Elements {
                        element: Element::default(),
                        is_first: true,
                        around: std::mem::take(around),
                    };
                    return self.find();
                }
                Err(expected) => {
                    // What is found is shown in full, however much was read at once.
                    while self.buffer.len() - self.scanned < SHOWN && !self.ended {
                        self.fill()?;
                    }
                    let found = shown(&self.buffer[self.scanned..]);
                    return Err(SplitError::Around(self.fault(&expected, &found)));
                }
            }
            // What stands around the records is not kept.
            self.complete = self.scanned;
        }
        Ok(Found::Nothing)
    }

    fn find_element(&mut self) -> Result<Found, SplitError> {
        let Finder::Elements {
            element,
            is_first,
            around,
        } = &mut self.finder
        else {
            return Ok(Found::Nothing);
        };
        if self.open.is_none() {
            let rest = &self.buffer[self.scanned..];
            self.scanned += rest.iter().take_while(|&&byte| is_blank(byte)).count();
            // What stands between the records is not kept.
            self.complete = self.scanned;
            match self.buffer.get(self.scanned) {
                None => return Ok(Found::Nothing),
                Some(b']') if *is_first => {
                    around.list_ended();
                    self.scanned += 1;
                    self.complete = self.scanned;
                    self.finder = Finder::Around(std::mem::take(around));
                    return self.find_list();
                }
                Some(_) => self.open = Some(self.scanned),
            }
        }
        let from = self.open.unwrap_or(self.scanned);
        let Some(end) = element.read(&self.buffer[self.scanned..]) else {
            self.scanned = self.buffer.len();
            if element.blanks <= self.limits.record_bytes {
                return Ok(Found::Nothing);
            }
            // As many blanks as a record may have bytes are no part of one.
            let to = self.scanned - element.blanks;
            self.complete = self.scanned;
            self.open = None;
            self.finder = Finder::Blanks(std::mem::take(around));
            return Ok(Found::Record { from, to });
        };
        let to = self.scanned + end;
        self.scanned = to + 1;
        self.complete = self.scanned;
        self.open = None;
        *is_first = false;
        *element = Element::default();
        if self.buffer[to] == b']' {
            around.list_ended();
            self.finder = Finder::Around(std::mem::take(around));
        }
        // What stands between two commas is a record, if one that is faulty.
        Ok(trimmed(&self.buffer, from, to).unwrap_or(Found::Record { from, to: from }))
    }

    /// After many blanks: the comma or the bracket that must come.
    fn find_comma(&mut self) -> Result<Found, SplitError> {
        let Finder::Blanks(around) = &mut self.finder else {
            return Ok(Found::Nothing);
        };
        let rest = &self.buffer[self.scanned..];
        self.scanned += rest.iter().take_while(|&&byte| is_blank(byte)).count();
        self.complete = self.scanned;
        let mut around = std::mem::take(around);
        self.finder = match self.buffer.get(self.scanned) {
            None => {
                self.finder = Finder::Blanks(around);
                return Ok(Found::Nothing);
            }
            Some(b',') => Finder::Elements {
                element: Element::default(),
                is_first: false,
                around,
            },
            Some(b']') => {
                around.list_ended();
                Finder::Around(around)
            }
            Some(_) => {
                let found = shown(&self.buffer[self.scanned..]);
                return Err(SplitError::Around(self.fault("`,` or `]`", &found)));
            }
        };
        self.scanned += 1;
        self.complete = self.scanned;
        self.find()
    }

    /// The text ends.
    fn end(&mut self) -> Result<(), SplitError> {
        match &self.finder {
            Finder::Lines => {}
            Finder::Around(around) => {
                if let Some((expected, found)) = around.missing() {
                    return Err(SplitError::Around(self.fault(&expected, &found)));
                }
            }
            Finder::Blanks(_) => {
                let error = self.fault("`,` or `]`", "the end of the file");
                return Err(SplitError::Cut(error));
            }
            Finder::Elements { .. } => {
                let error = match self.open {
                    None => self.fault("a value or `]`", "the end of the file"),
                    Some(from) => Error::failed(format!(
                        "{} is still open at the end of the file",
                        self.named(from)
                    )),
                };
                return Err(SplitError::Cut(error));
            }
        }
        self.done = true;
        Ok(())
    }

    /// The record that begins at `from`, in words.
    fn named(&self, from: usize) -> String {
        let record = self.next_record + self.records.len() as u64;
        format!("record {record}, begun on line {},", self.line_of(from))
    }

    fn line_of(&self, at: usize) -> u64 {
        self.line + memchr::memchr_iter(b'\n', &self.buffer[..at]).count() as u64
    }

    fn long(&self, from: usize) -> SplitError {
        SplitError::Long(Error::failed(format!(
            "{} is longer than {}",
            self.named(from),
            count(self.limits.record_bytes, "byte")
        )))
    }

    /// A fault around the records.
    fn fault(&self, expected: &str, found: &str) -> Error {
        Error::failed(format!(
            "line {}, byte {}: expected {expected}, found {found}",
            self.line_of(self.scanned),
            self.offset + self.scanned as u64
        ))
    }

    fn cut(&mut self) -> Block {
        let rest = self.buffer[self.complete..].to_vec();
        let mut bytes = std::mem::replace(&mut self.buffer, rest);
        bytes.truncate(self.complete);
        let block = Block {
            first_record: self.next_record,
            first_line: self.line,
            offset: self.offset,
            records: std::mem::take(&mut self.records),
            bytes,
        };
        self.line += match self.finder {
            Finder::Lines => std::mem::take(&mut self.lines),
            _ => memchr::memchr_iter(b'\n', &block.bytes).count() as u64,
        };
        self.offset += block.bytes.len() as u64;
        self.next_record += block.records.len() as u64;
        self.scanned -= self.complete;
        self.open = self.open.map(|from| from - self.complete);
        self.complete = 0;
        block
    }

    fn fill(&mut self) -> Result<()> {
        let (bytes, complete) = (self.limits.block_bytes, self.complete > 0);
        self.ended = read_more(&mut self.reader, &mut self.buffer, bytes, complete)?;
        Ok(())
    }
}

/// The record that lies in `buffer[from..to]`; `None`: it is blank.
fn trimmed(buffer: &[u8], from: usize, to: usize) -> Option<Found> {
    let text = &buffer[from..to];
    let before = text.iter().take_while(|&&byte| is_blank(byte)).count();
    let after = text
        .iter()
        .rev()
        .take_while(|&&byte| is_blank(byte))
        .count();
    (before < text.len()).then(|| Found::Record {
        from: from + before,
        to: to - after,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives so many bytes at once.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let len = self.1.min(self.0.len()).min(buffer.len());
            buffer[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    fn limits(block_bytes: usize, block_records: u64) -> Limits {
        Limits {
            block_bytes,
            block_records,
            record_bytes: 100,
        }
    }

    /// The records, with line and byte of each, the bytes of all blocks, and the error.
    type Split = (Vec<(String, u64, u64)>, String, Option<String>);

    fn split(text: &str, shape: &Shape, limits: Limits, drop: usize) -> Split {
        let mut splitter = Splitter::new(Drops(text.as_bytes(), drop), shape.clone(), limits);
        let (mut records, mut bytes) = (Vec::new(), String::new());
        loop {
            let block = match splitter.next_block() {
                Ok(Some(block)) => block,
                Ok(None) => return (records, bytes, None),
                Err(error) => {
                    let (SplitError::Cut(error)
                    | SplitError::Long(error)
                    | SplitError::Around(error)
                    | SplitError::Read(error)) = error;
                    return (records, bytes, Some(error.message));
                }
            };
            assert!(block.records.len() as u64 <= limits.block_records);
            assert_eq!(block.first_record, records.len() as u64 + 1);
            let text = String::from_utf8(block.bytes).expect("it is text");
            for [from, to] in block.records {
                let (from, to) = (from as usize, to as usize);
                let line = block.first_line + text[..from].matches('\n').count() as u64;
                records.push((text[from..to].to_owned(), line, block.offset + from as u64));
            }
            bytes.push_str(&text);
        }
    }

    fn list(pointer: &str) -> Shape {
        Shape::List(Pointer::parse(pointer).expect("it is a pointer"))
    }

    proptest! {
        #[test]
        fn records_are_found_however_the_text_is_read(
            elements in prop::collection::vec(
                prop::sample::select(vec![
                    "1", "\"a,]}\"", "{\"a\": \"\\\"]\", \"b\": [1, {}]}", "[[], [2]]", "null", "{\"t\":\"é\\\\\"}", "{}",
                ]),
                0..12,
            ),
            blanks in prop::collection::vec(prop::sample::select(vec!["", " ", "\n", "\r\n\t", "  "]), 24),
            around in prop::sample::select(vec![
                ("", "[", "]", ""),
                ("/r", "{\"n\": [1, {\"r\": [0]}], \"r\":[", "], \"s\": {\"x\": -1.5e3}}", "\n"),
                ("/0/é~1", "\u{feff} [{\"q\": \"[\\\"\", \"\\u00e9/\": [", "]}, true]", " "),
            ]),
            block_bytes in 1usize..60, block_records in 1u64..5, drop in 1usize..40,
        ) {
            let (pointer, open, close, rest) = around;
            let mut text = open.to_owned();
            let mut wanted = Vec::new();
            for (i, element) in elements.iter().enumerate() {
                text.push_str(blanks[2 * i]);
                let at = text.trim_start_matches('\u{feff}').matches('\n').count() as u64 + 1;
                wanted.push(((*element).to_owned(), at, text.len() as u64));
                text.push_str(element);
                text.push_str(blanks[2 * i + 1]);
                text.push_str(if i + 1 < elements.len() { "," } else { "" });
            }
            text.push_str(close);
            text.push_str(rest);
            serde_json::from_str::<serde::de::IgnoredAny>(text.trim_start_matches('\u{feff}')).expect("it is JSON");
            let (records, bytes, error) = split(&text, &list(pointer), limits(block_bytes, block_records), drop);
            prop_assert_eq!(error, None);
            prop_assert_eq!(records, wanted);
            prop_assert_eq!(bytes, text.trim_start_matches('\u{feff}'));
        }

        #[test]
        fn lines_are_found_however_the_text_is_read(
            lines in prop::collection::vec(prop::sample::select(vec!["{\"a\":1}", "", " \t", "x y ", "\r", "{}\r", " 1"]), 0..12),
            mark: bool, last_ends: bool, block_bytes in 1usize..60, block_records in 1u64..5, drop in 1usize..40,
        ) {
            let mark = if mark { "\u{feff}" } else { "" };
            let mut text = lines.join("\n");
            text.push_str(if last_ends { "\n" } else { "" });
            let mut wanted = Vec::new();
            let mut at = mark.len();
            for (number, line) in text.split('\n').enumerate() {
                let record = line.trim();
                if !record.is_empty() {
                    let before = line.len() - line.trim_start().len();
                    wanted.push((record.to_owned(), number as u64 + 1, (at + before) as u64));
                }
                at += line.len() + 1;
            }
            let whole = format!("{mark}{text}");
            let (records, bytes, error) = split(&whole, &Shape::Lines, limits(block_bytes, block_records), drop);
            prop_assert_eq!(error, None);
            prop_assert_eq!(records, wanted);
            prop_assert_eq!(bytes, text);
        }
    }

    #[test]
    fn blanks_between_records_count_for_none_and_are_not_kept() {
        let blanks = " \n".repeat(5000);
        let text = format!("{blanks}[{blanks}{{\"a\": 1}}{blanks},{blanks}2{blanks}]{blanks}");
        for drop in [1, 7, 8192] {
            let reader = Drops(text.as_bytes(), drop);
            let mut splitter = Splitter::new(reader, list(""), limits(1000, 100));
            let (mut records, mut bytes) = (Vec::new(), 0);
            while let Some(block) = splitter.next_block().expect("it is JSON") {
                assert!(
                    block.bytes.len() < 1000 + drop + 200,
                    "{}",
                    block.bytes.len()
                );
                bytes += block.bytes.len();
                let record = |&[from, to]: &[u32; 2]| {
                    String::from_utf8_lossy(&block.bytes[from as usize..to as usize]).into_owned()
                };
                records.extend(block.records.iter().map(record));
            }
            assert_eq!(records, ["{\"a\": 1}", "2"]);
            assert_eq!(bytes, text.len());
        }
        // What is no comma is refused in the same way however it is read.
        for (after, says) in [("3]", "`3`"), ("", "the end of the file")] {
            let text = format!("[1{blanks}{after}");
            for drop in [1, 60, 8192] {
                let (records, _, error) = split(&text, &list(""), limits(1000, 100), drop);
                assert_eq!(records.len(), 1);
                let error = error.unwrap_or_default();
                assert_eq!(
                    error,
                    format!("line 5001, byte 10002: expected `,` or `]`, found {says}")
                );
            }
        }
    }

    #[test]
    fn a_pointer_that_leads_nowhere_says_how_far_it_led() {
        let cases = [
            (
                "/data/item",
                "{\"n\":{\"item\":[]},\"data\":{\"items\":[{\"item\":1}],\"to\\u0074al\":2}}",
                "line 1, byte 62: expected a list at `/data/item`, found no `item` at `/data`, which has `items`, `total`",
            ),
            (
                "/data/item/1",
                "{\"data\":{\"item\":[[]]}}",
                "line 1, byte 22: expected a list at `/data/item/1`, found no `1` at `/data/item`",
            ),
            (
                "/data/item",
                "{\"data\":5,\"x\":{}}",
                "line 1, byte 17: expected a list at `/data/item`, found no list or object at `/data`",
            ),
            (
                "/data/item",
                "5",
                "line 1, byte 1: expected a list at `/data/item`, found no list or object",
            ),
        ];
        for (pointer, text, error) in cases {
            for drop in [1, 100] {
                let (records, _, found) = split(text, &list(pointer), limits(1000, 100), drop);
                assert_eq!(
                    (records.len(), found.as_deref()),
                    (0, Some(error)),
                    "{text}"
                );
            }
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "most of it is a table")]
    fn what_is_wrong_around_records_is_said_after_what_came_before() {
        let long = format!("[1,\n\"{}\"]", "x".repeat(100));
        let cases = [
            (
                "",
                "[1,2",
                1,
                "record 2, begun on line 1, is still open at the end of the file",
            ),
            (
                "",
                "[1,",
                1,
                "line 1, byte 3: expected a value or `]`, found the end of the file",
            ),
            (
                "",
                "[",
                0,
                "line 1, byte 1: expected a value or `]`, found the end of the file",
            ),
            (
                "",
                "",
                0,
                "line 1, byte 0: expected a value, found the end of the file",
            ),
            (
                "",
                "[1]\n x",
                1,
                "line 2, byte 5: expected the end of the file after the value, found `x`",
            ),
            (
                "",
                "[1][2]",
                1,
                "line 1, byte 3: expected the end of the file after the value, found `[`",
            ),
            (
                "",
                "{\"a\":1}",
                0,
                "line 1, byte 0: expected `[`, the beginning of a list of records, found `{`",
            ),
            (
                "/a",
                "{\"a\":1}",
                0,
                "line 1, byte 5: expected `[`, a list of records at `/a`, found `1`",
            ),
            (
                "/a",
                "{\"b\":[1]}",
                0,
                "line 1, byte 9: expected a list at `/a`, found no `a` in the value, which has `b`",
            ),
            (
                "/a",
                "{\"a\":[1],\"a\":[2]}",
                1,
                "line 1, byte 13: expected one value at `/a`, found `[`",
            ),
            (
                "/a",
                "{\"a\":[1]",
                1,
                "line 1, byte 8: expected `,` or `}`, found the end of the file",
            ),
            (
                "/a",
                "{\"b\":01,\"a\":[]}",
                0,
                "line 1, byte 6: expected `,` or `}`, found `1`",
            ),
            (
                "/a",
                "{\"b\":1.}",
                0,
                "line 1, byte 7: expected a digit, found `}`",
            ),
            (
                "/a",
                "{\"b\":trux}",
                0,
                "line 1, byte 8: expected a value, found `x`",
            ),
            (
                "/a",
                "{\"a\":truthful}",
                0,
                "line 1, byte 5: expected `[`, a list of records at `/a`, found `truthful`",
            ),
            (
                "/a",
                "{\"b\":\"\\q\"}",
                0,
                "line 1, byte 7: expected one of `\"\\/bfnrtu` after a backslash, found `q`",
            ),
            (
                "/a",
                "{b:1}",
                0,
                "line 1, byte 1: expected a name in quotes or `}`, found `b`",
            ),
            (
                "",
                long.as_str(),
                1,
                "record 2, begun on line 2, is longer than 100 bytes",
            ),
        ];
        for (pointer, text, before, message) in cases {
            for drop in [1, 3, 1000] {
                let (records, _, error) = split(text, &list(pointer), limits(20, 2), drop);
                assert_eq!(
                    (records.len(), error.as_deref()),
                    (before, Some(message)),
                    "{text}"
                );
            }
        }
        let long = format!("1\n\n{}\n", "x".repeat(101));
        for drop in [1, 1000] {
            let (records, _, error) = split(&long, &Shape::Lines, limits(20, 2), drop);
            let message = "record 2, begun on line 3, is longer than 100 bytes";
            assert_eq!((records.len(), error.as_deref()), (1, Some(message)));
        }
    }

    #[test]
    fn a_text_begins_again_as_it_was() {
        for (text, given) in [
            ("\u{feff}1\n2\n3\n", 2),
            ("1\n2", 1),
            ("\u{feff}", 0),
            ("", 0),
        ] {
            let mut splitter = Splitter::new(text.as_bytes(), Shape::Lines, limits(1, 1));
            let blocks = (0..given).map(|_| {
                splitter
                    .next_block()
                    .expect("it splits")
                    .expect("there is one")
            });
            let blocks: Vec<Block> = blocks.collect();
            assert!(given > 0 || splitter.next_block().expect("it splits").is_none());
            let mut again = String::new();
            splitter
                .restart(blocks)
                .read_to_string(&mut again)
                .expect("memory gives it");
            assert_eq!(again, text);
        }
    }
}
