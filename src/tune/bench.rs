//! Where settings are measured: a run of the stage alone, on its universe, into a scratch folder.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::search::{self, Lab, Point, Sample, Setting};
use super::universe::{First, Held};
use super::{Unit, name_of};
use crate::batch::ROWS_MAX;
use crate::clock;
use crate::error::{Error, Result};
use crate::executor::processes::Workers;
use crate::pipeline::{Pipeline, Step};
use crate::report::StageReport;
use crate::run::{self, Options};
use crate::stage::write_files;
use crate::stop::Stop;

/// A folder for what measured runs keep and write; gone when it is dropped.
pub(super) struct Scratch {
    pub(super) path: PathBuf,
    /// Held as long as the folder is in use.
    _lock: File,
}

/// The file in a scratch folder that is locked.
const LOCK: &str = "lock";
/// How scratch folders begin.
const PREFIX: &str = "tune-";

impl Scratch {
    /// A new one in the folder `state`; those of programs that were killed are cleared away.
    pub(super) fn new(state: &Path) -> Result<Scratch> {
        for entry in std::fs::read_dir(state).into_iter().flatten().flatten() {
            let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
            let lock = File::open(entry.path().join(LOCK));
            if ours && lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
                // What cannot be removed is in nobody's way.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let path = state.join(format!("{PREFIX}{}", std::process::id()));
        let io = |error: std::io::Error| Error::io("create the folder", path.display(), &error);
        std::fs::create_dir_all(&path).map_err(io)?;
        let lock = File::create(path.join(LOCK)).map_err(io)?;
        // A file system without locks gives none: what a killed program left there stays.
        let _ = lock.try_lock();
        // Sinks resolve their paths from the pipeline's folder.
        let path = path.canonicalize().map_err(io)?;
        Ok(Scratch { path, _lock: lock })
    }

    /// The step, writing here if it writes anywhere.
    pub(super) fn redirect(&self, step: &Step) -> Result<Step> {
        let mut step = step.clone();
        if !step.kind.sink {
            return Ok(step);
        }
        let folder = self.path.join("out").join(&step.name);
        let text = |key: &str| step.options.get(key).and_then(toml::Value::as_str);
        let (key, place) = match (text("path"), text("to")) {
            (Some(path), _) => {
                // The name says the format, where nothing else does.
                let name = Path::new(path).file_name().unwrap_or_default();
                let stdout = write_files::is_stdout(path);
                let name = if stdout { "stdout".as_ref() } else { name };
                ("path", folder.join(name).display().to_string())
            }
            (_, Some(to)) if to.starts_with("local:") => {
                ("to", format!("local:{}", folder.join("index").display()))
            }
            _ => {
                let error = Error::usage(
                    "a load into a server is not tuned: it would change what is there",
                );
                return Err(error.stage(&step.name).hint(format!(
                    "tune another stage, or the load into an index of this machine: `--set {}.to=local:DIR`",
                    step.name
                )));
            }
        };
        step.options.insert(key.into(), place.into());
        step.stage = (step.kind.decode)(step.options.clone())
            .map_err(|error| error.stage(&step.name))?
            .into();
        Ok(step)
    }

    /// Forgets what the last run left.
    pub(super) fn clear(&self) {
        for folder in ["runs", "out"] {
            // The next run writes beside what cannot be removed, and the end tries again.
            let _ = std::fs::remove_dir_all(self.path.join(folder));
        }
    }

    /// How to run something in it.
    pub(super) fn options(&self, staged: bool, stop: Stop) -> Options {
        Options {
            staged,
            digest: false,
            state: self.path.clone(),
            command: None,
            resume: None,
            stop,
            workers: Arc::new(Workers::this_program()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// What a stage is run on.
pub(super) enum Universe {
    /// Its inputs, held.
    Inputs(Vec<Held>),
    /// Its own source.
    Own,
}

/// Measures one stage.
pub(super) struct Bench<'a> {
    pub(super) pipeline: &'a Pipeline,
    /// The stage, writing into the scratch folder.
    pub(super) step: Step,
    pub(super) unit: Option<Unit>,
    pub(super) universe: Universe,
    /// Rows of the first input, or batches of the source, that a run takes.
    pub(super) units: usize,
    pub(super) scratch: &'a Scratch,
    pub(super) stop: Stop,
    pub(super) deadline: Duration,
    /// Told a line for each setting.
    pub(super) say: &'a mut dyn FnMut(&str),
    /// What the stage did in the first run that was measured, and in how many it did it.
    pub(super) first: Option<StageReport>,
    pub(super) runs: usize,
    /// The time of the first setting.
    pub(super) base_s: f64,
}

impl Bench<'_> {
    /// Decides how much of its input a run takes: `rows`, or as many as can be measured well. Whether
    /// that is all there is of what is held or read; `None`: there was no time.
    pub(super) fn choose(
        &mut self,
        sequential: Setting,
        rows: Option<usize>,
        budget_s: f64,
    ) -> Result<Option<bool>> {
        let held = match &self.universe {
            Universe::Inputs(inputs) => Some(inputs[0].rows),
            Universe::Own => None,
        };
        let mut reached = false;
        match (rows, held) {
            (Some(rows), Some(held)) => {
                self.units = rows.min(held);
                reached = rows >= held;
            }
            (None, _) => {
                let first = held.map_or(1, |held| self.step.rows_max().min(held));
                let found = search::size(first, budget_s, &mut |units| {
                    self.units = units;
                    let once = self.once(sequential)?;
                    Ok(once.map(|(_, wall_s, whole)| {
                        reached = whole;
                        (wall_s, whole)
                    }))
                })?;
                if found.is_none() {
                    return Ok(None);
                }
            }
            // Rows come in batches whose size is the source's.
            (Some(rows), None) => {
                self.units = 1;
                loop {
                    let Some((stage, _, whole)) = self.once(sequential)? else {
                        return Ok(None);
                    };
                    let seen = usize::try_from(stage.rows_in).unwrap_or(usize::MAX).max(1);
                    reached = whole;
                    if whole || seen >= rows {
                        break;
                    }
                    self.units = (self.units * rows).div_ceil(seen).max(self.units + 1);
                }
            }
        }
        Ok(Some(reached))
    }

    /// The rows that a run takes, where that is known beforehand.
    pub(super) fn rows(&self) -> usize {
        match &self.universe {
            Universe::Inputs(inputs) => self.units.min(inputs[0].rows),
            Universe::Own => usize::MAX,
        }
    }

    /// A larger batch than this is refused, or changes nothing: batches are cut, never joined.
    pub(super) fn batch_max(&self, now: Setting) -> usize {
        let (Some(unit), Some(now)) = (&self.unit, now.batch) else {
            return 0;
        };
        let most = match &self.universe {
            Universe::Inputs(inputs) => inputs[0].batch_rows().min(self.units),
            Universe::Own => ROWS_MAX,
        };
        let taken =
            |batch: &usize| *batch <= most && unit.set(&mut self.step.clone(), *batch).is_ok();
        let doubled = std::iter::successors(Some(now), |batch| batch.checked_mul(2));
        doubled.skip(1).take_while(taken).last().unwrap_or(now)
    }

    /// The stage and what gives it its rows.
    fn assemble(&self, setting: Setting, whole: &Arc<Mutex<bool>>) -> Result<Pipeline> {
        let mut step = self.step.clone();
        step.grid = setting.grid;
        if let (Some(unit), Some(batch)) = (&self.unit, setting.batch) {
            unit.set(&mut step, batch)?;
        }
        let mut steps = Vec::new();
        match &self.universe {
            Universe::Own => {
                step.stage = Arc::new(First {
                    stage: step.stage,
                    batches: self.units,
                    whole: whole.clone(),
                });
            }
            Universe::Inputs(inputs) => {
                for (at, held) in inputs.iter().enumerate() {
                    let rows = if at == 0 { self.units } else { held.rows };
                    steps.push(held.step(&format!("input {at}"), rows, at == 0));
                }
                step.inputs = (0..inputs.len()).collect();
            }
        }
        steps.push(step);
        Ok(Pipeline {
            steps,
            ..self.pipeline.clone()
        })
    }

    /// Runs the stage once, and says what it did, how long that took and whether that was all its rows;
    /// `None`: there was no time.
    pub(super) fn once(&mut self, setting: Setting) -> Result<Option<(StageReport, f64, bool)>> {
        if self.left() <= 0.0 {
            return Ok(None);
        }
        let whole = Arc::new(Mutex::new(true));
        let pipeline = self.assemble(setting, &whole)?;
        let options = self.scratch.options(false, self.stop.until(self.deadline));
        let (mut report, error) = run::run(&pipeline, &options, &run::watch(&pipeline));
        self.scratch.clear();
        self.stop.check()?;
        match (error, report.stages.pop()) {
            (Some(_), _) if options.stop.is_late() => Ok(None),
            (Some(error), _) => Err(error),
            (None, None) => Ok(None),
            (None, Some(stage)) => {
                let source = *whole.lock().expect("no one panics holding this lock");
                let whole = match &self.universe {
                    Universe::Own => source,
                    Universe::Inputs(inputs) => self.units >= inputs[0].rows,
                };
                self.runs += 1;
                Ok(Some((stage, report.wall_s, whole)))
            }
        }
    }
}

impl Lab for Bench<'_> {
    fn run(&mut self, setting: Setting) -> Result<Option<Sample>> {
        let Some((stage, wall_s, _)) = self.once(setting)? else {
            return Ok(None);
        };
        let sample = Sample {
            wall_s,
            start_s: stage.start_s,
            open_s: stage.open_s,
            copy_s: stage.copy_s,
        };
        self.first.get_or_insert(stage);
        Ok(Some(sample))
    }

    fn left(&self) -> f64 {
        self.deadline
            .saturating_sub(clock::monotonic())
            .as_secs_f64()
    }

    fn measured(&mut self, point: &Point) {
        let wall_s = point.wall_s();
        if self.base_s == 0.0 {
            self.base_s = wall_s;
        }
        let in_file = Some(self.step.rows_max());
        let unit = self
            .unit
            .as_ref()
            .filter(|_| point.setting.batch != in_file);
        let line = format!(
            "{}: {wall_s:.3} s, {:.2} times sequential ({}), {:.0} s left",
            name_of(point.setting, unit),
            self.base_s / wall_s.max(f64::MIN_POSITIVE),
            crate::pipeline::count(point.runs.len(), "run"),
            self.left()
        );
        (self.say)(&line);
    }
}
