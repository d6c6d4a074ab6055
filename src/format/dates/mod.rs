//! Dates: text to microseconds since 1970 and back.
//!
//! What fits a format is what fits Python's `strptime`: the first way in which all its directives
//! match from the start of the value, which must then end there. A [`Format`] is compiled once. Two
//! readers give the same answer: a general one that walks the directives, and a fast one for the
//! usual fixed layouts, which looks at each digit once.

mod calendar;
mod fit;
mod foreign;
mod layout;
#[cfg(test)]
mod tests;

use chrono::{Days, NaiveDate, Weekday};

pub use calendar::{in_years, shifted, start_of_day, write_iso};

use calendar::{FIRST, LAST};
use fit::{blank, fit};
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
    /// 1 to so many digits, 6 or 9; those beyond the sixth are cut.
    Fraction(usize),
    /// Nothing, or a dot and 1 to 6 digits.
    DotFraction,
    MonthName(&'static [&'static str; 12]),
    /// Checked to be one, and of no further effect.
    DayName(&'static [&'static str; 7]),
    AmPm,
    Zone,
    /// `UTC` or `GMT`.
    ZoneName,
    /// The time since 1970, in units of which a second has ten to this power.
    Epoch(u32),
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
    IsoYear,
    IsoWeek,
    IsoDay,
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
const KNOWN: &str = "%Y %y %m %b %B %d %j %G %V %u %H %I %p %M %S %f %.f %9f %z %Z %s %3s %6s %9s %a %A %F %T %D %R %%";

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
        b'G' => number(Part::IsoYear, 4, 4, 0, 9999),
        b'V' => number(Part::IsoWeek, 1, 2, 1, 53),
        b'u' => number(Part::IsoDay, 1, 1, 1, 7),
        b'f' => Item::Fraction(6),
        b'b' => Item::MonthName(&MONTHS_SHORT),
        b'B' => Item::MonthName(&MONTHS),
        b'a' => Item::DayName(&DAYS_SHORT),
        b'A' => Item::DayName(&DAYS),
        b'p' => Item::AmPm,
        b'z' => Item::Zone,
        b'Z' => Item::ZoneName,
        b's' => Item::Epoch(0),
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
        let is_text = |item: &Item| matches!(item, Item::Literal(_) | Item::Blanks);
        if items.iter().all(is_text) {
            return Err(no_directive(format));
        }
        check_parts(format, &items)?;
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
        let zone = |item: &Item| matches!(item, Item::Zone | Item::ZoneName | Item::Epoch(_));
        // A `Z` at the end of a date, as ISO 8601 has it, is the zone UTC.
        let utc = matches!(
            self.items[..],
            [
                ..,
                Item::Number(_) | Item::Fraction(_) | Item::DotFraction,
                Item::Literal(b'Z')
            ]
        );
        utc || self.items.iter().any(zone)
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

/// Refuses parts that say nothing without others.
fn check_parts(format: &str, items: &[Item]) -> Result<()> {
    let has = |part| {
        let is = |item: &Item| matches!(item, Item::Number(number) if number.part == part);
        items.iter().any(is)
    };
    let iso = [Part::IsoYear, Part::IsoWeek, Part::IsoDay].map(has);
    if iso[..2].contains(&true) && iso.contains(&false) {
        let error = Error::usage(format!(
            "date format `{format}` has only some of `%G`, `%V` and `%u`"
        ));
        return Err(error.hint("a day of an ISO week is `%G-W%V-%u`"));
    }
    let epoch = items.iter().any(|item| matches!(item, Item::Epoch(_)));
    if epoch
        && items
            .iter()
            .any(|item| matches!(item, Item::Number(_) | Item::Zone))
    {
        return Err(Error::usage(format!(
            "date format `{format}` has the seconds since 1970 and other parts of a date"
        )));
    }
    Ok(())
}

/// The directive that `rest` begins with, after its `%`, and its length.
fn compile_directive(format: &str, rest: &[u8]) -> Result<(Item, usize)> {
    let hint = format!("known are {KNOWN}");
    if rest.starts_with(b".f") {
        return Ok((Item::DotFraction, 2));
    }
    match rest {
        [b'9', b'f', ..] => return Ok((Item::Fraction(9), 2)),
        [b'3', b's', ..] => return Ok((Item::Epoch(3), 2)),
        [b'6', b's', ..] => return Ok((Item::Epoch(6), 2)),
        [b'9', b's', ..] => return Ok((Item::Epoch(9), 2)),
        _ => {}
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
    let fraction = |item: &Item| matches!(item, Item::Fraction(_) | Item::DotFraction);
    let epoch = |item: &Item| matches!(item, Item::Epoch(_));
    a == b || fraction(a) && fraction(b) || epoch(a) && epoch(b)
}

impl Item {
    fn shortest(&self) -> usize {
        match self {
            Item::Literal(_) | Item::Blanks | Item::Fraction(_) | Item::Zone | Item::Epoch(_) => 1,
            Item::Number(number) => number.narrow,
            Item::DotFraction => 0,
            Item::MonthName(_) | Item::DayName(_) | Item::ZoneName => 3,
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
    iso_year: i32,
    /// `None`: no week is said.
    iso_week: Option<u32>,
    iso_day: u32,
    /// Microseconds since 1970 without their fraction, and whether they are before; `None`: none is said.
    epoch: Option<(i64, bool)>,
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
            iso_year: 1900,
            iso_week: None,
            iso_day: 1,
            epoch: None,
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
            Part::IsoYear => self.iso_year = year,
            Part::IsoWeek => self.iso_week = Some(value),
            Part::IsoDay => self.iso_day = value,
        }
    }

    /// The moment, if there is such a day and second.
    fn micros(&self) -> Option<i64> {
        if let Some((epoch, before)) = self.epoch {
            let fraction = i64::from(self.fraction);
            let micros = epoch.checked_add(if before { -fraction } else { fraction })?;
            return (FIRST..=LAST).contains(&micros).then_some(micros);
        }
        if !(1..=9999).contains(&self.year) {
            return None;
        }
        let date = match self.day_of_year {
            _ if self.iso_week.is_some() => {
                let day = u8::try_from(self.iso_day - 1).ok()?;
                let day = Weekday::try_from(day).ok()?;
                NaiveDate::from_isoywd_opt(self.iso_year, self.iso_week?, day)?
            }
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

/// The error for a format that fits its own text alone.
fn no_directive(format: &str) -> Error {
    let error = Error::usage(format!(
        "date format `{format}` has no directive: it would fit the text `{format}` alone"
    ));
    error.hint(match foreign::translate(format) {
        Some(meant) => format!("formats are written as in strptime; did you mean `{meant}`?"),
        None => "formats are written as in strptime, such as `%Y-%m-%d`".into(),
    })
}
