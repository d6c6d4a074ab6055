//! What users write, as tantivy's query syntax reads it. Some things are made easier: a member that is no
//! field needs no prefix, a date may be written as short as in Elasticsearch (`2013-05` is that month,
//! also as the bound of a range), and in a word `*` stands for any characters and `?` for one. A name that
//! the index does not know, a range over what has no order, and one that ends before it begins are errors:
//! tantivy finds nothing and says nothing.

use tantivy::query::Occur;
use tantivy::query::QueryParserError;
use tantivy::query_grammar::{
    Delimiter, UserInputAst, UserInputBound, UserInputLeaf, UserInputLiteral, parse_query,
    parse_query_lenient,
};
use tantivy::schema::{Field, FieldType, Schema};

use super::super::query_limits::{
    DATE, DATES, FLAG, NUMBER, WHOLE_NUMBER, excluded, excluded_numbers, malformed, no_field,
    no_range, no_value, number, reversed,
};
use super::coerce::DATES_US;
use super::dates::{self, Span};
use super::document::DYNAMIC;
use super::members::{Members, Values};
use crate::error::{Error, Result};

/// Parses a query whose bare words are looked for in `bare`; its names become those of the index.
pub(super) fn parse(
    query: &str,
    schema: &Schema,
    bare: &[Field],
    members: &Members,
) -> Result<UserInputAst> {
    if query.trim().is_empty() {
        return Err(malformed(query).cause("it is empty; `*` finds all"));
    }
    // As servers have it.
    let all = query.trim() == "*:*";
    let read = parse_query(if all { "*" } else { query });
    let mut ast = read.map_err(|_| misspelt(query))?;
    let fields = Fields {
        query,
        schema,
        bare,
        members,
    };
    for (name, number) in excluded_numbers(query) {
        let values = fields.resolve(&mut name.to_owned())?;
        if matches!(values, Values::Integers | Values::Numbers) {
            return Err(excluded(query, name, number));
        }
    }
    fields.rewrite(&mut ast)?;
    Ok(UserInputAst::Clause(lift_negations(None, ast)))
}

/// The error for a query that is not in the syntax: what is wrong, and after which of its words.
fn misspelt(query: &str) -> Error {
    let (_, faults) = parse_query_lenient(query);
    let error = malformed(query);
    let Some(fault) = faults.first() else {
        return error.cause(if query.ends_with('\\') {
            "it ends with `\\`, which takes the next character as it stands"
        } else {
            "`AND` or `OR` lacks a word on one side"
        });
    };
    let at = query.floor_char_boundary(fault.pos);
    let (before, rest) = query.split_at(at);
    let what = match fault.message.as_str() {
        "expected ')'" => "a `(` is not closed",
        "unparsed end of query" if rest.starts_with(')') => "a `)` closes nothing",
        "unparsed end of query" => "the rest means nothing",
        "missing delimiter /" => "a pattern is not closed",
        other if other.starts_with("missing delimiter") => "a quote is not closed",
        "missing ]" => "a `[` is not closed",
        "missing keyword TO" => "`TO` is missing in the range",
        "missing space" => "a blank is missing",
        "expected word" => "a word is missing",
        "parsed possible invalid field as term" => "a `:` stands where no field is named",
        "parsed keyword NOT as term. It should be quoted" => "`NOT` lacks a word after it",
        "Found unexpected boolean operator before term" => {
            return error.cause("`AND` or `OR` lacks a word before it");
        }
        other => other,
    };
    let shown = before.trim();
    error.cause(match shown.char_indices().rev().nth(BEFORE_CHARS_MAX) {
        _ if shown.is_empty() => format!("{what}, at its beginning"),
        None => format!("{what}, after `{shown}`"),
        Some((from, _)) => format!("{what}, after `…{}`", &shown[from..]),
    })
}

/// So much of a query is shown before the place of a fault.
const BEFORE_CHARS_MAX: usize = 30;

/// The error for what tantivy says of a parsed query.
pub(super) fn refused(query: &str, fault: &QueryParserError) -> Error {
    malformed(query).cause(match fault {
        QueryParserError::DateFormatError(_) => format!("a value is not a date; {DATES}"),
        fault => fault.to_string(),
    })
}

struct Fields<'a> {
    query: &'a str,
    schema: &'a Schema,
    bare: &'a [Field],
    members: &'a Members<'a>,
}

impl Fields<'_> {
    fn rewrite(&self, ast: &mut UserInputAst) -> Result<()> {
        match ast {
            UserInputAst::Clause(parts) => {
                for (_, part) in parts.iter_mut() {
                    self.rewrite(part)?;
                }
                *parts = std::mem::take(parts)
                    .into_iter()
                    .flat_map(|(occur, part)| lift_negations(occur, part))
                    .collect();
            }
            UserInputAst::Boost(part, _) => self.rewrite(part)?,
            UserInputAst::Leaf(leaf) => {
                if let UserInputLeaf::Literal(literal) = &**leaf
                    && let Some(patterns) = self.wildcard(literal)?
                {
                    *ast = patterns;
                    return Ok(());
                }
                self.rewrite_leaf(leaf)?;
            }
        }
        Ok(())
    }

    fn rewrite_leaf(&self, leaf: &mut UserInputLeaf) -> Result<()> {
        match leaf {
            UserInputLeaf::Literal(literal) => {
                if literal.delimiter == Delimiter::None {
                    self.takes_word(&literal.phrase)?;
                }
                let Some(name) = &mut literal.field_name else {
                    return Ok(());
                };
                let asked = name.clone();
                let values = self.resolve(name)?;
                self.takes_value(&asked, values, &literal.phrase)?;
                if values == Values::Dates
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
                self.rewrite_range(name, lower, upper)?;
            }
            UserInputLeaf::Set {
                field: Some(name),
                elements,
            } => {
                let asked = name.clone();
                let values = self.resolve(name)?;
                for element in elements {
                    self.takes_value(&asked, values, element)?;
                }
            }
            UserInputLeaf::Exists { field: name } => {
                if self.words(name).is_some() {
                    *leaf = UserInputLeaf::Regex {
                        field: Some(name.clone()),
                        pattern: ".*".into(),
                    };
                } else {
                    self.resolve(name)?;
                }
            }
            UserInputLeaf::Regex {
                field: Some(name), ..
            } => self.takes_patterns(name)?,
            UserInputLeaf::Range { field: None, .. } => return Err(self.no_name("a range")),
            UserInputLeaf::Set { field: None, .. } => return Err(self.no_name("a set")),
            UserInputLeaf::Regex { field: None, .. } => return Err(self.no_name("a pattern")),
            UserInputLeaf::All => {}
        }
        Ok(())
    }

    /// A range over dates holds whole days, months and years at both ends.
    fn rewrite_range(
        &self,
        name: &mut String,
        lower: &mut UserInputBound,
        upper: &mut UserInputBound,
    ) -> Result<()> {
        let asked = name.clone();
        let values = self.resolve(name)?;
        for bound in [&*lower, &*upper]
            .into_iter()
            .filter(|bound| !is_open(bound))
        {
            self.takes_value(&asked, values, bound.term_str())?;
        }
        if falls(values, lower.term_str(), upper.term_str()) {
            let (lower, upper) = (lower.term_str(), upper.term_str());
            return Err(reversed(self.query, &asked, lower, upper));
        }
        match values {
            Values::Integers | Values::Numbers => {}
            Values::Dates => {
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
            Values::Flags | Values::Other => {
                return Err(no_range(self.query, &asked, &self.kind(&asked)));
            }
        }
        Ok(())
    }

    fn no_name(&self, what: &str) -> Error {
        malformed(self.query).cause(format!(
            "{what} needs a field before it: `FIELD:[1 TO 5]`, `FIELD:IN [a b]`, `FIELD:/pattern/`"
        ))
    }

    /// A word without quotes has no signs of a syntax that is not known here: such a word is cut at them,
    /// and other words are looked for.
    fn takes_word(&self, word: &str) -> Result<()> {
        let fuzzy = word.rsplit_once('~').is_some_and(|(word, number)| {
            let is_number = |byte: u8| byte.is_ascii_digit() || byte == b'.';
            !word.is_empty() && number.bytes().all(is_number)
        });
        if fuzzy {
            return Err(malformed(self.query).cause(format!(
                "`{word}`: words that are alike cannot be asked for"
            )));
        }
        Ok(())
    }

    /// A value is one that the field or member `name` may have.
    fn takes_value(&self, name: &str, values: Values, text: &str) -> Result<()> {
        let (fits, what) = match values {
            Values::Integers => (text.parse::<i64>().is_ok(), WHOLE_NUMBER),
            Values::Numbers => (number(text).is_some(), NUMBER),
            Values::Flags => (text.parse::<bool>().is_ok(), FLAG),
            Values::Dates => (span(text).is_some(), DATE),
            Values::Other => return Ok(()),
        };
        if fits {
            return Ok(());
        }
        Err(no_value(self.query, name, what, text))
    }

    /// What the field or member `name` holds, which becomes its name in the index.
    fn resolve(&self, name: &mut String) -> Result<Values> {
        if let Ok(field) = self.schema.get_field(name) {
            return Ok(match self.schema.get_field_entry(field).field_type() {
                FieldType::I64(_) => Values::Integers,
                FieldType::F64(_) => Values::Numbers,
                FieldType::Date(_) => Values::Dates,
                FieldType::Bool(_) => Values::Flags,
                _ => Values::Other,
            });
        }
        let values = self.members.values(name)?;
        let values = values.ok_or_else(|| self.no_field(name))?;
        *name = format!("{DYNAMIC}.{name}");
        Ok(values)
    }

    /// The error for a name that the index does not know.
    fn no_field(&self, name: &str) -> Error {
        let part = format!("{name}.lat");
        if self.schema.get_field(&part).is_ok() {
            return malformed(self.query).cause(format!(
                "`{name}` is a point; its numbers are `{part}` and `{name}.lon`"
            ));
        }
        no_field(self.query, name, self.members.near(name))
    }

    /// What the field or member `name` is, in words.
    fn kind(&self, name: &str) -> String {
        match self.schema.get_field(name) {
            Ok(field) => {
                let held = match self.schema.get_field_entry(field).field_type() {
                    FieldType::Str(_) if self.words(name) == Some(RAW) => "keyword",
                    FieldType::Str(_) => "text",
                    FieldType::I64(_) => "long",
                    FieldType::F64(_) => "double",
                    FieldType::Date(_) => "date",
                    _ => "boolean",
                };
                format!("a `{held}` field")
            }
            Err(_) => "text without a type of its own".into(),
        }
    }

    /// Only fields of words know patterns.
    fn takes_patterns(&self, name: &str) -> Result<()> {
        if self.words(name).is_some() {
            return Ok(());
        }
        self.resolve(&mut name.to_owned())?;
        Err(malformed(self.query)
            .cause(format!(
                "`{name}` is {}; `*` and `?` in words, and patterns, take a `text` or `keyword` field",
                self.kind(name)
            ))
            .hint(format!(
                "name `{name}` in the `mapping` as `text` or `keyword`, then load with `load = \"replace\"`; \
                 `{name}:VALUE` finds a whole value"
            )))
    }

    /// The tokenizer of the field `name` if it holds words.
    fn words(&self, name: &str) -> Option<&str> {
        let field = self.schema.get_field(name).ok()?;
        match self.schema.get_field_entry(field).field_type() {
            FieldType::Str(options) => Some(options.get_indexing_options()?.tokenizer()),
            _ => None,
        }
    }

    /// A word with `*` or `?` as what tantivy has for it, a pattern of words, in each field that may hold it.
    fn wildcard(&self, literal: &UserInputLiteral) -> Result<Option<UserInputAst>> {
        let word = literal.phrase.as_str();
        if literal.delimiter != Delimiter::None || word == "*" || !word.contains(['*', '?']) {
            return Ok(None);
        }
        self.takes_word(word)?;
        let names = match &literal.field_name {
            Some(name) => {
                self.takes_patterns(name)?;
                vec![name.as_str()]
            }
            None => self
                .bare
                .iter()
                .map(|&field| self.schema.get_field_name(field))
                .collect(),
        };
        let patterns = names.into_iter().filter_map(|name| {
            let pattern = match self.words(name)? {
                RAW => pattern_of(word),
                _ => pattern_of(&word.to_lowercase()),
            };
            let field = Some(name.to_owned());
            let leaf = UserInputLeaf::Regex { field, pattern };
            Some((Some(Occur::Should), UserInputAst::Leaf(Box::new(leaf))))
        });
        let patterns: Vec<Part> = patterns.collect();
        Ok((!patterns.is_empty()).then_some(UserInputAst::Clause(patterns)))
    }
}

/// The tokenizer that leaves texts as they are.
const RAW: &str = "raw";

/// The pattern for a word in which `*` stands for any characters and `?` for one.
fn pattern_of(word: &str) -> String {
    let mut pattern = String::new();
    for character in word.chars() {
        match character {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            character => {
                if character.is_ascii_punctuation() {
                    pattern.push('\\');
                }
                pattern.push(character);
            }
        }
    }
    pattern
}

/// Whether a range of such values ends before it begins.
fn falls(values: Values, lower: &str, upper: &str) -> bool {
    fn is_above<T: PartialOrd>(lower: Option<T>, upper: Option<T>) -> bool {
        lower.zip(upper).is_some_and(|(lower, upper)| lower > upper)
    }
    match values {
        Values::Integers => is_above::<i64>(lower.parse().ok(), upper.parse().ok()),
        Values::Numbers => is_above::<f64>(lower.parse().ok(), upper.parse().ok()),
        Values::Dates => is_above(
            span(lower).map(|span| span.from),
            span(upper).map(|span| span.from),
        ),
        Values::Flags | Values::Other => false,
    }
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
