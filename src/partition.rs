//! Dealing by key: rows with equal keys meet in one hand, and hands follow each other in key order,
//! so that the hands' results, each in key order, only need to be put one behind the other.

use crate::batch::Batch;
use crate::columns::row_number;
use crate::keys::{Keys, NullKeys, prefix};

/// Rows a hand is meant to hold: enough to be worth a trip, few enough to stay in cache.
const HAND_ROWS: usize = 32_768;
/// Keys looked at for each border between hands; more would make the hands more even.
const SAMPLES: usize = 16;

/// Deals the rows of `batch` into hands by the key that `columns` make, in input order within a hand.
pub fn by_key(batch: &Batch, columns: &[usize]) -> Vec<Batch> {
    let hands = batch.rows().div_ceil(HAND_ROWS);
    if hands < 2 {
        return vec![batch.clone()];
    }
    let keys = Keys::new(batch, columns, NullKeys::Equal);
    let borders = borders(&keys, hands);
    let mut dealt: Vec<Vec<u32>> = vec![Vec::new(); borders.len() + 1];
    for row in 0..keys.len() {
        let key = keys.get(row);
        let order = (prefix(key), key);
        let hand = borders.partition_point(|border| (border.0, border.1) <= order);
        dealt[hand].push(row_number(row));
    }
    dealt
        .into_iter()
        .filter(|rows| !rows.is_empty())
        .map(|rows| batch.take(&rows))
        .collect()
}

/// Keys between hands, rising: a hand begins with its border. They depend on nothing but the keys.
fn borders(keys: &Keys, hands: usize) -> Vec<(u64, Option<&[u8]>)> {
    let step = (keys.len() / (hands * SAMPLES)).max(1);
    let mut sample: Vec<_> = (0..keys.len())
        .step_by(step)
        .map(|row| (prefix(keys.get(row)), keys.get(row)))
        .collect();
    sample.sort_unstable();
    let mut borders: Vec<_> = (1..hands)
        .map(|hand| sample[hand * sample.len() / hands])
        .collect();
    borders.dedup();
    borders
}
