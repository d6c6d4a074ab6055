//! Where the library may panic: at bytes that are damaged in a way that no check has found. Nothing of what it worked on
//! is used after that, so that the panic can become an error of the file.

use crate::error;

/// Does work of the library; what it says of a fault, or that it panicked.
pub(in crate::format) fn guarded<T, E: std::fmt::Display>(
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, String> {
    match error::guarded(work) {
        Ok(done) => done.map_err(|error| error.to_string()),
        // What a panic says is about the library's own lines.
        Err(_) => Err("a value that cannot stand where it does".into()),
    }
}
