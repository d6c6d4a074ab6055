//! A new index has the types of the columns, but for what its mapping says.

use serde_json::{Value, json};

use super::real::each_shared;
use super::{Job, assert_ended};
use crate::harness::{Etl, Outcome, Variant};
use crate::scripted::{Reply, Scripted};

/// A job that loads a date, a list of dates and a column of each other type into `index`.
fn typed(to: &str, index: &str, load: &str, more: &str) -> Job {
    let job = Job::new(&[to], &[], &[]);
    job.folder.write(
        "rows.csv",
        "id,at,n,share,flag,text\n\
         a,2013-05-06,7,1,true,2013-05-06\n\
         b,2014-01-02,8,0.5,false,2014-01-02\n",
    );
    let text = format!(
        "[[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [\"rows.csv\"]\n\
         types = {{ n = \"int\", share = \"float\", flag = \"bool\" }}\n\n\
         [[stage]]\nname = \"dates\"\nkind = \"normalize_dates\"\ninputs = [\"load\"]\n\
         columns = [\"at\"]\nformats = [\"%Y-%m-%d\"]\n\n\
         [[stage]]\nname = \"index\"\nkind = \"bulk_index\"\ninputs = [\"dates\"]\n\
         to = \"{to}\"\nindex = \"{index}\"\nid = \"id\"\nload = \"{load}\"\n\
         batch_docs = 1\nretry_delay_ms = 1\nwait_for_replicas_s = 0\n{more}"
    );
    job.folder.write("pipeline.toml", text);
    job
}

/// The only index there is by that name, or behind that alias.
fn mapping(call: impl Fn(&str) -> Value, index: &str) -> Value {
    let said = call(&format!("/{index}/_mapping"));
    let index = said.as_object().and_then(|all| all.values().next());
    index.expect("it is there")["mappings"].clone()
}

fn types(mapping: &Value) -> [&str; 5] {
    ["at", "n", "share", "flag", "text"]
        .map(|name| mapping["properties"][name]["type"].as_str().unwrap_or("-"))
}

const OF_COLUMNS: [&str; 5] = ["date", "long", "double", "boolean", "-"];

#[test]
fn a_new_index_has_the_types_of_the_columns() {
    for load in ["append", "create", "replace"] {
        for variant in Variant::EACH {
            let server = Scripted::start(|_| Reply::Normal);
            let job = typed(&server.url, "things", load, "");
            assert_ended(&job.run(variant), 0, 2, format!("{load}, {variant}"));
            let mapping = mapping(|path| server.call("GET", path, "").1, "things");
            assert_eq!(types(&mapping), OF_COLUMNS, "{load}, {variant}");
        }
    }
}

#[test]
fn what_the_mapping_says_of_fields_stays() {
    let given = json!({
        "_meta": { "ours": 1 },
        "properties": {
            "at": { "type": "date", "format": "yyyy-MM-dd" },
            "n": { "type": "keyword", "ignore_above": 9 },
        },
    });
    let run = |given: &Value| {
        let server = Scripted::start(|_| Reply::Normal);
        let job = typed(&server.url, "things", "replace", "mapping = \"m.json\"\n");
        job.folder.write("m.json", given.to_string());
        assert_ended(&job.run(Variant::SEQUENTIAL), 0, 2, given);
        mapping(|path| server.call("GET", path, "").1, "things")
    };
    let made = run(&given);
    assert_eq!(made["_meta"]["ours"], 1);
    for name in ["at", "n"] {
        assert_eq!(made["properties"][name], given["properties"][name]);
    }
    assert_eq!(types(&made), ["date", "keyword", "double", "boolean", "-"]);
    for decided in [
        json!({ "dynamic": "strict", "properties": { "n": { "type": "long" } } }),
        json!({ "dynamic_templates": [{ "all": { "mapping": { "type": "keyword" } } }] }),
    ] {
        let mut made = run(&decided);
        let made = made.as_object_mut().expect("a mapping is an object");
        made.remove("_meta");
        assert_eq!(json!(made), decided, "nothing is added");
    }
}

#[test]
fn an_index_that_is_there_keeps_its_types() {
    let server = Scripted::start(|_| Reply::Normal);
    let body = r#"{"mappings": {"properties": {"n": {"type": "double"}}}}"#;
    server.call("PUT", "/things", body);
    let job = typed(&server.url, "things", "append", "");
    assert_ended(&job.run(Variant::SEQUENTIAL), 0, 2, "append");
    let mapping = mapping(|path| server.call("GET", path, "").1, "things");
    assert_eq!(types(&mapping), ["-", "double", "-", "-", "-"]);
}

/// Loads `n` as this type, with these words in the pipeline, and rows of other ids than before.
fn add_n(job: &Job, ty: &str, more: &str) -> Outcome {
    let text = std::fs::read_to_string(job.folder.join("pipeline.toml")).expect("it was written");
    let before = ["int", "float", "string"].map(|ty| format!("n = \"{ty}\""));
    let now = format!("n = \"{ty}\"");
    let text = before
        .iter()
        .fold(text, |text, old| text.replace(old, &now));
    job.folder.write("other.toml", text + more);
    Etl::run(job.folder.path(), "other.toml", Variant::SEQUENTIAL).outcome()
}

/// What is there has numbers as `n`; texts are refused before any is sent, and taken where the mapping says so.
fn mixes_nothing(server_url: &str, index: &str, whose: &str) {
    let job = typed(server_url, index, "append", "");
    assert_ended(&job.run(Variant::SEQUENTIAL), 0, 2, whose);
    for ty in ["int", "float"] {
        let again = add_n(&job, ty, "");
        assert_eq!(again.code, Some(0), "{whose}: {ty}: {}", again.stderr);
    }
    let refused = add_n(&job, "string", "");
    assert_eq!(refused.code, Some(1), "{whose}: {}", refused.stderr);
    for part in [
        "column `n` is a `string`",
        "the field `n` as `long`",
        "`types`",
        "`mapping`",
    ] {
        assert!(refused.stderr.contains(part), "{whose}: {}", refused.stderr);
    }
    job.folder
        .write("m.json", r#"{"properties": {"n": {"type": "long"}}}"#);
    let given = add_n(&job, "string", "mapping = \"m.json\"\n");
    assert_eq!(given.code, Some(0), "{whose}: {}", given.stderr);
}

#[test]
fn numbers_and_texts_do_not_meet_in_a_field() {
    let server = Scripted::start(|_| Reply::Normal);
    mixes_nothing(&server.url, "things", "scripted");
}

#[test]
fn real_indices_mix_no_numbers_with_texts() {
    for (product, server) in each_shared() {
        server.call("DELETE", "/real-mixed", "");
        mixes_nothing(&server.url, "real-mixed", &product.to_string());
    }
}

/// A server that guesses calls `share` a float, and `text` a date.
#[test]
fn real_indices_have_the_types_of_the_columns() {
    for (product, server) in each_shared() {
        server.call("DELETE", "/real-types", "");
        // The template's word counts for more than the column's.
        let template = r#"{"index_patterns": ["real-types"], "template": {"mappings": {"properties": {"n": {"type": "short"}}}}}"#;
        server.call("PUT", "/_index_template/real-types", template);
        let job = typed(&server.url, "real-types", "create", "");
        assert_ended(&job.run(Variant::SEQUENTIAL), 0, 2, product);
        server.call("DELETE", "/_index_template/real-types", "");
        let mapping = mapping(|path| server.call("GET", path, "").1, "real-types");
        let of_server = ["date", "short", "double", "boolean", "date"];
        assert_eq!(types(&mapping), of_server, "{product}");
    }
}
