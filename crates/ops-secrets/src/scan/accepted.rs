//! What a team has decided about findings: suppressions, each with an owner, a reason and an end, and a baseline.
//!
//! Both go by fingerprint. A position would cover whatever secret is put there next, and would be lost by a rebase.

use super::error::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;
use toml::value::Date;

/// The suppressions of a repository; `.ops-secrets.toml` by convention.
#[derive(Debug, Default)]
pub struct Suppressions {
    pub(crate) salt: Option<String>,
    pub(crate) entries: Vec<Suppression>,
}

/// A finding that somebody answers for.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Suppression {
    /// The fingerprint, as a report shows it.
    pub fingerprint: String,
    /// Who answers for it.
    pub owner: String,
    /// Why it may stand.
    pub reason: String,
    /// The last day on which it holds.
    pub expires: Date,
    /// The rule, for readers of the file; where it is given it must fit.
    pub rule: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    salt: Option<String>,
    #[serde(default)]
    suppress: Vec<Suppression>,
}

impl Suppressions {
    /// Reads the file.
    ///
    /// # Errors
    /// Fails where the file cannot be read or is not well-formed, and where an entry lacks an owner or a reason. The
    /// text says which, and quotes no line of the file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::parse(&read(path)?).map_err(|what| invalid(path, &what))
    }

    /// Reads the text of a file; the error says what is wrong with it.
    fn parse(text: &str) -> Result<Self, String> {
        // The parser quotes lines, and somebody may have put a secret where a fingerprint belongs.
        let file: File = toml::from_str(text).map_err(|error| {
            let line =
                error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
            format!("is no table of suppressions: something is wrong at line {line}")
        })?;
        if file.version != 1 {
            return Err(format!("has version {}, and this program knows version 1", file.version));
        }
        for (index, entry) in file.suppress.iter().enumerate() {
            let lacks = |what| Err(format!("entry {} has no {what}", index + 1));
            if entry.fingerprint.len() != 20
                || !entry.fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit())
            {
                return Err(format!("entry {} has no fingerprint of 20 hex digits", index + 1));
            }
            if entry.owner.trim().is_empty() {
                return lacks("owner");
            }
            if entry.reason.trim().is_empty() {
                return lacks("reason");
            }
        }
        Ok(Self { salt: file.salt, entries: file.suppress })
    }
}

/// The findings that were there when a team began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    schema: String,
    fingerprints: BTreeSet<String>,
}

const BASELINE: &str = "ops-secrets/baseline/v1";

impl Baseline {
    /// A baseline of fingerprints.
    pub fn new(fingerprints: impl IntoIterator<Item = String>) -> Self {
        Self { schema: BASELINE.to_owned(), fingerprints: fingerprints.into_iter().collect() }
    }

    /// Reads a baseline.
    ///
    /// # Errors
    /// Fails where the file cannot be read or is none.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = read(path)?;
        let found: Option<Self> = serde_json::from_str(&text).ok();
        found.filter(|baseline| baseline.schema == BASELINE).ok_or_else(|| invalid(path, "is no baseline"))
    }

    /// Returns the file's content: sorted, so that two runs over one repository give the same bytes.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    pub(crate) fn has(&self, fingerprint: &str) -> bool {
        self.fingerprints.contains(fingerprint)
    }
}

/// The day of a time, in UTC; `seconds` since 1970.
pub(crate) fn day(seconds: u64) -> Date {
    // Days to a date in the proleptic Gregorian calendar, with years that begin in March.
    let days = i64::try_from(seconds / 86_400).unwrap_or(0) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let small = |number: i64| u8::try_from(number).unwrap_or(1);
    Date { year: u16::try_from(year).unwrap_or(u16::MAX), month: small(month), day: small(day) }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| {
        Error::new(ErrorKind::InvalidFile, format!("{} cannot be read", path.display())).caused_by(source)
    })
}

fn invalid(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::InvalidFile, format!("{} {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "[[suppress]]\nfingerprint = \"00112233445566778899\"\nowner = \"team\"\nreason = \"a fixture\"\nexpires = 2027-01-31\n";

    fn check(text: &str, expected: &str) {
        let said = Suppressions::parse(text).map(|file| file.entries.len().to_string());
        assert_eq!(said.unwrap_or_else(|error| error), expected, "{text}");
    }

    #[test]
    fn an_entry_needs_all_that_makes_it_answerable() {
        check("version = 1\n", "0");
        check(&format!("version = 1\nsalt = \"x\"\n{ENTRY}"), "1");
        check(&format!("version = 2\n{ENTRY}"), "has version 2, and this program knows version 1");
        check(&format!("version = 1\n{}", ENTRY.replace("\"team\"", "\" \"")), "entry 1 has no owner");
        check(&format!("version = 1\n{}", ENTRY.replace("\"a fixture\"", "\"\"")), "entry 1 has no reason");
        check(
            &format!("version = 1\n{}", ENTRY.replace("0011", "zz")),
            "entry 1 has no fingerprint of 20 hex digits",
        );
        for gone in ["owner = \"team\"\n", "reason = \"a fixture\"\n", "expires = 2027-01-31\n"] {
            let said = Suppressions::parse(&format!("version = 1\n{}", ENTRY.replace(gone, ""))).unwrap_err();
            assert!(said.contains("is no table of suppressions"), "{said}");
        }
        let said = Suppressions::parse("version = 1\n[[suppress]]\nfingerprint = hunter2\n").unwrap_err();
        assert!(!said.contains("hunter2") && said.contains("line 3"), "{said}");
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, (1970, 1, 1)),
            (951_782_400, (2000, 2, 29)),
            (951_868_800, (2000, 3, 1)),
            (1_735_689_599, (2024, 12, 31)),
            (4_107_542_400, (2100, 3, 1)),
        ] {
            let day = day(seconds);
            assert_eq!((day.year, day.month, day.day), expected);
        }
    }
}
