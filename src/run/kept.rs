//! What a run keeps of the requests and commands of a stage: a log of them, with the columns of GNU
//! parallel's, and their answers, so that a run that goes on asks for those that are not there, and gives
//! the others to the next stage in their places.
//!
//! An answer is a file, renamed into place before its line stands in the log. It is found again by what
//! was asked: the items' values, and how many like them came before. So it stays the right one if other
//! items, which failed before, do not fail now.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::batch::Batch;
use crate::clock::Span;
use crate::digest::Digest;
use crate::error::{Error, Result, cut_value};
use crate::executor::Memory;
use crate::executor::processes::frames::{Frame, read_frame};
use crate::hand::{Mark, Played};
use crate::pipeline::Step;
use crate::schema::Schema;
use crate::secrets::Secrets;
use crate::stage::{Job, Reject};

/// The columns of GNU parallel's `--joblog`.
const HEADER: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

/// What is kept of one stage.
pub(super) struct Kept {
    /// The answers, a file each.
    answers: PathBuf,
    log: PathBuf,
    /// What was said on stderr.
    said: PathBuf,
    input: Schema,
    secrets: Secrets,
    /// Whether what failed stays so, for what came behind it is loaded already.
    settled: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How often the like was asked so far.
    seen: HashMap<Digest, u64>,
    /// The file of each batch in flight, by number.
    files: HashMap<u64, PathBuf>,
    log: Option<File>,
    said: Option<File>,
    /// How many that ended well said something on stderr, and the first of them.
    talkers: u64,
    first: Option<(u64, String)>,
    /// How many answers are kept.
    kept: u64,
    /// How many that failed before were not asked again.
    left: u64,
}

/// What stands before the rows of a kept answer.
#[derive(Serialize, Deserialize)]
struct Answer {
    marks: Vec<Mark>,
}

impl Kept {
    /// What the run in `folder` keeps of stage `stage`, whose items have the columns `input`.
    pub(super) fn new(folder: &Path, step: &Step, input: Schema, settled: bool) -> Result<Self> {
        let stage = &step.name;
        let answers = folder.join(format!("kept-{stage}"));
        std::fs::create_dir_all(&answers)
            .map_err(|error| Error::io("create", answers.display(), &error))?;
        Ok(Kept {
            answers,
            log: folder.join(format!("joblog-{stage}.tsv")),
            said: folder.join(format!("stderr-{stage}.log")),
            input,
            secrets: step.secrets(),
            settled,
            state: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics holding this lock")
    }

    /// Whether a run that goes on would find anything.
    pub(super) fn is_of_use(&self) -> bool {
        self.lock().kept > 0
    }

    /// The run has ended well: the log stays, the answers are not needed any more.
    pub(super) fn forget(&self) {
        // What cannot be removed is only in the way of nobody.
        let _ = std::fs::remove_dir_all(&self.answers);
    }

    /// What the user should know.
    pub(super) fn warnings(&self) -> Vec<String> {
        let state = self.lock();
        let mut warnings = Vec::new();
        if let Some((number, words)) = &state.first {
            warnings.push(format!(
                "{} that ended well said something on stderr, number {} first: `{words}`; all of it is in `{}`",
                state.talkers,
                number + 1,
                self.said.display()
            ));
        }
        if state.left > 0 {
            warnings.push(format!(
                "{} that failed before {} not asked for again: what comes behind is loaded already",
                state.left,
                if state.left == 1 { "was" } else { "were" }
            ));
        }
        warnings
    }

    /// Where the answer to a batch is kept.
    fn file(&self, state: &mut State, batch: &Batch) -> PathBuf {
        let digest = Digest::of(&self.input, batch);
        let before = state.seen.entry(digest).or_default();
        *before += 1;
        self.answers.join(format!("{}-{before}", digest.hex()))
    }

    /// Takes secrets out of what is said of a reject; its row is the user's own.
    fn clean(&self, reject: &mut Reject) {
        reject.reason = self.secrets.clean(&reject.reason);
        for (_, value) in &mut reject.more {
            if let Value::String(text) = value {
                *text = self.secrets.clean(text);
            }
        }
    }

    /// A line in the log, and what was said.
    fn log(&self, number: u64, job: &Job, failed: bool) -> std::io::Result<()> {
        let mut state = self.lock();
        let state = &mut *state;
        let said = job.said.trim();
        if !said.is_empty() {
            let text = format!("# {}: {}\n{said}\n", number + 1, job.command);
            open(&mut state.said, &self.said, "")?.write_all(text.as_bytes())?;
            // What those that failed said is in their rejects.
            if !failed {
                state.talkers += 1;
                if state
                    .first
                    .as_ref()
                    .is_none_or(|(first, _)| number < *first)
                {
                    let last = said.lines().last().unwrap_or_default();
                    state.first = Some((number, cut_value(last)));
                }
            }
        }
        open(&mut state.log, &self.log, HEADER)?.write_all(line(number, job).as_bytes())
    }
}

/// A file that is appended to; a new one begins with `header`.
fn open<'a>(
    file: &'a mut Option<File>,
    path: &Path,
    header: &str,
) -> std::io::Result<&'a mut File> {
    if file.is_none() {
        let mut opened = File::options().create(true).append(true).open(path)?;
        if opened.metadata()?.len() == 0 {
            opened.write_all(header.as_bytes())?;
        }
        *file = Some(opened);
    }
    Ok(file.as_mut().expect("it was just opened"))
}

fn line(number: u64, job: &Job) -> String {
    format!(
        "{}\t{}\t{:.3}\t{:10.3}\t{}\t{}\t{}\t{}\t{}\n",
        number + 1,
        job.host,
        job.started_s,
        job.took_s,
        job.sent,
        job.received,
        job.exit,
        job.signal,
        job.command
    )
}

impl Memory for Kept {
    fn recall(&self, number: u64, batch: &Batch) -> Option<Played> {
        let mut state = self.lock();
        let path = self.file(&mut state, batch);
        let found = read(&path);
        let failed = |played: &Played| played.marks.iter().any(|mark| mark.failed);
        match found {
            Some(played) if !failed(&played) => {
                state.kept += 1;
                Some(played)
            }
            Some(played) if self.settled => {
                state.left += 1;
                Some(played)
            }
            _ => {
                state.files.insert(number, path);
                None
            }
        }
    }

    fn note(&self, number: u64, played: &mut Played) -> Result<()> {
        let Some(file) = self.lock().files.remove(&number) else {
            return Ok(());
        };
        let mut jobs = Vec::new();
        let mut failed = played.fault.is_some();
        for mark in &mut played.marks {
            mark.rejects
                .iter_mut()
                .for_each(|reject| self.clean(reject));
            let rejected = mark.rejects.len() as u64;
            mark.failed = match mark.job.take() {
                None => rejected > 0,
                Some(mut job) => {
                    job.command = self.secrets.clean(&job.command);
                    job.said = self.secrets.clean(&job.said);
                    let failed = !job.succeeded() || rejected == mark.rows_in;
                    jobs.push(job);
                    failed
                }
            };
            failed |= mark.failed;
        }
        let io = |error| {
            Error::io("keep an answer in", self.answers.display(), &error)
                .hint("make room there, or `--state DIR` keeps them elsewhere")
        };
        if played.fault.is_none() {
            keep(&file, played).map_err(io)?;
            self.lock().kept += u64::from(!failed);
        }
        jobs.iter()
            .try_for_each(|job| self.log(number, job, failed).map_err(io))
    }
}

/// Writes an answer, whole or not at all.
fn keep(file: &Path, played: &Played) -> std::io::Result<()> {
    let marks = played.marks.iter().cloned().map(|mark| Mark {
        // The time was another run's.
        span: Span::default(),
        ..mark
    });
    let answer = Answer {
        marks: marks.collect(),
    };
    let frame = Frame::new(played.batch.as_ref(), || answer).map_err(std::io::Error::other)?;
    let part = file.with_extension("part");
    frame.write(File::create(&part)?)?;
    std::fs::rename(&part, file)
}

/// A kept answer; one that is not whole is none.
fn read(path: &Path) -> Option<Played> {
    let mut file = File::open(path).ok()?;
    let mut rows = Vec::new();
    let header = read_frame(&mut file, &mut rows)?;
    let answer: Answer = serde_json::from_slice(&header).ok()?;
    Some(Played {
        marks: answer.marks,
        batch: Some(Batch::decode(&rows).ok()?),
        fault: None,
    })
}
