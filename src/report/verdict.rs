//! Was it worth it? The arithmetic behind `etl compare` and `etl tune`: of given times and figures only, without
//! a look at a clock or a file.
//!
//! * **speedup**: before / after, on the wall. **efficiency**: speedup / workers.
//! * **worth it**: a speedup of at least three quarters of what the workers could bring, `0.75 x min(workers,
//!   cores)`: six times on eight cores. It says nothing of how much time was saved, which therefore always
//!   stands beside it.
//! * What **Amdahl** leaves: a stage that is now 71 % of the time lets all others together bring 1.4x at most.

use serde::{Deserialize, Serialize};

use super::StageReport;
use crate::schema::count;

/// The share of what its workers could bring that makes a stage worth it.
const WORTH_IT: f64 = 0.75;

/// Shorter times are taken for this: what a clock tells below it is chance, and nothing is divided by 0.
const RESOLUTION_S: f64 = 1e-6;

/// A stage that takes less than this is not worth a thought: threads alone take a part of it to begin.
pub const SHORT_S: f64 = 0.01;

/// The share of its time from which on a stage is bound by what takes it.
const MOST: f64 = 0.5;

/// The share of a stage's time from which on more workers cannot help, if one thread does that.
const NEARLY_ALL: f64 = 0.8;

/// The share of their time from which on workers that queue for a core are too many.
const MUCH: f64 = 0.25;

/// How many times as fast.
pub fn speedup(before_s: f64, after_s: f64) -> f64 {
    before_s.max(RESOLUTION_S) / after_s.max(RESOLUTION_S)
}

/// The share of what the workers could bring at best.
pub fn efficiency(speedup: f64, workers: usize) -> f64 {
    speedup / workers.max(1) as f64
}

/// Whether the workers bring enough of what they could.
pub fn worth_it(speedup: f64, workers: usize, cores: usize) -> bool {
    speedup >= WORTH_IT * workers.min(cores).max(1) as f64
}

/// How many times as fast the whole can be at most where this share of its time stays as it is.
pub fn amdahl(share: f64) -> f64 {
    1.0 / share.clamp(f64::MIN_POSITIVE, 1.0)
}

/// What several runs took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The middle one; of an even number the mean of the two middle ones.
    pub median_s: f64,
    /// The shortest.
    pub min_s: f64,
    /// The longest.
    pub max_s: f64,
}

impl Sample {
    /// Of each run's time, in any order; of none all is 0.
    pub fn of(times: impl IntoIterator<Item = f64>) -> Sample {
        let mut times: Vec<f64> = times.into_iter().collect();
        times.sort_by(f64::total_cmp);
        let (Some(&min_s), Some(&max_s)) = (times.first(), times.last()) else {
            return Sample::default();
        };
        let middle = times.len() / 2;
        let median_s = if times.len().is_multiple_of(2) {
            f64::midpoint(times[middle - 1], times[middle])
        } else {
            times[middle]
        };
        Sample {
            median_s,
            min_s,
            max_s,
        }
    }

    /// From the shortest to the longest, as a share of the middle.
    pub fn spread(&self) -> f64 {
        (self.max_s - self.min_s) / self.median_s.max(RESOLUTION_S)
    }

    /// Whether every run was faster than every one of `other`: so it is no chance.
    pub fn is_faster_than(&self, other: &Sample) -> bool {
        self.max_s < other.min_s
    }
}

/// What a change brought.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// How many times as fast, by the medians.
    pub speedup: f64,
    /// Workers of the side after.
    pub workers: usize,
    /// Cores of the machine.
    pub cores: usize,
    /// Speedup a worker.
    pub efficiency: f64,
    /// Whether that is enough.
    pub worth_it: bool,
    /// By the medians; negative if it takes longer.
    pub saved_s: f64,
    /// Whether other runs of the same could have said something else: faster or slower, worth it or not.
    pub doubtful: bool,
    /// Whether every run was faster, or none; `None`: chance decides.
    pub faster: Option<bool>,
}

impl Gain {
    /// Of `after` on so many workers beside `before`.
    pub fn of(before: &Sample, after: &Sample, workers: usize, cores: usize) -> Gain {
        let middle = speedup(before.median_s, after.median_s);
        let least = speedup(before.min_s, after.max_s);
        let most = speedup(before.max_s, after.min_s);
        let verdict = |speedup| worth_it(speedup, workers, cores);
        Gain {
            speedup: middle,
            workers,
            cores,
            efficiency: efficiency(middle, workers),
            worth_it: verdict(middle),
            saved_s: before.median_s - after.median_s,
            doubtful: verdict(least) != verdict(most) || (least < 1.0 && most > 1.0),
            faster: match (least > 1.0, most < 1.0) {
                (false, false) => None,
                (faster, _) => Some(faster),
            },
        }
    }
}

/// What a stage's time goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Work on a processor.
    Cpu,
    /// Waiting for what is outside: a disk, a server, a program.
    Io,
}

impl Bound {
    /// Of a stage as it was measured; only a staged run shows a stage by itself.
    pub fn of(stage: &StageReport) -> Bound {
        if waited_share(stage) >= MOST {
            Bound::Io
        } else {
            Bound::Cpu
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Bound::Cpu => "CPU-bound",
            Bound::Io => "I/O-bound",
        }
    }
}

/// The share of its workers' time in which they neither worked nor queued for a core.
pub fn waited_share(stage: &StageReport) -> f64 {
    stage.waited_s() / stage.busy_s.max(RESOLUTION_S)
}

/// What child processes cost beside the work: starting them, opening their sessions, copying rows to them
/// and back. Without child processes nothing.
pub fn processes_s(stage: &StageReport) -> f64 {
    if has_processes(stage) {
        stage.start_s + stage.open_s + stage.copy_s
    } else {
        0.0
    }
}

/// Whether the stage ran in child processes.
pub fn has_processes(stage: &StageReport) -> bool {
    matches!(stage.executor.as_str(), "processes" | "hybrid")
}

/// Workers of a stage.
pub fn workers(stage: &StageReport) -> usize {
    stage.processes * stage.threads
}

/// One line that follows from the figures of a stage's staged runs: as it is now, and what that brought; `gain` is
/// `None` where nothing changed.
pub fn advice(after: &StageReport, gain: Option<&Gain>) -> String {
    let before_s = gain.map_or(after.wall_s, |gain| after.wall_s + gain.saved_s);
    let waited = waited_share(after);
    let alone = after.serial_s / after.wall_s.max(RESOLUTION_S);
    let is_sequential = after.executor == "sequential";
    if processes_s(after) > after.busy_s {
        return of_processes(after, gain);
    }
    if before_s.max(after.wall_s) < SHORT_S {
        let least = before_s.min(after.wall_s) * 1e3;
        return format!("takes {least:.1} ms: leave it sequential");
    }
    if alone >= NEARLY_ALL && !is_sequential {
        if let Some(gain) = gain.filter(|gain| gain.faster == Some(true) && gain.saved_s >= SHORT_S)
        {
            return format!(
                "saves {} s by {}; {} of its {} s is now one thread's part: more bring nothing",
                short(gain.saved_s),
                count(gain.workers, "worker"),
                short(after.serial_s.min(after.wall_s)),
                short(after.wall_s)
            );
        }
        return format!(
            "{} of its {} s is one thread's part (reading, dealing, writing): more workers bring nothing",
            short(after.serial_s.min(after.wall_s)),
            short(after.wall_s)
        );
    }
    if waited >= MOST && alone < MOST {
        let what = if has_processes(after) {
            "threads wait as well as processes"
        } else {
            "try more threads than cores"
        };
        return format!("waits {} of its time: {what}", percent(waited));
    }
    match gain.filter(|_| !is_sequential) {
        Some(gain) => of_workers(after, gain),
        None if is_sequential && alone < MOST => {
            format!("works {} of its time: try threads", percent(1.0 - waited))
        }
        None => "as before".into(),
    }
}

/// Where child processes cost more than the work they do.
fn of_processes(after: &StageReport, gain: Option<&Gain>) -> String {
    let start_s = after.start_s + after.open_s;
    let (doing, cost_s) = if after.copy_s > start_s {
        ("copy rows to and from", after.copy_s)
    } else {
        ("start", start_s)
    };
    let instead = if gain.is_some_and(|gain| gain.speedup > 1.0) {
        "try threads, which copy nothing"
    } else {
        "leave it sequential"
    };
    format!(
        "{} s of work, {} s to {doing} processes: {instead}",
        short(after.busy_s),
        short(cost_s)
    )
}

/// Where workers compute.
fn of_workers(after: &StageReport, gain: &Gain) -> String {
    let queued = after.queued_s / after.busy_s.max(RESOLUTION_S);
    let idle = 1.0 - after.busy_s / (after.wall_s.max(RESOLUTION_S) * gain.workers as f64);
    if queued >= MUCH {
        let what = if gain.workers > gain.cores {
            "try fewer"
        } else {
            "something else wants the cores"
        };
        format!(
            "its workers queue {} of their time for a core: {what}",
            percent(queued)
        )
    } else if gain.faster.is_none() {
        "no gain that is sure: leave it as it was".into()
    } else if gain.speedup < 1.0 {
        format!(
            "takes {} s longer: leave it as it was",
            short(-gain.saved_s)
        )
    } else if gain.worth_it {
        format!(
            "{:.2}x by {}: keep it",
            gain.speedup,
            count(gain.workers, "worker")
        )
    } else if idle >= MUCH {
        format!(
            "its workers have nothing to do {} of their time: fewer would do",
            percent(idle)
        )
    } else {
        format!(
            "saves {} s by {}",
            short(gain.saved_s),
            count(gain.workers, "worker")
        )
    }
}

/// Never more than all: a thread that loses its core while a clock is read queued longer than it was busy.
fn percent(share: f64) -> String {
    format!("{:.0} %", share.min(1.0) * 100.0)
}

/// Seconds with as many digits as mean something, short ones too.
pub fn short(seconds: f64) -> String {
    match seconds.abs() {
        s if s < 0.0005 => "0.000".into(),
        s if s < 0.9995 => format!("{seconds:.3}"),
        s if s < 9.995 => format!("{seconds:.2}"),
        s if s < 99.95 => format!("{seconds:.1}"),
        _ => format!("{seconds:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One run.
    fn took(seconds: f64) -> Sample {
        Sample::of([seconds])
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 0.005
    }

    #[test]
    fn by_our_bar_nothing_of_the_post_was_worth_it_though_it_saved_almost_two_hours() {
        // Before, after, speedup, efficiency on the post's eight cores.
        let stages = [
            (920.0, 169.0, 5.44, 0.68),
            (1450.0, 380.0, 3.82, 0.48),
            (8223.0, 3686.0, 2.23, 0.28),
        ];
        let mut saved = 0.0;
        for (before, after, speedup, efficiency) in stages {
            let gain = Gain::of(&took(before), &took(after), 8, 8);
            assert!(near(gain.speedup, speedup), "{gain:?}");
            assert!(near(gain.efficiency, efficiency), "{gain:?}");
            assert!(!gain.worth_it && !gain.doubtful, "{gain:?}");
            saved += gain.saved_s;
        }
        assert!(near(saved, 6358.0), "{saved}");
        // Indexing is now 87 % of the time.
        assert!(near(amdahl(3686.0 / (169.0 + 380.0 + 3686.0)), 1.15));
        assert!(near(amdahl(0.71), 1.41));
    }

    #[test]
    fn the_bar_is_three_quarters_of_workers_or_cores_whichever_are_fewer() {
        for (speedup, workers, cores, worth) in [
            (6.0, 8, 8, true),
            (5.99, 8, 8, false),
            (1.5, 8, 2, true),
            (1.5, 2, 8, true),
            (1.49, 2, 2, false),
            (0.75, 1, 8, true),
        ] {
            assert_eq!(worth_it(speedup, workers, cores), worth, "{speedup}");
        }
        assert!(near(speedup(0.0, 0.0), 1.0));
        assert!(speedup(1.0, 0.0).is_finite() && amdahl(0.0).is_finite());
    }

    #[test]
    fn the_middle_run_counts_and_what_lies_around_it_may_make_it_doubtful() {
        let sample = Sample::of([3.0, 1.0, 2.0]);
        assert_eq!(
            (sample.median_s, sample.min_s, sample.max_s),
            (2.0, 1.0, 3.0)
        );
        assert!(near(sample.spread(), 1.0));
        assert!(near(Sample::of([4.0, 1.0]).median_s, 2.5));
        assert_eq!(Sample::of([]), Sample::default());
        let doubtful = |before: &[f64], after: &[f64]| {
            let [before, after] = [before, after].map(|times| Sample::of(times.iter().copied()));
            Gain::of(&before, &after, 2, 2).doubtful
        };
        // Worth it and sure; slower and sure; either side of the bar; either side of 1.
        assert!(!doubtful(&[2.0, 2.1, 1.9], &[1.0, 1.05, 1.1]));
        assert!(!doubtful(&[1.0, 1.1], &[1.3, 1.2]));
        assert!(doubtful(&[2.0, 2.4, 1.8], &[1.3, 1.4, 1.5]));
        assert!(doubtful(&[1.0, 1.2], &[1.1, 0.9]));
        let sure = Gain::of(&took(2.0), &took(1.0), 2, 2);
        assert_eq!((sure.faster, short(-0.0001)), (Some(true), "0.000".into()));
        assert!(Sample::of([1.0, 1.1]).is_faster_than(&Sample::of([1.2, 1.3])));
        assert!(!Sample::of([1.0, 1.25]).is_faster_than(&Sample::of([1.2, 1.3])));
    }

    /// A stage on threads with these figures.
    fn stage(wall_s: f64, busy_s: f64, cpu_s: f64) -> StageReport {
        StageReport {
            executor: "threads".into(),
            threads: 2,
            wall_s,
            busy_s,
            cpu_s,
            ..StageReport::named("s")
        }
    }

    #[test]
    fn advice_follows_from_the_figures() {
        let advised = |before_s: f64, after: &StageReport| {
            let gain = Gain::of(&took(before_s), &took(after.wall_s), workers(after), 2);
            advice(after, Some(&gain))
        };
        let of = |change: fn(&mut StageReport)| {
            let mut stage = stage(1.0, 1.9, 1.8);
            change(&mut stage);
            stage
        };
        let cases = [
            (1.9, of(|_| {}), "1.90x by 2 workers: keep it"),
            (1.2, of(|_| {}), "saves 0.200 s by 2 workers"),
            (0.8, of(|_| {}), "takes 0.200 s longer: leave it as it was"),
            (
                1.9,
                of(|s| s.cpu_s = 0.133),
                "waits 93 % of its time: try more threads than cores",
            ),
            (
                1.2,
                of(|s| s.queued_s = 0.76),
                "its workers queue 40 % of their time for a core: something else wants the cores",
            ),
            (
                1.2,
                of(|s| (s.queued_s, s.threads) = (0.76, 4)),
                "its workers queue 40 % of their time for a core: try fewer",
            ),
            (
                1.2,
                of(|s| (s.busy_s, s.cpu_s) = (1.1, 1.1)),
                "its workers have nothing to do 45 % of their time: fewer would do",
            ),
            (
                1.2,
                of(|s| s.serial_s = 0.9),
                "saves 0.200 s by 2 workers; 0.900 of its 1.00 s is now one thread's part: more bring nothing",
            ),
            (
                1.0,
                of(|s| s.serial_s = 0.9),
                "0.900 of its 1.00 s is one thread's part (reading, dealing, writing): more workers bring nothing",
            ),
            (
                0.004,
                of(|s| s.wall_s = 0.005),
                "takes 4.0 ms: leave it sequential",
            ),
            (
                0.4,
                of(|s| {
                    (s.executor, s.processes, s.threads) = ("processes".into(), 2, 1);
                    (s.busy_s, s.start_s, s.wall_s) = (0.4, 0.6, 0.8);
                }),
                "0.400 s of work, 0.600 s to start processes: leave it sequential",
            ),
            (
                2.0,
                of(|s| {
                    (s.executor, s.processes, s.threads) = ("processes".into(), 2, 1);
                    (s.busy_s, s.copy_s) = (0.5, 1.4);
                }),
                "0.500 s of work, 1.40 s to copy rows to and from processes: try threads, which copy nothing",
            ),
        ];
        for (before_s, after, words) in cases {
            assert_eq!(advised(before_s, &after), words);
        }
        let mut plain = stage(1.0, 1.0, 1.0);
        (plain.executor, plain.threads) = ("sequential".into(), 1);
        assert_eq!(advice(&plain, None), "works 100 % of its time: try threads");
        assert_eq!(Bound::of(&plain), Bound::Cpu);
        plain.cpu_s = 0.07;
        assert_eq!(
            advice(&plain, None),
            "waits 93 % of its time: try more threads than cores"
        );
        assert_eq!(Bound::of(&plain), Bound::Io);
        assert_eq!(advice(&stage(1.0, 1.9, 1.8), None), "as before");
    }
}
