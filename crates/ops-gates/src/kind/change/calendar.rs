//! Weekly windows and freezes, as stretches of time. Pure.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousZoned, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A stretch of some days of every week.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Week {
    /// The days on which it begins.
    pub days: Vec<Day>,
    /// When it begins, as `02:00`.
    pub from: String,
    /// When it ends, as `06:00` or `24:00`; on the next day where that is not after `from`.
    pub to: String,
    /// The zone of both, by its IANA name, such as `UTC` or `Europe/Berlin`.
    pub zone: String,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// A stretch of time in which nothing may be changed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// When it begins, as `2026-12-20` or `2026-12-20T18:00`.
    pub from: String,
    /// When it ends.
    pub to: String,
    /// The zone of both, by its IANA name.
    pub zone: String,
    /// Why, in a few words.
    pub reason: String,
}

/// From one moment to another, the first included, the last not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Span {
    pub(super) fn holds(&self, moment: Timestamp) -> bool {
        self.from <= moment && moment < self.until
    }
}

impl Week {
    pub(super) fn wrong(&self) -> Option<String> {
        if self.days.is_empty() {
            return Some(format!("the window {self} has no day"));
        }
        self.parsed().err()
    }

    fn parsed(&self) -> Result<(Time, (Time, i64), TimeZone), String> {
        let time = |text: &str| -> Result<Time, String> {
            let wrong = || format!("`{text}` is not a time of day such as 02:00");
            // Seconds or a zone here would be a misunderstanding.
            if text.len() == 5 { text.parse().map_err(|_| wrong()) } else { Err(wrong()) }
        };
        let from = time(&self.from)?;
        let to = if self.to == "24:00" { (Time::midnight(), 1) } else { (time(&self.to)?, 0) };
        let to = if to.1 == 0 && to.0 <= from { (to.0, 1) } else { to };
        Ok((from, to, zone(&self.zone)?))
    }

    /// The stretches from some days before a moment to some days after it. Where a civil time is not one moment,
    /// what is to be allowed becomes shorter, and what is not becomes longer.
    pub(super) fn near(&self, now: Timestamp, ahead_days: i64, allow: bool) -> Result<Vec<Span>, String> {
        let (from, (to, next), zone) = self.parsed()?;
        let today = now.to_zoned(zone.clone()).date();
        let mut stretches = Vec::new();
        for offset in -2..=ahead_days {
            let day = shifted(today, offset)?;
            if !self.days.iter().any(|wanted| wanted.weekday() == day.weekday()) {
                continue;
            }
            let begin = zone.to_ambiguous_zoned(day.to_datetime(from));
            let end = zone.to_ambiguous_zoned(shifted(day, next)?.to_datetime(to));
            let (from, until) = (moment(begin, allow)?, moment(end, !allow)?);
            if from < until {
                stretches.push(Span { from, until });
            }
        }
        Ok(stretches)
    }
}

impl Freeze {
    pub(super) fn wrong(&self) -> Option<String> {
        if self.reason.trim().is_empty() {
            return Some(format!("the freeze from {} has no reason", self.from));
        }
        self.stretch().err()
    }

    pub(super) fn stretch(&self) -> Result<Span, String> {
        let zone = zone(&self.zone)?;
        let moment_of = |text: &str, later: bool| {
            let wrong =
                || format!("`{text}` is not a day or a moment such as 2026-12-20 or 2026-12-20T18:00");
            // An offset would be read and not used.
            if ![10, 16, 19].contains(&text.len()) {
                return Err(wrong());
            }
            let civil: DateTime = text.parse().map_err(|_| wrong())?;
            moment(zone.to_ambiguous_zoned(civil), later)
        };
        let span = Span { from: moment_of(&self.from, false)?, until: moment_of(&self.to, true)? };
        if span.until.duration_since(span.from) <= SignedDuration::ZERO {
            return Err(format!("the freeze from {} ends before it begins", self.from));
        }
        Ok(span)
    }
}

/// The moment of a civil time; of two, the later or the earlier one. In a gap, the later is by the time before the clock
/// was set forward.
fn moment(civil: AmbiguousZoned, later: bool) -> Result<Timestamp, String> {
    let zoned = if later { civil.later() } else { civil.earlier() };
    zoned.map(|zoned| zoned.timestamp()).map_err(|error| error.to_string())
}

fn shifted(day: Date, days: i64) -> Result<Date, String> {
    day.checked_add(days.days()).map_err(|error| error.to_string())
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name)
        .map_err(|_| format!("`{name}` is not a zone of the IANA database, such as Europe/Berlin"))
}

impl Day {
    fn weekday(self) -> Weekday {
        match self {
            Self::Mon => Weekday::Monday,
            Self::Tue => Weekday::Tuesday,
            Self::Wed => Weekday::Wednesday,
            Self::Thu => Weekday::Thursday,
            Self::Fri => Weekday::Friday,
            Self::Sat => Weekday::Saturday,
            Self::Sun => Weekday::Sunday,
        }
    }
}

impl fmt::Display for Week {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<String> = self.days.iter().map(|day| format!("{day:?}").to_lowercase()).collect();
        write!(f, "{} {}-{} {}", days.join(","), self.from, self.to, self.zone)
    }
}
