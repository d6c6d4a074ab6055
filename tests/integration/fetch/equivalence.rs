//! The executor may not change the answer: same rows, same order, same rejects, whatever fails.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Asking, reasons};
use crate::harness::{Variant, children, wait_until};
use crate::scripted::{Asked, Say, Site};

/// Looks random, and is the same in every run.
fn number(item: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = item.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
    hash ^ (hash >> 29)
}

/// What one item is answered with; each fails in its own way, if it does.
fn about_one(asked: &Asked, item: &str) -> Say {
    let page = |from: u64, next: &str| {
        let records: Vec<String> = (from..from + 2)
            .map(|n| format!("{{\"v\": {n}}}"))
            .collect();
        Say::json(format!(
            "{{\"data\": [{}], \"next\": {next}}}",
            records.join(",")
        ))
    };
    match number(item) % 16 {
        0 => Say::status(404, "no such item"),
        1 if asked.before < 2 => Say::status(503, "busy").with("retry-after", "0"),
        2 if asked.before == 0 => {
            Say::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[".to_vec())
        }
        3 => Say::json("{\"data\": []}"),
        4 => Say::json("{\"data\": [{\"v\": 1}, {\"v\": \"one\"}]}"),
        5 if asked.target.contains("page=2") => Say::status(500, "no second page"),
        5 | 6 if !asked.target.contains("page=2") => page(0, &format!("\"/{item}?page=2\"")),
        6 => page(2, "null"),
        7 if !asked.target.contains("moved") => {
            Say::status(307, "").with("location", format!("/{item}?moved"))
        }
        n => Say::json(format!("{{\"data\": {{\"v\": {n}}}}}")),
    }
}

#[test]
fn every_executor_gives_the_same_rows_and_rejects_item_by_item() {
    let items: Vec<String> = (0..300).map(|n| format!("i{n}")).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let mut first = None;
    for variant in Variant::EACH {
        // One server a run: how often an item failed is its memory.
        let site = Site::start(|asked| {
            let item = asked.target.trim_start_matches('/').split('?').next();
            about_one(asked, item.unwrap_or_default())
        });
        let options = format!(
            "url = \"{}/{{id}}\"\nrecords = \"/data\"\nnext = \"/next\"\ntypes = {{ v = \"int\" }}",
            site.url
        );
        let asking = Asking::about(&items, &options);
        let outcome = asking.run(variant);
        let told = (asking.written(), outcome.rejects.clone());
        assert!(
            reasons(&outcome).len() > 30 && told.0.lines().count() > 200,
            "{}",
            outcome.stderr
        );
        match &first {
            None => first = Some(told),
            Some(first) => assert!(first == &told, "{variant} differs:\n{first:?}\n{told:?}"),
        }
    }
}

#[test]
fn every_executor_asks_the_same_in_the_same_batches() {
    let items: Vec<String> = (0..300).map(|n| format!("i{n}")).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let mut first = None;
    for variant in [
        Variant::SEQUENTIAL,
        Variant::new("threads", 1, 3).batch_rows(10),
        Variant::new("processes", 2, 1).batch_rows(7),
        Variant::new("hybrid", 2, 2).staged(),
    ] {
        let site = Site::start(|asked| {
            let items: Vec<&str> = asked.body.split('"').skip(3).step_by(2).collect();
            if asked.before == 0 && number(&asked.body).is_multiple_of(4) {
                return Say::status(502, "try again");
            }
            if items.iter().any(|item| number(item).is_multiple_of(40)) {
                return Say::status(400, "one of them");
            }
            // Behind each other the wrong way round, some missing, some that nobody asked for.
            let record = |item: &&str| format!("{{\"k\": \"{item}\", \"v\": {}}}", number(item));
            let there = items
                .iter()
                .rev()
                .filter(|item| !number(item).is_multiple_of(9));
            let mut records: Vec<String> = there.map(record).collect();
            records.push("{\"k\": \"stranger\", \"v\": 0}".to_owned());
            Say::json(format!("[{}]", records.join(",")))
        });
        let options = format!(
            "url = \"{}/\"\nmethod = \"POST\"\nbody = {{ ids = \"{{id,}}\" }}\nbatch = 12\nidempotent = true\nsplit_on_error = true\nkey = {{ id = \"/k\" }}",
            site.url
        );
        let asking = Asking::about(&items, &options);
        let outcome = asking.run(variant);
        let mut asked: Vec<String> = site.asked().into_iter().map(|asked| asked.body).collect();
        asked.sort();
        let told = (asking.written(), outcome.rejects.clone(), asked);
        assert!(
            reasons(&outcome).len() > 20 && told.0.lines().count() > 200,
            "{}",
            outcome.stderr
        );
        match &first {
            None => first = Some(told),
            Some(first) => assert!(first == &told, "{variant} differs:\n{first:?}\n{told:?}"),
        }
    }
}

#[test]
fn what_a_dying_worker_had_in_hand_is_asked_again_only_if_that_does_no_harm() {
    for (method, body) in [("GET", ""), ("POST", "body = \"x\"")] {
        let site = Site::start(|asked| match (asked.target.as_str(), asked.before) {
            ("/b", 0) => Say::Hold,
            _ => Say::json("{\"v\": 1}"),
        });
        let options = format!(
            "url = \"{}/{{id}}\"\nmethod = \"{method}\"\n{body}",
            site.url
        );
        let asking = Asking::about(&["a", "b", "c", "d"], &options);
        // No other stage has a worker that could be taken for this one's.
        let alone = ["--set", "ask.executor=processes", "--set", "ask.workers=1"];
        let running = asking.command(Variant::SEQUENTIAL).args(alone).start();
        wait_until("the item is asked about", || {
            site.targets().contains_key("/b")
        });
        let worker = children(running.child.id())[0];
        kill(Pid::from_raw(worker.cast_signed()), Signal::SIGKILL).expect("it is there");
        let outcome = running.outcome();
        assert!(outcome.faults().is_empty(), "{:?}", outcome.faults());
        assert!(
            outcome.stderr.contains("was killed by SIGKILL"),
            "{}",
            outcome.stderr
        );
        if method == "GET" {
            assert_eq!(asking.written(), "id,v\na,1\nb,1\nc,1\nd,1\n");
        } else {
            assert_eq!(asking.written(), "id,v\na,1\nc,1\nd,1\n");
            assert_eq!(reasons(&outcome)["b"], "worker died");
        }
    }
}

#[test]
fn a_stage_without_input_is_one_request() {
    for variant in Variant::EACH {
        let site = Site::start(|asked| match asked.target.as_str() {
            "/all" => Say::json("{\"data\": [{\"v\": 1}, {\"v\": 2}], \"next\": \"all?page=2\"}"),
            _ => Say::json("{\"data\": [{\"v\": \"x\"}, {\"v\": 3}]}"),
        });
        let asking = Asking::about(&[], "url = \"http://unused.test/{id}\"");
        let pipeline = format!(
            "max_rejects = -1\n[[stage]]\nname = \"ask\"\nkind = \"fetch\"\nurl = \"{}/all\"\nrecords = \"/data\"\nnext = \"/next\"\ncolumns = [\"v\"]\ntypes = {{ v = \"int\" }}\n[[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"ask\"]\npath = \"out.csv\"\n",
            site.url
        );
        asking.folder.write("pipeline.toml", pipeline);
        let outcome = asking.command(variant).outcome();
        assert!(outcome.faults().is_empty(), "{:?}", outcome.faults());
        assert_eq!(
            asking.written(),
            "v\n1\n2\n3\n",
            "{variant}: {}",
            outcome.stderr
        );
        assert_eq!(outcome.stage("ask")["rows_in"], 4);
        assert_eq!(outcome.stage("ask")["rejected"], 1);
    }
}
