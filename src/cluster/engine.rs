//! The engine: the script that runs tasks on Spark, as a child process. Commands go to its standard input and events
//! come from its standard output, one JSON value a line; what it says beside that is kept in the run's folder.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, select, unbounded};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::ClusterConfig;
use super::failure::{Sayings, TaskFailure};
use super::folder::HeldFolder;
use super::master;
use super::order::{Order, Sums, TaskReport};
use crate::clock::monotonic;
use crate::disk;
use crate::error::{Error, Result};
use crate::procs;
use crate::schema::count;
use crate::stop::Stop;
use crate::threads;

/// What it is called in the folder of its run.
pub(super) const SCRIPT_FILE: &str = "cluster.py";

/// The script, which the program brings along.
const SCRIPT: &str = include_str!("driver.py");

/// How long the engine may take to end by itself.
const ENDING: Duration = Duration::from_secs(5);

/// An engine that is at work.
pub(crate) struct Engine {
    child: Child,
    stdin: Option<ChildStdin>,
    events: Receiver<Event>,
    log: PathBuf,
    master: String,
    stop: Stop,
    /// Where it keeps its files. It goes when the engine has ended.
    _scratch: HeldFolder,
    /// How many tasks it can run at once.
    pub(crate) parallelism: usize,
    /// Of what it is made, in words.
    pub(crate) versions: String,
}

/// Tasks that do the same to other rows.
#[derive(Debug, Serialize)]
pub(crate) struct Job {
    /// What it is called by jobs that read its frames.
    pub(crate) id: String,
    /// What the job itself gives some of its tasks, with their numbers.
    pub(crate) given: Vec<(usize, Value)>,
    /// The stages whose work it does.
    #[serde(skip)]
    pub(crate) stages: Vec<String>,
    /// Whose frames it reads. Those of several sides come one side after the other.
    pub(crate) sides: Vec<Side>,
    /// How many tasks it has, unless there is one for each bucket.
    pub(crate) tasks: usize,
    /// Whether its frames go into buckets first, one a task.
    pub(crate) buckets: Option<usize>,
    pub(crate) order: Order,
    /// Whether other jobs read its frames.
    pub(crate) keep: bool,
    /// A job whose frames no other one reads: they go once this one has ended.
    #[serde(skip)]
    pub(crate) reads_alone: Option<String>,
}

/// Frames that a job reads.
#[derive(Debug, Serialize)]
pub(crate) struct Side {
    /// The job that gave them.
    pub(crate) from: String,
    /// How they are divided among buckets; `None`: each has its bucket.
    pub(crate) divide: Option<Order>,
    /// Each goes into the bucket of the task that gave it.
    pub(crate) by_task: bool,
}

/// What the script says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Ready(Ready),
    Progress(Progress),
    Reports(JobReport),
    Ended(Account),
    TaskFailed(TaskFailure),
    NoExecutor(u64),
    Failed(String),
}

#[derive(Debug, Deserialize)]
struct Ready {
    spark: String,
    python: String,
    parallelism: usize,
}

/// How far a job is.
#[derive(Debug, Deserialize)]
pub(crate) struct Progress {
    pub(crate) done: u64,
    pub(crate) tasks: u64,
    pub(crate) executors: u64,
    /// Of the tasks that are done.
    pub(crate) sums: Sums,
}

/// What the tasks of a job have done.
#[derive(Debug, Deserialize)]
pub(crate) struct JobReport {
    /// In the order of the tasks.
    pub(crate) reports: Vec<TaskReport>,
    /// Of all tasks that worked for it.
    pub(crate) sums: Sums,
}

/// What Spark knows of an application that has ended. What another Spark does not say is `None`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Account {
    /// How often a task ended before its work was done.
    pub(crate) failed_tasks: Option<u64>,
    /// What tasks gave to others through Spark.
    pub(crate) exchanged_bytes: Option<u64>,
    pub(crate) lost_executors: Option<u64>,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Progress { executors: 0, .. } => f.write_str("waits for an executor of the cluster"),
            Progress {
                done,
                tasks,
                executors,
                ..
            } => {
                let executors = count(*executors, "executor");
                write!(f, "{done} of {tasks} tasks, {executors}")
            }
        }
    }
}

/// The events that the script writes, read by a thread of its own until its output ends.
fn events(stdout: ChildStdout) -> Result<Receiver<Event>> {
    let (sender, events) = unbounded();
    let listen = move || {
        let lines = BufReader::new(stdout).lines();
        for line in lines.map_while(std::io::Result::ok) {
            // What a library prints is no event.
            if let Ok(event) = serde_json::from_str(&line)
                && sender.send(event).is_err()
            {
                return;
            }
        }
    };
    threads::start("engine", listen)?;
    Ok(events)
}

/// Paths go to tasks as text.
#[allow(
    clippy::needless_pass_by_value,
    reason = "it is what an error is mapped with"
)]
fn not_utf8(error: serde_json::Error) -> Error {
    Error::failed("a path that tasks of a cluster need is not UTF-8")
        .cause(error)
        .hint("the program, the working folder and `folder` of `[cluster]` need names in UTF-8")
}

impl Engine {
    /// Starts an engine for the run `run`, whose folder is `folder`. Its tasks run this very program.
    pub(crate) fn start(
        config: &ClusterConfig,
        name: &str,
        run: &str,
        folder: &Path,
        stop: &Stop,
    ) -> Result<Engine> {
        let io = |what: &str, path: &Path, error: &std::io::Error| {
            Error::io(what, path.display(), error)
        };
        master::answers(&config.master)?;
        let script = folder.join(SCRIPT_FILE);
        disk::replace(&script, SCRIPT.as_bytes()).map_err(|error| io("write", &script, &error))?;
        let log = folder.join("cluster.log");
        let words = disk::private().create(true).append(true).open(&log);
        let words = words.map_err(|error| io("write", &log, &error))?;
        let scratch = HeldFolder::scratch(config, run)?;
        let mut child = Command::new(&config.python)
            .arg("-u")
            .arg(&script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(words)
            // Executors take the same Python, unless the user says which.
            .env(
                "PYSPARK_PYTHON",
                std::env::var_os("PYSPARK_PYTHON").unwrap_or_else(|| config.python.clone().into()),
            )
            // What the driver and its Java keep on disk goes with the run, however they end.
            .env("SPARK_LOCAL_DIRS", scratch.path())
            .env("TMPDIR", scratch.path())
            .env("SPARK_SUBMIT_OPTS", java_options(scratch.path()))
            // Signals to the terminal's group are for this program: it ends the engine.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                Error::failed(format!("cannot start `{}`", config.python))
                    .cause(error)
                    .hint("`python` of `[cluster]` names one that has the cluster's pyspark")
            })?;
        let stdout = child.stdout.take().expect("it is piped");
        let mut engine = Engine {
            stdin: child.stdin.take(),
            child,
            events: events(stdout)?,
            log,
            master: config.master.clone(),
            stop: stop.clone(),
            _scratch: scratch,
            parallelism: 1,
            versions: String::new(),
        };
        let program = std::env::current_exe()
            .map_err(|error| Error::failed("cannot find this program").cause(error))?;
        let program = serde_json::to_value(program).map_err(not_utf8)?;
        engine.send(&json!({ "start": {
            "master": config.master,
            "name": format!("etl {name}"),
            "program": program,
            "executors_wait_s": config.executors_wait_s,
            "conf": config.conf,
        }}))?;
        loop {
            if let Event::Ready(ready) = engine.event(&[])? {
                engine.parallelism = ready.parallelism.max(1);
                engine.versions = format!("Spark {}, Python {}", ready.spark, ready.python);
                return Ok(engine);
            }
        }
    }

    /// Runs a job to its end; the reports of its tasks, in their order.
    pub(crate) fn run(
        &mut self,
        job: &Job,
        mut progress: impl FnMut(Progress),
    ) -> Result<JobReport> {
        let job_value = serde_json::to_value(job).map_err(not_utf8)?;
        self.send(&json!({ "job": job_value }))?;
        loop {
            match self.event(&job.stages)? {
                Event::Reports(mut report) => {
                    report.reports.sort_by_key(|report| report.task);
                    return Ok(report);
                }
                Event::Progress(now) => progress(now),
                _ => {}
            }
        }
    }

    /// No further job reads the frames of this one.
    pub(crate) fn release(&mut self, id: &str) -> Result<()> {
        self.send(&json!({ "release": id }))
    }

    /// No further job comes: it ends while the caller does other things.
    pub(crate) fn begin_end(&mut self) -> Result<()> {
        self.send(&json!({ "end": true }))
    }

    /// Waits for the end that was begun; what Spark knows then, if it says it in time.
    pub(crate) fn ended(self) -> Account {
        while let Ok(event) = self.events.recv_timeout(ENDING) {
            if let Event::Ended(account) = event {
                return account;
            }
        }
        Account::default()
    }

    fn send(&mut self, command: &Value) -> Result<()> {
        let line = command.to_string() + "\n";
        let Some(stdin) = &mut self.stdin else {
            return Err(self.sayings().ended());
        };
        match stdin
            .write_all(line.as_bytes())
            .and_then(|()| stdin.flush())
        {
            Ok(()) => Ok(()),
            Err(_) => Err(self.sayings().ended()),
        }
    }

    /// The next thing that it says while tasks of these stages run; its failure is an error.
    fn event(&self, stages: &[String]) -> Result<Event> {
        let stopped = self.stop.channel();
        let event = select! {
            recv(self.events) -> event => event,
            recv(stopped) -> _ => return Err(self.stop.error()),
        };
        match event {
            Ok(Event::Failed(words)) => Err(self.sayings().failed(&words)),
            Ok(Event::TaskFailed(failure)) => Err(self.sayings().task_failed(&failure, stages)),
            Ok(Event::NoExecutor(seconds)) => Err(self.sayings().no_executor(seconds)),
            Ok(event) => Ok(event),
            Err(_) => Err(self.sayings().ended()),
        }
    }

    fn sayings(&self) -> Sayings<'_> {
        Sayings {
            master: &self.master,
            log: &self.log,
        }
    }
}

/// What the driver's Java is started with: the user's own options, and `folder` for its temporary files. It also writes
/// its counters into `/tmp`, whatever the folder, unless it keeps none.
fn java_options(folder: &Path) -> OsString {
    let mut options = std::env::var_os("SPARK_SUBMIT_OPTS").unwrap_or_default();
    options.push(" \"-Djava.io.tmpdir=");
    options.push(folder);
    options.push("\" -XX:-UsePerfData");
    options
}

impl Drop for Engine {
    /// Ends it: by the end of its standard input, or else by force.
    fn drop(&mut self) {
        self.stdin = None;
        let pid = Pid::from_raw(self.child.id().try_into().unwrap_or(i32::MAX));
        procs::wait_for_end(pid, monotonic() + ENDING);
        if !procs::group_is_over(pid) {
            let _ = killpg(pid, Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}
