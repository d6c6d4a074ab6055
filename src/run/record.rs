//! What is known of each stage while a run goes on: its ledger, its measurements, its checkpoints.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::spool::Spool;
use crate::clock::{self, Span};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::executor::{Gauge, SharedCosts, Waits};
use crate::fragment::StageMetrics;
use crate::pipeline::{Pipeline, Step, masked};
use crate::report::StageReport;
use crate::stage::{Counts, FILE_BYTES, Run, SENT_AGAIN, WaitReason, add_counts};
use crate::state::checkpoint::{Checkpoint, Ledger, RESUMED_ROWS, SYNC_EVERY};

/// The count of the most batches in flight at once, where that adapts to the outside.
pub(super) const CONCURRENCY: &str = "concurrency";

/// What can be watched of a stage while it works.
#[derive(Debug, Default)]
pub struct Live {
    /// Rows that came in so far.
    pub rows_in: AtomicU64,
    /// Rows that went on so far.
    pub rows_out: AtomicU64,
    /// Rows set aside so far.
    pub rejected: AtomicU64,
    /// Documents that a server had to be sent again so far.
    pub sent_again: AtomicU64,
    /// Whether it has begun.
    pub begun: AtomicBool,
    /// Whether it has ended.
    pub ended: AtomicBool,
    /// The stages that it reads.
    pub reads: Vec<String>,
    /// The stages that read it.
    pub read_by: Vec<String>,
    /// What its workers wait for.
    pub gauge: Mutex<Arc<Gauge>>,
    /// What its sessions wait for outside.
    pub wait_reason: WaitReason,
    /// Bytes of its files.
    pub bytes_total: AtomicU64,
    /// Batches that its source gave so far.
    pub batches_read: AtomicU64,
    /// Batches that are through.
    pub batches_done: AtomicU64,
    /// Bytes of its files read so far.
    pub bytes_done: Mutex<Option<Arc<AtomicU64>>>,
}

impl Live {
    /// From now on this tells what its workers wait for.
    pub(super) fn watch(&self, gauge: Arc<Gauge>) {
        *self.gauge.lock().expect("no one panics holding this lock") = gauge;
    }

    /// What its workers wait for.
    pub fn waits(&self) -> Waits {
        let gauge = self.gauge.lock().expect("no one panics holding this lock");
        gauge.get()
    }

    /// About how many bytes of its files are through; `None`: it reads none, or has not begun. Files are
    /// read ahead of the work, by much where they are short: of what was read that share counts which the
    /// batches that are through have of those that were read.
    pub fn bytes_through(&self) -> Option<u64> {
        let bytes = self.bytes_done.lock();
        let bytes = bytes.expect("no one panics holding this lock");
        let bytes = bytes.as_ref()?.load(Ordering::Relaxed);
        let read = self.batches_read.load(Ordering::Relaxed).max(1);
        let done = self.batches_done.load(Ordering::Relaxed).min(read);
        let through = u128::from(bytes) * u128::from(done) / u128::from(read);
        u64::try_from(through).ok()
    }

    /// Counts what was read of its files, of a run that has ended. Who does not read all of them has counted already.
    pub(super) fn count_files(&self, counts: &mut Counts) {
        let bytes = self.bytes_done.lock();
        let bytes = bytes.expect("no one panics holding this lock");
        let bytes = bytes.as_ref().map(|bytes| bytes.load(Ordering::Relaxed));
        if let Some(bytes @ 1..) = bytes {
            counts.entry(FILE_BYTES.into()).or_insert(bytes);
        }
    }
}

/// What can be watched of a run, one a stage.
pub fn watch(pipeline: &Pipeline) -> Vec<Arc<Live>> {
    let names = |steps: Vec<usize>| -> Vec<String> {
        let names = steps.into_iter().map(|at| pipeline.steps[at].name.clone());
        names.collect()
    };
    let live = |(at, step): (usize, &Step)| {
        Arc::new(Live {
            reads: names(step.inputs.clone()),
            read_by: names(pipeline.readers(at)),
            ..Live::default()
        })
    };
    pipeline.steps.iter().enumerate().map(live).collect()
}

/// One stage's record, filled in by whoever pulls its results.
pub(super) struct Record {
    name: String,
    totals: Mutex<Totals>,
    spool: Mutex<Spool>,
    pub(super) live: Arc<Live>,
}

/// Sums over the batches so far.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) ledger: Ledger,
    pub(super) digest: Option<Digest>,
    pub(super) span: Span,
    /// What of `span` one thread does alone: reading, partitioning by key, feeding the sink.
    pub(super) serial: Duration,
    /// In a staged run all the time that was its own.
    pub(super) own: Option<Duration>,
    /// In a staged run the bytes of its inputs and of what it gave.
    pub(super) moved: Option<u64>,
    pub(super) warnings: Vec<String>,
    /// How many tasks of a cluster worked for it.
    pub(super) tasks: Option<usize>,
    /// Where checkpoints are written, for stages after which a failed run can be resumed.
    pub(super) checkpoints: Option<CheckpointFile>,
    /// What executing its fragment cost, and its position there: the first stage stands for the whole fragment.
    pub(super) costs: Option<(SharedCosts, usize)>,
}

/// The file of checkpoints. It is synced to disk at most once per [`SYNC_EVERY`] and at the end: after a power cut a
/// resumed run repeats about a second's work.
pub(super) struct CheckpointFile {
    file: File,
    /// When it was last brought to disk, by [`clock::monotonic`].
    synced: Duration,
}

impl Totals {
    /// Adds warnings that are not among them: several tasks may see the same.
    pub(super) fn warn_once(&mut self, warnings: impl IntoIterator<Item = String>) {
        for warning in warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    /// Adds work that one thread does alone.
    pub(super) fn add_serial(&mut self, span: &Span) {
        self.span.add(span);
        self.serial += span.busy;
    }
}

impl Record {
    pub(super) fn new(stage: &str, spool: PathBuf, live: Arc<Live>) -> Self {
        Record {
            name: stage.to_owned(),
            totals: Mutex::default(),
            spool: Mutex::new(Spool::new(stage, spool)),
            live,
        }
    }

    /// The stage's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().expect("no one panics holding this lock")
    }

    /// Adds what became of one batch.
    pub(super) fn add(&self, stage_metrics: StageMetrics, run: &Run) -> Result<()> {
        let rejected = stage_metrics.rejects.len() as u64;
        let sent_again = stage_metrics
            .counts
            .get(SENT_AGAIN)
            .copied()
            .unwrap_or_default();
        let mut totals = self.totals();
        totals.ledger.batches += 1;
        totals.ledger.rows_in += stage_metrics.rows_in;
        totals.ledger.rows_out += stage_metrics.rows_out;
        totals.ledger.added += stage_metrics.added;
        totals.ledger.dropped += stage_metrics.dropped;
        totals.ledger.rejected += rejected;
        totals.span.add(&stage_metrics.span);
        add_counts(&mut totals.ledger.counts, stage_metrics.counts);
        totals.digest = stage_metrics
            .digest
            .map(|digest| totals.digest.unwrap_or(Digest::EMPTY).then(digest));
        drop(totals);
        self.live.begun.store(true, Ordering::Relaxed);
        self.live.batches_done.fetch_add(1, Ordering::Relaxed);
        self.live
            .rows_in
            .fetch_add(stage_metrics.rows_in, Ordering::Relaxed);
        self.live
            .rows_out
            .fetch_add(stage_metrics.rows_out, Ordering::Relaxed);
        self.live.rejected.fetch_add(rejected, Ordering::Relaxed);
        self.live
            .sent_again
            .fetch_add(sent_again, Ordering::Relaxed);
        let mut spool = self.spool.lock().expect("no one panics holding this lock");
        stage_metrics
            .rejects
            .into_iter()
            .try_for_each(|reject| spool.write(&reject, run))
    }

    /// Resumes after the last checkpoint of an earlier run.
    pub(super) fn resume(&self, checkpoint: &Checkpoint, file: File) -> Result<()> {
        let mut totals = self.totals();
        totals.ledger = checkpoint.ledger.clone();
        if checkpoint.ledger.rows_in > 0 {
            let before = checkpoint.ledger.rows_in;
            totals.ledger.counts.insert(RESUMED_ROWS.into(), before);
        }
        totals.checkpoints = Some(CheckpointFile {
            file,
            synced: clock::monotonic(),
        });
        let mut spool = self.spool.lock().expect("no one panics holding this lock");
        spool.resume(checkpoint.ledger.rejected, checkpoint.rejects_bytes)
    }

    /// Writes a checkpoint of all work so far, if the stage keeps checkpoints.
    pub(super) fn checkpoint(&self) -> Result<()> {
        let mut totals = self.totals();
        let Totals {
            ledger,
            checkpoints,
            ..
        } = &mut *totals;
        let Some(checkpoint_file) = checkpoints else {
            return Ok(());
        };
        let mut spool = self.spool.lock().expect("no one panics holding this lock");
        let line = Checkpoint {
            ledger: ledger.clone(),
            rejects_bytes: spool.flush()?,
            rejects_sum: spool.sum.digest(),
        };
        spool.kept = true;
        let line = serde_json::to_string(&line).expect("it is plain data") + "\n";
        let cannot = |error| Error::failed("cannot note what is settled").cause(error);
        checkpoint_file
            .file
            .write_all(line.as_bytes())
            .map_err(cannot)?;
        if clock::monotonic().saturating_sub(checkpoint_file.synced) >= SYNC_EVERY {
            checkpoint_file.sync(&spool).map_err(cannot)?;
        }
        Ok(())
    }

    /// Syncs the checkpoints to disk.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        let mut totals = self.totals();
        let Some(checkpoint_file) = &mut totals.checkpoints else {
            return Ok(());
        };
        let spool = self.spool.lock().expect("no one panics holding this lock");
        checkpoint_file.sync(&spool)
    }

    /// Where its rejects are until the run has ended.
    pub(super) fn spool_file(&self) -> PathBuf {
        let spool = self.spool.lock().expect("no one panics holding this lock");
        spool.path.clone()
    }

    pub(super) fn report(&self, step: &Step, digest: bool) -> StageReport {
        let totals = self.totals();
        let seconds = |duration: Duration| duration.as_secs_f64();
        let shared = totals.costs.as_ref();
        let is_first = shared.is_some_and(|(_, position)| *position == 0);
        let costs = shared.map(|(costs, _)| {
            let costs = costs.lock().expect("no one panics holding this lock");
            costs.clone()
        });
        let costs = costs.unwrap_or_default();
        let mut counts = totals.ledger.counts.clone();
        if costs.concurrency > 0 {
            counts.insert(CONCURRENCY.into(), costs.concurrency);
        }
        let mut warnings = totals.warnings.clone();
        let stands = if is_first {
            costs.clone()
        } else {
            crate::executor::Costs::default()
        };
        warnings.extend(stands.warnings);
        let secrets = step.secrets();
        for warning in &mut warnings {
            *warning = secrets.clean(warning);
        }
        StageReport {
            name: step.name.clone(),
            kind: step.kind.name.into(),
            options: masked(&step.options),
            executor: step.executor().into(),
            processes: totals.tasks.unwrap_or(step.grid.processes),
            threads: step.grid.threads,
            batch_rows: step.batch_rows,
            batches: totals.ledger.batches,
            rows_in: totals.ledger.rows_in,
            added: totals.ledger.added,
            rows_out: totals.ledger.rows_out,
            rejected: totals.ledger.rejected,
            dropped: totals.ledger.dropped,
            wall_s: seconds(totals.own.unwrap_or_else(|| totals.span.wall())),
            busy_s: seconds(totals.span.busy),
            cpu_s: seconds(totals.span.cpu),
            queued_s: seconds(totals.span.queued),
            serial_s: seconds(totals.serial),
            moved_bytes: totals.moved,
            start_s: seconds(stands.start),
            open_s: seconds(stands.open),
            copy_s: seconds(stands.copy),
            sessions: costs.sessions,
            digest: digest.then(|| totals.digest.unwrap_or(Digest::EMPTY).hex()),
            counts,
            published: None,
            warnings,
        }
    }

    /// The rejects so far, where they are.
    pub(super) fn take_spool(&self) -> Spool {
        let mut spool = self.spool.lock().expect("no one panics holding this lock");
        std::mem::replace(&mut *spool, Spool::new("", PathBuf::new()))
    }
}

impl CheckpointFile {
    /// The rejects first: the checkpoints count them.
    fn sync(&mut self, spool: &Spool) -> std::io::Result<()> {
        spool.sync()?;
        self.file.sync_data()?;
        self.synced = clock::monotonic();
        Ok(())
    }
}
