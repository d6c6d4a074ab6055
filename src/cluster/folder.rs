//! Folders that go with a run: the one that all machines see, and the one of this machine in which the engine keeps what
//! it needs. Of a run that was killed they are left, and the next run removes them.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::config::ClusterConfig;
use crate::clock::{self, monotonic};
use crate::disk::{self, Held, Hold};
use crate::error::{Error, Result};
use crate::place::Shared;
use crate::stage::{has_ended, is_run_id};
use crate::stop::Stop;

/// How the names of such folders begin, before the run's and its process's number: runs in other folders may have begun in
/// the same moment, and have the same name then.
const PREFIX: &str = "etl-";
/// How those of this machine begin: both may lie in one folder.
const SCRATCH_PREFIX: &str = "etl-engine-";
/// How what a look has in place of a run's name begins, before the second in which it began.
const LOOK: &str = "look-";
/// So many seconds after it began a look has ended.
const LOOK_ENDED_S: i64 = 24 * 60 * 60;
/// The file in it that is locked as long as the run goes on.
const HELD_FILE: &str = "run";

/// How its name ends until it is held.
const MAKING: &str = ".new";

/// The longest that objects are removed at the end of a run, and of one that is to stop.
const REMOVING: Duration = Duration::from_mins(1);
const REMOVING_AT_ONCE: Duration = Duration::from_secs(5);

/// The folder of a run that all machines see.
pub(crate) enum SharedFolder {
    /// One of a file system.
    Held(HeldFolder),
    /// Names in a bucket, which nobody can lock: whether a run has ended is known where it began.
    Objects(Shared),
}

impl SharedFolder {
    /// One below the folder that is named for it. `state`: where this machine keeps what belongs to the run.
    pub(crate) fn create(config: &ClusterConfig, run: &str, state: Option<&Path>) -> Result<Self> {
        if let Shared::Path(folder) = &config.folder {
            let held = HeldFolder::create(folder, PREFIX, run).map_err(|error| {
                error.hint("`folder` of `[cluster]` names a folder that is there, that takes files, and that all machines see at the same path")
            });
            return Ok(SharedFolder::Held(held?));
        }
        if let Some(runs) = state.and_then(Path::parent) {
            // What cannot be removed now, a later run removes.
            let _ = clear_ended_objects(&config.folder, runs);
        }
        let folder = config.folder.join(&name(PREFIX, run));
        // Before an engine is started for it: whether something can be written there.
        folder.join(HELD_FILE).write(run.as_bytes())?;
        Ok(SharedFolder::Objects(folder))
    }

    /// A folder in it.
    pub(crate) fn folder(&self, name: &str) -> Result<Shared> {
        match self {
            SharedFolder::Held(held) => held.folder(name).map(Shared::Path),
            SharedFolder::Objects(folder) => Ok(folder.join(name)),
        }
    }

    /// The run has ended: removes it. An error says what is left.
    pub(crate) fn end(self) -> Result<()> {
        let SharedFolder::Objects(folder) = self else {
            // It goes when it is dropped.
            return Ok(());
        };
        let stop = match Stop::of_signals().check() {
            Ok(()) => Stop::of_signals().until(monotonic() + REMOVING),
            Err(_) => Stop::default().until(monotonic() + REMOVING_AT_ONCE),
        };
        folder.remove(&stop).map_err(|error| {
            Error::failed(format!(
                "what tasks left to each other is still in `{folder}`"
            ))
            .cause(error.message)
            .hint("the next run with the same state folder removes it")
        })
    }
}

/// Removes what runs have left in a bucket that were killed: theirs is the name, and the state of this machine says that
/// they have ended.
fn clear_ended_objects(base: &Shared, runs: &Path) -> Result<()> {
    let stop = Stop::of_signals().until(monotonic() + REMOVING);
    for name in base.folders()? {
        let ended = |run: &str| match looked_at(run) {
            Some(began) => clock::now().timestamp() - began > LOOK_ENDED_S,
            None => has_ended(runs, run),
        };
        if of_run(&name).is_some_and(ended) {
            base.join(&name).remove(&stop)?;
        }
    }
    Ok(())
}

/// A folder of this machine's that goes with a run.
pub(crate) struct HeldFolder {
    path: PathBuf,
    _held: Held,
}

impl HeldFolder {
    /// One of this machine, for what the engine keeps on disk while it runs: below the folder that Spark would take.
    pub(crate) fn scratch(config: &ClusterConfig, run: &str) -> Result<Self> {
        let local = std::env::var_os("SPARK_LOCAL_DIRS");
        let base = scratch_base(local, config.conf.get("spark.local.dir"));
        Self::create(&base, SCRATCH_PREFIX, run).map_err(|error| {
            error.hint("Spark's driver keeps its files there while a run goes on; `SPARK_LOCAL_DIRS` or `TMPDIR` names another folder")
        })
    }

    /// Rows may be in it: it is for its user alone, who runs the tasks, too.
    fn create(base: &Path, prefix: &str, run: &str) -> Result<Self> {
        clear_ended(base);
        let name = name(prefix, run);
        let path = base.join(&name);
        let io = |error: std::io::Error| Error::io("create", path.display(), &error);
        // Under another name until it is held: a run that clears what others have left must not take it for such.
        let making = base.join(name + MAKING);
        // Not the folders above it: a share that is not mounted must not be taken for one.
        DirBuilder::new()
            .mode(disk::PRIVATE_FOLDER)
            .create(&making)
            .map_err(io)?;
        let held = Self::hold(&making).and_then(|held| {
            std::fs::rename(&making, &path)?;
            Ok(held)
        });
        match held {
            Ok(held) => Ok(HeldFolder { path, _held: held }),
            Err(error) => {
                disk::remove(&making);
                Err(io(error))
            }
        }
    }

    fn hold(folder: &Path) -> std::io::Result<Held> {
        let file = folder.join(HELD_FILE);
        let created = disk::private().create_new(true).open(&file)?;
        match disk::hold_created(created, &file) {
            Hold::Held(held) | Hold::NoLocks(held) => Ok(held),
            Hold::Busy | Hold::Gone => Err(std::io::Error::other("somebody else has taken it")),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.path.join(name);
        disk::create_folders(&folder, disk::PRIVATE_FOLDER)
            .map_err(|error| Error::io("create", folder.display(), &error))?;
        Ok(folder)
    }
}

impl Drop for HeldFolder {
    fn drop(&mut self) {
        disk::remove(&self.path);
    }
}

/// The folder that Spark would take for what it keeps on disk; of several the first.
fn scratch_base(environment: Option<OsString>, conf: Option<&String>) -> PathBuf {
    let set = environment
        .map(|value| value.to_string_lossy().into_owned())
        .or_else(|| conf.cloned())
        .unwrap_or_default();
    match set.split(',').next().map(str::trim) {
        None | Some("") => std::env::temp_dir(),
        Some(first) => first.into(),
    }
}

fn name(prefix: &str, run: &str) -> String {
    format!("{prefix}{run}-{}", std::process::id())
}

/// The run, or what stands for it, whose folder has this name, if it is not being made just now.
fn of_run(name: &str) -> Option<&str> {
    let name = [SCRATCH_PREFIX, PREFIX]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))?;
    let (run, process) = name.rsplit_once('-')?;
    let is_number = process.bytes().all(|byte| byte.is_ascii_digit());
    ((looked_at(run).is_some() || is_run_id(run)) && is_number).then_some(run)
}

/// What a look that begins now has in place of a run's name.
pub(super) fn look_name() -> String {
    format!("{LOOK}{}", clock::now().timestamp())
}

/// When a look of this name began, in seconds since 1970; `None`: it is none.
fn looked_at(name: &str) -> Option<i64> {
    name.strip_prefix(LOOK)?.parse().ok()
}

/// Removes the folders of runs that were killed: theirs is the name, and nobody holds them.
fn clear_ended(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let file = entry.path().join(HELD_FILE);
        if entry.file_name().to_str().and_then(of_run).is_some()
            && file.is_file()
            && matches!(disk::hold(&file), Hold::Held(_))
        {
            disk::remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_removes_what_killed_ones_have_left_and_nothing_else() {
        let base = std::env::temp_dir().join(format!("etl-folder-{}", std::process::id()));
        let folder = |name: &str| {
            let folder = base.join(name);
            std::fs::create_dir_all(folder.join("f1-0")).expect("it takes a folder");
            std::fs::write(folder.join(HELD_FILE), "").expect("it takes a file");
            folder
        };
        let left = [
            folder("etl-20261129T184118-e5aa-17"),
            folder("etl-engine-20261129T184118-e5aa-17"),
            folder("etl-look-1764480000-17"),
        ];
        let others = [folder("etl-20261129T184118-mine-17"), folder("etl-17")];
        let held = HeldFolder::create(&base, PREFIX, "20261129T184118-e5aa").expect("it is new");
        let scratch = HeldFolder::create(&base, SCRATCH_PREFIX, "20261129T184118-e5aa");
        let scratch = scratch.expect("it has another name");
        assert!(held.path().join(HELD_FILE).is_file());
        assert!(left.iter().all(|left| !left.exists()));
        for other in others {
            std::fs::remove_dir_all(other).expect("it was left alone");
        }
        drop((held, scratch));
        assert!(std::fs::remove_dir(&base).is_ok(), "something is left");
    }

    #[test]
    fn runs_that_begin_at_once_do_not_take_each_other_s_folders() {
        let base = std::env::temp_dir().join(format!("etl-folders-{}", std::process::id()));
        std::fs::create_dir(&base).expect("the temporary folder takes another");
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let base = &base;
                scope.spawn(move || {
                    for run in 0..50 {
                        let name = format!("20261129T18{thread:02}{run:02}-e5aa");
                        let held =
                            HeldFolder::create(base, PREFIX, &name).expect("it is this run's");
                        assert!(held.path().join(HELD_FILE).is_file());
                    }
                });
            }
        });
        assert!(std::fs::remove_dir(&base).is_ok(), "something is left");
    }

    #[test]
    fn the_scratch_folder_lies_where_spark_would_put_its_own() {
        let base = |environment: Option<&str>, conf: Option<&str>| {
            scratch_base(environment.map(Into::into), conf.map(String::from).as_ref())
        };
        assert_eq!(
            base(Some("/fast, /large"), Some("/conf")),
            Path::new("/fast")
        );
        assert_eq!(base(None, Some("/conf")), Path::new("/conf"));
        assert_eq!(base(Some(""), None), std::env::temp_dir());
        assert_eq!(base(None, None), std::env::temp_dir());
    }
}
