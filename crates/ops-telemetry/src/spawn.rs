//! Threads and tasks that stay in the span of those who start them.
//!
//! `std::thread::spawn` and `tokio::spawn` start outside any span: the lines of the new thread or task carry the ids of the
//! process. To find such places, put this into `clippy.toml`:
//!
//! ```toml
//! disallowed-methods = [
//!   { path = "std::thread::spawn", reason = "loses the span; use ops_telemetry::spawn_thread" },
//!   { path = "tokio::spawn", reason = "loses the span; use ops_telemetry::spawn" },
//!   { path = "tokio::task::spawn", reason = "loses the span; use ops_telemetry::spawn" },
//!   { path = "tokio::task::spawn_blocking", reason = "loses the span; use ops_telemetry::spawn_blocking" },
//! ]
//! ```

use std::sync::Arc;
use std::thread;

use tracing::{Span, dispatcher};

use crate::layer::TelemetryLayer;
use crate::shared::GLOBAL;

/// Starts a thread in the current span, and with the current subscriber.
pub fn spawn_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    let work = in_current_span(work);
    thread::spawn(work)
}

/// Wraps a closure so that it runs in the span that is current now, wherever it runs.
pub fn in_current_span<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let span = Span::current();
    let scoped = dispatcher::get_default(|dispatch| {
        let layer = dispatch.downcast_ref::<TelemetryLayer>();
        let is_global =
            layer.zip(GLOBAL.get()).is_some_and(|(layer, global)| Arc::ptr_eq(layer.shared(), global));
        // The one of the process is there anyway; to set it again would slow every event down.
        (!is_global).then(|| dispatch.clone())
    });
    move || match scoped {
        Some(dispatch) => dispatcher::with_default(&dispatch, || span.in_scope(work)),
        None => span.in_scope(work),
    }
}

/// Starts a task of tokio in the current span.
#[cfg(feature = "tokio")]
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    use tracing::Instrument;
    tokio::spawn(future.in_current_span())
}

/// Runs a closure on a thread of tokio where it may block, in the current span.
#[cfg(feature = "tokio")]
pub fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::task::spawn_blocking(in_current_span(work))
}
