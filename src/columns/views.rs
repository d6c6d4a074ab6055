//! Arrays of string views: 16 bytes a value that hold short text themselves and point into shared
//! buffers for longer. The one place with `unsafe`, because checking again that views lie in their
//! buffers and that text is UTF-8 would cost more than making them: each use stands beside its proof.
#![allow(unsafe_code, reason = "text is not checked again; see each proof")]

use std::collections::HashMap;

use polars_arrow::array::{
    Array, BinaryArray, BinaryViewArray, BinaryViewArrayGeneric, Utf8Array, Utf8ViewArray, View,
    ViewType,
};
use polars_arrow::bitmap::{Bitmap, MutableBitmap};
use polars_arrow::datatypes::ArrowDataType;
use polars_arrow::offset::OffsetsBuffer;
use polars_buffer::Buffer;

use super::gather::take_values;
use super::{Column, index};

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

/// The values at `rows`; validity is theirs.
pub(super) fn take_views<T: ViewType + ?Sized>(
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

/// The values of all arrays; validity is theirs.
pub(super) fn concat_views<T: ViewType + ?Sized>(
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

/// One value a cell, sharing the cells' memory.
pub(super) fn cells(cells: Vec<Buffer<u8>>) -> BinaryViewArray {
    let views = cells
        .iter()
        .zip(0u32..)
        .map(|(cell, i)| View::new_from_bytes(cell, i, 0))
        .collect();
    // SAFETY: view `i` is made from the bytes of buffer `i`, at offset 0, whole.
    unsafe { views_unchecked(ArrowDataType::BinaryView, views, cells.into(), None) }
}

/// Views of a text array's values, sharing its memory.
pub(super) fn of_text(text: &Utf8Array<i64>) -> Utf8ViewArray {
    let (views, buffers) = views_of(text.offsets().as_slice(), text.values());
    // SAFETY: the array's values are valid UTF-8, and each view is one of them.
    unsafe {
        views_unchecked(
            ArrowDataType::Utf8View,
            views,
            buffers,
            text.validity().cloned(),
        )
    }
}

/// Views of an array's values, sharing its memory.
pub(super) fn of_bytes(bytes: &BinaryArray<i64>) -> BinaryViewArray {
    let (views, buffers) = views_of(bytes.offsets().as_slice(), bytes.values());
    // SAFETY: each view is one value of the array.
    unsafe {
        views_unchecked(
            ArrowDataType::BinaryView,
            views,
            buffers,
            bytes.validity().cloned(),
        )
    }
}

/// The values one after the other, and nothing else.
pub(super) fn compact_text(array: &Utf8ViewArray) -> Utf8Array<i64> {
    let (offsets, bytes) = compact(array);
    // SAFETY: the bytes are the values of a text array one after the other, and the offsets are where
    // each begins, so that each slice is valid UTF-8.
    unsafe {
        Utf8Array::new_unchecked(
            ArrowDataType::LargeUtf8,
            offsets,
            bytes,
            array.validity().cloned(),
        )
    }
}

/// The values one after the other, and nothing else.
pub(super) fn compact_bytes(array: &BinaryViewArray) -> BinaryArray<i64> {
    let (offsets, bytes) = compact(array);
    BinaryArray::new(
        ArrowDataType::LargeBinary,
        offsets,
        bytes,
        array.validity().cloned(),
    )
}

/// Builds a text column value by value, copying the text.
#[derive(Debug, Default)]
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
    /// Set at the first null.
    validity: Option<MutableBitmap>,
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
            validity: None,
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
        #[allow(clippy::cast_possible_truncation, reason = "`new` checked the offsets")]
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
        if let Some(validity) = &mut self.validity {
            validity.push(true);
        }
    }

    /// A value that is no slice of the text.
    pub fn push_owned(&mut self, value: &str) {
        let offset =
            u32::try_from(self.side.len()).expect("decoded values are shorter than the text");
        self.views
            .push(View::new_from_bytes(value.as_bytes(), SIDE, offset));
        self.side.push_str(value);
        if let Some(validity) = &mut self.validity {
            validity.push(true);
        }
    }

    /// A null.
    #[inline]
    pub fn push_null(&mut self) {
        let rows = self.views.len();
        self.views.push(View::default());
        let validity = self.validity.get_or_insert_with(|| {
            let mut bits = MutableBitmap::with_capacity(rows + 1);
            bits.extend_constant(rows, true);
            bits
        });
        validity.push(false);
    }

    /// Takes back all values but the first `rows`.
    pub fn truncate(&mut self, rows: usize) {
        self.views.truncate(rows);
        if let Some(validity) = &mut self.validity {
            while validity.len() > rows {
                validity.pop();
            }
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
        let validity = self.validity.map(MutableBitmap::freeze);
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
