//! The driver: wires stages into streams, runs them, accounts for every row, and publishes at the end.

mod record;
mod stream;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use record::Live;

use crate::batch::{Batch, ROWS_MAX};
use crate::clock;
use crate::error::{Class, Error, Result};
use crate::executor::processes::Workers;
use crate::executor::{self, Batches, Deal};
use crate::hand::{Chain, Link};
use crate::pipeline::Pipeline;
use crate::report::{Failure, Machine, Rejects, Report, Status};
use crate::schema::Schema;
use crate::stage::{Begun, Distribution, InputFile, Run, Sink, Totals, add_counts};
use crate::stop::Stop;
use record::Record;
use stream::{Collected, Tee};

/// How to run.
pub struct Options {
    /// One stage after another, each output held until its last reader has run.
    pub staged: bool,
    /// Digest every output.
    pub digest: bool,
    /// Where runs keep their report and rejects.
    pub state: PathBuf,
    /// What stops the run.
    pub stop: Stop,
    /// The program that worker processes run.
    pub workers: Arc<Workers>,
}

/// What can be watched of a run, one a stage.
pub fn watch(pipeline: &Pipeline) -> Vec<Arc<Live>> {
    pipeline.steps.iter().map(|_| Arc::default()).collect()
}

/// Runs a pipeline. However it ends there is a report, and the error if it did not end well.
pub fn run(pipeline: &Pipeline, options: &Options, live: &[Arc<Live>]) -> (Report, Option<Error>) {
    let started = clock::monotonic();
    let now = chrono::Utc::now();
    let id = format!("{}-{:04x}", now.format("%Y%m%dT%H%M%S"), salt());
    let folder = options.state.join("runs").join(&id);
    let spool = |i: usize| folder.join(format!("rejects-{i}.part"));
    let records: Vec<Arc<Record>> = pipeline
        .steps
        .iter()
        .zip(live)
        .enumerate()
        .map(|(i, (step, live))| Arc::new(Record::new(&step.name, spool(i), live.clone())))
        .collect();
    let run = Arc::new(Run::new(
        id.clone(),
        pipeline.folder.clone(),
        options.stop.clone(),
    ));
    let mut driver = Driver {
        pipeline,
        options,
        run: run.clone(),
        records,
        schemas: Vec::new(),
        inputs: Vec::new(),
        children_peak: 0,
    };
    let ran = make_folder(&folder)
        .and_then(|()| driver.drive())
        // What a stopped run met on its way out is not the reason that it ended.
        .or_else(|error| options.stop.check().and(Err(error)));
    options.workers.kill_all();
    let joined = record::join_rejects(
        driver
            .records
            .iter()
            .map(|record| record.take_spool())
            .collect(),
        &folder.join("rejects.ndjson"),
    );
    let (rejects, error) = match (joined, ran) {
        (Ok(rejects), ran) => (rejects, ran.err()),
        (Err(error), ran) => (Rejects::default(), Some(ran.err().unwrap_or(error))),
    };
    let error = error.map(|error| located(error, &run, pipeline));
    let stages = pipeline
        .steps
        .iter()
        .zip(&driver.records)
        .map(|(step, record)| record.report(step, options.digest));
    let report = Report {
        pipeline: pipeline.name.clone(),
        pipeline_file: pipeline.file.display().to_string(),
        run: id,
        status: match error.as_ref().map(|error| error.class) {
            None => Status::Done,
            Some(Class::Interrupted(_)) => Status::Interrupted,
            Some(_) => Status::Failed,
        },
        error: error.as_ref().map(|error| Failure {
            stage: error.stage.clone(),
            message: error.message.clone(),
            source: error.place.clone(),
        }),
        mode: if options.staged { "staged" } else { "streamed" }.into(),
        started_at: now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        wall_s: clock::monotonic().saturating_sub(started).as_secs_f64(),
        cpu_s: clock::process_cpu().as_secs_f64(),
        peak_rss_bytes: clock::peak_rss_bytes() + driver.children_peak,
        machine: Machine::this(),
        inputs: std::mem::take(&mut driver.inputs),
        stages: stages.collect(),
        rejects,
    };
    (report, error)
}

fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| {
        Error::io("create the run's folder", folder.display(), &error)
            .hint("`--state DIR` names another place for reports and rejects")
    })
}

/// Tells runs of the same second apart.
fn salt() -> u16 {
    let nanos = clock::monotonic().subsec_nanos() ^ std::process::id().rotate_left(16);
    let [a, b, c, d] = nanos.to_le_bytes();
    u16::from_le_bytes([a ^ c, b ^ d])
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
        let mut begun = self.begin()?;
        let mut wiring = Wiring::new(self, &mut begun);
        let mut terminals = Vec::new();
        let ended = if self.options.staged {
            self.run_staged(&mut wiring, &mut terminals)
        } else {
            self.run_streamed(&mut wiring, &mut terminals)
        };
        let costs = std::mem::take(&mut wiring.costs);
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
        ended?;
        self.account()?;
        for terminal in &mut terminals {
            if let Some(sink) = &mut terminal.sink {
                let at = terminal.at;
                let counts = self.timed(at, || sink.finish())?;
                add_counts(&mut self.records[at].totals().counts, counts);
            }
        }
        self.options.stop.check()?;
        terminals.sort_by_key(|terminal| terminal.at);
        for terminal in terminals {
            if let Some(sink) = terminal.sink {
                let counts = self.timed(terminal.at, || sink.publish())?;
                add_counts(&mut self.records[terminal.at].totals().counts, counts);
            }
        }
        Ok(())
    }

    /// Does a sink's work, measured as its stage's.
    fn timed<T>(&self, at: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let meter = clock::Meter::start();
        let result = work();
        self.records[at].totals().span.add(&meter.stop());
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
            all.push(begun);
        }
        Ok(all)
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
        loop {
            // The one for which most is waiting: so a shared output holds little.
            let running = terminals
                .iter_mut()
                .filter(|terminal| terminal.stream.is_some());
            let Some(terminal) = running.max_by_key(|terminal| terminal.backlog()) else {
                return Ok(());
            };
            self.pull(terminal)?;
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
            Some(sink) => self.timed(terminal.at, || sink.push(batch)),
            None => Ok(()),
        }
    }

    /// One stage after another.
    fn run_staged(&self, wiring: &mut Wiring, terminals: &mut Vec<Terminal>) -> Result<()> {
        for at in 0..self.pipeline.steps.len() {
            let stream = wiring.step(at, &mut Vec::new());
            let readers = self.pipeline.readers(at).len();
            if readers == 0 {
                let sink = wiring.begun[at].sink.take();
                let mut terminal = Terminal {
                    at,
                    stream: Some(stream),
                    sink,
                    tees: Vec::new(),
                };
                while terminal.stream.is_some() {
                    self.pull(&mut terminal)?;
                }
                terminals.push(terminal);
            } else {
                let batches = stream.collect::<Result<Vec<_>>>()?;
                wiring.held.insert(
                    at,
                    Held {
                        batches: Arc::new(batches),
                        readers,
                    },
                );
            }
        }
        Ok(())
    }

    /// Ends the books: the kinds' last words, and the ledger.
    fn account(&self) -> Result<()> {
        for (at, step) in self.pipeline.steps.iter().enumerate() {
            let rows_out = |input: &usize| self.records[*input].totals().rows_out;
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
                add_counts(&mut totals.counts, closed);
            }
            if let Some(first) = rows_in.first_mut() {
                if *first != totals.rows_in {
                    let (given, taken) = (*first, totals.rows_in);
                    return Err(Error::failed(format!(
                        "the ledger does not balance: {given} rows were given to it, it saw {taken}"
                    ))
                    .stage(&step.name)
                    .hint("this is a bug in etl: nothing was published"));
                }
                *first = totals.rows_in;
            }
            let (left, right) = (
                totals.rows_in + totals.added,
                totals.rows_out + totals.rejected + totals.dropped,
            );
            if left != right {
                return Err(Error::failed(format!(
                    "the ledger does not balance: {} rows in + {} added = {left}, but {} out + {} rejected + {} dropped = {right}",
                    totals.rows_in, totals.added, totals.rows_out, totals.rejected, totals.dropped
                ))
                .stage(&step.name)
                .hint("this is a bug in etl: nothing was published"));
            }
            let mut warnings = Vec::new();
            let mut last = Totals {
                rows_in,
                counts: &mut totals.counts,
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
        while let Some(before) = self.played_before(current) {
            position += 1;
            current = before;
        }
        position
    }

    /// The stage that is played in one hand with `at`, right before it: both under one executor, `at`
    /// dealing what comes, and nobody else reading the one above.
    fn played_before(&self, at: usize) -> Option<usize> {
        if self.options.staged {
            return None;
        }
        let step = &self.pipeline.steps[at];
        let before = *step.inputs.first()?;
        let above = &self.pipeline.steps[before];
        let alike = step.grid == above.grid && step.rows_max() == above.rows_max();
        let dealt = step.stage.inputs().first() == Some(&Distribution::Any);
        (alike && dealt && self.pipeline.readers(before).len() == 1).then_some(before)
    }
}

/// An output that waits for its readers, in a staged run.
struct Held {
    batches: Arc<Vec<Batch>>,
    readers: usize,
}

/// An output that several stages read.
enum Shared {
    Collected(Arc<Collected>),
    Tee(Arc<Tee>, usize),
}

/// Makes streams of stages.
struct Wiring<'a, 'b> {
    pipeline: &'a Pipeline,
    options: &'a Options,
    run: Arc<Run>,
    records: Vec<Arc<Record>>,
    schemas: Vec<Schema>,
    before: Vec<Option<usize>>,
    begun: &'b mut Vec<Begun>,
    collected: Vec<bool>,
    shared: HashMap<usize, Shared>,
    held: HashMap<usize, Held>,
    costs: Vec<executor::SharedCosts>,
}

impl<'a, 'b> Wiring<'a, 'b> {
    fn new(driver: &Driver<'a>, begun: &'b mut Vec<Begun>) -> Self {
        Wiring {
            pipeline: driver.pipeline,
            options: driver.options,
            run: driver.run.clone(),
            records: driver.records.clone(),
            schemas: driver.schemas.clone(),
            before: (0..driver.pipeline.steps.len())
                .map(|at| driver.played_before(at))
                .collect(),
            begun,
            collected: driver.pipeline.collected(),
            shared: HashMap::new(),
            held: HashMap::new(),
            costs: Vec::new(),
        }
    }

    /// What stage `at` gives to one reader.
    fn output(&mut self, at: usize, tees: &mut Vec<(Arc<Tee>, usize)>) -> Batches {
        if let Some(held) = self.held.get_mut(&at) {
            held.readers -= 1;
            let batches = held.batches.clone();
            if held.readers == 0 {
                self.held.remove(&at);
            }
            // The last reader lets go of each batch as it takes it.
            return match Arc::try_unwrap(batches) {
                Ok(batches) => Box::new(batches.into_iter().map(Ok)),
                Err(batches) => Box::new((0..batches.len()).map(move |i| Ok(batches[i].clone()))),
            };
        }
        let readers = self.pipeline.readers(at).len();
        if readers < 2 {
            return self.step(at, tees);
        }
        if !self.shared.contains_key(&at) {
            let mut above = Vec::new();
            let stream = self.step(at, &mut above);
            let shared = if self.collected[at] {
                Shared::Collected(Arc::new(Collected::new(stream)))
            } else {
                Shared::Tee(
                    Arc::new(Tee::new(stream, readers, self.options.stop.clone())),
                    0,
                )
            };
            self.shared.insert(at, shared);
        }
        match self.shared.get_mut(&at).expect("it was just put there") {
            Shared::Collected(collected) => collected.clone().reader(),
            Shared::Tee(tee, next) => {
                let reader = *next;
                *next += 1;
                tees.push((tee.clone(), reader));
                tee.clone().reader(reader)
            }
        }
    }

    /// The stream of stage `at`, with those that are played in one hand with it.
    fn step(&mut self, at: usize, tees: &mut Vec<(Arc<Tee>, usize)>) -> Batches {
        let mut chain = vec![at];
        while let Some(before) = self.before[chain[0]] {
            chain.insert(0, before);
        }
        let first = chain[0];
        let pipeline = self.pipeline;
        let step = &pipeline.steps[first];
        let input = match (self.begun[first].source.take(), step.inputs.first()) {
            (Some(source), _) => {
                stream::metered(source.batches, self.records[first].clone(), &step.name)
            }
            (None, Some(&above)) => self.output(above, tees),
            (None, None) => Box::new(std::iter::empty()),
        };
        let input = match (step.stage.inputs().first(), step.inputs.first()) {
            (Some(Distribution::Key(columns)), Some(&above)) => {
                let schema = self.schemas[above].clone();
                match schema.indices(columns) {
                    Ok(columns) => {
                        stream::by_key(input, schema, columns, self.records[first].clone())
                    }
                    Err(error) => Box::new(std::iter::once(Err(error.stage(&step.name)))),
                }
            }
            _ => stream::cut(input, step.rows_max()),
        };
        let costs = executor::SharedCosts::default();
        self.costs.push(costs.clone());
        for (position, &link) in chain.iter().enumerate() {
            self.records[link].totals().costs = Some((costs.clone(), position == 0));
        }
        let names: Vec<&str> = chain
            .iter()
            .map(|&link| pipeline.steps[link].name.as_str())
            .collect();
        let results = executor::map(Deal {
            grid: step.grid,
            name: names.join("+"),
            prepare: self.prepare(&chain),
            input,
            costs,
            stop: self.options.stop.clone(),
            workers: self.options.workers.clone(),
        });
        let records = chain
            .iter()
            .map(|&link| self.records[link].clone())
            .collect();
        stream::recorded(results, records, self.run.clone())
    }

    /// What makes the chain ready: its links, and what is broadcast to them, collected.
    fn prepare(&mut self, chain: &[usize]) -> executor::Prepare {
        let pipeline = self.pipeline;
        let mut links = Vec::new();
        let mut broadcast: Vec<Vec<Option<(Batches, Schema)>>> = Vec::new();
        for &at in chain {
            let step = &pipeline.steps[at];
            links.push(Link {
                name: step.name.clone(),
                kind: step.kind.name.into(),
                options: serde_json::to_value(&step.options)
                    .expect("a table of options is plain data"),
                inputs: step
                    .inputs
                    .iter()
                    .map(|&input| self.schemas[input].clone())
                    .collect(),
                output: self.schemas[at].clone(),
                told: std::mem::take(&mut self.begun[at].told),
                sink: step.kind.sink,
            });
            let dealt = step.stage.inputs();
            let inputs = dealt.iter().zip(&step.inputs).map(|(dealt, &input)| {
                (*dealt == Distribution::Broadcast).then(|| {
                    (
                        self.output(input, &mut Vec::new()),
                        self.schemas[input].clone(),
                    )
                })
            });
            broadcast.push(inputs.collect());
        }
        let stages = chain
            .iter()
            .map(|&at| pipeline.steps[at].stage.clone())
            .collect();
        let digest = self.options.digest;
        Box::new(move || {
            let collected = broadcast
                .into_iter()
                .map(|inputs| {
                    let collect =
                        |(stream, schema): (Batches, Schema)| stream::collect(stream, &schema);
                    inputs
                        .into_iter()
                        .map(|input| input.map(collect).transpose())
                        .collect::<Result<Vec<_>>>()
                })
                .collect::<Result<Vec<_>>>()?;
            Ok(Chain {
                links,
                stages,
                broadcast: collected,
                digest,
            })
        })
    }
}
