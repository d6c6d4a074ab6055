//! The children themselves: started, reaped, ended with the run, and what is said of one that died.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;
use parking_lot::Mutex;

use crate::clock::monotonic;
use crate::error::{Error, Result};
use crate::procs::{end_session, has_ended, wait_for_end};
use crate::stop::Stop;
use crate::threads;

/// What a pipe holds: as much as the system lets anyone have.
const PIPE_BYTES: i32 = 1 << 20;
/// A child that has to end what it has begun is killed so long after it should have.
const KILL_SLACK: Duration = Duration::from_secs(2);
/// A child's last words are kept to this length.
const WORDS_BYTES_MAX: usize = 4 << 10;

/// All child processes of a run, so that none outlives it.
pub struct Workers {
    program: PathBuf,
    /// Each with the time that it takes to end what it has begun outside.
    pids: Mutex<Vec<(Pid, Option<Duration>)>>,
    /// No child is wanted any more.
    pub(super) over: Stop,
}

impl Workers {
    /// Children that are this very program.
    pub fn this_program() -> Self {
        // The link names the file that runs, even if it was replaced by a new build meanwhile.
        let link = PathBuf::from("/proc/self/exe");
        let program = if link.exists() {
            link
        } else {
            std::env::current_exe().unwrap_or_else(|_| "etl".into())
        };
        Self::of(program)
    }

    /// Children that are `program`, which must understand `worker`.
    pub fn of(program: PathBuf) -> Self {
        Workers {
            program,
            pids: Mutex::default(),
            over: Stop::default(),
        }
    }

    pub(super) fn spawn(&self, ending: Option<Duration>) -> Result<Child> {
        let mut pids = self.pids.lock();
        if self.are_over() {
            return Err(Error::failed("the run has ended"));
        }
        let child = Command::new(&self.program)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                let what = format!("a worker process ({} are running)", pids.len());
                let cause = format!("{}: {error}", self.program.display());
                threads::refused_io(what, cause, &error)
            })?;
        pids.push((pid(&child), ending));
        child.stdin.as_ref().map(widen);
        child.stdout.as_ref().map(widen);
        Ok(child)
    }

    /// Waits for a child that has ended or is about to. The flag: it ended with the run, by [`Workers::kill_all`] or
    /// because that has begun and its writer has let go of it.
    pub(super) fn reap(
        &self,
        mut child: Child,
        ending: Option<Duration>,
    ) -> (std::io::Result<ExitStatus>, bool) {
        if ending.is_some() {
            end_left(pid(&child));
        }
        let status = child.wait();
        let mut pids = self.pids.lock();
        let position = pids.iter().position(|&(other, _)| other == pid(&child));
        if let Some(position) = position {
            pids.swap_remove(position);
        }
        (status, position.is_none() || self.are_over())
    }

    /// Whether no child is wanted any more.
    pub(super) fn are_over(&self) -> bool {
        self.over.is_set()
    }

    /// Ends all children that are left: at once, but for those that have to end others first.
    pub fn kill_all(&self) {
        self.over.set();
        let mut pids = self.pids.lock();
        pids.sort_by_key(|&(_, ending)| ending);
        let from = monotonic();
        for (pid, ending) in pids.drain(..) {
            if let Some(ending) = ending {
                wait_for_end(pid, from + ending + KILL_SLACK);
            }
            if !has_ended(pid) {
                let _ = kill(pid, Signal::SIGKILL);
            }
            if ending.is_some() {
                end_left(pid);
            }
            let _ = waitpid(pid, None);
        }
    }
}

/// Ends what a child has started, once it has ended itself; before it is reaped, so that its number, which
/// its session has, is nobody else's.
fn end_left(child: Pid) {
    // Another one who waited for it may have been quicker, and has done this.
    if waitid(Id::Pid(child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).is_ok() {
        end_session(child);
    }
}

/// Lets a pipe hold more: a frame then takes a sixteenth of the turns. Where it cannot, nothing is lost.
#[cfg(target_os = "linux")]
fn widen(pipe: &impl std::os::fd::AsFd) {
    use nix::fcntl::{FcntlArg, fcntl};
    let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
}

#[cfg(not(target_os = "linux"))]
fn widen(_pipe: &impl std::os::fd::AsFd) {}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("process numbers fit"))
}

/// How a child ended, in words, and its own last ones.
pub(super) fn exit_description(id: u32, status: Option<ExitStatus>, said: &str) -> String {
    let how = match status {
        Some(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => {
                let name = Signal::try_from(signal)
                    .map_or_else(|_| format!("signal {signal}"), |name| name.to_string());
                format!("(pid {id}) was killed by {name}")
            }
            (None, code) => format!("(pid {id}) ended with status {}", code.unwrap_or(-1)),
        },
        None => format!("(pid {id}) was lost"),
    };
    match said.trim() {
        "" => how,
        said => format!(
            "{how}, saying `{}`",
            said.lines().last().unwrap_or_default()
        ),
    }
}

/// The end of what is said on stderr.
pub(super) fn stderr_tail(mut stderr: impl Read) -> String {
    let mut words = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut buffer) {
        words.extend_from_slice(&buffer[..read]);
        words.drain(..words.len().saturating_sub(WORDS_BYTES_MAX));
    }
    String::from_utf8_lossy(&words).into_owned()
}
