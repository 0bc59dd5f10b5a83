//! The names that a line's own members have, for the system that reads it.

use crate::severity::Severity;

/// Whose names the members of a JSON line have. The order is the same in all of them, and so are the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Schema {
    /// OpenTelemetry's: `timestamp`, `level`, `message`, `target`, `trace_id`, `span_id`, `trace_flags`,
    /// `service.name`, `service.version`. Loki, Grafana and the collector correlate by these.
    #[default]
    Default,
    /// The Elastic Common Schema: `@timestamp`, `log.level`, `message`, `ecs.version`, `log.logger`, `trace.id`,
    /// `span.id`, `service.name`, `service.version`, `service.environment`.
    Ecs,
    /// Google Cloud's structured logging: `time`, `severity`, `message`, `logging.googleapis.com/trace` and its
    /// siblings. A trace is linked where the project is known.
    Gcp {
        /// The id of the project that the traces are stored in.
        project: Option<String>,
    },
    /// Datadog's: `timestamp`, `status`, `message`, `logger.name`, `dd.trace_id`, `dd.span_id`, `dd.service`,
    /// `dd.version`, `dd.env`.
    Datadog,
}

/// The names of one schema; what is empty is left out.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) time: &'static str,
    pub(super) level: &'static str,
    /// Members that are the same on every line, as they stand.
    pub(super) constant: &'static str,
    pub(super) target: &'static str,
    pub(super) trace: &'static str,
    pub(super) span: &'static str,
    pub(super) flags: &'static str,
}

impl Schema {
    pub(super) fn names(&self) -> Names {
        match self {
            Self::Default => Names {
                time: "timestamp",
                level: "level",
                constant: "",
                target: "target",
                trace: "trace_id",
                span: "span_id",
                flags: "trace_flags",
            },
            Self::Ecs => Names {
                time: "@timestamp",
                level: "log.level",
                constant: r#","ecs.version":"8.11.0""#,
                target: "log.logger",
                trace: "trace.id",
                span: "span.id",
                flags: "trace.flags",
            },
            Self::Gcp { .. } => Names {
                time: "time",
                level: "severity",
                constant: "",
                target: "target",
                trace: "logging.googleapis.com/trace",
                span: "logging.googleapis.com/spanId",
                flags: "logging.googleapis.com/trace_sampled",
            },
            Self::Datadog => Names {
                time: "timestamp",
                level: "status",
                constant: "",
                target: "logger.name",
                trace: "dd.trace_id",
                span: "dd.span_id",
                flags: "",
            },
        }
    }

    pub(super) fn severity(&self, severity: Severity) -> &'static str {
        match (self, severity) {
            (Self::Gcp { .. }, Severity::Trace | Severity::Debug) => "DEBUG",
            (Self::Gcp { .. }, Severity::Warn) => "WARNING",
            (Self::Gcp { .. }, Severity::Fatal) => "CRITICAL",
            (Self::Datadog, Severity::Trace) => "trace",
            (Self::Datadog, Severity::Debug) => "debug",
            (Self::Datadog, Severity::Info) => "info",
            (Self::Datadog, Severity::Warn) => "warn",
            (Self::Datadog, Severity::Error) => "error",
            (Self::Datadog, Severity::Fatal) => "critical",
            _ => severity.as_str(),
        }
    }

    /// Returns what an attribute of the resource is called here.
    pub(super) fn resource_name<'a>(&self, name: &'a str) -> &'a str {
        match (self, name) {
            (Self::Ecs, "deployment.environment.name" | "deployment.environment") => "service.environment",
            (Self::Datadog, "service.name") => "dd.service",
            (Self::Datadog, "service.version") => "dd.version",
            (Self::Datadog, "deployment.environment.name" | "deployment.environment") => "dd.env",
            _ => name,
        }
    }

    /// Tells whether two attributes of the resource would have the same name here.
    pub(crate) fn is_same_resource(&self, a: &str, b: &str) -> bool {
        self.resource_name(a) == self.resource_name(b)
    }

    /// Returns every name that a line of this schema uses itself.
    pub(crate) fn reserved(&self, resource: &[(String, String)]) -> Vec<String> {
        let Names { time, level, target, trace, span, flags, .. } = self.names();
        // The names of the default are taken everywhere: who moves from one schema to another keeps the field names.
        let default = ["timestamp", "level", "target", "trace_id", "span_id", "trace_flags", "ecs.version"];
        let own = [time, level, target, trace, span, flags].into_iter().chain(default);
        let resource = resource.iter().map(|(name, _)| self.resource_name(name));
        own.chain(resource).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }
}
