//! What a place held when the run began. It is looked at once; whoever opens it later gets that, or an error.

use std::io::Read;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::object::Object;
use super::watch::{Was, Watch};
use super::{Place, Ranges};
use crate::error::{Error, Result};
use crate::stop::Stop;

/// A file or an object that a run reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InputFile {
    /// Its path, resolved, or its address, without secrets.
    pub file: String,
    /// Its size as it lies there.
    pub bytes: u64,
    /// When it was last changed, RFC 3339.
    pub modified: Option<String>,
    /// What a store calls this version of an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// Files that have grown while they were read, in words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grown(Arc<Mutex<Vec<String>>>);

impl Grown {
    pub(super) fn add(&self, words: String) {
        let mut all = self.0.lock().expect("no one panics holding this lock");
        all.push(words);
    }

    /// All of them, in order of their names.
    pub(crate) fn take(&self) -> Vec<String> {
        let mut all = self.0.lock().expect("no one panics holding this lock");
        all.sort();
        std::mem::take(&mut all)
    }
}

/// A place, and what it held when it was first looked at.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Where it is.
    pub(crate) place: Place,
    was: Held,
}

/// What a place held when it was first looked at.
#[derive(Debug, Clone)]
enum Held {
    /// Standard input, a pipe or a device, of which nothing is known beforehand.
    Unknown,
    File(Was),
    Object(Arc<Object>),
}

impl Seen {
    /// Looks at a place, and what the report says of it; something must be there.
    pub(crate) fn of(place: &Place) -> Result<(Self, InputFile)> {
        let mut input = InputFile {
            file: place.to_string(),
            bytes: 0,
            modified: None,
            etag: None,
        };
        let was = match place {
            Place::Stdin => Held::Unknown,
            Place::File(path) => {
                let (was, metadata) = Was::of(path)?;
                input.bytes = metadata.len();
                input.modified = metadata.modified().ok().map(|time| {
                    crate::clock::date(time).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
                });
                was.map_or(Held::Unknown, Held::File)
            }
            Place::Object(url) => {
                // No run may have begun yet that could stop.
                let object = Object::of(url, &Stop::of_signals())?;
                let meta = &object.meta;
                input.bytes = meta.bytes.unwrap_or_default();
                input.modified.clone_from(&meta.modified);
                input.etag.clone_from(&meta.etag);
                Held::Object(Arc::new(object))
            }
        };
        let place = place.clone();
        Ok((Seen { place, was }, input))
    }

    /// Whether it is a file or an object that lies there, so that its end can be known.
    pub(crate) fn is_file(&self) -> bool {
        match &self.was {
            Held::Unknown => false,
            Held::File(_) => true,
            Held::Object(object) => object.meta.bytes.is_some(),
        }
    }

    /// Whether its bytes can be read in any order.
    pub(crate) fn has_ranges(&self) -> bool {
        match &self.was {
            Held::Unknown => false,
            Held::File(_) => true,
            Held::Object(object) => object.length_of_ranges().is_ok(),
        }
    }

    /// Whether it is an object that gives parts, and ends so: to open its stream would fetch its beginning.
    pub(crate) fn object_ends_with(&self, end: &[u8], stop: &Stop) -> Result<bool> {
        match &self.was {
            Held::Object(object) if self.has_ranges() => Ok(object.tail(stop)?.ends_with(end)),
            _ => Ok(false),
        }
    }

    /// Its bytes as they lie there, if it is still what it was; their end is an error unless it is where it was.
    /// `None`: nothing is known of it beforehand.
    pub(super) fn stream(
        &self,
        stop: &Stop,
        grown: &Grown,
    ) -> Result<Option<Box<dyn Read + Send>>> {
        match (&self.place, &self.was) {
            (Place::File(path), Held::File(was)) => {
                Ok(Some(Box::new(Watch::open(path, *was, stop, grown)?)))
            }
            (_, Held::Object(object)) => object.stream(stop).map(Some),
            _ => Ok(None),
        }
    }

    /// What an earlier look has seen, with what was read of it since, if it is the same version of the same object.
    pub(crate) fn or_same(self, earlier: &Seen) -> Seen {
        match (&self.was, &earlier.was) {
            (Held::Object(now), Held::Object(was)) if now.is_same(was) => earlier.clone(),
            _ => self,
        }
    }

    /// Its bytes in any order, if it is still what it was. What is compressed is inflated whole, unless it ends with
    /// `plain_end`, as files of a format do; what is read once only is an error.
    pub(crate) fn ranges(&self, plain_end: &[u8], stop: &Stop) -> Result<Ranges> {
        match (&self.place, &self.was) {
            (Place::File(path), Held::File(was)) => {
                let watch = Watch::open(path, *was, stop, &Grown::default())?;
                Ranges::of_file(self, watch, stop)
            }
            (_, Held::Object(object)) => Ranges::of_object(self, object.clone(), plain_end, stop),
            (place, _) => Err(Error::failed(format!(
                "`{place}` is not a file: its index is at its end, and read first"
            ))
            .hint("write it to a file first")),
        }
    }
}
