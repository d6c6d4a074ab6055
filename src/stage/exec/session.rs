//! A batch of items: one command, and what becomes of each item.

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;

use serde_json::{Map, Value};

use super::run::{self, CommandEnd, Limits, Order, Ran, failure};
use super::template::{Template, typed};
use super::{SessionConfig, Stdin};
use crate::batch::Batch;
use crate::columns::{Column, row_number};
use crate::error::{DESCRIPTORS, Error, Result, cut_value, is_out_of_descriptors};
use crate::format::json::{Nulls, Writer, write_plain};
use crate::schema::{Schema, count, list};
use crate::stage::answers::{Reader, Refusal, Resolution};
use crate::stage::{Job, Output, Session, TaskContext};
use crate::stop::Stop;
use crate::threads;

/// What runs commands in one process.
pub(super) struct Running {
    pub(super) template: Template,
    pub(super) stdin: Stdin,
    pub(super) stdin_column: Option<usize>,
    pub(super) limits: Limits,
    pub(super) reader: Reader,
    pub(super) input: Schema,
    pub(super) config: SessionConfig,
    pub(super) stop: Stop,
}

impl Session for Running {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        self.stop.check()?;
        let mut resolution = self.reader.resolve(batch);
        self.refuse_unfit(&mut resolution);
        let items = resolution.open();
        if items.is_empty() {
            return resolution.finish();
        }
        let words = self.words(resolution.batch(), &items);
        let order = Order {
            words: &words,
            stdin: self.written(resolution.batch(), &items),
            environment: &self.config.environment,
            folder: &self.config.folder,
            limits: self.limits,
        };
        let job = Job::begin(":", typed(&words));
        let ran = match run::run(order, &self.stop) {
            Ok(ran) => ran,
            // The items are too long for one command, not the command for this machine.
            Err(error) if error.kind() == ErrorKind::ArgumentListTooLong => {
                let refusal = Refusal::new("the arguments are too long for a command");
                refuse_all(&mut resolution, &items, &refusal);
                return resolution.finish();
            }
            Err(error) => return Err(self.not_started(&words[0], &error)),
        };
        if ran.end == CommandEnd::Stop {
            self.stop.check()?;
        }
        let job = ended(job, &ran);
        let left_running = ran.left_running;
        match self.refusal(&ran) {
            Some(refusal) => refuse_all(&mut resolution, &items, &refusal),
            None => self.answer(&mut resolution, &items, &ran.stdout),
        }
        let mut output = resolution.finish()?;
        if left_running {
            output.counts.insert("left_running".into(), 1);
        }
        output.job = Some(job);
        Ok(output)
    }
}

impl Running {
    /// Items of whose values no argument, or no line, can be made.
    fn refuse_unfit(&self, resolution: &mut Resolution) {
        for at in self.template.columns() {
            let column = resolution.batch().column(at);
            for row in resolution.open() {
                if column.is_null(row) {
                    self.refuse(resolution, row, at, "null is no argument of a command");
                } else if self.text(&column, at, row).contains(&0) {
                    self.refuse(resolution, row, at, "an argument of a command holds no NUL");
                }
            }
        }
        if let Some(at) = self.stdin_column {
            let column = resolution.batch().column(at);
            for row in resolution.open() {
                if column.is_null(row) {
                    self.refuse(resolution, row, at, "null is no line");
                } else if self.text(&column, at, row).contains(&b'\n') {
                    self.refuse(resolution, row, at, "a line holds no line break");
                }
            }
        }
    }

    fn refuse(&self, resolution: &mut Resolution, row: usize, column: usize, reason: &str) {
        let refusal = Refusal {
            column: Some(self.input.fields[column].name.clone()),
            ..Refusal::new(reason)
        };
        resolution.refuse(row, &refusal);
    }

    fn text(&self, column: &Column, at: usize, row: usize) -> Vec<u8> {
        let mut text = Vec::new();
        write_plain(column, &self.input.fields[at].ty, row, &mut text);
        text
    }

    fn words(&self, batch: &Batch, items: &[usize]) -> Vec<String> {
        let value = |item: usize, at: usize| {
            let text = self.text(&batch.column(at), at, items[item]);
            String::from_utf8_lossy(&text).into_owned()
        };
        self.template.words(items.len(), &value)
    }

    /// What the command finds on its standard input.
    fn written(&self, batch: &Batch, items: &[usize]) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        match (self.stdin, self.stdin_column) {
            (Stdin::Lines, Some(at)) => {
                let column = batch.column(at);
                for &row in items {
                    write_plain(&column, &self.input.fields[at].ty, row, &mut text);
                    text.push(b'\n');
                }
            }
            (Stdin::Ndjson, _) => {
                let rows: Vec<u32> = items.iter().map(|&row| row_number(row)).collect();
                text = Writer::new(&self.input, Nulls::Omit).lines(&batch.take(&rows));
            }
            _ => return None,
        }
        Some(text)
    }

    /// Why no answer of the command counts, if none does.
    fn refusal(&self, ran: &Ran) -> Option<Refusal> {
        let what = match ran.end {
            CommandEnd::Own => failure(ran.status)?,
            CommandEnd::Time => {
                let limit = self.limits.time.unwrap_or_default().as_millis();
                format!("was ended: it took longer than {limit} ms (`timeout_ms`)")
            }
            CommandEnd::Output => {
                let limit = self.limits.output_bytes;
                format!(
                    "was ended: it printed more than {} (`max_output_bytes`)",
                    count(limit, "byte")
                )
            }
            CommandEnd::Stop => "was ended: the run stops".into(),
        };
        let said = String::from_utf8_lossy(&ran.said);
        let last = said.trim().lines().last().unwrap_or_default();
        let reason = match last {
            "" => format!("the command {what}"),
            last => format!("the command {what}, saying `{}`", cut_value(last)),
        };
        let mut more = Map::new();
        if ran.end == CommandEnd::Own {
            more.insert("status".into(), ran.status.code().into());
            more.insert("signal".into(), ran.status.signal().into());
        }
        if !said.is_empty() {
            more.insert("stderr".into(), Value::from(said.into_owned()));
        }
        Some(Refusal {
            more,
            ..Refusal::new(reason)
        })
    }

    fn answer(&self, resolution: &mut Resolution, items: &[usize], stdout: &[u8]) {
        let mut records = self.reader.records();
        let matched = self
            .reader
            .read(stdout, &mut records)
            .and_then(|()| resolution.answer(items, records));
        if let Err(reason) = matched {
            let refusal =
                Refusal::new(format!("what the command printed cannot be used: {reason}"));
            refuse_all(resolution, items, &refusal);
        }
    }

    fn not_started(&self, program: &str, error: &std::io::Error) -> Error {
        let failed = Error::failed(format!("cannot run `{program}`")).cause(error);
        match error.kind() {
            _ if is_out_of_descriptors(error) => return failed.hint(DESCRIPTORS),
            ErrorKind::NotFound => {}
            ErrorKind::WouldBlock | ErrorKind::OutOfMemory => {
                return threads::refused(format!("`{program}`"), error);
            }
            ErrorKind::PermissionDenied => {
                return failed
                    .hint("make it executable (`chmod +x`), or begin `command` with what runs it");
            }
            _ => return failed,
        }
        let folder = self.config.folder.display();
        if program.contains('/') {
            return failed.hint(format!("a path in `command` begins in `{folder}`"));
        }
        let path = self
            .config
            .environment
            .iter()
            .find(|(name, _)| name == "PATH");
        let path = path
            .map(|(_, path)| path.to_string_lossy())
            .unwrap_or_default();
        let places: Vec<&str> = path.split(':').collect();
        failed.hint(format!("it is in none of {}", list(&places)))
    }
}

fn refuse_all(resolution: &mut Resolution, items: &[usize], refusal: &Refusal) {
    for &row in items {
        resolution.refuse(row, refusal);
    }
}

/// What the run's log says of a command.
fn ended(job: Job, ran: &Ran) -> Job {
    Job {
        took_s: ran.took.as_secs_f64(),
        sent: ran.sent,
        received: ran.received,
        // As GNU parallel has it: -1 for one that was ended.
        exit: match ran.end {
            CommandEnd::Own => ran.status.code().unwrap_or_default(),
            _ => -1,
        },
        signal: ran.status.signal().unwrap_or_default(),
        said: String::from_utf8_lossy(&ran.said).into_owned(),
        ..job
    }
}
