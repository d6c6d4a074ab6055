//! Arrow files and streams of other programs, ours read by them, and damaged ones. `tests/arrow/make.py` made the files
//! that are read here.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::{Etl, Folder, Variant, files, for_each, project};
use crate::parquet::{assert_same_rows, csv, documents, readers};

/// Files that have the rows of `common.ndjson`.
const COMMON: &[&str] = &[
    "plain.arrow",
    "lz4.arrow",
    "zstd.arrow",
    "feather.arrow",
    "polars_lz4.arrow",
    "polars_zstd.arrow",
    "stream.arrows",
    "stream_lz4.arrows",
    "stream_zstd.arrows",
    "stream_before_2019.arrows",
];

/// Others, and their rows.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "dictionaries",
        &["delta.arrow", "delta.arrows", "replaced.arrows"],
    ),
    ("no_rows", &["no_rows.arrow", "no_rows.arrows"]),
];

fn arrow_folder() -> PathBuf {
    project().join("tests/arrow")
}

fn arrow(name: &str) -> Vec<u8> {
    fs::read(arrow_folder().join(name)).expect("make.py made it")
}

fn load(files: &str) -> String {
    format!(
        "[[stage]]\nname = \"load\"\nkind = \"load_arrow\"\nfiles = [{files}]\n\
         [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"load\"]\npath = \"rows.ndjson\"\n"
    )
}

/// Each file that can be read, and the name of its rows.
fn readable() -> Vec<(&'static str, &'static str)> {
    let common = COMMON.iter().map(|file| (*file, "common"));
    let others = OTHERS
        .iter()
        .flat_map(|(rows, files)| files.iter().map(|file| (*file, *rows)));
    common.chain(others).collect()
}

#[test]
fn every_file_there_is_tried() {
    let names = files(&arrow_folder()).into_keys();
    let there = names.filter(|name| name.contains(".arrow")).count();
    assert_eq!(there, readable().len());
}

#[test]
fn files_of_other_programs_have_the_rows_that_pyarrow_reads() {
    for_each(&readable(), |&(name, rows)| {
        let rows = fs::read(arrow_folder().join(format!("{rows}.ndjson")));
        let expected = documents(&rows.expect("its rows stand beside it"));
        let folder = Folder::new("arrow-files");
        folder.write("in", arrow(name));
        folder.write("file.toml", load("\"in\""));
        folder.write("stdin.toml", load("\"-\""));
        for (pipeline, variant) in [
            ("file.toml", Variant::SEQUENTIAL),
            ("file.toml", Variant::SEQUENTIAL.batch_rows(7).staged()),
            ("file.toml", Variant::new("hybrid", 2, 2).batch_rows(9)),
            ("stdin.toml", Variant::SEQUENTIAL),
            ("stdin.toml", Variant::new("processes", 2, 1)),
        ] {
            // Their columns are described at their end only.
            if name.starts_with("polars") && pipeline == "stdin.toml" {
                continue;
            }
            let etl = Etl::run(folder.path(), pipeline, variant).stdin(arrow(name));
            let outcome = etl.outcome();
            let what = format!("{name}, {pipeline} ({variant})");
            assert_eq!(outcome.code, Some(0), "{what}: {}", outcome.stderr);
            assert_eq!(outcome.faults(), Vec::<String>::new(), "{what}");
            let found = fs::read(folder.join("rows.ndjson")).expect("it was written");
            assert_same_rows(&what, &documents(&found), &expected);
        }
        Vec::<String>::new()
    });
}

#[test]
fn a_named_pipe_is_opened_once() {
    let folder = Folder::new("arrow-pipe");
    mkfifo(&folder.join("pipe"), Mode::S_IRWXU).expect("a pipe");
    folder.write("pipeline.toml", load("\"pipe\""));
    let running = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).start();
    let pipe = OpenOptions::new().write(true).open(folder.join("pipe"));
    let mut pipe = pipe.expect("the run opens it");
    pipe.write_all(&arrow("stream_lz4.arrows"))
        .expect("the run reads it");
    drop(pipe);
    let outcome = running.outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let found = fs::read(folder.join("rows.ndjson")).expect("it was written");
    assert_eq!(documents(&found).len(), 40);
}

/// A file and what is said of it.
struct Fault {
    name: &'static str,
    bytes: Vec<u8>,
    says: &'static [&'static str],
}

fn faults() -> Vec<Fault> {
    const AGAIN: &str = "copy or write the file again";
    const COMPLETE: &str = "run again once it is complete";
    let fault = |name, bytes: &[u8], says| Fault {
        name,
        bytes: bytes.to_vec(),
        says,
    };
    let (plain, stream) = (arrow("plain.arrow"), arrow("stream.arrows"));
    let with = |at: usize, bytes: &[u8]| {
        let mut file = plain.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let end = plain.len();
    vec![
        fault(
            "no bytes",
            b"",
            &["not an Arrow IPC file or stream", "it is empty"],
        ),
        fault(
            "text",
            b"id,name\n1,Ada\n",
            &["not an Arrow IPC file or stream"],
        ),
        fault(
            "a file without its last byte",
            &plain[..end - 1],
            &["cut off", COMPLETE],
        ),
        fault(
            "the first half of a file",
            &plain[..end / 2],
            &["cut off", COMPLETE],
        ),
        fault(
            "the first half of a stream",
            &stream[..stream.len() / 2],
            &["is cut off within record batch", COMPLETE],
        ),
        fault(
            "a footer longer than the file",
            &with(end - 10, &[0xFF, 0xFF, 0xFF, 0x7F]),
            &["footer is damaged", "2147483647 bytes", AGAIN],
        ),
        fault(
            "a record batch of other bytes",
            &with(4000, &[0xFF; 400]),
            &["record batch 1 is damaged", AGAIN],
        ),
        fault(
            "a stream of other bytes",
            &[&stream[..stream.len() / 2], &[0x7F; 4000]].concat(),
            &["record batch", "is damaged", AGAIN],
        ),
        fault(
            "two streams",
            &[stream.clone(), stream.clone()].concat(),
            &["bytes follow its end"],
        ),
    ]
}

#[test]
fn a_damaged_file_is_an_error_that_says_so() {
    for_each(&faults(), |fault| {
        let folder = Folder::new("arrow-fault");
        folder.write("in.arrow", &fault.bytes);
        folder.write("pipeline.toml", load("\"in.arrow\""));
        let mut said = None;
        for variant in [
            Variant::SEQUENTIAL,
            Variant::new("threads", 1, 2).batch_rows(7),
            Variant::new("processes", 2, 1),
        ] {
            let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
            let what = format!("{} ({variant}): {}", fault.name, outcome.stderr);
            assert_eq!(outcome.code, Some(1), "{what}");
            for part in fault.says.iter().chain(&["in.arrow"]) {
                assert!(outcome.stderr.contains(part), "`{part}` is missing: {what}");
            }
            assert!(!folder.join("rows.ndjson").exists(), "{what}");
            let error = outcome
                .stderr
                .lines()
                .find(|line| line.starts_with("error"));
            let error = error.map(str::to_owned);
            assert_eq!(*said.get_or_insert(error.clone()), error, "{what}");
        }
        Vec::<String>::new()
    });
}

/// Rows of every type, and groups of them.
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
path = "out/flat.arrow"

[[stage]]
name = "lists"
kind = "write_files"
inputs = ["grouped"]
path = "out/lists.arrow"

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

#[test]
fn pyarrow_reads_what_is_written() {
    let Some(packages) = readers() else { return };
    let folder = Folder::new("arrow-readers");
    folder.write("in.csv", csv(70_000));
    folder.write("out.toml", OUT);
    let outcome = Etl::run(folder.path(), "out.toml", Variant::SEQUENTIAL).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let done = Command::new("python3")
        .arg(project().join("tests/parquet/read_back.py"))
        .arg(folder.join("out"))
        .env("PYTHONPATH", OsStr::new(&packages))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("it was asked for its version");
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert_eq!(said.matches("the same").count(), 2, "{said}");
}
