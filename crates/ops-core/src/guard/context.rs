//! What a judgement may know beside the text: who asks, where, when, and what the names mean there.

use std::sync::Arc;

use jiff::Timestamp;

use super::catalog::Catalog;

/// The circumstances of a judgement. What is not known is taken for the worst: of all decisions that a policy may come to
/// in such circumstances the strictest holds. A rule that refuses applies, a rule that allows does not.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Context {
    /// The role of the session, as `session_user` gives it.
    pub principal: Option<String>,
    /// The database.
    pub database: Option<String>,
    /// The time.
    pub at: Option<Timestamp>,
    /// What the names of the database mean.
    pub catalog: Option<Arc<Catalog>>,
}
