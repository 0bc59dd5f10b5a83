//! Numbers about the process, for Prometheus: counters, gauges and histograms with checked names, bounded in number.
//!
//! A [`Registry`] gives out handles; a handle is cheap to clone and one atomic operation to use, so it is made once and
//! kept. [`Telemetry::metrics`](crate::Telemetry::metrics) is the registry of the process; a test makes its own.
//!
//! ```
//! use ops_telemetry::metrics::{Buckets, Counter, Desc, Exposition, Registry, Unit};
//!
//! ops_telemetry::labels! {
//!     /// What tells payments apart.
//!     pub struct Payment { provider: &'static str, outcome: &'static str }
//! }
//!
//! let registry = Registry::new();
//! let orders = registry.counter(Desc::new("orders_accepted_total", "Orders that were accepted."))?;
//! let payments = registry
//!     .counter_family::<Payment>(Desc::new("payments_total", "Payments, by provider and outcome."))?;
//! let took = registry.histogram(
//!     Desc::new("settlement_duration_seconds", "How long a settlement took.").unit(Unit::Seconds),
//!     Buckets::seconds(),
//! )?;
//!
//! orders.inc();
//! let card_ok: Counter = payments.with(&Payment { provider: "card", outcome: "ok" }); // kept by who uses it often
//! card_ok.add(2);
//! took.observe_with(0.03, ops_telemetry::TraceContext::current()); // an exemplar, where the trace is sampled
//!
//! let page = registry.render(Exposition::OpenMetrics);
//! assert!(page.contains("payments_total{provider=\"card\",outcome=\"ok\"} 2\n"), "{page}");
//! # Ok::<(), ops_telemetry::Error>(())
//! ```
//!
//! A metric has at most 2,000 series unless its [`Desc`] says otherwise. What comes after them is counted together, in a
//! series that has the label `otel_metric_overflow="true"`; it is said once in the log, and
//! `telemetry_metric_overflows_total` counts it.

mod cell;
mod desc;
mod exemplar;
mod family;
mod histogram;
mod labels;
mod process;
mod reading;
mod registry;
mod text;

pub use cell::{Counter, Gauge, Tracked};
#[cfg(feature = "otlp")]
pub(crate) use desc::Kind;
pub use desc::{Desc, Unit};
#[cfg(feature = "otlp")]
pub(crate) use exemplar::Exemplar;
pub use family::{Family, Instrument};
pub use histogram::{Buckets, Histogram, Timer};
pub use labels::Labels;
#[cfg(feature = "otlp")]
pub(crate) use reading::{Reading, Series, Value};
pub use registry::{Registry, Samples};
pub use text::Exposition;
