//! Threads: a feeder takes batches from upstream and spawns them on a rayon pool of its own.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::window::Window;
use super::{Deal, Results, SharedCosts, close, open};
use crate::error::{Error, Result};
use crate::hand::{Hand, Played};

/// Works on a stream with `deal.grid.threads` threads.
pub(super) fn map(deal: Deal) -> Results {
    let window = Arc::new(Window::new(deal.grid.threads, deal.stop.clone()));
    let costs = deal.costs.clone();
    let fed = window.clone();
    let feeder = std::thread::Builder::new()
        .name(format!("etl-feed-{}", deal.name))
        .spawn(move || {
            // Ends the window on a panic too: nobody may wait for ever.
            let _ending = Ending(&fed);
            feed(deal, &fed)
        });
    Box::new(Threads {
        window,
        feeder: Some(feeder),
        costs,
    })
}

/// A thread that ended, with the open sessions if it got that far.
type Feeder = std::io::Result<JoinHandle<Result<Arc<Hand>>>>;

struct Threads {
    window: Arc<Window>,
    feeder: Option<Feeder>,
    costs: SharedCosts,
}

/// Ends the window when it goes.
pub(super) struct Ending<'a>(pub(super) &'a Window);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn feed(deal: Deal, window: &Arc<Window>) -> Result<Arc<Hand>> {
    let hand = Arc::new(open((deal.prepare)()?, &deal.costs)?);
    let name = deal.name;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(deal.grid.threads)
        .thread_name(move |i| format!("etl-{name}-{i}"))
        .build()
        .map_err(|error| {
            Error::failed(format!("cannot start {} threads", deal.grid.threads)).cause(error)
        })?;
    let mut input = deal.input;
    while window.room() {
        match input.next() {
            None => break,
            Some(Err(error)) => {
                let number = window.take_place(0);
                window.fill(number, Played::failed(error));
                break;
            }
            Some(Ok(batch)) => {
                let number = window.take_place(batch.size());
                let (hand, window) = (hand.clone(), window.clone());
                pool.spawn_fifo(move || {
                    let played = hand.play(batch);
                    // Before the result is seen: whoever sees the last one closes the sessions.
                    drop(hand);
                    window.fill(number, played);
                });
            }
        }
    }
    Ok(hand)
}

impl Threads {
    /// Behind the last result: the feeder's own error, if it had one, and the sessions' last words.
    fn end(&mut self) -> Result<()> {
        let Some(feeder) = self.feeder.take() else {
            return Ok(());
        };
        let feeder = feeder.map_err(|error| Error::failed("cannot start a thread").cause(error))?;
        let hand = feeder
            .join()
            .map_err(|_| Error::failed("a source panicked").hint("this is a bug in etl"))??;
        match Arc::try_unwrap(hand) {
            Ok(hand) => close(hand, &self.costs),
            Err(_) => unreachable!("tasks let go of the hand before their result is seen"),
        }
    }
}

impl Iterator for Threads {
    type Item = Played;

    fn next(&mut self) -> Option<Played> {
        self.feeder.as_ref()?;
        let played = match self.window.next() {
            Ok(Some(played)) => Some(played),
            Ok(None) => self.end().err().map(Played::failed),
            Err(error) => Some(Played::failed(error)),
        };
        if played.as_ref().is_none_or(|played| played.batch.is_err()) {
            self.feeder = None;
        }
        played
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.window.close();
    }
}
