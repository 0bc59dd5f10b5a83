//! `kind = "http"`: sends one request and looks at the status, the headers, the body and the time that it took.

use super::evidence::Limits;
use super::net::Place;
use super::web::{self, BODY_LIMIT, transport, wrong_url};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::process::Finder;
use crate::value::{Text, Threshold};
use futures_util::future::BoxFuture;
use reqwest::header::HeaderValue;
use reqwest::{Client, Method, Response, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

/// An HTTP request whose answer must be as expected.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The address, `http` or `https`. Proxies of the environment are not used.
    pub url: Text,
    /// The method; whatever is not GET or HEAD may change something at the other side.
    #[serde(default = "get")]
    pub method: String,
    /// A body to send; give its type in `headers`.
    pub body: Option<Text>,
    /// The status that passes, or a list of several.
    #[serde(default = "ok")]
    pub status: Statuses,
    /// A text that must stand in the body, within its first 8 MiB.
    pub body_contains: Option<Text>,
    /// Texts that the body, which must be JSON, has to hold, each by its JSON pointer: `{ "/database" = "ok" }`. What is
    /// not a string is compared as JSON writes it.
    #[serde(default)]
    pub json: BTreeMap<String, Text>,
    /// Ranges for numbers of a JSON body, each by its JSON pointer: `{ "/queue/length" = { max = 10 } }`.
    #[serde(default)]
    pub json_limits: BTreeMap<String, Limits>,
    /// How long the body may be at most, in bytes.
    pub max_body_bytes: Option<usize>,
    /// How long one request may take, from the connection to the last byte that is looked at, in seconds.
    pub max_seconds: Option<Threshold>,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// Headers that must come back, each with a text that its value must contain.
    #[serde(default)]
    pub expect_headers: BTreeMap<String, Text>,
    /// How many redirects are followed; by default none, so that a redirect to a login page does not pass.
    #[serde(default)]
    pub redirects: u8,
    /// Whether every address of the name must answer so, IPv4 and IPv6; by default one of them.
    #[serde(default)]
    pub every_address: bool,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

/// One status, or several of which one must come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a status such as 200, or a list such as [200, 204]")]
pub enum Statuses {
    /// The only one that passes.
    One(u16),
    /// All that pass.
    Several(Vec<u16>),
}

impl Statuses {
    fn all(&self) -> &[u16] {
        match self {
            Self::One(status) => std::slice::from_ref(status),
            Self::Several(statuses) => statuses,
        }
    }

    fn words(&self) -> String {
        self.all().iter().map(u16::to_string).collect::<Vec<_>>().join(" or ")
    }
}

fn ok() -> Statuses {
    Statuses::One(200)
}

fn get() -> String {
    "GET".to_owned()
}

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl Gate for Http {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = wrong_url(&self.url).into_iter().collect();
        if self.status.all().is_empty() {
            wrong.push(Wrong::gate("`status` is empty, so the gate could never pass"));
        }
        for status in self.status.all().iter().filter(|status| !(100..=599).contains(*status)) {
            wrong.push(Wrong::gate(format!("status {status} does not exist")));
        }
        if !METHODS.contains(&self.method.as_str()) {
            wrong.push(Wrong::gate(format!("`{}` is not a method; use {}", self.method, METHODS.join(", "))));
        }
        let looked_for = self.body_contains.iter().chain(self.expect_headers.values());
        for text in looked_for.filter(|text| text.template().is_empty()) {
            wrong.push(Wrong::text(text, "an empty text is in every answer, so it would prove nothing"));
        }
        for pointer in self.json.keys().chain(self.json_limits.keys()) {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                wrong.push(Wrong::gate(format!("`{pointer}` is not a JSON pointer; write `/{pointer}`")));
            }
        }
        for (pointer, limits) in &self.json_limits {
            if limits.min.is_none() && limits.max.is_none() {
                wrong.push(Wrong::gate(format!("`{pointer}` needs a `max` or `min`")));
            }
        }
        if self.max_body_bytes.is_some_and(|limit| limit > BODY_LIMIT) {
            wrong.push(Wrong::gate(format!("`max_body_bytes` can be {BODY_LIMIT} at most")));
        }
        if self.method == "HEAD" && self.looks_at_body() {
            wrong.push(Wrong::gate("an answer to HEAD has no body to look at"));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("{} answers {}", self.url, self.status.words())
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Http {
    fn looks_at_body(&self) -> bool {
        self.body_contains.is_some() || self.max_body_bytes.is_some() || self.wants_json()
    }

    fn wants_json(&self) -> bool {
        !self.json.is_empty() || !self.json_limits.is_empty()
    }

    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let url = web::url(context, &self.url)?;
        if !self.every_address {
            let client = web::build(web::builder(context, self.redirects, self.ca_file.as_ref())?)?;
            return self.look_once(context, &client, url).await;
        }
        let place = url.host_str().zip(url.port_or_known_default()).map(|(host, port)| Place {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
        });
        let place = place
            .ok_or_else(|| Finding::error(Fault::Unresolved, "url", format!("{} names no host", self.url)))?;
        let addresses = place.addresses().await?;
        let (mut slowest, mut last) = (0.0_f64, None);
        for address in &addresses {
            let finding =
                self.look_at(context, &place, *address, url.clone()).await.map_err(|mut finding| {
                    finding.reason = format!("at {}: {}", address.ip(), finding.reason);
                    finding
                })?;
            slowest = slowest.max(finding.measurements.get("seconds").copied().unwrap_or(0.0));
            last = Some(finding);
        }
        let mut finding = last.ok_or_else(|| Finding::error(Fault::NoData, "resolve", "no address"))?;
        finding.reason = format!("{}, at {} of {1} addresses", finding.reason, addresses.len());
        #[expect(clippy::cast_precision_loss, reason = "a name has few addresses")]
        let finding = finding.measured("seconds", slowest).measured("addresses", addresses.len() as f64);
        Ok(finding)
    }

    async fn look_at(
        &self,
        context: &Context<'_>,
        place: &Place,
        address: SocketAddr,
        url: Url,
    ) -> Result<Finding, Finding> {
        let builder = web::builder(context, self.redirects, self.ca_file.as_ref())?;
        let client = web::build(builder.resolve_to_addrs(&place.host, &[address]))?;
        self.look_once(context, &client, url).await
    }

    async fn look_once(&self, context: &Context<'_>, client: &Client, url: Url) -> Result<Finding, Finding> {
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| Finding::error(Fault::Unresolved, "method", "the method cannot be sent"))?;
        let mut request = client.request(method, url).headers(web::headers(context, &self.headers)?);
        if let Some(body) = &self.body {
            request = request.body(context.resolve(body)?);
        }
        let started = Instant::now();
        let response = request.send().await.map_err(|error| transport(&self.url, error))?;
        let finding = self.judge(context, response).await?;
        let seconds = started.elapsed().as_secs_f64();
        let finding = finding.measured("seconds", seconds);
        let Some(limit) = &self.max_seconds else { return Ok(finding) };
        let rule = format!("seconds <= {limit}");
        if seconds <= limit.get() {
            return Ok(finding.judged_by(rule));
        }
        let reason = format!("{} answered after {seconds:.3} s, more than {}", self.url, limit.get());
        Err(Finding::fail("too-slow", reason).measured("seconds", seconds).judged_by(rule))
    }

    async fn judge(&self, context: &Context<'_>, response: Response) -> Result<Finding, Finding> {
        let status = response.status().as_u16();
        let answered = format!("{} answered {status}", self.url);
        if !self.status.all().contains(&status) {
            return Err(Finding::fail("status", format!("{answered}, expected {}", self.status.words())));
        }
        for (name, wanted) in &self.expect_headers {
            let mut values = response.headers().get_all(name).iter();
            let wanted_text = context.resolve(wanted)?;
            let holds =
                |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).contains(&wanted_text);
            if !values.any(holds) {
                let reason = format!("{answered} without `{wanted}` in header `{name}`");
                return Err(Finding::fail("header", reason));
            }
        }
        if !self.looks_at_body() {
            return Ok(Finding::pass(answered));
        }
        if self.max_body_bytes.is_none() && !self.wants_json() {
            return self.search(context, response, &answered).await;
        }
        let limit = self.max_body_bytes.unwrap_or(BODY_LIMIT);
        let body = web::body(&self.url, response, limit).await?.ok_or_else(|| {
            let reason = format!("{answered} with more than {limit} bytes");
            match self.max_body_bytes {
                Some(_) => Finding::fail("body-too-long", reason),
                None => Finding::error(Fault::Parse, "body-too-long", reason),
            }
        })?;
        if let Some(wanted) = &self.body_contains {
            let mut finder = Finder::new(&context.resolve(wanted)?);
            finder.feed(&body);
            if !finder.found() {
                return Err(Finding::fail("body", format!("{answered}, but {wanted:?} is not in the body")));
            }
        }
        if self.wants_json() {
            let json: Value = serde_json::from_slice(&body).map_err(|error| {
                Finding::error(Fault::Parse, "not-json", format!("{answered}, but not with JSON: {error}"))
            })?;
            self.judge_json(context, &json, &answered)?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a body is at most 8 MiB")]
        let finding = Finding::pass(format!("{answered}, and the body is as expected"))
            .measured("body_bytes", body.len() as f64);
        Ok(finding)
    }

    /// Looks for a text in a body that need not have an end.
    async fn search(
        &self,
        context: &Context<'_>,
        mut response: Response,
        answered: &str,
    ) -> Result<Finding, Finding> {
        let Some(wanted) = &self.body_contains else { return Ok(Finding::pass(answered)) };
        let mut finder = Finder::new(&context.resolve(wanted)?);
        let mut read = 0;
        while !finder.found() && read < BODY_LIMIT {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    finder.feed(&chunk);
                    read += chunk.len();
                }
                Ok(None) => break,
                Err(error) => return Err(transport(&self.url, error)),
            }
        }
        Ok(if finder.found() {
            Finding::pass(format!("{answered} with {wanted:?} in the body"))
        } else {
            Finding::fail("body", format!("{answered}, but {wanted:?} is not in the body"))
        })
    }

    fn judge_json(&self, context: &Context<'_>, json: &Value, answered: &str) -> Result<(), Finding> {
        let at = |pointer: &str| {
            json.pointer(pointer).ok_or_else(|| {
                Finding::fail("json-missing", format!("{answered}, but its JSON has nothing at `{pointer}`"))
            })
        };
        for (pointer, wanted) in &self.json {
            let value = at(pointer)?;
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if text != context.resolve(wanted)? {
                let text: String = text.chars().take(200).collect();
                let reason = format!("{answered}, but `{pointer}` is {text:?}, expected {wanted:?}");
                return Err(Finding::fail("json", reason));
            }
        }
        for (pointer, limits) in &self.json_limits {
            let Some(number) = at(pointer)?.as_f64() else {
                let reason = format!("{answered}, but `{pointer}` is not a number");
                return Err(Finding::error(Fault::Parse, "json-number", reason));
            };
            if let Some(max) = limits.max.as_ref().filter(|max| number > max.get()) {
                let reason = format!("{answered}, but `{pointer}` is {number}, more than {}", max.get());
                return Err(Finding::fail("json-limit", reason).judged_by(format!("{pointer} <= {max}")));
            }
            if let Some(min) = limits.min.as_ref().filter(|min| number < min.get()) {
                let reason = format!("{answered}, but `{pointer}` is {number}, less than {}", min.get());
                return Err(Finding::fail("json-limit", reason).judged_by(format!("{pointer} >= {min}")));
            }
        }
        Ok(())
    }
}
