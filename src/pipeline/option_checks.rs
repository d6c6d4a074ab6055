//! All that is wrong with the options of a stage. First each value is held against the type of its option; then the
//! kind looks at all of them. A kind says only what it finds first: the value that is at fault is taken out, and the
//! kind looks at what is left, until nothing is wrong or nothing more can be taken out.

use serde_json::Value as Json;
use toml::{Table, Value};

use super::source::{Section, found};
use crate::error::Error;
use crate::meant::meant;
use crate::secrets;
use crate::stage::{Stage, StageKind};

/// The search for them in one stage.
pub(super) struct Checks<'a> {
    kind: &'static StageKind,
    section: &'a Section,
    options: &'a Table,
    /// A key of the stage is unknown: one that is missing may be that, misspelt.
    has_unknown: bool,
    /// The options without what was found wrong.
    left: Table,
    /// What was taken out: an error that is about it too may be a consequence.
    taken: Vec<Vec<String>>,
    /// Each with its place.
    pub(super) found: Vec<Error>,
}

impl<'a> Checks<'a> {
    pub(super) fn new(
        kind: &'static StageKind,
        section: &'a Section,
        options: &'a Table,
        has_unknown: bool,
    ) -> Self {
        Checks {
            kind,
            section,
            options,
            has_unknown,
            left: options.clone(),
            taken: Vec::new(),
            found: Vec::new(),
        }
    }

    /// A variable's value is not known.
    pub(super) fn unset(&mut self, path: &[String], error: Error) {
        self.found.push(self.section.locate_path(path, error));
        self.take_out(path);
    }

    /// The stage, if nothing is wrong with it.
    pub(super) fn find(&mut self) -> Option<Box<dyn Stage>> {
        for option in self.kind.all_options() {
            let mut errors = Vec::new();
            match self.left.get(option.name) {
                Some(value) => self.hold(
                    value,
                    &option.schema,
                    option.name,
                    &[option.name],
                    &mut errors,
                ),
                None if option.default.is_none() => errors.push(missing(&[option.name])),
                None => {}
            }
            for error in errors {
                self.note(error);
            }
        }
        loop {
            let errors = match (self.kind.decode)(self.left.clone()) {
                Ok(stage) => return self.taken.is_empty().then_some(stage),
                Err(error) => error.split(),
            };
            let progress = errors.map(|error| self.note(error)).filter(|taken| *taken);
            if progress.count() == 0 {
                return None;
            }
        }
    }

    /// Whether something was taken out for this error.
    fn note(&mut self, error: Error) -> bool {
        let is_taken = |path: &Vec<String>| {
            let overlaps = |taken: &Vec<String>| path.iter().zip(taken).all(|(a, b)| a == b);
            self.taken.iter().any(overlaps)
        };
        let is_known = |known: &Error| known.message == error.message;
        if error.values.iter().any(is_taken) || self.found.iter().any(is_known) {
            return false;
        }
        let path = error.values.first().cloned().unwrap_or_default();
        let is_there = path.first().is_some_and(|key| self.left.contains_key(key));
        if is_there || !self.has_unknown {
            let located = self.section.locate_path(&path, error);
            self.found.push(secrets::scrub(located, self.options));
        }
        self.take_out(&path)
    }

    /// Takes a value out; a key that the stage must have gets the value of its kind's example.
    fn take_out(&mut self, path: &[String]) -> bool {
        let Some(key) = path.first() else {
            return false;
        };
        self.taken.push(path.to_vec());
        if remove(&mut self.left, path) {
            return true;
        }
        let was_there = self.left.remove(key).is_some();
        let Some(value) = self.kind.stand_in(key) else {
            return was_there;
        };
        self.left.insert(key.clone(), value);
        true
    }

    /// Notes where a value is not what the schema of its option says. `key` is what it is called; `path`, where it stands,
    /// has the text of an item too.
    fn hold(
        &self,
        value: &Value,
        schema: &Json,
        key: &str,
        path: &[&str],
        errors: &mut Vec<Error>,
    ) {
        let branches = match schema["anyOf"].as_array() {
            // What a variable may hold is no longer a variable here.
            Some(branches) => branches
                .iter()
                .filter(|branch| branch.get("pattern").is_none())
                .collect(),
            None => vec![schema],
        };
        let Some(branch) = branches.iter().find(|branch| has_shape(value, branch)) else {
            let expected: Vec<String> = branches.iter().map(|branch| in_words(branch)).collect();
            errors.push(self.misfit(value, &expected.join(" or "), key, path));
            return;
        };
        match value {
            Value::String(word) => {
                let known = branch["enum"].as_array().into_iter().flatten();
                let known: Vec<&str> = known.filter_map(Json::as_str).collect();
                if !known.is_empty() && !known.contains(&word.as_str()) {
                    let error = self.misfit(value, &in_words(branch), key, path);
                    let mut options = self.kind.all_options();
                    let option = options.find(|option| path.first() == Some(&option.name));
                    let instead = option.and_then(|option| option.instead_of(word));
                    let hint = instead.map(str::to_owned).or_else(|| meant(word, &known));
                    errors.push(match hint {
                        Some(hint) => error.hint(hint),
                        None => error,
                    });
                }
            }
            Value::Integer(number) => {
                let limit = |name: &str| branch[name].as_i64();
                let fits = limit("minimum").is_none_or(|least| *number >= least)
                    && limit("maximum").is_none_or(|most| *number <= most);
                if !fits && branch["type"] == "integer" {
                    errors.push(self.misfit(value, &in_words(branch), key, path));
                }
            }
            Value::Array(items) => {
                for item in items {
                    let text = item.as_str().into_iter();
                    let path: Vec<&str> = path.iter().copied().chain(text).collect();
                    self.hold(item, &branch["items"], key, &path, errors);
                }
            }
            Value::Table(members) => self.hold_members(members, branch, path, errors),
            _ => {}
        }
    }

    fn hold_members(&self, members: &Table, schema: &Json, path: &[&str], errors: &mut Vec<Error>) {
        let known = schema["properties"].as_object();
        for (name, member) in members {
            let path = [path, &[name.as_str()]].concat();
            match known.and_then(|known| known.get(name)) {
                Some(schema) => self.hold(member, schema, &path.join("."), &path, errors),
                None if schema["additionalProperties"].is_object() => {
                    let key = path.join(".");
                    self.hold(member, &schema["additionalProperties"], &key, &path, errors);
                }
                None => {
                    if let Some(known) = known {
                        let known: Vec<&str> = known.keys().map(String::as_str).collect();
                        errors.push(unknown(&path, &known));
                    }
                }
            }
        }
        let required = schema["required"].as_array().into_iter().flatten();
        let absent = required
            .filter_map(Json::as_str)
            .filter(|name| !members.contains_key(*name));
        for name in absent {
            errors.push(missing(&[path, &[name]].concat()));
        }
    }

    fn misfit(&self, value: &Value, expected: &str, key: &str, path: &[&str]) -> Error {
        let found = match value {
            Value::String(word) if expected.starts_with("one of ") => format!("`{word}`"),
            Value::String(text) => format!("the text {:?}", secrets::mask_behind_name(text)),
            other => found(other),
        };
        let error = Error::usage(format!("`{key}`: expected {expected}, found {found}")).of(path);
        match value {
            Value::String(text) if expected == "a list" => match self.section.as_list(path, text) {
                Some(list) => error.hint(format!("write a list: `{list}`")),
                None => error,
            },
            _ => error,
        }
    }
}

fn missing(path: &[&str]) -> Error {
    Error::usage(format!("missing key `{}`", path.join("."))).of(path)
}

fn unknown(path: &[&str], known: &[&str]) -> Error {
    let (name, above) = path.split_last().expect("a member has a name");
    let error = Error::usage(format!(
        "unknown key `{}`; `{}` takes {}",
        path.join("."),
        above.join("."),
        crate::schema::list(known)
    ));
    error.of(path).suggest(name, known.iter().copied())
}

/// Whether a value is of a schema's type, whatever lies in it.
fn has_shape(value: &Value, schema: &Json) -> bool {
    if schema["enum"].is_array() {
        return value.is_str();
    }
    match schema["type"].as_str() {
        None => true,
        Some("string") => value.is_str(),
        Some("integer") => value.is_integer(),
        Some("number") => value.is_integer() || value.is_float(),
        Some("boolean") => value.is_bool(),
        Some("array") => value.is_array(),
        Some("object") => value.is_table(),
        Some(other) => unreachable!("no option is of type {other}"),
    }
}

/// What a schema takes.
fn in_words(schema: &Json) -> String {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<&str> = words.iter().filter_map(Json::as_str).collect();
        return format!("one of {}", crate::schema::list(&words));
    }
    let limits = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
    match (schema["type"].as_str(), limits) {
        (Some("string"), _) => "text".into(),
        (Some("integer"), (Some(least), Some(most))) => {
            format!("a whole number from {least} to {most}")
        }
        (Some("integer"), (Some(least), None)) => format!("a whole number from {least}"),
        (Some("integer"), _) => "a whole number".into(),
        (Some("number"), _) => "a number".into(),
        (Some("boolean"), _) => "`true` or `false`".into(),
        (Some("array"), _) => "a list".into(),
        _ => "a table".into(),
    }
}

/// Takes a member of a table or an item of a list out, if it is not the last.
fn remove(table: &mut Table, path: &[String]) -> bool {
    let [key, rest @ ..] = path else {
        return false;
    };
    match table.get_mut(key) {
        Some(Value::Table(members)) if rest.len() == 1 => {
            members.len() > 1 && members.remove(&rest[0]).is_some()
        }
        Some(Value::Table(members)) => remove(members, rest),
        Some(Value::Array(items)) => {
            let all = items.len();
            items.retain(|item| item.as_str() != rest.first().map(String::as_str));
            !items.is_empty() && items.len() < all
        }
        _ => false,
    }
}
