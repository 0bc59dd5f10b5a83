//! `kind = "redis"`: logs in, and asks a Redis server whether it has its data, its role, its replicas, and takes a write.

mod resp;

use super::net::{Schemes, Target, Wire, wrong_url};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Text, Threshold};
use futures_util::future::BoxFuture;
use resp::Reply;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A Redis server that must have loaded its data and answer.
///
/// Always asked: that it is not loading, that a replica is linked to its primary, and that a cluster is whole.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// The address, `redis://[user@]host[:port]`, or `rediss://` with TLS.
    pub url: Text,
    /// The password, as `${secret:NAME}` or `${env:NAME}`.
    pub password: Option<Text>,
    /// The role that it must have.
    pub role: Option<RedisRole>,
    /// How many replicas must be online; asked of a primary.
    pub min_replicas: Option<u64>,
    /// How many seconds ago the slowest replica that is online, or this replica's primary, may have last been heard of.
    pub max_lag_seconds: Option<Threshold>,
    /// How much of `maxmemory` may be used, in per cent; a server without one cannot be judged.
    pub max_memory_percent: Option<Threshold>,
    /// Whether the last snapshot and the last write to the append-only file must have succeeded.
    #[serde(default)]
    pub persistence: bool,
    /// Whether to write: a key `ops-gates:canary:…` with a random name, which is read back and deleted, and which expires
    /// after a minute if the gate is stopped in between.
    #[serde(default)]
    pub write_canary: bool,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

/// What a Redis server is in its replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedisRole {
    /// It takes writes.
    Primary,
    /// It follows a primary.
    Replica,
}

const SCHEMES: &Schemes = &[("redis", false, 6379), ("rediss", true, 6379)];

impl Gate for Redis {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = wrong_url(&self.url, self.password.as_ref(), SCHEMES);
        if self.min_replicas == Some(0) {
            wrong.push(Wrong::gate("`min_replicas = 0` is true of every server, so it would prove nothing"));
        }
        if self.role == Some(RedisRole::Replica) && (self.min_replicas.is_some() || self.write_canary) {
            wrong.push(Wrong::gate("`min_replicas` and `write_canary` are asked of a primary"));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("Redis at {}", self.url)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Redis {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let target = Target::of(context, &self.url, self.password.as_ref(), SCHEMES)?;
        let mut wire = Wire::open(context, &target, self.ca_file.as_ref()).await?;
        if let Some(password) = &target.password {
            let mut words = vec!["AUTH"];
            words.extend(target.user.as_deref());
            words.push(password);
            ask(&mut wire, &words).await?;
        }
        if let Some(trace) = context.trace_id() {
            // For those who look at CLIENT LIST; a server that does not allow it is no worse.
            resp::ask(&mut wire, &["CLIENT", "SETNAME", &format!("ops-gates:{trace}")]).await?;
        }
        match ask(&mut wire, &["PING"]).await? {
            Reply::Text(text) if text == "PONG" => {}
            _ => return Err(wire.strange("PING was not answered by PONG")),
        }
        let Reply::Text(info) = ask(&mut wire, &["INFO"]).await? else {
            return Err(wire.strange("INFO was not answered by a text"));
        };
        let info = Info::parse(&info);
        let mut finding = self.judge(&info, &wire)?;
        if info.get("cluster_enabled") == Some("1") {
            let Reply::Text(cluster) = ask(&mut wire, &["CLUSTER", "INFO"]).await? else {
                return Err(wire.strange("CLUSTER INFO was not answered by a text"));
            };
            let state = Info::parse(&cluster).get("cluster_state").unwrap_or("unknown").to_owned();
            if state != "ok" {
                return Err(Finding::fail(
                    "cluster",
                    format!("{}: the cluster's state is {state}", wire.place),
                ));
            }
        }
        if self.write_canary {
            canary(&mut wire).await?;
            finding.reason.push_str(", and a write was read back");
        }
        Ok(finding)
    }

    fn judge(&self, info: &Info, wire: &Wire) -> Result<Finding, Finding> {
        let place = &wire.place;
        match info.get("loading") {
            Some("0") => {}
            Some(_) => return Err(loading(place)),
            None => return Err(wire.strange("INFO says nothing about loading")),
        }
        let role = match info.get("role") {
            Some("master") => RedisRole::Primary,
            Some("slave") => RedisRole::Replica,
            _ => return Err(wire.strange("INFO says nothing about the role")),
        };
        let word = if role == RedisRole::Primary { "a primary" } else { "a replica" };
        if self.role.is_some_and(|wanted| wanted != role) {
            return Err(Finding::fail("role", format!("{place} is {word}, and must not be")));
        }
        let status = info.get("master_link_status").unwrap_or("unknown");
        if role == RedisRole::Replica && status != "up" {
            let reason = format!("{place} is a replica whose link to its primary is {status}");
            return Err(Finding::fail("master-link", reason));
        }
        let mut finding = Finding::pass(format!("{place} is {word} and has its data"));
        finding = self.replicas(info, role, place, finding)?;
        if let Some(limit) = &self.max_memory_percent {
            let percent = memory_percent(info).ok_or_else(|| {
                Finding::error(Fault::NoData, "no-maxmemory", format!("{place} has no `maxmemory`"))
            })?;
            finding = finding.measured("memory_percent", percent);
            finding = within(finding, "memory", "memory_percent", percent, limit)?;
        }
        if self.persistence {
            for name in ["rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status"] {
                match info.get(name) {
                    Some("ok") => {}
                    Some(status) => {
                        return Err(Finding::fail("persistence", format!("{place}: {name} is {status}")));
                    }
                    None => {
                        return Err(Finding::error(
                            Fault::NoData,
                            "persistence",
                            format!("{place} does not tell {name}"),
                        ));
                    }
                }
            }
        }
        Ok(finding)
    }

    fn replicas(
        &self,
        info: &Info,
        role: RedisRole,
        place: &str,
        finding: Finding,
    ) -> Result<Finding, Finding> {
        let mut finding = finding;
        if role == RedisRole::Replica {
            if self.min_replicas.is_some() {
                return Err(Finding::fail(
                    "role",
                    format!("{place} is a replica; its primary has the replicas"),
                ));
            }
            let Some(limit) = &self.max_lag_seconds else { return Ok(finding) };
            let seconds = info.number("master_last_io_seconds_ago").filter(|seconds| *seconds >= 0.0);
            let unknown =
                || Finding::error(Fault::NoData, "lag-unknown", format!("{place} does not tell its lag"));
            let seconds = seconds.ok_or_else(unknown)?;
            finding = finding.measured("lag_seconds", seconds);
            return within(finding, "lag", "lag_seconds", seconds, limit);
        }
        let lags = info.online_replicas();
        #[expect(clippy::cast_precision_loss, reason = "a primary has few replicas")]
        let count = lags.len() as f64;
        finding = finding.measured("replicas", count);
        // A lag of nobody is no lag at all.
        let least = self.min_replicas.or(self.max_lag_seconds.is_some().then_some(1));
        if let Some(least) = least.filter(|least| (lags.len() as u64) < *least) {
            let reason = format!("{place} has {count} replicas online, expected at least {least}");
            return Err(Finding::fail("replicas", reason).measured("replicas", count));
        }
        let Some(limit) = &self.max_lag_seconds else { return Ok(finding) };
        let seconds = lags.into_iter().fold(0.0, f64::max);
        finding = finding.measured("lag_seconds", seconds);
        within(finding, "lag", "lag_seconds", seconds, limit)
    }
}

/// Notes a limit, or fails by it.
fn within(
    finding: Finding,
    code: &'static str,
    name: &str,
    value: f64,
    limit: &Threshold,
) -> Result<Finding, Finding> {
    let rule = format!("{name} <= {limit}");
    if value <= limit.get() {
        return Ok(finding.judged_by(rule));
    }
    let mut failed =
        Finding::fail(code, format!("{name} is {value}, more than {}", limit.get())).judged_by(rule);
    failed.measurements = finding.measurements;
    Err(failed)
}

fn memory_percent(info: &Info) -> Option<f64> {
    let most = info.number("maxmemory").filter(|most| *most > 0.0)?;
    Some(info.number("used_memory")? / most * 100.0)
}

async fn canary(wire: &mut Wire) -> Result<(), Finding> {
    let (key, value) =
        (format!("ops-gates:canary:{:032x}", rand::random::<u128>()), rand::random::<u64>().to_string());
    // NX: nothing that is there is ever written over.
    match ask(wire, &["SET", &key, &value, "NX", "EX", "60"]).await? {
        Reply::Text(text) if text == "OK" => {}
        _ => return Err(wire.strange("SET was not answered by OK")),
    }
    let read = ask(wire, &["GET", &key]).await;
    let deleted = ask(wire, &["DEL", &key]).await;
    match read? {
        Reply::Text(text) if text == value => {}
        _ => {
            return Err(Finding::fail(
                "canary",
                format!("{}: what was written was not read back", wire.place),
            ));
        }
    }
    match deleted? {
        Reply::Number(1) => Ok(()),
        _ => Err(Finding::fail("canary", format!("{}: what was written could not be deleted", wire.place))),
    }
}

fn loading(place: &str) -> Finding {
    Finding::error(Fault::NotReady, "loading", format!("{place} is loading its data"))
}

/// Asks, and takes an error of the server for what it says.
async fn ask(wire: &mut Wire, words: &[&str]) -> Result<Reply, Finding> {
    match resp::ask(wire, words).await? {
        Reply::Error(said) => Err(refusal(&wire.place, &said)),
        reply => Ok(reply),
    }
}

/// What the first word of an error means: the server's own stable names.
fn refusal(place: &str, said: &str) -> Finding {
    let word = said.split(' ').next().unwrap_or_default();
    let reason = format!("{place}: {}", said.chars().take(200).collect::<String>());
    match word {
        "LOADING" => loading(place),
        "MASTERDOWN" => Finding::error(Fault::NotReady, "masterdown", reason),
        "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" => Finding::error(Fault::NotReady, "not-ready", reason),
        "NOAUTH" => Finding::error(Fault::Tool, "noauth", reason),
        "WRONGPASS" | "NOPERM" => Finding::error(Fault::Tool, "refused", reason),
        "READONLY" => Finding::fail("read-only", reason),
        "OOM" | "MISCONF" | "NOREPLICAS" => Finding::fail("no-writes", reason),
        _ => Finding::error(Fault::Tool, "command", reason),
    }
}

/// What INFO says, by name.
struct Info(BTreeMap<String, String>);

impl Info {
    fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.get(name)?.parse().ok()
    }

    /// The lag of each replica that is online: `slave0:ip=…,port=…,state=online,offset=…,lag=0`.
    fn online_replicas(&self) -> Vec<f64> {
        let replicas = self.0.iter().filter(|(name, _)| {
            name.strip_prefix("slave").is_some_and(|number| number.parse::<u32>().is_ok())
        });
        let lag = |value: &String| {
            let field =
                |name: &str| value.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            // One that never acknowledged has a lag of -1.
            let lag: f64 = field("lag")?.parse().ok()?;
            (field("state") == Some("online")).then_some(if lag < 0.0 { f64::INFINITY } else { lag })
        };
        replicas.filter_map(|(_, value)| lag(value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_that_are_not_online_do_not_count() {
        let info = Info::parse(
            "# Replication\r\nrole:master\r\nconnected_slaves:3\r\n\
             slave0:ip=10.0.0.1,port=6379,state=online,offset=1,lag=2\r\n\
             slave1:ip=10.0.0.2,port=6379,state=wait_bgsave,offset=0,lag=0\r\n\
             slave2:ip=10.0.0.3,port=6379,state=online,offset=1,lag=-1\r\n\
             slave_expires_tracked_keys:0\r\n",
        );
        assert_eq!(info.online_replicas(), [2.0, f64::INFINITY]);
        assert_eq!(info.get("role"), Some("master"));
    }
}
