//! Dates as Elasticsearch's `date_optional_time` has them: ISO 8601 where everything after the year
//! may be left out. What is left out makes the text a span: `2013-05` is that month.

use chrono::{DateTime, Months, NaiveDate};

/// The instants that a text stands for, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The first of them: what a value is indexed as.
    pub(super) from: i64,
    /// The first one after them.
    pub(super) to: i64,
}

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// The span that `text` stands for; without a zone it is UTC. `None`: it is not a date.
pub(super) fn parse(text: &str) -> Option<Span> {
    let mut rest = Rest(text.as_bytes());
    let year = i32::try_from(rest.number(4, 4)?.0).ok()?;
    let (mut month, mut day) = (1, 1);
    let mut months = 12;
    let mut length = 0;
    if rest.skip(b"-") {
        month = u32::try_from(rest.number(1, 2)?.0).ok()?;
        months = 1;
        if rest.skip(b"-") {
            day = u32::try_from(rest.number(1, 2)?.0).ok()?;
            (months, length) = (0, 24 * HOUR);
        }
    }
    let date = NaiveDate::from_ymd_opt(year, month, day)?;
    let midnight = |date: NaiveDate| {
        date.and_hms_opt(0, 0, 0)
            .map(|at| at.and_utc().timestamp_micros())
    };
    let mut from = midnight(date)?;
    let mut end = midnight(date.checked_add_months(Months::new(months))?)?;
    if rest.skip(b"T") && !rest.0.is_empty() {
        for (unit, below, mark) in [(HOUR, 24, b":"), (MINUTE, 60, b":"), (SECOND, 60, b".")] {
            let number = rest.number(1, 2)?.0;
            if number >= below {
                return None;
            }
            from += number * unit;
            (end, length) = (from, unit);
            if !(rest.skip(mark) || unit == SECOND && rest.skip(b",")) {
                break;
            }
            if unit == SECOND {
                let (fraction, digits) = rest.number(1, 9)?;
                let scale = 10i64.pow(digits);
                // Of nine digits the last three are cut: dates here have microseconds.
                from +=
                    i64::try_from(i128::from(fraction) * i128::from(SECOND) / i128::from(scale))
                        .ok()?;
                (end, length) = (from, 1);
            }
        }
        let zone = rest.zone()?;
        from -= zone;
        end -= zone;
    }
    rest.0.is_empty().then_some(Span {
        from,
        to: end + length,
    })
}

/// What of a text is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// Takes `mark` if it comes next.
    fn skip(&mut self, mark: &[u8]) -> bool {
        let rest = self.0.strip_prefix(mark);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// A number of so many digits, and how many there were.
    fn number(&mut self, least: usize, most: usize) -> Option<(i64, u32)> {
        let digits = self
            .0
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if !(least..=most).contains(&digits) {
            return None;
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        let value = number
            .iter()
            .fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
        Some((value, u32::try_from(digits).ok()?))
    }

    /// The offset of a zone, 0 if there is none.
    fn zone(&mut self) -> Option<i64> {
        if self.0.is_empty() || self.skip(b"Z") {
            return Some(0);
        }
        let sign = if self.skip(b"-") {
            -1
        } else {
            i64::from(self.skip(b"+"))
        };
        let (mut hours, digits) = self.number(1, 4)?;
        let minutes = match digits {
            3 => return None,
            4 => {
                let minutes = hours % 100;
                hours /= 100;
                minutes
            }
            _ if self.skip(b":") => self.number(2, 2)?.0,
            _ => 0,
        };
        (sign != 0 && hours < 24 && minutes < 60)
            .then_some(sign * (hours * HOUR + minutes * MINUTE))
    }
}

/// A date as documents have it: 0, 3 or 6 fraction digits, the shortest exact.
pub(super) fn print(micros: i64, utc: bool) -> String {
    let Some(at) = DateTime::from_timestamp_micros(micros) else {
        return micros.to_string();
    };
    let format = match (micros % SECOND, micros % 1_000) {
        (0, _) => "%Y-%m-%dT%H:%M:%S",
        (_, 0) => "%Y-%m-%dT%H:%M:%S%.3f",
        _ => "%Y-%m-%dT%H:%M:%S%.6f",
    };
    format!("{}{}", at.format(format), if utc { "Z" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_the_span_of_what_is_left_out() {
        let cases = [
            ("2013", "2013-01-01T00:00:00", "2014-01-01T00:00:00"),
            ("2013-12", "2013-12-01T00:00:00", "2014-01-01T00:00:00"),
            ("2012-02-29", "2012-02-29T00:00:00", "2012-03-01T00:00:00"),
            ("2013-3-2T8", "2013-03-02T08:00:00", "2013-03-02T09:00:00"),
            ("2013-03-02T", "2013-03-02T00:00:00", "2013-03-03T00:00:00"),
            (
                "2013-03-02T08:09",
                "2013-03-02T08:09:00",
                "2013-03-02T08:10:00",
            ),
            (
                "2013-03-02T08:09:10",
                "2013-03-02T08:09:10",
                "2013-03-02T08:09:11",
            ),
            (
                "2013-03-02T08:09:10.5",
                "2013-03-02T08:09:10.500",
                "2013-03-02T08:09:10.500001",
            ),
            (
                "2013-03-02T08:09:10,123456789",
                "2013-03-02T08:09:10.123456",
                "2013-03-02T08:09:10.123457",
            ),
            (
                "2013-03-02T08:09:10Z",
                "2013-03-02T08:09:10",
                "2013-03-02T08:09:11",
            ),
            (
                "2013-03-02T08:09:10+02:00",
                "2013-03-02T06:09:10",
                "2013-03-02T06:09:11",
            ),
            (
                "2013-03-02T08:09:10.000-0330",
                "2013-03-02T11:39:10",
                "2013-03-02T11:39:10.000001",
            ),
            (
                "2013-03-02T23:59-01",
                "2013-03-03T00:59:00",
                "2013-03-03T01:00:00",
            ),
            (
                "1969-12-31T23:59:59.999999",
                "1969-12-31T23:59:59.999999",
                "1970-01-01T00:00:00",
            ),
        ];
        for (text, from, to) in cases {
            let span = parse(text).unwrap_or_else(|| panic!("`{text}` is a date"));
            assert_eq!(
                (
                    print(span.from, false).as_str(),
                    print(span.to, false).as_str()
                ),
                (from, to),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_a_date_is_none() {
        let cases = [
            "",
            "13",
            "2013-",
            "2013-13",
            "2013-02-30",
            "2013-02-01 10:00",
            "2013-02-01T24",
            "2013-02-01T10:60",
            "2013-02-01T10:00:00.",
            "2013-02-01T10:00:00.1234567890",
            "2013-02-01T10:00:00+1:000",
            "2013-02-01x",
            "2013-02-01T10:00:00 Z",
            "2013-02-01Z",
            "٢٠١٣",
        ];
        for text in cases {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
