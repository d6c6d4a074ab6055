//! Resuming an interrupted run. A run's folder says what it runs (`run.json`, locked as long as it runs), and holds
//! the checkpoints of each stage whose work stays done outside. A resumed run reads its input again and works on
//! the rows after the last checkpoint.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::disk::{self, Held, Hold};
use crate::error::{Error, Result};
use crate::pipeline::{Pipeline, Step, masked};
use crate::secrets::digest_of_queries;
use crate::stage::{InputFile, REJECTS_FILE, RUN_FILE, is_run_id};
use crate::stop::Stop;

/// The report of a run that has ended.
const REPORT_FILE: &str = "report.json";

/// What files a run reads.
const INPUTS_FILE: &str = "inputs.json";

/// How the names of checkpoint files begin.
pub(crate) const CHECKPOINT_PREFIX: &str = "settled-";

/// How long a run that was killed is waited for: it gives its memory back first. Another program's lock has no event
/// to wait for that a signal would interrupt.
const POLLS_MAX: u32 = 100;
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How many runs are looked at for what a killed one left.
const RUNS_READ_MAX: usize = 50;

/// The folder of one run, held: no other run goes on in it meanwhile.
pub(crate) struct RunFolder {
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    file: Held,
}

/// How far a run has come, for one that would go on with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Its stages have not all begun: it has done nothing. Afterwards its folder shows it, see [`never_began`].
    #[default]
    Nothing,
    /// They have, and a run that goes on reads what it read; none of them keeps what it has done.
    Begun,
    /// Some stage keeps what it has done.
    Resumable,
}

impl Reach {
    /// Whether another run can go on where this one has ended with `error`, if all that it keeps is on disk.
    pub(crate) fn can_go_on(self, error: &Error) -> bool {
        self == Reach::Resumable && !error.beyond_resume
    }
}

/// What must be the same for a run to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Identity {
    pipeline: String,
    pipeline_file: String,
    /// Names, kinds, inputs and options, without secrets and what only changes how it is done.
    stages: Value,
}

impl Identity {
    fn of(pipeline: &Pipeline) -> Self {
        let stages = pipeline.steps.iter().map(|step| {
            let mut options = masked(&step.options);
            if let Some(options) = options.as_object_mut() {
                let execution = step.kind.all_options().filter(|option| option.is_execution);
                for option in execution {
                    options.shift_remove(option.name);
                }
            }
            // What a loader reads is compared file by file, however its address is signed.
            let queries = digest_of_queries(&step.options, step.kind.patterns_option);
            let inputs: Vec<&str> = step
                .inputs
                .iter()
                .map(|&input| pipeline.steps[input].name.as_str())
                .collect();
            json!({ "name": step.name, "kind": step.kind.name, "inputs": inputs, "options": options, "queries": queries })
        });
        Identity {
            stages: stages.collect(),
            pipeline: pipeline.name.clone(),
            pipeline_file: absolute(&pipeline.file),
        }
    }
}

/// Tells runs of the same second apart, the later ones last: indices and runs are found by the order
/// of their names.
fn part_of_second(now: DateTime<Utc>) -> u64 {
    // A leap second counts on.
    let nanos = u64::from(now.timestamp_subsec_nanos()).min(999_999_999);
    (nanos << 16) / 1_000_000_000
}

pub(crate) fn absolute(path: &Path) -> String {
    let absolute = path.canonicalize().or_else(|_| std::path::absolute(path));
    absolute
        .unwrap_or_else(|_| path.to_owned())
        .display()
        .to_string()
}

impl RunFolder {
    /// The folder of a new run, which no other run has: its name is the run's.
    pub(crate) fn new(runs: &Path, now: DateTime<Utc>, pipeline: &Pipeline) -> Result<Self> {
        Self::holding(runs, now, &Identity::of(pipeline))
    }

    /// The folder of a comparison. What it holds is no pipeline's identity: no run goes on with it.
    pub(crate) fn of_comparison(runs: &Path, now: DateTime<Utc>) -> Result<Self> {
        Self::holding(runs, now, &"comparison")
    }

    fn holding(runs: &Path, now: DateTime<Utc>, what: &impl Serialize) -> Result<Self> {
        let io = |error: std::io::Error| {
            Error::io("create the run's folder in", runs.display(), &error)
                .hint("`--state DIR` names another place for reports and rejects")
        };
        disk::create_folders(runs, disk::PRIVATE_FOLDER).map_err(io)?;
        clear_begun(runs);
        let mut part = part_of_second(now);
        let (id, path, file) = loop {
            let id = format!("{}-{part:04x}", now.format("%Y%m%dT%H%M%S"));
            let path = runs.join(&id);
            match DirBuilder::new().mode(disk::PRIVATE_FOLDER).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    part += 1;
                    continue;
                }
                Err(error) => return Err(io(error)),
            }
            let file = path.join(RUN_FILE);
            match disk::private().create(true).truncate(false).open(&file) {
                Ok(opened) => match disk::hold_created(opened, &file) {
                    // A file system without locks gives none: two runs in one folder are then up to the user.
                    Hold::Held(file) | Hold::NoLocks(file) => break (id, path, file),
                    Hold::Busy | Hold::Gone => part += 1,
                },
                // Somebody took the empty folder for what a killed run left.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(io(error)),
            }
        };
        let json = serde_json::to_string(what).expect("it is plain data");
        (&*file)
            .write_all(json.as_bytes())
            .and_then(|()| disk::sync(&file))
            .and_then(|()| disk::sync_folder(runs))
            .map_err(io)?;
        Ok(RunFolder { id, path, file })
    }

    /// Whether it is where a run that goes on would look for it.
    pub(crate) fn is_there(&self) -> bool {
        disk::is_at(&self.file, &self.path.join(RUN_FILE)) && disk::sync_folder(&self.path).is_ok()
    }

    /// The folder of the run `id`, or of the pipeline's newest unfinished one; `None`: there is none.
    pub(crate) fn of_unfinished(
        runs: &Path,
        id: &str,
        pipeline: &Pipeline,
        stop: &Stop,
    ) -> Result<Option<Self>> {
        let found = if id.is_empty() {
            newest_unfinished(runs, &Identity::of(pipeline))
        } else {
            Some(id.to_owned())
        };
        let Some(id) = found else { return Ok(None) };
        let path = runs.join(&id);
        let none = || {
            Error::failed(format!("no run `{id}` in `{}`", runs.display()))
                .hint("`--state DIR` says where runs are kept")
        };
        let (file, was) = read(&path).ok_or_else(none)?;
        if is_done(&path) {
            return Err(Error::failed(format!("run `{id}` has ended well")).hint(
                "there is nothing to go on with: run the pipeline anew, without `--resume`",
            ));
        }
        if !has_let_go(&file, stop)? {
            return Err(Error::failed(format!("run `{id}` is still running")));
        }
        let file = Held::locked(file);
        if !disk::is_at(&file, &path.join(RUN_FILE)) {
            // `etl report --keep` was faster.
            return Err(none());
        }
        if is_done(&path) {
            return Err(Error::failed(format!("run `{id}` has ended well")).hint(
                "there is nothing to go on with: run the pipeline anew, without `--resume`",
            ));
        }
        let now = Identity::of(pipeline);
        if was.pipeline_file != now.pipeline_file {
            return Err(Error::failed(format!(
                "run `{id}` is of another pipeline, `{}`",
                was.pipeline_file
            )));
        }
        if let Some(what) = differing(&was.stages, &now.stages) {
            return Err(differs(&id, &what));
        }
        Ok(Some(RunFolder { id, path, file }))
    }

    /// The files that an earlier run with this folder read; `None`: there was none, or it had not begun.
    pub(crate) fn read_before(&self) -> Option<Vec<InputFile>> {
        let was = std::fs::read(self.path.join(INPUTS_FILE)).ok()?;
        serde_json::from_slice(&was).ok()
    }

    /// Every stage has begun: these are the files that are read. A run that goes on must read the same.
    pub(crate) fn reads(&self, inputs: &[InputFile], pipeline: &Pipeline) -> Result<()> {
        let file = self.path.join(INPUTS_FILE);
        let Some(was) = self.read_before() else {
            let json = serde_json::to_string(inputs).expect("it is plain data");
            return disk::replace(&file, json.as_bytes())
                .map_err(|error| Error::io("write", file.display(), &error));
        };
        if was == inputs {
            return Ok(());
        }
        let other = inputs.iter().zip(&was).find(|(now, was)| now != was);
        let what = other.map_or("the number of input files".into(), |(now, was)| {
            let part = match now {
                now if now.file != was.file => "",
                now if now.bytes != was.bytes => "the size of ",
                now if now.modified != was.modified => "the date of change of ",
                _ => "the version of ",
            };
            format!("{part}the input file `{}`", now.file)
        });
        let differs = differs(&self.id, &what);
        Err(match to_add_files(pipeline) {
            Some(way) => differs.hint(format!("{PUT_BACK}; {way}")),
            None => differs,
        })
    }

    /// The checkpoint file of stage `name`.
    pub(crate) fn checkpoint_file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{CHECKPOINT_PREFIX}{name}.ndjson"))
    }
}

/// How to add files that were corrected to an index, without all others; `None`: no index is loaded from files.
pub(crate) fn to_add_files(pipeline: &Pipeline) -> Option<String> {
    let steps = &pipeline.steps;
    steps.iter().find(|step| step.kind.index.is_some())?;
    let files = |step: &Step| Some((step.name.clone(), step.kind.patterns_option?));
    let (name, option) = steps.iter().find_map(files)?;
    Some(format!(
        "to add only corrected files to an index whose documents have ids of their own, name them: `--set {name}.{option}=[\"FILE\"]`"
    ))
}

const PUT_BACK: &str =
    "nothing was sent; put it back, or run the pipeline anew, without `--resume`";

fn differs(id: &str, what: &str) -> Error {
    Error::failed(format!(
        "run `{id}` cannot go on: {what} is not what it was"
    ))
    .hint(PUT_BACK)
}

/// What is first found not to be as it was, in words.
fn differing(was: &Value, now: &Value) -> Option<String> {
    let (was, now) = (was.as_array()?, now.as_array()?);
    let other = was.iter().zip(now).find(|(was, now)| was != now);
    match other {
        Some((was, now)) => {
            let mut parts = ["name", "kind", "inputs"].into_iter();
            let part = parts.find(|part| was[part] != now[part]);
            if part == Some("name") {
                return Some("the order or the names of the stages".into());
            }
            let part = match part {
                Some(part) => Some(part),
                None => differing_option(&was["options"], &now["options"]),
            };
            let of = part.map_or(String::new(), |part| format!("`{part}` of "));
            let stage = was["name"].as_str().unwrap_or_default();
            Some(format!("{of}stage `{stage}`"))
        }
        None if was.len() != now.len() => Some("the number of stages".into()),
        None => None,
    }
}

fn differing_option<'a>(was: &'a Value, now: &'a Value) -> Option<&'a str> {
    let (was, now) = (was.as_object()?, now.as_object()?);
    let names = was.keys().chain(now.keys());
    let mut names = names.filter(|name| was.get(*name) != now.get(*name));
    names.next().map(String::as_str)
}

fn read(path: &Path) -> Option<(File, Identity)> {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path.join(RUN_FILE))
        .ok()?;
    let identity = serde_json::from_reader(&file).ok()?;
    Some((file, identity))
}

/// Removes folders that runs left which were killed before they had put anything into them: among the newest,
/// so that it costs nothing where many runs are kept.
fn clear_begun(runs: &Path) {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_run_id(name)).collect();
    names.sort_unstable();
    for name in names.iter().rev().take(RUNS_READ_MAX) {
        let folder = runs.join(name);
        if !folder.join(RUN_FILE).exists() {
            // This removes empty folders only. A run that is just beginning makes its folder once more.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Whether the run that held the file has ended; one that was just killed may take a moment.
fn has_let_go(file: &File, stop: &Stop) -> Result<bool> {
    for _ in 0..POLLS_MAX {
        match file.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => stop.sleep(POLL_INTERVAL)?,
            // A file system without locks has none to wait for.
            _ => return Ok(true),
        }
    }
    Ok(false)
}

fn is_done(path: &Path) -> bool {
    let report = std::fs::read(path.join(REPORT_FILE)).unwrap_or_default();
    let report: Value = serde_json::from_slice(&report).unwrap_or_default();
    report["status"] == "done"
}

/// The newest run of a pipeline, unless it ended well: what an older one left would undo what that did.
pub(crate) fn unfinished(runs: &Path, pipeline: &Pipeline) -> Option<String> {
    newest_unfinished(runs, &Identity::of(pipeline))
}

/// Whether a run ended before its stages had begun, as over a mistake on the command line: it keeps nothing to go
/// on with. One that was killed has no report.
fn never_began(path: &Path) -> bool {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    let own = [RUN_FILE, REPORT_FILE, REJECTS_FILE];
    names.iter().any(|name| name == REPORT_FILE)
        && names.iter().all(|name| own.iter().any(|own| name == own))
}

fn newest_unfinished(runs: &Path, now: &Identity) -> Option<String> {
    let entries = std::fs::read_dir(runs).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let of_it = |name: String| {
        let path = runs.join(&name);
        let (_, was) = read(&path)?;
        let of_it = was.pipeline_file == now.pipeline_file && was.pipeline == now.pipeline;
        let done = is_done(&path);
        if !done && never_began(&path) {
            return None;
        }
        // One that did something else has not done what an older one was to do.
        let counts = of_it && (!done || differing(&was.stages, &now.stages).is_none());
        counts.then_some((name, done))
    };
    let (name, done) = names.filter_map(of_it).max()?;
    (!done).then_some(name)
}
