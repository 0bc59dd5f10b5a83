//! `kind = "rehearsal"`: a backup of this cluster was restored, not long ago, within the objectives, and signed for.
//!
//! It reads what `ops-backup rehearse` signs. The record names the backup and the cluster; a rehearsal of another
//! cluster proves nothing about this one.

use super::records::{Search, finding_of};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text, Threshold};
use futures_util::future::BoxFuture;
use ops_core::evidence::Record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of the record that `ops-backup rehearse` signs.
const KIND: &str = "restore-rehearsal";

/// What every rehearsal must have shown: the files came back, the server was consistent, replay reached its target, and
/// the server took writes.
const STEPS: [&str; 4] = ["restore", "start", "replay", "promote"];

/// A signed restore rehearsal, judged by `objectives.rto` and `objectives.rpo` of the plan, which it needs both.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    /// The signed records, a file or a pattern; the newest of this cluster decides, also where an older one passed.
    pub path: Text,
    /// The public key that must have signed.
    pub key: Text,
    /// The system identifier of the cluster, as `pg_controldata` prints it.
    pub system_identifier: Text,
    /// How long ago the rehearsal may have ended, such as `92d` for every quarter.
    pub max_age: Span,
    /// The backup that must have been restored; without it, any backup of the cluster.
    pub backup: Option<Text>,
    /// Checks that must have passed beside `restore`, `start`, `replay` and `promote`: `pg_verifybackup`, `pg_amcheck`,
    /// or the name of an assertion.
    #[serde(default)]
    pub require_checks: Vec<String>,
    /// How many bytes of WAL may have been missing at the end of the archive; unknown does not pass.
    pub max_data_lost_bytes: Option<Threshold>,
}

impl Gate for Rehearsal {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        for (name, objective) in [("rto", facts.objectives.rto), ("rpo", facts.objectives.rpo)] {
            if objective.is_none() {
                let message =
                    format!("a rehearsal is judged by `objectives.{name}`, which the plan does not state");
                wrong.push(Wrong::gate(message));
            }
        }
        wrong
    }

    fn summary(&self) -> String {
        format!(
            "cluster {} was restored from {}, at most {} ago",
            self.system_identifier, self.path, self.max_age
        )
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.find(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Rehearsal {
    async fn find(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let search = Search::new(context, &self.path, &self.key, KIND, self.max_age)?;
        let cluster = context.resolve(&self.system_identifier)?;
        let backup = self.backup.as_ref().map(|backup| context.resolve(backup)).transpose()?;
        let missing = || Finding::error(Fault::Unresolved, "objective", "the plan states no RTO or no RPO");
        let objectives = context.objectives();
        let (rto, rpo) = objectives.rto.zip(objectives.rpo).ok_or_else(missing)?;
        let rules = self.clone();
        Ok(finding_of(move || {
            let record = search.newest(&format!("cluster {cluster}"), |record| is_about(record, &cluster))?;
            let mut finding = rules
                .assess(&search, &record, backup.as_deref(), (rto, rpo))
                .unwrap_or_else(|finding| finding)
                .judged_by(format!("recovery_time_seconds <= {} (objectives.rto {rto})", seconds(rto)))
                .judged_by(format!("data_lost_seconds <= {} (objectives.rpo {rpo})", seconds(rpo)))
                .judged_by(format!("age <= {} (plan)", rules.max_age));
            finding.measurements = record.measurements;
            Ok(finding)
        })
        .await)
    }

    fn assess(
        &self,
        search: &Search,
        record: &Record,
        wanted: Option<&str>,
        (rto, rpo): (Span, Span),
    ) -> Result<Finding, Finding> {
        search.current(record)?;
        let Some(backup) = record.attributes.get("backup") else {
            return Err(Finding::fail(
                "backup-not-named",
                "the rehearsal does not say which backup was restored",
            ));
        };
        // The attribute is a word; the subject pins the bytes of the backup's manifest.
        if !record.subjects.iter().any(|subject| subject.name == format!("backup/{backup}")) {
            let reason = format!("the rehearsal names backup {backup}, but does not pin its manifest");
            return Err(Finding::fail("backup-not-named", reason));
        }
        if let Some(wanted) = wanted.filter(|wanted| wanted != backup) {
            let reason = format!("the newest rehearsal restored backup {backup}, not {wanted}");
            return Err(Finding::fail("other-backup", reason));
        }
        search.checks(record, STEPS.into_iter().chain(self.require_checks.iter().map(String::as_str)))?;
        let measured = |name: &str| record.measurements.get(name).copied();
        let Some(recovery) = measured("recovery_time_seconds") else {
            return Err(Finding::fail("rto-not-measured", "the rehearsal did not measure its recovery time"));
        };
        // In this direction, NaN is outside every range.
        if !at_most(recovery, seconds(rto)) {
            let reason = format!("the recovery took {recovery} s, more than the RTO of {rto}");
            return Err(Finding::fail("rto", reason));
        }
        let Some(lost) = measured("data_lost_seconds") else {
            let reason = "the rehearsal did not measure how much time of changes was lost; \
                          recover to the end of the archive, on a cluster that has transactions";
            return Err(Finding::error(Fault::NoData, "rpo-not-measured", reason));
        };
        if !at_most(lost, seconds(rpo)) {
            return Err(Finding::fail(
                "rpo",
                format!("{lost} s of changes were lost, more than the RPO of {rpo}"),
            ));
        }
        if let Some(limit) = &self.max_data_lost_bytes {
            match measured("data_lost_bytes") {
                None => {
                    let reason = "the rehearsal did not measure how much WAL was missing";
                    return Err(Finding::error(Fault::NoData, "rpo-not-measured", reason));
                }
                Some(bytes) if !at_most(bytes, limit.get()) => {
                    let reason = format!("{bytes} bytes of WAL were missing, allowed at most {limit}");
                    return Err(Finding::fail("data-lost", reason));
                }
                Some(_) => {}
            }
        }
        let reason = format!(
            "backup {backup} was restored in {recovery} s on {}, {lost} s of changes lost",
            record.finished_at
        );
        Ok(Finding::pass(reason).output("backup", backup))
    }
}

/// Whether the record pins this cluster, and says so.
fn is_about(record: &Record, cluster: &str) -> bool {
    let name = format!("postgresql/{cluster}");
    record.attributes.get("system_identifier").is_some_and(|named| named == cluster)
        && record.subjects.iter().any(|subject| subject.name == name)
}

fn seconds(span: Span) -> f64 {
    span.get().as_secs_f64()
}

fn at_most(value: f64, limit: f64) -> bool {
    value <= limit
}
