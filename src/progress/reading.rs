//! How long it will take to read the rest of an input, from how fast it was read lately. Positions are
//! those in the files as they lie there: in a gzipped one, in the compressed bytes.

use std::collections::VecDeque;
use std::time::Duration;

/// Only what was read in this time counts: an input comes to a halt while a join's right side is read, and
/// goes on at another speed. Longer, and a change shows too late; shorter, and reading in fits shows.
const LATELY: Duration = Duration::from_secs(30);
/// Less than this says nothing.
const LEAST: Duration = Duration::from_secs(1);

/// Where reading stood, and when.
#[derive(Debug, Default)]
pub(super) struct Reading(VecDeque<(Duration, u64)>);

impl Reading {
    /// By now so many bytes were read.
    pub(super) fn saw(&mut self, now: Duration, bytes: u64) {
        if bytes == 0 {
            // The time before the first ones come is that of others, or of a beginning that does not come again.
            self.0.clear();
        }
        let before = self.0.back().map_or(0, |(_, bytes)| *bytes);
        self.0.push_back((now, bytes.max(before)));
        // The oldest one is from before that time, so that all of it is covered.
        while self.0.get(1).is_some_and(|(at, _)| *at + LATELY <= now) {
            self.0.pop_front();
        }
    }

    /// How long the rest of `total` bytes will take; `None`: nothing was read lately, or it is too soon.
    pub(super) fn left(&self, total: u64) -> Option<Duration> {
        let (from, first) = *self.0.front()?;
        let (to, last) = *self.0.back()?;
        let (took, read) = (to.checked_sub(from)?, last.checked_sub(first)?);
        if took < LEAST || read == 0 {
            return None;
        }
        let rest = total.saturating_sub(last) as f64 / read as f64;
        Duration::try_from_secs_f64(took.as_secs_f64() * rest).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Speed = fn(u64) -> u64;

    const TOTAL: u64 = 1_000_000_000;

    /// Reads all, `speed` bytes a second at each position; the estimate and the truth, ten times a second.
    fn read(speed: impl Fn(u64) -> u64) -> Vec<(Duration, Option<Duration>, Duration)> {
        let tick = Duration::from_millis(100);
        let mut positions = vec![0];
        while let Some(&at) = positions.last().filter(|&&at| at < TOTAL) {
            positions.push((at + speed(at) / 10).min(TOTAL));
        }
        let mut reading = Reading::default();
        let end = tick * u32::try_from(positions.len() - 1).expect("tests are short");
        let mut now = Duration::ZERO;
        let mut estimate = Vec::new();
        for position in positions {
            reading.saw(now, position);
            estimate.push((now, reading.left(TOTAL), end.saturating_sub(now)));
            now += tick;
        }
        estimate
    }

    #[test]
    fn the_rest_is_told_within_a_factor_of_two() {
        // What a gzipped file's compressed bytes take changes with what is in them.
        let speeds: [(&str, Speed); 4] = [
            ("even", |_| 10_000_000),
            ("slower, then faster", |at| {
                if at < TOTAL / 2 {
                    8_000_000
                } else {
                    13_000_000
                }
            }),
            ("slower and slower", |at| 12_000_000 - 5 * (at / 1000)),
            ("in turns", |at| {
                if at / 20_000_000 % 2 == 0 {
                    6_000_000
                } else {
                    18_000_000
                }
            }),
        ];
        for (name, speed) in speeds {
            for (now, estimate, truth) in read(speed) {
                let estimate = estimate.map(|estimate| estimate.as_secs_f64());
                if now < LEAST {
                    assert_eq!(estimate, None, "{name}");
                    continue;
                }
                // The last seconds are of no account.
                let (estimate, truth) = (estimate.expect("it goes on"), truth.as_secs_f64());
                let right = estimate <= 2.0 * truth + 2.0 && estimate >= truth / 2.0 - 2.0;
                assert!(
                    right,
                    "{name}, after {now:?}: {estimate} s, in truth {truth} s"
                );
            }
        }
    }

    #[test]
    fn a_late_beginning_does_not_count() {
        let mut reading = Reading::default();
        for second in 0..20 {
            reading.saw(Duration::from_secs(second), 0);
        }
        for second in 20..25 {
            reading.saw(Duration::from_secs(second), 1000 * (second - 19));
        }
        assert_eq!(reading.left(10_000), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_halt_is_no_estimate_and_is_forgotten() {
        let mut reading = Reading::default();
        for second in 0..10 {
            reading.saw(Duration::from_secs(second), 1000 * second);
        }
        assert_eq!(reading.left(10_000), Some(Duration::from_secs(1)));
        for second in 10..100 {
            reading.saw(Duration::from_secs(second), 9000);
        }
        assert_eq!(reading.left(10_000), None);
        // Ten times as fast: the halt is out of sight after a while.
        for second in 100..200 {
            reading.saw(Duration::from_secs(second), 9000 + 10_000 * (second - 99));
        }
        assert_eq!(reading.left(2_009_000), Some(Duration::from_secs(100)));
    }
}
