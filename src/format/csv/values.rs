//! Values: text into typed columns.

use polars_arrow::bitmap::MutableBitmap;
use polars_buffer::Buffer;

use super::numbers::Notation;
use super::parse::Target;
use crate::columns::{Column, SliceBuilder};
use crate::format::json::raw;

/// A column under construction.
pub(in crate::format) enum Builder<'a> {
    String(SliceBuilder<'a>),
    Int(Numbers<i64>),
    Float(Numbers<f64>),
    Bool(Numbers<bool>),
    Json(SliceBuilder<'a>),
    /// Numbers as people write them, and room to rewrite one.
    Written(Box<Builder<'a>>, Notation, String),
}

pub(in crate::format) struct Numbers<T> {
    values: Vec<T>,
    validity: MutableBitmap,
    nulls: bool,
}

impl<T: Default> Numbers<T> {
    fn new(rows: usize) -> Self {
        Numbers {
            values: Vec::with_capacity(rows),
            validity: MutableBitmap::with_capacity(rows),
            nulls: false,
        }
    }

    fn push(&mut self, value: Option<T>) {
        self.validity.push(value.is_some());
        self.nulls |= value.is_none();
        self.values.push(value.unwrap_or_default());
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        while self.validity.len() > rows {
            self.validity.pop();
        }
    }
}

impl<'a> Builder<'a> {
    pub(in crate::format) fn new(
        target: Target,
        notation: Notation,
        text: &'a str,
        rows: usize,
    ) -> Self {
        if matches!(target, Target::Int | Target::Float) && !notation.is_plain() {
            let plain = Builder::new(target, Notation::default(), text, rows);
            return Builder::Written(Box::new(plain), notation, String::new());
        }
        match target {
            Target::String => Builder::String(SliceBuilder::new(text, rows)),
            Target::Json => Builder::Json(SliceBuilder::new(text, rows)),
            Target::Int => Builder::Int(Numbers::new(rows)),
            Target::Float => Builder::Float(Numbers::new(rows)),
            Target::Bool => Builder::Bool(Numbers::new(rows)),
        }
    }

    #[inline]
    pub(in crate::format) fn null(&mut self) {
        match self {
            Builder::String(strings) | Builder::Json(strings) => strings.push_null(),
            Builder::Written(plain, ..) => plain.null(),
            Builder::Int(numbers) => numbers.push(None),
            Builder::Float(numbers) => numbers.push(None),
            Builder::Bool(numbers) => numbers.push(None),
        }
    }

    /// Appends a value; `false` if it is none of this type.
    #[inline]
    pub(in crate::format) fn value(&mut self, value: &str) -> bool {
        let fits = match self {
            Builder::String(strings) => {
                strings.push_owned(value);
                return true;
            }
            Builder::Int(numbers) => parse_int(value).map(|number| numbers.push(Some(number))),
            Builder::Float(numbers) => parse_float(value).map(|number| numbers.push(Some(number))),
            Builder::Bool(numbers) => parse_bool(value).map(|truth| numbers.push(Some(truth))),
            Builder::Json(strings) => return push_json(strings, value),
            Builder::Written(plain, notation, room) => {
                return notation.rewrite(value, room) && plain.value(room);
            }
        };
        fits.is_some()
    }

    pub(in crate::format) fn truncate(&mut self, rows: usize) {
        match self {
            Builder::String(strings) | Builder::Json(strings) => strings.truncate(rows),
            Builder::Written(plain, ..) => plain.truncate(rows),
            Builder::Int(numbers) => numbers.truncate(rows),
            Builder::Float(numbers) => numbers.truncate(rows),
            Builder::Bool(numbers) => numbers.truncate(rows),
        }
    }

    pub(in crate::format) fn finish(self, text: &Buffer<u8>) -> Column {
        match self {
            Builder::String(strings) | Builder::Json(strings) => strings.finish(text),
            Builder::Written(plain, ..) => plain.finish(text),
            Builder::Int(numbers) => Column::from_ints(
                numbers.values,
                numbers.nulls.then(|| numbers.validity.freeze()),
            ),
            Builder::Float(numbers) => Column::from_floats(
                numbers.values,
                numbers.nulls.then(|| numbers.validity.freeze()),
            ),
            Builder::Bool(numbers) => Column::from_bools(
                &numbers.values,
                numbers.nulls.then(|| numbers.validity.freeze()),
            ),
        }
    }
}

/// Appends a JSON value as it stands; `false` if it is not JSON.
fn push_json(strings: &mut SliceBuilder, value: &str) -> bool {
    let Some(value) = raw::value(value) else {
        return false;
    };
    if value == "null" {
        strings.push_null();
    } else {
        strings.push_owned(&value);
    }
    true
}

/// `[+-]?[0-9]+` in 64 bits.
pub fn parse_int(text: &str) -> Option<i64> {
    // Rust's parser takes just this notation.
    text.parse().ok()
}

/// Decimal or exponent, finite.
pub fn parse_float(text: &str) -> Option<f64> {
    // Rust's parser also takes words: `nan`, `inf`, `infinity`.
    let notation =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
    if !text.bytes().all(notation) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// true/false/t/f/1/0
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "t" | "1" => Some(true),
        "false" | "f" | "0" => Some(false),
        _ => None,
    }
}
