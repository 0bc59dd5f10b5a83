//! Any text as one `baggage` or, with line ends, several.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/propagation/baggage.rs"]
mod baggage;

fuzz_target!(|text: &str| {
    baggage::check(text);
});
