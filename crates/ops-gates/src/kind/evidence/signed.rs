//! `kind = "evidence"`: finds the newest signed record that verifies, and judges it.

use super::records::{Search, finding_of};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::Finding;
use crate::value::{Span, Text, Threshold, digest};
use futures_util::future::BoxFuture;
use ops_core::evidence::Record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A signed record of work done elsewhere, such as a restore rehearsal.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// A signed envelope, or a pattern with `*`, `?`, `[…]` or `**` that finds several.
    pub path: Text,
    /// The public key that must have signed.
    pub key: Text,
    /// The kind of the record, for example `restore-rehearsal`.
    pub record_kind: String,
    /// How long ago the recorded work may have ended; older evidence proves nothing.
    pub max_age: Span,
    /// The name of a subject that the record must be about.
    pub subject: Option<Text>,
    /// The digest of a subject that the record must be about, as `sha256:…`.
    pub digest: Option<Text>,
    /// Checks that the record must hold, each passed.
    #[serde(default)]
    pub require_checks: Vec<String>,
    /// Limits on what the record measured; a measurement that is missing does not pass.
    #[serde(default)]
    pub measurements: BTreeMap<String, Limits>,
}

/// The range that a measurement must lie in; at least one end is given.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The greatest value that passes.
    pub max: Option<Threshold>,
    /// The least value that passes.
    pub min: Option<Threshold>,
}

impl Gate for Evidence {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if self.record_kind.is_empty() {
            wrong.push(Wrong::gate("`record_kind` is empty"));
        }
        for (name, limits) in &self.measurements {
            if limits.min.is_none() && limits.max.is_none() {
                wrong.push(Wrong::gate(format!("measurement `{name}` needs a `max` or `min`")));
            }
        }
        let written = self.digest.as_ref().filter(|text| !text.template().contains("${"));
        if let Some(text) = written.filter(|text| digest(text.template()).is_none()) {
            wrong.push(Wrong::text(text, "`digest` is not a digest such as `sha256:…`"));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("{} at {}, at most {} old", self.record_kind, self.path, self.max_age)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.find(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Evidence {
    async fn find(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let resolve = |text: &Option<Text>| text.as_ref().map(|text| context.resolve(text)).transpose();
        let (subject, digest) = (resolve(&self.subject)?, resolve(&self.digest)?);
        let search = Search::new(context, &self.path, &self.key, &self.record_kind, self.max_age)?;
        let rules = self.clone();
        Ok(finding_of(move || {
            let described = [subject.as_deref(), digest.as_deref()].map(Option::unwrap_or_default).join(" ");
            let about = |record: &Record| is_about(record, subject.as_deref(), digest.as_deref());
            let record = search.newest(described.trim(), about)?;
            let mut finding = rules.assess(&search, &record).unwrap_or_else(|finding| finding);
            finding.measurements = record.measurements;
            Ok(finding)
        })
        .await)
    }

    /// Judges the record that counts; the first rule that it breaks is the reason.
    fn assess(&self, search: &Search, record: &Record) -> Result<Finding, Finding> {
        let kind = &self.record_kind;
        search.current(record)?;
        search.checks(record, self.require_checks.iter().map(String::as_str))?;
        let mut shown = Vec::new();
        for (name, limits) in &self.measurements {
            let Some(value) = record.measurements.get(name) else {
                return Err(Finding::fail(
                    "measurement-missing",
                    format!("the {kind} did not measure `{name}`"),
                ));
            };
            // In this direction, NaN is outside every range.
            let (at_most, at_least) = (|max: &f64| value <= max, |min: &f64| value >= min);
            let (max, min) =
                (limits.max.as_ref().map(Threshold::get), limits.min.as_ref().map(Threshold::get));
            if let Some(max) = max.filter(|max| !at_most(max)) {
                let reason = format!("{name} of the {kind} is {value}, allowed at most {max}");
                return Err(Finding::fail("measurement", reason));
            }
            if let Some(min) = min.filter(|min| !at_least(min)) {
                let reason = format!("{name} of the {kind} is {value}, required at least {min}");
                return Err(Finding::fail("measurement", reason));
            }
            shown.push(format!(", {name} {value}"));
        }
        Ok(Finding::pass(format!("{kind} of {} passed{}", record.finished_at, shown.concat())))
    }
}

/// Whether one subject of the record has both the name and the digest that are asked for.
fn is_about(record: &Record, name: Option<&str>, digest: Option<&str>) -> bool {
    let named = |subject: &str| name.is_none_or(|wanted| wanted == subject);
    let digest = digest.map(|digest| digest.split_once(':').unwrap_or(("", digest)));
    record.subjects.iter().any(|subject| {
        named(&subject.name)
            && digest.is_none_or(|(algorithm, hex)| subject.digest.get(algorithm).is_some_and(|it| it == hex))
    })
}
