//! Pipeline files as data: text, what the command line changes, and the error or what became of it.

use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;

use super::*;
use crate::stage::{
    self, Destination, Earlier, Partitioning, Properties, Session, Setup, StageOption, Storage,
};

/// A stage that does nothing, of as many inputs as its kind says.
struct Idle(Vec<Partitioning>);

impl Stage for Idle {
    fn inputs(&self) -> Vec<Partitioning> {
        self.0.clone()
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        Ok(inputs.first().cloned().unwrap_or_default())
    }

    fn open(&self, _setup: Setup) -> Result<Box<dyn Session>> {
        Err(Error::failed("never opened"))
    }
}

/// A sink that writes nothing into a file.
struct Write(Option<String>);

impl Stage for Write {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        Ok(inputs[0].clone())
    }

    fn properties(&self) -> Properties {
        let destination = |path: &String| Destination {
            option: "path",
            named: vec![path.clone()],
            storage: Storage::Disk {
                path: path.clone(),
                prefix: "",
            },
            endpoint: None,
            in_place: false,
            earlier: Earlier::Replaced,
        };
        Properties {
            writes: self.0.as_ref().map(destination),
            ..Properties::default()
        }
    }

    fn open(&self, _setup: Setup) -> Result<Box<dyn Session>> {
        Err(Error::failed("never opened"))
    }
}

const fn kind(
    name: &'static str,
    inputs: &'static [usize],
    options: fn() -> &'static [StageOption],
    decode: fn(toml::Table) -> Result<Box<dyn Stage>>,
) -> StageKind {
    StageKind {
        name,
        summary: "",
        inputs,
        sink: false,
        takes_batch_rows: true,
        options,
        example: "",
        decode,
        ..StageKind::BASE
    }
}

#[derive(Deserialize, schemars::JsonSchema)]
#[expect(dead_code, reason = "only whether it decodes is asked")]
struct Load {
    files: Option<Vec<String>>,
    types: Option<std::collections::BTreeMap<String, String>>,
    password: Option<u32>,
}

#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "only its keys are asked")]
struct Group {
    by: Option<String>,
    separator: Option<String>,
}

#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "the same")]
struct On {
    on: Option<String>,
}

#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "the same")]
struct WriteOptions {
    path: Option<String>,
    batch_docs: Option<usize>,
}

static LOAD: StageKind = StageKind {
    patterns_option: Some("files"),
    ..kind("load", &[0], crate::stage::stage_options!(Load), |table| {
        stage::options::<Load>(table)?;
        Ok(Box::new(Idle(vec![Partitioning::Any])))
    })
};
static GROUP: StageKind = kind("group", &[1], crate::stage::stage_options!(Group), |_| {
    Ok(Box::new(Idle(vec![Partitioning::ByKey(vec!["k".into()])])))
});
static JOIN: StageKind = kind("join", &[2], crate::stage::stage_options!(On), |_| {
    Ok(Box::new(Idle(vec![
        Partitioning::Any,
        Partitioning::Broadcast,
    ])))
});
static WRITE: StageKind = StageKind {
    sink: true,
    takes_batch_rows: false,
    batch_option: Some("batch_docs"),
    ..kind(
        "write",
        &[1],
        crate::stage::stage_options!(WriteOptions),
        |table| {
            let path = table.get("path").and_then(toml::Value::as_str);
            Ok(Box::new(Write(path.map(str::to_owned))))
        },
    )
};

/// A pipeline of this module's kinds.
pub(crate) fn read(text: &str, command_line: &[&str]) -> Result<Pipeline> {
    let mut overrides = Overrides::default();
    for word in command_line {
        match *word {
            "--sequential" => overrides.sequential = true,
            "--parallel" => overrides.parallel = true,
            set => overrides.sets.push(set.to_owned()),
        }
    }
    let environment = |name: &str| (name == "DATA").then(|| OsString::from("/data"));
    let registry: &[&'static StageKind] = &[&LOAD, &GROUP, &JOIN, &WRITE];
    decode(
        registry,
        Path::new("p/job.toml"),
        text,
        &overrides,
        &environment,
    )
}

pub(crate) const FILE: &str = r#"
name = "job"
[[stage]]
name = "a"
kind = "load"
files = ["${DATA}/x", "${NO:-y}", "$$"]
types = { amount = "float" }

[[stage]]
name = "b"
kind = "group"
inputs = ["a"]
executor = "hybrid"
processes = 2
threads = 3

[[stage]]
name = "c"
kind = "join"
inputs = ["a", "b"]
parallel = false
executor = "processes"
workers = 4

[[stage]]
name = "d"
kind = "write"
inputs = ["c"]
path = "out"
"#;

fn grids(command_line: &[&str]) -> Vec<String> {
    let pipeline = read(FILE, command_line).unwrap_or_else(|error| panic!("{}", error.render()));
    let grid = |step: &Step| {
        let grid = step.grid;
        format!("{} {}x{}", grid.kind.as_str(), grid.processes, grid.threads)
    };
    pipeline.steps.iter().map(grid).collect()
}

#[test]
fn a_file_becomes_a_pipeline() {
    let pipeline = read(
        FILE,
        &["a.types.'odd name'=int", "max_rejects=-1", "b.by=x y"],
    )
    .unwrap();
    assert_eq!((pipeline.name.as_str(), pipeline.max_rejects), ("job", -1));
    assert_eq!(pipeline.folder.0, Path::new("p"));
    let inputs: Vec<&[usize]> = pipeline.steps.iter().map(|step| &step.inputs[..]).collect();
    assert_eq!(inputs, [&[][..], &[0], &[0, 1], &[2]]);
    let expected: toml::Table = r#"
        files = ["/data/x", "y", "$"]
        types = { amount = "float", "odd name" = "int" }
    "#
    .parse()
    .unwrap();
    assert_eq!(pipeline.steps[0].options, expected);
    assert_eq!(pipeline.steps[1].options["by"].as_str(), Some("x y"));
    assert_eq!(pipeline.steps[3].publishes_to().as_deref(), Some("out"));
    assert_eq!(pipeline.schemas().unwrap().len(), 4);
    assert_eq!(
        read(&FILE.replace("name = \"job\"", ""), &[]).unwrap().name,
        "job"
    );
}

#[test]
fn the_later_word_about_an_executor_wins() {
    let cores = grid::cores();
    let threads = format!("threads 1x{cores}");
    let cases: &[(&[&str], [&str; 4])] = &[
        (
            &[],
            [
                "sequential 1x1",
                "hybrid 2x3",
                "sequential 1x1",
                "sequential 1x1",
            ],
        ),
        (&["--sequential"], ["sequential 1x1"; 4]),
        (
            &["--parallel"],
            [&threads, "hybrid 2x3", "processes 4x1", &threads],
        ),
        (
            &["*.executor=processes", "*.workers=2"],
            ["processes 2x1"; 4],
        ),
        (
            &["*.workers=2", "*.executor=processes"],
            ["processes 2x1"; 4],
        ),
        (
            &["*.workers=2", "--parallel"],
            ["threads 1x2", "hybrid 2x3", "processes 2x1", "threads 1x2"],
        ),
        (
            &[
                "--sequential",
                "'*'.executor=hybrid",
                "*.processes=3",
                "*.threads=1",
            ],
            ["hybrid 3x1"; 4],
        ),
        (
            &["*.executor=threads", "*.parallel=false"],
            ["sequential 1x1"; 4],
        ),
        (
            &["*.parallel=false", "*.executor=threads", "*.workers=1"],
            ["threads 1x1"; 4],
        ),
        (
            &["--sequential", "*.parallel=true", "*.workers=5"],
            ["threads 1x5", "hybrid 2x3", "processes 5x1", "threads 1x5"],
        ),
        (
            &["b.workers=7", "c.processes=7"],
            [
                "sequential 1x1",
                "hybrid 2x3",
                "sequential 1x1",
                "sequential 1x1",
            ],
        ),
    ];
    for (command_line, expected) in cases {
        assert_eq!(grids(command_line), expected, "{command_line:?}");
    }
    let pipeline = read(FILE, &["c.executor=threads", "b.executor=hybrid"]).unwrap();
    assert_eq!(pipeline.steps[2].grid.threads, cores);
    let hybrid = pipeline.steps[1].grid;
    assert_eq!((hybrid.processes, hybrid.threads), (2, (cores / 2).max(1)));
}

#[test]
fn batch_rows_goes_where_it_is_taken() {
    let pipeline = read(FILE, &["*.batch_rows=7"]).unwrap();
    let rows: Vec<_> = pipeline.steps.iter().map(|step| step.batch_rows).collect();
    assert_eq!(rows, [Some(7), Some(7), Some(7), None]);
}

#[test]
fn a_part_is_what_the_stage_reads() {
    let names = |stage| -> Vec<(String, Vec<usize>)> {
        let part = read(FILE, &[]).unwrap().upto(stage).unwrap();
        let steps = part.steps.into_iter();
        steps.map(|step| (step.name, step.inputs)).collect()
    };
    assert_eq!(names("b"), [("a".into(), vec![]), ("b".into(), vec![0])]);
    assert_eq!(names("d").len(), 4);
    let error = read(FILE, &[]).unwrap().upto("e").err().unwrap();
    assert_eq!(
        error.render(),
        "error: no stage `e` in `p/job.toml`; there are `a`, `b`, `c`, `d`\n"
    );
}

/// A stage to put a fault into; the next line is line 5.
const HEAD: &str = "[[stage]]\nname = \"a\"\nkind = \"load\"\nfiles = []\n";

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_fault_is_named_with_its_place() {
    let second = |rest: &str| format!("{HEAD}[[stage]]\nname = \"b\"\n{rest}");
    let cases: Vec<(String, &[&str], &str)> = vec![
        (
            String::new(),
            &[],
            "a pipeline needs a stage, this has none\n  at p/job.toml\nhint: begin each stage with `[[stage]]`; `etl stages` lists the kinds",
        ),
        (
            "stage = []".into(),
            &[],
            "a pipeline needs a stage, this has none\n  at p/job.toml\nhint: begin each stage with `[[stage]]`; `etl stages` lists the kinds",
        ),
        (
            "\n[stage]\nname = \"a\"".into(),
            &[],
            "`stage`: expected tables, found a table\n  at p/job.toml:2:2\nhint: begin each stage with `[[stage]]`",
        ),
        (
            "[[stages]]".into(),
            &[],
            "unknown key `stages`; there are `name`, `max_rejects`, `[cluster]` and `[[stage]]`\n  at p/job.toml:1:3\nhint: did you mean `stage`?",
        ),
        (
            "a = 1\na = 2".into(),
            &[],
            "not TOML: duplicate key\n  at p/job.toml:2:1",
        ),
        (
            "[stage]\nname = \"a\"\n[stage]\nname = \"b\"".into(),
            &[],
            "not TOML: duplicate key\n  at p/job.toml:3:2\nhint: begin each stage with `[[stage]]`",
        ),
        (
            "max_rejects = -2\n[[stage]]\nname = \"a\"\nkind = \"load\"".into(),
            &[],
            "`max_rejects`: expected at least -1, found -2\n  at p/job.toml:1:1",
        ),
        (
            "[[stage]]\n\nkind = \"load\"".into(),
            &[],
            "stage 1 has no `name`\n  at p/job.toml:1:1",
        ),
        (
            format!("[[stage]]\nname = \"{}\"", "n".repeat(300)),
            &[],
            "no `kind`\n  at p/job.toml:1:1\nhint: `etl stages` lists the kinds\nerror: `name`: expected at most 200 characters, found 300\n  at p/job.toml:2:1",
        ),
        (
            "[[stage]]\nname = \"a b\"".into(),
            &[],
            "no `kind`\n  at p/job.toml:1:1\nhint: `etl stages` lists the kinds\nerror: `name`: expected letters, digits, `_` and `-`, found `a b`\n  at p/job.toml:2:1",
        ),
        (
            "[[stage]]\nname = \"a\"".into(),
            &[],
            "stage `a`: no `kind`\n  at p/job.toml:1:1\nhint: `etl stages` lists the kinds",
        ),
        (
            format!("{HEAD}{HEAD}"),
            &[],
            "two stages are named `a`\n  at p/job.toml:6:1",
        ),
        (
            second("kind = \"grup\""),
            &[],
            "stage `b`: unknown kind `grup`; there are `load`, `group`, `join`, `write`\n  at p/job.toml:7:1\nhint: did you mean `group`?",
        ),
        (
            second("kind = \"group\"\ninputs = [\"a\"]\nseperator = 1"),
            &[],
            "stage `b`: unknown key `seperator`; kind `group` takes `by`, `separator`\n  at p/job.toml:9:1\nhint: did you mean `separator`?",
        ),
        (
            format!("{HEAD}paralel = true"),
            &[],
            "stage `a`: unknown key `paralel`; kind `load` takes `files`, `types`, `password`\n  at p/job.toml:5:1\nhint: did you mean `parallel`?",
        ),
        (
            format!("{HEAD}parallel = \"yes\""),
            &[],
            "stage `a`: `parallel`: expected `true` or `false`, found text\n  at p/job.toml:5:1",
        ),
        (
            format!("{HEAD}executor = \"sequential\"\nparallel = true"),
            &[],
            "stage `a`: `parallel = true` and `executor = \"sequential\"` exclude each other\n  at p/job.toml:6:1\nhint: leave one of them out; `parallel = false` alone makes a stage sequential",
        ),
        (
            format!("{HEAD}executor = \"thread\""),
            &[],
            "stage `a`: `executor`: expected one of `sequential`, `threads`, `processes`, `hybrid`, found `thread`\n  at p/job.toml:5:1\nhint: did you mean `threads`?",
        ),
        (
            format!("{HEAD}parallel = true\nworkers = 1025"),
            &[],
            "stage `a`: `workers`: expected 0 to 1024, found 1025\n  at p/job.toml:6:1",
        ),
        (
            format!("{HEAD}executor = \"hybrid\"\nworkers = 2"),
            &[],
            "stage `a`: `workers` means nothing to executor `hybrid`\n  at p/job.toml:6:1\nhint: write `processes` and `threads`",
        ),
        (
            format!("{HEAD}processes = 2"),
            &[],
            "stage `a`: `processes` means nothing to executor `sequential`\n  at p/job.toml:5:1\nhint: write `workers`, or `executor = \"hybrid\"`",
        ),
        (
            format!("{HEAD}executor = \"hybrid\"\nprocesses = 64\nthreads = 64"),
            &[],
            "stage `a`: `processes` x `threads`: expected at most 1024 workers, found 64 x 64\n  at p/job.toml:6:1",
        ),
        (
            format!("{HEAD}batch_rows = 0"),
            &[],
            "stage `a`: `batch_rows`: expected 1 to 4294967295, found 0\n  at p/job.toml:5:1",
        ),
        (
            second("kind = \"write\"\ninputs = [\"a\"]\nbatch_rows = 5"),
            &[],
            "stage `b`: kind `write` does not take `batch_rows`\n  at p/job.toml:9:1\nhint: its unit is `batch_docs`",
        ),
        (
            format!("{HEAD}types = 5"),
            &[],
            "stage `a`: `types`: expected a table, found `5`\n  at p/job.toml:5:1",
        ),
        (
            format!("{HEAD}password = \"hunter2\""),
            &[],
            "stage `a`: `password`: expected a whole number from 0, found the text \"***\"\n  at p/job.toml:5:1",
        ),
        (
            format!("{HEAD}types = {{ x = \"${{NO}}\" }}"),
            &[],
            "stage `a`: `types.x`: environment variable `NO` is not set\n  at p/job.toml:5:11\nhint: set it, or give a default: `${NO:-default}`; if a shell is to read it, write `$${NO}`, and for a row's value `{NO}`",
        ),
        (
            second("kind = \"group\"\ninputs = \"a\""),
            &[],
            "stage `b`: `inputs`: expected a list of names, found text\n  at p/job.toml:8:1",
        ),
        (
            second("kind = \"group\""),
            &[],
            "stage `b`: kind `group` takes 1 input, found 0\n  at p/job.toml:5:1",
        ),
        (
            format!("{HEAD}inputs = [\"a\"]"),
            &[],
            "stage `a`: kind `load` takes no inputs, found 1\n  at p/job.toml:5:1\nerror: stage `a`: a stage cannot read itself\n  at p/job.toml:5:11\nhint: a stage reads stages above it: change the order",
        ),
        (
            second("kind = \"group\"\ninputs = [\"c\"]\n[[stage]]\nname = \"c\"\nkind = \"load\""),
            &[],
            "stage `b`: input `c` is a stage further down\n  at p/job.toml:8:11\nhint: a stage reads stages above it: change the order",
        ),
        (
            second("kind = \"group\"\ninputs = [\"aa\"]"),
            &[],
            "stage `b`: input `aa` is not a stage above; there are `a`\n  at p/job.toml:8:11",
        ),
        (
            second(
                "kind = \"write\"\ninputs = [\"a\"]\n[[stage]]\nname = \"c\"\nkind = \"group\"\ninputs = [\"b\"]",
            ),
            &[],
            "stage `c`: input `b` gives no rows: with `write` they leave the pipeline\n  at p/job.toml:12:11\nhint: read what it reads",
        ),
        (
            second(
                "kind = \"write\"\ninputs = [\"a\"]\npath = \"x/../o\"\n[[stage]]\nname = \"c\"\nkind = \"write\"\npath = \"./o\"\ninputs = [\"a\"]",
            ),
            &[],
            "stage `c`: stage `b` writes `./o` already\n  at p/job.toml:13:1\nhint: give each a place of its own",
        ),
        (
            HEAD.into(),
            &["a.files"],
            "`--set`: expected `STAGE.KEY=VALUE`, found no `=`\nhint: write `--set STAGE.KEY=VALUE`, or `--set KEY=VALUE` for a key outside the stages",
        ),
        (
            HEAD.into(),
            &["a.=1"],
            "`--set`: `a.` does not name a key\nhint: write `--set STAGE.KEY=VALUE`, or `--set KEY=VALUE` for a key outside the stages",
        ),
        (
            HEAD.into(),
            &["max_reject=1"],
            "`--set max_reject`: no key `max_reject` outside the stages; there are `name`, `max_rejects`, `cluster`\nhint: did you mean `max_rejects`?",
        ),
        (
            HEAD.into(),
            &["max_rejects=few"],
            "`max_rejects`: expected a whole number, found text\n  at `--set max_rejects=few`",
        ),
        (
            HEAD.into(),
            &["x.files=1"],
            "`--set x.files`: no stage `x`; there are `a`",
        ),
        (
            HEAD.into(),
            &["a.file=1"],
            "`--set a.file`: unknown key `file`; kind `load` takes `files`, `types`, `password`\nhint: did you mean `files`?",
        ),
        (
            HEAD.into(),
            &["*.seperator=1"],
            "`--set *.seperator`: no stage takes `seperator`",
        ),
        (
            HEAD.into(),
            &["*.tipes=1"],
            "`--set *.tipes`: no stage takes `tipes`\nhint: did you mean `types`?",
        ),
        (
            HEAD.into(),
            &["a.kind=group"],
            "`--set a.kind`: `name`, `kind` of a stage cannot be set\nhint: change the pipeline file",
        ),
        (
            HEAD.into(),
            &["a.files.x=1"],
            "`--set a.files.x`: `files` is not a table",
        ),
        (
            HEAD.into(),
            &["a.files=x"],
            "stage `a`: `files`: expected a list, found the text \"x\"\n  at `--set a.files=x`\nhint: write a list: `--set 'a.files=[\"x\"]'`",
        ),
        (
            format!("{HEAD}types = {{ x = \"int\" }}\npassword = \"no\""),
            &["a.types.x=5", "a.password=hunter2"],
            "stage `a`: `types.x`: expected text, found `5`\n  at `--set a.types.x=5`\nerror: stage `a`: `password`: expected a whole number from 0, found the text \"***\"\n  at `--set a.password=***`",
        ),
        (
            format!("{HEAD}types = {{ x = 4, y = 5 }}"),
            &["a.types.x=int"],
            "stage `a`: `types.y`: expected text, found `5`\n  at p/job.toml:5:18",
        ),
        (
            format!("{HEAD}types.x = \"${{NO}}\"\nworkers = -1\npassword = true"),
            &["a.files=[5]"],
            "stage `a`: `types.x`: environment variable `NO` is not set\n  at p/job.toml:5:7\nhint: set it, or give a default: `${NO:-default}`; if a shell is to read it, write `$${NO}`, and for a row's value `{NO}`\nerror: stage `a`: `workers`: expected 0 to 1024, found -1\n  at p/job.toml:6:1\nerror: stage `a`: `password`: expected a whole number from 0, found `***`\n  at p/job.toml:7:1\nerror: stage `a`: `files`: expected text, found `5`\n  at `--set a.files=[5]`",
        ),
        (
            second("kind = \"group\"\ninputs = [\"a\"]"),
            &["*.executor=thread"],
            "`executor`: expected one of `sequential`, `threads`, `processes`, `hybrid`, found `thread`\n  at `--set *.executor=thread`\nhint: did you mean `threads`?",
        ),
        (
            HEAD.into(),
            &["a.executor=hybrid", "a.workers=2"],
            "stage `a`: `workers` means nothing to executor `hybrid`\n  at `--set a.workers=2`\nhint: write `processes` and `threads`",
        ),
        (
            HEAD.into(),
            &["a.parallel=true", "a.threads=2"],
            "stage `a`: `threads` means nothing to executor `threads`\n  at `--set a.threads=2`\nhint: write `workers`, or `executor = \"hybrid\"`",
        ),
        (
            HEAD.into(),
            &["--sequential", "--parallel"],
            "`--sequential` and `--parallel` exclude each other",
        ),
    ];
    let mut wrong = String::new();
    for (text, command_line, expected) in cases {
        let found = match read(&text, command_line) {
            Ok(_) => "no error".to_owned(),
            Err(error) => {
                assert_eq!(error.exit_code(), 2, "{text}");
                error.render()
            }
        };
        let expected = format!("error: {expected}\n");
        if found != expected {
            wrong.push_str(&format!(
                "--- {text}\n{command_line:?}\nexpected {expected}found {found}\n"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_file_that_cannot_be_read_is_no_fault_of_usage() {
    for path in ["no/such.toml", "."] {
        let error = load(Path::new(path), &Overrides::default()).err().unwrap();
        assert_eq!(error.exit_code(), 1);
        assert_eq!(error.message, format!("cannot read pipeline file `{path}`"));
    }
}

#[test]
fn a_set_replaces_a_variable_that_is_not_set() {
    let text = HEAD.replace("[]", "[\"${NO}\"]");
    assert!(read(&text, &["a.files=['x']"]).is_ok());
    assert!(read(&text, &[]).is_err());
}

#[test]
fn a_file_of_data_is_named_as_what_it_may_be() {
    let hint = |path: &str| {
        let error = source::parse(Path::new(path), "id,name\n1,Ada\n").err();
        error.and_then(|error| error.hint)
    };
    let csv = hint("in/people.csv").expect("it is no pipeline");
    assert!(csv.ends_with("is `in/people.csv` data?"), "{csv}");
    assert_eq!(hint("job.toml"), None);
}
