//! Texts made of values: joined, and in upper or lower case. Other functions of texts are polars'; these are what most
//! expressions use, and one pass over the values is several times faster.

use std::sync::Arc;

use crate::columns::{Column, TextBuilder};
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
}
