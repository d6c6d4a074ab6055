//! The embedded index as a user has it: types from columns, and no good index lost to a bad source.

use crate::harness::{Etl, Folder, Outcome, Variant};

const PIPELINE: &str = r#"
[[stage]]
name = "load"
kind = "load_csv"
files = ["rows.csv"]
types = { n = "int" }

[[stage]]
name = "dates"
kind = "normalize_dates"
inputs = ["load"]
columns = ["at"]
formats = ["%m/%d/%Y"]

[[stage]]
name = "index"
kind = "bulk_index"
inputs = ["dates"]
to = "local:idx"
id = "id"
load = "replace"
"#;

fn etl(folder: &Folder, arguments: &[&str]) -> Outcome {
    Etl::new(folder.path(), arguments).outcome()
}

/// How many documents a query finds.
fn found(folder: &Folder, query: &str) -> String {
    let outcome = etl(folder, &["search", "idx", query, "--count"]);
    assert_eq!(outcome.code, Some(0), "{query}: {}", outcome.stderr);
    outcome.stdout.trim().to_owned()
}

#[test]
fn a_range_over_a_date_needs_no_mapping() {
    for variant in Variant::EACH {
        let folder = Folder::new("local-index");
        folder.write("pipeline.toml", PIPELINE);
        let rows = "id,at,n,name\na,05/06/2013,7,x\nb,06/01/2013,8,x\nc,01/02/2014,90,x\n";
        folder.write("rows.csv", rows);
        let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        for (query, count) in [
            ("at:[2013-05 TO 2013-06]", "2"),
            ("at:2013-05-06", "1"),
            ("at:>2013", "1"),
            ("n:[8 TO *]", "2"),
        ] {
            assert_eq!(found(&folder, query), count, "{variant}: {query}");
        }
        let wrong = etl(&folder, &["search", "idx", "name:[a TO b]"]);
        assert_eq!(wrong.code, Some(2), "{variant}");
        assert!(wrong.stderr.contains("`name` is text"), "{}", wrong.stderr);
    }
}

#[test]
fn a_source_that_is_suddenly_empty_replaces_nothing() {
    let folder = Folder::new("local-index");
    folder.write("pipeline.toml", PIPELINE);
    folder.write("rows.csv", "id,at,n\na,05/06/2013,7\nb,05/07/2013,8\n");
    for variant in Variant::EACH {
        let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
    }
    folder.write("rows.csv", "id,at,n\n");
    for variant in Variant::EACH {
        let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
        assert_eq!(outcome.code, Some(1), "{variant}");
        let said = &outcome.stderr;
        assert!(said.contains("`min_documents = 0`"), "{variant}: {said}");
        assert_eq!(found(&folder, "*"), "2", "{variant}");
    }
    folder.write("rows.csv", "id,at,n\nc,05/06/2013,7\n");
    let outcome = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for count in ["2", "1"] {
        let back = etl(&folder, &["rollback", "pipeline.toml"]);
        assert_eq!(back.code, Some(0), "{}", back.stderr);
        assert!(back.stdout.contains(".kept`"), "{}", back.stdout);
        assert_eq!(found(&folder, "*"), count);
    }
    let clean = etl(&folder, &["rollback", "pipeline.toml", "--clean"]);
    assert!(
        clean.stdout.contains("left half loaded"),
        "{}",
        clean.stdout
    );
    assert_eq!(found(&folder, "*"), "1");
}

#[test]
fn ids_that_may_be_of_two_rows_are_warned_about() {
    let folder = Folder::new("local-index");
    let pipeline = PIPELINE.replace("id = \"id\"", "id = [\"id\", \"name\"]");
    folder.write("pipeline.toml", &pipeline);
    for (rows, warned) in [
        ("a-b,05/06/2013,7,c\na,05/06/2013,8,b-c\n", true),
        ("a-b,05/06/2013,7,c\na,05/06/2013,8,b\n", false),
    ] {
        folder.write("rows.csv", format!("id,at,n,name\n{rows}"));
        for variant in Variant::EACH {
            let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
            assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
            let says = outcome
                .stderr
                .contains("rows of different values may have got one id");
            assert_eq!(says, warned, "{variant}: {}", outcome.stderr);
            let counts = outcome.stage("index")["counts"].to_string();
            assert!(!counts.contains("separators"), "{variant}: {counts}");
        }
    }
}

const JSON_PIPELINE: &str = r#"
[[stage]]
name = "load"
kind = "load_ndjson"
files = ["rows.ndjson"]
columns = ["id", "tags", "more"]
types = { tags = "json", more = "json" }

[[stage]]
name = "index"
kind = "bulk_index"
inputs = ["load"]
to = "local:idx"
id = "id"
mapping = "mapping.json"
load = "replace"
"#;

#[test]
fn what_is_in_json_is_found_and_stays_as_it_was_written() {
    let folder = Folder::new("local-index");
    folder.write("pipeline.toml", JSON_PIPELINE);
    folder.write(
        "mapping.json",
        r#"{"properties":{"tags":{"type":"keyword"}}}"#,
    );
    let rows = [
        r#"{"id":"a","tags":["New York", "Rome"],"more":{"city":"Z\u00fcrich", "n":1.10}}"#,
        r#"{"id":"b","tags":"Rome","more":[7]}"#,
        r#"{"id":"c","tags":["Rome"],"more":null}"#,
        r#"{"id":"d","tags":{"city":"Rome"},"more":"Bern"}"#,
    ];
    folder.write("rows.ndjson", rows.join("\n") + "\n");
    for variant in Variant::EACH {
        let outcome = Etl::run(folder.path(), "pipeline.toml", variant).outcome();
        assert_eq!(outcome.code, Some(3), "{variant}: {}", outcome.stderr);
        let rejects = outcome.stage("index")["rejected"].to_string();
        assert_eq!(rejects, "1", "{variant}: {}", outcome.stderr);
        for (query, count) in [
            ("tags:Rome", "3"),
            ("tags:\"New York\"", "1"),
            ("tags:New", "0"),
            ("more:zürich", "1"),
            ("more:city", "0"),
            ("more:7", "1"),
            ("bern", "0"),
        ] {
            assert_eq!(found(&folder, query), count, "{variant}: {query}");
        }
        let facet = etl(&folder, &["search", "idx", "tags:Rome", "--facet", "tags"]);
        let line = r#"{"value":"Rome","count":3}"#;
        assert!(facet.stdout.contains(line), "{}", facet.stdout);
        let hit = etl(&folder, &["search", "idx", "more:zürich"]);
        assert!(hit.stdout.contains(rows[0]), "{variant}: {}", hit.stdout);
    }
}
