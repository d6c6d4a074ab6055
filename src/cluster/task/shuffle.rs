//! Rows among buckets: divided by their keys, asked for by their keys, and sent to whom asked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;

use polars_buffer::Buffer;

use super::super::order::{AnswerOrder, DivideOrder, HashedKeys, TaskReport};
use super::numbered::with_numbers;
use super::ranges::RowKeys;
use super::{Frames, Out, batches, first_side};
use crate::batch::Batch;
use crate::columns::{Column, row_number};
use crate::error::Result;
use crate::fragment::BoundFragment;
use crate::keys::{Keys, NullKeys, hash};
use crate::partition;
use crate::stage::StageKind;

/// Rows of a bucket wait until they have so many bytes: every frame costs the engine about as much as 2 KB.
const FRAME_BYTES: usize = 256 << 10;
/// Those of all buckets may have so many.
const WAITING_BYTES: usize = 64 << 20;

/// Finds for each bucket its rows in a batch.
type RowsOfBuckets<'a> = dyn FnMut(&Batch) -> Vec<Vec<u32>> + 'a;

/// Divides rows among buckets, each batch by itself.
pub(super) fn divide(
    order: &DivideOrder,
    task: usize,
    frames: Frames,
    out: &mut Out<impl Write>,
) -> Result<TaskReport> {
    let mut report = TaskReport {
        task,
        ..TaskReport::default()
    };
    let mut rows_of_buckets: Box<RowsOfBuckets> = match order {
        DivideOrder::Ranges { key, borders } => {
            let mut row_keys = RowKeys::new(key.clone(), task);
            Box::new(move |batch| {
                let keys = row_keys.next(batch);
                let range = |row| Some(keys.range(row, borders));
                rows_of(batch.rows(), borders.len() + 1, range)
            })
        }
        DivideOrder::Hashes(HashedKeys { columns, buckets }) => Box::new(move |batch| {
            let keys = Keys::new(batch, columns, NullKeys::MatchNothing);
            let bucket = |row| keys.get(row).map(|key| bucket_of(key, *buckets));
            rows_of(batch.rows(), *buckets, bucket)
        }),
        DivideOrder::Numbered { ids, .. } => Box::new(move |batch| {
            let hashes = partition::hashes(batch, &ids.columns);
            rows_of(batch.rows(), ids.buckets, |row| {
                Some(bucket(hashes[row], ids.buckets))
            })
        }),
    };
    let mut number = match order {
        DivideOrder::Numbered { firsts, .. } => firsts.get(task).copied(),
        _ => None,
    };
    let mut waiting = Waiting::default();
    for batch in batches(frames) {
        let mut batch = batch?;
        let rows_of_buckets = rows_of_buckets(&batch);
        if let Some(first) = &mut number {
            let rows = batch.rows() as u64;
            batch = with_numbers(batch, *first);
            *first += rows;
        }
        for (bucket, rows) in rows_of_buckets.into_iter().enumerate() {
            if !rows.is_empty() {
                report.bytes += waiting.add(bucket, batch.take(&rows), out)?;
            }
        }
    }
    report.bytes += waiting.give_all(out)?;
    Ok(report)
}

/// Rows that wait for others of their bucket.
#[derive(Default)]
struct Waiting {
    of_bucket: BTreeMap<usize, (Vec<Batch>, usize)>,
    bytes: usize,
}

impl Waiting {
    /// Adds rows of a bucket; the bytes of the frames that had become large enough to go.
    fn add(&mut self, bucket: usize, rows: Batch, out: &mut Out<impl Write>) -> Result<u64> {
        let more = rows.size();
        let (batches, bytes) = self.of_bucket.entry(bucket).or_default();
        batches.push(rows);
        *bytes += more;
        self.bytes += more;
        if *bytes >= FRAME_BYTES {
            self.bytes -= *bytes;
            let batches = std::mem::take(batches);
            self.of_bucket.remove(&bucket);
            return give(batches, bucket, out);
        }
        if self.bytes >= WAITING_BYTES {
            return self.give_all(out);
        }
        Ok(0)
    }

    fn give_all(&mut self, out: &mut Out<impl Write>) -> Result<u64> {
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.of_bucket).into_iter();
        waiting
            .map(|(bucket, (batches, _))| give(batches, bucket, out))
            .sum()
    }
}

/// Gives rows of a bucket as one frame.
fn give(batches: Vec<Batch>, bucket: usize, out: &mut Out<impl Write>) -> Result<u64> {
    out.give(
        &Batch::concat(batches, || unreachable!("some were added")),
        bucket,
    )
}

/// The rows of each bucket, in their order.
fn rows_of(rows: usize, buckets: usize, bucket: impl Fn(usize) -> Option<usize>) -> Vec<Vec<u32>> {
    let mut rows_of: Vec<Vec<u32>> = vec![Vec::new(); buckets];
    for row in 0..rows {
        if let Some(bucket) = bucket(row) {
            rows_of[bucket].push(row_number(row));
        }
    }
    rows_of
}

/// The bucket that has all rows of a key: the same on every machine.
fn bucket_of(key: &[u8], buckets: usize) -> usize {
    bucket(hash(Some(key)), buckets)
}

/// The bucket of a hash.
fn bucket(hash: u64, buckets: usize) -> usize {
    let buckets = u64::try_from(buckets).expect("a number of buckets is small");
    usize::try_from(hash % buckets).expect("it is below a number of buckets")
}

/// Sends each key of the rows once to its bucket, with the number of this task: it is sent the rows of these keys.
pub(super) fn ask(
    order: &HashedKeys,
    task: usize,
    frames: Frames,
    out: &mut Out<impl Write>,
) -> Result<TaskReport> {
    let mut wanted: Vec<HashSet<Vec<u8>>> = vec![HashSet::new(); order.buckets];
    for batch in batches(frames) {
        let keys = Keys::new(&batch?, &order.columns, NullKeys::MatchNothing);
        for key in (0..keys.len()).filter_map(|row| keys.get(row)) {
            let wanted = &mut wanted[bucket_of(key, order.buckets)];
            if !wanted.contains(key) {
                wanted.insert(key.to_vec());
            }
        }
    }
    let number = i64::try_from(task).expect("a number of tasks is small");
    for (bucket, keys) in wanted.into_iter().enumerate() {
        if keys.is_empty() {
            continue;
        }
        let rows = keys.len();
        let cells = keys.into_iter().map(Buffer::from).collect();
        let tasks = Column::from_ints(vec![number; rows], None);
        out.give(
            &Batch::new(vec![Column::from_cells(cells), tasks], rows),
            bucket,
        )?;
    }
    Ok(TaskReport {
        task,
        ..TaskReport::default()
    })
}

/// Sends to each task that asked the rows that have one of its keys, in their order.
pub(super) fn answer(
    registry: &[&'static StageKind],
    order: AnswerOrder,
    task: usize,
    frames: Frames,
    out: &mut Out<impl Write>,
) -> Result<TaskReport> {
    let mut report = TaskReport {
        task,
        ..TaskReport::default()
    };
    let AnswerOrder {
        stage,
        input,
        columns,
    } = order;
    let (rows, next) = first_side(&frames, &stage.inputs[input])?;
    let mut broadcast = vec![None; stage.inputs.len()];
    broadcast[input] = Some(rows.clone());
    if let Err(fault) = BoundFragment::of(registry, vec![stage], vec![broadcast], false, 1)?.open()
    {
        report.fault = Some(fault);
        return Ok(report);
    }
    let keys = Keys::new(&rows, &columns, NullKeys::MatchNothing);
    let mut rows_of: HashMap<&[u8], Vec<u32>> = HashMap::new();
    for row in 0..keys.len() {
        if let Some(key) = keys.get(row) {
            rows_of.entry(key).or_default().push(row_number(row));
        }
    }
    for asked in batches(next.into_iter().chain(frames)) {
        let asked = asked?;
        let wanted =
            (0..asked.rows()).filter_map(|row| rows_of.get(&asked.column(0).cell(row)[..]));
        let mut wanted: Vec<u32> = wanted.flatten().copied().collect();
        wanted.sort_unstable();
        let by = asked.column(1).ints().value(0);
        if !wanted.is_empty() {
            let bucket = usize::try_from(by).expect("it is the number of a task");
            report.bytes += out.give(&rows.take(&wanted), bucket)?;
        }
    }
    Ok(report)
}
