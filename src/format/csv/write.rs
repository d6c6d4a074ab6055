//! Writing CSV: LF ends a line, quotes stand only where needed, null is empty, an empty string `""`.

use crate::batch::Batch;
use crate::columns::Column;
use crate::format::dates;
use crate::format::json;
use crate::schema::{Field, Schema, Type};

/// The header line.
pub fn header(schema: &Schema) -> Vec<u8> {
    let mut line = Vec::new();
    for name in schema.names() {
        field(name, &mut line);
        line.push(b',');
    }
    line.pop();
    line.push(b'\n');
    line
}

/// A line a row.
pub fn lines(schema: &Schema, batch: &Batch) -> Vec<u8> {
    let columns = batch.plain();
    let mut out = Vec::with_capacity(batch.size());
    for row in 0..batch.rows() {
        for (column, of) in columns.iter().zip(&schema.fields) {
            if column.is_null(row) && columns.len() == 1 {
                // An empty line would be skipped when it is read.
                out.extend_from_slice(b"\"\"");
            } else if !column.is_null(row) {
                value(column, of, row, &mut out);
            }
            out.push(b',');
        }
        out.pop();
        out.push(b'\n');
    }
    out
}

fn value(column: &Column, of: &Field, row: usize, out: &mut Vec<u8>) {
    match (column, &of.ty) {
        (Column::Strings(strings), _) => field(strings.value(row), out),
        (Column::Lists(_), _) => {
            let mut text = Vec::new();
            json::write_field(column, of, row, &mut text);
            field(&String::from_utf8_lossy(&text), out);
        }
        (Column::Ints(ints), Type::Date { utc }) => dates::write_iso(ints.value(row), *utc, out),
        (_, ty) => json::write_value(column, ty, row, out),
    }
}

fn field(text: &str, out: &mut Vec<u8>) {
    let needs_quotes = text.is_empty()
        || text
            .bytes()
            .any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'));
    if !needs_quotes {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}
