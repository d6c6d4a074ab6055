//! A pipeline file parsed: its tables, and for each key the place it was said at.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use crate::error::{Error, Result};

/// A file's tables.
pub(super) struct Document {
    /// The keys outside the stages.
    pub(super) top: Section,
    /// Each `[[stage]]`.
    pub(super) stages: Vec<Section>,
}

/// One table of the file, and where its keys came from.
pub(super) struct Section {
    /// The keys and values.
    pub(super) table: Table,
    /// Keys that the command line said, not the file.
    pub(super) set: BTreeSet<String>,
    /// What the command line calls the table: a stage's name, or nothing.
    pub(super) name: Option<String>,
    file: PathBuf,
    line: Option<usize>,
    lines: BTreeMap<String, usize>,
}

/// The text of a pipeline file.
pub(super) fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + memchr::memchr_iter(b'\n', valid).count();
        Error::usage("a pipeline file is UTF-8 text, this is not").cause(place(path, Some(line)))
    })
}

/// Parses a file's text; no stage at all is an error.
pub(super) fn parse(path: &Path, text: &str) -> Result<Document> {
    let not_toml = |error: &toml::de::Error| {
        let line = error.span().map(|span| line_of(text, span.start));
        let told = Error::usage(format!("not TOML: {}", error.message())).cause(place(path, line));
        if text.lines().any(|line| line.trim() == "[stage]") {
            return told.hint("begin each stage with `[[stage]]`");
        }
        told
    };
    let mut table: Table = text.parse().map_err(|error| not_toml(&error))?;
    let spans = DeTable::parse(text).map_err(|error| not_toml(&error))?;
    let lines = |table: &DeTable| -> BTreeMap<String, usize> {
        table
            .keys()
            .map(|key| (key.get_ref().to_string(), line_of(text, key.span().start)))
            .collect()
    };
    let section = |table: Table, line, lines| Section {
        table,
        set: BTreeSet::new(),
        name: None,
        file: path.to_owned(),
        line,
        lines,
    };

    let stages = table.remove("stage");
    let top = section(table, None, lines(spans.get_ref()));
    if let Some(key) = top
        .table
        .keys()
        .find(|key| !super::overrides::TOP_KEYS.contains(&key.as_str()))
    {
        let known = [super::overrides::TOP_KEYS, &["stage"]].concat();
        let error = Error::usage(format!(
            "unknown key `{key}`; there are `name`, `max_rejects` and `[[stage]]`"
        ));
        return Err(top.locate(key, suggest(error, key, known)));
    }
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
            let lines = span.get_ref().as_table().map(lines).unwrap_or_default();
            section(table, Some(line_of(text, span.span().start)), lines)
        })
        .collect();
    Ok(Document { top, stages })
}

impl Section {
    /// Says of an error where its key was said.
    pub(super) fn locate(&self, key: &str, mut error: Error) -> Error {
        let place = if self.set.contains(key) {
            match &self.name {
                Some(stage) => format!("at `--set {stage}.{key}`"),
                None => format!("at `--set {key}`"),
            }
        } else {
            place(&self.file, self.lines.get(key).copied().or(self.line))
        };
        error.causes.insert(0, place);
        match &self.name {
            Some(name) => error.stage(name),
            None => error,
        }
    }

    /// Says of a kind's error where the option it names first was said, or else where the stage begins.
    pub(super) fn locate_named(&self, error: Error) -> Error {
        let key = error
            .message
            .split('`')
            .skip(1)
            .step_by(2)
            .filter_map(|word| word.split('.').next())
            .find(|word| self.table.contains_key(*word))
            .unwrap_or_default()
            .to_owned();
        self.locate(&key, error)
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

/// Adds the known word that was probably meant.
pub(super) fn suggest<'a>(
    error: Error,
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Error {
    match crate::error::nearest(word, known) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    }
}

fn place(path: &Path, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("at {}, line {line}", path.display()),
        None => format!("at {}", path.display()),
    }
}

fn line_of(text: &str, byte: usize) -> usize {
    let before = &text.as_bytes()[..byte.min(text.len())];
    1 + memchr::memchr_iter(b'\n', before).count()
}

/// What a value is, in words; short plain ones as they stand.
fn found(value: &Value) -> String {
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
