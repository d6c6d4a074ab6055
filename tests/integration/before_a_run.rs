//! What makes the work easier beside running: the first rows, the schema for editors, completions.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Etl, Folder, Outcome, files, project};
use crate::scripted::{Reply, Scripted};

const PIPELINE: &str = r#"
[[stage]]
name = "load"
kind = "load_csv"
files = ["${FILE:-in.csv}"]
types = { n = "int" }
parallel = true

[[stage]]
name = "low"
kind = "filter"
inputs = ["load"]
column = "n"
below = 1000000

[[stage]]
name = "write"
kind = "write_files"
inputs = ["low"]
path = "out/rows.ndjson"
"#;

fn rows(from: u64, to: u64) -> String {
    let mut text = String::from("n,word\n");
    for n in from..to {
        text.push_str(&format!("{n},\"w{n}\"\n"));
    }
    text
}

fn preview(folder: &Folder, arguments: &[&str]) -> Outcome {
    let arguments = [&["preview", "p.toml"], arguments].concat();
    Etl::new(folder.path(), &arguments).outcome()
}

#[test]
fn a_delimiter_that_splits_nothing_is_reported_before_a_run() {
    let folder = Folder::new("preview_delimiter");
    folder.write("in.csv", "n;word\n1;a\n");
    let load = "[[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [\"in.csv\"]\n";
    folder.write("p.toml", load);
    for command in [
        &["preview", "p.toml"][..],
        &["check", "p.toml", "--connect"],
    ] {
        let said = Etl::new(folder.path(), command).outcome();
        let warnings = said.stderr.matches("write `delimiter = \";\"`").count();
        assert_eq!((said.code, warnings), (Some(0), 1), "{}", said.stderr);
    }
}

#[test]
fn the_first_rows_are_shown_and_nothing_is_written() {
    let folder = Folder::new("preview");
    folder.write("p.toml", PIPELINE);
    folder.write(
        "in.csv",
        "n,word\n1,a\nx,b\n2000000,c\n3,\"two\nlines\"\n4,\n",
    );
    let before = files(folder.path());
    let shown = preview(&folder, &[]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert_eq!(
        shown.stdout,
        "n  word\n1  a\n3  two\\nlines\n4  null\n\nlow: 3 rows\n"
    );
    assert!(
        shown
            .stderr
            .contains("1 row rejected of those that were read"),
        "{}",
        shown.stderr
    );
    assert!(
        shown.stderr.contains("in.csv: record 2"),
        "{}",
        shown.stderr
    );

    let one = preview(&folder, &["--stage", "load", "-n", "1", "--json"]);
    assert_eq!(one.stdout, "{\"n\":1,\"word\":\"a\"}\n", "{}", one.stderr);
    let unknown = preview(&folder, &["--stage", "laod"]);
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown.stderr.contains("did you mean `load`?"),
        "{}",
        unknown.stderr
    );
    assert_eq!(files(folder.path()), before, "a preview writes nothing");
}

#[test]
fn a_preview_of_endless_input_ends() {
    let folder = Folder::new("endless");
    folder.write("p.toml", PIPELINE);
    let etl = Etl::new(folder.path(), &["preview", "p.toml", "-n", "3", "--json"]);
    let mut running = etl.env("FILE", "-").start_fed();
    let mut pipe = running.child.stdin.take().expect("it is held open");
    // The pipe stays open: who waits for its end waits for ever.
    pipe.write_all(rows(0, 100_000).as_bytes()).ok();
    let shown = running.outcome();
    drop(pipe);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert_eq!(shown.stdout.lines().count(), 3);
}

#[test]
fn a_preview_does_not_meet_what_is_wrong_behind_its_rows() {
    let folder = Folder::new("tail");
    folder.write("p.toml", PIPELINE);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed
        .write_all(rows(0, 500_000).as_bytes())
        .expect("memory takes all");
    let mut packed = packed.finish().expect("memory takes all");
    packed.truncate(packed.len() - 1000);
    folder.write("in.csv", packed);
    let shown = preview(&folder, &[]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.ends_with("low: 10 rows\n"), "{}", shown.stdout);
    // All rows are wanted: those in front of the fault are shown, then the fault.
    let all = preview(&folder, &["-n", "1000000", "--json"]);
    assert_eq!(all.code, Some(1));
    assert!(all.stdout.lines().count() > 400_000);
    assert!(all.stderr.contains("cut short"), "{}", all.stderr);
}

#[test]
fn a_preview_asks_anew_each_time() {
    let folder = Folder::new("anew");
    let pipeline = r#"
        [[stage]]
        name = "items"
        kind = "load_csv"
        files = ["in.csv"]
        [[stage]]
        name = "ask"
        kind = "exec"
        inputs = ["items"]
        command = ["sh", "-c", "cat says; echo $1", "sh", "{n}"]
        "#;
    folder.write("p.toml", pipeline);
    folder.write("in.csv", "n\n1\n");
    for says in ["one", "two"] {
        folder.write("says", says);
        let before = files(folder.path());
        let shown = preview(&folder, &["--json"]);
        let line = format!("{{\"n\":\"1\",\"line\":\"{says}1\"}}\n");
        assert_eq!(shown.stdout, line, "{}", shown.stderr);
        assert_eq!(files(folder.path()), before, "a preview writes nothing");
    }
}

/// What `etl schema` prints.
fn schema() -> Value {
    let folder = Folder::new("schema");
    let printed = Etl::new(folder.path(), &["schema"]).outcome();
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    serde_json::from_str(&printed.stdout).expect("a schema is JSON")
}

fn as_json(text: &str) -> Value {
    let table: toml::Table = text.parse().expect("the file is TOML");
    serde_json::to_value(table).expect("a table is plain data")
}

/// Whether a value is what a schema asks for, by the keywords that ours uses; others are a fault of ours.
fn fits(value: &Value, schema: &Value) -> bool {
    let words = schema.as_object().expect("a schema is an object");
    words.iter().all(|(word, wanted)| {
        let count = |number: &Value| number.as_f64().expect("a number");
        match word.as_str() {
            "$schema" | "title" | "description" | "default" => true,
            "type" => match wanted.as_str().expect("a name") {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64(),
                "number" => value.is_number(),
                other => panic!("no type `{other}`"),
            },
            "const" => value == wanted,
            "enum" => wanted.as_array().expect("a list").contains(value),
            "minimum" => value.as_f64().is_none_or(|value| value >= count(wanted)),
            "maximum" => value.as_f64().is_none_or(|value| value <= count(wanted)),
            "minItems" => value
                .as_array()
                .is_none_or(|list| list.len() as f64 >= count(wanted)),
            "maxItems" => value
                .as_array()
                .is_none_or(|list| list.len() as f64 <= count(wanted)),
            // The one pattern: a variable.
            "pattern" => value.as_str().is_none_or(|text| text.contains("${")),
            "items" => value
                .as_array()
                .is_none_or(|list| list.iter().all(|item| fits(item, wanted))),
            "required" => value.as_object().is_none_or(|table| {
                let keys = wanted.as_array().expect("a list").iter();
                keys.filter_map(Value::as_str)
                    .all(|key| table.contains_key(key))
            }),
            "properties" => value.as_object().is_none_or(|table| {
                table
                    .iter()
                    .all(|(key, value)| wanted.get(key).is_none_or(|of| fits(value, of)))
            }),
            "additionalProperties" => value.as_object().is_none_or(|table| {
                table.iter().all(|(key, value)| {
                    let known = schema["properties"].get(key).is_some();
                    known || wanted.is_object() && fits(value, wanted)
                })
            }),
            "oneOf" => of(value, wanted) == 1,
            "anyOf" => of(value, wanted) > 0,
            other => panic!("the schema uses `{other}`, which this test does not know"),
        }
    })
}

fn of(value: &Value, schemas: &Value) -> usize {
    let schemas = schemas.as_array().expect("a list").iter();
    schemas.filter(|schema| fits(value, schema)).count()
}

#[test]
fn the_schema_fits_every_pipeline_there_is() {
    let schema = schema();
    let mut checked = 0;
    for folder in ["pipelines", "tests/cases", "benches"] {
        for (name, bytes) in files(&project().join(folder)) {
            if Path::new(&name)
                .extension()
                .is_some_and(|found| found == "toml")
            {
                let text = String::from_utf8(bytes).expect("a pipeline is text");
                assert!(fits(&as_json(&text), &schema), "{folder}/{name}");
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "only {checked} files were checked");
}

#[test]
fn the_schema_refuses_what_a_check_refuses() {
    let schema = schema();
    assert!(fits(&as_json(PIPELINE), &schema));
    let wrong = [
        ("kind = \"filter\"", "kind = \"fliter\""),
        ("kind = \"filter\"", "kind = \"join\""),
        ("column = \"n\"", "colunm = \"n\""),
        ("column = \"n\"", "column = 1"),
        ("column = \"n\"\n", ""),
        ("inputs = [\"load\"]", "inputs = []"),
        ("inputs = [\"load\"]", "inputs = [\"load\", \"load\"]"),
        ("inputs = [\"low\"]\n", ""),
        ("parallel = true", "parallel = \"yes\""),
        ("parallel = true", "executor = \"thread\""),
        ("parallel = true", "workers = -1"),
        ("parallel = true", "delimiter = 44"),
        ("parallel = true", "on_error = \"null\""),
        ("parallel = true", "skip_rows = \"1\""),
        (
            "path = \"out/rows.ndjson\"",
            "path = \"out/rows\"\nformat = \"json\"",
        ),
        (
            "[[stage]]\nname = \"load\"",
            "max_reject = 1\n[[stage]]\nname = \"load\"",
        ),
        (
            "[[stage]]\nname = \"load\"",
            "max_rejects = -2\n[[stage]]\nname = \"load\"",
        ),
    ];
    let folder = Folder::new("wrong");
    folder.write("in.csv", rows(0, 1));
    for (right, wrong) in wrong {
        let text = PIPELINE.replacen(right, wrong, 1);
        assert_ne!(text, PIPELINE, "{right} is not in the pipeline");
        assert!(!fits(&as_json(&text), &schema), "{wrong} passes");
        folder.write("p.toml", &text);
        let checked = Etl::new(folder.path(), &["check", "p.toml"]).outcome();
        assert_eq!(checked.code, Some(2), "{wrong}: {}", checked.stderr);
    }
}

#[test]
fn every_shell_completes_every_command() {
    let folder = Folder::new("completions");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let printed = Etl::new(folder.path(), &["completions", shell]).outcome();
        assert_eq!(printed.code, Some(0), "{shell}: {}", printed.stderr);
        for word in ["preview", "schema", "completions", "until"] {
            assert!(
                printed.stdout.contains(word),
                "{shell} does not know {word}"
            );
        }
    }
    let wrong = Etl::new(folder.path(), &["completions", "bahs"]).outcome();
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("'bash'"), "{}", wrong.stderr);
    assert!(fs::read_dir(folder.path()).expect("ours").next().is_none());
}

#[test]
fn a_look_outside_finds_what_is_missing_and_changes_nothing() {
    let folder = Folder::new("connect");
    let pipeline = PIPELINE.replace("\"${FILE:-in.csv}\"", "\"a.csv\", \"b.csv\"");
    let fine = [
        ("p.toml", pipeline.as_str()),
        ("a.csv", "n,word\n1,a\n"),
        ("b.csv", "n,word\n"),
    ];
    let wrong = [
        (("", ""), Some(0), "a.csv: 2 columns, the first record fits"),
        (("", ""), Some(0), "b.csv: 2 columns, no records"),
        (
            ("", ""),
            Some(0),
            "out/rows.ndjson: is not there yet, and can be made",
        ),
        (
            ("b.csv", "n,wort\n"),
            Some(1),
            "column 2 is `wort` instead of `word`",
        ),
        (
            ("b.csv", "n,word\nx,y\n"),
            Some(1),
            "expected int, found `x`",
        ),
        (("b.csv", "n,word\n1\n"), Some(1), "the first record of"),
        (("out", "a file"), Some(1), "out` is not a folder"),
        (("out/rows.ndjson/x", ""), Some(1), "is a directory"),
    ];
    for ((file, text), code, words) in wrong {
        let folder_now = Folder::new("connect");
        for (name, text) in fine {
            folder_now.write(name, text);
        }
        if !file.is_empty() {
            folder_now.write(file, text);
        }
        let before = files(folder_now.path());
        let looked = Etl::new(folder_now.path(), &["check", "p.toml", "--connect"]).outcome();
        let said = format!("{}{}", looked.stdout, looked.stderr);
        assert_eq!(looked.code, code, "{file}: {said}");
        // Lines are broken to fit 80 columns.
        let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(words), "{file}: {said}");
        assert_eq!(files(folder_now.path()), before, "{file}");
    }
    // Everything that is missing is told, not the first thing alone.
    folder.write("p.toml", &pipeline);
    let looked = Etl::new(folder.path(), &["check", "p.toml", "--connect", "--json"]).outcome();
    assert_eq!(looked.code, Some(1), "{}", looked.stderr);
    assert!(
        looked.stderr.contains("2 things that the pipeline needs"),
        "{}",
        looked.stderr
    );
    // And what to do about each.
    assert!(looked.stderr.contains("\n  hint: "), "{}", looked.stderr);
    let json: Value = serde_json::from_str(&looked.stdout).expect("it is JSON");
    let looks = json["looks"].as_array().expect("a list");
    assert_eq!(
        looks.iter().filter(|look| look["error"].is_null()).count(),
        1
    );
}

#[test]
fn a_look_at_a_server_only_asks() {
    let server = Scripted::start(|_| Reply::Normal);
    let folder = Folder::new("ask");
    folder.write("in.csv", rows(0, 1));
    let pipeline = |load: &str| {
        let url = server.url.replace("http://", "http://me:secret@");
        let (loads, _) = PIPELINE
            .split_once("[[stage]]\nname = \"write\"")
            .expect("it is there");
        let index = "[[stage]]\nname = \"index\"\nkind = \"bulk_index\"\ninputs = [\"low\"]\nindex = \"things\"";
        format!("{loads}{index}\nto = \"{url}\"\nload = \"{load}\"\nretry_delay_ms = 1\n")
    };
    let look = |load: &str| {
        folder.write("p.toml", pipeline(load));
        let looked = Etl::new(folder.path(), &["check", "p.toml", "--connect"]).outcome();
        let said = format!("{}{}", looked.stdout, looked.stderr);
        assert!(!said.contains("secret"), "{said}");
        let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
        (looked.code, flat)
    };
    let has = |looked: (Option<i32>, String), code: i32, words: &str| {
        assert_eq!(looked.0, Some(code), "{}", looked.1);
        assert!(looked.1.contains(words), "{}", looked.1);
    };
    has(look("append"), 0, "no index `things` yet, it will be made");
    has(look("replace"), 0, "nothing is called `things` yet");
    has(look("create"), 0, "no index `things` yet");
    let asked = server.record().requests;
    assert!(
        !asked.is_empty() && asked.iter().all(|request| request.starts_with("GET ")),
        "{asked:?}"
    );
    server.call("PUT", "/things", "{}");
    has(look("append"), 0, "the index `things` is there");
    has(look("replace"), 1, "`things` is an index");
    has(look("create"), 1, "is there already");
    let denied = serde_json::json!({ "status": 401, "error": {
        "type": "security_exception", "reason": "nobody is Basic bWU6c2VjcmV0" } });
    server.refuse("GET", "/things", 401, denied);
    has(look("append"), 1, "does not know us (401)");
    drop(server);
}

#[test]
fn a_plan_tells_how_much_there_is_to_read() {
    let folder = Folder::new("sizes");
    folder.write("p.toml", PIPELINE);
    let text = rows(0, 1000);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).expect("memory takes all");
    let packed = packed.finish().expect("memory takes all");
    folder.write("in.csv", &packed);
    let plan = |arguments: &[&str]| {
        let arguments = [&["plan", "p.toml"], arguments].concat();
        Etl::new(folder.path(), &arguments).outcome()
    };
    let json: Value = serde_json::from_str(&plan(&["--json"]).stdout).expect("it is JSON");
    let source = &json["stages"][0]["source"];
    assert_eq!(source["file_bytes"], packed.len());
    assert_eq!(source["text_bytes"], text.len());
    assert_eq!(
        json["stages"][2]["inputs"][0]["from_text_bytes"],
        text.len()
    );
    let shown = plan(&[]).stdout;
    assert!(shown.contains("1 file of "), "{shown}");
    assert!(shown.contains("of text"), "{shown}");
    // What is on its way is not there to be measured, and what is missing is no reason not to plan.
    for (file, words) in [
        ("-", "1 file of 0 bytes\n"),
        ("none.csv", "error: cannot read `none.csv`"),
    ] {
        let shown = plan(&["--set", &format!("load.files=[\"{file}\"]")]);
        assert_eq!(shown.code, Some(0), "{}", shown.stderr);
        assert!(shown.stdout.contains(words), "{}", shown.stdout);
    }
}

#[test]
fn a_check_tells_what_can_hardly_be_meant() {
    let folder = Folder::new("doubts");
    folder.write("hosts.csv", "host\na\n");
    let told = |stage: &str| {
        let text = format!(
            "[[stage]]\nname = 'hosts'\nkind = 'load_csv'\nfiles = ['hosts.csv']\n\
             [[stage]]\nname = 'ask'\ninputs = ['hosts']\ncolumns = ['x']\n{stage}\n"
        );
        folder.write("p.toml", text);
        let outcome = Etl::new(folder.path(), &["check", "p.toml"]).outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stderr
    };
    let cases = [
        (
            "kind = 'exec'\ncommand = ['echo', '{hosts}']",
            "`{hosts}` names no input column and stays as it is; did you mean `{host}`?",
        ),
        (
            "kind = 'exec'\ncommand = 'date'\nshell = true",
            "takes nothing of its items",
        ),
        ("kind = 'exec'\ncommand = ['echo', '{host}']", ""),
        (
            "kind = 'fetch'\nurl = 'http://x.test/'",
            "every request is the same",
        ),
        (
            "kind = 'fetch'\nurl = 'http://x.test/'\nmethod = 'POST'\nbody = { a = ['{host}'] }",
            "",
        ),
    ];
    for (stage, words) in cases {
        let said = told(stage);
        assert!(said.contains(words), "{stage}: {said}");
        assert_eq!(said.is_empty(), words.is_empty(), "{stage}: {said}");
    }
}

#[test]
fn a_check_looks_for_programs_and_servers_that_are_asked() {
    let folder = Folder::new("look");
    folder.write("hosts.csv", "host\na\n");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = closed.local_addr().expect("it is bound").port();
    let looked = |program: &str| {
        let text = format!(
            "[[stage]]\nname = 'hosts'\nkind = 'load_csv'\nfiles = ['hosts.csv']\n\
             [[stage]]\nname = 'ask'\nkind = 'exec'\ninputs = ['hosts']\ncommand = ['{program}', '{{host}}']\n\
             [[stage]]\nname = 'look_up'\nkind = 'fetch'\ninputs = ['ask']\ncolumns = ['x']\n\
             url = 'http://me:word@127.0.0.1:{port}/{{host}}'\n"
        );
        folder.write("p.toml", text);
        Etl::new(folder.path(), &["check", "p.toml", "--connect"]).outcome()
    };
    let there = looked("echo");
    assert_eq!(there.code, Some(0), "{}", there.stderr);
    drop(closed);
    let gone = looked("no-such-program");
    assert_eq!(gone.code, Some(1), "{}", gone.stdout);
    let said = gone.stdout + &gone.stderr;
    for words in [
        "there is no program `no-such-program`",
        &format!("cannot reach `http://127.0.0.1:{port}`"),
    ] {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
    assert!(!said.contains("word@"), "{said}");
}

const REJECTS: &str = r#"
[[stage]]
name = "load"
kind = "load_csv"
files = ["in.csv"]
types = { n = "int" }

[[stage]]
name = "dates"
kind = "normalize_dates"
inputs = ["load"]
columns = ["at"]

[[stage]]
name = "write"
kind = "write_files"
inputs = ["dates"]
path = "out.csv"
"#;

#[test]
fn too_many_rejects_say_why_where_they_are_and_what_to_do() {
    let folder = Folder::new("rejects");
    folder.write("p.toml", REJECTS);
    let text = "n,at\none,2020-1-1\ntwo,2020-1-1\n3,never in all the years that are still to come\n4,2020-1-1\n";
    folder.write("in.csv", text);
    let run = |arguments: &[&str]| {
        let outcome = Etl::new(folder.path(), &[&["run", "p.toml"], arguments].concat());
        let outcome = outcome.env("COLUMNS", "70").outcome();
        assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
        outcome
    };
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let reasons = [
        "2 rows, first: load: column `n`: expected int, found `one`",
        "1 row: dates: column `at`: no format fits the value, found `never",
    ];
    let shown = run(&[]);
    let (table, below) = shown.stdout.split_once("\n\n").expect("there is a table");
    assert!(table.lines().all(|line| !line.starts_with(' ')), "{table}");
    // Words are broken where the screen ends, on both streams.
    for line in below.lines().chain(shown.stderr.lines()) {
        assert!(
            line.chars().count() <= 70 || !line.trim().contains(' '),
            "{line}"
        );
    }
    for (outcome, shows) in [(&shown, false), (&run(&["--quiet"]), true)] {
        let stderr = words(&outcome.stderr);
        for reason in reasons {
            assert_eq!(stderr.contains(reason), shows, "{stderr}");
        }
        assert!(
            stderr.contains("3 rows rejected, see .etl/runs/"),
            "{stderr}"
        );
        assert!(
            stderr.contains("hint: `--set max_rejects=N` allows"),
            "{stderr}"
        );
        assert!(stderr.contains("`--set dates.on_error=null`"), "{stderr}");
    }
    for reason in reasons {
        assert!(words(&shown.stdout).contains(reason), "{}", shown.stdout);
    }
    // What does not apply to files says so, and what does.
    let below = words(below);
    let id = below.split("; run ").nth(1).expect("it is named");
    let id = id.split_whitespace().next().expect("it is named");
    for (command, says) in [
        (["replay", id], "loads no index"),
        (
            ["rollback", "p.toml"],
            "files that a run has replaced are not kept",
        ),
    ] {
        let refused = Etl::new(folder.path(), &command).outcome();
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
    }
    let indexed = REJECTS.replace("write_files", "bulk_index");
    folder.write(
        "p.toml",
        indexed.replace("path = \"out.csv\"", "to = \"local:idx\""),
    );
    let refused = Etl::new(folder.path(), &["rollback", "p.toml"]).outcome();
    let says = "`etl rollback p.toml --set write.load=replace`";
    assert!(refused.stderr.contains(says), "{}", refused.stderr);
}
