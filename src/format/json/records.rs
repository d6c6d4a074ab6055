//! From a block of JSON records to columns: each record is scanned once, what is wanted of it becomes a row,
//! and a record that is not as it is to be becomes a fault. Text is not copied unless it holds an escape.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use polars_buffer::Buffer;

use super::escapes::unescape;
use super::raw::{Pointer, is_too_deep};
use super::scan::{Found, Kind, Scanner};
use super::wanted::Wanted;
use crate::columns::Column;
use crate::error::cut_value;
use crate::format::csv::numbers::Notation;
use crate::format::csv::parse::Target;
use crate::format::csv::values::Builder;

/// How to read a block.
#[derive(Debug, Clone)]
pub struct Parser {
    wanted: Wanted,
    targets: Vec<Target>,
}

/// What a block became.
#[derive(Debug)]
pub struct Parsed {
    /// The good records' values, one column a pointer.
    pub columns: Vec<Column>,
    /// How many good records there are.
    pub rows: usize,
    /// The others, in order.
    pub faults: Vec<Fault>,
    /// The good records' own members that no column wants.
    pub others: Others,
}

/// A record that could not be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// The record's number in the block, from 0.
    pub record: usize,
    /// Where it begins in the block.
    pub byte: usize,
    /// Why.
    pub reason: String,
    /// The leftmost column at fault, if the record is JSON.
    pub column: Option<usize>,
    /// The value at fault.
    pub value: Option<String>,
    /// Whether the record is a list where an object was expected.
    pub is_list: bool,
    /// Its values, one a column, if it could be read that far.
    pub values: Option<Vec<Option<String>>>,
    /// The text as it stands, what is no text replaced.
    pub text: String,
}

/// Members that no column wants: how many there are, and the first names in the order of their bytes, so that which
/// names these are does not depend on how a text is cut.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Of all names.
    pub members: u64,
    /// By name.
    pub names: BTreeMap<String, u64>,
}

impl Others {
    /// More names than this only fill memory: each record may have one of its own.
    pub const NAMES_MAX: usize = 8;

    fn add(&mut self, name: &str) {
        self.members += 1;
        if let Some(count) = self.names.get_mut(name) {
            *count += 1;
            return;
        }
        self.names.insert(name.to_owned(), 1);
        if self.names.len() > Self::NAMES_MAX {
            self.names.pop_last();
        }
    }
}

impl Parser {
    /// Column `i` has what pointer `i` leads to, as `targets[i]`.
    pub fn new(pointers: &[Pointer], targets: Vec<Target>) -> Self {
        Parser {
            wanted: Wanted::new(pointers),
            targets,
        }
    }

    /// Parses the records that lie in `block` from the first to before the second of each pair.
    pub fn parse(&self, block: &Buffer<u8>, records: &[[u32; 2]]) -> Parsed {
        // A text that is not intact is sliced nowhere: its good values are copied.
        let text = simdutf8::basic::from_utf8(block);
        let (intact, text) = (text.is_ok(), text.unwrap_or_default());
        let builder =
            |&target: &Target| Builder::new(target, Notation::default(), text, records.len());
        let mut table = Table {
            parser: self,
            block,
            intact,
            scanner: Scanner::new(&self.wanted, block),
            builders: self.targets.iter().map(builder).collect(),
            rows: 0,
            faults: Vec::new(),
            others: Others::default(),
        };
        for (number, &[from, to]) in records.iter().enumerate() {
            table.record(number, from as usize, to as usize);
        }
        let empty = Buffer::new();
        let buffer = if intact { block } else { &empty };
        let columns = table.builders.into_iter();
        Parsed {
            columns: columns.map(|builder| builder.finish(buffer)).collect(),
            rows: table.rows,
            faults: table.faults,
            others: table.others,
        }
    }
}

/// The names of the members of records, in order of appearance, each once.
#[derive(Debug, Default)]
pub struct Names {
    /// In order.
    pub list: Vec<String>,
    known: HashSet<String>,
}

impl Names {
    /// Adds those of the records in a block, but of what is no object, or no JSON.
    pub fn add(&mut self, block: &[u8], records: &[[u32; 2]]) {
        let nothing = Wanted::new(&[]);
        let mut scanner = Scanner::new(&nothing, block);
        for &[from, to] in records {
            let (from, to) = (from as usize, to as usize);
            if str::from_utf8(&block[from..to]).is_err() || scanner.record(from, to).is_err() {
                continue;
            }
            for name in &scanner.others {
                let name = name_of(&block[name.clone()]);
                if self.known.insert(name.clone()) {
                    self.list.push(name);
                }
            }
        }
    }
}

/// A member's name from what stands between its quotes; one that is no text as it stands.
fn name_of(raw: &[u8]) -> String {
    unescape(raw).unwrap_or_else(|| String::from_utf8_lossy(raw).into_owned())
}

/// The columns of a block under construction.
struct Table<'a> {
    parser: &'a Parser,
    block: &'a [u8],
    intact: bool,
    scanner: Scanner<'a>,
    builders: Vec<Builder<'a>>,
    rows: usize,
    faults: Vec<Fault>,
    others: Others,
}

impl Table<'_> {
    fn record(&mut self, number: usize, from: usize, to: usize) {
        if !self.intact
            && let Err(error) = str::from_utf8(&self.block[from..to])
        {
            let at = error.valid_up_to();
            let reason = format!("bytes that are not UTF-8, at byte {at} of the record");
            return self.reject(number, from, to, Misfit::of_record(reason));
        }
        if let Err(fault) = self.scanner.record(from, to) {
            let mut found = shown(&self.block[fault.at..to]);
            if fault.at < to {
                found.push_str(&format!(" at byte {} of the record", fault.at - from));
            }
            let reason = format!("expected {}, found {found}", fault.expected);
            return self.reject(number, from, to, Misfit::of_record(reason));
        }
        let record = self.block[from..to].trim_ascii_start();
        if let Some(expected) = self.parser.wanted.misfit(record) {
            let is_list = record.first() == Some(&b'[');
            let found = if is_list {
                "a list".to_owned()
            } else {
                shown(record)
            };
            let misfit = Misfit {
                is_list,
                ..Misfit::of_record(format!("expected {expected}, found {found}"))
            };
            return self.reject(number, from, to, misfit);
        }
        for at in 0..self.builders.len() {
            if let Err(misfit) = self.push(at) {
                return self.reject(number, from, to, misfit);
            }
        }
        self.rows += 1;
        for name in &self.scanner.others {
            let name = name_of(&self.block[name.clone()]);
            self.others.add(&cut_value(&name));
        }
    }

    /// Appends the value of column `at`.
    #[inline]
    fn push(&mut self, at: usize) -> Result<(), Misfit> {
        let found = self.scanner.found[at];
        let builder = &mut self.builders[at];
        match (found.kind, builder) {
            (Kind::Absent | Kind::Null, builder) => builder.null(),
            (Kind::Text | Kind::Other, Builder::String(strings)) if self.intact => {
                strings.push_slice(found.from as usize, found.to as usize);
            }
            (kind, builder @ Builder::Json(_)) => {
                let quote = u32::from(matches!(kind, Kind::Text | Kind::Escaped));
                let range = found.from - quote..found.to + quote;
                let raw = &self.block[range.start as usize..range.end as usize];
                match str::from_utf8(raw) {
                    Ok(value) if builder.value(value) => {}
                    Ok(value) if is_too_deep(value) => {
                        return Err(Misfit::of_value(at, value, Target::Json));
                    }
                    _ => return Err(Misfit::torn(at, raw)),
                }
            }
            (_, builder) => {
                let Some(value) = text_of(self.block, found) else {
                    return Err(Misfit::torn(at, &self.block[found.range()]));
                };
                if !builder.value(&value) {
                    return Err(Misfit::of_value(at, &value, self.parser.targets[at]));
                }
            }
        }
        Ok(())
    }

    #[cold]
    fn reject(&mut self, record: usize, from: usize, to: usize, misfit: Misfit) {
        for builder in &mut self.builders {
            builder.truncate(self.rows);
        }
        let values = misfit.column.map(|_| {
            let found = self.scanner.found.iter();
            let text = |&found: &Found| Some(text_of(self.block, found)?.into_owned());
            found.map(text).collect()
        });
        self.faults.push(Fault {
            record,
            byte: from,
            reason: misfit.reason,
            column: misfit.column,
            value: misfit.value,
            is_list: misfit.is_list,
            values,
            text: String::from_utf8_lossy(&self.block[from..to]).into_owned(),
        });
    }
}

/// A value as text: a string's own, of anything else its JSON; `None`: it is absent, or not valid text.
fn text_of(block: &[u8], found: Found) -> Option<Cow<'_, str>> {
    let raw = &block[found.range()];
    match found.kind {
        Kind::Absent | Kind::Null => None,
        Kind::Escaped => unescape(raw).map(Cow::Owned),
        Kind::Text | Kind::Other => str::from_utf8(raw).ok().map(Cow::Borrowed),
    }
}

/// What is wrong with the current record.
struct Misfit {
    reason: String,
    column: Option<usize>,
    value: Option<String>,
    is_list: bool,
}

impl Misfit {
    fn of_record(reason: String) -> Self {
        Misfit {
            reason,
            column: None,
            value: None,
            is_list: false,
        }
    }

    fn torn(column: usize, raw: &[u8]) -> Self {
        Misfit {
            column: Some(column),
            value: Some(cut_value(&String::from_utf8_lossy(raw))),
            ..Self::of_record(
                "a text holds half a character: `\\uD800` to `\\uDFFF` stand in pairs".to_owned(),
            )
        }
    }

    fn of_value(column: usize, value: &str, target: Target) -> Self {
        let word = target.expected(value);
        let value = cut_value(value);
        let shown = crate::shown::line(&value);
        Misfit {
            column: Some(column),
            reason: format!("expected {word}, found `{shown}`"),
            value: Some(value.clone()),
            is_list: false,
        }
    }
}

/// So much of a text is shown in a message.
pub(super) const SHOWN: usize = 20;

/// What a text begins with, for a message: a word or a character.
pub(super) fn shown(text: &[u8]) -> String {
    let is_word =
        |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_');
    let word = text.iter().take(SHOWN).take_while(is_word).count();
    if word > 0 {
        return format!("`{}`", String::from_utf8_lossy(&text[..word]));
    }
    // A character has at most four bytes.
    let first = String::from_utf8_lossy(&text[..text.len().min(4)]);
    match first.chars().next() {
        Some('`') => "a backtick".to_owned(),
        Some(first @ ('"' | '\'')) => format!("`{first}`"),
        Some(first) => format!("`{}`", first.escape_debug()),
        None => "the end of the record".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, pointers: &[&str], targets: &[Target]) -> Parsed {
        let pointers = pointers
            .iter()
            .map(|text| Pointer::parse(text).expect("it is a pointer"));
        let parser = Parser::new(&pointers.collect::<Vec<_>>(), targets.to_vec());
        let mut records = Vec::new();
        let mut from = 0;
        for line in text.split_inclusive('\n') {
            let byte = |at: usize| u32::try_from(at).expect("it is short");
            records.push([byte(from), byte(from + line.trim_end().len())]);
            from += line.len();
        }
        parser.parse(&text.as_bytes().to_vec().into(), &records)
    }

    #[test]
    fn which_other_members_are_named_does_not_depend_on_where_blocks_end() {
        let record = |name: usize| format!("{{\"a\":1,\"n{name:02}\":1}}\n");
        let text = |names: &[usize]| names.iter().map(|&name| record(name)).collect::<String>();
        let names: Vec<usize> = (0..40).map(|i| i * 7 % 20).collect();
        let count = |text: &str| parse(text, &["/a"], &[Target::String]).others;
        let whole = count(&text(&names));
        assert_eq!(whole.members, 40);
        assert_eq!(whole.names.len(), Others::NAMES_MAX);
        let mut together = BTreeMap::new();
        for part in names.chunks(9) {
            for (name, count) in count(&text(part)).names {
                *together.entry(name).or_insert(0) += count;
            }
        }
        let first: BTreeMap<_, _> = together.into_iter().take(Others::NAMES_MAX).collect();
        assert_eq!(first, whole.names);
    }

    #[test]
    fn a_faulty_record_leaves_nothing_in_any_column() {
        let text = "{\"a\":\"one\",\"n\":1}\n{\"a\":\"two\",\"n\":\"x\"}\n{\"a\":null}\n{\"a\":\"\\ud800\"}\n{\"n\":2,\"x\":0}\n";
        let parsed = parse(text, &["/a", "/n"], &[Target::String, Target::Int]);
        assert_eq!(parsed.rows, 3);
        let texts = parsed.columns[0].strings();
        assert_eq!(
            (0..3).map(|row| texts.get(row)).collect::<Vec<_>>(),
            [Some("one"), None, None]
        );
        let numbers = &parsed.columns[1];
        let number = |row| (!numbers.is_null(row)).then(|| numbers.ints().value(row));
        assert_eq!([0, 1, 2].map(number), [Some(1), None, Some(2)]);
        let faults = parsed
            .faults
            .iter()
            .map(|fault| (fault.record, fault.column));
        assert_eq!(faults.collect::<Vec<_>>(), [(1, Some(1)), (3, Some(0))]);
        assert_eq!(parsed.others.members, 1);
    }
}
