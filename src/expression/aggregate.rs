//! Aggregates of expressions: `sum(price * quantity)`. The text is one call of an aggregate; its argument is an
//! expression of a row's columns.

use std::ops::ControlFlow;

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function as Call, FunctionArg, FunctionArgExpr, FunctionArguments,
    Spanned, Value, ValueWithSpan, visit_expressions,
};

use super::Expression;
use super::functions::{AGGREGATES, Function};
use super::syntax::Text;
use super::translate::{self, a_kind};
use crate::error::{Error, Result};
use crate::schema::{Schema, Type};

/// What an aggregate makes of a group's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reduction {
    /// How many there are; without an argument how many rows.
    Count,
    /// How many different ones.
    CountDistinct,
    /// Their sum, exact or rounded once.
    Sum,
    /// Their mean, rounded once.
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// That of the first row, null or not.
    First,
    /// That of the last row, null or not.
    Last,
    /// The value at this share of the way from the least to the greatest, on a line between neighbours.
    Quantile(Share),
    /// The standard deviation of a sample.
    Stddev,
    /// The texts in row order, with this between them.
    StringAgg(String),
}

/// A number from 0 to 1, as it is written: so many parts of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub parts: u64,
    /// Of how many: a power of ten.
    pub of: u64,
}

/// A compiled aggregate.
pub struct Aggregate {
    reduction: Reduction,
    argument: Option<Expression>,
    written: String,
    ty: Type,
}

impl Aggregate {
    /// Compiles a text against the columns of an input. An error marks the place in the text.
    pub fn compile(text: &str, input: &Schema) -> Result<Aggregate> {
        let parsed = Text(text).parse()?;
        let (of, call) = the_call(text, &parsed)?;
        let call = Written {
            text: Text(text),
            of,
            call,
        };
        let (function, distinct, arguments) = call.checked()?;
        let Some((first, literals)) = arguments.split_first() else {
            return Ok(Aggregate {
                reduction: Reduction::Count,
                argument: None,
                written: "*".into(),
                ty: Type::Int,
            });
        };
        call.has_no_aggregate(first)?;
        let (program, ty) = translate::translate_part(Text(text), first, input)?;
        let reduction = call.reduction(function.name, distinct, literals)?;
        let result = call.result(function.name, &reduction, first, &ty)?;
        Ok(Aggregate {
            reduction,
            argument: Some(Expression::new(program, ty)),
            written: first.to_string(),
            ty: result,
        })
    }

    /// What it makes of the values.
    pub fn reduction(&self) -> &Reduction {
        &self.reduction
    }

    /// What gives a row's value; none: the rows are counted.
    pub fn argument(&self) -> Option<&Expression> {
        self.argument.as_ref()
    }

    /// The argument's text: of equal ones the values are equal.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// The type of its values.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// Whether an aggregate, as far as its text can be understood, holds all values of its groups until the input has
    /// ended.
    pub fn holds_values(text: &str) -> bool {
        let Ok(parsed) = Text(text).parse() else {
            return false;
        };
        let Ok((of, call)) = the_call(text, &parsed) else {
            return false;
        };
        let call = Written {
            text: Text(text),
            of,
            call,
        };
        call.checked().is_ok_and(|(function, distinct, _)| {
            distinct || matches!(function.name, "median" | "quantile" | "string_agg")
        })
    }
}

fn named(name: &str) -> Option<&'static Function> {
    let name = name.to_lowercase();
    AGGREGATES
        .iter()
        .find(|function| function.name == name || function.aliases.contains(&name.as_str()))
}

fn is_aggregate(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(call) if named(&call.name.to_string()).is_some())
}

/// The first aggregate in an expression.
fn first_aggregate(expr: &Expr) -> Option<Expr> {
    let found = visit_expressions(expr, |part| {
        if is_aggregate(part) {
            ControlFlow::Break(part.clone())
        } else {
            ControlFlow::Continue(())
        }
    });
    found.break_value()
}

/// What other tools call an aggregate, and what it is here.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("any_value", "`first`"),
    ("arg_max", "`first` after a `sort`"),
    ("array_agg", "the kind `group_concat`, which makes lists,"),
    ("list", "the kind `group_concat`, which makes lists,"),
    ("mean", "`avg`"),
    ("percentile_cont", "`quantile`"),
    ("std", "`stddev`"),
    ("var", "the square of `stddev`"),
    ("variance", "the square of `stddev`"),
];

/// The call that a text is.
fn the_call<'a>(text: &str, parsed: &'a Expr) -> Result<(&'a Expr, &'a Call)> {
    let mut expr = parsed;
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    let text = Text(text);
    if let Expr::Function(call) = expr {
        let name = call.name.to_string();
        if named(&name).is_some() {
            return Ok((expr, call));
        }
        if first_aggregate(expr).is_none() {
            let error = text.error_at(expr, format!("`{name}` is no aggregate"));
            let name = name.to_lowercase();
            if let Some((_, ours)) = OTHER_NAMES.iter().find(|(other, _)| *other == name) {
                return Err(error.hint(format!("{ours} is what is meant")));
            }
            let names = AGGREGATES.iter().map(|function| function.name);
            return Err(error
                .hint("`etl stages aggregate` lists the aggregates")
                .suggest(&name, names));
        }
    }
    let error = "an aggregate is expected, as in `sum(x)`";
    Err(match first_aggregate(expr) {
        Some(_) => text.error_at(expr, format!("{error}: nothing computes with its result here")).hint(
            "give each aggregate a column; a `derive` after this stage computes with them, as in `total / rows`",
        ),
        None => text.error_at(expr, error).hint(
            "a column of the key stands in `by`; `first(x)` gives the value of a group's first row",
        ),
    })
}

/// A call as it is written.
struct Written<'a> {
    text: Text<'a>,
    of: &'a Expr,
    call: &'a Call,
}

impl<'a> Written<'a> {
    fn error(&self, message: impl Into<String>) -> Error {
        self.text.error_at(self.of, message)
    }

    /// The aggregate, whether of different values only, and its arguments: their number is right, and none means that
    /// rows are counted.
    fn checked(&self) -> Result<(&'static Function, bool, Vec<&'a Expr>)> {
        let name = self.call.name.to_string();
        let function = named(&name).ok_or_else(|| self.error("an aggregate is expected"))?;
        self.has_no_clause(&name)?;
        let FunctionArguments::List(list) = &self.call.args else {
            return Err(self.error(format!("`{name}` needs brackets")));
        };
        if let Some(clause) = list.clauses.first() {
            let error = self.error(format!("`{name}` takes no clause, as `{clause}`"));
            return Err(error.hint("values come in the order of the rows"));
        }
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        if distinct && function.name != "count" {
            let error = self.error(format!(
                "`DISTINCT` goes with `count` only, not with `{name}`"
            ));
            return Err(error.hint("the kind `dedupe` leaves out equal rows"));
        }
        let mut arguments = Vec::new();
        for argument in &list.args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => arguments.push(expr),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard)
                    if function.name == "count" && list.args.len() == 1 && !distinct =>
                {
                    return Ok((function, false, Vec::new()));
                }
                _ => return Err(self.error(format!("`{name}` takes values only"))),
            }
        }
        if arguments.len() != function.required {
            let given = crate::schema::count(arguments.len() as u64, "value");
            let error = self.error(if arguments.is_empty() {
                format!("`{name}` needs a value")
            } else {
                format!("`{name}` does not take {given}")
            });
            return Err(error.hint(format!("it is written `{}`", function.usage)));
        }
        Ok((function, distinct, arguments))
    }

    fn has_no_clause(&self, name: &str) -> Result<()> {
        if self.call.over.is_some() {
            let error = self.error(format!(
                "`{name}` with `OVER` is a window function, not an aggregate"
            ));
            return Err(error.hint("`by` makes the groups"));
        }
        if self.call.filter.is_some() {
            let error = self.error(format!("`{name}` takes no `FILTER`"));
            return Err(error.hint("nulls are left out: `sum(CASE WHEN condition THEN x END)`"));
        }
        if self.call.null_treatment.is_some() {
            return Err(self.error(format!("`{name}` takes no word about nulls"))
                .hint("`first` and `last` are of rows, null or not; a `filter` before this stage leaves rows out"));
        }
        if !self.call.within_group.is_empty() {
            return Err(self
                .error(format!("`{name}` takes no `WITHIN GROUP (ORDER BY ...)`"))
                .hint("values come in the order of the rows"));
        }
        Ok(())
    }

    fn has_no_aggregate(&self, argument: &Expr) -> Result<()> {
        let Some(inner) = first_aggregate(argument) else {
            return Ok(());
        };
        Err(self
            .text
            .error_at(&inner, format!("an aggregate within `{}`", self.call.name))
            .hint("a second `aggregate` stage after this one aggregates its columns"))
    }

    fn reduction(&self, name: &str, distinct: bool, literals: &[&Expr]) -> Result<Reduction> {
        Ok(match name {
            "count" if distinct => Reduction::CountDistinct,
            "count" => Reduction::Count,
            "sum" => Reduction::Sum,
            "avg" => Reduction::Avg,
            "min" => Reduction::Min,
            "max" => Reduction::Max,
            "first" => Reduction::First,
            "last" => Reduction::Last,
            "median" => Reduction::Quantile(Share { parts: 5, of: 10 }),
            "stddev" => Reduction::Stddev,
            "quantile" => Reduction::Quantile(self.share(literals[0])?),
            _ => Reduction::StringAgg(self.separator(literals[0])?),
        })
    }

    fn share(&self, literal: &Expr) -> Result<Share> {
        let share = match literal {
            Expr::Value(ValueWithSpan {
                value: Value::Number(digits, _),
                ..
            }) => share(digits),
            _ => None,
        };
        share.ok_or_else(|| {
            self.text
                .error(
                    literal.span(),
                    format!(
                        "`{}` takes a share from 0 to 1 here, not `{literal}`",
                        self.call.name
                    ),
                )
                .hint("it is written out, with 18 digits after the point at most: `0.95`")
        })
    }

    fn separator(&self, literal: &Expr) -> Result<String> {
        match literal {
            Expr::Value(ValueWithSpan {
                value: Value::SingleQuotedString(text),
                ..
            }) => Ok(text.clone()),
            _ => Err(self.text.error(
                literal.span(),
                format!(
                    "`{}` takes a separator in single quotes here",
                    self.call.name
                ),
            )),
        }
    }

    /// The type of the result, of values of type `ty`.
    fn result(
        &self,
        name: &str,
        reduction: &Reduction,
        argument: &Expr,
        ty: &Type,
    ) -> Result<Type> {
        let number = matches!(ty, Type::Int | Type::Float);
        let cannot = |takes: &str, hint: Option<&str>| {
            let message = format!(
                "`{}` takes {takes}, not {}",
                self.call.name,
                a_kind(&ty.name())
            );
            let error = self.text.error_at(argument, message);
            Err(match hint {
                Some(hint) => error.hint(hint),
                None => error,
            })
        };
        match reduction {
            Reduction::Count => Ok(Type::Int),
            Reduction::CountDistinct => match ty {
                Type::List(_) | Type::Binary => cannot("a value that can be compared", None),
                _ => Ok(Type::Int),
            },
            Reduction::First | Reduction::Last => Ok(ty.clone()),
            Reduction::Min | Reduction::Max => match ty {
                Type::List(_) | Type::Binary => cannot("a value that can be compared", None),
                _ => Ok(ty.clone()),
            },
            Reduction::StringAgg(_) => match ty {
                Type::String => Ok(Type::String),
                _ => cannot("a string", Some("`CAST(x AS VARCHAR)` makes a text of it")),
            },
            Reduction::Sum if number => Ok(ty.clone()),
            Reduction::Avg | Reduction::Stddev | Reduction::Quantile(_) if number => {
                Ok(Type::Float)
            }
            _ => cannot(
                "a number",
                match ty {
                    Type::String => {
                        Some("`CAST(x AS BIGINT)` or `CAST(x AS DOUBLE)` reads a text as a number")
                    }
                    Type::Bool if name == "sum" => {
                        Some("`CAST(x AS BIGINT)` makes 1 of true and 0 of false")
                    }
                    _ => None,
                },
            ),
        }
    }
}

/// A share as it is written in digits.
fn share(digits: &str) -> Option<Share> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let of = 10u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let parts: u64 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let parts = whole.checked_mul(of)?.checked_add(parts)?;
    (parts <= of).then_some(Share { parts, of })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Field;

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("a", Type::Int),
            Field::new("x", Type::Float),
            Field::new("s", Type::String),
            Field::new("ok", Type::Bool),
            Field::new("l", Type::List(Box::new(Type::Int))),
        ])
        .expect("no name twice")
    }

    #[test]
    fn each_has_its_type() {
        let median = Share { parts: 5, of: 10 };
        for (text, reduction, ty) in [
            ("count(*)", Reduction::Count, Type::Int),
            ("COUNT(l)", Reduction::Count, Type::Int),
            ("count(DISTINCT s)", Reduction::CountDistinct, Type::Int),
            ("sum(a)", Reduction::Sum, Type::Int),
            ("(sum(a * x))", Reduction::Sum, Type::Float),
            ("avg(a)", Reduction::Avg, Type::Float),
            ("min(ok)", Reduction::Min, Type::Bool),
            ("max(upper(s))", Reduction::Max, Type::String),
            (
                "first(l)",
                Reduction::First,
                Type::List(Box::new(Type::Int)),
            ),
            ("median(a)", Reduction::Quantile(median), Type::Float),
            (
                "quantile_cont(a, .050)",
                Reduction::Quantile(Share { parts: 5, of: 100 }),
                Type::Float,
            ),
            (
                "quantile(a, 1)",
                Reduction::Quantile(Share { parts: 1, of: 1 }),
                Type::Float,
            ),
            ("stddev_samp(x)", Reduction::Stddev, Type::Float),
            (
                "listagg(s, 'it''s')",
                Reduction::StringAgg("it's".into()),
                Type::String,
            ),
        ] {
            let aggregate = Aggregate::compile(text, &schema());
            let aggregate = aggregate.unwrap_or_else(|error| panic!("{text}: {}", error.render()));
            assert_eq!(
                (aggregate.reduction(), aggregate.ty()),
                (&reduction, &ty),
                "{text}"
            );
        }
    }

    #[test]
    fn mistakes_are_marked_and_named() {
        let mut wrong = Vec::new();
        for (text, parts) in [
            ("a", vec!["an aggregate is expected", "`by`", "  a\n  ^\n"]),
            ("a + 1", vec!["an aggregate is expected"]),
            (
                "sum(a) / count(*)",
                vec!["nothing computes with its result", "`derive`", "^^^"],
            ),
            (
                "round(avg(a))",
                vec!["nothing computes with its result", "`derive`"],
            ),
            (
                "sum(max(a))",
                vec![
                    "an aggregate within `sum`",
                    "      ^^^\n",
                    "second `aggregate`",
                ],
            ),
            (
                "smu(a)",
                vec!["`smu` is no aggregate", "did you mean `sum`"],
            ),
            ("upper(s)", vec!["`upper` is no aggregate"]),
            ("sum(aa)", vec!["no column `aa`", "      ^^\n"]),
            (
                "sum(s)",
                vec!["`sum` takes a number, not a string", "CAST", "      ^\n"],
            ),
            ("sum(ok)", vec!["`sum` takes a number, not a bool", "CAST"]),
            ("min(l)", vec!["can be compared", "not a list of int"]),
            ("count(distinct l)", vec!["can be compared"]),
            ("sum(distinct a)", vec!["`DISTINCT` goes with `count` only"]),
            ("sum(*)", vec!["`sum` takes values only"]),
            ("count()", vec!["`count` needs a value", "count(*)"]),
            ("sum(a) FILTER (WHERE ok)", vec!["no `FILTER`", "CASE WHEN"]),
            ("sum(a) OVER (ORDER BY a)", vec!["window function"]),
            (
                "string_agg(s, ',' ORDER BY s)",
                vec!["no clause, as `ORDER BY s`"],
            ),
            (
                "string_agg(s)",
                vec!["does not take 1 value", "string_agg(text, separator)"],
            ),
            (
                "string_agg(a, ',')",
                vec!["takes a string, not an int", "VARCHAR"],
            ),
            ("string_agg(s, s)", vec!["a separator in single quotes"]),
            ("quantile(a, 1.5)", vec!["a share from 0 to 1", "not `1.5`"]),
            ("quantile(a, x)", vec!["a share from 0 to 1"]),
            ("quantile(a, 1e-1)", vec!["a share from 0 to 1"]),
            ("first(a) IGNORE NULLS", vec!["no word about nulls"]),
            ("sum(NULL)", vec!["no type"]),
        ] {
            let error = match Aggregate::compile(text, &schema()) {
                Ok(_) => "it is taken".into(),
                Err(error) => error.render(),
            };
            let missing = parts.iter().filter(|part| !error.contains(**part));
            wrong.extend(missing.map(|part| format!("{text}: no {part} in {error}")));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn those_that_hold_values_are_known_from_their_text() {
        for text in [
            "median(x)",
            "count(distinct zz)",
            "LISTAGG(s, ',')",
            "quantile(a, 0.5)",
        ] {
            assert!(Aggregate::holds_values(text), "{text}");
        }
        for text in ["sum(x)", "count(x)", "1 +", "a"] {
            assert!(!Aggregate::holds_values(text), "{text}");
        }
    }
}
