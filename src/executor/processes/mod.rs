//! Child processes: the program itself, started with the hidden subcommand `worker`.
//!
//! Parent and child talk in frames over the child's stdin and stdout: a JSON header and, where there
//! are rows, an Arrow IPC stream. The first frame says what to open; nothing is told by arguments or
//! environment, and the child opens no file of the parent's. At either end one thread reads and others
//! write, so that pipes never fill both ways. A child is told to close; where its stdin just ends it breaks
//! off, in the middle of a batch too: a killed parent leaves no orphan. What a child has begun outside, processes of its own or a
//! login, it ends first, and is given the time for that.

mod children;
pub mod frames;
mod keeper;
mod table;
mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;

use super::ordered::{self, Ordered};
use super::window::Window;
use super::{Deal, Results};
use crate::error::Result;
use crate::hand::Chain;
use crate::threads;

pub use children::Workers;
pub use worker::work;

use frames::{Frame, Hello};
use table::{Table, Waiting};

/// Works on a stream with `deal.grid.processes` children of `deal.grid.threads` threads each.
pub(super) fn map(deal: Deal) -> Results {
    let window = Arc::new(Window::new(&deal, 0));
    let table = Arc::new(Table::new(&deal, window));
    let fed = table.clone();
    let feeder = ordered::start(&table.window, &deal.name.clone(), move || feed(deal, &fed));
    Box::new(Ordered::new(table.window.clone(), move || {
        table.end(feeder)
    }))
}

/// The feeder's thread, which gives back those that keep the children.
type Feeder = ordered::Feeder<Vec<JoinHandle<()>>>;

/// The frames that open a child's sessions.
type Opening = Arc<Vec<Frame>>;

fn feed(deal: Deal, table: &Arc<Table>) -> Result<Vec<JoinHandle<()>>> {
    let chain = (deal.prepare)()?;
    if let Some(link) = chain.links.last() {
        let _ = table.told.set((link.clone(), chain.digest));
    }
    let opening = Arc::new(table.timed_copy(|| opening(&chain, deal.grid.threads))?);
    drop(chain);
    let readers = (0..deal.grid.processes)
        .map(|i| {
            let (table, opening) = (table.clone(), opening.clone());
            threads::start(format!("etl-child-{i}"), move || {
                table.keep_child(&opening);
            })
        })
        .collect::<Result<Vec<_>>>()?;
    // An error in opening comes before one in the input, as under every executor.
    table.wait_until_ready()?;
    table.window.feed(deal.input, |number, batch| {
        table.push(Waiting::new(number, batch));
    });
    Ok(readers)
}

fn opening(chain: &Chain, threads: usize) -> Result<Vec<Frame>> {
    let hello = Hello {
        links: chain.links.clone(),
        threads,
        digest: chain.digest,
        processes: chain.processes,
        broadcast: chain
            .broadcast
            .iter()
            .map(|inputs| inputs.iter().map(Option::is_some).collect())
            .collect(),
    };
    let mut frames = vec![Frame::new(None, || hello)?];
    for batch in chain.broadcast.iter().flatten().flatten() {
        frames.push(Frame::new(Some(batch), || ())?);
    }
    Ok(frames)
}
