//! The response journal of a stage that sends requests or runs commands: a log with the columns of GNU parallel's,
//! and the responses. A resumed run sends only the requests without a recorded response, and passes the recorded
//! responses on in their places.
//!
//! The answers of a stage stand in one file, one after the other, and there before its line stands in the
//! log: a file for each would cost more than many a request. Behind each stands its checksum; from the
//! first one on that does not bear it out, as what a killed run left of its last one, the file is cut off.
//! An answer is found again by what was asked: the items' values, and how many like them came before. So it
//! stays the right one if other items, which failed before, do not fail now.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checkpoint::{RESUMED_ROWS, SYNC_EVERY};
use crate::batch::Batch;
use crate::clock::{self, Span};
use crate::digest::Digest;
use crate::disk;
use crate::error::{Error, Result, cut_value};
use crate::executor::Journal;
use crate::executor::processes::frames::{Frame, checksum, read_frame};
use crate::fragment::{BatchOutcome, StageMetrics};
use crate::pipeline::Step;
use crate::schema::Schema;
use crate::secrets::Secrets;
use crate::stage::{Job, Reject};

/// The columns of GNU parallel's `--joblog`.
const HEADER: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

/// How the files of answers begin.
pub(crate) const JOURNAL_PREFIX: &str = "kept-";

/// What is kept of one stage.
pub(crate) struct ResponseJournal {
    /// The answers.
    path: PathBuf,
    log: PathBuf,
    /// What was said on stderr.
    said: PathBuf,
    input: Schema,
    secrets: Secrets,
    /// Whether what failed stays so, for what follows it is loaded already.
    failures_are_final: bool,
    state: Mutex<State>,
}

struct State {
    answers: Answers,
    /// How often the like was asked so far.
    seen: HashMap<Digest, u64>,
    /// What each batch in flight asks, by number.
    asked: HashMap<u64, String>,
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

/// The file of answers.
struct Answers {
    file: File,
    /// Where each begins, by what was asked; of several the last one.
    at: HashMap<String, u64>,
    /// Where the next one begins: nothing that is whole follows.
    end: u64,
    /// When it was last brought to disk, by [`clock::monotonic`].
    synced: Duration,
}

/// What stands before the rows of a kept answer.
#[derive(Serialize, Deserialize)]
struct Answer {
    asked: String,
    #[serde(rename = "metrics")]
    metrics: Vec<StageMetrics>,
}

impl ResponseJournal {
    /// What the run in `folder` keeps of stage `stage`, whose items have the columns `input`.
    pub(crate) fn new(
        folder: &Path,
        step: &Step,
        input: Schema,
        failures_are_final: bool,
    ) -> Result<Self> {
        let stage = &step.name;
        let path = folder.join(format!("{JOURNAL_PREFIX}{stage}"));
        let answers =
            Answers::open(&path).map_err(|error| Error::io("open", path.display(), &error))?;
        Ok(ResponseJournal {
            path,
            log: folder.join(format!("joblog-{stage}.tsv")),
            said: folder.join(format!("stderr-{stage}.log")),
            input,
            secrets: step.secrets(),
            failures_are_final,
            state: Mutex::new(State {
                answers,
                seen: HashMap::new(),
                asked: HashMap::new(),
                log: None,
                said: None,
                talkers: 0,
                first: None,
                kept: 0,
                left: 0,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics holding this lock")
    }

    /// Whether a run that goes on would find anything.
    pub(crate) fn has_responses(&self) -> bool {
        self.lock().kept > 0
    }

    /// Brings the answers to disk.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        self.lock().answers.sync()
    }

    /// The run has ended well: the log stays, the answers are not needed any more.
    pub(crate) fn delete(&self) {
        // What cannot be removed is only in the way of nobody.
        let _ = std::fs::remove_file(&self.path);
    }

    /// What the user should know.
    pub(crate) fn warnings(&self) -> Vec<String> {
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
                "{} that failed before {} not asked for again: what follows is loaded already",
                state.left,
                if state.left == 1 { "was" } else { "were" }
            ));
        }
        warnings
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
        let mut opened = disk::private().create(true).append(true).open(path)?;
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

impl Journal for ResponseJournal {
    fn find(&self, number: u64, batch: &Batch) -> Option<BatchOutcome> {
        let digest = Digest::of(&self.input, batch);
        let mut state = self.lock();
        let before = state.seen.entry(digest).or_default();
        *before += 1;
        let asked = format!("{}-{before}", digest.hex());
        let found = state.answers.read(&asked);
        let failed = |outcome: &BatchOutcome| {
            outcome
                .metrics
                .iter()
                .any(|stage_metrics| stage_metrics.failed)
        };
        match found {
            Some(mut outcome) if !failed(&outcome) => {
                state.kept += 1;
                if let Some(stage_metrics) = outcome.metrics.first_mut() {
                    stage_metrics
                        .counts
                        .insert(RESUMED_ROWS.into(), stage_metrics.rows_in);
                }
                Some(outcome)
            }
            Some(outcome) if self.failures_are_final => {
                state.left += 1;
                Some(outcome)
            }
            _ => {
                state.asked.insert(number, asked);
                None
            }
        }
    }

    fn record(&self, number: u64, outcome: &mut BatchOutcome, rows: Option<&[u8]>) -> Result<()> {
        let Some(asked) = self.lock().asked.remove(&number) else {
            return Ok(());
        };
        let mut jobs = Vec::new();
        let mut failed = outcome.fault.is_some();
        for stage_metrics in &mut outcome.metrics {
            stage_metrics
                .rejects
                .iter_mut()
                .for_each(|reject| self.clean(reject));
            let rejected = stage_metrics.rejects.len() as u64;
            stage_metrics.failed = match stage_metrics.job.take() {
                None => rejected > 0,
                Some(mut job) => {
                    job.command = self.secrets.clean(&job.command);
                    job.said = self.secrets.clean(&job.said);
                    // An item may lose some of its records: it has been answered all the same.
                    let failed =
                        !job.succeeded() || stage_metrics.rows_out + stage_metrics.dropped == 0;
                    jobs.push(job);
                    failed
                }
            };
            failed |= stage_metrics.failed;
        }
        let io = |error| {
            Error::io("keep an answer in", self.path.display(), &error)
                .hint("make room there, or `--state DIR` keeps them elsewhere")
        };
        if outcome.fault.is_none() {
            let frame = framed(asked, outcome, rows)?;
            let mut state = self.lock();
            state.answers.add(&frame).map_err(io)?;
            state.kept += u64::from(!failed);
        }
        jobs.iter()
            .try_for_each(|job| self.log(number, job, failed).map_err(io))
    }
}

impl Answers {
    /// Those that are there, if any.
    fn open(path: &Path) -> std::io::Result<Self> {
        let file = disk::private()
            .create(true)
            .truncate(false)
            .read(true)
            .open(path)?;
        let mut answers = Answers {
            file,
            at: HashMap::new(),
            end: 0,
            synced: clock::monotonic(),
        };
        let mut reader = BufReader::new(answers.file.try_clone()?);
        while let Some((answer, _)) = next(&mut reader) {
            answers.at.insert(answer.asked, answers.end);
            answers.end = reader.stream_position()?;
        }
        answers.file.set_len(answers.end)?;
        Ok(answers)
    }

    /// The answer to what was asked.
    fn read(&mut self, asked: &str) -> Option<BatchOutcome> {
        let at = *self.at.get(asked)?;
        self.file.seek(SeekFrom::Start(at)).ok()?;
        let (answer, rows) = next(&mut self.file)?;
        Some(BatchOutcome {
            metrics: answer.metrics,
            batch: Some(Batch::decode(&rows).ok()?),
            fault: None,
            first: 0,
            rest: None,
        })
    }

    /// One more, whole or not at all.
    fn add(&mut self, frame: &Frame) -> std::io::Result<()> {
        let mut behind = At(&self.file, self.end);
        if let Err(error) = frame.write(&mut behind) {
            self.file.set_len(self.end)?;
            return Err(error);
        }
        self.end = behind.1;
        if clock::monotonic().saturating_sub(self.synced) >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.file.sync_data()?;
        self.synced = clock::monotonic();
        Ok(())
    }
}

/// Writes into a file from some place on.
struct At<'a>(&'a File, u64);

impl Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.0.write_at(bytes, self.1)?;
        self.1 += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An answer as it is kept; `rows` are its rows, if they are encoded already.
fn framed(asked: String, outcome: &BatchOutcome, rows: Option<&[u8]>) -> Result<Frame> {
    let metrics = outcome
        .metrics
        .iter()
        .cloned()
        .map(|stage_metrics| StageMetrics {
            // The time was another run's.
            span: Span::default(),
            ..stage_metrics
        });
    let answer = Answer {
        asked,
        metrics: metrics.collect(),
    };
    let rows = match (rows, &outcome.batch) {
        (Some(rows), _) => vec![Bytes::copy_from_slice(rows)],
        (None, Some(batch)) => batch.encode()?,
        (None, None) => Vec::new(),
    };
    Ok(Frame::of(rows, &answer)?.sealed())
}

/// The next kept answer and its rows; one that is not whole, or not what was written, is none.
fn next(from: &mut impl Read) -> Option<(Answer, Vec<u8>)> {
    let mut rows = Vec::new();
    let header = read_frame(from, &mut rows)?;
    let mut sum = [0; 8];
    from.read_exact(&mut sum).ok()?;
    if u64::from_le_bytes(sum) != checksum(&header, &rows) {
        return None;
    }
    Some((serde_json::from_slice(&header).ok()?, rows))
}
