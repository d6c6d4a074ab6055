//! Where the results of a run are, and how large, once they are published.

use std::path::Path;

use crate::pipeline::Step;
use crate::report::Published;
use crate::stage::{Folder, bulk_index, write_files};

/// Where a sink has put its rows; `None`: it is no sink.
pub(super) fn published(step: &Step, folder: &Folder) -> Option<Published> {
    let named = step.publishes_to()?;
    let option = |key: &str| step.options.get(key).and_then(toml::Value::as_str);
    let local = option("path").or_else(|| bulk_index::local_dir(option("to")?));
    let local = local.filter(|path| !path.contains("://") && !write_files::is_stdout(path));
    if let Some(path) = local {
        let path = folder.resolve(path);
        return Some(Published {
            place: step.secrets().clean(&path.display().to_string()),
            bytes: size(&path),
        });
    }
    let place = match option("index").filter(|_| named.contains("://")) {
        Some(index) => format!("{named}, index `{index}`"),
        None if write_files::is_stdout(&named) => "standard output".into(),
        None => named,
    };
    Some(Published { place, bytes: None })
}

/// The bytes of a file, or of a folder's files; `None`: it is neither, or it cannot be read.
fn size(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok()?;
    if metadata.is_file() {
        return Some(metadata.len());
    }
    let entries = metadata.is_dir().then(|| std::fs::read_dir(path))?.ok()?;
    let sizes = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_symlink() => 0,
        Ok(_) => size(&entry.path()).unwrap_or(0),
        Err(_) => 0,
    });
    Some(sizes.sum())
}
