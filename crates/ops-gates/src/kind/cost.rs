//! `kind = "cost"`: whether what is paid has grown by more than somebody must be told.

use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Text, Threshold};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A cost that must not have grown by more than a share.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// The cost of the last period, as a number: from a variable or from an earlier gate, such as `${gate:bill.total}`.
    pub current: Text,
    /// The cost of the period before, of the same length.
    pub previous: Text,
    /// The largest growth, in per cent, that needs no decision; 20 where it is absent.
    pub max_increase_percent: Option<Threshold>,
}

impl Gate for Cost {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let is_same = self.current.template() == self.previous.template();
        let message = "`current` and `previous` are the same, so that nothing is compared";
        if is_same { vec![Wrong::text(&self.current, message)] } else { Vec::new() }
    }

    fn summary(&self) -> String {
        format!("{} after {} in the period before", self.current, self.previous)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.judge(context).unwrap_or_else(|finding| finding) })
    }
}

impl Cost {
    fn judge(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let (current, previous) = (amount(context, &self.current)?, amount(context, &self.previous)?);
        if previous <= 0.0 || current < 0.0 {
            let reason = "a growth needs a cost before, and one that is not negative now";
            return Err(Finding::error(Fault::NoData, "no-cost", reason));
        }
        let growth = 100.0 * (current / previous - 1.0);
        let limit = self.max_increase_percent.clone().unwrap_or_else(|| 20.0.into());
        let known = format!("the cost went from {previous} to {current}, {growth:+.1} %");
        let finding = if growth > limit.get() {
            Finding::fail("increase", format!("{known}, more than {} %: somebody has to decide", limit.get()))
        } else {
            Finding::pass(known)
        };
        Ok(finding.measured("increase_percent", growth).judged_by(format!(
            "increase_percent <= {} ({})",
            limit.get(),
            limit.origin()
        )))
    }
}

fn amount(context: &Context<'_>, text: &Text) -> Result<f64, Finding> {
    let value = context.resolve(text)?;
    let amount = value.trim().parse::<f64>().ok().filter(|amount| amount.is_finite());
    amount.ok_or_else(|| Finding::error(Fault::Parse, "not-a-number", format!("{text} is not a number")))
}
