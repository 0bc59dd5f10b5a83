//! `kind = "promql"`: asks Prometheus, and judges by what it answers.
//!
//! An empty answer looks like a good one, and Prometheus has many ways to be empty: a misspelt metric, a target that is
//! gone, a comparison that is false. So the query is read before it is sent ([`lint`]); the time of evaluation is fixed for
//! all queries of the check; an answer that is empty, NaN or infinite, or that came with warnings, is an error; so is one
//! with another number of series than expected, or from samples that are too old; and with too little traffic behind it,
//! the gate is inconclusive.

pub(super) mod api;
mod lint;

use super::web;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text, Threshold};
use api::{Series, Server};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use lint::Lint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A PromQL query whose answer must lie within limits.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Promql {
    /// The address of Prometheus, or of another server with its API.
    pub url: Text,
    /// The query; it must give numbers, not yes or no.
    pub query: Text,
    /// The largest value that passes, of every series.
    pub max: Option<Threshold>,
    /// The smallest value that passes, of every series.
    pub min: Option<Threshold>,
    /// How many series the answer must have, exactly. One, where neither this nor `min_series` is given.
    pub series: Option<u64>,
    /// The fewest series that the answer must have.
    pub min_series: Option<u64>,
    /// The oldest that the last sample of every series may be that the query reads.
    #[serde(default = "five_minutes")]
    pub max_age: Span,
    /// A query for how much traffic there is behind the answer, such as `sum(increase(http_requests_total[10m]))`.
    pub traffic: Option<Text>,
    /// The least traffic with which the answer says anything.
    pub min_traffic: Option<Threshold>,
    /// `error`, or `pass` where an empty answer is the good one, as of a query for errors that nobody has counted yet. Then
    /// `because` says why, and the age of samples is not looked at.
    #[serde(default)]
    pub on_empty: OnEmpty,
    /// Why an empty answer passes.
    pub because: Option<String>,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

/// What an empty answer means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnEmpty {
    /// That nobody knows.
    #[default]
    Error,
    /// That all is well, for a stated reason.
    Pass,
}

fn five_minutes() -> Span {
    Span::from_secs(300)
}

impl Gate for Promql {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = web::wrong_url(&self.url).into_iter().collect();
        for query in std::iter::once(&self.query).chain(&self.traffic) {
            wrong.extend(wrong_query(query));
        }
        if self.max.is_none() && self.min.is_none() {
            wrong.push(Wrong::gate("without `max` or `min` every answer would pass"));
        }
        if self.series.is_some() && self.min_series.is_some() {
            wrong.push(Wrong::gate("`series` and `min_series` exclude each other"));
        }
        if self.series == Some(0) || self.min_series == Some(0) {
            wrong.push(Wrong::gate("an answer without series proves nothing; see `on_empty`"));
        }
        if self.traffic.is_some() != self.min_traffic.is_some() {
            wrong.push(Wrong::gate("`traffic` and `min_traffic` belong together"));
        }
        let reason = self.because.as_deref().is_some_and(|because| !because.trim().is_empty());
        match (self.on_empty, reason) {
            (OnEmpty::Pass, false) => {
                wrong.push(Wrong::gate("`on_empty = \"pass\"` needs `because`: why is no data good?"))
            }
            (OnEmpty::Error, true) => {
                wrong.push(Wrong::gate("`because` is the reason of `on_empty = \"pass\"`"))
            }
            _ => {}
        }
        wrong
    }

    fn summary(&self) -> String {
        let max = self.max.as_ref().map(|max| format!(" <= {max}"));
        let min = self.min.as_ref().map(|min| format!(" >= {min}"));
        format!("{}{}{}", self.query, max.unwrap_or_default(), min.unwrap_or_default())
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.ask(context).await.unwrap_or_else(|finding| finding) })
    }
}

/// What is wrong with a query, as far as it can be seen without the server. One with variables is seen when they are known.
pub(super) fn wrong_query(query: &Text) -> Vec<Wrong> {
    if query.references().is_ok_and(|references| !references.is_empty()) {
        return Vec::new();
    }
    lint::read(query.template()).problems.into_iter().map(|problem| Wrong::text(query, problem)).collect()
}

/// A query with its variables, and what was read of it.
pub(super) fn resolved(context: &Context<'_>, query: &Text) -> Result<(String, Lint), Finding> {
    let text = context.resolve(query)?;
    let lint = lint::read(&text);
    match lint.problems.first() {
        Some(problem) => Err(Finding::error(Fault::Unresolved, "query", format!("{query}: {problem}"))),
        None => Ok((text, lint)),
    }
}

/// Whether all that a query reads was being written at a time.
pub(super) async fn fresh(
    server: &Server<'_>,
    lint: &Lint,
    max_age: Span,
    time: Timestamp,
) -> Result<(), Finding> {
    for selector in &lint.selectors {
        let ages = server.query_at(&format!("max(time() - timestamp({selector}))"), time).await?;
        let Some(age) = ages.first().map(|series| series.value) else {
            let reason = format!("there is no current sample of `{selector}`");
            return Err(Finding::error(Fault::NoData, "no-sample", reason));
        };
        if age.is_nan() || age > max_age.get().as_secs_f64() {
            let reason = format!("a sample of `{selector}` is {age:.0} s old, at most {max_age} is accepted");
            return Err(Finding::error(Fault::NoData, "stale", reason).measured("age_seconds", age));
        }
    }
    Ok(())
}

impl Promql {
    async fn ask(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let (query, lint) = resolved(context, &self.query)?;
        let server = Server::new(context, &self.url, &self.headers, self.ca_file.as_ref())?;
        if let (Some(traffic), Some(least)) = (&self.traffic, &self.min_traffic) {
            let (text, _) = resolved(context, traffic)?;
            let seen: f64 = server.query(&text).await?.iter().map(|series| series.value).sum();
            if seen.is_nan() || seen < least.get() {
                let reason =
                    format!("a traffic of {seen} is too little to judge by, {} is needed", least.get());
                let rule = format!("traffic >= {} ({})", least.get(), least.origin());
                return Ok(Finding::inconclusive("traffic", reason)
                    .measured("traffic", seen)
                    .judged_by(rule));
            }
        }
        let answer = server.query(&query).await?;
        context.log(&format!("{query}\nat {}: {answer:?}", server.time()));
        if answer.is_empty() && self.on_empty == OnEmpty::Pass {
            let because = self.because.as_deref().unwrap_or_default();
            return Ok(Finding::pass(format!("the answer is empty, which is good because {because}"))
                .measured("series", 0.0));
        }
        fresh(&server, &lint, self.max_age, server.time()).await?;
        Ok(self.judge(&answer))
    }

    fn judge(&self, answer: &[Series]) -> Finding {
        let count = answer.len() as u64;
        if answer.is_empty() {
            return Finding::error(Fault::NoData, "empty", "the answer is empty");
        }
        let exactly = self.series.or(if self.min_series.is_none() { Some(1) } else { None });
        let is_expected = exactly.is_none_or(|series| series == count)
            && self.min_series.is_none_or(|least| count >= least);
        if !is_expected {
            let expected = exactly.map_or_else(
                || format!("at least {}", self.min_series.unwrap_or(1)),
                |series| series.to_string(),
            );
            return Finding::error(
                Fault::NoData,
                "series",
                format!("the answer has {count} series, expected {expected}"),
            );
        }
        if let Some(series) = answer.iter().find(|series| !series.value.is_finite()) {
            return Finding::error(
                Fault::NoData,
                "not-a-number",
                format!("{} is {}", series.shown(), series.value),
            );
        }
        let largest =
            answer.iter().max_by(|a, b| a.value.total_cmp(&b.value)).expect("the answer is not empty");
        let smallest =
            answer.iter().min_by(|a, b| a.value.total_cmp(&b.value)).expect("the answer is not empty");
        let mut finding = if let Some(max) = self.max.as_ref().filter(|max| largest.value > max.get()) {
            Finding::fail("above", format!("{} is {}, above {}", largest.shown(), largest.value, max.get()))
        } else if let Some(min) = self.min.as_ref().filter(|min| smallest.value < min.get()) {
            Finding::fail("below", format!("{} is {}, below {}", smallest.shown(), smallest.value, min.get()))
        } else if smallest.value.total_cmp(&largest.value).is_eq() {
            Finding::pass(format!("the answer is {}", smallest.value))
        } else {
            Finding::pass(format!("{count} series are between {} and {}", smallest.value, largest.value))
        };
        for (sign, threshold) in [("<=", &self.max), (">=", &self.min)] {
            if let Some(threshold) = threshold {
                finding =
                    finding.judged_by(format!("value {sign} {} ({})", threshold.get(), threshold.origin()));
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a number of series is far below 2^53")]
        let count = count as f64;
        finding
            .measured("largest", largest.value)
            .measured("smallest", smallest.value)
            .measured("series", count)
    }
}
