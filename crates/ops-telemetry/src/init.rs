//! The one call that installs telemetry for the process.

use std::sync::Arc;

use tracing_subscriber::layer::SubscriberExt;

use crate::context::{TraceContext, TraceId};
use crate::error::{Error, ErrorKind};
use crate::layer::{Shared, TelemetryLayer};
use crate::metrics::{Desc, Registry};
use crate::options::Options;
use crate::panic;

/// Proof that telemetry is installed, with what a process wants to know about it.
#[derive(Clone)]
pub struct Telemetry {
    shared: Arc<Shared>,
    metrics: Registry,
}

impl Telemetry {
    /// Returns the trace that this process belongs to.
    pub fn trace_id(&self) -> TraceId {
        self.shared.process.trace_id
    }

    /// Returns the context of the process itself: what lines outside any span carry.
    pub fn context(&self) -> TraceContext {
        self.shared.process
    }

    /// Returns the metrics of this process, those about itself among them.
    pub fn metrics(&self) -> &Registry {
        &self.metrics
    }

    /// Returns how many lines could not be written since the start, for example because the reader of standard error
    /// is gone.
    pub fn lines_lost(&self) -> u64 {
        self.shared.lines_lost()
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").field("context", &self.shared.process).finish_non_exhaustive()
    }
}

/// Installs the logs of this process: from here on every `tracing` event is one line with a trace id.
///
/// # Errors
/// [`ErrorKind::InvalidFilter`] where the filter cannot be read, [`ErrorKind::AlreadyInitialized`] where a subscriber
/// is installed already. Nothing is changed then.
pub fn init(options: Options) -> Result<Telemetry, Error> {
    let panic_hook = options.panic_hook;
    let metrics = Registry::new();
    metrics.register_process(&options.service, &options.version)?;
    let layer = TelemetryLayer::new(options)?;
    let shared = Arc::clone(layer.shared());
    register_own(&metrics, &shared)?;
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).map_err(|_| {
        Error::new(
            ErrorKind::AlreadyInitialized,
            "cannot install telemetry: a subscriber is already installed",
        )
    })?;
    if panic_hook {
        panic::install();
    }
    Ok(Telemetry { shared, metrics })
}

/// Registers what telemetry knows about itself.
fn register_own(metrics: &Registry, shared: &Arc<Shared>) -> Result<(), Error> {
    let counted = Arc::clone(shared);
    metrics.observe_counter(
        Desc::new("telemetry_lines_lost_total", "Lines of the log that could not be written."),
        &[],
        move |samples| samples.add(&[], counted.lines_lost() as f64),
    )
}

/// Calls [`init`](crate::init()) with the name and version of the calling crate and [`Options::from_env`]. Fields that
/// are given win.
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
                ..$crate::Options {
                    service: ::std::env!("CARGO_PKG_NAME").into(),
                    version: ::std::env!("CARGO_PKG_VERSION").into(),
                    ..$crate::Options::from_env()
                }
            }
        )
    };
}
