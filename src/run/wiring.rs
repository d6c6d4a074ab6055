//! Wires stages into streams: which stages share a fragment, what is collected, who reads what.

use std::collections::HashMap;
use std::sync::Arc;

use super::Options;
use super::read_ahead;
use super::record::Record;
use super::stream::{self, Collected, Held, Tee};
use crate::error::Result;
use crate::executor::{self, Batches, Gauge, Journal, Task};
use crate::fragment::{Fragment, StageSpec};
use crate::pipeline::Pipeline;
use crate::schema::Schema;
use crate::stage::{Backpressure, Begun, Partitioning, Run};
use crate::state::journal::ResponseJournal;

/// An output that several stages read.
enum Shared {
    Collected(Arc<Collected>),
    Tee(Arc<Tee>, usize),
}

/// The stage right before `at` that shares a fragment with it: both under one executor, `at`
/// dealing what comes, and nobody else reading the one above.
pub(super) fn fused_before(pipeline: &Pipeline, options: &Options, at: usize) -> Option<usize> {
    if options.staged {
        return None;
    }
    let step = &pipeline.steps[at];
    let before = *step.inputs.first()?;
    let above = &pipeline.steps[before];
    let alike = step.grid == above.grid && step.rows_max() == above.rows_max();
    let is_any =
        step.stage.inputs().first() == Some(&Partitioning::Any) && above.requests().is_none();
    (alike && is_any && pipeline.readers(before).len() == 1).then_some(before)
}

/// Makes streams of stages.
pub(super) struct Wiring<'a, 'b> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) options: &'a Options,
    pub(super) run: Arc<Run>,
    pub(super) records: Vec<Arc<Record>>,
    pub(super) schemas: Vec<Schema>,
    pub(super) before: Vec<Option<usize>>,
    pub(super) begun: &'b mut Vec<Begun>,
    pub(super) collected: Vec<bool>,
    shared: HashMap<usize, Shared>,
    /// In a staged run: outputs that wait for their readers, and for how many.
    pub(super) held: HashMap<usize, (Held, usize)>,
    pub(super) costs: Vec<executor::SharedCosts>,
    /// What is kept of stages whose batches are requests.
    pub(super) journals: Vec<(usize, Arc<ResponseJournal>)>,
}

impl<'a, 'b> Wiring<'a, 'b> {
    pub(super) fn new(
        pipeline: &'a Pipeline,
        options: &'a Options,
        run: Arc<Run>,
        records: Vec<Arc<Record>>,
        schemas: Vec<Schema>,
        begun: &'b mut Vec<Begun>,
    ) -> Self {
        let steps = 0..pipeline.steps.len();
        Wiring {
            before: steps
                .map(|at| fused_before(pipeline, options, at))
                .collect(),
            collected: pipeline.collected(),
            pipeline,
            options,
            run,
            records,
            schemas,
            begun,
            shared: HashMap::new(),
            held: HashMap::new(),
            costs: Vec::new(),
            journals: Vec::new(),
        }
    }

    /// What stage `at` gives to one reader.
    fn output(&mut self, at: usize, tees: &mut Vec<(Arc<Tee>, usize)>) -> Batches {
        if let Some((held, readers)) = self.held.remove(&at) {
            if readers > 1 {
                self.held.insert(at, (held.clone(), readers - 1));
            }
            return held.stream();
        }
        let readers = self.pipeline.readers(at).len();
        if readers < 2 {
            return self.step(at, tees);
        }
        if !self.shared.contains_key(&at) {
            let mut above = Vec::new();
            let stream = self.step(at, &mut above);
            let shared = if self.collected[at] {
                Shared::Collected(Arc::new(Collected::new(stream)))
            } else {
                Shared::Tee(
                    Arc::new(Tee::new(stream, readers, self.options.stop.clone())),
                    0,
                )
            };
            self.shared.insert(at, shared);
        }
        match self.shared.get_mut(&at).expect("it was just put there") {
            Shared::Collected(collected) => collected.clone().reader(),
            Shared::Tee(tee, next) => {
                let reader = *next;
                *next += 1;
                tees.push((tee.clone(), reader));
                tee.clone().reader(reader)
            }
        }
    }

    /// The stream of stage `at` and of the stages in its fragment.
    pub(super) fn step(&mut self, at: usize, tees: &mut Vec<(Arc<Tee>, usize)>) -> Batches {
        let mut fragment = vec![at];
        while let Some(before) = self.before[fragment[0]] {
            fragment.insert(0, before);
        }
        let first = fragment[0];
        let pipeline = self.pipeline;
        let step = &pipeline.steps[first];
        let input = match (self.begun[first].source.take(), step.inputs.first()) {
            (Some(source), _) => {
                let record = &self.records[first];
                let readers = match step.grid.kind {
                    executor::Kind::Sequential => 1,
                    _ => step.grid.workers().min(source.parts.len()),
                };
                let alone = readers < 2;
                let metered = |part| stream::metered(part, record.clone(), &step.name, alone);
                let parts = source.parts.into_iter().map(metered).collect();
                read_ahead::batches(parts, readers, &step.name, self.options.stop.clone())
            }
            (None, Some(&above)) => self.output(above, tees),
            (None, None) => Box::new(std::iter::empty()),
        };
        let unique_in_flight = match (step.stage.inputs().first(), step.inputs.first()) {
            (Some(Partitioning::UniqueInFlight(columns)), Some(&above)) => {
                Some(self.schemas[above].indices(columns).unwrap_or_default())
            }
            _ => None,
        };
        let input = match (step.stage.inputs().first(), step.inputs.first()) {
            (Some(Partitioning::ByKey(columns)), Some(&above)) => {
                let schema = self.schemas[above].clone();
                match schema.indices(columns) {
                    Ok(columns) => {
                        stream::by_key(input, schema, columns, self.records[first].clone())
                    }
                    Err(error) => Box::new(std::iter::once(Err(error.stage(&step.name)))),
                }
            }
            (Some(Partitioning::Requests(_)), _) => stream::requests(input, step.rows_max()),
            (Some(Partitioning::UniqueInFlight(_)), _) => {
                let columns = unique_in_flight.clone().unwrap_or_default();
                let resumed_rows = self.records[first].totals().ledger.rows_in;
                stream::unique_in_flight(input, columns, step.rows_max(), resumed_rows)
            }
            _ => stream::cut(input, step.rows_max()),
        };
        let costs = executor::SharedCosts::default();
        if step.requests().is_some() {
            let mut costs = costs.lock().expect("no one panics holding this lock");
            costs.held = Some(Arc::default());
        }
        self.costs.push(costs.clone());
        let gauge = Arc::new(Gauge::default());
        for (position, &member) in fragment.iter().enumerate() {
            self.records[member].live.watch(gauge.clone());
            self.records[member].totals().costs = Some((costs.clone(), position == 0));
        }
        let names: Vec<&str> = fragment
            .iter()
            .map(|&member| pipeline.steps[member].name.as_str())
            .collect();
        let journal = match self.journal_of(first) {
            Ok(journal) => journal,
            Err(error) => return Box::new(std::iter::once(Err(error.stage(&step.name)))),
        };
        let results = executor::map(Task {
            grid: step.grid,
            name: names.join("+"),
            prepare: self.prepare(&fragment),
            input,
            unique_in_flight,
            requests: step.requests(),
            journal,
            costs,
            gauge,
            stop: self.options.stop.clone(),
            workers: self.options.workers.clone(),
        });
        let records = fragment
            .iter()
            .map(|&member| self.records[member].clone())
            .collect();
        let rejects_max = step.requests().and_then(|requests| requests.rejects_max);
        stream::recorded(results, records, self.run.clone(), rejects_max)
    }

    /// What the run keeps of stage `at`, if its batches are requests; a preview, which has no folder, nothing.
    fn journal_of(&mut self, at: usize) -> Result<Option<Arc<dyn Journal>>> {
        let step = &self.pipeline.steps[at];
        if step.requests().is_none() || self.run.state.as_os_str().is_empty() {
            return Ok(None);
        }
        let input = step
            .inputs
            .first()
            .map(|&input| self.schemas[input].clone());
        let has_resumed = |&behind: &usize| self.records[behind].totals().ledger.rows_in > 0;
        let journal = Arc::new(ResponseJournal::new(
            &self.run.state,
            step,
            input.unwrap_or_default(),
            self.pipeline.downstream(at).iter().any(has_resumed),
        )?);
        self.journals.push((at, journal.clone()));
        Ok(Some(journal))
    }

    /// What makes the chain ready: its links, and what is broadcast to them, collected.
    fn prepare(&mut self, fragment: &[usize]) -> executor::Prepare {
        let pipeline = self.pipeline;
        let mut specs = Vec::new();
        let mut broadcast: Vec<Vec<Option<(Batches, Schema)>>> = Vec::new();
        for &at in fragment {
            let step = &pipeline.steps[at];
            specs.push(StageSpec {
                name: step.name.clone(),
                kind: step.kind.name.into(),
                options: serde_json::to_value(&step.options)
                    .expect("a table of options is plain data"),
                inputs: step
                    .inputs
                    .iter()
                    .map(|&input| self.schemas[input].clone())
                    .collect(),
                output: self.schemas[at].clone(),
                session_config: std::mem::take(&mut self.begun[at].session_config),
                sink: step.kind.sink,
                wait_reason: self.records[at].live.wait_reason.clone(),
            });
            let partitioning = step.stage.inputs();
            let inputs = partitioning
                .iter()
                .zip(&step.inputs)
                .map(|(partitioning, &input)| {
                    (*partitioning == Partitioning::Broadcast).then(|| {
                        (
                            self.output(input, &mut Vec::new()),
                            self.schemas[input].clone(),
                        )
                    })
                });
            broadcast.push(inputs.collect());
        }
        let stages = fragment
            .iter()
            .map(|&at| pipeline.steps[at].stage.clone())
            .collect();
        let digest = self.options.digest;
        let processes = pipeline.steps[fragment[0]].grid.processes;
        let stop = self.options.stop.clone();
        Box::new(move || {
            let mut fragment = Fragment {
                specs,
                stages,
                broadcast: Vec::new(),
                digest,
                processes,
                stop,
                backpressure: Backpressure::default(),
            };
            // The last one's first, as they are opened.
            for inputs in broadcast.into_iter().rev() {
                let collect =
                    |(stream, schema): (Batches, Schema)| stream::collect(stream, &schema);
                let collected: Result<Vec<_>> = inputs
                    .into_iter()
                    .map(|input| input.map(collect).transpose())
                    .collect();
                match collected {
                    Ok(inputs) => fragment.broadcast.insert(0, inputs),
                    // A fault below comes before one above.
                    Err(error) => {
                        let opened = fragment.broadcast.len();
                        return fragment.last(opened).open().and(Err(error));
                    }
                }
            }
            Ok(fragment)
        })
    }
}
