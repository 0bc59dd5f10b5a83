//! What all parts of one telemetry share: the way from an event to its line.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use tracing::Event;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::audit::Audit;
use crate::context::{SpanId, TraceContext};
use crate::error::Error;
use crate::fields::{Fields, Recorder};
use crate::json;
use crate::keys::{Key, KeyRules};
use crate::level::{AUDIT_TARGET, Levels};
use crate::line::{Body, Head, Style};
use crate::options::{Options, Roots};
use crate::record::{LogRecord, RecordFields, Sink, SpanRecord};
use crate::redact::Redaction;
use crate::remote::RemoteParent;
use crate::sampling::{Sampling, UnsampledLines};
use crate::severity::Severity;
use crate::span::SpanState;
use crate::timestamp::Stamp;
use crate::writer::{Announce, LinesLost, Output};

/// The target of what this crate itself has to say.
const OWN_TARGET: &str = "ops_telemetry";

/// A thread keeps its buffers between lines, up to this size.
const MAX_KEPT_LEN: usize = 256 * 1024;

thread_local! {
    /// Taken while in use, so that a `Debug` that logs finds none and makes its own.
    static BUFFERS: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

/// The telemetry of this process, once it is installed.
pub(crate) static GLOBAL: OnceLock<Arc<Shared>> = OnceLock::new();

pub(crate) struct Shared {
    style: Arc<Style>,
    pub(crate) levels: Levels,
    pub(crate) keys: KeyRules,
    pub(crate) redaction: Redaction,
    pub(crate) output: Output,
    audit: Audit,
    pub(crate) sampling: Sampling,
    pub(crate) roots: Roots,
    pub(crate) sink: Option<Arc<dyn Sink>>,
    /// The place of the process itself, with what its caller sent along.
    pub(crate) process: RemoteParent,
    life: Life,
}

/// What the span of the process itself needs at its end.
struct Life {
    parent: Option<SpanId>,
    start: SystemTime,
    clock: Instant,
    process: u32,
    is_ended: AtomicBool,
}

#[derive(Default)]
pub(crate) struct Buffers {
    event: Fields,
    message: Vec<u8>,
    members: Vec<u8>,
    spare: Vec<u8>,
    line: Vec<u8>,
    stamp: Stamp,
    /// The keys that a nearer span has written already.
    keys: Vec<&'static str>,
    /// Whether a value was cut.
    truncated: bool,
}

impl Shared {
    pub(crate) fn new(options: Options, sink: Option<Arc<dyn Sink>>) -> Result<Self, Error> {
        let resource = options.resource_members();
        let style = Arc::new(options.style(&resource));
        let context = match options.parent {
            Some(parent) => parent.child(),
            None => {
                let context = TraceContext::random();
                let sampled = options.sampling.decide(context.trace_id, None);
                TraceContext { flags: context.flags.with_sampled(sampled), ..context }
            }
        };
        let keys = KeyRules::new(options.schema.reserved(&resource), options.mask);
        let announce = announcement(Arc::clone(&style), context);
        Ok(Self {
            levels: Levels::parse(&options.filter)?,
            audit: Audit::open(options.audit, &options.schema, &resource)?,
            keys,
            redaction: Redaction::new(options.redactor),
            output: Output::new(options.writer, options.ring, announce),
            style,
            sampling: options.sampling,
            roots: options.roots.decide(options.parent.is_some()),
            sink,
            process: RemoteParent::new(context, options.tracestate, options.baggage),
            life: Life {
                parent: options.parent.map(|parent| parent.span_id),
                start: SystemTime::now(),
                clock: Instant::now(),
                process: std::process::id(),
                is_ended: AtomicBool::new(false),
            },
        })
    }

    /// Tells whether lines are for a person.
    pub(crate) fn is_for_people(&self) -> bool {
        matches!(*self.style, Style::Human { .. })
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Hands on the span of the process, once: the spans of a job lie below it, and so do lines outside any span. A service
    /// has none, for its requests are traces of their own.
    pub(crate) fn end_process(&self) {
        let Life { parent, start, clock, process, is_ended } = &self.life;
        let is_wanted = self.roots == Roots::Process && self.process.context.flags.is_sampled();
        let Some(sink) = self.sink.as_ref().filter(|_| is_wanted && *process == std::process::id()) else {
            return;
        };
        if is_ended.swap(true, Ordering::Relaxed) {
            return;
        }
        sink.span(SpanRecord {
            context: self.process.context,
            parent: *parent,
            tracestate: self.process.tracestate.clone(),
            name: "process",
            target: OWN_TARGET,
            start: *start,
            end: *start + clock.elapsed(),
            fields: RecordFields::new(format!(r#","process.pid":{process}"#).as_bytes()),
            links: Vec::new(),
        });
    }

    /// Returns what the trace of a span came with: what is `carried` with it, or what the process was given, for spans of
    /// the same trace. A trace of its own does not carry what the caller of the process sent along.
    pub(crate) fn carried<'a>(
        &'a self,
        context: TraceContext,
        carried: Option<&'a Arc<RemoteParent>>,
    ) -> Option<&'a RemoteParent> {
        let inherited = (context.trace_id == self.process.context.trace_id).then_some(&self.process);
        carried.map(|carried| &**carried).or(inherited)
    }

    /// Waits until every line so far is written, and sent where there is somebody to send it to.
    pub(crate) fn flush(&self, until: Instant) -> bool {
        let is_written = self.output.flush(until);
        is_written & self.sink.as_ref().is_none_or(|sink| sink.flush(until))
    }

    /// Lends buffers to `write`.
    pub(crate) fn with_buffers(&self, write: impl FnOnce(&mut Buffers)) {
        // A thread that is ending has no thread-local buffers left.
        let mut buffers = BUFFERS.try_with(Cell::take).ok().flatten().unwrap_or_default();
        buffers.clear();
        write(&mut buffers);
        if buffers.members.capacity() + buffers.line.capacity() <= MAX_KEPT_LEN {
            let _ = BUFFERS.try_with(|kept| kept.set(Some(buffers)));
        }
    }

    /// Tells whether a line of this severity is written in a trace that is not recorded.
    pub(crate) fn writes_unsampled(&self, severity: Severity) -> bool {
        self.sampling.lines == UnsampledLines::All || severity >= Severity::Warn
    }

    /// Writes the line of an event. `span` is the one that it is in.
    pub(crate) fn write_event<'a, R: LookupSpan<'a>>(
        &self,
        event: &Event<'_>,
        span: Option<SpanRef<'a, R>>,
        buffers: &mut Buffers,
    ) {
        let metadata = event.metadata();
        event.record(&mut Recorder {
            fields: &mut buffers.event,
            message: Some(&mut buffers.message),
            keys: &self.keys,
            redaction: &self.redaction,
        });
        let context = buffers.collect(span).unwrap_or(self.process.context);
        let is_audit = metadata.target() == AUDIT_TARGET;
        let severity = Severity::from(*metadata.level());
        let head = Head { time: SystemTime::now(), severity, target: metadata.target(), context };
        self.write(&head, is_audit, buffers);
    }

    /// Writes a line that no event stands behind. `fields` must not have a key twice.
    pub(crate) fn write_record<'a, R: LookupSpan<'a>>(
        &self,
        (severity, target): (Severity, &str),
        message: fmt::Arguments<'_>,
        fields: &[(&'static str, &str)],
        span: Option<SpanRef<'a, R>>,
        buffers: &mut Buffers,
    ) {
        push_string(&mut buffers.message, message);
        for (key, value) in fields {
            buffers.event.push(Key::shown(key), |out| push_string(out, format_args!("{value}")));
        }
        let is_long = buffers.event.bound(&self.redaction)
            | crate::fields::bound(&mut buffers.message, &self.redaction);
        let context = buffers.collect(span).unwrap_or(self.process.context);
        buffers.truncated |= is_long;
        self.write(&Head { time: SystemTime::now(), severity, target, context }, false, buffers);
    }

    fn write(&self, head: &Head<'_>, is_audit: bool, buffers: &mut Buffers) {
        let Buffers { message, members, spare, line, stamp, truncated, .. } = buffers;
        self.redaction.redact_line(message, members, spare);
        let body = Body { message, members, truncated: *truncated };
        if is_audit {
            self.audit.write(head, body, &self.output, |line, body| {
                self.style.write(line, &mut Stamp::default(), head, body);
            });
        } else {
            self.style.write(line, stamp, head, body);
            self.output.write(head.severity, line);
        }
        if let Some(sink) = &self.sink {
            let message = json::string_inside(message).unwrap_or(message);
            sink.log(LogRecord {
                time: head.time,
                severity: head.severity,
                target: head.target.to_owned(),
                message: json::unescape(message).into_owned(),
                context: head.context,
                fields: RecordFields::new(members),
            });
        }
    }
}

impl Buffers {
    fn clear(&mut self) {
        self.event.clear();
        self.message.clear();
        self.members.clear();
        self.line.clear();
        self.keys.clear();
        self.truncated = false;
    }

    /// Puts the fields of the spans and then those of the event together, each key once, and returns the ids of the
    /// nearest span.
    fn collect<'a, R: LookupSpan<'a>>(&mut self, span: Option<SpanRef<'a, R>>) -> Option<TraceContext> {
        let Self { event, members, keys, truncated, .. } = self;
        *truncated = event.is_truncated();
        let mut context = None;
        let (mut next, mut taken) = (span, event.bits());
        while let Some(span) = next {
            let above = span.parent();
            let extensions = span.extensions();
            if let Some(state) = extensions.get::<SpanState>() {
                context.get_or_insert_with(|| state.observe());
                let fields = state.fields();
                *truncated |= fields.is_truncated();
                let is_shown = |key: &str| !keys.contains(&key) && !event.contains(key);
                if fields.bits() & taken == 0 || fields.keys().all(is_shown) {
                    members.extend_from_slice(fields.text());
                } else {
                    let shown = fields.iter().filter(|member| is_shown(member.key));
                    shown.for_each(|member| members.extend_from_slice(member.text));
                }
                if above.is_some() {
                    taken |= fields.bits();
                    keys.extend(fields.keys());
                }
            }
            drop(extensions);
            next = above;
        }
        members.extend_from_slice(event.text());
        context
    }
}

/// Appends a JSON string. A `Display` that fails leaves what it wrote so far.
fn push_string(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.push(b'"');
    let _ = json::Escaped(out).write_fmt(text);
    out.push(b'"');
}

fn announcement(style: Arc<Style>, context: TraceContext) -> Announce {
    Box::new(move |lost: &LinesLost| {
        let mut members = format!(r#","telemetry.dropped":{}"#, lost.total());
        for severity in Severity::ALL.into_iter().filter(|severity| lost.of(*severity) > 0) {
            let name = severity.as_str().to_ascii_lowercase();
            let _ = write!(members, r#","telemetry.dropped.{name}":{}"#, lost.of(severity));
        }
        let head = Head { time: SystemTime::now(), severity: Severity::Warn, target: OWN_TARGET, context };
        let message = br#""log lines were lost""#;
        let mut line = Vec::new();
        let body = Body { message, members: members.as_bytes(), truncated: false };
        style.write(&mut line, &mut Stamp::default(), &head, body);
        line
    })
}
