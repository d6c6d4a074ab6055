//! From what is written to a program: every part gets its type, and every mistake its place.

use std::sync::Arc;

use chrono::format::{Item, StrftimeItems};
use sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, CeilFloorKind, DataType, DateTimeField, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Subscript, TypedString, UnaryOperator,
    Value, ValueWithSpan,
};

use super::arithmetic::{FloatOp, IntOp};
use super::call::Call;
use super::cast::{self, Cast, To};
use super::functions::{self, Takes};
use super::program::{Op, Program, Step};
use super::syntax::Text;
use crate::columns::{Column, List, row_number};
use crate::error::{Error, Result};
use crate::format::dates::Format;
use crate::schema::{Schema, Type};

/// How deep operators may follow each other, as in `a + b + c`: each is a call of a function here.
const DEPTH_MAX: usize = 200;

/// What to do with an expression that is too long.
const DIVIDE: &str = "divide it: a column of `derive` sees those above it";

/// What a part of the expression became.
#[derive(Debug, Clone)]
struct Operand {
    step: usize,
    /// None: the value is `NULL`, which fits everywhere.
    ty: Option<Type>,
    /// How it is written, where it is a literal that polars takes as such.
    literal: Option<String>,
}

/// Translates one expression.
pub(super) struct Translator<'a> {
    text: Text<'a>,
    input: &'a Schema,
    steps: Vec<Step>,
    /// The step that says which rows ask for what is translated now; none: all.
    guard: Option<usize>,
    depth: usize,
}

/// The program of an expression over these columns, and its type.
pub(super) fn translate(text: &str, input: &Schema) -> Result<(Program, Type)> {
    let parsed = Text(text).parse()?;
    translate_part(Text(text), &parsed, input)
}

/// The same of a part of a text.
pub(super) fn translate_part(text: Text, part: &Expr, input: &Schema) -> Result<(Program, Type)> {
    let mut translator = Translator {
        text,
        input,
        steps: Vec::new(),
        guard: None,
        depth: 0,
    };
    let result = translator.expr(part)?;
    let Some(ty) = result.ty else {
        return Err(text
            .error_at(part, "the value is always null, so that it has no type")
            .hint("say which type it has: `CAST(NULL AS BIGINT)`"));
    };
    Ok((Program::new(translator.steps, result.step), ty))
}

impl Translator<'_> {
    fn expr(&mut self, expr: &Expr) -> Result<Operand> {
        if self.depth == DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} operators follow each other");
            return Err(Error::usage(message).hint(DIVIDE));
        }
        self.depth += 1;
        let operand = self.part(expr);
        self.depth -= 1;
        operand
    }

    fn part(&mut self, expr: &Expr) -> Result<Operand> {
        match expr {
            Expr::Nested(inner) => self.expr(inner),
            Expr::Identifier(ident) => self.column(expr, ident),
            Expr::CompoundIdentifier(_) => Err(self
                .text
                .error_at(expr, "a column is named by one name")
                .hint("put a name that has a dot into double quotes")),
            Expr::Value(value) => self.literal(expr, &value.value, false),
            Expr::TypedString(typed) => self.typed(expr, typed),
            Expr::UnaryOp { op, expr: of } => self.unary(expr, *op, of),
            Expr::BinaryOp { .. } => self.chain(expr),
            Expr::Cast {
                kind,
                expr: of,
                data_type,
                format: None,
                ..
            } => self.cast_to(
                expr,
                of,
                data_type,
                matches!(kind, CastKind::TryCast | CastKind::SafeCast),
            ),
            Expr::IsNull(of) => {
                let present = self.present(expr, of)?;
                Ok(self.push(expr, Op::Not(present.step), Type::Bool, present.constant))
            }
            Expr::IsNotNull(of) => self.present(expr, of).map(|present| present.operand()),
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
                expr: value,
                pattern,
                escape_char: None,
            } => {
                let value = (&**value, self.expr(value)?);
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
                expr: value,
                pattern,
                escape_char: None,
            } => {
                let value = (&**value, self.expr(value)?);
                self.matches(
                    expr,
                    value,
                    pattern,
                    if *negated { "NOT ILIKE" } else { "ILIKE" },
                )
            }
            Expr::RLike {
                negated,
                expr: value,
                pattern,
                ..
            } => {
                let value = (&**value, self.expr(value)?);
                self.matches(expr, value, pattern, if *negated { "!~" } else { "~" })
            }
            Expr::Case {
                operand,
                conditions,
                else_result,
                ..
            } => {
                let arms = conditions
                    .iter()
                    .map(|arm| (&arm.condition, &arm.result))
                    .collect::<Vec<_>>();
                self.case(expr, operand.as_deref(), &arms, else_result.as_deref())
            }
            Expr::Array(array) => self.array(expr, &array.elem),
            Expr::CompoundFieldAccess { root, access_chain } => match access_chain.as_slice() {
                [AccessExpr::Subscript(Subscript::Index { index })] => {
                    self.function(expr, "array_get", &[root, index])
                }
                _ => Err(self
                    .text
                    .error_at(expr, "only `list[n]` may follow a value")),
            },
            Expr::Extract {
                field, expr: of, ..
            } => self.extract(expr, field, of),
            Expr::Ceil {
                expr: of,
                field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime),
            } => self.function(expr, "ceil", &[of]),
            Expr::Floor {
                expr: of,
                field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime),
            } => self.function(expr, "floor", &[of]),
            Expr::Position { expr: part, r#in } => self.function(expr, "strpos", &[r#in, part]),
            Expr::Substring {
                expr: of,
                substring_from: Some(from),
                substring_for,
                ..
            } => {
                let of = [Some(of), Some(from), substring_for.as_ref()];
                let operands: Vec<&Expr> = of.into_iter().flatten().map(|of| &**of).collect();
                self.function(expr, "substr", &operands)
            }
            Expr::Trim {
                expr: of,
                trim_where,
                trim_what,
                trim_characters: None,
            } => {
                let of = self.expr(of)?;
                self.expect(expr, &of, Takes::Text, "trim")?;
                let ends = trim_where.map_or("BOTH".to_owned(), |ends| ends.to_string());
                let what = match trim_what {
                    None => String::new(),
                    Some(what) => format!("{} ", self.text_literal(what)?),
                };
                self.call(expr, &[of], |names| {
                    format!("TRIM({ends} {what}FROM {})", names[0])
                })
            }
            Expr::Function(function) => self.named(expr, function),
            Expr::Interval(_) => Err(self
                .text
                .error_at(expr, "an interval is no value of a column")
                .hint("it stands after a date: `date + INTERVAL '1 day'`")),
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => Err(self
                .text
                .error_at(
                    expr,
                    "a subquery is not supported: an expression sees one row",
                )
                .hint("the kind `join` brings the values of another input")),
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => {
                Err(self.text.error_at(expr, "`*` is no value: name a column"))
            }
            _ => Err(self
                .text
                .error_at(expr, "this part of SQL is not supported here")),
        }
    }

    /// Appends a step. Only what can fail needs to know which rows ask for it.
    fn push(&mut self, of: &Expr, op: Op, ty: Type, constant: bool) -> Operand {
        let fallible = matches!(
            op,
            Op::Ints(..) | Op::Floats(..) | Op::Cast(..) | Op::Call(..)
        );
        let guard = self.guard.filter(|_| fallible);
        self.steps.push(Step {
            op,
            ty: ty.clone(),
            constant,
            guard,
            part: of.to_string(),
        });
        Operand {
            step: self.steps.len() - 1,
            ty: Some(ty),
            literal: None,
        }
    }

    fn is_constant(&self, operands: &[&Operand]) -> bool {
        operands
            .iter()
            .all(|operand| self.steps[operand.step].constant)
    }

    fn column(&mut self, of: &Expr, ident: &Ident) -> Result<Operand> {
        let at = self.input.index(&ident.value).map_err(|error| {
            let hint = error.hint;
            let marked = self.text.error_at(of, error.message);
            match hint {
                Some(hint) => marked.hint(hint),
                None => marked,
            }
        })?;
        let ty = self.input.fields[at].ty.clone();
        let known = self
            .steps
            .iter()
            .position(|step| matches!(step.op, Op::Input(known) if known == at));
        if let Some(step) = known {
            return Ok(Operand {
                step,
                ty: Some(ty),
                literal: None,
            });
        }
        Ok(self.push(of, Op::Input(at), ty, false))
    }

    /// A literal; a number with a minus before it is one too.
    fn literal(&mut self, of: &Expr, value: &Value, minus: bool) -> Result<Operand> {
        let (column, ty, literal) = match value {
            Value::Null => (Column::nulls(&Type::Bool, 1), None, "NULL".to_owned()),
            Value::Boolean(value) => (
                Column::from_bools(&[*value], None),
                Some(Type::Bool),
                value.to_string(),
            ),
            Value::SingleQuotedString(text) => {
                let literal = format!("'{}'", text.replace('\'', "''"));
                (
                    Column::from_strings([Some(text)]),
                    Some(Type::String),
                    literal,
                )
            }
            Value::Number(digits, _) => {
                let digits = format!("{}{digits}", if minus { "-" } else { "" });
                if digits.contains(['.', 'e', 'E']) {
                    let float: Option<f64> =
                        digits.parse().ok().filter(|float: &f64| float.is_finite());
                    let float = float
                        .ok_or_else(|| self.text.error_at(of, "the number is out of range"))?;
                    // Without an exponent, which polars does not take.
                    let written = float.to_string();
                    let point = if written.contains('.') { "" } else { ".0" };
                    (
                        Column::from_floats(vec![float], None),
                        Some(Type::Float),
                        format!("{written}{point}"),
                    )
                } else {
                    let int: Option<i64> = digits.parse().ok();
                    let int = int.ok_or_else(|| {
                        self.text
                            .error_at(of, "the integer does not fit into 64 bits")
                    })?;
                    (
                        Column::from_ints(vec![int], None),
                        Some(Type::Int),
                        int.to_string(),
                    )
                }
            }
            Value::DoubleQuotedString(name) => {
                return Err(self
                    .text
                    .error_at(of, format!("`{name}` in double quotes is a column here")));
            }
            _ => {
                return Err(self
                    .text
                    .error_at(of, "a literal of this kind is not supported"));
            }
        };
        let step = self.push(
            of,
            Op::Constant(column),
            ty.clone().unwrap_or(Type::Bool),
            true,
        );
        Ok(Operand {
            ty,
            literal: Some(literal),
            ..step
        })
    }

    /// `DATE '2024-05-06'` and `TIMESTAMP '...'`.
    fn typed(&mut self, of: &Expr, typed: &TypedString) -> Result<Operand> {
        let Value::SingleQuotedString(text) = &typed.value.value else {
            return Err(self
                .text
                .error_at(of, "a text in single quotes is expected"));
        };
        let day = match &typed.data_type {
            DataType::Date => true,
            DataType::Timestamp(..) | DataType::Datetime(_) => false,
            other => {
                return Err(self
                    .text
                    .error_at(of, format!("a literal of type `{other}` is not supported"))
                    .hint("there are `DATE '2024-05-06'` and `TIMESTAMP '2024-05-06 07:08:09'`"));
            }
        };
        let moment = self.moment(of, text)?;
        let moment = if day {
            crate::format::dates::start_of_day(moment)
        } else {
            moment
        };
        let column = Column::from_ints(vec![moment], None);
        Ok(self.push(of, Op::Constant(column), Type::Date { utc: false }, true))
    }

    fn moment(&self, of: &Expr, text: &str) -> Result<i64> {
        cast::iso(text).ok_or_else(|| {
            self.text
                .error_at(of, format!("`{text}` is no date"))
                .hint("a date is `2024-05-06` or `2024-05-06 07:08:09.5`")
        })
    }

    fn unary(&mut self, of: &Expr, op: UnaryOperator, operand: &Expr) -> Result<Operand> {
        match op {
            UnaryOperator::Minus => {
                if let Expr::Value(ValueWithSpan {
                    value: number @ Value::Number(..),
                    ..
                }) = operand
                {
                    return self.literal(of, number, true);
                }
                let zero = self.push(
                    of,
                    Op::Constant(Column::from_ints(vec![0], None)),
                    Type::Int,
                    true,
                );
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
                self.call(of, &[value], |names| format!("NOT {}", names[0]))
            }
            _ => Err(self
                .text
                .error_at(of, format!("the operator `{op}` is not supported"))),
        }
    }

    /// `a + b + c`: operators that follow each other, from the left.
    fn chain(&mut self, of: &Expr) -> Result<Operand> {
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

    fn binary(
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
                let parts = [self.as_text(of, left)?, self.as_text(of, value)?];
                self.call(of, &parts, |names| format!("{} || {}", names[0], names[1]))
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
                Err(self.text.error_at(of, message))
            }
        }
    }

    /// `AND` and `OR`: the right side is asked for where the left one does not settle the result.
    fn logic(
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
        let constant = self.is_constant(&[&a]);
        let settled = self.push(of, Op::Is(!and, a.step), Type::Bool, constant);
        let open = self.push(of, Op::Not(settled.step), Type::Bool, constant);
        self.guard = Some(self.both(of, before, open.step));
        let b = self.expr(right);
        self.guard = before;
        let b = b?;
        self.expect(right, &b, Takes::Bool, word)?;
        self.call(of, &[a, b], |names| {
            format!("{} {word} {}", names[0], names[1])
        })
    }

    /// The rows that both guards have.
    fn both(&mut self, of: &Expr, one: Option<usize>, other: usize) -> usize {
        match one {
            None => other,
            Some(one) => self.push(of, Op::Both(one, other), Type::Bool, false).step,
        }
    }

    fn arithmetic(
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
        let constant = self.is_constant(&[&a, &b]);
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
        Ok(self.push(of, op, ty, constant))
    }

    /// `a // b` of floats too: the quotient rounded down is an integer.
    fn divided(&mut self, of: &Expr, left: Operand, right: Operand) -> Result<Operand> {
        let quotient = self.arithmetic(of, &BinaryOperator::DuckIntegerDivide, left, right)?;
        if quotient.ty == Some(Type::Int) {
            return Ok(quotient);
        }
        let floor = self.call(of, &[quotient], |names| format!("floor({})", names[0]))?;
        self.cast_operand(of, floor, To::Int, false)
    }

    /// `date + INTERVAL '1 day'`.
    fn shifted(
        &mut self,
        of: &Expr,
        left: (&Expr, Operand),
        op: &BinaryOperator,
        right: &Expr,
    ) -> Result<Operand> {
        let (left, date) = left;
        self.expect(left, &date, Takes::Date, &op.to_string())?;
        let text = match right {
            Expr::Interval(interval) => interval_text(&interval.to_string()),
            _ => None,
        };
        let Some(interval) = text else {
            return Err(self
                .text
                .error_at(right, "the interval is not understood")
                .hint("it is written `INTERVAL '1 day'` or `INTERVAL '2 hours 30 minutes'`, with units from year to second"));
        };
        let utc = date.ty == Some(Type::Date { utc: true });
        let date = self.typed_as(left, date, &Type::Date { utc });
        self.call(of, &[date], |names| format!("{} {op} {interval}", names[0]))
    }

    /// Two values as one type, so that they can be compared or stand for each other.
    fn alike(
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
    fn as_date_beside(&mut self, of: &Expr, operand: Operand, other: &Operand) -> Result<Operand> {
        let Some(ty @ Type::Date { .. }) = &other.ty else {
            return Ok(operand);
        };
        let Op::Constant(Column::Strings(texts)) = &self.steps[operand.step].op else {
            return Ok(operand);
        };
        let moment = self.moment(of, texts.value(0))?;
        let column = Column::from_ints(vec![moment], None);
        Ok(self.push(of, Op::Constant(column), ty.clone(), true))
    }

    fn compare(&mut self, of: &Expr, left: Operand, sign: &str, right: Operand) -> Result<Operand> {
        let (a, b, ty) = self.alike(of, left, right)?;
        if let Some(ty @ (Type::List(_) | Type::Binary)) = &ty {
            let ty = ty.name();
            return Err(self
                .text
                .error_at(of, format!("{} cannot be compared", a_kind(&ty))));
        }
        if ty.is_none() && sign != "<=>" {
            let null = Column::nulls(&Type::Bool, 1);
            return Ok(self.push(of, Op::Constant(null), Type::Bool, true));
        }
        self.call(of, &[a, b], |names| {
            format!("{} {sign} {}", names[0], names[1])
        })
    }

    fn distinct(&mut self, of: &Expr, a: &Expr, b: &Expr, not: bool) -> Result<Operand> {
        let (a, b) = (self.expr(a)?, self.expr(b)?);
        let same = self.compare(of, a, "<=>", b)?;
        if not {
            return Ok(same);
        }
        let constant = self.is_constant(&[&same]);
        Ok(self.push(of, Op::Not(same.step), Type::Bool, constant))
    }

    fn between(
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
        let inside = self.call(of, &[above, below], |names| {
            format!("{} AND {}", names[0], names[1])
        })?;
        if !negated {
            return Ok(inside);
        }
        self.call(of, &[inside], |names| format!("NOT {}", names[0]))
    }

    fn in_list(
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
            let mut found = self.push(
                of,
                Op::Constant(Column::from_bools(&[false], None)),
                Type::Bool,
                true,
            );
            for item in items {
                let same = self.compare(of, value.clone(), "=", item)?;
                found = self.call(of, &[found, same], |names| {
                    format!("{} OR {}", names[0], names[1])
                })?;
            }
            found
        };
        if !negated {
            return Ok(found);
        }
        self.call(of, &[found], |names| format!("NOT {}", names[0]))
    }

    /// `text LIKE 'pattern'` and its kin: the pattern stands in the expression.
    fn matches(
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
        self.call(of, &[text], |names| {
            format!("{} {sign} {pattern}", names[0])
        })
    }

    /// A text that stands in the expression, as SQL has it.
    fn text_literal(&self, expr: &Expr) -> Result<String> {
        match expr {
            Expr::Nested(inner) => self.text_literal(inner),
            Expr::Value(ValueWithSpan {
                value: Value::SingleQuotedString(text),
                ..
            }) => Ok(format!("'{}'", text.replace('\'', "''"))),
            _ => Err(self.text.error_at(
                expr,
                "a text in single quotes is expected here, not a computed one",
            )),
        }
    }

    fn cast_to(
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

    fn cast_operand(
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
        let constant = self.is_constant(&[&value]);
        let cast = Cast { from, to, lenient };
        Ok(self.push(of, Op::Cast(cast, value.step), ty, constant))
    }

    /// The value as this type, which it has, can be widened to, or has no other than, as `NULL`.
    fn typed_as(&mut self, of: &Expr, operand: Operand, ty: &Type) -> Operand {
        match &operand.ty {
            None => self.push(of, Op::Constant(Column::nulls(ty, 1)), ty.clone(), true),
            Some(Type::Int) if *ty == Type::Float => {
                let constant = self.is_constant(&[&operand]);
                let cast = Cast {
                    from: Type::Int,
                    to: To::Float,
                    lenient: false,
                };
                self.push(of, Op::Cast(cast, operand.step), Type::Float, constant)
            }
            _ => operand,
        }
    }

    fn as_text(&mut self, of: &Expr, operand: Operand) -> Result<Operand> {
        if operand.ty == Some(Type::String) {
            return Ok(operand);
        }
        self.cast_operand(of, operand, To::Text, false)
    }

    fn present(&mut self, of: &Expr, value: &Expr) -> Result<Present> {
        let value = self.expr(value)?;
        let constant = self.is_constant(&[&value]);
        let step = self
            .push(of, Op::Present(value.step), Type::Bool, constant)
            .step;
        Ok(Present { step, constant })
    }

    fn is(&mut self, of: &Expr, value: &Expr, what: bool, negated: bool) -> Result<Operand> {
        let operand = self.expr(value)?;
        self.expect(value, &operand, Takes::Bool, "IS")?;
        let constant = self.is_constant(&[&operand]);
        let is = self.push(of, Op::Is(what, operand.step), Type::Bool, constant);
        if !negated {
            return Ok(is);
        }
        Ok(self.push(of, Op::Not(is.step), Type::Bool, constant))
    }

    /// `CASE`: a condition is asked for where none before it is true, a result where its condition is.
    fn case(
        &mut self,
        of: &Expr,
        operand: Option<&Expr>,
        arms: &[(&Expr, &Expr)],
        otherwise: Option<&Expr>,
    ) -> Result<Operand> {
        let before = self.guard;
        let subject = operand.map(|operand| self.expr(operand)).transpose()?;
        let mut chosen = Vec::new();
        for (condition, result) in arms {
            let met = match &subject {
                None => {
                    let met = self.expr(condition)?;
                    self.expect(condition, &met, Takes::Bool, "WHEN")?;
                    self.typed_as(condition, met, &Type::Bool)
                }
                Some(subject) => {
                    let value = self.expr(condition)?;
                    self.compare(condition, subject.clone(), "=", value)?
                }
            };
            let constant = self.is_constant(&[&met]);
            let is = self
                .push(of, Op::Is(true, met.step), Type::Bool, constant)
                .step;
            let still = self.guard;
            self.guard = Some(self.both(of, still, is));
            let result = self.expr(result)?;
            chosen.push((is, result));
            let open = self.push(of, Op::Not(is), Type::Bool, constant).step;
            self.guard = Some(self.both(of, still, open));
        }
        let otherwise = otherwise
            .map(|otherwise| self.expr(otherwise))
            .transpose()?;
        self.guard = before;
        let null = Operand {
            step: self.null(of),
            ty: None,
            literal: None,
        };
        let mut result = otherwise.unwrap_or(null);
        for (is, value) in chosen.into_iter().rev() {
            result = self.choose(of, is, value, result)?;
        }
        Ok(result)
    }

    fn null(&mut self, of: &Expr) -> usize {
        self.push(
            of,
            Op::Constant(Column::nulls(&Type::Bool, 1)),
            Type::Bool,
            true,
        )
        .step
    }

    fn choose(
        &mut self,
        of: &Expr,
        condition: usize,
        then: Operand,
        otherwise: Operand,
    ) -> Result<Operand> {
        let (then, otherwise, ty) = self.alike(of, then, otherwise)?;
        let Some(ty) = ty else { return Ok(then) };
        let constant = self.is_constant(&[&then, &otherwise]) && self.steps[condition].constant;
        Ok(self.push(
            of,
            Op::Choose(condition, then.step, otherwise.step),
            ty,
            constant,
        ))
    }

    /// The first value that is not null: each is asked for where all before it are.
    fn coalesce(&mut self, of: &Expr, values: &[&Expr]) -> Result<Operand> {
        let before = self.guard;
        let mut parts = Vec::new();
        for value in values {
            let value = self.expr(value)?;
            let constant = self.is_constant(&[&value]);
            let present = self
                .push(of, Op::Present(value.step), Type::Bool, constant)
                .step;
            let absent = self.push(of, Op::Not(present), Type::Bool, constant).step;
            self.guard = Some(self.both(of, self.guard, absent));
            // A literal `NULL` is a value of no type, and never present.
            parts.push((present, value));
        }
        self.guard = before;
        let Some((_, mut result)) = parts.pop() else {
            return Err(self.text.error_at(of, "a value is expected"));
        };
        for (present, value) in parts.into_iter().rev() {
            result = self.choose(of, present, value, result)?;
        }
        Ok(result)
    }

    /// The greatest or the least value; nulls are left out.
    fn extreme(&mut self, of: &Expr, values: &[&Expr], sign: &str) -> Result<Operand> {
        let mut best: Option<Operand> = None;
        for value in values {
            let value = self.expr(value)?;
            let Some(other) = best else {
                best = Some(value);
                continue;
            };
            let (a, b, ty) = self.alike(of, other, value)?;
            if ty.is_none() {
                best = Some(a);
                continue;
            }
            let constant = self.is_constant(&[&a, &b]);
            let wins = self.compare(of, a.clone(), sign, b.clone())?;
            let present = self
                .push(of, Op::Present(b.step), Type::Bool, constant)
                .step;
            let absent = self.push(of, Op::Not(present), Type::Bool, constant);
            let first = self.call(of, &[wins, absent], |names| {
                format!("{} OR {}", names[0], names[1])
            })?;
            let first = self.push(of, Op::Is(true, first.step), Type::Bool, constant);
            best = Some(self.choose(of, first.step, a, b)?);
        }
        best.ok_or_else(|| self.text.error_at(of, "a value is expected"))
    }

    /// `[1, 2]`: a list that is written out holds literals.
    fn array(&mut self, of: &Expr, items: &[Expr]) -> Result<Operand> {
        let mut operands = Vec::new();
        for item in items {
            let operand = self.expr(item)?;
            if operand.literal.is_none() {
                let message = "a list that is written out holds literals only";
                return Err(self.text.error_at(item, message));
            }
            operands.push((item, operand));
        }
        let Some(of_type) = operands.iter().find_map(|(_, operand)| operand.ty.clone()) else {
            return Err(self.text.error_at(of, "a list without a value has no type"));
        };
        let mut values = Vec::new();
        for (item, operand) in operands {
            if operand.ty.as_ref().is_some_and(|ty| *ty != of_type) {
                let message = "the values of a list are of one type";
                return Err(self.text.error_at(item, message));
            }
            let operand = self.typed_as(item, operand, &of_type);
            if let Op::Constant(column) = &self.steps[operand.step].op {
                values.push(column.clone());
            }
        }
        let values: Vec<&Column> = values.iter().collect();
        let list = Column::Lists(List {
            offsets: vec![0, i64::from(row_number(values.len()))].into(),
            values: Arc::new(Column::concat(&values)),
            validity: None,
        });
        let ty = Type::List(Box::new(of_type));
        Ok(self.push(of, Op::Constant(list), ty, true))
    }

    fn extract(&mut self, of: &Expr, field: &DateTimeField, date: &Expr) -> Result<Operand> {
        let date = self.expr(date)?;
        self.expect(of, &date, Takes::Date, "extract")?;
        let date = self.typed_as(of, date, &Type::Date { utc: false });
        self.call(of, &[date], |names| {
            format!("EXTRACT({field} FROM {})", names[0])
        })
    }

    /// A call as it is written.
    fn named(&mut self, of: &Expr, function: &Function) -> Result<Operand> {
        let name = function.name.to_string();
        if let Some((why, hint)) = functions::refused(&name) {
            return Err(self.text.error_at(of, format!("`{name}` {why}")).hint(hint));
        }
        if function.over.is_some() {
            return Err(self.text.error_at(
                of,
                "`OVER` makes a window function: an expression here sees one row",
            ));
        }
        if function.filter.is_some()
            || function.null_treatment.is_some()
            || !function.within_group.is_empty()
        {
            return Err(self.text.error_at(of, "only aggregates take such a clause"));
        }
        let FunctionArguments::List(list) = &function.args else {
            return Err(self.text.error_at(of, format!("`{name}` needs brackets")));
        };
        if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
            return Err(self.text.error_at(of, "only aggregates take such a clause"));
        }
        let mut operands = Vec::new();
        for argument in &list.args {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(operand)) = argument else {
                return Err(self
                    .text
                    .error_at(of, format!("`{name}` takes values only")));
            };
            operands.push(operand);
        }
        self.function(of, &name, &operands)
    }

    fn function(&mut self, of: &Expr, name: &str, operands: &[&Expr]) -> Result<Operand> {
        let Some(function) = functions::function(name) else {
            let names = functions::FUNCTIONS.iter().map(|function| function.name);
            let error = self.text.error_at(of, format!("unknown function `{name}`"));
            return Err(error
                .hint("`etl stages derive` lists the functions")
                .suggest(&name.to_lowercase(), names));
        };
        let most = function.takes.len();
        let count = operands.len();
        if count < function.required || (count > most && !function.more) {
            return Err(self
                .text
                .error_at(
                    of,
                    format!(
                        "`{}` does not take {}",
                        function.name,
                        crate::schema::count(count as u64, "value")
                    ),
                )
                .hint(format!("it is written `{}`", function.usage)));
        }
        match function.name {
            "coalesce" | "ifnull" => return self.coalesce(of, operands),
            "greatest" => return self.extreme(of, operands, ">="),
            "least" => return self.extreme(of, operands, "<="),
            "if" => return self.case(of, None, &[(operands[0], operands[1])], Some(operands[2])),
            _ => {}
        }
        let mut values = Vec::new();
        for operand in operands {
            values.push((*operand, self.expr(operand)?));
        }
        self.applied(of, function.name, values)
    }

    /// A function of values, whose number is right.
    fn applied(
        &mut self,
        of: &Expr,
        name: &str,
        operands: Vec<(&Expr, Operand)>,
    ) -> Result<Operand> {
        let function = functions::function(name).expect("it is in the table");
        let most = function.takes.len();
        let mut values = Vec::new();
        for (at, (operand, value)) in operands.into_iter().enumerate() {
            let takes = function.takes[at.min(most - 1)];
            self.expect(operand, &value, takes, function.name)?;
            let literal = matches!(takes, Takes::TextLiteral | Takes::IntLiteral);
            if literal && value.literal.is_none() {
                let message = format!(
                    "`{}` takes {} here, not a computed value",
                    function.name,
                    takes.in_words()
                );
                return Err(self.text.error_at(operand, message));
            }
            values.push(match takes {
                Takes::Float => self.typed_as(operand, value, &Type::Float),
                Takes::Text | Takes::TextLiteral => {
                    self.typed_as_literal(operand, value, &Type::String)
                }
                Takes::Int => self.typed_as_literal(operand, value, &Type::Int),
                _ => value,
            });
        }
        self.special(of, function.name, values)
    }

    /// A literal stays one.
    fn typed_as_literal(&mut self, of: &Expr, operand: Operand, ty: &Type) -> Operand {
        if operand.literal.is_some() && operand.ty.is_some() {
            return operand;
        }
        self.typed_as(of, operand, ty)
    }

    /// What is not simply polars' function of this name.
    fn special(&mut self, of: &Expr, name: &str, values: Vec<Operand>) -> Result<Operand> {
        let mut values = values.into_iter();
        let mut next = || values.next().expect("their number was checked");
        match name {
            "abs" => {
                let value = next();
                if value.ty == Some(Type::Float) {
                    return self.call(of, &[value], |names| format!("abs({})", names[0]));
                }
                let zero = self.push(
                    of,
                    Op::Constant(Column::from_ints(vec![0], None)),
                    Type::Int,
                    true,
                );
                let value = self.typed_as(of, value, &Type::Int);
                let constant = self.is_constant(&[&value]);
                let negative = self.compare(of, value.clone(), "<", zero.clone())?;
                let negative = self
                    .push(of, Op::Is(true, negative.step), Type::Bool, constant)
                    .step;
                let before = self.guard;
                self.guard = Some(self.both(of, before, negative));
                let turned = self.arithmetic(of, &BinaryOperator::Minus, zero, value.clone());
                self.guard = before;
                self.choose(of, negative, turned?, value)
            }
            "mod" => {
                let (a, b) = (next(), next());
                self.arithmetic(of, &BinaryOperator::Modulo, a, b)
            }
            "div" => {
                let (a, b) = (next(), next());
                self.divided(of, a, b)
            }
            "pow" => {
                let (a, b) = (next(), next());
                let floats = a.ty == Some(Type::Float) || b.ty == Some(Type::Float);
                let ty = if floats { Type::Float } else { Type::Int };
                let (a, b) = (self.typed_as(of, a, &ty), self.typed_as(of, b, &ty));
                let constant = self.is_constant(&[&a, &b]);
                let op = if floats {
                    Op::Floats(FloatOp::Power, a.step, b.step)
                } else {
                    Op::Ints(IntOp::Power, a.step, b.step)
                };
                Ok(self.push(of, op, ty, constant))
            }
            "nullif" => {
                let (value, other) = (next(), next());
                let same = self.compare(of, value.clone(), "=", other)?;
                let constant = self.is_constant(&[&same]);
                let same = self
                    .push(of, Op::Is(true, same.step), Type::Bool, constant)
                    .step;
                let null = Operand {
                    step: self.null(of),
                    ty: None,
                    literal: None,
                };
                self.choose(of, same, null, value)
            }
            "date" | "timestamp" | "strptime" => {
                let value = next();
                let format = values.next();
                self.read_date(of, value, format.as_ref(), name == "date")
            }
            "strftime" => {
                let (date, format) = (next(), next());
                let written = format.literal.clone().unwrap_or_default();
                let wrong = StrftimeItems::new(&written).any(|item| matches!(item, Item::Error));
                if wrong {
                    let message = format!("the format {written} has a directive that there is not");
                    return Err(self.text.error_at(of, message));
                }
                let date = self.typed_as(of, date, &Type::Date { utc: false });
                self.call(of, &[date], |names| {
                    format!("strftime({}, {written})", names[0])
                })
            }
            "concat" | "concat_ws" => {
                let mut parts = Vec::new();
                for value in values {
                    // A null is left out.
                    if value.ty.is_some() {
                        parts.push(self.as_text(of, value)?);
                    }
                }
                if parts.is_empty() {
                    parts.push(self.push(
                        of,
                        Op::Constant(Column::from_strings([Some("")])),
                        Type::String,
                        true,
                    ));
                }
                self.call(of, &parts, |names| format!("{name}({})", names.join(", ")))
            }
            "bit_and" | "bit_or" => {
                let sign = if name == "bit_and" { "&" } else { "|" };
                let (a, b) = (next(), next());
                self.call(of, &[a, b], |names| {
                    format!("{} {sign} {}", names[0], names[1])
                })
            }
            _ => {
                let values: Vec<Operand> = values.collect();
                self.call(of, &values, |names| format!("{name}({})", names.join(", ")))
            }
        }
    }

    fn read_date(
        &mut self,
        of: &Expr,
        value: Operand,
        format: Option<&Operand>,
        day: bool,
    ) -> Result<Operand> {
        let to = match format {
            None => To::iso(day),
            Some(format) => {
                let Op::Constant(Column::Strings(texts)) = &self.steps[format.step].op else {
                    return Err(self
                        .text
                        .error_at(of, "a format in single quotes is expected"));
                };
                let format = Format::compile(texts.value(0))
                    .map_err(|error| self.text.error_at(of, error.message))?;
                To::Date {
                    formats: [format].into(),
                    day,
                }
            }
        };
        self.cast_operand(of, value, to, false)
    }

    /// A call that polars computes: `sql` makes its text from the operands' names, or from them as literals.
    fn call(
        &mut self,
        of: &Expr,
        operands: &[Operand],
        sql: impl Fn(&[String]) -> String,
    ) -> Result<Operand> {
        let mut steps = Vec::new();
        let mut types = Vec::new();
        // Two literals are no call about a row, and polars may not take them; so the first stays a column.
        let all_literal = operands.iter().all(|operand| operand.literal.is_some());
        let mut names = Vec::new();
        for (at, operand) in operands.iter().enumerate() {
            match &operand.literal {
                Some(literal) if !(all_literal && at == 0) && operand.ty.is_some() => {
                    names.push(literal.clone())
                }
                _ => {
                    let ty = operand.ty.clone().unwrap_or(Type::Bool);
                    names.push(format!("c{}", steps.len()));
                    steps.push(operand.step);
                    types.push(ty);
                }
            }
        }
        let call = Call::compile(&sql(&names), &types)
            .map_err(|message| self.text.error_at(of, message))?;
        let ty = call.ty().clone();
        let constant = steps.iter().all(|&step| self.steps[step].constant);
        Ok(self.push(of, Op::Call(call, steps), ty, constant))
    }

    fn expect(&self, of: &Expr, operand: &Operand, takes: Takes, what: &str) -> Result<()> {
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

    fn wrong(&self, of: &Expr, operand: &Operand, takes: Takes, what: &str) -> Error {
        let ty = operand.ty.as_ref().map_or("null".to_owned(), Type::name);
        let takes = takes.in_words();
        self.text
            .error_at(of, format!("{what} takes {takes}, not {}", a_kind(&ty)))
    }
}

/// Whether a value is present, and whether that is the same for all rows.
struct Present {
    step: usize,
    constant: bool,
}

impl Present {
    fn operand(&self) -> Operand {
        Operand {
            step: self.step,
            ty: Some(Type::Bool),
            literal: None,
        }
    }
}

/// A type with its article.
pub(super) fn a_kind(ty: &str) -> String {
    let article = if ty.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {ty}")
}

/// An interval as polars takes it: whole numbers, each with its unit. Polars panics at others.
fn interval_text(written: &str) -> Option<String> {
    const UNITS: [&str; 11] = [
        "year",
        "quarter",
        "month",
        "week",
        "day",
        "hour",
        "minute",
        "second",
        "millisecond",
        "microsecond",
        "nanosecond",
    ];
    // Longer numbers leave the years that there are, and overflow within polars.
    const DIGITS_MAX: usize = 9;
    let inside = written.strip_prefix("INTERVAL '")?.strip_suffix('\'')?;
    let words: Vec<&str> = inside.split_whitespace().collect();
    let is_number = |word: &str| {
        word.len() <= DIGITS_MAX
            && !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_unit = |word: &str| {
        let word = word.to_lowercase();
        UNITS.contains(&word.strip_suffix('s').unwrap_or(&word))
    };
    let pairs = words.chunks(2);
    let right = pairs
        .into_iter()
        .all(|pair| matches!(pair, [number, unit] if is_number(number) && is_unit(unit)));
    (right && !words.is_empty()).then(|| format!("INTERVAL '{}'", words.join(" ").to_lowercase()))
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
