//! Writes the made-up items that pipelines ask a server about: `instruments.csv`, codes as a market data
//! server would know them, and `customers.csv`.
//!
//! ```text
//! cargo run --release --example generate_items -- DIR [--instruments 7500] [--customers 60] [--seed 1]
//! ```
//!
//! The same seed gives the same files; no code comes twice.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: generate_items DIR [--instruments N] [--customers N] [--seed S]";

/// Exchanges, and the suffixes that their codes have.
const EXCHANGES: [(&str, &str); 6] = [
    ("Amsterdam", ".AS"),
    ("Frankfurt", ".DE"),
    ("London", ".L"),
    ("New York", ".N"),
    ("Paris", ".PA"),
    ("Tokyo", ".T"),
];

const NAMES: [&str; 8] = [
    "Abbott", "Baker", "Castle", "Dunn", "Ellis", "Foster", "Gray", "Hale",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((folder, instruments, customers, seed)) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let files = [
        ("instruments.csv", codes(instruments, &mut random)),
        ("customers.csv", names(customers, &mut random)),
    ];
    for (name, text) in files {
        let file = Path::new(&folder).join(name);
        if let Err(error) = std::fs::write(&file, text) {
            eprintln!("error: cannot write `{}`: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    println!("{instruments} instruments and {customers} customers in {folder}");
    ExitCode::SUCCESS
}

fn parse(arguments: &[String]) -> Option<(String, usize, usize, u64)> {
    let (mut folder, mut instruments, mut customers, mut seed) = (None, 7500, 60, 1);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--instruments" => instruments = rest.next()?.parse().ok()?,
            "--customers" => customers = rest.next()?.parse().ok()?,
            "--seed" => seed = rest.next()?.parse().ok()?,
            path if folder.is_none() && !path.starts_with('-') => folder = Some(path.to_owned()),
            _ => return None,
        }
    }
    Some((folder?, instruments, customers, seed))
}

/// Numbers that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % limit
    }

    fn letter(&mut self) -> char {
        char::from(b'A' + u8::try_from(self.below(26)).unwrap_or(0))
    }
}

fn codes(rows: usize, random: &mut Random) -> String {
    let mut written = BTreeSet::new();
    let mut text = String::from("ric,exchange\n");
    while written.len() < rows {
        let (exchange, suffix) = EXCHANGES[random.below(EXCHANGES.len())];
        let letters = 3 + random.below(2);
        let mut code: String = (0..letters).map(|_| random.letter()).collect();
        code.push_str(suffix);
        if written.insert(code.clone()) {
            let _ = writeln!(text, "{code},{exchange}");
        }
    }
    text
}

fn names(rows: usize, random: &mut Random) -> String {
    let mut text = String::from("customer_id,name\n");
    for id in 1..=rows {
        let name = NAMES[random.below(NAMES.len())];
        let _ = writeln!(text, "{id},{name} {}.", random.letter());
    }
    text
}
