//! Where spans, log records and metrics go, as OpenTelemetry's specification of OTLP exporters has it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// Collectors to which everything is sent, over HTTP or gRPC, without ever delaying the program: each kind has a bounded
/// queue and a thread of its own, and what a collector does not take is counted. Feature `otlp`.
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
    /// The whole address, path included: `http://localhost:4318/v1/traces`; for gRPC without a path, and on port 4317 where
    /// it names none. `https` needs the feature `otlp-tls`.
    pub url: String,
    /// What the collector speaks there.
    pub protocol: Protocol,
    /// Headers (for gRPC: metadata) of each request, for example `authorization`. Never shown.
    pub headers: Vec<(String, String)>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// A file of certificates (PEM) that are trusted instead of those of the system.
    pub certificates: Option<PathBuf>,
}

/// A transport of OTLP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// `http/protobuf`.
    #[default]
    Http,
    /// `grpc`; needs the feature `otlp-grpc`.
    Grpc,
    /// What the environment names and this crate does not speak: refused at the start, rather than taken for another.
    Other(String),
}

impl Otlp {
    /// Sends everything over HTTP to the collector at this address, to the paths of OTLP: `http://localhost:4318`.
    pub fn to(endpoint: &str) -> Self {
        let url = |path: &str| format!("{}/{path}", endpoint.trim_end_matches('/'));
        Self::each(&Protocol::Http, url)
    }

    /// Sends everything over gRPC to the collector at this address: `http://localhost:4317`. Needs the feature `otlp-grpc`.
    pub fn to_grpc(endpoint: &str) -> Self {
        Self::each(&Protocol::Grpc, |_| endpoint.to_owned())
    }

    fn each(protocol: &Protocol, url: impl Fn(&str) -> String) -> Self {
        let collector = |path: &str| {
            Some(Collector {
                url: url(path),
                protocol: protocol.clone(),
                headers: Vec::new(),
                timeout: Duration::from_secs(10),
                certificates: None,
            })
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
        let milliseconds = |name: &str| {
            lookup(name)?.parse::<u64>().ok().filter(|time| *time > 0).map(Duration::from_millis)
        };
        let collector = |signal: &str, path: &str| {
            let exporter = lookup(&format!("OTEL_{signal}_EXPORTER"));
            if exporter.as_deref() == Some("none") {
                return None;
            }
            let name = |what: &str| format!("OTEL_EXPORTER_OTLP_{signal}_{what}");
            let either =
                |what: &str| lookup(&name(what)).or_else(|| lookup(&format!("OTEL_EXPORTER_OTLP_{what}")));
            let protocol = either("PROTOCOL").map_or(Protocol::Http, |name| Protocol::named(&name));
            let own = lookup(&name("ENDPOINT"));
            // Who asks for it by name and names no address means the one on this machine.
            let base = base.as_deref().or((exporter.as_deref() == Some("otlp")).then_some(match protocol {
                Protocol::Grpc => "http://localhost:4317",
                _ => "http://localhost:4318",
            }));
            let url = match protocol {
                Protocol::Grpc => {
                    let is_insecure = either("INSECURE").is_some_and(|it| it.eq_ignore_ascii_case("true"));
                    with_scheme(&own.or_else(|| base.map(str::to_owned))?, is_insecure)
                }
                _ => own.or_else(|| Some(format!("{}/{path}", base?.trim_end_matches('/'))))?,
            };
            let timeout =
                milliseconds(&name("TIMEOUT")).or_else(|| milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT"));
            Some(Collector {
                url,
                protocol,
                headers: either("HEADERS").map(|text| headers(&text)).unwrap_or_default(),
                timeout: timeout.unwrap_or(Duration::from_secs(10)),
                certificates: either("CERTIFICATE").map(PathBuf::from),
            })
        };
        let defaults = Self::to("");
        let otlp = Self {
            spans: collector("TRACES", "v1/traces"),
            logs: collector("LOGS", "v1/logs"),
            metrics: collector("METRICS", "v1/metrics"),
            interval: milliseconds("OTEL_METRIC_EXPORT_INTERVAL").unwrap_or(defaults.interval),
            capacity: defaults.capacity,
        };
        (otlp.spans.is_some() || otlp.logs.is_some() || otlp.metrics.is_some()).then_some(otlp)
    }
}

impl Protocol {
    fn named(name: &str) -> Self {
        match name {
            "http/protobuf" => Self::Http,
            "grpc" => Self::Grpc,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// The target of a gRPC client may stand without a scheme; then it is secure unless it was said that it is not.
fn with_scheme(target: &str, is_insecure: bool) -> String {
    match target.contains("://") {
        true => target.to_owned(),
        false => format!("{}://{target}", if is_insecure { "http" } else { "https" }),
    }
}

/// Says that a header cannot be sent. Its value is not repeated.
pub(super) fn no_header(name: &str) -> Error {
    Error::new(ErrorKind::InvalidCollector, format!("header {name:?} for the collector is no header"))
}

/// Reads `name=value,name=value`, values percent-encoded.
fn headers(text: &str) -> Vec<(String, String)> {
    let members = text.split(',').filter_map(|member| member.split_once('='));
    members.map(|(name, value)| (name.trim().to_owned(), decoded(value.trim()))).collect()
}

/// Decodes what is percent-encoded, and leaves what only looks so.
pub(super) fn decoded(text: &str) -> String {
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
            .field("protocol", &self.protocol)
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

    #[test]
    fn a_protocol_is_chosen_for_all_or_for_one() {
        let check = |vars: &[(&str, &str)], expected: [(&str, Protocol); 3]| {
            let otlp = read(vars).expect("an endpoint is named");
            let found = [otlp.spans, otlp.logs, otlp.metrics].map(|one| {
                let one = one.expect("on");
                (one.url, one.protocol)
            });
            assert_eq!(found, expected.map(|(url, protocol)| (url.to_owned(), protocol)), "{vars:?}");
        };
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let all = || ("http://c:4317", Protocol::Grpc);
        check(&[base, grpc], [all(), all(), all()]);
        let logs = ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf");
        check(&[base, grpc, logs], [all(), ("http://c:4317/v1/logs", Protocol::Http), all()]);
        let json = || Protocol::Other("http/json".into());
        check(
            &[base, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")],
            [
                ("http://c:4317/v1/traces", json()),
                ("http://c:4317/v1/logs", json()),
                ("http://c:4317/v1/metrics", json()),
            ],
        );
        let bare = ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317");
        let secure = || ("https://c:4317", Protocol::Grpc);
        check(&[bare, grpc, ("OTEL_EXPORTER_OTLP_LOGS_INSECURE", "true")], [secure(), all(), secure()]);
    }

    #[test]
    fn who_asks_for_it_by_name_gets_the_collector_of_this_machine() {
        let asked = ("OTEL_TRACES_EXPORTER", "otlp");
        let url = |vars: &[(&str, &str)]| {
            let otlp = read(vars).expect("asked for");
            assert!(otlp.logs.is_none() && otlp.metrics.is_none());
            otlp.spans.expect("on").url
        };
        assert_eq!(url(&[asked]), "http://localhost:4318/v1/traces");
        assert_eq!(url(&[asked, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]), "http://localhost:4317");
    }
}
