//! Rows with their number among all rows of a stage's input, whichever task they are in: for stages outside of which
//! rows have an effect at once, as documents that a server takes.

use crossbeam_channel::{Receiver, unbounded};
use polars_buffer::Buffer;

use crate::batch::{Batch, Cells};
use crate::columns::Column;
use crate::error::Error;
use crate::executor::{Batches, Input, Inputs};
use crate::partition::{self, UniqueRun};
use crate::stage::TaskContext;

/// Small batches, as they come out of a shuffle, are joined to so many of the size that is asked for.
const JOINED: usize = 16;

/// The numbers of the rows of a batch, and where these came from.
pub(super) struct RowNumbers {
    pub(super) numbers: Vec<u64>,
    origins: Option<Buffer<u64>>,
}

impl RowNumbers {
    /// The number of the row that a fault is about; where that is not known, of the first one.
    pub(super) fn of_fault(&self, fault: &Error) -> Option<u64> {
        let origins = self.origins.as_ref().zip(fault.origin);
        let row = origins.and_then(|(origins, origin)| origins.iter().position(|of| *of == origin));
        self.numbers.get(row.unwrap_or_default()).copied()
    }
}

/// Where the number of a row is found.
pub(super) enum Numbers {
    /// They follow each other, from this one on.
    From(u64),
    /// In the last column, which goes.
    LastColumn,
}

/// The rows as batches of at most `rows_max`, none with two rows that are equal in `columns`; and for each batch the
/// numbers of its rows. `again`: they may have been worked on before.
pub(super) fn inputs(
    rows: Batches,
    mut numbers: Numbers,
    columns: Vec<usize>,
    rows_max: usize,
    again: bool,
) -> (Inputs, Receiver<RowNumbers>) {
    let (sender, receiver) = unbounded();
    let inputs = joined(rows, rows_max.saturating_mul(JOINED)).flat_map(move |batch| {
        let (batch, of_rows) = match batch {
            Ok(batch) => numbers.of(batch),
            Err(error) => return vec![Err(error)],
        };
        let input = |run: UniqueRun| {
            let of_run = of_rows[run.from..run.from + run.batch.rows()].to_vec();
            let first = of_run.first().copied().unwrap_or_default();
            // Whoever does not listen any more has seen a fault.
            let origins = run.batch.origins().cloned();
            let _ = sender.send(RowNumbers {
                numbers: of_run,
                origins,
            });
            Ok(Input {
                task: TaskContext {
                    first,
                    again,
                    ..TaskContext::default()
                },
                batch: run.batch,
                keys: run.keys,
            })
        };
        let runs = partition::unique_runs(&batch, &columns, rows_max);
        runs.into_iter().map(input).collect()
    });
    (Box::new(inputs), receiver)
}

impl Numbers {
    /// The batch without its numbers, and these.
    fn of(&mut self, batch: Batch) -> (Batch, Vec<u64>) {
        match self {
            Numbers::From(next) => {
                let first = *next;
                *next += batch.rows() as u64;
                (batch, (first..*next).collect())
            }
            Numbers::LastColumn => {
                let mut columns = batch.cells().to_vec();
                columns.pop();
                let numbers = batch.column(columns.len());
                let number = |row| u64::try_from(numbers.ints().value(row)).unwrap_or_default();
                let numbers = (0..batch.rows()).map(number).collect();
                (batch.with_columns(columns), numbers)
            }
        }
    }
}

/// The batch with a last column: the numbers of its rows, from `first` on.
pub(super) fn with_numbers(batch: Batch, first: u64) -> Batch {
    let number = |row: usize| {
        i64::try_from(first)
            .unwrap_or(i64::MAX)
            .saturating_add_unsigned(row as u64)
    };
    let numbers = Column::from_ints((0..batch.rows()).map(number).collect(), None);
    let mut columns = batch.cells().to_vec();
    columns.push(Cells::Own(numbers));
    batch.with_columns(columns)
}

/// Batches of at least `rows` rows, but for the last one.
fn joined(mut stream: Batches, rows: usize) -> Batches {
    let mut error = None;
    Box::new(std::iter::from_fn(move || {
        let (mut some, mut count) = (Vec::new(), 0);
        while count < rows && error.is_none() {
            match stream.next() {
                Some(Ok(batch)) => {
                    count += batch.rows();
                    some.push(batch);
                }
                Some(Err(met)) => error = Some(met),
                None => break,
            }
        }
        if count > 0 {
            return Some(Ok(Batch::concat(some, || unreachable!("there are rows"))));
        }
        error.take().map(Err)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(ids: &str) -> Batch {
        let ids = ids.chars().map(|id| Some(id.to_string()));
        let column = Column::from_strings(ids);
        Batch::new(vec![column.clone()], column.len())
    }

    fn seen(inputs: Inputs, numbers: &Receiver<RowNumbers>) -> Vec<(String, u64, Vec<u64>)> {
        let seen = inputs.map(|input| {
            let Input { batch, task, .. } = input.expect("no batch fails");
            assert_eq!(batch.cells().len(), 1);
            let ids = batch.column(0);
            let ids = (0..batch.rows()).map(|row| ids.strings().value(row).to_owned());
            (
                ids.collect(),
                task.first,
                numbers.recv().expect("each batch has numbers").numbers,
            )
        });
        seen.collect()
    }

    #[test]
    fn rows_keep_their_numbers_however_they_come() {
        let parts = ["ab", "ca", "", "de"];
        let stream = |of: &dyn Fn(Batch) -> Batch| -> Batches {
            let batches: Vec<_> = parts.iter().map(|ids| Ok(of(batch(ids)))).collect();
            Box::new(batches.into_iter())
        };
        let runs = [("abc", 7..10), ("ade", 10..13)];
        let expected =
            runs.map(|(ids, numbers)| (ids.to_owned(), numbers.start, numbers.collect()));
        let (follow, numbers) = inputs(stream(&|batch| batch), Numbers::From(7), vec![0], 5, false);
        assert_eq!(seen(follow, &numbers), expected);

        let next = std::cell::Cell::new(7);
        let with = |batch: Batch| {
            let first = next.replace(next.get() + batch.rows() as u64);
            with_numbers(batch, first)
        };
        let (named, numbers) = inputs(stream(&with), Numbers::LastColumn, vec![0], 5, false);
        assert_eq!(seen(named, &numbers), expected);
    }

    #[test]
    fn what_comes_before_an_error_is_worked_on() {
        let stream: Batches =
            Box::new(vec![Ok(batch("ab")), Err(Error::failed("cut short"))].into_iter());
        let (inputs, _numbers) = inputs(stream, Numbers::From(0), Vec::new(), 9, true);
        let given: Vec<_> = inputs.collect();
        assert_eq!(given.len(), 2);
        assert!(
            given[0]
                .as_ref()
                .is_ok_and(|input| input.task.again && input.batch.rows() == 2)
        );
        assert!(given[1].is_err());
    }
}
