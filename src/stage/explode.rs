//! `explode`: one row for each value of a list. The other columns are gathered by the row that each value is of, so
//! that text is not copied; a batch whose lists are long becomes several parts.

use std::sync::Arc;

use serde::Deserialize;

use super::{
    Folder, Output, Partitioning, Rest, Session, Setup, Stage, StageKind, TaskContext, parts,
};
use crate::batch::{Batch, Cells};
use crate::columns::{Column, List, NONE, row_number};
use crate::error::{Error, OfValue, Result};
use crate::schema::{Field, Schema, Type};

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "explode",
    summary: "gives one row for each value of a list",
    inputs: &[1],
    takes_batch_rows: true,
    options: super::stage_options!(Options),
    example: r#"
[[stage]]
name = "one_subject_a_row"
kind = "explode"
inputs = ["grouped"]
column = "subject"
"#,
    decode: |table| Ok(Box::new(Explode(super::options(table)?))),
    ..StageKind::BASE
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// the list; it becomes its values, and the other columns are repeated beside each
    #[schemars(extend("x-type" = "column"))]
    column: String,
    /// what becomes of a row whose list is empty or null: a row with a null, or none
    #[serde(default)]
    empty: Empty,
}

#[derive(
    Debug, Deserialize, Default, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum Empty {
    #[default]
    Null,
    Drop,
}

struct Explode(Options);

impl Explode {
    /// Where the list stands, and the type of its values.
    fn list(&self, input: &Schema) -> Result<(usize, Type)> {
        let at = input.index(&self.0.column).under("column")?;
        match &input.fields[at].ty {
            Type::List(of) => Ok((at, (**of).clone())),
            other => Err(Error::usage(format!(
                "column `{}` is no list, it is of type {}",
                self.0.column,
                other.name()
            ))
            .hint("`group_concat` without `separator` makes lists")
            .of(["column"])),
        }
    }
}

impl Stage for Explode {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        let (at, of) = self.list(&inputs[0])?;
        let mut output = inputs[0].clone();
        output.fields[at] = Field {
            json: output.fields[at].json,
            ..Field::new(&self.0.column, of)
        };
        Ok(output)
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        let (at, _) = self.list(&setup.inputs[0])?;
        Ok(Box::new(Exploding {
            at,
            empty: self.0.empty,
        }))
    }
}

struct Exploding {
    /// Where the list stands.
    at: usize,
    empty: Empty,
}

impl Session for Exploding {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let Column::Lists(list) = batch.column(self.at) else {
            unreachable!("`schema` refuses other columns")
        };
        let mut others = batch.cells().to_vec();
        others.remove(self.at);
        let others = batch.with_columns(others);
        let row_bytes = others.size() / others.rows().max(1);
        let value_bytes = list.values.size() / list.values.len().max(1);
        let lists = Lists {
            others,
            list,
            at: self.at,
            empty: self.empty,
            rows_max: parts::rows_max(row_bytes + value_bytes),
        };
        Ok(part(Arc::new(lists), 0, 0))
    }
}

/// A batch on its way to become rows of single values.
struct Lists {
    /// Its other columns.
    others: Batch,
    list: List,
    at: usize,
    empty: Empty,
    /// The most rows of a part.
    rows_max: usize,
}

/// The next part, which begins with row `row` of the batch after the first `given` values of its list. A row is counted
/// with its first value.
fn part(lists: Arc<Lists>, mut row: usize, mut given: usize) -> Output {
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    let (mut rows_in, mut dropped) = (0, 0);
    while row < lists.list.len() && rows.len() < lists.rows_max {
        rows_in += usize::from(given == 0);
        let range = lists.list.range(row);
        let is_null = lists.list.validity.as_ref();
        let is_null = is_null.is_some_and(|validity| !validity.get_bit(row));
        if is_null || range.is_empty() {
            if lists.empty == Empty::Null {
                rows.push(row_number(row));
                values.push(NONE);
            } else {
                dropped += 1;
            }
            row += 1;
            continue;
        }
        let room = lists.rows_max - rows.len();
        let taken = room.min(range.len() - given);
        let from = range.start + given;
        rows.extend(std::iter::repeat_n(row_number(row), taken));
        values.extend((from..from + taken).map(row_number));
        given += taken;
        if given == range.len() {
            row += 1;
            given = 0;
        }
    }
    let others = lists.others.take(&rows);
    let mut cells = others.cells().to_vec();
    cells.insert(lists.at, Cells::Own(lists.list.values.take(&values)));
    let mut output = Output::new(others.with_columns(cells));
    output.rows_in = Some(rows_in as u64);
    output.dropped = dropped as u64;
    if row < lists.list.len() {
        output.rest = Some(Rest::new(move || Ok(part(lists, row, given))));
    }
    // A part may go on with a row that was counted with the part before.
    output.added = (rows.len() + dropped - rows_in) as u64;
    output
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{self, Random};
    use super::*;

    /// Lists of texts, some null, some empty, some with nulls.
    fn lists(random: &mut Random, rows: usize) -> Vec<Option<Vec<Option<&'static str>>>> {
        let texts = [None, Some(""), Some("é"), Some("longer than a view holds")];
        let list = |random: &mut Random| {
            let len = random.pick(&[0, 0, 1, 1, 2, 7]);
            (0..len).map(|_| random.pick(&texts)).collect()
        };
        let row = |_| (random.below(5) > 0).then(|| list(random));
        (0..rows).map(row).collect()
    }

    fn column(lists: &[Option<Vec<Option<&str>>>]) -> Column {
        let mut offsets = vec![0];
        let mut values = Vec::new();
        for list in lists {
            values.extend(list.iter().flatten());
            // What lies below a null list is of no account.
            values.extend(list.is_none().then_some(&Some("never seen")));
            offsets.push(i64::try_from(values.len()).expect("there are few"));
        }
        Column::Lists(List {
            offsets: offsets.into(),
            values: Arc::new(Column::from_strings(values.iter().copied())),
            validity: Some(lists.iter().map(Option::is_some).collect()),
        })
    }

    #[test]
    fn rows_are_those_of_a_loop_in_any_parts() {
        let mut random = Random::new(11);
        let of = Type::List(Box::new(Type::String));
        let input = testing::schema(&[("a", Type::Int), ("l", of), ("b", Type::String)]);
        for round in 0..60 {
            let rows = random.below(12);
            let given = lists(&mut random, rows);
            let numbers = (0..).take(rows).collect();
            let texts = (0..rows).map(|row| (row % 3 > 0).then(|| format!("text {row}")));
            let columns = vec![
                Column::from_ints(numbers, None),
                column(&given),
                Column::from_strings(texts),
            ];
            let batch = testing::batch(columns);
            let (plain, origins) = testing::contents(&batch);
            let origins = origins.expect("it has some");
            let drops = round % 2 == 0;
            let mut expected: Vec<(Value, u64)> = Vec::new();
            let (mut added, mut dropped) = (0, 0);
            for row in 0..rows {
                let values = given[row].clone().unwrap_or_default();
                let nothing = values.is_empty() && !drops;
                let values = if nothing { vec![None] } else { values };
                added += values.len().saturating_sub(1) as u64;
                dropped += u64::from(values.is_empty());
                let line = |value: Option<&str>| {
                    (json!([plain[0][row], value, plain[2][row]]), origins[row])
                };
                expected.extend(values.into_iter().map(line));
            }
            let empty = if drops { Empty::Drop } else { Empty::Null };
            let options = format!(
                "column = 'l'\nempty = '{}'",
                ["null", "drop"][usize::from(drops)]
            );
            let whole = testing::run(&KIND, &options, &input, batch.clone()).expect("it runs");
            assert_eq!((whole.added, whole.dropped), (added, dropped));
            assert!(whole.rest.is_none());
            assert_eq!(lines(&whole.batch), expected);

            let Column::Lists(list) = batch.column(1) else {
                unreachable!("it was just made")
            };
            let mut others = batch.cells().to_vec();
            others.remove(1);
            let lists = Lists {
                others: batch.with_columns(others),
                list,
                at: 1,
                empty,
                rows_max: 1 + random.below(4),
            };
            let rows_max = lists.rows_max;
            let mut next = Some(part(Arc::new(lists), 0, 0));
            let mut sums = [0; 3];
            let mut all = Vec::new();
            while let Some(mut output) = next.take() {
                assert!(output.batch.rows() <= rows_max);
                let rows_in = output.rows_in.expect("it is counted");
                let out = output.batch.rows() as u64 + output.dropped;
                assert_eq!(
                    rows_in + output.added,
                    out,
                    "the ledger holds in every part"
                );
                for (sum, more) in sums.iter_mut().zip([rows_in, output.added, output.dropped]) {
                    *sum += more;
                }
                all.extend(lines(&output.batch));
                next = output
                    .rest
                    .take()
                    .map(|rest| rest.make().expect("it goes on"));
            }
            assert_eq!(sums, [rows as u64, added, dropped]);
            assert_eq!(all, expected);
        }
    }

    /// The rows of a batch with their origins.
    fn lines(batch: &Batch) -> Vec<(Value, u64)> {
        let (columns, origins) = testing::contents(batch);
        let origins = origins.expect("they are kept");
        let line = |row: usize| {
            let values: Vec<&Value> = columns.iter().map(|column| &column[row]).collect();
            (json!(values), origins[row])
        };
        (0..batch.rows()).map(line).collect()
    }

    #[test]
    fn what_is_no_list_is_named() {
        let message = |column: &str| {
            let stage = testing::decode(&KIND, &format!("column = '{column}'"));
            let input = testing::schema(&[("text", Type::String)]);
            let output = testing::output_schema(stage.expect("it decodes").as_ref(), &input);
            output.expect_err("it is refused").message
        };
        assert_eq!(
            message("text"),
            "column `text` is no list, it is of type string"
        );
        assert_eq!(message("txt"), "no column `txt`; there are `text`");
    }

    #[test]
    fn a_list_of_shared_rows_and_a_list_of_lists_explode_too() {
        let mut random = Random::new(3);
        let given = lists(&mut random, 5);
        let of = Type::List(Box::new(Type::String));
        let input = testing::schema(&[("l", of.clone()), ("b", Type::Int)]);
        let own = Column::from_ints((0..9).collect(), None);
        let batch = testing::share(vec![column(&given), own], &[0], 9, &mut random);
        let shared = testing::run(&KIND, "column = 'l'", &input, batch.clone());
        let resolved = testing::run(&KIND, "column = 'l'", &input, batch.resolve());
        testing::assert_same(&shared.expect("it runs"), &resolved.expect("it runs"));

        let nested = Column::Lists(List {
            offsets: vec![0, 2, 2, 5].into(),
            values: Arc::new(column(&given)),
            validity: None,
        });
        let input = testing::schema(&[("l", Type::List(Box::new(of)))]);
        let output = testing::run(&KIND, "column = 'l'", &input, testing::batch(vec![nested]));
        let (columns, _) = testing::contents(&output.expect("it runs").batch);
        let mut expected: Vec<Value> = given.iter().map(|list| json!(list)).collect();
        expected.insert(2, Value::Null);
        assert_eq!(columns, [expected]);
    }
}
