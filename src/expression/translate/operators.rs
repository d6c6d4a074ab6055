//! Operators, signs and words: what they take, and the steps that they are.

use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value, ValueWithSpan};

use super::super::arithmetic::{FloatOp, IntOp};
use super::super::cast::To;
use super::super::functions::Takes;
use super::super::logic::Compare;
use super::super::program::Op;
use super::super::text::Join;
use super::types::{a_kind, read_interval};
use super::{DEPTH_MAX, DIVIDE, Operand, Translator};
use crate::columns::Column;
use crate::error::{Error, Result};
use crate::schema::Type;

impl Translator<'_> {
    pub(super) fn unary(
        &mut self,
        of: &Expr,
        op: UnaryOperator,
        operand: &Expr,
    ) -> Result<Operand> {
        match op {
            UnaryOperator::Minus => {
                if let Expr::Value(ValueWithSpan {
                    value: number @ Value::Number(..),
                    ..
                }) = operand
                {
                    return self.literal(of, number, true);
                }
                let zero = self.constant(of, Column::from_ints(vec![0], None), Type::Int);
                let operand = self.expr(operand)?;
                self.arithmetic(of, &BinaryOperator::Minus, zero, operand)
            }
            UnaryOperator::Plus => {
                let value = self.expr(operand)?;
                self.expect(operand, &value, Takes::Number, "+")?;
                Ok(value)
            }
            UnaryOperator::Not => {
                let value = self.expr(operand)?;
                self.expect(operand, &value, Takes::Bool, "NOT")?;
                let value = self.typed_as(operand, value, &Type::Bool);
                Ok(self.push(of, Op::Not(value.step), Type::Bool))
            }
            _ => Err(self
                .text
                .error_at(of, format!("the operator `{op}` is not supported"))),
        }
    }

    /// `a + b + c`: operators that follow each other, from the left.
    pub(super) fn chain(&mut self, of: &Expr) -> Result<Operand> {
        let mut links = Vec::new();
        let mut first = of;
        while let Expr::BinaryOp { left, op, right } = first {
            links.push((first, left, op, right));
            first = left;
        }
        if self.depth + links.len() > DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} operators follow each other");
            return Err(Error::usage(message).hint(DIVIDE));
        }
        let mut value = self.expr(first)?;
        for (of, left, op, right) in links.into_iter().rev() {
            value = self.binary(of, (left, value), op, right)?;
        }
        Ok(value)
    }

    pub(super) fn binary(
        &mut self,
        of: &Expr,
        left: (&Expr, Operand),
        op: &BinaryOperator,
        right: &Expr,
    ) -> Result<Operand> {
        use BinaryOperator as B;
        match op {
            B::And | B::Or => return self.logic(of, left, matches!(op, B::And), right),
            B::PGRegexMatch | B::PGRegexNotMatch | B::PGRegexIMatch | B::PGRegexNotIMatch => {
                return self.matches(of, left, right, &op.to_string());
            }
            B::PGLikeMatch => return self.matches(of, left, right, "LIKE"),
            B::PGNotLikeMatch => return self.matches(of, left, right, "NOT LIKE"),
            B::PGILikeMatch => return self.matches(of, left, right, "ILIKE"),
            B::PGNotILikeMatch => return self.matches(of, left, right, "NOT ILIKE"),
            B::Plus | B::Minus if matches!(right, Expr::Interval(_)) => {
                return self.shifted(of, left, op, right);
            }
            _ => {}
        }
        let (place, left) = left;
        let value = self.expr(right)?;
        match op {
            B::PGStartsWith => self.applied(of, "starts_with", vec![(place, left), (right, value)]),
            B::BitwiseAnd => self.applied(of, "bit_and", vec![(place, left), (right, value)]),
            B::BitwiseOr => self.applied(of, "bit_or", vec![(place, left), (right, value)]),
            B::StringConcat => {
                let how = Join {
                    separator: "".into(),
                    skips_nulls: false,
                };
                // `a || b || c` is one join: the step of `a || b` is then needed by none.
                let (mut parts, separate) = match &self.steps[left.step].op {
                    Op::Join(
                        Join {
                            skips_nulls: false, ..
                        },
                        parts,
                    ) => (parts.clone(), None),
                    _ => (Vec::new(), Some(left)),
                };
                for part in separate.into_iter().chain([value]) {
                    parts.push(self.typed_as(of, part, &Type::String).step);
                }
                Ok(self.push(of, Op::Join(how, parts), Type::String))
            }
            B::DuckIntegerDivide | B::MyIntegerDivide => self.divided(of, left, value),
            B::Plus | B::Minus | B::Multiply | B::Divide | B::Modulo => {
                self.arithmetic(of, op, left, value)
            }
            B::Eq | B::NotEq | B::Lt | B::LtEq | B::Gt | B::GtEq | B::Spaceship => {
                self.compare(of, left, &op.to_string(), value)
            }
            _ => {
                let message = format!("the operator `{op}` is not supported");
                let error = self.text.error_at(of, message);
                Err(match op {
                    B::BitwiseXor | B::PGExp => error.hint(
                        "`pow(a, b)` is a to the power of b, `bit_xor(a, b)` the bits of just one",
                    ),
                    _ => error.hint("docs/expressions.md lists the operators"),
                })
            }
        }
    }

    /// `AND` and `OR`: the right side is asked for where the left one does not settle the result.
    pub(super) fn logic(
        &mut self,
        of: &Expr,
        left: (&Expr, Operand),
        and: bool,
        right: &Expr,
    ) -> Result<Operand> {
        let word = if and { "AND" } else { "OR" };
        let (place, a) = left;
        self.expect(place, &a, Takes::Bool, word)?;
        let a = self.typed_as(place, a, &Type::Bool);
        let before = self.guard;
        let settled = self.push(of, Op::Is(!and, a.step), Type::Bool);
        let open = self.push(of, Op::Not(settled.step), Type::Bool);
        self.guard = Some(self.both(of, before, open.step));
        let b = self.expr(right);
        self.guard = before;
        let b = b?;
        self.expect(right, &b, Takes::Bool, word)?;
        let b = self.typed_as(right, b, &Type::Bool);
        let op = if and {
            Op::And(a.step, b.step)
        } else {
            Op::Or(a.step, b.step)
        };
        Ok(self.push(of, op, Type::Bool))
    }

    pub(super) fn arithmetic(
        &mut self,
        of: &Expr,
        op: &BinaryOperator,
        left: Operand,
        right: Operand,
    ) -> Result<Operand> {
        use BinaryOperator as B;
        if matches!(
            (&left.ty, &right.ty),
            (Some(Type::Date { .. }), Some(Type::Date { .. }))
        ) {
            return Err(self
                .text
                .error_at(of, format!("`{op}` has no meaning for two dates"))
                .hint(
                    "the seconds between them are `extract(epoch FROM a) - extract(epoch FROM b)`",
                ));
        }
        for operand in [&left, &right] {
            if !Takes::Number.fits(operand.ty.as_ref()) {
                let error = self.wrong(of, operand, Takes::Number, &format!("`{op}`"));
                return Err(match operand.ty {
                    Some(Type::String) => {
                        error.hint("texts are joined by `||`; `CAST(x AS DOUBLE)` reads a number")
                    }
                    Some(Type::Date { .. }) => {
                        error.hint("add an interval: `date + INTERVAL '1 day'`")
                    }
                    _ => error,
                });
            }
        }
        let float = |operand: &Operand| operand.ty == Some(Type::Float);
        let floats = float(&left) || float(&right) || matches!(op, B::Divide);
        let ty = if floats { Type::Float } else { Type::Int };
        let a = self.typed_as(of, left, &ty);
        let b = self.typed_as(of, right, &ty);
        let op = if floats {
            let op = match op {
                B::Plus => FloatOp::Add,
                B::Minus => FloatOp::Subtract,
                B::Multiply => FloatOp::Multiply,
                B::Modulo => FloatOp::Modulo,
                _ => FloatOp::Divide,
            };
            Op::Floats(op, a.step, b.step)
        } else {
            let op = match op {
                B::Plus => IntOp::Add,
                B::Minus => IntOp::Subtract,
                B::Multiply => IntOp::Multiply,
                B::Modulo => IntOp::Modulo,
                _ => IntOp::Divide,
            };
            Op::Ints(op, a.step, b.step)
        };
        Ok(self.push(of, op, ty))
    }

    /// `a // b` of floats too: the quotient rounded down is an integer.
    pub(super) fn divided(&mut self, of: &Expr, left: Operand, right: Operand) -> Result<Operand> {
        let quotient = self.arithmetic(of, &BinaryOperator::DuckIntegerDivide, left, right)?;
        if quotient.ty == Some(Type::Int) {
            return Ok(quotient);
        }
        let floor = self.call(of, &[quotient], |names| format!("floor({})", names[0]))?;
        self.cast_operand(of, floor, To::Int, false)
    }

    /// `date + INTERVAL '1 day'`.
    pub(super) fn shifted(
        &mut self,
        of: &Expr,
        left: (&Expr, Operand),
        op: &BinaryOperator,
        right: &Expr,
    ) -> Result<Operand> {
        let (left, date) = left;
        self.expect(left, &date, Takes::Date, &op.to_string())?;
        let text = match right {
            Expr::Interval(interval) => read_interval(&interval.to_string()),
            _ => None,
        };
        let Some((months, micros)) = text else {
            return Err(self
                .text
                .error_at(right, "the interval is not understood")
                .hint("it is written `INTERVAL '1 day'` or `INTERVAL '2 hours 30 minutes'`, with units from year to microsecond"));
        };
        let utc = date.ty == Some(Type::Date { utc: true });
        let ty = Type::Date { utc };
        let date = self.typed_as(left, date, &ty);
        let sign = if *op == BinaryOperator::Minus { -1 } else { 1 };
        Ok(self.push(of, Op::Shift(sign * months, sign * micros, date.step), ty))
    }

    pub(super) fn compare(
        &mut self,
        of: &Expr,
        left: Operand,
        sign: &str,
        right: Operand,
    ) -> Result<Operand> {
        let (a, b, ty) = self.alike(of, left, right)?;
        if let Some(ty @ (Type::List(_) | Type::Binary)) = &ty {
            let ty = ty.name();
            return Err(self
                .text
                .error_at(of, format!("{} cannot be compared", a_kind(&ty))));
        }
        let how = Compare::of(sign).expect("the sign is one of those that compare");
        let Some(_) = ty else {
            // Two nulls, of no type.
            let value = (how == Compare::Same).then_some(true);
            let null = Column::from_bools(&[true], Some([value.is_some()].into_iter().collect()));
            return Ok(self.constant(of, null, Type::Bool));
        };
        Ok(self.push(of, Op::Compare(how, a.step, b.step), Type::Bool))
    }

    /// What asks something of a value, by words of SQL.
    pub(super) fn predicate(&mut self, expr: &Expr) -> Result<Operand> {
        match expr {
            Expr::IsNull(of) => {
                let present = self.present(expr, of)?;
                Ok(self.push(expr, Op::Not(present), Type::Bool))
            }
            Expr::IsNotNull(of) => {
                let value = self.expr(of)?;
                Ok(self.push(expr, Op::Present(value.step), Type::Bool))
            }
            Expr::IsTrue(of) => self.is(expr, of, true, false),
            Expr::IsNotTrue(of) => self.is(expr, of, true, true),
            Expr::IsFalse(of) => self.is(expr, of, false, false),
            Expr::IsNotFalse(of) => self.is(expr, of, false, true),
            Expr::IsDistinctFrom(a, b) => self.distinct(expr, a, b, false),
            Expr::IsNotDistinctFrom(a, b) => self.distinct(expr, a, b, true),
            Expr::InList {
                expr: of,
                list,
                negated,
            } => self.in_list(expr, of, list, *negated),
            Expr::Between {
                expr: of,
                negated,
                low,
                high,
            } => self.between(expr, of, low, high, *negated),
            Expr::Like {
                negated,
                any: false,
                expr: of,
                pattern,
                escape_char: None,
            } => {
                let value = (&**of, self.expr(of)?);
                self.matches(
                    expr,
                    value,
                    pattern,
                    if *negated { "NOT LIKE" } else { "LIKE" },
                )
            }
            Expr::ILike {
                negated,
                any: false,
                expr: of,
                pattern,
                escape_char: None,
            } => {
                let value = (&**of, self.expr(of)?);
                self.matches(
                    expr,
                    value,
                    pattern,
                    if *negated { "NOT ILIKE" } else { "ILIKE" },
                )
            }
            Expr::RLike {
                negated,
                expr: of,
                pattern,
                ..
            } => {
                let value = (&**of, self.expr(of)?);
                self.matches(expr, value, pattern, if *negated { "!~" } else { "~" })
            }
            _ => self.worded(expr),
        }
    }

    /// `IS TRUE` and its kin; never null.
    pub(super) fn is(
        &mut self,
        of: &Expr,
        value: &Expr,
        what: bool,
        negated: bool,
    ) -> Result<Operand> {
        let operand = self.expr(value)?;
        self.expect(value, &operand, Takes::Bool, "IS")?;
        let operand = self.typed_as(value, operand, &Type::Bool);
        let is = self.push(of, Op::Is(what, operand.step), Type::Bool);
        if !negated {
            return Ok(is);
        }
        Ok(self.push(of, Op::Not(is.step), Type::Bool))
    }

    /// Whether there is a value; never null.
    pub(super) fn present(&mut self, of: &Expr, value: &Expr) -> Result<usize> {
        let value = self.expr(value)?;
        Ok(self.test(of, Op::Present(value.step)))
    }

    pub(super) fn distinct(&mut self, of: &Expr, a: &Expr, b: &Expr, not: bool) -> Result<Operand> {
        let (a, b) = (self.expr(a)?, self.expr(b)?);
        let same = self.compare(of, a, "<=>", b)?;
        if not {
            return Ok(same);
        }
        Ok(self.push(of, Op::Not(same.step), Type::Bool))
    }

    pub(super) fn between(
        &mut self,
        of: &Expr,
        value: &Expr,
        low: &Expr,
        high: &Expr,
        negated: bool,
    ) -> Result<Operand> {
        let value = self.expr(value)?;
        let low = self.expr(low)?;
        let high = self.expr(high)?;
        let above = self.compare(of, value.clone(), ">=", low)?;
        let below = self.compare(of, value, "<=", high)?;
        let inside = self.push(of, Op::And(above.step, below.step), Type::Bool);
        if !negated {
            return Ok(inside);
        }
        Ok(self.push(of, Op::Not(inside.step), Type::Bool))
    }

    pub(super) fn in_list(
        &mut self,
        of: &Expr,
        value: &Expr,
        list: &[Expr],
        negated: bool,
    ) -> Result<Operand> {
        let value = self.expr(value)?;
        let mut items = Vec::new();
        for item in list {
            items.push(self.expr(item)?);
        }
        let same = |item: &Operand| item.ty == value.ty && item.literal.is_some();
        let plain = matches!(value.ty, Some(Type::String | Type::Int)) && items.iter().all(same);
        let found = if plain && !items.is_empty() {
            let items: Vec<String> = items.into_iter().filter_map(|item| item.literal).collect();
            self.call(of, &[value], |names| {
                format!("{} IN ({})", names[0], items.join(", "))
            })?
        } else {
            let mut found = self.constant(of, Column::from_bools(&[false], None), Type::Bool);
            for item in items {
                let same = self.compare(of, value.clone(), "=", item)?;
                found = self.push(of, Op::Or(found.step, same.step), Type::Bool);
            }
            found
        };
        if !negated {
            return Ok(found);
        }
        Ok(self.push(of, Op::Not(found.step), Type::Bool))
    }

    /// `text LIKE 'pattern'` and its kin: the pattern stands in the expression.
    pub(super) fn matches(
        &mut self,
        of: &Expr,
        value: (&Expr, Operand),
        pattern: &Expr,
        sign: &str,
    ) -> Result<Operand> {
        let (value, text) = value;
        self.expect(value, &text, Takes::Text, sign)?;
        let pattern = self.text_literal(pattern)?;
        let text = self.typed_as(value, text, &Type::String);
        let sql = |names: &[String]| match (sign, plain_like(&pattern)) {
            ("LIKE", Some(search)) => search.sql(&names[0]),
            ("NOT LIKE", Some(search)) => format!("NOT {}", search.sql(&names[0])),
            _ => format!("{} {sign} {pattern}", names[0]),
        };
        self.call(of, &[text], sql)
    }
}

/// A pattern of `LIKE` that asks for one text at one place: polars makes a regular expression of every pattern, which is
/// several times slower.
enum Search<'a> {
    Begins(&'a str),
    Ends(&'a str),
}

impl Search<'_> {
    fn sql(&self, text: &str) -> String {
        match self {
            Search::Begins(part) => format!("starts_with({text}, '{part}')"),
            Search::Ends(part) => format!("ends_with({text}, '{part}')"),
        }
    }
}

/// What a pattern, in its quotes, asks for, if it is as plain as that.
fn plain_like(pattern: &str) -> Option<Search<'_>> {
    let inside = pattern.strip_prefix('\'')?.strip_suffix('\'')?;
    let search = match (inside.strip_suffix('%'), inside.strip_prefix('%')) {
        (Some(part), _) if !part.contains(['%', '_']) => Search::Begins(part),
        (_, Some(part)) if !part.contains(['%', '_']) => Search::Ends(part),
        _ => return None,
    };
    Some(search)
}
