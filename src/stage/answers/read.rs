//! From the bytes of an answer to records: for each the columns that are wanted, of their types, and what
//! tells whose it is.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Answers, Format, Place, Reader};
use crate::columns::{Column, TextBuilder};
use crate::error::cut_value;
use crate::format::csv::Dialect;
use crate::format::csv::parse::{Parser, Target};
use crate::format::csv::split::{Limits, RECORD_BYTES_MAX, SplitError, Splitter};
use crate::format::csv::values::{parse_bool, parse_float, parse_int};
use crate::format::json::raw;

/// The values that are wanted of a record: its columns, then its key's parts.
#[derive(Debug)]
pub(super) struct Slots {
    places: Vec<Place>,
    /// Of JSON: all pointers at once.
    wanted: Node,
}

/// A value on the way to those that are wanted: a record is walked once, however many these are.
#[derive(Debug, Default)]
struct Node {
    /// The slots that want this very value.
    here: Vec<usize>,
    /// What is wanted in it, by name or number.
    within: HashMap<String, Node>,
}

impl Node {
    fn add(&mut self, path: &[String], slot: usize) {
        match path.split_first() {
            None => self.here.push(slot),
            Some((first, rest)) => {
                let within = self.within.entry(first.clone()).or_default();
                within.add(rest, slot);
            }
        }
    }

    fn find<'a>(&self, value: &'a str, found: &mut [Option<&'a str>]) {
        for slot in &self.here {
            found[*slot] = Some(value);
        }
        if self.within.is_empty() {
            return;
        }
        for (name, value) in raw::members(value) {
            if let Some(node) = self.within.get(name.as_ref()) {
                node.find(value, found);
            }
        }
        for (number, value) in raw::elements(value).enumerate() {
            if let Some(node) = self.within.get(&number.to_string()) {
                node.find(value, found);
            }
        }
    }
}

impl Slots {
    pub(super) fn new(answers: &Answers) -> Self {
        let columns = answers.columns.iter().map(|column| &column.place);
        let places: Vec<Place> = columns
            .chain(answers.key.iter().map(|(_, place)| place))
            .cloned()
            .collect();
        let mut wanted = Node::default();
        for (slot, place) in places.iter().enumerate() {
            if let Place::Pointer(pointer) = place {
                wanted.add(&pointer.0, slot);
            }
        }
        Slots { places, wanted }
    }
}

/// The records of one or more answers.
#[derive(Debug)]
pub struct Records {
    pub(super) len: usize,
    columns: Vec<Values>,
    /// What tells whose each is; empty where there is no `key`.
    pub(super) keys: Vec<Option<Vec<u8>>>,
    /// Of each column, how many have nothing where it is looked for.
    pub(super) missing: Vec<u64>,
    /// How many have nothing where any column is looked for.
    pub(super) bare: u64,
    /// What is wrong with some, rising.
    pub(super) faults: Vec<Fault>,
}

/// A record that is not as it is to be.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) record: usize,
    /// Which output column's value it is.
    pub(super) column: Option<usize>,
    pub(super) value: Option<String>,
    pub(super) reason: String,
    /// The record as it was.
    pub(super) text: String,
}

impl Records {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is wrong with a record.
    pub(super) fn fault(&self, record: usize) -> Option<&Fault> {
        let at = self
            .faults
            .binary_search_by_key(&record, |fault| fault.record);
        at.ok().map(|at| &self.faults[at])
    }

    /// The values, column by column.
    pub(super) fn into_columns(self) -> Vec<Column> {
        self.columns.into_iter().map(Values::finish).collect()
    }
}

/// A column under construction.
#[derive(Debug)]
enum Values {
    Strings(Box<TextBuilder>),
    Json(Box<TextBuilder>),
    Ints(Vec<Option<i64>>),
    Floats(Vec<Option<f64>>),
    Bools(Vec<Option<bool>>),
}

impl Values {
    fn new(target: Target) -> Self {
        match target {
            Target::String => Values::Strings(Box::default()),
            Target::Json => Values::Json(Box::default()),
            Target::Int => Values::Ints(Vec::new()),
            Target::Float => Values::Floats(Vec::new()),
            Target::Bool => Values::Bools(Vec::new()),
        }
    }

    /// One more value, read as `load_csv` reads it. One that is not of the type is null, and the answer says what it is not.
    fn push(&mut self, text: Option<&str>) -> Result<(), Cow<'static, str>> {
        let (fits, target) = match self {
            Values::Strings(strings) => {
                strings.push(text);
                return Ok(());
            }
            Values::Json(strings) => {
                let value = text.and_then(raw::value);
                strings.push(value.as_deref().filter(|value| *value != "null"));
                (value.is_some(), Target::Json)
            }
            Values::Ints(ints) => {
                ints.push(text.and_then(parse_int));
                (ints.last().is_some_and(Option::is_some), Target::Int)
            }
            Values::Floats(floats) => {
                floats.push(text.and_then(parse_float));
                (floats.last().is_some_and(Option::is_some), Target::Float)
            }
            Values::Bools(bools) => {
                bools.push(text.and_then(parse_bool));
                (bools.last().is_some_and(Option::is_some), Target::Bool)
            }
        };
        match text {
            Some(text) if !fits => Err(target.expected(text)),
            _ => Ok(()),
        }
    }

    fn finish(self) -> Column {
        match self {
            Values::Strings(strings) | Values::Json(strings) => strings.finish(),
            Values::Ints(ints) => Column::from_nullable_ints(&ints),
            Values::Floats(floats) => {
                let validity = floats.iter().map(Option::is_some).collect();
                let values = floats.iter().map(|value| value.unwrap_or_default());
                Column::from_floats(values.collect(), Some(validity))
            }
            Values::Bools(bools) => {
                let validity = bools.iter().map(Option::is_some).collect();
                let values: Vec<bool> = bools
                    .iter()
                    .map(|value| value.unwrap_or_default())
                    .collect();
                Column::from_bools(&values, Some(validity))
            }
        }
    }
}

impl Reader {
    /// No records yet.
    pub fn records(&self) -> Records {
        let columns = &self.answers.columns;
        Records {
            len: 0,
            columns: columns
                .iter()
                .map(|column| Values::new(column.target))
                .collect(),
            keys: Vec::new(),
            missing: vec![0; columns.len()],
            bare: 0,
            faults: Vec::new(),
        }
    }

    /// Adds the records of an answer, or of a page of it. An error says why it is of no use; what was
    /// added then is not to be used either.
    pub fn read(&self, body: &[u8], into: &mut Records) -> Result<(), String> {
        let text = std::str::from_utf8(body).map_err(|_| "the answer is not UTF-8 text")?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match self.answers.format {
            Format::Json => self.read_json(text, into),
            Format::Ndjson => self.read_ndjson(text, into),
            Format::Csv => self.read_csv(text, into),
            Format::Lines => {
                let slots = self.slots.places.len();
                text.lines()
                    .for_each(|line| self.push(&vec![Some(line); slots], None, line, into));
                Ok(())
            }
        }
    }

    fn read_json(&self, text: &str, into: &mut Records) -> Result<(), String> {
        if text.trim().is_empty() {
            return Err("the answer is empty, and was to be JSON".to_owned());
        }
        raw::check(text).map_err(|why| format!("the answer is not JSON: {why}"))?;
        let pointer = &self.answers.records.0;
        let Some(records) = raw::find(text, pointer) else {
            return Err(format!(
                "the answer has nothing at `/{}`",
                pointer.join("/")
            ));
        };
        match records.as_bytes().first() {
            Some(b'[') => raw::elements(records).for_each(|record| self.push_json(record, into)),
            Some(b'{') => self.push_json(records, into),
            _ if records == "null" => {}
            _ => {
                return Err(format!(
                    "the answer's records are neither a list nor an object but `{}`",
                    cut_value(records)
                ));
            }
        }
        Ok(())
    }

    fn read_ndjson(&self, text: &str, into: &mut Records) -> Result<(), String> {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() {
                raw::check(line).map_err(|why| {
                    format!("line {} of the answer is not JSON: {why}", number + 1)
                })?;
                self.push_json(line, into);
            }
        }
        Ok(())
    }

    fn push_json<'a>(&self, record: &'a str, into: &mut Records) {
        let mut found: Vec<Option<&'a str>> = vec![None; self.slots.places.len()];
        self.slots.wanted.find(record, &mut found);
        let found_columns = &found[..self.answers.columns.len()];
        into.bare += u64::from(found_columns.iter().all(Option::is_none));
        for (missing, found) in into.missing.iter_mut().zip(found_columns) {
            *missing += u64::from(found.is_none());
        }
        let is_scalar = !record.starts_with(['{', '[']);
        let fault = if is_scalar && !self.slots.wanted.within.is_empty() {
            Some("the record is no object")
        } else if found.iter().flatten().any(|value| raw::is_torn(value)) {
            Some("a text holds half a character: `\\uD800` to `\\uDFFF` stand in pairs")
        } else {
            None
        };
        let targets = self.answers.columns.iter().map(|column| column.target);
        // Those of the key follow, and are texts.
        let targets = targets.chain(std::iter::repeat(Target::String));
        let text = |(value, target): (Option<&'a str>, Target)| match target {
            Target::Json => value.map(Cow::Borrowed),
            _ => value.and_then(raw::text),
        };
        let texts: Vec<_> = found.iter().copied().zip(targets).map(text).collect();
        let texts: Vec<Option<&str>> = texts.iter().map(Option::as_deref).collect();
        self.push(&texts, fault, record, into);
    }

    fn read_csv(&self, text: &str, into: &mut Records) -> Result<(), String> {
        let dialect = Dialect::new(b',', Some(b'"'), None);
        let limits = Limits {
            block_bytes: 1 << 20,
            block_records: u64::MAX,
            record_bytes: RECORD_BYTES_MAX,
        };
        let parser = |columns| Parser::new(dialect, vec![Target::String; columns]);
        let cut = |error: SplitError| error.error().message;
        let mut splitter = Splitter::new(text.as_bytes(), dialect, limits);
        let Some(header) = splitter.header().map_err(cut)? else {
            return Ok(());
        };
        let header = parser(0)
            .header(&header)
            .map_err(|why| format!("the answer's header: {why}"))?;
        let at = |place: &Place| match place {
            Place::Header(name) => {
                header
                    .iter()
                    .position(|column| column == name)
                    .ok_or_else(|| {
                        let names: Vec<&str> = header.iter().map(String::as_str).collect();
                        format!(
                            "the answer has no column `{name}`; there are {}",
                            crate::schema::list(&names)
                        )
                    })
            }
            Place::Pointer(_) | Place::Whole => unreachable!("places of CSV are names"),
        };
        let slots: Vec<usize> = self.slots.places.iter().map(at).collect::<Result<_, _>>()?;
        let parser = parser(header.len());
        while let Some(block) = splitter.next_block().map_err(cut)? {
            let first = block.first_record;
            let parsed = parser.parse(block.bytes.into());
            if let Some(fault) = parsed.faults.first() {
                let number = first + fault.record as u64;
                return Err(format!("record {number} of the answer: {}", fault.reason));
            }
            for row in 0..parsed.rows {
                let value = |&slot: &usize| parsed.columns[slot].strings().get(row);
                let values: Vec<Option<&str>> = slots.iter().map(value).collect();
                self.push(&values, None, "", into);
            }
        }
        Ok(())
    }

    /// One more record, of these values.
    fn push(&self, slots: &[Option<&str>], fault: Option<&str>, text: &str, into: &mut Records) {
        let (values, key) = slots.split_at(self.answers.columns.len());
        let record = into.len;
        let mut found = fault.map(|reason| (None, None, reason.to_owned()));
        for (i, (value, column)) in values.iter().zip(&mut into.columns).enumerate() {
            if let (Err(word), None) = (column.push(*value), &found) {
                let value = value.map(cut_value);
                found = Some((Some(i), value, format!("the value is no {word}")));
            }
        }
        if let Some((column, value, reason)) = found {
            let text = if text.is_empty() {
                shown(values)
            } else {
                cut_value(text)
            };
            into.faults.push(Fault {
                record,
                column,
                value,
                reason,
                text,
            });
        }
        if !key.is_empty() {
            into.keys.push(joined(key.iter().copied()));
        }
        into.len += 1;
    }
}

/// A record's values, for one who looks for what is wrong with it.
fn shown(values: &[Option<&str>]) -> String {
    let values: Vec<&str> = values
        .iter()
        .map(|value| value.unwrap_or_default())
        .collect();
    cut_value(&values.join(","))
}

/// A key of several parts, unlike every other; `None` where one of them is null.
pub(super) fn joined<'a>(parts: impl Iterator<Item = Option<&'a str>>) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    for part in parts {
        let part = part?;
        key.extend_from_slice(&(part.len() as u64).to_le_bytes());
        key.extend_from_slice(part.as_bytes());
    }
    Some(key)
}
