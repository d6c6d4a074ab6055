//! The second step, in the parent: the states of all batches, merged by key and evaluated, in key order.

use super::super::{Combiner, Counts, NULLED, OnError, Output, Reject, Rest, cut_value};
use super::Plan;
use super::accumulator::{Accumulator, GroupFault, Groups};
use super::layout::{Parts, SUM_TOO_LARGE};
use super::picked::{Pick, Picked};
use super::table::{self, PARTITIONS, RowKeys, Table};
use crate::batch::{Batch, Cells, ROWS_MAX};
use crate::columns::{Column, row_number};
use crate::error::{Error, Result};
use crate::format::json::{Document, Nulls};
use crate::schema::{Schema, Type};

/// So many bytes may wait for their partition's turn: of a few numbers a row, two million rows, so that a partition takes
/// more rows at once than a million groups make it have groups.
const WAITING_BYTES: usize = 64 << 20;

pub(super) struct Combining {
    plan: Plan,
    /// Of the aggregates' columns.
    names: Vec<String>,
    on_error: OnError,
    /// One, or [`PARTITIONS`]: as many as the first batch shows to be needed.
    partitions: Vec<Partition>,
    /// Rows taken in, and the bytes of those that wait.
    rows: u64,
    waiting: usize,
}

/// The groups of which a part of the hash is the same.
struct Partition {
    table: Table,
    /// The columns of the key: the first value of each group. None where the table has them.
    keys: Vec<Picked>,
    parts: Parts,
    groups: usize,
    /// States and rows that wait to be merged.
    waiting: Vec<Waiting>,
}

/// Some states or rows, with their key.
struct Waiting {
    columns: Vec<Column>,
    are_rows: bool,
}

impl Combining {
    pub(super) fn new(plan: Plan, names: Vec<String>, on_error: OnError) -> Self {
        Combining {
            plan,
            names,
            on_error,
            partitions: Vec::new(),
            rows: 0,
            waiting: 0,
        }
    }

    fn partition(&self) -> Partition {
        let keys = &self.plan.output.fields[..self.plan.by.len()];
        let types: Vec<Type> = keys.iter().map(|field| field.ty.clone()).collect();
        let table = Table::new(&types);
        let known = usize::from(table.column().is_some());
        let picked = types.into_iter().skip(known);
        Partition {
            table,
            keys: picked.map(|ty| Picked::new(ty, Pick::First)).collect(),
            parts: self.plan.layout.begin(),
            groups: 0,
            waiting: Vec::new(),
        }
    }

    /// Merges what waits.
    fn merge(&mut self) {
        let keys = &self.plan.output.fields[..self.plan.by.len()];
        let types: Vec<Type> = keys.iter().map(|field| field.ty.clone()).collect();
        for partition in &mut self.partitions {
            for waiting in std::mem::take(&mut partition.waiting) {
                partition.merge(&waiting, &types);
            }
        }
        self.waiting = 0;
    }
}

impl Partition {
    fn merge(&mut self, waiting: &Waiting, types: &[Type]) {
        let columns = &waiting.columns;
        let by = types.len();
        let rows = columns[0].len();
        let mut of = Vec::with_capacity(rows);
        if by == 0 {
            of.resize(rows, 0);
            self.groups = 1;
        } else {
            let key = Batch::new(columns[..by].to_vec(), rows);
            let positions: Vec<usize> = (0..by).collect();
            let keys = RowKeys::new(&key, &positions, types);
            self.table.meet(&keys, &mut of, |_, _| {});
            self.groups = self.table.len();
        }
        let groups = Groups {
            of: &of,
            count: self.groups,
        };
        for (key, column) in self.keys.iter_mut().zip(columns) {
            key.merge(std::slice::from_ref(column), &groups);
        }
        if waiting.are_rows {
            self.parts.merge_rows(&columns[by..], &groups);
        } else {
            self.parts.merge(&columns[by..], &groups);
        }
    }
}

impl Combiner for Combining {
    fn push(&mut self, batch: Batch) -> Result<Option<Output>> {
        let rows = batch.rows();
        if rows == 0 {
            return Ok(None);
        }
        if self.partitions.is_empty() {
            let count = if rows > table::MANY { PARTITIONS } else { 1 };
            self.partitions = (0..count).map(|_| self.partition()).collect();
        }
        self.rows += rows as u64;
        self.waiting += batch.size();
        self.divide(batch);
        if self.partitions.len() == 1 || self.waiting >= WAITING_BYTES {
            self.merge();
        }
        Ok(None)
    }

    fn finish(mut self: Box<Self>) -> Result<Option<Output>> {
        self.merge();
        if self.partitions.is_empty() {
            let mut partition = self.partition();
            // Without a key there is a group even of no rows.
            partition.groups = usize::from(self.plan.by.is_empty());
            self.partitions.push(partition);
        }
        let counts = self.partitions.iter().map(|partition| partition.groups);
        let groups: usize = counts.sum();
        let added = u64::from(self.rows == 0 && groups == 1);
        let dropped = self.rows + added - groups as u64;
        let (columns, faults) = self.evaluate();
        let batch = Batch::new(columns, groups);
        let mut output = self.settle(batch, faults);
        output.added = added;
        output.dropped = dropped;
        Ok(Some(output))
    }
}

impl Combining {
    /// Lets the rows of each partition wait for its turn.
    fn divide(&mut self, mut batch: Batch) {
        let columns = batch.cells().len();
        if self.plan.by.is_empty() {
            self.partitions[0].waiting.push(Waiting {
                columns: batch.plain(),
                are_rows: false,
            });
            return;
        }
        let Column::Bools(marks) = batch.column(columns - 1) else {
            unreachable!("the sessions send it");
        };
        let (are_rows, hashes) = (marks.value(0), columns - 2);
        let numbers = |batch: &Batch| -> Vec<usize> {
            let column = batch.column(hashes);
            let hashes = column.ints().values().iter();
            let number = |hash: &i64| table::partition(hash.cast_unsigned());
            hashes.map(number).collect()
        };
        let mut of = vec![0; batch.rows()];
        if self.partitions.len() > 1 {
            of = numbers(&batch);
            if !of.is_sorted() {
                let order = table::by_partition(batch.column(hashes).ints().values());
                batch = batch.take(&order);
                of = numbers(&batch);
            }
        }
        let mut from = 0;
        for run in of.chunk_by(|a, b| a == b) {
            let columns = batch.cells()[..hashes].iter().map(|cells| match cells {
                Cells::Own(column) | Cells::Shared(column) => column.slice(from, run.len()),
            });
            self.partitions[run[0]].waiting.push(Waiting {
                columns: columns.collect(),
                are_rows,
            });
            from += run.len();
        }
    }

    /// The columns of all groups in key order, and the faults by row.
    fn evaluate(&mut self) -> (Vec<Column>, Vec<(usize, GroupFault)>) {
        let order = order(&self.partitions, self.plan.by.len());
        let mut faults = Vec::new();
        let mut columns: Vec<Vec<Column>> = vec![Vec::new(); self.plan.output.fields.len()];
        let mut begin = 0;
        for partition in std::mem::take(&mut self.partitions) {
            let groups = partition.groups;
            let by = self.plan.by.len();
            let keys = partition.keys.into_iter();
            let keys = keys.map(|key| Box::new(key).evaluate(groups).0);
            let keys = partition.table.column().into_iter().chain(keys);
            for (key, to) in keys.zip(&mut columns) {
                to.push(key);
            }
            for (at, (column, bad)) in partition.parts.evaluate(groups).into_iter().enumerate() {
                columns[by + at].push(column);
                faults.extend(bad.into_iter().map(|fault| {
                    let group = begin + fault.group;
                    (at, GroupFault { group, ..fault })
                }));
            }
            begin += groups;
        }
        in_rows(&mut faults, &order);
        let columns = columns.into_iter().map(|parts| {
            let parts: Vec<&Column> = parts.iter().collect();
            Column::concat(&parts).take(&order)
        });
        (columns.collect(), faults)
    }
}

/// The groups of all partitions, one partition after the other, in key order.
fn order(partitions: &[Partition], by: usize) -> Vec<u32> {
    if by == 0 {
        return vec![0];
    }
    let mut order: Vec<(u128, u32, u32)> = Vec::new();
    let mut begins = Vec::with_capacity(partitions.len());
    let mut begin = 0u32;
    for (number, partition) in (0..).zip(partitions) {
        begins.push(begin);
        let groups = row_number(partition.groups);
        begin += groups;
        order.extend((0..groups).map(|group| (partition.table.prefix(group), number, group)));
    }
    let key = |&(_, number, group): &(u128, u32, u32)| partitions[number as usize].table.key(group);
    order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(a).cmp(&key(b))));
    let place = |&(_, number, group): &(u128, u32, u32)| begins[number as usize] + group;
    order.iter().map(place).collect()
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
    fn settle(&self, batch: Batch, mut faults: Vec<(usize, GroupFault)>) -> Output {
        match self.on_error {
            OnError::Fail if !faults.is_empty() => {
                let (at, fault) = &faults[0];
                let error = self.failure(&batch, *at, fault);
                Output {
                    fault: Some(error),
                    ..Output::new(batch.slice(0, fault.group))
                }
            }
            OnError::Null => {
                let mut output = parts(batch.cut(ROWS_MAX).into_iter());
                if !faults.is_empty() {
                    output.counts = Counts::from([(NULLED.into(), faults.len() as u64)]);
                }
                output
            }
            _ => {
                faults.dedup_by_key(|(_, fault)| fault.group);
                let rejects = faults.iter().map(|fault| self.reject(&batch, fault));
                let rejects: Vec<Reject> = rejects.collect();
                let gone: Vec<u32> = rejects.iter().map(|reject| reject.row).collect();
                let mut output = parts(batch.without(&gone).cut(ROWS_MAX).into_iter());
                output.rejects = rejects;
                output
            }
        }
    }

    /// The key of a row, as a document.
    fn key(&self, batch: &Batch, row: usize) -> Document {
        let by = self.plan.by.len();
        let columns = (0..by).map(|at| batch.column(at).slice(row, 1)).collect();
        let key = Schema {
            fields: self.plan.output.fields[..by].to_vec(),
        };
        // A null key is a key too.
        Document::of_row(&key, &Batch::new(columns, 1), Nulls::Null)
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
            record: None,
        }
    }

    fn failure(&self, batch: &Batch, at: usize, fault: &GroupFault) -> Error {
        let key = self.key(batch, fault.group);
        let mut error = Error::failed(format!("column `{}`: {}", self.names[at], fault.reason));
        if let Some(value) = &fault.value {
            error = error.cause(format!("it is {value}"));
        }
        if !self.plan.by.is_empty() {
            error = error.cause(format!("the group is {}", cut_value(key.as_str())));
        }
        error.hint(if fault.reason == SUM_TOO_LARGE {
            "`sum(CAST(x AS DOUBLE))` takes any size; or let `on_error` be `reject` or `null`"
        } else {
            "let `on_error` be `reject` or `null`"
        })
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
