//! The files that runs of a pipeline have published: a loader that reads only new files leaves them out.
//!
//! The state folder holds one log a pipeline. A run appends a line for each file before it publishes, and one line
//! more once all its results are visible; only then its files count. A run that was killed between the two may have
//! published or not: its files are read again, and the next run says so. The log is locked as long as a run goes on,
//! so that no two runs load the same file.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::resume::absolute;
use crate::disk::{self, Held, Hold};
use crate::error::{Error, Result};
use crate::schema::count;
use crate::stage::InputFile;

/// What to do with files that earlier runs have published, where a stage reads only new ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LoadedFiles {
    /// They are read, and the log is neither read nor written: nothing is published where the pipeline says.
    #[default]
    Ignore,
    /// They are left out.
    LeaveOut,
    /// They are read again.
    ReadAgain,
}

/// A line of the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// Whose log it is, for people.
    Pipeline(String),
    /// A file that a run is about to publish.
    File {
        run: String,
        stage: String,
        #[serde(flatten)]
        input: InputFile,
    },
    /// All results of a run are visible.
    Published(String),
}

/// The log of a pipeline, held by one run.
pub(crate) struct LoadedLog {
    path: PathBuf,
    file: Held,
    /// Stage and file.
    published: HashSet<(String, InputFile)>,
    /// Runs that did not say that they had published, and how many files they had read.
    in_doubt: BTreeMap<String, usize>,
    /// Whether the published files are read all the same.
    read_again: bool,
}

impl LoadedLog {
    /// Opens the log of a pipeline in the folder `state`; that another run holds it is an error.
    pub(crate) fn open(state: &Path, pipeline_file: &Path, read_again: bool) -> Result<Self> {
        let of = absolute(pipeline_file);
        let folder = state.join("loaded");
        let path = folder.join(format!("{:016x}.ndjson", xxh3_64(of.as_bytes())));
        let io = |error: std::io::Error| {
            Error::io("open", path.display(), &error)
                .hint("`--state DIR` names another place; it holds which files were loaded: start each run with the same one")
        };
        disk::create_folders(&folder, disk::PRIVATE_FOLDER).map_err(io)?;
        let mut options = disk::private();
        let file = options.read(true).append(true).create(true).open(&path);
        let file = match disk::hold_created(file.map_err(io)?, &path) {
            Hold::Held(file) | Hold::NoLocks(file) => file,
            Hold::Busy | Hold::Gone => {
                let busy = "another run of this pipeline is going on, and may load the same files";
                return Err(Error::failed(busy).hint("wait until it has ended"));
            }
        };
        let bytes = std::fs::read(&path).map_err(io)?;
        // What a killed run left of its last line is cut off.
        let whole = bytes.iter().rposition(|&byte| byte == b'\n');
        let whole = whole.map_or(0, |at| at + 1);
        file.set_len(whole as u64).map_err(io)?;
        let mut log = LoadedLog {
            path: path.clone(),
            file,
            published: HashSet::new(),
            in_doubt: BTreeMap::new(),
            read_again,
        };
        log.read(&bytes[..whole])?;
        if whole == 0 {
            log.append(&[Line::Pipeline(of)])?;
            disk::sync_folder(&folder).map_err(io)?;
        }
        Ok(log)
    }

    fn read(&mut self, bytes: &[u8]) -> Result<()> {
        let mut unsaid: BTreeMap<String, Vec<(String, InputFile)>> = BTreeMap::new();
        for (at, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let line = serde_json::from_slice(line).map_err(|error| {
                let shown = self.path.display();
                Error::failed(format!("line {} of `{shown}` cannot be read", at + 1))
                    .cause(error)
                    .hint("it says which files were loaded; mend the line, or move the file away to load all files again")
            })?;
            match line {
                Line::Pipeline(_) => {}
                Line::File { run, stage, input } => {
                    let file = (stage, identity(&input));
                    unsaid.entry(run).or_default().push(file);
                }
                Line::Published(run) => self
                    .published
                    .extend(unsaid.remove(&run).into_iter().flatten()),
            }
        }
        // A later run has read and published them.
        for (run, files) in unsaid {
            let left = files.iter().filter(|file| !self.published.contains(file));
            let left = left.collect::<HashSet<_>>().len();
            if left > 0 {
                self.in_doubt.insert(run, left);
            }
        }
        Ok(())
    }

    /// Whether a stage is to leave out a file: a run has published it as it is now. Of standard input and pipes
    /// nobody knows what they were.
    pub(crate) fn leaves_out(&self, stage: &str, file: &InputFile) -> bool {
        let known = (file.modified.is_some() || file.etag.is_some()) && !self.read_again;
        known && self.published.contains(&(stage.to_owned(), identity(file)))
    }

    /// What the user should know of runs that were killed while they published.
    pub(crate) fn doubts(&self) -> impl Iterator<Item = String> {
        self.in_doubt.iter().map(|(run, files)| {
            format!(
                "run {run} ended while it published: {} that it had read count as new; rows that it added to an index without ids of their own may come twice",
                count(*files as u64, "file")
            )
        })
    }

    /// Run `run` is about to publish what it made of these files, each with its stage.
    pub(crate) fn publishing(&mut self, run: &str, files: &[(String, InputFile)]) -> Result<()> {
        let lines = files.iter().map(|(stage, input)| Line::File {
            run: run.to_owned(),
            stage: stage.clone(),
            input: identity(input),
        });
        self.append(&lines.collect::<Vec<_>>())
    }

    /// All results of run `run` are visible.
    pub(crate) fn published(&mut self, run: &str) -> Result<()> {
        self.append(&[Line::Published(run.to_owned())])
    }

    fn append(&mut self, lines: &[Line]) -> Result<()> {
        let mut text = String::new();
        for line in lines {
            text += &serde_json::to_string(line).expect("it is plain data");
            text.push('\n');
        }
        let file: &File = &self.file;
        let written = { file }.write_all(text.as_bytes());
        written
            .and_then(|()| disk::sync(file))
            .map_err(|error| Error::io("write", self.path.display(), &error))
    }
}

/// What makes a file the one that it was: a name that does not depend on where a run was started from, its size, and its
/// time; of an object its version, whenever it was written.
fn identity(file: &InputFile) -> InputFile {
    let mut file = file.clone();
    if file.etag.is_some() {
        file.modified = None;
    }
    if !file.file.contains("://") {
        file.file = absolute(Path::new(&file.file));
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str, bytes: u64) -> InputFile {
        InputFile {
            file: name.into(),
            bytes,
            modified: Some("2026-01-01T00:00:00.000Z".into()),
            etag: None,
        }
    }

    fn object(etag: &str, modified: &str) -> InputFile {
        InputFile {
            modified: Some(modified.into()),
            etag: Some(etag.into()),
            ..input("s3://bucket/a", 1)
        }
    }

    #[test]
    fn only_files_of_runs_that_have_published_are_left_out() {
        let state = std::env::temp_dir().join(format!("etl-loaded-{}", std::process::id()));
        let open = |read_again| {
            LoadedLog::open(&state, Path::new("/p.toml"), read_again).expect("nobody has it")
        };
        let (a, b) = (
            ("in".to_owned(), input("a", 1)),
            ("in".to_owned(), input("b", 2)),
        );
        let mut log = open(false);
        assert!(
            LoadedLog::open(&state, Path::new("/p.toml"), false).is_err(),
            "it is held"
        );
        let version = object("1", "2026-01-01T00:00:00.000Z");
        log.publishing("1", &[a.clone(), ("in".to_owned(), version)])
            .expect("it can be written");
        log.published("1").expect("it can be written");
        log.publishing("2", std::slice::from_ref(&b))
            .expect("it can be written");
        // Killed within a line.
        { &*log.file }
            .write_all(b"{\"published\":")
            .expect("it can be written");
        drop(log);
        let mut log = open(false);
        assert!(log.leaves_out("in", &a.1));
        assert!(
            !log.leaves_out("other", &a.1),
            "another stage has not read it"
        );
        assert!(!log.leaves_out("in", &input("a", 2)), "it has grown");
        assert!(log.leaves_out("in", &object("1", "2026-01-02T00:00:00.000Z")));
        assert!(!log.leaves_out("in", &object("2", "2026-01-01T00:00:00.000Z")));
        assert!(
            !log.leaves_out("in", &b.1),
            "nobody knows whether it was published"
        );
        assert!(
            log.doubts()
                .next()
                .expect("one")
                .starts_with("run 2 ended while it published: 1 file ")
        );
        log.publishing("3", std::slice::from_ref(&b))
            .expect("it can be written");
        log.published("3").expect("it can be written");
        drop(log);
        let log = open(false);
        assert!(log.leaves_out("in", &b.1));
        assert_eq!(log.doubts().count(), 0);
        drop(log);
        assert!(!open(true).leaves_out("in", &a.1));
        std::fs::remove_dir_all(&state).expect("it was made");
    }
}
