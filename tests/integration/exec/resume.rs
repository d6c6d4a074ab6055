//! A run that goes on: what succeeded is not run again, what failed or was under way is, and the answer is
//! that of a run that nothing happened to.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{documents, folder, in_folder, pipeline};
use crate::harness::{Etl, Folder, Variant, wait_until};
use crate::scripted::{Reply, Scripted};

/// Each command says that it runs; every fifth fails, and the tenth waits, until there is a file `go`.
const COUNTED: &str = r#"
command = ["sh", "-c", '''
echo $1 >> ran
if [ -e go ]; then echo answer $1; exit; fi
[ $1 = 10 ] && exec sleep 3600
[ $(($1 % 5)) = 0 ] && exit 1
echo answer $1
''', "sh", "{id}"]
"#;

const ITEMS: usize = 24;

fn ran(folder: &Folder) -> BTreeMap<usize, usize> {
    let mut times = BTreeMap::new();
    for line in fs::read_to_string(folder.join("ran"))
        .unwrap_or_default()
        .lines()
    {
        *times.entry(line.parse().expect("an item")).or_default() += 1;
    }
    times
}

/// A file of the one run there is.
fn of_run(folder: &Folder, name: &str) -> PathBuf {
    let runs = fs::read_dir(folder.join("state/runs"))
        .into_iter()
        .flatten()
        .flatten();
    let run = runs.map(|entry| entry.path()).next();
    run.unwrap_or_else(|| folder.join("no-run-yet")).join(name)
}

/// Item and exit status of each line of the job log.
fn logged(folder: &Folder) -> Vec<(usize, i32)> {
    let text = fs::read_to_string(of_run(folder, "joblog-run.tsv")).unwrap_or_default();
    let lines = text.lines().skip(1).map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!(fields.len(), 9, "{line}");
        (
            fields[0].parse().expect("a number"),
            fields[6].parse().expect("a status"),
        )
    });
    lines.collect()
}

fn resume(folder: &Folder, variant: Variant) -> Etl {
    let fixed = [
        "run",
        "pipeline.toml",
        "--quiet",
        "--state",
        "state",
        "--resume",
    ];
    Etl::new(folder.path(), &fixed)
        .args(["--report", "state/report.json"])
        .args(variant.arguments())
}

#[test]
fn a_killed_run_goes_on_and_runs_again_only_what_did_not_succeed() {
    for variant in Variant::EACH {
        for signal in [Signal::SIGKILL, Signal::SIGINT] {
            let folder = folder(COUNTED, ITEMS);
            let running = Etl::run(folder.path(), "pipeline.toml", variant).start();
            // Under one worker nothing goes on behind the item that waits.
            let others = if variant.processes * variant.threads > 1 {
                ITEMS - 1
            } else {
                9
            };
            wait_until("all others are through", || {
                logged(&folder).len() == others && ran(&folder).contains_key(&10)
            });
            let pid = Pid::from_raw(i32::try_from(running.child.id()).expect("pids are small"));
            kill(pid, signal).expect("it is there");
            let outcome = running.outcome();
            assert_ne!(outcome.code, Some(0), "{variant}");
            if signal == Signal::SIGINT {
                assert!(
                    outcome.stderr.contains("--resume="),
                    "{variant}: {}",
                    outcome.stderr
                );
            }
            wait_until("nobody is left", || in_folder(&folder).is_empty());
            let before = logged(&folder);
            folder.write("go", "");

            let outcome = resume(&folder, variant).outcome();
            assert_eq!(
                outcome.code,
                Some(0),
                "{variant}, {signal}: {}",
                outcome.stderr
            );
            assert_eq!(outcome.faults(), Vec::<String>::new(), "{variant}");
            let want: Vec<_> = (1..=ITEMS)
                .map(|id| serde_json::json!({ "id": id.to_string(), "line": format!("answer {id}") }))
                .collect();
            assert_eq!(
                documents(&folder.join("out.ndjson")),
                want,
                "{variant}, {signal}"
            );
            let succeeded = |id| before.contains(&(id, 0));
            let had_begun = |id| id == 10 || before.contains(&(id, 1));
            for (id, times) in ran(&folder) {
                assert_eq!(
                    times,
                    1 + usize::from(had_begun(id)),
                    "{variant}, {signal}: item {id}"
                );
                assert!(
                    succeeded(id) || logged(&folder).contains(&(id, 0)),
                    "item {id}"
                );
            }
            // What is done needs no answers any more; the log stays.
            assert!(!of_run(&folder, "kept-run").exists() && !logged(&folder).is_empty());
        }
    }
}

#[test]
fn a_run_with_other_options_or_items_does_not_go_on_with_these_answers() {
    let folder = folder(COUNTED, ITEMS);
    let failed = Etl::run(
        folder.path(),
        "pipeline.toml",
        Variant::new("threads", 1, 1),
    )
    .args(["--set", "run.on_error=fail"])
    .outcome();
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("--resume="), "{}", failed.stderr);
    let variant = Variant::SEQUENTIAL;
    // `batch` decides what a request is; `timeout_ms` does not.
    let other = resume(&folder, variant)
        .args(["--set", "run.on_error=fail", "--set", "run.batch=2"])
        .outcome();
    assert!(
        other.stderr.contains("stage `run` is not what it was"),
        "{}",
        other.stderr
    );
    folder.write("go", "");
    let same = [
        "--set",
        "run.on_error=fail",
        "--set",
        "run.timeout_ms=100000",
    ];
    let went_on = resume(&folder, variant).args(same).outcome();
    assert_eq!(went_on.code, Some(0), "{}", went_on.stderr);
    let times: Vec<usize> = ran(&folder).into_values().collect();
    assert_eq!(
        times.iter().filter(|&&times| times == 1).count(),
        ITEMS - 1,
        "only item 5 ran again: {times:?}"
    );
}

#[test]
fn what_ended_well_since_is_not_undone_by_an_older_run() {
    let folder = folder(COUNTED, ITEMS);
    let fails = ["--set", "run.on_error=fail"];
    let run = || Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL).args(fails);
    let failed = run().outcome();
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    folder.write("go", "");
    let done = run().outcome();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let anew = resume(&folder, Variant::SEQUENTIAL).args(fails).outcome();
    assert_eq!(anew.code, Some(0), "{}", anew.stderr);
    let told = "no unfinished run of this pipeline in `state` since the last that ended well";
    assert!(anew.stderr.contains(told), "{}", anew.stderr);
    assert!(ran(&folder).into_values().all(|times| times >= 2));
}

#[test]
fn an_answer_that_is_not_whole_is_asked_for_again() {
    // What a killed run may leave behind its last whole answer, and which items then run again.
    type Damage = fn(&mut Vec<u8>);
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 9);
    let begun = |bytes: &mut Vec<u8>| bytes.extend([200, 0, 0, 0, 0, 0, 0, 0, 40, 0]);
    let endless = |bytes: &mut Vec<u8>| bytes.extend([255; 16]);
    let emptied = |bytes: &mut Vec<u8>| bytes.clear();
    let rotten = |bytes: &mut Vec<u8>| {
        let text = b"answer 4";
        let at = bytes.windows(text.len()).rposition(|bytes| bytes == text);
        bytes[at.expect("it is kept as it is")] ^= 1;
    };
    let cases: [(Damage, _); 5] = [
        (rotten, vec![4, 5]),
        (cut, vec![4, 5]),
        (begun, vec![5]),
        (endless, vec![5]),
        (emptied, vec![1, 2, 3, 4, 5]),
    ];
    for (damage, again) in cases {
        let folder = folder(COUNTED, ITEMS);
        let failed = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL)
            .args(["--set", "run.on_error=fail"])
            .outcome();
        assert_eq!(failed.code, Some(1), "{}", failed.stderr);
        let kept = of_run(&folder, "kept-run");
        let mut bytes = fs::read(&kept).expect("items 1 to 4 are kept");
        damage(&mut bytes);
        fs::write(&kept, bytes).expect("it is ours");
        folder.write("go", "");
        let went_on = resume(&folder, Variant::EACH[3])
            .args(["--set", "run.on_error=fail"])
            .outcome();
        assert_eq!(went_on.code, Some(0), "{}", went_on.stderr);
        assert_eq!(documents(&folder.join("out.ndjson")).len(), ITEMS);
        let ran = ran(&folder).into_iter();
        let twice: Vec<usize> = ran
            .filter(|&(_, times)| times == 2)
            .map(|(id, _)| id)
            .collect();
        assert_eq!(twice, again);
    }
}

#[test]
fn a_load_behind_commands_goes_on_with_every_row_once() {
    for variant in [Variant::new("threads", 1, 3), Variant::new("hybrid", 2, 2)] {
        let server = Scripted::start(|_| Reply::Normal);
        let folder = folder(COUNTED, ITEMS);
        let load = format!(
            "kind = \"bulk_index\"\nto = \"{}\"\nindex = \"answers\"\nbatch_docs = 3",
            server.url
        );
        let pipeline = fs::read_to_string(folder.join("pipeline.toml")).expect("it was written");
        let pipeline = pipeline.replace("kind = \"write_files\"", &load);
        folder.write(
            "pipeline.toml",
            pipeline.replace("path = \"out.ndjson\"", ""),
        );
        let running = Etl::run(folder.path(), "pipeline.toml", variant).start();
        wait_until("something is loaded, and all others are through", || {
            server.count("answers") >= 6 && logged(&folder).len() == ITEMS - 1
        });
        let pid = Pid::from_raw(i32::try_from(running.child.id()).expect("pids are small"));
        kill(pid, Signal::SIGKILL).expect("it is there");
        assert_eq!(running.outcome().signal, Some(9));
        folder.write("go", "");

        let outcome = resume(&folder, variant).outcome();
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        assert_eq!(outcome.faults(), Vec::<String>::new(), "{variant}");
        let documents = server.documents("answers").into_values();
        let mut loaded: Vec<usize> = documents
            .map(|document| {
                document["id"]
                    .as_str()
                    .expect("an id")
                    .parse()
                    .expect("a number")
            })
            .collect();
        loaded.sort_unstable();
        // Rows in front of others that are loaded must not come in later: they would be taken for those.
        let want: Vec<usize> = (1..=ITEMS).filter(|id| id % 5 != 0 || *id == 10).collect();
        assert_eq!(loaded, want, "{variant}");
        assert_eq!(super::reasons(&outcome).len(), 3, "{variant}");
        assert!(
            outcome
                .stderr
                .contains("3 that failed before were not asked for again"),
            "{}",
            outcome.stderr
        );
    }
}

/// A server that answers as the commands do: what was asked of it, and how often.
fn site(folder: &Folder) -> (String, Arc<Mutex<BTreeMap<usize, usize>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let asked = Arc::new(Mutex::new(BTreeMap::new()));
    let (go, counts) = (folder.join("go"), asked.clone());
    // It ends with the tests.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (go, counts) = (go.clone(), counts.clone());
            thread::spawn(move || answer(stream, &go, &counts));
        }
    });
    (url, asked)
}

fn answer(mut stream: TcpStream, go: &Path, counts: &Mutex<BTreeMap<usize, usize>>) {
    let mut head = BufReader::new(stream.try_clone().expect("it can be shared")).lines();
    let line = head.next().and_then(Result::ok).unwrap_or_default();
    let Some(id) = line.split(['/', ' ']).find_map(|word| word.parse().ok()) else {
        return;
    };
    while head
        .next()
        .and_then(Result::ok)
        .is_some_and(|line| !line.is_empty())
    {}
    *counts
        .lock()
        .expect("no one panics holding it")
        .entry(id)
        .or_default() += 1;
    let (status, body) = match go.exists() {
        // It answers nothing, until the other side has gone.
        false if id == 10 => return drop(head.next()),
        false if id % 5 == 0 => ("404 Not Found", String::new()),
        _ => ("200 OK", format!("{{\"line\": \"answer {id}\"}}")),
    };
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
}

#[test]
fn answers_of_a_server_are_kept_likewise() {
    for variant in [Variant::new("threads", 1, 3), Variant::new("hybrid", 2, 2)] {
        let folder = folder("", ITEMS);
        let (url, asked) = site(&folder);
        let fetch = format!("kind = \"fetch\"\nurl = \"{url}/{{id}}\"\ncolumns = [\"line\"]");
        folder.write(
            "pipeline.toml",
            pipeline("").replace("kind = \"exec\"", &fetch),
        );
        let running = Etl::run(folder.path(), "pipeline.toml", variant).start();
        wait_until("all others are through", || {
            logged(&folder).len() == ITEMS - 1
        });
        let pid = Pid::from_raw(i32::try_from(running.child.id()).expect("pids are small"));
        kill(pid, Signal::SIGKILL).expect("it is there");
        assert_eq!(running.outcome().signal, Some(9));
        folder.write("go", "");

        let outcome = resume(&folder, variant).outcome();
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        assert_eq!(outcome.faults(), Vec::<String>::new(), "{variant}");
        let want: Vec<_> = (1..=ITEMS)
            .map(|id| serde_json::json!({ "id": id.to_string(), "line": format!("answer {id}") }))
            .collect();
        assert_eq!(documents(&folder.join("out.ndjson")), want, "{variant}");
        for (id, times) in asked.lock().expect("no one panicked").iter() {
            assert_eq!(*times, 1 + usize::from(id % 5 == 0), "{variant}: item {id}");
        }
    }
}
