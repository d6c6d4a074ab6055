//! What is on disk, and in which order it gets there: kills at every call that publishes, power cuts, two runs
//! at once, who may read what. A shim between the program and the C library, compiled here, notes the calls and
//! ends the process at one of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{ETL, Etl, Folder, Outcome, Variant, files, wait_until};

/// The shim, compiled; `None`: there is no compiler.
pub(crate) fn shim(folder: &Folder) -> Option<PathBuf> {
    let library = folder.join("shim.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-D_LARGEFILE64_SOURCE", "-o"])
        .arg(&library)
        .args(["-x", "c", "-", "-ldl"])
        .stdin(Stdio::from(source(folder)))
        .output();
    let Ok(compiled) = compiled else {
        println!("skipped: there is no cc");
        return None;
    };
    assert!(compiled.status.success(), "{compiled:?}");
    Some(library)
}

fn source(folder: &Folder) -> fs::File {
    folder.write("shim.c", include_str!("shim.c"));
    fs::File::open(folder.join("shim.c")).expect("it was just written")
}

/// So many rows: how many there are tells which run published them.
fn csv(rows: usize) -> String {
    let rows = (0..rows).map(|row| format!("{row},text {row}\n"));
    "id,text\n".to_owned() + &rows.collect::<String>()
}

const LOAD: &str = r#"
[[stage]]
name = "load"
kind = "load_csv"
files = ["in.csv"]
"#;

const FILE: &str = r#"
[[stage]]
name = "write"
kind = "write_files"
inputs = ["load"]
path = "out/rows.csv"
"#;

const INDEX: &str = r#"
[[stage]]
name = "index"
kind = "bulk_index"
inputs = ["load"]
to = "local:out/index"
id = "id"
load = "replace"
keep = 0
"#;

/// A run of `pipeline` in `folder`, which keeps what runs before it left.
fn run(folder: &Path) -> Etl {
    Etl::new(
        folder,
        &[
            "run",
            "p.toml",
            "--quiet",
            "--state",
            "state",
            "--sequential",
        ],
    )
}

/// A folder with a pipeline and its input.
fn prepared(name: &str, sink: &str, rows: usize) -> Folder {
    let folder = Folder::new(name);
    folder.write("p.toml", format!("{LOAD}{sink}"));
    folder.write("in.csv", csv(rows));
    folder
}

fn succeeds(outcome: &Outcome, what: &str) {
    assert_eq!(outcome.code, Some(0), "{what}: {}", outcome.stderr);
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// What is published: the rows of a file, the documents of an index; `None`: nothing is.
type Published = fn(&Path) -> Option<usize>;

fn rows_of_file(folder: &Path) -> Option<usize> {
    let text = fs::read_to_string(folder.join("out/rows.csv")).ok()?;
    let rows = text.lines().count() - 1;
    assert_eq!(text, csv(rows), "it is whole");
    Some(rows)
}

fn documents(folder: &Path) -> Option<usize> {
    let outcome = Etl::new(folder, &["search", "p.toml", "*", "--count"]).outcome();
    let by_name = Etl::new(folder, &["search", "out/index", "*", "--count"]).outcome();
    assert_eq!(outcome.code, by_name.code, "{}", by_name.stderr);
    (outcome.code == Some(0)).then(|| outcome.stdout.trim().parse().expect("a number"))
}

/// A way to publish, to be killed.
struct Publication {
    name: &'static str,
    sink: &'static str,
    published: Published,
    /// Whether something is there that is replaced.
    replaces: bool,
    no_exchange: bool,
    target: &'static str,
}

/// Kills a run at its `number`-th call; whether there was one.
fn kill_at(publication: &Publication, shim: &Path, number: usize, when: &str) -> bool {
    let at = format!("{}, {when} call {number}", publication.name);
    let folder = prepared("kill", publication.sink, 10);
    let old = publication.replaces.then_some(10);
    if publication.replaces {
        succeeds(&run(folder.path()).outcome(), &at);
    }
    folder.write("in.csv", csv(11));
    let mut killed = run(folder.path())
        .env("LD_PRELOAD", shim)
        .env("SHIM_LOG", folder.join("calls"))
        .env("SHIM_UNDER", folder.join("out"))
        .env("SHIM_KILL", number.to_string())
        .env("SHIM_WHEN", when);
    if publication.no_exchange {
        killed = killed.env("SHIM_NO_EXCHANGE", "1");
    }
    let killed = killed.outcome();
    let calls = || {
        let calls = fs::read_to_string(folder.join("calls")).unwrap_or_default();
        calls.replace(&folder.path().display().to_string(), "")
    };
    let there = (publication.published)(folder.path());
    assert!(
        there == old || there == Some(11),
        "{at}: {there:?} is there\n{}",
        calls()
    );
    let next = run(folder.path()).outcome();
    assert_eq!(next.code, Some(0), "{at}: {}\n{}", next.stderr, calls());
    assert_eq!((publication.published)(folder.path()), Some(11), "{at}");
    assert_eq!(
        names(&folder.join("out")),
        [publication.target],
        "{at}: something is left\n{}",
        calls()
    );
    if killed.signal.is_none() {
        succeeds(&killed, &at);
    }
    killed.signal.is_some()
}

/// Kills runs at each of their calls, a few at a time; how many there are.
fn kill_everywhere(publication: &Publication, shim: &Path) -> usize {
    let (next, ends) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let when = ["before", "after"][number % 2];
                    let killed = kill_at(publication, shim, number / 2 + 1, when);
                    ends.lock().expect("no panic").insert(number, killed);
                    if !killed {
                        return;
                    }
                }
            });
        }
    });
    let ends = ends.into_inner().expect("no panic");
    ends.values().filter(|&&killed| killed).count()
}

#[test]
fn a_kill_at_any_call_leaves_the_old_file_or_the_new_one() {
    let folder = Folder::new("shim");
    let Some(shim) = shim(&folder) else { return };
    for replaces in [false, true] {
        let points = kill_everywhere(
            &Publication {
                name: "file",
                sink: FILE,
                published: rows_of_file,
                replaces,
                no_exchange: false,
                target: "rows.csv",
            },
            &shim,
        );
        // Making, locking, syncing, renaming, syncing the folder, each before and after.
        assert!(points >= 10, "{points} places to be killed at");
    }
}

#[test]
fn a_kill_at_any_call_leaves_the_old_index_or_the_new_one() {
    let folder = Folder::new("shim");
    let Some(shim) = shim(&folder) else { return };
    for (replaces, no_exchange) in [(false, false), (true, false), (true, true)] {
        let points = kill_everywhere(
            &Publication {
                name: "index",
                sink: INDEX,
                published: documents,
                replaces,
                no_exchange,
                target: "index",
            },
            &shim,
        );
        assert!(points >= 10, "{points} places to be killed at");
    }
}

#[test]
fn a_result_that_is_visible_and_cannot_be_synced_is_a_warning() {
    let folder = Folder::new("shim");
    let Some(shim) = shim(&folder) else { return };
    let sinks: [(&str, Published); 3] = [
        (FILE, rows_of_file),
        (INDEX, documents),
        (&INDEX.replace("keep = 0", "keep = 1"), documents),
    ];
    for (sink, published) in sinks {
        let folder = prepared("unsynced", sink, 10);
        fs::create_dir(folder.join("out")).expect("the folder takes folders");
        for (rows, no_exchange) in [(10, "0"), (11, "0"), (12, "1")] {
            folder.write("in.csv", csv(rows));
            let mut unsynced = run(folder.path())
                .env("LD_PRELOAD", &shim)
                .env("SHIM_NO_SYNC", folder.join("out"));
            if no_exchange == "1" {
                unsynced = unsynced.env("SHIM_NO_EXCHANGE", no_exchange);
            }
            let outcome = unsynced.outcome();
            succeeds(&outcome, sink);
            let warning = "a power failure now may undo it";
            assert!(outcome.stderr.contains(warning), "{}", outcome.stderr);
            assert_eq!(published(folder.path()), Some(rows), "{sink}");
        }
    }
}

#[test]
fn a_kill_at_any_call_about_a_run_s_folder_leaves_nothing_that_stays() {
    let folder = Folder::new("shim");
    let Some(shim) = shim(&folder) else { return };
    let state = prepared("state", FILE, 10);
    let mut number = 1;
    for when in ["before", "after"].into_iter().cycle() {
        let killed = run(state.path())
            .env("LD_PRELOAD", &shim)
            .env("SHIM_UNDER", state.join("state/runs"))
            .env("SHIM_KILL", number.to_string())
            .env("SHIM_WHEN", when)
            .outcome();
        if killed.signal.is_none() {
            break;
        }
        number += usize::from(when == "after");
        succeeds(&run(state.path()).outcome(), when);
    }
    assert!(number > 3, "{number} calls");
    let pruned = Etl::new(state.path(), &["report", "--keep", "0", "--state", "state"]).outcome();
    succeeds(&pruned, "report");
    assert_eq!(names(&state.join("state/runs")), Vec::<String>::new());
}

/// The calls of a run that ends well, each as its name and its paths below `folder`.
fn calls(folder: &Folder, shim: &Path) -> Vec<(String, String, String, u32)> {
    let log = folder.join("calls");
    let _ = fs::remove_file(&log);
    let outcome = run(folder.path())
        .env("LD_PRELOAD", shim)
        .env("SHIM_LOG", &log)
        .outcome();
    succeeds(&outcome, "the run");
    let text = fs::read_to_string(&log).expect("it makes some");
    let below = format!("{}/", folder.path().display());
    let call = |line: &str| {
        let line = line.replace(&below, "");
        let fields: Vec<&str> = line.split('\t').collect();
        let mode = u32::from_str_radix(fields[3], 8).expect("octal");
        (fields[0].into(), fields[1].into(), fields[2].into(), mode)
    };
    text.lines().map(call).collect()
}

#[test]
fn what_is_published_is_on_disk() {
    let tools = Folder::new("shim");
    let Some(shim) = shim(&tools) else { return };
    for (sink, target, publishes) in [
        (FILE, "out/rows.csv", "rename"),
        (INDEX, "out/index", "exchange"),
    ] {
        let folder = prepared("order", sink, 10);
        for replaces in [false, true] {
            let calls = calls(&folder, &shim);
            let at = |call: &str, path: &dyn Fn(&str) -> bool| {
                calls
                    .iter()
                    .position(|made| made.0 == call && path(&made.1))
            };
            let last = |call: &str, path: &str| {
                calls
                    .iter()
                    .rposition(|made| made.0 == call && made.1 == path)
            };
            let renaming = if replaces { publishes } else { "rename" };
            let published = calls
                .iter()
                .position(|made| made.0 == renaming && made.2 == target)
                .unwrap_or_else(|| panic!("it is published: {calls:#?}"));
            let part = calls[published].1.clone();
            let synced = at("fsync", &|path| path == part);
            assert!(synced.is_some_and(|at| at < published), "{calls:#?}");
            assert!(
                last("fsync", "out").is_some_and(|at| at > published),
                "{calls:#?}"
            );
            // What lies in it, by the names that it has now.
            for name in names(&folder.join(target)) {
                let file = format!("{part}/{name}");
                let synced = last("fsync", &file);
                assert!(
                    synced.is_some_and(|at| at < published),
                    "{file}: {calls:#?}"
                );
            }
            if !replaces {
                let made = at("mkdir", &|path| path == "out").expect("there was none");
                assert!(
                    calls[made..published]
                        .iter()
                        .any(|call| call.0 == "fsync" && folder.path().ends_with(&call.1[1..])),
                    "{calls:#?}"
                );
            }
            // What a run says of itself that ended well.
            let kept = calls
                .iter()
                .position(|made| made.0 == "rename" && made.2.ends_with("/report.json"))
                .expect("a report is kept");
            let (part, run) = (&calls[kept].1, Path::new(&calls[kept].2).parent());
            let run = run.expect("it lies in a folder").display().to_string();
            assert!(last("fsync", part).is_some_and(|at| published < at && at < kept));
            assert!(last("fsync", &run).is_some_and(|at| kept < at));
            assert!(at("fsync", &|path| path.ends_with("/run.json")).is_some());
            assert!(last("fsync", "state/runs").is_some());
        }
    }
}

#[test]
fn what_replaces_a_private_file_is_private_from_its_first_byte() {
    let tools = Folder::new("shim");
    let Some(shim) = shim(&tools) else { return };
    for (sink, target, call) in [
        (FILE, "out/rows.csv", "create"),
        (INDEX, "out/index", "mkdir"),
    ] {
        let folder = prepared("private", sink, 10);
        succeeds(&run(folder.path()).outcome(), "the first run");
        let private = if call == "create" { 0o600 } else { 0o700 };
        let target = folder.join(target);
        fs::set_permissions(&target, fs::Permissions::from_mode(private)).expect("it is ours");
        let calls = calls(&folder, &shim);
        let made = calls
            .iter()
            .find(|made| made.0 == call && made.1.contains(".part") && made.1.starts_with("out/"))
            .expect("it is made");
        assert_eq!(made.3, private, "{made:?}");
        let found = fs::metadata(&target).expect("it is there");
        assert_eq!(found.permissions().mode() & 0o777, private);
    }
}

#[test]
fn what_runs_keep_is_for_their_user_alone() {
    let folder = prepared("modes", FILE, 10);
    // One row that does not fit, a fetch that fails: rejects, answers, a log.
    folder.write("in.csv", csv(10) + "x,y,z\n");
    folder.write(
        "p.toml",
        format!(
            "max_rejects = -1\n{LOAD}\n[[stage]]\nname = \"say\"\nkind = \"exec\"\ninputs = [\"load\"]\ncommand = [\"sh\", \"-c\", \"echo $0 >&2; echo said; exit $0\", \"{{id}}\"]\noutput = \"lines\"\n{}",
            FILE.replace("\"load\"", "\"say\"")
        ),
    );
    let outcome = run(folder.path()).outcome();
    assert!(matches!(outcome.code, Some(0 | 3)), "{}", outcome.stderr);
    let mut todo = vec![folder.join("state")];
    let mut seen = 0;
    while let Some(path) = todo.pop() {
        let found = fs::metadata(&path).expect("it is there");
        let want = if found.is_dir() { 0o700 } else { 0o600 };
        let mode = found.permissions().mode() & 0o777;
        assert_eq!(mode, want, "{}", path.display());
        seen += 1;
        if found.is_dir() {
            todo.extend(names(&path).into_iter().map(|name| path.join(name)));
        }
    }
    assert!(seen >= 6, "{seen} files and folders");
}

#[test]
fn of_two_runs_at_once_the_second_is_refused_and_changes_nothing() {
    for (sink, part) in [(FILE, "rows.csv."), (INDEX, "index.")] {
        let folder = prepared("two", sink, 10);
        succeeds(&run(folder.path()).outcome(), "an old one");
        let mut first = run(folder.path())
            .args(["--set", "load.files=[\"-\"]"])
            .start_fed();
        let mut pipe = first.child.stdin.take().expect("it is held open");
        let rows = csv(11);
        // The header says which columns there are, before anything begins. Records are told apart 64 bytes at a time.
        let last = rows.trim_end().rfind('\n').expect("lines") + 1;
        let (begin, rows) = rows.split_at(last);
        assert!(begin.len() >= 64);
        pipe.write_all(begin.as_bytes()).expect("it reads");
        wait_until("the first has begun", || {
            names(&folder.join("out"))
                .iter()
                .any(|name| name.starts_with(part))
        });
        // The first is still making what it writes to.
        let there = || {
            let mut there = files(&folder.join("out"));
            there.retain(|name, _| !name.contains(".part"));
            (there, names(&folder.join("out")))
        };
        let before = there();
        let second = run(folder.path()).outcome();
        assert_eq!(second.code, Some(1), "{}", second.stderr);
        assert!(
            second.stderr.contains("is being written by another run"),
            "{}",
            second.stderr
        );
        assert!(
            !second.stderr.contains("nothing is lost"),
            "{}",
            second.stderr
        );
        assert!(before == there(), "{:?}", before.1);
        pipe.write_all(rows.as_bytes()).expect("it reads");
        drop(pipe);
        succeeds(&first.outcome(), "the first");
        assert_eq!(names(&folder.join("out")).len(), 1);
    }
}

#[test]
fn starting_runs_lose_neither_their_files_nor_their_folders() {
    let folder = Folder::new("starts");
    folder.write("in.csv", csv(10));
    // Each its own file, all in one folder, one state folder, and somebody who clears it all the time.
    for number in 0..6 {
        let sink = FILE.replace("rows.csv", &format!("rows-{number}.csv"));
        folder.write(&format!("p{number}.toml"), format!("{LOAD}{sink}"));
    }
    let runs = |number: usize| {
        for _ in 0..8 {
            let pipeline = format!("p{number}.toml");
            let outcome = Etl::new(
                folder.path(),
                &[
                    "run",
                    &pipeline,
                    "--quiet",
                    "--state",
                    "state",
                    "--sequential",
                ],
            )
            .outcome();
            succeeds(&outcome, "a run beside others");
        }
    };
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clearing = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let keep = ["report", "--keep", "0", "--state", "state"];
                succeeds(&Etl::new(folder.path(), &keep).outcome(), "report");
            }
        });
        let running: Vec<_> = (0..6)
            .map(|number| scope.spawn(move || runs(number)))
            .collect();
        let ended: Vec<_> = running
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        done.store(true, Ordering::Relaxed);
        clearing.join().expect("it clears");
        assert!(ended.iter().all(Result::is_ok));
    });
}

#[test]
fn a_search_answers_while_the_index_is_replaced() {
    let tools = Folder::new("shim");
    let shim = shim(&tools);
    for no_exchange in [false, true] {
        let folder = prepared("search", INDEX, 10);
        succeeds(&run(folder.path()).outcome(), "the first load");
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let searching = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(documents(folder.path()), Some(10));
                }
            });
            for _ in 0..6 {
                let mut load = run(folder.path());
                if let (true, Some(shim)) = (no_exchange, &shim) {
                    load = load.env("LD_PRELOAD", shim).env("SHIM_NO_EXCHANGE", "1");
                }
                let outcome = load.outcome();
                if outcome.code != Some(0) {
                    done.store(true, Ordering::Relaxed);
                }
                succeeds(&outcome, "a load");
            }
            done.store(true, Ordering::Relaxed);
            searching.join().expect("each search is answered");
        });
    }
}

#[test]
fn a_file_that_may_not_grow_is_an_error_and_leaves_nothing() {
    let folder = prepared("limit", FILE, 40_000);
    for variant in Variant::EACH {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -f 64; exec \"$0\" \"$@\"", ETL]);
        let outcome = Etl::run_by(command, folder.path(), "p.toml", variant).outcome();
        assert_eq!(outcome.code, Some(1), "{variant}: {outcome:?}");
        assert!(
            outcome.stderr.contains("cannot write") && outcome.stderr.contains("File too large"),
            "{variant}: {}",
            outcome.stderr
        );
        assert_eq!(
            names(&folder.join("out")),
            Vec::<String>::new(),
            "{variant}"
        );
    }
}

#[test]
fn a_name_as_long_as_the_file_system_allows_can_be_written() {
    for (sink, old) in [(FILE, "out/rows.csv"), (INDEX, "out/index")] {
        let name = "ü".repeat(123) + ".csv";
        let folder = prepared("long", &sink.replace(old, &format!("out/{name}")), 10);
        for _ in 0..2 {
            succeeds(&run(folder.path()).outcome(), "a long name");
            assert_eq!(names(&folder.join("out")), [name.as_str()]);
        }
    }
}

#[test]
fn files_of_others_beside_an_output_stay() {
    for (sink, target) in [(FILE, "rows.csv"), (INDEX, "index")] {
        let folder = prepared("others", sink, 10);
        let others = [
            "part",
            "2024-backup.part",
            "20260101T000000-0001.part",
            "old",
        ]
        .map(|end| format!("{target}.{end}"));
        for other in &others {
            folder.write(&format!("out/{other}/kept"), "of somebody else");
            fs::rename(
                folder.join(format!("out/{other}/kept")),
                folder.join(format!("out/{other}/.tantivy-writer.lock")),
            )
            .expect("it is ours");
            folder.write(&format!("out/{other}.part"), "of somebody else");
        }
        let before = names(&folder.join("out")).len();
        succeeds(
            &run(folder.path()).outcome(),
            "a run beside files of others",
        );
        assert_eq!(names(&folder.join("out")).len(), before + 1);
    }
}

/// The program's outputs as they are on the device when it ends: a copy of the image that a file system lies in,
/// taken right then, is what a power cut would leave.
#[test]
fn a_power_cut_after_the_end_loses_nothing() {
    for options in ["loop", "loop,noauto_da_alloc"] {
        for (sink, published) in [
            (FILE, rows_of_file as Published),
            (INDEX, documents as Published),
        ] {
            let tools = Folder::new("device");
            let Some(device) = Device::new(&tools, options) else {
                return;
            };
            let disk = device.at.as_path();
            fs::write(disk.join("p.toml"), format!("{LOAD}{sink}")).expect("there is room");
            for rows in [10, 2000] {
                fs::write(disk.join("in.csv"), csv(rows)).expect("there is room");
                succeeds(&run(disk).outcome(), options);
                let cut = device.copy(&tools, options);
                assert_eq!(published(disk), Some(rows));
                // The pipeline itself may be gone: nobody brought it to disk.
                fs::write(cut.at.join("p.toml"), format!("{LOAD}{sink}")).expect("there is room");
                fs::write(cut.at.join("in.csv"), csv(rows)).expect("there is room");
                assert_eq!(published(&cut.at), Some(rows), "{options}: after the cut");
                let newest = names(&cut.at.join("state/runs")).pop().expect("a run");
                let report = cut.at.join("state/runs").join(newest).join("report.json");
                let report: serde_json::Value =
                    serde_json::from_slice(&fs::read(report).expect("it is there")).expect("whole");
                assert_eq!(report["status"], "done");
            }
        }
    }
}

/// A file system in a file; unmounted when it is dropped.
struct Device {
    image: PathBuf,
    at: PathBuf,
}

impl Device {
    fn new(folder: &Folder, options: &str) -> Option<Device> {
        let image = folder.join("image");
        let file = fs::File::create(&image).expect("the folder takes files");
        file.set_len(32 << 20).expect("they may have holes");
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-F"])
            .arg(&image)
            .output();
        let made = made.is_ok_and(|made| made.status.success());
        let device = made.then(|| Device::mount(image, folder.join("disk"), options));
        let device = device.flatten();
        if device.is_none() {
            println!("skipped: an image of ext4 cannot be made and mounted here");
        }
        device
    }

    fn mount(image: PathBuf, at: PathBuf, options: &str) -> Option<Device> {
        fs::create_dir_all(&at).expect("the folder takes folders");
        let mut mount = Command::new("mount");
        let mounted = mount
            .args(["-t", "ext4", "-o", options])
            .arg(&image)
            .arg(&at);
        let mounted = mounted
            .output()
            .is_ok_and(|mounted| mounted.status.success());
        mounted.then_some(Device { image, at })
    }

    /// What would be there if the power were cut now.
    fn copy(&self, folder: &Folder, options: &str) -> Device {
        let image = folder.join("copy");
        fs::copy(&self.image, &image).expect("there is room");
        Device::mount(image, folder.join("after"), options).expect("as the first one")
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // What stays mounted is seen when the folder is removed.
        let _ = Command::new("umount").arg(&self.at).status();
    }
}
