//! `bulk_index`: rows as documents of a search index. So far that is the embedded index (`to =
//! "local:DIR"`), which needs no server: [`search`] asks it.

mod coerce;
mod dates;
mod document;
mod local;
mod mapping;
mod query;
mod search;
mod session;

use serde::Deserialize;

pub use self::search::{Hit, Hits, search};

use self::mapping::Mapping;
use crate::error::{Error, Result};
use crate::schema::{Schema, list};
use crate::stage::{
    self, Begun, Distribution, Folder, OptionDoc, Run, Session, Setup, Stage, StageKind,
};

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "bulk_index",
    summary: "loads rows as documents into a search index",
    inputs: 1,
    sink: true,
    takes_batch_rows: false,
    options: &[
        OptionDoc {
            name: "to",
            ty: "`local:DIR`, a URL or a list of URLs",
            default: None,
            doc: "where the index is; `local:DIR` is the embedded index in that folder",
        },
        OptionDoc {
            name: "index",
            ty: "string",
            default: Some("none"),
            doc: "the index's name on a server; the embedded index is its folder",
        },
        OptionDoc {
            name: "id",
            ty: "column or list of columns",
            default: Some("numbered by run and row"),
            doc: "the document's id; several columns are joined by `-`; of rows with one id the last wins",
        },
        OptionDoc {
            name: "mapping",
            ty: "path",
            default: Some("none"),
            doc: "JSON file with the fields' types; members it does not name are indexed as they are",
        },
        OptionDoc {
            name: "batch_docs",
            ty: "integer",
            default: Some("500"),
            doc: "documents a request; without effect on the embedded index",
        },
        OptionDoc {
            name: "load",
            ty: "`append`, `create`, `replace`",
            default: Some("append"),
            doc: "adds to the index, refuses one that is there, or makes it anew and then puts it in the old one's place",
        },
        OptionDoc {
            name: "op",
            ty: "`index`",
            default: Some("index"),
            doc: "what is done with each document",
        },
    ],
    example: r#"[[stage]]
name = "index"
kind = "bulk_index"
inputs = ["location"]
to = "local:../out/donors"
id = "donationid"
mapping = "donors.mapping.json"
load = "replace"
"#,
    decode,
};

/// Before the folder of an embedded index.
const LOCAL: &str = "local:";

/// The folder in a target that is an embedded index.
pub fn local_dir(to: &str) -> Option<&str> {
    to.strip_prefix(LOCAL)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    to: OneOrMany,
    #[serde(rename = "index")]
    _index: Option<String>,
    id: Option<OneOrMany>,
    mapping: Option<String>,
    #[serde(default = "default_batch_docs")]
    batch_docs: usize,
    #[serde(default)]
    load: Load,
    #[serde(default = "default_op")]
    op: String,
}

fn default_batch_docs() -> usize {
    500
}

fn default_op() -> String {
    "index".into()
}

#[derive(Deserialize)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Load {
    #[default]
    Append,
    Create,
    Replace,
}

fn decode(table: toml::Table) -> Result<Box<dyn Stage>> {
    let options: Options = stage::options(table)?;
    if options.batch_docs == 0 {
        return Err(Error::usage(
            "`batch_docs` is 0; a request holds at least one document",
        ));
    }
    let id = options.id.map(OneOrMany::into_vec).unwrap_or_default();
    let to = options.to.into_vec();
    let [target] = &to[..] else {
        return Err(only_local(&to.join(", ")));
    };
    let dir = local_dir(target).ok_or_else(|| only_local(target))?;
    if std::path::Path::new(dir).file_name().is_none() && !dir.ends_with("..") {
        return Err(Error::usage(format!("`to = \"{target}\"` names no folder"))
            .hint("write `local:DIR`; the index is that folder"));
    }
    if options.op != "index" {
        return Err(Error::usage(format!(
            "`op = \"{}\"` is for servers; the embedded index takes `index`",
            options.op
        )));
    }
    Ok(Box::new(LocalIndex {
        dir: dir.to_owned(),
        id,
        mapping: options.mapping,
        load: options.load,
    }))
}

fn only_local(target: &str) -> Error {
    Error::usage(format!(
        "cannot load to `{target}`: this build loads `local:DIR` only"
    ))
}

/// A load into the embedded index.
#[derive(Debug)]
struct LocalIndex {
    /// As written; relative to the pipeline's folder.
    dir: String,
    /// The columns that make the id; none: the run and the row's number do.
    id: Vec<String>,
    mapping: Option<String>,
    load: Load,
}

/// Names that Elasticsearch keeps for itself, then those that the embedded index does.
const RESERVED: [&str; 16] = [
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
    document::DYNAMIC,
    document::WORDS,
];

impl LocalIndex {
    fn read_mapping(&self, folder: &Folder) -> Result<Option<Mapping>> {
        let Some(path) = &self.mapping else {
            return Ok(None);
        };
        let file = folder.resolve(path);
        let shown = file.display().to_string();
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Error::io("read mapping", &shown, &error))?;
        Mapping::parse(&text, &shown).map(Some)
    }
}

impl Stage for LocalIndex {
    /// The sink keeps the order of rows, so that rows of one id may be worked on at once.
    fn inputs(&self) -> Vec<Distribution> {
        vec![Distribution::Any]
    }

    fn schema(&self, inputs: &[Schema], folder: &Folder) -> Result<Schema> {
        let input = one(inputs)?;
        if let Some(name) = input.names().find(|name| RESERVED.contains(name)) {
            return Err(Error::usage(format!(
                "column `{name}` has a name that the index keeps for itself"
            ))
            .hint("rename it with a `select` stage; `id` says which column is the document's id"));
        }
        for i in input.indices(&self.id)? {
            let field = &input.fields[i];
            if !session::makes_ids(&field.ty) {
                return Err(Error::usage(format!(
                    "column `{}` is a {}, which cannot be an `id`",
                    field.name,
                    field.ty.word()
                )));
            }
        }
        self.read_mapping(folder)?;
        Ok(input.clone())
    }

    fn begin(&self, run: &Run, inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let dir = run.folder.resolve(&self.dir);
        let given = self.read_mapping(&run.folder)?;
        let with_ids = !self.id.is_empty();
        let input = one(inputs)?;
        let (sink, mapping) = local::begin(run, &dir, self.load, given, input, with_ids)?;
        let mut warnings = Vec::new();
        if !with_ids && sink.docs_before() > 0 {
            warnings.push(format!(
                "adds to an index of {} documents: without `id` rows that were loaded before are doubled; give `id`, or `load = \"replace\"`",
                sink.docs_before()
            ));
        }
        let missing = mapping.fields.iter().map(|(name, _)| name.as_str());
        let missing: Vec<&str> = missing.filter(|name| input.index(name).is_err()).collect();
        if !missing.is_empty() && self.mapping.is_some() {
            warnings.push(format!(
                "the mapping names {}, which no column is",
                list(&missing)
            ));
        }
        Ok(Begun {
            sink: Some(Box::new(sink)),
            told: mapping.to_json(),
            warnings,
            ..Begun::default()
        })
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(session::LocalSession::open(setup, &self.id)?))
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

#[cfg(test)]
mod tests;
