//! Several servers, of which some are dead or die, and ways to them that cut and delay.

use std::net::TcpListener;
use std::time::Duration;

use super::{INDEX, Job, assert_ended, counts, documents, rows};
use crate::harness::{Variant, wait_until};
use crate::scripted::{Proxy, Reply, Scripted};

/// An address at which nobody listens.
fn dead() -> String {
    let port = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    format!("http://{}", port.local_addr().expect("it is bound"))
}

#[test]
fn a_server_that_is_dead_is_left_aside() {
    let rows = rows(400);
    for variant in Variant::EACH {
        for first in [true, false] {
            let server = Scripted::start(|_| Reply::Normal);
            let dead = dead();
            let urls = if first {
                [dead.as_str(), &server.url]
            } else {
                [&server.url, dead.as_str()]
            };
            // Few tries: it is not asked again each time.
            let job = Job::new(&urls, &rows, &[("retries", "2")]);
            let outcome = job.run(variant);
            assert_ended(&outcome, 0, 400, variant);
            assert!(server.documents(INDEX) == documents(&rows), "{variant}");
            let [created, confirmed] = counts(&outcome, ["created", "confirmed"]);
            assert_eq!(
                [created, confirmed],
                [400, 0],
                "{variant}: nothing was lost"
            );
        }
    }
}

#[test]
fn a_server_that_dies_is_left_aside() {
    let rows = rows(1000);
    for variant in Variant::EACH {
        let server = Scripted::start(|_| Reply::Normal.after(Duration::from_millis(3)));
        let other = Proxy::start(&server.url, 1, None, Duration::ZERO);
        let job = Job::new(&[&server.url, &other.url], &rows, &[("retries", "3")]);
        let running = job.start(variant);
        wait_until("some are sent", || server.record().bulks > 10);
        drop(other);
        let outcome = running.outcome();
        assert_ended(&outcome, 0, 1000, variant);
        assert!(server.documents(INDEX) == documents(&rows), "{variant}");
    }
}

#[test]
fn servers_share_the_work() {
    let rows = rows(600);
    let server = Scripted::start(|_| Reply::Normal);
    let ways = [1, 2, 3].map(|seed| Proxy::start(&server.url, seed, None, Duration::ZERO));
    let urls = ways.each_ref().map(|way| way.url.as_str());
    let outcome = Job::new(&urls, &rows, &[]).run(Variant::new("threads", 1, 3));
    assert_ended(&outcome, 0, 600, "three");
    assert!(server.documents(INDEX) == documents(&rows));
    for way in &ways {
        assert!(way.carried() > 10_000, "{} bytes", way.carried());
    }
}

#[test]
fn connections_that_are_cut_and_held_up_lose_nothing() {
    let rows = rows(1200);
    for variant in Variant::EACH {
        for (seed, load) in [(1, "\"append\""), (2, "\"replace\"")] {
            let about = format!("{variant}, seed {seed}");
            let server = Scripted::start(|_| Reply::Normal);
            let delay = Duration::from_millis(2);
            let way = Proxy::start(&server.url, seed, Some(200..15_000), delay);
            let outcome = Job::new(&[&way.url], &rows, &[("load", load)]).run(variant);
            assert_ended(&outcome, 0, 1200, &about);
            assert!(server.documents(INDEX) == documents(&rows), "{about}");
            assert!(way.cuts() > 3, "{about}: {} cuts", way.cuts());
        }
    }
}
