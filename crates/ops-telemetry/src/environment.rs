//! Settings from the environment: the one place of this crate that reads it, and only where the program asks for it.

use std::ffi::OsString;

use crate::context::TraceContext;
use crate::filter::Filter;
use crate::options::Options;
#[cfg(feature = "otlp")]
use crate::otlp::Otlp;
use crate::propagate::TraceState;
use crate::sampling::Sampling;

impl Options {
    /// Returns the default with what the environment says. Only these names are read, and only now:
    ///
    /// | variable | setting |
    /// |---|---|
    /// | `OPS_LOG`, else `LOG_LEVEL`, else `RUST_LOG` | the filter |
    /// | `NO_COLOR` | no colours |
    /// | `TRACEPARENT`, `TRACESTATE`, `BAGGAGE` | the caller's trace |
    /// | `OTEL_SERVICE_NAME` | the service's name, before that of the next one |
    /// | `OTEL_RESOURCE_ATTRIBUTES` | name, version and more: `service.version=1.2,deployment.environment.name=prod` |
    /// | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | which traces are recorded |
    /// | `OTEL_EXPORTER_OTLP_ENDPOINT`, `_PROTOCOL` (`http/protobuf`, `grpc`), `_HEADERS`, `_TIMEOUT`, `_CERTIFICATE`, `_INSECURE`; `OTEL_METRIC_EXPORT_INTERVAL` | with the feature `otlp`: the collector |
    /// | the same with `_TRACES`, `_LOGS` or `_METRICS` after `OTLP`; `OTEL_TRACES_EXPORTER` and so on: `none`, or `otlp` for a collector on this machine | that of one kind |
    /// | `OTEL_SDK_DISABLED` | `true`: no collector |
    ///
    /// A malformed `TRACEPARENT` counts as none, and `TRACESTATE` with it, as W3C demands. So does a `LOG_LEVEL` or
    /// `RUST_LOG` that this crate cannot read: it may be meant for a program with another syntax.
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// Does what [`Options::from_env`] does for a service that has a name and a version, which the environment may
    /// override.
    pub fn for_service(name: &str, version: &str) -> Self {
        Self { service: name.to_owned(), version: version.to_owned(), ..Self::default() }
            .with_lookup(|name| std::env::var_os(name))
    }

    /// Does what [`Options::from_env`] does, with the variables that `lookup` gives.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        Self::default().with_lookup(lookup)
    }

    fn with_lookup(mut self, lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| lookup(name)?.into_string().ok().filter(|value| !value.is_empty());
        let readable = |name: &str| text(name).filter(|filter| Filter::parse(filter).is_ok());
        let filter = text("OPS_LOG").or_else(|| readable("LOG_LEVEL")).or_else(|| readable("RUST_LOG"));
        self.filter = filter.unwrap_or(self.filter);
        self.no_color = lookup("NO_COLOR").is_some_and(|value| !value.is_empty());
        self.parent = text("TRACEPARENT").and_then(|value| TraceContext::parse(&value).ok());
        // A malformed one must not be handed on, and does not invalidate the parent.
        let is_valid = |text: &String| TraceState::parse([text.as_str()]).is_ok();
        self.tracestate = self.parent.and_then(|_| text("TRACESTATE")).filter(is_valid);
        self.baggage = text("BAGGAGE");
        for (name, value) in attributes(&text("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default()) {
            match name.as_str() {
                "service.name" => self.service = value,
                "service.version" => self.version = value,
                _ => self.resource.push((name, value)),
            }
        }
        self.service = text("OTEL_SERVICE_NAME").unwrap_or(self.service);
        let sampler = text("OTEL_TRACES_SAMPLER");
        let argument = text("OTEL_TRACES_SAMPLER_ARG");
        let sampling = sampler.and_then(|name| Sampling::from_names(&name, argument.as_deref()));
        self.sampling = sampling.unwrap_or(self.sampling);
        #[cfg(feature = "otlp")]
        {
            self.otlp = Otlp::from_lookup(text);
        }
        self
    }
}

/// Reads `name=value,name=value`, values percent-encoded. OpenTelemetry demands that one bad member discards all.
fn attributes(text: &str) -> Vec<(String, String)> {
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    let read = members.map(|member| {
        let (name, value) = member.split_once('=')?;
        let name = name.trim();
        (!name.is_empty()).then_some(())?;
        Some((name.to_owned(), percent_decoded(value.trim())?))
    });
    read.collect::<Option<Vec<_>>>().unwrap_or_default()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        out.push((digit()? << 4 | digit()?) as u8);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn options(vars: &[(&str, &str)]) -> Options {
        let find = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        Options::from_lookup(find)
    }

    #[test]
    fn the_environment_is_read() {
        let options = options(&[
            ("OPS_LOG", "debug"),
            ("LOG_LEVEL", "warn"),
            ("RUST_LOG", "trace"),
            ("NO_COLOR", "1"),
            ("TRACEPARENT", PARENT),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ]);
        assert_eq!(options.filter, "debug");
        assert!(options.no_color);
        assert_eq!(options.parent.map(|p| p.to_traceparent()), Some(PARENT.to_owned()));
        assert_eq!(options.sampling, Sampling { ratio: 0.5, ..Sampling::default() });
    }

    #[test]
    fn a_filter_for_other_programs_is_ignored_and_our_own_is_not() {
        assert_eq!(options(&[("RUST_LOG", "warn,h2=off")]).filter, "warn,h2=off");
        assert_eq!(options(&[("RUST_LOG", "[span{a=1}]=debug")]).filter, "info");
        assert_eq!(options(&[("LOG_LEVEL", "20"), ("RUST_LOG", "debug")]).filter, "debug");
        assert_eq!(options(&[("LOG_LEVEL", "WARN"), ("RUST_LOG", "debug")]).filter, "WARN");
        assert_eq!(options(&[("OPS_LOG", "loud")]).filter, "loud");
    }

    #[test]
    fn nothing_set_is_the_default() {
        let options =
            options(&[("OPS_LOG", ""), ("NO_COLOR", ""), ("BAGGAGE", ""), ("OTEL_TRACES_SAMPLER", "x")]);
        assert_eq!((options.filter.as_str(), options.no_color, options.baggage), ("info", false, None));
        assert_eq!(options.sampling, Sampling::default());
    }

    #[test]
    fn a_bad_parent_takes_the_tracestate_with_it() {
        let options = options(&[("TRACEPARENT", "00-bad"), ("TRACESTATE", "a=b"), ("BAGGAGE", "k=v")]);
        assert_eq!((options.parent, options.tracestate), (None, None));
        assert_eq!(options.baggage.as_deref(), Some("k=v"));
    }

    #[test]
    fn a_bad_tracestate_goes_alone() {
        let tracestate = |text| options(&[("TRACEPARENT", PARENT), ("TRACESTATE", text)]).tracestate;
        assert_eq!(tracestate("a=b,c=d").as_deref(), Some("a=b,c=d"));
        assert_eq!(tracestate("a=b\nc"), None);
        assert!(options(&[("TRACEPARENT", PARENT), ("TRACESTATE", "\n")]).parent.is_some());
    }

    #[test]
    fn the_resource_is_read() {
        let found = options(&[
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a, service.version=1%2C2 ,k8s.pod.name=p%C3%A9,"),
            ("OTEL_SERVICE_NAME", "b"),
        ]);
        assert_eq!((found.service.as_str(), found.version.as_str()), ("b", "1,2"));
        assert_eq!(found.resource, [("k8s.pod.name".to_owned(), "pé".to_owned())]);
        for bad in ["a", "a=%zz", "a=%c3", "=b", "a=b,c", "a=%4"] {
            assert_eq!(attributes(bad), [], "{bad}");
        }
    }
}
