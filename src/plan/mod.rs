//! What a run will do, as a value between what was written (a [`Pipeline`]) and what happens: which stages share a
//! fragment, which edges bring a fragment its rows, how these are partitioned, and where each fragment runs.
//!
//! Pure functions make it. `run` carries it out and decides nothing, `etl plan` prints it, and it is plain data: a
//! fragment can be sent as it is to another process.

mod placement;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use placement::on_cluster;

use crate::executor::Grid;
use crate::fragment::StageSpec;
use crate::pipeline::{Pipeline, Step};
use crate::stage::{Partitioning, Policy};

/// What a run of a pipeline will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The pipeline's name.
    pub pipeline: String,
    /// Whether one fragment runs after another, each output held until its last reader has run; otherwise all of
    /// them run at once.
    pub staged: bool,
    /// In the order of their last stages in the file. Every stage is in exactly one.
    pub fragments: Vec<Fragment>,
}

/// Consecutive stages that run together: a batch passes through all of them on one worker, in one go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fragment {
    /// The stages in the order in which a batch passes through them.
    pub stages: Vec<Stage>,
    /// How the rows of the first stage's own source are partitioned; `None`: an edge brings them.
    pub source: Option<Partitioning>,
    /// What its stages read of other fragments.
    pub edges: Vec<Edge>,
    /// Where it runs.
    pub executor: Grid,
    /// Whether that is in tasks of a cluster.
    pub on_cluster: bool,
    /// The most rows a batch has when it enters.
    pub batch_rows: usize,
    /// What holds for requests to the outside, if each batch is one.
    pub policy: Option<Policy>,
}

/// A stage of a fragment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Its number in the pipeline, from 0.
    pub at: usize,
    /// What every process that runs it gets.
    pub spec: StageSpec,
}

/// What one stage reads of another one, in another fragment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// The number of the stage that gives the rows.
    pub from: usize,
    /// The number of the stage that reads them.
    pub to: usize,
    /// Which of its inputs they are, from 0.
    pub input: usize,
    /// How the rows are partitioned for it.
    pub partitioning: Partitioning,
    /// How they get there.
    pub delivery: Delivery,
}

/// How the rows of a stage get to the stages that read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// Batch by batch to the only reader.
    Forward,
    /// Each batch to every reader; the slowest one sets the pace.
    Shared,
    /// All rows are collected first: readers that meet again further down could otherwise wait for each other.
    Collected,
}

impl Plan {
    /// The plan of a run, staged or streamed.
    pub fn of(pipeline: &Pipeline, staged: bool) -> Plan {
        let count = pipeline.steps.len();
        let before: Vec<Option<usize>> = (0..count)
            .map(|at| fused_before(pipeline, at).filter(|_| !staged))
            .collect();
        let is_last = |at: &usize| !before.contains(&Some(*at));
        let fragments = (0..count).filter(is_last).map(|last| {
            let above = |&at: &usize| before[at];
            let mut members: Vec<usize> = std::iter::successors(Some(last), above).collect();
            members.reverse();
            fragment(pipeline, &members)
        });
        Plan {
            pipeline: pipeline.name.clone(),
            staged,
            fragments: fragments.collect(),
        }
    }

    /// The fragment that stage `at` is in.
    pub fn fragment_of(&self, at: usize) -> &Fragment {
        let has = |fragment: &&Fragment| fragment.stages.iter().any(|stage| stage.at == at);
        let found = self.fragments.iter().find(has);
        found.expect("every stage is in a fragment")
    }

    /// The edges on which stage `at` gives its rows.
    pub fn edges_from(&self, at: usize) -> impl Iterator<Item = &Edge> {
        let edges = self.fragments.iter().flat_map(|fragment| &fragment.edges);
        edges.filter(move |edge| edge.from == at)
    }
}

impl Fragment {
    /// Its name: those of its stages.
    pub fn name(&self) -> String {
        let names = self.stages.iter().map(|stage| stage.spec.name.as_str());
        names.collect::<Vec<&str>>().join("+")
    }

    /// The edges that bring the rows which enter its first stage, one after the other; none if these have a source of
    /// their own.
    pub fn inputs(&self) -> impl Iterator<Item = &Edge> {
        let enters =
            |edge: &&Edge| edge.to == self.first() && edge.partitioning != Partitioning::Broadcast;
        self.edges.iter().filter(enters)
    }

    /// The first of them.
    pub fn input(&self) -> Option<&Edge> {
        self.inputs().next()
    }

    /// How the rows that enter the first stage are partitioned.
    pub fn partitioning(&self) -> &Partitioning {
        let edge = || self.input().map(|edge| &edge.partitioning);
        let found = self.source.as_ref().or_else(edge);
        found.unwrap_or(&Partitioning::Any)
    }

    /// The number of its first stage in the pipeline.
    pub fn first(&self) -> usize {
        self.stages.first().map_or(0, |stage| stage.at)
    }

    /// The number of its last stage.
    pub fn last(&self) -> usize {
        self.stages.last().map_or(0, |stage| stage.at)
    }
}

fn fragment(pipeline: &Pipeline, stages: &[usize]) -> Fragment {
    let first = &pipeline.steps[stages[0]];
    let planned = stages.iter().map(|&at| Stage {
        at,
        spec: spec(&pipeline.steps[at]),
    });
    // What a stage reads of the one before it in the fragment is no edge.
    let enters = |&(to, input): &(usize, usize)| to == stages[0] || input > 0;
    let inputs = stages.iter().flat_map(|&to| {
        let inputs = 0..pipeline.steps[to].inputs.len();
        inputs.map(move |input| (to, input))
    });
    let edges = inputs.filter(enters).map(|(to, input)| {
        let step = &pipeline.steps[to];
        let from = step.inputs[input];
        Edge {
            from,
            to,
            input,
            partitioning: step.partitioning(input),
            delivery: delivery(pipeline, from),
        }
    });
    Fragment {
        stages: planned.collect(),
        source: first.inputs.is_empty().then(|| first.partitioning(0)),
        edges: edges.collect(),
        executor: first.grid,
        on_cluster: first.on_cluster,
        batch_rows: first.rows_max(),
        policy: first.policy(),
    }
}

fn spec(step: &Step) -> StageSpec {
    StageSpec {
        name: step.name.clone(),
        kind: step.kind.name.into(),
        options: serde_json::to_value(&step.options).expect("a table of options is plain data"),
        sink: step.kind.sink,
        combined: step.stage.properties().combined,
    }
}

/// The stage right before `at` that shares its fragment: both run under one executor with batches of one size, `at`
/// takes batches as they come and from nowhere else, and no other stage reads the one before, whose rows are not
/// combined.
fn fused_before(pipeline: &Pipeline, at: usize) -> Option<usize> {
    let step = &pipeline.steps[at];
    let before = *step.inputs.first()?;
    let above = &pipeline.steps[before];
    let is_here = |step: &Step| (step.grid, step.on_cluster);
    let alike = is_here(step) == is_here(above) && step.rows_max() == above.rows_max();
    let passes_on = above.policy().is_none() && !above.stage.properties().combined;
    let is_any = step.partitioning(0) == Partitioning::Any && passes_on;
    let is_alone = step.streamed_inputs().count() == 1 && pipeline.readers(before).len() == 1;
    (alike && is_any && is_alone).then_some(before)
}

/// Rows are collected if several stages read them and could wait for each other: readers that meet again further down,
/// or on whose way rows are collected anyway.
fn delivery(pipeline: &Pipeline, from: usize) -> Delivery {
    let readers = pipeline.readers(from);
    if readers.len() < 2 {
        return Delivery::Forward;
    }
    let reached = readers.iter().map(|&reader| pipeline.downstream(reader));
    let reached: Vec<_> = reached.collect();
    let meet = (1..reached.len()).any(|i| {
        let earlier = &reached[..i];
        earlier.iter().any(|other| !other.is_disjoint(&reached[i]))
    });
    if meet || collects(pipeline, from) {
        Delivery::Collected
    } else {
        Delivery::Shared
    }
}

/// Whether a stage that the rows of `from` reach needs all of them before it can work on one, or works on none of
/// them before another input has ended.
fn collects(pipeline: &Pipeline, from: usize) -> bool {
    let reached = pipeline.downstream(from);
    reached.iter().any(|&at| {
        let step = &pipeline.steps[at];
        let waits = |input: usize| input > 0 || step.partitioning(input).is_collected();
        let mut inputs = step.inputs.iter().enumerate();
        inputs.any(|(input, above)| reached.contains(above) && waits(input))
    })
}
