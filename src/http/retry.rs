//! When a request is sent again: a policy that is data, and the loop that follows it. A wait is random between half
//! and all of a delay that doubles up to a maximum, so that those who were refused together do not come back
//! together.

use std::time::Duration;

use crate::error::Result;

/// How often, and after which waits, a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first delay.
    pub delay: Duration,
    /// The longest.
    pub delay_max: Duration,
    /// How many tries after the first.
    pub retries: u32,
}

/// With these statuses a server says that it has carried out nothing, and that it may later.
const REFUSED: [u16; 2] = [429, 503];
/// With these it, or one between it and us, does not know.
const UNCLEAR: [u16; 4] = [408, 425, 502, 504];

/// Whether another try may help after this status. What is not `repeatable` is tried again only where nothing of it was
/// carried out.
pub fn retries_on(status: u16, repeatable: bool) -> bool {
    REFUSED.contains(&status) || repeatable && UNCLEAR.contains(&status)
}

/// What one try came to.
pub enum Tried<T, F> {
    /// There is no other try.
    Done(T),
    /// Another try may help; the server may ask to be left alone for a time.
    Again(F, Option<Duration>),
}

impl RetryPolicy {
    /// Of options in milliseconds.
    pub fn of_ms(retries: u32, delay_ms: u64, delay_ms_max: u64) -> Self {
        RetryPolicy {
            delay: Duration::from_millis(delay_ms),
            delay_max: Duration::from_millis(delay_ms_max),
            retries,
        }
    }

    /// The same with `most` tries after the first at most.
    #[must_use]
    pub fn at_most(self, most: u32) -> Self {
        RetryPolicy {
            retries: self.retries.min(most),
            ..self
        }
    }

    /// Tries until that is done; or what the last of all tries came to, and how many there were. `pause` waits
    /// between two: it gets what the last one came to, how many there were, and the time. An error ends it.
    pub fn run<T, F>(
        &self,
        mut attempt: impl FnMut() -> Result<Tried<T, F>>,
        mut pause: impl FnMut(&F, u32, Duration) -> Result<()>,
    ) -> Result<Result<T, (F, u32)>> {
        let mut tries = 0;
        loop {
            let (failure, retry_after) = match attempt()? {
                Tried::Done(done) => return Ok(Ok(done)),
                Tried::Again(failure, retry_after) => (failure, retry_after),
            };
            tries += 1;
            match self.wait(tries, retry_after) {
                Some(wait) => pause(&failure, tries, wait)?,
                None => return Ok(Err((failure, tries))),
            }
        }
    }

    /// The wait before try `n` (from 1) beside the first; what the server asks for is honoured up to
    /// the longest delay. `None`: there is no such try.
    pub fn wait(&self, n: u32, retry_after: Option<Duration>) -> Option<Duration> {
        self.wait_at(n, retry_after, fastrand::f64())
    }

    fn wait_at(&self, n: u32, retry_after: Option<Duration>, chance: f64) -> Option<Duration> {
        if n > self.retries {
            return None;
        }
        let doubled = 2_u32.saturating_pow(n.saturating_sub(1));
        let delay = self.delay.saturating_mul(doubled).min(self.delay_max);
        let wait = delay.mul_f64(0.5 + chance / 2.0);
        Some(wait.max(retry_after.unwrap_or_default().min(self.delay_max)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_end() {
        let policy = RetryPolicy {
            delay: Duration::from_millis(100),
            delay_max: Duration::from_millis(350),
            retries: 3,
        };
        let wait = |n, chance| policy.wait_at(n, None, chance).map(|wait| wait.as_millis());
        assert_eq!(wait(1, 0.0), Some(50));
        assert_eq!(wait(1, 1.0), Some(100));
        assert_eq!(wait(2, 1.0), Some(200));
        assert_eq!(wait(3, 1.0), Some(350));
        assert_eq!(wait(3, 0.0), Some(175));
        assert_eq!(wait(4, 1.0), None);
    }

    #[test]
    fn a_server_is_left_alone_as_long_as_it_asks() {
        let policy = RetryPolicy {
            delay: Duration::from_millis(100),
            delay_max: Duration::from_secs(30),
            retries: 3,
        };
        let asked = |seconds| policy.wait_at(1, Some(Duration::from_secs(seconds)), 1.0);
        assert_eq!(asked(2), Some(Duration::from_secs(2)));
        assert_eq!(asked(0), Some(Duration::from_millis(100)));
        assert_eq!(asked(3600), Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_status_says_whether_another_try_may_help() {
        let on = |repeatable| (200..600).filter(move |status| retries_on(*status, repeatable));
        assert!(on(false).eq([429, 503]));
        assert!(on(true).eq([408, 425, 429, 502, 503, 504]));
    }

    #[test]
    fn it_tries_until_that_is_done_or_there_are_no_more_tries() {
        let policy = RetryPolicy {
            delay: Duration::ZERO,
            delay_max: Duration::ZERO,
            retries: 3,
        };
        let done_at = |policy: RetryPolicy, done: u32| {
            let (mut tried, mut paused) = (0, Vec::new());
            let attempt = || {
                tried += 1;
                Ok(match tried {
                    at if at == done => Tried::Done(at),
                    at => Tried::Again(at, None),
                })
            };
            let pause = |failure: &u32, tries, _| {
                paused.push((*failure, tries));
                Ok(())
            };
            let came = policy.run(attempt, pause).expect("nothing ends it");
            (came, paused)
        };
        assert_eq!(done_at(policy, 1), (Ok(1), vec![]));
        assert_eq!(done_at(policy, 3), (Ok(3), vec![(1, 1), (2, 2)]));
        let all = vec![(1, 1), (2, 2), (3, 3)];
        assert_eq!(done_at(policy, 9), (Err((4, 4)), all));
        assert_eq!(done_at(policy.at_most(0), 9), (Err((1, 1)), vec![]));
    }
}
