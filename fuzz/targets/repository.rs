//! Bytes that say how one object of a repository is changed and sealed anew.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../src/repository.rs"]
mod repository;

const FIXTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../crates/ops-backup/tests/fixtures/format-2/many-records/repository"
);

static OBJECTS: LazyLock<repository::Objects> = LazyLock::new(|| repository::load(Path::new(FIXTURE)));

fuzz_target!(|bytes: &[u8]| {
    repository::changed_object(&OBJECTS, bytes);
});
