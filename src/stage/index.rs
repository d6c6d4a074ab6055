//! What can be done with the index that a stage loads, beside loading it.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use toml::Table;

use super::{Folder, Stage, StageKind};
use crate::error::Result;

/// The index of a kind. `options` are those of the stage that loads it, `folder` is where its relative paths start.
pub trait Index: Sync {
    /// Whether an index can be searched in the folder `dir`.
    fn is_there(&self, dir: &Path) -> bool;

    /// The documents that match `query`, at most `limit`, best first.
    fn search(&self, index: At, query: &str, limit: usize) -> Result<Hits>;

    /// The values of `field` in the documents that match `query`, at most `limit`.
    fn facet(&self, index: At, query: &str, field: &str, limit: usize) -> Result<Facet>;

    /// Goes back to the index before the last load, or with `clean` deletes what loads left half done; returns a
    /// line for each thing done. Runs are kept in the folder `runs`; with `force` what runs of other folders left
    /// goes too.
    fn rollback(
        &self,
        options: &Table,
        folder: &Folder,
        runs: &Path,
        clean: bool,
        force: bool,
    ) -> Result<Vec<String>>;

    /// What sends again what the stage `name` rejected in the run whose folder is `run`: a stage that gives the
    /// documents, and the load that takes them.
    fn replay(
        &self,
        options: &Table,
        folder: &Folder,
        run: &Path,
        name: &str,
        force: bool,
    ) -> Result<[(&'static StageKind, Arc<dyn Stage>); 2]>;

    /// Deletes all indices that a load has made or left, on its server.
    fn delete(&self, options: &Table, folder: &Folder) -> Result<()>;

    /// The setting with which a load replaces the index, so that it can be rolled back.
    fn replacing(&self) -> (&'static str, &'static str);
}

/// Where an index is.
#[derive(Debug, Clone, Copy)]
pub enum At<'a> {
    /// In this folder.
    Folder(&'a Path),
    /// Where a stage with these options loads it, relative to the folder.
    Loaded(&'a Table, &'a Folder),
}

/// What a query found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hits {
    /// How many documents match.
    pub total: u64,
    /// The best of them: by score, falling, then by id.
    pub hits: Vec<Hit>,
}

/// A document that matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Its id.
    pub id: String,
    /// How well it matches.
    pub score: f32,
    /// The document as JSON text.
    pub source: String,
}

/// The values of a field among all documents that a query finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Facet {
    /// How many documents match.
    pub total: u64,
    /// The most frequent values, and how many of the documents have each; of equal counts by value.
    pub values: Vec<(Value, u64)>,
    /// How many values are not among these; where only the server knows, documents with such values.
    pub more: u64,
}
