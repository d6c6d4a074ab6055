//! Sums of floats of any magnitude: integers of thousands of bits, for the few groups that need them.

use super::exact::{Exact, add_at, halves, parts, subtract_at};

/// A number in two's complement that holds each sum of fewer than 2^60 floats, or of their squares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wide {
    limbs: Vec<u64>,
    /// The power of two of the first bit.
    least: i32,
}

impl Wide {
    /// Floats reach from 2^-1074 to 2^1024, so that 34 limbs hold 2^77 of them.
    pub(super) const SUM: (usize, i32) = (34, -1074);
    /// Squares reach from 2^-2148 to 2^2048: 67 limbs hold 2^90 of them.
    pub(super) const SQUARES: (usize, i32) = (67, -2148);

    pub(super) fn zero((limbs, least): (usize, i32)) -> Self {
        Wide {
            limbs: vec![0; limbs],
            least,
        }
    }

    pub(super) fn add(&mut self, value: f64) {
        let (negative, integer, exponent) = parts(value);
        self.add_integer(negative, integer.into(), exponent);
    }

    pub(super) fn add_square(&mut self, value: f64) {
        let (_, integer, exponent) = parts(value);
        let integer = u128::from(integer);
        self.add_integer(false, integer * integer, 2 * exponent);
    }

    fn add_integer(&mut self, negative: bool, integer: u128, exponent: i32) {
        let at = usize::try_from(exponent - self.least).expect("no power is below the least");
        let (limb, bit) = (at / 64, at % 64);
        let (low, high) = halves(integer << bit);
        let over = if bit == 0 {
            0
        } else {
            halves(integer >> (128 - bit)).0
        };
        let limbs = [low, high, over];
        if negative {
            subtract_at(&mut self.limbs[limb..], &limbs);
        } else {
            add_at(&mut self.limbs[limb..], &limbs);
        }
    }

    pub(super) fn exact(&self) -> Exact {
        let negative = self.limbs.last().is_some_and(|limb| limb >> 63 == 1);
        let mut limbs = self.limbs.clone();
        if negative {
            let mut zero = vec![0; limbs.len()];
            subtract_at(&mut zero, &limbs);
            limbs = zero;
        }
        let zeros = limbs.iter().take_while(|&&limb| limb == 0).count();
        let exponent = self.least + i32::try_from(64 * zeros).expect("there are few limbs");
        Exact::new(negative, limbs.split_off(zeros), exponent)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.limbs
            .iter()
            .flat_map(|limb| limb.to_le_bytes())
            .collect()
    }

    pub(super) fn add_bytes(&mut self, bytes: &[u8]) {
        let (limbs, _) = bytes.as_chunks::<8>();
        let limbs: Vec<u64> = limbs.iter().map(|limb| u64::from_le_bytes(*limb)).collect();
        add_at(&mut self.limbs, &limbs);
    }
}
