//! `bulk_index`: rows as documents of a search index, embedded (`local`) or on servers (`server`).

mod ids;
mod least;
mod local;
mod mixed;
mod query_limits;
mod server;

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use self::least::Least;
use self::local::{LocalIndex, facet, is_there, search};
use self::server::{Replay, ServerIndex};
use crate::error::{Error, Result};
use crate::schema::{Schema, list};
use crate::stage::index::{At, Facet, Hits, Index};
use crate::stage::{self, Folder, Stage, StageKind, connection};

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "bulk_index",
    summary: "loads rows as documents into a search index",
    inputs: &[1],
    sink: true,
    takes_batch_rows: false,
    batch_option: Some("batch_docs"),
    lines: server::lines,
    index: Some(&Loads),
    options: crate::stage::stage_options!(Options, server::Options, Least, connection::Options),
    example: r#"[[stage]]
name = "index"
kind = "bulk_index"
inputs = ["location"]
to = "local:../out/donors"
id = "donationid"
mapping = "donors_mapping.json"
load = "replace"
"#,
    decode,
    ..StageKind::BASE
};

/// Before the folder of an embedded index.
const LOCAL: &str = "local:";

/// The folder in a target that is an embedded index.
fn local_dir(to: &str) -> Option<&str> {
    to.strip_prefix(LOCAL)
}

/// The options of both; each of three decodes its own from one table.
#[derive(Deserialize, schemars::JsonSchema)]
struct Options {
    /// where the index is; `local:DIR` is the embedded index in that folder, URLs are servers of one cluster
    #[schemars(extend("x-type" = "`local:DIR`, a URL or a list of URLs"))]
    to: OneOrMany,
    /// the document's id; several columns are joined by `-`, with a warning if values of two of them have a `-` now and then, as far as the rows of this load show it; of rows with one id the last wins
    #[schemars(extend("x-type" = "column or list of columns"), extend("x-default" = "numbered by run and row"))]
    id: Option<OneOrMany>,
    /// JSON file with the fields' types; columns of dates, numbers and flags that it does not name have their own
    #[schemars(extend("x-type" = "path"))]
    mapping: Option<String>,
    /// adds to the index, refuses one that is there, or makes it anew and then puts it in the old one's place
    #[serde(default)]
    load: Mode,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

/// What is done with an index that is there.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Append,
    Create,
    Replace,
}

/// Where a stage's documents go.
enum Target {
    Local(LocalIndex),
    Server(Box<ServerIndex>),
}

fn decode(table: toml::Table) -> Result<Box<dyn Stage>> {
    Ok(match target(table)? {
        Target::Local(index) => Box::new(index),
        Target::Server(index) => index,
    })
}

fn target(table: toml::Table) -> Result<Target> {
    let http: connection::Options = stage::options(table.clone())?;
    let mut server: server::Options = stage::options(table.clone())?;
    server.least = stage::options(table.clone())?;
    let options: Options = stage::options(table)?;
    let id = options.id.map(OneOrMany::into_vec).unwrap_or_default();
    let to = options.to.into_vec();
    let (mapping, load) = (options.mapping, options.load);
    server.least.check_share()?;
    let local: Vec<&str> = to.iter().filter_map(|to| local_dir(to)).collect();
    if local.is_empty() {
        if let Some(bare) = to.iter().find(|to| !to.contains(':') && !to.contains("//")) {
            return Err(Error::usage(format!(
                "`to = \"{bare}\"` is neither an embedded index nor a server's address"
            ))
            .hint(format!(
                "`{LOCAL}{bare}` is the embedded index in that folder; a server's address begins with `http://` or `https://`"
            ))
            .of(["to", bare]));
        }
        let index = ServerIndex::new(to, id, mapping, load, server, http)?;
        return Ok(Target::Server(Box::new(index)));
    }
    server.check_sizes()?;
    let ([target], [dir]) = (&to[..], &local[..]) else {
        return Err(Error::usage(format!(
            "`to` names several places, one of them an embedded index: {}",
            list(&to.iter().map(String::as_str).collect::<Vec<_>>())
        ))
        .hint("give each a stage of its own")
        .of(["to"]));
    };
    if Path::new(dir).file_name().is_none() && !dir.ends_with("..") {
        return Err(Error::usage(format!("`to = \"{target}\"` names no folder"))
            .hint("write `local:DIR`; the index is that folder")
            .of(["to"]));
    }
    if server.op != server::Op::Index {
        return Err(Error::usage(format!(
            "`op = \"{}\"` is for servers; `to` is an embedded index, which takes `index`",
            server.op.as_str()
        ))
        .of(["op"])
        .of(["to"]));
    }
    Ok(Target::Local(LocalIndex {
        dir: (*dir).to_owned(),
        id,
        mapping,
        load,
        least: server.least,
        keep: server.keep,
    }))
}

/// What can be done with an index beside loading it.
struct Loads;

impl Index for Loads {
    fn is_there(&self, dir: &Path) -> bool {
        is_there(dir)
    }

    fn search(&self, index: At, query: &str, limit: usize) -> Result<Hits> {
        match index {
            At::Folder(dir) => search(dir, query, limit),
            At::Loaded(options, folder) => match target(options.clone())? {
                Target::Local(index) => search(&folder.resolve(&index.dir), query, limit),
                Target::Server(index) => index.search(folder, query, limit),
            },
        }
    }

    fn facet(&self, index: At, query: &str, field: &str, limit: usize) -> Result<Facet> {
        match index {
            At::Folder(dir) => facet(dir, query, field, limit),
            At::Loaded(options, folder) => match target(options.clone())? {
                Target::Local(index) => facet(&folder.resolve(&index.dir), query, field, limit),
                Target::Server(index) => index.facet(folder, query, field, limit),
            },
        }
    }

    fn rollback(
        &self,
        options: &toml::Table,
        folder: &Folder,
        runs: &Path,
        clean: bool,
        force: bool,
    ) -> Result<Vec<String>> {
        match target(options.clone())? {
            Target::Local(index) if clean => index.clean(folder),
            Target::Local(index) => index.roll_back(folder),
            Target::Server(index) if clean => index.clean(folder, runs, force),
            Target::Server(index) => index.roll_back(folder),
        }
    }

    fn replay(
        &self,
        options: &toml::Table,
        folder: &Folder,
        run: &Path,
        name: &str,
        force: bool,
    ) -> Result<[(&'static StageKind, Arc<dyn Stage>); 2]> {
        let Target::Server(index) = target(options.clone())? else {
            return Err(
                Error::usage("only what was sent to a server can be sent again").hint(
                    "if that run had its server from `--set` or a variable, give it the same again",
                ),
            );
        };
        let Replay { rejects, index } = index.replay(folder, run, name, force)?;
        Ok([
            (&server::REJECTS, Arc::new(rejects)),
            (&KIND, Arc::new(index)),
        ])
    }

    fn delete(&self, options: &toml::Table, folder: &Folder) -> Result<()> {
        match target(options.clone())? {
            Target::Local(_) => Ok(()),
            Target::Server(index) => index.delete(folder),
        }
    }

    fn replacing(&self) -> (&'static str, &'static str) {
        ("load", "replace")
    }
}

/// Names that Elasticsearch keeps for itself.
const RESERVED: [&str; 14] = [
    "_id",
    "_index",
    "_source",
    "_type",
    "_routing",
    "_version",
    "_seq_no",
    "_primary_term",
    "_field_names",
    "_ignored",
    "_nested_path",
    "_doc_count",
    "_tier",
    "_size",
];

/// No column may be named as the index names something of its own.
fn refuse_reserved(input: &Schema, more: &[&str]) -> Result<()> {
    let reserved = |name: &&str| RESERVED.contains(name) || more.contains(name);
    match input.names().find(reserved) {
        Some(name) => Err(Error::usage(format!(
            "column `{name}` has a name that the index keeps for itself"
        ))
        .hint("rename it with a `select` stage; `id` says which column is the document's id")),
        None => Ok(()),
    }
}

fn one(inputs: &[Schema]) -> Result<&Schema> {
    inputs.first().ok_or_else(|| {
        Error::usage(format!(
            "`{}` has one input, found {}",
            KIND.name,
            list(&[])
        ))
    })
}

/// The error of a mapping file that is not JSON, with the place in it.
fn not_json(file: &str, error: &serde_json::Error) -> Error {
    let (words, at) = (error.to_string(), (error.line(), error.column()));
    let words = words.split(" at line ").next().unwrap_or_default();
    Error::failed(format!("mapping `{file}` is not JSON"))
        .cause(format!("at {file}:{}:{}: {words}", at.0, at.1))
}
