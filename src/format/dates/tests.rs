//! Formats beside Python's `strptime`, and each reader beside the other.

use chrono::DateTime;
use proptest::prelude::*;

use super::calendar::{DAY, SECOND, civil_from_days, days_from_civil};
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
    let year = prop::sample::select(vec!["0000", "0001", "1900", "2000", "2012", "9999", "201"]);
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

#[test]
fn zones_epochs_weeks_and_nanoseconds() {
    let second = 1_362_182_400_000_000;
    for (format, value, wanted) in [
        ("%Y-%m-%dT%H:%M:%SZ", "2013-03-02T00:00:00Z", Some(second)),
        (
            "%Y-%m-%d %H:%M:%S %Z",
            "2013-03-02 00:00:00 UTC",
            Some(second),
        ),
        (
            "%Y-%m-%d %H:%M:%S %Z",
            "2013-03-02 00:00:00 gmt",
            Some(second),
        ),
        ("%Y-%m-%d %H:%M:%S %Z", "2013-03-02 00:00:00 CET", None),
        (
            "%Y-%m-%d %H:%M:%S %z %Z",
            "2013-03-02 01:00:00 +0100 UTC",
            Some(second),
        ),
        ("%s", "1362182400", Some(second)),
        ("%s", "-1", Some(-1_000_000)),
        ("%s%.f", "-0.5", Some(-500_000)),
        ("%s%.f", "1362182400.25", Some(second + 250_000)),
        ("%s", "1362182400.25", None),
        ("%s", "", None),
        ("%s", "-", None),
        ("%s", "99999999999999999999", None),
        ("%3s", "1362182400001", Some(second + 1000)),
        ("%6s", "1362182400000001", Some(second + 1)),
        ("%9s", "1362182400000001999", Some(second + 1)),
        ("%9s", "-1", Some(-1)),
        ("%G-W%V-%u", "2013-W09-6", Some(second)),
        ("%G-W%V-%u", "2020-W53-5", Some(1_609_459_200_000_000)),
        ("%G-W%V-%u", "2021-W53-5", None),
        (
            "%H:%M:%S.%9f %Y-%m-%d",
            "00:00:00.123456789 2013-03-02",
            Some(second + 123_456),
        ),
        (
            "%H:%M:%S.%9f %Y-%m-%d",
            "00:00:00.1 2013-03-02",
            Some(second + 100_000),
        ),
        (
            "%H:%M:%S.%9f %Y-%m-%d",
            "00:00:00.1234567890 2013-03-02",
            None,
        ),
        ("%H:%M:%S.%f %Y-%m-%d", "00:00:00.1234567 2013-03-02", None),
    ] {
        let format = Format::compile(format).expect("it is right");
        assert_eq!(
            format.parse(value.as_bytes()),
            wanted,
            "{} {value}",
            format.text()
        );
    }
    for (format, zoned) in [
        ("%Y-%m-%dT%H:%M:%SZ", true),
        ("%Y-%m-%dT%H:%M:%S%.fZ", true),
        ("%H:%M %Z", true),
        ("%s", true),
        ("%YZ%m", false),
        ("%d QUIZ", false),
    ] {
        let compiled = Format::compile(format).expect("it is right");
        assert_eq!(compiled.zoned(), zoned, "{format}");
    }
    for format in ["%G-%V", "%V", "%s %H", "%s %3s"] {
        assert!(Format::compile(format).is_err(), "{format}");
    }
}
