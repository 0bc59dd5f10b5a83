//! The one `tracing` layer that owns trace ids and writes lines.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::context::{TraceContext, TraceFlags, TraceId};
use crate::error::Error;
use crate::fields::{Fields, Recorder};
use crate::level::AUDIT_TARGET;
use crate::metrics::Registry;
use crate::options::{Options, Roots};
#[cfg(feature = "otlp")]
use crate::otlp::Exporter;
use crate::record::{RecordFields, Sink, SpanRecord};
use crate::remote::RemoteParent;
use crate::sampling::UnsampledLines;
use crate::severity::Severity;
use crate::shared::Shared;
use crate::span::{Place, SpanState};

/// Gives each span ids of its own and writes each event as one line with the ids of its span.
///
/// [`init`](crate::init()) installs it for the whole process. To combine it with other layers, or to capture lines in a
/// test, put it on a [`Registry`](tracing_subscriber::Registry). Its filter then holds for all layers.
#[derive(Clone)]
pub struct TelemetryLayer {
    shared: Arc<Shared>,
}

impl TelemetryLayer {
    /// Builds the layer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFilter`](crate::ErrorKind::InvalidFilter) where the filter cannot be read,
    /// [`ErrorKind::AuditUnavailable`](crate::ErrorKind::AuditUnavailable) where the audit file cannot be opened or its
    /// chain cannot be continued.
    pub fn new(options: Options) -> Result<Self, Error> {
        #[cfg(feature = "otlp")]
        if let Some(otlp) = &options.otlp {
            let exporter = Exporter::start(otlp, &options.resource_members(), None)?;
            return Self::with_sink(options, Some(Arc::new(exporter)));
        }
        Self::with_sink(options, None)
    }

    /// Builds the layer, and what sends the metrics of `registry` to a collector.
    pub(crate) fn with_metrics(options: Options, registry: &Registry) -> Result<Self, Error> {
        #[cfg(feature = "otlp")]
        if let Some(otlp) = &options.otlp {
            let exporter = Exporter::start(otlp, &options.resource_members(), Some(registry))?;
            return Self::with_sink(options, Some(Arc::new(exporter)));
        }
        let _ = registry;
        Self::with_sink(options, None)
    }

    pub(crate) fn with_sink(options: Options, sink: Option<Arc<dyn Sink>>) -> Result<Self, Error> {
        Ok(Self { shared: Arc::new(Shared::new(options, sink)?) })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Records the fields of a span. Nothing is locked meanwhile: a `Debug` may log.
    fn record(&self, record: impl FnOnce(&mut Recorder<'_>)) -> Fields {
        let mut fields = Fields::pooled();
        record(&mut Recorder {
            fields: &mut fields,
            message: None,
            keys: &self.shared.keys,
            redaction: &self.shared.redaction,
        });
        fields
    }

    /// Decides where a root span stands.
    fn place_root(&self, remote: Option<RemoteParent>) -> Place {
        let Shared { sampling, roots, process, .. } = &*self.shared;
        if let Some(remote) = remote {
            let TraceContext { trace_id, span_id, flags } = remote.context;
            let flags = flags.with_sampled(sampling.decide(trace_id, Some(flags)));
            let (parent, carried) = (Some(span_id), Some(Arc::new(remote)));
            return Place { trace_id, flags, parent, carried, link: None };
        }
        match roots {
            Roots::Own => {
                let trace_id = TraceId::random();
                let flags = TraceFlags::NEW.with_sampled(sampling.decide(trace_id, None));
                // Whoever looks at the trace finds the job that it is part of.
                let link = self.shared.sink.is_some().then_some(process.context);
                Place { trace_id, flags, parent: None, carried: None, link }
            }
            Roots::Auto | Roots::Process => {
                let TraceContext { trace_id, span_id, flags } = process.context;
                Place { trace_id, flags, parent: Some(span_id), carried: None, link: None }
            }
        }
    }
}

impl Shared {
    /// Moves a span below another parent, or tells that it is too late.
    pub(crate) fn move_span(&self, state: &mut SpanState, parent: RemoteParent) -> bool {
        let sampled = self.sampling.decide(parent.context.trace_id, Some(parent.context.flags));
        state.move_to(parent, sampled, sampled && self.sink.is_some())
    }

    /// Starts a new trace with a span, unless that is too late.
    pub(crate) fn start_trace(&self, state: &mut SpanState) {
        let trace_id = TraceId::random();
        let sampled = self.sampling.decide(trace_id, None);
        state.restart(trace_id, TraceFlags::NEW.with_sampled(sampled), sampled && self.sink.is_some());
    }
}

impl<S> Layer<S> for TelemetryLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.shared.levels.interest(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.shared.levels.is_enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.shared.levels.max_level())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let inherit = |parent: tracing_subscriber::registry::SpanRef<'_, S>| {
            let extensions = parent.extensions();
            let state = extensions.get::<SpanState>()?;
            let TraceContext { trace_id, span_id, flags } = state.observe();
            Some(Place {
                trace_id,
                flags,
                parent: Some(span_id),
                carried: state.carried().cloned(),
                link: None,
            })
        };
        let place = match RemoteParent::take() {
            Some(remote) => self.place_root(Some(remote)),
            None => span.parent().and_then(inherit).unwrap_or_else(|| self.place_root(None)),
        };
        let is_sampled = place.flags.is_sampled();
        let fields = if is_sampled || self.shared.sampling.lines == UnsampledLines::All {
            self.record(|recorder| attributes.record(recorder))
        } else {
            Fields::default()
        };
        let is_recorded = is_sampled && self.shared.sink.is_some();
        span.extensions_mut().insert(SpanState::new(place, fields, is_recorded));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let is_collected =
            |state: &SpanState| state.is_sampled() || self.shared.sampling.lines == UnsampledLines::All;
        if !span.extensions().get().is_some_and(is_collected) {
            return;
        }
        let newer = self.record(|recorder| values.record(recorder));
        if let Some(state) = span.extensions_mut().get_mut::<SpanState>() {
            state.fields_mut().merge(&newer);
        }
        newer.recycle();
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let severity = Severity::from(*event.metadata().level());
        if !self.shared.writes_unsampled(severity) && event.metadata().target() != AUDIT_TARGET {
            let in_span = ctx.event_span(event);
            let sampled = in_span.and_then(|span| Some(span.extensions().get::<SpanState>()?.is_sampled()));
            if !sampled.unwrap_or(self.shared.process.context.flags.is_sampled()) {
                return;
            }
        }
        self.shared.with_buffers(|buffers| {
            self.shared.write_event(event, ctx.event_span(event), buffers);
        });
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        // Without anybody who is told of it a span just goes, and to look for it would cost more than all the rest.
        let Some(sink) = &self.shared.sink else { return };
        let Some(span) = ctx.span(&id) else { return };
        let mut extensions = span.extensions_mut();
        // The state itself goes with the span: to take it out would cost more.
        let Some(state) = extensions.get_mut::<SpanState>() else { return };
        let Some((start, clock)) = state.opened() else { return };
        let (context, parent) = (state.observe(), state.parent());
        let came_with = self.shared.carried(context, state.carried());
        let tracestate = came_with.and_then(|carried| carried.tracestate.clone());
        let (fields, links) = state.take();
        // Nothing is locked while the sink takes it.
        drop(extensions);
        let mut members = fields.text().to_vec();
        self.shared.redaction.redact_line(&mut Vec::new(), &mut members, &mut Vec::new());
        sink.span(SpanRecord {
            context,
            parent,
            tracestate,
            name: span.name(),
            target: span.metadata().target(),
            start,
            end: start + Duration::from_nanos(clock.elapsed().as_nanos().try_into().unwrap_or(u64::MAX)),
            fields: RecordFields::new(&members),
            links,
        });
        fields.recycle();
    }
}

impl fmt::Debug for TelemetryLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryLayer")
            .field("process", &self.shared.process.context)
            .field("levels", &self.shared.levels)
            .finish_non_exhaustive()
    }
}
