//! Dates: text to microseconds since 1970 and back.
//!
//! What fits a format is what fits Python's `strptime`: the first way in which all its directives
//! match from the start of the value, which must then end there. A [`Format`] is compiled once. Two
//! readers give the same answer: a general one that walks the directives, and a fast one for the
//! usual fixed layouts, which looks at each digit once.

use chrono::{Days, NaiveDate};

use crate::error::{Error, Result};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// 0001-01-01T00:00:00, the first moment that four digits can say.
const FIRST: i64 = -719_162 * DAY;
/// The last microsecond of the year 9999.
const LAST: i64 = 2_932_897 * DAY - 1;

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

/// A layout in which every digit has its place: `YYYY-MM-DD`, alone or with `HH:MM:SS` and a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    /// What stands between date and time; `None`: a date alone.
    separator: Option<u8>,
    fraction: LayoutFraction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LayoutFraction {
    No,
    May,
    Must,
}

impl Layout {
    /// The layout of a format with its abbreviations written out.
    fn of(expanded: &str) -> Option<Self> {
        let rest = expanded.strip_prefix("%Y-%m-%d")?;
        let (separator, time) = match rest.as_bytes().first() {
            None => (None, "%H:%M:%S"),
            Some(&separator @ (b' ' | b'T')) => (Some(separator), &rest[1..]),
            Some(_) => return None,
        };
        let fraction = match time.strip_prefix("%H:%M:%S")? {
            "" => LayoutFraction::No,
            "%.f" => LayoutFraction::May,
            ".%f" => LayoutFraction::Must,
            _ => return None,
        };
        Some(Layout {
            separator,
            fraction,
        })
    }

    /// The value in this very layout. Once date and time stand in their places no other reading of them
    /// is left, so that what follows decides.
    #[inline]
    fn parse(self, value: &[u8]) -> Seen {
        let Some((date, rest)) = split::<10>(value, fixed_date) else {
            return Seen::Odd;
        };
        let Some(separator) = self.separator else {
            return if rest.is_empty() {
                Seen::Moment(date)
            } else {
                Seen::Other
            };
        };
        let Some((time, rest)) = split::<9>(rest, |time| fixed_time(separator, time)) else {
            return Seen::Odd;
        };
        let fraction = match (rest, self.fraction) {
            ([], LayoutFraction::No | LayoutFraction::May) => Some(0),
            ([b'.', digits @ ..], LayoutFraction::May | LayoutFraction::Must) => {
                fixed_fraction(digits)
            }
            _ => None,
        };
        fraction.map_or(Seen::Other, |fraction| Seen::Moment(date + time + fraction))
    }
}

/// What a layout makes of a value.
enum Seen {
    /// A moment.
    Moment(i64),
    /// A moment in another layout, so that this format cannot fit.
    Other,
    /// Perhaps short numbers or more blanks, which the general reader takes.
    Odd,
}

/// What the first bytes of a value are, and the rest.
#[inline]
fn split<const N: usize>(
    value: &[u8],
    read: impl FnOnce(&[u8; N]) -> Option<i64>,
) -> Option<(i64, &[u8])> {
    let (first, rest) = value.split_first_chunk()?;
    Some((read(first)?, rest))
}

/// The eight bytes as numbers, a digit its value and a mark 0, if each is what `shape` has there: a `0`
/// stands for any digit, anything else for itself. All are checked at once: what differs from `0` by more
/// than 9, or from a mark at all, overflows into its byte's highest bit.
#[inline]
fn shaped(text: [u8; 8], shape: [u8; 8]) -> Option<[u8; 8]> {
    let room = u64::from_le_bytes(shape.map(|mark| if mark == b'0' { 0x76 } else { 0x7F }));
    let differs = u64::from_le_bytes(text) ^ u64::from_le_bytes(shape);
    let wrong = (differs.wrapping_add(room) | differs) & 0x8080_8080_8080_8080;
    (wrong == 0).then(|| differs.to_le_bytes())
}

/// The number of two digits.
#[inline]
fn two(digits: [u8; 8], at: usize) -> u32 {
    u32::from(digits[at]) * 10 + u32::from(digits[at + 1])
}

/// `YYYY-MM-DD` in microseconds.
#[inline]
fn fixed_date(text: &[u8; 10]) -> Option<i64> {
    let head = shaped(*text.first_chunk()?, *b"0000-00-")?;
    let tail = shaped(*text.last_chunk()?, *b"00-00-00")?;
    let (year, month, day) = (
        two(head, 0) * 100 + two(head, 2),
        two(head, 5),
        two(tail, 6),
    );
    let fits = year > 0 && month.wrapping_sub(1) < 12 && day > 0 && day <= month_days(year, month);
    fits.then(|| days_from_civil(year, month, day) * DAY)
}

/// `HH:MM:SS` behind its separator, in microseconds.
#[inline]
fn fixed_time(separator: u8, text: &[u8; 9]) -> Option<i64> {
    let digits = shaped(*text.last_chunk()?, *b"00:00:00")?;
    let (hours, minutes, seconds) = (two(digits, 0), two(digits, 3), two(digits, 6));
    let fits = text[0] == separator && hours < 24 && minutes < 60 && seconds < 60;
    fits.then(|| i64::from(hours * 3600 + minutes * 60 + seconds) * SECOND)
}

/// 1 to 6 fraction digits in microseconds.
#[inline]
fn fixed_fraction(text: &[u8]) -> Option<i64> {
    const SCALE: [i64; 7] = [0, 100_000, 10_000, 1_000, 100, 10, 1];
    let scale = SCALE.get(text.len()).filter(|&&scale| scale > 0)?;
    let mut value = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value * scale)
}

#[inline]
fn month_days(year: u32, month: u32) -> u32 {
    const DAYS: [u8; 13] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    u32::from(DAYS[month as usize]) + u32::from(leap && month == 2)
}

/// Days since 1970-01-01. The year is counted from March, so that a leap day is its last
/// (H. Hinnant, "chrono-compatible low-level date algorithms").
#[inline]
fn days_from_civil(year: u32, month: u32, day: u32) -> i64 {
    let before_march = u32::from(month < 3);
    let year = year - before_march;
    let month = month + 12 * before_march - 3;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    i64::from(days) - 719_469
}

/// Year, month and day of a number of days since 1970-01-01, the inverse of [`days_from_civil`]; years
/// from 1 to 9999.
#[inline]
fn civil_from_days(days: i64) -> (u32, u32, u32) {
    let days = u32::try_from(days + 719_468).expect("the year was checked to be 1 or later");
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let next_year = u32::from(month > 9);
    (
        era * 400 + year_of_era + next_year,
        month + 3 - 12 * next_year,
        day,
    )
}

/// `00` to `99`, so that two digits cost one lookup.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut i = 0u8;
    while i < 100 {
        pairs[i as usize] = [b'0' + i / 10, b'0' + i % 10];
        i += 1;
    }
    pairs
};

#[inline]
fn put_pair(text: &mut [u8; 27], at: usize, value: u32) {
    text[at..at + 2].copy_from_slice(&PAIRS[value as usize % 100]);
}

/// Appends the moment as ISO 8601, with 0, 3 or 6 fraction digits (the fewest that are exact) and a
/// `Z` if it is `utc`. A moment outside the years 1 to 9999, which no format parses to, is cut to the
/// nearest inside.
#[inline]
pub fn write_iso(micros: i64, utc: bool, out: &mut Vec<u8>) {
    let micros = micros.clamp(FIRST, LAST);
    let (year, month, day) = civil_from_days(micros.div_euclid(DAY));
    let of_day = micros.rem_euclid(DAY);
    let split = |value: i64| u32::try_from(value).expect("a day has 86,400 seconds of 10^6 parts");
    let (seconds, fraction) = (split(of_day / SECOND), split(of_day % SECOND));

    let mut text = *b"0000-00-00T00:00:00.000000Z";
    put_pair(&mut text, 0, year / 100);
    put_pair(&mut text, 2, year % 100);
    put_pair(&mut text, 5, month);
    put_pair(&mut text, 8, day);
    put_pair(&mut text, 11, seconds / 3600);
    put_pair(&mut text, 14, seconds / 60 % 60);
    put_pair(&mut text, 17, seconds % 60);
    let mut end = 19;
    if fraction != 0 {
        put_pair(&mut text, 20, fraction / 10_000);
        put_pair(&mut text, 22, fraction / 100 % 100);
        put_pair(&mut text, 24, fraction % 100);
        end = if fraction.is_multiple_of(1000) {
            23
        } else {
            26
        };
    }
    if utc {
        text[end] = b'Z';
        end += 1;
    }
    out.extend_from_slice(&text[..end]);
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;

    fn parse(format: &str, value: &str) -> Option<i64> {
        let format = Format::compile(format).expect("the format is right");
        format.parse(value.as_bytes())
    }

    /// What Python 3.11's `datetime.strptime` says to each, turned to UTC; one that it refuses is `None`.
    #[rustfmt::skip]
    const PYTHON: &[(&str, &str, Option<i64>)] = &[
        ("%Y-%m-%d", "2013-03-02", Some(1_362_182_400_000_000)),
        ("%Y-%m-%d", "2013-3-2", Some(1_362_182_400_000_000)),
        ("%Y-%m-%d", " 2013-03-02", None),
        ("%Y-%m-%d", "2013-03-02 ", None),
        ("%Y-%m-%d", "2013-03-02\n", None),
        ("%Y-%m-%d", "13-03-02", None),
        ("%Y-%m-%d", "02013-03-02", None),
        ("%Y-%m-%d", "0000-01-01", None),
        ("%Y-%m-%d", "0001-01-01", Some(-62_135_596_800_000_000)),
        ("%Y-%m-%d", "9999-12-31", Some(253_402_214_400_000_000)),
        ("%Y-%m-%d", "2012-02-29", Some(1_330_473_600_000_000)),
        ("%Y-%m-%d", "2013-02-29", None),
        ("%Y-%m-%d", "1900-02-29", None),
        ("%Y-%m-%d", "2000-02-29", Some(951_782_400_000_000)),
        ("%Y-%m-%d", "2013-00-01", None),
        ("%Y-%m-%d", "2013-01-00", None),
        ("%Y-%m-%d", "2013-13-01", None),
        ("%Y-%m-%d", "2013-04-31", None),
        ("%Y-%m-%d", "2013-01- 3", Some(1_357_171_200_000_000)),
        ("%Y-%m-%d", "2013-01-003", None),
        ("%Y-%m-%d", "-013-01-03", None),
        ("%Y-%m-%d", "2013/01/03", None),
        ("%Y-%m-%d", "", None),
        ("%Y-%m-%d %H:%M:%S", "2013-3-2 8:8:3", Some(1_362_211_683_000_000)),
        ("%Y-%m-%d %H:%M:%S", "2013-03-02 08:08:03", Some(1_362_211_683_000_000)),
        ("%Y-%m-%d %H:%M:%S", "2013-03-02  08:08:03", Some(1_362_211_683_000_000)),
        ("%Y-%m-%d %H:%M:%S", "2013-03-02\t08:08:03", Some(1_362_211_683_000_000)),
        ("%Y-%m-%d %H:%M:%S", "2013-03-02\u{a0}08:08:03", Some(1_362_211_683_000_000)),
        ("%Y-%m-%d %H:%M:%S", "2013-03-0208:08:03", None),
        ("%Y-%m-%d %H:%M:%S", "2013-03-02 24:00:00", None),
        ("%Y-%m-%d %H:%M:%S", "2013-03-02 23:59:60", None),
        ("%Y-%m-%d %H:%M:%S", "2013-03-02 23:59:61", None),
        ("%Y-%m-%d %H:%M:%S", "2013-03-02 23:60:00", None),
        ("%Y-%m-%d %H:%M:%S", "2013-03-02 23:59:59", Some(1_362_268_799_000_000)),
        ("%Y-%m-%d %H:%M:%S", "2013-03-02 08:08:03 ", None),
        ("%Y-%m-%d %H:%M:%S", "2013-03-02 08:08:03.5", None),
        ("%Y-%m-%d %H:%M:%S", "2013-03-02 08:08:075", None),
        ("%Y-%m-%d %H:%M:%S.%f", "2013-03-02 08:08:03.5", Some(1_362_211_683_500_000)),
        ("%Y-%m-%d %H:%M:%S.%f", "2013-03-02 08:08:03.123456", Some(1_362_211_683_123_456)),
        ("%Y-%m-%d %H:%M:%S.%f", "2013-03-02 08:08:03.1234567", None),
        ("%Y-%m-%d %H:%M:%S.%f", "2013-03-02 08:08:03.", None),
        ("%Y-%m-%d %H:%M:%S.%f", "2013-03-02 08:08:03", None),
        ("%Y-%m-%d %H:%M:%S.%f", "1969-12-31 23:59:59.999999", Some(-1)),
        ("%Y-%m-%dT%H:%M:%S", "2013-03-02t08:08:03", Some(1_362_211_683_000_000)),
        ("%Y-%m-%dT%H:%M:%S", "2013-03-02 08:08:03", None),
        ("%Y%m%d", "20130302", Some(1_362_182_400_000_000)),
        ("%Y%m%d", "201332", Some(1_362_182_400_000_000)),
        ("%Y%m%d", "2013111", Some(1_383_264_000_000_000)),
        ("%Y%m%d", "2013132", None),
        ("%m%d%Y", "1232013", Some(1_386_028_800_000_000)),
        ("%m%d", "12", Some(-2_208_902_400_000_000)),
        ("%m%d", "13", Some(-2_208_816_000_000_000)),
        ("%Y%m%d%H%M", "2013111111", Some(1_384_131_660_000_000)),
        ("%d/%m/%Y", "1/2/2013", Some(1_359_676_800_000_000)),
        ("%d/%m/%Y", "31/2/2013", None),
        ("%m/%d/%y", "12/31/68", Some(3_124_137_600_000_000)),
        ("%m/%d/%y", "12/31/69", Some(-86_400_000_000)),
        ("%m/%d/%y", "12/31/5", None),
        ("%d %b %Y", "2 mAr 2013", Some(1_362_182_400_000_000)),
        ("%d %B %Y", "2 March 2013", Some(1_362_182_400_000_000)),
        ("%d %b %Y", "2 March 2013", None),
        ("%d %B %Y", "2 May 2013", Some(1_367_452_800_000_000)),
        ("%A, %d %B %Y", "Sunday, 3 March 2013", Some(1_362_268_800_000_000)),
        ("%A, %d %B %Y", "Monday, 3 March 2013", Some(1_362_268_800_000_000)),
        ("%a %d %b %Y", "Sxn 3 Mar 2013", None),
        ("%b %d", "Feb 29", None),
        ("%b %d", "Mar 1", Some(-2_203_891_200_000_000)),
        ("%H:%M", "7:05", Some(-2_208_963_300_000_000)),
        ("%Y %j", "2012 366", Some(1_356_912_000_000_000)),
        ("%Y %j", "2013 366", Some(1_388_534_400_000_000)),
        ("%Y %j", "2013 60", Some(1_362_096_000_000_000)),
        ("%Y %j", "2013 1", Some(1_356_998_400_000_000)),
        ("%Y %j", "2013 000", None),
        ("%Y %j", "2013 367", None),
        ("%Y %j", "9999 366", None),
        ("%I:%M %p", "12:30 AM", Some(-2_208_987_000_000_000)),
        ("%I:%M %p", "12:30 pm", Some(-2_208_943_800_000_000)),
        ("%I:%M %p", "1:30 PM", Some(-2_208_940_200_000_000)),
        ("%I:%M %p", "13:30 PM", None),
        ("%I:%M %p", "0:30 PM", None),
        ("%H:%M %p", "13:30 AM", Some(-2_208_940_200_000_000)),
        ("%I:%M", "12:30", Some(-2_208_987_000_000_000)),
        ("%p %I", "PM 3", Some(-2_208_934_800_000_000)),
        ("%Y-%m-%d %z", "2013-03-02 +0530", Some(1_362_162_600_000_000)),
        ("%Y-%m-%d %z", "2013-03-02 -05:30", Some(1_362_202_200_000_000)),
        ("%Y-%m-%d %z", "2013-03-02 Z", Some(1_362_182_400_000_000)),
        ("%Y-%m-%d %z", "2013-03-02 z", None),
        ("%Y-%m-%d %z", "2013-03-02 +05", None),
        ("%Y-%m-%d %z", "2013-03-02 +2359", Some(1_362_096_060_000_000)),
        ("%Y-%m-%d %z", "2013-03-02 +2400", None),
        ("%Y-%m-%d %z", "2013-03-02 +0160", None),
        ("%Y-%m-%d %z", "2013-03-02 +053015", Some(1_362_162_585_000_000)),
        ("%Y-%m-%d %z", "2013-03-02 +05:30:15.25", Some(1_362_162_584_750_000)),
        ("%Y-%m-%d %z", "2013-03-02 +05:3015", None),
        ("%Y-%m-%d %z", "2013-03-02 +0530:15", None),
        ("%Y-%m-%d %z", "2013-03-02 UTC", None),
        ("%Y-%m-%d %z", "0001-01-01 +0001", None),
        ("%Y-%m-%d %z", "9999-12-31 -2359", Some(253_402_300_740_000_000)),
        ("100%% %Y", "100% 2013", Some(1_356_998_400_000_000)),
        ("%Y.%m", "2013x04", None),
        ("%Y.%m", "2013.04", Some(1_364_774_400_000_000)),
        ("%Yé%m", "2013é4", Some(1_364_774_400_000_000)),
        ("%H%M%S", "6012", Some(-2_208_967_138_000_000)),
        ("%S", "60", None),
        ("%S", "6", Some(-2_208_988_794_000_000)),
    ];

    #[test]
    fn what_fits_is_what_fits_in_python() {
        for (format, value, expected) in PYTHON {
            assert_eq!(parse(format, value), *expected, "`{value}` by `{format}`");
        }
    }

    #[test]
    fn a_fraction_and_its_dot_may_be_missing() {
        let format = "%Y-%m-%d %H:%M:%S%.f";
        let whole = Some(1_362_211_683_000_000);
        assert_eq!(parse(format, "2013-03-02 08:08:03"), whole);
        assert_eq!(parse(format, "2013-3-2 8:8:3"), whole);
        let half = whole.map(|micros| micros + 500_000);
        assert_eq!(parse(format, "2013-03-02 08:08:03.5"), half);
        assert_eq!(parse(format, "2013-3-2 8:8:3.500000"), half);
        for value in [
            "2013-03-02 08:08:03.",
            "2013-03-02 08:08:03.1234567",
            "2013-03-02 08:08:03,5",
            "2013-03-02 08:08:03.5 ",
        ] {
            assert_eq!(parse(format, value), None, "{value}");
        }
    }

    #[test]
    fn no_value_begins_with_a_blank() {
        assert_eq!(parse("%d.%m.%Y", " 2.3.2013"), None);
        assert_eq!(parse("%d.%m.%Y", "2.3.2013"), Some(1_362_182_400_000_000));
    }

    #[test]
    fn abbreviations_are_what_they_stand_for() {
        let long = "%Y-%m-%d %H:%M:%S %m/%d/%y %H:%M";
        assert_eq!(expand("%F %T %D %R"), long);
        assert_eq!(
            parse("%F %T", "2013-03-02 08:08:03"),
            Some(1_362_211_683_000_000)
        );
        assert_eq!(parse("%%T%Y", "%T2013"), Some(1_356_998_400_000_000));
    }

    #[test]
    fn a_faulty_format_is_named() {
        let message = |format: &str| Format::compile(format).expect_err("it is faulty").message;
        assert_eq!(
            message("%Y-%Q"),
            "unknown directive `%Q` in date format `%Y-%Q`"
        );
        assert_eq!(
            message("%Y-%é"),
            "unknown directive `%é` in date format `%Y-%é`"
        );
        assert_eq!(
            message("%Y %"),
            "date format `%Y %` ends in a `%` without a letter"
        );
        assert_eq!(message("%F %Y"), "date format `%F %Y` says `%Y` twice");
        assert_eq!(message("%f%.f"), "date format `%f%.f` says `%.f` twice");
        assert_eq!(message(""), "a date format is empty");
    }

    #[test]
    fn a_zone_makes_it_zoned() {
        let zoned = |format| Format::compile(format).expect("it is right").zoned();
        assert!(zoned("%Y-%m-%dT%H:%M:%S%z"));
        assert!(!zoned("%Y-%m-%dT%H:%M:%S%%z"));
    }

    #[test]
    fn every_day_is_its_own_inverse() {
        let mut date = NaiveDate::from_ymd_opt(1, 1, 1).expect("there is such a day");
        for days in FIRST / DAY..=LAST / DAY {
            use chrono::Datelike;
            let year = date.year_ce().1;
            let civil = (year, date.month(), date.day());
            assert_eq!(civil_from_days(days), civil);
            assert_eq!(days_from_civil(year, date.month(), date.day()), days);
            date = date.succ_opt().expect("chrono goes on after 9999");
        }
    }

    #[test]
    fn iso_has_the_fewest_exact_digits() {
        let iso = |micros, utc| {
            let mut text = b"> ".to_vec();
            write_iso(micros, utc, &mut text);
            String::from_utf8(text).expect("digits are text")
        };
        assert_eq!(iso(0, false), "> 1970-01-01T00:00:00");
        assert_eq!(iso(0, true), "> 1970-01-01T00:00:00Z");
        assert_eq!(iso(500_000, true), "> 1970-01-01T00:00:00.500Z");
        assert_eq!(iso(-1, false), "> 1969-12-31T23:59:59.999999");
        assert_eq!(iso(i64::MAX, false), "> 9999-12-31T23:59:59.999999");
        assert_eq!(iso(i64::MIN, false), "> 0001-01-01T00:00:00");
    }

    /// Moments whole, in milliseconds and in microseconds.
    fn moments() -> impl Strategy<Value = i64> {
        (FIRST..=LAST, prop::sample::select(vec![1, 1000, SECOND]))
            .prop_map(|(micros, unit)| (micros.div_euclid(unit) * unit).max(FIRST))
    }

    /// Values near those that fit a fixed layout: numbers short and long, in range and beyond,
    /// separators now and then wrong.
    fn nearly() -> impl Strategy<Value = String> {
        let number = |high: u32| {
            (0..=high, 0..8).prop_map(|(value, width)| match width {
                0 => format!("{value}"),
                1 => format!("{value:03}"),
                _ => format!("{value:02}"),
            })
        };
        let mark = |mark: &'static str| {
            prop::sample::select(vec![mark, mark, mark, mark, mark, mark, mark, " ", "", "-"])
        };
        let year =
            prop::sample::select(vec!["0000", "0001", "1900", "2000", "2012", "9999", "201"]);
        let date = (year, mark("-"), number(13), mark("-"), number(32))
            .prop_map(|(y, a, m, b, d)| format!("{y}{a}{m}{b}{d}"));
        let time = (number(25), mark(":"), number(61), mark(":"), number(62))
            .prop_map(|(h, a, m, b, s)| format!("{h}{a}{m}{b}{s}"));
        let gap = prop::sample::select(vec![" ", " ", " ", "T", "T", "t", "  ", "\u{a0}", ""]);
        let rest = prop::sample::select(vec!["", "", ".", " ", "Z"]);
        let fraction = prop_oneof![Just(String::new()), "\\.[0-9]{1,7}"];
        (
            date,
            prop::option::weighted(0.8, (gap, time, fraction)),
            rest,
        )
            .prop_map(|(date, time, rest)| match time {
                Some((gap, time, fraction)) => format!("{date}{gap}{time}{fraction}{rest}"),
                None => format!("{date}{rest}"),
            })
    }

    const FIXED: [&str; 6] = [
        "%Y-%m-%d",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%d %H:%M:%S.%f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M:%S",
        "%FT%T%.f",
    ];

    #[test]
    fn the_fixed_formats_have_a_layout() {
        for text in FIXED {
            let format = Format::compile(text).expect("it is right");
            assert!(format.layout.is_some(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_fast_reader_agrees_with_the_general_one(value in nearly()) {
            for text in FIXED {
                let format = Format::compile(text).expect("it is right");
                let layout = format.layout.expect("it has one");
                let general = format.parse_general(value.as_bytes());
                prop_assert_eq!(format.parse(value.as_bytes()), general);
                if let Seen::Moment(fast) = layout.parse(value.as_bytes()) {
                    prop_assert_eq!(Some(fast), general, "`{}` by `{}`", value, text);
                }
            }
        }

        #[test]
        fn what_was_printed_parses_back(micros in moments(), which in 0..7usize) {
            // Ours, chrono's way to print it, and what of the moment it keeps.
            let (ours, theirs, unit) = [
                ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S%.6f", 1),
                ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", 1),
                ("%A, %d %B %Y %I:%M:%S %p", "%A, %d %B %Y %I:%M:%S %p", SECOND),
                ("%a%d%b%Y%H%M%S%f", "%a%d%b%Y%H%M%S%6f", 1),
                ("%Y %j %T%.f", "%Y %j %T%.f", 1),
                ("%FT%T%.f%z", "%FT%T%.f%z", 1),
                ("%F", "%F", DAY),
            ][which];
            let moment = DateTime::from_timestamp_micros(micros).expect("it is in range");
            let text = moment.format(theirs).to_string();
            let kept = micros.div_euclid(unit) * unit;
            prop_assert_eq!(parse(ours, &text), Some(kept), "{}", text);
        }

        #[test]
        fn iso_is_what_chrono_prints(micros in moments(), utc: bool) {
            let mut text = Vec::new();
            write_iso(micros, utc, &mut text);
            let moment = DateTime::from_timestamp_micros(micros).expect("it is in range");
            let mut expected = moment.format("%Y-%m-%dT%H:%M:%S%.f").to_string();
            if utc {
                expected.push('Z');
            }
            prop_assert_eq!(String::from_utf8_lossy(&text), expected);
        }

        #[test]
        fn no_value_panics(value in "\\PC{0,30}", which in 0..FIXED.len()) {
            for text in [FIXED[which], "%a %d %b %y %p%I %z", "%j%f%B %A", "\u{a0}%m%%%R"] {
                let _ = Format::compile(text).expect("it is right").parse(value.as_bytes());
            }
        }
    }
}
