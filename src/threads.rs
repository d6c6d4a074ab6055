//! Starting threads. Where the system refuses another thread or process, that is an error that ends the run
//! in order: it says what could not be started, how many there were, and which limit to look at.

use std::fmt::Display;
use std::io;
use std::panic::resume_unwind;
use std::thread::{Builder, JoinHandle};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use crate::error::{DESCRIPTORS, Error, is_out_of_descriptors};
use crate::schema::count;

/// What a thread takes of the address space: its stack, and
const STACK_BYTES: u64 = 2 << 20;

/// the arena that glibc reserves for its allocations, unless that is limited.
const ARENA_BYTES: u64 = 64 << 20;
const ARENAS_MAX: &str = "MALLOC_ARENA_MAX";

/// What has to be left of the address space beside the threads: where it ends, an allocation ends the
/// program, and nothing can be said or put in order any more.
const SPARE_BYTES: u64 = 64 << 20;

/// What a stage takes of the stack of a thread that pulls rows: it calls the stage above it. Unoptimised that is up to
/// 40 kB, optimised less than 8. Of a stack only what is used takes memory.
const STAGE_STACK_BYTES: u64 = 64 << 10;

/// Starts a thread; debuggers show its name.
pub(crate) fn start<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    start_pulling(name, 0, work)
}

/// Starts a thread that pulls rows through so many stages.
pub(crate) fn start_pulling<T: Send + 'static>(
    name: impl Into<String>,
    stages: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    let started = with_stack_for(stages)?.name(name.into()).spawn(work);
    started.map_err(|error| refused("a thread", &error))
}

/// Does work that pulls rows through so many stages: here, or where that may take more than the stack of this thread,
/// on one of its own.
pub(crate) fn pull<T: Send>(
    stages: usize,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    if stack_bytes(stages) == STACK_BYTES {
        return work();
    }
    let thread = with_stack_for(stages)?.name("etl-pull".into());
    std::thread::scope(|scope| {
        let started = thread.spawn_scoped(scope, work);
        let started = started.map_err(|error| refused("a thread", &error))?;
        started.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn stack_bytes(stages: usize) -> u64 {
    STACK_BYTES.max(stages as u64 * STAGE_STACK_BYTES)
}

/// A thread with a stack for so many stages, if there is room for it.
fn with_stack_for(stages: usize) -> Result<Builder, Error> {
    let bytes = stack_bytes(stages);
    room_to_hold(1, bytes - STACK_BYTES)?;
    if bytes == STACK_BYTES {
        return Ok(Builder::new());
    }
    let bytes = usize::try_from(bytes).expect("pipelines have few stages");
    Ok(Builder::new().stack_size(bytes))
}

/// The system refuses to start `what`. A program is connected by pipes: it may be those that are refused.
pub(crate) fn refused_io(what: impl Display, cause: impl Display, error: &io::Error) -> Error {
    if is_out_of_descriptors(error) {
        return Error::failed(format!("cannot start {what}"))
            .cause(cause)
            .hint(DESCRIPTORS);
    }
    refused(what, cause)
}

/// An error if the address space has a limit (`ulimit -v`) that leaves no room for so many more threads.
pub(crate) fn room_for(threads: usize) -> Result<(), Error> {
    room_to_hold(threads, 0)
}

/// The same for threads that hold so many bytes together.
pub(crate) fn room_to_hold(threads: usize, bytes: u64) -> Result<(), Error> {
    let limit = match getrlimit(Resource::RLIMIT_AS) {
        Ok((limit, _)) if limit != RLIM_INFINITY => limit,
        _ => return Ok(()),
    };
    // Arenas that threads share may be reserved at any time, the first one is the program's own; others each thread has
    // for itself.
    let (each, shared) = match std::env::var_os(ARENAS_MAX) {
        Some(most) => {
            let most = most.to_str().and_then(|most| most.parse().ok());
            let more = most.unwrap_or(2u64).saturating_sub(1);
            (STACK_BYTES, more.saturating_mul(ARENA_BYTES))
        }
        None => (STACK_BYTES + ARENA_BYTES, 0),
    };
    // A thread that has just begun takes its arena with its first allocation.
    let taken = status("Threads:").unwrap_or(1) * each;
    let used = (status("VmSize:").unwrap_or(0) << 10).max(taken);
    let needed = (used + threads as u64 * each + bytes + SPARE_BYTES).saturating_add(shared);
    if needed <= limit {
        return Ok(());
    }
    let mb = |bytes: u64| bytes.div_ceil(1 << 20);
    let what = count(threads as u64, "thread");
    let why = format!(
        "the address space is limited to {} MB (`ulimit -v`), of which {} MB are in use: {} MB are needed",
        mb(limit),
        mb(used),
        mb(needed)
    );
    Err(refused(what, why).hint(format!(
        "raise the limit, lower `workers`, or set the environment variable `{ARENAS_MAX}=2`: \
         then glibc reserves no {} MB for each thread",
        mb(ARENA_BYTES)
    )))
}

/// The system refuses to start `what`.
pub(crate) fn refused(what: impl Display, error: impl Display) -> Error {
    let failed = Error::failed(format!("cannot start {what}")).cause(error);
    let failed = match status("Threads:") {
        Some(1) | None => failed,
        Some(threads) => failed.cause(format!("this process has {} now", count(threads, "thread"))),
    };
    failed.hint(
        "raise the limit of processes (`ulimit -u`, a container's `pids.max`) or of memory \
         (`ulimit -v`), or lower `workers`",
    )
}

/// A number that the kernel says of this process: how many threads it has, or kilobytes.
fn status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().trim_end_matches("kB").trim().parse().ok()
}
