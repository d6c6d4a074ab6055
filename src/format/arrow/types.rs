//! What other programs write: every width of number, text and list, dates and time stamps of every unit,
//! as columns of ours.

use std::sync::Arc;

use polars_arrow::array::{
    Array, BooleanArray, DictionaryArray, DictionaryKey, FixedSizeListArray, ListArray,
    PrimitiveArray, Utf8Array, Utf8ViewArray,
};
use polars_arrow::datatypes::{ArrowDataType, IntegerType, TimeUnit};
use polars_arrow::offset::OffsetsBuffer;
use polars_arrow::types::NativeType;

use crate::columns::{Column, List};
use crate::format::dates::in_years;
use crate::schema::Type;

const DAY_MICROS: i64 = 86_400_000_000;

/// The type that columns of an Arrow type have; `None`: no stage works with it.
pub(in crate::format) fn type_of(dtype: &ArrowDataType) -> Option<Type> {
    use ArrowDataType as A;
    Some(match dtype {
        A::Utf8 | A::LargeUtf8 | A::Utf8View => Type::String,
        A::Dictionary(_, of, _) if type_of(of)? == Type::String => Type::String,
        A::Int8 | A::Int16 | A::Int32 | A::Int64 | A::UInt8 | A::UInt16 | A::UInt32 | A::UInt64 => {
            Type::Int
        }
        A::Float32 | A::Float64 => Type::Float,
        A::Boolean => Type::Bool,
        A::Date32 | A::Date64 => Type::Date { utc: false },
        A::Timestamp(_, zone) => Type::Date {
            utc: zone.is_some(),
        },
        A::List(of) | A::LargeList(of) | A::FixedSizeList(of, _) => {
            Type::List(Box::new(type_of(&of.dtype)?))
        }
        _ => return None,
    })
}

/// A value that no column can hold.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::format) struct BadValue {
    /// Whose it is, from 0.
    pub(in crate::format) row: usize,
    /// What it is, in words.
    pub(in crate::format) reason: String,
}

/// The column of an array whose type [`type_of`] knows, or what is wrong with a value.
pub(in crate::format) fn column_of(array: &dyn Array) -> Result<Column, BadValue> {
    use ArrowDataType as A;
    match array.dtype() {
        A::Int8 => ints(array, |value: i8| Some(value.into())),
        A::Int16 => ints(array, |value: i16| Some(value.into())),
        A::Int32 => ints(array, |value: i32| Some(value.into())),
        A::UInt8 => ints(array, |value: u8| Some(value.into())),
        A::UInt16 => ints(array, |value: u16| Some(value.into())),
        A::UInt32 => ints(array, |value: u32| Some(value.into())),
        A::UInt64 => ints(array, |value: u64| value.try_into().ok()),
        A::Date32 => {
            let micros = |days: i32| i64::from(days).checked_mul(DAY_MICROS);
            moments(array, "days", micros)
        }
        A::Date64 => moments(array, "milliseconds", |millis: i64| {
            millis.checked_mul(1000)
        }),
        A::Timestamp(unit, _) => match unit {
            TimeUnit::Second => moments(array, "seconds", |seconds: i64| {
                seconds.checked_mul(1_000_000)
            }),
            TimeUnit::Millisecond => moments(array, "milliseconds", |millis: i64| {
                millis.checked_mul(1000)
            }),
            TimeUnit::Microsecond => {
                let micros: &PrimitiveArray<i64> = of(array);
                if micros.values().iter().all(|&micros| in_years(micros)) {
                    return as_laid_out(array);
                }
                moments(array, "microseconds", Some)
            }
            // All of them are years from 1677 to 2262.
            TimeUnit::Nanosecond => ints(array, |nanos: i64| Some(nanos.div_euclid(1000))),
        },
        A::Float32 => floats(array, |value: f32| value.into()),
        A::Float64 => {
            let numbers: &PrimitiveArray<f64> = of(array);
            if numbers.values().iter().all(|number| number.is_finite()) {
                return as_laid_out(array);
            }
            floats(array, |value: f64| value)
        }
        A::Utf8 => {
            let text: &Utf8Array<i32> = of(array);
            let offsets = OffsetsBuffer::<i64>::from(text.offsets());
            let (values, validity) = (text.values().clone(), text.validity().cloned());
            let wide = Utf8Array::<i64>::new(A::LargeUtf8, offsets, values, validity);
            as_laid_out(&wide)
        }
        A::Utf8View => {
            let text: &Utf8ViewArray = of(array);
            Ok(Column::Strings(text.clone()))
        }
        A::Dictionary(key, _, _) => match key {
            IntegerType::Int8 => dictionary::<i8>(array),
            IntegerType::Int16 => dictionary::<i16>(array),
            IntegerType::Int32 => dictionary::<i32>(array),
            IntegerType::Int64 => dictionary::<i64>(array),
            IntegerType::UInt8 => dictionary::<u8>(array),
            IntegerType::UInt16 => dictionary::<u16>(array),
            IntegerType::UInt32 => dictionary::<u32>(array),
            IntegerType::UInt64 => dictionary::<u64>(array),
            other => Err(of_all(format!("keys of type {other:?}"))),
        },
        A::List(_) => {
            let list: &ListArray<i32> = of(array);
            let offsets = OffsetsBuffer::<i64>::from(list.offsets());
            lists(&offsets, list.values().as_ref(), list)
        }
        A::LargeList(_) => {
            let list: &ListArray<i64> = of(array);
            lists(list.offsets(), list.values().as_ref(), list)
        }
        A::FixedSizeList(_, size) => {
            let list: &FixedSizeListArray = of(array);
            let size = i64::try_from(*size).map_err(|_| of_all("lists of that size".into()))?;
            let rows = i64::try_from(list.len()).expect("memory ends before 2^63");
            let offsets: Vec<i64> = (0..=rows).map(|row| row * size).collect();
            let offsets = OffsetsBuffer::try_from(offsets).expect("they rise");
            lists(&offsets, list.values().as_ref(), list)
        }
        A::Boolean => {
            let bools: &BooleanArray = of(array);
            Ok(Column::Bools(bools.clone()))
        }
        _ => as_laid_out(array),
    }
}

fn as_laid_out(array: &dyn Array) -> Result<Column, BadValue> {
    Column::from_arrow(array).ok_or_else(|| of_all(format!("type {:?}", array.dtype())))
}

/// What is wrong with every value is with the first.
fn of_all(reason: String) -> BadValue {
    BadValue { row: 0, reason }
}

/// An array as what its type says it is.
fn of<T: 'static>(array: &dyn Array) -> &T {
    let array = array.as_any().downcast_ref();
    array.expect("an array is what its type says")
}

fn ints<T: NativeType>(
    array: &dyn Array,
    int: impl Fn(T) -> Option<i64>,
) -> Result<Column, BadValue> {
    ints_or(array, int, |value| {
        format!("`{value}`, which is beyond 64 bits with a sign")
    })
}

/// Moments, from so many `units` since 1970: those that four digits of a year can say.
fn moments<T: NativeType>(
    array: &dyn Array,
    units: &str,
    micros: impl Fn(T) -> Option<i64>,
) -> Result<Column, BadValue> {
    let micros = |value| micros(value).filter(|&micros| in_years(micros));
    ints_or(array, micros, |value| {
        format!("a date outside the years 1 to 9999: `{value}` {units} since 1970")
    })
}

fn ints_or<T: NativeType>(
    array: &dyn Array,
    int: impl Fn(T) -> Option<i64>,
    reason: impl Fn(T) -> String,
) -> Result<Column, BadValue> {
    let array: &PrimitiveArray<T> = of(array);
    let mut ints = Vec::with_capacity(array.len());
    for (row, value) in array.values().iter().enumerate() {
        match int(*value) {
            Some(value) => ints.push(value),
            // What stands where a value is missing may be anything.
            None if array.is_null(row) => ints.push(0),
            None => {
                let reason = reason(*value);
                return Err(BadValue { row, reason });
            }
        }
    }
    Ok(Column::from_ints(ints, array.validity().cloned()))
}

fn floats<T: NativeType>(array: &dyn Array, float: impl Fn(T) -> f64) -> Result<Column, BadValue> {
    let array: &PrimitiveArray<T> = of(array);
    let mut floats = Vec::with_capacity(array.len());
    for (row, value) in array.values().iter().enumerate() {
        let number = float(*value);
        if array.is_null(row) {
            floats.push(0.0);
        } else if number.is_finite() {
            floats.push(number);
        } else {
            let reason = format!("`{value}`, which is not a number");
            return Err(BadValue { row, reason });
        }
    }
    Ok(Column::from_floats(floats, array.validity().cloned()))
}

fn dictionary<K: DictionaryKey>(array: &dyn Array) -> Result<Column, BadValue> {
    let array: &DictionaryArray<K> = of(array);
    let words = column_of(array.values().as_ref())?;
    let words = words.strings();
    let mut texts: Vec<Option<&str>> = Vec::with_capacity(array.len());
    for (row, key) in array.keys_iter().enumerate() {
        texts.push(match key {
            Some(key) if key < words.len() => words.get(key),
            Some(key) => {
                let reason = format!("word {key} of a dictionary of {}", words.len());
                return Err(BadValue { row, reason });
            }
            None => None,
        });
    }
    Ok(Column::Strings(Utf8ViewArray::from_slice(&texts)))
}

fn lists(
    offsets: &OffsetsBuffer<i64>,
    values: &dyn Array,
    list: &dyn Array,
) -> Result<Column, BadValue> {
    let in_list = |bad: BadValue| {
        let ends = offsets.buffer()[1..].iter();
        let row = ends
            .filter(|&&end| end <= i64::try_from(bad.row).unwrap_or(i64::MAX))
            .count();
        BadValue { row, ..bad }
    };
    Ok(Column::Lists(List {
        offsets: offsets.buffer().clone(),
        values: Arc::new(column_of(values).map_err(in_list)?),
        validity: list.validity().cloned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last days and moments that a column holds, and those after them, in every unit.
    #[test]
    fn a_date_outside_the_years_of_four_digits_is_a_bad_value() {
        const DAY: i64 = 86_400;
        let (first, end) = (-719_162 * DAY, 2_932_897 * DAY);
        let stamps = |per_second: i64, unit| {
            let dtype = ArrowDataType::Timestamp(unit, None);
            (per_second, dtype)
        };
        for (per_second, dtype) in [
            stamps(1, TimeUnit::Second),
            stamps(1000, TimeUnit::Millisecond),
            stamps(1_000_000, TimeUnit::Microsecond),
            (1000, ArrowDataType::Date64),
        ] {
            let column = |value: Option<i64>| {
                let values = PrimitiveArray::from([Some(0), value]).to(dtype.clone());
                column_of(&values)
            };
            for known in [first * per_second, end * per_second - 1] {
                assert!(column(Some(known)).is_ok(), "{dtype:?}: {known}");
            }
            for outside in [first * per_second - 1, end * per_second, i64::MIN, i64::MAX] {
                let bad = column(Some(outside)).expect_err("no year of four digits");
                assert_eq!(bad.row, 1, "{dtype:?}: {outside}");
                let says = format!("a date outside the years 1 to 9999: `{outside}` ");
                assert!(bad.reason.starts_with(&says), "{}", bad.reason);
            }
        }
        let days = PrimitiveArray::from([Some(-719_162), Some(2_932_896), None]);
        let days = days.to(ArrowDataType::Date32);
        assert!(column_of(&days).is_ok());
        let late = PrimitiveArray::from([Some(i32::MAX)]).to(ArrowDataType::Date32);
        assert!(column_of(&late).is_err());
    }

    /// What stands where a value is missing may be anything.
    #[test]
    fn a_missing_date_is_none_whatever_stands_there() {
        let micros = ArrowDataType::Timestamp(TimeUnit::Microsecond, None);
        let valid = Some([true, false].into_iter().collect());
        let values = PrimitiveArray::new(micros, vec![0, i64::MAX].into(), valid);
        assert!(column_of(&values).is_ok());
    }
}
