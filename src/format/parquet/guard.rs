//! Where the library may panic: at bytes that are damaged in a way that no check has found. Nothing of what it worked on
//! is used after that, so that the panic can become an error of the file.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread becomes an error, so that it is not to be printed.
pub fn is_guarded() -> bool {
    GUARDED.get()
}

/// Does work of the library; what it says of a fault, or of a panic.
pub(super) fn guarded<T, E: std::fmt::Display>(
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, String> {
    GUARDED.set(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(false);
    match done {
        Ok(done) => done.map_err(|error| error.to_string()),
        // What a panic says is about the library's own lines.
        Err(_) => Err("a value that cannot stand where it does".into()),
    }
}
