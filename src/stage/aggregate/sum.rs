//! Exact sums, one a group: of integers in 128 bits, of floats as a few floats that add up to them.
//!
//! A float is added to the first of `N` floats, the rounding error of that addition, which is a float too, to the
//! second, and so on. If the last error is 0, the floats add up to the exact sum. If not, they go to a number that is
//! wide enough for any sum ([`Wide`]), and the next ones begin anew: that happens where magnitudes differ widely, so
//! that few groups have one.
//!
//! # Proof
//! For finite `a` and `b` whose rounded sum `s` is finite, `a + b = s + e` exactly with the `e` of [`two_sum`] (Knuth;
//! Boldo, Graillat and Muller show that nothing else in it overflows but where `e` becomes infinite or not a number).
//! So each step of the cascade keeps the sum of the floats and the error, and when the last error is 0 that sum is the
//! floats'. An infinite `s`, and an `e` that is no number, make the last error no number, which is not 0: then the
//! floats before the cascade are kept. The sum of all is therefore exact at any time, and depends on no order.

use std::collections::HashMap;

use super::Groups;
use super::accumulator::{each_valid, invalid};
use super::exact::{Exact, halves};
use super::wide::Wide;
use crate::columns::Column;
use crate::schema::Type;

/// The sum of two floats, rounded, and the error of that.
#[inline]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

/// The square of a float, rounded, and the error of that; where neither overflows nor becomes subnormal (Dekker).
#[inline]
fn two_square(a: f64) -> (f64, f64) {
    let square = a * a;
    let cut = a * 134_217_729.0;
    let high = cut - (cut - a);
    let low = a - high;
    let error = ((high * high - square) + 2.0 * high * low) + low * low;
    (square, error)
}

/// Squares of such floats are neither out of range nor subnormal.
const SQUARED: std::ops::Range<f64> = 1e-140..1e140;

/// Sums of floats: 2 floats a group hold those of values, 4 those of squares.
#[derive(Debug)]
pub(super) struct FloatSums<const N: usize> {
    parts: Vec<[f64; N]>,
    wide: HashMap<u32, Wide>,
    scale: (usize, i32),
}

impl FloatSums<2> {
    fn of_values() -> Self {
        FloatSums::new(Wide::SUM)
    }
}

impl FloatSums<2> {
    /// The sum of a group, rounded once.
    pub(super) fn rounded(&self, group: usize) -> f64 {
        let [high, low] = self.parts[group];
        if self.wide.is_empty() {
            return high + low;
        }
        self.exact(group).over(&[])
    }
}

impl FloatSums<4> {
    fn of_squares() -> Self {
        FloatSums::new(Wide::SQUARES)
    }

    #[inline]
    fn add_square(&mut self, group: u32, value: f64) {
        if SQUARED.contains(&value.abs()) {
            let (square, error) = two_square(value);
            self.add(group, square);
            self.add(group, error);
        } else if value != 0.0 {
            self.wide(group).add_square(value);
        }
    }
}

impl<const N: usize> FloatSums<N> {
    fn new(scale: (usize, i32)) -> Self {
        FloatSums {
            parts: Vec::new(),
            wide: HashMap::new(),
            scale,
        }
    }

    fn grow(&mut self, groups: usize) {
        self.parts.resize(groups, [0.0; N]);
    }

    #[inline]
    fn add(&mut self, group: u32, value: f64) {
        let parts = &mut self.parts[group as usize];
        let mut next = *parts;
        let mut error = value;
        for part in &mut next {
            (*part, error) = two_sum(*part, error);
        }
        if error == 0.0 {
            *parts = next;
        } else {
            self.spill(group, value);
        }
    }

    /// The floats go to the wide number, and the value begins new ones.
    #[cold]
    fn spill(&mut self, group: u32, value: f64) {
        let mut next = [0.0; N];
        next[0] = value;
        let parts = std::mem::replace(&mut self.parts[group as usize], next);
        let wide = self.wide(group);
        for part in parts {
            wide.add(part);
        }
    }

    fn wide(&mut self, group: u32) -> &mut Wide {
        let scale = self.scale;
        self.wide.entry(group).or_insert_with(|| Wide::zero(scale))
    }

    /// The floats, and the wide numbers as bytes, if there are any.
    fn state(&self) -> Vec<Column> {
        let part = |at: usize| self.parts.iter().map(|parts| parts[at]).collect();
        let mut columns: Vec<Column> = (0..N)
            .map(|at| Column::from_floats(part(at), None))
            .collect();
        columns.push(self.wide_column());
        columns
    }

    fn wide_column(&self) -> Column {
        let groups = self.parts.len();
        if self.wide.is_empty() {
            // Nulls that take a bit each.
            return Column::nulls(&Type::Bool, groups);
        }
        let mut rows = vec![crate::columns::NONE; groups];
        let mut cells = Vec::new();
        for (&group, wide) in &self.wide {
            rows[group as usize] = crate::columns::row_number(cells.len());
            cells.push(wide.to_bytes().into());
        }
        Column::from_cells(cells).take(&rows)
    }

    fn merge(&mut self, state: &[Column], groups: &Groups) {
        self.grow(groups.count);
        for (at, column) in state[..N].iter().enumerate() {
            for (&value, &group) in column.floats().values().iter().zip(groups.of) {
                // Most sums are one float.
                if at == 0 || value != 0.0 {
                    self.add(group, value);
                }
            }
        }
        let wide = &state[N];
        if let Column::Bytes(_) = wide {
            each_valid(wide, |row| {
                self.wide(groups.of[row]).add_bytes(wide.bytes().value(row));
            });
        }
    }

    fn exact(&self, group: usize) -> Exact {
        let mut sum = Exact::from_int(0);
        if let Some(wide) = self.wide.get(&crate::columns::row_number(group)) {
            sum = wide.exact();
        }
        for &part in &self.parts[group] {
            if part != 0.0 {
                sum = sum.plus(&Exact::from_float(part));
            }
        }
        sum
    }
}

/// Exact sums of values.
pub(super) enum Sums {
    Ints(Vec<i128>),
    Floats(FloatSums<2>),
}

impl Sums {
    /// Of values of this type, which is a number.
    pub(super) fn of(ty: &Type) -> Self {
        match ty {
            Type::Float => Sums::Floats(FloatSums::of_values()),
            _ => Sums::Ints(Vec::new()),
        }
    }

    pub(super) fn width(&self) -> usize {
        match self {
            Sums::Ints(_) => 2,
            Sums::Floats(_) => 3,
        }
    }

    pub(super) fn grow(&mut self, groups: usize) {
        match self {
            Sums::Ints(sums) => sums.resize(groups, 0),
            Sums::Floats(sums) => sums.grow(groups),
        }
    }

    pub(super) fn update(&mut self, values: &Column, groups: &Groups) {
        self.grow(groups.count);
        match self {
            Sums::Ints(sums) => {
                let values = values.ints();
                if invalid(values.validity()) == 0 {
                    for (&value, &group) in values.values().iter().zip(groups.of) {
                        sums[group as usize] += i128::from(value);
                    }
                } else {
                    for (value, &group) in values.iter().zip(groups.of) {
                        sums[group as usize] += i128::from(value.copied().unwrap_or(0));
                    }
                }
            }
            Sums::Floats(sums) => {
                let floats = values.floats().values();
                each_valid(values, |row| sums.add(groups.of[row], floats[row]));
            }
        }
    }

    pub(super) fn state(&self) -> Vec<Column> {
        match self {
            Sums::Ints(sums) => {
                let limb = |at: u32| {
                    let limb = |sum: &i128| halves((sum >> (64 * at)).cast_unsigned()).0;
                    let limbs = sums.iter().map(|sum| limb(sum).cast_signed());
                    Column::from_ints(limbs.collect(), None)
                };
                vec![limb(0), limb(1)]
            }
            Sums::Floats(sums) => sums.state(),
        }
    }

    pub(super) fn merge(&mut self, state: &[Column], groups: &Groups) {
        self.grow(groups.count);
        match self {
            Sums::Ints(sums) => {
                let (low, high) = (state[0].ints().values(), state[1].ints().values());
                for ((&low, &high), &group) in low.iter().zip(high.iter()).zip(groups.of) {
                    let sum = i128::from(high) << 64 | i128::from(low.cast_unsigned());
                    sums[group as usize] += sum;
                }
            }
            Sums::Floats(sums) => sums.merge(state, groups),
        }
    }

    /// The sum of a group, exactly.
    pub(super) fn exact(&self, group: usize) -> Exact {
        match self {
            Sums::Ints(sums) => Exact::from_int(sums[group]),
            Sums::Floats(sums) => sums.exact(group),
        }
    }

    /// The sum of a group over a number that is not 0, rounded once.
    pub(super) fn mean(&self, group: usize, count: u64) -> f64 {
        // What a float holds exactly is divided as it is.
        const EXACT: u64 = 1 << 53;
        if count < EXACT {
            match self {
                Sums::Ints(sums) if sums[group].unsigned_abs() < u128::from(EXACT) => {
                    return sums[group] as f64 / count as f64;
                }
                Sums::Floats(sums) if sums.wide.is_empty() => {
                    if let Some(mean) = quick_mean(sums.parts[group], count as f64) {
                        return mean;
                    }
                }
                _ => {}
            }
        }
        self.exact(group).over(&[count])
    }
}

/// The quotient of a sum of two floats, rounded once, where the approximation is good enough to show it (as Ziv does).
fn quick_mean([high, low]: [f64; 2], count: f64) -> Option<f64> {
    let (high, low) = two_sum(high, low);
    if !high.is_finite() {
        return None;
    }
    let quotient = high / count;
    if low == 0.0 {
        return Some(quotient);
    }
    if !SQUARED.contains(&quotient.abs()) {
        return None;
    }
    // The remainder is a float; the correction is right but for three roundings, so to within 2^-50 of itself.
    let correction = ((-quotient).mul_add(count, high) + low) / count;
    let error = correction * 2f64.powi(-50);
    let (one, other) = (
        quotient + (correction - error),
        quotient + (correction + error),
    );
    (one.to_bits() == other.to_bits()).then_some(one)
}

/// Exact sums of squares.
pub(super) enum Squares {
    /// In 192 bits.
    Ints(Vec<(u128, u64)>),
    Floats(FloatSums<4>),
}

impl Squares {
    pub(super) fn of(ty: &Type) -> Self {
        match ty {
            Type::Float => Squares::Floats(FloatSums::of_squares()),
            _ => Squares::Ints(Vec::new()),
        }
    }

    pub(super) fn width(&self) -> usize {
        match self {
            Squares::Ints(_) => 3,
            Squares::Floats(_) => 5,
        }
    }

    pub(super) fn grow(&mut self, groups: usize) {
        match self {
            Squares::Ints(sums) => sums.resize(groups, (0, 0)),
            Squares::Floats(sums) => sums.grow(groups),
        }
    }

    pub(super) fn update(&mut self, values: &Column, groups: &Groups) {
        self.grow(groups.count);
        match self {
            Squares::Ints(sums) => {
                let ints = values.ints().values();
                each_valid(values, |row| {
                    let value = u128::from(ints[row].unsigned_abs());
                    add_square(&mut sums[groups.of[row] as usize], value * value, 0);
                });
            }
            Squares::Floats(sums) => {
                let floats = values.floats().values();
                each_valid(values, |row| sums.add_square(groups.of[row], floats[row]));
            }
        }
    }

    pub(super) fn state(&self) -> Vec<Column> {
        match self {
            Squares::Ints(sums) => {
                let column = |limb: &dyn Fn(&(u128, u64)) -> u64| {
                    let limbs = sums.iter().map(|sum| limb(sum).cast_signed());
                    Column::from_ints(limbs.collect(), None)
                };
                vec![
                    column(&|sum| halves(sum.0).0),
                    column(&|sum| halves(sum.0).1),
                    column(&|sum| sum.1),
                ]
            }
            Squares::Floats(sums) => sums.state(),
        }
    }

    pub(super) fn merge(&mut self, state: &[Column], groups: &Groups) {
        self.grow(groups.count);
        match self {
            Squares::Ints(sums) => {
                let limb = |at: usize, row: usize| state[at].ints().value(row).cast_unsigned();
                for (row, &group) in groups.of.iter().enumerate() {
                    let low = u128::from(limb(1, row)) << 64 | u128::from(limb(0, row));
                    add_square(&mut sums[group as usize], low, limb(2, row));
                }
            }
            Squares::Floats(sums) => sums.merge(state, groups),
        }
    }

    /// The standard deviation of a group of two values at least, rounded once.
    pub(super) fn deviation(&self, sums: &Sums, group: usize, count: u64) -> f64 {
        if let (Squares::Ints(squares), Sums::Ints(sums)) = (self, sums)
            && let (square, 0) = squares[group]
            && let Some(deviation) = quick_deviation(square, sums[group], count)
        {
            return deviation;
        }
        let sum = sums.exact(group);
        let squares = self.exact(group).times(count);
        squares
            .minus(&sum.product(&sum))
            .root_over(&[count, count - 1])
    }

    fn exact(&self, group: usize) -> Exact {
        match self {
            Squares::Ints(sums) => {
                let (low, high) = halves(sums[group].0);
                Exact::new(false, vec![low, high, sums[group].1], 0)
            }
            Squares::Floats(sums) => sums.exact(group),
        }
    }
}

fn add_square(sum: &mut (u128, u64), low: u128, high: u64) {
    let (total, over) = sum.0.overflowing_add(low);
    *sum = (total, sum.1 + high + u64::from(over));
}

/// The standard deviation, rounded once, where the approximation by two floats is good enough to show it.
fn quick_deviation(squares: u128, sum: i128, count: u64) -> Option<f64> {
    let square = sum.unsigned_abs().checked_mul(sum.unsigned_abs())?;
    // Never negative (Cauchy, Schwarz).
    let number = squares.checked_mul(count.into())? - square;
    let divisor = u128::from(count) * u128::from(count - 1);
    if number >= 1 << 100 || divisor >= 1 << 53 {
        return None;
    }
    if number == 0 {
        return Some(0.0);
    }
    let number = number.cast_signed();
    let high = number as f64;
    #[allow(clippy::cast_possible_truncation, reason = "it is below 2^101")]
    let low = (number - high as i128) as f64;
    let divisor = divisor as f64;
    // The quotient as two floats, then the root as two: errors of 2^-100 and of 2^-98 of it, to be generous 2^-80.
    let quotient = high / divisor;
    let more = ((-quotient).mul_add(divisor, high) + low) / divisor;
    let root = quotient.sqrt();
    let correction = ((-root).mul_add(root, quotient) + more) / (2.0 * root);
    let error = root * 2f64.powi(-80);
    let (one, other) = (root + (correction - error), root + (correction + error));
    (one.to_bits() == other.to_bits()).then_some(one)
}
