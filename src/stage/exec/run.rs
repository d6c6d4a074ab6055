//! One command, from its start to the end of its process group.
//!
//! What goes in is written while both outputs are read, so that no pipe fills both ways. A command that
//! takes too long, says too much or is wanted no more gets SIGTERM with its whole group, and SIGKILL
//! after a grace. The leader is reaped last: until then its number, which is the group's, is nobody
//! else's. What it leaves running is ended the same way.

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::clock::monotonic;
use crate::procs::{self, descriptor, group_is_over, has_ended, readable};
use crate::stop::Stop;

/// The end of what is said on stderr that is kept.
const WORDS_BYTES_MAX: usize = 4 << 10;
/// How often it is looked whether all others of a command's group have ended, and, on a system that does not report
/// the end of a child, whether the command has: it may have left its pipes to another.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Read from a pipe in one go.
const READ_BYTES: usize = 64 << 10;

/// A command to be run.
pub(super) struct Order<'a> {
    /// The program and its arguments.
    pub(super) words: &'a [String],
    /// What it finds on its standard input; `None`: nothing, `/dev/null`.
    pub(super) stdin: Option<Vec<u8>>,
    /// All of its environment.
    pub(super) environment: &'a [(OsString, OsString)],
    /// Where it runs.
    pub(super) folder: &'a Path,
    pub(super) limits: Limits,
}

/// What a command may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) time: Option<Duration>,
    /// Between SIGTERM and SIGKILL.
    pub(super) grace: Duration,
    pub(super) output_bytes: usize,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandEnd {
    /// By itself, or killed by others.
    Own,
    /// It was ended: its time was over.
    Time,
    /// It was ended: it wrote too much.
    Output,
    /// It was ended: the run stops.
    Stop,
}

/// What a command did.
pub(super) struct Ran {
    pub(super) end: CommandEnd,
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    /// The end of what it said on stderr.
    pub(super) said: Vec<u8>,
    /// Bytes that it took from its standard input.
    pub(super) sent: u64,
    /// Bytes that it wrote to its standard output.
    pub(super) received: u64,
    /// Whether it ended by itself and left others of its group running, which were ended.
    pub(super) left_running: bool,
    pub(super) took: Duration,
}

/// Runs a command to its end. An error: it could not be started.
pub(super) fn run(order: Order, stop: &Stop) -> std::io::Result<Ran> {
    let from = monotonic();
    let child = Command::new(&order.words[0])
        .args(&order.words[1..])
        .env_clear()
        .envs(order.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(order.folder)
        .process_group(0)
        .stdin(match order.stdin {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let running = Running::new(child, order.stdin, order.limits);
    running.finish(from, stop)
}

struct Running {
    child: Child,
    leader: Pid,
    limits: Limits,
    stdin: Option<(ChildStdin, Vec<u8>)>,
    stdout: Pipe,
    stderr: Pipe,
    sent: usize,
    /// Whether what comes is still wanted.
    wanted: bool,
}

/// An output of the command; `None`: it has ended.
struct Pipe {
    from: Option<Box<dyn Output>>,
    bytes: Vec<u8>,
    read: u64,
}

/// Either of a command's outputs.
trait Output: Read + AsFd {}
impl<T: Read + AsFd> Output for T {}

impl Pipe {
    fn new(from: Option<impl Output + 'static>) -> Pipe {
        if let Some(from) = &from {
            unblock(from);
        }
        Pipe {
            from: from.map(|from| Box::new(from) as Box<dyn Output>),
            bytes: Vec::new(),
            read: 0,
        }
    }

    /// Takes what is there; `keep` says what becomes of it.
    fn drain(&mut self, buffer: &mut [u8], mut keep: impl FnMut(&mut Vec<u8>, &[u8]) -> bool) {
        while let Some(from) = &mut self.from {
            match from.read(buffer) {
                Ok(0) => self.from = None,
                Ok(read) => {
                    self.read += read as u64;
                    if !keep(&mut self.bytes, &buffer[..read]) {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.from = None,
            }
        }
    }
}

/// Reads and writes of this end of a pipe give back what can be done at once.
fn unblock(pipe: &impl AsFd) {
    let _ = fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
}

impl Running {
    fn new(mut child: Child, input: Option<Vec<u8>>, limits: Limits) -> Running {
        let stdin = child.stdin.take().zip(input);
        if let Some((pipe, _)) = &stdin {
            unblock(pipe);
        }
        Running {
            leader: Pid::from_raw(i32::try_from(child.id()).expect("process numbers fit")),
            stdout: Pipe::new(child.stdout.take()),
            stderr: Pipe::new(child.stderr.take()),
            child,
            limits,
            stdin,
            sent: 0,
            wanted: true,
        }
    }

    fn finish(mut self, from: Duration, stop: &Stop) -> std::io::Result<Ran> {
        let mut buffer = vec![0; READ_BYTES];
        let ended = descriptor(self.leader);
        let end = loop {
            let left = self
                .limits
                .time
                .map(|limit| (from + limit).saturating_sub(monotonic()));
            let look_again = ended.is_none().then_some(POLL_INTERVAL);
            let most = [left, look_again].into_iter().flatten().min();
            self.turn(ended.as_ref(), most, Some(stop), &mut buffer);
            if self.stdout.read > self.limits.output_bytes as u64 {
                break CommandEnd::Output;
            }
            if has_ended(self.leader) {
                break CommandEnd::Own;
            }
            if stop.is_set() {
                break CommandEnd::Stop;
            }
            let took = monotonic().saturating_sub(from);
            if self.limits.time.is_some_and(|limit| took >= limit) {
                break CommandEnd::Time;
            }
        };
        if end != CommandEnd::Own {
            self.wanted = false;
            self.stdout.bytes = Vec::new();
        }
        let took = monotonic().saturating_sub(from);
        let left_running = self.end_group(end, &mut buffer);
        // What was written before the end is still in the pipes; who holds them beyond it left the group.
        self.drain(&mut buffer);
        let over = self.stdout.read > self.limits.output_bytes as u64;
        let status = self.child.wait()?;
        Ok(Ran {
            end: if end == CommandEnd::Own && over {
                CommandEnd::Output
            } else {
                end
            },
            status,
            stdout: self.stdout.bytes,
            said: self.stderr.bytes,
            sent: self.sent as u64,
            received: self.stdout.read,
            left_running,
            took,
        })
    }

    /// Ends what is left of the group; whether somebody was left behind a command that ended by itself.
    fn end_group(&mut self, end: CommandEnd, buffer: &mut [u8]) -> bool {
        let mut left = false;
        if !group_is_over(self.leader) {
            left = end == CommandEnd::Own;
            let _ = killpg(self.leader, Signal::SIGTERM);
            let until = monotonic() + self.limits.grace;
            while !group_is_over(self.leader) && monotonic() < until {
                // A stop is no reason to look more often.
                self.turn(None, Some(POLL_INTERVAL), None, buffer);
            }
        }
        let _ = killpg(self.leader, Signal::SIGKILL);
        left
    }

    /// Waits for one of the pipes or for the command to have `ended`, no longer than `most` nor until the run is to
    /// stop, then reads and writes what can be.
    fn turn(
        &mut self,
        ended: Option<&OwnedFd>,
        most: Option<Duration>,
        stop: Option<&Stop>,
        buffer: &mut [u8],
    ) {
        let mut wanted: Vec<PollFd> = ended.map(readable).into_iter().collect();
        for pipe in [&self.stdout, &self.stderr] {
            wanted.extend(pipe.from.as_ref().map(readable));
        }
        let input = self.stdin.as_ref();
        wanted.extend(input.map(|(pipe, _)| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
        // However it ends, the pipes are tried.
        let _ = match stop {
            Some(stop) => stop.poll(wanted, most),
            None => procs::poll(&mut wanted, most),
        };
        self.write();
        self.drain(buffer);
    }

    fn drain(&mut self, buffer: &mut [u8]) {
        let (wanted, max) = (self.wanted, self.limits.output_bytes);
        self.stdout.drain(buffer, |bytes, more| {
            if wanted {
                bytes.extend_from_slice(more);
            }
            // One that writes without end must not be read without end.
            wanted && bytes.len() <= max
        });
        self.stderr.drain(buffer, |bytes, more| {
            bytes.extend_from_slice(more);
            bytes.drain(..bytes.len().saturating_sub(WORDS_BYTES_MAX));
            bytes.len() < WORDS_BYTES_MAX
        });
    }

    fn write(&mut self) {
        while let Some((pipe, bytes)) = &mut self.stdin {
            match pipe.write(&bytes[self.sent..]) {
                Ok(written) if written > 0 => self.sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // It reads no further.
                _ => self.stdin = None,
            }
            if self
                .stdin
                .as_ref()
                .is_some_and(|(_, bytes)| bytes.len() == self.sent)
            {
                self.stdin = None;
            }
        }
    }
}

/// How a command that was not ended by us ended, in words; `None`: well.
pub(super) fn failure(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("ended with status {code}")),
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            let name = Signal::try_from(signal)
                .map_or_else(|_| format!("signal {signal}"), |name| name.to_string());
            Some(format!("was killed by {name}"))
        }
    }
}
