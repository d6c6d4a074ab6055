//! Rows on their way into a Parquet file. Row groups end where the rows say so, however they came.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, available_parallelism, scope};

use super::{Failed, LibraryOut, Out};
use crate::batch::Batch;
use crate::columns::Column;
use crate::error::Result;
use crate::format::parquet::{Compression, Encoded, Encoder, ROW_GROUP_ROWS, Writer, weights};
use crate::schema::Schema;
use crate::stage::{Counts, Sink};

/// A row group ends here even where it has fewer rows: it is held until it is written.
const ROW_GROUP_BYTES: usize = 64 << 20;
/// Threads that encode a row group: with more, most wait for the longest column.
const THREADS_MAX: usize = 4;

/// Gathers rows into row groups.
pub(super) struct ParquetSink {
    encoder: Encoder,
    writer: Option<Writer<LibraryOut>>,
    failed: Failed,
    ended: Option<LibraryOut>,
    /// The rows of the row group so far, and what they weigh.
    waiting: Vec<Batch>,
    rows: usize,
    bytes: usize,
}

impl ParquetSink {
    pub(super) fn new(out: Out, schema: &Schema, compression: Compression) -> Result<Self> {
        let encoder = Encoder::new(schema, compression)?;
        let (out, failed) = LibraryOut::new(out);
        let writer = Writer::new(out, &encoder);
        Ok(ParquetSink {
            encoder,
            writer: Some(writer),
            failed,
            ended: None,
            waiting: Vec::new(),
            rows: 0,
            bytes: 0,
        })
    }

    /// Writes the row group.
    fn end_row_group(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let Some(writer) = self.writer.as_mut().filter(|_| rows > 0) else {
            return Ok(());
        };
        let columns = encode_all(&self.encoder, &waiting)?;
        self.failed.or(writer.write(rows, columns))
    }
}

impl Sink for ParquetSink {
    fn push(&mut self, batch: Batch) -> Result<()> {
        let mut from = 0;
        for (row, bytes) in weights(&batch).into_iter().enumerate() {
            self.rows += 1;
            self.bytes += bytes;
            if self.rows == ROW_GROUP_ROWS || self.bytes >= ROW_GROUP_BYTES {
                self.waiting.push(batch.slice(from, row + 1 - from));
                from = row + 1;
                self.end_row_group()?;
            }
        }
        if from < batch.rows() {
            self.waiting.push(batch.slice(from, batch.rows() - from));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Counts> {
        self.end_row_group()?;
        if let Some(writer) = self.writer.take() {
            let mut ended = self.failed.or(writer.finish())?;
            ended.out.finish()?;
            self.ended = Some(ended);
        }
        Ok(Counts::default())
    }

    fn publish(mut self: Box<Self>, warnings: &mut Vec<String>) -> Result<Counts> {
        if let Some(ended) = self.ended.take() {
            ended.out.publish(warnings)?;
        }
        Ok(Counts::default())
    }
}

/// Encodes the columns of a row group, each in whole by the next thread that is free.
fn encode_all(encoder: &Encoder, batches: &[Batch]) -> Result<Vec<Encoded>> {
    let columns = batches.first().map_or(0, |batch| batch.cells().len());
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Result<Encoded>>>> =
        Mutex::new((0..columns).map(|_| None).collect());
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= columns {
                return;
            }
            let parts: Vec<Column> = batches.iter().map(|batch| batch.column(at)).collect();
            let parts: Vec<&Column> = parts.iter().collect();
            let pages = encoder.encode(at, &Column::concat(&parts));
            done.lock().expect("no one panics holding this lock")[at] = Some(pages);
        }
    };
    let threads = available_parallelism().map_or(1, std::num::NonZero::get);
    scope(|scope| {
        for _ in 1..threads.min(columns).min(THREADS_MAX) {
            // Where the system refuses a thread, this one does the work.
            let _ = Builder::new()
                .name("etl-encode".into())
                .spawn_scoped(scope, work);
        }
        work();
    });
    let done = done
        .into_inner()
        .expect("no one panicked holding this lock");
    done.into_iter()
        .map(|pages| pages.expect("each column was taken"))
        .collect()
}
