//! Functions: which there are, what they take, and what is done in place of polars' function of that name.

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CeilFloorKind, DateTimeField, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Subscript,
};

use super::super::arithmetic::{FloatOp, IntOp};
use super::super::call::Call;
use super::super::cast::{Cast, To};
use super::super::functions::{self, Takes};
use super::super::program::Op;
use super::super::text::Case;
use super::{Operand, Translator};
use crate::columns::Column;
use crate::error::Result;
use crate::format::dates::Format;
use crate::schema::Type;

impl Translator<'_> {
    /// A call as it is written.
    pub(super) fn named(&mut self, of: &Expr, function: &Function) -> Result<Operand> {
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

    pub(super) fn function(
        &mut self,
        of: &Expr,
        name: &str,
        operands: &[&Expr],
    ) -> Result<Operand> {
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
                    match count {
                        0 => format!("`{}` needs a value", function.name),
                        _ => format!(
                            "`{}` does not take {}",
                            function.name,
                            crate::schema::count(count as u64, "value")
                        ),
                    },
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
    pub(super) fn applied(
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
            if literal && (value.literal.is_none() || value.ty.is_none()) {
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
    pub(super) fn typed_as_literal(&mut self, of: &Expr, operand: Operand, ty: &Type) -> Operand {
        if operand.literal.is_some() && operand.ty.is_some() {
            return operand;
        }
        self.typed_as(of, operand, ty)
    }

    /// A function that SQL has words for, as `extract(year FROM date)`.
    pub(super) fn worded(&mut self, expr: &Expr) -> Result<Operand> {
        match expr {
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
            } => {
                let date = self.expr(of)?;
                self.extract(expr, &field.to_string(), date)
            }
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
                trim_characters,
            } => {
                let of = self.expr(of)?;
                let characters = trim_characters.as_ref().and_then(|all| all.first());
                self.trim(expr, of, *trim_where, trim_what.as_deref().or(characters))
            }
            _ => Err(self.refused(expr)),
        }
    }

    /// `extract(part FROM date)`, and `date_part('part', date)`.
    pub(super) fn extract(&mut self, of: &Expr, part: &str, date: Operand) -> Result<Operand> {
        self.expect(of, &date, Takes::Date, "extract")?;
        let utc = date.ty == Some(Type::Date { utc: true });
        let from = Type::Date { utc };
        let date = self.typed_as(of, date, &from);
        if !part.eq_ignore_ascii_case("epoch") {
            return self.call(of, &[date], |names| {
                format!("EXTRACT({part} FROM {})", names[0])
            });
        }
        // Polars counts nanoseconds, of which 64 bits hold 584 years.
        let cast = Cast {
            from,
            to: To::Float,
            lenient: false,
        };
        let micros = self.push(of, Op::Cast(cast, date.step), Type::Float);
        let million = Column::from_floats(vec![1e6], None);
        let million = self.constant(of, million, Type::Float);
        self.arithmetic(of, &BinaryOperator::Divide, micros, million)
    }

    pub(super) fn read_date(
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

    /// What is not simply polars' function of this name.
    pub(super) fn special(
        &mut self,
        of: &Expr,
        name: &str,
        values: Vec<Operand>,
    ) -> Result<Operand> {
        let given = values.len();
        let mut values = values.into_iter();
        let mut next = || values.next().expect("their number was checked");
        match name {
            "abs" => self.absolute(of, next()),
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
                Ok(self.power(of, a, b))
            }
            "nullif" => {
                let (value, other) = (next(), next());
                let same = self.compare(of, value.clone(), "=", other)?;
                let same = self.test(of, Op::Is(true, same.step));
                let null = self.null(of);
                self.choose(of, same, null, value)
            }
            "date_part" => {
                let (part, date) = (next(), next());
                let part = part.literal.unwrap_or_default();
                self.extract(of, part.trim_matches('\''), date)
            }
            "strpos" => {
                let (whole, part) = (next(), next());
                Ok(self.push(of, Op::Found(whole.step, part.step), Type::Int))
            }
            "left" | "right" | "substr" => self.part_of(of, name, values.collect()),
            "lpad" | "rpad" => self.padded(of, name, &values.collect::<Vec<_>>()),
            "replace" | "split_part" | "array_contains" => {
                self.strict(of, name, &values.collect::<Vec<_>>())
            }
            "array_sum" => self.list_sum(of, &next()),
            "date" | "timestamp" | "strptime" => {
                let value = next();
                let format = (given > 1).then(next);
                self.read_date(of, value, format.as_ref(), name == "date")
            }
            "strftime" => {
                let (date, format) = (next(), next());
                self.written_date(of, date, &format.literal.unwrap_or_default())
            }
            "concat" => Ok(self.joined(of, "", values.collect())),
            "concat_ws" => {
                let separator = self.text_of(&next());
                Ok(self.joined(of, &separator, values.collect()))
            }
            "upper" | "lower" => {
                let case = if name == "upper" {
                    Case::Upper
                } else {
                    Case::Lower
                };
                let value = next();
                Ok(self.push(of, Op::Cased(case, value.step), Type::String))
            }
            "bit_and" => self.call(of, &[next(), next()], |names| names.join(" & ")),
            "bit_or" => self.call(of, &[next(), next()], |names| names.join(" | ")),
            _ => {
                let values: Vec<Operand> = values.collect();
                self.call(of, &values, |names| format!("{name}({})", names.join(", ")))
            }
        }
    }

    /// The least integer has no positive counterpart, so that its absolute value is a fault.
    pub(super) fn absolute(&mut self, of: &Expr, value: Operand) -> Result<Operand> {
        if value.ty == Some(Type::Float) {
            return self.call(of, &[value], |names| format!("abs({})", names[0]));
        }
        let zero = self.constant(of, Column::from_ints(vec![0], None), Type::Int);
        let value = self.typed_as(of, value, &Type::Int);
        let negative = self.compare(of, value.clone(), "<", zero.clone())?;
        let negative = self.test(of, Op::Is(true, negative.step));
        let before = self.guard;
        self.guard = Some(self.both(of, before, negative));
        let turned = self.arithmetic(of, &BinaryOperator::Minus, zero, value.clone());
        self.guard = before;
        self.choose(of, negative, turned?, value)
    }

    pub(super) fn power(&mut self, of: &Expr, a: Operand, b: Operand) -> Operand {
        let floats = a.ty == Some(Type::Float) || b.ty == Some(Type::Float);
        let ty = if floats { Type::Float } else { Type::Int };
        let (a, b) = (self.typed_as(of, a, &ty), self.typed_as(of, b, &ty));
        let op = if floats {
            Op::Floats(FloatOp::Power, a.step, b.step)
        } else {
            Op::Ints(IntOp::Power, a.step, b.step)
        };
        self.push(of, op, ty)
    }

    fn list_sum(&mut self, of: &Expr, list: &Operand) -> Result<Operand> {
        match &list.ty {
            Some(Type::List(of_what)) if matches!(**of_what, Type::Int | Type::Float) => {
                let ty = (**of_what).clone();
                Ok(self.push(of, Op::ListSum(list.step), ty))
            }
            _ => Err(self
                .text
                .error_at(of, "`array_sum` takes a list of numbers")),
        }
    }

    /// A call that polars computes: `sql` makes its text from the operands' names, or from them as literals.
    pub(super) fn call(
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
                    names.push(literal.clone());
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
        Ok(self.push(of, Op::Call(call, steps), ty))
    }
}
