//! Questions that a server would answer with nothing, and without a word.

use super::Job;
use super::real::each_shared;
use crate::harness::{Etl, Outcome};
use crate::scripted::{Reply, Scripted};

const MAPPING: &str = r#"{"mappings": {"properties": {
    "n": {"type": "long"}, "at": {"type": "date"}, "text": {"type": "text"}, "key": {"type": "keyword"}
}}}"#;

/// What is asked of the index `ranges` on the server at `url`.
fn ask(url: &str, query: &str) -> Outcome {
    let job = Job::new(&[url], &[], &[("index", "\"ranges\"")]);
    let search = ["search", "pipeline.toml", query, "--count"];
    Etl::new(job.folder.path(), &search).outcome()
}

/// What can find nothing is an error, and else what the server says.
fn judge(url: &str, whose: &str) {
    let cases = [
        (
            "text:[a TO b]",
            "`text` is a `text` field; a range takes a number or a date",
        ),
        ("n:[1 TO 2] AND key:>m", "`key` is a `keyword` field"),
        ("none:[1 TO 2]", "the index has no field `none`"),
        (
            "n:[20 TO 10]",
            "begins at `20`, which is above its end `10`",
        ),
        ("n:>ten", "`n` is a number, and `ten` is not"),
        ("n:abc", "`n` is a whole number, and `abc` is not"),
        ("word AND txet:word", "did you mean `text`?"),
        ("at:[soon TO *]", "`at` is a date, and `soon` is not"),
        ("at:soon", "`at` is a date, and `soon` is not"),
    ];
    for (query, says) in cases {
        let outcome = ask(url, query);
        assert_eq!(
            outcome.code,
            Some(2),
            "{whose}: {query}: {}",
            outcome.stderr
        );
        assert!(outcome.stderr.contains(says), "{whose}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains("hint:"),
            "{whose}: {}",
            outcome.stderr
        );
    }
    for query in [
        "n:[1 TO 20]",
        "at:[2013 TO 2014]",
        "text:\"a:[b TO c]\"",
        "key:*",
        "n:5 AND at:2013-05 AND key:(a OR b*)",
        "_exists_:n",
        "_id:7",
        "word",
    ] {
        let outcome = ask(url, query);
        assert_eq!(
            outcome.code,
            Some(0),
            "{whose}: {query}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn what_can_find_nothing_is_an_error() {
    let server = Scripted::start(|_| Reply::Normal);
    server.call("PUT", "/ranges", MAPPING);
    judge(&server.url, "scripted");
}

#[test]
fn real_servers_are_asked_what_a_field_is() {
    for (product, server) in each_shared() {
        server.call("DELETE", "/ranges", "");
        server.call("PUT", "/ranges", MAPPING);
        judge(&server.url, &product.to_string());
    }
}
