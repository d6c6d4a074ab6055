//! How long to wait before another try: random between half and all of a delay that doubles up to a
//! maximum, so that those who were refused together do not come back together.

use std::time::Duration;

/// Waits of one who tries again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay.
    pub delay: Duration,
    /// The longest.
    pub delay_max: Duration,
    /// How many tries after the first.
    pub retries: u32,
}

impl Backoff {
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
        let backoff = Backoff {
            delay: Duration::from_millis(100),
            delay_max: Duration::from_millis(350),
            retries: 3,
        };
        let wait = |n, chance| {
            backoff
                .wait_at(n, None, chance)
                .map(|wait| wait.as_millis())
        };
        assert_eq!(wait(1, 0.0), Some(50));
        assert_eq!(wait(1, 1.0), Some(100));
        assert_eq!(wait(2, 1.0), Some(200));
        assert_eq!(wait(3, 1.0), Some(350));
        assert_eq!(wait(3, 0.0), Some(175));
        assert_eq!(wait(4, 1.0), None);
    }

    #[test]
    fn a_server_is_left_alone_as_long_as_it_asks() {
        let backoff = Backoff {
            delay: Duration::from_millis(100),
            delay_max: Duration::from_secs(30),
            retries: 3,
        };
        let asked = |seconds| backoff.wait_at(1, Some(Duration::from_secs(seconds)), 1.0);
        assert_eq!(asked(2), Some(Duration::from_secs(2)));
        assert_eq!(asked(0), Some(Duration::from_millis(100)));
        assert_eq!(asked(3600), Some(Duration::from_secs(30)));
    }
}
