//! A batch: the unit that moves through streams, over threads and pipes.
//!
//! Its columns follow the stream's [`Schema`]. A join's right columns are the
//! same few rows over and over, so a column may be held as *shared*: the right rows once, and for
//! each row of the batch which of them it is. Work per column (parse a date, render a member) is then
//! done once per right row. Everything that does not care calls [`Batch::resolve`].

mod wire;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use polars_buffer::Buffer;

use crate::columns::{Column, NONE};
use crate::schema::Schema;

/// Default rows a batch: large enough that dispatching costs nothing, small enough to stay in cache.
pub const ROWS_MAX: usize = 16_384;
/// A batch is cut here even where it has fewer rows: long rows must not fill the memory.
pub const BYTES_MAX: usize = 8 << 20;

/// Where a row came from: file number (20 bits) and record in it (44 bits).
pub mod origin {
    /// Records a file may hold.
    pub const RECORD_BITS: u32 = 44;

    /// Files a run may read.
    pub const FILES_MAX: u32 = 1 << (u64::BITS - RECORD_BITS);

    /// The origin of a row that came from no file: no file has so many records.
    pub const NOWHERE: u64 = u64::MAX;

    /// The origin of `record` (from 1) of file number `file`.
    pub fn of(file: u32, record: u64) -> u64 {
        u64::from(file) << RECORD_BITS | record
    }

    /// File number and record of an origin.
    pub fn split(origin: u64) -> (u32, u64) {
        let file = u32::try_from(origin >> RECORD_BITS).expect("20 bits are left");
        (file, origin & ((1 << RECORD_BITS) - 1))
    }
}

/// One column of a batch.
#[derive(Debug, Clone)]
pub enum Cells {
    /// A value a row.
    Own(Column),
    /// The values of the shared rows; the batch's [`Lookup`] says which row has which.
    Shared(Column),
}

/// Which shared row each row of the batch has; [`NONE`]: none, so nulls.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The shared rows' identity: equal in two batches if the rows are the same.
    pub set: u64,
    /// One number a row of the batch.
    pub rows: Buffer<u32>,
}

/// Some rows of a stream, in order.
#[derive(Debug, Clone)]
pub struct Batch {
    columns: Vec<Cells>,
    rows: usize,
    lookup: Option<Lookup>,
    origins: Option<Buffer<u64>>,
    /// What it weighs, where it is known: to weigh every slice of a batch again takes a look at each value.
    bytes: Option<usize>,
}

impl Batch {
    /// A batch of plain columns of `rows` values each.
    pub fn new(columns: Vec<Column>, rows: usize) -> Self {
        debug_assert!(columns.iter().all(|column| column.len() == rows));
        Batch {
            columns: columns.into_iter().map(Cells::Own).collect(),
            rows,
            lookup: None,
            origins: None,
            bytes: None,
        }
    }

    /// No rows of these columns.
    pub fn empty(schema: &Schema) -> Batch {
        let types = schema.fields.iter().map(|field| &field.ty);
        Batch::new(types.map(Column::empty).collect(), 0)
    }

    /// A batch in which some columns are shared, by `lookup`.
    pub fn with_lookup(columns: Vec<Cells>, lookup: Option<Lookup>, rows: usize) -> Self {
        Batch {
            columns,
            rows,
            lookup,
            origins: None,
            bytes: None,
        }
    }

    /// Says where the rows came from.
    #[must_use]
    pub fn with_origins(mut self, origins: Option<Buffer<u64>>) -> Self {
        debug_assert!(
            origins
                .as_ref()
                .is_none_or(|origins| origins.len() == self.rows)
        );
        self.origins = origins;
        self
    }

    /// The same rows with other columns.
    #[must_use]
    pub fn with_columns(self, columns: Vec<Cells>) -> Self {
        let shared = columns
            .iter()
            .any(|cells| matches!(cells, Cells::Shared(_)));
        Batch {
            columns,
            lookup: self.lookup.filter(|_| shared),
            bytes: None,
            ..self
        }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// All columns as they are held.
    pub fn cells(&self) -> &[Cells] {
        &self.columns
    }

    /// Which shared row each row has.
    pub fn lookup(&self) -> Option<&Lookup> {
        self.lookup.as_ref()
    }

    /// Where each row came from, if that is known.
    pub fn origins(&self) -> Option<&Buffer<u64>> {
        self.origins.as_ref()
    }

    /// Where row `i` came from.
    pub fn origin(&self, row: usize) -> Option<u64> {
        let origins = self.origins.as_ref();
        let origin = origins.map(|origins| origins[row]);
        origin.filter(|&origin| origin != origin::NOWHERE)
    }

    /// Column `i`, a value a row.
    pub fn column(&self, i: usize) -> Column {
        match (&self.columns[i], &self.lookup) {
            (Cells::Shared(column), Some(lookup)) => column.take(&lookup.rows),
            (Cells::Own(column) | Cells::Shared(column), _) => column.clone(),
        }
    }

    /// The same batch with a value a row in every column.
    #[must_use]
    pub fn resolve(self) -> Self {
        if self.lookup.is_none() {
            return self;
        }
        let columns = (0..self.columns.len())
            .map(|i| Cells::Own(self.column(i)))
            .collect();
        Batch {
            columns,
            lookup: None,
            bytes: None,
            ..self
        }
    }

    /// All columns, a value a row in each.
    pub fn plain(&self) -> Vec<Column> {
        (0..self.columns.len()).map(|i| self.column(i)).collect()
    }

    /// Rows `from..from + rows`, sharing the values.
    #[must_use]
    pub fn slice(&self, from: usize, rows: usize) -> Self {
        let columns = self.columns.iter().map(|cells| match cells {
            Cells::Own(column) => Cells::Own(column.slice(from, rows)),
            Cells::Shared(column) => Cells::Shared(column.clone()),
        });
        Batch {
            columns: columns.collect(),
            rows,
            lookup: self.lookup.as_ref().map(|lookup| Lookup {
                set: lookup.set,
                rows: lookup.rows.clone().sliced(from..from + rows),
            }),
            origins: self
                .origins
                .as_ref()
                .map(|origins| origins.clone().sliced(from..from + rows)),
            bytes: self.bytes.map(|bytes| bytes * rows / self.rows.max(1)),
        }
    }

    /// The rows with these numbers, in that order.
    #[must_use]
    pub fn take(&self, rows: &[u32]) -> Self {
        let columns = self.columns.iter().map(|cells| match cells {
            Cells::Own(column) => Cells::Own(column.take(rows)),
            Cells::Shared(column) => Cells::Shared(column.clone()),
        });
        let pick = |values: &Buffer<u32>| {
            rows.iter()
                .map(|&row| values[row as usize])
                .collect::<Vec<_>>()
                .into()
        };
        Batch {
            columns: columns.collect(),
            rows: rows.len(),
            lookup: self.lookup.as_ref().map(|lookup| Lookup {
                set: lookup.set,
                rows: pick(&lookup.rows),
            }),
            origins: self.origins.as_ref().map(|origins| {
                rows.iter()
                    .map(|&row| origins[row as usize])
                    .collect::<Vec<_>>()
                    .into()
            }),
            bytes: None,
        }
    }

    /// The rows with these numbers of a batch without shared columns, in that order: the columns become shared, so that
    /// values are gathered where they are needed. `set` is their identity.
    #[must_use]
    pub fn view(&self, rows: Vec<u32>, set: u64) -> Self {
        debug_assert!(self.lookup.is_none());
        let columns = (0..self.columns.len()).map(|i| Cells::Shared(self.column(i)));
        let origins = self.origins.as_ref().map(|origins| {
            let picked = rows.iter().map(|&row| origins[row as usize]);
            picked.collect::<Vec<_>>().into()
        });
        let (columns, len) = (columns.collect(), rows.len());
        let rows = rows.into();
        Batch::with_lookup(columns, Some(Lookup { set, rows }), len).with_origins(origins)
    }

    /// The batch without the rows numbered in `gone` (rising).
    #[must_use]
    pub fn without(self, gone: &[u32]) -> Self {
        if gone.is_empty() {
            return self;
        }
        let mut next = gone.iter().copied().peekable();
        let kept: Vec<u32> = (0..crate::columns::row_number(self.rows))
            .filter(|row| next.next_if_eq(row).is_none())
            .collect();
        self.take(&kept)
    }

    /// The same rows with their text copied, so that they hold nothing of the buffers which they shared with others.
    #[must_use]
    pub fn compacted(self) -> Self {
        let columns = (0..self.columns.len()).map(|i| Cells::Own(self.column(i).compacted()));
        Batch {
            columns: columns.collect(),
            lookup: None,
            bytes: None,
            ..self
        }
    }

    /// The same batch, weighed once: its slices take their share.
    #[must_use]
    pub fn weighed(mut self) -> Self {
        self.bytes = Some(self.size());
        self
    }

    /// The same batch, which counts as so many bytes: where far more will come of it than it has.
    #[must_use]
    pub fn counted_as(mut self, bytes: usize) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// About how many bytes the rows take; shared rows count for nothing.
    pub fn size(&self) -> usize {
        if let Some(bytes) = self.bytes {
            return bytes;
        }
        let own = self.columns.iter().map(|cells| match cells {
            Cells::Own(column) => column.size(),
            Cells::Shared(_) => 0,
        });
        own.sum::<usize>() + self.rows * 12
    }

    /// Batches of at most `rows_max` rows and about [`BYTES_MAX`] bytes, in order.
    pub fn cut(self, rows_max: usize) -> Vec<Batch> {
        let batch = self.weighed();
        let by_bytes = batch.rows / batch.size().div_ceil(BYTES_MAX).max(1);
        let step = rows_max.min(by_bytes).max(1);
        if batch.rows <= step {
            return vec![batch];
        }
        (0..batch.rows)
            .step_by(step)
            .map(|from| batch.slice(from, step.min(batch.rows - from)))
            .collect()
    }

    /// All batches as one; `empty` is what none of them gives.
    pub fn concat(batches: Vec<Batch>, empty: impl FnOnce() -> Batch) -> Batch {
        let mut batches: Vec<Batch> = batches.into_iter().map(Batch::resolve).collect();
        let Some(last) = batches.pop() else {
            return empty();
        };
        if batches.is_empty() {
            return last;
        }
        batches.push(last);
        let rows = batches.iter().map(Batch::rows).sum();
        let columns = (0..batches[0].columns.len()).map(|i| {
            let parts = batches.iter().map(|batch| match &batch.columns[i] {
                Cells::Own(column) | Cells::Shared(column) => column,
            });
            Column::concat(&parts.collect::<Vec<_>>())
        });
        let columns = columns.collect();
        let is_known = batches.iter().any(|batch| batch.origins.is_some());
        let origins: Option<Vec<u64>> = is_known.then(|| {
            let of_each = batches.iter().flat_map(|batch| {
                let unknown = vec![origin::NOWHERE; batch.rows].into();
                batch.origins.clone().unwrap_or(unknown)
            });
            of_each.collect()
        });
        Batch::new(columns, rows).with_origins(origins.map(Into::into))
    }
}

/// A new identity for a set of shared rows, unique in this process.
pub fn new_set() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What a session has worked out for shared rows, once per key (such as set and column).
pub struct Once<K, V>(Mutex<HashMap<K, Arc<OnceLock<V>>>>);

impl<K: Eq + Hash, V> Default for Once<K, V> {
    fn default() -> Self {
        Once(Mutex::default())
    }
}

impl<K: Eq + Hash, V> Once<K, V> {
    /// The value for `key`; the first to ask makes it, others wait for that.
    pub fn get(&self, key: K, make: impl FnOnce() -> V) -> Arc<OnceLock<V>> {
        let cell = self
            .0
            .lock()
            .expect("no one panics holding this lock")
            .entry(key)
            .or_default()
            .clone();
        cell.get_or_init(make);
        cell
    }
}

/// For each row of the batch the shared row's value, or the default where there is none.
pub fn look_up<T: Copy + Default>(lookup: &Lookup, values: &[T]) -> Vec<T> {
    lookup
        .rows
        .iter()
        .map(|&row| {
            if row == NONE {
                T::default()
            } else {
                values[row as usize]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(origins: Option<Vec<u64>>) -> Batch {
        let texts = Column::from_strings([Some("a"), Some("a text that no view holds itself")]);
        Batch::new(vec![texts], 2).with_origins(origins.map(Into::into))
    }

    #[test]
    fn rows_from_nowhere_stay_so_beside_others() {
        let parts = vec![batch(None), batch(Some(vec![7, 8])), batch(None)];
        let all = Batch::concat(parts, || unreachable!("there are parts"));
        let origins: Vec<Option<u64>> = (0..6).map(|row| all.origin(row)).collect();
        assert_eq!(origins, [None, None, Some(7), Some(8), None, None]);
        let all = Batch::concat(vec![batch(None), batch(None)], || unreachable!("as above"));
        assert!(all.origins().is_none());
    }

    #[test]
    fn a_view_has_the_rows_that_were_taken() {
        let all = batch(Some(vec![7, 8]));
        let view = all.view(vec![1, 0, 1], new_set());
        assert_eq!(view.origins(), all.take(&[1, 0, 1]).origins());
        let texts = |batch: &Batch| -> Vec<String> {
            let texts = batch.column(0);
            let texts = (0..batch.rows()).map(|row| texts.strings().value(row).to_owned());
            texts.collect()
        };
        assert_eq!(texts(&view), texts(&all.take(&[1, 0, 1])));
        assert_eq!(texts(&view.take(&[2]).compacted()), texts(&all.take(&[1])));
    }
}
