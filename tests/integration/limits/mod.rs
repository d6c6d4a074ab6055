//! Where the system, or whoever wrote a file, asks for more than can be had: threads, processes, stages,
//! words, numbers. Each is an error that says so, and nothing hangs, panics or stays behind.

mod crashes;
mod deaf;
mod joins;
mod threads;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::Folder;

/// The library of `shim.c`; `None` where nothing compiles it.
fn shim(folder: &Folder) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/limits/shim.c");
    let library = folder.join("shim.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-w", "-o"])
        .args([&library, &source])
        .args(["-ldl", "-lpthread"])
        .status();
    if compiled.is_ok_and(|status| status.success()) {
        return Some(library);
    }
    println!("skipped: there is no cc that makes a shared library");
    None
}
