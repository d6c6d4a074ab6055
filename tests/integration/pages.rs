//! The pages that people read: README, `docs/`, CONTRIBUTING, CHANGELOG. Their links lead somewhere, their commands
//! run, and what is copied into them from elsewhere is still the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use encoding_rs::Encoding;
use etl::stage::STAGES;

use crate::harness::{ETL, Etl, Folder, Variant, files, for_each, project};

/// A README longer than this is no front page.
const README_LINES_MAX: usize = 200;

/// Every page with its path from the project's root.
fn pages() -> Vec<(String, String)> {
    let mut paths: Vec<String> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .map(str::to_owned)
        .to_vec();
    for entry in fs::read_dir(project().join("docs")).expect("there are docs") {
        let name = entry.expect("it can be read").file_name();
        paths.push(format!("docs/{}", name.to_string_lossy()));
    }
    paths.sort();
    let read = |path: String| {
        let text = fs::read_to_string(project().join(&path)).expect("a page is text");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// A page's lines outside of its code blocks, and its code blocks with the word behind their fence.
fn split(page: &str) -> (String, Vec<(String, String)>) {
    let (mut prose, mut blocks) = (String::new(), Vec::new());
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(word), None) => open = Some((word.to_owned(), String::new())),
            (None, Some((_, block))) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a code block stays open:\n{page}");
    (prose, blocks)
}

/// The code spans of a page's prose.
fn spans(prose: &str) -> impl Iterator<Item = &str> {
    prose
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn the_readme_is_short_and_leads_to_every_page() {
    let readme = fs::read_to_string(project().join("README.md")).expect("there is one");
    let lines = readme.lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines");
    let tests = readme
        .lines()
        .filter(|line| line.starts_with("    cargo test "));
    assert_eq!(
        tests.count(),
        1,
        "the command that CI runs stands there once"
    );
    for (path, _) in pages() {
        assert!(
            path == "README.md" || readme.contains(&format!("]({path})")),
            "README.md leads to {path}"
        );
    }
}

/// The anchor that a heading has, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = |char: &char| char.is_alphanumeric() || " -_".contains(*char);
    let heading = heading.to_lowercase();
    heading
        .chars()
        .filter(kept)
        .map(|char| if char == ' ' { '-' } else { char })
        .collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    let (prose, _) = split(page);
    prose
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut faults = Vec::new();
    for (path, text) in pages() {
        let folder = project().join(&path).parent().map(Path::to_owned);
        let folder = folder.expect("a page lies in a folder");
        for target in split(&text).0.split("](").skip(1) {
            let target = target.split(')').next().unwrap_or_default();
            if target.starts_with("https://") {
                continue;
            }
            let (file, place) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => project().join(&path),
                file => folder.join(file),
            };
            if !file.exists() {
                faults.push(format!("{path}: there is no {target}"));
            } else if !place.is_empty() {
                let page = fs::read_to_string(&file).expect("a page is text");
                if !anchors(&page).contains(place) {
                    faults.push(format!("{path}: {target} has no such heading"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_file_that_is_named_is_there() {
    let homes = [
        "benches/",
        "docs/",
        "examples/",
        "fuzz/",
        "pipelines/",
        "src/",
        "tests/",
    ];
    // What one writes who follows the worked example.
    let own = ["src/stage/require.rs", "tests/cases/require"];
    let mut faults = Vec::new();
    for (path, text) in pages() {
        let (prose, _) = split(&text);
        for span in spans(&prose) {
            let word = span.split([' ', '*']).next().unwrap_or_default();
            if homes.iter().any(|home| word.starts_with(home))
                && !own.contains(&word)
                && !project().join(word).exists()
            {
                faults.push(format!("{path}: there is no `{word}`"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_is_copied_into_a_page_is_still_the_same() {
    let folder = Folder::new("pages");
    let printed = Etl::new(folder.path(), &["stages", "--markdown"]).outcome();
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let page = fs::read_to_string(project().join("docs/stages.md")).expect("it can be read");
    assert!(
        page == printed.stdout,
        "docs/stages.md is not what `etl stages --markdown` prints; write it anew"
    );

    let guide = fs::read_to_string(project().join("CONTRIBUTING.md")).expect("it can be read");
    let example = "tests/worked_example/stage/require.rs";
    let code = fs::read_to_string(project().join(example)).expect("it can be read");
    assert!(
        guide.contains(&format!(
            "<!-- example: {example} -->\n```rust\n{code}```\n"
        )),
        "the worked example in CONTRIBUTING.md is not {example}; copy it"
    );
}

#[test]
fn the_stages_in_the_pages_decode() {
    for (path, text) in pages() {
        for (_, block) in split(&text).1.iter().filter(|(word, _)| word == "toml") {
            let table: toml::Table = block
                .parse()
                .unwrap_or_else(|error| panic!("{path}: {error} in\n{block}"));
            let stages = table.get("stage").and_then(toml::Value::as_array);
            for stage in stages.into_iter().flatten() {
                let mut options = stage.as_table().expect("[[stage]]").clone();
                let name = options["kind"].as_str().expect("a word").to_owned();
                let kind = STAGES.iter().find(|kind| kind.name == name);
                let kind = kind.unwrap_or_else(|| panic!("{path}: there is no kind {name}"));
                options.retain(|key, _| kind.all_options().any(|option| option.name == key));
                if let Err(error) = (kind.decode)(options) {
                    panic!("{path}: {name} does not decode: {error}");
                }
            }
        }
    }
}

#[test]
fn the_readmes_pipeline_does_what_is_said_of_it() {
    let readme = fs::read_to_string(project().join("README.md")).expect("there is one");
    let (_, blocks) = split(&readme);
    let pipeline = blocks.iter().find(|(word, _)| word == "toml");
    let (_, pipeline) = pipeline.expect("there is a pipeline");
    let folder = Folder::new("readme");
    folder.write("orders.toml", pipeline);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed
        .write_all(b"ordered_at,zip,amount\n2024-05-01,00501,2.5\n2024-05-02,1,2,3\n2024-05-03,1,much\nlately,1,4\n")
        .expect("memory takes it");
    folder.write(
        "in/orders1.csv.gz",
        packed.finish().expect("memory takes it"),
    );
    let outcome = Etl::run(folder.path(), "orders.toml", Variant::SEQUENTIAL).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(outcome.rejects.lines().count(), 3, "{}", outcome.rejects);
    let written = fs::read_to_string(folder.join("orders.ndjson")).expect("it was published");
    assert_eq!(
        written,
        "{\"ordered_at\":\"2024-05-01T00:00:00\",\"zip\":\"00501\",\"amount\":2.5}\n"
    );
}

/// The examples of `docs/csv.md`: files, the stage that loads them, and what it gives.
#[test]
fn the_examples_of_csv_give_what_is_said_of_them() {
    let page = fs::read_to_string(project().join("docs/csv.md")).expect("there is one");
    let mut contents = Vec::new();
    let mut stage = String::new();
    let mut examples = 0;
    for (word, block) in split(&page).1 {
        match word.as_str() {
            "csv" => contents.push(block),
            "toml" => stage = block,
            _ => {
                let got = loaded(&stage, &std::mem::take(&mut contents));
                assert_eq!(got, block, "of\n{stage}");
                examples += 1;
            }
        }
    }
    assert_eq!(examples, 6, "each has a file, a stage and what comes of it");
}

/// What a stage gives of files with these texts, as NDJSON.
fn loaded(stage: &str, contents: &[String]) -> String {
    let folder = Folder::new("csv-page");
    let table: toml::Table = stage.parse().expect("it is TOML");
    let options = &table["stage"][0];
    let label = options.get("encoding").and_then(toml::Value::as_str);
    let encoding = Encoding::for_label(label.unwrap_or("utf-8").as_bytes()).expect("it is a label");
    let files = options["files"].as_array().expect("a list");
    assert_eq!(files.len(), contents.len());
    for (file, text) in files.iter().zip(contents) {
        folder.write(file.as_str().expect("a path"), encoding.encode(text).0);
    }
    let name = &options["name"];
    let write = "kind = \"write_files\"\npath = \"out.ndjson\"\nnulls = \"null\"";
    let pipeline = format!("{stage}\n[[stage]]\nname = \"write\"\ninputs = [{name}]\n{write}\n");
    folder.write("pipeline.toml", pipeline);
    let outcome = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    fs::read_to_string(folder.join("out.ndjson")).expect("it was published")
}

/// A block's commands as they run here: with the program and the examples that are built already, and one run of each
/// side of a comparison. `None`: an example is not built.
fn runnable(block: &str) -> Option<String> {
    let mut script = String::new();
    for line in block.lines() {
        let mut line = line.replace("cargo run --release -- ", "etl ");
        if let Some((before, rest)) = line.split_once("cargo run --release --example ") {
            let (name, rest) = rest.split_once(" -- ").expect("an example has arguments");
            let program = Path::new(ETL).with_file_name("examples").join(name);
            if !program.exists() {
                println!("skipped: {name} is not built");
                return None;
            }
            line = format!("{before}{} {rest}", program.display());
        }
        line = line.replace("etl compare ", "etl compare --runs 1 ");
        script.push_str(&line);
        script.push('\n');
    }
    Some(script)
}

#[test]
fn the_commands_of_the_pages_run() {
    let pages = pages();
    for_each(&pages, |(path, text)| {
        let (_, blocks) = split(text);
        let blocks: Vec<&String> = blocks
            .iter()
            .filter(|(word, _)| word == "sh")
            .map(|(_, block)| block)
            .collect();
        if blocks.is_empty() {
            return Vec::new();
        }
        let folder = Folder::new(&path.replace('/', "-"));
        for home in ["pipelines", "data"] {
            for (name, bytes) in files(&project().join(home)) {
                folder.write(&format!("{home}/{name}"), bytes);
            }
        }
        let programs = Path::new(ETL).parent().expect("it lies in a folder");
        let path_variable = std::env::var("PATH").unwrap_or_default();
        let mut faults = Vec::new();
        for block in blocks {
            let Some(script) = runnable(block) else {
                continue;
            };
            let mut sh = Command::new("sh");
            sh.args(["-eu", "-c", &script]);
            let outcome = Etl::of(sh, folder.path(), &[])
                .env("PATH", format!("{}:{path_variable}", programs.display()))
                .env("ASK_SECONDS", "0.01")
                .outcome();
            if outcome.code != Some(0) {
                let (code, said) = (outcome.code, &outcome.stderr);
                faults.push(format!("{path}: exit {code:?}, {said}\nof\n{script}"));
            }
        }
        faults
    });
}

#[test]
fn the_commands_that_are_only_named_are_known() {
    let folder = Folder::new("named");
    let mut help: BTreeMap<String, String> = BTreeMap::new();
    let mut faults = Vec::new();
    for (path, text) in pages() {
        let (prose, blocks) = split(&text);
        let shown = blocks
            .iter()
            .filter(|(word, _)| ["sh", "console"].contains(&word.as_str()))
            .flat_map(|(_, block)| block.lines());
        let commands = shown.chain(spans(&prose)).filter_map(|line| {
            let line = line.split(" #").next().unwrap_or_default();
            let line = line.replace("cargo run --release -- ", "etl ");
            let at = line.find("etl ")?;
            let starts = line[..at]
                .split_whitespace()
                .all(|word| word.contains('=') && word.to_uppercase().starts_with("ETL_"));
            starts.then(|| line[at + 4..].to_owned())
        });
        for command in commands {
            let (name, rest) = command.split_once(' ').unwrap_or((&command, ""));
            let help = help.entry(name.to_owned()).or_insert_with(|| {
                let outcome = Etl::new(folder.path(), &[name, "--help"]).outcome();
                assert_eq!(outcome.code, Some(0), "{path}: there is no `etl {name}`");
                outcome.stdout
            });
            for word in rest.split_whitespace().filter(|it| it.starts_with("--")) {
                let option = word.split(['=', '[']).next().unwrap_or(word);
                if !help.contains(option) {
                    faults.push(format!("{path}: `etl {name}` has no {option}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(help.len() >= 10, "most commands are named somewhere");
}

#[test]
fn every_table_that_a_script_writes_has_its_place() {
    let page = fs::read_to_string(project().join("docs/benchmarks.md")).expect("it can be read");
    let begins = page.matches(": begin -->").count();
    assert_eq!(begins, page.matches(": end -->").count());
    for (name, bytes) in files(&project().join("benches")) {
        let text = String::from_utf8_lossy(&bytes);
        for call in text.split("write_table(\"").skip(1) {
            let table = call.split('"').next().unwrap_or_default();
            assert!(
                page.contains(&format!("<!-- {table}: begin -->")),
                "docs/benchmarks.md has no place for the table {table} of {name}"
            );
        }
    }
}
