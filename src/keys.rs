//! Keys of rows: bytes whose order is the order of the values (strings bytewise, numbers by value,
//! null first), for grouping, joining and partitioning.

use hashbrown::HashTable;
use polars_arrow::array::Utf8ViewArray;
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::Batch;
use crate::columns::{Column, row_number};
use crate::error::{Error, Result};
use crate::schema::{Schema, Type};

/// The keys of a batch's rows.
pub enum Keys {
    /// One text column: its values are the keys.
    Text(Utf8ViewArray),
    /// Anything else, encoded: row `i` is `bytes[ends[i - 1]..ends[i]]`.
    Encoded {
        /// The keys one after the other.
        bytes: Vec<u8>,
        /// Where each ends.
        ends: Vec<usize>,
        /// Rows in which a column is null.
        nulls: Vec<bool>,
    },
}

/// Whether two rows whose key is null have the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullKeys {
    /// Null is a key like others, and the first.
    Equal,
    /// A row with a null in its key matches no other.
    MatchNothing,
}

impl Keys {
    /// The keys that `columns` of `batch` make.
    pub fn new(batch: &Batch, columns: &[usize], nulls: NullKeys) -> Keys {
        let columns: Vec<Column> = columns.iter().map(|&column| batch.column(column)).collect();
        if let [Column::Strings(text)] = columns.as_slice() {
            return Keys::Text(text.clone());
        }
        let mut bytes = Vec::with_capacity(batch.rows() * columns.len() * 9);
        let mut ends = Vec::with_capacity(batch.rows());
        let mut null_rows = Vec::new();
        for row in 0..batch.rows() {
            for column in &columns {
                encode(column, row, &mut bytes);
            }
            ends.push(bytes.len());
            if nulls == NullKeys::MatchNothing {
                null_rows.push(columns.iter().any(|column| column.is_null(row)));
            }
        }
        Keys::Encoded {
            bytes,
            ends,
            nulls: null_rows,
        }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Keys::Text(text) => text.len(),
            Keys::Encoded { ends, .. } => ends.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key of a row; `None` is the null key, which comes first.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        match self {
            Keys::Text(text) => text.get(row).map(str::as_bytes),
            Keys::Encoded { bytes, ends, nulls } => {
                if nulls.get(row) == Some(&true) {
                    return None;
                }
                let from = if row == 0 { 0 } else { ends[row - 1] };
                Some(&bytes[from..ends[row]])
            }
        }
    }
}

/// Numbers for keys, from 0 as they are first met. It keeps the keys' bytes, and of the rows nothing.
#[derive(Default)]
pub struct KeyIds {
    table: HashTable<u32>,
    hashes: Vec<u64>,
    /// The keys one after the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// The number of the null key, which has no bytes as the empty text has none.
    null: Option<u32>,
}

impl KeyIds {
    /// The number of a key, and whether it is met for the first time.
    pub fn meet(&mut self, key: Option<&[u8]>) -> (u32, bool) {
        self.meet_hashed(key, hash(key))
    }

    /// The same of a key whose [`hash`] is known.
    #[inline]
    pub fn meet_hashed(&mut self, key: Option<&[u8]>, hash: u64) -> (u32, bool) {
        let KeyIds {
            table,
            hashes,
            bytes,
            ends,
            null,
        } = self;
        let next = row_number(ends.len());
        let Some(known) = key else {
            let is_new = null.is_none();
            if is_new {
                hashes.push(hash);
                ends.push(bytes.len());
            }
            return (*null.get_or_insert(next), is_new);
        };
        let same = |&id: &u32| {
            let id = id as usize;
            let from = if id == 0 { 0 } else { ends[id - 1] };
            hashes[id] == hash && bytes[from..ends[id]] == *known
        };
        if let Some(&id) = table.find(hash, same) {
            return (id, false);
        }
        table.insert_unique(hash, next, |&id| hashes[id as usize]);
        hashes.push(hash);
        bytes.extend_from_slice(known);
        ends.push(bytes.len());
        (next, true)
    }

    /// The key of a number; `None` is the null key.
    pub fn key(&self, id: u32) -> Option<&[u8]> {
        if self.null == Some(id) {
            return None;
        }
        let id = id as usize;
        let from = if id == 0 { 0 } else { self.ends[id - 1] };
        Some(&self.bytes[from..self.ends[id]])
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What `option` names: some columns, none of them twice.
pub fn check_names(option: &str, names: &[String]) -> Result<()> {
    if names.is_empty() {
        let error = Error::usage(format!("`{option}` is empty"));
        return Err(error.hint("name one column at least").of([option]));
    }
    let twice = (1..names.len()).find(|&i| names[..i].contains(&names[i]));
    match twice {
        Some(i) => Err(
            Error::usage(format!("`{option}` names `{}` twice", names[i])).of([option, &names[i]]),
        ),
        None => Ok(()),
    }
}

/// Only columns with an order can be keys.
pub fn check(schema: &Schema, columns: &[usize]) -> Result<()> {
    for &column in columns {
        let field = &schema.fields[column];
        if matches!(field.ty, Type::List(_) | Type::Binary) {
            return Err(Error::usage(format!(
                "column `{}` is a {}, which cannot be a key",
                field.name,
                field.ty.name()
            ))
            .of([&field.name]));
        }
    }
    Ok(())
}

/// The hash of a key.
#[inline]
pub fn hash(key: Option<&[u8]>) -> u64 {
    key.map_or(0, xxh3_64)
}

/// The first eight bytes of a key as a number that sorts as they do; null sorts with the empty key.
#[inline]
pub fn prefix(key: Option<&[u8]>) -> u64 {
    let key = key.unwrap_or_default();
    if let Some(first) = key.first_chunk::<8>() {
        return u64::from_be_bytes(*first);
    }
    let mut first = [0; 8];
    first[..key.len()].copy_from_slice(key);
    u64::from_be_bytes(first)
}

/// Appends a value as a part of a key.
pub fn encode(column: &Column, row: usize, out: &mut Vec<u8>) {
    if column.is_null(row) {
        out.push(0);
        return;
    }
    out.push(1);
    match column {
        Column::Strings(text) => {
            // A zero byte becomes 00 FF and the end 00 00, so that "a" sorts before "a\0" and no key
            // is the beginning of another.
            for &byte in text.value(row).as_bytes() {
                out.push(byte);
                if byte == 0 {
                    out.push(0xFF);
                }
            }
            out.extend_from_slice(&[0, 0]);
        }
        Column::Ints(ints) => out.extend_from_slice(&(ints.value(row) ^ i64::MIN).to_be_bytes()),
        Column::Floats(floats) => {
            // Adding zero makes -0 and 0 one value.
            let bits = (floats.value(row) + 0.0).to_bits();
            let ordered = if bits >> 63 == 1 {
                !bits
            } else {
                bits | 1 << 63
            };
            out.extend_from_slice(&ordered.to_be_bytes());
        }
        Column::Bools(bools) => out.push(u8::from(bools.value(row))),
        Column::Bytes(_) | Column::Lists(_) => unreachable!("`check` refuses such keys"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_numbered_as_they_are_met() {
        let mut ids = KeyIds::default();
        let keys: [Option<&[u8]>; 7] = [
            Some(b"b"),
            None,
            Some(b""),
            Some(b"b"),
            None,
            Some(b"\0"),
            Some(b""),
        ];
        let met = keys.map(|key| ids.meet(key));
        let expected = [
            (0, true),
            (1, true),
            (2, true),
            (0, false),
            (1, false),
            (3, true),
            (2, false),
        ];
        assert_eq!(met, expected);
        assert_eq!(ids.len(), 4);
    }
}
