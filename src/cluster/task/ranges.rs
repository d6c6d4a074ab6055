//! The keys that divide rows into ranges, and samples of them, from which the borders between ranges are made.

use std::borrow::Cow;

use super::super::order::{KeySample, RowKey};
use crate::batch::Batch;
use crate::keys::{Keys, NullKeys};
use crate::order::Order;

/// Keys that all tasks of a job report for a key, about: enough for borders between thousands of buckets, few enough for
/// this machine.
const SAMPLE_KEYS: usize = 1 << 18;
/// Keys that one task reports at most, however few tasks there are; and at least.
const SAMPLE_KEYS_A_TASK: (usize, usize) = (16, 2048);
/// Longer keys are cut.
const SAMPLE_KEY_BYTES: usize = 64;

/// The keys of the rows that one task has given, batch by batch: whoever reads them in their order finds the same keys.
pub(super) struct RowKeys {
    key: RowKey,
    task: u32,
    /// How many rows came before.
    rows: u64,
}

/// The keys of the rows of a batch.
pub(super) enum BatchKeys {
    Equal(Keys),
    Order { order: Order, task: u32, first: u64 },
}

impl RowKeys {
    pub(super) fn new(key: RowKey, task: usize) -> Self {
        RowKeys {
            key,
            task: u32::try_from(task).expect("a number of tasks is small"),
            rows: 0,
        }
    }

    /// Those of the next batch.
    pub(super) fn next(&mut self, batch: &Batch) -> BatchKeys {
        let first = self.rows;
        self.rows += batch.rows() as u64;
        match &self.key {
            RowKey::Equal(columns) => BatchKeys::Equal(Keys::new(batch, columns, NullKeys::Equal)),
            RowKey::Order(by) => BatchKeys::Order {
                order: Order::across_batches(batch, by),
                task: self.task,
                first,
            },
        }
    }
}

impl BatchKeys {
    /// The key of a row, whose values are cut after so many bytes.
    fn get(&self, row: usize, bytes_max: usize) -> Option<Cow<'_, [u8]>> {
        match self {
            BatchKeys::Equal(keys) => {
                let key = keys.get(row)?;
                Some(Cow::Borrowed(&key[..key.len().min(bytes_max)]))
            }
            BatchKeys::Order { order, task, first } => {
                let mut key = order.key(row);
                key.truncate(bytes_max);
                key.extend(task.to_be_bytes());
                key.extend((first + row as u64).to_be_bytes());
                Some(Cow::Owned(key))
            }
        }
    }

    /// In which range between borders a row is.
    pub(super) fn range(&self, row: usize, borders: &[Option<Vec<u8>>]) -> usize {
        let key = self.get(row, usize::MAX);
        borders.partition_point(|border| border.as_deref() <= key.as_deref())
    }
}

/// Some of the keys of many rows, evenly spread over them.
pub(super) struct Sample {
    row_keys: RowKeys,
    taken: KeySample,
    keys_max: usize,
    /// How many rows are left to the next one that is taken.
    left: usize,
}

impl Sample {
    /// A sample that the task takes, one of `tasks`.
    pub(super) fn new(key: RowKey, task: usize, tasks: usize) -> Self {
        let (least, most) = SAMPLE_KEYS_A_TASK;
        Sample {
            keys_max: (SAMPLE_KEYS / tasks.max(1)).clamp(least, most),
            row_keys: RowKeys::new(key, task),
            taken: KeySample {
                every: 1,
                keys: Vec::new(),
            },
            left: 0,
        }
    }

    pub(super) fn add(&mut self, batch: &Batch) {
        let keys = self.row_keys.next(batch);
        while self.left < batch.rows() {
            let key = keys.get(self.left, SAMPLE_KEY_BYTES);
            self.taken.keys.push(key.map(Cow::into_owned));
            self.left += self.taken.every;
            if self.taken.keys.len() == self.keys_max {
                self.taken.thin(2);
            }
        }
        self.left -= batch.rows();
    }

    pub(super) fn finish(self) -> KeySample {
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Column;

    fn ints(values: Vec<i64>) -> Batch {
        let rows = values.len();
        Batch::new(vec![Column::from_ints(values, None)], rows)
    }

    #[test]
    fn a_sample_is_spread_over_all_rows_whatever_the_batches() {
        for key in [RowKey::Equal(vec![0]), RowKey::Order(vec![(0, true)])] {
            let mut whole = Sample::new(key.clone(), 3, 9);
            whole.add(&ints((0..100_000).collect()));
            let mut cut = Sample::new(key, 3, 9);
            for from in (0..100_000).step_by(1_000) {
                cut.add(&ints((from..from + 1_000).collect()));
            }
            let sample = whole.finish();
            assert_eq!(sample, cut.finish());
            assert!((1024..2048).contains(&sample.keys.len()));
            assert_eq!(sample.keys.len(), 100_000usize.div_ceil(sample.every));
        }
    }

    #[test]
    fn ranges_of_an_order_are_even_and_follow_each_other_even_if_all_rows_are_alike() {
        let key = RowKey::Order(vec![(0, false)]);
        let values: Vec<i64> = (0..3_000).map(|row| i64::from(row % 1_000 == 0)).collect();
        let mut borders = Vec::new();
        for task in 0..2 {
            let mut sample = Sample::new(key.clone(), task, 2);
            sample.add(&ints(values.clone()));
            borders.extend(sample.finish().keys);
        }
        borders.sort_unstable();
        let borders: Vec<_> = (1..4)
            .map(|at| borders[at * borders.len() / 4].clone())
            .collect();
        let mut ranges = vec![Vec::new(); 4];
        for task in 0..2 {
            let mut row_keys = RowKeys::new(key.clone(), task);
            for (first, batch) in
                (0..3).map(|part| (part * 1_000, &values[part * 1_000..][..1_000]))
            {
                let keys = row_keys.next(&ints(batch.to_vec()));
                for (row, value) in batch.iter().enumerate() {
                    ranges[keys.range(row, &borders)].push((*value, task, first + row));
                }
            }
        }
        assert!(
            ranges
                .iter()
                .all(|rows| (1_400..1_600).contains(&rows.len()))
        );
        let mut expected: Vec<_> = ranges.concat();
        expected.sort_unstable();
        for rows in &mut ranges {
            rows.sort_unstable();
        }
        assert_eq!(ranges.concat(), expected);
    }
}
