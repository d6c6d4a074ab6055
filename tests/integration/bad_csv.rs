//! CSV files that are damaged, odd or not what the options say, and streams that are compressed badly. Formatted by hand,
//! so that a file and what must come of it can be read as one line of a table.

use std::io::Write;

use etl::format::compression::Codec;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::bad_files::{BadFile, check};
use crate::harness::{Etl, Folder, Variant};

fn bad(
    name: &'static str,
    options: &'static str,
    bytes: impl Into<Vec<u8>>,
    exit: i32,
    says: &'static [&'static str],
    rows: &'static str,
) -> BadFile {
    BadFile {
        name,
        options,
        bytes: bytes.into(),
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

fn zstd(text: &[u8]) -> Vec<u8> {
    Codec::Zstd.member(text).expect("memory takes it")
}

fn utf16le(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn utf16be(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn utf32le(text: &str) -> Vec<u8> {
    let characters = text.chars().map(u32::from);
    characters.flat_map(u32::to_le_bytes).collect()
}

fn utf32be(text: &str) -> Vec<u8> {
    let characters = text.chars().map(u32::from);
    characters.flat_map(u32::to_be_bytes).collect()
}

fn cut(mut bytes: Vec<u8>, less: usize) -> Vec<u8> {
    bytes.truncate(bytes.len() - less);
    bytes
}

fn flipped(mut bytes: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = bytes.len() - from_end;
    bytes[at] ^= 0x55;
    bytes
}

const TEXT: &[u8] = b"a,b\n1,2\n3,4\n";
const NUMBERS: &str = "types = { a = \"int\", b = \"float\" }";

#[test]
#[rustfmt::skip]
fn records_that_do_not_fit_say_where_and_why() {
    check(
        "load_csv",
        "in.csv",
        &[
            bad("too few fields", "", "a,b\n1\n2,3\n", 0,
                &["expected 2 fields, found 1: column -, record 1, line 2, byte 4"], r#"{"a":"2","b":"3"}"#),
            bad("too many fields", "", "a,b\n1,2,3\n", 0,
                &["expected 2 fields, found 3: column -, record 1, line 2, byte 4"], ""),
            bad("too many fields, where short records are filled", "short_records = \"null\"", "a,b\n1\n1,2,3\n", 0,
                &["expected 2 fields, found 3: column -, record 2, line 3, byte 6"], r#"{"a":"1"}"#),
            bad("text after a closing quote", "", "a,b\n\"1\"x,2\n", 0,
                &["text after a closing quote: column a, record 1, line 2, byte 4"], ""),
            bad("blanks around quotes", "", "a,b\n\"1\" , \"2\"\n", 0,
                &["text after a closing quote: column a, record 1"], ""),
            bad("a quote after a trimmed one", "trim = true", "a,b\n\"1\" \"x\",2\n", 0,
                &["text after a closing quote: column a, record 1"], ""),
            bad("numbers that are none", NUMBERS, "a,b\n1.0,2\n1,nan\n1,0x2\n9223372036854775808,1\n 1,2\n", 0,
                &["expected int, found `1.0`: column a, record 1", "expected float, found `nan`: column b, record 2", "expected float, found `0x2`", "expected int, found `9223372036854775808`", "expected int, found ` 1`"], ""),
            bad("decimal commas", "types = { b = \"float\" }", "a,b\n1,\"2,5\"\n2,\"1.234,5\"\n3,\"2,x\"\n", 0,
                &["expected float, found `2,5`; is `decimal` a comma?: column b, record 1, line 2, byte 4", "found `1.234,5`; is `decimal` a comma?", "expected float, found `2,x`: "], ""),
            bad("thousands in no groups of three", "thousands = \".\"\ndecimal = \",\"\ntypes = { a = \"int\", b = \"float\" }", "a,b\n1.23,1\n1.234,\"1.23,5\"\n1.234,\"1,5\"\n", 0,
                &["expected int, found `1.23`: column a, record 1", "expected float, found `1.23,5`: column b, record 2"], r#"{"a":1234,"b":1.5}"#),
            bad("JSON that is none", "types = { b = \"json\" }", "a,b\n1,{x}\n2,\"[1\n\"\n3,01\n4,\"\"\"\"\n5,'a'\n6,NaN\n", 0,
                &["expected JSON, found `{x}`: column b, record 1, line 2", "record 2, line 3", "found `01`", "found `NaN`: column b, record 6, line 8"], ""),
            bad("JSON too deep for a document", "types = { b = \"json\" }", format!("a,b\n1,{}{}\n2,[]\n", "[".repeat(128), "]".repeat(128)), 0,
                &["expected JSON of at most 127 levels of lists and objects, found `[[["], r#"{"a":"2","b":[]}"#),
            bad("an escape that takes a delimiter", "escape = \"\\\\\"", "a,b\nC:\\,x\nC:\\\\,x\n", 0,
                &["expected 2 fields, found 1: column -, record 1, line 2, byte 4"], r#"{"a":"C:\\","b":"x"}"#),
            bad("zero bytes", "", "a,b\n\0\0\0\0\n1,2\n", 0,
                &["expected 2 fields, found 1: column -, record 1, line 2, byte 4"], r#"{"a":"1","b":"2"}"#),
            bad("a comment where none is said", "", "a,b\n# made by x\n1,2\n", 0,
                &["expected 2 fields, found 1: column -, record 1, line 2, byte 4"], r#"{"a":"1","b":"2"}"#),
        ],
    );
}

#[test]
#[rustfmt::skip]
fn bytes_that_are_not_the_encoding_say_where() {
    check(
        "load_csv",
        "in.csv",
        &[
            bad("latin1 as UTF-8", "", b"a,b\ncaf\xE9,1\nx,2\n", 0,
                &["bytes that are not UTF-8; is `encoding` windows-1252 (latin1), windows-1250 or the like?: column a, record 1, line 2, byte 4"], r#"{"a":"x","b":"2"}"#),
            bad("UTF-8 that is cut", "encoding = \"utf-8\"", b"a,b\n1,\xC3", 0,
                &["bytes that are not UTF-8: column b, record 1, line 2, byte 4"], ""),
            bad("surrogates as UTF-8", "", b"a,b\n1,\xED\xA0\x80\n", 0, &["bytes that are not UTF-8"], ""),
            bad("a header that is not the encoding", "", b"caf\xE9,b\n1,2\n", 1,
                &["`in.csv`: its header line has bytes that are not UTF-8", "hint: set `encoding`"], ""),
            bad("half a character of Shift_JIS", "encoding = \"shift_jis\"", b"a,b\n\x83,1\n\x83\x5C,2\n3,\x81", 0,
                &["bytes that are not Shift_JIS: column a, record 1, line 2, byte 4", "column b, record 3, line 4"], r#"{"a":"ソ","b":"2"}"#),
            bad("bytes that GBK has not", "encoding = \"gbk\"", b"a,b\n\xFF,1\n\xD6\xD0,2\n", 0,
                &["bytes that are not GBK: column a, record 1, line 2, byte 4"], r#"{"a":"中","b":"2"}"#),
            bad("half a character of UTF-16", "", [&b"\xFF\xFE"[..], &utf16le("a\n1\n"), b"\x00\xD8", &utf16le("x\n2"), b"\0"].concat(), 0,
                &["bytes that are not UTF-16LE: column a, record 2, line 3", "bytes that are not UTF-16LE: column a, record 3, line 4"], r#"{"a":"1"}"#),
            bad("UTF-16 without its mark", "", utf16le("a,b\n1,2"), 0,
                &["looks like UTF-16LE without a byte order mark", "write `encoding = \"utf-16le\"`"], r#"{"a\u0000":"\u00001\u0000","\u0000b\u0000":"\u00002\u0000"}"#),
            bad("UTF-16 without its mark, and types", "types = { a = \"int\" }", utf16le("a;b\n1;2"), 1,
                &["the header of `in.csv` has zero bytes", "hint: UTF-16 without a byte order mark has them: write `encoding = \"utf-16le\"`"], ""),
            bad("JSON records", "", b"{\"a\": 1}\n{\"a\": 2}\n", 0,
                &["`in.csv` looks like JSON records, one a line: if it is, kind `load_ndjson` reads it"], r#"{"{\"a\": 1}":"{\"a\": 2}"}"#),
            bad("UTF-16 as UTF-8", "encoding = \"utf-8\"", [&b"\xFF\xFE"[..], &utf16le("a\n1\n")].concat(), 1,
                &["`in.csv` begins with the byte order mark of UTF-16LE, and `encoding` says UTF-8", "hint: leave out `encoding`"], ""),
            bad("UTF-8 as Shift_JIS", "encoding = \"shift_jis\"", "\u{feff}a\n1\n", 1,
                &["`in.csv` begins with the byte order mark of UTF-8, and `encoding` says Shift_JIS"], ""),
            bad("UTF-16 in the other order", "encoding = \"utf-16be\"", [&b"\xFF\xFE"[..], &utf16le("a\n1\n")].concat(), 1,
                &["`in.csv` begins with the byte order mark of UTF-16LE, and `encoding` says UTF-16BE"], ""),
            bad("UTF-16 in the order that its mark says", "encoding = \"UTF-16\"", utf16be("\u{feff}a\n1\n"), 0, &[], r#"{"a":"1"}"#),
            bad("UTF-8 with its mark as latin1", "encoding = \"latin1\"", "\u{feff}a\n1\n", 1,
                &["`in.csv` begins with the byte order mark of UTF-8, and `encoding` says windows-1252", "hint: leave out `encoding`"], ""),
            bad("UTF-32", "", utf32le("\u{feff}a\n1\n"), 1,
                &["`in.csv` is UTF-32 text, which is not read", "hint: convert it first, with `iconv -f utf-32 -t utf-8`"], ""),
            bad("UTF-32, the larger byte first, gzipped", "", gzip(&utf32be("\u{feff}a\n1\n")), 1,
                &["`in.csv` is UTF-32 text, which is not read"], ""),
            bad("UTF-8 as latin1", "encoding = \"latin1\"", "a\né\n", 0,
                &["begins as UTF-8 does, and is read as `windows-1252`: `é` becomes `Ã©`", "leave out `encoding`"], r#"{"a":"Ã©"}"#),
            bad("a quote that UTF-16 never closes", "encoding = \"utf-16le\"", utf16le("a,b\n1,\"2\n"), 1,
                &["in.csv: record 1, begun on line 2, is still open at the end of the file: a quote that is never closed"], ""),
        ],
    );
}

#[test]
#[rustfmt::skip]
fn files_that_are_not_what_the_options_say_are_named() {
    check(
        "load_csv",
        "in.csv",
        &[
            bad("nothing", "", "", 1, &["`in.csv` is empty: it has no header line", "hint: give `columns`"], ""),
            bad("only comments", "comment = \"#\"", "#a\n#b", 1, &["`in.csv` is empty: it has no header line"], ""),
            bad("only a `sep=` line", "", "sep=;\r\n", 1, &["`in.csv` is empty: it has no header line"], ""),
            bad("a `sep=` line that contradicts", "delimiter = \",\"", "sep=;\na,b\n1,2\n", 0,
                &["warning: stage `load`: `in.csv` begins with `sep=;`, and is divided at `,`, as `delimiter` says"], r#"{"a":"1","b":"2"}"#),
            bad("a `sep=` line that names the quote", "", "sep=\"\na\n1\n", 1,
                &["`in.csv` begins with `sep=\\\"`, which is `quote`, `escape` or `comment` too"], ""),
            bad("a header with a name twice", "", "a,a\n1,2\n", 1,
                &["two columns are named `a`", "in the header of `in.csv`"], ""),
            bad("lines that end in CR alone", "", "a,b\r1,2\r", 1,
                &["`in.csv`: its lines end in CR alone, the first at byte 3", "hint: convert it first: `tr '\\r' '\\n' < in.csv > NEW`"], ""),
            bad("another delimiter", "", "a;b\n1;2\n", 0,
                &["if `;` stands between its fields, write `delimiter = \";\"`"], r#"{"a;b":"1;2"}"#),
            bad("a quote that is never closed", "", "a,b\n1,2\n3,\"4\n5,6\n", 1,
                &["in.csv: record 2, begun on line 3, is still open at the end of the file", "hint: set `quote` and `escape`"], ""),
            bad("an escape at the end", "escape = \"\\\\\"", "a,b\n1,2\\", 1,
                &["record 1, begun on line 2, is still open at the end of the file: an escape with nothing after it"], ""),
            bad("a record that is too long", "record_bytes = 10", "a,b\n1,2\n1,\"234567890\n\"\n", 1,
                &["in.csv: record 2, begun on line 3, is longer than 10 bytes", "raise `record_bytes`"], ""),
            bad("fewer lines than are skipped", "skip_rows = 5", "a,b\n1,2\n", 1,
                &["`in.csv` has only 2 lines, `skip_rows` is 5"], ""),
            bad("a Parquet file", "", "PAR1\x15\x04", 1, &["`in.csv` is a Parquet file"], ""),
            bad("a spreadsheet", "", "PK\x03\x04\x14\0", 1,
                &["`in.csv` is a zip archive (or a spreadsheet, which is one)", "save a spreadsheet as CSV"], ""),
            bad("bzip2", "", "BZh91AY&SY", 1,
                &["`in.csv` is compressed with bzip2, which is not read", "`bzcat FILE | etl run ...`"], ""),
            bad("xz", "", b"\xFD7zXZ\0", 1, &["compressed with xz", "`xzcat FILE | etl run ...`"], ""),
        ],
    );
}

#[test]
#[rustfmt::skip]
fn streams_that_are_damaged_fail_and_say_at_which_byte() {
    let two = |first: Vec<u8>, second: Vec<u8>| [first, second].concat();
    // Magic, no length and no checksum, a window of 256 MiB, an empty last block.
    let wide = b"\x28\xB5\x2F\xFD\0\x90\x01\0\0";
    check(
        "load_csv",
        "in.csv",
        &[
            bad("gzip that is cut", "", cut(gzip(TEXT), 3), 1,
                &["in.csv: cannot read on: the gzip stream is cut short at byte ", "hint: `gzip -t FILE` tests a file"], ""),
            bad("gzip with a wrong checksum", "", flipped(gzip(TEXT), 8), 1,
                &["the gzip stream is corrupt before byte "], ""),
            bad("gzip and something else", "", two(gzip(TEXT), b"5,6\n".to_vec()), 1,
                &["4 bytes after the end of the gzip stream at byte ", " are not gzip"], ""),
            bad("zstd that is cut", "", cut(zstd(TEXT), 3), 1,
                &["in.csv: cannot read on: the zstd stream is cut short at byte ", "hint: `zstd -t FILE` tests a file"], ""),
            bad("zstd that is cut in its magic", "", two(zstd(TEXT), b"\x28\xB5".to_vec()), 1,
                &["the zstd stream is cut short at byte ", " in the frame that begins at byte "], ""),
            bad("zstd with a wrong checksum", "", flipped(zstd(TEXT), 4), 1,
                &["the zstd stream is corrupt before byte ", "doesn't match checksum"], ""),
            bad("zstd whose second frame is damaged", "", two(zstd(TEXT), flipped(zstd(TEXT), 1)), 1,
                &["the zstd stream is corrupt before byte ", " in the frame that begins at byte "], ""),
            bad("zstd and something else", "", two(zstd(TEXT), b"5,6\n".to_vec()), 1,
                &["4 bytes after the end of the zstd stream at byte ", " are not zstd"], ""),
            bad("zstd and gzip", "", two(zstd(TEXT), gzip(TEXT)), 1,
                &["after the end of the zstd stream at byte "], ""),
            bad("zstd and zeros", "", two(zstd(TEXT), vec![0; 700]), 0, &[], r#"{"a":"1","b":"2"}{"a":"3","b":"4"}"#),
            bad("zstd that asks for too much memory", "", wide, 1,
                &["the zstd stream asks for a window of more than 128 MiB", "pack it with `--long=27` at most"], ""),
            bad("zstd in zstd", "", zstd(&zstd(TEXT)), 1,
                &["`in.csv`: its header line has bytes that are not UTF-8"], ""),
        ],
    );
}

/// Options that contradict each other are found before anything is read.
#[test]
#[rustfmt::skip]
fn options_that_contradict_are_refused() {
    let refused = |options, says| bad(options, options, TEXT, 2, says, "");
    check(
        "load_csv",
        "in.csv",
        &[
            refused("comment = \",\"", &["`comment` and `delimiter` must differ", "pipeline.toml:"]),
            refused("comment = \"\\\"\"", &["`comment` and `quote` must differ"]),
            refused("comment = \"##\"", &["`comment` must be one byte, found `##`"]),
            refused("delimiter = \"\\\"\"", &["`delimiter`, `quote` and `escape` must differ"]),
            refused("decimal = \".\"\nthousands = \".\"",
                &["`decimal` and `thousands` must differ", "hint: for numbers such as `1.234,50`"]),
            refused("decimal = \"0\"", &["`decimal` must be one character, and no letter, digit or sign, found `0`"]),
            refused("thousands = \"\"", &["`thousands` must be one character"]),
            bad("tabs that divide trimmed values", "trim = true\ndelimiter = \"\\t\"", "a\tb\n 1\t2 \n", 0, &[], r#"{"a":"1","b":"2"}"#),
            refused("escape_where = \"quoted\"", &["`escape_where` = `quoted` means nothing without `escape`"]),
            refused("escape_where = \"quoted\"\nescape = \"\\\\\"\nquote = \"\"", &["means nothing without `quote`"]),
            refused("escape_where = \"quoted\"\nescape = \"\\\"\"",
                &["`escape_where` = `quoted` means nothing where `escape` is `quote`", "hint: leave out both"]),
            refused("trim = true\nquote = \" \"", &["`quote` is a blank, and `trim` takes blanks away"]),
            refused("trim = true\nescape = \"\\t\"", &["`escape` is a blank, and `trim` takes blanks away"]),
            refused("trim = true\ncomment = \" \"", &["`comment` is a blank, and `trim` takes blanks away"]),
            refused("columns = [\"a\"]\nheader_differs = \"by_name\"",
                &["`columns` says that they have none", "hint: leave out `columns`, or `header_differs`"]),
            refused("encoding = \"utf-7\"", &["no encoding is labelled `utf-7`", "did you mean `utf-"]),
            refused("encoding = \"hz-gb-2312\"", &["no encoding is labelled `hz-gb-2312`"]),
            refused("types = { a = \"decimal\" }",
                &["`types.a`: expected one of `string`, `int`, `float`, `bool`, `json`, found `decimal`"]),
        ],
    );
}

#[test]
#[rustfmt::skip]
fn files_without_a_byte_are_no_compressed_texts() {
    for (file, says) in [
        ("in.csv.gz", &["cannot read `in.csv.gz`", "the gzip stream is cut short at byte 0", "hint: `gzip -t FILE` tests a file"]),
        ("in.csv.zst", &["cannot read `in.csv.zst`", "the zstd stream is cut short at byte 0", "hint: `zstd -t FILE` tests a file"]),
    ] {
        check("load_csv", file, &[
            bad("nothing, with a header", "", "", 1, says, ""),
            bad("nothing, without", "columns = [\"a\"]", "", 1, says, ""),
        ]);
    }
    check("load_csv", "in.csv", &[
        bad("nothing that a name calls compressed", "columns = [\"a\"]", "", 0, &["`in.csv` is empty"], ""),
        bad("nothing, compressed", "columns = [\"a\"]", gzip(b""), 0, &[], ""),
    ]);
}

/// What no number of 64 bits holds, or no map, stands in a later stage's reject as it stood in the file.
#[test]
fn rejects_of_later_stages_keep_json_as_it_stands() {
    let values = [
        r"1.10",
        r"1e999",
        r#"{"a":1,"a":12345678901234567890123}"#,
        r#"["\u00e9", 1.0]"#,
    ];
    let quoted = values.map(|value| format!("x,\"{}\"\n", value.replace('"', "\"\"")));
    let csv = quoted.concat();
    let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
    for variant in [
        Variant::SEQUENTIAL,
        Variant::new("processes", 2, 1).batch_rows(1),
    ] {
        let folder = Folder::new("json_rejects");
        folder.write("in.csv", format!("d,j\n{csv}x,{deep}\n"));
        folder.write(
            "pipeline.toml",
            "max_rejects = -1\n\
             [[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [\"in.csv\"]\ntypes = { j = \"json\" }\n\
             [[stage]]\nname = \"dates\"\nkind = \"normalize_dates\"\ninputs = [\"load\"]\ncolumns = [\"d\"]\n\
             [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"dates\"]\npath = \"out/rows.ndjson\"\n",
        );
        let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        let rows: Vec<&str> = outcome.rejects.lines().collect();
        assert_eq!(rows.len(), values.len() + 1, "{variant}");
        for (line, value) in rows.iter().zip(values.iter().chain([&deep.as_str()])) {
            let row = format!("\"row\":{{\"d\":\"x\",\"j\":{value}}}");
            assert!(line.contains(&row), "{variant}: {row} is not in {line}");
        }
    }
}
