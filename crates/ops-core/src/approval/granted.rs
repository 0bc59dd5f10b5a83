//! The permission that a verified approval gives. Only [`Approval::verify`](super::Approval::verify) builds one.

use jiff::Timestamp;

use super::scope::Kind;
use super::terms::{ApprovalId, Terms};
use crate::guard::{Context, Decision, Limits, Policy, StatementVerdict};

/// The rules over a text as a whole, and over what makes a client lose track: no approval lifts them.
const NEVER_COVERED: [&str; 5] =
    ["unparsable", "too-complex", "too-long", "multiple-statements", "transaction-control"];

/// A permission: an approval whose signature, signer, principal, database and time were found good.
///
/// It is good for one use. [`AuditLog::claim`](crate::audit::AuditLog::claim) keeps that, and looks at the time again.
#[derive(Debug)]
pub struct Granted {
    terms: Terms,
    key_id: String,
}

impl Granted {
    pub(super) fn new(terms: Terms, key_id: String) -> Self {
        Self { terms, key_id }
    }

    /// Tells whether a statement, judged by this policy in these circumstances, may run because of the approval.
    ///
    /// - An approval of exact bytes covers that text alone, and only where it was judged whole, as one statement.
    /// - An approval of a class of effects on a table covers a statement whose every other effect is allowed anyway.
    /// - Both lift [`Decision::Approve`] only: what a policy denies stays denied.
    /// - Break-glass lifts that too, except for texts that cannot be judged, several statements in one text, and
    ///   transaction commands.
    ///
    /// An approval is of what was predicted. That more is observed is no less a reason to roll back.
    pub fn covers(
        &self,
        statement: &StatementVerdict,
        sql: &str,
        policy: &Policy,
        context: &Context,
    ) -> bool {
        let is_of_text = sql.get(statement.start..statement.end).is_some_and(|text| !text.is_empty());
        let is_never_covered = statement.rule.as_deref().is_some_and(|rule| NEVER_COVERED.contains(&rule));
        if !is_of_text || is_never_covered {
            return false;
        }
        if matches!(self.terms.scope.0, Kind::Session) {
            return true;
        }
        if statement.decision == Decision::Deny {
            return false;
        }
        match &self.terms.scope.0 {
            Kind::Statement { sha256, .. } => *sha256 == crate::digest::sha256_hex(sql.as_bytes()),
            Kind::Table { table, effect } => statement.effects.iter().all(|predicted| {
                effect.covers(&predicted.effect, table)
                    || policy.rule_on(&predicted.effect, context).decision <= Decision::Limit
            }),
            Kind::Session => true,
        }
    }

    /// Returns the id, which the audit log lets be used once.
    pub fn id(&self) -> &ApprovalId {
        &self.terms.id
    }

    /// Returns how much a covered statement may change at most, beside what the policy says.
    pub fn limits(&self) -> Limits {
        self.terms.limits
    }

    /// Tells whether the approval is of a whole session.
    pub fn is_break_glass(&self) -> bool {
        self.terms.scope.is_session()
    }

    /// Tells whether the approval has ended since it was verified.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.terms.expires_at
    }

    /// Returns everything that the approval says.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Returns the id of the key that signed.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }
}
