//! Inflates gzip files with the decoder that `load_csv` uses, each on a thread of its own, and does nothing
//! with the text: what loading them cannot be faster than.
//!
//! ```text
//! cargo run --release --example inflate -- FILE...
//! ```

use std::fs::File;
use std::io::{BufReader, Read};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use etl::format::compression::gzip;

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: inflate FILE...");
        return ExitCode::from(2);
    }
    let start = Instant::now();
    let inflated: Result<Vec<u64>, String> = thread::scope(|scope| {
        let threads: Vec<_> = files
            .iter()
            .map(|file| {
                scope.spawn(move || inflate(file).map_err(|error| format!("{file}: {error}")))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("inflating does not panic"))
            .collect()
    });
    match inflated {
        Ok(bytes) => {
            let seconds = start.elapsed().as_secs_f64();
            println!("{seconds:.4} s, {} bytes", bytes.iter().sum::<u64>());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The length of a file's text.
fn inflate(file: &str) -> std::io::Result<u64> {
    let mut reader = gzip::Reader::new(BufReader::with_capacity(256 << 10, File::open(file)?));
    let mut room = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        match reader.read(&mut room)? {
            0 => return Ok(bytes),
            read => bytes += read as u64,
        }
    }
}
