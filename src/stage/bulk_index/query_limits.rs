//! What holds for queries of both kinds of index: how large one may be, and the errors for those that
//! would find nothing without a word. A query's parser calls itself for each bracket, and what it makes of
//! the words is compared word by word: both are limited before a query is parsed, or sent to a server.

use crate::error::{Error, Result};

/// As many clauses as Elasticsearch and `OpenSearch` take by default (`indices.query.bool.max_clause_count`).
const WORDS_MAX: usize = 1024;
/// Each takes some kilobytes of the stack, of which a thread has 2 to 8 MB.
const BRACKETS_MAX: usize = 256;
/// More is not typed; a word alone may be as long as an index keeps words.
const BYTES_MAX: usize = 64 << 10;

/// What fields hold, in words.
pub(super) const WHOLE_NUMBER: &str = "a whole number";
pub(super) const NUMBER: &str = "a number";
pub(super) const FLAG: &str = "`true` or `false`";
pub(super) const DATE: &str = "a date";

/// How dates are written in a query.
pub(super) const DATES: &str =
    "a date is written `2013`, `2013-05`, `2013-05-06` or `2013-05-06T10:30:00Z`";

/// Refuses a query that is too large to be parsed.
pub(super) fn check(query: &str) -> Result<()> {
    let is_bracket = |c: char| matches!(c, '(' | '[' | '{');
    // Signs may stand before a word, as many as one likes, and each is read like a bracket.
    let signs = query.matches(['-', '+', '!']).count();
    let brackets = query.matches(is_bracket).count();
    let between = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '[' | ']' | '{' | '}');
    let words = query.split(between).filter(|word| !word.is_empty()).count();
    for (count, what, most) in [
        (query.len(), "bytes", BYTES_MAX),
        (brackets, "brackets", BRACKETS_MAX),
        (words, "words", WORDS_MAX),
        (signs, "signs (`-`, `+`, `!`)", WORDS_MAX),
    ] {
        if count > most {
            return Err(Error::usage(format!(
                "the query has {count} {what}: at most {most} are taken"
            ))
            .hint("ask several times, or for a range: `FIELD:[1 TO 5]`"));
        }
    }
    compared(query).map_or(Ok(()), |(field, sign, rest)| {
        Err(malformed(query)
            .cause(format!("`{field}{sign}{rest}` is read as words"))
            .hint(format!(
                "a range follows a colon: `{field}:{sign}{rest}`; words stand in quotes"
            )))
    })
}

/// The first `FIELD>VALUE` outside of quotes: it looks like a range, but a range has a colon.
fn compared(query: &str) -> Option<(&str, &str, &str)> {
    let outside = query.split('"').step_by(2);
    let mut words = outside.flat_map(str::split_whitespace);
    words.find_map(|word| {
        let (field, rest) = word.split_at(word.find(['<', '>'])?);
        let value = rest.trim_start_matches(['<', '>', '=']);
        let sign = &rest[..rest.len() - value.len()];
        let named = |c: char| c.is_alphanumeric() || "_.-".contains(c);
        let is_range = !field.is_empty() && field.chars().all(named) && !value.is_empty();
        is_range.then_some((field, sign, value))
    })
}

/// What a minus excludes in a group of a field though it is a number, `FIELD:(-3)`: the field and the number.
pub(super) fn excluded_numbers(query: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    // The field of each group that is open, and where the word begins.
    let (mut groups, mut begin) = (Vec::new(), 0);
    let (mut is_quoted, mut is_range, mut is_escaped) = (false, false, false);
    for (at, character) in query.char_indices().chain([(query.len(), ' ')]) {
        if std::mem::take(&mut is_escaped) {
            continue;
        }
        match character {
            '\\' => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '[' | '{' => is_range = true,
            ']' | '}' => is_range = false,
            '(' => {
                let named = query[begin..at].strip_suffix(':');
                let named = named.map(|name| name.trim_start_matches(['+', '-', '!']));
                groups.push(named.or(groups.last().copied()).unwrap_or_default());
                begin = at + 1;
            }
            ')' | ' ' | '\t' | '\n' => {
                let word = query.get(begin..at).unwrap_or_default();
                let is_number = word.starts_with('-') && word.parse::<f64>().is_ok();
                let field = groups.last().filter(|field| !field.is_empty());
                found.extend(
                    field
                        .filter(|_| is_number && !is_range)
                        .map(|&field| (field, word)),
                );
                if character == ')' {
                    groups.pop();
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// A number that an index can hold, as a query has it.
pub(super) fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// The error for a number of [`excluded_numbers`], where the field `name` holds numbers.
pub(super) fn excluded(query: &str, name: &str, number: &str) -> Error {
    let without = &number[1..];
    malformed(query)
        .cause(format!(
            "in a group `{number}` does not mean a negative number: it excludes `{without}`"
        ))
        .hint(format!(
            "`{name}:{number}` or `{name}:(\"{number}\")` finds the negative number, `{name}:(NOT {without})` excludes"
        ))
}

/// The error for a query that cannot be asked.
pub(super) fn malformed(query: &str) -> Error {
    Error::usage(format!("cannot read the query `{query}`")).hint(
        "for example `word`, `begin*`, `FIELD:word`, `FIELD:\"two words\"`, `FIELD:[1 TO 5]`, \
         `this AND NOT that`; characters that mean something stand in quotes",
    )
}

/// The error for a range over the field `name`, which is `what` and so neither number nor date.
pub(super) fn no_range(query: &str, name: &str, what: &str) -> Error {
    malformed(query)
        .cause(format!(
            "`{name}` is {what}; a range takes a number or a date"
        ))
        .hint(format!(
            "give the column a type (`types` of a loader, `normalize_dates`) or name `{name}` in the \
             `mapping`, then load with `load = \"replace\"`; `{name}:word` finds a word"
        ))
}

/// The error for a `text` that is not `what` the field `name` holds.
pub(super) fn no_value(query: &str, name: &str, what: &str, text: &str) -> Error {
    let error = malformed(query).cause(format!("`{name}` is {what}, and `{text}` is not"));
    match what {
        DATE => error.hint(DATES),
        _ => error,
    }
}

/// The error for a field that the index does not have; `near`: one that it has.
pub(super) fn no_field(query: &str, name: &str, near: Option<&str>) -> Error {
    let error = malformed(query).cause(format!("the index has no field `{name}`"));
    match near {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    }
}

/// The error for a range that ends before it begins.
pub(super) fn reversed(query: &str, name: &str, lower: &str, upper: &str) -> Error {
    malformed(query)
        .cause(format!(
            "the range over `{name}` begins at `{lower}`, which is above its end `{upper}`"
        ))
        .hint(format!(
            "the lower bound stands first: `{name}:[{upper} TO {lower}]`"
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minus_before_a_number_in_a_group_is_found() {
        for (query, found) in [
            ("n:(-3)", vec![("n", "-3")]),
            ("a n:(1 OR (-3 -b)) (-4)", vec![("n", "-3")]),
            ("-n:(-.5)", vec![("n", "-.5")]),
            ("n:(\"-3\" NOT 3) AND n:-3 -3", vec![]),
            ("n:([-3 TO -1] OR [ -3 TO 5 ]) m:IN [-3]", vec![]),
            ("n:(a-3 \\-3 -x)", vec![]),
        ] {
            assert_eq!(excluded_numbers(query), found, "{query}");
        }
    }

    #[test]
    fn a_range_without_its_colon_is_refused() {
        for query in ["day>2023", "a AND day>=5", "x x<7"] {
            check(query).unwrap_err();
        }
        let error = check("a AND n.m<=-3").unwrap_err();
        assert!(error.hint.unwrap().contains("`n.m:<=-3`"));
        for query in ["day:>2023", "\"day>2023\"", "a > b", "<b>", "n:<=5"] {
            check(query).unwrap();
        }
    }
}
