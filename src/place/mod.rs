//! Where data lies, and what is read there: standard input, files of this machine and objects of a store. Which
//! ones paths and patterns stand for (`expand`), what they were when the run began (`Seen`), their text (`open`),
//! their bytes in any order (`Ranges`), and what machines leave to each other (`Shared`).

mod ahead;
mod endpoint;
mod folder;
mod glob;
mod keys;
mod object;
mod ranges;
mod seen;
mod shared;
mod store;
mod text;
mod upload;
mod url;
mod watch;

use std::collections::HashSet;
use std::fmt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

pub use endpoint::Endpoint;
pub use folder::Folder;
pub use glob::quote;
pub(crate) use ranges::{RangeReader, Ranges};
pub use seen::InputFile;
pub(crate) use seen::{Grown, Seen};
pub use shared::Shared;
pub(crate) use shared::{ReadSeek, SharedWriter};
pub(crate) use store::works_elsewhere;
pub(crate) use text::{open, open_bytes, open_encoded, read_error};
pub(crate) use upload::{Upload, can_write, give_up, replaced};
pub use url::{ObjectUrl, Scheme};

use glob::{FILES_MAX, Match, Pattern, broken_link, too_many, unquote};
use keys::KeyPattern;

use crate::disk;
use crate::error::{Class, Error, OfValue, Result};
use crate::meant::nearest_file;
use crate::stop::Stop;

/// Standard input.
pub const STDIN: &str = "-";

/// Where data lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Standard input.
    Stdin,
    /// What this machine's file system has: a file, a named pipe, a device.
    File(PathBuf),
    /// An object of a store, or of a web server.
    Object(ObjectUrl),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Place::Stdin => f.write_str(STDIN),
            Place::File(path) => path.display().fmt(f),
            Place::Object(url) => url.fmt(f),
        }
    }
}

/// What a stage names to read.
#[derive(Debug, Clone, Default)]
pub struct NamedFiles {
    /// Paths, patterns and addresses.
    pub names: Vec<String>,
    /// The server that has the objects among them; `None`: the environment's.
    pub endpoint: Option<Endpoint>,
}

impl NamedFiles {
    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Whether a text names an object of a store, as opposed to a file and to one of a web server.
pub fn is_in_store(text: &str) -> bool {
    text.contains("://") && Scheme::in_front_of(text).is_none_or(|scheme| !scheme.is_web())
}

impl Place {
    /// The place that a text without patterns names; an object, at this server.
    fn named(text: &str, folder: &Folder, endpoint: Option<&Endpoint>) -> Result<Place> {
        if text == STDIN {
            return Ok(Place::Stdin);
        }
        match ObjectUrl::parse(text) {
            Some(url) => Ok(Place::Object(url?.at(endpoint))),
            None => Ok(Place::File(folder.resolve(text))),
        }
    }

    /// Whether what lies there can be opened only once: standard input, or a named pipe.
    pub fn is_once(&self) -> bool {
        match self {
            Place::Stdin => true,
            Place::File(path) => {
                std::fs::metadata(path).is_ok_and(|entry| entry.file_type().is_fifo())
            }
            Place::Object(_) => false,
        }
    }

    /// What stands behind the last dot of its name.
    pub fn extension(&self) -> Option<&str> {
        let name = match self {
            Place::Stdin => return None,
            Place::File(path) => path,
            Place::Object(url) => Path::new(&url.key),
        };
        name.extension()?.to_str()
    }
}

/// The places that paths and patterns stand for, in their order, each once; `-` stays `-`.
pub fn expand(files: &NamedFiles, folder: &Folder, stop: &Stop) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    let mut known: HashSet<Place> = HashSet::new();
    for text in &files.names {
        let found = places_of(text, folder, files.endpoint.as_ref(), stop);
        let found = found.of(["files", text])?;
        for (place, real) in found {
            if known.insert(real) {
                places.push(place);
            }
        }
        if places.len() > FILES_MAX {
            return Err(too_many());
        }
    }
    Ok(places)
}

/// An error about `place`, with the item of the option `files` that names it.
pub fn of_file(files: &NamedFiles, folder: &Folder, place: &Place, error: Error) -> Error {
    let endpoint = files.endpoint.as_ref();
    let named =
        |text: &&String| Place::named(text, folder, endpoint).is_ok_and(|named| named == *place);
    let item = files.names.iter().find(named);
    error.of(["files"].into_iter().chain(item.map(String::as_str)))
}

/// Whether `text`, a path or pattern, stands for `place`, which is [`canonical`]: a file only if it is there.
pub fn reads_now(text: &str, folder: &Folder, endpoint: Option<&Endpoint>, place: &Place) -> bool {
    match place {
        Place::Stdin => text == STDIN,
        Place::File(path) => {
            ObjectUrl::parse(text).is_none()
                && Pattern::new(text, folder).is_ok_and(|pattern| pattern.matches(path))
                && path.is_file()
        }
        Place::Object(written) => match Place::named(text, folder, endpoint) {
            Ok(Place::Object(url)) => {
                url.home() == written.home()
                    && KeyPattern::new(&url).is_ok_and(|pattern| pattern.matches(&written.key))
            }
            _ => false,
        },
    }
}

/// The place that a text means, the same for all spellings of it; `None`: it names no place.
pub fn canonical(text: &str, folder: &Folder, endpoint: Option<&Endpoint>) -> Option<Place> {
    let path = match Place::named(text, folder, endpoint).ok()? {
        Place::File(path) => path,
        other => return Some(other),
    };
    let path = disk::follow(path);
    let path = std::path::absolute(&path).unwrap_or(path);
    Some(Place::File(
        match (path.parent().map(Path::canonicalize), path.file_name()) {
            (Some(Ok(folder)), Some(name)) => folder.join(name),
            _ => path,
        },
    ))
}

/// What one path or pattern stands for: each place as it is named, and the same for all names of it.
fn places_of(
    text: &str,
    folder: &Folder,
    endpoint: Option<&Endpoint>,
    stop: &Stop,
) -> Result<Vec<(Place, Place)>> {
    if text.is_empty() {
        return Err(Error::usage("`files` has an empty path").hint("name a file or a pattern"));
    }
    match Place::named(text, folder, endpoint)? {
        Place::Object(url) => {
            let found = objects(url, text, stop)?.into_iter().map(Place::Object);
            Ok(found.map(|place| (place.clone(), place)).collect())
        }
        Place::File(_) => {
            let found = matches(text, folder, stop)?.into_iter();
            let found = found.map(|Match { path, real }| (Place::File(path), Place::File(real)));
            Ok(found.collect())
        }
        Place::Stdin => Ok(vec![(Place::Stdin, Place::Stdin)]),
    }
}

/// The objects that an address or a pattern stands for.
fn objects(url: ObjectUrl, text: &str, stop: &Stop) -> Result<Vec<ObjectUrl>> {
    if url.scheme.is_web() {
        let Some(plain) = unquote(text) else {
            return Err(Error::usage(format!(
                "`{url}` is a pattern, and a web server lists no files"
            ))
            .hint("name each file; for the character itself write `[*]` or `[[]`"));
        };
        return match ObjectUrl::parse(&plain) {
            Some(url) => Ok(vec![url?]),
            None => Ok(vec![url]),
        };
    }
    let pattern = KeyPattern::new(&url)?;
    match pattern.plain() {
        Some(key) => Ok(vec![url.with_key(&key)]),
        None => pattern.list(&url, stop),
    }
}

/// What one path or pattern of this machine stands for.
fn matches(text: &str, folder: &Folder, stop: &Stop) -> Result<Vec<Match>> {
    let pattern = match Pattern::new(text, folder) {
        Ok(pattern) => pattern,
        Err(_) if folder.resolve(text).exists() => return one(folder.resolve(text), text),
        Err(error) => return Err(error),
    };
    if let Some(path) = pattern.plain() {
        return one(path.to_owned(), text);
    }
    // A file that is named like a pattern is what is meant.
    let path = folder.resolve(text);
    if path.exists() {
        return one(path, text);
    }
    let found = pattern.walk(stop)?;
    if !found.is_empty() {
        return Ok(found);
    }
    let none = Error::failed(format!("`{}` matches no file", path.display()));
    Err(match pattern.base() {
        base if !base.exists() => absent(none, text, base),
        _ => none,
    })
}

/// A path that is written as it is.
fn one(path: PathBuf, text: &str) -> Result<Vec<Match>> {
    if path.is_dir() {
        return Err(
            Error::failed(format!("`{}` is a directory", path.display())).hint(format!(
                "`{}/*` names the files in it",
                text.trim_end_matches('/')
            )),
        );
    }
    let real = path.canonicalize().unwrap_or_else(|_| path.clone());
    Ok(vec![Match { path, real }])
}

/// The error of opening a file, with what helps.
fn cannot_open(path: &Path, error: &std::io::Error) -> Error {
    if error.kind() != std::io::ErrorKind::NotFound {
        return Error::io("open", path.display(), error);
    }
    if path.is_symlink() {
        return broken_link(path, error);
    }
    absent(Error::io("open", path.display(), error), "", path)
}

/// Says of a file that is not there what may have been meant.
fn absent(error: Error, text: &str, path: &Path) -> Error {
    let home = |part: &std::ffi::OsStr| part.to_string_lossy().starts_with('~');
    if text.starts_with('~') || path.iter().any(home) {
        return error.hint("`~` is not expanded: write `${HOME}` in its place");
    }
    error.hint(
        nearest_file(path)
            .unwrap_or_else(|| "a relative path starts at the pipeline file's folder".to_owned()),
    )
}

/// An error of reading `place`, which is named unless it is already.
pub(crate) fn in_file(place: &Place, error: Error) -> Error {
    let place = place.to_string();
    if matches!(error.class, Class::Interrupted(_)) || names(&error.message, &place) {
        return error;
    }
    Error {
        message: format!("{place}: {}", error.message),
        ..error
    }
}

/// Whether a message is about `place` already: it begins with its name, or says what cannot be done with it. What a
/// message quotes of a text may be like the name of a file.
fn names(message: &str, place: &str) -> bool {
    let is_subject = |(before, _): (&str, &str)| before.is_empty() || before.starts_with("cannot ");
    message
        .split_once(&format!("`{place}`"))
        .is_some_and(is_subject)
        || message
            .strip_prefix(place)
            .is_some_and(|rest| rest.starts_with(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_once_whatever_its_name_is() {
        for name in ["record", "f", "1", "]", "/data/in.csv"] {
            let place = Place::File(name.into());
            let named = |message: String| in_file(&place, Error::failed(message)).message;
            for message in [
                "record 1, line 1, is longer than 1 byte",
                "line 1, byte 0: expected `,` or `]`, found `f`",
            ] {
                let once = named(message.to_owned());
                assert_eq!(once, format!("{name}: {message}"));
                assert_eq!(named(once.clone()), once);
            }
            for message in [
                format!("`{name}` is empty"),
                format!("cannot look at `{name}`"),
                format!("cannot read `{name}`: it is refused"),
            ] {
                assert_eq!(named(message.clone()), message);
            }
        }
    }
}
