//! What a process decides about its logs.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use crate::context::TraceContext;
use crate::filter::Filter;
use crate::line::Style;
use crate::redact::Redactor;
use crate::writer::{LineWriter, StderrWriter};

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

/// The settings of [`init`](crate::init()). The default reads nothing from the process; [`Options::from_env`] does.
#[derive(Clone)]
pub struct Options {
    /// The name that every JSON line carries as `service.name`.
    pub service: String,
    /// The version that every JSON line carries as `service.version`.
    pub version: String,
    /// The looks of a line.
    pub format: LogFormat,
    /// Which events and spans are kept: `level` and `target=level`, separated by commas. Spans that are left out give
    /// no span id to the lines in them.
    pub filter: String,
    /// Writes the human format without colours, also on a terminal.
    pub no_color: bool,
    /// Removes secrets from each line before it is shortened and written.
    pub redactor: Option<Arc<dyn Redactor>>,
    /// The caller's place in a trace. Without it the process starts a trace of its own.
    pub parent: Option<TraceContext>,
    /// The caller's `tracestate`, handed on to children as it is.
    pub tracestate: Option<String>,
    /// The caller's `baggage`, handed on to children as it is, and never logged.
    pub baggage: Option<String>,
    /// Whether [`init`](crate::init()) makes a panic one ERROR line instead of the text that Rust prints.
    pub panic_hook: bool,
    /// Where lines go.
    pub writer: Arc<dyn LineWriter>,
}

impl Options {
    /// Returns the default with what the environment says: `OPS_LOG`, else `RUST_LOG`, as the filter; `NO_COLOR`; and
    /// `TRACEPARENT`, `TRACESTATE` and `BAGGAGE` as the caller's trace. A malformed `TRACEPARENT` counts as none, and
    /// `TRACESTATE` with it, as W3C demands. So does a `RUST_LOG` that this crate cannot read: it may be meant for a
    /// program with another syntax.
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// Does what [`Options::from_env`] does, with the variables that `lookup` gives.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| lookup(name)?.into_string().ok().filter(|value| !value.is_empty());
        let default = Self::default();
        let rust_log = || text("RUST_LOG").filter(|filter| Filter::parse(filter).is_ok());
        let parent = text("TRACEPARENT").and_then(|value| TraceContext::parse(&value).ok());
        Self {
            filter: text("OPS_LOG").or_else(rust_log).unwrap_or(default.filter),
            no_color: lookup("NO_COLOR").is_some_and(|value| !value.is_empty()),
            tracestate: parent.and_then(|_| text("TRACESTATE")),
            baggage: text("BAGGAGE"),
            parent,
            ..default
        }
    }

    pub(crate) fn style(&self) -> Style {
        let is_terminal = self.writer.is_terminal();
        match self.format {
            LogFormat::Human => Style::Human { color: is_terminal && !self.no_color },
            LogFormat::Auto if is_terminal => Style::Human { color: !self.no_color },
            LogFormat::Auto | LogFormat::Json => Style::json(&self.service, &self.version),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            service: "unknown_service".into(),
            version: "0.0.0".into(),
            format: LogFormat::Auto,
            filter: "info".into(),
            no_color: false,
            redactor: None,
            parent: None,
            tracestate: None,
            baggage: None,
            panic_hook: true,
            writer: Arc::new(StderrWriter),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("service", &self.service)
            .field("version", &self.version)
            .field("format", &self.format)
            .field("filter", &self.filter)
            .field("no_color", &self.no_color)
            .field("parent", &self.parent)
            .field("panic_hook", &self.panic_hook)
            .finish_non_exhaustive()
    }
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
            ("RUST_LOG", "trace"),
            ("NO_COLOR", "1"),
            ("TRACEPARENT", PARENT),
        ]);
        assert_eq!(options.filter, "debug");
        assert!(options.no_color);
        assert_eq!(options.parent.map(|p| p.to_traceparent()), Some(PARENT.to_owned()));
    }

    #[test]
    fn a_filter_for_other_programs_is_ignored_and_our_own_is_not() {
        assert_eq!(options(&[("RUST_LOG", "warn,h2=off")]).filter, "warn,h2=off");
        assert_eq!(options(&[("RUST_LOG", "[span{a=1}]=debug")]).filter, "info");
        assert_eq!(options(&[("OPS_LOG", "loud")]).filter, "loud");
    }

    #[test]
    fn nothing_set_is_the_default() {
        let options = options(&[("OPS_LOG", ""), ("NO_COLOR", ""), ("BAGGAGE", "")]);
        assert_eq!((options.filter.as_str(), options.no_color, options.baggage), ("info", false, None));
    }

    #[test]
    fn a_bad_parent_takes_the_tracestate_with_it() {
        let options = options(&[("TRACEPARENT", "00-bad"), ("TRACESTATE", "a=b"), ("BAGGAGE", "k=v")]);
        assert_eq!((options.parent, options.tracestate), (None, None));
        assert_eq!(options.baggage.as_deref(), Some("k=v"));
    }
}
