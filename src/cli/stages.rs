//! `etl stages`: the kinds there are, from what each says of itself.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::output;
use crate::error::{Error, Result};
use crate::pipeline::json_schema;
use crate::schema::list;
use crate::stage::{STAGES, StageKind, StageOption};

/// List the kinds of stages, or all about one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  etl stages
  etl stages join                         its options and an example
  etl stages --json")]
pub struct StagesArgs {
    /// The kind to tell all about
    pub kind: Option<String>,
    /// Print it as JSON
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// Print it as Markdown, as in docs/stages.md
    #[arg(long)]
    pub markdown: bool,
}

/// Text is kept within this.
const WIDTH: usize = 80;

/// Prints every kind, or all about one.
pub fn run(args: &StagesArgs) -> Result<ExitCode> {
    let kinds = match &args.kind {
        Some(name) => vec![find(STAGES, name)?],
        None => STAGES.to_vec(),
    };
    if args.json {
        let values: Vec<Value> = kinds.iter().map(|kind| as_json(kind)).collect();
        match (&args.kind, &values[..]) {
            (Some(_), [kind]) => output::print_json(kind)?,
            _ => output::print_json(&values.into())?,
        }
    } else if args.markdown {
        match (&args.kind, &kinds[..]) {
            (Some(_), [kind]) => output::print(&as_section(kind))?,
            _ => output::print(&as_page(&kinds))?,
        }
    } else if args.kind.is_some() {
        output::print(&about(kinds[0]))?;
    } else {
        output::print(&overview(&kinds))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn find(registry: &[&'static StageKind], name: &str) -> Result<&'static StageKind> {
    if let Some(kind) = registry.iter().find(|kind| kind.name == name) {
        return Ok(kind);
    }
    let known: Vec<&str> = registry.iter().map(|kind| kind.name).collect();
    let error = Error::usage(format!("unknown kind `{name}`; there are {}", list(&known)));
    Err(error.suggest(name, known))
}

/// A line a kind.
fn overview(kinds: &[&StageKind]) -> String {
    let width = kinds.iter().map(|kind| kind.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for kind in kinds {
        text.push_str(&row("", kind.name, width, kind.summary));
    }
    text.push_str("\n`etl stages KIND` tells a kind's options and gives an example\n");
    text
}

/// Options, defaults and an example.
fn about(kind: &StageKind) -> String {
    let mut text = format!("{}: {}\n", kind.name, kind.summary);
    text.push_str(&format!("Reads {}", kind.inputs_in_words()));
    text.push_str(if kind.sink {
        "; its rows leave the pipeline.\n"
    } else {
        ".\n"
    });
    let width = kind.all_options().map(|option| option.name.len()).max();
    if let Some(width) = width {
        text.push_str("\nOptions:\n");
        for option in kind.all_options() {
            let doc = format!("{} ({}; {})", option.doc, option.ty, default(option));
            text.push_str(&row("  ", option.name, width, &doc));
        }
    }
    if !kind.functions.is_empty() {
        text.push_str("\nFunctions of its expressions:\n");
        for function in kind.functions {
            let (example, value) = function.example;
            let doc = format!("{}: `{example}` is `{value}`", function.summary);
            text.push_str(&row("  ", function.usage, 0, &doc));
        }
    }
    let mut common = String::from(
        "Of every stage: name, kind, inputs, parallel, executor, workers, processes, threads",
    );
    if kind.takes_batch_rows {
        common.push_str(", batch_rows");
    }
    let common = output::wrap(&common, WIDTH, "");
    text.push_str(&format!(
        "\n{common}\n\nExample:\n{}\n",
        kind.example.trim()
    ));
    text
}

/// A name and what it is, wrapped beside it.
fn row(indent: &str, name: &str, width: usize, doc: &str) -> String {
    let hanging = " ".repeat(indent.len() + width + 2);
    let line = format!("{indent}{name:width$}  {doc}");
    output::wrap(&line, WIDTH, &hanging) + "\n"
}

fn default(option: &StageOption) -> String {
    match option.default {
        Some(default) => format!("default: {default}"),
        None => "required".into(),
    }
}

/// The page `docs/stages.md`: a table of the kinds, the keys of every stage, and a section for each kind.
fn as_page(kinds: &[&StageKind]) -> String {
    let mut text = String::from(
        "# Stages\n\n\
         <!-- This page is what `etl stages --markdown` prints; a test compares them. -->\n\n\
         Each `[[stage]]` of a [pipeline file](pipeline-file.md) has one of these kinds. `etl stages KIND` prints \
         the same in a terminal.\n\n\
         | kind | inputs | what it does |\n|---|---|---|\n",
    );
    for kind in kinds {
        text.push_str(&format!(
            "| [`{0}`](#{0}) | {1} | {2} |\n",
            kind.name,
            kind.input_counts(),
            cell(kind.summary)
        ));
    }
    text.push_str(&common_keys(kinds));
    for kind in kinds {
        text.push_str(&format!("\n{}", as_section(kind)));
    }
    text
}

/// The keys of every stage, as the schema of the pipeline file describes them.
fn common_keys(kinds: &[&StageKind]) -> String {
    let mut text = String::from(
        "\n## Keys of every stage\n\nWhat `parallel` and the keys below it do stands in \
         [Executors](pipeline-file.md#executors).\n\n| key | what it is |\n|---|---|\n",
    );
    let Some(kind) = kinds.iter().find(|kind| kind.takes_batch_rows) else {
        return text;
    };
    let schema = json_schema(&[*kind]);
    let keys = schema["properties"]["stage"]["items"]["oneOf"][0]["properties"].as_object();
    for (key, value) in keys.into_iter().flatten() {
        let doc = match key.as_str() {
            "kind" => "one of the kinds above",
            "executor" => "`sequential` (the default), `threads`, `processes` or `hybrid`",
            "batch_rows" => "rows a batch; kinds that have a batch of their own do not take it",
            key if kind.all_options().any(|option| option.name == key) => continue,
            _ => value["description"].as_str().unwrap_or_default(),
        };
        text.push_str(&format!("| `{key}` | {} |\n", cell(doc)));
    }
    text
}

/// All about one kind.
fn as_section(kind: &StageKind) -> String {
    let mut summary = kind.summary.to_owned();
    if let Some(first) = summary.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let sink = if kind.sink {
        "; its rows leave the pipeline"
    } else {
        ""
    };
    let mut text = format!(
        "## {}\n\n{summary}. Reads {}{sink}.\n\n\
         | option | value | default | what it does |\n|---|---|---|---|\n",
        kind.name,
        kind.inputs_in_words(),
    );
    for option in kind.all_options() {
        text.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            option.name,
            cell(option.ty),
            cell(option.default.unwrap_or("**required**")),
            cell(option.doc)
        ));
    }
    text.push_str(&format!("\n```toml\n{}\n```\n", kind.example.trim()));
    text.push_str(&functions(kind));
    text
}

/// What the expressions of a kind may call.
fn functions(kind: &StageKind) -> String {
    if kind.functions.is_empty() {
        return String::new();
    }
    let mut text =
        String::from("\n| function | what it gives | example | its value |\n|---|---|---|---|\n");
    for function in kind.functions {
        let (example, value) = function.example;
        text.push_str(&format!(
            "| `{}` | {} | `{}` | `{}` |\n",
            cell(function.usage),
            cell(function.summary),
            cell(example),
            cell(value)
        ));
    }
    text
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn as_json(kind: &StageKind) -> Value {
    let options: Vec<Value> = kind
        .all_options()
        .map(|option| {
            json!({
                "name": option.name, "type": option.ty,
                "required": option.default.is_none(), "default": option.default,
                "doc": option.doc,
            })
        })
        .collect();
    let inputs = match kind.inputs {
        [one] => json!(one),
        several => json!(several),
    };
    let functions = kind.functions.iter().map(|function| {
        let (example, value) = function.example;
        json!({
            "name": function.name, "usage": function.usage, "doc": function.summary,
            "example": example, "value": value,
        })
    });
    let functions: Vec<Value> = functions.collect();
    let mut value = json!({
        "kind": kind.name, "summary": kind.summary, "inputs": inputs, "more_inputs": kind.more_inputs,
        "sink": kind.sink,
        "takes_batch_rows": kind.takes_batch_rows, "options": options, "example": kind.example,
    });
    if !functions.is_empty() {
        value["functions"] = functions.into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(schemars::JsonSchema)]
    #[expect(dead_code, reason = "only what it says of itself is asked")]
    struct Split {
        /// the column to cut
        #[schemars(extend("x-type" = "column name"))]
        column: String,
        /// where to cut; it is not part of what comes out, and two of them beside each other make an empty value
        #[schemars(extend("x-type" = "text", "x-default" = "|"))]
        at: Option<String>,
    }

    static KIND: StageKind = StageKind {
        name: "split",
        summary: "Cuts text at `|`",
        inputs: &[1],
        sink: false,
        takes_batch_rows: true,
        options: crate::stage::stage_options!(Split),
        example: "[[stage]]\nname = \"s\"\nkind = \"split\"\n",
        decode: |_| Err(Error::usage("an example")),
        ..StageKind::BASE
    };

    #[test]
    fn a_kind_is_told_from_what_it_says_of_itself() {
        let expected = "\
split: Cuts text at `|`
Reads 1 input.

Options:
  column  the column to cut (column name; required)
  at      where to cut; it is not part of what comes out, and two of them beside
          each other make an empty value (text; default: |)

Of every stage: name, kind, inputs, parallel, executor, workers, processes,
threads, batch_rows

Example:
[[stage]]
name = \"s\"
kind = \"split\"
";
        assert_eq!(about(&KIND), expected);
        let page = as_page(&[&KIND]);
        for line in [
            "| [`split`](#split) | 1 | Cuts text at `\\|` |",
            "| `inputs` | the stages above that it reads |",
            "Cuts text at `|`. Reads 1 input.",
            "| `column` | column name | **required** | the column to cut |",
        ] {
            assert!(page.lines().any(|it| it == line), "{line} in\n{page}");
        }
        assert!(page.contains("| `at` | text | \\| | where to cut; "));
        assert!(
            !page.contains("| `at` | where to cut"),
            "it is no key of every stage"
        );
        assert_eq!(as_json(&KIND)["options"][0]["required"], true);
        let error = find(&[&KIND], "spilt").err().map(|error| error.render());
        assert_eq!(
            error.as_deref(),
            Some("error: unknown kind `spilt`; there are `split`\nhint: did you mean `split`?\n")
        );
    }
}
