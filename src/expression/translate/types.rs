//! Types: which go together, what a cast is, and messages about those that do not.

use sqlparser::ast::{DataType, Expr};

use super::super::cast::{Cast, To};
use super::super::functions::Takes;
use super::super::program::Op;
use super::{Operand, Translator};
use crate::columns::Column;
use crate::error::{Error, Result};
use crate::schema::Type;

impl Translator<'_> {
    /// Two values as one type, so that they can be compared or stand for each other.
    pub(super) fn alike(
        &mut self,
        of: &Expr,
        a: Operand,
        b: Operand,
    ) -> Result<(Operand, Operand, Option<Type>)> {
        let (a, b) = (self.as_date_beside(of, a, &b)?, b);
        let b = self.as_date_beside(of, b, &a)?;
        let ty = match (&a.ty, &b.ty) {
            (None, other) => other.clone(),
            (Some(ty), None) => Some(ty.clone()),
            (Some(a), Some(b)) if a == b => Some(a.clone()),
            (Some(Type::Int | Type::Float), Some(Type::Int | Type::Float)) => Some(Type::Float),
            (Some(Type::Date { .. }), Some(Type::Date { .. })) => {
                return Err(self
                    .text
                    .error_at(of, "one date is in UTC and the other has no zone")
                    .hint(
                        "`normalize_dates` with formats that have `%z` or `%Z` gives dates in UTC",
                    ));
            }
            (Some(one), Some(other)) => {
                let (one, other) = (one.name(), other.name());
                let error = self.text.error_at(
                    of,
                    format!("{} and {} do not go together", a_kind(&one), a_kind(&other)),
                );
                return Err(error.hint("`CAST(x AS BIGINT)`, `DOUBLE`, `VARCHAR`, `BOOLEAN`, `DATE` or `TIMESTAMP` changes a type"));
            }
        };
        let Some(ty) = ty else {
            return Ok((a, b, None));
        };
        let a = self.typed_as(of, a, &ty);
        let b = self.typed_as(of, b, &ty);
        Ok((a, b, Some(ty)))
    }

    /// A text literal beside a date is the date that it says.
    pub(super) fn as_date_beside(
        &mut self,
        of: &Expr,
        operand: Operand,
        other: &Operand,
    ) -> Result<Operand> {
        let Some(ty @ Type::Date { .. }) = &other.ty else {
            return Ok(operand);
        };
        let Op::Constant(Column::Strings(texts)) = &self.steps[operand.step].op else {
            return Ok(operand);
        };
        let moment = self.moment(of, texts.value(0))?;
        let column = Column::from_ints(vec![moment], None);
        Ok(self.constant(of, column, ty.clone()))
    }

    pub(super) fn cast_to(
        &mut self,
        of: &Expr,
        value: &Expr,
        ty: &DataType,
        lenient: bool,
    ) -> Result<Operand> {
        let Some(to) = target(ty) else {
            return Err(self
                .text
                .error_at(of, format!("a column cannot be of type `{ty}`"))
                .hint("there are VARCHAR, BIGINT, DOUBLE, BOOLEAN, DATE and TIMESTAMP"));
        };
        let value = self.expr(value)?;
        self.cast_operand(of, value, to, lenient)
    }

    pub(super) fn cast_operand(
        &mut self,
        of: &Expr,
        value: Operand,
        to: To,
        lenient: bool,
    ) -> Result<Operand> {
        let from = value.ty.clone();
        let utc = from == Some(Type::Date { utc: true });
        let ty = match &to {
            To::Text => Type::String,
            To::Int => Type::Int,
            To::Float => Type::Float,
            To::Bool => Type::Bool,
            To::Date { formats, .. } => Type::Date {
                utc: utc || formats[0].zoned(),
            },
        };
        let Some(from) = from else {
            return Ok(self.typed_as(of, value, &ty));
        };
        if !Cast::exists(&from, &to) {
            let error = self.text.error_at(
                of,
                format!(
                    "{} cannot become {}",
                    a_kind(&from.name()),
                    a_kind(&ty.name())
                ),
            );
            return Err(match (&from, &to) {
                (Type::Date { .. }, _) => {
                    error.hint("`extract(epoch FROM date)` gives its seconds since 1970")
                }
                (_, To::Date { .. }) => {
                    error.hint("a number can be added as an interval, a text can be read as a date")
                }
                _ => error,
            });
        }
        let cast = Cast { from, to, lenient };
        Ok(self.push(of, Op::Cast(cast, value.step), ty))
    }

    /// The value as this type, which it has, can be widened to, or has no other than, as `NULL`.
    pub(super) fn typed_as(&mut self, of: &Expr, operand: Operand, ty: &Type) -> Operand {
        match &operand.ty {
            None => self.constant(of, Column::nulls(ty, 1), ty.clone()),
            Some(Type::Int) if *ty == Type::Float => {
                let cast = Cast {
                    from: Type::Int,
                    to: To::Float,
                    lenient: false,
                };
                self.push(of, Op::Cast(cast, operand.step), Type::Float)
            }
            _ => operand,
        }
    }

    pub(super) fn expect(
        &self,
        of: &Expr,
        operand: &Operand,
        takes: Takes,
        what: &str,
    ) -> Result<()> {
        if takes.fits(operand.ty.as_ref()) {
            return Ok(());
        }
        let error = self.wrong(of, operand, takes, &format!("`{what}`"));
        Err(match (takes, &operand.ty) {
            (Takes::Text, Some(_)) => error.hint("`CAST(x AS VARCHAR)` makes a text of it"),
            (Takes::Date, Some(Type::String)) => {
                error.hint("`timestamp(x)` or `strptime(x, format)` reads a text as a date")
            }
            (Takes::Int, Some(Type::Float)) => error.hint("`CAST(x AS BIGINT)` cuts a float"),
            (Takes::Number | Takes::Float | Takes::Int, Some(Type::String)) => {
                error.hint("`CAST(x AS BIGINT)` or `CAST(x AS DOUBLE)` reads a text as a number")
            }
            (Takes::Bool, Some(_)) => error.hint("a condition compares, as in `x > 0`"),
            _ => error,
        })
    }

    pub(super) fn wrong(&self, of: &Expr, operand: &Operand, takes: Takes, what: &str) -> Error {
        let ty = operand.ty.as_ref().map_or("null".to_owned(), Type::name);
        let takes = takes.in_words();
        self.text
            .error_at(of, format!("{what} takes {takes}, not {}", a_kind(&ty)))
    }
}

/// A type with its article.
pub(in crate::expression) fn a_kind(ty: &str) -> String {
    let article = if ty.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {ty}")
}

/// What a type of SQL is here.
fn target(ty: &DataType) -> Option<To> {
    use DataType as D;
    Some(match ty {
        D::Char(_)
        | D::CharVarying(_)
        | D::Character(_)
        | D::CharacterVarying(_)
        | D::String(_)
        | D::Text
        | D::Varchar(_) => To::Text,
        D::TinyInt(_)
        | D::SmallInt(_)
        | D::MediumInt(_)
        | D::Int(_)
        | D::Integer(_)
        | D::BigInt(_)
        | D::Int2(_)
        | D::Int4(_)
        | D::Int8(_)
        | D::Int16
        | D::Int32
        | D::Int64 => To::Int,
        D::Float(_)
        | D::Float4
        | D::Float8
        | D::Float32
        | D::Float64
        | D::Real
        | D::Double(_)
        | D::DoublePrecision => To::Float,
        D::Bool | D::Boolean => To::Bool,
        D::Date => To::iso(true),
        D::Timestamp(..) | D::Datetime(_) => To::iso(false),
        _ => return None,
    })
}

/// An interval: whole numbers, each with its unit, as months and microseconds.
pub(super) fn read_interval(written: &str) -> Option<(i64, i64)> {
    const SECOND: i64 = 1_000_000;
    // Unit, months, microseconds.
    const UNITS: [(&str, i64, i64); 10] = [
        ("year", 12, 0),
        ("quarter", 3, 0),
        ("month", 1, 0),
        ("week", 0, 7 * 86_400 * SECOND),
        ("day", 0, 86_400 * SECOND),
        ("hour", 0, 3_600 * SECOND),
        ("minute", 0, 60 * SECOND),
        ("second", 0, SECOND),
        ("millisecond", 0, 1_000),
        ("microsecond", 0, 1),
    ];
    let inside = written.strip_prefix("INTERVAL '")?.strip_suffix('\'')?;
    let words: Vec<String> = inside.split_whitespace().map(str::to_lowercase).collect();
    let (mut months, mut micros) = (0i64, 0i64);
    for pair in words.chunks(2) {
        let [number, unit] = pair else { return None };
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number: i64 = number.parse().ok()?;
        let unit = unit.strip_suffix('s').unwrap_or(unit);
        let (_, in_months, in_micros) = UNITS.iter().find(|(name, ..)| *name == unit)?;
        months = months.checked_add(number.checked_mul(*in_months)?)?;
        micros = micros.checked_add(number.checked_mul(*in_micros)?)?;
    }
    (!words.is_empty()).then_some((months, micros))
}
