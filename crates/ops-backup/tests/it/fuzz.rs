//! A run of the fuzz target's body over repositories, without a fuzzer.
//!
//! `OPS_FUZZ_RUNS` asks for more of them, and `OPS_FUZZ_SEED` for others.

use std::path::Path;

use crate::engines::noise;

#[expect(unreachable_pub, reason = "a fuzz target has this file as well")]
#[path = "../../../../fuzz/src/repository.rs"]
mod repository;

/// A few seconds in a debug build.
const RUNS: u64 = 400;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn whatever_one_object_says_every_job_ends_with_an_answer() {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-2/many-records/repository");
    let objects = repository::load(&fixture);
    assert!(repository::changed_object(&objects, &[0, 0]), "unchanged, it opens");
    let first = number("OPS_FUZZ_SEED", 1) << 32;
    let mut opened = 0;
    for run in 0..number("OPS_FUZZ_RUNS", RUNS) {
        let mut edits = noise(first + run, 27);
        edits.truncate(7 + 5 * (run % 5) as usize);
        edits[0] = run as u8;
        edits[1] = 0;
        opened += u64::from(repository::changed_object(&objects, &edits));
    }
    assert!(opened > 0, "nothing behind the door was reached");
}
