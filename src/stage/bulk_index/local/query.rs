//! What users write, as tantivy's query syntax reads it. Some things are made easier: a member that the
//! mapping does not name needs no prefix, a date may be written as short as in Elasticsearch
//! (`2013-05` is that month, also as the bound of a range), and `begin*` is any word that begins so.

use tantivy::query::Occur;
use tantivy::query::QueryParserError;
use tantivy::query_grammar::{
    Delimiter, UserInputAst, UserInputBound, UserInputLeaf, UserInputLiteral, parse_query,
    parse_query_lenient,
};
use tantivy::schema::{Field, FieldType, Schema};

use super::coerce::DATES_US;
use super::dates::{self, Span};
use super::document::DYNAMIC;
use crate::error::{Error, Result};

/// A query parsed, its fields resolved in the index's schema.
pub(super) struct Parsed {
    pub(super) ast: UserInputAst,
    /// Names that are no field of it: members that the mapping does not name, or misspelt.
    pub(super) unmapped: Vec<String>,
}

/// Parses a query whose bare words are looked for in `bare`.
pub(super) fn parse(query: &str, schema: &Schema, bare: &[Field]) -> Result<Parsed> {
    if query.trim().is_empty() {
        return Err(malformed(query).cause("it is empty; `*` finds all"));
    }
    let mut ast = parse_query(query).map_err(|_| {
        let (_, faults) = parse_query_lenient(query);
        let fault = malformed(query);
        match faults.first() {
            Some(first) => fault.cause(format!("{} at position {}", first.message, first.pos)),
            None => fault.cause("syntax error"),
        }
    })?;
    let mut fields = Fields {
        schema,
        bare,
        unmapped: Vec::new(),
    };
    fields.rewrite(&mut ast);
    Ok(Parsed {
        ast: UserInputAst::Clause(lift_negations(None, ast)),
        unmapped: fields.unmapped,
    })
}

/// The error for what tantivy says of a parsed query.
pub(super) fn refused(query: &str, fault: &QueryParserError) -> Error {
    malformed(query).cause(match fault {
        // Its own words are those of another fault.
        QueryParserError::ExpectedFloat(_) => "expected a number".to_owned(),
        QueryParserError::FieldDoesNotExist(name) => {
            format!("`{name}` is no text or keyword field of the mapping: only those know `begin*` and patterns")
        }
        fault => fault.to_string(),
    })
}

/// The error for a query that cannot be asked.
pub(super) fn malformed(query: &str) -> Error {
    Error::usage(format!("cannot read the query `{query}`")).hint(
        "for example `word`, `FIELD:word`, `FIELD:\"two words\"`, `FIELD:[1 TO 5]`, `this AND NOT that`; \
         characters that mean something stand in quotes",
    )
}

struct Fields<'a> {
    schema: &'a Schema,
    bare: &'a [Field],
    unmapped: Vec<String>,
}

impl Fields<'_> {
    fn rewrite(&mut self, ast: &mut UserInputAst) {
        match ast {
            UserInputAst::Clause(parts) => {
                for (_, part) in parts.iter_mut() {
                    self.rewrite(part);
                }
                *parts = std::mem::take(parts)
                    .into_iter()
                    .flat_map(|(occur, part)| lift_negations(occur, part))
                    .collect();
            }
            UserInputAst::Boost(part, _) => self.rewrite(part),
            UserInputAst::Leaf(leaf) => {
                self.rewrite_leaf(leaf);
                if let UserInputLeaf::Literal(literal) = &**leaf
                    && let Some(begins) = self.prefix(literal)
                {
                    *ast = begins;
                }
            }
        }
    }

    fn rewrite_leaf(&mut self, leaf: &mut UserInputLeaf) {
        match leaf {
            UserInputLeaf::Literal(literal) => {
                let Some(name) = &literal.field_name else {
                    return;
                };
                if self.schema.find_field(name).is_none() {
                    self.unmapped.push(name.clone());
                }
                if is_date(name, self.schema)
                    && let Some(span) = span(&literal.phrase)
                {
                    *leaf = UserInputLeaf::Range {
                        field: Some(name.clone()),
                        lower: UserInputBound::Inclusive(instant(span.from)),
                        upper: UserInputBound::Exclusive(instant(span.to)),
                    };
                }
            }
            UserInputLeaf::Range {
                field: Some(name),
                lower,
                upper,
            } => {
                if is_open(lower) && is_open(upper) {
                    let field = name.clone();
                    *leaf = UserInputLeaf::Exists { field };
                    return self.rewrite_leaf(leaf);
                }
                if is_date(name, self.schema) {
                    move_bound(
                        lower,
                        |span| span.from,
                        |span| span.to,
                        UserInputBound::Inclusive,
                    );
                    move_bound(
                        upper,
                        |span| span.to,
                        |span| span.from,
                        UserInputBound::Exclusive,
                    );
                }
                self.resolve(name);
            }
            UserInputLeaf::Set {
                field: Some(name), ..
            } => self.resolve(name),
            UserInputLeaf::Exists { field: name } => {
                if self.words(name).is_some() {
                    *leaf = UserInputLeaf::Regex {
                        field: Some(name.clone()),
                        pattern: ".*".into(),
                    };
                } else {
                    self.resolve(name);
                }
            }
            _ => {}
        }
    }

    /// A name that is no field of the index is a member that the mapping does not name. (Tantivy does
    /// so for `MEMBER:word` only.)
    fn resolve(&mut self, name: &mut String) {
        if self.schema.find_field(name).is_none() {
            self.unmapped.push(name.clone());
            *name = format!("{DYNAMIC}.{name}");
        }
    }

    /// The tokenizer of the field `name` if it holds words.
    fn words(&self, name: &str) -> Option<&str> {
        let field = self.schema.get_field(name).ok()?;
        match self.schema.get_field_entry(field).field_type() {
            FieldType::Str(options) => Some(options.get_indexing_options()?.tokenizer()),
            _ => None,
        }
    }

    /// `begin*` as what tantivy has for it, a pattern of words, in each field that may hold it.
    fn prefix(&self, literal: &UserInputLiteral) -> Option<UserInputAst> {
        let begin = literal.phrase.strip_suffix('*')?;
        if literal.delimiter != Delimiter::None || begin.is_empty() {
            return None;
        }
        let names = match &literal.field_name {
            Some(name) => vec![name.as_str()],
            None => self
                .bare
                .iter()
                .map(|&field| self.schema.get_field_name(field))
                .collect(),
        };
        let of_one = literal.field_name.is_some();
        let patterns = names.into_iter().filter_map(|name| {
            let begin = match self.words(name) {
                Some(RAW) => begin.to_owned(),
                Some(_) => begin.to_lowercase(),
                // Tantivy says why it cannot be asked so.
                None if of_one => begin.to_owned(),
                None => return None,
            };
            let leaf = UserInputLeaf::Regex {
                field: Some(name.to_owned()),
                pattern: literally(&begin) + ".*",
            };
            Some((Some(Occur::Should), UserInputAst::Leaf(Box::new(leaf))))
        });
        let patterns: Vec<Part> = patterns.collect();
        (!patterns.is_empty()).then_some(UserInputAst::Clause(patterns))
    }
}

/// The tokenizer that leaves texts as they are.
const RAW: &str = "raw";

/// A pattern for this text and no other.
fn literally(text: &str) -> String {
    let mut pattern = String::new();
    for character in text.chars() {
        if character.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

fn is_open(bound: &UserInputBound) -> bool {
    match bound {
        UserInputBound::Inclusive(text) | UserInputBound::Exclusive(text) => text == "*",
        UserInputBound::Unbounded => true,
    }
}

type Part = (Option<Occur>, UserInputAst);

/// In `a AND NOT b` tantivy reads `NOT b` as a clause of its own, and a clause that only excludes
/// matches nothing. Here it excludes from `a`; in `a OR NOT b` it excludes from all documents.
fn lift_negations(occur: Option<Occur>, part: UserInputAst) -> Vec<Part> {
    match part {
        UserInputAst::Clause(mut inner) if only_excludes(&inner) => {
            if occur == Some(Occur::Must) {
                return inner;
            }
            let all = UserInputAst::Leaf(Box::new(UserInputLeaf::All));
            inner.push((Some(Occur::Must), all));
            vec![(occur, UserInputAst::Clause(inner))]
        }
        part => vec![(occur, part)],
    }
}

fn only_excludes(parts: &[Part]) -> bool {
    !parts.is_empty()
        && parts
            .iter()
            .all(|(occur, _)| *occur == Some(Occur::MustNot))
}

fn is_date(name: &str, schema: &Schema) -> bool {
    let field = schema.get_field(name);
    field.is_ok_and(|field| {
        matches!(
            schema.get_field_entry(field).field_type(),
            FieldType::Date(_)
        )
    })
}

fn span(text: &str) -> Option<Span> {
    dates::parse(text)
}

/// Moves a bound that is a span of time to the end of the span that is meant: an inclusive bound has
/// the whole span within, an exclusive one the whole span without.
fn move_bound(
    bound: &mut UserInputBound,
    inclusive: impl Fn(Span) -> i64,
    exclusive: impl Fn(Span) -> i64,
    becomes: impl Fn(String) -> UserInputBound,
) {
    let at = match bound {
        UserInputBound::Inclusive(text) => span(text).map(inclusive),
        UserInputBound::Exclusive(text) => span(text).map(exclusive),
        UserInputBound::Unbounded => None,
    };
    if let Some(at) = at {
        *bound = becomes(instant(at));
    }
}

/// As tantivy reads it; beyond what the index can hold, the nearest that it can.
fn instant(micros: i64) -> String {
    dates::print(micros.clamp(*DATES_US.start(), *DATES_US.end()), true)
}
