//! What a job is given and what it must give, as the plan and the rows so far say: broadcast rows, borders, parts.

use super::{Cluster, FragmentOutput};
use crate::cluster::order::RowKey;
use crate::cluster::parts::Parts;
use crate::error::Result;
use crate::order;
use crate::plan::{Edge, Fragment};
use crate::stage::Partitioning;

impl Cluster<'_, '_> {
    /// The input of a stage of a fragment that is too large to be broadcast.
    pub(super) fn large<'f>(&self, fragment: &'f Fragment, at: usize) -> Option<&'f Edge> {
        let to = fragment.stages[at].at;
        fragment
            .edges
            .iter()
            .find(|edge| edge.to == to && self.is_large(edge))
    }

    pub(super) fn is_large(&self, edge: &Edge) -> bool {
        let output = self.outputs.get(&edge.from);
        edge.partitioning == Partitioning::Broadcast
            && output.is_some_and(|output| output.bytes > self.config.broadcast_max)
    }

    /// Where the rows lie that are broadcast to a stage of a fragment.
    pub(super) fn broadcast(&self, fragment: &Fragment, at: usize) -> Vec<Option<Parts>> {
        let to = fragment.stages[at].at;
        let mut inputs: Vec<Option<Parts>> = self.driver.pipeline.steps[to]
            .inputs
            .iter()
            .map(|_| None)
            .collect();
        let of_stage = |edge: &&Edge| edge.to == to && edge.partitioning == Partitioning::Broadcast;
        for edge in fragment
            .edges
            .iter()
            .filter(of_stage)
            .filter(|edge| !self.is_large(edge))
        {
            inputs[edge.input].clone_from(&self.outputs[&edge.from].parts);
        }
        inputs
    }

    /// Borders between buckets of about one size, from a sample of the keys.
    pub(super) fn borders(&self, above: &FragmentOutput, key: &RowKey) -> Vec<Option<Vec<u8>>> {
        let sample = above.samples.iter().find(|(of, _)| of == key);
        let mut keys = sample.map(|(_, keys)| keys.clone()).unwrap_or_default();
        keys.sort_unstable();
        let buckets = self.buckets(above.bytes).min(keys.len().max(1));
        let mut borders: Vec<_> = (1..buckets)
            .map(|bucket| keys[bucket * keys.len() / buckets].clone())
            .collect();
        borders.dedup();
        borders
    }

    /// How often jobs read the frames of a fragment. Whether what is broadcast is too large is not known before it is there.
    pub(super) fn frame_readers(&self, fragment: &Fragment) -> usize {
        let edges = self.driver.plan.edges_from(fragment.last());
        edges.filter(|edge| self.is_on_cluster(edge.to)).count()
    }

    /// Whether the rows of a fragment are needed as a whole: by every task of a job, or by this machine.
    pub(super) fn writes_parts(&self, fragment: &Fragment) -> bool {
        let mut edges = self.driver.plan.edges_from(fragment.last()).peekable();
        let whole = |edge: &Edge| {
            !self.is_on_cluster(edge.to) || edge.partitioning == Partitioning::Broadcast
        };
        edges.peek().is_none() || edges.any(whole)
    }

    fn is_on_cluster(&self, at: usize) -> bool {
        self.driver.plan.fragment_of(at).on_cluster
    }

    /// The keys by which the rows of a fragment will be divided, each once.
    pub(super) fn keys(&self, fragment: &Fragment) -> Result<Vec<RowKey>> {
        let mut keys = Vec::new();
        for edge in self.driver.plan.edges_from(fragment.last()) {
            if self.is_on_cluster(edge.to)
                && let Some(key) = self.key(edge)?
                && !keys.contains(&key)
            {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// The key by which the rows of an edge are divided among buckets, if they are.
    pub(super) fn key(&self, edge: &Edge) -> Result<Option<RowKey>> {
        let schema = &self.driver.schemas[edge.from];
        Ok(match &edge.partitioning {
            Partitioning::ByKey(columns) => Some(RowKey::Equal(schema.indices(columns)?)),
            Partitioning::ByRange(by) => Some(RowKey::Order(order::positions(by, schema)?)),
            _ => None,
        })
    }
}
