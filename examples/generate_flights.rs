//! Writes synthetic flights: a gzipped CSV for each of two years, of any size.
//!
//! ```text
//! cargo run --release --example generate_flights -- DIR --flights N [--seed S]
//! ```
//!
//! The same seed gives the same text. As in real data of this kind, a cancelled flight has no delays, some flights stand
//! there twice (the later line corrects the earlier), only the second year has the column `aircraft`, and a few delays are
//! no numbers.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use fastrand::Rng;
use flate2::Compression;
use flate2::write::GzEncoder;

const CARRIERS: [&str; 8] = ["AA", "AS", "B6", "DL", "F9", "NK", "UA", "WN"];
const AIRPORTS: [&str; 10] = [
    "ATL", "BOS", "DEN", "DFW", "JFK", "LAX", "MIA", "ORD", "SEA", "SFO",
];
const AIRCRAFT: [&str; 5] = ["A320", "A321", "B737", "B738", "E175"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((folder, flights, seed)) = parse(&arguments) else {
        eprintln!("usage: generate_flights DIR --flights N [--seed S]");
        return ExitCode::from(2);
    };
    for year in [2023, 2024] {
        if let Err(error) = write_year(Path::new(folder), year, flights / 2, seed) {
            eprintln!("error: cannot write the flights of {year} to `{folder}`\n  {error}");
            return ExitCode::FAILURE;
        }
    }
    println!("{flights} flights in {folder}");
    ExitCode::SUCCESS
}

/// Folder, number of flights, seed.
fn parse(arguments: &[String]) -> Option<(&str, u64, u64)> {
    let (mut folder, mut flights, mut seed) = (None, None, 1);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--flights" => flights = Some(rest.next()?.parse().ok()?),
            "--seed" => seed = rest.next()?.parse().ok()?,
            path if folder.is_none() => folder = Some(path),
            _ => return None,
        }
    }
    Some((folder?, flights?, seed))
}

fn write_year(folder: &Path, year: u64, flights: u64, seed: u64) -> io::Result<()> {
    let mut random = Rng::with_seed(seed.wrapping_mul(10_000) + year);
    let file = File::create(folder.join(format!("flights_{year}.csv.gz")))?;
    let mut out = GzEncoder::new(BufWriter::new(file), Compression::new(6));
    let with_aircraft = year == 2024;
    let aircraft = if with_aircraft { ",aircraft" } else { "" };
    writeln!(
        out,
        "date,carrier,number,origin,destination,distance_km,departure_delay,arrival_delay,cancelled{aircraft}"
    )?;
    for flight in 0..flights {
        let line = flight_line(&mut random, year, with_aircraft);
        writeln!(out, "{line}")?;
        if flight % 200 == 7 {
            // A correction: the same flight, another delay.
            let mut fields: Vec<&str> = line.split(',').collect();
            if fields[8] == "false" {
                fields[7] = "3";
            }
            writeln!(out, "{}", fields.join(","))?;
        }
    }
    out.finish()?.flush()
}

fn flight_line(random: &mut Rng, year: u64, with_aircraft: bool) -> String {
    let carrier = CARRIERS[random.usize(..CARRIERS.len())];
    let origin = random.usize(..AIRPORTS.len());
    let other = (origin + random.usize(1..AIRPORTS.len())) % AIRPORTS.len();
    let date = format!("{year}-{:02}-{:02}", random.u8(1..=12), random.u8(1..=28));
    let cancelled = random.u8(..100) < 2;
    let (departure, arrival) = if cancelled {
        (String::new(), String::new())
    } else if random.u16(..2000) == 0 {
        ("n/a".to_owned(), "n/a".to_owned())
    } else {
        // Most are early by some minutes, some late by hours.
        let late = if random.u8(..10) < 2 {
            random.i32(0..180)
        } else {
            0
        };
        let departure = random.i32(-8..15) + late;
        (
            departure.to_string(),
            (departure + random.i32(-20..20)).to_string(),
        )
    };
    let aircraft = if with_aircraft {
        format!(",{}", AIRCRAFT[random.usize(..AIRCRAFT.len())])
    } else {
        String::new()
    };
    format!(
        "{date},{carrier},{},{},{},{},{departure},{arrival},{cancelled}{aircraft}",
        random.u16(1..3000),
        AIRPORTS[origin],
        AIRPORTS[other],
        random.u16(300..4500),
    )
}
