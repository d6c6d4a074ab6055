//! What was measured: settings, their runs, and which of them is named. The knee is the smallest setting that
//! is as good as the best one, and loses nothing that the first one does not.

use serde::Serialize;

use crate::executor::{Grid, Kind};
use crate::report::verdict::Sample as Times;

/// The knee is the smallest setting within this share of the best one; so less is never called a gain.
pub(super) const NEAR: f64 = 0.05;
/// So much more is a gain even if a setting was run once: no neighbour on the machine takes that.
pub(super) const GAIN_SURE: f64 = 0.4;
/// Runs of one setting where it is short, or hard to tell from another one.
pub(super) const SAMPLES_MAX: usize = 9;
/// What a run is expected to differ from the next one by.
const NOISE_UNKNOWN: f64 = 0.05;

/// How a stage is run: a point on the grid, and its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Where.
    pub grid: Grid,
    /// In the unit of the kind; `None`: it has none.
    pub batch: Option<usize>,
}

/// One run, in seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Sample {
    /// From its beginning to its end.
    pub wall_s: f64,
    /// Starting child processes, added up.
    pub start_s: f64,
    /// Opening sessions, added up.
    pub open_s: f64,
    /// Encoding and decoding batches, added up.
    pub copy_s: f64,
    /// Rows that were rejected; of a run that failed, all.
    pub rejected: u64,
}

/// A setting and its runs.
#[derive(Debug, Clone)]
pub struct Point {
    /// Which.
    pub setting: Setting,
    /// At least one.
    pub runs: Vec<Sample>,
}

impl Point {
    /// The median wall time, in seconds.
    pub fn wall_s(&self) -> f64 {
        self.median(|run| run.wall_s)
    }

    /// The most rows that a run rejected.
    pub fn rejected(&self) -> u64 {
        let rejected = self.runs.iter().map(|run| run.rejected);
        rejected.max().unwrap_or_default()
    }

    /// The median of one of a run's times.
    pub fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        Times::of(self.runs.iter().map(of)).median_s
    }

    /// From the shortest run to the longest, as a share of the median; one alone has none.
    pub fn spread(&self) -> Option<f64> {
        let walls = self.runs.iter().map(|run| run.wall_s);
        (self.runs.len() > 1).then(|| Times::of(walls).spread())
    }

    /// The runs' standard deviation as a share of the median, from the range of the faster half (Shewhart's
    /// d2): what else the machine does only ever adds to a run.
    fn deviation(&self) -> Option<f64> {
        const D2: [f64; SAMPLES_MAX - 1] = [1.128, 1.693, 2.059, 2.326, 2.534, 2.704, 2.847, 2.970];
        let factor = D2.get(self.runs.len().checked_sub(2)?)?;
        let walls = self.runs.iter().map(|run| run.wall_s);
        let half = 1.0 - walls.fold(f64::MAX, f64::min) / self.wall_s().max(f64::MIN_POSITIVE);
        Some(2.0 * half / factor)
    }
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub struct Curve {
    /// In the order it was tried; the first one is sequential.
    pub points: Vec<Point>,
    /// Whether something was left untried for want of time.
    pub out_of_time: bool,
}

impl Curve {
    /// Whether a setting rejects more rows than the first one: what is lost took no time, and how a stage is
    /// run must not change its answer.
    pub fn spoils(&self, at: usize) -> bool {
        self.points[at].rejected() > self.points[0].rejected()
    }

    /// The settings that may be named; the first one is one of them.
    fn sound(&self) -> impl Iterator<Item = usize> {
        (0..self.points.len()).filter(|&at| !self.spoils(at))
    }

    /// The fastest setting.
    pub fn best(&self) -> usize {
        let wall_s = |at: &usize| self.points[*at].wall_s();
        let best = self.sound().min_by(|a, b| wall_s(a).total_cmp(&wall_s(b)));
        best.unwrap_or_default()
    }

    /// The smallest setting that is within `NEAR` of the best, or is as good within the noise.
    pub fn knee(&self) -> usize {
        let best = self.best();
        let batch = |setting: Setting| setting.batch.map_or(0.0, |batch| (batch as f64).log2());
        let first = self
            .points
            .first()
            .map_or(0.0, |point| batch(point.setting));
        let near = self
            .sound()
            .filter(|&at| at == best || !self.is_behind(at, best));
        let size = |at: &usize| {
            let setting = self.points[*at].setting;
            let rank = match setting.grid.kind {
                Kind::Sequential => 0,
                Kind::Threads => 1,
                Kind::Processes => 2,
                Kind::Hybrid => 3,
            };
            (setting.grid.workers(), rank, (batch(setting) - first).abs())
        };
        near.min_by(|a, b| size(a).partial_cmp(&size(b)).expect("no size is NaN"))
            .unwrap_or(best)
    }

    /// Whether `at` is further behind the best one than is near, or than noise explains.
    fn is_behind(&self, at: usize, best: usize) -> bool {
        let (slow, fast) = (self.points[at].wall_s(), self.points[best].wall_s());
        let gain = self.gain(best, at);
        slow > fast * (1.0 + NEAR) && gain > self.noise(best, at).min(GAIN_SURE)
    }

    /// The share of its time that `new` saves beside `old`.
    pub(super) fn gain(&self, new: usize, old: usize) -> f64 {
        1.0 - self.points[new].wall_s() / self.points[old].wall_s().max(f64::MIN_POSITIVE)
    }

    /// What a run differs from the next one by: the settings' deviations, and beside them what machines
    /// do, as if it had been seen at two settings. A few runs are alike by chance.
    pub fn deviation(&self) -> f64 {
        const PRIOR: f64 = 2.0;
        let all = self.points.iter().filter_map(Point::deviation);
        let (sum, count) = all.fold((0.0, 0.0), |(sum, count), one| (sum + one, count + 1.0));
        (sum + PRIOR * NOISE_UNKNOWN) / (count + PRIOR)
    }

    /// The gain that chance alone may show between two settings: three standard errors of the difference
    /// of their medians, for it is looked at again and again.
    pub(super) fn noise(&self, a: usize, b: usize) -> f64 {
        /// A median wanders this much more than a mean.
        const MEDIAN: f64 = 1.25;
        let common = self.deviation();
        let variance = |at: usize| {
            let point = &self.points[at];
            let own = point.deviation().map_or(common, |own| own.max(common));
            own * own / point.runs.len() as f64
        };
        (3.0 * MEDIAN * (variance(a) + variance(b)).sqrt()).max(NEAR)
    }
}
