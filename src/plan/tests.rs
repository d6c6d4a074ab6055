use super::*;
use crate::pipeline::tests::{FILE, read};

#[test]
fn a_plan_says_what_runs_together_and_what_is_collected() {
    let pipeline = read(FILE, &[]).unwrap();
    let plan = Plan::of(&pipeline, false);
    let stages = plan.fragments.iter().map(Fragment::name);
    assert_eq!(stages.collect::<Vec<_>>(), ["a", "b", "c+d"]);
    let deliveries = |at| {
        let edges = plan.edges_from(at);
        edges.map(|edge| edge.delivery).collect::<Vec<_>>()
    };
    assert_eq!(deliveries(0), [Delivery::Collected; 2]);
    assert_eq!(deliveries(1), [Delivery::Forward]);
    // What passes from stage to stage in a fragment is no edge.
    assert_eq!(deliveries(2), []);
    assert_eq!(plan.fragment_of(2), plan.fragment_of(3));
    let last = plan.fragment_of(3);
    assert_eq!((last.first(), last.last()), (2, 3));
    assert_eq!(last.input().map(|edge| edge.from), Some(0));
    assert_eq!(last.edges[1].partitioning, Partitioning::Broadcast);
}

#[test]
fn a_staged_plan_has_a_fragment_a_stage() {
    let pipeline = read(FILE, &[]).unwrap();
    let plan = Plan::of(&pipeline, true);
    assert_eq!(plan.fragments.len(), pipeline.steps.len());
    assert_eq!(plan.edges_from(2).count(), 1);
}

#[test]
fn a_plan_can_be_sent() {
    let pipeline = read(FILE, &[]).unwrap();
    let plan = Plan::of(&pipeline, false);
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}
