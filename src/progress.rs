//! What is said while a run goes on: a live line a stage on a terminal, or plain lines now and then.
//! The only home of indicatif.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::thousands;
use crate::run::Live;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A line a stage, kept up to date.
    Live,
    /// Lines for a log.
    Plain,
}

/// How often live lines change: often enough to look alive, seldom enough to cost nothing.
const LIVE_EVERY: Duration = Duration::from_millis(100);
/// How often a plain line is written.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

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
            .map(|(name, live)| Stage {
                name,
                live,
                begun: None,
            })
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

struct Stage {
    name: String,
    live: Arc<Live>,
    begun: Option<Instant>,
}

impl Stage {
    /// Rows, rate and how much of the input is read; nothing before it has begun.
    fn line(&mut self) -> Option<String> {
        if !self.live.begun.load(Ordering::Relaxed) {
            return None;
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let rows = self.live.rows_in.load(Ordering::Relaxed);
        let seconds = begun.elapsed().as_secs_f64();
        let mut line = format!("{:>13} rows", thousands(rows));
        let ended = self.live.ended.load(Ordering::Relaxed);
        if ended {
            line.push_str("  done");
        } else if seconds > 0.5 {
            line.push_str(&format!("  {:>9.0}/s", rows as f64 / seconds));
        }
        let total = self.live.bytes_total.load(Ordering::Relaxed);
        let done = self
            .live
            .bytes_done
            .lock()
            .expect("no one panics holding this lock")
            .clone();
        if let (Some(done), false, 1..) = (done, ended, total) {
            let share = done.load(Ordering::Relaxed) as f64 / total as f64;
            line.push_str(&format!("  {:>3.0} % read", share.min(1.0) * 100.0));
        }
        let rejected = self.live.rejected.load(Ordering::Relaxed);
        if rejected > 0 {
            line.push_str(&format!("  {} rejected", thousands(rejected)));
        }
        let sent_again = self.live.sent_again.load(Ordering::Relaxed);
        if sent_again > 0 {
            line.push_str(&format!("  {} sent again", thousands(sent_again)));
        }
        Some(line)
    }
}

/// Waits; whether the run is over.
fn wait(done: &(Mutex<bool>, Condvar), time: Duration) -> bool {
    let guard = done.0.lock().expect("no one panics holding this lock");
    if *guard {
        return true;
    }
    *done
        .1
        .wait_timeout(guard, time)
        .expect("no one panics holding this lock")
        .0
}

fn show_live(mut stages: Vec<Stage>, done: &(Mutex<bool>, Condvar)) {
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    let Ok(style) = ProgressStyle::with_template("{prefix} {msg}") else {
        return;
    };
    let width = stages
        .iter()
        .map(|stage| stage.name.chars().count())
        .max()
        .unwrap_or_default()
        .min(24);
    let bars: Vec<ProgressBar> = stages
        .iter()
        .map(|stage| {
            let bar = all.add(ProgressBar::new_spinner().with_style(style.clone()));
            bar.set_prefix(format!("{:width$}", stage.name));
            bar.set_message("-");
            bar
        })
        .collect();
    loop {
        let over = wait(done, LIVE_EVERY);
        for (stage, bar) in stages.iter_mut().zip(&bars) {
            if let Some(line) = stage.line() {
                bar.set_message(line);
                bar.tick();
            }
        }
        if over {
            // The table says it all once more.
            let _ = all.clear();
            return;
        }
    }
}

fn show_plain(mut stages: Vec<Stage>, done: &(Mutex<bool>, Condvar)) {
    let told: Vec<AtomicBool> = stages.iter().map(|_| AtomicBool::new(false)).collect();
    loop {
        let over = wait(done, PLAIN_EVERY);
        let mut stderr = std::io::stderr().lock();
        for (stage, told) in stages.iter_mut().zip(&told) {
            let ended = stage.live.ended.load(Ordering::Relaxed);
            if let Some(line) = stage.line().filter(|_| !told.load(Ordering::Relaxed)) {
                // Nobody is left to tell if this cannot be written.
                let _ = writeln!(stderr, "{}: {}", stage.name, line.trim_start());
                told.store(ended, Ordering::Relaxed);
            }
        }
        if over {
            return;
        }
    }
}
