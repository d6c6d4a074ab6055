//! Which stages a cluster executes, and which this machine does: of a stage that stays here, why.

use crate::executor::Grid;
use crate::pipeline::{Pipeline, Step};
use crate::stage::Partitioning;

/// The pipeline with the stages that a cluster executes marked as such, and for each stage the reason that it stays on
/// this machine; `None`: it does not. What lies below a stage that stays here stays here too.
pub fn on_cluster(pipeline: &Pipeline) -> (Pipeline, Vec<Option<&'static str>>) {
    let mut placed = pipeline.clone();
    let mut reasons: Vec<Option<&'static str>> = Vec::new();
    for (at, step) in pipeline.steps.iter().enumerate() {
        let is_here = |&input: &usize| reasons[input].is_some();
        let is_combined = |&input: &usize| pipeline.steps[input].stage.properties().combined;
        let below = |is: &dyn Fn(&usize) -> bool| step.inputs.iter().any(is);
        let reason = why_here(step)
            .or_else(|| below(&is_here).then_some("it reads a stage that stays here"))
            .or_else(|| below(&is_combined).then_some("it reads rows that are combined here"));
        if reason.is_none() {
            placed.steps[at].on_cluster = true;
            // Within a task.
            placed.steps[at].grid = Grid::SEQUENTIAL;
        }
        reasons.push(reason);
    }
    (placed, reasons)
}

/// Why a stage cannot be divided among tasks.
fn why_here(step: &Step) -> Option<&'static str> {
    let properties = step.stage.properties();
    if step.inputs.is_empty() && (properties.reads.is_empty() || properties.reads_stdin()) {
        return Some("its rows come from elsewhere than files");
    }
    if properties.once {
        return Some(
            "what a task that is tried again sends twice would be doubled, or counted otherwise",
        );
    }
    if step.policy().is_some() {
        return Some("its limits hold for the run as a whole");
    }
    let inputs = 0..step.inputs.len().max(1);
    let mut reasons = inputs.map(|input| match step.partitioning(input) {
        Partitioning::Any
        | Partitioning::ByKey(_)
        | Partitioning::ByRange(_)
        | Partitioning::Broadcast
        | Partitioning::UniqueInFlight(_) => None,
        Partitioning::Requests => Some("its requests have one limit"),
    });
    reasons.find_map(|reason| reason)
}
