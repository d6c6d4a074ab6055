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
    /// Keys outside the stages that there are none of.
    pub(super) mistakes: Vec<Error>,
}

/// One table of the file, and where its keys came from.
#[derive(Debug, Clone)]
pub struct Section {
    /// The keys and values.
    pub(super) table: Table,
    /// Keys that the command line said, not the file.
    pub(super) set: BTreeSet<String>,
    /// What the command line calls the table: a stage's name, or nothing.
    pub(super) name: Option<String>,
    file: PathBuf,
    line: Option<usize>,
    lines: Lines,
}

/// Where keys stand, and below them what stands on lines of its own: members of tables and words of lists.
#[derive(Debug, Clone, Default)]
struct Lines {
    keys: BTreeMap<String, usize>,
    below: BTreeMap<(String, String), usize>,
}

impl Lines {
    fn of(table: &DeTable, text: &str) -> Lines {
        let mut lines = Lines::default();
        for (key, value) in table {
            let name = key.get_ref().to_string();
            lines.below(&name, value, text);
            lines.keys.insert(name, line_of(text, key.span().start));
        }
        lines
    }

    fn below(&mut self, key: &str, value: &toml::Spanned<DeValue>, text: &str) {
        let mut add = |word: &str, at: usize| {
            let word = (key.to_owned(), word.to_owned());
            self.below.entry(word).or_insert(line_of(text, at));
        };
        match value.get_ref() {
            DeValue::Array(items) => {
                for item in items {
                    if let DeValue::String(word) = item.get_ref() {
                        add(word, item.span().start);
                    }
                }
            }
            DeValue::Table(table) => {
                for (member, value) in table {
                    add(member.get_ref(), member.span().start);
                    if let DeValue::String(word) = value.get_ref() {
                        add(word, value.span().start);
                    }
                }
            }
            _ => {}
        }
    }

    /// Where the first of the words stands below a key, or else the key.
    fn find<'a>(&self, key: &str, words: impl IntoIterator<Item = &'a str>) -> Option<usize> {
        let below = |word: &str| self.below.get(&(key.to_owned(), word.to_owned()));
        let below = words.into_iter().find_map(below);
        below.or_else(|| self.keys.get(key)).copied()
    }
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
    let (spans, faults) = DeTable::parse_recoverable(text);
    // What follows a mistake of TOML itself is read wrongly: later ones may be its consequences.
    if let Some(fault) = faults.first() {
        return Err(not_toml(fault));
    }
    let mut table: Table = text.parse().map_err(|error| not_toml(&error))?;
    let section = |table: Table, line, lines| Section {
        table,
        set: BTreeSet::new(),
        name: None,
        file: path.to_owned(),
        line,
        lines,
    };

    let stages = table.remove("stage");
    let top = section(table, None, Lines::of(spans.get_ref(), text));
    let known = [super::overrides::TOP_KEYS, &["stage"]].concat();
    let unknown = top
        .table
        .keys()
        .filter(|key| !known.contains(&key.as_str()));
    let unknown = unknown.map(|key| {
        let error = Error::usage(format!(
            "unknown key `{key}`; there are `name`, `max_rejects` and `[[stage]]`"
        ));
        top.locate(key, suggest(error, key, known.iter().copied()))
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
            let lines = table_of.map(|table| Lines::of(table, text));
            let line = Some(line_of(text, span.span().start));
            section(table, line, lines.unwrap_or_default())
        })
        .collect();
    Ok(Document {
        top,
        stages,
        mistakes,
    })
}

impl Section {
    /// Says of an error where its key was said.
    pub(super) fn locate(&self, key: &str, error: Error) -> Error {
        self.locate_below(key, &[], error)
    }

    /// The same where `word` is said below the key, perhaps on a line of its own.
    pub(super) fn locate_word(&self, key: &str, word: &str, error: Error) -> Error {
        self.locate_below(key, &[word], error)
    }

    /// The same where one of `words` is said below the key, perhaps on a line of its own.
    fn locate_below(&self, key: &str, words: &[&str], mut error: Error) -> Error {
        let place = if self.set.contains(key) {
            match &self.name {
                Some(stage) => format!("at `--set {stage}.{key}`"),
                None => format!("at `--set {key}`"),
            }
        } else {
            place(
                &self.file,
                self.lines.find(key, words.iter().copied()).or(self.line),
            )
        };
        error.causes.insert(0, place);
        match &self.name {
            Some(name) => error.stage(name),
            None => error,
        }
    }

    /// Says of a kind's error where the option it names first was said, or else where the stage begins.
    pub(super) fn locate_named(&self, error: Error) -> Error {
        error.each(&|error: Error| {
            let message = error.message.clone();
            let key = self.named(&error).unwrap_or_default().to_owned();
            let words: Vec<&str> = words(&message)
                .flat_map(|word| [Some(word), word.split('.').nth(1)])
                .flatten()
                .collect();
            self.locate_below(&key, &words, error)
        })
    }

    /// Whether the first thing that an error names is a key of the table.
    pub(super) fn begins_with_key(&self, error: &Error) -> bool {
        let first = words(&error.message).next();
        first.is_some_and(|word| self.table.contains_key(word))
    }

    /// The key of the table that an error names first, or below which it stands what it names.
    pub(super) fn named(&self, error: &Error) -> Option<&str> {
        let of_word = |word: &str| {
            let key = self.table.get_key_value(word.split('.').next()?)?;
            Some(key.0.as_str())
        };
        let below = |word: &str| {
            let mut said = self.lines.below.keys();
            let key =
                said.find_map(|(key, said)| (said == word && key != "inputs").then_some(key))?;
            self.table.contains_key(key).then_some(key.as_str())
        };
        let message = &error.message;
        let key = words(message).find_map(of_word);
        key.or_else(|| words(message).take(1).find_map(below))
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

/// The words of a message that stand in backticks.
fn words(message: &str) -> impl Iterator<Item = &str> {
    message.split('`').skip(1).step_by(2)
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

/// The line at which an error was located; those that stand in no line come last.
pub(super) fn line(error: &Error) -> usize {
    let place = error.causes.first();
    let line = place.and_then(|place| place.rsplit_once(", line ")?.1.parse().ok());
    line.unwrap_or(usize::MAX)
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
