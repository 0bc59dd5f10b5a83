//! `kind = "prometheus"`: asks whether Prometheus is ready, scrapes its targets, has its rules, and took its last
//! configuration.

use super::web::{Web, wrong_url};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::Text;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A Prometheus server that must see what it is there to see.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prometheus {
    /// The address, such as `http://prometheus.internal:9090`.
    pub url: Text,
    /// How many targets of each job must be up, such as `{ node = 3 }`. Those of its targets that are down fail the gate,
    /// unless `max_down` allows them.
    #[serde(default)]
    pub jobs: BTreeMap<String, usize>,
    /// How many targets of the jobs may be down in all.
    #[serde(default)]
    pub max_down: usize,
    /// Alerting and recording rules that must be loaded, by name. With any, every rule of the server must be healthy.
    #[serde(default)]
    pub rules: Vec<String>,
    /// How many Alertmanagers it must send to.
    pub min_alertmanagers: Option<usize>,
    /// Whether the last reload of the configuration must have succeeded, which is the default; for servers that do not
    /// tell it on `/metrics`, turn it off.
    #[serde(default = "yes")]
    pub reload_ok: bool,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

fn yes() -> bool {
    true
}

impl Gate for Prometheus {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = wrong_url(&self.url).into_iter().collect();
        for (job, _) in self.jobs.iter().filter(|(_, least)| **least == 0) {
            wrong.push(Wrong::gate(format!(
                "no target of `{job}` up is true of every server; ask for at least 1"
            )));
        }
        if self.min_alertmanagers == Some(0) {
            wrong.push(Wrong::gate(
                "`min_alertmanagers = 0` is true of every server, so it would prove nothing",
            ));
        }
        if self.jobs.is_empty() && self.rules.is_empty() && self.min_alertmanagers.is_none() {
            wrong.push(Wrong::gate(
                "a Prometheus that is ready may see nothing; give `jobs`, `rules` or `min_alertmanagers`",
            ));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("Prometheus at {}", self.url)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Prometheus {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let web = Web::new(context, &self.url, &self.headers, self.ca_file.as_ref())?;
        web.ready("/-/ready").await?;
        if self.reload_ok {
            self.reload(&web).await?;
        }
        let mut finding = Finding::pass(format!("{} is ready", self.url));
        if !self.jobs.is_empty() {
            let (up, down) = self.targets(&web).await?;
            finding.reason.push_str(&format!(", {up} targets are up"));
            #[expect(clippy::cast_precision_loss, reason = "a server has no such number of targets")]
            let measured = finding.measured("targets_up", up as f64).measured("targets_down", down as f64);
            finding = measured;
        }
        if !self.rules.is_empty() {
            let loaded = self.healthy_rules(&web).await?;
            finding.reason.push_str(&format!(", {loaded} rules are loaded and healthy"));
        }
        if let Some(least) = self.min_alertmanagers {
            let answer = data(&web, "/api/v1/alertmanagers", &[]).await?;
            let active = list(&answer, "/activeAlertmanagers")?.len();
            if active < least {
                let reason =
                    format!("{} sends to {active} Alertmanagers, expected at least {least}", self.url);
                return Err(Finding::fail("alertmanagers", reason));
            }
        }
        Ok(finding)
    }

    async fn reload(&self, web: &Web<'_>) -> Result<(), Finding> {
        let page = web.get("/metrics", &[]).await?;
        page.succeeded(&web.what("/metrics"))?;
        let page = String::from_utf8_lossy(&page.body);
        let found =
            page.lines().find_map(|line| line.strip_prefix("prometheus_config_last_reload_successful "));
        match found.map(str::trim) {
            Some("1") => Ok(()),
            Some(_) => {
                let reason = format!("{} runs on: its last configuration was refused", self.url);
                Err(Finding::fail("reload", reason))
            }
            None => {
                let reason = format!("{} does not tell of its last reload; see `reload_ok`", self.url);
                Err(Finding::error(Fault::NoData, "reload-unknown", reason))
            }
        }
    }

    /// How many targets of the jobs are up and down.
    async fn targets(&self, web: &Web<'_>) -> Result<(usize, usize), Finding> {
        let answer = data(web, "/api/v1/targets", &[("state", "active")]).await?;
        let targets = list(&answer, "/activeTargets")?;
        let (mut ups, mut downs, mut unknowns, mut last_error) = (0, 0, 0, String::new());
        for (job, least) in &self.jobs {
            let of_job = |health: &str| {
                let matches = |target: &&Value| {
                    target.pointer("/labels/job").and_then(Value::as_str) == Some(job)
                        && target.pointer("/health").and_then(Value::as_str) == Some(health)
                };
                targets.iter().filter(matches).collect::<Vec<_>>()
            };
            let (up, down, unknown) = (of_job("up").len(), of_job("down"), of_job("unknown").len());
            if up < *least && up + unknown >= *least {
                let reason = format!("{unknown} targets of job `{job}` were not scraped yet");
                return Err(Finding::error(Fault::NotReady, "not-scraped", reason));
            }
            if up < *least {
                let reason =
                    format!("{up} targets of job `{job}` are up, expected at least {least}{}", why(&down));
                return Err(Finding::fail("targets", reason));
            }
            ups += up;
            downs += down.len();
            unknowns += unknown;
            if !down.is_empty() {
                last_error = why(&down);
            }
        }
        if downs > self.max_down {
            let reason = format!("{downs} targets are down, more than {}{last_error}", self.max_down);
            return Err(Finding::fail("targets-down", reason));
        }
        // What was not looked at yet may be down.
        if downs + unknowns > self.max_down {
            let reason = format!("{unknowns} targets were not scraped yet");
            return Err(Finding::error(Fault::NotReady, "not-scraped", reason));
        }
        Ok((ups, downs))
    }

    /// How many rules are loaded; each that is named is among them, and none has failed or waits to be evaluated.
    async fn healthy_rules(&self, web: &Web<'_>) -> Result<usize, Finding> {
        let answer = data(web, "/api/v1/rules", &[]).await?;
        let groups = list(&answer, "/groups")?;
        let rules: Vec<&Value> =
            groups.iter().filter_map(|group| group.get("rules")?.as_array()).flatten().collect();
        let text =
            |rule: &Value, name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        for name in &self.rules {
            if !rules.iter().any(|rule| text(rule, "name") == *name) {
                return Err(Finding::fail("rule-missing", format!("the rule `{name}` is not loaded")));
            }
        }
        for rule in &rules {
            let name = text(rule, "name");
            match text(rule, "health").as_str() {
                "ok" => {}
                "unknown" => {
                    let reason = format!("the rule `{name}` was not evaluated yet");
                    return Err(Finding::error(Fault::NotReady, "not-evaluated", reason));
                }
                _ => {
                    let error: String = text(rule, "lastError").chars().take(200).collect();
                    return Err(Finding::fail("rule-unhealthy", format!("the rule `{name}` fails: {error}")));
                }
            }
        }
        Ok(rules.len())
    }
}

fn why(down: &[&Value]) -> String {
    let first =
        down.iter().find_map(|target| target.get("lastError")?.as_str().filter(|text| !text.is_empty()));
    first.map(|text| format!(": {}", text.chars().take(200).collect::<String>())).unwrap_or_default()
}

/// The data of an answer of the HTTP API.
async fn data(web: &Web<'_>, path: &str, query: &[(&str, &str)]) -> Result<Value, Finding> {
    let mut answer = web.json(path, query).await?;
    if answer.get("status").and_then(Value::as_str) != Some("success") {
        let reason = format!("{} did not succeed", web.what(path));
        return Err(Finding::error(Fault::Tool, "api", reason));
    }
    Ok(answer.get_mut("data").map(Value::take).unwrap_or_default())
}

fn list<'a>(data: &'a Value, pointer: &str) -> Result<&'a Vec<Value>, Finding> {
    data.pointer(pointer).and_then(Value::as_array).ok_or_else(|| {
        Finding::error(Fault::Parse, "protocol", format!("the answer has no list at `{pointer}`"))
    })
}
