//! A condition on one column: what it compares with is turned into the column's type on the schema, so that the loop over
//! rows compares plain values.

use std::borrow::Borrow;
use std::cmp::Ordering;

use toml::Value;

use crate::columns::{Column, row_number};
use crate::error::{Error, Result};
use crate::format::dates::Format;
use crate::schema::{Field, Type, list};

/// The names of the conditions.
pub(super) const CONDITIONS: [&str; 6] = ["equals", "in", "not_in", "is_null", "at_least", "below"];

/// A condition as it is written.
#[derive(Debug)]
pub(super) enum Condition {
    Null(bool),
    Compare {
        how: How,
        /// The option's name, for messages.
        option: &'static str,
        /// Exactly one, but for `in` and `not_in`.
        values: Vec<Value>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    In,
    NotIn,
    AtLeast,
    Below,
}
/// The one condition on the column.
pub(super) fn condition(
    table: &mut toml::Table,
    is_null: Option<bool>,
    named: &[&str],
) -> Result<Condition> {
    let mut compare = |how, option| {
        let values = match table.remove(option)? {
            Value::Array(values) if matches!(option, "in" | "not_in") => values,
            value => vec![value],
        };
        Some(Condition::Compare {
            how,
            option,
            values,
        })
    };
    let given = [
        compare(How::In, "equals"),
        compare(How::In, "in"),
        compare(How::NotIn, "not_in"),
        compare(How::AtLeast, "at_least"),
        compare(How::Below, "below"),
        is_null.map(Condition::Null),
    ];
    let mut given: Vec<Condition> = given.into_iter().flatten().collect();
    match (given.pop(), given.len()) {
        (Some(condition), 0) => Ok(condition),
        (None, _) => {
            let error = format!("a condition is missing, one of {}", list(&CONDITIONS));
            let error =
                Error::usage(error).hint("`etl stages filter` says what each of them keeps");
            Err(CONDITIONS
                .iter()
                .fold(error, |error, name| error.of([name])))
        }
        (Some(_), more) => Err(Error::usage(format!(
            "{}: one condition is expected, found {}",
            list(named),
            more + 1
        ))
        .hint("`where` takes several conditions: `a > 0 AND b IS NOT NULL`")
        .of([named[0]])),
    }
}

/// A condition on values of one type.
#[derive(Debug)]
pub(super) enum Test {
    Null(bool),
    Strings(Check<String>),
    /// Dates too.
    Ints(Check<i64>),
    Floats(Check<f64>),
    Bools(Check<bool>),
}

#[derive(Debug)]
pub(super) struct Check<T> {
    how: How,
    /// Rising, for `in` and `not_in`; else the one bound.
    values: Vec<T>,
}

impl<T: PartialOrd> Check<T> {
    fn new(how: How, mut values: Vec<T>) -> Self {
        values.sort_by(|a, b| order(a, b));
        Check { how, values }
    }

    fn passes<V: PartialOrd + ?Sized>(&self, value: &V) -> bool
    where
        T: Borrow<V>,
    {
        match self.how {
            How::In => self.has(value),
            How::NotIn => !self.has(value),
            How::AtLeast => order(value, self.values[0].borrow()).is_ge(),
            How::Below => order(value, self.values[0].borrow()).is_lt(),
        }
    }

    fn has<V: PartialOrd + ?Sized>(&self, value: &V) -> bool
    where
        T: Borrow<V>,
    {
        self.values
            .binary_search_by(|known| order(known.borrow(), value))
            .is_ok()
    }
}

fn order<V: PartialOrd + ?Sized>(a: &V, b: &V) -> Ordering {
    a.partial_cmp(b).expect("no float is NaN")
}

impl Test {
    pub(super) fn new(condition: &Condition, field: &Field) -> Result<Self> {
        let (how, option, values) = match condition {
            Condition::Null(null) => return Ok(Test::Null(*null)),
            Condition::Compare {
                how,
                option,
                values,
            } => (*how, *option, values),
        };
        let refuse = |hint: &str| {
            let (name, word) = (&field.name, field.ty.name());
            Err(Error::usage(format!(
                "`{option}` cannot look at column `{name}`, which is of type {word}"
            ))
            .hint(hint)
            .of([option])
            .of(["column"]))
        };
        // Each value as the column's type, or an error that says what it is instead.
        macro_rules! check {
            ($read:expr) => {{
                let read = $read;
                let values = values
                    .iter()
                    .map(|value| read(value).ok_or_else(|| mismatch(option, value, field)))
                    .collect::<Result<Vec<_>>>()?;
                Check::new(how, values)
            }};
        }
        Ok(match &field.ty {
            Type::String => {
                Test::Strings(check!(|value: &Value| value.as_str().map(str::to_owned)))
            }
            Type::Int => Test::Ints(check!(Value::as_integer)),
            Type::Float => Test::Floats(check!(as_float)),
            Type::Bool if matches!(how, How::In | How::NotIn) => {
                Test::Bools(check!(Value::as_bool))
            }
            Type::Bool => return refuse("`equals` is for true and false"),
            Type::Date { utc } => Test::Ints(check!(|value: &Value| as_date(value, *utc))),
            Type::List(_) | Type::Binary => return refuse("`is_null` is for values of any type"),
        })
    }

    /// The numbers of the rows that pass.
    pub(super) fn rows(&self, column: &Column) -> Vec<u32> {
        match (self, column) {
            (Test::Null(null), _) => (0..row_number(column.len()))
                .filter(|&row| column.is_null(row as usize) == *null)
                .collect(),
            (Test::Strings(check), column) => {
                let array = column.strings();
                passing(column, check, |row| check.passes(array.value(row)))
            }
            (Test::Ints(check), column) => {
                let array = column.ints();
                passing(column, check, |row| check.passes(&array.value(row)))
            }
            (Test::Floats(check), column) => {
                let array = column.floats();
                passing(column, check, |row| check.passes(&array.value(row)))
            }
            (Test::Bools(check), Column::Bools(array)) => {
                passing(column, check, |row| check.passes(&array.value(row)))
            }
            (Test::Bools(_), _) => unreachable!("the schema says that the column is of bools"),
        }
    }
}

/// The rows whose value passes; a null passes `not_in` only.
fn passing<T>(column: &Column, check: &Check<T>, passes: impl Fn(usize) -> bool) -> Vec<u32> {
    let null_passes = check.how == How::NotIn;
    (0..row_number(column.len()))
        .filter(|&row| {
            let row = row as usize;
            if column.is_null(row) {
                null_passes
            } else {
                passes(row)
            }
        })
        .collect()
}

/// A float, or an integer as one.
fn as_float(value: &Value) -> Option<f64> {
    let integer = value.as_integer().map(|integer| integer as f64);
    value
        .as_float()
        .or(integer)
        .filter(|float| float.is_finite())
}

/// A TOML date or an ISO 8601 text in microseconds. Where the column is in UTC, a time without a zone is
/// read as UTC; where it has no zone, there is no way to compare it with a time that has one.
pub(super) fn as_date(value: &Value, utc: bool) -> Option<i64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Datetime(date) if date.date.is_some() => date.to_string(),
        _ => return None,
    };
    let formats = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    let zoned = ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%z"];
    let zoned = zoned.iter().filter(|_| utc);
    formats.iter().chain(zoned).find_map(|format| {
        let format = Format::compile(format).expect("these are right");
        format.parse(text.as_bytes())
    })
}

/// Whether the option asks which of two values comes first.
pub(super) fn compares(option: &str) -> bool {
    option == "at_least" || option == "below"
}

/// What to say of a value that is not of the column's type.
fn mismatch(option: &str, value: &Value, field: &Field) -> Error {
    let expected = match &field.ty {
        Type::String => "a string",
        Type::Int => "an integer",
        Type::Float => "a number",
        Type::Bool => "true or false",
        Type::Date { .. } => "a date",
        Type::List(_) | Type::Binary => "nothing",
    };
    let hint = match (&field.ty, value) {
        (Type::String, Value::Integer(_) | Value::Float(_)) if compares(option) => {
            "give the column its type in the `types` of `load_csv`: text is compared letter by letter, `9` after `10`"
        }
        (Type::String, Value::Integer(_) | Value::Float(_) | Value::Boolean(_)) => {
            "put the value in quotes, or give the column its type in the `types` of `load_csv`"
        }
        (Type::Date { utc: false }, Value::String(_) | Value::Datetime(_)) => {
            "a date is `2013-03-02` or `2013-03-02T08:08:03.5`, without a zone as the column has none"
        }
        (Type::Date { .. }, _) => {
            "a date is `2013-03-02` or `2013-03-02T08:08:03.5Z`, with or without quotes"
        }
        (_, Value::String(_)) => "leave the quotes out",
        _ => "a value is of the type of its column",
    };
    Error::usage(format!(
        "`{option}` is `{value}`, and column `{}` is of type {}: {expected} is expected",
        field.name,
        field.ty.name()
    ))
    .hint(hint)
    .of([option])
}
