//! Where the calling code stands in the trace, and how a child process is told.

use tracing::dispatcher;
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan;

use crate::context::TraceContext;
use crate::layer::{SpanState, TelemetryLayer};

impl TraceContext {
    /// Returns the context of the current span, else that of the process, else `None` where no [`TelemetryLayer`] is
    /// installed.
    pub fn current() -> Option<Self> {
        dispatcher::get_default(|dispatch| {
            let layer = dispatch.downcast_ref::<TelemetryLayer>()?;
            Some(of_current_span(dispatch).unwrap_or(layer.shared().process))
        })
    }
}

fn of_current_span(dispatch: &tracing::Dispatch) -> Option<TraceContext> {
    let registry = dispatch.downcast_ref::<Registry>()?;
    let span = registry.span(dispatch.current_span().id()?)?;
    span.scope().find_map(|span| Some(span.extensions().get::<SpanState>()?.context))
}

/// Returns the environment variables that make a child process continue this trace: `TRACEPARENT` for the current
/// span, and the caller's `TRACESTATE` and `BAGGAGE` unchanged. Empty where no [`TelemetryLayer`] is installed.
///
/// ```
/// let mut command = std::process::Command::new("true");
/// command.envs(ops_telemetry::child_env());
/// ```
pub fn child_env() -> Vec<(&'static str, String)> {
    let Some(context) = TraceContext::current() else { return Vec::new() };
    let mut variables = vec![("TRACEPARENT", context.to_traceparent())];
    dispatcher::get_default(|dispatch| {
        let Some(layer) = dispatch.downcast_ref::<TelemetryLayer>() else { return };
        let shared = layer.shared();
        let passed_on = [("TRACESTATE", &shared.tracestate), ("BAGGAGE", &shared.baggage)];
        variables.extend(passed_on.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
    });
    variables
}
