//! Records of the `log` crate as lines of their own, with their real target.

use log::{Level, Log, Metadata, Record};
use tracing::dispatcher;

use crate::current::current_span;
use crate::layer::TelemetryLayer;
use crate::severity::Severity;

struct Bridge;

/// Takes the records of the `log` crate, unless another logger does already.
pub(crate) fn install() {
    if log::set_logger(&Bridge).is_ok() {
        // Telemetry that is installed for the whole process sets what its filter says.
        log::set_max_level(log::LevelFilter::Trace);
    }
}

impl Log for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        dispatcher::get_default(|dispatch| {
            let layer = dispatch.downcast_ref::<TelemetryLayer>();
            layer.is_some_and(|layer| {
                layer.shared().levels.is_enabled_for(metadata.target(), level(metadata.level()))
            })
        })
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let severity = Severity::from(level(record.level()));
        dispatcher::get_default(|dispatch| {
            let Some(layer) = dispatch.downcast_ref::<TelemetryLayer>() else { return };
            let shared = layer.shared();
            let sampled = || crate::TraceContext::current().is_none_or(|context| context.flags.is_sampled());
            if !shared.writes_unsampled(severity) && !sampled() {
                return;
            }
            shared.with_buffers(|buffers| {
                let origin = (severity, record.target());
                shared.write_record(origin, *record.args(), &[], current_span(dispatch), buffers);
            });
        });
    }

    fn flush(&self) {}
}

fn level(level: Level) -> tracing::Level {
    match level {
        Level::Error => tracing::Level::ERROR,
        Level::Warn => tracing::Level::WARN,
        Level::Info => tracing::Level::INFO,
        Level::Debug => tracing::Level::DEBUG,
        Level::Trace => tracing::Level::TRACE,
    }
}
