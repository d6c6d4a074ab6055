//! A pool of threads that take jobs from one queue, first come first served, and sleep while there is none.
//!
//! The threads are rayon's; its own queues are not used: a rayon worker without work looks for some at every
//! other's in turn, dozens of times, before it sleeps. Where jobs wait for somebody outside, and there are
//! many workers, that is more work than the jobs themselves.

use crossbeam_channel::{Sender, unbounded};

use crate::error::Result;
use crate::schema::count as in_words;
use crate::threads;

/// The threads; when it goes, they do what is in the queue, and end.
pub(super) struct Pool {
    jobs: Sender<Job>,
    _threads: rayon::ThreadPool,
}

type Job = Box<dyn FnOnce() + Send>;

impl Pool {
    /// So many threads, called `name` and a number.
    pub(super) fn new(count: usize, name: String) -> Result<Self> {
        threads::room_for(count)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(move |i| format!("{name}-{i}"))
            .build()
            .map_err(|error| threads::refused(in_words(count, "thread"), error))?;
        let (jobs, queue) = unbounded::<Job>();
        pool.spawn_broadcast(move |_| queue.iter().for_each(|job| job()));
        Ok(Pool {
            jobs,
            _threads: pool,
        })
    }

    /// Has a job done as soon as a thread is free.
    pub(super) fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        // The threads take from it as long as this can send.
        let _ = self.jobs.send(Box::new(job));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::Pool;

    #[test]
    fn what_is_in_the_queue_is_done_in_its_order_when_the_pool_goes() {
        for threads in [1, 3] {
            let (send, done) = mpsc::channel();
            let pool = Pool::new(threads, "test".into()).expect("threads can be started");
            for number in 0..100 {
                let send = send.clone();
                pool.spawn(move || send.send(number).expect("the channel is open"));
            }
            drop((pool, send));
            let mut done: Vec<i32> = done.iter().collect();
            if threads > 1 {
                done.sort_unstable();
            }
            assert!(done.into_iter().eq(0..100), "with {threads} threads");
        }
    }
}
