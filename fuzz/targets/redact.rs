//! Any text on its way to a log.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ops_fuzz::checks;

fuzz_target!(|text: &str| checks::redacted(text));
