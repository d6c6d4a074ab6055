//! Arithmetic on numbers. Integers never wrap: a result outside of 64 bits is a fault of its row.

use polars_arrow::array::{Array, PrimitiveArray};
use polars_arrow::bitmap::Bitmap;

use super::program::{Bad, Why};
use crate::columns::{Column, row_number};

/// What integers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IntOp {
    Add,
    Subtract,
    Multiply,
    /// Rounded down.
    Divide,
    /// What the division that rounds down leaves: its sign is the divisor's.
    Modulo,
    Power,
}

/// What floats do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FloatOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// Its sign is the divisor's.
    Modulo,
    Power,
}

/// Both arrays have a value a row, or one for all.
pub(super) fn ints(
    op: IntOp,
    a: &PrimitiveArray<i64>,
    b: &PrimitiveArray<i64>,
    rows: usize,
) -> (Column, Bad) {
    let validity = validity(a, b, rows);
    let (x, y) = (a.values().as_slice(), b.values().as_slice());
    // The sign bit is set once an operation overflows, so that the loops stay free of branches.
    let mut over = 0i64;
    let values: Vec<i64> = match op {
        IntOp::Add => zip(x, y, rows, |a, b| {
            let sum = a.wrapping_add(b);
            over |= (a ^ sum) & (b ^ sum);
            sum
        }),
        IntOp::Subtract => zip(x, y, rows, |a, b| {
            let difference = a.wrapping_sub(b);
            over |= (a ^ b) & (a ^ difference);
            difference
        }),
        IntOp::Multiply => zip(x, y, rows, |a, b| {
            let (product, overflows) = a.overflowing_mul(b);
            over |= -i64::from(overflows);
            product
        }),
        IntOp::Divide | IntOp::Modulo | IntOp::Power => zip(x, y, rows, |a, b| {
            checked(op, a, b).unwrap_or_else(|_| {
                over = -1;
                0
            })
        }),
    };
    let bad = if over < 0 {
        let why = zip(x, y, rows, |a, b| checked(op, a, b).err());
        listed(why, validity.as_ref())
    } else {
        Bad::new()
    };
    (Column::from_ints(values, validity), bad)
}

/// The same for one pair.
fn checked(op: IntOp, a: i64, b: i64) -> Result<i64, Why> {
    let result = match op {
        IntOp::Add => a.checked_add(b),
        IntOp::Subtract => a.checked_sub(b),
        IntOp::Multiply => a.checked_mul(b),
        IntOp::Divide | IntOp::Modulo if b == 0 => return Err(Why::DivisionByZero),
        IntOp::Divide => a.checked_div(b).map(|quotient| {
            let rounds_up = a % b != 0 && (a < 0) != (b < 0);
            quotient - i64::from(rounds_up)
        }),
        // The remainder of the smallest integer by -1 is 0, though its quotient overflows.
        IntOp::Modulo => {
            let rest = a.wrapping_rem(b);
            let other_sign = rest != 0 && (rest < 0) != (b < 0);
            Some(if other_sign { rest + b } else { rest })
        }
        IntOp::Power => {
            let Ok(exponent) = u32::try_from(b) else {
                // Beyond 2^32 only 0, 1 and -1 stay in 64 bits; below 0 there is no integer but for those.
                return match a {
                    1 => Ok(1),
                    -1 => Ok(if b % 2 == 0 { 1 } else { -1 }),
                    0 if b > 0 => Ok(0),
                    0 => Err(Why::DivisionByZero),
                    _ if b < 0 => Err(Why::Other(
                        "an integer has no integer as negative power".into(),
                    )),
                    _ => Err(Why::Overflow),
                };
            };
            a.checked_pow(exponent)
        }
    };
    result.ok_or(Why::Overflow)
}

/// Both arrays have a value a row, or one for all.
pub(super) fn floats(
    op: FloatOp,
    a: &PrimitiveArray<f64>,
    b: &PrimitiveArray<f64>,
    rows: usize,
) -> (Column, Bad) {
    let validity = validity(a, b, rows);
    let (x, y) = (a.values().as_slice(), b.values().as_slice());
    let mut finite = true;
    let mut note = |value: f64| {
        finite &= value.is_finite();
        value
    };
    let values: Vec<f64> = match op {
        FloatOp::Add => zip(x, y, rows, |a, b| note(a + b)),
        FloatOp::Subtract => zip(x, y, rows, |a, b| note(a - b)),
        FloatOp::Multiply => zip(x, y, rows, |a, b| note(a * b)),
        FloatOp::Divide => zip(x, y, rows, |a, b| note(a / b)),
        FloatOp::Modulo => zip(x, y, rows, |a, b| note(modulo(a, b))),
        FloatOp::Power => zip(x, y, rows, |a, b| note(a.powf(b))),
    };
    let bad = if finite {
        Bad::new()
    } else {
        let divides = matches!(op, FloatOp::Divide | FloatOp::Modulo);
        let of = |&value: &f64, divisor: f64| match value.is_finite() {
            true => None,
            false if divides && divisor == 0.0 => Some(Why::DivisionByZero),
            false => Some(Why::NotFinite),
        };
        let divisors = zip(x, y, rows, |_, b| b);
        let why = values.iter().zip(divisors).map(|(value, by)| of(value, by));
        listed(why.collect(), validity.as_ref())
    };
    (Column::from_floats(values, validity), bad)
}

/// What the division that rounds down leaves, exactly.
fn modulo(a: f64, b: f64) -> f64 {
    let rest = a % b;
    if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
        rest + b
    } else {
        rest
    }
}

/// The sum of each list of numbers, nulls left out; of integers in 128 bits before it must fit into 64.
pub(super) fn list_sums(column: &Column) -> (Column, Bad) {
    let Column::Lists(list) = column else {
        unreachable!("the schema says that the column is of lists");
    };
    let mut bad = Bad::new();
    let validity = column.validity().cloned();
    if let Column::Floats(values) = &*list.values {
        let sum = |row: usize| {
            list.range(row)
                .filter(|&at| values.is_valid(at))
                .map(|at| values.value(at))
                .sum()
        };
        let sums: Vec<f64> = (0..list.len()).map(sum).collect();
        let sums = Column::from_floats(sums, validity);
        bad.extend(not_finite(sums.floats()));
        return (sums, bad);
    }
    let values = list.values.ints();
    let mut sums = Vec::with_capacity(list.len());
    for row in 0..list.len() {
        let present = list.range(row).filter(|&at| values.is_valid(at));
        let sum: i128 = present.map(|at| i128::from(values.value(at))).sum();
        sums.push(i64::try_from(sum).unwrap_or_else(|_| {
            bad.push((row_number(row), Why::Overflow));
            0
        }));
    }
    (Column::from_ints(sums, validity), bad)
}

/// The rows with a value that is infinite or not a number.
pub(super) fn not_finite(array: &PrimitiveArray<f64>) -> Bad {
    let values = array.values().as_slice();
    if values
        .iter()
        .fold(true, |finite, value| finite & value.is_finite())
    {
        return Bad::new();
    }
    let why = values
        .iter()
        .map(|value| (!value.is_finite()).then_some(Why::NotFinite));
    listed(why.collect(), array.validity())
}

fn listed(why: Vec<Option<Why>>, validity: Option<&Bitmap>) -> Bad {
    let valid = |row: usize| validity.is_none_or(|valid| valid.get_bit(row));
    let rows = why.into_iter().enumerate();
    rows.filter(|(row, _)| valid(*row))
        .filter_map(|(row, why)| Some((row_number(row), why?)))
        .collect()
}

/// Applies `f` to each pair; an array of one value stands for all rows.
fn zip<T: Copy, U>(a: &[T], b: &[T], rows: usize, mut f: impl FnMut(T, T) -> U) -> Vec<U> {
    match (a, b) {
        (&[a], &[b]) if rows == 1 => vec![f(a, b)],
        (&[a], b) => b.iter().map(|&b| f(a, b)).collect(),
        (a, &[b]) => a.iter().map(|&a| f(a, b)).collect(),
        (a, b) => a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect(),
    }
}

/// Where both have a value.
fn validity<T: polars_arrow::types::NativeType>(
    a: &PrimitiveArray<T>,
    b: &PrimitiveArray<T>,
    rows: usize,
) -> Option<Bitmap> {
    let of = |array: &PrimitiveArray<T>| match array.validity() {
        Some(validity) if array.len() != rows => {
            Some(Bitmap::new_with_value(validity.get_bit(0), rows))
        }
        validity => validity.cloned(),
    };
    match (of(a), of(b)) {
        (Some(a), Some(b)) => Some(&a & &b),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: [i64; 9] = [
        i64::MIN,
        i64::MIN + 1,
        -7,
        -1,
        0,
        1,
        7,
        i64::MAX - 1,
        i64::MAX,
    ];

    /// The same in 128 bits.
    fn wide(op: IntOp, a: i64, b: i64) -> Option<i64> {
        let (a, b) = (i128::from(a), i128::from(b));
        let wide = match op {
            IntOp::Add => a + b,
            IntOp::Subtract => a - b,
            IntOp::Multiply => a * b,
            IntOp::Divide | IntOp::Modulo if b == 0 => return None,
            IntOp::Divide => {
                (a - a.rem_euclid(b.abs())
                    - if b < 0 && a.rem_euclid(b.abs()) != 0 {
                        b
                    } else {
                        0
                    })
                    / b
            }
            IntOp::Modulo => {
                let rest = a.rem_euclid(b.abs());
                if b < 0 && rest != 0 { rest + b } else { rest }
            }
            IntOp::Power => match (a, b) {
                (1, _) => 1,
                (-1, _) => {
                    if b % 2 == 0 {
                        1
                    } else {
                        -1
                    }
                }
                (0, 0) => 1,
                (0, b) if b > 0 => 0,
                (_, 0) => 1,
                (_, b) if !(0..64).contains(&b) => return None,
                _ => a.checked_pow(u32::try_from(b).unwrap())?,
            },
        };
        i64::try_from(wide).ok()
    }

    #[test]
    fn integers_are_as_in_128_bits_or_a_fault() {
        let pairs: Vec<(i64, i64)> = EDGES.iter().flat_map(|&a| EDGES.map(|b| (a, b))).collect();
        let column = |values: Vec<i64>| Column::from_ints(values, None);
        let a = column(pairs.iter().map(|pair| pair.0).collect());
        let b = column(pairs.iter().map(|pair| pair.1).collect());
        for op in [
            IntOp::Add,
            IntOp::Subtract,
            IntOp::Multiply,
            IntOp::Divide,
            IntOp::Modulo,
            IntOp::Power,
        ] {
            let (values, bad) = ints(op, a.ints(), b.ints(), pairs.len());
            for (row, &(x, y)) in pairs.iter().enumerate() {
                let fault = bad.iter().any(|(at, _)| *at as usize == row);
                let found = (!fault).then(|| values.ints().value(row));
                assert_eq!(found, wide(op, x, y), "{op:?} {x} {y}");
            }
        }
    }

    #[test]
    fn one_value_stands_for_all_rows_and_nulls_are_no_faults() {
        let a = Column::from_nullable_ints(&[Some(i64::MAX), None, Some(2)]);
        let one = Column::from_ints(vec![1], None);
        let (values, bad) = ints(IntOp::Add, a.ints(), one.ints(), 3);
        assert_eq!(bad, [(0, Why::Overflow)]);
        assert!(values.is_null(1) && values.ints().value(2) == 3);
        let null = Column::from_nullable_ints(&[None]);
        let (values, bad) = ints(IntOp::Divide, a.ints(), null.ints(), 3);
        assert!(bad.is_empty() && (0..3).all(|row| values.is_null(row)));
    }

    #[test]
    fn floats_that_are_not_finite_are_faults() {
        let a = Column::from_floats(vec![1.0, 0.0, f64::MAX, -5.5], None);
        let b = Column::from_floats(vec![0.0, 0.0, 0.5, 2.0], None);
        let (values, bad) = floats(FloatOp::Divide, a.floats(), b.floats(), 4);
        assert_eq!(
            bad,
            [
                (0, Why::DivisionByZero),
                (1, Why::DivisionByZero),
                (2, Why::NotFinite)
            ]
        );
        assert_eq!(values.floats().value(3).to_bits(), (-2.75f64).to_bits());
        let (values, _) = floats(FloatOp::Modulo, a.floats(), b.floats(), 4);
        assert_eq!(values.floats().value(3).to_bits(), 0.5f64.to_bits());
    }
}
