//! Where settings are measured: a run of the stage alone, on its universe, into a scratch folder.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::curve::{Point, Sample, Setting};
use super::search::{self, Lab};
use super::universe::{Catch, Held};
use super::{Unit, name_of};
use crate::batch::ROWS_MAX;
use crate::clock;
use crate::disk::{self, Hold};
use crate::error::{Class, Error, Result};
use crate::executor::processes::Workers;
use crate::pipeline::{Pipeline, Step};
use crate::report::StageReport;
use crate::run::{self, Options};
use crate::stage::Storage;
use crate::state::loaded::LoadedFiles;
use crate::stop::Stop;

/// A folder for what measured runs keep and write; gone when it is dropped.
pub(super) struct Scratch {
    pub(super) path: PathBuf,
    /// Held as long as the folder is in use.
    _lock: disk::Held,
}

/// The file by which a scratch folder is known, and what it says.
const MARK: &str = "etl-tune";
const MARK_TEXT: &str = "etl tune measures in this folder, and deletes it\n";
/// How scratch folders begin; the number of the process follows.
const PREFIX: &str = "tune-";

fn is_scratch(name: &str) -> bool {
    let number = name.strip_prefix(PREFIX).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Deletes what a killed program left: a folder with its mark, or one that is empty still. What cannot be
/// removed is in nobody's way.
fn clear_abandoned(folder: &Path) {
    let mark = std::fs::read_to_string(folder.join(MARK));
    let _ = if mark.is_ok_and(|mark| mark == MARK_TEXT) {
        std::fs::remove_dir_all(folder)
    } else {
        std::fs::remove_dir(folder)
    };
}

impl Scratch {
    /// A new one in the folder `state`; those of programs that were killed are cleared away.
    pub(super) fn new(state: &Path) -> Result<Scratch> {
        for entry in std::fs::read_dir(state).into_iter().flatten().flatten() {
            if is_scratch(&entry.file_name().to_string_lossy())
                && let Hold::Held(_held) = disk::hold(&entry.path())
            {
                clear_abandoned(&entry.path());
            }
        }
        let path = state.join(format!("{PREFIX}{}", std::process::id()));
        let io = |error: std::io::Error| Error::io("create the folder", path.display(), &error);
        disk::create_folders(state, disk::PRIVATE_FOLDER).map_err(io)?;
        let lock = loop {
            DirBuilder::new()
                .mode(disk::PRIVATE_FOLDER)
                .create(&path)
                .map_err(io)?;
            let opened = File::open(&path).map(|folder| disk::hold_created(folder, &path));
            // A file system without locks gives none: what a killed program left there stays. A folder that is gone
            // was taken for such a one, a moment ago.
            if let Ok(Hold::Held(lock) | Hold::NoLocks(lock)) = opened {
                break lock;
            }
        };
        std::fs::write(path.join(MARK), MARK_TEXT).map_err(io)?;
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
        let refuse = |hint: String| {
            let error =
                Error::usage("a load into a server is not tuned: it would change what is there");
            Err(error.stage(&step.name).hint(hint))
        };
        let Some(destination) = step.destination() else {
            return refuse("tune another stage".into());
        };
        let place = match &destination.storage {
            Storage::Stdout => folder.join("stdout").display().to_string(),
            Storage::Disk { path, prefix: "" } => {
                // The name says the format, where nothing else does.
                let name = Path::new(path).file_name().unwrap_or_default();
                folder.join(name).display().to_string()
            }
            Storage::Disk { prefix, .. } => format!("{prefix}{}", folder.join("index").display()),
            Storage::Index { local, .. } => {
                return refuse(format!(
                    "tune another stage, or the load into an index of this machine: `--set {}.{local}`",
                    step.name
                ));
            }
        };
        step.set_option(destination.option, place)?;
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
            loaded_files: LoadedFiles::Ignore,
            cluster: None,
            stop,
            workers: Arc::new(Workers::this_program()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
        // The folder around it too, if there is nothing else in it.
        let _ = self.path.parent().map(std::fs::remove_dir);
    }
}

/// Measures one stage.
pub(super) struct Bench<'a> {
    pub(super) pipeline: &'a Pipeline,
    /// The stage, writing into the scratch folder.
    pub(super) step: Step,
    pub(super) unit: Option<Unit>,
    /// What it is run on; none: it reads rows itself.
    pub(super) inputs: Vec<Held>,
    /// The rows of the first input that a run takes, or those that it reads itself.
    pub(super) rows: usize,
    pub(super) scratch: &'a Scratch,
    pub(super) stop: Stop,
    pub(super) deadline: Duration,
    /// Told a line for each setting.
    pub(super) say: &'a mut dyn FnMut(&str),
    /// What the stage did in the first run that was measured, and in how many it did it.
    pub(super) first: Option<(Setting, StageReport)>,
    pub(super) runs: usize,
}

impl Bench<'_> {
    /// Decides how many rows a run takes: `rows`, or as many as can be measured well. How many that are,
    /// and whether they are all there are; `None`: there was no time.
    pub(super) fn choose(
        &mut self,
        sequential: Setting,
        rows: Option<usize>,
        budget_s: f64,
    ) -> Result<Option<(u64, bool)>> {
        let mut taken = None;
        let first = self.step.rows_max();
        let mut run = |rows: usize| {
            self.rows = rows.min(self.inputs.first().map_or(rows, |held| held.rows));
            let once = self.once(sequential)?;
            taken = once.as_ref().map(|once| (once.stage.rows_in, once.whole));
            Ok(once.map(|once| (once.wall_s, once.whole)))
        };
        match rows {
            Some(rows) => drop(run(rows)?),
            None => drop(search::size(first, budget_s, &mut run)?),
        }
        Ok(taken)
    }

    /// A larger batch than this is refused, or changes nothing: batches are cut, never joined.
    pub(super) fn batch_max(&self, now: Setting) -> usize {
        let Some(batch) = now.batch else {
            return 0;
        };
        let most = self.inputs.first().map_or(ROWS_MAX, Held::batch_rows);
        let most = most.min(self.rows);
        let taken = |batch: &usize| {
            let setting = Setting {
                batch: Some(*batch),
                ..now
            };
            let catch = Catch::new(self.rows, usize::MAX, false);
            let assembled = self.assemble(setting, &catch);
            *batch <= most && assembled.is_ok_and(|pipeline| pipeline.schemas().is_ok())
        };
        let doubled = std::iter::successors(Some(batch), |batch| batch.checked_mul(2));
        let larger = doubled.skip(1).take_while(taken).last();
        larger.unwrap_or(batch)
    }

    /// The stage, what gives it its rows, and where it reads them itself what takes them.
    fn assemble(&self, setting: Setting, catch: &Catch) -> Result<Pipeline> {
        let mut step = self.step.clone();
        step.grid = setting.grid;
        if let (Some(unit), Some(batch)) = (&self.unit, setting.batch) {
            unit.set(&mut step, batch)?;
        }
        step.inputs = (0..self.inputs.len()).collect();
        let given = self.inputs.iter().enumerate().map(|(at, held)| {
            let rows = if at == 0 { self.rows } else { held.rows };
            held.step(&format!("input {at}"), rows, at == 0)
        });
        let mut steps: Vec<Step> = given.chain([step]).collect();
        if self.inputs.is_empty() {
            steps.push(catch.step(0));
        }
        Ok(Pipeline {
            steps,
            ..self.pipeline.clone()
        })
    }

    /// Runs the stage once; `None`: there was no time.
    pub(super) fn once(&mut self, setting: Setting) -> Result<Option<Once>> {
        if self.left() <= 0.0 {
            return Ok(None);
        }
        let catch = Catch::new(self.rows, usize::MAX, false);
        let pipeline = self.assemble(setting, &catch)?;
        let options = self.scratch.options(false, self.stop.until(self.deadline));
        let (mut report, error) = run::run(&pipeline, &options, &run::watch(&pipeline));
        self.scratch.clear();
        self.stop.check()?;
        match error {
            Some(_) if catch.is_full() => {}
            Some(_) if options.stop.is_late() => return Ok(None),
            Some(error) => return Err(error),
            None => {}
        }
        self.runs += 1;
        let held = self.inputs.first();
        Ok(Some(Once {
            // Behind its inputs.
            stage: report.stages.swap_remove(self.inputs.len()),
            wall_s: report.wall_s,
            whole: held.map_or(!catch.is_full(), |held| {
                held.whole && self.rows >= held.rows
            }),
        }))
    }
}

/// What came of one run.
pub(super) struct Once {
    stage: StageReport,
    wall_s: f64,
    /// Whether it took all rows there are.
    whole: bool,
}

impl Lab for Bench<'_> {
    fn run(&mut self, setting: Setting) -> Result<Option<Sample>> {
        let from = clock::monotonic();
        let Once { stage, wall_s, .. } = match self.once(setting) {
            Ok(Some(once)) => once,
            Ok(None) => return Ok(None),
            // What the first setting can, another cannot: it is none to be named.
            Err(error)
                if error.class == Class::Failed
                    && self
                        .first
                        .as_ref()
                        .is_some_and(|(base, _)| *base != setting) =>
            {
                let name = name_of(setting, self.unit.as_ref());
                (self.say)(&format!("{name}: failed: {}", error.message));
                return Ok(Some(Sample {
                    wall_s: clock::monotonic().saturating_sub(from).as_secs_f64(),
                    rejected: self.rows as u64,
                    ..Sample::default()
                }));
            }
            Err(error) => return Err(error),
        };
        if self.first.is_none() && stage.rows_in > 0 && stage.rejected == stage.rows_in {
            let rows = crate::report::rows(stage.rows_in);
            let error = Error::failed(format!(
                "all {rows} are rejected: there is nothing to measure"
            ));
            return Err(error.stage(&stage.name).hint("`etl run` shows why"));
        }
        let sample = Sample {
            wall_s,
            start_s: stage.start_s,
            open_s: stage.open_s,
            copy_s: stage.copy_s,
            // Of those that it reads itself a run takes more or fewer, until there are enough.
            rejected: if self.inputs.is_empty() {
                0
            } else {
                stage.rejected
            },
        };
        self.first.get_or_insert((setting, stage));
        Ok(Some(sample))
    }

    fn left(&self) -> f64 {
        self.deadline
            .saturating_sub(clock::monotonic())
            .as_secs_f64()
    }

    fn measured(&mut self, point: &Point) {
        // How many times as fast that is only the table says: most settings are run again until then.
        let wall_s = point.wall_s();
        let in_file = Some(self.step.rows_max());
        let unit = self
            .unit
            .as_ref()
            .filter(|_| point.setting.batch != in_file);
        let rejected = match point.rejected() {
            0 => String::new(),
            rejected => format!(", {} rejected", crate::report::rows(rejected)),
        };
        let line = format!(
            "{}: {wall_s:.3} s in {}{rejected}, {:.0} s left",
            name_of(point.setting, unit),
            crate::schema::count(point.runs.len(), "run"),
            self.left()
        );
        (self.say)(&line);
    }
}
