//! Every aggregate against a naive model in exact arithmetic, however rows are cut into batches.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::testing::{self, Random};
use super::*;
use crate::batch::Batch;
use crate::columns::{Column, NONE, row_number};
use crate::schema::Type;

/// A whole number as digits of 16 bits, the least first, any of which may be negative or too large: slow, and too simple
/// to be wrong.
#[derive(Clone, Debug)]
struct Naive(Vec<i128>);

/// Floats are counted in units of the least one.
const UNIT: usize = 1074;

impl Naive {
    fn of(value: i128) -> Self {
        Naive(vec![value % (1 << 64), 0, 0, 0, value / (1 << 64)])
    }

    /// In units of 2^-1074.
    fn float(value: f64) -> Self {
        let (negative, integer, exponent) = exact::parts(value);
        let number = Naive::of(integer.into()).shifted(usize::try_from(exponent + 1074).unwrap());
        if negative {
            Naive::of(0).minus(&number)
        } else {
            number
        }
    }

    fn shifted(&self, bits: usize) -> Self {
        let mut digits = vec![0; bits / 16];
        digits.extend(&self.0);
        Naive(digits).times(&Naive(vec![1 << (bits % 16)]))
    }

    fn zip(&self, other: &Naive, with: impl Fn(i128, i128) -> i128) -> Self {
        let length = self.0.len().max(other.0.len());
        let digit = |of: &Naive, at: usize| of.0.get(at).copied().unwrap_or(0);
        Naive(
            (0..length)
                .map(|at| with(digit(self, at), digit(other, at)))
                .collect(),
        )
        .normal()
    }

    fn plus(&self, other: &Naive) -> Self {
        self.zip(other, |a, b| a + b)
    }

    fn minus(&self, other: &Naive) -> Self {
        self.zip(other, |a, b| a - b)
    }

    fn times(&self, other: &Naive) -> Self {
        let (a, b) = (self.clone().normal(), other.clone().normal());
        let mut digits = vec![0; a.0.len() + b.0.len()];
        for (i, x) in a.0.iter().enumerate() {
            for (j, y) in b.0.iter().enumerate() {
                digits[i + j] += x * y;
            }
        }
        Naive(digits).normal()
    }

    /// Digits from 0 to 65535, but for the last one, which has the sign.
    fn normal(mut self) -> Self {
        let mut at = 0;
        while at < self.0.len() {
            let carry = self.0[at].div_euclid(1 << 16);
            if at + 1 == self.0.len() {
                if carry == 0 || carry == -1 {
                    break;
                }
                self.0.push(0);
            }
            self.0[at] -= carry << 16;
            self.0[at + 1] += carry;
            at += 1;
        }
        self
    }

    fn sign(&self) -> Ordering {
        let digits = self.clone().normal().0;
        digits
            .iter()
            .rev()
            .find(|digit| **digit != 0)
            .map_or(Ordering::Equal, |digit| digit.cmp(&0))
    }
}

/// Whether `found` is the float nearest to `number / divisor`, of two the even one: no neighbour is nearer. The number is
/// in units of 2^-1074.
fn is_nearest(found: f64, number: &Naive, divisor: &Naive) -> bool {
    if !found.is_finite() {
        return false;
    }
    let distance = |float: &Naive| {
        let distance = float.times(divisor).minus(number);
        if distance.sign() == Ordering::Less {
            Naive::of(0).minus(&distance)
        } else {
            distance
        }
    };
    let own = distance(&Naive::float(found));
    [found.next_up(), found.next_down()]
        .into_iter()
        .all(|other| {
            // Beyond the greatest float a number counts as if floats went on.
            let other = if other.is_finite() {
                Naive::float(other)
            } else {
                Naive::float(found).plus(
                    &Naive::float(found)
                        .minus(&Naive::float(-(-found.abs()).next_up() * found.signum())),
                )
            };
            match own.minus(&distance(&other)).sign() {
                Ordering::Less => true,
                Ordering::Equal => found.to_bits() & 1 == 0,
                Ordering::Greater => false,
            }
        })
}

/// Whether `found` is the float nearest to the root of `number / divisor`, in units of 2^-2148.
fn is_nearest_root(found: f64, number: &Naive, divisor: &Naive) -> bool {
    let middle = |other: f64| Naive::float(found).plus(&Naive::float(other));
    let against = |middle: Naive| {
        let square = middle.times(&middle).times(divisor);
        number.times(&Naive::of(4)).minus(&square).sign()
    };
    let above = against(middle(found.next_up()));
    let below = found == 0.0 || against(middle(found.next_down())) != Ordering::Less;
    above != Ordering::Greater && below
}

#[test]
fn the_naive_numbers_are_numbers() {
    let third = Naive::float(1.0);
    assert!(is_nearest(1.0 / 3.0, &third, &Naive::of(3)));
    assert!(!is_nearest((1.0f64 / 3.0).next_up(), &third, &Naive::of(3)));
    let two = Naive::of(2).shifted(2 * UNIT);
    assert!(is_nearest_root(2f64.sqrt(), &two, &Naive::of(1)));
    assert!(!is_nearest_root(2f64.sqrt().next_up(), &two, &Naive::of(1)));
    assert!(!is_nearest_root(
        2f64.sqrt().next_down(),
        &two,
        &Naive::of(1)
    ));
}

fn float(random: &mut Random) -> f64 {
    let any =
        f64::from_bits(random.below(usize::MAX) as u64 ^ (random.below(usize::MAX) as u64) << 12);
    match random.below(9) {
        0 => f64::MAX * random.pick(&[1.0, -1.0]),
        1 => f64::from_bits(1 + random.below(5) as u64),
        2 => random.pick(&[0.0, -0.0, 1.0, 1e16, -1e16, 0.1, 1e-300]),
        3 | 4 if any.is_finite() => any,
        _ => (random.below(2_000_000) as f64 - 1e6) / 100.0,
    }
}

fn small(random: &mut Random, limit: usize) -> i64 {
    i64::try_from(random.below(limit)).expect("it is small")
}

fn int(random: &mut Random) -> i64 {
    match random.below(6) {
        0 => random.pick(&[i64::MIN, i64::MAX, 0, -1, 1 << 53]),
        1 => (random.below(usize::MAX) as u64).cast_signed(),
        _ => small(random, 2000) - 1000,
    }
}

fn schema() -> Schema {
    testing::schema(&[
        ("k", Type::String),
        ("g", Type::Int),
        ("n", Type::Int),
        ("x", Type::Float),
        ("s", Type::String),
        ("b", Type::Bool),
        ("d", Type::Date { utc: false }),
    ])
}

/// A table of such columns, a fifth of the values null.
fn table(random: &mut Random, rows: usize) -> Batch {
    let texts = [
        "",
        "a",
        "é",
        "a\0",
        "ab",
        "longer than a view holds itself",
        "longer than a view holds, too",
    ];
    let pool: Vec<i64> = (0..rows.max(1)).map(|_| int(random)).collect();
    let floats: Vec<f64> = (0..rows.max(1)).map(|_| float(random)).collect();
    let shared = [
        Column::from_strings(texts[..4].iter().copied().map(Some)),
        Column::from_ints(vec![i64::MIN, 0, 3, i64::MAX], None),
        Column::from_ints(pool, None),
        Column::from_floats(floats, None),
        Column::from_strings(texts.map(Some)),
        Column::from_bools(&[true, false], None),
        Column::from_ints((0..5).map(|day| day * 86_400_000_000).collect(), None),
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

const AGGREGATES_OF: &[&str] = &[
    "count(*)",
    "count(x)",
    "count(distinct x)",
    "count(distinct s)",
    "count(distinct n)",
    "sum(n)",
    "sum(x)",
    "avg(n)",
    "avg(x)",
    "min(n)",
    "max(n)",
    "min(x)",
    "max(x)",
    "min(s)",
    "max(s)",
    "min(b)",
    "max(b)",
    "min(d)",
    "max(d)",
    "first(n)",
    "last(n)",
    "first(s)",
    "last(s)",
    "first(b)",
    "last(x)",
    "median(n)",
    "median(x)",
    "quantile(n, 0.95)",
    "quantile(x, 0.1)",
    "quantile(x, 1)",
    "quantile(n, 0)",
    "stddev(n)",
    "stddev(x)",
    "string_agg(s, ', ')",
];

/// How values sort: numbers by value, strings bytewise.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().partial_cmp(&b.as_f64()).expect("no NaN"),
        },
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (a, b) => a.as_bool().cmp(&b.as_bool()),
    }
}

/// What is wrong with a value of an aggregate of these rows; floats to the last bit.
fn wrong(text: &str, values: &[Value], found: &Value) -> Option<String> {
    let some: Vec<&Value> = values.iter().filter(|value| !value.is_null()).collect();
    let name = text.split_once('(').map_or("", |(name, _)| name);
    let of_ints = text.contains("(n)") || text.contains("(n,");
    let best = |wins: fn(Ordering) -> bool| {
        let better = |a, b| if wins(compare(b, a)) { b } else { a };
        let best: Option<&Value> = some.iter().copied().reduce(better);
        best.cloned().unwrap_or_default()
    };
    let expected = match name {
        "count" if text.contains('*') => json!(values.len()),
        "count" if text.contains("distinct") => {
            let mut sorted = some.clone();
            sorted.sort_by(|a, b| compare(a, b));
            sorted.dedup_by(|a, b| compare(a, b) == Ordering::Equal);
            json!(sorted.len())
        }
        "count" => json!(some.len()),
        "first" => values[0].clone(),
        "last" => values[values.len() - 1].clone(),
        "stddev" if some.len() < 2 => Value::Null,
        // Null stands where the result is out of range, too.
        _ if some.is_empty() => Value::Null,
        "sum" if of_ints => {
            let ints = some.iter().filter_map(|value| value.as_i64());
            let sum: i128 = ints.map(i128::from).sum();
            i64::try_from(sum).map_or(Value::Null, |sum| json!(sum))
        }
        "min" => best(Ordering::is_lt),
        "max" => best(Ordering::is_gt),
        "string_agg" => {
            let texts: Vec<&str> = some.iter().filter_map(|value| value.as_str()).collect();
            json!(texts.join(", "))
        }
        _ => {
            let right = is_right(name, text, &some, of_ints, found.as_f64());
            return (!right).then(|| format!("{text} of {values:?} is {found}"));
        }
    };
    (*found != expected).then(|| format!("{text} of {values:?} is {found}, not {expected}"))
}

/// Whether this float is the exact result, rounded once; none: that is out of range.
fn is_right(name: &str, text: &str, some: &[&Value], of_ints: bool, found: Option<f64>) -> bool {
    let naive = |value: &Value| match value.as_i64() {
        Some(int) if of_ints => Naive::of(int.into()).shifted(UNIT),
        _ => Naive::float(value.as_f64().expect("a number")),
    };
    let numbers = some.iter().map(|value| naive(value));
    let sum = numbers
        .clone()
        .fold(Naive::of(0), |sum, value| sum.plus(&value));
    let count = some.len() as i128;
    let most = Naive::float(f64::MAX);
    match (name, found) {
        ("sum", Some(found)) => is_nearest(found, &sum, &Naive::of(1)),
        ("sum", None) => sum.abs().minus(&most).sign().is_gt(),
        ("avg", Some(found)) => is_nearest(found, &sum, &Naive::of(count)),
        ("stddev", found) => {
            let squares = numbers.map(|value| value.times(&value));
            let squares = squares.fold(Naive::of(0), |sum, square| sum.plus(&square));
            let number = squares.times(&Naive::of(count)).minus(&sum.times(&sum));
            let divisor = Naive::of(count * (count - 1));
            match found {
                Some(found) => is_nearest_root(found, &number, &divisor),
                None => number
                    .minus(&most.times(&most).times(&divisor))
                    .sign()
                    .is_gt(),
            }
        }
        (_, None) => false,
        (_, Some(found)) => {
            let (parts, of): (i128, i128) = match text.split_once(", ").map(|(_, share)| share) {
                None => (1, 2),
                Some("0.95)") => (95, 100),
                Some("0.1)") => (1, 10),
                Some("1)") => (1, 1),
                Some(_) => (0, 1),
            };
            let mut sorted = some.to_vec();
            sorted.sort_by(|a, b| compare(a, b));
            let (place, rest) = (parts * (count - 1) / of, parts * (count - 1) % of);
            let at = |place: i128| {
                naive(sorted[usize::try_from(place.min(count - 1)).expect("it is small")])
            };
            let below = at(place).times(&Naive::of(of - rest));
            let number = below.plus(&at(place + 1).times(&Naive::of(rest)));
            is_nearest(found, &number, &Naive::of(of))
        }
    }
}

impl Naive {
    fn abs(self) -> Self {
        if self.sign().is_lt() {
            Naive::of(0).minus(&self)
        } else {
            self
        }
    }
}

/// The values of a batch, row by row, those of floats to the last bit.
fn lines(batches: &[Batch]) -> Vec<Vec<Value>> {
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<Vec<Value>> = batch.plain().iter().map(testing::values).collect();
        lines.extend((0..batch.rows()).map(|row| {
            columns
                .iter()
                .map(|column| column[row].clone())
                .collect::<Vec<_>>()
        }));
    }
    lines
}

/// A value so that keys sort by it.
type Key = (bool, Option<i64>, Vec<u8>);

fn key(value: &Value) -> Key {
    (
        !value.is_null(),
        value.as_i64(),
        value.as_str().unwrap_or_default().as_bytes().to_vec(),
    )
}

#[test]
fn values_are_those_of_the_naive_model_however_rows_are_cut() {
    let input = schema();
    let mut random = Random::new(17);
    let mut faults = Vec::new();
    for round in 0..60 {
        let rows = random.pick(&[1, 2, 5, 40, 90]);
        let batch = table(&mut random, rows);
        let by = random.pick(&[&["k"][..], &["g"], &["g", "k"], &["b"], &["d", "s"], &[]]);
        let texts: Vec<&str> = if round < 10 {
            AGGREGATES_OF.to_vec()
        } else {
            (0..4).map(|_| random.pick(AGGREGATES_OF)).collect()
        };
        let mut options = format!("by = {by:?}\non_error = 'null'\n[columns]\n");
        for (at, text) in texts.iter().enumerate() {
            options += &format!("c{at} = \"{text}\"\n");
        }
        let given = testing::combined(&KIND, &options, &input, vec![batch.clone()]);
        let whole = lines(&given.expect("it runs").0);
        for rows_max in [1, 2, 7, 33] {
            let given = testing::combined(&KIND, &options, &input, batch.clone().cut(rows_max));
            let given = lines(&given.expect("it runs").0);
            let same = format!("{given:?}") == format!("{whole:?}");
            assert!(
                same,
                "{options} in batches of {rows_max}: {given:?}\n{whole:?}"
            );
        }
        let all = lines(&[batch]);
        let position = |name: &str| input.index(name).expect("it is there");
        let mut model: BTreeMap<Vec<Key>, Vec<usize>> = BTreeMap::new();
        for (row, line) in all.iter().enumerate() {
            let by: Vec<_> = by
                .iter()
                .map(|name| match &line[position(name)] {
                    Value::Bool(value) => key(&json!(i64::from(*value))),
                    other => key(other),
                })
                .collect();
            model.entry(by).or_default().push(row);
        }
        assert_eq!(model.len(), whole.len(), "{options}");
        for (rows, line) in model.values().zip(&whole) {
            for (at, name) in by.iter().enumerate() {
                assert_eq!(line[at], all[rows[0]][position(name)], "{options}: the key");
            }
            for (at, text) in texts.iter().enumerate() {
                let (_, argument) = text.split_once('(').expect("a call");
                let argument = argument.trim_start_matches("distinct ");
                let column = position(if argument.starts_with('*') {
                    "k"
                } else {
                    &argument[..1]
                });
                let values: Vec<Value> = rows.iter().map(|&row| all[row][column].clone()).collect();
                faults.extend(wrong(text, &values, &line[by.len() + at]));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{}\n{} faults",
        faults[..faults.len().min(5)].join("\n"),
        faults.len()
    );
}

#[test]
fn every_aggregate_does_what_its_example_says() {
    let input = testing::schema(&[("n", Type::Int), ("s", Type::String)]);
    let batch = testing::batch(vec![
        Column::from_nullable_ints(&[Some(1), Some(2), Some(5), None]),
        Column::from_strings([Some("b"), Some("a"), Some("b"), None]),
    ]);
    for function in AGGREGATES {
        let (text, expected) = function.example;
        let options = format!("by = []\ncolumns = {{ c = \"{text}\" }}");
        let given = testing::combined(&KIND, &options, &input, vec![batch.clone()]);
        let (given, _) = given.unwrap_or_else(|error| panic!("{text}: {}", error.render()));
        let expected: Value = serde_json::from_str(expected).expect("JSON");
        assert_eq!(lines(&given), [[expected]], "{text}");
    }
}

#[test]
fn many_groups_are_divided_and_few_are_not_with_one_result() {
    let input = schema();
    let mut random = Random::new(23);
    let keys: Vec<Option<i64>> = (0..15_000)
        .map(|row| match row % 1000 {
            0 => None,
            _ if row < 5_000 => Some(small(&mut random, 300)),
            _ => Some(small(&mut random, 9_000) - 100),
        })
        .collect();
    let texts = keys
        .iter()
        .map(|key| key.map(|key| format!("the key {key}")));
    let table = table(&mut random, keys.len());
    let mut columns = table.plain();
    columns[0] = Column::from_strings(texts);
    columns[1] = Column::from_nullable_ints(&keys);
    let batch = testing::batch(columns);
    // Batches of few groups, of many, and of rows that go as they are, first and last.
    let cuts: &[&[usize]] = &[&[15_000], &[10_000, 5000], &[5000, 3000, 7000]];
    for by in ["'g'", "['g', 'k']"] {
        for more in [
            "",
            "m = 'median(n)'\nu = 'count(distinct s)'\nt = \"string_agg(s, '')\"\n",
        ] {
            let options = format!(
                "by = {by}\non_error = 'null'\n[columns]\nc = 'count(*)'\nn = 'sum(n)'\nx = 'sum(x)'\na = 'avg(x)'\n\
                 d = 'stddev(x)'\ne = 'stddev(n)'\nf = 'first(s)'\nl = 'last(s)'\nmin = 'min(s)'\nmax = 'max(x)'\n{more}"
            );
            let mut first: Option<String> = None;
            for cut in cuts {
                for turned in [false, true] {
                    let mut from = 0;
                    let batches = cut.iter().map(|&rows| {
                        from += rows;
                        batch.slice(from - rows, rows)
                    });
                    let mut batches: Vec<Batch> = batches.collect();
                    if turned {
                        // Cut the other way round: as many rows, other borders.
                        batches =
                            Batch::concat(batches, || unreachable!("there are some")).cut(4999);
                    }
                    let given = testing::combined(&KIND, &options, &input, batches);
                    let found = format!("{:?}", lines(&given.expect("it runs").0));
                    let first = first.get_or_insert_with(|| found.clone());
                    assert!(*first == found, "{options} in batches of {cut:?}, {turned}");
                }
            }
        }
    }
}

#[test]
fn sums_of_floats_are_exact_in_any_order_and_in_any_parts() {
    let input = testing::schema(&[("x", Type::Float)]);
    let options =
        "by = []\non_error = 'null'\ncolumns = { s = 'sum(x)', a = 'avg(x)', d = 'stddev(x)' }";
    let mut random = Random::new(5);
    let mut faults = Vec::new();
    for _ in 0..150 {
        let mut floats: Vec<f64> = (0..=random.below(25)).map(|_| float(&mut random)).collect();
        // Most of it cancels out, and what is left is small.
        let cancelled: Vec<f64> = floats.iter().map(|float| -float).collect();
        floats.extend(&cancelled[random.below(cancelled.len())..]);
        let mut first = None;
        for rows_max in [1, 3, 50] {
            for at in (1..floats.len()).rev() {
                floats.swap(at, random.below(at + 1));
            }
            let column = Column::from_floats(floats.clone(), None);
            let batches = testing::batch(vec![column.clone()]).cut(rows_max);
            let (given, _) = testing::combined(&KIND, options, &input, batches).expect("it runs");
            let line = lines(&given).remove(0);
            let found = format!("{line:?}");
            assert_eq!(*first.get_or_insert_with(|| found.clone()), found);
            let values = testing::values(&column);
            for (text, value) in ["sum(x)", "avg(x)", "stddev(x)"].iter().zip(&line) {
                faults.extend(wrong(text, &values, value));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
