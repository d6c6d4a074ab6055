//! Commands that do what commands do: for each, what the user sees, what is rejected, that nothing else is
//! lost, and that no process is left.

use std::fs;

use serde_json::json;

use super::{documents, folder, in_folder, reasons};
use crate::harness::{Etl, Variant};

/// Something that would run for an hour, and does not go by itself when it is asked to.
const STUBBORN: &str = "trap '' TERM; while :; do sleep 3600; done";

struct Case {
    name: &'static str,
    /// What item 2 of 3 does; the others say `fine`.
    does: String,
    options: &'static str,
    /// What its reject says; `None`: it gives its row too.
    reason: Option<&'static str>,
}

fn cases() -> Vec<Case> {
    let case = |name, does: &str, options, reason| Case {
        name,
        does: does.to_owned(),
        options,
        reason,
    };
    let killed = "the command was killed by SIGSEGV, saying `last words`";
    let never = "the command was ended: it took longer than 1500 ms (`timeout_ms`)";
    let much = "the command was ended: it printed more than 67108864 bytes (`max_output_bytes`)";
    vec![
        case(
            "a signal",
            "echo last words >&2; kill -SEGV $$",
            "",
            Some(killed),
        ),
        case(
            "no end",
            "exec sleep 3600",
            "timeout_ms = 1500",
            Some(never),
        ),
        case(
            "no end at all",
            STUBBORN,
            "timeout_ms = 1500\ngrace_ms = 100",
            Some(never),
        ),
        case(
            "no end, in a pipeline of several",
            "sleep 3600 | sleep 3600",
            "timeout_ms = 1500",
            Some(never),
        ),
        case("a gigabyte", "head -c 1000000000 /dev/zero", "", Some(much)),
        case("no end of output", "yes", "", Some(much)),
        case(
            "a gigabyte of words",
            "head -c 1000000000 /dev/zero >&2; echo fine",
            "",
            None,
        ),
        case("a child that stays", "sleep 3600 & echo fine", "", None),
        case(
            "a stubborn child that stays, and talks on",
            &format!("({STUBBORN}) & echo fine"),
            "grace_ms = 100",
            None,
        ),
        case(
            "closed outputs",
            "echo fine; exec >&- 2>&-; exit 0",
            "",
            None,
        ),
        case(
            "garbage",
            "printf 'fine\\377'",
            "",
            Some("what the command printed cannot be used"),
        ),
        case(
            "a status",
            "exit 255",
            "",
            Some("the command ended with status 255"),
        ),
    ]
}

#[test]
fn a_command_that_fails_takes_only_its_item_with_it() {
    for case in cases() {
        let script = format!("if [ $1 = 2 ]; then {}; else echo fine; fi", case.does);
        let exec = format!(
            "command = [\"sh\", \"-c\", '''{}''', \"sh\", \"{{id}}\"]\n{}",
            script.replace('$', "$$"),
            case.options
        );
        let folder = folder(&exec, 3);
        for variant in [Variant::SEQUENTIAL, Variant::new("hybrid", 2, 2)] {
            let name = format!("{}, {variant}", case.name);
            let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
            assert_eq!(outcome.code, Some(0), "{name}: {}", outcome.stderr);
            assert_eq!(outcome.faults(), Vec::<String>::new(), "{name}");
            let ids = (1..=3).filter(|id| *id != 2 || case.reason.is_none());
            let want: Vec<_> = ids
                .map(|id| json!({ "id": id.to_string(), "line": "fine" }))
                .collect();
            assert_eq!(documents(&folder.join("out.ndjson")), want, "{name}");
            let got = reasons(&outcome);
            let as_told = got
                .iter()
                .zip(case.reason)
                .all(|(got, want)| got.starts_with(want));
            assert!(
                got.len() == case.reason.iter().count() && as_told,
                "{name}: {got:?}"
            );
            assert_eq!(
                in_folder(&folder),
                Vec::<u32>::new(),
                "{name}: something is left"
            );
            let peak = outcome.report["peak_rss_bytes"]
                .as_u64()
                .unwrap_or(u64::MAX);
            assert!(peak < 400 << 20, "{name}: {peak} bytes");
        }
    }
}

#[test]
fn a_command_that_cannot_be_run_ends_the_run_and_says_why() {
    let cases = [
        (
            "[\"no-such-program\", \"{id}\"]",
            "cannot run `no-such-program`",
            "it is in none of `/",
        ),
        (
            "[\"./no-such-script\"]",
            "cannot run `./no-such-script`",
            "a path in `command` begins in",
        ),
        ("[\"/\"]", "cannot run `/`", "ermission denied"),
    ];
    for (command, message, more) in cases {
        let folder = folder(&format!("command = {command}"), 3);
        for variant in Variant::EACH {
            let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
            assert_eq!(outcome.code, Some(1), "{variant}: {}", outcome.stderr);
            assert!(
                outcome.stderr.contains(message) && outcome.stderr.contains(more),
                "{variant}: {}",
                outcome.stderr
            );
        }
    }
}

#[test]
fn what_the_file_alone_shows_is_told_before_anything_is_run() {
    let cases = [
        ("command = \"echo {id}\"", "`command` is one string"),
        ("command = [\"echo\"]\nshell = true", "`command` is a list"),
        ("command = []", "`command` names no program"),
        ("command = [\"echo\", \"x{id}\"]\nbatch = 2", "among text"),
        (
            "command = [\"cat\"]\nstdin = \"lines\"",
            "needs `stdin_column`",
        ),
        (
            "command = [\"cat\"]\nstdin = \"lines\"\nstdin_column = \"no\"",
            "no column `no`",
        ),
        (
            "command = [\"cat\"]\noutput = \"csv\"",
            "`columns` names no column",
        ),
        (
            "command = \"echo '{id}'\"\nshell = true",
            "in single quotes",
        ),
        (
            "command = [\"touch\", \"ran\"]\nstdout = \"x\"",
            "unknown key `stdout`",
        ),
        ("command = [\"cat\"]\nbatch_rows = 2", "its unit is `batch`"),
        (
            "command = [\"cat\"]\ncolumns = [\"id\"]",
            "the input has a column `id` already",
        ),
    ];
    for (exec, message) in cases {
        let folder = folder(exec, 3);
        let outcome = Etl::new(folder.path(), &["check", "pipeline.toml"]).outcome();
        assert_eq!(outcome.code, Some(2), "{exec}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(message),
            "{exec}: {}",
            outcome.stderr
        );
        assert!(!folder.join("ran").exists());
    }
}

#[test]
fn large_inputs_and_outputs_cross() {
    let exec = "command = [\"cat\"]\nstdin = \"lines\"\nstdin_column = \"text\"";
    let folder = folder(exec, 1);
    let long = "é".repeat(5_000_000);
    folder.write("in.csv", format!("id,text\n1,{long}\n2,short\n"));
    let outcome = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let out = documents(&folder.join("out.ndjson"));
    assert!(
        out.len() == 2 && out[0]["line"] == long,
        "{} rows",
        out.len()
    );
    // One that does not read what it is given is not waited for.
    let deaf = ["--set", "run.command=[\"echo\", \"deaf\"]"];
    let outcome = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL)
        .args(deaf)
        .outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(documents(&folder.join("out.ndjson")).len(), 2);
}

#[test]
fn values_that_no_argument_can_hold_are_rejects_and_nasty_ones_are_values() {
    let exec = "command = [\"printf\", \"%s\", \"{id}\"]";
    let folder = folder(exec, 0);
    let nasty = r#"$(id) `id` ; rm -rf / "x" * {id} -n"#;
    folder.write(
        "in.csv",
        format!("id,x\n\"{}\",1\n,2\na\0b,3\n", nasty.replace('"', "\"\"")),
    );
    let long = format!("id,x\n{},4\n", "y".repeat(3 << 20));
    folder.write("long.csv", long);
    let files = ["--set", "items.files=[\"in.csv\", \"long.csv\"]"];
    let outcome = Etl::run(folder.path(), "pipeline.toml", Variant::EACH[1])
        .args(files)
        .outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let out = documents(&folder.join("out.ndjson"));
    assert_eq!(out, [json!({ "id": nasty, "x": "1", "line": nasty })]);
    let want = [
        "null is no argument of a command",
        "an argument of a command holds no NUL",
        "the arguments are too long for a command",
    ];
    assert_eq!(reasons(&outcome), want);
}

#[test]
fn a_command_sees_of_the_environment_what_it_is_meant_to() {
    let run = |env: &str| {
        let folder = folder(&format!("command = [\"env\"]\n{env}"), 1);
        let outcome = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL)
            .env("LC_ALL", "C")
            .env("SEEN", "it")
            .env("HIDDEN", "it")
            .outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let line = |row: serde_json::Value| row["line"].as_str().unwrap_or_default().to_owned();
        let lines = documents(&folder.join("out.ndjson")).into_iter().map(line);
        (lines.collect::<Vec<String>>(), outcome.stderr)
    };
    let has = |lines: &[String], line: &str| lines.iter().any(|other| other == line);
    let (lines, _) = run("");
    assert!(has(&lines, "LC_ALL=C") && lines.iter().any(|line| line.starts_with("PATH=")));
    assert!(
        !has(&lines, "SEEN=it") && !has(&lines, "HIDDEN=it"),
        "{lines:?}"
    );
    let (lines, stderr) = run("env = [\"SEEN\", \"NOT_THERE\"]");
    assert!(
        has(&lines, "SEEN=it") && !has(&lines, "HIDDEN=it"),
        "{lines:?}"
    );
    assert!(
        stderr.contains("`env` lists `NOT_THERE`, which is not set"),
        "{stderr}"
    );
    let (lines, _) = run("env = { SEEN = \"else\", NEW = \"a b\" }");
    assert!(
        has(&lines, "SEEN=else") && has(&lines, "NEW=a b"),
        "{lines:?}"
    );
}

#[test]
fn a_secret_is_in_nothing_that_is_written() {
    const PLANTED: &str = "s3cr3t-planted";
    let says = "echo token $$API_TOKEN >&2; [ $$1 = 2 ] && exit 1; echo fine";
    for env in [
        "\"x\"]\nenv = [\"API_TOKEN\"]",
        "\"x\"]\nenv = { API_TOKEN = \"${API_TOKEN}\" }",
        "\"Bearer ${API_TOKEN}\"]\nenv = [\"API_TOKEN\"]",
    ] {
        let exec = format!("command = [\"sh\", \"-c\", '{says}', \"sh\", \"{{id}}\", {env}");
        let folder = folder(&exec, 3);
        for on_error in ["reject", "fail"] {
            let outcome = Etl::run(folder.path(), "pipeline.toml", Variant::new("hybrid", 2, 2))
                .args(["--set", &format!("run.on_error={on_error}"), "--json"])
                .env("API_TOKEN", PLANTED)
                .outcome();
            let failed = on_error == "fail";
            assert_eq!(outcome.code, Some(i32::from(failed)), "{}", outcome.stderr);
            let printed = outcome.stdout.clone() + &outcome.stderr;
            assert!(
                printed.contains("token ***"),
                "it says something: {printed}"
            );
            assert!(!printed.contains(PLANTED), "{on_error}: {printed}");
            for (name, bytes) in crate::harness::files(folder.path()) {
                let found = bytes
                    .windows(PLANTED.len())
                    .any(|bytes| bytes == PLANTED.as_bytes());
                assert!(!found, "{on_error}: {name} has it");
            }
        }
    }
}

#[test]
fn relative_paths_begin_where_the_pipeline_file_lies() {
    let folder = folder("command = [\"./say.sh\", \"{id}\"]", 2);
    let moved = fs::read_to_string(folder.join("pipeline.toml")).expect("it was written");
    folder.write("sub/pipeline.toml", moved);
    folder.write("sub/in.csv", "id\n1\n");
    folder.write(
        "sub/say.sh",
        "#!/bin/sh\necho \"$1 in $(basename \"$PWD\")\"\n",
    );
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.join("sub/say.sh"), mode).expect("it is ours");
    let outcome = Etl::run(folder.path(), "sub/pipeline.toml", Variant::SEQUENTIAL).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let out = documents(&folder.join("sub/out.ndjson"));
    assert_eq!(out, [json!({ "id": "1", "line": "1 in sub" })]);
}
