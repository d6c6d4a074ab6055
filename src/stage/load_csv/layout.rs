//! How one file lies: its delimiter, its encoding, the order of its columns. These may differ from file to
//! file, so each block carries them to the session that parses it.

use std::collections::HashMap;

use encoding_rs::{Encoding, UTF_8};
use serde::{Deserialize, Serialize};

use super::options::HeaderDiffers;
use crate::error::{Error, Result};
use crate::place::Place;
use crate::schema::list;
use crate::stage::files::OTHER_COLUMNS;

/// How one file lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    pub(super) delimiter: u8,
    /// The encoding's name.
    encoding: String,
    /// For each of the file's columns, which one of the stage it is. `None`: they are the same.
    pub(super) columns: Option<Vec<usize>>,
}

impl Layout {
    pub(super) fn new(
        delimiter: u8,
        encoding: &'static Encoding,
        columns: Option<Vec<usize>>,
    ) -> Self {
        Layout {
            delimiter,
            encoding: encoding.name().to_owned(),
            columns,
        }
    }

    pub(super) fn encoding(&self) -> &'static Encoding {
        Encoding::for_label(self.encoding.as_bytes()).unwrap_or(UTF_8)
    }

    /// As a block carries it.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("it is plain data")
    }

    pub(super) fn of_text(text: &str) -> Self {
        serde_json::from_str(text).expect("the source wrote it")
    }
}

/// Which column of the stage each column of a file is, if they are not the same. `path` names the file;
/// `wanted` are the first one's columns, which are the stage's.
pub(super) fn order_of(
    path: &Place,
    found: &[String],
    wanted: &[String],
    differs: HeaderDiffers,
) -> Result<Option<Vec<usize>>> {
    if found == wanted {
        return Ok(None);
    }
    if differs == HeaderDiffers::Error {
        return Err(other_header(path, found, wanted));
    }
    let places: HashMap<&String, usize> = wanted.iter().zip(0..).collect();
    let extra: Vec<&str> = found
        .iter()
        .filter(|name| !places.contains_key(name))
        .map(String::as_str)
        .collect();
    if !extra.is_empty() {
        return Err(Error::failed(format!(
            "`{path}` has {} that the first file lacks: {}",
            if extra.len() == 1 {
                "a column"
            } else {
                "columns"
            },
            list(&extra)
        ))
        .hint("put a file that has all columns first in `files` (one with nothing but the header line will do), or read this one in a stage of its own"));
    }
    let order: Vec<usize> = found.iter().map(|name| places[name]).collect();
    let mut seen = vec![false; wanted.len()];
    for &at in &order {
        if std::mem::replace(&mut seen[at], true) {
            let name = &wanted[at];
            return Err(Error::failed(format!(
                "`{path}`: two columns are named `{name}`"
            )));
        }
    }
    Ok(Some(order))
}

fn other_header(path: &Place, found: &[String], wanted: &[String]) -> Error {
    let at = found.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    let show = |names: &[String]| {
        names
            .get(at)
            .map_or("nothing".into(), |name| format!("`{name}`"))
    };
    let error = Error::failed(format!(
        "`{path}` has another header than the first file: column {} is {} instead of {}",
        at + 1,
        show(found),
        show(wanted)
    ));
    let known = |name: &String| wanted.contains(name);
    if found.iter().all(known) {
        return error.hint("`header_differs = \"by_name\"` finds columns by name, wherever they stand, and fills those that a file lacks with nulls");
    }
    error.hint(OTHER_COLUMNS)
}
