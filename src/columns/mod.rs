//! Columns: the few Arrow arrays that a batch is made of.
//!
//! Text is held as Arrow string views: 16 bytes a value that point into shared buffers, so that a
//! parsed field, a gathered row and a concatenated batch copy no text.

mod arrow;
mod gather;
mod views;

use std::sync::Arc;

use polars_arrow::array::{Array, BinaryViewArray, BooleanArray, PrimitiveArray, Utf8ViewArray};
use polars_arrow::bitmap::Bitmap;
use polars_arrow::datatypes::ArrowDataType;
use polars_buffer::Buffer;

use crate::schema::Type;

pub use views::{SliceBuilder, TextBuilder};

/// In a list of row numbers: no row, so null.
pub const NONE: u32 = u32::MAX;

/// The values of one column: one array, never chunks.
#[derive(Debug, Clone)]
pub enum Column {
    /// `Type::String`
    Strings(Utf8ViewArray),
    /// `Type::Binary`
    Bytes(BinaryViewArray),
    /// `Type::Int` and `Type::Date` (microseconds)
    Ints(PrimitiveArray<i64>),
    /// `Type::Float`
    Floats(PrimitiveArray<f64>),
    /// `Type::Bool`
    Bools(BooleanArray),
    /// `Type::List`
    Lists(List),
}

/// A column of lists: list `i` is `values[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone)]
pub struct List {
    /// One more than there are lists; they need not begin at 0.
    pub offsets: Buffer<i64>,
    /// The values of all lists, one after the other.
    pub values: Arc<Column>,
    /// Which lists are not null.
    pub validity: Option<Bitmap>,
}

impl List {
    /// How many lists there are.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where list `i` lies in `values`.
    pub fn range(&self, i: usize) -> std::ops::Range<usize> {
        index(self.offsets[i])..index(self.offsets[i + 1])
    }
}

/// An offset of a list as an index.
fn index(offset: i64) -> usize {
    usize::try_from(offset).expect("offsets of lists are never negative")
}

impl Column {
    /// A column of no rows.
    pub fn empty(ty: &Type) -> Column {
        Column::nulls(ty, 0)
    }

    /// A column of `rows` nulls.
    pub fn nulls(ty: &Type, rows: usize) -> Column {
        let validity = (rows > 0).then(|| Bitmap::new_zeroed(rows));
        match ty {
            Type::String => Column::Strings(Utf8ViewArray::new_null(ArrowDataType::Utf8View, rows)),
            Type::Binary => {
                Column::Bytes(BinaryViewArray::new_null(ArrowDataType::BinaryView, rows))
            }
            Type::Int | Type::Date { .. } => Column::Ints(PrimitiveArray::new(
                ArrowDataType::Int64,
                vec![0; rows].into(),
                validity,
            )),
            Type::Float => Column::Floats(PrimitiveArray::new(
                ArrowDataType::Float64,
                vec![0.0; rows].into(),
                validity,
            )),
            Type::Bool => Column::Bools(BooleanArray::new(
                ArrowDataType::Boolean,
                Bitmap::new_zeroed(rows),
                validity,
            )),
            Type::List(of) => Column::Lists(List {
                offsets: vec![0; rows + 1].into(),
                values: Arc::new(Column::empty(of)),
                validity,
            }),
        }
    }

    /// Text from owned values, for places that are not hot.
    pub fn from_strings<S: AsRef<str>>(values: impl IntoIterator<Item = Option<S>>) -> Column {
        let mut builder = TextBuilder::new();
        for value in values {
            builder.push(value.as_ref().map(AsRef::as_ref));
        }
        builder.finish()
    }

    /// Integers (or dates) from owned values.
    pub fn from_nullable_ints(values: &[Option<i64>]) -> Column {
        let validity: Bitmap = values.iter().map(Option::is_some).collect();
        let values = values.iter().map(|value| value.unwrap_or_default());
        Column::from_ints(values.collect(), Some(validity))
    }

    /// A column of integers, or of dates.
    pub fn from_ints(values: Vec<i64>, validity: Option<Bitmap>) -> Column {
        Column::Ints(PrimitiveArray::new(
            ArrowDataType::Int64,
            values.into(),
            validity,
        ))
    }

    /// Floats from owned values.
    pub fn from_floats(values: Vec<f64>, validity: Option<Bitmap>) -> Column {
        Column::Floats(PrimitiveArray::new(
            ArrowDataType::Float64,
            values.into(),
            validity,
        ))
    }

    /// Truth values from owned ones.
    pub fn from_bools(values: &[bool], validity: Option<Bitmap>) -> Column {
        let bits = Bitmap::from_trusted_len_iter(values.iter().copied());
        Column::Bools(BooleanArray::new(ArrowDataType::Boolean, bits, validity))
    }

    /// Bytes, one cell a value.
    pub fn from_cells(cells: Vec<Buffer<u8>>) -> Column {
        Column::Bytes(views::cells(cells))
    }

    /// The bytes of cell `i`, sharing its memory, where the schema says `Type::Binary`.
    pub fn cell(&self, i: usize) -> Buffer<u8> {
        let array = self.bytes();
        let view = array.views()[i];
        if view.is_inline() {
            return array.value(i).to_vec().into();
        }
        let from = view.offset as usize;
        array.data_buffers()[view.buffer_idx as usize]
            .clone()
            .sliced(from..from + view.length as usize)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Column::Strings(array) => array.len(),
            Column::Bytes(array) => array.len(),
            Column::Ints(array) => array.len(),
            Column::Floats(array) => array.len(),
            Column::Bools(array) => array.len(),
            Column::Lists(list) => list.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which values are not null; `None`: all.
    pub fn validity(&self) -> Option<&Bitmap> {
        match self {
            Column::Strings(array) => array.validity(),
            Column::Bytes(array) => array.validity(),
            Column::Ints(array) => array.validity(),
            Column::Floats(array) => array.validity(),
            Column::Bools(array) => array.validity(),
            Column::Lists(list) => list.validity.as_ref(),
        }
    }

    /// Whether value `i` is null.
    pub fn is_null(&self, i: usize) -> bool {
        self.validity().is_some_and(|validity| !validity.get_bit(i))
    }

    /// The text array, where the schema says `Type::String`.
    pub fn strings(&self) -> &Utf8ViewArray {
        match self {
            Column::Strings(array) => array,
            other => panic!("a column of strings was promised, not {}", other.kind()),
        }
    }

    /// The bytes array, where the schema says `Type::Binary`.
    pub fn bytes(&self) -> &BinaryViewArray {
        match self {
            Column::Bytes(array) => array,
            other => panic!("a column of bytes was promised, not {}", other.kind()),
        }
    }

    /// The integer array, where the schema says `Type::Int` or `Type::Date`.
    pub fn ints(&self) -> &PrimitiveArray<i64> {
        match self {
            Column::Ints(array) => array,
            other => panic!("a column of integers was promised, not {}", other.kind()),
        }
    }

    /// The float array, where the schema says `Type::Float`.
    pub fn floats(&self) -> &PrimitiveArray<f64> {
        match self {
            Column::Floats(array) => array,
            other => panic!("a column of floats was promised, not {}", other.kind()),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Column::Strings(_) => "strings",
            Column::Bytes(_) => "bytes",
            Column::Ints(_) => "integers",
            Column::Floats(_) => "floats",
            Column::Bools(_) => "booleans",
            Column::Lists(_) => "lists",
        }
    }

    /// About how many bytes the values take, shared text counted.
    pub fn size(&self) -> usize {
        match self {
            Column::Strings(array) => array.len() * 16 + array.total_bytes_len(),
            Column::Bytes(array) => array.len() * 16 + array.total_bytes_len(),
            Column::Ints(array) => array.len() * 8,
            Column::Floats(array) => array.len() * 8,
            Column::Bools(array) => array.len() / 8,
            Column::Lists(list) => {
                let used = index(list.offsets[list.len()] - list.offsets[0]);
                list.len() * 8 + list.values.size() / list.values.len().max(1) * used
            }
        }
    }
}

/// A row's number within a batch; batches are cut long before 2^32 - 1 rows.
pub fn row_number(row: usize) -> u32 {
    u32::try_from(row)
        .ok()
        .filter(|&row| row != NONE)
        .expect("a column holds fewer than 2^32 - 1 values")
}
