//! The answer: for each statement of a text, what it does and whether it may.

use serde::Serialize;

use super::effect::Effect;

/// Whether a statement may run; from the mildest to the strictest, so that the greatest of several decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// It may run.
    Allow,
    /// It may run, and is rolled back where it does more than [`Limits`] say.
    Limit,
    /// It may run once somebody else has signed an approval of it.
    Approve,
    /// It may not.
    Deny,
}

/// How much one statement may change. Rows are those that it really adds, changes and removes, also through triggers,
/// rules and foreign keys. None means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Limits {
    /// All rows together.
    pub rows: Option<u64>,
    /// The rows of any one table.
    pub rows_per_table: Option<u64>,
    /// The number of tables.
    pub tables: Option<u64>,
}

impl Limits {
    /// Returns these limits, and the other's where there is none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            rows: self.rows.or(other.rows),
            rows_per_table: self.rows_per_table.or(other.rows_per_table),
            tables: self.tables.or(other.tables),
        }
    }

    /// Returns the stricter of both, limit by limit.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let stricter = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            rows: stricter(self.rows, other.rows),
            rows_per_table: stricter(self.rows_per_table, other.rows_per_table),
            tables: stricter(self.tables, other.tables),
        }
    }
}

/// An effect that a statement is predicted to have, and what brings it about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Predicted {
    /// The effect.
    #[serde(flatten)]
    pub effect: Effect,
    /// The code that has it, where the statement does not have it itself: `trigger audit on public.orders`,
    /// `function public.wipe()`, `foreign key child_parent_fkey`. Known only with a [`Catalog`](super::Catalog).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
}

/// The verdict over a text, statement by statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The policy's name.
    pub policy: String,
    /// The policy's hash: see [`Policy::hash`](super::Policy::hash).
    pub policy_hash: String,
    /// Whether the policy only reports: then everything may run, whatever the decisions say.
    pub shadow: bool,
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
    pub effects: Vec<Predicted>,
    /// The rule that refuses it, or asks for an approval: a stable name in kebab case. None where it may run.
    pub rule: Option<String>,
    /// One sentence for a person: what it would do. None where it may run.
    pub reason: Option<String>,
    /// One sentence on what to do instead. None where it may run.
    pub hint: Option<String>,
    /// How much it may change, where the decision is [`Decision::Limit`], or where it is [`Decision::Approve`] and other
    /// effects of the statement are limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Whether it can run inside a transaction block, as `VACUUM` and `CREATE INDEX CONCURRENTLY` cannot.
    #[serde(skip)]
    pub transactional: bool,
    /// The byte of the text that the refusal is about, where the parser tells; else its start.
    pub position: usize,
}

impl StatementVerdict {
    /// Tells whether it may run without anybody's approval.
    pub fn is_allowed(&self) -> bool {
        self.decision <= Decision::Limit
    }
}

impl Verdict {
    /// Tells whether every statement may run. A text without statements may: there is nothing to run.
    pub fn is_allowed(&self) -> bool {
        self.shadow || self.denied().next().is_none()
    }

    /// Returns the statements that the policy refuses or wants approved, also where it only reports.
    pub fn denied(&self) -> impl Iterator<Item = &StatementVerdict> {
        self.statements.iter().filter(|statement| !statement.is_allowed())
    }
}
