//! What the next process is told: the current place in the trace, and what travels with it.

use tracing::{Dispatch, Span, dispatcher};
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan;

use super::{BAGGAGE, Baggage, BaggagePolicy, Carrier, Inbound, TRACEPARENT, TRACESTATE, TraceState};
use crate::context::TraceContext;
use crate::layer::{SpanState, TelemetryLayer};

/// What an outgoing message carries.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The span that the message comes from.
    pub context: TraceContext,
    /// What other systems want handed on.
    pub state: TraceState,
    /// The values that travel along, after the policy.
    pub baggage: Baggage,
}

/// Kept with a span for all spans below it; what a span has not, its parents may have.
#[derive(Clone, Default)]
struct Luggage {
    state: Option<TraceState>,
    baggage: Option<Baggage>,
}

impl Outgoing {
    /// Returns what the current span has to tell, else the process, else `None` where no [`TelemetryLayer`] is installed.
    /// Of the baggage only what `policy` lets out.
    pub fn current(policy: &BaggagePolicy) -> Option<Self> {
        let context = TraceContext::current()?;
        let (state, baggage) = dispatcher::get_default(|dispatch| luggage(dispatch, &context));
        Some(Self { context, state, baggage: baggage.filtered(policy) })
    }

    /// Writes the headers. Those that the carrier has already are replaced, or removed where there is nothing to say: a
    /// message that is passed on must not carry what its sender claimed.
    pub fn inject(&self, carrier: &mut (impl Carrier + ?Sized)) {
        carrier.replace(TRACEPARENT, Some(&self.context.to_traceparent()));
        carrier.replace(TRACESTATE, self.state.to_header().as_deref());
        carrier.replace(BAGGAGE, self.baggage.to_header().as_deref());
    }

    /// Returns the headers that are not empty, as pairs.
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let rest = [(TRACESTATE, self.state.to_header()), (BAGGAGE, self.baggage.to_header())];
        let rest = rest.into_iter().filter_map(|(name, value)| Some((name, value?)));
        std::iter::once((TRACEPARENT, self.context.to_traceparent())).chain(rest).collect()
    }
}

impl Baggage {
    /// Returns the baggage of the current span, that of its parents where it has none of its own.
    pub fn current() -> Self {
        let Some(context) = TraceContext::current() else { return Self::default() };
        dispatcher::get_default(|dispatch| luggage(dispatch, &context)).1
    }

    /// Makes this the baggage of `span` and of the spans below it.
    pub fn attach(self, span: &Span) {
        change(span, |luggage| luggage.baggage = Some(self));
    }
}

impl Inbound {
    /// Makes `span` the start of this work: below the parent, or in a trace of its own, with what travels along. Call it
    /// before anything is logged in the span, and before a child of it is made: what was written keeps its ids.
    pub fn attach(self, span: &Span) {
        let Self { parent, link: _, state, baggage } = self;
        adopt(span, parent);
        change(span, |luggage| *luggage = Luggage { state: Some(state), baggage: Some(baggage) });
    }
}

/// Gives a span the trace of `parent`, or a new one.
fn adopt(span: &Span, parent: Option<TraceContext>) {
    span.with_subscriber(|(id, dispatch)| {
        let span = dispatch.downcast_ref::<Registry>()?.span(id)?;
        let mut extensions = span.extensions_mut();
        let state = extensions.get_mut::<SpanState>()?;
        let TraceContext { trace_id, flags, .. } = parent.unwrap_or_else(TraceContext::random);
        state.context = TraceContext { trace_id, flags, ..state.context };
        Some(())
    });
}

fn change(span: &Span, change: impl FnOnce(&mut Luggage)) {
    span.with_subscriber(|(id, dispatch)| {
        let span = dispatch.downcast_ref::<Registry>()?.span(id)?;
        let mut extensions = span.extensions_mut();
        let mut luggage = extensions.remove::<Luggage>().unwrap_or_default();
        change(&mut luggage);
        extensions.insert(luggage);
        Some(())
    });
}

/// What the spans from the current one up have.
fn of_spans(dispatch: &Dispatch) -> Luggage {
    let mut found = Luggage::default();
    let span = dispatch.current_span().id().and_then(|id| dispatch.downcast_ref::<Registry>()?.span(id));
    for span in span.iter().flat_map(|span| span.scope()) {
        if let Some(luggage) = span.extensions().get::<Luggage>() {
            found.state = found.state.or_else(|| luggage.state.clone());
            found.baggage = found.baggage.or_else(|| luggage.baggage.clone());
        }
    }
    found
}

fn luggage(dispatch: &Dispatch, context: &TraceContext) -> (TraceState, Baggage) {
    let found = of_spans(dispatch);
    let shared = dispatch.downcast_ref::<TelemetryLayer>().map(TelemetryLayer::shared);
    // The process was told about its own trace, not about those that start in it.
    let shared = shared.filter(|shared| shared.process.trace_id == context.trace_id);
    let state = found.state.unwrap_or_else(|| {
        TraceState::parse(shared.and_then(|shared| shared.tracestate.as_deref())).unwrap_or_default()
    });
    let baggage =
        found.baggage.unwrap_or_else(|| Baggage::parse(shared.and_then(|shared| shared.baggage.as_deref())));
    (state, baggage)
}
