//! The groups of rows by their key: numbers from 0 as keys are first met. A key of one column of integers, dates or bools
//! is a number itself; any other is bytes ([`Keys`]).
//!
//! Groups are divided into partitions by the hash of their key. Where a batch has many groups, a session numbers them
//! partition by partition, so that the combiner takes a partition's states of several batches at once, and the table and
//! the states that it looks up in stay in the processor's cache.

use hashbrown::HashTable;

use crate::batch::Batch;
use crate::columns::{Column, NONE, row_number};
use crate::keys::{self, KeyIds, Keys, NullKeys};
use crate::schema::{Schema, Type};

/// How many partitions there are, if there are several: a million groups then are 16,000 each, whose states take a few MB.
pub(super) const PARTITIONS: usize = 64;

/// A batch of more groups has them numbered partition by partition.
pub(super) const MANY: usize = 4096;

/// The partition of a hash: by bits that no table looks at, which takes the lowest and the topmost ones.
#[inline]
pub(super) fn partition(hash: u64) -> usize {
    usize::try_from(hash >> 48 & 63).expect("six bits are left")
}

/// The rows with these hashes, partition by partition, in order within each.
pub(super) fn by_partition(hashes: &[i64]) -> Vec<u32> {
    let mut next = [0u32; PARTITIONS];
    for &hash in hashes {
        next[partition(hash.cast_unsigned())] += 1;
    }
    let mut begin = 0;
    for count in &mut next {
        begin += std::mem::replace(count, begin);
    }
    let mut order = vec![0; hashes.len()];
    for (row, &hash) in (0..).zip(hashes) {
        let next = &mut next[partition(hash.cast_unsigned())];
        order[*next as usize] = row;
        *next += 1;
    }
    order
}

/// The keys of a batch's rows.
pub(super) enum RowKeys {
    Ints(Column),
    Bytes(Keys),
}

/// Whether keys of these columns are numbers.
fn is_number(types: &[Type]) -> bool {
    matches!(types, [Type::Int | Type::Date { .. }])
}

/// The types of some columns.
pub(super) fn types(schema: &Schema, columns: &[usize]) -> Vec<Type> {
    let types = columns.iter().map(|&at| schema.fields[at].ty.clone());
    types.collect()
}

impl RowKeys {
    pub(super) fn new(batch: &Batch, columns: &[usize], types: &[Type]) -> Self {
        if is_number(types) {
            RowKeys::Ints(batch.column(columns[0]))
        } else {
            RowKeys::Bytes(Keys::new(batch, columns, NullKeys::Equal))
        }
    }
}

impl RowKeys {
    /// The hash of each.
    pub(super) fn hashes(&self) -> Vec<i64> {
        match self {
            RowKeys::Ints(column) => {
                let ints = column.ints().iter();
                let hash = |key: Option<&i64>| key.map_or(0, |&key| hash_int(key)).cast_signed();
                ints.map(hash).collect()
            }
            RowKeys::Bytes(keys) => {
                let rows = 0..keys.len();
                rows.map(|row| keys::hash(keys.get(row)).cast_signed())
                    .collect()
            }
        }
    }
}

/// Numbers for keys.
pub(super) enum Table {
    Ints(IntTable),
    Bytes(KeyIds),
}

impl Table {
    pub(super) fn new(types: &[Type]) -> Self {
        if is_number(types) {
            Table::Ints(IntTable::default())
        } else {
            Table::Bytes(KeyIds::default())
        }
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Table::Ints(table) => table.keys.len(),
            Table::Bytes(ids) => ids.len(),
        }
    }

    /// Appends the number of each row's key to `of`, and calls `new` for a row whose key is met for the first time, with
    /// the hash.
    pub(super) fn meet(
        &mut self,
        keys: &RowKeys,
        of: &mut Vec<u32>,
        mut new: impl FnMut(u32, u64),
    ) {
        match (self, keys) {
            (Table::Ints(table), RowKeys::Ints(column)) => {
                let ints = column.ints();
                let valid = column.validity().filter(|valid| valid.unset_bits() > 0);
                for (row, &key) in (0..).zip(ints.values().iter()) {
                    let is_null = valid.is_some_and(|valid| !valid.get_bit(row as usize));
                    let hash = if is_null { 0 } else { hash_int(key) };
                    let (id, is_new) = if is_null {
                        table.null()
                    } else {
                        table.meet(key, hash)
                    };
                    if is_new {
                        new(row, hash);
                    }
                    of.push(id);
                }
            }
            (Table::Bytes(ids), RowKeys::Bytes(keys)) => {
                for row in 0..keys.len() {
                    let key = keys.get(row);
                    let hash = keys::hash(key);
                    let (id, is_new) = ids.meet_hashed(key, hash);
                    if is_new {
                        new(row_number(row), hash);
                    }
                    of.push(id);
                }
            }
            _ => unreachable!("keys of the same columns are of one form"),
        }
    }

    /// The column of the keys, where they are numbers.
    pub(super) fn column(&self) -> Option<Column> {
        let Table::Ints(table) = self else {
            return None;
        };
        let column = Column::from_ints(table.keys.clone(), None);
        let Some(null) = table.null else {
            return Some(column);
        };
        let mut rows: Vec<u32> = (0..row_number(column.len())).collect();
        rows[null as usize] = NONE;
        Some(column.take(&rows))
    }

    /// The first bytes of a key as a number that sorts as keys do.
    pub(super) fn prefix(&self, id: u32) -> u128 {
        match self {
            Table::Ints(table) if table.null == Some(id) => 0,
            Table::Ints(table) => {
                u128::from((table.keys[id as usize] ^ i64::MIN).cast_unsigned()) + 1
            }
            Table::Bytes(ids) => {
                let key = ids.key(id);
                let next = key.and_then(|key| key.get(8..));
                u128::from(keys::prefix(key)) << 64 | u128::from(keys::prefix(next))
            }
        }
    }

    /// The key's bytes, which decide where prefixes are equal.
    pub(super) fn key(&self, id: u32) -> Option<&[u8]> {
        match self {
            Table::Ints(_) => None,
            Table::Bytes(ids) => ids.key(id),
        }
    }
}

/// Numbers for integers.
#[derive(Default)]
pub(super) struct IntTable {
    table: HashTable<(i64, u32)>,
    keys: Vec<i64>,
    null: Option<u32>,
}

impl IntTable {
    #[inline]
    fn meet(&mut self, key: i64, hash: u64) -> (u32, bool) {
        if let Some(&(_, id)) = self.table.find(hash, |entry| entry.0 == key) {
            return (id, false);
        }
        let id = row_number(self.keys.len());
        self.keys.push(key);
        self.table
            .insert_unique(hash, (key, id), |entry| hash_int(entry.0));
        (id, true)
    }

    fn null(&mut self) -> (u32, bool) {
        let is_new = self.null.is_none();
        if is_new {
            self.null = Some(row_number(self.keys.len()));
            self.keys.push(0);
        }
        (self.null.unwrap_or_default(), is_new)
    }
}

/// The halves of a product, folded: each bit of the key moves all.
#[inline]
fn hash_int(key: i64) -> u64 {
    const FACTOR: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
    let spread = u128::from(key.cast_unsigned() ^ 0x2545_F491_4F6C_DD1D).wrapping_mul(FACTOR);
    let (low, high) = super::exact::halves(spread);
    low ^ high
}
