//! What a word changed in the pipeline file was worth: beside each stage's time the one of the run before, where the
//! stage had other settings then.

use serde_json::{Map, Value};

use super::{Report, StageReport, Status, seconds};

/// A smaller difference is noise: two runs of one pipeline file differ by as much.
const LEAST_S: f64 = 0.02;

/// And so is one that is a smaller share of the longer time.
const LEAST_SHARE: f64 = 0.2;

/// The report names at most so many changes of one stage.
const CHANGES: usize = 2;

/// A value of more characters says less than that it changed.
const VALUE_CHARS: usize = 30;

/// What a stage took before its settings changed.
#[derive(Debug, PartialEq)]
pub struct Since {
    /// The stage.
    pub stage: String,
    /// What it took then.
    pub before_s: f64,
    /// What it took now.
    pub after_s: f64,
    /// What changed, as the pipeline file would say it.
    pub change: String,
}

/// For each stage of a run that is done, the newest of the `earlier` runs of the same pipeline file (the newest
/// first) in which it had the same rows to work on in the same way, if its settings were others in that run and the
/// difference is more than noise. One run decides, so that a change is reported after the first run that has it.
pub fn since(report: &Report, earlier: impl IntoIterator<Item = Report>) -> Vec<Since> {
    let mut open: Vec<&StageReport> = match report.status {
        Status::Done => report.stages.iter().collect(),
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    let mut earlier = earlier.into_iter();
    while !open.is_empty()
        && let Some(run) = earlier.next()
    {
        let comparable = run.status == Status::Done
            && run.mode == report.mode
            && run.machine.cores == report.machine.cores;
        if !comparable {
            continue;
        }
        open.retain(|stage| {
            let before = run.stages.iter().find(|before| before.name == stage.name);
            let Some(before) = before.filter(|before| same_work(before, stage)) else {
                return true;
            };
            let is_shown =
                differs(before, stage) && (report.mode == "staged" || is_own(before, stage));
            let change = change(before, stage, &report.machine).filter(|_| is_shown);
            found.extend(change.map(|change| Since {
                stage: stage.name.clone(),
                before_s: before.wall_s,
                after_s: stage.wall_s,
                change,
            }));
            false
        });
    }
    let place = |since: &Since| report.stages.iter().position(|it| it.name == since.stage);
    found.sort_by_key(place);
    found
}

/// Whether the times of a stage differ by more than those of two runs with the same settings do.
fn differs(before: &StageReport, after: &StageReport) -> bool {
    let difference_s = (before.wall_s - after.wall_s).abs();
    difference_s >= LEAST_S && difference_s >= LEAST_SHARE * before.wall_s.max(after.wall_s)
}

/// A line each: `dates: 1450 s -> 380 s since parallel = true`.
pub fn lines(all: &[Since], report: &Report) -> String {
    let line = |since: &Since| {
        format!(
            "{}: {} s -> {} s since {}\n",
            since.stage,
            seconds(since.before_s),
            seconds(since.after_s),
            since.change
        )
    };
    let mut text: String = all.iter().map(line).collect();
    if !all.is_empty() && report.mode != "staged" {
        text.push_str("(stages overlap in a streamed run: `etl compare` times each by itself)\n");
    }
    text
}

/// Whether it is the stage's own work that took another time: where stages overlap, it may as well have waited
/// longer for its input or its readers, which its settings are not to blame for.
fn is_own(before: &StageReport, after: &StageReport) -> bool {
    let work_s =
        |stage: &StageReport| stage.busy_s / (stage.processes * stage.threads).max(1) as f64;
    let (wall_s, work_s) = (after.wall_s - before.wall_s, work_s(after) - work_s(before));
    wall_s.signum() == work_s.signum() && work_s.abs() >= wall_s.abs() / 2.0
}

/// Whether a stage had the same to do.
fn same_work(before: &StageReport, after: &StageReport) -> bool {
    before.kind == after.kind && before.rows_in == after.rows_in
}

/// What the settings of a stage are now and were not; `None`: they are the same.
fn change(before: &StageReport, after: &StageReport, machine: &super::Machine) -> Option<String> {
    let mut changes = grid(before, after, machine.cores);
    if before.batch_rows != after.batch_rows {
        changes.push(match after.batch_rows {
            Some(rows) => format!("batch_rows = {rows}"),
            None => "batch_rows is the default".into(),
        });
    }
    let none = Map::new();
    let (was, is) = (
        before.options.as_object().unwrap_or(&none),
        after.options.as_object().unwrap_or(&none),
    );
    for (key, value) in is
        .iter()
        .filter(|(key, value)| was.get(*key) != Some(value))
    {
        changes.push(said(key, value));
    }
    for key in was.keys().filter(|key| !is.contains_key(*key)) {
        changes.push(format!("{key} is the default"));
    }
    let more = changes.len().saturating_sub(CHANGES);
    changes.truncate(CHANGES);
    if more > 0 {
        changes.push(format!("{more} more"));
    }
    (!changes.is_empty()).then(|| changes.join(", "))
}

fn said(key: &str, value: &Value) -> String {
    let value = value.to_string();
    if value.chars().count() > VALUE_CHARS {
        format!("{key} changed")
    } else {
        format!("{key} = {value}")
    }
}

/// How a stage is executed now, in the words of the pipeline file.
fn grid(before: &StageReport, after: &StageReport, cores: usize) -> Vec<String> {
    let (was, is) = (before, after);
    let mut changes = Vec::new();
    let new = was.executor != is.executor;
    if new && was.executor == "cluster" {
        changes.push("without `--cluster`".into());
    } else if new {
        changes.push(match is.executor.as_str() {
            "sequential" => "parallel = false".into(),
            "threads" if was.executor == "sequential" => "parallel = true".into(),
            "cluster" => "`--cluster`".into(),
            executor => format!("executor = \"{executor}\""),
        });
    }
    let one_a_core = new.then_some(cores);
    let workers = |is: usize, was: usize| {
        let usual = one_a_core.unwrap_or(was);
        (is != usual).then(|| format!("workers = {is}"))
    };
    match is.executor.as_str() {
        "threads" => changes.extend(workers(is.threads, was.threads)),
        "processes" => changes.extend(workers(is.processes, was.processes)),
        "hybrid" => {
            for (key, is, was) in [
                ("processes", is.processes, was.processes),
                ("threads", is.threads, was.threads),
            ] {
                if new || is != was {
                    changes.push(format!("{key} = {is}"));
                }
            }
        }
        _ => {}
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use serde_json::json;
    use std::path::Path;

    fn stage(name: &str, executor: &str, workers: usize, wall_s: f64) -> StageReport {
        let (processes, threads) = match executor {
            "processes" => (workers, 1),
            "hybrid" => (2, workers),
            _ => (1, workers),
        };
        StageReport {
            executor: executor.into(),
            processes,
            threads,
            wall_s,
            options: json!({ "column": "a" }),
            ..StageReport::named(name)
        }
    }

    fn run(stages: Vec<StageReport>) -> Report {
        let mut report = Report::of_no_run(Path::new("p.toml"), &Error::failed("none"));
        (report.status, report.mode) = (Status::Done, "staged".into());
        report.machine.cores = 8;
        report.stages = stages;
        report
    }

    /// The lines about one stage, from its earlier and its present report.
    fn lines_of(was: StageReport, is: StageReport) -> String {
        let now = run(vec![is]);
        lines(&since(&now, [run(vec![was])]), &now)
    }

    #[test]
    fn a_word_toggled_is_told_with_its_worth() {
        let one = || stage("grouping", "sequential", 1, 920.0);
        let with = |change: fn(&mut StageReport)| {
            let mut stage = stage("grouping", "threads", 8, 169.0);
            change(&mut stage);
            stage
        };
        let cases = [
            (with(|_| {}), "parallel = true"),
            (with(|s| s.threads = 4), "parallel = true, workers = 4"),
            (
                stage("grouping", "processes", 8, 169.0),
                "executor = \"processes\"",
            ),
            (
                stage("grouping", "hybrid", 4, 169.0),
                "executor = \"hybrid\", processes = 2, 1 more",
            ),
            (
                with(|s| (s.executor, s.threads, s.batch_rows) = ("sequential".into(), 1, Some(9))),
                "batch_rows = 9",
            ),
        ];
        for (after, change) in cases {
            let line = format!("grouping: 920 s -> 169 s since {change}\n");
            assert_eq!(lines_of(one(), after), line);
        }
        assert_eq!(
            lines_of(with(|_| {}), one()),
            "grouping: 169 s -> 920 s since parallel = false\n"
        );
        assert_eq!(
            lines_of(
                with(|s| s.wall_s = 300.0),
                with(|s| s.options = json!({ "column": "b", "at_least": 5 }))
            ),
            "grouping: 300 s -> 169 s since column = \"b\", at_least = 5\n"
        );
    }

    #[test]
    fn a_setting_is_not_blamed_for_waiting() {
        let streamed = |wall_s, busy_s, format: &str| {
            let mut stage = stage("dated", "threads", 2, wall_s);
            stage.busy_s = busy_s;
            stage.options = json!({ "formats": [format] });
            let mut report = run(vec![stage]);
            report.mode = "streamed".into();
            report
        };
        let found = |then, now| since(&now, [then]).len();
        // 0.8 s of work of two threads each time: it waited.
        assert_eq!(found(streamed(0.45, 0.8, "a"), streamed(2.21, 0.8, "b")), 0);
        assert_eq!(found(streamed(0.45, 0.8, "a"), streamed(2.21, 4.0, "b")), 1);
        assert_eq!(found(streamed(2.21, 4.0, "a"), streamed(0.45, 0.8, "b")), 1);
    }

    #[test]
    fn only_what_can_be_compared_is() {
        let now = || {
            run(vec![
                stage("a", "threads", 8, 1.0),
                stage("b", "threads", 8, 0.001),
            ])
        };
        let then = || {
            run(vec![
                stage("a", "sequential", 1, 4.0),
                stage("b", "sequential", 1, 0.001),
            ])
        };
        let with = |change: fn(&mut Report)| {
            let mut then = then();
            change(&mut then);
            then
        };
        let found = |earlier: Vec<Report>| since(&now(), earlier).len();
        assert_eq!(found(vec![then()]), 1, "what took no time is not reported");
        assert_eq!(found(vec![now()]), 0);
        assert_eq!(found(vec![with(|r| r.status = Status::Failed)]), 0);
        assert_eq!(found(vec![with(|r| r.mode = "streamed".into())]), 0);
        assert_eq!(found(vec![with(|r| r.machine.cores = 2)]), 0);
        assert_eq!(found(vec![with(|r| r.stages[0].rows_in = 5)]), 0);
        // The newest run with the same work decides, not one before it; a run of other rows decides nothing.
        assert_eq!(found(vec![now(), then()]), 0, "an old change");
        let (older, of_others) = (
            with(|r| r.stages[0].wall_s = 9.0),
            with(|r| r.stages[0].rows_in = 5),
        );
        let all = since(&now(), [of_others, then(), older]);
        assert_eq!((all[0].stage.as_str(), all[0].before_s), ("a", 4.0));
    }

    #[test]
    fn noise_is_no_difference() {
        let took = |then_s, now_s| {
            let now = stage("grouping", "threads", 8, now_s);
            lines_of(stage("grouping", "sequential", 1, then_s), now)
        };
        for (then_s, now_s) in [(1.0, 0.85), (0.85, 1.0), (0.02, 0.001), (0.03, 0.045)] {
            assert_eq!(took(then_s, now_s), "", "{then_s} s, then {now_s} s");
        }
        for (then_s, now_s) in [(1.0, 0.79), (0.79, 1.0), (0.05, 0.02)] {
            assert_ne!(took(then_s, now_s), "", "{then_s} s, then {now_s} s");
        }
    }
}
