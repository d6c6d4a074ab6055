//! Bulk requests: what they ask for, and what carrying them out says of each item.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};

use super::ItemFault;
use super::cluster::{Answer, Cluster, Index, Request};

/// A bulk request as the script sees it.
#[derive(Debug, Clone)]
pub(crate) struct Bulk {
    /// Bulk requests before this one.
    pub(crate) number: usize,
    pub(crate) items: Vec<Item>,
    /// Bulk requests that are being answered, this one among them.
    pub(crate) at_once: usize,
    /// Of its body.
    pub(crate) bytes: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) op: Op,
    /// The index or alias that is named.
    pub(crate) index: String,
    /// A new one where the request gives none.
    pub(crate) id: String,
    /// The line after the action, of an update with its `doc` still around it; null of a deletion, and where
    /// the line is not JSON.
    pub(crate) document: Value,
    /// What the action says beside its name: `_id`, `routing`, `version`.
    pub(crate) action: Value,
    require_alias: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Index,
    Create,
    Update,
    Delete,
}

impl Op {
    fn from_name(name: &str) -> Option<Op> {
        [Op::Index, Op::Create, Op::Update, Op::Delete]
            .into_iter()
            .find(|op| op.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Op::Index => "index",
            Op::Create => "create",
            Op::Update => "update",
            Op::Delete => "delete",
        }
    }
}

/// What an item is answered with.
pub(super) struct Outcome {
    op: Op,
    pub(super) status: u16,
    body: Map<String, Value>,
}

/// The items of a request, or why it is answered with 400.
pub(super) fn parse(request: &Request) -> Result<Vec<Item>, String> {
    if request.body.last() != Some(&b'\n') {
        return Err("The bulk request must be terminated by a newline [\\n]".to_owned());
    }
    let mut items = Vec::new();
    let mut lines = request
        .body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    while let Some(line) = lines.next() {
        let mut item = parse_action(line, request).ok_or_else(|| {
            let line = String::from_utf8_lossy(line);
            format!("Malformed action/metadata line, expected an action: {line}")
        })?;
        if item.op != Op::Delete {
            let line = lines.next().ok_or("the last action has no document")?;
            item.document = serde_json::from_slice(line).unwrap_or(Value::Null);
        }
        items.push(item);
    }
    Ok(items)
}

fn parse_action(line: &[u8], request: &Request) -> Option<Item> {
    static NEW_ID: AtomicU64 = AtomicU64::new(0);
    let action: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let (name, target) = action.iter().next()?;
    let index = match &target["_index"] {
        Value::String(index) => index.clone(),
        _ if request.segments.len() == 2 => request.segments[0].clone(),
        _ => return None,
    };
    let id = target["_id"].as_str().map_or_else(
        || format!("new-{}", NEW_ID.fetch_add(1, Ordering::Relaxed)),
        str::to_owned,
    );
    let of_request = request
        .query
        .iter()
        .any(|part| part == "require_alias=true");
    Some(Item {
        op: Op::from_name(name)?,
        index,
        id,
        document: Value::Null,
        require_alias: target["require_alias"].as_bool().unwrap_or(of_request),
        action: target.clone(),
    })
}

/// The answer to a whole request.
pub(super) fn answer(outcomes: Vec<Outcome>) -> Value {
    let errors = outcomes
        .iter()
        .any(|outcome| outcome.body.contains_key("error"));
    let items: Vec<Value> = outcomes
        .into_iter()
        .map(|outcome| json!({ outcome.op.name(): outcome.body }))
        .collect();
    json!({ "took": 1, "errors": errors, "items": items })
}

impl Cluster {
    /// Carries out all items but those with a fault.
    pub(super) fn carry_out(&mut self, items: &[Item], faults: &[ItemFault]) -> Vec<Outcome> {
        let each = items.iter().enumerate().map(|(position, item)| {
            let fault = faults.iter().find(|fault| fault.position == position);
            let result = match fault {
                None => self.carry_out_item(item),
                Some(fault) => Err(Answer::error(
                    fault.status,
                    &fault.kind,
                    "the script says so",
                )),
            };
            let (status, mut about) = match result {
                Ok((status, about)) => (status, about),
                Err(error) => (error.status, json!({ "error": error.cause() })),
            };
            about["status"] = json!(status);
            let mut body = Map::new();
            let written = self.write_index(&item.index);
            body.insert(
                "_index".to_owned(),
                json!(written.unwrap_or_else(|_| item.index.clone())),
            );
            body.insert("_id".to_owned(), json!(item.id));
            body.extend(about.as_object().cloned().unwrap_or_default());
            Outcome {
                op: item.op,
                status,
                body,
            }
        });
        each.collect()
    }

    fn carry_out_item(&mut self, item: &Item) -> Result<(u16, Value), Answer> {
        let target = self.write_index(&item.index)?;
        if item.require_alias && target == item.index {
            let reason = format!(
                "no such index [{target}] and [require_alias] request flag is [true] and [{target}] is not an alias"
            );
            return Err(Answer::error(404, "index_not_found_exception", &reason));
        }
        if !self.indices.contains_key(&target) {
            self.create_index(&target, &Value::Null)?;
        }
        let index = self
            .indices
            .get_mut(&target)
            .expect("it is there or created");
        let there = index.source(&item.id).cloned();
        let source = match (item.op, there) {
            (Op::Delete, there) => {
                let (status, result) = match there {
                    Some(_) => (200, "deleted"),
                    None => (404, "not_found"),
                };
                return Ok((status, index.write(&item.id, None, result)));
            }
            (Op::Create, Some(_)) => {
                let reason = format!("[{}]: version conflict, document already exists", item.id);
                return Err(Answer::error(
                    409,
                    "version_conflict_engine_exception",
                    &reason,
                ));
            }
            (Op::Index | Op::Create, _) => item.document.clone(),
            (Op::Update, there) => updated(item, there)?,
        };
        if !source.is_object() {
            return Err(Answer::error(
                400,
                "mapper_parsing_exception",
                "failed to parse",
            ));
        }
        Ok(match index.source(&item.id) {
            Some(there) if item.op == Op::Update && *there == source => {
                (200, index.about(&item.id, "noop"))
            }
            Some(_) => (200, index.write(&item.id, Some(source), "updated")),
            None => (201, index.write(&item.id, Some(source), "created")),
        })
    }
}

/// What an update makes of the document that is there.
fn updated(item: &Item, there: Option<Value>) -> Result<Value, Answer> {
    let request = &item.document;
    match there {
        Some(mut there) => {
            merge(&mut there, &request["doc"]);
            Ok(there)
        }
        None if request["doc_as_upsert"] == true => Ok(request["doc"].clone()),
        None if request["upsert"].is_object() => Ok(request["upsert"].clone()),
        None => {
            let reason = format!("[{}]: document missing", item.id);
            Err(Answer::error(404, "document_missing_exception", &reason))
        }
    }
}

/// Objects are merged, anything else is replaced.
fn merge(there: &mut Value, new: &Value) {
    match (there, new) {
        (Value::Object(there), Value::Object(new)) => {
            for (name, value) in new {
                merge(there.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (there, new) => *there = new.clone(),
    }
}

impl Index {
    /// Writes a document, or its absence.
    fn write(&mut self, id: &str, source: Option<Value>, result: &str) -> Value {
        let stored = self.documents.entry(id.to_owned()).or_default();
        stored.source = source;
        stored.version += 1;
        stored.seq_no = self.next_seq_no;
        self.next_seq_no += 1;
        self.about(id, result)
    }

    fn about(&self, id: &str, result: &str) -> Value {
        let stored = &self.documents[id];
        let total = 1 + self.number("number_of_replicas");
        json!({
            "_version": stored.version,
            "result": result,
            "_shards": { "total": total, "successful": 1, "failed": 0 },
            "_seq_no": stored.seq_no,
            "_primary_term": 1,
        })
    }
}
