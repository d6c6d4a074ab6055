//! Runs: stages are wired into streams and driven, every row is accounted for, and what came out is published
//! at the end.

mod clustered;
mod combine;
mod driver;
mod only_new;
mod preview;
mod queue;
mod read_ahead;
mod record;
mod results;
mod spool;
mod staged;
mod stream;
mod wiring;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};

pub use crate::executor::Waits;
pub use clustered::file_tasks;
pub use preview::{Preview, preview};
pub use record::{Live, watch};

use crate::clock;
use crate::cluster::ClusterConfig;
use crate::cluster::folder::SharedFolder;
use crate::error::{Class, Error, Result};
use crate::executor::processes::Workers;
use crate::pipeline::{Pipeline, Step};
use crate::plan::Plan;
use crate::report::{Failure, Machine, Rejects, Report, Status};
use crate::stage::{REJECTS_FILE, Run};
use crate::state::history::{self, History};
use crate::state::loaded::{LoadedFiles, LoadedLog};
use crate::state::resume::{self, Reach, RunFolder};
use crate::stop::{InOrder, Stop};
use crate::threads;
use driver::Driver;
use record::Record;

/// How to run.
pub struct Options {
    /// One stage after another, each output held until its last reader has run.
    pub staged: bool,
    /// Digest every output.
    pub digest: bool,
    /// Where runs keep their report and rejects.
    pub state: PathBuf,
    /// The command line, for the hint on how to resume; `None`: the run cannot be resumed.
    pub command: Option<String>,
    /// The run to go on with; empty: the pipeline's newest unfinished one.
    pub resume: Option<String>,
    /// What to do with files that earlier runs have published, where a stage reads only new ones.
    pub loaded_files: LoadedFiles,
    /// Where fragments are executed beside this machine.
    pub cluster: Option<ClusterConfig>,
    /// What stops the run.
    pub stop: Stop,
    /// The program that worker processes run.
    pub workers: Arc<Workers>,
}

/// Runs a pipeline. However it ends there is a report, and the error if it did not end well.
pub fn run(pipeline: &Pipeline, options: &Options, live: &[Arc<Live>]) -> (Report, Option<Error>) {
    let (report, error, _) = run_held(pipeline, options, live);
    (report, error)
}

/// The same, the report kept in the run's folder, which the run holds until then: nobody deletes it as that of a
/// run that has ended.
/// The last error says that it could not be kept.
pub fn run_and_keep(
    pipeline: &Pipeline,
    options: &Options,
    live: &[Arc<Live>],
) -> (Report, Option<Error>, Result<()>) {
    let (report, error, held) = run_held(pipeline, options, live);
    let kept = held.map_or(Ok(()), |_folder| {
        History::of(&options.state).keep(&report.run, &report)
    });
    (report, error, kept)
}

fn run_held(
    pipeline: &Pipeline,
    options: &Options,
    live: &[Arc<Live>],
) -> (Report, Option<Error>, Option<RunFolder>) {
    let began = Began::now();
    let _in_order = InOrder::begin();
    let mut notes = Vec::new();
    let (held, resumed) = match open_folder(pipeline, options, began.at) {
        Ok(held) => held,
        Err(error) => return (Report::of_no_run(&pipeline.file, &error), Some(error), None),
    };
    let (id, folder) = (held.id.clone(), held.path.clone());
    let spool = |i: usize| folder.join(format!("rejects-{i}.part"));
    let steps = pipeline.steps.iter().zip(live).enumerate();
    let records: Vec<Arc<Record>> = steps
        .map(|(i, (step, live))| Arc::new(Record::new(&step.name, spool(i), live.clone())))
        .collect();
    let stop = options.stop.clone();
    let mut run = Run::new(id.clone(), pipeline.folder.clone(), folder.clone(), stop);
    run.resumed = resumed;
    run.pipeline.clone_from(&pipeline.name);
    let run = Arc::new(run);
    let plan = Plan::of(pipeline, options.staged);
    let mut driver = Driver {
        pipeline,
        plan: &plan,
        options,
        run: run.clone(),
        records,
        schemas: Vec::new(),
        inputs: Vec::new(),
        children_peak: 0,
        folder: held,
        reach: Reach::Nothing,
        publishing: false,
        loaded: None,
        new_files: Vec::new(),
        files_of: BTreeMap::new(),
        nothing_new: false,
        journals: Vec::new(),
        cluster: Mutex::default(),
        shared: OnceLock::new(),
    };
    let opened = loaded_log(pipeline, options).map(|log| driver.loaded = log);
    let ran = opened
        .and_then(|()| threads::pull(pipeline.steps.len(), || driver.drive()))
        // What a stopped run met on its way out is not the reason that it ended.
        .or_else(|error| options.stop.check().and(Err(error)));
    options.workers.kill_all();
    let left = driver.shared.take().map(SharedFolder::end);
    if let Some(Err(error)) = left {
        notes.push(error.in_warning());
    }
    driver.close_journals(ran.is_ok());
    let can_go_on = ran.as_ref().err();
    let can_go_on = can_go_on.is_some_and(|error| driver.can_go_on(error));
    let spools = driver.records.iter().map(|record| record.take_spool());
    let rejects_file = folder.join(REJECTS_FILE);
    let joined = spool::join_rejects(spools.collect(), &rejects_file, ran.is_ok());
    let (rejects, error) = match (joined, ran) {
        (Ok(rejects), ran) => (rejects, ran.err()),
        (Err(error), ran) => {
            // What a run that goes on needs stays where it is.
            let dropped = (0..pipeline.steps.len()).filter(|_| driver.reach < Reach::Resumable);
            dropped.for_each(|i| drop(std::fs::remove_file(spool(i))));
            (Rejects::default(), Some(ran.err().unwrap_or(error)))
        }
    };
    let error = error.map(|error| located(error, &run, pipeline));
    if error.is_some() && driver.reach >= Reach::Begun && !driver.publishing {
        notes.extend(results::untouched(pipeline));
    }
    if let (true, Some(command)) = (can_go_on, &options.command) {
        notes.push(format!(
            "nothing is lost: `{command} --resume={id}` goes on where this run ended"
        ));
    }
    if driver.nothing_new {
        notes.push(NOTHING_NEW.to_owned());
    }
    let report = report(&mut driver, live, &began, error.as_ref());
    let report = Report {
        rejects,
        notes,
        ..report
    };
    // The report of a run that could not go on stays the one of its end.
    let is_kept = driver.reach >= Reach::Begun || !resumed;
    (report, error, is_kept.then_some(driver.folder))
}

/// What a run says that ended before any work, as no file is new.
const NOTHING_NEW: &str = "no file is new: nothing was read, and every result is as it was; `--all-files` reads all files again";

/// The log of the files that were loaded, where a stage reads only new ones.
fn loaded_log(pipeline: &Pipeline, options: &Options) -> Result<Option<LoadedLog>> {
    let only_new = |step: &Step| step.stage.properties().only_new;
    if options.loaded_files == LoadedFiles::Ignore || !pipeline.steps.iter().any(only_new) {
        return Ok(None);
    }
    let read_again = options.loaded_files == LoadedFiles::ReadAgain;
    LoadedLog::open(&options.state, &pipeline.file, read_again).map(Some)
}

/// When a run began.
struct Began {
    at: DateTime<Utc>,
    monotonic: Duration,
    /// What the process was before (a shell, cargo) may have used some CPU time too.
    cpu: Duration,
}

impl Began {
    fn now() -> Self {
        Began {
            at: clock::now(),
            monotonic: clock::monotonic(),
            cpu: clock::process_cpu(),
        }
    }
}

/// The report of a run that has ended, without its rejects and notes.
fn report(driver: &mut Driver, live: &[Arc<Live>], began: &Began, error: Option<&Error>) -> Report {
    let (pipeline, options) = (driver.pipeline, driver.options);
    let stages = pipeline.steps.iter().zip(&driver.records);
    let stages = stages.map(|(step, record)| {
        let mut stage = record.report(step, options.digest);
        if error.is_none() {
            record.live.count_files(&mut stage.counts);
            stage.published = results::published(step, &pipeline.folder);
        }
        if driver.nothing_new {
            stage.published = None;
        }
        stage
    });
    let cluster = driver.cluster().take();
    let tasks_cpu_s = cluster.as_ref().map_or(0.0, |cluster| cluster.cpu_s);
    let mut report = Report {
        pipeline: pipeline.name.clone(),
        pipeline_file: pipeline.file.display().to_string(),
        run: driver.folder.id.clone(),
        status: match error.map(|error| error.class) {
            None => Status::Done,
            Some(Class::Interrupted(_)) => Status::Interrupted,
            Some(_) => Status::Failed,
        },
        error: error.map(Failure::of),
        mode: if options.staged { "staged" } else { "streamed" }.into(),
        started_at: began
            .at
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        wall_s: clock::monotonic()
            .saturating_sub(began.monotonic)
            .as_secs_f64(),
        cpu_s: clock::process_cpu().saturating_sub(began.cpu).as_secs_f64() + tasks_cpu_s,
        peak_rss_bytes: clock::peak_rss_bytes() + driver.children_peak,
        s_per_gb: None,
        read_bytes: error.map(|_| read_bytes(live)),
        machine: Machine::this(),
        inputs: std::mem::take(&mut driver.inputs),
        stages: stages.collect(),
        rejects: Rejects::default(),
        cluster,
        notes: Vec::new(),
    };
    report.s_per_gb = report.per_gb().filter(|_| error.is_none());
    report
}

/// About how many bytes of its files a run has worked on.
fn read_bytes(live: &[Arc<Live>]) -> u64 {
    let bytes = live.iter().filter_map(|live| live.bytes_through());
    bytes.sum()
}

/// The newest run of a pipeline that was interrupted, so that it can be gone on with.
pub fn unfinished(pipeline: &Pipeline, state: &Path) -> Option<String> {
    resume::unfinished(&state.join("runs"), pipeline)
}

/// Whether run `id` can be resumed: it has a checkpoint or a response journal.
pub fn can_resume(id: &str, state: &Path) -> bool {
    history::can_resume(&state.join("runs").join(id))
}

/// How to add files that were corrected to an index, without all others; `None`: no index is loaded from files.
pub fn to_add_files(pipeline: &Pipeline) -> Option<String> {
    resume::to_add_files(pipeline)
}

/// The folder of a new run, or of the one to go on with.
fn open_folder(
    pipeline: &Pipeline,
    options: &Options,
    now: DateTime<Utc>,
) -> Result<(RunFolder, bool)> {
    let runs = options.state.join("runs");
    if let Some(resume) = &options.resume
        && let Some(folder) = RunFolder::of_unfinished(&runs, resume, pipeline, &options.stop)?
    {
        return Ok((folder, true));
    }
    Ok((RunFolder::new(&runs, now, pipeline)?, false))
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
