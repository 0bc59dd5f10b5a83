//! The answer of a scan: findings without values, what could not be judged, and the verdict.

use super::accepted::{Baseline, Suppression, Suppressions, day};
use super::collect::{Collected, Scanned};
use super::fingerprint::Fingerprints;
use super::place::{Gap, Place};
use super::rules::{Rule, Tier};
use serde::Serialize;

/// How many characters of a token's public prefix are shown.
const SHOWN: usize = 4;

/// What a team has decided about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum State {
    /// Nothing.
    New,
    /// It was suppressed, but no longer is: the day has passed.
    Expired,
    /// It stands in the baseline.
    Baseline,
    /// Somebody answers for it.
    Suppressed,
}

/// The answer in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verdict {
    /// Everything was looked at, and nothing that blocks was found.
    Clean,
    /// A secret was found.
    Found,
    /// Something could not be looked at, and in the rest nothing was found.
    Unjudged,
    /// There was nothing to look at.
    Nothing,
}

/// A secret that was found, at every place where it stands.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The rule's short name.
    pub rule: &'static str,
    /// What it is.
    pub title: String,
    /// How sure it is.
    pub tier: Tier,
    /// What was decided about it.
    pub state: State,
    /// The name by which a suppression refers to it.
    pub fingerprint: String,
    /// The public prefix of it, and its length in stars up to eight.
    pub preview: String,
    /// How many bytes it has.
    pub length: usize,
    /// How often it stands somewhere.
    pub count: u64,
    /// Where: at most a thousand places.
    pub places: Vec<Place>,
}

/// The report of a scan.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The answer.
    pub verdict: Verdict,
    /// What was looked at.
    pub scanned: Scanned,
    /// The secrets, the surest first.
    pub findings: Vec<Finding>,
    /// What could not be judged.
    pub gaps: Vec<Gap>,
    /// Files in formats that nobody can look into: searched as bytes, and said.
    pub opaque: Vec<Gap>,
    /// Files that were left out because somebody said so.
    pub excluded: u64,
    /// Suppressions that nothing was found for: they can go.
    pub unused: Vec<String>,
}

/// How findings are judged.
pub(crate) struct Judge<'a> {
    pub(crate) fingerprints: Fingerprints,
    pub(crate) suppressions: &'a Suppressions,
    pub(crate) baseline: &'a Baseline,
    pub(crate) now: u64,
    /// Whether likely findings block too.
    pub(crate) strict: bool,
    /// Whether all was looked at that a suppression may be about.
    pub(crate) complete: bool,
}

impl Judge<'_> {
    /// Makes the report; `nothing` is whether it is no failure to have seen nothing.
    pub(crate) fn report(&self, mut collected: Collected, excluded: u64, may_be_nothing: bool) -> Report {
        let secrets = std::mem::take(&mut collected.secrets);
        let mut findings: Vec<Finding> = secrets
            .into_values()
            .map(|secret| {
                let fingerprint = self.fingerprints.of(secret.rule, &secret.value);
                let title = match &secret.name {
                    Some(name) => format!("The value of {name}, which is in use"),
                    None => secret.rule.title.to_owned(),
                };
                Finding {
                    rule: secret.rule.id,
                    title,
                    tier: secret.tier,
                    state: self.state(&fingerprint),
                    fingerprint,
                    preview: preview(secret.rule, &secret.value),
                    length: secret.value.len(),
                    count: secret.count,
                    places: secret.places,
                }
            })
            .collect();
        findings
            .sort_by(|a, b| (b.tier, a.state, a.rule, &a.places).cmp(&(a.tier, b.state, b.rule, &b.places)));
        collected.gaps.sort();
        collected.gaps.dedup();
        let found =
            |entry: &&Suppression| !findings.iter().any(|finding| finding.fingerprint == entry.fingerprint);
        let unused = self.suppressions.entries.iter().filter(|_| self.complete).filter(found);
        let unused = unused.map(|entry| entry.fingerprint.clone()).collect();
        let blocks = findings.iter().any(|finding| finding.blocks(self.strict));
        let scanned = collected.scanned;
        let verdict = match () {
            () if blocks => Verdict::Found,
            () if !collected.gaps.is_empty() => Verdict::Unjudged,
            () if scanned.files + scanned.objects == 0 && !may_be_nothing => Verdict::Nothing,
            () => Verdict::Clean,
        };
        Report {
            verdict,
            scanned,
            findings,
            gaps: collected.gaps,
            opaque: collected.opaque,
            excluded,
            unused,
        }
    }

    fn state(&self, fingerprint: &str) -> State {
        let mut entries =
            self.suppressions.entries.iter().filter(|entry| entry.fingerprint == fingerprint).peekable();
        let is_named = entries.peek().is_some();
        let today = day(self.now);
        match () {
            () if entries.any(|entry| today <= entry.expires) => State::Suppressed,
            () if self.baseline.has(fingerprint) => State::Baseline,
            () if is_named => State::Expired,
            () => State::New,
        }
    }
}

impl Finding {
    /// Whether it closes a gate: likely ones do so only where `strict` says so.
    pub fn blocks(&self, strict: bool) -> bool {
        matches!(self.state, State::New | State::Expired) && (strict || self.tier == Tier::Certain)
    }
}

/// The public part of a secret: the text with which all of its kind begin, at most four characters of it.
pub(crate) fn preview(rule: &Rule, secret: &[u8]) -> String {
    let starts = rule.shapes.iter().map(|shape| shape.split('<').next().unwrap_or_default());
    let public = starts.filter(|text| secret.starts_with(text.as_bytes())).max_by_key(|text| text.len());
    let shown: String = public.unwrap_or_default().chars().take(SHOWN).collect();
    let hidden = secret.len().saturating_sub(shown.len()).min(8);
    format!("{shown}{}", "*".repeat(hidden))
}
