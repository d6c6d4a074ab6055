//! Wires the fragments of a plan into streams.

use std::collections::HashMap;
use std::sync::Arc;

use super::Options;
use super::combine::{self, Combined};
use super::read_ahead;
use super::record::Record;
use super::stream::{self, Collected, Held, Tee};
use crate::batch::Batch;
use crate::cluster::parts::Parts;
use crate::error::Result;
use crate::executor::{self, Batches, Gauge, Inputs, Journal, Task};
use crate::fragment::{BatchOutcome, BoundFragment, BoundStage, StageMetrics};
use crate::order;
use crate::partition;
use crate::pipeline::Pipeline;
use crate::plan::{Delivery, Edge, Fragment, Plan, Stage};
use crate::schema::Schema;
use crate::stage::{Backpressure, Begun, Partitioning, Run};
use crate::state::journal::ResponseJournal;

/// An output that several stages read.
enum Shared {
    Collected(Arc<Collected>),
    Tee(Arc<Tee>, usize),
}

/// Makes streams of stages.
pub(super) struct Wiring<'a, 'b> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) plan: &'a Plan,
    pub(super) options: &'a Options,
    pub(super) run: Arc<Run>,
    pub(super) records: Vec<Arc<Record>>,
    pub(super) schemas: Vec<Schema>,
    pub(super) begun: &'b mut Vec<Begun>,
    shared: HashMap<usize, Shared>,
    /// In a staged run: outputs that wait for their readers, and for how many.
    pub(super) held: HashMap<usize, (Held, usize)>,
    /// In a cluster run: where the outputs lie that tasks of the cluster gave.
    pub(super) parts: HashMap<usize, Parts>,
    pub(super) costs: Vec<executor::SharedCosts>,
    /// What is kept of stages whose batches are requests.
    pub(super) journals: Vec<(usize, Arc<ResponseJournal>)>,
}

impl<'a, 'b> Wiring<'a, 'b> {
    pub(super) fn new(
        pipeline: &'a Pipeline,
        plan: &'a Plan,
        options: &'a Options,
        run: Arc<Run>,
        records: Vec<Arc<Record>>,
        schemas: Vec<Schema>,
        begun: &'b mut Vec<Begun>,
    ) -> Self {
        Wiring {
            pipeline,
            plan,
            options,
            run,
            records,
            schemas,
            begun,
            shared: HashMap::new(),
            held: HashMap::new(),
            parts: HashMap::new(),
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
        if let Some(parts) = self.parts.get(&at)
            && !self.pipeline.steps[at].stage.properties().combined
        {
            return parts.batches();
        }
        let deliveries: Vec<Delivery> =
            self.plan.edges_from(at).map(|edge| edge.delivery).collect();
        let delivery = deliveries.first().copied().unwrap_or(Delivery::Forward);
        if delivery == Delivery::Forward {
            return self.step(at, tees);
        }
        if !self.shared.contains_key(&at) {
            let stream = self.step(at, &mut Vec::new());
            let shared = if delivery == Delivery::Collected {
                Shared::Collected(Arc::new(Collected::new(stream)))
            } else {
                let stop = self.options.stop.clone();
                Shared::Tee(Tee::new(stream, deliveries.len(), stop), 0)
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

    /// The stream of stage `at`, the last one of its fragment.
    pub(super) fn step(&mut self, at: usize, tees: &mut Vec<(Arc<Tee>, usize)>) -> Batches {
        if let Some(parts) = self.parts.get(&at).cloned() {
            return self.of_cluster(at, &parts);
        }
        let fragment = self.plan.fragment_of(at);
        let first = fragment.first();
        let name = &self.pipeline.steps[first].name;
        let inputs = self.inputs(fragment, tees);
        let input = match self.partitioned(fragment, inputs) {
            Ok(input) => input,
            Err(error) => Box::new(std::iter::once(Err(error.stage(name)))),
        };
        let costs = executor::SharedCosts::default();
        if fragment.policy.is_some() {
            let mut costs = costs.lock().expect("no one panics holding this lock");
            costs.held = Some(crossbeam_channel::bounded(0));
        }
        self.costs.push(costs.clone());
        let gauge = Arc::new(Gauge::default());
        for (position, stage) in fragment.stages.iter().enumerate() {
            let record = &self.records[stage.at];
            record.live.watch(gauge.clone());
            record.totals().costs = Some((costs.clone(), position));
        }
        let journal = match self.journal_of(fragment) {
            Ok(journal) => journal,
            Err(error) => return Box::new(std::iter::once(Err(error.stage(name)))),
        };
        let results = executor::map(Task {
            grid: fragment.executor,
            name: fragment.name(),
            prepare: self.prepare(fragment),
            input,
            above: first,
            adapts: matches!(fragment.partitioning(), Partitioning::UniqueInFlight(_)),
            policy: fragment.policy,
            journal,
            costs,
            gauge,
            stop: self.options.stop.clone(),
            workers: self.options.workers.clone(),
        });
        let results = match self.begun[at].combiner.take() {
            Some(combiner) => combine::combined(
                results,
                combiner,
                self.combined(at, fragment.stages.len() - 1),
            ),
            None => results,
        };
        let records = fragment.stages.iter();
        let records = records.map(|stage| self.records[stage.at].clone());
        let option = self.pipeline.steps[first].kind.rejects_option;
        let most = fragment.policy.and_then(|policy| policy.rejects_max);
        let rejects_max = most.map(|most| (most, option.unwrap_or_default()));
        stream::recorded(results, records.collect(), self.run.clone(), rejects_max)
    }

    /// The stream of a stage whose sessions worked in tasks of a cluster. What is combined is combined here.
    fn of_cluster(&mut self, at: usize, parts: &Parts) -> Batches {
        let Some(combiner) = self.begun[at].combiner.take() else {
            return parts.batches();
        };
        let mut batches = parts.batches();
        let results = std::iter::from_fn(move || {
            let outcome = |batch| BatchOutcome {
                metrics: vec![StageMetrics::default()],
                batch: Some(batch),
                ..BatchOutcome::empty()
            };
            batches
                .next()
                .map(|batch| batch.map_or_else(BatchOutcome::failed, outcome))
        });
        let results = combine::combined(Box::new(results), combiner, self.combined(at, 0));
        stream::recorded(
            results,
            vec![self.records[at].clone()],
            self.run.clone(),
            None,
        )
    }

    /// Stage `at`, whose rows are combined, and its position in its fragment.
    fn combined(&self, at: usize, position: usize) -> Combined {
        Combined {
            position,
            schema: self.schemas[at].clone(),
            record: self.records[at].clone(),
            digest: self.options.digest,
        }
    }

    /// The rows that enter a fragment, as they come: a stream for each input.
    fn inputs(&mut self, fragment: &Fragment, tees: &mut Vec<(Arc<Tee>, usize)>) -> Vec<Batches> {
        let first = fragment.first();
        let name = &self.pipeline.steps[first].name;
        if let Some(source) = self.begun[first].source.take() {
            let record = &self.records[first];
            let grid = fragment.executor;
            let readers = match grid.kind {
                executor::Kind::Sequential => 1,
                _ => grid.workers().min(source.parts.len()),
            };
            let alone = readers < 2;
            let metered = |part| stream::metered(part, record.clone(), name, alone);
            let parts = source.parts.into_iter().map(metered).collect();
            let stop = self.options.stop.clone();
            return vec![read_ahead::batches(parts, readers, name, stop)];
        }
        let edges = fragment.inputs();
        edges.map(|edge| self.output(edge.from, tees)).collect()
    }

    /// The same rows, partitioned as the fragment asks.
    fn partitioned(&self, fragment: &Fragment, mut inputs: Vec<Batches>) -> Result<Inputs> {
        if inputs.len() > 1 {
            return Ok(stream::in_turn(inputs, fragment.batch_rows));
        }
        let input = inputs.pop().unwrap_or_else(|| Box::new(std::iter::empty()));
        let record = &self.records[fragment.first()];
        let rows = fragment.batch_rows;
        Ok(match (fragment.partitioning(), fragment.input()) {
            (Partitioning::ByKey(columns), Some(edge)) => {
                let schema = self.schemas[edge.from].clone();
                let columns = schema.indices(columns)?;
                let divide = move |all: &Batch| partition::by_key(all, &columns);
                stream::collected(input, schema, divide, record.clone())
            }
            (Partitioning::ByRange(columns), Some(edge)) => {
                let schema = self.schemas[edge.from].clone();
                let by = order::positions(columns, &schema)?;
                let divide = move |all: &Batch| partition::by_range(all, &by);
                stream::collected(input, schema, divide, record.clone())
            }
            (Partitioning::Requests, _) => stream::requests(input, rows),
            (Partitioning::UniqueInFlight(columns), Some(edge)) => {
                let columns = self.schemas[edge.from].indices(columns).unwrap_or_default();
                let resumed_rows = record.totals().ledger.rows_in;
                stream::unique_in_flight(input, columns, rows, resumed_rows)
            }
            _ => stream::cut(input, rows),
        })
    }

    /// What the run keeps of a fragment's responses, if its batches are requests; a preview, which has no folder,
    /// keeps nothing.
    fn journal_of(&mut self, fragment: &Fragment) -> Result<Option<Arc<dyn Journal>>> {
        if fragment.policy.is_none() || self.run.state.as_os_str().is_empty() {
            return Ok(None);
        }
        let at = fragment.first();
        let step = &self.pipeline.steps[at];
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

    /// The stages of a fragment with what their sessions need.
    pub(super) fn bound(&mut self, fragment: &Fragment) -> Vec<BoundStage> {
        let stages = fragment.stages.iter().map(|Stage { at, spec }| BoundStage {
            spec: spec.clone(),
            inputs: self.pipeline.steps[*at].given(&self.schemas),
            output: self.schemas[*at].clone(),
            session_config: std::mem::take(&mut self.begun[*at].session_config),
            wait_reason: self.records[*at].live.wait_reason.clone(),
        });
        stages.collect()
    }

    /// What makes a fragment ready: its stages bound, and what is broadcast to them collected.
    fn prepare(&mut self, fragment: &Fragment) -> executor::Prepare {
        let bound = self.bound(fragment);
        let mut stages = Vec::new();
        let mut broadcast: Vec<Vec<Option<(Batches, Schema)>>> = Vec::new();
        for Stage { at, .. } in &fragment.stages {
            let step = &self.pipeline.steps[*at];
            stages.push(step.stage.clone());
            let mut inputs: Vec<_> = step.inputs.iter().map(|_| None).collect();
            let is_broadcast =
                |edge: &&Edge| edge.to == *at && edge.partitioning == Partitioning::Broadcast;
            for edge in fragment.edges.iter().filter(is_broadcast) {
                let rows = self.output(edge.from, &mut Vec::new());
                inputs[edge.input] = Some((rows, self.schemas[edge.from].clone()));
            }
            broadcast.push(inputs);
        }
        let digest = self.options.digest;
        let processes = fragment.executor.processes;
        let stop = self.options.stop.clone();
        Box::new(move || {
            let mut fragment = BoundFragment {
                bound,
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
