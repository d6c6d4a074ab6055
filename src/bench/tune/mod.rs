//! Finds how a stage is run best on this machine. The stage runs alone, again and again, on its input
//! that was caught once: `universe` gives the rows, `measure` measures one setting, [`search`] decides which
//! settings are measured, [`curve`] holds what was measured and names the knee, [`chart`] shows it, [`mod@write`]
//! puts the knee into the pipeline file.

pub mod chart;
pub mod curve;
mod measure;
pub mod search;
mod universe;
pub mod write;

use std::path::Path;
use std::time::Duration;

use curve::{Curve, Setting};
use measure::{Bench, Scratch};
use search::{Lab, Space};
use universe::{HELD_BYTES_MAX, Held};

use crate::clock;
use crate::error::{Class, Error, Result};
use crate::executor::{Grid, Kind};
use crate::pipeline::{Pipeline, Step};
use crate::report::StageReport;
use crate::run;
use crate::schema::list;
use crate::stop::{InOrder, Stop};

/// The share of the budget that may go by before the stage itself is run: for the staged run that tells
/// which stage takes longest, and for its input.
const INPUT_SHARE: u32 = 3;

/// What is to be found out.
#[derive(Debug, Clone)]
pub struct Request {
    /// Of which stage; `None`: the one that takes longest.
    pub stage: Option<String>,
    /// Under which executors; empty: what pays.
    pub executors: Vec<Kind>,
    /// With how many workers; empty: doubled as long as that gains.
    pub workers: Vec<usize>,
    /// With which batches; empty: doubled or halved as long as that gains.
    pub batches: Vec<usize>,
    /// On how many rows, each by itself; empty: as many as can be measured well.
    pub rows: Vec<usize>,
    /// How long all of it may take.
    pub budget: Duration,
}

/// The option that says how large a stage's batches are.
#[derive(Debug, Clone)]
pub struct Unit {
    /// `batch_rows`, or the kind's own.
    pub name: &'static str,
    /// Whether it is the kind's own.
    pub own: bool,
}

impl Unit {
    /// The unit of a step's batches, if it has any.
    fn of(step: &Step) -> Option<Unit> {
        if step.kind.takes_batch_rows {
            return Some(Unit {
                name: "batch_rows",
                own: false,
            });
        }
        step.stage.properties().batch_rows?;
        let name = step.kind.batch_option?;
        Some(Unit { name, own: true })
    }

    /// Writes it into a step.
    fn set(&self, step: &mut Step, batch: usize) -> Result<()> {
        if !self.own {
            step.batch_rows = Some(batch);
            return Ok(());
        }
        step.set_option(self.name, i64::try_from(batch).unwrap_or(i64::MAX))
    }
}

/// What a setting is called: `threads 4`, `hybrid 2x4, batch 50`.
pub fn name_of(setting: Setting, unit: Option<&Unit>) -> String {
    let Grid {
        kind,
        processes,
        threads,
    } = setting.grid;
    let grid = match kind {
        Kind::Sequential => kind.as_str().to_owned(),
        Kind::Threads => format!("{} {threads}", kind.as_str()),
        Kind::Processes => format!("{} {processes}", kind.as_str()),
        Kind::Hybrid => format!("{} {processes}x{threads}", kind.as_str()),
    };
    match (setting.batch, unit) {
        (Some(batch), Some(unit)) => format!("{grid}, {} {batch}", unit.name),
        _ => grid,
    }
}

/// What was found out on one number of rows.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The stage.
    pub stage: String,
    /// Its kind.
    pub kind: &'static str,
    /// What its batches are counted in.
    pub unit: Option<Unit>,
    /// As the file has it.
    pub now: Setting,
    /// What it was run on.
    pub rows: u64,
    /// Whether that is all its input.
    pub whole: bool,
    /// What its input takes in memory; 0: it reads its own files.
    pub held_bytes: usize,
    /// What was measured.
    pub curve: Curve,
    /// What the stage did in its first run.
    pub first: StageReport,
    /// All runs, those that found the number of rows included.
    pub runs: usize,
    /// What it took.
    pub spent_s: f64,
    /// What it might have taken.
    pub budget_s: f64,
}

impl Outcome {
    /// What a setting is called; its batch only where it is not the file's.
    fn name(&self, setting: Setting) -> String {
        let unit = self.unit.as_ref();
        name_of(setting, unit.filter(|_| setting.batch != self.now.batch))
    }
}

/// Finds it out. What is written meanwhile lies in the folder `state`; `say` receives each step of its progress, a
/// line at a time.
pub fn tune(
    pipeline: &Pipeline,
    request: &Request,
    state: &Path,
    signals: &Stop,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Outcome>> {
    let _in_order = InOrder::begin();
    let began = clock::monotonic();
    let scratch = Scratch::new(state)?;
    let soon = signals.until(began + request.budget / INPUT_SHARE);
    let at = match &request.stage {
        Some(name) => position(pipeline, name)?,
        None => longest(pipeline, &scratch, &soon, say)?,
    };
    let step = &pipeline.steps[at];
    let unit = Unit::of(step);
    refuse(step, unit.as_ref(), request)?;
    let redirected = scratch.redirect(step)?;
    let inputs = catch(pipeline, step, request, &scratch, &soon)
        // Ctrl-C has a word of its own.
        .or_else(|error| signals.check().and(Err(error)))?;
    let sizes: Vec<Option<usize>> = match request.rows[..] {
        [] => vec![None],
        _ => request.rows.iter().copied().map(Some).collect(),
    };
    let mut outcomes = Vec::new();
    for (nth, rows) in sizes.iter().enumerate() {
        let from = clock::monotonic();
        let left = (began + request.budget).saturating_sub(from);
        let budget = left / u32::try_from(sizes.len() - nth).unwrap_or(u32::MAX);
        let mut bench = Bench {
            pipeline,
            step: redirected.clone(),
            unit: unit.clone(),
            inputs: inputs.clone(),
            rows: 0,
            scratch: &scratch,
            stop: signals.clone(),
            deadline: from + budget,
            say: &mut *say,
            first: None,
            runs: 0,
        };
        outcomes.push(measure(&mut bench, step, *rows, request, budget)?);
    }
    Ok(outcomes)
}

/// Runs what lies above a step, and holds its inputs: of the first, whose rows are partitioned, no more than is
/// wanted and fits.
fn catch(
    pipeline: &Pipeline,
    step: &Step,
    request: &Request,
    scratch: &Scratch,
    soon: &Stop,
) -> Result<Vec<Held>> {
    let late = |error: Error| {
        if !soon.is_late() {
            return error;
        }
        let seconds = (request.budget / INPUT_SHARE).as_secs_f64();
        let (what, hint) = match &request.stage {
            Some(_) => ("its input took", ""),
            // The run that looked for the stage is part of it.
            None => (
                "to find that it takes longest, and its input, took",
                &*format!(", or name it at once: `--stage {}`", step.name),
            ),
        };
        Error::failed(format!("{what} more than {seconds:.0} s"))
            .stage(&step.name)
            .hint(format!(
                "a third of the budget may go by for that: give more with `--budget SECONDS`{hint}"
            ))
    };
    let rows = request.rows.iter().copied().max().unwrap_or(usize::MAX);
    let mut inputs: Vec<Held> = Vec::new();
    for &input in &step.inputs {
        // What is broadcast is needed whole, and held in any run.
        let (rows, bytes) = if inputs.is_empty() {
            (rows, HELD_BYTES_MAX)
        } else {
            (usize::MAX, usize::MAX)
        };
        let options = scratch.options(false, soon.clone());
        let held = Held::catch(pipeline, input, rows, bytes, &options).map_err(late)?;
        if !inputs.is_empty() && !held.whole {
            return Err(late(Error::failed("one of its inputs did not come whole")));
        }
        inputs.push(held);
    }
    if inputs.first().is_some_and(|held| held.rows == 0) {
        let error = Error::failed("its input has no rows: there is nothing to measure");
        return Err(error.stage(&step.name));
    }
    Ok(inputs)
}

/// The search on one number of rows.
fn measure(
    bench: &mut Bench,
    step: &Step,
    rows: Option<usize>,
    request: &Request,
    budget: Duration,
) -> Result<Outcome> {
    let began = clock::monotonic();
    let budget_s = budget.as_secs_f64();
    let now = Setting {
        grid: step.grid,
        batch: bench.unit.as_ref().map(|_| step.rows_max()),
    };
    let too_slow = || {
        Error::failed(format!(
            "one sequential run takes longer than the {budget_s:.0} s there are"
        ))
        .stage(&step.name)
        .hint("give more with `--budget SECONDS`, or fewer rows with `--rows N`")
    };
    let sequential = Setting {
        grid: Grid::SEQUENTIAL,
        ..now
    };
    let chosen = bench.choose(sequential, rows, budget_s)?;
    let (rows, whole) = chosen.ok_or_else(too_slow)?;
    let space = Space {
        executors: match &request.executors[..] {
            [] => vec![Kind::Threads, Kind::Processes, Kind::Hybrid],
            named => named.to_vec(),
        },
        named: !request.executors.is_empty(),
        workers: (!request.workers.is_empty()).then(|| request.workers.clone()),
        batches: (!request.batches.is_empty()).then(|| request.batches.clone()),
        batch_max: bench.batch_max(now),
        rows: usize::try_from(rows).unwrap_or(usize::MAX),
        now,
    };
    let left_s = bench.left();
    let curve = search::search(&space, left_s, bench)?;
    let (_, first) = bench.first.take().ok_or_else(too_slow)?;
    Ok(Outcome {
        stage: step.name.clone(),
        kind: step.kind.name,
        unit: bench.unit.clone(),
        now,
        rows,
        whole,
        held_bytes: bench.inputs.first().map_or(0, |held| held.bytes),
        curve,
        first,
        runs: bench.runs,
        spent_s: clock::monotonic().saturating_sub(began).as_secs_f64(),
        budget_s,
    })
}

/// The step named `stage`.
fn position(pipeline: &Pipeline, stage: &str) -> Result<usize> {
    let names: Vec<&str> = pipeline
        .steps
        .iter()
        .map(|step| step.name.as_str())
        .collect();
    names.iter().position(|name| *name == stage).ok_or_else(|| {
        let error = Error::usage(format!("no stage `{stage}`; there are {}", list(&names)));
        error.suggest(stage, names)
    })
}

/// What cannot be measured, before anything is.
fn refuse(step: &Step, unit: Option<&Unit>, request: &Request) -> Result<()> {
    if unit.is_none() && !request.batches.is_empty() {
        return Err(
            Error::usage(format!("kind `{}` has no batches to tune", step.kind.name))
                .stage(&step.name)
                .hint("leave out `--batch`"),
        );
    }
    if step.inputs.is_empty() && step.stage.properties().reads_stdin() {
        let error = Error::usage("it reads standard input, which can be read once only");
        let option = step.kind.patterns_option.unwrap_or_default();
        return Err(error.stage(&step.name).hint(format!(
            "give it a file: `--set '{}.{option}=[\"FILE\"]'`",
            step.name
        )));
    }
    let odd = request
        .workers
        .iter()
        .find(|workers| !workers.is_multiple_of(2));
    if let (Some(odd), true) = (odd, request.executors.contains(&Kind::Hybrid)) {
        return Err(Error::usage(format!(
            "`--workers`: hybrid is two processes of as many threads each, {odd} workers cannot be halved"
        )));
    }
    Ok(())
}

/// The step that takes longest in one staged run, which writes into the scratch folder. What loads a
/// server is left out.
fn longest(
    pipeline: &Pipeline,
    scratch: &Scratch,
    soon: &Stop,
    say: &mut dyn FnMut(&str),
) -> Result<usize> {
    say("one staged run, to see which stage takes longest");
    let mut positions = Vec::new();
    let mut all = pipeline.clone();
    all.steps.clear();
    for (at, step) in pipeline.steps.iter().enumerate() {
        // Nothing reads a sink: what is left out moves the positions of the others, no more.
        match scratch.redirect(step) {
            Ok(mut redirected) => {
                for input in &mut redirected.inputs {
                    let moved = positions.iter().position(|at| at == input);
                    *input = moved.expect("what is read is no sink: it was not left out");
                }
                positions.push(at);
                all.steps.push(redirected);
            }
            Err(error) => say(&format!(
                "stage `{}` is left out: {}",
                step.name, error.message
            )),
        }
    }
    let options = scratch.options(true, soon.clone());
    let (report, error) = run::run(&all, &options, &run::watch(&all));
    scratch.clear();
    let took = report.stages.iter().map(|stage| stage.wall_s);
    let longest = took.clone().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    let in_time = !soon.is_late();
    let (at, wall_s) = match (error, longest) {
        (Some(error), _) if in_time || error.class != Class::Failed => return Err(error),
        (_, None) => return Err(Error::failed("no stage can be tuned")),
        (_, Some(longest)) => longest,
    };
    let so_far = if in_time { "" } else { " so far" };
    say(&format!(
        "stage `{}` took longest{so_far}: {wall_s:.2} s of {:.2} s",
        all.steps[at].name,
        took.sum::<f64>()
    ));
    Ok(positions[at])
}
