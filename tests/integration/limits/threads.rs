//! A system that refuses threads and processes, from the first one on, from the second, and so on: the run
//! ends in order, whichever it was. So it does where the address space is small.

use std::process::Command;
use std::time::{Duration, Instant};

use super::shim;
use crate::harness::{ETL, Etl, Folder, Variant, children, files, for_each};

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

const FILES_ONLY: &str = r#"
[[stage]]
name = "load"
kind = "load_csv"
files = ["a.csv", "b.csv"]
batch_rows = 500

[[stage]]
name = "write"
kind = "write_files"
inputs = ["load"]
path = "out/rows.csv"
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
            if outcome.code != Some(1)
                || !outcome.stderr.contains("cannot start")
                || !outcome.stderr.contains("`ulimit -u`")
            {
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

#[test]
fn however_small_the_address_space_the_run_ends_in_order() {
    let tries: Vec<_> = Variant::EACH
        .into_iter()
        .flat_map(|variant| [false, true].map(|few_arenas| (variant, few_arenas)))
        .collect();
    // Below this the system cannot load the program.
    let least = (60..200).step_by(25).find(|&megabytes| {
        let limited = format!("ulimit -v {}; exec \"$0\" --version", megabytes * 1024);
        let started = Command::new("sh").args(["-c", &limited, ETL]).output();
        started.expect("there is a shell").status.success()
    });
    let least = least.expect("the program is smaller than that");
    for_each(&tries, |&(variant, few_arenas)| {
        let folder = Folder::new("space");
        folder.write("pipeline.toml", FILES_ONLY);
        let rows: Vec<String> = (0..20_000).map(|i| format!("{i},text {i}\n")).collect();
        let rows = rows.concat();
        for file in ["a.csv", "b.csv"] {
            folder.write(file, format!("id,text\n{rows}"));
        }
        let mut faults = Vec::new();
        let mut succeeded = 0;
        for megabytes in (least..400).step_by(25).chain([700, 1_500, 4_000]) {
            let limited = format!("ulimit -v {}; exec \"$0\" \"$@\"", megabytes * 1024);
            let mut command = Command::new("sh");
            command.args(["-c", &limited, ETL]);
            let mut etl = Etl::run_by(command, folder.path(), "pipeline.toml", variant);
            if few_arenas {
                etl = etl.env("MALLOC_ARENA_MAX", "2");
            }
            let outcome = etl.outcome();
            let left = files(&folder.join("out"));
            let in_order = match outcome.code {
                Some(0) => left.keys().eq(["rows.csv"]),
                Some(1) => left.is_empty() && outcome.stderr.contains("ulimit -v"),
                _ => false,
            };
            if !in_order {
                faults.push(format!(
                    "{variant}, {megabytes} MB: {:?}, {:?}\n{}",
                    outcome.code,
                    left.keys(),
                    outcome.stderr
                ));
            }
            if outcome.code == Some(0) {
                succeeded += 1;
                std::fs::remove_file(folder.join("out/rows.csv")).expect("it is there");
            }
        }
        if succeeded == 0 {
            faults.push(format!("{variant}: no run succeeded"));
        }
        faults
    });
}
