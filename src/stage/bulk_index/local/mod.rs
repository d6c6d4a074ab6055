//! The embedded index, a tantivy index in a folder, which needs no server: [`search`] asks it.

pub(super) mod coerce;
mod dates;
mod document;
mod files;
mod json;
pub(super) mod mapping;
mod members;
mod opening;
mod query;
mod replaced;
mod search;
mod seen;
mod session;
mod sink;
#[cfg(test)]
mod tests;

pub(super) use self::search::{facet, search};

use std::path::Path;

use self::mapping::Mapping;
use super::{LOCAL, Least, Mode, ids, one, refuse_reserved};
use crate::error::{Error, OfValue, Result};
use crate::schema::{Schema, count, list};
use crate::stage::{
    Begun, Destination, Earlier, Folder, Partitioning, Probe, Properties, Run, Session, Setup,
    Stage, Storage, Totals, partial_file,
};

/// A load into the embedded index.
#[derive(Debug)]
pub(super) struct LocalIndex {
    /// As written; relative to the pipeline's folder.
    pub(super) dir: String,
    /// The columns that make the id; none: the run and the row's number do.
    pub(super) id: Vec<String>,
    pub(super) mapping: Option<String>,
    pub(super) load: Mode,
    /// With `replace`: what the new index must hold.
    pub(super) least: Least,
    /// With `replace`: how many replaced indices are kept.
    pub(super) keep: usize,
}

/// Names that the embedded index keeps for itself, beside Elasticsearch's.
const RESERVED: [&str; 2] = [document::DYNAMIC, document::WORDS];

impl LocalIndex {
    /// Goes back to the index before.
    pub(super) fn roll_back(&self, folder: &Folder) -> Result<Vec<String>> {
        replaced::roll_back(&folder.resolve(&self.dir))
    }

    /// Deletes what loads left half done.
    pub(super) fn clean(&self, folder: &Folder) -> Result<Vec<String>> {
        replaced::clean(&folder.resolve(&self.dir))
    }

    fn read_mapping(&self, folder: &Folder) -> Result<Option<Mapping>> {
        let Some(path) = &self.mapping else {
            return Ok(None);
        };
        let file = folder.resolve(path);
        let shown = file.display().to_string();
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Error::io("read mapping", &shown, &error))
            .of(["mapping"])?;
        Mapping::parse(&text, &shown).map(Some).of(["mapping"])
    }
}

/// Whether there is something to search in `dir`; while it is replaced it may have another name.
pub(super) fn is_there(dir: &Path) -> bool {
    partial_file::standing(&opening::real(dir)).exists()
}

impl Stage for LocalIndex {
    /// The sink keeps the order of rows, so that rows of one id may be worked on at once.
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, inputs: &[Schema], folder: &Folder) -> Result<Schema> {
        let input = one(inputs)?;
        refuse_reserved(input, &RESERVED)?;
        ids::check(input, "id", &self.id)?;
        self.read_mapping(folder)?;
        Ok(input.clone())
    }

    fn properties(&self) -> Properties {
        Properties {
            writes: Some(Destination {
                option: "to",
                named: vec![format!("{LOCAL}{}", self.dir)],
                storage: Storage::Disk {
                    path: self.dir.clone(),
                    prefix: LOCAL,
                },
                endpoint: None,
                in_place: false,
                earlier: Earlier::of_index(self.load == Mode::Replace, &self.id),
            }),
            ..Properties::default()
        }
    }

    fn probe(&self, folder: &Folder) -> Vec<Probe> {
        let dir = folder.resolve(&self.dir);
        let found = self.read_mapping(folder).and_then(|mapping| {
            let there = partial_file::standing(&opening::real(&dir));
            let added_to = opening::fits(&there, self.load, mapping.as_ref())?.is_some();
            partial_file::place(&dir)?;
            Ok(match (added_to, there.exists()) {
                (true, _) => "an index that is added to".into(),
                (false, true) => "is there, and will be replaced".into(),
                (false, false) => "is not there yet, and can be made".into(),
            })
        });
        vec![Probe::new(dir.display(), found)]
    }

    fn begin(&self, run: &Run, inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let dir = run.folder.resolve(&self.dir);
        let given = self.read_mapping(&run.folder)?;
        let with_ids = !self.id.is_empty();
        let input = one(inputs)?;
        let (mut sink, mapping) = sink::begin(run, &dir, self.load, given, input, with_ids)?;
        if self.load == Mode::Replace {
            sink.replaces(self.least, self.keep);
        }
        let mut warnings = Vec::new();
        if !with_ids && sink.docs_before() > 0 {
            warnings.push(format!(
                "adds to an index of {}: without `id` rows that were loaded before are doubled; give `id`, or `load = \"replace\"`",
                count(sink.docs_before(), "document")
            ));
        }
        let missing = mapping.named();
        let missing: Vec<&str> = missing.filter(|name| input.index(name).is_err()).collect();
        if !missing.is_empty() && self.mapping.is_some() {
            warnings.push(format!(
                "the mapping names {}, which no column is",
                list(&missing)
            ));
        }
        Ok(Begun {
            sink: Some(Box::new(sink)),
            session_config: mapping.to_json(),
            warnings,
            ..Begun::default()
        })
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(session::LocalSession::open(setup, &self.id)?))
    }

    fn finish(&self, totals: &mut Totals) -> Result<()> {
        ids::warn(&self.id, totals);
        Ok(())
    }
}
