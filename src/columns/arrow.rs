//! Columns as Arrow arrays in the layout that crosses pipes and goes into files.

use std::sync::Arc;

use polars_arrow::array::{Array, BinaryArray, BooleanArray, ListArray, PrimitiveArray, Utf8Array};
use polars_arrow::datatypes::ArrowDataType;
use polars_arrow::offset::OffsetsBuffer;

use super::views;
use super::{Column, List, index};

impl Column {
    /// The column as an Arrow array in the layout that crosses pipes and goes into files: text and
    /// lists compact, with 64-bit offsets.
    pub fn to_arrow(&self) -> Box<dyn Array> {
        match self {
            Column::Strings(array) => views::compact_text(array).boxed(),
            // A block of text or rendered rows: it is not copied.
            Column::Bytes(array) if array.len() == 1 && !self.is_null(0) => {
                let cell = self.cell(0);
                let end = i64::try_from(cell.len()).expect("memory ends before 2^63");
                let offsets = OffsetsBuffer::try_from(vec![0, end]).expect("they rise");
                BinaryArray::new(ArrowDataType::LargeBinary, offsets, cell, None).boxed()
            }
            Column::Bytes(array) => views::compact_bytes(array).boxed(),
            Column::Ints(array) => array.clone().boxed(),
            Column::Floats(array) => array.clone().boxed(),
            Column::Bools(array) => array.clone().boxed(),
            Column::Lists(list) => {
                let first = list.offsets[0];
                let end = list.offsets[list.len()];
                let values = list
                    .values
                    .slice(index(first), index(end - first))
                    .to_arrow();
                let offsets: Vec<i64> = list.offsets.iter().map(|offset| offset - first).collect();
                let offsets =
                    OffsetsBuffer::try_from(offsets).expect("a list's offsets never fall");
                let dtype = ListArray::<i64>::default_datatype(values.dtype().clone());
                ListArray::<i64>::new(dtype, offsets, values, list.validity.clone()).boxed()
            }
        }
    }

    /// The same values in memory of their own: text and lists hold nothing of the buffers that they shared.
    #[must_use]
    pub fn compacted(&self) -> Column {
        let column = match self {
            Column::Strings(_) | Column::Bytes(_) | Column::Lists(_) => {
                Column::from_arrow(self.to_arrow().as_ref())
            }
            Column::Ints(_) | Column::Floats(_) | Column::Bools(_) => None,
        };
        column.unwrap_or_else(|| self.clone())
    }

    /// The column of an Arrow array as [`Column::to_arrow`] lays it out; `None` for any other layout.
    pub fn from_arrow(array: &dyn Array) -> Option<Column> {
        let any = array.as_any();
        if let Some(text) = any.downcast_ref::<Utf8Array<i64>>() {
            return Some(Column::Strings(views::of_text(text)));
        }
        if let Some(bytes) = any.downcast_ref::<BinaryArray<i64>>() {
            return Some(Column::Bytes(views::of_bytes(bytes)));
        }
        if let Some(ints) = any.downcast_ref::<PrimitiveArray<i64>>() {
            let values = ints.values().clone();
            return Some(Column::Ints(PrimitiveArray::new(
                ArrowDataType::Int64,
                values,
                ints.validity().cloned(),
            )));
        }
        if let Some(floats) = any.downcast_ref::<PrimitiveArray<f64>>() {
            return Some(Column::Floats(floats.clone()));
        }
        if let Some(bools) = any.downcast_ref::<BooleanArray>() {
            return Some(Column::Bools(bools.clone()));
        }
        let list = any.downcast_ref::<ListArray<i64>>()?;
        Some(Column::Lists(List {
            offsets: list.offsets().buffer().clone(),
            values: Arc::new(Column::from_arrow(list.values().as_ref())?),
            validity: list.validity().cloned(),
        }))
    }
}
