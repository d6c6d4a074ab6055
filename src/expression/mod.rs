//! Expressions: a text of SQL in, a compiled and typed expression with the columns that it needs out.
//!
//! The dialect is polars' SQL. `translate` gives every operator and function of the text a step of its own (`program`).
//! Arithmetic, casts, comparisons, choices, and what most expressions do with texts and dates, are computed here: one pass
//! each, in which a value may turn out impossible. Whatever else there is, polars computes (`call`), one call at a time, on
//! the calling thread. So a fault is known by row and by part of the expression, and polars' thread pool is never entered.
//! Nothing else names polars' planner.
//!
//! # Rules
//! - An integer has 64 bits; a result that does not fit is a fault, as is a division by zero, a failed cast, a float
//!   that is not finite, and a date outside the years 1 to 9999. `TRY_CAST` gives null instead of a fault.
//! - A fault counts only where the row asks for the value: not in a branch of `CASE`, `COALESCE`, `AND` or `OR` that
//!   another value settles.
//! - `/` gives a float; `//` and `%` round down; `round` takes a half to the even neighbour.
//! - A text literal beside a date is the date that it says. A date in UTC and one without a zone cannot be compared.

mod aggregate;
mod arithmetic;
mod call;
mod cast;
mod functions;
mod logic;
mod program;
mod syntax;
#[cfg(test)]
mod tests;
mod text;
mod translate;

pub use aggregate::{Aggregate, Reduction, Share};
pub use functions::{AGGREGATES, FUNCTIONS, Function};
pub use program::Fault;

use crate::columns::Column;
use crate::error::Result;
use crate::schema::{Schema, Type};
use program::Program;

/// A compiled expression.
pub struct Expression {
    program: Program,
    ty: Type,
    columns: Vec<usize>,
}

impl Expression {
    /// Compiles a text against the columns of an input. An error marks the place in the text.
    pub fn compile(text: &str, input: &Schema) -> Result<Expression> {
        let (program, ty) = translate::translate(text, input)?;
        Ok(Expression::new(program, ty))
    }

    fn new(program: Program, ty: Type) -> Expression {
        Expression {
            columns: program.inputs(),
            program,
            ty,
        }
    }

    /// The type of its values.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// The positions of the columns that it reads, rising.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Its value for each of `rows` rows, `column` giving those of the input; and the rows whose value cannot be
    /// computed, rising, one fault a row: there null stands.
    pub fn evaluate(
        &self,
        rows: usize,
        mut column: impl FnMut(usize) -> Column,
    ) -> (Column, Vec<Fault>) {
        self.program.run(rows, &mut column)
    }
}
