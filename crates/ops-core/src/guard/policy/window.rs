//! Windows of time: days and hours by the clock of a place.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

/// The days of the week as a policy file writes them.
pub(super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// All seven days.
pub(super) const EVERY_DAY: u8 = 0b111_1111;

/// Days and hours at which a rule holds.
///
/// The clock on the wall decides, so that `22:00` to `06:00` lasts nine hours in the night in which it is set back. A
/// window that begins in the evening belongs to the day on which it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Window {
    /// One bit a day, Monday the lowest.
    pub(super) days: u8,
    /// From and to, in minutes since midnight; the end is not part of it.
    pub(super) hours: Option<(u16, u16)>,
    /// The zone's name in the database of time zones.
    pub(super) zone: String,
    #[serde(skip)]
    pub(super) clock: TimeZone,
}

impl Window {
    pub(super) fn is_open(&self, at: Timestamp) -> bool {
        let local = self.clock.to_datetime(at);
        let today = local.weekday().to_monday_zero_offset();
        let is_day = |day: i8| self.days >> day.rem_euclid(7) & 1 == 1;
        let Some((from, to)) = self.hours else { return is_day(today) };
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        if from < to {
            return is_day(today) && (from..to).contains(&minute);
        }
        is_day(today) && minute >= from || is_day(today - 1) && minute < to
    }

    /// Tells whether it never closes.
    pub(super) fn is_always_open(&self) -> bool {
        self.days == EVERY_DAY && self.hours.is_none()
    }
}

/// The different windows of a policy, at most 64.
#[derive(Clone, Debug, Default)]
pub(super) struct Windows {
    all: Vec<Window>,
    /// The second of the last question, and the answer: a clock on a wall shows one time for a whole second, and
    /// questions come by the thousand in each.
    last: Arc<Mutex<(i64, u64)>>,
}

impl Windows {
    pub(super) fn of<'a>(windows: impl Iterator<Item = &'a Window>) -> Self {
        let mut all: Vec<Window> = Vec::new();
        for window in windows {
            if !all.contains(window) {
                all.push(window.clone());
            }
        }
        Self { all, last: Arc::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns one bit for each window that is open.
    pub(super) fn open(&self, at: Timestamp) -> u64 {
        let second = at.as_second();
        // Seconds before 1970 are rounded the other way; zero is how the memory begins.
        if self.is_empty() || second <= 0 {
            return self.look(at);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != second {
            *last = (second, self.look(at));
        }
        last.1
    }

    fn look(&self, at: Timestamp) -> u64 {
        self.all
            .iter()
            .enumerate()
            .fold(0, |open, (index, window)| open | u64::from(window.is_open(at)) << index)
    }
}

/// Reads `mon` or `mon-fri`, also over the end of the week.
pub(super) fn days(text: &str) -> Option<u8> {
    let day = |text: &str| DAYS.iter().position(|day| *day == text);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (day(first)?, day(last)?);
    let length = (last + 7 - first) % 7;
    Some((0..=length).fold(0, |days, step| days | 1 << ((first + step) % 7)))
}

/// Reads `HH:MM` as minutes since midnight; `24:00` is the end of the day.
pub(super) fn minutes(text: &str) -> Option<u16> {
    let number = |text: &str| match text.as_bytes() {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(u16::from(tens - b'0') * 10 + u16::from(ones - b'0'))
        }
        _ => None,
    };
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (number(hour)?, number(minute)?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= 24 * 60).then_some(minutes)
}

/// Looks a zone up in the system's database; UTC needs none.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    if name.eq_ignore_ascii_case("utc") {
        return Some(TimeZone::UTC);
    }
    TimeZone::get(name).ok().filter(|zone| !zone.is_unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days_text: &[&str], hours: Option<(&str, &str)>, name: &str) -> Window {
        let days = days_text.iter().map(|text| days(text).unwrap()).fold(0, |all, some| all | some);
        Window {
            days: if days == 0 { EVERY_DAY } else { days },
            hours: hours.map(|(from, to)| (minutes(from).unwrap(), minutes(to).unwrap())),
            zone: name.to_owned(),
            clock: zone(name).unwrap(),
        }
    }

    /// Checks a window at instants, each written with its offset from UTC.
    fn check(window: &Window, table: &[(&str, bool)]) {
        for (at, expected) in table {
            assert_eq!(window.is_open(at.parse().unwrap()), *expected, "{at} in {window:?}");
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        // 2026-11-20 is a Friday.
        check(
            &window(&["mon-fri"], Some(("22:00", "06:00")), "Europe/Berlin"),
            &[
                ("2026-11-20T21:59:59+01:00", false),
                ("2026-11-20T22:00:00+01:00", true),
                ("2026-11-21T05:59:59+01:00", true),
                ("2026-11-21T06:00:00+01:00", false),
                ("2026-11-21T22:00:00+01:00", false),
                ("2026-11-22T05:00:00+01:00", false),
                // The night from Sunday to Monday began on a Sunday.
                ("2026-11-23T05:00:00+01:00", false),
                ("2026-11-23T22:00:00+01:00", true),
                ("2026-11-20T21:00:00Z", true),
            ],
        );
        check(
            &window(&["sun"], Some(("23:00", "01:00")), "UTC"),
            &[
                ("2026-11-22T23:30:00Z", true),
                ("2026-11-23T00:30:00Z", true),
                ("2026-11-22T00:30:00Z", false),
            ],
        );
        check(
            &window(&["sat-mon"], None, "UTC"),
            &[
                ("2026-11-20T23:59:59Z", false),
                ("2026-11-21T00:00:00Z", true),
                ("2026-11-23T23:59:59Z", true),
                ("2026-11-24T00:00:00Z", false),
            ],
        );
        check(
            &window(&[], Some(("12:00", "24:00")), "UTC"),
            &[
                ("2026-11-20T11:59:59Z", false),
                ("2026-11-20T23:59:59Z", true),
                ("2026-11-21T00:00:00Z", false),
            ],
        );
    }

    #[test]
    fn the_clock_on_the_wall_decides_when_clocks_change() {
        // In Berlin 02:00 becomes 03:00 on 2026-03-29, and 03:00 becomes 02:00 on 2026-10-25.
        check(
            &window(&[], Some(("02:30", "03:30")), "Europe/Berlin"),
            &[
                ("2026-03-29T01:59:59+01:00", false),
                ("2026-03-29T03:00:00+02:00", true),
                ("2026-03-29T03:29:59+02:00", true),
                ("2026-03-29T03:30:00+02:00", false),
                ("2026-10-25T02:29:59+02:00", false),
                ("2026-10-25T02:30:00+02:00", true),
                ("2026-10-25T02:29:59+01:00", false),
                ("2026-10-25T02:30:00+01:00", true),
                ("2026-10-25T03:29:59+01:00", true),
                ("2026-10-25T03:30:00+01:00", false),
            ],
        );
        // In New York 02:00 becomes 03:00 on 2026-03-08, and 02:00 becomes 01:00 on 2026-11-01.
        check(
            &window(&["sat"], Some(("22:00", "03:00")), "America/New_York"),
            &[
                ("2026-03-07T22:00:00-05:00", true),
                ("2026-03-08T01:59:59-05:00", true),
                ("2026-03-08T03:00:00-04:00", false),
                ("2026-10-31T22:00:00-04:00", true),
                ("2026-11-01T01:30:00-04:00", true),
                ("2026-11-01T01:30:00-05:00", true),
                ("2026-11-01T02:59:59-05:00", true),
                ("2026-11-01T03:00:00-05:00", false),
            ],
        );
        // Before and after the change the same hour is another instant.
        check(
            &window(&[], Some(("09:00", "17:00")), "America/New_York"),
            &[
                ("2026-03-07T13:30:00Z", false),
                ("2026-03-08T13:30:00Z", true),
                ("2026-10-31T20:59:59Z", true),
                ("2026-11-01T21:59:59Z", true),
                ("2026-11-01T22:00:00Z", false),
            ],
        );
    }

    #[test]
    fn open_windows_are_told_second_by_second() {
        let (morning, noon) =
            (window(&[], Some(("06:00", "12:00")), "UTC"), window(&[], Some(("12:00", "13:00")), "UTC"));
        let windows = Windows::of([&morning, &noon, &morning].into_iter());
        assert_eq!(windows.len(), 2);
        let cases = [
            ("2026-11-20T11:59:59.999Z", 0b01),
            ("2026-11-20T12:00:00Z", 0b10),
            ("2026-11-20T11:59:59Z", 0b01),
            ("2026-11-20T13:00:00Z", 0b00),
            ("1969-12-31T12:59:59.5Z", 0b10),
            ("1969-12-31T13:00:00Z", 0b00),
            ("1970-01-01T00:00:00Z", 0b00),
        ];
        for (at, expected) in cases {
            for windows in [windows.clone(), Windows::of([&morning, &noon].into_iter())] {
                assert_eq!(windows.open(at.parse().unwrap()), expected, "{at}");
            }
        }
    }

    #[test]
    fn days_hours_and_zones_are_read() {
        let cases = [
            ("mon", Some(0b000_0001)),
            ("mon-fri", Some(0b001_1111)),
            ("sat-mon", Some(0b110_0001)),
            ("sun-sat", Some(EVERY_DAY)),
            ("Mon", None),
            ("monday", None),
            ("mon-", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(days(text), expected, "{text}");
        }
        let cases = [
            ("00:00", Some(0)),
            ("06:30", Some(390)),
            ("24:00", Some(1440)),
            ("24:01", None),
            ("6:30", None),
            ("06:60", None),
            ("99:99", None),
            ("0630", None),
            ("+6:30", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(minutes(text), expected, "{text}");
        }
        assert!(zone("utc").is_some() && zone("Europe/Berlin").is_some());
        assert!(zone("Europe/Berln").is_none() && zone("").is_none() && zone("../../etc/passwd").is_none());
    }
}
