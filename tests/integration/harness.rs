//! Runs the program in a folder of its own and tells what came of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program under test.
pub(crate) const ETL: &str = env!("CARGO_BIN_EXE_etl");

/// Longer than any of these runs takes on a slow machine; a run that takes longer hangs.
const DEADLINE: Duration = Duration::from_mins(3);

/// How often a condition is looked at: often enough not to miss a moment, seldom enough to cost nothing.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The root of the project.
pub(crate) fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of oracle, generators and data that stands beside the project on a developer's machine.
/// `ETL_SHARED` names another place.
pub(crate) fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("ETL_SHARED")
        .map_or_else(|| project().join("../shared"), PathBuf::from)
        .canonicalize()
        .ok();
    if folder.is_none() {
        println!("skipped: there is no ../shared beside the project, and ETL_SHARED names none");
    }
    folder
}

/// Whether Python can be asked.
pub(crate) fn has_python() -> bool {
    let there = Command::new("python3")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    if !there {
        println!("skipped: there is no python3");
    }
    there
}

/// Runs a Python script that must succeed; gives what it printed.
pub(crate) fn python(script: &Path, arguments: &[&OsStr]) -> Result<String, String> {
    let output = Command::new("python3")
        .arg(script)
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("has_python() was asked");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(text)
    } else {
        Err(text)
    }
}

/// A folder that goes when it is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("etl-test-{}-{number}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary folder takes a new one");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    /// Writes a file, and the folders on the way to it.
    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a folder"))
            .expect("folders can be made");
        fs::write(path, bytes).expect("the file can be written");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind on a failure is only a temporary file.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Every file under `folder` with its bytes; none if there is no such folder.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("it was found in there");
                let bytes = fs::read(&path).unwrap_or_default();
                found.insert(name.display().to_string(), bytes);
            }
        }
    }
    found
}

/// How the stages of a run are executed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variant {
    /// The executor of every stage.
    pub(crate) executor: &'static str,
    /// Processes.
    pub(crate) processes: u32,
    /// Threads in each.
    pub(crate) threads: u32,
    /// Rows a batch, if not the default.
    pub(crate) batch_rows: Option<u32>,
    /// One stage after the other.
    pub(crate) staged: bool,
}

impl Variant {
    /// The plainest way: one stage's work after the other's, in one thread.
    pub(crate) const SEQUENTIAL: Variant = Variant::new("sequential", 1, 1);

    /// On a cluster, of which a stand-in for its engine does the work: see `tests/cluster`.
    pub(crate) const CLUSTER: Variant = Variant::new("cluster", 1, 1);
    /// The same, every input of a join too large to be broadcast.
    pub(crate) const CLUSTER_ASKING: Variant = Variant::new("cluster, asking", 1, 1);

    pub(crate) const fn new(executor: &'static str, processes: u32, threads: u32) -> Self {
        Variant {
            executor,
            processes,
            threads,
            batch_rows: None,
            staged: false,
        }
    }

    pub(crate) const fn batch_rows(self, rows: u32) -> Self {
        Variant {
            batch_rows: Some(rows),
            ..self
        }
    }

    pub(crate) const fn staged(self) -> Self {
        Variant {
            staged: true,
            ..self
        }
    }

    /// One of each executor.
    pub(crate) const EACH: [Variant; 4] = [
        Variant::SEQUENTIAL,
        Variant::new("threads", 1, 2),
        Variant::new("processes", 2, 1),
        Variant::new("hybrid", 2, 2),
    ];

    /// Every executor at every width.
    pub(crate) const WIDTHS: [Variant; 13] = [
        Variant::SEQUENTIAL,
        Variant::new("threads", 1, 1),
        Variant::new("threads", 1, 2),
        Variant::new("threads", 1, 3),
        Variant::new("threads", 1, 8),
        Variant::new("processes", 1, 1),
        Variant::new("processes", 2, 1),
        Variant::new("processes", 3, 1),
        Variant::new("processes", 8, 1),
        Variant::new("hybrid", 1, 2),
        Variant::new("hybrid", 2, 1),
        Variant::new("hybrid", 2, 2),
        Variant::new("hybrid", 3, 3),
    ];

    /// Whether tasks of a cluster work.
    pub(crate) fn is_cluster(self) -> bool {
        self.executor.starts_with("cluster")
    }

    /// Where tasks leave rows, for a pipeline that does not lie in `folder`.
    pub(crate) fn shared_folder(self, folder: &Folder) -> Vec<String> {
        let shared = format!("--set=cluster.folder={}", folder.join("shared").display());
        self.is_cluster().then_some(shared).into_iter().collect()
    }

    /// The options of `etl run` that ask for it.
    pub(crate) fn arguments(self) -> Vec<String> {
        if self.is_cluster() {
            let mut words = vec![
                "--cluster=local[3]".to_owned(),
                "--set=cluster.folder=shared".into(),
            ];
            if self.executor == Self::CLUSTER_ASKING.executor {
                words.push("--set=cluster.broadcast_max=0".into());
            }
            words.extend(
                self.batch_rows
                    .map(|rows| format!("--set=*.batch_rows={rows}")),
            );
            return words;
        }
        let mut settings = vec![("executor", self.executor.to_owned())];
        match self.executor {
            "threads" => settings.push(("workers", self.threads.to_string())),
            "processes" => settings.push(("workers", self.processes.to_string())),
            "hybrid" => {
                settings.push(("processes", self.processes.to_string()));
                settings.push(("threads", self.threads.to_string()));
            }
            _ => {}
        }
        if let Some(rows) = self.batch_rows {
            settings.push(("batch_rows", rows.to_string()));
        }
        let mut arguments: Vec<String> = settings
            .into_iter()
            .flat_map(|(key, value)| ["--set".to_owned(), format!("*.{key}={value}")])
            .collect();
        if self.staged {
            arguments.push("--staged".to_owned());
        }
        arguments
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Variant {
            executor,
            processes,
            threads,
            ..
        } = self;
        write!(f, "{executor} {processes}x{threads}")?;
        if let Some(rows) = self.batch_rows {
            write!(f, ", {rows} rows a batch")?;
        }
        f.write_str(if self.staged {
            ", staged"
        } else {
            ", streamed"
        })
    }
}

/// A command line of the program, to be run in a folder.
pub(crate) struct Etl {
    command: Command,
    folder: PathBuf,
    state: PathBuf,
    stdin: Option<Vec<u8>>,
}

impl Etl {
    /// The program with these arguments in `folder`.
    pub(crate) fn new(folder: &Path, arguments: &[&str]) -> Self {
        Self::of(Command::new(ETL), folder, arguments)
    }

    /// The same through another command (that ends in the program's path).
    pub(crate) fn of(mut command: Command, folder: &Path, arguments: &[&str]) -> Self {
        command.args(arguments).current_dir(folder);
        // The pipelines' own variables must not come from whoever runs the tests.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETL_") || name == "RUST_BACKTRACE" {
                command.env_remove(name);
            }
        }
        Etl {
            command,
            folder: folder.to_owned(),
            state: folder.join("state"),
            stdin: None,
        }
    }

    /// `etl run PIPELINE`, quietly, with the report and the state kept in `folder/state`.
    pub(crate) fn run(folder: &Path, pipeline: &str, variant: Variant) -> Self {
        Self::run_by(Command::new(ETL), folder, pipeline, variant)
    }

    /// The same through another command.
    pub(crate) fn run_by(
        command: Command,
        folder: &Path,
        pipeline: &str,
        variant: Variant,
    ) -> Self {
        let state = folder.join("state");
        let _ = fs::remove_dir_all(&state);
        fs::create_dir_all(&state).expect("the folder takes another");
        let mut etl = Self::of(command, folder, &["run", pipeline, "--quiet"]);
        etl.command
            .args(["--color", "never", "--state", "state"])
            .args(["--report", "state/report.json"]);
        etl.executed(variant)
    }

    /// With the options that ask for this way of execution, and what it needs.
    pub(crate) fn executed(mut self, variant: Variant) -> Self {
        self.command.args(variant.arguments());
        if variant.is_cluster() {
            let stand_in = project().join("tests/cluster");
            let _ = fs::create_dir(self.folder.join("shared"));
            self.command
                .env("PYTHONPATH", stand_in)
                .env("PYTHONDONTWRITEBYTECODE", "1");
        }
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = Some(bytes);
        self
    }

    /// Starts it; what it prints is read along, so that it never waits for us.
    pub(crate) fn start(mut self) -> Running {
        let stdin = match self.stdin {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        };
        let mut running = self.spawn(stdin);
        if let (Some(bytes), Some(mut pipe)) = (self.stdin, running.child.stdin.take()) {
            // A run that fails early closes its end: what it prints tells the story.
            thread::spawn(move || pipe.write_all(&bytes));
        }
        running
    }

    /// Starts it with its stdin left open, to be fed bit by bit.
    pub(crate) fn start_fed(mut self) -> Running {
        self.spawn(Stdio::piped())
    }

    fn spawn(&mut self, stdin: Stdio) -> Running {
        let mut child = self
            .command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = drain(child.stdout.take().expect("it is piped"));
        let stderr = drain(child.stderr.take().expect("it is piped"));
        Running {
            child,
            stdout,
            stderr,
            folder: self.folder.clone(),
            state: self.state.clone(),
        }
    }

    /// Runs it to its end.
    pub(crate) fn outcome(self) -> Outcome {
        self.start().outcome()
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks has ended.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// The program at work.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    folder: PathBuf,
    state: PathBuf,
}

impl Running {
    /// Waits for its end.
    pub(crate) fn outcome(mut self) -> Outcome {
        let status = self.wait();
        let text = |reader: JoinHandle<Vec<u8>>| reader.join().expect("a reader never panics");
        let stdout = text(self.stdout);
        let stderr = String::from_utf8_lossy(&text(self.stderr)).into_owned();
        let report: Value = fs::read(self.state.join("report.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let rejects = report["rejects"]["file"]
            .as_str()
            .and_then(|file| fs::read(self.folder.join(file)).ok())
            .unwrap_or_default();
        Outcome {
            code: status.code(),
            signal: status.signal(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: neutral(&stderr, &self.folder, &report),
            report,
            rejects: String::from_utf8_lossy(&rejects).into_owned(),
        }
    }

    fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            if Instant::now() > until {
                // Nothing else can end a run that hangs.
                let _ = self.child.kill();
                panic!("the run in {} hangs", self.folder.display());
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

/// What differs between two runs by right: where they ran, and their number.
fn neutral(text: &str, folder: &Path, report: &Value) -> String {
    let text = text.replace(&folder.display().to_string(), "DIR");
    match report["run"].as_str() {
        Some(run) if !run.is_empty() => text.replace(run, "RUN"),
        _ => text,
    }
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Null if none was written.
    pub(crate) report: Value,
    /// The rejects file's text.
    pub(crate) rejects: String,
}

impl Outcome {
    /// The stage's part of the report.
    pub(crate) fn stage(&self, name: &str) -> &Value {
        self.stages()
            .iter()
            .find(|stage| stage["name"] == name)
            .unwrap_or(&Value::Null)
    }

    pub(crate) fn stages(&self) -> &[Value] {
        self.report["stages"].as_array().map_or(&[], Vec::as_slice)
    }

    /// What must hold of every run that ended by itself: a report, and a ledger that balances if the run
    /// is done.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let status = match self.code {
            Some(0 | 3) => "done",
            Some(1) => "failed",
            Some(130 | 143) => "interrupted",
            // The pipeline could not even be read.
            _ => return faults,
        };
        if self.report["status"] != status {
            faults.push(format!(
                "the report says `{}` after exit {:?}",
                self.report["status"], self.code
            ));
        }
        if status != "done" {
            return faults;
        }
        for stage in self.stages() {
            let count = |key: &str| stage[key].as_u64().unwrap_or(u64::MAX / 4);
            if count("rows_in") + count("added")
                != count("rows_out") + count("rejected") + count("dropped")
            {
                faults.push(format!(
                    "the ledger of stage {} is off: {stage}",
                    stage["name"]
                ));
            }
        }
        let lines = self.rejects.lines().count() as u64;
        if self.report["rejects"]["rows"].as_u64() != Some(lines) {
            faults.push(format!(
                "the report counts {} rejects, the file {lines}",
                self.report["rejects"]["rows"]
            ));
        }
        faults
    }
}

/// Waits until `holds`, looking again and again; panics naming `what` when it takes too long.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < until, "waited too long until {what}");
        thread::sleep(POLL_INTERVAL);
    }
}

/// Does `work` on every item, two at a time, and gives all the faults it found.
pub(crate) fn for_each<T: Sync>(items: &[T], work: impl Fn(&T) -> Vec<String> + Sync) {
    let next = AtomicU64::new(0);
    let faults = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(item) = usize::try_from(next.fetch_add(1, Ordering::Relaxed))
                    .ok()
                    .and_then(|index| items.get(index))
                {
                    let found = work(item);
                    faults
                        .lock()
                        .expect("no one panics holding it")
                        .extend(found);
                }
            });
        }
    });
    let faults = faults.into_inner().expect("no one panicked holding it");
    assert!(
        faults.is_empty(),
        "{} faults\n\n{}",
        faults.len(),
        faults.join("\n\n")
    );
}

/// The first line in which two texts differ, for a message that can be read.
pub(crate) fn difference(want: &[u8], got: &[u8]) -> String {
    let (want, got) = (String::from_utf8_lossy(want), String::from_utf8_lossy(got));
    let mut pairs = want.split('\n').zip(got.split('\n'));
    let number = pairs.clone().take_while(|(want, got)| want == got).count();
    let show = |text: &str| text.chars().take(600).collect::<String>();
    match pairs.nth(number) {
        Some((want, got)) => format!(
            "line {}:\n    want {}\n    got  {}",
            number + 1,
            show(want),
            show(got)
        ),
        None => format!("want {} bytes, got {} bytes", want.len(), got.len()),
    }
}

/// The processes whose parent is `parent`, by /proc.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("this is Linux").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        if stat(pid).is_some_and(|stat| stat.parent == parent) {
            found.push(pid);
        }
    }
    found
}

/// Which of these processes has a connection from this address, by /proc.
pub(crate) fn client(from: SocketAddr, processes: &[u32]) -> Option<u32> {
    let connections = fs::read_to_string("/proc/net/tcp").expect("this is Linux");
    let port = format!(":{:04X}", from.port());
    // Connections to other servers may have the same port, those that have ended too.
    let socket = |line: &str| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1)?;
        let inode = fields.nth(7)?;
        local.ends_with(&port).then(|| format!("socket:[{inode}]"))
    };
    let sockets: Vec<String> = connections.lines().filter_map(socket).collect();
    let is_one = |file: fs::DirEntry| {
        let to = fs::read_link(file.path());
        to.is_ok_and(|to| sockets.iter().any(|socket| to.as_os_str() == &**socket))
    };
    let has = |pid: &&u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        files.into_iter().flatten().flatten().any(is_one)
    };
    processes.iter().find(has).copied()
}

/// What /proc says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) group: u32,
}

/// `None` if there is no such process (any more).
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some(Stat {
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    })
}

/// Whether a process is still at work; a dead one that nobody has reaped yet is not.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}
