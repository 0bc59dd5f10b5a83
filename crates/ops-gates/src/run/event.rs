//! What happens during a run, as `events.jsonl` and an observer see it.

use crate::outcome::Outcome;
use crate::verdict::Verdict;
use jiff::Timestamp;
use serde::Serialize;

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Counts from 1 without a gap.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The digest of the line before this one in `events.jsonl`; empty in the first.
    pub previous: String,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// The run began; BLOCKED is on disk.
    RunStarted {
        /// Unique to this run.
        run_id: String,
        /// How many gates the plan has.
        gates: usize,
    },
    /// A gate began.
    GateStarted {
        /// The gate's id.
        gate: String,
    },
    /// An attempt ended in a way after which the gate is tried again.
    GateRetried {
        /// The gate's id.
        gate: String,
        /// The attempt that ended, counted from 1.
        attempt: u32,
        /// How it ended.
        #[serde(flatten)]
        outcome: Outcome,
        /// Why it ended so.
        reason: String,
        /// How long the pause is before the next.
        pause_seconds: f64,
    },
    /// A gate ended, or will never begin.
    GateEnded {
        /// The gate's id.
        gate: String,
        /// Whether it must pass.
        required: bool,
        /// How it ended.
        #[serde(flatten)]
        outcome: Outcome,
        /// A stable name of the reason.
        code: String,
        /// Why it ended so.
        reason: String,
        /// How long it took; none where it never began.
        duration_seconds: Option<f64>,
    },
    /// All gates have ended, and the verdict stands; it is not on disk yet.
    RunEnded {
        /// Whether the release may go on.
        verdict: Verdict,
        /// The verdict in one sentence.
        reason: String,
    },
}
