//! The types of fields and those of columns. A new index gets types from the columns: those of numbers, dates
//! and flags that neither the mapping file nor a template of the server speaks of. Left to itself a server
//! guesses from the first value that it sees. An index that is there takes no columns of other types.

use serde_json::{Map, Value, json};

use super::super::local::mapping::type_of_column;
use super::super::mixed::{Class, cuts, mixed};
use super::api::{Api, segment, words};
use super::indices::Found;
use crate::error::Result;
use crate::http::Method;
use crate::schema::{Field, Schema};

/// Settings of an index by which a pipeline of the server changes documents, and so their types.
const PIPELINES: [&str; 2] = ["index.default_pipeline", "index.final_pipeline"];

/// Adds to the mapping of the new index `made` what `columns` say beyond it. A warning, if the server
/// refuses: then it types the fields itself, as it does without us.
pub(super) fn add(api: &Api, made: &Found, columns: &Schema) -> Result<Option<String>> {
    let Some(properties) = beyond(made, columns) else {
        return Ok(None);
    };
    let mapping = json!({ "properties": properties });
    let path = format!("{}/_mapping", segment(&made.name));
    let said = api.call(Method::Put, &path, Some(&mapping))?;
    if said.is_well() {
        return Ok(None);
    }
    let words = words(said.status, said.body.get("error"));
    Ok(Some(format!(
        "`{}` does not take the types of the columns, and guesses them: {words}",
        made.name
    )))
}

/// The types of columns that the index does not have from elsewhere. `None`: it has all, or its mapping
/// or a pipeline decides about what it does not name.
fn beyond(made: &Found, columns: &Schema) -> Option<Map<String, Value>> {
    let piped = |name: &&str| {
        let pipeline = made.settings[*name].as_str();
        pipeline.is_some_and(|pipeline| pipeline != "_none")
    };
    let templates = made.mappings["dynamic_templates"].as_array();
    if made.uuid.is_none()
        || PIPELINES.iter().any(piped)
        || templates.is_some_and(|templates| !templates.is_empty())
        || !is_open(&made.mappings)
    {
        return None;
    }
    let columns = columns.fields.iter().filter_map(|column| {
        let ty = type_of_column(&column.ty)?;
        let named = is_named(&made.mappings, &column.name);
        (!named).then(|| (column.name.clone(), json!({ "type": ty })))
    });
    let properties: Map<String, Value> = columns.collect();
    (!properties.is_empty()).then_some(properties)
}

/// Refuses columns of other types than what documents of the index `found` have in the same fields, as far
/// as its mapping shows them and `given`, the mapping of the load, does not name them. Warnings about what a
/// field takes and cuts.
pub(super) fn refuse_mixed(
    api: &Api,
    found: &Found,
    given: Option<&Value>,
    columns: &Schema,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    // A JSON value may be of any type.
    let of_one_type = columns.fields.iter().filter(|field| !field.json);
    for Field { name, ty, .. } in of_one_type {
        let word = property(&found.mappings, name).and_then(|property| property["type"].as_str());
        let is_given = given.is_some_and(|given| is_named(given, name));
        let Some(word) = word.filter(|_| !is_given) else {
            continue;
        };
        if cuts(word, ty) {
            warnings.push(format!(
                "`{}` has `{name}` as `{word}`: searches see the column's fractions cut",
                found.name
            ));
        }
        let (Some(held), Some(class)) = (Class::of_field(word), Class::of_column(ty)) else {
            continue;
        };
        let (held, class) = (held.in_json(), class.in_json());
        // A server takes `7` and `"7"` for one number: what its documents have decides.
        if held != class && class_in(api, &found.name, name)?.is_some_and(|there| there != class) {
            return Err(mixed(&format!("`{}`", found.name), name, ty, word, true));
        }
    }
    Ok(warnings)
}

/// What a document of the index has in the field `name`; `None`: no document has it, or we may not see it.
fn class_in(api: &Api, index: &str, name: &str) -> Result<Option<Class>> {
    let query = json!({ "exists": { "field": name } });
    let body = json!({ "size": 1, "query": query, "_source": [name] });
    let said = api.call(
        Method::Post,
        &format!("{}/_search", segment(index)),
        Some(&body),
    )?;
    let source = &said.body["hits"]["hits"][0]["_source"];
    Ok(member(source, name).and_then(class_of))
}

fn class_of(value: &Value) -> Option<Class> {
    match value {
        Value::String(_) => Some(Class::Text),
        Value::Number(_) => Some(Class::Number),
        Value::Bool(_) => Some(Class::Flag),
        Value::Array(values) => values.iter().find_map(class_of),
        Value::Null | Value::Object(_) => None,
    }
}

/// The member `name` of a document, whose points may be those of objects.
fn member<'a>(source: &'a Value, name: &str) -> Option<&'a Value> {
    source.get(name).or_else(|| {
        let mut ways = name.match_indices('.');
        ways.find_map(|(at, _)| member(source.get(&name[..at])?, &name[at + 1..]))
    })
}

/// What `mapping` says of the field `name`, whose points may be those of objects.
fn property<'a>(mapping: &'a Value, name: &str) -> Option<&'a Value> {
    let properties = mapping.get("properties")?;
    properties.get(name).or_else(|| {
        let mut ways = name.match_indices('.');
        ways.find_map(|(at, _)| property(properties.get(&name[..at])?, &name[at + 1..]))
    })
}

/// Whether the object `mapping` takes fields that it does not name.
fn is_open(mapping: &Value) -> bool {
    let is_true = |value: &Value| value.as_bool() == Some(true) || value == "true";
    let yes = |name: &str| mapping.get(name).is_none_or(is_true);
    yes("dynamic") && yes("enabled") && mapping.get("type").is_none_or(|ty| ty == "object")
}

/// Whether `mapping` says what the field `name` is, whose points may be those of objects.
fn is_named(mapping: &Value, name: &str) -> bool {
    let properties = &mapping["properties"];
    if properties.get(name).is_some() {
        return true;
    }
    name.match_indices('.').any(|(at, _)| {
        let object = properties.get(&name[..at]);
        object.is_some_and(|object| !is_open(object) || is_named(object, &name[at + 1..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Type;

    fn columns() -> Schema {
        let list = |ty| Type::List(Box::new(ty));
        let fields = [
            ("at", Type::Date { utc: true }),
            ("days", list(Type::Date { utc: false })),
            ("n", Type::Int),
            ("share", Type::Float),
            ("flag", Type::Bool),
            ("text", Type::String),
            ("a.n", Type::Int),
        ];
        Schema::new(fields.map(|(name, ty)| Field::new(name, ty)).to_vec()).expect("names differ")
    }

    /// The names that get a type in an index that was made so.
    fn typed(mappings: Value, settings: Value) -> Vec<String> {
        let made = Found {
            name: "things".into(),
            uuid: Some("u".into()),
            settings,
            mappings,
        };
        let properties = beyond(&made, &columns()).unwrap_or_default();
        let mut names: Vec<String> = properties.into_iter().map(|(name, _)| name).collect();
        names.sort();
        names
    }

    #[test]
    fn columns_have_their_types_where_nothing_else_speaks_of_them() {
        let all = ["a.n", "at", "days", "flag", "n", "share"];
        let open = [
            json!({}),
            json!({ "_meta": {}, "dynamic": true, "dynamic_templates": [] }),
            json!({ "dynamic": "true", "properties": { "text": { "type": "keyword" } } }),
            json!({ "properties": { "a": { "properties": { "m": { "type": "long" } } } } }),
        ];
        for mapping in open {
            assert_eq!(typed(mapping, json!({})), all);
        }
        let made = Found {
            uuid: Some("u".into()),
            ..Found::default()
        };
        let date = json!({ "type": "date" });
        let properties = beyond(&made, &columns()).expect("no mapping names them");
        assert_eq!([&properties["at"], &properties["days"]], [&date, &date]);
        assert_eq!(properties["share"], json!({ "type": "double" }));
    }

    #[test]
    fn what_the_index_says_stays() {
        let rest = ["at", "days", "flag", "share"];
        let named = [
            json!({ "n": { "type": "keyword" }, "a.n": { "type": "keyword" } }),
            json!({ "n": { "type": "long" }, "a": { "properties": { "n": { "type": "byte" } } } }),
            json!({ "n": { "type": "long" }, "a": { "type": "nested" } }),
            json!({ "n": { "type": "long" }, "a": { "type": "flattened" } }),
            json!({ "n": { "type": "long" }, "a": { "dynamic": "strict" } }),
            json!({ "n": { "type": "long" }, "a": { "enabled": false } }),
        ];
        for properties in named {
            assert_eq!(typed(json!({ "properties": properties }), json!({})), rest);
        }
        for dynamic in [
            json!(false),
            json!("false"),
            json!("strict"),
            json!("runtime"),
        ] {
            let mapping = json!({ "dynamic": dynamic });
            assert!(typed(mapping, json!({})).is_empty());
        }
        let templates = json!({ "dynamic_templates": [{ "texts": { "mapping": {} } }] });
        assert!(typed(templates, json!({})).is_empty());
        let piped = |name: &str| json!({ "index.default_pipeline": name });
        assert!(typed(json!({}), piped("dates")).is_empty());
        assert!(!typed(json!({}), piped("_none")).is_empty());
    }
}
