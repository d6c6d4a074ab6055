//! Files as other programs see them: gzip members, and that nothing is visible before its time.

use std::fs;
use std::io::Read;

use flate2::bufread::GzDecoder;

use crate::harness::{Etl, Folder, Variant, files};

const MEMBER_BYTES: usize = 1 << 20;

/// The text of each member of a gzip file, having checked its header.
fn members(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut members = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(&bytes[4..8], [0; 4], "mtime is 0");
        let mut decoder = GzDecoder::new(bytes);
        let mut text = Vec::new();
        decoder.read_to_end(&mut text).expect("a whole member");
        bytes = decoder.into_inner();
        members.push(text);
    }
    members
}

#[test]
fn gz_is_members_of_exactly_one_mebibyte_whoever_made_them() {
    let folder = Folder::new("members");
    // Three members and a bit, in lines of uneven length. An empty text is null and written as nothing
    // again, so the CSV that comes out is the one that went in.
    let mut csv = String::from("n,text\n");
    let mut state: u64 = 1;
    while csv.len() < 3 * MEMBER_BYTES {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let length = usize::try_from(state >> 58).expect("six bits");
        let text = format!("{state:064x}");
        csv.push_str(&format!("{},{}\n", state >> 33, &text[..length]));
    }
    folder.write("in.csv", &csv);
    folder.write(
        "pipeline.toml",
        r#"
        [[stage]]
        name = "load"
        kind = "load_csv"
        files = ["in.csv"]
        types = { n = "int" }

        [[stage]]
        name = "plain"
        kind = "write_files"
        inputs = ["load"]
        path = "out/rows.ndjson"

        [[stage]]
        name = "packed"
        kind = "write_files"
        inputs = ["load"]
        path = "out/rows.ndjson.gz"

        [[stage]]
        name = "packed_csv"
        kind = "write_files"
        inputs = ["load"]
        path = "out/rows.csv.gz"
        "#,
    );
    let mut first = None;
    for variant in [
        Variant::SEQUENTIAL,
        Variant::SEQUENTIAL.batch_rows(1).staged(),
        Variant::new("threads", 1, 3),
        Variant::new("threads", 1, 2).batch_rows(1000).staged(),
        Variant::new("processes", 2, 1),
        Variant::new("hybrid", 2, 2).batch_rows(777),
    ] {
        let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        let read = |name: &str| fs::read(folder.join("out").join(name)).expect("it was written");
        let files = ["rows.ndjson", "rows.ndjson.gz", "rows.csv.gz"].map(read);
        let [plain, packed, packed_csv] = &files;
        for (text, packed) in [(plain.as_slice(), packed), (csv.as_bytes(), packed_csv)] {
            let members = members(packed);
            let (last, full) = members.split_last().expect("there is text");
            assert!(full.len() >= 2, "{variant}: several members");
            assert!(
                full.iter().all(|member| member.len() == MEMBER_BYTES),
                "{variant}"
            );
            assert!((1..=MEMBER_BYTES).contains(&last.len()), "{variant}");
            assert!(members.concat() == text, "{variant}: not the same text");
        }
        match &first {
            None => first = Some(files),
            Some(first) => assert!(*first == files, "{variant}: not the same bytes"),
        }
    }
}

#[test]
fn an_empty_output_is_an_empty_gzip_file() {
    let folder = Folder::new("empty");
    folder.write("in.csv", "a\n");
    folder.write(
        "pipeline.toml",
        r#"
        [[stage]]
        name = "load"
        kind = "load_csv"
        files = ["in.csv"]

        [[stage]]
        name = "write"
        kind = "write_files"
        inputs = ["load"]
        path = "out/rows.ndjson.gz"
        "#,
    );
    for variant in Variant::EACH {
        let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        let bytes = fs::read(folder.join("out/rows.ndjson.gz")).expect("it was written");
        assert_eq!(
            members(&bytes),
            [Vec::<u8>::new()],
            "{variant}: one member, no text"
        );
    }
}

#[test]
fn a_path_that_is_no_regular_file_is_written_directly() {
    let folder = Folder::new("device");
    folder.write("in.csv", "a\n1\n");
    folder.write(
        "pipeline.toml",
        r#"
        [[stage]]
        name = "load"
        kind = "load_csv"
        files = ["in.csv"]

        [[stage]]
        name = "write"
        kind = "write_files"
        inputs = ["load"]
        path = "/dev/null"
        format = "ndjson"
        "#,
    );
    let outcome = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let kind = fs::metadata("/dev/null")
        .expect("every Linux has it")
        .file_type();
    assert!(!kind.is_file(), "the device is still there");
}

/// Rows and groups, as Arrow and as text.
const OUT: &str = r#"
[[stage]]
name = "load"
kind = "load_csv"
files = ["in.csv"]
types = { n = "int", f = "float", b = "bool" }

[[stage]]
name = "dates"
kind = "normalize_dates"
inputs = ["load"]
columns = ["at"]

[[stage]]
name = "grouped"
kind = "group_concat"
inputs = ["dates"]
by = "k"
unwrap_single = true

[[stage]]
name = "flat"
kind = "write_files"
inputs = ["dates"]
path = "out/flat.arrow"

[[stage]]
name = "lists"
kind = "write_files"
inputs = ["grouped"]
path = "out/lists.arrow"

[[stage]]
name = "flat_text"
kind = "write_files"
inputs = ["dates"]
path = "out/flat.ndjson"

[[stage]]
name = "lists_text"
kind = "write_files"
inputs = ["grouped"]
path = "out/lists.ndjson"
"#;

/// The Arrow files read back, and written again.
const BACK: &str = r#"
[[stage]]
name = "flat"
kind = "load_arrow"
files = ["out/flat.arrow"]

[[stage]]
name = "lists"
kind = "load_arrow"
files = ["out/lists.arrow"]

[[stage]]
name = "flat_again"
kind = "write_files"
inputs = ["flat"]
path = "back/flat.arrow"

[[stage]]
name = "flat_text"
kind = "write_files"
inputs = ["flat"]
path = "back/flat.ndjson"

[[stage]]
name = "lists_text"
kind = "write_files"
inputs = ["lists"]
path = "back/lists.ndjson"
"#;

#[test]
fn arrow_files_bring_back_types_dates_and_marks() {
    let folder = Folder::new("arrow");
    // More than the 65,536 rows of one record batch; groups of one value and of several.
    let mut csv = String::from("k,n,f,b,at,s\n");
    for i in 0..70_000 {
        let day = 1 + i % 28;
        csv.push_str(&format!(
            "{},{i},{}.25,t,2020-01-{day} 1:2:3.{i:06},é {i}\n",
            i / 2 + i % 2,
            i % 9
        ));
    }
    csv.push_str(",,,,,\n");
    folder.write("in.csv", csv);
    folder.write("out.toml", OUT);
    folder.write("back.toml", BACK);
    let mut first = None;
    for variant in [
        Variant::SEQUENTIAL.batch_rows(1000),
        Variant::SEQUENTIAL.staged(),
        Variant::new("threads", 1, 2),
        Variant::new("processes", 2, 1).batch_rows(777),
        Variant::new("hybrid", 2, 2),
    ] {
        for pipeline in ["out.toml", "back.toml"] {
            let outcome = Etl::run(folder.path(), pipeline, variant).outcome();
            assert_eq!(
                outcome.code,
                Some(0),
                "{pipeline} ({variant}): {}",
                outcome.stderr
            );
            assert_eq!(
                outcome.faults(),
                Vec::<String>::new(),
                "{pipeline} ({variant})"
            );
        }
        let (out, mut back) = (files(&folder.join("out")), files(&folder.join("back")));
        for (name, bytes) in &back {
            assert!(
                out[name] == *bytes,
                "{variant}: {name} did not come back as it was"
            );
        }
        let text = String::from_utf8(out["lists.ndjson"].clone()).expect("documents are UTF-8");
        let single = text
            .lines()
            .find(|line| line.starts_with("{\"k\":\"0\","))
            .expect("it is there");
        assert!(
            single.contains("\"n\":0,"),
            "the mark of a single value came back: {single}"
        );
        back.extend(out);
        match &first {
            None => first = Some(back),
            Some(first) => {
                let differ = first.iter().find(|(name, bytes)| back[*name] != **bytes);
                assert_eq!(
                    differ.map(|(name, _)| name),
                    None,
                    "{variant}: not the same bytes"
                );
            }
        }
    }
}

/// A full disk is named alike, whoever renders the rows.
#[test]
fn a_full_disk_has_its_path_and_a_hint_in_every_format() {
    for format in ["ndjson", "csv", "arrow", "parquet"] {
        let folder = Folder::new("full");
        folder.write("in.csv", "id,name\n1,Ada\n2,Bob\n");
        folder.write(
            "pipeline.toml",
            format!(
                "[[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [\"in.csv\"]\n\
                 [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"load\"]\n\
                 path = \"/dev/full\"\nformat = \"{format}\"\n"
            ),
        );
        for variant in [Variant::SEQUENTIAL, Variant::new("threads", 1, 2)] {
            let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
            assert_eq!(outcome.code, Some(1), "{format}: {}", outcome.stderr);
            for part in [
                "error: stage `write`: cannot write `/dev/full`\n  No space left on device",
                "\nhint: make room on that disk, or write elsewhere",
            ] {
                let said = &outcome.stderr;
                assert!(said.contains(part), "{format}: `{part}` is not in {said}");
            }
        }
    }
}
