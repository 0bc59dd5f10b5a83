//! `kind = "vulnerabilities"`: a scanner looked at something, with a database that is young, and found nothing that blocks.
//!
//! The report alone proves little: a scanner that has no database, or nothing to look at, also finds nothing. So the age
//! of the database and the work done must be shown. What is ignored is said here with an owner and an end, and what the
//! scanner was told to ignore counts as found.

use super::super::read;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text};
use futures_util::future::BoxFuture;
use jiff::{Timestamp, civil::Date};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// The report of a vulnerability scanner.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vulnerabilities {
    /// Who made the report.
    pub scanner: Scanner,
    /// The report in the scanner's own JSON.
    pub report: Text,
    /// How old the database of vulnerabilities may be.
    pub max_database_age: Span,
    /// A file that says how old it is: for trivy, its `metadata.json` or the output of `trivy version --format json`.
    /// The reports of cargo-audit say it themselves.
    pub database: Option<Text>,
    /// When the database was brought up to date, as `2026-11-21T06:00:00Z`, where neither report nor file says it.
    pub database_updated_at: Option<Text>,
    /// The severities that block. What has none, or one that is not known, always blocks.
    #[serde(default = "critical")]
    pub severities: Vec<Severity>,
    /// What trivy must have scanned: the name of the artifact, or a digest of its image.
    pub artifact: Option<Text>,
    /// What is known and accepted for a while.
    #[serde(default)]
    pub ignore: Vec<Advisory>,
}

/// Who made a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Scanner {
    /// `cargo audit --json`.
    CargoAudit,
    /// `osv-scanner --format json --all-packages`.
    Osv,
    /// `trivy … --format json`.
    Trivy,
}

/// How bad a vulnerability is, in the words of the scanners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

/// A vulnerability that somebody answers for, until a day.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Advisory {
    /// Its id, such as `CVE-2026-12345` or `RUSTSEC-2026-0001`.
    pub id: String,
    /// Who answers for it.
    pub owner: String,
    /// Why it can be accepted.
    pub reason: String,
    /// The last day on which it is accepted (UTC), as `2026-12-31`.
    pub until: String,
}

fn critical() -> Vec<Severity> {
    vec![Severity::Critical]
}

/// What a report says, whoever made it.
#[derive(Debug, Default)]
struct Report {
    found: Vec<Found>,
    /// How many packages were looked at; none where the report does not tell.
    packages: Option<usize>,
    /// How many things were looked at that hold packages.
    targets: usize,
    database: Option<Timestamp>,
    /// What the scanner was told to ignore.
    ignored: Vec<String>,
    /// What was scanned, in the report's words.
    artifact: Vec<String>,
}

#[derive(Debug)]
struct Found {
    ids: Vec<String>,
    package: String,
    severity: Option<Severity>,
}

impl Gate for Vulnerabilities {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        for advisory in &self.ignore {
            if [&advisory.id, &advisory.owner, &advisory.reason]
                .into_iter()
                .any(|text| text.trim().is_empty())
            {
                wrong.push(Wrong::gate("an ignored vulnerability needs an `id`, an `owner` and a `reason`"));
            }
            if advisory.until.parse::<Date>().is_err() {
                let message = format!("`until` of {} is not a day such as 2026-12-31", advisory.id);
                wrong.push(Wrong::gate(message));
            }
        }
        if self.artifact.is_some() && self.scanner != Scanner::Trivy {
            wrong.push(Wrong::gate("only trivy's report says which `artifact` was scanned"));
        }
        let says_age = self.database.is_some() || self.database_updated_at.is_some();
        if !says_age && self.scanner != Scanner::CargoAudit {
            let message =
                "the report does not say how old the database is: give `database` or `database_updated_at`";
            wrong.push(Wrong::gate(message));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("{} blocks nothing, with a database at most {} old", self.report, self.max_database_age)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Vulnerabilities {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let value: Value = read::json(&read::text(context, &self.report).await?, "the report")?;
        let mut report = match self.scanner {
            Scanner::CargoAudit => cargo_audit(&value),
            Scanner::Osv => osv(&value),
            Scanner::Trivy => trivy(&value),
        }
        .ok_or_else(|| {
            let reason = format!("{} is not a report of this scanner", self.report);
            Finding::error(Fault::Parse, "not-understood", reason)
        })?;
        if let Some(text) = &self.database_updated_at {
            let text = context.resolve(text)?;
            report.database = Some(text.trim().parse().map_err(|error| {
                Finding::error(
                    Fault::Parse,
                    "database-age",
                    format!("`database_updated_at` is not a time: {error}"),
                )
            })?);
        }
        if let Some(file) = &self.database {
            let value: Value = read::json(&read::text(context, file).await?, "the database's description")?;
            let at = value.pointer("/VulnerabilityDB/UpdatedAt").or_else(|| value.get("UpdatedAt"));
            report.database = at.and_then(time);
        }
        let artifact = self.artifact.as_ref().map(|text| context.resolve(text)).transpose()?;
        self.database_age(&report, context)?;
        if let Some(artifact) =
            artifact.filter(|wanted| !report.artifact.iter().any(|it| it.ends_with(wanted.as_str())))
        {
            let reason = format!("the report is about {}, not {artifact}", report.artifact.join(", "));
            return Err(Finding::fail("other-artifact", reason));
        }
        if report.targets == 0 || report.packages == Some(0) {
            let reason = format!("{} looked at no package", self.report);
            return Err(Finding::error(Fault::NoData, "nothing-scanned", reason));
        }
        Ok(self.judge(&report, context.now()))
    }

    fn database_age(&self, report: &Report, context: &Context<'_>) -> Result<(), Finding> {
        let Some(updated) = report.database else {
            let reason = "nothing says how old the database of vulnerabilities is; without one, a scanner finds nothing";
            return Err(Finding::error(Fault::NoData, "database-age", reason));
        };
        let age = context.now().duration_since(updated);
        if age.as_secs() < -300 {
            let reason = format!("the database of {updated} is in the future; one of the clocks is wrong");
            return Err(Finding::error(Fault::Unresolved, "database-age", reason));
        }
        if !age.is_negative() && age.unsigned_abs() > self.max_database_age.get() {
            let reason = format!("the database of {updated} is older than {}", self.max_database_age);
            return Err(Finding::error(Fault::NoData, "database-too-old", reason));
        }
        Ok(())
    }

    fn judge(&self, report: &Report, now: Timestamp) -> Finding {
        let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        let accepted = |id: &String| {
            let holds = |it: &Advisory| it.until.parse::<Date>().is_ok_and(|until| today <= until);
            self.ignore.iter().any(|it| it.id == *id && holds(it))
        };
        let blocks = |found: &&Found| {
            found.severity.is_none_or(|severity| self.severities.contains(&severity))
                && !found.ids.iter().any(accepted)
        };
        let blocking: Vec<&Found> = report.found.iter().filter(blocks).collect();
        let unowned: Vec<&String> = report.ignored.iter().filter(|id| !accepted(id)).collect();
        let finding = if let Some(first) = blocking.first() {
            let expired = first.ids.iter().any(|id| self.ignore.iter().any(|it| it.id == *id));
            let expired = if expired { ", accepted until a day that has passed" } else { "" };
            let id = first.ids.first().map_or("?", String::as_str);
            let more =
                if blocking.len() > 1 { format!(", and {} more", blocking.len() - 1) } else { String::new() };
            Finding::fail("vulnerable", format!("{id} in {}{expired}{more}", first.package))
        } else if let Some(first) = unowned.first() {
            let reason =
                format!("the scanner was told to ignore {first}, for which nobody answers here with an end");
            Finding::fail("ignored-without-owner", reason)
        } else {
            let ids: BTreeSet<&String> =
                report.found.iter().flat_map(|found| &found.ids).filter(|id| accepted(id)).collect();
            let accepted =
                if ids.is_empty() { String::new() } else { format!(", {} accepted for a while", ids.len()) };
            Finding::pass(format!("nothing that blocks in {} scanned targets{accepted}", report.targets))
        };
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        let counted = |count: usize| count as f64;
        finding
            .measured("blocking_count", counted(blocking.len()))
            .measured("found_count", counted(report.found.len()))
            .judged_by(format!("age of the database <= {} (plan)", self.max_database_age))
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

fn severity(word: &str) -> Option<Severity> {
    Some(match word.to_ascii_lowercase().as_str() {
        "low" | "negligible" => Severity::Low,
        "medium" | "moderate" => Severity::Medium,
        "high" => Severity::High,
        "critical" => Severity::Critical,
        _ => return None,
    })
}

/// The bands of CVSS 3.1, section 5.
fn of_score(score: f64) -> Option<Severity> {
    match score {
        score if (0.0..4.0).contains(&score) => Some(Severity::Low),
        score if (4.0..7.0).contains(&score) => Some(Severity::Medium),
        score if (7.0..9.0).contains(&score) => Some(Severity::High),
        score if (9.0..=10.0).contains(&score) => Some(Severity::Critical),
        _ => None,
    }
}

fn cargo_audit(value: &Value) -> Option<Report> {
    let mut report = Report {
        packages: usize::try_from(value.pointer("/lockfile/dependency-count")?.as_u64()?).ok(),
        targets: 1,
        database: value.pointer("/database/last-updated").and_then(time),
        ..Report::default()
    };
    // Without a single advisory it is no database, however young.
    if value.pointer("/database/advisory-count")?.as_u64()? == 0 {
        report.database = None;
    }
    for item in value.pointer("/vulnerabilities/list")?.as_array()? {
        let advisory = item.get("advisory")?;
        let aliases = advisory.get("aliases").and_then(Value::as_array).into_iter().flatten();
        let ids =
            text(advisory, "id").into_iter().chain(aliases.filter_map(|id| Some(id.as_str()?.to_owned())));
        // It gives a CVSS vector and no severity, so that each one blocks.
        report.found.push(Found {
            ids: ids.collect(),
            package: text(item.get("package")?, "name")?,
            severity: None,
        });
    }
    let ignored = value.pointer("/settings/ignore").and_then(Value::as_array).into_iter().flatten();
    report.ignored = ignored.filter_map(|id| Some(id.as_str()?.to_owned())).collect();
    Some(report)
}

fn osv(value: &Value) -> Option<Report> {
    let mut report = Report { packages: Some(0), ..Report::default() };
    for result in value.get("results")?.as_array()? {
        report.targets += 1;
        for package in result.get("packages")?.as_array()? {
            report.packages = report.packages.map(|count| count + 1);
            let name = text(package.get("package")?, "name")?;
            let list = |key: &str| package.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            if list("groups").is_empty() {
                let ids = list("vulnerabilities").iter().map(|item| text(item, "id").into_iter().collect());
                report.found.extend(ids.map(|ids| Found { ids, package: name.clone(), severity: None }));
            }
            // A group holds the names of one vulnerability.
            for group in list("groups") {
                let ids =
                    ["ids", "aliases"].into_iter().filter_map(|key| group.get(key)?.as_array()).flatten();
                let ids: BTreeSet<String> = ids.filter_map(|id| Some(id.as_str()?.to_owned())).collect();
                let score = text(group, "max_severity").and_then(|score| score.parse().ok());
                report.found.push(Found {
                    ids: ids.into_iter().collect(),
                    package: name.clone(),
                    severity: score.and_then(of_score),
                });
            }
        }
    }
    Some(report)
}

fn trivy(value: &Value) -> Option<Report> {
    value.get("SchemaVersion")?;
    let names = ["RepoTags", "RepoDigests"]
        .into_iter()
        .filter_map(|key| value.pointer("/Metadata")?.get(key)?.as_array());
    let names = names.flatten().filter_map(|name| Some(name.as_str()?.to_owned()));
    let image = value.pointer("/Metadata/ImageID").and_then(Value::as_str).map(str::to_owned);
    let mut report = Report {
        artifact: text(value, "ArtifactName").into_iter().chain(names).chain(image).collect(),
        ..Report::default()
    };
    // Where it found nothing to look at, there is no list at all.
    let results = value.get("Results").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for result in results {
        // Secrets and misconfigurations are in the same list, and are the matter of other gates.
        if !matches!(result.get("Class").and_then(Value::as_str), Some("os-pkgs" | "lang-pkgs")) {
            continue;
        }
        report.targets += 1;
        if let Some(packages) = result.get("Packages").and_then(Value::as_array) {
            report.packages = Some(report.packages.unwrap_or(0) + packages.len());
        }
        for item in result.get("Vulnerabilities").and_then(Value::as_array).into_iter().flatten() {
            report.found.push(Found {
                ids: vec![text(item, "VulnerabilityID")?],
                package: text(item, "PkgName")?,
                severity: text(item, "Severity").as_deref().and_then(severity),
            });
        }
        for item in result.get("ExperimentalModifiedFindings").and_then(Value::as_array).into_iter().flatten()
        {
            report
                .ignored
                .extend(item.pointer("/Finding/VulnerabilityID").and_then(Value::as_str).map(str::to_owned));
        }
    }
    Some(report)
}
