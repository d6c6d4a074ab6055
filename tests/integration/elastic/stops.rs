//! What no document would fare better at ends a load at once, and says why.

use serde_json::json;

use super::{Job, assert_failed, rejects, rows};
use crate::harness::Variant;
use crate::scripted::{ItemFault, Reply, Scripted};

#[test]
fn a_load_that_is_not_let_in_stops_at_once() {
    let rows = rows(400);
    let item = |status, kind| Reply::Items(vec![ItemFault::new(5, status, kind)]);
    let cases = [
        (
            "item 404",
            item(404, "index_not_found_exception"),
            "index_not_found_exception",
        ),
        (
            "item 403",
            item(403, "security_exception"),
            "security_exception",
        ),
        ("item 401", item(401, "security_exception"), "(401)"),
        ("401", Reply::status(401, "security_exception"), "(401)"),
        ("403", Reply::status(403, "security_exception"), "(403)"),
        (
            "404",
            Reply::status(404, "index_not_found_exception"),
            "index_not_found_exception",
        ),
        (
            "item 400",
            item(400, "index_closed_exception"),
            "index_closed_exception",
        ),
        (
            "400",
            Reply::status(400, "invalid_index_name_exception"),
            "invalid_index_name_exception",
        ),
        (
            "405",
            Reply::status(405, "method_not_allowed"),
            "method_not_allowed",
        ),
    ];
    for variant in Variant::EACH {
        for (name, reply, words) in &cases {
            let about = format!("{variant}, {name}");
            let reply = reply.clone();
            let server = Scripted::start(move |bulk| match bulk.number {
                0 => Reply::Normal,
                _ => reply.clone(),
            });
            let outcome = Job::new(&[&server.url], &rows, &[]).run(variant);
            assert_failed(&outcome, &["error: stage `index`", words], &about);
            assert_eq!(rejects(&outcome).len(), 0, "{about}");
            let bulks = server.record().bulks;
            assert!(bulks <= 1 + 4, "{about}: {bulks} requests");
        }
    }
}

#[test]
fn an_index_that_cannot_be_used_is_said_before_a_document_is_sent() {
    let rows = rows(40);
    let refusal =
        |kind: &str| json!({ "error": { "type": kind, "reason": "because" }, "status": 400 });
    for (method, path, status, kind, words) in [
        ("GET", "/things", 401, "security_exception", "(401)"),
        ("PUT", "/things", 403, "security_exception", "(403)"),
        (
            "PUT",
            "/things",
            400,
            "illegal_argument_exception",
            "make the index `things`",
        ),
        (
            "GET",
            "/things",
            400,
            "illegal_argument_exception",
            "look at the index `things`",
        ),
    ] {
        let server = Scripted::start(|_| Reply::Normal);
        server.refuse(method, path, status, refusal(kind));
        let outcome = Job::new(&[&server.url], &rows, &[]).run(Variant::SEQUENTIAL);
        let about = format!("{method} {path} {status}");
        assert_failed(&outcome, &[words, "because"], about);
        assert_eq!(server.record().bulks, 0);
    }
}

#[test]
fn what_may_not_be_read_is_skipped_and_said() {
    let rows = rows(40);
    let server = Scripted::start(|_| Reply::Normal);
    let refusal =
        json!({ "error": { "type": "security_exception", "reason": "no" }, "status": 403 });
    server.call("PUT", "/things", "{}");
    for (method, path) in [
        ("GET", "/things"),
        ("GET", "/_nodes/http"),
        ("POST", "/things/_refresh"),
        ("GET", "/things/_count"),
    ] {
        server.refuse(method, path, 403, refusal.clone());
    }
    let outcome = Job::new(&[&server.url], &rows, &[]).run(Variant::SEQUENTIAL);
    super::assert_ended(&outcome, 0, rows.len(), "a key that may only write");
    assert!(
        outcome.stderr.contains("may not read"),
        "{}",
        outcome.stderr
    );
    assert_eq!(server.count("things"), 40);
}

#[test]
fn an_index_that_is_there_is_not_created_again() {
    let rows = rows(40);
    let server = Scripted::start(|_| Reply::Normal);
    let job = Job::new(&[&server.url], &rows, &[("load", "\"create\"")]);
    let outcome = job.run(Variant::SEQUENTIAL);
    super::assert_ended(&outcome, 0, rows.len(), "the first time");
    let outcome = job.run(Variant::SEQUENTIAL);
    assert_failed(
        &outcome,
        &["`things` is there already", "replace"],
        "the second time",
    );
    // Nor by going on with the run that was refused.
    let sent = server.record().bulks;
    let outcome = job.resume(Variant::SEQUENTIAL);
    assert_failed(&outcome, &["`things` is there already"], "gone on with");
    assert_eq!(server.record().bulks, sent);
}

#[test]
fn a_secret_that_a_server_repeats_is_not_printed() {
    let body = json!({ "status": 401, "error": {
        "type": "security_exception", "reason": "nobody is Basic bWU6cEBzcw==",
    } });
    let server = Scripted::start(move |_| Reply::Status(401, Vec::new(), body.clone().to_string()));
    let options = [("username", "\"me\""), ("password", "\"p@ss\"")];
    let job = Job::new(&[&server.url], &rows(10), &options);
    let outcome = job.run(Variant::SEQUENTIAL);
    assert_failed(&outcome, &["nobody is Basic ***", "401"], "echoed");
    let told = outcome.stderr + &outcome.stdout;
    assert!(!told.contains("bWU6"), "{told}");
}

#[test]
fn a_mapping_may_have_any_meta() {
    let rows = rows(10);
    for meta in ["\"text\"", "[1]", "null", "{\"ours\":1}"] {
        let server = Scripted::start(|_| Reply::Normal);
        let options = [("mapping", "\"mapping.json\""), ("load", "\"replace\"")];
        let job = Job::new(&[&server.url], &rows, &options);
        job.folder
            .write("mapping.json", format!("{{\"_meta\":{meta}}}"));
        super::assert_ended(&job.run(Variant::SEQUENTIAL), 0, 10, meta);
    }
}

#[test]
fn a_mapping_that_does_not_fit_is_said_before_a_document_is_sent() {
    let rows = rows(40);
    let server = Scripted::start(|_| Reply::Normal);
    let mapping = |ty: &str| json!({ "properties": { "n": { "type": ty } } }).to_string();
    let body = format!("{{\"mappings\":{}}}", mapping("keyword"));
    server.call("PUT", "/things", &body);
    let job = Job::new(&[&server.url], &rows, &[("mapping", "\"mapping.json\"")]);
    job.folder.write("mapping.json", mapping("long"));
    let outcome = job.run(Variant::SEQUENTIAL);
    assert_failed(&outcome, &["mapper [n]", "replace"], "another type");
    assert_eq!(server.record().bulks, 0);
    job.folder.write("mapping.json", mapping("keyword"));
    let outcome = job.run(Variant::SEQUENTIAL);
    super::assert_ended(&outcome, 0, rows.len(), "the same type");
}

#[test]
fn a_server_that_nobody_runs_is_named() {
    let rows = rows(40);
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let address = port.local_addr().expect("it is bound");
    drop(port);
    let url = format!("http://me:secret@{address}");
    let job = Job::new(&[&url], &rows, &[("retries", "2")]);
    let outcome = job.run(Variant::SEQUENTIAL);
    assert_failed(
        &outcome,
        &[&format!("`http://{address}` cannot be used")],
        "dead",
    );
    assert!(!outcome.stderr.contains("secret"), "{}", outcome.stderr);
    let report = outcome.report.to_string();
    assert!(!report.contains("secret"), "{report}");
}
