//! What goes over the wire when all is well: proxies, packed answers, rates, headers, forms.

use std::io::Write as _;
use std::time::Duration;

use super::Asking;
use crate::harness::Variant;
use crate::scripted::{Say, Site};

#[test]
fn proxies_are_the_environments_and_never_for_this_machine() {
    let site = Site::start(|_| Say::json("{\"v\": 1}"));
    let here = Asking::about(&["a"], &format!("url = \"{}/{{id}}\"", site.url));
    let there = Asking::about(&["a"], "url = \"http://elsewhere.test/{id}\"");
    for variant in Variant::EACH {
        let command = |asking: &Asking, proxy: &str| {
            let names = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"];
            let etl = asking.command(variant);
            names
                .into_iter()
                .fold(etl, |etl, name| etl.env(name, proxy))
                .outcome()
        };
        let outcome = command(&here, "http://127.0.0.1:1");
        assert_eq!(
            here.written(),
            "id,v\na,1\n",
            "{variant}: {}",
            outcome.stderr
        );
        let outcome = command(&there, &site.url);
        assert_eq!(
            there.written(),
            "id,v\na,1\n",
            "{variant}: {}",
            outcome.stderr
        );
    }
    let targets = site.targets();
    assert_eq!((targets["/a"], targets["http://elsewhere.test/a"]), (4, 4));
}

#[test]
fn requests_are_made_as_the_stage_says() {
    let site = Site::start(|asked| {
        if asked.target == "/login" {
            return Say::json("{\"access_token\": \"t\"}");
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"k,p\nb,2\na,1.50\n")
            .expect("memory can be written");
        let body = gzip.finish().expect("memory can be written");
        Say::Answer(200, vec![("content-encoding", "gzip".into())], body)
    });
    let options = format!(
        r#"
        url = "{0}/x?ids={{id,}}&braces={{{{}}}}"
        method = "PUT"
        headers.X-Ids = "of {{id,}}"
        body = {{ ids = "{{id,}}", limit = 7 }}
        batch = 5
        format = "csv"
        key = {{ id = "k" }}
        columns = {{ price = "p" }}
        types = {{ price = "float" }}
        username = "me"
        password = "secret"
        session.url = "{0}/login"
        session.headers.Content-Type = "application/x-www-form-urlencoded"
        session.body = {{ grant_type = "client credentials", scope = "a&b" }}
        session.header = "X-Token: {{token}}"
        "#,
        site.url
    );
    let asking = Asking::about(&["a", "b", "a"], &options);
    let outcome = asking.run(Variant::SEQUENTIAL);
    assert_eq!(
        asking.written(),
        "id,price\na,1.5\nb,2.0\na,1.5\n",
        "{}",
        outcome.stderr
    );
    let asked = site.asked();
    let header = |at: usize, name: &str| asked[at].headers.get(name).map(String::as_str);
    assert_eq!(asked[0].body, "grant_type=client%20credentials&scope=a%26b");
    assert_eq!(header(0, "authorization"), Some("Basic bWU6c2VjcmV0"));
    // Equal keys are asked about once.
    assert_eq!(
        (asked[1].method.as_str(), asked[1].target.as_str()),
        ("PUT", "/x?ids=a,b&braces={}")
    );
    assert_eq!(asked[1].body, "{\"ids\":[\"a\",\"b\"],\"limit\":7}");
    let expected = [
        ("x-ids", "of a,b"),
        ("x-token", "t"),
        ("authorization", "Basic bWU6c2VjcmV0"),
        ("accept-encoding", "gzip"),
        ("content-type", "application/json"),
    ];
    for (name, value) in expected {
        assert_eq!(header(1, name), Some(value), "{name}");
    }
    assert_eq!(asked.len(), 2);
}

#[test]
fn a_column_that_no_record_has_is_told() {
    let site = Site::start(|asked| match asked.target.as_str() {
        "/a" => Say::json("{\"v\": 1, \"w\": null}"),
        _ => Say::json("{\"v\": 1, \"sometimes\": 2}"),
    });
    let options = format!(
        "url = \"{}/{{id}}\"\ncolumns = {{ v = \"/v\", w = \"/w\", x = \"/y/z\", sometimes = \"/sometimes\" }}",
        site.url
    );
    for variant in Variant::EACH {
        let outcome = Asking::about(&["a", "b"], &options).run(variant);
        let told = &outcome.stage("ask")["warnings"];
        let expected = ["no record has anything at `/y/z`: `x` is null throughout"];
        assert_eq!(*told, serde_json::json!(expected), "{variant}");
        assert_eq!(outcome.stage("ask")["counts"]["missing.sometimes"], 1);
    }
}

/// From the first request to the last.
fn took(site: &Site, asking: &Asking, variant: Variant) -> Duration {
    assert_eq!(asking.run(variant).rejects, "");
    let asked = site.asked();
    asked[asked.len() - 1].at.duration_since(asked[0].at)
}

#[test]
fn what_is_tried_again_counts_for_the_pace() {
    let items = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for variant in Variant::EACH {
        let site = Site::start(|asked| match asked.before {
            0 => Say::status(503, "busy"),
            _ => Say::json("{\"v\": 1}"),
        });
        let options = format!("url = \"{}/{{id}}\"\nrequests_per_second = 10.0", site.url);
        let took = took(&site, &Asking::about(&items, &options), variant);
        // Fifteen waits of 100 ms, and not the seven between items alone.
        assert!(took >= Duration::from_millis(1150), "{variant}: {took:?}");
    }
}

#[test]
fn no_more_requests_are_made_a_second_than_the_stage_says() {
    let items = ["a", "b", "c", "d", "e", "f"];
    for variant in Variant::EACH {
        let site = Site::start(|_| Say::json("{\"v\": 1}"));
        let options = format!("url = \"{}/{{id}}\"\nrequests_per_second = 10.0", site.url);
        let took = took(&site, &Asking::about(&items, &options), variant);
        // Five waits of 100 ms, the first of which a slow start may eat up.
        assert!(took >= Duration::from_millis(400), "{variant}: {took:?}");
    }
}
