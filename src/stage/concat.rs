//! `concat`: the rows of several inputs, one input after the other, as one table. The run streams the inputs in
//! turn and says of each batch which input it is of; a session only puts that input's columns in their places.

use serde::Deserialize;

use super::{Folder, Output, Partitioning, Session, Setup, Stage, StageKind, TaskContext};
use crate::batch::{Batch, Cells};
use crate::columns::Column;
use crate::error::{Error, Result};
use crate::schema::{Field, Schema, Type, list};

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "concat",
    summary: "gives the rows of several inputs, one input after the other",
    inputs: &[2],
    more_inputs: true,
    takes_batch_rows: true,
    options: super::stage_options!(Options),
    example: r#"
[[stage]]
name = "all_donations"
kind = "concat"
inputs = ["donations_2012", "donations_2013"]
missing = "null"
"#,
    decode: |table| Ok(Box::new(Concat(super::options(table)?))),
    ..StageKind::BASE
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// what a column that some inputs lack is; columns are matched by name and keep the first input's order, those that
    /// only later inputs have follow
    #[serde(default)]
    missing: Missing,
}

#[derive(
    Debug, Deserialize, Default, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum Missing {
    #[default]
    Error,
    Null,
}

struct Concat(Options);

impl Concat {
    /// What is wrong with column `field` of input `number`, of which `known` came first, in input `first`.
    fn mismatch(field: &Field, number: usize, known: &Field, first: usize) -> Option<Error> {
        let ways = [(known, first), (field, number)];
        let words = if known.ty != field.ty {
            ways.map(|(field, input)| {
                format!("{} in input {}", type_in_words(&field.ty), input + 1)
            })
        } else if known.unwrap != field.unwrap {
            ways.map(|(field, input)| {
                let with = if field.unwrap { "with" } else { "without" };
                format!("{with} `unwrap_single` in input {}", input + 1)
            })
        } else if known.json != field.json {
            ways.map(|(field, input)| {
                let what = if field.json { "JSON" } else { "a plain text" };
                format!("{what} in input {}", input + 1)
            })
        } else {
            return None;
        };
        let error = Error::usage(format!(
            "column `{}` is {} and {}",
            field.name, words[0], words[1]
        ));
        Some(error.hint("give both inputs the same type, or rename or drop the column in one"))
    }

    /// What the columns that only one of two inputs has are, where all inputs must have all.
    fn missing(&self, inputs: &[Schema], number: usize) -> Option<Error> {
        let lacks = |lacking: usize, having: usize| {
            let has = |name: &&str| !inputs[lacking].names().any(|other| other == *name);
            let names: Vec<&str> = inputs[having].names().filter(has).collect();
            let error = Error::usage(format!(
                "input {} lacks {}, which input {} has",
                lacking + 1,
                list(&names),
                having + 1
            ));
            (!names.is_empty()).then_some(error)
        };
        if self.0.missing == Missing::Null {
            return None;
        }
        let both = [lacks(number, 0), lacks(0, number)];
        let error = Error::all(both.into_iter().flatten().collect())?;
        let hint = "`missing = \"null\"` fills a missing column with nulls";
        Some(error.each(&|error: Error| error.hint(hint)).of(["missing"]))
    }
}

impl Stage for Concat {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        let mut fields: Vec<(Field, usize)> = Vec::new();
        let mut mistakes = Vec::new();
        for (number, input) in inputs.iter().enumerate() {
            for field in &input.fields {
                let mut above = fields.iter();
                match above.find(|(known, _)| known.name == field.name) {
                    Some((known, first)) => {
                        mistakes.extend(Self::mismatch(field, number, known, *first));
                    }
                    None => fields.push((field.clone(), number)),
                }
            }
            mistakes.extend(self.missing(inputs, number));
        }
        match Error::all(mistakes) {
            Some(mistakes) => Err(mistakes),
            None => Schema::new(fields.into_iter().map(|(field, _)| field).collect()),
        }
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        let position = |input: &Schema, field: &Field| {
            let mut names = input.names();
            names.position(|name| name == field.name)
        };
        let fields = &setup.output.fields;
        let positions = setup.inputs.iter().map(|input| {
            let positions = fields.iter().map(|field| position(input, field));
            positions.collect()
        });
        Ok(Box::new(Aligning {
            positions: positions.collect(),
            types: fields.iter().map(|field| field.ty.clone()).collect(),
        }))
    }
}

/// The name of a type, so that two types that differ have two names.
fn type_in_words(ty: &Type) -> String {
    match ty {
        Type::Date { utc: true } => "date with a zone".into(),
        Type::Date { utc: false } => "date without a zone".into(),
        other => other.name(),
    }
}

struct Aligning {
    /// Where the columns stand in each input, if it has them.
    positions: Vec<Vec<Option<usize>>>,
    types: Vec<Type>,
}

impl Session for Aligning {
    fn run(&self, batch: Batch, task: TaskContext) -> Result<Output> {
        let columns = self.positions[task.input].iter().zip(&self.types);
        let cells = columns.map(|(&position, ty)| match position {
            Some(position) => batch.cells()[position].clone(),
            None => Cells::Own(Column::nulls(ty, batch.rows())),
        });
        let cells = cells.collect();
        Ok(Output::new(batch.with_columns(cells)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{self, Random, schema};
    use super::*;

    fn output(options: &str, inputs: &[Schema]) -> Result<Schema> {
        let stage = testing::decode(&KIND, options)?;
        stage.schema(inputs, &Folder("/".into()))
    }

    fn messages(options: &str, inputs: &[Schema]) -> Vec<String> {
        let error = output(options, inputs).expect_err("it is refused");
        error.split().map(|error| error.message).collect()
    }

    #[test]
    fn columns_keep_the_first_inputs_order_and_others_follow() {
        let a = schema(&[("x", Type::Int), ("y", Type::String)]);
        let b = schema(&[("z", Type::Bool), ("y", Type::String)]);
        let c = schema(&[("w", Type::Float), ("x", Type::Int), ("z", Type::Bool)]);
        let names = |inputs: &[Schema]| -> Vec<String> {
            let output = output("missing = 'null'", inputs).expect("they fit");
            output.names().map(str::to_owned).collect()
        };
        assert_eq!(
            names(&[a.clone(), b.clone(), c.clone()]),
            ["x", "y", "z", "w"]
        );
        assert_eq!(names(&[c, b, a]), ["w", "x", "z", "y"]);
    }

    #[test]
    fn columns_that_do_not_fit_are_all_named() {
        let a = schema(&[("x", Type::Int), ("y", Type::String)]);
        let b = schema(&[("y", Type::String), ("z", Type::Bool)]);
        assert_eq!(
            messages("", &[a.clone(), a.clone(), b.clone()]),
            [
                "input 3 lacks `x`, which input 1 has",
                "input 1 lacks `z`, which input 3 has"
            ]
        );
        let c = schema(&[("x", Type::Float), ("z", Type::Int)]);
        assert_eq!(
            messages("missing = 'null'", &[a, b, c]),
            [
                "column `x` is int in input 1 and float in input 3",
                "column `z` is bool in input 2 and int in input 3"
            ]
        );
        let date = |utc| schema(&[("d", Type::Date { utc })]);
        assert_eq!(
            messages("", &[date(true), date(false)]),
            ["column `d` is date with a zone in input 1 and date without a zone in input 2"]
        );
        let unwrapped = |unwrap| {
            let ty = Type::List(Box::new(Type::Int));
            let field = Field {
                unwrap,
                ..Field::new("l", ty)
            };
            Schema::new(vec![field]).expect("one name")
        };
        assert_eq!(
            messages("", &[unwrapped(false), unwrapped(true)]),
            [
                "column `l` is without `unwrap_single` in input 1 and with `unwrap_single` in input 2"
            ]
        );
    }

    /// A column of some type, of `rows` values, some null.
    fn column(random: &mut Random, ty: &Type, rows: usize) -> Column {
        let texts = ["", "a", "é", "longer than a view holds itself"];
        let shared = match ty {
            Type::String => Column::from_strings(texts.map(Some)),
            Type::Int => Column::from_ints(vec![i64::MIN, 0, i64::MAX], None),
            Type::Bool => Column::from_bools(&[true, false], None),
            _ => Column::from_floats(vec![-0.0, f64::MAX, 1e-300], None),
        };
        let picked = (0..rows).map(|_| match random.below(4) {
            0 => crate::columns::NONE,
            _ => crate::columns::row_number(random.below(shared.len())),
        });
        shared.take(&picked.collect::<Vec<_>>())
    }

    #[test]
    fn rows_are_what_a_table_of_named_values_gives() {
        let types = [Type::String, Type::Int, Type::Bool, Type::Float];
        let names = ["s", "i", "b", "f"];
        let mut random = Random::new(5);
        for _ in 0..60 {
            let mut inputs = Vec::new();
            let mut batches = Vec::new();
            for _ in 0..2 + random.below(3) {
                let mut left: Vec<usize> = (0..names.len()).collect();
                left.rotate_left(random.below(names.len()));
                left.truncate(1 + random.below(names.len()));
                let fields: Vec<_> = left.iter().map(|&i| (names[i], types[i].clone())).collect();
                inputs.push(schema(&fields));
                let rows = random.below(5);
                let columns = left.iter().map(|&i| column(&mut random, &types[i], rows));
                batches.push(testing::batch(columns.collect()));
            }
            let stage = testing::decode(&KIND, "missing = 'null'").expect("it decodes");
            let output = stage
                .schema(&inputs, &Folder("/".into()))
                .expect("they fit");
            let setup = testing::setup(&inputs, &output);
            let session = stage.open(setup).expect("a session opens");
            for (number, batch) in batches.iter().enumerate() {
                let task = TaskContext {
                    input: number,
                    ..TaskContext::default()
                };
                let given = session.run(batch.clone(), task).expect("it runs").batch;
                let (columns, origins) = testing::contents(&given);
                assert_eq!(origins, testing::contents(batch).1);
                for (name, values) in output.names().zip(columns) {
                    let mut here = inputs[number].names();
                    let expected = match here.position(|other| other == name) {
                        Some(at) => testing::values(&batch.column(at)),
                        None => vec![Value::Null; batch.rows()],
                    };
                    assert_eq!(json!(values), json!(expected), "{name}");
                }
            }
        }
    }
}
