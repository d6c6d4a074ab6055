//! A comparison as text: the table in the manner of the Donor's Choice post, what follows from it, and a verdict a
//! stage.

use std::path::Path;

use super::{Compared, Comparison, STAGED};
use crate::pipeline::NotTimed;
use crate::report::table::{self, Align};
use crate::report::verdict::{self, short};
use crate::schema::count;

impl Comparison {
    /// The table, and what follows from it.
    pub fn render(&self) -> String {
        let mut text = table::plain(&Self::HEADS, &self.rows(), &Self::ALIGN);
        text.push('\n');
        for line in self.conclusions() {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// The heads of [`Comparison::rows`].
    pub const HEADS: [&'static str; 7] = [
        "stage",
        "before -> after s",
        "speedup",
        "workers",
        "efficiency",
        "worth it",
        "saved s",
    ];

    /// Words to the left, numbers to the right.
    pub const ALIGN: [Align; 7] = [
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
    ];

    /// The cells of the table: a row a stage, and the total.
    pub fn rows(&self) -> Vec<[String; 7]> {
        let times = |before: f64, after: f64| format!("{} -> {}", short(before), short(after));
        let mut rows: Vec<[String; 7]> = Vec::new();
        for stage in self.stages.iter().filter(|stage| !stage.is_short()) {
            let worth_it = match (stage.worth_it, stage.doubtful) {
                (None, _) => "",
                (Some(true), false) => "yes",
                (Some(true), true) => "yes?",
                (Some(false), false) => "no",
                (Some(false), true) => "no?",
            };
            let both = times(stage.before_s.median_s, stage.after_s.median_s);
            if !stage.is_judged() {
                rows.push(with_times(&stage.name, both));
                continue;
            }
            rows.push([
                stage.name.clone(),
                both,
                format!("{:.2}x", stage.speedup),
                stage.workers.to_string(),
                format!("{:.2}", stage.efficiency),
                worth_it.into(),
                short(stage.saved_s),
            ]);
        }
        let brief: Vec<&Compared> = self
            .stages
            .iter()
            .filter(|stage| stage.is_short())
            .collect();
        if !brief.is_empty() {
            let sum = |of: fn(&Compared) -> f64| brief.iter().map(|stage| of(stage)).sum::<f64>();
            let before_s = sum(|stage| stage.before_s.median_s);
            let after_s = sum(|stage| stage.after_s.median_s);
            let name = format!("{} under 10 ms", brief.len());
            rows.push(with_times(&name, times(before_s, after_s)));
        }
        for stage in &self.not_timed {
            rows.push(with_times(&stage.name, "not timed".into()));
        }
        let total = &self.total;
        let all = self.left_out().is_empty();
        rows.push([
            if all { "total" } else { "total changed" }.into(),
            times(total.before_s, total.after_s),
            format!("{:.2}x", total.speedup),
            String::new(),
            String::new(),
            String::new(),
            short(total.saved_s),
        ]);
        rows
    }

    /// What follows from the table, a line each; wider than a screen, some of them.
    pub fn conclusions(&self) -> Vec<String> {
        let mut sides = format!("before: {}; after: {}", self.sides[0], self.sides[1]);
        if self.runs > 1 {
            sides.push_str(&format!("; medians of {} runs", self.runs));
        }
        if !self.run.is_empty() {
            sides.push_str(&format!("; comparison {}", self.run));
        }
        let mut lines = vec![sides];
        for NotTimed { name, why } in &self.not_timed {
            lines.push(format!("{name} was not timed: {why}"));
        }
        let left_out = self.left_out();
        if !left_out.is_empty() {
            lines.push(format!(
                "the total leaves out {} that ran alike, {} s",
                count(left_out.len(), "stage"),
                short(left_out.iter().sum())
            ));
        }
        if let Some((stage, share)) = self.longest() {
            lines.push(format!(
                "{stage} is now {:.0} % of the time: the rest can give at most {:.2}x",
                share * 100.0,
                verdict::amdahl(share)
            ));
        }
        if let Some(gz) = &self.largest_gz {
            let name = Path::new(&gz.file).file_name().unwrap_or_default();
            lines.push(format!(
                "a gz stream is inflated by one core: {} is {:.0} % of the {:.1} MB read, so that loading the files side by side gives at most {:.2}x",
                name.to_string_lossy(),
                gz.share * 100.0,
                gz.bytes as f64 / 1e6,
                verdict::amdahl(gz.share)
            ));
        }
        if let Some(streamed) = &self.total.streamed_s {
            lines.push(format!(
                "staged, one stage after another, after takes {} s; streamed, where they overlap, {} s",
                short(self.all_after_s()),
                short(streamed.median_s)
            ));
        }
        lines.push(match self.same_output {
            Some(true) => "both gave the same, by a digest of every stage's output".into(),
            Some(false) => format!(
                "they did NOT give the same: {}",
                self.differing().join(", ")
            ),
            None => "whether both gave the same is not known: not every run has digests".into(),
        });
        lines
    }

    /// What those stages take on the side after which the total leaves out: those that ran alike, where others
    /// did not.
    fn left_out(&self) -> Vec<f64> {
        if !self.stages.iter().any(Compared::is_judged) {
            return Vec::new();
        }
        let alike = self.stages.iter().filter(|stage| !stage.is_judged());
        alike.map(|stage| stage.after_s.median_s).collect()
    }

    /// The stage that takes longest after, and its share of the time; where stages overlap none has one.
    fn longest(&self) -> Option<(&str, f64)> {
        if self.modes[1] != STAGED {
            return None;
        }
        let time = |stage: &&Compared| stage.after_s.median_s;
        let longest = self
            .stages
            .iter()
            .max_by(|a, b| time(a).total_cmp(&time(b)))?;
        let share = time(&longest) / self.all_after_s().max(f64::MIN_POSITIVE);
        Some((&longest.name, share))
    }

    /// What all stages of the side after take, those that ran alike too.
    fn all_after_s(&self) -> f64 {
        self.stages.iter().map(|stage| stage.after_s.median_s).sum()
    }

    /// What to do, in a sentence; `None` where stages overlapped, or nothing was changed.
    pub fn closing(&self) -> Option<String> {
        let changed = self.stages.iter().filter(|stage| stage.is_judged());
        let changed: Vec<&Compared> = changed.collect();
        if changed.is_empty() {
            return None;
        }
        if self.is_busy() {
            return Some(
                "The machine has other work, so that none of this is sure: compare again when it is idle."
                    .into(),
            );
        }
        let (mut keep, mut drop, mut unsure) = (Vec::new(), Vec::new(), Vec::new());
        for stage in changed {
            let is_parallel = stage.after.executor != "sequential";
            let gains = !stage.is_short() && stage.saved_s > 0.0;
            let is_sure = stage.after_s.is_faster_than(&stage.before_s);
            match (gains, is_sure) {
                (true, false) => unsure.push(stage.name.as_str()),
                (true, true) if is_parallel => keep.push(stage.name.as_str()),
                (false, _) if is_parallel => drop.push(stage.name.as_str()),
                _ => {}
            }
        }
        let mut parts = Vec::new();
        if !drop.is_empty() {
            parts.push(format!("set {} to sequential", some(&drop)));
        }
        if !keep.is_empty() {
            parts.push(format!("keep {} parallel", all(&keep)));
        }
        if !unsure.is_empty() {
            parts.push(format!("measure {} with more runs", all(&unsure)));
        }
        let mut sentence = parts.join("; ");
        let first = sentence.get_mut(..1)?;
        first.make_ascii_uppercase();
        Some(sentence + ".")
    }

    /// What is to be thought of each stage, by its figures: the name, and a sentence. Nothing is to be said
    /// of stages that overlapped.
    pub fn verdicts(&self) -> Vec<(String, String)> {
        if self.modes.iter().any(|mode| mode != STAGED) {
            return Vec::new();
        }
        let verdict = |stage: &Compared| {
            let after = &stage.after;
            let mut words = format!(
                "{} (waits {:.0} %)",
                stage.bound.words(),
                verdict::waited_share(after).min(1.0) * 100.0
            );
            if let Some(bytes) = after.moved_bytes {
                words.push_str(&format!(", {:.1} MB", bytes as f64 / 1e6));
            }
            if verdict::has_processes(after) {
                words.push_str(&format!(
                    "; processes: {} s to start, {} to open, {} to copy",
                    short(after.start_s),
                    short(after.open_s),
                    short(after.copy_s)
                ));
            }
            (stage.name.clone(), format!("{words}; {}", stage.advice))
        };
        let long = self.stages.iter().filter(|stage| !stage.is_short());
        long.map(verdict).collect()
    }
}

/// A row of times alone.
fn with_times(name: &str, times: String) -> [String; 7] {
    let mut row = [const { String::new() }; 7];
    (row[0], row[1]) = (name.to_owned(), times);
    row
}

/// Names as a sentence lists them.
fn all(names: &[&str]) -> String {
    match names {
        [but_last @ .., last] if !but_last.is_empty() => {
            format!("{} and {last}", but_last.join(", "))
        }
        names => names.join(", "),
    }
}

/// The same where it does not matter much which: of many the first.
fn some(names: &[&str]) -> String {
    match names {
        [first, rest @ ..] if rest.len() > 2 => format!("{first} and {} others", rest.len()),
        names => all(names),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{compare, run};
    use super::*;

    #[test]
    fn what_is_short_or_alike_has_no_verdict_and_a_sentence_closes() {
        let stages = |threads: usize, times: [f64; 4]| {
            let names = ["csv", "names", "dated", "flights"];
            let stages: Vec<_> = names
                .iter()
                .zip(times)
                .map(|(name, time)| (*name, time, "x"))
                .collect();
            run(threads, &stages)
        };
        let mut after = stages(2, [0.0002, 0.9, 1.0, 2.0]);
        (after.stages[3].executor, after.stages[3].threads) = ("sequential".into(), 1);
        let compared = compare(&[stages(1, [0.0026, 0.8, 2.0, 2.1])], &[after], &[]);
        let text = compared.render();
        assert!(!text.contains("13.00x"), "{text}");
        let row = |name: &str| {
            let mut lines = text.lines();
            let line = lines.find(|line| line.starts_with(name));
            line.unwrap_or_default()
                .trim_start_matches(name)
                .trim()
                .to_owned()
        };
        assert_eq!(row("1 under 10 ms"), "0.003 -> 0.000");
        assert_eq!(row("flights"), "2.10 -> 2.00");
        // Of the changed stages only: 0.0026 + 0.8 + 2 and 0.0002 + 0.9 + 1.
        assert!(text.contains("2.80 -> 1.90   1.47x"), "{text}");
        assert!(
            text.contains("the total leaves out 1 stage that ran alike, 2.00 s\n"),
            "{text}"
        );
        assert_eq!(
            compared.closing().as_deref(),
            Some("Set csv and names to sequential; keep dated parallel.")
        );
        assert!(text.contains("\ntotal changed "), "{text}");
        assert_eq!(some(&["csv", "b", "c", "d"]), "csv and 3 others");
        let mut busy = stages(1, [0.0026, 0.8, 2.0, 2.1]);
        busy.stages[2].queued_s = 1.0;
        let compared = compare(&[busy], &[stages(2, [0.0002, 0.9, 1.0, 2.0])], &[]);
        assert!(
            compared
                .closing()
                .is_some_and(|text| text.contains("compare again"))
        );
        assert!(compared.stages.iter().all(|stage| stage.doubtful));
    }

    #[test]
    fn the_posts_own_figures_in_the_posts_manner() {
        let before = [
            ("grouping", 920.0, "a"),
            ("dates", 1450.0, "b"),
            ("indexing", 8223.0, "c"),
        ];
        let after = [
            ("grouping", 169.0, "a"),
            ("dates", 380.0, "b"),
            ("indexing", 3686.0, "c"),
        ];
        let mut post = compare(&[run(1, &before)], &[run(8, &after)], &[run(8, &after)]);
        post.run = "R".into();
        let expected = "\
stage    before -> after s speedup workers efficiency worth it saved s
grouping        920 -> 169   5.44x       8       0.68       no     751
dates          1450 -> 380   3.82x       8       0.48       no    1070
indexing      8223 -> 3686   2.23x       8       0.28       no    4537
total        10593 -> 4235   2.50x                                6358

before: sequential; after: as the file says; comparison R
indexing is now 87 % of the time: the rest can give at most 1.15x
staged, one stage after another, after takes 4235 s; streamed, where they overlap, 4000 s
both gave the same, by a digest of every stage's output
";
        assert_eq!(post.render(), expected);
        let json = serde_json::to_value(&post).unwrap();
        assert_eq!(json["total"]["saved_s"], 6358.0);
        assert_eq!(json["stages"][0]["worth_it"], false);
        assert_eq!(json["stages"][0]["before"]["wall_s"], 920.0);
        let back: Comparison = serde_json::from_value(json).unwrap();
        assert_eq!(back.render(), expected);
    }
}
