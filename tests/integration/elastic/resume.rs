//! Runs that are killed, stopped or fail, at every request there is, and go on: no document is lost, none is
//! there twice, and the alias never belongs to half a load.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::{
    INDEX, Job, NONE, Row, assert_ended, assert_failed, counts, documents, rejects, rows, run_id,
};
use crate::harness::{Running, Variant, children, is_alive, wait_until};
use crate::scripted::{Bulk, ItemFault, Random, Reply, Scripted, Trouble};

/// How soon a run ends that is told to, whatever the server does.
const AT_ONCE: Duration = Duration::from_secs(5);

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("pids are small"));
    // It may have ended a moment ago.
    let _ = signal::kill(pid, signal);
}

pub(super) fn interrupt(running: &Running) {
    send(running.child.id(), Signal::SIGINT);
}

pub(super) fn kill(running: &Running) {
    send(running.child.id(), Signal::SIGKILL);
}

fn has_ended(running: &mut Running) -> bool {
    running
        .child
        .try_wait()
        .is_ok_and(|status| status.is_some())
}

/// Waits until a request has met its trouble, or the run has ended without it; whether it was met.
pub(super) fn met(server: &Scripted, running: &mut Running) -> bool {
    wait_until("a request meets trouble", || {
        !server.trouble_waits() || has_ended(running)
    });
    !server.trouble_waits()
}

/// What the index held before.
fn old_rows() -> Vec<Row> {
    let old = |row: Row| Row {
        text: "old".into(),
        ..row
    };
    rows(30).into_iter().map(old).collect()
}

/// Does `then` to a load at each of its requests, one run each; how many requests there are.
fn at_each_request(
    load: &str,
    id: &str,
    trouble: Trouble,
    then: impl Fn(&Scripted, &Job, Running, &str),
) {
    let new_rows = rows(70);
    for number in 0.. {
        let about = format!("{load}, id = {id}, {trouble:?} {number}");
        let server = Scripted::start(|_| Reply::Normal);
        let mode = format!("\"{load}\"");
        let job = Job::new(&[&server.url], &old_rows(), &[("load", &mode), ("id", id)]);
        if load == "replace" {
            assert_ended(&job.run(Variant::SEQUENTIAL), 0, 30, &about);
            job.put_rows(&new_rows);
        }
        job.put_rows(&new_rows);
        server.trouble(number, trouble);
        std::fs::create_dir_all(job.folder.join("state")).expect("it can be made");
        let mut running = job.run_again(Variant::SEQUENTIAL, &[]);
        if !met(&server, &mut running) {
            assert_ended(&running.outcome(), 0, 70, &about);
            assert!(number > 8, "{about}: a load takes more requests");
            return;
        }
        then(&server, &job, running, &about);
        assert_new(&server, &job, &new_rows, &about);
    }
}

/// The index holds the new documents, and no other load is left.
fn assert_new(server: &Scripted, job: &Job, rows: &[Row], about: &str) {
    let mut got: Vec<_> = server.documents(INDEX).into_values().collect();
    got.sort_by_key(|document| document["n"].as_i64());
    let want: Vec<_> = rows.iter().map(Row::document).collect();
    assert!(got == want, "{about}: {} documents", got.len());
    let (_, said) = server.call("GET", "/*/_settings/index.refresh_interval", "");
    assert_eq!(
        said,
        serde_json::json!({}),
        "{about}: settings are put back"
    );
    assert!(job.folder.join("state/report.json").exists(), "{about}");
}

#[test]
fn a_lost_answer_to_any_request_costs_nothing() {
    for load in ["append", "create", "replace"] {
        for trouble in [Trouble::CloseBefore, Trouble::CloseAfter] {
            at_each_request(load, "\"id\"", trouble, |_, _, running, about| {
                assert_ended(&running.outcome(), 0, 70, about);
            });
        }
    }
}

#[test]
fn a_load_that_is_killed_at_any_request_can_go_on() {
    for (load, id) in [
        ("append", "\"id\""),
        ("append", NONE),
        ("create", "\"id\""),
        ("replace", "\"id\""),
        ("replace", NONE),
    ] {
        for trouble in [Trouble::HoldBefore, Trouble::HoldAfter] {
            at_each_request(load, id, trouble, |server, job, running, about| {
                kill(&running);
                assert_eq!(running.outcome().signal, Some(9), "{about}");
                if load == "replace" {
                    let there = server.count(INDEX);
                    assert!([30, 70].contains(&there), "{about}: half a load is served");
                }
                let outcome = job.resume(Variant::SEQUENTIAL);
                assert_ended(&outcome, 0, 70, about);
                assert_eq!(
                    job.runs().len(),
                    if load == "replace" { 2 } else { 1 },
                    "{about}"
                );
            });
        }
    }
}

#[test]
fn a_new_run_clears_what_one_left_that_was_killed_at_any_request() {
    for trouble in [Trouble::HoldBefore, Trouble::HoldAfter] {
        at_each_request(
            "replace",
            "\"id\"",
            trouble,
            |server, job, running, about| {
                kill(&running);
                assert_eq!(running.outcome().signal, Some(9), "{about}");
                let there = server.count(INDEX);
                assert!([30, 70].contains(&there), "{about}: half a load is served");
                let outcome = job.run_again(Variant::SEQUENTIAL, &[]).outcome();
                assert_ended(&outcome, 0, 70, about);
                let left = super::replace::indices(server);
                assert_eq!(
                    left.len(),
                    2,
                    "{about}: what serves, and the one before: {left:?}"
                );
                let (_, aliases) = server.call("GET", "/_alias", "");
                assert!(
                    !aliases.to_string().contains("-load\""),
                    "{about}: {aliases}"
                );
            },
        );
    }
}

#[test]
fn a_load_that_is_interrupted_at_any_request_ends_soon_and_can_go_on() {
    for (load, trouble) in [
        ("append", Trouble::HoldBefore),
        ("replace", Trouble::HoldAfter),
        ("replace", Trouble::Freeze),
    ] {
        at_each_request(load, "\"id\"", trouble, |server, job, running, about| {
            interrupt(&running);
            let since = Instant::now();
            let outcome = running.outcome();
            let took = since.elapsed();
            assert_eq!(outcome.code, Some(130), "{about}: {}", outcome.stderr);
            assert!(took < AT_ONCE, "{about}: it took {took:?}");
            server.recover();
            assert_ended(&job.resume(Variant::SEQUENTIAL), 0, 70, about);
        });
    }
}

#[test]
fn loads_that_are_killed_again_and_again_come_to_their_end() {
    let rows = rows(900);
    for variant in Variant::EACH {
        for seed in 0..3 {
            let about = format!("{variant}, seed {seed}");
            let mut random = Random::new(seed);
            let server = Scripted::start({
                let mut random = Random::new(seed + 100);
                move |bulk: &Bulk| {
                    let delay = Duration::from_millis(3 + random.next() % 5);
                    // These are refused each time: one that was taken before would be no reject.
                    let bad = |id: &str| id.ends_with("77");
                    let all_good = !bulk.items.iter().any(|item| bad(&item.id));
                    if random.next().is_multiple_of(12) && all_good {
                        return Reply::CloseAfter.after(delay);
                    }
                    let items = bulk.items.iter().enumerate();
                    let faults = items.filter_map(|(i, item)| {
                        if bad(&item.id) {
                            return Some(ItemFault::new(i, 400, "bad"));
                        }
                        random
                            .next()
                            .is_multiple_of(50)
                            .then(|| ItemFault::new(i, 429, "busy"))
                    });
                    Reply::Items(faults.collect()).after(delay)
                }
            });
            let options = [("load", "\"replace\"")];
            let job = Job::new(&[&server.url], &rows, &options).allow_rejects();
            let mut running = job.start(variant);
            let mut kills = 0;
            for _ in 0..4 {
                let bulks = server.record().bulks + random.within(&(0..20));
                wait_until("the moment has come", || {
                    server.record().bulks >= bulks || has_ended(&mut running)
                });
                let workers = children(running.child.id());
                kill(&running);
                kills += usize::from(running.outcome().signal == Some(9));
                wait_until("the orphans have ended", || {
                    !workers.iter().any(|&pid| is_alive(pid))
                });
                running = job.run_again(variant, &["--resume"]);
            }
            let outcome = running.outcome();
            assert_ended(&outcome, 0, 900, &about);
            assert!(kills > 1, "{about}: it was too quick to be killed");
            let rejected = rejects(&outcome);
            assert_eq!(rejected.len(), 9, "{about}");
            let mut want = documents(&rows);
            for reject in &rejected {
                let id = reject["id"].as_str().expect("it was sent");
                assert!(
                    want.remove(id).is_some(),
                    "{about}: `{id}` is rejected twice"
                );
            }
            assert!(server.documents(INDEX) == want, "{about}");
        }
    }
}

#[test]
fn a_worker_that_is_killed_doubles_nothing() {
    let rows = rows(900);
    for variant in [
        Variant::new("processes", 2, 1),
        Variant::new("hybrid", 2, 2),
    ] {
        for id in ["\"id\"", NONE] {
            let server = Scripted::start(|_| Reply::Normal.after(Duration::from_millis(10)));
            let job = Job::new(&[&server.url], &rows, &[("id", id)]);
            let running = job.start(variant);
            for bulks in [8, 20] {
                wait_until("some are sent", || server.record().bulks > bulks);
                let workers = children(running.child.id());
                // The load's, which come last.
                send(*workers.last().expect("there are some"), Signal::SIGKILL);
            }
            let outcome = running.outcome();
            assert_ended(&outcome, 0, 900, variant);
            let got: Vec<_> = server.documents(INDEX).into_values().collect();
            assert_eq!(got.len(), 900, "{variant}");
            let [created, confirmed] = counts(&outcome, ["created", "confirmed"]);
            assert_eq!(created + confirmed, 900, "{variant}");
        }
    }
}

/// A load that has failed in its midst, into a server that is well by now.
fn failed(rows: &[Row], options: &[(&str, &str)]) -> (Scripted, Job, String) {
    let ill = Arc::new(Mutex::new(true));
    let server = Scripted::start({
        let ill = Arc::clone(&ill);
        move |bulk: &Bulk| {
            let ill = *ill.lock().expect("no one panics");
            Reply::status(503, "away").when(ill && bulk.number > 2)
        }
    });
    let mut options = options.to_vec();
    options.push(("retries", "2"));
    let job = Job::new(&[&server.url], rows, &options);
    let outcome = job.run(Variant::SEQUENTIAL);
    assert_failed(&outcome, &["--resume"], "it fails");
    *ill.lock().expect("no one panics") = false;
    let run = run_id(&outcome).to_owned();
    (server, job, run)
}

#[test]
fn a_run_goes_on_only_with_what_it_began_with() {
    let rows = rows(200);
    let changes: [(&str, &str, &str); 5] = [
        ("pipeline", "\"p\"", "stage `index`"),
        ("index", "\"others\"", "stage `index`"),
        ("op", "\"create\"", "stage `index`"),
        ("id", "\"n\"", "stage `index`"),
        ("rows", "", "rows.csv"),
    ];
    for (name, value, words) in changes {
        let (server, mut job, _) = failed(&rows, &[]);
        let bulks = server.record().bulks;
        if name == "rows" {
            let mut other = rows.clone();
            other.pop();
            job.put_rows(&other);
        } else {
            job.set(&[(name, value)]);
        }
        let outcome = job.run_again(Variant::SEQUENTIAL, &["--resume"]).outcome();
        assert_failed(&outcome, &[words, "is not what it was"], name);
        assert_eq!(server.record().bulks, bulks, "{name}: nothing was sent");
    }
    // How it is done is of no account.
    let (server, mut job, run) = failed(&rows, &[]);
    job.set(&[
        ("batch_docs", "7"),
        ("retries", "9"),
        ("batch_bytes", "2000"),
    ]);
    let outcome = job
        .run_again(Variant::new("hybrid", 2, 2), &["--resume"])
        .outcome();
    assert_ended(&outcome, 0, 200, "other batches");
    assert_eq!(run_id(&outcome), run);
    assert_eq!(counts(&outcome, ["created", "confirmed"]), [200, 0]);
    assert!(server.documents(INDEX) == documents(&rows));
}

#[test]
fn a_run_goes_on_only_into_the_index_that_it_wrote() {
    let rows = rows(200);
    for load in ["\"append\"", "\"replace\""] {
        for words in ["is gone", "was made anew"] {
            let (server, job, run) = failed(&rows, &[("load", load)]);
            let index = match load {
                "\"append\"" => INDEX.to_owned(),
                // Messages leave out the run's own name.
                _ => format!("things-{}", run.to_lowercase()),
            };
            server.call("DELETE", &format!("/{index}"), "");
            if words != "is gone" {
                server.call("PUT", &format!("/{index}"), "{}");
            }
            let bulks = server.record().bulks;
            let outcome = job.resume(Variant::SEQUENTIAL);
            assert_failed(&outcome, &[words, &index], load);
            assert_eq!(server.record().bulks, bulks, "{load}: nothing was sent");
        }
    }
}

#[test]
fn a_run_that_has_ended_well_or_goes_on_still_is_not_resumed() {
    let rows = rows(100);
    let server = Scripted::start(|_| Reply::Normal);
    let job = Job::new(&[&server.url], &rows, &[]);
    let done = job.run(Variant::SEQUENTIAL);
    let run = run_id(&done).to_owned();
    let bulks = server.record().bulks;
    let resume = format!("--resume={run}");
    let outcome = job.run_again(Variant::SEQUENTIAL, &[&resume]).outcome();
    assert_failed(&outcome, &["has ended well"], "done");
    let unknown = job.run_again(Variant::SEQUENTIAL, &["--resume=20200101T000000-0000"]);
    assert_failed(
        &unknown.outcome(),
        &["no run `20200101T000000-0000`"],
        "unknown",
    );
    assert_eq!(server.record().bulks, bulks, "nothing was sent");

    // The newest unfinished one: there is none, and a new run says so.
    let outcome = job.resume(Variant::SEQUENTIAL);
    assert_ended(&outcome, 0, 100, "a new one");
    assert_ne!(run_id(&outcome), run);
    assert!(
        outcome.stderr.contains("a new one was started"),
        "{}",
        outcome.stderr
    );

    server.trouble(6, Trouble::HoldBefore);
    let mut running = job.run_again(Variant::SEQUENTIAL, &[]);
    assert!(met(&server, &mut running));
    let outcome = job.resume(Variant::SEQUENTIAL);
    assert_failed(&outcome, &["is still running"], "still running");
    kill(&running);
    assert_eq!(running.outcome().signal, Some(9));
}

#[test]
fn rejects_are_cut_back_to_what_is_settled() {
    let rows = rows(200);
    let ill = Arc::new(Mutex::new(0));
    let server = Scripted::start({
        let ill = Arc::clone(&ill);
        move |bulk: &Bulk| {
            let mut ill = ill.lock().expect("no one panics");
            *ill += 1;
            if *ill > 3 {
                return Reply::status(503, "away");
            }
            let items = bulk.items.iter().enumerate();
            let bad = items.filter(|(_, item)| item.id.ends_with('3'));
            Reply::Items(bad.map(|(i, _)| ItemFault::new(i, 400, "bad")).collect())
        }
    });
    let job = Job::new(&[&server.url], &rows, &[("retries", "2")]);
    let mut outcome = job.run(Variant::SEQUENTIAL);
    assert_failed(&outcome, &["--resume"], "the first time");
    assert_eq!(rejects(&outcome).len(), 6);
    // Once more nothing is taken, then a little, then all.
    for (healthy_for, rejected) in [(0, 6), (2, 10), (1000, 20)] {
        *ill.lock().expect("no one panics") = 3 - healthy_for;
        outcome = job.resume(Variant::SEQUENTIAL);
        assert_eq!(
            rejects(&outcome).len(),
            rejected,
            "{healthy_for}: {}",
            outcome.stderr
        );
    }
    assert_ended(&outcome, 3, 200, "at last");
    let ids: Vec<String> = rejects(&outcome)
        .iter()
        .map(|reject| reject["id"].as_str().expect("it was sent").to_owned())
        .collect();
    let want = rows.iter().filter(|row| row.id.ends_with('3'));
    assert_eq!(ids, want.map(|row| row.id.clone()).collect::<Vec<_>>());
}
