//! Values as another type. What reads a text is what `load_csv` and `normalize_dates` read it with.

use std::sync::{Arc, LazyLock};

use polars_arrow::bitmap::Bitmap;

use super::program::{Bad, Why};
use crate::columns::{Column, TextBuilder, row_number};
use crate::format::csv::values::{parse_bool, parse_float, parse_int};
use crate::format::dates::{self, Format};
use crate::format::json;
use crate::schema::Type;

/// A cast that has a meaning.
#[derive(Debug, Clone)]
pub(super) struct Cast {
    pub(super) from: Type,
    pub(super) to: To,
    /// What cannot be cast becomes null, as `TRY_CAST` has it.
    pub(super) lenient: bool,
}

/// What a value becomes.
#[derive(Debug, Clone)]
pub(super) enum To {
    Text,
    Int,
    Float,
    Bool,
    /// By the first format that fits the whole text; from a date only the day stays, if that is asked for.
    Date {
        formats: Arc<[Format]>,
        day: bool,
    },
}

/// The notations of ISO 8601 without a zone.
static ISO: LazyLock<Arc<[Format]>> = LazyLock::new(|| {
    let texts = [
        "%Y-%m-%d",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H:%M",
    ];
    texts
        .map(|text| Format::compile(text).expect("these are right"))
        .into()
});

impl To {
    /// A date in ISO 8601, without a zone.
    pub(super) fn iso(day: bool) -> To {
        To::Date {
            formats: ISO.clone(),
            day,
        }
    }
}

/// The moment that an ISO 8601 text without a zone says.
pub(super) fn iso(text: &str) -> Option<i64> {
    ISO.iter().find_map(|format| format.parse(text.as_bytes()))
}

impl Cast {
    /// Whether there is such a cast.
    pub(super) fn exists(from: &Type, to: &To) -> bool {
        match (from, to) {
            (Type::Binary, _) => false,
            (
                Type::String | Type::Int | Type::Float | Type::Bool,
                To::Int | To::Float | To::Bool,
            )
            | (Type::String | Type::Date { .. }, To::Date { .. })
            | (_, To::Text) => true,
            _ => false,
        }
    }
}

/// The values, and the rows that cannot be cast.
pub(super) fn cast(cast: &Cast, column: &Column) -> (Column, Bad) {
    let mut bad = Bad::new();
    let result = match (&cast.from, &cast.to) {
        (Type::String, To::Text) => column.clone(),
        (ty, To::Text) => texts(column, ty),
        (Type::String, to) => read(column, to, &mut bad),
        // Microseconds, of which `extract(epoch FROM date)` is made.
        (Type::Date { .. }, To::Float) => numbers(column, &To::Float, &mut bad),
        (Type::Date { .. }, to) => {
            let day = matches!(to, To::Date { day: true, .. });
            let moment = |micros: &i64| {
                if day {
                    dates::start_of_day(*micros)
                } else {
                    *micros
                }
            };
            let values = column.ints().values().iter().map(moment);
            Column::from_ints(values.collect(), column.validity().cloned())
        }
        (_, to) => numbers(column, to, &mut bad),
    };
    if cast.lenient && !bad.is_empty() {
        let mut present: Vec<bool> = (0..result.len()).map(|row| !result.is_null(row)).collect();
        for (row, _) in bad.drain(..) {
            present[row as usize] = false;
        }
        let present = Bitmap::from_trusted_len_iter(present.into_iter());
        return (super::program::with_validity(result, present), bad);
    }
    (result, bad)
}

/// Each date so many months and then microseconds later, and the rows where that leaves the years that there are.
pub(super) fn shifted(months: i64, micros: i64, column: &Column) -> (Column, Bad) {
    let mut bad = Bad::new();
    let dates = column.ints();
    let values = (0..dates.len()).map(|row| {
        if column.is_null(row) {
            return 0;
        }
        dates::shifted(dates.value(row), months, micros).unwrap_or_else(|| {
            bad.push((row_number(row), Why::OutsideYears));
            0
        })
    });
    let values: Vec<i64> = values.collect();
    (Column::from_ints(values, column.validity().cloned()), bad)
}

/// Each value as documents have it, a text without its quotes.
fn texts(column: &Column, ty: &Type) -> Column {
    let mut builder = TextBuilder::new();
    let mut bytes = Vec::new();
    for row in 0..column.len() {
        if column.is_null(row) {
            builder.push(None);
            continue;
        }
        bytes.clear();
        json::write_plain(column, ty, row, &mut bytes);
        builder.push(Some(
            std::str::from_utf8(&bytes).expect("what is written is UTF-8"),
        ));
    }
    builder.finish()
}

/// What the texts say.
fn read(column: &Column, to: &To, bad: &mut Bad) -> Column {
    let validity = column.validity().cloned();
    let ints = Column::from_ints;
    match to {
        To::Int => ints(
            each_text(column, "integer of 64 bits", bad, parse_int),
            validity,
        ),
        To::Float => Column::from_floats(each_text(column, "number", bad, parse_float), validity),
        To::Bool => Column::from_bools(&each_text(column, "bool", bad, parse_bool), validity),
        To::Date { formats, day } => {
            let moment = |text: &str| {
                let micros = formats
                    .iter()
                    .find_map(|format| format.parse(text.as_bytes()))?;
                Some(if *day {
                    dates::start_of_day(micros)
                } else {
                    micros
                })
            };
            ints(each_text(column, "date", bad, moment), validity)
        }
        To::Text => unreachable!("a text stays as it is"),
    }
}

fn each_text<T: Copy + Default>(
    column: &Column,
    what: &'static str,
    bad: &mut Bad,
    read: impl Fn(&str) -> Option<T>,
) -> Vec<T> {
    let values = column.strings().iter().enumerate();
    let values = values.map(|(row, text)| match text.map(&read) {
        None => T::default(),
        Some(Some(value)) => value,
        Some(None) => {
            bad.push((row_number(row), Why::NotA(what)));
            T::default()
        }
    });
    values.collect()
}

/// Numbers and bools as each other. A float that becomes an integer loses its fraction.
fn numbers(column: &Column, to: &To, bad: &mut Bad) -> Column {
    let validity = column.validity().cloned();
    match (column, to) {
        (Column::Ints(array), To::Float) => Column::from_floats(
            array.values().iter().map(|&value| value as f64).collect(),
            validity,
        ),
        (Column::Ints(array), To::Bool) => {
            let values: Vec<bool> = array.values().iter().map(|&value| value != 0).collect();
            Column::from_bools(&values, validity)
        }
        (Column::Floats(array), To::Int) => {
            let values = array.values().iter().enumerate().map(|(row, &value)| {
                // 2^63 is a float; the largest integer is not.
                const END: f64 = 9_223_372_036_854_775_808.0;
                if !(-END..END).contains(&value.trunc()) {
                    bad.push((row_number(row), Why::Overflow));
                    return 0;
                }
                #[allow(clippy::cast_possible_truncation, reason = "the range was checked")]
                let int = value as i64;
                int
            });
            Column::from_ints(values.collect(), validity)
        }
        (Column::Floats(array), To::Bool) => {
            let values: Vec<bool> = array.values().iter().map(|&value| value != 0.0).collect();
            Column::from_bools(&values, validity)
        }
        (Column::Bools(array), To::Int) => {
            Column::from_ints(array.values_iter().map(i64::from).collect(), validity)
        }
        (Column::Bools(array), To::Float) => {
            let values = array.values_iter().map(|value| f64::from(u8::from(value)));
            Column::from_floats(values.collect(), validity)
        }
        (same, _) => same.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_texts(to: To, lenient: bool) -> (Column, Bad) {
        let texts = [
            Some("12"),
            Some("x"),
            None,
            Some(" 1"),
            Some("2024-05-06"),
            Some("true"),
        ];
        let from = Type::String;
        cast(&Cast { from, to, lenient }, &Column::from_strings(texts))
    }

    #[test]
    fn a_text_that_is_none_is_a_fault_or_null() {
        let rows = |bad: Bad| bad.iter().map(|(row, _)| *row).collect::<Vec<_>>();
        assert_eq!(rows(of_texts(To::Int, false).1), [1, 3, 4, 5]);
        assert_eq!(rows(of_texts(To::Float, false).1), [1, 3, 4, 5]);
        assert_eq!(rows(of_texts(To::Bool, false).1), [0, 1, 3, 4]);
        assert_eq!(rows(of_texts(To::iso(false), false).1), [0, 1, 3, 5]);
        let (column, bad) = of_texts(To::Int, true);
        assert!(bad.is_empty());
        assert_eq!((0..6).filter(|&row| column.is_null(row)).count(), 5);
    }

    #[test]
    fn a_float_loses_its_fraction_and_must_fit() {
        let from = Type::Float;
        let floats = vec![
            1.9,
            -1.9,
            9.3e18,
            -9_223_372_036_854_775_808.0,
            9_223_372_036_854_775_807.0,
        ];
        let floats = Column::from_floats(floats, None);
        let (column, bad) = cast(
            &Cast {
                from,
                to: To::Int,
                lenient: false,
            },
            &floats,
        );
        assert_eq!(&column.ints().values()[..2], [1, -1]);
        assert_eq!(column.ints().value(3), i64::MIN);
        assert_eq!(bad, [(2, Why::Overflow), (4, Why::Overflow)]);
    }

    #[test]
    fn a_value_as_text_is_as_documents_have_it() {
        let texts = |column: Column, from| {
            let (column, _) = cast(
                &Cast {
                    from,
                    to: To::Text,
                    lenient: false,
                },
                &column,
            );
            column.strings().value(0).to_owned()
        };
        assert_eq!(
            texts(Column::from_floats(vec![0.1], None), Type::Float),
            "0.1"
        );
        assert_eq!(texts(Column::from_bools(&[true], None), Type::Bool), "true");
        let date = Type::Date { utc: true };
        assert_eq!(
            texts(Column::from_ints(vec![0], None), date),
            "1970-01-01T00:00:00Z"
        );
    }
}
