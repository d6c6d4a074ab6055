//! The runs and comparisons that are kept: a folder each under `runs` of the state folder, named by time, with
//! the report in it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::journal::JOURNAL_PREFIX;
use super::resume::{CHECKPOINT_PREFIX, absolute};
use crate::disk::{self, Hold};
use crate::error::{Error, Result};
use crate::meant::nearest;
use crate::report::reasons;
use crate::report::{Comparison, Report, Status};
use crate::schema::count;
use crate::stage::{REJECTS_FILE, RUN_FILE, UPLOAD_PREFIX, has_ended, is_run_id};

/// Where a run's report is, in its folder.
const REPORT: &str = "report.json";

/// What the folder is called, in that of a comparison, where results go aside.
pub(crate) const SCRATCH: &str = "scratch";

/// How many earlier runs are looked at for the times of other settings: reading them must not be felt.
const RUNS_READ_MAX: usize = 50;

/// The runs of one state folder.
pub struct History {
    runs: PathBuf,
}

/// What is kept of one.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Entry {
    /// Of a comparison.
    Comparison(Box<Comparison>),
    /// Of a run.
    Run(Box<Report>),
}

/// What became of the old ones.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// These are gone.
    pub deleted: Vec<String>,
    /// These are old too, but still needed, and for what.
    pub kept: Vec<(String, &'static str)>,
}

impl History {
    /// Of the state folder `state`.
    pub fn of(state: &Path) -> History {
        History {
            runs: state.join("runs"),
        }
    }

    /// The file with the report of run `id`.
    pub fn report_file(&self, id: &str) -> PathBuf {
        self.runs.join(id).join(REPORT)
    }

    /// Keeps the report of run `id`: it is on disk when the program ends.
    pub fn keep(&self, id: &str, report: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string_pretty(report).expect("a report is plain data");
        let file = self.report_file(id);
        disk::replace(&file, (json + "\n").as_bytes())
            .map_err(|error| Error::io("write the report", file.display(), &error))
    }

    /// All that are there, the newest last; those that still run, or were killed, have no report.
    pub fn ids(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.runs) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", self.runs.display(), &error)),
        };
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut ids: Vec<String> = ids
            .filter(|id| is_run_id(id) && self.runs.join(id).join(RUN_FILE).is_file())
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// The one that is meant: by its whole name, or by a beginning or end that no other has.
    pub fn find(&self, word: &str) -> Result<String> {
        let ids = self.ids()?;
        let fits = |id: &&String| id.starts_with(word) || id.ends_with(word);
        let found: Vec<&String> = match ids.iter().find(|id| *id == word) {
            Some(id) => vec![id],
            None => ids.iter().filter(fits).collect(),
        };
        let error = match found[..] {
            [id] if !word.is_empty() => return Ok(id.clone()),
            [] => Error::failed(format!("no run `{word}` in `{}`", self.runs.display())),
            _ => Error::failed(format!(
                "`{word}` may be any of {}",
                count(found.len(), "run")
            )),
        };
        Err(match nearest(word, ids.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => {
                error.hint("`etl report` lists the runs; `--state DIR` says where they are kept")
            }
        })
    }

    /// What is kept of run `id`, and why it rejected rows; `None`: it has no report.
    pub fn read(&self, id: &str) -> Result<Option<Entry>> {
        let mut entry = self.entry(id)?;
        if let Some(Entry::Run(report)) = &mut entry {
            report.rejects.reasons = reasons::of_file(&self.runs.join(id).join(REJECTS_FILE));
        }
        Ok(entry)
    }

    /// What is kept of run `id` but for its rejects; `None`: it has no report.
    pub fn entry(&self, id: &str) -> Result<Option<Entry>> {
        let file = self.report_file(id);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", file.display(), &error)),
        };
        let entry = serde_json::from_slice(&text);
        let entry = entry.map_err(|error| {
            Error::failed(format!("`{}` is damaged", file.display())).cause(error)
        })?;
        Ok(Some(entry))
    }

    /// Whether run `id` goes on at this moment.
    pub fn is_running(&self, id: &str) -> bool {
        !has_ended(&self.runs, id)
    }

    /// The reports of runs of a pipeline file before run `id`, the newest first.
    pub fn before(&self, id: &str, pipeline_file: &Path) -> impl Iterator<Item = Report> {
        let file = absolute(pipeline_file);
        let ids = self.ids().unwrap_or_default();
        let earlier = ids.into_iter().rev().skip_while(move |it| it != id).skip(1);
        earlier.take(RUNS_READ_MAX).filter_map(move |id| {
            if self.known(&id)["pipeline_file"] != file.as_str() {
                return None;
            }
            match self.entry(&id) {
                Ok(Some(Entry::Run(report))) => Some(*report),
                _ => None,
            }
        })
    }

    /// The name of the pipeline that run `id` runs, if that is known.
    pub fn pipeline_of(&self, id: &str) -> Option<String> {
        let known = self.known(id);
        known["pipeline"].as_str().map(str::to_owned)
    }

    /// What run `id` runs.
    fn known(&self, id: &str) -> Value {
        let known = std::fs::read(self.runs.join(id).join(RUN_FILE)).unwrap_or_default();
        serde_json::from_slice(&known).unwrap_or_default()
    }

    /// Deletes all but the newest `keep`, and but those that somebody may still need. It deletes only what runs
    /// write.
    pub fn prune(&self, keep: usize) -> Result<Pruned> {
        let ids = self.ids()?;
        let mut pruned = Pruned::default();
        for id in &ids[..ids.len().saturating_sub(keep)] {
            let folder = self.runs.join(id);
            // Held until the folder is gone: a run that is just beginning in there then begins in another one.
            let held = match disk::hold(&folder.join(RUN_FILE)) {
                Hold::Held(file) => file,
                Hold::Busy | Hold::NoLocks(_) => {
                    pruned.kept.push((id.clone(), "it is running"));
                    continue;
                }
                Hold::Gone => continue,
            };
            if let Some(why) = self.needed(id) {
                pruned.kept.push((id.clone(), why));
                continue;
            }
            delete(&folder).map_err(|error| Error::io("delete", folder.display(), &error))?;
            drop(held);
            pruned.deleted.push(id.clone());
        }
        Ok(pruned)
    }

    /// What run `id`, which has ended, is still needed for.
    fn needed(&self, id: &str) -> Option<&'static str> {
        let folder = self.runs.join(id);
        if names(&folder).iter().any(|name| !is_of_run(name)) {
            return Some("there are files in it that no run writes");
        }
        if has_file(&folder, UPLOAD_PREFIX) {
            return Some("the next run of its pipeline gives up an upload that it has left");
        }
        let has_checkpoint = has_file(&folder, CHECKPOINT_PREFIX);
        let is_done = match self.read(id) {
            Ok(Some(Entry::Run(report))) => report.status == Status::Done,
            Ok(Some(Entry::Comparison(_))) => true,
            _ => false,
        };
        match (has_checkpoint, is_done) {
            (_, false) if can_resume(&folder) => Some("`etl run --resume` can go on with it"),
            (true, true) if folder.join(REJECTS_FILE).is_file() => {
                Some("`etl replay` can send its rejects again")
            }
            _ => None,
        }
    }
}

/// Whether the run in `folder` has kept something to go on with.
pub(crate) fn can_resume(folder: &Path) -> bool {
    has_file(folder, CHECKPOINT_PREFIX) || has_file(folder, JOURNAL_PREFIX)
}

/// Whether a file whose name begins with `prefix` and that is not empty is in `folder`.
fn has_file(folder: &Path, prefix: &str) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries =
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    entries.any(|entry| entry.metadata().is_ok_and(|found| found.len() > 0))
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Whether a run writes what has this name in its folder.
fn is_of_run(name: &str) -> bool {
    const WHOLE: [&str; 9] = [
        RUN_FILE,
        REPORT,
        REJECTS_FILE,
        "report.part",
        "inputs.json",
        "inputs.part",
        SCRATCH,
        "cluster.py",
        "cluster.log",
    ];
    const BEGINS_ENDS: [(&str, &str); 8] = [
        ("rejects-", ".part"),
        (CHECKPOINT_PREFIX, ".ndjson"),
        (JOURNAL_PREFIX, ""),
        ("joblog-", ".tsv"),
        ("stderr-", ".log"),
        ("load-", ".json"),
        ("load-", ".part"),
        (UPLOAD_PREFIX, ".json"),
    ];
    WHOLE.contains(&name)
        || BEGINS_ENDS
            .iter()
            .any(|(begin, end)| name.starts_with(begin) && name.ends_with(end))
}

/// Deletes the folder of a run with what the run wrote, the file that makes it a run at the end: where this
/// is killed, it is done again.
fn delete(folder: &Path) -> std::io::Result<()> {
    for name in names(folder).iter().filter(|name| *name != RUN_FILE) {
        let path = folder.join(name);
        if name == SCRATCH {
            std::fs::remove_dir_all(path)?;
        } else {
            std::fs::remove_file(path)?;
        }
    }
    std::fs::remove_file(folder.join(RUN_FILE))?;
    match std::fs::remove_dir(folder) {
        // A run that is just beginning took the empty folder for what a killed one left.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state folder that goes when it is dropped.
    struct State(PathBuf);

    impl Drop for State {
        fn drop(&mut self) {
            // What is left behind on a failure is only a temporary file.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    impl State {
        fn join(&self, path: &str) -> PathBuf {
            self.0.join(path)
        }
    }

    /// A state folder with runs; each a name, its files, and what its report says.
    fn state(name: &str, runs: &[(&str, &[&str], Option<Status>)]) -> State {
        let name = format!("etl-history-{}-{name}", std::process::id());
        let state = State(std::env::temp_dir().join(name));
        for (id, files, status) in runs {
            let run = state.join("runs").join(id);
            std::fs::create_dir_all(&run).unwrap();
            std::fs::write(run.join(RUN_FILE), r#"{"pipeline_file":"/p.toml"}"#).unwrap();
            for file in *files {
                std::fs::write(run.join(file), "{}").unwrap();
            }
            if let Some(status) = status {
                let mut report = Report::of_no_run(Path::new("p.toml"), &Error::failed("x"));
                (report.run, report.status) = ((*id).into(), *status);
                let json = serde_json::to_string(&report).unwrap();
                std::fs::write(run.join(REPORT), json).unwrap();
            }
        }
        state
    }

    #[test]
    fn old_runs_go_but_those_that_somebody_needs_stay() {
        let done = Some(Status::Done);
        let failed = Some(Status::Failed);
        let state = state(
            "prune",
            &[
                ("20260101T000001-0001", &[], done),
                ("20260101T000002-0002", &[], None),
                ("20260101T000003-0003", &["rejects.ndjson"], done),
                ("20260101T000004-0004", &["settled-index.ndjson"], failed),
                ("20260101T000005-0005", &["settled-index.ndjson"], None),
                (
                    "20260101T000006-0006",
                    &["settled-index.ndjson", "rejects.ndjson"],
                    done,
                ),
                ("20260101T000007-0007", &["settled-index.ndjson"], done),
                ("20260101T000008-0008", &["kept-ask"], failed),
                ("20260101T000009-0009", &[], None),
                ("20260101T000010-0010", &[], done),
            ],
        );
        // Not a run: nobody's business.
        std::fs::create_dir(state.join("runs/00-other")).unwrap();
        let history = History::of(&state.0);
        let running =
            std::fs::File::open(state.join("runs/20260101T000009-0009").join(RUN_FILE)).unwrap();
        running.try_lock().unwrap();
        std::fs::write(state.join("runs/20260101T000003-0003/notes.txt"), "mine").unwrap();
        let notes = history.prune(1).unwrap();
        let why = "there are files in it that no run writes";
        assert!(notes.kept.contains(&("20260101T000003-0003".into(), why)));
        std::fs::remove_file(state.join("runs/20260101T000003-0003/notes.txt")).unwrap();
        let mut pruned = history.prune(1).unwrap();
        pruned.deleted.extend(notes.deleted);
        pruned.deleted.sort();
        assert_eq!(
            pruned.deleted,
            [
                "20260101T000001-0001",
                "20260101T000002-0002",
                "20260101T000003-0003",
                "20260101T000007-0007"
            ]
        );
        let kept: Vec<&str> = pruned.kept.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(
            kept,
            [
                "20260101T000004-0004",
                "20260101T000005-0005",
                "20260101T000006-0006",
                "20260101T000008-0008",
                "20260101T000009-0009"
            ]
        );
        assert_eq!(history.ids().unwrap().len(), 6);
        assert!(state.join("runs/00-other").is_dir());
        assert_eq!(history.prune(100).unwrap(), Pruned::default());
    }

    #[test]
    fn a_run_is_found_by_what_no_other_begins_or_ends_with() {
        let state = state(
            "find",
            &[
                ("20260101T000000-00aa", &[], None),
                ("20260101T000000-00bb", &[], None),
                ("20260102T000000-00cc", &[], None),
            ],
        );
        let history = History::of(&state.0);
        assert_eq!(history.find("00bb").unwrap(), "20260101T000000-00bb");
        assert_eq!(history.find("20260102").unwrap(), "20260102T000000-00cc");
        assert!(
            history
                .find("20260101")
                .unwrap_err()
                .message
                .contains("any of 2 runs")
        );
        for word in ["", "x"] {
            assert!(history.find(word).is_err());
        }
        let none = History::of(&state.join("none"));
        assert!(none.ids().unwrap().is_empty() && none.find("a").is_err());
    }

    #[test]
    fn earlier_runs_of_the_same_file_come_newest_first() {
        let done = Some(Status::Done);
        let state = state(
            "before",
            &[
                ("20260101T000000-0001", &[], done),
                ("20260101T000000-0002", &[], done),
                ("20260101T000000-0003", &[], None),
                ("20260101T000000-0004", &[], done),
                ("20260101T000000-0005", &[], done),
            ],
        );
        std::fs::write(
            state.join("runs/20260101T000000-0002").join(RUN_FILE),
            r#"{"pipeline_file":"/q.toml"}"#,
        )
        .unwrap();
        let history = History::of(&state.0);
        let before = history.before("20260101T000000-0005", Path::new("/p.toml"));
        let ids: Vec<String> = before.map(|report| report.run).collect();
        assert_eq!(ids, ["20260101T000000-0004", "20260101T000000-0001"]);
    }
}
