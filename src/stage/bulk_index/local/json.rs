//! Columns of JSON values. Each value in a list is a value of the field, at any depth, as in Elasticsearch. A
//! field that the mapping names takes no object; without a mapping the values in objects count too, and the names
//! of their members do not.

use std::borrow::Cow;
use std::sync::Arc;

use super::coerce::{self, Fault, Points};
use super::mapping::Kind;
use crate::columns::{Column, List, TextBuilder};
use crate::format::json::{raw, write_field};
use crate::schema::{Field, Type};

/// Begins a text among leaves; numbers and flags stand as in JSON.
const TEXT: char = '"';

/// The column of `field`, JSON values, as a field of `kind` takes it.
pub(super) fn coerce(column: &Column, field: &Field, kind: Kind) -> (Column, Vec<Fault>) {
    if kind == Kind::GeoPoint {
        return points(column, field);
    }
    let mut objects = Vec::new();
    let texts = lists(column, field, |row, json, texts| {
        elements(json, &mut |value| match raw::text(value) {
            Some(object) if value.starts_with('{') => {
                objects.push(Fault::new(row, object.into_owned(), kind));
            }
            Some(text) => texts.push(&text),
            None => {}
        });
    });
    let (column, faults) = coerce::coerce(&texts, &Type::List(Box::new(Type::String)), kind);
    objects.extend(faults);
    (column, objects)
}

/// The texts, numbers and flags in the column of `field`, as [`Leaf::read`] takes them.
pub(super) fn leaves(column: &Column, field: &Field) -> Column {
    let mut leaf = String::new();
    lists(column, field, |_, json, texts| {
        each_leaf(json, &mut |value| {
            let Some(text) = raw::text(value) else {
                return;
            };
            leaf.clear();
            if value.starts_with('"') {
                leaf.push(TEXT);
            }
            leaf.push_str(&text);
            texts.push(&leaf);
        });
    })
}

/// A value that holds no others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Leaf<'a> {
    Text(&'a str),
    Int(i64),
    /// Beyond what [`Leaf::Int`] holds.
    Natural(u64),
    Float(f64),
    Flag(bool),
}

impl<'a> Leaf<'a> {
    /// What [`leaves`] wrote.
    pub(super) fn read(leaf: &'a str) -> Self {
        if let Some(text) = leaf.strip_prefix(TEXT) {
            return Leaf::Text(text);
        }
        if let Ok(flag) = leaf.parse() {
            return Leaf::Flag(flag);
        }
        let whole = leaf.parse().map(Leaf::Int);
        let whole = whole.or_else(|_| leaf.parse().map(Leaf::Natural));
        whole.unwrap_or_else(|_| {
            // `1e999` is JSON, and no number of 64 bits.
            let float = leaf.parse().ok().filter(|float: &f64| float.is_finite());
            float.map_or(Leaf::Text(leaf), Leaf::Float)
        })
    }

    /// The words in it: of a number its digits, of a flag none.
    pub(super) fn words(leaf: &'a str) -> Option<&'a str> {
        match leaf.strip_prefix(TEXT) {
            None if leaf.parse::<bool>().is_ok() => None,
            text => Some(text.unwrap_or(leaf)),
        }
    }
}

/// Points, each as a list `[longitude, latitude]`, as a text `latitude,longitude`, or as an object with `lat` and
/// `lon`.
fn points(column: &Column, field: &Field) -> (Column, Vec<Fault>) {
    let mut builder = Points::default();
    for row in 0..column.len() {
        match value(column, field, row) {
            None => builder.push_null(),
            Some(json) if json == "null" => builder.push_null(),
            Some(json) => match point(&json) {
                Some([longitude, latitude]) => {
                    builder.push(longitude, latitude, || json.clone().into_owned());
                }
                None => builder.push_wrong(json.into_owned()),
            },
        }
    }
    let (column, wrong) = builder.finish();
    let faults = wrong.into_iter();
    let faults = faults.map(|(row, value)| Fault::new(row, value, Kind::GeoPoint));
    (column, faults.collect())
}

/// Longitude and latitude of the point that a JSON value is.
fn point(json: &str) -> Option<[f64; 2]> {
    match json.as_bytes().first()? {
        b'[' => match raw::elements(json).collect::<Vec<_>>()[..] {
            [one] => point(one),
            // A third number is the height.
            [longitude, latitude] | [longitude, latitude, _] => {
                Some([coerce::float(longitude)?, coerce::float(latitude)?])
            }
            _ => None,
        },
        b'{' => {
            let number = |name: &str| {
                let value = raw::find(json, &[name.to_owned()])?;
                coerce::float(&raw::text(value)?)
            };
            Some([number("lon")?, number("lat")?])
        }
        b'"' => coerce::point_of_text(&raw::text(json)?),
        _ => None,
    }
}

/// The lists of a column that is being made.
#[derive(Default)]
struct Texts {
    texts: TextBuilder,
    len: i64,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.texts.push(Some(text));
        self.len += 1;
    }
}

/// A list of texts for each row: what `add` pushes for the row's value. A null has none.
fn lists(column: &Column, field: &Field, mut add: impl FnMut(usize, &str, &mut Texts)) -> Column {
    let mut texts = Texts::default();
    let mut offsets = vec![0];
    for row in 0..column.len() {
        if let Some(json) = value(column, field, row) {
            add(row, &json, &mut texts);
        }
        offsets.push(texts.len);
    }
    Column::Lists(List {
        offsets: offsets.into(),
        values: Arc::new(texts.texts.finish()),
        validity: None,
    })
}

/// The value of a row as JSON; of lists of JSON values the whole list.
fn value<'a>(column: &'a Column, field: &Field, row: usize) -> Option<Cow<'a, str>> {
    if column.is_null(row) {
        return None;
    }
    if let Column::Strings(texts) = column {
        return Some(texts.value(row).trim().into());
    }
    let mut json = Vec::new();
    write_field(column, field, row, &mut json);
    Some(String::from_utf8_lossy(&json).into_owned().into())
}

/// Takes what is no list: the value, or those in the list that it is.
fn elements<'a>(json: &'a str, take: &mut impl FnMut(&'a str)) {
    if json.starts_with('[') {
        raw::elements(json).for_each(|value| elements(value, take));
    } else {
        take(json);
    }
}

/// Takes what is neither a list nor an object.
fn each_leaf<'a>(json: &'a str, take: &mut impl FnMut(&'a str)) {
    elements(json, &mut |value| {
        if value.starts_with('{') {
            raw::members(value).for_each(|(_, value)| each_leaf(value, take));
        } else {
            take(value);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z\"\\\\,:\\[\\]{}\u{e9}\n ]{0,6}".prop_map(Value::from),
            "true|null|7".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-c\"\\\\]{0,2}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// The leaves of a value that a parser read.
    fn model<'a>(value: &'a Value, found: &mut Vec<Leaf<'a>>) {
        match value {
            Value::Null => {}
            Value::Bool(flag) => found.push(Leaf::Flag(*flag)),
            Value::String(text) => found.push(Leaf::Text(text)),
            Value::Array(values) => values.iter().for_each(|value| model(value, found)),
            Value::Object(members) => members.values().for_each(|value| model(value, found)),
            Value::Number(number) => found.push(
                (number.as_i64().map(Leaf::Int))
                    .or_else(|| number.as_u64().map(Leaf::Natural))
                    .or_else(|| number.as_f64().map(Leaf::Float))
                    .expect("it is one of them"),
            ),
        }
    }

    proptest! {
        #[test]
        fn leaves_are_what_a_parser_finds(values in prop::collection::vec(json(), 1..4), pretty: bool) {
            let texts = values.iter().map(|value| {
                let text = if pretty {
                    serde_json::to_string_pretty(value)
                } else {
                    serde_json::to_string(value)
                };
                Some(text.expect("it is data"))
            });
            let field = Field { json: true, ..Field::new("v", Type::String) };
            let Column::Lists(lists) = leaves(&Column::from_strings(texts), &field) else {
                panic!("they are lists")
            };
            for (row, value) in values.iter().enumerate() {
                let leaves = lists.range(row).map(|i| Leaf::read(lists.values.strings().value(i)));
                let mut expected = Vec::new();
                model(value, &mut expected);
                prop_assert_eq!(leaves.collect::<Vec<_>>(), expected);
            }
        }
    }
}
