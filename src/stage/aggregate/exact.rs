//! Numbers of any size, in which sums are finished: whatever was added, and in whatever order, a result is rounded once.
//!
//! Only the last step of an aggregate computes with them, once a group. While rows are added, sums are held in less
//! ([`super::sum`]).

use std::cmp::Ordering;

/// A number, exactly: the limbs, least first, as an integer times a power of two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exact {
    negative: bool,
    /// Without zeros at the end; zero has none.
    limbs: Vec<u64>,
    exponent: i32,
}

/// The parts of a finite float: its sign, and the integer and the power of two whose product it is.
pub(super) fn parts(value: f64) -> (bool, u64, i32) {
    let bits = value.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let exponent = i32::try_from(bits >> 52 & 0x7FF).expect("11 bits are left");
    let negative = bits >> 63 == 1;
    match exponent {
        0 => (negative, fraction, -1074),
        _ => (negative, fraction | 1 << 52, exponent - 1075),
    }
}

impl Exact {
    /// The number of these limbs, whose sign is given.
    pub(super) fn new(negative: bool, mut limbs: Vec<u64>, exponent: i32) -> Self {
        trim(&mut limbs);
        Exact {
            negative: negative && !limbs.is_empty(),
            limbs,
            exponent,
        }
    }

    pub(super) fn from_float(value: f64) -> Self {
        let (negative, integer, exponent) = parts(value);
        Exact::new(negative, vec![integer], exponent)
    }

    pub(super) fn from_int(value: i128) -> Self {
        Exact::new(value < 0, limbs_of(value.unsigned_abs()), 0)
    }

    pub(super) fn times(&self, factor: u64) -> Self {
        self.product(&Exact::new(false, vec![factor], 0))
    }

    pub(super) fn product(&self, other: &Exact) -> Self {
        let mut limbs = vec![0u64; self.limbs.len() + other.limbs.len()];
        for (at, &a) in self.limbs.iter().enumerate() {
            let mut carry = 0u64;
            for (to, &b) in limbs[at..].iter_mut().zip(&other.limbs) {
                let sum = u128::from(a) * u128::from(b) + u128::from(*to) + u128::from(carry);
                (*to, carry) = halves(sum);
            }
            limbs[at + other.limbs.len()] = carry;
        }
        Exact::new(
            self.negative != other.negative,
            limbs,
            self.exponent + other.exponent,
        )
    }

    pub(super) fn plus(&self, other: &Exact) -> Self {
        let exponent = self.exponent.min(other.exponent);
        let shift = |of: &Exact| {
            let bits = usize::try_from(of.exponent - exponent).expect("the least was taken");
            shifted(&of.limbs, bits)
        };
        let (a, b) = (shift(self), shift(other));
        if self.negative == other.negative {
            return Exact::new(self.negative, added(a, &b), exponent);
        }
        match compare(&a, &b) {
            Ordering::Less => Exact::new(other.negative, subtracted(b, &a), exponent),
            _ => Exact::new(self.negative, subtracted(a, &b), exponent),
        }
    }

    pub(super) fn minus(&self, other: &Exact) -> Self {
        self.plus(&Exact {
            negative: !other.negative,
            ..other.clone()
        })
    }

    /// The quotient by all the divisors, rounded once: to the nearest float, and of two to the even one; infinite if it
    /// is out of range.
    pub(super) fn over(&self, divisors: &[u64]) -> f64 {
        let Some(quotient) = self.quotient(divisors) else {
            return 0.0;
        };
        signed(quotient.round(), self.negative)
    }

    /// The square root of that quotient, which is not negative, rounded once.
    pub(super) fn root_over(&self, divisors: &[u64]) -> f64 {
        let Some(mut quotient) = self.quotient(divisors) else {
            return 0.0;
        };
        if quotient.exponent % 2 != 0 {
            quotient.rest |= quotient.integer & 1 == 1;
            quotient.integer >>= 1;
            quotient.exponent += 1;
        }
        let root = quotient.integer.isqrt();
        // The integer has 127 bits at least, so that the root has 64: more than a float, and the rest is told.
        Rounded {
            rest: quotient.rest || root * root != quotient.integer,
            integer: root,
            exponent: quotient.exponent / 2,
        }
        .round()
    }

    /// The quotient's first 128 bits; `None` is zero.
    fn quotient(&self, divisors: &[u64]) -> Option<Rounded> {
        let top = *self.limbs.last()?;
        // So many bits that 128 are left after the divisions.
        let wanted = 64 * (divisors.len() + 3);
        let bits = 64 * self.limbs.len() - top.leading_zeros() as usize;
        let shift = wanted.saturating_sub(bits);
        let mut limbs = shifted(&self.limbs, shift);
        let mut rest = false;
        for &divisor in divisors {
            let mut remainder = 0u64;
            for limb in limbs.iter_mut().rev() {
                let part = u128::from(remainder) << 64 | u128::from(*limb);
                *limb = halves(part / u128::from(divisor)).0;
                remainder = halves(part % u128::from(divisor)).0;
            }
            rest |= remainder != 0;
        }
        trim(&mut limbs);
        let count = limbs.len();
        let zeros = limbs[count - 1].leading_zeros();
        let high = u128::from(limbs[count - 1]) << 64 | u128::from(limbs[count - 2]);
        let low = limbs[count - 3];
        // 128 bits, the first of them set.
        let integer = match zeros {
            0 => high,
            zeros => high << zeros | u128::from(low >> (64 - zeros)),
        };
        rest |= low << zeros != 0 || limbs[..count - 3].iter().any(|&limb| limb != 0);
        let below =
            i32::try_from(64 * (count - 2)).expect("a number has few limbs") - zeros.cast_signed();
        let shift = i32::try_from(shift).expect("a shift is small");
        Some(Rounded {
            integer,
            exponent: self.exponent - shift + below,
            rest,
        })
    }
}

/// An integer times a power of two, and whether a part of the last bit's unit follows.
struct Rounded {
    integer: u128,
    exponent: i32,
    rest: bool,
}

impl Rounded {
    /// The nearest float, of two the even one. The integer is not 0.
    fn round(&self) -> f64 {
        let first = 127 - self.integer.leading_zeros().cast_signed() + self.exponent;
        // A float's last bit is its 53rd, but never below that of the least float.
        let last = (first - 52).max(-1074);
        let shift = last - self.exponent;
        let mut integer = match shift {
            ..=0 => self.integer << -shift,
            1..=127 => self.integer >> shift,
            _ => 0,
        };
        if (1..=128).contains(&shift) {
            let half = 1u128 << (shift - 1);
            let below = self.integer & (half | (half - 1));
            let more = below > half || (below == half && self.rest);
            if more || (below == half && integer & 1 == 1) {
                integer += 1;
            }
        }
        // The exponent's field counts from the least one; a carry out of the integer's 53 bits raises it.
        let field = u64::try_from(last + 1075).expect("it is 1 at least");
        if field >= 0x7FF {
            return f64::INFINITY;
        }
        let integer = halves(integer).0;
        f64::from_bits((field << 52).wrapping_add(integer.wrapping_sub(1 << 52)))
    }
}

fn signed(value: f64, negative: bool) -> f64 {
    if negative { -value } else { value }
}

/// The lower and the upper half.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is meant"
)]
pub(super) fn halves(value: u128) -> (u64, u64) {
    (value as u64, (value >> 64) as u64)
}

fn limbs_of(value: u128) -> Vec<u64> {
    let (low, high) = halves(value);
    vec![low, high]
}

fn trim(limbs: &mut Vec<u64>) {
    while limbs.last() == Some(&0) {
        limbs.pop();
    }
}

fn shifted(limbs: &[u64], bits: usize) -> Vec<u64> {
    let (whole, part) = (bits / 64, bits % 64);
    let mut result = vec![0; whole];
    let mut carry = 0;
    for &limb in limbs {
        result.push(limb << part | carry);
        carry = if part == 0 { 0 } else { limb >> (64 - part) };
    }
    result.push(carry);
    trim(&mut result);
    result
}

fn compare(a: &[u64], b: &[u64]) -> Ordering {
    let lengths = a.len().cmp(&b.len());
    lengths.then_with(|| a.iter().rev().cmp(b.iter().rev()))
}

fn added(mut a: Vec<u64>, b: &[u64]) -> Vec<u64> {
    a.resize(a.len().max(b.len()) + 1, 0);
    add_at(&mut a, b);
    a
}

/// Adds to limbs that have room for the carry, which is lost after the last one.
pub(super) fn add_at(to: &mut [u64], limbs: &[u64]) {
    let mut carry = false;
    for (at, to) in to.iter_mut().enumerate() {
        if at >= limbs.len() && !carry {
            return;
        }
        let (sum, over) = to.overflowing_add(limbs.get(at).copied().unwrap_or(0));
        let (sum, more) = sum.overflowing_add(u64::from(carry));
        *to = sum;
        carry = over || more;
    }
}

/// Subtracts; what is borrowed beyond the last limb is lost.
pub(super) fn subtract_at(from: &mut [u64], limbs: &[u64]) {
    let mut borrow = false;
    for (at, from) in from.iter_mut().enumerate() {
        if at >= limbs.len() && !borrow {
            return;
        }
        let (rest, under) = from.overflowing_sub(limbs.get(at).copied().unwrap_or(0));
        let (rest, more) = rest.overflowing_sub(u64::from(borrow));
        *from = rest;
        borrow = under || more;
    }
}

/// The lesser from the greater.
fn subtracted(mut a: Vec<u64>, b: &[u64]) -> Vec<u64> {
    subtract_at(&mut a, b);
    a
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "each bit counts")]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn small_numbers_are_those_of_the_machine(a in proptest::num::i64::ANY, b in 1u64.., c in -1_000_000i64..1_000_000) {
            let int = |value: i64| Exact::from_int(value.into());
            proptest::prop_assert_eq!(int(a).plus(&int(c)), Exact::from_int(i128::from(a) + i128::from(c)));
            proptest::prop_assert_eq!(int(a).product(&int(c)), Exact::from_int(i128::from(a) * i128::from(c)));
            proptest::prop_assert_eq!(int(a).minus(&int(a)), Exact::from_int(0));
            // An integer of 53 bits over one of them is one division of floats.
            let (small, divisor) = (a >> 11, b >> 11 | 1);
            let expected = small as f64 / divisor as f64;
            proptest::prop_assert_eq!(int(small).over(&[divisor]).to_bits(), (expected + 0.0).to_bits());
            proptest::prop_assert_eq!(int(small.abs()).root_over(&[]).to_bits(), (small.abs() as f64).sqrt().to_bits());
            proptest::prop_assert_eq!(int(a).over(&[]).to_bits(), (a as f64).to_bits());
        }

        #[test]
        fn floats_come_back(bits in proptest::num::u64::ANY, divisor in 1u64..1 << 53) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let exact = Exact::from_float(value);
                proptest::prop_assert_eq!(exact.over(&[]).to_bits(), (value + 0.0).to_bits());
                // Of subnormals too: the machine divides right.
                let expected = value / divisor as f64;
                let quotient = exact.over(&[divisor]);
                proptest::prop_assert!(quotient == expected, "{} {}", quotient, expected);
                let root = exact.product(&exact).root_over(&[]);
                proptest::prop_assert_eq!(root, value.abs());
            }
        }
    }

    #[test]
    fn a_half_goes_to_the_even_neighbour_unless_something_follows() {
        let int = |value: i128| Exact::from_int(value);
        let above = (1i128 << 53) + 1;
        assert_eq!(int(above).over(&[]), 9_007_199_254_740_992.0);
        assert_eq!(int(above + 2).over(&[]), 9_007_199_254_740_996.0);
        assert_eq!(int(3 * above + 1).over(&[3]), 9_007_199_254_740_994.0);
        assert_eq!(int(2 * 3 * above).over(&[2, 3]), 9_007_199_254_740_992.0);
        let least = Exact::from_float(f64::from_bits(1));
        assert_eq!(least.over(&[2]), 0.0);
        assert_eq!(least.times(3).over(&[2]), f64::from_bits(2));
        assert_eq!(least.times(3).over(&[4]), f64::from_bits(1));
        assert_eq!(least.over(&[u64::MAX, u64::MAX]), 0.0);
        let most = Exact::from_float(f64::MAX);
        assert_eq!(most.times(2).over(&[2]), f64::MAX);
        assert_eq!(most.times(2).over(&[]), f64::INFINITY);
    }
}
