//! Choices between values: each is asked for only in the rows that choose it.

use sqlparser::ast::Expr;

use super::super::functions::Takes;
use super::super::program::Op;
use super::{Operand, Translator};
use crate::columns::Column;
use crate::error::Result;
use crate::schema::Type;

impl Translator<'_> {
    /// `CASE`: a condition is asked for where none before it is true, a result where its condition is.
    pub(super) fn case(
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
            let is = self.test(of, Op::Is(true, met.step));
            let still = self.guard;
            self.guard = Some(self.both(of, still, is));
            let result = self.expr(result)?;
            chosen.push((is, result));
            let open = self.test(of, Op::Not(is));
            self.guard = Some(self.both(of, still, open));
        }
        let otherwise = otherwise
            .map(|otherwise| self.expr(otherwise))
            .transpose()?;
        self.guard = before;
        let null = self.null(of);
        let mut result = otherwise.unwrap_or(null);
        for (is, value) in chosen.into_iter().rev() {
            result = self.choose(of, is, value, result)?;
        }
        Ok(result)
    }

    /// `NULL`, of no type.
    pub(super) fn null(&mut self, of: &Expr) -> Operand {
        let null = self.constant(of, Column::nulls(&Type::Bool, 1), Type::Bool);
        Operand { ty: None, ..null }
    }

    pub(super) fn choose(
        &mut self,
        of: &Expr,
        condition: usize,
        then: Operand,
        otherwise: Operand,
    ) -> Result<Operand> {
        let (then, otherwise, ty) = self.alike(of, then, otherwise)?;
        let Some(ty) = ty else { return Ok(then) };
        Ok(self.push(of, Op::Choose(condition, then.step, otherwise.step), ty))
    }

    /// The first value that is not null: each is asked for where all before it are.
    pub(super) fn coalesce(&mut self, of: &Expr, values: &[&Expr]) -> Result<Operand> {
        let before = self.guard;
        let mut parts = Vec::new();
        for value in values {
            let value = self.expr(value)?;
            let present = self.test(of, Op::Present(value.step));
            let absent = self.test(of, Op::Not(present));
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
    pub(super) fn extreme(&mut self, of: &Expr, values: &[&Expr], sign: &str) -> Result<Operand> {
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
            let wins = self.compare(of, a.clone(), sign, b.clone())?;
            let present = self.test(of, Op::Present(b.step));
            let absent = self.push(of, Op::Not(present), Type::Bool);
            let first = self.call(of, &[wins, absent], |names| {
                format!("{} OR {}", names[0], names[1])
            })?;
            let first = self.push(of, Op::Is(true, first.step), Type::Bool);
            best = Some(self.choose(of, first.step, a, b)?);
        }
        best.ok_or_else(|| self.text.error_at(of, "a value is expected"))
    }
}
