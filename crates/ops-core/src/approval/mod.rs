//! Approvals: a signed permission, by somebody else, to run what a policy would not just let run.
//!
//! An [`Approval`] names what it permits (a [`Scope`]), for whom, where, why, and until when. It lies in a file as a DSSE
//! envelope of kind `statement-approval`, signed with ed25519. [`Approval::verify`] turns it into a [`Granted`], which
//! alone answers whether a statement is covered. Single use is kept by the [audit log](crate::audit): claiming an
//! approval is one atomic append.
//!
//! ```
//! use ops_core::approval::{Approval, ApprovalId, ApprovalRequest, Approvers, Scope};
//! use ops_core::evidence::SigningKey;
//! use ops_core::guard::{Context, Policy};
//!
//! let sql = "DELETE FROM public.ledger";
//! let now = "2026-11-21T06:00:00Z".parse()?;
//! let key = SigningKey::generate()?;
//! let request = ApprovalRequest {
//!     reason: "the test data of October must go".into(),
//!     ticket: "OPS-7".into(),
//!     ..ApprovalRequest::new(Scope::session(), "app")
//! };
//! let approval = Approval::sign(&request, "alice", &key, now, ApprovalId::generate()?)?;
//!
//! let mut approvers = Approvers::new();
//! approvers.insert("alice", key.verifying_key())?;
//! let granted = approval.verify(&approvers, "app", "shop", now)?;
//! let (policy, context) = (Policy::app(), Context::default());
//! let verdict = policy.judge_in(sql, &context);
//! assert!(!verdict.is_allowed() && granted.covers(&verdict.statements[0], sql, &policy, &context));
//!
//! assert!(approval.verify(&approvers, "alice", "shop", now).is_err(), "nobody approves for themselves");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An approval arrives as a value of the program's. No comment in a statement and no setting of a session can bring one.

mod approvers;
mod granted;
mod request;
mod scope;
mod signed;
mod terms;

pub use approvers::Approvers;
pub use granted::Granted;
pub use request::ApprovalRequest;
pub use scope::{EffectClass, Scope};
pub use signed::{Approval, KIND};
pub use terms::{ApprovalId, MAX_LIFETIME, Terms};
