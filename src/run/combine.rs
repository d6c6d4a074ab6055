//! What a stage's sessions gave, on its way through the stage's combiner: each result is entered with the rows that come
//! of it, and what the combiner holds until the end becomes further results.

use std::sync::Arc;

use super::record::Record;
use crate::batch::Batch;
use crate::clock::Meter;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::executor::Results;
use crate::fragment::{BatchOutcome, StageMetrics};
use crate::schema::Schema;
use crate::stage::{Combiner, Output, Rest, add_counts};

/// A stage whose rows are combined: the last one of its fragment.
pub(super) struct Combined {
    /// Its position there.
    pub(super) position: usize,
    /// Its columns.
    pub(super) schema: Schema,
    pub(super) record: Arc<Record>,
    /// Whether digests are wanted.
    pub(super) digest: bool,
}

/// The results of a fragment, with what `combiner` makes of them in place of what its last stage's sessions gave.
pub(super) fn combined(results: Results, combiner: Box<dyn Combiner>, stage: Combined) -> Results {
    Box::new(Combining {
        results,
        combiner: Some(combiner),
        rest: None,
        fault: None,
        stage,
    })
}

struct Combining {
    results: Results,
    /// Gone once it has given all, or the stream has ended with a fault.
    combiner: Option<Box<dyn Combiner>>,
    /// What it gives after what it gave.
    rest: Option<Rest>,
    /// What ends the stream after that.
    fault: Option<Error>,
    stage: Combined,
}

impl Iterator for Combining {
    type Item = BatchOutcome;

    fn next(&mut self) -> Option<BatchOutcome> {
        if let Some(rest) = self.rest.take() {
            return Some(self.make(|| rest.make().map(Some)));
        }
        let Some(outcome) = self.results.next() else {
            let combiner = self.combiner.take()?;
            return Some(self.make(|| combiner.finish()));
        };
        Some(self.push(outcome))
    }
}

impl Combining {
    /// A result that came, with what the combiner gives at once.
    fn push(&mut self, mut outcome: BatchOutcome) -> BatchOutcome {
        self.fault = outcome.fault.take();
        let last = outcome.metrics.len() + outcome.first;
        let given = outcome.batch.take().filter(|_| last > self.stage.position);
        if let (Some(batch), Some(mut combiner)) = (given, self.combiner.take()) {
            let metrics = outcome.metrics.pop().unwrap_or_default();
            let output = self.timed(|| combiner.push(batch));
            self.combiner = Some(combiner);
            let (metrics, batch) = self.enter(metrics, output);
            outcome.metrics.push(metrics);
            outcome.batch = Some(batch);
        }
        if self.fault.is_some() {
            self.combiner = None;
        }
        outcome.fault = self.fault.take_if(|_| self.rest.is_none());
        outcome
    }

    /// A result that comes of what the combiner holds.
    fn make(&mut self, make: impl FnOnce() -> Result<Option<Output>>) -> BatchOutcome {
        let output = self.timed(make);
        let (metrics, batch) = self.enter(StageMetrics::default(), output);
        BatchOutcome {
            metrics: vec![metrics],
            batch: Some(batch),
            fault: self.fault.take_if(|_| self.rest.is_none()),
            first: self.stage.position,
            rest: None,
        }
    }

    /// Does the combiner's work, measured as its stage's.
    fn timed<T>(&self, work: impl FnOnce() -> T) -> T {
        let meter = Meter::start();
        let result = work();
        self.stage.record.totals().add_serial(&meter.stop());
        result
    }

    /// What the combiner gave, entered beside what the sessions did. Of the rows that came in those are counted that
    /// are given or left out, so that the ledger balances whenever the run ends.
    fn enter(
        &mut self,
        mut metrics: StageMetrics,
        output: Result<Option<Output>>,
    ) -> (StageMetrics, Batch) {
        let none = || Output::new(Batch::empty(&self.stage.schema));
        let output = output.map(|output| output.unwrap_or_else(none));
        let output = output.unwrap_or_else(|error| Output {
            fault: Some(error),
            ..none()
        });
        let fault = output
            .fault
            .map(|fault| fault.stage(self.stage.record.name()));
        if fault.is_some() {
            self.fault = fault;
            self.combiner = None;
        }
        self.rest = output.rest;
        metrics.rows_out = output.batch.rows() as u64;
        metrics.added += output.added;
        metrics.dropped += output.dropped;
        metrics.rejects.extend(output.rejects);
        add_counts(&mut metrics.counts, output.counts);
        metrics.digest = (self.stage.digest).then(|| Digest::of(&self.stage.schema, &output.batch));
        let out = metrics.rows_out + metrics.dropped + metrics.rejects.len() as u64;
        metrics.rows_in = out.saturating_sub(metrics.added);
        (metrics, output.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Column;
    use crate::run::record::Live;
    use crate::schema::{Field, Type};

    fn ints(range: std::ops::Range<i64>) -> Batch {
        let rows = range.clone().count();
        Batch::new(vec![Column::from_ints(range.collect(), None)], rows)
    }

    fn result(batch: Batch, fault: Option<Error>) -> BatchOutcome {
        let metrics = StageMetrics {
            rows_in: batch.rows() as u64,
            ..StageMetrics::default()
        };
        BatchOutcome {
            metrics: vec![StageMetrics::default(), metrics],
            batch: Some(batch),
            fault,
            first: 0,
            rest: None,
        }
    }

    /// Holds all rows but the first of each batch, which is dropped; gives them in parts of one row.
    struct Holding(Vec<Batch>);

    impl Combiner for Holding {
        fn push(&mut self, batch: Batch) -> Result<Option<Output>> {
            let mut output = Output::new(batch.slice(0, 0));
            output.dropped = 1;
            self.0
                .extend((1..batch.rows()).map(|row| batch.slice(row, 1)));
            Ok(Some(output))
        }

        fn finish(self: Box<Self>) -> Result<Option<Output>> {
            parts(self.0.into_iter()).map(Some)
        }
    }

    fn parts(mut left: std::vec::IntoIter<Batch>) -> Result<Output> {
        let next = left.next().ok_or_else(|| Error::failed("no rows"))?;
        let mut output = Output::new(next);
        if left.len() > 0 {
            output.rest = Some(Rest::new(move || parts(left)));
        }
        Ok(output)
    }

    /// Of each result the values, the ledger and the fault.
    fn run(results: Vec<BatchOutcome>) -> Vec<(Vec<i64>, [u64; 3], Option<String>)> {
        let live = Arc::new(Live::default());
        let stage = Combined {
            position: 1,
            schema: Schema::new(vec![Field::new("n", Type::Int)]).expect("one name"),
            record: Arc::new(Record::new("x", "/dev/null".into(), live)),
            digest: true,
        };
        let results = Box::new(results.into_iter());
        let results = combined(results, Box::new(Holding(Vec::new())), stage);
        let seen = results.map(|outcome| {
            let metrics = outcome.metrics.last().expect("there is one");
            assert!(metrics.digest.is_some());
            assert_eq!(outcome.first + outcome.metrics.len(), 2, "the last stage's");
            let batch = outcome.batch.expect("rows or none");
            let values = batch.column(0).ints().values().as_slice().to_vec();
            let ledger = [metrics.rows_in, metrics.rows_out, metrics.dropped];
            (values, ledger, outcome.fault.map(|fault| fault.message))
        });
        seen.collect()
    }

    #[test]
    fn rows_that_are_held_are_counted_when_they_are_given() {
        let seen = run(vec![result(ints(0..3), None), result(ints(3..5), None)]);
        let expected = [
            (vec![], [1, 0, 1], None),
            (vec![], [1, 0, 1], None),
            (vec![1], [1, 1, 0], None),
            (vec![2], [1, 1, 0], None),
            (vec![4], [1, 1, 0], None),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn nothing_that_is_held_is_given_after_a_fault() {
        let fault = Some(Error::failed("broken"));
        let seen = run(vec![result(ints(0..3), None), result(ints(3..5), fault)]);
        let broken = Some("broken".to_owned());
        assert_eq!(
            seen,
            [(vec![], [1, 0, 1], None), (vec![], [1, 0, 1], broken)]
        );
        // The combiner's own fault has the name of its stage.
        let seen = run(vec![result(ints(0..1), None)]);
        let last = seen.last().expect("there is one");
        assert_eq!(last.2.as_deref(), Some("no rows"));
    }
}
