//! Stages decoded in two steps: the keys that every stage has here, the rest by its kind, after a look at
//! what the kind says its options are.

use std::collections::HashMap;

use toml::Table;

use super::source::{Document, Section, suggest};
use super::variables::{self, Environment};
use super::{Step, grid};
use crate::error::{Error, Result};
use crate::schema::list;
use crate::stage::StageKind;

/// The keys of every stage that may be changed from the command line.
pub(super) const EVERY_STAGE: &[&str] = &[
    "inputs",
    "parallel",
    "executor",
    "workers",
    "processes",
    "threads",
];

/// What a stage is: not to be changed from the command line.
pub(super) const FIXED: [&str; 2] = ["name", "kind"];

/// The key of every stage whose kind takes it.
pub(super) const BATCH_ROWS: &str = "batch_rows";

/// Rows are numbered in 32 bits within their batch.
const BATCH_ROWS_MAX: i64 = u32::MAX as i64;

/// Streams of stages that read each other call each other: with more of them a thread's stack could end.
const STAGES_MAX: usize = 1000;

/// A stage of which only name and kind are known.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) kind: &'static StageKind,
    pub(super) section: Section,
}

impl Draft {
    /// Whether the stage has such a key, set or not.
    pub(super) fn takes(&self, key: &str) -> bool {
        self.keys().any(|known| known == key)
    }

    /// Every key the stage may have but those that are [`FIXED`].
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        let kind = self.kind;
        let options = kind.all_options().map(|option| option.name);
        let batch_rows = kind.takes_batch_rows.then_some(BATCH_ROWS);
        options.chain(EVERY_STAGE.iter().copied()).chain(batch_rows)
    }

    /// A key that the stage does not take.
    pub(super) fn unknown_key(&self, key: &str) -> Error {
        let kind = self.kind;
        let options: Vec<&str> = kind.all_options().map(|option| option.name).collect();
        if key == BATCH_ROWS {
            let error = Error::usage(format!("kind `{}` does not take `{key}`", kind.name));
            return match options.iter().find(|option| option.starts_with("batch")) {
                Some(own) => error.hint(format!("its unit is `{own}`")),
                None => error,
            };
        }
        let error = Error::usage(format!(
            "unknown key `{key}`; kind `{}` takes {}",
            kind.name,
            list(&options)
        ));
        suggest(error, key, self.keys().chain(FIXED))
    }
}

/// Finds each stage's name and kind, variables in them replaced.
pub(super) fn drafts(
    registry: &[&'static StageKind],
    document: &mut Document,
    environment: Environment,
) -> Result<Vec<Draft>> {
    let count = document.stages.len();
    if count > STAGES_MAX {
        let error = Error::usage(format!(
            "the file has {count} stages: at most {STAGES_MAX} are taken"
        ));
        return Err(error.hint("split it into several files"));
    }
    let mut drafts: Vec<Draft> = Vec::with_capacity(count);
    for (number, mut section) in std::mem::take(&mut document.stages).into_iter().enumerate() {
        let mut fixed: Table = FIXED
            .iter()
            .filter_map(|key| section.table.remove_entry(*key))
            .collect();
        variables::replace(&mut fixed, environment)
            .map_err(|(key, error)| section.locate(&key, error))?;
        section.table.extend(fixed);

        let name = section.string("name")?.ok_or_else(|| {
            let error = Error::usage(format!("stage {} has no `name`", number + 1));
            section.locate("", error)
        })?;
        check_name(&name, &drafts).map_err(|error| section.locate("name", error))?;
        section.name = Some(name.clone());
        let kind = find_kind(registry, &section)?;
        for key in FIXED {
            section.table.remove(key);
        }
        drafts.push(Draft {
            name,
            kind,
            section,
        });
    }
    Ok(drafts)
}

fn check_name(name: &str, above: &[Draft]) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(fits) {
        return Err(Error::usage(format!(
            "`name`: expected letters, digits, `_` and `-`, found `{name}`"
        )));
    }
    if above.iter().any(|draft| draft.name == name) {
        return Err(Error::usage(format!("two stages are named `{name}`")));
    }
    Ok(())
}

fn find_kind(registry: &[&'static StageKind], section: &Section) -> Result<&'static StageKind> {
    let Some(word) = section.string("kind")? else {
        let error = Error::usage("no `kind`").hint("`etl stages` lists the kinds");
        return Err(section.locate("", error));
    };
    if let Some(kind) = registry.iter().find(|kind| kind.name == word) {
        return Ok(kind);
    }
    let known: Vec<&str> = registry.iter().map(|kind| kind.name).collect();
    let error = Error::usage(format!("unknown kind `{word}`; there are {}", list(&known)));
    Err(section.locate("kind", suggest(error, &word, known)))
}

/// Decodes every stage, from the top down.
pub(super) fn decode(drafts: Vec<Draft>, environment: Environment) -> Result<Vec<Step>> {
    let names: Vec<String> = drafts.iter().map(|draft| draft.name.clone()).collect();
    let cores = grid::cores();
    let mut steps: Vec<Step> = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let step = decode_one(draft, &names, &steps, cores, environment)?;
        steps.push(step);
    }
    Ok(steps)
}

fn decode_one(
    mut draft: Draft,
    names: &[String],
    above: &[Step],
    cores: usize,
    environment: Environment,
) -> Result<Step> {
    if let Some(key) = draft.section.table.keys().find(|key| !draft.takes(key)) {
        return Err(draft.section.locate(key, draft.unknown_key(key)));
    }
    variables::replace(&mut draft.section.table, environment)
        .map_err(|(key, error)| draft.section.locate(&key, error))?;
    let section = &draft.section;
    let inputs = inputs(&draft, names, above)?;
    let grid = grid::decide(section, cores)?;
    let batch_rows = section
        .integer(BATCH_ROWS, 1..=BATCH_ROWS_MAX)?
        .map(|rows| usize::try_from(rows).expect("limits were checked"));

    let own = |key: &str| draft.kind.all_options().any(|option| option.name == key);
    let options: Table = section
        .table
        .iter()
        .filter(|(key, _)| own(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let stage = (draft.kind.decode)(options.clone())
        .map_err(|error| crate::secrets::scrub(section.locate_named(error), &options))?;
    let step = Step {
        name: draft.name,
        kind: draft.kind,
        inputs,
        grid,
        batch_rows,
        options,
        stage: stage.into(),
    };
    refuse_sessions(&step).map_err(|error| section.locate("max_sessions", error))?;
    Ok(step)
}

/// Each process has a session of its own: what a licence does not allow is told before it is tried.
fn refuse_sessions(step: &Step) -> Result<()> {
    let sessions_max = step.requests().and_then(|requests| requests.sessions_max);
    let Some(most) = sessions_max.filter(|most| step.grid.processes > *most) else {
        return Ok(());
    };
    let (kind, processes) = (step.grid.kind.word(), step.grid.processes);
    Err(Error::usage(format!(
        "`max_sessions` allows {}, and executor `{kind}` opens {processes}, one a process",
        crate::schema::count(most, "session")
    ))
    .hint("threads share one session: `executor = \"threads\"` does as much at once with one"))
}

/// The steps that a stage reads.
fn inputs(draft: &Draft, names: &[String], above: &[Step]) -> Result<Vec<usize>> {
    let locate = |error: Error| draft.section.locate("inputs", error);
    let positions: HashMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(at, name)| (name.as_str(), at))
        .collect();
    let words = draft.section.strings("inputs")?.unwrap_or_default();
    let mut inputs = Vec::with_capacity(words.len());
    for word in &words {
        match positions.get(word.as_str()) {
            Some(&at) if at < above.len() => inputs.push(at),
            Some(&at) => {
                let message = if at == above.len() {
                    "a stage cannot read itself".to_owned()
                } else {
                    format!("input `{word}` is a stage further down")
                };
                let error = Error::usage(message);
                return Err(locate(
                    error.hint("a stage reads stages above it: change the order"),
                ));
            }
            None => {
                let known: Vec<&str> = names[..above.len()].iter().map(String::as_str).collect();
                let error = Error::usage(format!(
                    "input `{word}` is not a stage above; there are {}",
                    list(&known)
                ));
                return Err(locate(suggest(error, word, known)));
            }
        }
    }
    let given = inputs.len();
    if !draft.kind.inputs.contains(&given) {
        return Err(locate(Error::usage(format!(
            "kind `{}` takes {}, found {given}",
            draft.kind.name,
            draft.kind.inputs_in_words()
        ))));
    }
    if let Some(sink) = inputs
        .iter()
        .map(|&at| &above[at])
        .find(|step| step.kind.sink)
    {
        return Err(locate(
            Error::usage(format!(
                "input `{}` gives no rows: with `{}` they leave the pipeline",
                sink.name, sink.kind.name
            ))
            .hint("read what it reads"),
        ));
    }
    Ok(inputs)
}
