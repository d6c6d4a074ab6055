//! Expressions in a program that was built without them: every use says so.

use std::convert::Infallible;

use crate::columns::Column;
use crate::error::{Error, Result};
use crate::schema::{Schema, Type};

/// A value that cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The row of the batch.
    pub row: u32,
    /// What is wrong.
    pub reason: String,
    /// The value that was at fault.
    pub value: Option<String>,
}

/// A function of the language.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// How it is written.
    pub usage: &'static str,
    /// What it gives.
    pub summary: &'static str,
    /// An expression, and its value as JSON.
    pub example: (&'static str, &'static str),
}

/// There is none.
pub static FUNCTIONS: &[Function] = &[];

/// None can be made.
pub struct Expression(Infallible);

impl Expression {
    /// Always an error.
    pub fn compile(_text: &str, _input: &Schema) -> Result<Expression> {
        Err(
            Error::usage("this program was built without expressions").hint(
                "build it with the feature `expressions`, which is on unless `--no-default-features` is given",
            ),
        )
    }

    /// The type of its values.
    pub fn ty(&self) -> &Type {
        match self.0 {}
    }

    /// The positions of the columns that it reads.
    pub fn columns(&self) -> &[usize] {
        match self.0 {}
    }

    /// Its value for each row.
    pub fn evaluate(
        &self,
        _rows: usize,
        _column: impl FnMut(usize) -> Column,
    ) -> (Column, Vec<Fault>) {
        match self.0 {}
    }
}
