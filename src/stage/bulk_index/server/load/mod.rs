//! A load as one transaction, in the parent. `append` and `create` write in place. `replace` fills a new
//! index through an alias of its own, and the alias that people search is touched by one call at the
//! end, which takes it from the old index to the new one: stopped at any point before, the old one
//! serves as it did.

pub(super) mod publish;

use self::publish::UNTIDY;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::{Least, Mode};
use super::api::{Api, segment};
use super::indices::{self, Mark};
use super::making::{Making, content_max};
use super::{ServerIndex, SessionConfig};
use crate::batch::Batch;
use crate::clock::monotonic;
use crate::columns::Column;
use crate::disk;
use crate::error::{Error, Result};
use crate::http::{Connect, Method, Nodes, RetryPolicy};
use crate::schema::Schema;
use crate::stage::{Begun, Counts, Run, Sink, warn_published};
use crate::stop::Stop;

/// Tries again of a call before the first document.
const PATIENCE: u32 = 5;
/// How often a load in place looks whether its index is still the same one.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The longest wait for settings to be put back.
const PUT_BACK: Duration = Duration::from_secs(2);
/// The same where somebody asked the run to stop, and waits.
const PUT_BACK_STOPPED: Duration = Duration::from_millis(400);

/// If all of the first so many documents are rejected, so will be the others.
const ALL_REJECTED: u64 = 1000;

/// What a load must not forget: kept in its run's folder from before the first document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    /// The load's id: that of the run that began it, as indices may be named.
    pub(super) load: String,
    /// Where documents are sent.
    pub(super) target: String,
    /// The index that they end in, if that may be known.
    pub(super) index: Option<String>,
    pub(super) uuid: Option<String>,
    /// With `replace`.
    pub(super) replacing: Option<Replacing>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Replacing {
    /// What had the alias when the load began.
    pub(super) old: Option<String>,
    /// The alias was an index, which the publishing call deletes.
    pub(super) was_index: bool,
    /// The new index's settings that are changed while it is loaded, as they were.
    pub(super) settings: Value,
    pub(super) published: bool,
}

/// Where a load ends.
pub(super) struct ServerSink {
    api: Api,
    connect: Connect,
    alias: String,
    mode: Mode,
    state: State,
    state_file: PathBuf,
    runs: PathBuf,
    mark: Mark,
    keep: usize,
    least: Least,
    wait_for_replicas_s: u64,
    max_rejects: Option<u64>,
    /// What became of all documents so far.
    sum: Receipt,
    /// When it was last seen that the index is the same.
    looked: Duration,
    warnings: Vec<String>,
    /// The older indices that go once the new one serves.
    doomed: Vec<String>,
    /// Published, or put back: nothing is left to do.
    settled: bool,
}

/// What a session tells the sink of a batch.
#[derive(Debug, Default)]
pub(super) struct Receipt {
    pub(super) rows: u64,
    pub(super) rejected: u64,
    pub(super) created: u64,
    pub(super) confirmed: u64,
    pub(super) updated: u64,
    /// An id of those that were updated.
    pub(super) example: Option<String>,
}

impl Receipt {
    /// As a batch, which is what a session gives.
    pub(super) fn batch(&self) -> Batch {
        let numbers = [
            self.rows,
            self.rejected,
            self.created,
            self.confirmed,
            self.updated,
        ];
        let column =
            |number: u64| Column::from_ints(vec![i64::try_from(number).unwrap_or(i64::MAX)], None);
        let mut columns: Vec<Column> = numbers.into_iter().map(column).collect();
        columns.push(Column::from_strings([self.example.as_deref()]));
        Batch::new(columns, 1)
    }

    fn of(batch: &Batch) -> Self {
        let number = |i: usize| u64::try_from(batch.column(i).ints().value(0)).unwrap_or_default();
        Receipt {
            rows: number(0),
            rejected: number(1),
            created: number(2),
            confirmed: number(3),
            updated: number(4),
            example: batch.column(5).strings().get(0).map(str::to_owned),
        }
    }
}

/// Makes the index ready, or goes on with what an interrupted run made ready.
pub(super) fn begin(
    stage: &ServerIndex,
    run: &Run,
    connect: Connect,
    mapping: Option<Value>,
    columns: Schema,
) -> Result<Begun> {
    let options = &stage.options;
    let client = || Nodes::new(connect.clone(), run.stop.clone());
    let retry = options.retry();
    let patient = Api {
        client: client()?,
        retry,
    };
    // Nobody waits a quarter of an hour to hear that a name was misspelt.
    let api = Api {
        client: client()?,
        retry: retry.at_most(PATIENCE),
    };
    let state_file = stage.state_file(&run.state);
    let kept = State::read(&state_file).filter(|_| run.resumed);
    let resumed = kept.is_some();
    let mut warnings = Vec::new();
    let mut making = Making {
        stage,
        api: &api,
        mapping,
        columns,
        mark: Mark {
            before: None,
            pipeline: run.pipeline.clone(),
            alias: stage.index.clone(),
            run: run.id.clone(),
            state: indices::LOADING.into(),
        },
        resumed,
        warnings: &mut warnings,
    };
    let mut planned = match kept {
        Some(kept) => kept,
        None => making.plan(run.id.to_lowercase())?,
    };
    // What is about to be made is kept first: a killed run's index is known to the one that goes on.
    planned.write(&state_file)?;
    making.ensure(&mut planned)?;
    planned.write(&state_file)?;
    let mark = making.mark;
    let bytes_max = options.batch_bytes.min(content_max(&api));
    let sink = ServerSink {
        connect: connect.clone(),
        alias: stage.index.clone(),
        mode: stage.mode,
        runs: run.state.parent().unwrap_or(&run.state).to_owned(),
        mark,
        keep: options.keep,
        least: options.least,
        wait_for_replicas_s: options.wait_for_replicas_s,
        max_rejects: u64::try_from(options.max_rejects).ok(),
        sum: Receipt::default(),
        looked: monotonic(),
        warnings: Vec::new(),
        doomed: Vec::new(),
        settled: false,
        api: patient,
        state: planned,
        state_file,
    };
    if sink.is_unpublished() {
        sink.tune()?;
    }
    Ok(Begun {
        session_config: sink.session_config(connect, bytes_max, resumed, stage.replays),
        sink: Some(Box::new(sink)),
        warnings,
        resumable: true,
        ..Begun::default()
    })
}

impl ServerSink {
    /// What every session needs to open.
    fn session_config(
        &self,
        connect: Connect,
        bytes_max: usize,
        resumed: bool,
        replays: bool,
    ) -> Value {
        let config = SessionConfig {
            connect,
            target: self.state.target.clone(),
            require_alias: self.state.replacing.is_some(),
            index: self.state.index.clone(),
            load: self.state.load.clone(),
            bytes_max,
            resumed,
            replays,
        };
        serde_json::to_value(&config).expect("it is plain data")
    }
}

impl State {
    pub(super) fn read(file: &Path) -> Option<State> {
        serde_json::from_slice(&std::fs::read(file).ok()?).ok()
    }

    fn write(&self, file: &Path) -> Result<()> {
        let json = serde_json::to_string(self).expect("it is plain data");
        // Whole or not at all: a run that goes on reads it.
        disk::replace(file, json.as_bytes())
            .map_err(|error| Error::io("write", file.display(), &error))
    }
}

/// A run goes on only where its index is the one that it wrote to.
pub(super) fn check_uuid(api: &Api, state: &State) -> Result<()> {
    let (Some(index), Some(was)) = (&state.index, &state.uuid) else {
        return Ok(());
    };
    let now = indices::find(api, index)?;
    match now.and_then(|found| found.uuid) {
        Some(now) if now == *was => Ok(()),
        Some(_) => Err(lost(format!(
            "`{index}` is not the index that the run wrote to: it was made anew since"
        ))),
        None => Err(lost(format!("`{index}`, which the run wrote to, is gone"))),
    }
}

fn lost(message: String) -> Error {
    Error::failed(message)
        .hint("the documents that the run had sent are lost with it; run the pipeline anew, without `--resume`")
        .beyond_resume()
}

impl ServerSink {
    fn new_index(&self) -> String {
        self.state.index.clone().unwrap_or_default()
    }

    /// The new index is written as fast as it can be.
    fn tune(&self) -> Result<()> {
        let settings = json!({
            "index.refresh_interval": "-1",
            "index.number_of_replicas": 0,
            "index.auto_expand_replicas": false,
            "index.translog.durability": "request",
        });
        self.put_settings(&self.api, &settings, None)
    }

    /// The new index has the settings that it was made with.
    fn untune(&self, api: &Api, limit: Option<Duration>) -> Result<()> {
        match &self.state.replacing {
            Some(replacing) => self.put_settings(api, &replacing.settings, limit),
            None => Ok(()),
        }
    }

    fn put_settings(&self, api: &Api, settings: &Value, limit: Option<Duration>) -> Result<()> {
        let index = self.new_index();
        let path = format!("{}/_settings", segment(&index));
        api.call_within(Method::Put, &path, Some(settings), limit)?
            .well(&format!("change the settings of `{index}`"), &api.client)
            .map(drop)
    }

    /// There is a new index that nobody searches yet.
    fn is_unpublished(&self) -> bool {
        let replacing = self.state.replacing.as_ref();
        replacing.is_some_and(|replacing| !replacing.published)
    }
}

impl Sink for ServerSink {
    fn push(&mut self, batch: Batch) -> Result<()> {
        let more = Receipt::of(&batch);
        let sum = &mut self.sum;
        sum.rows += more.rows;
        sum.rejected += more.rejected;
        sum.created += more.created;
        sum.confirmed += more.confirmed;
        sum.updated += more.updated;
        sum.example = sum.example.take().or(more.example);
        if self.max_rejects.is_some_and(|max| self.sum.rejected > max) {
            return Err(Error::failed(format!(
                "{} rejected, more than `max_rejects` allows",
                match self.sum.rejected {
                    1 => "1 document was".to_owned(),
                    rejected => format!("{rejected} documents were"),
                }
            ))
            .hint("the run's `rejects.ndjson` says why; `--set max_rejects=N` allows more, -1 any number"));
        }
        if self.sum.rows >= ALL_REJECTED {
            self.refuse_all_rejected()?;
        }
        // Written through an alias of our own an index cannot be made again unseen.
        if self.state.replacing.is_none() && monotonic() > self.looked + POLL_INTERVAL {
            self.looked = monotonic();
            check_uuid(&self.api, &self.state)?;
        }
        Ok(())
    }

    fn resume(&mut self, rejected: u64, counts: &Counts) {
        let of = |name: &str| counts.get(name).copied().unwrap_or_default();
        self.sum.rejected = rejected;
        self.sum.created = of("created");
        self.sum.confirmed = of("confirmed");
        self.sum.updated = of("updated");
        let ends = [
            "created",
            "confirmed",
            "updated",
            "unchanged",
            "deleted",
            "not_found",
            "dropped",
            "conflicts",
            "elsewhere",
        ];
        self.sum.rows = rejected + ends.iter().map(|end| of(end)).sum::<u64>();
    }

    fn finish(&mut self) -> Result<Counts> {
        self.refuse_all_rejected()?;
        if self.state.replacing.is_some() && !self.is_unpublished() {
            let doomed = self.doom();
            warn_published(&mut self.warnings, doomed, UNTIDY);
            return Ok(Counts::new());
        }
        let counts = self.verify()?;
        self.refuse_too_few(&counts)?;
        if self.state.replacing.is_some() && self.sum.rows == 0 {
            self.warnings
                .push("there was no document: the new index is empty".into());
        }
        if let (Mode::Replace | Mode::Create, Some(example)) = (self.mode, &self.sum.example) {
            self.warnings.push(format!(
                "{} in this load, `{example}` for one; the last one is in the index",
                match self.sum.updated {
                    1 => "1 document has an id that another had before it".to_owned(),
                    updated =>
                        format!("{updated} documents have an id that another had before them"),
                }
            ));
        }
        if self.state.replacing.is_some() {
            self.untune(&self.api, None)?;
            self.wait_for_replicas()?;
            self.doom()?;
        }
        Ok(counts)
    }

    fn publish(mut self: Box<Self>, warnings: &mut Vec<String>) -> Result<Counts> {
        self.settled = true;
        if self.state.replacing.is_none() {
            return Ok(Counts::new());
        }
        if let Err(error) = self.switch() {
            self.explain(error)?;
        }
        self.tidy_up(warnings)?;
        Ok(Counts::new())
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn abandon(mut self: Box<Self>) -> Vec<String> {
        self.put_back();
        if !self.is_unpublished() {
            return Vec::new();
        }
        vec![format!(
            "`{}` is left half loaded; `{}` is as it was",
            self.new_index(),
            self.alias
        )]
    }
}

impl ServerSink {
    fn refuse_all_rejected(&self) -> Result<()> {
        if self.sum.rows > 0 && self.sum.rejected == self.sum.rows {
            return Err(Error::failed(format!(
                "{} was rejected",
                match self.sum.rows {
                    1 => "the first document".to_owned(),
                    rows => format!("every one of the first {rows} documents"),
                }
            ))
            .hint("the run's `rejects.ndjson` says why; the mapping may not be that of these documents"));
        }
        Ok(())
    }

    /// The new index's settings go back, also when the run was stopped: with a client of its own.
    fn put_back(&mut self) {
        if self.settled || !self.is_unpublished() {
            return;
        }
        self.settled = true;
        let (limit, retries) = if self.api.client.is_stopped() {
            (PUT_BACK_STOPPED, 0)
        } else {
            (PUT_BACK, 1)
        };
        let connect = Connect {
            connect_timeout: limit,
            ..self.connect.clone()
        };
        if let Ok(client) = Nodes::new(connect, Stop::default()) {
            let retry = RetryPolicy {
                retries,
                ..self.api.retry
            };
            // If it cannot be: the index is not published, and the run that goes on does it.
            let _ = self.untune(&Api { client, retry }, Some(limit));
        }
    }
}

impl Drop for ServerSink {
    fn drop(&mut self) {
        self.put_back();
    }
}
