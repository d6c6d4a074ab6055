//! Threads: a feeder takes batches from upstream and spawns them on a pool of its own.

use std::sync::Arc;

use super::ordered::{self, Ordered, joined};
use super::pool::Pool;
use super::window::Window;
use super::{Results, Task, close, open};
use crate::error::Result;
use crate::fragment::OpenFragment;
use crate::stage::Backpressure;

/// Works on a stream with `task.grid.threads` threads.
pub(super) fn map(task: Task) -> Results {
    let window = Window::new(&task, task.grid.threads);
    let costs = task.costs.clone();
    let fed = window.clone();
    let (name, above) = (task.name.clone(), task.above);
    let feeder = ordered::start(&window, (&name, above), move || feed(task, &fed));
    Box::new(Ordered::new(window, move || {
        match Arc::try_unwrap(joined(feeder)?) {
            Ok(open_fragment) => close(open_fragment, &costs),
            Err(_) => unreachable!("tasks drop the fragment before their result is seen"),
        }
    }))
}

fn feed(task: Task, window: &Arc<Window>) -> Result<Arc<OpenFragment>> {
    let mut fragment = (task.prepare)()?;
    let backpressure = window.clone();
    fragment.backpressure = Backpressure::new(move |row| backpressure.on_backpressure(row));
    let open_fragment = Arc::new(open(fragment, &task.costs)?);
    let pool = Pool::new(task.grid.threads, format!("etl-{}", task.name))?;
    window.feed(task.input, |number, batch, task| {
        let (open_fragment, window) = (open_fragment.clone(), window.clone());
        pool.spawn(move || {
            let mut next = window.wants(number).then(|| open_fragment.run(batch, task));
            while let Some(mut outcome) = next.take() {
                let Some(rest) = outcome.rest.take() else {
                    // Before the result is seen: whoever sees the last one closes the sessions.
                    drop(open_fragment);
                    return window.fill(number, outcome);
                };
                window.fill_part(number, outcome);
                // Those before it were begun before it: whoever is first never waits for a thread.
                next = window
                    .wait_to_go_on(number)
                    .then(|| open_fragment.go_on(rest));
            }
        });
    });
    Ok(open_fragment)
}
