//! The file or object that `write_files` writes, from its opening until it has its name.

use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::object::ObjectTarget;
use crate::disk;
use crate::error::{Class, Error, OfValue, Result};
use crate::place::ObjectUrl;
use crate::stage::direct::Direct;
use crate::stage::partial_file::{PartialFile, UNSYNCED};
use crate::stage::{Run, warn_published};

/// What is written, until it is published; dropped before, it is gone.
pub(super) enum Target {
    File(FileTarget),
    Object(ObjectTarget),
}

impl Target {
    pub(super) fn open(path: &str, object: Option<&ObjectUrl>, run: &Run) -> Result<Target> {
        match object {
            Some(url) => {
                let object = ObjectTarget::open(url, run).of(["path"]);
                object.map(Target::Object)
            }
            None => FileTarget::open(path, run).map(Target::File),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Target::File(file) => file.write(bytes),
            Target::Object(object) => object.upload.write(bytes).of(["path"]),
        }
    }

    /// An error of making what is to be written.
    pub(super) fn error(&self, error: &std::io::Error) -> Error {
        match self {
            Target::File(file) => file.error(error),
            Target::Object(object) => Error::io("write", &object.url, error),
        }
    }

    /// All written, and safe before it is given its name.
    pub(super) fn finish(&mut self) -> Result<()> {
        match self {
            Target::File(file) => file.finish(),
            Target::Object(object) => object.upload.finish().of(["path"]),
        }
    }

    pub(super) fn publish(self, warnings: &mut Vec<String>) -> Result<()> {
        match self {
            Target::File(file) => file.publish(warnings),
            Target::Object(object) => object.upload.publish().of(["path"]),
        }
    }
}

/// The file while it is written; dropped without being published, it is gone.
pub(super) struct FileTarget {
    writer: Option<BufWriter<Box<dyn Write + Send>>>,
    /// Where it is written; none where it is written directly.
    part: Option<PartialFile>,
    shown: String,
}

impl FileTarget {
    fn open(path: &str, run: &Run) -> Result<FileTarget> {
        let direct = |writer: Box<dyn Write + Send>, shown: String| FileTarget {
            writer: Some(buffered(writer)),
            part: None,
            shown,
        };
        if is_stdout(path) {
            let shown = "standard output";
            let stdout = Direct::open(shown, run.stop.clone(), || Ok(std::io::stdout()))?;
            return Ok(direct(Box::new(stdout), shown.into()));
        }
        let path = disk::follow(run.folder.resolve(path));
        let shown = path.display().to_string();
        if path.is_dir() {
            return Err(is_directory(&path));
        }
        if std::fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            let open = move || File::options().write(true).open(&path);
            let file = Direct::open(&shown, run.stop.clone(), open)?;
            return Ok(direct(Box::new(file), shown));
        }
        let folder = disk::parent(&path);
        disk::create_folders(folder, disk::SHARED_FOLDER)
            .map_err(|error| Error::io("create the folder", folder.display(), &error))?;
        let replaced = std::fs::metadata(&path).map(|found| found.permissions());
        let part = PartialFile::create(&path, run, |part| {
            private_until(replaced.as_ref().ok(), part)
        })?;
        let file = part
            .writer()
            .map_err(|error| Error::io("write", &shown, &error))?;
        Ok(FileTarget {
            writer: Some(buffered(Box::new(file))),
            part: Some(part),
            shown,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let result = self
            .writer
            .as_mut()
            .map_or(Ok(()), |writer| writer.write_all(bytes));
        result.map_err(|error| self.error(&error))
    }

    fn flush(&mut self) -> Result<()> {
        let result = self.writer.as_mut().map_or(Ok(()), Write::flush);
        result.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &std::io::Error) -> Error {
        if error.kind() == std::io::ErrorKind::BrokenPipe && self.part.is_none() {
            return Error {
                class: Class::ClosedStdout,
                ..Error::failed("nobody reads the output any more")
            };
        }
        let failed = Error::io("write", &self.shown, error);
        if error.kind() == std::io::ErrorKind::StorageFull {
            return failed.hint(disk::FULL);
        }
        failed
    }

    /// All written, and on disk before it is given its name.
    fn finish(&mut self) -> Result<()> {
        self.flush()?;
        let synced = self.part.as_ref().map_or(Ok(()), PartialFile::sync);
        synced.map_err(|error| self.error(&error))
    }

    fn publish(self, warnings: &mut Vec<String>) -> Result<()> {
        let Some(part) = &self.part else {
            return Ok(());
        };
        let placed = part
            .publish()
            .map_err(|error| Error::io("replace", &self.shown, &error))?;
        let placed = placed.map_err(|error| Error::io("write", &self.shown, &error));
        warn_published(warnings, placed, UNSYNCED);
        Ok(())
    }
}

/// A new file that is never more open than the one that it replaces: a private file stays private. A file that
/// replaces none has the mode that the umask leaves.
fn private_until(replaced: Option<&Permissions>, part: &Path) -> std::io::Result<File> {
    let mode = replaced.map_or(0o666, |replaced| replaced.mode() & 0o777);
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(mode).open(part)?;
    if let Some(replaced) = replaced {
        // The umask may have left less. Where that cannot be, it is the content that counts.
        let _ = file.set_permissions(replaced.clone());
    }
    Ok(file)
}

pub(super) fn is_directory(path: &Path) -> Error {
    Error::failed(format!("`{}` is a directory", path.display())).hint("name a file in it")
}

/// Whether a path means standard output.
pub(super) fn is_stdout(path: &str) -> bool {
    matches!(path, "-" | "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1")
}

/// Large writes go through as they are; small ones are gathered.
fn buffered(writer: Box<dyn Write + Send>) -> BufWriter<Box<dyn Write + Send>> {
    BufWriter::with_capacity(64 << 10, writer)
}

impl Drop for FileTarget {
    fn drop(&mut self) {
        // What is still buffered must not be written now: the file goes.
        if let (Some(_), Some(writer)) = (&self.part, self.writer.take()) {
            let _ = writer.into_parts();
        }
    }
}
