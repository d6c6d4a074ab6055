//! The aliases of a scripted server: who has which, and how they change.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::cluster::{Aliases, Answer, Cluster, matches};

/// What an alias may have beside its name.
const ALIAS_OPTIONS: [&str; 5] = [
    "is_write_index",
    "is_hidden",
    "filter",
    "index_routing",
    "search_routing",
];

impl Cluster {
    pub(super) fn aliases(&self, expression: &str, pattern: &str) -> Result<Value, Answer> {
        let mut shown = self.show(expression, |index| {
            let mut aliases = index.aliases.clone();
            aliases.retain(|alias, _| matches(pattern, alias));
            json!({ "aliases": aliases })
        })?;
        if pattern != "*" {
            // Of a name that is asked for, only who has it.
            let shown = shown.as_object_mut().expect("it is made so");
            shown.retain(|_, index| index["aliases"] != json!({}));
            if shown.is_empty() && !pattern.contains('*') {
                let error = format!("alias [{pattern}] missing");
                return Err(Answer::new(404, json!({ "error": error, "status": 404 })));
            }
        }
        Ok(shown)
    }

    /// All actions or none, the removal of indices before the rest, so that an alias may take an index's name.
    pub(super) fn update_aliases(&mut self, body: &Value) -> Result<Value, Answer> {
        let actions: Vec<(&String, &Value)> = body["actions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|action| action.as_object()?.iter().next())
            .collect();
        if actions.is_empty() {
            return Err(Answer::illegal("No action specified"));
        }
        let mut aliases: BTreeMap<String, Aliases> = self
            .indices
            .iter()
            .map(|(name, index)| (name.clone(), index.aliases.clone()))
            .collect();
        let (removals, others): (Vec<_>, Vec<_>) = actions
            .into_iter()
            .partition(|(kind, _)| *kind == "remove_index");
        let count = removals.len() + others.len();
        let mut missing = Vec::new();
        for (kind, action) in removals.into_iter().chain(others) {
            let mut indices = Vec::new();
            for name in names(action, "index", "indices") {
                indices.extend(self.resolve_concrete(name)?);
            }
            if indices.is_empty() {
                return Err(Answer::illegal("an action names an index"));
            }
            match kind.as_str() {
                "remove_index" => aliases.retain(|name, _| !indices.contains(name)),
                "remove" if remove_aliases(&mut aliases, &indices, action) => (),
                "remove" if action["must_exist"] == true => return Err(no_aliases(action)),
                "remove" if action["must_exist"] == false => (),
                "remove" => missing.push(action),
                "add" => add_aliases(&mut aliases, &indices, action)?,
                kind => return Err(Answer::illegal(&format!("unknown action [{kind}]"))),
            }
        }
        refuse_two_write_indices(&aliases)?;
        // What is missing is an error only if there is nothing else to do.
        if missing.len() == count {
            return Err(no_aliases(missing[0]));
        }
        self.indices.retain(|name, _| aliases.contains_key(name));
        for (name, index) in &mut self.indices {
            index.aliases = aliases.remove(name).unwrap_or_default();
        }
        Ok(json!({ "acknowledged": true }))
    }
}

/// What an action names under `one`, or as a list under `several`.
fn names<'a>(action: &'a Value, one: &str, several: &str) -> Vec<&'a str> {
    let listed = action[several].as_array().into_iter().flatten();
    listed
        .chain(action.get(one))
        .filter_map(Value::as_str)
        .collect()
}

fn add_aliases(
    aliases: &mut BTreeMap<String, Aliases>,
    indices: &[String],
    action: &Value,
) -> Result<(), Answer> {
    for alias in names(action, "alias", "aliases") {
        if aliases.contains_key(alias) {
            let reason = format!(
                "Invalid alias name [{alias}], an index exists with the same name as the alias"
            );
            return Err(Answer::error(400, "invalid_alias_name_exception", &reason));
        }
        let mut options = json!({});
        for option in ALIAS_OPTIONS {
            if let Some(value) = action.get(option) {
                options[option] = value.clone();
            }
        }
        for index in indices {
            if let Some(of_index) = aliases.get_mut(index) {
                of_index.insert(alias.to_owned(), options.clone());
            }
        }
    }
    Ok(())
}

/// An alias has one index that is written to, if any.
fn refuse_two_write_indices(aliases: &BTreeMap<String, Aliases>) -> Result<(), Answer> {
    let mut write: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (index, of_index) in aliases {
        for (alias, options) in of_index {
            if options["is_write_index"] == true {
                write.entry(alias).or_default().push(index);
            }
        }
    }
    match write.into_iter().find(|(_, indices)| indices.len() > 1) {
        Some((alias, indices)) => {
            let reason = format!(
                "alias [{alias}] has more than one write index [{}]",
                indices.join(",")
            );
            Err(Answer::error(500, "illegal_state_exception", &reason))
        }
        None => Ok(()),
    }
}

/// Whether any was there.
fn remove_aliases(
    aliases: &mut BTreeMap<String, Aliases>,
    indices: &[String],
    action: &Value,
) -> bool {
    let patterns = names(action, "alias", "aliases").join(",");
    let mut removed = 0;
    for index in indices {
        if let Some(of_index) = aliases.get_mut(index) {
            let before = of_index.len();
            of_index.retain(|alias, _| !matches(&patterns, alias));
            removed += before - of_index.len();
        }
    }
    removed > 0
}

fn no_aliases(action: &Value) -> Answer {
    let patterns = names(action, "alias", "aliases").join(",");
    let reason = format!("aliases [{patterns}] missing");
    Answer::error(404, "aliases_not_found_exception", &reason)
}
