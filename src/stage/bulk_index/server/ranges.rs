//! The ranges of a query for a server. Over a field that is neither number nor date, or with a bound that
//! is no value of the field, a server finds nothing and says nothing: here these are errors, as they are
//! for the embedded index.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

use super::super::asked::{malformed, no_range, reversed};
use super::super::mixed::is_number;
use super::api::{Api, segment};
use crate::error::{Error, Result};
use crate::http::Method;

/// Types beside those of numbers that have an order which servers know.
const ORDERED: [&str; 4] = ["date", "date_nanos", "ip", "version"];

/// `FIELD:[LOWER TO UPPER]`, `FIELD:>LOWER` and the like; an open end is `*`.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    field: String,
    lower: String,
    upper: String,
}

/// Refuses a query with a range that finds nothing because of what its field is.
pub(super) fn check(api: &Api, index: &str, query: &str) -> Result<()> {
    let mut ranges = Reader::new(query).ranges();
    // Open at both ends it asks for documents that have the field; a pattern stands for several fields.
    ranges.retain(|range| {
        (range.lower != "*" || range.upper != "*") && !range.field.contains(['*', '?'])
    });
    if ranges.is_empty() {
        return Ok(());
    }
    let names: BTreeSet<String> = ranges.iter().map(|range| segment(&range.field)).collect();
    let names: Vec<String> = names.into_iter().collect();
    let path = format!("{}/_field_caps?fields={}", segment(index), names.join(","));
    let said = api.call(Method::Get, &path, None)?;
    if !said.is_well() || !said.body["fields"].is_object() {
        // The search itself says what is wrong with the index.
        return Ok(());
    }
    for range in &ranges {
        range.check(query, &said.body["fields"][&range.field])?;
    }
    Ok(())
}

impl Range {
    /// Refuses a range that does not suit the field's types, the names of `types`.
    fn check(&self, query: &str, types: &Value) -> Result<()> {
        let Range {
            field,
            lower,
            upper,
        } = self;
        let types: Vec<&str> = types
            .as_object()
            .into_iter()
            .flatten()
            .map(|(ty, _)| ty.as_str())
            .filter(|ty| *ty != "unmapped")
            .collect();
        let is_ordered = |ty: &&str| ORDERED.contains(ty) || ty.ends_with("_range");
        let Some(first) = types.first() else {
            return Err(malformed(query).cause(format!("the index has no field `{field}`")));
        };
        if !types.iter().any(|ty| is_number(ty) || is_ordered(ty)) {
            return Err(no_range(query, field, &format!("a `{first}` field")));
        }
        if !types.iter().all(|ty| is_number(ty)) {
            return Ok(());
        }
        let number = |bound: &str| -> Result<Option<f64>> {
            match bound.parse() {
                _ if bound == "*" => Ok(None),
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(no_number(query, field, bound)),
            }
        };
        match (number(lower)?, number(upper)?) {
            (Some(from), Some(to)) if from > to => Err(reversed(query, field, lower, upper)),
            _ => Ok(()),
        }
    }
}

fn no_number(query: &str, field: &str, bound: &str) -> Error {
    malformed(query).cause(format!("`{field}` is a number, and `{bound}` is not"))
}

/// Reads a query as far as it must to find the ranges; what is wrong with it the server says.
struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    /// The word so far, without backslashes.
    word: String,
    /// The field of each bracket that is open: `FIELD:(...)`.
    groups: Vec<String>,
    ranges: Vec<Range>,
}

impl<'a> Reader<'a> {
    fn new(query: &'a str) -> Self {
        Reader {
            rest: query.chars().peekable(),
            word: String::new(),
            groups: Vec::new(),
            ranges: Vec::new(),
        }
    }

    fn ranges(mut self) -> Vec<Range> {
        // The field that a `:` has just named.
        let mut named = None;
        while let Some(character) = self.rest.next() {
            let mut field = || {
                let group = self.groups.last().cloned();
                named.take().or(group).unwrap_or_default()
            };
            match character {
                '\\' => self.word.extend(self.rest.next()),
                ':' => {
                    named = Some(std::mem::take(&mut self.word));
                    continue;
                }
                '(' => {
                    let field = field();
                    self.groups.push(field);
                }
                ')' => {
                    self.groups.pop();
                    self.word.clear();
                }
                '[' | '{' => {
                    let field = field();
                    self.between(field);
                }
                '<' | '>' if self.word.is_empty() => {
                    let field = field();
                    self.beyond(field, character);
                }
                '"' => self.skip_to('"'),
                '/' if self.word.is_empty() => self.skip_to('/'),
                '+' | '-' | '!' if self.word.is_empty() => {}
                _ if character.is_whitespace() => {
                    self.word.clear();
                    if named.is_some() {
                        continue;
                    }
                }
                _ => self.word.push(character),
            }
            named = None;
        }
        self.ranges.retain(|range| !range.field.is_empty());
        self.ranges
    }

    /// What follows up to an end that no backslash stands before, which it skips too.
    fn skip_to(&mut self, end: char) {
        self.quoted(end);
        self.word.clear();
    }

    fn quoted(&mut self, end: char) -> String {
        let mut text = String::new();
        while let Some(character) = self.rest.next() {
            match character {
                '\\' => text.extend(self.rest.next()),
                _ if character == end => break,
                _ => text.push(character),
            }
        }
        text
    }

    /// Reads one bound: a word or a quoted text.
    fn bound(&mut self) -> Option<String> {
        while self.rest.next_if(|next| next.is_whitespace()).is_some() {}
        if self.rest.next_if_eq(&'"').is_some() {
            return Some(self.quoted('"'));
        }
        let mut text = String::new();
        let is_inside =
            |next: &char| !next.is_whitespace() && !matches!(next, ']' | '}' | ')' | '(');
        while let Some(next) = self.rest.next_if(is_inside) {
            match next {
                '\\' => text.extend(self.rest.next()),
                next => text.push(next),
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// What follows `FIELD:[`.
    fn between(&mut self, field: String) {
        let (lower, _to, upper) = (self.bound(), self.bound(), self.bound());
        let (Some(lower), Some(upper)) = (lower, upper) else {
            return;
        };
        self.ranges.push(Range {
            field,
            lower,
            upper,
        });
    }

    /// What follows `FIELD:>` or `FIELD:<`.
    fn beyond(&mut self, field: String, sign: char) {
        self.rest.next_if_eq(&'=');
        let Some(bound) = self.bound() else { return };
        let open = "*".to_owned();
        let (lower, upper) = match sign {
            '>' => (bound, open),
            _ => (open, bound),
        };
        self.ranges.push(Range {
            field,
            lower,
            upper,
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ranges_are_found_and_nothing_else() {
        type Found<'a> = (&'a str, &'a str, &'a str);
        let cases: &[(&str, &[Found])] = &[
            ("a:[1 TO 5]", &[("a", "1", "5")]),
            (
                "a:{1 TO *] AND b.c:>=3",
                &[("a", "1", "*"), ("b.c", "3", "*")],
            ),
            (
                "+a:<2 -b: [x TO \"y z\"}",
                &[("a", "*", "2"), ("b", "x", "y z")],
            ),
            ("a:([1 TO 2] OR (>7))", &[("a", "1", "2"), ("a", "7", "*")]),
            ("a:(x) [1 TO 2]", &[]),
            ("(b:x) AND (c:[1 TO 2])", &[("c", "1", "2")]),
            ("a\\ b:[1 TO 2]", &[("a b", "1", "2")]),
            ("a:\"b:[1 TO 2]\" /c:[1-5]/ d:x", &[]),
            ("a:/b:[1 TO 2]/", &[]),
            ("a:x b:y^2 c:z~1 *:* a:", &[]),
            ("x>5 a:>", &[]),
            ("a:[1 TO", &[]),
            (
                "at:[2013-05-06T10:30:00Z TO now-1d/d]",
                &[("at", "2013-05-06T10:30:00Z", "now-1d/d")],
            ),
        ];
        for (query, expected) in cases {
            let found = Reader::new(query).ranges();
            let found: Vec<Found> = found
                .iter()
                .map(|range| (&*range.field, &*range.lower, &*range.upper))
                .collect();
            assert_eq!(&found, expected, "{query}");
        }
    }

    #[test]
    fn a_range_suits_its_field() {
        let types = |names: &[&str]| -> Value {
            let names = names.iter().map(|name| ((*name).to_owned(), json!({})));
            Value::Object(names.collect())
        };
        let cases: &[(&str, &[&str], Option<&str>)] = &[
            ("f:[1 TO 5]", &["long"], None),
            (
                "f:[a TO b]",
                &["text"],
                Some("a `text` field; a range takes a number or a date"),
            ),
            ("f:>5", &["keyword"], Some("a `keyword` field")),
            ("f:>5", &["boolean"], Some("a `boolean` field")),
            ("f:>5", &[], Some("has no field `f`")),
            ("f:>5", &["unmapped"], Some("has no field `f`")),
            ("f:>5", &["keyword", "long"], None),
            ("f:[now-1d TO now]", &["date"], None),
            ("f:[10.0.0.1 TO 10.0.0.9]", &["ip"], None),
            ("f:>5", &["integer_range"], None),
            ("f:[20 TO 10]", &["float"], Some("begins at `20`")),
            (
                "f:[* TO ten]",
                &["float"],
                Some("`f` is a number, and `ten` is not"),
            ),
        ];
        for (query, names, expected) in cases {
            let ranges = Reader::new(query).ranges();
            let checked = ranges[0].check(query, &types(names));
            let said = checked.err().map(|error| error.render());
            match (said, expected) {
                (None, None) => {}
                (Some(said), Some(expected)) => assert!(said.contains(expected), "{said}"),
                (said, _) => panic!("{query} over {names:?}: {said:?}"),
            }
        }
    }
}
