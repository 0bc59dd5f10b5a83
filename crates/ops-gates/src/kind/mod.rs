//! The kinds of gates, one file each: the keys as a plan writes them, what is wrong with them, and the check.
//!
//! Texts, durations, thresholds and names of variables are the types of `value/`; they register themselves, so that a
//! kind lists nothing. (They need the place where they stand, which serde loses in `untagged`, internally tagged and
//! flattened types: use none of these around them.)

mod argv;
mod benchmark;
mod capacity;
mod command;
mod cost;
mod evidence;
mod http;
mod latency;
mod log_quality;
mod postgres;
mod promql;
mod slo;
mod suite;
mod tool;
mod web;

pub use benchmark::{Benchmark, Better, Measure, Pairs};
pub use capacity::{Capacity, CapacityTool};
pub use command::Command;
pub use cost::Cost;
pub use evidence::{Evidence, Limits};
pub use http::Http;
pub use latency::Latency;
pub use log_quality::LogQuality;
pub use postgres::Postgres;
pub use promql::{OnEmpty, Promql};
pub use slo::Slo;
pub use suite::Suite;
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
    read: fn(Spanned<DeValue<'_>>) -> Result<ReadGate, toml::de::Error>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

/// A gate that was read, and its keys as they are shown.
pub(crate) type ReadGate = (Arc<dyn Gate>, serde_json::Value);

impl Kinds {
    /// The kinds of this crate.
    pub fn standard() -> Self {
        Self(BTreeMap::new())
            .with::<Benchmark>("benchmark")
            .with::<Capacity>("capacity")
            .with::<Command>("command")
            .with::<Cost>("cost")
            .with::<Evidence>("evidence")
            .with::<Http>("http")
            .with::<Latency>("latency")
            .with::<LogQuality>("log-quality")
            .with::<Postgres>("postgres")
            .with::<Promql>("promql")
            .with::<Slo>("slo")
            .with::<Suite>("suite")
            .with::<Tool>("tool")
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
    pub(crate) fn read(
        &self,
        kind: &str,
        keys: Spanned<DeValue<'_>>,
    ) -> Option<Result<ReadGate, toml::de::Error>> {
        Some((self.0.get(kind)?.read)(keys))
    }

    /// The schema of a kind's own keys.
    pub(crate) fn schema(&self, kind: &str, generator: &mut SchemaGenerator) -> Option<Schema> {
        Some((self.0.get(kind)?.schema)(generator))
    }
}

fn read<G>(keys: Spanned<DeValue<'_>>) -> Result<ReadGate, toml::de::Error>
where
    G: Gate + DeserializeOwned + Serialize + 'static,
{
    let gate = G::deserialize(ValueDeserializer::from(keys))?;
    let shown = serde_json::to_value(&gate).map_err(serde::de::Error::custom)?;
    Ok((Arc::new(gate), shown))
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
