//! The parallel part of a load: rows become bodies of the bulk API, one copy from column to body, and
//! each body is sent until every document has an outcome, before the next one is made.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::super::ids::{self, Rejects};
use super::answer::FILTER;
use super::api::segment;
use super::load::Receipt;
use super::options::{Op, Options};
use super::parts::{Bulk, DocumentOutcome, Refusal, Tally};
use super::send::Wire;
use super::{SessionConfig, replay};
use crate::batch::Batch;
use crate::columns::Column;
use crate::error::{Error, Result};
use crate::format::json::{Document, Nulls, Rows, Writer, write_string};
use crate::http::{BulkParts, Nodes};
use crate::schema::Schema;
use crate::stage::OnError;
use crate::stage::{Counts, Output, REQUESTS, Reject, SENT_AGAIN, Session, Setup, TaskContext};

/// What each request says the server may take, so that it answers before the client gives up.
const SERVER_TIMEOUT: Duration = Duration::from_mins(1);
/// What a document takes beside its values, before one was seen: names, quotes, the action.
const DOCUMENT_BYTES: usize = 200;

/// Rows on their way to servers.
pub(super) struct ServerSession {
    wire: Wire,
    input: Schema,
    /// The columns whose values make the id; none: load and row number do, or the server does.
    id: Vec<usize>,
    routing: Option<usize>,
    version: Option<usize>,
    version_type: &'static str,
    on_error: OnError,
    load: String,
    resumed: bool,
    /// Where documents come as they were once sent: the column of their text.
    document: Option<usize>,
    writer: Writer,
    /// Bytes of a document in the body before: how many the next one will hold.
    document_bytes: AtomicUsize,
}

/// The columns that stand in the action before each document.
struct Actions {
    id: Option<Column>,
    routing: Option<Column>,
    version: Option<Column>,
    first: u64,
}

impl ServerSession {
    pub(super) fn open(setup: Setup, id: &[String], options: &Options) -> Result<Self> {
        let config: SessionConfig =
            serde_json::from_value(setup.session_config).map_err(|error| {
                Error::failed("cannot decode the configuration of a session").cause(error)
            })?;
        let mut inputs = setup.inputs.into_iter();
        let input = inputs
            .next()
            .ok_or_else(|| Error::failed("`bulk_index` has one input"))?;
        let column =
            |name: &Option<String>| name.as_ref().map(|name| input.index(name)).transpose();
        let timeout = SERVER_TIMEOUT.min(config.connect.request_timeout / 2);
        let mut path = format!(
            "{}?filter_path={FILTER}&timeout={}ms",
            BulkParts::Index(&config.target)
                .url()
                .trim_start_matches('/'),
            timeout.as_millis()
        );
        if config.require_alias {
            path.push_str("&require_alias=true");
        }
        if let Some(pipeline) = &options.pipeline {
            path.push_str(&format!("&pipeline={}", segment(pipeline)));
        }
        Ok(ServerSession {
            wire: Wire {
                client: Nodes::new(config.connect, setup.stop)?,
                backpressure: setup.backpressure,
                retry: options.retry(),
                path,
                target: config.target,
                index: config.index,
                op: options.op,
                versioned: options.version.is_some(),
                on_conflict: options.on_conflict,
                server_ids: options.server_ids,
                bytes_max: AtomicUsize::new(config.bytes_max),
                in_flight: AtomicUsize::new(0),
                taken: AtomicU64::new(0),
                paused_until: Mutex::new(Duration::ZERO),
                wait_reason: setup.wait_reason,
            },
            id: input.indices(id)?,
            routing: column(&options.routing)?,
            version: column(&options.version)?,
            version_type: options.version_type.as_str(),
            on_error: options.on_error,
            document: config
                .replays
                .then(|| input.index(replay::DOCUMENT))
                .transpose()?,
            load: config.load,
            resumed: config.resumed,
            writer: Writer::new(&input, Nulls::Omit),
            document_bytes: AtomicUsize::new(0),
            input,
        })
    }

    /// The body of as many of the rows as one request takes, and where each of them ends.
    fn body(&self, rows: &Batch, actions: &Actions, from: usize) -> (Vec<u8>, Vec<usize>) {
        let bytes_max = self.wire.bytes_max.load(Ordering::Relaxed);
        let mut guess = match self.document_bytes.load(Ordering::Relaxed) {
            0 => rows.size() / rows.rows().max(1) + DOCUMENT_BYTES,
            bytes => bytes,
        };
        let mut text = Rows::default();
        // Documents differ: where they turn out smaller than the ones before, more are rendered.
        while text.bytes.len() <= bytes_max / 8 * 7 && from + text.ends.len() < rows.rows() {
            let at = from + text.ends.len();
            let room = (bytes_max - text.bytes.len()) / guess.max(1);
            let more = self.render(rows, actions, at, room.max(1).min(rows.rows() - at));
            text.append(more);
            guess = text.bytes.len().div_ceil(text.ends.len());
        }
        self.document_bytes.store(guess, Ordering::Relaxed);
        let fitting = text.ends.partition_point(|&end| end <= bytes_max).max(1);
        text.ends.truncate(fitting);
        text.bytes.truncate(text.ends[fitting - 1]);
        (text.bytes, text.ends)
    }

    /// Actions and documents of `count` rows.
    fn render(&self, rows: &Batch, actions: &Actions, from: usize, count: usize) -> Rows {
        let rows = rows.slice(from, count);
        let action = |row: usize, out: &mut Vec<u8>| self.action(actions, from + row, out);
        let after: &[u8] = match self.wire.op {
            Op::Index | Op::Create => b"\n",
            Op::Update => b"}\n",
            Op::Upsert => b",\"doc_as_upsert\":true}\n",
            Op::Delete => b"",
        };
        if self.document.is_none() && self.wire.op != Op::Delete {
            return self.writer.framed(&rows, action, after);
        }
        let document = self.document.filter(|_| self.wire.op != Op::Delete);
        let document = document.map(|i| rows.column(i));
        let mut text = Rows::default();
        for row in 0..rows.rows() {
            action(row, &mut text.bytes);
            if let Some(document) = &document {
                let words = document.strings().value(row);
                text.bytes.extend_from_slice(words.as_bytes());
                text.bytes.extend_from_slice(after);
            }
            text.ends.push(text.bytes.len());
        }
        text
    }

    /// The line that says what is to be done with row `row`, and what stands before its document.
    fn action(&self, actions: &Actions, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(self.wire.op.action().as_bytes());
        out.extend_from_slice(b"\":{");
        let start = out.len();
        match &actions.id {
            Some(ids) => {
                out.extend_from_slice(b"\"_id\":");
                write_string(ids.strings().value(row).as_bytes(), out);
                out.push(b',');
            }
            None if self.wire.server_ids => {}
            None => {
                // The load's id is made of digits, letters and hyphens.
                let (load, number) = self.made_id(actions, row);
                write!(out, "\"_id\":\"{load}-{number}\",").expect("memory takes all");
            }
        }
        if let Some(routing) = &actions.routing
            && !routing.is_null(row)
        {
            out.extend_from_slice(b"\"routing\":");
            write_string(routing.strings().value(row).as_bytes(), out);
            out.push(b',');
        }
        if let Some(version) = &actions.version
            && !version.is_null(row)
        {
            let (version, kind) = (version.ints().value(row), self.version_type);
            write!(out, "\"version\":{version},\"version_type\":\"{kind}\",")
                .expect("memory takes all");
        }
        match self.wire.op {
            Op::Update | Op::Upsert => out.extend_from_slice(b"\"retry_on_conflict\":3"),
            _ if out.len() > start => {
                out.pop();
            }
            _ => {}
        }
        out.extend_from_slice(b"}}\n");
        if matches!(self.wire.op, Op::Update | Op::Upsert) {
            out.extend_from_slice(b"{\"doc\":");
        }
    }

    /// The load's id and the row's number, of which an id is made: the same in every try.
    fn made_id(&self, actions: &Actions, row: usize) -> (&str, u64) {
        (&self.load, actions.first + row as u64)
    }

    fn id(&self, actions: &Actions, row: usize) -> Option<String> {
        match &actions.id {
            Some(ids) => Some(ids.strings().value(row).to_owned()),
            None if self.wire.server_ids => None,
            None => {
                let (load, number) = self.made_id(actions, row);
                Some(format!("{load}-{number}"))
            }
        }
    }

    fn reject(&self, batch: &Batch, row: usize, refusal: &Refusal, id: Option<String>) -> Reject {
        let mut reason = match refusal.kind.as_str() {
            "" => refusal.reason.clone(),
            kind => format!("{kind}: {}", refusal.reason),
        };
        let cause = refusal.caused_by.as_deref().unwrap_or_default();
        if !reason.contains(cause) {
            reason.push_str(&format!(" ({cause})"));
        }
        let mut reject = Reject::of(batch, &self.input, row, None, None, reason);
        if let Some(document) = self.document {
            let text = batch.column(document);
            reject.document = Document::of_text(text.strings().value(row));
        }
        let more = [
            ("status", refusal.status.into()),
            ("type", refusal.kind.as_str().into()),
            ("caused_by", refusal.caused_by.clone().into()),
            ("op", self.wire.op.as_str().into()),
            (
                "index",
                self.wire
                    .index
                    .as_ref()
                    .unwrap_or(&self.wire.target)
                    .as_str()
                    .into(),
            ),
            ("id", id.into()),
        ];
        reject
            .more
            .extend(more.map(|(name, value)| (name.to_owned(), value)));
        reject
    }
}

impl Session for ServerSession {
    fn run(&self, batch: Batch, task: TaskContext) -> Result<Output> {
        let mut bad = Rejects::default();
        let mut counts = Counts::new();
        let with_ids = !self.id.is_empty();
        let ids = with_ids.then(|| ids::ids(&batch, &self.input, &self.id, &mut bad, &mut counts));
        let bad = bad.finish(&batch, &self.input);
        let gone: Vec<u32> = bad.iter().map(|reject| reject.row).collect();
        let kept: Vec<u32> = (0..crate::columns::row_number(batch.rows()))
            .filter(|row| gone.binary_search(row).is_err())
            .collect();
        let all = batch.clone();
        let text = |i: usize| ids::text(&batch.column(i), &self.input.fields[i].ty);
        let keep = |column: Column| {
            if gone.is_empty() {
                column
            } else {
                column.take(&kept)
            }
        };
        let actions = Actions {
            id: ids.map(keep),
            routing: self.routing.map(|i| keep(text(i))),
            version: self.version.map(|i| keep(batch.column(i))),
            first: task.first,
        };
        let batch = batch.without(&gone);
        let mut tally = Tally::default();
        let mut ends = Vec::with_capacity(batch.rows());
        while ends.len() < batch.rows() {
            let (body, item_ends) = self.body(&batch, &actions, ends.len());
            let bulk = Bulk {
                body: body.into(),
                ends: item_ends,
                first_row: task.first,
                again: self.resumed || task.again,
                alone: task.alone,
            };
            ends.extend(self.wire.send_until_done(&bulk, &mut tally)?);
        }
        let mut rejects = bad;
        for ((row, end), &at) in ends.iter().enumerate().zip(&kept) {
            if let DocumentOutcome::Rejected(refusal) = end {
                let id = self.id(&actions, row);
                rejects.push(self.reject(&all, at as usize, refusal, id));
            } else {
                *counts.entry(name(end).into()).or_default() += 1;
            }
        }
        rejects.sort_by_key(|reject| reject.row);
        let updated = ends
            .iter()
            .position(|end| matches!(end, DocumentOutcome::Updated));
        let example = updated.and_then(|row| self.id(&actions, row));
        self.output(rejects, counts, &tally, &all, ends.len(), example)
    }
}

impl ServerSession {
    fn output(
        &self,
        rejects: Vec<Reject>,
        mut counts: Counts,
        tally: &Tally,
        batch: &Batch,
        documents: usize,
        example: Option<String>,
    ) -> Result<Output> {
        if let (OnError::Fail, Some(reject)) = (self.on_error, rejects.first()) {
            return Err(Error::failed(reject.reason.clone())
                .origin(reject.origin)
                .hint("`on_error = \"reject\"` sets such documents aside"));
        }
        let of = |name: &str| counts.get(name).copied().unwrap_or_default();
        let (rows, rejected) = (batch.rows() as u64, rejects.len() as u64);
        let dropped = of("not_found") + of("dropped") + of("conflicts");
        let receipt = Receipt {
            rows,
            rejected,
            created: of("created"),
            confirmed: of("confirmed"),
            updated: of("updated"),
            example,
        };
        let more = [
            (REQUESTS, tally.requests),
            ("sent", tally.sent),
            (SENT_AGAIN, tally.sent - documents as u64),
            ("refused_429", tally.refused_429),
            ("splits", tally.splits),
            ("body_bytes", tally.bytes),
            ("server_ms", tally.server_ms),
            (
                "wire_ms",
                u64::try_from(tally.wire.as_millis()).unwrap_or(u64::MAX),
            ),
            ("maybe_doubled", tally.maybe_doubled),
            ("read_only_waits", tally.read_only_waits),
        ];
        for (name, count) in more {
            if count > 0 {
                counts.insert(name.into(), count);
            }
        }
        Ok(Output {
            rows_out: Some(rows - rejected - dropped),
            dropped,
            rejects,
            counts,
            ..Output::new(receipt.batch())
        })
    }
}

/// The count that an end is counted in.
fn name(end: &DocumentOutcome) -> &'static str {
    match end {
        DocumentOutcome::Created => "created",
        DocumentOutcome::Updated => "updated",
        DocumentOutcome::Unchanged => "unchanged",
        DocumentOutcome::Deleted => "deleted",
        DocumentOutcome::NotFound => "not_found",
        DocumentOutcome::Dropped => "dropped",
        DocumentOutcome::Conflict => "conflicts",
        DocumentOutcome::Elsewhere => "elsewhere",
        DocumentOutcome::Confirmed => "confirmed",
        DocumentOutcome::Rejected(_) => "rejected",
    }
}
