//! What users write, as tantivy's query syntax reads it. Two things are made easier: a member that the
//! mapping does not name needs no prefix, and a date may be written as short as in Elasticsearch
//! (`2013-05` is that month, also as the bound of a range).

use tantivy::query::Occur;
use tantivy::query_grammar::{
    UserInputAst, UserInputBound, UserInputLeaf, parse_query, parse_query_lenient,
};
use tantivy::schema::{FieldType, Schema};

use super::coerce::DATES_US;
use super::dates::{self, Span};
use super::document::DYNAMIC;
use crate::error::{Error, Result};

/// A query parsed, its fields resolved in the index's schema.
pub(super) fn parse(query: &str, schema: &Schema) -> Result<UserInputAst> {
    let mut ast = parse_query(query).map_err(|_| {
        let (_, faults) = parse_query_lenient(query);
        let fault = malformed(query);
        match faults.first() {
            Some(first) => fault.cause(format!("{} at position {}", first.message, first.pos)),
            None => fault.cause("syntax error"),
        }
    })?;
    rewrite(&mut ast, schema);
    Ok(ast)
}

/// The error for a query that cannot be asked.
pub(super) fn malformed(query: &str) -> Error {
    Error::usage(format!("cannot read the query `{query}`")).hint(
        "for example `word`, `FIELD:word`, `FIELD:\"two words\"`, `FIELD:[1 TO 5]`, `this AND NOT that`; \
         characters that mean something stand in quotes",
    )
}

fn rewrite(ast: &mut UserInputAst, schema: &Schema) {
    match ast {
        UserInputAst::Clause(parts) => {
            for (_, part) in parts.iter_mut() {
                rewrite(part, schema);
            }
            *parts = std::mem::take(parts)
                .into_iter()
                .flat_map(|(occur, part)| lift_negations(occur, part))
                .collect();
        }
        UserInputAst::Boost(part, _) => rewrite(part, schema),
        UserInputAst::Leaf(leaf) => rewrite_leaf(leaf, schema),
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

fn rewrite_leaf(leaf: &mut UserInputLeaf, schema: &Schema) {
    match leaf {
        UserInputLeaf::Literal(literal) => {
            let Some(name) = &literal.field_name else {
                return;
            };
            if is_date(name, schema)
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
            if is_date(name, schema) {
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
            resolve(name, schema);
        }
        UserInputLeaf::Set {
            field: Some(name), ..
        }
        | UserInputLeaf::Exists { field: name } => {
            resolve(name, schema);
        }
        _ => {}
    }
}

/// A name that is no field of the index is a member that the mapping does not name. (Tantivy does so
/// for `MEMBER:word` only.)
fn resolve(name: &mut String, schema: &Schema) {
    if schema.find_field(name).is_none() {
        *name = format!("{DYNAMIC}.{name}");
    }
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
