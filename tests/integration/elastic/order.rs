//! What is in flight: rows with one id never side by side, requests no larger and no more than allowed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{INDEX, Job, Row, assert_ended, assert_sent_as_needed, count, counts, documents, rows};
use crate::harness::Variant;
use crate::scripted::{Bulk, ItemFault, Random, Reply, Scripted};

/// Many rows with few ids, some of them side by side.
fn repeating(random: &mut Random, count: i64) -> Vec<Row> {
    let mut rows = rows(count);
    for row in &mut rows {
        row.id = format!("d{}", random.within(&(0..23)).pow(2) / 10);
    }
    rows
}

#[test]
fn of_rows_with_one_id_the_last_one_is_in_the_index() {
    for variant in Variant::EACH {
        for seed in 0..3 {
            let about = format!("{variant}, seed {seed}");
            let mut random = Random::new(seed);
            let rows = repeating(&mut random, 700);
            let server = Scripted::start(move |bulk: &Bulk| {
                let any = random.within(&(0..bulk.items.len()));
                let reply = match random.within(&(0..40)) {
                    0..4 => Reply::status(503, "away"),
                    4..12 => Reply::Items(vec![ItemFault::new(any, 429, "busy")]),
                    12..16 => Reply::Garbage("{\"took\":1,".into()),
                    16 => Reply::CloseAfter,
                    17 => Reply::CloseBefore,
                    _ => Reply::Normal,
                };
                reply.after(Duration::from_millis(random.next() % 4))
            });
            let outcome = Job::new(&[&server.url], &rows, &[]).run(variant);
            assert_ended(&outcome, 0, rows.len(), &about);
            let (got, want) = (server.documents(INDEX), documents(&rows));
            assert!(got == want, "{about}: {got:?}");
            let [created, updated, confirmed] =
                counts(&outcome, ["created", "updated", "confirmed"]);
            assert!(created <= want.len() as u64, "{about}: {created} created");
            assert!(updated > 0 && confirmed > 0, "{about}");
            assert!(created + confirmed >= want.len() as u64, "{about}");
        }
    }
}

#[test]
fn routing_does_not_tell_documents_of_one_id_apart() {
    // The server of this test knows no routing, so it is looked at as it was asked for.
    let rows: Vec<Row> = rows(60)
        .into_iter()
        .map(|row| Row {
            id: format!("d{}", row.n % 5),
            ..row
        })
        .collect();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let server = Scripted::start({
        let seen = Arc::clone(&seen);
        move |bulk: &Bulk| {
            let items = bulk.items.iter();
            let of = items.map(|item| (item.id.clone(), item.action["routing"].clone()));
            let mut of: Vec<_> = of.map(|(id, routing)| format!("{id} {routing}")).collect();
            let all = of.len();
            of.sort();
            of.dedup();
            seen.lock().expect("no one panics").push((of.clone(), all));
            Reply::Normal
        }
    });
    let options = [("routing", "\"n\"")];
    let outcome = Job::new(&[&server.url], &rows, &options).run(Variant::SEQUENTIAL);
    assert_ended(&outcome, 0, rows.len(), "routing");
    let seen = seen.lock().expect("no one panics");
    // In one shard equal ids are one document whatever their routing: no request holds one twice.
    assert_eq!(seen.len(), 12, "{seen:?}");
    assert!(seen.iter().all(|(of, all)| of.len() == 5 && *all == 5));
}

#[test]
fn a_request_is_no_larger_than_allowed_unless_it_is_one_document() {
    let mut rows = rows(400);
    for (i, row) in rows.iter_mut().enumerate() {
        row.text = "x".repeat(match i % 37 {
            0 => 5000,
            i => 1 + i * i % 300,
        });
    }
    for variant in Variant::EACH {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = Scripted::start({
            let seen = Arc::clone(&seen);
            move |bulk: &Bulk| {
                let request = (bulk.items.len(), bulk.bytes);
                seen.lock().expect("no one panics").push(request);
                Reply::Normal
            }
        });
        let options = [("batch_bytes", "3000"), ("batch_docs", "100")];
        let outcome = Job::new(&[&server.url], &rows, &options).run(variant);
        assert_ended(&outcome, 0, rows.len(), variant);
        assert!(server.documents(INDEX) == documents(&rows), "{variant}");
        assert_sent_as_needed(&server.record(), &outcome, &[], variant);
        let seen = seen.lock().expect("no one panics");
        for (items, bytes) in seen.iter() {
            assert!(
                *bytes <= 3000 || *items == 1,
                "{variant}: {items} in {bytes}"
            );
        }
        let large = seen.iter().filter(|(_, bytes)| *bytes > 2000).count();
        assert!(
            large * 2 > seen.len(),
            "{variant}: small requests: {seen:?}"
        );
    }
}

#[test]
fn as_many_requests_are_in_flight_as_bring_more() {
    let rows = rows(2000);
    for (variant, most) in [
        (Variant::SEQUENTIAL, 1),
        (Variant::new("threads", 1, 4), 4),
        (Variant::new("processes", 3, 1), 3),
        (Variant::new("hybrid", 2, 2), 4),
    ] {
        let at_once = Arc::new(Mutex::new(Vec::new()));
        let server = Scripted::start({
            let at_once = Arc::clone(&at_once);
            move |bulk: &Bulk| {
                at_once.lock().expect("no one panics").push(bulk.at_once);
                Reply::Normal.after(Duration::from_millis(20))
            }
        });
        let outcome = Job::new(&[&server.url], &rows, &[]).run(variant);
        assert_ended(&outcome, 0, rows.len(), variant);
        let at_once = at_once.lock().expect("no one panics");
        assert_eq!(at_once[..2], [1, 1], "{variant}: it starts with one");
        let reached = at_once.iter().copied().max();
        assert_eq!(reached, Some(most), "{variant}: {at_once:?}");
        assert_eq!(server.record().most_at_once, most, "{variant}");
        if most > 1 {
            assert_eq!(count(&outcome, "concurrency"), most as u64, "{variant}");
        }
    }
}

#[test]
fn fewer_requests_are_in_flight_where_the_server_refuses_more() {
    let rows = rows(3000);
    for variant in [
        Variant::new("threads", 1, 8),
        Variant::new("processes", 4, 1),
        Variant::new("hybrid", 2, 4),
    ] {
        let refused = Arc::new(Mutex::new(0));
        let server = Scripted::start({
            let refused = Arc::clone(&refused);
            move |bulk: &Bulk| {
                if bulk.at_once > 2 {
                    *refused.lock().expect("no one panics") += 1;
                    return Reply::status(429, "es_rejected_execution_exception");
                }
                Reply::Normal.after(Duration::from_millis(10))
            }
        });
        let outcome = Job::new(&[&server.url], &rows, &[]).run(variant);
        assert_ended(&outcome, 0, rows.len(), variant);
        assert!(server.documents(INDEX) == documents(&rows), "{variant}");
        assert_sent_as_needed(&server.record(), &outcome, &[], variant);
        let refused = *refused.lock().expect("no one panics");
        assert!(refused > 0, "{variant}: it never tried more");
        let splits = count(&outcome, "splits");
        assert_eq!(
            splits, 0,
            "{variant}: none was alone, {refused} were refused"
        );
        assert!(refused < 100, "{variant}: {refused} were refused of 150");
    }
}
