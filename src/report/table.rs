//! The report as text: a table that fits 80 columns, then what else the user should know.

use super::{Report, StageReport, Status};
use crate::shown::{self, bytes, rows, seconds, things, thousands};
use crate::stage::{self, Figures, NULLED};

/// Columns of the narrowest terminal that is looked after.
const WIDTH: usize = 80;

/// The table, totals, match rates and rejects. Warnings are printed apart.
pub fn render(report: &Report) -> String {
    plain(&HEADS, &cells(report), &ALIGN) + "\n" + &below(report)
}

/// The same with what was printed apart when the run ended: warnings, notes, and why it failed.
pub fn whole(report: &Report) -> String {
    render(report) + &apart(report)
}

/// The same for an issue or a page.
pub fn markdown(report: &Report) -> String {
    format!(
        "{}\n```text\n{}{}```\n",
        as_markdown(&HEADS, &cells(report), &ALIGN),
        below(report),
        apart(report)
    )
}

fn below(report: &Report) -> String {
    let mut text = totals(report) + &cluster(report) + &inputs(report);
    for stage in &report.stages {
        text.push_str(&nulled(stage));
        text.push_str(&of_kind(stage));
        text.push_str(&processes(stage));
    }
    text.push_str(&rejects(report));
    text.push_str(&results(report));
    text
}

/// Where the results are.
fn results(report: &Report) -> String {
    let of = |stage: &StageReport| {
        let published = stage.published.as_ref()?;
        let size = published.bytes.map(|count| format!(", {}", bytes(count)));
        let (place, size) = (shown::line(&published.place), size.unwrap_or_default());
        Some(format!("{}: wrote {place}{size}\n", stage.name))
    };
    report.stages.iter().filter_map(of).collect()
}

fn apart(report: &Report) -> String {
    let mut text = String::new();
    for stage in &report.stages {
        for warning in &stage.warnings {
            let warning = warning.replace('\n', "\n  ");
            text.push_str(&format!("warning: stage `{}`: {warning}\n", stage.name));
        }
    }
    for note in &report.notes {
        text.push_str(&format!("note: {}\n", note.replace('\n', "\n  ")));
    }
    if let Some(error) = &report.error {
        let stage = error.stage.as_ref();
        let stage = stage.map(|stage| format!("stage `{stage}`: "));
        let stage = stage.unwrap_or_default();
        let message = error.message.replace('\n', "\n  ");
        let how = match report.status {
            Status::Interrupted => "ended",
            Status::Done | Status::Failed => "failed",
        };
        text.push_str(&format!("it {how}: {stage}{message}\n"));
    }
    text
}

const HEADS: [&str; 8] = [
    "stage", "executor", "rows in", "rows out", "rejected", "wall s", "busy s", "waited",
];

/// Words to the left, numbers to the right.
const ALIGN: [Align; 8] = [
    Align::Left,
    Align::Left,
    Align::Right,
    Align::Right,
    Align::Right,
    Align::Right,
    Align::Right,
    Align::Right,
];

/// Where a cell stands in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// As words do.
    Left,
    /// As numbers do.
    Right,
}

fn cells(report: &Report) -> Vec<[String; 8]> {
    report.stages.iter().map(row).collect()
}

/// Rows under their heads, in at most 80 columns: the first cell is cut in its middle where all are wider.
pub fn plain<const N: usize>(
    heads: &[&str; N],
    rows: &[[String; N]],
    align: &[Align; N],
) -> String {
    let mut widths = heads.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(shown::line(cell).chars().count());
        }
    }
    let others: usize = widths[1..].iter().map(|width| width + 1).sum();
    widths[0] = widths[0].min(WIDTH.saturating_sub(others).max(8));
    let mut text = line(&heads.map(String::from), &widths, align);
    for row in rows {
        text.push_str(&line(row, &widths, align));
    }
    text
}

/// The same for an issue or a page.
pub fn as_markdown<const N: usize>(
    heads: &[&str; N],
    rows: &[[String; N]],
    align: &[Align; N],
) -> String {
    let line = |cells: &[String; N]| {
        let cells = cells.each_ref().map(|cell| shown::line(cell));
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = align.map(|align| match align {
        Align::Left => "---".to_owned(),
        Align::Right => "---:".to_owned(),
    });
    let rows: String = rows.iter().map(line).collect();
    line(&heads.map(String::from)) + &line(&rule) + &rows
}

fn row(stage: &StageReport) -> [String; 8] {
    [
        stage.name.clone(),
        executor(stage),
        thousands(stage.rows_in),
        thousands(stage.rows_out),
        thousands(stage.rejected),
        seconds(stage.wall_s),
        seconds(stage.busy_s),
        seconds(stage.waited_s()),
    ]
}

/// The executor and its workers, in a word or two.
fn executor(stage: &StageReport) -> String {
    match (stage.processes, stage.threads) {
        _ if stage.executor == "sequential" => stage.executor.clone(),
        (tasks, _) if stage.executor == "cluster" => format!("cluster {tasks}"),
        (1, threads) if stage.executor == "threads" => format!("{} {threads}", stage.executor),
        (processes, 1) if stage.executor == "processes" => {
            format!("{} {processes}", stage.executor)
        }
        (processes, threads) => format!("{} {processes}x{threads}", stage.executor),
    }
}

fn line<const N: usize>(cells: &[String; N], widths: &[usize; N], align: &[Align; N]) -> String {
    let mut line = String::new();
    for ((cell, &width), align) in cells.iter().zip(widths).zip(align) {
        let cell = shown::line(cell);
        let shown = both_ends(&cell, width);
        match align {
            Align::Left => line.push_str(&format!("{shown:<width$} ")),
            Align::Right => line.push_str(&format!("{shown:>width$} ")),
        }
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

/// A name in at most `width` characters: of a longer one both ends, because names that begin alike differ later.
pub fn both_ends(name: &str, width: usize) -> String {
    let chars: Vec<char> = name.chars().collect();
    if chars.len() <= width {
        return name.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (head, tail) = (&chars[..kept.div_ceil(2)], &chars[chars.len() - kept / 2..]);
    [head, &['…'], tail].concat().into_iter().collect()
}

/// What the cluster did.
fn cluster(report: &Report) -> String {
    let Some(cluster) = &report.cluster else {
        return String::new();
    };
    let mut words = vec![format!("began in {} s", seconds(cluster.start_s))];
    if cluster.tasks > 0 {
        let peak = bytes(cluster.task_peak_rss_bytes);
        words.push(format!(
            "{} of at most {peak} of memory",
            things(cluster.tasks, "task")
        ));
    }
    if let Some(failed @ 1..) = cluster.failed_tasks {
        words.push(format!("{} tried again", things(failed, "task")));
    }
    if let Some(lost @ 1..) = cluster.lost_executors {
        words.push(format!("{} lost", things(lost, "executor")));
    }
    if let Some(exchanged) = cluster.exchanged_bytes {
        words.push(format!("{} exchanged", bytes(exchanged)));
    }
    format!("{}: {}\n", cluster.engine, words.join(", "))
}

fn totals(report: &Report) -> String {
    let how = match report.status {
        Status::Done => "done",
        Status::Failed => "failed",
        Status::Interrupted => "interrupted",
    };
    format!(
        "{how} in {} s ({}), {} s CPU {}, peak {} MB; run {}\n",
        seconds(report.wall_s),
        report.mode,
        seconds(report.cpu_s),
        match &report.cluster {
            // Some of it here, some on the cluster.
            Some(_) => "in all".to_owned(),
            None => format!("on {} cores", report.machine.cores),
        },
        thousands(report.peak_rss_bytes >> 20),
        report.run
    )
}

/// How much was read, and what a GB of it took; of a run that did not end well how much of its files it has worked
/// on. Of a few megabytes that says nothing.
fn inputs(report: &Report) -> String {
    let amount = report.amount();
    let is_small = amount.text.max(amount.all) < 10_000_000;
    let all = bytes(amount.all);
    // A pipe has no size.
    let read = if amount.read < amount.all {
        format!("{} of {all}", bytes(amount.read))
    } else {
        bytes(amount.read)
    };
    let text = match (amount.text, amount.is_text) {
        (0, _) => String::new(),
        (text, true) => format!(", {} of text", bytes(text)),
        (text, false) => format!(", {} of text among it", bytes(text)),
    };
    match (report.read_bytes, report.s_per_gb) {
        _ if is_small => String::new(),
        (Some(read), _) => format!("read {} of {all}{text}\n", bytes(read)),
        (None, Some(s_per_gb)) => {
            format!("read {read}{text}: {} s a GB\n", seconds(s_per_gb))
        }
        (None, None) => String::new(),
    }
}

/// How many values a stage could not use and made null.
fn nulled(stage: &StageReport) -> String {
    let Some(&count) = stage.counts.get(NULLED).filter(|&&count| count > 0) else {
        return String::new();
    };
    let values = match count {
        1 => "1 value does not fit and became null".to_owned(),
        count => format!("{} values do not fit and became null", thousands(count)),
    };
    let of = |(name, count): (&String, &u64)| {
        let column = name.strip_suffix(" unparsed")?;
        Some(format!("`{}` {}", shown::line(column), thousands(*count)))
    };
    let columns: Vec<String> = stage.counts.iter().filter_map(of).collect();
    let columns = if columns.is_empty() {
        String::new()
    } else {
        format!(": {}", columns.join(", "))
    };
    format!("{}: {values}{columns}\n", stage.name)
}

/// What the stage's kind makes of the figures.
fn of_kind(stage: &StageReport) -> String {
    let figures = Figures {
        counts: &stage.counts,
        rows_in: stage.rows_in,
        added: stage.added,
        wall_s: stage.wall_s,
        cpu_s: stage.cpu_s,
        open_s: stage.open_s,
        sessions: stage.sessions,
    };
    let lines = stage::kind(&stage.kind).map_or_else(Vec::new, |kind| (kind.lines)(&figures));
    let lines = lines.iter().map(|line| format!("{}: {line}\n", stage.name));
    lines.collect()
}

/// What child processes cost.
fn processes(stage: &StageReport) -> String {
    if stage.start_s + stage.copy_s == 0.0 {
        return String::new();
    }
    format!(
        "{}: {} {} took {} s to start, {} s to open, {} s to copy rows\n",
        stage.name,
        stage.processes,
        if stage.processes == 1 {
            "process"
        } else {
            "processes"
        },
        seconds(stage.start_s),
        seconds(stage.open_s),
        seconds(stage.copy_s)
    )
}

/// So many reasons of rejects are shown.
const REASONS: usize = 5;

fn rejects(report: &Report) -> String {
    let Some(file) = &report.rejects.file else {
        return String::new();
    };
    let mut text = format!("{} rejected, all in {file}\n", rows(report.rejects.rows));
    let shown = report.rejects.reasons.iter().take(REASONS);
    for reason in shown.clone() {
        text.push_str(&format!("  {}\n", shown::line(&reason.to_string())));
    }
    let listed: u64 = shown.map(|reason| reason.rows).sum();
    let more = report.rejects.rows.saturating_sub(listed);
    if more > 0 && listed > 0 {
        text.push_str(&format!("  {} for other reasons\n", rows(more)));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::error::Error;
    use crate::stage::InputFile;

    #[test]
    fn a_run_that_did_not_end_well_says_how_much_of_its_files_it_has_worked_on() {
        let mut report = Report::of_no_run(Path::new("p.toml"), &Error::failed("no"));
        report.inputs = vec![InputFile {
            file: "orders.csv".into(),
            bytes: 133_000_000,
            modified: None,
            etag: None,
        }];
        report.stages = vec![StageReport::named("load")];
        report.stages[0]
            .counts
            .insert("text_bytes".into(), 9_570_000);
        report.read_bytes = Some(9_500_000);
        assert_eq!(inputs(&report), "read 9.50 MB of 133 MB, 9.57 MB of text\n");
        (report.read_bytes, report.s_per_gb) = (None, Some(1.5));
        assert_eq!(
            inputs(&report),
            "read 133 MB, 9.57 MB of text: 1.50 s a GB\n"
        );
    }

    #[test]
    fn time_is_set_against_text_if_all_is_text_and_else_against_what_was_read_of_files() {
        const M: u64 = 1_000_000;
        // Of each stage the bytes that it read of its files, and of text.
        for (stages, files, line) in [
            (&[][..], 35 * M, "read 35.0 MB: 2000 s a GB\n"),
            (
                &[(None, 70)],
                35 * M,
                "read 35.0 MB, 70.0 MB of text: 1000 s a GB\n",
            ),
            (
                &[(Some(35), 70)],
                35 * M,
                "read 35.0 MB, 70.0 MB of text: 1000 s a GB\n",
            ),
            (&[(Some(35), 0)], 35 * M, "read 35.0 MB: 2000 s a GB\n"),
            (
                &[(Some(5), 0)],
                35 * M,
                "read 5.00 MB of 35.0 MB: 14000 s a GB\n",
            ),
            (
                &[(Some(34), 0), (Some(1), 7), (None, 0)],
                35 * M,
                "read 35.0 MB, 7.00 MB of text among it: 2000 s a GB\n",
            ),
            (
                &[(Some(4), 0), (Some(1), 7)],
                35 * M,
                "read 5.00 MB of 35.0 MB, 7.00 MB of text among it: 14000 s a GB\n",
            ),
            // An empty file, and standard input.
            (
                &[(Some(35), 70), (Some(0), 0)],
                35 * M,
                "read 35.0 MB, 70.0 MB of text: 1000 s a GB\n",
            ),
            (
                &[(Some(70), 70)],
                0,
                "read 70.0 MB, 70.0 MB of text: 1000 s a GB\n",
            ),
        ] {
            let mut report = Report::of_no_run(Path::new("p.toml"), &Error::failed("no"));
            report.wall_s = 70.0;
            report.inputs = vec![InputFile {
                file: "in".into(),
                bytes: files,
                modified: None,
                etag: None,
            }];
            report.stages = stages
                .iter()
                .map(|(read, text)| {
                    let mut stage = StageReport::named("load");
                    let read = read.map(|read: u64| ("file_bytes", read));
                    let text = (*text > 0).then_some(("text_bytes", *text));
                    let counts = read.into_iter().chain(text);
                    stage.counts = counts.map(|(name, mb)| (name.to_owned(), mb * M)).collect();
                    stage
                })
                .collect();
            report.s_per_gb = report.per_gb();
            assert_eq!(inputs(&report), line);
        }
    }

    #[test]
    fn values_that_became_null_are_counted() {
        let mut stage = StageReport::named("dates");
        assert_eq!(nulled(&stage), "");
        for (name, count) in [
            (NULLED, 1_203),
            ("a %Y", 9),
            ("a unparsed", 1_200),
            ("b unparsed", 3),
        ] {
            stage.counts.insert(name.into(), count);
        }
        let says = "dates: 1,203 values do not fit and became null: `a` 1,200, `b` 3\n";
        assert_eq!(nulled(&stage), says);
        assert_eq!(of_kind(&stage), "", "no kind has this name");
    }

    #[test]
    fn names_that_begin_alike_stay_distinct() {
        assert_eq!(both_ends("inspections", 11), "inspections");
        assert_eq!(
            both_ends("inspections_2024_cleaned", 16),
            "inspecti…cleaned"
        );
        assert_eq!(both_ends("inspections", 2), "i…");
        let stage = |end: &str| {
            let mut stage = StageReport::named(&format!("inspections_of_restaurants_{end}"));
            (stage.rows_in, stage.rows_out) = (123_456_789, 123_456_789);
            stage
        };
        let rows = [stage("cleaned"), stage("of_the_city_and_county")].map(|stage| row(&stage));
        let text = plain(&HEADS, &rows, &ALIGN);
        let mut names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        names.dedup();
        assert_eq!(names.len(), 3, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
    }
}
