//! The first step, in a session: the rows of one batch become a row a group, with the state of each aggregate.

use super::super::derive::{failure, first_of_rows};
use super::super::{Counts, NULLED, OnError, Output, Reject, Session, TaskContext};
use super::Plan;
use super::accumulator::Groups;
use super::table::{self, RowKeys, Table};
use crate::batch::Batch;
use crate::columns::{Column, row_number};
use crate::error::Result;
use crate::expression::Fault;
use crate::schema::Schema;

pub(super) struct Partial {
    pub(super) plan: Plan,
    /// Of the aggregates' columns.
    pub(super) names: Vec<String>,
    pub(super) input: Schema,
    pub(super) on_error: OnError,
}

impl Session for Partial {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let (values, faults) = self.evaluate(&batch);
        if faults.is_empty() || self.on_error == OnError::Null {
            let mut output = self.grouped(&batch, &values);
            if !faults.is_empty() {
                let nulled = faults.len() as u64;
                output.counts = Counts::from([(NULLED.into(), nulled)]);
            }
            return Ok(output);
        }
        let faults = first_of_rows(faults);
        if self.on_error == OnError::Fail {
            let (at, fault) = &faults[0];
            let row = fault.row as usize;
            let error = failure(&self.names[*at], fault).origin(batch.origin(row));
            return Output::before(self, batch.slice(0, row), error);
        }
        let rejects = faults.iter().map(|(at, fault)| {
            let (row, value) = (fault.row as usize, fault.value.as_deref());
            let (name, reason) = (Some(&*self.names[*at]), fault.reason.clone());
            Reject::of(&batch, &self.input, row, name, value, reason)
        });
        let rejects: Vec<Reject> = rejects.collect();
        let mut gone = rejects.iter().map(|reject| reject.row).peekable();
        let kept = (0..row_number(batch.rows())).filter(|row| gone.next_if_eq(row).is_none());
        let kept: Vec<u32> = kept.collect();
        let values: Vec<Column> = values.iter().map(|column| column.take(&kept)).collect();
        Ok(Output {
            rejects,
            ..self.grouped(&batch.take(&kept), &values)
        })
    }
}

impl Partial {
    /// The values of each argument, and the faults, each with the position of its aggregate.
    fn evaluate(&self, batch: &Batch) -> (Vec<Column>, Vec<(usize, Fault)>) {
        let rows = batch.rows();
        let mut faults = Vec::new();
        let mut values = Vec::with_capacity(self.plan.layout.arguments.len());
        for &at in &self.plan.layout.arguments {
            let Some(argument) = self.plan.aggregates[at].argument() else {
                values.push(Column::from_bools(&vec![true; rows], None));
                continue;
            };
            let (column, bad) = argument.evaluate(rows, |column| batch.column(column));
            faults.extend(bad.into_iter().map(|fault| (at, fault)));
            values.push(column);
        }
        (values, faults)
    }

    /// A row a group: the key, the state of each part, and the hash of the key, if there is one.
    fn grouped(&self, batch: &Batch, values: &[Column]) -> Output {
        let Grouping { of, first, hashes } = self.group(batch);
        let groups = Groups {
            of: &of,
            count: first.len(),
        };
        let by = self.plan.by.iter();
        let mut columns: Vec<Column> = by.map(|&at| batch.column(at).take(&first)).collect();
        let mut parts = self.plan.layout.begin();
        parts.update(values, &groups);
        columns.extend(parts.state());
        if !self.plan.by.is_empty() {
            columns.push(Column::from_ints(hashes, None));
        }
        let mut output = Output::new(Batch::new(columns, first.len()));
        output.dropped = (batch.rows() - first.len()) as u64;
        output
    }

    fn group(&self, batch: &Batch) -> Grouping {
        let rows = batch.rows();
        let mut grouping = Grouping {
            of: Vec::with_capacity(rows),
            first: Vec::new(),
            hashes: Vec::new(),
        };
        if self.plan.by.is_empty() {
            grouping.of.resize(rows, 0);
            grouping.first.resize(rows.min(1), 0);
            return grouping;
        }
        let types = table::types(&self.input, &self.plan.by);
        let keys = RowKeys::new(batch, &self.plan.by, &types);
        let (first, hashes) = (&mut grouping.first, &mut grouping.hashes);
        Table::new(&types).meet(&keys, &mut grouping.of, |row, hash| {
            first.push(row);
            hashes.push(hash.cast_signed());
        });
        if grouping.first.len() > table::MANY {
            grouping.by_partition();
        }
        grouping
    }
}

/// The groups of a batch.
struct Grouping {
    /// That of each row.
    of: Vec<u32>,
    /// The first row of each, and the hash of its key.
    first: Vec<u32>,
    hashes: Vec<i64>,
}

impl Grouping {
    /// Numbers the groups anew, partition by partition.
    fn by_partition(&mut self) {
        let order = table::by_partition(&self.hashes);
        let mut numbers = vec![0; order.len()];
        for (number, &group) in (0..).zip(&order) {
            numbers[group as usize] = number;
        }
        for group in &mut self.of {
            *group = numbers[*group as usize];
        }
        let first = order.iter().map(|&group| self.first[group as usize]);
        self.first = first.collect();
        let hashes = order.iter().map(|&group| self.hashes[group as usize]);
        self.hashes = hashes.collect();
    }
}
