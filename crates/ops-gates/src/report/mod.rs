//! Reports: pure functions from the record of a run to text.

mod junit;
mod markdown;

pub use junit::junit;
pub use markdown::markdown;

use crate::record::GateRecord;

/// The measured time of a gate, as reports write it.
fn seconds(gate: &GateRecord) -> String {
    gate.duration_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2} s"))
}
