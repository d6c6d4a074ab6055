//! What the kinds, the pipelines and the layout promise: examples that decode, pipelines that check, crates that
//! stay in their home, arrows that point down, and a process-wide pool that is never entered. `pages` has the pages
//! that people read.

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use etl::stage::STAGES;

use crate::generate_donors::write_dumps;
use crate::harness::{Etl, Folder, Variant, children, project, shared, wait_until};

/// Keys that every stage takes; what remains are the kind's own.
const COMMON: &[&str] = &[
    "name",
    "kind",
    "inputs",
    "parallel",
    "executor",
    "workers",
    "processes",
    "threads",
    "batch_rows",
];

#[test]
fn the_example_of_every_kind_decodes() {
    assert!(!STAGES.is_empty(), "there are kinds");
    for kind in STAGES {
        let mut table: toml::Table = toml::from_str(kind.example)
            .unwrap_or_else(|error| panic!("the example of {} is no TOML: {error}", kind.name));
        let stages = table.remove("stage").and_then(|stages| match stages {
            toml::Value::Array(stages) => stages.into_iter().next(),
            _ => None,
        });
        let Some(toml::Value::Table(mut options)) = stages else {
            panic!("the example of {} has no [[stage]]", kind.name);
        };
        assert_eq!(options["kind"].as_str(), Some(kind.name));
        let inputs = options.get("inputs").and_then(toml::Value::as_array);
        let inputs = inputs.map_or(0, Vec::len);
        assert!(kind.inputs.contains(&inputs), "{}", kind.name);
        options.retain(|key, _| !COMMON.contains(&key));
        for key in options.keys() {
            assert!(
                kind.all_options().any(|option| option.name == key),
                "{} does not list `{key}`, which its example uses",
                kind.name
            );
        }
        if let Err(error) = (kind.decode)(options) {
            panic!("the example of {} does not decode: {error}", kind.name);
        }
    }
}

#[test]
fn every_pipeline_checks() {
    let folder = Folder::new("check");
    let data = shared().map(|shared| shared.join("data"));
    let entries = fs::read_dir(project().join("pipelines")).expect("there are pipelines");
    let mut checked = 0;
    for path in entries.map(|entry| entry.expect("it can be read").path()) {
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("it can be read");
        let name = path.file_name().expect("it is a file").to_string_lossy();
        let comment = text.lines().take_while(|line| line.starts_with('#'));
        let command = format!("etl run pipelines/{name}");
        assert!(
            comment.take(8).any(|line| line.contains(&command)),
            "the first lines of {name} should name its command, `{command}`"
        );
        if text.contains("${ETL_SHARED_DATA}") && data.is_none() {
            continue;
        }
        let mut etl = Etl::new(folder.path(), &["check", &path.display().to_string()]);
        if let Some(data) = &data {
            etl = etl.env("ETL_SHARED_DATA", data);
        }
        let outcome = etl.outcome();
        assert_eq!(
            outcome.code,
            Some(0),
            "{}: {}",
            path.display(),
            outcome.stderr
        );
        checked += 1;
    }
    assert!(
        checked >= 2,
        "the Donor's Choice pipelines are always there"
    );
    assert!(
        folder.path().read_dir().expect("ours").next().is_none(),
        "a check writes nothing"
    );
}

#[test]
fn the_mapping_names_every_member_of_a_document() {
    let text = fs::read_to_string(project().join("pipelines/donors_mapping.json")).expect("a file");
    let mapping: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let properties = mapping["properties"].as_object().expect("properties");
    let of = |kind: &str| {
        properties
            .values()
            .filter(|property| property["type"] == kind)
            .count()
    };
    let counts = ["date", "geo_point", "double", "long", "text", "keyword"].map(of);
    assert_eq!(counts, [5, 1, 11, 3, 10, 42]);
    assert_eq!(properties.len(), 72);

    let pipeline = fs::read_to_string(project().join("pipelines/donors.toml")).expect("a file");
    let pipeline: toml::Table = toml::from_str(&pipeline).expect("TOML");
    let stages = pipeline["stage"].as_array().expect("stages");
    let mut columns = 0;
    for (stage, prefix) in [
        ("projects", "project_"),
        ("resources", "resource_"),
        ("donations", ""),
    ] {
        let stage = stages
            .iter()
            .find(|it| it["name"].as_str() == Some(stage))
            .expect("a stage of that name");
        for column in stage["columns"].as_array().expect("columns") {
            let column = column.as_str().expect("a name");
            if ["school_latitude", "school_longitude"].contains(&column) {
                continue;
            }
            let kept = ["projectid", "resourceid"].contains(&column);
            let name = format!("{}{column}", if kept { "" } else { prefix });
            let wanted = match stage["types"].get(column).and_then(toml::Value::as_str) {
                Some("float") => Some("double"),
                Some("int") => Some("long"),
                _ => None,
            };
            let mapped = properties[&name]["type"].as_str().expect("a type");
            assert!(
                wanted.map_or(!["double", "long"].contains(&mapped), |wanted| wanted
                    == mapped),
                "{name} is mapped as {mapped}"
            );
            columns += 1;
        }
    }
    // Every column but the two of the location; projectid comes three times.
    assert_eq!(columns, 44 - 2 + 8 + 23);
    assert_eq!(properties["project_location"]["type"], "geo_point");
}

/// Rust sources with their comments taken out, so that prose may name what code may not.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut todo = vec![project().join("src")];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).expect("it can be read").flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("it can be read");
                let code: Vec<&str> = text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"))
                    .collect();
                let path = path
                    .strip_prefix(project())
                    .expect("it lies in there")
                    .to_owned();
                found.push((path, code.join("\n")));
            }
        }
    }
    found
}

/// Whether `path` is `home` or lies in it.
fn lives_in(path: &Path, home: &str) -> bool {
    path.starts_with(home) || path.with_extension("").starts_with(home)
}

/// Whether the code names the crate or module `word` as the start of a path.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(&format!("{word}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|char| char.is_alphanumeric() || char == '_' || char == ':')
    }) || code.contains(&format!("use {word};"))
}

#[test]
fn every_heavy_crate_has_one_home() {
    // A home is a file or a folder; the second of two is for the same bytes under another roof.
    let homes: &[(&str, &[&str])] = &[
        ("clap", &["src/cli", "src/main"]),
        ("clap_complete", &["src/cli"]),
        ("elasticsearch", &["src/http"]),
        ("flate2", &["src/format/compression", "src/http"]),
        ("indicatif", &["src/progress"]),
        ("object_store", &["src/place/store"]),
        ("polars_parquet", &["src/format/parquet"]),
        ("rayon", &["src/executor"]),
        ("reqwest", &["src/http"]),
        ("rustix", &["src/procs"]),
        ("rustls", &["src/http"]),
        ("signal_hook", &["src/stop"]),
        ("tantivy", &["src/stage/bulk_index"]),
        ("terminal_size", &["src/cli"]),
        ("tokio", &["src/http"]),
        ("toml_edit", &["src/bench/tune"]),
        ("zstd", &["src/format/compression"]),
    ];
    let mut faults = Vec::new();
    for (path, code) in sources() {
        for (name, homes) in homes {
            if names(&code, name) && !homes.iter().any(|home| lives_in(&path, home)) {
                faults.push(format!(
                    "{} names {name}, which lives in {homes:?}",
                    path.display()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What lies in the first place may not name the modules in the second.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "src/error",
        &[
            "cli", "bench", "run", "state", "pipeline", "executor", "stage", "format", "report",
            "progress", "batch", "schema", "columns", "place",
        ],
    ),
    (
        "src/schema",
        &[
            "cli", "bench", "run", "state", "pipeline", "executor", "stage", "format", "report",
            "progress", "place",
        ],
    ),
    (
        "src/columns",
        &[
            "cli", "bench", "run", "state", "pipeline", "executor", "stage", "report", "progress",
            "place",
        ],
    ),
    (
        "src/batch",
        &[
            "cli", "bench", "run", "state", "pipeline", "executor", "stage", "report", "progress",
            "place",
        ],
    ),
    (
        "src/format",
        &[
            "cli", "bench", "run", "state", "pipeline", "executor", "stage", "report", "progress",
            "place",
        ],
    ),
    (
        "src/http",
        &[
            "cli", "bench", "run", "state", "pipeline", "executor", "stage", "report", "progress",
            "batch", "place",
        ],
    ),
    (
        "src/place",
        &[
            "cli", "bench", "run", "state", "plan", "pipeline", "executor", "stage", "report",
            "progress", "batch", "columns",
        ],
    ),
    (
        "src/stage",
        &[
            "cli", "bench", "run", "state", "plan", "pipeline", "executor", "report", "progress",
        ],
    ),
    (
        "src/executor",
        &[
            "cli", "bench", "run", "state", "plan", "pipeline", "report", "progress", "columns",
            "format",
        ],
    ),
    (
        "src/progress",
        &["cli", "bench", "state", "executor", "stage", "format"],
    ),
    ("src/report", &["cli", "bench", "run", "state"]),
    (
        "src/pipeline",
        &[
            "cli", "bench", "run", "state", "plan", "report", "progress", "format",
        ],
    ),
    (
        "src/plan",
        &[
            "cli", "bench", "run", "state", "report", "progress", "format", "columns", "batch",
        ],
    ),
    ("src/state", &["cli", "bench", "run", "plan", "progress"]),
    ("src/run", &["cli", "bench"]),
    ("src/bench", &["cli"]),
];

#[test]
fn arrows_point_down() {
    let mut faults = Vec::new();
    for (path, code) in sources() {
        for (home, forbidden) in ARROWS.iter().filter(|(home, _)| lives_in(&path, home)) {
            for module in *forbidden {
                // `crate::run::x`, `use crate::run;`, and `use crate::{run, ..}` alike.
                let word = format!("crate::{module}");
                let named = code.match_indices(&word).any(|(at, _)| {
                    let after = code[at + word.len()..].chars().next();
                    !after.is_some_and(|char| char.is_alphanumeric() || char == '_')
                });
                if named {
                    faults.push(format!(
                        "{} names {word}, which is above {home}",
                        path.display()
                    ));
                }
            }
            if code.contains("use crate::{") {
                faults.push(format!(
                    "{}: one `use crate::module` a line",
                    path.display()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Words that are the name of a kind or of an option, and mean something else in these files: a folder or file, the
/// words, and what they are there.
const OTHER_WORDS: &[(&str, &[&str])] = &[
    // A member of reports, plans and other JSON, or a head of a table.
    ("src/cli", &["pipeline", "columns", "column", "files"]),
    // A key of the whole pipeline file, and of `etl plan` and reports.
    ("src/cli", &["max_rejects"]),
    ("src/pipeline", &["max_rejects"]),
    ("src/run/spool", &["column"]),
    // A part of the option `--all-files`.
    ("src/run", &["files"]),
    // An option of `etl tune`, and the head of its table.
    ("src/bench/tune", &["batch"]),
    ("src/cli/plan", &["to"]),
    // The option that every loader has, a program, and the kind that asks servers.
    ("src/place", &["files", "compress", "fetch"]),
    // Words of a command of AWS's, and the kind that asks servers.
    ("src/place/store/aws_files", &["env", "format"]),
    ("src/http/files", &["fetch"]),
    // Words of other tools, and the values of ours that they stand for.
    ("src/meant", &["index", "drop"]),
    // What secrets are called anywhere.
    ("src/secrets", &["password"]),
    // Counted things.
    ("src/pipeline/new_files", &["files"]),
    ("src/pipeline/stage_keys", &["session"]),
    // Who reads what is of another format.
    ("src/place/text", &["load_parquet"]),
    ("src/format/arrow", &["load_parquet"]),
    ("src/format/parquet", &["load_arrow", "columns"]),
    // A file of the scratch folder.
    ("src/bench/tune/measure", &["index"]),
    // Words that others have for `null` and for a type.
    ("src/meant", &["empty", "decimal"]),
    // How many hits are shown.
    ("src/cli/search", &["limit"]),
    // A member of what is kept of a run.
    ("src/state/history", &["pipeline"]),
    // Functions of SQL, and the kinds that do what an expression is refused.
    (
        "src/expression",
        &[
            "aggregate",
            "by",
            "concat",
            "dedupe",
            "derive",
            "explode",
            "filter",
            "format",
            "group_concat",
            "join",
            "normalize_dates",
            "sort",
            "trim",
        ],
    ),
    // The client's own settings, by the names that its users share.
    ("src/http", &["ca_certificate", "client_certificate"]),
];

/// What stands between two quotes. Where a character or an escape is taken for one, what lies between others is looked at,
/// which is no word.
fn quoted(code: &str) -> impl Iterator<Item = &str> {
    code.match_indices('"').map(|(at, _)| {
        let after = &code[at + 1..];
        &after[..after.find('"').unwrap_or_default()]
    })
}

/// The words between two backticks of a text, which are literals in a sentence; those in braces are the code's own.
fn in_sentences(code: &str) -> Vec<String> {
    let code = code.replace("\\\"", " ");
    let texts = code.lines().flat_map(|line| line.split('"'));
    let literals = texts.flat_map(|text| text.split('`').skip(1).step_by(2));
    let written = literals.flat_map(|literal| {
        let parts = literal.split('{').enumerate();
        parts.map(|(at, part)| match part.split_once('}') {
            Some((_, after)) if at > 0 => after,
            _ => part,
        })
    });
    let is_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let words = written.flat_map(|text| text.split(move |c| !is_of_word(c)));
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn words_in_sentences_are_found() {
    let code = r#"a("`{id}`: `load_csv` takes `delimiter = \"{x}\"`, see id, or
        b("`--set", format("`{x}`"), "`--set {a}.files=[\"b\"]`");"#;
    assert_eq!(
        in_sentences(code),
        ["load_csv", "delimiter", "set", "set", "files", "b"]
    );
}

#[test]
fn no_file_but_its_own_knows_a_kind_or_an_option() {
    let kinds: Vec<&str> = STAGES.iter().map(|kind| kind.name).collect();
    let options = STAGES.iter().flat_map(|kind| kind.all_options());
    let words: HashSet<&str> = options
        .map(|option| option.name)
        .chain(kinds.clone())
        .collect();
    let is_other = |path: &Path, word: &str| {
        let others = OTHER_WORDS.iter().filter(|(home, _)| lives_in(path, home));
        others
            .flat_map(|(_, words)| *words)
            .any(|other| *other == word)
    };
    let mut faults = Vec::new();
    for (path, code) in sources() {
        if path.starts_with("src/stage") || path.ends_with("tests.rs") {
            continue;
        }
        let code = code
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        for kind in &kinds {
            if code.contains(&format!("stage::{kind}")) || names(code, kind) {
                faults.push(format!(
                    "{} uses the module of kind `{kind}`",
                    path.display()
                ));
            }
        }
        let in_sentences = in_sentences(code);
        for word in quoted(code).chain(in_sentences.iter().map(String::as_str)) {
            if words.contains(word) && !is_other(&path, word) {
                faults.push(format!("{} names `{word}`", path.display()));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "what others need of a kind it says in `StageKind` or `Properties`:\n{}",
        faults.join("\n")
    );
}

#[test]
fn what_a_kind_says_of_its_options_is_among_them() {
    for kind in STAGES {
        let named = [
            kind.batch_option,
            kind.patterns_option,
            kind.expressions_option,
        ]
        .into_iter()
        .flatten();
        let replacing = kind.index.map(|index| index.replacing().0);
        for name in named.chain(replacing) {
            let mut options = kind.all_options();
            assert!(
                options.any(|option| option.name == name),
                "kind `{}` has no option `{name}`",
                kind.name
            );
        }
    }
}

#[test]
fn nothing_waits_by_looking_again_and_again() {
    // Who may: the constants there say why the system has no event to wait for. Others wait with the stop.
    let homes: &[(&str, &[&str])] = &[
        (
            "thread::sleep(",
            &[
                "src/disk",
                "src/procs",
                "src/stage/partial_file",
                "src/stage/bulk_index/local/opening",
            ],
        ),
        (".wait_timeout(", &["src/progress"]),
        (".wait_for(", &["src/stop", "src/executor/window"]),
        ("yield_now(", &[]),
    ];
    let mut faults = Vec::new();
    for (path, code) in sources() {
        for (word, homes) in homes {
            if code.contains(word) && !homes.iter().any(|home| lives_in(&path, home)) {
                faults.push(format!("{} has {word}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn one_place_prints() {
    // Beside it: the live lines, the frames of a worker or a task, and rows that are written to `-`.
    let homes: &[(&str, &[&str])] = &[
        ("print!(", &[]),
        ("println!(", &[]),
        ("dbg!(", &[]),
        (
            "io::stdout()",
            &[
                "src/cli/output",
                "src/cli/worker",
                "src/cli/task",
                "src/stage/write_files",
            ],
        ),
        ("io::stderr()", &["src/cli/output", "src/progress"]),
    ];
    let mut faults = Vec::new();
    for (path, code) in sources() {
        for (word, homes) in homes {
            if code.contains(word) && !homes.iter().any(|home| lives_in(&path, home)) {
                faults.push(format!("{} has {word}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_process_wide_pool_is_never_entered() {
    let folder = Folder::new("pool");
    let dumps = folder.join("dumps");
    write_dumps(&dumps, 2000, 10).expect("the dumps can be written");
    let mut donations = Vec::new();
    let packed = fs::File::open(dumps.join("opendata_donations000.gz")).expect("it was written");
    flate2::read::MultiGzDecoder::new(packed)
        .read_to_end(&mut donations)
        .expect("it is whole");
    let pipeline = project()
        .join("pipelines/donors_ndjson.toml")
        .display()
        .to_string();
    let out = folder.join("out");
    for variant in Variant::EACH {
        let mut running = Etl::run(folder.path(), &pipeline, variant.batch_rows(200))
            .args(["--set", "donations.files=[\"-\"]"])
            .env("ETL_DATA", &dumps)
            .env("ETL_OUT", out.join("donors.ndjson"))
            .start_fed();
        let (first, last) = donations.split_at(donations.len() - 1000);
        let mut pipe = running.child.stdin.take().expect("it is held open");
        pipe.write_all(first).expect("the run reads on");
        // Once something is written, every stage has worked, and the run waits for its last rows.
        wait_until("something is written", || {
            let entries = fs::read_dir(&out).into_iter().flatten().flatten();
            let mut parts = entries.filter(|e| e.file_name().to_string_lossy().ends_with(".part"));
            parts.any(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() > 0))
        });
        let parent = running.child.id();
        let mut seen = 0;
        for pid in children(parent).into_iter().chain([parent]) {
            for name in threads(pid) {
                seen += 1;
                assert!(
                    !name.starts_with("polars"),
                    "{variant}: there is a thread {name}"
                );
            }
        }
        assert!(seen > 0, "{variant}: nothing was looked at");
        pipe.write_all(last).expect("the run reads on");
        drop(pipe);
        let outcome = running.outcome();
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        fs::remove_dir_all(&out).expect("it was written");
    }
}

/// The names of a process's threads.
fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect()
}
