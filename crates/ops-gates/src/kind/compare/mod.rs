//! `kind = "compare"`: after a deployment, metrics against the last good window.
//!
//! Each metric is one series of Prometheus, read at every step of both windows, and judged by how far its median moved
//! ([`crate::stat::shift`]). A pass is shown: the worsening is below the margin, with its error. So is a fail, which leaves a
//! proposal to roll back ([`proposal`]); it is written and never executed. All else is inconclusive or an error. The windows lie one
//! after the other, so that whatever else changed between them (the hour, the load, a neighbour) is in the numbers too.

mod proposal;
mod windows;

pub use proposal::Proposal;
pub use windows::{AfterWindow, GoodWindow};

use super::benchmark::Better;
use super::promql::api::Server;
use super::promql::{fresh, resolved, wrong_query};
use super::web;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::stat::shift::{Bounding, FEWEST, Shift, bound, share};
use crate::value::{Span, Text, Threshold};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use windows::Windows;

/// Metrics that must not be worse after a deployment than in the last good window.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// The address of Prometheus, or of another server with its API.
    pub url: Text,
    /// What is compared, by name.
    pub metrics: BTreeMap<String, Metric>,
    /// When the deployment was (RFC 3339). Needed where a window is told by its length.
    pub deployed_at: Option<Text>,
    /// The last good window.
    pub good: GoodWindow,
    /// The window after the deployment.
    #[serde(default)]
    pub after: AfterWindow,
    /// The time between two values of a window.
    #[serde(default = "minute")]
    pub step: Span,
    /// The fewest values of either window.
    #[serde(default = "thirty")]
    pub min_samples: u64,
    /// The oldest that a sample may be at the end of a window.
    #[serde(default = "five_minutes")]
    pub max_age: Span,
    /// How often a verdict may be wrong when the true worsening equals the margin, in per cent; false alarms of all metrics
    /// together.
    #[serde(default = "five")]
    pub error_percent: f64,
    /// Where chance begins, so that a verdict can be computed again.
    #[serde(default)]
    pub seed: u64,
    /// What to propose where something got worse.
    pub rollback: Proposal,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

/// One metric, with one of `max_worse_percent` and `max_worse`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// A query that gives one series.
    pub query: Text,
    /// Whether less is better, as of times, or more, as of requests a second.
    #[serde(default)]
    pub better: Better,
    /// The worsening of the median that is tolerated, in per cent of the good one.
    pub max_worse_percent: Option<Threshold>,
    /// The worsening of the median that is tolerated, in the unit of the query; for what is often zero, as a rate of errors.
    pub max_worse: Option<Threshold>,
}

fn minute() -> Span {
    Span::from_secs(60)
}

fn thirty() -> u64 {
    30
}

fn five_minutes() -> Span {
    Span::from_secs(300)
}

fn five() -> f64 {
    5.0
}

/// The share of the values that a window should have, of which so many must be there.
const COVERED: f64 = 0.8;
/// How many samples are drawn for a bound.
const TIMES: u32 = 4000;

/// What one metric showed.
struct Judged<'a> {
    name: &'a str,
    metric: &'a Metric,
    shift: Shift,
    samples: (usize, usize),
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    NotWorse,
    Worse,
    Undecided,
}

impl Gate for Compare {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = web::wrong_url(&self.url).into_iter().collect();
        if self.metrics.is_empty() {
            wrong.push(Wrong::gate(
                "without metrics there is nothing to compare; write `[gate.metrics.name]`",
            ));
        }
        for (name, metric) in &self.metrics {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(is_name) {
                wrong.push(Wrong::gate(format!(
                    "`{name}` is no name of a metric; use letters, digits and `_`"
                )));
            }
            wrong.extend(wrong_query(&metric.query));
            if metric.max_worse_percent.is_some() == metric.max_worse.is_some() {
                wrong.push(Wrong::text(
                    &metric.query,
                    format!("`{name}` needs exactly one of `max_worse_percent` and `max_worse`"),
                ));
            }
        }
        wrong.extend(windows::wrong(&self.good, &self.after, self.deployed_at.as_ref()));
        if self.min_samples < FEWEST {
            wrong.push(Wrong::gate(format!("`min_samples` is at least {FEWEST}: fewer show nothing")));
        }
        if !(self.error_percent > 0.0 && self.error_percent < 50.0) {
            wrong.push(Wrong::gate("`error_percent` lies between 0 and 50"));
        }
        wrong.extend(self.rollback.wrong(facts));
        wrong
    }

    fn summary(&self) -> String {
        let names: Vec<&str> = self.metrics.keys().map(String::as_str).collect();
        format!("{} after the deployment, against the last good window", names.join(", "))
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.compare(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Compare {
    async fn compare(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let windows = Windows::of(self, context)?;
        let server = Server::new(context, &self.url, &self.headers, self.ca_file.as_ref())?;
        context.log(&format!("good {windows}"));
        let (mut judged, mut unjudged) = (Vec::new(), None);
        for (name, metric) in &self.metrics {
            match self.judge(context, &server, &windows, name, metric).await {
                Ok(one) => judged.push(one),
                Err(mut finding) => {
                    finding.reason = format!("{name}: {}", finding.reason);
                    unjudged.get_or_insert(finding);
                }
            }
        }
        let worse: Vec<&Judged<'_>> = judged.iter().filter(|it| it.standing == Standing::Worse).collect();
        let undecided: Vec<&Judged<'_>> =
            judged.iter().filter(|it| it.standing == Standing::Undecided).collect();
        let said = |list: &[&Judged<'_>]| list.iter().map(|it| it.said()).collect::<Vec<_>>().join("; ");
        // What is shown to be worse is said also where another metric has no data: both may be the deployment's doing.
        let mut finding = if !worse.is_empty() {
            let mut finding =
                Finding::fail("worse", format!("worse than in the good window: {}", said(&worse)));
            let text = self.rollback.text(context, &windows, &judged, self.error_percent)?;
            match self.rollback.write(context, &text) {
                Ok(path) => {
                    finding.reason.push_str(&format!("; a rollback is proposed in {}", path.display()));
                    finding = finding.output("proposal", path.display().to_string());
                }
                Err(reason) => finding.reason.push_str(&format!("; {reason}")),
            }
            finding
        } else if let Some(finding) = unjudged {
            finding
        } else if undecided.is_empty() {
            let all: Vec<&Judged<'_>> = judged.iter().collect();
            Finding::pass(format!("not worse than in the good window: {}", said(&all)))
        } else {
            Finding::inconclusive("undecided", format!("neither is shown: {}", said(&undecided)))
        };
        for one in &judged {
            finding = one.note(finding, self.error_percent);
        }
        Ok(finding)
    }

    async fn judge<'a>(
        &self,
        context: &Context<'_>,
        server: &Server<'_>,
        windows: &Windows,
        name: &'a str,
        metric: &'a Metric,
    ) -> Result<Judged<'a>, Finding> {
        let (query, lint) = resolved(context, &metric.query)?;
        let mut values = Vec::new();
        for (which, window) in [("good", windows.good), ("after", windows.after)] {
            let found = server.range(&query, window, self.step.get()).await?;
            context.log(&format!("{name}, {which}: {query}: {} values", found.len()));
            if found.is_empty() {
                let reason = format!("the {which} window is empty");
                return Err(Finding::error(Fault::NoData, "empty", reason));
            }
            if let Some((time, value)) = found.iter().find(|(_, value)| !value.is_finite()) {
                let reason = format!("the {which} window has {value} at {time}");
                return Err(Finding::error(Fault::NoData, "not-a-number", reason));
            }
            fresh(server, &lint, self.max_age, window.1).await.map_err(|mut finding| {
                finding.reason = format!("at the end of the {which} window, {}", finding.reason);
                finding
            })?;
            self.enough(which, found.len(), window)?;
            values.push(found.into_iter().map(|(_, value)| value).collect::<Vec<f64>>());
        }
        let bounding = Bounding {
            lower_tail: share(self.error_percent, self.metrics.len()),
            upper_tail: share(self.error_percent, 1),
            times: TIMES,
            seed: self.seed,
        };
        let shift = bound(&values[0], &values[1], |good, after| metric.worsening(good, after), bounding);
        let shift = shift.ok_or_else(|| {
            let reason =
                "the good median is zero, or may be, so that there is no percentage of it; use `max_worse`";
            Finding::inconclusive("no-ratio", reason)
        })?;
        let standing = metric.standing(&shift);
        Ok(Judged { name, metric, shift, samples: (values[0].len(), values[1].len()), standing })
    }

    /// Whether a window has enough values, and no gaps that would say more than the values do.
    fn enough(&self, which: &str, found: usize, window: windows::Window) -> Result<(), Finding> {
        let found = found as u64;
        if found < self.min_samples {
            let reason = format!("the {which} window has {found} values, {} are needed", self.min_samples);
            return Err(Finding::inconclusive("few-samples", reason));
        }
        let length = (window.1 - window.0).total(jiff::Unit::Second).unwrap_or_default();
        let expected = (length / self.step.get().as_secs_f64()).floor() + 1.0;
        if crate::stat::binomial::float(found) < COVERED * expected {
            let reason =
                format!("the {which} window has {found} values of {expected:.0}; the rest is missing");
            return Err(Finding::inconclusive("window-not-covered", reason));
        }
        Ok(())
    }
}

impl Metric {
    /// By how much a median is worse than the good one: a share of it, or in its unit.
    fn worsening(&self, good: f64, after: f64) -> f64 {
        let worse = match self.better {
            Better::Less => after - good,
            Better::More => good - after,
        };
        match self.max_worse_percent {
            // The share of a negative value would change its sign.
            Some(_) if good > 0.0 => 100.0 * worse / good,
            Some(_) => f64::NAN,
            None => worse,
        }
    }

    fn margin(&self) -> &Threshold {
        let margin = self.max_worse_percent.as_ref().or(self.max_worse.as_ref());
        margin.expect("a plan with neither of both was refused")
    }

    fn unit(&self) -> &'static str {
        if self.max_worse_percent.is_some() { " %" } else { "" }
    }

    fn standing(&self, shift: &Shift) -> Standing {
        let margin = self.margin().get();
        if shift.bounds.1 < margin {
            Standing::NotWorse
        } else if shift.bounds.0 > margin {
            Standing::Worse
        } else {
            Standing::Undecided
        }
    }
}

impl Judged<'_> {
    fn said(&self) -> String {
        let (shift, unit) = (&self.shift, self.metric.unit());
        let margin = self.metric.margin().get();
        format!(
            "{} {:.1}{unit} worse ({:.1} to {:.1}, tolerated {margin}{unit})",
            self.name, shift.shift, shift.bounds.0, shift.bounds.1
        )
    }

    fn note(&self, finding: Finding, error_percent: f64) -> Finding {
        let (name, shift) = (self.name, &self.shift);
        let key = if self.metric.max_worse_percent.is_some() { "worse_percent" } else { "worse" };
        let margin = self.metric.margin();
        let better = match self.metric.better {
            Better::Less => "less",
            Better::More => "more",
        };
        let count = |count: usize| crate::stat::binomial::float(count as u64);
        finding
            .measured(format!("{name}_good_median"), shift.medians.0)
            .measured(format!("{name}_after_median"), shift.medians.1)
            .measured(format!("{name}_{key}"), shift.shift)
            .measured(format!("{name}_{key}_least"), shift.bounds.0)
            .measured(format!("{name}_{key}_most"), shift.bounds.1)
            .measured(format!("{name}_good_samples"), count(self.samples.0))
            .measured(format!("{name}_after_samples"), count(self.samples.1))
            .judged_by(format!(
                "{name}_{key} < {} ({}), {better} is better, nominal error {error_percent} %",
                margin.get(),
                margin.origin()
            ))
    }
}
