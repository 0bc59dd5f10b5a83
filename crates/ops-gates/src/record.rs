//! What is known about a run, as `verdict.json` has it. Every report is made from this alone.

use crate::gate::Subject;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::verdict::{Judged, Judgement, Standing, Verdict, judge};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format of [`RunRecord`] as this version writes it.
pub const SCHEMA: &str = "ops-gates/verdict/v1";

/// A run: what was judged, how, and with what result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The format; see [`SCHEMA`].
    pub schema: String,
    /// Whether the release may go on. BLOCKED until the run has ended well.
    pub verdict: Verdict,
    /// How far the run came.
    pub state: State,
    /// The verdict in one sentence.
    pub reason: String,
    /// The gates that block, root causes first.
    pub blocked_by: Vec<String>,
    /// The advisory gates that did not pass.
    pub warnings: Vec<String>,
    /// Unique to this run.
    pub run_id: String,
    /// The program that ran it.
    pub tool: String,
    /// The trace that its logs are part of.
    pub trace_id: Option<String>,
    /// The plan that was run.
    pub plan: PlanRef,
    /// What is released, where the plan says so.
    pub subject: Option<Subject>,
    /// When the run began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Processes that hid from the end of their gate, and were ended with the run.
    #[serde(default)]
    pub orphans_ended: usize,
    /// The gates in the order of the plan.
    pub gates: Vec<GateRecord>,
}

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has not ended, or it was killed.
    InProgress,
    /// It came to its end.
    Finished,
    /// It was asked to stop.
    Interrupted,
}

/// Which plan was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRef {
    /// Its name.
    pub name: String,
    /// Where it came from.
    pub origin: String,
    /// The digest of its text.
    pub sha256: String,
}

/// One gate of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateRecord {
    /// The gate's id.
    pub id: String,
    /// The kind of the gate.
    pub kind: String,
    /// Whether it must pass.
    pub required: bool,
    /// The gates that it needs.
    pub needs: Vec<String>,
    /// How it ended; none while it has not.
    #[serde(flatten)]
    pub outcome: Option<Outcome>,
    /// A stable name of the reason.
    pub code: Option<String>,
    /// Why it ended so, in one sentence.
    pub reason: Option<String>,
    /// When it started; none where it never did.
    pub started_at: Option<Timestamp>,
    /// How long it took, on a clock that does not jump.
    pub duration_seconds: Option<f64>,
    /// What it measured, each with its unit in the name.
    pub measurements: BTreeMap<String, f64>,
    /// Its full output, relative to the run directory.
    pub log: Option<LogRef>,
    /// The beginning and the end of its output, where it did not pass.
    pub output: Option<String>,
}

/// A log file of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRef {
    /// The path, relative to the run directory.
    pub path: String,
    /// The digest of its bytes.
    pub sha256: String,
}

impl RunRecord {
    /// The record of a run that is about to start: blocked, with no gate ended.
    pub(crate) fn start(
        plan: &Plan,
        run_id: String,
        tool: String,
        trace_id: Option<String>,
        now: Timestamp,
    ) -> Self {
        let gate = |gate: &crate::plan::PlannedGate| GateRecord {
            id: gate.id.clone(),
            kind: gate.kind.clone(),
            required: gate.required,
            needs: gate.needs.clone(),
            outcome: None,
            code: None,
            reason: None,
            started_at: None,
            duration_seconds: None,
            measurements: BTreeMap::new(),
            log: None,
            output: None,
        };
        Self {
            schema: SCHEMA.to_owned(),
            verdict: Verdict::Blocked,
            state: State::InProgress,
            reason: "in progress".to_owned(),
            blocked_by: Vec::new(),
            warnings: Vec::new(),
            run_id,
            tool,
            trace_id,
            plan: PlanRef {
                name: plan.name().to_owned(),
                origin: plan.origin().to_owned(),
                sha256: plan.sha256().to_owned(),
            },
            subject: plan.subject().cloned(),
            started_at: now,
            finished_at: None,
            orphans_ended: 0,
            gates: plan.gates().iter().map(gate).collect(),
        }
    }

    /// Ends the record: judges the gates, and writes the verdict into it. An interrupted run is blocked, whatever its gates say.
    pub(crate) fn finish(&mut self, interrupted: bool, now: Timestamp) {
        let judgement = self.judgement();
        self.state = if interrupted { State::Interrupted } else { State::Finished };
        self.verdict = if interrupted { Verdict::Blocked } else { judgement.verdict };
        self.reason = if interrupted { "interrupted".to_owned() } else { self.sentence(&judgement) };
        self.blocked_by = judgement.blocked_by;
        self.warnings = judgement.warnings;
        self.finished_at = Some(now);
    }

    /// What the verdict rests on; it decides the exit code of a command.
    pub fn standing(&self) -> Standing {
        match (self.verdict, self.judgement().standing) {
            (Verdict::Passed, standing) => standing,
            // The gates alone would pass, but the run did not end.
            (Verdict::Blocked, Standing::Passed) => Standing::CouldNotJudge,
            (Verdict::Blocked, standing) => standing,
        }
    }

    /// The gates that did not pass, root causes first, then the advisory ones.
    pub fn not_passed(&self) -> impl Iterator<Item = &GateRecord> {
        self.blocked_by.iter().chain(&self.warnings).enumerate().filter_map(|(position, id)| {
            let first = !self.blocked_by.iter().take(position).any(|earlier| earlier == id);
            self.gates.iter().find(|gate| first && gate.id == *id)
        })
    }

    /// How long the run took on the wall clock.
    pub fn duration_seconds(&self) -> Option<f64> {
        Some(self.finished_at?.duration_since(self.started_at).as_secs_f64())
    }

    fn judgement(&self) -> Judgement {
        judge(self.gates.iter().map(|gate| Judged {
            id: &gate.id,
            required: gate.required,
            outcome: gate.outcome.as_ref(),
        }))
    }

    fn sentence(&self, judgement: &Judgement) -> String {
        let required = self.gates.iter().filter(|gate| gate.required).count();
        if judgement.verdict == Verdict::Passed {
            let gates = if required == 1 { "the required gate" } else { "all required gates" };
            return match judgement.warnings.len() {
                0 => format!("{gates} passed"),
                1 => format!("{gates} passed; 1 advisory gate did not"),
                count => format!("{gates} passed; {count} advisory gates did not"),
            };
        }
        let Some(root) = judgement.blocked_by.first() else { return "no required gate".to_owned() };
        let why = self.gates.iter().find(|gate| gate.id == *root).and_then(|gate| gate.reason.as_deref());
        format!("gate `{root}`: {}", why.unwrap_or("did not run"))
    }
}
