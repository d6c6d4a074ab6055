//! The search for the knee: which settings are tried, in which order and how often.
//!
//! From conservative: sequential first and the file's own setting, then the workers doubled under each
//! executor, then the batch. A ladder ends where its next rung gains nothing beyond noise, and everything ends
//! with the budget. Nothing here runs a stage or reads a clock: a [`Lab`] does, and the tests bring one that
//! computes.

use super::curve::{Curve, GAIN_SURE, NEAR, Point, SAMPLES_MAX, Sample, Setting};
use crate::error::Result;
use crate::executor::{Grid, Kind};

/// Runs of one setting: a median wants three.
const SAMPLES: usize = 3;
/// The share of the budget that a setting's first runs may take.
const POINT_SHARE: f64 = 0.05;
/// The share of the budget that is nothing: within it a setting is run up to [`SAMPLES_MAX`] times.
const SHORT_SHARE: f64 = 0.01;
/// The share of the budget that the first runs of all may take and be thrown away: they pay for cold caches
/// and a slow clock.
const WARM_SHARE: f64 = 0.02;
/// No more than so many, however short.
const WARM_MAX: usize = 20;
/// The share of the budget that one sequential run is to take, where there are rows enough.
const TARGET_SHARE: f64 = 1.0 / 15.0;
/// Ladders end here whatever they gain: each worker has a stack, a queue and maybe a process.
const THREADS_MAX: usize = 256;
const PROCESSES_MAX: usize = 32;

/// What the search asks of the world.
pub trait Lab {
    /// Runs the stage once; `None`: there was no time for it.
    fn run(&mut self, setting: Setting) -> Result<Option<Sample>>;
    /// The seconds that are left.
    fn left(&self) -> f64;
    /// A setting was measured for the first time.
    fn measured(&mut self, _point: &Point) {}
}

/// What may be tried.
#[derive(Debug, Clone)]
pub struct Space {
    /// Under which executors, in this order; sequential is always tried.
    pub executors: Vec<Kind>,
    /// Whether the user named them: then each is tried even if it cannot pay.
    pub named: bool,
    /// With these numbers of workers, all of them; else doubled as long as that gains.
    pub workers: Option<Vec<usize>>,
    /// With these batches, all of them; else doubled or halved as long as that gains.
    pub batches: Option<Vec<usize>>,
    /// As the file has it.
    pub now: Setting,
    /// A larger batch than this changes nothing.
    pub batch_max: usize,
    /// How many rows there are, at most.
    pub rows: usize,
}

impl Space {
    /// The batch with which workers are tried: the file's, unless there are then too few to go round.
    fn fine_batch(&self) -> Option<usize> {
        /// With fewer batches, all workers wait for the last one.
        const FEW: usize = 8;
        /// So many show what workers are worth.
        const FINE: usize = 32;
        let few = |batch: &usize| self.batches.is_none() && self.rows.div_ceil(*batch) < FEW;
        match self.now.batch {
            Some(batch) if few(&batch) => Some((self.rows / FINE).max(1)),
            batch => batch,
        }
    }
}

/// Tries what may be tried within `budget_s`.
pub fn search(space: &Space, budget_s: f64, lab: &mut dyn Lab) -> Result<Curve> {
    let mut search = Search {
        space,
        budget_s,
        lab,
        curve: Curve::default(),
        warm: 0,
        warm_s: 0.0,
    };
    let sequential = Setting {
        grid: Grid::SEQUENTIAL,
        ..space.now
    };
    if let Some(base) = search.measure(sequential)? {
        // Before the time is up: what is found is printed beside it.
        search.measure(space.now)?;
        match &space.workers {
            Some(workers) => search.sweep(workers)?,
            None => search.explore(base)?,
        }
        search.confirm()?;
    }
    Ok(search.curve)
}

struct Search<'a> {
    space: &'a Space,
    budget_s: f64,
    lab: &'a mut dyn Lab,
    curve: Curve,
    /// How often it was run, and how long that took, as far as that matters to caches.
    warm: usize,
    warm_s: f64,
}

impl Search<'_> {
    /// Every setting of the lists.
    fn sweep(&mut self, workers: &[usize]) -> Result<()> {
        let now = self.space.now.batch;
        let listed = self.space.batches.iter().flatten().copied().map(Some);
        let batches: Vec<Option<usize>> = match &self.space.batches {
            Some(_) => listed.collect(),
            None => vec![now],
        };
        for batch in batches {
            self.measure(Setting {
                grid: Grid::SEQUENTIAL,
                batch,
            })?;
            for &kind in &self.space.executors {
                for &workers in workers {
                    let grid = grid(kind, workers);
                    self.measure(Setting { grid, batch })?;
                }
            }
        }
        Ok(())
    }

    /// The workers doubled under each executor, then the batch at the knee.
    fn explore(&mut self, base: usize) -> Result<()> {
        let mut top = base;
        for &kind in &self.space.executors {
            // Named ones are shown whole. Else processes begin where threads ended, for they are worth
            // their cost only if they gain on as many threads; and hybrid where processes do.
            let (from, first) = match kind {
                _ if self.space.named => (base, 2),
                Kind::Hybrid if self.kind_of(top) != Kind::Processes => continue,
                Kind::Hybrid => (top, self.workers_of(top).max(4)),
                _ => (top, self.workers_of(top).max(2)),
            };
            top = self.climb(from, self.rungs(kind, first))?;
        }
        self.batches()
    }

    fn kind_of(&self, at: usize) -> Kind {
        self.curve.points[at].setting.grid.kind
    }

    fn workers_of(&self, at: usize) -> usize {
        self.curve.points[at].setting.grid.workers()
    }

    /// The doubled numbers of workers from `first` on.
    fn rungs(&self, kind: Kind, first: usize) -> Vec<Setting> {
        let most = match kind {
            Kind::Sequential => 1,
            Kind::Processes => PROCESSES_MAX,
            Kind::Threads | Kind::Hybrid => THREADS_MAX,
        };
        let doubled = std::iter::successors(Some(first), |workers| Some(workers * 2));
        let batch = self.space.fine_batch();
        doubled
            .take_while(|&workers| workers <= most)
            .map(|workers| Setting {
                grid: grid(kind, workers),
                batch,
            })
            .collect()
    }

    /// Larger batches at the knee, and if they gain nothing smaller ones.
    fn batches(&mut self) -> Result<()> {
        let knee = self.curve.knee();
        let setting = self.curve.points[knee].setting;
        let with = |batch: usize| Setting {
            batch: Some(batch),
            ..setting
        };
        if let Some(batches) = &self.space.batches {
            for &batch in batches {
                self.measure(with(batch))?;
            }
            return Ok(());
        }
        let Some(batch) = setting.batch else {
            return Ok(());
        };
        let larger = std::iter::successors(batch.checked_mul(2), |batch| batch.checked_mul(2));
        let larger = larger.take_while(|&batch| batch <= self.space.batch_max);
        let top = self.climb(knee, larger.map(with).collect())?;
        if top == knee {
            // One that is larger than all rows is as good as they are.
            let most = batch.min(self.space.rows);
            let smaller = std::iter::successors(Some(most / 2), |batch| Some(batch / 2));
            let smaller = smaller.take_while(|&batch| batch > 0);
            self.climb(knee, smaller.map(with).collect())?;
        }
        Ok(())
    }

    /// Up as long as each rung gains on the one before; the last one that did.
    fn climb(&mut self, from: usize, rungs: Vec<Setting>) -> Result<usize> {
        let mut top = from;
        for setting in rungs {
            let Some(rung) = self.measure(setting)? else {
                break;
            };
            if !self.gains(rung, top)? {
                break;
            }
            top = rung;
        }
        Ok(top)
    }

    /// Whether `new` is faster than `old` beyond noise; both are run again while that is hard to tell.
    fn gains(&mut self, new: usize, old: usize) -> Result<bool> {
        loop {
            if self.curve.spoils(new) {
                return Ok(false);
            }
            let (gain, noise) = (self.curve.gain(new, old), self.curve.noise(new, old));
            let runs = |at: usize| self.curve.points[at].runs.len();
            let sure = runs(new).min(runs(old)) >= SAMPLES;
            if gain > noise && (sure || gain > GAIN_SURE) {
                return Ok(true);
            }
            let none = sure && gain < NEAR || gain < -noise;
            if none || !self.again(&[new, old])? {
                return Ok(false);
            }
        }
    }

    /// Makes as sure as the time allows that the best one is better than the knee, or no better, and that
    /// neither was lucky beside sequential; and that what is reported of them is a median.
    fn confirm(&mut self) -> Result<()> {
        loop {
            let (knee, best) = (self.curve.knee(), self.curve.best());
            let is_near = self.curve.gain(best, knee) < NEAR;
            let is_sure = knee == 0 || self.curve.gain(best, 0) > GAIN_SURE;
            let is_rare = |at: &usize| self.curve.points[*at].runs.len() < SAMPLES;
            let doubtful = match (is_near, is_sure) {
                (false, _) => Some(knee),
                (true, false) => Some(0),
                (true, true) => [0, knee, best].into_iter().find(is_rare),
            };
            let Some(doubtful) = doubtful else {
                return Ok(());
            };
            if !self.again(&[doubtful, best])? {
                return Ok(());
            }
        }
    }

    /// Runs each of two settings once more, unless it was run often enough; whether any was.
    fn again(&mut self, points: &[usize; 2]) -> Result<bool> {
        let mut any = false;
        for &at in points {
            let point = &self.curve.points[at];
            if point.runs.len() >= SAMPLES_MAX || point.wall_s() > self.lab.left() {
                continue;
            }
            if let Some(run) = self.lab.run(point.setting)? {
                self.curve.points[at].runs.push(run);
                any = true;
            }
        }
        Ok(any)
    }

    /// Runs a setting, unless it was; `None`: there was no time for it.
    fn measure(&mut self, setting: Setting) -> Result<Option<usize>> {
        let known = self
            .curve
            .points
            .iter()
            .position(|point| point.setting == setting);
        if known.is_some() {
            return Ok(known);
        }
        let mut runs: Vec<Sample> = Vec::new();
        while self.wants(&runs) {
            let Some(run) = self.lab.run(setting)? else {
                break;
            };
            self.warm_s += run.wall_s;
            self.warm += 1;
            // Once is enough to see that it is none to be named.
            if self
                .curve
                .points
                .first()
                .is_some_and(|base| run.rejected > base.rejected())
            {
                runs.push(run);
                break;
            }
            if self.warm > WARM_MAX || self.warm_s > self.budget_s * WARM_SHARE {
                runs.push(run);
            }
        }
        if runs.is_empty() {
            self.curve.out_of_time = true;
            return Ok(None);
        }
        let point = Point { setting, runs };
        self.lab.measured(&point);
        self.curve.points.push(point);
        Ok(Some(self.curve.points.len() - 1))
    }

    /// Whether a new setting is to be run again.
    fn wants(&self, runs: &[Sample]) -> bool {
        if runs.is_empty() {
            return self.lab.left() > 0.0;
        }
        let spent: f64 = runs.iter().map(|run| run.wall_s).sum();
        let next = spent / runs.len() as f64;
        let within =
            |share: f64, most: usize| runs.len() < most && spent + next <= self.budget_s * share;
        next <= self.lab.left()
            && (within(POINT_SHARE, SAMPLES) || within(SHORT_SHARE, SAMPLES_MAX))
    }
}

/// So many workers under an executor; hybrid has two processes, as where the file says no more.
pub fn grid(kind: Kind, workers: usize) -> Grid {
    let (processes, threads) = match kind {
        Kind::Sequential => (1, 1),
        Kind::Threads => (1, workers),
        Kind::Processes => (workers, 1),
        Kind::Hybrid => (2, (workers / 2).max(1)),
    };
    Grid {
        kind,
        processes,
        threads,
    }
}

/// How many units of input to work on, found from `first` on: so many that one sequential run takes a
/// `POINT_SHARE` of the budget or so, but enough batches of `first` for several workers where a quarter
/// of the budget allows that. `run` measures so many units, and says whether there are no more; `None`:
/// there was no time.
pub fn size(
    first: usize,
    budget_s: f64,
    run: &mut dyn FnMut(usize) -> Result<Option<(f64, bool)>>,
) -> Result<Option<usize>> {
    /// Steps are no larger, so that a short first run is not taken for the rule.
    const STEP_MAX: f64 = 16.0;
    /// Less is as good as there.
    const STEP_MIN: f64 = 1.5;
    /// Batches that show what workers are worth.
    const BATCHES: f64 = 32.0;
    let mut units = first.max(1);
    loop {
        let Some((wall, whole)) = run(units)? else {
            return Ok(None);
        };
        let step_to = |seconds: f64| seconds / wall.max(f64::MIN_POSITIVE);
        let batches = BATCHES * first as f64 / units as f64;
        let enough = batches.min(step_to(budget_s * TARGET_SHARE * 2.0));
        let step = step_to(budget_s * TARGET_SHARE).max(enough);
        if whole || step < STEP_MIN {
            return Ok(Some(units));
        }
        units = scaled(units, step.min(STEP_MAX));
    }
}

/// A number of things times a factor above 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest integer there is"
)]
fn scaled(units: usize, factor: f64) -> usize {
    (units as f64 * factor) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET_S: f64 = 60.0;

    /// A stage that computes how long it takes, and a clock that goes on by as much.
    struct Model<'a> {
        wall_s: &'a dyn Fn(Setting) -> f64,
        rejected: &'a dyn Fn(Setting) -> u64,
        /// The most that a run may differ by, as a share.
        noise: f64,
        /// One run in ten takes half as long again: somebody else used the machine.
        disturbed: bool,
        random: fastrand::Rng,
        left_s: f64,
        tried: Vec<Setting>,
    }

    impl<'a> Model<'a> {
        fn new(wall_s: &'a dyn Fn(Setting) -> f64, noise: f64, seed: u64) -> Self {
            Model {
                wall_s,
                rejected: &|_| 0,
                noise,
                disturbed: false,
                random: fastrand::Rng::with_seed(seed),
                left_s: BUDGET_S,
                tried: Vec::new(),
            }
        }
    }

    impl Lab for Model<'_> {
        fn run(&mut self, setting: Setting) -> Result<Option<Sample>> {
            self.tried.push(setting);
            let wobble = 1.0 + self.noise * (2.0 * self.random.f64() - 1.0);
            let disturbed = self.disturbed && self.random.u8(0..10) == 0;
            let wall_s = (self.wall_s)(setting) * wobble * if disturbed { 1.5 } else { 1.0 };
            let in_time = wall_s <= self.left_s;
            self.left_s = (self.left_s - wall_s).max(0.0);
            Ok(in_time.then_some(Sample {
                wall_s,
                rejected: (self.rejected)(setting),
                ..Sample::default()
            }))
        }

        fn left(&self) -> f64 {
            self.left_s
        }
    }

    fn space(batch: Option<usize>) -> Space {
        Space {
            executors: vec![Kind::Threads, Kind::Processes, Kind::Hybrid],
            named: false,
            workers: None,
            batches: None,
            now: Setting {
                grid: Grid::SEQUENTIAL,
                batch,
            },
            batch_max: 1 << 14,
            rows: usize::MAX,
        }
    }

    fn knee(curve: &Curve) -> Setting {
        curve.points[curve.knee()].setting
    }

    fn shown(curve: &Curve) -> String {
        let point = |point: &Point| {
            let runs = point.runs.iter().map(|run| format!(" {:.2}", run.wall_s));
            let Setting { grid, batch } = point.setting;
            format!("\n{grid:?} {batch:?}:{}", runs.collect::<String>())
        };
        curve.points.iter().map(point).collect()
    }

    /// So many requests of 50 ms each, of which `k` are answered at once; a process takes 30 ms to start.
    fn requests(batches: usize, k: usize) -> impl Fn(Setting) -> f64 {
        move |setting| {
            let rounds = batches.div_ceil(setting.grid.workers().min(k));
            let start = match setting.grid.kind {
                Kind::Sequential | Kind::Threads => 0.0,
                _ => 0.03 * setting.grid.processes as f64,
            };
            rounds as f64 * 0.05 + start
        }
    }

    /// A loop that takes `seconds` on one core, of which a share cannot run in parallel; two cores.
    fn cpu_loop(seconds: f64, alone: f64) -> impl Fn(Setting) -> f64 {
        move |setting| {
            let workers = setting.grid.workers();
            let copied = match setting.grid.kind {
                Kind::Sequential | Kind::Threads => 0.0,
                _ => 0.01 * setting.grid.processes as f64 + 0.3 * seconds,
            };
            let switching = 0.001 * workers as f64;
            seconds * (alone + (1.0 - alone) / workers.min(2) as f64) + copied + switching
        }
    }

    #[test]
    fn a_limit_of_k_at_once_is_found_within_one_doubling() {
        for k in [1, 2, 3, 4, 5, 7, 8, 12, 16, 24, 32] {
            for seed in 0..20 {
                for (noise, disturbed) in [(0.0, false), (0.03, false), (0.05, true)] {
                    let wall = requests(96, k);
                    let mut lab = Model::new(&wall, noise, seed);
                    lab.disturbed = disturbed;
                    let curve =
                        search(&space(None), BUDGET_S, &mut lab).expect("a model cannot fail");
                    let found = knee(&curve).grid.workers();
                    assert!(
                        found <= 2 * k && 2 * found >= k,
                        "k {k}, seed {seed}, noise {noise}: {found}, {}",
                        shown(&curve)
                    );
                    assert!(
                        k > 1 || knee(&curve).grid == Grid::SEQUENTIAL,
                        "seed {seed}, noise {noise}: {}",
                        shown(&curve)
                    );
                }
            }
        }
    }

    #[test]
    fn a_loop_on_two_cores_takes_two_threads() {
        for seed in 0..50 {
            for (seconds, alone, noise) in [(0.05, 0.0, 0.03), (2.0, 0.1, 0.03), (6.0, 0.3, 0.02)] {
                let wall = cpu_loop(seconds, alone);
                let mut lab = Model::new(&wall, noise, seed);
                let curve = search(&space(None), BUDGET_S, &mut lab).expect("a model cannot fail");
                let found = knee(&curve).grid;
                assert_eq!(
                    found,
                    grid(Kind::Threads, 2),
                    "{seconds} s, seed {seed}: {:?}",
                    curve.points
                );
            }
        }
    }

    #[test]
    fn nothing_is_chosen_inside_noise() {
        let mut wrong = 0;
        for seed in 0..200 {
            for (noise, disturbed) in [(0.02, false), (0.1, false), (0.2, false), (0.05, true)] {
                let wall = |_: Setting| 0.4;
                let mut lab = Model::new(&wall, noise, seed);
                lab.disturbed = disturbed;
                let curve =
                    search(&space(Some(1000)), BUDGET_S, &mut lab).expect("a model cannot fail");
                let found = knee(&curve);
                wrong += usize::from(found.grid != Grid::SEQUENTIAL || found.batch != Some(1000));
            }
        }
        assert!(
            wrong <= 8,
            "{wrong} of 800 searches saw a gain where there is none"
        );
    }

    #[test]
    fn the_budget_ends_it_with_what_is_known() {
        for seconds in [0.001, 1.0, 10.0, 25.0, 59.0, 70.0] {
            let wall = cpu_loop(seconds, 0.0);
            let mut lab = Model::new(&wall, 0.02, 1);
            let curve = search(&space(Some(64)), BUDGET_S, &mut lab).expect("a model cannot fail");
            assert_eq!(curve.points.is_empty(), seconds > BUDGET_S, "{seconds} s");
            assert_eq!(curve.out_of_time, seconds >= 10.0, "{seconds} s");
            // A model that went on would be asked again and again.
            let late = lab.tried.len()
                - curve
                    .points
                    .iter()
                    .map(|point| point.runs.len())
                    .sum::<usize>();
            assert!(
                late <= WARM_MAX + 2,
                "{seconds} s: {late} runs were begun in vain"
            );
        }
    }

    #[test]
    fn the_batch_is_sought_behind_the_workers() {
        // 4000 rows, 20 ms a request and 0.1 ms a row, at most 4 at once, 500 rows a request.
        let wall = |setting: Setting| {
            let batch = setting.batch.expect("the space has a batch");
            let requests = 4000_usize.div_ceil(batch);
            let each = 0.02 + 0.0001 * batch as f64 + if batch > 500 { 10.0 } else { 0.0 };
            requests.div_ceil(setting.grid.workers().min(4)) as f64 * each
        };
        for seed in 0..20 {
            let mut lab = Model::new(&wall, 0.02, seed);
            let curve = search(&space(Some(10)), BUDGET_S, &mut lab).expect("a model cannot fail");
            let found = knee(&curve);
            let batch = found.batch.expect("the space has a batch");
            assert!((2..=8).contains(&found.grid.workers()), "{found:?}");
            assert!((125..=500).contains(&batch), "{found:?} {}", shown(&curve));
        }
    }

    #[test]
    fn what_loses_rows_is_not_named_however_fast_it_is() {
        // 4000 rows, 20 ms a request; beyond 100 rows a request, or 8 at once, rows are refused at once.
        let refused = |setting: Setting| setting.batch > Some(100) || setting.grid.workers() > 8;
        let wall = |setting: Setting| {
            let requests = 4000_usize.div_ceil(setting.batch.expect("the space has a batch"));
            let rounds = requests.div_ceil(setting.grid.workers());
            rounds as f64 * if refused(setting) { 0.0001 } else { 0.02 }
        };
        for (seed, base) in (0..20).flat_map(|seed| [(seed, 0), (seed, 49)]) {
            // Some are no good whatever is done.
            let rejected = |setting: Setting| base + u64::from(refused(setting));
            let mut lab = Model::new(&wall, 0.02, seed);
            lab.rejected = &rejected;
            let curve = search(&space(Some(10)), BUDGET_S, &mut lab).expect("a model cannot fail");
            for named in [knee(&curve), curve.points[curve.best()].setting] {
                assert!(!refused(named), "{named:?} {}", shown(&curve));
                assert!(named.grid.workers() >= 4, "{named:?} {}", shown(&curve));
            }
        }
    }

    #[test]
    fn few_batches_are_made_smaller() {
        // Two cores, and rows that fit one batch.
        let wall = |setting: Setting| {
            let batches = 1000_usize.div_ceil(setting.batch.expect("the space has a batch"));
            let rounds = batches.div_ceil(setting.grid.workers().min(2));
            0.5 * rounds as f64 / batches as f64 + 0.0002 * batches as f64
        };
        let few = Space {
            rows: 1000,
            batch_max: 1000,
            ..space(Some(1000))
        };
        for seed in 0..20 {
            let mut lab = Model::new(&wall, 0.03, seed);
            let curve = search(&few, BUDGET_S, &mut lab).expect("a model cannot fail");
            let found = knee(&curve);
            assert_eq!(found.grid, grid(Kind::Threads, 2), "{}", shown(&curve));
            assert!(found.batch <= Some(500), "{found:?}");
        }
    }

    #[test]
    fn lists_are_swept_whole() {
        let wall = cpu_loop(0.2, 0.0);
        let mut lab = Model::new(&wall, 0.01, 1);
        let listed = Space {
            executors: vec![Kind::Threads, Kind::Hybrid],
            named: true,
            workers: Some(vec![2, 4, 16]),
            batches: Some(vec![10, 50]),
            ..space(Some(50))
        };
        let curve = search(&listed, BUDGET_S, &mut lab).expect("a model cannot fail");
        assert_eq!(curve.points.len(), 2 * (1 + 2 * 3));
        assert_eq!(knee(&curve).grid, grid(Kind::Threads, 2));
        assert_eq!(
            knee(&curve).batch,
            Some(50),
            "both are as good: what the file has stays"
        );
    }

    #[test]
    fn enough_rows_are_taken_for_a_time_that_can_be_measured() {
        // Seconds a row, rows there are, rows a batch; then what is taken.
        for (each, all, batch, least, most) in [
            (1e-6, 1 << 30, 16384, 2_500_000, 8_000_000),
            (1e-6, 100_000, 16384, 100_000, usize::MAX),
            (0.05, 100_000, 10, 150, 200),
            (1.0, 100, 1, 6, 9),
            (20.0, 100, 1, 1, 1),
        ] {
            let mut spent = 0.0;
            let found = size(batch, BUDGET_S, &mut |units| {
                let wall = units.min(all) as f64 * each;
                spent += wall;
                Ok((spent < BUDGET_S).then_some((wall, units >= all)))
            });
            let units = found.expect("a model cannot fail").expect("there is time");
            assert!(
                (least..=most).contains(&units),
                "{each} s a row: {units} rows"
            );
            assert!(spent <= BUDGET_S / 3.0 + each, "{each} s a row: {spent} s");
        }
    }
}
