//! A comparison as text: the table in the manner of the Donor's Choice post, what follows from it, and a verdict a
//! stage.

use std::path::Path;

use super::{Compared, Comparison, STAGED};
use crate::pipeline::NotTimed;
use crate::report::table::{self, Align};
use crate::report::verdict::{self, short};

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
        for stage in &self.stages {
            let worth_it = match (stage.worth_it, stage.doubtful) {
                (None, _) => "",
                (Some(true), false) => "yes",
                (Some(true), true) => "yes?",
                (Some(false), false) => "no",
                (Some(false), true) => "no?",
            };
            rows.push([
                stage.name.clone(),
                times(stage.before_s.median_s, stage.after_s.median_s),
                format!("{:.2}x", stage.speedup),
                stage.workers.to_string(),
                format!("{:.2}", stage.efficiency),
                worth_it.into(),
                short(stage.saved_s),
            ]);
        }
        for stage in &self.not_timed {
            let mut row = [const { String::new() }; 7];
            (row[0], row[1]) = (stage.name.clone(), "not timed".into());
            rows.push(row);
        }
        let total = &self.total;
        rows.push([
            "total".into(),
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
                short(self.total.after_s),
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
        let share = time(&longest) / self.total.after_s.max(f64::MIN_POSITIVE);
        Some((&longest.name, share))
    }

    /// What is to be thought of each stage, by its figures: the name, and a sentence. Nothing is to be said
    /// of stages that overlapped.
    pub fn verdicts(&self) -> Vec<(String, String)> {
        if self.modes[1] != STAGED {
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
        self.stages.iter().map(verdict).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{compare, run};
    use super::*;

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
