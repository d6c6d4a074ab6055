//! The same rows, the same order and the same rejects under every executor, whatever fails.

use std::fs;

use serde_json::json;

use super::{documents, folder, reasons};
use crate::harness::{Etl, Variant, for_each};

/// What a command does is written in its item's number.
const BY_ITEM: &str = r#"
command = ["sh", "-c", '''
case $(($1 % 7)) in
  0) exit 3 ;;
  1) echo one; echo two ;;
  2) ;;
  3) echo gone >&2; kill -KILL $$ ;;
  4) head -c 200000 /dev/zero ;;
  5) echo a; echo oops >&2 ;;
  6) printf '\377\n' ;;
esac
''', "sh", "{id}"]
max_output_bytes = 100000
"#;

#[test]
fn rows_order_and_rejects_are_those_of_the_items() {
    let items = 70;
    let mut out = Vec::new();
    let mut why = Vec::new();
    for id in 1..=items {
        let mut row = |line: &str| out.push(json!({ "id": id.to_string(), "line": line }));
        match id % 7 {
            0 => why.push("the command ended with status 3"),
            1 => ["one", "two"].into_iter().for_each(row),
            2 => {}
            3 => why.push("the command was killed by SIGKILL, saying `gone`"),
            4 => why.push(
                "the command was ended: it printed more than 100000 bytes (`max_output_bytes`)",
            ),
            5 => row("a"),
            _ => why.push("what the command printed cannot be used"),
        }
    }
    let variants = [
        Variant::SEQUENTIAL,
        Variant::SEQUENTIAL.staged(),
        Variant::new("threads", 1, 3),
        Variant::new("processes", 3, 1),
        Variant::new("hybrid", 2, 2),
        Variant::new("hybrid", 2, 2).staged(),
    ];
    let first = std::sync::Mutex::new(None);
    for_each(&variants, |variant| {
        let folder = folder(&BY_ITEM.replace("$$", "$$$$"), items);
        let outcome = Etl::run(folder.path(), "pipeline.toml", *variant).outcome();
        let mut faults = outcome.faults();
        if outcome.code != Some(0) || documents(&folder.join("out.ndjson")) != out {
            faults.push(format!(
                "{:?}: not the right rows: {}",
                outcome.code, outcome.stderr
            ));
        }
        let got = reasons(&outcome);
        if got.len() != why.len() || !got.iter().zip(&why).all(|(got, why)| got.starts_with(why)) {
            faults.push(format!("not the right rejects: {got:?}"));
        }
        let stage = outcome.stage("run");
        let books = ["rows_in", "added", "rows_out", "rejected", "dropped"].map(|key| &stage[key]);
        if books != [&json!(70), &json!(10), &json!(30), &json!(40), &json!(10)] {
            faults.push(format!("not the right books: {stage}"));
        }
        // Nothing of where and when it ran is in a reject.
        let mut first = first.lock().expect("no one panics holding it");
        let rejects = first.get_or_insert_with(|| outcome.rejects.clone());
        if *rejects != outcome.rejects {
            faults.push("other rejects than under another executor".into());
        }
        faults
            .iter()
            .map(|fault| format!("{variant}: {fault}"))
            .collect()
    });
}

#[test]
fn items_of_a_batch_are_told_apart_by_key_or_by_place() {
    let cases = [
        // What goes in as documents comes out by key, in any order, and one without an answer is a reject.
        (
            r#"
command = ["sh", "-c", "grep -v 13 | sort -r"]
stdin = "ndjson"
output = "ndjson"
key = { id = "/id" }
columns = { same = "/id" }
types = { same = "int" }
batch = 7
"#,
            Some(13),
        ),
        (
            r#"
command = ["awk", "{print $1}"]
stdin = "lines"
stdin_column = "id"
columns = ["same"]
types = { same = "int" }
batch = 7
"#,
            None,
        ),
        (
            r#"
command = ["sh", "-c", 'printf "n,x\n"; for i; do printf "%s,\"a\nb\"\n" "$i"; done', "sh", "{id}"]
output = "csv"
columns = { same = "n" }
types = { same = "int" }
key = { id = "n" }
batch = 7
"#,
            None,
        ),
        (
            r#"
command = ["sh", "-c", "echo $1 | tr , '\n' | awk '{print $1}'", "sh", "{id,}"]
columns = ["same"]
types = { same = "int" }
batch = 7
"#,
            None,
        ),
        (
            r#"
command = "printf %s {id,}, | tr , '\n'"
shell = true
columns = ["same"]
types = { same = "int" }
batch = 7
"#,
            None,
        ),
        (
            r#"
command = "for i in {id}; do echo $i; done"
shell = true
columns = ["same"]
types = { same = "int" }
batch = 7
"#,
            None,
        ),
    ];
    for (exec, lost) in cases {
        let folder = folder(exec, 40);
        let ids = (1..=40).filter(|id| Some(*id) != lost);
        let want: Vec<_> = ids
            .map(|id| json!({ "id": id.to_string(), "same": id }))
            .collect();
        for variant in Variant::EACH {
            let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
            assert_eq!(outcome.code, Some(0), "{variant}: {}{exec}", outcome.stderr);
            assert_eq!(outcome.faults(), Vec::<String>::new(), "{variant}: {exec}");
            assert_eq!(
                documents(&folder.join("out.ndjson")),
                want,
                "{variant}: {exec}"
            );
            assert_eq!(reasons(&outcome).len(), lost.iter().count(), "{variant}");
            assert_eq!(
                outcome.stage("run")["batches"],
                6,
                "{variant}: 40 items by 7"
            );
        }
    }
}

#[test]
fn the_dealing_of_items_does_not_depend_on_how_they_came() {
    // Two files of which one ends within a batch, and blocks of a row each.
    let exec = r#"
command = ["sh", "-c", "for i; do echo $*; done", "sh", "{id}"]
batch = 4
"#;
    let folder = folder(exec, 10);
    let mut seen = Vec::new();
    for files in ["[\"in.csv\"]", "[\"a.csv\", \"b.csv\"]"] {
        folder.write("a.csv", "id\n1\n2\n3\n4\n5\n");
        folder.write("b.csv", "id\n6\n7\n8\n9\n10\n");
        for variant in Variant::EACH {
            let outcome = Etl::run(folder.path(), "pipeline.toml", variant)
                .args([
                    "--set",
                    &format!("items.files={files}"),
                    "--set",
                    "items.batch_rows=1",
                ])
                .outcome();
            assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
            seen.push(fs::read_to_string(folder.join("out.ndjson")).expect("it was written"));
        }
    }
    assert!(seen[0].contains(r#""line":"5 6 7 8""#), "{}", seen[0]);
    assert!(seen.iter().all(|other| *other == seen[0]));
}
