//! Partitioning by key: rows with equal keys are in one task, and tasks follow each other in key order. So the
//! results of the tasks, each in key order, only need to be concatenated. Partitioning by range does the same for the
//! order of rows, where equal rows need not be in one task.

use std::collections::HashSet;

use crate::batch::{Batch, new_set};
use crate::columns::{Column, row_number};
use crate::keys::{Keys, NullKeys, hash, prefix};
use crate::order::Order;

/// Rows per task: enough to be worth a trip, few enough to stay in cache.
const TASK_ROWS: usize = 32_768;
/// Keys sampled for each border between tasks; more would make the tasks more even.
const SAMPLES: usize = 16;

/// Partitions the rows of `batch` into tasks by the key in `columns`; a task keeps the input order.
pub fn by_key(batch: &Batch, columns: &[usize]) -> Vec<Batch> {
    let tasks = batch.rows().div_ceil(TASK_ROWS);
    if tasks < 2 {
        return vec![batch.clone()];
    }
    let keys = Keys::new(batch, columns, NullKeys::Equal);
    let borders = borders(&keys, tasks);
    let mut rows_of: Vec<Vec<u32>> = vec![Vec::new(); borders.len() + 1];
    for row in 0..keys.len() {
        let key = keys.get(row);
        let order = (prefix(key), key);
        let task = borders.partition_point(|border| (border.0, border.1) <= order);
        rows_of[task].push(row_number(row));
    }
    rows_of
        .into_iter()
        .filter(|rows| !rows.is_empty())
        .map(|rows| batch.take(&rows))
        .collect()
}

/// Keys between tasks, ascending: a task begins with its border. They depend on the keys alone.
fn borders(keys: &Keys, tasks: usize) -> Vec<(u64, Option<&[u8]>)> {
    let step = (keys.len() / (tasks * SAMPLES)).max(1);
    let mut sample: Vec<_> = (0..keys.len())
        .step_by(step)
        .map(|row| (prefix(keys.get(row)), keys.get(row)))
        .collect();
    sample.sort_unstable();
    let mut borders: Vec<_> = (1..tasks)
        .map(|task| sample[task * sample.len() / tasks])
        .collect();
    borders.dedup();
    borders
}

/// Partitions the rows of `batch`, which has no shared columns, into ranges of their order; a range keeps the input order.
/// Rows that are alike are ordered by their number, so that ranges are about as long as each other whatever the values.
pub fn by_range(batch: &Batch, by: &[(usize, bool)]) -> Vec<Batch> {
    let tasks = batch.rows().div_ceil(TASK_ROWS);
    if tasks < 2 {
        return vec![batch.clone()];
    }
    let order = Order::new(batch, by);
    let words = order.first_words();
    let step = (batch.rows() / (tasks * SAMPLES)).max(1);
    let mut sample: Vec<u32> = (0..row_number(batch.rows())).step_by(step).collect();
    sample.sort_unstable_by(|&a, &b| order.compare(a, b));
    let borders: Vec<u32> = (1..tasks)
        .map(|task| sample[task * sample.len() / tasks])
        .collect();
    let border_words: Vec<u64> = borders.iter().map(|&row| words[row as usize]).collect();
    let mut rows_of: Vec<Vec<u32>> = vec![Vec::new(); tasks];
    for (row, &word) in (0..).zip(&words) {
        let mut range = border_words.partition_point(|&border| border < word);
        // The first word says it but for borders that have it too.
        if border_words.get(range) == Some(&word) {
            let alike = border_words[range..].partition_point(|&border| border == word);
            let is_before = |&border: &u32| order.compare(border, row).is_le();
            range += borders[range..range + alike].partition_point(is_before);
        }
        rows_of[range].push(row);
    }
    let set = new_set();
    rows_of
        .into_iter()
        .map(|rows| batch.view(rows, set))
        .collect()
}

/// A number for the key of each row, the same for equal keys; none where no column makes a key.
///
/// Keys of several columns are equal too if their values are once they are joined by `-`, as ids are:
/// `a-b` and `c` make the id that `a` and `b-c` make.
pub(crate) fn hashes(batch: &Batch, columns: &[usize]) -> Vec<u64> {
    if columns.is_empty() {
        return Vec::new();
    }
    let texts: Option<Vec<Column>> = columns
        .iter()
        .map(|&i| Some(batch.column(i)).filter(|column| matches!(column, Column::Strings(_))))
        .collect();
    let Some(texts) = texts.filter(|texts| texts.len() > 1) else {
        let keys = Keys::new(batch, columns, NullKeys::Equal);
        return (0..keys.len()).map(|row| hash(keys.get(row))).collect();
    };
    let mut joined = Vec::new();
    let mut hash_of = |row: usize| {
        joined.clear();
        for text in &texts {
            joined.extend_from_slice(text.strings().get(row).unwrap_or_default().as_bytes());
            joined.push(b'-');
        }
        hash(Some(&joined))
    };
    (0..batch.rows()).map(&mut hash_of).collect()
}

/// Rows of a batch in which no two have the same key.
pub struct UniqueRun {
    /// The rows.
    pub batch: Batch,
    /// Which row of the batch they were cut from is the first.
    pub from: usize,
    /// Their keys, hashed; none where no column makes a key.
    pub keys: Vec<u64>,
}

/// Cuts `batch` into runs of at most `rows_max` rows in which no two have the same key.
pub fn unique_runs(batch: &Batch, columns: &[usize], rows_max: usize) -> Vec<UniqueRun> {
    let keys = hashes(batch, columns);
    let batch = batch.clone().weighed();
    let mut runs = Vec::new();
    let mut seen = HashSet::new();
    let mut from = 0;
    let run = |from: usize, to: usize| UniqueRun {
        batch: batch.slice(from, to - from),
        from,
        keys: keys.get(from..to).unwrap_or_default().to_vec(),
    };
    for row in 0..batch.rows() {
        let twice = keys.get(row).is_some_and(|key| !seen.insert(*key));
        if twice || row - from == rows_max {
            runs.push(run(from, row));
            from = row;
            seen.clear();
            seen.extend(keys.get(row));
        }
    }
    if from < batch.rows() {
        runs.push(run(from, batch.rows()));
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_run_holds_a_key_twice_and_none_is_too_long() {
        let ids = "abcabbcdefg".chars().map(|id| Some(id.to_string()));
        let batch = Batch::new(vec![Column::from_strings(ids)], 11);
        let runs = unique_runs(&batch, &[0], 4);
        let text = |run: &UniqueRun| {
            assert_eq!(run.keys.len(), run.batch.rows());
            let ids = run.batch.column(0);
            (0..run.batch.rows())
                .map(|row| ids.strings().value(row).to_owned())
                .collect::<String>()
        };
        let texts: Vec<String> = runs.iter().map(text).collect();
        assert_eq!(texts, ["abc", "ab", "bcde", "fg"]);
        let text = |values: [&str; 2]| Column::from_strings(values.map(Some));
        let twins = Batch::new(vec![text(["a-b", "a"]), text(["c", "b-c"])], 2);
        assert_eq!(unique_runs(&twins, &[0, 1], 9).len(), 2, "both are `a-b-c`");
        let runs = unique_runs(&batch, &[], 4);
        let rows: Vec<usize> = runs.iter().map(|run| run.batch.rows()).collect();
        assert_eq!(rows, [4, 4, 3], "without a key nothing is alike");
    }
}
