//! Loading an index on servers: Elasticsearch 8 and 9, `OpenSearch` 2 and 3, by their bulk API.
//!
//! The sessions ([`session`]) make requests of rows and settle them ([`send`]), retries included; what
//! an answer says is [`answer`]'s to know. The index itself, its aliases, and what is published belong
//! to the load ([`load`]), in the parent.

mod answer;
mod api;
mod fields;
mod indices;
mod lines;
mod load;
mod making;
mod options;
mod parts;
mod replay;
mod rollback;
mod search;
mod send;
mod session;
mod types;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use self::lines::lines;
pub(super) use self::options::{Op, Options};
pub(super) use self::replay::{REJECTS, Replay};

use super::{Mode, ids, not_json, one, refuse_reserved};
use crate::error::{Error, OfValue, Result, every, note};
use crate::http::{self, Connect};
use crate::schema::{Schema, Type};
use crate::stage::{
    Begun, Counts, Destination, Earlier, Folder, Partitioning, Probe, Properties, Run, Session,
    Setup, Stage, Storage, Totals, connection,
};
use crate::stop::Stop;

/// Tries again for somebody who waits at the keyboard.
const PATIENCE: u32 = 3;

/// The longest wait for an answer of one who clears away while somebody waits for the end.
const CLEARING: Duration = Duration::from_secs(2);

/// What every session of a load needs to open.
#[derive(Debug, Serialize, Deserialize)]
struct SessionConfig {
    connect: Connect,
    /// Where documents are sent: an index, or the alias that only this load writes through.
    target: String,
    /// The target is an alias: where it is gone, no index may be made in its place.
    require_alias: bool,
    /// The index behind it; it distinguishes them from documents that a pipeline sends elsewhere.
    index: Option<String>,
    /// Of the run that began the load: the same in every try.
    load: String,
    /// `batch_bytes`, or less where the server takes less.
    bytes_max: usize,
    /// Rows may have been sent before, by a run that was interrupted.
    resumed: bool,
    /// Rows hold documents as they were once sent.
    replays: bool,
}

/// A load into an index on servers.
#[derive(Debug)]
pub(super) struct ServerIndex {
    urls: Vec<String>,
    /// Where documents are sent.
    index: String,
    /// The same as the pipeline file has it.
    alias: String,
    id: Vec<String>,
    mapping: Option<String>,
    mode: Mode,
    options: Options,
    http: connection::Options,
    /// Rows hold documents as they were once sent ([`replay`]).
    replays: bool,
}

impl ServerIndex {
    pub(super) fn new(
        urls: Vec<String>,
        id: Vec<String>,
        mapping: Option<String>,
        mode: Mode,
        options: Options,
        http: connection::Options,
    ) -> Result<Self> {
        let mut mistakes = Vec::new();
        let index = note(&mut mistakes, options.check(&id, mode));
        note(&mut mistakes, http.check("to", &urls));
        let index = match (index, Error::all(mistakes)) {
            (Some(index), None) => index,
            (_, mistakes) => return Err(mistakes.expect("there is no index without one")),
        };
        Ok(ServerIndex {
            urls,
            alias: index.clone(),
            index,
            id,
            mapping,
            mode,
            options,
            http,
            replays: false,
        })
    }

    /// Where a load keeps its state, in its run's folder: apart from one into another server's index of
    /// the same name.
    fn state_file(&self, run: &Path) -> PathBuf {
        let to = xxhash_rust::xxh3::xxh3_64(self.urls.join(" ").as_bytes());
        run.join(format!("load-{}-{to:016x}.json", self.alias))
    }

    /// The servers, beside a run.
    fn api(&self, folder: &Folder) -> Result<api::Api> {
        let connect = self.http.connect(&self.urls, folder)?;
        self.api_with(connect, Stop::of_signals(), PATIENCE)
    }

    /// The same for who clears away, also once somebody asked to stop, and waits for that.
    fn api_to_clear(&self, folder: &Folder) -> Result<api::Api> {
        let mut connect = self.http.connect(&self.urls, folder)?;
        if !Stop::of_signals().is_set() {
            return self.api_with(connect, Stop::default(), PATIENCE);
        }
        connect.connect_timeout = connect.connect_timeout.min(CLEARING);
        connect.request_timeout = connect.request_timeout.min(CLEARING);
        self.api_with(connect, Stop::default(), 0)
    }

    fn api_with(&self, connect: Connect, stop: Stop, retries: u32) -> Result<api::Api> {
        Ok(api::Api {
            client: http::Nodes::new(connect, stop)?,
            retry: http::RetryPolicy {
                retries,
                ..self.options.retry()
            },
        })
    }

    /// Whether a row's columns are the members of the document that the index holds.
    fn sends_columns(&self) -> bool {
        let piped = self.options.pipeline.as_deref();
        !self.replays && self.options.op != Op::Delete && piped.is_none_or(|name| name == "_none")
    }

    fn read_mapping(&self, folder: &Folder) -> Result<Option<Value>> {
        let Some(path) = &self.mapping else {
            return Ok(None);
        };
        let file = folder.resolve(path);
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Error::io("read mapping", file.display(), &error))
            .of(["mapping"])?;
        let shown = file.display().to_string();
        let json: Value = serde_json::from_str(&text)
            .map_err(|error| not_json(&shown, &error).of(["mapping"]))?;
        // `{mappings: {...}}`, as an index's body has it, or what stands in it.
        let mapping = json.get("mappings").unwrap_or(&json);
        if !mapping.is_object() {
            return Err(Error::failed(format!("mapping `{shown}` is not a mapping"))
                .hint("write `{\"properties\": {...}}`")
                .of(["mapping"]));
        }
        Ok(Some(mapping.clone()))
    }
}

impl Stage for ServerIndex {
    fn inputs(&self) -> Vec<Partitioning> {
        // Without ids of the rows' own no two are alike. In one shard equal ids are one document, whatever
        // their routing: so that does not tell them apart.
        vec![Partitioning::UniqueInFlight(self.id.clone())]
    }

    fn schema(&self, inputs: &[Schema], folder: &Folder) -> Result<Schema> {
        let input = one(inputs)?;
        let version = self.options.version.iter().map(|version| {
            let field = &input.fields[input.index(version).under("version")?];
            match field.ty {
                Type::Int => Ok(()),
                _ => Err(Error::usage(format!(
                    "column `{version}` is a {}; a `version` is an int",
                    field.ty.name()
                ))
                .of(["version"])),
            }
        });
        let checks = [
            refuse_reserved(input, &[]),
            ids::check(input, "id", &self.id),
            ids::check(input, "routing", self.options.routing.as_slice()),
            self.read_mapping(folder).map(drop),
        ];
        every(checks.into_iter().chain(version))?;
        Ok(input.clone())
    }

    fn properties(&self) -> Properties {
        let changes = matches!(self.options.op, Op::Update | Op::Delete);
        let storage = Storage::Index {
            option: "index",
            name: self.alias.clone(),
            local: "to=local:DIR",
            bound: changes
                .then_some("it changes documents that are there, and a fresh index has none"),
        };
        Properties {
            batch_rows: Some(self.options.batch_docs),
            once: self.options.server_ids
                || self.options.version.is_some()
                || !matches!(self.options.op, Op::Index | Op::Upsert),
            writes: Some(Destination {
                option: "to",
                named: self.urls.clone(),
                storage,
                endpoint: None,
                in_place: self.mode != Mode::Replace,
                earlier: Earlier::of_index(self.mode == Mode::Replace, &self.id),
            }),
            ..Properties::default()
        }
    }

    fn lint(&self, _inputs: &[Schema], _folder: &Folder) -> Vec<String> {
        self.http.lint().into_iter().collect()
    }

    fn probe(&self, folder: &Folder) -> Vec<Probe> {
        let servers = self.http.connect(&self.urls, folder);
        let shown = servers.map_or_else(|_| self.alias.clone(), |connect| connect.urls.join(", "));
        vec![Probe::new(shown, making::probe(self, folder))]
    }

    fn begin(&self, run: &Run, inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let mut mapping = self.read_mapping(&run.folder)?;
        if let Some(mapping) = mapping.as_mut().filter(|_| self.replays) {
            // The index keeps the mark of the load that made it.
            mapping.as_object_mut().map(|all| all.remove("_meta"));
        }
        let connect = self.http.connect(&self.urls, &run.folder)?;
        // Rows that are no documents say nothing about the types of their fields.
        let columns = match inputs {
            [input] if self.sends_columns() => input.clone(),
            _ => Schema::default(),
        };
        load::begin(self, run, connect, mapping, columns)
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(session::ServerSession::open(
            setup,
            &self.id,
            &self.options,
        )?))
    }

    fn finish(&self, totals: &mut Totals) -> Result<()> {
        warn(totals.counts, totals.warnings);
        ids::warn(&self.id, totals);
        Ok(())
    }
}

/// What the counts of a load say that its user should know.
fn warn(counts: &Counts, warnings: &mut Vec<String>) {
    let of = |name: &str| counts.get(name).copied().unwrap_or_default();
    let mut warn = |count: &str, text: &str| {
        if of(count) > 0 {
            warnings.push(format!("{} {text}", of(count)));
        }
    };
    warn(
        "maybe_doubled",
        "documents with ids of the server's own were sent again after an answer was lost, and may be doubled",
    );
    warn(
        "elsewhere",
        "documents were sent to another index by a pipeline of the server",
    );
    warn(
        "read_only_waits",
        "times the load waited for an index that was read-only, as when a disk is over the flood stage",
    );
}
