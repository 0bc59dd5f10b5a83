//! The bodies of the fuzz targets, without a fuzzer: what must hold for any text, and where texts come from.
//!
//! libFuzzer's targets call them, and so does the time-boxed run in the tests of `ops-core`, which includes this file.

pub mod checks;
pub mod grammar;
pub mod mutate;
pub mod rewrite;
pub mod seeds;
