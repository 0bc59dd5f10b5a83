//! Which backups to keep. Pure: backups and the present time come in, a decision with its reasons for each goes out.
//!
//! The rules are a union: a backup is kept if any rule keeps it. They go by the time when a backup ended, never by its name or
//! timeline, and count for each source alone. Bad backups (pages with wrong checksums, or found damaged by a
//! verification) do not use up the places of good ones: each rule is applied to the good ones alone, and to all.
//!
//! Whatever the rules say, these never expire: the newest backup of a source, the newest good one, and the newest that a
//! verification has proven. A policy without rules expires nothing.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// How many backups, from which days, and for how long.
///
/// Of each day, week, month or year that a calendar rule keeps, it keeps the last backup. Periods without a backup do
/// not count.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Keeps so many of the newest backups.
    pub last: Option<u32>,
    /// Keeps every backup that is not older.
    pub within: Option<SignedDuration>,
    /// Keeps one backup of so many days.
    pub daily: Option<u32>,
    /// Keeps one backup of so many weeks; they begin on Monday.
    pub weekly: Option<u32>,
    /// Keeps one backup of so many months.
    pub monthly: Option<u32>,
    /// Keeps one backup of so many years.
    pub yearly: Option<u32>,
    /// Where days begin. UTC by default, so that every host decides alike.
    pub time_zone: TimeZone,
    /// Which backups can be restored to any moment after them, not only to their own end.
    pub wal: WalRetention,
    /// How long what is given up stays before it is removed. A restore that has begun has this time to end.
    pub grace: SignedDuration,
    /// How long what an aborted backup has stored stays, so that the next one need not store it again.
    pub resumable: SignedDuration,
}

/// From which backups on the WAL is kept without a gap.
///
/// An older backup keeps the WAL that makes it consistent, and can be restored to its end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WalRetention {
    /// From the oldest kept backup on.
    #[default]
    All,
    /// From the oldest of so many of the newest kept backups on; from the newest at least.
    Last(u32),
    /// From the oldest kept backup that is not older than this on; from the newest at least.
    Within(SignedDuration),
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            last: None,
            within: None,
            daily: None,
            weekly: None,
            monthly: None,
            yearly: None,
            time_zone: TimeZone::UTC,
            wal: WalRetention::All,
            grace: SignedDuration::from_hours(24),
            resumable: SignedDuration::from_hours(7 * 24),
        }
    }
}

impl Retention {
    /// Whether there is no rule, so that nothing expires. A rule that keeps none is no rule.
    pub fn is_empty(&self) -> bool {
        let counts = [self.last, self.daily, self.weekly, self.monthly, self.yearly];
        counts.iter().all(|count| count.is_none_or(|count| count == 0)) && self.within.is_none()
    }
}

/// A backup as retention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name; decides only between two of the same time.
    pub id: String,
    /// Backups are counted for each source alone.
    pub source: String,
    /// When it ended.
    pub at: Timestamp,
    /// Whether a verification has proven it, and none has found damage since.
    pub verified: bool,
    /// Whether a verification has found damage, or pages had wrong checksums when they were read.
    pub bad: bool,
}

/// What becomes of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The backup.
    pub id: String,
    /// Whether it stays.
    pub keep: bool,
    /// Why, for example `daily 3 of 7`; for one that expires, why no more.
    pub reasons: Vec<String>,
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", if self.keep { "kept" } else { "expired" }, self.reasons.join(", "))
    }
}

/// Decides about each of `candidates`, and answers in their order.
pub fn decide(candidates: &[Candidate], policy: &Retention, now: Timestamp) -> Vec<Decision> {
    let mut reasons: Vec<Vec<String>> = vec![Vec::new(); candidates.len()];
    let mut sources: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, candidate) in candidates.iter().enumerate() {
        sources.entry(&candidate.source).or_default().push(number);
    }
    for mut newest_first in sources.into_values() {
        newest_first
            .sort_by_key(|&number| std::cmp::Reverse((candidates[number].at, &candidates[number].id)));
        decide_source(candidates, &newest_first, policy, now, &mut reasons);
    }
    let decide = |(candidate, mut reasons): (&Candidate, Vec<String>)| {
        let keep = !reasons.is_empty();
        if !keep {
            reasons.push("no rule keeps it".to_owned());
        }
        Decision { id: candidate.id.clone(), keep, reasons }
    };
    candidates.iter().zip(reasons).map(decide).collect()
}

fn decide_source(
    candidates: &[Candidate],
    newest_first: &[usize],
    policy: &Retention,
    now: Timestamp,
    reasons: &mut [Vec<String>],
) {
    let good: Vec<usize> = newest_first.iter().copied().filter(|&number| !candidates[number].bad).collect();
    if policy.is_empty() {
        for &number in newest_first {
            reasons[number].push("there is no rule".to_owned());
        }
    } else {
        apply_rules(candidates, &good, policy, now, reasons);
        if good.len() < newest_first.len() {
            let bad = |number: &&usize| candidates[**number].bad;
            let mut of_all = vec![Vec::new(); candidates.len()];
            apply_rules(candidates, newest_first, policy, now, &mut of_all);
            for &number in newest_first.iter().filter(bad) {
                reasons[number].append(&mut of_all[number]);
            }
            // A good one that only counts among all would be kept by the same rule among the good ones.
        }
    }
    let newest = newest_first.first().copied();
    let verified = newest_first.iter().copied().find(|&number| candidates[number].verified);
    let proven_and_good = good.iter().copied().find(|&number| candidates[number].verified);
    let newest_good = good.first().copied();
    let mut protect = |number: Option<usize>, reason: &str| {
        if let Some(number) = number {
            reasons[number].push(reason.to_owned());
        }
    };
    protect(newest, "the newest");
    if newest_good != newest {
        protect(newest_good, "the newest good one");
    }
    protect(verified, "the newest verified");
    if proven_and_good != verified {
        protect(proven_and_good, "the newest verified good one");
    }
}

/// Applies every rule to `newest_first`, which is sorted by time.
fn apply_rules(
    candidates: &[Candidate],
    newest_first: &[usize],
    policy: &Retention,
    now: Timestamp,
    reasons: &mut [Vec<String>],
) {
    if let Some(count) = policy.last {
        for (place, &number) in newest_first.iter().take(count as usize).enumerate() {
            reasons[number].push(format!("last {} of {count}", place + 1));
        }
    }
    if let Some(age) = policy.within {
        for &number in newest_first {
            if now.duration_since(candidates[number].at) <= age {
                reasons[number].push(format!("within {age:#}"));
            }
        }
    }
    type Period = fn(&jiff::Zoned) -> (i16, i16);
    let calendar: [(&str, Option<u32>, Period); 4] = [
        ("daily", policy.daily, |at| (at.year(), at.day_of_year())),
        ("weekly", policy.weekly, |at| {
            let week = at.date().iso_week_date();
            (week.year(), week.week().into())
        }),
        ("monthly", policy.monthly, |at| (at.year(), at.month().into())),
        ("yearly", policy.yearly, |at| (at.year(), 0)),
    ];
    for (name, count, period) in calendar {
        let Some(count) = count else { continue };
        let mut place = 0;
        let mut before = None;
        for &number in newest_first {
            let at = candidates[number].at.to_zoned(policy.time_zone.clone());
            if before.replace(period(&at)) == Some(period(&at)) {
                continue;
            }
            place += 1;
            if place > count {
                break;
            }
            reasons[number].push(format!("{name} {place} of {count}"));
        }
    }
}

#[cfg(test)]
mod tests;
