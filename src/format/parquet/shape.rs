//! What a Parquet column is: which of the types that stages work with, by the file's own schema.

use polars_arrow::datatypes::{ArrowDataType, Field as ArrowField, TimeUnit};
use polars_parquet::parquet::metadata::Descriptor;
use polars_parquet::parquet::schema::Repetition;
use polars_parquet::parquet::schema::types::{
    FieldInfo, GroupConvertedType, GroupLogicalType, IntegerType, ParquetType, PhysicalType,
    PrimitiveConvertedType, PrimitiveLogicalType, PrimitiveType, TimeUnit as ParquetTimeUnit,
};
use serde::{Deserialize, Serialize};

use crate::format::arrow::types;
use crate::schema::Type;

/// Lists within lists: more are hardly meant.
const LISTS_MAX: usize = 16;

/// How the values of one column lie in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    /// The lists that a value lies in, outermost first, and whether each may be null.
    lists: Vec<bool>,
    /// Whether the innermost value may be null.
    nullable: bool,
    leaf: Leaf,
}

/// The innermost values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Leaf {
    Bool,
    Int {
        bits: u8,
        signed: bool,
    },
    Float,
    Double,
    Text,
    Date,
    Timestamp {
        unit: Unit,
        utc: bool,
    },
    /// What Hive, Impala and old Sparks write: nanoseconds of a day, and the day.
    Int96,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Unit {
    Milli,
    Micro,
    Nano,
}

impl Shape {
    /// The shape of a column, or in words what it is that no stage works with.
    pub(super) fn of(column: &ParquetType) -> Result<Self, String> {
        let mut lists = Vec::new();
        let mut at = column;
        while lists.len() < LISTS_MAX {
            let repetition = at.get_field_info().repetition;
            match at {
                ParquetType::PrimitiveType(primitive) => {
                    if repetition == Repetition::Repeated {
                        lists.push(false);
                    }
                    return Ok(Shape {
                        lists,
                        nullable: repetition == Repetition::Optional,
                        leaf: Leaf::of(primitive)?,
                    });
                }
                ParquetType::GroupType { .. } if repetition == Repetition::Repeated => {
                    return Err("list of structures".into());
                }
                ParquetType::GroupType {
                    logical_type,
                    converted_type,
                    fields,
                    ..
                } => {
                    match (logical_type, converted_type) {
                        (Some(GroupLogicalType::List), _)
                        | (None, Some(GroupConvertedType::List)) => {}
                        (Some(GroupLogicalType::Map), _) | (None, Some(_)) => {
                            return Err(nested_in(&lists, "map"));
                        }
                        (None, None) => return Err(nested_in(&lists, "structure")),
                    }
                    lists.push(repetition == Repetition::Optional);
                    match item(fields, at.name())? {
                        Item::Inner(inner) => at = inner,
                        Item::Repeated(primitive) => {
                            let leaf = Leaf::of(primitive)?;
                            let nullable = false;
                            return Ok(Shape {
                                lists,
                                nullable,
                                leaf,
                            });
                        }
                    }
                }
            }
        }
        Err(format!("list in more than {LISTS_MAX} lists"))
    }

    /// What it is for stages.
    pub(super) fn column_type(&self) -> Type {
        types::type_of(&self.dtype()).expect("a leaf is of a type that is known")
    }

    /// Whether its values lie in lists.
    pub(super) fn is_nested(&self) -> bool {
        !self.lists.is_empty()
    }

    /// About how many bytes a value takes once it is decoded.
    pub(super) fn value_bytes(&self) -> usize {
        if self.leaf == Leaf::Text { 16 } else { 8 }
    }

    fn dtype(&self) -> ArrowDataType {
        self.field("").dtype
    }

    /// The column as the library decodes it.
    pub(super) fn field(&self, name: &str) -> ArrowField {
        let item = |nullable, dtype| ArrowField::new("item".into(), dtype, nullable);
        let mut inner = item(self.nullable, self.leaf.dtype());
        for &nullable in self.lists.iter().rev() {
            inner = item(nullable, ArrowDataType::LargeList(Box::new(inner)));
        }
        inner.name = name.into();
        inner
    }

    /// How the pages' values and levels are to be read.
    pub(super) fn descriptor(&self) -> Descriptor {
        let repetition = if self.nullable {
            Repetition::Optional
        } else {
            Repetition::Required
        };
        let (definition, repeated) = self.levels();
        Descriptor {
            primitive_type: PrimitiveType {
                field_info: FieldInfo {
                    name: "item".into(),
                    repetition,
                    id: None,
                },
                // They say the unit of time stamps, which is that of the field.
                logical_type: None,
                converted_type: None,
                physical_type: self.leaf.physical(),
            },
            max_def_level: definition,
            max_rep_level: repeated,
        }
    }

    /// The highest definition and repetition level.
    pub(super) fn levels(&self) -> (i16, i16) {
        let repeated = self.lists.len();
        let nullable = self.lists.iter().filter(|&&nullable| nullable).count();
        let level = |level: usize| i16::try_from(level).expect("there are a few lists");
        (
            level(repeated + nullable + usize::from(self.nullable)),
            level(repeated),
        )
    }
}

/// A type in lists, in words.
fn nested_in(lists: &[bool], what: &str) -> String {
    if lists.is_empty() {
        return what.into();
    }
    format!("list of {what}s")
}

/// What is repeated in a list.
enum Item<'a> {
    /// In the middle of three levels, as all write it today.
    Inner(&'a ParquetType),
    /// In two levels, as some wrote it once.
    Repeated(&'a PrimitiveType),
}

/// By the rules of parquet-format's `LogicalTypes.md` for lists, old ones too.
fn item<'a>(fields: &'a [ParquetType], list: &str) -> Result<Item<'a>, String> {
    let structures = || "list of structures".to_owned();
    let [repeated] = fields else {
        return Err(structures());
    };
    if repeated.get_field_info().repetition != Repetition::Repeated {
        return Err(structures());
    }
    match repeated {
        ParquetType::PrimitiveType(primitive) => Ok(Item::Repeated(primitive)),
        ParquetType::GroupType { fields, .. } => match &fields[..] {
            [inner]
                if repeated.name() != "array"
                    && repeated.name() != format!("{list}_tuple")
                    && inner.get_field_info().repetition != Repetition::Repeated =>
            {
                Ok(Item::Inner(inner))
            }
            _ => Err(structures()),
        },
    }
}

impl Leaf {
    fn of(primitive: &PrimitiveType) -> Result<Self, String> {
        use PrimitiveConvertedType as Converted;
        use PrimitiveLogicalType as Logical;
        let (logical, converted) = (primitive.logical_type, primitive.converted_type);
        if let Some(what) = unknown(logical, converted) {
            return Err(what);
        }
        Ok(match primitive.physical_type {
            PhysicalType::Boolean => Leaf::Bool,
            PhysicalType::Float => Leaf::Float,
            PhysicalType::Double => Leaf::Double,
            PhysicalType::Int96 => Leaf::Int96,
            PhysicalType::Int32 => match (logical, converted) {
                (Some(Logical::Date), _) | (None, Some(Converted::Date)) => Leaf::Date,
                (Some(Logical::Integer(of)), _) => int(of, 32),
                (None, Some(Converted::Int8)) => int(IntegerType::Int8, 32),
                (None, Some(Converted::Int16)) => int(IntegerType::Int16, 32),
                (None, Some(Converted::Uint8)) => int(IntegerType::UInt8, 32),
                (None, Some(Converted::Uint16)) => int(IntegerType::UInt16, 32),
                (None, Some(Converted::Uint32)) => int(IntegerType::UInt32, 32),
                _ => int(IntegerType::Int32, 32),
            },
            PhysicalType::Int64 => match (logical, converted) {
                (
                    Some(Logical::Timestamp {
                        unit,
                        is_adjusted_to_utc,
                    }),
                    _,
                ) => Leaf::Timestamp {
                    unit: match unit {
                        ParquetTimeUnit::Milliseconds => Unit::Milli,
                        ParquetTimeUnit::Microseconds => Unit::Micro,
                        ParquetTimeUnit::Nanoseconds => Unit::Nano,
                    },
                    utc: is_adjusted_to_utc,
                },
                // The older of two annotations does not say whether it is UTC; pyarrow takes it so too.
                (None, Some(Converted::TimestampMillis)) => Leaf::Timestamp {
                    unit: Unit::Milli,
                    utc: false,
                },
                (None, Some(Converted::TimestampMicros)) => Leaf::Timestamp {
                    unit: Unit::Micro,
                    utc: false,
                },
                (Some(Logical::Integer(of)), _) => int(of, 64),
                (None, Some(Converted::Uint64)) => int(IntegerType::UInt64, 64),
                _ => int(IntegerType::Int64, 64),
            },
            PhysicalType::ByteArray => match (logical, converted) {
                (Some(Logical::String | Logical::Json | Logical::Enum), _)
                | (None, Some(Converted::Utf8 | Converted::Json | Converted::Enum)) => Leaf::Text,
                _ => return Err("bytes (BYTE_ARRAY that is not marked as text)".into()),
            },
            PhysicalType::FixedLenByteArray(length) => {
                return Err(format!("bytes (FIXED_LEN_BYTE_ARRAY({length}))"));
            }
        })
    }

    fn physical(self) -> PhysicalType {
        match self {
            Leaf::Bool => PhysicalType::Boolean,
            Leaf::Int { bits: 64, .. } | Leaf::Timestamp { .. } => PhysicalType::Int64,
            Leaf::Int { .. } | Leaf::Date => PhysicalType::Int32,
            Leaf::Float => PhysicalType::Float,
            Leaf::Double => PhysicalType::Double,
            Leaf::Text => PhysicalType::ByteArray,
            Leaf::Int96 => PhysicalType::Int96,
        }
    }

    fn dtype(self) -> ArrowDataType {
        use ArrowDataType as A;
        let zone = |utc: bool| utc.then(|| "UTC".into());
        match self {
            Leaf::Bool => A::Boolean,
            Leaf::Int {
                bits: 8,
                signed: true,
            } => A::Int8,
            Leaf::Int {
                bits: 16,
                signed: true,
            } => A::Int16,
            Leaf::Int {
                bits: 32,
                signed: true,
            } => A::Int32,
            Leaf::Int {
                bits: 8,
                signed: false,
            } => A::UInt8,
            Leaf::Int {
                bits: 16,
                signed: false,
            } => A::UInt16,
            Leaf::Int {
                bits: 32,
                signed: false,
            } => A::UInt32,
            Leaf::Int { signed: true, .. } => A::Int64,
            Leaf::Int { signed: false, .. } => A::UInt64,
            Leaf::Float => A::Float32,
            Leaf::Double => A::Float64,
            Leaf::Text => A::Utf8View,
            Leaf::Date => A::Date32,
            Leaf::Timestamp { unit, utc } => {
                let unit = match unit {
                    Unit::Milli => TimeUnit::Millisecond,
                    Unit::Micro => TimeUnit::Microsecond,
                    Unit::Nano => TimeUnit::Nanosecond,
                };
                A::Timestamp(unit, zone(utc))
            }
            Leaf::Int96 => A::Timestamp(TimeUnit::Microsecond, None),
        }
    }
}

/// What the annotation means that no stage works with.
fn unknown(
    logical: Option<PrimitiveLogicalType>,
    converted: Option<PrimitiveConvertedType>,
) -> Option<String> {
    use PrimitiveConvertedType as Converted;
    use PrimitiveLogicalType as Logical;
    Some(match (logical, converted) {
        (Some(Logical::Decimal(precision, scale)), _)
        | (None, Some(Converted::Decimal(precision, scale))) => {
            format!("decimal({precision}, {scale})")
        }
        (Some(Logical::Time { .. }), _)
        | (None, Some(Converted::TimeMillis | Converted::TimeMicros)) => "time of day".into(),
        (Some(Logical::Uuid), _) => "UUID".into(),
        (Some(Logical::Bson), _) | (None, Some(Converted::Bson)) => "BSON".into(),
        (Some(Logical::Float16), _) => "16-bit float".into(),
        (Some(Logical::Unknown), _) => "null".into(),
        (None, Some(Converted::Interval)) => "interval".into(),
        _ => return None,
    })
}

/// An integer in so many physical bits; an annotation that does not fit them means nothing.
fn int(of: IntegerType, physical: u8) -> Leaf {
    let (bits, signed) = match of {
        IntegerType::Int8 => (8, true),
        IntegerType::Int16 => (16, true),
        IntegerType::Int32 => (32, true),
        IntegerType::Int64 => (64, true),
        IntegerType::UInt8 => (8, false),
        IntegerType::UInt16 => (16, false),
        IntegerType::UInt32 => (32, false),
        IntegerType::UInt64 => (64, false),
    };
    if (bits == 64) == (physical == 64) {
        Leaf::Int { bits, signed }
    } else {
        Leaf::Int {
            bits: physical,
            signed: true,
        }
    }
}
