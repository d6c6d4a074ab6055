//! Parquet files that are damaged, or odd: for each what a user needs to know, the same under every executor, and
//! nothing written.

use std::fs;

use crate::harness::{Etl, Folder, Variant, files, for_each, project};

const VARIANTS: [Variant; 4] = [
    Variant::SEQUENTIAL,
    Variant::new("threads", 1, 2).batch_rows(7),
    Variant::new("processes", 2, 1),
    Variant::SEQUENTIAL.batch_rows(3).staged(),
];

/// A file and what is said of it.
struct Fault {
    name: &'static str,
    /// The files that are read.
    files: Vec<(&'static str, Vec<u8>)>,
    /// More options.
    options: &'static str,
    exit: i32,
    /// Parts of stderr, all of which must be there.
    says: &'static [&'static str],
}

fn fault(
    name: &'static str,
    bytes: impl Into<Vec<u8>>,
    options: &'static str,
    says: &'static [&'static str],
) -> Fault {
    Fault {
        name,
        files: vec![("in.parquet", bytes.into())],
        options,
        exit: 1,
        says,
    }
}

/// A file of `tests/parquet`.
fn parquet(name: &str) -> Vec<u8> {
    let path = project()
        .join("tests/parquet")
        .join(name)
        .with_extension("parquet");
    fs::read(path).expect("make.py made it")
}

/// A file with other bytes from `at` on; from its end where that is negative.
fn with(name: &str, at: isize, bytes: &[u8]) -> Vec<u8> {
    let mut file = parquet(name);
    let at = if at < 0 {
        file.len() - at.unsigned_abs()
    } else {
        at.unsigned_abs()
    };
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

fn cut(name: &str, bytes_less: usize) -> Vec<u8> {
    let mut file = parquet(name);
    file.truncate(file.len() - bytes_less);
    file
}

/// How long the footer of a file is.
fn footer_bytes(file: &[u8]) -> usize {
    let end = file.len() - 8;
    let length: [u8; 4] = file[end..end + 4].try_into().expect("four bytes");
    u32::from_le_bytes(length) as usize
}

fn faults_of_files() -> Vec<Fault> {
    const CUT: &[&str] = &[
        "in.parquet",
        "cut off",
        "PAR1",
        "run again once it is complete",
    ];
    const FOOTER: &[&str] = &[
        "in.parquet",
        "footer is damaged",
        "copy or write the file again",
    ];
    let plain = parquet("plain");
    let footer = footer_bytes(&plain);
    vec![
        fault(
            "no bytes",
            "",
            "",
            &["in.parquet", "not a Parquet file", "it is empty"],
        ),
        fault(
            "text",
            "id,name\n1,Ada\n",
            "",
            &["in.parquet", "not a Parquet file", "`PAR1`"],
        ),
        fault("only its beginning", "PAR1", "", CUT),
        fault("without its last byte", cut("plain", 1), "", CUT),
        fault("without its footer", cut("plain", footer + 8), "", CUT),
        fault(
            "encrypted",
            parquet("encrypted"),
            "",
            &["in.parquet", "encrypted", "without encryption"],
        ),
        fault(
            "a footer longer than the file",
            with("plain", -8, &[0xFF, 0xFF, 0xFF, 0x7F]),
            "",
            &["footer is damaged", "2147483647 bytes"],
        ),
        fault(
            "a footer of no bytes",
            with("plain", -8, &[0; 4]),
            "",
            FOOTER,
        ),
        fault(
            "a footer of other bytes",
            with(
                "plain",
                -8 - isize::try_from(footer).expect("small"),
                &[0xFF; 64],
            ),
            "",
            FOOTER,
        ),
    ]
}

fn faults_of_pages() -> Vec<Fault> {
    let plain = parquet("plain");
    vec![
        fault(
            "bytes missing in the middle",
            [&plain[..1000], &plain[1500..]].concat(),
            "",
            &[
                "in.parquet",
                "row group 1, column `",
                "copy or write the file again",
            ],
        ),
        fault(
            "a page that does not fit its checksum",
            with("checksums", 100, &[0x55; 4]),
            "",
            &[
                "in.parquet: record 1",
                "row group 1, column `id`: is damaged",
                "checksum",
            ],
        ),
        fault(
            "a page of other bytes",
            with("gzip", 60, &[0x55; 40]),
            "",
            &[
                "in.parquet",
                "row group 1, column `id`: is damaged",
                "copy or write the file again",
            ],
        ),
        fault(
            "a page header of other bytes",
            with("plain", 4, &[0xFF; 8]),
            "",
            &[
                "in.parquet: record 1",
                "row group 1, column `id`: is damaged",
            ],
        ),
        fault(
            "a codec that is not read",
            parquet("brotli"),
            "",
            &[
                "in.parquet",
                "row group 1, column `i`",
                "brotli",
                "write it with zstd, snappy",
            ],
        ),
    ]
}

fn faults_of_columns() -> Vec<Fault> {
    const TYPE: &str = "which no stage works with";
    let others = |column: &'static str, options: &'static str, says: &'static [&'static str]| {
        fault(column, parquet("others"), options, says)
    };
    vec![
        others(
            "a decimal",
            "",
            &[
                "in.parquet",
                "column `price` is of type decimal(10, 2)",
                TYPE,
                "leave it out with `columns = [\"id\", \"name\"]`",
            ],
        ),
        others(
            "a structure",
            "columns = [\"point\"]",
            &["column `point` is of type structure", TYPE],
        ),
        others(
            "a list of them",
            "columns = [\"points\"]",
            &["column `points` is of type list of structures", TYPE],
        ),
        others(
            "a map",
            "columns = [\"pairs\"]",
            &["column `pairs` is of type map", TYPE],
        ),
        others(
            "bytes",
            "columns = [\"raw\"]",
            &["column `raw` is of type bytes (BYTE_ARRAY", TYPE],
        ),
        others(
            "bytes of one length",
            "columns = [\"fixed\"]",
            &["FIXED_LEN_BYTE_ARRAY(4)", TYPE],
        ),
        others(
            "a time of day",
            "columns = [\"time\"]",
            &["column `time` is of type time of day", TYPE],
        ),
        others(
            "a float of 16 bits",
            "columns = [\"half\"]",
            &["column `half` is of type 16-bit float", TYPE],
        ),
        others(
            "no type",
            "columns = [\"nothing\"]",
            &["column `nothing` is of type null", TYPE],
        ),
        fault(
            "two columns of one name",
            parquet("two_of_a_name"),
            "",
            &[
                "in.parquet",
                "two columns are named `a`",
                "leave it out with `columns = [\"b\"]`",
            ],
        ),
        fault(
            "the one of them that is asked for",
            parquet("two_of_a_name"),
            "columns = [\"b\", \"a\"]",
            &["two columns are named `a`", "`columns = [\"b\"]`"],
        ),
        others(
            "a column that is missing",
            "columns = [\"nam\"]",
            &["no column `nam`", "`name`"],
        ),
    ]
}

fn faults_of_values() -> Vec<Fault> {
    let outside = |options: &'static str, says: &'static [&'static str]| {
        fault(options, parquet("outside_years"), options, says)
    };
    vec![
        fault(
            "a value that is no number",
            parquet("not_a_number"),
            "",
            &[
                "in.parquet: record 3",
                "column `list` has `NaN`, which is not a number",
                "leave it out with `columns = [\"id\"]`",
            ],
        ),
        fault(
            "an integer beyond 64 bits with a sign",
            parquet("beyond_signed"),
            "",
            &[
                "in.parquet: record 2",
                "column `n` has `9223372036854775808`",
            ],
        ),
        outside(
            "columns = [\"day\"]",
            &[
                "in.parquet: record 2",
                "column `day` has a date outside the years 1 to 9999: `2932897` days since 1970",
            ],
        ),
        outside(
            "columns = [\"millis\"]",
            &[
                "in.parquet: record 2",
                "column `millis` has a date outside the years 1 to 9999: `9223372036854775807` milliseconds since 1970",
            ],
        ),
        outside(
            "columns = [\"micros\"]",
            &[
                "in.parquet: record 2",
                "column `micros` has a date outside the years 1 to 9999: `9223372036854775807` microseconds since 1970",
            ],
        ),
        outside(
            "columns = [\"early\"]",
            &[
                "in.parquet: record 2",
                "column `early` has a date outside the years 1 to 9999: `-62135596800000001` microseconds since 1970",
            ],
        ),
        outside(
            "columns = [\"list\"]",
            &[
                "in.parquet: record 2",
                "column `list` has a date outside the years 1 to 9999: `253402300800000000` microseconds since 1970",
            ],
        ),
        Fault {
            name: "a second file with other columns",
            files: vec![
                ("in.parquet", parquet("int96")),
                ("more.parquet", parquet("required")),
            ],
            options: "",
            exit: 1,
            says: &[
                "more.parquet",
                "has other columns than the first file: column ",
                " instead of ",
                "`select`",
            ],
        },
        Fault {
            exit: 2,
            ..fault(
                "a column that is asked for twice",
                parquet("int96"),
                "columns = [\"at\", \"id\", \"at\"]",
                &["`columns` names `at` twice"],
            )
        },
        Fault {
            exit: 2,
            ..fault(
                "no columns asked for",
                parquet("int96"),
                "columns = []",
                &["`columns` is empty"],
            )
        },
    ]
}

#[test]
fn each_fault_says_where_what_and_what_next() {
    let faults = [
        faults_of_files(),
        faults_of_pages(),
        faults_of_columns(),
        faults_of_values(),
    ];
    let faults: Vec<Fault> = faults.into_iter().flatten().collect();
    for_each(&faults, check);
}

fn check(fault: &Fault) -> Vec<String> {
    let folder = Folder::new("bad-parquet");
    for (name, bytes) in &fault.files {
        folder.write(name, bytes);
    }
    let names: Vec<&str> = fault.files.iter().map(|(name, _)| *name).collect();
    folder.write(
        "pipeline.toml",
        format!(
            "[[stage]]\nname = \"load\"\nkind = \"load_parquet\"\nfiles = {names:?}\n{}\n\
             [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"load\"]\n\
             path = \"out/rows.ndjson\"\n",
            fault.options
        ),
    );
    let mut words: Vec<String> = Vec::new();
    let mut wrong = Vec::new();
    for variant in VARIANTS {
        let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
        let what = format!("{} ({variant})", fault.name);
        if outcome.code != Some(fault.exit) {
            wrong.push(format!("{what}: exit {:?}", outcome.code));
        }
        let mut says = fault.says.to_vec();
        if fault.exit == 1 {
            says.push("stage `load`");
        }
        let lacks = says
            .into_iter()
            .filter(|part| !outcome.stderr.contains(part));
        wrong.extend(lacks.map(|part| format!("{what} lacks `{part}`: {}", outcome.stderr)));
        if outcome.stderr.contains("panicked") {
            wrong.push(format!("{what}: a panic is seen: {}", outcome.stderr));
        }
        if !files(&folder.join("out")).is_empty() {
            wrong.push(format!("{what}: something was written"));
        }
        words.push(outcome.stderr);
    }
    words.dedup();
    if words.len() > 1 {
        wrong.push(format!("{}: not the same words: {words:#?}", fault.name));
    }
    wrong
}

#[test]
fn a_parquet_file_is_sent_to_its_own_loader() {
    for (kind, says) in [
        ("load_csv", "is a Parquet file, not text"),
        ("load_arrow", "it is a Parquet file"),
    ] {
        let folder = Folder::new("parquet-elsewhere");
        folder.write("in.data", parquet("int96"));
        folder.write(
            "pipeline.toml",
            format!(
                "[[stage]]\nname = \"load\"\nkind = \"{kind}\"\nfiles = [\"in.data\"]\n\
                 [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"load\"]\n\
                 path = \"out.csv\"\n"
            ),
        );
        let outcome = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).outcome();
        assert_eq!(outcome.code, Some(1), "{kind}: {}", outcome.stderr);
        for part in [says, "kind `load_parquet` reads it"] {
            assert!(outcome.stderr.contains(part), "{kind}: {}", outcome.stderr);
        }
    }
}
