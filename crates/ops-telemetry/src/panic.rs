//! A panic as a log line.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{Dispatch, Level, dispatcher};
use tracing_subscriber::Registry;
use tracing_subscriber::registry::SpanRef;

use crate::current::current_span;
use crate::layer::TelemetryLayer;
use crate::options::PanicHook;
use crate::severity::Severity;
use crate::shared::{GLOBAL, Shared};

const TARGET: &str = "panic";

/// The longest stack, in bytes. What a person looks for stands at its top.
const MAX_STACK_LEN: usize = 6 * 1024;

/// Frames between a panic and its hook.
const MACHINERY: [&str; 6] = [
    "rust_begin_unwind",
    "core::panicking::",
    "core::option::unwrap_failed",
    "core::result::unwrap_failed",
    "std::panicking::begin_panic",
    "std::panic::panic_any",
];

/// How long a panic waits for its line to be written.
const MAX_FLUSH: Duration = Duration::from_millis(500);

thread_local! {
    static PANICKING: Cell<bool> = const { Cell::new(false) };
}

/// Makes a panic one FATAL line with its place, its stack and the ids of the span it happened in. The hook that was there
/// before is called where `hook` says so, and where such a line cannot be written.
pub(crate) fn install(hook: PanicHook) {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // A panic while the line is made would come back here.
        let nested = PANICKING.try_with(|panicking| panicking.replace(true)).unwrap_or(true);
        if nested || !log(info) || hook == PanicHook::Chain {
            previous(info);
        }
        let _ = PANICKING.try_with(|panicking| panicking.set(nested));
    }));
}

/// Writes the line, and tells whether the filter wants it.
fn log(info: &PanicHookInfo<'_>) -> bool {
    dispatcher::get_default(|dispatch| match dispatch.downcast_ref::<TelemetryLayer>() {
        Some(layer) => write(info, layer.shared(), Some(dispatch)),
        // The panic came from within an event, so `tracing` hands out nothing.
        None => GLOBAL.get().is_some_and(|shared| write(info, shared, None)),
    })
}

fn write(info: &PanicHookInfo<'_>, shared: &Arc<Shared>, dispatch: Option<&Dispatch>) -> bool {
    if !shared.levels.is_enabled_for(TARGET, Level::ERROR) {
        return false;
    }
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a payload that is no text");
    let location = info.location().map(ToString::to_string);
    let thread = std::thread::current();
    let stack = stack(shared.is_for_people());
    let fields =
        [("location", location.as_deref()), ("thread", thread.name()), ("error.stack", stack.as_deref())];
    let fields: Vec<_> = fields.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let span: Option<SpanRef<'_, Registry>> = dispatch.and_then(current_span);
    shared.with_buffers(|buffers| {
        let message = format_args!("panicked: {message}");
        shared.write_record((Severity::Fatal, TARGET), message, &fields, span, buffers);
    });
    shared.output.flush(Instant::now() + MAX_FLUSH);
    true
}

/// Returns the stack from the panic on. A person at a terminal sees it only where `RUST_BACKTRACE` asks for it.
fn stack(for_people: bool) -> Option<String> {
    let backtrace = if for_people { Backtrace::capture() } else { Backtrace::force_capture() };
    if backtrace.status() != BacktraceStatus::Captured {
        return None;
    }
    let text = backtrace.to_string();
    Some(shorten(&text).to_owned())
}

/// Cuts the frames of the panic machinery off the top, and what is too long off the end, at a line.
fn shorten(text: &str) -> &str {
    let last = MACHINERY.iter().filter_map(|name| text.rfind(name)).max();
    let start = last.and_then(|at| {
        // The frame's own line, and the line with its place.
        let rest = text[at..].find('\n')? + at + 1;
        match text[rest..].trim_start().starts_with("at ") {
            true => Some(text[rest..].find('\n')? + rest + 1),
            false => Some(rest),
        }
    });
    let text = text[start.unwrap_or(0)..].trim_end();
    if text.len() <= MAX_STACK_LEN {
        return text;
    }
    let end = (0..=MAX_STACK_LEN).rfind(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..text[..end].rfind('\n').unwrap_or(end)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_begins_where_the_panic_did() {
        let text = "   0: std::backtrace::capture\n             at /rustc/x.rs:1\n   1: std::panicking::panic_handler\n   \
                    2: core::panicking::panic_fmt\n             at /rustc/y.rs:2\n   3: orders::pay\n             \
                    at ./src/pay.rs:9\n";
        assert_eq!(shorten(text), "   3: orders::pay\n             at ./src/pay.rs:9");
        assert_eq!(shorten("   0: orders::pay\n"), "   0: orders::pay");
        let long = "é frame\n".repeat(2000);
        assert!(shorten(&long).len() <= MAX_STACK_LEN && shorten(&long).ends_with("frame"));
    }
}
