//! Writes made-up support tickets as JSON, one a line, as a help desk exports them: members inside members, lists,
//! members that are left out or null, texts with escapes.
//!
//! ```text
//! cargo run --release --example generate_tickets -- DIR [--tickets 600] [--seed 1]
//! ```
//!
//! The same seed gives the same file.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: generate_tickets DIR [--tickets N] [--seed S]";

/// Login, team and country of those who write tickets.
const PEOPLE: [(&str, &str, &str); 6] = [
    ("amara", "sales", "NG"),
    ("björn", "warehouse", "SE"),
    ("chen", "payments", "SG"),
    ("dolores", "sales", "MX"),
    ("emre", "payments", "TR"),
    ("fiona", "returns", "IE"),
];

const TITLES: [&str; 8] = [
    "Invoice shows the wrong total",
    "Cannot sign in after \\\"forgot password\\\"",
    "Parcel is marked as delivered, but is not here",
    "Search finds nothing for \\u201cZürich\\u201d",
    "Export stops after 10,000 rows",
    "Label printer:\\nout of paper all the time",
    "Price in the basket differs from the price in the shop",
    "日本語の住所が文字化けする",
];

const LABELS: [(&str, &str); 5] = [
    ("bug", "#d73a4a"),
    ("question", "#d876e3"),
    ("urgent", "#b60205"),
    ("billing", "#fbca04"),
    ("shipping", "#0e8a16"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((folder, tickets, seed)) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut text = String::new();
    for number in 1..=tickets {
        text.push_str(&ticket(number, &mut random));
        text.push('\n');
    }
    let file = Path::new(&folder).join("tickets.ndjson");
    if let Err(error) = std::fs::write(&file, text) {
        eprintln!("error: cannot write `{}`: {error}", file.display());
        return ExitCode::FAILURE;
    }
    println!("{tickets} tickets in {}", file.display());
    ExitCode::SUCCESS
}

fn parse(arguments: &[String]) -> Option<(String, u64, u64)> {
    let (mut folder, mut tickets, mut seed) = (None, 600, 1);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--tickets" => tickets = rest.next()?.parse().ok()?,
            "--seed" => seed = rest.next()?.parse().ok()?,
            path if folder.is_none() && !path.starts_with('-') => folder = Some(path.to_owned()),
            _ => return None,
        }
    }
    Some((folder?, tickets, seed))
}

/// One ticket as a JSON object. Its members come in one order, but not every ticket has all of them.
fn ticket(number: u64, random: &mut Random) -> String {
    let (login, team, country) = random.pick(&PEOPLE);
    let mut text = format!(
        "{{\"id\":\"T-{}\",\"opened_at\":\"{}\"",
        10_000 + number,
        time(number, random)
    );
    let _ = write!(text, ",\"title\":\"{}\"", random.pick(&TITLES));
    let _ = write!(
        text,
        ",\"author\":{{\"login\":\"{login}\",\"team\":\"{team}\""
    );
    if random.below(5) > 0 {
        let _ = write!(text, ",\"country\":\"{country}\"");
    }
    text.push_str("},\"labels\":[");
    let first = usize::try_from(random.below(5)).expect("it is below 5");
    let labels: Vec<String> = (0..random.below(4))
        .zip(LABELS.iter().cycle().skip(first))
        .map(|(_, (name, color))| format!("{{\"name\":\"{name}\",\"color\":\"{color}\"}}"))
        .collect();
    text.push_str(&labels.join(","));
    text.push(']');
    match random.below(4) {
        0 => text.push_str(",\"closed_at\":null"),
        1 => {}
        _ => {
            let closed = time(number + 40, random);
            let _ = write!(text, ",\"closed_at\":\"{closed}\"");
            let _ = write!(text, ",\"rating\":{}", 1 + random.below(5));
        }
    }
    if random.below(3) == 0 {
        let (whole, cents) = (random.below(900), random.below(100));
        let _ = write!(
            text,
            ",\"refund\":{{\"amount\":{whole}.{cents:02},\"currency\":\"EUR\"}}"
        );
    }
    let _ = write!(text, ",\"replies\":{}}}", random.below(9));
    text
}

/// A time within some hours of ticket `number`, a few tickets a day.
fn time(number: u64, random: &mut Random) -> String {
    let hours = number * 3 + random.below(3);
    let (day, hour) = (hours / 24, hours % 24);
    let (minute, second) = (random.below(60), random.below(60));
    format!(
        "2025-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
        1 + day / 28 % 12,
        1 + day % 28
    )
}

/// Numbers that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        let at = self.below(items.len() as u64);
        items[usize::try_from(at).expect("it is an index")]
    }
}
