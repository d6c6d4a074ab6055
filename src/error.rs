//! The one error type: where it happened, what went wrong, what to do next.
//!
//! Messages are lower case without a full stop; literals stand in backticks. An error made in a worker
//! process crosses to the parent as it is, so every executor reports the same text.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

/// A result whose error says where, what and what next.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// The command line and the pipeline file alone show it (exit 2).
    Usage,
    /// It took a file, data or a server to find out (exit 1).
    Failed,
    /// This signal stopped the run (exit 128 + signal).
    Interrupted(i32),
    /// Whoever read standard output is gone: end quietly (exit 0).
    ClosedStdout,
}

/// Where a row began in an input file. Records and lines count from 1, bytes from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file as the pipeline names it, resolved.
    pub file: String,
    /// The record's number in its file, headers not counted.
    pub record: u64,
    /// The physical line the record begins on, where the loader knows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u64>,
    /// The record's offset in the decompressed text, where the loader knows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub byte: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: record {}", self.file, self.record)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(byte) = self.byte {
            write!(f, ", byte {byte}")?;
        }
        Ok(())
    }
}

/// An error with its place, causes and a hint.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Error {
    /// What it means for the exit code.
    pub class: Class,
    /// What went wrong, in one line.
    pub message: String,
    /// The stage it happened in.
    pub stage: Option<String>,
    /// Where the row in question began.
    pub place: Option<Place>,
    /// The row's origin number, until the driver has turned it into a place.
    pub origin: Option<u64>,
    /// Line and byte of that row, from a loader.
    pub line_byte: Option<(u64, u64)>,
    /// What lies behind it, outermost first.
    pub causes: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// The values of the stage's table that it is about, each a key and what lies below it, a member or an item: the
    /// first is at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Vec<String>>,
    /// A run that failed so cannot go on with `--resume`: what it would go on with is gone.
    #[serde(default)]
    pub beyond_resume: bool,
    /// Further mistakes that were found with it, in the file's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Error>,
    /// What could not be looked at because of these mistakes: printed after all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchecked: Option<String>,
}

impl Error {
    fn new(class: Class, message: impl Into<String>) -> Self {
        Error {
            class,
            message: message.into(),
            stage: None,
            place: None,
            origin: None,
            line_byte: None,
            causes: Vec::new(),
            hint: None,
            values: Vec::new(),
            beyond_resume: false,
            others: Vec::new(),
            unchecked: None,
        }
    }

    /// It and the others, each by itself.
    pub fn split(mut self) -> impl Iterator<Item = Error> {
        let others = std::mem::take(&mut self.others);
        std::iter::once(self).chain(others)
    }

    /// All of them in one, if there are any: the first, with the others. The command line and the pipeline
    /// file are at fault if one of them is of those.
    pub fn all(errors: Vec<Error>) -> Option<Error> {
        let mut errors = errors.into_iter().flat_map(Error::split);
        let mut first = errors.next()?;
        first.others = errors.collect();
        if first.others.iter().any(|other| other.class == Class::Usage) {
            first.class = Class::Usage;
        }
        Some(first)
    }

    /// It and the others changed alike.
    #[must_use]
    pub fn each(mut self, change: &impl Fn(Error) -> Error) -> Error {
        let others = std::mem::take(&mut self.others);
        let mut changed = change(self);
        changed.others = others.into_iter().map(change).collect();
        changed
    }

    /// A fault of the command line or the pipeline file (exit 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Class::Usage, message)
    }

    /// A fault that took a file, data or a server to find (exit 1).
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Class::Failed, message)
    }

    /// A signal stopped the run.
    pub fn interrupted(signal: i32) -> Self {
        Self::new(Class::Interrupted(signal), "interrupted")
    }

    /// An input or output error on `path`.
    pub fn io(doing: &str, path: impl fmt::Display, error: &std::io::Error) -> Self {
        let failed = Self::failed(format!("cannot {doing} `{path}`")).cause(error);
        if is_out_of_descriptors(error) {
            failed.hint(DESCRIPTORS)
        } else {
            failed
        }
    }

    /// Names the stage, unless one is named already.
    #[must_use]
    pub fn stage(mut self, name: &str) -> Self {
        self.stage.get_or_insert_with(|| name.to_owned());
        self
    }

    /// Says where the row in question began.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Says which row it was, by its origin number.
    #[must_use]
    pub fn origin(mut self, origin: Option<u64>) -> Self {
        self.origin = origin;
        self
    }

    /// Adds what lies behind it.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// It and the others are about the value at this path of the stage's table too: a key, then a member of its table
    /// or an item of its list.
    #[must_use]
    pub fn of<P: AsRef<str>>(self, path: impl IntoIterator<Item = P>) -> Self {
        let path = path.into_iter().map(|part| part.as_ref().to_owned());
        let path: Vec<String> = path.collect();
        self.each(&|mut error: Error| {
            error.values.push(path.clone());
            error
        })
    }

    /// What it and the others are about lies below this key.
    #[must_use]
    pub fn under(self, key: &str) -> Self {
        self.each(&|mut error: Error| {
            if error.values.is_empty() {
                error.values.push(Vec::new());
            }
            for path in &mut error.values {
                path.insert(0, key.to_owned());
            }
            error
        })
    }

    /// Begins the message with the key that it is about.
    #[must_use]
    pub fn about(mut self, key: &str) -> Self {
        self.message = format!("`{key}`: {}", self.message);
        self
    }

    /// Says that no run can go on from here.
    #[must_use]
    pub fn beyond_resume(mut self) -> Self {
        self.beyond_resume = true;
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether it is about a row of the input: the same in every run.
    pub fn is_of_a_row(&self) -> bool {
        self.origin.is_some() || self.place.is_some()
    }

    /// The process's exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self.class {
            Class::Usage => 2,
            Class::Failed => 1,
            Class::Interrupted(signal) => 128 + u8::try_from(signal).unwrap_or(0),
            Class::ClosedStdout => 0,
        }
    }

    /// The whole report of it and the others: `error:` line, indented causes, `hint:`.
    pub fn render(&self) -> String {
        let others = self.others.iter().map(Error::render_one);
        let unchecked = self.unchecked.iter();
        let unchecked = unchecked.map(|what| format!("not checked yet: {what}\n"));
        let own = std::iter::once(self.render_one());
        own.chain(others).chain(unchecked).collect()
    }

    /// The same as a part of a warning.
    pub fn in_warning(&self) -> String {
        self.render().replace("error: ", "").trim().to_owned()
    }

    fn render_one(&self) -> String {
        let mut text = String::from("error: ");
        if let Some(stage) = &self.stage {
            text.push_str(&format!("stage `{stage}`: "));
        }
        // Later lines are indented: nothing that is data begins a line.
        let indented = |text: &str| text.trim_end().replace('\n', "\n  ");
        text.push_str(&indented(&self.message));
        text.push('\n');
        if let Some(place) = &self.place {
            text.push_str(&format!("  at {}\n", indented(&place.to_string())));
        }
        for cause in &self.causes {
            text.push_str(&format!("  {}\n", indented(cause)));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {}\n", indented(hint)));
        }
        text
    }
}

/// Says which value of a stage's table the error of a result is about: [`Error::of`] and [`Error::under`].
pub trait OfValue {
    /// It is about the value at this path too.
    #[must_use]
    fn of<P: AsRef<str>>(self, path: impl IntoIterator<Item = P>) -> Self;

    /// What it is about lies below this key.
    #[must_use]
    fn under(self, key: &str) -> Self;
}

impl<T> OfValue for Result<T> {
    fn of<P: AsRef<str>>(self, path: impl IntoIterator<Item = P>) -> Self {
        self.map_err(|error| error.of(path))
    }

    fn under(self, key: &str) -> Self {
        self.map_err(|error| error.under(key))
    }
}

/// What to do where no more files may be open.
pub const DESCRIPTORS: &str =
    "raise the limit of open files (`ulimit -n`), or lower `workers`, or read fewer files at once";

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread becomes an error, so that it is not to be printed.
pub(crate) fn is_guarded() -> bool {
    GUARDED.get()
}

/// Does work of a library that may panic; of a panic what it says. Nothing of what the work was on is to be used then.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    GUARDED.set(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(false);
    done.map_err(|panic| panic_words(panic.as_ref()))
}

/// What a panic says.
pub(crate) fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no words".into())
}

/// Whether the system refuses another open file, pipe or socket.
pub fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(nix::libc::EMFILE) || code == Some(nix::libc::ENFILE)
}

/// What a check gave, or its mistake noted, so that one mistake does not hide the next.
pub fn note<T>(mistakes: &mut Vec<Error>, checked: Result<T>) -> Option<T> {
    checked.map_err(|mistake| mistakes.push(mistake)).ok()
}

/// What two checks gave, or the mistakes of both.
pub fn both<A, B>(one: Result<A>, other: Result<B>) -> Result<(A, B)> {
    let mut mistakes = Vec::new();
    let given = (note(&mut mistakes, one), note(&mut mistakes, other));
    match (given, Error::all(mistakes)) {
        ((Some(one), Some(other)), None) => Ok((one, other)),
        (_, mistakes) => Err(mistakes.expect("what gave nothing has noted why")),
    }
}

/// What all checks gave, in their order, or the mistakes of all.
pub fn every<T>(checks: impl IntoIterator<Item = Result<T>>) -> Result<Vec<T>> {
    let mut mistakes = Vec::new();
    let checks = checks.into_iter();
    let given = checks
        .filter_map(|checked| note(&mut mistakes, checked))
        .collect();
    match Error::all(mistakes) {
        Some(mistakes) => Err(mistakes),
        None => Ok(given),
    }
}

/// A longer value is cut where it is shown: a report must stay readable.
pub const VALUE_BYTES_MAX: usize = 1024;

/// The first [`VALUE_BYTES_MAX`] bytes of a value, whole characters.
pub fn cut_value(value: &str) -> String {
    value[..value.floor_char_boundary(VALUE_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_that_is_met_is_named() {
        let hint = |code| {
            let error = std::io::Error::from_raw_os_error(code);
            Error::io("open", "a.csv", &error).hint
        };
        let hints = [nix::libc::EMFILE, nix::libc::ENFILE].map(hint);
        for hint in hints {
            assert!(hint.is_some_and(|hint| hint.contains("`ulimit -n`")));
        }
        assert_eq!(hint(nix::libc::EACCES), None);
    }

    #[test]
    fn several_errors_are_one_with_the_others() {
        let one = Error::failed("a\nerror: b").hint("c\nhint: d");
        let all = Error::all(vec![one, Error::usage("e")]).unwrap();
        assert_eq!(all.exit_code(), 2);
        assert_eq!(
            all.render(),
            "error: a\n  error: b\nhint: c\n  hint: d\nerror: e\n"
        );
        assert!(Error::all(Vec::new()).is_none());
    }

    #[test]
    fn an_error_says_where_what_and_what_next() {
        let error = Error::failed("no format fits `x`")
            .stage("dates")
            .at(Place {
                file: "a.gz".into(),
                record: 3,
                line: Some(4),
                byte: Some(70),
            })
            .cause("tried `%Y-%m-%d`")
            .hint("add a format");
        assert_eq!(
            error.render(),
            "error: stage `dates`: no format fits `x`\n  at a.gz: record 3, line 4, byte 70\n  tried `%Y-%m-%d`\nhint: add a format\n"
        );
    }
}
