//! A pipeline file parsed: its tables, and for each value the place it was said at.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use crate::error::{Error, Result};
use crate::secrets::mask_behind_name;

/// A file's tables.
pub(super) struct Document {
    /// The keys outside the stages.
    pub(super) top: Section,
    /// Each `[[stage]]`.
    pub(super) stages: Vec<Section>,
    /// Keys outside the stages that there are none of.
    pub(super) mistakes: Vec<Error>,
}

/// One table of the file, and where its values came from.
#[derive(Debug, Clone)]
pub struct Section {
    /// The keys and values.
    pub(super) table: Table,
    /// What the command line calls the table: a stage's name, or nothing.
    pub(super) name: Option<String>,
    file: PathBuf,
    /// Keys whose text has an environment variable in it.
    varied: BTreeSet<String>,
    /// Where the table begins.
    start: Option<Position>,
    /// Where each value came from: a key, a member of a table, an item of a list.
    origins: BTreeMap<Vec<String>, Origin>,
}

/// A line and a column in the file, both from 1; the column counts characters.
type Position = (usize, usize);

/// Where a value came from.
#[derive(Debug, Clone)]
enum Origin {
    File(Position),
    /// The argument of `--set`, as it may be printed.
    Set(String),
}

/// Where the keys of a table stand, and below them what may stand on a line of its own: members of tables and
/// items of lists.
fn origins(table: &DeTable, text: &str) -> BTreeMap<Vec<String>, Origin> {
    let mut origins = BTreeMap::new();
    let mut add = |path: &[&str], at: usize| {
        let path = path.iter().map(|&key| key.to_owned()).collect();
        let origin = Origin::File(position(text, at));
        origins.entry(path).or_insert(origin);
    };
    for (key, value) in table {
        let name: &str = key.get_ref();
        add(&[name], key.span().start);
        match value.get_ref() {
            DeValue::Array(items) => {
                for item in items {
                    if let DeValue::String(word) = item.get_ref() {
                        add(&[name, word], item.span().start);
                    }
                }
            }
            DeValue::Table(table) => {
                for member in table.keys() {
                    add(&[name, member.get_ref()], member.span().start);
                }
            }
            _ => {}
        }
    }
    origins
}

/// The text of a pipeline file.
pub(super) fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let valid = String::from_utf8_lossy(valid);
        let at = position(&valid, valid.len());
        Error::usage("a pipeline file is UTF-8 text, this is not").cause(place(path, Some(at)))
    })
}

/// Parses a file's text; no stage at all is an error.
pub(super) fn parse(path: &Path, text: &str) -> Result<Document> {
    let (spans, faults) = DeTable::parse_recoverable(text);
    // What follows a mistake of TOML itself is read wrongly: later ones may be its consequences.
    if let Some(fault) = faults.first() {
        return Err(not_toml(path, text, fault));
    }
    let mut table: Table = text.parse().map_err(|error| not_toml(path, text, &error))?;
    let section = |table: Table, start, origins| Section {
        varied: varied(&table),
        table,
        name: None,
        file: path.to_owned(),
        start,
        origins,
    };

    let stages = table.remove("stage");
    let top = section(table, None, origins(spans.get_ref(), text));
    let known = [super::overrides::TOP_KEYS, &["stage"]].concat();
    let unknown = top
        .table
        .keys()
        .filter(|key| !known.contains(&key.as_str()));
    let unknown = unknown.map(|key| {
        let error = Error::usage(format!(
            "unknown key `{key}`; there are `name`, `max_rejects`, `[cluster]` and `[[stage]]`"
        ));
        top.locate(key, error.suggest(key, known.iter().copied()))
    });
    let mistakes: Vec<Error> = unknown.collect();
    let tables = match stages {
        None => Vec::new(),
        Some(Value::Array(values)) if values.iter().all(Value::is_table) => values
            .into_iter()
            .filter_map(|value| value.try_into().ok())
            .collect(),
        Some(other) => {
            let error = Error::usage(format!("`stage`: expected tables, found {}", found(&other)));
            let error = error.hint("begin each stage with `[[stage]]`");
            return Err(top.locate("stage", error));
        }
    };
    if let (true, Some(mistakes)) = (tables.is_empty(), Error::all(mistakes.clone())) {
        return Err(mistakes);
    }
    if tables.is_empty() {
        return Err(Error::usage("a pipeline needs a stage, this has none")
            .cause(place(path, None))
            .hint("begin each stage with `[[stage]]`; `etl stages` lists the kinds"));
    }
    let spans = match spans.get_ref().get("stage").map(toml::Spanned::get_ref) {
        Some(DeValue::Array(spans)) => spans.iter().collect(),
        _ => Vec::new(),
    };
    let stages = tables
        .into_iter()
        .zip(spans)
        .map(|(table, span)| {
            let table_of = span.get_ref().as_table();
            let origins = table_of.map(|table| origins(table, text));
            let start = Some(position(text, span.span().start));
            section(table, start, origins.unwrap_or_default())
        })
        .collect();
    Ok(Document {
        top,
        stages,
        mistakes,
    })
}

/// What is wrong with a text that is no TOML.
fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let at = error.span().map(|span| position(text, span.start));
    let failed = Error::usage(format!("not TOML: {}", error.message())).cause(place(path, at));
    if text.lines().any(|line| line.trim() == "[stage]") {
        return failed.hint("begin each stage with `[[stage]]`");
    }
    match path.extension() {
        Some(ending) if ending != "toml" => failed.hint(format!(
            "name a pipeline file, which is TOML; is `{}` data?",
            path.display()
        )),
        _ => failed,
    }
}

/// The keys of a table whose text has an environment variable in it.
fn varied(table: &Table) -> BTreeSet<String> {
    let has_variable = |value: &Value| value.as_str().is_some_and(|text| text.contains("${"));
    let varied = table.iter().filter(|(_, value)| has_variable(value));
    varied.map(|(key, _)| key.clone()).collect()
}

impl Section {
    /// Says of an error where its key was said.
    pub(super) fn locate(&self, key: &str, error: Error) -> Error {
        self.locate_path(&[key.to_owned()], error)
    }

    /// Says of an error where the value at `path` was said, or the nearest above it.
    pub(super) fn locate_path(&self, path: &[String], mut error: Error) -> Error {
        error.causes.insert(0, self.place_of(path));
        match &self.name {
            Some(name) => error.stage(name),
            None => error,
        }
    }

    fn place_of(&self, path: &[String]) -> String {
        match self.origin_of(path) {
            Some(Origin::Set(argument)) => format!("at `--set {argument}`"),
            Some(Origin::File(at)) => place(&self.file, Some(*at)),
            None => place(&self.file, self.start),
        }
    }

    fn origin_of(&self, path: &[String]) -> Option<&Origin> {
        let above = (1..=path.len()).rev().map(|count| &path[..count]);
        let mut known = above.filter_map(|path| self.origins.get(path));
        // A table that only `--set` has made has no place of its own.
        let below = || {
            let mut below = self.origins.iter();
            let is_below =
                |(other, _): &(&Vec<String>, _)| !path.is_empty() && other.starts_with(&path[..1]);
            below.find(is_below).map(|(_, origin)| origin)
        };
        known.next().or_else(below)
    }

    /// Writes down that the command line said the value at `path`, and all below it, with this argument.
    pub(super) fn set(&mut self, path: &[String], argument: String) {
        self.forget(path);
        self.origins.insert(path.to_vec(), Origin::Set(argument));
    }

    /// Forgets where the value at `path` came from, and all below it.
    pub(super) fn forget(&mut self, path: &[String]) {
        self.origins.retain(|other, _| !other.starts_with(path));
    }

    /// Whether the command line said a key, not the file.
    pub(super) fn is_set(&self, key: &str) -> bool {
        let origin = self.origins.get([key.to_owned()].as_slice());
        matches!(origin, Some(Origin::Set(_)))
    }

    /// Whether a key may have another value in the next run: a variable, or the command line, gives it.
    pub(super) fn varies(&self, key: &str) -> bool {
        self.varied.contains(key) || self.is_set(key)
    }

    /// A list of this text alone as it is written where the value at `path` was said; not of a text that may be secret.
    pub(super) fn as_list(&self, path: &[&str], text: &str) -> Option<String> {
        if mask_behind_name(text) != text {
            return None;
        }
        let path: Vec<String> = path.iter().map(|&part| part.to_owned()).collect();
        let list = format!("[{text:?}]");
        let Some(Origin::Set(argument)) = self.origin_of(&path) else {
            return Some(list);
        };
        let (key, _) = argument.split_once('=')?;
        let quoted = format!("{key}={list}").replace('\'', r"'\''");
        Some(format!("--set '{quoted}'"))
    }

    /// A key's text.
    pub(super) fn string(&self, key: &str) -> Result<Option<String>> {
        self.get(key, "text", |value| value.as_str().map(str::to_owned))
    }

    /// A key's truth.
    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "`true` or `false`", Value::as_bool)
    }

    /// A key's whole number within limits.
    pub(super) fn integer(&self, key: &str, limits: RangeInclusive<i64>) -> Result<Option<i64>> {
        let Some(number) = self.get(key, "a whole number", Value::as_integer)? else {
            return Ok(None);
        };
        if limits.contains(&number) {
            return Ok(Some(number));
        }
        let (least, most) = limits.into_inner();
        let wanted = if most == i64::MAX {
            format!("at least {least}")
        } else {
            format!("{least} to {most}")
        };
        let error = Error::usage(format!("`{key}`: expected {wanted}, found {number}"));
        Err(self.locate(key, error))
    }

    /// A key's list of words.
    pub(super) fn strings(&self, key: &str) -> Result<Option<Vec<String>>> {
        self.get(key, "a list of names", |value| {
            let words = value.as_array()?.iter();
            words.map(|word| word.as_str().map(str::to_owned)).collect()
        })
    }

    fn get<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        read(value).map(Some).ok_or_else(|| {
            let error = Error::usage(format!(
                "`{key}`: expected {expected}, found {}",
                found(value)
            ));
            self.locate(key, error)
        })
    }
}

fn place(path: &Path, at: Option<Position>) -> String {
    match at {
        Some((line, column)) => format!("at {}:{line}:{column}", path.display()),
        None => format!("at {}", path.display()),
    }
}

/// Where in the file an error was located; those of the command line come last.
pub(super) fn order(error: &Error) -> Position {
    let located = || {
        let mut parts = error.causes.first()?.rsplit(':');
        let column = parts.next()?.parse().ok()?;
        Some((parts.next()?.parse().ok()?, column))
    };
    located().unwrap_or((usize::MAX, 0))
}

fn position(text: &str, byte: usize) -> Position {
    let before = &text[..text.floor_char_boundary(byte)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let lines = memchr::memchr_iter(b'\n', before.as_bytes()).count();
    (1 + lines, 1 + before[line_start..].chars().count())
}

/// What a value is, in words; short plain ones as they stand.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::String(_) => "text".into(),
        Value::Integer(number) => format!("`{number}`"),
        Value::Float(number) => format!("`{number}`"),
        Value::Boolean(truth) => format!("`{truth}`"),
        Value::Datetime(date) => format!("the date `{date}`"),
        Value::Array(_) => "a list".into(),
        Value::Table(_) => "a table".into(),
    }
}
