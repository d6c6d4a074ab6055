//! `dedupe`: one row of those that are equal. Each session leaves out what is equal within its batch; the combiner does
//! the same across batches, in input order, and knows keys by their bytes.
//!
//! With `keep = "first"` rows go on as they come, and only keys are held. With `keep = "last"` a row waits until the
//! input has ended; a batch of which more than half the rows were followed by an equal one is compacted, so that at
//! most about twice the rows are held that go on.

use serde::Deserialize;

use super::group_concat::Names;
use super::{
    Begun, Combiner, Folder, Output, Partitioning, Properties, Rest, Run, Session, Setup, Stage,
    StageKind, TaskContext,
};
use crate::batch::Batch;
use crate::columns::row_number;
use crate::error::{OfValue, Result};
use crate::keys::{self, KeyIds, Keys, NullKeys};
use crate::schema::Schema;

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "dedupe",
    summary: "keeps one row of those that are equal",
    inputs: &[1],
    takes_batch_rows: true,
    options: super::stage_options!(Options),
    example: r#"
[[stage]]
name = "latest"
kind = "dedupe"
inputs = ["projects"]
by = "projectid"
keep = "last"
"#,
    decode: |table| Ok(Box::new(Dedupe::decode(table)?)),
    ..StageKind::BASE
};

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// rows that are alike in these are equal; null equals null, and -0.0 equals 0.0
    #[schemars(extend("x-type" = "column or list of columns"), extend("x-default" = "all columns"))]
    by: Option<Names>,
    /// which of equal rows goes on, in its place in the input; the others are dropped. `first` holds the keys in memory,
    /// `last` the rows
    #[serde(default)]
    keep: Keep,
}

#[derive(
    Debug, Deserialize, Default, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum Keep {
    #[default]
    First,
    Last,
}

struct Dedupe {
    by: Option<Vec<String>>,
    keep: Keep,
}

impl Dedupe {
    fn decode(table: toml::Table) -> Result<Self> {
        let given: Options = super::options(table)?;
        let by = given.by.map(|by| by.list());
        if let Some(by) = &by {
            keys::check_names("by", by)?;
        }
        Ok(Dedupe {
            by,
            keep: given.keep,
        })
    }

    /// Where the columns stand that make the key.
    fn positions(&self, input: &Schema) -> Result<Vec<usize>> {
        let positions = match &self.by {
            Some(by) => input.indices(by).under("by")?,
            None => (0..input.fields.len()).collect(),
        };
        let checked = keys::check(input, &positions).under("by");
        checked.map_err(|error| match self.by {
            Some(_) => error,
            None => error.hint("name the columns that make rows equal in `by`"),
        })?;
        Ok(positions)
    }
}

impl Stage for Dedupe {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        self.positions(&inputs[0])?;
        Ok(inputs[0].clone())
    }

    fn properties(&self) -> Properties {
        Properties {
            combined: true,
            ..Properties::default()
        }
    }

    fn begin(&self, _run: &Run, inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let by = self.positions(&inputs[0])?;
        let combiner: Box<dyn Combiner> = match self.keep {
            Keep::First => Box::new(First {
                by,
                ids: KeyIds::default(),
            }),
            Keep::Last => Box::new(Last {
                by,
                ids: KeyIds::default(),
                at: Vec::new(),
                held: Vec::new(),
                dropped: 0,
            }),
        };
        Ok(Begun {
            combiner: Some(combiner),
            ..Begun::default()
        })
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(WithinBatch {
            by: self.positions(&setup.inputs[0])?,
            keep: self.keep,
        }))
    }
}

/// Leaves out what is equal within a batch.
struct WithinBatch {
    by: Vec<usize>,
    keep: Keep,
}

impl Session for WithinBatch {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let keys = Keys::new(&batch, &self.by, NullKeys::Equal);
        let mut ids = KeyIds::default();
        let mut meets = |row: usize| ids.meet(keys.get(row)).1;
        let rows = 0..batch.rows();
        let mut gone: Vec<u32> = match self.keep {
            Keep::First => rows.filter(|&row| !meets(row)).map(row_number).collect(),
            Keep::Last => {
                let rows = rows.rev();
                rows.filter(|&row| !meets(row)).map(row_number).collect()
            }
        };
        gone.sort_unstable();
        // A few rows that are held must not hold the text of the batch that they came in.
        let is_held = self.keep == Keep::Last && gone.len() >= batch.rows() / 2;
        let mut output = without(batch, &gone);
        if is_held {
            output.batch = output.batch.compacted();
        }
        Ok(output)
    }
}

/// The rows but for these, which are dropped.
fn without(batch: Batch, gone: &[u32]) -> Output {
    let mut output = Output::new(batch.without(gone));
    output.dropped = gone.len() as u64;
    output
}

/// Gives a row at once, if no equal one came before it.
struct First {
    by: Vec<usize>,
    ids: KeyIds,
}

impl Combiner for First {
    fn push(&mut self, batch: Batch) -> Result<Option<Output>> {
        let keys = Keys::new(&batch, &self.by, NullKeys::Equal);
        let rows = 0..batch.rows();
        let known = |&row: &usize| !self.ids.meet(keys.get(row)).1;
        let gone: Vec<u32> = rows.filter(known).map(row_number).collect();
        Ok(Some(without(batch, &gone)))
    }

    fn finish(self: Box<Self>) -> Result<Option<Output>> {
        Ok(None)
    }
}

/// Holds the last row so far of each key.
struct Last {
    by: Vec<usize>,
    ids: KeyIds,
    /// For each key the place of its last row: which of the batches held, and the row there.
    at: Vec<(u32, u32)>,
    held: Vec<Held>,
    dropped: u64,
}

/// A batch of which some rows are the last of their keys.
struct Held {
    batch: Batch,
    /// The key of each row.
    keys: Vec<u32>,
    /// How many rows are the last of their keys.
    alive: usize,
}

impl Last {
    /// The rows of batch `number` that are the last of their keys.
    fn alive(&self, number: u32) -> Vec<u32> {
        let keys = &self.held[number as usize].keys;
        let rows = (0..row_number(keys.len())).zip(keys);
        let alive = rows.filter(|&(row, &key)| self.at[key as usize] == (number, row));
        alive.map(|(row, _)| row).collect()
    }

    /// Lets go of the other rows of batch `number`.
    fn compact(&mut self, number: u32) {
        let rows = self.alive(number);
        let held = &mut self.held[number as usize];
        held.batch = held.batch.take(&rows).compacted();
        held.keys = rows.iter().map(|&row| held.keys[row as usize]).collect();
        for (row, &key) in (0..).zip(&held.keys) {
            self.at[key as usize] = (number, row);
        }
    }
}

impl Combiner for Last {
    fn push(&mut self, batch: Batch) -> Result<Option<Output>> {
        let number = row_number(self.held.len());
        let keys = Keys::new(&batch, &self.by, NullKeys::Equal);
        let mut sparse = Vec::new();
        let mut key_of = Vec::with_capacity(batch.rows());
        for row in 0..row_number(batch.rows()) {
            let (key, is_new) = self.ids.meet(keys.get(row as usize));
            key_of.push(key);
            if is_new {
                self.at.push((number, row));
                continue;
            }
            // No batch has a key twice: the row that it had lies in one before.
            let (before, _) = std::mem::replace(&mut self.at[key as usize], (number, row));
            self.dropped += 1;
            let held = &mut self.held[before as usize];
            held.alive -= 1;
            if held.alive == held.keys.len() / 2 {
                sparse.push(before);
            }
        }
        self.held.push(Held {
            alive: batch.rows(),
            batch,
            keys: key_of,
        });
        for number in sparse {
            self.compact(number);
        }
        Ok(None)
    }

    fn finish(self: Box<Self>) -> Result<Option<Output>> {
        let first = self.part(0);
        Ok(first.map(|mut output| {
            output.dropped = self.dropped;
            output.rest = rest(self, 1);
            output
        }))
    }
}

impl Last {
    /// The rows of batch `number` that go on, if there are so many batches.
    fn part(&self, number: usize) -> Option<Output> {
        let held = self.held.get(number)?;
        let rows = self.alive(row_number(number));
        Some(Output::new(held.batch.take(&rows)))
    }
}

/// What the batches from `number` on give, which are let go of as they do.
fn rest(mut last: Box<Last>, number: usize) -> Option<Rest> {
    last.held.get(number)?;
    last.held[number - 1].batch = Batch::new(Vec::new(), 0);
    Some(Rest::new(move || {
        let output = last.part(number);
        let mut output = output.expect("there is such a batch");
        output.rest = rest(last, number + 1);
        Ok(output)
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{self, Random};
    use super::*;
    use crate::columns::{Column, NONE};
    use crate::schema::Type;

    /// A table of columns that are alike often, nulls and zeros of both signs among them.
    fn table(random: &mut Random, rows: usize) -> Batch {
        let texts = ["", "a", "é", "a\0", "longer than a view holds itself"];
        let shared = [
            Column::from_strings(texts.map(Some)),
            Column::from_ints(vec![i64::MIN, 0, i64::MAX], None),
            Column::from_floats(vec![-0.0, 0.0, 1.5], None),
            Column::from_bools(&[true, false], None),
        ];
        let columns = shared.iter().map(|shared| {
            let rows = (0..rows).map(|_| match random.below(4) {
                0 => NONE,
                _ => row_number(random.below(shared.len())),
            });
            shared.take(&rows.collect::<Vec<_>>())
        });
        testing::batch(columns.collect())
    }

    /// The rows, -0.0 as 0.0, with their origins.
    fn lines(batch: &Batch) -> Vec<(Vec<Value>, u64)> {
        let (columns, origins) = testing::contents(batch);
        let origins = origins.expect("they are kept");
        let value = |value: &Value| {
            if *value == json!(-0.0) {
                json!(0.0)
            } else {
                value.clone()
            }
        };
        let line = |row: usize| {
            let values = columns.iter().map(|column| value(&column[row]));
            (values.collect(), origins[row])
        };
        (0..batch.rows()).map(line).collect()
    }

    #[test]
    fn rows_are_those_of_a_loop_however_they_are_cut() {
        let input = testing::schema(&[
            ("s", Type::String),
            ("i", Type::Int),
            ("f", Type::Float),
            ("b", Type::Bool),
        ]);
        let mut random = Random::new(9);
        for round in 0..80 {
            let rows = random.pick(&[0, 1, 5, 40]);
            let batch = table(&mut random, rows);
            let by = random.pick(&[&["s"][..], &["i"], &["f"], &["b", "s"], &["f", "i"], &[]]);
            let keep = ["first", "last"][round % 2];
            let mut options = format!("keep = '{keep}'\n");
            if !by.is_empty() {
                options += &format!("by = {by:?}");
            }
            let at = |name: &&str| input.index(name).expect("it is there");
            let at: Vec<usize> = match by {
                [] => (0..4).collect(),
                by => by.iter().map(at).collect(),
            };
            let all = lines(&batch);
            let key =
                |row: usize| -> Vec<&Value> { at.iter().map(|&at| &all[row].0[at]).collect() };
            let alone = |&row: &usize| {
                let mut others = if keep == "first" {
                    0..row
                } else {
                    row + 1..rows
                };
                !others.any(|other| key(other) == key(row))
            };
            let expected: Vec<_> = (0..rows)
                .filter(alone)
                .map(|row| all[row].clone())
                .collect();
            for rows_max in [1, 2, 7, 100] {
                let given = testing::combined(&KIND, &options, &input, batch.clone().cut(rows_max));
                let (given, dropped) = given.expect("it runs");
                let got: Vec<_> = given.iter().flat_map(lines).collect();
                assert_eq!(got, expected, "{options} in batches of {rows_max}");
                assert_eq!(dropped, (rows - expected.len()) as u64);
            }
        }
    }

    #[test]
    fn rows_that_were_followed_by_equal_ones_are_let_go() {
        let mut last = Last {
            by: vec![0],
            ids: KeyIds::default(),
            at: Vec::new(),
            held: Vec::new(),
            dropped: 0,
        };
        let texts = |range: std::ops::Range<u32>| {
            let texts = range.map(|number| Some(format!("the text of number {number}")));
            testing::batch(vec![Column::from_strings(texts)])
        };
        for _ in 0..50 {
            last.push(texts(0..100)).expect("it takes all");
        }
        last.push(texts(40..140)).expect("it takes all");
        let held: usize = last.held.iter().map(|held| held.batch.rows()).sum();
        assert_eq!(held, 140, "what is held is what goes on");
    }

    #[test]
    fn lists_and_columns_named_twice_make_no_key() {
        let list = Type::List(Box::new(Type::Int));
        let input = testing::schema(&[("a", Type::Int), ("l", list)]);
        let refused = |options: &str| {
            let stage = testing::decode(&KIND, options);
            let output = stage.and_then(|stage| testing::output_schema(stage.as_ref(), &input));
            output.expect_err("it is refused")
        };
        let error = refused("");
        assert_eq!(
            error.message,
            "column `l` is a list of int, which cannot be a key"
        );
        assert!(error.hint.is_some_and(|hint| hint.contains("`by`")));
        assert_eq!(refused("by = []").message, "`by` is empty");
        assert_eq!(refused("by = ['a', 'a']").message, "`by` names `a` twice");
        assert_eq!(
            refused("by = 'b'").message,
            "no column `b`; there are `a`, `l`"
        );
    }
}
