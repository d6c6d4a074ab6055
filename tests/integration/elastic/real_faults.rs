//! Real servers that are squeezed, blocked, robbed of an index or killed, and loaders that are killed beside
//! them. `ETL_KILLS` raises how often.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::real::each_shared;
use super::resume::{interrupt, kill};
use super::{
    Job, Row, assert_ended, assert_failed, count, documents, rejects, rows, warnings, without,
};
use crate::harness::{Running, Variant, wait_until};
use crate::scripted::{Proxy, Random};
use crate::server::{Product, Server};

/// How often a loader is killed, and a server; the environment may ask for more.
const LOADER_KILLS: usize = 3;
const SERVER_KILLS: usize = 2;

fn kills(default: usize) -> usize {
    let more = std::env::var("ETL_KILLS").ok();
    more.and_then(|kills| kills.parse().ok()).unwrap_or(default)
}

/// Batches that the newest run has settled so far.
fn settled(folder: &Path) -> usize {
    let runs = fs::read_dir(folder.join("state/runs"));
    let runs = runs.into_iter().flatten().flatten();
    let newest = runs.map(|run| run.path()).max();
    let text = newest.map(|run| fs::read(run.join("settled-index.ndjson")).unwrap_or_default());
    let lines = text.iter().flatten().filter(|byte| **byte == b'\n');
    lines.count()
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// Waits until so many batches are settled, or the run has ended.
fn wait_for(job: &Job, running: &mut Running, batches: usize) {
    wait_until("the moment has come", || {
        let ended = running.child.try_wait();
        settled(job.folder.path()) >= batches || ended.is_ok_and(|status| status.is_some())
    });
}

fn old() -> Vec<Row> {
    let old = |row: Row| Row {
        text: "old".into(),
        ..row
    };
    rows(30).into_iter().map(old).collect()
}

#[test]
fn a_loader_may_be_killed_at_any_moment() {
    for (product, server) in each_shared() {
        let all = rows(3000);
        server.call("DELETE", "/real-kills-*", "");
        let options = [
            ("index", "\"real-kills\""),
            ("load", "\"replace\""),
            (
                "settings",
                "{ number_of_replicas = 0, number_of_shards = 1 }",
            ),
        ];
        let job = Job::new(&[&server.url], &old(), &options);
        assert_ended(&job.run(Variant::SEQUENTIAL), 0, 30, product);
        job.put_rows(&all);
        let mut random = Random::new(5);
        let mut running = job.run_again(Variant::EACH[1], &[]);
        let (kills, mut killed) = (kills(LOADER_KILLS), 0);
        for number in 0..kills {
            let batches = 150 * number / kills + random.within(&(0..150 / kills));
            wait_for(&job, &mut running, batches);
            kill(&running);
            killed += usize::from(running.outcome().signal == Some(9));
            assert_eq!(
                server.count("real-kills"),
                30,
                "{product}: half a load is served"
            );
            let variant = Variant::EACH[number % Variant::EACH.len()];
            running = job.run_again(variant, &["--resume"]);
        }
        let outcome = running.outcome();
        assert_ended(&outcome, 0, 3000, product);
        assert!(
            server.documents("real-kills") == documents(&all),
            "{product}"
        );
        assert_eq!(killed, kills, "{product}: it was too quick to be killed");
    }
}

#[test]
fn opensearch_may_stand_still_and_be_killed_in_the_midst_of_a_load() {
    kill_in_the_midst(Product::OpenSearch);
}

#[test]
fn elasticsearch_may_stand_still_and_be_killed_in_the_midst_of_a_load() {
    kill_in_the_midst(Product::Elasticsearch);
}

fn kill_in_the_midst(product: Product) {
    let all = rows(6000);
    let Some(mut server) = Server::start(product, &[]) else {
        return;
    };
    stand_still(&server);
    let options = [
        ("load", "\"replace\""),
        (
            "settings",
            "{ number_of_replicas = 0, number_of_shards = 1 }",
        ),
        ("retries", "1000"),
        ("retry_delay_ms_max", "200"),
    ];
    let job = Job::new(&[&server.url], &all, &options);
    let mut running = job.start(Variant::EACH[1]);
    let kills = kills(SERVER_KILLS);
    for number in 1..=kills {
        wait_for(&job, &mut running, 300 * number / (kills + 1));
        server.restart();
    }
    let outcome = running.outcome();
    assert_ended(&outcome, 0, 6000, "killed");
    assert!(server.documents("things") == documents(&all));
    assert!(
        count(&outcome, "sent_again") > 0,
        "it was too quick to be killed"
    );
}

/// A load is stopped at once while the server is held still, and goes on when it is not.
fn stand_still(server: &Server) {
    let all = rows(2000);
    let options = [("index", "\"still\""), ("load", "\"replace\"")];
    let job = Job::new(&[&server.url], &all, &options);
    let mut running = job.start(Variant::EACH[3]);
    wait_for(&job, &mut running, 20);
    server.suspend();
    interrupt(&running);
    let since = Instant::now();
    let outcome = running.outcome();
    let took = since.elapsed();
    server.resume();
    assert_ended(&outcome, 130, 0, "stopped");
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    assert_ended(&job.resume(Variant::EACH[2]), 0, 2000, "resumed");
    assert!(server.documents("still") == documents(&all));
}

/// Rows of some size, and one that is larger than `bytes`.
fn large(count: i64, each: usize, bytes: usize) -> Vec<Row> {
    let mut rows = rows(count);
    for row in &mut rows {
        row.text = "lorem ipsum ".repeat(each / 12);
    }
    rows[usize::try_from(count / 2).expect("it is small")].text = "x".repeat(bytes);
    rows
}

#[test]
fn a_squeezed_opensearch_gets_all_documents_but_one_over_its_limit() {
    let arguments = [
        ["-E", "thread_pool.write.size=1"],
        ["-E", "thread_pool.write.queue_size=1"],
        ["-E", "http.max_content_length=1mb"],
    ];
    squeeze(Product::OpenSearch, arguments.as_flattened());
}

#[test]
fn a_squeezed_elasticsearch_gets_all_documents_but_one_over_its_limit() {
    let arguments = [
        ["-E", "indexing_pressure.memory.limit=600kb"],
        ["-E", "http.max_content_length=1mb"],
    ];
    squeeze(Product::Elasticsearch, arguments.as_flattened());
}

fn squeeze(product: Product, arguments: &[&str]) {
    let Some(server) = Server::start(product, arguments) else {
        return;
    };
    let all = large(600, 10_000, 1_500_000);
    let mut refused = 0;
    for variant in [
        Variant::new("threads", 1, 8),
        Variant::new("processes", 4, 1),
        Variant::new("hybrid", 2, 4),
    ] {
        server.call("DELETE", "/things-*", "");
        let options = [
            ("load", "\"replace\""),
            (
                "settings",
                "{ number_of_replicas = 0, number_of_shards = 4 }",
            ),
            ("batch_docs", "40"),
            ("retries", "60"),
            ("retry_delay_ms_max", "500"),
        ];
        let outcome = Job::new(&[&server.url], &all, &options).run(variant);
        assert_ended(&outcome, 3, 600, format!("{product}, {variant}"));
        assert!(
            server.documents("things") == without(&all, "d300"),
            "{product}, {variant}"
        );
        let [reject] = &rejects(&outcome)[..] else {
            panic!("{product}, {variant}: {}", outcome.rejects);
        };
        assert_eq!(reject["id"], "d300", "{product}, {variant}");
        assert_eq!(reject["status"], 413, "{product}, {variant}");
        refused += count(&outcome, "refused_429");
    }
    assert!(refused > 0, "{product}: it was never squeezed");
}

#[test]
fn an_index_that_is_read_only_for_a_while_is_waited_for() {
    for (product, server) in each_shared() {
        let all = rows(300);
        let block = |on: &str| {
            let body = format!("{{\"index.blocks.read_only_allow_delete\":{on}}}");
            let (status, said) = server.call("PUT", "/real-blocked/_settings", &body);
            assert_eq!(status, 200, "{said}");
        };
        server.call("DELETE", "/real-blocked", "");
        server.call("PUT", "/real-blocked", "{}");
        block("true");
        let way = Proxy::start(&server.url, 1, None, Duration::ZERO);
        let options = [
            ("index", "\"real-blocked\""),
            ("retries", "1000"),
            ("retry_delay_ms_max", "100"),
        ];
        let job = Job::new(&[&way.url], &all, &options);
        let running = job.start(Variant::new("threads", 1, 2));
        // A few tries.
        wait_until("it tries", || way.carried() > 30_000);
        block("null");
        let outcome = running.outcome();
        assert_ended(&outcome, 0, 300, product);
        assert!(
            server.documents("real-blocked") == documents(&all),
            "{product}"
        );
        let said = warnings(&outcome);
        assert!(said.contains("read-only"), "{product}: {said}");

        block("true");
        let options = [("index", "\"real-blocked\""), ("retries", "3")];
        let job = Job::new(&[&server.url], &all, &options);
        let failed = job.run(Variant::SEQUENTIAL);
        assert_failed(
            &failed,
            &["`real-blocked` is read-only", "--resume"],
            product,
        );
        assert_eq!(rejects(&failed).len(), 0, "{product}");
        block("null");
        assert_ended(&job.resume(Variant::SEQUENTIAL), 0, 300, product);
    }
}

#[test]
fn an_index_that_is_deleted_in_the_midst_fails_the_load() {
    for (product, server) in each_shared() {
        for load in ["append", "replace"] {
            let about = format!("{product}, {load}");
            // A name each: the last request of a run that has failed may come late.
            let name = format!("real-deleted-by-{load}");
            server.call("DELETE", &format!("/{name}*"), "");
            let way = Proxy::start(&server.url, 1, None, Duration::from_millis(20));
            let job = Job::new(
                &[&way.url],
                &rows(2000),
                &[("index", &quoted(&name)), ("load", &quoted(load))],
            );
            let mut running = job.start(Variant::EACH[1]);
            wait_for(&job, &mut running, 10);
            let (_, there) = server.call("GET", &format!("/{name}*/_mapping"), "");
            let index = there.as_object().and_then(|there| there.keys().next());
            let index = index.expect("it was made");
            let (status, said) = server.call("DELETE", &format!("/{index}"), "");
            assert_eq!(status, 200, "{about}: {said}");
            let outcome = running.outcome();
            assert_failed(&outcome, &[&name], &about);
            assert_eq!(rejects(&outcome).len(), 0, "{about}");
            if load == "replace" {
                let (_, left) = server.call("GET", &format!("/{name}*/_mapping"), "");
                assert_eq!(left, serde_json::json!({}), "{about}: it is not made again");
            }
        }
    }
}

#[test]
fn connections_to_a_real_server_may_be_cut_and_held_up() {
    for (product, server) in each_shared() {
        let all = rows(1500);
        server.call("DELETE", "/real-cut-*", "");
        let delay = Duration::from_millis(3);
        let way = Proxy::start(&server.url, 4, Some(300..20_000), delay);
        // A busy server may take nothing for longer than the usual tries last, which are over in half a second.
        let options = [
            ("index", "\"real-cut\""),
            ("load", "\"replace\""),
            ("retries", "1000"),
            ("retry_delay_ms_max", "100"),
        ];
        let job = Job::new(&[&way.url], &all, &options);
        let mut running = job.start(Variant::new("hybrid", 2, 2));
        wait_for(&job, &mut running, 40);
        // How many connections those batches took depends on who sends which of them.
        wait_until("some connections are cut", || {
            let ended = running.child.try_wait();
            way.cuts() > 3 || ended.is_ok_and(|status| status.is_some())
        });
        way.stop_cutting();
        let cuts = way.cuts();
        let outcome = running.outcome();
        assert_ended(&outcome, 0, 1500, product);
        assert!(server.documents("real-cut") == documents(&all), "{product}");
        assert!(cuts > 3, "{product}: {cuts} cuts");
    }
}
