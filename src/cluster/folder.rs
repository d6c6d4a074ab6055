//! Folders that go with a run: the one that all machines see, and the one of this machine in which the engine keeps what
//! it needs. Of a run that was killed they are left, and the next run removes them.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::config::ClusterConfig;
use crate::disk::{self, Held, Hold};
use crate::error::{Error, Result};
use crate::stage::is_run_id;

/// How the names of such folders begin, before the run's.
const PREFIX: &str = "etl-";
/// How the name of a look begins, in place of a run's.
pub(super) const LOOK: &str = "look-";
/// The file in it that is locked as long as the run goes on.
const HELD_FILE: &str = "run";

/// How its name ends until it is held.
const MAKING: &str = ".new";

/// A folder that goes with a run.
pub(crate) struct HeldFolder {
    path: PathBuf,
    _held: Held,
}

impl HeldFolder {
    /// One below the folder that all machines see.
    pub(crate) fn shared(config: &ClusterConfig, run: &str) -> Result<Self> {
        Self::create(&config.folder, run).map_err(|error| {
            error.hint("`folder` of `[cluster]` names a folder that is there, that takes files, and that all machines see at the same path")
        })
    }

    /// One of this machine, for what the engine keeps on disk while it runs: below the folder that Spark would take.
    pub(crate) fn scratch(config: &ClusterConfig, run: &str) -> Result<Self> {
        let local = std::env::var_os("SPARK_LOCAL_DIRS");
        let base = scratch_base(local, config.conf.get("spark.local.dir"));
        Self::create(&base, run).map_err(|error| {
            error.hint("Spark's driver keeps its files there while a run goes on; `SPARK_LOCAL_DIRS` or `TMPDIR` names another folder")
        })
    }

    /// Rows may be in it: it is for its user alone, who runs the tasks, too.
    fn create(base: &Path, run: &str) -> Result<Self> {
        // Before its own: a run that goes on with `--resume` has the name of the one that was killed.
        clear_ended(base);
        let path = base.join(format!("{PREFIX}{run}"));
        let io = |error: std::io::Error| Error::io("create", path.display(), &error);
        // Under another name until it is held: a run that clears what others have left must not take it for such.
        let making = base.join(format!("{PREFIX}{run}{MAKING}"));
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

/// Whether a name is that of a look, which is not being made just now.
fn is_look(run: &str) -> bool {
    run.starts_with(LOOK) && !run.ends_with(MAKING)
}

/// Removes the folders of runs that were killed: theirs is the name, and nobody holds them.
fn clear_ended(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let file = entry.path().join(HELD_FILE);
        if run.is_some_and(|run| is_run_id(run) || is_look(run))
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
    fn a_run_that_goes_on_takes_the_place_of_the_one_that_was_killed() {
        let base = std::env::temp_dir().join(format!("etl-folder-{}", std::process::id()));
        let create = || HeldFolder::create(&base, "20261129T184118-e5aa");
        let left = base.join("etl-20261129T184118-e5aa/f1-0");
        std::fs::create_dir_all(&left).expect("the temporary folder takes another");
        std::fs::write(left.with_file_name(HELD_FILE), "").expect("it takes a file");
        let held = create().expect("nobody holds it");
        assert!(!left.exists());
        let busy = create().err().expect("it is held");
        assert!(busy.message.contains("cannot create"), "{}", busy.message);
        drop(held);
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
                        let held = HeldFolder::create(base, &name).expect("it is this run's");
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
