//! Any text as a policy file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ops_fuzz::checks;

fuzz_target!(|text: &str| checks::policy_document(text));
