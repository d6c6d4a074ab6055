//! `${NAME}`, `${NAME:-default}` and `$$` in the string values of parsed tables.
//!
//! As in a shell a default also stands for an empty variable, and may hold variables itself. A `$` that
//! begins neither form is a character. What a variable holds is not looked at again.

use std::ffi::OsString;

use toml::{Table, Value};

use crate::error::{Error, Result, note};
use crate::place::quote;

/// Where variables come from.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What one string becomes.
type Expand<'a> = &'a dyn Fn(&str) -> Result<String>;

/// The keys of a table under which a variable's value must not become more than a value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Guarded<'a> {
    /// Paths and patterns.
    pub(super) patterns: Option<&'a str>,
    /// Expressions.
    pub(super) expressions: Option<&'a str>,
}

/// Replaces the variables in every string of a table. Each error comes with the path to its string.
pub(super) fn replace(
    table: &mut Table,
    guarded: Guarded,
    environment: Environment,
) -> Vec<(Vec<String>, Error)> {
    let mut unset = Vec::new();
    for (key, value) in table.iter_mut() {
        let expand = if guarded.patterns == Some(key) {
            expand_pattern
        } else if guarded.expressions == Some(key) {
            expand_expression
        } else {
            expand
        };
        let how = |text: &str| expand(text, environment);
        replace_value(value, std::slice::from_ref(key), &how, &mut unset);
    }
    unset
}

fn replace_value(
    value: &mut Value,
    keys: &[String],
    expand: Expand,
    unset: &mut Vec<(Vec<String>, Error)>,
) {
    match value {
        Value::String(text) => {
            if let Err(error) = replace_text(text, keys, expand) {
                unset.extend(error.split().map(|error| (keys.to_vec(), error)));
            }
        }
        Value::Array(values) => {
            for value in values {
                let item = value.as_str().map(str::to_owned);
                let first = unset.len();
                replace_value(value, keys, expand, unset);
                // An item is known by its text.
                for (path, _) in &mut unset[first..] {
                    path.extend(item.clone());
                }
            }
        }
        Value::Table(table) => {
            for (key, value) in table.iter_mut() {
                let keys = [keys, std::slice::from_ref(key)].concat();
                replace_value(value, &keys, expand, unset);
            }
        }
        _ => {}
    }
}

fn replace_text(text: &mut String, keys: &[String], expand: Expand) -> Result<()> {
    if text.contains('$') {
        let key = keys.join(".");
        *text = expand(text).map_err(|error| error.each(&|error: Error| error.about(&key)))?;
    }
    Ok(())
}

/// A pattern with its variables replaced: what they hold is never part of the pattern itself. (A default
/// is: it stands in the file.)
fn expand_pattern(text: &str, environment: Environment) -> Result<String> {
    let quoted = |name: &str| {
        let value = environment(name)?;
        Some(
            value
                .to_str()
                .map(|text| quote(text).into())
                .unwrap_or(value),
        )
    };
    let expanded = expand(text, &quoted)?;
    if expanded.is_empty() {
        let error = Error::usage(format!(
            "`{text}` is empty: the variable is empty, or not set"
        ));
        return Err(error.hint("set it, or give a path as its default: `${NAME:-path}`"));
    }
    Ok(expanded)
}

/// An expression with its variables replaced: within single quotes what they hold is text, in which a quote is doubled;
/// elsewhere it must be a number or a name, so that no variable can change the condition that is written.
fn expand_expression(text: &str, environment: Environment) -> Result<String> {
    let in_text = |name: &str| {
        let value = environment(name)?;
        Some(
            value
                .to_str()
                .map(|text| text.replace('\'', "''").into())
                .unwrap_or(value),
        )
    };
    let mut out = String::with_capacity(text.len());
    let mut quoted = false;
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '$']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let placeholder = rest
            .strip_prefix("${")
            .and_then(closing)
            .map(|end| end + "${}".len());
        let length = match placeholder {
            Some(length) if quoted => {
                out.push_str(&expand(&rest[..length], &in_text)?);
                length
            }
            Some(length) => {
                let value = expand(&rest[..length], environment)?;
                if !value
                    .chars()
                    .all(|c| c.is_alphanumeric() || "_.+-".contains(c))
                {
                    let placeholder = &rest[..length];
                    let message = format!(
                        "`{placeholder}` is `{value}`, which is neither a number nor a name"
                    );
                    return Err(Error::usage(message).hint(format!(
                        "put it into single quotes if it is a text: `'{placeholder}'`"
                    )));
                }
                out.push_str(&value);
                length
            }
            None if rest.starts_with("$$") => {
                out.push('$');
                2
            }
            None => {
                quoted ^= rest.starts_with('\'');
                out.push_str(&expand(&rest[..1], environment)?);
                1
            }
        };
        rest = &rest[length..];
    }
    out.push_str(rest);
    Ok(out)
}

/// One string with its variables replaced.
pub(super) fn expand(text: &str, environment: Environment) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut mistakes = Vec::new();
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing(after).ok_or_else(|| {
                Error::usage("`${` without its `}`").hint("a `$` itself is written `$$`")
            })?;
            let value = note(&mut mistakes, variable(&after[..end], environment));
            out.extend(value);
            rest = &after[end + 1..];
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    match Error::all(mistakes) {
        Some(mistakes) => Err(mistakes),
        None => Ok(out),
    }
}

/// Where the `}` stands that ends a `${` begun before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, character) in text.char_indices() {
        match character {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        before = character;
    }
    None
}

/// The value of what stands inside `${...}`.
fn variable(inside: &str, environment: Environment) -> Result<String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let mut characters = name.chars();
    let starts = characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    if !starts || !characters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(
            Error::usage(format!("`${{{inside}}}` does not name a variable"))
                .hint("write `${NAME}` or `${NAME:-default}`; a `$` itself is written `$$`"),
        );
    }
    let value =
        match environment(name) {
            None => None,
            Some(value) => Some(value.into_string().map_err(|_| {
                Error::usage(format!("environment variable `{name}` is not UTF-8"))
            })?),
        };
    match (value, default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => expand(default, environment),
        (None, None) => Err(
            Error::usage(format!("environment variable `{name}` is not set"))
                .hint(format!("set it, or give a default: `${{{name}:-default}}`; if a shell is to read it, write `$${{{name}}}`, and for a row's value `{{{name}}}`")),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: Guarded = Guarded {
        patterns: Some("files"),
        expressions: None,
    };

    #[test]
    fn a_variable_never_changes_an_expression() {
        let environment = |name: &str| match name {
            "TEXT" => Some(OsString::from("O'Brien' OR true --")),
            "NUMBER" => Some(OsString::from("-1.5")),
            _ => None,
        };
        for (text, expected) in [
            (
                "n = '${TEXT}' AND x > ${NUMBER}",
                Some("n = 'O''Brien'' OR true --' AND x > -1.5"),
            ),
            (
                "'it''s ${TEXT}' = a",
                Some("'it''s O''Brien'' OR true --' = a"),
            ),
            ("n ~ '^a$$' AND m ~ 'b$'", Some("n ~ '^a$' AND m ~ 'b$'")),
            ("x > ${NO:-3}", Some("x > 3")),
            ("n = ${TEXT}", None),
            ("'' || ${TEXT}", None),
            ("n = '${NO}'", None),
        ] {
            let expanded = expand_expression(text, &environment);
            assert_eq!(expanded.ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_variable_is_never_part_of_a_pattern() {
        let environment = |name: &str| match name {
            "DATA" => Some(OsString::from("/data/[x]*")),
            "EMPTY" => Some(OsString::new()),
            _ => None,
        };
        let mut table: Table = toml::toml! {
            files = ["${DATA}/*.csv", "${NO:-a*}"]
            path = "${DATA}/out"
        };
        assert!(replace(&mut table, FILES, &environment).is_empty());
        let wanted: Table = toml::toml! {
            files = ["/data/[[]x][*]/*.csv", "a*"]
            path = "/data/[x]*/out"
        };
        assert_eq!(table, wanted);
        let mut empty: Table = toml::toml! { files = ["${EMPTY:-}"] };
        let mut unset = replace(&mut empty, FILES, &environment);
        let (path, error) = unset.pop().expect("it is empty");
        assert_eq!(path, ["files", "${EMPTY:-}"]);
        assert!(error.message.contains("`${EMPTY:-}` is empty"), "{error}");
    }

    #[test]
    fn strings_are_expanded_once() {
        let environment = |name: &str| match name {
            "A" => Some(OsString::from("a${B}")),
            "EMPTY" => Some(OsString::new()),
            _ => None,
        };
        for (text, expected) in [
            ("plain", "plain"),
            ("x${A}y", "xa${B}y"),
            ("${NO:-d}/${A}", "d/a${B}"),
            ("${EMPTY}|${EMPTY:-d}", "|d"),
            ("${NO:-}", ""),
            ("${NO:-${ALSO:-deep}/x}", "deep/x"),
            ("${NO:-{}}", "{}"),
            ("$$ $${A} $A 5$ $", "$ ${A} $A 5$ $"),
        ] {
            assert_eq!(expand(text, &environment).unwrap(), expected, "{text}");
        }
        for (text, expected) in [
            ("${NO}", "environment variable `NO` is not set"),
            ("${A", "`${` without its `}`"),
            ("${}", "`${}` does not name a variable"),
            ("${A-x}", "`${A-x}` does not name a variable"),
        ] {
            let error = expand(text, &environment).unwrap_err();
            assert_eq!(error.message, expected, "{text}");
        }
    }
}
