//! The kernels that every stage shares: slices, picked rows, one column after the other.

use std::sync::Arc;

use polars_arrow::array::{Array, BooleanArray, PrimitiveArray};
use polars_arrow::bitmap::{Bitmap, MutableBitmap};
use polars_arrow::datatypes::ArrowDataType;

use super::views::{concat_views, take_views};
use super::{Column, List, NONE, index, row_number};

impl Column {
    /// Rows `from..from + rows`, sharing the values.
    #[must_use]
    pub fn slice(&self, from: usize, rows: usize) -> Column {
        match self {
            Column::Strings(array) => Column::Strings(array.clone().sliced_typed(from, rows)),
            Column::Bytes(array) => Column::Bytes(array.clone().sliced_typed(from, rows)),
            Column::Ints(array) => Column::Ints(array.clone().sliced_typed(from, rows)),
            Column::Floats(array) => Column::Floats(array.clone().sliced_typed(from, rows)),
            Column::Bools(array) => Column::Bools(array.clone().sliced_typed(from, rows)),
            Column::Lists(list) => Column::Lists(List {
                offsets: list.offsets.clone().sliced(from..=from + rows),
                values: list.values.clone(),
                validity: list
                    .validity
                    .as_ref()
                    .map(|validity| validity.clone().sliced(from, rows)),
            }),
        }
    }

    /// The values at `rows`, in that order; [`NONE`] gives null.
    #[must_use]
    pub fn take(&self, rows: &[u32]) -> Column {
        let validity = take_validity(self.validity(), rows);
        match self {
            Column::Strings(array) => Column::Strings(take_views(array, rows, validity)),
            Column::Bytes(array) => Column::Bytes(take_views(array, rows, validity)),
            Column::Ints(array) => Column::Ints(PrimitiveArray::new(
                ArrowDataType::Int64,
                take_values(array.values(), rows).into(),
                validity,
            )),
            Column::Floats(array) => Column::Floats(PrimitiveArray::new(
                ArrowDataType::Float64,
                take_values(array.values(), rows).into(),
                validity,
            )),
            Column::Bools(array) => {
                let values = array.values();
                let bits = Bitmap::from_trusted_len_iter(
                    rows.iter()
                        .map(|&row| row != NONE && values.get_bit(row as usize)),
                );
                Column::Bools(BooleanArray::new(ArrowDataType::Boolean, bits, validity))
            }
            Column::Lists(list) => Column::Lists(take_lists(list, rows, validity)),
        }
    }

    /// All of `parts` one after the other; at least one part.
    pub fn concat(parts: &[&Column]) -> Column {
        if let [only] = parts {
            return (*only).clone();
        }
        let validity = concat_validity(parts);
        match parts[0] {
            Column::Strings(_) => {
                let arrays: Vec<_> = parts.iter().map(|part| part.strings()).collect();
                Column::Strings(concat_views(ArrowDataType::Utf8View, &arrays, validity))
            }
            Column::Bytes(_) => {
                let arrays: Vec<_> = parts.iter().map(|part| part.bytes()).collect();
                Column::Bytes(concat_views(ArrowDataType::BinaryView, &arrays, validity))
            }
            Column::Ints(_) => {
                let slices: Vec<&[i64]> = parts
                    .iter()
                    .map(|part| part.ints().values().as_slice())
                    .collect();
                Column::from_ints(slices.concat(), validity)
            }
            Column::Floats(_) => {
                let slices: Vec<&[f64]> = parts
                    .iter()
                    .map(|part| part.floats().values().as_slice())
                    .collect();
                Column::from_floats(slices.concat(), validity)
            }
            Column::Bools(_) => {
                let mut bits =
                    MutableBitmap::with_capacity(parts.iter().map(|part| part.len()).sum());
                for part in parts {
                    let Column::Bools(array) = part else {
                        unreachable!("parts are of one type")
                    };
                    bits.extend_from_bitmap(array.values());
                }
                Column::Bools(BooleanArray::new(
                    ArrowDataType::Boolean,
                    bits.freeze(),
                    validity,
                ))
            }
            Column::Lists(_) => {
                let lists: Vec<&List> = parts
                    .iter()
                    .map(|part| match part {
                        Column::Lists(list) => list,
                        other => panic!("parts are of one type, not {}", other.kind()),
                    })
                    .collect();
                Column::Lists(concat_lists(&lists, validity))
            }
        }
    }

    /// The same values in the one form that depends on nothing but them: no validity where nothing is
    /// null, and nothing after what is.
    #[must_use]
    pub fn canonical(&self) -> Column {
        let rows = 0..row_number(self.len());
        let rows: Vec<u32> = match self.validity().filter(|validity| validity.unset_bits() > 0) {
            Some(validity) => rows
                .map(|row| {
                    if validity.get_bit(row as usize) {
                        row
                    } else {
                        NONE
                    }
                })
                .collect(),
            None => rows.collect(),
        };
        let mut column = self.clone().with_validity(None).take(&rows);
        if let Column::Lists(list) = &mut column {
            list.values = Arc::new(list.values.canonical());
        }
        column
    }

    fn with_validity(self, validity: Option<Bitmap>) -> Column {
        match self {
            Column::Strings(array) => Column::Strings(array.with_validity(validity)),
            Column::Bytes(array) => Column::Bytes(array.with_validity(validity)),
            Column::Ints(array) => Column::Ints(array.with_validity(validity)),
            Column::Floats(array) => Column::Floats(array.with_validity(validity)),
            Column::Bools(array) => Column::Bools(array.with_validity(validity)),
            Column::Lists(list) => Column::Lists(List { validity, ..list }),
        }
    }
}

/// Slicing that keeps the type: `Array::sliced` boxes.
trait SlicedTyped: Array + Clone {
    fn sliced_typed(mut self, from: usize, rows: usize) -> Self {
        self.slice(from, rows);
        self
    }
}
impl<A: Array + Clone> SlicedTyped for A {}

fn take_validity(validity: Option<&Bitmap>, rows: &[u32]) -> Option<Bitmap> {
    match validity {
        None if !rows.contains(&NONE) => None,
        None => Some(Bitmap::from_trusted_len_iter(
            rows.iter().map(|&row| row != NONE),
        )),
        Some(validity) => Some(Bitmap::from_trusted_len_iter(
            rows.iter()
                .map(|&row| row != NONE && validity.get_bit(row as usize)),
        )),
    }
}

pub(super) fn take_values<T: Copy + Default>(values: &[T], rows: &[u32]) -> Vec<T> {
    rows.iter()
        .map(|&row| values.get(row as usize).copied().unwrap_or_default())
        .collect()
}

fn take_lists(list: &List, rows: &[u32], validity: Option<Bitmap>) -> List {
    let mut offsets = Vec::with_capacity(rows.len() + 1);
    let mut end = 0i64;
    offsets.push(0);
    for &row in rows {
        if row != NONE {
            end += list.offsets[row as usize + 1] - list.offsets[row as usize];
        }
        offsets.push(end);
    }
    let mut values = Vec::with_capacity(index(end));
    for &row in rows {
        if row != NONE {
            values.extend(list.range(row as usize).map(row_number));
        }
    }
    List {
        offsets: offsets.into(),
        values: Arc::new(list.values.take(&values)),
        validity,
    }
}

fn concat_validity(parts: &[&Column]) -> Option<Bitmap> {
    if parts.iter().all(|part| part.validity().is_none()) {
        return None;
    }
    let mut bits = MutableBitmap::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        match part.validity() {
            Some(validity) => bits.extend_from_bitmap(validity),
            None => bits.extend_constant(part.len(), true),
        }
    }
    Some(bits.freeze())
}

fn concat_lists(lists: &[&List], validity: Option<Bitmap>) -> List {
    let mut offsets = vec![0i64];
    let mut end = 0;
    let mut parts = Vec::with_capacity(lists.len());
    for list in lists {
        let first = list.offsets[0];
        offsets.extend(list.offsets[1..].iter().map(|offset| end + offset - first));
        let last = list.offsets[list.len()];
        end += last - first;
        parts.push(list.values.slice(index(first), index(last - first)));
    }
    let parts: Vec<&Column> = parts.iter().collect();
    List {
        offsets: offsets.into(),
        values: Arc::new(Column::concat(&parts)),
        validity,
    }
}
