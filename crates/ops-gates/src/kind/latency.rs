//! `kind = "latency"`: asks or runs the same thing many times, and bounds a percentile of the time it takes.
//!
//! The order of steps: warm-up, which does not count; then the samples, one after the other. A sample that fails took for
//! ever. The percentile of the sample is only a guess at the one of the service, so the verdict is taken from what the
//! sample shows of that: PASS where even its upper bound is within the limit, FAIL where even its lower bound is beyond
//! it, and in between the gate is inconclusive. The share of failures is bounded in the same way.

use super::{argv, web};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding, Outcome};
use crate::stat::{binomial, percentile};
use crate::value::{Span, Text, Threshold, VariableName};
use futures_util::future::BoxFuture;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A service or a program that must answer in time: a percentile of many samples stays within a limit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// The address to request. Either this or `run`.
    pub url: Option<Text>,
    /// The method of the request.
    #[serde(default = "get")]
    pub method: String,
    /// The body of the request.
    pub body: Option<Text>,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// The status without which a sample counts as failed.
    #[serde(default = "ok")]
    pub status: u16,
    /// A text without which in the body a sample counts as failed.
    pub body_contains: Option<Text>,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
    /// The program to run, with its arguments; no shell reads them. Another exit code than 0 is a failed sample.
    #[serde(default)]
    pub run: Vec<Text>,
    /// Variables that the program gets from our environment.
    #[serde(default)]
    pub env: Vec<VariableName>,
    /// The working directory of the program; the plan's own directory where it is absent.
    pub cwd: Option<Text>,
    /// How many samples count. By default as few as can show anything about the percentile: 59 for p95. One slow sample
    /// among so few leaves the gate inconclusive; 93 allow one, 124 two.
    pub samples: Option<u32>,
    /// How many samples come before, and do not count.
    #[serde(default = "three")]
    pub warmup: u32,
    /// How long one sample may take before it has failed; by default as long as the gate.
    pub sample_timeout: Option<Span>,
    /// The percentile that is judged, 95 where it is not given.
    #[serde(default = "ninety_five")]
    pub percentile: f64,
    /// How sure the verdict is, in per cent.
    #[serde(default = "ninety_five")]
    pub confidence_percent: f64,
    /// The longest time that the percentile may be, in seconds. A failed sample counts as endless.
    pub max_seconds: Threshold,
    /// The largest share of failed samples, in per cent, that must be shown not to be exceeded. 0.1 takes 2,995 samples
    /// without any failure.
    pub max_error_percent: Option<Threshold>,
}

fn get() -> String {
    "GET".to_owned()
}

fn ok() -> u16 {
    200
}

fn three() -> u32 {
    3
}

fn ninety_five() -> f64 {
    95.0
}

/// How much of an answer is read. Its time is that of the whole answer, and one without end has none.
const BODY_LIMIT: usize = 64 * 1024 * 1024;

impl Gate for Latency {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        match (&self.url, self.run.is_empty()) {
            (Some(url), true) => wrong.extend(web::wrong_url(url)),
            (None, false) => wrong.extend(argv::wrong("run", &self.run)),
            _ => wrong.push(Wrong::gate("give either `url` or `run`")),
        }
        if Method::from_bytes(self.method.as_bytes()).is_err() || self.method != self.method.to_uppercase() {
            wrong.push(Wrong::gate(format!(
                "`{}` is not a method; write it in capitals: `POST`",
                self.method
            )));
        }
        let open = |percent: f64| percent > 0.0 && percent < 100.0;
        if !open(self.percentile) || !open(self.confidence_percent) {
            wrong.push(Wrong::gate(
                "`percentile` and `confidence_percent` lie between 0 and 100, without both",
            ));
            return wrong;
        }
        let fewest = self.fewest();
        if self.samples.is_some_and(|samples| u64::from(samples) < fewest) {
            wrong.push(Wrong::gate(format!(
                "so few `samples` show nothing about p{} at {} % confidence, however fast they are; it takes at least {fewest}",
                self.percentile, self.confidence_percent
            )));
        }
        wrong
    }

    fn summary(&self) -> String {
        let what = self.url.as_ref().map_or_else(|| argv::shown(&self.run), ToString::to_string);
        format!("p{} of {what} <= {} s", self.percentile, self.max_seconds)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.measure(context).await.unwrap_or_else(|finding| finding) })
    }
}

/// A request that is sent many times.
struct Request {
    client: Client,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<String>,
    wanted: Option<Vec<u8>>,
}

impl Latency {
    fn fewest(&self) -> u64 {
        percentile::sufficient_samples(self.percentile / 100.0, self.confidence_percent / 100.0, 0)
    }

    async fn measure(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let request = self.prepare(context)?;
        let count = self.samples.map_or_else(|| self.fewest(), u64::from);
        for _ in 0..self.warmup {
            let _ = self.sample(context, request.as_ref()).await?;
        }
        let mut seconds = Vec::new();
        let mut failures: Vec<Finding> = Vec::new();
        for _ in 0..count {
            match self.sample(context, request.as_ref()).await? {
                Ok(time) => seconds.push(time.as_secs_f64()),
                Err(failure) => {
                    context.log(&format!("sample {} failed: {}", seconds.len() + 1, failure.reason));
                    seconds.push(f64::INFINITY);
                    failures.push(failure);
                }
            }
        }
        // Thousands in one line would fill a terminal that shows the end of the log.
        context.log("samples in seconds:");
        for ten in seconds.chunks(10) {
            context.log(&ten.iter().map(|time| format!("{time:.6}")).collect::<Vec<_>>().join(" "));
        }
        Ok(self.judge(&seconds, failures))
    }

    /// The request, where it is not a program.
    fn prepare(&self, context: &Context<'_>) -> Result<Option<Request>, Finding> {
        let Some(url) = &self.url else { return Ok(None) };
        let wanted = self.body_contains.as_ref().map(|text| context.resolve(text)).transpose()?;
        Ok(Some(Request {
            client: web::build(web::builder(context, 0, self.ca_file.as_ref())?)?,
            method: Method::from_bytes(self.method.as_bytes()).unwrap_or_default(),
            url: web::url(context, url)?,
            headers: web::headers(context, &self.headers)?,
            body: self.body.as_ref().map(|body| context.resolve(body)).transpose()?,
            wanted: wanted.map(String::into_bytes),
        }))
    }

    /// One sample: its time, or why it failed. An error ends the gate.
    async fn sample(
        &self,
        context: &Context<'_>,
        request: Option<&Request>,
    ) -> Result<Result<Duration, Finding>, Finding> {
        if let (Some(request), Some(shown)) = (request, &self.url) {
            let limit = self.sample_timeout.map_or_else(|| context.timeout(), Span::get);
            let answered = tokio::time::timeout(limit, self.ask(request, shown)).await;
            return Ok(answered.unwrap_or_else(|_| Err(late(limit))));
        }
        let mut program = argv::program(context, &self.run, &self.env, self.cwd.as_ref())?;
        program.timeout = self.sample_timeout.map(Span::get);
        let ran = context.run(program).await?;
        Ok(match ran.code() {
            _ if ran.timed_out() => Err(late(ran.elapsed)),
            Some(0) => Ok(ran.elapsed),
            Some(code) => Err(Finding::fail("exit-code", format!("exit code {code}"))),
            None => Err(Finding::fail("signal", "ended by a signal")),
        })
    }

    async fn ask(&self, given: &Request, shown: &Text) -> Result<Duration, Finding> {
        let start = Instant::now();
        let mut request =
            given.client.request(given.method.clone(), given.url.clone()).headers(given.headers.clone());
        if let Some(body) = &given.body {
            request = request.body(body.clone());
        }
        let response = request.send().await.map_err(|error| web::transport(shown, error))?;
        let status = response.status().as_u16();
        let body = web::body(shown, response, BODY_LIMIT).await?;
        let elapsed = start.elapsed();
        let body = body.ok_or_else(|| Finding::fail("body", "the answer has no end within 64 MiB"))?;
        if status != self.status {
            return Err(Finding::fail(
                "status",
                format!("{shown} answered {status}, expected {}", self.status),
            ));
        }
        match &given.wanted {
            Some(wanted) if !body.windows(wanted.len().max(1)).any(|part| part == wanted.as_slice()) => {
                Err(Finding::fail("body", format!("{shown} answered without the expected text")))
            }
            _ => Ok(elapsed),
        }
    }

    fn judge(&self, seconds: &[f64], mut failures: Vec<Finding>) -> Finding {
        let (p, confidence) = (self.percentile / 100.0, self.confidence_percent / 100.0);
        let count = seconds.len();
        if failures.len() == count {
            // Nothing was timed, so this is no matter of time.
            let first = failures.swap_remove(0);
            let outcome = match first.outcome {
                Outcome::Error { .. } => first.outcome,
                _ => Outcome::Error { error: Fault::Tool },
            };
            return Finding::new(
                outcome,
                "no-success",
                format!("all {count} samples failed: {}", first.reason),
            );
        }
        let seen = percentile::nearest_rank(seconds, p).unwrap_or(f64::INFINITY);
        let (lower, upper) = percentile::bounds(seconds, p, confidence);
        let limit = self.max_seconds.get();
        let name = format!("p{}", self.percentile);
        let known = format!(
            "{name} of {count} samples is {}, and at {} % confidence between {} and {}",
            shown(Some(seen)),
            self.confidence_percent,
            shown(lower),
            shown(upper)
        );
        let finding = match (lower, upper) {
            (_, Some(upper)) if upper <= limit => Finding::pass(known),
            (Some(lower), _) if lower > limit => {
                Finding::fail("too-slow", format!("{known}, above {limit} s"))
            }
            _ => Finding::inconclusive(
                "not-shown",
                format!("{known}, which does not show whether it is within {limit} s; take more samples"),
            ),
        };
        let mut finding = self.judge_failures(finding, failures.len() as u64, count as u64);
        for (suffix, value) in [("seconds", Some(seen)), ("lower_seconds", lower), ("upper_seconds", upper)] {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                finding = finding.measured(format!("{name}_{suffix}"), value);
            }
        }
        finding
            .measured("samples", binomial_float(count))
            .measured("failed_samples", binomial_float(failures.len()))
            .judged_by(format!("{name}_seconds <= {} ({})", limit, self.max_seconds.origin()))
    }

    /// Lowers a pass where the share of failures is not shown to be small enough.
    fn judge_failures(&self, finding: Finding, failed: u64, count: u64) -> Finding {
        let Some(threshold) = &self.max_error_percent else { return finding };
        let (limit, confidence) = (threshold.get(), self.confidence_percent / 100.0);
        let at_least = 100.0 * binomial::lower_bound(failed, count, confidence);
        let at_most = 100.0 * binomial::upper_bound(failed, count, confidence);
        let known = format!("{failed} of {count} samples failed: between {at_least:.3} % and {at_most:.3} %");
        let rule = format!("error_percent <= {limit} ({})", threshold.origin());
        let is_fail = finding.outcome == Outcome::Fail;
        if at_least > limit && !is_fail {
            return Finding::fail("errors", format!("{known}, above {limit} %")).judged_by(rule);
        }
        if at_most > limit && finding.outcome == Outcome::Pass {
            let enough = binomial::sufficient_trials(limit / 100.0, confidence);
            let reason = format!("{known}; it takes {enough} samples without a failure to show {limit} %");
            return Finding::inconclusive("errors-not-shown", reason).judged_by(rule);
        }
        finding.judged_by(rule).measured("error_upper_percent", at_most)
    }
}

fn late(after: Duration) -> Finding {
    Finding::error(
        Fault::Timeout,
        "sample-timeout",
        format!("a sample did not end within {}", Span::of(after)),
    )
}

fn shown(seconds: Option<f64>) -> String {
    match seconds {
        Some(seconds) if seconds.is_finite() => format!("{seconds:.4} s"),
        Some(_) => "endless".to_owned(),
        None => "unknown".to_owned(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of samples is far below 2^53")]
fn binomial_float(count: usize) -> f64 {
    count as f64
}
