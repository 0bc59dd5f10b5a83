//! `kind = "rollback-plan"`: there is a plan to go back, somebody has tried it, and it was quick enough.

use super::documents::{complete, document};
use super::words;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text};
use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A document with the lines `Tested: 2026-11-01` and `Took: 3m20s`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackPlan {
    /// The document.
    pub path: Text,
    /// How long ago the plan may have been tried, by the day after `Tested:` in it.
    pub max_tested_age: Span,
    /// How long the rollback may have taken, by what stands after `Took:` in it.
    pub max_rollback: Span,
    /// Headings that the document must have, with something under them.
    #[serde(default = "headings")]
    pub headings: Vec<String>,
}

fn headings() -> Vec<String> {
    ["When", "Steps", "Verification"].map(str::to_owned).into()
}

impl Gate for RollbackPlan {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        Vec::new()
    }

    fn summary(&self) -> String {
        format!(
            "{} was tried within {}, and took at most {}",
            self.path, self.max_tested_age, self.max_rollback
        )
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl RollbackPlan {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let text = document(context, &self.path).await?;
        complete(&self.path.to_string(), &text, &self.headings)?;
        let Some(tested) = words::day(&text, "Tested") else {
            let reason = format!("{} has no line such as `Tested: 2026-11-01`", self.path);
            return Err(Finding::fail("never-tested", reason));
        };
        let moment = tested.to_zoned(TimeZone::UTC).map_err(|error| {
            Finding::error(Fault::Parse, "tested", format!("the day of the test is not one: {error}"))
        })?;
        let age = context.now().duration_since(moment.timestamp());
        // The day may have begun earlier elsewhere.
        if age.as_hours() < -14 {
            return Err(Finding::fail(
                "tested-in-the-future",
                format!("{} was tried on {tested}, which is to come", self.path),
            ));
        }
        if !age.is_negative() && age.unsigned_abs() > self.max_tested_age.get() {
            let reason =
                format!("{} was tried on {tested}, longer ago than {}", self.path, self.max_tested_age);
            return Err(Finding::fail("tested-too-long-ago", reason));
        }
        let took: Option<Span> = words::field(&text, "Took").and_then(|text| text.parse().ok());
        let Some(took) = took else {
            let reason = format!("{} has no line such as `Took: 3m20s`", self.path);
            return Err(Finding::fail("time-unknown", reason));
        };
        let finding = if took > self.max_rollback {
            Finding::fail(
                "too-slow",
                format!("the rollback took {took}, allowed at most {}", self.max_rollback),
            )
        } else {
            Finding::pass(format!("tried on {tested}, and took {took}"))
        };
        let rule = format!("rollback_seconds <= {} (plan)", self.max_rollback.get().as_secs_f64());
        Ok(finding.measured("rollback_seconds", took.get().as_secs_f64()).judged_by(rule))
    }
}
