//! `etl task`: one task of a cluster run. It reads its order, its number and then frames from standard input, passes
//! their rows through a fragment or divides them among buckets, and writes frames and at the end a report to standard
//! output. It needs no engine: whoever starts it moves the frames.
//!
//! A fault of a row or a file is a result, which the report says: to try again would not help. A task ends with an error
//! only where another attempt may succeed. It ends, too, when its standard input does before its report is written.

mod given;
mod look;
mod numbered;
mod ranges;
mod shuffle;
mod source;

use std::io::{Read, Write};
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use serde_json::{Value, json};

use super::order::{
    DigestOrder, Order, RowKey, RunOrder, Sums, TaskFile, TaskInput, TaskNumber, TaskReport,
};
use super::parts;
use crate::batch::Batch;
use crate::clock::{peak_rss_bytes, process_cpu};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::executor::processes::Workers;
use crate::executor::processes::frames::{Frame, read_frame};
use crate::executor::streams::{collect, cut};
use crate::executor::{self, Batches, Gauge, Grid, Inputs, SharedCosts, Task};
use crate::fragment::{BoundFragment, StageMetrics};
use crate::partition;
use crate::place;
use crate::schema::Schema;
use crate::stage::{Counts, Stage, StageKind, Totals};
use crate::stop::Stop;
use crate::threads;
use given::Given;
use look::{host, look};
use numbered::{Numbers, RowNumbers};
use ranges::Sample;
use shuffle::{answer, ask, divide};
use source::OwnFiles;

/// Frames that wait to be worked on.
const FRAMES_AHEAD: usize = 2;

/// The side of what the job itself gives a task.
const GIVEN: i64 = -1;

/// What to do where a store refuses a task.
const CREDENTIALS: &str = "each machine of the cluster takes credentials from its own environment: give it a role, or set them there, with `\"spark.executorEnv.AWS_ACCESS_KEY_ID\"` and the like in `conf` of `[cluster]`";

/// Does the task that `stdin` describes. It knows the kinds of the registry.
pub fn run(
    registry: &[&'static StageKind],
    mut stdin: impl Read + Send + 'static,
    stdout: impl Write,
) -> Result<()> {
    let mut payload = Vec::new();
    let order: Order = header(&mut stdin, &mut payload)?;
    let number: TaskNumber = header(&mut stdin, &mut payload)?;
    place::works_elsewhere(host(), CREDENTIALS);
    let stop = Stop::default();
    let frames = frames(stdin, stop.clone())?;
    let mut out = Out { stdout };
    let mut report = match order {
        Order::Divide(order) => divide(&order, number.task, frames, &mut out)?,
        Order::Digest(order) => digest(&order, number.task, frames)?,
        Order::Look(order) => look(&order, number.task),
        Order::Ask(order) => ask(&order, number.task, frames, &mut out)?,
        Order::Answer(order) => answer(registry, *order, number.task, frames, &mut out)?,
        Order::Run(order) if matches!(order.input, TaskInput::Numbered { .. }) => {
            pass_outside(registry, *order, &number, frames, &mut out, &stop)?
        }
        Order::Run(order) => pass(registry, *order, &number, false, frames, &mut out, &stop)?,
    };
    let rows = report.metrics.iter().map(|stage| stage.rows_in);
    report.sums = Sums::new(process_cpu(), report.read_bytes, rows);
    out.send(&Frame::of(Vec::new(), &json!({ "report": report }))?)
}

fn header<T: serde::de::DeserializeOwned>(
    from: &mut impl Read,
    payload: &mut Vec<u8>,
) -> Result<T> {
    let header =
        read_frame(from, payload).ok_or_else(|| Error::failed("the order is cut short"))?;
    serde_json::from_slice(&header).map_err(|error| {
        Error::failed("the order cannot be read: is this machine's etl of another version?")
            .cause(error)
    })
}

/// The frames that come, read by a thread of its own. It sets `stop` where standard input ends: whoever started the task
/// is gone.
fn frames(mut stdin: impl Read + Send + 'static, stop: Stop) -> Result<Frames> {
    let (sender, receiver) = bounded(FRAMES_AHEAD);
    let read = move || {
        let mut sender = Some(sender);
        let mut payload = Vec::new();
        while let Some(header) = read_frame(&mut stdin, &mut payload) {
            let header: Value = serde_json::from_slice(&header).unwrap_or_default();
            if header["end"] == true {
                sender = None;
            } else if let Some(sender) = &sender {
                let side = header["side"].as_i64().unwrap_or_default();
                if sender.send((side, std::mem::take(&mut payload))).is_err() {
                    return;
                }
            }
        }
        stop.set();
        // Only now: what came short must not look like the end.
        drop(sender);
    };
    threads::start("frames", read)?;
    Ok(receiver)
}

/// Frames, each with the side that it is of.
type Frames = Receiver<SideFrame>;
/// A frame, and the side that it is of.
type SideFrame = (i64, Vec<u8>);

/// The batches of frames.
fn batches(frames: impl IntoIterator<Item = SideFrame, IntoIter: Send + 'static>) -> Batches {
    Box::new(frames.into_iter().map(|(_, frame)| Batch::decode(&frame)))
}

/// The files that the job itself gives the task.
fn given(frames: &Frames) -> Result<Vec<TaskFile>> {
    match frames.recv() {
        Ok((GIVEN, value)) => serde_json::from_slice(&value)
            .map_err(|error| Error::failed("the files of the task cannot be read").cause(error)),
        _ => Err(Error::failed("the task was given no files")),
    }
}

/// All rows of the first side, and the first frame of the second one.
fn first_side(frames: &Frames, schema: &Schema) -> Result<(Batch, Option<SideFrame>)> {
    let mut rows = Vec::new();
    let next = loop {
        match frames.recv() {
            Ok((0, frame)) => rows.push(Batch::decode(&frame)?),
            Ok(next) => break Some(next),
            // The last frame has come.
            Err(_) => break None,
        }
    };
    Ok((collect(Box::new(rows.into_iter().map(Ok)), schema)?, next))
}

/// Where frames go.
struct Out<W> {
    stdout: W,
}

impl<W: Write> Out<W> {
    fn send(&mut self, frame: &Frame) -> Result<()> {
        frame
            .write(&mut self.stdout)
            .map_err(|error| Error::failed("cannot write to standard output").cause(error))
    }

    /// Sends a batch to a bucket; its bytes.
    fn give(&mut self, batch: &Batch, bucket: usize) -> Result<u64> {
        let frame = Frame::new(Some(batch), || json!({ "bucket": bucket }))?;
        self.send(&frame)?;
        Ok(frame.bytes() as u64)
    }
}

/// For each stage, for each of its inputs, all its rows if it is broadcast.
type BroadcastRows = Vec<Vec<Option<Batch>>>;

/// The rows that are broadcast to each stage; and the first frame that is none of them, where some came as frames.
fn broadcast(order: &RunOrder, frames: &Frames) -> Result<(BroadcastRows, Option<SideFrame>)> {
    let mut next = None;
    let mut broadcast = BroadcastRows::new();
    for (stage, inputs) in order.bound.iter().zip(&order.broadcast) {
        let rows = inputs.iter().zip(&stage.inputs).map(|(parts, schema)| {
            let parts = parts.as_ref()?;
            Some(collect(parts.batches(), schema))
        });
        let rows: Result<Vec<Option<Batch>>> = rows.map(Option::transpose).collect();
        broadcast.push(rows?);
    }
    if let TaskInput::Joined { input } = order.input {
        let rows;
        (rows, next) = first_side(frames, &order.bound[0].inputs[input])?;
        broadcast[0][input] = Some(rows);
    }
    Ok((broadcast, next))
}

/// Passes rows through a stage that has an effect outside at once. That is not undone: if one task cannot go on, no other
/// begins, and a task that is tried again may meet what it has done.
fn pass_outside(
    registry: &[&'static StageKind],
    order: RunOrder,
    number: &TaskNumber,
    frames: Frames,
    out: &mut Out<impl Write>,
    stop: &Stop,
) -> Result<TaskReport> {
    let folder = order.folder.clone();
    if let Some(fault) = parts::stopped_by(&folder)? {
        return Ok(TaskReport::of_fault(number.task, order.bound.len(), fault));
    }
    let again = parts::begun_before(&folder, number.task)?;
    let report = pass(registry, order, number, again, frames, out, stop)?;
    // Which row is the first faulty one is known when all tasks have ended.
    if let Some(fault) = report.fault.as_ref().filter(|fault| !fault.is_of_a_row()) {
        parts::stop_others(&folder, number, fault)?;
    }
    Ok(report)
}

/// Passes rows through a fragment. `again`: they may have passed through it before.
fn pass(
    registry: &[&'static StageKind],
    mut order: RunOrder,
    number: &TaskNumber,
    again: bool,
    frames: Frames,
    out: &mut Out<impl Write>,
    stop: &Stop,
) -> Result<TaskReport> {
    let mut own_files = None;
    if let TaskInput::Files(source) = &order.input {
        let files = OwnFiles::new(source, given(&frames)?);
        files.narrow(registry, &mut order.bound[0]);
        own_files = Some(files);
    }
    let (broadcast, next) = broadcast(&order, &frames)?;
    let mut fragment =
        BoundFragment::of(registry, order.bound, broadcast, order.digest, order.tasks)?;
    fragment.stop = stop.clone();
    let stages = fragment.stages.clone();
    let start = StageMetrics {
        digest: order.digest.then_some(Digest::EMPTY),
        ..StageMetrics::default()
    };
    let samples = order.samples.into_iter();
    let samples = samples.map(|key| Sample::new(key, number.task, order.tasks));
    let mut given = Given::new(
        order.folder,
        number,
        vec![start; stages.len()],
        order.gives_frames,
        order.writes_parts,
        samples.collect(),
    )?;
    let has_source = own_files.is_some();
    given.report.read_bytes = own_files.as_ref().map_or(0, OwnFiles::bytes);
    let incoming = Incoming {
        own_files,
        next,
        frames,
        again,
    };
    let (task, rows) = (number.task, order.batch_rows);
    let input;
    (input, given.numbers) = incoming.inputs(order.input, &fragment, task, rows, stop)?;
    let costs = SharedCosts::default();
    for outcome in executor::map(work(fragment, input, costs.clone(), stop)) {
        given.take(outcome, out)?;
        // Whoever started the task is gone: nobody reads a report.
        stop.check()?;
    }
    if let (true, Some(stage)) = (has_source, stages.first()) {
        finish(&**stage, &mut given.report)?;
    }
    let mut report = given.finish()?;
    let costs = costs.lock().expect("no one panics holding this lock");
    report.closed.clone_from(&costs.closed);
    report.open = costs.open;
    report.peak_rss_bytes = peak_rss_bytes();
    Ok(report)
}

/// The batches one after the other through the fragment.
fn work(fragment: BoundFragment, input: Inputs, costs: SharedCosts, stop: &Stop) -> Task {
    Task {
        grid: Grid::SEQUENTIAL,
        name: "task".into(),
        prepare: Box::new(move || Ok(fragment)),
        input,
        above: 0,
        adapts: false,
        policy: None,
        journal: None,
        costs,
        gauge: Arc::new(Gauge::default()),
        stop: stop.clone(),
        workers: Arc::new(Workers::this_program()),
    }
}

/// What comes into a task.
struct Incoming {
    /// Files that its first stage reads itself.
    own_files: Option<OwnFiles>,
    /// A frame that has come before the others.
    next: Option<SideFrame>,
    frames: Frames,
    /// Whether the rows may have been worked on before.
    again: bool,
}

impl Incoming {
    /// The batches that enter the fragment of task `task`, and the numbers of their rows, if they are numbered.
    fn inputs(
        self,
        input: TaskInput,
        fragment: &BoundFragment,
        task: usize,
        batch_rows: usize,
        stop: &Stop,
    ) -> Result<(Inputs, Option<Receiver<RowNumbers>>)> {
        if let Some(files) = self.own_files {
            let batches = files.batches(&*fragment.stages[0], &fragment.bound[0], batch_rows, stop);
            return Ok((cut(batches, batch_rows), None));
        }
        let batches = batches(self.next.into_iter().chain(self.frames));
        let inputs: Inputs = match input {
            TaskInput::Files(_) | TaskInput::Joined { .. } => cut(batches, batch_rows),
            TaskInput::Frames { tasks } => {
                let of_input = input_of(task, &tasks);
                Box::new(cut(batches, batch_rows).map(move |input| {
                    let mut input = input?;
                    input.task.input = of_input;
                    Ok(input)
                }))
            }
            TaskInput::Range { key, schema } => {
                let all = collect(batches, &schema)?;
                let ranges = match key {
                    RowKey::Equal(columns) => partition::by_key(&all, &columns),
                    RowKey::Order(by) => partition::by_range(&all, &by),
                };
                Box::new(ranges.into_iter().map(|batch| Ok(batch.into())))
            }
            TaskInput::Numbered { columns, firsts } => {
                let first = firsts.get(task).copied();
                let numbers = first.map_or(Numbers::LastColumn, Numbers::From);
                let (inputs, numbers) =
                    numbered::inputs(batches, numbers, columns, batch_rows, self.again);
                return Ok((inputs, Some(numbers)));
            }
        };
        Ok((inputs, None))
    }
}

/// Reports what a stage has to say of the files that it has read. What its counts come to is said where all of them are.
fn finish(stage: &dyn Stage, report: &mut TaskReport) -> Result<()> {
    stage.finish(&mut Totals {
        rows_in: Vec::new(),
        counts: &mut Counts::default(),
        warnings: &mut report.warnings,
    })
}

/// Of which input the rows of a task are, where so many tasks have those of each.
fn input_of(task: usize, tasks: &[usize]) -> usize {
    let mut end = 0;
    let before = tasks.iter().take_while(|&&tasks| {
        end += tasks;
        end <= task
    });
    before.count()
}

/// Digests rows in their order, but for those that were rejected.
fn digest(order: &DigestOrder, task: usize, frames: Frames) -> Result<TaskReport> {
    let mut digest = Digest::EMPTY;
    let mut first = order.firsts[task];
    for batch in batches(frames) {
        let batch = batch?;
        let end = first + batch.rows() as u64;
        let from = order.rejected.partition_point(|&row| row < first);
        let to = order.rejected.partition_point(|&row| row < end);
        let in_batch = |row: &u64| u32::try_from(row - first).expect("it is a row of the batch");
        let gone: Vec<u32> = order.rejected[from..to].iter().map(in_batch).collect();
        digest = digest.then(Digest::of(&order.schema, &batch.without(&gone)));
        first = end;
    }
    Ok(TaskReport {
        task,
        metrics: vec![StageMetrics {
            digest: Some(digest),
            ..StageMetrics::default()
        }],
        ..TaskReport::default()
    })
}
