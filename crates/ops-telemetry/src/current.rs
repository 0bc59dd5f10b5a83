//! Where the calling code stands in the trace.

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
