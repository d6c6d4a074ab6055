//! Parquet files of other programs, and ours read by them. `tests/parquet/make.py` made the files that are read here.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Etl, Folder, Variant, files, for_each, has_python, project};

/// Files that have the same rows: these stand there once.
const SAME_ROWS: &[(&str, &[&str])] = &[
    (
        "common",
        &[
            "plain",
            "dictionary",
            "pages_v2",
            "pages_v2_plain",
            "zstd",
            "gzip",
            "lz4_raw",
        ],
    ),
    ("duckdb", &["duckdb_v1", "duckdb_v2", "duckdb_lz4"]),
    ("spark", &["spark_snappy", "spark_lz4_hadoop", "spark_v2"]),
];

/// Files that are not read as a whole.
const UNREAD: &[&str] = &[
    "beyond_signed",
    "brotli",
    "outside_years",
    "two_of_a_name",
    "encrypted",
    "not_a_number",
    "others",
];

fn parquet_folder() -> PathBuf {
    project().join("tests/parquet")
}

/// The files that can be read, and the rows of each.
fn readable() -> Vec<(String, PathBuf)> {
    let rows_of = |name: &str| {
        let shared = SAME_ROWS.iter().find(|(_, names)| names.contains(&name));
        shared.map_or(name, |(rows, _)| rows).to_owned()
    };
    let entries = fs::read_dir(parquet_folder()).expect("the folder is there");
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some(name.strip_suffix(".parquet")?.to_owned())
    });
    let mut found: Vec<(String, PathBuf)> = names
        .filter(|name| !UNREAD.contains(&name.as_str()))
        .map(|name| {
            let rows = parquet_folder().join(format!("{}.ndjson", rows_of(&name)));
            (name, rows)
        })
        .collect();
    found.sort();
    found
}

fn load(file: &Path, more: &str) -> String {
    format!(
        "[[stage]]\nname = \"load\"\nkind = \"load_parquet\"\nfiles = [\"{}\"]\n{more}\n\
         [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"load\"]\npath = \"rows.ndjson\"\n",
        file.display()
    )
}

/// Documents, one a line.
pub(crate) fn documents(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).expect("documents are UTF-8");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Whether they are the same but for how a number is written.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => {
            one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, value)| other.get(name).is_some_and(|found| same(value, found)))
        }
        _ => one == other,
    }
}

pub(crate) fn assert_same_rows(name: &str, found: &[Value], expected: &[Value]) {
    assert_eq!(found.len(), expected.len(), "{name}: rows");
    for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            same(found, expected),
            "{name}, row {}: {found} is not {expected}",
            row + 1
        );
    }
}

#[test]
fn files_of_other_programs_have_the_rows_that_pyarrow_reads() {
    let names = readable();
    assert!(names.len() > 25, "the files are there");
    for_each(&names, |(name, rows)| {
        let expected = documents(&fs::read(rows).expect("its rows stand beside it"));
        let folder = Folder::new("parquet");
        let file = parquet_folder().join(format!("{name}.parquet"));
        folder.write("pipeline.toml", load(&file, ""));
        for variant in [
            Variant::SEQUENTIAL,
            Variant::SEQUENTIAL.batch_rows(7).staged(),
            Variant::new("hybrid", 2, 2).batch_rows(50),
        ] {
            let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
            assert_eq!(
                outcome.code,
                Some(0),
                "{name} ({variant}): {}",
                outcome.stderr
            );
            assert_eq!(outcome.faults(), Vec::<String>::new(), "{name} ({variant})");
            let found = fs::read(folder.join("rows.ndjson")).expect("it was written");
            assert_same_rows(name, &documents(&found), &expected);
        }
        Vec::<String>::new()
    });
}

#[test]
fn columns_that_are_not_asked_for_may_be_of_any_type() {
    let folder = Folder::new("parquet-columns");
    let file = parquet_folder().join("others.parquet");
    folder.write("pipeline.toml", load(&file, "columns = [\"name\", \"id\"]"));
    let outcome = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let found = fs::read_to_string(folder.join("rows.ndjson")).expect("it was written");
    assert_eq!(found, "{\"name\":\"a\",\"id\":1}\n{\"id\":2}\n");
}

/// Rows of every type, in more than one row group, and groups of them.
const OUT: &str = r#"
[[stage]]
name = "load"
kind = "load_csv"
files = ["in.csv"]
types = { n = "int", f = "float", b = "bool" }

[[stage]]
name = "dates"
kind = "normalize_dates"
inputs = ["load"]
columns = ["at"]

[[stage]]
name = "grouped"
kind = "group_concat"
inputs = ["dates"]
by = "k"
unwrap_single = true

[[stage]]
name = "flat"
kind = "write_files"
inputs = ["dates"]
path = "out/flat.parquet"

[[stage]]
name = "lists"
kind = "write_files"
inputs = ["grouped"]
path = "out/lists.parquet"
compression = "snappy"

[[stage]]
name = "none"
kind = "write_files"
inputs = ["dates"]
path = "out/none.parquet"
compression = "none"

[[stage]]
name = "flat_text"
kind = "write_files"
inputs = ["dates"]
path = "out/flat.ndjson"

[[stage]]
name = "lists_text"
kind = "write_files"
inputs = ["grouped"]
path = "out/lists.ndjson"
"#;

/// The Parquet files read back, and written again.
const BACK: &str = r#"
[[stage]]
name = "flat"
kind = "load_parquet"
files = ["out/none.parquet"]

[[stage]]
name = "lists"
kind = "load_parquet"
files = ["out/lists.parquet"]

[[stage]]
name = "flat_again"
kind = "write_files"
inputs = ["flat"]
path = "back/flat.parquet"

[[stage]]
name = "lists_again"
kind = "write_files"
inputs = ["lists"]
path = "back/lists.parquet"
compression = "snappy"

[[stage]]
name = "flat_text"
kind = "write_files"
inputs = ["flat"]
path = "back/flat.ndjson"

[[stage]]
name = "lists_text"
kind = "write_files"
inputs = ["lists"]
path = "back/lists.ndjson"
"#;

/// Rows for [`OUT`].
pub(crate) fn csv(rows: usize) -> String {
    let mut csv = String::from("k,n,f,b,at,s\n");
    for i in 0..rows {
        let day = 1 + i % 28;
        let key = i / 2 + i % 2;
        csv.push_str(&format!(
            "{key},{i},{}.25,t,2020-01-{day} 1:2:3.{i:06},é {i}\n",
            i % 9
        ));
    }
    csv.push_str(",,,,,\n");
    csv
}

#[test]
fn parquet_files_bring_back_types_dates_and_marks() {
    let folder = Folder::new("parquet-back");
    // More than the 122,880 rows of one row group.
    folder.write("in.csv", csv(130_000));
    folder.write("out.toml", OUT);
    folder.write("back.toml", BACK);
    let mut first: Option<BTreeMap<String, Vec<u8>>> = None;
    for variant in [
        Variant::SEQUENTIAL.batch_rows(1000),
        Variant::SEQUENTIAL.staged(),
        Variant::new("threads", 1, 2),
        Variant::new("processes", 2, 1).batch_rows(777),
        Variant::new("hybrid", 2, 2),
    ] {
        for pipeline in ["out.toml", "back.toml"] {
            let outcome = Etl::run(folder.path(), pipeline, variant).outcome();
            let code = outcome.code;
            assert_eq!(code, Some(0), "{pipeline} ({variant}): {}", outcome.stderr);
            assert_eq!(
                outcome.faults(),
                Vec::<String>::new(),
                "{pipeline} ({variant})"
            );
        }
        let (out, mut back) = (files(&folder.join("out")), files(&folder.join("back")));
        for (name, bytes) in &back {
            assert!(
                out[name] == *bytes,
                "{variant}: {name} did not come back as it was"
            );
        }
        let text = String::from_utf8(out["lists.ndjson"].clone()).expect("documents are UTF-8");
        let mut lines = text.lines();
        let single = lines
            .find(|line| line.starts_with("{\"k\":\"0\","))
            .expect("it is there");
        assert!(
            single.contains("\"n\":0,"),
            "the mark of a single value came back: {single}"
        );
        back.extend(out);
        match &first {
            None => first = Some(back),
            Some(first) => {
                let differ = first.iter().find(|(name, bytes)| back[*name] != **bytes);
                let differ = differ.map(|(name, _)| name);
                assert_eq!(differ, None, "{variant}: not the same bytes");
            }
        }
    }
}

/// A Python that has pyarrow and `DuckDB`, installed beside the build; none: a line says why.
pub(crate) fn readers() -> Option<PathBuf> {
    let skipped = |why: &str| {
        let line = format!("skipped: there are no readers of Parquet and Arrow: {why}");
        let is_required = std::env::var_os("ETL_REQUIRE_SERVERS").is_some();
        assert!(!is_required, "{line}, and ETL_REQUIRE_SERVERS is set");
        println!("{line}");
        None
    };
    if !has_python() {
        return skipped("there is no python3");
    }
    let packages = project().join("target/parquet-readers");
    let has_both = || {
        let mut python = Command::new("python3");
        python.args(["-c", "import pyarrow.parquet, duckdb"]);
        python
            .env("PYTHONPATH", &packages)
            .output()
            .is_ok_and(|done| done.status.success())
    };
    if has_both() {
        return Some(packages);
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--target"]);
    let done = pip.arg(&packages).args(["pyarrow", "duckdb"]).output();
    match done {
        Ok(_) if has_both() => Some(packages),
        Ok(done) => skipped(&String::from_utf8_lossy(&done.stderr)),
        Err(error) => skipped(&error.to_string()),
    }
}

#[test]
fn pyarrow_and_duckdb_read_what_is_written() {
    let Some(packages) = readers() else { return };
    let folder = Folder::new("parquet-readers");
    folder.write("in.csv", csv(130_000));
    folder.write("out.toml", OUT);
    let outcome = Etl::run(folder.path(), "out.toml", Variant::SEQUENTIAL).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let done = Command::new("python3")
        .arg(parquet_folder().join("read_back.py"))
        .arg(folder.join("out"))
        .env("PYTHONPATH", OsStr::new(&packages))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("it was asked for its version");
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert_eq!(said.matches("the same").count(), 6, "{said}");
}
