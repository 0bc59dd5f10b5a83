//! For tests: lines and spans in memory instead of on standard error.
//!
//! [`Capture`] sees what one closure logs on its own thread. Code that starts threads or tasks of its own is tested with
//! [`trace`]: one telemetry for the whole test process, and each test looks at its own trace, so tests run in parallel.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use tracing::{Dispatch, Span};
use tracing_subscriber::layer::SubscriberExt;

use crate::context::{TraceContext, TraceId};
use crate::error::Error;
use crate::init::Telemetry;
use crate::json;
use crate::layer::TelemetryLayer;
use crate::log_records;
use crate::options::{LogFormat, Options, Roots};
pub use crate::record::{FieldValue, LogRecord, RecordFields, SpanRecord};
use crate::record::{Sink, Undelivered};
use crate::remote::RemoteParent;
use crate::shared::GLOBAL;
use crate::writer::LineWriter;

/// Collects lines and spans. Tests may run in parallel: [`Capture::run`] sees only what its own closure logs on its own
/// thread.
///
/// ```
/// let capture = ops_telemetry::testing::Capture::default();
/// capture.run(Default::default(), || tracing::info!(answer = 42, "done"))?;
/// assert!(capture.lines()[0].contains("\"answer\":42"));
/// # Ok::<(), ops_telemetry::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Capture {
    store: Arc<Store>,
}

#[derive(Debug, Default)]
struct Store {
    lines: Mutex<Vec<String>>,
    spans: Mutex<Vec<SpanRecord>>,
    logs: Mutex<Vec<LogRecord>>,
}

impl Capture {
    /// Runs `body` with telemetry as `options` say, its lines going here. There is no ring: a line is here when the event
    /// returns. Records of the `log` crate are seen too, unless the process has another logger.
    ///
    /// # Errors
    /// As [`TelemetryLayer::new`].
    pub fn run<T>(&self, options: Options, body: impl FnOnce() -> T) -> Result<T, Error> {
        let options = Options { writer: Arc::new(self.clone()), ring: None, ..options };
        let sink: Arc<dyn Sink> = Arc::clone(&self.store) as _;
        let layer = TelemetryLayer::with_sink(options, Some(sink))?;
        log_records::install();
        Ok(tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), body))
    }

    /// Returns the lines so far, without their newline.
    pub fn lines(&self) -> Vec<String> {
        locked(&self.store.lines).clone()
    }

    /// Returns the recorded spans that have ended so far.
    pub fn spans(&self) -> Vec<SpanRecord> {
        locked(&self.store.spans).clone()
    }

    /// Returns the lines so far as a collector gets them.
    pub fn logs(&self) -> Vec<LogRecord> {
        locked(&self.store.logs).clone()
    }
}

/// Returns telemetry as `options` say, ring and all, that holds where the dispatch is made the default: for tests of the
/// writer itself.
///
/// # Errors
/// As [`TelemetryLayer::new`].
pub fn scoped(options: Options) -> Result<(Dispatch, Telemetry), Error> {
    let (telemetry, layer) = Telemetry::build(options)?;
    Ok((Dispatch::new(tracing_subscriber::registry().with(layer)), telemetry))
}

/// A trace of one test, seen across all threads and tasks.
#[derive(Clone, Debug)]
pub struct TestTrace {
    root: TraceContext,
    store: Capture,
}

/// Starts a trace for one test. The first call installs telemetry for the whole test process, with every level; it fails
/// silently where another subscriber is there, and then nothing is seen.
///
/// ```
/// let trace = ops_telemetry::testing::trace();
/// let request = trace.span("request");
/// let worker = request.in_scope(|| ops_telemetry::spawn_thread(|| tracing::info!("from a thread")));
/// worker.join().expect("no panic");
/// drop(request);
/// assert!(trace.lines()[0].contains("from a thread"));
/// assert_eq!(trace.spans()[0].name, "test");
/// ```
pub fn trace() -> TestTrace {
    static STORE: OnceLock<Capture> = OnceLock::new();
    let store = STORE.get_or_init(|| {
        let store = Capture::default();
        let options = Options {
            writer: Arc::new(store.clone()),
            ring: None,
            format: LogFormat::Json,
            filter: "trace".into(),
            roots: Roots::Own,
            ..Options::default()
        };
        let sink: Arc<dyn Sink> = Arc::clone(&store.store) as _;
        if let Ok(layer) = TelemetryLayer::with_sink(options, Some(sink)) {
            let shared = Arc::clone(layer.shared());
            let subscriber = tracing_subscriber::registry().with(layer);
            if tracing::subscriber::set_global_default(subscriber).is_ok() {
                let _ = GLOBAL.set(Arc::clone(&shared));
                log_records::install();
                shared.levels.make_global();
            }
        }
        store
    });
    TestTrace { root: TraceContext::random(), store: store.clone() }
}

impl TestTrace {
    /// Returns the id that everything in this trace has.
    pub fn trace_id(&self) -> TraceId {
        self.root.trace_id
    }

    /// Opens a span in this trace: enter it, or instrument a future with it. Its field `test` has the given name.
    pub fn span(&self, name: &str) -> Span {
        RemoteParent::from(self.root).parent_of(|| tracing::info_span!("test", test = name))
    }

    /// Returns the lines of this trace so far, without their newline.
    pub fn lines(&self) -> Vec<String> {
        let id = format!(r#""trace_id":"{}""#, self.root.trace_id);
        let is_ours = |line: &String| {
            let members = line.replacen('{', ",", 1);
            json::members(members.as_bytes()).any(|member| member.text[1..] == *id.as_bytes())
        };
        self.store.lines().into_iter().filter(is_ours).collect()
    }

    /// Returns the spans of this trace that have ended so far.
    pub fn spans(&self) -> Vec<SpanRecord> {
        let is_ours = |span: &SpanRecord| span.context.trace_id == self.root.trace_id;
        self.store.spans().into_iter().filter(is_ours).collect()
    }

    /// Returns the lines of this trace as a collector gets them.
    pub fn logs(&self) -> Vec<LogRecord> {
        let is_ours = |log: &LogRecord| log.context.trace_id == self.root.trace_id;
        self.store.logs().into_iter().filter(is_ours).collect()
    }
}

impl LineWriter for Capture {
    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned();
        locked(&self.store.lines).push(line);
        Ok(())
    }
}

impl Sink for Store {
    fn span(&self, span: SpanRecord) {
        locked(&self.spans).push(span);
    }

    fn log(&self, log: LogRecord) {
        locked(&self.logs).push(log);
    }

    fn flush(&self, _: Instant) -> bool {
        true
    }

    fn shutdown(&self, _: Instant) -> Undelivered {
        Undelivered::default()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
