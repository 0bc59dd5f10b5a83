//! Any text as a `traceparent`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/propagation/traceparent.rs"]
mod traceparent;

fuzz_target!(|text: &str| {
    traceparent::check(text);
});
