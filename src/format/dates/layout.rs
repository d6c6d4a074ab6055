//! The fast reader: fixed layouts, in which each digit is looked at once.

use super::calendar::{DAY, SECOND, days_from_civil, month_days};

/// A layout in which every digit has its place: `YYYY-MM-DD`, alone or with `HH:MM:SS` and a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
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
    pub(super) fn of(expanded: &str) -> Option<Self> {
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
    pub(super) fn parse(self, value: &[u8]) -> Seen {
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
pub(super) enum Seen {
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

/// `HH:MM:SS` after its separator, in microseconds.
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
