//! The scanner from outside: a labelled corpus, the traps of repositories, and what a verdict may say.

pub(crate) mod corpus;
mod quality;
mod repository;

use ops_secrets::scan::{Options, Report, Scanner, Target, scan};
use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;

/// Options with the time at rest, so that nothing expires while the tests grow old.
pub(crate) fn options() -> Options {
    Options {
        now: std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_790_000_000),
        threads: 2,
        ..Options::default()
    }
}

pub(crate) fn scan_bytes(bytes: impl Into<Vec<u8>>) -> Report {
    static SCANNER: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(options()).unwrap());
    SCANNER.scan(Target::Stream(Box::new(Cursor::new(bytes.into())))).unwrap()
}

pub(crate) fn scan_tree(path: &Path) -> Report {
    scan(Target::Tree(path.to_path_buf()), options()).unwrap()
}
