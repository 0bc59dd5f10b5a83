//! Wall clock time as text, in UTC. Pure.

use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 86_400;

/// The text of a time, kept to write the next one: within a second only the last digits change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stamp {
    second: Option<u64>,
    text: Vec<u8>,
}

impl Stamp {
    /// Where the digits after the second begin.
    const FRACTION: usize = "2026-11-21T05:35:00.".len();

    /// Returns what [`write_rfc3339`] appends.
    pub(crate) fn rfc3339(&mut self, time: SystemTime) -> &[u8] {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second == Some(since_epoch.as_secs()) {
            let mut rest = since_epoch.subsec_micros();
            for digit in self.text[Self::FRACTION..].iter_mut().rev().skip(1) {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        } else {
            self.text.clear();
            write_rfc3339(&mut self.text, time);
            // A year of five digits would move the fraction.
            self.second = Some(since_epoch.as_secs()).filter(|_| self.text.len() == Self::FRACTION + 7);
        }
        &self.text
    }
}

/// Appends `2026-11-21T05:35:00.123456Z` (RFC 3339). A clock before 1970 is written as 1970.
pub(crate) fn write_rfc3339(out: &mut Vec<u8>, time: SystemTime) {
    let (days, seconds, micros) = split(time);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let parts = [(year, 4, b'-'), (month, 2, b'-'), (day, 2, b'T'), (hour, 2, b':'), (minute, 2, b':')];
    push_parts(out, &parts);
    push_parts(out, &[(second, 2, b'.'), (micros, 6, b'Z')]);
}

/// Appends `05:35:00.123Z`, for people who look at the line now.
pub(crate) fn write_time(out: &mut Vec<u8>, time: SystemTime) {
    let (_, seconds, micros) = split(time);
    let (hour, minute, second, millis) = (seconds / 3600, seconds / 60 % 60, seconds % 60, micros / 1000);
    push_parts(out, &[(hour, 2, b':'), (minute, 2, b':'), (second, 2, b'.'), (millis, 3, b'Z')]);
}

/// Appends each number with its count of digits, and the separator after it; `write!` would take ten times as long.
fn push_parts(out: &mut Vec<u8>, parts: &[(u64, usize, u8)]) {
    for (number, digits, separator) in parts {
        let (start, mut rest) = (out.len(), *number);
        out.resize(start + digits, b'0');
        for digit in out[start..].iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        out.push(*separator);
    }
}

fn split(time: SystemTime) -> (u64, u64, u64) {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since_epoch.as_secs();
    (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY, u64::from(since_epoch.subsec_micros()))
}

/// Turns days since 1970-01-01 into year, month and day of the Gregorian calendar. Years are counted from March, so
/// that the leap day is the last one; 1970-01-01 is 719 468 days after 0000-03-01.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn writes_utc() {
        let check = |micros: u64, expected: &str| {
            let mut out = Vec::new();
            write_rfc3339(&mut out, UNIX_EPOCH + Duration::from_micros(micros));
            assert_eq!(String::from_utf8(out).expect("ascii"), expected);
            let mut stamp = Stamp::default();
            for micros in [micros / 1_000_000 * 1_000_000 + 999_999, micros, micros] {
                let time = UNIX_EPOCH + Duration::from_micros(micros);
                let mut plain = Vec::new();
                write_rfc3339(&mut plain, time);
                assert_eq!(stamp.rfc3339(time), plain);
            }
        };
        check(0, "1970-01-01T00:00:00.000000Z");
        check(951_782_399_999_999, "2000-02-28T23:59:59.999999Z");
        check(951_782_400_000_000, "2000-02-29T00:00:00.000000Z");
        check(951_868_800_000_000, "2000-03-01T00:00:00.000000Z");
        check(1_709_164_800_000_001, "2024-02-29T00:00:00.000001Z");
        check(1_798_761_599_000_000, "2026-12-31T23:59:59.000000Z");
        check(4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z");
    }

    #[test]
    fn writes_the_time_of_day() {
        let mut out = Vec::new();
        write_time(&mut out, UNIX_EPOCH + Duration::from_millis(3_661_007));
        assert_eq!(out, b"01:01:01.007Z");
        out.clear();
        write_time(&mut out, UNIX_EPOCH - Duration::from_secs(5));
        assert_eq!(out, b"00:00:00.000Z");
    }
}
