//! What is run for some items: the arguments of a command, with the items' values in them.
//!
//! `{name}` stands for a value where an input column has that name; anything else in braces stays as it
//! is, so that `awk '{print $1}'` needs no escape. A value is always one argument, or a part of one.

use super::shell::Script;
use crate::error::{Error, Result};
use crate::meant::nearest;
use crate::schema::Schema;
use crate::shown;

/// What is run, its columns found.
#[derive(Debug)]
pub(super) enum Template {
    /// A program and its arguments.
    Program(Vec<Argument>),
    /// A text for `sh -c`.
    Shell(Script),
}

/// One argument.
#[derive(Debug, PartialEq)]
pub(super) enum Argument {
    /// Nothing but a column: once for each item.
    Each(usize),
    /// Text, in which columns may stand.
    Text(Vec<Piece>),
}

/// A part of an argument.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Column(usize),
}

/// The items' values as text: for each item, one a column that the template holds.
pub(super) type Values<'a> = &'a dyn Fn(usize, usize) -> String;

impl Template {
    /// A program with its arguments.
    pub(super) fn program(words: &[String], input: &Schema) -> Template {
        let arguments = words.iter().map(|word| {
            let pieces = pieces(word, input);
            match pieces[..] {
                [Piece::Column(column)] => Argument::Each(column),
                _ => Argument::Text(pieces),
            }
        });
        Template::Program(arguments.collect())
    }

    /// The columns whose values it takes.
    pub(super) fn columns(&self) -> Vec<usize> {
        let mut columns = match self {
            Template::Program(arguments) => arguments.iter().flat_map(Argument::columns).collect(),
            Template::Shell(script) => script.columns(),
        };
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// A column among text has the value of one item: more in a batch are refused.
    pub(super) fn check_batch(&self, batch: usize, input: &Schema) -> Result<()> {
        let among_text = match self {
            Template::Program(arguments) => arguments
                .iter()
                .filter(|argument| matches!(argument, Argument::Text(_)))
                .find_map(|argument| argument.columns().first().copied()),
            Template::Shell(script) => script.among_text(),
        };
        match among_text {
            Some(column) if batch > 1 => {
                let name = &input.fields[column].name;
                Err(Error::usage(format!(
                    "`command` holds `{{{name}}}` among text, which is the value of one item; `batch` is {batch}"
                ))
                .hint(format!("let `{{{name}}}` stand alone, and it is repeated for each item; or set `batch = 1`")))
            }
            _ => Ok(()),
        }
    }

    /// What stands in braces and is nearly the name of a column, with that column.
    pub(super) fn near_misses(&self, input: &Schema) -> Vec<(String, String)> {
        let names = || input.fields.iter().map(|field| field.name.as_str());
        let words = self.words(1, &|_, _| String::new());
        let braced = words.iter().flat_map(|word| {
            let opened = word.match_indices('{').map(|(at, _)| word.split_at(at));
            // A shell has variables in braces of its own.
            let opened = opened.filter(|(before, _)| !before.ends_with('$'));
            opened.filter_map(|(_, rest)| Some(rest[1..].split_once('}')?.0))
        });
        let near = braced.filter_map(|inside| Some((inside, nearest(inside, names())?)));
        near.map(|(inside, column)| (inside.to_owned(), column.to_owned()))
            .collect()
    }

    /// Program and arguments for `items` items.
    pub(super) fn words(&self, items: usize, values: Values) -> Vec<String> {
        match self {
            Template::Program(arguments) => {
                let mut words = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    match argument {
                        Argument::Each(column) => {
                            words.extend((0..items).map(|item| values(item, *column)));
                        }
                        Argument::Text(pieces) => {
                            let texts = pieces.iter().map(|piece| match piece {
                                Piece::Text(text) => text.clone(),
                                Piece::Column(column) => values(0, *column),
                            });
                            words.push(texts.collect());
                        }
                    }
                }
                words
            }
            Template::Shell(script) => script.words(items, values),
        }
    }
}

impl Argument {
    fn columns(&self) -> Vec<usize> {
        match self {
            Argument::Each(column) => vec![*column],
            Argument::Text(pieces) => pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Text(_) => None,
                    Piece::Column(column) => Some(*column),
                })
                .collect(),
        }
    }
}

/// The column that a text begins with, in braces, and how long that is.
pub(super) fn placeholder(text: &str, input: &Schema) -> Option<(usize, usize)> {
    let name = text.strip_prefix('{')?;
    // A column's name may hold braces itself.
    let found = input.fields.iter().enumerate().filter(|(_, field)| {
        name.strip_prefix(field.name.as_str())
            .is_some_and(|rest| rest.starts_with('}'))
    });
    let (column, field) = found.max_by_key(|(_, field)| field.name.len())?;
    Some((column, field.name.len() + 2))
}

fn pieces(word: &str, input: &Schema) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = word;
    while let Some(next) = rest.chars().next() {
        if let Some((column, length)) = placeholder(rest, input) {
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Column(column));
            rest = &rest[length..];
        } else {
            text.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    if !text.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(text));
    }
    pieces
}

/// A command as it would be typed, on one line: for the job log.
pub(super) fn typed(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| shown::word(word)).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Type;
    use crate::stage::testing::schema;

    fn words(command: &[&str], items: usize) -> Vec<String> {
        let command: Vec<String> = command.iter().map(ToString::to_string).collect();
        let input = schema(&[("id", Type::Int), ("a}b", Type::String)]);
        let values = |item: usize, column: usize| format!("<{column}.{item}>");
        Template::program(&command, &input).words(items, &values)
    }

    #[test]
    fn a_column_alone_is_repeated_and_what_is_no_column_stays() {
        let cases: &[(&[&str], usize, &[&str])] = &[
            (&["ping", "{id}"], 1, &["ping", "<0.0>"]),
            (
                &["ping", "{id}", "-q"],
                3,
                &["ping", "<0.0>", "<0.1>", "<0.2>", "-q"],
            ),
            (&["a={id},{id}"], 1, &["a=<0.0>,<0.0>"]),
            (
                &["{{id}}", "{print $1}", "{", "{}", ""],
                1,
                &["{<0.0>}", "{print $1}", "{", "{}", ""],
            ),
            (&["{a}b}"], 1, &["<1.0>"]),
            (&["{id", "id}", "{ID}"], 1, &["{id", "id}", "{ID}"]),
        ];
        for (command, items, expected) in cases {
            assert_eq!(words(command, *items), *expected, "{command:?}");
        }
    }

    #[test]
    fn what_is_nearly_a_column_is_told() {
        let input = schema(&[("host", Type::String), ("port", Type::Int)]);
        let misses = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            Template::program(&words, &input).near_misses(&input)
        };
        let hots = vec![("hots".to_owned(), "host".to_owned())];
        assert_eq!(misses(&["ask", "{hots}:{port}"]), hots);
        assert!(misses(&["awk", "{print $1}", "{host}", "${hosts}", "{", "{}"]).is_empty());
    }

    #[test]
    fn a_command_is_logged_as_it_would_be_typed_on_one_line() {
        let words = ["a", "", "it's", "$x", "l1\nl2'", "c=d"].map(str::to_owned);
        assert_eq!(typed(&words), r"a '' 'it'\''s' '$x' $'l1\nl2\'' c=d");
    }
}
