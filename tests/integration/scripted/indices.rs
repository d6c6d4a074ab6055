//! The indices of a scripted server: how they come, go and change.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::cluster::{Answer, Cluster, Index, Request};

impl Cluster {
    pub(super) fn create_index(&mut self, name: &str, body: &Value) -> Result<Value, Answer> {
        if self.indices.contains_key(name) {
            let reason = format!("index [{name}] already exists");
            return Err(Answer::error(
                400,
                "resource_already_exists_exception",
                &reason,
            ));
        }
        let is_alias = self
            .indices
            .values()
            .any(|index| index.aliases.contains_key(name));
        let fault = match name {
            _ if is_alias => "already exists as alias",
            _ if name.to_lowercase() != name => "must be lowercase",
            _ if name.starts_with(['_', '-', '+']) => "must not start with '_', '-', or '+'",
            _ if name.contains([' ', '"', '*', '\\', '<', '|', ',', '>', '/', '?', '#', ':']) => {
                "must not contain the following characters"
            }
            _ => "",
        };
        if !fault.is_empty() {
            let reason = format!("Invalid index name [{name}], {fault}");
            return Err(Answer::error(400, "invalid_index_name_exception", &reason));
        }
        self.created += 1;
        let mut index = Index {
            uuid: format!("scripted-{:013}", self.created),
            mappings: body["mappings"].clone(),
            ..Index::default()
        };
        for alias in body["aliases"].as_object().into_iter().flatten() {
            index.aliases.insert(alias.0.clone(), alias.1.clone());
        }
        index.settings = flat_settings(&body["settings"]);
        for setting in ["number_of_shards", "number_of_replicas"] {
            let default = json!("1");
            index.settings.entry(setting.to_owned()).or_insert(default);
        }
        let named = [
            ("uuid", index.uuid.as_str()),
            ("provided_name", name),
            ("creation_date", "1700000000000"),
        ];
        for (setting, value) in named {
            index.settings.insert(setting.to_owned(), json!(value));
        }
        self.indices.insert(name.to_owned(), index);
        Ok(json!({ "acknowledged": true, "shards_acknowledged": true, "index": name }))
    }

    pub(super) fn delete_index(
        &mut self,
        expression: &str,
        request: &Request,
    ) -> Result<Value, Answer> {
        let lenient = request
            .query
            .iter()
            .any(|part| part == "ignore_unavailable=true");
        match self.resolve_concrete(expression) {
            Ok(names) => self.indices.retain(|name, _| !names.contains(name)),
            Err(error) if error.status == 404 && lenient => (),
            Err(error) => return Err(error),
        }
        Ok(json!({ "acknowledged": true }))
    }

    pub(super) fn put_mapping(&mut self, expression: &str, new: &Value) -> Result<Value, Answer> {
        for name in self.resolve(expression)? {
            let index = self.indices.get_mut(&name).expect("it is resolved");
            let mut mappings = index.show_mappings();
            merge_mapping(&mut mappings, new, "")?;
            index.mappings = mappings;
        }
        Ok(json!({ "acknowledged": true }))
    }

    pub(super) fn show_settings(&self, expression: &str, pattern: &str) -> Result<Value, Answer> {
        let mut shown = self.show(
            expression,
            |index| json!({ "settings": index.show_settings(pattern) }),
        )?;
        // An index without any that are asked for is left out.
        let indices = shown.as_object_mut().expect("it is made so");
        indices.retain(|_, index| index["settings"] != json!({}));
        Ok(shown)
    }

    pub(super) fn put_settings(&mut self, expression: &str, new: &Value) -> Result<Value, Answer> {
        let new = flat_settings(new.get("settings").unwrap_or(new));
        if new.contains_key("number_of_shards") {
            return Err(Answer::illegal(
                "Can't update non dynamic settings [[index.number_of_shards]] for open indices",
            ));
        }
        for name in self.resolve(expression)? {
            let index = self.indices.get_mut(&name).expect("it is resolved");
            for (setting, value) in &new {
                match (setting.as_str(), value) {
                    ("number_of_replicas", Value::Null) => {
                        index.settings.insert(setting.clone(), json!("1"));
                    }
                    (_, Value::Null) => drop(index.settings.remove(setting)),
                    _ => drop(index.settings.insert(setting.clone(), value.clone())),
                }
            }
        }
        Ok(json!({ "acknowledged": true }))
    }
}

/// Settings by their names joined by points, without `index.`, all but lists as text.
fn flat_settings(settings: &Value) -> BTreeMap<String, Value> {
    fn flatten(name: &str, value: &Value, flat: &mut BTreeMap<String, Value>) {
        let value = match value {
            Value::Object(inner) => {
                for (inner_name, value) in inner {
                    let name = format!("{name}.{inner_name}");
                    flatten(&name, value, flat);
                }
                return;
            }
            Value::Bool(_) | Value::Number(_) => json!(value.to_string()),
            other => other.clone(),
        };
        let name = name.trim_start_matches('.');
        let name = name.strip_prefix("index.").unwrap_or(name);
        flat.insert(name.to_owned(), value);
    }
    let mut flat = BTreeMap::new();
    if settings.is_object() {
        flatten("", settings, &mut flat);
    }
    flat
}

/// Adds what is new; the type of a field that is there may not change.
fn merge_mapping(there: &mut Value, new: &Value, field: &str) -> Result<(), Answer> {
    for (key, value) in new.as_object().into_iter().flatten() {
        if key == "type" && there.get("type").is_some_and(|old| old != value) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Err(Answer::illegal(&format!(
                "mapper [{field}] cannot be changed from type [{}] to [{}]",
                text(&there["type"]),
                text(value)
            )));
        }
        if key == "properties" {
            for (name, mapping) in value.as_object().into_iter().flatten() {
                let path = format!("{field}.{name}");
                let at = &mut there["properties"][name];
                if at.is_null() {
                    *at = json!({});
                }
                merge_mapping(at, mapping, path.trim_start_matches('.'))?;
            }
        } else {
            there[key] = value.clone();
        }
    }
    Ok(())
}
