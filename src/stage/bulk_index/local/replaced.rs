//! Replaced indices that are kept: `DIR.RUN.MARK.kept` beside the index `DIR`, RUN being the run that
//! replaced it. The last one can be gone back to.
//!
//! A new index and the old one change places at once, so that DIR is always one of them. For a moment the
//! old one has the name of a part then; if its run is killed there, whoever comes next knows it by the
//! run that made it, which is another one than the name says, and keeps it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::files::{self, MAPPING_FILE};
use super::opening::{count_docs, is_index, lock, open, real};
use crate::disk::{self, Hold};
use crate::error::{Error, Result};
use crate::stage::partial_file::{self, KEPT, PART, UNSYNCED};

/// The member of the file of the mapping that names the run that made the index.
pub(super) const RUN: &str = "run";

/// Keeps the index that lies in `part`, which run `run` replaced in `dir`, and of all that are kept the
/// newest `keep`. What could not be done: each error is of one index, which stays.
pub(super) fn keep(part: &Path, dir: &Path, run: &str, keep: usize) -> Vec<Error> {
    let first = if keep > 0 {
        // That the folder cannot be synced was said when the two changed places.
        put_aside(part, dir, run).map(drop)
    } else {
        remove(part)
    };
    let (mut kept, cut): (Vec<PathBuf>, _) = partial_file::of_kind(dir, KEPT)
        .into_iter()
        .map(|(_, path)| path)
        .partition(|path| is_index(path));
    kept.truncate(kept.len().saturating_sub(keep));
    let others = kept.iter().chain(&cut).map(|path| remove(path));
    let all = std::iter::once(first).chain(others);
    all.filter_map(Result::err).collect()
}

/// Keeps what runs replaced that were killed before they could. What it warns of is undone by nothing but a power cut.
pub(super) fn rescue(dir: &Path) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for (run, part) in partial_file::of_kind(dir, PART) {
        if !is_index(&part) || made_by(&part).as_deref() == Some(&run) {
            continue;
        }
        // A run that goes on does it itself.
        if let Hold::Held(_held) | Hold::NoLocks(_held) = disk::hold(&part) {
            let placed = put_aside(&part, dir, &run)?;
            let warning = |error: Error| format!("{}; {UNSYNCED}", error.in_warning());
            warnings.extend(placed.err().map(warning));
        }
    }
    Ok(warnings)
}

/// Puts the newest kept index in the place of `dir`, and that one in its place. What was done, in words.
pub(super) fn roll_back(dir: &Path) -> Result<Vec<String>> {
    let dir = &real(dir);
    let mut done = rescue(dir)?;
    // Where a run was killed while `dir` had another name, it has its own again now.
    if partial_file::clear(dir, None).is_some() {
        return Err(partial_file::busy(dir));
    }
    let shown = dir.display();
    let mut kept = partial_file::of_kind(dir, KEPT).into_iter();
    let Some((run, kept)) = kept.rfind(|(_, path)| is_index(path)) else {
        return Err(
            Error::failed(format!("no index from before the one in `{shown}` is kept"))
                .hint("`load = \"replace\"` keeps as many as `keep` says; if the run had `to` from `--set`, give the same again"),
        );
    };
    // Nobody may be writing to what is about to have another name.
    let _kept = (hold(&kept)?, lock(&kept)?);
    // What cannot be read is not put in place.
    let older = of(&kept)?;
    let fault = |error: std::io::Error| Error::io("put the index in place as", &shown, &error);
    if !dir.exists() {
        std::fs::rename(&kept, dir).map_err(fault)?;
        done.push(format!("`{shown}` is the index of {older} again"));
        return Ok(done);
    }
    if !is_index(dir) {
        return Err(Error::failed(format!("`{shown}` is not an index"))
            .hint("nothing was changed; `to` names the index"));
    }
    let _dir = (hold(dir)?, lock(dir)?);
    let newer = of(dir)?;
    let placed = partial_file::swap(&kept, dir, &run).map_err(fault)?;
    let named = if made_by(&kept).as_deref() == Some(&run) {
        String::new()
    } else {
        format!(", named after run `{run}`, which replaced it")
    };
    done.push(format!(
        "`{shown}` is the index of {older} again; that of {newer} is kept as `{}`{named}, and the same command brings it back",
        name(&kept)
    ));
    if let Err(error) = placed {
        let error = Error::io("write", &shown, &error);
        done.push(format!("{}; {UNSYNCED}", error.in_warning()));
    }
    Ok(done)
}

/// Deletes what loads left half done, but for those that go on. What was done, in words.
pub(super) fn clean(dir: &Path) -> Result<Vec<String>> {
    let dir = &real(dir);
    let mut done = rescue(dir)?;
    let parts = partial_file::of_kind(dir, PART);
    partial_file::clear(dir, None);
    let cleaned = parts.into_iter().map(|(run, part)| {
        let name = name(&part);
        if part.exists() {
            format!("`{name}` is being loaded by run `{run}`: kept")
        } else {
            format!("`{name}` is deleted, which run `{run}` left half loaded")
        }
    });
    done.extend(cleaned);
    if done.is_empty() {
        done.push(format!(
            "nothing of `{}` was left half loaded",
            dir.display()
        ));
    }
    Ok(done)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().display().to_string()
}

/// Holds an index against runs that replace it.
fn hold(dir: &Path) -> Result<Hold> {
    match disk::hold(dir) {
        Hold::Busy => Err(partial_file::busy(dir)),
        held => Ok(held),
    }
}

/// The outer error: it is where it was. The inner one: it is kept, but a power cut may undo that.
fn put_aside(part: &Path, dir: &Path, run: &str) -> Result<Result<()>> {
    let kept = partial_file::beside(dir, run, KEPT);
    let fault = |error| Error::io("keep the replaced index as", kept.display(), &error);
    std::fs::rename(part, &kept).map_err(fault)?;
    Ok(disk::sync_folder(disk::parent(dir)).map_err(fault))
}

/// Something in the folder of an index that neither this program nor tantivy made: what somebody else put there.
pub(super) fn foreign(index: &Path) -> Option<String> {
    let managed = files::managed(index);
    let entries = std::fs::read_dir(index).into_iter().flatten().flatten();
    let foreign = entries.filter(|entry| !files::is_own(entry, &managed));
    let names = foreign.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.min()
}

/// Removes an index; what is left of it after a kill is no index. One that holds what somebody else put there stays.
fn remove(index: &Path) -> Result<()> {
    let shown = index.display();
    if let Some(name) = foreign(index) {
        return Err(Error::failed(format!(
            "the replaced index in `{shown}` holds `{name}`, which is not of the index, and stays"
        )));
    }
    files::remove(index).map_err(|error| Error::io("remove the replaced index in", shown, &error))
}

/// The run that made the index in `dir`.
fn made_by(dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(dir.join(MAPPING_FILE)).ok()?;
    let mapping: Value = serde_json::from_str(&text).ok()?;
    mapping[RUN].as_str().map(str::to_owned)
}

/// An index in words: the run that made it, and how much it holds.
fn of(dir: &Path) -> Result<String> {
    let docs = count_docs(&open(dir)?, dir)?;
    let run = made_by(dir).map_or("an older run".to_owned(), |run| format!("run `{run}`"));
    let thing = if docs == 1 { "document" } else { "documents" };
    Ok(format!("{run} ({docs} {thing})"))
}
