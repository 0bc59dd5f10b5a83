//! What a user of the crate sees: lines, ids, and a process that survives what happens to its logs.

mod admin;
mod allocations;
mod audit;
#[cfg(all(feature = "otlp", feature = "http"))]
mod broker;
#[cfg(all(feature = "otlp", feature = "http"))]
mod chain;
#[cfg(feature = "otlp")]
mod collector;
mod fuzz;
#[cfg(feature = "otlp-grpc")]
mod grpc;
#[cfg(feature = "http")]
mod http;
mod ids;
mod lines;
mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
mod process;
mod propagation;
mod redaction;
#[cfg(feature = "tokio")]
mod run;
mod servers;
#[cfg(all(feature = "otlp-grpc", feature = "otlp-tls"))]
mod tls;
mod traces;
mod writer;

use ops_telemetry::testing::Capture;
use ops_telemetry::{LogFormat, Options, Roots};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// A log line as its members in order, so that a key that stands twice is seen.
struct Line(Vec<(String, Value)>);

impl Line {
    fn get(&self, key: &str) -> &Value {
        self.find(key).unwrap_or_else(|| panic!("no {key} in {:?}", self.keys()))
    }

    fn find(&self, key: &str) -> Option<&Value> {
        let mut values = self.0.iter().filter(|(name, _)| name == key).map(|(_, value)| value);
        let value = values.next();
        assert!(values.next().is_none(), "{key} stands twice");
        value
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(key, _)| key.as_str()).collect()
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Line;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Line(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn parse(line: &str) -> Line {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
}

fn options() -> Options {
    Options { format: LogFormat::Json, filter: "trace".into(), roots: Roots::Process, ..Options::default() }
}

/// Runs `body` and returns the lines that it logs.
fn lines(options: Options, body: impl FnOnce()) -> Vec<Line> {
    let capture = Capture::default();
    capture.run(options, body).expect("valid options");
    capture.lines().iter().map(|line| parse(line)).collect()
}

/// Runs `body` and returns the one line that it logs.
fn line(body: impl FnOnce()) -> Line {
    let mut lines = lines(options(), body);
    assert_eq!(lines.len(), 1);
    lines.remove(0)
}
