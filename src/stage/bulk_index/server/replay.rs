//! Sending a run's rejected documents again, as they were sent: a stage that gives them as rows, and the
//! load that takes such rows, into the index that the run loaded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::super::Mode;
use super::load::State;
use super::{ServerIndex, indices};
use crate::batch::Batch;
use crate::columns::{Column, TextBuilder};
use crate::error::{Error, Result};
use crate::format::json::raw;
use crate::schema::{Field, Schema, Type};
use crate::stage::{
    Begun, Folder, Output, Partitioning, REJECTS_FILE, Run, Session, Setup, Source, Stage,
    StageKind, TaskContext,
};

/// The columns of a rejected document's row.
pub(super) const DOCUMENT: &str = "document";
const ID: &str = "id";

/// Rejected documents of one stage, read to be sent again.
pub(in super::super) struct Replay {
    /// As rows.
    pub(in super::super) rejects: Rejects,
    /// What takes them.
    pub(in super::super) index: ServerIndex,
}

impl ServerIndex {
    /// What stage `name` rejected in the run whose folder is `run`, and the load that takes it.
    ///
    /// Refused, unless it is forced, if the index is not the one that the run wrote, or if a later run
    /// wrote it: its documents may be newer.
    pub(in super::super) fn replay(
        mut self,
        folder: &Folder,
        run: &Path,
        name: &str,
        force: bool,
    ) -> Result<Replay> {
        let file = self.state_file(run);
        let state = State::read(&file).ok_or_else(|| {
            Error::failed(format!("`{}` says nothing of a load", file.display()))
                .hint("if that run loaded another index, or another server, give it the same `--set` and variables")
        })?;
        if !force {
            self.refuse_changed(folder, run, &state)?;
        }
        self.index = state.index.unwrap_or(self.index);
        self.mode = Mode::Append;
        self.replays = true;
        self.id = if self.options.server_ids {
            Vec::new()
        } else {
            vec![ID.into()]
        };
        let rejects = Rejects {
            file: run.join(REJECTS_FILE),
            stage: name.to_owned(),
            routing: self.options.routing.clone(),
            version: self.options.version.clone(),
        };
        Ok(Replay {
            rejects,
            index: self,
        })
    }

    fn refuse_changed(&self, folder: &Folder, run: &Path, state: &State) -> Result<()> {
        let index = state.index.as_ref().unwrap_or(&self.index);
        let now = indices::find(&self.api(folder)?, index)?.and_then(|found| found.uuid);
        if state.uuid.is_some() && now != state.uuid {
            return Err(
                Error::failed(format!("`{index}` is not the index that the run wrote to"))
                    .hint("`--force` sends the documents all the same"),
            );
        }
        if state.replacing.is_some() {
            let holders = indices::holders(&self.api(folder)?, &self.alias)?;
            if !holders.iter().any(|holder| holder.name == *index) {
                return Err(Error::failed(format!(
                    "`{index}` does not serve any more: `{}` is another index now",
                    self.alias
                ))
                .hint("`--force` sends the documents all the same"));
            }
        }
        let runs = run.parent().unwrap_or(run);
        let later = std::fs::read_dir(runs).into_iter().flatten().flatten();
        let later = later.map(|entry| entry.path()).find(|other| {
            let wrote = State::read(&self.state_file(other));
            other.file_name() > run.file_name()
                && wrote.is_some_and(|wrote| wrote.uuid.is_some() && wrote.uuid == state.uuid)
                && !is_vain_replay(other)
        });
        match later {
            Some(later) => Err(Error::failed(format!(
                "run `{}` wrote `{index}` later: its documents may be newer",
                later.file_name().unwrap_or_default().display()
            ))
            .hint("`--force` sends the documents all the same")),
            None => Ok(()),
        }
    }
}

/// Whether that run sent rejected documents again, one request after the other, and none was taken.
fn is_vain_replay(run: &Path) -> bool {
    let report = std::fs::read(run.join("report.json")).unwrap_or_default();
    let report: Value = serde_json::from_slice(&report).unwrap_or_default();
    let stages = report["stages"].as_array().map_or(&[][..], Vec::as_slice);
    let [rejects, load] = stages else {
        return false;
    };
    // What was sent and never answered is in no count.
    let answered = load["rows_in"] == load["rejected"] && load["rows_in"] == rejects["rows_out"];
    rejects["kind"] == REJECTS.name && answered
}

/// The kind of the stage that gives rejected documents: no pipeline file names it.
pub(in super::super) static REJECTS: StageKind = StageKind {
    name: "rejects",
    summary: "gives the documents that a run rejected",
    inputs: &[0],
    sink: false,
    takes_batch_rows: false,
    options: || &[],
    example: "",
    decode: |_| Err(Error::usage("`rejects` is for `etl replay`")),
    ..StageKind::BASE
};

/// Gives the documents that one stage of a run rejected.
#[derive(Debug)]
pub(in super::super) struct Rejects {
    file: PathBuf,
    stage: String,
    routing: Option<String>,
    version: Option<String>,
}

impl Rejects {
    fn columns(&self) -> Schema {
        let mut fields = vec![
            Field::new(ID, Type::String),
            Field::new(DOCUMENT, Type::String),
        ];
        let routing = self.routing.iter();
        fields.extend(routing.map(|name| Field::new(name, Type::String)));
        let version = self.version.iter();
        fields.extend(version.map(|name| Field::new(name, Type::Int)));
        Schema { fields }
    }

    fn read(&self) -> Result<Batch> {
        let shown = self.file.display();
        let text = match std::fs::read_to_string(&self.file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| Error::io("read", shown, &error))?,
        };
        let (mut ids, mut documents) = (TextBuilder::new(), TextBuilder::new());
        let (mut routings, mut versions) = (TextBuilder::new(), Vec::new());
        let mut rows = 0;
        for line in text.lines() {
            raw::check(line).map_err(|why| {
                Error::failed(format!("`{}` is damaged", self.file.display())).cause(why)
            })?;
            // The document goes out as it stands: its numbers keep their digits.
            let reject: HashMap<_, _> = raw::members(line).collect();
            let text = |name: &str| reject.get(name).copied().and_then(raw::text);
            if text("stage").as_deref() != Some(self.stage.as_str()) {
                continue;
            }
            rows += 1;
            let document = reject.get("row").copied().unwrap_or("{}");
            let member =
                |name: &Option<String>| raw::find(document, std::slice::from_ref(name.as_ref()?));
            ids.push(text("id").as_deref());
            documents.push(Some(document));
            routings.push(member(&self.routing).and_then(raw::text).as_deref());
            versions.push(member(&self.version).and_then(|version| version.parse().ok()));
        }
        let mut columns = vec![ids.finish(), documents.finish()];
        if self.routing.is_some() {
            columns.push(routings.finish());
        }
        if self.version.is_some() {
            columns.push(Column::from_nullable_ints(&versions));
        }
        Ok(Batch::new(columns, rows))
    }
}

impl Stage for Rejects {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, _inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        Ok(self.columns())
    }

    fn begin(&self, _run: &Run, _inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let batch = self.read()?;
        Ok(Begun {
            source: Some(Source {
                parts: vec![Box::new(std::iter::once(Ok(batch)))],
                bytes_done: Arc::default(),
                files: Vec::new(),
            }),
            ..Begun::default()
        })
    }

    fn open(&self, _setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(AsTheyAre))
    }
}

/// Gives rows on as they come.
struct AsTheyAre;

impl Session for AsTheyAre {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        Ok(Output::new(batch))
    }
}
