//! Which secrets have to be rotated by when.
//!
//! The schedule is a TOML file that a team keeps beside its code; it names secrets and holds none:
//!
//! ```
//! use ops_secrets::rotate::schedule::{Schedule, State};
//! use std::time::{Duration, UNIX_EPOCH};
//!
//! let schedule = Schedule::parse(
//!     "version = 1
//!     [[secret]]
//!     name = 'orders database'
//!     owner = 'team-a'
//!     every = '90d'
//!     rotated = 2026-08-01  # else: folder = '…', where `ops-secrets rotate` publishes",
//! )?;
//! let due = schedule.due(UNIX_EPOCH + Duration::from_secs(1_795_000_000));
//! assert_eq!((due[0].state, due[0].days_left), (State::Overdue, Some(-20)));
//! # Ok::<(), ops_secrets::rotate::Error>(())
//! ```

use super::change;
use super::error::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 60 * 60;

/// All secrets that are rotated by a schedule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    version: u32,
    #[serde(default, rename = "secret")]
    secrets: Vec<Rule>,
    /// Where relative folders begin.
    #[serde(skip)]
    base: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: String,
    owner: String,
    every: String,
    rotated: Option<toml::value::Datetime>,
    folder: Option<PathBuf>,
}

/// How a secret stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// It was rotated within its time.
    Fine,
    /// Its time has passed, or it was never rotated.
    Overdue,
    /// It cannot be told when it was rotated.
    Unknown,
}

/// One secret of the schedule, as it stands now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Due {
    /// What the team calls it.
    pub name: String,
    /// Who rotates it.
    pub owner: String,
    /// How it stands.
    pub state: State,
    /// Whole days until it is due, below zero after it; None where it was never rotated or nobody knows.
    pub days_left: Option<i64>,
    /// Why nobody knows.
    pub problem: Option<String>,
}

impl Schedule {
    /// Reads a schedule; relative folders begin where the program runs.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where it is no schedule, says what is none, or knows nothing of a secret's last rotation.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = |message: String| Error::new(ErrorKind::Invalid, message);
        let schedule: Self = toml::from_str(text).map_err(|error| {
            // A schedule holds no secret, but its words are ours all the same.
            let line =
                error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            invalid(format!("line {line} of the schedule is wrong: {}", error.message()))
        })?;
        if schedule.version != 1 {
            return Err(invalid(format!(
                "the schedule has version {}; this program reads 1",
                schedule.version
            )));
        }
        for rule in &schedule.secrets {
            let name = &rule.name;
            if days(&rule.every).is_none() {
                return Err(invalid(format!("`{name}`: `every` is given in days, as in '90d'")));
            }
            match (&rule.rotated, &rule.folder) {
                (Some(day), None) if day.date.is_some() => {}
                (None, Some(_)) => {}
                _ => {
                    return Err(invalid(format!(
                        "`{name}` needs a day in `rotated`, or a `folder`, and not both"
                    )));
                }
            }
        }
        Ok(schedule)
    }

    /// Reads a schedule from a file; relative folders begin where the file is.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where it cannot be read, else as [`parse`](Self::parse).
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::io(format!("{} cannot be read", path.display()), &error))?;
        let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self { base, ..Self::parse(&text)? })
    }

    /// Returns how every secret stands, those first that are due first.
    pub fn due(&self, now: SystemTime) -> Vec<Due> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut all: Vec<Due> = self.secrets.iter().map(|rule| self.one(rule, now)).collect();
        // Stable, so that the file's own order decides between equals; what was never rotated is the most urgent.
        all.sort_by_key(|due| (due.state == State::Fine, due.days_left));
        all
    }

    fn one(&self, rule: &Rule, now: u64) -> Due {
        let due = |state, days_left, problem| Due {
            name: rule.name.clone(),
            owner: rule.owner.clone(),
            state,
            days_left,
            problem,
        };
        let rotated = match (&rule.rotated, &rule.folder) {
            (Some(day), _) => {
                day.date.map(|date| seconds(date.year.into(), date.month.into(), date.day.into()))
            }
            (None, Some(folder)) => match change::record(&self.base.join(folder)) {
                Ok(record) => record.map(|record| record.rotated_at),
                Err(error) => return due(State::Unknown, None, Some(error.to_string())),
            },
            (None, None) => None,
        };
        let Some(rotated) = rotated else { return due(State::Overdue, None, None) };
        let until = rotated + days(&rule.every).unwrap_or(0) * DAY;
        let left = (until as i64 - now as i64).div_euclid(DAY as i64);
        due(if until <= now { State::Overdue } else { State::Fine }, Some(left), None)
    }
}

fn days(every: &str) -> Option<u64> {
    every.strip_suffix('d')?.parse().ok().filter(|days| (1..=36_500).contains(days))
}

/// The begin of a day in UTC, in seconds since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn seconds(year: i64, month: i64, day: i64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    u64::try_from(days).unwrap_or(0) * DAY
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (date, expected) in [
            ((1970, 1, 1), 0),
            ((2000, 2, 29), 951_782_400),
            ((2026, 8, 1), 1_785_542_400),
            ((2100, 3, 1), 4_107_542_400),
            ((1969, 12, 31), 0),
        ] {
            assert_eq!(seconds(date.0, date.1, date.2), expected, "{date:?}");
        }
    }

    fn rule(rest: &str) -> String {
        format!("version = 1\n[[secret]]\nname = 'a'\nowner = 'b'\n{rest}")
    }

    #[test]
    fn a_schedule_says_what_is_wrong_with_it() {
        for (text, expected) in [
            ("version = 2".into(), "the schedule has version 2; this program reads 1"),
            (rule("every = '90d'"), "`a` needs a day in `rotated`, or a `folder`, and not both"),
            (rule("every = '90'\nfolder = 'x'"), "`a`: `every` is given in days, as in '90d'"),
            (rule("every = '0d'\nfolder = 'x'"), "`a`: `every` is given in days, as in '90d'"),
            (
                rule("every = '1d'\nfolder = 'x'\nrotated = 2026-01-01"),
                "`a` needs a day in `rotated`, or a `folder`, and not both",
            ),
            (
                rule("every = '1d'\nrotated = 10:00:00"),
                "`a` needs a day in `rotated`, or a `folder`, and not both",
            ),
        ] {
            assert_eq!(Schedule::parse(&text).expect_err(expected).to_string(), expected);
        }
        let misspelt = Schedule::parse(&rule("evry = '1d'")).expect_err("misspelt").to_string();
        assert!(misspelt.starts_with("line 5 of the schedule is wrong: unknown field `evry`"), "{misspelt}");
    }

    #[test]
    fn what_is_due_comes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["never", "torn", "kept"] {
            std::fs::create_dir(path(name)).expect("a folder");
        }
        std::fs::write(path("torn/..rotated.json"), "{").expect("written");
        let record = r#"{"version":1,"account":"x","generation":3,"rotated_at":1785542400}"#;
        std::fs::write(path("kept/..rotated.json"), record).expect("written");
        let mut text = "version = 1\n".to_owned();
        for (name, from) in [
            ("fine", "rotated = 2026-08-01"),
            ("kept", "folder = 'kept'"),
            ("late", "rotated = 2026-01-01"),
            ("torn", "folder = 'torn'"),
            ("never", "folder = 'never'"),
        ] {
            text += &format!("[[secret]]\nname = '{name}'\nowner = 'o'\nevery = '100d'\n{from}\n");
        }
        std::fs::write(path("schedule.toml"), text).expect("written");
        let schedule = Schedule::load(&path("schedule.toml")).expect("well-formed");
        let begin = UNIX_EPOCH + Duration::from_secs(1_785_542_400);
        let states = |after: u64| -> Vec<(String, State, Option<i64>)> {
            let due = schedule.due(begin + Duration::from_secs(after));
            due.into_iter().map(|due| (due.name, due.state, due.days_left)).collect()
        };
        let expected = |late, left, state| {
            vec![
                ("torn".to_owned(), State::Unknown, None),
                ("never".to_owned(), State::Overdue, None),
                ("late".to_owned(), State::Overdue, Some(late)),
                ("fine".to_owned(), state, Some(left)),
                ("kept".to_owned(), state, Some(left)),
            ]
        };
        assert_eq!(states(0), expected(-112, 100, State::Fine));
        assert_eq!(states(100 * DAY - 1), expected(-212, 0, State::Fine));
        assert_eq!(states(100 * DAY), expected(-212, 0, State::Overdue));
    }
}
