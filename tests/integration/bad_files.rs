//! Files that are damaged, odd or not what the options say, as tables: what a user needs of each (the place, what
//! was found and expected, what to do), the same under every executor.

use serde_json::Value;

use crate::harness::{Etl, Folder, Variant, for_each};

const VARIANTS: [Variant; 4] = [
    Variant::SEQUENTIAL,
    Variant::new("threads", 1, 2).batch_rows(1),
    Variant::new("processes", 2, 1).batch_rows(2),
    Variant::new("hybrid", 2, 2).staged(),
];

/// A file and what must come of it.
pub(crate) struct BadFile {
    /// What is wrong with it.
    pub(crate) name: &'static str,
    /// More options of the stage that loads it.
    pub(crate) options: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) exit: i32,
    /// Parts of what is said, on stderr or in a reject, all of which must be there.
    pub(crate) says: &'static [&'static str],
    /// The documents that are written all the same, one after the other.
    pub(crate) rows: &'static str,
}

/// Loads each as `file`, by stages of `kind`.
pub(crate) fn check(kind: &str, file: &str, table: &[BadFile]) {
    for_each(table, |bad| {
        let mut faults = Vec::new();
        let first = run(kind, file, bad, VARIANTS[0]);
        faults.extend(faults_of(bad, &first));
        for variant in &VARIANTS[1..] {
            let other = run(kind, file, bad, *variant);
            if other != first {
                faults.push(format!("not as sequentially ({variant}): {other:?}"));
            }
        }
        let named = |fault| format!("{}: {fault}", bad.name);
        faults.into_iter().map(named).collect()
    });
}

/// What is visible of a run.
#[derive(Debug, PartialEq)]
struct Seen {
    code: Option<i32>,
    said: String,
    rows: String,
}

fn run(kind: &str, file: &str, bad: &BadFile, variant: Variant) -> Seen {
    let folder = Folder::new("bad_files");
    folder.write(file, &bad.bytes);
    let options = bad.options;
    folder.write(
        "pipeline.toml",
        format!(
            "max_rejects = -1\n\
             [[stage]]\nname = \"load\"\nkind = \"{kind}\"\nfiles = [\"{file}\"]\n{options}\n\
             [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"load\"]\n\
             path = \"out/rows.ndjson\"\n"
        ),
    );
    let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
    // How far a run had come that failed is a matter of luck.
    let rejects = match outcome.code {
        Some(0) => rejects_in_words(&outcome.rejects),
        _ => String::new(),
    };
    let rows = std::fs::read_to_string(folder.join("out/rows.ndjson"));
    Seen {
        code: outcome.code,
        said: outcome.stderr + &rejects,
        rows: rows.unwrap_or_default().replace('\n', ""),
    }
}

fn faults_of(bad: &BadFile, seen: &Seen) -> Vec<String> {
    let mut faults = Vec::new();
    if seen.code != Some(bad.exit) {
        faults.push(format!("want exit {}, got {seen:?}", bad.exit));
    }
    let lacks = bad.says.iter().filter(|part| !seen.said.contains(**part));
    faults.extend(lacks.map(|part| format!("`{part}` is not said:\n{}", seen.said)));
    if seen.rows != bad.rows {
        faults.push(format!("want `{}`, got `{}`", bad.rows, seen.rows));
    }
    faults
}

/// Rejects in words, a line each.
fn rejects_in_words(text: &str) -> String {
    let mut words = String::new();
    for line in text.lines() {
        let reject: Value = serde_json::from_str(line).expect("a reject is JSON");
        let at = &reject["source"];
        let column = reject["column"].as_str().unwrap_or("-");
        words += &format!(
            "{}: column {column}, record {}, line {}, byte {}\n",
            reject["reason"].as_str().unwrap_or_default(),
            at["record"],
            at["line"],
            at["byte"]
        );
    }
    words
}
