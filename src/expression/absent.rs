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

/// Empty: no expression can be compiled.
pub static FUNCTIONS: &[Function] = &[];

/// None can be made.
pub struct Expression(Infallible);

/// Empty: no expression can be compiled.
pub static AGGREGATES: &[Function] = &[];

/// What an aggregate makes of a group's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reduction {
    /// How many there are.
    Count,
    /// How many different ones.
    CountDistinct,
    /// Their sum.
    Sum,
    /// Their mean.
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// That of the first row.
    First,
    /// That of the last row.
    Last,
    /// The value at this share.
    Quantile(Share),
    /// The standard deviation of a sample.
    Stddev,
    /// The texts in row order, with this between them.
    StringAgg(String),
}

/// A number from 0 to 1: so many parts of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub parts: u64,
    /// Of how many.
    pub of: u64,
}

/// None can be made.
pub struct Aggregate(Infallible);

impl Aggregate {
    /// Always an error.
    pub fn compile(_text: &str, _input: &Schema) -> Result<Aggregate> {
        Err(absent())
    }

    /// What it makes of the values.
    pub fn reduction(&self) -> &Reduction {
        match self.0 {}
    }

    /// What gives a row's value.
    pub fn argument(&self) -> Option<&Expression> {
        match self.0 {}
    }

    /// The argument's text.
    pub fn written(&self) -> &str {
        match self.0 {}
    }

    /// The type of its values.
    pub fn ty(&self) -> &Type {
        match self.0 {}
    }

    /// None is known.
    pub fn holds_values(_text: &str) -> bool {
        false
    }
}

fn absent() -> Error {
    Error::usage("this program was built without expressions").hint(
        "build it with the feature `expressions`, which is on unless `--no-default-features` is given",
    )
}

impl Expression {
    /// Always an error.
    pub fn compile(_text: &str, _input: &Schema) -> Result<Expression> {
        Err(absent())
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
