//! The fields that a query for a server names. A field that the index does not have, a value that the field
//! cannot hold, and a range over text: a server finds nothing and says nothing. Here these are errors, as they
//! are for the embedded index.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

use chrono::NaiveDate;
use serde_json::Value;

use super::super::mixed::{is_integer, is_number};
use super::super::query_limits::{
    DATE, FLAG, NUMBER, WHOLE_NUMBER, excluded, excluded_numbers, malformed, no_field, no_range,
    no_value, number, reversed,
};
use super::api::{Api, segment};
use crate::error::Result;
use crate::http::Method;
use crate::meant::nearest;

/// Types beside those of numbers that have an order which servers know.
const ORDERED: [&str; 4] = ["date", "date_nanos", "ip", "version"];
/// Types whose members have no types of their own.
const WHOLE: [&str; 2] = ["flattened", "flat_object"];

/// A field that a query names, and what it asks of it.
#[derive(Debug, PartialEq, Eq)]
struct Term {
    field: String,
    wanted: Wanted,
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// `[LOWER TO UPPER]`, `>LOWER` and the like; an open end is `*`.
    Range { lower: String, upper: String },
    /// A word or a quoted text.
    Value(String),
    /// A word with `*` or `?`, or a regular expression.
    Pattern,
    /// `*`, or something whose value only the server can judge.
    Any,
}

/// Refuses a query that finds nothing because of what its fields are.
pub(super) fn check(api: &Api, index: &str, query: &str) -> Result<()> {
    let mut terms = Reader::new(query).terms();
    // A pattern stands for several fields; the names of servers' own begin with `_`.
    terms.retain(|term| !term.field.contains(['*', '?']) && !term.field.starts_with('_'));
    let names = terms.iter().flat_map(|term| with_parents(&term.field));
    let names: BTreeSet<String> = names.map(segment).collect();
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = names.into_iter().collect();
    let Some(types) = types(api, index, &names.join(","))? else {
        // The search itself says what is wrong with the index.
        return Ok(());
    };
    for (name, number) in excluded_numbers(query) {
        let held = words(&types[name]);
        if !held.is_empty() && held.iter().all(|ty| is_number(ty)) {
            return Err(excluded(query, name, number));
        }
    }
    for term in &terms {
        let of = |name: &str| words(&types[name]);
        let held = of(&term.field);
        let mut parents = with_parents(&term.field);
        if parents.any(|name| of(name).iter().any(|ty| WHOLE.contains(ty))) {
            continue;
        }
        if held.is_empty() {
            let all = self::types(api, index, "*")?.unwrap_or_default();
            let all = all.as_object().into_iter().flatten();
            let all = all.map(|(name, _)| name.as_str());
            let all = all.filter(|name| !name.starts_with('_'));
            return Err(no_field(query, &term.field, nearest(&term.field, all)));
        }
        term.check(query, &held)?;
    }
    Ok(())
}

/// What the index says of these fields: name, then type.
fn types(api: &Api, index: &str, names: &str) -> Result<Option<Value>> {
    let path = format!("{}/_field_caps?fields={names}", segment(index));
    let said = api.call(Method::Get, &path, None)?;
    let fields = &said.body["fields"];
    Ok((said.is_well() && fields.is_object()).then(|| fields.clone()))
}

/// A field's name and those of the fields that it is a member of.
fn with_parents(field: &str) -> impl Iterator<Item = &str> {
    let dots = field.match_indices('.');
    dots.map(|(at, _)| &field[..at]).chain([field])
}

/// The names of a field's types.
fn words(types: &Value) -> Vec<&str> {
    let types = types.as_object().into_iter().flatten();
    let types = types.map(|(ty, _)| ty.as_str());
    types.filter(|ty| *ty != "unmapped").collect()
}

impl Term {
    /// Refuses what suits none of the field's types.
    fn check(&self, query: &str, types: &[&str]) -> Result<()> {
        let field = &self.field;
        match &self.wanted {
            Wanted::Value(text) => match missed(types, text) {
                Some(what) => Err(no_value(query, field, what, text)),
                None => Ok(()),
            },
            Wanted::Pattern if types.iter().all(|ty| has_no_words(ty)) => {
                Err(malformed(query).cause(format!(
                    "`{field}` is a `{}` field; `*` and `?` in words, and patterns, take a `text` or \
                     `keyword` field",
                    types[0]
                )))
            }
            Wanted::Pattern | Wanted::Any => Ok(()),
            // Open at both ends it asks for documents that have the field.
            Wanted::Range { lower, upper } if lower == "*" && upper == "*" => Ok(()),
            Wanted::Range { lower, upper } => range(query, field, types, lower, upper),
        }
    }
}

/// Refuses a range that does not suit the field's types.
fn range(query: &str, field: &str, types: &[&str], lower: &str, upper: &str) -> Result<()> {
    let is_ordered = |ty: &&str| ORDERED.contains(ty) || ty.ends_with("_range");
    if !types.iter().any(|ty| is_number(ty) || is_ordered(ty)) {
        return Err(no_range(query, field, &format!("a `{}` field", types[0])));
    }
    for bound in [lower, upper].into_iter().filter(|bound| *bound != "*") {
        let fits = |ty: &&str| !is_number(ty) || number(bound).is_some();
        if !types.iter().any(fits) {
            return Err(no_value(query, field, NUMBER, bound));
        }
        if types.iter().all(|ty| is_date(ty)) && !may_be_date(bound) {
            return Err(no_value(query, field, DATE, bound));
        }
    }
    match (lower.parse::<f64>(), upper.parse::<f64>()) {
        (Ok(from), Ok(to)) if from > to && types.iter().all(|ty| is_number(ty)) => {
            Err(reversed(query, field, lower, upper))
        }
        _ => Ok(()),
    }
}

/// What fields of all these types hold, if they cannot hold `text`.
fn missed(types: &[&str], text: &str) -> Option<&'static str> {
    let number = number(text);
    let is_whole = number.is_some_and(|number| number.fract() == 0.0);
    let all = |holds: fn(&str) -> bool| types.iter().all(|ty| holds(ty));
    match () {
        () if all(is_integer) => (!is_whole).then_some(WHOLE_NUMBER),
        () if all(is_number) => number.is_none().then_some(NUMBER),
        () if all(|ty| ty == "boolean") => text.parse::<bool>().is_err().then_some(FLAG),
        () if all(is_date) => (!may_be_date(text)).then_some(DATE),
        () => None,
    }
}

fn is_date(ty: &str) -> bool {
    ty.starts_with("date") && !ty.ends_with("_range")
}

/// Whether a text may be a date: a mapping may have formats of its own, but none is without a digit, and none has
/// the 99th of a month.
fn may_be_date(text: &str) -> bool {
    text.starts_with("now") || text.contains(char::is_numeric) && !is_no_day(text)
}

/// Whether a text begins as `2013-05-06` does, and is no day whichever of the last two is the month.
fn is_no_day(text: &str) -> bool {
    let parts: Vec<&str> = text.get(..10).unwrap_or_default().split('-').collect();
    let [year, a, b] = parts[..] else {
        return false;
    };
    let (Ok(year), Ok(a), Ok(b)) = (year.parse(), a.parse(), b.parse()) else {
        return false;
    };
    let is_day = |month, day| NaiveDate::from_ymd_opt(year, month, day).is_some();
    parts[0].len() == 4 && !is_day(a, b) && !is_day(b, a)
}

/// Whether a field of this type cannot be asked for parts of words.
fn has_no_words(ty: &str) -> bool {
    is_number(ty) || is_date(ty) || ty == "boolean"
}

/// Reads a query as far as it must to find the fields; what is wrong with it the server says.
struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    /// The word so far, without backslashes.
    word: String,
    /// The field that the word is looked for in, if one is named.
    of: String,
    /// The field of each bracket that is open: `FIELD:(...)`.
    groups: Vec<String>,
    terms: Vec<Term>,
}

impl<'a> Reader<'a> {
    fn new(query: &'a str) -> Self {
        Reader {
            rest: query.chars().peekable(),
            word: String::new(),
            of: String::new(),
            groups: Vec::new(),
            terms: Vec::new(),
        }
    }

    fn terms(mut self) -> Vec<Term> {
        // The field that a `:` has just named.
        let mut named = None;
        while let Some(character) = self.rest.next() {
            let is_named = named.is_some();
            let mut field = || {
                let group = self.groups.last().cloned();
                named.take().or(group).unwrap_or_default()
            };
            match character {
                ':' => {
                    named = Some(std::mem::take(&mut self.word));
                    continue;
                }
                '(' => {
                    let field = field();
                    self.end_word();
                    self.groups.push(field);
                }
                ')' => {
                    self.end_word();
                    self.groups.pop();
                }
                '[' | '{' => {
                    let field = field();
                    self.between(field);
                }
                '<' | '>' if self.word.is_empty() => {
                    let field = field();
                    self.beyond(field, character);
                }
                '"' => {
                    let field = field();
                    let text = self.quoted('"');
                    self.add(field, Wanted::Value(text));
                }
                '/' if self.word.is_empty() => {
                    let field = field();
                    self.quoted('/');
                    self.add(field, Wanted::Pattern);
                }
                '+' | '-' | '!' if self.word.is_empty() && !is_named => {}
                _ if character.is_whitespace() => {
                    self.end_word();
                    if is_named {
                        continue;
                    }
                }
                _ => {
                    if self.word.is_empty() {
                        self.of = field();
                    }
                    match character {
                        '\\' => self.word.extend(self.rest.next()),
                        _ => self.word.push(character),
                    }
                }
            }
            named = None;
        }
        self.end_word();
        self.terms
    }

    fn add(&mut self, field: String, wanted: Wanted) {
        self.word.clear();
        if !field.is_empty() {
            self.terms.push(Term { field, wanted });
        }
    }

    /// The word so far is whole.
    fn end_word(&mut self) {
        let (field, word) = (std::mem::take(&mut self.of), std::mem::take(&mut self.word));
        let wanted = match word.as_str() {
            "" | "AND" | "OR" | "NOT" | "&&" | "||" => return,
            "*" => Wanted::Any,
            word if word.contains(['~', '^']) => Wanted::Any,
            word if word.contains(['*', '?']) => Wanted::Pattern,
            word => Wanted::Value(word.to_owned()),
        };
        self.add(field, wanted);
    }

    /// What follows up to an end that no backslash stands before.
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
        while self.rest.next_if(|next| next.is_whitespace()).is_some() {}
        self.rest.next_if(|next| matches!(next, ']' | '}'));
        let (Some(lower), Some(upper)) = (lower, upper) else {
            return;
        };
        self.add(field, Wanted::Range { lower, upper });
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
        self.add(field, Wanted::Range { lower, upper });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_found_and_what_is_asked_of_them() {
        let cases: &[(&str, &str)] = &[
            ("a:[1 TO 5]", "a [1, 5]"),
            ("a:{1 TO *] AND b.c:>=3", "a [1, *]; b.c [3, *]"),
            ("+a:<2 -b: [x TO \"y z\"}", "a [*, 2]; b [x, y z]"),
            ("a:([1 TO 2] OR (>7))", "a [1, 2]; a [7, *]"),
            ("a:(x) [1 TO 2]", "a x"),
            ("(b:x) AND (c:[1 TO 2])", "b x; c [1, 2]"),
            ("a\\ b:[1 TO 2]", "a b [1, 2]"),
            ("a:\"b:[1 TO 2]\" /c:[1-5]/ d:x", "a b:[1 TO 2]; d x"),
            ("a:/b:[1 TO 2]/", "a pattern"),
            ("a:x b:y^2 c:z~1 *:* a:", "a x; b any; c any; * any"),
            ("x>5 a:>", ""),
            ("a:[1 TO", ""),
            ("n:-5 -m:(x AND NOT y)", "n -5; m x; m y"),
            (
                "a:x* b:* word c:(d:y z?)",
                "a pattern; b any; d y; c pattern",
            ),
            ("one \"two words\" three*", ""),
            (
                "at:[2013-05-06T10:30:00Z TO now-1d/d]",
                "at [2013-05-06T10:30:00Z, now-1d/d]",
            ),
        ];
        let shown = |term: &Term| match &term.wanted {
            Wanted::Range { lower, upper } => format!("{} [{lower}, {upper}]", term.field),
            Wanted::Value(text) => format!("{} {text}", term.field),
            Wanted::Pattern => format!("{} pattern", term.field),
            Wanted::Any => format!("{} any", term.field),
        };
        for (query, expected) in cases {
            let terms: Vec<String> = Reader::new(query).terms().iter().map(shown).collect();
            assert_eq!(&terms.join("; "), expected, "{query}");
        }
    }

    #[test]
    fn what_is_asked_suits_its_field() {
        let cases: &[(&str, &[&str], Option<&str>)] = &[
            ("f:[1 TO 5]", &["long"], None),
            (
                "f:[a TO b]",
                &["text"],
                Some("a `text` field; a range takes a number or a date"),
            ),
            ("f:>5", &["keyword"], Some("a `keyword` field")),
            ("f:>5", &["boolean"], Some("a `boolean` field")),
            ("f:>5", &["keyword", "long"], None),
            ("f:[now-1d TO now]", &["date"], None),
            (
                "f:[soon TO *]",
                &["date"],
                Some("`f` is a date, and `soon` is not"),
            ),
            (
                "f:[2013-99-99 TO *]",
                &["date"],
                Some("`f` is a date, and `2013-99-99` is not"),
            ),
            ("f:2013-25-12", &["date"], None),
            (
                "f:[nan TO inf]",
                &["float"],
                Some("`f` is a number, and `nan` is not"),
            ),
            ("f:[10.0.0.1 TO 10.0.0.9]", &["ip"], None),
            ("f:>5", &["integer_range"], None),
            ("f:[20 TO 10]", &["float"], Some("begins at `20`")),
            (
                "f:[* TO ten]",
                &["float"],
                Some("`f` is a number, and `ten` is not"),
            ),
            (
                "f:abc",
                &["long"],
                Some("`f` is a whole number, and `abc` is not"),
            ),
            (
                "f:1.5",
                &["long"],
                Some("`f` is a whole number, and `1.5` is not"),
            ),
            (
                "f:\"abc\"",
                &["double"],
                Some("`f` is a number, and `abc` is not"),
            ),
            (
                "f:(1 OR abc)",
                &["long", "double"],
                Some("`f` is a number, and `abc` is not"),
            ),
            ("f:abc", &["long", "keyword"], None),
            ("f:-5", &["long"], None),
            (
                "f:soon",
                &["date"],
                Some("`f` is a date, and `soon` is not"),
            ),
            ("f:2013-05", &["date", "date_nanos"], None),
            ("f:soon", &["date_range"], None),
            (
                "f:yes",
                &["boolean"],
                Some("`f` is `true` or `false`, and `yes` is not"),
            ),
            ("f:true", &["boolean"], None),
            ("f:1*", &["long"], Some("`*` and `?` in words")),
            ("f:*", &["long"], None),
            ("f:ab*", &["keyword"], None),
        ];
        for (query, types, expected) in cases {
            let mut terms = Reader::new(query).terms().into_iter();
            let checked = terms.try_for_each(|term| term.check(query, types));
            let said = checked.err().map(|error| error.render());
            match (said, expected) {
                (None, None) => {}
                (Some(said), Some(expected)) => assert!(said.contains(expected), "{said}"),
                (said, _) => panic!("{query} over {types:?}: {said:?}"),
            }
        }
    }

    #[test]
    fn a_member_may_be_of_a_field_that_holds_it() {
        let names: Vec<&str> = with_parents("a.b.c").collect();
        assert_eq!(names, ["a", "a.b", "a.b.c"]);
        let types = json!({ "long": {}, "unmapped": {} });
        assert_eq!(words(&types), ["long"]);
    }
}
