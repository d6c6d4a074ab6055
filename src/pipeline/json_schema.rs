//! The JSON Schema of a pipeline file, made from what the kinds say of themselves. It is draft 7, which
//! every editor with a TOML mode takes, and a branch a kind, so that an editor offers a kind's own keys.
//!
//! A schema knows less than `etl check`: not which stage stands above which, nor what a variable holds.
//! What it refuses is wrong; what it lets through may still be.

use serde_json::{Map, Value, json};

use super::steps::BATCH_ROWS;
use crate::executor::Kind;
use crate::stage::{OptionDoc, StageKind};

/// Where a string holds a variable, any word may come of it.
const VARIABLE: &str = r"\$\{";

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
    json!({
        "title": kind.name,
        "description": kind.summary,
        "type": "object",
        "properties": keys,
        "required": required,
        "additionalProperties": false,
    })
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
    let inputs = json!({
        "type": "array", "items": { "type": "string" },
        "minItems": kind.inputs.iter().min(), "maxItems": kind.inputs.iter().max(),
    });
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

fn of_option(option: &OptionDoc) -> Value {
    let mut schema = of_type(option.ty).unwrap_or_else(|| json!({}));
    let mut doc = format!("{} ({})", option.doc, option.ty);
    if let Some(default) = option.default {
        doc.push_str(&format!("; default: {default}"));
        let value = match schema["type"].as_str() {
            Some("integer" | "number" | "boolean" | "array" | "object") => {
                serde_json::from_str(default).ok()
            }
            _ => None,
        };
        if let Some(value) = value {
            schema["default"] = value;
        }
    }
    described(schema, &doc)
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

/// What the words for an option's type mean; `None`: they are not known.
fn of_type(words: &str) -> Option<Value> {
    let list = |of: Value| json!({ "type": "array", "items": of });
    if let Some((one, other)) = words.split_once(", or ") {
        return Some(json!({ "anyOf": [of_type(one)?, of_type(other)?] }));
    }
    let one_or_many = words
        .split_once(" or list of ")
        .or_else(|| words.split_once(" or a list of "));
    if let Some((one, _)) = one_or_many {
        // The last of several words says what each is; those before it are its special cases.
        let one = of_type(one.rsplit(", ").next().unwrap_or(one)).unwrap_or_else(text);
        return Some(json!({ "anyOf": [one.clone(), list(one)] }));
    }
    if words.starts_with('`') {
        let words: Vec<&str> = words.split('`').skip(1).step_by(2).collect();
        return Some(one_of(&words));
    }
    Some(match words {
        "anything" | "any value with placeholders" | "value of the column's type" => json!({}),
        "list of values" => list(json!({})),
        "integer" => json!({ "type": "integer" }),
        "number" => json!({ "type": "number" }),
        "number from 0 to 1" => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        "bool" | "boolean" => json!({ "type": "boolean" }),
        "string"
        | "text"
        | "path"
        | "column"
        | "column name"
        | "one byte"
        | "WHATWG label"
        | "a URL"
        | "JSON pointer"
        | "text with placeholders" => text(),
        "table" => json!({ "type": "object" }),
        words if words.starts_with("table ") => {
            json!({ "type": "object", "additionalProperties": text() })
        }
        words if words.starts_with("list of ") => list(text()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::STAGES;

    #[test]
    fn the_words_for_every_options_type_are_known() {
        for kind in STAGES {
            for option in kind.all_options() {
                let (kind, name) = (kind.name, option.name);
                assert!(of_type(option.ty).is_some(), "{kind}.{name}: {}", option.ty);
            }
        }
    }

    #[test]
    fn words_for_types_become_types() {
        let cases = [
            (
                "`a`, `b` or `c`",
                json!({ "anyOf": [{ "enum": ["a", "b", "c"] }, { "type": "string", "pattern": VARIABLE }] }),
            ),
            (
                "column or list of columns",
                json!({ "anyOf": [text(), { "type": "array", "items": text() }] }),
            ),
            (
                "`local:DIR`, a URL or a list of URLs",
                json!({ "anyOf": [text(), { "type": "array", "items": text() }] }),
            ),
            (
                "table old = new",
                json!({ "type": "object", "additionalProperties": text() }),
            ),
        ];
        for (words, schema) in cases {
            assert_eq!(of_type(words), Some(schema), "{words}");
        }
    }
}
