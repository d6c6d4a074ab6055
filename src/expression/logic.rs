//! Comparisons, and what is made of their results. A null is neither true nor false.

use std::cmp::Ordering;

use polars_arrow::array::BooleanArray;
use polars_arrow::bitmap::Bitmap;
use polars_arrow::datatypes::ArrowDataType;

use crate::columns::{Column, row_number};

/// How two values are compared: numbers and dates by value, texts bytewise, false before true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Equal, or both null; never null.
    Same,
}

impl Compare {
    /// What a sign of SQL asks.
    pub(super) fn of(sign: &str) -> Option<Compare> {
        Some(match sign {
            "=" => Compare::Equal,
            "<>" | "!=" => Compare::NotEqual,
            "<" => Compare::Less,
            "<=" => Compare::LessOrEqual,
            ">" => Compare::Greater,
            ">=" => Compare::GreaterOrEqual,
            "<=>" => Compare::Same,
            _ => return None,
        })
    }

    fn holds(self, order: Ordering) -> bool {
        match self {
            Compare::Equal | Compare::Same => order.is_eq(),
            Compare::NotEqual => order.is_ne(),
            Compare::Less => order.is_lt(),
            Compare::LessOrEqual => order.is_le(),
            Compare::Greater => order.is_gt(),
            Compare::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// Two columns of one type, each with a value a row, or one for all.
pub(super) fn compare(how: Compare, a: &Column, b: &Column, rows: usize) -> Column {
    let bits = match (a, b) {
        (Column::Ints(a), Column::Ints(b)) => ordered(how, a.values(), b.values(), rows, Ord::cmp),
        (Column::Floats(a), Column::Floats(b)) => {
            ordered(how, a.values(), b.values(), rows, |a, b| {
                a.partial_cmp(b).unwrap_or(Ordering::Equal)
            })
        }
        (Column::Strings(x), Column::Strings(y)) => {
            let of = |row: usize| {
                let one = x.value(at(a, row)).as_bytes();
                let other = y.value(at(b, row)).as_bytes();
                match how {
                    // Texts of other lengths differ, whatever they begin with.
                    Compare::Equal | Compare::Same => one == other,
                    Compare::NotEqual => one != other,
                    how => how.holds(one.cmp(other)),
                }
            };
            (0..rows).map(of).collect()
        }
        (Column::Bools(x), Column::Bools(y)) => {
            let of = |row| how.holds(x.value(at(a, row)).cmp(&y.value(at(b, row))));
            (0..rows).map(of).collect()
        }
        _ => unreachable!("both were made to be of one type that can be compared"),
    };
    let validity = match (spread(a, rows), spread(b, rows)) {
        (a, b) if how == Compare::Same => return same(&bits, a, b, rows),
        (Some(a), Some(b)) => Some(&a & &b),
        (a, b) => a.or(b),
    };
    bools(bits, validity)
}

/// Which value of a column stands in a row.
fn at(column: &Column, row: usize) -> usize {
    if column.len() == 1 { 0 } else { row }
}

/// Whether each pair is in the order that is asked for.
fn ordered<T: Copy>(
    how: Compare,
    a: &[T],
    b: &[T],
    rows: usize,
    order: impl Fn(&T, &T) -> Ordering + Copy,
) -> Bitmap {
    // A loop for each question: then the compiler makes a comparison of each, not a table.
    macro_rules! bits {
        ($holds:expr) => {
            match (a, b) {
                ([a], b) if rows != 1 => {
                    Bitmap::from_trusted_len_iter(b.iter().map(|b| $holds(order(a, b))))
                }
                (a, [b]) if rows != 1 => {
                    Bitmap::from_trusted_len_iter(a.iter().map(|a| $holds(order(a, b))))
                }
                (a, b) => {
                    Bitmap::from_trusted_len_iter(a.iter().zip(b).map(|(a, b)| $holds(order(a, b))))
                }
            }
        };
    }
    match how {
        Compare::Equal | Compare::Same => bits!(Ordering::is_eq),
        Compare::NotEqual => bits!(Ordering::is_ne),
        Compare::Less => bits!(Ordering::is_lt),
        Compare::LessOrEqual => bits!(Ordering::is_le),
        Compare::Greater => bits!(Ordering::is_gt),
        Compare::GreaterOrEqual => bits!(Ordering::is_ge),
    }
}

/// The validity of a column for each row.
fn spread(column: &Column, rows: usize) -> Option<Bitmap> {
    let validity = column.validity()?;
    if column.len() == 1 && rows != 1 {
        return Some(Bitmap::new_with_value(validity.get_bit(0), rows));
    }
    Some(validity.clone())
}

/// Equal values, or two nulls.
fn same(equal: &Bitmap, a: Option<Bitmap>, b: Option<Bitmap>, rows: usize) -> Column {
    let all = || Bitmap::new_with_value(true, rows);
    let (a, b) = (a.unwrap_or_else(all), b.unwrap_or_else(all));
    let both = &(&a & &b) & equal;
    let neither = &!&a & &!&b;
    bools(&both | &neither, None)
}

/// A column of bools.
pub(super) fn bools(values: Bitmap, validity: Option<Bitmap>) -> Column {
    Column::Bools(BooleanArray::new(ArrowDataType::Boolean, values, validity))
}

/// The rows where a bool is `value`.
pub(super) fn truth(column: &Column, value: bool) -> Bitmap {
    let Column::Bools(array) = column else {
        unreachable!("a condition is of bools");
    };
    let is = if value {
        array.values().clone()
    } else {
        !array.values()
    };
    match array.validity() {
        Some(validity) => &is & validity,
        None => is,
    }
}

/// `AND`: false where a side is false, else null where a side is null.
pub(super) fn and(a: &Column, b: &Column) -> Column {
    let are = &truth(a, true) & &truth(b, true);
    let one_is_not = &truth(a, false) | &truth(b, false);
    known(are, &one_is_not)
}

/// `OR`: true where a side is true, else null where a side is null.
pub(super) fn or(a: &Column, b: &Column) -> Column {
    let one_is = &truth(a, true) | &truth(b, true);
    let are_not = &truth(a, false) & &truth(b, false);
    known(one_is, &are_not)
}

/// `NOT`: null where it is null.
pub(super) fn not(a: &Column) -> Column {
    known(truth(a, false), &truth(a, true))
}

/// True in some rows, false in others, and null in the rest.
fn known(is: Bitmap, is_not: &Bitmap) -> Column {
    let valid = &is | is_not;
    let validity = (valid.unset_bits() > 0).then_some(valid);
    bools(is, validity)
}

/// In each row the value of the first condition that is true, else the last value. A value has a value a row, or one for
/// all rows.
pub(super) fn pick(conditions: &[Bitmap], values: &[&Column], rows: usize) -> Column {
    let mut begins = Vec::with_capacity(values.len());
    let mut end = 0;
    for value in values {
        begins.push(end);
        end += row_number(value.len());
    }
    let step = |at: usize| u32::from(values[at].len() != 1 || rows == 1);
    let last = values.len() - 1;
    let (begin, by) = (begins[last], step(last));
    let mut picks: Vec<u32> = (0..row_number(rows)).map(|row| begin + row * by).collect();
    // The first wins, so it is written last.
    for (at, condition) in conditions.iter().enumerate().rev() {
        let (begin, by) = (begins[at], step(at));
        for row in condition.true_idx_iter() {
            picks[row] = begin + row_number(row) * by;
        }
    }
    Column::concat(values).take(&picks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: [Option<bool>; 3] = [Some(true), Some(false), None];

    fn column(values: impl IntoIterator<Item = Option<bool>>) -> Column {
        let values: Vec<Option<bool>> = values.into_iter().collect();
        let bits: Vec<bool> = values.iter().map(|value| value.unwrap_or(false)).collect();
        Column::from_bools(&bits, Some(values.iter().map(Option::is_some).collect()))
    }

    fn values(column: &Column) -> Vec<Option<bool>> {
        let Column::Bools(array) = column else {
            panic!("not bools");
        };
        array.iter().collect()
    }

    #[test]
    fn logic_has_three_values() {
        let pairs: Vec<_> = THREE.iter().flat_map(|&a| THREE.map(|b| (a, b))).collect();
        let a = column(pairs.iter().map(|pair| pair.0));
        let b = column(pairs.iter().map(|pair| pair.1));
        let both = |(a, b): &(Option<bool>, Option<bool>)| match (a, b) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        };
        let not = |value: Option<bool>| value.map(|value| !value);
        assert_eq!(
            values(&and(&a, &b)),
            pairs.iter().map(both).collect::<Vec<_>>()
        );
        let either = pairs.iter().map(|(a, b)| not(both(&(not(*a), not(*b)))));
        assert_eq!(values(&or(&a, &b)), either.collect::<Vec<_>>());
        let nots = pairs.iter().map(|(a, _)| not(*a));
        assert_eq!(values(&super::not(&a)), nots.collect::<Vec<_>>());
    }

    #[test]
    fn comparisons_are_those_of_the_values() {
        let numbers = [Some(i64::MIN), Some(-1), None, Some(0), Some(i64::MAX)];
        let pairs: Vec<_> = numbers
            .iter()
            .flat_map(|&a| numbers.map(|b| (a, b)))
            .collect();
        let a: Vec<Option<i64>> = pairs.iter().map(|pair| pair.0).collect();
        let b: Vec<Option<i64>> = pairs.iter().map(|pair| pair.1).collect();
        let (a, b) = (
            Column::from_nullable_ints(&a),
            Column::from_nullable_ints(&b),
        );
        let texts = |column: &Column| {
            let texts = column
                .ints()
                .iter()
                .map(|value| value.map(|value| format!("{value:025}")));
            Column::from_strings(texts.collect::<Vec<_>>())
        };
        for (sign, holds) in [
            ("=", (|a, b| a == b) as fn(i64, i64) -> bool),
            ("<>", |a, b| a != b),
            ("<", |a, b| a < b),
            ("<=", |a, b| a <= b),
            (">", |a, b| a > b),
            (">=", |a, b| a >= b),
        ] {
            let how = Compare::of(sign).unwrap();
            let expected: Vec<_> = pairs
                .iter()
                .map(|(a, b)| Some(holds((*a)?, (*b)?)))
                .collect();
            assert_eq!(
                values(&compare(how, &a, &b, pairs.len())),
                expected,
                "{sign}"
            );
        }
        let equal: Vec<_> = pairs.iter().map(|(a, b)| Some(a == b)).collect();
        assert_eq!(values(&compare(Compare::Same, &a, &b, pairs.len())), equal);
        assert_eq!(
            values(&compare(Compare::Same, &texts(&a), &texts(&b), pairs.len())),
            equal
        );
    }

    #[test]
    fn the_first_condition_that_is_true_picks() {
        let mask = |bits: [bool; 4]| bits.into_iter().collect::<Bitmap>();
        let conditions = [
            mask([true, false, false, true]),
            mask([true, true, false, false]),
        ];
        let one = Column::from_ints(vec![1], None);
        let each = Column::from_nullable_ints(&[Some(10), None, Some(12), Some(13)]);
        let picked = pick(&conditions, &[&one, &each, &each], 4);
        let picked: Vec<Option<i64>> = picked.ints().iter().map(Option::<&i64>::copied).collect();
        assert_eq!(picked, [Some(1), None, Some(12), Some(1)]);
    }
}
