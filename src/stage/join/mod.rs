//! `join`: left rows with what the right side has for their key. The right side is indexed once a
//! session; its columns stay shared (see [`crate::batch`]).

mod expanding;

use std::sync::Arc;

use hashbrown::HashTable;
use serde::Deserialize;

use self::expanding::Expanding;
use super::group_concat::Names;
use super::{
    Figures, Folder, Output, Partitioning, Properties, Session, Setup, Stage, StageKind,
    TaskContext, Totals, options,
};
use crate::batch::{Batch, Cells, Lookup, new_set};
use crate::columns::{Column, NONE, row_number};
use crate::error::{Error, OfValue, Result, both};
use crate::format::json;
use crate::keys::{self, Keys, NullKeys};
use crate::schema::{Field, Schema};
use crate::shown::{rows, thousands};
use crate::stop::Stop;

/// The kind.
pub static KIND: StageKind = StageKind {
    name: "join",
    summary: "joins to left rows what the right side has for their key",
    inputs: &[2],
    sink: false,
    takes_batch_rows: true,
    options: crate::stage::stage_options!(Options),
    example: r#"[[stage]]
name = "documents"
kind = "join"
inputs = ["donations", "projects"]
on = "projectid"
duplicates = "fail"
"#,
    decode: |table| Ok(Box::new(Join::decode(table)?)),
    lines: matches,
    ..StageKind::BASE
};

/// How many left rows found a right one.
fn matches(figures: &Figures) -> Vec<String> {
    let count = |name: &str| figures.counts.get(name).copied();
    let (Some(matched), Some(unmatched)) = (count(MATCHED), count(UNMATCHED)) else {
        return Vec::new();
    };
    let all = matched + unmatched;
    let share = if all == 0 {
        0.0
    } else {
        matched as f64 * 100.0 / all as f64
    };
    // Rounded down, so that 100 % means all.
    let share = (share * 10.0).floor() / 10.0;
    let added = match figures.added {
        0 => String::new(),
        added => format!(", {} added by further matches", rows(added)),
    };
    vec![format!(
        "{} of {} matched ({share:.1} %){added}",
        thousands(matched),
        rows(all)
    )]
}

/// The count of left rows that found a right one, and of those that did not.
const MATCHED: &str = "matched";
const UNMATCHED: &str = "unmatched";

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// the key, where both sides name it alike
    #[schemars(extend("x-type" = "column or list of columns"))]
    on: Option<Names>,
    /// the left side's key, with `right_on`
    #[schemars(extend("x-type" = "column or list of columns"))]
    left_on: Option<Names>,
    /// the right side's key; null keys match nothing
    #[schemars(extend("x-type" = "column or list of columns"))]
    right_on: Option<Names>,
    /// which left rows go on, and whether right columns join them
    #[serde(default)]
    #[schemars(extend("x-instead" = INSTEAD_OF_HOW))]
    how: How,
    /// added to right columns whose name the left side has too
    suffix: Option<String>,
    /// what a key twice on the right side is
    #[serde(default)]
    duplicates: Duplicates,
    /// the run fails if a smaller share of left rows matches
    #[schemars(range(min = 0, max = 1), extend("x-type" = "number from 0 to 1"))]
    #[serde(default)]
    min_match: f64,
}

/// Joins of other tools that there are none of here.
const INSTEAD_OF_HOW: [(&str, &str); 2] = [
    (
        "outer full full_outer",
        "no join keeps the rows of both sides: `left` keeps all left rows, `inner` those that match",
    ),
    (
        "right right_outer",
        "swap the two `inputs`, and write `left`",
    ),
];

#[derive(
    Deserialize, Default, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum How {
    #[default]
    Left,
    Inner,
    Semi,
    Anti,
}

#[derive(
    Deserialize, Default, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum Duplicates {
    #[default]
    Expand,
    Fail,
}

struct Join {
    left_on: Vec<String>,
    right_on: Vec<String>,
    /// The options that name the two.
    key_options: [&'static str; 2],
    how: How,
    suffix: Option<String>,
    duplicates: Duplicates,
    min_match: f64,
}

impl Join {
    fn decode(table: toml::Table) -> Result<Self> {
        let given: Options = options(table)?;
        if !(0.0..=1.0).contains(&given.min_match) {
            let share = given.min_match;
            let error = Error::usage(format!("`min_match` is a share from 0 to 1, found {share}"))
                .of(["min_match"]);
            return Err(if (1.0..=100.0).contains(&share) {
                error.hint(format!("did you mean `{}`?", share / 100.0))
            } else {
                error
            });
        }
        let given_key = match (&given.on, &given.left_on) {
            (Some(_), _) => "on",
            (_, Some(_)) => "left_on",
            _ => "right_on",
        };
        let (left_on, right_on, key_options) = match (given.on, given.left_on, given.right_on) {
            (Some(on), None, None) => (on.list(), on.list(), ["on"; 2]),
            (None, Some(left), Some(right)) => (left.list(), right.list(), ["left_on", "right_on"]),
            _ => {
                let error = Error::usage("give `on`, or `left_on` and `right_on`");
                return Err(error
                    .of([given_key])
                    .of(["on"])
                    .of(["left_on"])
                    .of(["right_on"]));
            }
        };
        let (left, right) = (left_on.len(), right_on.len());
        if left != right {
            return Err(Error::usage(format!(
                "`left_on` names {left} columns, and `right_on` {right}"
            ))
            .of(["left_on"])
            .of(["right_on"]));
        }
        if left == 0 {
            return Err(Error::usage("`on` names no column")
                .of(["on"])
                .of(["left_on"]));
        }
        Ok(Join {
            left_on,
            right_on,
            key_options,
            how: given.how,
            suffix: given.suffix,
            duplicates: given.duplicates,
            min_match: given.min_match,
        })
    }

    /// The right columns that join the left ones, by position.
    fn right_columns(&self, right: &Schema) -> Result<Vec<usize>> {
        if matches!(self.how, How::Semi | How::Anti) {
            return Ok(Vec::new());
        }
        let keys = right.indices(&self.right_on)?;
        Ok((0..right.fields.len())
            .filter(|column| !keys.contains(column))
            .collect())
    }
}

impl Stage for Join {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any, Partitioning::Broadcast]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        let side = |name: &str| {
            let name = name.to_owned();
            move |error: Error| {
                error.each(&|error: Error| Error {
                    message: format!("{name} input: {}", error.message),
                    ..error
                })
            }
        };
        let (left, right) = (&inputs[0], &inputs[1]);
        let [of_left, of_right] = self.key_options;
        let left_keys = left.indices(&self.left_on).under(of_left);
        let right_keys = right.indices(&self.right_on).under(of_right);
        let left_keys = left_keys.map_err(side("left"));
        let right_keys = right_keys.map_err(side("right"));
        let (left_keys, right_keys) = both(left_keys, right_keys)?;
        keys::check(left, &left_keys).under(of_left)?;
        keys::check(right, &right_keys).under(of_right)?;
        for (&l, &r) in left_keys.iter().zip(&right_keys) {
            let (l, r) = (&left.fields[l], &right.fields[r]);
            if l.ty != r.ty {
                return Err(Error::usage(format!(
                    "key `{}` is {} on the left and `{}` is {} on the right",
                    l.name,
                    l.ty.name(),
                    r.name,
                    r.ty.name()
                ))
                .hint("load both with the same type")
                .of([of_left, &l.name]));
            }
        }
        let mut fields = left.fields.clone();
        for column in self.right_columns(right)? {
            let field = &right.fields[column];
            let mut name = field.name.clone();
            if left.names().any(|left| left == name) {
                let Some(suffix) = &self.suffix else {
                    return Err(Error::usage(format!("both inputs have a column `{name}`"))
                        .hint("give `suffix`, or rename or drop it in a `select` before")
                        .of(["suffix"]));
                };
                name.push_str(suffix);
            }
            fields.push(Field {
                name,
                ..field.clone()
            });
        }
        Schema::new(fields).under("suffix")
    }

    fn properties(&self) -> Properties {
        Properties {
            needs_equal: Some((self.left_on.clone(), self.right_on.clone())),
            ..Properties::default()
        }
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        let right_schema = &setup.inputs[1];
        let right = setup
            .broadcast
            .into_iter()
            .nth(1)
            .flatten()
            .expect("the second input is broadcast");
        let keys = Keys::new(
            &right,
            &right_schema.indices(&self.right_on)?,
            NullKeys::MatchNothing,
        );
        let index = Index::new(keys, &Stop::of_signals())?;
        if let (Duplicates::Fail, Some(row)) = (self.duplicates, index.duplicate) {
            let named: Vec<String> = self
                .right_on
                .iter()
                .map(|name| {
                    let column = right_schema.index(name)?;
                    let mut value = Vec::new();
                    json::write_plain(
                        &right.column(column),
                        &right_schema.fields[column].ty,
                        row as usize,
                        &mut value,
                    );
                    Ok(format!("`{name}` = `{}`", String::from_utf8_lossy(&value)))
                })
                .collect::<Result<_>>()?;
            return Err(
                Error::failed(format!("the right input has {} twice", named.join(", ")))
                    .origin(right.origin(row as usize))
                    .hint("`duplicates = \"expand\"` gives a row for each"),
            );
        }
        let columns: Vec<Column> = self
            .right_columns(right_schema)?
            .into_iter()
            .map(|column| right.column(column))
            .collect();
        // Without a key twice no batch grows.
        let weighed = columns.iter().filter(|_| index.duplicate.is_some());
        let bytes: usize = weighed.map(Column::size).sum();
        Ok(Box::new(Joining(Arc::new(Right {
            left_on: setup.inputs[0].indices(&self.left_on)?,
            how: self.how,
            index,
            columns,
            set: new_set(),
            row_bytes: bytes / right.rows().max(1),
        }))))
    }

    fn finish(&self, totals: &mut Totals) -> Result<()> {
        let [left, right] = totals.rows_in[..] else {
            return Ok(());
        };
        totals.counts.insert("right_rows".into(), right);
        let matched = totals.counts.get(MATCHED).copied().unwrap_or_default();
        let share = if left == 0 {
            1.0
        } else {
            matched as f64 / left as f64
        };
        if share < self.min_match {
            return Err(Error::failed(format!(
                "only {matched} of {left} left rows matched ({:.1} %), and `min_match` = {}",
                share * 100.0,
                self.min_match
            ))
            .hint("compare the keys of both inputs: quotes, blanks, case, leading zeros"));
        }
        if matched == 0 && left > 0 {
            totals.warnings.push(format!(
                "matched nothing: none of {left} left rows has its key among {right} right rows; \
                 compare the keys of both inputs: quotes, blanks, case, leading zeros"
            ));
        }
        Ok(())
    }
}

/// After so many right rows it is checked whether the run is to stop.
const STOP_EVERY: u32 = 1 << 16;

/// Right rows by key.
struct Index {
    keys: Keys,
    /// The first right row of each key.
    table: HashTable<u32>,
    /// For each right row the next one with its key; empty where no key stands twice.
    next: Vec<u32>,
    /// A row whose key stood before.
    duplicate: Option<u32>,
}

impl Index {
    /// An error if the run is to stop before all is indexed.
    fn new(keys: Keys, stop: &Stop) -> Result<Self> {
        let mut table = HashTable::with_capacity(keys.len());
        let mut hashes = vec![0u64; keys.len()];
        // Rows from the last to the first: each takes the chain of its key over.
        let mut next = Vec::new();
        let mut duplicate = None;
        for row in (0..row_number(keys.len())).rev() {
            if row % STOP_EVERY == 0 {
                stop.check()?;
            }
            let key = keys.get(row as usize);
            if key.is_none() {
                continue;
            }
            let hash = keys::hash(key);
            hashes[row as usize] = hash;
            let same =
                |other: &u32| hashes[*other as usize] == hash && keys.get(*other as usize) == key;
            if let Some(other) = table.find_mut(hash, same) {
                if next.is_empty() {
                    next = vec![NONE; keys.len()];
                }
                next[row as usize] = *other;
                duplicate = Some(*other);
                *other = row;
            } else {
                table.insert_unique(hash, row, |row| hashes[*row as usize]);
            }
        }
        Ok(Index {
            keys,
            table,
            next,
            duplicate,
        })
    }

    fn first(&self, key: Option<&[u8]>) -> u32 {
        if key.is_none() {
            return NONE;
        }
        let same = |row: &u32| self.keys.get(*row as usize) == key;
        self.table
            .find(keys::hash(key), same)
            .copied()
            .unwrap_or(NONE)
    }

    fn after(&self, row: u32) -> u32 {
        self.next.get(row as usize).copied().unwrap_or(NONE)
    }
}

struct Joining(Arc<Right>);

/// What the sessions of a process have of the right side.
struct Right {
    left_on: Vec<usize>,
    how: How,
    index: Index,
    columns: Vec<Column>,
    set: u64,
    /// Bytes of a row of the columns, on average.
    row_bytes: usize,
}

impl Session for Joining {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let right = &self.0;
        let left_keys = Keys::new(&batch, &right.left_on, NullKeys::MatchNothing);
        let rows = batch.rows();
        let first: Vec<u32> = (0..rows)
            .map(|row| right.index.first(left_keys.get(row)))
            .collect();
        let matched = first.iter().filter(|&&row| row != NONE).count();
        let one_each = right.index.next.is_empty() && (right.how == How::Left || matched == rows);
        let mut output = match right.how {
            How::Semi | How::Anti => {
                let kept: Vec<u32> = (0..row_number(rows))
                    .filter(|&row| (first[row as usize] != NONE) == (right.how == How::Semi))
                    .collect();
                let kept_rows = kept.len();
                let mut output = Output::new(if kept_rows == rows {
                    batch
                } else {
                    batch.take(&kept)
                });
                output.dropped = (rows - kept_rows) as u64;
                output
            }
            How::Left | How::Inner if one_each => {
                Output::new(right.beside(&batch.resolve(), first))
            }
            // A batch has one set of shared rows: those of the last join, where most columns come from.
            How::Left | How::Inner => {
                return Ok(Expanding::new(right.clone(), batch.resolve(), first).part());
            }
        };
        count(&mut output, matched, rows - matched);
        Ok(output)
    }
}

fn count(output: &mut Output, matched: usize, unmatched: usize) {
    let counts = [(MATCHED, matched), (UNMATCHED, unmatched)];
    output
        .counts
        .extend(counts.map(|(name, rows)| (name.to_owned(), rows as u64)));
}

impl Right {
    /// Left rows, and the right row of each beside it.
    fn beside(&self, left: &Batch, right_rows: Vec<u32>) -> Batch {
        let rows = left.rows();
        let mut cells: Vec<Cells> = left.cells().to_vec();
        cells.extend(
            self.columns
                .iter()
                .map(|column| Cells::Shared(column.clone())),
        );
        let lookup = (!self.columns.is_empty()).then(|| Lookup {
            set: self.set,
            rows: right_rows.into(),
        });
        let origins = left.origins().cloned();
        Batch::with_lookup(cells, lookup, rows).with_origins(origins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Counts;

    #[test]
    fn a_share_of_matches_is_rounded_down() {
        let counts = Counts::from([(MATCHED.to_owned(), 1_999), (UNMATCHED.to_owned(), 1)]);
        let figures = Figures {
            added: 2,
            ..Figures::of(&counts)
        };
        let says = "1,999 of 2,000 rows matched (99.9 %), 2 rows added by further matches";
        assert_eq!(matches(&figures), [says]);
        assert!(matches(&Figures::of(&Counts::new())).is_empty());
    }
}
