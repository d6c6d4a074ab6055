//! Dates as HTTP writes them, in the three forms that who reads them must know (RFC 9110, 5.6.7), and how long
//! a server asks to be left alone.

use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// How long the head of an answer asks to be left alone.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    after(
        String::from_utf8_lossy(value.as_bytes()).trim(),
        crate::clock::now(),
    )
}

/// Seconds, or a date.
fn after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than can be counted is for ever.
        let seconds: u32 = text.parse().unwrap_or(u32::MAX);
        return Some(Duration::from_secs(seconds.into()));
    }
    let left = date(text, now)?.signed_duration_since(now);
    Some(left.to_std().unwrap_or_default())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or `Sun Nov  6 08:49:37 1994`. The day
/// of the week says nothing that the date does not.
fn date(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (day, month, year, time) = match words[..] {
        [_, day, month, year, time, "GMT"] | [_, month, day, time, year] => {
            (day, month, year, time)
        }
        [_, date, time, "GMT"] => {
            let mut parts = date.splitn(3, '-');
            (parts.next()?, parts.next()?, parts.next()?, time)
        }
        // What was never allowed, but is written: an offset for `GMT`.
        _ => return Some(DateTime::parse_from_rfc2822(text).ok()?.to_utc()),
    };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let month = u32::try_from(month).ok()?;
    let time = NaiveTime::parse_from_str(time, "%H:%M:%S").ok()?;
    let at = |year| {
        let date = NaiveDate::from_ymd_opt(year, month, day.parse().ok()?)?;
        Some(date.and_time(time).and_utc())
    };
    let number: i32 = year.parse().ok()?;
    if year.len() == 4 {
        return at(number);
    }
    if year.len() != 2 {
        return None;
    }
    // More than 50 years ahead is meant as of the century before.
    let year = now.year() - now.year().rem_euclid(100) + number;
    let soonest = now - TimeDelta::days(50 * 365);
    let latest = now + TimeDelta::days(50 * 365 + 13);
    [year + 100, year, year - 100]
        .into_iter()
        .filter_map(at)
        .find(|date| (soonest..=latest).contains(date))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(784_111_777, 0).expect("it is a time")
    }

    #[test]
    fn a_date_is_known_in_each_of_its_forms() {
        let texts = [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 09:49:37 +0100",
        ];
        for text in texts {
            assert_eq!(date(text, now()), Some(now()), "{text}");
        }
        let years = [("95", 1995), ("43", 2043), ("45", 1945), ("00", 2000)];
        for (two, four) in years {
            let text = format!("Sunday, 06-Nov-{two} 08:49:37 GMT");
            let year = date(&text, now()).map(|date| date.year());
            assert_eq!(year, Some(four), "{text}");
        }
        let none = [
            "",
            "soon",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 28:49:37 GMT",
            "Sunday, 06-Nov-1 08:49:37 GMT",
            "06-11-1994 08:49:37",
        ];
        for text in none {
            assert_eq!(date(text, now()), None, "{text}");
        }
    }

    #[test]
    fn a_server_says_how_long_in_seconds_or_by_a_date() {
        let after = |text| after(text, now());
        assert_eq!(after("90"), Some(Duration::from_secs(90)));
        let for_ever = Duration::from_secs(u32::MAX.into());
        assert_eq!(after("99999999999999999999"), Some(for_ever));
        assert_eq!(after("-5"), None);
        assert_eq!(after("soon"), None);
        let dates = [
            ("Sun, 06 Nov 1994 08:51:17 GMT", 100),
            ("Sunday, 06-Nov-94 08:51:17 GMT", 100),
            ("Sun Nov  6 08:51:17 1994", 100),
            ("Sun, 06 Nov 1994 08:49:00 GMT", 0),
        ];
        for (text, seconds) in dates {
            assert_eq!(after(text), Some(Duration::from_secs(seconds)), "{text}");
        }
    }
}
