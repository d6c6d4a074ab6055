//! A join that makes millions of rows of a few: they come in parts, so that the memory is that of some parts
//! and not of all, and the answer is the same under every executor.

use std::fs;
use std::io::{BufRead, BufReader, Read};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::deaf::{is_stuck, start};
use crate::harness::{Etl, Folder, Variant, children, wait_until};

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

/// The text of `count` lines.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<String>>().concat()
}

#[test]
fn a_join_that_makes_millions_of_rows_takes_little_memory_and_gives_them_in_order() {
    let folder = Folder::new("joins");
    folder.write("pipeline.toml", PIPELINE);
    let rows = |count: usize| lines(count, |i| format!("x,{i}\n"));
    // Rows that match nothing lie before, between and behind those that match all.
    let left = lines(LEFT, |i| format!("none,a{i}\nx,{i}\n"));
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

#[test]
fn a_child_that_dies_between_two_parts_gives_no_row_twice() {
    let (left, right) = (12, 50_000);
    let folder = Folder::new("parts");
    folder.write(
        "pipeline.toml",
        "[[stage]]\nname = \"left\"\nkind = \"load_csv\"\nfiles = [\"left.csv\"]\n\
         [[stage]]\nname = \"right\"\nkind = \"load_csv\"\nfiles = [\"right.csv\"]\n\
         [[stage]]\nname = \"many\"\nkind = \"join\"\ninputs = [\"left\", \"right\"]\non = \"k\"\n\
         [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"many\"]\npath = \"-\"\n\
         format = \"csv\"\n",
    );
    // So long that what may wait is less than a third of all.
    let text = "x".repeat(300);
    let rows = lines(left, |l| format!("k,{l}{text}\n"));
    folder.write("left.csv", format!("k,l\n{rows}"));
    let rows = lines(right, |r| format!("k,{r}\n"));
    folder.write("right.csv", format!("k,r\n{rows}"));
    for variant in [
        Variant::new("processes", 1, 1),
        Variant::new("hybrid", 2, 2),
    ] {
        let arguments = variant.arguments();
        let mut words = vec!["run", "pipeline.toml", "--quiet"];
        words.extend(arguments.iter().map(String::as_str));
        let mut run = start(folder.path(), &words);
        let pid = run.id();
        let stdout = BufReader::new(run.stdout.take().expect("it is piped"));
        let mut lines = stdout.lines().map(|line| line.expect("it is text"));
        assert_eq!(lines.next().as_deref(), Some("k,l,r"));
        // A row has come, so that its worker has begun, and does not only wait for what is broadcast.
        let first = lines.next();
        wait_until("nobody takes its rows", || is_stuck(pid));
        for child in children(pid) {
            let child = Pid::from_raw(i32::try_from(child).expect("pids are small"));
            kill(child, Signal::SIGKILL).expect("it is there");
        }
        let mut lines = first.into_iter().chain(lines);
        for l in 0..left {
            for r in 0..right {
                let line = lines.next();
                assert_eq!(line, Some(format!("k,{l}{text},{r}")), "{variant}");
            }
        }
        assert_eq!(lines.next(), None, "{variant}");
        let mut said = String::new();
        let mut stderr = run.stderr.take().expect("it is piped");
        stderr.read_to_string(&mut said).expect("it is text");
        assert!(run.wait().expect("it ran").success(), "{variant}: {said}");
        assert!(said.contains("was replaced"), "{variant}: {said}");
    }
}
