//! Documents that are added to an index whose documents have values of another type in the same field: the
//! index would hold numbers beside texts, and searches would find some of them. A load says so before it
//! sends anything.

use crate::error::Error;
use crate::schema::Type;

/// What a value is: types of one class may stand side by side in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Text,
    /// A text too in JSON.
    Date,
    Number,
    Flag,
}

/// Types of fields that hold whole numbers.
const INTEGERS: [&str; 5] = ["long", "integer", "short", "byte", "unsigned_long"];
/// Types of fields that hold any number.
const FLOATS: [&str; 4] = ["double", "float", "half_float", "scaled_float"];

impl Class {
    /// Of a column's values. `None`: they are not single values.
    pub(super) fn of_column(ty: &Type) -> Option<Class> {
        match ty {
            Type::String => Some(Class::Text),
            Type::Date { .. } => Some(Class::Date),
            Type::Int | Type::Float => Some(Class::Number),
            Type::Bool => Some(Class::Flag),
            Type::List(of) => Class::of_column(of),
            Type::Binary => None,
        }
    }

    /// Of the values that a field of the type `word` is made for. `None`: of several.
    pub(super) fn of_field(word: &str) -> Option<Class> {
        match word {
            "text" | "keyword" | "ip" | "match_only_text" | "wildcard" => Some(Class::Text),
            "date" | "date_nanos" => Some(Class::Date),
            "boolean" => Some(Class::Flag),
            word if is_number(word) => Some(Class::Number),
            _ => None,
        }
    }

    /// What JSON calls it: there a date is a text.
    pub(super) fn in_json(self) -> Class {
        match self {
            Class::Date => Class::Text,
            other => other,
        }
    }

    /// The word for it in messages.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Class::Text => "text",
            Class::Date => "date",
            Class::Number => "number",
            Class::Flag => "boolean",
        }
    }
}

/// Whether a field of the type `word` holds whole numbers.
pub(super) fn is_integer(word: &str) -> bool {
    INTEGERS.contains(&word)
}

/// Whether a field of the type `word` holds numbers.
pub(super) fn is_number(word: &str) -> bool {
    INTEGERS.contains(&word) || FLOATS.contains(&word)
}

/// Whether a field of the type `word` cuts the fractions of a column of type `ty`.
pub(super) fn cuts(word: &str, ty: &Type) -> bool {
    match ty {
        Type::List(of) => cuts(word, of),
        ty => *ty == Type::Float && INTEGERS.contains(&word),
    }
}

/// The error for a column of type `ty`, where the index `place` has the field of its name as `had`; `can_name`: a
/// mapping may name the field.
pub(super) fn mixed(place: &str, name: &str, ty: &Type, had: &str, can_name: bool) -> Error {
    let or_name = if can_name {
        format!("name `{name}` in the `mapping` if its type reads the column's values, or ")
    } else {
        String::new()
    };
    Error::failed(format!(
        "column `{name}` is a `{}`, and {place} has the field `{name}` as `{had}`",
        ty.name()
    ))
    .cause("the field would hold values of both types")
    .hint(format!(
        "nothing was sent; give the column the field's type (`types` of its loader), or {or_name}make the index \
         anew with `load = \"replace\"`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_no_text_and_an_int_fits_a_float() {
        let list = Type::List(Box::new(Type::Float));
        assert_eq!(Class::of_column(&list), Some(Class::Number));
        assert_eq!(
            Class::of_column(&Type::Date { utc: true }),
            Class::of_field("date")
        );
        assert_eq!(Class::of_column(&Type::String), Class::of_field("keyword"));
        assert_eq!(Class::of_column(&Type::Int), Class::of_field("half_float"));
        assert_eq!(Class::of_field("geo_point"), None);
        assert!(cuts("short", &list) && !cuts("double", &Type::Int) && !cuts("long", &Type::Int));
    }
}
