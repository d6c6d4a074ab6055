//! The indices and aliases of a scripted server, and the requests that manage them, answered as `OpenSearch`
//! 2 answers them. Every document is visible at once; mappings are kept and merged, but nothing is checked
//! against them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A request other than how it came.
pub(super) struct Request {
    pub(super) method: String,
    /// The path's parts, decoded.
    pub(super) segments: Vec<String>,
    /// The query's parts, as they came.
    pub(super) query: Vec<String>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn new(method: &str, target: &str, body: &[u8]) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request {
            method: method.to_owned(),
            segments: path
                .split('/')
                .filter(|segment| !segment.is_empty())
                .map(decode)
                .collect(),
            query: query.split('&').map(str::to_owned).collect(),
            body: body.to_owned(),
        }
    }

    /// Without the query.
    pub(super) fn path(&self) -> String {
        format!("/{}", self.segments.join("/"))
    }

    fn json(&self) -> Result<Value, Answer> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Answer::error(400, "parse_exception", &error.to_string()))
    }
}

/// A path's part without its percent signs.
fn decode(segment: &str) -> String {
    let mut parts = segment.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.extend(digits);
        bytes.extend(part.bytes().skip(2));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) struct Answer {
    pub(super) status: u16,
    /// Null for none.
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn new(status: u16, body: Value) -> Answer {
        Answer { status, body }
    }

    pub(super) fn error(status: u16, kind: &str, reason: &str) -> Answer {
        let cause = json!({ "type": kind, "reason": reason });
        let mut error = cause.clone();
        error["root_cause"] = json!([cause]);
        Answer::new(status, json!({ "error": error, "status": status }))
    }

    fn no_index(name: &str) -> Answer {
        let reason = format!("no such index [{name}]");
        Answer::error(404, "index_not_found_exception", &reason)
    }

    pub(super) fn illegal(reason: &str) -> Answer {
        Answer::error(400, "illegal_argument_exception", reason)
    }

    /// Of an error, type and reason.
    pub(super) fn cause(&self) -> Value {
        self.body["error"]["root_cause"][0].clone()
    }
}

#[derive(Default)]
pub(super) struct Cluster {
    pub(super) indices: BTreeMap<String, Index>,
    /// Host and port, as the node gives them out.
    pub(super) address: String,
    pub(super) created: usize,
}

#[derive(Default)]
pub(super) struct Index {
    pub(super) uuid: String,
    /// Without `index.`, the names joined by points.
    pub(super) settings: BTreeMap<String, Value>,
    pub(super) mappings: Value,
    pub(super) aliases: Aliases,
    pub(super) documents: BTreeMap<String, Stored>,
    pub(super) next_seq_no: u64,
}

/// Names with their options.
pub(super) type Aliases = BTreeMap<String, Value>;

#[derive(Default)]
pub(super) struct Stored {
    /// None once it is deleted: its version goes on where it was.
    pub(super) source: Option<Value>,
    pub(super) version: u64,
    pub(super) seq_no: u64,
}

impl Index {
    pub(super) fn source(&self, id: &str) -> Option<&Value> {
        self.documents.get(id)?.source.as_ref()
    }

    /// A setting that is a number, 1 by default.
    pub(super) fn number(&self, setting: &str) -> u64 {
        let text = self.settings.get(setting).and_then(Value::as_str);
        text.and_then(|text| text.parse().ok()).unwrap_or(1)
    }

    pub(super) fn show_settings(&self, pattern: &str) -> Value {
        let mut shown = json!({});
        for (name, value) in &self.settings {
            if matches(pattern, &format!("index.{name}")) {
                let path = format!("/index/{}", name.replace('.', "/"));
                set_at(&mut shown, &path, value.clone());
            }
        }
        shown
    }

    fn show_flat_settings(&self) -> Value {
        let settings = self.settings.iter();
        settings
            .map(|(name, value)| (format!("index.{name}"), value.clone()))
            .collect()
    }

    pub(super) fn show_mappings(&self) -> Value {
        match &self.mappings {
            Value::Null => json!({}),
            mappings => mappings.clone(),
        }
    }
}

/// Sets what is at a path of names, making the objects on the way.
fn set_at(object: &mut Value, path: &str, value: Value) {
    let mut at = object;
    for name in path.split('/').skip(1) {
        at = &mut at[name];
    }
    *at = value;
}

/// Names, one of which may stand for all with a star for any part of it.
pub(super) fn matches(patterns: &str, name: &str) -> bool {
    patterns
        .split(',')
        .any(|pattern| match pattern.split_once('*') {
            None => pattern == name || pattern == "_all",
            Some((start, end)) => name
                .strip_prefix(start)
                .is_some_and(|rest| rest.ends_with(end)),
        })
}

impl Cluster {
    pub(super) fn answer(&mut self, request: &Request) -> Answer {
        let mut answer = self
            .answer_or_error(request)
            .map_or_else(|error| error, |body| Answer::new(200, body));
        if request.method == "HEAD" {
            answer.body = Value::Null;
        }
        answer
    }

    fn answer_or_error(&mut self, request: &Request) -> Result<Value, Answer> {
        let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
        match (request.method.as_str(), segments.as_slice()) {
            ("GET" | "HEAD", []) => Ok(json!({
                "name": "n0",
                "cluster_name": "scripted",
                "version": { "distribution": "opensearch", "number": "2.19.5" },
                "tagline": "The OpenSearch Project: https://opensearch.org/",
            })),
            ("GET", ["_cluster", "health", ..]) => Ok(self.health()),
            ("GET", ["_nodes", "http"]) => Ok(self.nodes()),
            ("POST", ["_aliases"]) => self.update_aliases(&request.json()?),
            ("GET" | "HEAD", ["_alias"]) => self.aliases("*", "*"),
            ("GET" | "HEAD", ["_alias", alias]) => self.aliases("*", alias),
            ("GET" | "HEAD", [index, "_alias"]) => self.aliases(index, "*"),
            ("GET" | "HEAD", [index, "_alias", alias]) => self.aliases(index, alias),
            ("GET" | "POST", ["_refresh" | "_flush" | "_forcemerge"]) => self.touch("*"),
            ("GET" | "POST", [index, "_refresh" | "_flush" | "_forcemerge"]) => self.touch(index),
            ("GET" | "POST", [index, "_count"]) => self.count(index),
            ("GET", [index, "_field_caps"]) => self.field_types(index),
            ("GET" | "POST", [index, "_search"]) => self.search(index),
            ("GET", [index, "_mapping" | "_mappings"]) => {
                self.show(index, |found| json!({ "mappings": found.show_mappings() }))
            }
            ("PUT" | "POST", [index, "_mapping" | "_mappings"]) => {
                self.put_mapping(index, &request.json()?)
            }
            ("GET", [index, "_settings"]) => self.show_settings(index, "*"),
            ("GET", [index, "_settings", name]) => self.show_settings(index, name),
            ("PUT", [index, "_settings"]) => self.put_settings(index, &request.json()?),
            ("GET" | "HEAD", [index, "_doc", id]) => self.document(index, id),
            ("PUT", [index]) => self.create_index(index, &request.json()?),
            ("GET" | "HEAD", [index]) if !index.starts_with('_') => {
                let flat = request
                    .query
                    .iter()
                    .any(|part| part == "flat_settings=true");
                self.show(index, |found| {
                    let settings = if flat {
                        found.show_flat_settings()
                    } else {
                        found.show_settings("*")
                    };
                    json!({
                        "aliases": found.aliases,
                        "mappings": found.show_mappings(),
                        "settings": settings,
                    })
                })
            }
            ("DELETE", [index]) => self.delete_index(index, request),
            (method, _) => {
                let path = request.path();
                let error = format!("no handler found for uri [{path}] and method [{method}]");
                Err(Answer::new(400, json!({ "error": error })))
            }
        }
    }

    fn health(&self) -> Value {
        let green = self
            .indices
            .values()
            .all(|index| index.number("number_of_replicas") == 0);
        json!({
            "cluster_name": "scripted",
            "status": if green { "green" } else { "yellow" },
            "timed_out": false,
            "number_of_nodes": 1,
            "number_of_data_nodes": 1,
        })
    }

    fn nodes(&self) -> Value {
        json!({
            "_nodes": { "total": 1, "successful": 1, "failed": 0 },
            "cluster_name": "scripted",
            "nodes": { "scripted-node": {
                "name": "n0",
                "http": {
                    "bound_address": [self.address],
                    "publish_address": self.address,
                    "max_content_length_in_bytes": 100 << 20,
                },
            } },
        })
    }

    /// The indices that names, patterns and aliases stand for; an error for a name that is neither.
    pub(super) fn resolve(&self, expression: &str) -> Result<Vec<String>, Answer> {
        let mut found = Vec::new();
        for part in expression.split(',') {
            let is_meant = |name: &str, index: &Index| {
                matches(part, name) || index.aliases.keys().any(|alias| matches(part, alias))
            };
            let before = found.len();
            found.extend(
                self.indices
                    .iter()
                    .filter(|(name, index)| is_meant(name, index))
                    .map(|(name, _)| name.clone()),
            );
            if found.len() == before && !part.contains('*') {
                return Err(Answer::no_index(part));
            }
        }
        Ok(found)
    }

    /// As [`Cluster::resolve`], where aliases do not count.
    pub(super) fn resolve_concrete(&self, expression: &str) -> Result<Vec<String>, Answer> {
        let mut found = self.resolve(expression)?;
        found.retain(|name| matches(expression, name));
        if found.is_empty() && !expression.contains('*') {
            return Err(Answer::illegal(&format!(
                "The provided expression [{expression}] matches an alias, specify the corresponding concrete indices instead."
            )));
        }
        Ok(found)
    }

    /// The index that is written to under a name; the name itself where there is none yet.
    pub(super) fn write_index(&self, name: &str) -> Result<String, Answer> {
        if self.indices.contains_key(name) {
            return Ok(name.to_owned());
        }
        let with_alias: Vec<(&String, &Value)> = self
            .indices
            .iter()
            .filter_map(|(index, found)| Some((index, found.aliases.get(name)?)))
            .collect();
        let marked = with_alias
            .iter()
            .find(|(_, options)| options["is_write_index"] == true);
        match (marked, with_alias.as_slice()) {
            (Some((index, _)), _) => Ok((*index).clone()),
            (None, []) => Ok(name.to_owned()),
            (None, [(index, options)]) if options["is_write_index"] != false => {
                Ok((*index).clone())
            }
            (None, _) => Err(Answer::illegal(&format!(
                "no write index is defined for alias [{name}]"
            ))),
        }
    }

    /// By index, what `about` says of it.
    pub(super) fn show(
        &self,
        expression: &str,
        about: impl Fn(&Index) -> Value,
    ) -> Result<Value, Answer> {
        let shown: Map<String, Value> = self
            .resolve(expression)?
            .into_iter()
            .map(|name| {
                let value = about(&self.indices[&name]);
                (name, value)
            })
            .collect();
        Ok(Value::Object(shown))
    }

    fn touch(&self, expression: &str) -> Result<Value, Answer> {
        let (mut total, mut successful) = (0, 0);
        for name in self.resolve(expression)? {
            let index = &self.indices[&name];
            let primaries = index.number("number_of_shards");
            successful += primaries;
            // There is but one node, so no replica is assigned anywhere.
            total += primaries * (1 + index.number("number_of_replicas"));
        }
        Ok(json!({ "_shards": { "total": total, "successful": successful, "failed": 0 } }))
    }

    fn count(&self, expression: &str) -> Result<Value, Answer> {
        let names = self.resolve(expression)?;
        let indices = names.iter().map(|name| &self.indices[name]);
        let shards: u64 = indices.map(|index| index.number("number_of_shards")).sum();
        Ok(json!({
            "count": self.documents(expression).len(),
            "_shards": { "total": shards, "successful": shards, "skipped": 0, "failed": 0 },
        }))
    }

    /// The types of all fields that a mapping names, whichever are asked for.
    fn field_types(&self, expression: &str) -> Result<Value, Answer> {
        let mut fields = json!({});
        for name in self.resolve(expression)? {
            let properties = self.indices[&name].mappings["properties"].as_object();
            for (field, property) in properties.into_iter().flatten() {
                let ty = property["type"].as_str().unwrap_or("object");
                fields[field][ty] = json!({ "type": ty, "searchable": true });
            }
        }
        Ok(json!({ "indices": self.resolve(expression)?, "fields": fields }))
    }

    /// Finds all documents, whatever is asked.
    fn search(&self, expression: &str) -> Result<Value, Answer> {
        self.resolve(expression)?;
        let hits: Vec<Value> = self
            .documents(expression)
            .into_iter()
            .map(|(id, source)| json!({ "_id": id, "_score": 1.0, "_source": source }))
            .collect();
        let total = json!({ "value": hits.len(), "relation": "eq" });
        Ok(json!({ "hits": { "total": total, "hits": hits } }))
    }

    pub(super) fn documents(&self, expression: &str) -> BTreeMap<String, Value> {
        let names = self.resolve(expression).unwrap_or_default();
        names
            .iter()
            .flat_map(|name| &self.indices[name].documents)
            .filter_map(|(id, stored)| Some((id.clone(), stored.source.clone()?)))
            .collect()
    }

    fn document(&self, expression: &str, id: &str) -> Result<Value, Answer> {
        let name = self.write_index(expression)?;
        let index = self
            .indices
            .get(&name)
            .ok_or_else(|| Answer::no_index(&name))?;
        let mut shown = json!({ "_index": name, "_id": id, "found": false });
        let Some(source) = index.source(id) else {
            return Err(Answer::new(404, shown));
        };
        shown["_version"] = json!(index.documents[id].version);
        shown["_seq_no"] = json!(index.documents[id].seq_no);
        shown["found"] = json!(true);
        shown["_source"] = source.clone();
        Ok(shown)
    }
}
