//! The curve as text that fits 80 columns, and as JSON.

use serde_json::{Value, json};

use super::curve::{Point, Setting};
use super::{Outcome, name_of};
use crate::executor::Kind;
use crate::report::{rows, things, thousands};

/// Columns of the narrowest terminal that is looked after.
const WIDTH: usize = 80;
/// What follows a bar: the speedup, and which one it is.
const TAIL: usize = " 123.45 knee, best".len();

/// Runs of one setting that differ by more than this make small gains invisible.
const BUSY: f64 = 0.08;

/// The table, the chart, and what follows from them.
pub fn render(outcome: &Outcome) -> String {
    let mut text = head(outcome);
    text.push_str(&table(outcome));
    text.push('\n');
    text.push_str(&chart(outcome));
    text.push('\n');
    text.push_str(&verdict(outcome));
    text
}

/// What was measured on what.
fn head(outcome: &Outcome) -> String {
    let all = if outcome.whole {
        "all its rows"
    } else {
        "its first rows"
    };
    let held = match outcome.held_bytes {
        0 => String::new(),
        bytes => format!(
            ", input held in memory ({} MB)",
            thousands((bytes as u64).div_ceil(1 << 20))
        ),
    };
    let rows = rows(outcome.rows);
    format!(
        "{} ({}): {rows}, {all}{held}\n\n",
        outcome.stage, outcome.kind
    )
}

/// Speedups over the first setting.
fn speedup(outcome: &Outcome, point: &Point) -> f64 {
    let base = outcome.curve.points.first().map_or(0.0, Point::wall_s);
    base / point.wall_s().max(f64::MIN_POSITIVE)
}

/// The columns of the table that do not depend on what was tried, and how wide they are.
const COLUMNS: [(&str, usize); 4] = [("wall s", 7), ("spread", 6), ("rows/s", 10), ("speedup", 7)];
/// What processes cost beside the work, of all of them added up.
const COSTS: [(&str, usize); 3] = [("start s", 7), ("open s", 6), ("copy s", 6)];

fn table(outcome: &Outcome) -> String {
    let points = &outcome.curve.points;
    let children = points.iter().any(|point| has_children(point.setting));
    let batches = points
        .iter()
        .any(|point| point.setting.batch != outcome.now.batch);
    let unit = outcome.unit.as_ref().filter(|_| batches);
    let mut text = format!("{:<12}", "setting");
    if let Some(unit) = unit {
        text.push_str(&format!(" {:>10}", unit.name));
    }
    let costs = COSTS.iter().filter(|_| children);
    for (head, width) in COLUMNS.iter().chain(costs) {
        text.push_str(&format!(" {head:>width$}"));
    }
    text.push('\n');
    for (at, point) in points.iter().enumerate() {
        text.push_str(&format!("{:<12}", name_of(point.setting, None)));
        if let (Some(_), Some(batch)) = (unit, point.setting.batch) {
            text.push_str(&format!(" {batch:>10}"));
        }
        let wall_s = point.wall_s();
        let mut cells = vec![
            seconds(wall_s),
            point
                .spread()
                .map_or("1 run".into(), |spread| format!("{:.0} %", spread * 100.0)),
            rate(outcome.rows, wall_s),
            format!("{:.2}", speedup(outcome, point)),
        ];
        if outcome.curve.spoils(at) {
            // What is lost takes no time.
            cells[2..].fill("-".into());
        }
        if has_children(point.setting) {
            cells.push(seconds(point.median(|run| run.start_s)));
            cells.push(seconds(point.median(|run| run.open_s)));
            cells.push(seconds(point.median(|run| run.copy_s)));
        }
        for (cell, (_, width)) in cells.iter().zip(COLUMNS.iter().chain(&COSTS)) {
            text.push_str(&format!(" {cell:>width$}"));
        }
        text.push('\n');
    }
    text
}

/// Whether batches are processed in child processes.
fn has_children(setting: Setting) -> bool {
    matches!(setting.grid.kind, Kind::Processes | Kind::Hybrid)
}

/// A bar a setting, as long as it is fast.
fn chart(outcome: &Outcome) -> String {
    let (best, knee) = (outcome.curve.best(), outcome.curve.knee());
    let points = &outcome.curve.points;
    let name = |point: &Point| outcome.name(point.setting);
    let wide = points.iter().map(|point| name(point).chars().count());
    let wide = wide.max().unwrap_or_default();
    let most = speedup(outcome, &points[best]);
    let room = WIDTH.saturating_sub(wide + 2 + TAIL).max(8);
    let mut text = String::new();
    for (at, point) in points.iter().enumerate() {
        let faster = speedup(outcome, point);
        let mark = match (at == knee, at == best) {
            (true, true) => " knee, best".into(),
            (true, false) => " knee".into(),
            (false, true) => " best".into(),
            (false, false) => String::new(),
        };
        if outcome.curve.spoils(at) {
            let rejected = thousands(point.rejected());
            text.push_str(&format!("{:<wide$} | rejects {rejected}\n", name(point)));
            continue;
        }
        let bar = bar(faster / most.max(f64::MIN_POSITIVE), room);
        text.push_str(&format!(
            "{:<wide$} |{bar} {faster:.2}{mark}\n",
            name(point)
        ));
    }
    text
}

/// A share of `room` columns, in eighths of a column.
fn bar(share: f64, room: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of some columns"
    )]
    let eighths = (share.clamp(0.0, 1.0) * room as f64 * 8.0).round() as usize;
    "█".repeat(eighths / 8) + PARTS[eighths % 8]
}

/// What is named, and how sure that is.
fn verdict(outcome: &Outcome) -> String {
    let curve = &outcome.curve;
    let (knee, best) = (&curve.points[curve.knee()], &curve.points[curve.best()]);
    let name = outcome.name(knee.setting);
    let of = |point: &Point| format!("{:.2} times sequential", speedup(outcome, point));
    let mut lines = Vec::new();
    if knee.setting == curve.points[0].setting {
        lines.push(format!("knee: {name}: nothing gains on it beyond noise"));
    } else if knee.setting == best.setting {
        lines.push(format!("knee: {name}: {}, the best found", of(knee)));
    } else {
        let best = outcome.name(best.setting);
        lines.push(format!("knee: {name}: {},", of(knee)));
        lines.push(format!("  as good as {best}"));
    }
    let now = curve
        .points
        .iter()
        .find(|point| point.setting == outcome.now);
    if knee.setting == outcome.now {
        lines.push("the file says so already".into());
    } else {
        let now = now.map_or(String::new(), |now| {
            format!(": {} s", seconds(now.wall_s()))
        });
        let name = outcome.name(outcome.now);
        lines.push(format!("the file says {name}{now}"));
    }
    let spoiling = (0..curve.points.len()).filter(|&at| curve.spoils(at));
    let spoilt = match spoiling.count() {
        0 => None,
        1 => Some("one setting rejects rows that sequential does not: it is not named".into()),
        n => Some(format!(
            "{n} settings reject rows that sequential does not: they are not named"
        )),
    };
    lines.extend(spoilt);
    if outcome.first.rejected > 0 {
        lines.push(format!(
            "sequential {} of {} rejected: `etl run` shows why",
            thousands(outcome.first.rejected),
            rows(outcome.rows)
        ));
    }
    let waited = outcome.first.waited_s() / outcome.first.busy_s.max(f64::MIN_POSITIVE);
    lines.push(format!(
        "sequential it waits {:.0} % of its time",
        waited * 100.0
    ));
    let enough = if curve.out_of_time {
        ": not enough to try all, `--budget` gives more"
    } else {
        ""
    };
    lines.push(format!(
        "{} in {:.0} s of {:.0} s{enough}",
        things(outcome.runs as u64, "run"),
        outcome.spent_s,
        outcome.budget_s,
    ));
    if curve.deviation() > BUSY {
        lines.push(format!(
            "runs differ by {:.0} %: what gains less may be overlooked; is the machine busy?",
            curve.deviation() * 100.0
        ));
    }
    lines.join("\n") + "\n"
}

/// Rows a second, in few characters.
fn rate(rows: u64, wall_s: f64) -> String {
    let rate = rows as f64 / wall_s.max(f64::MIN_POSITIVE);
    if rate < 99.95 {
        return format!("{rate:.1}");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number of rows"
    )]
    thousands(rate as u64)
}

/// Three digits that mean something.
fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 9.9995 => format!("{s:.3}"),
        s if s < 99.95 => format!("{s:.1}"),
        s => format!("{s:.0}"),
    }
}

/// All of it for a machine.
pub fn as_json(outcome: &Outcome) -> Value {
    let curve = &outcome.curve;
    let setting = |setting: Setting| {
        json!({
            "executor": setting.grid.kind.as_str(),
            "processes": setting.grid.processes,
            "threads": setting.grid.threads,
            "batch": setting.batch,
        })
    };
    let points = curve.points.iter().map(|point| {
        let wall_s = point.wall_s();
        json!({
            "name": outcome.name(point.setting),
            "setting": setting(point.setting),
            "wall_s": wall_s,
            "spread": point.spread(),
            "rows_per_s": outcome.rows as f64 / wall_s.max(f64::MIN_POSITIVE),
            "speedup": speedup(outcome, point),
            "rejected": point.rejected(),
            "runs": point.runs,
        })
    });
    json!({
        "stage": outcome.stage,
        "kind": outcome.kind,
        "batch_unit": outcome.unit.as_ref().map(|unit| unit.name),
        "rows": outcome.rows,
        "all_rows": outcome.whole,
        "held_bytes": outcome.held_bytes,
        "points": points.collect::<Vec<_>>(),
        "knee": setting(curve.points[curve.knee()].setting),
        "best": setting(curve.points[curve.best()].setting),
        "now": setting(outcome.now),
        "deviation": curve.deviation(),
        "waited_s": outcome.first.waited_s(),
        "busy_s": outcome.first.busy_s,
        "runs": outcome.runs,
        "spent_s": outcome.spent_s,
        "budget_s": outcome.budget_s,
        "out_of_time": curve.out_of_time,
    })
}
