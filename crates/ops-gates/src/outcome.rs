//! How one gate can end. There is one way to pass, and many ways not to.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How a gate ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Shown to be as it should be.
    Pass,
    /// As it should be, with a reservation.
    Warn,
    /// Shown not to be as it should be.
    Fail,
    /// Could not be judged, because something else went wrong.
    Error {
        /// What went wrong.
        error: Fault,
    },
    /// Looked at, but what was seen proves neither.
    Inconclusive,
    /// Did not apply.
    Skip,
    /// Never started, because a gate that it needs did not pass.
    Blocked {
        /// The gate at the root: the one that ran and did not pass.
        by: String,
    },
    /// Stopped, or never started, because the run was interrupted.
    Cancelled,
}

/// Why a gate could not be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// The other side could not be reached.
    Connect,
    /// The time of the gate was over.
    Timeout,
    /// The other side is there, and not ready yet.
    NotReady,
    /// There was an answer, and nothing in it.
    NoData,
    /// There was too little to judge by.
    InsufficientSamples,
    /// The answer could not be understood.
    Parse,
    /// The tool or the server could not do its work.
    Tool,
    /// Something that the gate names could not be found or read.
    Unresolved,
    /// Processes of the gate could not be ended.
    Leak,
    /// Our own machinery failed.
    Internal,
}

/// What a probe found out: the outcome, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// How the gate ended.
    pub outcome: Outcome,
    /// A stable name of the reason, for machines.
    pub code: &'static str,
    /// One sentence for people.
    pub reason: String,
    /// What was measured, each with its unit in the name.
    pub measurements: BTreeMap<String, f64>,
    /// What later gates may refer to as `${gate:id.name}`. It stands in the record: never a secret.
    pub outputs: BTreeMap<String, String>,
    /// What was judged by, and where it came from: `p95 <= 1.5 (env MAX_LATENCY)`.
    pub thresholds: Vec<String>,
}

impl Finding {
    /// A finding with an outcome, a stable name of the reason, and one sentence for people.
    pub fn new(outcome: Outcome, code: &'static str, reason: impl Into<String>) -> Self {
        let (measurements, outputs, thresholds) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { outcome, code, reason: reason.into(), measurements, outputs, thresholds }
    }

    /// Adds a measurement; its name ends with its unit.
    #[must_use]
    pub fn measured(mut self, name: impl Into<String>, value: f64) -> Self {
        self.measurements.insert(name.into(), value);
        self
    }

    /// Gives a value to the gates that need this one.
    #[must_use]
    pub fn output(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.outputs.insert(name.into(), value.into());
        self
    }

    /// Notes what it was judged by.
    #[must_use]
    pub fn judged_by(mut self, rule: impl Into<String>) -> Self {
        self.thresholds.push(rule.into());
        self
    }

    /// Shown to be as it should be.
    pub fn pass(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Pass, "ok", reason)
    }

    /// Shown not to be as it should be.
    pub fn fail(code: &'static str, reason: impl Into<String>) -> Self {
        Self::new(Outcome::Fail, code, reason)
    }

    /// Could not be judged.
    pub fn error(error: Fault, code: &'static str, reason: impl Into<String>) -> Self {
        Self::new(Outcome::Error { error }, code, reason)
    }

    /// Looked at, but what was seen proves neither.
    pub fn inconclusive(code: &'static str, reason: impl Into<String>) -> Self {
        Self::new(Outcome::Inconclusive, code, reason)
    }

    /// Did not apply, as was shown.
    pub(crate) fn skipped(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Skip, "not-applicable", reason)
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(Outcome::Cancelled, "cancelled", "the run was interrupted")
    }

    pub(crate) fn timeout(after: impl fmt::Display) -> Self {
        Self::error(Fault::Timeout, "timeout", format!("did not end within {after}"))
    }
}

impl Outcome {
    /// Whether the gate was proven; nothing else opens the release.
    pub fn is_pass(&self) -> bool {
        *self == Outcome::Pass
    }

    /// The word for people: `PASS`, `FAIL`, `BLOCKED` …
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Pass => "PASS",
            Outcome::Warn => "WARN",
            Outcome::Fail => "FAIL",
            Outcome::Error { .. } => "ERROR",
            Outcome::Inconclusive => "INCONCLUSIVE",
            Outcome::Skip => "SKIP",
            Outcome::Blocked { .. } => "BLOCKED",
            Outcome::Cancelled => "CANCELLED",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
