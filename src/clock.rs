//! What time a piece of work took: on the wall, on the processor, and waiting for one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The date and time of day, whatever the machine's clock says.
pub fn now() -> DateTime<Utc> {
    date(SystemTime::now())
}

/// A date of the system, such as a file's. One outside the years 0 to 9999, which nobody can read, becomes
/// the nearest of them.
pub fn date(time: SystemTime) -> DateTime<Utc> {
    let after = time.duration_since(UNIX_EPOCH);
    let (is_before, since) = match after {
        Ok(since) => (false, since),
        Err(before) => (true, before.duration()),
    };
    let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    let micros = if is_before { -micros } else { micros };
    let micros = micros.clamp(DATE_MICROS.0, DATE_MICROS.1);
    DateTime::from_timestamp_micros(micros).expect("the years 0 to 9999 are dates")
}

/// The beginning of year 0 and the end of year 9999, in microseconds since 1970.
const DATE_MICROS: (i64, i64) = (-62_167_219_200_000_000, 253_402_300_799_999_999);

/// Time since some fixed moment, the same in all processes of this machine.
pub fn monotonic() -> Duration {
    read(ClockId::CLOCK_MONOTONIC)
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// One or several pieces of work, added up. It goes through pipes with every batch: as nanoseconds, in the
/// order of the fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[Option<u64>; 5]", into = "[Option<u64>; 5]")]
pub struct Span {
    /// When the first began, by [`monotonic`].
    pub from: Option<Duration>,
    /// When the last ended.
    pub to: Duration,
    /// Time inside, of all workers.
    pub busy: Duration,
    /// Processor time.
    pub cpu: Duration,
    /// Time ready to run, but waiting for a processor (Linux only).
    pub queued: Duration,
}

impl From<Span> for [Option<u64>; 5] {
    fn from(span: Span) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let rest = [span.to, span.busy, span.cpu, span.queued].map(|time| Some(nanos(time)));
        let [to, busy, cpu, queued] = rest;
        [span.from.map(nanos), to, busy, cpu, queued]
    }
}

impl From<[Option<u64>; 5]> for Span {
    fn from(nanos: [Option<u64>; 5]) -> Self {
        let [from, to, busy, cpu, queued] = nanos.map(|nanos| nanos.map(Duration::from_nanos));
        Span {
            from,
            to: to.unwrap_or_default(),
            busy: busy.unwrap_or_default(),
            cpu: cpu.unwrap_or_default(),
            queued: queued.unwrap_or_default(),
        }
    }
}

impl Span {
    /// Adds another piece of work.
    pub fn add(&mut self, other: &Span) {
        self.from = match (self.from, other.from) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
        self.to = self.to.max(other.to);
        self.busy += other.busy;
        self.cpu += other.cpu;
        self.queued += other.queued;
    }

    /// From the first work to the last.
    pub fn wall(&self) -> Duration {
        self.from
            .map_or(Duration::ZERO, |from| self.to.saturating_sub(from))
    }

    /// Time inside that was neither spent on a processor nor waiting for one.
    pub fn waited(&self) -> Duration {
        self.busy
            .saturating_sub(self.cpu)
            .saturating_sub(self.queued)
    }
}

/// Measures one piece of work on the calling thread.
pub struct Meter {
    from: Duration,
    cpu: Duration,
    queued: Duration,
}

impl Meter {
    /// Begins.
    pub fn start() -> Meter {
        Meter {
            queued: queued(),
            cpu: read(ClockId::CLOCK_THREAD_CPUTIME_ID),
            from: monotonic(),
        }
    }

    /// Ends.
    pub fn stop(self) -> Span {
        let to = monotonic();
        let cpu = read(ClockId::CLOCK_THREAD_CPUTIME_ID);
        Span {
            from: Some(self.from),
            to,
            busy: to.saturating_sub(self.from),
            cpu: cpu.saturating_sub(self.cpu),
            queued: queued().saturating_sub(self.queued),
        }
    }
}

/// The calling thread's time in the run queue so far.
fn queued() -> Duration {
    thread_local! {
        /// Opening it costs more than reading it, and it is read twice a batch.
        static STATISTICS: Option<File> = File::open("/proc/thread-self/schedstat").ok();
    }
    // Three numbers of twenty digits at most.
    let mut text = [0; 64];
    let length = STATISTICS.with(|file| file.as_ref()?.read_at(&mut text, 0).ok());
    let text = std::str::from_utf8(&text[..length.unwrap_or_default()]).unwrap_or_default();
    let nanos = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// Processor time of this process and of its children that have ended.
pub fn process_cpu() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};
    let of = |who| {
        getrusage(who).map_or(Duration::ZERO, |usage| {
            [usage.user_time(), usage.system_time()]
                .iter()
                .map(|time| {
                    let micros = u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec())
                        .unwrap_or_default();
                    Duration::from_micros(micros)
                })
                .sum()
        })
    };
    of(UsageWho::RUSAGE_SELF) + of(UsageWho::RUSAGE_CHILDREN)
}

/// The most memory this process ever held, in bytes. (`ru_maxrss` of a child starts at its parent's.)
pub fn peak_rss_bytes() -> u64 {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return 0;
    };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_nobody_can_read_becomes_the_nearest_that_can_be() {
        let of = |seconds: i64| {
            let since = Duration::from_secs(seconds.unsigned_abs());
            let time = if seconds < 0 {
                UNIX_EPOCH.checked_sub(since)
            } else {
                UNIX_EPOCH.checked_add(since)
            };
            date(time.expect("the system counts so far")).to_rfc3339()
        };
        assert_eq!(of(-1), "1969-12-31T23:59:59+00:00");
        assert_eq!(of(951_782_400), "2000-02-29T00:00:00+00:00");
        assert_eq!(of(i64::MAX / 2), "9999-12-31T23:59:59.999999+00:00");
        assert_eq!(of(i64::MIN / 2), "0000-01-01T00:00:00+00:00");
    }
}
