//! What a statement really did, as the server tells it, compared with what was predicted and what is allowed.

use serde::Serialize;

/// What one statement did inside its transaction, as far as PostgreSQL tells it before the commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// The relations that it changed or locked more strongly than ordinary statements do.
    pub relations: Vec<Touched>,
    /// Whether the transaction has an id: only a transaction without one has certainly changed nothing.
    pub wrote: bool,
}

/// What happened to one relation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// Its name with its schema, quoted where SQL needs it.
    pub relation: String,
    /// Rows that were added.
    pub inserted: u64,
    /// Rows that were changed.
    pub updated: u64,
    /// Rows that were removed.
    pub deleted: u64,
    /// The strongest lock that was newly taken on it, as `LOCK TABLE` names it; none where it is one that ordinary
    /// statements take.
    pub lock: Option<&'static str>,
    /// Whether it is gone.
    pub dropped: bool,
}

impl Observation {
    /// Returns the number of rows that were added, changed and removed, over all relations.
    pub fn rows(&self) -> u64 {
        self.relations.iter().map(Touched::rows).sum()
    }
}

impl Touched {
    /// Returns the number of rows that were added, changed and removed.
    pub fn rows(&self) -> u64 {
        self.inserted + self.updated + self.deleted
    }
}
