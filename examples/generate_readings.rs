//! Writes synthetic readings of weather stations: many gzipped CSVs of one month each, of any number and
//! size, for `pipelines/migrate.toml`.
//!
//! ```text
//! cargo run --release --example generate_readings -- DIR --files N --rows N [--seed S]
//! ```
//!
//! The same seed gives the same text. There are fields in quotes, with commas and newlines in them, empty
//! ones, and a timestamp with and without its fraction.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use flate2::Compression;
use flate2::write::GzEncoder;

const USAGE: &str = "usage: generate_readings DIR --files N --rows N [--seed S]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((folder, files, rows, seed)) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match write_files(Path::new(folder), files, rows, seed) {
        Ok(()) => {
            println!("{files} files of {rows} readings in {folder}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: cannot write the readings to `{folder}`\n  {error}");
            ExitCode::FAILURE
        }
    }
}

/// Folder, number of files, rows in each, seed.
fn parse(arguments: &[String]) -> Option<(&str, u32, u64, u64)> {
    let (mut folder, mut files, mut rows, mut seed) = (None, None, None, 1);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--files" => files = Some(rest.next()?.parse().ok()?),
            "--rows" => rows = Some(rest.next()?.parse().ok()?),
            "--seed" => seed = rest.next()?.parse().ok()?,
            path if !path.starts_with('-') && folder.is_none() => folder = Some(path),
            _ => return None,
        }
    }
    Some((folder?, files?, rows?, seed))
}

fn write_files(folder: &Path, files: u32, rows: u64, seed: u64) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for number in 0..files {
        let (year, month) = (2020 + number / 12, 1 + number % 12);
        let path = folder.join(format!("readings_{year}-{month:02}.csv.gz"));
        let file = BufWriter::new(File::create(path)?);
        let mut packed = GzEncoder::new(file, Compression::default());
        let mut random = fastrand::Rng::with_seed(seed << 32 | u64::from(number));
        writeln!(packed, "station,read_at,temperature,humidity,state,note")?;
        for row in 0..rows {
            write_row(&mut packed, (year, month), row, &mut random)?;
        }
        packed.finish()?.flush()?;
    }
    Ok(())
}

fn write_row(
    out: &mut impl Write,
    (year, month): (u32, u32),
    row: u64,
    random: &mut fastrand::Rng,
) -> io::Result<()> {
    const STATES: [&str; 4] = ["ok", "ok", "ok", "low battery"];
    const NOTES: [&str; 4] = [
        "",
        "\"moved, then calibrated\"",
        "",
        "\"lens cleaned\nby hand\"",
    ];
    // Stations are read in turn, every minute of 28 days over and over.
    let (station, minute) = (row % 40, row / 40 % (28 * 24 * 60));
    let (day, hour, minute) = (1 + minute / 1440, minute / 60 % 24, minute % 60);
    let second = random.u32(0..60);
    let fraction = if random.bool() { ".250" } else { "" };
    let temperature = f64::from(random.i32(-150..350)) / 10.0;
    let humidity = random.u32(20..100);
    let (state, note) = (STATES[random.usize(0..4)], NOTES[random.usize(0..4)]);
    writeln!(
        out,
        "0{station:02},{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{fraction},{temperature},{humidity},{state},{note}"
    )
}
