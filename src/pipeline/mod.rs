//! From a TOML file to a [`Pipeline`]: every stage's options decoded, its executor decided, its inputs
//! found. Nothing here looks at data; what only data can show comes later, from the stages.
//!
//! The way of a value: the file is parsed (`source`), `--sequential`, `--parallel` and `--set` are
//! written into the parsed tables (`overrides`), `${NAME}` is replaced in what stands there then
//! (`variables`), the keys that every stage has are decoded here (`stage_keys`, `grid`), the rest is checked against
//! the types of the kind's options (`option_checks`) and then decoded by the kind. So a variable that `--set` has replaced need not be set, and a variable's value
//! never changes the structure.

mod collisions;
mod grid;
mod json_schema;
mod new_files;
mod option_checks;
mod overrides;
mod scratch;
mod source;
mod stage_keys;
mod variables;

use overrides::CLUSTER;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::ROWS_MAX;
use crate::cluster::ClusterTable;
use crate::error::{Class, Error, Result, note};
use crate::executor::Grid;
use crate::meant::nearest_file;
use crate::place::{self, Place};
use crate::schema::{Schema, list};
use crate::secrets;
use crate::stage::{Destination, Folder, Partitioning, Policy, STAGES, Stage, StageKind};
use crate::stop::Stop;

pub use crate::secrets::{masked, masked_set};
pub use json_schema::json_schema;
pub use scratch::{FreshIndex, NotTimed, Scratch};

/// A pipeline file, decoded and checked as far as the file alone allows.
#[derive(Clone)]
pub struct Pipeline {
    /// What the report calls it; by default the file's stem.
    pub name: String,
    /// The file it came from, as it was named.
    pub file: PathBuf,
    /// Where its relative paths start.
    pub folder: Folder,
    /// More rejected rows than this make a finished run exit 3; -1: no limit.
    pub max_rejects: i64,
    /// The stages in the file's order, which is the order of work.
    pub steps: Vec<Step>,
    /// The table `[cluster]`; it says where a cluster is, not that it is used.
    pub cluster: ClusterTable,
    /// Whether [`Pipeline::upto`] left out stages whose rows leave the pipeline.
    pub sinks_cut_off: bool,
}

/// One stage of a pipeline.
#[derive(Clone)]
pub struct Step {
    /// Unique in its pipeline.
    pub name: String,
    /// What it does.
    pub kind: &'static StageKind,
    /// The steps it reads, by position; each lies above.
    pub inputs: Vec<usize>,
    /// Where its batches are processed.
    pub grid: Grid,
    /// Whether that is in tasks of a cluster.
    pub on_cluster: bool,
    /// Rows a batch, where the file says so.
    pub batch_rows: Option<usize>,
    /// The kind's own options as they are decoded, here and in worker processes.
    pub options: toml::Table,
    /// The options decoded.
    pub stage: Arc<dyn Stage>,
    /// Where the file says what of it; of a step that stands in no file nothing.
    pub section: Option<Arc<source::Section>>,
}

/// What the command line changes in a pipeline.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `STAGE.KEY=VALUE`, later ones win.
    pub sets: Vec<String>,
    /// `parallel = false` in every stage.
    pub sequential: bool,
    /// `parallel = true` in every stage.
    pub parallel: bool,
}

/// Reads a pipeline file. Exit 1 if it cannot be read, exit 2 for what stands in it.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Pipeline> {
    parse(path, &read(path)?, overrides)
}

fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|error| {
        let error = Error::io("read pipeline file", path.display(), &error);
        if path.is_dir() {
            return error.hint("name a file in it");
        }
        match nearest_file(path).filter(|_| !path.exists()) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })?;
    source::utf8(path, bytes)
}

/// Everything that is wrong with a pipeline file and with the columns of its stages, or the pipeline and each
/// step's output columns. Of stages that are wrong themselves nothing is said of those that read them.
pub fn check(path: &Path, overrides: &Overrides) -> Result<(Pipeline, Vec<Schema>)> {
    let text = read(path)?;
    let environment = |name: &str| std::env::var_os(name);
    let (pipeline, steps, mut mistakes) = assemble(STAGES, path, &text, overrides, &environment)?;
    let (schemas, of_columns) = pipeline.schemas_of(steps.iter().map(Option::as_ref));
    mistakes.extend(of_columns.into_iter().flat_map(Error::split));
    mistakes.sort_by_key(source::order);
    match Error::all(mistakes) {
        Some(mut mistakes) => {
            mistakes.unchecked = unchecked(&steps, &schemas);
            Err(mistakes)
        }
        None => Ok((
            pipeline.with(steps),
            schemas.into_iter().flatten().collect(),
        )),
    }
}

/// Names the stages whose columns cannot be checked, because stages above them are wrong: a list of mistakes that is not
/// complete says so.
fn unchecked(steps: &[Option<Step>], schemas: &[Option<Schema>]) -> Option<String> {
    let waits = |(step, schema): (&Option<Step>, &Option<Schema>)| {
        let step = step.as_ref().filter(|_| schema.is_none())?;
        let is_unknown = |&at: &usize| schemas[at].is_none();
        step.inputs
            .iter()
            .any(is_unknown)
            .then(|| step.name.clone())
    };
    let names: Vec<String> = steps.iter().zip(schemas).filter_map(waits).collect();
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Some(format!("the columns of {}", list(&names)))
}

/// [`load`] on the text of the file `path`.
pub fn parse(path: &Path, text: &str, overrides: &Overrides) -> Result<Pipeline> {
    decode(STAGES, path, text, overrides, &|name| {
        std::env::var_os(name)
    })
}

/// [`parse`] with a registry and an environment of the caller's.
pub fn decode(
    registry: &[&'static StageKind],
    path: &Path,
    text: &str,
    overrides: &Overrides,
    environment: variables::Environment,
) -> Result<Pipeline> {
    let (pipeline, steps, mistakes) = assemble(registry, path, text, overrides, environment)?;
    match Error::all(mistakes) {
        Some(mistakes) => Err(mistakes),
        None => Ok(pipeline.with(steps)),
    }
}

/// A pipeline without its steps, those that could be decoded, by their place in the file, and what is wrong with
/// the others.
fn assemble(
    registry: &[&'static StageKind],
    path: &Path,
    text: &str,
    overrides: &Overrides,
    environment: variables::Environment,
) -> Result<(Pipeline, Vec<Option<Step>>, Vec<Error>)> {
    let mut document = source::parse(path, text)?;
    let mut mistakes = std::mem::take(&mut document.mistakes);
    let mut drafts = stage_keys::drafts(registry, &mut document, environment)?;
    let of_sets = overrides::apply(overrides, &mut document.top, &mut drafts);

    let mut top = document.top;
    let unset = variables::replace(&mut top.table, variables::Guarded::default(), environment);
    mistakes.extend(
        unset
            .into_iter()
            .map(|(path, error)| top.locate_path(&path, error)),
    );
    let name = note(&mut mistakes, top.string("name")).flatten();
    let stem = || {
        path.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let max_rejects = top.integer("max_rejects", -1..=i64::MAX);
    let max_rejects = note(&mut mistakes, max_rejects).flatten();
    let cluster = note(&mut mistakes, cluster(&top)).unwrap_or_default();
    let pipeline = Pipeline {
        name: name.unwrap_or_else(stem),
        file: path.to_owned(),
        folder: Folder(path.parent().map(Path::to_owned).unwrap_or_default()),
        max_rejects: max_rejects.unwrap_or(0),
        steps: Vec::new(),
        cluster,
        sinks_cut_off: false,
    };
    mistakes.append(&mut drafts.mistakes);
    let (steps, of_stages) = stage_keys::decode(drafts, environment);
    mistakes.extend(once_an_argument(of_stages));
    mistakes.extend(collisions::collisions(&pipeline.folder, &steps));
    // Those of the file stand in its order, those of the command line after them.
    mistakes.sort_by_key(source::order);
    mistakes.extend(of_sets);
    Ok((pipeline, steps, mistakes))
}

/// The table `[cluster]`, if there is one.
fn cluster(top: &source::Section) -> Result<ClusterTable> {
    let Some(value) = top.table.get(CLUSTER) else {
        return Ok(ClusterTable::default());
    };
    let Some(table) = value.as_table() else {
        let error = Error::usage(format!(
            "`{CLUSTER}`: expected a table, found {}",
            source::found(value)
        ));
        return Err(top.locate(CLUSTER, error.hint("begin it with `[cluster]`")));
    };
    ClusterTable::decode(table).map_err(|error| {
        let of = error.values.first().cloned().unwrap_or_default();
        let path: Vec<String> = std::iter::once(CLUSTER.to_owned()).chain(of).collect();
        top.locate_path(&path, error)
    })
}

/// The mistakes of stages, where a `--set` for all stages is wrong the same way in each of them as one, of no stage.
fn once_an_argument(mistakes: Vec<Error>) -> Vec<Error> {
    let mut seen = BTreeSet::new();
    let once = |mut mistake: Error| {
        let place = mistake.causes.first();
        if place.is_none_or(|place| !place.starts_with("at `--set *.")) {
            return Some(mistake);
        }
        let is_new = seen.insert((mistake.message.clone(), mistake.causes.clone()));
        mistake.stage = None;
        is_new.then_some(mistake)
    };
    mistakes.into_iter().filter_map(once).collect()
}

impl Pipeline {
    /// The same with its steps, all of which could be decoded.
    fn with(mut self, steps: Vec<Option<Step>>) -> Pipeline {
        self.steps = steps.into_iter().flatten().collect();
        self
    }

    /// Each step's output columns, found from the top down before any row moves.
    pub fn schemas(&self) -> Result<Vec<Schema>> {
        let (schemas, mistakes) = self.schemas_of(self.steps.iter().map(Some));
        match Error::all(mistakes) {
            Some(mistakes) => Err(mistakes),
            None => Ok(schemas.into_iter().flatten().collect()),
        }
    }

    /// The columns of each step whose inputs' columns are known, and what is wrong with the others.
    fn schemas_of<'a>(
        &self,
        steps: impl Iterator<Item = Option<&'a Step>>,
    ) -> (Vec<Option<Schema>>, Vec<Error>) {
        let mut schemas: Vec<Option<Schema>> = Vec::new();
        let mut mistakes = Vec::new();
        for step in steps {
            let given = step.and_then(|step| {
                let inputs = step.inputs.iter().map(|&at| schemas[at].clone());
                Some((step, inputs.collect::<Option<Vec<Schema>>>()?))
            });
            let schema = given.and_then(|(step, given)| {
                let schema = step.stage.schema(&given, &self.folder);
                let schema = schema.map_err(|error| mistakes.push(step.placed(error)));
                schema.ok()
            });
            schemas.push(schema);
        }
        (schemas, mistakes)
    }

    /// What can be meant, but hardly is, each with its stage.
    pub fn lint(&self, schemas: &[Schema]) -> Vec<String> {
        let of_step = |step: &Step| {
            let warnings = step.stage.lint(&step.given(schemas), &self.folder);
            let line = |warning| {
                step.secrets()
                    .clean(&format!("stage `{}`: {warning}", step.name))
            };
            warnings.into_iter().map(line).collect::<Vec<String>>()
        };
        self.steps.iter().flat_map(of_step).collect()
    }

    /// What is left to do if only `stage` matters: it and all that it reads, in the file's order.
    pub fn upto(mut self, stage: &str) -> Result<Pipeline> {
        let names: Vec<&str> = self.steps.iter().map(|step| step.name.as_str()).collect();
        let Some(wanted) = names.iter().position(|name| *name == stage) else {
            let error = Error::usage(format!(
                "no stage `{stage}` in `{}`; there are {}",
                self.file.display(),
                list(&names)
            ));
            return Err(error.suggest(stage, names));
        };
        let mut kept = BTreeSet::from([wanted]);
        for at in (0..=wanted).rev() {
            if kept.contains(&at) {
                kept.extend(&self.steps[at].inputs);
            }
        }
        let renumbered: HashMap<usize, usize> = kept
            .iter()
            .enumerate()
            .map(|(new, &old)| (old, new))
            .collect();
        let mut at = 0;
        let mut sinks_cut_off = false;
        self.steps.retain(|step| {
            at += 1;
            let is_kept = kept.contains(&(at - 1));
            sinks_cut_off |= step.kind.sink && !is_kept;
            is_kept
        });
        self.sinks_cut_off |= sinks_cut_off;
        for step in &mut self.steps {
            for input in &mut step.inputs {
                *input = renumbered[input];
            }
        }
        Ok(self)
    }

    /// The steps that read step `at`; one that reads it twice stands twice.
    pub fn readers(&self, at: usize) -> Vec<usize> {
        let mut readers = Vec::new();
        for (number, step) in self.steps.iter().enumerate() {
            readers.extend(
                step.inputs
                    .iter()
                    .filter(|&&input| input == at)
                    .map(|_| number),
            );
        }
        readers
    }

    /// Step `from` and every step its rows can reach.
    pub fn downstream(&self, from: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::from([from]);
        for (number, step) in self.steps.iter().enumerate().skip(from) {
            if step.inputs.iter().any(|input| reached.contains(input)) {
                reached.insert(number);
            }
        }
        reached
    }
}

impl Step {
    /// Where it is executed, in a word.
    pub fn executor(&self) -> &'static str {
        if self.on_cluster {
            "cluster"
        } else {
            self.grid.kind.as_str()
        }
    }

    /// How the rows of one of its inputs are partitioned, or those of its own source.
    pub fn partitioning(&self, input: usize) -> Partitioning {
        let all = self.stage.inputs();
        let found = all.get(input).or(all.last());
        found.cloned().unwrap_or(Partitioning::Any)
    }

    /// Which of its inputs are streamed, one after the other; the others are broadcast before.
    pub fn streamed_inputs(&self) -> impl Iterator<Item = usize> {
        let inputs = 0..self.inputs.len();
        inputs.filter(|&input| self.partitioning(input) != Partitioning::Broadcast)
    }

    /// The columns of its inputs, of those of all steps.
    pub fn given(&self, schemas: &[Schema]) -> Vec<Schema> {
        self.inputs.iter().map(|&at| schemas[at].clone()).collect()
    }

    /// The most rows that a batch of it has: the file's word, the kind's own, or the default.
    pub fn rows_max(&self) -> usize {
        self.batch_rows
            .or_else(|| self.stage.properties().batch_rows)
            .unwrap_or(ROWS_MAX)
    }

    /// What holds for its requests, where a batch is one.
    pub fn policy(&self) -> Option<Policy> {
        self.stage.properties().policy
    }

    /// Where its rows leave the pipeline, if they do.
    pub fn destination(&self) -> Option<Destination> {
        self.stage.properties().writes
    }

    /// Whether what it writes is visible at once.
    pub fn writes_in_place(&self) -> bool {
        self.destination()
            .is_some_and(|destination| destination.in_place)
    }

    /// The files that it reads.
    pub fn files(&self, folder: &Folder) -> Result<Vec<Place>> {
        place::expand(&self.stage.properties().reads, folder, &Stop::of_signals())
    }

    /// Where its rows leave the pipeline in words, secrets masked.
    pub fn publishes_to(&self) -> Option<String> {
        let destination = self.destination()?;
        let named = destination.named.iter();
        let named: Vec<String> = named.map(|name| secrets::mask_url(name)).collect();
        let mut words = named.join(", ");
        if let Some(endpoint) = destination.endpoint.filter(|_| place::is_in_store(&words)) {
            words.push_str(&format!(" at {endpoint}"));
        }
        Some(self.secrets().clean(&words))
    }

    /// Sets one of its options.
    pub(crate) fn set_option(&mut self, key: &str, value: impl Into<toml::Value>) -> Result<()> {
        self.options.insert(key.into(), value.into());
        self.stage = (self.kind.decode)(self.options.clone())
            .map_err(|error| self.scrub(error.stage(&self.name)))?
            .into();
        Ok(())
    }

    /// Says of an error where its key was said.
    fn locate(&self, key: &str, error: Error) -> Error {
        match &self.section {
            Some(section) => section.locate(key, error),
            None => error.stage(&self.name),
        }
    }

    /// An error about where it writes, with the line of the file that says so.
    fn of_its_place(&self, destination: &Destination, error: Error) -> Error {
        self.scrub(self.locate(destination.option, error))
    }

    /// An error about its columns, or about what its options name, with the line of the file that is at fault.
    #[must_use]
    pub fn placed(&self, error: Error) -> Error {
        let located = |error: Error| match (&self.section, error.values.first().cloned()) {
            (Some(section), Some(path)) => section.locate_path(&path, error),
            (Some(section), None) if error.class == Class::Usage => section.locate("", error),
            _ => error,
        };
        let named = error.each(&|error: Error| located(error.stage(&self.name)));
        self.scrub(named)
    }

    /// What must not be printed of it.
    pub fn secrets(&self) -> secrets::Secrets {
        secrets::Secrets::of(&self.options)
    }

    /// An error of this step as it may be printed: without the values of its secret options.
    #[must_use]
    pub fn scrub(&self, error: Error) -> Error {
        secrets::scrub(error, &self.options)
    }
}
