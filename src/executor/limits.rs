//! How many batches of a stage that talks to the outside are in flight. It starts at one and doubles
//! until the other side shows that it has enough, then adds one a round trip; it halves, at most once a
//! round trip, where the other side refused some, and comes back to where that was only after a while; and
//! it takes a step back where more at once brought no more rows a second. (Slow start and additive increase
//! are those of TCP, RFC 5681; staying for a while below what was refused is that of RFC 9438.)

use std::time::Duration;

/// A step up is worth it if it brings this many times the rows a second.
const GAIN_MIN: f64 = 1.02;
/// Round trips before a step that brought nothing, or was refused, is tried again.
const HOLD: u32 = 16;
/// Rounds are measured over at least this long: shorter ones say nothing.
const ROUND_MIN: Duration = Duration::from_millis(50);
/// A step brought nothing only if it did not in so many round trips: one alone may have met a pause.
const DOUBTFUL_ROUNDS: usize = 4;

/// The limit, and what it is judged by.
#[derive(Debug)]
pub(super) struct ConcurrencyLimit {
    limit: usize,
    max: usize,
    doubling: bool,
    /// The other limit of which it is yet to be seen whether it serves better.
    rival: Option<Level>,
    /// The limit at which the other side refused some.
    refused: Option<usize>,
    hold: u32,
    round: Round,
    /// Batches with rows below this were on their way when the limit was halved.
    halved_at: u64,
}

/// A limit, and the rows a second that it brought.
#[derive(Debug, Clone, Copy)]
struct Level {
    limit: usize,
    rate: f64,
}

/// As many batches as may be in flight, and at least [`ROUND_MIN`].
#[derive(Debug, Default)]
struct Round {
    from: Option<Duration>,
    batches: usize,
    rows: u64,
}

impl ConcurrencyLimit {
    /// At most `max` batches in flight.
    pub(super) fn new(max: usize) -> Self {
        ConcurrencyLimit {
            limit: 1,
            max,
            doubling: true,
            rival: None,
            refused: None,
            hold: 0,
            round: Round::default(),
            halved_at: 0,
        }
    }

    /// How many may be in flight now.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The batch that begins with `row` met with a refusal, or waited too long; `next_row` is the first
    /// one that is yet to be dispatched.
    pub(super) fn refused_at(&mut self, row: u64, next_row: u64) {
        self.doubling = false;
        if row >= self.halved_at {
            self.refused = Some(self.limit);
            self.limit = (self.limit / 2).max(1);
            self.halved_at = next_row;
            self.rival = None;
            self.hold = 0;
            self.round = Round::default();
        }
    }

    /// The batch of `rows` rows that begins with `row` is back.
    pub(super) fn completed(&mut self, row: u64, rows: u64, now: Duration) {
        let Some(from) = self.round.from.filter(|_| row >= self.halved_at) else {
            // Its own time began before.
            self.round.from = Some(now);
            return;
        };
        self.round.batches += 1;
        self.round.rows += rows;
        let time = now.saturating_sub(from);
        if self.round.batches < self.limit || time < ROUND_MIN {
            return;
        }
        let here = Level {
            limit: self.limit,
            rate: self.round.rows as f64 / time.as_secs_f64(),
        };
        let is_better = |than: Level| here.rate >= than.rate * GAIN_MIN;
        let is_doubtful = self.round.batches < self.limit * DOUBTFUL_ROUNDS;
        match self.rival {
            // A step up, or one back that is taken to see whether the one up was worth it.
            Some(below) if below.limit < self.limit && is_better(below) => self.step_up(here),
            Some(_) if is_doubtful => return,
            Some(below) if below.limit < self.limit => {
                self.limit = below.limit;
                self.doubling = false;
                self.rival = Some(here);
            }
            Some(above) => {
                if above.rate >= here.rate * GAIN_MIN {
                    self.limit = above.limit;
                }
                self.rival = None;
                self.hold = HOLD;
            }
            None if self.hold > 0 => self.hold -= 1,
            None => self.step_up(here),
        }
        self.round = Round {
            from: Some(now),
            ..Round::default()
        };
    }

    fn step_up(&mut self, here: Level) {
        let more = if self.doubling {
            self.limit * 2
        } else {
            self.limit + 1
        };
        let more = more.min(self.max);
        self.rival = None;
        if self.refused.take_if(|refused| more >= *refused).is_some() {
            self.hold = HOLD;
        } else if more > self.limit {
            self.rival = Some(here);
            self.limit = more;
        }
    }
}

/// A minimum time between batches, where the pipeline file limits the rate.
#[derive(Debug)]
pub(super) struct RateLimiter {
    every: Duration,
    next: Duration,
}

impl RateLimiter {
    /// At least `every` between two batches.
    pub(super) fn new(every: Duration) -> Self {
        RateLimiter {
            every,
            next: Duration::ZERO,
        }
    }

    /// The time until the next batch's turn; zero: it is its turn, and it is taken.
    pub(super) fn turn(&mut self, now: Duration) -> Duration {
        let left = self.next.saturating_sub(now);
        if left.is_zero() {
            self.next = self.after(now);
        }
        left
    }

    /// Others took so many turns: dispatched batches make room for them.
    pub(super) fn skip(&mut self, turns: u64) {
        self.next += self.every * u32::try_from(turns).unwrap_or(u32::MAX);
    }

    /// When the turn after one taken `now` comes: a turn taken a little late makes up for it, a pause does not.
    fn after(&self, now: Duration) -> Duration {
        if now < self.next + self.every {
            self.next + self.every
        } else {
            now + self.every
        }
    }
}

/// How requests are dispatched ahead: half as many as the workers send at once wait besides, so that the feeder is woken
/// for several of them and not for each.
pub(super) struct DispatchAhead {
    /// How many may be worked on, or wait for a worker, where they have no pace.
    most: usize,
    /// When no more are left the feeder is woken.
    pub(super) few: usize,
    /// The least time between two.
    pub(super) every: Duration,
}

impl DispatchAhead {
    pub(super) fn new(workers: usize, every: Duration) -> Self {
        let ahead = if every.is_zero() { workers / 2 } else { 0 };
        let most = workers + ahead;
        DispatchAhead {
            most,
            few: most - ahead / 2 - 1,
            every,
        }
    }

    /// How many may be worked on, or wait for a worker. What has a pace waits for none: it would be made at
    /// once with others that waited too.
    pub(super) fn at_once(&self, workers_open: usize) -> usize {
        if self.every.is_zero() {
            self.most
        } else {
            workers_open
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server for which `n` requests at once take `time(n)` each, and which refuses beyond `most`.
    fn simulate(max: usize, most: usize, rounds: usize, time: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut concurrency = ConcurrencyLimit::new(max);
        let (mut now, mut row, mut limits) = (Duration::ZERO, 0, Vec::new());
        for _ in 0..rounds {
            let at_once = concurrency.limit();
            limits.push(at_once);
            let all = row..row + 500 * at_once as u64;
            if at_once > most {
                concurrency.refused_at(row, all.end);
            }
            now += Duration::from_secs_f64(time(at_once));
            for row in all.clone().step_by(500) {
                concurrency.completed(row, 500, now);
            }
            row = all.end;
        }
        limits
    }

    #[test]
    fn a_rate_is_kept_whatever_the_turns_were_late() {
        let ms = Duration::from_millis;
        let rate = |next| RateLimiter {
            every: ms(100),
            next: ms(next),
        };
        assert_eq!(rate(0).after(ms(0)), ms(100));
        assert_eq!(rate(300).after(ms(330)), ms(400), "made up for");
        assert_eq!(rate(300).after(ms(900)), ms(1000), "no burst after a pause");
    }

    #[test]
    fn it_doubles_up_to_the_workers_where_that_brings_more() {
        let limits = simulate(8, 8, 40, |_| 0.1);
        assert_eq!(limits.first(), Some(&1));
        assert_eq!(limits.last(), Some(&8));
        let mut steps = limits.clone();
        steps.dedup();
        assert_eq!(steps, [1, 2, 4, 8]);
    }

    #[test]
    fn it_halves_once_a_round_trip_and_never_goes_below_one() {
        let limits = simulate(8, 4, 60, |_| 0.1);
        assert_eq!(limits.iter().max(), Some(&8), "it has to find out");
        let fell = limits.windows(2).filter(|two| two[1] < two[0]);
        assert!(fell.clone().all(|two| two[1] == two[0] / 2), "{limits:?}");
        assert!(fell.count() >= 1);
        assert_eq!(simulate(8, 0, 30, |_| 0.1).last(), Some(&1));
    }

    #[test]
    fn a_step_that_brings_nothing_is_taken_back() {
        // One request at a time is all that the server does.
        let limits = simulate(8, 8, 60, |n| 0.1 * n as f64);
        let last = &limits[limits.len() - 10..];
        assert!(last.iter().all(|&limit| limit <= 2), "{limits:?}");
    }

    #[test]
    fn what_was_refused_is_tried_again_only_after_a_while() {
        for most in [1, 2, 6] {
            let limits = simulate(8, most, 400, |_| 0.1);
            let served: usize = limits.iter().map(|&limit| limit.min(most)).sum();
            let over = limits.iter().filter(|&&limit| limit > most).count();
            assert!(served * 10 >= most * 400 * 9, "{most}: {served} in 400");
            assert!((2..40).contains(&over), "{most}: {over} times refused");
        }
    }

    #[test]
    fn a_pause_of_the_server_is_no_reason_to_step_back_for_long() {
        // It serves four at once as fast as one, but stands still for a second every now and then.
        let turn = std::cell::Cell::new(0);
        let limits = simulate(4, 4, 300, |_| {
            turn.set(turn.get() + 1);
            if turn.get() % 7 == 3 { 1.1 } else { 0.1 }
        });
        let at = limits.iter().filter(|&&limit| limit == 4).count();
        assert!(at >= 240, "{at} of 300: {limits:?}");
    }
}
