//! What the columns of a stream are: name, type, and the marks that documents are made by.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, every};

/// The type of a column's values; every value may also be null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Type {
    /// UTF-8 text.
    String,
    /// 64-bit signed integer.
    Int,
    /// 64-bit float, never NaN or infinite.
    Float,
    /// True or false.
    Bool,
    /// Microseconds since 1970-01-01T00:00:00; `utc`: it came with a zone and prints with `Z`.
    Date {
        /// Whether the values are instants (printed with `Z`) rather than local times.
        utc: bool,
    },
    /// Several values of one type.
    List(Box<Type>),
    /// Raw bytes: blocks of text on their way to the parser, rendered documents on their way out.
    Binary,
}

impl Type {
    /// The word users see for it.
    pub fn name(&self) -> String {
        match self {
            Type::String => "string".into(),
            Type::Int => "int".into(),
            Type::Float => "float".into(),
            Type::Bool => "bool".into(),
            Type::Date { .. } => "date".into(),
            Type::List(of) => format!("list of {}", of.name()),
            Type::Binary => "binary".into(),
        }
    }
}

/// One column of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Unique within its schema.
    pub name: String,
    /// What its values are.
    pub ty: Type,
    /// A list of one value stands for the value itself in documents.
    #[serde(default)]
    pub unwrap: bool,
    /// Texts, each a JSON value that stands in documents as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub json: bool,
}

impl Field {
    /// A plain column.
    pub fn new(name: impl Into<String>, ty: Type) -> Self {
        Field {
            name: name.into(),
            ty,
            unwrap: false,
            json: false,
        }
    }
}

/// The columns of a stream, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Schema {
    /// Name, type and marks of each column.
    pub fields: Vec<Field>,
}

impl Schema {
    /// A schema of `fields`; two of one name are an error.
    pub fn new(fields: Vec<Field>) -> Result<Self> {
        let mut seen = std::collections::HashSet::new();
        for field in &fields {
            if !seen.insert(field.name.as_str()) {
                return Err(
                    Error::usage(format!("two columns are named `{}`", field.name))
                        .of([&field.name]),
                );
            }
        }
        Ok(Schema { fields })
    }

    /// The position of column `name`, or an error that lists what there is.
    pub fn index(&self, name: &str) -> Result<usize> {
        self.fields
            .iter()
            .position(|field| field.name == name)
            .ok_or_else(|| {
                let names: Vec<&str> = self.names().collect();
                let error = Error::usage(format!("no column `{name}`; there are {}", list(&names)));
                let error = error.of([name]);
                if let Some(delimiter) = undivided(&names) {
                    return error.hint(format!(
                        "the header was not divided: give the stage that loads it the delimiter `\"{delimiter}\"`"
                    ));
                }
                error.suggest(name, names.iter().copied())
            })
    }

    /// The positions of several columns.
    pub fn indices(&self, names: &[String]) -> Result<Vec<usize>> {
        every(names.iter().map(|name| self.index(name)))
    }

    /// The column names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }
}

/// The delimiter, as TOML spells it, that stands in the only column's name: the header was read with another one.
fn undivided(names: &[&str]) -> Option<&'static str> {
    let [name] = names else { return None };
    let delimiters = [(';', ";"), ('\t', r"\t"), ('|', "|"), (',', ",")];
    let count = |delimiter: char| name.matches(delimiter).count();
    let found = delimiters
        .iter()
        .max_by_key(|(delimiter, _)| count(*delimiter));
    found
        .filter(|(delimiter, _)| count(*delimiter) > 0)
        .map(|(_, spelt)| *spelt)
}

/// A number of things, in words.
pub fn count<N: Display + PartialEq + From<u8>>(number: N, thing: &str) -> String {
    match number {
        number if number == N::from(0) => format!("no {thing}s"),
        number if number == N::from(1) => format!("1 {thing}"),
        number => format!("{number} {thing}s"),
    }
}

/// Words in backticks, the first dozen of them.
pub fn list(words: &[&str]) -> String {
    const SHOWN: usize = 12;
    let mut text = words
        .iter()
        .take(SHOWN)
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if words.len() > SHOWN {
        text.push_str(&format!(" and {} more", words.len() - SHOWN));
    }
    if words.is_empty() {
        "none".into()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_was_not_divided_is_a_matter_of_the_delimiter() {
        for (header, spelt) in [
            ("id;name;amount", ";"),
            ("id\tname", r"\t"),
            ("id|a,b|amount", "|"),
        ] {
            let schema = Schema::new(vec![Field::new(header, Type::String)]).unwrap();
            let hint = schema.index("amount").unwrap_err().hint.unwrap_or_default();
            assert!(
                hint.ends_with(&format!("the delimiter `\"{spelt}\"`")),
                "{hint}"
            );
        }
    }
}
