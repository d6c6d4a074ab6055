//! Texts made of values: joined, and in upper or lower case. Other functions of texts are polars'; these are what most
//! expressions use, and one pass over the values is several times faster.

use std::sync::Arc;

use super::program::{Bad, Why};
use crate::columns::{Column, TextBuilder, row_number};
use crate::format::json;
use crate::schema::Type;

/// How values become one text.
#[derive(Debug, Clone)]
pub(super) struct Join {
    /// What stands between them.
    pub(super) separator: Arc<str>,
    /// Whether a null is left out; else the text is null.
    pub(super) skips_nulls: bool,
}

/// What a text becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Upper,
    Lower,
}

/// The text of each row; a column has a value a row, or one for all.
pub(super) fn join(how: &Join, parts: &[(&Column, &Type)], rows: usize) -> Column {
    let mut builder = TextBuilder::new();
    let mut text = String::new();
    let mut digits = itoa::Buffer::new();
    let mut bytes = Vec::new();
    for row in 0..rows {
        text.clear();
        let mut written = 0;
        let mut is_null = false;
        for (column, ty) in parts {
            let at = if column.len() == 1 { 0 } else { row };
            if column.is_null(at) {
                if how.skips_nulls {
                    continue;
                }
                is_null = true;
                break;
            }
            if written > 0 {
                text.push_str(&how.separator);
            }
            written += 1;
            match (column, ty) {
                (Column::Strings(texts), _) => text.push_str(texts.value(at)),
                (Column::Ints(ints), Type::Int) => text.push_str(digits.format(ints.value(at))),
                _ => {
                    bytes.clear();
                    json::write_plain(column, ty, at, &mut bytes);
                    text.push_str(std::str::from_utf8(&bytes).expect("what is written is UTF-8"));
                }
            }
        }
        builder.push((!is_null).then_some(&text));
    }
    builder.finish()
}

/// Each text in upper or lower case, by Unicode's rules.
pub(super) fn cased(case: Case, column: &Column) -> Column {
    let mut builder = TextBuilder::new();
    let mut text = String::new();
    for value in column.strings() {
        let Some(value) = value else {
            builder.push(None);
            continue;
        };
        if value.is_ascii() {
            text.clear();
            text.push_str(value);
            match case {
                Case::Upper => text.make_ascii_uppercase(),
                Case::Lower => text.make_ascii_lowercase(),
            }
        } else {
            text = match case {
                Case::Upper => value.to_uppercase(),
                Case::Lower => value.to_lowercase(),
            };
        }
        builder.push(Some(&text));
    }
    builder.finish()
}

/// A part of a text, by characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slice {
    /// The first n; below 0: all but the last n.
    Left,
    /// The last n; below 0: all but the first n.
    Right,
    /// From the one at a number, which counts from 1, as many as another one says. Places before the first one count too,
    /// as in SQL, so that `substr('abc', 0, 2)` is `a`.
    Middle,
}

/// The part of each text, and the rows where a length is below 0. A column has a value a row, or one for all.
pub(super) fn sliced(
    slice: Slice,
    texts: &Column,
    number: &Column,
    length: Option<&Column>,
    rows: usize,
) -> (Column, Bad) {
    let mut builder = TextBuilder::new();
    let mut bad = Bad::new();
    for row in 0..rows {
        let (Some(text), Some(number)) = (text_at(texts, row), int_at(number, row)) else {
            builder.push(None);
            continue;
        };
        let length = match length.map(|length| int_at(length, row)) {
            None => i64::MAX,
            Some(None) => {
                builder.push(None);
                continue;
            }
            Some(Some(length)) if length < 0 => {
                bad.push((row_number(row), Why::Other("a length below 0".into())));
                0
            }
            Some(Some(length)) => length,
        };
        let count = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        let (from, to) = match slice {
            Slice::Left if number >= 0 => (0, number),
            Slice::Left => (0, count().saturating_add(number)),
            Slice::Right if number >= 0 => (count() - number, i64::MAX),
            Slice::Right => (number.saturating_neg(), i64::MAX),
            Slice::Middle => {
                let from = number.saturating_sub(1);
                // Without a length all that follow are meant.
                (
                    from,
                    if length == i64::MAX {
                        length
                    } else {
                        from.saturating_add(length)
                    },
                )
            }
        };
        builder.push(Some(characters(text, from, to)));
    }
    (builder.finish(), bad)
}

/// The characters from one number to another, as far as there are any.
fn characters(text: &str, from: i64, to: i64) -> &str {
    let index = |number: i64| {
        let number = usize::try_from(number).unwrap_or(0);
        if text.is_ascii() {
            return number.min(text.len());
        }
        let mut places = text.char_indices().map(|(at, _)| at);
        places.nth(number).unwrap_or(text.len())
    };
    let (from, to) = (index(from), index(to));
    &text[from..to.max(from)]
}

/// Where a part begins in a text, in characters from 1; 0: nowhere.
pub(super) fn found(texts: &Column, parts: &Column, rows: usize) -> Column {
    let place = |row: usize| {
        let text = text_at(texts, row)?;
        let part = text_at(parts, row)?;
        let at = text
            .find(part)
            .map_or(0, |at| text[..at].chars().count() + 1);
        Some(i64::try_from(at).expect("a text is shorter than 2^63"))
    };
    let places: Vec<Option<i64>> = (0..rows).map(place).collect();
    Column::from_nullable_ints(&places)
}

fn text_at(column: &Column, row: usize) -> Option<&str> {
    let row = if column.len() == 1 { 0 } else { row };
    (!column.is_null(row)).then(|| column.strings().value(row))
}

fn int_at(column: &Column, row: usize) -> Option<i64> {
    let row = if column.len() == 1 { 0 } else { row };
    (!column.is_null(row)).then(|| column.ints().value(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_is_left_out_or_makes_the_text_null() {
        let texts = Column::from_strings([Some("a"), None, Some("é")]);
        let ints = Column::from_nullable_ints(&[Some(-1), Some(2), None]);
        let one = Column::from_floats(vec![0.5], None);
        let parts = [
            (&texts, &Type::String),
            (&ints, &Type::Int),
            (&one, &Type::Float),
        ];
        let joined = |skips_nulls| {
            let how = Join {
                separator: "-".into(),
                skips_nulls,
            };
            let column = join(&how, &parts, 3);
            let texts = column.strings().iter();
            texts
                .map(|text| text.map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let texts = |texts: [Option<&str>; 3]| texts.map(|text| text.map(str::to_owned));
        assert_eq!(joined(false), texts([Some("a--1-0.5"), None, None]));
        assert_eq!(
            joined(true),
            texts([Some("a--1-0.5"), Some("2-0.5"), Some("é-0.5")])
        );
    }

    #[test]
    fn case_is_that_of_unicode() {
        let texts = Column::from_strings([Some("straße İ"), Some("abc"), None]);
        let upper = cased(Case::Upper, &texts);
        assert_eq!(upper.strings().value(0), "straße İ".to_uppercase());
        assert_eq!(upper.strings().value(1), "ABC");
        assert!(upper.is_null(2));
        assert_eq!(
            cased(Case::Lower, &texts).strings().value(0),
            "straße İ".to_lowercase()
        );
    }

    #[test]
    fn parts_are_counted_in_characters() {
        for (text, from, to, part) in [
            ("abcd", 0, 2, "ab"),
            ("abcd", 2, 9, "cd"),
            ("abcd", -3, 2, "ab"),
            ("abcd", 3, 1, ""),
            ("日本語x", 1, 3, "本語"),
            ("日本語x", 9, 12, ""),
            ("", 0, 1, ""),
        ] {
            assert_eq!(characters(text, from, to), part, "{text} {from} {to}");
        }
        let texts = Column::from_strings([Some("a.b"), Some("日本"), None]);
        let places = found(&texts, &Column::from_strings([Some(".")]), 3);
        assert_eq!(places.ints().values().as_slice()[..2], [2, 0]);
        assert!(places.is_null(2));
    }
}
