//! `filter`: the rows that meet a condition go on: one on one column, or an expression. What a condition on a column
//! compares with is turned into the column's type on the schema, so that the loop over rows compares plain values.

mod condition;

use serde::Deserialize;
use toml::Value;

use super::{
    Counts, Folder, NULLED, OnError, Output, Partitioning, Reject, Session, Setup, Stage,
    StageKind, TaskContext, UNCOMPUTED,
};
use crate::batch::Batch;
use crate::columns::{Column, row_number};
use crate::error::{Error, OfValue, Result};
use crate::expression::Expression;
use crate::schema::{Schema, Type, list};
use condition::{CONDITIONS, Condition, Test, compares, condition};

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "filter",
    summary: "keeps the rows that meet a condition",
    inputs: &[1],
    sink: false,
    takes_batch_rows: true,
    options: super::stage_options!(Options),
    one_of: &["where", "column"],
    expressions_option: Some("where"),
    example: r#"
[[stage]]
name = "funded"
kind = "filter"
inputs = ["projects"]
column = "funding_status"
in = ["completed", "live"]
"#,
    decode,
    ..StageKind::BASE
};

/// What to compare with is checked here and taken from the table: serde would make text of TOML dates.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// a SQL condition, as in `derive`: a row goes on where it is true, and not where it is null
    #[schemars(extend("x-type" = "expression"))]
    #[serde(rename = "where")]
    expression: Option<String>,
    /// in place of `where`: the column that is looked at, by exactly one of the conditions below
    #[schemars(extend("x-type" = "column"))]
    column: Option<String>,
    /// keeps the rows with this value
    #[schemars(extend("x-type" = "value of the column's type"))]
    #[serde(rename = "equals")]
    #[schemars(with = "Option<serde_json::Value>")]
    _equals: Option<Value>,
    /// keeps the rows with one of these values
    #[schemars(extend("x-type" = "list of values"))]
    #[serde(rename = "in")]
    #[schemars(with = "Option<Vec<serde_json::Value>>")]
    _in: Option<Vec<Value>>,
    /// keeps the rows with none of these values; null is none of them
    #[schemars(extend("x-type" = "list of values"))]
    #[serde(rename = "not_in")]
    #[schemars(with = "Option<Vec<serde_json::Value>>")]
    _not_in: Option<Vec<Value>>,
    /// keeps the rows without a value (true) or with one (false)
    is_null: Option<bool>,
    /// keeps the rows with this value or more; text is compared bytewise
    #[schemars(extend("x-type" = "value of the column's type"))]
    #[serde(rename = "at_least")]
    #[schemars(with = "Option<serde_json::Value>")]
    _at_least: Option<Value>,
    /// keeps the rows with less than this value
    #[schemars(extend("x-type" = "value of the column's type"))]
    #[serde(rename = "below")]
    #[schemars(with = "Option<serde_json::Value>")]
    _below: Option<Value>,
    /// what becomes of a row with a value in `where` that cannot be computed; `null`: null stands in its place
    #[serde(default)]
    on_error: OnError,
}

fn decode(mut table: toml::Table) -> Result<Box<dyn Stage>> {
    let options: Options = super::options(table.clone())?;
    let named = CONDITIONS
        .into_iter()
        .filter(|name| table.contains_key(*name));
    let named: Vec<&str> = named.collect();
    let rule = match (options.expression, options.column) {
        (Some(_), Some(_)) => {
            return Err(
                Error::usage("`where` and `column` are two conditions: one is expected")
                    .hint("`where` takes several conditions: `a > 0 AND b IS NOT NULL`")
                    .of(["where"])
                    .of(["column"]),
            );
        }
        (Some(_), None) if !named.is_empty() => {
            let message = format!("{} needs `column`, and `where` is given", list(&named));
            return Err(Error::usage(message)
                .hint("write the condition into `where`, or leave `where` out")
                .of([named[0]]));
        }
        (Some(text), None) => Rule::Expression {
            text,
            on_error: options.on_error,
        },
        (None, None) => {
            return Err(Error::usage(
                "a condition is missing: `where`, or `column` and one of its conditions",
            )
            .hint("`where = \"price > 0\"`, or `column = \"price\"` and `at_least = 0`"))
            .of(["where"])
            .of(["column"]);
        }
        (None, Some(column)) => Rule::Column {
            column,
            condition: condition(&mut table, options.is_null, &named)?,
        },
    };
    Ok(Box::new(Filter { rule }))
}

struct Filter {
    rule: Rule,
}

/// What is asked of a row.
enum Rule {
    Column {
        column: String,
        condition: Condition,
    },
    Expression {
        text: String,
        on_error: OnError,
    },
}

/// The same, against the columns of the input.
enum Compiled {
    /// The column's position and the test of its values.
    Column(usize, Test),
    Expression(Expression, OnError),
}

impl Filter {
    fn plan(&self, input: &Schema) -> Result<Compiled> {
        match &self.rule {
            Rule::Column { column, condition } => {
                let position = input.index(column).under("column")?;
                let test = Test::new(condition, &input.fields[position])?;
                Ok(Compiled::Column(position, test))
            }
            Rule::Expression { text, on_error } => {
                let expression = Expression::compile(text, input).under("where")?;
                if *expression.ty() != Type::Bool {
                    let ty = expression.ty().name();
                    return Err(Error::usage(format!(
                        "`where` is of type {ty}: a bool is expected"
                    ))
                    .hint("compare the value, as in `price > 0`")
                    .of(["where"]));
                }
                Ok(Compiled::Expression(expression, *on_error))
            }
        }
    }
}

impl Stage for Filter {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        self.plan(&inputs[0])?;
        Ok(inputs[0].clone())
    }

    fn lint(&self, inputs: &[Schema], _folder: &Folder) -> Vec<String> {
        let Rule::Column { column, condition } = &self.rule else {
            return Vec::new();
        };
        let is_text = inputs[0]
            .index(column)
            .is_ok_and(|at| inputs[0].fields[at].ty == Type::String);
        let Condition::Compare { option, values, .. } = condition else {
            return Vec::new();
        };
        let is_number = |value: &Value| value.as_str().is_some_and(|v| v.parse::<f64>().is_ok());
        if !is_text || !compares(option) || !values.iter().any(is_number) {
            return Vec::new();
        }
        vec![format!(
            "`{option}` compares `{column}` as text, letter by letter, `9` after `10`: give the column a type \
             to compare numbers"
        )]
    }

    fn open(&self, mut setup: Setup) -> Result<Box<dyn Session>> {
        let input = setup.inputs.swap_remove(0);
        Ok(Box::new(Filtering {
            rule: self.plan(&input)?,
            input,
        }))
    }
}

struct Filtering {
    input: Schema,
    rule: Compiled,
}

impl Session for Filtering {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let (kept, faults, on_error) = match &self.rule {
            Compiled::Column(position, test) => {
                (test.rows(&batch.column(*position)), vec![], OnError::Null)
            }
            Compiled::Expression(expression, on_error) => {
                let (met, faults) = expression.evaluate(batch.rows(), |at| batch.column(at));
                (true_rows(&met), faults, *on_error)
            }
        };
        if on_error == OnError::Fail
            && let Some(fault) = faults.first()
        {
            let row = fault.row as usize;
            let error = Error::failed(format!("`where`: {}", fault.reason))
                .hint(UNCOMPUTED)
                .origin(batch.origin(row));
            return Output::before(self, batch.slice(0, row), error);
        }
        let mut counts = Counts::default();
        let mut rejects = Vec::new();
        if on_error == OnError::Reject {
            let rows = faults.into_iter().map(|fault| {
                let row = fault.row as usize;
                let value = fault.value.as_deref();
                Reject::of(&batch, &self.input, row, None, value, fault.reason)
            });
            rejects = rows.collect();
        } else if !faults.is_empty() {
            counts.insert(NULLED.into(), faults.len() as u64);
        }
        let dropped = batch.rows() - kept.len() - rejects.len();
        let batch = if kept.len() == batch.rows() {
            batch
        } else {
            batch.take(&kept)
        };
        Ok(Output {
            dropped: dropped as u64,
            rejects,
            counts,
            ..Output::new(batch)
        })
    }
}

/// The rows where a bool is true.
fn true_rows(column: &Column) -> Vec<u32> {
    let Column::Bools(array) = column else {
        unreachable!("the condition was checked to be a bool");
    };
    let met = match array.validity() {
        Some(validity) => array.values() & validity,
        None => array.values().clone(),
    };
    met.true_idx_iter().map(row_number).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::error::Class;
    use crate::stage::testing::{self, Random};

    #[test]
    fn numbers_that_are_compared_as_text_are_a_doubt() {
        let warnings = |options: &str, ty: Type| {
            let stage = testing::decode(&KIND, options).unwrap();
            stage
                .lint(&[testing::schema(&[("x", ty)])], &Folder(".".into()))
                .len()
        };
        let text = || Type::String;
        assert_eq!(warnings("column = 'x'\nat_least = '10'", text()), 1);
        assert_eq!(warnings("column = 'x'\nat_least = 'b'", text()), 0);
        assert_eq!(warnings("column = 'x'\nequals = '10'", text()), 0);
        assert_eq!(warnings("column = 'x'\nat_least = 10", Type::Int), 0);
    }

    fn message(options: &str, ty: Type) -> String {
        let input = testing::schema(&[("x", ty)]);
        let refused = testing::decode(&KIND, options)
            .and_then(|stage| testing::output_schema(stage.as_ref(), &input));
        let error = refused.expect_err("it is refused");
        assert_eq!(error.class, Class::Usage);
        assert!(error.hint.is_some() || error.message.starts_with("unknown field"));
        error.message
    }

    const LOCAL: Type = Type::Date { utc: false };
    const UTC: Type = Type::Date { utc: true };

    #[test]
    fn what_cannot_be_is_a_usage_error() {
        let string = || Type::String;
        assert_eq!(
            message("column = 'x'", string()),
            "a condition is missing, one of `equals`, `in`, `not_in`, `is_null`, `at_least`, `below`"
        );
        assert_eq!(
            message("column = 'x'\nbelow = 'b'\nat_least = 'a'", string()),
            "`at_least`, `below`: one condition is expected, found 2"
        );
        assert_eq!(
            message("column = 'x'\nequals = 5", string()),
            "`equals` is `5`, and column `x` is of type string: a string is expected"
        );
        assert_eq!(
            message("column = 'x'\nin = [5, '6']", Type::Int),
            "`in` is `\"6\"`, and column `x` is of type int: an integer is expected"
        );
        assert_eq!(
            message("column = 'x'\nbelow = 2.5", Type::Int),
            "`below` is `2.5`, and column `x` is of type int: an integer is expected"
        );
        assert_eq!(
            message("column = 'x'\nbelow = nan", Type::Float),
            "`below` is `nan`, and column `x` is of type float: a number is expected"
        );
        assert_eq!(
            message("column = 'x'\nbelow = true", Type::Bool),
            "`below` cannot look at column `x`, which is of type bool"
        );
        assert_eq!(
            message(
                "column = 'x'\nequals = [1]",
                Type::List(Box::new(Type::Int))
            ),
            "`equals` cannot look at column `x`, which is of type list of int"
        );
        assert_eq!(
            message("column = 'x'\nbelow = 2013-03-02T00:00:00Z", LOCAL),
            "`below` is `2013-03-02T00:00:00Z`, and column `x` is of type date: a date is expected"
        );
        assert_eq!(
            message("column = 'x'\nbelow = 08:00:00", UTC),
            "`below` is `08:00:00`, and column `x` is of type date: a date is expected"
        );
        assert!(message("column = 'x'\nequal = 1", Type::Int).starts_with("unknown field"));
    }

    #[test]
    fn dates_are_written_as_toml_or_as_text() {
        let day = Some(1_362_182_400_000_000);
        let date = |text: &str, utc| {
            let table: toml::Table = format!("x = {text}").parse().expect("it is TOML");
            condition::as_date(&table["x"], utc)
        };
        for utc in [false, true] {
            assert_eq!(date("2013-03-02", utc), day);
            assert_eq!(date("'2013-03-02'", utc), day);
            assert_eq!(date("2013-03-02 00:00:00", utc), day);
            assert_eq!(date("'2013-03-02T00:00:00.000'", utc), day);
            assert_eq!(date("'2013-03-02T00:00:00.0000001'", utc), None);
            assert_eq!(date("'yesterday'", utc), None);
            assert_eq!(date("1362182400", utc), None);
        }
        assert_eq!(date("2013-03-02T01:30:00+01:30", true), day);
        assert_eq!(date("'2013-03-02 00:00:00Z'", true), day);
        assert_eq!(date("'2013-03-02 00:00:00Z'", false), None);
    }

    /// Conditions on one type, each with what it says of a value, null or not.
    type Model = (&'static str, fn(&Json) -> bool);

    const STRINGS: &[Model] = &[
        ("equals = 'é'", |v| v == "é"),
        ("in = ['', 'b', 'zz']", |v| v == "" || v == "b" || v == "zz"),
        ("not_in = ['a', 'é']", |v| v != "a" && v != "é"),
        ("not_in = []", |_| true),
        ("in = []", |_| false),
        ("is_null = true", Json::is_null),
        ("is_null = false", |v| !v.is_null()),
        ("at_least = 'b'", |v| {
            v.as_str().is_some_and(|v| v.as_bytes() >= "b".as_bytes())
        }),
        ("below = 'é'", |v| {
            v.as_str().is_some_and(|v| v.as_bytes() < "é".as_bytes())
        }),
    ];
    const INTS: &[Model] = &[
        ("equals = 3", |v| v == 3),
        ("in = [7, -1, 3]", |v| v == 7 || v == -1 || v == 3),
        ("not_in = [0, 3]", |v| v != 0 && v != 3),
        ("is_null = false", |v| !v.is_null()),
        ("at_least = 3", |v| v.as_i64().is_some_and(|v| v >= 3)),
        ("below = 3", |v| v.as_i64().is_some_and(|v| v < 3)),
    ];
    const FLOATS: &[Model] = &[
        ("equals = 0.0", |v| v.as_f64() == Some(0.0)),
        ("in = [1, 2.5]", |v| {
            v.as_f64() == Some(1.0) || v.as_f64() == Some(2.5)
        }),
        ("not_in = [0]", |v| v.as_f64() != Some(0.0)),
        ("at_least = 1", |v| v.as_f64().is_some_and(|v| v >= 1.0)),
        ("below = 2.5", |v| v.as_f64().is_some_and(|v| v < 2.5)),
    ];
    const BOOLS: &[Model] = &[
        ("equals = true", |v| v == true),
        ("not_in = [true]", |v| v != true),
        ("is_null = true", Json::is_null),
    ];
    const DATES: &[Model] = &[
        ("at_least = 1970-01-01", |v| {
            v.as_i64().is_some_and(|v| v >= 0)
        }),
        ("below = '1970-01-01T00:00:00.000001'", |v| {
            v.as_i64().is_some_and(|v| v < 1)
        }),
        ("equals = 1969-12-31T23:59:59.999999", |v| v == -1),
    ];

    /// Generated values of a type, a fifth of them null.
    fn column(ty: &Type, rows: usize, random: &mut Random) -> Column {
        let mut some = |values: &[Json]| -> Vec<Json> {
            (0..rows)
                .map(|_| match random.below(5) {
                    0 => Json::Null,
                    _ => random.pick(values),
                })
                .collect()
        };
        let valid = |values: &[Json]| Some(values.iter().map(|v| !v.is_null()).collect());
        match ty {
            Type::String => {
                let values = some(
                    &[
                        "",
                        "a",
                        "b",
                        "zz",
                        "é",
                        "ß-long-enough-to-be-no-inline-view",
                    ]
                    .map(Json::from),
                );
                Column::from_strings(values.iter().map(Json::as_str))
            }
            Type::Float => {
                let values = some(&[0.0, -0.0, 1.0, 2.5, -1e300].map(Json::from));
                let floats = values.iter().map(|v| v.as_f64().unwrap_or(0.0));
                Column::from_floats(floats.collect(), valid(&values))
            }
            Type::Bool => {
                let values = some(&[json!(true), json!(false)]);
                let bools = values.iter().map(|v| v == true).collect();
                Column::Bools(polars_arrow::array::BooleanArray::new(
                    polars_arrow::datatypes::ArrowDataType::Boolean,
                    bools,
                    valid(&values),
                ))
            }
            _ => {
                let values = some(&[-1, 0, 1, 3, 7, i64::MIN].map(Json::from));
                let ints = values.iter().map(|v| v.as_i64().unwrap_or(0));
                Column::from_ints(ints.collect(), valid(&values))
            }
        }
    }

    #[test]
    fn the_rows_that_pass_are_those_of_the_model() {
        let mut random = Random::new(11);
        let kinds = [
            (Type::String, STRINGS),
            (Type::Int, INTS),
            (Type::Float, FLOATS),
            (Type::Bool, BOOLS),
            (LOCAL, DATES),
            (UTC, DATES),
        ];
        for (ty, models) in kinds {
            let input = testing::schema(&[("n", Type::Int), ("x", ty.clone())]);
            for (condition, passes) in models {
                let options = format!("column = 'x'\n{condition}");
                for rows in [0, 1, 60] {
                    let numbers = Column::from_ints((0..).take(rows).collect(), None);
                    let values = column(&ty, 20, &mut random);
                    let shared = testing::share(vec![numbers, values], &[1], rows, &mut random);
                    let plain = shared.clone().resolve();
                    let (given, origins) = testing::contents(&plain);
                    let expected: Vec<u64> = origins
                        .into_iter()
                        .flatten()
                        .zip(&given[1])
                        .filter(|(_, value)| passes(value))
                        .map(|(origin, _)| origin)
                        .collect();

                    let output = testing::run(&KIND, &options, &input, plain).expect("it runs");
                    let (_, kept) = testing::contents(&output.batch);
                    assert_eq!(kept, Some(expected), "{condition}");
                    let from_shared = testing::run(&KIND, &options, &input, shared);
                    let from_shared = from_shared.expect("it runs");
                    assert!(from_shared.batch.lookup().is_some(), "it stays shared");
                    testing::assert_same(&from_shared, &output);
                }
            }
        }
    }
}
