//! Servers that refuse, fail, fall silent and talk nonsense: all documents arrive, and none is sent again that
//! is known to have been taken.

use std::time::Duration;

use super::{
    INDEX, Job, assert_ended, assert_failed, assert_sent_as_needed, count, counts, documents,
    rejects, rows,
};
use crate::harness::Variant;
use crate::scripted::{Bulk, ItemFault, Random, Reply, Scripted};

/// One of the many things that may become of a request, most often nothing special.
fn whim(random: &mut Random, bulk: &Bulk) -> Reply {
    let statuses = [429, 408, 502, 503, 504];
    let status = statuses[random.within(&(0..statuses.len()))];
    let reply = match random.within(&(0..100)) {
        0..25 => {
            let each = (0..bulk.items.len()).filter(|_| random.next().is_multiple_of(4));
            let faults = each.collect::<Vec<_>>().into_iter().map(|position| {
                let refusals = [429, 502, 503, 504];
                let status = refusals[random.within(&(0..refusals.len()))];
                ItemFault::new(position, status, "es_rejected_execution_exception")
            });
            Reply::Items(faults.collect())
        }
        25..40 => Reply::status(status, "busy"),
        40..44 => Reply::CloseBefore,
        44..48 => Reply::CloseAfter,
        48..52 => Reply::CutAnswer(random.within(&(0..400))),
        52..54 => Reply::Garbage("<html>gateway</html>".into()),
        54..56 => Reply::Garbage("{\"took\":1,\"errors\":fal".into()),
        56..58 => Reply::FewerItems,
        _ => Reply::Normal,
    };
    reply.after(Duration::from_millis(random.next() % 4))
}

#[test]
fn all_documents_arrive_and_none_that_was_taken_is_sent_again() {
    let rows = rows(600);
    for variant in Variant::EACH {
        for seed in 0..3 {
            let about = format!("{variant}, seed {seed}");
            let mut random = Random::new(seed);
            let server = Scripted::start(move |bulk| whim(&mut random, bulk));
            let job = Job::new(&[&server.url], &rows, &[]);
            let outcome = job.run(variant);
            assert_ended(&outcome, 0, rows.len(), &about);
            assert!(server.documents(INDEX) == documents(&rows), "{about}");
            assert_sent_as_needed(&server.record(), &outcome, &[], &about);
            assert!(
                count(&outcome, "sent_again") > 0,
                "{about}: it was too easy"
            );
            let there = counts(&outcome, ["created", "confirmed"]);
            assert_eq!(there.iter().sum::<u64>(), rows.len() as u64, "{about}");
        }
    }
}

/// What each trouble of one request of 20 documents costs.
struct Case {
    name: &'static str,
    replies: Vec<Reply>,
    created: u64,
    confirmed: u64,
    sent_again: u64,
    refused_429: u64,
    requests: u64,
}

fn cases() -> Vec<Case> {
    let whole = |name, replies: Vec<Reply>| Case {
        name,
        created: 20,
        confirmed: 0,
        sent_again: 20 * replies.len() as u64,
        refused_429: 0,
        requests: 1 + replies.len() as u64,
        replies,
    };
    let carried_out = |name, reply| Case {
        created: 0,
        confirmed: 20,
        ..whole(name, vec![reply])
    };
    let items = |name, status, refused_429| Case {
        sent_again: 2,
        refused_429,
        ..whole(
            name,
            vec![Reply::Items(vec![
                ItemFault::new(3, status, "a_kind"),
                ItemFault::new(19, status, "a_kind"),
            ])],
        )
    };
    vec![
        whole("nothing", Vec::new()),
        items("items 429", 429, 1),
        items("items 502", 502, 0),
        items("items 503", 503, 0),
        items("items 504", 504, 0),
        items("items 500", 500, 0),
        Case {
            refused_429: 1,
            ..whole("429", vec![Reply::status(429, "busy")])
        },
        whole("408", vec![Reply::status(408, "late")]),
        whole("500", vec![Reply::status(500, "oh"); 2]),
        whole("502", vec![Reply::Status(502, Vec::new(), "<html>".into())]),
        whole("503", vec![Reply::status(503, "away"); 4]),
        whole("504", vec![Reply::status(504, "late")]),
        whole("closed before", vec![Reply::CloseBefore]),
        carried_out("closed after", Reply::CloseAfter),
        carried_out("cut in the head", Reply::CutAnswer(30)),
        carried_out("cut in the body", Reply::CutAnswer(400)),
        carried_out("no answer at all", Reply::CutAnswer(0)),
        carried_out("not JSON", Reply::Garbage("200 fine".into())),
        carried_out(
            "half a JSON",
            Reply::Garbage("{\"took\":1,\"items\":[".into()),
        ),
        carried_out(
            "another JSON",
            Reply::Garbage("{\"acknowledged\":true}".into()),
        ),
        carried_out("an empty answer", Reply::Garbage(String::new())),
        carried_out("one item fewer", Reply::FewerItems),
    ]
}

#[test]
fn each_trouble_costs_what_it_must_and_no_more() {
    let rows = rows(20);
    for case in cases() {
        let name = case.name;
        let replies = case.replies;
        let server = Scripted::start(move |bulk| {
            let reply = replies.get(bulk.number).cloned();
            reply.unwrap_or(Reply::Normal)
        });
        let outcome = Job::new(&[&server.url], &rows, &[]).run(Variant::SEQUENTIAL);
        assert_ended(&outcome, 0, rows.len(), name);
        assert!(server.documents(INDEX) == documents(&rows), "{name}");
        assert_sent_as_needed(&server.record(), &outcome, &[], name);
        let got = [
            "created",
            "confirmed",
            "sent_again",
            "refused_429",
            "requests",
        ];
        let want = [
            case.created,
            case.confirmed,
            case.sent_again,
            case.refused_429,
            case.requests,
        ];
        assert_eq!(counts(&outcome, got), want, "{name}: {got:?}");
    }
}

#[test]
fn no_answer_in_time_is_a_lost_answer() {
    let rows = rows(100);
    let server = Scripted::start(|bulk| match bulk.number {
        1 => Reply::Normal.after(Duration::from_secs(3)),
        _ => Reply::Normal,
    });
    let options = [("request_timeout_ms", "1000")];
    let outcome = Job::new(&[&server.url], &rows, &options).run(Variant::SEQUENTIAL);
    assert_ended(&outcome, 0, rows.len(), "late");
    assert!(server.documents(INDEX) == documents(&rows));
    assert_eq!(counts(&outcome, ["sent_again", "requests"]), [20, 6]);
}

#[test]
fn what_the_server_fails_at_is_tried_twice_more() {
    let rows = rows(20);
    let item = || Reply::Items(vec![ItemFault::new(7, 500, "io_exception")]);
    for (name, reply, per_try) in [
        ("whole", Reply::status(500, "oh"), 20),
        ("an item", item(), 1),
    ] {
        let server = Scripted::start(move |bulk| match reply.clone() {
            Reply::Items(_) if bulk.number > 0 => {
                Reply::Items(vec![ItemFault::new(0, 500, "io_exception")])
            }
            reply => reply,
        });
        let job = Job::new(&[&server.url], &rows, &[]);
        let outcome = job.run(Variant::SEQUENTIAL);
        assert_failed(&outcome, &["error", "--resume"], name);
        assert_eq!(rejects(&outcome).len(), 0, "{name}");
        let record = server.record();
        assert_eq!(record.bulks, 3, "{name}");
        let sent: usize = record.answers.values().map(Vec::len).sum();
        assert_eq!(sent, 20 + 2 * per_try, "{name}");
    }
}

#[test]
fn a_server_is_left_alone_as_long_as_it_asks() {
    let rows = rows(20);
    let server = Scripted::start(|bulk| match bulk.number {
        0 => Reply::Status(429, vec![("Retry-After".into(), "1".into())], String::new()),
        _ => Reply::Normal,
    });
    let options = [("retry_delay_ms_max", "5000")];
    let outcome = Job::new(&[&server.url], &rows, &options).run(Variant::SEQUENTIAL);
    assert_ended(&outcome, 0, rows.len(), "Retry-After");
    let wall = outcome.report["wall_s"].as_f64().expect("it is measured");
    assert!((1.0..5.0).contains(&wall), "{wall} s");
}
