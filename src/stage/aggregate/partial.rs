//! The first step, in a session: the rows of one batch become a row a group, with the state of each aggregate.

use super::super::derive::{failure, first_of_rows};
use super::super::{Counts, NULLED, OnError, Output, Reject, Session, TaskContext};
use super::Plan;
use super::accumulator::{Accumulator, Groups, accumulator};
use crate::batch::Batch;
use crate::columns::{Column, row_number};
use crate::error::Result;
use crate::expression::Fault;
use crate::keys::{KeyIds, Keys, NullKeys};
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
            let mut output = self.grouped(&batch, values);
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
        let values = values.iter().map(|column| column.take(&kept)).collect();
        Ok(Output {
            rejects,
            ..self.grouped(&batch.take(&kept), values)
        })
    }
}

impl Partial {
    /// The values of each aggregate's argument, and the faults, each with the position of its aggregate.
    fn evaluate(&self, batch: &Batch) -> (Vec<Column>, Vec<(usize, Fault)>) {
        let rows = batch.rows();
        let mut faults = Vec::new();
        let mut values = Vec::with_capacity(self.plan.aggregates.len());
        for (at, aggregate) in self.plan.aggregates.iter().enumerate() {
            let Some(argument) = aggregate.argument() else {
                values.push(Column::from_bools(&vec![true; rows], None));
                continue;
            };
            let (column, bad) = argument.evaluate(rows, |column| batch.column(column));
            faults.extend(bad.into_iter().map(|fault| (at, fault)));
            values.push(column);
        }
        (values, faults)
    }

    fn grouped(&self, batch: &Batch, values: Vec<Column>) -> Output {
        let (of, first) = groups(batch, &self.plan.by);
        let groups = Groups {
            of: &of,
            count: first.len(),
        };
        let by = self.plan.by.iter();
        let mut columns: Vec<Column> = by.map(|&at| batch.column(at).take(&first)).collect();
        for (aggregate, values) in self.plan.aggregates.iter().zip(values) {
            let mut state: Box<dyn Accumulator> = accumulator(aggregate);
            state.update(&values, &groups);
            columns.extend(state.state());
        }
        let mut output = Output::new(Batch::new(columns, first.len()));
        output.dropped = (batch.rows() - first.len()) as u64;
        output
    }
}

/// The group of each row, groups numbered as they are met, and the first row of each.
fn groups(batch: &Batch, by: &[usize]) -> (Vec<u32>, Vec<u32>) {
    let rows = batch.rows();
    if by.is_empty() {
        return (vec![0; rows], vec![0; rows.min(1)]);
    }
    let keys = Keys::new(batch, by, NullKeys::Equal);
    let mut ids = KeyIds::default();
    let mut first = Vec::new();
    let of = (0..rows).map(|row| {
        let (group, is_new) = ids.meet(keys.get(row));
        if is_new {
            first.push(row_number(row));
        }
        group
    });
    (of.collect(), first)
}
