//! Parquet and Arrow files in a store: what is asked for, how much at once, and what becomes of faults.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use etl::batch::Batch;
use etl::columns::Column;
use etl::format::{arrow, parquet};
use etl::schema::{Field, Schema, Type};

use super::faults::SLOW_DOWN;
use super::server::{Store, cut, range, run};
use crate::harness::{Folder, Variant, wait_until};
use crate::scripted::{Asked, Say};

const M: u64 = 1 << 20;
/// Beside the answer that is used.
const AHEAD: usize = 8;

/// A file of three columns, of so many row groups or record batches; a row has about 120 bytes.
fn file(kind: &str, groups: i64, rows: i64) -> Vec<u8> {
    let fields = [
        ("n", Type::Int),
        ("text", Type::String),
        ("other", Type::String),
    ];
    let fields = fields.map(|(name, ty)| Field::new(name, ty));
    let schema = Schema::new(fields.to_vec()).expect("the names differ");
    let mut random = 7_u64;
    let mut word = move || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        format!("{:016x}", random ^ (random >> 29))
    };
    let batches = (0..groups).map(|group| {
        let numbers: Vec<i64> = (group * rows..(group + 1) * rows).collect();
        let mut texts = |words: usize| {
            let text = |_: &i64| Some((0..words).map(|_| word()).collect::<String>());
            numbers.iter().map(text).collect::<Vec<_>>()
        };
        let columns = [texts(1), texts(6)].map(Column::from_strings);
        let columns = std::iter::once(Column::from_ints(numbers.clone(), None)).chain(columns);
        Batch::new(columns.collect(), numbers.len())
    });
    if kind == "load_arrow" {
        let mut writer = arrow::Writer::new(Vec::new(), &schema).expect("memory takes it");
        for batch in batches {
            writer.write(&batch).expect("memory takes it");
        }
        return writer.finish().expect("memory takes it");
    }
    let encoder = parquet::Encoder::new(&schema, parquet::Compression::None).expect("it is known");
    let mut writer = parquet::Writer::new(Vec::new(), &encoder);
    for batch in batches {
        let columns = batch.plain();
        let columns = columns.iter().enumerate();
        let pages = columns.map(|(at, column)| encoder.encode(at, column).expect("it encodes"));
        let written = writer.write(batch.rows(), pages.collect());
        written.expect("memory takes it");
    }
    writer.finish().expect("memory takes it")
}

/// A folder with a pipeline that reads `files` and writes `out.csv`.
fn reading(kind: &str, files: &str, options: &str) -> Folder {
    let folder = Folder::new("columnar");
    folder.write(
        "pipeline.toml",
        format!(
            "[[stage]]\nname = \"load\"\nkind = \"{kind}\"\nfiles = [\"{files}\"]\n{options}\n\n\
             [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"load\"]\npath = \"out.csv\"\n"
        ),
    );
    folder
}

fn written(folder: &Folder) -> Vec<u8> {
    std::fs::read(folder.join("out.csv")).expect("it was written")
}

/// What a file of this machine gives.
fn wanted(kind: &str, bytes: &[u8], options: &str) -> (Vec<u8>, serde_json::Value) {
    let folder = reading(kind, "in.rows", options);
    folder.write("in.rows", bytes);
    let outcome = run(&folder, "http://localhost:1", Variant::SEQUENTIAL);
    assert_eq!(outcome.code, Some(0), "{kind}: {}", outcome.stderr);
    (written(&folder), outcome.stage("load")["counts"].clone())
}

/// A shape of a file, and what reading it takes.
struct Case {
    what: &'static str,
    kind: &'static str,
    /// Row groups or record batches, and rows of each.
    groups: i64,
    rows: i64,
    options: &'static str,
    /// Ranges that are asked for, the end of the file among them.
    ranges: Range<usize>,
}

const CASES: [Case; 6] = [
    Case {
        what: "row groups of 120 KB are read together",
        kind: "load_parquet",
        groups: 100,
        rows: 1000,
        options: "",
        // The end, 256 KiB, 1 MiB, 4 MiB, the rest.
        ranges: 5..6,
    },
    Case {
        what: "what lies far apart is not",
        kind: "load_parquet",
        groups: 20,
        rows: 5000,
        options: "columns = [\"n\"]",
        ranges: 21..22,
    },
    Case {
        what: "what lies near each other is",
        kind: "load_parquet",
        groups: 60,
        rows: 1500,
        options: "columns = [\"text\", \"n\"]",
        ranges: 4..7,
    },
    Case {
        what: "a large row group is read as its blocks need it",
        kind: "load_parquet",
        groups: 1,
        rows: 100_000,
        options: "",
        // The end; of two columns 1 MiB or less at a time, and what then is left of the widest.
        ranges: 8..9,
    },
    Case {
        what: "a file that is shorter than an end is read at once",
        kind: "load_parquet",
        groups: 2,
        rows: 100,
        options: "",
        ranges: 1..2,
    },
    Case {
        what: "record batches are read on",
        kind: "load_arrow",
        groups: 100,
        rows: 1000,
        options: "",
        ranges: 5..6,
    },
];

#[test]
fn ranges_are_large_and_some_are_under_way() {
    let Some(store) = Store::shared() else { return };
    store.bucket("columnar");
    for case in CASES {
        let Case { what, kind, .. } = case;
        let bytes = file(kind, case.groups, case.rows);
        store.put_bytes("columnar/in.rows", &bytes);
        let (rows, counts) = wanted(kind, &bytes, case.options);
        let (asked, open, most) = <(Arc<AtomicUsize>, AtomicUsize, Arc<AtomicUsize>)>::default();
        let (ranges, at_once) = (asked.clone(), most.clone());
        let data_end = bytes.len() as u64 - 65536.min(bytes.len() as u64);
        let has_more = case.ranges.start > 2;
        let proxy = store.behind(move |request| {
            let of_data = range(request).filter(|range| range.start < data_end)?;
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            asked.fetch_add(1, Ordering::SeqCst);
            if of_data.start == 4 || of_data.start == 0 {
                // It is answered once another one was asked for.
                let is_ahead = || !has_more || asked.load(Ordering::SeqCst) > 1;
                wait_until("a range is asked for ahead", is_ahead);
            }
            let answer = store.answer(request);
            open.fetch_sub(1, Ordering::SeqCst);
            Some(answer)
        });
        let folder = reading(kind, "s3://columnar/in.rows", case.options);
        let outcome = run(&folder, &proxy.url, Variant::new("threads", 1, 2));
        assert_eq!(outcome.code, Some(0), "{what}: {}", outcome.stderr);
        assert!(written(&folder) == rows, "{what}: other rows");
        assert_eq!(outcome.stage("load")["counts"], counts, "{what}");
        let all: Vec<Range<u64>> = proxy.asked().iter().filter_map(range).collect();
        assert!(case.ranges.contains(&all.len()), "{what}: {all:?}");
        assert!(
            all.iter().all(|range| range.end - range.start <= 8 * M),
            "{what}: {all:?}"
        );
        let ends = all.iter().filter(|range| range.start >= data_end);
        assert_eq!(ends.count(), 1, "{what}: the end is read once");
        assert_eq!(ranges.load(Ordering::SeqCst), all.len() - 1, "{what}");
        assert!(at_once.load(Ordering::SeqCst) <= AHEAD + 1, "{what}");
    }
}

#[test]
fn rows_and_the_bytes_that_are_counted_are_the_same_under_every_executor() {
    let Some(store) = Store::shared() else { return };
    store.bucket("executors");
    for (kind, options) in [
        ("load_parquet", ""),
        ("load_parquet", "columns = [\"text\"]"),
        ("load_arrow", ""),
    ] {
        let bytes = file(kind, 20, 1000);
        store.put_bytes("executors/in.rows", &bytes);
        let (rows, counts) = wanted(kind, &bytes, options);
        let read = counts["file_bytes"].as_u64().expect("they are counted");
        let all = bytes.len() as u64;
        // All but the columns that are not asked for.
        if options.is_empty() {
            assert_eq!(read, all, "{kind}");
        } else {
            assert!((all / 10..all / 5).contains(&read), "{read} of {all}");
        }
        for variant in Variant::EACH.into_iter().chain([Variant::CLUSTER]) {
            let folder = reading(kind, "s3://executors/in.rows", options);
            let outcome = run(&folder, &store.url, variant);
            assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
            assert!(written(&folder) == rows, "{kind} {variant}");
            assert_eq!(outcome.stage("load")["counts"], counts, "{kind} {variant}");
            let wall = outcome.report["wall_s"].as_f64().expect("it took some");
            let per_gb = outcome.report["s_per_gb"].as_f64().expect("it read some");
            assert!(
                (per_gb * read as f64 / 1e9 / wall - 1.0).abs() < 1e-6,
                "{kind} {variant}"
            );
        }
    }
}

fn shared() -> &'static Store {
    Store::shared().expect("the test has it")
}

#[test]
fn faults_are_got_over_and_changes_are_errors() {
    let Some(store) = Store::shared() else { return };
    store.bucket("faulty");
    for kind in ["load_parquet", "load_arrow"] {
        let bytes = file(kind, 60, 2000);
        let rows = wanted(kind, &bytes, "").0;
        store.put_bytes("faulty/in.rows", &bytes);
        let proxy = store.behind(|asked: &Asked| match (range(asked), asked.before % 3) {
            (Some(_), 0) => {
                Some(Say::status(503, SLOW_DOWN).with("content-type", "application/xml"))
            }
            (Some(_), 1) => Some(cut(shared().answer(asked))),
            _ => None,
        });
        let folder = reading(kind, "s3://faulty/in.rows", "");
        let outcome = run(&folder, &proxy.url, Variant::new("threads", 1, 2));
        assert_eq!(outcome.code, Some(0), "{kind}: {}", outcome.stderr);
        assert!(written(&folder) == rows, "{kind}: other rows");
        for (removed, says) in [
            (false, "was replaced by another object"),
            (true, "was removed"),
        ] {
            store.put_bytes("faulty/in.rows", &bytes);
            let other = bytes.iter().rev().copied().collect::<Vec<u8>>();
            let large = AtomicUsize::new(0);
            let proxy = store.behind(move |asked| {
                // One that is asked for ahead.
                let range = range(asked)?;
                if range.end - range.start > 3 * M && large.fetch_add(1, Ordering::SeqCst) == 0 {
                    if removed {
                        shared().delete("faulty/in.rows");
                    } else {
                        shared().put_bytes("faulty/in.rows", &other);
                    }
                }
                None
            });
            let folder = reading(kind, "s3://faulty/in.rows", "");
            let outcome = run(&folder, &proxy.url, Variant::SEQUENTIAL);
            assert_eq!(outcome.code, Some(1), "{kind}: {}", outcome.stderr);
            for says in [says, "after the run began"] {
                assert!(outcome.stderr.contains(says), "{kind}: {}", outcome.stderr);
            }
            assert!(!folder.join("out.csv").exists());
        }
    }
}
