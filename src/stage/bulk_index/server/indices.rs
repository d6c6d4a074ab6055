//! Indices and aliases, and the mark by which we know an index as ours.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::api::{Api, Said, segment};
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
    pub(super) mappings: Value,
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
        mappings: index["mappings"].clone(),
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

/// Makes an index, with an alias to write through if one is given. `None`: by now there is one of that
/// name, which does not bear the mark of `run`.
pub(super) fn create(
    api: &Api,
    name: &str,
    settings: Option<Value>,
    mapping: Option<&Value>,
    alias: Option<&str>,
    run: &str,
) -> Result<Option<Found>> {
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
    if is_taken(&said) {
        // An earlier try may have made it, of which no answer came. Or somebody else did: the server makes
        // an index of one name once.
        let path = segment(name);
        let body = api.call(Method::Get, &path, None)?.body;
        let mark = mark_of(&body[name]);
        if mark.is_none_or(|mark| mark.run != run) {
            return Ok(None);
        }
    } else {
        said.well(&format!("make the index `{name}`"), &api.client)?;
    }
    Ok(Some(find(api, name)?.unwrap_or_else(|| Found {
        name: name.to_owned(),
        ..Found::default()
    })))
}

/// Whether an index could not be made because there is one, or an alias, of its name.
fn is_taken(said: &Said) -> bool {
    let reason = said.body["error"]["reason"].as_str().unwrap_or_default();
    match said.kind().as_str() {
        "resource_already_exists_exception" => true,
        "invalid_index_name_exception" => reason.contains("already exists as alias"),
        _ => false,
    }
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

/// Of an index's settings those that another one has not, or has otherwise, as `name = value`. What the
/// server sets of itself, and what is `given`, is left out.
pub(super) fn settings_left_behind(old: &Value, new: &Value, given: &Value) -> Vec<String> {
    const OF_THE_SERVER: [&str; 8] = [
        "index.uuid",
        "index.creation_date",
        "index.provided_name",
        "index.version.",
        "index.history.",
        "index.resize.",
        "index.routing.allocation.initial_recovery.",
        "index.replication.",
    ];
    let settings = old.as_object().into_iter().flatten();
    let left = settings.filter(|(name, value)| {
        let of_server = OF_THE_SERVER.iter().any(|own| name.starts_with(own));
        !of_server && new[name.as_str()] != **value && !is_given(given, name)
    });
    left.map(|(name, value)| match value.as_str() {
        Some(text) => format!("`{name} = {text}`"),
        None => format!("`{name} = {value}`"),
    })
    .collect()
}

/// Whether the option `settings` says anything of a setting, by its whole name or as a table of tables.
fn is_given(given: &Value, name: &str) -> bool {
    let name = name.strip_prefix("index.").unwrap_or(name);
    let Some(given) = given.as_object() else {
        return false;
    };
    given.iter().any(|(key, value)| {
        let key = key.strip_prefix("index.").unwrap_or(key);
        match (key, name.strip_prefix(key)) {
            ("index", _) => is_given(value, name),
            (_, Some("")) => true,
            (_, Some(rest)) => rest
                .strip_prefix('.')
                .is_some_and(|rest| !value.is_object() || is_given(value, rest)),
            (_, None) => false,
        }
    })
}

/// An index that has an alias, and what the server keeps of the two.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Holder {
    pub(super) name: String,
    /// `filter`, `search_routing` and so on.
    options: Map<String, Value>,
}

/// What an alias may have beside its name: all of it goes with the alias from index to index.
const ALIAS_OPTIONS: [&str; 5] = [
    "filter",
    "index_routing",
    "search_routing",
    "is_write_index",
    "is_hidden",
];

impl Holder {
    /// An error if the alias has something that could not be carried over.
    pub(super) fn refuse_unknown(&self, alias: &str) -> Result<()> {
        let known = |name: &&String| ALIAS_OPTIONS.contains(&name.as_str());
        match self.options.keys().find(|name| !known(name)) {
            Some(name) => Err(Error::failed(format!(
                "the alias `{alias}` of `{}` has `{name}`, which cannot be carried over to another index",
                self.name
            ))
            .hint("nothing was sent; take it from the alias, or load into a new index and give it the alias yourself")),
            None => Ok(()),
        }
    }

    /// What takes the alias from this index and gives it, as it is, to another one.
    pub(super) fn pass_on(&self, alias: &str, to: &str) -> [Value; 2] {
        let mut add = json!({ "index": to, "alias": alias });
        for (name, value) in &self.options {
            add[name] = value.clone();
        }
        [
            json!({ "remove": { "index": self.name, "alias": alias, "must_exist": true } }),
            json!({ "add": add }),
        ]
    }
}

/// The indices that have an alias, by name.
pub(super) fn holders(api: &Api, alias: &str) -> Result<Vec<Holder>> {
    let said = api.call(Method::Get, &format!("_alias/{}", segment(alias)), None)?;
    if said.status == 404 {
        return Ok(Vec::new());
    }
    let body = said.well(&format!("look at the alias `{alias}`"), &api.client)?;
    let indices = body.as_object().into_iter().flatten();
    let mut holders: Vec<Holder> = indices
        .map(|(name, index)| Holder {
            name: name.clone(),
            options: index["aliases"][alias]
                .as_object()
                .cloned()
                .unwrap_or_default(),
        })
        .collect();
    holders.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(holders)
}

/// Whether an alias belongs to this index and to no other.
pub(super) fn has_alone(holders: &[Holder], index: &str) -> bool {
    matches!(holders, [holder] if holder.name == index)
}

/// An index that bears our mark.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) name: String,
    pub(super) mark: Mark,
    /// But for the one that its load writes through.
    pub(super) aliases: Vec<String>,
}

/// The indices that bear our mark for an alias, oldest first: their names hold the time.
pub(super) fn marked(api: &Api, alias: &str) -> Result<Vec<Ours>> {
    let path = format!(
        "{}-*?filter_path=*.mappings._meta,*.aliases",
        segment(alias)
    );
    let said = api.call(Method::Get, &path, None)?;
    if said.status == 404 {
        return Ok(Vec::new());
    }
    let body = said.well(&format!("list the indices of `{alias}`"), &api.client)?;
    let indices = body.as_object().into_iter().flatten();
    let mut marked: Vec<Ours> = indices
        .filter_map(|(name, index)| {
            let mark = mark_of(index).filter(|mark| mark.alias == alias)?;
            let aliases = index["aliases"].as_object();
            let aliases = aliases.into_iter().flat_map(Map::keys);
            Some(Ours {
                name: name.clone(),
                mark,
                aliases: aliases
                    .filter(|alias| **alias != write_alias(name))
                    .cloned()
                    .collect(),
            })
        })
        .collect();
    marked.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(marked)
}

/// The alias that the load of an index writes through.
pub(super) fn write_alias(index: &str) -> String {
    format!("{index}-load")
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
