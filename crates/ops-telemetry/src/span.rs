//! What is known of each span: its ids, its fields, and its place in the trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use crate::context::{SpanId, TraceContext};
use crate::fields::Fields;
use crate::remote::RemoteParent;

/// What the layer keeps with each span.
#[derive(Debug)]
pub(crate) struct SpanState {
    context: TraceContext,
    parent: Option<SpanId>,
    fields: Fields,
    /// `tracestate` and `baggage` of the trace, where it has them and they are not those of the process.
    carried: Option<Arc<RemoteParent>>,
    /// Whether anybody has seen the ids: then they stay.
    is_observed: AtomicBool,
    /// When the span was opened; only where it will be handed to a sink.
    opened: Option<(SystemTime, Instant)>,
    links: Vec<TraceContext>,
}

/// Where a span stands; decided before its fields are collected.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) context: TraceContext,
    pub(crate) parent: Option<SpanId>,
    pub(crate) carried: Option<Arc<RemoteParent>>,
    pub(crate) link: Option<TraceContext>,
}

impl SpanState {
    pub(crate) fn new(place: Place, fields: Fields, is_recorded: bool) -> Self {
        Self {
            context: place.context,
            parent: place.parent,
            fields,
            carried: place.carried,
            is_observed: AtomicBool::new(false),
            opened: is_recorded.then(|| (SystemTime::now(), Instant::now())),
            links: place.link.into_iter().collect(),
        }
    }

    /// Returns the ids; from here on they cannot change.
    pub(crate) fn observe(&self) -> TraceContext {
        if !self.is_observed.load(Ordering::Relaxed) {
            self.is_observed.store(true, Ordering::Relaxed);
        }
        self.context
    }

    /// Tells whether the trace is recorded, without holding on to its ids.
    pub(crate) fn is_sampled(&self) -> bool {
        self.context.flags.is_sampled()
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

    pub(crate) fn opened(&self) -> Option<(SystemTime, Instant)> {
        self.opened
    }

    pub(crate) fn add_link(&mut self, context: TraceContext) {
        self.links.push(context);
    }

    /// Moves the span into another trace, unless somebody has seen where it was; tells whether it did.
    pub(crate) fn move_to(&mut self, parent: RemoteParent, is_sampled: bool, is_recorded: bool) -> bool {
        if *self.is_observed.get_mut() {
            return false;
        }
        let TraceContext { trace_id, span_id, flags } = parent.context;
        self.parent = Some(span_id);
        self.context = TraceContext { trace_id, flags: flags.with_sampled(is_sampled), ..self.context };
        self.opened = if is_recorded {
            self.opened.or_else(|| Some((SystemTime::now(), Instant::now())))
        } else {
            None
        };
        self.carried = Some(Arc::new(parent));
        true
    }

    /// Makes the span the root of a new trace, unless somebody has seen where it was.
    pub(crate) fn restart(&mut self, context: TraceContext, is_recorded: bool) {
        if *self.is_observed.get_mut() {
            return;
        }
        self.context = context;
        self.parent = None;
        self.carried = None;
        self.opened = if is_recorded {
            self.opened.or_else(|| Some((SystemTime::now(), Instant::now())))
        } else {
            None
        };
    }

    pub(crate) fn into_parts(self) -> (Fields, Vec<TraceContext>) {
        (self.fields, self.links)
    }
}
