//! What a line says. An [`Entry`] is built from verdicts and observations alone, so no value of a statement's gets in.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::Head;
use crate::approval::{ApprovalId, Granted};
use crate::guard::{Decision, Effect, Observation, Predicted, StatementVerdict, Touched, Verdict, redact};

/// The version of a line. A reader refuses another one.
pub(super) const VERSION: u32 = 1;

/// How many effects and how many relations a line names; the rest is counted.
const MAX_NAMED: usize = 100;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A statement is about to be sent.
    Started,
    /// A statement was refused, and not sent.
    Refused,
    /// A statement, or a session under break-glass, has ended.
    Finished,
}

/// What a line of a log is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecordedEvent {
    /// A statement was about to be sent.
    Started,
    /// A statement was refused.
    Refused,
    /// A statement or a session ended.
    Finished,
    /// An approval was used up, for what was about to be sent.
    Claimed,
    /// Bytes that a crash had left were moved aside.
    Recovered,
}

/// How a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It was committed.
    Committed,
    /// It was done in a transaction that goes on.
    Pending,
    /// It was rolled back.
    RolledBack,
    /// The server refused it.
    Failed,
    /// The connection ended before the answer.
    Unknown,
}

/// One line of a log, as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Recorded {
    /// The version of the form.
    pub version: u32,
    /// The number of the line, from 1.
    pub sequence: u64,
    /// The SHA-256 of the line before it.
    pub previous: String,
    /// The rest.
    #[serde(flatten)]
    pub body: Body,
}

/// What a line says beside its place in the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Body {
    /// When.
    pub at: Timestamp,
    /// What it is about.
    pub event: RecordedEvent,
    /// The role of the session.
    #[serde(default)]
    pub principal: String,
    /// The database.
    #[serde(default)]
    pub database: String,
    /// The trace id of the statement (32 hexadecimal digits), empty where there was none.
    #[serde(default)]
    pub trace_id: String,
    /// The policy's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The policy's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<String>,
    /// The SHA-256 of the statement's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement_sha256: Option<String>,
    /// The statement without constants and comments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// What it was predicted to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<String>,
    /// What the policy said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// The rule that refused it or asked for an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The approval under which it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalUse>,
    /// What the server saw it do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The server's code, where it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// The number of the line that the end belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finishes: Option<u64>,
    /// The bytes that were moved aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<TornBytes>,
}

/// An approval, as a line names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApprovalUse {
    /// Its id.
    pub id: ApprovalId,
    /// What it permits, in words.
    pub scope: String,
    /// Who signed.
    pub approver: String,
    /// The id of the key that signed.
    pub key: String,
    /// Why.
    pub reason: String,
    /// Where the matter is discussed.
    pub ticket: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What the server saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Observed {
    /// All rows that were added, changed and removed.
    pub rows: u64,
    /// The rows by relation: added, changed, removed. Those with the most rows, where there are very many.
    pub relations: BTreeMap<String, [u64; 3]>,
    /// The relations that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// How many relations are not named.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unnamed: u64,
}

/// Bytes behind the last whole line, which [`recover`](super::recover) moved to a file beside the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TornBytes {
    /// The name of the file.
    pub file: String,
    /// How many.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: String,
}

/// A line to be written.
///
/// It can only be filled from what the guard and the server know: text is redacted on the way in, and nothing takes a
/// parameter or a row.
#[derive(Clone, Debug)]
pub struct Entry(Body);

impl Entry {
    /// Begins an entry.
    pub fn new(event: Event, at: Timestamp) -> Self {
        let event = match event {
            Event::Started => RecordedEvent::Started,
            Event::Refused => RecordedEvent::Refused,
            Event::Finished => RecordedEvent::Finished,
        };
        Self::of(event, at)
    }

    /// Says whose session it is.
    #[must_use]
    pub fn in_session(mut self, principal: &str, database: &str, trace_id: &str) -> Self {
        principal.clone_into(&mut self.0.principal);
        database.clone_into(&mut self.0.database);
        trace_id.clone_into(&mut self.0.trace_id);
        self
    }

    /// Says which statement, and what the policy said of it. `sql` is the whole text that was judged.
    #[must_use]
    pub fn about(mut self, sql: &str, verdict: &Verdict, statement: &StatementVerdict) -> Self {
        let body = &mut self.0;
        body.policy = Some(verdict.policy.clone());
        body.policy_hash = Some(verdict.policy_hash.clone());
        body.statement_sha256 = Some(crate::digest::sha256_hex(sql.as_bytes()));
        body.statement = Some(redact(sql));
        body.effects = statement.effects.iter().take(MAX_NAMED).map(effect).collect();
        if let Some(more) = statement.effects.len().checked_sub(MAX_NAMED).filter(|more| *more > 0) {
            body.effects.push(format!("and {more} more"));
        }
        body.decision = Some(decision(statement.decision).to_owned());
        body.rule.clone_from(&statement.rule);
        self
    }

    /// Says under which approval. It does not use the approval up; [`AuditLog::claim`](super::AuditLog::claim) does.
    #[must_use]
    pub fn under(mut self, granted: &Granted) -> Self {
        let terms = granted.terms();
        self.0.approval = Some(ApprovalUse {
            id: terms.id.clone(),
            scope: terms.scope.to_string(),
            approver: terms.approver.clone(),
            key: granted.key_id().to_owned(),
            reason: terms.reason.clone(),
            ticket: terms.ticket.clone(),
            expires_at: terms.expires_at,
        });
        self
    }

    /// Says what the server saw.
    #[must_use]
    pub fn observed(mut self, observation: &Observation) -> Self {
        let mut touched: Vec<&Touched> = observation.relations.iter().collect();
        touched.sort_by(|one, other| {
            let order = |touched: &Touched| (touched.dropped, touched.rows());
            order(other).cmp(&order(one)).then_with(|| one.relation.cmp(&other.relation))
        });
        let unnamed = touched.len().saturating_sub(MAX_NAMED);
        touched.truncate(MAX_NAMED);
        let dropped = touched.iter().filter(|touched| touched.dropped);
        self.0.observed = Some(Observed {
            rows: observation.rows(),
            dropped: dropped.map(|touched| touched.relation.clone()).collect(),
            relations: touched
                .iter()
                .map(|touched| {
                    (touched.relation.clone(), [touched.inserted, touched.updated, touched.deleted])
                })
                .collect(),
            unnamed: unnamed as u64,
        });
        self
    }

    /// Says how it ended, with the server's code where it refused.
    #[must_use]
    pub fn ended(mut self, outcome: Outcome, sqlstate: Option<&str>) -> Self {
        self.0.outcome = Some(outcome);
        self.0.sqlstate = sqlstate.map(str::to_owned);
        self
    }

    /// Says which line it ends: the head that the append of the beginning returned.
    #[must_use]
    pub fn finishing(mut self, started: &Head) -> Self {
        self.0.finishes = Some(started.sequence);
        self
    }

    /// Returns the time that was given.
    pub(super) fn at(&self) -> Timestamp {
        self.0.at
    }

    /// Makes it a use of an approval.
    pub(super) fn claiming(self, granted: &Granted) -> Self {
        let mut entry = self.under(granted);
        entry.0.event = RecordedEvent::Claimed;
        entry
    }

    /// Says that torn bytes were moved aside.
    pub(super) fn recovered(at: Timestamp, torn: TornBytes) -> Self {
        let mut entry = Self::of(RecordedEvent::Recovered, at);
        entry.0.recovered = Some(torn);
        entry
    }

    /// Gives the entry its place.
    pub(super) fn following(self, head: &Head) -> Recorded {
        Recorded {
            version: VERSION,
            sequence: head.sequence + 1,
            previous: head.digest.clone(),
            body: self.0,
        }
    }

    fn of(event: RecordedEvent, at: Timestamp) -> Self {
        Self(Body {
            at,
            event,
            principal: String::new(),
            database: String::new(),
            trace_id: String::new(),
            policy: None,
            policy_hash: None,
            statement_sha256: None,
            statement: None,
            effects: Vec::new(),
            decision: None,
            rule: None,
            approval: None,
            observed: None,
            outcome: None,
            sqlstate: None,
            finishes: None,
            recovered: None,
        })
    }
}

/// The words for an effect. A setting's name may come out of a string (`set_config`): then only a plain name is kept.
fn effect(predicted: &Predicted) -> String {
    let is_plain =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
    let words = match &predicted.effect {
        Effect::Setting { name, .. } if name.len() > 63 || !is_plain(name) => "setting(?)".to_owned(),
        effect => effect.to_string(),
    };
    match &predicted.via {
        Some(via) => format!("{words} via {via}"),
        None => words,
    }
}

fn decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Limit => "limit",
        Decision::Approve => "approve",
        Decision::Deny => "deny",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
