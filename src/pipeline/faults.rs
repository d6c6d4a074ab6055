//! All that is wrong with the options of a stage. A kind says only what it finds first: what that blames is taken out,
//! and the kind looks at what is left, until nothing is wrong or nothing more can be taken out.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::source::{Section, blamed, blamed_first, words};
use crate::error::Error;
use crate::secrets;
use crate::stage::{Stage, StageKind};

/// The search for them in one stage.
pub(super) struct Faults<'a> {
    kind: &'static StageKind,
    section: &'a Section,
    options: &'a Table,
    /// A key of the stage is unknown: one that is missing may be that, misspelt.
    has_unknown: bool,
    /// The options without what was found wrong.
    left: Table,
    /// Names of what was taken out: an error that names one of them may be a consequence.
    taken: BTreeSet<String>,
    /// Each with its place.
    pub(super) found: Vec<Error>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(
        kind: &'static StageKind,
        section: &'a Section,
        options: &'a Table,
        has_unknown: bool,
    ) -> Self {
        Faults {
            kind,
            section,
            options,
            has_unknown,
            left: options.clone(),
            taken: BTreeSet::new(),
            found: Vec::new(),
        }
    }

    /// A variable's value is not known.
    pub(super) fn unset(&mut self, path: &[String], error: Error) {
        self.found.push(self.section.locate_path(path, error));
        self.take_out(path);
    }

    /// The stage, if nothing is wrong with it.
    pub(super) fn find(&mut self) -> Option<Box<dyn Stage>> {
        let decode = self.kind.decode;
        loop {
            let errors = match decode(self.left.clone()) {
                Ok(stage) => return self.taken.is_empty().then_some(stage),
                Err(error) => error.split(),
            };
            let progress = errors.map(|error| self.note(error)).filter(|taken| *taken);
            if progress.count() == 0 {
                return None;
            }
        }
    }

    /// Whether something was taken out for this error.
    fn note(&mut self, error: Error) -> bool {
        let is_taken = |word: &str| {
            let key = word.split([' ', '.']).next();
            [Some(word), key]
                .iter()
                .flatten()
                .any(|name| self.taken.contains(*name))
        };
        let is_known = self
            .found
            .iter()
            .any(|known| known.message == error.message);
        if is_known || words(&error.message).any(is_taken) {
            return false;
        }
        let missing = error.message.strip_prefix("missing key `");
        let missing = missing.and_then(|rest| Some(vec![rest.split_once('`')?.0.to_owned()]));
        let path = missing.unwrap_or_else(|| blamed(&self.left, &error));
        if !self.has_unknown || !blamed_first(&self.left, &error).is_empty() {
            let located = self.section.locate_path(&path, error);
            self.found.push(secrets::scrub(located, self.options));
        }
        self.take_out(&path)
    }

    /// Takes a value out; a key that the stage must have gets the value of its kind's example.
    fn take_out(&mut self, path: &[String]) -> bool {
        let Some(key) = path.first() else {
            return false;
        };
        if path.len() > 1 {
            self.taken.extend(path.last().cloned());
            if remove(&mut self.left, path) {
                return true;
            }
        }
        if !self.taken.insert(key.clone()) {
            return false;
        }
        let was_there = self.left.remove(key).is_some();
        let Some(value) = self.kind.stand_in(key) else {
            return was_there;
        };
        self.left.insert(key.clone(), value);
        true
    }
}

/// Takes a member of a table or an item of a list out, if it is not the last.
fn remove(table: &mut Table, path: &[String]) -> bool {
    let [key, rest @ ..] = path else {
        return false;
    };
    match table.get_mut(key) {
        Some(Value::Table(members)) if rest.len() == 1 => {
            members.len() > 1 && members.remove(&rest[0]).is_some()
        }
        Some(Value::Table(members)) => remove(members, rest),
        Some(Value::Array(items)) => {
            let all = items.len();
            items.retain(|item| item.as_str() != rest.first().map(String::as_str));
            !items.is_empty() && items.len() < all
        }
        _ => false,
    }
}
