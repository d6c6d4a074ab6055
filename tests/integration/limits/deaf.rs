//! A signal while the program waits in a system call that hears none: a write to a pipe that nobody reads,
//! an open of a FIFO that nobody has opened. The first signal ends it all the same.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use crate::harness::{ETL, Folder, Variant, children, files, wait_until};

/// A second is promised; the rest is for a machine with other work.
const SOON: Duration = Duration::from_secs(5);

/// More than a pipe holds.
const ROWS: usize = 100_000;

fn pipeline(path: &str) -> Folder {
    let folder = Folder::new("deaf");
    let write = "kind = \"write_files\"\nformat = \"ndjson\"";
    folder.write(
        "pipeline.toml",
        format!(
            "[[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [\"rows.csv\"]\n\
             [[stage]]\nname = \"write\"\ninputs = [\"load\"]\n{write}\npath = \"{path}\"\n"
        ),
    );
    let rows = (0..ROWS).map(|i| format!("{i},the text of row {i}\n"));
    let rows = rows.collect::<Vec<String>>().concat();
    folder.write("rows.csv", format!("id,text\n{rows}"));
    folder
}

/// The program, whose standard output nobody reads.
pub(super) fn start(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(ETL)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// Whether a thread of the process waits in a write to a pipe, or in opening a FIFO, by /proc.
pub(super) fn is_stuck(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads.into_iter().flatten().flatten().any(|thread| {
        let at = fs::read_to_string(thread.path().join("wchan")).unwrap_or_default();
        ["pipe_write", "wait_for_partner", "fifo_open"]
            .iter()
            .any(|place| at.contains(place))
    })
}

/// Ends it by one signal; how it ended, and what it said.
fn interrupt(mut child: Child, signal: Signal) -> (ExitStatus, String) {
    let pid = child.id();
    wait_until("it is stuck", || is_stuck(pid));
    let workers = children(pid);
    let began = Instant::now();
    kill(
        Pid::from_raw(i32::try_from(pid).expect("pids are small")),
        signal,
    )
    .expect("it lives");
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status;
        }
        if began.elapsed() > SOON {
            let _ = child.kill();
            panic!("one {signal} does not end it");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    for worker in workers {
        assert!(!crate::harness::is_alive(worker), "a worker outlives it");
    }
    let mut said = String::new();
    let stderr = child.stderr.as_mut().expect("it is piped");
    stderr.read_to_string(&mut said).expect("it is text");
    (status, said)
}

#[test]
fn one_signal_ends_a_run_whose_output_nobody_takes() {
    for path in ["-", "fifo", "opened"] {
        let folder = pipeline(path);
        let fifo = folder.join(path);
        if path != "-" {
            mkfifo(&fifo, Mode::S_IRWXU).expect("the folder takes a FIFO");
        }
        // Opened for both, so that it has a reader, which never reads.
        let _reader = (path == "opened").then(|| {
            File::options()
                .read(true)
                .write(true)
                .open(&fifo)
                .expect("it is there")
        });
        for variant in Variant::EACH {
            for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
                let arguments = variant.arguments();
                let mut words = vec!["run", "pipeline.toml", "--quiet"];
                words.extend(arguments.iter().map(String::as_str));
                let child = start(folder.path(), &words);
                let (status, said) = interrupt(child, signal);
                assert_eq!(status.code(), Some(code), "{path}, {variant}: {said}");
                assert!(said.contains("interrupted"), "{path}, {variant}: {said}");
                let left = files(&folder.join(".etl"));
                let left = left.keys().filter(|name| name.contains(".part"));
                assert_eq!(left.count(), 0, "{path}, {variant}");
            }
        }
    }
}

#[test]
fn one_signal_ends_a_command_whose_words_nobody_takes() {
    let folder = pipeline("rows.ndjson");
    let file = |name: &str| folder.join(name).display().to_string();
    for words in [
        &["preview", "pipeline.toml", "--json", "-n", "100000"][..],
        &[
            "run",
            "pipeline.toml",
            "--json",
            "--set",
            "load.files=[\"many/*.csv\"]",
        ],
    ] {
        for i in 0..2000 {
            if words[0] == "run" {
                folder.write(&format!("many/{i}.csv"), "id,text\n1,a\n");
            }
        }
        let child = start(folder.path(), words);
        let (status, said) = interrupt(child, Signal::SIGINT);
        assert_eq!(status.code(), Some(130), "{words:?}: {said}");
    }
    // What was written before is whole.
    let written = File::open(file("rows.ndjson")).expect("the run had ended");
    assert_eq!(BufReader::new(written).lines().count(), 2000);
}
