//! What is said while a run goes on: a live line a stage on a terminal, or a plain line now and then.
//! The only home of indicatif.

mod reading;

use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::monotonic;
use crate::report::{bytes, things, thousands};
use crate::run::{Live, Waits};
use crate::shown;
use reading::Reading;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A line a stage, kept up to date.
    Live,
    /// A line for a log.
    Plain,
}

/// How often is looked, and live lines change: often enough to look alive, seldom enough to cost nothing.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often a plain line is written; a shorter run says nothing.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// Workers that gave nothing for so long are named: child processes say nothing else of what they wait
/// for.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// How much the last look counts: what is said of waiting is of the last few seconds.
const LAST_SAMPLE_WEIGHT: f64 = 0.05;
/// A stage that gave and took nothing for so long does not move.
const MOVES: Duration = Duration::from_secs(1);
/// A shorter time left is none to speak of.
const LEFT_LEAST: Duration = Duration::from_secs(1);
/// A stage that waits for this share of the time is said to wait.
const WAITS: f64 = 0.6;

/// Shows progress until it is dropped.
pub struct Progress {
    done: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to show the stages named.
    pub fn start(style: Style, names: Vec<String>, live: Vec<Arc<Live>>) -> Progress {
        let done = Arc::new((Mutex::new(false), Condvar::new()));
        let shared = done.clone();
        let stages: Vec<Stage> = names
            .into_iter()
            .zip(live)
            .map(|(name, live)| Stage::new(name, live))
            .collect();
        let thread = std::thread::Builder::new()
            .name("etl-progress".into())
            .spawn(move || match style {
                Style::Live => show_live(stages, &shared),
                Style::Plain => show_plain(stages, &shared),
            })
            .ok();
        Progress { done, thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        *self.done.0.lock().expect("no one panics holding this lock") = true;
        self.done.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A stage as it was seen so far.
struct Stage {
    name: String,
    live: Arc<Live>,
    begun: Option<Duration>,
    reading: Reading,
    /// When rows last came in or went on, and how many there were then.
    moved: (Duration, u64),
    /// When its workers last took a batch, and how many they had taken then.
    took: (Duration, u64),
    /// The shares of the time in which it waited for input, and for its readers.
    for_input: f64,
    for_reader: f64,
    /// The input that it waits for, if it waits for one.
    awaited: Option<String>,
}

impl Stage {
    fn new(name: String, live: Arc<Live>) -> Stage {
        Stage {
            name,
            awaited: live.reads.first().cloned(),
            live,
            begun: None,
            reading: Reading::default(),
            moved: (Duration::ZERO, 0),
            took: (Duration::ZERO, 0),
            for_input: 0.0,
            for_reader: 0.0,
        }
    }

    fn is_ended(&self) -> bool {
        self.live.ended.load(Ordering::Relaxed)
    }

    /// Looks at it.
    fn observe(&mut self, now: Duration) {
        if self.begun.is_none() {
            let begun = self.live.begun.load(Ordering::Relaxed);
            if !begun && self.live.waits() == Waits::ToBegin {
                return;
            }
            self.begun = Some(now);
            self.moved.0 = now;
        }
        let live = &self.live;
        let rows = live.rows_in.load(Ordering::Relaxed) + live.rows_out.load(Ordering::Relaxed);
        if rows != self.moved.1 {
            self.moved = (now, rows);
        }
        let taken = live.batches_read.load(Ordering::Relaxed);
        if taken != self.took.1 {
            self.took = (now, taken);
        }
        if let Some(bytes) = live.bytes_through() {
            self.reading.saw(now, bytes);
        }
        // A source that has begun, and gave nothing yet, waits for what it reads.
        let waits = match live.waits() {
            Waits::ToBegin => Waits::ForInput,
            waits => waits,
        };
        for (share, what) in [
            (&mut self.for_input, Waits::ForInput),
            (&mut self.for_reader, Waits::ForReader),
        ] {
            let is = f64::from(u8::from(waits == what));
            *share += LAST_SAMPLE_WEIGHT * (is - *share);
        }
    }

    /// Rows, rate, how much of the input is read, and what it waits for; nothing before it has begun.
    fn line(&self, now: Duration) -> Option<String> {
        let begun = self.begun?;
        let live = &self.live;
        let rows = live.rows_in.load(Ordering::Relaxed);
        let seconds = now.saturating_sub(begun).as_secs_f64();
        let mut text = things(rows, "row");
        if self.is_ended() {
            text.push_str("  done");
        } else if seconds > 0.5 {
            text.push_str(&format!("  {:.0}/s", rows as f64 / seconds));
        }
        let total = live.bytes_total.load(Ordering::Relaxed);
        if let (Some(done), false, 1..) = (live.bytes_through(), self.is_ended(), total) {
            let share = (done as f64 / total as f64).min(1.0) * 100.0;
            text.push_str(&format!("  {share:.0} % of {}", bytes(total)));
            // The last rows may take longer than the last bytes.
            if let Some(left) = self.left().filter(|left| *left >= LEFT_LEAST) {
                text.push_str(&format!(", {} left", clock(left)));
            }
        }
        let rejected = live.rejected.load(Ordering::Relaxed);
        if rejected > 0 {
            text.push_str(&format!("  {} rejected", thousands(rejected)));
        }
        let sent_again = live.sent_again.load(Ordering::Relaxed);
        if sent_again > 0 {
            text.push_str(&format!("  {} sent again", thousands(sent_again)));
        }
        if let Some(waits) = self.waits(now).filter(|_| !self.is_ended()) {
            text.push_str(&format!("  {waits}"));
        }
        Some(text)
    }

    /// How long reading the rest of its files will take; `None`: that is not known, or it reads none.
    fn left(&self) -> Option<Duration> {
        let total = self.live.bytes_total.load(Ordering::Relaxed);
        let done = self.live.bytes_through()?;
        self.reading.left(total).filter(|_| done < total)
    }

    fn moves(&self, now: Duration) -> bool {
        self.begun.is_some() && now.saturating_sub(self.moved.0) < MOVES
    }

    /// What it waits for, if it does.
    fn waits(&self, now: Duration) -> Option<String> {
        let reason = self.live.wait_reason.get();
        if !reason.is_empty() {
            // What others say may be several lines.
            let one_line = reason.replace('\n', " ");
            return Some(shown::line(&one_line).into_owned());
        }
        if self.for_input > WAITS {
            match &self.awaited {
                Some(input) => return Some(format!("waits for {input}")),
                None if self.live.reads.is_empty() => return Some("waits for its files".into()),
                None => {}
            }
        }
        if self.for_reader > WAITS {
            return Some(match &self.live.read_by[..] {
                [] => "held back by what it writes to".into(),
                readers => format!("held back by {}", readers.join(", ")),
            });
        }
        // What is worked on ahead of those who read it comes back later.
        let still = now.saturating_sub(self.moved.0.max(self.took.0));
        let words = || format!("nothing has come back for {} s", still.as_secs());
        (still >= STALLED_AFTER).then(words)
    }
}

/// Looks at all stages, and at which input each that waits is waiting for: not for one that has ended, nor, while
/// it stands still itself, for one that gives rows to its other readers.
fn observe(stages: &mut [Stage], now: Duration) {
    for stage in &mut *stages {
        stage.observe(now);
    }
    let ended_moves: Vec<(bool, bool)> = stages
        .iter()
        .map(|stage| (stage.is_ended(), stage.moves(now)))
        .collect();
    let names: Vec<String> = stages.iter().map(|stage| stage.name.clone()).collect();
    for stage in stages {
        let moves = stage.moves(now);
        let is_awaited = |input: &&String| {
            let at = names.iter().position(|name| name == *input);
            at.is_none_or(|at| !ended_moves[at].0 && (moves || !ended_moves[at].1))
        };
        stage.awaited = stage.live.reads.iter().find(is_awaited).cloned();
    }
}

/// The bytes of all files that are through, and all that there are: those of stages too that have not begun.
fn bytes_of_all(stages: &[Stage]) -> (u64, u64) {
    let add = |(through, all), stage: &Stage| {
        let total = stage.live.bytes_total.load(Ordering::Relaxed);
        let bytes = stage.live.bytes_through().unwrap_or_default();
        (through + bytes.min(total), all + total)
    };
    stages.iter().fold((0, 0), add)
}

/// How long the whole has taken, and about how long the rest will take: as long as the slowest file, or as all files
/// together, of which some may not have been begun. `reading` is that of all files.
fn whole(stages: &[Stage], reading: &Reading, since: Duration) -> String {
    let (through, all) = bytes_of_all(stages);
    let of_all = reading.left(all).filter(|_| through < all);
    let reads = |stage: &&Stage| !stage.is_ended() && stage.live.reads.is_empty();
    let left = of_all.max(stages.iter().filter(reads).filter_map(Stage::left).max());
    match left.filter(|left| *left >= LEFT_LEAST) {
        Some(left) => format!("{}, about {} left", clock(since), clock(left)),
        None => clock(since),
    }
}

/// Minutes and seconds, and hours if there are any.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        hours => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Waits; whether the run is over.
fn wait(done: &(Mutex<bool>, Condvar)) -> bool {
    let guard = done.0.lock().expect("no one panics holding this lock");
    if *guard {
        return true;
    }
    *done
        .1
        .wait_timeout(guard, POLL_INTERVAL)
        .expect("no one panics holding this lock")
        .0
}

fn show_live(mut stages: Vec<Stage>, done: &(Mutex<bool>, Condvar)) {
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    // Wide: cut to the terminal, for a line that is broken is not found again.
    let Ok(style) = ProgressStyle::with_template("{prefix} {wide_msg}") else {
        return;
    };
    let widths = stages.iter().map(|stage| stage.name.chars().count());
    let width = widths.max().unwrap_or_default().min(24);
    let bars: Vec<ProgressBar> = stages
        .iter()
        .map(|stage| {
            let bar = all.add(ProgressBar::new_spinner().with_style(style.clone()));
            bar.set_prefix(format!("{:width$}", stage.name));
            bar.set_message("-");
            bar
        })
        .collect();
    let all_of_it = all.add(ProgressBar::new_spinner().with_style(style));
    all_of_it.set_prefix(format!("{:width$}", ""));
    let from = monotonic();
    let mut reading = Reading::default();
    while !wait(done) {
        let now = monotonic();
        observe(&mut stages, now);
        reading.saw(now, bytes_of_all(&stages).0);
        all_of_it.set_message(whole(&stages, &reading, now.saturating_sub(from)));
        all_of_it.tick();
        for (stage, bar) in stages.iter().zip(&bars) {
            if let Some(line) = stage.line(now) {
                bar.set_message(line);
                bar.tick();
            }
        }
    }
    // The table says it all once more.
    let _ = all.clear();
}

fn show_plain(mut stages: Vec<Stage>, done: &(Mutex<bool>, Condvar)) {
    let from = monotonic();
    let mut next = from + PLAIN_EVERY;
    let mut reading = Reading::default();
    while !wait(done) {
        let now = monotonic();
        observe(&mut stages, now);
        reading.saw(now, bytes_of_all(&stages).0);
        if now >= next {
            next += PLAIN_EVERY;
            // Nobody is left to tell if this cannot be written.
            let _ = writeln!(
                std::io::stderr(),
                "{}",
                plain(&stages, &reading, now, now.saturating_sub(from))
            );
        }
    }
}

/// All stages that are at work, in one line.
fn plain(stages: &[Stage], reading: &Reading, now: Duration, since: Duration) -> String {
    let at_work = stages.iter().filter(|stage| !stage.is_ended());
    let lines = at_work.filter_map(|stage| Some(format!("{} {}", stage.name, stage.line(now)?)));
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        let words = match stages.iter().filter(|stage| stage.is_ended()).count() {
            0 => "no stage has rows yet".to_owned(),
            ended => format!(
                "{ended} of {} have ended",
                things(stages.len() as u64, "stage")
            ),
        };
        return format!("{}  {words}", clock(since));
    }
    format!("{}  {}", whole(stages, reading, since), lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A stage that has read `done` of 59.4 MB, half of which is through.
    fn stage(done: &Arc<AtomicU64>) -> Stage {
        let live = Live {
            reads: vec!["orders".into()],
            bytes_total: AtomicU64::new(59_400_000),
            bytes_done: Mutex::new(Some(done.clone())),
            batches_read: AtomicU64::new(8),
            batches_done: AtomicU64::new(4),
            ..Live::default()
        };
        Stage::new("dates".into(), Arc::new(live))
    }

    #[test]
    fn a_line_says_how_far_and_how_fast() {
        let done = Arc::new(AtomicU64::new(0));
        let mut stage = stage(&done);
        stage.observe(seconds(1));
        assert_eq!(stage.line(seconds(1)), None, "it has not begun");
        stage.live.begun.store(true, Ordering::Relaxed);
        for second in 2..=12 {
            done.store((second - 2) * 5_940_000, Ordering::Relaxed);
            stage
                .live
                .rows_in
                .store((second - 2) * 120_000, Ordering::Relaxed);
            stage.observe(seconds(second));
        }
        let line = "1,200,000 rows  120000/s  50 % of 59.4 MB, 0:10 left";
        assert_eq!(stage.line(seconds(12)).as_deref(), Some(line));
        assert_eq!(
            plain(&[stage], &Reading::default(), seconds(12), seconds(11)),
            format!("0:11  dates {line}")
        );
        let stages = || [self::stage(&Arc::default()), self::stage(&Arc::default())];
        let at_start =
            |stages: &[Stage]| plain(stages, &Reading::default(), seconds(12), seconds(9));
        assert_eq!(at_start(&stages()), "0:09  no stage has rows yet");
        let between = stages();
        between[1].live.ended.store(true, Ordering::Relaxed);
        assert_eq!(at_start(&between), "0:09  1 of 2 stages have ended");
        assert_eq!(clock(seconds(3725)), "1:02:05");
    }

    #[test]
    fn no_time_left_is_not_told_and_the_longest_is_that_of_the_whole() {
        let sources = [10_u64, 20].map(|seconds_in_all| {
            let done = Arc::new(AtomicU64::new(0));
            let live = Live {
                bytes_total: AtomicU64::new(1000 * seconds_in_all),
                bytes_done: Mutex::new(Some(done.clone())),
                batches_read: AtomicU64::new(1),
                batches_done: AtomicU64::new(1),
                begun: true.into(),
                ..Live::default()
            };
            (
                done,
                Stage::new(format!("s{seconds_in_all}"), Arc::new(live)),
            )
        });
        let (dones, mut stages): (Vec<_>, Vec<_>) = sources.into_iter().unzip();
        let mut reading = Reading::default();
        for second in 1..=9 {
            for done in &dones {
                done.store(second * 1000, Ordering::Relaxed);
            }
            observe(&mut stages, seconds(second));
            reading.saw(seconds(second), bytes_of_all(&stages).0);
        }
        let printed = |stages: &[Stage]| whole(stages, &reading, seconds(9));
        assert_eq!(printed(&stages), "0:09, about 0:11 left");
        // What another stage will read takes its time too, though it has not begun.
        let later = Live {
            bytes_total: AtomicU64::new(20_000),
            ..Live::default()
        };
        stages.push(Stage::new("later".into(), Arc::new(later)));
        assert_eq!(printed(&stages), "0:09, about 0:16 left");
        stages.pop();
        dones[0].store(9_999, Ordering::Relaxed);
        observe(&mut stages, seconds(10));
        let line = stages[0].line(seconds(10)).unwrap();
        assert!(!line.contains("left"), "{line}");
    }

    #[test]
    fn nothing_waits_for_what_moves_elsewhere() {
        let live = |reads: &[&str]| {
            Arc::new(Live {
                reads: reads.iter().map(ToString::to_string).collect(),
                begun: true.into(),
                ..Live::default()
            })
        };
        let reads: [&[&str]; 4] = [&[], &[], &["dated"], &["names", "dated"]];
        let names = ["names", "dated", "still", "joined"];
        let stages = names.iter().zip(reads);
        let mut stages: Vec<Stage> = stages
            .map(|(name, reads)| Stage::new((*name).into(), live(reads)))
            .collect();
        stages[0].live.ended.store(true, Ordering::Relaxed);
        for second in 1..5 {
            stages[1].live.rows_out.store(second, Ordering::Relaxed);
            observe(&mut stages, seconds(second));
        }
        // It stands still while what it reads goes to others.
        assert_eq!(stages[2].awaited, None);
        // Nothing is awaited of what has ended.
        observe(&mut stages, seconds(9));
        assert_eq!(stages[2].awaited.as_deref(), Some("dated"));
        assert_eq!(stages[3].awaited.as_deref(), Some("dated"));
    }

    #[test]
    fn a_line_says_what_is_waited_for() {
        let mut stage = stage(&Arc::default());
        stage.live.begun.store(true, Ordering::Relaxed);
        stage.observe(seconds(1));
        assert_eq!(stage.waits(seconds(5)), None);
        let words = stage.waits(seconds(13));
        assert_eq!(words.as_deref(), Some("nothing has come back for 12 s"));
        // It works ahead of those who read it.
        stage.live.batches_read.fetch_add(1, Ordering::Relaxed);
        stage.observe(seconds(10));
        assert_eq!(stage.waits(seconds(13)), None);
        stage.took = (seconds(1), 9);
        stage.for_reader = 0.7;
        assert_eq!(
            stage.waits(seconds(13)).as_deref(),
            Some("held back by what it writes to")
        );
        stage.for_input = 0.7;
        assert_eq!(
            stage.waits(seconds(13)).as_deref(),
            Some("waits for orders")
        );
        stage
            .live
            .wait_reason
            .set("the server is away:\nrefused".into());
        assert_eq!(
            stage.waits(seconds(13)).as_deref(),
            Some("the server is away: refused")
        );
        stage.live.ended.store(true, Ordering::Relaxed);
        assert!(
            stage
                .line(seconds(13))
                .is_some_and(|line| !line.contains("away"))
        );
    }
}
