//! The answer: for each statement of a text, what it does and whether it may.

use serde::Serialize;

use super::effect::Effect;

/// Whether a statement may run.
///
/// Limits and approvals will come as further decisions: treat one that you do not know as a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// It may run.
    Allow,
    /// It may not.
    Deny,
}

/// The verdict over a text, statement by statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The policy's name.
    pub policy: String,
    /// The policy's hash: see [`Policy::hash`](super::Policy::hash).
    pub policy_hash: String,
    /// One entry a statement, in order. A text of blanks and comments has none.
    ///
    /// A text that cannot be parsed has one entry that spans it all.
    pub statements: Vec<StatementVerdict>,
}

/// The verdict over one statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatementVerdict {
    /// The number of the line on which it begins, from 1.
    pub line: usize,
    /// The byte at which it begins, without leading blanks and comments.
    pub start: usize,
    /// The byte after its end, without the semicolon.
    pub end: usize,
    /// Whether it may run.
    #[serde(rename = "verdict")]
    pub decision: Decision,
    /// What it does, each effect once: those of the statement as a whole, then the others in the order of the text.
    pub effects: Vec<Effect>,
    /// The rule that refuses it: a stable name in kebab case. None where it is allowed.
    pub rule: Option<&'static str>,
    /// One sentence for a person: what it would do. None where it is allowed.
    pub reason: Option<String>,
    /// One sentence on what to do instead. None where it is allowed.
    pub hint: Option<String>,
    /// The byte of the text that the refusal is about, where the parser tells; else its start.
    pub position: usize,
}

impl Verdict {
    /// Tells whether every statement may run. A text without statements may: there is nothing to run.
    pub fn is_allowed(&self) -> bool {
        self.denied().next().is_none()
    }

    /// Returns the statements that may not run.
    pub fn denied(&self) -> impl Iterator<Item = &StatementVerdict> {
        self.statements.iter().filter(|statement| statement.decision != Decision::Allow)
    }
}
