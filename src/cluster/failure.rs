//! What is said of a cluster that failed: from the words of Spark and Python, and from the driver's log, what matters of
//! them and what to do. Their stack traces stay in the log.

use std::path::Path;

use serde::Deserialize;

use crate::error::Error;
use crate::schema::{count, list};

/// So many lines of what a task or the driver said stand in an error.
const WORDS: usize = 3;

/// The last failure of a task that failed too often.
#[derive(Debug, Deserialize)]
pub(super) struct TaskFailure {
    task: usize,
    /// How often it was tried.
    tries: u64,
    /// The machine of the last attempt.
    host: String,
    /// How the process ended: below zero by a signal. `None`: it could not be started.
    code: Option<i32>,
    /// Its last words, line by line.
    said: Vec<String>,
}

/// Where the driver's words are, and how much it can say of a failure.
pub(super) struct Sayings<'a> {
    pub(super) master: &'a str,
    pub(super) log: &'a Path,
}

/// A failure that is known by a mark, and what to do about it.
struct Known {
    mark: &'static str,
    hint: &'static str,
}

const PYSPARK: &str = "`python` of `[cluster]` names one that has the cluster's pyspark";
const JAVA: &str = "Spark 4 needs Java 17; `JAVA_HOME` names it";
const NETWORK: &str =
    "can this machine reach the master at its address, and the workers this machine?";

/// In what the script says, or in the log: Spark's own words then only tell what could not go on. The last line with the
/// mark is the cause.
const KNOWN: [Known; 8] = [
    Known {
        mark: "No module named 'pyspark'",
        hint: PYSPARK,
    },
    Known {
        mark: "PYTHON_VERSION_MISMATCH",
        hint: "the minor version of Python must be the same on all machines; `PYSPARK_PYTHON` names the Python of the executors",
    },
    Known {
        mark: "Cannot run program",
        hint: "executors run the Python that `python` of `[cluster]` names; `PYSPARK_PYTHON` names another one for them",
    },
    Known {
        mark: "UnsupportedClassVersionError",
        hint: JAVA,
    },
    Known {
        mark: "bin/java: No such file or directory",
        hint: JAVA,
    },
    Known {
        mark: "JAVA_HOME is not set",
        hint: JAVA,
    },
    Known {
        mark: "InvalidClassException",
        hint: "the pyspark of `python` must be of the same version as the cluster's Spark",
    },
    Known {
        mark: "OutOfMemoryError",
        hint: "give the driver more memory: `conf = { \"spark.driver.memory\" = \"2g\" }` in `[cluster]`",
    },
];

/// That is said in the log, or in Spark's words, where the master cannot be reached, and why it cannot.
const NO_MASTER: &str = "All masters are unresponsive";
const UNREACHABLE: [Known; 3] = [
    Known {
        mark: "UnknownHostException",
        hint: NETWORK,
    },
    Known {
        mark: "Connection refused",
        hint: NETWORK,
    },
    Known {
        mark: "Connection timed out",
        hint: NETWORK,
    },
];

impl Sayings<'_> {
    /// A task failed too often.
    pub(super) fn task_failed(&self, failure: &TaskFailure, stages: &[String]) -> Error {
        let of = match stages {
            [] => String::new(),
            stages => {
                let stages: Vec<&str> = stages.iter().map(String::as_str).collect();
                format!(" of {}", list(&stages))
            }
        };
        let TaskFailure {
            task,
            tries,
            host,
            code,
            said,
        } = failure;
        let times = count(*tries, "time");
        let mut error = Error::failed(format!(
            "task {task}{of} failed {times}, the last time on `{host}`"
        ));
        let (hints, words): (Vec<&str>, Vec<&str>) = said
            .iter()
            .map(|line| line.trim())
            .filter(|line| !line.is_empty())
            .partition(|line| line.starts_with("hint: "));
        for line in &words[words.len().saturating_sub(WORDS)..] {
            error = error.cause(line.trim_start_matches("error: "));
        }
        match code {
            Some(code @ ..0) => error = error.cause(format!("it was killed by signal {}", -code)),
            Some(code) if words.is_empty() => {
                error = error.cause(format!("it ended with exit code {code} and no words"));
            }
            _ => {}
        }
        let own = hints.last().map(|hint| hint.trim_start_matches("hint: "));
        self.with_hint(error, task_hint(*code, &words).or(own))
    }

    /// For a long time no process of the cluster worked for this run.
    pub(super) fn no_executor(&self, seconds: u64) -> Error {
        let message = format!(
            "the cluster `{}` had no executor for {}",
            self.master,
            count(seconds, "second")
        );
        self.with_hint(Error::failed(message), Some("has it workers with free cores and memory? `executors_wait_s` of `[cluster]` says how long a run waits for them"))
    }

    /// The script failed, and said why.
    pub(super) fn failed(&self, words: &str) -> Error {
        let error = Error::failed(format!("the cluster `{}` failed", self.master));
        match known(words, &self.log()) {
            Some((line, hint)) => self.with_hint(error.cause(line), Some(hint)),
            None => self.with_hint(error.cause(said(words)), None),
        }
    }

    /// The script ended, and said nothing.
    pub(super) fn ended(&self) -> Error {
        let error = Error::failed(format!("the cluster's driver for `{}` ended", self.master));
        let log = self.log();
        if let Some((line, hint)) = known("", &log) {
            return self.with_hint(error.cause(line), Some(hint));
        }
        let is_word = |line: &&str| !line.trim().is_empty() && !is_of_a_trace(line);
        let lines: Vec<&str> = log.lines().filter(is_word).collect();
        let last = &lines[lines.len().saturating_sub(WORDS)..];
        self.with_hint(last.iter().fold(error, Error::cause), None)
    }

    fn log(&self) -> String {
        let bytes = std::fs::read(self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Says what to do, and where to read more.
    fn with_hint(&self, error: Error, hint: Option<&str>) -> Error {
        let log = format!("the driver's log is `{}`", self.log.display());
        error.hint(hint.map_or(log.clone(), |hint| format!("{hint}\n{log}")))
    }
}

/// What to do about a task that ended so, if its own words do not say it.
fn task_hint(code: Option<i32>, words: &[&str]) -> Option<&'static str> {
    let says = |text: &str| words.iter().any(|line| line.contains(text));
    match code {
        None => Some(
            "the machine must have the processor architecture of this one, and let programs run where Spark keeps its files (no `noexec`): `SPARK_LOCAL_DIRS` of its workers names another folder",
        ),
        Some(-9) => Some(
            "the system kills processes where memory is short: tasks need room beside the executors' own, on YARN and Kubernetes `spark.executor.memoryOverhead`",
        ),
        _ if says("GLIBC") && says("not found") => Some(
            "that machine's C library is older than the one `etl` was built with: build `etl` on the oldest machine",
        ),
        _ => None,
    }
}

/// What is known of the failure with these words and this log: the line that says it, and what to do.
fn known<'t>(words: &'t str, log: &'t str) -> Option<(&'t str, &'static str)> {
    let no_master = [words, log].iter().any(|text| text.contains(NO_MASTER));
    let unreachable: &[Known] = if no_master { &UNREACHABLE } else { &[] };
    KNOWN
        .iter()
        .flat_map(|known| [(known, words), (known, log)])
        .chain(unreachable.iter().map(|known| (known, log)))
        .find_map(|(known, text)| Some((last_line(text, known.mark)?, known.hint)))
}

/// The last line with this mark, without what leads to it.
fn last_line<'t>(text: &'t str, mark: &str) -> Option<&'t str> {
    let line = text.lines().rev().find(|line| line.contains(mark))?.trim();
    let (_, cause) = line.rsplit_once("Caused by: ").unwrap_or(("", line));
    Some(cause)
}

/// What matters of a failure's words: the last cause, or the first line.
fn said(words: &str) -> &str {
    let mut lines = words.lines().rev();
    let cause = lines.find_map(|line| line.trim_start().split_once("Caused by: "));
    if let Some((_, cause)) = cause {
        return cause;
    }
    let java = words.lines().skip(1).find(|line| line.starts_with(": "));
    java.map_or(words.lines().next().unwrap_or_default(), |line| {
        line.trim_start_matches(": ")
    })
}

/// Whether a line is one of a stack trace, of Java or Python.
fn is_of_a_trace(line: &str) -> bool {
    let line = line.trim_start();
    ["at ", "File \"", "... ", "Traceback "]
        .iter()
        .any(|begin| line.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sayings(log: &Path) -> Sayings<'_> {
        Sayings {
            master: "spark://host:7077",
            log,
        }
    }

    /// What is said of a failure with these words and this log, but for the log's name.
    fn failed(words: &str, log: &str) -> String {
        static LOGS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = LOGS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = format!("etl-failure-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(path);
        std::fs::write(&path, log).expect("it can be written");
        let error = sayings(&path).failed(words);
        std::fs::remove_file(&path).expect("it is there");
        let text = error.render();
        let named = format!("the driver's log is `{}`", path.display());
        assert!(text.contains(&named), "{text}");
        text.replace(&named, "LOG")
    }

    #[test]
    fn of_a_failure_the_words_that_matter_are_shown() {
        let begin = "error: the cluster `spark://host:7077` failed\n";
        let no_java = "PySparkRuntimeError: [JAVA_GATEWAY_EXITED] Java gateway process exited";
        for (words, log, cause, hint) in [
            ("ValueError: no", "", "ValueError: no", "LOG"),
            (
                "Py4JJavaError: An error occurred\n: SparkException: Job aborted\n\tat x",
                "",
                "SparkException: Job aborted",
                "LOG",
            ),
            (
                "Py4JJavaError: An error\n: A: b\n\tat x\nCaused by: java.io.IOException: gone\n\tat y",
                "WARN x: Connection refused",
                "java.io.IOException: gone",
                "LOG",
            ),
            (
                "ModuleNotFoundError: No module named 'pyspark'",
                "",
                "ModuleNotFoundError: No module named 'pyspark'",
                PYSPARK,
            ),
            (
                "Py4JJavaError: x\n: PythonException: y\nPySparkRuntimeError: [PYTHON_VERSION_MISMATCH] 3.12 here, 3.11 there.\nPlease check",
                "",
                "PySparkRuntimeError: [PYTHON_VERSION_MISMATCH] 3.12 here, 3.11 there.",
                "the minor version of Python must be the same",
            ),
            (
                "Py4JJavaError: x\n: SparkException: Job aborted\nCaused by: java.io.IOException: Cannot run program \"py\": error=2\n\tat z\nCaused by: java.io.IOException: error=2, No such file or directory",
                "",
                "java.io.IOException: Cannot run program \"py\": error=2",
                "executors run the Python",
            ),
            (
                no_java,
                "/spark/bin/spark-class: line 71: /none/bin/java: No such file or directory\nTraceback\n",
                "/spark/bin/spark-class: line 71: /none/bin/java: No such file or directory",
                JAVA,
            ),
            (
                no_java,
                "Error: LinkageError\n\tjava.lang.UnsupportedClassVersionError: x needs version 61.0",
                "java.lang.UnsupportedClassVersionError: x needs version 61.0",
                JAVA,
            ),
            (
                "Py4JJavaError: x\n: SparkException: Task not serializable\nCaused by: NullPointerException: y",
                "WARN Failed to connect to master\nCaused by: java.lang.RuntimeException: java.io.InvalidClassException: z; local class incompatible\n\tat w\nERROR All masters are unresponsive! Giving up.",
                "java.lang.RuntimeException: java.io.InvalidClassException: z; local class incompatible",
                "the pyspark of `python` must be of the same version",
            ),
            (
                "Py4JJavaError: x\n: NullPointerException: y",
                "Caused by: java.net.ConnectException: Connection refused\n\tat w\nERROR All masters are unresponsive! Giving up.",
                "java.net.ConnectException: Connection refused",
                NETWORK,
            ),
            ("", "", "", "LOG"),
        ] {
            let text = failed(words, log);
            assert!(text.starts_with(&format!("{begin}  {cause}\n")), "{text}");
            assert!(text.contains(&format!("hint: {hint}")), "{text}");
            assert_eq!(
                text.lines().filter(|line| line.starts_with("\tat")).count(),
                0
            );
        }
    }

    #[test]
    fn a_failed_task_says_which_where_and_how_often() {
        let said = |code: Option<i32>, said: &[&str]| {
            let failure = TaskFailure {
                task: 3,
                tries: 4,
                host: "far".into(),
                code,
                said: said.iter().map(|line| (*line).to_owned()).collect(),
            };
            let stages = ["orders".to_owned(), "joined".to_owned()];
            sayings(Path::new("log"))
                .task_failed(&failure, &stages)
                .render()
        };
        let begin = "error: task 3 of `orders`, `joined` failed 4 times, the last time on `far`\n";
        let text = said(
            Some(1),
            &[
                "error: cannot write `x`",
                "  No space left",
                "hint: make room",
            ],
        );
        let expected =
            "  cannot write `x`\n  No space left\nhint: make room\n  the driver's log is `log`\n";
        assert_eq!(text, format!("{begin}{expected}"));
        for (code, words, cause, hint) in [
            (
                Some(-9),
                "",
                "it was killed by signal 9",
                "where memory is short",
            ),
            (Some(7), "", "it ended with exit code 7", "the driver's log"),
            (
                None,
                "`etl` cannot be started: Permission denied",
                "cannot be started",
                "`noexec`",
            ),
            (
                Some(1),
                "etl: libc.so.6: version `GLIBC_2.39' not found",
                "GLIBC_2.39",
                "C library is older",
            ),
        ] {
            let text = said(code, &[words]);
            assert!(text.starts_with(begin), "{text}");
            assert!(text.contains(cause) && text.contains(hint), "{text}");
        }
    }
}
