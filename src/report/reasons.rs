//! Why rows were rejected, in words for the table: each reason once, with how many rows it had and the first of
//! them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::Reason;
use crate::error::Place;
use crate::shown;

/// Further reasons are counted together: what a command or a server says may differ in every row.
const REASONS_MAX: usize = 1000;

/// A value of more characters is cut.
const VALUE_CHARS: usize = 40;

/// What is shown of a reject.
#[derive(Deserialize)]
pub(crate) struct Head {
    pub(crate) stage: String,
    pub(crate) reason: String,
    pub(crate) column: Option<String>,
    #[serde(default)]
    pub(crate) value: Value,
    pub(crate) source: Option<Place>,
}

impl Head {
    /// What rejects of one reason have in common: without what is quoted, and without numbers.
    fn kind(&self) -> String {
        let mut kind = format!("{}\n{}\n", self.stage, self.column.as_deref().unwrap_or(""));
        for words in self.reason.split('`').step_by(2) {
            let words = words.replace(|char: char| char.is_ascii_digit(), "");
            kind.push_str(&words);
            kind.push('`');
        }
        kind
    }

    fn in_words(&self) -> String {
        let mut text = format!("{}: ", self.stage);
        if let Some(column) = &self.column {
            text.push_str(&format!("column `{column}`: "));
        }
        text.push_str(&self.reason);
        let value = match &self.value {
            Value::Null => None,
            Value::String(value) => Some(value.clone()),
            value => Some(value.to_string()),
        };
        // A reason may show the value already, with what a line cannot hold as escapes.
        let is_shown = |value: &String| {
            self.reason.contains(value) || self.reason.contains(&*shown::line(value))
        };
        if let Some(value) = value.filter(|value| !is_shown(value)) {
            let cut: String = value.chars().take(VALUE_CHARS).collect();
            let more = if cut.len() < value.len() { "…" } else { "" };
            text.push_str(&format!(", found `{cut}{more}`"));
        }
        match &self.source {
            Some(place) => format!("{text} at {place}"),
            None => text,
        }
    }
}

/// The reasons so far, in order of appearance.
#[derive(Default)]
pub(crate) struct Reasons {
    list: Vec<Reason>,
    /// Where those of a kind are in the list.
    kinds: HashMap<String, usize>,
}

impl Reasons {
    /// One more row.
    pub(crate) fn add(&mut self, head: &Head) {
        let kind = head.kind();
        if let Some(&at) = self.kinds.get(&kind) {
            self.list[at].rows += 1;
        } else if self.list.len() < REASONS_MAX {
            self.kinds.insert(kind, self.list.len());
            let first = head.in_words();
            self.list.push(Reason { rows: 1, first });
        }
    }

    /// Each with its rows.
    pub(crate) fn list(self) -> Vec<Reason> {
        self.list
    }
}

/// The reasons in a run's file of rejects; none where it is gone.
pub(crate) fn of_file(path: &Path) -> Vec<Reason> {
    let lines = File::open(path).into_iter();
    let lines = lines.flat_map(|file| BufReader::new(file).lines());
    let heads = lines.map_while(|line| serde_json::from_str::<Head>(&line.ok()?).ok());
    let mut reasons = Reasons::default();
    heads.for_each(|head| reasons.add(&head));
    reasons.list()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_with_its_rows_and_its_first_value() {
        let mut reasons = Reasons::default();
        let mut add = |reason: &str, value: &str| {
            reasons.add(&Head {
                stage: "load".into(),
                reason: reason.into(),
                column: Some("n".into()),
                value: value.into(),
                source: None,
            });
        };
        add("expected int, found `x`", "x");
        add("text after the closing quote in line 3", "a\"b");
        add("expected int, found `y`", "y");
        add("text after the closing quote in line 17", "c\"d");
        add("expected bool, found `y`", "y");
        add("expected JSON, found `{\"z\":\\t1`", "{\"z\":\t1");
        let lines: Vec<String> = reasons.list().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "2 rows, first: load: column `n`: expected int, found `x`",
                "2 rows, first: load: column `n`: text after the closing quote in line 3, found `a\"b`",
                "1 row: load: column `n`: expected bool, found `y`",
                "1 row: load: column `n`: expected JSON, found `{\"z\":\\t1`",
            ]
        );
    }
}
