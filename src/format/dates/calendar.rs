//! Days and moments of the proleptic Gregorian calendar: to microseconds since 1970, and back to text.

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const DAY: i64 = 86_400 * SECOND;
/// 0001-01-01T00:00:00, the first moment that four digits can say.
pub(super) const FIRST: i64 = -719_162 * DAY;
/// The last microsecond of the year 9999.
pub(super) const LAST: i64 = 2_932_897 * DAY - 1;

/// Whether the moment lies in the years 1 to 9999, which four digits can say.
pub fn in_years(micros: i64) -> bool {
    (FIRST..=LAST).contains(&micros)
}

/// The moment so many months and then microseconds later, if that is in the years 1 to 9999. A day that the month lacks is
/// its last one. The moment itself is in these years.
pub fn shifted(micros: i64, months: i64, more: i64) -> Option<i64> {
    let (days, of_day) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let moved = if months == 0 {
        micros
    } else {
        let (year, month, day) = civil_from_days(days);
        let count = (i64::from(year) * 12 + i64::from(month) - 1).checked_add(months)?;
        let year = u32::try_from(count.div_euclid(12)).ok()?;
        let month = u32::try_from(count.rem_euclid(12) + 1).ok()?;
        if !(1..=9999).contains(&year) {
            return None;
        }
        days_from_civil(year, month, day.min(month_days(year, month))) * DAY + of_day
    };
    moved.checked_add(more).filter(|&moved| in_years(moved))
}

/// The moment at which its day began.
pub fn start_of_day(micros: i64) -> i64 {
    micros.div_euclid(DAY) * DAY
}

#[inline]
pub(super) fn month_days(year: u32, month: u32) -> u32 {
    const DAYS: [u8; 13] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    u32::from(DAYS[month as usize]) + u32::from(leap && month == 2)
}

/// Days since 1970-01-01. The year is counted from March, so that a leap day is its last
/// (H. Hinnant, "chrono-compatible low-level date algorithms").
#[inline]
pub(super) fn days_from_civil(year: u32, month: u32, day: u32) -> i64 {
    let before_march = u32::from(month < 3);
    let year = year - before_march;
    let month = month + 12 * before_march - 3;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    i64::from(days) - 719_469
}

/// Year, month and day of a number of days since 1970-01-01, the inverse of [`days_from_civil`]; years
/// from 1 to 9999.
#[inline]
pub(super) fn civil_from_days(days: i64) -> (u32, u32, u32) {
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
