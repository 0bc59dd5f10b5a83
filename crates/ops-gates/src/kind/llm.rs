//! `kind = "llm"`: asks a server with OpenAI's interface whether it is healthy, has its model, and says a first token in
//! time.

use super::web::{JSON, Web, wrong_url};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Text, Threshold};
use futures_util::future::BoxFuture;
use reqwest::{Method, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// A server of a language model that must answer with a token.
///
/// One completion of one token is asked for, which a provider may charge.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Llm {
    /// The address above `/v1`, such as `http://llm-api:8000`.
    pub url: Text,
    /// The model, which `/v1/models` must list.
    pub model: Text,
    /// What the completion must give as its model, where that is another name.
    pub answers_as: Option<Text>,
    /// A path that must answer with success before anything else is asked; empty for none.
    #[serde(default = "health")]
    pub health_path: String,
    /// How long the first token may take, in seconds.
    pub max_first_token_seconds: Option<Threshold>,
    /// Headers to send, such as `Authorization = "Bearer ${secret:LLM_KEY}"`.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

fn health() -> String {
    "/health".to_owned()
}

/// How much of a stream is looked at: one token is a few hundred bytes.
const LIMIT: usize = 1024 * 1024;

impl Gate for Llm {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = wrong_url(&self.url).into_iter().collect();
        if !self.health_path.is_empty() && !self.health_path.starts_with('/') {
            wrong.push(Wrong::gate("`health_path` must begin with `/`"));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("{} at {} says a token", self.model, self.url)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Llm {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let web = Web::new(context, &self.url, &self.headers, self.ca_file.as_ref())?;
        if !self.health_path.is_empty() {
            web.ready(&self.health_path).await?;
        }
        let model = context.resolve(&self.model)?;
        let models = web.json("/v1/models", &[]).await?;
        let models = models.get("data").and_then(Value::as_array).ok_or_else(|| {
            Finding::error(Fault::Parse, "protocol", format!("{} does not list its models", self.url))
        })?;
        if !models.iter().any(|it| it.get("id").is_some_and(|id| *id == model)) {
            let names: Vec<&str> = models.iter().filter_map(|it| it.get("id")?.as_str()).take(5).collect();
            let reason = format!("{} has no model {}, but {}", self.url, self.model, names.join(", "));
            return Err(Finding::fail("model-missing", reason));
        }
        let request = json!({
            "model": model, "max_tokens": 1, "temperature": 0, "stream": true,
            "messages": [{ "role": "user", "content": "Say ok." }],
        });
        let url = web.at("/v1/chat/completions", &[]);
        let started = Instant::now();
        let response = web.send(Method::POST, url, Some((JSON, request.to_string().into_bytes()))).await?;
        if !response.status().is_success() {
            web.read(response).await?.succeeded(&web.what("/v1/chat/completions"))?;
            return Err(Finding::error(Fault::Parse, "protocol", "no answer of success"));
        }
        let answered = self.first_token(response).await?;
        let seconds = started.elapsed().as_secs_f64();
        let wanted = self.answers_as.as_ref().map(|wanted| context.resolve(wanted)).transpose()?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != answered) {
            let reason = format!("{} answered as {answered:?}, expected {wanted:?}", self.url);
            return Err(Finding::fail("model", reason));
        }
        let finding = Finding::pass(format!("{} said a first token", self.url));
        let finding = finding.measured("first_token_seconds", seconds).output("model", answered);
        let Some(limit) = &self.max_first_token_seconds else { return Ok(finding) };
        let rule = format!("first_token_seconds <= {limit}");
        if seconds <= limit.get() {
            return Ok(finding.judged_by(rule));
        }
        let reason = format!("the first token took {seconds:.3} s, more than {}", limit.get());
        Err(Finding::fail("too-slow", reason).measured("first_token_seconds", seconds).judged_by(rule))
    }

    /// Reads server-sent events up to the first that holds a text; returns the model that it names.
    async fn first_token(&self, mut response: Response) -> Result<String, Finding> {
        let mut read = Vec::new();
        let mut looked = 0;
        loop {
            let chunk = response.chunk().await.map_err(|error| super::web::transport(&self.url, error))?;
            let Some(chunk) = chunk else { break };
            read.extend_from_slice(&chunk);
            while let Some(end) = read[looked..].iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&read[looked..looked + end]).into_owned();
                looked += end + 1;
                if let Some(model) = self.event(line.trim_end())? {
                    return Ok(model);
                }
            }
            if read.len() > LIMIT {
                break;
            }
        }
        let reason = format!("{} ended its answer without a token", self.url);
        Err(Finding::error(Fault::NoData, "no-token", reason))
    }

    /// The model of an event that holds a text.
    fn event(&self, line: &str) -> Result<Option<String>, Finding> {
        let Some(data) = line.strip_prefix("data:").map(str::trim) else { return Ok(None) };
        if data == "[DONE]" {
            return Ok(None);
        }
        let event: Value = serde_json::from_str(data).map_err(|error| {
            Finding::error(
                Fault::Parse,
                "not-json",
                format!("{} sent an event that is not JSON: {error}", self.url),
            )
        })?;
        if let Some(error) = event.get("error") {
            let error: String = error.to_string().chars().take(200).collect();
            return Err(Finding::error(Fault::Tool, "completion", format!("{}: {error}", self.url)));
        }
        let delta = event.pointer("/choices/0/delta");
        // Models that think say that first.
        let said = ["content", "reasoning_content", "reasoning"]
            .iter()
            .any(|key| delta.and_then(|delta| delta.get(key)?.as_str()).is_some_and(|text| !text.is_empty()));
        let model = event.get("model").and_then(Value::as_str).unwrap_or_default();
        Ok(said.then(|| model.to_owned()))
    }
}
