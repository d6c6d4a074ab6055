//! Documents: rows as JSON objects.
//!
//! An int is a JSON integer, a float the shortest digits that give the value back, a date ISO 8601;
//! a list of one value whose column is marked `unwrap` is that value; then null members are left out.
//!
//! Members that come from shared rows are rendered once per shared row and copied from then on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use crate::batch::{Batch, Cells, Once};
use crate::columns::{Column, List, NONE};
use crate::format::dates;
use crate::schema::{Schema, Type};

/// What becomes of null members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nulls {
    /// They are left out.
    #[default]
    Omit,
    /// They are written as `null`.
    Null,
}

/// Writes rows of one schema as JSON objects.
pub struct Writer {
    members: Vec<Member>,
    nulls: Nulls,
    /// Rendered members of shared rows, by set and first column of the stretch.
    shared: Once<(u64, usize), Stretch>,
    /// Bytes that may still be kept of them.
    budget: AtomicUsize,
}

/// What is kept of rendered shared rows in all. Beyond it they are rendered anew each time: slower,
/// but a right side of any size leaves the memory alone.
const KEPT_BYTES_MAX: usize = 512 << 20;

/// The members of shared rows, each rendered when it is first wanted.
struct Stretch(Vec<OnceLock<Box<[u8]>>>);

struct Member {
    /// `"name":`
    name: Vec<u8>,
    ty: Type,
    unwrap: bool,
}

/// Rendered rows: row `i` is `bytes[ends[i - 1]..ends[i]]`.
#[derive(Debug, Default, Clone)]
pub struct Rows {
    /// The text of all rows.
    pub bytes: Vec<u8>,
    /// Where each row ends.
    pub ends: Vec<usize>,
}

impl Rows {
    /// The text of row `i`.
    pub fn row(&self, i: usize) -> &[u8] {
        let from = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[from..self.ends[i]]
    }
}

/// A stretch of neighbouring columns that are rendered in one go.
enum Part<'a> {
    Own(usize, &'a Column),
    Shared(usize, Vec<&'a Column>, Arc<OnceLock<Stretch>>),
}

impl Writer {
    /// A writer for rows of `schema`.
    pub fn new(schema: &Schema, nulls: Nulls) -> Self {
        let members = schema.fields.iter().map(|field| {
            let mut name = Vec::new();
            write_string(field.name.as_bytes(), &mut name);
            name.push(b':');
            Member {
                name,
                ty: field.ty.clone(),
                unwrap: field.unwrap,
            }
        });
        Writer {
            members: members.collect(),
            nulls,
            shared: Once::default(),
            budget: AtomicUsize::new(KEPT_BYTES_MAX),
        }
    }

    /// The object of each row, without a newline.
    pub fn rows(&self, batch: &Batch) -> Rows {
        let mut rows = Rows {
            bytes: Vec::with_capacity(self.guess(batch)),
            ends: Vec::with_capacity(batch.rows()),
        };
        self.write(batch, b"", &mut rows);
        rows
    }

    /// The object of each row, each with a newline behind it.
    pub fn lines(&self, batch: &Batch) -> Vec<u8> {
        let mut rows = Rows {
            bytes: Vec::with_capacity(self.guess(batch)),
            ends: Vec::new(),
        };
        self.write(batch, b"\n", &mut rows);
        rows.bytes
    }

    fn guess(&self, batch: &Batch) -> usize {
        let names: usize = self
            .members
            .iter()
            .map(|member| member.name.len() + 4)
            .sum();
        batch.size() + batch.rows() * names
    }

    fn write(&self, batch: &Batch, end: &[u8], rows: &mut Rows) {
        let parts = self.parts(batch);
        let lookup = batch.lookup();
        let out = &mut rows.bytes;
        for row in 0..batch.rows() {
            out.push(b'{');
            let start = out.len();
            for part in &parts {
                match part {
                    Part::Own(at, column) => self.member(*at, column, row, out),
                    Part::Shared(first, columns, stretch) => {
                        let at = lookup.map_or(NONE, |lookup| lookup.rows[row]);
                        let kept = stretch
                            .get()
                            .filter(|_| at != NONE)
                            .map(|stretch| &stretch.0[at as usize]);
                        self.shared_members(*first, columns, at, kept, out);
                    }
                }
            }
            // Each member leaves a comma behind it.
            if out.len() > start {
                out.pop();
            }
            out.push(b'}');
            out.extend_from_slice(end);
            rows.ends.push(out.len());
        }
    }

    fn parts<'a>(&self, batch: &'a Batch) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        let mut stretch: Vec<&Column> = Vec::new();
        let cells = batch.cells();
        for (at, cell) in cells.iter().enumerate() {
            let (Cells::Own(column) | Cells::Shared(column)) = cell;
            if matches!(cell, Cells::Own(_)) {
                parts.push(Part::Own(at, column));
                continue;
            }
            stretch.push(column);
            if matches!(cells.get(at + 1), Some(Cells::Shared(_))) {
                continue;
            }
            let set = batch.lookup().map_or(0, |lookup| lookup.set);
            let first = at + 1 - stretch.len();
            let columns = std::mem::take(&mut stretch);
            let rows = columns[0].len();
            let rendered = self.shared.get((set, first), || {
                Stretch((0..rows).map(|_| OnceLock::new()).collect())
            });
            parts.push(Part::Shared(first, columns, rendered));
        }
        parts
    }

    /// The members `first..` of shared row `at`.
    #[inline]
    fn shared_members(
        &self,
        first: usize,
        columns: &[&Column],
        at: u32,
        kept: Option<&OnceLock<Box<[u8]>>>,
        out: &mut Vec<u8>,
    ) {
        if let Some(members) = kept.and_then(OnceLock::get) {
            out.extend_from_slice(members);
            return;
        }
        let from = out.len();
        for (i, column) in columns.iter().enumerate() {
            if at == NONE {
                self.null(first + i, out);
            } else {
                self.member(first + i, column, at as usize, out);
            }
        }
        let Some(cell) = kept else { return };
        let members = &out[from..];
        let spend = |budget: usize| budget.checked_sub(members.len());
        if self
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_ok()
        {
            // Another thread may have been faster: it rendered the same.
            let _ = cell.set(members.into());
        }
    }

    fn null(&self, at: usize, out: &mut Vec<u8>) {
        if self.nulls == Nulls::Null {
            out.extend_from_slice(&self.members[at].name);
            out.extend_from_slice(b"null,");
        }
    }

    /// `"name":value,` or nothing.
    #[inline]
    fn member(&self, at: usize, column: &Column, row: usize, out: &mut Vec<u8>) {
        let member = &self.members[at];
        if column.is_null(row) {
            self.null(at, out);
            return;
        }
        if let (true, Column::Lists(list)) = (member.unwrap, column) {
            let range = list.range(row);
            if range.len() == 1 {
                if list.values.is_null(range.start) {
                    self.null(at, out);
                    return;
                }
                out.extend_from_slice(&member.name);
                write_value(&list.values, element(&member.ty), range.start, out);
                out.push(b',');
                return;
            }
        }
        out.extend_from_slice(&member.name);
        write_value(column, &member.ty, row, out);
        out.push(b',');
    }
}

fn element(ty: &Type) -> &Type {
    if let Type::List(of) = ty { of } else { ty }
}

/// A value that may be null, as JSON.
pub fn write_nullable(column: &Column, ty: &Type, row: usize, out: &mut Vec<u8>) {
    if column.is_null(row) {
        out.extend_from_slice(b"null");
    } else {
        write_value(column, ty, row, out);
    }
}

/// A value that is not null, as JSON.
pub fn write_value(column: &Column, ty: &Type, row: usize, out: &mut Vec<u8>) {
    match column {
        Column::Strings(strings) => write_string(strings.value(row).as_bytes(), out),
        Column::Bytes(bytes) => {
            write_string(String::from_utf8_lossy(bytes.value(row)).as_bytes(), out)
        }
        Column::Ints(ints) => {
            if let Type::Date { utc } = ty {
                out.push(b'"');
                dates::write_iso(ints.value(row), *utc, out);
                out.push(b'"');
            } else {
                out.extend_from_slice(itoa::Buffer::new().format(ints.value(row)).as_bytes());
            }
        }
        Column::Floats(floats) => out.extend_from_slice(
            zmij::Buffer::new()
                .format_finite(floats.value(row))
                .as_bytes(),
        ),
        Column::Bools(bools) => {
            out.extend_from_slice(if bools.value(row) { b"true" } else { b"false" })
        }
        Column::Lists(list) => write_list(list, ty, row, out),
    }
}

fn write_list(list: &List, ty: &Type, row: usize, out: &mut Vec<u8>) {
    out.push(b'[');
    for i in list.range(row) {
        write_nullable(&list.values, element(ty), i, out);
        out.push(b',');
    }
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(b']');
}

/// A value that is not null as text: as in documents, but strings and dates without quotes.
pub fn write_plain(column: &Column, ty: &Type, row: usize, out: &mut Vec<u8>) {
    match (column, ty) {
        (Column::Strings(strings), _) => out.extend_from_slice(strings.value(row).as_bytes()),
        (Column::Ints(ints), Type::Date { utc }) => dates::write_iso(ints.value(row), *utc, out),
        _ => write_value(column, ty, row, out),
    }
}

/// Text between quotes, escaped as JSON wants it and no more.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut clean = 0;
    for (at, &byte) in text.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text[clean..at]);
        clean = at + 1;
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0C => b'f',
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
                continue;
            }
        };
        out.push(b'\\');
        out.push(short);
    }
    out.extend_from_slice(&text[clean..]);
    out.push(b'"');
}

/// The first row of `batch` as a JSON object, null members left out.
pub fn document(schema: &Schema, batch: &Batch) -> Map<String, Value> {
    let rows = Writer::new(schema, Nulls::Omit).rows(batch);
    serde_json::from_slice(rows.row(0)).expect("the writer writes JSON objects")
}
