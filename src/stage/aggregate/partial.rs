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
use crate::schema::{Schema, Type};

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

    /// A row a group: the key, the state of each part, and the hash of the key, if there is one. Where nearly each row is
    /// a group, the rows go as they are, and the combiner does what is left to do.
    fn grouped(&self, batch: &Batch, values: &[Column]) -> Output {
        let rows = batch.rows();
        if self.plan.by.is_empty() {
            let (of, count) = (vec![0; rows], rows.min(1));
            let columns = self.states(values, &Groups { of: &of, count });
            let mut output = Output::new(Batch::new(columns, count));
            output.dropped = (rows - count) as u64;
            return output;
        }
        let types = table::types(&self.input, &self.plan.by);
        if let Some(hashes) = self.hashes_of_rows(batch, &types) {
            let order = table::by_partition(&hashes);
            let hashes = order.iter().map(|&row| hashes[row as usize]).collect();
            let values = values.iter().map(|column| column.take(&order)).collect();
            return Output::new(self.sent(batch, &order, values, hashes, true));
        }
        let Grouping { of, first, hashes } = self.group(batch, &types);
        let count = first.len();
        let states = self.states(values, &Groups { of: &of, count });
        let mut output = Output::new(self.sent(batch, &first, states, hashes, false));
        output.dropped = (rows - count) as u64;
        output
    }

    fn states(&self, values: &[Column], groups: &Groups) -> Vec<Column> {
        let mut parts = self.plan.layout.begin();
        parts.update(values, groups);
        parts.state()
    }

    /// What the combiner takes: the key, states or values, the hash of the key, and whether these are values of rows.
    fn sent(
        &self,
        batch: &Batch,
        keys: &[u32],
        columns: Vec<Column>,
        hashes: Vec<i64>,
        are_rows: bool,
    ) -> Batch {
        let by = self.plan.by.iter();
        let mut all: Vec<Column> = by.map(|&at| batch.column(at).take(keys)).collect();
        all.extend(columns);
        all.push(Column::from_ints(hashes, None));
        all.push(Column::from_bools(&vec![are_rows; keys.len()], None));
        let sent = Batch::new(all, keys.len());
        // They may wait for long, and are not to hold the text that they were cut from.
        if keys.len() > table::MANY {
            sent.compacted()
        } else {
            sent
        }
    }

    /// The hash of each row's key, if it is not worth while to group the rows: of those looked at, most are groups.
    fn hashes_of_rows(&self, batch: &Batch, types: &[Type]) -> Option<Vec<i64>> {
        const LOOKED_AT: usize = 1024;
        if batch.rows() <= table::MANY || !self.plan.layout.takes_rows() {
            return None;
        }
        let some = RowKeys::new(&batch.slice(0, LOOKED_AT), &self.plan.by, types);
        let mut table = Table::new(types);
        table.meet(&some, &mut Vec::new(), |_, _| {});
        let are_groups = table.len() > LOOKED_AT * 3 / 4;
        are_groups.then(|| RowKeys::new(batch, &self.plan.by, types).hashes())
    }

    fn group(&self, batch: &Batch, types: &[Type]) -> Grouping {
        let mut grouping = Grouping {
            of: Vec::with_capacity(batch.rows()),
            first: Vec::new(),
            hashes: Vec::new(),
        };
        let keys = RowKeys::new(batch, &self.plan.by, types);
        let (first, hashes) = (&mut grouping.first, &mut grouping.hashes);
        Table::new(types).meet(&keys, &mut grouping.of, |row, hash| {
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
