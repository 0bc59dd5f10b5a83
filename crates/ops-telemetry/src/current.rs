//! Where the calling code stands in the trace, and how a span gets a parent in another process.

use tracing::{Dispatch, Span, dispatcher};
use tracing_subscriber::Registry;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::context::TraceContext;
use crate::error::{Error, ErrorKind};
use crate::layer::TelemetryLayer;
use crate::remote::RemoteParent;
use crate::shared::Shared;
use crate::span::SpanState;

impl TraceContext {
    /// Returns the context of the current span, else that of the process, else `None` where no [`TelemetryLayer`] is
    /// installed.
    pub fn current() -> Option<Self> {
        dispatcher::get_default(|dispatch| {
            let layer = dispatch.downcast_ref::<TelemetryLayer>()?;
            let in_span =
                current_span(dispatch).and_then(|span| Some(span.extensions().get::<SpanState>()?.observe()));
            Some(in_span.unwrap_or(layer.shared().process.context))
        })
    }
}

impl RemoteParent {
    /// Returns what the calling code hands to another process: [`TraceContext::current`], with the `tracestate` and
    /// `baggage` that its trace came with.
    pub fn current() -> Option<Self> {
        dispatcher::get_default(|dispatch| {
            let layer = dispatch.downcast_ref::<TelemetryLayer>()?;
            let in_span = current_span(dispatch).and_then(|span| {
                let extensions = span.extensions();
                let state = extensions.get::<SpanState>()?;
                let context = state.observe();
                Some(match layer.shared().carried(context, state.carried()) {
                    Some(carried) => Self { context, ..carried.clone() },
                    None => context.into(),
                })
            });
            Some(in_span.unwrap_or_else(|| layer.shared().process.clone()))
        })
    }
}

/// Returns the span that the calling code is in.
pub(crate) fn current_span(dispatch: &Dispatch) -> Option<SpanRef<'_, Registry>> {
    dispatch.downcast_ref::<Registry>()?.span(dispatch.current_span().id()?)
}

/// What a span of `tracing` can be asked and told of its trace.
pub trait SpanExt {
    /// Returns the ids of this span, or `None` where it is filtered out or no [`TelemetryLayer`] is installed.
    fn trace_context(&self) -> Option<TraceContext>;

    /// Makes this span continue the trace of a caller. Whether it is recorded is decided anew; where
    /// [`UnsampledLines::Warnings`](crate::UnsampledLines::Warnings) is set, [`RemoteParent::parent_of`] is the better
    /// way, because that decides before the fields are collected.
    ///
    /// # Errors
    /// [`ErrorKind::TooLate`] where somebody has seen the span's ids: an event in it, a child, a call to
    /// [`TraceContext::current`]. It keeps its trace then. A span that is filtered out takes any parent.
    fn set_parent(&self, parent: impl Into<RemoteParent>) -> Result<(), Error>;

    /// Links this span to another one that caused it without being its parent, for example a message of a batch. Links
    /// go to a collector; lines do not show them.
    fn add_link(&self, context: TraceContext);
}

impl SpanExt for Span {
    fn trace_context(&self) -> Option<TraceContext> {
        with_state(self, |_, state| state.observe())
    }

    fn set_parent(&self, parent: impl Into<RemoteParent>) -> Result<(), Error> {
        if with_state(self, |shared, state| shared.move_span(state, parent.into())).unwrap_or(true) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TooLate,
            "cannot give the span another parent: its ids have been used; set the parent right after the span is opened",
        ))
    }

    fn add_link(&self, context: TraceContext) {
        with_state(self, |_, state| state.add_link(context));
    }
}

/// Gives a span a trace of its own, whatever it is in, and nothing that another trace came with. Too late, it stays.
pub(crate) fn start_trace(span: &Span) {
    with_state(span, |shared, state| shared.start_trace(state));
}

fn with_state<T>(span: &Span, use_it: impl FnOnce(&Shared, &mut SpanState) -> T) -> Option<T> {
    span.with_subscriber(|(id, dispatch)| {
        let layer = dispatch.downcast_ref::<TelemetryLayer>()?;
        let span = dispatch.downcast_ref::<Registry>()?.span(id)?;
        let mut extensions = span.extensions_mut();
        Some(use_it(layer.shared(), extensions.get_mut::<SpanState>()?))
    })
    .flatten()
}
