//! Threads: a feeder takes batches from upstream and spawns them on a pool of its own.

use std::sync::Arc;

use super::ordered::{self, Ordered, joined};
use super::pool::Pool;
use super::window::Window;
use super::{Deal, Results, close, open};
use crate::error::Result;
use crate::hand::Hand;
use crate::stage::Strain;

/// Works on a stream with `deal.grid.threads` threads.
pub(super) fn map(deal: Deal) -> Results {
    let window = Arc::new(Window::new(&deal, deal.grid.threads));
    let costs = deal.costs.clone();
    let fed = window.clone();
    let feeder = ordered::start(&window, &deal.name.clone(), move || feed(deal, &fed));
    Box::new(Ordered::new(window, move || {
        match Arc::try_unwrap(joined(feeder)?) {
            Ok(hand) => close(hand, &costs),
            Err(_) => unreachable!("tasks let go of the hand before their result is seen"),
        }
    }))
}

fn feed(deal: Deal, window: &Arc<Window>) -> Result<Arc<Hand>> {
    let mut chain = (deal.prepare)()?;
    let strained = window.clone();
    chain.strain = Strain::new(move |row| strained.strained(row));
    let hand = Arc::new(open(chain, &deal.costs)?);
    let pool = Pool::new(deal.grid.threads, format!("etl-{}", deal.name))?;
    window.feed(deal.input, |number, batch| {
        let (hand, window) = (hand.clone(), window.clone());
        pool.spawn(move || {
            let mut next = window.wants(number).then(|| hand.play(batch));
            while let Some(mut played) = next.take() {
                let Some(rest) = played.rest.take() else {
                    // Before the result is seen: whoever sees the last one closes the sessions.
                    drop(hand);
                    return window.fill(number, played);
                };
                window.fill_part(number, played);
                // Those before it were begun before it: whoever is first never waits for a thread.
                next = window.wait_to_go_on(number).then(|| hand.go_on(rest));
            }
        });
    });
    Ok(hand)
}
