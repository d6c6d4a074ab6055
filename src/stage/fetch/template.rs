//! What placeholders become in a request: parts of its URL, its headers and its body.

use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::batch::Batch;
use crate::error::{Error, OfValue, Result, every};
use crate::format::json::{write_field, write_plain};
use crate::schema::{Schema, Type};
use crate::stage::answers::Refusal;
use crate::stage::placeholders::{Braces, Part, Place, SYNTAX};

/// A text, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(pub(super) Vec<Part>);

/// Finds a place's column in the input. `key` is where the text stands.
fn bind(place: &mut Place, key: &str, input: Option<&Schema>, batch: usize) -> Result<()> {
    let Some(input) = input else {
        return Err(Error::usage(format!(
            "`{key}`: `{place}` is a value of the input, and there is none"
        ))
        .hint("name the stage with the items in `inputs`; a brace is written `{{`"));
    };
    let column = &place.column;
    place.at = input.index(column).map_err(|error| {
        let error = error.about(key);
        Error {
            values: Vec::new(),
            ..error
        }
    })?;
    if let ty @ (Type::List(_) | Type::Binary) = &input.fields[place.at].ty {
        return Err(Error::usage(format!(
            "`{key}`: column `{column}` is a {}, and stands in no request",
            ty.name()
        )));
    }
    if batch > 1 && !place.all {
        return Err(Error::usage(format!(
            "`{key}`: `{place}` is one item's value, and `batch` is {batch}"
        ))
        .hint(format!(
            "`{{{column},}}` are those of all items of a request"
        )));
    }
    Ok(())
}

/// What becomes of a value in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// Of a URL: all but what is never special.
    Percent,
    /// Of a header: nothing, but it may hold no control characters.
    Header,
    /// Of a body's text: nothing.
    Plain,
}

/// All but letters, digits and `-._~` (RFC 3986, 2.3).
const RESERVED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl Template {
    /// What stands before the first place.
    pub(super) fn literal(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Takes `text`, which stands under `key`, apart.
    pub(super) fn parse(key: &str, text: &str) -> Result<Self> {
        Braces::All.parts(text).map(Template).map_err(|what| {
            Error::usage(format!("`{key}`: {what}")).hint(format!(
                "{SYNTAX}; a brace of the text is written `{{{{` or `}}}}`"
            ))
        })
    }

    /// Whether anything in it is an item's.
    pub(super) fn is_about_items(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Value(_)))
    }

    fn places(&mut self) -> impl Iterator<Item = &mut Place> {
        self.0.iter_mut().filter_map(|part| match part {
            Part::Value(place) => Some(place),
            Part::Text(_) => None,
        })
    }

    /// Finds the columns in the input. `key` is where the text stands.
    pub(super) fn bind(&mut self, key: &str, input: Option<&Schema>, batch: usize) -> Result<()> {
        every(self.places().map(|place| bind(place, key, input, batch))).map(drop)
    }

    /// Why an item cannot be asked about: a value that no URL or header can have.
    fn refusal(&self, items: &Items, row: usize, escape: Escape) -> Option<Refusal> {
        let mut path = escape == Escape::Percent;
        for part in &self.0 {
            let place = match part {
                Part::Text(text) => {
                    path &= !text.contains('?');
                    continue;
                }
                Part::Value(place) => place,
            };
            let text = items.text(place, row);
            let reason = match text.as_deref() {
                None => "a null has no place in a request",
                Some("." | "..") if path => "a path with this in it is another path",
                Some(text) if escape == Escape::Header && text.chars().any(char::is_control) => {
                    "a control character has no place in a header"
                }
                _ => continue,
            };
            return Some(Refusal {
                column: Some(place.column.clone()),
                value: text,
                ..Refusal::new(reason)
            });
        }
        None
    }

    /// The text for these items; none of their values is null.
    fn render(&self, items: &Items, rows: &[usize], escape: Escape) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(place) => {
                    let rows = if place.all { rows } else { &rows[..1] };
                    for (i, &row) in rows.iter().enumerate() {
                        if i > 0 {
                            out.push(',');
                        }
                        let text = items.text(place, row).unwrap_or_default();
                        if escape == Escape::Percent {
                            let encoded = percent_encoding::utf8_percent_encode(&text, RESERVED);
                            write!(out, "{encoded}").expect("memory can be written");
                        } else {
                            out.push_str(&text);
                        }
                    }
                }
            }
        }
        out
    }

    /// The text of a URL.
    pub(super) fn url(&self, items: &Items, rows: &[usize]) -> String {
        self.render(items, rows, Escape::Percent)
    }

    /// The text of a header.
    pub(super) fn header(&self, items: &Items, rows: &[usize]) -> String {
        self.render(items, rows, Escape::Header)
    }

    /// Why an item has no place in a URL.
    pub(super) fn refused_by_url(&self, items: &Items, row: usize) -> Option<Refusal> {
        self.refusal(items, row, Escape::Percent)
    }

    /// Why an item has no place in a header.
    pub(super) fn refused_by_header(&self, items: &Items, row: usize) -> Option<Refusal> {
        self.refusal(items, row, Escape::Header)
    }
}

/// Items whose values stand in requests.
pub(super) struct Items<'a> {
    pub(super) schema: &'a Schema,
    pub(super) batch: &'a Batch,
}

impl Items<'_> {
    /// A value as text; `None`: it is null.
    fn text(&self, place: &Place, row: usize) -> Option<String> {
        let column = self.batch.column(place.at);
        if column.is_null(row) {
            return None;
        }
        let mut text = Vec::new();
        write_plain(&column, &self.schema.fields[place.at].ty, row, &mut text);
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    fn json(&self, place: &Place, row: usize) -> Json {
        let column = self.batch.column(place.at);
        if column.is_null(row) {
            return Json::Null;
        }
        let mut text = Vec::new();
        write_field(&column, &self.schema.fields[place.at], row, &mut text);
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

/// A request's body: JSON with places for values.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Text(Template),
    List(Vec<Body>),
    Object(Vec<(String, Body)>),
    Other(Json),
}

impl Body {
    /// Takes a TOML value that stands under `key` apart.
    pub(super) fn parse(key: &str, value: &toml::Value) -> Result<Self> {
        Ok(match value {
            toml::Value::String(text) => Body::Text(Template::parse(key, text)?),
            toml::Value::Array(values) => Body::List(
                values
                    .iter()
                    .map(|value| Body::parse(key, value))
                    .collect::<Result<_>>()?,
            ),
            toml::Value::Table(table) => Body::Object(
                table
                    .iter()
                    .map(|(name, value)| {
                        Ok((name.clone(), Body::parse(&format!("{key}.{name}"), value)?))
                    })
                    .collect::<Result<_>>()?,
            ),
            toml::Value::Datetime(date) => Body::Other(date.to_string().into()),
            toml::Value::Integer(number) => Body::Other((*number).into()),
            toml::Value::Float(number) => Body::Other((*number).into()),
            toml::Value::Boolean(truth) => Body::Other((*truth).into()),
        })
    }

    pub(super) fn bind(&mut self, key: &str, input: Option<&Schema>, batch: usize) -> Result<()> {
        match self {
            Body::Text(template) => template.bind(key, input, batch),
            Body::List(bodies) => {
                let bodies = bodies.iter_mut();
                every(bodies.map(|body| body.bind(key, input, batch))).map(drop)
            }
            Body::Object(members) => {
                let members = members.iter_mut();
                let bound = members.map(|(name, body)| {
                    body.bind(&format!("{key}.{name}"), input, batch)
                        .under(name)
                });
                every(bound).map(drop)
            }
            Body::Other(_) => Ok(()),
        }
    }

    /// Whether anything in it is an item's.
    pub(super) fn is_about_items(&self) -> bool {
        match self {
            Body::Text(template) => template.is_about_items(),
            Body::List(bodies) => bodies.iter().any(Body::is_about_items),
            Body::Object(members) => members.iter().any(|(_, body)| body.is_about_items()),
            Body::Other(_) => false,
        }
    }

    /// Whether it is a text of its own, and not a value's JSON.
    pub(super) fn is_text(&self) -> bool {
        match self {
            Body::Text(template) => !matches!(template.0[..], [Part::Value(_)]),
            _ => false,
        }
    }

    /// Why an item has no place in it: among other text a null says nothing.
    pub(super) fn refusal(&self, items: &Items, row: usize) -> Option<Refusal> {
        match self {
            Body::Text(template) if template.0.len() > 1 => {
                template.refusal(items, row, Escape::Plain)
            }
            Body::List(bodies) => bodies.iter().find_map(|body| body.refusal(items, row)),
            Body::Object(members) => members
                .iter()
                .find_map(|(_, body)| body.refusal(items, row)),
            Body::Text(_) | Body::Other(_) => None,
        }
    }

    /// The JSON for these items.
    pub(super) fn json(&self, items: &Items, rows: &[usize]) -> Json {
        match self {
            Body::Text(template) => match &template.0[..] {
                [Part::Value(place)] if place.all => {
                    rows.iter().map(|&row| items.json(place, row)).collect()
                }
                [Part::Value(place)] => items.json(place, rows[0]),
                _ => template.render(items, rows, Escape::Plain).into(),
            },
            Body::List(bodies) => bodies.iter().map(|body| body.json(items, rows)).collect(),
            Body::Object(members) => Json::Object(
                members
                    .iter()
                    .map(|(name, body)| (name.clone(), body.json(items, rows)))
                    .collect(),
            ),
            Body::Other(value) => value.clone(),
        }
    }
}

/// `name=value&...` of an object: how forms are sent.
pub(super) fn form(body: &Json) -> String {
    let encode = |text: &str| percent_encoding::utf8_percent_encode(text, RESERVED).to_string();
    let members = body.as_object().into_iter().flatten();
    let pairs = members.map(|(name, value)| {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        format!("{}={}", encode(name), encode(&value))
    });
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Column;
    use crate::stage::testing::schema;

    fn items() -> (Schema, Batch) {
        let columns = vec![
            Column::from_strings([Some("a b/ü,{c}"), None, Some("..")]),
            Column::from_nullable_ints(&[Some(7), Some(8), None]),
        ];
        let schema = schema(&[("ric", Type::String), ("n", Type::Int)]);
        (schema, Batch::new(columns, 3))
    }

    fn template(text: &str, batch: usize) -> Result<Template> {
        let mut template = Template::parse("url", text)?;
        template.bind("url", Some(&items().0), batch)?;
        Ok(template)
    }

    #[test]
    fn values_stand_where_they_are_named() {
        let (schema, batch) = items();
        let items = Items {
            schema: &schema,
            batch: &batch,
        };
        let url = template("https://h/{{x}}/{ric}?n={n}", 1).expect("it is one");
        assert_eq!(
            url.url(&items, &[0]),
            "https://h/{x}/a%20b%2F%C3%BC%2C%7Bc%7D?n=7"
        );
        let refused = |row| {
            url.refused_by_url(&items, row)
                .map(|refusal| refusal.reason)
        };
        assert_eq!(refused(0), None);
        assert_eq!(
            refused(1).as_deref(),
            Some("a null has no place in a request")
        );
        assert_eq!(
            refused(2).as_deref(),
            Some("a path with this in it is another path")
        );
        let many = template("https://h/?n={n,}", 2).expect("it is one");
        assert_eq!(many.url(&items, &[0, 1]), "https://h/?n=7,8");
        let value = "x = { one = \"{n}\", all = \"{ric,}\", text = \"n={n}\", on = true }";
        let table: toml::Table = value.parse().expect("it is TOML");
        let mut body = Body::parse("body", &table["x"]).expect("it is one");
        body.bind("body", Some(&schema), 1)
            .expect("both are columns");
        let expected = serde_json::json!({ "one": 8, "all": [null], "text": "n=8", "on": true });
        assert_eq!(body.json(&items, &[1]), expected);
        assert!(body.refusal(&items, 1).is_none());
        assert!(body.refusal(&items, 2).is_some(), "a null among text");
        assert_eq!(
            form(&serde_json::json!({ "a b": "c&d", "n": 1 })),
            "a%20b=c%26d&n=1"
        );
    }

    #[test]
    fn what_is_no_template_is_told() {
        let cases = [
            ("{rick}", 1, "`url`: no column `rick`; there are `ric`, `n`"),
            ("{ric", 1, "`url`: a `{` without its `}`"),
            ("ric}", 1, "`url`: a `}` without its `{`"),
            ("{,}", 1, "`url`: a placeholder without a column"),
            (
                "{ric}",
                2,
                "`url`: `{ric}` is one item's value, and `batch` is 2",
            ),
        ];
        for (text, batch, words) in cases {
            assert_eq!(template(text, batch).expect_err(words).message, words);
        }
    }
}
