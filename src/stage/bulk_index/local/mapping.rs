//! The mapping: which field of the index holds a document's member, and how. The file is the one that
//! Elasticsearch takes; what only a server understands in it (`settings`, parameters of a field such
//! as `analyzer`) is left to the server.

use serde_json::{Map, Value, json};

use super::super::not_json;
use crate::error::{Error, Result};
use crate::meant::meant;
use crate::schema::{Schema, Type, list};

/// How the embedded index holds a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::stage::bulk_index) enum Kind {
    /// The whole value is one term.
    Keyword,
    /// Words, lowercased, with positions.
    Text,
    /// An integer within these bounds.
    Long {
        /// The least value.
        min: i64,
        /// The greatest value.
        max: i64,
    },
    /// A 64-bit float.
    Double,
    /// An instant, from these forms.
    Date(DateForms),
    /// True or false.
    Boolean,
    /// Longitude and latitude, held as two floats, `FIELD.lon` and `FIELD.lat`.
    GeoPoint,
}

/// The forms that a date field's values may have; those of Elasticsearch without a `format`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::stage::bulk_index) struct DateForms {
    /// ISO 8601, where all after the year is optional.
    pub(in crate::stage::bulk_index) iso: bool,
    /// A number counts these many microseconds since 1970.
    pub(in crate::stage::bulk_index) number_us: Option<i64>,
}

/// The types as users write them.
const TYPES: [&str; 12] = [
    "keyword",
    "text",
    "long",
    "integer",
    "short",
    "byte",
    "double",
    "float",
    "date",
    "boolean",
    "geo_point",
    "half_float",
];
const DATE_FORMATS: [&str; 4] = [
    "date_optional_time",
    "strict_date_optional_time",
    "epoch_millis",
    "epoch_second",
];

/// The type of the field that holds a column which no mapping names. `None`: the index takes the column's
/// values as they are, which is right for text, by words.
pub(in crate::stage::bulk_index) fn type_of_column(ty: &Type) -> Option<&'static str> {
    match ty {
        Type::Int => Some("long"),
        Type::Float => Some("double"),
        Type::Bool => Some("boolean"),
        // Without a `format`: the default one reads what documents have, and a mapping that names the
        // field later as a `date` and no more agrees with it.
        Type::Date { .. } => Some("date"),
        Type::List(of) => type_of_column(of),
        _ => None,
    }
}

impl Kind {
    /// How a column that no mapping names is held.
    fn of_column(ty: &Type) -> Option<Kind> {
        let property = Map::from_iter([("type".to_owned(), type_of_column(ty)?.into())]);
        Kind::of(&property).ok()
    }

    fn of(property: &Map<String, Value>) -> Result<Kind, String> {
        let Some(word) = property.get("type").and_then(Value::as_str) else {
            return Err(if property.contains_key("properties") {
                "is an object, which the embedded index does not have".into()
            } else {
                "has no `type`".into()
            });
        };
        let long = |min, max| Kind::Long { min, max };
        Ok(match word {
            "keyword" => Kind::Keyword,
            "text" => Kind::Text,
            "long" => long(i64::MIN, i64::MAX),
            "integer" => long(i32::MIN.into(), i32::MAX.into()),
            "short" => long(i16::MIN.into(), i16::MAX.into()),
            "byte" => long(i8::MIN.into(), i8::MAX.into()),
            "double" | "float" | "half_float" => Kind::Double,
            "date" => Kind::Date(DateForms::of(property.get("format"))?),
            "boolean" => Kind::Boolean,
            "geo_point" => Kind::GeoPoint,
            other => {
                return Err(format!(
                    "has type `{other}`, which the embedded index does not have"
                ));
            }
        })
    }

    /// The type's word in messages.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Keyword => "keyword",
            Kind::Text => "text",
            Kind::Long { max, .. } if max == i64::from(i32::MAX) => "integer",
            Kind::Long { max, .. } if max == i64::from(i16::MAX) => "short",
            Kind::Long { max, .. } if max == i64::from(i8::MAX) => "byte",
            Kind::Long { .. } => "long",
            Kind::Double => "double",
            Kind::Date(_) => "date",
            Kind::Boolean => "boolean",
            Kind::GeoPoint => "geo_point",
        }
    }
}

impl DateForms {
    fn of(format: Option<&Value>) -> Result<Self, String> {
        const MILLISECOND: i64 = 1_000;
        let mut forms = DateForms {
            iso: false,
            number_us: None,
        };
        let format = match format {
            None => "date_optional_time||epoch_millis",
            Some(Value::String(format)) => format,
            Some(other) => return Err(format!("has `format` {other}, which is not text")),
        };
        for word in format.split("||") {
            match word {
                "date_optional_time" | "strict_date_optional_time" => forms.iso = true,
                "epoch_millis" => forms.number_us = Some(MILLISECOND),
                "epoch_second" => forms.number_us = Some(1_000 * MILLISECOND),
                other => {
                    return Err(format!(
                        "has date format `{other}`; the embedded index has {}",
                        list(&DATE_FORMATS)
                    ));
                }
            }
        }
        Ok(forms)
    }
}

/// A mapping, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mapping {
    /// As written: two mappings are the same if these are.
    properties: Map<String, Value>,
    /// Each field's name and kind, in the order of the file.
    pub(super) fields: Vec<(String, Kind)>,
    /// The columns that the mapping file does not name. Those of numbers and dates are fields all the
    /// same, by the types of the columns.
    pub(super) columns: Vec<String>,
}

/// Where a mapping that was completed keeps the names of its columns.
const COLUMNS: &str = "columns";

impl Mapping {
    /// No fields: every member is indexed as its values suggest.
    pub(super) fn empty() -> Self {
        Mapping {
            properties: Map::new(),
            fields: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// The mapping in the text of file `file`.
    pub(super) fn parse(text: &str, file: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(|error| not_json(file, &error))?;
        Self::read(&value, file)
    }

    /// The mapping that [`Mapping::to_json`] wrote as `value`, which stands in `file`.
    pub(super) fn from_json(value: &Value, file: &str) -> Result<Self> {
        let mut mapping = Self::read(value, file)?;
        let columns = value.get(COLUMNS).and_then(Value::as_array);
        let columns = columns.into_iter().flatten().filter_map(Value::as_str);
        mapping.columns = columns.map(str::to_owned).collect();
        Ok(mapping)
    }

    /// The mapping with the columns of `input` that it does not name, each of its own type.
    pub(super) fn completed(mut self, input: &Schema) -> Self {
        for column in &input.fields {
            let name = &column.name;
            if self.properties.contains_key(name) {
                continue;
            }
            self.columns.push(name.clone());
            if is_reserved(name) || self.is_part_of_point(name) {
                continue;
            }
            if let (Some(word), Some(kind)) =
                (type_of_column(&column.ty), Kind::of_column(&column.ty))
            {
                self.properties
                    .insert(name.clone(), json!({ "type": word }));
                self.fields.push((name.clone(), kind));
            }
        }
        self
    }

    /// Whether a point is held in a field of that name.
    fn is_part_of_point(&self, name: &str) -> bool {
        let suffixes = [".lon", ".lat"].into_iter();
        suffixes
            .filter_map(|suffix| name.strip_suffix(suffix))
            .any(|point| self.kind(point) == Some(Kind::GeoPoint))
    }

    /// Whether the field `name` takes the values of a column of type `ty` as they are: it was made for
    /// such a column.
    pub(super) fn is_made_for(&self, name: &str, ty: &Type) -> bool {
        let kind = Kind::of_column(ty);
        kind.is_some()
            && kind == self.kind(name)
            && self.columns.iter().any(|column| column == name)
    }

    /// The names of the fields that the mapping file names.
    pub(super) fn named(&self) -> impl Iterator<Item = &str> {
        let names = self.fields.iter().map(|(name, _)| name);
        names
            .filter(|name| !self.columns.contains(name))
            .map(String::as_str)
    }

    fn read(value: &Value, file: &str) -> Result<Self> {
        let fault = |field: &str, what: &str| {
            Error::failed(format!("mapping `{file}`: field `{field}` {what}"))
        };
        let properties = value
            .get("properties")
            .or_else(|| value.get("mappings")?.get("properties"))
            .and_then(Value::as_object)
            .ok_or_else(|| {
                Error::failed(format!("mapping `{file}` holds no `properties`")).hint(
                    "write `{\"properties\": {\"FIELD\": {\"type\": \"keyword\"}}}`, or that inside `mappings`",
                )
            })?;
        let mut fields: Vec<(String, Kind)> = Vec::with_capacity(properties.len());
        for (name, property) in properties {
            if is_reserved(name) {
                return Err(fault(
                    name,
                    "has a name that the index keeps for itself: names begin with neither `_` nor `-`",
                ));
            }
            let property = property
                .as_object()
                .ok_or_else(|| fault(name, "is not an object with a `type`"))?;
            let kind = Kind::of(property).map_err(|what| {
                let error = fault(name, &what);
                let word = property.get("type").and_then(Value::as_str);
                let unknown = word.filter(|word| !TYPES.contains(word));
                match unknown.and_then(|word| meant(word, &TYPES)) {
                    Some(hint) => error.hint(hint),
                    None => error.hint(format!("it has {}", list(&TYPES))),
                }
            })?;
            fields.push((name.clone(), kind));
        }
        for (name, kind) in &fields {
            for part in [".lon", ".lat"].map(|part| format!("{name}{part}")) {
                if *kind == Kind::GeoPoint && properties.contains_key(&part) {
                    return Err(fault(
                        &part,
                        &format!("stands in the way of `{name}`'s own"),
                    ));
                }
            }
        }
        Ok(Mapping {
            properties: properties.clone(),
            fields,
            columns: Vec::new(),
        })
    }

    /// The mapping as JSON, for the index's folder and for sessions.
    pub(super) fn to_json(&self) -> Value {
        json!({ "properties": self.properties, COLUMNS: self.columns })
    }

    /// How column `name` is held; `None`: it is not mapped.
    pub(super) fn kind(&self, name: &str) -> Option<Kind> {
        let mut fields = self.fields.iter();
        fields
            .find(|(field, _)| field == name)
            .map(|(_, kind)| *kind)
    }

    /// The fields that differ from those of the index's mapping `stored`, by name. What that has from
    /// columns alone is no difference.
    pub(super) fn differing<'a>(&'a self, stored: &'a Mapping) -> Vec<&'a str> {
        let mine = self.properties.iter();
        let mine = mine.filter(|(name, property)| stored.properties.get(*name) != Some(*property));
        let theirs = stored.named();
        let mut names: Vec<&str> = mine
            .map(|(name, _)| name.as_str())
            .chain(theirs.filter(|name| !self.properties.contains_key(*name)))
            .collect();
        names.sort_unstable();
        names
    }
}

/// Whether the index keeps names like this for itself.
fn is_reserved(name: &str) -> bool {
    name.starts_with(['_', '-']) || name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_of_the_file_are_read() {
        let inner = r#"{"properties": {"a": {"type": "keyword", "doc_values": false}, "b": {"type": "short"}}}"#;
        let outer = format!(r#"{{"settings": {{}}, "mappings": {inner}}}"#);
        let mapping = Mapping::parse(inner, "m.json").expect("it is a mapping");
        assert_eq!(
            mapping,
            Mapping::parse(&outer, "m.json").expect("it is too")
        );
        assert_eq!(mapping.kind("a"), Some(Kind::Keyword));
        assert_eq!(mapping.kind("b").map(Kind::as_str), Some("short"));
        assert_eq!(mapping.kind("c"), None);
        let decoded =
            Mapping::from_json(&mapping.to_json(), "of a session").expect("it is a mapping");
        assert_eq!(decoded, mapping);
    }

    #[test]
    fn every_type_says_its_own_name() {
        for word in TYPES {
            let text = json!({ "properties": { "f": { "type": word } } });
            let mapping = Mapping::from_json(&text, "m").expect("the type is supported");
            let expected = if word.ends_with("float") {
                "double"
            } else {
                word
            };
            assert_eq!(mapping.kind("f").map(Kind::as_str), Some(expected));
        }
    }

    #[test]
    fn order_of_fields_makes_no_difference() {
        let parse = |text: &str| Mapping::parse(text, "m").expect("it is a mapping");
        let a = parse(r#"{"properties": {"a": {"type": "long"}, "b": {"type": "text"}}}"#);
        let b = parse(r#"{"properties": {"b": {"type": "text"}, "a": {"type": "long"}}}"#);
        let c = parse(r#"{"properties": {"b": {"type": "keyword"}, "d": {"type": "long"}}}"#);
        assert!(a.differing(&b).is_empty());
        assert_eq!(a.differing(&c), ["a", "b", "d"]);
    }

    #[test]
    fn faults_name_file_field_and_what_there_is() {
        let cases = [
            ("nonsense", "mapping `m.json` is not JSON"),
            ("{}", "mapping `m.json` holds no `properties`"),
            (
                r#"{"properties": {"f": {"type": "ip"}}}"#,
                "field `f` has type `ip`",
            ),
            (
                r#"{"properties": {"f": {"type": "keywrod"}}}"#,
                "did you mean `keyword`",
            ),
            (r#"{"properties": {"f": {"type": "ip"}}}"#, "`geo_point`"),
            (
                r#"{"properties": {"f": {"properties": {}}}}"#,
                "field `f` is an object",
            ),
            (r#"{"properties": {"f": {}}}"#, "field `f` has no `type`"),
            (
                r#"{"properties": {"_id": {"type": "keyword"}}}"#,
                "field `_id`",
            ),
            (
                r#"{"properties": {"d": {"type": "date", "format": "yyyy"}}}"#,
                "field `d` has date format `yyyy`",
            ),
            (
                r#"{"properties": {"p": {"type": "geo_point"}, "p.lat": {"type": "long"}}}"#,
                "field `p.lat` stands in the way of `p`",
            ),
        ];
        for (text, expected) in cases {
            let error = Mapping::parse(text, "m.json").expect_err(expected);
            assert_eq!(error.exit_code(), 1);
            assert!(error.render().contains(expected), "{}", error.render());
        }
    }
}
