//! Where spans, log records and metrics go, as OpenTelemetry's specification of OTLP exporters has it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Collectors to which everything is sent over OTLP/HTTP with protobuf, without ever delaying the program: each kind has a
/// bounded queue and a thread of its own, and what a collector does not take is counted. Feature `otlp`.
#[derive(Clone, Debug)]
pub struct Otlp {
    /// Where recorded spans go, if they do.
    pub spans: Option<Collector>,
    /// Where lines go, besides the log, if they do.
    pub logs: Option<Collector>,
    /// Where metrics go, if they do. Needs [`init`](crate::init()): a layer alone has none.
    pub metrics: Option<Collector>,
    /// How often metrics are sent.
    pub interval: Duration,
    /// The bytes of spans, and again of log records, that may wait for a collector; what comes on top is lost.
    pub capacity: usize,
}

/// An endpoint that takes one kind of record.
#[derive(Clone)]
pub struct Collector {
    /// The whole address, path included: `http://localhost:4318/v1/traces`. `https` needs the feature `otlp-tls`.
    pub url: String,
    /// Headers of each request, for example `authorization`. Never shown.
    pub headers: Vec<(String, String)>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// A file of certificates (PEM) that are trusted instead of those of the system.
    pub certificates: Option<PathBuf>,
}

impl Otlp {
    /// Sends everything to the collector at this address, to the paths of OTLP: `http://localhost:4318`.
    pub fn to(endpoint: &str) -> Self {
        let collector = |path: &str| {
            let url = format!("{}/{path}", endpoint.trim_end_matches('/'));
            Some(Collector { url, headers: Vec::new(), timeout: Duration::from_secs(10), certificates: None })
        };
        Self {
            spans: collector("v1/traces"),
            logs: collector("v1/logs"),
            metrics: collector("v1/metrics"),
            interval: Duration::from_secs(60),
            capacity: 8 << 20,
        }
    }

    /// Reads the variables; `None` where no endpoint is named: nothing is sent to a collector that nobody asked for.
    pub(crate) fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Option<Self> {
        if lookup("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return None;
        }
        let base = lookup("OTEL_EXPORTER_OTLP_ENDPOINT");
        let defaults = Self::to(base.as_deref().unwrap_or_default());
        let milliseconds = |name: &str| {
            lookup(name)?.parse::<u64>().ok().filter(|time| *time > 0).map(Duration::from_millis)
        };
        let collector = |signal: &str, default: Option<Collector>| {
            if lookup(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|exporter| exporter == "none") {
                return None;
            }
            let name = |what: &str| format!("OTEL_EXPORTER_OTLP_{signal}_{what}");
            let either =
                |what: &str| lookup(&name(what)).or_else(|| lookup(&format!("OTEL_EXPORTER_OTLP_{what}")));
            let default = default.filter(|_| base.is_some());
            let url = lookup(&name("ENDPOINT")).or_else(|| default.map(|default| default.url))?;
            let timeout =
                milliseconds(&name("TIMEOUT")).or_else(|| milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT"));
            Some(Collector {
                url,
                headers: either("HEADERS").map(|text| headers(&text)).unwrap_or_default(),
                timeout: timeout.unwrap_or(Duration::from_secs(10)),
                certificates: either("CERTIFICATE").map(PathBuf::from),
            })
        };
        let otlp = Self {
            spans: collector("TRACES", defaults.spans.clone()),
            logs: collector("LOGS", defaults.logs.clone()),
            metrics: collector("METRICS", defaults.metrics.clone()),
            interval: milliseconds("OTEL_METRIC_EXPORT_INTERVAL").unwrap_or(defaults.interval),
            ..defaults
        };
        (otlp.spans.is_some() || otlp.logs.is_some() || otlp.metrics.is_some()).then_some(otlp)
    }
}

/// Reads `name=value,name=value`, values percent-encoded.
fn headers(text: &str) -> Vec<(String, String)> {
    let members = text.split(',').filter_map(|member| member.split_once('='));
    members.map(|(name, value)| (name.trim().to_owned(), decoded(value.trim()))).collect()
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *byte == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        match digits.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(code) => {
                out.push(code);
                rest = &tail[2..];
            }
            None => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector")
            .field("url", &self.url)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Option<Otlp> {
        Otlp::from_lookup(|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_is_sent_where_nobody_asked_for_it() {
        assert!(read(&[]).is_none());
        assert!(read(&[("OTEL_EXPORTER_OTLP_HEADERS", "a=b")]).is_none());
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        assert!(read(&[base, ("OTEL_SDK_DISABLED", "TRUE")]).is_none());
        let off = ["OTEL_TRACES_EXPORTER", "OTEL_LOGS_EXPORTER", "OTEL_METRICS_EXPORTER"]
            .map(|name| (name, "none"));
        assert!(read(&[base, off[0], off[1], off[2]]).is_none());
    }

    #[test]
    fn a_signal_has_settings_of_its_own() {
        let otlp = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/otlp/"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://d/logs"),
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc%3D, x-tenant = t%zz"),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "a=b"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "7"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "250"),
        ]);
        let otlp = otlp.expect("an endpoint is named");
        let (spans, logs) = (otlp.spans.expect("on"), otlp.logs.expect("on"));
        assert_eq!(
            (spans.url.as_str(), logs.url.as_str()),
            ("http://c:4318/otlp/v1/traces", "http://d/logs")
        );
        let expected = [("authorization", "Basic abc="), ("x-tenant", "t%zz")];
        assert_eq!(spans.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(logs.headers, [("a".to_owned(), "b".to_owned())]);
        assert_eq!((spans.timeout.as_millis(), logs.timeout.as_millis()), (1500, 7));
        assert!(otlp.metrics.is_none() && otlp.interval.as_millis() == 250);
        assert!(!format!("{spans:?}").contains("Basic"));
    }
}
