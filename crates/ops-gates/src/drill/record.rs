//! What is known about a drill: `drill.json`, the report for people, and the signed evidence.

use super::plan::Drill;
use crate::error::{Error, ErrorKind};
use crate::run::Options;
use crate::verdict::Verdict;
use jiff::Timestamp;
use ops_core::evidence::{self, Check, Envelope, Record, SigningKey, Subject};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// The kind of the evidence record of a drill.
pub const DRILL_KIND: &str = "chaos-drill";

/// How a drill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrillOutcome {
    /// Not ended, or killed.
    InProgress,
    /// The fault was seen, and the recovery was within its objective.
    Passed,
    /// The recovery was too slow, or did not come.
    Failed,
    /// Nothing was shown: no steady state, or nobody saw the fault.
    Inconclusive,
    /// The fault could not be injected, or not taken back.
    Error,
    /// Stopped; the fault was taken back.
    Interrupted,
}

/// In which part of the drill the checks ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the fault.
    Before,
    /// While it was there.
    Fault,
    /// After it was taken back.
    Recovery,
}

/// One run of the checks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// In which part of the drill.
    pub phase: Phase,
    /// When it ended, in seconds from the start of the drill, on a clock that does not jump.
    pub ended_at_seconds: f64,
    /// Its verdict.
    pub verdict: Verdict,
    /// The verdict in one sentence.
    pub reason: String,
}

/// A drill: what was done, and what was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillRecord {
    /// The format.
    pub schema: String,
    /// How it ended.
    pub outcome: DrillOutcome,
    /// A stable name of the reason.
    pub code: String,
    /// Why it ended so, in one sentence.
    pub reason: String,
    /// What it is called.
    pub name: String,
    /// The program that carried it out.
    pub tool: String,
    /// The trace that its logs are part of.
    pub trace_id: Option<String>,
    /// Where the drill file came from.
    pub origin: String,
    /// The digest of the drill file.
    pub sha256: String,
    /// The digest of the plan of checks.
    pub checks_sha256: String,
    /// What was done to the system.
    pub fault: String,
    /// How to take the fault back by hand, where this program was killed before it could.
    pub undo_by_hand: Option<String>,
    /// Whether the fault was taken back; none where none was injected.
    pub rolled_back: Option<bool>,
    /// How long the recovery may take, in seconds.
    pub rto_seconds: f64,
    /// When it began.
    pub started_at: Timestamp,
    /// When the fault was injected.
    pub injected_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What was measured, in seconds: until the fault was seen, of the recovery, of the whole outage.
    pub measurements: BTreeMap<String, f64>,
    /// Each run of the checks, in order.
    pub probes: Vec<Probe>,
}

impl DrillRecord {
    pub(super) fn start(drill: &Drill, options: &Options, now: Timestamp) -> Self {
        Self {
            schema: "ops-gates/drill/v1".to_owned(),
            outcome: DrillOutcome::InProgress,
            code: "in-progress".to_owned(),
            reason: "in progress".to_owned(),
            name: drill.name.clone(),
            tool: options.tool.clone(),
            trace_id: options.trace_id.clone(),
            origin: drill.origin.clone(),
            sha256: drill.sha256.clone(),
            checks_sha256: drill.checks.sha256().to_owned(),
            fault: drill.fault.to_string(),
            undo_by_hand: None,
            rolled_back: None,
            rto_seconds: drill.rto.get().as_secs_f64(),
            started_at: now,
            injected_at: None,
            finished_at: None,
            measurements: BTreeMap::new(),
            probes: Vec::new(),
        }
    }

    pub(super) fn finish(&mut self, outcome: DrillOutcome, code: &str, reason: String, now: Timestamp) {
        self.outcome = outcome;
        code.clone_into(&mut self.code);
        self.reason = reason;
        self.finished_at = Some(now);
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a drill has only plain data");
        bytes.push(b'\n');
        bytes
    }

    pub(super) fn sign(&self, key: &SigningKey) -> Result<Vec<u8>, Error> {
        let subject = |name: &str, sha256: &str| Subject {
            name: name.to_owned(),
            digest: [("sha256".to_owned(), sha256.to_owned())].into(),
        };
        let outcome = match self.outcome {
            DrillOutcome::Passed => evidence::Outcome::Passed,
            DrillOutcome::Failed => evidence::Outcome::Failed,
            _ => evidence::Outcome::Error,
        };
        let record = Record {
            kind: DRILL_KIND.to_owned(),
            outcome,
            tool: self.tool.clone(),
            started_at: self.started_at,
            finished_at: self.finished_at.unwrap_or(self.started_at),
            trace_id: self.trace_id.clone().unwrap_or_default(),
            subjects: vec![subject(&self.origin, &self.sha256), subject("checks", &self.checks_sha256)],
            checks: self.checks(),
            measurements: self.measurements.clone(),
            attributes: [
                ("drill".to_owned(), self.name.clone()),
                ("fault".to_owned(), self.fault.clone()),
                ("code".to_owned(), self.code.clone()),
            ]
            .into(),
            previous: None,
        };
        let cannot = |error| {
            Error::new(ErrorKind::EvidenceNotWritten, "cannot sign the evidence of the drill").because(error)
        };
        let mut envelope = Envelope::sign(&record, key).map_err(cannot)?.to_json();
        envelope.push(b'\n');
        Ok(envelope)
    }

    /// The single things that a drill shows, for whoever demands them by name.
    fn checks(&self) -> Vec<Check> {
        let saw = |name: &str| self.measurements.contains_key(name);
        let in_time = self.measurements.get("recovery_time_seconds").map(|time| *time <= self.rto_seconds);
        let rows = [
            ("steady-state", Some(self.probes.first().is_some_and(|probe| probe.verdict == Verdict::Passed))),
            ("impact-seen", Some(saw("impact_seen_seconds"))),
            ("rolled-back", self.rolled_back),
            ("recovered", Some(saw("recovery_time_seconds"))),
            ("within-rto", in_time),
        ];
        let check = |(name, held): (&str, Option<bool>)| Check {
            name: name.to_owned(),
            outcome: match held {
                Some(true) => evidence::Outcome::Passed,
                Some(false) => evidence::Outcome::Failed,
                None => evidence::Outcome::Error,
            },
            detail: String::new(),
        };
        rows.into_iter().map(check).collect()
    }

    /// The report for people, as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("writing to a string cannot fail");
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "# Drill {}: {}\n\n{}.\n", inline(&self.name), self.outcome, inline(&self.reason))?;
        writeln!(out, "- date: {}", self.started_at.strftime("%Y-%m-%d %H:%M:%S UTC"))?;
        writeln!(out, "- fault: {}", inline(&self.fault))?;
        writeln!(out, "- recovery time objective: {} s", self.rto_seconds)?;
        let rolled_back = match self.rolled_back {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "nothing was injected",
        };
        writeln!(out, "- fault taken back: {rolled_back}")?;
        if let (Some(false), Some(undo)) = (self.rolled_back, &self.undo_by_hand) {
            writeln!(out, "- take it back by hand: {}", inline(undo))?;
        }
        for (name, seconds) in &self.measurements {
            writeln!(out, "- {}: {seconds:.2} s", name.trim_end_matches("_seconds").replace('_', " "))?;
        }
        writeln!(out, "\n| seconds | phase | checks | why |\n|---|---|---|---|")?;
        for probe in &self.probes {
            let Probe { phase, ended_at_seconds, verdict, reason } = probe;
            writeln!(out, "| {ended_at_seconds:.2} | {phase} | {verdict} | {} |", inline(reason))?;
        }
        writeln!(out, "\n- drill file {} (sha256 `{}`)", inline(&self.origin), self.sha256)?;
        writeln!(out, "- carried out by {}", inline(&self.tool))
    }
}

impl fmt::Display for DrillOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DrillOutcome::InProgress => "IN PROGRESS",
            DrillOutcome::Passed => "PASSED",
            DrillOutcome::Failed => "FAILED",
            DrillOutcome::Inconclusive => "INCONCLUSIVE",
            DrillOutcome::Error => "ERROR",
            DrillOutcome::Interrupted => "INTERRUPTED",
        })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Before => "before",
            Phase::Fault => "fault",
            Phase::Recovery => "recovery",
        })
    }
}

/// Text that stays on its line and in its table cell.
fn inline(text: &str) -> String {
    let safe: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    safe.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;")
}
