//! Any text as one `tracestate` or, with line ends, several.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/propagation/tracestate.rs"]
mod tracestate;

fuzz_target!(|text: &str| {
    tracestate::check(text);
});
