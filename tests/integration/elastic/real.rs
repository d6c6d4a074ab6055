//! The Donor's Choice job, and what only real servers know, on `OpenSearch` and on Elasticsearch.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{Job, Row, assert_ended, assert_failed, count, counts, documents, rejects, rows};
use crate::generate_donors::write_dumps;
use crate::harness::{Etl, Folder, Outcome, Variant, project};
use crate::server::{Product, Server};

/// The job's documents as they are written to a file.
fn donors(folder: &Folder, dumps: &Path) -> BTreeMap<String, Value> {
    let out = folder.join("donors.ndjson");
    let pipeline = project().join("pipelines/donors_ndjson.toml");
    let outcome = Etl::run(
        folder.path(),
        &pipeline.display().to_string(),
        Variant::SEQUENTIAL,
    )
    .env("ETL_DATA", dumps)
    .env("ETL_OUT", &out)
    .outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let text = fs::read_to_string(out).expect("it was written");
    let document = |line: &str| {
        let document: Value = serde_json::from_str(line).expect("NDJSON");
        let id = document["donationid"].as_str().expect("each has an id");
        (id.to_owned(), document)
    };
    text.lines().map(document).collect()
}

/// The fields of the job's mapping.
fn mapping() -> Value {
    let file = project().join("pipelines/donors_mapping.json");
    let text = fs::read_to_string(file).expect("it is there");
    let mapping: Value = serde_json::from_str(&text).expect("it is JSON");
    mapping["properties"].clone()
}

/// The job into an index of this test.
struct Donors {
    folder: Folder,
    dumps: PathBuf,
    pipeline: String,
    want: BTreeMap<String, Value>,
}

const ALIAS: &str = "real-donors";

impl Donors {
    fn new() -> Donors {
        let folder = Folder::new("donors");
        let dumps = folder.join("dumps");
        write_dumps(&dumps, 150, 21).expect("the dumps can be written");
        let want = donors(&folder, &dumps);
        assert!(want.len() > 300, "{} donations", want.len());
        let pipeline = project().join("pipelines/donors.toml");
        Donors {
            folder,
            dumps,
            pipeline: pipeline.display().to_string(),
            want,
        }
    }

    fn load(&self, server: &Server, variant: Variant) -> Outcome {
        Etl::run(self.folder.path(), &self.pipeline, variant)
            .args(["--set", &format!("index.index={ALIAS}")])
            .args(["--set", "index.batch_docs=50"])
            .args(variant.shared_folder(&self.folder))
            .env("ETL_DATA", &self.dumps)
            .env("ETL_SEARCH_URL", &server.url)
            .outcome()
    }

    fn search(&self, server: &Server, arguments: &[&str]) -> String {
        let outcome = Etl::new(self.folder.path(), &["search", &self.pipeline])
            .args(arguments)
            .args(["--set", &format!("index.index={ALIAS}")])
            .env("ETL_DATA", &self.dumps)
            .env("ETL_SEARCH_URL", &server.url)
            .outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stdout
    }

    /// How many documents are so.
    fn holds(&self, test: impl Fn(&Value) -> bool) -> usize {
        self.want.values().filter(|document| test(document)).count()
    }
}

#[test]
fn the_donors_job_fills_opensearch() {
    the_donors_job_fills(Product::OpenSearch);
}

#[test]
fn the_donors_job_fills_elasticsearch() {
    the_donors_job_fills(Product::Elasticsearch);
}

fn the_donors_job_fills(product: Product) {
    let Some(server) = Server::shared(product) else {
        return;
    };
    let job = Donors::new();
    for variant in Variant::EACH.into_iter().chain([Variant::CLUSTER]) {
        let outcome = job.load(server, variant);
        assert_ended(&outcome, 0, job.want.len(), variant);
        let [created, confirmed] = counts(&outcome, ["created", "confirmed"]);
        assert_eq!(created + confirmed, job.want.len() as u64, "{variant}");
        // Tasks are tried again.
        assert!(confirmed == 0 || variant.is_cluster(), "{variant}");
        assert_eq!(server.count(ALIAS), job.want.len() as u64, "{variant}");
        assert!(server.documents(ALIAS) == job.want, "{product}, {variant}");
    }
    let (_, said) = server.call("GET", &format!("/{ALIAS}/_mapping"), "");
    let index = said.as_object().and_then(|all| all.values().next());
    let got = &index.expect("one index has the alias")["mappings"]["properties"];
    assert_eq!(*got, mapping(), "{product}");
    ask_where(server, &job);
    ask_when(server, &job);
    let searched = |query: &str| {
        let printed = job.search(server, &[query, "--count"]);
        printed.trim().parse::<usize>().expect("a number")
    };
    assert_eq!(searched("*"), job.want.len());
    let of_california = job.holds(|document| document["donor_state"] == "CA");
    assert_eq!(searched("donor_state:CA"), of_california);
    let generous = |document: &Value| document["donation_total"].as_f64() >= Some(100.0);
    assert_eq!(searched("donation_total:[100 TO *]"), job.holds(generous));
    let lines = job.search(server, &["donor_state:CA", "--limit", "3"]);
    assert_eq!(lines.lines().count(), of_california.min(3));
    for line in lines.lines() {
        let hit: Value = serde_json::from_str(line).expect("a hit is JSON");
        let id = hit["_id"].as_str().expect("it has its id");
        assert_eq!(hit["_source"], job.want[id]);
    }
}

/// A search whose total and aggregations are wanted.
fn ask(server: &Server, body: &Value) -> Value {
    let mut body = body.clone();
    body["size"] = json!(0);
    body["track_total_hits"] = json!(true);
    let path = format!("/{ALIAS}/_search");
    let (status, said) = server.call("POST", &path, &body.to_string());
    assert_eq!(status, 200, "{said}");
    said
}

fn ask_where(server: &Server, job: &Donors) {
    let (west, east, south, north) = (-100.123_45, -70.543_21, 30.123_45, 42.543_21);
    let said = ask(
        server,
        &json!({ "query": { "geo_bounding_box": { "project_location": {
            "top_left": { "lat": north, "lon": west },
            "bottom_right": { "lat": south, "lon": east },
        } } } }),
    );
    let inside = |document: &Value| {
        let at = |i: usize| document["project_location"][i].as_f64();
        at(0).is_some_and(|lon| (west..east).contains(&lon))
            && at(1).is_some_and(|lat| (south..north).contains(&lat))
    };
    let want = job.holds(inside);
    assert!(want > 0 && want < job.want.len(), "{want} are inside");
    assert_eq!(said["hits"]["total"]["value"], want);
}

fn ask_when(server: &Server, job: &Donors) {
    let said = ask(
        server,
        &json!({ "aggs": { "years": { "date_histogram": {
            "field": "donation_timestamp",
            "calendar_interval": "year",
            "format": "yyyy",
            "min_doc_count": 1,
        } } } }),
    );
    let buckets = said["aggregations"]["years"]["buckets"].as_array();
    let got: BTreeMap<String, u64> = buckets
        .into_iter()
        .flatten()
        .filter_map(|bucket| {
            let year = bucket["key_as_string"].as_str()?.to_owned();
            Some((year, bucket["doc_count"].as_u64()?))
        })
        .collect();
    let mut want: BTreeMap<String, u64> = BTreeMap::new();
    for document in job.want.values() {
        if let Some(time) = document["donation_timestamp"].as_str() {
            *want.entry(time[..4].to_owned()).or_default() += 1;
        }
    }
    assert!(want.len() > 2, "{want:?}");
    assert_eq!(got, want);
}

/// Both servers without TLS, as far as they can be had.
pub(super) fn each_shared() -> Vec<(Product, &'static Server)> {
    let products = [Product::OpenSearch, Product::Elasticsearch];
    let shared = |product| Some((product, Server::shared(product)?));
    products.into_iter().filter_map(shared).collect()
}

#[test]
fn each_op_does_on_real_servers_what_it_says() {
    for (product, server) in each_shared() {
        let all = rows(60);
        let load = |op: &str, rows: &[Row], more: &[(&str, &str)]| {
            let op = format!("\"{op}\"");
            let mut options = vec![("index", "\"real-ops\""), ("op", op.as_str())];
            options.extend(more);
            let job = Job::new(&[&server.url], rows, &options).allow_rejects();
            let outcome = job.run(Variant::new("threads", 1, 2));
            assert_ended(&outcome, 0, rows.len(), format!("{product}, {op}"));
            outcome
        };
        let of = |outcome: &Outcome| {
            let names = [
                "created",
                "updated",
                "unchanged",
                "deleted",
                "not_found",
                "conflicts",
            ];
            counts(outcome, names)
        };
        server.call("DELETE", "/real-ops", "");
        assert_eq!(of(&load("create", &all[..30], &[])), [30, 0, 0, 0, 0, 0]);
        assert_eq!(of(&load("create", &all[..40], &[])), [10, 0, 0, 0, 0, 30]);
        assert_eq!(of(&load("index", &all[..20], &[])), [0, 20, 0, 0, 0, 0]);
        assert_eq!(of(&load("upsert", &all[..50], &[])), [10, 0, 40, 0, 0, 0]);
        let missing = load("update", &all, &[]);
        assert_eq!(of(&missing), [0, 0, 50, 0, 0, 0]);
        let missing = rejects(&missing);
        assert_eq!(missing.len(), 10, "{product}");
        assert_eq!(
            missing[0]["type"], "document_missing_exception",
            "{product}"
        );
        assert_eq!(of(&load("delete", &all[45..], &[])), [0, 0, 0, 5, 10, 0]);
        assert!(
            server.documents("real-ops") == documents(&all[..45]),
            "{product}"
        );
    }
}

#[test]
fn the_higher_version_stays() {
    for (product, server) in each_shared() {
        server.call("DELETE", "/real-versions", "");
        let options = [("index", "\"real-versions\""), ("version", "\"n\"")];
        let load = |rows: &[Row]| {
            let job = Job::new(&[&server.url], rows, &options);
            let outcome = job.run(Variant::new("threads", 1, 2));
            assert_ended(&outcome, 0, rows.len(), product);
            counts(&outcome, ["created", "updated", "conflicts"])
        };
        let versions = |more: i64| {
            let row = |row: Row| Row {
                n: row.n + more,
                ..row
            };
            rows(50).into_iter().map(row).collect::<Vec<_>>()
        };
        assert_eq!(load(&versions(100)), [50, 0, 0], "{product}");
        assert_eq!(load(&versions(100)), [0, 0, 50], "{product}: the same");
        assert_eq!(load(&versions(99)), [0, 0, 50], "{product}: lower ones");
        let mut mixed = versions(99);
        mixed[7].n = 1000;
        assert_eq!(load(&mixed), [0, 1, 49], "{product}: one is higher");
        let mut want = versions(100);
        want[7].n = 1000;
        assert!(
            server.documents("real-versions") == documents(&want),
            "{product}"
        );
    }
}

/// What the safety of several loads at once rests on, and what an alias keeps.
#[test]
fn a_real_alias_keeps_its_filter_and_has_one_write_index() {
    for (product, server) in each_shared() {
        server.call("DELETE", "/real-alias*", "");
        let options = [("index", "\"real-alias\""), ("load", "\"replace\"")];
        let job = Job::new(&[&server.url], &rows(20), &options);
        assert_ended(&job.run(Variant::SEQUENTIAL), 0, 20, product);
        server.call("PUT", "/real-aliasing", "{}");
        let update = |action: &Value| {
            let actions = json!({ "actions": [action] });
            server.call("POST", "/_aliases", &actions.to_string())
        };
        let second = json!({ "add": { "index": "real-aliasing", "alias": "real-alias", "is_write_index": true } });
        let (status, said) = update(&second);
        assert_eq!(status, 500, "{product}: {said}");
        let said = said["error"]["reason"].as_str().unwrap_or_default();
        assert!(
            said.contains("more than one write index"),
            "{product}: {said}"
        );

        let shown = || {
            let (_, said) = server.call("GET", "/_alias/real-alias", "");
            let indices = said.as_object().expect("it has the alias").clone();
            assert_eq!(indices.len(), 1, "{product}");
            let (name, index) = indices.into_iter().next().expect("it has one");
            (name, index["aliases"]["real-alias"].clone())
        };
        let (first, _) = shown();
        let filter = json!({ "term": { "n": 7 } });
        let add = json!({ "add": { "index": first, "alias": "real-alias", "filter": filter, "search_routing": "1" } });
        assert_eq!(update(&add).0, 200, "{product}");
        let (_, kept) = shown();
        assert_eq!(kept["filter"], filter, "{product}");
        assert_eq!(kept["search_routing"], "1", "{product}");
        assert_ended(
            &job.run_again(Variant::SEQUENTIAL, &[]).outcome(),
            0,
            20,
            product,
        );
        let (second, options) = shown();
        assert_ne!(second, first, "{product}");
        assert_eq!(options, kept, "{product}: it moved");
        assert_eq!(job.rollback(&[]).code, Some(0), "{product}");
        assert_eq!(shown(), (first, kept), "{product}: it went back");
        server.call("DELETE", "/real-alias*", "");
    }
}

#[test]
fn real_indices_are_replaced_and_gone_back_to() {
    for (product, server) in each_shared() {
        let alias = "real-replace";
        server.call("DELETE", "/real-replace-*", "");
        server.call("DELETE", "/real-replace", "");
        server.call("PUT", "/real-replace", "{}");
        let mut job = Job::new(
            &[&server.url],
            &rows(70),
            &[
                ("index", "\"real-replace\""),
                ("load", "\"replace\""),
                ("id", super::NONE),
            ],
        );
        let refused = job.run(Variant::SEQUENTIAL);
        assert_failed(&refused, &["is an index", "replace_index"], product);
        let table = "{ refresh_interval = \"7s\", number_of_replicas = 0, number_of_shards = 2 }";
        job.set(&[("replace_index", "true"), ("settings", table)]);
        for count in [70, 50, 30] {
            job.put_rows(&rows(count));
            let outcome = job.run_again(Variant::new("threads", 1, 2), &[]).outcome();
            let wanted = usize::try_from(count).expect("it is small");
            assert_ended(&outcome, 0, wanted, product);
            assert_eq!(server.documents(alias).len(), wanted, "{product}");
        }
        let (_, said) = server.call("GET", &format!("/{alias}/_settings?flat_settings=true"), "");
        let index = said.as_object().and_then(|all| all.values().next());
        let settings = &index.expect("it is there")["settings"];
        assert_eq!(settings["index.refresh_interval"], "7s", "{product}");
        assert_eq!(settings["index.number_of_replicas"], "0", "{product}");
        assert_eq!(
            settings.get("index.auto_expand_replicas"),
            None,
            "{product}"
        );
        assert_eq!(settings.get("index.translog.durability"), None, "{product}");
        let (_, all) = server.call("GET", "/real-replace-*/_mapping", "");
        assert_eq!(
            all.as_object().map(serde_json::Map::len),
            Some(2),
            "{product}: keep = 1"
        );
        let back = job.rollback(&[]);
        assert_eq!(back.code, Some(0), "{product}: {}", back.stderr);
        assert_eq!(server.count(alias), 50, "{product}");
    }
}

#[test]
fn documents_that_do_not_fit_the_mapping_are_rejected_with_the_cause() {
    for (product, server) in each_shared() {
        server.call("DELETE", "/real-conflict", "");
        let mut all = rows(300);
        for row in &mut all {
            row.text = match row.n % 100 {
                7 => "no number".to_owned(),
                n => n.to_string(),
            };
        }
        let options = [
            ("index", "\"real-conflict\""),
            ("mapping", "\"mapping.json\""),
        ];
        let job = Job::new(&[&server.url], &all, &options);
        let mapping = json!({ "properties": { "text": { "type": "long" } } });
        job.folder.write("mapping.json", mapping.to_string());
        let outcome = job.run(Variant::new("processes", 2, 1));
        assert_ended(&outcome, 3, 300, product);
        assert_eq!(server.count("real-conflict"), 297, "{product}");
        let rejects = rejects(&outcome);
        assert_eq!(rejects.len(), 3, "{product}");
        for reject in &rejects {
            assert_eq!(reject["status"], 400, "{product}");
            let kind = reject["type"].as_str().unwrap_or_default();
            assert!(kind.ends_with("parsing_exception"), "{product}: {reject}");
            let cause = reject["caused_by"].as_str().unwrap_or_default();
            assert!(cause.contains("no number"), "{product}: {reject}");
            assert_eq!(reject["index"], "real-conflict", "{product}");
            assert_eq!(reject["row"]["text"], "no number", "{product}");
        }
    }
}

#[test]
fn a_pipeline_that_is_not_there_stops_the_load() {
    for (product, server) in each_shared() {
        server.call("DELETE", "/real-pipeline", "");
        let options = [("index", "\"real-pipeline\""), ("pipeline", "\"nope\"")];
        let outcome = Job::new(&[&server.url], &rows(100), &options).run(Variant::SEQUENTIAL);
        assert_failed(&outcome, &["pipeline with id [nope]"], product);
        assert_eq!(rejects(&outcome).len(), 0, "{product}");
    }
}

#[test]
fn a_data_stream_is_not_loaded() {
    // The Elasticsearch of these tests is its core alone, which has none.
    let product = Product::OpenSearch;
    if let Some(server) = Server::shared(product) {
        let template = json!({
            "index_patterns": ["real-stream*"],
            "data_stream": {},
            "template": { "settings": { "number_of_replicas": 0 } },
        });
        let put = |path: &str, body: &str| {
            let (status, said) = server.call("PUT", path, body);
            assert!(status == 200, "{product}: {path}: {said}");
        };
        server.call("DELETE", "/_data_stream/real-stream", "");
        put("/_index_template/real-stream", &template.to_string());
        put("/_data_stream/real-stream", "");
        for load in ["append", "create", "replace"] {
            let load_option = format!("\"{load}\"");
            let options = [("index", "\"real-stream\""), ("load", &load_option)];
            let outcome = Job::new(&[&server.url], &rows(20), &options).run(Variant::SEQUENTIAL);
            let about = format!("{product}, {load}");
            assert_failed(
                &outcome,
                &["`real-stream` is a data stream", "hint: "],
                about,
            );
            assert_eq!(count(&outcome, "sent"), 0, "{product}, {load}");
        }
        let (_, streams) = server.call("GET", "/_data_stream/real-stream", "");
        assert_eq!(
            streams["data_streams"][0]["name"], "real-stream",
            "{product}"
        );
        assert_eq!(server.count("real-stream"), 0, "{product}");
    }
}

#[test]
fn documents_lie_in_the_shard_that_their_routing_names() {
    for (product, server) in each_shared() {
        server.call("DELETE", "/real-routed", "");
        let mut all = rows(60);
        for row in &mut all {
            row.text = format!("r{}", row.n % 5);
        }
        let options = [
            ("index", "\"real-routed\""),
            ("routing", "\"text\""),
            (
                "settings",
                "{ number_of_replicas = 0, number_of_shards = 3 }",
            ),
        ];
        let outcome = Job::new(&[&server.url], &all, &options).run(Variant::new("hybrid", 2, 2));
        assert_ended(&outcome, 0, 60, product);
        server.call("POST", "/real-routed/_refresh", "");
        for row in &all {
            let path = format!("/real-routed/_doc/{}?routing={}", row.id, row.text);
            let (status, found) = server.call("GET", &path, "");
            assert_eq!(status, 200, "{product}: {found}");
            assert_eq!(found["_routing"], row.text, "{product}");
            assert_eq!(found["_source"], row.document(), "{product}");
        }
    }
}

#[test]
fn a_server_behind_tls_is_used_by_whom_it_trusts_and_who_trusts_it() {
    let Some(server) = Server::shared(Product::Secure) else {
        return;
    };
    let ca = server
        .ca
        .as_ref()
        .expect("it has one")
        .display()
        .to_string();
    let (user, password) = server.user.as_ref().expect("it has one");
    let quoted = |text: &str| format!("\"{text}\"");
    let (ca, user, password) = (quoted(&ca), quoted(user), quoted(password));
    let folder = Folder::new("ca");
    let other = folder.join("other.pem").display().to_string();
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", "/CN=another authority", "-out", &other, "-keyout"])
        .arg(folder.join("other.key"))
        .output()
        .expect("the server needs openssl too");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let other = quoted(&other);
    let load = |ca: &str, user: &str, password: &str, variant| {
        let options = [
            ("index", "\"real-secure\""),
            ("username", user),
            ("password", password),
            ("ca_certificate", ca),
            ("retries", "3"),
        ];
        Job::new(&[&server.url], &rows(60), &options).run(variant)
    };
    for variant in Variant::EACH {
        let outcome = load(&ca, &user, &password, variant);
        assert_ended(&outcome, 0, 60, variant);
        let shown = outcome.report.to_string() + &outcome.stderr;
        assert!(!shown.contains(password.trim_matches('"')), "{shown}");
    }
    assert!(server.documents("real-secure") == documents(&rows(60)));
    let failed = load(&ca, &user, "\"wrong\"", Variant::SEQUENTIAL);
    assert_failed(
        &failed,
        &["does not know us (401)", "`password`"],
        "a wrong password",
    );
    let failed = load(&other, &user, &password, Variant::SEQUENTIAL);
    let words = ["certificate is not trusted", "ca_certificate"];
    assert_failed(&failed, &words, "another authority");
    let failed = load(super::NONE, &user, &password, Variant::SEQUENTIAL);
    assert_failed(&failed, &words, "no authority");
    let failed = load(&ca, "\"reader\"", &password, Variant::SEQUENTIAL);
    assert_failed(&failed, &["(403)"], "who may only read");
    let plain = server.url.replace("https://", "http://");
    let failed = Job::new(&[&plain], &rows(5), &[("retries", "2")]).run(Variant::SEQUENTIAL);
    assert_failed(&failed, &["does it want `https://`?"], "without TLS");
}

#[test]
fn a_server_without_tls_is_told_from_one_that_is_not_there() {
    for (product, server) in each_shared() {
        let url = server.url.replace("http://", "https://");
        let failed = Job::new(&[&url], &rows(5), &[]).run(Variant::SEQUENTIAL);
        assert_failed(&failed, &["does not speak TLS", "`http://`"], product);
    }
}
