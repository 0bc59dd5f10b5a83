//! The people who may approve, and what they signed about a release.

use super::super::evidence::{envelope, files};
use super::super::read;
use super::decision::{APPROVER, ENVIRONMENT, EXPIRES_AT, INCIDENT, KIND};
use super::words;
use crate::gate::{Context, Subject};
use crate::outcome::{Fault, Finding};
use crate::value::Text;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use ops_core::evidence::{Envelope, Outcome, Record, VerifyingKey};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const SCHEMA: &str = "ops-gates/approvers/v1";

/// How far the clocks of two machines may differ before a signature counts as made in the future.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(300);

/// The list of those who may approve.
#[derive(Debug)]
pub(super) struct Approvers(Vec<(Person, VerifyingKey)>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    schema: String,
    approver: Vec<Person>,
}

/// Somebody who may approve.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    name: String,
    /// All addresses under which they commit: by these they are known as authors.
    emails: Vec<String>,
    roles: BTreeSet<String>,
    /// Their public key, in PEM.
    key: String,
    /// The last day on which they may approve.
    until: Option<String>,
}

/// Somebody's yes.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) name: String,
    pub(super) emails: BTreeSet<String>,
    pub(super) roles: BTreeSet<String>,
    pub(super) record: Record,
}

/// All that was decided about a release.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    pub(super) granted: Vec<Granted>,
    /// Who said no.
    pub(super) rejected: Vec<String>,
    /// What was found and does not count, and why.
    pub(super) ignored: Vec<String>,
}

impl Approvers {
    pub(super) fn parse(text: &str) -> Result<Self, Finding> {
        let list: List = read::toml(text, "the list of approvers")?;
        let refuse =
            |what: String| Finding::error(Fault::Parse, "approvers", format!("the list of approvers {what}"));
        if list.schema != SCHEMA {
            return Err(refuse(format!("has the schema `{}`, known is `{SCHEMA}`", list.schema)));
        }
        let mut people: Vec<(Person, VerifyingKey)> = Vec::new();
        for mut person in list.approver {
            let name = &person.name;
            let key = VerifyingKey::from_pem(&person.key)
                .map_err(|error| refuse(format!("has no usable key for {name}: {error}")))?;
            // Without an address, nobody would be known as the author of their own change.
            if person.emails.is_empty() || person.emails.iter().any(|email| !email.contains('@')) {
                return Err(refuse(format!("has no address for {name}, by which git knows them")));
            }
            if person.until.as_ref().is_some_and(|until| until.parse::<Date>().is_err()) {
                return Err(refuse(format!("has no day such as 2026-12-31 in `until` of {name}")));
            }
            if people.iter().any(|(other, theirs)| other.name == *name || *theirs == key) {
                return Err(refuse(format!("has {name}, or their key, twice")));
            }
            person.emails.iter_mut().for_each(|email| *email = email.to_lowercase());
            people.push((person, key));
        }
        if people.is_empty() {
            return Err(refuse("is empty, so that nobody could approve".to_owned()));
        }
        Ok(Self(people))
    }

    /// Every yes that counts for the plan's subject, now.
    pub(super) async fn granted(&self, context: &Context<'_>, path: &Text) -> Result<Vec<Granted>, Finding> {
        Ok(self.decisions(context, path, None).await?.granted)
    }

    /// What was decided about the plan's subject. Of one person, the newest decision counts.
    pub(super) async fn decisions(
        &self,
        context: &Context<'_>,
        path: &Text,
        environment: Option<&str>,
    ) -> Result<Decisions, Finding> {
        let unresolved = |code, reason: String| Finding::error(Fault::Unresolved, code, reason);
        let subject = context
            .subject()
            .ok_or_else(|| unresolved("no-subject", "the plan has no subject".to_owned()))?;
        let pattern = context.path(path)?;
        let read = tokio::task::spawn_blocking(move || envelopes(&pattern)).await;
        let read =
            read.map_err(|_| Finding::error(Fault::Internal, "panic", "the search for approvals stopped"))?;
        let mut decisions = Decisions::default();
        let mut newest: BTreeMap<&str, Record> = BTreeMap::new();
        for (file, envelope) in read? {
            let signed = envelope.and_then(|envelope| self.signed(&envelope));
            let counts = signed.and_then(|(person, record)| {
                bound(&record, subject)?;
                person.holds(&record, environment, context.now())?;
                Ok((person, record))
            });
            match counts {
                Ok((person, record)) => {
                    let older = newest
                        .get(person.name.as_str())
                        .is_none_or(|it| it.finished_at <= record.finished_at);
                    if older {
                        newest.insert(&person.name, record);
                    }
                }
                Err(why) => decisions.ignored.push(format!("{file}: {why}")),
            }
        }
        for (person, _) in &self.0 {
            match newest.remove(person.name.as_str()) {
                Some(record) if record.outcome == Outcome::Passed => decisions.granted.push(Granted {
                    name: person.name.clone(),
                    emails: person.emails.iter().cloned().collect(),
                    roles: person.roles.clone(),
                    record,
                }),
                Some(_) => decisions.rejected.push(person.name.clone()),
                None => {}
            }
        }
        Ok(decisions)
    }

    /// Who of the list signed a decision of theirs.
    fn signed(&self, envelope: &Envelope) -> Result<(&Person, Record), String> {
        for (person, key) in &self.0 {
            let Ok(record) = envelope.verify(std::slice::from_ref(key)) else { continue };
            if record.kind != KIND {
                return Err(format!("it is a `{}`, and no approval", record.kind));
            }
            let named = record.attributes.get(APPROVER).map_or("nobody", String::as_str);
            if named != person.name {
                return Err(format!("{} signed it in the name of {named}", person.name));
            }
            return Ok((person, record));
        }
        Err("nobody of the list signed it".to_owned())
    }
}

impl Person {
    fn holds(&self, record: &Record, environment: Option<&str>, now: Timestamp) -> Result<(), String> {
        let today = now.to_zoned(TimeZone::UTC).date();
        if self.until.as_ref().and_then(|until| until.parse::<Date>().ok()).is_some_and(|until| today > until)
        {
            return Err(format!("{} may not approve any more", self.name));
        }
        if record.finished_at.duration_since(now) > CLOCK_SKEW {
            return Err(format!("{} signed it at {}, which is in the future", self.name, record.finished_at));
        }
        let expires: Option<Timestamp> = record.attributes.get(EXPIRES_AT).and_then(|text| text.parse().ok());
        let expires = expires.ok_or_else(|| format!("the decision of {} has no end", self.name))?;
        if expires <= now {
            return Err(format!("the decision of {} held until {expires}", self.name));
        }
        let meant = record.attributes.get(ENVIRONMENT).map(String::as_str);
        match environment {
            Some(wanted) if meant != Some(wanted) => Err(format!(
                "the decision of {} is for {}, not {wanted}",
                self.name,
                meant.unwrap_or("no environment")
            )),
            _ => Ok(()),
        }
    }
}

/// The incident that an approval names.
pub(super) fn incident(record: &Record) -> Option<&str> {
    let incident = record.attributes.get(INCIDENT).map(|text| text.trim())?;
    (!incident.is_empty() && words::placeholder(incident).is_none()).then_some(incident)
}

/// Whether a record is about what is released: a digest that both have, and none in which they differ.
fn bound(record: &Record, ours: &Subject) -> Result<(), String> {
    let same = |subject: &ops_core::evidence::Subject| {
        let shared =
            subject.digest.iter().filter_map(|(algorithm, hex)| Some((hex, ours.digest.get(algorithm)?)));
        let shared: Vec<bool> = shared.map(|(theirs, ours)| theirs == ours).collect();
        !shared.is_empty() && shared.iter().all(|same| *same)
    };
    if record.subjects.iter().all(same) {
        Ok(())
    } else {
        Err("it is about another commit or artifact".to_owned())
    }
}

type Read = (String, Result<Envelope, String>);

/// The envelopes that a pattern finds. A file that cannot be read could be a no, so that it is an error: taking the right
/// to read away must not take a no away.
fn envelopes(pattern: &Path) -> Result<Vec<Read>, Finding> {
    let unresolved = |code, reason: String| Finding::error(Fault::Unresolved, code, reason);
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let paths = files(pattern).map_err(|error| unresolved("path", error))?;
    let read = |path: &PathBuf| {
        let envelope = envelope(path).map_err(|error| unresolved("file-unreadable", error))?;
        Ok((name(path), envelope))
    };
    paths.iter().map(read).collect()
}
