//! `kind = "slo"`: whether the error budget of a service has room for a release.
//!
//! The objective is that of the plan's `[objectives]`; without one there is no gate. Over the window, the budget is the
//! share of events that may be bad; a release waits while it is spent, which is the policy of Google's workbook (*Example
//! Error Budget Policy*, a window of four weeks), and while it burns so fast that somebody should be awake: the two pairs
//! of windows of the chapter *Alerting on SLOs*, 14.4 times over one hour and five minutes, 6 times over six hours and
//! thirty minutes. Both windows of a pair must burn: the long one says that it matters, the short one that it goes on.

use super::promql::api::Server;
use super::promql::{resolved, wrong_query};
use super::web;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding, Outcome};
use crate::value::{Span, Text, Threshold};
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// An error budget that is not spent, and does not burn, judged by counts of good and of all events in Prometheus.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// The address of Prometheus.
    pub url: Text,
    /// The number of good events within `{{.window}}`, such as
    /// `sum(increase(http_requests_total{code!~"5.."}[{{.window}}]))`.
    pub good: Text,
    /// The number of all events within `{{.window}}`.
    pub total: Text,
    /// The window of the budget.
    #[serde(default = "four_weeks")]
    pub window: Span,
    /// The share of the budget, in per cent, that may be spent.
    pub max_spent_percent: Option<Threshold>,
    /// The fewest events in the window with which the budget says anything.
    #[serde(default = "one")]
    pub min_events: f64,
    /// Whether the fast windows are looked at too.
    #[serde(default = "yes")]
    pub burn: bool,
    /// Accepts a window of which there are no data at the beginning.
    #[serde(default)]
    pub young: bool,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

fn four_weeks() -> Span {
    Span::from_secs(28 * 86_400)
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

const WINDOW: &str = "{{.window}}";

/// The long window, the short one, and how many times as fast as allowed the budget may burn in both.
const BURN: [(&str, &str, f64); 2] = [("1h", "5m", 14.4), ("6h", "30m", 6.0)];

impl Gate for Slo {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = web::wrong_url(&self.url).into_iter().collect();
        match facts.objectives.slo {
            None => {
                wrong.push(Wrong::gate("an error budget needs `slo` in `[objectives]`, such as `slo = 99.5`"))
            }
            Some(slo) if !(slo > 0.0 && slo < 100.0) => {
                wrong.push(Wrong::gate(
                    "with an objective of 100 % there is no budget, and below 0 no objective",
                ));
            }
            Some(_) => {}
        }
        for query in [&self.good, &self.total] {
            if query.template().contains(WINDOW) {
                let shown = Text::from(query.template().replace(WINDOW, "5m").as_str());
                wrong.extend(wrong_query(&shown).into_iter().map(|it| Wrong::text(query, it.message)));
            } else {
                wrong.push(Wrong::text(
                    query,
                    "the query does not say where the window goes; write `[{{.window}}]`",
                ));
            }
        }
        if self.min_events.is_nan() || self.min_events < 1.0 {
            wrong.push(Wrong::gate("`min_events` is at least 1: without events there is no budget to judge"));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("error budget of {} over {}", self.total, self.window)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.ask(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Slo {
    async fn ask(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let slo = context.objectives().slo.ok_or_else(|| {
            Finding::error(Fault::Unresolved, "no-objective", "the plan has no `slo` in `[objectives]`")
        })?;
        let allowed = 1.0 - slo / 100.0;
        let server = Server::new(context, &self.url, &self.headers, self.ca_file.as_ref())?;
        let window = prometheus_duration(self.window);
        let total = self.count(context, &server, &self.total, &window).await?;
        if total < self.min_events {
            let reason = format!(
                "{total:.0} events in {} are too few to judge by, {} are needed",
                self.window, self.min_events
            );
            return Err(
                Finding::error(Fault::InsufficientSamples, "few-events", reason).measured("events", total)
            );
        }
        let errors = self.errors(context, &server, &window).await?;
        if !self.young {
            self.covered(context, &server).await?;
        }
        let spent = 100.0 * errors / allowed;
        let max_spent = self.max_spent_percent.clone().unwrap_or_else(|| 100.0.into());
        let mut finding = Finding::pass(format!(
            "{:.3} % of {total:.0} events in {} were good, and {spent:.1} % of the error budget is spent",
            100.0 * (1.0 - errors),
            self.window
        ));
        if spent >= max_spent.get() {
            finding = Finding::fail(
                "budget-spent",
                format!("{}: at most {} %, at an objective of {slo} %", finding.reason, max_spent.get()),
            );
        } else if self.burn {
            finding = self.burning(context, &server, allowed, finding).await?;
        }
        Ok(finding
            .measured("events", total)
            .measured("good_percent", 100.0 * (1.0 - errors))
            .measured("budget_spent_percent", spent)
            .judged_by(format!("slo {slo} % over {} (plan)", self.window))
            .judged_by(format!("budget_spent_percent < {} ({})", max_spent.get(), max_spent.origin())))
    }

    async fn burning(
        &self,
        context: &Context<'_>,
        server: &Server<'_>,
        allowed: f64,
        finding: Finding,
    ) -> Result<Finding, Finding> {
        let mut finding = finding;
        for (long, short, limit) in BURN {
            let slow = self.errors(context, server, long).await? / allowed;
            let fast = self.errors(context, server, short).await? / allowed;
            if slow > limit && fast > limit {
                let reason = format!(
                    "the error budget burns {slow:.1} times as fast as allowed over {long}, and {fast:.1} times over {short}"
                );
                finding = Finding { outcome: Outcome::Fail, code: "budget-burns", reason, ..finding };
            }
            finding = finding.measured(format!("burn_{long}"), slow).measured(format!("burn_{short}"), fast);
            finding = finding.judged_by(format!("burn_{long} <= {limit} or burn_{short} <= {limit}"));
        }
        Ok(finding)
    }

    /// The share of bad events; none where nothing happened, as in a short window at night.
    async fn errors(&self, context: &Context<'_>, server: &Server<'_>, window: &str) -> Result<f64, Finding> {
        let total = self.count(context, server, &self.total, window).await?;
        if total <= 0.0 {
            return Ok(0.0);
        }
        let good = self.count(context, server, &self.good, window).await?;
        let share = 1.0 - good / total;
        // Prometheus extrapolates each count by itself; more than that is no rounding, but a wrong pair of queries.
        if share < -0.01 {
            let reason =
                format!("{good} good events among {total} in {window}; `good` counts what `total` does not");
            return Err(Finding::error(Fault::Parse, "more-good-than-all", reason));
        }
        Ok(share.max(0.0))
    }

    async fn count(
        &self,
        context: &Context<'_>,
        server: &Server<'_>,
        query: &Text,
        window: &str,
    ) -> Result<f64, Finding> {
        let text = self.query(context, query, window)?;
        let answer = server.query(&text).await?;
        context.log(&format!("{text}\nat {}: {answer:?}", server.time()));
        match answer.as_slice() {
            [] => Err(Finding::error(
                Fault::NoData,
                "empty",
                format!("the answer is empty: {query} over {window}"),
            )),
            [series] if series.value.is_finite() && series.value >= 0.0 => Ok(series.value),
            [series] => Err(Finding::error(
                Fault::NoData,
                "not-a-number",
                format!("{query} over {window} is {}", series.value),
            )),
            several => Err(Finding::error(
                Fault::Parse,
                "series",
                format!("{query} gives {} series, expected one; use `sum(…)`", several.len()),
            )),
        }
    }

    fn query(&self, context: &Context<'_>, query: &Text, window: &str) -> Result<String, Finding> {
        // Checked with the window in its place; the lint does not know the placeholder.
        let text = context.resolve(query)?.replace(WINDOW, window);
        let checked = Text::from(text.as_str());
        if wrong_query(&checked).is_empty() {
            Ok(text)
        } else {
            resolved(context, &checked).map(|(text, _)| text)
        }
    }

    /// Whether there are data from the beginning of the window on: a new server would show a budget that is whole.
    async fn covered(&self, context: &Context<'_>, server: &Server<'_>) -> Result<(), Finding> {
        let part = self.window.get() / 20;
        let start = SignedDuration::try_from(self.window.get() - part).unwrap_or_default();
        let time = server.time().checked_sub(start).unwrap_or(server.time());
        let text = self.query(context, &self.total, &prometheus_duration(Span::of(part)))?;
        if server.query_at(&text, time).await?.is_empty() {
            let reason = format!(
                "there are no data from the beginning of the {} on; `young = true` accepts that",
                self.window
            );
            return Err(Finding::inconclusive("window-not-covered", reason));
        }
        Ok(())
    }
}

/// A duration as PromQL writes it, in one unit.
fn prometheus_duration(span: Span) -> String {
    let mut text = String::new();
    let _ = write!(text, "{}ms", span.get().as_millis().max(1));
    text
}
