//! Nobody outlives a run: not where it is stopped, not where it is killed, not where a worker is.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{documents, folder, in_folder, reasons};
use crate::harness::{Etl, Folder, Running, Variant, children, is_alive, wait_until};

/// Commands that say that they have begun, and have children, and do not go by themselves.
const LASTING: &str = r#"
command = ["sh", "-c", '''
trap "" TERM
echo $$$$ > began-$1.part
mv began-$1.part began-$1
(while :; do sleep 3600; done) &
while :; do sleep 3600; done
''', "sh", "{id}"]
grace_ms = 200
"#;

fn send(pid: u32, signal: Signal) {
    kill(
        Pid::from_raw(i32::try_from(pid).expect("pids are small")),
        signal,
    )
    .expect("it is there");
}

/// The commands that have begun.
fn begun(folder: &Folder) -> Vec<u32> {
    let entries = fs::read_dir(folder.path()).expect("it is there").flatten();
    let began = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("began-") && !name.contains(".part")
    });
    let pid = |text: String| text.trim().parse().expect("a number");
    began
        .map(|entry| pid(fs::read_to_string(entry.path()).expect("it is there")))
        .collect()
}

/// A run whose workers all have a command at work.
fn at_work(variant: Variant) -> (Folder, Running, Vec<u32>) {
    let folder = folder(LASTING, 20);
    let running = Etl::run(folder.path(), "pipeline.toml", variant).start();
    let workers = usize::try_from(variant.processes * variant.threads).expect("a few");
    wait_until("commands are at work", || begun(&folder).len() == workers);
    let commands = begun(&folder);
    (folder, running, commands)
}

#[test]
fn a_stopped_run_ends_what_it_has_started_before_it_ends() {
    for variant in Variant::EACH {
        for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let (folder, running, commands) = at_work(variant);
            send(running.child.id(), signal);
            let outcome = running.outcome();
            assert_eq!(outcome.code, Some(code), "{variant}: {}", outcome.stderr);
            assert!(
                !commands.iter().any(|&pid| is_alive(pid)),
                "{variant}, {signal}"
            );
            assert_eq!(in_folder(&folder), Vec::<u32>::new(), "{variant}, {signal}");
            assert!(!folder.join("out.ndjson").exists());
        }
    }
}

#[test]
fn a_killed_run_leaves_no_command() {
    for variant in Variant::EACH {
        let (folder, running, commands) = at_work(variant);
        send(running.child.id(), Signal::SIGKILL);
        assert_eq!(running.outcome().signal, Some(9), "{variant}");
        wait_until("the commands have ended", || {
            !commands.iter().any(|&pid| is_alive(pid)) && in_folder(&folder).is_empty()
        });
    }
}

#[test]
fn a_run_that_fails_elsewhere_ends_its_commands() {
    for variant in Variant::EACH {
        let fails = LASTING.replace(
            "trap",
            "[ $$1 = 1 ] && { until [ -e began-2 ]; do :; done; exit 1; }\ntrap",
        );
        let folder = folder(&(fails + "on_error = \"fail\""), 20);
        let variant = match variant.executor {
            "sequential" => Variant::new("threads", 1, 3),
            _ => variant,
        };
        let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
        assert_eq!(outcome.code, Some(1), "{variant}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains("ended with status 1"),
            "{}",
            outcome.stderr
        );
        assert_eq!(in_folder(&folder), Vec::<u32>::new(), "{variant}");
    }
}

#[test]
fn where_a_worker_dies_only_what_may_be_repeated_is() {
    // The first time item 2 waits, in a session that its worker leads; the second time it answers.
    let waits = r#"
command = ["sh", "-c", "[ $1 != 2 ] || [ -e again ] || { touch again; echo $$$$ > began-2.part; mv began-2.part began-2; exec sleep 3600; }; echo fine", "sh", "{id}"]
"#;
    for variant in Variant::EACH {
        for idempotent in [true, false] {
            let folder = folder(&format!("{waits}\nidempotent = {idempotent}"), 4);
            let running = Etl::run(folder.path(), "pipeline.toml", variant).start();
            wait_until("item 2 waits", || !begun(&folder).is_empty());
            let command = begun(&folder)[0];
            let of_it = |worker: &u32| children(*worker).contains(&command);
            let worker = children(running.child.id()).into_iter().find(of_it);
            send(worker.expect("commands are a worker's"), Signal::SIGKILL);
            let outcome = running.outcome();
            assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
            assert_eq!(outcome.faults(), Vec::<String>::new(), "{variant}");
            assert!(!is_alive(command), "{variant}: it outlives its worker");
            let out = documents(&folder.join("out.ndjson"));
            let row = |id: &str| json!({ "id": id, "line": "fine" });
            if idempotent {
                assert_eq!(out, ["1", "2", "3", "4"].map(row), "{variant}");
            } else {
                // What the same worker had in hand beside it is told as well.
                let lost = reasons(&outcome);
                assert!(
                    !lost.is_empty() && lost.iter().all(|why| why == "worker died"),
                    "{lost:?}"
                );
                assert_eq!(out.len() + lost.len(), 4, "{variant}");
                assert!(!out.contains(&row("2")), "{variant}");
            }
        }
    }
}
