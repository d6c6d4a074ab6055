//! The files that stages read: which ones paths and patterns stand for (`expand`), what they were when
//! the run began (`Seen`), and their text (`open`).

mod glob;
mod text;
mod watch;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

pub use glob::quote;
pub(super) use text::{open, read_error};
pub(super) use watch::{Grown, Seen, Watch, is_once};

use glob::{FILES_MAX, Match, Pattern, broken_link, too_many};

use super::Folder;
use crate::error::{Class, Error, OfValue, Result};
use crate::meant::nearest_file;
use crate::stop::Stop;

/// Standard input.
pub(super) const STDIN: &str = "-";

/// The files that paths and patterns stand for, in their order, each once; `-` stays `-`.
pub fn expand(patterns: &[String], folder: &Folder, stop: &Stop) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let mut known: HashSet<PathBuf> = HashSet::new();
    for text in patterns {
        for Match { path, real } in matches(text, folder, stop).of(["files", text])? {
            if known.insert(real) {
                paths.push(path);
            }
        }
        if paths.len() > FILES_MAX {
            return Err(too_many());
        }
    }
    Ok(paths)
}

/// An error about the file `path`, with the item of `files`, the option that lists `patterns`, which is its path.
pub fn of_file(patterns: &[String], folder: &Folder, path: &Path, error: Error) -> Error {
    let item = patterns.iter().find(|text| folder.resolve(text) == path);
    error.of(["files"].into_iter().chain(item.map(String::as_str)))
}

/// Whether `text`, a path or pattern, stands for the file `path`, whose folder is canonical.
pub fn stands_for(text: &str, folder: &Folder, path: &Path) -> bool {
    Pattern::new(text, folder).is_ok_and(|pattern| pattern.matches(path))
}

/// What one path or pattern stands for.
fn matches(text: &str, folder: &Folder, stop: &Stop) -> Result<Vec<Match>> {
    if text == STDIN {
        let path = PathBuf::from(text);
        return Ok(vec![Match {
            real: path.clone(),
            path,
        }]);
    }
    refuse_urls(text)?;
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

/// What is no path, and why it is not read.
fn refuse_urls(text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(Error::usage("`files` has an empty path").hint("name a file or a pattern"));
    }
    let Some((scheme, _)) = text.split_once("://") else {
        return Ok(());
    };
    let error = Error::usage(format!(
        "`{text}` is a URL; `files` takes paths and patterns"
    ));
    Err(error.hint(match scheme {
        "http" | "https" => "kind `fetch` reads from the web; or download it first, with `curl -O`",
        "file" => "write the path alone",
        _ => "download it first",
    }))
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

/// What helps where the files of one stage differ.
pub(super) const OTHER_COLUMNS: &str = "one stage reads files of the same columns in the same order: narrow `files` to those that are alike, or read this one in a pipeline of its own, with `select` (`keep`, `rename`) to bring its columns into line";

/// An error of reading the file `path`, which is named unless it is already.
pub(super) fn in_file(path: &Path, error: Error) -> Error {
    let path = path.display().to_string();
    if matches!(error.class, Class::Interrupted(_)) || error.message.contains(&path) {
        return error;
    }
    Error {
        message: format!("{path}: {}", error.message),
        ..error
    }
}
