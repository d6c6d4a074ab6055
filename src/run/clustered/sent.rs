//! Sinks whose rows have an effect outside as soon as they are worked on: documents that a server takes.
//!
//! All rows of one id go to one task, in their order: so the last one wins, as on one machine. Rows are numbered, so that
//! what became of them is entered in their order, whichever task had them.

use std::time::Duration;

use super::input::side;
use super::{BUCKET_BYTES, Cluster};
use crate::clock::monotonic;
use crate::cluster::engine::Job;
use crate::cluster::order::{DigestOrder, DivideOrder, HashedKeys, Order, TaskInput, TaskReport};
use crate::cluster::rejects::NumberedRejects;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fragment::StageMetrics;
use crate::plan::{Edge, Fragment};
use crate::run::record::CONCURRENCY;
use crate::stage::add_counts;

/// So many rejects are entered at once.
const REJECTS_AT_ONCE: usize = 1024;

impl Cluster<'_, '_> {
    /// Has a job read numbered rows, those that are equal in `columns` in one bucket.
    pub(super) fn numbered(
        &self,
        edge: &Edge,
        columns: &[String],
        job: &mut Job,
    ) -> Result<TaskInput> {
        let above = &self.outputs[&edge.from];
        let columns = self.driver.schemas[edge.from].indices(columns)?;
        if columns.is_empty() {
            job.tasks = above.frames.tasks;
            job.sides = vec![side(&above.frames, None)];
            return Ok(TaskInput::Numbered {
                columns,
                firsts: above.firsts(),
            });
        }
        let buckets = self.buckets(above.bytes);
        let ids = HashedKeys {
            columns: columns.clone(),
            buckets,
        };
        let divide = DivideOrder::Numbered {
            ids,
            firsts: above.firsts(),
        };
        job.buckets = Some(buckets);
        job.sides = vec![side(&above.frames, Some(Order::Divide(divide)))];
        Ok(TaskInput::Numbered {
            columns,
            firsts: Vec::new(),
        })
    }

    /// Into how many buckets so many bytes are divided.
    pub(super) fn buckets(&self, bytes: u64) -> usize {
        let buckets = usize::try_from(bytes.div_ceil(BUCKET_BYTES)).unwrap_or(usize::MAX);
        buckets.max(self.engine.parallelism)
    }

    /// Enters what became of the rows of such a stage, in the order of the rows.
    pub(super) fn enter_numbered(
        &mut self,
        fragment: &Fragment,
        job: &Job,
        reports: &[TaskReport],
        from: Duration,
    ) -> Result<()> {
        let stage = &fragment.stages[0];
        let record = self.driver.records[stage.at].clone();
        let to = monotonic();
        for report in reports {
            let mut metrics = report.metrics[0].clone();
            metrics.span.from = Some(from);
            metrics.span.to = to;
            metrics.digest = None;
            record.add(metrics, &self.driver.run)?;
            let mut totals = record.totals();
            totals.ledger.batches += report.batches.saturating_sub(1);
            totals.tasks = Some(reports.len());
            if let Some(closed) = report.closed.first() {
                add_counts(&mut totals.ledger.counts, closed.clone());
            }
        }
        // Each task sends one request at a time.
        let at_once = reports.len().min(self.engine.parallelism) as u64;
        record
            .totals()
            .ledger
            .counts
            .insert(CONCURRENCY.into(), at_once);
        let with_rejects = reports.iter().filter(|report| report.rejected[0] > 0);
        let folder = self.folder.folder(&job.id)?;
        let rejects = NumberedRejects::of(&folder, with_rejects.map(|report| report.task))?;
        let mut left = rejects.read().peekable();
        while left.peek().is_some() {
            let some: Result<Vec<_>> = left.by_ref().take(REJECTS_AT_ONCE).collect();
            let metrics = StageMetrics {
                rejects: some?,
                ..StageMetrics::default()
            };
            record.add(metrics, &self.driver.run)?;
            record.totals().ledger.batches -= 1;
        }
        let faults = reports.iter();
        let faults =
            faults.filter_map(|report| Some((report.fault.as_ref()?, report.fault_number)));
        // That of the first row; one that is of no row has stopped the others.
        let first = |(fault, number): &(&Error, Option<u64>)| {
            (fault.is_of_a_row(), number.unwrap_or(u64::MAX))
        };
        if let Some((fault, _)) = faults.min_by_key(first) {
            return Err(fault.clone());
        }
        if self.driver.options.digest {
            let digest = self.digest(fragment, rejects.numbers())?;
            record.totals().digest = Some(digest);
        }
        Ok(())
    }

    /// The digest of the rows that such a stage took, in their order.
    fn digest(&mut self, fragment: &Fragment, rejected: Vec<u64>) -> Result<Digest> {
        let edge = fragment
            .input()
            .expect("its rows come from another fragment");
        let above = &self.outputs[&edge.from];
        let job = Job {
            id: format!("f{}-digest", fragment.last()),
            given: Vec::new(),
            reads_alone: None,
            stages: vec![fragment.name()],
            sides: vec![side(&above.frames, None)],
            tasks: above.frames.tasks,
            buckets: None,
            order: Order::Digest(DigestOrder {
                schema: self.driver.schemas[edge.from].clone(),
                firsts: above.firsts(),
                rejected,
            }),
            keep: false,
        };
        let reports = self.send(&job, &[])?;
        let digests = reports.iter().filter_map(|report| report.metrics[0].digest);
        Ok(digests.fold(Digest::EMPTY, Digest::then))
    }
}
