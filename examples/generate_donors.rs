//! Writes synthetic Donor's Choice dumps: three headerless gzipped CSVs of the real shape, of any size.
//!
//! ```text
//! cargo run --release --example generate_donors -- DIR --projects N [--seed S]
//! ```
//!
//! The same seed gives the same text. Rows are made one at a time, so memory does not grow with `N`.
//! Everything that has ever broken a loader is in there, rarely but surely:
//!
//! - quotes written `\"` and, sometimes, `""`; backslashes `\\`, also as a field's last character;
//! - commas and newlines inside fields, the newline bare or behind a backslash;
//! - fields without quotes, where every special character stands behind a backslash;
//! - empty fields, blanks that count, text of several bytes a character, line separators that are none;
//! - zips and school ids with leading zeros; numbers that only look like ids and ids that only look like
//!   numbers;
//! - timestamps with 0 to 3 fraction digits, with date alone, and without padding (`2013-3-2 8:8:3`);
//! - donations and resources of projects that do not exist, and some that name no project at all;
//! - a heavy tail of resources per project, the rows of one project not side by side, and projects that
//!   have none;
//! - a last line without its newline (projects) and a second gzip member (donations).

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use flate2::Compression;
use flate2::write::GzEncoder;

const USAGE: &str = "usage: generate_donors DIR --projects N [--seed S]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((folder, projects, seed)) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match write_dumps(Path::new(folder), projects, seed) {
        Ok(rows) => {
            println!(
                "{projects} projects, {} donations, {} resources in {folder}",
                rows.donations, rows.resources
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: cannot write the dumps to `{folder}`\n  {error}");
            ExitCode::FAILURE
        }
    }
}

/// Folder, number of projects, seed.
fn parse(arguments: &[String]) -> Option<(&str, u64, u64)> {
    let (mut folder, mut projects, mut seed) = (None, None, 1);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--projects" => projects = Some(rest.next()?.parse().ok()?),
            "--seed" => seed = rest.next()?.parse().ok()?,
            path if !path.starts_with('-') && folder.is_none() => folder = Some(path),
            _ => return None,
        }
    }
    Some((folder?, projects?, seed))
}

/// How many rows were written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    /// Rows of `opendata_donations000.gz`.
    pub(crate) donations: u64,
    /// Rows of `opendata_resources000.gz`.
    pub(crate) resources: u64,
}

/// Writes the three dumps of `projects` projects into `folder`, which is made if need be.
pub(crate) fn write_dumps(folder: &Path, projects: u64, seed: u64) -> io::Result<Rows> {
    fs::create_dir_all(folder)?;
    write_projects(&folder.join("opendata_projects000.gz"), projects, seed)?;
    let donations = write_donations(&folder.join("opendata_donations000.gz"), projects, seed)?;
    let resources = write_resources(&folder.join("opendata_resources000.gz"), projects, seed)?;
    Ok(Rows {
        donations,
        resources,
    })
}

const STATES: &[&str] = &["CA", "NY", "IL", "TX", "NC", "FL", "MA", "WA", "OK", "  "];
const CITIES: &[&str] = &[
    "New York City",
    "Chicago",
    "St. Louis",
    "O'Fallon",
    "Winston-Salem",
    "Coeur d'Alene",
    "San José",
    "Cañon City",
    "Kealakekua, Hawaiʻi",
    "",
];
const DISTRICTS: &[&str] = &[
    "New York City Dept Of Ed",
    "Elk Grove Unif School District",
    "Academy of \"Hope\", Inc",
    "Los Angeles Unif Sch Dist",
    "Houston Ind School District ",
    "",
];
const COUNTIES: &[&str] = &[
    "Kings (Brooklyn)",
    "Cook",
    "St. John's",
    "Doña Ana",
    "Sacramento",
    "",
];
const FOCUS: &[[&str; 2]] = &[
    ["Literacy", "Literacy & Language"],
    ["Mathematics", "Math & Science"],
    ["Special Needs", "Special Needs"],
    ["Other", "Applied Learning"],
    ["Visual Arts", "Music & The Arts"],
    ["Health & Wellness", "Health & Sports"],
];
const RESOURCE_TYPES: &[&str] = &["Supplies", "Technology", "Books", "Trips", "Other"];
const POVERTY: &[&str] = &["highest poverty", "high poverty", "low poverty", "unknown"];
const GRADES: &[&str] = &[
    "Grades PreK-2",
    "Grades 3-5",
    "Grades 6-8",
    "Grades 9-12",
    "",
];
const PAYMENTS: &[&str] = &[
    "creditcard",
    "paypal",
    "promo_code_match",
    "no_cash_received",
    "check",
];
const VENDORS: &[[&str; 2]] = &[
    ["7", "AKJ Books"],
    ["178", "Quill.com"],
    ["82", "Best Buy for Business"],
    ["031", "Lakeshore Learning Materials"],
    ["1", "Kid\"s Corner, Inc."],
    ["", ""],
    ["767", "Librería «El Niño»"],
];
const ITEMS: &[&str] = &[
    "Classroom set of leveled readers",
    "Magnetic dry erase board",
    "10.1\" tablet, \"refurbished\"",
    "Graph paper, 1/4\" squares, 500 sheets",
    "Science kit\nwith microscope",
    "Crayons – 24 colours",
    "Carpet 6' x 9', reading corner",
    "Ink cartridge C:\\3 \\",
    "Diccionario español–inglés",
    "国語辞典 第三版",
    "Bean bag 🫘 chair",
    "Cafe\u{301} table\u{2028}and two\u{85}chairs",
    "Storage bins\twith lids",
    "\"\"",
    ",",
    " padded ",
    "\\\"",
    "null",
    "NaN",
];

fn write_projects(path: &Path, projects: u64, seed: u64) -> io::Result<()> {
    let mut dump = Dump::create(path, Random::new(seed, "projects"))?;
    for i in 0..projects {
        if i > 0 {
            dump.end_row()?;
        }
        let r = &mut dump.random;
        let second = if r.one_in(2) {
            *r.pick(FOCUS)
        } else {
            ["", ""]
        };
        let first = *r.pick(FOCUS);
        let located = !r.one_in(50);
        let completed = r.below(10) < 7;
        let price = 10_000 + r.below(240_000);
        let charged = r.below(5) > 0;
        let mut row = vec![
            id(seed, "project", i),
            id(seed, "teacher", i % (projects / 3 + 1)),
            id(seed, "school", i % (projects / 9 + 1)),
            r.digits(12, 20),
            only(located, r.degrees(25, 48)),
            // One of the two alone may be missing: such a project has no location.
            only(located || r.one_in(2), format!("-{}", r.degrees(67, 124))),
        ];
        row.extend([CITIES, STATES].map(|of| r.pick(of).to_string()));
        row.push(format!("{:05}", 501 + r.below(99_450)));
        row.extend(
            [&["urban", "suburban", "rural", ""], DISTRICTS, COUNTIES]
                .map(|of: &[&str]| r.pick(of).to_string()),
        );
        row.extend((0..6).map(|_| r.flag(5)));
        row.push(r.pick(&["Mr.", "Mrs.", "Ms.", "Dr.", ""]).to_string());
        row.extend((0..2).map(|_| r.flag(5)));
        row.extend(first.iter().chain(&second).map(ToString::to_string));
        row.extend([RESOURCE_TYPES, POVERTY, GRADES].map(|of| r.pick(of).to_string()));
        row.extend((0..3).map(|_| only(charged, money(r.below(4000)))));
        row.push(only(charged, money(3500)));
        row.extend([money(price), money(price * 100 / 85)]);
        row.push(r.below(200).to_string());
        row.push(money(if completed { price } else { r.below(price) }));
        row.push(r.below(30).to_string());
        row.extend((0..2).map(|_| r.flag(5)));
        let ended = r.pick(&["expired", "live", "reallocated"]);
        row.push(if completed { "completed" } else { ended }.into());
        let mailed = completed && !r.one_in(5);
        let expires = !r.one_in(100);
        row.extend([true, completed, mailed, expires].map(|it_did| only(it_did, r.day())));
        dump.fields(&row)?;
    }
    dump.finish()
}

/// Some three donations a project, in no order; now and then the next one is of the same cart.
fn write_donations(path: &Path, projects: u64, seed: u64) -> io::Result<u64> {
    let mut dump = Dump::create(path, Random::new(seed, "donations"))?;
    let donations = projects * 3 + projects / 5;
    let mut cart = 0;
    for i in 0..donations {
        if i > 0 && i + 1 == donations {
            dump.next_member()?;
        }
        let r = &mut dump.random;
        if r.below(3) > 0 {
            cart += 1;
        }
        let total = match r.below(3) {
            0 => 100 + r.below(49_900),
            1 => 2500,
            _ => 10_000,
        };
        let optional = if r.one_in(5) { 0 } else { total * 15 / 100 };
        let page = r.one_in(10);
        let mut row = vec![
            id(seed, "donation", i),
            project(r, projects, seed),
            id(seed, "donor", cart % (projects + 1)),
            id(seed, "cart", cart),
        ];
        row.extend([CITIES, STATES].map(|of| r.pick(of).to_string()));
        row.push(r.digits(3, 2));
        row.push(r.flag(5));
        row.push(r.stamp());
        row.extend([money(total - optional), money(optional), money(total)]);
        row.push(if optional > 0 { "t" } else { "f" }.into());
        row.push(r.pick(PAYMENTS).to_string());
        row.extend((0..5).map(|_| r.flag(5)));
        let kind = r.pick(&["Challenge", "Giving Page\\Team", "Élan, \"2\""]);
        row.push(only(page, r.below(100_000).to_string()));
        row.push(only(page, kind.to_string()));
        row.extend([r.flag(20), r.flag(5)]);
        dump.fields(&row)?;
        dump.end_row()?;
    }
    dump.finish()?;
    Ok(donations)
}

/// Requests of a few items each, in no order of projects; a few projects request again and again.
fn write_resources(path: &Path, projects: u64, seed: u64) -> io::Result<u64> {
    let mut dump = Dump::create(path, Random::new(seed, "resources"))?;
    let mut rows = 0;
    for request in 0..projects {
        let favourite = request % 97 == 96;
        let r = &mut dump.random;
        let project = if favourite {
            id(seed, "project", r.below(projects / 100 + 1))
        } else {
            project(r, projects, seed)
        };
        for _ in 0..r.heavy_tail(120) {
            let r = &mut dump.random;
            let [vendor, vendor_name] = *r.pick(VENDORS);
            let mut item = r.pick(ITEMS).to_string();
            if r.one_in(3) {
                item = format!("{item} ({} pack)", 1 + r.below(12));
            }
            let price = 50 * (1 + r.below(100)) * r.heavy_tail(100);
            let row = [
                id(seed, "resource", rows),
                project.clone(),
                vendor.to_owned(),
                vendor_name.to_owned(),
                only(!r.one_in(40), item),
                only(r.one_in(2), r.digits(8, 10)),
                only(!r.one_in(60), money(price)),
                only(!r.one_in(60), r.heavy_tail(100).to_string()),
            ];
            dump.fields(&row)?;
            dump.end_row()?;
            rows += 1;
        }
    }
    dump.finish()?;
    Ok(rows)
}

/// A project's id; rarely of one that does not exist, more rarely none.
fn project(r: &mut Random, projects: u64, seed: u64) -> String {
    match r.below(1000) {
        0 => String::new(),
        1..4 => id(seed, "unknown", r.next()),
        _ => id(seed, "project", r.below(projects)),
    }
}

/// A 32-digit id, a function of what it names.
fn id(seed: u64, of: &str, number: u64) -> String {
    let mut random = Random::new(seed ^ number.rotate_left(20), of);
    format!("{:016x}{:016x}", random.next(), random.next())
}

/// The value where `present`, else an empty field.
fn only(present: bool, value: String) -> String {
    if present { value } else { String::new() }
}

/// Cents as a decimal number.
fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// A dump being written. It chooses how a value is spelled; the value itself never depends on that.
struct Dump {
    random: Random,
    spelling: Random,
    out: GzEncoder<BufWriter<File>>,
    text: Vec<u8>,
}

impl Dump {
    fn create(path: &Path, random: Random) -> io::Result<Self> {
        let spelling = Random(random.0 ^ 0x5bd1_e995);
        let file = BufWriter::new(File::create(path)?);
        Ok(Dump {
            random,
            spelling,
            out: GzEncoder::new(file, Compression::best()),
            text: Vec::new(),
        })
    }

    fn fields(&mut self, values: &[String]) -> io::Result<()> {
        self.text.clear();
        for (i, value) in values.iter().enumerate() {
            if i > 0 {
                self.text.push(b',');
            }
            if self.spelling.one_in(if value.is_empty() { 8 } else { 64 }) {
                self.unquoted(value);
            } else {
                self.quoted(value);
            }
        }
        self.out.write_all(&self.text)
    }

    fn quoted(&mut self, value: &str) {
        self.text.push(b'"');
        for byte in value.bytes() {
            match byte {
                b'"' if self.spelling.one_in(4) => self.text.push(b'"'),
                b'"' | b'\\' => self.text.push(b'\\'),
                b'\n' if self.spelling.one_in(2) => self.text.push(b'\\'),
                _ => {}
            }
            self.text.push(byte);
        }
        self.text.push(b'"');
    }

    fn unquoted(&mut self, value: &str) {
        for byte in value.bytes() {
            if matches!(byte, b'"' | b'\\' | b'\n' | b',') {
                self.text.push(b'\\');
            }
            self.text.push(byte);
        }
    }

    fn end_row(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n")
    }

    /// Ends the gzip member and begins another: the text goes on as if nothing had happened.
    fn next_member(&mut self) -> io::Result<()> {
        self.out.try_finish()?;
        let file = self.out.get_ref().get_ref().try_clone()?;
        self.out.get_mut().flush()?;
        self.out = GzEncoder::new(BufWriter::new(file), Compression::best());
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        self.out.finish()?.flush()
    }
}

/// `SplitMix64` (Steele, Lea and Flood, 2014): small, and the same numbers on every machine.
struct Random(u64);

impl Random {
    /// The generator of one purpose: what another draws never changes its numbers.
    fn new(seed: u64, purpose: &str) -> Self {
        // FNV-1a, so that similar purposes lie far apart.
        let hash = purpose.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3_u64)
        });
        let mut random = Random(seed);
        random.0 = random.next() ^ hash;
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `limit`. The remainder's bias is of no matter here.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let index = self.below(of.len() as u64);
        &of[usize::try_from(index).expect("less than a slice's length")]
    }

    fn flag(&mut self, one_in: u64) -> String {
        if self.one_in(one_in) { "t" } else { "f" }.into()
    }

    /// At least 1, at most `max`: halves its chance (nearly) each time it doubles, as a Pareto
    /// distribution with exponent 1.15 does.
    fn heavy_tail(&mut self, max: u64) -> u64 {
        let mut octave = 1;
        while octave < max && self.below(100) < 45 {
            octave *= 2;
        }
        (octave + self.below(octave)).min(max)
    }

    /// A string of digits, leading zeros and all; one in `empty_one_in` is empty.
    fn digits(&mut self, count: u32, empty_one_in: u64) -> String {
        if self.one_in(empty_one_in) {
            return String::new();
        }
        let (number, width) = (self.below(10_u64.pow(count)), count as usize);
        format!("{number:0width$}")
    }

    /// Degrees with the dump's 15 decimals, of which only six say anything.
    fn degrees(&mut self, from: u64, to: u64) -> String {
        let whole = from + self.below(to - from);
        format!("{whole}.{:06}000000000", self.below(1_000_000))
    }

    fn calendar_day(&mut self) -> (u64, u64, u64) {
        (
            2003 + self.below(17),
            1 + self.below(12),
            1 + self.below(28),
        )
    }

    /// The day something happened to a project: mostly a midnight, sometimes the bare date.
    fn day(&mut self) -> String {
        let (year, month, day) = self.calendar_day();
        match self.below(40) {
            0 => format!("{year}-{month:02}-{day:02}"),
            1 => format!("{year}-{month}-{day}"),
            2 => format!("{year}-{month}-{day} 0:0:0"),
            _ => format!("{year}-{month:02}-{day:02} 00:00:00"),
        }
    }

    /// When a donation was made: 0 to 3 fraction digits, sometimes without padding.
    fn stamp(&mut self) -> String {
        let (year, month, day) = self.calendar_day();
        let (hour, minute, second) = (self.below(24), self.below(60), self.below(60));
        let base = match self.below(50) {
            0 => format!("{year}-{month}-{day} {hour}:{minute}:{second}"),
            1 => return String::new(),
            _ => format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"),
        };
        match self.below(20) {
            0 => base,
            1 => format!("{base}.{}", self.below(10)),
            2..4 => format!("{base}.{:02}", self.below(100)),
            _ => format!("{base}.{:03}", self.below(1000)),
        }
    }
}
