//! A load that is timed goes into a fresh index, and that is gone afterwards.

use std::fs;

use serde_json::Value;

use super::{INDEX, Job, documents, rows};
use crate::harness::Variant;
use crate::scripted::{Reply, Scripted};

/// The names of the indices that requests with this method are about.
fn indices(requests: &[String], method: &str) -> Vec<String> {
    let mut names: Vec<String> = requests
        .iter()
        .filter_map(|request| request.strip_prefix(method)?.trim().strip_prefix('/'))
        .map(|path| {
            path.split('?')
                .next()
                .unwrap_or_default()
                .replace("%2D", "-")
        })
        .filter(|path| !path.contains('/') && !path.starts_with('_'))
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn each_run_loads_an_index_of_its_own_that_is_deleted_behind_it() {
    let rows = rows(100);
    for load in ["append", "create", "replace"] {
        let server = Scripted::start(|_| Reply::Normal);
        let mut job = Job::new(&[&server.url], &rows, &[]);
        assert_eq!(job.run(Variant::SEQUENTIAL).code, Some(0), "{load}");
        let load_option = format!("\"{load}\"");
        job.set(&[("load", &load_option), ("parallel", "true")]);
        let before = server.record().requests.len();
        let outcome = job
            .command("compare", "pipeline.toml")
            .args(["--with-sinks", "--runs", "1", "--report", "state/c.json"])
            .outcome();
        assert_eq!(outcome.code, Some(0), "{load}: {}", outcome.stderr);
        let report = fs::read(job.folder.join("state/c.json")).expect("it was written");
        let report: Value = serde_json::from_slice(&report).expect("it is JSON");
        assert_eq!(report["same_output"], true, "{load}");
        let stage = &report["stages"][1];
        assert_eq!(stage["after"]["counts"]["created"], 100, "{load}: {stage}");
        assert_eq!(stage["after"]["options"]["index"], INDEX, "{load}");

        let requests = &server.record().requests[before..];
        let (made, deleted) = (indices(requests, "PUT"), indices(requests, "DELETE"));
        // Two to warm up, one of each side, one streamed.
        assert_eq!(made.len(), 5, "{load}: {made:?}");
        assert_eq!(made, deleted, "{load}");
        let apart = made.iter().all(|name| name.starts_with("things-compare-"));
        assert!(apart, "{load}: {made:?}");
        assert!(server.documents(INDEX) == documents(&rows), "{load}");
    }
}

#[test]
fn a_load_that_fails_leaves_no_index_behind() {
    let rows = rows(100);
    for load in ["create", "replace"] {
        let server = Scripted::start(|_| Reply::status(400, "illegal_argument_exception"));
        let load_option = format!("\"{load}\"");
        let job = Job::new(&[&server.url], &rows, &[("load", &load_option)]);
        let outcome = job
            .command("compare", "pipeline.toml")
            .args(["--with-sinks"])
            .outcome();
        assert_eq!(outcome.code, Some(1), "{load}: {}", outcome.stderr);
        let requests = server.record().requests;
        let made = indices(&requests, "PUT");
        assert_eq!(made.len(), 1, "{load}: {made:?}");
        assert_eq!(made, indices(&requests, "DELETE"), "{load}");
    }
}
