//! Structured logs that carry a trace id on every line, end to end.
//!
//! A line in a log is worth little if nobody can tell which request, job or run it belongs to. This crate installs one
//! [`tracing`] layer that owns the W3C ids: each request to a service is a trace of its own, a job continues the trace of
//! its caller (`TRACEPARENT`), each span gets an id, and every event is one line with `trace_id`, `span_id` and
//! `trace_flags`, also outside any span, in a panic, and in records of the `log` crate. Children continue the trace through
//! [`child_env`], threads and tasks through [`spawn_thread`] and `spawn`.
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
//! A program calls [`init!`] once instead, keeps the [`Telemetry`] that it returns, and ends with
//! [`Telemetry::shutdown`]. A service on tokio calls `run`, which does that and handles signals and panics too.
//!
//! # The line
//! JSON is flat and in a fixed order: `timestamp` (RFC 3339, UTC, microseconds), `level`, `message`, `target`,
//! `trace_id`, `span_id`, `trace_flags`, `service.name`, `service.version`, the rest of the resource, the fields of the
//! spans (the nearest span wins), then those of the event. [`Schema`] has the names of other systems. A key stands once; a
//! field that has the name of one of the line's own members is called `field.<name>`. A value is cut at 8 KiB and a line at
//! 64 KiB, after secrets are removed, and `"truncated":true` says so. The human format shows time, level, message and
//! fields, and ends with both ids.
//!
//! # Ids
//! [`Roots`] says whether a span without a parent begins a trace. [`RemoteParent::parent_of`] and [`SpanExt::set_parent`]
//! let it continue the trace of a caller. [`Sampling`] is decided at the head of a trace, before fields are collected.
//! A child that was forked without `exec` gets ids of its own.
//!
//! # The way of a line
//! A line is copied into a ring ([`RingOptions`]) and written by a thread. An ERROR line waits until it is out, in its
//! order, so it survives a crash that follows. A reader that is too slow costs lines and never more than a bounded wait;
//! what is lost is counted by severity ([`LinesLost`]) and told in the log itself, as `telemetry.dropped`, once a line gets
//! through. A reader that is gone costs lines too. [`FileWriter`] turns files over and opens them again.
//! [`Telemetry::set_level`] changes what is logged, for good or for a while. [`audit!`] writes what nothing may hold back.
//!
//! # Secrets
//! Three things keep them out: [`Sensitive`] around a value; [`FieldMask`], by the names of fields; and the program's own
//! [`Redactor`], which sees every line, panic and span whole before it is shortened, and which [`redact()`] offers to
//! everything else that leaves the process.
//!
//! # Features
//! - `tokio`: `run`, `spawn`, `spawn_blocking`.
//! - `http`: layers of `tower` for servers and clients, header maps as carriers, problem bodies, the admin service.
//! - `otlp`: spans, log records and metrics to an OpenTelemetry collector, over HTTP with protobuf. Takes no package.
//! - `otlp-grpc`: the same over gRPC. Takes an implementation of HTTP/2, and nothing of the program's runtime.
//! - `otlp-tls`: a collector behind `https`.
//!
//! # Limits
//! A collector is not spoken to through a proxy, and nothing is compressed. `std::process::exit` on another thread than the one
//! that called [`init!`] may lose the lines of the last two milliseconds below ERROR; [`Telemetry::shutdown`] before it does
//! not.

pub mod admin;
pub mod audit;
mod context;
mod current;
mod environment;
mod error;
mod exit;
mod fields;
mod filter;
#[cfg(feature = "http")]
pub mod http;
mod init;
mod json;
mod keys;
mod layer;
mod level;
mod line;
mod log_records;
pub mod metrics;
mod options;
#[cfg(feature = "otlp")]
mod otlp;
mod panic;
pub mod propagate;
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
pub use current::SpanExt;
pub use error::{Error, ErrorKind};
pub use init::{Redactions, ShutdownReport, Telemetry, init, redact};
pub use keys::FieldMask;
pub use layer::TelemetryLayer;
pub use level::CurrentLevel;
pub use line::Schema;
pub use options::{LogFormat, Options, PanicHook, Roots};
#[cfg(feature = "otlp")]
pub use otlp::{Collector, Otlp, Protocol};
pub use propagate::environment::child_env;
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
