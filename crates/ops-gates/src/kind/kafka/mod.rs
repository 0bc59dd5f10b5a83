//! `kind = "kafka"`: asks a Kafka cluster for its brokers, topics and replicas in sync, judges a group's lag, and sees a
//! record come back.
//!
//! The protocol by hand: five requests are less than a client, and none makes a topic by asking for it.

mod cluster;
mod wire;

use super::net::{wrong_password, wrong_place};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Text, Threshold};
use cluster::{Cluster, Partition, refused};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A Kafka cluster that must have its topics, in sync.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Brokers to ask for the others, each as `host:port`; the first that answers is asked.
    pub brokers: Vec<Text>,
    /// Topics that must be there, each with the partitions that it must have at least. Every partition must have a leader.
    #[serde(default)]
    pub topics: BTreeMap<String, usize>,
    /// How many replicas of every partition of the topics must be in sync. A partition that has fewer replicas fails too.
    pub min_in_sync: Option<usize>,
    /// How many brokers the cluster must have.
    pub min_brokers: Option<usize>,
    /// A group whose lag on the topics is judged.
    pub consumer_group: Option<Text>,
    /// How many records the group may be behind, over all partitions.
    pub max_lag: Option<Threshold>,
    /// A topic to which one record is written, which must come back. It stays for as long as the topic keeps records: use
    /// one that nobody else reads.
    pub canary_topic: Option<Text>,
    /// Whether the brokers speak TLS.
    #[serde(default)]
    pub tls: bool,
    /// The user.
    pub user: Option<Text>,
    /// The password, as `${secret:NAME}` or `${env:NAME}`.
    pub password: Option<Text>,
    /// How to log in.
    #[serde(default)]
    pub sasl: Sasl,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

/// A mechanism of SASL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sasl {
    /// The password as it is; use TLS.
    #[default]
    Plain,
    /// SCRAM-SHA-256.
    #[serde(rename = "scram_sha_256")]
    ScramSha256,
    /// SCRAM-SHA-512.
    #[serde(rename = "scram_sha_512")]
    ScramSha512,
}

impl Sasl {
    fn word(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Gate for Kafka {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = self.brokers.iter().filter_map(wrong_place).collect();
        wrong.extend(wrong_password(self.password.as_ref()));
        if self.brokers.is_empty() {
            wrong.push(Wrong::gate("`brokers` is empty; write `brokers = [\"host:9092\"]`"));
        }
        if self.topics.is_empty() && self.canary_topic.is_none() && self.min_brokers.is_none() {
            wrong.push(Wrong::gate(
                "a broker that answers proves little; give `topics`, `min_brokers` or `canary_topic`",
            ));
        }
        for (topic, _) in self.topics.iter().filter(|(_, least)| **least == 0) {
            wrong.push(Wrong::gate(format!("topic `{topic}` needs at least 1 partition")));
        }
        if self.topics.is_empty() && (self.min_in_sync.is_some() || self.consumer_group.is_some()) {
            wrong.push(Wrong::gate("`min_in_sync` and `consumer_group` are judged on `topics`"));
        }
        if self.min_in_sync == Some(0) || self.min_brokers == Some(0) {
            wrong.push(Wrong::gate("a minimum of 0 is true of every cluster, so it would prove nothing"));
        }
        if self.consumer_group.is_some() != self.max_lag.is_some() {
            wrong.push(Wrong::gate("`consumer_group` and `max_lag` need each other"));
        }
        if self.user.is_some() != self.password.is_some() {
            wrong.push(Wrong::gate("`user` and `password` need each other"));
        }
        wrong
    }

    fn summary(&self) -> String {
        let topics: Vec<&str> = self.topics.keys().map(String::as_str).collect();
        format!(
            "Kafka at {}: {}",
            self.brokers.first().map(Text::template).unwrap_or_default(),
            topics.join(", ")
        )
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Kafka {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let canary = self.canary_topic.as_ref().map(|topic| context.resolve(topic)).transpose()?;
        let mut names: Vec<&str> = self.topics.keys().map(String::as_str).collect();
        names.extend(canary.as_deref().filter(|topic| !self.topics.contains_key(*topic)));
        let mut cluster = Cluster::open(self, context, &names).await?;
        let brokers = cluster.metadata.brokers.len();
        if let Some(least) = self.min_brokers.filter(|least| brokers < *least) {
            let reason = format!("the cluster has {brokers} brokers, expected at least {least}");
            return Err(Finding::fail("brokers", reason));
        }
        for (topic, least) in &self.topics {
            self.judge(topic, partitions(&cluster, topic)?, *least)?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a cluster has few brokers")]
        let mut finding =
            Finding::pass(format!("{brokers} brokers and {} topics are as expected", self.topics.len()))
                .measured("brokers", brokers as f64);
        if let (Some(group), Some(limit)) = (&self.consumer_group, &self.max_lag) {
            let group = context.resolve(group)?;
            let lag = self.lag(&mut cluster, &group).await?;
            let rule = format!("lag_records <= {limit}");
            if lag > limit.get() {
                let reason = format!("group `{group}` is {lag} records behind, more than {}", limit.get());
                return Err(Finding::fail("lag", reason).measured("lag_records", lag).judged_by(rule));
            }
            finding.reason.push_str(&format!(", group `{group}` is {lag} records behind"));
            finding = finding.measured("lag_records", lag).judged_by(rule);
        }
        if let Some(topic) = &canary {
            let seconds = round_trip(context, &mut cluster, topic).await?;
            finding.reason.push_str(", a record came back");
            finding = finding.measured("round_trip_seconds", seconds);
        }
        Ok(finding)
    }

    fn judge(&self, topic: &str, partitions: &[Partition], least: usize) -> Result<(), Finding> {
        if partitions.len() < least {
            let reason =
                format!("topic `{topic}` has {} partitions, expected at least {least}", partitions.len());
            return Err(Finding::fail("partitions", reason));
        }
        for partition in partitions {
            let id = partition.id;
            if partition.leader < 0 {
                return Err(Finding::fail("no-leader", format!("{topic}/{id} has no leader")));
            }
            // 9: a replica is not available, which the count of those in sync tells better.
            if ![0, 9].contains(&partition.error) {
                return Err(refused(&format!("{topic}/{id}"), partition.error));
            }
            if let Some(least) = self.min_in_sync.filter(|least| partition.in_sync < *least) {
                let (in_sync, replicas) = (partition.in_sync, partition.replicas);
                let reason = format!(
                    "{topic}/{id} has {in_sync} of {replicas} replicas in sync, expected at least {least}"
                );
                return Err(Finding::fail("in-sync", reason));
            }
        }
        Ok(())
    }

    /// How many records a group is behind on all partitions of the topics.
    async fn lag(&self, cluster: &mut Cluster<'_>, group: &str) -> Result<f64, Finding> {
        let mut lag = 0_i64;
        for topic in self.topics.keys() {
            let leaders: Vec<(i32, i32)> = partitions(cluster, topic)?
                .iter()
                .map(|partition| (partition.id, partition.leader))
                .collect();
            let ids: Vec<i32> = leaders.iter().map(|(id, _)| *id).collect();
            let committed = cluster.committed(group, topic, &ids).await?;
            for (id, leader) in leaders {
                let offset =
                    committed.iter().find(|(found, _)| *found == id).map_or(-1, |(_, offset)| *offset);
                let end = cluster.end(topic, id, leader).await?;
                // A group that never committed is not one without lag; a partition without records needs no commit.
                if offset < 0 && end > 0 {
                    let reason = format!("group `{group}` has committed nothing on {topic}/{id}");
                    return Err(Finding::error(Fault::NoData, "no-commit", reason));
                }
                // A broker whose end lies before what was committed does not count records: nothing can be judged by it.
                if offset > end {
                    let reason = format!(
                        "{topic}/{id} ends at {end}, before the {offset} that group `{group}` committed"
                    );
                    return Err(Finding::inconclusive("offsets", reason));
                }
                lag += end - offset.max(0);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a lag beyond 2^53 fails every limit")]
        Ok(lag as f64)
    }
}

/// The partitions of a topic that is there.
fn partitions<'a>(cluster: &'a Cluster<'_>, topic: &str) -> Result<&'a [Partition], Finding> {
    let found = cluster.metadata.topics.iter().find(|found| found.name == topic);
    match found {
        Some(found) if found.error == 0 && !found.partitions.is_empty() => Ok(&found.partitions),
        Some(found) if ![0, 3].contains(&found.error) => {
            Err(refused(&format!("topic `{topic}`"), found.error))
        }
        _ => Err(Finding::fail("topic-missing", format!("there is no topic `{topic}`"))),
    }
}

/// Writes a record to the first partition and reads it; returns how long that took.
async fn round_trip(context: &Context<'_>, cluster: &mut Cluster<'_>, topic: &str) -> Result<f64, Finding> {
    let Some((id, leader)) = partitions(cluster, topic)?.first().map(|it| (it.id, it.leader)) else {
        return Err(Finding::fail("topic-missing", format!("there is no topic `{topic}`")));
    };
    let token = format!("ops-gates canary {:032x}", rand::random::<u128>());
    let started = Instant::now();
    let offset = cluster.produce(topic, id, leader, token.as_bytes()).await?;
    // Not to the end of the gate, so that the reason can still be told.
    while started.elapsed() < context.timeout() * 3 / 4 {
        let records = cluster.fetch(topic, id, leader, offset).await?;
        if records.windows(token.len()).any(|window| window == token.as_bytes()) {
            return Ok(started.elapsed().as_secs_f64());
        }
        // The attributes of a batch begin at its 22nd byte; their lowest three bits name a compression.
        if records.get(22).is_some_and(|attributes| attributes & 0x07 != 0) {
            let reason = format!("topic `{topic}` compresses what it stores, and we do not read that");
            return Err(Finding::inconclusive("compressed", reason));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Finding::fail("canary", format!("{topic}/{id} took a record at {offset}, and did not give it back")))
}
