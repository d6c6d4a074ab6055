//! What a task gives: frames, a part, rejects, and what it reports of them.

use std::io::Write;

use crossbeam_channel::Receiver;
use serde_json::json;

use super::super::order::{TaskNumber, TaskReport};
use super::super::parts::AttemptFile;
use super::Out;
use super::numbered::RowNumbers;
use super::ranges::Sample;
use crate::error::Result;
use crate::executor::processes::frames::Frame;
use crate::fragment::{BatchOutcome, StageMetrics};
use crate::place::Shared;
use crate::stage::add_counts;

/// What a task gives, and what it reports of it.
pub(super) struct Given<'a> {
    folder: Shared,
    number: &'a TaskNumber,
    frames: bool,
    part: Option<AttemptFile>,
    rejects: Option<AttemptFile>,
    /// Where rows are numbered, the numbers of each batch that comes in.
    pub(super) numbers: Option<Receiver<RowNumbers>>,
    samples: Vec<Sample>,
    pub(super) report: TaskReport,
}

impl<'a> Given<'a> {
    pub(super) fn new(
        folder: Shared,
        number: &'a TaskNumber,
        metrics: Vec<StageMetrics>,
        frames: bool,
        parts: bool,
        samples: Vec<Sample>,
    ) -> Result<Self> {
        let part = parts.then(|| AttemptFile::part(&folder, number));
        Ok(Given {
            part: part.transpose()?,
            folder,
            number,
            frames,
            rejects: None,
            numbers: None,
            samples,
            report: TaskReport {
                task: number.task,
                rejected: vec![0; metrics.len()],
                metrics,
                ..TaskReport::default()
            },
        })
    }

    pub(super) fn take(&mut self, outcome: BatchOutcome, out: &mut Out<impl Write>) -> Result<()> {
        self.report.batches += u64::from(outcome.first == 0);
        // There are none where an error came in place of a batch.
        let numbers = self.numbers.as_ref();
        let numbers = numbers.and_then(|numbers| numbers.try_recv().ok());
        if let Some(fault) = &outcome.fault {
            self.report.fault_number = numbers.as_ref().and_then(|numbers| numbers.of_fault(fault));
        }
        let numbers = numbers.map(|numbers| numbers.numbers);
        for (at, metrics) in (outcome.first..).zip(outcome.metrics) {
            self.enter(at, metrics, numbers.as_deref())?;
        }
        if let Some(batch) = outcome.batch {
            let batch = batch.resolve();
            let frame = Frame::new(Some(&batch), || json!({ "bucket": 0 }))?;
            self.report.bytes += frame.bytes() as u64;
            if let Some(part) = &mut self.part {
                part.frame(&frame)?;
            }
            if self.frames {
                out.send(&frame)?;
            }
            self.samples
                .iter_mut()
                .for_each(|sample| sample.add(&batch));
        }
        self.report.fault = outcome.fault.or(self.report.fault.take());
        Ok(())
    }

    /// Adds what became of a batch in one stage. A reject is kept with its row's number if it has one, or else with the
    /// stage's position.
    fn enter(&mut self, at: usize, metrics: StageMetrics, numbers: Option<&[u64]>) -> Result<()> {
        for reject in &metrics.rejects {
            let tag = numbers.map_or(at as u64, |numbers| numbers[reject.row as usize]);
            if self.rejects.is_none() {
                self.rejects = Some(AttemptFile::rejects(&self.folder, self.number)?);
            }
            let line = serde_json::to_string(&(tag, reject)).expect("it is plain data");
            self.rejects
                .as_mut()
                .expect("it was just made")
                .line(&line)?;
        }
        self.report.rejected[at] += metrics.rejects.len() as u64;
        let sum = &mut self.report.metrics[at];
        sum.rows_in += metrics.rows_in;
        sum.rows_out += metrics.rows_out;
        sum.added += metrics.added;
        sum.dropped += metrics.dropped;
        add_counts(&mut sum.counts, metrics.counts);
        sum.span.add(&metrics.span);
        sum.digest = match (sum.digest, metrics.digest) {
            (Some(sum), Some(more)) => Some(sum.then(more)),
            (sum, more) => more.or(sum),
        };
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<TaskReport> {
        if let Some(part) = self.part {
            part.finish_part()?;
        }
        if let Some(rejects) = self.rejects {
            rejects.finish()?;
        }
        self.report.samples = self.samples.into_iter().map(Sample::finish).collect();
        Ok(self.report)
    }
}
