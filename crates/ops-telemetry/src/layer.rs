//! The one `tracing` layer that owns trace ids and writes lines.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::context::TraceContext;
use crate::error::Error;
use crate::fields::{Fields, MESSAGE, Recorder};
use crate::filter::Filter;
use crate::line::{self, Head, Style};
use crate::options::Options;
use crate::redact::Redactor;
use crate::writer::LineWriter;

/// A thread keeps its buffers between lines, up to this size.
const MAX_KEPT_LEN: usize = 256 * 1024;

thread_local! {
    /// Taken while in use, so that a `Debug` that logs finds none and makes its own.
    static BUFFERS: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

/// Gives each span an id of its own and writes each event as one line with the ids of its span.
///
/// [`init`](crate::init()) installs it for the whole process. To combine it with other layers, or to capture lines in a
/// test, put it on a [`Registry`](tracing_subscriber::Registry). Its filter then holds for all layers.
#[derive(Clone)]
pub struct TelemetryLayer {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    style: Style,
    filter: Filter,
    pub(crate) redactor: Option<Arc<dyn Redactor>>,
    writer: Arc<dyn LineWriter>,
    lines_lost: AtomicU64,
    pub(crate) process: TraceContext,
    pub(crate) tracestate: Option<String>,
    pub(crate) baggage: Option<String>,
}

/// What the layer keeps with each span.
#[derive(Debug)]
pub(crate) struct SpanState {
    pub(crate) context: TraceContext,
    fields: Fields,
}

#[derive(Default)]
struct Buffers {
    event: Fields,
    body: Vec<u8>,
    spare: Vec<u8>,
    line: Vec<u8>,
    /// The keys that a nearer span has written already.
    keys: Vec<&'static str>,
}

impl TelemetryLayer {
    /// Builds the layer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFilter`](crate::ErrorKind::InvalidFilter) where the filter cannot be read.
    pub fn new(options: Options) -> Result<Self, Error> {
        let shared = Shared {
            style: options.style(),
            filter: Filter::parse(&options.filter)?,
            redactor: options.redactor,
            writer: options.writer,
            lines_lost: AtomicU64::new(0),
            process: options.parent.map_or_else(TraceContext::random, |parent| parent.child()),
            tracestate: options.tracestate,
            baggage: options.baggage,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn record(&self, record: impl FnOnce(&mut Recorder<'_>)) -> Fields {
        let mut fields = Fields::default();
        record(&mut Recorder {
            fields: &mut fields,
            is_event: false,
            redactor: self.shared.redactor.as_deref(),
        });
        fields
    }
}

impl Shared {
    pub(crate) fn lines_lost(&self) -> u64 {
        self.lines_lost.load(Ordering::Relaxed)
    }

    fn write_event<S>(&self, event: &Event<'_>, ctx: &Context<'_, S>, buffers: &mut Buffers)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Buffers { event: fields, body, spare, line, keys } = buffers;
        fields.clear();
        body.clear();
        line.clear();
        keys.clear();
        let redactor = self.redactor.as_deref();
        event.record(&mut Recorder { fields, is_event: true, redactor });
        let mut truncated = fields.is_truncated();
        let mut push =
            |key: &str, value: &[u8]| line::push_member(body, key, |out| out.extend_from_slice(value));
        if let Some((key, value)) = fields.iter().find(|(key, _)| *key == MESSAGE) {
            push(key, value);
        }
        let mut context = None;
        for span in ctx.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            let Some(state) = extensions.get::<SpanState>() else { continue };
            context.get_or_insert(state.context);
            truncated |= state.fields.is_truncated();
            for (key, value) in state.fields.iter() {
                if !keys.contains(&key) && !fields.contains(key) {
                    keys.push(key);
                    push(key, value);
                }
            }
        }
        for (key, value) in fields.iter().filter(|(key, _)| *key != MESSAGE) {
            push(key, value);
        }
        if let Some(redactor) = redactor {
            line::redact(body, spare, redactor);
        }
        let head = Head {
            time: SystemTime::now(),
            level: event.metadata().level(),
            target: event.metadata().target(),
            context: context.unwrap_or(self.process),
        };
        self.style.write(line, &head, body, truncated);
        if self.writer.write_line(line).is_err() {
            self.lines_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S> Layer<S> for TelemetryLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.shared.filter.is_enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.shared.filter.is_enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.shared.filter.max_level())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        // Fields are formatted before any lock is taken: a `Debug` may log.
        let fields = self.record(|recorder| attributes.record(recorder));
        let Some(span) = ctx.span(id) else { return };
        let above =
            span.scope().skip(1).find_map(|above| Some(above.extensions().get::<SpanState>()?.context));
        let context = above.unwrap_or(self.shared.process).child();
        span.extensions_mut().insert(SpanState { context, fields });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        let newer = self.record(|recorder| values.record(recorder));
        let Some(span) = ctx.span(id) else { return };
        if let Some(state) = span.extensions_mut().get_mut::<SpanState>() {
            state.fields.merge(&newer);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        // A thread that is ending has no thread-local buffers left.
        let mut buffers = BUFFERS.try_with(Cell::take).ok().flatten().unwrap_or_default();
        self.shared.write_event(event, &ctx, &mut buffers);
        if buffers.body.capacity() + buffers.line.capacity() <= MAX_KEPT_LEN {
            let _ = BUFFERS.try_with(|kept| kept.set(Some(buffers)));
        }
    }
}

impl fmt::Debug for TelemetryLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryLayer")
            .field("process", &self.shared.process)
            .field("filter", &self.shared.filter)
            .finish_non_exhaustive()
    }
}
