//! Digests of outputs: over names, types and values in order, and independent of how the rows were
//! batched. Equal digests are how two runs are shown to have given the same answer.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::batch::Batch;
use crate::columns::Column;
use crate::schema::Schema;

/// A polynomial over the rows' hashes: of two stretches of rows it can be computed from theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest {
    /// How many rows.
    rows: u64,
    /// Two sums `h1 * B^(n-1) + ... + hn` modulo 2^61 - 1, with different `B`.
    sums: [u64; 2],
}

/// A Mersenne prime, so that products are reduced by shifts.
const PRIME: u64 = (1 << 61) - 1;
/// Two bases, random once and for all.
const BASES: [u64; 2] = [0x0b7e_1516_28ae_d2a6 % PRIME, 0x1f37_1d0c_ed5e_ed6b % PRIME];

fn mul(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[allow(clippy::cast_possible_truncation, reason = "both halves have 61 bits")]
    let (low, high) = ((product as u64) & PRIME, (product >> 61) as u64);
    reduce(low + high)
}

fn reduce(value: u64) -> u64 {
    let folded = (value & PRIME) + (value >> 61);
    if folded >= PRIME {
        folded - PRIME
    } else {
        folded
    }
}

fn power(base: u64, mut exponent: u64) -> u64 {
    let (mut result, mut square) = (1, base);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = mul(result, square);
        }
        square = mul(square, square);
        exponent >>= 1;
    }
    result
}

impl Digest {
    /// No rows.
    pub const EMPTY: Digest = Digest {
        rows: 0,
        sums: [0, 0],
    };

    /// The digest of a batch's rows.
    pub fn of(schema: &Schema, batch: &Batch) -> Digest {
        let header = serde_json::to_vec(schema).expect("a schema is plain data");
        let seed = xxh3_64(&header).to_le_bytes();
        let columns = batch.plain();
        let mut digest = Digest::EMPTY;
        let mut row_bytes = Vec::new();
        for row in 0..batch.rows() {
            row_bytes.clear();
            row_bytes.extend_from_slice(&seed);
            for column in &columns {
                write_value(column, row, &mut row_bytes);
            }
            let hash = xxh3_128(&row_bytes);
            #[allow(clippy::cast_possible_truncation, reason = "each half is wanted")]
            let halves = [hash as u64, (hash >> 64) as u64];
            for (i, half) in halves.into_iter().enumerate() {
                digest.sums[i] = reduce(mul(digest.sums[i], BASES[i]) + reduce(half));
            }
        }
        digest.rows = batch.rows() as u64;
        digest
    }

    /// The digest of these rows followed by others.
    #[must_use]
    pub fn then(self, next: Digest) -> Digest {
        let sum = |i: usize| reduce(mul(self.sums[i], power(BASES[i], next.rows)) + next.sums[i]);
        Digest {
            rows: self.rows + next.rows,
            sums: [sum(0), sum(1)],
        }
    }

    /// As it stands in reports.
    pub fn hex(self) -> String {
        format!("{:016x}{:016x}{:x}", self.sums[0], self.sums[1], self.rows)
    }
}

/// A value so that no two different rows give the same bytes.
fn write_value(column: &Column, row: usize, out: &mut Vec<u8>) {
    if column.is_null(row) {
        out.push(0);
        return;
    }
    out.push(1);
    match column {
        Column::Strings(text) => write_bytes(text.value(row).as_bytes(), out),
        Column::Bytes(bytes) => write_bytes(bytes.value(row), out),
        Column::Ints(ints) => out.extend_from_slice(&ints.value(row).to_le_bytes()),
        Column::Floats(floats) => out.extend_from_slice(&floats.value(row).to_bits().to_le_bytes()),
        Column::Bools(bools) => out.push(u8::from(bools.value(row))),
        Column::Lists(list) => {
            let range = list.range(row);
            out.extend_from_slice(&(range.len() as u64).to_le_bytes());
            for i in range {
                write_value(&list.values, i, out);
            }
        }
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Field, Type};

    #[test]
    fn a_digest_depends_on_values_and_order_and_not_on_borders() {
        let schema = Schema::new(vec![Field::new("a", Type::String)]).expect("one name");
        let batch = |words: &[&str]| {
            Batch::new(
                vec![Column::from_strings(words.iter().map(Some))],
                words.len(),
            )
        };
        let words = ["x", "", "yy", "x", "z"];
        let whole = Digest::of(&schema, &batch(&words));
        for cut in 0..=words.len() {
            let parts = Digest::of(&schema, &batch(&words[..cut]))
                .then(Digest::of(&schema, &batch(&words[cut..])));
            assert_eq!(parts, whole, "cut at {cut}");
        }
        assert_ne!(
            Digest::of(&schema, &batch(&["x", "yy", "", "x", "z"])),
            whole
        );
        let other = Schema::new(vec![Field::new("b", Type::String)]).expect("one name");
        assert_ne!(Digest::of(&other, &batch(&words)), whole);
    }
}
