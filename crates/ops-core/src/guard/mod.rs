//! The guard: what a statement does, told from its text by PostgreSQL's own grammar, and whether a policy allows it.
//!
//! Pure: no connection, no clock, and no file but that of a policy. A text goes in, a [`Verdict`] comes out, whatever the text is.
//!
//! ```
//! use ops_core::guard::Policy;
//!
//! let policy = Policy::app();
//! assert!(policy.judge("DELETE FROM ledger WHERE id = $1").is_allowed());
//!
//! let verdict = policy.judge("WITH gone AS (DELETE FROM ledger WHERE true RETURNING *) SELECT count(*) FROM gone");
//! let denied = verdict.denied().next().expect("the condition is no condition");
//! assert_eq!(denied.rule.as_deref(), Some("delete-all"));
//! assert_eq!(denied.reason.as_deref(), Some("would delete every row of ledger: its condition is the same for all of them"));
//! ```
//!
//! What no text can tell is said in [`Policy`]: least privilege of the role is the other half of the protection.

mod body;
mod cache;
mod catalog;
mod classify;
mod condition;
mod context;
mod course;
mod effect;
mod functions;
mod names;
mod observed;
mod parse;
mod policy;
mod redact;
pub mod undo;
mod verdict;
mod walk;

pub use cache::Judge;
pub use catalog::Catalog;
pub use context::Context;
pub use effect::{Bound, Effect, Operation, Reach};
pub use observed::{Observation, Touched};
pub use policy::{Budget, Explained, Policy, PolicyError, PolicyProblem, TestOutcome};
pub use redact::redact;
pub use verdict::{Decision, Limits, Predicted, StatementVerdict, Verdict};

pub(crate) use catalog::{
    CastRow, Dependent, DependsRow, ForeignKeyRow, FunctionRow, OperatorRow, RelationRow, Rows, RuleRow,
    TriggerRow, TypeRow,
};
pub(crate) use course::Course;
pub(crate) use effect::LOCK_MODES;
pub(crate) use names::{qualified, quoted};
pub(crate) use observed::{Prediction, Violation};
