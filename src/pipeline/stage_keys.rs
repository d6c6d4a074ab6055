//! Stages decoded in two steps: the keys that every stage has here, the rest by its kind, after a look at
//! what the kind says its options are.

use std::collections::HashMap;
use std::sync::Arc;

use toml::Table;

use super::option_checks::Checks;
use super::source::{Document, Section};
use super::variables::{self, Environment, Guarded};
use super::{Step, grid};
use crate::error::{Error, Result, note};
use crate::executor::Grid;
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

/// Files are named after stages, with an ending, and file systems take 255 bytes.
const NAME_MAX: usize = 200;

/// The stages of a file as far as name and kind are known.
#[derive(Default)]
pub(super) struct Drafts {
    /// Those whose kind is known.
    pub(super) known: Vec<Draft>,
    /// The names of all, in the file's order; of two that are equal the first.
    pub(super) names: Vec<Option<String>>,
    /// What is wrong with names and kinds.
    pub(super) mistakes: Vec<Error>,
}

/// A stage of which only name and kind are known.
pub(super) struct Draft {
    /// Which it is in the file.
    pub(super) at: usize,
    /// `None`: it is missing or cannot be used; the options are checked all the same.
    pub(super) name: Option<String>,
    pub(super) kind: &'static StageKind,
    pub(super) section: Section,
}

impl Draft {
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }

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
            return match kind.batch_option {
                Some(own) => error.hint(format!("its unit is `{own}`")),
                None => error,
            };
        }
        let error = Error::usage(format!(
            "unknown key `{key}`; kind `{}` takes {}",
            kind.name,
            list(&options)
        ));
        error.suggest(key, self.keys().chain(FIXED))
    }
}

/// Finds each stage's name and kind, variables in them replaced.
pub(super) fn drafts(
    registry: &[&'static StageKind],
    document: &mut Document,
    environment: Environment,
) -> Result<Drafts> {
    let count = document.stages.len();
    if count > STAGES_MAX {
        let error = Error::usage(format!(
            "the file has {count} stages: at most {STAGES_MAX} are taken"
        ));
        return Err(error.hint("split it into several files"));
    }
    let mut drafts = Drafts::default();
    for (at, mut section) in std::mem::take(&mut document.stages).into_iter().enumerate() {
        let mut fixed: Table = FIXED
            .iter()
            .filter_map(|key| section.table.remove_entry(*key))
            .collect();
        let unset = variables::replace(&mut fixed, Guarded::default(), environment);
        section.table.extend(fixed);
        let is_given = |key: &str| unset.iter().all(|(path, _)| path[0] != key);
        let mistakes = &mut drafts.mistakes;
        let located = unset
            .iter()
            .map(|(path, error)| section.locate_path(path, error.clone()));
        mistakes.extend(located);
        let name = is_given("name").then(|| text_of_name(&section, at));
        let name = name.and_then(|name| note(mistakes, name));
        if let Some(name) = &name {
            let checked = check_name(name, &drafts.names);
            let checked = checked.map_err(|error| section.locate("name", error));
            section.name = note(mistakes, checked).map(|()| name.clone());
        }
        let kind = is_given("kind").then(|| find_kind(registry, &section));
        if let Some(kind) = kind.and_then(|kind| note(mistakes, kind)) {
            for key in FIXED {
                section.table.remove(key);
            }
            drafts.known.push(Draft {
                at,
                name: section.name.clone(),
                kind,
                section,
            });
        }
        let is_new = |name: &String| !drafts.names.iter().flatten().any(|other| other == name);
        drafts.names.push(name.filter(is_new));
    }
    Ok(drafts)
}

fn text_of_name(section: &Section, at: usize) -> Result<String> {
    section.string("name")?.ok_or_else(|| {
        let error = Error::usage(format!("stage {} has no `name`", at + 1));
        section.locate("", error)
    })
}

fn check_name(name: &str, above: &[Option<String>]) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(fits) {
        return Err(Error::usage(format!(
            "`name`: expected letters, digits, `_` and `-`, found `{name}`"
        )));
    }
    if name.len() > NAME_MAX {
        return Err(Error::usage(format!(
            "`name`: expected at most {NAME_MAX} characters, found {}",
            name.len()
        )));
    }
    if above.iter().flatten().any(|other| other == name) {
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
    Err(section.locate("kind", error.suggest(&word, known)))
}

/// Decodes every stage that it can, from the top down, in the file's order; what is wrong with the others.
pub(super) fn decode(drafts: Drafts, environment: Environment) -> (Vec<Option<Step>>, Vec<Error>) {
    let Drafts { known, names, .. } = drafts;
    let cores = grid::cores();
    let mut steps: Vec<Option<Step>> = vec![None; names.len()];
    let mut mistakes = Vec::new();
    for draft in known {
        let at = draft.at;
        let (step, found) = decode_one(draft, &names, &steps[..at], cores, environment);
        steps[at] = step;
        mistakes.extend(found);
    }
    (steps, mistakes)
}

/// What is wrong with a stage, and the stage, if its columns can be known all the same.
fn decode_one(
    mut draft: Draft,
    names: &[Option<String>],
    above: &[Option<Step>],
    cores: usize,
    environment: Environment,
) -> (Option<Step>, Vec<Error>) {
    let keys = draft.section.table.keys();
    let mut mistakes: Vec<Error> = keys
        .filter(|key| !draft.takes(key))
        .map(|key| draft.section.locate(key, draft.unknown_key(key)))
        .collect();
    let unknown = mistakes.len();
    let unset = variables::replace(
        &mut draft.section.table,
        Guarded {
            patterns: draft.kind.patterns_option,
            expressions: draft.kind.expressions_option,
        },
        environment,
    );
    let is_unset = |key: &str| unset.iter().any(|(path, _)| path[0] == key);
    let keys_here = [EVERY_STAGE, &[BATCH_ROWS]].concat();
    for key in keys_here.into_iter().filter(|key| is_unset(key)) {
        draft.section.table.remove(key);
    }
    let section = &draft.section;
    let inputs = if is_unset("inputs") {
        None
    } else {
        note(&mut mistakes, inputs(&draft, names, above))
    };
    let grid = note(&mut mistakes, grid::decide(section, cores));
    let batch_rows = note(
        &mut mistakes,
        section.integer(BATCH_ROWS, 1..=BATCH_ROWS_MAX),
    );
    let own = |key: &str| draft.kind.all_options().any(|option| option.name == key);
    let members = section.table.iter().filter(|(key, _)| own(key));
    let options: Table = members
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut checks = Checks::new(draft.kind, section, &options, unknown > 0);
    for (path, error) in unset {
        checks.unset(&path, error);
    }
    let stage = checks.find();
    mistakes.append(&mut checks.found);
    let mut mistakes: Vec<Error> = mistakes.into_iter().flat_map(Error::split).collect();
    let (Some(name), Some(stage), Some(inputs), 0) = (draft.name, stage, inputs, unknown) else {
        return (None, mistakes);
    };
    let rows = |rows| usize::try_from(rows).expect("limits were checked");
    let step = Step {
        name,
        kind: draft.kind,
        inputs,
        grid: grid.unwrap_or(Grid::SEQUENTIAL),
        on_cluster: false,
        batch_rows: batch_rows.flatten().map(rows),
        options,
        stage: stage.into(),
        section: Some(Arc::new(draft.section)),
    };
    note(&mut mistakes, refuse_sessions(&step));
    let idle = step.stage.properties().refuse_idle_endpoint();
    note(&mut mistakes, idle.map_err(|error| step.placed(error)));
    (Some(step), mistakes)
}

/// Each process has a session of its own: what a licence does not allow is refused before it is tried.
fn refuse_sessions(step: &Step) -> Result<()> {
    let sessions_max = step.policy().and_then(|policy| policy.sessions_max);
    let Some(most) = sessions_max.filter(|most| step.grid.processes > *most) else {
        return Ok(());
    };
    let option = step.kind.sessions_option.unwrap_or_default();
    let (kind, processes) = (step.grid.kind.as_str(), step.grid.processes);
    let error = Error::usage(format!(
        "`{option}` allows {}, and executor `{kind}` opens {processes}, one a process",
        crate::schema::count(most, "session")
    ))
    .hint("threads share one session: `executor = \"threads\"` does as much at once with one");
    Err(step.locate(option, error))
}

/// The steps that a stage reads.
fn inputs(draft: &Draft, names: &[Option<String>], above: &[Option<Step>]) -> Result<Vec<usize>> {
    let locate = |word: &str, error: Error| {
        let path = ["inputs", word].map(str::to_owned);
        draft.section.locate_path(&path, error)
    };
    let positions: HashMap<&str, usize> = names
        .iter()
        .enumerate()
        .filter_map(|(at, name)| Some((name.as_deref()?, at)))
        .collect();
    let words = draft.section.strings("inputs")?.unwrap_or_default();
    let mut inputs = Vec::with_capacity(words.len());
    let mut mistakes = Vec::new();
    for word in &words {
        match positions.get(word.as_str()) {
            Some(&at) if at < above.len() => inputs.push(at),
            Some(&at) => mistakes.push(locate(word, not_above(word, at == above.len()))),
            None => {
                let known = names[..above.len()].iter().flatten();
                let known: Vec<&str> = known.map(String::as_str).collect();
                let error = Error::usage(format!(
                    "input `{word}` is not a stage above; there are {}",
                    list(&known)
                ));
                mistakes.push(locate(word, error.suggest(word, known)));
            }
        }
    }
    let given = words.len();
    if !draft.kind.takes_inputs(given) {
        let error = Error::usage(format!(
            "kind `{}` takes {}, found {given}",
            draft.kind.name,
            draft.kind.inputs_in_words()
        ));
        mistakes.push(locate("", error));
    }
    let steps = inputs.iter().filter_map(|&at| above[at].as_ref());
    for sink in steps.filter(|step| step.kind.sink) {
        let error = Error::usage(format!(
            "input `{}` gives no rows: with `{}` they leave the pipeline",
            sink.name, sink.kind.name
        ));
        mistakes.push(locate(&sink.name, error.hint("read what it reads")));
    }
    match Error::all(mistakes) {
        Some(mistakes) => Err(mistakes),
        None => Ok(inputs),
    }
}

fn not_above(word: &str, is_itself: bool) -> Error {
    let message = if is_itself {
        "a stage cannot read itself".to_owned()
    } else {
        format!("input `{word}` is a stage further down")
    };
    Error::usage(message).hint("a stage reads stages above it: change the order")
}
