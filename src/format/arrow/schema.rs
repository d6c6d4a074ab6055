//! The columns of a file: checked before the library looks at them, then as stages know them.

use std::collections::HashSet;

use polars_arrow::datatypes::{ArrowDataType, Field as ArrowField};
use polars_arrow::io::ipc::format::ipc::{Endianness, FieldRef, SchemaRef, TypeRef, planus};

use super::{FIELD_KEY, dtype, types};
use crate::error::{Error, Result};
use crate::schema::{Field, Type};

/// Lists in lists deeper than this are not read: the library works on each inside the one around it.
const DEPTH_MAX: usize = 64;
/// More fields are those of a damaged schema, where several may share what is inside them.
const FIELDS_MAX: usize = 1 << 20;

/// Why columns are not read.
pub(super) enum SchemaFault {
    Damaged(String),
    Refused(Error),
}

impl From<planus::Error> for SchemaFault {
    fn from(error: planus::Error) -> Self {
        SchemaFault::Damaged(error.to_string())
    }
}

/// Checks what the library would panic at, or not end with.
pub(super) fn check(schema: SchemaRef) -> Result<(), SchemaFault> {
    if schema.endianness()? == Endianness::Big {
        let error = Error::failed("its numbers are big-endian, which is not read");
        return Err(SchemaFault::Refused(error.hint(
            "write the file in little-endian order, as most machines do",
        )));
    }
    let fields = schema.fields()?.into_iter().flatten();
    let mut left = FIELDS_MAX;
    let mut names = HashSet::new();
    for field in fields {
        let field = field?;
        let name = field.name()?.unwrap_or_default();
        if !names.insert(name) {
            let error = Error::failed(format!("two columns are named `{name}`"));
            let error = error.hint("rename one of them where the file is written");
            return Err(SchemaFault::Refused(error));
        }
        check_field(name, field, DEPTH_MAX, &mut left)?;
    }
    if names.is_empty() {
        return Err(SchemaFault::Refused(Error::failed("has no columns")));
    }
    Ok(())
}

fn check_field(
    column: &str,
    field: FieldRef,
    depth: usize,
    left: &mut usize,
) -> Result<(), SchemaFault> {
    let of_type = match field.type_()? {
        Some(TypeRef::RunEndEncoded(_)) => Some("run-end encoded"),
        Some(TypeRef::ListView(_) | TypeRef::LargeListView(_)) => Some("list view"),
        Some(_) => None,
        None => return Err(SchemaFault::Damaged("a field has no type".into())),
    };
    if let Some(name) = of_type {
        return Err(SchemaFault::Refused(unknown_type(column, name)));
    }
    let (Some(depth), Some(now_left)) = (depth.checked_sub(1), left.checked_sub(1)) else {
        let fault = "its fields are nested without end".to_owned();
        return Err(SchemaFault::Damaged(fault));
    };
    *left = now_left;
    for child in field.children()?.into_iter().flatten() {
        check_field(column, child?, depth, left)?;
    }
    Ok(())
}

fn unknown_type(column: &str, name: &str) -> Error {
    Error::failed(format!(
        "column `{column}` is of Arrow type {name}, which no stage works with"
    ))
    .hint("known are integers, floats, booleans, text, dates, time stamps and lists of these: cast it, or leave the column out, where the file is written")
}

/// What a field's metadata says it is, if its type is that, or else what its type says.
pub(super) fn field_of(arrow: &ArrowField) -> Result<Field> {
    let ours = arrow
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.get(FIELD_KEY))
        .and_then(|json| serde_json::from_str::<Field>(json).ok());
    if let Some(field) =
        ours.filter(|field| field.name == arrow.name.as_str() && dtype(&field.ty) == arrow.dtype)
    {
        return Ok(field);
    }
    let name = arrow.name.as_str();
    Ok(Field::new(name, type_of(name, &arrow.dtype)?))
}

fn type_of(name: &str, dtype: &ArrowDataType) -> Result<Type> {
    types::type_of(dtype).ok_or_else(|| unknown_type(name, &format!("{dtype:?}")))
}
