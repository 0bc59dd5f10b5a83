//! A panic as a log line.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::panic::{self, PanicHookInfo};

use tracing::Level;

thread_local! {
    static PANICKING: Cell<bool> = const { Cell::new(false) };
}

/// Makes a panic one ERROR line with its place and the ids of the span it happened in. The hook that was there before
/// is called only where such a line cannot be written.
pub(crate) fn install() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let nested = PANICKING.try_with(|panicking| panicking.replace(true)).unwrap_or(true);
        if nested || !tracing::enabled!(target: "panic", Level::ERROR) {
            previous(info);
        } else {
            log(info);
        }
        let _ = PANICKING.try_with(|panicking| panicking.set(nested));
    }));
}

fn log(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a payload that is no text");
    let location = info.location().map(ToString::to_string);
    let thread = std::thread::current();
    // Empty unless RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let stack = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        target: "panic",
        location,
        thread = thread.name(),
        error.stack = stack,
        "panicked: {message}"
    );
}
