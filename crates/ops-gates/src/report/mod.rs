//! Reports: pure functions from the record of a run to text.

mod ant;
mod attestation;
mod github;
mod gitlab;
mod junit;
mod markdown;
mod tap;

pub use attestation::{Statement, VERDICT_PREDICATE, statements, summary};
pub use github::github;
pub use gitlab::gitlab;
pub use junit::{JunitFlavor, junit, junit_as};
pub use markdown::{markdown, markdown_within};
pub use tap::tap;

use crate::record::GateRecord;

/// The measured time of a gate, as reports write it.
fn seconds(gate: &GateRecord) -> String {
    gate.duration_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2} s"))
}

/// Text without control characters, of which terminal escapes are made.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect()
}
