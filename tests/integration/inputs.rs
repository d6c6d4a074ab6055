//! The files that are read: which ones a pattern stands for, and that each is read whole, as it was when
//! the run began.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use etl::format::compression::Codec;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::{Etl, Folder, Outcome, Variant};

fn pipeline(load: &str) -> String {
    format!(
        "[[stage]]\nname = \"load\"\nkind = \"load_csv\"\n{load}\n\
         [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"load\"]\n\
         path = \"out/rows.ndjson\"\n"
    )
}

fn folder(load: &str) -> Folder {
    let folder = Folder::new("inputs");
    folder.write("pipeline.toml", pipeline(load));
    folder
}

fn run(folder: &Folder) -> Outcome {
    Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).outcome()
}

fn rows(folder: &Folder) -> String {
    fs::read_to_string(folder.join("out/rows.ndjson")).unwrap_or_default()
}

/// Fails unless the run failed with words that have all of `says`, and wrote nothing.
fn refused(folder: &Folder, outcome: &Outcome, says: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    for part in says {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
    assert_eq!(rows(folder), "");
}

#[test]
fn loops_of_links_end_and_a_file_is_read_once() {
    let folder = folder("files = [\"d/**/*.csv\"]");
    folder.write("d/a.csv", "id\n1\n");
    folder.write("d/x/b.csv", "id\n2\n");
    fs::create_dir_all(folder.join("d/y")).expect("a folder");
    // Three loops: followed without end they would be some 3^40 paths.
    for name in ["d/up", "d/x/up", "d/y/up"] {
        symlink(folder.join("d"), folder.join(name)).expect("a link");
    }
    symlink("b.csv", folder.join("d/x/again.csv")).expect("a link");
    let outcome = run(&folder);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(rows(&folder), "{\"id\":\"1\"}\n{\"id\":\"2\"}\n");
}

#[test]
fn a_match_that_cannot_be_read_is_an_error() {
    let folder = folder("files = [\"*.csv\"]");
    folder.write("a.csv", "id\n1\n");
    symlink("/mnt/gone/b.csv", folder.join("b.csv")).expect("a link");
    let outcome = run(&folder);
    refused(
        &folder,
        &outcome,
        &["b.csv", "/mnt/gone/b.csv", "remove the link"],
    );
    assert!(
        !outcome.stderr.contains("did you mean"),
        "{}",
        outcome.stderr
    );
    // What does not match does not matter.
    fs::rename(folder.join("b.csv"), folder.join("b.txt")).expect("it is there");
    let outcome = run(&folder);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

#[test]
fn a_name_that_is_no_text_is_read() {
    let folder = folder("files = [\"*.csv\"]");
    folder.write("a.csv", "id\n1\n");
    let odd = folder.join(OsStr::from_bytes(b"caf\xe9.csv"));
    fs::write(odd, "id\n2\n").expect("it is written");
    let outcome = run(&folder);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(rows(&folder), "{\"id\":\"1\"}\n{\"id\":\"2\"}\n");
}

#[test]
fn folders_and_variables_are_never_patterns() {
    let folder = Folder::new("inputs");
    let base = "a[1]*";
    folder.write(
        &format!("{base}/pipeline.toml"),
        pipeline("files = [\"in/*.csv\", \"${DATA}/*.csv\"]"),
    );
    for (name, id) in [
        ("a[1]*/in/a", 1),
        ("[x]?/a", 2),
        ("xy/a", 8),
        ("a1b/in/a", 9),
    ] {
        folder.write(&format!("{name}.csv"), format!("id\n{id}\n"));
    }
    let absolute = folder.join("[x]?");
    for (from, pipeline) in [("", "a[1]*/pipeline.toml"), (base, "pipeline.toml")] {
        let from = folder.join(from);
        let outcome = Etl::run(&from, pipeline, Variant::SEQUENTIAL)
            .env("DATA", &absolute)
            .outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let written = fs::read_to_string(folder.join("a[1]*/out/rows.ndjson"));
        let written = written.expect("it is written");
        assert_eq!(written, "{\"id\":\"1\"}\n{\"id\":\"2\"}\n");
    }
}

/// Runs over a pipe and then `b.csv`, to which `change` is made once the run has begun.
fn changed(change: impl FnOnce(&Folder)) -> (Folder, Outcome) {
    changed_of(b"1\n2\n3\n", change)
}

/// The same, where `b.csv` holds these bytes.
fn changed_of(bytes: &[u8], change: impl FnOnce(&Folder)) -> (Folder, Outcome) {
    let folder = folder("files = [\"pipe\", \"b.csv\"]\ncolumns = [\"id\"]");
    mkfifo(&folder.join("pipe"), Mode::S_IRWXU).expect("a pipe");
    folder.write("b.csv", bytes);
    let running = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).start();
    // That it can be opened says that the run reads it, and so that it has begun.
    let pipe = OpenOptions::new().write(true).open(folder.join("pipe"));
    let mut pipe = pipe.expect("the run opens it");
    change(&folder);
    pipe.write_all(b"0\n").expect("the run reads it");
    drop(pipe);
    let outcome = running.outcome();
    (folder, outcome)
}

#[test]
fn a_file_that_is_cut_after_the_run_began_fails_it() {
    let cut = |folder: &Folder| {
        let file = OpenOptions::new().write(true).open(folder.join("b.csv"));
        file.and_then(|file| file.set_len(4)).expect("it is there");
    };
    let (folder, outcome) = changed(cut);
    refused(
        &folder,
        &outcome,
        &["b.csv", "ended at byte 4, it had 6 when the run began"],
    );
}

#[test]
fn a_file_that_is_replaced_or_removed_after_the_run_began_fails_it() {
    let replace = |folder: &Folder| {
        folder.write("new", "7\n8\n9\n");
        fs::rename(folder.join("new"), folder.join("b.csv")).expect("it is there");
    };
    let (folder, outcome) = changed(replace);
    refused(
        &folder,
        &outcome,
        &["b.csv", "was replaced by another file"],
    );
    let remove = |folder: &Folder| fs::remove_file(folder.join("b.csv")).expect("it is there");
    let (folder, outcome) = changed(remove);
    refused(
        &folder,
        &outcome,
        &["b.csv", "was removed after the run began"],
    );
}

#[test]
fn what_is_appended_after_the_run_began_is_left_out_with_a_warning() {
    let append = |folder: &Folder| {
        let file = OpenOptions::new().append(true).open(folder.join("b.csv"));
        let written = file.and_then(|mut file| file.write_all(b"4\n5"));
        written.expect("it is there");
    };
    let (folder, outcome) = changed(append);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("has grown from 6 to 9 bytes"),
        "{}",
        outcome.stderr
    );
    let wanted = ["0", "1", "2", "3"].map(|id| format!("{{\"id\":\"{id}\"}}\n"));
    assert_eq!(rows(&folder), wanted.concat());
}

#[test]
fn a_file_that_grows_must_have_ended_where_a_line_does() {
    let utf16 = |text: &str| -> Vec<u8> {
        let marked = format!("\u{feff}{text}");
        marked.encode_utf16().flat_map(u16::to_le_bytes).collect()
    };
    let zstd = Codec::Zstd.member(b"1\n2\n3\n").expect("memory takes it");
    for (bytes, is_whole) in [
        (b"1\n2\n3\n".to_vec(), true),
        (b"1\n2\n3".to_vec(), false),
        (b"\n".to_vec(), true),
        (utf16("1\n2\n3\n"), true),
        (utf16("1\n2\n3"), false),
        (zstd, true),
    ] {
        let append = |folder: &Folder| {
            let file = OpenOptions::new().append(true).open(folder.join("b.csv"));
            let written = file.and_then(|mut file| file.write_all(b"4\n"));
            written.expect("it is there");
        };
        let (folder, outcome) = changed_of(&bytes, append);
        if is_whole {
            assert_eq!(outcome.code, Some(0), "{bytes:?}: {}", outcome.stderr);
            assert!(outcome.stderr.contains("has grown"), "{}", outcome.stderr);
        } else {
            refused(&folder, &outcome, &["b.csv", "ended within a line"]);
        }
    }
}

#[test]
fn a_file_that_is_written_over_after_the_run_began_fails_it() {
    for text in ["9\n9\n9\n", "9\n9\n9\n9\n", "9\n"] {
        let over = |folder: &Folder| fs::write(folder.join("b.csv"), text).expect("it is there");
        let (folder, outcome) = changed(over);
        refused(&folder, &outcome, &["b.csv", "the run began"]);
    }
}

#[test]
fn what_is_not_text_is_named() {
    for (bytes, says) in [
        (&b"BZh91AY&SY"[..], "bzip2"),
        (b"\xFD7zXZ\0", "xz"),
        (b"PK\x03\x04\x14\0", "zip"),
        (b"PAR1\x15\x04", "Parquet"),
    ] {
        let folder = folder("files = [\"in.csv\"]");
        folder.write("in.csv", bytes);
        refused(&folder, &run(&folder), &["in.csv", says, "hint: "]);
    }
}

#[test]
fn paths_that_mean_nothing_here_are_explained() {
    for (files, exit, says) in [
        ("~/in.csv", 1, "`~` is not expanded"),
        ("~/in/*.csv", 1, "`~` is not expanded"),
        ("ftp://example.org/in.csv", 2, "download it first"),
        ("s3://bucket", 2, "names no object"),
        ("${NOT_SET:-}", 2, "`${NOT_SET:-}` is empty"),
        ("", 2, "empty path"),
        ("a[b.csv", 2, "a `[` without its `]`"),
        ("in**.csv", 2, "`**` stands for folders"),
    ] {
        let folder = folder(&format!("files = [\"{files}\"]"));
        let outcome = run(&folder);
        assert_eq!(outcome.code, Some(exit), "{files}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(says), "{files}: {}", outcome.stderr);
    }
}

#[test]
fn too_many_columns_are_an_error() {
    let folder = folder("files = [\"in.csv\"]");
    folder.write("in.csv", ",".repeat(1 << 20) + "\n");
    refused(
        &folder,
        &run(&folder),
        &["1048577 columns, 65536 is the most"],
    );
}

#[test]
fn a_pipe_that_gives_byte_by_byte_is_known_for_what_it_is() {
    let text = b"id\n1\n";
    let utf16 = "\u{feff}id\n1\n".encode_utf16().flat_map(u16::to_be_bytes);
    for bytes in [
        Codec::Gzip.member(text).expect("memory takes it"),
        Codec::Zstd.member(text).expect("memory takes it"),
        utf16.collect(),
    ] {
        let folder = folder("files = [\"-\"]");
        let mut running = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).start_fed();
        let mut pipe = running.child.stdin.take().expect("it is held open");
        for byte in bytes {
            pipe.write_all(&[byte]).expect("the run reads it");
        }
        drop(pipe);
        let outcome = running.outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert_eq!(rows(&folder), "{\"id\":\"1\"}\n");
    }
}
