//! `exec` from outside: the law with commands that fail by item, faults one by one, what is left of a run
//! that is stopped or killed (nothing), and what one that goes on does not do again.

mod equivalence;
mod faults;
mod resume;
mod stops;

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Folder, Outcome, is_alive};

/// A pipeline that reads `in.csv`, runs a command a batch and writes `out.ndjson`.
pub(super) fn pipeline(exec: &str) -> String {
    format!(
        r#"
max_rejects = -1
[[stage]]
name = "items"
kind = "load_csv"
files = ["in.csv"]
[[stage]]
name = "run"
kind = "exec"
inputs = ["items"]
{exec}
[[stage]]
name = "write"
kind = "write_files"
inputs = ["run"]
path = "out.ndjson"
"#
    )
}

/// A folder with that pipeline and the items `1` to `items`.
pub(super) fn folder(exec: &str, items: usize) -> Folder {
    let folder = Folder::new("exec");
    folder.write("pipeline.toml", pipeline(exec));
    let ids: Vec<String> = (1..=items).map(|id| id.to_string()).collect();
    folder.write("in.csv", format!("id\n{}\n", ids.join("\n")));
    folder
}

/// The documents of a file, a line each; none if it is not there.
pub(super) fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let parse = |line: &str| serde_json::from_str(line).expect("a line is a document");
    text.lines().map(parse).collect()
}

/// The reasons of all rejects, in order.
pub(super) fn reasons(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.rejects.lines();
    let reject = |line| serde_json::from_str::<Value>(line).expect("a reject is JSON");
    lines
        .map(|line| {
            reject(line)["reason"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

/// The processes that know of `folder`: commands name it, or stand in it.
pub(super) fn in_folder(folder: &Folder) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("this is Linux").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stands = fs::read_link(format!("/proc/{pid}/cwd"));
        *pid != std::process::id()
            && stands.is_ok_and(|stands| stands == folder.path())
            && is_alive(*pid)
    })
    .collect()
}
