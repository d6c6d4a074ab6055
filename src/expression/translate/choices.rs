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
        self.pick(of, chosen, otherwise.unwrap_or(null))
    }

    /// `NULL`, of no type.
    pub(super) fn null(&mut self, of: &Expr) -> Operand {
        let null = self.constant(of, Column::nulls(&Type::Bool, 1), Type::Bool);
        Operand { ty: None, ..null }
    }

    /// Where the condition is true one value, else another.
    pub(super) fn choose(
        &mut self,
        of: &Expr,
        condition: usize,
        then: Operand,
        otherwise: Operand,
    ) -> Result<Operand> {
        self.pick(of, vec![(condition, then)], otherwise)
    }

    /// The value of the first condition that is true, else the other one; all as one type.
    fn pick(
        &mut self,
        of: &Expr,
        arms: Vec<(usize, Operand)>,
        otherwise: Operand,
    ) -> Result<Operand> {
        let (conditions, mut values): (Vec<usize>, Vec<Operand>) = arms.into_iter().unzip();
        values.push(otherwise);
        let mut model = values[0].clone();
        for value in &values[1..] {
            let (as_both, _, ty) = self.alike(of, model, value.clone())?;
            model = Operand { ty, ..as_both };
        }
        let Some(ty) = model.ty.clone() else {
            return Ok(self.null(of));
        };
        let mut steps = Vec::with_capacity(values.len());
        for value in values {
            let (_, value, _) = self.alike(of, model.clone(), value)?;
            steps.push(value.step);
        }
        Ok(self.push(of, Op::Pick(conditions, steps), ty))
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
        let Some((_, last)) = parts.pop() else {
            return Err(self.text.error_at(of, "a value is expected"));
        };
        self.pick(of, parts, last)
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
            let absent = self.test(of, Op::Not(present));
            let first = self.test(of, Op::Or(wins.step, absent));
            best = Some(self.choose(of, first, a, b)?);
        }
        best.ok_or_else(|| self.text.error_at(of, "a value is expected"))
    }
}
