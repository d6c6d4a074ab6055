//! JSON files that are damaged, odd or not what the options say: for each the words that a user needs (place, what
//! was expected, what to do), the same under every executor.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::harness::{Etl, Folder, Variant, for_each};

const VARIANTS: [Variant; 4] = [
    Variant::SEQUENTIAL,
    Variant::new("threads", 1, 2).batch_rows(1),
    Variant::new("processes", 2, 1).batch_rows(2),
    Variant::new("hybrid", 2, 2).staged(),
];

/// What a file holds and what must come of it.
struct Bad {
    name: &'static str,
    options: &'static str,
    text: Vec<u8>,
    exit: i32,
    /// Parts of what is said, all of which must be there.
    says: &'static [&'static str],
    /// The rows that are written all the same.
    rows: &'static str,
}

const LINES: &str = "columns = [\"a\"]";
const LIST: &str = "columns = [\"a\"]\nformat = \"json\"";
const RECORDS: &str = "columns = [\"a\"]\nformat = \"json\"\nrecords = \"/r\"";

fn bad(
    name: &'static str,
    options: &'static str,
    text: impl Into<Vec<u8>>,
    exit: i32,
    says: &'static [&'static str],
    rows: &'static str,
) -> Bad {
    Bad {
        name,
        options,
        text: text.into(),
        exit,
        says,
        rows,
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn gzip_cut() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for number in 0..100 {
        writeln!(encoder, "{{\"a\":{number}}}").expect("memory takes it");
    }
    let mut bytes = encoder.finish().expect("memory takes it");
    bytes.truncate(bytes.len() - 12);
    bytes
}

#[expect(clippy::too_many_lines, reason = "it is a table")]
fn table() -> Vec<Bad> {
    let deep = format!("{{\"a\":1,\"b\":{}}}\n", "[".repeat(200));
    let mut utf16 = b"\xFF\xFE".to_vec();
    utf16.extend("{\"a\":1}\n".encode_utf16().flat_map(u16::to_le_bytes));
    vec![
        bad(
            "a line cut in its midst",
            LINES,
            "{\"a\":1}\n{\"a\":\"x\n{\"a\":2}\n",
            3,
            &[
                "expected a closing quote, found the end of the record",
                "record 2, line 2, byte 8",
            ],
            "12",
        ),
        bad(
            "the last line cut",
            LINES,
            "{\"a\":1}\n{\"a\":",
            3,
            &[
                "expected a value, found the end of the record",
                "record 2, line 2, byte 8",
            ],
            "1",
        ),
        bad(
            "two records on a line",
            LINES,
            "{\"a\":1}{\"a\":2}\n",
            3,
            &[
                "expected the end of the record, found `{` at byte 7 of the record",
                "line 1",
            ],
            "",
        ),
        bad(
            "a comma too many",
            LINES,
            "{\"a\":1,}\n",
            3,
            &["expected a name in quotes, found `}` at byte 7"],
            "",
        ),
        bad(
            "Python's notation",
            LINES,
            "{'a': None}\n{\"a\":None}\n{\"a\":True}\n",
            3,
            &[
                "expected a name in quotes or `}`, found `'` at byte 1",
                "expected a value, found `None` at byte 5",
            ],
            "",
        ),
        bad(
            "what JSON has no number for",
            LINES,
            "{\"a\":NaN}\n{\"a\":-Infinity}\n{\"a\":+1}\n{\"a\":0x1F}\n",
            3,
            &[
                "expected a value, found `NaN`",
                "expected a digit, found `Infinity`",
                "expected a value, found `+1`",
                "expected `,` or `}`, found `x1F`",
            ],
            "",
        ),
        bad(
            "a comment",
            LINES,
            "// made by hand\n{\"a\":1}\n",
            3,
            &["expected a value, found `/` at byte 0"],
            "1",
        ),
        bad(
            "a log around the records",
            LINES,
            "2025-01-01 INFO {\"a\":1}\n{\"a\":2}\n",
            3,
            &["expected the end of the record, found `-01-01` at byte 4"],
            "2",
        ),
        bad(
            "records that are lists",
            LINES,
            "[1,2]\n",
            3,
            &["expected an object, found a list; is `format` json?"],
            "",
        ),
        bad(
            "a list as lines",
            LINES,
            "[{\"a\":1},\n {\"a\":2}]\n",
            3,
            &[
                "begins with `[`, as a list of records does; if it is one, write `format = \"json\"`",
            ],
            "",
        ),
        bad(
            "CSV",
            LINES,
            "a,b\n1,2\n",
            3,
            &[
                "expected a value, found `a` at byte 0",
                "expected the end of the record, found `,` at byte 1",
                "line 2",
            ],
            "",
        ),
        bad(
            "latin1",
            LINES,
            b"{\"a\":\"caf\xe9\"}\n{\"a\":1}\n".to_vec(),
            3,
            &[
                "bytes that are not UTF-8, at byte 9 of the record",
                "record 1, line 1, byte 0",
            ],
            "1",
        ),
        bad(
            "zeros",
            LINES,
            "{\"a\":1}\n\0\0\0\0\n{\"a\":2}\n",
            3,
            &["expected a value, found `\\0` at byte 0", "line 2, byte 8"],
            "12",
        ),
        bad(
            "a newline inside a text",
            LINES,
            "{\"a\":\"x\ny\"}\n",
            3,
            &[
                "expected a closing quote, found the end of the record",
                "expected a value, found `y` at byte 0",
            ],
            "",
        ),
        bad(
            "half a character",
            LINES,
            "{\"a\":\"\\ud83d\"}\n",
            3,
            &["column `a`: a text holds half a character"],
            "",
        ),
        bad(
            "too deep",
            LINES,
            deep,
            3,
            &["expected at most 128 levels of lists and objects, found `[` at byte 138"],
            "",
        ),
        bad(
            "a value of another type",
            "columns = [\"a\"]\ntypes = { a = \"int\" }",
            "{\"a\":1}\n{\"a\":\"n/a\"}\n",
            3,
            &["column `a`: expected int, found `n/a`", "line 2"],
            "1",
        ),
        bad("UTF-16", LINES, utf16.clone(), 1, &["UTF-16"], ""),
        bad(
            "UTF-16, gzipped",
            LINES,
            gzip(&utf16),
            1,
            &["`rows.json` is UTF-16 text"],
            "",
        ),
        bad(
            "UTF-32",
            LINES,
            b"\xFF\xFE\0\0{\0\0\0}\0\0\0",
            1,
            &[
                "`rows.json` is UTF-32 text, which is not read",
                "iconv -f utf-32 -t utf-8",
            ],
            "",
        ),
        bad(
            "names with half a character",
            LINES,
            "{\"\\ud800\":1,\"\\\\ud800\":2}\n{\"a\":1,\"\\udc00\\ud800\":0}\n{\"\\ud83d\\ude00\":0,\"a\":2}\n",
            3,
            &[
                "expected a name without half a character (`\\uD800` to `\\uDFFF` stand in pairs), found `\\\\` at byte 2 of the record: record 1, line 1",
                "at byte 8 of the record: record 2, line 2",
            ],
            "2",
        ),
        bad(
            "one value over several lines",
            "",
            "{\n  \"a\": 1\n}\n",
            1,
            &[
                "`rows.json` has no member in its first records",
                "hint: its first line is a list, or goes on in the next one: `format = \"json\"` reads one value, and `records`",
            ],
            "",
        ),
        bad(
            "lines that end in CR",
            "",
            "{\"a\":1}\r{\"a\":2}\r",
            1,
            &[
                "its first record is no JSON: trailing characters",
                "hint: a record is one JSON value: a line that ends in LF or CR LF",
            ],
            "",
        ),
        bad(
            "a comma that is missing",
            "format = \"json\"",
            "[{\"a\":1} {\"a\":2}]",
            1,
            &["its first record is no JSON: trailing characters"],
            "",
        ),
        bad(
            "a list on one line",
            "",
            "[{\"a\":1},{\"a\":2}]\n",
            1,
            &[
                "has no member in its first records",
                "`format = \"json\"` reads one value",
            ],
            "",
        ),
        bad(
            "a gzip that is cut",
            LINES,
            gzip_cut(),
            1,
            &["rows.json"],
            "",
        ),
        bad(
            "a record without end",
            "columns = [\"a\"]\nrecord_bytes = 64",
            format!("{{\"a\":1}}\n{}", "{\"a\":".repeat(40)),
            1,
            &[
                "rows.json: record 2, begun on line 2, is longer than 64 bytes",
                "otherwise raise `record_bytes`",
            ],
            "",
        ),
        bad(
            "a list that is cut",
            LIST,
            "[\n{\"a\":1},\n{\"a\":",
            1,
            &[
                "rows.json: record 2, begun on line 3, is still open at the end of the file",
                "hint: the file was cut, or a quote or a bracket in it is never closed",
            ],
            "",
        ),
        bad(
            "a list that is cut after a comma",
            LIST,
            "[{\"a\":1},",
            1,
            &[
                "line 1, byte 9: expected a value or `]`, found the end of the file",
                "the file was cut",
            ],
            "",
        ),
        bad(
            "a quote that is never closed in a list",
            LIST,
            "[{\"a\":\"1},{\"a\":2}]",
            1,
            &["record 1, begun on line 1, is still open"],
            "",
        ),
        bad(
            "garbage after a list",
            LIST,
            "[{\"a\":1}]\n]\n",
            1,
            &["line 2, byte 10: expected the end of the file after the value, found `]`"],
            "",
        ),
        bad(
            "lists one after the other",
            LIST,
            "[{\"a\":1}][{\"a\":2}]",
            1,
            &["expected the end of the file after the value, found `[`"],
            "",
        ),
        bad(
            "lines as a list",
            LIST,
            "{\"a\":1}\n{\"a\":2}\n",
            1,
            &[
                "line 1, byte 0: expected `[`, the beginning of a list of records, found `{`",
                "a value a line is `format = \"ndjson\"`",
            ],
            "",
        ),
        bad(
            "an empty file as a list",
            LIST,
            "",
            1,
            &["line 1, byte 0: expected a value, found the end of the file"],
            "",
        ),
        bad(
            "a comma missing in a list",
            LIST,
            "[{\"a\":1} {\"a\":2},{\"a\":3},]",
            3,
            &[
                "expected the end of the record, found `{` at byte 8",
                "expected a value, found the end of the record",
            ],
            "3",
        ),
        bad(
            "nothing at the pointer",
            RECORDS,
            "{\"rows\":[{\"a\":1}]}",
            1,
            &[
                "expected a list at `/r`, found no `r` in the value, which has `rows`",
                "`records` is the pointer to that list",
            ],
            "",
        ),
        bad(
            "no list at the pointer",
            RECORDS,
            "{\"r\":null}",
            1,
            &["line 1, byte 5: expected `[`, a list of records at `/r`, found `null`"],
            "",
        ),
        bad(
            "two lists at the pointer",
            RECORDS,
            "{\"r\":[{\"a\":1}],\"r\":[]}",
            1,
            &["expected one value at `/r`, found `[`"],
            "",
        ),
        bad(
            "damage around the records",
            RECORDS,
            "{\"n\":1.,\"r\":[]}",
            1,
            &["line 1, byte 7: expected a digit, found `,`"],
            "",
        ),
        bad(
            "damage after the records",
            RECORDS,
            "{\"r\":[{\"a\":1}],}",
            1,
            &["line 1, byte 15: expected a name in quotes, found `}`"],
            "",
        ),
    ]
}

#[test]
fn every_bad_file_says_what_a_user_needs() {
    for_each(&table(), check);
}

#[test]
fn a_look_before_the_run_finds_what_does_not_fit() {
    let look = |text: &str, options: &str| {
        let folder = Folder::new("bad_ndjson");
        folder.write("rows.json", text);
        let stages =
            "[[stage]]\nname = \"load\"\nkind = \"load_ndjson\"\nfiles = [\"rows.json\"]\n";
        folder.write(
            "pipeline.toml",
            format!(
                "{stages}{options}\n[[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"load\"]\n\
                 path = \"rows.csv\"\n"
            ),
        );
        let looked = Etl::new(folder.path(), &["check", "pipeline.toml", "--connect"]).outcome();
        (looked.code, looked.stdout + &looked.stderr)
    };
    let lines = "{\"a\":1,\"b\":2}\n{\"c\" 3}\n";
    for (text, options, code, says) in [
        (lines, "", 0, "2 columns, the first record fits"),
        (
            lines,
            "columns = [\"a\"]",
            0,
            "1 column, the first record fits",
        ),
        ("", "columns = [\"a\"]", 0, "1 column, no records"),
        (
            "[{\"a\":1}]\n",
            "columns = [\"a\"]",
            1,
            "does not fit: expected an object, found a list; is `format` json?",
        ),
        (
            "[{\"a\":1}]\n",
            "format = \"json\"",
            0,
            "1 column, the first record fits",
        ),
        (
            "{\"a\":1}\n",
            "types = { b = \"int\" }",
            1,
            "`types` names `b`; `columns` has `a`",
        ),
        (
            "{\"a\":1}\n",
            "format = \"json\"\ncolumns = [\"a\"]",
            1,
            "expected `[`, the beginning of a list of records",
        ),
        (
            "{\"a\":1}\n",
            "records = \"/a\"",
            2,
            "`records` is for `format = \"json\"`",
        ),
        (
            "{\"a\":1}\n",
            "columns = { a = \"a.b\" }",
            2,
            "did you mean `/a/b`?",
        ),
    ] {
        let (found, said) = look(text, options);
        assert_eq!(found, Some(code), "{options}: {said}");
        assert!(said.contains(says), "{options}: {said}");
    }
}

/// Rejects in words, a line each.
fn rejects(text: &str) -> String {
    let mut words = String::new();
    for line in text.lines() {
        let reject: Value = serde_json::from_str(line).expect("a reject is JSON");
        let column = reject["column"].as_str();
        let column = column
            .map(|column| format!("column `{column}`: "))
            .unwrap_or_default();
        let (reason, at) = (
            reject["reason"].as_str().unwrap_or_default(),
            &reject["source"],
        );
        words += &format!(
            "{column}{reason}: record {}, line {}, byte {}\n",
            at["record"], at["line"], at["byte"]
        );
    }
    words
}

/// What is not as it must be, in words.
fn check(bad: &Bad) -> Vec<String> {
    let mut faults = Vec::new();
    let mut first: Option<String> = None;
    for variant in VARIANTS {
        let folder = Folder::new("bad_ndjson");
        folder.write("rows.json", &bad.text);
        folder.write(
            "pipeline.toml",
            format!(
                "[[stage]]\nname = \"load\"\nkind = \"load_ndjson\"\nfiles = [\"rows.json\"]\n{}\n\
                 [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"load\"]\npath = \"out/rows.csv\"\n",
                bad.options
            ),
        );
        let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
        let said = format!("{}\n{}", outcome.stderr, rejects(&outcome.rejects));
        let mut fault = |what: String| faults.push(format!("{}: {what}\n{said}", bad.name));
        if outcome.code != Some(bad.exit) {
            fault(format!("exit {:?}", outcome.code));
        }
        let first = first.get_or_insert_with(|| said.clone());
        if *first != said {
            fault("the executor changes what is said".into());
        }
        for part in bad.says.iter().filter(|part| !said.contains(**part)) {
            fault(format!("nothing says `{part}`"));
        }
        let rows = std::fs::read_to_string(folder.join("out/rows.csv")).unwrap_or_default();
        let rows: String = rows.lines().skip(1).collect();
        if rows != bad.rows {
            fault(format!("the rows are `{rows}`"));
        }
    }
    faults
}
