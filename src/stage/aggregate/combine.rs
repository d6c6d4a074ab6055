//! The second step, in the parent: the states of all batches, merged by key and evaluated, in key order.

use super::super::{Combiner, Counts, NULLED, OnError, Output, Reject, Rest, cut_value};
use super::Plan;
use super::accumulator::{Accumulator, GroupFault, Groups, accumulator};
use super::picked::{Pick, Picked};
use crate::batch::{Batch, ROWS_MAX};
use crate::columns::{Column, row_number};
use crate::error::{Error, Result};
use crate::format::json;
use crate::keys::{self, KeyIds, Keys, NullKeys};
use crate::schema::Schema;

pub(super) struct Combining {
    by: usize,
    /// Of the aggregates' columns.
    names: Vec<String>,
    output: Schema,
    on_error: OnError,
    ids: KeyIds,
    /// The columns of the key: the first value of each group.
    keys: Vec<Picked>,
    aggregates: Vec<Box<dyn Accumulator>>,
    groups: usize,
    /// Rows taken in.
    rows: u64,
}

impl Combining {
    pub(super) fn new(plan: &Plan, names: Vec<String>, on_error: OnError) -> Self {
        let keys = plan.output.fields[..plan.by.len()].iter();
        Combining {
            by: plan.by.len(),
            names,
            output: plan.output.clone(),
            on_error,
            ids: KeyIds::default(),
            keys: keys
                .map(|field| Picked::new(field.ty.clone(), Pick::First))
                .collect(),
            aggregates: plan.aggregates.iter().map(accumulator).collect(),
            groups: 0,
            rows: 0,
        }
    }

    /// The group of each row.
    fn groups(&mut self, batch: &Batch) -> Vec<u32> {
        if self.by == 0 {
            self.groups = self.groups.max(batch.rows().min(1));
            return vec![0; batch.rows()];
        }
        let positions: Vec<usize> = (0..self.by).collect();
        let keys = Keys::new(batch, &positions, NullKeys::Equal);
        let of = (0..batch.rows()).map(|row| self.ids.meet(keys.get(row)).0);
        let of = of.collect();
        self.groups = self.ids.len();
        of
    }

    /// The groups in key order.
    fn order(&self) -> Vec<u32> {
        let mut order: Vec<(u128, u32)> = (0..row_number(self.groups))
            .map(|group| match self.by {
                0 => (0, group),
                _ => (prefix(self.ids.key(group)), group),
            })
            .collect();
        order.sort_unstable_by(|a, b| {
            let key = |group: u32| self.ids.key(group);
            a.0.cmp(&b.0).then_with(|| key(a.1).cmp(&key(b.1)))
        });
        order.into_iter().map(|(_, group)| group).collect()
    }
}

/// The first bytes of a key as a number that sorts as they do; null sorts with the empty key.
fn prefix(key: Option<&[u8]>) -> u128 {
    let first = u128::from(keys::prefix(key));
    let next = key.and_then(|key| key.get(8..));
    first << 64 | u128::from(keys::prefix(next))
}

impl Combiner for Combining {
    fn push(&mut self, batch: Batch) -> Result<Option<Output>> {
        let of = self.groups(&batch);
        self.rows += batch.rows() as u64;
        let groups = Groups {
            of: &of,
            count: self.groups,
        };
        let columns = batch.plain();
        let (by, mut states) = columns.split_at(self.by);
        for (key, column) in self.keys.iter_mut().zip(by) {
            key.merge(std::slice::from_ref(column), &groups);
        }
        for aggregate in &mut self.aggregates {
            let (state, rest) = states.split_at(aggregate.width());
            aggregate.merge(state, &groups);
            states = rest;
        }
        Ok(None)
    }

    fn finish(mut self: Box<Self>) -> Result<Option<Output>> {
        // Without a key there is a group even of no rows.
        let added = u64::from(self.by == 0 && self.groups == 0);
        if self.by == 0 {
            self.groups = 1;
        }
        let groups = self.groups;
        let dropped = self.rows + added - groups as u64;
        let order = self.order();
        self.ids = KeyIds::default();
        let mut columns: Vec<Column> = Vec::new();
        for key in std::mem::take(&mut self.keys) {
            columns.push(Box::new(key).evaluate(groups).0.take(&order));
        }
        let mut faults = Vec::new();
        for (at, aggregate) in std::mem::take(&mut self.aggregates).into_iter().enumerate() {
            let (column, bad) = aggregate.evaluate(groups);
            columns.push(column.take(&order));
            faults.extend(bad.into_iter().map(|fault| (at, fault)));
        }
        in_rows(&mut faults, &order);
        let batch = Batch::new(columns, groups);
        let mut output = self.settle(batch, faults)?;
        output.added = added;
        output.dropped = dropped;
        Ok(Some(output))
    }
}

/// Faults by their groups' rows, rising, those of the first aggregate first.
fn in_rows(faults: &mut [(usize, GroupFault)], order: &[u32]) {
    if faults.is_empty() {
        return;
    }
    let mut rows = vec![0; order.len()];
    for (row, &group) in order.iter().enumerate() {
        rows[group as usize] = row;
    }
    for (_, fault) in faults.iter_mut() {
        fault.group = rows[fault.group];
    }
    faults.sort_by_key(|(at, fault)| (fault.group, *at));
}

impl Combining {
    /// The rows, in parts, but for what becomes of those with faults.
    fn settle(&self, batch: Batch, mut faults: Vec<(usize, GroupFault)>) -> Result<Output> {
        match self.on_error {
            OnError::Fail if !faults.is_empty() => {
                let (at, fault) = &faults[0];
                let error = self.failure(&batch, *at, fault);
                Ok(Output {
                    fault: Some(error),
                    ..Output::new(batch.slice(0, fault.group))
                })
            }
            OnError::Null => {
                let mut output = parts(batch.cut(ROWS_MAX).into_iter());
                if !faults.is_empty() {
                    output.counts = Counts::from([(NULLED.into(), faults.len() as u64)]);
                }
                Ok(output)
            }
            _ => {
                faults.dedup_by_key(|(_, fault)| fault.group);
                let rejects = faults.iter().map(|fault| self.reject(&batch, fault));
                let rejects: Vec<Reject> = rejects.collect();
                let gone: Vec<u32> = rejects.iter().map(|reject| reject.row).collect();
                let mut output = parts(batch.without(&gone).cut(ROWS_MAX).into_iter());
                output.rejects = rejects;
                Ok(output)
            }
        }
    }

    /// The key of a row, as a document.
    fn key(&self, batch: &Batch, row: usize) -> serde_json::Map<String, serde_json::Value> {
        let columns = (0..self.by)
            .map(|at| batch.column(at).slice(row, 1))
            .collect();
        let key = Schema {
            fields: self.output.fields[..self.by].to_vec(),
        };
        json::document(&key, &Batch::new(columns, 1))
    }

    fn reject(&self, batch: &Batch, (at, fault): &(usize, GroupFault)) -> Reject {
        Reject {
            row: row_number(fault.group),
            reason: fault.reason.into(),
            column: Some(self.names[*at].clone()),
            value: fault.value.as_deref().map(cut_value),
            origin: None,
            line: None,
            byte: None,
            document: self.key(batch, fault.group),
            more: serde_json::Map::new(),
        }
    }

    fn failure(&self, batch: &Batch, at: usize, fault: &GroupFault) -> Error {
        let key = serde_json::Value::Object(self.key(batch, fault.group)).to_string();
        let mut error = Error::failed(format!("column `{}`: {}", self.names[at], fault.reason));
        if let Some(value) = &fault.value {
            error = error.cause(format!("it is {value}"));
        }
        if self.by > 0 {
            error = error.cause(format!("the group is {}", cut_value(&key)));
        }
        error.hint(
            "`sum(CAST(x AS DOUBLE))` takes any size; or let `on_error` be `reject` or `null`",
        )
    }
}

/// One batch after the other.
fn parts(mut batches: std::vec::IntoIter<Batch>) -> Output {
    let first = batches.next().expect("a cut batch has one part at least");
    let mut output = Output::new(first);
    if batches.len() > 0 {
        output.rest = Some(Rest::new(move || Ok(parts(batches))));
    }
    output
}
