//! What a process decides about its logs.

use std::fmt;
use std::sync::Arc;

use crate::audit::AuditOptions;
use crate::context::TraceContext;
use crate::keys::FieldMask;
use crate::line::{Schema, Style};
#[cfg(feature = "otlp")]
use crate::otlp::Otlp;
use crate::redact::Redactor;
use crate::sampling::Sampling;
use crate::writer::{LineWriter, RingOptions, StderrWriter};

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Human where the writer is a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One line for a person, coloured on a terminal.
    Human,
    /// One flat JSON object a line.
    Json,
}

/// Which trace a span without a parent belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// [`Roots::Process`] where the process was handed a place in a trace ([`Options::parent`]), as a job or a command
    /// is; else [`Roots::Own`].
    #[default]
    Auto,
    /// The trace of the process: everything that it does is one trace.
    Process,
    /// A trace of its own, as each request to a service needs. Lines outside any span carry the trace of the process.
    Own,
}

/// What a panic does besides what it always does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PanicHook {
    /// It is one FATAL line instead of the text that Rust prints.
    #[default]
    Replace,
    /// It is one FATAL line, and then the hook that was there before runs.
    Chain,
    /// No line.
    Off,
}

/// The settings of [`init`](crate::init()). The default reads nothing from the process; [`Options::from_env`] does.
#[derive(Clone)]
pub struct Options {
    /// The name that every JSON line carries as `service.name`.
    pub service: String,
    /// The version that every JSON line carries as `service.version`.
    pub version: String,
    /// What else every JSON line says of the service, for example `deployment.environment.name`. A field of the same name
    /// is renamed.
    pub resource: Vec<(String, String)>,
    /// The looks of a line.
    pub format: LogFormat,
    /// The names of a JSON line's own members.
    pub schema: Schema,
    /// Which events and spans are kept: `level` and `target=level`, separated by commas. Spans that are left out give
    /// no span id to the lines in them. Audit lines are always kept.
    pub filter: String,
    /// Writes the human format without colours, also on a terminal.
    pub no_color: bool,
    /// Removes secrets from each line before it is shortened and written.
    pub redactor: Option<Arc<dyn Redactor>>,
    /// Fields whose values are not shown for their name.
    pub mask: FieldMask,
    /// The caller's place in a trace. Without it the process starts a trace of its own.
    pub parent: Option<TraceContext>,
    /// The caller's `tracestate`, handed on to children as it is.
    pub tracestate: Option<String>,
    /// The caller's `baggage`, handed on to children as it is, and never logged.
    pub baggage: Option<String>,
    /// Which trace a span without a parent belongs to.
    pub roots: Roots,
    /// Which traces are recorded.
    pub sampling: Sampling,
    /// What a panic does once [`init`](crate::init()) has run.
    pub panic_hook: PanicHook,
    /// Where lines go.
    pub writer: Arc<dyn LineWriter>,
    /// How lines wait for the thread that writes them. `None`: whoever logs a line writes it, and a full pipe blocks
    /// them; for a command that ends soon and prints other things in between.
    pub ring: Option<RingOptions>,
    /// The file of the audit lines. `None`: they go where all lines go.
    pub audit: Option<AuditOptions>,
    /// Where everything is sent besides. `None`: nowhere.
    #[cfg(feature = "otlp")]
    pub otlp: Option<Otlp>,
}

impl Options {
    /// Returns these settings with a redactor, for all that leaves the process.
    ///
    /// ```
    /// # struct Masker;
    /// # impl ops_telemetry::Redactor for Masker {
    /// #     fn redact(&self, line: &mut Vec<u8>) {}
    /// # }
    /// let options = ops_telemetry::Options::for_service("orders", "1.4.0").with_redactor(Masker);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn with_redactor(self, redactor: impl Redactor + 'static) -> Self {
        Self { redactor: Some(Arc::new(redactor)), ..self }
    }

    /// Returns what describes the service on every line, the same name only once.
    pub(crate) fn resource_members(&self) -> Vec<(String, String)> {
        let named = [("service.name", &self.service), ("service.version", &self.version)];
        let mut members: Vec<_> =
            named.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
        for (name, value) in &self.resource {
            if !members.iter().any(|(known, _)| self.schema.is_same_resource(known, name)) {
                members.push((name.clone(), value.clone()));
            }
        }
        members
    }

    pub(crate) fn style(&self, resource: &[(String, String)]) -> Style {
        let is_terminal = self.writer.is_terminal();
        match self.format {
            LogFormat::Human => Style::Human { color: is_terminal && !self.no_color },
            LogFormat::Auto if is_terminal => Style::Human { color: !self.no_color },
            LogFormat::Auto | LogFormat::Json => Style::json(&self.schema, resource),
        }
    }
}

impl Roots {
    /// Settles [`Roots::Auto`].
    pub(crate) fn decide(self, has_parent: bool) -> Self {
        match self {
            Self::Auto if has_parent => Self::Process,
            Self::Auto => Self::Own,
            decided => decided,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            service: "unknown_service".into(),
            version: "0.0.0".into(),
            resource: Vec::new(),
            format: LogFormat::Auto,
            schema: Schema::Default,
            filter: "info".into(),
            no_color: false,
            redactor: None,
            mask: FieldMask::default(),
            parent: None,
            tracestate: None,
            baggage: None,
            roots: Roots::Auto,
            sampling: Sampling::default(),
            panic_hook: PanicHook::Replace,
            writer: Arc::new(StderrWriter),
            ring: Some(RingOptions::default()),
            audit: None,
            #[cfg(feature = "otlp")]
            otlp: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("service", &self.service)
            .field("version", &self.version)
            .field("resource", &self.resource)
            .field("format", &self.format)
            .field("schema", &self.schema)
            .field("filter", &self.filter)
            .field("no_color", &self.no_color)
            .field("parent", &self.parent)
            .field("roots", &self.roots)
            .field("sampling", &self.sampling)
            .field("panic_hook", &self.panic_hook)
            .field("ring", &self.ring)
            .field("audit", &self.audit)
            .finish_non_exhaustive()
    }
}
