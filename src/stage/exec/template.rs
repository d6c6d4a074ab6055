//! What is run for some items: the arguments of a command, with the items' values in them.
//!
//! Braces that name no input column stay as they are, so that `awk '{print $1}'` needs no escape. A value is always
//! one argument, or a part of one.

use super::shell::Script;
use crate::error::{Error, Result};
use crate::meant::nearest;
use crate::schema::Schema;
use crate::shown;
use crate::stage::placeholders::{Braces, Part, Place};

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
    Text(Vec<Part>),
}

/// The items' values as text: for each item, one a column that the template holds.
pub(super) type Values<'a> = &'a dyn Fn(usize, usize) -> String;

impl Template {
    /// A program with its arguments.
    pub(super) fn program(words: &[String], input: &Schema) -> Template {
        let arguments = words.iter().map(|word| {
            let parts = Braces::Columns(input).parts(word);
            let parts = parts.expect("other braces are text");
            match &parts[..] {
                [Part::Value(place)] if !place.all => Argument::Each(place.at),
                _ => Argument::Text(parts),
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

    /// `{column}` among text is the value of one item: more in a batch are refused.
    pub(super) fn check_batch(&self, batch: usize, input: &Schema) -> Result<()> {
        let among_text = match self {
            Template::Program(arguments) => arguments.iter().find_map(Argument::among_text),
            Template::Shell(script) => script.among_text(),
        };
        match among_text {
            Some(column) if batch > 1 => {
                let name = &input.fields[column].name;
                Err(Error::usage(format!(
                    "`command` holds `{{{name}}}` among text, which is the value of one item; `batch` is {batch}"
                ))
                .hint(format!("let `{{{name}}}` stand alone, and it is repeated for each item; or write `{{{name},}}` for the values joined by `,`; or set `batch = 1`")))
            }
            _ => Ok(()),
        }
    }

    /// What stands in braces and nearly names a column, with what would.
    pub(super) fn near_misses(&self, input: &Schema) -> Vec<(String, String)> {
        let names = || input.fields.iter().map(|field| field.name.as_str());
        let words = self.words(1, &|_, _| String::new());
        let braced = words.iter().flat_map(|word| {
            let opened = word.match_indices('{').map(|(at, _)| word.split_at(at));
            // A shell has variables in braces of its own.
            let opened = opened.filter(|(before, _)| !before.ends_with('$'));
            opened.filter_map(|(_, rest)| Some(rest[1..].split_once('}')?.0))
        });
        let near = braced.filter_map(|inside| {
            let (name, comma) = match inside.strip_suffix(',') {
                Some(name) => (name, ","),
                None => (inside, ""),
            };
            let column = nearest(name, names())?;
            Some((inside.to_owned(), format!("{column}{comma}")))
        });
        near.collect()
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
                        Argument::Text(parts) => {
                            let texts = parts.iter().map(|part| match part {
                                Part::Text(text) => text.clone(),
                                Part::Value(place) => value(place, items, values),
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

/// The text of a place: one item's value, or those of all.
pub(super) fn value(place: &Place, items: usize, values: Values) -> String {
    let items = if place.all { items } else { 1 };
    let texts: Vec<String> = (0..items).map(|item| values(item, place.at)).collect();
    texts.join(",")
}

impl Argument {
    fn places(&self) -> impl Iterator<Item = &Place> {
        let parts = match self {
            Argument::Each(_) => &[][..],
            Argument::Text(parts) => parts,
        };
        parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Value(place) => Some(place),
        })
    }

    fn columns(&self) -> Vec<usize> {
        match self {
            Argument::Each(column) => vec![*column],
            Argument::Text(_) => self.places().map(|place| place.at).collect(),
        }
    }

    /// A column among text whose value is one item's.
    fn among_text(&self) -> Option<usize> {
        let mut places = self.places().filter(|place| !place.all);
        places.next().map(|place| place.at)
    }
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
            (&["{id,}", "n={id,}"], 1, &["<0.0>", "n=<0.0>"]),
            (
                &["{id,}", "of {a}b,}; {id,"],
                2,
                &["<0.0>,<0.1>", "of <1.0>,<1.1>; {id,"],
            ),
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
        let hots = vec![("hots,".to_owned(), "host,".to_owned())];
        assert_eq!(misses(&["ask", "{hots,}:{port,}"]), hots);
        assert!(misses(&["awk", "{print $1}", "{host}", "${hosts}", "{", "{}"]).is_empty());
    }

    #[test]
    fn one_items_value_among_text_is_refused_for_more() {
        let input = schema(&[("id", Type::Int)]);
        let check = |word: &str| {
            let command = ["ask".to_owned(), word.to_owned()];
            Template::program(&command, &input).check_batch(2, &input)
        };
        for word in ["{id}", "{id,}", "a={id,}", "a={ID}"] {
            check(word).expect(word);
        }
        for word in ["a={id}", "{id,}{id}"] {
            let refused = check(word).expect_err(word);
            assert!(refused.message.contains("`{id}` among text"), "{refused}");
            assert!(refused.hint.is_some_and(|hint| hint.contains("`{id,}`")));
        }
    }

    #[test]
    fn a_command_is_logged_as_it_would_be_typed_on_one_line() {
        let words = ["a", "", "it's", "$x", "l1\nl2'", "c=d"].map(str::to_owned);
        assert_eq!(typed(&words), r"a '' 'it'\''s' '$x' $'l1\nl2\'' c=d");
    }
}
