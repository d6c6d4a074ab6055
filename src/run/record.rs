//! What is known of each stage while a run goes on: the ledger, the measures, how far it is settled.

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
use crate::hand::Mark;
use crate::pipeline::{Pipeline, Step, masked};
use crate::report::StageReport;
use crate::stage::{Note, Run, add_counts};
use crate::state::checkpoint::{Books, RESUMED_ROWS, SYNC_EVERY, Settled};

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
    pub note: Note,
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
    pub(super) books: Books,
    pub(super) digest: Option<Digest>,
    pub(super) span: Span,
    /// What of `span` one thread does alone: reading, dealing by key, feeding the sink.
    pub(super) serial: Duration,
    /// In a staged run all the time that was its own.
    pub(super) own: Option<Duration>,
    /// In a staged run the bytes of its inputs and of what it gave.
    pub(super) moved: Option<u64>,
    pub(super) warnings: Vec<String>,
    /// Where it is noted how far the work is settled, for stages of which a failed run can go on.
    pub(super) settled: Option<Notes>,
    /// What executing cost; `first`: whether this stage stands for the stages played with it.
    pub(super) costs: Option<(SharedCosts, bool)>,
}

/// The file that says how far the work is settled. It is brought to disk at most this often, and at the end:
/// what a run does once more that goes on after a power cut is a second's work.
pub(super) struct Notes {
    file: File,
    /// When it was last brought to disk, by [`clock::monotonic`].
    synced: Duration,
}

impl Totals {
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
    pub(super) fn mark(&self, mark: Mark, run: &Run) -> Result<()> {
        let rejected = mark.rejects.len() as u64;
        let sent_again = mark.counts.get("sent_again").copied().unwrap_or_default();
        let mut totals = self.totals();
        totals.books.batches += 1;
        totals.books.rows_in += mark.rows_in;
        totals.books.rows_out += mark.rows_out;
        totals.books.added += mark.added;
        totals.books.dropped += mark.dropped;
        totals.books.rejected += rejected;
        totals.span.add(&mark.span);
        add_counts(&mut totals.books.counts, mark.counts);
        totals.digest = mark
            .digest
            .map(|digest| totals.digest.unwrap_or(Digest::EMPTY).then(digest));
        drop(totals);
        self.live.begun.store(true, Ordering::Relaxed);
        self.live.batches_done.fetch_add(1, Ordering::Relaxed);
        self.live.rows_in.fetch_add(mark.rows_in, Ordering::Relaxed);
        self.live
            .rows_out
            .fetch_add(mark.rows_out, Ordering::Relaxed);
        self.live.rejected.fetch_add(rejected, Ordering::Relaxed);
        self.live
            .sent_again
            .fetch_add(sent_again, Ordering::Relaxed);
        let mut spool = self.spool.lock().expect("no one panics holding this lock");
        mark.rejects
            .into_iter()
            .try_for_each(|reject| spool.write(reject, run))
    }

    /// Goes on behind what an earlier run settled.
    pub(super) fn resume(&self, settled: &Settled, file: File) -> Result<()> {
        let mut totals = self.totals();
        totals.books = settled.books.clone();
        if settled.books.rows_in > 0 {
            let before = settled.books.rows_in;
            totals.books.counts.insert(RESUMED_ROWS.into(), before);
        }
        totals.settled = Some(Notes {
            file,
            synced: clock::monotonic(),
        });
        let mut spool = self.spool.lock().expect("no one panics holding this lock");
        spool.resume(settled.books.rejected, settled.rejects_bytes)
    }

    /// Notes that all so far is settled, where that is wanted.
    pub(super) fn settle(&self) -> Result<()> {
        let mut totals = self.totals();
        let Totals { books, settled, .. } = &mut *totals;
        let Some(notes) = settled else {
            return Ok(());
        };
        let mut spool = self.spool.lock().expect("no one panics holding this lock");
        let line = Settled {
            books: books.clone(),
            rejects_bytes: spool.flush()?,
            rejects_sum: spool.sum.digest(),
        };
        spool.kept = true;
        let line = serde_json::to_string(&line).expect("it is plain data") + "\n";
        let cannot = |error| Error::failed("cannot note what is settled").cause(error);
        notes.file.write_all(line.as_bytes()).map_err(cannot)?;
        if clock::monotonic().saturating_sub(notes.synced) >= SYNC_EVERY {
            notes.sync(&spool).map_err(cannot)?;
        }
        Ok(())
    }

    /// Brings what is settled to disk.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        let mut totals = self.totals();
        let Some(notes) = &mut totals.settled else {
            return Ok(());
        };
        let spool = self.spool.lock().expect("no one panics holding this lock");
        notes.sync(&spool)
    }

    /// Where its rejects are until the run has ended.
    pub(super) fn spool_file(&self) -> PathBuf {
        let spool = self.spool.lock().expect("no one panics holding this lock");
        spool.path.clone()
    }

    pub(super) fn report(&self, step: &Step, digest: bool) -> StageReport {
        let totals = self.totals();
        let seconds = |duration: Duration| duration.as_secs_f64();
        let (costs, first) =
            totals
                .costs
                .as_ref()
                .map_or_else(Default::default, |(costs, first)| {
                    (
                        costs
                            .lock()
                            .expect("no one panics holding this lock")
                            .clone(),
                        *first,
                    )
                });
        let mut counts = totals.books.counts.clone();
        if costs.concurrency > 0 {
            counts.insert("concurrency".into(), costs.concurrency);
        }
        let mut warnings = totals.warnings.clone();
        let stands = if first {
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
            executor: step.grid.kind.word().into(),
            processes: step.grid.processes,
            threads: step.grid.threads,
            batch_rows: step.batch_rows,
            batches: totals.books.batches,
            rows_in: totals.books.rows_in,
            added: totals.books.added,
            rows_out: totals.books.rows_out,
            rejected: totals.books.rejected,
            dropped: totals.books.dropped,
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

impl Notes {
    /// The rejects first, which the notes count.
    fn sync(&mut self, spool: &Spool) -> std::io::Result<()> {
        spool.sync()?;
        self.file.sync_data()?;
        self.synced = clock::monotonic();
        Ok(())
    }
}
