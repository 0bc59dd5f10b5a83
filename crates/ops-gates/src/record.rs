//! What is known about a run, as `verdict.json` has it. Every report is made from this alone.

use crate::gate::{Objectives, Subject};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::policy::Excuse;
use crate::value::Span;
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
    /// The policies that counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyRef>,
    /// Where the release goes: `dev`, `stage` or `prod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// What is released, where the plan says so.
    pub subject: Option<Subject>,
    /// The artifacts of what is released.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Subject>,
    /// The promises that were judged by.
    #[serde(default)]
    pub objectives: Objectives,
    /// Waivers that were given and do not count, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivers_refused: Vec<String>,
    /// When the run began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The digest of the last line of `events.jsonl`, which binds all before it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub events_sha256: String,
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

/// Which policy counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRef {
    /// Its name.
    pub name: String,
    /// The digest of its text.
    pub sha256: String,
}

/// One attempt of a gate that was tried more than once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// A stable name of the reason.
    pub code: String,
    /// Why it ended so, in one sentence.
    pub reason: String,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took, on a clock that does not jump.
    pub duration_seconds: f64,
    /// Its full output.
    pub log: Option<LogRef>,
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
    /// What it was judged by, and where that came from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<String>,
    /// What it gave to the gates that need it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, String>,
    /// Why it does not block, although it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excuse: Option<Excuse>,
    /// All attempts, where there was more than one. A gate that passed after one that did not is flaky.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptRecord>,
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

/// Why a run is blocked, whatever its gates say.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// Somebody asked it to stop.
    Interrupted,
    /// The time of the whole run was over.
    TimedOut(Span),
    /// What was judged is no longer what is released.
    SubjectChanged(String),
}

impl GateRecord {
    /// Whether it passed after an attempt that did not.
    pub fn is_flaky(&self) -> bool {
        self.outcome == Some(Outcome::Pass) && self.attempts.iter().any(|attempt| !attempt.outcome.is_pass())
    }
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
            thresholds: Vec::new(),
            outputs: BTreeMap::new(),
            excuse: None,
            attempts: Vec::new(),
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
            policies: plan
                .policies()
                .iter()
                .map(|policy| PolicyRef {
                    name: policy.name().to_owned(),
                    sha256: policy.sha256().to_owned(),
                })
                .collect(),
            environment: plan.environment().map(str::to_owned),
            subject: None,
            artifacts: Vec::new(),
            objectives: plan.objectives().clone(),
            waivers_refused: Vec::new(),
            events_sha256: String::new(),
            started_at: now,
            finished_at: None,
            orphans_ended: 0,
            gates: plan.gates().iter().map(gate).collect(),
        }
    }

    /// Ends the record: judges the gates, and writes the verdict into it. A run that was stopped, or whose subject is not
    /// what it was, is blocked, whatever its gates say.
    pub(crate) fn finish(&mut self, stopped: Option<Stopped>, now: Timestamp) {
        let judgement = self.judgement();
        (self.state, self.verdict, self.reason) = match stopped {
            None => (State::Finished, judgement.verdict, self.sentence(&judgement)),
            Some(Stopped::Interrupted) => (State::Interrupted, Verdict::Blocked, "interrupted".to_owned()),
            Some(Stopped::TimedOut(after)) => {
                (State::Interrupted, Verdict::Blocked, format!("the run did not end within {after}"))
            }
            Some(Stopped::SubjectChanged(why)) => {
                (State::Finished, Verdict::Blocked, format!("the subject changed during the run: {why}"))
            }
        };
        self.blocked_by = judgement.blocked_by;
        self.warnings = judgement.warnings;
        self.finished_at = Some(now);
    }

    /// The gates that did not pass and do not block, with why.
    pub fn excused(&self) -> impl Iterator<Item = (&GateRecord, &Excuse)> {
        self.gates.iter().filter_map(|gate| Some((gate, gate.excuse.as_ref()?)))
    }

    /// The gates that passed after an attempt that did not.
    pub fn flaky(&self) -> impl Iterator<Item = &GateRecord> {
        self.gates.iter().filter(|gate| gate.is_flaky())
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
            excused: gate.excuse.is_some(),
        }))
    }

    fn sentence(&self, judgement: &Judgement) -> String {
        let required = self.gates.iter().filter(|gate| gate.required).count();
        if judgement.verdict == Verdict::Passed {
            let excused = |wanted: fn(&Excuse) -> bool| {
                self.gates
                    .iter()
                    .filter(|gate| gate.required && gate.excuse.as_ref().is_some_and(wanted))
                    .count()
            };
            let waived = excused(|excuse| matches!(excuse, Excuse::Waived { .. }));
            let beside = excused(|excuse| matches!(excuse, Excuse::NotApplicable { .. }));
            let passed = required - waived - beside;
            let mut text = match (waived + beside, required) {
                (0, 1) => "the required gate passed".to_owned(),
                (0, _) => "all required gates passed".to_owned(),
                _ => format!("{passed} of {required} required gates passed"),
            };
            for (count, what) in [(waived, "WAIVED"), (beside, "not applicable")] {
                if count > 0 {
                    text.push_str(&format!("; {count} {what}"));
                }
            }
            match judgement.warnings.len() {
                0 => {}
                1 => text.push_str("; 1 advisory gate did not"),
                count => text.push_str(&format!("; {count} advisory gates did not")),
            }
            return text;
        }
        let Some(root) = judgement.blocked_by.first() else { return "no required gate".to_owned() };
        let why = self.gates.iter().find(|gate| gate.id == *root).and_then(|gate| gate.reason.as_deref());
        format!("gate `{root}`: {}", why.unwrap_or("did not run"))
    }
}
