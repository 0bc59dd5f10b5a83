//! `kind = "loki"`: asks whether Loki is ready, whether lines come back that were pushed, and whether others arrive.

use super::web::{Web, wrong_url};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A Loki that must give back what it was given.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Loki {
    /// The address, such as `http://loki.internal:3100`.
    pub url: Text,
    /// Whether to push one line, with the run's trace id and the label `job="ops-gates"`, and to wait until a query finds
    /// it. Loki cannot take it back: it stays for as long as the retention says.
    #[serde(default)]
    pub round_trip: bool,
    /// A LogQL query that must find lines which others have pushed.
    pub query: Option<Text>,
    /// How old the lines of the query may be.
    pub max_age: Option<Span>,
    /// How many lines the query must find; one by default.
    pub min_lines: Option<u32>,
    /// Headers to send, such as `X-Scope-OrgID`.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// Loki gives no more lines than this without another setting of its own.
const MOST_LINES: u32 = 5000;

impl Gate for Loki {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = wrong_url(&self.url).into_iter().collect();
        if !self.round_trip && self.query.is_none() {
            wrong.push(Wrong::gate(
                "a Loki that is ready may store nothing; give `round_trip = true` or `query`",
            ));
        }
        match (&self.query, self.max_age, self.min_lines) {
            (Some(_), None, _) => wrong.push(Wrong::gate("`query` needs `max_age`: old lines prove nothing")),
            (None, Some(_), _) | (None, _, Some(_)) => {
                wrong.push(Wrong::gate("`max_age` and `min_lines` need a `query`"));
            }
            (_, _, Some(0)) => wrong.push(Wrong::gate("`min_lines = 0` is true of every answer")),
            (_, _, Some(MOST_LINES..)) => wrong.push(Wrong::gate("`min_lines` must be less than 5000")),
            _ => {}
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("Loki at {}", self.url)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Loki {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let web = Web::new(context, &self.url, &self.headers, self.ca_file.as_ref())?;
        web.ready("/ready").await?;
        let mut finding = Finding::pass(format!("{} is ready", self.url));
        if self.round_trip {
            let seconds = self.push_and_find(context, &web).await?;
            finding.reason.push_str(", and a line came back");
            finding = finding.measured("round_trip_seconds", seconds);
        }
        if let (Some(query), Some(age)) = (&self.query, self.max_age) {
            let start = nanoseconds(Timestamp::now()) - i128::try_from(age.get().as_nanos()).unwrap_or(0);
            let found = lines(&web, &context.resolve(query)?, start).await?.len();
            let least = self.min_lines.unwrap_or(1);
            #[expect(clippy::cast_precision_loss, reason = "5000 lines at most")]
            let count = found as f64;
            if count < f64::from(least) {
                let reason =
                    format!("{query} found {count} lines of the last {age}, expected at least {least}");
                return Err(Finding::fail("lines", reason).measured("lines", count));
            }
            finding.reason.push_str(&format!(", and {query} found {count} lines of the last {age}"));
            finding = finding.measured("lines", count);
        }
        Ok(finding)
    }

    /// Returns how long it took until the line was found.
    async fn push_and_find(&self, context: &Context<'_>, web: &Web<'_>) -> Result<f64, Finding> {
        let token = format!("{:032x}", rand::random::<u128>());
        let trace = context.trace_id().unwrap_or("none");
        let now = nanoseconds(Timestamp::now());
        let line = json!({ "message": "ops-gates canary", "canary": token, "trace_id": trace }).to_string();
        let stream = json!({ "stream": { "job": "ops-gates" }, "values": [[now.to_string(), line]] });
        let started = Instant::now();
        let pushed = web.post("/loki/api/v1/push", &json!({ "streams": [stream] })).await?;
        pushed.succeeded(&web.what("/loki/api/v1/push"))?;
        let query = format!("{{job=\"ops-gates\"}} |= \"{token}\"");
        // Not to the end of the gate, so that the reason can still be told.
        while started.elapsed() < context.timeout() * 3 / 4 {
            let found = lines(web, &query, now - 60_000_000_000).await?;
            if found.iter().any(|found| found.contains(&token) && found.contains(trace)) {
                return Ok(started.elapsed().as_secs_f64());
            }
            tokio::time::sleep(PAUSE).await;
        }
        let reason = format!("{} took a line, and no query found it", self.url);
        Err(Finding::fail("round-trip", reason))
    }
}

fn nanoseconds(time: Timestamp) -> i128 {
    time.as_nanosecond()
}

/// The lines that a query finds from a moment on.
async fn lines(web: &Web<'_>, query: &str, start: i128) -> Result<Vec<String>, Finding> {
    let (start, limit) = (start.to_string(), MOST_LINES.to_string());
    let parameters = [("query", query), ("start", start.as_str()), ("limit", limit.as_str())];
    let answer = web.json("/loki/api/v1/query_range", &parameters).await?;
    let kind = answer.pointer("/data/resultType").and_then(Value::as_str);
    let result = answer.pointer("/data/result").and_then(Value::as_array);
    let (Some("streams"), Some(streams)) = (kind, result) else {
        return Err(Finding::error(Fault::Parse, "protocol", "the query does not give lines"));
    };
    let values = streams.iter().filter_map(|stream| stream.get("values")?.as_array()).flatten();
    Ok(values.filter_map(|value| value.get(1)?.as_str().map(str::to_owned)).collect())
}
