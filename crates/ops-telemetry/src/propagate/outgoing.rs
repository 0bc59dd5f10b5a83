//! What the next process is told: the current place in the trace, and what travels with it.

use tracing::{Span, dispatcher};
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan;

use super::{BAGGAGE, Baggage, BaggagePolicy, Carrier, Inbound, TRACEPARENT, TRACESTATE, TraceState};
use crate::context::TraceContext;
use crate::current::{SpanExt, start_trace};
use crate::remote::RemoteParent;

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

/// Kept with a span for all spans below it.
struct Luggage(Baggage);

impl Outgoing {
    /// Returns what the current span has to tell, else the process, else `None` where no telemetry is installed.
    /// Of the baggage only what `policy` lets out.
    pub fn current(policy: &BaggagePolicy) -> Option<Self> {
        let RemoteParent { context, tracestate, baggage } = RemoteParent::current()?;
        let state = TraceState::parse(tracestate.as_deref()).unwrap_or_default();
        let baggage = luggage().unwrap_or_else(|| Baggage::parse(baggage.as_deref()));
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
        luggage().unwrap_or_else(|| {
            let carried = RemoteParent::current().and_then(|current| current.baggage);
            Self::parse(carried.as_deref())
        })
    }

    /// Makes this the baggage of `span` and of the spans below it.
    pub fn attach(self, span: &Span) {
        span.with_subscriber(|(id, dispatch)| {
            dispatch.downcast_ref::<Registry>()?.span(id)?.extensions_mut().replace(Luggage(self));
            Some(())
        });
    }
}

impl Inbound {
    /// Opens the span of this work with `make`: below the parent, or in a trace of its own that is linked to the caller,
    /// whatever span is current here. What travels along holds for the spans below it.
    ///
    /// ```
    /// use ops_telemetry::propagate::kafka;
    ///
    /// let record = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    /// let span = kafka::extract(record).admit(true).open(|| tracing::info_span!("orders process"));
    /// span.in_scope(|| tracing::info!("in the trace of the producer"));
    /// ```
    pub fn open(self, make: impl FnOnce() -> Span) -> Span {
        let Self { parent, link, state, baggage } = self;
        let span = match parent {
            Some(context) => {
                let (tracestate, carried) = (state.to_header(), baggage.to_header());
                RemoteParent::new(context, tracestate, carried).parent_of(make)
            }
            None => {
                let span = make();
                start_trace(&span);
                span
            }
        };
        if let Some(link) = link {
            span.add_link(link);
        }
        baggage.attach(&span);
        span
    }
}

/// The baggage that the nearest span has, if any was given one here.
fn luggage() -> Option<Baggage> {
    dispatcher::get_default(|dispatch| {
        let span = dispatch.downcast_ref::<Registry>()?.span(dispatch.current_span().id()?)?;
        span.scope().find_map(|span| span.extensions().get::<Luggage>().map(|luggage| luggage.0.clone()))
    })
}
