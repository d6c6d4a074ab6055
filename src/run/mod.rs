//! The driver: wires stages into streams, runs them, accounts for every row, and publishes at the end.

mod ahead;
pub mod compare;
pub mod history;
mod kept;
mod preview;
mod record;
mod resume;
mod staged;
mod stream;
mod wiring;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

pub use crate::executor::Waits;
pub use preview::{Preview, preview};
pub use record::{Live, watch};

use crate::batch::ROWS_MAX;
use crate::clock;
use crate::error::{Class, Error, Result};
use crate::executor::processes::Workers;
use crate::executor::{Batches, SharedCosts};
use crate::pipeline::Pipeline;
use crate::report::{Failure, Machine, Rejects, Report, Status};
use crate::schema::{Schema, list};
use crate::stage::{Begun, InputFile, Run, Sink, Totals, add_counts};
use crate::stop::Stop;
use kept::Kept;
use record::Record;
use resume::{RunFolder, Settled};
use stream::Tee;
use wiring::Wiring;

/// How to run.
pub struct Options {
    /// One stage after another, each output held until its last reader has run.
    pub staged: bool,
    /// Digest every output.
    pub digest: bool,
    /// Where runs keep their report and rejects.
    pub state: PathBuf,
    /// What was typed, to be told how to go on; `None`: this cannot be gone on with.
    pub command: Option<String>,
    /// The run to go on with; empty: the pipeline's newest unfinished one.
    pub resume: Option<String>,
    /// What stops the run.
    pub stop: Stop,
    /// The program that worker processes run.
    pub workers: Arc<Workers>,
}

/// Runs a pipeline. However it ends there is a report, and the error if it did not end well.
pub fn run(pipeline: &Pipeline, options: &Options, live: &[Arc<Live>]) -> (Report, Option<Error>) {
    let started = clock::monotonic();
    // What the process was before (a shell, cargo) may have used some too.
    let cpu_before = clock::process_cpu();
    let now = Utc::now();
    let mut notes = Vec::new();
    let (held, resumed) = match open_folder(pipeline, options, now) {
        Ok(held) => held,
        Err(error) => return (Report::of_no_run(&pipeline.file, &error), Some(error)),
    };
    let (id, folder) = (held.id.clone(), held.path.clone());
    let spool = |i: usize| folder.join(format!("rejects-{i}.part"));
    let records: Vec<Arc<Record>> = pipeline
        .steps
        .iter()
        .zip(live)
        .enumerate()
        .map(|(i, (step, live))| Arc::new(Record::new(&step.name, spool(i), live.clone())))
        .collect();
    let mut run = Run::new(
        id.clone(),
        pipeline.folder.clone(),
        folder.clone(),
        options.stop.clone(),
    );
    run.resumed = resumed;
    run.pipeline.clone_from(&pipeline.name);
    let run = Arc::new(run);
    let mut driver = Driver {
        pipeline,
        options,
        run: run.clone(),
        records,
        schemas: Vec::new(),
        inputs: Vec::new(),
        children_peak: 0,
        folder: held,
        resumable: false,
        kept: Vec::new(),
    };
    let ran = driver
        .drive()
        // What a stopped run met on its way out is not the reason that it ended.
        .or_else(|error| options.stop.check().and(Err(error)));
    options.workers.kill_all();
    driver.settle_kept(ran.is_ok());
    let joined = record::join_rejects(
        driver
            .records
            .iter()
            .map(|record| record.take_spool())
            .collect(),
        &folder.join("rejects.ndjson"),
        ran.is_ok(),
    );
    let (rejects, error) = match (joined, ran) {
        (Ok(rejects), ran) => (rejects, ran.err()),
        (Err(error), ran) => {
            // What a run that goes on needs stays where it is.
            let dropped = (0..pipeline.steps.len()).filter(|_| !driver.resumable);
            dropped.for_each(|i| drop(std::fs::remove_file(spool(i))));
            (Rejects::default(), Some(ran.err().unwrap_or(error)))
        }
    };
    let error = error.map(|error| located(error, &run, pipeline));
    if let (Some(_), true, Some(command)) = (&error, driver.resumable, &options.command) {
        notes.push(format!(
            "nothing is lost: `{command} --resume={id}` goes on where this run ended"
        ));
    }
    let stages = pipeline
        .steps
        .iter()
        .zip(&driver.records)
        .map(|(step, record)| record.report(step, options.digest));
    let mut report = Report {
        pipeline: pipeline.name.clone(),
        pipeline_file: pipeline.file.display().to_string(),
        run: id,
        status: match error.as_ref().map(|error| error.class) {
            None => Status::Done,
            Some(Class::Interrupted(_)) => Status::Interrupted,
            Some(_) => Status::Failed,
        },
        error: error.as_ref().map(Failure::of),
        mode: if options.staged { "staged" } else { "streamed" }.into(),
        started_at: now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        wall_s: clock::monotonic().saturating_sub(started).as_secs_f64(),
        cpu_s: clock::process_cpu()
            .saturating_sub(cpu_before)
            .as_secs_f64(),
        peak_rss_bytes: clock::peak_rss_bytes() + driver.children_peak,
        s_per_gb: None,
        machine: Machine::this(),
        inputs: std::mem::take(&mut driver.inputs),
        stages: stages.collect(),
        rejects,
        notes,
    };
    report.s_per_gb = report.per_gb();
    (report, error)
}

/// The newest run of a pipeline that was interrupted, so that it can be gone on with.
pub fn unfinished(pipeline: &Pipeline, state: &Path) -> Option<String> {
    resume::unfinished(&state.join("runs"), pipeline)
}

/// The folder of a new run, or of the one to go on with.
fn open_folder(
    pipeline: &Pipeline,
    options: &Options,
    now: DateTime<Utc>,
) -> Result<(RunFolder, bool)> {
    let runs = options.state.join("runs");
    if let Some(resume) = &options.resume
        && let Some(folder) = RunFolder::of_unfinished(&runs, resume, pipeline)?
    {
        return Ok((folder, true));
    }
    Ok((RunFolder::new(&runs, now, pipeline)?, false))
}

/// How long sessions of a run that fails may take to part from those they talk to.
const PARTING: Duration = Duration::from_secs(2);

/// Waits for the sessions in this process that somebody outside keeps a place for: whoever works on with
/// one has yet to notice that the run has ended.
fn part(costs: &[SharedCosts]) {
    let until = clock::monotonic() + PARTING;
    for costs in costs {
        let held = || {
            let costs = costs.lock().expect("no one panics holding this lock");
            costs.held.as_ref().map_or(0, Arc::strong_count)
        };
        while held() > 1 && clock::monotonic() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The error with the place of its row, and without secrets.
fn located(error: Error, run: &Run, pipeline: &Pipeline) -> Error {
    let mut error = error;
    if let (Some(origin), None) = (error.origin, &error.place) {
        let line_byte = error.line_byte.unzip();
        error.place = Some(run.place(origin, line_byte.0, line_byte.1));
    }
    match pipeline
        .steps
        .iter()
        .find(|step| Some(&step.name) == error.stage.as_ref())
    {
        Some(step) => step.scrub(error),
        None => error,
    }
}

struct Driver<'a> {
    pipeline: &'a Pipeline,
    options: &'a Options,
    run: Arc<Run>,
    records: Vec<Arc<Record>>,
    schemas: Vec<Schema>,
    inputs: Vec<InputFile>,
    children_peak: u64,
    folder: RunFolder,
    /// Whether some stage has begun of which a failed run can go on.
    resumable: bool,
    /// What is kept of stages whose batches are requests.
    kept: Vec<(usize, Arc<Kept>)>,
}

/// A stage whose rows go to no other stage.
struct Terminal {
    at: usize,
    stream: Option<Batches>,
    sink: Option<Box<dyn Sink>>,
    /// The tees on its way, and which reader of each it is.
    tees: Vec<(Arc<Tee>, usize)>,
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
    fn drive(&mut self) -> Result<()> {
        self.schemas = self.pipeline.schemas()?;
        let mut terminals = Vec::new();
        let done = self.work(&mut terminals);
        if done.is_err() {
            for terminal in terminals {
                if let Some(sink) = terminal.sink {
                    let left = sink.abandon();
                    self.records[terminal.at].totals().warnings.extend(left);
                }
            }
            return done;
        }
        self.publish(terminals)
    }

    /// All but making it visible.
    fn work(&mut self, terminals: &mut Vec<Terminal>) -> Result<()> {
        let mut begun = self.begin()?;
        let mut wiring = Wiring::new(
            self.pipeline,
            self.options,
            self.run.clone(),
            self.records.clone(),
            self.schemas.clone(),
            &mut begun,
        );
        let ended = if self.options.staged {
            self.run_staged(&mut wiring, terminals)
        } else {
            self.run_streamed(&mut wiring, terminals)
        };
        let costs = std::mem::take(&mut wiring.costs);
        self.kept = std::mem::take(&mut wiring.kept);
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
                add_counts(&mut totals.books.counts, counts);
                totals.warnings.append(&mut sink.notes());
            }
        }
        self.options.stop.check()
    }

    /// Says what was kept of requests, and keeps the answers only as long as somebody may go on with them.
    fn settle_kept(&mut self, done: bool) {
        for (at, kept) in &self.kept {
            self.records[*at]
                .totals()
                .warnings
                .append(&mut kept.warnings());
            self.resumable |= kept.is_of_use();
            if done {
                kept.forget();
            }
        }
    }

    /// Makes it visible, in the file's order.
    fn publish(&self, mut terminals: Vec<Terminal>) -> Result<()> {
        terminals.sort_by_key(|terminal| terminal.at);
        let mut published: Vec<&str> = Vec::new();
        for terminal in terminals {
            if let Some(sink) = terminal.sink {
                let at = terminal.at;
                let counts = self.own(at, || self.timed(at, || sink.publish()));
                // What is visible stays so: to take it back could fail as well.
                let counts = counts.map_err(|error| match published[..] {
                    [] => error,
                    _ => error.cause(format!("already published: {}", list(&published))),
                })?;
                add_counts(&mut self.records[terminal.at].totals().books.counts, counts);
                published.push(&self.pipeline.steps[terminal.at].name);
            }
        }
        Ok(())
    }

    /// Does a sink's work, measured as its stage's.
    fn timed<T>(&self, at: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let meter = clock::Meter::start();
        let result = work();
        self.records[at].totals().add_serial(&meter.stop());
        result.map_err(|error| error.stage(&self.pipeline.steps[at].name))
    }

    fn begin(&mut self) -> Result<Vec<Begun>> {
        let mut all = Vec::new();
        for (at, step) in self.pipeline.steps.iter().enumerate() {
            let inputs: Vec<Schema> = step
                .inputs
                .iter()
                .map(|&input| self.schemas[input].clone())
                .collect();
            let mut begun = step
                .stage
                .begin(&self.run, &inputs, step.batch_rows.unwrap_or(ROWS_MAX))
                .map_err(|error| error.stage(&step.name))?;
            let record = &self.records[at];
            record.totals().warnings.append(&mut begun.warnings);
            if let Some(source) = &begun.source {
                use std::sync::atomic::Ordering;
                let bytes = source.files.iter().map(|file| file.bytes).sum();
                record.live.bytes_total.store(bytes, Ordering::Relaxed);
                *record
                    .live
                    .bytes_done
                    .lock()
                    .expect("no one panics holding this lock") = Some(source.bytes_done.clone());
                self.inputs.extend(source.files.iter().cloned());
            }
            if begun.resumable {
                self.resume(at, &mut begun)?;
            }
            all.push(begun);
        }
        self.folder.reads(&self.inputs)?;
        self.resumable = all.iter().any(|begun: &Begun| begun.resumable);
        Ok(all)
    }

    /// Makes ready to note what is settled, behind what an earlier run noted.
    fn resume(&self, at: usize, begun: &mut Begun) -> Result<()> {
        let path = self.folder.settled_file(&self.pipeline.steps[at].name);
        let settled = Settled::last(&path);
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| Error::io("write", path.display(), &error))?;
        if let Some(sink) = &mut begun.sink {
            sink.resume(settled.books.rejected, &settled.books.counts);
        }
        self.records[at].resume(&settled, file)
    }

    /// All stages at once: each terminal is pulled, and pulls what lies above it.
    fn run_streamed(&self, wiring: &mut Wiring, terminals: &mut Vec<Terminal>) -> Result<()> {
        for at in 0..self.pipeline.steps.len() {
            if self.pipeline.readers(at).is_empty() {
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
                // the one that is told, as in a staged run: which batch comes first says nothing.
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

    fn pull(&self, terminal: &mut Terminal) -> Result<()> {
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
                self.records[terminal.at].settle()
            }
            None => Ok(()),
        }
    }

    /// Ends the books: the kinds' last words, and the ledger.
    fn account(&self) -> Result<()> {
        for (at, step) in self.pipeline.steps.iter().enumerate() {
            let rows_out = |input: &usize| self.records[*input].totals().books.rows_out;
            let mut rows_in: Vec<u64> = step.inputs.iter().map(rows_out).collect();
            let mut totals = self.records[at].totals();
            if let Some((costs, _)) = &totals.costs {
                let position = self.position_in_chain(at);
                let closed = costs
                    .lock()
                    .expect("no one panics holding this lock")
                    .closed
                    .get(position)
                    .cloned()
                    .unwrap_or_default();
                add_counts(&mut totals.books.counts, closed);
            }
            if let Some(first) = rows_in.first_mut() {
                if *first != totals.books.rows_in {
                    let (given, taken) = (*first, totals.books.rows_in);
                    return Err(Error::failed(format!(
                        "the ledger does not balance: {given} rows were given to it, it saw {taken}"
                    ))
                    .stage(&step.name)
                    .hint("this is a bug in etl: nothing was published"));
                }
                *first = totals.books.rows_in;
            }
            let (left, right) = (
                totals.books.rows_in + totals.books.added,
                totals.books.rows_out + totals.books.rejected + totals.books.dropped,
            );
            if left != right {
                return Err(Error::failed(format!(
                    "the ledger does not balance: {} rows in + {} added = {left}, but {} out + {} rejected + {} dropped = {right}",
                    totals.books.rows_in, totals.books.added, totals.books.rows_out, totals.books.rejected, totals.books.dropped
                ))
                .stage(&step.name)
                .hint("this is a bug in etl: nothing was published"));
            }
            let mut warnings = Vec::new();
            let mut last = Totals {
                rows_in,
                counts: &mut totals.books.counts,
                warnings: &mut warnings,
            };
            step.stage
                .finish(&mut last)
                .map_err(|error| error.stage(&step.name))?;
            totals.warnings.append(&mut warnings);
        }
        Ok(())
    }

    /// Which of the stages played in one hand `at` is.
    fn position_in_chain(&self, at: usize) -> usize {
        let mut position = 0;
        let mut current = at;
        while let Some(before) = wiring::played_before(self.pipeline, self.options, current) {
            position += 1;
            current = before;
        }
        position
    }
}
