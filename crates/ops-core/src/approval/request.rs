//! What somebody asks to be approved.

use std::time::Duration;

use jiff::Timestamp;

use super::scope::Scope;
use crate::guard::Limits;

/// A permission that is asked for, before anybody signed it.
#[derive(Clone, Debug)]
pub struct ApprovalRequest {
    /// What is to be permitted.
    pub scope: Scope,
    /// The role that may use it, as `session_user` gives it.
    pub principal: String,
    /// The one database in which it holds; none for every database that the principal reaches.
    pub database: Option<String>,
    /// Why, in a sentence. It stands in the audit log for good.
    pub reason: String,
    /// Where the matter is discussed.
    pub ticket: String,
    /// The time before which it does not hold; none for the time at which it is signed.
    pub not_before: Option<Timestamp>,
    /// How long after it is signed it ends; at most [`MAX_LIFETIME`](super::MAX_LIFETIME).
    pub expires_in: Duration,
    /// How much the approved statement, or each one of an approved session, may change.
    pub limits: Limits,
}

impl ApprovalRequest {
    /// Asks for a scope, for a role, in any database, for the next quarter of an hour. Reason and ticket are still
    /// missing, and nobody can sign it without them.
    pub fn new(scope: Scope, principal: impl Into<String>) -> Self {
        Self {
            scope,
            principal: principal.into(),
            database: None,
            reason: String::new(),
            ticket: String::new(),
            not_before: None,
            expires_in: Duration::from_secs(15 * 60),
            limits: Limits::default(),
        }
    }
}
