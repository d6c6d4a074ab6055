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
        A::Date32 => ints(array, |days: i32| i64::from(days).checked_mul(DAY_MICROS)),
        A::Date64 => ints(array, |millis: i64| millis.checked_mul(1000)),
        A::Timestamp(unit, _) => match unit {
            TimeUnit::Second => ints(array, |seconds: i64| seconds.checked_mul(1_000_000)),
            TimeUnit::Millisecond => ints(array, |millis: i64| millis.checked_mul(1000)),
            TimeUnit::Microsecond => as_laid_out(array),
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
    let array: &PrimitiveArray<T> = of(array);
    let mut ints = Vec::with_capacity(array.len());
    for (row, value) in array.values().iter().enumerate() {
        match int(*value) {
            Some(value) => ints.push(value),
            // What stands where a value is missing may be anything.
            None if array.is_null(row) => ints.push(0),
            None => {
                let reason = format!("`{value}`, which is beyond 64 bits with a sign");
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
    let word = |key: Option<usize>| key.and_then(|key| words.get(key));
    let texts: Vec<Option<&str>> = array.keys_iter().map(word).collect();
    let texts: Utf8ViewArray = Utf8ViewArray::from_slice(&texts);
    Ok(Column::Strings(texts))
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
