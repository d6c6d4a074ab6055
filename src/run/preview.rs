//! The first rows of a stage: its stream is pulled as in a run, but by one thread, in small batches, and
//! no further than to the rows that are wanted. There is no run folder and no sink.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{Live, Record};
use super::wiring::Wiring;
use super::{Options, located};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::executor::Grid;
use crate::executor::processes::Workers;
use crate::pipeline::{Pipeline, Step};
use crate::plan::Plan;
use crate::report::Reason;
use crate::schema::Schema;
use crate::stage::{Begun, Run};
use crate::state::loaded::LoadedFiles;
use crate::stop::{InOrder, Stop};
use crate::threads;

/// Rows a batch: few, so that little more is read than is shown, but not so few that a filter that lets
/// next to nothing through takes for ever.
const BATCH_ROWS: usize = 256;

/// The first rows of a stage.
pub struct Preview {
    /// The stage.
    pub stage: String,
    /// Its columns.
    pub schema: Schema,
    /// The rows, as many as were wanted or as there are.
    pub rows: Batch,
    /// What can be meant, but hardly is.
    pub lint_warnings: Vec<String>,
    /// Rows that were rejected, of those that were read for these.
    pub rejected: u64,
    /// Why.
    pub rejects: Vec<Reason>,
    /// What came instead of the next row.
    pub fault: Option<Error>,
}

/// The first `rows` rows that the last stage gives; of a sink, those that it would take. The pipeline is
/// to be cut after that stage ([`Pipeline::upto`]), so that no other sink begins.
pub fn preview(pipeline: Pipeline, rows: usize, stop: &Stop) -> Result<Preview> {
    let _in_order = InOrder::begin();
    let pipeline = alone(pipeline)?;
    threads::pull(pipeline.steps.len(), || first_rows(&pipeline, rows, stop))
}

fn first_rows(pipeline: &Pipeline, rows: usize, stop: &Stop) -> Result<Preview> {
    let options = Options {
        staged: false,
        digest: false,
        state: PathBuf::new(),
        command: None,
        resume: None,
        loaded_files: LoadedFiles::Ignore,
        cluster: None,
        stop: stop.clone(),
        workers: Arc::new(Workers::this_program()),
    };
    let nowhere = Path::new("/dev/null");
    let record = |name: &String| Record::new(name, nowhere.to_owned(), Arc::new(Live::default()));
    let steps = &pipeline.steps;
    let records: Vec<Arc<Record>> = steps.iter().map(|s| Arc::new(record(&s.name))).collect();
    let run = Arc::new(Run::new(
        "preview".into(),
        pipeline.folder.clone(),
        PathBuf::new(),
        stop.clone(),
    ));
    let schemas = pipeline.schemas()?;
    let lint_warnings = pipeline.lint(&schemas);
    let mut begun = begin(pipeline, &run, &schemas)?;
    let plan = Plan::of(pipeline, options.staged);
    let mut wiring = Wiring::new(
        pipeline,
        &plan,
        &options,
        run.clone(),
        records.clone(),
        schemas.clone(),
        &mut begun,
    );
    let last = pipeline.steps.len() - 1;
    let mut batches = Vec::new();
    let mut missing = rows;
    let mut fault = None;
    let mut stream = wiring.step(last, &mut Vec::new());
    while missing > 0 && fault.is_none() {
        match stream.next() {
            None => break,
            Some(Ok(batch)) => {
                missing = missing.saturating_sub(batch.rows());
                batches.push(batch);
            }
            Some(Err(error)) => fault = Some(located(error, &run, pipeline)),
        }
    }
    drop(stream);
    let schema = schemas[last].clone();
    let all = Batch::concat(batches, || Batch::empty(&schema));
    let shown = all.rows().min(rows);
    let spools: Vec<(u64, Vec<Reason>)> = records
        .iter()
        .map(|r| r.take_spool().into_parts())
        .collect();
    Ok(Preview {
        stage: pipeline.steps[last].name.clone(),
        schema,
        rows: all.slice(0, shown),
        lint_warnings,
        rejected: spools.iter().map(|(rows, _)| rows).sum(),
        rejects: spools
            .into_iter()
            .flat_map(|(_, reasons)| reasons)
            .collect(),
        fault,
    })
}

/// The pipeline without its last stage if that is a sink, and everything in one thread.
fn alone(pipeline: Pipeline) -> Result<Pipeline> {
    let mut pipeline = pipeline;
    let last = pipeline.steps.last().filter(|step| step.kind.sink);
    if let Some(input) = last.and_then(|sink| sink.inputs.first().copied()) {
        let name = pipeline.steps[input].name.clone();
        pipeline = pipeline.upto(&name)?;
    }
    for step in &mut pipeline.steps {
        step.grid = Grid::SEQUENTIAL;
        step.batch_rows = None;
        if step.kind.takes_batch_rows {
            step.batch_rows = Some(BATCH_ROWS);
        }
    }
    Ok(pipeline)
}

fn begin(pipeline: &Pipeline, run: &Run, schemas: &[Schema]) -> Result<Vec<Begun>> {
    let begin_one = |step: &Step| {
        let inputs: Vec<Schema> = step.inputs.iter().map(|&at| schemas[at].clone()).collect();
        let begun = step.stage.begin(run, &inputs, BATCH_ROWS);
        begun.map_err(|error| step.placed(error))
    };
    pipeline.steps.iter().map(begin_one).collect()
}
