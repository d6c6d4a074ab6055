//! What goes wrong: for each fault the exit code, the words, the place, the same under every executor, and
//! nothing half-written: what lay there before lies there still.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::harness::{ETL, Etl, Folder, Outcome, Variant, files, for_each};

const VARIANTS: [Variant; 8] = [
    Variant::SEQUENTIAL,
    Variant::SEQUENTIAL.batch_rows(2).staged(),
    Variant::new("threads", 1, 2),
    Variant::new("threads", 1, 3).batch_rows(1).staged(),
    Variant::new("processes", 2, 1),
    Variant::new("processes", 2, 1).batch_rows(1).staged(),
    Variant::new("hybrid", 2, 2),
    Variant::new("hybrid", 1, 2).batch_rows(3),
];

/// What lies where the run writes, before it.
const OLD: &[u8] = b"{\"old\":true}\n";

/// A fault and what must come of it.
struct Fault {
    name: &'static str,
    pipeline: String,
    files: Vec<(&'static str, Vec<u8>)>,
    exit: i32,
    /// Parts of stderr, all of which must be there.
    says: Vec<&'static str>,
    /// Parts of stderr, any of which will do.
    says_one_of: &'static [&'static str],
    rejects: usize,
}

impl Fault {
    fn new(name: &'static str, exit: i32, says: &[&'static str]) -> Self {
        Fault {
            name,
            pipeline: pipeline("", ""),
            files: Vec::new(),
            exit,
            says: says.to_vec(),
            says_one_of: &[],
            rejects: 0,
        }
    }

    /// With this as `in.csv`.
    fn input(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.file("in.csv", bytes)
    }

    fn file(mut self, name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((name, bytes.into()));
        self
    }

    fn pipeline(mut self, text: impl Into<String>) -> Self {
        self.pipeline = text.into();
        self
    }

    fn says_one_of(mut self, parts: &'static [&'static str]) -> Self {
        self.says_one_of = parts;
        self
    }

    fn rejects(mut self, rows: usize) -> Self {
        self.rejects = rows;
        self
    }
}

/// Three columns of `in.csv`, one an integer, to `out/rows.ndjson`; more options of the loader, and stages
/// between, of which the last is named `last`.
fn pipeline(load: &str, between: &str) -> String {
    let input = if between.is_empty() { "load" } else { "last" };
    format!(
        r#"
[[stage]]
name = "load"
kind = "load_csv"
files = ["in.csv"]
columns = ["id", "n", "text"]
types = {{ n = "int" }}
{load}

{between}

[[stage]]
name = "write"
kind = "write_files"
inputs = ["{input}"]
path = "out/rows.ndjson"
"#
    )
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// Rows that do not compress away, so that damage can be done in the midst of them.
fn rows(count: u64) -> Vec<u8> {
    let mut text = Vec::new();
    for i in 0..count {
        let noise = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        writeln!(text, "{i},{},text {noise:x}", noise % 1000).expect("memory takes it");
    }
    text
}

fn corrupted(mut bytes: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = bytes.len() - from_end;
    bytes[at] ^= 0x55;
    bytes
}

/// How decoders put it; any of these words will do.
const BROKEN: &[&str] = &[
    "cut",
    "truncated",
    "corrupt",
    "damaged",
    "end of file",
    "ends",
    "checksum",
    "CRC",
    "crc",
    "invalid",
];

fn faults_of_gzip() -> Vec<Fault> {
    let whole = gzip(&rows(20_000));
    let half = whole.len() / 2;
    let damaged = [gzip(&rows(10)), corrupted(whole.clone(), half)].concat();
    let cut = [gzip(&rows(10)), whole[..half].to_vec()].concat();
    vec![
        Fault::new("cut gzip", 1, &["stage `load`", "in.csv"])
            .input(&whole[..half])
            .says_one_of(BROKEN),
        Fault::new("gzip without its last byte", 1, &["stage `load`", "in.csv"])
            .input(&whole[..whole.len() - 1])
            .says_one_of(BROKEN),
        Fault::new("only a gzip header", 1, &["stage `load`", "in.csv"])
            .input(&whole[..10])
            .says_one_of(BROKEN),
        Fault::new("wrong checksum", 1, &["stage `load`", "in.csv"])
            .input(corrupted(whole.clone(), 7))
            .says_one_of(BROKEN),
        Fault::new("wrong length", 1, &["stage `load`", "in.csv"])
            .input(corrupted(whole, 2))
            .says_one_of(BROKEN),
        Fault::new("second member damaged", 1, &["stage `load`", "in.csv"])
            .input(damaged)
            .says_one_of(BROKEN),
        Fault::new("second member cut", 1, &["stage `load`", "in.csv"])
            .input(cut)
            .says_one_of(BROKEN),
    ]
}

fn faults_of_text() -> Vec<Fault> {
    let mut long = b"1,1,a\n2,2,".to_vec();
    long.resize(100 << 20, b'x');
    long.extend(b"\n3,3,c\n");
    vec![
        Fault::new("ragged rows", 3, &["rejected", "`max_rejects`"])
            .input("1,1,a\n2,2\n3,3,c\n4,4,d,e\n5,5,f\n")
            .rejects(2),
        Fault::new(
            "ragged rows, on_error = fail",
            1,
            &["stage `load`", "in.csv", "record 2", "line 2"],
        )
        .input("1,1,a\n2,2\n3,3,c\n")
        .pipeline(pipeline("on_error = \"fail\"", "")),
        Fault::new("unclosed quote", 1, &["stage `load`", "in.csv", "line 2"])
            .input("1,1,a\n2,2,\"b\n3,3,c\n4,4,d\n"),
        Fault::new(
            "text after a closing quote",
            3,
            &["rejected", "`max_rejects`"],
        )
        .input("1,1,a\n2,2,\"b\"c\n3,3,c\n")
        .rejects(1),
        Fault::new("bad UTF-8", 3, &["rejected", "`max_rejects`"])
            .input(b"1,1,a\n2,2,\xff\xfe\n3,3,\xc3\n4,4,\xc3\xa9\n")
            .rejects(2),
        Fault::new("wrong type", 3, &["rejected", "`max_rejects`"])
            .input("1,1,a\n2,two,b\n3,3.0,c\n4,99999999999999999999,d\n")
            .rejects(3),
        Fault::new(
            "wrong type, on_error = fail",
            1,
            &["stage `load`", "`n`", "`two`", "record 3", "line 4"],
        )
        .input("1,1,a\n9,9,\"two\nlines\"\n2,two,b\n")
        .pipeline(pipeline("on_error = \"fail\"", "")),
        Fault::new(
            "a field of 100 MB",
            1,
            &["stage `load`", "in.csv", "line 2"],
        )
        .input(long),
        Fault::new(
            "a record over the limit set",
            1,
            &["stage `load`", "in.csv", "line 2"],
        )
        .input("1,1,a\n2,2,1234567890123456789012345678901234567890\n3,3,c\n")
        .pipeline(pipeline("record_bytes = 32", "")),
        Fault::new(
            "an empty file without its header",
            1,
            &["stage `load`", "in.csv"],
        )
        .input("")
        .pipeline(pipeline("", "").replace("columns = [\"id\", \"n\", \"text\"]", "")),
        Fault::new("headers that differ", 1, &["stage `load`", "b.csv"])
            .file("a.csv", "id,n,text\n1,1,a\n")
            .file("b.csv", "id,text,n\n2,b,2\n")
            .pipeline(
                pipeline("", "")
                    .replace("columns = [\"id\", \"n\", \"text\"]", "")
                    .replace("\"in.csv\"", "\"a.csv\", \"b.csv\""),
            ),
    ]
}

fn faults_of_files() -> Vec<Fault> {
    vec![
        Fault::new(
            "a header with a name twice",
            1,
            &[
                "two columns are named `a`",
                "in the header of `in.csv`",
                "`skip_rows = 1`",
            ],
        )
        .input("a,b,a\n1,2,3\n")
        .pipeline(pipeline("", "").replace("columns = [\"id\", \"n\", \"text\"]", "")),
        Fault::new(
            "a missing file",
            1,
            &["stage `load`", "in.csv", "pipeline.toml:"],
        ),
        Fault::new(
            "a glob without a match",
            1,
            &["stage `load`", "no*.csv", "pipeline.toml:"],
        )
        .pipeline(pipeline("", "").replace("in.csv", "no*.csv")),
        Fault::new("a directory", 1, &["stage `load`", "in.csv"]).file("in.csv/inside", "1,1,a\n"),
        Fault::new(
            "a mapping that is not JSON",
            1,
            &["stage `index`", "mapping.json:1:3", "pipeline.toml:"],
        )
        .input("1,1,a\n")
        .file("mapping.json", "{ properties: }")
        .pipeline(pipeline("", "") + INDEX),
        Fault::new(
            "a mapping that is missing",
            1,
            &["stage `index`", "mapping.json", "pipeline.toml:"],
        )
        .input("1,1,a\n")
        .pipeline(pipeline("", "") + INDEX),
        Fault::new("an Arrow file that is none", 1, &["stage `load`", "in.csv"])
            .input("1,1,a\n")
            .pipeline(
                "[[stage]]\nname = \"load\"\nkind = \"load_arrow\"\nfiles = [\"in.csv\"]\n\
                 [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"load\"]\n\
                 path = \"out/rows.ndjson\"\n",
            ),
    ]
}

const INDEX: &str = r#"
[[stage]]
name = "index"
kind = "bulk_index"
inputs = ["load"]
to = "local:out/index"
index = "rows"
id = "id"
mapping = "mapping.json"
"#;

fn between(options: &str) -> String {
    format!("[[stage]]\nname = \"last\"\ninputs = [\"load\"]\n{options}\n")
}

fn other(options: &str) -> String {
    format!(
        "[[stage]]\nname = \"other\"\nkind = \"load_csv\"\nfiles = [\"other.csv\"]\n\
         columns = [\"id\", \"m\"]\n\
         [[stage]]\nname = \"last\"\nkind = \"join\"\ninputs = [\"load\", \"other\"]\n{options}\n"
    )
}

/// A run of three rows, one with a text that is no date, and of `other.csv` with a key twice.
fn with(name: &'static str, exit: i32, says: &[&'static str], between: impl AsRef<str>) -> Fault {
    Fault::new(name, exit, says)
        .input("1,1,2020-01-01\n2,2,yesterday\n3,3,2020-01-03\n")
        .file("other.csv", "1,a\n2,b\n2,c\n")
        .pipeline(pipeline("", between.as_ref()))
}

fn faults_of_rows() -> Vec<Fault> {
    let dates = |on_error: &str| {
        between(&format!(
            "kind = \"normalize_dates\"\ncolumns = [\"text\"]\non_error = \"{on_error}\""
        ))
    };
    vec![
        with(
            "a date that is none",
            3,
            &["rejected", "`max_rejects`"],
            dates("reject"),
        )
        .rejects(1),
        with(
            "a date that is none, on_error = fail",
            1,
            &[
                "stage `last`",
                "`text`",
                "`yesterday`",
                "in.csv",
                "record 2",
            ],
            dates("fail"),
        ),
        with(
            "a key twice on the right",
            1,
            &["stage `last`", "`2`"],
            other("on = \"id\"\nduplicates = \"fail\""),
        ),
        with(
            "too few rows that match",
            1,
            &["stage `last`", "min_match"],
            other("on = \"id\"\nmin_match = 0.7"),
        ),
    ]
}

fn faults_of_columns() -> Vec<Fault> {
    vec![
        with(
            "a join on a column that is not there",
            2,
            &["stage `last`", "`idd`", "`id`"],
            other("on = \"idd\""),
        ),
        with(
            "a join on columns of different types",
            2,
            &["stage `last`", "int", "string"],
            other("left_on = \"n\"\nright_on = \"m\""),
        ),
        with(
            "two output columns alike",
            2,
            &["stage `last`", "`id`"],
            between("kind = \"select\"\nrename = { text = \"id\" }"),
        ),
        with(
            "a column both sides have, without a suffix",
            2,
            &["stage `last`", "`text`"],
            other("on = \"id\"").replace("[\"id\", \"m\"]", "[\"id\", \"text\"]"),
        ),
        with(
            "a selected column that is not there",
            2,
            &["stage `last`", "`texd`", "`text`"],
            between("kind = \"select\"\nkeep = [\"texd\"]"),
        ),
    ]
}

fn faults_of_pipelines() -> Vec<Fault> {
    vec![
        with(
            "an unknown option",
            2,
            &["`last`", "`kep`", "`keep`"],
            between("kind = \"select\"\nkep = [\"text\"]"),
        ),
        with(
            "an unknown kind",
            2,
            &["`last`", "`selct`", "`select`"],
            between("kind = \"selct\""),
        ),
        with(
            "an unset variable",
            2,
            &["`last`", "`keep`", "ETL_TEST_UNSET"],
            between("kind = \"select\"\nkeep = [\"${ETL_TEST_UNSET}\"]"),
        ),
        with(
            "an input that comes later",
            2,
            &["`last`", "`write`"],
            between("kind = \"select\"").replace("\"load\"", "\"write\""),
        ),
        with(
            "two stages that write one path",
            2,
            &["out/rows.ndjson"],
            between(
                "kind = \"write_files\"\npath = \"out/rows.ndjson\"\n\
                     [[stage]]\nname = \"x\"\nkind = \"select\"\ninputs = [\"load\"]",
            )
            .replace("\"last\"", "\"first\"")
            .replace("\"x\"", "\"last\""),
        ),
        with(
            "a stage that writes what another reads",
            2,
            &["in.csv", "`load`", "would be replaced"],
            between("kind = \"select\""),
        )
        .pipeline(pipeline("", "").replace("out/rows.ndjson", "./in.csv\"\nformat = \"csv")),
        with(
            "types of a column that is not there",
            2,
            &["stage `load`", "`m`"],
            between("kind = \"select\""),
        )
        .pipeline(pipeline("", "").replace("{ n = \"int\" }", "{ m = \"int\" }")),
        with(
            "text that is not TOML",
            2,
            &["pipeline.toml"],
            String::new(),
        )
        .pipeline("[[stage]\nname = 1"),
    ]
}

#[test]
fn gzip_that_is_broken() {
    check(&faults_of_gzip());
}

#[test]
fn text_that_is_broken() {
    check(&faults_of_text());
}

#[test]
fn files_that_are_not_what_they_should_be() {
    check(&faults_of_files());
}

#[test]
fn rows_and_options_that_do_not_fit() {
    check(&faults_of_rows());
    check(&faults_of_columns());
    check(&faults_of_pipelines());
}

fn check(faults: &[Fault]) {
    for_each(faults, |fault| {
        let folder = Folder::new("bad-input");
        for (name, bytes) in &fault.files {
            folder.write(name, bytes);
        }
        folder.write("pipeline.toml", &fault.pipeline);
        let mut wrong = Vec::new();
        let mut first: Option<Outcome> = None;
        for variant in VARIANTS {
            folder.write("out/rows.ndjson", OLD);
            let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
            let mut say = |text: String| wrong.push(format!("{} ({variant}): {text}", fault.name));
            for text in outcome.faults() {
                say(text);
            }
            if outcome.code != Some(fault.exit) {
                let Outcome { code, stderr, .. } = &outcome;
                say(format!("want exit {}, got {code:?}\n{stderr}", fault.exit));
            }
            let rejected = outcome.rejects.lines().count();
            if rejected != fault.rejects {
                say(format!(
                    "want {} rejects, got\n{}",
                    fault.rejects, outcome.rejects
                ));
            }
            let has = |part: &&str| outcome.stderr.contains(*part);
            if !fault.says.iter().all(has)
                || !(fault.says_one_of.is_empty() || fault.says_one_of.iter().any(has))
            {
                say(format!("stderr does not say it:\n{}", outcome.stderr));
            }
            let left = files(&folder.join("out"));
            let untouched = left.len() == 1 && left.get("rows.ndjson").is_some_and(|b| b == OLD);
            if fault.exit == 3 {
                if left.len() != 1 || untouched {
                    say(format!("not published alone: {:?}", left.keys()));
                }
            } else if !untouched {
                say(format!("not left as it was: {:?}", left.keys()));
            }
            match &first {
                None => first = Some(outcome),
                Some(first) => {
                    if (&first.stderr, &first.rejects) != (&outcome.stderr, &outcome.rejects) {
                        say(format!(
                            "not the same words:\n{}{}\n{}{}",
                            first.stderr, first.rejects, outcome.stderr, outcome.rejects
                        ));
                    }
                }
            }
        }
        wrong
    });
}

#[test]
fn what_only_looks_bad_is_read() {
    let folder = Folder::new("looks-bad");
    folder.write("pipeline.toml", pipeline("", ""));
    let long = format!("1,1,{}\n", "x".repeat(1 << 20));
    let two = [gzip(b"1,1,a\n2,2"), gzip(b",b\n")].concat();
    for (what, input, want) in [
        ("an empty file", Vec::new(), String::new()),
        (
            "two members cut within a row",
            two,
            "{\"id\":\"1\",\"n\":1,\"text\":\"a\"}\n{\"id\":\"2\",\"n\":2,\"text\":\"b\"}\n".into(),
        ),
        (
            "a long field",
            long.clone().into_bytes(),
            format!(
                "{{\"id\":\"1\",\"n\":1,\"text\":\"{}\"}}\n",
                "x".repeat(1 << 20)
            ),
        ),
    ] {
        folder.write("in.csv", input);
        for variant in Variant::EACH {
            let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
            assert_eq!(
                outcome.code,
                Some(0),
                "{what} ({variant}): {}",
                outcome.stderr
            );
            let got = fs::read_to_string(folder.join("out/rows.ndjson")).expect("it was written");
            assert!(got == want, "{what} ({variant})");
        }
    }
    // gzip is told from the bytes, not from the name.
    folder.write("plain.csv.gz", "1,1,a\n");
    folder.write(
        "pipeline.toml",
        pipeline("", "").replace("in.csv", "plain.csv.gz"),
    );
    let outcome = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

#[test]
fn a_long_record_passes_where_the_limit_allows_it() {
    let folder = Folder::new("long");
    let text = "x".repeat(40 << 20);
    folder.write("in.csv", format!("1,1,a\n2,2,{text}\n3,3,c\n"));
    folder.write("pipeline.toml", pipeline("record_bytes = 50_000_000", ""));
    for variant in Variant::EACH {
        let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        let got = fs::read_to_string(folder.join("out/rows.ndjson")).expect("it was written");
        assert_eq!(got.lines().count(), 3, "{variant}");
        assert!(got.contains(&text), "{variant}");
    }
}

#[test]
fn max_rejects_decides_between_done_and_exit_3() {
    let folder = Folder::new("max-rejects");
    folder.write("in.csv", "1,1,a\n2,x,b\n3,y,c\n4,4,d\n");
    folder.write("pipeline.toml", pipeline("", ""));
    for (most, exit) in [("0", 3), ("1", 3), ("2", 0), ("3", 0), ("-1", 0)] {
        let outcome = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL)
            .args(["--set", &format!("max_rejects={most}")])
            .outcome();
        assert_eq!(
            outcome.code,
            Some(exit),
            "max_rejects = {most}: {}",
            outcome.stderr
        );
        let got = fs::read_to_string(folder.join("out/rows.ndjson")).expect("it was published");
        assert_eq!(got.lines().count(), 2);
        assert_eq!(outcome.rejects.lines().count(), 2);
    }
}

#[test]
fn a_full_disk() {
    let folder = Folder::new("full-disk");
    let Some(disk) = SmallDisk::mount(folder.join("out")) else {
        return;
    };
    folder.write("in.csv", rows(20_000));
    folder.write("pipeline.toml", pipeline("", ""));
    let mut words = Vec::new();
    for variant in VARIANTS {
        folder.write("out/rows.ndjson", OLD);
        let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
        assert_eq!(outcome.code, Some(1), "{variant}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains("No space left"),
            "{variant}: {}",
            outcome.stderr
        );
        assert!(
            outcome.stderr.contains("stage `write`"),
            "{variant}: {}",
            outcome.stderr
        );
        let left = files(&disk.0);
        assert!(
            left.len() == 1 && left["rows.ndjson"] == OLD,
            "{variant}: {:?}",
            left.keys()
        );
        words.push(outcome.stderr);
    }
    words.dedup();
    assert_eq!(words.len(), 1, "not the same words: {words:#?}");
}

/// A file system of 256 KiB, gone when dropped. Takes root.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Option<Self> {
        fs::create_dir_all(&path).expect("the folder takes another");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(&path)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            println!("skipped: a tmpfs cannot be mounted here");
        }
        mounted.then_some(SmallDisk(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A mount that stays is a nuisance, not a fault of the program.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn no_permission() {
    let folder = Folder::new("no-permission");
    let uid = fs::metadata("/proc/self").expect("this is Linux").uid();
    // Root may do everything, so another user tries. The program may lie where that user cannot reach.
    let program = folder.join("etl");
    let command = || {
        if uid != 0 {
            return Command::new(ETL);
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&program);
        command
    };
    if uid == 0 {
        fs::copy(ETL, &program).expect("the program can be copied");
        let setpriv = Command::new("setpriv")
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        if !setpriv.is_ok_and(|status| status.success()) {
            println!("skipped: there is no setpriv to become another user");
            return;
        }
    }
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(folder.join(path), Permissions::from_mode(mode)).expect("it is ours");
    };
    folder.write("pipeline.toml", pipeline("", ""));
    folder.write("in.csv", "1,1,a\n");
    folder.write("out/rows.ndjson", OLD);
    let check = |what: &str, stage: &str| {
        let mut words = Vec::new();
        for variant in Variant::EACH {
            fs::create_dir_all(folder.join("state")).expect("it is ours");
            let etl = Etl::run_by(command(), folder.path(), "pipeline.toml", variant);
            mode("state", 0o777);
            let outcome = etl.outcome();
            assert_eq!(
                outcome.code,
                Some(1),
                "{what} ({variant}): {}",
                outcome.stderr
            );
            for part in ["Permission denied", stage] {
                assert!(
                    outcome.stderr.contains(part),
                    "{what} ({variant}): {}",
                    outcome.stderr
                );
            }
            let left = files(&folder.join("out"));
            assert!(
                left.len() == 1 && left["rows.ndjson"] == OLD,
                "{what} ({variant})"
            );
            words.push(outcome.stderr);
        }
        words.dedup();
        assert_eq!(words.len(), 1, "{what}: not the same words: {words:#?}");
    };
    mode("in.csv", 0o000);
    mode("out", 0o777);
    check("an input that may not be read", "stage `load`");
    mode("in.csv", 0o644);
    mode("out", 0o555);
    check("a folder that may not be written", "stage `write`");
    mode("out", 0o755);
}
