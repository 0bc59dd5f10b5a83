//! The kinds of gates, one file each: the keys as a plan writes them, what is wrong with them, and the check.
//!
//! Texts, durations, thresholds and names of variables are the types of `value/`; they register themselves, so that a
//! kind lists nothing. (They need the place where they stand, which serde loses in `untagged`, internally tagged and
//! flattened types: use none of these around them.)

mod alertmanager;
mod amqp;
mod argv;
mod benchmark;
mod capacity;
mod certificate;
mod change;
mod command;
mod compare;
mod cost;
mod dns;
mod evidence;
mod git;
mod grafana;
mod http;
mod kafka;
mod latency;
mod llm;
mod log_quality;
mod loki;
mod mongodb;
mod nats;
mod net;
mod otlp;
mod postgres;
mod prometheus;
mod promql;
mod read;
mod redis;
mod s3;
mod scram;
mod slo;
mod suite;
mod tcp;
mod tls;
mod tool;
mod web;

pub use alertmanager::Alertmanager;
pub use amqp::{Amqp, QueueLimits};
pub use benchmark::{Benchmark, Better, Measure, Pairs};
pub use capacity::{Capacity, CapacityTool};
pub use change::{
    Approval, ChangeRequest, ChangedFiles, Day, Decision, DeploymentLog, Documents, Freeze, PathRule, Phase,
    ReleaseNotes, RollbackPlan, Week, Window,
};
pub use command::Command;
pub use compare::{AfterWindow, Compare, GoodWindow, Metric, Proposal};
pub use cost::Cost;
pub use dns::{Dns, DnsRecord};
pub use evidence::{
    Advisory, Attestation, BackupFreshness, DrillRecord, Evidence, Limits, MigrationLint, Rehearsal, Scanner,
    SecretScan, Severity, Vulnerabilities,
};
pub use grafana::Grafana;
pub use http::{Http, Statuses};
pub use kafka::{Kafka, Sasl};
pub use latency::Latency;
pub use llm::Llm;
pub use log_quality::LogQuality;
pub use loki::Loki;
pub use mongodb::Mongodb;
pub use nats::Nats;
pub use otlp::Otlp;
pub use postgres::{Migrations, Postgres};
pub use prometheus::Prometheus;
pub use promql::{OnEmpty, Promql};
pub use redis::{Redis, RedisRole};
pub use s3::S3;
pub use slo::Slo;
pub use suite::Suite;
pub use tcp::Tcp;
pub use tls::{Starttls, Tls};
pub use tool::{Tool, ToolName};

use crate::gate::Gate;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

/// The kinds that a plan may use.
#[derive(Clone)]
pub struct Kinds(BTreeMap<&'static str, Kind>);

/// How a kind is read from the keys of a gate.
#[derive(Clone, Copy)]
struct Kind {
    read: fn(Spanned<DeValue<'_>>) -> Read,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

/// What came of reading a gate.
type Read = Result<Arc<dyn Shown>, toml::de::Error>;

/// A gate that was read from a plan, whose keys can be shown.
pub(crate) trait Shown: Gate {
    /// The keys; thresholds with the values that count, once these are settled.
    fn keys(&self) -> Result<serde_json::Value, serde_json::Error>;
}

impl<G: Gate + Serialize> Shown for G {
    fn keys(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::to_value(self)
    }
}

impl Kinds {
    /// The kinds of this crate.
    pub fn standard() -> Self {
        Self(BTreeMap::new())
            .with::<Alertmanager>("alertmanager")
            .with::<Amqp>("amqp")
            .with::<Approval>("approval")
            .with::<Attestation>("attestation")
            .with::<BackupFreshness>("backup-freshness")
            .with::<Benchmark>("benchmark")
            .with::<Capacity>("capacity")
            .with::<ChangeRequest>("change-request")
            .with::<ChangedFiles>("changed-files")
            .with::<Command>("command")
            .with::<Compare>("compare")
            .with::<Cost>("cost")
            .with::<DeploymentLog>("deployment-log")
            .with::<Dns>("dns")
            .with::<Documents>("documents")
            .with::<DrillRecord>("drill-record")
            .with::<Evidence>("evidence")
            .with::<Grafana>("grafana")
            .with::<Http>("http")
            .with::<Kafka>("kafka")
            .with::<Latency>("latency")
            .with::<Llm>("llm")
            .with::<LogQuality>("log-quality")
            .with::<Loki>("loki")
            .with::<MigrationLint>("migration-lint")
            .with::<Mongodb>("mongodb")
            .with::<Nats>("nats")
            .with::<Otlp>("otlp")
            .with::<Postgres>("postgres")
            .with::<Prometheus>("prometheus")
            .with::<Promql>("promql")
            .with::<Redis>("redis")
            .with::<Rehearsal>("rehearsal")
            .with::<ReleaseNotes>("release-notes")
            .with::<RollbackPlan>("rollback-plan")
            .with::<S3>("s3")
            .with::<SecretScan>("secret-scan")
            .with::<Slo>("slo")
            .with::<Suite>("suite")
            .with::<Tcp>("tcp")
            .with::<Tls>("tls")
            .with::<Tool>("tool")
            .with::<Vulnerabilities>("vulnerabilities")
            .with::<Window>("window")
    }

    /// Adds a kind, or replaces the one of this name.
    #[must_use]
    pub fn with<G>(mut self, name: &'static str) -> Self
    where
        G: Gate + DeserializeOwned + Serialize + JsonSchema + 'static,
    {
        let kind = Kind { read: read::<G>, schema: |generator| generator.subschema_for::<G>() };
        self.0.insert(name, kind);
        self
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    /// Reads a gate of a kind; none where the kind is not known.
    pub(crate) fn read(&self, kind: &str, keys: Spanned<DeValue<'_>>) -> Option<Read> {
        Some((self.0.get(kind)?.read)(keys))
    }

    /// The schema of a kind's own keys.
    pub(crate) fn schema(&self, kind: &str, generator: &mut SchemaGenerator) -> Option<Schema> {
        Some((self.0.get(kind)?.schema)(generator))
    }
}

fn read<G>(keys: Spanned<DeValue<'_>>) -> Read
where
    G: Gate + DeserializeOwned + Serialize + 'static,
{
    Ok(Arc::new(G::deserialize(ValueDeserializer::from(keys))?))
}

impl Default for Kinds {
    fn default() -> Self {
        Self::standard()
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let part = cause.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        source = cause.source();
    }
    text.replace('\n', "; ")
}
