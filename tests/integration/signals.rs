//! Runs that are told to stop, and runs that lose a child. The input comes through a pipe that the test
//! holds open, so that every moment it wants can be waited for and none is a matter of luck.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use crate::generate_donors::write_dumps;
use crate::harness::{
    ETL, Etl, Folder, Running, Variant, children, files, is_alive, project, stat, wait_until,
};

const OLD: &[u8] = b"{\"old\":true}\n";

const PIPELINE: &str = r#"
[[stage]]
name = "load"
kind = "load_csv"
files = ["-"]
columns = ["id", "at", "text"]
types = { id = "int" }

[[stage]]
name = "dates"
kind = "normalize_dates"
inputs = ["load"]
columns = ["at"]

[[stage]]
name = "write"
kind = "write_files"
inputs = ["dates"]
path = "out/rows.ndjson"
"#;

const WITH_CHILDREN: [Variant; 2] = [
    Variant::new("processes", 2, 1).batch_rows(500),
    Variant::new("hybrid", 2, 2).batch_rows(500),
];

/// Some 4 MB: several blocks of text, hundreds of batches.
fn rows() -> Vec<u8> {
    let mut text = Vec::new();
    for i in 0..60_000 {
        let (month, day) = (1 + i % 12, 1 + i % 28);
        writeln!(
            text,
            "{i},2020-{month}-{day} 1:2:3,the text of row number {i} éß"
        )
        .expect("memory takes it");
    }
    text
}

/// What those rows become.
fn documents() -> Vec<u8> {
    let mut text = Vec::new();
    for i in 0..60_000 {
        let (month, day) = (1 + i % 12, 1 + i % 28);
        writeln!(
            text,
            "{{\"id\":{i},\"at\":\"2020-{month:02}-{day:02}T01:02:03\",\
             \"text\":\"the text of row number {i} éß\"}}"
        )
        .expect("memory takes it");
    }
    text
}

fn folder() -> Folder {
    let folder = Folder::new("signals");
    folder.write("pipeline.toml", PIPELINE);
    folder.write("out/rows.ndjson", OLD);
    folder
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("pids are small"));
    // It may have ended a moment ago.
    let _ = kill(pid, signal);
}

/// Bytes in the temporary file of the output; 0 if there is none.
fn part_bytes(out: &Path) -> u64 {
    let entries = fs::read_dir(out).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".part"))
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// A run that has read more than half of its input, has written some, and waits for the rest.
fn half_done(folder: &Folder, variant: Variant) -> (Running, Vec<u8>) {
    let mut rest = rows();
    let first: Vec<u8> = rest.drain(..rest.len() * 2 / 3).collect();
    let mut running = Etl::run(folder.path(), "pipeline.toml", variant).start_fed();
    feed(&mut running, &first);
    wait_until("something is written", || {
        part_bytes(&folder.join("out")) > 0
    });
    (running, rest)
}

fn feed(running: &mut Running, bytes: &[u8]) {
    let pipe = running.child.stdin.as_mut().expect("it is held open");
    pipe.write_all(bytes).expect("the run reads on");
}

/// The run's own children; an executor with processes must have some.
fn workers(running: &Running, variant: Variant) -> Vec<u32> {
    let parent = running.child.id();
    if variant.processes > 1 {
        wait_until("there are children", || !children(parent).is_empty());
    }
    children(parent)
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let folder = folder();
    for variant in Variant::EACH {
        for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let (running, _rest) = half_done(&folder, variant.batch_rows(500));
            let workers = workers(&running, variant);
            send(running.child.id(), signal);
            let outcome = running.outcome();
            assert_eq!(outcome.code, Some(code), "{variant}: {}", outcome.stderr);
            assert_eq!(outcome.faults(), Vec::<String>::new(), "{variant}");
            let untouched = "note: nothing was published: `out/rows.ndjson` is as it was before\n";
            assert!(
                outcome.stderr.contains(untouched),
                "{variant}: {}",
                outcome.stderr
            );
            assert!(!outcome.stderr.contains("--resume"), "{variant}");
            // The parent reaps its children before it ends.
            assert!(
                !workers.iter().any(|&pid| is_alive(pid)),
                "{variant}: orphans"
            );
            let left = files(&folder.join("out"));
            assert!(
                left.len() == 1 && left["rows.ndjson"] == OLD,
                "{variant}: {:?}",
                left.keys()
            );
        }
    }
}

#[test]
fn a_run_that_kept_nothing_is_not_said_to_go_on() {
    let folder = Folder::new("kept_nothing");
    let pipeline = "[[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [\"rows.csv\"]\n\
        types = { n = \"int\" }\non_error = \"fail\"\n[[stage]]\nname = \"out\"\nkind = \"write_files\"\n\
        inputs = [\"load\"]\npath = \"out.ndjson\"\n";
    folder.write("p.toml", pipeline);
    folder.write("rows.csv", "n\n1\nx\n");
    let run =
        |words: &[&str]| Etl::new(folder.path(), &[&["run", "p.toml"], words].concat()).outcome();
    assert_eq!(run(&[]).code, Some(1));
    let again = run(&["--resume"]);
    let says = "kept nothing to go on with: it starts again, with all rows";
    assert!(again.stderr.contains(says), "{}", again.stderr);
    assert!(!again.stderr.contains("going on"), "{}", again.stderr);
}

#[test]
fn a_run_that_fails_says_what_it_has_read_and_what_it_left() {
    let folder = Folder::new("left");
    folder.write(
        "p.toml",
        PIPELINE.replace("\"-\"", "\"rows.csv\"").replace(
            "columns = [\"at\"]",
            "columns = [\"at\"]\non_error = \"fail\"",
        ),
    );
    let mut text = rows();
    text.extend_from_slice(b"1,never,the last\n");
    folder.write("rows.csv", &text);
    fs::create_dir(folder.join("out")).expect("it can be made");
    let run =
        |variant: Variant| Etl::run(folder.path(), "p.toml", variant.batch_rows(500)).outcome();
    for variant in Variant::EACH {
        let failed = run(variant);
        assert_eq!(failed.code, Some(1), "{variant}: {}", failed.stderr);
        let untouched = "note: nothing was published: `out/rows.ndjson` was not written\n";
        assert!(failed.stderr.contains(untouched), "{}", failed.stderr);
        assert!(!failed.stderr.contains("--resume"), "{}", failed.stderr);
        let read = &failed.report["read_bytes"];
        let all = text.len() as u64;
        assert!(read.as_u64().is_some_and(|read| read <= all), "{read}");
        assert!(failed.report["s_per_gb"].is_null(), "{variant}");
        // What it said then it says again.
        let id = failed.report["run"].as_str().expect("it has a name");
        let shown = Etl::new(folder.path(), &["report", id, "--state", "state"]).outcome();
        assert!(shown.stdout.contains(untouched), "{}", shown.stdout);
    }
    // A mistake that comes first leaves nothing in doubt.
    fs::remove_file(folder.join("rows.csv")).expect("it is there");
    let early = run(Variant::SEQUENTIAL);
    assert!(
        !early.stderr.contains("nothing was published"),
        "{}",
        early.stderr
    );
}

/// A pipeline whose input has a header line, and comes from `file`.
fn with_header(file: &str) -> Folder {
    let folder = folder();
    let pipeline = PIPELINE
        .replace("\"-\"", &format!("{file:?}"))
        .replace("columns = [\"id\", \"at\", \"text\"]\n", "");
    folder.write("pipeline.toml", pipeline);
    folder
}

#[test]
fn who_waits_for_input_hears_that_he_is_to_stop() {
    for file in ["-", "rows.pipe"] {
        for given in ["", "id,at,text\n", "id,at,text\n1,2020-01-02,x\n"] {
            let folder = with_header(file);
            let pipe = folder.join("rows.pipe");
            mkfifo(&pipe, Mode::S_IRWXU).expect("it can be made");
            let mut running =
                Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).start_fed();
            let mut writer = None;
            if file == "-" {
                feed(&mut running, given.as_bytes());
            } else if !given.is_empty() {
                // Waits until it is read from.
                let opened = writer.insert(File::options().write(true).open(&pipe));
                let opened = opened.as_mut().expect("somebody reads");
                opened.write_all(given.as_bytes()).expect("it is read");
            }
            wait_until("it has begun", || folder.join("state/runs").exists());
            send(running.child.id(), Signal::SIGINT);
            let outcome = running.outcome();
            assert_eq!(
                outcome.code,
                Some(130),
                "{file} {given:?}: {}",
                outcome.stderr
            );
            assert_eq!(
                fs::read(folder.join("out/rows.ndjson")).ok().as_deref(),
                Some(OLD)
            );
        }
    }
}

#[test]
fn a_named_pipe_is_opened_once_though_its_header_is_read_first() {
    for variant in Variant::EACH {
        let folder = with_header("rows.pipe");
        let pipe = folder.join("rows.pipe");
        mkfifo(&pipe, Mode::S_IRWXU).expect("it can be made");
        let running = Etl::run(folder.path(), "pipeline.toml", variant.batch_rows(500)).start();
        let mut writer = File::options().write(true).open(&pipe).expect("it is read");
        writer.write_all(b"id,at,text\n").expect("it is read");
        writer.write_all(&rows()).expect("it is read");
        drop(writer);
        let outcome = running.outcome();
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        assert_eq!(outcome.stderr, "", "{variant}");
        let written = fs::read(folder.join("out/rows.ndjson")).expect("it is there");
        assert!(written == documents(), "{variant}");
    }
}

#[test]
fn a_killed_parent_leaves_no_orphan_and_the_old_output() {
    let folder = folder();
    for variant in WITH_CHILDREN {
        let (running, _rest) = half_done(&folder, variant);
        let workers = workers(&running, variant);
        send(running.child.id(), Signal::SIGKILL);
        let outcome = running.outcome();
        assert_eq!(outcome.signal, Some(9), "{variant}");
        wait_until("the orphans have ended", || {
            !workers.iter().any(|&pid| is_alive(pid))
        });
        assert_eq!(
            fs::read(folder.join("out/rows.ndjson")).expect("it is there"),
            OLD
        );
    }
    let listed = Etl::new(folder.path(), &["report", "--state", "state"]).outcome();
    let killed = listed.stdout.lines().filter(|line| line.contains("killed"));
    let of_pipeline = |line: &str| line.split_whitespace().nth(1) == Some("pipeline");
    assert!(killed.clone().count() > 0, "{}", listed.stdout);
    assert!(killed.clone().all(of_pipeline), "{}", listed.stdout);
    // What a killed run leaves does not hinder the next.
    let outcome = Etl::run(folder.path(), "pipeline.toml", WITH_CHILDREN[0])
        .stdin(rows())
        .outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(fs::read(folder.join("out/rows.ndjson")).expect("it is there") == documents());
}

#[test]
fn only_the_parent_is_in_the_terminals_foreground() {
    let folder = folder();
    for variant in WITH_CHILDREN {
        let (running, rest) = half_done(&folder, variant);
        let group = |pid| stat(pid).map(|stat| stat.group);
        let own = group(running.child.id());
        for worker in workers(&running, variant) {
            assert_ne!(group(worker), own, "{variant}: Ctrl-C would reach a child");
        }
        finish(&folder, running, &rest, variant);
    }
}

/// Feeds the rest; the output must be right.
fn finish(folder: &Folder, mut running: Running, rest: &[u8], variant: Variant) -> String {
    feed(&mut running, rest);
    drop(running.child.stdin.take());
    let outcome = running.outcome();
    assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
    assert_eq!(outcome.faults(), Vec::<String>::new(), "{variant}");
    let got = fs::read(folder.join("out/rows.ndjson")).expect("it was published");
    assert!(got == documents(), "{variant}: not the right documents");
    outcome.stderr
}

#[test]
fn a_killed_child_is_replaced_and_the_answer_is_right() {
    let folder = folder();
    for variant in WITH_CHILDREN {
        for all in [false, true] {
            let (running, rest) = half_done(&folder, variant);
            let mut victims = workers(&running, variant);
            victims.truncate(if all { victims.len() } else { 1 });
            for &victim in &victims {
                send(victim, Signal::SIGKILL);
            }
            wait_until("they are dead", || {
                !victims.iter().any(|&pid| is_alive(pid))
            });
            let stderr = finish(&folder, running, &rest, variant).to_lowercase();
            assert!(
                ["sigkill", "signal 9", "killed"]
                    .iter()
                    .any(|word| stderr.contains(word)),
                "{variant}: it does not say what happened: {stderr}"
            );
        }
    }
}

/// How many moments of a run are tried.
const MOMENTS: u64 = 10;

#[test]
fn a_child_may_be_killed_at_any_moment_of_the_whole_job() {
    let folder = Folder::new("moments");
    let dumps = folder.join("dumps");
    write_dumps(&dumps, 800, 8).expect("the dumps can be written");
    let out = folder.join("out");
    let start = |variant: Variant| {
        let pipeline = project().join("pipelines/donors_ndjson.toml");
        Etl::run(folder.path(), &pipeline.display().to_string(), variant)
            .env("ETL_DATA", &dumps)
            .env("ETL_OUT", out.join("donors.ndjson"))
            .start()
    };
    let outcome = start(Variant::SEQUENTIAL).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let want = fs::read(out.join("donors.ndjson")).expect("it was written");

    for variant in WITH_CHILDREN {
        for moment in 0..MOMENTS {
            let mut running = start(variant);
            let parent = running.child.id();
            let bytes = want.len() as u64 * moment / MOMENTS;
            let mut victim = None;
            wait_until("the moment has come", || {
                let ended = running
                    .child
                    .try_wait()
                    .is_ok_and(|status| status.is_some());
                if part_bytes(&out) >= bytes {
                    // Not always the same one, and at the first moment the first there is.
                    victim = children(parent)
                        .into_iter()
                        .cycle()
                        .nth(usize::from(moment % 2 == 1));
                }
                ended || victim.is_some()
            });
            if let Some(victim) = victim {
                send(victim, Signal::SIGKILL);
            }
            let outcome = running.outcome();
            assert_eq!(
                outcome.code,
                Some(0),
                "{variant}, {moment}: {}",
                outcome.stderr
            );
            let got = fs::read(out.join("donors.ndjson")).expect("it was published");
            assert!(want == got, "{variant}, {moment}: not the right documents");
        }
    }
}

#[test]
fn an_index_stays_as_it_was_when_a_load_is_stopped() {
    let folder = Folder::new("index");
    let dumps = folder.join("dumps");
    write_dumps(&dumps, 2000, 9).expect("the dumps can be written");
    let mut donations = Vec::new();
    let packed = fs::File::open(dumps.join("opendata_donations000.gz")).expect("it was written");
    flate2::read::MultiGzDecoder::new(packed)
        .read_to_end(&mut donations)
        .expect("it is whole");
    let pipeline = project()
        .join("pipelines/donors.toml")
        .display()
        .to_string();
    let load = |variant: Variant| {
        Etl::run(folder.path(), &pipeline, variant)
            .args(["--set", "donations.files=[\"-\"]"])
            .env("ETL_DATA", &dumps)
            .env(
                "ETL_SEARCH_URL",
                format!("local:{}", folder.join("indexes/it").display()),
            )
    };
    let count = || {
        let outcome = Etl::new(folder.path(), &["search", "indexes/it", "*", "--count"]).outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stdout.trim().parse::<usize>().expect("a number")
    };
    // The first hundred or so donations, up to the end of a record.
    let ends = donations
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n');
    let few = ends
        .map(|(at, _)| at)
        .find(|&at| at > 30_000 && donations[..at].ends_with(b"\""));
    let few = donations[..=few.expect("there are more")].to_vec();
    let outcome = load(Variant::SEQUENTIAL).stdin(few).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let before = count();
    assert!((50..500).contains(&before), "{before} documents");

    for variant in Variant::EACH {
        for signal in [Signal::SIGINT, Signal::SIGKILL] {
            let mut running = load(variant.batch_rows(200)).start_fed();
            let workers_then = {
                let parent = running.child.id();
                feed(&mut running, &donations[..donations.len() - 1000]);
                children(parent)
            };
            send(running.child.id(), signal);
            let outcome = running.outcome();
            assert!(
                outcome.code != Some(0),
                "{variant}: it ended before its input did"
            );
            wait_until("the children have ended", || {
                !workers_then.iter().any(|&pid| is_alive(pid))
            });
            assert_eq!(count(), before, "{variant}, {signal}");
            if signal == Signal::SIGINT {
                let names: Vec<_> = fs::read_dir(folder.join("indexes"))
                    .expect("it is there")
                    .map(|entry| entry.expect("it can be read").file_name())
                    .filter(|name| name.to_string_lossy().contains("part"))
                    .collect();
                assert!(
                    names.is_empty(),
                    "{variant}: half an index is left: {names:?}"
                );
            }
        }
    }
}

#[test]
fn a_reader_that_has_gone_hides_no_failure() {
    let folder = folder();
    folder.write("in.csv", "a\n1\nx\n");
    let load = "[[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [\"in.csv\"]\ntypes = { a = \"int\" }\n";
    let sink = |name: &str, path: &str| {
        format!(
            "[[stage]]\nname = \"{name}\"\nkind = \"write_files\"\ninputs = [\"load\"]\npath = \"{path}\"\nformat = \"csv\"\n"
        )
    };
    let file = sink("file", "rows.csv");
    for (name, pipeline) in [
        ("rejects.toml", [load, &file].concat()),
        (
            "fails.toml",
            [load, "on_error = \"fail\"\n", &file].concat(),
        ),
        (
            "missing.toml",
            [load, &file].concat().replace("in.csv", "gone.csv"),
        ),
        ("two.toml", [load, &file, &sink("out", "-")].concat()),
    ] {
        folder.write(name, pipeline);
    }
    for (words, code) in [
        (&["run", "rejects.toml"][..], 3),
        (&["run", "fails.toml"], 1),
        (&["run", "fails.toml", "--json"], 1),
        (&["run", "two.toml"], 1),
        (&["check", "--connect", "missing.toml"], 1),
    ] {
        let (reader, writer) = std::io::pipe().expect("there are pipes");
        drop(reader);
        let output = Command::new(ETL)
            .args(words)
            .args(["--state", "state"].iter().filter(|_| words[0] == "run"))
            .current_dir(folder.path())
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(!said.is_empty(), "{words:?}");
    }
}

#[test]
fn a_closed_stdout_ends_the_run_quietly() {
    let folder = folder();
    folder.write("in.csv", rows());
    let pipeline = PIPELINE
        .replace("\"-\"", "\"in.csv\"")
        .replace("\"out/rows.ndjson\"", "\"-\"\nformat = \"ndjson\"");
    folder.write("pipeline.toml", pipeline);
    for variant in Variant::EACH {
        let mut child = Command::new(ETL)
            .args(["run", "pipeline.toml", "--quiet", "--state", "state"])
            .args(variant.arguments())
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut first = [0; 100];
        let mut stdout = child.stdout.take().expect("it is piped");
        stdout.read_exact(&mut first).expect("it writes");
        assert!(documents().starts_with(&first), "{variant}");
        drop(stdout);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{variant}");
        assert_eq!(output.status.code(), Some(0), "{variant}");
    }
}
