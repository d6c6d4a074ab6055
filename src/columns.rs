//! Columns: the few Arrow arrays that a batch is made of, and the kernels that every stage shares
//! (slice, take, concatenate). The only module with `unsafe`: each use stands beside its proof.
//!
//! Text is held as Arrow string views: 16 bytes a value that point into shared buffers, so that a
//! parsed field, a gathered row and a concatenated batch copy no text.
#![allow(
    unsafe_code,
    reason = "views are built without checking their text a second time; see each proof"
)]

use std::collections::HashMap;
use std::sync::Arc;

use polars_arrow::array::{
    Array, BinaryViewArray, BinaryViewArrayGeneric, BooleanArray, ListArray, PrimitiveArray,
    Utf8ViewArray, View, ViewType,
};
use polars_arrow::bitmap::{Bitmap, MutableBitmap};
use polars_arrow::datatypes::ArrowDataType;
use polars_arrow::offset::OffsetsBuffer;
use polars_buffer::Buffer;

use crate::schema::Type;

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
        let views = cells
            .iter()
            .zip(0u32..)
            .map(|(cell, i)| View::new_from_bytes(cell, i, 0))
            .collect::<Vec<_>>();
        // SAFETY: view `i` is made from the bytes of buffer `i`, at offset 0, whole.
        Column::Bytes(unsafe {
            views_unchecked(ArrowDataType::BinaryView, views, cells.into(), None)
        })
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
                let values: Vec<i64> = parts
                    .iter()
                    .flat_map(|part| part.ints().values().iter().copied())
                    .collect();
                Column::from_ints(values, validity)
            }
            Column::Floats(_) => {
                let values: Vec<f64> = parts
                    .iter()
                    .flat_map(|part| part.floats().values().iter().copied())
                    .collect();
                Column::from_floats(values, validity)
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
    /// null, and nothing behind what is.
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

    /// The column as an Arrow array in the layout that crosses pipes and goes into files: text and
    /// lists compact, with 64-bit offsets.
    pub fn to_arrow(&self) -> Box<dyn Array> {
        use polars_arrow::array::{BinaryArray, Utf8Array};
        match self {
            Column::Strings(array) => {
                let (offsets, bytes) = compact(array);
                // SAFETY: the bytes are the values of a text array one after the other, and the
                // offsets are where each begins, so each slice is valid UTF-8.
                let text = unsafe {
                    Utf8Array::<i64>::new_unchecked(
                        ArrowDataType::LargeUtf8,
                        offsets,
                        bytes,
                        array.validity().cloned(),
                    )
                };
                text.boxed()
            }
            Column::Bytes(array) => {
                let (offsets, bytes) = compact(array);
                BinaryArray::<i64>::new(
                    ArrowDataType::LargeBinary,
                    offsets,
                    bytes,
                    array.validity().cloned(),
                )
                .boxed()
            }
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

    /// The column of an Arrow array as [`Column::to_arrow`] lays it out; `None` for any other layout.
    pub fn from_arrow(array: &dyn Array) -> Option<Column> {
        use polars_arrow::array::{BinaryArray, Utf8Array};
        let any = array.as_any();
        if let Some(text) = any.downcast_ref::<Utf8Array<i64>>() {
            let views = views_of(text.offsets().as_slice(), text.values());
            // SAFETY: the array's values are valid UTF-8, and each view is one of them.
            return Some(Column::Strings(unsafe {
                views_unchecked(
                    ArrowDataType::Utf8View,
                    views.0,
                    views.1,
                    text.validity().cloned(),
                )
            }));
        }
        if let Some(bytes) = any.downcast_ref::<BinaryArray<i64>>() {
            let views = views_of(bytes.offsets().as_slice(), bytes.values());
            // SAFETY: each view is one value of the array.
            return Some(Column::Bytes(unsafe {
                views_unchecked(
                    ArrowDataType::BinaryView,
                    views.0,
                    views.1,
                    bytes.validity().cloned(),
                )
            }));
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

/// Slicing that keeps the type: `Array::sliced` boxes.
trait SlicedTyped: Array + Clone {
    fn sliced_typed(mut self, from: usize, rows: usize) -> Self {
        self.slice(from, rows);
        self
    }
}
impl<A: Array + Clone> SlicedTyped for A {}

/// # Safety
/// Every view of a value that is not null must lie within `buffers`, and be UTF-8 if `T` is `str`.
unsafe fn views_unchecked<T: ViewType + ?Sized>(
    dtype: ArrowDataType,
    views: Vec<View>,
    buffers: Buffer<Buffer<u8>>,
    validity: Option<Bitmap>,
) -> BinaryViewArrayGeneric<T> {
    // SAFETY: the caller's promise is the constructor's.
    unsafe {
        BinaryViewArrayGeneric::new_unchecked_unknown_md(
            dtype,
            views.into(),
            buffers,
            validity,
            None,
        )
    }
}

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

fn take_values<T: Copy + Default>(values: &[T], rows: &[u32]) -> Vec<T> {
    rows.iter()
        .map(|&row| values.get(row as usize).copied().unwrap_or_default())
        .collect()
}

fn take_views<T: ViewType + ?Sized>(
    array: &BinaryViewArrayGeneric<T>,
    rows: &[u32],
    validity: Option<Bitmap>,
) -> BinaryViewArrayGeneric<T> {
    let views = take_values(array.views(), rows);
    // SAFETY: each view is one of the array's, with the array's buffers, or the empty one.
    unsafe {
        views_unchecked(
            array.dtype().clone(),
            views,
            array.data_buffers().clone(),
            validity,
        )
    }
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

/// A row's number within a batch; batches are cut long before 2^32 - 1 rows.
pub fn row_number(row: usize) -> u32 {
    u32::try_from(row)
        .ok()
        .filter(|&row| row != NONE)
        .expect("a column holds fewer than 2^32 - 1 values")
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

fn concat_views<T: ViewType + ?Sized>(
    dtype: ArrowDataType,
    arrays: &[&BinaryViewArrayGeneric<T>],
    validity: Option<Bitmap>,
) -> BinaryViewArrayGeneric<T> {
    let mut views = Vec::with_capacity(arrays.iter().map(|array| array.len()).sum());
    let mut buffers: Vec<Buffer<u8>> = Vec::new();
    // Slices of one array share its list of buffers: take that list over once.
    let mut bases: HashMap<(*const Buffer<u8>, usize), u32> = HashMap::new();
    for array in arrays {
        let shared = array.data_buffers();
        let base = *bases
            .entry((shared.as_slice().as_ptr(), shared.len()))
            .or_insert_with(|| {
                let base = u32::try_from(buffers.len()).expect("fewer than 2^32 buffers");
                buffers.extend(shared.iter().cloned());
                base
            });
        views.extend(array.views().iter().map(|&view| {
            if view.is_inline() {
                view
            } else {
                View {
                    buffer_idx: view.buffer_idx + base,
                    ..view
                }
            }
        }));
    }
    // SAFETY: a view of array `k` keeps its offset and length and points to the same buffer, which
    // stands `base` places later in the joined list.
    unsafe { views_unchecked(dtype, views, buffers.into(), validity) }
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

fn compact<T: ViewType + ?Sized>(
    array: &BinaryViewArrayGeneric<T>,
) -> (OffsetsBuffer<i64>, Buffer<u8>) {
    let mut bytes: Vec<u8> = Vec::with_capacity(array.total_bytes_len());
    let mut offsets = Vec::with_capacity(array.len() + 1);
    offsets.push(0i64);
    for i in 0..array.len() {
        if array.is_valid(i) {
            bytes.extend_from_slice(array.value(i).to_bytes());
        }
        offsets.push(i64::try_from(bytes.len()).expect("memory ends before 2^63"));
    }
    (
        OffsetsBuffer::try_from(offsets).expect("offsets grow with the bytes"),
        bytes.into(),
    )
}

/// Views of values laid one after the other. A view's offset has 32 bits, so that longer bytes are
/// cut into several buffers (which share the memory).
fn views_of(offsets: &[i64], bytes: &Buffer<u8>) -> (Vec<View>, Buffer<Buffer<u8>>) {
    let mut buffers: Vec<Buffer<u8>> = Vec::new();
    let mut base = 0;
    let mut views = Vec::with_capacity(offsets.len() - 1);
    for pair in offsets.windows(2) {
        let (from, to) = (index(pair[0]), index(pair[1]));
        if buffers.is_empty() || to - base > u32::MAX as usize {
            base = from;
            buffers.push(bytes.clone().sliced(base..));
        }
        let offset = u32::try_from(from - base).expect("within the buffer just cut");
        let buffer = u32::try_from(buffers.len() - 1).expect("few buffers");
        views.push(View::new_from_bytes(&bytes[from..to], buffer, offset));
    }
    (views, buffers.into())
}

/// Builds a text column value by value, copying the text.
#[derive(Default)]
pub struct TextBuilder {
    views: Vec<View>,
    text: Vec<u8>,
    buffers: Vec<Buffer<u8>>,
    validity: Option<MutableBitmap>,
}

impl TextBuilder {
    /// A buffer is closed at this size: offsets in a view have 32 bits, and a closed buffer is never
    /// copied while the text grows.
    const BUFFER_BYTES: usize = 1 << 20;

    /// No values yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more value.
    pub fn push(&mut self, value: Option<&str>) {
        let Some(value) = value else {
            let rows = self.views.len();
            let validity = self.validity.get_or_insert_with(|| {
                let mut bits = MutableBitmap::new();
                bits.extend_constant(rows, true);
                bits
            });
            validity.push(false);
            self.views.push(View::default());
            return;
        };
        if self.text.len() + value.len() > Self::BUFFER_BYTES && !self.text.is_empty() {
            self.buffers.push(std::mem::take(&mut self.text).into());
        }
        let offset = u32::try_from(self.text.len()).expect("a buffer is closed long before 4 GiB");
        let buffer = u32::try_from(self.buffers.len()).expect("few buffers");
        self.views
            .push(View::new_from_bytes(value.as_bytes(), buffer, offset));
        if value.len() > View::MAX_INLINE_SIZE as usize {
            self.text.extend_from_slice(value.as_bytes());
        }
        if let Some(validity) = &mut self.validity {
            validity.push(true);
        }
    }

    /// The column.
    pub fn finish(mut self) -> Column {
        self.buffers.push(self.text.into());
        let validity = self.validity.map(MutableBitmap::freeze);
        // SAFETY: each view was made from a `str` that was appended at that offset of that buffer.
        Column::Strings(unsafe {
            views_unchecked(
                ArrowDataType::Utf8View,
                self.views,
                self.buffers.into(),
                validity,
            )
        })
    }
}

/// Builds a text column whose values are mostly slices of one checked text.
pub struct SliceBuilder<'a> {
    text: &'a str,
    views: Vec<View>,
    side: String,
    validity: MutableBitmap,
    nulls: bool,
}

/// In a view: the text that values are slices of, and the side buffer for those that are not.
const TEXT: u32 = 0;
const SIDE: u32 = 1;

impl<'a> SliceBuilder<'a> {
    /// A builder of about `rows` values, slices of `text`, which must be shorter than 4 GiB.
    pub fn new(text: &'a str, rows: usize) -> Self {
        assert!(
            u32::try_from(text.len()).is_ok(),
            "a view's offset has 32 bits"
        );
        SliceBuilder {
            text,
            views: Vec::with_capacity(rows),
            side: String::new(),
            validity: MutableBitmap::with_capacity(rows),
            nulls: false,
        }
    }

    /// The value that is `text[from..to]`.
    #[inline]
    pub fn push_slice(&mut self, from: usize, to: usize) {
        let bytes = self.text.as_bytes();
        let len = to - from;
        assert!(
            to <= bytes.len() && self.text.is_char_boundary(from) && self.text.is_char_boundary(to)
        );
        #[allow(
            clippy::cast_possible_truncation,
            reason = "`new` checked that offsets fit 32 bits"
        )]
        let view = match bytes[from..].first_chunk::<16>() {
            // A short value lies in its view: loaded as 16 bytes, what lies behind it masked off.
            Some(block) if len <= View::MAX_INLINE_SIZE as usize => {
                let value = u128::from_le_bytes(*block) & ((1 << (8 * len)) - 1);
                View {
                    length: len as u32,
                    prefix: value as u32,
                    buffer_idx: (value >> 32) as u32,
                    offset: (value >> 64) as u32,
                }
            }
            Some(block) => View {
                length: len as u32,
                prefix: u32::from_le_bytes([block[0], block[1], block[2], block[3]]),
                buffer_idx: TEXT,
                offset: from as u32,
            },
            None => View::new_from_bytes(&bytes[from..to], TEXT, from as u32),
        };
        self.views.push(view);
        self.validity.push(true);
    }

    /// A value that is no slice of the text.
    pub fn push_owned(&mut self, value: &str) {
        let offset =
            u32::try_from(self.side.len()).expect("decoded values are shorter than the text");
        self.views
            .push(View::new_from_bytes(value.as_bytes(), SIDE, offset));
        self.side.push_str(value);
        self.validity.push(true);
    }

    /// A null.
    #[inline]
    pub fn push_null(&mut self) {
        self.views.push(View::default());
        self.validity.push(false);
        self.nulls = true;
    }

    /// Takes back all values but the first `rows`.
    pub fn truncate(&mut self, rows: usize) {
        self.views.truncate(rows);
        while self.validity.len() > rows {
            self.validity.pop();
        }
    }

    /// The column; `bytes` holds the builder's text.
    ///
    /// # Panics
    /// If `bytes` is not the very memory that the builder sliced.
    pub fn finish(self, bytes: &Buffer<u8>) -> Column {
        assert!(
            self.text.is_empty() || std::ptr::eq(bytes.as_slice(), self.text.as_bytes()),
            "the buffer is the builder's text"
        );
        let buffers = vec![bytes.clone(), self.side.into_bytes().into()];
        let validity = self.nulls.then(|| self.validity.freeze());
        // SAFETY: `push_slice` asserts that its bounds lie in the text and fall between characters, and
        // points to the same place in `bytes`, the same memory, or holds the value itself, laid out as
        // `View::new_inline` does; `push_owned` appends a `str` at the offset it notes.
        Column::Strings(unsafe {
            views_unchecked(
                ArrowDataType::Utf8View,
                self.views,
                buffers.into(),
                validity,
            )
        })
    }
}
