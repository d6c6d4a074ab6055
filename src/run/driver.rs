//! Drives a run: begins its stages, pulls rows through them, closes the ledger, and publishes.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::Options;
use super::record::Record;
use super::stream::Tee;
use super::wiring::Wiring;
use crate::batch::ROWS_MAX;
use crate::clock;
use crate::cluster::folder::SharedFolder;
use crate::disk;
use crate::error::{Error, Result};
use crate::executor::{Batches, SharedCosts};
use crate::pipeline::Pipeline;
use crate::plan::Plan;
use crate::report::ClusterReport;
use crate::schema::{Schema, count, list};
use crate::stage::{Begun, InputFile, Run, Sink, Totals, add_counts};
use crate::state::checkpoint::Checkpoint;
use crate::state::journal::ResponseJournal;
use crate::state::loaded::LoadedLog;
use crate::state::resume::{Reach, RunFolder};

/// One run at work.
pub(super) struct Driver<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) plan: &'a Plan,
    pub(super) options: &'a Options,
    pub(super) run: Arc<Run>,
    pub(super) records: Vec<Arc<Record>>,
    pub(super) schemas: Vec<Schema>,
    pub(super) inputs: Vec<InputFile>,
    pub(super) children_peak: u64,
    pub(super) folder: RunFolder,
    /// How far it has come.
    pub(super) reach: Reach,
    /// Whether results may be visible already.
    pub(super) publishing: bool,
    /// The files that earlier runs have published, where a stage reads only new ones.
    pub(super) loaded: Option<LoadedLog>,
    /// The files that this run reads for a stage that reads only new ones, and that stage.
    pub(super) new_files: Vec<(String, InputFile)>,
    /// The files of each stage that reads some.
    pub(super) files_of: BTreeMap<usize, StageFiles>,
    /// Whether it ended before any work, as no file is new.
    pub(super) nothing_new: bool,
    /// What is kept of stages whose batches are requests.
    pub(super) journals: Vec<(usize, Arc<ResponseJournal>)>,
    /// What is reported of the cluster, if there is one.
    pub(super) cluster: Mutex<Option<ClusterReport>>,
    /// In a cluster run, what tasks leave to each other. It goes when the run has ended.
    pub(super) shared: OnceLock<SharedFolder>,
}

/// The files of one stage.
pub(super) struct StageFiles {
    /// The first of them, read or not, and its number in the run: stages look there for columns.
    pub(super) first: Option<(u32, InputFile)>,
    /// Those that the run reads, each with its number.
    pub(super) read: Vec<(u32, InputFile)>,
}

impl StageFiles {
    /// All files of a stage, of which the first one has the number `before`; the run reads those in `read`.
    fn new(before: usize, all: Vec<InputFile>, read: &[InputFile]) -> Self {
        let number = |at: usize| u32::try_from(before + at).expect("it was given when it began");
        let read: HashSet<&str> = read.iter().map(|file| file.file.as_str()).collect();
        let all: Vec<(u32, InputFile)> = all
            .into_iter()
            .enumerate()
            .map(|(at, file)| (number(at), file))
            .collect();
        StageFiles {
            first: all.first().cloned(),
            read: all
                .into_iter()
                .filter(|(_, file)| read.contains(file.file.as_str()))
                .collect(),
        }
    }
}

/// A stage whose rows go to no other stage.
pub(super) struct Terminal {
    pub(super) at: usize,
    pub(super) stream: Option<Batches>,
    pub(super) sink: Option<Box<dyn Sink>>,
    /// The tees on its way, and which reader of each it is.
    pub(super) tees: Vec<(Arc<Tee>, usize)>,
}

impl Terminal {
    /// How many batches wait for it somewhere.
    fn backlog(&self) -> usize {
        self.tees
            .iter()
            .map(|(tee, reader)| tee.waiting(*reader))
            .max()
            .unwrap_or_default()
    }
}

impl Driver<'_> {
    /// All of it; what fails leaves nothing visible.
    pub(super) fn drive(&mut self) -> Result<()> {
        self.schemas = self.pipeline.schemas()?;
        let Some(begun) = self.begin()? else {
            self.nothing_new = true;
            return Ok(());
        };
        let mut terminals = Vec::new();
        let done = self.work(begun, &mut terminals);
        if done.is_err() {
            for terminal in terminals {
                if let Some(sink) = terminal.sink {
                    let left = sink.abandon();
                    self.records[terminal.at].totals().warnings.extend(left);
                }
            }
            return done;
        }
        self.note_publishing()?;
        self.publishing = true;
        self.publish(terminals)?;
        self.note_published();
        Ok(())
    }

    /// All but making it visible.
    fn work(&mut self, begun: Vec<Begun>, terminals: &mut Vec<Terminal>) -> Result<()> {
        let mut begun = begun;
        let mut wiring = Wiring::new(
            self.pipeline,
            self.plan,
            self.options,
            self.run.clone(),
            self.records.clone(),
            self.schemas.clone(),
            &mut begun,
        );
        let ended = match &self.options.cluster {
            Some(config) => self.run_clustered(config, &mut wiring, terminals),
            None if self.options.staged => self.run_staged(&mut wiring, terminals),
            None => self.run_streamed(&mut wiring, terminals),
        };
        let costs = std::mem::take(&mut wiring.costs);
        self.journals = std::mem::take(&mut wiring.journals);
        drop(wiring);
        self.children_peak = costs
            .iter()
            .map(|costs| {
                costs
                    .lock()
                    .expect("no one panics holding this lock")
                    .peak_rss_bytes
            })
            .sum();
        if ended.is_err() {
            for terminal in terminals.iter_mut() {
                terminal.stream = None;
            }
            part(&costs);
        }
        ended?;
        self.account()?;
        for terminal in terminals.iter_mut() {
            if let Some(sink) = &mut terminal.sink {
                let at = terminal.at;
                let counts = self.own(at, || self.timed(at, || sink.finish()))?;
                let mut totals = self.records[at].totals();
                add_counts(&mut totals.ledger.counts, counts);
                totals.warnings.append(&mut sink.notes());
            }
        }
        self.options.stop.check()
    }

    /// Says what was kept of requests, and keeps the answers only as long as somebody may go on with them.
    pub(super) fn close_journals(&mut self, done: bool) {
        for (at, journal) in &self.journals {
            self.records[*at]
                .totals()
                .warnings
                .append(&mut journal.warnings());
            if journal.has_responses() {
                self.reach = Reach::Resumable;
            }
            if done {
                journal.delete();
            }
        }
    }

    /// Whether another run can go on where this one has ended with `error`: what it needs is on disk.
    pub(super) fn can_go_on(&self, error: &Error) -> bool {
        let journaled = self
            .journals
            .iter()
            .all(|(_, journal)| journal.sync().is_ok());
        let checkpointed = self.records.iter().all(|record| record.sync().is_ok());
        self.reach.can_go_on(error) && journaled && checkpointed && self.folder.is_there()
    }

    /// Makes it visible, in the file's order.
    fn publish(&self, mut terminals: Vec<Terminal>) -> Result<()> {
        terminals.sort_by_key(|terminal| terminal.at);
        let mut published: Vec<&str> = Vec::new();
        for terminal in terminals {
            if let Some(sink) = terminal.sink {
                let at = terminal.at;
                let mut warnings = Vec::new();
                let counts = self.own(at, || self.timed(at, || sink.publish(&mut warnings)));
                self.records[at].totals().warnings.append(&mut warnings);
                // What is visible stays so: to take it back could fail as well.
                let counts = counts.map_err(|error| match published[..] {
                    [] => error,
                    _ => error.cause(format!("already published: {}", list(&published))),
                })?;
                add_counts(
                    &mut self.records[terminal.at].totals().ledger.counts,
                    counts,
                );
                published.push(&self.pipeline.steps[terminal.at].name);
            }
        }
        Ok(())
    }

    /// Does a sink's work, measured as its stage's.
    pub(super) fn timed<T>(&self, at: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let meter = clock::Meter::start();
        let result = work();
        self.records[at].totals().add_serial(&meter.stop());
        result.map_err(|error| self.pipeline.steps[at].placed(error))
    }

    /// Begins all stages, those that read files first; `None`: they read only new files, and there are none.
    fn begin(&mut self) -> Result<Option<Vec<Begun>>> {
        let steps = self.pipeline.steps.iter();
        let (loaders, others): (Vec<usize>, Vec<usize>) = (0..steps.len())
            .partition(|&at| !self.pipeline.steps[at].stage.properties().reads.is_empty());
        let mut all = BTreeMap::new();
        for at in loaders {
            all.insert(at, self.begin_stage(at)?);
        }
        if self.is_without_new(&all) {
            return Ok(None);
        }
        for at in others {
            all.insert(at, self.begin_stage(at)?);
        }
        self.folder.reads(&self.inputs, self.pipeline)?;
        let keeps = all.values().any(|begun: &Begun| begun.resumable);
        self.reach = if keeps {
            Reach::Resumable
        } else {
            Reach::Begun
        };
        Ok(Some(all.into_values().collect()))
    }

    fn begin_stage(&mut self, at: usize) -> Result<Begun> {
        use std::sync::atomic::Ordering;
        let step = &self.pipeline.steps[at];
        let inputs = step.given(&self.schemas);
        let lint_warnings = step.stage.lint(&inputs, &self.run.folder);
        let before = self.run.files();
        let begun = step
            .stage
            .begin(&self.run, &inputs, step.batch_rows.unwrap_or(ROWS_MAX));
        let mut begun = begun.map_err(|error| step.placed(error))?;
        let record = self.records[at].clone();
        record.totals().warnings.extend(lint_warnings);
        if self.loaded.is_some() {
            let lint_warning = self.pipeline.lint_of_new_files_at(at);
            record.totals().warnings.extend(lint_warning);
        }
        record.totals().warnings.append(&mut begun.warnings);
        if let Some(source) = &mut begun.source {
            let all = source.files.clone();
            self.leave_out(at, source);
            self.files_of
                .insert(at, StageFiles::new(before, all, &source.files));
            let live = &record.live;
            let bytes = source.files.iter().map(|file| file.bytes).sum();
            live.bytes_total.store(bytes, Ordering::Relaxed);
            let done = source.bytes_done.clone();
            let bytes_done = live.bytes_done.lock();
            *bytes_done.expect("no one panics holding this lock") = Some(done);
            self.inputs.extend(source.files.iter().cloned());
        }
        if begun.resumable {
            self.resume(at, &mut begun)?;
        }
        Ok(begun)
    }

    /// Prepares to write checkpoints after those of an earlier run.
    fn resume(&self, at: usize, begun: &mut Begun) -> Result<()> {
        let path = self.folder.checkpoint_file(&self.pipeline.steps[at].name);
        let (checkpoint, end) = if self.plan.fragment_of(at).on_cluster {
            // Tasks begin anew: which rows an earlier run has settled is known of a stream on one machine.
            (Checkpoint::default(), 0)
        } else {
            Checkpoint::last(&path, &self.records[at].spool_file())
        };
        let file = disk::private()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|file| file.set_len(end).map(|()| file))
            .map_err(|error| Error::io("write", path.display(), &error))?;
        if let Some(sink) = &mut begun.sink {
            sink.resume(checkpoint.ledger.rejected, &checkpoint.ledger.counts);
        }
        self.records[at].resume(&checkpoint, file)
    }

    /// All stages at once: each terminal is pulled, and pulls what lies above it.
    pub(super) fn run_streamed(
        &self,
        wiring: &mut Wiring,
        terminals: &mut Vec<Terminal>,
    ) -> Result<()> {
        for fragment in &self.plan.fragments {
            let at = fragment.last();
            if self.plan.edges_from(at).next().is_none() {
                let mut tees = Vec::new();
                let stream = Some(wiring.step(at, &mut tees));
                let sink = wiring.begun[at].sink.take();
                terminals.push(Terminal {
                    at,
                    stream,
                    sink,
                    tees,
                });
            }
        }
        let mut fault = None;
        loop {
            // The one for which most is waiting: so a shared output holds little.
            let running = terminals
                .iter_mut()
                .enumerate()
                .filter(|(_, terminal)| terminal.stream.is_some());
            let Some((i, terminal)) = running.max_by_key(|(_, terminal)| terminal.backlog()) else {
                return fault.map_or(Ok(()), Err);
            };
            match self.pull(terminal) {
                Ok(()) => {}
                // One that stands before it in the file may have a faulty row too, and would then be
                // the one that is reported, as in a staged run: which batch comes first says nothing.
                Err(error) if error.is_of_a_row() => {
                    fault = Some(error);
                    for terminal in &mut terminals[i..] {
                        terminal.stream = None;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn pull(&self, terminal: &mut Terminal) -> Result<()> {
        let Some(batch) = terminal
            .stream
            .as_mut()
            .and_then(Iterator::next)
            .transpose()?
        else {
            terminal.stream = None;
            return Ok(());
        };
        match &mut terminal.sink {
            Some(sink) => {
                self.timed(terminal.at, || sink.push(batch))?;
                if self.plan.fragment_of(terminal.at).on_cluster {
                    // What tasks did was entered as a whole: nothing says how much of it the sink has seen.
                    return Ok(());
                }
                self.records[terminal.at].checkpoint()
            }
            None => Ok(()),
        }
    }

    /// Closes the ledger: the kinds add their last counts, then every stage must balance.
    fn account(&self) -> Result<()> {
        for (at, step) in self.pipeline.steps.iter().enumerate() {
            let rows_out = |input: &usize| self.records[*input].totals().ledger.rows_out;
            let rows_in: Vec<u64> = step.inputs.iter().map(rows_out).collect();
            let given: u64 = step.streamed_inputs().map(|input| rows_in[input]).sum();
            let mut totals = self.records[at].totals();
            if let Some((costs, position)) = &totals.costs {
                let closed = costs
                    .lock()
                    .expect("no one panics holding this lock")
                    .closed
                    .get(*position)
                    .cloned()
                    .unwrap_or_default();
                add_counts(&mut totals.ledger.counts, closed);
            }
            let taken = totals.ledger.rows_in;
            if !rows_in.is_empty() && given != taken {
                return Err(Error::failed(format!(
                    "the ledger does not balance: it was given {}, it saw {taken}",
                    count(given, "row")
                ))
                .stage(&step.name)
                .hint("this is a bug in etl: nothing was published"));
            }
            let (left, right) = (
                totals.ledger.rows_in + totals.ledger.added,
                totals.ledger.rows_out + totals.ledger.rejected + totals.ledger.dropped,
            );
            if left != right {
                return Err(Error::failed(format!(
                    "the ledger does not balance: {} rows in + {} added = {left}, but {} out + {} rejected + {} dropped = {right}",
                    totals.ledger.rows_in, totals.ledger.added, totals.ledger.rows_out, totals.ledger.rejected, totals.ledger.dropped
                ))
                .stage(&step.name)
                .hint("this is a bug in etl: nothing was published"));
            }
            let mut warnings = Vec::new();
            let mut last = Totals {
                rows_in,
                counts: &mut totals.ledger.counts,
                warnings: &mut warnings,
            };
            step.stage
                .finish(&mut last)
                .map_err(|error| error.stage(&step.name))?;
            totals.warn_once(warnings);
        }
        Ok(())
    }
}

/// How long sessions of a run that fails may take to part from those they talk to.
const PARTING: Duration = Duration::from_secs(2);

/// Waits for the sessions in this process that somebody outside keeps a place for: whoever works on with
/// one has yet to notice that the run has ended.
fn part(costs: &[SharedCosts]) {
    let until = clock::monotonic() + PARTING;
    for costs in costs {
        let mut costs = costs.lock().expect("no one panics holding this lock");
        let held = costs.held.take();
        drop(costs);
        if let Some((own, others)) = held {
            drop(own);
            // Nothing is sent: it is disconnected when the last one has gone.
            let _ = others.recv_timeout(until.saturating_sub(clock::monotonic()));
        }
    }
}
