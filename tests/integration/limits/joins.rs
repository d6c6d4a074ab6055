//! A join that makes millions of rows of a few: they come in parts, so that the memory is that of some parts
//! and not of all, and the answer is the same under every executor.

use std::fs;

use crate::harness::{Etl, Folder, Variant};

const LEFT: usize = 50;
const RIGHT: usize = 50_000;

/// What one process may take. All rows of one batch at once take more than twice as much.
const PEAK_BYTES_MAX: u64 = 220 << 20;

const PIPELINE: &str = r#"
[[stage]]
name = "left"
kind = "load_csv"
files = ["left.csv"]

[[stage]]
name = "right"
kind = "load_csv"
files = ["right.csv"]

[[stage]]
name = "twice"
kind = "load_csv"
files = ["twice.csv"]

[[stage]]
name = "many"
kind = "join"
inputs = ["left", "right"]
on = "k"

[[stage]]
name = "more"
kind = "join"
inputs = ["many", "twice"]
on = "k"
how = "inner"

[[stage]]
name = "few"
kind = "filter"
inputs = ["more"]
column = "r"
in = ["0", "49999"]

[[stage]]
name = "write"
kind = "write_files"
inputs = ["few"]
path = "out.csv"
"#;

#[test]
fn a_join_that_makes_millions_of_rows_takes_little_memory_and_gives_them_in_order() {
    let folder = Folder::new("joins");
    folder.write("pipeline.toml", PIPELINE);
    let rows = |count: usize| (0..count).map(|i| format!("x,{i}\n")).collect::<String>();
    // Rows that match nothing lie before, between and behind those that match all.
    let left: String = (0..LEFT).map(|i| format!("none,a{i}\nx,{i}\n")).collect();
    folder.write("left.csv", format!("k,l\n{left}none,z\n"));
    folder.write("right.csv", format!("k,r\n{}", rows(RIGHT)));
    folder.write("twice.csv", "k,t\nx,one\nx,two\n");
    let mut expected = String::from("k,l,r,t\n");
    for l in 0..LEFT {
        for r in [0, RIGHT - 1] {
            expected += &format!("x,{l},{r},one\nx,{l},{r},two\n");
        }
    }
    let mut digests = Vec::new();
    for variant in Variant::EACH {
        let etl = Etl::run(folder.path(), "pipeline.toml", variant).args(["--digest"]);
        let outcome = etl.outcome();
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        assert_eq!(outcome.faults(), Vec::<String>::new(), "{variant}");
        let written = fs::read_to_string(folder.join("out.csv")).expect("it was written");
        assert_eq!(written, expected, "{variant}");
        let many = outcome.stage("many");
        assert_eq!(many["rows_in"], 2 * LEFT + 1, "{variant}");
        assert_eq!(many["counts"]["matched"], LEFT, "{variant}");
        assert_eq!(many["counts"]["unmatched"], LEFT + 1, "{variant}");
        assert_eq!(
            outcome.stage("more")["rows_out"],
            2 * LEFT * RIGHT,
            "{variant}"
        );
        let peak = outcome.report["peak_rss_bytes"]
            .as_u64()
            .expect("it is measured");
        let processes = u64::from(variant.processes) + 1;
        assert!(peak < PEAK_BYTES_MAX * processes, "{variant}: {peak} bytes");
        let of = |name| outcome.stage(name)["digest"].clone();
        digests.push(["many", "more", "few"].map(of));
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "{digests:?}");
}
