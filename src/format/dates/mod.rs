//! Dates: text to microseconds since 1970 and back.
//!
//! What fits a format is what fits Python's `strptime`: the first way in which all its directives
//! match from the start of the value, which must then end there. A [`Format`] is compiled once. Two
//! readers give the same answer: a general one that walks the directives, and a fast one for the
//! usual fixed layouts, which looks at each digit once.

mod calendar;
mod layout;
#[cfg(test)]
mod tests;

use chrono::{Days, NaiveDate};

pub use calendar::write_iso;

use calendar::{DAY, FIRST, LAST, SECOND};
use layout::{Layout, Seen};

use crate::error::{Error, Result};

/// A date format, ready to parse.
#[derive(Debug, Clone)]
pub struct Format {
    text: String,
    items: Vec<Item>,
    layout: Option<Layout>,
    /// No shorter value can fit.
    shortest: usize,
}

/// One piece of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    /// This byte, in either case.
    Literal(u8),
    /// One or more blanks.
    Blanks,
    Number(Number),
    /// 1 to 6 digits.
    Fraction,
    /// Nothing, or a dot and 1 to 6 digits.
    DotFraction,
    MonthName(&'static [&'static str; 12]),
    /// Checked to be one, and of no further effect.
    DayName(&'static [&'static str; 7]),
    AmPm,
    Zone,
}

/// A number of `narrow` to `wide` digits from `low` to `high`; the widest that fits is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number {
    part: Part,
    narrow: usize,
    wide: usize,
    low: u32,
    high: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Year,
    YearOfCentury,
    Month,
    Day,
    DayOfYear,
    Hour,
    HourOfTwelve,
    Minute,
    Second,
}

const fn number(part: Part, narrow: usize, wide: usize, low: u32, high: u32) -> Item {
    Item::Number(Number {
        part,
        narrow,
        wide,
        low,
        high,
    })
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const MONTHS_SHORT: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
const DAYS_SHORT: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Every directive, for the hint on an unknown one.
const KNOWN: &str = "%Y %y %m %b %B %d %j %H %I %p %M %S %f %.f %z %a %A %F %T %D %R %%";

/// What a directive stands for; `None`: there is none of that letter.
fn directive(letter: u8) -> Option<Item> {
    Some(match letter {
        b'Y' => number(Part::Year, 4, 4, 0, 9999),
        b'y' => number(Part::YearOfCentury, 2, 2, 0, 99),
        b'm' => number(Part::Month, 1, 2, 1, 12),
        b'd' => number(Part::Day, 1, 2, 1, 31),
        b'j' => number(Part::DayOfYear, 1, 3, 1, 366),
        b'H' => number(Part::Hour, 1, 2, 0, 23),
        b'I' => number(Part::HourOfTwelve, 1, 2, 1, 12),
        b'M' => number(Part::Minute, 1, 2, 0, 59),
        // As in Python, 60 and 61 are read (so that `60` is not a `6` and a rest) and then refused.
        b'S' => number(Part::Second, 1, 2, 0, 61),
        b'f' => Item::Fraction,
        b'b' => Item::MonthName(&MONTHS_SHORT),
        b'B' => Item::MonthName(&MONTHS),
        b'a' => Item::DayName(&DAYS_SHORT),
        b'A' => Item::DayName(&DAYS),
        b'p' => Item::AmPm,
        b'z' => Item::Zone,
        b'%' => Item::Literal(b'%'),
        _ => return None,
    })
}

/// The format with its abbreviations (`%T` and such) written out.
fn expand(format: &str) -> String {
    let mut expanded = String::with_capacity(format.len());
    let mut chars = format.chars();
    while let Some(char) = chars.next() {
        let letter = if char == '%' { chars.next() } else { None };
        match letter {
            Some('F') => expanded.push_str("%Y-%m-%d"),
            Some('T') => expanded.push_str("%H:%M:%S"),
            Some('D') => expanded.push_str("%m/%d/%y"),
            Some('R') => expanded.push_str("%H:%M"),
            _ => expanded.extend([Some(char), letter].into_iter().flatten()),
        }
    }
    expanded
}

impl Format {
    /// Compiles a format; an unknown directive, or one that stands twice, is a usage error.
    pub fn compile(format: &str) -> Result<Self> {
        let expanded = expand(format);
        let mut items: Vec<Item> = Vec::new();
        let mut rest = expanded.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            let item = if byte == b'%' {
                let (item, length) = compile_directive(format, after)?;
                rest = &after[length..];
                if item != Item::Literal(b'%') && items.iter().any(|other| same(other, &item)) {
                    let name = &after[..length];
                    return Err(Error::usage(format!(
                        "date format `{format}` says `%{}` twice",
                        String::from_utf8_lossy(name)
                    )));
                }
                item
            } else if let Some(length) =
                blank(&expanded.as_bytes()[expanded.len() - after.len() - 1..])
            {
                rest = &after[length - 1..];
                if items.last() == Some(&Item::Blanks) {
                    continue;
                }
                Item::Blanks
            } else {
                Item::Literal(byte)
            };
            items.push(item);
        }
        if items.is_empty() {
            return Err(Error::usage("a date format is empty")
                .hint("give one such as `%Y-%m-%d`, or leave `formats` out"));
        }
        Ok(Format {
            text: format.to_owned(),
            layout: Layout::of(&expanded),
            shortest: items.iter().map(Item::shortest).sum(),
            items,
        })
    }

    /// The format as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether values carry a zone, so that they are instants in UTC.
    pub fn zoned(&self) -> bool {
        self.items.contains(&Item::Zone)
    }

    /// The value in microseconds since 1970-01-01T00:00:00 (in UTC if [`Format::zoned`]), if it fits whole.
    #[inline]
    pub fn parse(&self, value: &[u8]) -> Option<i64> {
        if value.len() < self.shortest {
            return None;
        }
        match self.layout.map_or(Seen::Odd, |layout| layout.parse(value)) {
            Seen::Moment(micros) => Some(micros),
            Seen::Other => None,
            Seen::Odd => self.parse_general(value),
        }
    }

    /// What [`Format::parse`] gives, directive by directive.
    fn parse_general(&self, value: &[u8]) -> Option<i64> {
        let mut parts = Parts::default();
        let end = fit(&self.items, value, 0, &mut parts)?;
        if end == value.len() {
            parts.micros()
        } else {
            None
        }
    }
}

/// The directive that `rest` begins with, after its `%`, and its length.
fn compile_directive(format: &str, rest: &[u8]) -> Result<(Item, usize)> {
    let hint = format!("known are {KNOWN}");
    if rest.starts_with(b".f") {
        return Ok((Item::DotFraction, 2));
    }
    if let Some(item) = rest.first().and_then(|&letter| directive(letter)) {
        return Ok((item, 1));
    }
    let rest = String::from_utf8_lossy(rest);
    let error = match rest.chars().next() {
        Some(letter) => Error::usage(format!(
            "unknown directive `%{letter}` in date format `{format}`"
        )),
        None => Error::usage(format!(
            "date format `{format}` ends in a `%` without a letter"
        )),
    };
    Err(error.hint(hint))
}

/// Whether two items are one directive.
fn same(a: &Item, b: &Item) -> bool {
    let fraction = |item: &Item| matches!(item, Item::Fraction | Item::DotFraction);
    a == b || fraction(a) && fraction(b)
}

impl Item {
    fn shortest(&self) -> usize {
        match self {
            Item::Literal(_) | Item::Blanks | Item::Fraction | Item::Zone => 1,
            Item::Number(number) => number.narrow,
            Item::DotFraction => 0,
            Item::MonthName(_) | Item::DayName(_) => 3,
            Item::AmPm => 2,
        }
    }
}

/// What the directives have said so far; Python's defaults for what none says.
#[derive(Debug)]
struct Parts {
    year: i32,
    month: u32,
    day: u32,
    day_of_year: Option<u32>,
    hour: u32,
    twelve: bool,
    pm: bool,
    minute: u32,
    second: u32,
    fraction: u32,
    /// Of the zone, in microseconds; `None`: its colons are at odds or it is a day or more.
    offset: Option<i64>,
}

impl Default for Parts {
    fn default() -> Self {
        Parts {
            year: 1900,
            month: 1,
            day: 1,
            day_of_year: None,
            hour: 0,
            twelve: false,
            pm: false,
            minute: 0,
            second: 0,
            fraction: 0,
            offset: Some(0),
        }
    }
}

impl Parts {
    fn set(&mut self, part: Part, value: u32) {
        let year = i32::try_from(value).expect("a number has at most four digits");
        match part {
            Part::Year => self.year = year,
            // The century is POSIX's: 69 to 99 are the last one's.
            Part::YearOfCentury => self.year = if year < 69 { 2000 + year } else { 1900 + year },
            Part::Month => self.month = value,
            Part::Day => self.day = value,
            Part::DayOfYear => self.day_of_year = Some(value),
            Part::Hour | Part::HourOfTwelve => {
                self.hour = value;
                self.twelve = part == Part::HourOfTwelve;
            }
            Part::Minute => self.minute = value,
            Part::Second => self.second = value,
        }
    }

    /// The moment, if there is such a day and second.
    fn micros(&self) -> Option<i64> {
        if !(1..=9999).contains(&self.year) {
            return None;
        }
        let date = match self.day_of_year {
            // Day 366 of a year of 365 is the next year's first, as in Python.
            Some(day) => NaiveDate::from_ymd_opt(self.year, 1, 1)?
                .checked_add_days(Days::new(u64::from(day) - 1))?,
            None => NaiveDate::from_ymd_opt(self.year, self.month, self.day)?,
        };
        let hour = match (self.twelve, self.pm) {
            (true, pm) => self.hour % 12 + if pm { 12 } else { 0 },
            (false, _) => self.hour,
        };
        let local = date.and_hms_micro_opt(hour, self.minute, self.second, self.fraction)?;
        let micros = local.and_utc().timestamp_micros() - self.offset?;
        (FIRST..=LAST).contains(&micros).then_some(micros)
    }
}

/// Where the first way ends in which `items` match `text` from `at` on.
fn fit(items: &[Item], text: &[u8], at: usize, parts: &mut Parts) -> Option<usize> {
    let Some((item, items)) = items.split_first() else {
        return Some(at);
    };
    let rest = &text[at..];
    match item {
        Item::Literal(byte) => {
            if !rest.first()?.eq_ignore_ascii_case(byte) {
                return None;
            }
            fit(items, text, at + 1, parts)
        }
        Item::Blanks => {
            // No item begins with a blank that it needs, so that taking all of them is right.
            let mut end = at + blank(rest)?;
            while let Some(length) = blank(&text[end..]) {
                end += length;
            }
            fit(items, text, end, parts)
        }
        Item::Number(number) => fit_number(*number, items, text, at, parts),
        Item::Fraction => fit_fraction(items, text, at, parts),
        Item::DotFraction => {
            let with_dot = match rest.first() {
                Some(b'.') => fit_fraction(items, text, at + 1, parts),
                _ => None,
            };
            with_dot.or_else(|| {
                parts.fraction = 0;
                fit(items, text, at, parts)
            })
        }
        Item::MonthName(names) => {
            let (month, length) = name(&names[..], rest)?;
            parts.month = month + 1;
            fit(items, text, at + length, parts)
        }
        Item::DayName(names) => {
            let (_, length) = name(&names[..], rest)?;
            fit(items, text, at + length, parts)
        }
        Item::AmPm => {
            let (half, length) = name(&["am", "pm"], rest)?;
            parts.pm = half == 1;
            fit(items, text, at + length, parts)
        }
        Item::Zone => fit_zone(items, text, at, parts),
    }
}

fn fit_number(
    number: Number,
    items: &[Item],
    text: &[u8],
    at: usize,
    parts: &mut Parts,
) -> Option<usize> {
    for width in (number.narrow..=number.wide).rev() {
        let Some(value) = digits(text, at, width) else {
            continue;
        };
        if (number.low..=number.high).contains(&value) {
            parts.set(number.part, value);
            if let Some(end) = fit(items, text, at + width, parts) {
                return Some(end);
            }
        }
    }
    // Python reads ` 3` as a day (C's padding), but no value may begin with a blank.
    if number.part == Part::Day && at > 0 && text.get(at) == Some(&b' ') {
        let value = digits(text, at + 1, 1).filter(|&value| value > 0)?;
        parts.set(Part::Day, value);
        return fit(items, text, at + 2, parts);
    }
    None
}

fn fit_fraction(items: &[Item], text: &[u8], at: usize, parts: &mut Parts) -> Option<usize> {
    (1..=6).rev().find_map(|width| {
        parts.fraction = fraction(text, at, width)?;
        fit(items, text, at + width, parts)
    })
}

/// `Z`, or sign, hours and minutes, and maybe seconds and their fraction, with colons or without.
fn fit_zone(items: &[Item], text: &[u8], at: usize, parts: &mut Parts) -> Option<usize> {
    let sign = match text.get(at)? {
        b'Z' => {
            parts.offset = Some(0);
            return fit(items, text, at + 1, parts);
        }
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = digits(text, at + 1, 2)?;
    let colon = usize::from(text.get(at + 3) == Some(&b':'));
    let minutes = digits(text, at + 3 + colon, 2).filter(|&minutes| minutes < 60)?;
    let end = at + 5 + colon;
    let offset = |seconds: u32, fraction: u32| {
        let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60 + i64::from(seconds);
        let micros = seconds * SECOND + i64::from(fraction);
        (micros < DAY).then_some(sign * micros)
    };
    let second_colon = usize::from(text.get(end) == Some(&b':'));
    let seconds_end = end + second_colon + 2;
    let seconds = digits(text, end + second_colon, 2).filter(|&seconds| seconds < 60);
    if let Some(seconds) = seconds {
        // Python matches colons that are at odds and then refuses the value.
        let even = second_colon == colon;
        if text.get(seconds_end) == Some(&b'.') {
            for width in (1..=6).rev() {
                if let Some(fraction) = fraction(text, seconds_end + 1, width) {
                    parts.offset = offset(seconds, fraction).filter(|_| even);
                    let end = fit(items, text, seconds_end + 1 + width, parts);
                    if end.is_some() {
                        return end;
                    }
                }
            }
        }
        parts.offset = offset(seconds, 0).filter(|_| even);
        let end = fit(items, text, seconds_end, parts);
        if end.is_some() {
            return end;
        }
    }
    parts.offset = offset(0, 0);
    fit(items, text, end, parts)
}

/// The number of exactly `width` digits at `at`.
fn digits(text: &[u8], at: usize, width: usize) -> Option<u32> {
    let mut value = 0;
    for byte in text.get(at..at + width)? {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u32::from(byte - b'0');
    }
    Some(value)
}

/// The microseconds that `width` (1 to 6) fraction digits say.
fn fraction(text: &[u8], at: usize, width: usize) -> Option<u32> {
    const SCALE: [u32; 6] = [100_000, 10_000, 1_000, 100, 10, 1];
    Some(digits(text, at, width)? * SCALE[width - 1])
}

/// The position and length of the name that `text` begins with, in either case. None of the names is
/// the beginning of another one.
fn name(names: &[&str], text: &[u8]) -> Option<(u32, usize)> {
    let fits = |name: &str| {
        text.get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    };
    (0..)
        .zip(names)
        .find(|(_, name)| fits(name))
        .map(|(i, name)| (i, name.len()))
}

/// The length of the blank that `text` begins with: what Python's `\s` takes for one.
fn blank(text: &[u8]) -> Option<usize> {
    let first = *text.first()?;
    if first.is_ascii() {
        return (first.is_ascii_whitespace() || matches!(first, 0x0B | 0x1C..=0x1F)).then_some(1);
    }
    let start = text.get(..4).unwrap_or(text);
    let char = start.utf8_chunks().next()?.valid().chars().next()?;
    char.is_whitespace().then(|| char.len_utf8())
}
