//! One JSON object as its text. Read into numbers and maps it would lose digits and members of one name, and some
//! objects could not be read at all: `1e999` is JSON, and no number of 64 bits.

use serde::{Deserialize, Serialize};

use super::{Nulls, Writer, raw, write_string};
use crate::batch::Batch;
use crate::schema::Schema;

/// A JSON object as it is written, on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document(String);

impl Document {
    /// The first row of `batch`.
    pub fn of_row(schema: &Schema, batch: &Batch, nulls: Nulls) -> Self {
        let rows = Writer::new(schema, nulls).rows(batch);
        Document(String::from_utf8_lossy(rows.row(0)).into_owned())
    }

    /// An object of these members, all of them texts.
    pub fn of_texts<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut text = vec![b'{'];
        for (name, value) in members {
            if text.len() > 1 {
                text.push(b',');
            }
            write_string(name.as_bytes(), &mut text);
            text.push(b':');
            write_string(value.as_bytes(), &mut text);
        }
        text.push(b'}');
        Document(String::from_utf8_lossy(&text).into_owned())
    }

    /// The object that `text` is; a text that is no object becomes the one member `_raw`.
    pub fn of_text(text: &str) -> Self {
        match raw::on_one_line(text) {
            Some(object) if object.starts_with('{') => Document(object.into_owned()),
            _ => Document::raw(text),
        }
    }

    /// A text that is no object, as the one member `_raw`.
    pub fn raw(text: &str) -> Self {
        Document::of_texts([("_raw", text)])
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Column;
    use crate::schema::{Field, Type};

    #[test]
    fn a_document_keeps_what_no_number_or_map_holds() {
        let field = Field {
            json: true,
            ..Field::new("j", Type::String)
        };
        let schema = Schema::new(vec![field]).expect("there is one");
        let deep = "[".repeat(500) + &"]".repeat(500);
        for value in ["1e999", r#"{"b":1.10,"b":12345678901234567890123}"#, &deep] {
            let batch = Batch::new(vec![Column::from_strings([Some(value)])], 1);
            let document = Document::of_row(&schema, &batch, Nulls::Omit);
            assert_eq!(document.as_str(), format!("{{\"j\":{value}}}"));
        }
    }

    #[test]
    fn what_is_no_object_is_kept_as_a_text() {
        let of = |text| Document::of_text(text).0;
        assert_eq!(of("\n{\"a\":\n1.10} "), "{\"a\": 1.10}");
        assert_eq!(of("[1]"), r#"{"_raw":"[1]"}"#);
        assert_eq!(of("{\"a\""), r#"{"_raw":"{\"a\""}"#);
        let texts = Document::of_texts([("a", "x\"y"), ("b", "")]);
        assert_eq!(texts.as_str(), r#"{"a":"x\"y","b":""}"#);
        assert_eq!(Document::of_texts([]).as_str(), "{}");
    }
}
