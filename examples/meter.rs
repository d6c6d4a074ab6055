//! What measuring costs: a span, as each stage's work on a batch is one, taken on every core at once, as the
//! workers of a run do.
//!
//! ```text
//! cargo run --release --example meter
//! ```

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use etl::clock::Meter;

/// Enough of them to take long beside a clock's tick.
const SPANS: u32 = 100_000;

fn main() {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                for _ in 0..SPANS {
                    black_box(Meter::start().stop());
                }
            });
        }
    });
    println!("{:e}", start.elapsed().as_secs_f64() / f64::from(SPANS));
}
