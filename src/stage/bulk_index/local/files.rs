//! The files in the folder of an index: which of them this program or tantivy made.

use std::collections::HashSet;
use std::fs::DirEntry;
use std::io::{ErrorKind, Result};
use std::path::Path;

use serde_json::Value;

/// Beside tantivy's own files: the mapping that the index was made with, and the mark that it is ours.
pub(super) const MAPPING_FILE: &str = "mapping.json";
/// Tantivy's list of segments, without which a folder is no index.
pub(super) const META_FILE: &str = "meta.json";
/// Tantivy's list of the files that it made, those of segments and the one above.
pub(super) const MANAGED_FILE: &str = ".managed.json";

/// The names in tantivy's list of the files that it made.
pub(super) fn managed(index: &Path) -> HashSet<String> {
    let text = std::fs::read_to_string(index.join(MANAGED_FILE));
    let names = text.ok().and_then(|text| serde_json::from_str(&text).ok());
    names.unwrap_or_default()
}

/// Whether this program or tantivy, which lists its files as `managed`, made the file. They make no folders.
pub(super) fn is_own(entry: &DirEntry, managed: &HashSet<String>) -> bool {
    const OWN: [&str; 5] = [
        MAPPING_FILE,
        META_FILE,
        MANAGED_FILE,
        ".tantivy-meta.lock",
        ".tantivy-writer.lock",
    ];
    let name = entry.file_name();
    let is_named = |name: &str| OWN.contains(&name) || managed.contains(name) || is_temporary(name);
    entry.file_type().is_ok_and(|found| found.is_file()) && name.to_str().is_some_and(is_named)
}

/// Whether tantivy names what it writes so, until it is whole.
fn is_temporary(name: &str) -> bool {
    let random = name.strip_prefix(".tmp");
    random.is_some_and(|random| {
        random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Removes the files of an index that this program or tantivy made, and its folder, which then is empty. The mapping
/// goes first: what a kill leaves is no index. The list of files goes last: what a kill leaves is known as tantivy's.
pub(super) fn remove(index: &Path) -> Result<()> {
    let gone = |name: &str| match std::fs::remove_file(index.join(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    gone(MAPPING_FILE)?;
    let managed = managed(index);
    for entry in std::fs::read_dir(index)? {
        let entry = entry?;
        if is_own(&entry, &managed) && entry.file_name() != MANAGED_FILE {
            std::fs::remove_file(entry.path())?;
        }
    }
    gone(MANAGED_FILE)?;
    std::fs::remove_dir(index)
}

/// Removes what tantivy was writing when a kill ended it. Nobody else may be writing to the index.
pub(super) fn remove_temporary(index: &Path) -> Result<()> {
    for entry in std::fs::read_dir(index)? {
        let entry = entry?;
        let is_file = entry.file_type()?.is_file();
        let is_named = entry.file_name().to_str().is_some_and(is_temporary);
        if is_file && is_named && is_list(&std::fs::read(entry.path())?) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Lets those read tantivy's lists who may read the mapping: tantivy makes them for their owner alone.
pub(super) fn open_to_readers(index: &Path) -> Result<()> {
    let mode = std::fs::metadata(index.join(MAPPING_FILE))?.permissions();
    for name in [META_FILE, MANAGED_FILE] {
        match std::fs::set_permissions(index.join(name), mode.clone()) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a temporary file holds one of tantivy's two lists, or nothing yet.
fn is_list(bytes: &[u8]) -> bool {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(meta)) => meta.contains_key("segments") && meta.contains_key("schema"),
        Ok(Value::Array(names)) => names.iter().all(Value::is_string),
        _ => bytes.is_empty(),
    }
}
