//! A system that refuses threads and processes, from the first one on, from the second, and so on: the run
//! ends in order, whichever it was.

use std::time::{Duration, Instant};

use super::shim;
use crate::harness::{Etl, Folder, Variant, children, files, for_each};

/// Every part that starts threads or processes: files read side by side, executors, commands, an embedded
/// index, and a sink that is no regular file.
const PIPELINE: &str = r#"
[[stage]]
name = "load"
kind = "load_csv"
files = ["a.csv", "b.csv"]

[[stage]]
name = "asked"
kind = "exec"
inputs = ["load"]
command = ["echo", "{id}"]

[[stage]]
name = "index"
kind = "bulk_index"
inputs = ["asked"]
to = "local:out/index"

[[stage]]
name = "write"
kind = "write_files"
inputs = ["load"]
path = "/dev/null"
format = "csv"
"#;

/// Longer than any of these runs takes; one that waits for a thread that never was waits for ever.
const SOON: Duration = Duration::from_secs(20);
/// More than any of these runs starts.
const MOST: usize = 100;

#[test]
fn whichever_thread_or_process_is_refused_the_run_ends_in_order() {
    let compiled = Folder::new("shim");
    let Some(shim) = shim(&compiled) else { return };
    let mut tries = Vec::new();
    for variant in Variant::EACH {
        tries.extend(["parent", "worker"].map(|who| (variant, who)));
    }
    for_each(&tries, |&(variant, who)| {
        let folder = Folder::new("threads");
        folder.write("pipeline.toml", PIPELINE);
        for file in ["a.csv", "b.csv"] {
            folder.write(file, "id,text\n1,one\n2,two\n");
        }
        let mut faults = Vec::new();
        for from in 1..=MOST {
            let began = Instant::now();
            let running = Etl::run(folder.path(), "pipeline.toml", variant)
                .env("LD_PRELOAD", &shim)
                .env("SHIM_IN", who)
                .env("SHIM_FROM", from.to_string())
                .start();
            let pid = running.child.id();
            let outcome = running.outcome();
            let mut fault = |what: &str| {
                faults.push(format!(
                    "{variant}, {who} {from}: {what}\n{}",
                    outcome.stderr
                ));
            };
            if began.elapsed() > SOON {
                fault("it took too long");
            }
            if outcome.stderr.contains("panicked") {
                fault("it panicked");
            }
            if !children(pid).is_empty() {
                fault("it left children");
            }
            if outcome.code == Some(0) {
                // All that it starts was granted.
                return faults;
            }
            if outcome.code != Some(1) || !outcome.stderr.contains("cannot start") {
                fault(&format!("it ended with {:?}", outcome.code));
            }
            let left = files(&folder.join("out"));
            if !left.is_empty() {
                fault(&format!("it left {:?}", left.keys()));
            }
        }
        faults.push(format!("{variant}, {who}: no run succeeded"));
        faults
    });
}
