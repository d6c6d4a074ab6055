//! Naive models of the kinds that have one: rows in, rows out, in as few words as can be.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::data::{COLUMNS, Random, rows};
use super::jobs::{Job, condition};
use super::seeds;
use super::style::Style;
use crate::harness::{Etl, Folder, Variant, difference, for_each};

/// Rows of named columns.
struct Table {
    names: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    /// A table as CSV gives it back: an empty text is null.
    fn any(random: &mut Random, rows_max: usize) -> Self {
        let null_if_empty = |value: Value| if value == "" { Value::Null } else { value };
        let rows = rows(random, rows_max);
        Table {
            names: COLUMNS.map(|(name, _)| name.to_owned()).into(),
            rows: rows
                .into_iter()
                .map(|row| row.into_iter().map(null_if_empty).collect())
                .collect(),
        }
    }

    fn position(&self, name: &str) -> usize {
        let mut names = self.names.iter();
        names
            .position(|known| known == name)
            .expect("the tables have it")
    }

    /// The values of a key; `None` if one is null.
    fn key<'a>(&self, row: &'a [Value], on: &[&str]) -> Option<Vec<&'a Value>> {
        on.iter()
            .map(|name| Some(&row[self.position(name)]).filter(|value| !value.is_null()))
            .collect()
    }

    /// As NDJSON with null members.
    fn documents(&self) -> String {
        let lines = self.rows.iter().map(|row| {
            let members = self.names.iter().cloned().zip(row.iter().cloned());
            Value::Object(members.collect::<Map<_, _>>()).to_string()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Runs stage `last` over tables `left` and `right` in one plain and one parallel way.
fn check(
    name: &str,
    random: &mut Random,
    tables: &[&Table],
    last: (&'static str, Vec<(&'static str, Value)>),
    want: &Table,
) -> Option<String> {
    let mut job = Job::default();
    let (kind, options) = last;
    job.over(
        random,
        &tables
            .iter()
            .map(|table| &table.rows[..])
            .collect::<Vec<_>>(),
        kind,
        options,
    );
    run(name, &job, "out/last-null.ndjson", want)
}

/// Runs a job in one plain and one parallel way, and compares the documents that it writes to `path`.
fn run(name: &str, job: &Job, path: &str, want: &Table) -> Option<String> {
    let folder = Folder::new("model");
    for (path, bytes) in &job.files {
        folder.write(path, bytes);
    }
    folder.write("pipeline.toml", job.toml());
    let parallel = Variant::new("threads", 1, 2).batch_rows(7);
    for variant in [Variant::SEQUENTIAL, parallel] {
        let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
        let text = std::fs::read_to_string(folder.join(path)).unwrap_or_default();
        let got: Vec<String> = text
            .lines()
            .map(|line| {
                let document: Value = serde_json::from_str(line).expect("documents are JSON");
                document.to_string()
            })
            .collect();
        let got = got.join("\n");
        let want = want.documents();
        if outcome.code != Some(0) || want != got {
            let difference = difference(want.as_bytes(), got.as_bytes());
            let stderr = outcome.stderr;
            return Some(format!(
                "{name} ({variant}): {stderr}{difference}\n{}",
                job.toml()
            ));
        }
    }
    None
}

/// So many tables for each seed and model.
const EACH: u64 = 6;

/// Asks a model for every seed.
fn ask(name: &str, model: impl Fn(&mut Random, &str) -> Option<String> + Sync) {
    let mut all = Vec::new();
    for seed in seeds() {
        all.extend((0..EACH).map(|number| (seed, format!("{name} {number}"))));
    }
    for_each(&all, |(seed, name)| {
        let fault = model(&mut Random::new(*seed, name), name);
        fault
            .map(|fault| format!("ETL_SEED={seed}, {fault}"))
            .into_iter()
            .collect()
    });
}

#[test]
fn load_csv_gives_back_what_was_written() {
    ask("load_csv", |random, name| {
        let rows = rows(random, 60);
        let style = Style::faithful(random);
        let mut job = Job::default();
        job.load(random, "load", &rows, &style);
        job.write_as("load", "ndjson", "null");
        let want = Table {
            names: COLUMNS.map(|(name, _)| name.to_owned()).into(),
            rows: rows
                .iter()
                .map(|row| row.iter().map(|value| style.read(value)).collect())
                .collect(),
        };
        run(name, &job, "out/load-null.ndjson", &want)
    });
}

#[test]
fn filter_keeps_what_a_loop_keeps() {
    ask("model of filter", |random, name| {
        let table = Table::any(random, 120);
        let (column, how, value) = condition(random, &table.rows);
        let at = table.position(column);
        let kept = table
            .rows
            .iter()
            .filter(|row| passes(&row[at], how, &value));
        let want = Table {
            names: table.names.clone(),
            rows: kept.cloned().collect(),
        };
        let options = vec![("column", json!(column)), (how, value)];
        check(name, random, &[&table], ("filter", options), &want)
    });
}

fn passes(value: &Value, how: &str, given: &Value) -> bool {
    let among = || given.as_array().is_some_and(|given| given.contains(value));
    match how {
        "is_null" => value.is_null() == (given == true),
        "not_in" => !among(),
        _ if value.is_null() => false,
        "in" => among(),
        "equals" => value == given,
        "at_least" => !less(value, given),
        _ => less(value, given),
    }
}

fn less(a: &Value, b: &Value) -> bool {
    match (a.as_str(), a.as_i64(), b.as_i64()) {
        (Some(a), ..) => a < b.as_str().expect("both are text"),
        (_, Some(a), Some(b)) => a < b,
        _ => a.as_f64() < b.as_f64(),
    }
}

#[test]
fn join_gives_what_nested_loops_give() {
    ask("model of join", |random, name| {
        let (left, right) = (Table::any(random, 80), Table::any(random, 40));
        let (left_on, right_on): (&[&str], &[&str]) = random.pick(&[
            (&["k"][..], &["k"][..]),
            (&["n"], &["n"]),
            (&["n"], &["id"]),
            (&["k", "b"], &["k", "b"]),
            (&["n", "t"], &["id", "k"]),
        ]);
        let how = random.pick(&["left", "inner", "semi", "anti"]);
        let want = nested_loops(&left, &right, left_on, right_on, how);
        let options = vec![
            ("left_on", json!(left_on)),
            ("right_on", json!(right_on)),
            ("how", json!(how)),
            ("suffix", json!("_r")),
        ];
        check(name, random, &[&left, &right], ("join", options), &want)
    });
}

fn nested_loops(
    left: &Table,
    right: &Table,
    left_on: &[&str],
    right_on: &[&str],
    how: &str,
) -> Table {
    let with_right = matches!(how, "left" | "inner");
    let others: Vec<usize> = (0..right.names.len())
        .filter(|&column| with_right && !right_on.contains(&right.names[column].as_str()))
        .collect();
    let mut names = left.names.clone();
    names.extend(others.iter().map(|&column| {
        let name = &right.names[column];
        let suffix = if left.names.contains(name) { "_r" } else { "" };
        format!("{name}{suffix}")
    }));
    let mut rows = Vec::new();
    for row in &left.rows {
        let key = left.key(row, left_on);
        let equal = |other: &&Vec<Value>| key.is_some() && right.key(other, right_on) == key;
        let found: Vec<&Vec<Value>> = right.rows.iter().filter(equal).collect();
        let joined = |other: &[Value]| -> Vec<Value> {
            let others = others.iter().map(|&column| other[column].clone());
            row.iter().cloned().chain(others).collect()
        };
        match how {
            "semi" if !found.is_empty() => rows.push(row.clone()),
            "anti" | "left" if found.is_empty() => {
                rows.push(joined(&vec![Value::Null; right.names.len()]));
            }
            "left" | "inner" => rows.extend(found.into_iter().map(|other| joined(other))),
            _ => {}
        }
    }
    Table { names, rows }
}

/// A value of a key, in the order of groups.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
}

impl Part {
    fn of(value: &Value) -> Part {
        match (value, value.as_i64()) {
            (Value::Null, _) => Part::Null,
            (Value::Bool(bool), _) => Part::Bool(*bool),
            (Value::String(text), _) => Part::Text(text.clone()),
            (_, Some(int)) => Part::Int(int),
            _ => unreachable!("keys here are no floats"),
        }
    }
}

#[test]
fn group_concat_gives_what_a_map_gives() {
    ask("model of group_concat", |random, name| {
        let table = Table::any(random, 120);
        let by = random.some(&["k", "n", "b"]);
        let others: Vec<&str> = COLUMNS
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !by.contains(name))
            .collect();
        let columns = random.some(&others);
        let separator = random.pick(&[None, Some("; "), Some("")]);
        let want = grouped(&table, &by, &columns, separator);
        let mut options = vec![("by", json!(by)), ("columns", json!(columns))];
        if let Some(separator) = separator {
            options.push(("separator", json!(separator)));
        }
        check(name, random, &[&table], ("group_concat", options), &want)
    });
}

fn grouped(table: &Table, by: &[&str], columns: &[&str], separator: Option<&str>) -> Table {
    let mut groups: BTreeMap<Vec<Part>, Vec<&Vec<Value>>> = BTreeMap::new();
    for row in &table.rows {
        let key = by.iter().map(|name| Part::of(&row[table.position(name)]));
        groups.entry(key.collect()).or_default().push(row);
    }
    let together = |rows: &[&Vec<Value>], name: &str| -> Value {
        let values = rows.iter().map(|row| &row[table.position(name)]);
        let Some(separator) = separator else {
            return values.cloned().collect();
        };
        let texts: Vec<String> = values
            .filter(|value| !value.is_null())
            .map(|value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            })
            .collect();
        if texts.is_empty() {
            Value::Null
        } else {
            texts.join(separator).into()
        }
    };
    let rows = groups.values().map(|rows| {
        let key = by.iter().map(|name| rows[0][table.position(name)].clone());
        key.chain(columns.iter().map(|name| together(rows, name)))
            .collect()
    });
    Table {
        names: by.iter().chain(columns).map(|&name| name.into()).collect(),
        rows: rows.collect(),
    }
}
