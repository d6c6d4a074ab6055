//! Child processes: the program itself, started with the hidden subcommand `worker`.
//!
//! Parent and child talk in frames over the child's stdin and stdout: a JSON header and, where there
//! are rows, an Arrow IPC stream. The first frame says what to open; nothing goes through arguments or
//! environment, and the child opens no file of the parent's. At either end one thread reads and others write, so
//! that pipes never fill both ways. The parent sends an order to close. A child whose stdin just ends breaks off,
//! in the middle of a batch too: a killed parent leaves no orphan. Before that the child ends what it has begun
//! outside, processes of its own or a login, and has the time for it.

mod children;
mod dispatch;
pub mod frames;
mod in_child;
mod supervisor;
mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;

use super::ordered::{self, Ordered};
use super::window::Window;
use super::{Results, Task};
use crate::error::Result;
use crate::fragment::BoundFragment;
use crate::threads;

pub use children::Workers;
pub use worker::work;

use dispatch::{DispatchTable, Waiting};
use frames::{Frame, Hello};

/// Works on a stream with `task.grid.processes` children of `task.grid.threads` threads each.
pub(super) fn map(task: Task) -> Results {
    let table = DispatchTable::new(&task, Window::new(&task, 0));
    let fed = table.clone();
    let (name, above) = (task.name.clone(), task.above);
    let feeder = ordered::start(&table.window, (&name, above), move || feed(task, &fed));
    Box::new(Ordered::new(table.window.clone(), move || {
        table.end(feeder)
    }))
}

/// The feeder's thread, which gives back those that keep the children.
type Feeder = ordered::Feeder<Vec<JoinHandle<()>>>;

/// The frames that open a child's sessions.
type Opening = Arc<Vec<Frame>>;

fn feed(task: Task, table: &Arc<DispatchTable>) -> Result<Vec<JoinHandle<()>>> {
    let fragment = (task.prepare)()?;
    if let Some(stage) = fragment.bound.last() {
        let _ = table.last_stage.set((stage.clone(), fragment.digest));
    }
    let opening = Arc::new(table.timed_copy(|| opening(&fragment, task.grid.threads))?);
    drop(fragment);
    let readers = (0..task.grid.processes)
        .map(|i| {
            let opening = opening.clone();
            let supervising = table.supervising();
            threads::start(format!("etl-child-{i}"), move || {
                supervising.table().supervise_child(&opening);
            })
        })
        .collect::<Result<Vec<_>>>()?;
    // An error in opening comes before one in the input, as under every executor.
    table.wait_until_ready()?;
    table.window.feed(task.input, |number, batch, task| {
        table.push(Waiting::new(number, batch, task));
    });
    Ok(readers)
}

fn opening(fragment: &BoundFragment, threads: usize) -> Result<Vec<Frame>> {
    let hello = Hello {
        bound: fragment.bound.clone(),
        threads,
        digest: fragment.digest,
        processes: fragment.processes,
        broadcast: fragment
            .broadcast
            .iter()
            .map(|inputs| inputs.iter().map(Option::is_some).collect())
            .collect(),
    };
    let mut frames = vec![Frame::new(None, || hello)?];
    for batch in fragment.broadcast.iter().flatten().flatten() {
        frames.push(Frame::new(Some(batch), || ())?);
    }
    Ok(frames)
}
