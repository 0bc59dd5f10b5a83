//! Bytes that build a statement: what was planted in it is refused, and nothing else is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ops_fuzz::checks;

fuzz_target!(|bytes: &[u8]| {
    checks::built(bytes);
});
