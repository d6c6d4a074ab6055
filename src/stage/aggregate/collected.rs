//! Aggregates that hold all values of their groups until the input has ended: `count(distinct)`, `median` and
//! `quantile`, `string_agg`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::accumulator::{Accumulator, GroupFault, Groups, each_valid};
use super::exact::Exact;
use crate::columns::{Column, List, TextBuilder, row_number};
use crate::expression::Share;
use crate::keys::{self, KeyIds};
use crate::schema::Type;

/// Rows sorted by group, in their order within each: the rows, and where each group begins among them, and the end.
fn by_group(of: &[u32], groups: usize) -> (Vec<u32>, Vec<usize>) {
    let mut offsets = vec![0usize; groups + 1];
    for &group in of {
        offsets[group as usize + 1] += 1;
    }
    for group in 0..groups {
        offsets[group + 1] += offsets[group];
    }
    let mut next = offsets.clone();
    let mut rows = vec![0u32; of.len()];
    for (row, &group) in (0..).zip(of) {
        rows[next[group as usize]] = row;
        next[group as usize] += 1;
    }
    (rows, offsets)
}

/// The values at `rows`, whose groups are `of`, as a list a group.
fn lists(values: &Column, rows: &[u32], of: &[u32], groups: usize) -> Column {
    let (order, offsets) = by_group(of, groups);
    let picked: Vec<u32> = order.iter().map(|&at| rows[at as usize]).collect();
    let offsets = offsets.into_iter().map(|at| i64::from(row_number(at)));
    Column::Lists(List {
        offsets: offsets.collect::<Vec<_>>().into(),
        values: Arc::new(values.take(&picked)),
        validity: None,
    })
}

/// All values of a column of lists, and the group of each.
fn flat(column: &Column, groups: &Groups) -> (Column, Vec<u32>) {
    let Column::Lists(list) = column else {
        unreachable!("the state is a column of lists");
    };
    let mut of = Vec::new();
    for (row, &group) in groups.of.iter().enumerate() {
        of.resize(of.len() + list.range(row).len(), group);
    }
    let first = list.range(0).start;
    (list.values.slice(first, of.len()), of)
}

/// `count(distinct x)`
#[derive(Default)]
pub(super) struct Distinct {
    /// The values met, each with its group before it.
    ids: KeyIds,
    counts: Vec<i64>,
    /// In a session: the column, the rows whose value was met for the first time, and their groups.
    values: Option<Column>,
    rows: Vec<u32>,
    of: Vec<u32>,
}

impl Distinct {
    fn meet(&mut self, values: &Column, of: &[u32], keep: bool) {
        let mut key = Vec::new();
        each_valid(values, |row| {
            let group = of[row];
            key.clear();
            key.extend_from_slice(&group.to_be_bytes());
            keys::encode(values, row, &mut key);
            if self.ids.meet(Some(&key)).1 {
                self.counts[group as usize] += 1;
                if keep {
                    self.rows.push(row_number(row));
                    self.of.push(group);
                }
            }
        });
    }
}

impl Accumulator for Distinct {
    fn update(&mut self, values: &Column, groups: &Groups) {
        self.counts.resize(groups.count, 0);
        self.meet(values, groups.of, true);
        self.values = Some(values.clone());
    }

    fn state(self: Box<Self>) -> Vec<Column> {
        let values = self.values.expect("a session updates it once");
        vec![lists(&values, &self.rows, &self.of, self.counts.len())]
    }

    fn merge(&mut self, state: &[Column], groups: &Groups) {
        self.counts.resize(groups.count, 0);
        if groups.of.is_empty() {
            return;
        }
        let (values, of) = flat(&state[0], groups);
        self.meet(&values, &of, false);
    }

    fn evaluate(mut self: Box<Self>, groups: usize) -> (Column, Vec<GroupFault>) {
        self.counts.resize(groups, 0);
        (Column::from_ints(self.counts, None), Vec::new())
    }
}

/// `median` and `quantile`
pub(super) struct Quantile {
    share: Share,
    values: Values,
    /// The group of each.
    of: Vec<u32>,
    groups: usize,
    /// In a session, the column.
    column: Option<Column>,
}

enum Values {
    Ints(Vec<i64>),
    Floats(Vec<f64>),
}

impl Quantile {
    pub(super) fn new(share: Share, ty: &Type) -> Self {
        Quantile {
            share,
            values: match ty {
                Type::Float => Values::Floats(Vec::new()),
                _ => Values::Ints(Vec::new()),
            },
            of: Vec::new(),
            groups: 0,
            column: None,
        }
    }

    /// The value at the share between the least and the greatest of some, which are not none: between two neighbours it
    /// is the exact value on the line between them, rounded once.
    fn at<T: Copy>(
        &self,
        values: &mut [T],
        compare: impl Fn(&T, &T) -> Ordering,
        float: impl Fn(T) -> f64,
        exact: impl Fn(T) -> Exact,
    ) -> f64 {
        let Share { parts, of } = self.share;
        let steps = u128::from(parts) * (values.len() as u128 - 1);
        let place = usize::try_from(steps / u128::from(of)).expect("it is below their number");
        let rest = u64::try_from(steps % u128::from(of)).expect("it is below `of`");
        let (_, &mut below, above) = values.select_nth_unstable_by(place, &compare);
        if rest == 0 {
            return float(below);
        }
        let above = above.iter().copied().min_by(compare);
        let above = above.expect("the place is before the last one");
        let (below, above) = (exact(below), exact(above));
        below.times(of - rest).plus(&above.times(rest)).over(&[of])
    }
}

impl Accumulator for Quantile {
    fn update(&mut self, values: &Column, groups: &Groups) {
        self.groups = groups.count;
        self.of = groups.of.to_vec();
        self.column = Some(values.clone());
    }

    fn state(self: Box<Self>) -> Vec<Column> {
        let values = self.column.expect("a session updates it once");
        let mut rows = Vec::with_capacity(values.len());
        each_valid(&values, |row| rows.push(row_number(row)));
        let of: Vec<u32> = rows.iter().map(|&row| self.of[row as usize]).collect();
        vec![lists(&values, &rows, &of, self.groups)]
    }

    fn merge(&mut self, state: &[Column], groups: &Groups) {
        if groups.of.is_empty() {
            return;
        }
        let (values, of) = flat(&state[0], groups);
        self.of.extend(of);
        match &mut self.values {
            Values::Ints(ints) => ints.extend_from_slice(values.ints().values()),
            Values::Floats(floats) => floats.extend_from_slice(values.floats().values()),
        }
    }

    fn evaluate(self: Box<Self>, groups: usize) -> (Column, Vec<GroupFault>) {
        let (rows, offsets) = by_group(&self.of, groups);
        let ranges = offsets.windows(2).map(|pair| pair[0]..pair[1]);
        let valid = ranges.clone().map(|range| !range.is_empty()).collect();
        let sorted = |range: std::ops::Range<usize>| rows[range].iter().map(|&row| row as usize);
        let quantile = |range: std::ops::Range<usize>| match &self.values {
            _ if range.is_empty() => 0.0,
            Values::Ints(ints) => {
                let mut some: Vec<i64> = sorted(range).map(|row| ints[row]).collect();
                let exact = |value: i64| Exact::from_int(value.into());
                self.at(&mut some, i64::cmp, |value| value as f64, exact)
            }
            Values::Floats(floats) => {
                // Adding zero makes one of both zeros, which are equal.
                let mut some: Vec<f64> = sorted(range).map(|row| floats[row] + 0.0).collect();
                self.at(&mut some, f64::total_cmp, |value| value, Exact::from_float)
            }
        };
        let values: Vec<f64> = ranges.map(quantile).collect();
        (Column::from_floats(values, Some(valid)), Vec::new())
    }
}

/// `string_agg`
pub(super) struct Texts {
    separator: String,
    text: String,
    /// Where each value ends.
    ends: Vec<usize>,
    /// The group of each.
    of: Vec<u32>,
    groups: usize,
}

impl Texts {
    pub(super) fn new(separator: String) -> Self {
        Texts {
            separator,
            text: String::new(),
            ends: Vec::new(),
            of: Vec::new(),
            groups: 0,
        }
    }

    /// The values of each group joined, null where there is none; and the groups whose text no column can hold.
    fn joined(&self, groups: usize) -> (Column, Vec<GroupFault>) {
        let (order, offsets) = by_group(&self.of, groups);
        let mut builder = TextBuilder::new();
        let mut joined = String::new();
        let mut faults = Vec::new();
        for (group, pair) in offsets.windows(2).enumerate() {
            joined.clear();
            for (at, &value) in order[pair[0]..pair[1]].iter().enumerate() {
                if at > 0 {
                    joined.push_str(&self.separator);
                }
                let value = value as usize;
                let from = if value == 0 { 0 } else { self.ends[value - 1] };
                joined.push_str(&self.text[from..self.ends[value]]);
            }
            let fits = u32::try_from(joined.len()).is_ok();
            if !fits {
                faults.push(GroupFault {
                    group,
                    reason: "the text is longer than 4 GiB",
                    value: None,
                });
            }
            builder.push((pair[0] < pair[1] && fits).then_some(&joined));
        }
        (builder.finish(), faults)
    }
}

impl Accumulator for Texts {
    fn update(&mut self, values: &Column, groups: &Groups) {
        self.groups = groups.count;
        let texts = values.strings();
        each_valid(values, |row| {
            self.text.push_str(texts.value(row));
            self.ends.push(self.text.len());
            self.of.push(groups.of[row]);
        });
    }

    fn state(self: Box<Self>) -> Vec<Column> {
        vec![self.joined(self.groups).0]
    }

    fn merge(&mut self, state: &[Column], groups: &Groups) {
        self.update(&state[0], groups);
    }

    fn evaluate(self: Box<Self>, groups: usize) -> (Column, Vec<GroupFault>) {
        self.joined(groups)
    }
}
