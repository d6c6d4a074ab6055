//! `--sequential`, `--parallel` and `--set`: what the command line writes into the parsed tables, before
//! variables are replaced and anything is decoded. So a value given there is held to the same rules, and
//! its errors name the option instead of a line.

use toml::{Table, Value};

use super::Overrides;
use super::source::Section;
use super::stage_keys::{Draft, Drafts, FIXED};
use crate::error::{Error, Result};
use crate::schema::list;
use crate::secrets::masked_set;

/// The keys outside the stages.
pub(super) const TOP_KEYS: &[&str] = &["name", "max_rejects", CLUSTER];

/// The table outside the stages. A stage of that name comes first.
pub(super) const CLUSTER: &str = "cluster";

/// One `--set`, taken apart.
struct Set {
    /// The stage's name or `*`; without one a key outside the stages is meant.
    stage: Option<String>,
    /// The way to the value, at least one key.
    path: Vec<String>,
    value: Value,
    /// All of it, as it may be printed.
    argument: String,
}

/// Writes what the command line says into the tables, in the order it takes effect; what is wrong with it.
/// Of a stage that is no draft nothing is known: what is said of it is passed over.
pub(super) fn apply(overrides: &Overrides, top: &mut Section, drafts: &mut Drafts) -> Vec<Error> {
    let Drafts { known, names, .. } = drafts;
    let toggle = match (overrides.sequential, overrides.parallel) {
        (true, true) => {
            return vec![Error::usage(
                "`--sequential` and `--parallel` exclude each other",
            )];
        }
        (true, false) => Some(false),
        (false, true) => Some(true),
        (false, false) => None,
    };
    if let Some(parallel) = toggle {
        for draft in known.iter_mut() {
            let table = &mut draft.section.table;
            table.insert("parallel".into(), parallel.into());
        }
    }
    let is_named = |draft: &Draft| draft.name.is_some();
    let is_whole = known.iter().filter(|draft| is_named(draft)).count() == names.len();
    let mut apply_one = |text: &String| -> Result<()> {
        let set = Set::parse(text)?;
        match set.stage.as_deref() {
            None => set.apply_top(top),
            Some("*") => match set.apply_all(known) {
                Err(_) if !is_whole => Ok(()),
                applied => applied,
            },
            Some(CLUSTER) if !names.iter().flatten().any(|name| name == CLUSTER) => {
                set.apply_table(CLUSTER, top)
            }
            Some(stage) => match set.apply_one(stage, known) {
                Err(_) if !is_whole && known.iter().all(|draft| !draft.is_named(stage)) => Ok(()),
                applied => applied,
            },
        }
    };
    let sets = overrides.sets.iter();
    sets.filter_map(|text| apply_one(text).err()).collect()
}

impl Set {
    /// `STAGE.KEY=VALUE`: stages have no dot in their names, keys may be dotted as in TOML.
    fn parse(text: &str) -> Result<Set> {
        let malformed = |what: &str| {
            // The text itself may hold a secret.
            Error::usage(format!("`--set`: {what}")).hint(
                "write `--set STAGE.KEY=VALUE`, or `--set KEY=VALUE` for a key outside the stages",
            )
        };
        let (target, value) = text
            .split_once('=')
            .ok_or_else(|| malformed("expected `STAGE.KEY=VALUE`, found no `=`"))?;
        let (stage, key) = match target.split_once('.') {
            Some((stage, key)) => {
                let stage = stage.trim();
                let quoted = |quote| stage.strip_prefix(quote)?.strip_suffix(quote);
                let bare = quoted('\'').or_else(|| quoted('"')).unwrap_or(stage);
                (Some(bare.to_owned()), key)
            }
            None => (None, target),
        };
        let path =
            keys(key).ok_or_else(|| malformed(&format!("`{target}` does not name a key")))?;
        Ok(Set {
            stage,
            path,
            value: value
                .parse()
                .unwrap_or_else(|_| Value::String(value.to_owned())),
            argument: masked_set(text),
        })
    }

    /// What it is about, as errors name it.
    fn target(&self) -> String {
        let stage = self.stage.as_deref();
        let words: Vec<&str> = stage
            .into_iter()
            .chain(self.path.iter().map(String::as_str))
            .collect();
        format!("--set {}", words.join("."))
    }

    fn apply_top(&self, top: &mut Section) -> Result<()> {
        let key = &self.path[0];
        if !TOP_KEYS.contains(&key.as_str()) {
            let error = Error::usage(format!(
                "`{}`: no key `{key}` outside the stages; there are {}",
                self.target(),
                list(TOP_KEYS)
            ));
            let error = error.suggest(key, TOP_KEYS.iter().copied());
            return Err(match error.hint {
                Some(_) => error,
                None => error.hint("a stage's key is written `STAGE.KEY`"),
            });
        }
        self.write(top)
    }

    /// Sets a key of a table outside the stages.
    fn apply_table(&self, table: &str, top: &mut Section) -> Result<()> {
        let path = std::iter::once(table.to_owned()).chain(self.path.iter().cloned());
        let set = Set {
            stage: None,
            path: path.collect(),
            value: self.value.clone(),
            argument: self.argument.clone(),
        };
        set.write(top)
    }

    fn apply_one(&self, stage: &str, drafts: &mut [Draft]) -> Result<()> {
        let Some(at) = drafts.iter().position(|draft| draft.is_named(stage)) else {
            let names: Vec<&str> = drafts
                .iter()
                .filter_map(|draft| draft.name.as_deref())
                .collect();
            let error = Error::usage(format!(
                "`{}`: no stage `{stage}`; there are {}",
                self.target(),
                list(&names)
            ));
            return Err(error.suggest(stage, names));
        };
        let draft = &mut drafts[at];
        let key = &self.path[0];
        if FIXED.contains(&key.as_str()) {
            return Err(self.fixed());
        }
        if !draft.takes(key) {
            let mut error = draft.unknown_key(key);
            error.message = format!("`{}`: {}", self.target(), error.message);
            return Err(error);
        }
        self.write_stage(draft)
    }

    fn apply_all(&self, drafts: &mut [Draft]) -> Result<()> {
        let key = &self.path[0];
        if FIXED.contains(&key.as_str()) {
            return Err(self.fixed());
        }
        let mut taken = false;
        for draft in drafts.iter_mut().filter(|draft| draft.takes(key)) {
            self.write_stage(draft)?;
            taken = true;
        }
        if taken {
            return Ok(());
        }
        let error = Error::usage(format!("`{}`: no stage takes `{key}`", self.target()));
        let known: Vec<&str> = drafts.iter().flat_map(Draft::keys).collect();
        Err(error.suggest(key, known))
    }

    fn fixed(&self) -> Error {
        Error::usage(format!(
            "`{}`: {} of a stage cannot be set",
            self.target(),
            list(&FIXED)
        ))
        .hint("change the pipeline file")
    }

    /// An `executor` of the command line takes the place of all that the file says of the grid, and of
    /// any `parallel` before it, which says the same in another word.
    fn write_stage(&self, draft: &mut Draft) -> Result<()> {
        let section = &mut draft.section;
        if self.path == ["executor"] {
            let of_file = ["workers", "processes", "threads"];
            let of_file = of_file.into_iter().filter(|key| !section.is_set(key));
            for key in of_file.chain(["parallel"]).collect::<Vec<_>>() {
                section.table.remove(key);
                section.forget(&[key.to_owned()]);
            }
        }
        self.write(section)
    }

    fn write(&self, section: &mut Section) -> Result<()> {
        let (last, way) = self.path.split_last().expect("a path has at least one key");
        let mut table = &mut section.table;
        for key in way {
            let next = table
                .entry(key.as_str())
                .or_insert_with(|| Value::Table(Table::new()));
            table = next.as_table_mut().ok_or_else(|| {
                Error::usage(format!("`{}`: `{key}` is not a table", self.target()))
            })?;
        }
        table.insert(last.clone(), self.value.clone());
        section.set(&self.path, self.argument.clone());
        Ok(())
    }
}

/// The parts of a dotted TOML key.
fn keys(dotted: &str) -> Option<Vec<String>> {
    if dotted.contains('\n') {
        return None;
    }
    let mut table: Table = format!("{dotted} = 0").parse().ok()?;
    let mut path = Vec::new();
    while let Some((key, value)) = table.into_iter().next() {
        path.push(key);
        match value {
            Value::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
    None
}
