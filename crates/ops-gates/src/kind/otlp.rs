//! `kind = "otlp"`: gives a span to an OpenTelemetry collector, and sees it come back where traces can be asked for.
//!
//! Binary OTLP over HTTP (opentelemetry-proto, `trace/v1/trace.proto` and the specification's section on OTLP/HTTP),
//! written by hand: one span is all there is.

use super::web::{self, Web, wrong_url};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::Text;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A collector that must take a span and pass it on.
///
/// The span stays where traces are stored, for as long as they are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// The address of OTLP over HTTP, such as `http://collector.internal:4318`.
    pub url: Text,
    /// An address that gives a trace, with `{trace_id}` for its id, such as
    /// `http://tempo.internal:3200/api/traces/{trace_id}`. The name of the span must come back from there.
    pub query_url: Option<Text>,
    /// Accepts a collector that only takes the span. Says nothing about where it goes, so it has to be asked for.
    #[serde(default)]
    pub accepted_only: bool,
    /// Headers to send to the collector.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// Headers to send to the address of the query.
    #[serde(default)]
    pub query_headers: BTreeMap<String, Text>,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

const PLACEHOLDER: &str = "{trace_id}";
const PAUSE: Duration = Duration::from_millis(250);

impl Gate for Otlp {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = wrong_url(&self.url).into_iter().collect();
        match (&self.query_url, self.accepted_only) {
            (None, false) => wrong.push(Wrong::gate(
                "a collector that takes a span may lose it; give `query_url`, or write `accepted_only = true`",
            )),
            (Some(_), true) => wrong.push(Wrong::gate("`accepted_only` and `query_url` exclude each other")),
            (Some(url), false) => {
                wrong.extend(wrong_url(url));
                if !url.template().contains(PLACEHOLDER) {
                    wrong.push(Wrong::text(url, "the address must hold `{trace_id}`"));
                }
            }
            (None, true) => {}
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("a span goes through {}", self.url)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Otlp {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let web = Web::new(context, &self.url, &self.headers, self.ca_file.as_ref())?;
        // A trace of its own: one of the run's trace could be there for other reasons.
        let (trace, span) = (rand::random::<u128>().max(1), rand::random::<u64>().max(1));
        let name = format!("ops-gates canary {span:016x}");
        let request = export(trace, span, &name, context.trace_id().unwrap_or_default());
        let started = Instant::now();
        let url = web.at("/v1/traces", &[]);
        let response = web.send(Method::POST, url, Some(("application/x-protobuf", request))).await?;
        let answer = web.read(response).await?;
        answer.succeeded(&web.what("/v1/traces"))?;
        if let Some((rejected, message)) = rejected(&answer.body).filter(|(rejected, _)| *rejected > 0) {
            let message: String = message.chars().take(200).collect();
            let reason = format!("{} rejected {rejected} spans: {message}", self.url);
            return Err(Finding::fail("rejected", reason));
        }
        let Some(query) = &self.query_url else {
            return Ok(Finding::pass(format!("{} took a span; where it went was not looked at", self.url)));
        };
        let id = format!("{trace:032x}");
        let address = context.resolve(query)?.replace(PLACEHOLDER, &id);
        let address = reqwest::Url::parse(&address).map_err(|error| {
            Finding::error(Fault::Unresolved, "url", format!("{query} is not an address: {error}"))
        })?;
        let asking = Web::new(context, &self.url, &self.query_headers, self.ca_file.as_ref())?;
        let mut last = String::from("nothing");
        // Not to the end of the gate, so that the reason can still be told.
        while started.elapsed() < context.timeout() * 3 / 4 {
            let response = asking.send(Method::GET, address.clone(), None).await?;
            let status = response.status().as_u16();
            let body = web::body(query, response, web::BODY_LIMIT).await?.unwrap_or_default();
            if matches!(status, 401 | 403) {
                let reason = format!("{query} answered {status}");
                return Err(Finding::error(Fault::Tool, "unauthorized", reason));
            }
            if status == 200 && String::from_utf8_lossy(&body).contains(&name) {
                let seconds = started.elapsed().as_secs_f64();
                let reason = format!("a span went through {} and was found", self.url);
                return Ok(Finding::pass(reason)
                    .measured("round_trip_seconds", seconds)
                    .output("trace_id", id));
            }
            last = status.to_string();
            tokio::time::sleep(PAUSE).await;
        }
        let reason =
            format!("{} took a span, and {query} did not have it: it last answered {last}", self.url);
        Err(Finding::fail("round-trip", reason))
    }
}

/// A field of protobuf that has a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 0x7f {
        bytes.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap_or_default());
    bytes.extend_from_slice(content);
    bytes
}

fn attribute(key: &str, value: &str) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, &field(1, value.as_bytes()))].concat()
}

/// `ExportTraceServiceRequest` with one span.
fn export(trace: u128, span: u64, name: &str, run: &str) -> Vec<u8> {
    let now = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default();
    let fixed = |number: u8, value: u64| [&[number << 3 | 1][..], &value.to_le_bytes()].concat();
    let mut content = [field(1, &trace.to_be_bytes()), field(2, &span.to_be_bytes())].concat();
    content.extend(field(5, name.as_bytes()));
    // SPAN_KIND_INTERNAL.
    content.extend([6 << 3, 1]);
    content.extend(fixed(7, now.saturating_sub(1_000_000)));
    content.extend(fixed(8, now));
    if !run.is_empty() {
        content.extend(field(9, &attribute("ops_gates.run.trace_id", run)));
    }
    let resource = field(1, &attribute("service.name", "ops-gates"));
    field(1, &[field(1, &resource), field(2, &field(2, &content))].concat())
}

/// What `ExportTraceServiceResponse` says about spans that were not taken.
fn rejected(body: &[u8]) -> Option<(u64, String)> {
    let mut found = (0, String::new());
    for (number, content) in fields(body)? {
        if number != 1 {
            continue;
        }
        for (number, content) in fields(content.1)? {
            match number {
                1 => found.0 = content.0,
                2 => found.1 = String::from_utf8_lossy(content.1).into_owned(),
                _ => {}
            }
        }
    }
    Some(found)
}

/// A number of a field, or its content.
type Content<'a> = (u64, &'a [u8]);

fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Content<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (key, rest) = varint(bytes)?;
        let (value, rest) = match key & 7 {
            0 => {
                let (value, rest) = varint(rest)?;
                ((value, &[][..]), rest)
            }
            2 => {
                let (length, rest) = varint(rest)?;
                let (content, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                ((0, content), rest)
            }
            _ => return None,
        };
        fields.push((key >> 3, value));
        bytes = rest;
    }
    Some(fields)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (position, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[position + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_success_is_read() {
        let partial = [[1 << 3, 2].to_vec(), field(2, "x".repeat(200).as_bytes())].concat();
        assert_eq!(rejected(&field(1, &partial)), Some((2, "x".repeat(200))));
        assert_eq!(rejected(&[]), Some((0, String::new())));
        assert_eq!(rejected(b"{}"), None);
    }
}
