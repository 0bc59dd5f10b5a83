//! `kind = "drill-record"`: a fault drill was held, its fault was seen to bite, and the service recovered in time.

use super::records::{Search, finding_of};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text};
use futures_util::future::BoxFuture;
use ops_core::evidence::Record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of the record that a drill signs.
const KIND: &str = "chaos-drill";

/// What a drill must have shown: it was healthy before, the fault was seen, it was taken back, and all was well again
/// in time.
const STEPS: [&str; 5] = ["steady-state", "impact-seen", "rolled-back", "recovered", "within-rto"];

/// A signed record of a fault drill, judged by `objectives.rto` of the plan, which it needs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillRecord {
    /// The signed records, a file or a pattern; the newest of this drill decides.
    pub path: Text,
    /// The public key that must have signed.
    pub key: Text,
    /// The name of the drill, such as `kafka-outage`.
    pub drill: Text,
    /// How long ago the drill may have ended, such as `7d` for every week.
    pub max_age: Span,
}

impl Gate for DrillRecord {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let message = "a drill is judged by `objectives.rto`, which the plan does not state";
        facts.objectives.rto.is_none().then(|| Wrong::gate(message)).into_iter().collect()
    }

    fn summary(&self) -> String {
        format!("drill {} was held, at most {} ago", self.drill, self.max_age)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.find(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl DrillRecord {
    async fn find(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let search = Search::new(context, &self.path, &self.key, KIND, self.max_age)?;
        let drill = context.resolve(&self.drill)?;
        let rto = context.objectives().rto;
        let rto =
            rto.ok_or_else(|| Finding::error(Fault::Unresolved, "objective", "the plan states no RTO"))?;
        Ok(finding_of(move || {
            let is_it = |record: &Record| record.attributes.get("drill") == Some(&drill);
            let record = search.newest(&format!("drill {drill}"), is_it)?;
            let mut finding = assess(&search, &record, rto).unwrap_or_else(|finding| finding).judged_by(
                format!("recovery_time_seconds <= {} (objectives.rto {rto})", rto.get().as_secs_f64()),
            );
            finding.measurements = record.measurements;
            Ok(finding)
        })
        .await)
    }
}

fn assess(search: &Search, record: &Record, rto: Span) -> Result<Finding, Finding> {
    search.current(record)?;
    search.checks(record, STEPS)?;
    let Some(recovery) = record.measurements.get("recovery_time_seconds").copied() else {
        return Err(Finding::fail("rto-not-measured", "the drill did not measure its recovery time"));
    };
    // In this direction, NaN is outside every range.
    if recovery <= rto.get().as_secs_f64() {
        return Ok(Finding::pass(format!(
            "recovered in {recovery} s in the drill of {}",
            record.finished_at
        )));
    }
    Err(Finding::fail("rto", format!("the recovery took {recovery} s, more than the RTO of {rto}")))
}
