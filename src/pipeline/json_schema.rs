//! The JSON Schema of a pipeline file, made from what the kinds say of themselves. It is draft 7, which
//! every editor with a TOML mode takes, and a branch a kind, so that an editor offers a kind's own keys.
//!
//! A schema knows less than `etl check`: not which stage stands above which, nor what a variable holds.
//! What it refuses is wrong; what it lets through may still be.

use serde_json::{Map, Value, json};

use super::stage_keys::BATCH_ROWS;
use crate::cluster::ClusterTable;
use crate::executor::Kind;
use crate::stage::{StageKind, StageOption, VARIABLE, schema_of};

/// The schema of a pipeline whose stages are of these kinds.
pub fn json_schema(registry: &[&StageKind]) -> Value {
    let stages: Vec<Value> = registry.iter().map(|kind| stage(kind)).collect();
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A pipeline of etl",
        "type": "object",
        "properties": {
            "name": described(text(), "what the report calls it (default: the file's stem)"),
            "max_rejects": {
                "type": "integer", "minimum": -1, "default": 0,
                "description": "more rejected rows than this: the run finishes and publishes, then exits 3; -1: no limit",
            },
            "cluster": described(
                serde_json::to_value(schema_of::<ClusterTable>()).expect("a schema is plain data"),
                "where a cluster is, for `--cluster`",
            ),
            "stage": {
                "type": "array", "minItems": 1, "items": { "oneOf": stages },
                "description": "the stages, each below those that it reads",
            },
        },
        "required": ["stage"],
        "additionalProperties": false,
    })
}

/// One branch: a stage of this kind.
fn stage(kind: &StageKind) -> Value {
    let mut keys = common(kind);
    let mut required = vec!["name", "kind"];
    if !kind.inputs.contains(&0) {
        required.push("inputs");
    }
    for option in kind.all_options() {
        keys.insert(option.name.into(), of_option(option));
        if option.default.is_none() {
            required.push(option.name);
        }
    }
    let mut schema = json!({
        "title": kind.name,
        "description": kind.summary,
        "type": "object",
        "properties": keys,
        "required": required,
        "additionalProperties": false,
    });
    if !kind.one_of.is_empty() {
        let each = kind.one_of.iter().map(|name| json!({ "required": [name] }));
        schema["oneOf"] = each.collect();
    }
    schema
}

/// The keys of every stage.
fn common(kind: &StageKind) -> Map<String, Value> {
    let count = |doc: &str| {
        described(
            json!({ "type": "integer", "minimum": 0, "maximum": 1024 }),
            doc,
        )
    };
    let words = [
        Kind::Sequential,
        Kind::Threads,
        Kind::Processes,
        Kind::Hybrid,
    ];
    let mut inputs = json!({
        "type": "array", "items": { "type": "string" }, "minItems": kind.inputs.iter().min(),
    });
    if !kind.more_inputs {
        inputs["maxItems"] = json!(kind.inputs.iter().max());
    }
    let keys = [
        (
            "name",
            described(text(), "unique; letters, digits, `_` and `-`"),
        ),
        (
            "kind",
            described(json!({ "const": kind.name }), kind.summary),
        ),
        (
            "inputs",
            described(inputs, "the stages above that it reads"),
        ),
        (
            "parallel",
            described(
                json!({ "type": "boolean", "default": false }),
                "`true`: threads, one a core; a written `false` wins over `executor`",
            ),
        ),
        (
            "executor",
            described(one_of(&words.map(Kind::as_str)), "where it works"),
        ),
        ("workers", count("threads, or processes; 0: one a core")),
        ("processes", count("of `hybrid`")),
        ("threads", count("of `hybrid`, in each process")),
    ];
    let keys = keys.map(|(key, value)| (key.to_owned(), value));
    let mut keys: Map<String, Value> = keys.into_iter().collect();
    if kind.takes_batch_rows {
        let rows = json!({ "type": "integer", "minimum": 1 });
        keys.insert(BATCH_ROWS.into(), described(rows, "rows a batch"));
    }
    keys
}

fn of_option(option: &StageOption) -> Value {
    let default = option
        .default
        .map(|default| format!("; default: {default}"));
    let doc = format!(
        "{} ({}){}",
        option.doc,
        option.ty,
        default.unwrap_or_default()
    );
    described(option.schema.clone(), &doc)
}

fn described(mut schema: Value, doc: &str) -> Value {
    schema["description"] = doc.into();
    schema
}

fn text() -> Value {
    json!({ "type": "string" })
}

/// One of several words, or what a variable holds.
fn one_of(words: &[&str]) -> Value {
    json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": VARIABLE }] })
}
