//! A column as the loop over rows wants it: what is the same for all rows looked up once.

use polars_arrow::array::{Utf8ViewArray, View};
use polars_arrow::bitmap::Bitmap;
use polars_buffer::Buffer;

use super::strings::write_view;
use super::{write_bool, write_date, write_float, write_int, write_value};
use crate::columns::{Column, List};
use crate::schema::Type;

/// A column with its values within reach.
pub(super) struct Access<'a> {
    values: Values<'a>,
    validity: Option<&'a Bitmap>,
}

enum Values<'a> {
    Text(&'a [View], &'a [Buffer<u8>]),
    /// Texts that are JSON already.
    Json(&'a Utf8ViewArray),
    Ints(&'a [i64]),
    /// The flag: instants.
    Dates(&'a [i64], bool),
    Floats(&'a [f64]),
    Bools(&'a Bitmap),
    List(&'a List, Box<Access<'a>>),
    Bytes(&'a Column),
}

impl<'a> Access<'a> {
    /// Of a column of type `ty`; `json`: its texts are JSON values.
    pub(super) fn of(column: &'a Column, ty: &Type, json: bool) -> Self {
        let values = match (column, ty) {
            (Column::Strings(array), _) if json => Values::Json(array),
            (Column::Strings(array), _) => Values::Text(array.views(), array.data_buffers()),
            (Column::Ints(array), Type::Date { utc }) => Values::Dates(array.values(), *utc),
            (Column::Ints(array), _) => Values::Ints(array.values()),
            (Column::Floats(array), _) => Values::Floats(array.values()),
            (Column::Bools(array), _) => Values::Bools(array.values()),
            (Column::Lists(list), Type::List(of)) => {
                Values::List(list, Box::new(Access::of(&list.values, of, json)))
            }
            (Column::Lists(list), _) => {
                Values::List(list, Box::new(Access::of(&list.values, ty, json)))
            }
            (Column::Bytes(_), _) => Values::Bytes(column),
        };
        Access {
            values,
            validity: column.validity(),
        }
    }

    #[inline]
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.validity.is_some_and(|validity| !validity.get_bit(row))
    }

    /// Where the value of a list of one is; of anything else, where it is itself.
    pub(super) fn unwrapped(&self, row: usize) -> (&Self, usize) {
        if let Values::List(list, values) = &self.values
            && !self.is_null(row)
            && list.range(row).len() == 1
        {
            return (values, list.range(row).start);
        }
        (self, row)
    }

    /// A value that is not null.
    #[inline]
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Text(views, buffers) => {
                out.push(b'"');
                write_view(views[row], buffers, out);
                out.push(b'"');
            }
            Values::Json(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Values::Ints(ints) => write_int(ints[row], out),
            Values::Dates(micros, utc) => write_date(micros[row], *utc, out),
            Values::Floats(floats) => write_float(floats[row], out),
            Values::Bools(bools) => write_bool(bools.get_bit(row), out),
            Values::List(list, values) => {
                out.push(b'[');
                for i in list.range(row) {
                    if values.is_null(i) {
                        out.extend_from_slice(b"null");
                    } else {
                        values.write(i, out);
                    }
                    out.push(b',');
                }
                if out.last() == Some(&b',') {
                    out.pop();
                }
                out.push(b']');
            }
            Values::Bytes(column) => write_value(column, &Type::String, row, out),
        }
    }
}
