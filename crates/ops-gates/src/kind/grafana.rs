//! `kind = "grafana"`: asks whether Grafana has its database, its dashboards, and data sources that answer.

use super::web::{Web, wrong_url};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::Text;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A Grafana that must have its database.
///
/// `/api/health` answers 200 while the database fails: the body is looked at.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grafana {
    /// The address, such as `http://grafana.internal:3000`.
    pub url: Text,
    /// Dashboards that must be there, by uid or by title.
    #[serde(default)]
    pub dashboards: Vec<String>,
    /// Data sources that must be there and answer Grafana, by uid or by name.
    #[serde(default)]
    pub datasources: Vec<String>,
    /// Headers to send; dashboards and data sources need a log-in, such as `Authorization = "Bearer ${secret:GRAFANA}"`.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

/// How many dashboards one page of the search has at most.
const PAGE: usize = 1000;

impl Gate for Grafana {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        wrong_url(&self.url).into_iter().collect()
    }

    fn summary(&self) -> String {
        format!("Grafana at {}", self.url)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Grafana {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let web = Web::new(context, &self.url, &self.headers, self.ca_file.as_ref())?;
        let health = web.json("/api/health", &[]).await?;
        match health.get("database").and_then(Value::as_str) {
            Some("ok") => {}
            Some(word) => {
                let reason = format!("{} answers, and its database is {word:?}", self.url);
                return Err(Finding::fail("database", reason));
            }
            None => {
                let reason = format!("{} says nothing about its database", self.url);
                return Err(Finding::error(Fault::Parse, "protocol", reason));
            }
        }
        let mut finding = Finding::pass(format!("{} has its database", self.url));
        if !self.dashboards.is_empty() {
            self.find_dashboards(&web).await?;
            finding.reason.push_str(&format!(", {} dashboards are there", self.dashboards.len()));
        }
        for name in &self.datasources {
            self.ask_datasource(&web, name).await?;
        }
        if !self.datasources.is_empty() {
            finding.reason.push_str(&format!(", {} data sources answer it", self.datasources.len()));
        }
        if let Some(version) = health.get("version").and_then(Value::as_str) {
            finding = finding.output("version", version);
        }
        Ok(finding)
    }

    async fn find_dashboards(&self, web: &Web<'_>) -> Result<(), Finding> {
        let mut wanted: Vec<&String> = self.dashboards.iter().collect();
        let limit = PAGE.to_string();
        for page in 1.. {
            let page = page.to_string();
            let query = [("type", "dash-db"), ("limit", limit.as_str()), ("page", page.as_str())];
            let answer = web.json("/api/search", &query).await?;
            let found = array(&answer)?;
            let is = |item: &Value, name: &str| {
                ["uid", "title"].iter().any(|key| item.get(key).is_some_and(|it| it == name))
            };
            wanted.retain(|name| !found.iter().any(|item| is(item, name)));
            if wanted.is_empty() {
                return Ok(());
            }
            if found.len() < PAGE {
                break;
            }
        }
        let first = wanted.first().map(|name| name.as_str()).unwrap_or_default();
        Err(Finding::fail("dashboard-missing", format!("there is no dashboard `{first}` that we may see")))
    }

    async fn ask_datasource(&self, web: &Web<'_>, name: &str) -> Result<(), Finding> {
        let answer = web.json("/api/datasources", &[]).await?;
        let is = |item: &&Value| ["uid", "name"].iter().any(|key| item.get(key).is_some_and(|it| it == name));
        let uid = array(&answer)?.iter().find(is).and_then(|item| item.get("uid")?.as_str());
        let Some(uid) = uid else {
            return Err(Finding::fail("datasource-missing", format!("there is no data source `{name}`")));
        };
        let path = format!("/api/datasources/uid/{uid}/health");
        let answer = web.get(&path, &[]).await?;
        let health: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let message = health.get("message").and_then(Value::as_str).unwrap_or("no message");
        match (answer.status, health.get("status").and_then(Value::as_str)) {
            (200, Some("OK")) => Ok(()),
            // Not every plugin can be asked.
            (404, _) => {
                let reason = format!("the data source `{name}` cannot be asked for its health");
                Err(Finding::inconclusive("datasource-unknown", reason))
            }
            (401 | 403, _) => answer.succeeded(&web.what(&path)),
            _ => {
                let message: String = message.chars().take(200).collect();
                Err(Finding::fail(
                    "datasource",
                    format!("the data source `{name}` does not answer: {message}"),
                ))
            }
        }
    }
}

fn array(answer: &Value) -> Result<&Vec<Value>, Finding> {
    let wrong = || Finding::error(Fault::Parse, "protocol", "the answer is not a list");
    answer.as_array().ok_or_else(wrong)
}
