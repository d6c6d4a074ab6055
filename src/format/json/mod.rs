//! Documents: rows as JSON objects.
//!
//! An int is a JSON integer, a float the shortest digits that give the value back, a date ISO 8601;
//! a list of one value whose column is marked `unwrap` is that value; a text whose column is marked
//! `json` stands as it is; then null members are left out.
//!
//! Members that come from shared rows are rendered once per shared row and copied from then on.

mod access;
mod around;
mod document;
mod element;
mod escapes;
pub mod raw;
pub mod records;
pub mod scan;
pub mod split;
mod strings;
pub mod wanted;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use access::Access;
pub use document::Document;
use strings::put;
pub use strings::write_string;

use crate::batch::{Batch, Cells, Once};
use crate::columns::{Column, List, NONE};
use crate::format::dates;
use crate::schema::{Field, Schema, Type};

/// What becomes of null members.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
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
    /// Bytes of a row in the batch before: the room that the next one will want.
    row_bytes: AtomicUsize,
}

/// What is kept of rendered shared rows in all. Beyond it they are rendered anew each time: slower,
/// but a right side of any size leaves the memory alone.
const KEPT_BYTES_MAX: usize = 512 << 20;

/// Room asked for at once: one batch of long rows says nothing sure of the next.
const GUESS_BYTES_MAX: usize = 32 << 20;

/// The members of shared rows, each rendered when it is first wanted.
struct Stretch(Vec<OnceLock<Box<[u8]>>>);

struct Member {
    /// `"name":`
    name: Name,
    ty: Type,
    unwrap: bool,
    json: bool,
}

/// A member's name as it is written, in a block that is copied whole.
struct Name {
    block: [u8; Name::BLOCK],
    len: usize,
    /// The name where it does not fit the block.
    long: Vec<u8>,
}

impl Name {
    /// Most names are shorter, and two cache lines are copied as fast as one.
    const BLOCK: usize = 64;

    fn new(name: &str) -> Name {
        let mut text = Vec::new();
        write_string(name.as_bytes(), &mut text);
        text.push(b':');
        let mut block = [0; Name::BLOCK];
        let len = text.len();
        if let Some(place) = block.get_mut(..len) {
            place.copy_from_slice(&text);
            text.clear();
        }
        Name {
            block,
            len,
            long: text,
        }
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        if self.long.is_empty() {
            put(&self.block, self.len, out);
        } else {
            out.extend_from_slice(&self.long);
        }
    }
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

    /// Puts `more` after these; the first ones are not copied.
    pub fn append(&mut self, more: Rows) {
        if self.ends.is_empty() {
            *self = more;
            return;
        }
        let from = self.bytes.len();
        self.bytes.extend_from_slice(&more.bytes);
        self.ends.extend(more.ends.iter().map(|end| from + end));
    }
}

/// A stretch of neighbouring columns that are rendered in one go.
enum Part<'a> {
    Own(usize, Access<'a>),
    Shared(usize, Vec<Access<'a>>, Arc<OnceLock<Stretch>>),
}

impl Writer {
    /// A writer for rows of `schema`.
    pub fn new(schema: &Schema, nulls: Nulls) -> Self {
        let members = schema.fields.iter().map(|field| Member {
            name: Name::new(&field.name),
            ty: field.ty.clone(),
            unwrap: field.unwrap,
            json: field.json,
        });
        Writer {
            members: members.collect(),
            nulls,
            shared: Once::default(),
            budget: AtomicUsize::new(KEPT_BYTES_MAX),
            row_bytes: AtomicUsize::new(0),
        }
    }

    /// The object of each row, without a newline.
    pub fn rows(&self, batch: &Batch) -> Rows {
        let mut rows = Rows {
            bytes: Vec::with_capacity(self.guess(batch)),
            ends: Vec::with_capacity(batch.rows()),
        };
        self.write(batch, |_, _| {}, b"", &mut rows);
        rows
    }

    /// The object of each row, between what `before` writes for it and `after`.
    pub fn framed(
        &self,
        batch: &Batch,
        before: impl FnMut(usize, &mut Vec<u8>),
        after: &[u8],
    ) -> Rows {
        let mut rows = Rows {
            bytes: Vec::with_capacity(self.guess(batch)),
            ends: Vec::with_capacity(batch.rows()),
        };
        self.write(batch, before, after, &mut rows);
        rows
    }

    /// The object of each row, each followed by a newline.
    pub fn lines(&self, batch: &Batch) -> Vec<u8> {
        let mut rows = Rows {
            bytes: Vec::with_capacity(self.guess(batch)),
            ends: Vec::new(),
        };
        self.write(batch, |_, _| {}, b"\n", &mut rows);
        rows.bytes
    }

    /// Room for a batch's text: growing it would copy it once more.
    fn guess(&self, batch: &Batch) -> usize {
        match self.row_bytes.load(Ordering::Relaxed) {
            0 => {
                let names: usize = self.members.iter().map(|member| member.name.len + 4).sum();
                batch.size() + batch.rows() * names
            }
            bytes => (batch.rows() * (bytes + bytes / 8)).min(GUESS_BYTES_MAX),
        }
    }

    fn write(
        &self,
        batch: &Batch,
        mut before: impl FnMut(usize, &mut Vec<u8>),
        after: &[u8],
        rows: &mut Rows,
    ) {
        let parts = self.parts(batch);
        let lookup = batch.lookup();
        let out = &mut rows.bytes;
        for row in 0..batch.rows() {
            before(row, out);
            out.push(b'{');
            let start = out.len();
            for part in &parts {
                match part {
                    Part::Own(at, access) => self.member(*at, access, row, out),
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
            // Each member ends with a comma.
            if out.len() > start {
                out.pop();
            }
            out.push(b'}');
            out.extend_from_slice(after);
            rows.ends.push(out.len());
        }
        if let Some(bytes) = out.len().checked_div(batch.rows()) {
            self.row_bytes.store(bytes + 1, Ordering::Relaxed);
        }
    }

    fn parts<'a>(&self, batch: &'a Batch) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        let mut stretch = Vec::new();
        let cells = batch.cells();
        for (at, cell) in cells.iter().enumerate() {
            let (Cells::Own(column) | Cells::Shared(column)) = cell;
            let member = &self.members[at];
            let access = Access::of(column, &member.ty, member.json);
            if matches!(cell, Cells::Own(_)) {
                parts.push(Part::Own(at, access));
                continue;
            }
            stretch.push(access);
            if matches!(cells.get(at + 1), Some(Cells::Shared(_))) {
                continue;
            }
            let set = batch.lookup().map_or(0, |lookup| lookup.set);
            let first = at + 1 - stretch.len();
            let columns = std::mem::take(&mut stretch);
            let rows = column.len();
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
        columns: &[Access],
        at: u32,
        kept: Option<&OnceLock<Box<[u8]>>>,
        out: &mut Vec<u8>,
    ) {
        if let Some(members) = kept.and_then(OnceLock::get) {
            out.extend_from_slice(members);
            return;
        }
        let from = out.len();
        for (i, access) in columns.iter().enumerate() {
            if at == NONE {
                self.null(first + i, out);
            } else {
                self.member(first + i, access, at as usize, out);
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
            self.members[at].name.write(out);
            out.extend_from_slice(b"null,");
        }
    }

    /// `"name":value,` or nothing.
    #[inline]
    fn member(&self, at: usize, access: &Access, row: usize, out: &mut Vec<u8>) {
        let member = &self.members[at];
        let (access, row) = if member.unwrap {
            access.unwrapped(row)
        } else {
            (access, row)
        };
        if access.is_null(row) {
            return self.null(at, out);
        }
        member.name.write(out);
        access.write(row, out);
        out.push(b',');
    }
}

fn element(ty: &Type) -> &Type {
    if let Type::List(of) = ty { of } else { ty }
}

/// A value that may be null, as JSON.
fn write_nullable(column: &Column, ty: &Type, row: usize, out: &mut Vec<u8>) {
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
            write_string(String::from_utf8_lossy(bytes.value(row)).as_bytes(), out);
        }
        Column::Ints(ints) => match ty {
            Type::Date { utc } => write_date(ints.value(row), *utc, out),
            _ => write_int(ints.value(row), out),
        },
        Column::Floats(floats) => write_float(floats.value(row), out),
        Column::Bools(bools) => write_bool(bools.value(row), out),
        Column::Lists(list) => write_list(list, ty, row, out),
    }
}

/// A value of the column of `field` that is not null, as JSON.
pub fn write_field(column: &Column, field: &Field, row: usize, out: &mut Vec<u8>) {
    Access::of(column, &field.ty, field.json).write(row, out);
}

fn write_int(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_date(micros: i64, utc: bool, out: &mut Vec<u8>) {
    out.push(b'"');
    dates::write_iso(micros, utc, out);
    out.push(b'"');
}

fn write_float(value: f64, out: &mut Vec<u8>) {
    // A file of others may hold what JSON has no number for.
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

fn write_bool(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Lookup, new_set};
    use crate::columns::row_number;

    fn field(name: &str, ty: Type, unwrap: bool) -> Field {
        Field {
            unwrap,
            ..Field::new(name, ty)
        }
    }

    fn lists(values: &[Option<i64>], offsets: &[i64]) -> Column {
        let rows: Vec<u32> = (0..)
            .zip(values)
            .map(|(i, value)| value.map_or(NONE, |_| i))
            .collect();
        let numbers = Column::from_ints(
            values
                .iter()
                .map(|value| value.unwrap_or_default())
                .collect(),
            None,
        );
        Column::Lists(List {
            offsets: offsets.to_vec().into(),
            values: Arc::new(numbers.take(&rows)),
            validity: None,
        })
    }

    #[test]
    fn texts_that_are_json_stand_as_they_are() {
        let marked = |name: &str, ty| Field {
            json: true,
            ..Field::new(name, ty)
        };
        let schema = Schema::new(vec![
            marked("j", Type::String),
            marked("l", Type::List(Box::new(Type::String))),
        ])
        .expect("names differ");
        let texts = Column::from_strings([Some("{\"a\": 1.10}"), None]);
        let list = Column::Lists(List {
            offsets: vec![0, 2, 2].into(),
            values: Arc::new(texts.clone()),
            validity: None,
        });
        let lines = Writer::new(&schema, Nulls::Omit).lines(&Batch::new(vec![texts, list], 2));
        assert_eq!(
            String::from_utf8_lossy(&lines),
            "{\"j\":{\"a\": 1.10},\"l\":[{\"a\": 1.10},null]}\n{\"l\":[]}\n"
        );
    }

    #[test]
    fn documents_follow_the_rules() {
        let long = "n".repeat(70);
        let schema = Schema::new(vec![
            field("s", Type::String, false),
            field("i", Type::Int, false),
            field("f", Type::Float, false),
            field("d", Type::Date { utc: true }, false),
            field("l", Type::List(Box::new(Type::Int)), true),
            field("m", Type::List(Box::new(Type::Int)), false),
            field(&long, Type::Bool, false),
        ])
        .expect("names differ");
        let batch = Batch::new(
            vec![
                Column::from_strings([Some("a\"b"), None]),
                Column::from_ints(vec![-7, 0], None),
                Column::from_floats(vec![40.0, 0.1], None),
                Column::from_ints(vec![1_500_000, 0], None),
                lists(&[Some(1), None], &[0, 1, 2]),
                lists(&[Some(1), None, Some(2)], &[0, 1, 3]),
                Column::from_bools(&[true, false], None),
            ],
            2,
        );
        let omit = Writer::new(&schema, Nulls::Omit).lines(&batch);
        let first = format!(
            r#"{{"s":"a\"b","i":-7,"f":40.0,"d":"1970-01-01T00:00:01.500Z","l":1,"m":[1],"{long}":true}}"#
        );
        let second =
            format!(r#"{{"i":0,"f":0.1,"d":"1970-01-01T00:00:00Z","m":[null,2],"{long}":false}}"#);
        assert_eq!(
            String::from_utf8_lossy(&omit),
            format!("{first}\n{second}\n")
        );
        let null = Writer::new(&schema, Nulls::Null).lines(&batch.slice(1, 1));
        let second = second
            .replacen('{', r#"{"s":null,"#, 1)
            .replace(r#","m""#, r#","l":null,"m""#);
        assert_eq!(String::from_utf8_lossy(&null), format!("{second}\n"));
    }

    /// The slow twin: every member by itself.
    fn slow(schema: &Schema, batch: &Batch, nulls: Nulls) -> String {
        let mut text = String::new();
        for row in 0..batch.rows() {
            let mut members = Vec::new();
            for (column, field) in batch.plain().iter().zip(&schema.fields) {
                let mut value = Vec::new();
                match column {
                    Column::Lists(list)
                        if field.unwrap && !column.is_null(row) && list.range(row).len() == 1 =>
                    {
                        write_nullable(
                            &list.values,
                            element(&field.ty),
                            list.range(row).start,
                            &mut value,
                        );
                    }
                    column => write_nullable(column, &field.ty, row, &mut value),
                }
                if value != b"null" || nulls == Nulls::Null {
                    let value = String::from_utf8(value).expect("JSON is UTF-8");
                    members.push(format!("\"{}\":{value}", field.name));
                }
            }
            text += &format!("{{{}}}\n", members.join(","));
        }
        text
    }

    proptest::proptest! {
        #[test]
        fn fast_and_slow_agree(
            rows in proptest::collection::vec(
                (
                    proptest::option::of("[a\"\\\\\n\u{1}é☃]{0,40}"),
                    proptest::option::of(proptest::num::i64::ANY),
                    proptest::option::of(proptest::num::f64::NORMAL),
                    proptest::option::of(0..4usize),
                    proptest::option::of(0..8u32),
                ),
                1..40,
            ),
            unwrap in proptest::bool::ANY,
        ) {
            let count = rows.len();
            let present = |i: usize, some: bool| if some { row_number(i) } else { NONE };
            // A column with nulls is gathered from one without.
            let with_nulls = |column: Column, some: Vec<bool>| {
                column.take(&some.iter().enumerate().map(|(i, &some)| present(i, some)).collect::<Vec<_>>())
            };
            let texts = Column::from_strings(rows.iter().map(|row| row.0.as_deref()));
            let ints = Column::from_ints(rows.iter().map(|row| row.1.unwrap_or_default() >> 8).collect(), None);
            let ints = with_nulls(ints, rows.iter().map(|row| row.1.is_some()).collect());
            let floats = Column::from_floats(rows.iter().map(|row| row.2.unwrap_or_default()).collect(), None);
            let floats = with_nulls(floats, rows.iter().map(|row| row.2.is_some()).collect());
            let mut offsets = vec![0i64];
            let mut items = Vec::new();
            for (i, row) in rows.iter().enumerate() {
                items.extend((0..row.3.unwrap_or_default()).map(|step| present((i * 7 + step) % count, step != 2)));
                offsets.push(i64::try_from(items.len()).expect("few"));
            }
            let lists = Column::Lists(List { offsets: offsets.into(), values: Arc::new(texts.take(&items)), validity: None });
            let lists = with_nulls(lists, rows.iter().map(|row| row.3.is_some()).collect());
            let schema = Schema::new(vec![
                field("t", Type::String, false),
                field("i", Type::Int, false),
                field("l", Type::List(Box::new(Type::String)), unwrap),
                field("d", Type::Date { utc: unwrap }, false),
                field("f", Type::Float, false),
                field("s", Type::String, false),
            ]).expect("names differ");
            // The lists and dates are shared by rows, the others their own.
            let lookup = rows.iter().map(|row| row.4.map_or(NONE, |at| at % row_number(count)));
            let lookup = Lookup { set: new_set(), rows: lookup.collect::<Vec<_>>().into() };
            let dates = Column::from_ints(rows.iter().map(|row| row.1.unwrap_or_default() % (1 << 50)).collect(), None);
            let cells = vec![
                Cells::Own(texts.clone()), Cells::Own(ints), Cells::Shared(lists),
                Cells::Shared(dates), Cells::Own(floats), Cells::Own(texts),
            ];
            let batch = Batch::with_lookup(cells, Some(lookup), count);
            for nulls in [Nulls::Omit, Nulls::Null] {
                let fast = Writer::new(&schema, nulls).lines(&batch);
                proptest::prop_assert_eq!(String::from_utf8_lossy(&fast), slow(&schema, &batch, nulls));
            }
        }
    }

    #[test]
    fn shared_rows_give_the_same_documents() {
        let schema = Schema::new(vec![
            field("left", Type::Int, false),
            field("right", Type::String, false),
            field("after", Type::Int, false),
        ])
        .expect("names differ");
        let own = |values: &[i64]| Cells::Own(Column::from_ints(values.to_vec(), None));
        let shared = Cells::Shared(Column::from_strings([Some("x"), None, Some("z")]));
        let lookup = Lookup {
            set: new_set(),
            rows: vec![2, NONE, 0, 2, 1].into(),
        };
        let cells = vec![own(&[1, 2, 3, 4, 5]), shared, own(&[6, 7, 8, 9, 0])];
        let batch = Batch::with_lookup(cells, Some(lookup), 5);
        for nulls in [Nulls::Omit, Nulls::Null] {
            let writer = Writer::new(&schema, nulls);
            let twice = [writer.lines(&batch), writer.lines(&batch)];
            let plain = Writer::new(&schema, nulls).lines(&batch.clone().resolve());
            assert_eq!(twice, [plain.clone(), plain]);
        }
    }
}
