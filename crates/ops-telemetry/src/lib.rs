//! Structured logs that carry a trace id on every line, end to end.
//!
//! A line in a log is worth little if nobody can tell which request, job or run it belongs to. This crate installs one
//! [`tracing`] layer that owns the W3C ids: the process continues the trace of its caller (`TRACEPARENT`) or starts its
//! own, each span gets an id in that trace, and every event is one line with `trace_id`, `span_id` and
//! `trace_flags`, also outside any span and in a panic. Children continue the trace through [`child_env`].
//!
//! ```
//! use ops_telemetry::testing::Capture;
//! use ops_telemetry::{LogFormat, Options, TraceContext};
//!
//! let parent = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")?;
//! let options = Options { service: "orders".into(), parent: Some(parent), ..Options::default() };
//! let capture = Capture::default();
//! capture.run(options, || {
//!     let _job = tracing::info_span!("job", job.id = 7).entered();
//!     tracing::info!(rows = 42, "done");
//! })?;
//! let line = &capture.lines()[0];
//! assert!(line.contains(r#""trace_id":"0af7651916cd43dd8448eb211c80319c""#));
//! assert!(line.contains(r#""job.id":7,"rows":42"#));
//! # Ok::<(), ops_telemetry::Error>(())
//! ```
//!
//! A program calls [`init!`] once instead, and keeps what it returns.
//!
//! # The line
//! JSON is flat and in a fixed order: `timestamp` (RFC 3339, UTC, microseconds), `level`, `message`, `target`,
//! `trace_id`, `span_id`, `trace_flags`, `service.name`, `service.version`, the fields of the spans (the nearest span
//! wins), then those of the event. A key stands once; a field that has the name of one of the first nine is called
//! `field.<name>`. A value is cut at 8 KiB and a line at 64 KiB, and `"truncated":true` says so. The human format shows
//! time, level, message and fields, and ends with both ids.
//!
//! # Limits
//! Lines are written in the calling thread: a full pipe blocks it. A line that cannot be written is counted
//! ([`Telemetry::lines_lost`]), not repeated. All spans of a process share its trace, so the requests of a server are
//! told apart by their span ids alone. Records of the `log` crate are not seen. Nothing is sent to a collector.

pub mod audit;
mod context;
mod current;
mod environment;
mod error;
mod exit;
mod fields;
mod filter;
mod init;
mod json;
mod keys;
mod layer;
mod level;
mod line;
mod log_records;
mod options;
mod panic;
mod random;
mod record;
mod redact;
mod remote;
#[cfg(feature = "tokio")]
mod run;
mod sampling;
mod severity;
mod shared;
mod span;
mod spawn;
pub mod testing;
mod timestamp;
mod writer;

pub use audit::AuditOptions;
pub use context::{SpanId, TraceContext, TraceFlags, TraceId};
pub use current::{SpanExt, child_env};
pub use error::{Error, ErrorKind};
pub use init::{Redactions, ShutdownReport, Telemetry, init, redact};
pub use keys::FieldMask;
pub use layer::TelemetryLayer;
pub use level::CurrentLevel;
pub use line::Schema;
pub use options::{LogFormat, Options, PanicHook, Roots};
pub use record::Undelivered;
pub use redact::{Redactor, Sensitive};
pub use remote::RemoteParent;
#[cfg(feature = "tokio")]
pub use run::{Outcome, Running, Service, run};
pub use sampling::{Sampling, UnsampledLines};
pub use severity::Severity;
pub use spawn::{in_current_span, spawn_thread};
#[cfg(feature = "tokio")]
pub use spawn::{spawn, spawn_blocking};
pub use writer::{
    FileWriter, LineWriter, LinesLost, RingOptions, Rotation, StderrWriter, StdoutWriter, WhenFull,
};

/// For the macros of this crate alone.
#[doc(hidden)]
pub mod __private {
    pub use tracing;
}
