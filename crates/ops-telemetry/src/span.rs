//! What is known of each span: its ids, its fields, and its place in the trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use crate::context::{SpanId, TraceContext, TraceFlags, TraceId};
use crate::fields::Fields;
use crate::remote::RemoteParent;

/// What the layer keeps with each span.
#[derive(Debug)]
pub(crate) struct SpanState {
    trace_id: TraceId,
    flags: TraceFlags,
    /// Drawn when somebody asks for the ids, and zero until then: a span that is not recorded and in which nothing is
    /// logged never needs it. From then on the ids stay.
    span_id: AtomicU64,
    parent: Option<SpanId>,
    fields: Fields,
    /// `tracestate` and `baggage` of the trace, where it has them and they are not those of the process.
    carried: Option<Arc<RemoteParent>>,
    /// When the span was opened; only where it will be handed to a sink.
    opened: Option<(SystemTime, Instant)>,
    links: Vec<TraceContext>,
}

impl Drop for SpanState {
    /// Leaves the memory of the fields to the next span.
    fn drop(&mut self) {
        std::mem::take(&mut self.fields).recycle();
    }
}

/// Where a span stands; decided before its fields are collected.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) trace_id: TraceId,
    pub(crate) flags: TraceFlags,
    pub(crate) parent: Option<SpanId>,
    pub(crate) carried: Option<Arc<RemoteParent>>,
    pub(crate) link: Option<TraceContext>,
}

impl SpanState {
    pub(crate) fn new(place: Place, fields: Fields, is_recorded: bool) -> Self {
        Self {
            trace_id: place.trace_id,
            flags: place.flags,
            span_id: AtomicU64::new(0),
            parent: place.parent,
            fields,
            carried: place.carried,
            opened: is_recorded.then(|| (SystemTime::now(), Instant::now())),
            links: place.link.into_iter().collect(),
        }
    }

    /// Returns the ids; from here on they cannot change.
    pub(crate) fn observe(&self) -> TraceContext {
        let known = SpanId::new(self.span_id.load(Ordering::Relaxed));
        let span_id = known.unwrap_or_else(|| self.draw());
        TraceContext { trace_id: self.trace_id, span_id, flags: self.flags }
    }

    fn draw(&self) -> SpanId {
        let drawn = SpanId::random();
        // Whoever comes first decides, for all threads that share the span.
        let first = (self.span_id)
            .compare_exchange(0, drawn.get(), Ordering::Relaxed, Ordering::Relaxed)
            .err()
            .and_then(SpanId::new);
        first.unwrap_or(drawn)
    }

    /// Tells whether the trace is recorded, without holding on to its ids.
    pub(crate) fn is_sampled(&self) -> bool {
        self.flags.is_sampled()
    }

    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }

    pub(crate) fn fields_mut(&mut self) -> &mut Fields {
        &mut self.fields
    }

    pub(crate) fn carried(&self) -> Option<&Arc<RemoteParent>> {
        self.carried.as_ref()
    }

    pub(crate) fn parent(&self) -> Option<SpanId> {
        self.parent
    }

    fn is_observed(&mut self) -> bool {
        *self.span_id.get_mut() != 0
    }

    pub(crate) fn opened(&self) -> Option<(SystemTime, Instant)> {
        self.opened
    }

    pub(crate) fn add_link(&mut self, context: TraceContext) {
        self.links.push(context);
    }

    /// Moves the span into another trace, unless somebody has seen where it was; tells whether it did.
    pub(crate) fn move_to(&mut self, parent: RemoteParent, is_sampled: bool, is_recorded: bool) -> bool {
        if self.is_observed() {
            return false;
        }
        let TraceContext { trace_id, span_id, flags } = parent.context;
        self.parent = Some(span_id);
        self.trace_id = trace_id;
        self.flags = flags.with_sampled(is_sampled);
        self.opened = if is_recorded {
            self.opened.or_else(|| Some((SystemTime::now(), Instant::now())))
        } else {
            None
        };
        self.carried = Some(Arc::new(parent));
        true
    }

    /// Makes the span the root of a new trace, unless somebody has seen where it was.
    pub(crate) fn restart(&mut self, trace_id: TraceId, flags: TraceFlags, is_recorded: bool) {
        if self.is_observed() {
            return;
        }
        self.trace_id = trace_id;
        self.flags = flags;
        self.parent = None;
        self.carried = None;
        self.opened = if is_recorded {
            self.opened.or_else(|| Some((SystemTime::now(), Instant::now())))
        } else {
            None
        };
    }

    /// Takes the fields and the links out, at the end.
    pub(crate) fn take(&mut self) -> (Fields, Vec<TraceContext>) {
        (std::mem::take(&mut self.fields), std::mem::take(&mut self.links))
    }
}
