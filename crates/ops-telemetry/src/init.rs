//! The one call that installs telemetry for the process, and what a process can do with it.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::layer::SubscriberExt;

use crate::admin::Admin;
use crate::audit::Link;
use crate::context::{TraceContext, TraceId};
use crate::error::{Error, ErrorKind};
use crate::exit;
use crate::layer::TelemetryLayer;
use crate::level::CurrentLevel;
use crate::log_records;
use crate::metrics::{Desc, Registry};
use crate::options::{Options, PanicHook};
use crate::panic;
use crate::record::Undelivered;
use crate::severity::Severity;
use crate::shared::{GLOBAL, Shared};
use crate::writer::LinesLost;

/// Proof that telemetry is installed, with what a process wants to know about it and do with it.
#[derive(Clone)]
pub struct Telemetry {
    shared: Arc<Shared>,
    metrics: Registry,
}

/// What became of everything that was logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it says what was lost"]
pub struct ShutdownReport {
    /// Lines that did not reach the writer since the start.
    pub lines_lost: LinesLost,
    /// Spans and log records that did not reach a collector since the start.
    pub undelivered: Undelivered,
    /// Whether everything that could be delivered was, within the deadline.
    pub is_complete: bool,
    /// How long it took.
    pub took: Duration,
}

/// How often something secret was kept out of lines since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redactions {
    /// Values in which the redactor found a secret.
    pub values: u64,
    /// Fields that were masked for their name.
    pub fields: u64,
}

impl Telemetry {
    /// Builds telemetry and the layer that feeds it; nothing is installed yet.
    pub(crate) fn build(options: Options) -> Result<(Self, TelemetryLayer), Error> {
        let metrics = Registry::new();
        metrics.register_process(&options.service, &options.version)?;
        let layer = TelemetryLayer::with_metrics(options, &metrics)?;
        let shared = Arc::clone(layer.shared());
        register_own(&metrics, &shared)?;
        Ok((Self { shared, metrics }, layer))
    }

    /// Returns the trace that this process belongs to.
    pub fn trace_id(&self) -> TraceId {
        self.context().trace_id
    }

    /// Returns the context of the process itself: what lines outside any span carry.
    pub fn context(&self) -> TraceContext {
        self.shared.process.context
    }

    /// Returns the metrics of this process, those about itself among them.
    pub fn metrics(&self) -> &Registry {
        &self.metrics
    }

    /// Returns answers for operators: these metrics, and the level, which they may change. There is no check yet, so the
    /// process is not ready. Each call makes one with checks of its own.
    pub fn admin(&self) -> Admin {
        let shared = Arc::clone(&self.shared);
        Admin::new(&self.metrics).with_level(move |filter, ttl| shared.levels.set(filter, ttl))
    }

    /// Returns how many lines could not be written since the start, for example because the reader of standard error
    /// is gone.
    pub fn lines_lost(&self) -> u64 {
        self.lines_lost_by_severity().total()
    }

    /// Returns how many lines of each severity could not be written since the start.
    pub fn lines_lost_by_severity(&self) -> LinesLost {
        self.shared.output.lost()
    }

    /// Returns how often something secret was kept out of lines.
    pub fn redactions(&self) -> Redactions {
        Redactions { values: self.shared.redaction.values(), fields: self.shared.redaction.fields() }
    }

    /// Removes secrets from a text that leaves the process by another way than a line, for example in the body of an error.
    pub fn redact(&self, text: &str) -> String {
        redact_with(&self.shared, text)
    }

    /// Changes what is logged, for good, or for a while: then it ends by itself. `filter` is as in [`Options::filter`]
    /// and replaces the present one altogether. Also holds for records of the `log` crate.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFilter`] where the filter cannot be read; nothing is changed then.
    pub fn set_level(&self, filter: &str, ttl: Option<Duration>) -> Result<(), Error> {
        self.shared.levels.set(filter, ttl)
    }

    /// Returns what is logged now.
    pub fn level(&self) -> CurrentLevel {
        self.shared.levels.end();
        self.shared.levels.current()
    }

    /// Opens log files again after another program has moved them away. Call it on SIGHUP, as
    /// `ops_telemetry::run` does (feature `tokio`), or in a thread of the program's own that waits for the signal.
    ///
    /// # Errors
    /// Where a file cannot be opened; lines go on to the old one then.
    pub fn reopen(&self) -> io::Result<()> {
        let (lines, audit) = (self.shared.output.reopen(), self.shared.audit().reopen());
        lines.and(audit)
    }

    /// Returns the end of the audit chain. Kept elsewhere, it proves later that no line was cut off.
    pub fn audit_head(&self) -> Link {
        self.shared.audit().head()
    }

    /// Waits until every line so far is written, and sent where a collector is, and tells whether it is.
    pub fn flush(&self, at_most: Duration) -> bool {
        self.shared.flush(deadline(at_most))
    }

    /// Delivers everything that was logged, and tells what was lost. Blocks the calling thread for at most `at_most`, needs
    /// no runtime and does not use one, so it works in async code of any flavour. Lines that are logged later are written
    /// by those who log them, or lost where the writer did not get on.
    pub fn shutdown(&self, at_most: Duration) -> ShutdownReport {
        let (began, until) = (Instant::now(), deadline(at_most));
        self.shared.end_process();
        let (is_written, undelivered) = thread::scope(|scope| {
            let sink = self.shared.sink.as_ref().map(|sink| scope.spawn(move || sink.shutdown(until)));
            let is_written = self.shared.output.close(until);
            let undelivered = sink.map(|thread| thread.join().unwrap_or_default());
            (is_written, undelivered.unwrap_or_default())
        });
        ShutdownReport {
            lines_lost: self.lines_lost_by_severity(),
            undelivered,
            is_complete: is_written && undelivered == Undelivered::default(),
            took: began.elapsed(),
        }
    }
}

/// Removes secrets from a text as [`Telemetry::redact`] does, by the telemetry that is installed here; without one the
/// text stays as it is.
pub fn redact(text: &str) -> String {
    tracing::dispatcher::get_default(|dispatch| match dispatch.downcast_ref::<TelemetryLayer>() {
        Some(layer) => redact_with(layer.shared(), text),
        None => GLOBAL.get().map_or_else(|| text.to_owned(), |shared| redact_with(shared, text)),
    })
}

fn redact_with(shared: &Shared, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    shared.redaction.redact(&mut bytes);
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn deadline(at_most: Duration) -> Instant {
    let now = Instant::now();
    // A wait beyond what the clock can tell is a day.
    now.checked_add(at_most).unwrap_or(now + Duration::from_secs(86_400))
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").field("context", &self.context()).finish_non_exhaustive()
    }
}

/// Installs the logs of this process: from here on every `tracing` event and every record of the `log` crate is one line
/// with a trace id.
///
/// Lines wait in a ring unless [`Options::ring`] says otherwise. [`Telemetry::shutdown`] writes them all; so does, for half
/// a second, the end of the thread that called `init`, which the main thread's is also in `std::process::exit`.
///
/// # Errors
/// As [`TelemetryLayer::new`], and [`ErrorKind::AlreadyInitialized`] where a subscriber is installed already. Nothing is
/// changed then.
pub fn init(options: Options) -> Result<Telemetry, Error> {
    let panic_hook = options.panic_hook;
    let (telemetry, layer) = Telemetry::build(options)?;
    let shared = Arc::clone(&telemetry.shared);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).map_err(|_| {
        Error::new(
            ErrorKind::AlreadyInitialized,
            "cannot install telemetry: a subscriber is already installed",
        )
    })?;
    let _ = GLOBAL.set(Arc::clone(&shared));
    log_records::install();
    shared.levels.make_global();
    exit::flush_when_this_thread_ends(Arc::clone(&shared));
    if panic_hook != PanicHook::Off {
        panic::install(panic_hook);
    }
    Ok(telemetry)
}

/// Registers what telemetry knows about itself.
fn register_own(metrics: &Registry, shared: &Arc<Shared>) -> Result<(), Error> {
    let counted = Arc::clone(shared);
    metrics.observe_counter(
        Desc::new("telemetry_lines_lost_total", "Lines of the log that could not be written."),
        &["severity"],
        move |samples| {
            let lost = counted.output.lost();
            for severity in Severity::ALL {
                samples.add(&[severity.as_str()], lost.of(severity) as f64);
            }
        },
    )?;
    let counted = Arc::clone(shared);
    metrics.observe_counter(
        Desc::new("telemetry_redactions_total", "Texts with a secret, and fields masked for their name."),
        &["found_in"],
        move |samples| {
            samples.add(&["value"], counted.redaction.values() as f64);
            samples.add(&["field"], counted.redaction.fields() as f64);
        },
    )
}

/// Calls [`init`](crate::init()) with the name and version of the calling crate and [`Options::for_service`]: the
/// environment may override both. Fields that are given win.
///
/// ```
/// let telemetry = ops_telemetry::init!(filter: "warn".into())?;
/// tracing::warn!(disk.free_bytes = 17, "little space left");
/// # Ok::<(), ops_telemetry::Error>(())
/// ```
#[macro_export]
macro_rules! init {
    ($($field:ident : $value:expr),* $(,)?) => {
        $crate::init(
            $crate::Options {
                $($field: $value,)*
                ..$crate::Options::for_service(::std::env!("CARGO_PKG_NAME"), ::std::env!("CARGO_PKG_VERSION"))
            }
        )
    };
}
