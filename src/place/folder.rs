//! The folder that relative paths of a pipeline start from.

use std::path::{Path, PathBuf};

/// The folder that relative paths of a pipeline start from.
#[derive(Debug, Clone)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// A path of the pipeline file, made absolute or relative to the working directory.
    pub fn resolve(&self, path: &str) -> PathBuf {
        if Path::new(path).is_absolute() {
            PathBuf::from(path)
        } else {
            clean(&self.0.join(path))
        }
    }
}

/// A path without `.` and with `a/..` taken out, as far as that needs no look at the disk.
fn clean(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(cleaned.components().next_back(), Some(Component::Normal(_))) =>
            {
                cleaned.pop();
            }
            part => cleaned.push(part),
        }
    }
    if cleaned.as_os_str().is_empty() {
        cleaned.push(".");
    }
    cleaned
}
