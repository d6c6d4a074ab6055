//! What must not be able to crash the program: queries, options, files and clocks as nobody sane has them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use etl::stage::STAGES;
use toml::{Table, Value};

use super::shim;
use crate::harness::{ETL, Etl, Folder, Variant};

#[test]
fn a_query_that_is_too_large_is_an_error() {
    let folder = Folder::new("query");
    folder.write(
        "pipeline.toml",
        "[[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [\"in.csv\"]\n\
         [[stage]]\nname = \"index\"\nkind = \"bulk_index\"\ninputs = [\"load\"]\nto = \"local:index\"\n",
    );
    folder.write("in.csv", "id,text\n1,some words\n2,other words\n");
    let loaded = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).outcome();
    assert_eq!(loaded.code, Some(0), "{}", loaded.stderr);
    for query in [
        "(".repeat(10_000),
        "(".repeat(5_000) + "a" + &")".repeat(5_000),
        "text:".to_owned() + &"[".repeat(10_000),
        "a ".repeat(10_000),
        "-".repeat(60_000) + "a",
        "NOT ".repeat(10_000) + "a",
        "a".repeat(100_000),
    ] {
        for target in ["index", "pipeline.toml"] {
            let asked = Etl::new(folder.path(), &["search", target, &query]).outcome();
            let said = &asked.stderr[..asked.stderr.len().min(300)];
            assert_eq!(asked.code, Some(2), "{} bytes: {said}", query.len());
            assert!(said.contains("at most"), "{said}");
        }
    }
    // As much as is taken is answered.
    for query in [
        "(".repeat(256) + "words" + &")".repeat(256),
        "words ".repeat(1024),
        "-".repeat(1024) + "words",
        "NOT ".repeat(1023) + "words",
    ] {
        let asked = Etl::new(folder.path(), &["search", "index", &query, "--count"]).outcome();
        assert!(matches!(asked.code, Some(0 | 2)), "{}", asked.stderr);
    }
    let all = [
        "search",
        "index",
        "words",
        "--limit",
        "18446744073709551615",
    ];
    let asked = Etl::new(folder.path(), &all).outcome();
    assert_eq!(asked.stdout.lines().count(), 2, "{}", asked.stderr);
}

/// Values that an option may be given, whatever it is meant for.
fn hostile() -> Vec<Value> {
    let mut deep = Value::Array(Vec::new());
    for _ in 0..50 {
        deep = Value::Array(vec![deep]);
    }
    let table: Table = [("a".to_owned(), Value::from(i64::MAX))]
        .into_iter()
        .collect();
    let texts = [
        "",
        " ",
        "\0",
        "\n",
        "{",
        "}",
        "{}",
        "{a",
        "[",
        "*",
        "**",
        "\\",
        "\"",
        "/",
        "//",
        ":",
        "http://",
        "http://[",
        "https://u:p@:99999/",
        "local:",
        "-",
        "%",
        "%%%Y",
        "é",
        "\u{202e}",
        "::",
        "[[[",
        "((((",
        "=",
        "a=b=c",
        "0",
        "-1",
        "9e999",
    ];
    let mut values: Vec<Value> = texts.map(Value::from).to_vec();
    values.extend([
        Value::from("x".repeat(100_000)),
        Value::from("[".repeat(10_000)),
        Value::from("{".repeat(10_000)),
        Value::from("*".repeat(10_000)),
        Value::from(i64::MAX),
        Value::from(i64::MAX / 1000),
        Value::from(i64::MIN),
        Value::from(0),
        Value::from(-1),
        Value::from(1),
        Value::from(1e300),
        Value::from(1e-300),
        Value::from(-0.0),
        Value::from(f64::INFINITY),
        Value::from(f64::NAN),
        Value::from(true),
        Value::Array(Vec::new()),
        Value::Table(Table::new()),
        Value::Table(table),
        deep,
    ]);
    let lists: Vec<Value> = values
        .iter()
        .map(|value| Value::Array(vec![value.clone(); 2]))
        .collect();
    values.extend(lists);
    values
}

#[test]
fn no_value_of_any_option_crashes_a_kind() {
    let mut faults = Vec::new();
    for kind in STAGES {
        let mut example: Table = toml::from_str(kind.example).expect("examples are TOML");
        let stage = example["stage"]
            .as_array_mut()
            .expect("it has a stage")
            .remove(0);
        let Value::Table(mut options) = stage else {
            panic!("a stage is a table")
        };
        options.retain(|key, _| kind.all_options().any(|option| option.name == key));
        for option in kind.all_options() {
            for value in hostile() {
                let mut given = options.clone();
                given.insert(option.name.to_owned(), value.clone());
                let ran = catch_unwind(AssertUnwindSafe(|| {
                    if let Ok(stage) = (kind.decode)(given) {
                        let _ = (stage.inputs(), stage.properties());
                    }
                }));
                if ran.is_err() {
                    let value = value.to_string();
                    let shown: String = value.chars().take(60).collect();
                    faults.push(format!("{}: {} = {shown}", kind.name, option.name));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_nests_without_end_is_an_error() {
    let folder = Folder::new("deep");
    let deep = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    folder.write("in.csv", "id\n1\n");
    folder.write("mapping.json", deep("[", "]"));
    folder.write("arrays.toml", format!("a = {}\n", deep("[", "]")));
    folder.write("tables.toml", format!("a = {}\n", deep("{a=", "}")));
    folder.write("keys.toml", format!("{}a = 1\n", "a.".repeat(100_000)));
    folder.write(
        "mapping.toml",
        "[[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [\"in.csv\"]\n\
         [[stage]]\nname = \"index\"\nkind = \"bulk_index\"\ninputs = [\"load\"]\nto = \"local:index\"\n\
         mapping = \"mapping.json\"\n",
    );
    for file in ["arrays.toml", "tables.toml", "keys.toml", "mapping.toml"] {
        for command in ["check", "run"] {
            let outcome = Etl::new(folder.path(), &[command, file]).outcome();
            assert!(
                matches!(outcome.code, Some(1 | 2)),
                "{command} {file}: {outcome:?}"
            );
        }
    }
    // As long as one argument may be.
    let set = format!("load.files={}{}", "[".repeat(50_000), "]".repeat(50_000));
    let outcome = Etl::new(folder.path(), &["check", "mapping.toml", "--set", &set]).outcome();
    assert!(matches!(outcome.code, Some(1 | 2)), "{:?}", outcome.code);
}

/// A pipeline of so many stages, each of which is alone and pulls the one above.
fn deep(stages: usize) -> String {
    let mut text =
        String::from("[[stage]]\nname = \"s0\"\nkind = \"load_csv\"\nfiles = [\"in.csv\"]\n");
    for i in 1..stages {
        let above = i - 1;
        text += &format!(
            "[[stage]]\nname = \"s{i}\"\nkind = \"select\"\ninputs = [\"s{above}\"]\nkeep = [\"id\"]\n\
             batch_rows = {}\n",
            1 + i % 2
        );
    }
    text
}

#[test]
fn more_stages_than_can_be_wired_are_an_error_and_as_many_as_can_be_run() {
    let folder = Folder::new("stages");
    folder.write("in.csv", "id\n1\n");
    for (stages, code) in [(1000, 0), (1001, 2)] {
        folder.write("pipeline.toml", deep(stages));
        for words in [
            &["check"][..],
            &["plan"],
            &["run"],
            &["run", "--staged"],
            &["preview"],
        ] {
            let outcome = Etl::new(folder.path(), words)
                .args(["pipeline.toml"])
                .outcome();
            assert_eq!(outcome.code, Some(code), "{words:?}: {}", outcome.stderr);
        }
    }
    // A thread that feeds others pulls the stages above.
    folder.write("pipeline.toml", deep(1000));
    for executor in ["threads", "processes"] {
        let set = format!("s999.executor={executor}");
        let outcome = Etl::new(folder.path(), &["run", "pipeline.toml", "--set", &set]).outcome();
        assert_eq!(outcome.code, Some(0), "{executor}: {}", outcome.stderr);
    }
    // Rows that go many ways: the ways are as many as 2 to the number of stages.
    let mut text =
        String::from("[[stage]]\nname = \"s0\"\nkind = \"load_csv\"\nfiles = [\"in.csv\"]\n");
    for i in 1..60 {
        let above = i - 1;
        text += &format!(
            "[[stage]]\nname = \"s{i}\"\nkind = \"join\"\ninputs = [\"s{above}\", \"s{above}\"]\non = \"id\"\n\
             how = \"semi\"\n"
        );
    }
    folder.write("pipeline.toml", text);
    let outcome = Etl::new(folder.path(), &["run", "pipeline.toml"]).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

#[test]
fn a_clock_that_is_set_wrong_stops_no_run() {
    let folder = Folder::new("clock");
    let Some(shim) = shim(&folder) else { return };
    folder.write(
        "pipeline.toml",
        "[[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [\"in.csv\"]\n\
         [[stage]]\nname = \"index\"\nkind = \"bulk_index\"\ninputs = [\"load\"]\nto = \"local:index\"\n\
         load = \"replace\"\n\
         [[stage]]\nname = \"say\"\nkind = \"exec\"\ninputs = [\"load\"]\ncommand = [\"echo\", \"{id}\"]\n",
    );
    folder.write("in.csv", "id\n1\n");
    for seconds in [
        "-86400",
        "0",
        "-62200000000",
        "9223372036854775000",
        "-9223372036854775000",
        "253402300800",
    ] {
        for words in [
            &["run", "pipeline.toml"][..],
            &["report"],
            &["check", "pipeline.toml"],
        ] {
            let output = Command::new(ETL)
                .args(words)
                .current_dir(folder.path())
                .env("LD_PRELOAD", &shim)
                .env("SHIM_TIME", seconds)
                .output()
                .expect("the program starts");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{seconds}, {words:?}: {said}");
        }
    }
}
