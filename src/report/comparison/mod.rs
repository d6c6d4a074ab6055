//! Two ways of running one pipeline, side by side: what each stage took, what was gained, and whether both gave
//! the same. Its text is made in `text`.

mod text;

use serde::{Deserialize, Serialize};

use super::verdict::{self, Bound, Gain, Sample};
use super::{Machine, Report, StageReport};
use crate::pipeline::NotTimed;

/// The mode of a run whose stages ran one after another.
const STAGED: &str = "staged";

/// Before and after.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comparison {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its file.
    pub pipeline_file: String,
    /// The comparison's id.
    pub run: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Where it ran.
    pub machine: Machine,
    /// How many runs of each side count.
    pub runs: usize,
    /// What the sides are, in words.
    pub sides: [String; 2],
    /// How their runs went, `staged` or `streamed`: only a staged run shows each stage by itself.
    pub modes: [String; 2],
    /// Each stage, in the file's order.
    pub stages: Vec<Compared>,
    /// All of them.
    pub total: Total,
    /// Whether every stage gave the same on both sides; `None`: not known of all, and nothing differs.
    pub same_output: Option<bool>,
    /// Stages of the pipeline that are not among them.
    pub not_timed: Vec<NotTimed>,
    /// The gz stream that holds up loading.
    pub largest_gz: Option<LargestGz>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// One stage, before and after.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// As it was; of several runs each time is the median.
    pub before: StageReport,
    /// As it is.
    pub after: StageReport,
    /// What the runs before took.
    pub before_s: Sample,
    /// What the runs after took.
    pub after_s: Sample,
    /// Before / after, on the wall.
    pub speedup: f64,
    /// Workers of the side after.
    pub workers: usize,
    /// Speedup a worker.
    pub efficiency: f64,
    /// Whether the workers bring enough of what they could; `None`: it ran alike, or its time was not its own
    /// because the stages of a run overlapped.
    pub worth_it: Option<bool>,
    /// Seconds.
    pub saved_s: f64,
    /// Whether the runs differ so much that the answer is not sure.
    pub doubtful: bool,
    /// Whether both sides gave the same; `None`: not known.
    pub same_output: Option<bool>,
    /// What the side after is bound by.
    pub bound: Bound,
    /// What the figures advise.
    pub advice: String,
}

/// The stages added up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Total {
    /// Before.
    pub before_s: f64,
    /// After.
    pub after_s: f64,
    /// Before / after.
    pub speedup: f64,
    /// Seconds.
    pub saved_s: f64,
    /// What the side after takes from beginning to end where its stages overlap.
    pub streamed_s: Option<Sample>,
}

/// The largest of the gz files that loading is bound by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LargestGz {
    /// Its path.
    pub file: String,
    /// Its share of all that is read, in bytes as they lie there.
    pub share: f64,
    /// All that is read.
    pub bytes: u64,
}

/// What was measured of one side.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The run that digested its outputs, if one did.
    pub digested: Option<&'a Report>,
    /// The runs that were timed.
    pub timed: &'a [Report],
}

impl Side<'_> {
    /// `staged` or `streamed`.
    fn mode(&self) -> String {
        let report = self.timed.first().or(self.digested);
        report.map(|report| report.mode.clone()).unwrap_or_default()
    }

    /// What a run takes from beginning to end.
    fn whole_s(&self) -> f64 {
        Sample::of(self.timed.iter().map(|report| report.wall_s)).median_s
    }

    /// Stage `name` as all its runs were: each time the median.
    fn stage(&self, name: &str) -> Option<(StageReport, Sample)> {
        let of = |report: &Report| {
            report
                .stages
                .iter()
                .find(|stage| stage.name == name)
                .cloned()
        };
        let runs: Vec<StageReport> = self.timed.iter().filter_map(of).collect();
        let median = |time: fn(&StageReport) -> f64| Sample::of(runs.iter().map(time)).median_s;
        let wall = Sample::of(runs.iter().map(|stage| stage.wall_s));
        let digested = self.digested.and_then(of);
        let stage = StageReport {
            wall_s: wall.median_s,
            busy_s: median(|stage| stage.busy_s),
            cpu_s: median(|stage| stage.cpu_s),
            queued_s: median(|stage| stage.queued_s),
            serial_s: median(|stage| stage.serial_s),
            start_s: median(|stage| stage.start_s),
            open_s: median(|stage| stage.open_s),
            copy_s: median(|stage| stage.copy_s),
            digest: digested.and_then(|stage| stage.digest),
            ..runs.last()?.clone()
        };
        Some((stage, wall))
    }

    /// The books of stage `name` in every run: what may not differ, digest or not.
    fn books(&self, name: &str) -> impl Iterator<Item = [u64; 5]> {
        let stages = self.timed.iter().chain(self.digested);
        let stages = stages.flat_map(|report| &report.stages);
        let books = stages.filter(move |stage| stage.name == name).map(|stage| {
            let StageReport {
                rows_in,
                added,
                rows_out,
                rejected,
                dropped,
                ..
            } = *stage;
            [rows_in, added, rows_out, rejected, dropped]
        });
        books.collect::<Vec<_>>().into_iter()
    }
}

impl Compared {
    /// A stage that both sides have.
    fn of(name: &str, before: Side, after: Side, cores: usize) -> Option<Compared> {
        let (was, before_s) = before.stage(name)?;
        let (is, after_s) = after.stage(name)?;
        let workers = verdict::workers(&is);
        let gain = Gain::of(&before_s, &after_s, workers, cores);
        let judged = !alike(&was, &is) && are_staged(&before, &after);
        let mut books = before.books(name).chain(after.books(name));
        let first = books.next();
        let balanced = books.all(|other| Some(other) == first);
        let same_output = match (&was.digest, &is.digest) {
            _ if !balanced => Some(false),
            (Some(before), Some(after)) => Some(before == after),
            _ => None,
        };
        Some(Compared {
            name: name.to_owned(),
            before_s,
            after_s,
            speedup: gain.speedup,
            workers,
            efficiency: gain.efficiency,
            worth_it: judged.then_some(gain.worth_it),
            saved_s: gain.saved_s,
            doubtful: judged && gain.doubtful,
            same_output,
            bound: Bound::of(&is),
            advice: verdict::advice(&is, judged.then_some(&gain)),
            before: was,
            after: is,
        })
    }
}

impl Compared {
    /// Whether it was executed in another way on the side after, and its times show what that brought.
    pub fn is_judged(&self) -> bool {
        self.worth_it.is_some()
    }

    /// Whether it takes so little time that its figures say nothing.
    pub fn is_short(&self) -> bool {
        self.before_s.median_s.max(self.after_s.median_s) < verdict::SHORT_S
    }
}

/// The share of one thread's time in the queue for a core from which on the times are not the pipeline's own.
const BUSY: f64 = 0.1;

/// See [`Comparison::queued_before`].
fn queued(stages: &[Compared]) -> f64 {
    let stages = stages.iter().map(|stage| &stage.before);
    let alone = stages.filter(|stage| stage.executor == "sequential");
    let (queued_s, busy_s) = alone.fold((0.0, 0.0), |(queued, busy), stage| {
        (queued + stage.queued_s, busy + stage.busy_s)
    });
    queued_s / f64::max(busy_s, f64::MIN_POSITIVE)
}

/// Whether each stage's time is its own on both sides: the stages of a streamed run overlap.
fn are_staged(before: &Side, after: &Side) -> bool {
    [before, after].iter().all(|side| side.mode() == STAGED)
}

/// Whether a stage ran the same way.
fn alike(a: &StageReport, b: &StageReport) -> bool {
    let grid = |stage: &StageReport| (stage.executor.clone(), stage.processes, stage.threads);
    grid(a) == grid(b)
}

impl Comparison {
    /// Of what was measured; `streamed`: runs of the side after whose stages overlapped.
    pub fn of(before: Side, after: Side, streamed: &[Report], sides: [String; 2]) -> Comparison {
        let last = after.timed.last().or(after.digested);
        let last = last.expect("a comparison has run what it compares");
        let mut stages: Vec<Compared> = last
            .stages
            .iter()
            .filter_map(|stage| Compared::of(&stage.name, before, after, last.machine.cores))
            .collect();
        let sum = |of: fn(&Compared) -> f64| {
            // What ran alike on both sides says nothing of the change.
            let judged = stages.iter().filter(|stage| stage.is_judged());
            match judged.clone().next() {
                Some(_) => judged.map(of).sum(),
                None => stages.iter().map(of).sum::<f64>(),
            }
        };
        let (before_s, after_s) = if are_staged(&before, &after) {
            let before_s = sum(|stage| stage.before_s.median_s);
            (before_s, sum(|stage| stage.after_s.median_s))
        } else {
            (before.whole_s(), after.whole_s())
        };
        let streamed = streamed.iter().map(|report| report.wall_s);
        let streamed_s = Some(Sample::of(streamed)).filter(|sample| sample.max_s > 0.0);
        if queued(&stages) >= BUSY {
            // Times of a machine with other work are chance.
            for stage in &mut stages {
                stage.doubtful |= stage.is_judged();
            }
        }
        let mut same = stages.iter().map(|stage| stage.same_output);
        let same_output = if same.clone().any(|same| same == Some(false)) {
            Some(false)
        } else {
            same.all(|same| same == Some(true)).then_some(true)
        };
        Comparison {
            pipeline: last.pipeline.clone(),
            pipeline_file: last.pipeline_file.clone(),
            run: last.run.clone(),
            started_at: last.started_at.clone(),
            machine: last.machine.clone(),
            runs: after.timed.len(),
            modes: [before.mode(), after.mode()],
            sides,
            total: Total {
                before_s,
                after_s,
                speedup: verdict::speedup(before_s, after_s),
                saved_s: before_s - after_s,
                streamed_s,
            },
            stages,
            same_output,
            not_timed: Vec::new(),
            largest_gz: None,
            warnings: Vec::new(),
        }
    }

    /// The stages that gave something else, in the file's order.
    pub fn differing(&self) -> Vec<&str> {
        let differing = self
            .stages
            .iter()
            .filter(|stage| stage.same_output == Some(false));
        differing.map(|stage| stage.name.as_str()).collect()
    }

    /// The share of their time that the stages which were sequential before queued for a core: a thread that
    /// works alone waits for none but others' work.
    pub fn queued_before(&self) -> f64 {
        queued(&self.stages)
    }

    /// Whether the machine had so much other work that the times are not the pipeline's own.
    pub fn is_busy(&self) -> bool {
        self.queued_before() >= BUSY
    }

    /// The stages whose answer is doubtful.
    pub fn doubtful(&self) -> Vec<&str> {
        let doubtful = self.stages.iter().filter(|stage| stage.doubtful);
        doubtful.map(|stage| stage.name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::error::Error;

    /// A run whose stages took these times, on threads or not, with digests of these words.
    pub(super) fn run(threads: usize, stages: &[(&str, f64, &str)]) -> Report {
        let stage = |(name, wall_s, digest): &(&str, f64, &str)| StageReport {
            wall_s: *wall_s,
            busy_s: *wall_s,
            cpu_s: *wall_s,
            threads,
            executor: if threads > 1 { "threads" } else { "sequential" }.into(),
            digest: (!digest.is_empty()).then(|| (*digest).to_owned()),
            ..StageReport::named(name)
        };
        let mut report = Report::of_no_run(Path::new("post.toml"), &Error::failed("none"));
        report.machine.cores = 8;
        (report.wall_s, report.mode) = (4000.0, STAGED.into());
        report.stages = stages.iter().map(stage).collect();
        report
    }

    pub(super) fn compare(before: &[Report], after: &[Report], streamed: &[Report]) -> Comparison {
        let side = |timed: &'static [Report]| Side {
            digested: timed.first(),
            timed,
        };
        let leaked = |reports: &[Report]| -> &'static [Report] { reports.to_vec().leak() };
        let sides = ["sequential", "as the file says"].map(String::from);
        Comparison::of(side(leaked(before)), side(leaked(after)), streamed, sides)
    }

    #[test]
    fn what_differs_under_threads_is_named_be_it_in_one_run_only() {
        let stages = |digest| [("a", 1.0, "x"), ("b", 1.0, digest)];
        let same = compare(&[run(1, &stages("y"))], &[run(2, &stages("y"))], &[]);
        assert_eq!((same.same_output, same.differing()), (Some(true), vec![]));
        let other = compare(&[run(1, &stages("y"))], &[run(2, &stages("z"))], &[]);
        assert_eq!(
            (other.same_output, other.differing()),
            (Some(false), vec!["b"])
        );
        assert!(other.render().contains("they did NOT give the same: b\n"));
        // A digest that is not there proves nothing.
        let none = compare(&[run(1, &stages(""))], &[run(2, &stages("y"))], &[]);
        assert_eq!(none.same_output, None);
        // A run that was timed only, and lost a row.
        let mut lost = run(2, &stages("y"));
        lost.stages[1].rows_in = 1;
        let lost = compare(&[run(1, &stages("y"))], &[run(2, &stages("y")), lost], &[]);
        assert_eq!(lost.differing(), ["b"]);
    }

    #[test]
    fn of_several_runs_the_medians_count_and_a_stage_that_ran_alike_has_no_worth() {
        let runs = |threads, times: [f64; 3]| times.map(|time| run(threads, &[("a", time, "x")]));
        let compared = compare(&runs(1, [2.0, 9.0, 1.9]), &runs(2, [1.0, 1.1, 0.9]), &[]);
        let stage = &compared.stages[0];
        assert_eq!((stage.before.wall_s, stage.after.wall_s), (2.0, 1.0));
        assert_eq!((stage.worth_it, stage.doubtful), (Some(true), false));
        assert_eq!(compared.runs, 3);
        assert_eq!(compared.verdicts().len(), 1);
        // Where stages overlap, their times do not add up.
        let overlapped_runs = runs(1, [2.0, 9.0, 1.9]).map(|report| Report {
            mode: "streamed".into(),
            wall_s: 1.5,
            ..report
        });
        let overlapped = compare(&overlapped_runs, &overlapped_runs, &[]);
        assert!((overlapped.total.before_s - 1.5).abs() < 1e-9);
        assert!(overlapped.verdicts().is_empty() && !overlapped.render().contains("is now"));
        // Nor do they show what a stage gained, be it on one side only: the wholes are compared, and no stage.
        let one = runs(2, [1.0, 1.1, 0.9]).map(|report| Report {
            mode: "streamed".into(),
            wall_s: 1.0,
            ..report
        });
        let staged = runs(1, [2.0, 9.0, 1.9]);
        for (before, total_s) in [(&overlapped_runs, 1.5), (&staged, 4000.0)] {
            let compared = compare(before, &one, &[]);
            let stage = &compared.stages[0];
            assert_eq!((stage.worth_it, stage.doubtful), (None, false));
            assert!((compared.total.before_s - total_s).abs() < 1e-9);
            assert!((compared.total.after_s - 1.0).abs() < 1e-9);
            let text = compared.render();
            assert!(text.contains("\na          2.00 -> 1.00\n"), "{text}");
            assert!(!text.contains("leaves out") && compared.closing().is_none());
        }
        let alike = compare(&runs(2, [1.0, 1.2, 0.9]), &runs(2, [1.0, 1.1, 0.9]), &[]);
        assert_eq!(alike.stages[0].worth_it, None);
        assert!(alike.doubtful().is_empty());
    }
}
