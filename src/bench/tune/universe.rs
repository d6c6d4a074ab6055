//! What a stage is run on: its input, caught once and held in memory, or what its own source gives first.
//! What gives rows and what catches them are stages, so that a measured run is a run like any other.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::executor::Grid;
use crate::pipeline::{Pipeline, Step};
use crate::run::{self, Options};
use crate::schema::Schema;
use crate::stage::{
    Begun, Counts, Folder, Partitioning, Passing, Run, Session, Setup, Sink, Source, Stage,
    StageKind,
};

/// What of an input is held at most: a sample tells as much, and the memory is wanted for the work.
pub(super) const HELD_BYTES_MAX: usize = 512 << 20;

/// The kind of the stages in this file: no pipeline file names it.
static KIND: StageKind = StageKind {
    name: "tune",
    summary: "gives or takes the rows of a measured stage",
    inputs: &[0],
    sink: false,
    takes_batch_rows: true,
    options: || &[],
    example: "",
    decode: |_| Err(Error::usage("kind `tune` stands in no file")),
    ..StageKind::BASE
};

/// A step with one of the stages of this file, which keeps batches as they come.
fn step(name: &str, inputs: Vec<usize>, stage: Arc<dyn Stage>) -> Step {
    Step {
        name: name.to_owned(),
        kind: &KIND,
        inputs,
        grid: Grid::SEQUENTIAL,
        on_cluster: false,
        batch_rows: Some(usize::MAX),
        options: toml::Table::new(),
        stage,
        section: None,
    }
}

/// The rows of one input, held.
#[derive(Debug, Clone)]
pub(super) struct Held {
    schema: Schema,
    batches: Arc<Vec<Batch>>,
    /// The files that the rows' origins count.
    files: Vec<String>,
    /// All its rows.
    pub(super) rows: usize,
    /// What they weigh.
    pub(super) bytes: usize,
    /// Whether that is all there are.
    pub(super) whole: bool,
}

impl Held {
    /// Runs `pipeline` up to its step `input`, and holds what it gives: at most `rows` rows and `bytes`
    /// bytes, and what has come by the deadline of `options`.
    pub(super) fn catch(
        pipeline: &Pipeline,
        input: usize,
        rows: usize,
        bytes: usize,
        options: &Options,
    ) -> Result<Held> {
        let mut above = pipeline.clone().upto(&pipeline.steps[input].name)?;
        let schema = above.schemas()?.pop().unwrap_or_default();
        let catch = Catch::new(rows, bytes, true);
        above.steps.push(catch.step(above.steps.len() - 1));
        let (report, error) = run::run(&above, options, &run::watch(&above));
        let mut caught = catch.lock();
        let whole = error.is_none();
        match error {
            // Unless it was the catch that ended the run, or the time.
            Some(error) if !caught.full && (caught.rows == 0 || !options.stop.is_late()) => {
                return Err(error);
            }
            _ => {}
        }
        Ok(Held {
            schema,
            rows: caught.rows,
            bytes: caught.bytes,
            batches: Arc::new(std::mem::take(&mut caught.batches)),
            files: report.inputs.into_iter().map(|input| input.file).collect(),
            whole,
        })
    }

    /// The most rows that a batch of it has.
    pub(super) fn batch_rows(&self) -> usize {
        let rows = self.batches.iter().map(Batch::rows);
        rows.max().unwrap_or_default()
    }

    /// A step that gives its first `rows` rows. Of several in a run only the first one `counts` files:
    /// origins are those of the rows that are partitioned.
    pub(super) fn step(&self, name: &str, rows: usize, counts: bool) -> Step {
        let mut held = self.clone();
        if !counts {
            held.files.clear();
        }
        let source = Given { held, rows };
        step(name, Vec::new(), Arc::new(source))
    }
}

/// Gives what is held.
struct Given {
    held: Held,
    rows: usize,
}

impl Stage for Given {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, _inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        Ok(self.held.schema.clone())
    }

    fn begin(&self, run: &Run, _inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        for file in &self.held.files {
            run.add_file(file)?;
        }
        let batches = self.held.batches.clone();
        let mut left = self.rows;
        let batches = (0..batches.len()).map_while(move |i| {
            let rows = batches[i].rows().min(left);
            left -= rows;
            (rows > 0).then(|| Ok(batches[i].slice(0, rows)))
        });
        Ok(Begun {
            source: Some(Source {
                parts: vec![Box::new(batches)],
                bytes_done: Arc::default(),
                files: Vec::new(),
            }),
            ..Begun::default()
        })
    }

    fn open(&self, _setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(Passing))
    }
}

/// What has been caught so far.
#[derive(Default)]
struct Caught {
    batches: Vec<Batch>,
    rows: usize,
    bytes: usize,
    full: bool,
}

/// Takes the rows that come, and ends the run when it has enough of them.
#[derive(Clone)]
pub(super) struct Catch {
    caught: Arc<Mutex<Caught>>,
    rows: usize,
    bytes: usize,
    /// Whether they are held, or let go.
    hold: bool,
}

impl Catch {
    pub(super) fn new(rows: usize, bytes: usize, hold: bool) -> Catch {
        Catch {
            caught: Arc::default(),
            rows,
            bytes,
            hold,
        }
    }

    /// A step that takes what step `input` gives.
    pub(super) fn step(&self, input: usize) -> Step {
        step("catch", vec![input], Arc::new(self.clone()))
    }

    /// Whether it ended the run.
    pub(super) fn is_full(&self) -> bool {
        self.lock().full
    }

    fn lock(&self) -> MutexGuard<'_, Caught> {
        self.caught.lock().expect("no one panics holding this lock")
    }
}

impl Stage for Catch {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        Ok(inputs[0].clone())
    }

    fn begin(&self, _run: &Run, _inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        Ok(Begun {
            sink: Some(Box::new(self.clone())),
            ..Begun::default()
        })
    }

    fn open(&self, _setup: Setup) -> Result<Box<dyn Session>> {
        Ok(Box::new(Passing))
    }
}

impl Sink for Catch {
    fn push(&mut self, batch: Batch) -> Result<()> {
        if batch.rows() == 0 {
            return Ok(());
        }
        let mut caught = self.lock();
        let rows = batch.rows().min(self.rows - caught.rows);
        let batch = batch.slice(0, rows).weighed();
        caught.full = caught.rows > 0 && caught.bytes + batch.size() > self.bytes;
        if !caught.full {
            caught.rows += rows;
            caught.bytes += batch.size();
            caught.full = caught.rows == self.rows;
            if self.hold {
                caught.batches.push(batch);
            }
        }
        if caught.full {
            // Nobody sees this: a run has no other way to end before its rows do.
            return Err(Error::failed("enough rows"));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Counts> {
        Ok(Counts::default())
    }

    fn publish(self: Box<Self>, _: &mut Vec<String>) -> Result<Counts> {
        Ok(Counts::default())
    }
}
