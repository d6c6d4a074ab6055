//! Places for values of items in a text: one syntax for every kind that asks about items.
//!
//! Kinds differ in which braces are text ([`Braces`]), and in what becomes of a value: in a URL it is encoded, in an
//! argument it stands as it is.

use std::fmt;

use crate::schema::Schema;

/// The syntax, as every option with placeholders describes it.
pub(super) const SYNTAX: &str =
    "`{column}` is an item's value, `{column,}` those of a batch joined by `,`";

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Value(Place),
}

/// Where a value stands. It is displayed as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) column: String,
    /// The values of all items of a batch.
    pub(super) all: bool,
    /// The column's position, once the input is known.
    pub(super) at: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comma = if self.all { "," } else { "" };
        write!(f, "{{{}{comma}}}", self.column)
    }
}

/// Which braces hold a placeholder.
#[derive(Debug, Clone, Copy)]
pub(super) enum Braces<'a> {
    /// All but doubled ones, which are one brace of the text. The names are looked up once the input is known.
    All,
    /// Those around a column of this input. Others are text, so that `awk '{print $1}'` needs no escape.
    Columns(&'a Schema),
}

impl Braces<'_> {
    /// Takes a text apart. An error says what is wrong with a brace.
    pub(super) fn parts(self, text: &str) -> Result<Vec<Part>, &'static str> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, braced) = rest.split_at(at);
            literal.push_str(before);
            if let Some((place, length)) = self.placeholder(braced)? {
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Value(place));
                rest = &braced[length..];
            } else {
                literal.push_str(&braced[..1]);
                rest = match self {
                    Braces::All => &braced[2..],
                    Braces::Columns(_) => &braced[1..],
                };
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(parts)
    }

    /// The placeholder that a text begins with, and how long it is; `None`: the brace at the front is text.
    fn placeholder(self, text: &str) -> Result<Option<(Place, usize)>, &'static str> {
        let input = match self {
            Braces::Columns(input) => return Ok(column(text, input)),
            Braces::All if text.starts_with("{{") || text.starts_with("}}") => return Ok(None),
            Braces::All => text.strip_prefix('{').ok_or("a `}` without its `{`")?,
        };
        let (name, _) = input.split_once('}').ok_or("a `{` without its `}`")?;
        let column = name.strip_suffix(',').unwrap_or(name);
        if column.is_empty() || column.contains('{') {
            return Err("a placeholder without a column");
        }
        let place = Place {
            column: column.to_owned(),
            all: name.ends_with(','),
            at: 0,
        };
        Ok(Some((place, name.len() + 2)))
    }
}

/// The column of the input that a text begins with, in braces, and how long that is.
pub(super) fn column(text: &str, input: &Schema) -> Option<(Place, usize)> {
    let inside = text.strip_prefix('{')?;
    // A column's name may hold braces and commas itself: the longest counts.
    let places = input.fields.iter().enumerate().filter_map(|(at, field)| {
        let behind = inside.strip_prefix(field.name.as_str())?;
        let all = behind.starts_with(",}");
        (all || behind.starts_with('}')).then(|| Place {
            column: field.name.clone(),
            all,
            at,
        })
    });
    let place = places.max_by_key(|place| place.column.len())?;
    let length = place.to_string().len();
    Some((place, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Type;
    use crate::stage::STAGES;
    use crate::stage::testing::schema;

    /// The parts one after the other, values with their positions.
    fn shown(parts: &[Part]) -> String {
        let shown = parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Value(place) => format!("<{place}{}>", place.at),
        });
        shown.collect()
    }

    #[test]
    fn one_text_is_the_same_for_both_rules_where_braces_name_columns() {
        let input = schema(&[("ric", Type::String), ("a b", Type::Int)]);
        let cases = [
            ("", ""),
            ("plain", "plain"),
            ("{ric}", "<{ric}0>"),
            ("x{ric,}y", "x<{ric,}0>y"),
            ("{ric}{ric,}", "<{ric}0><{ric,}0>"),
        ];
        for (text, expected) in cases {
            for braces in [Braces::All, Braces::Columns(&input)] {
                let parts = braces.parts(text).expect(text);
                assert_eq!(shown(&parts), expected, "{text}");
            }
        }
    }

    #[test]
    fn all_braces_are_placeholders_or_doubled() {
        let parts = |text| Braces::All.parts(text);
        assert_eq!(
            parts("{{x}}{y}").map(|parts| shown(&parts)),
            Ok("{x}<{y}0>".into())
        );
        for (text, words) in [
            ("{ric", "a `{` without its `}`"),
            ("ric}", "a `}` without its `{`"),
            ("{ric}}", "a `}` without its `{`"),
            ("{}", "a placeholder without a column"),
            ("{,}", "a placeholder without a column"),
            ("{a{b}", "a placeholder without a column"),
        ] {
            assert_eq!(parts(text), Err(words), "{text}");
        }
    }

    #[test]
    fn braces_that_name_no_column_are_text() {
        let names = ["id", "a}b", "c,", "c"];
        let input = schema(&names.map(|name| (name, Type::String)));
        let cases = [
            ("{print $1}", "{print $1}"),
            ("{{id}}", "{<{id}0>}"),
            ("{} { } {,} {ID} {id", "{} { } {,} {ID} {id"),
            ("{a}b}{a}b,}", "<{a}b}1><{a}b,}1>"),
            ("{c}{c,}{c,,}", "<{c}3><{c,}2><{c,,}2>"),
        ];
        for (text, expected) in cases {
            let parts = Braces::Columns(&input)
                .parts(text)
                .expect("any text is one");
            assert_eq!(shown(&parts), expected, "{text}");
        }
    }

    #[test]
    fn every_option_with_placeholders_says_the_syntax_in_the_same_words() {
        let docs = STAGES.iter().flat_map(|kind| kind.all_options());
        let docs = docs.filter(|option| option.doc.contains("{column"));
        let docs: Vec<&str> = docs.map(|option| option.doc).collect();
        assert!(
            docs.iter().filter(|doc| doc.contains(SYNTAX)).count() >= 2,
            "{docs:?}"
        );
    }
}
