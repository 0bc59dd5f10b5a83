//! `kind = "alertmanager"`: asks whether Alertmanager is ready, whom it would tell, and which alerts are active.

use super::web::{Web, wrong_url};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::Text;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// An Alertmanager that must be able to tell somebody, and may have to be quiet.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alertmanager {
    /// The address, such as `http://alertmanager.internal:9093`.
    pub url: Text,
    /// Receivers that its configuration must have, by name.
    #[serde(default)]
    pub receivers: Vec<String>,
    /// How many members its cluster must have, itself included.
    pub min_peers: Option<usize>,
    /// How many alerts may be active that are neither silenced nor inhibited.
    pub max_alerts: Option<usize>,
    /// Which alerts count for `max_alerts`: matchers such as `severity="critical"`, all of which must match.
    #[serde(default)]
    pub filter: Vec<Text>,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

impl Gate for Alertmanager {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = wrong_url(&self.url).into_iter().collect();
        if self.receivers.is_empty() && self.max_alerts.is_none() && self.min_peers.is_none() {
            wrong.push(Wrong::gate(
                "an Alertmanager that is ready may tell nobody; give `receivers`, `min_peers` or `max_alerts`",
            ));
        }
        if self.min_peers == Some(0) {
            wrong.push(Wrong::gate("`min_peers = 0` is true of every server, so it would prove nothing"));
        }
        if self.max_alerts.is_none() && !self.filter.is_empty() {
            wrong.push(Wrong::gate("`filter` needs `max_alerts`"));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("Alertmanager at {}", self.url)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Alertmanager {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let web = Web::new(context, &self.url, &self.headers, self.ca_file.as_ref())?;
        web.ready("/-/ready").await?;
        let status = web.json("/api/v2/status", &[]).await?;
        let cluster = status.pointer("/cluster/status").and_then(Value::as_str);
        match cluster {
            // Without a cluster it is `disabled`.
            Some("ready" | "disabled") => {}
            Some(word) => {
                let reason = format!("the cluster of {} is {word}", self.url);
                return Err(Finding::error(Fault::NotReady, "cluster", reason));
            }
            None => {
                let reason = format!("{} says nothing about its cluster", self.url);
                return Err(Finding::error(Fault::Parse, "protocol", reason));
            }
        }
        if let Some(least) = self.min_peers {
            let peers = status.pointer("/cluster/peers").and_then(Value::as_array).map_or(1, Vec::len).max(1);
            if peers < least {
                let reason =
                    format!("the cluster of {} has {peers} members, expected at least {least}", self.url);
                return Err(Finding::fail("peers", reason));
            }
        }
        let mut finding = Finding::pass(format!("{} is ready", self.url));
        if !self.receivers.is_empty() {
            let answer = web.json("/api/v2/receivers", &[]).await?;
            let found: Vec<&str> = array(&answer)?.iter().filter_map(|it| it.get("name")?.as_str()).collect();
            for name in &self.receivers {
                if !found.contains(&name.as_str()) {
                    return Err(Finding::fail("receiver-missing", format!("there is no receiver `{name}`")));
                }
            }
            finding.reason.push_str(" and has its receivers");
        }
        if let Some(most) = self.max_alerts {
            let filters = self.filter.iter().map(|text| context.resolve(text));
            let filters = filters.collect::<Result<Vec<String>, Finding>>()?;
            let mut query = vec![("active", "true"), ("silenced", "false"), ("inhibited", "false")];
            query.extend(filters.iter().map(|filter| ("filter", filter.as_str())));
            let answer = web.json("/api/v2/alerts", &query).await?;
            let alerts = array(&answer)?;
            #[expect(clippy::cast_precision_loss, reason = "nobody has that many alerts")]
            let count = alerts.len() as f64;
            if alerts.len() > most {
                let names = alerts.iter().filter_map(|alert| alert.pointer("/labels/alertname")?.as_str());
                let names: Vec<&str> = names.take(5).collect();
                let reason = format!("{count} alerts are active, more than {most}: {}", names.join(", "));
                return Err(Finding::fail("alerts", reason).measured("alerts", count));
            }
            finding.reason.push_str(&format!(", and {count} alerts are active"));
            finding = finding.measured("alerts", count);
        }
        Ok(finding)
    }
}

fn array(answer: &Value) -> Result<&Vec<Value>, Finding> {
    let wrong = || Finding::error(Fault::Parse, "protocol", "the answer is not a list");
    answer.as_array().ok_or_else(wrong)
}
