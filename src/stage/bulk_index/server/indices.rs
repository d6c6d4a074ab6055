//! Indices and aliases, and the mark by which we know an index as ours.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{Api, segment};
use crate::error::{Error, Result};
use crate::http::Method;

/// The states of a [`Mark`].
pub(super) const LOADING: &str = "loading";
pub(super) const PUBLISHED: &str = "published";
/// Made to be written in place.
pub(super) const MADE: &str = "made";

/// The member of a mapping's `_meta` that holds our mark.
const MARK: &str = "etl";

/// The settings that are changed while an index is loaded.
const TUNED: [&str; 4] = [
    "index.refresh_interval",
    "index.number_of_replicas",
    "index.auto_expand_replicas",
    "index.translog.durability",
];

/// What makes an index ours: only marked ones are ever deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// What had the alias before.
    #[serde(default)]
    pub(super) before: Option<String>,
    pub(super) pipeline: String,
    pub(super) alias: String,
    pub(super) run: String,
    pub(super) state: String,
}

impl Mark {
    /// A mapping with the mark in its `_meta`, beside what stands there.
    pub(super) fn put_into(&self, mut mapping: Value) -> Value {
        if !mapping["_meta"].is_object() {
            mapping["_meta"] = json!({});
        }
        mapping["_meta"][MARK] = serde_json::to_value(self).expect("it is plain data");
        mapping
    }
}

/// An index that is there.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) uuid: Option<String>,
    /// Flat: `index.refresh_interval`.
    pub(super) settings: Value,
}

/// The one index in the answer to a question for an index or alias; of several none is meant.
pub(super) fn of_body(body: &Value) -> Option<Found> {
    let all = body.as_object()?;
    let only = all.iter().next().filter(|_| all.len() == 1);
    let (name, index) = only.filter(|(_, index)| index["settings"].is_object())?;
    Some(Found {
        name: name.clone(),
        uuid: index["settings"]["index.uuid"].as_str().map(str::to_owned),
        settings: index["settings"].clone(),
    })
}

/// The index of that name, or behind that alias.
pub(super) fn find(api: &Api, name: &str) -> Result<Option<Found>> {
    let path = format!("{}?flat_settings=true", segment(name));
    let said = api.call(Method::Get, &path, None)?;
    if matches!(said.status, 403 | 404) {
        return Ok(None);
    }
    let body = said.well(&format!("look at the index `{name}`"), &api.client)?;
    refuse_data_stream(name, &body)?;
    Ok(of_body(&body))
}

/// What looks like an index may be a part of a data stream, which takes documents otherwise.
pub(super) fn refuse_data_stream(name: &str, body: &Value) -> Result<()> {
    let mut indices = body.as_object().into_iter().flatten();
    if indices.any(|(_, index)| index.get("data_stream").is_some()) {
        return Err(Error::failed(format!("`{name}` is a data stream"))
            .hint("name an index: data streams are not loaded yet"));
    }
    Ok(())
}

/// Makes an index, with an alias to write through if one is given.
pub(super) fn create(
    api: &Api,
    name: &str,
    settings: Option<Value>,
    mapping: Option<&Value>,
    alias: Option<&str>,
) -> Result<Found> {
    let mut body = json!({});
    if let Some(settings) = settings {
        body["settings"] = settings;
    }
    if let Some(mapping) = mapping {
        body["mappings"] = mapping.clone();
    }
    if let Some(alias) = alias {
        body["aliases"] = json!({ alias: { "is_write_index": true } });
    }
    let said = api.call(Method::Put, &segment(name), Some(&body))?;
    let ours = said.repeated && said.kind() == "resource_already_exists_exception";
    if !ours {
        said.well(&format!("make the index `{name}`"), &api.client)?;
    }
    Ok(find(api, name)?.unwrap_or_else(|| Found {
        name: name.to_owned(),
        ..Found::default()
    }))
}

/// Of an index's settings those that a load changes; null where nothing was set.
pub(super) fn tuned_settings(settings: &Value) -> Value {
    let tuned = TUNED.map(|name| (name.to_owned(), settings[name].clone()));
    Value::Object(tuned.into_iter().collect())
}

/// The mark of an index in the answer to a question for it.
pub(super) fn mark_of(index: &Value) -> Option<Mark> {
    serde_json::from_value(index["mappings"]["_meta"][MARK].clone()).ok()
}

/// The indices that have an alias, by name.
pub(super) fn holders(api: &Api, alias: &str) -> Result<Vec<String>> {
    let said = api.call(Method::Get, &format!("_alias/{}", segment(alias)), None)?;
    if said.status == 404 {
        return Ok(Vec::new());
    }
    let body = said.well(&format!("look at the alias `{alias}`"), &api.client)?;
    let indices = body.as_object().into_iter().flatten();
    let mut names: Vec<String> = indices.map(|(name, _)| name.clone()).collect();
    names.sort();
    Ok(names)
}

/// The indices that bear our mark for an alias, oldest first: their names hold the time.
pub(super) fn marked(api: &Api, alias: &str) -> Result<Vec<(String, Mark)>> {
    let path = format!("{}-*/_mapping?filter_path=*.mappings._meta", segment(alias));
    let said = api.call(Method::Get, &path, None)?;
    if said.status == 404 {
        return Ok(Vec::new());
    }
    let body = said.well(&format!("list the indices of `{alias}`"), &api.client)?;
    let indices = body.as_object().into_iter().flatten();
    let mut marked: Vec<(String, Mark)> = indices
        .filter_map(|(name, index)| {
            let mark = mark_of(index)?;
            (mark.alias == alias).then(|| (name.clone(), mark))
        })
        .collect();
    marked.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(marked)
}

/// Changes an index's mark.
pub(super) fn set_mark(api: &Api, index: &str, mark: &Mark) -> Result<()> {
    let path = format!("{}/_mapping", segment(index));
    // `_meta` is replaced as a whole: what else stands in it is kept.
    let said = api.call(Method::Get, &path, None)?;
    let body = said.well(&format!("read the mapping of `{index}`"), &api.client)?;
    let meta = body[index]["mappings"]["_meta"].clone();
    let meta = if meta.is_object() { meta } else { json!({}) };
    let mapping = mark.put_into(json!({ "_meta": meta }));
    api.call(Method::Put, &path, Some(&mapping))?
        .well(&format!("mark `{index}`"), &api.client)
        .map(drop)
}

/// Deletes one of our indices; one that is gone is none.
pub(super) fn delete(api: &Api, index: &str) -> Result<()> {
    let said = api.call(Method::Delete, &segment(index), None)?;
    if said.status == 404 {
        return Ok(());
    }
    said.well(&format!("delete the index `{index}`"), &api.client)
        .map(drop)
}
