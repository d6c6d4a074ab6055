//! The general reader: directive by directive, the widest match first, and back where the rest does not fit.

use super::calendar::{DAY, SECOND};
use super::{Item, Number, Part, Parts};

/// Where the first way ends in which `items` match `text` from `at` on.
pub(super) fn fit(items: &[Item], text: &[u8], at: usize, parts: &mut Parts) -> Option<usize> {
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
        Item::Fraction(most) => fit_fraction(*most, items, text, at, parts),
        Item::DotFraction => {
            let with_dot = match rest.first() {
                Some(b'.') => fit_fraction(6, items, text, at + 1, parts),
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
        Item::ZoneName => {
            let (_, length) = name(&["utc", "gmt"], rest)?;
            fit(items, text, at + length, parts)
        }
        Item::Epoch(scale) => fit_epoch(*scale, items, text, at, parts),
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

fn fit_fraction(
    most: usize,
    items: &[Item],
    text: &[u8],
    at: usize,
    parts: &mut Parts,
) -> Option<usize> {
    (1..=most).rev().find_map(|width| {
        digits(text, at, width)?;
        parts.fraction = fraction(text, at, width.min(6))?;
        fit(items, text, at + width, parts)
    })
}

/// A whole number, perhaps below zero, of units since 1970.
fn fit_epoch(
    scale: u32,
    items: &[Item],
    text: &[u8],
    at: usize,
    parts: &mut Parts,
) -> Option<usize> {
    /// As many digits as 64 bits hold.
    const WIDE: usize = 19;
    let before = text.get(at) == Some(&b'-');
    let from = at + usize::from(before);
    let rest = text.get(from..)?;
    let wide = rest
        .iter()
        .take(WIDE)
        .take_while(|byte| byte.is_ascii_digit());
    (1..=wide.count()).rev().find_map(|width| {
        let digits = std::str::from_utf8(&rest[..width]).ok()?;
        let value: i64 = digits.parse().ok()?;
        let value = if before { -value } else { value };
        let micros = match scale {
            0 => value.checked_mul(SECOND)?,
            3 => value.checked_mul(1000)?,
            6 => value,
            _ => value.div_euclid(1000),
        };
        parts.epoch = Some((micros, before));
        fit(items, text, from + width, parts)
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
pub(super) fn blank(text: &[u8]) -> Option<usize> {
    let first = *text.first()?;
    if first.is_ascii() {
        return (first.is_ascii_whitespace() || matches!(first, 0x0B | 0x1C..=0x1F)).then_some(1);
    }
    let start = text.get(..4).unwrap_or(text);
    let char = start.utf8_chunks().next()?.valid().chars().next()?;
    char.is_whitespace().then(|| char.len_utf8())
}
