//! Logins: one a process, renewed once by one thread, closed at the end.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Asking, reasons};
use crate::harness::{Etl, Variant, children, client, is_alive, wait_until};
use crate::scripted::{Asked, Say, Site};

/// How long a server here waits for what a test is about.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that wants a login; a token is good for so many requests, and once for each that was refused
/// before, so that none meets with a token that others have used up meanwhile.
fn site(good_for: usize) -> Site {
    let tokens: Mutex<Vec<usize>> = Mutex::default();
    let closed: Mutex<HashSet<usize>> = Mutex::default();
    Site::start(move |asked| {
        let mut tokens = tokens.lock().expect("no script panics");
        let token = |asked: &Asked| {
            let token = asked.headers.get("x-token")?.strip_prefix("t-")?;
            token.parse::<usize>().ok()
        };
        match asked.target.as_str() {
            "/login" => {
                tokens.push(0);
                Say::json(format!(
                    "{{\"data\": {{\"token\": \"t-{}\"}}}}",
                    tokens.len() - 1
                ))
            }
            "/logout" => {
                let closed = closed
                    .lock()
                    .expect("no script panics")
                    .insert(token(asked).unwrap_or(99));
                Say::status(if closed { 204 } else { 500 }, "")
            }
            _ => match token(asked).and_then(|token| tokens.get_mut(token)) {
                Some(_) if asked.before > 0 => Say::json("{\"v\": 1}"),
                Some(requests) if *requests < good_for => {
                    *requests += 1;
                    Say::json("{\"v\": 1}")
                }
                _ => Say::status(401, "no longer good"),
            },
        }
    })
}

fn options(site: &Site) -> String {
    let url = &site.url;
    format!(
        "url = \"{url}/{{id}}\"\nsession.url = \"{url}/login\"\nsession.token = \"/data/token\"\nsession.header = \"X-Token: {{token}}\"\nsession.close_url = \"{url}/logout\""
    )
}

#[test]
fn each_process_logs_in_once_and_out_again() {
    let items: Vec<String> = (0..40).map(|n| format!("i{n}")).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    for (variant, sessions) in Variant::EACH.into_iter().zip([1, 1, 2, 2]) {
        let site = site(1000);
        let asking = Asking::about(&items, &options(&site));
        let outcome = asking.run(variant);
        assert_eq!(outcome.rejects, "", "{variant}");
        let targets = site.targets();
        assert_eq!(
            (targets["/login"], targets["/logout"]),
            (sessions, sessions),
            "{variant}"
        );
        assert_eq!(outcome.stage("ask")["sessions"], sessions);
        assert!(outcome.stage("ask")["open_s"].as_f64() > Some(0.0));
    }
}

#[test]
fn a_session_that_ends_is_renewed_by_one_thread_for_all() {
    let items: Vec<String> = (0..60).map(|n| format!("i{n}")).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let site = site(25);
    let asking = Asking::about(&items, &options(&site));
    let outcome = asking.run(Variant::new("threads", 1, 4));
    assert_eq!(outcome.rejects, "", "{}", outcome.stderr);
    assert_eq!(asking.written().lines().count(), 61);
    assert_eq!(site.targets()["/login"], 3, "25, 25 and the rest");
    assert_eq!(outcome.stage("ask")["counts"]["renewals"], 2);
}

#[test]
fn a_session_is_renewed_once_a_request() {
    let site = Site::start(|asked| match asked.target.as_str() {
        "/login" => Say::json("{\"data\": {\"token\": \"t-0\"}}"),
        "/logout" => Say::status(204, ""),
        _ => Say::status(401, "no longer good"),
    });
    let asking = Asking::about(&["a", "b"], &options(&site));
    let outcome = asking.run(Variant::SEQUENTIAL);
    let reasons = reasons(&outcome);
    assert_eq!(reasons["a"], "401 Unauthorized: no longer good");
    assert_eq!(reasons.len(), 2);
    assert_eq!(site.targets()["/login"], 3);
}

#[test]
fn what_a_licence_does_not_allow_is_told_before_it_is_tried() {
    let site = site(9);
    let options = format!("{}\nmax_sessions = 1", options(&site));
    let asking = Asking::about(&["a"], &options);
    for (variant, code) in Variant::EACH.into_iter().zip([0, 0, 2, 2]) {
        let mut arguments = vec!["check".to_owned(), "pipeline.toml".to_owned()];
        arguments.extend(variant.arguments());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let outcome = Etl::new(asking.folder.path(), &arguments).outcome();
        assert_eq!(outcome.code, Some(code), "{variant}: {}", outcome.stderr);
        assert_eq!(
            outcome.stderr.contains("`max_sessions` allows 1 session"),
            code == 2
        );
    }
    assert!(site.asked().is_empty(), "`check` asks nobody");
}

#[test]
fn a_process_that_gets_no_session_ends_the_run_though_another_has_one() {
    for variant in [Variant::EACH[2], Variant::EACH[3]] {
        // Whoever has the session is at work when the other one is refused.
        let refused = Say::status(403, "one session is what you paid for");
        let site = one_gets_in(refused, Say::Hold);
        let items: Vec<String> = (0..40).map(|n| format!("i{n}")).collect();
        let items: Vec<&str> = items.iter().map(String::as_str).collect();
        let asking = Asking::about(&items, &options(&site));
        let outcome = asking.command(variant).outcome();
        assert_eq!(outcome.code, Some(1), "{variant}: {}", outcome.stderr);
        let told = "403 Forbidden: one session is what you paid for";
        assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("replaced"), "{}", outcome.stderr);
    }
}

/// A server whose first login succeeds at once, and the others are answered so; the items too.
fn one_gets_in(others: Say, item: Say) -> Site {
    Site::start(move |asked| match asked.target.as_str() {
        "/login" => match asked.before {
            0 => Say::json("{\"data\": {\"token\": \"t-0\"}}"),
            _ => others.clone(),
        },
        "/logout" => Say::status(204, ""),
        _ => item.clone(),
    })
}

#[test]
fn a_process_that_dies_at_its_login_again_and_again_ends_the_run_though_another_works() {
    for variant in [Variant::EACH[2], Variant::EACH[3]] {
        let site = one_gets_in(Say::Hold, Say::Hold);
        let asking = Asking::about(&["a", "b", "c", "d", "e"], &options(&site));
        let running = asking.command(variant).start();
        for died in 0..3 {
            let mut worker = None;
            wait_until("the next one asks for a session", || {
                let asked = site.asked();
                let mut logins = asked.iter().filter(|asked| asked.target == "/login");
                let login = logins.nth(died + 1);
                worker = login.and_then(|at| client(at.from, &children(running.child.id())));
                worker.is_some()
            });
            let worker = Pid::from_raw(worker.expect("it waits").cast_signed());
            kill(worker, Signal::SIGKILL).expect("it is there");
        }
        let outcome = running.outcome();
        assert_eq!(outcome.code, Some(1), "{variant}: {}", outcome.stderr);
        let told = "was killed by SIGKILL, before it could begin";
        assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
    }
}

#[test]
fn who_is_still_at_its_login_is_given_nothing() {
    for variant in [Variant::EACH[2], Variant::EACH[3]] {
        // The second login takes until the other process has asked about all items.
        let (left, all_asked) = (AtomicUsize::new(6), Arc::new(AtomicBool::new(false)));
        let asked = all_asked.clone();
        let site = Site::start(move |request| match request.target.as_str() {
            "/login" => {
                let first = request.before == 0;
                let until = Instant::now() + PATIENCE;
                while !first && !asked.load(Ordering::SeqCst) && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Say::json("{\"data\": {\"token\": \"t-0\"}}")
            }
            "/logout" => Say::status(204, ""),
            _ => {
                if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                    asked.store(true, Ordering::SeqCst);
                }
                Say::json("{\"v\": 1}")
            }
        });
        let asking = Asking::about(&["a", "b", "c", "d", "e", "f"], &options(&site));
        let outcome = asking.run(variant);
        assert_eq!(outcome.rejects, "", "{variant}");
        assert!(all_asked.load(Ordering::SeqCst), "{variant}");
        let targets = site.targets();
        assert_eq!((targets["/login"], targets["/logout"]), (2, 2), "{variant}");
    }
}

#[test]
fn the_pace_is_kept_though_processes_log_in_at_different_times() {
    // Some that wait for three processes would be made all at once when these are in.
    let site = Site::start(move |asked| match asked.target.as_str() {
        "/login" => {
            if asked.before > 0 {
                std::thread::sleep(Duration::from_secs(4));
            }
            Say::json("{\"data\": {\"token\": \"t-0\"}}")
        }
        "/logout" => Say::status(204, ""),
        _ => {
            std::thread::sleep(Duration::from_secs(5));
            Say::json("{\"v\": 1}")
        }
    });
    let options = options(&site) + "\nrequests_per_second = 1";
    let asking = Asking::about(&["a", "b", "c", "d", "e"], &options);
    let outcome = asking.run(Variant::new("processes", 4, 1));
    assert_eq!(outcome.rejects, "");
    let mut asked = site.asked();
    asked.retain(|asked| !asked.target.starts_with("/log"));
    for (asked, third) in asked.iter().zip(&asked[2..]) {
        // Two seconds; a machine that has other work may take some of it away.
        let between = third.at.duration_since(asked.at);
        assert!(between > Duration::from_millis(700), "{between:?}");
    }
}

#[test]
fn a_login_that_hangs_outlives_nobody() {
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        let site = one_gets_in(Say::Hold, Say::Hold);
        let asking = Asking::about(&["a", "b"], &options(&site));
        let running = asking.command(Variant::EACH[2]).start();
        wait_until("both have asked for a session", || {
            site.targets().get("/login") == Some(&2)
        });
        let workers = children(running.child.id());
        let pid = Pid::from_raw(running.child.id().cast_signed());
        kill(pid, signal).expect("it is there");
        let killed = Instant::now();
        wait_until("the workers have gone", || {
            !workers.iter().any(|&worker| is_alive(worker))
        });
        running.outcome();
        // Less than the time that a worker is given to end what it has begun.
        assert!(killed.elapsed() < Duration::from_secs(3), "{signal}");
    }
}

#[test]
fn a_login_that_fails_ends_the_run_before_an_item_is_asked_about() {
    let site = Site::start(|asked| match asked.target.as_str() {
        "/login" => Say::status(403, "licence expired"),
        _ => Say::json("{\"v\": 1}"),
    });
    for variant in Variant::EACH {
        let asking = Asking::about(&["a"], &options(&site));
        let outcome = asking.command(variant).outcome();
        assert_eq!(outcome.code, Some(1), "{variant}");
        let expected = format!(
            "error: stage `ask`: cannot open a session at `{}/login`\n  403 Forbidden: licence expired\n",
            site.url
        );
        assert!(outcome.stderr.contains(&expected), "{}", outcome.stderr);
    }
    assert!(!site.targets().contains_key("/a"));
}

#[test]
fn a_logout_that_hangs_does_not_hold_up_who_interrupts() {
    for variant in Variant::EACH {
        let site = Site::start(|asked| match asked.target.as_str() {
            "/login" => Say::json("{\"data\": {\"token\": \"t-0\"}}"),
            "/logout" => Say::Hold,
            _ => Say::json("{\"v\": 1}"),
        });
        let asking = Asking::about(&["a", "b"], &options(&site));
        let running = asking.command(variant).start();
        wait_until("it logs out", || site.targets().contains_key("/logout"));
        let pid = Pid::from_raw(running.child.id().cast_signed());
        kill(pid, Signal::SIGINT).expect("it is there");
        let asked = Instant::now();
        let outcome = running.outcome();
        assert_eq!(outcome.code, Some(130), "{variant}: {}", outcome.stderr);
        assert!(asked.elapsed() < Duration::from_secs(10));
        assert_eq!(asking.written(), "", "{variant}: nothing is published");
    }
}

#[test]
fn a_logout_that_hangs_outlives_no_run_that_is_killed() {
    for variant in [Variant::EACH[2], Variant::EACH[3]] {
        // One process has nothing to do when the run is killed; or both log out already.
        for (item, until) in [(Say::Hold, "/a"), (Say::json("{\"v\": 1}"), "/logout")] {
            let site = Site::start(move |asked| match asked.target.as_str() {
                "/login" => Say::json("{\"data\": {\"token\": \"t-0\"}}"),
                "/logout" => Say::Hold,
                _ => item.clone(),
            });
            let asking = Asking::about(&["a"], &options(&site));
            let running = asking.command(variant).start();
            wait_until("both have logged in, and it is so far", || {
                let targets = site.targets();
                targets.get("/login") == Some(&2) && targets.contains_key(until)
            });
            let workers = children(running.child.id());
            let pid = Pid::from_raw(running.child.id().cast_signed());
            kill(pid, Signal::SIGKILL).expect("it is there");
            let killed = Instant::now();
            wait_until("the workers have gone", || {
                !workers.iter().any(|&worker| is_alive(worker))
            });
            running.outcome();
            // A last word has two seconds, a request without an answer half a minute.
            assert!(
                killed.elapsed() < Duration::from_secs(15),
                "{variant}, {until}"
            );
        }
    }
}

#[test]
fn a_run_that_is_interrupted_logs_out_all_the_same() {
    for variant in Variant::EACH {
        let site = Site::start(|asked| match asked.target.as_str() {
            "/login" => Say::json("{\"data\": {\"token\": \"t-0\"}}"),
            "/logout" => Say::status(204, ""),
            "/b" => Say::Hold,
            _ => Say::json("{\"v\": 1}"),
        });
        let asking = Asking::about(&["a", "b", "c"], &options(&site));
        let running = asking.command(variant).start();
        wait_until("the item is asked about", || {
            site.targets().contains_key("/b")
        });
        let pid = Pid::from_raw(running.child.id().cast_signed());
        kill(pid, Signal::SIGINT).expect("it is there");
        let outcome = running.outcome();
        assert_eq!(outcome.code, Some(130), "{variant}: {}", outcome.stderr);
        let targets = site.targets();
        assert_eq!(targets.get("/login"), targets.get("/logout"), "{variant}");
    }
}
