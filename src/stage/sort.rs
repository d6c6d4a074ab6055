//! `sort`: rows in the order of some columns.
//!
//! All rows are collected and cut into ranges of their order, which sessions sort: what they give only needs to follow
//! each other. With a `limit` no row is collected: sessions sort each batch and give its first rows, and the combiner
//! holds the first ones of all batches so far.

use serde::Deserialize;

use super::group_concat::Names;
use super::{
    Begun, Combiner, Folder, Output, Partitioning, Properties, Run, Session, Setup, Stage,
    StageKind, TaskContext,
};
use crate::batch::{Batch, ROWS_MAX};
use crate::columns::{Column, row_number};
use crate::error::{OfValue, Result};
use crate::keys;
use crate::order::{Order, SortColumn, positions};
use crate::schema::Schema;

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "sort",
    summary: "orders rows by some columns",
    inputs: &[1],
    takes_batch_rows: true,
    options: super::stage_options!(Options),
    example: r#"
[[stage]]
name = "largest"
kind = "sort"
inputs = ["donations"]
by = ["-donation_total", "donation_timestamp"]
limit = 100
"#,
    decode: |table| Ok(Box::new(Sort::decode(table)?)),
    ..StageKind::BASE
};

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// the columns, the first one first, `-name` for falling; nulls come first either way, strings are ordered bytewise,
    /// false comes before true, and equal rows keep their order
    #[schemars(extend("x-type" = "column or list of columns"))]
    by: Names,
    /// so many rows go on, the first ones; the others are dropped. All rows are held in memory without it, about twice as
    /// many as it says with it
    limit: Option<u64>,
}

struct Sort {
    by: Vec<SortColumn>,
    limit: Option<usize>,
}

impl Sort {
    fn decode(table: toml::Table) -> Result<Self> {
        let given: Options = super::options(table)?;
        let by: Vec<SortColumn> = given
            .by
            .list()
            .iter()
            .map(|word| SortColumn::of(word))
            .collect();
        let names: Vec<String> = by.iter().map(|column| column.name.clone()).collect();
        keys::check_names("by", &names)?;
        // More rows than there can be are all rows.
        let limit = given
            .limit
            .map(|rows| usize::try_from(rows).unwrap_or(usize::MAX));
        Ok(Sort { by, limit })
    }
}

impl Stage for Sort {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![match self.limit {
            None => Partitioning::ByRange(self.by.clone()),
            Some(_) => Partitioning::Any,
        }]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        positions(&self.by, &inputs[0]).under("by")?;
        Ok(inputs[0].clone())
    }

    fn properties(&self) -> Properties {
        Properties {
            combined: self.limit.is_some(),
            ..Properties::default()
        }
    }

    fn begin(&self, _run: &Run, inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let Some(limit) = self.limit else {
            return Ok(Begun::default());
        };
        // Twice the rows: so each row is sorted a few times, and not once for every batch.
        let rows_max = limit.saturating_mul(2).max(ROWS_MAX);
        let by = positions(&self.by, &inputs[0])?;
        Ok(Begun {
            combiner: Some(Box::new(FirstRows::new(by, limit, rows_max))),
            ..Begun::default()
        })
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(Sorting {
            by: positions(&self.by, &setup.inputs[0])?,
            limit: self.limit.unwrap_or(usize::MAX),
        }))
    }
}

/// Sorts each batch.
struct Sorting {
    by: Vec<(usize, bool)>,
    limit: usize,
}

impl Session for Sorting {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        Ok(first_rows(&batch, &self.by, self.limit))
    }
}

/// The first rows of a batch in order; the others are dropped.
fn first_rows(batch: &Batch, by: &[(usize, bool)], limit: usize) -> Output {
    let mut rows = Order::new(batch, by).sorted();
    rows.truncate(limit);
    // Values that a range shares with others are gathered here, once.
    few_of(batch.take(&rows).resolve(), batch.rows())
}

/// Rows that are left of so many, the others dropped. A few rows that are held must not hold the text of the batch that
/// they came in.
fn few_of(left: Batch, rows: usize) -> Output {
    let dropped = rows - left.rows();
    let is_few = left.rows() <= rows / 2;
    let mut output = Output::new(if is_few { left.compacted() } else { left });
    output.dropped = dropped as u64;
    output
}

/// Holds the first rows of those that came.
struct FirstRows {
    by: Vec<(usize, bool)>,
    limit: usize,
    /// When more rows are held than this, all but the first ones go.
    rows_max: usize,
    held: Vec<Batch>,
    /// How many rows are held.
    rows: usize,
    /// The values by which the last one of them is ordered, once so many came as go on: what follows it does not.
    last: Option<Vec<Column>>,
}

impl FirstRows {
    fn new(by: Vec<(usize, bool)>, limit: usize, rows_max: usize) -> Self {
        FirstRows {
            by,
            limit,
            rows_max,
            held: Vec::new(),
            rows: 0,
            last: None,
        }
    }

    /// How many rows of a batch, which are in order, may be among the first ones.
    fn candidates(&self, batch: &Batch) -> usize {
        let Some(last) = &self.last else {
            return batch.rows();
        };
        let columns = last.iter().zip(&self.by);
        let columns = columns.map(|(last, &(at, _))| Column::concat(&[last, &batch.column(at)]));
        let both = Batch::new(columns.collect(), 1 + batch.rows());
        let falling = self.by.iter().map(|&(_, falling)| falling);
        let by: Vec<(usize, bool)> = falling.enumerate().collect();
        let order = Order::new(&both, &by);
        let rows: Vec<u32> = (1..=row_number(batch.rows())).collect();
        // A row that is like the last one came after it.
        rows.partition_point(|&row| order.compare(row, 0).is_lt())
    }

    /// The first rows of those held.
    fn first(&mut self) -> Option<Output> {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return None;
        }
        let all = Batch::concat(held, || unreachable!("there are batches"));
        Some(first_rows(&all, &self.by, self.limit))
    }
}

impl Combiner for FirstRows {
    fn push(&mut self, batch: Batch) -> Result<Option<Output>> {
        let candidates = self.candidates(&batch);
        let mut given = few_of(batch.slice(0, candidates), batch.rows());
        let none = batch.slice(0, 0);
        self.rows += candidates;
        self.held.push(std::mem::replace(&mut given.batch, none));
        if self.rows > self.rows_max
            && let Some(first) = self.first()
        {
            given.dropped += first.dropped;
            self.rows = first.batch.rows();
            let by = self.by.iter();
            let last = by.map(|&(at, _)| first.batch.column(at).slice(self.rows - 1, 1));
            self.last = Some(last.map(|value| value.compacted()).collect());
            self.held.push(first.batch);
        }
        Ok(Some(given))
    }

    fn finish(mut self: Box<Self>) -> Result<Option<Output>> {
        Ok(self.first())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::testing::{self, Random};
    use super::*;
    use crate::columns::NONE;
    use crate::partition::by_range;
    use crate::schema::Type;

    fn input() -> Schema {
        testing::schema(&[("s", Type::String), ("i", Type::Int), ("f", Type::Float)])
    }

    fn table(random: &mut Random, rows: usize) -> Batch {
        let texts = [
            "",
            "a",
            "a\0",
            "é",
            "longer than a view holds",
            "longer than a view",
        ];
        let shared = [
            Column::from_strings(texts.map(Some)),
            Column::from_ints(vec![i64::MIN, -1, 0, i64::MAX], None),
            Column::from_floats(vec![-0.0, 0.0, -1.5, f64::MAX], None),
        ];
        let columns = shared.iter().map(|shared| {
            let rows = (0..rows).map(|_| match random.below(5) {
                0 => NONE,
                _ => row_number(random.below(shared.len())),
            });
            shared.take(&rows.collect::<Vec<_>>())
        });
        testing::batch(columns.collect())
    }

    /// The rows' origins, which name them.
    fn origins(batches: &[Batch]) -> Vec<u64> {
        let origins = batches
            .iter()
            .filter_map(|batch| testing::contents(batch).1);
        origins.flatten().collect()
    }

    /// The origins of the rows as a stable sort of their values gives them.
    fn model(batch: &Batch, by: &[(usize, bool)]) -> Vec<u64> {
        let (columns, origins) = testing::contents(batch);
        let compare = |a: &Value, b: &Value| match (a, b) {
            (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
            (a, b) if a.is_i64() => a.as_i64().cmp(&b.as_i64()),
            (a, b) => a.as_f64().partial_cmp(&b.as_f64()).expect("none is NaN"),
        };
        let mut rows: Vec<usize> = (0..batch.rows()).collect();
        rows.sort_by(|&a, &b| {
            let orders = by.iter().map(|&(column, falling)| {
                let (a, b) = (&columns[column][a], &columns[column][b]);
                match (a.is_null(), b.is_null()) {
                    (false, false) if falling => compare(b, a),
                    (false, false) => compare(a, b),
                    (a, b) => b.cmp(&a),
                }
            });
            let mut orders = orders;
            orders
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        let origins = origins.expect("they are kept");
        rows.into_iter().map(|row| origins[row]).collect()
    }

    /// Some order, and as the pipeline file has it.
    fn order(random: &mut Random) -> (Vec<(usize, bool)>, String) {
        let mut columns = vec![0, 1, 2];
        columns.rotate_left(random.below(3));
        columns.truncate(1 + random.below(3));
        let by: Vec<(usize, bool)> = columns.iter().map(|&i| (i, random.below(2) == 0)).collect();
        let word = |&(column, falling): &(usize, bool)| {
            let sign = if falling { "-" } else { "" };
            format!("{sign}{}", ["s", "i", "f"][column])
        };
        let words: Vec<String> = by.iter().map(word).collect();
        (by, format!("by = {words:?}"))
    }

    #[test]
    fn the_first_rows_are_those_of_a_stable_sort_however_they_are_cut() {
        let mut random = Random::new(21);
        for _ in 0..60 {
            let (by, options) = order(&mut random);
            let rows = random.pick(&[0, 1, 6, 50]);
            let batch = table(&mut random, rows);
            let limit = random.pick(&[0, 1, 5, 1000]);
            let mut expected = model(&batch, &by);
            expected.truncate(limit);
            let options = format!("{options}\nlimit = {limit}");
            for rows_max in [1, 3, 100] {
                let batches = batch.clone().cut(rows_max);
                let (given, dropped) =
                    testing::combined(&KIND, &options, &input(), batches).expect("it runs");
                assert_eq!(
                    origins(&given),
                    expected,
                    "{options}, batches of {rows_max}"
                );
                assert_eq!(dropped, (rows - expected.len()) as u64);
            }
        }
    }

    #[test]
    fn ranges_that_are_sorted_give_what_a_stable_sort_gives() {
        let mut random = Random::new(8);
        for rows in [10, 40_000, 100_000] {
            for _ in 0..3 {
                let (by, options) = order(&mut random);
                let batch = table(&mut random, rows);
                let ranges = by_range(&batch, &by);
                assert_eq!(
                    ranges.len(),
                    rows.div_ceil(1 << 15),
                    "equal rows are divided too"
                );
                assert!(ranges.iter().all(|range| range.rows() < 50_000));
                let sorted = ranges.into_iter().map(|range| {
                    let output = testing::run(&KIND, &options, &input(), range);
                    output.expect("it runs").batch
                });
                let sorted: Vec<Batch> = sorted.collect();
                assert_eq!(origins(&sorted), model(&batch, &by), "{options}");
            }
        }
    }

    #[test]
    fn few_rows_are_held_and_they_are_the_first_ones() {
        let mut random = Random::new(4);
        for limit in [1, 5, 40] {
            for _ in 0..20 {
                let (by, options) = order(&mut random);
                let all = table(&mut random, 600);
                let mut first = FirstRows::new(by.clone(), limit, 2 * limit);
                let mut dropped = 0;
                for batch in all.clone().cut(30) {
                    let given = testing::run(&KIND, &options, &input(), batch).expect("it runs");
                    let given = first.push(given.batch).expect("it takes all");
                    let given = given.expect("it says what it drops");
                    assert_eq!(given.batch.rows(), 0);
                    dropped += given.dropped;
                    assert!(first.rows <= 2 * limit);
                }
                let last = Box::new(first)
                    .finish()
                    .expect("it ends")
                    .expect("there are rows");
                let mut expected = model(&all, &by);
                expected.truncate(limit);
                assert_eq!(last.dropped + dropped, 600 - limit as u64);
                assert_eq!(origins(&[last.batch]), expected, "{options}, limit {limit}");
            }
        }
    }

    #[test]
    fn what_has_no_order_is_refused() {
        let list = Type::List(Box::new(Type::Int));
        let input = testing::schema(&[("a", Type::Int), ("l", list)]);
        let refused = |options: &str| {
            let stage = testing::decode(&KIND, options);
            let output = stage.and_then(|stage| testing::output_schema(stage.as_ref(), &input));
            output.expect_err("it is refused").message
        };
        assert_eq!(
            refused("by = '-l'"),
            "column `l` is a list of int, which has no order"
        );
        assert_eq!(refused("by = ['-b']"), "no column `b`; there are `a`, `l`");
        assert_eq!(refused("by = ['a', '-a']"), "`by` names `a` twice");
        assert_eq!(refused("by = []"), "`by` is empty");
    }
}
