//! From what is written to a program: every part gets its type, and every mistake its place.

mod calls;
mod choices;
mod operators;
mod texts;
mod types;

pub(super) use types::a_kind;

use std::sync::Arc;

use sqlparser::ast::{CastKind, DataType, Expr, Ident, TypedString, Value, ValueWithSpan};

use super::cast;
use super::program::{Op, Program, Step};
use super::syntax::Text;
use crate::columns::{Column, List, row_number};
use crate::error::{Error, Result};
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
            Expr::Value(value) => self.literal(expr, &value.value, false),
            Expr::TypedString(typed) => self.typed(expr, typed),
            Expr::Array(array) => self.array(expr, &array.elem),
            Expr::UnaryOp { op, expr: of } => self.unary(expr, *op, of),
            Expr::BinaryOp { .. } => self.chain(expr),
            Expr::Case {
                operand,
                conditions,
                else_result,
                ..
            } => {
                let arms = conditions.iter().map(|arm| (&arm.condition, &arm.result));
                let arms: Vec<(&Expr, &Expr)> = arms.collect();
                self.case(expr, operand.as_deref(), &arms, else_result.as_deref())
            }
            Expr::Cast {
                kind,
                expr: of,
                data_type,
                format: None,
                ..
            } => {
                let lenient = matches!(kind, CastKind::TryCast | CastKind::SafeCast);
                self.cast_to(expr, of, data_type, lenient)
            }
            Expr::Function(function) => self.named(expr, function),
            _ => self.predicate(expr),
        }
    }

    /// Appends a step. Only what can fail needs to know which rows ask for it.
    fn push(&mut self, of: &Expr, op: Op, ty: Type) -> Operand {
        let fallible = matches!(
            op,
            Op::Ints(..)
                | Op::Floats(..)
                | Op::Cast(..)
                | Op::Call(..)
                | Op::Sliced(..)
                | Op::Shift(..)
                | Op::ListSum(..)
        );
        let mut step = Step {
            constant: !matches!(op, Op::Input(_)),
            op,
            ty: ty.clone(),
            guard: None,
            // Only a fault names its part; to write it for every step of a long expression takes long.
            part: if fallible {
                of.to_string()
            } else {
                String::new()
            },
        };
        let constant = step.needs().all(|need| self.steps[*need].constant);
        step.constant &= constant;
        step.guard = self.guard.filter(|_| fallible);
        self.steps.push(step);
        Operand {
            step: self.steps.len() - 1,
            ty: Some(ty),
            literal: None,
        }
    }

    /// Appends a step that gives a bool; its number.
    fn test(&mut self, of: &Expr, op: Op) -> usize {
        self.push(of, op, Type::Bool).step
    }

    /// Appends one value for all rows.
    fn constant(&mut self, of: &Expr, column: Column, ty: Type) -> Operand {
        self.push(of, Op::Constant(column), ty)
    }

    /// The rows that both guards have.
    fn both(&mut self, of: &Expr, one: Option<usize>, other: usize) -> usize {
        match one {
            None => other,
            Some(one) => self.test(of, Op::And(one, other)),
        }
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
        Ok(self.push(of, Op::Input(at), ty))
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
        let step = self.constant(of, column, ty.clone().unwrap_or(Type::Bool));
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
        Ok(self.constant(of, column, Type::Date { utc: false }))
    }

    fn moment(&self, of: &Expr, text: &str) -> Result<i64> {
        cast::iso(text).ok_or_else(|| {
            self.text
                .error_at(of, format!("`{text}` is no date"))
                .hint("a date is `2024-05-06` or `2024-05-06 07:08:09.5`")
        })
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
        Ok(self.constant(of, list, ty))
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

    /// What is wrong with a part of SQL that is no expression here.
    fn refused(&self, expr: &Expr) -> Error {
        let (message, hint) = match expr {
            Expr::CompoundIdentifier(_) => (
                "a column is named by one name",
                "put a name that has a dot into double quotes",
            ),
            Expr::Interval(_) => (
                "an interval is no value of a column",
                "it stands after a date: `date + INTERVAL '1 day'`",
            ),
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => (
                "a subquery is not supported: an expression sees one row",
                "the kind `join` brings the values of another input",
            ),
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => ("`*` is no value", "name a column"),
            _ => (
                "this part of SQL is not supported here",
                "docs/expressions.md lists the operators, `etl stages derive` the functions",
            ),
        };
        self.text.error_at(expr, message).hint(hint)
    }
}
