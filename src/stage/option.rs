//! The options of a kind as data, made from the struct that they decode to: its doc comments, types and defaults.
//! What a type cannot say stands beside the field, in `#[schemars(extend(..))]`:
//!
//! * `x-type`, `x-default`: its type and its default in words;
//! * `x-instead`: what to write instead of words that other tools have here, a list of their words and the advice;
//! * `x-required`: it must be given, though the struct has a default;
//! * `x-execution`: it changes how the work is done and never its result.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::schema::list;

/// Where a string holds a variable, any word may come of it.
pub const VARIABLE: &str = r"\$\{";

/// The advice of every option that takes a column's type.
pub(super) const INSTEAD_OF_TYPES: [(&str, &str); 1] = [(
    "date datetime timestamp time",
    "load it as `string`, and read it with a stage `normalize_dates`",
)];

/// One option of a kind.
pub struct StageOption {
    /// The TOML key.
    pub name: &'static str,
    /// What its value is, in words.
    pub ty: &'static str,
    /// Its default, in words; `None`: it must be given.
    pub default: Option<&'static str>,
    /// One line.
    pub doc: &'static str,
    /// It changes how the work is done and never its result: `--resume` goes on when it differs.
    pub is_execution: bool,
    /// Words that other tools have for a value of it, which it has no value for, and what to write instead.
    pub instead: Vec<(String, String)>,
    /// The JSON Schema of its value.
    pub schema: Value,
}

impl StageOption {
    /// What to write instead of another tool's word.
    pub fn instead_of(&self, word: &str) -> Option<&str> {
        let word = word.trim().to_lowercase().replace('-', "_");
        let mut all = self.instead.iter();
        let found = all.find(|(words, _)| words.split(' ').any(|other| other == word));
        found.map(|(_, instead)| instead.as_str())
    }

    /// Whether its value may be this one of several words.
    pub fn takes(&self, word: &str) -> bool {
        let words = self.schema["anyOf"][0]["enum"].as_array();
        words.is_some_and(|words| words.iter().any(|it| it == word))
    }
}

/// The schema of one struct of options.
pub fn schema_of<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>()
}

/// The options of all these structs but those named in `without`; of two of one name the first counts.
pub fn options_of(structs: &[Schema], without: &[&str]) -> Vec<StageOption> {
    let mut options: Vec<StageOption> = Vec::new();
    for schema in structs {
        let required = schema.get("required").and_then(Value::as_array);
        let fields = schema.get("properties").and_then(Value::as_object);
        for (name, field) in fields.into_iter().flatten() {
            let is_known = options.iter().any(|option| option.name == name);
            if !is_known && !without.contains(&name.as_str()) {
                let is_required = required.is_some_and(|names| names.contains(&json!(name)));
                options.push(option(name, field, is_required));
            }
        }
    }
    options
}

/// The function that gives a kind's options, made from structs once a process.
#[macro_export]
#[doc(hidden)]
macro_rules! stage_options {
    ($($struct:ty),* $(; without $name:literal)*) => {
        || {
            static OPTIONS: std::sync::LazyLock<Vec<$crate::stage::StageOption>> =
                std::sync::LazyLock::new(|| {
                    let structs = [$($crate::stage::schema_of::<$struct>()),*];
                    $crate::stage::options_of(&structs, &[$($name),*])
                });
            &OPTIONS
        }
    };
}

fn option(name: &str, field: &Value, is_required: bool) -> StageOption {
    let mut field = field.as_object().cloned().unwrap_or_default();
    let doc = words(field.remove("description")).unwrap_or_default();
    let default = field.remove("default");
    let default_words = words(field.remove("x-default")).unwrap_or_else(|| match &default {
        None | Some(Value::Null) => "none".into(),
        Some(Value::Object(entries)) if entries.is_empty() => "none".into(),
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(value) => spaced(value),
    });
    // A struct whose every field has a default says so of the one that must be given.
    let is_required = is_required || field.remove("x-required").is_some();
    let is_execution = field.remove("x-execution").is_some();
    let ty = words(field.remove("x-type"));
    let instead = field.remove("x-instead").unwrap_or_else(|| json!([]));
    let instead = serde_json::from_value(instead).expect("words and advice, a pair each");
    let mut schema = plain(Value::Object(field));
    let ty = ty.unwrap_or_else(|| type_in_words(&schema));
    let is_text = |value: &Value| value.is_string() || value.is_null();
    if let Some(default) = default.filter(|default| !is_text(default)) {
        schema["default"] = default;
    }
    // They are made once a process and live as long.
    let keep = |text: String| &*text.replace('\n', " ").leak();
    StageOption {
        name: keep(name.to_owned()),
        ty: keep(ty),
        default: (!is_required).then(|| keep(default_words)),
        doc: keep(doc),
        is_execution,
        instead,
        schema,
    }
}

fn words(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// A value as JSON, a blank after each comma of a list.
fn spaced(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(Value::to_string).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// A schema of what may be written: `null` cannot, a variable can, and sizes of numbers are none of an editor's business.
fn plain(schema: Value) -> Value {
    let Value::Object(schema) = schema else {
        return json!({});
    };
    if let Some(Value::Array(choices)) = schema.get("enum").or_else(|| schema.get("oneOf")) {
        let word = |choice: &Value| choice.get("const").unwrap_or(choice).clone();
        let choices = choices.iter().map(word).filter(|word| !word.is_null());
        let choices: Vec<Value> = choices.collect();
        return json!({ "anyOf": [{ "enum": choices }, { "type": "string", "pattern": VARIABLE }] });
    }
    if let Some(Value::Array(choices)) = schema.get("anyOf") {
        let is_null = |choice: &&Value| choice.get("type") == Some(&json!("null"));
        let choices = choices.iter().filter(|choice| !is_null(choice));
        let mut choices: Vec<Value> = choices.cloned().map(plain).collect();
        return match choices.len() {
            1 => choices.remove(0),
            _ => json!({ "anyOf": choices }),
        };
    }
    let known = [
        "type",
        "items",
        "additionalProperties",
        "properties",
        "minimum",
        "maximum",
        "required",
    ];
    let mut plain_schema = Map::new();
    for (word, value) in schema {
        if !known.contains(&word.as_str()) {
            continue;
        }
        let value = match (word.as_str(), value) {
            ("type", Value::Array(types)) => types.into_iter().next().unwrap_or_default(),
            ("items" | "additionalProperties", Value::Object(inner)) => plain(Value::Object(inner)),
            ("items", _) => json!({}),
            ("properties", Value::Object(members)) => {
                let members = members.into_iter();
                members
                    .map(|(name, member)| (name, member_of(member)))
                    .collect()
            }
            (_, value) => value,
        };
        plain_schema.insert(word, value);
    }
    Value::Object(plain_schema)
}

/// A member of a table that is an option's value, with its description.
fn member_of(member: Value) -> Value {
    let doc = member.get("description").cloned();
    let mut schema = plain(member);
    if let Some(doc) = doc {
        schema["description"] = doc;
    }
    schema
}

/// What a value is, where the field does not say it.
fn type_in_words(schema: &Value) -> String {
    if let Some(choices) = schema["anyOf"][0]["enum"].as_array() {
        return list(&choices.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    }
    let one = |schema: &Value| {
        schema["type"]
            .as_str()
            .map_or("any value", |ty| match ty {
                "object" => "table",
                other => other,
            })
            .to_owned()
    };
    match schema["type"].as_str() {
        Some("array") => format!("list of {}s", one(&schema["items"])),
        _ => one(schema),
    }
}

#[cfg(test)]
mod tests {
    use crate::stage::STAGES;

    #[test]
    fn what_other_tools_have_is_answered_by_the_option_that_has_none_of_it() {
        let instead = |kind: &str, option: &str, word: &str| {
            let mut kinds = STAGES.iter().filter(|it| it.name == kind);
            let mut options = kinds.next()?.all_options();
            let option = options.find(|it| it.name == option)?;
            option.instead_of(word)
        };
        for kind in ["load_csv", "fetch", "exec"] {
            let advice = instead(kind, "types", " TimeStamp ");
            assert!(
                advice.is_some_and(|advice| advice.contains("`normalize_dates`")),
                "{kind}"
            );
        }
        let how = |word| instead("join", "how", word).unwrap_or_default();
        assert!(how("FULL-OUTER").contains("`inner` those that match"));
        assert!(how("right").starts_with("swap"));
        assert_eq!(how("left"), "");
        assert_eq!(how("full right"), "");
    }
}
